"""What a fluent-bit configuration says, whichever of its two languages it is written in: sections with their keys."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from auditsink.common.operator_error import OperatorError

KINDS = frozenset({"service", "input", "filter", "output"})
"""Sections that mean something here, in lower case."""


class FluentBitError(OperatorError):
    """The configuration cannot be taken over: one sentence for the operator, with the place."""


@dataclass(frozen=True, slots=True)
class FluentEntry:
    """A key (lower case) and its value as text, `${NAME}` and all. `place`: `file:line`, or `file: path.of.key`."""

    key: str
    value: str
    place: str


@dataclass(frozen=True, slots=True)
class FluentSection:
    """One `[OUTPUT]` or the like. `kind` is lower case; `file`: the name of the file that it stands in."""

    kind: str
    entries: tuple[FluentEntry, ...]
    place: str
    file: str = ""

    def last(self, key: str) -> FluentEntry | None:
        """The entry that counts where a key may stand once: the last one."""
        return next((entry for entry in reversed(self.entries) if entry.key == key), None)

    def text(self, key: str, default: str = "") -> str:
        """The value of a key."""
        found = self.last(key)
        return default if found is None else found.value

    @property
    def plugin(self) -> str:
        """The value of `name`, in lower case."""
        return self.text("name").lower()


@dataclass(frozen=True, slots=True)
class FluentDocument:
    """All sections, included files in place, in the order that numbers fluent-bit's plugins.

    `variables`: what the file itself sets for `${NAME}` (`@SET`, `env:`), before the environment.
    """

    sections: tuple[FluentSection, ...]
    variables: Mapping[str, str] = field(default_factory=dict)

    def of(self, kind: str) -> Iterator[FluentSection]:
        """The sections of a kind."""
        return (section for section in self.sections if section.kind == kind)
