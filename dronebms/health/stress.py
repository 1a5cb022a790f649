# SPDX-License-Identifier: Apache-2.0
"""Stress of a pack between two flights: charge drawn by C rate, heat, time at a high charge."""

from dataclasses import dataclass

from dronebms.core.report import Report

BANDS_C = (1.0, 2.0, 5.0, 10.0)  # upper bounds of all bands but the last
FULL_PCT = 80.0
NEARLY_FULL_PCT = 90.0
_GAP_S = 5.0  # longest time that one reading counts for


@dataclass(frozen=True, slots=True)
class Stress:
    """Stress of a pack since its previous flight; unknown readings add nothing."""

    drawn_ah: tuple[float, ...] = (0.0,) * (len(BANDS_C) + 1)
    hot_s: float = 0.0
    full_s: float = 0.0
    nearly_full_s: float = 0.0

    def after(self, report: Report, dt_s: float) -> "Stress":
        """The stress after one more step of the loop."""
        dt_s = min(dt_s, _GAP_S)
        pack_data = report.pack_data
        snapshot = report.snapshot
        amps = snapshot.current_a
        drawn_ah = list(self.drawn_ah)
        if amps is not None and amps > 0.0 and pack_data.capacity_mah is not None:
            rate_c = amps / pack_data.capacity_mah * 1000.0
            drawn_ah[sum(rate_c >= end_c for end_c in BANDS_C)] += amps * dt_s / 3600.0
        degc = snapshot.temperature_degc
        pct = report.estimate.soc_pct
        hot = degc is not None and degc >= pack_data.chemistry.hot_degc - 10.0
        stored_pct = 0.0 if pct is None or report.vehicle.armed is True else pct
        return Stress(
            tuple(drawn_ah),
            self.hot_s + dt_s * hot,
            self.full_s + dt_s * (stored_pct >= FULL_PCT),
            self.nearly_full_s + dt_s * (stored_pct >= NEARLY_FULL_PCT),
        )
