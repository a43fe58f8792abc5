"""Every key of fluent-bit that is known here, one row each: what becomes of it. The table itself, no code.

`put` is where a value goes in our section as it is; a row without it is one of several that make one of our keys
together (`outputs`, `translate`), and `says` names that key. The tables of docs/fluent-bit.md are these.
Keys and defaults are those of fluent-bit 2.1.10 to 5.1.1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from auditsink.fluentbit import values


class KeyFate(StrEnum):
    """What becomes of a key."""

    TRANSLATED = "translated"
    MEANINGLESS = "without meaning"
    """It steers something that is not here; told once, at the start."""
    REFUSED = "refused"
    """Ignoring it would lose data, or change what arrives."""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key. `says`: our key, or why it has no meaning, or why it is refused."""

    key: str
    fate: KeyFate
    says: str
    read: Callable[[str], object] = values.text
    put: str = ""


KeyTable = dict[str, KeyRow]


def table(*rows: KeyRow) -> KeyTable:
    """The rows by their keys."""
    return {row.key: row for row in rows}


def to(key: str, put: str, read: Callable[[str], object] = values.text) -> KeyRow:
    """A key that has a counterpart."""
    return KeyRow(key, KeyFate.TRANSLATED, put, read, put)


def part(key: str, says: str, read: Callable[[str], object] = values.text) -> KeyRow:
    """A key that makes a counterpart together with others."""
    return KeyRow(key, KeyFate.TRANSLATED, says, read)


def none(why: str, *keys: str) -> tuple[KeyRow, ...]:
    """Keys that have no meaning here."""
    return tuple(KeyRow(key, KeyFate.MEANINGLESS, why) for key in keys)


def refused(why: str, *keys: str) -> tuple[KeyRow, ...]:
    """Keys whose effect cannot be had."""
    return tuple(KeyRow(key, KeyFate.REFUSED, why) for key in keys)


_NO_CHUNKS = "the ring needs no such bound: it is read from the disk as it is delivered"
_NO_WORKERS = "the sink has threads of its own"
_KUBERNETES = "parsers, plugins and streams have nothing to do with audit events"

SERVICE = table(
    part("log_level", "log.level", values.one_of(off="error", error="error", warn="warning", warning="warning",
                                                 info="info", debug="debug", trace="debug")),
    part("http_server", "the HTTP API is served where it is on", values.yes),
    part("http_listen", "admin.listen"),
    part("http_port", "admin.listen", values.listening_port),
    part("storage.path", "spool.path (its subdirectory auditsink); --storage_path goes first"),
    to("scheduler.base", "backoff.initial", values.seconds),
    to("scheduler.cap", "backoff.max", values.seconds),
    part("health_check", "/api/v1/health", values.yes),
    part("hc_errors_count", "/api/v1/health", values.number),
    part("hc_retry_failure_count", "/api/v1/health", values.number),
    part("hc_period", "/api/v1/health", values.seconds),
    *none("every 200 is on the disk (durability: fsync), each frame with its CRC", "storage.sync", "storage.checksum"),
    *none(_NO_CHUNKS, "storage.max_chunks_up", "storage.backlog.mem_limit", "storage.trim_files",
          "storage.delete_irrecoverable_chunks", "storage.type", "storage.inherit",
          "storage.backlog.flush_on_shutdown", "storage.keep.rejected", "storage.rejected.path"),
    *none("/api/v1/storage is always there", "storage.metrics"),
    *none("a batch is delivered when it is full, or after batch.max_wait", "flush"),
    *none("the sink ends within 10 s", "grace"),
    *none("the sink runs in the foreground and logs to standard error", "daemon", "log_file"),
    *none(_KUBERNETES, "parsers_file", "plugins_file", "streams_file", "multiline.parsers_file"),
    *none("bytes of events are not touched", "sp.convert_from_str_to_num", "json.convert_nan_to_null",
          "json.escape_unicode"),
    *none("a change of the file needs a restart, which is what the extension does", "hot_reload",
          "hot_reload.ensure_thread_safety", "hot_reload.timeout"),
    *none("the system's resolver is asked", "dns.mode", "dns.resolver", "dns.prefer_ipv4", "dns.prefer_ipv6"),
    *none(_NO_WORKERS, "coro_stack_size", "windows.maxstdio", "multiline_buffer_limit"),
    *none("traces are not offered", "enable_chunk_trace"),
)  # fmt: skip

_SERVER_TLS = "receive.tls"

