# SPDX-License-Identifier: Apache-2.0
"""MQTT publisher with store-and-forward (extra `mqtt`).

`TOPIC/SERIAL/report` is a line of the predictions contract each period, `TOPIC/SERIAL/event` every
event. Each message has `serial`, `boot` (id of this start of the service) and `sequence`, which
grows by one with each message of a battery: a duplicate, which QoS 1 allows, has the same three,
and a missing number was dropped because the queue was full. The loop only enqueues; one thread
stores the messages and publishes them, paho's own thread waits for the network. While the disk
cannot be used, the queue is in memory. Seconds; `unix_s` is the date, `None` when it is unknown.
"""

import json
import logging
import secrets
import sqlite3
import threading
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from dronebms.core.bounded_input import read_bytes
from dronebms.core.clock import SystemClock, date_s
from dronebms.core.disk import make_folder
from dronebms.core.errors import ConfigError
from dronebms.core.report import Report, Severity
from dronebms.telemetry import json_line
from dronebms.telemetry.config import MqttConfig
from dronebms.telemetry.outbox import Message, Outbox

_MAX_IN_FLIGHT = 20  # messages published but not acknowledged
_MAX_INBOX = 10_000  # messages in memory, for a disk that hangs
_TICK_S = 1.0
_CLOSE_S = 3.0
_RETRY_FIRST_S = 1
_RETRY_LAST_S = 60
_KEEPALIVE_S = 30
_CHARGER_S = 10.0
_DISK_S = 60.0  # between attempts to use the disk again
_MEMORY = ":memory:"
_PER_MB = 1e6
_PASSWORD_BYTES = 1 << 16  # of MQTT
_log = logging.getLogger(__name__)


