# SPDX-License-Identifier: Apache-2.0
"""Judges the estimated time to empty: `python benchmarks/estimate.py FLIGHT...` (files or folders).

Prints the table of docs/estimation.md for the flights given (default: those of the tests): the estimator
with nothing learned, with learning from flight to flight and split by what is known then (nothing, type and vehicle
by sister packs, the pack itself), the baselines on the same flights, and the bounds
(future power known, pack known, both). Then how often the interval holds in each group of conditions.
Definitions are in `scoring.py`. "Ordinary" flights end with at most a quarter of the charge left,
"hard" ones with more.

    --flights     also print every flight of every predictor
    --prototype FOLDER   a folder with prototype.py and baselines.py of the same form (progpy's too)
    --progpy      progpy, minutes a flight; needs --prototype
    --without-gauge   only voltages, current and temperature
    --no-bounds   without the bounds, which take half of the time
"""

import argparse
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.baselines import ArduPilot, GaugeTime, Px4, foreign
from benchmarks.scoring import (
    FIRST_S,
    LATE_S,
    POOR_COVER,
    Answer,
    Familiarity,
    Judged,
    Predictor,
    Score,
    mean_of,
    read_folder,
    run,
    score,
    share_of,
)
from dronebms.core.errors import ConfigError
from dronebms.estimation.estimator import Estimator
from dronebms.estimation.learning.learned_pack import NOTHING_KNOWN, Keys, Known
from dronebms.estimation.learning.pack_memory import PackMemoryInRam, recall
from dronebms.estimation.load_forecast import LoadForecast
from dronebms.estimation.model_parameters import FITTED, ModelParameters
from smartbattery.snapshot import Snapshot

TESTED = Path(__file__).parents[1] / "tests" / "data" / "flights"
LOAD_C, NOMINAL_V, PART_USED_PCT = 0.15, 3.7, 90.0
NOTHING_LEARNED, LEARNING = "dronebms, nothing learned", "dronebms, learning"
Make = Callable[[Judged], Predictor]


class Ours:
    """The estimator, with a memory from flight to flight if one is given."""

    def __init__(
        self,
        judged: Judged,
        memory: PackMemoryInRam | None,
        parameters: ModelParameters = FITTED,
    ) -> None:
        self._memory = memory
        self._pack_data = replace(judged.flight.pack_data, pack_id=judged.pack)
        self.familiarity = Familiarity.UNKNOWN
        self.estimator = Estimator(self._pack_data, self._recall, parameters)

    def update(self, look: Snapshot) -> Answer:
        """Return the interval of the estimate."""
        left = self.estimator.update(look)
        return left.remaining_low_s, left.remaining_s, left.remaining_high_s

    def land(self) -> None:
        """Store what was learned in the flight."""
        if self._memory is not None:
            self._memory.store(self.estimator.keys, self.estimator.learn())

    def _recall(self, keys: Keys) -> Known:
        if self._memory is None:
            return NOTHING_KNOWN
        known = recall(self._memory, keys, _raise)
        if known.pack is not None:
            self.familiarity = Familiarity.PACK
        elif known.sisters:
            self.familiarity = Familiarity.MODEL
        return known


def _raise(error: ConfigError) -> None:
    raise error


class KnownLoad(LoadForecast):
    """A load forecast that knows the mean power until the end; a bound for any predictor."""

    def __init__(self, judged: Judged) -> None:
        pack_data = judged.flight.pack_data
        super().__init__(
            LOAD_C * (pack_data.capacity_mah or 0.0) / 1e3 * NOMINAL_V * (pack_data.cells or 1)
        )
        self._times_s = np.array(sorted(t_s for t_s in judged.power_w if t_s <= judged.end_s))
        powers_w = np.array([judged.power_w[t_s] for t_s in self._times_s])
        # The mean from each sample to the end, by time: samples are not evenly spaced.
        spans_s = np.diff(self._times_s, append=judged.end_s)
        left_s = np.cumsum(spans_s[::-1])[::-1]
        self._mean_w = np.cumsum((powers_w * spans_s)[::-1])[::-1] / np.maximum(left_s, 1e-6)
        self.now_s = 0.0

    def mean_power(self, horizon_s: float) -> tuple[float, float]:  # noqa: ARG002 - it knows the horizon
        """Return the true mean power until the end."""
        place = min(int(np.searchsorted(self._times_s, self.now_s)), len(self._mean_w) - 2)
        return max(float(self._mean_w[place]), 1.0), 0.01


