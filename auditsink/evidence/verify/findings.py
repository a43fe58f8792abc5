"""What a verification found, in sentences: problems (what was signed is not what is there), notes, and counts."""

from dataclasses import dataclass, field

MOST_PROBLEMS = 20
"""Told in one go: after so many the rest of the input tells nothing new, and each may cost a search."""


class EnoughError(Exception):
    """So many problems were found that going on is of no use."""


@dataclass(slots=True)
class Findings:
    """`proven` counts events that are exactly what a checkpoint states, each once.

    `repeats`: lines that are there a second time, as a crash or a replay leaves them. `uncovered`: events or lines that
    no checkpoint speaks of. `elsewhere`: events that checkpoints speak of and that this input does not claim to hold.
    `most`: problems after which it ends.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checkpoints: int = 0
    proven: int = 0
    repeats: int = 0
    uncovered: int = 0
    elsewhere: int = 0
    most: int = MOST_PROBLEMS

    def problem(self, sentence: str) -> None:
        """Something does not match. Raises EnoughError after the last one that is told."""
        self.problems.append(sentence)
        if len(self.problems) >= self.most:
            raise EnoughError

    def note(self, sentence: str) -> None:
        """Something that a reader of the result should know."""
        self.notes.append(sentence)


def events(first: int, stop: int) -> str:
    """A range in words: `event 7`, `events 7 to 9`."""
    return f"event {first}" if stop == first + 1 else f"events {first} to {stop - 1}"