class MqttPublisher:
    """A sink of reports that publishes until `close`.

    Attributes:
        is_durable: whether the queue is on a disk.

    Args:
        config: broker, topic and period.
        path: of the queue; None queues in memory.
        charger: topic of a charger's `reduce` and `stop`, which are published at once or never.

    Raises:
        ConfigError: the TLS files or the password file cannot be used.
    """

    def __init__(self, config: MqttConfig, path: Path | None, charger: str | None = None) -> None:
        self._config = config
        self._charger = charger
        self._path = path
        self._clock = SystemClock()
        self._disk_due_s = 0.0
        self._failures = 0  # of the disk, one after the other
        self.is_durable = False
        self._boot = secrets.token_hex(8)
        self._sequences: dict[str, int] = {}
        self._due_s: dict[int, float] = {}
        self._charger_sent: dict[int, tuple[str, float]] = {}
        self._inbox: deque[Message] = deque()
        self._acknowledged: deque[int] = deque()  # message ids of paho
        self._in_flight: dict[int, int] = {}  # message id of paho: number in the queue
        self._sent = 0
        self._unstored = 0  # messages that were dropped because the disk hangs
        self._dropped = 0  # as logged: each time that the number has doubled
        self._wake = threading.Event()
        self._stopping = False
        self._was_connected = False
        self._is_refused = False
        self._client = _client(config)
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_connect_fail = self._unreachable
        self._client.on_publish = self._published
        self._client.connect_async(config.host, config.port, _KEEPALIVE_S)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._thread.start()

    def __call__(self, report: Report) -> None:
        """Enqueue the messages of a battery that are due."""
        serial = report.snapshot.identity.serial
        name = f"battery{report.index + 1}" if serial is None else str(serial)
        if report.t_s >= self._due_s.get(report.index, report.t_s):
            self._due_s[report.index] = report.t_s + self._config.period_s
            self._enqueue(name, "report", json_line.line(report), alarm=False)
        for event in report.status.events:
            content = asdict(event) | {"severity": event.severity.label}
            self._enqueue(name, "event", content, alarm=event.severity >= Severity.WARNING)
        if self._charger is not None:
            self._regulate(report, self._charger)

    def close(self) -> None:
        """Store the queue, and disconnect."""
        self._stopping = True
        self._wake.set()
        self._thread.join(_CLOSE_S)
        self._client.disconnect()

    def _enqueue(self, name: str, kind: str, content: dict[str, object], *, alarm: bool) -> None:
        sequence = self._sequences[name] = self._sequences.get(name, 0) + 1
        if len(self._inbox) >= _MAX_INBOX and not alarm:
            self._unstored += 1  # the receiver sees the missing number
            return
        head = {"serial": name, "boot": self._boot, "sequence": sequence, "unix_s": date_s()}
        payload = json.dumps(head | content, allow_nan=False, separators=(",", ":"))
        self._inbox.append(Message(f"{self._config.topic}/{name}/{kind}", payload, alarm))
        self._wake.set()

    def _regulate(self, report: Report, topic: str) -> None:
        """Publish the present advice to the charger; it is never published later."""
        advice = report.charging
        sent, sent_s = self._charger_sent.get(report.index, ("", 0.0))
        repeated = advice.do == sent and report.t_s - sent_s < _CHARGER_S
        if advice.do not in ("reduce", "stop") or report.flying or repeated:
            return
        self._charger_sent[report.index] = advice.do, report.t_s
        if self._client.is_connected():
            content = {"do": advice.do, "why": advice.why, "battery": report.index}
            self._client.publish(topic, json.dumps(content), qos=0)

    # In paho's thread.

    def _connected(self, _client: Client, _data: object, *details: Any) -> None:  # noqa: ANN401 - paho's
        reason = details[1]
        self._is_refused = reason.is_failure
        if self._is_refused:
            _log.warning("broker %s refuses the connection: %s", self._config.host, reason)
        else:
            self._was_connected = True
            _log.info("broker %s connected", self._config.host)
        self._wake.set()

    def _disconnected(self, _client: Client, _data: object, *details: Any) -> None:  # noqa: ANN401 - paho's
        if not self._stopping and not self._is_refused:
            is_open = self._was_connected or self._config.ca is not None
            hint = "" if is_open else "; a broker with TLS needs ca"
            reason = details[1]
            _log.warning("broker %s disconnected: %s%s", self._config.host, reason, hint)
        self._wake.set()

    def _unreachable(self, _client: Client, _data: object) -> None:
        _log.warning("broker %s unreachable: retrying", self._config.host)
        self._wake.set()

    def _published(self, _client: Client, _data: object, mid: int, *_: object) -> None:
        self._acknowledged.append(mid)
        self._wake.set()

    # In a thread of its own.

    def _run(self) -> None:
        box: Outbox | None = None
        while True:
            stopping = self._stopping
            try:
                box = self._opened(box)
                self._step(box)
            except sqlite3.Error as error:
                self._fail(error)
                if box is not None:
                    box.close()
                box = None
                continue
            self._failures = 0
            if stopping:
                return box.close()
            self._wake.wait(_TICK_S)
            self._wake.clear()

    def _opened(self, box: Outbox | None) -> Outbox:
        """The queue on the disk, or in memory until the next attempt is due."""
        most = self._config.max_mb * _PER_MB
        is_last = self._stopping and box is not None
        if self._path is None or (self._clock.now_s() < self._disk_due_s and not is_last):
            return box or Outbox(_MEMORY, most)
        if box is not None and self.is_durable:
            return box
        try:
            make_folder(self._path.parent)
        except OSError:
            pass  # opening the database reports the reason
        try:
            disk = Outbox(str(self._path), most)
            if box is not None:
                disk.put(box.everything(), 0)
        except sqlite3.Error:
            if box is None:
                raise
            self._disk_due_s = self._clock.now_s() + _DISK_S
            return box
        if box is not None:  # what is in flight is published again
            box.close()
            self._restart()
            _log.info("messages are queued in %s again", self._path)
        self.is_durable = True
        return disk

    def _fail(self, error: sqlite3.Error) -> None:
        """Open the disk again at once; after another failure the queue is in memory."""
        self._failures += 1
        if self._failures == 1:
            return
        if self.is_durable or not self._disk_due_s:
            text = "%s cannot be used, a restart loses queued messages: %s"
            _log.error(text, self._path, error)
        self._disk_due_s = self._clock.now_s() + _DISK_S
        self.is_durable = False
        self._restart()

    def _restart(self) -> None:
        """Publish another queue from its beginning."""
        self._sent = 0
        self._in_flight.clear()

    def _step(self, box: Outbox) -> None:
        """Store new messages, delete acknowledged ones, publish what may be in flight."""
        new = len(self._inbox)
        if new:
            box.put([self._inbox[place] for place in range(new)], self._sent)
            for _ in range(new):
                self._inbox.popleft()
        dropped = box.dropped + self._unstored
        if dropped and dropped >= 2 * self._dropped:
            self._dropped = dropped
            _log.warning("queue full, broker away: %s messages dropped so far", dropped)
        done = [self._acknowledged.popleft() for _ in range(len(self._acknowledged))]
        box.delete(number for mid in done if (number := self._in_flight.pop(mid, None)))
        room = _MAX_IN_FLIGHT - len(self._in_flight) if self._client.is_connected() else 0
        for number, topic, payload in box.after(self._sent, room):
            self._in_flight[self._client.publish(topic, payload, qos=1).mid] = self._sent = number


def _client(config: MqttConfig) -> Client:
    client = Client(CallbackAPIVersion.VERSION2)
    client.reconnect_delay_set(_RETRY_FIRST_S, _RETRY_LAST_S)
    for path in (config.ca, config.certificate, config.key):
        if path is not None and Path(path).is_fifo():  # OpenSSL would wait for its writer
            raise ConfigError(f"[mqtt]: the TLS or password files cannot be used: {path} is a pipe")
    try:
        if config.user is not None:
            path = config.password_file
            secret = path and read_bytes(Path(path), _PASSWORD_BYTES).decode().strip()
            client.username_pw_set(config.user, secret)
        if config.ca is not None:
            client.tls_set(config.ca, config.certificate, config.key)
    except (OSError, ValueError) as error:
        raise ConfigError(f"[mqtt]: the TLS or password files cannot be used: {error}") from error
    return client
