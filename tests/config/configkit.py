"""What the tests of a configuration share: a text becomes a configuration, or the mistakes that are told of it."""

import re

import pytest

from auditsink import load
from auditsink.config import Config

DISK = "destinations: [{name: disk, type: file, path: ./audit.ndjson}]\n"


def parsed(text: str | bytes, **environment: str) -> Config:
    return load.parse(text if isinstance(text, bytes) else text.encode(), "f.yaml", environment)


def mistakes(text: str | bytes, **environment: str) -> list[str]:
    """Each is one line; the line number that it has in the text is left out."""
    with pytest.raises(load.ConfigError) as caught:
        parsed(text, **environment)
    assert all(line.startswith(("f.yaml: ", "f.yaml:", "and ")) and "\n" not in line for line in caught.value.mistakes)
    return [re.sub(r"^f\.yaml:\d+: (?=\D)", "f.yaml: ", line) for line in caught.value.mistakes]
