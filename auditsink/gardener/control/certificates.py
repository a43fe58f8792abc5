"""Makes the Secrets of certificates that are missing, and removes those that nothing needs any more."""

from collections.abc import Callable, Collection, Sequence

from auditsink.gardener.certificates import issue
from auditsink.gardener.certificates.decide import CertificateDecision, Made
from auditsink.gardener.certificates.issue import Pair
from auditsink.gardener.certificates.wanted import IDENTITY, MANAGED_BY, MANAGER, PERSIST, Authority, Leaf
from auditsink.gardener.control_plane import Rotation
from auditsink.gardener.kube import SECRET, Kube
from auditsink.gardener.objects import label, meta

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
