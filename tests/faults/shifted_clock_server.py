"""Run as a program: the real server, on a machine whose clock on the wall is as wrong as a file says.

Clocks that cannot be set are left alone, as they are by those who set the other. Argument: the file, which holds the
seconds to the true time and may change at any moment.
"""

import sys
import time
from pathlib import Path

TRUE_TIME, TRUE_TIME_NS = time.time, time.time_ns


def bewitch(file: Path) -> None:
    """Before anything else is imported that may keep a clock of its own."""
    time.time = lambda: TRUE_TIME() + int(file.read_text())
    time.time_ns = lambda: TRUE_TIME_NS() + 10**9 * int(file.read_text())


if __name__ == "__main__":
    bewitch(Path(sys.argv[1]))
    from csm.server import main

    sys.exit(main())
