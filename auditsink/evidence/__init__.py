r"""Evidence: signed statements about what the rings hold, and their verification later, anywhere.

This text is the specification of the checkpoint file, version 1.

A **checkpoint** states the SHA-256 of a range of one ring's events, each written as one line: `events.one_line` of the
event (or `events.unsplit_document` of a body that could not be split) and `\\n`. That is what a file destination
writes, `spool cat` prints and `spool export` stores.

The file is NDJSON, one checkpoint a line::

    {"checkpoint": {...}, "fingerprints": "<base64>", "signature": "<base64>"}

`checkpoint`, an object with these members:

==================  ==================================================================================================
version             1
number              of this checkpoint in its file, from 1
previous            SHA-256 (hex) of the canonical form of the checkpoint before it in the file; null for the first
time                when it was made, by the sink's clock (RFC 3339, UTC)
cluster, ring       whose events: the cluster's name, and the ring's random id (hex), which a ring made anew changes
first, next         the range: sequence of the first event, and of the one after the last
count               next - first
first_received,
last_received       when the requests were accepted that these two events came in
sha256              of the lines (hex)
key                 which key signed: the start of SHA-256 of the raw public key (16 hex digits); null when unsigned
==================  ==================================================================================================

The **canonical form** is the object as JSON with sorted keys and without white space, in UTF-8 (`jq -cjS .checkpoint`).
`signature` is Ed25519 (RFC 8032) over the canonical form; null when unsigned.

`fingerprints` holds, for each line without its line break, CRC32C (RFC 3720 B.4) as four bytes, little-endian. They
prove nothing and are not signed: they tell a verifier which line is which event, so that it can name the one that is
missing or changed. They may be left out of a copy (the log lines have none).

Rules
-----
- A range ends where its segment ends, so that what a ring drops, and what an export holds, are whole ranges.
- The ranges of a ring follow each other without a gap, but where events were dropped before they could be covered. A
  crash may repeat a range, cut in another way: both statements hold.
- A checkpoint is on the disk before the cursor moves, so nothing is removed from a ring before it is covered.
"""

from auditsink.common.operator_error import OperatorError


class EvidenceError(OperatorError):
    """Evidence cannot be made or checked; the message says which path or key and what to do."""
