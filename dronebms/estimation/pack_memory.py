"""What was learned of a pack in earlier flights, and the folder that keeps it: a file a pack.

A file is JSON, whole or not there (core/atomic_file.py). One that is damaged is named in an error
and stays as it is. Units as in `cellfit`: ln, volts; watts.
"""

import hashlib
import json
import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol, TypeAlias
from urllib.parse import quote

import numpy as np

from dronebms.core.atomic_file import atomic_writer
from dronebms.core.errors import ConfigError
from dronebms.estimation.cell_fit import CellParameters
from dronebms.estimation.cell_model import FAST, KNOTS
from dronebms.estimation.model_parameters import KNOTS_FRAC

LEARNED_FOLDER = "learned"  # the folder's name under [state] dir
MAX_FLIGHT_IDS = 100  # flights that are told from new ones
_FORMAT = 1
_SIZE = KNOTS - FAST + len(KNOTS_FRAC)
_NAME_CHARACTERS = 60
_ROUNDING = 1e-9
MALFORMED = ValueError, KeyError, TypeError, OverflowError  # of what is not a lesson
_MOST = 1e9  # no number in such a file is larger
_WRITE_S = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LearnedPack:
    """One pack after its last flight."""

    cells: CellParameters
    gauge_odds: float  # log odds that its gauge tells what can be used, not what is there
    usual_w: float | None  # mean power of its flights
    first_fast: float  # ln resistance scale after its first flight: what it is measured against
    rated_mah: float  # the scales above are relative to it
    flights: int
    taught: tuple[str, ...] = ()  # the newest of them: none teaches twice


Recall = Callable[[str], LearnedPack | None]
RecalledPack: TypeAlias = tuple[str, LearnedPack | None]  # a pack, and what came back


def no_memory(_: str) -> None:
    """Recall nothing of a pack."""


class PackMemory(Protocol):
    """What is known of packs, by `PackData.pack_key`."""

    def load(self, pack: str) -> LearnedPack | None:
        """Return what is known of a pack, None when it has not been seen; raises ConfigError."""
        ...

    def save(self, pack: str, learned: LearnedPack) -> None:
        """Keep what is known of a pack; raises ConfigError."""
        ...


class ReplayedMemory:
    """A memory for the replay of a run: what that run recalled last; nothing is kept."""

    def __init__(self, recalled: RecalledPack | None) -> None:
        self.recalled = recalled

    def load(self, pack: str) -> LearnedPack | None:
        """Return what the run was told of this pack."""
        return self.recalled[1] if self.recalled is not None and self.recalled[0] == pack else None

    def save(self, pack: str, learned: LearnedPack) -> None:
        """Keep nothing: the run has."""


class BackgroundPackMemory:
    """A memory that writes in threads beside the loop: a card may take seconds for a file.

    Args:
        packs: where it is written.
    """

    def __init__(self, packs: "PackMemoryFolder") -> None:
        self._packs = packs
        self._newest: dict[str, LearnedPack] = {}
        self._threads: list[threading.Thread] = []

    def load(self, pack: str) -> LearnedPack | None:
        """Return what is known of a pack, written or not yet; raises ConfigError."""
        return self._newest.get(pack) or self._packs.load(pack)

    def save(self, pack: str, learned: LearnedPack) -> None:
        """Keep what is known of a pack; what goes wrong is logged."""
        self._newest[pack], before = learned, self._threads
        thread = threading.Thread(target=self._write, args=(pack, learned, before), name="learned")
        self._threads = [thread]
        thread.start()

    def close(self) -> None:
        """Wait until all is written, or the disk has had its time."""
        for thread in self._threads:
            thread.join(_WRITE_S)

    def _write(self, pack: str, learned: LearnedPack, before: list[threading.Thread]) -> None:
        for thread in before:
            thread.join()
        try:
            self._packs.save(pack, learned)
        except ConfigError as error:
            _log.error("nothing is kept of this flight: %s", error)


class PackMemoryFolder:
    """The folder, as a `PackMemory`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, pack: str) -> LearnedPack | None:
        """Return what is known of a pack, None when it has not been seen.

        Raises:
            ConfigError: there is a file and it cannot be used.
        """
        path = self._path(pack)
        try:
            return learned_from_json(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
        except (*MALFORMED, RecursionError) as error:
            raise ConfigError(
                f"{path} is not what was learned of a pack ({error}); it is left as it is: "
                "move it away to start anew"
            ) from error

    def save(self, pack: str, learned: LearnedPack) -> None:
        """Keep what is known of a pack.

        Raises:
            ConfigError: the folder cannot be written, or what is there is damaged.
        """
        self.load(pack)  # a damaged file is not overwritten
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            pass  # the writer will say it
        with atomic_writer(self._path(pack)) as file:
            json.dump({"pack": pack} | learned_to_json(learned), file, allow_nan=False, indent=1)

    def _path(self, pack: str) -> Path:
        name = quote(pack, safe=" ")
        if len(name) > _NAME_CHARACTERS or name.startswith("."):
            digest = hashlib.sha256(pack.encode()).hexdigest()[:8]
            name = f"{name.lstrip('.')[:_NAME_CHARACTERS]}-{digest}"
        return self._folder / f"{name}.json"


def learned_to_json(learned: LearnedPack) -> dict[str, Any]:
    """Return it as JSON has it."""
    row = {field.name: getattr(learned, field.name) for field in fields(learned)}
    cells = row.pop("cells")
    lists = {"mean": cells.mean.tolist(), "covariance": cells.covariance.tolist()}
    return {"format": _FORMAT} | row | lists


def learned_from_json(content: Any) -> LearnedPack:  # noqa: ANN401 - from JSON, whatever it is
    """Return what `learned_to_json` was given, to the bit; raises one of MALFORMED."""
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"its format is not {_FORMAT}")
    mean, covariance = np.array(content["mean"], float), np.array(content["covariance"], float)
    if mean.shape != (_SIZE,) or covariance.shape != (_SIZE, _SIZE):
        raise ValueError("its state has another size")
    usual_w = content["usual_w"]
    numbers = [float(content[key]) for key in ("gauge_odds", "first_fast", "rated_mah", "flights")]
    known = [*numbers, *mean, *covariance.ravel(), *([] if usual_w is None else [float(usual_w)])]
    if not all(math.isfinite(number) and abs(number) < _MOST for number in known):
        raise ValueError("a number in it is none")
    if np.linalg.eigvalsh((covariance + covariance.T) / 2)[0] < -_ROUNDING:
        raise ValueError("its covariance is none")
    odds, first_fast, rated_mah, flights = numbers
    cells, taught = CellParameters(mean, covariance), tuple(map(str, content.get("taught", ())))
    return LearnedPack(cells, odds, usual_w, first_fast, rated_mah, int(flights), taught)
