"""What makes sense together: rules over one section at a time, as a table from section type to rule.

A rule yields `(key, sentence)` for each thing that is wrong; the sentence says what to write instead and never
shows a value.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from auditsink import config
from auditsink.common.cluster_name import CLUSTER, CLUSTER_RULE
from auditsink.common.listen import parse_address
from auditsink.config.spool import CHECKPOINTS
from auditsink.load import cluster_rules, http_rules, object_rules, policies
from auditsink.load.checks import Broken, not_both, positive, url, whole

NAME = re.compile(r"[a-z0-9-]{1,40}\Z")
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+\Z")
_TOPIC = re.compile(r"(?:[A-Za-z0-9._-]|\{cluster\})+\Z")
_TRANSACTIONAL_ID = re.compile(r"[A-Za-z0-9._-]{1,200}\Z")


def broken(section: object) -> Broken:
    """All rules for the section's type and its bases."""
    for kind in type(section).__mro__:
        if kind in _RULES:
            yield from _RULES[kind](section)


def _receive(section: config.Receive) -> Broken:
    yield from _address("listen", section.listen)
    if not _PATH.match(section.path):
        yield "path", "write a path like /audit, without a slash at its end"
    if not CLUSTER.match(section.cluster):
        yield "cluster", CLUSTER_RULE
    if section.max_body < 1024:
        yield "max_body", "must be at least 1KiB; an apiserver's batches are megabytes"
    if section.max_body > section.max_in_flight:
        yield "max_in_flight", "must be at least max_body, or a body of that size could never be taken"
    yield from whole("max_connections", section.max_connections, 1, 100_000)
    if section.max_clusters is not None:
        yield from whole("max_clusters", section.max_clusters, 1, 10_000)
    if not 1 <= section.retry_after <= 30 or section.retry_after % 1:
        yield "retry_after", "write whole seconds from 1s to 30s; kube-apiserver ignores fractions and gives up at 30 s"
    yield from positive("request_timeout", section.request_timeout)
    yield from positive("idle_timeout", section.idle_timeout)


def _spool(section: config.Spool) -> Broken:
    if section.segment_bytes < 4096:
        yield "segment_bytes", "must be at least 4KiB"
    if section.segment_bytes * 2 > section.max_bytes:
        yield "segment_bytes", "must be at most half of max_bytes: space is freed by whole segments"


def _packing(section: config.Packing) -> Broken:
    if section.max_bytes is not None:
        yield from positive("max_bytes", section.max_bytes)
    if section.max_events is not None:
        yield from whole("max_events", section.max_events, 1, 1_000_000)


def _backoff(section: config.BackoffSettings) -> Broken:
    yield from positive("initial", section.initial)
    if section.max < section.initial:
        yield "max", "must be at least initial"


def _client_tls(section: config.ClientTls) -> Broken:
    if section.cert_file and not section.key_file:
        yield "key_file", "is missing; cert_file needs it"
    if section.key_file and not section.cert_file:
        yield "cert_file", "is missing; key_file needs it"
    if section.insecure_skip_verify and section.ca_file:
        yield "insecure_skip_verify", "contradicts ca_file; remove one of the two"


def _common(section: config.DestinationConfig) -> Broken:
    if not NAME.match(section.name):
        yield "name", "write 1 to 40 of a-z, 0-9 and -"
    if section.in_flight is not None:
        yield from whole("in_flight", section.in_flight, 1, 64)
    yield from positive("timeout", section.timeout)
    yield from positive("dead_letter_bytes", section.dead_letter_bytes)


def _splunk(section: config.SplunkConfig) -> Broken:
    yield from url("url", section.url, section.tls)
    if section.token is None and section.token_file is None:
        yield "token_file", "is missing; name a file that holds the HEC token (or set token)"
    yield from not_both(section, "token", "token_file")


def _kafka(section: config.KafkaConfig) -> Broken:
    if not section.bootstrap_servers:
        yield "bootstrap_servers", "is empty; write at least one host:port"
    for place, server in enumerate(section.bootstrap_servers):
        yield from _address(f"bootstrap_servers[{place}]", server)
    if not _TOPIC.match(section.topic):
        yield "topic", "write letters, digits, dots, dashes, underscores and {cluster}"
    if section.transactional_id is not None:
        if not _TRANSACTIONAL_ID.match(section.transactional_id):
            yield "transactional_id", "write 1 to 200 letters, digits, dots, dashes and underscores, one for each sink"
        if section.in_flight not in (None, 1):
            yield "in_flight", "must be 1 with transactional_id: a producer has one transaction at a time"


