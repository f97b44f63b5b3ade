"""The service as `python -m dev` runs it: it ends when the process that started it is gone.

Without this a killed reloader would leave its child behind, on its port.
"""

import os
import signal
import threading
import time

from app.main import create_app


def end_with_parent() -> None:
    while os.getppid() == int(os.environ["DEV_PARENT"]):
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGTERM)


threading.Thread(target=end_with_parent, daemon=True).start()
app = create_app()