INPUT = table(
    part("name", "only http is taken over"),
    part("listen", "receive.listen"),
    part("host", "receive.listen"),
    part("port", "receive.listen", values.listening_port),
    part("tag", "the tag that patterns are held against"),
    part("storage.type", "the spool, always", values.only("filesystem", "memory", "memrb")),
    part("storage.pause_on_chunks_overlimit", "spool.when_full: on: reject, off: drop_oldest", values.yes),
    part("tls", _SERVER_TLS, values.yes),
    to("tls.crt_file", "tls.cert_file"),
    to("tls.key_file", "tls.key_file"),
    part("tls.ca_file", "tls.client_ca_file, with tls.verify_client_cert"),
    part("tls.verify_client_cert", "tls.client_ca_file", values.yes),
    part("add_remote_addr", "off", values.only("off", "false", "no")),
    *none("bodies of up to receive.max_body are taken", "buffer_max_size", "buffer_chunk_size"),
    *none("the answer is 200, which every kube-apiserver takes", "successful_response_code", "success_header"),
    *none(_NO_CHUNKS, "mem_buf_limit"),
    *none(_NO_WORKERS, "threaded", "http2", "thread.ring_buffer.capacity", "thread.ring_buffer.window"),
    *none("the input has the name http.0 in every number", "alias"),
    *none("there is one log level", "log_level", "log_suppress_interval"),
    *none("connections are kept as long as kube-apiserver keeps them", "net.keepalive", "net.keepalive_idle_timeout",
          "net.io_timeout", "net.share_port", "net.accept_timeout", "net.backlog", "net.accept_timeout_log_error"),
    *none("TLS 1.2 and later, by the system's own choice of ciphers", "tls.verify", "tls.debug", "tls.vhost",
          "tls.ca_path", "tls.min_version", "tls.max_version", "tls.ciphers", "tls.verify_hostname"),
    *none("all inputs are routed", "routable"),
    *refused("an encrypted key cannot be read at a restart; store it without a password", "tls.key_passwd"),
    *refused("a tag out of the event is not taken over; all events have the path's", "tag_key"),
    *refused("the event tells the client's addresses itself (sourceIPs)", "remote_addr_key"),
)  # fmt: skip

FILTER = table(
    part("name", "only modify is taken over"),
    part("match", "the filter counts where it fits the tag"),
    part("match_regex", "the filter counts where it fits the tag"),
    part("add", "destinations[].add", values.pair),
    *none("the filter has no number of its own", "alias", "log_level", "log_suppress_interval"),
)

OUTPUT = table(
    part("name", "destinations[].type"),
    part("match", "must fit the tag"),
    part("match_regex", "must fit the tag"),
    part("alias", "destinations[].name, and the name in every number"),
    part("storage.total_limit_size", "spool.max_bytes: the largest of all", values.size),
    *none("events are kept until they are taken or the ring is full", "retry_limit"),
    *none("there is one log level", "log_level", "log_suppress_interval"),
    *none(_NO_WORKERS, "workers"),
)

NET = table(
    *none("destinations[].timeout bounds every step, and connections are kept", "net.keepalive",
          "net.keepalive_idle_timeout", "net.keepalive_max_recycle", "net.connect_timeout",
          "net.connect_timeout_log_error", "net.io_timeout", "net.tcp_keepalive", "net.tcp_keepalive_time",
          "net.tcp_keepalive_interval", "net.tcp_keepalive_probes", "net.max_worker_connections"),
    *none("the system's resolver is asked", "net.dns.mode", "net.dns.resolver", "net.dns.prefer_ipv4",
          "net.dns.prefer_ipv6"),
    *none("a proxy is a key of its own (proxy), never one of the environment", "net.proxy_env_ignore"),
    *refused("the source address cannot be chosen; let the network decide", "net.source_address"),
)  # fmt: skip

TLS = table(
    part("tls", "https, or tls", values.yes),
    to("tls.ca_file", "tls.ca_file"),
    to("tls.crt_file", "tls.cert_file"),
    to("tls.key_file", "tls.key_file"),
    to("tls.vhost", "tls.server_name"),
    part("tls.verify", "tls.insecure_skip_verify", values.yes),
    part("tls.verify_hostname", "on: always, unless tls.verify is off", values.yes),
    *none("a failed handshake is told in last_error", "tls.debug"),
    *none(
        "TLS 1.2 and later, by the system's own choice of ciphers", "tls.min_version", "tls.max_version", "tls.ciphers"
    ),
    *refused("name the CA's file in tls.ca_file", "tls.ca_path"),
    *refused("an encrypted key cannot be read at a restart; store it without a password", "tls.key_passwd"),
    *refused("there is no Windows here", "tls.windows.certstore_name", "tls.windows.use_enterprise_store"),
)
