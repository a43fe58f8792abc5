"""One apiserver, one sink, destinations with different policies: each gets its own part, counted, over kills too."""

import json
import re
from pathlib import Path
from typing import Any

import corpus
from running import Sink

CONFIG = Path(__file__).parents[2] / "config"
ARCHIVES = ("blocking-rr-h1tls", "batch50-request-h2tls")


def destinations(place: Path) -> list[dict[str, Any]]:
    """All of it, what the policy of `config/` lets through, and Secrets alone with masks."""
    only = {"only": [{"resources": [{"group": "", "resources": ["secrets"]}]}], "mask": ["secrets"]}
    policy = {"policy_file": str(CONFIG / "apiserver" / "policy.yaml")}
    several = {"all": None, "policy": policy, "secrets": only}
    return [
        {"name": name, "type": "file", "path": str(place / f"{name}.ndjson")} | ({"filter": how} if how else {})
        for name, how in several.items()
    ]


def lines(place: Path, name: str) -> list[bytes]:
    path = place / f"{name}.ndjson"
    return path.read_bytes().splitlines() if path.exists() else []


def places(several: list[bytes]) -> set[tuple[str, str, str]]:
    """What tells events apart, whatever was taken out of them."""
    return {(one["auditID"], one["stage"], one["requestURI"]) for one in map(json.loads, several)}


async def test_two_destinations_get_their_own_parts_of_one_trail(tmp_path: Path) -> None:
    bodies = [body.data for body in corpus.bodies(*ARCHIVES)]
    events = corpus.events(*ARCHIVES)
    async with Sink(tmp_path, destinations(tmp_path)) as sink:
        half = len(bodies) // 2
        await sink.apiserver(bodies[:half])
        await sink.kill()
        await sink.start()
        await sink.apiserver(bodies[half:])
        status = await sink.delivered()
        metrics = await sink.get("/metrics")
        await sink.stop()
    everything, some, secrets = (lines(tmp_path, name) for name in ("all", "policy", "secrets"))
    assert set(corpus.digests(everything)) == set(corpus.digests(events))
    expected = [event for event in events if b'"objectRef":{"resource":"secrets"' in event]
    assert places(secrets) == places(expected)
    assert len(expected) > 20
    assert all(b"***" in one for one in secrets if re.search(rb'"data":\{"', one))
    assert places(some) < places(events)
    assert b'"stage":"RequestReceived"' not in b"".join(some)
    assert not [one for one in map(json.loads, some) if one.get("objectRef", {}).get("resource") == "secrets"
                and ("requestObject" in one or "responseObject" in one)]  # fmt: skip
    for one in status["destinations"]:
        assert one["accepted"] == len(events)
        assert one["dead_lettered"] == 0
        assert (one["filtered"] > 0) == (one["name"] != "all")
        assert (
            f'filtered_events_total{{cluster="default",destination="{one["name"]}"}} {float(one["filtered"])}'
            in metrics
        )


async def test_what_a_filter_cannot_read_is_a_dead_letter_and_everything_else_arrives(tmp_path: Path) -> None:
    bodies = corpus.hostile_bodies()
    masked = {
        "name": "masked",
        "type": "file",
        "path": str(tmp_path / "masked.ndjson"),
        "filter": {"mask": ["secrets"]},
    }
    async with Sink(tmp_path, [masked]) as sink:
        await sink.apiserver(body.data for body in bodies)
        (one,) = (await sink.delivered())["destinations"]
        await sink.stop()
    events = [event for body in bodies for event in body.events]
    readable = [event for event in events if event.startswith(b'{"level"')]
    assert corpus.digests(lines(tmp_path, "masked")) == corpus.digests(readable)
    assert (one["delivered"], one["dead_lettered"]) == (len(readable), len(events) - len(readable))


async def test_patches_of_millions_of_brackets_cost_the_neighbours_in_their_batch_nothing(tmp_path: Path) -> None:
    """Two patches that no parser's patience outlasts, among 400 events, one of them nested beyond its depth as well."""
    patches = [b"[" + b"{}," * 2**20 + b"1]", b"[" * 9_900 + b"[0]," * 2**18 + b"0" + b"]" * 9_900]
    hostile = [corpus.event(f"hostile-{number}", patch) for number, patch in enumerate(patches)]
    events = [corpus.event(f"neighbour-{number}") for number in range(398)]
    events[100:100] = hostile
    masked = {"filter": {"mask": ["secrets"]}}
    files = [
        {"name": name, "type": "file", "path": str(tmp_path / f"{name}.ndjson")} | how
        for name, how in {"all": {}, "masked": masked}.items()
    ]
    async with Sink(tmp_path, files) as sink:
        await sink.apiserver([corpus.event_list(events)])
        status = await sink.delivered()
        await sink.stop()
    for one in status["destinations"]:
        assert lines(tmp_path, one["name"]) == events
        assert (one["accepted"], one["delivered"], one["dead_lettered"]) == (400, 400, 0)
