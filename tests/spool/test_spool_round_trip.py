"""Real and invented requests out of a spool and into another one: the same events under the same marks."""

from pathlib import Path

import corpus
from eventlists import Made, free, hostile, texts
from hypothesis import HealthCheck, given, settings
from spoolkit import config, submit_all

from auditsink.audit import eventlist
from auditsink.audit.eventlist import Mark
from auditsink.common.disk import RealDisk
from auditsink.spool import Spool
from auditsink.spool.offline import inspect
from auditsink.spool.offline.export import export
from auditsink.spool.offline.import_ import body_of as restored_body
from auditsink.spool.offline.import_ import restore
from auditsink.spool.types import Record

MADE_NS = 1_800_000_000_000_000_000


def test_recorded_and_hostile_batches_come_back_as_they_were(tmp_path: Path) -> None:
    bodies = [body.data for body in corpus.bodies("hostile-patches", "batch50-request-h2tls")]
    bodies += [b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{"half', bodies[0] + b"\x00tail"]
    place = tmp_path / "spool"
    spool = Spool.open(config(place, max_bytes=2**26), disk=RealDisk())
    spool.start(lambda call: call())
    submit_all(spool, spool.ring("default"), bodies)
    spool.stop()
    export(place, ["default"], tmp_path / "out", made_ns=MADE_NS)
    restore(tmp_path / "out", tmp_path / "again")

    held, again = (list(inspect.records(one, "default")) for one in (place, tmp_path / "again"))
    for one, other in zip(held, again, strict=True):
        assert eventlist.ndjson(other.events, other.marks) == eventlist.ndjson(one.events, one.marks)
        assert (other.first_sequence, other.received_ns, other.marks) == (
            one.first_sequence,
            one.received_ns,
            one.marks,
        )
    assert any(record.marks & Mark.UNSPLIT for record in again)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(free(texts() | hostile))
def test_any_request_can_be_built_again_from_its_lines(made: Made) -> None:
    split = eventlist.split(made.body)
    lines = list(eventlist.ndjson(split.events, split.marks))
    if lines:
        body = restored_body(Record(0, lines, 0, "", split.marks))
        assert body is not None
        again = eventlist.split(body)
        assert list(eventlist.ndjson(again.events, split.marks & Mark.UNSPLIT)) == lines
