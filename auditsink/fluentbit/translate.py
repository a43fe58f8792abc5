"""A fluent-bit configuration to one of ours, row by row of the tables in `keys`. Pure.

What would lose data or cannot be kept raises `FluentBitError`; what has no meaning here is a note.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from auditsink.common.cluster_name import CLUSTER
from auditsink.common.units import Duration, Size
from auditsink.fluentbit import keys, values
from auditsink.fluentbit.document import FluentBitError, FluentDocument, FluentEntry, FluentSection
from auditsink.fluentbit.keys import PLUGINS, KeyFate, KeyTable
from auditsink.fluentbit.outputs import BUILDERS, bracketed
from auditsink.load.environment import expand

TAG = "audit"
"""What fluent-bit's http input makes of the path `/audit`, whatever its key `tag` says (5.1.1, seen)."""
RECORD = "auditsink.record"
"""A key of the filter's `add` that is a setting of ours: the one thing that today's extension passes on as it is."""
VOLUME_SHARE = 0.85
"""Of the volume that the ring may take: the file system, dead letters and what else lies there need the rest."""
_PLAIN = ("ndjson", "json_array")
"""Formats of `http` whose records may be lists."""
_DEFAULT_RING = 900 * 10**6
_INSTEAD = {"sourcetype": "kube:apiserver-audit", "host": "the cluster's name"}
"""What a Splunk destination of ours says where its section does not."""
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_UNCLOSED = re.compile(r"\$\{(?=[^}]*\Z)")
_UNNAMED = re.compile(r"[^a-z0-9-]+")
_FIRST = ("name", "type", "url", "address", "bucket")
_KNOWN_ELSEWHERE = frozenset({"parser", "multiline_parser", "stream_task", "parsers", "multiline_parsers", "plugins"})


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known beside the file. `storage`: --storage_path, "" for the file's own. `volume_bytes`: its size.

    `clusters`: names that the cluster may have, the best first. `record`: `event` or `batch`.
    """

    environment: Mapping[str, str]
    storage: str = ""
    volume_bytes: int | None = None
    clusters: tuple[str, ...] = ()
    record: str | None = None


@dataclass(frozen=True, slots=True)
class HealthRules:
    """`/api/v1/health`: unhealthy with more than so many of either within `period` seconds."""

    on: bool = False
    period: float = 60.0
    errors: int = 5
    retries_failed: int = 5


@dataclass(frozen=True, slots=True)
class FluentOutput:
    """An output: its name in fluent-bit's numbers (`splunk.5`), and our destination's; None: nobody (`null`)."""

    name: str
    destination: str | None


@dataclass(frozen=True, slots=True)
class Translation:
    """`document`: our configuration as plain values. `notes`: what has no meaning here, a line each.

    `added`: what is put at the top of records. `buffers`: directories in which fluent-bit gathered objects.
    """

    document: dict[str, Any]
    notes: tuple[str, ...]
    served: bool
    health: HealthRules
    filters: tuple[str, ...]
    outputs: tuple[FluentOutput, ...]
    added: Mapping[str, str] = field(default_factory=dict)
    buffers: tuple[str, ...] = ()


def translate(document: FluentDocument, around: Surroundings) -> Translation:
    """The whole of it. Raises FluentBitError."""
    return _Translator(document, around).run()


def storage_path(document: FluentDocument, around: Surroundings) -> str:
    """The directory that the volume is mounted at. Raises FluentBitError."""
    if around.storage:
        return around.storage
    for section in document.of("service"):
        if entry := section.last("storage.path"):
            return _expanded(entry, _variables(document, around))
    raise FluentBitError("storage.path: is missing; write it into [SERVICE], or give --storage_path")


def _variables(document: FluentDocument, around: Surroundings) -> dict[str, str]:
    return {**around.environment, **document.variables}


class _Translator:
    def __init__(self, document: FluentDocument, around: Surroundings) -> None:
        self._source = document
        self._around = around
        self._variables = _variables(document, around)
        self._notes: dict[str, list[str]] = {}
        self._biggest = 0
        self._added: dict[str, str] = {}
        self._filters: list[str] = []
        self._outputs: list[FluentOutput] = []
        self._buffers: list[str] = []

    def run(self) -> Translation:
        service = self._service()
        receive, full = self._input()
        record = self._filter()
        backoff = service.pop("backoff", {})
        destinations = [one | ({"backoff": dict(backoff)} if backoff else {}) for one in self._each_output(record)]
        if not destinations:
            raise FluentBitError("there is no [OUTPUT] but null, so every event would be thrown away; write one")
        receive["cluster"] = self._cluster()
        path = storage_path(self._source, self._around).rstrip("/")
        ours = {
            "receive": receive,
            "spool": {"path": f"{path}/auditsink", "max_bytes": self._ring_bytes(), "when_full": full},
            "destinations": destinations,
            "admin": {"listen": service["listen"]},
            "log": {"level": service["level"]},
        }
        notes = tuple(f"{why}: {', '.join(sorted(set(which)))}" for why, which in self._notes.items())
        return Translation(
            ours,
            notes,
            service["served"],
            service["health"],
            tuple(self._filters),
            tuple(self._outputs),
            self._added,
            tuple(self._buffers),
        )

    def _read(self, section: FluentSection, table: KeyTable) -> tuple[dict[str, Any], dict[str, Any]]:
        """What goes into our section as it is, and the other values by their keys (`header`, `add`: lists)."""
        put: dict[str, Any] = {}
        given: dict[str, Any] = {}
        for entry in section.entries:
            row = table.get(entry.key)
            if row is None:
                raise FluentBitError(
                    f"{entry.place}: {entry.key}: is not known for {section.plugin or section.kind}, so it is not "
                    "known what leaving it out would do; take it out"
                )
            if row.fate is KeyFate.REFUSED:
                raise FluentBitError(f"{entry.place}: {entry.key}: {row.says}")
            if row.fate is KeyFate.MEANINGLESS:
                self._notes.setdefault(row.says, []).append(entry.key)
                continue
            value = self._value(entry, row.read)
            if row.put:
                _set(put, row.put, value)
            elif row.read in (values.pair, values.header):
                given.setdefault(entry.key, []).append(value)
            else:
                given[entry.key] = value
        return put, given

    def _value(self, entry: FluentEntry, read: Any) -> Any:
        """Text keeps its `${NAME}`, so that no secret of the environment stands in what is printed."""
        kept = read in (values.text, values.pair, values.header, values.pairs)
        try:
            return read(self._own_variables(entry.value) if kept else _expanded(entry, self._variables))
        except ValueError as problem:
            raise FluentBitError(f"{entry.place}: {entry.key}: {problem}") from None

    def _own_variables(self, text: str) -> str:
        """What a `${` means to fluent-bit and not to us is written in our words, or a ValueError."""
        if "$${" in text:
            raise ValueError("has a $ before a ${...}, which cannot be kept; put the $ into the variable")
        mine = self._source.variables
        return _VARIABLE.sub(lambda match: mine.get(match[1], match[0]), _UNCLOSED.sub("$${", text))

    def _service(self) -> dict[str, Any]:
        put: dict[str, Any] = {}
        given: dict[str, Any] = {}
        for section in self._source.sections:
            if section.kind == "service":
                more, others = self._read(section, keys.SERVICE)
                put |= more
                given |= others
            elif section.kind in _KNOWN_ELSEWHERE:
                self._notes.setdefault("parsers and streams have nothing to do here", []).append(section.kind)
            elif section.kind not in ("input", "filter", "output"):
                raise FluentBitError(f"{section.place}: [{section.kind.upper()}] is not taken over; take it out")
        served = given.get("http_server", False)
        listen = f"{bracketed(given.get('http_listen', '0.0.0.0'))}:{given.get('http_port', 2020)}"  # noqa: S104 - its default
        return put | {
            "listen": listen if served else "127.0.0.1:2020",
            "served": served,
            "level": given.get("log_level", "info"),
            "health": HealthRules(
                on=given.get("health_check", False),
                period=given.get("hc_period", 60.0),
                errors=given.get("hc_errors_count", 5),
                retries_failed=given.get("hc_retry_failure_count", 5),
            ),
        }

    def _input(self) -> tuple[dict[str, Any], str]:
        inputs = list(self._source.of("input"))
        if not inputs:
            raise FluentBitError("there is no [INPUT]; write one with name http")
        first, *others = inputs
        for other in others:
            raise FluentBitError(f"{other.place}: is a second [INPUT]; one with name http is taken over")
        if first.plugin != "http":
            raise FluentBitError(f"{first.place}: name: only http is taken over, which kube-apiserver posts to")
        put, given = self._read(first, keys.INPUT)
        listen = bracketed(given.get("listen", given.get("host", "0.0.0.0")))  # noqa: S104 - fluent-bit's own default
        # The path without a name is all that such a configuration delivers; a name would make a ring of its own.
        receive: dict[str, Any] = {
            "listen": f"{listen}:{given.get('port', 9880)}",
            "path": f"/{TAG}",
            "max_clusters": 8,
        }
        if given.get("tls", False):
            receive["tls"] = put.get("tls", {})
            if given.get("tls.verify_client_cert", False):
                receive["tls"]["client_ca_file"] = given.get("tls.ca_file", "")
        return receive, "reject" if given.get("storage.pause_on_chunks_overlimit", False) else "drop_oldest"

    def _filter(self) -> str:
        """The shape of records; what is added to them is in `_added`."""
        record = self._around.record or "event"
        for number, section in enumerate(self._source.of("filter")):
            if section.plugin != "modify":
                raise FluentBitError(
                    f"{section.place}: the filter {section.plugin or '(no name)'} changes events and is not taken "
                    "over; `filter` of a destination may do instead (docs/filters.md)"
                )
            _, given = self._read(section, keys.FILTER)
            self._filters.append(f"modify.{number}")
            if not _fits(section):
                self._notes.setdefault("does not fit the tag", []).append(f"modify.{number}")
                continue
            for key, value in given.get("add", []):
                if key == RECORD:
                    if value not in ("event", "batch"):
                        raise FluentBitError(f"{section.place}: {RECORD}: must be event or batch")
                    record = self._around.record or value
                else:
                    self._added.setdefault(key, value)
        return record

    def _each_output(self, record: str) -> Iterator[dict[str, Any]]:
        taken: set[str] = set()
        for number, section in enumerate(self._source.of("output")):
            plugin = section.plugin
            if plugin not in PLUGINS:
                raise FluentBitError(
                    f"{section.place}: the output {plugin or '(no name)'} is not taken over; those are "
                    f"{', '.join(PLUGINS)}"
                )
            put, given = self._read(section, PLUGINS[plugin])
            if not _fits(section):
                raise FluentBitError(
                    f"{section.place}: match: does not fit the tag {TAG}, so it would get no event; the tag is the "
                    f"path that kube-apiserver posts to, /{TAG}"
                )
            if "store_dir" in given:
                self._buffers.append(given["store_dir"])
            limits = (given.get("storage.total_limit_size"), given.get("store_dir_limit_size"))
            self._biggest = max(self._biggest, *(limit or 0 for limit in limits))
            shown = given.get("alias") or f"{plugin}.{number}"
            if plugin == "null":
                self._outputs.append(FluentOutput(shown, None))
                continue
            kind, build = BUILDERS[plugin]
            name = _unique(given.get("alias") or _stem(section.file) or plugin, taken)
            draft = {"name": name, "type": kind, **put}
            try:
                build(draft, {"tag": TAG, **given})
            except FluentBitError as problem:
                raise FluentBitError(f"{section.place}: {problem}") from None
            self._outputs.append(FluentOutput(shown, name))
            if not given.get("tls.verify_hostname", True) and given.get("tls.verify", True) and given.get("tls", False):
                where = "the host's name in a certificate is looked at all the same (tls.verify_hostname is off)"
                self._notes.setdefault(where, []).append(name)
            first = {key: draft[key] for key in _FIRST if key in draft}
            yield first | draft | self._shape(draft, record)

    def _shape(self, draft: dict[str, Any], record: str) -> dict[str, Any]:
        shape: dict[str, Any] = {"add": dict(self._added)} if self._added else {}
        if draft.get("format") == "elasticsearch":
            where = "has each event in kubernetes.audit, where fluent-bit has its members at the top: queries change"
            self._notes.setdefault(where, []).append(draft["name"])
        for key, instead in _INSTEAD.items() if draft["type"] == "splunk" else ():
            if key not in draft:
                where = f"has no event_{key}, so each event gets {instead}, where fluent-bit leaves it to Splunk"
                self._notes.setdefault(where, []).append(draft["name"])
        if record == "batch" and (draft["type"] == "kafka" or draft.get("format", "ndjson") not in _PLAIN):
            self._notes.setdefault("stays one record an event: this type tells events apart", []).append(draft["name"])
        elif record == "batch":
            shape["record"] = "batch"
        return shape

    def _cluster(self) -> str:
        hosts = [self._own_variables(section.text("event_host")) for section in self._source.of("output")]
        for name in (*hosts, *self._around.clusters):
            if CLUSTER.match(name):
                return name
        return "default"

    def _ring_bytes(self) -> int:
        wanted = int(self._biggest) or _DEFAULT_RING
        volume = self._around.volume_bytes
        return wanted if volume is None else min(wanted, int(volume * VOLUME_SHARE))


def _fits(section: FluentSection) -> bool:
    """Whether `match` or `match_regex` takes the tag. `*` is the one wildcard; without either nothing is taken."""
    if pattern := section.text("match_regex"):
        try:
            return re.search(pattern, TAG) is not None
        except re.error:
            raise FluentBitError(f"{section.place}: match_regex: is no regular expression that is understood") from None
    return fnmatchcase(TAG, section.text("match").replace("[", "[[]").replace("?", "[?]"))


def _expanded(entry: FluentEntry, variables: Mapping[str, str]) -> str:
    try:
        return expand(entry.value, variables)
    except ValueError as problem:
        raise FluentBitError(f"{entry.place}: {entry.key}: {problem}") from None


def _set(section: dict[str, Any], path: str, value: object) -> None:
    *above, key = path.split(".")
    for name in above:
        section = section.setdefault(name, {})
    section[key] = plain(value)


def plain(value: object) -> object:
    """Sizes and times as YAML writes them."""
    if isinstance(value, Size):
        return int(value)
    return float(value) if isinstance(value, Duration) else value


def _stem(file: str) -> str:
    """`splunk` of `/config/splunk.backend.conf`: a name that stays when another output comes before it."""
    base = file.rsplit("/", 1)[-1]
    return base.partition(".backend.")[0] if ".backend." in base else ""


def _unique(wanted: str, taken: set[str]) -> str:
    name = _UNNAMED.sub("-", wanted.lower()).strip("-")[:36] or "output"
    number = 1
    found = name
    while found in taken:
        number += 1
        found = f"{name}-{number}"
    taken.add(found)
    return found
