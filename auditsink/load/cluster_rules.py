"""The rules for `clusters`, in the file and in the files of its directory: as in `rules`, of which they are a part."""

import re
from collections.abc import Callable
from typing import Any

from auditsink import config
from auditsink.common.cluster_name import CLUSTER, CLUSTER_RULE
from auditsink.load.checks import Broken, whole

_CERTIFICATE = re.compile(r"(cn|dns|uri|email):[^\s]([^\n]{0,253}[^\s])?\Z")
_LABEL = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
_TOKEN = re.compile(r"[!-~]+\Z")
LONGEST_LABEL = 256
MOST_LABELS = 16
LEAST_RESERVATION = 2**20
"""Less would not hold a batch of an apiserver that records bodies."""


def _cluster(section: config.Cluster) -> Broken:
    if not CLUSTER.match(section.name):
        yield "name", CLUSTER_RULE
    if section.destinations == []:
        yield "destinations", "is empty; write at least one, or remove the key for all"
    if 0 < section.reservation < LEAST_RESERVATION:
        yield "reservation", f"must be at least {LEAST_RESERVATION // 2**20}MiB, or 0 for none"
    yield from _credentials(section)
    yield from _labels(section.labels)


def _credentials(section: config.Cluster) -> Broken:
    identified = bool(section.token_file or section.tokens or section.certificates)
    if not identified and not section.anonymous:
        yield "token_file", "is missing; write it, tokens or certificates (or anonymous: true, and anybody may post)"
    if identified and section.anonymous:
        yield "anonymous", "contradicts the credentials; remove one of the two"
    for place, name in enumerate(section.certificates):
        if not _CERTIFICATE.match(name):
            yield f"certificates[{place}]", "write cn:, dns:, uri: or email: and the name as the certificate has it"
    for place, token in enumerate(section.tokens):
        if not _TOKEN.match(token.reveal()):
            yield f"tokens[{place}]", "no header can carry it; use printable ASCII without spaces"


def _labels(labels: dict[str, str]) -> Broken:
    if len(labels) > MOST_LABELS:
        yield "labels", f"are more than {MOST_LABELS}; every event carries them"
    for name, value in labels.items():
        if not _LABEL.match(name):
            yield f"labels.{name}", "is no name for a label; write 1 to 63 of a-z, 0-9 and _, a letter first"
        if not value.isprintable() or not 1 <= len(value) <= LONGEST_LABEL:
            yield f"labels.{name}", f"is no label; write one line of 1 to {LONGEST_LABEL} characters"


def _rate(section: config.Rate) -> Broken:
    yield from whole("events_per_second", section.events_per_second, 1, 10_000_000)
    if section.burst is not None:
        yield from whole("burst", section.burst, 1, 100_000_000)


def _clusters(section: config.Clusters) -> Broken:
    if section.directory is None and not section.members:
        yield "members", "is empty; write at least one, or name a directory"


RULES: dict[type, Callable[[Any], Broken]] = {
    config.Cluster: _cluster,
    config.Clusters: _clusters,
    config.Rate: _rate,
}
