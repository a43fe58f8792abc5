"""The wire: who may post, how much at once, and the way from a request to the spool.

From the outside in: `server` listens; `secure` is TLS where it is configured; `connection` is one client, `framing` and
`head` tell it where requests begin and what they ask; `decision` says whose they are (`auth`, `routes`) or why they
are refused; `intake` turns complete bodies into batches for the spool; `answers` renders what comes back. `port` is
what all connections share.
"""

from auditsink.receive.errors import ReceiveError
from auditsink.receive.server import ReceiveServer
from auditsink.receive.statistics import ReceiveStatistics

__all__ = ["ReceiveError", "ReceiveServer", "ReceiveStatistics"]
