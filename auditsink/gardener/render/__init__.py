"""From a sink to Kubernetes objects, in a fixed order and with fixed bytes. Pure."""
