"""How good the time left is: `python benchmarks/estimate.py FLIGHT...` (or a folder of flights).

Prints, flight by flight and for the groups, what `dronebms replay` answers against the truth that
the flight carries (`truth_remaining_s`, which replay never reads), and the gauge's own time to
empty beside it. Decisions once a second from 60 s after take-off, judged over the last 80 % of
the flight; errors in per cent where at least 30 s remain. "Ordinary" flights end with at most a
quarter of the charge left, "hard" ones with more. Nothing is learned from one flight to the next.
"""

import csv
import gzip
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from dronebms.flighttable import stem_of
from dronebms.predictions import EachSecond
from dronebms.replay import reports
from dronebms.sidecar import FlightOptions

SETTLE_S = 60.0
JUDGED_FRAC = 0.8
LEAST_S = 30.0
HARD_CHARGE = 0.25
TESTED = Path(__file__).parents[1] / "tests" / "data" / "flights"


@dataclass(frozen=True, slots=True)
class Truth:
    """What a flight says of itself that a predictor never sees."""

    remaining_s: dict[float, float]
    gauge_s: dict[float, float]
    takeoff_s: float
    hard: bool


@dataclass(frozen=True, slots=True)
class Score:
    """One flight judged; shares 0..1."""

    error: float
    gauge_error: float
    inside: float
    width: float
    answered: float


def read_truth(path: Path) -> Truth | None:
    """Return a flight's truth, None when it has none."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    if not rows or "truth_remaining_s" not in rows[0]:
        return None
    side = json.loads((path.parent / f"{stem_of(path)}.json").read_text(encoding="utf-8"))

    def column(name: str) -> dict[float, float]:
        return {float(row["t_s"]): float(row[name]) for row in rows if row.get(name)}

    hard = side.get("truth", {}).get("soc_end", 0.0) > HARD_CHARGE
    times = column("truth_remaining_s"), column("gauge_time_to_empty_s")
    return Truth(*times, side.get("takeoff_s", 0.0), hard)


def judge(path: Path, truth: Truth) -> Score:
    """Replay a flight and score it."""
    ends_s = max(t_s + left_s for t_s, left_s in truth.remaining_s.items())
    judged_from_s = ends_s - JUDGED_FRAC * (ends_s - truth.takeoff_s)
    due = EachSecond()
    errors, gauge_errors, inside, widths, asked = [], [], [], [], 0
    for report in reports(path, FlightOptions(), lambda _: None):
        true_s = truth.remaining_s.get(report.t_s)
        early = report.t_s < max(judged_from_s, truth.takeoff_s + SETTLE_S)
        if not due.due(report.t_s) or early or true_s is None or report.t_s > ends_s:
            continue
        asked += 1
        left = report.estimate
        if (
            left.remaining_s is None
            or left.remaining_low_s is None
            or left.remaining_high_s is None
        ):
            errors.append(1.0)
            inside.append(0.0)
            continue
        inside.append(float(left.remaining_low_s <= true_s <= left.remaining_high_s))
        if true_s >= LEAST_S:
            errors.append(abs(left.remaining_s - true_s) / true_s)
            widths.append((left.remaining_high_s - left.remaining_low_s) / true_s)
            gauge_s = truth.gauge_s.get(report.t_s)
            if gauge_s is not None:
                gauge_errors.append(abs(gauge_s - true_s) / true_s)
    answered = len(widths) / max(len(errors), 1)
    return Score(mean(errors), mean(gauge_errors), mean(inside), mean(widths), answered)


def mean(values: list[float]) -> float:
    """Return the mean of what is known, nan of nothing."""
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan


def row(name: str, score: Score) -> str:
    """Return a line of the table."""
    cells = (score.error, score.gauge_error, score.inside, score.width, score.answered)
    return f"{name:28s}" + "".join(f"{100 * cell:10.0f} %" for cell in cells)


def main() -> None:
    """Judge the flights named, or those that the tests use."""
    given = [Path(text) for text in sys.argv[1:]] or [TESTED]
    paths = [
        p for path in given for p in (sorted(path.glob("*.csv*")) if path.is_dir() else [path])
    ]
    print(
        f"{'flight':28s}{'error':>12s}{'gauge says':>12s}{'inside':>12s}{'width':>12s}{'answered':>12s}"
    )
    groups: dict[str, list[Score]] = {"ordinary": [], "hard": []}
    for path in paths:
        truth = read_truth(path)
        if truth is None:
            continue
        score = judge(path, truth)
        groups["hard" if truth.hard else "ordinary"].append(score)
        print(row(stem_of(path), score))
    for name, scores in groups.items():
        if scores:
            columns = zip(
                *[(s.error, s.gauge_error, s.inside, s.width, s.answered) for s in scores],
                strict=True,
            )
            print(row(f"mean of {len(scores)} {name}", Score(*[mean(list(c)) for c in columns])))


if __name__ == "__main__":
    main()
