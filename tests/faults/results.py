"""What was seen in each fault: kept as JSON, and shown as a table."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from faults.load import Outcome, longest, quantile, statuses
from working_tree import ROOT

FIGURES = ROOT / "build" / "faults"


@dataclass(frozen=True)
class Result:
    """One kind of request in one fault."""

    fault: str
    what: str
    answers: dict[str, int]
    """How often there was which status."""
    longest: float
    """Seconds for the slowest answer of all."""
    known_p99: float | None
    """Seconds within which 99 of 100 are answered while the outage is known."""
    recovered: float | None
    """Seconds from the end of the fault to the first success."""
    failed_after: int | None
    """Requests that began after the first success and failed."""
    alerts: list[str] = field(default_factory=list)
    """What fired during the fault or after it."""


@dataclass
class Record:
    """All that was seen so far."""

    results: list[Result] = field(default_factory=list)
    _alerts: dict[str, list[str]] = field(default_factory=dict)

    def add(self, fault: str, outcomes: list[Outcome], **moments: float) -> Result:
        """What `result` makes of requests of one kind, with the alerts of this fault."""
        figures = result(fault, outcomes, **moments)
        figures = replace(figures, alerts=self._alerts.get(fault, []))
        self.results.append(figures)
        return figures

    def add_alerts(self, fault: str, alerts: Iterable[tuple[str, str]]) -> None:
        """Say of a fault, before its requests, which alerts fired, each with its pool."""
        self._alerts[fault] = sorted(f"{name} ({pool})" if pool else name for name, pool in alerts)


def result(
    fault: str,
    outcomes: list[Outcome],
    *,
    known: float | None = None,
    begun: float = 0,
    ended: float | None = None,
) -> Result:
    """The figures of requests of one kind; the fault lasts from `begun` to `ended`.

    `known` is the moment from which the service knows of it.
    """
    success = after = None
    if ended is not None:
        successes = [each.ended for each in outcomes if each.is_ok and each.ended > ended]
        assert successes, f"{outcomes[0].request.path}: no success after {fault}"
        success = min(successes)
        after = sum(not each.is_ok for each in outcomes if each.started > success)
    p99 = None
    if known is not None and ended is not None:
        p99 = quantile([each for each in outcomes if known <= each.started < ended], 0.99)
    request = outcomes[0].request
    counted = statuses([each for each in outcomes if each.started >= begun])
    return Result(
        fault=fault,
        what=f"{request.method} {request.path}",
        answers={str(status): counted[status] for status in sorted(counted)},
        longest=longest(outcomes),
        known_p99=p99,
        recovered=None if success is None or ended is None else success - ended,
        failed_after=after,
    )


COLUMNS = {
    "fault": "---",
    "request": "---",
    "answers": "---",
    "slowest": "--:",
    "p99, once known": "--:",
    "first success after": "--:",
    "failed after that": "--:",
    "alerts": "---",
}


def table(runs: Sequence[Iterable[Result]]) -> str:
    """A row for each fault and kind of request, with the spread over all runs."""
    kinds: dict[tuple[str, str], list[Result]] = {}
    for run in runs:
        for each in run:
            kinds.setdefault((each.fault, each.what), []).append(each)
    lines = [list(COLUMNS), list(COLUMNS.values()), *(row(each) for each in kinds.values())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def row(same: list[Result]) -> list[str]:
    names = sorted({status for each in same for status in each.answers})
    answers = [f"{counts([each.answers.get(name, 0) for each in same])} x {name}" for name in names]
    return [
        same[0].fault,
        f"`{same[0].what}`",
        ", ".join(answers),
        seconds([each.longest for each in same]),
        seconds([each.known_p99 for each in same]),
        seconds([each.recovered for each in same]),
        counts([each.failed_after for each in same]),
        ", ".join(sorted(set.intersection(*(set(each.alerts) for each in same)))),
    ]


def counts(values: Sequence[int | None]) -> str:
    known = [value for value in values if value is not None]
    return " to ".join(dict.fromkeys((str(min(known)), str(max(known))))) if known else ""


def seconds(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    return " to ".join(dict.fromkeys((f"{min(known):.3f}", f"{max(known):.3f}"))) + " s"


def keep(name: str, results: list[Result]) -> None:
    """In build/faults beside those of other runs, and on the screen."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    figures = [asdict(each) for each in results]
    file = FIGURES / f"{name}-{time.strftime('%Y%m%dT%H%M%S')}.json"
    file.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    print(f"\n{table([results])}")


def read(file: Path) -> list[Result]:
    return [Result(**figures) for figures in json.loads(file.read_text(encoding="utf-8"))]
