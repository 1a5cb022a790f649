# SPDX-License-Identifier: Apache-2.0
"""Gauges of other packages (`dronebms.core.gauge_package`): found, loaded, isolated.

A package that cannot be used is one sentence. What it raises later is silence of its battery, and
its values are checked like those of a register: no code of another package ends the loop, and
nothing that no battery has leaves here.
"""

from collections import deque
from dataclasses import dataclass, fields, replace
from importlib import metadata
from math import isfinite
from typing import Any, cast

from dronebms.core.errors import ConfigError
from dronebms.core.gauge_package import (
    GAUGE_INTERFACE,
    GAUGES,
    GaugePackage,
    PackageGauge,
    scheme_of,
)
from dronebms.core.number_format import printable
from dronebms.service.sources.bus_threads import NewestPoll
from smartbattery.registers import CELLS, CURRENT, TEMPERATURE, WORDS
from smartbattery.snapshot import (
    CELL_FIELDS,
    MAX_CELLS,
    UNIDENTIFIED,
    BusCounts,
    Identity,
    Snapshot,
)

_TEXT = 120  # characters of a text of a package
_DOUBTS = 8
_OLDEST_S = 86_400.0  # an older time is none of this flight
_CALLABLES = ("open_gauge", "trouble_of")
_ROWS = {row.field: row for row in WORDS} | {"fet_degc": TEMPERATURE, "beyond_a": CURRENT}
_NUMBERS = tuple(field.name for field in fields(Snapshot) if field.name in _ROWS)
_IDENTITY_TEXTS = ("manufacturer", "device", "chemistry")


@dataclass(frozen=True, slots=True)
class InstalledPackage:
    """A package that serves a scheme."""

    scheme: str
    name: str  # of its distribution, with the version
    package: GaugePackage


def package_of(bus: str) -> InstalledPackage:
    """The package that serves a bus.

    Raises:
        ConfigError: there is none or more than one, or it cannot be used.
    """
    scheme = scheme_of(bus)
    found = list(metadata.entry_points(group=GAUGES, name=scheme))
    if len(found) != 1:
        names = " and ".join(sorted(map(_distribution, found))) or "no installed package"
        raise ConfigError(f'{bus}: {names}: expected one package with gauges "{scheme}:"')
    name = _distribution(found[0])
    try:
        package = found[0].load()
    # Also a module that ends the program.
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{bus}: {name} cannot be imported: {_sentence(error)}") from error
    interface = getattr(package, "INTERFACE", None)
    if interface != GAUGE_INTERFACE:
        stated = "none" if interface is None else printable(repr(interface))[:_TEXT]
        raise ConfigError(
            f"{bus}: {name} is for interface {stated} of gauges, this program has {GAUGE_INTERFACE}"
        )
    missing = [one for one in _CALLABLES if not callable(getattr(package, one, None))]
    if missing:
        raise ConfigError(f"{bus}: {name} has no {missing[0]}")
    return InstalledPackage(scheme, name, cast("GaugePackage", package))


def open_gauge(installed: InstalledPackage, bus: str, cells: int | None) -> PackageGauge:
    """The gauge of a bus, nothing of which is opened yet.

    Raises:
        ConfigError: the package refuses the bus, or fails.
    """
    try:
        gauge = installed.package.open_gauge(bus, cells)
    except ConfigError as error:
        raise ConfigError(f"{bus}: {printable(str(error))[:_TEXT]}") from error
    except Exception as error:
        raise ConfigError(f"{bus}: {installed.name}: {_sentence(error)}") from error
    missing = [one for one in ("poll", "close") if not callable(getattr(gauge, one, None))]
    if missing:
        raise ConfigError(f"{bus}: the gauge of {installed.name} has no {missing[0]}")
    return gauge


def refuse_package(bus: str, cells: int | None) -> None:
    """Refuse a bus whose package cannot be used.

    Raises:
        ConfigError: see `package_of`, `open_gauge`.
    """
    _closed(open_gauge(package_of(bus), bus, cells))


def trouble_of(bus: str) -> tuple[str, str] | None:
    """What will not work now, and the line that mends it; of a bus that is not refused."""
    installed = package_of(bus)
    try:
        found = installed.package.trouble_of(bus)
        if found is None:
            return None
        text, mend = found
        return printable(str(text))[:_TEXT], printable(str(mend))[:_TEXT]
    except Exception as error:  # noqa: BLE001 - code of another package
        return f"{installed.name}: {_sentence(error)}", f"see {installed.name}"


