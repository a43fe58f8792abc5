"""An apiserver's kubeconfig beside the configuration of the sink that it posts to. Pure.

What the sink would say is asked of the sink's own code: `admit` is `Authorizer.admit`, the peer is what a handshake
with the sink's own context proved. Here it is put into the words of the kubeconfig.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from auditsink import config
from auditsink.common.listen import Address
from auditsink.doctor.finding import Finding, Urgency
from auditsink.doctor.kubeconfig import LOOPBACK, SERVER, USER, Kubeconfig
from auditsink.receive.auth import Admission, Peer
from auditsink.receive.responses import HttpRejection, RejectionReason

Admit = Callable[[bytes, bytes | None, Peer], Admission | HttpRejection]

_REMEDIES = {
    RejectionReason.NOT_FOUND: (SERVER, "put the sink's receive.path, and the cluster's name behind it, into the URL"),
    RejectionReason.UNAUTHORIZED: (
        USER,
        "set tokenFile to a file with this cluster's token, or the client certificate",
    ),
    RejectionReason.FORBIDDEN: (SERVER, "make the name in the path and the credential agree"),
}


@dataclass(frozen=True, slots=True)
class Shown:
    """What the apiserver shows: the value of Authorization, and what its certificate proves; None where unknown."""

    authorization: bytes | None = None
    peer: Peer | None = None


def in_address(one: Kubeconfig, receive: config.Receive, listens: Address, admin: Address) -> Iterator[Finding]:
    """Scheme, host and port beside those that the sink listens on."""
    assert one.url is not None
    if one.url.scheme == "https" and receive.tls is None:
        yield Finding(
            Urgency.LOSING, SERVER, "is https, and the sink speaks plain http: receive.tls is not set",
            "set receive.tls; or write http://, on the same machine only",
        )  # fmt: skip
    elif one.url.scheme == "http" and receive.tls is not None:
        yield Finding(
            Urgency.LOSING, SERVER, "is http, and the sink speaks https: receive.tls is set", "write https://"
        )
    local = one.host in LOOPBACK or one.host.startswith("127.")
    if listens.loopback and not local:
        yield Finding(
            Urgency.LOSING, SERVER, f"is {one.host}, and the sink listens on {listens.host} alone: receive.listen",
            "listen on 0.0.0.0, with receive.tls; or name the loopback address",
        )  # fmt: skip
    if one.port == admin.port != listens.port and local:
        yield Finding(
            Urgency.LOSING, SERVER, f"is the sink's admin port ({admin.port}), where nothing can be posted",
            f"write port {listens.port}",
        )  # fmt: skip
    elif listens.port and one.port != listens.port:
        yield Finding(
            Urgency.LOSING if local else Urgency.ADVICE,
            SERVER,
            f"has port {one.port}, and the sink listens on {listens.port}",
            f"write port {listens.port}" if local else "nothing to do if a Service or a load balancer stands between",
        )


def in_admission(one: Kubeconfig, admit: Admit, shown: Shown) -> Iterator[Finding]:
    """Path, cluster and credential, as the sink would judge them."""
    assert one.url is not None
    secure = one.url.scheme == "https"  # over http client-go shows nothing
    answer = admit(one.target.encode(), shown.authorization if secure else None, shown.peer or Peer())
    if isinstance(answer, Admission):
        return
    if shown.peer is None and answer.reason is not RejectionReason.NOT_FOUND:
        return  # a certificate that could not be looked at may be what the sink wants
    about, remedy = _REMEDIES.get(answer.reason, (SERVER, "see the sink's log"))
    yield Finding(Urgency.LOSING, about, f"the sink would refuse it: {answer.sentence}", remedy)


def in_handshake(one: Kubeconfig, problem: str, *, by_sink: bool) -> Finding:
    """A handshake that failed. `by_sink`: it is the sink that did not like what it was shown."""
    if by_sink:
        return Finding(
            Urgency.LOSING, USER, f"the sink would end the handshake: {problem}",
            "set client-certificate and client-key, signed by the sink's receive.tls.client_ca_file",
        )  # fmt: skip
    return Finding(
        Urgency.LOSING,
        "kubeconfig certificate-authority",
        f"the apiserver would not accept the sink's certificate for {one.verified_name}: {problem}",
        "put the CA that signed receive.tls.cert_file into certificate-authority, and a name that the certificate has "
        "into server or tls-server-name",
    )
