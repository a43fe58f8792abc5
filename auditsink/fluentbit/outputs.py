"""An output of fluent-bit as a destination of ours: what several of its keys make together, one function each. Pure.

What has a counterpart of its own stands in the section already (`KeyRow.put`). `given` holds the values of the others
by fluent-bit's keys, read as the table says.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from auditsink.fluentbit.document import FluentBitError

Given = Mapping[str, Any]
Draft = dict[str, Any]

MOST_OBJECT_BYTES = 32 * 2**20
"""Of events in one object: a batch is held in memory, and fluent-bit's usual 100M would take several hundred MB."""
FORWARD_PORT = 24224


def splunk(section: Draft, given: Given) -> None:
    """`url`; and what fluent-bit compresses only if it is told so."""
    section["url"] = _url(section, given, 8088)
    section.setdefault("compression", "none")
    if "token" not in section:
        raise FluentBitError("splunk_token: is missing; auditsink shows a token, no name and password")


def s3(section: Draft, given: Given) -> None:
    """Path style, as fluent-bit; TLS unless the endpoint says http (4.0.5, `out_s3/s3.c`)."""
    endpoint = section.get("endpoint")
    if endpoint is not None and "://" not in endpoint:
        section["endpoint"] = f"https://{endpoint}"
    section.setdefault("region", "us-east-1")
    section.setdefault("key_format", "/fluent-bit-logs/$TAG/%Y/%m/%d/%H/%M/%S")
    section.setdefault("compression", "none")
    section["tag"] = given["tag"]
    if delimiters := given.get("s3_key_format_tag_delimiters"):
        section["tag_delimiters"] = delimiters
    batch = section.setdefault("batch", {})
    batch["max_bytes"] = min(batch.get("max_bytes", 10**8), MOST_OBJECT_BYTES)
    batch.setdefault("max_wait", 600)
    if (key := given.get("json_date_key")) and key.lower() not in ("false", "off"):
        section["time_key"] = key
    tls = _tls(section, given, on=True)
    if tls.pop("insecure_skip_verify", False):
        raise FluentBitError("tls.verify: off is not offered for object stores; name the CA in tls.ca_file")
    if tls.keys() - {"ca_file"}:
        raise FluentBitError("tls: an object store is told a CA and nothing else; take out certificate, key and vhost")
    section.update(tls)


def forward(section: Draft, given: Given) -> None:
    """`address`, `tls` and the tag."""
    host = given.get("host", "127.0.0.1")
    section["address"] = f"{bracketed(host)}:{given.get('port', FORWARD_PORT)}"
    section["tag"] = given["tag"]
    section.setdefault("compression", "none")
    section.setdefault("acknowledge", False)
    if given.get("tls", False):
        section["tls"] = _tls(section, given, on=True)
    else:
        section.pop("tls", None)


def http(section: Draft, given: Given) -> None:
    """`url`, `format` and headers."""
    section["url"] = _url(section, given, 80) + _path(given.get("uri", "/"))
    section["format"] = given.get("format", "json_array")
    section.setdefault("compression", "none")
    _headers(section, given)
    if proxy := given.get("proxy"):
        section["proxy"] = {"url": proxy}


def loki(section: Draft, given: Given) -> None:
    """`url`, labels and the tenant's header."""
    section["url"] = _url(section, given, 3100)
    section["format"] = "loki"
    section.setdefault("loki", {"labels": {"job": "fluent-bit"}})
    section.setdefault("compression", "none")
    _headers(section, given)
    if tenant := given.get("tenant_id"):
        section.setdefault("headers", {})["X-Scope-OrgID"] = tenant


def elasticsearch(section: Draft, given: Given) -> None:
    """`url` and the index, with `{date}` where fluent-bit puts its day."""
    url = _url(section, given, 9200) + _path(given.get("path", "")).rstrip("/")
    pipeline = given.get("pipeline")
    section["url"] = f"{url}?pipeline={quote(pipeline, safe='${}')}" if pipeline else url
    section["format"] = "elasticsearch"
    section.setdefault("compression", "none")
    if given.get("logstash_format", False):
        separator = given.get("logstash_prefix_separator", "-")
        index = f"{given.get('logstash_prefix', 'logstash')}{separator}{{date}}"
    else:
        index = given.get("index", "fluent-bit")
    section["elasticsearch"] = {"index": index}
    if "auth" in section:
        section["auth"].setdefault("password", "")


