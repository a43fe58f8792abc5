"""What today's Gardener extension for audit renders, release by release, as far as the container reads it.

Facts of its releases v0.1.15 to v0.5.6, and of the branch that writes YAML, put together here; see `RELEASES`.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from auditsink.fluentbit import keys
from auditsink.fluentbit.keys import KeyTable

Keys = dict[str, str]


@dataclass(frozen=True, slots=True)
class Release:
    """`yaml`: written in YAML. `since`: what this release renders that earlier ones do not."""

    name: str
    chunks: str = "450"
    metrics: bool = True
    pause: str | None = "off"
    buffer: bool = True
    null_limit: bool = True
    verify_hostname: bool = True
    s3: bool = True
    custom: bool = True
    yaml: bool = False


RELEASES = (
    Release("v0.1.15", "128", False, None, False, False, False, False, False),
    Release("v0.2.0", "128", False, None, False, False, False, False, False),
    Release("v0.2.1", "128", False, None, False, False, False, True, False),
    Release("v0.2.3", "128", False, None, False, False, True, True, False),
    Release("v0.3.0", "128", True, None, False, False, True, True, False),
    Release("v0.4.0", pause="on", buffer=False, custom=False),
    Release("v0.4.2", custom=False),
    Release("v0.5.2", custom=False),
    Release("v0.5.6"),
    Release("yaml branch", custom=False, yaml=True),
)


def service(release: Release) -> Keys:
    """`[SERVICE]`."""
    found = {
        "log_level": "info", "http_server": "on", "http_listen": "0.0.0.0", "http_port": "2020",
        "storage.path": "/data/", "storage.sync": "normal", "storage.checksum": "off",
        "storage.max_chunks_up": release.chunks, "storage.backlog.mem_limit": "5M",
        "scheduler.base": "1", "scheduler.cap": "60",
        "health_check": "on", "hc_errors_count": "0", "hc_retry_failure_count": "0", "hc_period": "60",
    }  # fmt: skip
    return found | ({"storage.metrics": "on"} if release.metrics else {})


def http_input(release: Release) -> Keys:
    """`[INPUT]`."""
    found = {"storage.type": "filesystem", "name": "http"}
    if release.pause is not None:
        found["storage.pause_on_chunks_overlimit"] = release.pause
    return found | ({"buffer_max_size": "4M"} if release.buffer else {})


KEPT = {"retry_limit": "no_limits", "storage.total_limit_size": "900M"}
LOG = {"match": "audit", "name": "stdout", **KEPT, "storage.total_limit_size": "10M"}
FORWARD = {
    "match": "audit", "name": "forward", "host": "audit-cluster-forwarding-vpn-gateway", "port": "9876",
    "require_ack_response": "True", "compress": "gzip", **KEPT, "tls": "On", "tls.verify": "On", "tls.debug": "2",
    "tls.ca_file": "/backends/cluster-forwarding/certs/ca.crt",
    "tls.crt_file": "/backends/cluster-forwarding/certs/tls.crt",
    "tls.key_file": "/backends/cluster-forwarding/certs/tls.key", "tls.vhost": "audittailer",
}  # fmt: skip
SPLUNK = {
    "match": "audit", "name": "splunk", "host": "hec.example.com", "port": "8088",
    "splunk_token": "${SPLUNK_HEC_TOKEN}", "splunk_send_raw": "off", "event_host": "shoot--p--n",
    "event_index": "k8s", "event_sourcetype": "kube:apiserver:auditlog", **KEPT, "tls": "on", "tls.verify": "on",
    "tls.vhost": "splunk.internal", "tls.ca_file": "/backends/splunk/certs/ca.crt",
}  # fmt: skip
S3 = {
    "match": "audit", "name": "s3", "bucket": "trail", "region": "eu-central-1", "endpoint": "https://s3.example.com",
    "s3_key_format": "/audit-logs/%Y/%m/%d/%H/%M/%S/$UUID", "upload_timeout": "10m", "total_file_size": "100M",
    "compression": "gzip", "json_date_key": "timestamp", "use_put_object": "On", "retry_limit": "no_limits",
    "store_dir_limit_size": "900M", "tls": "On",
}  # fmt: skip
CUSTOM = {"Match": "audit", "Name": "loki", "host": "loki.example.com", "labels": "job=fluentbit", "port": "443",
          "tls": "On"}  # fmt: skip
DATA = {"region": "eu-1", "stage": "prod"}


@dataclass(slots=True)
class Rendered:
    """The configuration of one shoot with all backends that a release knows. Change `backends` before `write`."""

    release: Release = RELEASES[-2]
    data: Mapping[str, str] = field(default_factory=lambda: dict(DATA))
    service: Keys = field(init=False)
    input: Keys = field(init=False)
    backends: dict[str, Keys] = field(init=False)

    def __post_init__(self) -> None:
        release = self.release
        self.service, self.input = service(release), http_input(release)
        self.backends = {"log": dict(LOG), "cluster-forwarding": dict(FORWARD), "splunk": dict(SPLUNK)}
        if release.verify_hostname:
            self.backends["splunk"]["tls.verify_hostname"] = "on"
        if release.s3:
            self.backends["s3"] = dict(S3)
        if release.custom:
            self.backends["custom-forwarding"] = dict(CUSTOM)
        limit = {"storage.total_limit_size": "900M"} if release.null_limit else {}
        self.backends["null"] = {"match": "audit", "name": "null", **limit}

    def write(self, place: Path) -> Path:
        """Into a directory; the main file's path."""
        place.mkdir(parents=True, exist_ok=True)
        return self._yaml(place) if self.release.yaml else self._classic(place)

    def _classic(self, place: Path) -> Path:
        for name, backend in self.backends.items():
            sections: list[tuple[str, Iterable[tuple[str, str]]]] = [("OUTPUT", backend.items())]
            if name == "splunk" and self.data:
                added = [("add", f"{key} {value}") for key, value in self.data.items()]
                sections.insert(0, ("FILTER", [*added, ("match", "*"), ("name", "modify")]))
            (place / f"{name}.backend.conf").write_text(_classic(sections))
        main = place / "fluent-bit.conf"
        head = _classic([("SERVICE", self.service.items()), ("INPUT", self.input.items())])
        main.write_text(f"{head}\n\n@INCLUDE *.backend.conf\n")
        return main

    def _yaml(self, place: Path) -> Path:
        for name, backend in self.backends.items():
            pipeline: dict[str, Any] = {"outputs": [backend]}
            if name == "splunk" and self.data:
                added = [f"{key} {value}" for key, value in self.data.items()]
                pipeline["filters"] = [{"name": "modify", "match": "*", "add": added}]
            (place / f"{name}.backend.yaml").write_text(yaml.safe_dump({"pipeline": pipeline}))
        main = place / "fluent-bit.yaml"
        document = {"service": self.service, "pipeline": {"inputs": [self.input]}, "includes": ["*.backend.yaml"]}
        main.write_text(yaml.safe_dump(document))
        return main


