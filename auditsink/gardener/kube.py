"""The Kubernetes API as the rest of the room uses it: plain mappings in and out, over lightkube's asynchronous client.

A missing object is None, not an exception. Writes that meet another writer raise ConflictError; the reconcile is then
done again. Nothing here retries: the queue does.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from lightkube import ApiError, AsyncClient, KubeConfig
from lightkube.generic_resource import create_global_resource, create_namespaced_resource
from lightkube.types import PatchType

from auditsink.common.operator_error import OperatorError
from auditsink.gardener.objects import Object, meta


@dataclass(frozen=True)
class Kind:
    """A kind of object, and where the API has it."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As an object says it."""
        return f"{self.group}/{self.version}" if self.group else self.version


EXTENSION = Kind("extensions.gardener.cloud", "v1alpha1", "Extension", "extensions")
CLUSTER = Kind("extensions.gardener.cloud", "v1alpha1", "Cluster", "clusters", namespaced=False)
GARDEN = Kind("operator.gardener.cloud", "v1alpha1", "Garden", "gardens", namespaced=False)
MANAGED_RESOURCE = Kind("resources.gardener.cloud", "v1alpha1", "ManagedResource", "managedresources")
SECRET = Kind("", "v1", "Secret", "secrets")
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps")
NAMESPACE = Kind("", "v1", "Namespace", "namespaces", namespaced=False)
VOLUME_CLAIM = Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
DEPLOYMENT = Kind("apps", "v1", "Deployment", "deployments")
STATEFUL_SET = Kind("apps", "v1", "StatefulSet", "statefulsets")
JOB = Kind("batch", "v1", "Job", "jobs")
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases")
MUTATING_WEBHOOK = Kind(
    "admissionregistration.k8s.io",
    "v1",
    "MutatingWebhookConfiguration",
    "mutatingwebhookconfigurations",
    namespaced=False,
)
VALIDATING_WEBHOOK = Kind(
    "admissionregistration.k8s.io",
    "v1",
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
    namespaced=False,
)


class KubeError(OperatorError):
    """The API refused or did not answer. The sentence says what for, and what it said."""


class ConflictError(KubeError):
    """Somebody else wrote meanwhile."""


class GoneError(KubeError):
    """A watch cannot go on from there; list again."""


class Kube:
    """The API. Without a configuration: that of the pod, or of KUBECONFIG."""

    def __init__(self, config: KubeConfig | None = None) -> None:
        self._client = AsyncClient(config=config) if config else AsyncClient()

    @classmethod
    def of_file(cls, path: Path) -> "Kube":
        """The API that a kubeconfig leads to."""
        return cls(KubeConfig.from_file(path))

    @property
    def namespace(self) -> str:
        """The pod's own, or what the kubeconfig's context says."""
        return str(self._client.namespace or "default")

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> Object | None:
        """One object, or None."""
        try:
            return _plain(await self._client.get(_resource(kind), name, namespace=namespace))
        except httpx2.HTTPError as problem:
            _missing(problem, f"get {kind.kind} {_place(name, namespace)}")
            return None

    async def list(
        self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> tuple[list[Object], str]:
        """All of a kind, in one namespace or in all, and the version from which a watch goes on."""
        try:
            where = (namespace or "*") if kind.namespaced else None
            found = self._client.list(_resource(kind), namespace=where, labels=dict(labels or {}), chunk_size=500)
            return [_plain(one) async for one in found], found.resourceVersion
        except httpx2.HTTPError as problem:
            raise _error(problem, f"list {kind.plural}") from None

    async def watch(self, kind: Kind, version: str, namespace: str | None = None) -> AsyncIterator[tuple[str, Object]]:
        """Changes since then, until the API ends the watch. Raises GoneError when it has forgotten them."""
        try:
            where = (namespace or "*") if kind.namespaced else None
            changes = self._client.watch(_resource(kind), namespace=where, resource_version=version, server_timeout=300)
            async for what, thing in changes:
                yield what, _plain(thing)
        except httpx2.HTTPError as problem:
            raise _error(problem, f"watch {kind.plural}") from None

    async def create(self, kind: Kind, thing: Object) -> Object:
        """Make it. Raises ConflictError where it is there already."""
        try:
            resource = _resource(kind)
            return _plain(await self._client.create(resource.from_dict(thing)))
        except httpx2.HTTPError as problem:
            raise _error(problem, f"create {kind.kind} {_name(thing)}") from None

    async def replace(self, kind: Kind, thing: Object) -> Object:
        """Write it whole; with its resourceVersion only if nobody wrote meanwhile."""
        try:
            resource = _resource(kind)
            return _plain(await self._client.replace(resource.from_dict(thing)))
        except httpx2.HTTPError as problem:
            raise _error(problem, f"replace {kind.kind} {_name(thing)}") from None

    async def patch(
        self, kind: Kind, name: str, changes: Object, namespace: str | None = None, *, status: bool = False
    ) -> Object | None:
        """A merge patch, of the object or of its status; None where it is not there any more."""
        resource = _resource(kind)
        try:
            found = await self._client.patch(
                resource.Status if status else resource, name, changes, namespace=namespace, patch_type=PatchType.MERGE
            )
            return _plain(found)
        except httpx2.HTTPError as problem:
            _missing(problem, f"patch {kind.kind} {_place(name, namespace)}")
            return None

    async def delete(self, kind: Kind, name: str, namespace: str | None = None) -> None:
        """Delete it; one that is not there is fine."""
        try:
            await self._client.delete(_resource(kind), name, namespace=namespace)
        except httpx2.HTTPError as problem:
            _missing(problem, f"delete {kind.kind} {_place(name, namespace)}")

    async def delete_all(self, kind: Kind, namespace: str, labels: Mapping[str, str]) -> None:
        """Delete all that have these labels."""
        for one in (await self.list(kind, namespace, labels))[0]:
            await self.delete(kind, str(meta(one)["name"]), namespace)


_resources: dict[Kind, Any] = {}


def _resource(kind: Kind) -> Any:
    """The class that lightkube has for it: always the generic one, whose objects are mappings."""
    if kind not in _resources:
        make = create_namespaced_resource if kind.namespaced else create_global_resource
        _resources[kind] = make(kind.group, kind.version, kind.kind, kind.plural)
    return _resources[kind]


def _plain(thing: Any) -> Object:
    return dict(thing)


def _missing(problem: httpx2.HTTPError, what: str) -> None:
    if isinstance(problem, httpx2.HTTPStatusError) and problem.response.status_code == 404:
        return
    raise _error(problem, what) from None


def _error(problem: httpx2.HTTPError, what: str) -> KubeError:
    if isinstance(problem, ApiError):
        code, said = problem.status.code, problem.status.message
    elif isinstance(problem, httpx2.HTTPStatusError):
        code, said = problem.response.status_code, ""
    else:
        return KubeError(f"{what}: {type(problem).__name__}: {problem}")
    kind = {409: ConflictError, 410: GoneError}.get(code or 0, KubeError)
    return kind(f"{what}: HTTP {code}: {said}")


def _name(thing: Object) -> str:
    return _place(str(meta(thing).get("name", "")), meta(thing).get("namespace"))


def _place(name: str, namespace: str | None) -> str:
    return f"{namespace}/{name}" if namespace else name
