"""A manifest: what the copy holds at one moment, as it lies in the store. Pure; the rules are in the package's text."""

import re
from collections.abc import Iterator
from typing import Annotated

import msgspec
import zstandard

from auditsink.backup import BackupError
from auditsink.spool.cursor import CursorState
from auditsink.spool.types import Tally

VERSION = 1
SPOOL_VERSIONS = (1, 2)
"""Formats of the spool that a copy may hold for this auditsink to restore it; it writes the last."""
MOST_BYTES = 2**28
"""Of a manifest as JSON: a million pieces. A larger one is none of ours."""
MOST_STORED = 2**26
"""Of its object."""
MOST_MANIFESTS = 2**53
"""A number beyond it was given by somebody else: one a millisecond comes to that in 285,000 years."""
CHECKPOINTS = "checkpoints"
"""How the checkpoint file is called in the copy: its own place is `evidence.path`."""
_NUMBER = re.compile(r"[0-9]{20}\Z")
_DATA = re.compile(r"[0-9]{8}-[0-9]{12}\Z")
_FILE = re.compile(
    r"rings/[A-Za-z0-9][A-Za-z0-9._-]{0,62}/[0-9]{20}\.seg\Z"
    rf"|deadletters/[a-z0-9-]{{1,40}}/(letters\.ndjson|dropped)\Z|{CHECKPOINTS}\Z"
)
_Whole = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
_Hex32 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
_Cluster = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")]
_Cursor = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,40}\Z")]


