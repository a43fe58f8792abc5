"""Which events a listener wants to see: patterns for six fields. Pure.

A pattern is compared with the whole value; `*` stands for any characters, `!` before it turns it round. An event is
wanted when every field that has patterns matches one of those without `!` (if there are any) and none of the others.
"""

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase

from auditsink.tail.line import TailLine

FIELDS = ("cluster", "user", "verb", "resource", "namespace", "code")
MOST_PATTERNS = 32
LONGEST_PATTERN = 256


class BadPatternError(ValueError):
    """The message says which field, and what a pattern may be."""


def _resource_names(line: TailLine) -> Iterable[str]:
    """`pods`, `pods/exec`, `deployments.apps`, `deployments.apps/scale`."""
    name, _, below = line.resource.partition("/")
    plain = name.partition(".")[0]
    return {name, plain, line.resource, f"{plain}/{below}"} if below else {name, plain}


_VALUES: dict[str, Callable[[TailLine], Iterable[str]]] = {
    "cluster": lambda line: (line.cluster,),
    "user": lambda line: (line.user,),
    "verb": lambda line: (line.verb,),
    "resource": _resource_names,
    "namespace": lambda line: (line.namespace,),
    "code": lambda line: (str(line.code), f"{line.code // 100}xx"),
}
"""The names under which a field's value may be meant."""


class TailPatterns:
    """Which events a listener wants, by the patterns that he gave for each field."""

    def __init__(self, patterns: Mapping[str, Iterable[str]]) -> None:
        """`patterns` by field. Raises BadPatternError."""
        self._patterns = {field: _checked(field, several) for field, several in patterns.items()}

    def cluster(self, name: str) -> bool:
        """Whether events of this cluster can be wanted at all."""
        return _fits(self._patterns.get("cluster", ()), (name,))

    def event(self, line: TailLine) -> bool:
        """Whether this event is wanted."""
        return all(_fits(several, _VALUES[field](line)) for field, several in self._patterns.items())


def _checked(field: str, several: Iterable[str]) -> tuple[str, ...]:
    patterns = tuple(pattern for pattern in several if pattern)
    if field not in FIELDS:
        raise BadPatternError(f"there is no filter of that name; there are {', '.join(FIELDS)}")
    if len(patterns) > MOST_PATTERNS or any(len(pattern) > LONGEST_PATTERN for pattern in patterns):
        raise BadPatternError(f"{field}: at most {MOST_PATTERNS} patterns of at most {LONGEST_PATTERN} characters")
    return patterns


def _fits(patterns: Iterable[str], names: Iterable[str]) -> bool:
    names = tuple(names)
    unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    wished = [pattern for pattern in patterns if not pattern.startswith("!")]
    if any(_matches(pattern, names) for pattern in unwanted):
        return False
    return not wished or any(_matches(pattern, names) for pattern in wished)


def _matches(pattern: str, names: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names)
