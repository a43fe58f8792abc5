"""The certificates of one sink: its own, its API server's, and those of the tailer if there is one."""

from auditsink.gardener.certificates.decide import Made
from auditsink.gardener.certificates.wanted import Authority, Leaf, service_names
from auditsink.gardener.render import names
from auditsink.gardener.sink.backends import TAILER
from auditsink.gardener.sink.plan import CLIENT_NAME

AUTHORITY = Authority("ca-auditsink")
SERVER = "auditsink-server"
CLIENT = "auditsink-client"
TAILER_SERVER = "audittailer-server"
TAILER_CLIENT = "audittailer-client"


def leaves(namespace: str, *, forwarding: bool) -> list[Leaf]:
    """What the CA signs."""
    found = [
        Leaf(SERVER, names.SINK, "server", service_names(names.SINK, namespace)),
        Leaf(CLIENT, CLIENT_NAME, "client"),
    ]
    if forwarding:
        found += [Leaf(TAILER_SERVER, TAILER, "server", (TAILER,)), Leaf(TAILER_CLIENT, names.SINK, "client")]
    return found


def name(made: Made, leaf: str) -> str:
    """The Secret of a leaf; "" where there is none."""
    return str(made.leaves[leaf]["metadata"]["name"]) if leaf in made.leaves else ""
