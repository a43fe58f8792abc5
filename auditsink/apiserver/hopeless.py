"""Answers after which trying again is hopeless, and what a person has to do. Pure.

kube-apiserver repeats every failure. A person who sends a log is better served by an end at once and a reason.
"""

from auditsink.apiserver.retry_schedule import PostResult
from auditsink.common.operator_error import OperatorError

_REMEDIES = {
    400: "what is at --url takes no EventList; it must be the receive port of an auditsink",
    401: "give --token-file with a token that the sink knows, or --cert and --key, and an https:// URL",
    403: "the credential is not that of the cluster in --url; give the other one, or leave the name out of the path",
    404: "there is nothing at that path; --url ends in the sink's receive.path, /audit, or in /audit/CLUSTER",
    405: "nothing is posted there; --url must be the receive port, not the admin port",
    407: "a proxy asks for credentials; name the sink itself in --url",
}
_REDIRECT = "kube-apiserver would lose its events there; put the final address into --url"
_OTHER = "what is at --url is no auditsink; check the address and what stands between"
_TLS = "check --ca, --cert and --key, the host in --url, and whether it is https:// that is spoken there"
_PASSING = frozenset({408, 413, 425, 429})
"""Besides 5xx. 413 is for the batch: a smaller one can be taken."""


def remedy(result: PostResult) -> str | None:
    """What to do; None while the same request may succeed later."""
    if result.tls:
        return _TLS
    if result.status < 300 or result.status in _PASSING or result.status in {500, 502, 503, 504}:
        return None
    if result.status < 400:
        return _REDIRECT
    return _REMEDIES.get(result.status, _OTHER if result.status < 500 or result.status in {501, 505} else None)


class HopelessError(OperatorError):
    """The run cannot go on. The message says what was answered and what to do."""

    def __init__(self, result: PostResult, remedy: str) -> None:
        super().__init__(f"{result}: {remedy}")
