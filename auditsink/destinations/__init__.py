"""Where events go: one file each, after the contract of `delivery.destination`; imported only when configured."""

from auditsink.destinations.registry import build

__all__ = ["build"]
