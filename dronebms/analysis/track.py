# SPDX-License-Identifier: Apache-2.0
"""One battery through one flight, in columns of equal length.

NaN is unknown in a column, here and in the plots only. Units are in the names; times are of the
flight's clock, current is positive while discharging.
"""

from array import array
from collections.abc import Iterable, MutableSequence
from dataclasses import dataclass, field, replace
from math import nan
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from dronebms.analysis.panels import ACTUAL, COLUMNS
from dronebms.analysis.summary import Summary
from dronebms.core.report import Report, Severity
from dronebms.presentation.phrases import has_data

_COLUMNS = {path: attrgetter(path) for path in COLUMNS}


@dataclass(slots=True)
class Track:
    """A sink of one battery's reports that stores what the plots and the page show."""

    last: Report
    t_s: MutableSequence[float] = field(default_factory=lambda: array("d"))
    # By the path of the value in a report, or "cell 1", "cell 2", ...
    columns: dict[str, MutableSequence[float]] = field(default_factory=dict)
    tripped: dict[str, list[list[float]]] = field(default_factory=dict)  # limit: [from, to], ...
    phases: dict[str, list[list[float]]] = field(default_factory=dict)  # armed, modes: likewise
    worst: Severity | None = None  # None: no data
    summary: Summary = field(default_factory=Summary)

    def __call__(self, report: Report) -> None:
        """Append a step."""
        self.summary(replace(report, index=0))  # it summarises the first battery alone
        row = {path: get(report) for path, get in _COLUMNS.items()}
        row |= {f"cell {k + 1}": cell_v for k, cell_v in enumerate(report.snapshot.cells_v)}
        for name, value in (dict.fromkeys(self.columns) | row).items():
            column = self.columns.setdefault(name, array("d", [nan]) * len(self.t_s))
            column.append(nan if value is None else value)
        for limit in report.status.active:
            self._extend(self.tripped.setdefault(limit, []), report.t_s)
        vehicle = report.vehicle
        if vehicle.armed:
            self._extend(self.phases.setdefault("armed", []), report.t_s)
            if vehicle.mode is not None:
                self._extend(self.phases.setdefault(f"mode {vehicle.mode}", []), report.t_s)
        if has_data(report):
            self.worst = max(report.status.severity, self.worst or Severity.OK)
        self.t_s.append(report.t_s)
        self.last = report

    def _extend(self, spans: list[list[float]], t_s: float) -> None:
        """Continue the last span if it reaches to the step before, else begin one."""
        if not spans or spans[-1][1] != self.last.t_s:
            spans.append([t_s, t_s])
        spans[-1][1] = t_s

    def marks(self) -> list[tuple[float, str]]:
        """Moments that are marked in every plot: time, what began or ended."""
        found = [(spans[0][0], f"{name}") for name, spans in self.phases.items() if name != "armed"]
        for begin_s, end_s in self.phases.get("armed", ()):
            found += [(begin_s, "armed"), (end_s, "disarmed")]
        return sorted(found)

    def cells(self) -> list[str]:
        """Names of the cells' columns, in their order."""
        return [name for name in self.columns if name.startswith("cell ")]

    def column(self, name: str) -> NDArray[np.float64]:
        """Values of a column; `actual` is the true time to empty in seconds."""
        if name == ACTUAL:
            ended_s = nan if self.summary.ended_s is None else self.summary.ended_s
            left_s = ended_s - np.array(self.t_s)
            return np.where(left_s >= 0, left_s, nan)
        return np.array(self.columns[name])


def tracks(reports: Iterable[Report]) -> list[Track]:
    """The track of each battery, in their order."""
    found: dict[int, Track] = {}
    for report in reports:
        found.setdefault(report.index, Track(report))(report)
    return [found[index] for index in sorted(found)]
