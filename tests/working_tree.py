"""A clean copy of the working tree: what git tracks or would add, so that no cache is baked in.

From the command line: `python tests/working_tree.py DESTINATION`.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def copy_to(destination: Path) -> Path:
    """Copy the working tree, committed or not, and return where it is now."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
    ).stdout.decode()
    for name in filter(None, listing.split("\0")):
        if (ROOT / name).exists():  # git still lists what was deleted but not committed
            (destination / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, destination / name)
    return destination


if __name__ == "__main__":
    copy_to(Path(sys.argv[1]))
