"""The end of a membership: no heartbeat goes on, and the group knows."""

import asyncio
from typing import Any

import pytest

from auditsink.kafka_spool import membership


class Client:
    """Stands for aiokafka's consumer and all that is in it, and notes what was asked of it."""

    def __init__(self, stop: Any) -> None:
        self.done: list[str] = []
        self._stop = stop
        self._coordinator = self._fetcher = self._client = self

    async def stop(self) -> None:
        self.done.append("stop")
        await self._stop()

    async def _stop_heartbeat_task(self) -> None:
        self.done.append("heartbeat")

    async def _stop_commit_offsets_refresh_task(self) -> None:
        self.done.append("refresh")

    async def _maybe_leave_group(self) -> None:
        self.done.append("leave")

    async def close(self) -> None:
        self.done.append("close")


async def fails() -> None:
    raise RuntimeError("coordination failed")


async def hangs() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("stop", [fails, hangs])
async def test_a_stop_that_fails_or_hangs_leaves_no_member_behind(stop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "LAST_SECONDS", 0.01)
    client = Client(stop)
    await membership.ended(client)
    assert client.done == ["stop", "heartbeat", "refresh", "leave", "close", "close"]
