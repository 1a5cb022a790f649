# SPDX-License-Identifier: Apache-2.0
"""MQTT messages through a real broker that is killed and restarted."""

import gc
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from dronebms.core.report import Report, Severity
from dronebms.core.vehicle_state import VehicleState
from dronebms.monitoring.pipeline import with_ground_checks
from dronebms.telemetry.mqtt import MqttPublisher
from smartbattery.snapshot import Identity
from tests.integration.broker import Broker, Listener, needs_mosquitto
from tests.mavlink_bridge.reports import a_report, an_event

pytestmark = [
    needs_mosquitto,
    # paho leaves the socket of a handshake that failed to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
DAY_S = 86_400
SERIAL = Identity(serial=1001)


@pytest.fixture(autouse=True)
def collect_sockets() -> Iterator[None]:
    """Collect paho's sockets here, and not in the next test of this process."""
    yield
    gc.collect()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path)
    yield made
    made.close()


@pytest.fixture
def listener(broker: Broker) -> Iterator[Listener]:
    made = Listener(broker)
    yield made
    made.close()


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether a condition becomes true in time."""
    end_s = monotonic() + seconds
    while not (is_true := condition()) and monotonic() < end_s:
        sleep(0.02)
    return is_true


def flown(t_s: float, **values: Any) -> Report:  # noqa: ANN401 - of a report
    return a_report(t_s, identity=SERIAL, **values)


def alarm(t_s: float) -> Report:
    return flown(t_s, events=(replace(an_event(), t_s=t_s),))


@pytest.mark.slow
def test_a_day_without_a_network_loses_no_message_and_does_not_block_the_loop(
    broker: Broker, listener: Listener, tmp_path: Path
) -> None:
    mqtt = MqttPublisher(broker.config(period_s=30.0), tmp_path / "queue.sqlite")
    for t_s in range(0, 300, 10):
        mqtt(flown(t_s))
    assert within(10.0, lambda: len(listener.first()) == 10)
    broker.kill()
    slowest_s = 0.0
    for t_s in range(300, 300 + DAY_S, 10):
        report = alarm(t_s) if t_s % 3600 == 0 else flown(t_s)
        start_s = monotonic()
        mqtt(report)
        slowest_s = max(slowest_s, monotonic() - start_s)
    assert slowest_s < 0.05  # of a loop of 0.1 s, on a busy machine
    broker.start()
    expected = 10 + DAY_S // 30 + DAY_S // 3600
    assert within(20.0, lambda: len(listener.first()) > 500)
    broker.kill()  # while messages are underway
    broker.start()
    assert within(40.0, lambda: len(listener.first()) >= expected)
    sent = listener.first()
    assert [one["sequence"] for one in sent] == list(range(1, expected + 1))
    assert {(one["serial"], one["boot"]) for one in sent} == {("1001", sent[0]["boot"])}
    assert [one["t_s"] for one in sent] == sorted(one["t_s"] for one in sent)
    alarms = [one for one in sent if "limit_id" in one]
    assert [one["t_s"] for one in alarms] == list(range(3600, 300 + DAY_S, 3600))
    assert {topic for topic, _ in listener.received} == {"fleet/1001/report", "fleet/1001/event"}
    mqtt.close()


CRASH = """
import os, sqlite3, sys, time
from pathlib import Path
from dronebms.monitoring.pipeline import with_ground_checks
from dronebms.telemetry.config import MqttConfig
from dronebms.telemetry.mqtt import MqttPublisher
from tests.integration.test_mqtt import alarm
path = Path(sys.argv[1])
mqtt = MqttPublisher(MqttConfig(host="127.0.0.1", port=int(sys.argv[2]), topic="fleet"), path)
for t_s in range(50):
    mqtt(alarm(float(t_s)))
stored = []
while len(stored) < 55:
    time.sleep(0.1)
    stored = sqlite3.connect(path).execute("SELECT id FROM message").fetchall()
