"""Which certificates a place has, and the labels that Gardener's secrets manager writes and reads on their Secrets.

The labels are those of gardener v1.149.3, `pkg/utils/secrets/manager`: Gardener persists what is labelled `persist`
with a shoot's state and puts it back after a migration, whoever made it.
"""

from dataclasses import dataclass
from typing import Literal

from auditsink.gardener.objects import digest

NAME = "name"
MANAGED_BY = "managed-by"
MANAGER = "secrets-manager"
IDENTITY = "manager-identity"
CONFIG = "checksum-of-config"
SIGNING_CA = "checksum-of-signing-ca"
BUNDLE_FOR = "bundle-for"
PERSIST = "persist"
ROTATION = "last-rotation-initiation-time"
ISSUED = "issued-at-time"
VALID_UNTIL = "valid-until-time"

YEARS = 365 * 86_400.0


@dataclass(frozen=True)
class Authority:
    """A CA. `seconds` is its validity. One that does not `renew` itself changes with a rotation only."""

    name: str
    seconds: float = 10 * YEARS
    persist: bool = True
    renew: bool = False


@dataclass(frozen=True)
class Leaf:
    """A certificate that a CA signs.

    A server's stays with the old CA while both are trusted, so that clients that know only the old one still accept
    it; a client's moves to the new one at once.
    """

    name: str
    common_name: str
    kind: Literal["server", "client"]
    dns_names: tuple[str, ...] = ()
    seconds: float = 10 * YEARS
    follows_current: bool = False
    """A server's that takes the new CA at once: where the client's trust is updated first."""

    @property
    def checksum(self) -> str:
        """Of what would have to be in the certificate."""
        return digest([self.name, self.common_name, self.kind, list(self.dns_names), self.seconds])


def service_names(service: str, namespace: str) -> tuple[str, ...]:
    """The DNS names of a Service."""
    whole = f"{service}.{namespace}"
    return (service, whole, f"{whole}.svc", f"{whole}.svc.cluster.local")
