# SPDX-License-Identifier: Apache-2.0
"""Charging and storage advice, from the tripped limits and the state of charge.

Seconds, volts, amperes; `charge_a` and `most_a` are positive while charging.
"""

from dronebms.core.pack_data import REST_C
from dronebms.core.report import ChargingAdvice, Report, Severity

STORAGE_PCT = 50.0
FULL_PCT = 80.0  # a pack stored above it ages faster
STORAGE_C = 0.2  # discharge current of a charger, for a pack that draws less
_TAPER_PCT = 85.0  # constant voltage from here on
_TAPER = 2.0  # times as long for each per cent
_FULL_V = 0.02  # below full, with the current at REST_C: the end of a charge
# A critical limit stops a charge, and so do these. Others with the prefix reduce it.
_STOPS = ("cell_high", "charging_long", "charge_tripped", "warming")
_REDUCES = "charging_"


def advise_charging(report: Report) -> ChargingAdvice:
    """Advice for the charger: `go on`, `reduce` or `stop`, `none` if nothing charges."""
    snapshot = report.snapshot
    pack_data = report.pack_data
    ah = pack_data.capacity_ah
    charge_a = -(snapshot.current_a or 0.0)
    soc_pct = snapshot.soc_pct if report.estimate.soc_pct is None else report.estimate.soc_pct
    if not report.status.charging:
        return _storage(-charge_a, ah, soc_pct, flying=report.flying)
    known_v = snapshot.known_cells_v()
    at_end = max(known_v, default=0.0) >= pack_data.chemistry.full_cell_v - _FULL_V
    status = report.status
    stops = [row for row in status.active if row in _STOPS or status.severity > Severity.WARNING]
    reduces = [row for row in status.active if row.startswith(_REDUCES)]
    do = "go on"
    why = "charging"
    if charge_a <= REST_C * ah and at_end:
        do = "stop"
        why = "pack full"
    elif stops or reduces:
        do = "stop" if stops else "reduce"
        why = ", ".join(status.label(limit_id) for limit_id in stops or reduces)
    most_a = pack_data.chemistry.charge_c * ah
    if snapshot.charging_a is not None:
        most_a = min(most_a, snapshot.charging_a)
    if soc_pct is None or charge_a <= 0.0:  # rising cells show a charge of an unknown current
        return ChargingAdvice(do, why, most_a=most_a)
    per_pct_s = ah / charge_a * 36.0
    storage_in_s = (STORAGE_PCT - soc_pct) * per_pct_s if soc_pct < STORAGE_PCT else 0.0
    flat_pct = max(_TAPER_PCT - soc_pct, 0.0)
    full_in_s = (flat_pct + _TAPER * min(100.0 - soc_pct, 100.0 - _TAPER_PCT)) * per_pct_s
    return ChargingAdvice(do, why, full_in_s, storage_in_s, most_a)


def _storage(drawn_a: float, ah: float, soc_pct: float | None, *, flying: bool) -> ChargingAdvice:
    """Advice for a pack that is not charging: time to the storage charge from `FULL_PCT` on."""
    if flying or soc_pct is None or soc_pct < FULL_PCT:
        return ChargingAdvice("none", "not charging")
    drawn_a = max(drawn_a, STORAGE_C * ah)
    in_s = (soc_pct - STORAGE_PCT) * ah / drawn_a * 36.0
    why = f"store at {STORAGE_PCT:.0f} %: discharge {in_s / 60:.0f} min at {drawn_a:.1f} A"
    return ChargingAdvice("none", why, storage_in_s=in_s)
