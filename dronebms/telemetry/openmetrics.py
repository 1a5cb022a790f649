# SPDX-License-Identifier: Apache-2.0
"""OpenMetrics exporter (extra `metrics`).

Gauges by the labels `battery` (from 1) and `serial`. Unknown is no sample, never 0 or NaN; after
the loop has stopped only the age is exported. OpenMetrics base units; ratios are 0..1.
"""

import logging
import socket
import threading
from collections.abc import Iterator
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from dronebms.core.clock import Clock
from dronebms.core.report import Report, Severity, Verdict
from dronebms.telemetry import json_line
from dronebms.telemetry.config import MetricsConfig

_STALE_S = 5.0
_DIGITS = 6  # after the point: all that the predictions contract has, times the factor
_AGE_DIGITS = 1  # as the age of the predictions contract
_CLIENT_S = 10.0  # for a client to send its request and to take the answer
_MAX_CLIENTS = 16  # at once: each has a thread and a file of the process
_log = logging.getLogger(__name__)
_Sample = tuple[str, tuple[str, ...], float | None]  # name, further labels, value

_VERDICTS = {Verdict.YES: 0.0, Verdict.MARGINAL: 1.0, Verdict.NO: 2.0, Verdict.UNKNOWN: None}
_NUMBERS = "0 yes, 1 marginal, 2 no"


# fmt: off
LINE = (  # key of the predictions contract, name, factor, help text
    ("voltage_v",           "voltage_volts",         1.0,   "of the pack"),
    ("current_a",           "current_amperes",       1.0,   "of the pack, discharge is positive"),
    ("temperature_degc",    "temperature_celsius",   1.0,   "of the pack"),
    ("soc_pct",             "charge_ratio",          0.01,  "state of charge"),
    ("soh_pct",             "health_ratio",          0.01,  "state of health, 1 is new"),
    ("remaining_s",         "remaining_seconds",     1.0,   "time to empty at this load, median"),
    ("remaining_low_s",     "remaining_low_seconds", 1.0,   "the same, 5 % bound"),
    ("home_reserve_s",      "home_reserve_seconds",  1.0,   "time left at home, 5 % bound"),
    ("mission_end_pct",     "mission_end_ratio",     0.01,  "charge when the mission ends, median"),
    ("mission_end_low_pct", "mission_end_low_ratio", 0.01,  "the same, 5 % bound"),
    ("resistance_ohm",      "resistance_ohms",       1.0,   "of the pack"),
    ("max_discharge_a",     "max_discharge_amperes", 1.0,   "what the pack can give for 10 s"),
    ("asked_max_a",         "asked_max_amperes",     1.0,   "commanded current limit"),
    ("used_mah",            "used_ampere_hours",     0.001, "since the service started"),
)
MORE = (  # name, help text, further labels
    ("age_seconds",     "since the voltage was read", ()),
    ("severity",        ", ".join(f"{level.value} {level.label}" for level in Severity), ()),
    ("home_verdict",    f"way home: {_NUMBERS}", ()),
    ("mission_verdict", f"mission: {_NUMBERS}", ()),
    ("tripped",         "1 for each tripped limit", ("limit",)),
    ("cell_volts",      "of each cell, from 1", ("cell",)),
    ("gauge_up",        "1 while the gauge is read, else 0", ()),
    ("link_up",         "1 while the MAVLink link works, else 0", ()),
    ("can_up",          "1 while the CAN buses work, else 0", ()),
    ("telemetry_link_up", "1 while a MAVLink telemetry link works, else 0", ("link",)),
)
ROWS = (*((name, text, ()) for _, name, _, text in LINE), *MORE)
# fmt: on


class _Handler(WSGIRequestHandler):
    """One request, which ends when the client has stopped or is gone."""

    timeout = _CLIENT_S

    def handle(self) -> None:
        """Answer; a client that stops is no event for the log."""
        try:
            super().handle()
        except OSError:  # a timeout, or a connection that is closed
            self.close_connection = True

    def log_message(self, _format: str, *_args: object) -> None:
        """Log nothing."""


class _Server(ThreadingMixIn, WSGIServer):
    """Serves each client in a thread: some at once, and each for some seconds at most.

    Clients that send a byte now and then would else take every file of the process.
    """

    daemon_threads = True

    def __init__(self, address: str, port: int, clock: Clock) -> None:
        self._clock = clock
        self._began_s: dict[socket.socket, float] = {}  # of each client
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, place = found[0]
        self.address_family = family
        super().__init__((str(place[0]), port), _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ANN401, ARG002 - as in socketserver
        """Whether there is room for a client."""
        return len(self._began_s) < _MAX_CLIENTS

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as in socketserver
        """Start the thread of a client."""
        self._began_s[request] = self._clock.now_s()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as in socketserver
        """Close a client, in its thread."""
        self._began_s.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Disconnect those who have had their time; every half second."""
        now_s = self._clock.now_s()
        for request, began_s in list(self._began_s.items()):
            if now_s - began_s > _CLIENT_S:
                try:
                    request.shutdown(socket.SHUT_RDWR)  # ends the calls of its thread
                except OSError:
                    pass  # it is gone


class OpenMetricsExporter(Collector):
    """A sink of reports, and an HTTP server of the newest values.

    Raises:
        OSError: the address or the port cannot be used.
    """

    def __init__(self, config: MetricsConfig, clock: Clock) -> None:
        self._clock = clock
        self._newest: dict[int, Report] = {}
        registry = CollectorRegistry()
        registry.register(self)
        self._server = _Server(config.address, config.port, clock)
        self._server.set_app(make_wsgi_app(registry))
        thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        thread.start()

    def __call__(self, report: Report) -> None:
        """Store a report."""
        # A new dict: the server reads it in its thread.
        self._newest = self._newest | {report.index: report}

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics of all batteries."""
        families = {
            name: GaugeMetricFamily(f"dronebms_{name}", text, labels=("battery", "serial", *more))
            for name, text, more in ROWS
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
    late_s = now_s - report.t_s
    age_s = report.snapshot.age_s("voltage_v")
    yield "age_seconds", (), None if age_s is None else round(age_s + late_s, _AGE_DIGITS)
    if late_s > _STALE_S:
        return
    line = json_line.line(report)
    for key, name, scale, _ in LINE:
        value = line[key]
        yield name, (), round(value * scale, _DIGITS) if isinstance(value, float) else None
    yield "severity", (), float(report.status.severity)
    yield "home_verdict", (), _VERDICTS[report.estimate.home_verdict]
    yield "mission_verdict", (), _VERDICTS[report.estimate.mission_verdict]
    yield "gauge_up", (), float(report.snapshot.voltage_v is not None)
    yield "link_up", (), float(report.vehicle.link_trouble is None)
    yield "can_up", (), float(report.vehicle.can_trouble is None)
    for link in report.vehicle.telemetry_links:
        yield "telemetry_link_up", (link.url,), float(link.trouble is None)
    yield from (("tripped", (limit,), 1.0) for limit in report.status.active)
    for place, cell_v in enumerate(report.snapshot.cells_v, start=1):
        yield "cell_volts", (str(place),), None if cell_v is None else round(cell_v, _DIGITS)
