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
    *none("counts for what is posted to / alone; what is posted to /audit has the tag audit", "tag"),
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


_TIME = "events carry their own time; nothing is added"
_DATE = none(_TIME, "json_date_key", "json_date_format")
_BUFFERS = "answers are read up to a bound of the sink's own"
_AWS = "requests signed for AWS are not offered for this type"
_RECORD = "takes values out of each record, which is not offered"


def _address(default: str) -> tuple[KeyRow, KeyRow]:
    return part("host", default), part("port", default, values.port)


_GZIP = to("compress", "compression", values.only("gzip"))
_LOGIN = (to("http_user", "auth.username"), to("http_passwd", "auth.password"))

SPLUNK = table(
    *_address("url"),
    to("splunk_token", "token"),
    to("event_host", "host"),
    to("event_source", "source"),
    to("event_sourcetype", "sourcetype"),
    to("event_index", "index"),
    part("splunk_send_raw", "off: each record in an envelope", values.only("off", "false", "no")),
    _GZIP,
    *none("acknowledgements are a key of ours: acknowledge", "channel"),
    *none(_BUFFERS, "http_buffer_size", "http_debug_bad_request"),
    *refused("name and password instead of a token are not offered; write splunk_token", "http_user", "http_passwd"),
    *refused(_RECORD, "event_key", "event_field", "event_sourcetype_key", "event_index_key"),
)

S3 = table(
    to("bucket", "bucket"),
    to("region", "region"),
    to("endpoint", "endpoint"),
    to("s3_key_format", "key_format"),
    to("compression", "compression", values.only("gzip")),
    to("total_file_size", "batch.max_bytes", values.size),
    to("upload_timeout", "batch.max_wait", values.seconds),
    to("storage_class", "storage_class"),
    part("json_date_key", "time_key"),
    part("json_date_format", "time_key", values.only("iso8601")),
    part("store_dir_limit_size", "spool.max_bytes: the largest of all", values.size),
    part("static_file_path", "off: a name of its own for each object", values.only("off", "false", "no")),
    part("s3_key_format_tag_delimiters", "key_format: the parts of the tag"),
    part("use_put_object", "each object is one request", values.yes),
    part("store_dir", "nothing: objects wait in the ring; what lies there is named with its size"),
    *none("each object is one request", "upload_chunk_size"),
    *none("the store's own checksums are asked for where it needs them", "send_content_md5"),
    *none("every trouble is tried again", "auto_retry_requests"),
    *none("events keep their order", "preserve_data_ordering"),
    *none("the type of an object follows from its compression", "content_type"),
    *refused("sets the owner's rights object by object; use a bucket policy", "canned_acl"),
    *refused("roles come from the environment (web identity, instance role); set AWS_ROLE_ARN", "role_arn",
             "external_id", "sts_endpoint", "profile"),
    *refused(_RECORD, "log_key"),
)  # fmt: skip

FORWARD = table(
    *_address("address"),
    part("tag", "tag"),
    to("compress", "compression", values.only("gzip")),
    to("require_ack_response", "acknowledge", values.yes),
    to("time_as_integer", "time_as_integer", values.yes),
    to("shared_key", "shared_key"),
    to("self_hostname", "hostname"),
    to("username", "username"),
    to("password", "password"),
    *none("the options are always sent", "send_options", "fluentd_compat"),
    *none("events have no metadata beside them", "retain_metadata_in_forward_mode", "add_option"),
    *refused("an empty shared key proves nothing; agree on one", "empty_shared_key"),
    *refused("write host and port", "unix_path", "upstream"),
)

STDOUT = table(*none("one line of JSON an event", "format"), *_DATE)
NULL = table(*none("nothing is written", "format"), *_DATE)

HTTP = table(
    *_address("url"),
    part("uri", "url"),
    part("format", "format", values.one_of(json="json_array", json_lines="ndjson", json_stream="ndjson")),
    part("header", "headers, auth", values.header),
    part("proxy", "proxy.url"),
    _GZIP,
    *_LOGIN,
    *_DATE,
    *none("each name once", "allow_duplicated_headers"),
    *none(_BUFFERS, "log_response_payload"),
    *refused(_AWS, "aws_auth", "aws_service", "aws_region", "aws_sts_endpoint", "aws_role_arn", "aws_external_id",
             "aws_profile"),
    *refused("the tag in a header of its own: write header NAME VALUE", "header_tag"),
    *refused("is of a format that is not offered", "gelf_timestamp_key", "gelf_host_key", "gelf_short_message_key",
             "gelf_full_message_key", "gelf_level_key"),
    *refused(_RECORD, "body_key", "headers_key"),
)  # fmt: skip

LOKI = table(
    *_address("url"),
    part("uri", "url", values.exactly("/loki/api/v1/push")),
    to("labels", "loki.labels", values.pairs),
    part("tenant_id", "headers.X-Scope-OrgID"),
    to("bearer_token", "auth.bearer"),
    part("header", "headers, auth", values.header),
    part("line_format", "json: the event as it is", values.only("json")),
    part("auto_kubernetes_labels", "off", values.only("off", "false", "no")),
    _GZIP,
    *_LOGIN,
    *none(_BUFFERS, "buffer_size"),
    *none("there is more than one key in an event", "drop_single_key"),
    *refused(_RECORD, "label_keys", "label_map_path", "tenant_id_key", "structured_metadata",
             "structured_metadata_map_keys"),
    *refused("would take fields out of events; use filter.drop_fields of auditsink", "remove_keys"),
)  # fmt: skip

