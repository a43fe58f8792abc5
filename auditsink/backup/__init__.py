r"""The copy of a spool in an object store: one writer, a chain of manifests, restored into an empty directory.

This text is the specification of the copy, version 1.

Objects
-------
Below `<prefix>/<name>/`, where `name` is the sink's::

    manifests/<number>       20 digits: the state of the whole copy at one moment; the newest one counts
    data/<fence>-<count>     8 and 12 digits: bytes of files, written once, never changed
    kept/<number>            a manifest whose data stays until a person removes it: see below
    probe/<32 hex digits>    what `auditsink check --connect` writes, reads and deletes to try the store

Everything else below that name is nobody's of ours, and is never touched.

A manifest is JSON, compressed with zstd; `auditsink.backup.manifest` has its members. It lists files as they would lie
in the spool's directory (segments, dead letters, and the checkpoint file), each as pieces: so many bytes from a place
in a data object, with their SHA-256. Identity and cursors of each ring stand in the manifest itself. What is in a
segment is what is on the disk, encrypted if that is.

A segment that is still written to is copied in pieces, as far as it is durable. Many small pieces of a round share an
object; small pieces of a file are written anew as one when they have become many, so each byte is sent a few times at
most, and most of them once.

One writer
----------
A manifest is created under the next number with a conditional write (`If-None-Match: *`, its equivalents, or a hard
link): of two sinks only one gets the number. So the newest manifest is the lease, and its `fence` is the fencing
number: it rises by one whenever another process becomes the writer. Who finds the number taken by another, or a later
one behind it (its own may be free again, because its follower deletes old manifests), has lost the copy, uploads and
deletes nothing more, and says so.

The writer renews its lease with a manifest at least every `every`. Another one may follow it when it `released` the
lease, when it has the same `holder` (the spool's directory, by a random number in it), or when no new manifest was seen
for `lease_seconds`, measured by the follower's own clock: wall clocks decide nothing.

Data objects have the writer's fence in their names, so nobody writes over another's. An object is deleted after a
manifest that needs it no longer was created; a writer that was overtaken in between deletes only what no later manifest
can need, because later ones are made from the one that it created.

Rules
-----
- A manifest never lists what is not stored. Cursors in it may be ahead of the segments in it, never behind what was
  deleted: a restored ring goes on after the furthest of both, and gives no sequence out twice that is known.
- What every destination has had for `keep` is left out, and so is what the ring gave up.
- A restore writes beside the rings, syncs, and renames at the end. A spool that holds an event is never restored into.
- A spool that is not the continuation of the newest manifest (it is older, or was begun anew) first stores that
  manifest under `kept/`, so that nothing of it is deleted. `auditsink spool backup ls`, `restore` and `prune` are for
  that.
- A version that is not known is refused.
"""

from auditsink.common.operator_error import OperatorError


class BackupError(OperatorError):
    """The copy cannot be used; the message says which key or object, and what to do."""


def require() -> None:
    """Raise BackupError when the client of object stores is not installed."""
    try:
        import obstore  # noqa: F401, PLC0415 - only whether it can be had
    except ModuleNotFoundError:
        raise BackupError("spool.backup: object stores need the extra: pip install 'auditsink[objectstore]'") from None
