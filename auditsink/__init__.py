"""auditsink: the place where a Kubernetes audit trail lands first.

The flow is the tree: `receive` takes an apiserver's batches, `spool` makes them durable, `forward` delivers them to
`destinations`. `service` puts the parts together, `observe` tells what they do, `cli` is what a person types.
"""

__version__ = "0.1.0"
