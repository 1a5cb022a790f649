"""Estimate (placeholder docstring, replaced with the estimator)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is left in a pack at `t_s`. `None` is unknown; nothing here is invented.

    The end is the weakest cell's cut-off under load, as DESIGN.md section 4 defines it.
    """

    t_s: float
    soc_pct: float | None = None  # of the weakest cell
    soh_pct: float | None = None
    remaining_s: float | None = None  # median
    remaining_low_s: float | None = None  # 5 %
    remaining_high_s: float | None = None  # 95 %
    home_s: float | None = None
    home_reserve_s: float | None = None
    turn_back_in_s: float | None = None
    resistance_ohm: float | None = None  # of the whole pack, after some 20 s of load
    resting_cell_v: float | None = None  # weakest cell without its sag
    max_discharge_a: float | None = None  # for 10 s
    max_discharge_2s_a: float | None = None
    max_discharge_30s_a: float | None = None
    used_mah: float | None = None  # counted since the first sample
    used_wh: float | None = None
