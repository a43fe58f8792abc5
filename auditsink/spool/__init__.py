r"""The spool: one disk-backed ring of segments per cluster.

This text is the specification of the on-disk format, version 1.

All integers are little-endian. All checksums are CRC32C (Castagnoli, RFC 3720 B.4). `ring id` and `segment id` are
random; both are mixed into every checksum of a segment (`seed`), so that blocks of an older file that the file
system hands out again never validate, and so that nobody who can only choose an event's content can forge a frame.

Files
-----
::

    <spool>/lock                             flock: one sink per spool; holds the owner's pid
    <spool>/version                          "auditsink spool 1\\n"; an unknown version refuses to start
    <spool>/rings/<cluster>/ring.meta        slot file: ring id, floor
    <spool>/rings/<cluster>/<first>.seg      a segment, named by its first sequence, 20 digits
    <spool>/rings/<cluster>/cursors/<destination>.cursor    slot file: its place
    <spool>/rings/<cluster>/damaged/         stretches that failed their checksum, set aside for a person
    <spool>/deadletters/<destination>/       see `auditsink.forward.deadletter`

A **sequence** counts the events of one ring, from 0. A position in a ring is the sequence of the next event.

Segment
-------
::

    0      header, copy A (256 bytes), zeros
    4096   header, copy B (the same bytes in another page: neither a damaged copy nor a lost page costs anything)
    4352   frames, each 8-byte aligned, without gaps
    ...    footer (64 bytes), when the segment is sealed; the file ends here
    ...    zeros up to the preallocated size, while it is not

Header: ``magic "AUDITSEG" | version u16 | flags u16 | crc u32 | ring id 16s | segment id 8s | first sequence u64 |
created ns u64 | previous first sequence u64 | previous length u64 | previous digest 32s | zeros``. The checksum
covers the 256 bytes without the field itself, unseeded. `previous digest` is the SHA-256 of the first `previous
length` bytes of the segment before (header included, so each digest covers its predecessor's: a chain). The chain
therefore also covers a segment that lost its footer in a crash.

Frame: one accepted request. ``magic "ASR1" | header crc u32 | content crc u32 | payload length u32 | body length u32 |
events u32 | flags u16 | source length u16 | first sequence u64 | received ns u64 | digest 16s | zeros`` (64 bytes),
then `source` (UTF-8), then the payload (the request's body as it came, zstd), then zeros to the next multiple of 8.
`content crc` covers source and payload, `header crc` the header from `content crc` on; both are seeded. A header has a
checksum of its own because an event may be full of bytes that look like headers with long payloads: after damage
each of them must cost 64 bytes to dismiss, and the header of a damaged frame tells where the next one begins. `digest`
is the start of SHA-256(ring id, payload): it recognises a retry of the same bytes.

Footer: ``magic "AUDITEND" | crc u32 | records u32 | next sequence u64 | length u64 | digest 32s``, seeded; `length` is
what the digest covers: everything before the footer.

Rules
-----
- A segment is preallocated when it is opened, and appended to by one process in one life: a restart begins a new one.
- The header is durable before the first frame is written: a file without one, of zeros, was never used.
- A start syncs the last segment before anybody is told what it holds: a killed process may not have come to it.
- A frame counts when its checksum holds and its sequence is below the first sequence of the following segment. (After
  a failed fsync the segment is left as it is, and what was not durable is written again to the next one.)
- After a frame that does not validate, the next 8-byte boundary with a valid frame is looked for. What lies between
  is damage, unless nothing valid follows in the last segment: then it is the torn tail of a write never answered.
- Slot file: two slots, at 0 and 4096: ``magic "SLOT" | crc u32 | generation u64 | length u32 | payload``. The valid
  one with the higher generation counts; a lost one means the state before it: repeats, never loss. The one that was
  synced last is not written to before the other one is synced.
- The floor (first sequence still held) is written and synced before a segment is unlinked.
- Directories are synced after create, rename and unlink.
"""

from auditsink.spool.errors import SpoolError
from auditsink.spool.store import Spool

__all__ = ["Spool", "SpoolError"]
