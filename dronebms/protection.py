"""Protection (placeholder docstring, replaced with the judge)."""

from dataclasses import dataclass
from enum import IntEnum


class Severity(IntEnum):
    """How bad; a higher number is worse."""

    OK = 0
    INFO = 1
    WARNING = 2
    CRITICAL = 3
    EMERGENCY = 4

    @property
    def label(self) -> str:
        """Name as it stands in files and on screens."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Event:
    """A limit that has just tripped or cleared."""

    t_s: float
    limit_id: str
    severity: Severity
    tripped: bool
    text: str  # one plain sentence with the value, for people


@dataclass(frozen=True, slots=True)
class Status:
    """What protection holds to be true at `t_s`."""

    t_s: float
    severity: Severity = Severity.OK
    active: tuple[str, ...] = ()  # ids of the limits now tripped, worst first
    limited_by: str | None = None  # id of the limit that binds next
    limited_in_s: float | None = None  # at the present load
    asked_max_a: float | None = None
    fault_bits: int = 0  # MAV_BATTERY_FAULT
    events: tuple[Event, ...] = ()  # since the last Status
