"""Where secrets stand in the body of a request or an answer. Pure.

A body is an object, a list of them (`items`), a table (`rows[*].object`), or a patch: of an object's form (merge,
strategic, apply), or the array of RFC 6902, whose every `value` is masked. What kubectl applied last stands once more
in an annotation, as text. Keys stay: which key was read or changed is what an auditor asks for, and `managedFields`
holds nothing but keys.
"""

from collections.abc import Iterable

from auditsink.audit.paths import EACH, Step
from auditsink.config.filters import MaskName
from auditsink.filters.edit import Node, mask
from auditsink.filters.policy import Resource

FieldPath = tuple[Step, ...]
Place = tuple[str, str, str | None]
"""Group, resource and subresource; None is any."""

HOLDERS: tuple[FieldPath, ...] = ((), ("items", EACH), ("rows", EACH, "object"))
"""Where objects stand in a body."""
LAST_APPLIED: FieldPath = ("metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration")
_PATCHED: FieldPath = (EACH, "value")
_SECRETS: dict[MaskName, dict[Place, list[FieldPath]]] = {
    "secrets": {("", "secrets", None): [("data",), ("stringData",), LAST_APPLIED]},
    "configmaps": {("", "configmaps", None): [("data",), ("binaryData",), LAST_APPLIED]},
    "tokens": {
        ("authentication.k8s.io", "tokenreviews", None): [("spec", "token"), LAST_APPLIED],
        ("", "serviceaccounts", "token"): [("status", "token")],
    },
}


class Masks:
    """What of an event's bodies is to be masked, as the configuration chose it."""

    def __init__(self, names: Iterable[MaskName]) -> None:
        self._paths = {place: paths for name in names for place, paths in _SECRETS[name].items()}

    def place(self, resource: Resource) -> Place | None:
        """What the resource is called here, if it holds secrets."""
        for subresource in (None, resource.subresource):
            place = (resource.group, resource.resource, subresource)
            if place in self._paths:
                return place
        return None

    def add_to(self, body: Node, place: Place) -> None:
        """Say in a body's node what is to be masked."""
        for path in self._paths[place]:
            for holder in HOLDERS:
                body.at((*holder, *path)).act = mask
        body.at(_PATCHED).act = mask
