"""Tells an MQTT broker what happens to each battery, later if the network is away: extra `mqtt`.

`TOPIC/SERIAL/report` is a line of the predictions contract each period, `TOPIC/SERIAL/event` every
event. Each message has `serial`, `boot` (of this service's start) and `sequence`, which grows by
one with each message of a battery: a repeat, which QoS 1 allows, has the same three, and a number
that is missing was dropped because too much waited. The loop only hands over; one thread keeps on
disk and sends, paho's own waits for the network. Seconds; `unix_s` is the date, where it is known.
"""

import json
import logging
import secrets
import sqlite3
import threading
from collections import deque
from dataclasses import asdict
from functools import partial
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from dronebms.core.clock import unix_s
from dronebms.core.errors import ConfigError
from dronebms.core.report import Report, Severity
from dronebms.telemetry import json_line
from dronebms.telemetry.config import MqttConfig
from dronebms.telemetry.outbox import Message, Outbox

_UNDERWAY = 20  # messages
_HELD = 10_000  # messages in memory, for a disk that hangs
_TICK_S, _CLOSE_S = 1.0, 3.0
_BACK_FIRST_S, _BACK_LAST_S, _ALIVE_S = 1, 60, 30
_CHARGER_S = 10.0
_MEMORY = ":memory:"
_PER_MB = 1e6
_log = logging.getLogger(__name__)


class MqttPublisher:
    """A sink of reports, at work until `close`.

    Args:
        config: the broker and what it is told.
        path: of the queue; None keeps in memory what waits.
        charger: topic on which a charger is told `reduce` or `stop`; at once or not at all.

    Raises:
        ConfigError: a file for TLS or a password that cannot be used.
    """

    def __init__(self, config: MqttConfig, path: Path | None, charger: str | None = None) -> None:
        self._config, self._charger = config, charger
        self._path = _MEMORY if path is None else str(path)
        try:
            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        except OSError:
            pass  # SQLite says why
        self._boot = secrets.token_hex(8)
        self._sequences: dict[str, int] = {}
        self._due_s: dict[int, float] = {}
        self._charger_told: dict[int, tuple[str, float]] = {}
        self._inbox: deque[Message] = deque()
        self._arrived: deque[int] = deque()  # by paho's numbers
        self._underway: dict[int, int] = {}  # paho's number, ours
        self._sent = 0
        self._wake, self._stopping = threading.Event(), False
        self._client = _client(config)
        self._client.on_connect = partial(self._linked, "answers")
        self._client.on_disconnect = partial(self._linked, "is lost")
        self._client.on_connect_fail = partial(self._linked, "is not reached")
        self._client.on_publish = self._published
        self._client.connect_async(config.host, config.port, _ALIVE_S)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._thread.start()

    def __call__(self, report: Report) -> None:
        """Hand over what is due of a battery."""
        serial = report.snapshot.identity.serial
        name = f"battery{report.index + 1}" if serial is None else str(serial)
        if report.t_s >= self._due_s.get(report.index, report.t_s):
            self._due_s[report.index] = report.t_s + self._config.period_s
            self._hand_over(name, "report", json_line.line(report), alarm=False)
        for event in report.status.events:
            told = asdict(event) | {"severity": event.severity.label}
            self._hand_over(name, "event", told, alarm=event.severity >= Severity.WARNING)
        if self._charger is not None:
            self._regulate(report, self._charger)

    def close(self) -> None:
        """Keep what waits, and leave the broker."""
        self._stopping = True
        self._wake.set()
        self._thread.join(_CLOSE_S)
        self._client.disconnect()

    def _hand_over(self, name: str, kind: str, told: dict[str, object], *, alarm: bool) -> None:
        sequence = self._sequences[name] = self._sequences.get(name, 0) + 1
        if len(self._inbox) >= _HELD and not alarm:
            return  # the number that is missing tells it
        head = {"serial": name, "boot": self._boot, "sequence": sequence, "unix_s": unix_s()}
        payload = json.dumps(head | told, allow_nan=False, separators=(",", ":"))
        self._inbox.append(Message(f"{self._config.topic}/{name}/{kind}", payload, alarm))
        self._wake.set()

    def _regulate(self, report: Report, topic: str) -> None:
        """Tell the charger what holds now; what could not be told is not told later."""
        found, (do, told_s) = report.charging, self._charger_told.get(report.index, ("", 0.0))
        told_lately = found.do == do and report.t_s - told_s < _CHARGER_S
        if found.do not in ("reduce", "stop") or report.vehicle.armed is True or told_lately:
            return
        self._charger_told[report.index] = found.do, report.t_s
        if self._client.is_connected():
            told = {"do": found.do, "why": found.why, "battery": report.index}
            self._client.publish(topic, json.dumps(told), qos=0)

    # In paho's thread.

    def _linked(self, what: str, _client: Client, _data: object, *told: object) -> None:
        why = told[1] if told else "trying again"
        _log.warning("the broker %s %s: %s", self._config.host, what, why)
        self._wake.set()

    def _published(self, _client: Client, _data: object, number: int, *_: object) -> None:
        self._arrived.append(number)
        self._wake.set()

    # In a thread of its own.

    def _run(self) -> None:
        box: Outbox | None = None
        while True:
            stopping = self._stopping
            try:
                box = box or Outbox(self._path, self._config.max_mb * _PER_MB)
                self._step(box)
            except sqlite3.Error as error:
                _log.error("%s cannot be used, a restart loses what waits: %s", self._path, error)
                self._path, box, self._sent = _MEMORY, None, 0
                self._underway.clear()
                continue
            if stopping:
                return box.close()
            self._wake.wait(_TICK_S)
            self._wake.clear()

    def _step(self, box: Outbox) -> None:
        """Keep what was handed over, forget what has arrived, send what may go."""
        held, dropped = len(self._inbox), box.dropped
        if held:
            box.put([self._inbox[place] for place in range(held)], self._sent)
            for _ in range(held):
                self._inbox.popleft()
        if box.dropped > dropped:
            _log.warning("%d reports were dropped, as the broker is away for too long", box.dropped)
        arrived = [self._arrived.popleft() for _ in range(len(self._arrived))]
        box.done(ours for number in arrived if (ours := self._underway.pop(number, None)))
        room = _UNDERWAY - len(self._underway) if self._client.is_connected() else 0
        for number, topic, payload in box.after(self._sent, room):
            self._underway[self._client.publish(topic, payload, qos=1).mid] = self._sent = number


def _client(config: MqttConfig) -> Client:
    client = Client(CallbackAPIVersion.VERSION2)
    client.reconnect_delay_set(_BACK_FIRST_S, _BACK_LAST_S)
    try:
        if config.user is not None:
            secret = config.password_file and Path(config.password_file).read_text("utf-8").strip()
            client.username_pw_set(config.user, secret)
        if config.ca is not None:
            client.tls_set(config.ca, config.certificate, config.key)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"the broker's files in [mqtt] cannot be used: {error}") from error
    return client