class PackageBattery:
    """A `Source` whose gauge is polled by a thread of its own.

    Args:
        gauge: of a package; used by that thread alone.
        name: of the package.
        index: of the battery.
    """

    def __init__(self, gauge: PackageGauge, name: str, index: int) -> None:
        self._gauge = gauge
        self._name = name
        self._done: deque[Snapshot] = deque(maxlen=1)
        self._newest = NewestPoll(index)
        self.stepped_s: float | None = None

    def poll_bus(self, now_s: float) -> None:
        """Poll the gauge; for its thread."""
        try:
            snapshot = self._gauge.poll(now_s)
        except Exception as error:  # noqa: BLE001 - code of another package
            snapshot = Snapshot(now_s, trouble=_sentence(error))
        self._done.append(checked(snapshot, now_s, self._name))

    def poll(self, now_s: float) -> Snapshot:
        """Newest snapshot as of `now_s`."""
        self.stepped_s = now_s
        if self._done:
            self._newest.snapshot = self._done.popleft()
        return self._newest.at(now_s) or Snapshot(
            now_s, trouble=f"{self._name} has not answered yet"
        )

    def is_stuck(self, now_s: float) -> bool:
        """Whether a gauge that has answered in this run is not polled any more."""
        return self._newest.is_stuck(now_s)

    def close(self) -> None:
        """Close the gauge, after its thread has ended."""
        _closed(self._gauge)


def checked(snapshot: object, now_s: float, name: str) -> Snapshot:
    """The values of a package that a battery can have, each for as long as its register holds."""
    if not isinstance(snapshot, Snapshot):
        kind = type(snapshot).__name__
        return Snapshot(now_s, trouble=f"{name}: poll returned a {kind}, no Snapshot")
    try:
        return _plausible(snapshot, now_s, name)
    except Exception as error:  # noqa: BLE001 - values of another package, of any type
        return Snapshot(now_s, trouble=f"{name}: {_sentence(error)}")


def _plausible(snapshot: Snapshot, now_s: float, name: str) -> Snapshot:
    if len(snapshot.cells_v) > MAX_CELLS:
        raise ValueError(f"{len(snapshot.cells_v)} cells")
    read_at_s: dict[str, float] = {}
    values: dict[str, Any] = {}
    withheld = 0
    cells = zip(CELL_FIELDS, snapshot.cells_v, strict=False)
    rows = [*((one, _ROWS[one], getattr(snapshot, one)) for one in _NUMBERS)]
    rows += [(one, CELLS[0], value) for one, value in cells]
    for one, row, value in rows:
        if value is None:
            continue
        at_s = min(float(snapshot.read_at_s.get(one, now_s)), now_s)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number and isfinite(at_s) and row.low <= value <= row.high):
            withheld += 1
        elif now_s - at_s <= _OLDEST_S:
            read_at_s[one] = at_s
            if now_s - at_s <= row.max_age_s:
                values[one] = int(value) if one.endswith("_raw") else float(value)
    cells_v = tuple([values.pop(one, None) for one in CELL_FIELDS[: len(snapshot.cells_v)]])
    trouble = None
    if "voltage_v" not in values:
        trouble = f"{name}: {_text(snapshot.trouble) or 'no voltage'}"
    alerts = snapshot.alerts
    return Snapshot(
        now_s,
        cells_v=cells_v,
        alerts=None if alerts is None else tuple([printable(str(one))[:_TEXT] for one in alerts]),
        identity=_identity(snapshot.identity, name),
        read_at_s=read_at_s,
        counts=BusCounts(withheld=withheld + int(snapshot.counts.withheld)),
        trouble=trouble,
        doubts=tuple([printable(str(one))[:_TEXT] for one in snapshot.doubts[:_DOUBTS]]),
        **values,
    )


def _identity(identity: Identity, name: str) -> Identity:
    """The data of a pack that a pack can have, under the name of the package as its gauge."""
    known: dict[str, Any] = {one: _text(getattr(identity, one)) for one in _IDENTITY_TEXTS}
    for one in ("serial", "design_mah", "design_v"):
        value = getattr(identity, one)
        row = _ROWS[one]
        if value is not None and row.low <= value <= row.high:
            known[one] = int(value) if one == "serial" else float(value)
    if identity.cells is not None and 1 <= identity.cells <= MAX_CELLS:
        known["cells"] = int(identity.cells)
    if identity.date is not None:
        year, month, day = map(int, identity.date)
        known["date"] = year, month, day
    return replace(UNIDENTIFIED, gauge=name, **known)


def _text(text: object) -> str | None:
    return None if text is None else printable(str(text))[:_TEXT]


def _sentence(error: BaseException) -> str:
    """One sentence of an error of another package."""
    lines = str(error).splitlines() or [""]
    return printable(f"{type(error).__name__}: {lines[0]}".rstrip(": "))[:_TEXT]


def _distribution(entry: metadata.EntryPoint) -> str:
    if entry.dist is None:
        return entry.value
    return printable(f"{entry.dist.name} {entry.dist.version}")[:_TEXT]


def _closed(gauge: PackageGauge) -> None:
    try:
        gauge.close()
    except Exception:  # noqa: BLE001 - the device is not used any more
        return
