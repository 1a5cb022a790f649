"""Memory of packs: the parameters learned in earlier flights, as one JSON file per pack.

A file is written whole or not at all (`core.atomic_file`). A damaged file is named in an error and
never overwritten. Units as in `cell_fit`: ln, volts; watts.
"""

import hashlib
import json
import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias
from urllib.parse import quote

import numpy as np

from dronebms.core.atomic_file import atomic_writer
from dronebms.core.bounded_input import read_bytes
from dronebms.core.errors import ConfigError
from dronebms.estimation.cell_fit import CellParameters
from dronebms.estimation.cell_model import FAST, KNOTS
from dronebms.estimation.model_parameters import KNOTS_FRAC

LEARNED_FOLDER = "learned"  # under [state] dir
MAX_FLIGHT_IDS = 100  # of the newest flights
_FORMAT = 1
_SIZE = KNOTS - FAST + len(KNOTS_FRAC)
_NAME_CHARACTERS = 60
_ROUNDING = 1e-9  # of an eigenvalue
MALFORMED = ValueError, KeyError, TypeError, OverflowError  # raised by malformed content
_MAX_NUMBER = 1e9  # in such a file
_WRITE_S = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LearnedPack:
    """One pack after its last flight."""

    cells: CellParameters
    gauge_odds: float  # log odds that its gauge is load-compensated (`gauge_fusion`)
    usual_w: float | None  # mean power of its flights
    first_fast: float  # ln resistance scale after its first flight, the reference of its ageing
    rated_mah: float  # the scales above are relative to it
    flights: int
    flight_ids: tuple[str, ...] = ()  # newest flights, none of which is learned from twice


Recall = Callable[[str], LearnedPack | None]
RecalledPack: TypeAlias = tuple[str, LearnedPack | None]  # its key and the result


def no_memory(_: str) -> None:
    """Know no pack."""


class PackMemory(Protocol):
    """Learned packs by `PackData.pack_key`."""

    def load(self, pack: str) -> LearnedPack | None:
        """The pack, None when it is not known; raises ConfigError."""
        ...

    def save(self, pack: str, learned: LearnedPack) -> None:
        """Store a pack; raises ConfigError."""
        ...


class ReplayedMemory:
    """Memory for the replay of a run: knows the pack that the run recalled, stores nothing."""

    def __init__(self, recalled: RecalledPack | None) -> None:
        self.recalled = recalled

    def load(self, pack: str) -> LearnedPack | None:
        """The pack as the run recalled it."""
        return self.recalled[1] if self.recalled is not None and self.recalled[0] == pack else None

    def save(self, pack: str, learned: LearnedPack) -> None:
        """Store nothing: the run has stored it."""


class BackgroundPackMemory:
    """Memory that writes in background threads: an SD card may take seconds for a file.

    Args:
        packs: the folder.
    """

    def __init__(self, packs: "PackMemoryFolder") -> None:
        self._packs = packs
        self._newest: dict[str, LearnedPack] = {}
        self._threads: list[threading.Thread] = []

    def load(self, pack: str) -> LearnedPack | None:
        """The pack, written or not yet; raises ConfigError."""
        return self._newest.get(pack) or self._packs.load(pack)

    def save(self, pack: str, learned: LearnedPack) -> None:
        """Store a pack; an error is logged."""
        self._newest[pack], before = learned, self._threads
        thread = threading.Thread(target=self._write, args=(pack, learned, before), name="learned")
        self._threads = [thread]
        thread.start()

    def close(self) -> None:
        """Wait until all is written, for some seconds at most."""
        for thread in self._threads:
            thread.join(_WRITE_S)

    def _write(self, pack: str, learned: LearnedPack, before: list[threading.Thread]) -> None:
        for thread in before:
            thread.join()
        try:
            self._packs.save(pack, learned)
        except ConfigError as error:
            _log.error("learned pack is not stored: %s", error)


class PackMemoryFolder:
    """The folder, as a `PackMemory`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, pack: str) -> LearnedPack | None:
        """The pack, None when it has no file.

        Raises:
            ConfigError: its file cannot be used.
        """
        path = self._path(pack)
        try:
            return learned_from_json(json.loads(read_bytes(path)))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
        except (*MALFORMED, RecursionError) as error:
            raise ConfigError(
                f"{path} is not a valid learned pack ({error}); it is left as it is: "
                "move it away to start without it"
            ) from error

    def save(self, pack: str, learned: LearnedPack) -> None:
        """Store a pack.

        Raises:
            ConfigError: the folder cannot be written, or the pack's file is damaged.
        """
        self.load(pack)  # a damaged file is not overwritten
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            pass  # the writer raises
        with atomic_writer(self._path(pack)) as file:
            json.dump({"pack": pack} | learned_to_json(learned), file, allow_nan=False, indent=1)

    def _path(self, pack: str) -> Path:
        name = quote(pack, safe=" ")
        if len(name) > _NAME_CHARACTERS or name.startswith("."):
            digest = hashlib.sha256(pack.encode()).hexdigest()[:8]
            name = f"{name.lstrip('.')[:_NAME_CHARACTERS]}-{digest}"
        return self._folder / f"{name}.json"


def learned_to_json(learned: LearnedPack) -> dict[str, Any]:
    """The content of its file."""
    return {
        "format": _FORMAT,
        "gauge_odds": learned.gauge_odds,
        "usual_w": learned.usual_w,
        "first_fast": learned.first_fast,
        "rated_mah": learned.rated_mah,
        "flights": learned.flights,
        "taught": learned.flight_ids,
        "mean": learned.cells.mean,
        "covariance": learned.cells.covariance,
        "warm": learned.cells.warm,
    }


def learned_from_json(content: Any) -> LearnedPack:  # noqa: ANN401 - from JSON, of any form
    """The inverse of `learned_to_json`, exact to the last bit; raises one of MALFORMED."""
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"its format is not {_FORMAT}")
    mean, covariance = np.array(content["mean"], float), np.array(content["covariance"], float)
    if mean.shape != (_SIZE,) or covariance.shape != (_SIZE, _SIZE):
        raise ValueError("its state has another size")
    usual_w = content["usual_w"]
    numbers = [float(content[key]) for key in ("gauge_odds", "first_fast", "rated_mah", "flights")]
    known = [*numbers, *mean, *covariance.ravel(), *([] if usual_w is None else [float(usual_w)])]
    if not all(math.isfinite(number) and abs(number) < _MAX_NUMBER for number in known):
        raise ValueError("a number in it is not valid")
    if np.linalg.eigvalsh((covariance + covariance.T) / 2)[0] < -_ROUNDING:
        raise ValueError("its covariance is not positive semidefinite")
    odds, first_fast, rated_mah, flights = numbers
    warm = np.array(content.get("warm", ()), float).reshape(-1, 2)
    if not (np.isfinite(warm) & (abs(warm) < _MAX_NUMBER)).all():
        raise ValueError("a number in it is not valid")
    rows = tuple(map(tuple, covariance.tolist()))
    pairs = tuple([(float(kelvin), float(log)) for kelvin, log in warm])
    cells = CellParameters(tuple(mean.tolist()), rows, pairs)
    flight_ids = tuple(map(str, content.get("taught", ())))
    return LearnedPack(cells, odds, usual_w, first_fast, rated_mah, int(flights), flight_ids)
