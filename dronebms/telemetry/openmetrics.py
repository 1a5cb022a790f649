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
from dronebms.monitoring.pipeline import Report
from dronebms.service.config_remote import MetricsConfig
from dronebms.telemetry import json_line
from dronebms.telemetry.metric_rows import LINE, ROWS

_OLD_S = 5.0
_log = logging.getLogger(__name__)
_Sample = tuple[str, tuple[str, ...], float | None]  # name, further labels, value


class Metrics(Collector):
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