_ELASTIC = (
    *_address("url"),
    part("index", "elasticsearch.index"),
    part("logstash_format", "elasticsearch.index: PREFIX-{date}", values.yes),
    part("logstash_prefix", "elasticsearch.index: PREFIX-{date}"),
    part("logstash_prefix_separator", "elasticsearch.index: PREFIX-{date}"),
    part("logstash_dateformat", "%Y.%m.%d", values.exactly("%Y.%m.%d")),
    part("path", "url"),
    part("pipeline", "url"),
    part("write_operation", "create", values.only("create")),
    _GZIP,
    *_LOGIN,
    *none("events have ids of their own, so that a repeat is no second document", "generate_id"),
    *none("@timestamp is the event's time", "time_key", "time_key_format", "time_key_nanos", "current_time_index"),
    *none("there is one type of document", "type", "suppress_type_name"),
    *none(_BUFFERS, "buffer_size", "trace_output", "trace_error"),
    *refused(_AWS, "aws_auth", "aws_region", "aws_sts_endpoint", "aws_role_arn", "aws_external_id",
             "aws_service_name", "aws_profile"),
    *refused(_RECORD, "logstash_prefix_key", "id_key"),
    *refused("changes the keys of events, which is not offered", "replace_dots", "include_tag_key", "tag_key"),
)  # fmt: skip
ELASTICSEARCH = table(*_ELASTIC, *refused("write host, port and http_user", "cloud_id", "cloud_auth"))
OPENSEARCH = table(*_ELASTIC)

_WIRE = "waits and repetitions are the sink's"
KAFKA = table(
    part("brokers", "bootstrap_servers"),
    part("topics", "topic"),
    part("format", "json: the event as it is", values.only("json")),
    to("rdkafka.sasl.username", "security.username"),
    to("rdkafka.sasl.password", "security.password"),
    part("rdkafka.security.protocol", "security", values.only("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")),
    part("rdkafka.sasl.mechanism", "security.mechanism",
         values.one_of(plain="PLAIN", scram_sha_256="SCRAM-SHA-256", scram_sha_512="SCRAM-SHA-512")),
    part("rdkafka.sasl.mechanisms", "security.mechanism",
         values.one_of(plain="PLAIN", scram_sha_256="SCRAM-SHA-256", scram_sha_512="SCRAM-SHA-512")),
    to("rdkafka.ssl.ca.location", "security.tls.ca_file"),
    to("rdkafka.ssl.certificate.location", "security.tls.cert_file"),
    to("rdkafka.ssl.key.location", "security.tls.key_file"),
    to("rdkafka.compression.codec", "compression", values.one_of(none="none", gzip="gzip", lz4="lz4", zstd="zstd")),
    to("rdkafka.compression.type", "compression", values.one_of(none="none", gzip="gzip", lz4="lz4", zstd="zstd")),
    *none(_TIME, "timestamp_key", "timestamp_format"),
    *none("the key of a message is the cluster's name", "message_key"),
    *none("every message is acknowledged by all replicas, once and in order", "rdkafka.enable.idempotence",
          "rdkafka.request.required.acks", "rdkafka.acks"),
    *none(_WIRE, "queue_full_retries", "rdkafka.log_level", "rdkafka.queue.buffering.max.messages",
          "rdkafka.queue.buffering.max.kbytes", "rdkafka.queue.buffering.max.ms", "rdkafka.linger.ms",
          "rdkafka.batch.size", "rdkafka.batch.num.messages", "rdkafka.message.timeout.ms",
          "rdkafka.delivery.timeout.ms", "rdkafka.request.timeout.ms", "rdkafka.retries",
          "rdkafka.message.send.max.retries", "rdkafka.retry.backoff.ms", "rdkafka.socket.keepalive.enable",
          "client_id", "rdkafka.client.id", "group_id"),
    *refused(_RECORD, "topic_key", "dynamic_topic", "message_key_field", "raw_log_key"),
    *refused("is of a format that is not offered", "schema_str", "schema_id", "gelf_timestamp_key", "gelf_host_key",
             "gelf_short_message_key", "gelf_full_message_key", "gelf_level_key"),
    *refused(_AWS, "aws_msk_iam", "aws_msk_iam_cluster_arn"),
)  # fmt: skip

FILE = table(
    part("path", "path"),
    part("file", "path"),
    part("format", "plain: a line of JSON an event", values.only("plain")),
    *none("the directory is made", "mkdir"),
    *none("is of another format", "delimiter", "label_delimiter", "template", "csv_column_names"),
)

PLUGINS: dict[str, KeyTable] = {
    "splunk": OUTPUT | NET | TLS | SPLUNK,
    "s3": OUTPUT | NET | TLS | S3,
    "forward": OUTPUT | NET | TLS | FORWARD,
    "http": OUTPUT | NET | TLS | HTTP,
    "loki": OUTPUT | NET | TLS | LOKI,
    "es": OUTPUT | NET | TLS | ELASTICSEARCH,
    "opensearch": OUTPUT | NET | TLS | OPENSEARCH,
    "kafka": OUTPUT | NET | TLS | KAFKA,
    "stdout": OUTPUT | STDOUT,
    "file": OUTPUT | FILE,
    "null": OUTPUT | NULL,
}
"""By the name of the plugin. Another one stops the translation."""
