"""A TLS handshake between two contexts, without a network: what each side would say to the other."""

import ssl
from typing import NamedTuple

from auditsink.receive.auth import NOBODY, Peer
from auditsink.receive.certificates import peer_of

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
