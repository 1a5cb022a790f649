"""Restart state as bytes."""

import io
import logging
import pickle
import platform
import re
import zlib
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from dronebms.monitoring.pipeline import PipelineState

_log = logging.getLogger(__name__)

# The stages, whose classes have no effect when they are made, and what else is in them.
_KNOWN = re.compile(
    r"dronebms\.(core|estimation|monitoring|protection)\.\w+:_?[A-Z]\w*|mavlink_bridge\.(\w+\.)*\w+:_?[A-Z]\w*|"
    r"smartbattery\.snapshot:[A-Z]\w*|collections:deque|numpy:(array|float64|bool_?)|"
    r"dronebms\.(service\.service:ServiceState|estimation\.pack_memory:(LearnedPack|no_memory)|"
    r"monitoring\.state_codec:_read_only)"
)


# Of a pickle.
_ODD = pickle.PickleError, TypeError, AttributeError, ImportError, EOFError, ValueError


def for_recording(packs: tuple[PipelineState, ...]) -> tuple[str, str]:
    """Return what `gone_on_from` understands, as text."""
    return _program(), _written(packs).decode("latin1")


def gone_on_from(kept: tuple[str, str]) -> tuple[PipelineState, ...]:
    """Return what a recorded run went on from; nothing, and a warning, of another version's."""
    packs = _read(kept[1].encode("latin1", "replace")) if kept[0] == _program() else None
    if isinstance(packs, tuple) and all(isinstance(one, PipelineState) for one in packs):
        return packs
    _log.warning("the run went on after a restart, from what this version cannot read")
    return ()


def _written(state: object) -> bytes:
    told = io.BytesIO()
    _Writer(told, pickle.HIGHEST_PROTOCOL).dump(state)
    return told.getvalue()


def _read(told: bytes) -> Any:  # noqa: ANN401 - whatever was written
    try:
        return _Reader(io.BytesIO(told)).load()
    except (*_ODD, MemoryError, OverflowError) as error:
        _log.error("this run begins anew: what is kept cannot be read: %s", error)
        return None


class _Writer(pickle.Pickler):
    """A pickler that knows read-only mappings, and numpy's values as numbers alone."""

    dispatch_table = {  # noqa: RUF012 - pickle's own way
        MappingProxyType: lambda mapping: (_read_only, (dict(mapping),)),
        np.ndarray: lambda array: (np.array, (array.tolist(), array.dtype.str)),
        np.float64: lambda number: (np.float64, (float(number),)),
        np.bool_: lambda truth: (np.bool_, (bool(truth),)),
    }


def _read_only(items: dict[str, float]) -> MappingProxyType[str, float]:
    return MappingProxyType(items)


class _Reader(pickle.Unpickler):
    """An unpickler of the stages' own classes alone."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as pickle has it
        """Return a class, or refuse, also what a stage has from elsewhere."""
        known = _KNOWN.fullmatch(f"{module}:{name}")
        found = super().find_class(module, name) if known else None
        if getattr(found, "__module__", None) != module:
            raise pickle.UnpicklingError(f"{module}.{name} is not kept")
        return found


def _program() -> str:
    """Return what tells this program from any other: its sources, to the byte, and Python's."""
    rooms = (Path(__file__).parents[1], Path(__file__).parents[2] / "smartbattery")
    checksum = 0
    for path in sorted(path for room in rooms for path in room.rglob("*.py")):
        try:
            checksum = zlib.crc32(path.read_bytes(), checksum)
        except OSError:
            pass
    return f"{checksum:08x} {platform.python_version()}"
