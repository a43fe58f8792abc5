"""`${NAME}` in the file's values becomes the environment's value; `$${` stays `${`."""

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$(\$?)\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def expand(text: str, environment: Mapping[str, str]) -> str:
    """The text with every reference replaced. Raises ValueError that names the variable."""

    def value(match: re.Match[str]) -> str:
        escaped, name, closed = match.groups()
        if escaped:
            return match[0][1:]
        # Only a well-formed name is repeated: anything else may be a piece of a secret.
        if not closed or not _NAME.match(name):
            raise ValueError("has a ${...} that names no environment variable; write $${ for a literal ${")
        if name not in environment:
            raise ValueError(f"the environment variable {name} is not set; set it, or write $${{{name}}} for the text")
        return environment[name]

    return _REFERENCE.sub(value, text)
