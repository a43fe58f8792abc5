"""From an event to what a policy looks at. Pure.

kube-apiserver asks its policy before it has read a request's body, and later fills gaps of `objectRef` from that body:
of what is created or updated the name and namespace there may be what a client wrote into it (request.go,
LogRequestObject). So for these two verbs they count only where the URL carries them, as in
k8s.io/apiserver, pkg/endpoints/request/requestinfo.go. All else stands in the event as the policy saw it: `user` is
who was authenticated (not who was impersonated), and `objectRef` is there for resource requests only.
"""

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


_BODIES = frozenset({"requestObject", "responseObject"})
_LOOKED_AT = frozenset(field.encode_name for field in msgspec.structs.fields(EventFields)) - _BODIES
_decode = msgspec.json.Decoder(EventFields).decode


def read(event: bytes) -> EventFields:
    """Raises UnreadableError."""
    try:
        seen = _decode(event)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        seen = _read_slowly(event)
    if seen.level not in LEVELS:
        raise UnreadableEventError("its level is none that Kubernetes knows")
    return seen


def _read_slowly(event: bytes) -> EventFields:
    """For bodies that exhaust a parser: steps over them."""
    try:
        members = scan.members(event)
    except scan.UnreadableError:
        raise UnreadableEventError("it is no JSON object") from None
    found = {key: value for _, key, value in members}
    if len(found) < len(members):
        raise UnreadableEventError("a field stands in it more than once")
    head = b",".join(b'"%b":%b' % (key.encode(), found[key]) for key in found if key in _LOOKED_AT)
    try:
        seen = _decode(b"{" + head + b"}")
    except (msgspec.MsgspecError, RecursionError, ValueError):
        raise UnreadableEventError("it lacks what every audit event has, or has it in another form") from None
    seen.request_object = msgspec.Raw(found.get("requestObject", b""))
    seen.response_object = msgspec.Raw(found.get("responseObject", b""))
    return seen


def request_of(seen: EventFields) -> PolicyRequest:
    """What kube-apiserver's policy was asked about."""
    ref = seen.object_ref
    # An authenticated user has a name; the event of a 401 has an empty `user`, and its policy saw none.
    user = seen.user.username or None
    groups = seen.user.groups or ()
    if ref is None:
        return PolicyRequest(user, groups if user else (), seen.verb, None, _path(seen.request_uri))
    namespace, name = ref.namespace, ref.name
    if seen.verb in _NAMED_BY_BODY and (namespace or name):
        namespace, name = _in_url(_path(seen.request_uri))
    resource = Resource(ref.api_group, ref.resource, ref.subresource, namespace, name)
    return PolicyRequest(user, groups if user else (), seen.verb, resource, b"")


def _path(uri: str) -> bytes:
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
