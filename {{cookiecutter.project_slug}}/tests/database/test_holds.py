"""Where a connection was taken."""

import sys

from app.pools.holds import where


def test_the_line_of_an_instruction() -> None:
    frame = sys._getframe()
    file = "tests/database/test_holds.py"
    line, place = frame.f_lineno, where(frame.f_code, frame.f_lasti)
    assert place == f"{file}:{line} test_the_line_of_an_instruction"
