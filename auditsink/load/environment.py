"""`${NAME}` in the file's values becomes the environment's value; `$${` stays `${`.

`${NAME:-default}` has a value where the variable is not set or empty, as in a shell.
"""

import re
from collections.abc import Mapping, Sequence

from auditsink.load import document

_REFERENCE = re.compile(r"\$(\$?)\{([^}]*)(\}?)")
_STEPS = re.compile(r"[.\[\]]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


PREFIX = "AUDITSINK__"
"""How variables begin that stand for a key: `AUDITSINK__receive__listen`, `AUDITSINK__destinations__0__url`."""


def overlaid(plain: object, environment: Mapping[str, str]) -> object:
    """The document with the variables that stand for keys in it, in their place; each is a piece of YAML.

    Raises DocumentError that names the variable, and not its value.
    """
    for name in sorted(environment):
        if name.startswith(PREFIX):
            steps = name.removeprefix(PREFIX).lower().split("__")
            try:
                value = document.parse(environment[name].encode(errors="surrogateescape"))
                plain = _with(plain, steps, value)
            except (document.DocumentError, ValueError) as problem:
                what = str(problem) if not isinstance(problem, document.DocumentError) else "holds no YAML; quote it"
                raise document.DocumentError([f" {name}: {what}"]) from None
    return plain


def _with(plain: object, steps: Sequence[str], value: object) -> object:
    """The value with another one inside it, at the end of the steps."""
    if not steps:
        return value
    step, *more = steps
    if step.isdecimal() and (isinstance(plain, list) or plain is None):
        items = list(plain or ())
        place = int(step)
        if place > len(items):
            raise ValueError(f"stands for place {place} of a list that has {len(items)}; count from 0, without a gap")
        items[place : place + 1] = [_with(items[place] if place < len(items) else None, more, value)]
        return items
    if plain is not None and not isinstance(plain, dict):
        raise ValueError("stands for a key inside of what holds none; see the file, or the variables beside it")
    below = dict(plain or {})
    below[step] = _with(below.get(step), more, value)
    return below


def variable_of(mistake: str, environment: Mapping[str, str], *, makes: bool = False) -> str:
    """The variable that a mistake (`path: what`) stands in; "" for one that stands in the file.

    `makes`: a variable whose key lies in a section of that path is meant, too.
    """
    steps = [step.lower() for step in _STEPS.split(mistake.partition(": ")[0]) if step]
    for name in environment:
        if name.startswith(PREFIX):
            given = name.removeprefix(PREFIX).lower().split("__")
            if steps[: len(given)] == given or (makes and given[: len(steps)] == steps):
                return name
    return ""


def expand(text: str, environment: Mapping[str, str]) -> str:
    """The text with every reference replaced. Raises ValueError that names the variable."""

    def value(match: re.Match[str]) -> str:
        escaped, content, closed = match.groups()
        if escaped:
            return match[0][1:]
        name, has_default, default = content.partition(":-")
        # Only a well-formed name is repeated: anything else may be a piece of a secret.
        if not closed or not _NAME.match(name):
            raise ValueError("has a ${...} that names no environment variable; write $${ for a literal ${")
        if has_default:
            return environment.get(name) or default
        if name not in environment:
            ways = f"set it, write ${{{name}:-default}}, or $${{{name}}} for the text"
            raise ValueError(f"the environment variable {name} is not set; {ways}")
        return environment[name]

    return _REFERENCE.sub(value, text)
