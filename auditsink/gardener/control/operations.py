"""Which operation is due for an Extension, and what each of them tells gardenlet: tables and pure functions.

The contract is that of gardener v1.149.3: `extensions/pkg/controller/extension` (which operation, which steps),
`extensions/pkg/predicate` (when), `pkg/utils/kubernetes/health/extensions.go` (what gardenlet believes).
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from auditsink.gardener.objects import Object, annotation, at, meta

OPERATION = "gardener.cloud/operation"
TIMESTAMP = "gardener.cloud/timestamp"
RECONCILE, MIGRATE, RESTORE, WAIT = "reconcile", "migrate", "restore", "wait-for-state"
ASKED = frozenset({RECONCILE, MIGRATE, RESTORE})


class Operation(Enum):
    """What is due. The value is the type in `status.lastOperation`."""

    CREATE = "Create"
    RECONCILE = "Reconcile"
    RESTORE = "Restore"
    MIGRATE = "Migrate"
    DELETE = "Delete"


class State(Enum):
    """Of the last operation."""

    PROCESSING = "Processing"
    SUCCEEDED = "Succeeded"
    ERROR = "Error"


@dataclass(frozen=True)
class Mine:
    """Which Extensions are this controller's, and how it takes part in the contract."""

    type: str
    extension_class: str = "shoot"
    ignore_annotation: bool = False

    @property
    def finalizer(self) -> str:
        """On each Extension that has something in the cluster. The same as metal-stack's for the same type."""
        return f"extensions.gardener.cloud/{self.type}"

    def has(self, extension: Object) -> bool:
        """Whether it is ours at all."""
        spec = extension.get("spec") or {}
        return spec.get("type") == self.type and (spec.get("class") or "shoot") == self.extension_class


def due(extension: Object, mine: Mine) -> Operation | None:
    """What has to be done for it, whatever made us look; None: nothing."""
    if not mine.has(extension) or annotation(extension, OPERATION) == WAIT:
        return None
    asked = annotation(extension, OPERATION)
    last, state = _last(extension)
    unfinished = state != State.SUCCEEDED.value
    if last == "Migrate" and not unfinished and asked not in (MIGRATE, RESTORE):
        return None
    if asked == MIGRATE or (last == "Migrate" and unfinished and asked != RESTORE):
        return Operation.MIGRATE
    if "deletionTimestamp" in meta(extension):
        return Operation.DELETE if mine.finalizer in (meta(extension).get("finalizers") or []) else None
    if asked == RESTORE or (last == "Restore" and unfinished):
        return Operation.RESTORE
    return Operation.CREATE if last in (None, "Create") and unfinished else Operation.RECONCILE


def starts(extension: Object, before: Object | None, mine: Mine) -> bool:
    """Whether this change of an Extension is a reason to look. `before` is the last one seen, None at the start."""
    if not mine.has(extension):
        return False
    asked = annotation(extension, OPERATION)
    if before is None:
        unfinished = _last(extension)[1] != State.SUCCEEDED.value
        return asked in ASKED or unfinished or "deletionTimestamp" in meta(extension)
    if "deletionTimestamp" in meta(extension):
        return bool(before.get("status") == extension.get("status"))
    if asked in ASKED:
        renewed = annotation(before, TIMESTAMP) != annotation(extension, TIMESTAMP)
        return renewed or annotation(before, OPERATION) != asked or before.get("spec") != extension.get("spec")
    changed = meta(before).get("generation") != meta(extension).get("generation")
    return mine.ignore_annotation and asked != WAIT and changed


def processing(operation: Operation, now: float) -> Object:
    """The status before the work."""
    descriptions = {
        Operation.CREATE: "Creating the audit sink",
        Operation.RECONCILE: "Reconciling the audit sink",
        Operation.RESTORE: "Restoring the audit sink",
        Operation.MIGRATE: "Migrating the audit sink",
        Operation.DELETE: "Deleting the audit sink",
    }
    return {"lastOperation": _operation(operation, State.PROCESSING, 1, descriptions[operation], now)}


def failed(operation: Operation, extension: Object, why: str, codes: Sequence[str], now: float) -> Object:
    """The status after work that failed; it is tried again."""
    error: Object = {"description": why, "lastUpdateTime": timestamp(now)}
    if codes:
        error["codes"] = list(codes)
    return {
        "lastOperation": _operation(operation, State.ERROR, 50, why, now),
        "lastError": error,
        "observedGeneration": meta(extension).get("generation", 0),
    }


def succeeded(operation: Operation, extension: Object, said: str, now: float) -> Object:
    """The status after the work. `said` is what a person reads: what is there now, or what was left behind."""
    return {
        "lastOperation": _operation(operation, State.SUCCEEDED, 100, said, now),
        "lastError": None,  # a merge patch removes it
        "observedGeneration": meta(extension).get("generation", 0),
    }


def timestamp(now: float) -> str:
    """RFC 3339, whole seconds, as Kubernetes writes times."""
    return dt.datetime.fromtimestamp(now, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _operation(operation: Operation, state: State, progress: int, description: str, now: float) -> Object:
    return {
        "type": operation.value,
        "state": state.value,
        "progress": progress,
        "description": description,
        "lastUpdateTime": timestamp(now),
    }


def _last(extension: Object) -> tuple[str | None, str | None]:
    last = at(extension, "status", "lastOperation") or {}
    return last.get("type"), last.get("state")
