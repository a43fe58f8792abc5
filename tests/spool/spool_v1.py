"""How `tests/data/spool-v1` was made, by the auditsink that wrote version 1 of the format.

The recording is never made again: it stands for what lies on disks out there. `record` stays as its description, and
to make the next one by when there is a version 3.
"""

import hashlib
import json
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path

import corpus
from spoolkit import submit_all

from auditsink.common.units import Size
from auditsink.config import Encryption
from auditsink.config import Spool as SpoolConfig
from auditsink.spool import Spool, frame, segment
from auditsink.spool.frame import FrameHeader
from auditsink.spool.ring import Ring
from auditsink.spool.types import Record, Tally

DATA = corpus.DATA / "spool-v1"
CLUSTER = "default"
SOURCE = "cert:kube-apiserver"
KEY_LINES = (
    "2026-12 QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8=\n",
    "2026-11 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
)
"""The second one is the older; the recording holds segments under both."""
DAMAGED = 2
"""Which record of its segment has a flipped byte: counted from 0, in the segment of the second life."""


def bodies() -> list[list[bytes]]:
    """What was posted in each of four lives: recorded batches, one that cannot be split, one that is not UTF-8."""
    batches = [body.data for body in corpus.bodies("batch50-request-h2tls")][:5]
    single = [body.data for body in corpus.bodies("blocking-rr-h1tls")][:9]
    hostile = {body.name: body.data for body in corpus.hostile_bodies()}
    return [
        [corpus.plain_body("first").data],
        [*batches[:3], *single[:3]],
        [hostile["truncated-list"], hostile["invalid-utf8"], *single[3:6]],
        [*batches[3:], *single[6:]],
    ]


def record(target: Path, key_file: Path | None) -> None:
    """Write the spool into the directory `target`, and what is to be read of it to `target`.json."""
    for number, several in enumerate(bodies()):
        if key_file is not None:
            key_file.write_text("".join(KEY_LINES[1:] if number < 2 else KEY_LINES))
        encryption = None if key_file is None else Encryption(key_file=key_file)
        spool = Spool.open(SpoolConfig(path=target, max_bytes=Size(2**30), encryption=encryption))
        spool.start(lambda call: call())
        ring = spool.ring(CLUSTER)
        cursors = {name: ring.cursor(name) for name in ("siem", "lake")}
        submit_all(spool, ring, several, SOURCE)
        if number == 1:  # the first life's segment is delivered, and goes: the floor is 3 now
            for cursor in cursors.values():
                cursor.advance(Tally(delivered=3))
            assert spool._quota.free_one(ring)
            cursors["siem"].advance(Tally(delivered=10, filtered=4, dead_lettered=1))
        if number < 3:
            spool.stop()
    expected = [stated(one) for one in records(ring)]
    left = target.with_name(f"{target.name}.left")
    shutil.copytree(target, left)  # as a power loss would leave it: not sealed
    spool.stop()
    shutil.rmtree(target)
    left.rename(target)
    _spoil(target, expected)
    target.with_suffix(".json").write_text(json.dumps(expected, indent=0) + "\n")


def _spoil(target: Path, expected: list[dict[str, object]]) -> None:
    """Flip a byte of a record in the second life's segment, and cut a write short at the end of the last one."""
    paths = sorted((target / "rings" / CLUSTER).glob("*.seg"))
    content = bytearray(paths[0].read_bytes())
    header, frames = _frames(bytes(content))
    victim = frames[DAMAGED]
    content[victim.offset + frame.HEADER.size + 50] ^= 0x10
    paths[0].write_bytes(content)
    expected[:] = [one for one in expected if one["first"] != victim.first_sequence]
    content = bytearray(paths[-1].read_bytes())
    header, frames = _frames(bytes(content))
    last = frames[-1]
    torn = frame.encode(
        header.seed, first_sequence=last.end_sequence, events=3, marks=last.marks, source=b"",
        received_ns=last.received_ns, body_length=9000, payload=bytes(range(256)) * 12, digest=bytes(16),
    )[:1000]  # fmt: skip
    end = last.offset + last.size
    content[end : end + len(torn)] = torn
    paths[-1].write_bytes(content)


def _frames(content: bytes) -> tuple[segment.SegmentHeader, list[FrameHeader]]:
    header = segment.decode_header(content)
    assert header is not None
    return header, [part for part in segment.walk(content, header.seed) if isinstance(part, FrameHeader)]


def records(ring: Ring) -> Iterable[Record]:
    """All that is read of a ring."""
    reader, position = ring.reader(), ring.floor
    while position < ring.durable:
        chunk = reader.read(position, 100_000)
        yield from chunk.records
        position = chunk.end
    reader.close()


def stated(one: Record) -> dict[str, object]:
    """A record in words: its numbers, and the digest of each event's bytes."""
    return {
        "first": one.first_sequence,
        "received_ns": one.received_ns,
        "source": one.source,
        "marks": int(one.marks),
        "events": [hashlib.sha256(event).hexdigest() for event in one.events],
    }


def pack(directory: Path, archive: Path) -> None:
    """The directory as an archive."""
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(directory, arcname=directory.name)


def unpack(name: str, target: Path) -> Path:
    """The recorded spool `name`, unpacked below `target`."""
    with tarfile.open(DATA / f"{name}.tar.xz") as tar:
        for member in tar.getmembers():  # `extractall` with a filter is not in every 3.11
            place = target / member.name
            if member.isdir():
                place.mkdir(parents=True, exist_ok=True)
            else:
                content = tar.extractfile(member)
                assert content is not None
                place.write_bytes(content.read())
    return target / name
