"""What can go wrong with a spool so that an operator has to act. Each message is one sentence for that person."""

import errno

from auditsink.common.operator_error import OperatorError

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
"""The disk is full, or the user's share of it."""


class SpoolError(OperatorError):
    """The spool cannot be opened or extended; the message says which path and what to do."""


class TooManyRingsError(SpoolError):
    """There are as many rings as there may be, and this would be another one."""


class MissingKeyError(SpoolError):
    """A segment's records are encrypted under a key that is not there. They are whole: nothing may step over them."""


class DecryptionError(Exception):
    """Internal: these are not the bytes that were encrypted, or not in this place."""


class RingFullError(Exception):
    """Internal to the writer: the ring has no room for a segment and nothing may be dropped."""
