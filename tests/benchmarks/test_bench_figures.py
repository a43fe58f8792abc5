"""What the benchmark makes of its figures."""

from benchmarks import plot, report
from benchmarks.figures import Summary, ratio, summarize
from benchmarks.report import Report


def results(**systems: list[float]) -> dict[str, dict[str, Summary]]:
    return {name: summarize([{"delivered": value} for value in rounds]) for name, rounds in systems.items()}


def test_a_summary_is_the_median_of_the_rounds():
    assert summarize([{"rss": 3.0}, {"rss": 100.0}, {"rss": 1.0}])["rss"].median == 3.0


def test_a_ratio_is_taken_round_by_round_so_that_a_slow_minute_hits_both_sides():
    ours, theirs = Summary((10.0, 1.0, 30.0)), Summary((5.0, 0.5, 15.0))
    assert ratio(ours, theirs) == 2.0


def test_there_is_no_ratio_to_nothing():
    assert ratio(Summary((1.0,)), Summary((0.0,))) is None


def test_a_table_shows_median_span_target_and_ratio():
    shown = report.table(results(auditsink=[100.0, 300.0, 200.0], peer=[50.0, 150.0, 100.0]), {"delivered": 120.0})
    assert "| delivered, events/s | at least 120 | 200 (100 to 300) | 100 (50 to 150) | 2.00 |" in shown.splitlines()


def test_a_metric_that_a_peer_does_not_have_leaves_its_cell_empty():
    both = {"auditsink": {"sync_share": Summary((50.0,))}, "peer": {"delivered": Summary((7.0,))}}
    rows = report.table(both, {}).splitlines()
    assert "| delivered, events/s |  |  | 7 |  |" in rows
    assert "| share of the answer that is the sync, % |  | 50 |  |  |" in rows


def test_a_plot_has_a_bar_for_each_system_and_a_dot_for_each_round():
    found = results(auditsink=[1.0, 2.0], peer=[3.0, 4.0])
    drawn = plot.plots(Report({}, {}, 2, {"full-speed": "A & B"}, {}, {"full-speed": found}))
    assert list(drawn) == ["throughput"]
    assert drawn["throughput"].count("<circle") == 4
    assert drawn["throughput"].count('height="16"') == 2
    assert "A &amp; B" in drawn["throughput"]
