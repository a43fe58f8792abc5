"""Why the receive port cannot start."""

from auditsink.common.listen import ListenError


class ReceiveError(ListenError):
    """One sentence for the operator: the key, the path or address, and what to do."""
