"""`python jumping.py FILE serve ...`: auditsink whose wall clock is off by the seconds that FILE holds at the moment.

The monotonic clock goes on as it is: that is what the kernel does when somebody sets the time.
"""

import sys
import time
from pathlib import Path


def shift(file: Path) -> None:
    """Have everything in this process see the shifted time."""
    real = time.time_ns

    def time_ns() -> int:
        return real() + int(file.read_text()) * 10**9

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9


if __name__ == "__main__":
    sys.path[0] = str(Path.cwd())  # as `python -m auditsink` has it
    shift(Path(sys.argv.pop(1)))
    from auditsink.cli import main

    main()
