"""Who is in the cluster set: one that contradicts the others is left out, and they stay as they are."""

import pytest

from auditsink import load
from auditsink.clusters.cluster_set import Bounds, ClusterSet, Entries
from auditsink.clusters.registry import ClustersError, Registry
from auditsink.clusters.tokens import digest
from auditsink.common.units import Size
from auditsink.config import Cluster

MIB = 2**20
BOUNDS = Bounds(100 * MIB, 10 * MIB, 3, frozenset({"siem", "lake"}), client_ca=True)
A = Cluster(name="a", certificates=["cn:a", "dns:a.example"], reservation=Size(60 * MIB))
TOKENS = {digest(b"of-a"): "a"}


def entries() -> Entries:
    found = Entries(BOUNDS)
    assert found.enter(A, TOKENS) is None
    return found


@pytest.mark.parametrize(
    ("cluster", "tokens", "why"),
    [
        (Cluster(name="a", anonymous=True), {}, "name: another cluster is declared under this name already"),
        (Cluster(name="b", certificates=["cn:b", "cn:a"]), {}, "certificates: cn:a is that of cluster a already"),
        (Cluster(name="b"), {digest(b"of-a"): "b"}, "tokens: one is a token of cluster a too"),
        (Cluster(name="b", reservation=Size(31 * MIB)), {}, "reservation: 95,420,416 bytes would be reserved, of"),
        (Cluster(name="b", destinations=["siem", "nowhere"]), {}, "destinations: there is none called 'nowhere'"),
    ],
)
def test_one_that_contradicts_is_left_out(cluster: Cluster, tokens: dict[bytes, str], why: str) -> None:
    entered = entries()
    before = entered.cluster_set()
    problem = entered.enter(cluster, tokens)
    assert problem is not None
    assert problem.startswith(why)
    assert entered.cluster_set() == before


def test_no_more_than_there_may_be_and_no_certificates_that_nobody_asks_for() -> None:
    entered = entries()
    assert entered.enter(Cluster(name="b"), {}) is None
    assert entered.enter(Cluster(name="c"), {}) is None
    assert "name: is one more than receive.max_clusters (3) allows" in str(entered.enter(Cluster(name="d"), {}))
    plain = Entries(Bounds(MIB, 1, 3, frozenset(), client_ca=False))
    assert "set receive.tls.client_ca_file" in str(plain.enter(Cluster(name="a", certificates=["cn:a"]), {}))


def test_of_a_topic_one_segment_of_each_partition_cannot_be_reserved() -> None:
    text = (
        'spool: {type: kafka, bootstrap_servers: ["127.0.0.1:9"], max_bytes: 1GiB, partitions: 4}\n'
        "receive: {max_body: 10MiB}\n"
        "clusters: [{name: a, anonymous: true, reservation: %s}]\n"
        "destinations: [{name: out, type: stdout}]\n"
    )
    fits = Registry(load.parse((text % "892MiB").encode(), "f", {}))
    assert fits.cluster_set.reserved == {"a": 892 * MIB}
    with pytest.raises(ClustersError, match=r"\(spool.max_bytes less one segment of each partition\)"):
        Registry(load.parse((text % "900MiB").encode(), "f", {}))


def test_who_leaves_gives_everything_back() -> None:
    entered = entries()
    entered.leave(A, TOKENS)
    assert entered.cluster_set() == ClusterSet()
    assert entered.enter(Cluster(name="a", certificates=["cn:a"], reservation=Size(90 * MIB)), TOKENS) is None


def test_a_certificate_stands_for_the_clusters_of_all_its_names() -> None:
    entered = entries()
    assert entered.enter(Cluster(name="b", certificates=["cn:b"]), {}) is None
    assert entered.cluster_set().proven(["cn:b", "dns:elsewhere"]) == {"b"}
    assert entered.cluster_set().proven(["cn:b", "dns:a.example"]) == {"a", "b"}
    assert entered.cluster_set().proven(["cn:A", "dns:b", "cn:a.example"]) == set()
