# SPDX-License-Identifier: Apache-2.0
"""Rows of the configuration: changes of limits, and actions."""

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator, model_validator

from dronebms.core.plausible_range import (
    ActionHoldS,
    ClimbMS,
    CooldownS,
    LimitClearS,
    LimitHoldS,
    RetryS,
    SpeedMS,
)
from dronebms.core.report import GOVERNOR, Action, ActionKind, Severity
from dronebms.core.toml_schema import Finite, Section, one_of, sentence
from dronebms.protection.limits import LimitChange, contradiction, every_limit
from dronebms.protection.trip_ranges import implausible_clear, implausible_trip, too_mild

_LEAST_COOLDOWN_S = 5.0  # between two commands of a limit that trips again and again
SEVERITIES = {severity.label: severity for severity in Severity if severity}


class LimitConfig(Section):
    """A change of one row of the protection table."""

    id: Annotated[str, one_of(every_limit())]
    """Id of the limit."""
    trip: Finite | None = None
    """Value at which the limit trips, in the unit of its quantity."""
    clear: Finite | None = None
    """Value at which the limit clears; else moved along with `trip`."""
    hold_s: LimitHoldS | None = None
    """Time that the value must be beyond `trip` before the limit trips."""
    clear_s: LimitClearS | None = None
    """Time that the value must be beyond `clear` before the limit clears."""
    severity: Annotated[str, one_of(SEVERITIES)] | None = None
    """Severity of the limit."""

    @field_validator("trip", "clear")
    @classmethod
    def _is_plausible(cls, value: float | None, info: ValidationInfo) -> float | None:
        limit_id = info.data.get("id")
        if value is None or limit_id is None:
            return value
        check = implausible_trip if info.field_name == "trip" else implausible_clear
        wrong = check(limit_id, value)
        if wrong is not None:
            raise ValueError(wrong)
        return value

    @model_validator(mode="after")
    def _protects_still(self) -> "LimitConfig":
        row = every_limit()[self.id]
        if self.severity is not None and too_mild(row, SEVERITIES[self.severity]):
            raise ValueError(f"severity warning or worse of a limit that is {row.severity.label}")
        return self

    @model_validator(mode="after")
    def _clears_on_the_good_side(self) -> "LimitConfig":
        if self.trip is not None and self.clear is not None:
            wrong = contradiction(every_limit()[self.id], self.trip, self.clear)
            if wrong is not None:
                raise sentence(wrong)
        return self

    def change(self) -> LimitChange:
        """The row as a `LimitChange`."""
        return LimitChange(
            self.id,
            self.trip,
            self.clear,
            self.hold_s,
            self.clear_s,
            None if self.severity is None else SEVERITIES[self.severity],
        )


_DOS = {do.label: do for do in ActionKind}
DoName = Annotated[str, one_of(_DOS)]


class ActionConfig(Section):
    """An action in addition to reporting and announcing."""

    on: Annotated[str, one_of((*SEVERITIES, GOVERNOR, *every_limit()))]
    """Trigger: a severity (this one or worse), the id of a limit, or `governor`."""
    do: DoName
    """What is done while the trigger holds."""
    hold_s: ActionHoldS = 2.0
    """Time that the trigger must hold before the action begins."""
    cooldown_s: CooldownS = 30.0
    """Time from the end of the action until it can begin again."""
    only_when_armed: bool = True
    """Whether the action is done on an armed vehicle alone."""
    retry_s: RetryS = 3.0
    """Time for the vehicle to comply before the command is repeated."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """How often the command is repeated."""
    escalate: DoName | None = None
    """More urgent action after the last retry; with `do = "return"` alone."""
    speed_m_s: SpeedMS | None = None
    """Speed that `reduce` allows, in addition to the current."""
    climb_m_s: ClimbMS | None = None
    """Climb rate that `reduce` allows, in addition to the current."""

    @model_validator(mode="after")
    def _is_valid(self) -> "ActionConfig":
        do = _DOS[self.do]
        escalate = _DOS.get(self.escalate or "")
        if escalate is not None and not ActionKind.RETURN <= do < escalate:
            raise ValueError("do = return and an escalate that is more urgent")
        if do is not ActionKind.REDUCE and (
            self.speed_m_s is not None or self.climb_m_s is not None
        ):
            raise ValueError("speed_m_s and climb_m_s with do = reduce only")
        if do < ActionKind.REDUCE:
            return self
        if not self.only_when_armed:
            raise ValueError(f"only_when_armed = true with do = {self.do}: nothing is commanded "
                             "to a disarmed vehicle")  # fmt: skip
        if self.cooldown_s < _LEAST_COOLDOWN_S:
            raise ValueError(f"cooldown_s of {_LEAST_COOLDOWN_S:g} s or more with do = {self.do}")
        if do > ActionKind.REDUCE and self.on == Severity.INFO.label:
            raise ValueError(f"on = warning or worse with do = {self.do}: info is no alarm")
        if do > ActionKind.REDUCE and self.on == GOVERNOR:
            raise ValueError("do = reduce on governor, which limits the current in normal flight; "
                             f"for do = {self.do} a limit or a severity")  # fmt: skip
        return self

    def action(self) -> Action:
        """The row as an `Action`."""
        row = self.model_dump()
        row["on"] = SEVERITIES.get(self.on, self.on)
        row["do"] = _DOS[self.do]
        row["escalate"] = _DOS.get(self.escalate or "")
        return Action(**row)
