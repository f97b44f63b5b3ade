"""What is made of the metrics: quantiles of the last minute, and what happened in each second."""

from math import inf

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.pools_page import figures
from app.pools_page.figures import Readings, quantile


def add(readings: Readings, text: str) -> tuple[dict[str, dict[str, object]], list[list[object]]]:
    lines = "".join(f"{line.strip()}\n" for line in text.splitlines())
    reading = readings.add(text_string_to_metric_families(lines), time=0)
    return reading["pools"], reading["events"]


@pytest.mark.parametrize(
    ("q", "buckets", "expected"),
    [
        (0.5, {0.1: 0, 0.5: 10, 1: 10, inf: 10}, 0.3),  # linear between the bounds
        (0.5, {0.1: 10, 0.5: 10, inf: 10}, 0.05),  # the first begins at nought
        (0.99, {0.1: 90, 0.5: 90, 1: 100, inf: 100}, 0.95),
        (0.9, {0.1: 90, 0.5: 90, 1: 100, inf: 100}, 0.1),  # exactly at a bound
        (0.99, {0.1: 1, 0.5: 1, inf: 100}, 0.5),  # beyond the last bound nothing is known
        (0.99, {0.1: 5, 0.5: 4, 1: 6, inf: 6}, 0.97),  # a count that fell is none
        (0.5, {0.1: 0, inf: 0}, None),
    ],
)
def test_quantiles_are_those_of_histogram_quantile(
    q: float, buckets: dict[float, float], expected: float | None
) -> None:
    assert quantile(q, buckets) == (None if expected is None else pytest.approx(expected))


def test_quantiles_are_of_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "WINDOW", 2)
    readings = Readings()
    seen = []
    for quick, all_ in [(7, 9), (17, 19), (17, 29), (17, 29), (17, 29)]:
        pools, _ = add(
            readings,
            f"""x_pool_max{{pool="one"}} 1
            # TYPE x_pool_hold_seconds histogram
            x_pool_hold_seconds_bucket{{pool="one",le="0.1"}} {quick}
            x_pool_hold_seconds_bucket{{pool="one",le="0.3"}} {all_}
            x_pool_hold_seconds_bucket{{pool="one",le="+Inf"}} {all_}""",
        )
        seen.append(pools["one"]["hold"])
    # What was counted before the first reading is in no window.
    assert seen == [[None, None], [0.05, 0.099], [0.1, 0.296], [0.2, 0.298], [None, None]]


def test_workers_are_added_up() -> None:
    pools, _ = add(
        Readings(),
        """x_pool_max{pool="one",worker="1"} 20
        x_pool_max{pool="one",worker="2"} 20
        x_pool_max{pool="two",worker="1"} 5
        x_pool_timeouts_total{pool="one",worker="1"} 1
        x_pool_timeouts_total{pool="one",worker="2"} 2
        x_pool_errors_total{pool="two",type="Lost",worker="1"} 3
        x_pool_errors_total{pool="two",type="Late",worker="1"} 4
        max{pool="three"} 1
        x_pool_max 1""",
    )
    assert pools == {"one": {"max": 40, "timeouts": 3}, "two": {"max": 5, "errors": 7}}


def test_events_are_what_grew() -> None:
    readings = Readings()
    _, events = add(readings, 'x_pool_closed_total{pool="one",reason="idle"} 5')
    assert events == []
    _, events = add(
        readings,
        """x_pool_closed_total{pool="one",reason="idle"} 5
        x_pool_closed_total{pool="one",reason="dead"} 2
        x_pool_timeouts_total{pool="two"} 1""",
    )
    assert events == [["one", "closed", "dead", 2], ["two", "timeouts", "", 1]]


def test_workers_that_come_and_go_invent_nothing() -> None:
    def said(**counts: int) -> list[object]:
        lines = [f'x_pool_timeouts_total{{pool="one",worker="{w}"}} {n}' for w, n in counts.items()]
        return [count for *_, count in add(readings, "\n".join(lines))[1]]

    readings = Readings()
    assert said(old=7, busy=3) == []
    assert said(old=7, busy=3, new=4) == []  # how old it is nobody knows
    assert said(old=8, new=5) == [2]  # one is silent, or dead
    assert said(old=8, busy=6, new=5) == [3]
    assert said(old=2, busy=6, new=5) == [2]  # begun anew, with the same number


def test_workers_that_died_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "WORKERS", 2)
    readings = Readings()
    for worker in range(5):
        add(readings, f'x_pool_timeouts_total{{pool="one",worker="{worker}"}} 1')
    assert list(readings._last) == ["3", "4"]
