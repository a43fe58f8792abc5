"""Four destinations, three of them in trouble: the fourth has everything, and memory does not follow the backlog."""

import random
import socket
from pathlib import Path
from typing import Any

import corpus
from running import Sink, check_accounts

from auditsink.testing.hec import HecServer
from auditsink.testing.scripted import Received, Reply

TOKEN = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
BODIES = 250
EVENT_BYTES = 20_000


class Slow(HecServer):
    """Takes everything, 50 ms after it arrived."""

    async def respond(self, request: Received) -> Reply:
        answer = await super().respond(request)
        return Reply(answer.status, answer.body, answer.headers, delay=0.05)


def noise(number: int) -> corpus.Body:
    """Events that hardly compress, so that what is kept in memory would show."""
    chance = random.Random(number)
    padding = [b'{"pad":"' + chance.randbytes(EVENT_BYTES // 2).hex().encode() + b'"}' for _ in range(10)]
    several = [corpus.event(f"noise-{number}-{at}", pad) for at, pad in enumerate(padding)]
    return corpus.Body(f"noise-{number}", corpus.event_list(several), several)


def refuse(event: bytes) -> int | None:
    """Every hundredth event or so."""
    return 6 if b'0-7"' in event[:200] else None


def splunk(name: str, url: str) -> dict[str, Any]:
    backoff = {"initial": "50ms", "max": "100ms"}
    return {"name": name, "type": "splunk", "url": url, "token": TOKEN, "timeout": "2s", "backoff": backoff}


async def test_the_healthy_one_has_everything_and_memory_is_bounded(tmp_path: Path) -> None:
    with socket.socket() as taken:  # nobody listens on it
        taken.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with (
            HecServer(token=TOKEN) as fast,
            Slow(token=TOKEN) as slow,
            HecServer(token=TOKEN, refuse=refuse) as picky,
        ):
            several = [splunk("fast", fast.url), splunk("slow", slow.url), splunk("picky", picky.url)]
            async with Sink(tmp_path, [*several, splunk("dead", dead)]) as sink:
                await sink.post(noise(-1).data)
                await sink.until(lambda now: now["destinations"][0]["delivered"] == 10)
                before = sink.resident
                bodies = [noise(number) for number in range(BODIES)]
                await sink.apiserver([body.data for body in bodies])
                status = await sink.until(lambda now: not any(one["pending"] for one in now["destinations"][:3]))
                check_accounts(status)
                assert sum(len(body.data) for body in bodies) > 50_000_000
                assert sink.peak - before < 44 * 2**20, "some batches for each destination and no more"
    by_name = {one["name"]: one for one in status["destinations"]}
    count = 10 * (BODIES + 1)
    assert len({bytes(one.event) for one in fast.events}) == len(fast.events) == count
    assert by_name["slow"]["delivered"] == count
    refused = sum(refuse(event) is not None for body in [noise(-1), *bodies] for event in body.events)
    assert refused > 0
    assert (by_name["picky"]["dead_lettered"], by_name["picky"]["delivered"]) == (refused, count - refused)
    assert (by_name["dead"]["pending"], by_name["dead"]["state"]) == (count, "retrying")
