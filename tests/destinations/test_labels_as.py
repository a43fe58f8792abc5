"""`labels_as`: what each type of destination writes of a labelled cluster, and that nobody else notices."""
# ruff: noqa: ASYNC240 - these tests look at local files between awaits, and nothing else runs in their loop

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard
from destinationkit import HOSTILE, batch, event

from auditsink import load
from auditsink.audit.eventlist import Mark, one_line, unsplit_document
from auditsink.clusters.retained import RetainedCluster, write
from auditsink.common.clock import SystemClock
from auditsink.delivery.destination import Attempt, Batch, Destination, DestinationError, Limits
from auditsink.delivery.outcome import Delivered, Outcome
from auditsink.destinations import build
from auditsink.destinations.wrappers import LabelledDestination, WithLabels
from auditsink.testing.scripted import Reply, ScriptedServer

LABELS = {"team": "payments", "seed.gardener.cloud/name": "s1"}
EVENTS = [event(0, annotations={"a": "1"}), event(1), *(HOSTILE[name] for name in ("raw-newlines", "nested-objects"))]
MEMBERS = b'"seed.gardener.cloud/name":"s1","team":"payments"'
ANNOTATED = [EVENTS[0][:-2] + b"," + MEMBERS + b"}}"] + [
    one[:-1] + b',"annotations":{' + MEMBERS + b"}}" for one in EVENTS[1:]
]
FIELDS = [one[:-1] + b"," + MEMBERS + b"}" for one in EVENTS]
EXPECTED = {"annotations": ANNOTATED, "fields": FIELDS, "none": EVENTS}


def made(text: str) -> Destination:
    config = load.parse(f"destinations: [{{name: one, {text}}}]".encode(), "f", {})
    return build(config.destinations[0], clock=SystemClock())


def labelled(events: Sequence[bytes] = EVENTS, **settings: Any) -> Batch:
    return replace(batch(events, **settings), labels=LABELS)


def lines(several: Sequence[bytes]) -> bytes:
    return b"".join(one_line(one) + b"\n" for one in several)


async def deliver(destination: Destination, several: Batch) -> None:
    assert await (await destination.prepare(several))() == Delivered()
    await destination.close()


@pytest.mark.parametrize("how", EXPECTED)
async def test_a_file_has_the_labels_as_it_is_told(tmp_path: Path, how: str) -> None:
    path = tmp_path / "audit.ndjson"
    await deliver(made(f"type: file, path: {path}, labels_as: {how}"), labelled())
    assert path.read_bytes() == lines(EXPECTED[how])


async def test_without_the_key_and_without_labels_every_byte_is_as_it_came(tmp_path: Path) -> None:
    for name, text, several in (("a", "", labelled()), ("b", ", labels_as: annotations", batch(EVENTS))):
        await deliver(made(f"type: file, path: {tmp_path / name}{text}"), several)
        assert (tmp_path / name).read_bytes() == lines(EVENTS)


async def test_what_is_large_is_labelled_in_a_thread_and_the_same(tmp_path: Path) -> None:
    large = [one.replace(b'"Request"', b'"Request","x":"%b"' % (b"y" * 70_000)) for one in EVENTS]
    await deliver(made(f"type: file, path: {tmp_path / 'a'}, labels_as: fields"), labelled(large))
    assert (tmp_path / "a").read_bytes() == lines([one[:-1] + b"," + MEMBERS + b"}" for one in large])


@pytest.mark.parametrize("how", EXPECTED)
async def test_an_object_has_them_too(tmp_path: Path, how: str) -> None:
    await deliver(made(f"type: local, path: {tmp_path}, labels_as: {how}"), labelled())
    (found,) = tmp_path.rglob("*.zst")
    assert zstandard.ZstdDecompressor().decompressobj().decompress(found.read_bytes()) == lines(EXPECTED[how])


