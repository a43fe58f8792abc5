"""A copy that an earlier auditsink wrote is restored, goes on, and is restored again; see tests/data/copy-v1."""

import hashlib
import json
import tarfile
from pathlib import Path

import corpus
from backupkit import Copied, everything, meanwhile, restarted, whole

DATA = corpus.DATA / "copy-v1"
CLUSTERS = ("prod", "test-1")


def digest(events: list[bytes]) -> str:
    return hashlib.sha256(b"\n".join(events)).hexdigest()


async def test_a_recorded_copy_is_restored_and_goes_on(tmp_path: Path) -> None:
    with tarfile.open(DATA / "copy.tar.xz") as archive:
        for member in filter(tarfile.TarInfo.isfile, archive):
            place, content = tmp_path / member.name, archive.extractfile(member)
            assert content is not None
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.read())
    expected = json.loads((DATA / "copy.json").read_text())["rings"]
    sink = Copied(tmp_path)
    await meanwhile(sink.clock, sink.start())
    assert sink.prepared.restored is not None
    assert (sink.prepared.restored.problems, sink.prepared.restored.gaps) == ((), {})
    for cluster in CLUSTERS:
        ring = sink.spool.rings[cluster]
        assert (ring.ring_id.hex(), ring.floor, ring.durable) == tuple(
            expected[cluster][name] for name in ("ring", "floor", "next")
        )
        assert ring.cursor("siem").position == expected[cluster]["cursor"]
        assert digest(everything(sink, cluster)) == expected[cluster]["sha256"]
    before = sink.data()
    sink.add(20)
    await sink.round()
    assert before <= sink.data()  # nothing is sent again
    assert sink.uploader.statistics().left == ()
    events = everything(sink)
    sink.stop()
    whole(sink)
    other = await restarted(sink)
    assert everything(other) == events
    assert digest(everything(other, "test-1")) == expected["test-1"]["sha256"]
    other.stop()
    whole(other)