def _classic(sections: Iterable[tuple[str, Iterable[tuple[str, str]]]]) -> str:
    return "\n".join(
        f"[{header}]\n" + "".join(f"    {key} {value}\n" for key, value in entries) for header, entries in sections
    )


TABLES: dict[str, KeyTable] = {
    "`[SERVICE]`": keys.SERVICE,
    "`[INPUT]` http": keys.INPUT,
    "`[FILTER]` modify": keys.FILTER,
    "`[OUTPUT]`, every plugin": keys.OUTPUT,
    "`[OUTPUT]`, `tls` (all but stdout, file, null)": keys.TLS,
    "`[OUTPUT]`, `net` (all but stdout, file, null)": keys.NET,
    "`[OUTPUT]` splunk": keys.SPLUNK,
    "`[OUTPUT]` s3": keys.S3,
    "`[OUTPUT]` forward": keys.FORWARD,
    "`[OUTPUT]` stdout": keys.STDOUT,
    "`[OUTPUT]` http": keys.HTTP,
    "`[OUTPUT]` loki": keys.LOKI,
    "`[OUTPUT]` es, opensearch": keys.ELASTICSEARCH,
    "`[OUTPUT]` kafka": keys.KAFKA,
    "`[OUTPUT]` file": keys.FILE,
    "`[OUTPUT]` null": keys.NULL,
}


def key_tables() -> str:
    """Every key of fluent-bit that is known, as the tables of docs/fluent-bit.md."""
    parts = []
    for title, table in TABLES.items():
        rows: dict[tuple[str, str], list[str]] = {}
        for row in table.values():
            rows.setdefault((row.fate.value, row.says), []).append(f"`{row.key}`")
        lines = [f"| {', '.join(several)} | {fate} | {says} |" for (fate, says), several in rows.items()]
        parts.append("\n".join([f"### {title}\n", "| key | fate | ours, or why |", "| --- | --- | --- |", *lines]))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(key_tables())