class Oracle(Ours):
    """The same estimator with the future power, the learned pack, or both given."""

    def __init__(self, judged: Judged, memory: PackMemoryInRam | None, *, power: bool) -> None:
        super().__init__(judged, memory)
        if power:
            self._load = KnownLoad(judged)
            self.estimator = Estimator(
                self._pack_data, self._recall, make_load_forecast=lambda *_: self._load
            )
        self._power = power

    def update(self, look: Snapshot) -> Answer:
        """Return the interval of the estimate."""
        if self._power:
            self._load.now_s = look.t_s
        return super().update(look)


def without_gauge(look: Snapshot) -> Snapshot:
    """Return a snapshot without the values of a gauge."""
    return replace(look, soc_pct=None, remaining_mah=None, full_mah=None, time_to_empty_s=None)


def fly(flights: Iterable[Judged], make: Make) -> list[Score]:
    """Judge a predictor on flights, each pack's in order."""
    scores: list[Score] = []
    for judged in flights:
        predictor = make(judged)
        rows, cost_us = run(judged, predictor, time.process_time, FIRST_S)
        if isinstance(predictor, Ours):
            scores.append(score(judged, rows, cost_us, predictor.familiarity))
            predictor.land()
        else:
            scores.append(score(judged, rows, cost_us))
    return scores


def line(name: str, scores: Sequence[Score]) -> str:
    """Return a predictor's row of the table."""
    hard = [s for s in scores if s.hard]
    ordinary = [s for s in scores if not s.hard]

    def pct(value: float) -> str:
        return "-" if math.isnan(value) else f"{100 * value:.0f}"

    def both(field: str) -> str:
        return f"{pct(mean_of(ordinary, field))} / {pct(mean_of(hard, field))}"

    calls = sorted(s.low_call_s for s in scores)
    cells = (
        name,
        f"{len(ordinary)} / {len(hard)}",
        pct(mean_of(ordinary, "error")),
        pct(mean_of(hard, "error")),
        both("cover"),
        both("early"),
        both("width"),
        " / ".join(
            "-" if math.isnan(s) else f"{s:.0f}"
            for s in (mean_of(ordinary, "winkler_s"), mean_of(hard, "winkler_s"))
        ),
        pct(share_of(scores, lambda s: s.cover < POOR_COVER)),
        f"{pct(mean_of(ordinary, 'danger'))} / {pct(mean_of(scores, 'danger'))}",
        f"{pct(share_of(scores, lambda s: s.low_call_s < LATE_S))}, {calls[len(calls) // 2]:.0f}",
        f"{pct(share_of(scores, lambda s: s.absurd_first > 0))}, {100 * mean_of(scores, 'absurd_first'):.1f}"
        f" / {pct(share_of(scores, lambda s: s.absurd > 0))}, {100 * mean_of(scores, 'absurd'):.1f}",
        pct(mean_of(scores, "answered")),
        f"{sorted(s.off_s for s in scores)[len(scores) // 2]:.0f}",
        f"{sorted(s.cost_us for s in scores)[len(scores) // 2]:.0f}",
    )
    return "| " + " | ".join(cells) + " |"


HEAD = (
    "| predictor | flights ord/hard | error % ordinary | hard | 90 % holds % ord/hard | end before the 5 % bound % | width % | interval score s "
    "| flights < 60 % | dangerous % ord/all | 5 % bound at 120 s: late %, median s | absurd, 1st minute / all: flights %, seconds % | answered % | median off s | us a second |"
)


FAMILIAR = {
    Familiarity.UNKNOWN: "pack unseen",
    Familiarity.MODEL: "type and vehicle known",
    Familiarity.PACK: "pack known",
}


def split(learning: Sequence[Score], nothing: Sequence[Score]) -> list[str]:
    """Return a row for what was known of the pack, each with the same flights, nothing learned."""
    rows = []
    for familiarity, name in FAMILIAR.items():
        known = [s for s in learning if s.familiarity == familiarity]
        if known:
            names = {s.name for s in known}
            rows.append(line(f"dronebms, {name}", known))
            rows.append(line("the same, nothing learned", [s for s in nothing if s.name in names]))
    return rows


def predictors(options: argparse.Namespace) -> dict[str, Make]:
    """Return the predictors by name."""
    memory = PackMemoryInRam()
    made: dict[str, Make] = {
        NOTHING_LEARNED: lambda judged: Ours(judged, None),
        LEARNING: lambda judged: Ours(judged, memory),
        "gauge's time to empty": GaugeTime,
        "PX4 lib/battery": Px4,
        "ArduPilot, rated charge": ArduPilot,
        "ArduPilot, gauge's charge": lambda judged: ArduPilot(judged, gauge=True),
    }
    if options.prototype is not None:
        made["prototype"] = foreign(
            options.prototype, "prototype", "prototype (first flight of a pack)"
        )
        made["prototype, learning"] = foreign(
            options.prototype, "prototype", "prototype (learns the pack)"
        )
        if options.progpy:
            made["progpy circuit, UKF"] = foreign(
                options.prototype, "baselines", "progpy circuit UKF+UT"
            )
    return made