os.kill(os.getpid(), 9)
"""


def test_messages_queued_when_the_service_was_killed_are_sent_after_the_next_start(
    broker: Broker, listener: Listener, tmp_path: Path
) -> None:
    queue = tmp_path / "queue.sqlite"
    broker.kill()
    code = subprocess.run(  # noqa: S603 - this project's own
        [sys.executable, "-c", CRASH, str(queue), str(broker.port)], check=False, timeout=30.0
    ).returncode
    assert code == -signal.SIGKILL
    mqtt = MqttPublisher(broker.config(), queue)
    mqtt(flown(0.0))
    broker.start()
    assert within(20.0, lambda: len(listener.first()) >= 56)
    sent = listener.first()
    assert [one["sequence"] for one in sent] == [*range(1, 56), 1]
    assert sent[0]["boot"] == sent[54]["boot"] != sent[55]["boot"]
    mqtt.close()


def test_nothing_is_sent_to_a_broker_with_another_certificate_or_password(
    broker: Broker, listener: Listener, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other_broker = broker.config(ca=str(tmp_path / "stranger.pem"))
    (tmp_path / "wrong").write_text("wrong")
    wrong_password = broker.config(password_file=str(tmp_path / "wrong"))
    both = [MqttPublisher(other_broker, None), MqttPublisher(wrong_password, None)]
    for mqtt in both:
        mqtt(flown(0.0))
    refused = "broker 127.0.0.1 refuses the connection: Not authorized"
    assert within(10.0, lambda: refused in caplog.text)
    sleep(0.5)
    assert listener.received == []
    assert "disconnected" not in caplog.text
    for mqtt in both:
        mqtt.close()


def test_the_log_names_what_the_broker_does(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    mqtt = MqttPublisher(broker.config(), None)
    assert within(10.0, lambda: "broker 127.0.0.1 connected" in caplog.text)
    mqtt.close()
    assert [row.levelname for row in caplog.records] == ["INFO"]
    caplog.clear()
    plain = MqttPublisher(broker.config(ca=None), None)
    hint = "; a broker with TLS needs ca"
    assert within(10.0, lambda: hint in caplog.text)
    plain.close()


def charging(t_s: float, *, armed: bool | None) -> Report:
    report = flown(t_s, current_a=-8.0, severity=Severity.WARNING, active=("charging_warm",))
    status = replace(report.status, charging=True)
    estimate = replace(report.estimate, remaining_s=None)  # nothing is drawn
    vehicle = VehicleState(armed=armed)
    return with_ground_checks(replace(report, status=status, vehicle=vehicle, estimate=estimate))


def test_a_charger_message_is_sent_at_once_or_dropped_and_never_in_flight(
    broker: Broker, listener: Listener, tmp_path: Path
) -> None:
    mqtt = MqttPublisher(broker.config(), tmp_path / "queue.sqlite", "charger/1")
    mqtt(flown(0.0))
    assert within(10.0, lambda: len(listener.received) == 1)
    mqtt(charging(1.0, armed=True))
    loaded = charging(1.5, armed=None)  # regeneration, while the link is silent
    mqtt(replace(loaded, estimate=replace(loaded.estimate, remaining_s=300.0)))
    mqtt(charging(2.0, armed=False))
    mqtt(charging(3.0, armed=False))
    mqtt(charging(12.5, armed=None))
    assert within(10.0, lambda: len(listener.received) == 4)  # two to the charger, one report
    sent = [one for topic, one in listener.received if topic == "charger/1"]
    assert sent == [{"do": "reduce", "why": "charging warm", "battery": 0}] * 2
    broker.kill()
    assert within(10.0, lambda: not mqtt._client.is_connected())
    mqtt(charging(100.0, armed=False))
    broker.start()
    mqtt(flown(200.0))
    assert within(20.0, lambda: any(one.get("t_s") == 200.0 for _, one in listener.received))
    assert len([one for topic, one in listener.received if topic == "charger/1"]) == 2
    mqtt.close()
