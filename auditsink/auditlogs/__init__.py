"""Audit logs as people keep them, read into the events and EventLists that they hold.

What a file is, its bytes say and not its name. From the outside in: `compression` unpacks, `lines` cuts lines out of
the stream and takes a line out of a container's log, `contents` says what a line or document holds and takes events out
of the envelopes of collectors and clouds. `reader` is all of that for one log; it is handed bytes and gives items, and
knows no file. `sources` reads files with it, `follow` a log that grows, and `batches` makes request bodies of the
events.

Two rules hold throughout. An event leaves as the bytes that stood in the log. And what is not whole is not guessed at:
behind a tear nobody can tell an event from the content of another, which somebody else may have chosen.
"""
