"""The wire: who may post, how much at once, and the way from a request to the spool.

From the outside in: `server` listens; `tls` is TLS where it is configured; `connection` is one client, whose `states`
are a table; `framing` and `head` tell it where requests begin and what they ask; `listener` says whose they are (with
`auth` and `cluster`) or why they are refused, and is what all connections share; `ingest` turns complete bodies into
batches for the spool; `responses` renders what comes back.
"""

from auditsink.receive.errors import ReceiveError
from auditsink.receive.server import ReceiveServer
from auditsink.receive.statistics import ReceiveStatistics

__all__ = ["ReceiveError", "ReceiveServer", "ReceiveStatistics"]
