"""Which answers the benchmark takes for those that met the end of a segment."""

import time
from pathlib import Path

import corpus
import pytest
from running import Sink

from benchmarks import rotations

MS = 10**6


def test_an_answer_that_was_due_around_a_rotation_met_it_however_long_it_took() -> None:
    answers = [(at * MS, (at + took) * MS) for at, took in ((0, 500), (89, 1), (90, 2), (110, 3), (111, 4), (300, 5))]
    assert rotations.sorted_out(answers, [300 * MS, 100 * MS]) == (
        [2 * MS, 3 * MS, 5 * MS],
        [500 * MS, 1 * MS, 4 * MS],
    )


def test_without_a_rotation_every_answer_is_between() -> None:
    assert rotations.sorted_out([(2, 3), (1, 4)], []) == ([], [3, 1])


def test_a_tail_is_told_of_enough_answers_only() -> None:
    answers = [(number * 20 * MS, number * 20 * MS + (number + 1) * 1000) for number in range(2 * rotations.LEAST)]
    moments = [due for due, _answered in answers[::2]]
    told = rotations.figures(answers, moments)
    assert (told["rotations"], told["answers_rotating"], told["answers_between"]) == (2000, 2000, 2000)
    assert (told["p99.9_rotating"], told["p99.9_between"]) == (3.997, 3.998)
    assert told["rotation_p99.9"] == pytest.approx(1.0, abs=0.001)
    assert rotations.figures(answers, moments[1:]) == {
        "rotations": 1999, "answers_rotating": 1999, "answers_between": 2001,
    }  # fmt: skip


async def test_segments_of_a_real_sink_tell_when_they_were_begun(tmp_path: Path) -> None:
    before = time.time_ns()
    nowhere = {"name": "trail", "type": "http", "url": "http://127.0.0.1:9"}
    async with Sink(tmp_path, [nowhere], spool={"max_bytes": "16MiB", "segment_bytes": "4KiB"}) as sink:
        for number in range(40):
            assert (await sink.post(corpus.plain_body(f"event-{number}").data))[0] == 200
    (ring,) = (sink.spool / "rings").iterdir()
    begun = rotations.begun(sink.spool)
    assert len(begun) == len(list(ring.glob("*.seg"))) - 1 > 0
    assert begun == sorted(begun)
    assert before < begun[0]
    assert begun[-1] < time.time_ns()
