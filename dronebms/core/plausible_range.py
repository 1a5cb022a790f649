# SPDX-License-Identifier: Apache-2.0
"""Plausible ranges of the quantities of a configuration, and the likely unit of a value outside.

A range is wide: it holds every value that makes sense for some pack or vehicle. A value outside is
a mistake of the unit or a limit without effect.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from smartbattery.registers import DESIGN, MAX_MAH


@dataclass(frozen=True, slots=True)
class Slip:
    """A usual mistake: a value in this unit; `value * factor + offset` is in the right one."""

    unit: str
    factor: float
    offset: float = 0.0


MILLI_V = Slip("millivolts", 1e-3)
MILLI_A = Slip("milliamperes", 1e-3)
KELVIN = Slip("kelvin", 1.0, -273.15)
TENTH_KELVIN = Slip("0.1 kelvin, as the gauge sends it", 0.1, -273.15)
FAHRENHEIT = Slip("degrees Fahrenheit", 5.0 / 9.0, -160.0 / 9.0)
FRACTION = Slip("a fraction", 100.0)
PERCENT = Slip("percent", 0.01)
MILLI_S = Slip("milliseconds", 1e-3)
MINUTES = Slip("minutes", 60.0)
HOURS = Slip("hours", 3600.0)
AMPERE_HOURS = Slip("ampere-hours", 1000.0)
CENTI_M_S = Slip("centimetres per second", 0.01)


@dataclass(frozen=True, slots=True)
class PlausibleRange:
    """Least and greatest value in a unit, both included."""

    low: float
    high: float
    unit: str = ""
    slips: tuple[Slip, ...] = ()

    def wrong(self, value: float) -> str | None:
        """What was expected instead of a value, `None` if the value is in the range."""
        if self.low <= value <= self.high:
            return None
        expected = f"{self.low:g} to {self.high:g} {self.unit}".rstrip()
        for slip in self.slips:
            meant = value * slip.factor + slip.offset
            if self.low <= meant <= self.high:
                return f"{expected} (in {slip.unit}? then write {meant:.5g})"
        return expected

    def check(self, value: float) -> float:
        """The value.

        Raises:
            ValueError: it is outside; the text states what was expected.
        """
        wrong = self.wrong(value)
        if wrong is not None:
            raise ValueError(wrong)
        return value


CUTOFF_V = PlausibleRange(1.5, 4.2, "V", (MILLI_V,))
PACK_V = PlausibleRange(2.0, 150.0, "V", (MILLI_V,))
CAPACITY_MAH = PlausibleRange(DESIGN.low, MAX_MAH, "mAh", (AMPERE_HOURS,))
CURRENT_A = PlausibleRange(0.05, 2000.0, "A", (MILLI_A,))
RATE_C = PlausibleRange(0.05, 300.0, "C")
FLIGHT_S = PlausibleRange(30.0, 86_400.0, "s", (MINUTES, HOURS, MILLI_S))
LIMIT_HOLD_S = PlausibleRange(0.0, 60.0, "s", (MILLI_S,))
LIMIT_CLEAR_S = PlausibleRange(0.0, 600.0, "s", (MILLI_S,))
ACTION_HOLD_S = PlausibleRange(0.0, 120.0, "s", (MILLI_S,))
COOLDOWN_S = PlausibleRange(0.0, 3600.0, "s", (MILLI_S,))
RETRY_S = PlausibleRange(1.0, 60.0, "s", (MILLI_S,))  # the mode comes once a second, in HEARTBEAT
SPEED_M_S = PlausibleRange(1.0, 100.0, "m/s", (CENTI_M_S,))
CLIMB_M_S = PlausibleRange(0.3, 30.0, "m/s", (CENTI_M_S,))

_FINITE = Field(allow_inf_nan=False)
CutoffV = Annotated[float, _FINITE, AfterValidator(CUTOFF_V.check)]
PackV = Annotated[float, _FINITE, AfterValidator(PACK_V.check)]
CapacityMah = Annotated[float, _FINITE, AfterValidator(CAPACITY_MAH.check)]
CurrentA = Annotated[float, _FINITE, AfterValidator(CURRENT_A.check)]
RateC = Annotated[float, _FINITE, AfterValidator(RATE_C.check)]
FlightS = Annotated[float, _FINITE, AfterValidator(FLIGHT_S.check)]
LimitHoldS = Annotated[float, _FINITE, AfterValidator(LIMIT_HOLD_S.check)]
LimitClearS = Annotated[float, _FINITE, AfterValidator(LIMIT_CLEAR_S.check)]
ActionHoldS = Annotated[float, _FINITE, AfterValidator(ACTION_HOLD_S.check)]
CooldownS = Annotated[float, _FINITE, AfterValidator(COOLDOWN_S.check)]
RetryS = Annotated[float, _FINITE, AfterValidator(RETRY_S.check)]
SpeedMS = Annotated[float, _FINITE, AfterValidator(SPEED_M_S.check)]
ClimbMS = Annotated[float, _FINITE, AfterValidator(CLIMB_M_S.check)]
