"""A Kubernetes API in memory, over HTTP: what the controller and its client library need of one, and a list of writes.

Versions, generations, label selectors, merge patches, the status subresource, finalizers and watches are as in a real
one; admission, validation and defaulting there are none. `tests/real` has the real one.
"""

import asyncio
import copy
import datetime as dt
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

Object = dict[str, Any]
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
Key = tuple[str, str, str, str]
"""Group and version, plural, namespace, name."""


class ScriptedApi:
    """`writes` are (verb, plural, namespace/name) in order; `broken` plurals answer 500."""

    def __init__(self) -> None:
        self.objects: dict[Key, Object] = {}
        self.writes: list[tuple[str, str, str]] = []
        self.broken: set[str] = set()
        self.on_change: list[Callable[[str, Key, Object], None]] = []
        self._version = 100
        self._log: list[tuple[int, str, Key, Object]] = []
        self._changed: set[asyncio.Event] = set()
        self.app = Starlette(
            routes=[
                Route("/api/v1/{rest:path}", self._core, methods=METHODS),
                Route("/apis/{group}/{version}/{rest:path}", self._group, methods=METHODS),
            ]
        )

    def put(self, plural: str, thing: Object, group_version: str = "") -> Object:
        """ControlPlane an object without it counting as a write of the controller."""
        metadata = thing["metadata"]
        key = (group_version or thing["apiVersion"], plural, metadata.get("namespace", ""), metadata["name"])
        before = self.objects.get(key)
        whole = copy.deepcopy(thing)
        whole["metadata"].setdefault("uid", f"uid-{metadata['name']}")
        self._store(key, whole, before)
        return self.objects[key]

    def find(self, plural: str, name: str, namespace: str = "") -> Object | None:
        """An object as it is now."""
        for (_, kind, place, called), thing in self.objects.items():
            if (kind, place, called) == (plural, namespace, name):
                return thing
        return None

    def all(self, plural: str, namespace: str = "") -> list[Object]:
        """All of a kind there."""
        keys = sorted(key for key in self.objects if key[1] == plural and namespace in ("", key[2]))
        return [self.objects[key] for key in keys]

    def remove(self, plural: str, name: str, namespace: str = "") -> None:
        """Take it away at once, finalizers or not."""
        for key in list(self.objects):
            if key[1:] == (plural, namespace, name):
                self._gone(key)

    async def _core(self, request: Request) -> Response:
        return await self._answer(request, "v1", request.path_params["rest"])

    async def _group(self, request: Request) -> Response:
        version = f"{request.path_params['group']}/{request.path_params['version']}"
        return await self._answer(request, version, request.path_params["rest"])

    async def _answer(self, request: Request, version: str, rest: str) -> Response:
        words = rest.split("/")
        namespace = ""
        if words[0] == "namespaces" and len(words) > 2:
            namespace, words = words[1], words[2:]
        if words[0] in self.broken:
            return _failure(500, "scripted trouble")
        plural, name = words[0], words[1] if len(words) > 1 else ""
        status = len(words) > 2 and words[2] == "status"
        body = json.loads(await request.body() or b"null")
        key = (version, plural, namespace, name)
        if request.method == "GET" and name:
            return JSONResponse(self.objects[key]) if key in self.objects else _failure(404, f"no {name}")
        if request.method == "GET":
            reading = self._watch if request.query_params.get("watch") else self._list
            return reading(request, version, plural, namespace)
        if request.method == "POST":
            return self._create((version, plural, namespace, body["metadata"]["name"]), body)
        return (
            self._delete(key) if request.method == "DELETE" else self._write(request.method, key, body, status=status)
        )

    def _list(self, request: Request, version: str, plural: str, namespace: str) -> Response:
        wanted = _selector(request)
        found = [
            thing
            for key, thing in sorted(self.objects.items())
            if key[:2] == (version, plural) and namespace in ("", key[2]) and wanted(thing)
        ]
        return JSONResponse({"kind": "List", "metadata": {"resourceVersion": str(self._version)}, "items": found})

    def _watch(self, request: Request, version: str, plural: str, namespace: str) -> Response:
        since = int(request.query_params.get("resourceVersion") or 0)

        async def changes() -> AsyncIterator[bytes]:
            place = 0
            changed = asyncio.Event()
            self._changed.add(changed)
            while True:
                while place < len(self._log):
                    number, what, key, thing = self._log[place]
                    place += 1
                    if number > since and key[:2] == (version, plural) and namespace in ("", key[2]):
                        yield json.dumps({"type": what, "object": thing}).encode() + b"\n"
                changed.clear()
                await changed.wait()

        return StreamingResponse(changes(), media_type="application/json")

    def _create(self, key: Key, body: Object) -> Response:
        if key in self.objects:
            return _failure(409, f"{key[3]} already exists")
        body["metadata"] |= {"uid": f"uid-{key[3]}", "generation": 1}
        self._note("create", key)
        self._store(key, body, None)
        return JSONResponse(self.objects[key], 201)

    def _write(self, method: str, key: Key, body: Object, *, status: bool) -> Response:
        before = self.objects.get(key)
        if before is None:
            return _failure(404, f"no {key[3]}")
        version = (body.get("metadata") or {}).get("resourceVersion")
        if version is not None and version != before["metadata"]["resourceVersion"]:
            return _failure(409, "the object has been modified")
        after = body if method == "PUT" else merged(before, body)
        if status:
            after = {**before, "status": after.get("status")}
        elif "status" in before:
            after = {**after, "status": before["status"]}
        self._note("status" if status else method.lower(), key)
        self._store(key, copy.deepcopy(after), before)
        return JSONResponse(self.objects.get(key, after))

    def _delete(self, key: Key) -> Response:
        thing = self.objects.get(key)
        if thing is None:
            return _failure(404, f"no {key[3]}")
        self._note("delete", key)
        if thing["metadata"].get("finalizers"):
            now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            generation = thing["metadata"].get("generation", 1) + 1
            marked = {**thing["metadata"], "deletionTimestamp": now, "generation": generation}
            self._store(key, {**thing, "metadata": marked}, thing)
        else:
            self._gone(key)
        return JSONResponse({"kind": "Status", "status": "Success"})

    def _store(self, key: Key, thing: Object, before: Object | None) -> None:
        metadata = thing["metadata"]
        if before is not None and _without_version(before) == _without_version(thing):
            thing["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
            return
        if before is None:
            metadata.setdefault("generation", 1)
        elif before.get("spec") != thing.get("spec"):
            metadata["generation"] = before["metadata"].get("generation", 1) + 1
        if "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            self._gone(key)
            return
        self._version += 1
        metadata["resourceVersion"] = str(self._version)
        self.objects[key] = thing
        self._tell("ADDED" if before is None else "MODIFIED", key)

    def _gone(self, key: Key) -> None:
        self._version += 1
        self.objects[key]["metadata"]["resourceVersion"] = str(self._version)
        self._tell("DELETED", key)
        del self.objects[key]

    def _tell(self, what: str, key: Key) -> None:
        self._log.append((self._version, what, key, copy.deepcopy(self.objects[key])))
        for changed in self._changed:
            changed.set()
        for told in self.on_change:
            told(what, key, self.objects[key])

    def _note(self, verb: str, key: Key) -> None:
        self.writes.append((verb, key[1], f"{key[2]}/{key[3]}".lstrip("/")))


def merged(there: Any, changes: Any) -> Any:
    """RFC 7396."""
    if not isinstance(changes, dict):
        return changes
    result = dict(there) if isinstance(there, dict) else {}
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def _without_version(thing: Object) -> Object:
    kept = {key: value for key, value in thing["metadata"].items() if key != "resourceVersion"}
    return {**thing, "metadata": kept}


def _selector(request: Request) -> Callable[[Object], bool]:
    pairs = [word.split("=", 1) for word in (request.query_params.get("labelSelector") or "").split(",") if word]
    return lambda thing: all((thing["metadata"].get("labels") or {}).get(key) == value for key, value in pairs)


def _failure(code: int, message: str) -> Response:
    return JSONResponse({"kind": "Status", "status": "Failure", "code": code, "message": message}, code)
