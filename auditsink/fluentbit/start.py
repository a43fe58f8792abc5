"""From fluent-bit's two arguments to a sink in its place: the configuration, and the guest that a running one has.

The guest is fluent-bit's HTTP API on the admin port, and its leftovers on their way into the ring.

Started as root the sink becomes a user without rights before a port is opened: today's extension gives its pod no user
of its own. The volume belongs to root there, so the sink's directory is made and given away first. Whoever starts it as
somebody else must have prepared the directory (`fsGroup`); then nothing of this happens.
"""

import asyncio
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import yaml
from prometheus_client import CONTENT_TYPE_LATEST, Metric, generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

import auditsink
from auditsink.admin import pages
from auditsink.admin.access import Need
from auditsink.admin.app import AdminRoute
from auditsink.admin.view import View
from auditsink.common.clock import Clock, SystemClock
from auditsink.common.redact import STARS, redact
from auditsink.config import Config
from auditsink.fluentbit import leftovers, numbers
from auditsink.fluentbit.document import FluentBitError
from auditsink.fluentbit.leftovers import Leftovers
from auditsink.fluentbit.numbers import Families, FluentNumbers
from auditsink.fluentbit.syntax import read
from auditsink.fluentbit.translate import Surroundings, Translation, storage_path, translate
from auditsink.load import ConfigError, files, parse
from auditsink.observe.snapshot import Snapshot
from auditsink.spool import Spool

log = logging.getLogger("auditsink.fluentbit")

LOOK_SECONDS = 1.0
"""Between two looks at the destinations' states."""


class News(NamedTuple):
    """A line of the log."""

    message: str
    fields: dict[str, Any]
    level: int = logging.INFO


class FluentBitGuest:
    """See `service.Guest`. `news`: what is told once, at the start."""

    def __init__(
        self,
        counters: FluentNumbers,
        leftovers: Leftovers | None,
        clock: Clock,
        *,
        served: bool,
        news: Sequence[News] = (),
    ) -> None:
        self._numbers = counters
        self._leftovers = leftovers
        self._clock = clock
        self._served = served
        self._news = news
        self._began = clock.monotonic()

    def routes(self, view: View) -> list[AdminRoute]:
        """fluent-bit's paths. Everybody may ask, as with fluent-bit: there are numbers and no events in them."""
        if not self._served:
            return []

        def answer(make: Callable[[Snapshot], Any]) -> Callable[[Request], Any]:
            async def endpoint(_: Request) -> Response:
                return Response(orjson.dumps(make(view.snapshot())), media_type="application/json")

            return endpoint

        async def root(request: Request) -> Response:
            if "text/html" in request.headers.get("accept", ""):
                return await pages.index(request)
            return Response(orjson.dumps(numbers.about()), media_type="application/json")

        async def health(_: Request) -> Response:
            healthy = self._numbers.healthy(view.snapshot())
            return PlainTextResponse("ok\n" if healthy else "error\n", 200 if healthy else 500)

        async def first(_: Request) -> Response:
            return await _prometheus(numbers.families(self._numbers, view.snapshot(), self._up()))

        async def second(_: Request) -> Response:
            found = view.snapshot()
            several = [*numbers.families(self._numbers, found, self._up())]
            return await _prometheus([*several, *numbers.more_families(self._numbers, found)])

        several: dict[str, Callable[[Request], Any]] = {
            "/": root,
            "/api/v1/uptime": answer(lambda _: numbers.uptime(self._up())),
            "/api/v1/metrics": answer(self._numbers.metrics),
            "/api/v1/metrics/prometheus": first,
            "/api/v1/storage": answer(numbers.storage),
            "/api/v2/metrics": second,
            "/api/v2/metrics/prometheus": second,
        }
        if self._numbers.rules.on:
            several["/api/v1/health"] = health
        return [AdminRoute("GET", path, Need.PROBE, endpoint) for path, endpoint in several.items()]

    async def run(self, view: View, spool: Spool) -> None:
        """Tell the news, deliver what was left, and look at the destinations until cancelled."""
        for new in self._news:
            log.log(new.level, new.message, extra=new.fields)
        async with asyncio.TaskGroup() as group:
            if self._leftovers is not None:
                group.create_task(self._leftovers.deliver(spool))
            while True:
                self._numbers.look(self._clock.monotonic(), view.snapshot())
                await self._clock.sleep(LOOK_SECONDS)

    def _up(self) -> float:
        return self._clock.monotonic() - self._began


async def _prometheus(several: Any) -> Response:
    metrics: list[Metric] = list(several)
    content = await asyncio.to_thread(generate_latest, Families(metrics))
    return Response(content, headers={"Content-Type": CONTENT_TYPE_LATEST})


UID = GID = 10001
"""The image's own user."""


def _is_root() -> bool:
    """Whether there is something to give away."""
    return os.geteuid() == 0


def _make(ours: Path) -> None:
    """Make the directory. Raises FluentBitError."""
    try:
        ours.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise FluentBitError(
            f"{ours}: {problem.strerror}; start the container as root, or set fsGroup: {GID} beside runAsUser: {UID}"
        ) from None


def _give(ours: Path) -> None:
    """Everything below belongs to the user from now on; links are not followed. Raises FluentBitError."""
    try:
        for directory, names, files in os.walk(ours):
            _own(directory)
            for name in (*names, *files):
                _own(os.path.join(directory, name))  # noqa: PTH118 - a large spool has many, and none needs an object
    except OSError as problem:
        raise FluentBitError(
            f"{problem.filename or ours}: {problem.strerror}; root needs the capability CHOWN to give the sink's "
            "directory away"
        ) from None


