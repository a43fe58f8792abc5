"""`spool` and `evidence`: what lies on the disk, and what is stated of it."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from auditsink.common.cluster_name import CLUSTER, CLUSTER_RULE
from auditsink.common.units import Duration, Size
from auditsink.config.backup import Backup
from auditsink.config.kafka_spool import SPOOL_TYPES, SpoolTopic
from auditsink.config.section import Broken, Section

CHECKPOINTS = "checkpoints"
"""How the maker of checkpoints is called among the destinations: its cursor, its row in `/status`."""
_DURABILITY = {
    "fsync": "when the disk has confirmed it",
    "interval": "at once; the disk is synced every second",
    "os": "when the kernel has it; when it reaches the disk is the kernel's business",
}
_WHEN_FULL = {
    "reject": "it refuses with 503 and Retry-After, and the apiserver tries again",
    "drop_oldest": "it drops the oldest events, counted for each destination that had not got them",
}


class Encryption(Section, frozen=True, kw_only=True):
    """Encryption at rest of what the rings hold; see docs/encryption.md. Re-read when the file changes."""

    key_file: Path  # "name<space>base64 of 32 bytes" a line: the first key encrypts, all decrypt


class Spool(SpoolTopic, frozen=True, kw_only=True):
    """The rings on a disk, or a topic in their place."""

    type: SPOOL_TYPES = "disk"
    path: Path = Path("/var/lib/auditsink")
    max_bytes: Size = Size(2**30)
    segment_bytes: Size = Size(16 * 2**20)
    durability: Literal["fsync", "interval", "os"] = "fsync"
    when_full: Literal["reject", "drop_oldest"] = "reject"
    encryption: Encryption | None = None
    backup: Backup | None = None

    def broken(self) -> Broken:
        """See `Section.broken`."""
        if self.type == "kafka":
            yield from self.broken_topic()
            if self.when_full == "drop_oldest":
                yield "when_full", "drop_oldest is not possible with type: kafka; write reject"
            yield from _without_effect(self, _OF_THE_DISK, "type: kafka has no use for it; remove it")
            return
        yield from _without_effect(self, SpoolTopic.__struct_fields__, "has no effect; write type: kafka, or remove it")
        if self.segment_bytes < 4096:
            yield "segment_bytes", "must be at least 4KiB"
        if self.segment_bytes * 2 > self.max_bytes:
            yield "segment_bytes", "must be at most half of max_bytes: space is freed by whole segments"

    def plan(self) -> Iterator[str]:
        """What a 200 means and what is kept, a sentence each."""
        if self.type == "kafka":
            yield from self.plan_topic()
            yield f"refuses with 503 and Retry-After while the topic holds more than {self.max_bytes}"
            return
        yield f"answers 200 for a batch {_DURABILITY[self.durability]}"
        encrypted = f", encrypted under the first key of {self.encryption.key_file}" if self.encryption else ""
        yield f"keeps up to {self.max_bytes} in {self.path}{encrypted}; when that is full, {_WHEN_FULL[self.when_full]}"
        if self.backup is not None:
            yield from self.backup.plan()

    def risks(self, max_body: Size) -> Broken:
        """What may happen, and what to write instead. `max_body`: that of the receive port."""
        if self.type == "kafka":
            yield from self.risks_topic()
        if self.durability == "interval":
            yield "durability", "interval loses up to a second of answered batches when the power fails"
        if self.durability == "os":
            yield "durability", "os loses half a minute of answered batches or more when the power fails"
        if self.when_full == "drop_oldest":
            yield "when_full", "drop_oldest loses events when a destination is down for too long"
        if self.encryption is not None:
            where = f"topic {self.letters}" if self.type == "kafka" else "their disk"
            covered = "records" if self.type == "kafka" else "rings"
            yield "encryption", f"covers the {covered}; dead letters and file destinations are as readable as {where}"
        if self.backup is not None:
            encrypted = self.encryption is not None
            yield from ((f"backup.{key}", risk) for key, risk in self.backup.risks(encrypted=encrypted))
        if max_body * 2 > self.max_bytes:
            yield "max_bytes", "a body of receive.max_body may never fit; make it at least twice that"


_OF_THE_DISK = ("segment_bytes", "durability", "backup")


def _without_effect(section: Spool, keys: Iterable[str], why: str) -> Broken:
    """Keys that say something else than their defaults, and nobody reads them."""
    defaults = Spool()
    return ((key, why) for key in keys if getattr(section, key) != getattr(defaults, key))


class Evidence(Section, frozen=True, kw_only=True):
    """Signed checkpoints of what the rings hold; see docs/evidence.md. Absent: none are made."""

    path: Path
    key_file: Path | None = None  # Ed25519, PEM; without it checkpoints are not signed
    every: Duration = Duration(60)
    deliver_as: str | None = None  # a cluster's name: destinations get the checkpoints as its events

    def broken(self) -> Broken:
        """See `Section.broken`."""
        if not 1 <= self.every <= 3600:
            yield "every", "must be from 1s to 1h: what is younger than the last checkpoint is not covered"
        if self.deliver_as is not None and not CLUSTER.match(self.deliver_as):
            yield "deliver_as", CLUSTER_RULE

    def plan(self) -> Iterator[str]:
        """What is stated, a sentence each."""
        signed = "signed checkpoints" if self.key_file else "checkpoints"
        yield f"states every {self.every} what it took: {signed} in {self.path}"
        if self.deliver_as:
            yield f"delivers the checkpoints too, as events of cluster {self.deliver_as}"

    def risks(self, spool_path: Path) -> Broken:
        """What may happen, and what to write instead."""
        if self.key_file is None:
            yield "key_file", "is not set, so whoever can write the checkpoint file can replace what it says"
        if spool_path in self.path.parents:
            yield "path", "lies in the spool; put it where the spool's end does not take it along"
