"""What a request's head decides, before any of its body is read: whose batch it is, or why it is refused.

The order says what a stranger may learn: first whether the path exists, then nothing without a credential.
"""

from auditsink.receive.auth import Admission, Peer
from auditsink.receive.head import Head
from auditsink.receive.listener import ListenerState
from auditsink.receive.responses import STOPPING, HttpRejection, RejectionReason

_CONNECTIONS = HttpRejection(
    RejectionReason.CONNECTIONS, "receive.max_connections is reached; repeat the request later"
)
_METHOD = HttpRejection(RejectionReason.METHOD, "only POST is taken here")
_ENCODING = HttpRejection(RejectionReason.ENCODING, "the only Content-Encoding that is understood is gzip")
_EXPECTATION = HttpRejection(RejectionReason.EXPECTATION, "the only expectation that is understood is 100-continue")
_GZIP = frozenset({None, b"gzip", b"x-gzip"})
_CONTINUE = frozenset({None, b"100-continue"})


def decide(port: ListenerState, head: Head, length: int, peer: Peer, *, crowded: bool) -> Admission | HttpRejection:
    """`length`: bytes of the body as declared. `peer`: what the client's certificate proves.

    `crowded`: this is one client too many.
    """
    if port.stopping:
        return STOPPING
    if crowded:
        return _CONNECTIONS
    admission = port.gate.admit(head.target, head.authorization, peer)
    if isinstance(admission, HttpRejection):
        return admission
    return _unwanted(port, head, length) or port.intake.refusal(admission.cluster) or admission


def _unwanted(port: ListenerState, head: Head, length: int) -> HttpRejection | None:
    if not head.post:
        return _METHOD
    if head.encoding not in _GZIP:
        return _ENCODING
    if head.expectation not in _CONTINUE:
        return _EXPECTATION
    return port.too_large if length > port.most else None
