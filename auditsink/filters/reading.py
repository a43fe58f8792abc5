"""From an event to what a policy looks at. Pure.

kube-apiserver asks its policy before it has read a request's body, and later fills gaps of `objectRef` from that body:
of what is created or updated the name and namespace there may be what a client wrote into it (request.go,
LogRequestObject). So for these two verbs they count only where the URL carries them, as in
k8s.io/apiserver, pkg/endpoints/request/requestinfo.go. All else stands in the event as the policy saw it: `user` is
who was authenticated (not who was impersonated), and `objectRef` is there for resource requests only.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from auditsink.audit import scan
from auditsink.filters.policy import LEVELS, PolicyRequest, Resource

_NAMED_BY_BODY = frozenset({"create", "update"})
_OF_NAMESPACE = frozenset({b"status", b"finalize"})  # subresources of a namespace, and no resources in it
_NOTHING = msgspec.Raw(b"")


class UnreadableEventError(Exception):
    """This is no audit event that could be judged. The message says why, and quotes nothing of it."""


class _UserFields(msgspec.Struct):
    username: str = ""
    groups: tuple[str, ...] | None = None


class _ObjectFields(msgspec.Struct, rename="camel"):
    resource: str = ""
    namespace: str = ""
    name: str = ""
    api_group: str = ""
    api_version: str = ""
    subresource: str = ""


class EventFields(msgspec.Struct, rename="camel"):
    """The fields of an event that are looked at; the bodies as they stand, empty where there is none."""

    level: str
    stage: str
    verb: str
    request_uri: str = msgspec.field(name="requestURI")
    user: _UserFields
    object_ref: _ObjectFields | None = None
    request_object: msgspec.Raw = _NOTHING
    response_object: msgspec.Raw = _NOTHING


_FIELDS = tuple(field.encode_name for field in msgspec.structs.fields(EventFields))
_LOOKED_AT = tuple(name for name in _FIELDS if name not in ("requestObject", "responseObject"))
_NAMES_OF = {
    name: tuple(field.encode_name for field in msgspec.structs.fields(kind))
    for name, kind in (("user", _UserFields), ("objectRef", _ObjectFields))
}
_EVER_LOOKED_AT = frozenset({*_FIELDS, "userAgent", "responseStatus"})
_SHORT = 1024  # bytes: at most half as many levels, which every interpreter's recursion limit allows
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(EventFields).decode


class CloserFields(NamedTuple):
    """What a rule may look at that no Policy can: besides, the other members, each as it stands.

    Clients choose some of them, so they may be anything, and make no event unreadable.
    """

    seen: EventFields
    members: Mapping[str, msgspec.Raw]


def read(event: bytes) -> EventFields:
    """What a policy can ask about an event. Raises UnreadableEventError."""
    return _seen(_fields(event))


def read_closer(event: bytes) -> CloserFields:
    """The same with more of it."""
    fields = _fields(event)
    return CloserFields(_seen(fields), fields)


def _seen(fields: Mapping[str, msgspec.Raw]) -> EventFields:
    """A parser gets no more than what is looked at, and nothing that nests deeply: no recursion limit has a say."""
    head = {name: fields[name] for name in _LOOKED_AT if name in fields}
    for name, names in _NAMES_OF.items():
        if name in head and len(head[name]) > _SHORT:
            head[name] = _only(names, name, bytes(head[name]))
    try:
        seen = _decode(_encode(head))
    except (msgspec.MsgspecError, ValueError):
        raise UnreadableEventError("it lacks what every audit event has, or has it in another form") from None
    if seen.level not in LEVELS:
        raise UnreadableEventError("its level is none that Kubernetes knows")
    seen.request_object = fields.get("requestObject", _NOTHING)
    seen.response_object = fields.get("responseObject", _NOTHING)
    return seen


def _fields(event: bytes) -> Mapping[str, msgspec.Raw]:
    """The event's members, those that are looked at among them."""
    plain = scan.plain_members(event)
    if plain is not None:
        return plain
    try:
        members = [(key, msgspec.Raw(value)) for _, key, value in scan.members(event) if key in _EVER_LOOKED_AT]
    except scan.UnreadableError:
        raise UnreadableEventError("it is no JSON object") from None
    if len({key for key, _ in members}) < len(members):
        raise UnreadableEventError("a field stands in it more than once")
    return dict(members)


def _only(names: Sequence[str], field: str, value: bytes) -> msgspec.Raw:
    """The object with no more members than those."""
    found = scan.plain_members(value)
    if found is None:
        try:
            found = {key: msgspec.Raw(member) for _, key, member in scan.members(value)}
        except scan.UnreadableError:
            raise UnreadableEventError(f"its {field} is no JSON object") from None
    return msgspec.Raw(_encode({name: found[name] for name in names if name in found}))


def request_of(seen: EventFields) -> PolicyRequest:
    """What kube-apiserver's policy was asked about."""
    ref = seen.object_ref
    # An authenticated user has a name; the event of a 401 has an empty `user`, and its policy saw none.
    user = seen.user.username or None
    groups = seen.user.groups or ()
    if ref is None:
        return PolicyRequest(user, groups if user else (), seen.verb, None, path_of(seen.request_uri))
    namespace, name = ref.namespace, ref.name
    if seen.verb in _NAMED_BY_BODY and (namespace or name):
        namespace, name = _in_url(path_of(seen.request_uri))
    group = ref.api_group or ref.api_version.rpartition("/")[0]  # where audit.k8s.io/v1alpha1 has it
    resource = Resource(group, ref.resource, ref.subresource, namespace, name)
    return PolicyRequest(user, groups if user else (), seen.verb, resource, b"")


def path_of(uri: str) -> bytes:
    """The path of a URI, without the escapes in which a client may have written it."""
    return unquote_to_bytes(uri.partition("?")[0])


def _in_url(path: bytes) -> tuple[str, str]:
    """The namespace and the name that an API path carries."""
    parts = path.strip(b"/").split(b"/")
    parts = parts[2:] if parts[0] == b"api" else parts[3:]
    namespace = b""
    if parts[:1] == [b"namespaces"] and len(parts) > 1:
        namespace = parts[1]
        if len(parts) > 2 and parts[2] not in _OF_NAMESPACE:
            parts = parts[2:]
    name = parts[1] if len(parts) > 1 else b""
    return namespace.decode(errors="replace"), name.decode(errors="replace")
