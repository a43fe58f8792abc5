"""Where events go: one file each, one small protocol (`base`); a destination is imported only when configured."""

from auditsink.destinations.registry import build

__all__ = ["build"]
