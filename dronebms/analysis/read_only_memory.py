# SPDX-License-Identifier: Apache-2.0
"""Pack memories that a replay reads and that store nothing."""

from dronebms.estimation.learning.learned_pack import Keys, Learned, LearnedPack, Recalled
from dronebms.estimation.learning.pack_memory import PackMemory
from dronebms.estimation.learning.usual_power import FlightPower


class ReplayedMemory:
    """Memory for the replay of a run: knows what the run recalled, stores nothing."""

    def __init__(self, recalled: Recalled | None) -> None:
        self.recalled = recalled

    def load(self, pack: str) -> LearnedPack | None:
        """The pack as the run recalled it."""
        recalled = self.recalled
        return None if recalled is None or recalled.keys.pack != pack else recalled.known.pack

    def sisters(self, model: str) -> tuple[LearnedPack, ...]:
        """Its sister packs as the run recalled them."""
        recalled = self.recalled
        return () if recalled is None or recalled.keys.model != model else recalled.known.sisters

    def vehicle(self, name: str) -> tuple[FlightPower, ...]:
        """Its vehicle as the run recalled it."""
        recalled = self.recalled
        return () if recalled is None or recalled.keys.vehicle != name else recalled.known.vehicle

    def store(self, keys: Keys, learned: Learned) -> None:
        """Store nothing: the run has stored it."""


class UnchangedMemory:
    """Memory for a reader: what another one knows, stores nothing."""

    def __init__(self, packs: PackMemory) -> None:
        self._packs = packs

    def load(self, pack: str) -> LearnedPack | None:
        """The pack, None when it is not known."""
        return self._packs.load(pack)

    def sisters(self, model: str) -> tuple[LearnedPack, ...]:
        """The newest packs of a model, newest first."""
        return self._packs.sisters(model)

    def vehicle(self, name: str) -> tuple[FlightPower, ...]:
        """Power of the newest flights of a vehicle."""
        return self._packs.vehicle(name)

    def store(self, keys: Keys, learned: Learned) -> None:
        """Store nothing: to read a flight changes nothing."""