def bounds(flights: Sequence[Judged]) -> dict[str, list[Score]]:
    """Return the scores of the bounds: future power known, pack known, both.

    "Pack known" has learned from the judged flight itself.
    """

    def informed(*, pack: bool, power: bool) -> list[Score]:
        scores: list[Score] = []
        for judged in flights:
            memory = PackMemoryInRam()
            if pack:
                fly([judged], lambda it, memory=memory: Ours(it, memory))  # type: ignore[misc]  # the default binds it
            scores += fly([judged], lambda it, memory=memory: Oracle(it, memory, power=power))  # type: ignore[misc]  # as above
        return scores

    return {
        "bound: power known": informed(pack=False, power=True),
        "bound: pack known": informed(pack=True, power=False),
        "bound: both known": informed(pack=True, power=True),
    }


GROUP, COLD_DEGC, DRAWS = 10, 10.0, 2000


def groups_of(judged: Judged) -> list[str]:
    """Return the conditions of a flight."""
    degrees = [look.temperature_degc for look in judged.looks if look.temperature_degc is not None]
    cold = bool(degrees) and sum(degrees) / len(degrees) < COLD_DEGC
    full = next((look.soc_pct for look in judged.looks if look.soc_pct is not None), None)
    return [
        judged.flight.pack_data.chemistry.name,
        f"{'colder' if cold else 'warmer'} than {COLD_DEGC:.0f} degC",
        "no gauge" if full is None else "part-used" if full < PART_USED_PCT else "full",
    ]


def grouped(
    flights: Sequence[Judged], nothing: Sequence[Score], learning: Sequence[Score]
) -> list[str]:
    """Return how often the interval holds in each group of `GROUP` flights or more.

    With the 5 to 95 % range of a bootstrap over flights, nothing learned next to learning.
    """
    members: dict[str, list[int]] = {}
    for k, judged in enumerate(flights):
        for name in (*groups_of(judged), FAMILIAR[learning[k].familiarity]):
            members.setdefault(name, []).append(k)
    rng, rows = np.random.default_rng(1), []
    for name, places in sorted(members.items()):
        if len(places) < GROUP:
            continue
        cells = [name, str(len(places))]
        for scores in (nothing, learning):
            covers = np.array([scores[k].cover for k in places])
            covers = covers[np.isfinite(covers)]
            drawn = rng.choice(covers, (DRAWS, len(covers))).mean(axis=1)
            low, high = np.percentile(drawn, (5, 95))
            cells.append(f"{100 * covers.mean():.0f} ({100 * low:.0f}-{100 * high:.0f})")
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def main() -> None:
    """Judge the given flights, or those of the tests."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--flights", action="store_true")
    parser.add_argument("--prototype", type=Path)
    parser.add_argument("--progpy", action="store_true")
    parser.add_argument("--without-gauge", action="store_true")
    parser.add_argument("--no-bounds", action="store_true")
    options = parser.parse_args()
    flights = read_folder(options.paths or [TESTED])
    if options.without_gauge:
        flights = [replace(f, looks=tuple(map(without_gauge, f.looks))) for f in flights]
    print(f"{len(flights)} flights, {sum(f.hard for f in flights)} of them hard")
    print(HEAD)
    print("|" + "---|" * (HEAD.count("|") - 1))
    nothing: list[Score] = []
    groups: list[str] = []
    for name, make in predictors(options).items():
        scores = fly(flights, make)
        print(line(name, scores), flush=True)
        if name == NOTHING_LEARNED:
            nothing = scores
        elif name == LEARNING:
            print("\n".join(split(scores, nothing)), flush=True)
            groups = grouped(flights, nothing, scores)
        if options.flights:
            for each in scores:
                print(
                    f"    {each.name:28s} error {100 * each.error:4.0f} % ({each.off_s:.0f} s) holds {100 * each.cover:4.0f} %"
                )
    for name, scores in ({} if options.no_bounds else bounds(flights)).items():
        print(line(name, scores), flush=True)
    print(
        "| 90 % interval holds in the group | flights | nothing learned % | learning % |\n|---|---|---|---|"
    )
    print("\n".join(groups))


if __name__ == "__main__":
    main()
