# SPDX-License-Identifier: Apache-2.0
"""Copies of frozen values."""

from dataclasses import FrozenInstanceError, dataclass, fields, replace

import pytest

from smartbattery.snapshot import BusCounts, Identity, Snapshot
from smartbattery.values import changed


@dataclass(frozen=True, slots=True)
class Bounded:
    """A value that checks itself, with a field of a changeable default."""

    low: int = 0
    high: int = 1

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


@pytest.mark.parametrize("kind", [Snapshot, Identity, BusCounts, Bounded])
def test_a_change_is_that_of_dataclasses(kind: type) -> None:
    value = kind(*[number for number, _ in enumerate(fields(kind))])
    for row in fields(kind):
        change = {row.name: -1 if row.name != "high" else 7}
        assert changed(value, **change) == replace(value, **change)
    assert changed(value) == value
    assert changed(value) is not value


def test_a_changed_value_is_checked_and_frozen() -> None:
    with pytest.raises(ValueError, match="low is above high"):
        changed(Bounded(), low=2)
    with pytest.raises(FrozenInstanceError):
        changed(Bounded(), low=1).low = 0  # type: ignore[misc]  # that it raises is the test


def test_a_field_that_does_not_exist_is_refused() -> None:
    with pytest.raises(KeyError, match="volts"):
        changed(Bounded(), volts=1)  # type: ignore[call-arg]  # that it raises is the test
