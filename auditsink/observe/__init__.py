"""Metrics, health, status and logs: what the sink says of itself."""
