"""Run as a program: the real server, with a system clock that a file shifts.

Monotonic clocks are left alone, as they are when somebody sets the time. Argument: the file, which holds the seconds to
the true time and may change at any moment.
"""

import sys
import time
from pathlib import Path

TRUE_TIME, TRUE_TIME_NS = time.time, time.time_ns


def shift_clock(file: Path) -> None:
    """Shift `time.time`; call it before modules are imported that keep a reference to it."""
    time.time = lambda: TRUE_TIME() + int(file.read_text())
    time.time_ns = lambda: TRUE_TIME_NS() + 10**9 * int(file.read_text())


if __name__ == "__main__":
    shift_clock(Path(sys.argv[1]))
    from csm.server import main

    sys.exit(main())
