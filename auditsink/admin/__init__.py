"""The admin port: probes, metrics and status, the page, the tail, dead letters; who may ask for which.

It runs in the sink's own loop and must never delay what the sink is for: what is costly happens in a thread, what
lasts (streams) is bounded in number, and a client that does not read is dropped.
"""

from auditsink.common.later import postpone

# Starlette and uvicorn import all these and use none of them here, but for streams (anyio) and errors: 2 MB at rest.
postpone("anyio", "anyio.abc", "anyio.to_thread", "html", "http.client", "http.cookies", "logging.config", "uvicorn")
