"""What is known of each battery, for a scraper of OpenMetrics: extra `metrics`.

Gauges by the labels `battery` (from 1) and `serial`. Unknown is no sample, never 0 or NaN; of a
loop that has stopped only the age is told. Base units, as OpenMetrics wants them; shares are 0..1.
"""

import logging
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from dronebms.core.clock import Clock
from dronebms.core.report import Report, Severity
from dronebms.telemetry import json_line
from dronebms.telemetry.config import MetricsConfig

_OLD_S = 5.0
_log = logging.getLogger(__name__)
_Sample = tuple[str, tuple[str, ...], float | None]  # name, further labels, value


# fmt: off
LINE = (  # key of the predictions contract, name, times what, what it is
    ("voltage_v",        "voltage_volts",         1.0,   "of the pack"),
    ("current_a",        "current_amperes",       1.0,   "of the pack; discharge is positive"),
    ("temperature_degc", "temperature_celsius",   1.0,   "of the pack"),
    ("soc_pct",          "charge_ratio",          0.01,  "charge left"),
    ("soh_pct",          "health_ratio",          0.01,  "health, 1 is new"),
    ("remaining_s",      "remaining_seconds",     1.0,   "time left at this load, median"),
    ("remaining_low_s",  "remaining_low_seconds", 1.0,   "time left that is 95 % sure"),
    ("home_reserve_s",   "home_reserve_seconds",  1.0,   "time left after the way home"),
    ("resistance_ohm",   "resistance_ohms",       1.0,   "of the pack"),
    ("max_discharge_a",  "max_discharge_amperes", 1.0,   "that the pack can give for 10 s"),
    ("asked_max_a",      "asked_max_amperes",     1.0,   "that the vehicle is asked to stay below"),
    ("used_mah",         "used_ampere_hours",     0.001, "since the service was started"),
)
MORE = (  # name, what it is, further labels
    ("age_seconds", "since the voltage was read", ()),
    ("severity",    ", ".join(f"{level.value} {level.label}" for level in Severity), ()),
    ("tripped",     "1 for each limit that is tripped", ("limit",)),
    ("cell_volts",  "of each cell, from 1", ("cell",)),
)
ROWS = (*((name, what, ()) for _, name, _, what in LINE), *MORE)
# fmt: on


class OpenMetricsExporter(Collector):
    """A sink of reports, and the server of what it was told last.

    Raises:
        OSError: the address or the port cannot be had.
    """

    def __init__(self, config: MetricsConfig, clock: Clock) -> None:
        self._clock = clock
        self._newest: dict[int, Report] = {}
        registry = CollectorRegistry()
        self._server, _ = start_http_server(config.port, config.address, registry)
        registry.register(self)

    def __call__(self, report: Report) -> None:
        """Take a report."""
        self._newest = self._newest | {report.index: report}  # never changed while it is read

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield what is known now."""
        families = {
            name: GaugeMetricFamily(f"dronebms_{name}", what, labels=("battery", "serial", *more))
            for name, what, more in ROWS
        }
        now_s = self._clock.now_s()
        for report in self._newest.values():
            serial = report.snapshot.identity.serial
            labels = str(report.index + 1), "" if serial is None else str(serial)
            for name, more, value in _samples(report, now_s):
                if value is not None:
                    families[name].add_metric((*labels, *more), value)
        yield from families.values()


def _samples(report: Report, now_s: float) -> Iterator[_Sample]:
    late_s, age_s = now_s - report.t_s, report.snapshot.age_s("voltage_v")
    yield "age_seconds", (), None if age_s is None else age_s + late_s
    if late_s > _OLD_S:
        return
    line = json_line.line(report)
    for key, name, scale, _ in LINE:
        value = line[key]
        yield name, (), value * scale if isinstance(value, float) else None
    yield "severity", (), float(report.status.severity)
    yield from (("tripped", (limit,), 1.0) for limit in report.status.active)
    for place, cell_v in enumerate(report.snapshot.cells_v, start=1):
        yield "cell_volts", (str(place),), cell_v
