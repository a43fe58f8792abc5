"""An apiserver's kubeconfig beside the configuration of the sink that it posts to, and what came of a try. Pure.

What the sink would say is asked of the sink's own code: `admit` is `Authorizer.admit`, the peer is what a TLS
handshake proved between the contexts of both, without a network. Here it is put into the words of the kubeconfig.
"""

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from auditsink import config
from auditsink.apiserver.retry_schedule import PostResult
from auditsink.common.listen import Address
from auditsink.doctor import Finding, Urgency
from auditsink.doctor.kubeconfig import LOOPBACK, SERVER, USER, Kubeconfig
from auditsink.receive.auth import NOBODY, Admission, Peer
from auditsink.receive.certificates import peer_of
from auditsink.receive.responses import HttpRejection, RejectionReason

_ROUNDS = 10  # TLS 1.3 takes two


class Handshake(NamedTuple):
    """`peer`: what the client's certificate proves to the server. `problem`: why it failed, and at whom."""

    peer: Peer = NOBODY
    problem: str = ""
    by_server: bool = False


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> Handshake:
    """`name` is the host that the client asks for and verifies."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    except ValueError:
        return Handshake(problem=f"{name!r} is no host name")
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    done: set[ssl.SSLObject] = set()
    for _ in range(_ROUNDS):
        for side in (ours, theirs):
            if side in done:
                continue
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as problem:
                return Handshake(problem=_said(problem), by_server=side is theirs)
            done.add(side)
    return Handshake(peer_of(theirs.getpeercert()))


def _said(problem: ssl.SSLError) -> str:
    if isinstance(problem, ssl.SSLCertVerificationError):
        return problem.verify_message
    return (problem.reason or "it failed").replace("_", " ").lower()


BODY = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[]}\n'
"""What is posted: no event, so nothing is stored."""

_ANSWERED = {
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
        about, remedy = _ANSWERED.get(result.status, (SERVER, "check the address and what stands between"))
        yield Finding(Urgency.LOSING, about, f"{where} answers {result}", remedy)


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
