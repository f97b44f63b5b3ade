"""What was seen in each fault, as a table for people and as JSON."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from faults.load import Outcome, longest, quantile, statuses
from working_tree import ROOT

FIGURES = ROOT / "build" / "faults"


@dataclass(frozen=True)
class Result:
    """One kind of request in one fault."""

    fault: str
    what: str
    requests: int
    answers: dict[int, int]
    longest: float
    """Seconds for the slowest answer of all."""
    known_p99: float | None
    """Seconds within which 99 of 100 are answered while the outage is known."""
    recovered: float | None
    """Seconds from the end of the fault to the first success."""
    failed_after: int | None
    """Requests that began after the first success and failed."""

    def row(self) -> str:
        answers = ", ".join(f"{count} x {status}" for status, count in sorted(self.answers.items()))
        figures = [
            self.fault,
            f"`{self.what}`",
            answers,
            seconds(self.longest),
            seconds(self.known_p99),
            seconds(self.recovered),
            "" if self.failed_after is None else str(self.failed_after),
        ]
        return f"| {' | '.join(figures)} |"


COLUMNS = {
    "fault": "---",
    "request": "---",
    "answers": "---",
    "slowest": "--:",
    "p99, once known": "--:",
    "first success after": "--:",
    "failed after it": "--:",
}


def seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f} s"


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
    return Result(
        fault=fault,
        what=f"{request.method} {request.path}",
        requests=len(outcomes),
        answers=dict(statuses([each for each in outcomes if each.started >= begun])),
        longest=longest(outcomes),
        known_p99=p99,
        recovered=None if success is None or ended is None else success - ended,
        failed_after=after,
    )


def table(results: Iterable[Result]) -> str:
    head = (f"| {' | '.join(each)} |" for each in (COLUMNS.keys(), COLUMNS.values()))
    return "\n".join([*head, *(each.row() for each in results)])


def keep(name: str, results: list[Result]) -> None:
    """In build/faults, and on the screen."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    (FIGURES / f"{name}.md").write_text(table(results) + "\n", encoding="utf-8")
    figures = [asdict(each) for each in results]
    (FIGURES / f"{name}.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
    print(f"\n{table(results)}")
