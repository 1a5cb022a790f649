# SPDX-License-Identifier: Apache-2.0
"""Two places for packs on one drone, whose packs are swapped after each flight of five minutes, without end."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dronebms.core.clock import Clock
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from sim.emulator.world import World, open_bus
from sim.plant.scenario import Scenario, load_scenario
from smartbattery.errors import NackError

if TYPE_CHECKING:
    from smartbattery.bus import Bus

CYCLE_S = 306.0  # a flight, and the swap
SWAP_S = 6.0
PACKS = 4  # of each place
_LOW, _LOW_CHARGE = 3, 0.32  # the pack that is used too early, so that limits trip
FLIGHT = """
about = "five minutes from the ground to the ground"
[pack]
chemistry = "lipo"
cells = 6
parallel = 2
cell_mah = 8000.0
cutoff_cell_v = 3.3
resistance_mohm_ah = 40.0
[gauge]
device = "6S2P 16000"
ip_scale = 1
[vehicle]
mass_kg = 5.3
payload_kg = 0.45
rotors = 6
rotor_diameter_m = 0.381
drag_area_m2 = 0.08
avionics_w = 14.0
[air]
wind_m_s = 4.0
wind_from_deg = 250.0
gust_m_s = 1.5
[[phase]]
name = "idle"
duration_s = 20.0
armed = false
[[phase]]
name = "take-off"
duration_s = 8.0
climb_m_s = 2.5
[[phase]]
name = "cruise out"
duration_s = 110.0
outward_m_s = 8.0
[[phase]]
name = "return"
duration_s = 110.0
outward_m_s = -8.0
[[phase]]
name = "land"
duration_s = 20.0
climb_m_s = -1.0
mode = "LAND"
[[phase]]
name = "idle"
duration_s = 32.0
armed = false
mode = "LAND"
"""


class _FlightClock:
    """Time since the beginning of the present flight."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.now_s = now_s

    def sleep_until(self, t_s: float) -> None:
        """Nothing: the packs of this fleet do not stretch the clock line."""


class SwappedPacks:
    """The bus of one place; between two flights no pack answers.

    Args:
        place: 0 or 1; each has packs of its own.
        clock: of the whole time.

    Attributes:
        unplugged_until_s: no pack answers before.
    """

    def __init__(self, place: int, clock: Clock) -> None:
        self.unplugged_until_s = 0.0
        self._place = place
        self._clock = clock
        self._scenario = _scenario()
        self._number = -1
        self._world: World | None = None
        self._bus: Bus | None = None

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Do one transfer; see `smartbattery.bus.Bus`."""
        now_s = self._clock.now_s()
        number, t_s = divmod(now_s, CYCLE_S)
        if t_s >= CYCLE_S - SWAP_S or now_s < self.unplugged_until_s:
            raise NackError(f"0x{address:02x} did not acknowledge {tx.hex(' ')}: no device")
        if number != self._number or self._bus is None:
            self._number = int(number)
            self._world = self._packed(self._number % PACKS)
            self._bus = open_bus(self._world, _FlightClock(lambda: self._clock.now_s() % CYCLE_S))
        return self._bus.transfer(address, tx, rx_len)

    def vehicle(self) -> VehicleState:
        """State of the vehicle that carries the pack."""
        t_s = self._clock.now_s() % CYCLE_S
        if self._world is None or t_s >= CYCLE_S - SWAP_S:
            return UNKNOWN_VEHICLE
        return self._world.vehicle(t_s)

    def _packed(self, which: int) -> World:
        scenario, spec = self._scenario, self._scenario.pack
        if which == _LOW:
            spec = spec.model_copy(update={"start_charge_frac": _LOW_CHARGE})
        return World(
            scenario.model_copy(update={"pack": spec}), seed=1 + self._place * PACKS + which
        )


def _scenario() -> Scenario:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "endurance.toml"
        path.write_text(FLIGHT)
        return load_scenario(str(path))
