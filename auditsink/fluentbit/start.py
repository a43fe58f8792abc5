"""From fluent-bit's two arguments to a configuration of ours and the guest that goes with it."""

import logging
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from auditsink.common.clock import SystemClock
from auditsink.common.redact import STARS, redact
from auditsink.config import Config
from auditsink.fluentbit import leftovers, user
from auditsink.fluentbit.document import FluentBitError
from auditsink.fluentbit.guest import FluentBitGuest, News
from auditsink.fluentbit.leftovers import Leftovers
from auditsink.fluentbit.numbers import FluentNumbers
from auditsink.fluentbit.reading import read
from auditsink.fluentbit.translate import Surroundings, Translation, storage_path, translate
from auditsink.load import ConfigError, files, parse

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
    user.prepare(ours)
    adopted = leftovers.adopt(ours.parent, ours)
    if user.is_root():
        user.give(ours)
        user.drop()
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
    """As YAML."""
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