async def test_standard_output_has_them_too(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    await deliver(made("type: stdout, labels_as: annotations"), labelled())
    assert capfdbinary.readouterr().out == lines(ANNOTATED)


WRAPPED: dict[str, Callable[[list[bytes]], bytes]] = {
    "ndjson": lines,
    "json_array": lambda several: b"[" + b",".join(several) + b"]",
    "event_list": lambda several: (
        b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[' + b",".join(several) + b"]}\n"
    ),
}


@pytest.mark.parametrize("how", EXPECTED)
@pytest.mark.parametrize("name", WRAPPED)
async def test_a_collector_gets_them_in_each_plain_format(name: str, how: str) -> None:
    answer = b'{"accepted":%d}' % len(labelled().events)
    async with ScriptedServer(script=[Reply(body=answer)]) as server:
        await deliver(made(f'type: http, url: "{server.url}", format: {name}, labels_as: {how}'), labelled())
        (request,) = server.requests
    assert request.body == WRAPPED[name](EXPECTED[how])


async def test_a_search_engine_gets_them_inside_and_knows_the_event_by_the_same_id() -> None:
    bodies = []
    for how in ("none", "fields"):
        answer = b'{"errors":false,"items":[{"create":{"status":201}},{"create":{"status":201}}]}'
        async with ScriptedServer(script=[Reply(body=answer)]) as server:
            text = f'type: http, url: "{server.url}", format: elasticsearch, labels_as: {how}'
            await deliver(made(text), labelled(EVENTS[:2]))
            bodies.append([json.loads(line) for line in server.requests[0].body.splitlines()])
    plain, inside = bodies
    assert plain[::2] == inside[::2]
    assert [one["kubernetes.audit"]["team"] for one in inside[1::2]] == ["payments", "payments"]


@pytest.mark.parametrize("how", ["annotations", "fields"])
async def test_a_body_that_could_not_be_split_has_them_in_its_document(tmp_path: Path, how: str) -> None:
    body = b'{"kind":"EventList","items":7'
    path = tmp_path / "audit.ndjson"
    await deliver(made(f"type: file, path: {path}, labels_as: {how}"), labelled([body], marks=Mark.UNSPLIT))
    found = json.loads(path.read_bytes())
    assert (found["annotations"] if how == "annotations" else found)["team"] == "payments"
    assert found["base64"] == json.loads(unsplit_document(body))["base64"]


async def test_a_format_that_promises_utf8_keeps_its_promise() -> None:
    several = labelled([HOSTILE["invalid-utf8"]], marks=Mark.NOT_UTF8)
    async with ScriptedServer(script=[Reply()]) as server:
        await deliver(made(f'type: http, url: "{server.url}", labels_as: annotations'), several)
        (request,) = server.requests
    assert json.loads(request.body.decode())["annotations"] == LABELS


class Inner:
    """Keeps the batches that it is handed."""

    name, type, limits = "in", "inner", Limits(1, 1, 1.0, 1)

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    async def prepare(self, batch: Batch) -> Attempt:
        self.batches.append(batch)
        return self.probe

    async def probe(self) -> Outcome:
        return Delivered()

    async def close(self) -> None:
        pass


async def test_a_batch_without_anything_to_put_in_is_the_very_same() -> None:
    inner = Inner()
    destination = LabelledDestination(inner, "fields")
    several = [replace(labelled(), labels={}), replace(labelled(), labels={"stage": "x"})]
    for one in several:
        await deliver(destination, one)
    assert all(got is given for got, given in zip(inner.batches, several, strict=True))


async def test_the_events_of_a_list_have_them_too(tmp_path: Path) -> None:
    path = tmp_path / "audit.ndjson"
    await deliver(
        made(f"type: file, path: {path}, record: batch, add: {{x: y}}, labels_as: annotations"), labelled(EVENTS[:2])
    )
    found = json.loads(path.read_bytes())
    assert [one["annotations"]["team"] for one in found["items"]] == ["payments"] * 2
    assert (found["x"], "annotations" in found) == ("y", False)


async def test_what_a_command_delivers_has_the_labels_that_the_sink_wrote_down(tmp_path: Path) -> None:
    write(tmp_path, {"prod": RetainedCluster(labels=LABELS)})
    path = tmp_path / "audit.ndjson"
    for cluster in ("prod", "other"):
        inner = made(f"type: file, path: {path}, labels_as: annotations")
        destination = WithLabels(inner, tmp_path)
        assert (destination.name, destination.type, destination.limits) == ("one", "file", inner.limits)
        assert await destination.probe() == Delivered()
        await deliver(destination, batch(EVENTS, cluster=cluster))
    assert path.read_bytes() == lines(ANNOTATED) + lines(EVENTS)


def test_a_command_that_cannot_know_the_labels_says_so(tmp_path: Path) -> None:
    (tmp_path / "clusters.json").write_text("{")
    with pytest.raises(DestinationError) as caught:
        WithLabels(made(f"type: file, path: {tmp_path / 'a'}"), tmp_path)
    assert "clusters.json" in str(caught.value)


CLUSTERS = (
    "clusters: [{name: a, anonymous: true, labels: {stage: prod, team: x, garden.gardener.cloud/clusterIdentity: y}}]"
)


def test_check_says_where_labels_go_and_which_do_not() -> None:
    config = load.parse(
        f"{CLUSTERS}\ndestinations: [{{name: d, type: file, path: /x, labels_as: fields}}, "
        "{name: e, type: file, path: /y}]".encode(),
        "f",
        {},
    )
    told = list(config.plan())
    assert any(
        one.startswith("delivers to d: file /x") and one.endswith("the labels of an event's cluster as fields")
        for one in told
    )
    assert not any("labels" in one for one in told if one.startswith("delivers to e"))
    (risk,) = [one for one in config.risks() if "labels_as" in one]
    assert risk.startswith("destinations[0].labels_as: fields leaves out the labels stage: events have fields of these")


def test_check_says_when_there_are_no_labels() -> None:
    config = load.parse(b"destinations: [{name: d, type: file, path: /x, labels_as: annotations}]", "f", {})
    assert "destinations[0].labels_as: has no effect without clusters, whose labels these are" in [*config.risks()]


@pytest.mark.parametrize("name", ["A", "1a", "a/b/c", "a.io/", "/a", "-a.io/b", "a.io/-b", "a.io/" + "b" * 64])
def test_a_name_that_neither_is_plain_nor_has_a_prefix_is_refused(name: str) -> None:
    text = (
        f"clusters: [{{name: a, anonymous: true, labels: {{{name!r}: x}}}}]\ndestinations: [{{name: o, type: stdout}}]"
    )
    with pytest.raises(load.ConfigError) as caught:
        load.parse(text.encode(), "f", {})
    assert "is no name for a label" in str(caught.value)
