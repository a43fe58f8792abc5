"""Makes the Secrets of a sink's certificates that are missing, and removes those that nothing needs any more.

A sink has its own, its API server's, and those of the tailer if there is one.
"""

from collections.abc import Callable, Collection, Sequence

from auditsink.gardener.certificates import issue
from auditsink.gardener.certificates.decide import CertificateDecision, Made
from auditsink.gardener.certificates.issue import Pair
from auditsink.gardener.certificates.wanted import (
    IDENTITY,
    MANAGED_BY,
    MANAGER,
    PERSIST,
    Authority,
    Leaf,
    service_names,
)
from auditsink.gardener.control_plane import Rotation
from auditsink.gardener.kube import SECRET, Kube
from auditsink.gardener.objects import label, meta
from auditsink.gardener.render import names
from auditsink.gardener.sink.backends import TAILER
from auditsink.gardener.sink.plan import CLIENT_NAME

AUTHORITY = Authority("ca-auditsink")
SERVER = "auditsink-server"
CLIENT = "auditsink-client"
TAILER_SERVER = "audittailer-server"
TAILER_CLIENT = "audittailer-client"


def leaves(namespace: str, *, forwarding: bool) -> list[Leaf]:
    """What the CA signs."""
    found = [
        Leaf(SERVER, names.SINK, "server", service_names(names.SINK, namespace)),
        Leaf(CLIENT, CLIENT_NAME, "client"),
    ]
    if forwarding:
        found += [Leaf(TAILER_SERVER, TAILER, "server", (TAILER,)), Leaf(TAILER_CLIENT, names.SINK, "client")]
    return found


def name(made: Made, leaf: str) -> str:
    """The Secret of a leaf; "" where there is none."""
    return str(made.leaves[leaf]["metadata"]["name"]) if leaf in made.leaves else ""


Issue = Callable[[Authority | Leaf, Pair | None, float], Pair]


def issued(wanted: Authority | Leaf, signer: Pair | None, now: float) -> Pair:
    """A new certificate and key."""
    if isinstance(wanted, Authority):
        return issue.authority(wanted, now)
    assert signer is not None
    return issue.leaf(wanted, signer, now)


class CertificateStore:
    """The certificates of one identity in one namespace."""

    def __init__(self, kube: Kube, namespace: str, identity: str, make: Issue = issued) -> None:
        self._kube = kube
        self._namespace = namespace
        self._identity = identity
        self._make = make

    async def ensure(
        self, authority: Authority, leaves: Sequence[Leaf], rotation: Rotation, now: float, keep_seconds: float = 0
    ) -> Made:
        """All that is wanted; what is missing is made."""
        there, _ = await self._kube.list(SECRET, self._namespace, {MANAGED_BY: MANAGER, IDENTITY: self._identity})
        decision = CertificateDecision(self._namespace, self._identity, there, now, self._make)
        made = decision.decide(authority, leaves, rotation, keep_seconds)
        for secret in made.created:
            await self._kube.create(SECRET, secret)
        return made

    async def cleanup(self, used: Collection[str], *, keep_persisted: bool = False) -> list[str]:
        """Remove the others of this identity; their names."""
        there, _ = await self._kube.list(SECRET, self._namespace, {MANAGED_BY: MANAGER, IDENTITY: self._identity})
        removed = []
        for secret in there:
            name = str(meta(secret)["name"])
            if name not in used and not (keep_persisted and label(secret, PERSIST)):
                await self._kube.delete(SECRET, name, self._namespace)
                removed.append(name)
        return removed
