"""What came of posting an empty EventList as an apiserver would. Pure."""

from collections.abc import Iterator

from auditsink.apiserver.retry_schedule import PostResult
from auditsink.doctor.finding import Finding, Urgency
from auditsink.doctor.kubeconfig import SERVER, USER

BODY = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[]}\n'
"""What is posted: no event, so nothing is stored."""

_REMEDIES = {
    400: (SERVER, "it must be the receive port of an auditsink"),
    401: (USER, "set tokenFile to a file with a token that the sink knows, or the client certificate"),
    403: (USER, "the credential must be that of the cluster in the path"),
    404: (SERVER, "its path must be the sink's receive.path, and the cluster's name behind it"),
    405: (SERVER, "it must be the receive port, not the admin port"),
    429: (SERVER, "the cluster's rate is used up; wait, or raise it"),
    503: (SERVER, "the sink is full, stopping or overloaded; auditsink status says which"),
}


def in_answer(result: PostResult, where: str) -> Iterator[Finding]:
    """`where`: the URL without a password."""
    if result.taken and result.accepted is not None:
        return
    if result.taken:
        yield Finding(
            Urgency.LOSING, SERVER, f"{where} answers {result.status} as any web server does, and is no auditsink",
            "the apiserver takes that for a success and its events are lost; check host and path",
        )  # fmt: skip
    elif result.tls:
        yield Finding(
            Urgency.LOSING, "kubeconfig certificate-authority", f"TLS failed: {result}",
            "check certificate-authority, tls-server-name, the client certificate, and the scheme",
        )  # fmt: skip
    elif not result.status:
        yield Finding(Urgency.LOSING, SERVER, f"no answer: {result}", "check host and port, and what stands between")
    else:
        about, remedy = _REMEDIES.get(result.status, (SERVER, "check the address and what stands between"))
        yield Finding(Urgency.LOSING, about, f"{where} answers {result}", remedy)
