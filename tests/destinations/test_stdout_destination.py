"""Standard output as a pipe, a file and nothing at all."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from destinationkit import HOSTILE, batch, event
from hypothesis import given
from hypothesis import strategies as st

from auditsink.common.units import Duration
from auditsink.config import StdoutConfig
from auditsink.delivery.outcome import Delivered, Misconfigured, Retry, RetryCause
from auditsink.destinations.stdout import Progress, StdoutDestination, after
from auditsink.testing.clock import FakeClock


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        with contextlib.suppress(OSError):
            os.close(fd)


def destination(fd: int, timeout: float = 60.0) -> StdoutDestination:
    return StdoutDestination(StdoutConfig(name="out", timeout=Duration(timeout)), FakeClock(), fd=fd)


def lines(*events: bytes) -> bytes:
    return b"".join(one + b"\n" for one in events)


async def drained(read: int, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += await asyncio.to_thread(os.read, read, size - len(found))
    return found


async def test_events_are_lines(pipe: tuple[int, int]) -> None:
    read, write = pipe
    attempt = await destination(write).prepare(batch([event(0), HOSTILE["raw-newlines"]]))

    assert await attempt() == Delivered()
    expected = lines(event(0), HOSTILE["raw-newlines"].replace(b"\n", b" ").replace(b"\r", b" "))
    assert await drained(read, len(expected)) == expected


async def test_much_more_than_a_pipe_holds_goes_through_while_somebody_reads(pipe: tuple[int, int]) -> None:
    read, write = pipe
    events = [event(number) for number in range(3000)]
    attempt = await destination(write).prepare(batch(events))
    outcome, found = await asyncio.gather(attempt(), drained(read, len(lines(*events))))

    assert outcome == Delivered()
    assert found == lines(*events)


async def test_a_reader_that_stalls_is_waited_for_without_blocking_the_loop(pipe: tuple[int, int]) -> None:
    read, write = pipe
    events = [event(number) for number in range(3000)]
    out = destination(write, timeout=0.01)
    attempt = await out.prepare(batch(events))
    outcome = await attempt()
    assert isinstance(outcome, Retry)
    assert "standard output" in outcome.why

    found = b""
    while not isinstance(outcome, Delivered):
        found += os.read(read, 1_000_000)
        outcome = await attempt()
    os.close(write)
    found += _read_all(read)
    assert found == lines(*events)


async def test_another_batch_after_a_stall_does_not_glue_two_events_together(pipe: tuple[int, int]) -> None:
    read, write = pipe
    out = destination(write, timeout=0.01)
    large = [event(number, request=b'"' + b"x" * 10_000 + b'"') for number in range(20)]
    first = await out.prepare(batch(large))
    assert isinstance(await first(), Retry)
    second = await out.prepare(batch([event(99)]))
    out._timeout = Duration(60)  # only what is to fail is hurried

    reader = asyncio.create_task(asyncio.to_thread(_read_all, read))
    assert await second() == Delivered()
    assert await first() == Delivered()
    os.close(write)
    found = (await reader).splitlines()
    assert sorted(found) == sorted([*large, event(99)])


def _read_all(fd: int) -> bytes:
    with open(fd, "rb", closefd=False) as stream:
        return stream.read()


async def test_a_reader_that_has_gone_needs_a_person(pipe: tuple[int, int]) -> None:
    read, write = pipe
    os.close(read)
    out = destination(write)
    attempt = await out.prepare(batch([event(0)]))
    outcome = await attempt()

    assert isinstance(outcome, Misconfigured)
    assert "reader is gone" in outcome.why
    assert isinstance(await out.probe(), Misconfigured)


async def test_probing_writes_nothing(pipe: tuple[int, int]) -> None:
    read, write = pipe
    out = destination(write)
    assert await out.probe() == Delivered()
    await out.close()
    os.close(write)

    assert os.read(read, 1) == b""


async def test_a_pipe_that_somebody_made_non_blocking_works_as_well(pipe: tuple[int, int]) -> None:
    read, write = pipe
    os.set_blocking(write, False)
    events = [event(number) for number in range(1000)]
    attempt = await destination(write).prepare(batch(events))
    outcome, found = await asyncio.gather(attempt(), drained(read, len(lines(*events))))

    assert outcome == Delivered()
    assert found == lines(*events)


async def test_a_file_as_standard_output(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as stream:
        attempt = await destination(stream.fileno()).prepare(batch([event(0)] * 5000))
        assert await attempt() == Delivered()

    assert (tmp_path / "out").read_bytes() == lines(*[event(0)] * 5000)


async def test_a_write_that_fails_is_tried_again() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    outcome = await (await destination(full).prepare(batch([event(0)])))()
    os.close(full)

    assert outcome == Retry("standard output: No space left on device", cause=RetryCause.ELSEWHERE)


def test_a_stalled_reader_does_not_keep_the_process_from_ending(tmp_path: Path) -> None:
    script = (
        "import asyncio; from auditsink.config import StdoutConfig\n"
        "from auditsink.destinations.stdout import StdoutDestination\n"
        "from auditsink.delivery.destination import Batch\n"
        "from auditsink.common.clock import SystemClock\n"
        "async def main():\n"
        "    out = StdoutDestination(StdoutConfig(name='out', timeout=600), SystemClock())\n"
        "    attempt = await out.prepare(Batch('c', '', [b'{}' * 500_000], range(1), 0))\n"
        "    task = asyncio.ensure_future(attempt()); await asyncio.sleep(0.05); task.cancel()\n"
        "    await asyncio.wait([task]); await out.close()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.wait(timeout=30) == 0


@given(st.lists(st.binary(max_size=5).map(lambda raw: raw.replace(b"\n", b"")), min_size=1, max_size=5), st.data())
def test_however_often_it_is_interrupted_only_whole_lines_come_out(several: list[bytes], data: st.DataObject) -> None:
    content = lines(*several)
    torn, position, out = b"", 0, b""
    for _ in range(10):
        pending = torn + content[position:]
        written = data.draw(st.integers(0, len(pending)))
        out += pending[:written]
        torn, position = after(Progress(torn, position), content, written)
        assert out + torn == content[:position]
        assert position == 0 or content[position - 1 : position] == b"\n"
