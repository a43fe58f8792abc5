"""What every section of the file is: a frozen mapping that knows all its keys and what makes sense among them."""

from collections.abc import Iterator
from typing import ClassVar

import msgspec

Broken = Iterator[tuple[str, str]]
"""What is wrong with a section: the key (below the section), and a sentence that says what to write instead."""


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mapping of the file. `forbid_unknown_fields`: a mistyped key must not be a silent default."""

    ANCHORS: ClassVar[bool] = True
    """Whether keys that begin with `x-` are passed over: what stands there is for YAML's anchors."""

    def broken(self) -> Broken:
        """What makes no sense, once every key has a value of its type. A sentence never shows a value."""
        yield from ()
