"""Metrics, health, status and logs: what the sink says of itself."""

from auditsink.common.later import postpone

# All of its parts but these two are used. They bring servers and clients of HTTP: 1 MB at rest.
postpone("prometheus_client", "prometheus_client.exposition")
