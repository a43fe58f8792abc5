"""What every section of the file is: a frozen mapping that knows all its keys."""

import msgspec


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mapping of the file. `forbid_unknown_fields`: a mistyped key must not be a silent default."""
