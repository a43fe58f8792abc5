"""Which Secrets there have to be, given those that are: one CA and its leaves, in every phase of a rotation.

| phase | CA | server leaf | client leaf | bundle |
| --- | --- | --- | --- | --- |
| none | current | current | current | current |
| from Preparing to Prepared | a new one, the old one stays | old | new | old and new |
| Completing, Completed | new | new | new | new |

Pure but for `make`, which issues what is missing. The same input with nothing missing calls it never.
"""

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from auditsink.gardener.certificates import wanted as labels
from auditsink.gardener.certificates.issue import Pair
from auditsink.gardener.certificates.wanted import Authority, Leaf
from auditsink.gardener.control_plane import Rotation
from auditsink.gardener.objects import Object, data, digest, encoded, label, meta

RENEW_AT = 0.8
"""Of a certificate's validity ..."""
RENEW_BEFORE = 10 * 86_400.0
"""... or so many seconds before its end, whichever is first, unless that is most of its validity."""

Make = Callable[[Authority | Leaf, Pair | None, float], Pair]
"""Issues one; a leaf with its CA."""


@dataclass(frozen=True)
class Made:
    """What is in use: Secrets as whole objects, leaves by their name; `created` are those that are not there yet."""

    leaves: dict[str, Object]
    trusted: list[Object]
    bundle: Object
    created: list[Object]

    @property
    def used(self) -> set[str]:
        """The names of all Secrets that something still needs."""
        return {str(meta(one)["name"]) for one in (*self.leaves.values(), *self.trusted, self.bundle)}


class CertificateDecision:
    """One pass over the Secrets of an identity. `now` is in seconds since 1970."""

    def __init__(self, namespace: str, identity: str, there: Iterable[Object], now: float, make: Make) -> None:
        self._namespace = namespace
        self._identity = identity
        self._there = [one for one in there if label(one, labels.IDENTITY) == identity]
        self._now = now
        self._make = make
        self._created: list[Object] = []

    def decide(self, authority: Authority, leaves: Iterable[Leaf], rotation: Rotation, keep_seconds: float = 0) -> Made:
        """`keep_seconds`: how long a CA that was replaced for its age stays trusted."""
        current = self._current_authority(authority, rotation)
        old = self._old_authority(authority, current, rotation)
        trusted = [*([old] if old else []), *self._outgoing(authority, current, keep_seconds), current]
        made = {}
        for leaf in leaves:
            keeps_old = old is not None and leaf.kind == "server" and not leaf.follows_current
            made[leaf.name] = self._leaf(leaf, old if keeps_old and old else current)
        return Made(made, trusted, self._bundle(authority, trusted), self._created)

    def _current_authority(self, wanted: Authority, rotation: Rotation) -> Object:
        checksum = digest([wanted.name, wanted.seconds])
        initiated = rotation.initiated
        for one in self._newest_first(wanted.name):
            if label(one, labels.ROTATION) == _unix(initiated) and not (wanted.renew and self._due(one)):
                return one
        pair = self._make(wanted, None, self._now)
        more = {labels.PERSIST: "true"} if wanted.persist else {}
        values = {"ca.crt": pair.certificate, "ca.key": pair.key}
        return self._new(wanted.name, checksum, values, wanted.seconds, {labels.ROTATION: _unix(initiated), **more})

    def _old_authority(self, wanted: Authority, current: Object, rotation: Rotation) -> Object | None:
        """The one before a rotation that is under way."""
        if not rotation.both_trusted:
            return None
        others = (
            one for one in self._newest_first(wanted.name) if label(one, labels.ROTATION) != _rotation_of(current)
        )
        return next(others, None)

    def _outgoing(self, wanted: Authority, current: Object, keep_seconds: float) -> list[Object]:
        """Those that the current one replaced for their age, a short while ago."""
        if self._now - _issued(current) >= keep_seconds:
            return []
        same = [one for one in self._newest_first(wanted.name) if label(one, labels.ROTATION) == _rotation_of(current)]
        return [one for one in same if one is not current and _until(one) > self._now][:1]

    def _leaf(self, wanted: Leaf, signer: Object) -> Object:
        authority = Pair(data(signer, "ca.crt"), data(signer, "ca.key"))
        signed_by = digest(authority.certificate.hex())
        for one in self._newest_first(wanted.name):
            same = (label(one, labels.CONFIG), label(one, labels.SIGNING_CA)) == (wanted.checksum, signed_by)
            if same and not self._due(one):
                return one
        pair = self._make(wanted, authority, self._now)
        values = {"ca.crt": authority.certificate, "tls.crt": pair.certificate, "tls.key": pair.key}
        return self._new(wanted.name, wanted.checksum, values, wanted.seconds, {labels.SIGNING_CA: signed_by})

    def _bundle(self, wanted: Authority, trusted: list[Object]) -> Object:
        content = b"".join(sorted(data(one, "ca.crt") for one in trusted))
        checksum = digest(content.hex())
        name = f"{wanted.name}-bundle"
        for one in self._newest_first(name):
            if label(one, labels.CONFIG) == checksum:
                return one
        return self._new(name, checksum, {"bundle.crt": content}, None, {labels.BUNDLE_FOR: wanted.name})

    def _newest_first(self, name: str) -> list[Object]:
        found = [one for one in (*self._there, *self._created) if label(one, labels.NAME) == name]
        return sorted(found, key=lambda one: (-_issued(one), str(meta(one)["name"])))

    def _due(self, secret: Object) -> bool:
        issued, until = _issued(secret), _until(secret)
        validity = until - issued
        early = RENEW_BEFORE if validity > 2 * RENEW_BEFORE else 0.0
        return self._now >= min(issued + RENEW_AT * validity, until - early)

    def _new(
        self, name: str, checksum: str, values: dict[str, bytes], seconds: float | None, more: dict[str, str]
    ) -> Object:
        written = {
            labels.NAME: name,
            labels.MANAGED_BY: labels.MANAGER,
            labels.IDENTITY: self._identity,
            labels.CONFIG: checksum,
            labels.ISSUED: str(int(self._now)),
            **more,
        }
        if seconds is not None:
            written[labels.VALID_UNTIL] = str(int(self._now + seconds))
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": f"{name}-{digest(written)}",
                "namespace": self._namespace,
                "labels": {key: written[key] for key in sorted(written)},
            },
            "type": "Opaque",
            "immutable": True,
            "data": encoded(values),
        }
        self._created.append(secret)
        return secret


def _issued(secret: Object) -> float:
    return _number(label(secret, labels.ISSUED), 0.0)


def _until(secret: Object) -> float:
    """Without the label it never ends."""
    return _number(label(secret, labels.VALID_UNTIL), float("inf"))


def _number(text: str, otherwise: float) -> float:
    return float(text) if text.isascii() and text.isdigit() else otherwise


def _rotation_of(secret: Object) -> str:
    return label(secret, labels.ROTATION)


def _unix(initiated: str) -> str:
    """A time as Gardener labels it; "" for none."""
    if not initiated:
        return ""
    return str(int(dt.datetime.fromisoformat(initiated).timestamp()))
