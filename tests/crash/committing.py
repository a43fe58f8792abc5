"""A spool and nothing else, in a process of its own: commits as fast as the disk syncs, and says what was answered.

Arguments: the spool's path; `zeros` or `reserved` (frames into blocks that fallocate gave, as a control). A line on
stdout for each event that was answered with a receipt, its number; it ends when one is refused.
"""

import random
import sys
import threading
from pathlib import Path

from auditsink.audit import eventlist
from auditsink.common.units import Size
from auditsink.config import Spool as SpoolConfig
from auditsink.spool import Spool
from auditsink.spool.types import Receipt, SpoolRejection

NOISE = 5000
"""Bytes in each event that do not compress."""


def body(number: int) -> bytes:
    """An EventList with one event that says its number, and takes a block and more on the disk."""
    item = f'{{"level":"Metadata","note":"{random.Random(number).randbytes(NOISE).hex()}","auditID":"{number}"}}'
    return f'{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{{}},"items":[{item}]}}\n'.encode()


def number_of(event: bytes) -> int:
    """What `body` wrote into it."""
    return int(event.rpartition(b":")[2].strip(b'"}'))


def main() -> None:
    """Until the disk refuses."""
    path, kind = Path(sys.argv[1]), sys.argv[2]
    spool = Spool.open(SpoolConfig(path=path, max_bytes=Size(2**25), segment_bytes=Size(2**22)))
    ring = spool.ring("default")
    spool._logs["default"]._zeros = kind == "zeros"
    spool.start(lambda call: call())
    answered = threading.Semaphore(0)
    refused = threading.Event()

    def done(number: int, answer: Receipt | SpoolRejection) -> None:
        if isinstance(answer, Receipt):
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
        else:
            refused.set()
        answered.release()

    number = 0
    while not refused.is_set():
        one = body(number)
        spool.submit(ring, one, eventlist.split(one), "", lambda answer, number=number: done(number, answer))  # type: ignore[misc]
        answered.acquire()
        number += 1


if __name__ == "__main__":
    main()
