"""The tail: events as they pass, for a person who looks on.

It reads the rings behind the durable watermark, as a destination does, and owes nobody anything: no cursor, no promise
to show all. Without a listener nothing of it runs. With some, the events looked at in a second are bounded for all
listeners together; what passes beyond that is counted and skipped. A listener has no queue either: it reads on when
the client has taken what was sent, and a client that is slow skips more.
"""
