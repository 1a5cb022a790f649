"""Advice while a pack is charged or stored, and the user's program that regulates a charger.

Judging is done by rows of the protection table; this says what follows from them. Amperes of
charging are positive here, volts, seconds.
"""

from dronebms.core.pack_data import CHARGE_C, REST_C, UNKNOWN_CAPACITY_AH
from dronebms.core.report import ChargingAdvice, Report, Severity

STORAGE_PCT, FULL_PCT = 50.0, 80.0  # above the second a pack that is kept grows old
STORAGE_C = 0.2  # that a charger takes out of an idle pack, if nothing is drawn yet
_TAPER_PCT, _TAPER = 85.0, 2.0  # from here on the current falls, and charge takes so much longer
_FULL_V = 0.02  # below full, with a current that has fallen to REST_C: the end of a charge
# Whatever is critical stops a charge; of what is milder, these, and what begins so reduces it.
_STOPS = ("cell_high", "charging_long", "charge_tripped", "warming")
_REDUCES = "charging_"


def advise_charging(report: Report) -> ChargingAdvice:
    """Return what to do with the charger now."""
    snapshot, pack_data = report.snapshot, report.pack_data
    ah = UNKNOWN_CAPACITY_AH if pack_data.capacity_mah is None else pack_data.capacity_mah / 1000.0
    charge_a = -(snapshot.current_a or 0.0)
    soc_pct = snapshot.soc_pct if report.estimate.soc_pct is None else report.estimate.soc_pct
    if charge_a < CHARGE_C * ah:
        return _storage(-charge_a, ah, soc_pct, flying=report.flying)
    known_v = [cell_v for cell_v in snapshot.cells_v if cell_v is not None]
    at_end = max(known_v, default=0.0) >= pack_data.chemistry.full_cell_v - _FULL_V
    status = report.status
    stops = [row for row in status.active if row in _STOPS or status.severity > Severity.WARNING]
    reduces = [row for row in status.active if row.startswith(_REDUCES)]
    do, why = "go on", "charging"
    if charge_a <= REST_C * ah and at_end:
        do, why = "stop", "the pack is full"
    elif stops or reduces:
        do, why = "stop" if stops else "reduce", ", ".join(stops or reduces)
    most_a = pack_data.chemistry.charge_c * ah
    if snapshot.charging_a is not None:
        most_a = min(most_a, snapshot.charging_a)
    if soc_pct is None:
        return ChargingAdvice(do, why, most_a=most_a)
    per_pct_s = ah / charge_a * 36.0
    storage_in_s = (STORAGE_PCT - soc_pct) * per_pct_s if soc_pct < STORAGE_PCT else 0.0
    flat_pct = max(_TAPER_PCT - soc_pct, 0.0)
    full_in_s = (flat_pct + _TAPER * min(100.0 - soc_pct, 100.0 - _TAPER_PCT)) * per_pct_s
    return ChargingAdvice(do, why, full_in_s, storage_in_s, most_a)


def _storage(drawn_a: float, ah: float, soc_pct: float | None, *, flying: bool) -> ChargingAdvice:
    """Return what to do with a pack that is not charged."""
    if flying or soc_pct is None or soc_pct < FULL_PCT:
        return ChargingAdvice("none", "nothing is charged")
    drawn_a = max(drawn_a, STORAGE_C * ah)
    in_s = (soc_pct - STORAGE_PCT) * ah / drawn_a * 36.0
    takes = f"{in_s / 60:.0f} min at {drawn_a:.1f} A"
    why = f"store it at {STORAGE_PCT:.0f} % unless it flies soon: {takes}"
    return ChargingAdvice("none", why, storage_in_s=in_s)