def _own(path: str) -> None:
    status = os.lstat(path)
    if (status.st_uid, status.st_gid) != (UID, GID):
        os.lchown(path, UID, GID)


def _drop() -> None:
    """Be that user, for good, who must be able to read the program: modules and the page's files are read later.

    Raises FluentBitError.
    """
    try:
        os.setgroups([])
        os.setgid(GID)
        os.setuid(UID)
    except OSError as problem:
        raise FluentBitError(
            f"user {UID}: {problem.strerror}; root needs the capabilities SETUID and SETGID to become it"
        ) from None
    try:
        os.setuid(0)
    except PermissionError:
        for needed in (sys.executable, os.__file__, auditsink.__file__):
            if not os.access(needed, os.R_OK):
                raise FluentBitError(
                    f"{needed}: user {UID}, who runs the sink from here on, may not read it; install Python and "
                    "auditsink where everybody may read them (the image does)"
                ) from None
        return
    raise FluentBitError(f"user {UID}: the way back to root is open; take that from the container, and start it again")


NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
RESOLVER = Path("/etc/resolv.conf")
_SECRETS = frozenset({"token", "password", "shared_key", "bearer", "secret_access_key"})
_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}\Z")
_SERVICE = re.compile(r"^search\s+(?:\S+\s+)*?([a-z0-9-]+)\.svc\.", re.MULTILINE)
_NAMED = "translated"
"""What mistakes in the translation are told by."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """The command's. `storage`: "" for what the file says. `record`: None for what the file says."""

    config: Path
    storage: str = ""
    record: str | None = None


def translated(arguments: Arguments, environment: Mapping[str, str] = os.environ) -> Translation:
    """The file as a configuration of ours. Raises FluentBitError."""
    document = read(arguments.config)
    around = Surroundings(environment, arguments.storage, None, _clusters(), arguments.record)
    volume = _volume_bytes(Path(storage_path(document, around)))
    return translate(document, Surroundings(environment, arguments.storage, volume, _clusters(), arguments.record))


def loaded(translation: Translation, environment: Mapping[str, str] = os.environ) -> Config:
    """The translation with its values from the environment, checked as any configuration. Raises FluentBitError."""
    try:
        return parse(dumped(translation.document).encode(), _NAMED, environment)
    except ConfigError as problem:
        raise FluentBitError("\n".join(problem.mistakes)) from None


def prepare(translation: Translation, config: Config) -> FluentBitGuest:
    """Take the volume, become nobody if we are root, and make the guest. Raises FluentBitError."""
    if missing := files.missing(config):  # before anything is moved
        raise FluentBitError("\n".join(missing))
    ours = config.spool.path
    _make(ours)
    adopted = leftovers.adopt(ours.parent, ours)
    if _is_root():
        _give(ours)
        _drop()
    clock = SystemClock()
    outputs, filters = translation.outputs, translation.filters
    rejects = config.spool.when_full == "reject"
    counters = FluentNumbers(outputs, filters, translation.health, time.time(), rejects)
    left = Leftovers(ours, config.receive.cluster, translation.added, clock)
    news = _news(translation, adopted)
    return FluentBitGuest(counters, left, clock, served=translation.served, news=news)


def _news(translation: Translation, adopted: leftovers.Adopted) -> list[News]:
    configuration = redact(dumped(masked(translation.document)))
    news = [News("fluent-bit's configuration was translated into this one", {"configuration": configuration})]
    if translation.notes:
        news.append(News("these keys have no meaning here", {"keys": list(translation.notes)}))
    if adopted.files:
        taken = {"chunks": adopted.files, "bytes": adopted.bytes}
        news.append(News("chunks that fluent-bit left are taken over and delivered once", taken))
    news += [News(f"a chunk of fluent-bit is left alone: {why}", {}, logging.ERROR) for why in adopted.problems]
    for directory in translation.buffers:
        if size := leftovers.buffer_size(Path(directory)):
            lying = {"directory": directory, "bytes": size}
            what = "fluent-bit gathered objects here that it did not upload; upload them by hand"
            news.append(News(what, lying, logging.ERROR))
    return news


def dumped(document: dict[str, Any]) -> str:
    """The configuration as YAML."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def masked(value: Any, key: str = "") -> Any:
    """Stars for what stands in the file itself and is a secret; `${NAME}` is none."""
    if isinstance(value, dict):
        if key == "headers":
            return {name: _star(text) for name, text in value.items()}
        return {name: masked(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [masked(one) for one in value]
    if key in _SECRETS:
        return _star(value)
    return f"{value.partition('?')[0]}?{STARS}" if key == "url" and isinstance(value, str) and "?" in value else value


def _star(value: Any) -> Any:
    return value if isinstance(value, str) and _REFERENCE.match(value) else STARS


def _volume_bytes(path: Path) -> int | None:
    try:
        status = os.statvfs(path)
    except OSError:
        return None
    return status.f_frsize * status.f_blocks


def _clusters() -> tuple[str, ...]:
    """Names that this pod's namespace has: from the account, else from the resolver's first search domain."""
    found: list[str] = []
    for path, pattern in ((NAMESPACE, re.compile(r"\A\s*(\S+)\s*\Z")), (RESOLVER, _SERVICE)):
        try:
            match = pattern.search(path.read_text())
        except (OSError, UnicodeDecodeError):
            continue
        if match:
            found.append(match[1])
    return tuple(found)