def _kafka_security(section: config.KafkaSecurity) -> Broken:
    yield from not_both(section, "password", "password_file")
    has_password = section.password is not None or section.password_file is not None
    if section.mechanism and not section.username:
        yield "username", f"is missing; {section.mechanism} needs it"
    if section.mechanism and not has_password:
        yield "password_file", f"is missing; {section.mechanism} needs it (or password)"
    if not section.mechanism and (section.username or has_password):
        yield "mechanism", "is missing; write PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"


def _file(section: config.FileConfig) -> Broken:
    yield from positive("rotate_bytes", section.rotate_bytes)
    yield from whole("keep", section.keep, 1, 10_000)


def _evidence(section: config.Evidence) -> Broken:
    if not 1 <= section.every <= 3600:
        yield "every", "must be from 1s to 1h: what is younger than the last checkpoint is not covered"
    if section.deliver_as is not None and not CLUSTER.match(section.deliver_as):
        yield "deliver_as", CLUSTER_RULE


def _admin(section: config.Admin) -> Broken:
    yield from _address("listen", section.listen)


def _config(section: config.Config) -> Broken:
    if not section.destinations:
        yield "destinations", "is empty; write at least one"
    yield from _unique(section.destinations, "name", "names must be unique")
    files = [one if isinstance(one, config.FileConfig) else None for one in section.destinations]
    yield from _unique(files, "path", "each file destination needs a file of its own")
    kafka = (one if isinstance(one, config.KafkaConfig) else None for one in section.destinations)
    producers = [one if one is not None and one.transactional_id else None for one in kafka]
    yield from _unique(producers, "transactional_id", "each destination needs an id of its own")
    if section.evidence is not None:
        yield from _beside(section.evidence, section.destinations)
    if section.clusters is not None and section.receive.tokens_file is not None:
        yield "receive.tokens_file", "stands beside clusters; give each cluster a token_file of its own there"
    receive, admin = parse_address(section.receive.listen), parse_address(section.admin.listen)
    if receive == admin and receive.port:
        yield "admin.listen", "is the same as receive.listen; choose another port"


def _beside(evidence: config.Evidence, destinations: Sequence[config.DestinationConfig]) -> Broken:
    for place, one in enumerate(destinations):
        if one.name == CHECKPOINTS:
            yield f"destinations[{place}].name", f"{CHECKPOINTS!r} is what evidence is called; choose another name"
        if isinstance(one, config.FileConfig) and one.path == evidence.path:
            yield "evidence.path", f"is the same as destinations[{place}].path; checkpoints need a file of their own"


def _unique(several: Sequence[Any], key: str, why: str) -> Broken:
    first: dict[object, int] = {}
    for place, one in enumerate(several):
        if one is not None and (earlier := first.setdefault(getattr(one, key), place)) != place:
            yield f"destinations[{place}].{key}", f"is the same as destinations[{earlier}].{key}; {why}"


def _address(key: str, text: str) -> Broken:
    try:
        parse_address(text)
    except ValueError as problem:
        yield key, str(problem)


_RULES: dict[type, Callable[[Any], Broken]] = {
    config.Receive: _receive,
    config.Spool: _spool,
    config.Packing: _packing,
    config.BackoffSettings: _backoff,
    config.ClientTls: _client_tls,
    config.DestinationSection: _common,
    config.SplunkConfig: _splunk,
    config.KafkaConfig: _kafka,
    config.KafkaSecurity: _kafka_security,
    config.FileConfig: _file,
    config.Evidence: _evidence,
    config.Filter: policies.filter_,
    config.Policy: policies.policy,
    config.PolicyRule: policies.rule,
    config.GroupResources: policies.resources,
    config.Admin: _admin,
    **cluster_rules.RULES,
    config.Config: _config,
    **http_rules.RULES,
    **object_rules.RULES,
}