class CopiedPiece(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`length` bytes of a file, from `start` on. They lie in the data object `object`, from `at` on."""

    object: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{8}-[0-9]{12}\Z")]
    at: _Whole
    start: _Whole
    length: Annotated[int, msgspec.Meta(ge=1, le=2**40)]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]

    @property
    def end(self) -> int:
        """The byte after its last one."""
        return self.start + self.length


class CopiedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file as far as it is copied. `identity` tells it from another one that had its name."""

    path: str
    identity: str
    pieces: tuple[CopiedPiece, ...] = ()

    @property
    def size(self) -> int:
        """Bytes that are copied, from its beginning on."""
        return self.pieces[-1].end if self.pieces else 0


class CopiedSegment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A segment: events from `first` on, those before `end` being copied for sure.

    `closed`: it does not grow any more. `delivered_ns`: since when every destination has all of it (wall clock).
    """

    first: _Whole
    end: _Whole
    created_ns: _Whole
    closed: bool
    file: CopiedFile
    delivered_ns: _Whole | None = None


class CopiedCursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """See `auditsink.spool.cursor.CursorState`."""

    start: _Whole
    position: _Whole
    delivered: _Whole
    filtered: _Whole
    dead_lettered: _Whole
    dropped: _Whole

    @classmethod
    def of(cls, state: CursorState) -> "CopiedCursor":
        """As it lies in the manifest."""
        return cls(state.start, state.position, *state.tally)

    @property
    def state(self) -> CursorState:
        """As the spool has it."""
        tally = Tally(self.delivered, self.filtered, self.dead_lettered, self.dropped)
        return CursorState(self.start, self.position, tally)


class CopiedRing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A ring. `end` is its durable end when the manifest was made; what of that is copied, the segments tell."""

    cluster: _Cluster
    ring: _Hex32
    end: _Whole
    cursors: dict[_Cursor, CopiedCursor]
    segments: tuple[CopiedSegment, ...]

    @property
    def consumed(self) -> int:
        """Every destination is done with the events before this sequence."""
        return min((one.position for one in self.cursors.values()), default=0)

    @property
    def copied(self) -> int:
        """The sequence after the last event that is in the copy, or that somebody was done with."""
        ends = [one.end for one in self.segments]
        return max([*ends, *(one.position for one in self.cursors.values())], default=0)


class CopyManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`complete_ns`: all that was durable at that moment (wall clock of the writer) is in the copy; 0: not yet.

    `written_ns`: when it was made. `lease_seconds`: for how long its writer may be silent.
    """

    version: int = VERSION
    spool_version: int = SPOOL_VERSIONS[-1]
    auditsink: str
    sink: str
    number: _Whole
    fence: _Whole
    holder: _Hex32
    session: _Hex32
    written_ns: _Whole
    complete_ns: _Whole = 0
    lease_seconds: Annotated[float, msgspec.Meta(ge=0, le=20_000)]
    released: bool = False
    rings: tuple[CopiedRing, ...] = ()
    files: tuple[CopiedFile, ...] = ()

    def all_files(self) -> Iterator[CopiedFile]:
        """Segments and others."""
        for ring in self.rings:
            yield from (one.file for one in ring.segments)
        yield from self.files

    def objects(self) -> set[str]:
        """The data objects that it needs."""
        return {piece.object for file in self.all_files() for piece in file.pieces}

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.all_files())

    @property
    def undelivered(self) -> int:
        """Events in it that some destination had not got."""
        return sum(max(0, ring.copied - max(ring.consumed, _begin(ring))) for ring in self.rings)


def _begin(ring: CopiedRing) -> int:
    return ring.segments[0].first if ring.segments else ring.copied


class NewerCopyError(BackupError):
    """Written by a newer auditsink."""


class NoManifestError(BackupError):
    """What lies there is no manifest of this sink."""


class _Version(msgspec.Struct):
    version: int
    spool_version: int = 0
    auditsink: str = ""


def manifest_name(number: int) -> str:
    """Of the object below `manifests/` and `kept/`."""
    return f"{number:020d}"


def number_of(name: str) -> int | None:
    """The number of a manifest's object; None for a name that is none."""
    return int(name) if _NUMBER.match(name) and int(name) <= MOST_MANIFESTS else None


def is_copied(path: str) -> bool:
    """Whether a file of this path, below the spool's directory, can stand in a manifest."""
    return _FILE.match(path) is not None


def data_name(fence: int, count: int) -> str:
    """Of an object below `data/`."""
    return f"{fence:08d}-{count:012d}"


def fence_of(name: str) -> int | None:
    """The fence of a data object's writer; None for a name that is none."""
    return int(name[:8]) if _DATA.match(name) else None


_encoder = msgspec.json.Encoder()
_versions = msgspec.json.Decoder(_Version)
_manifests = msgspec.json.Decoder(CopyManifest)


def encode(manifest: CopyManifest) -> bytes:
    """For the store."""
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(_encoder.encode(manifest))


def decode(data: bytes, *, where: str, sink: str, number: int) -> CopyManifest:
    """The manifest in an object. `where` names it for people.

    Raises NoManifestError, and NewerCopyError with what to do.
    """
    try:
        plain = zstandard.ZstdDecompressor().decompress(data, max_output_size=MOST_BYTES)
        about = _versions.decode(plain)
    except (zstandard.ZstdError, msgspec.MsgspecError, ValueError, RecursionError, MemoryError):
        raise NoManifestError(f"{where} is no manifest of a copy: it was cut short or changed") from None
    if about.version > VERSION or about.spool_version > SPOOL_VERSIONS[-1]:
        named = about.auditsink.isprintable() and about.auditsink
        by = f"auditsink {about.auditsink}" if named else "a newer one"
        raise NewerCopyError(
            f"{where} was written by {by[:40]} in version {about.version} (spool {about.spool_version}); this one "
            f"reads {VERSION} (spool {SPOOL_VERSIONS[0]} and {SPOOL_VERSIONS[-1]}): run the newer auditsink, or give "
            "this sink another spool.backup.name to begin a copy of its own"
        )
    try:
        manifest = _manifests.decode(plain)
    except (msgspec.MsgspecError, RecursionError) as problem:
        raise NoManifestError(f"{where} is no manifest of a copy: {_short(problem)}") from None
    if manifest.sink != sink or manifest.number != number:
        raise NoManifestError(f"{where} is of another sink or number: somebody put it there")
    _check(manifest, where)
    return manifest


def _short(problem: Exception) -> str:
    return str(problem).partition(" - at ")[2][:80] or "its members are not those of one"


def _check(manifest: CopyManifest, where: str) -> None:
    """Whether what it says can be acted upon: names stay in their directories, pieces follow each other."""
    paths: set[str] = set()
    for file in manifest.all_files():
        ends = [0, *(piece.end for piece in file.pieces)]
        if not _FILE.match(file.path) or file.path in paths:
            raise NoManifestError(f"{where} names a file that cannot be one of a spool")
        if any(piece.start != end for piece, end in zip(file.pieces, ends, strict=False)):
            raise NoManifestError(f"{where} has a file whose pieces do not follow each other")
        paths.add(file.path)
    for ring in manifest.rings:
        for cursor in ring.cursors.values():
            if cursor.state.tally.total != cursor.position - cursor.start:
                raise NoManifestError(f"{where} has a cursor that does not add up")
        firsts = [one.first for one in ring.segments]
        prefix = f"rings/{ring.cluster}/"
        if firsts != sorted(firsts) or any(one.file.path != f"{prefix}{one.first:020d}.seg" for one in ring.segments):
            raise NoManifestError(f"{where} has segments out of order")
