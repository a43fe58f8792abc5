r"""The spool: one disk-backed ring of segments per cluster.

This text is the specification of the on-disk format, version 2. Version 1 is read as well; what is new is said below.

All integers are little-endian. All checksums are CRC32C (Castagnoli, RFC 3720 B.4). `ring id` and `segment id` are
random; both are mixed into every checksum of a segment (`seed`), so that blocks of an older file that the file
system hands out again never validate, and so that nobody who can only choose an event's content can forge a frame.

Files
-----
::

    <spool>/lock                             flock: one sink per spool; holds the owner's pid
    <spool>/version                          "auditsink spool 2\\n"; an unknown version refuses to start
    <spool>/rings/<cluster>/ring.meta        slot file: ring id, floor
    <spool>/rings/<cluster>/<first>.seg      a segment, named by its first sequence, 20 digits
    <spool>/rings/<cluster>/successor        zeros that become the next segment; no part of the ring until then
    <spool>/rings/<cluster>/cursors/<destination>.cursor    slot file: its place
    <spool>/rings/<cluster>/damaged/         stretches that failed their checksum, set aside for a person
    <spool>/deadletters/<destination>/       see `auditsink.forward.dead_letters`
    <spool>/backup.holder                    where there is a copy (`auditsink.backup`): a random number, 32 hex digits

A **sequence** counts the events of one ring, from 0. A position in a ring is the sequence of the next event.

Segment
-------
::

    0      header, copy A (256 bytes), zeros
    4096   header, copy B (the same bytes in another page: neither a damaged copy nor a lost page costs anything)
    4352   frames, each 8-byte aligned, without gaps
    ...    footer (64 bytes), when the segment is sealed; the file ends here
    ...    zeros up to the preallocated size, while it is not; next to the frames they are written and durable (see
           `auditsink.spool.log`), further on only reserved

Header: ``magic "AUDITSEG" | version u16 | flags u16 | crc u32 | ring id 16s | segment id 8s | first sequence u64 |
created ns u64 | previous first sequence u64 | previous length u64 | previous digest 32s | key name 24s | key check 8s |
zeros``. The checksum covers the 256 bytes without the field itself, unseeded. `previous digest` is the SHA-256 of the
first `previous length` bytes of the segment before (header included, so each digest covers its predecessor's: a chain).
The chain therefore also covers a segment that lost its footer in a crash. `key check` is 0: not encrypted.

Frame: one accepted request, or several small ones. ``magic "ASR1" | header crc u32 | content crc u32 |
payload length u32 | body length u32 | events u32 | flags u16 | source length u16 | first sequence u64 |
received ns u64 | digest 16s | requests u32`` (64 bytes), then `source` (UTF-8), then the table, then the payload (the
request's body as it came, zstd), then zeros to the next multiple of 8. `content crc` covers source, table and payload,
`header crc` the header from `content crc` on; both are seeded. A header has a checksum of its own because an event may
be full of bytes that look like headers with long payloads: after damage each of them must cost 64 bytes to dismiss, and
the header of a damaged frame tells where the next one begins. `digest` is the start of SHA-256(ring id, payload), or of
SHA-256(ring id, body) where the body has 16 KiB at most: it recognises a retry of the same bytes. Flags: 1 zstd (with
its content size, which is `body length`), 2 encrypted, 256 and 512 the marks of `auditsink.audit.eventlist.Mark`.

Table: small requests of one source that meet in a commit, within a second, share a frame. `requests` is their number, 2
or more, or 0 for a frame of one request, which has no table. The payload is their bodies one after the other,
compressed together; for each the table has ``digest 16s | body length u32 | events u32``. `digest` and `received ns` in
the header are those of the first. New in version 2: in version 1 `requests` is zeros, and each `digest` is over the
payload, so a small request that was stored before an upgrade and is repeated right after it is stored twice.

Footer: ``magic "AUDITEND" | crc u32 | records u32 | next sequence u64 | length u64 | digest 32s``, seeded; `length` is
what the digest covers: everything before the footer.

A sealed segment without records, whose `next sequence` is beyond its first, says that those events are lost: a restore
writes it where it knows that more was accepted than it has.

Encryption
----------
Optional; a segment's records are encrypted or they are not. `key name` and `key check` in its header say under which
key (the name is for people, the check value tells another key of that name), so a start sees from the headers whether
all that is held can be read, and a new key begins a new segment. All of this comes from the 32 random bytes of a key by
HKDF-Expand (RFC 5869, SHA-256) with the info ``"auditsink spool 1 " + purpose``:

- key check: the first 8 bytes for ``"check"``;
- a segment's own key: ``"segment " + ring id + segment id + first sequence + created ns`` (as in the header);
- the key of `digest`, which is BLAKE2b (16 bytes, personalised with the ring id) over the same bytes here: without
  the key nobody can tell whether a body that he guesses is in the ring. A new key forgets what retries look like, once:
  at worst a batch whose retry comes right then is stored twice.

The payload is ``nonce 12s | ciphertext | tag 16s`` of AES-256-GCM over the compressed body. Bound to it (additional
data) is the frame's header from `payload length` on, `source` and the table; and by the segment's key the place in the
ring: a record that was moved, or whose time, count or source was changed, does not open. The nonce is random. GCM
allows 2^32 random nonces under one key (NIST SP 800-38D, 8.3), which a busy sink would use up in days, and one that
counts (say, the offset) repeats itself when a machine is restored from a snapshot in the middle of a segment. So both:
a random nonce, under a key that is used for one segment, some 100,000 records at most.

In the clear stay: cluster, source (the name of a certificate or of a cluster: who sent it, never a credential), times,
counts, sizes and sequences. So `spool verify`, recovery and the chain need no key. Checksums, footers and the chain
cover what is on the disk, the ciphertext. A record whose checksum holds and whose seal does not was changed by somebody
who can write to the disk and has not the key: it is told as tampering and set aside. One whose key is not there is no
damage: the sink does not start, and no command steps over it.

Not covered: dead letters, checkpoints, what file destinations write, exports. And who may write to the disk can take
records away, or add a segment of his own that is not encrypted: see `auditsink.evidence` for what tells on him.

Rules
-----
- A segment is preallocated when it is opened, and appended to by one process in one life: a restart begins a new one.
- Its file may be made before it is needed, as `successor`; it gets its header, then its name, then the first frame.
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
