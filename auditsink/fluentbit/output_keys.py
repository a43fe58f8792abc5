"""The keys of fluent-bit's output plugins, one row each: what becomes of them. See `keys`."""

from auditsink.fluentbit import values
from auditsink.fluentbit.keys import NET, OUTPUT, TLS, KeyRow, KeyTable, none, part, refused, table, to

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
    part("header", "headers, auth", values.pair),
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
    part("uri", "url", values.only("/loki/api/v1/push")),
    to("labels", "loki.labels", values.pairs),
    part("tenant_id", "headers.X-Scope-OrgID"),
    to("bearer_token", "auth.bearer"),
    part("header", "headers, auth", values.pair),
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
    part("logstash_dateformat", "%Y.%m.%d", values.only("%y.%m.%d")),
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
