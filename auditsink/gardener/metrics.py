"""The controller's own figures for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from auditsink.gardener.control.operations import Operation

BUCKETS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 180.0)


class ControllerMetrics:
    """`registry` has them all."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        self._operations = Counter(
            "auditsink_gardener_operations",
            "Operations on Extensions, by type and whether they succeeded",
            ("operation", "result"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "auditsink_gardener_operation_seconds",
            "What an operation took",
            ("operation",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.queue = Gauge("auditsink_gardener_queue", "Extensions, by state", ("state",), registry=self.registry)
        self.leader = Gauge("auditsink_gardener_leader", "1 where this replica does the work", registry=self.registry)

    def count(self, operation: Operation, succeeded: bool, seconds: float) -> None:
        """Count an operation that ended, and how long it took."""
        self._operations.labels(operation.value.lower(), "success" if succeeded else "error").inc()
        self._seconds.labels(operation.value.lower()).observe(seconds)
