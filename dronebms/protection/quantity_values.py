# SPDX-License-Identifier: Apache-2.0
"""Names and values of the quantities that limits refer to.

Volts, amperes positive while discharging, degC, seconds, mAh. `None` means unknown: an unknown
quantity neither trips nor clears a limit. `NOT_APPLICABLE` means that the quantity has no meaning
now (a charging temperature while nothing charges): it trips no limit and clears those that are
tripped.
"""

from enum import Enum
from typing import Final, Literal, TypeAlias

QuantityName: TypeAlias = Literal[
    # of the cells and the pack
    "lowest_cell_v",
    "highest_cell_v",
    "resting_cell_v",
    "spread_rest_v",
    "spread_load_v",
    "spread_charge_v",
    "voltage_v",
    "cells",
    # temperatures
    "temperature_degc",
    "fet_degc",
    "warming_k",
    "charging_degc",
    # currents
    "loaded_a",
    "current_2s_a",
    "current_10s_a",
    "current_60s_a",
    "heat_a",
    "beyond_a",
    "limp_margin_a",
    "idle_mah",
    # of the gauge and its readings
    "silence_s",
    "blind_s",
    "doubts",
    "disputes",
    "mismatches",
    "other_pack",
    "stop_alarm",
    "hot_alarm",
    "alerts",
    "tripped",
    "charge_tripped",
    "failed",
    # of the supply
    "packs_missing",
    "modules_missing",
    # estimated
    "soc_pct",
    "soh_pct",
    "remaining_s",
    "remaining_low_s",
    "remaining_high_s",
    "turn_back_in_s",
    "home_reserve_s",
    "home_margin_s",
    "home_best_s",
    "alternates",
    "mission_risk",
    # of a charge and a storage
    "charge_a",
    "charge_s",
    "charge_request_frac",
    "charge_above_v",
    "stored_s",
    # time since the last step
    "dt_s",
]


class NotApplicable(Enum):
    """Type of `NOT_APPLICABLE`."""

    NOT_APPLICABLE = "not applicable"


NOT_APPLICABLE: Final = NotApplicable.NOT_APPLICABLE  # such as a charging current without charge
Value = float | NotApplicable | None
Values = dict[QuantityName, Value]  # `None` is unknown


def number(value: Value) -> float | None:
    """The number of a quantity, `None` if it is unknown or does not apply."""
    return None if value is NOT_APPLICABLE else value