def kafka(section: Draft, given: Given) -> None:
    """`bootstrap_servers`, `topic`, `security`. `tls.*` says nothing there: librdkafka has keys of its own."""
    section.pop("tls", None)
    section["bootstrap_servers"] = [one.strip() for one in given.get("brokers", "127.0.0.1:9092").split(",")]
    topics = given.get("topics", "fluent-bit")
    if "," in topics:
        raise FluentBitError("topics: several topics need a key of the record to choose by, which is not offered")
    section["topic"] = topics.strip()
    security = section.get("security", {})
    protocol = given.get("rdkafka.security.protocol", "plaintext")
    if protocol.endswith("ssl"):
        security.setdefault("tls", {})
    elif "tls" in security:
        del security["tls"]
    if protocol.startswith("sasl"):
        mechanism = given.get("rdkafka.sasl.mechanism", given.get("rdkafka.sasl.mechanisms"))
        if mechanism is None:
            raise FluentBitError("rdkafka.sasl.mechanism: is missing; PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512 are known")
        security["mechanism"] = mechanism
    section["security"] = security
    section.setdefault("compression", "none")


def stdout(_section: Draft, _given: Given) -> None:
    """Has no keys that make something together."""


def file(section: Draft, given: Given) -> None:
    """`path`. Only whole lines of JSON can be kept, which fluent-bit calls plain."""
    if "format" not in given:
        raise FluentBitError("format: is missing, and fluent-bit's own default has tag and time before each record; "
                             "write plain to have a line of JSON an event")  # fmt: skip
    section["path"] = f"{given.get('path', '.').rstrip('/')}/{given.get('file', given['tag'])}"


BUILDERS: dict[str, tuple[str, Callable[[Draft, Given], None]]] = {
    "splunk": ("splunk", splunk),
    "s3": ("s3", s3),
    "forward": ("forward", forward),
    "http": ("http", http),
    "loki": ("http", loki),
    "es": ("http", elasticsearch),
    "opensearch": ("http", elasticsearch),
    "kafka": ("kafka", kafka),
    "stdout": ("stdout", stdout),
    "file": ("file", file),
}
"""By fluent-bit's plugin: the type of the destination, and the rest of its section. `null` is no destination."""


def bracketed(host: str) -> str:
    """The host as it stands before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") and "$" not in host else host


def _url(section: Draft, given: Given, port: int) -> str:
    """The origin; `tls` stays in the section only where it has an effect."""
    secure = given.get("tls", False)
    tls = _tls(section, given, on=secure)
    if tls:
        section["tls"] = tls
    scheme = "https" if secure else "http"
    return f"{scheme}://{bracketed(given.get('host', '127.0.0.1'))}:{given.get('port', port)}"


def _tls(section: Draft, given: Given, *, on: bool) -> Draft:
    """Taken out of the section. Without TLS its files say nothing, and the extension names them all the same."""
    tls: Draft = section.pop("tls", {})
    if not on:
        return {}
    if not given.get("tls.verify", True):
        tls.pop("ca_file", None)
        tls["insecure_skip_verify"] = True
    return tls


def _path(path: str) -> str:
    return path if not path or path.startswith("/") else f"/{path}"


def _headers(section: Draft, given: Given) -> None:
    """`header NAME VALUE`, each; a credential among them belongs into `auth`."""
    for name, value in given.get("header", []):
        if name.lower() != "authorization":
            section.setdefault("headers", {})[name] = value
            continue
        scheme, _, token = value.partition(" ")
        if not token:
            raise FluentBitError("header Authorization: must be a scheme and a token, like Bearer TOKEN")
        section["auth"] = {"scheme": scheme, "bearer": token.strip()}
