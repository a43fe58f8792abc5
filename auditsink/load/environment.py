"""`${NAME}` in the file's values becomes the environment's value; `$${` stays `${`.

`${NAME:-default}` has a value where the variable is not set or empty, as in a shell.
"""

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$(\$?)\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


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
