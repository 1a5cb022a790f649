"""What a pack has been through: a small value that grows with every step, kept by its passport.

Ampere-hours drawn per band of C (times the capacity an hour), seconds hot, seconds kept full; how
deep a discharge went, the passport's row of the flight says. Unknown readings add nothing.
"""

from dataclasses import dataclass

from dronebms.monitor import Report

BANDS_C = (1.0, 2.0, 5.0, 10.0)  # the ends of all bands but the last
FULL_PCT = 80.0
_GAP_S = 5.0  # what a reading stands for at most


@dataclass(frozen=True, slots=True)
class Stress:
    """The ledger of one pack."""

    drawn_ah: tuple[float, ...] = (0.0,) * (len(BANDS_C) + 1)
    hot_s: float = 0.0
    full_s: float = 0.0

    def after(self, report: Report, dt_s: float) -> "Stress":
        """Return the ledger with one more step of the loop."""
        dt_s, facts, snapshot = min(dt_s, _GAP_S), report.facts, report.snapshot
        amps, drawn_ah = snapshot.current_a, list(self.drawn_ah)
        if amps is not None and amps > 0.0 and facts.capacity_mah is not None:
            rate_c = amps / facts.capacity_mah * 1000.0
            drawn_ah[sum(rate_c >= end_c for end_c in BANDS_C)] += amps * dt_s / 3600.0
        degc, pct = snapshot.temperature_degc, report.estimate.soc_pct
        hot = degc is not None and degc >= facts.chemistry.hot_degc - 10.0
        full = pct is not None and pct >= FULL_PCT and report.vehicle.armed is not True
        return Stress(tuple(drawn_ah), self.hot_s + dt_s * hot, self.full_s + dt_s * full)
