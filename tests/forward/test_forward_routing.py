"""Which cluster goes where, and what goes beside its events."""

from collections.abc import Mapping

from forwardkit import FakeRing, Held, Rig, ScriptedDestination

from auditsink.delivery.outcome import Misconfigured
from auditsink.spool.types import Tally


class Table:
    """Clusters that are not for here, and labels; both may be changed."""

    def __init__(self, *elsewhere: str, **labels: Mapping[str, str]) -> None:
        self.elsewhere = set(elsewhere)
        self.by_cluster = labels

    def wanted(self, cluster: str, destination: str) -> bool:
        return cluster not in self.elsewhere

    def labels(self, cluster: str) -> Mapping[str, str]:
        return self.by_cluster.get(cluster, {})


async def test_what_is_not_for_here_is_filtered_and_never_read() -> None:
    mine, other = FakeRing("mine"), FakeRing("other")
    other.fill(50)
    mine.fill(10)
    async with Rig(ScriptedDestination(), mine, other, routing=Table("other")) as rig:
        other.fill(30)
        await rig.clock.advance(5)
        assert {batch.cluster for batch in rig.destination.attempts} == {"mine"}
        assert other.cursor("siem").tally == Tally(filtered=80)
        accounts = rig.forwarder.statistics().accounts
        assert (accounts["other"].filtered, accounts["other"].pending) == (80, 0)
        assert (accounts["mine"].delivered, accounts["mine"].pending) == (10, 0)


async def test_a_destination_in_trouble_does_not_hold_what_is_not_for_it() -> None:
    mine, other = FakeRing("mine"), FakeRing("other")
    destination = ScriptedDestination(lambda _: Misconfigured("the token is wrong"))
    async with Rig(destination, mine, other, routing=Table("other")) as rig:
        mine.fill(50)
        await rig.clock.advance(5)
        other.fill(50)
        await rig.clock.advance(5)
        assert other.cursor("siem").position == 50
        assert mine.cursor("siem").position == 0


async def test_a_cluster_that_is_taken_away_and_given_back() -> None:
    ring, table = FakeRing("a"), Table()
    async with Rig(ScriptedDestination(), ring, routing=table) as rig:
        ring.fill(10)
        await rig.clock.advance(5)
        table.elsewhere.add("a")
        ring.fill(10)
        await rig.clock.advance(5)
        table.elsewhere.clear()
        ring.fill(10)
        await rig.clock.advance(5)
        assert rig.destination.sequences("a") == [*range(10), *range(20, 30)]
        assert ring.cursor("siem").tally == Tally(delivered=20, filtered=10)


async def test_what_is_under_way_when_a_cluster_is_taken_away_is_settled_by_its_answer() -> None:
    ring, table, held = FakeRing("a"), Table(), Held()
    ring.fill(100)
    async with Rig(ScriptedDestination(held), ring, routing=table) as rig:
        table.elsewhere.add("a")
        ring.fill(10)
        while ring.cursor("siem").position < 110:
            await held.end()
        tally = ring.cursor("siem").tally
        assert tally.delivered == len(rig.destination.taken) > 0
        assert tally.delivered + tally.filtered == 110


async def test_labels_go_beside_the_events() -> None:
    ring, plain = FakeRing("a"), FakeRing("b")
    ring.fill(3)
    plain.fill(3)
    async with Rig(ScriptedDestination(), ring, plain, routing=Table(a={"stage": "prod"})) as rig:
        await rig.clock.advance(5)
        labels = {batch.cluster: batch.labels for batch in rig.destination.attempts}
        assert labels == {"a": {"stage": "prod"}, "b": {}}
