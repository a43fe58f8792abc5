"""Which cluster a request target means: `{path}` the default one, `{path}/{cluster}` the one it names. Pure."""

import re
from typing import NamedTuple

from auditsink.common.cluster_name import CLUSTER, CLUSTER_RULE
from auditsink.receive.responses import HttpRejection, RejectionReason

_KEPT = 1024
"""Targets that are remembered; a client that invents more makes us look closely again."""
_AUTHORITY = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


class Route(NamedTuple):
    """`cluster` is whose events these are; `named` says that the target named it."""

    cluster: str
    named: bool


class Routes:
    """Finds routes and remembers them: every apiserver sends the same target for ever."""

    def __init__(self, path: str, default: str) -> None:
        self._path = path.rstrip("/")
        self._default = Route(default, named=False)
        self._known: dict[bytes, Route | HttpRejection] = {}

    def find(self, target: bytes) -> Route | HttpRejection:
        """`target` is what llhttp took for one."""
        found = self._known.get(target)
        if found is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            found = self._known[target] = self._look(target.decode("latin-1"))
        return found

    def _look(self, target: str) -> Route | HttpRejection:
        # RFC 9112, 3.2.2: a server takes the absolute form too. kube-apiserver adds ?timeout=30s.
        path = _AUTHORITY.sub("", target, count=1).partition("?")[0]
        if path == self._path or (path == "/" and not self._path):
            return self._default
        prefix = self._path + "/"
        if not path.startswith(prefix):
            return HttpRejection(
                RejectionReason.NOT_FOUND, f"nothing is here; post to {self._path or '/'} or {prefix}CLUSTER"
            )
        cluster = path[len(prefix) :]
        if not CLUSTER.match(cluster):
            return HttpRejection(RejectionReason.NOT_FOUND, f"no cluster can have this name; {CLUSTER_RULE}")
        return Route(cluster, named=True)
