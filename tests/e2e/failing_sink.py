"""`python failing.py serve -c FILE`: the sink, in which errors come up that hold every secret it knows in their text.

One in a task of the loop, one in a callback, one in a thread, one where Python can only print it.
"""

import asyncio
import resource
import sys
import threading
from typing import Any

from auditsink import cli
from auditsink.common import secret
from auditsink.service import Sink

MARK = "this failure was injected"


class Unprintable:
    """Fails where nobody can catch it."""

    def __del__(self) -> None:
        fail()


def fail() -> None:
    """A library that quotes its arguments, as the cause of an error that quotes them too."""
    known = sorted(secret.alive())
    raise RuntimeError(f"{MARK}: header {' '.join(known)}") from ValueError(f"{MARK}: {known}")


async def fail_later() -> None:
    fail()


async def start_and_fail(self: Any) -> None:
    """`Sink.start`, and then all of them."""
    await start(self)
    asyncio.get_running_loop().call_later(0.5, fail)
    self._watch("a part that fails", asyncio.create_task(fail_later()))
    threading.Thread(target=fail, name="failing").start()
    Unprintable()


start = Sink.start

if __name__ == "__main__":
    Sink.start = start_and_fail  # type: ignore[method-assign]  # that is what this file is for
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(cli.run())
