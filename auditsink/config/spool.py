"""`spool` and `evidence`: what lies on the disk, and what is stated of it."""

from pathlib import Path
from typing import Literal

from auditsink.common.units import Duration, Size
from auditsink.config.section import Section

CHECKPOINTS = "checkpoints"
"""How the maker of checkpoints is called among the destinations: its cursor, its row in `/status`."""


class Encryption(Section, frozen=True, kw_only=True):
    """Encryption at rest of what the rings hold; see docs/encryption.md. Re-read when the file changes."""

    key_file: Path  # "name<space>base64 of 32 bytes" a line: the first key encrypts, all decrypt


class Spool(Section, frozen=True, kw_only=True):
    """The disk-backed rings."""

    path: Path = Path("/var/lib/auditsink")
    max_bytes: Size = Size(2**30)
    segment_bytes: Size = Size(16 * 2**20)
    durability: Literal["fsync", "interval", "os"] = "fsync"
    when_full: Literal["reject", "drop_oldest"] = "reject"
    encryption: Encryption | None = None


class Evidence(Section, frozen=True, kw_only=True):
    """Signed checkpoints of what the rings hold; see docs/evidence.md. Absent: none are made."""

    path: Path
    key_file: Path | None = None  # Ed25519, PEM; without it checkpoints are not signed
    every: Duration = Duration(60)
    deliver_as: str | None = None  # a cluster's name: destinations get the checkpoints as its events
