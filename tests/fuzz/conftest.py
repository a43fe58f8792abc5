"""Puts `tests/receive` on the import path, for its connection without a socket."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "receive"))
