"""From the configuration's `evidence` section to a checkpointer: its file, its key, where checkpoints also go."""

import logging
from collections.abc import Callable, Sequence

from auditsink.audit.eventlist import Mark, Split, joined
from auditsink.common.clock import Clock
from auditsink.common.disk import RealDisk
from auditsink.common.secret import UnreadableFileError, WatchedFile
from auditsink.config import Evidence
from auditsink.evidence import EvidenceError
from auditsink.evidence.keys import Signer, require
from auditsink.evidence.make.checkpoint_file import CheckpointFile
from auditsink.evidence.make.checkpointer import Checkpointer
from auditsink.spool import Spool, SpoolError
from auditsink.spool.types import Receipt, SpoolRejection

log = logging.getLogger("auditsink.evidence")

SOURCE = "auditsink"
"""Who posted a checkpoint that is delivered as an event."""


def checkpointer(config: Evidence, spool: Spool, *, clock: Clock) -> Checkpointer:
    """Makes checkpoints, not yet running; it owns its file from now on. Raises EvidenceError."""
    sign = signer(config)
    file = CheckpointFile(config.path, RealDisk())
    key = sign()
    if key is None:
        log.warning("checkpoints are not signed: whoever can write their file can replace them; set evidence.key_file")
    else:
        log.info("checkpoints are signed", extra={"key": key.key_id, "path": str(config.path)})
    publish = None if config.deliver_as is None else publisher(spool, config.deliver_as)
    return Checkpointer(spool, file, sign, every=config.every, publish=publish, clock=clock)


def signer(config: Evidence) -> Callable[[], Signer | None]:
    """Gives the key of the moment: the file is looked at each time. Raises EvidenceError."""
    if config.key_file is None:
        return lambda: None
    require("evidence.key_file")
    try:
        file = WatchedFile(config.key_file, Signer.parse)
    except UnreadableFileError as problem:
        raise EvidenceError(f"evidence.key_file: {problem}") from None

    def current() -> Signer:
        complaint = file.error
        if file.changed():
            log.info("checkpoints are signed with another key from now on", extra={"key": file.get().key_id})
        elif file.error and file.error != complaint:
            log.warning("evidence.key_file: %s; the last good key stays in use", file.error)
        return file.get()

    return current


def publisher(spool: Spool, cluster: str) -> Callable[[Sequence[bytes]], None]:
    """Puts checkpoints into the ring of a cluster, as events, so that every destination gets them.

    Tried once: they stand in their file. A ring that is full must not wait for room that only a checkpoint gives it.
    """

    def done(answer: Receipt | SpoolRejection) -> None:
        if isinstance(answer, SpoolRejection):
            log.warning("checkpoints were not delivered; they are in their file", extra={"reason": answer.value})

    def publish(documents: Sequence[bytes]) -> None:
        try:
            ring = spool.ring(cluster)
        except SpoolError as problem:
            log.warning("checkpoints were not delivered; they are in their file", extra={"error": str(problem)})
            return
        spool.submit(ring, joined(documents), Split(list(documents), Mark(0)), SOURCE, done)

    return publish
