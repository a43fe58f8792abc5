"""What is known of clusters that are declared no longer: labels and destinations, for what their rings still hold.

Kept in a file beside the rings, because a restart must not send a cluster's events where they were never to go.
"""

from pathlib import Path

import msgspec

from auditsink.common.disk import RealDisk, replace

NAME = "clusters.json"


class RetainedCluster(msgspec.Struct, frozen=True):
    """Where a cluster's events go (None: to all destinations), and the labels that they carry."""

    destinations: frozenset[str] | None = None
    labels: dict[str, str] = {}


def exists(spool: Path) -> bool:
    """Whether anything was ever written down."""
    return (spool / NAME).exists()


def read(spool: Path) -> dict[str, RetainedCluster]:
    """By cluster; empty when there is no file. Raises ValueError for one that is no longer what it was, OSError."""
    try:
        return msgspec.json.decode((spool / NAME).read_bytes(), type=dict[str, RetainedCluster])
    except FileNotFoundError:
        return {}
    except msgspec.MsgspecError as problem:
        raise ValueError(f"{spool / NAME}: {problem}; restore it, or remove it if no cluster was removed") from None


def write(spool: Path, routings: dict[str, RetainedCluster]) -> None:
    """Replace the file as a whole. Raises OSError."""
    replace(RealDisk(), spool / NAME, [msgspec.json.encode(routings, order="sorted")])
