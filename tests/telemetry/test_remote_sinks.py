# SPDX-License-Identifier: Apache-2.0
"""OpenMetrics exporter, read by OpenMetrics' own parser, and MQTT publisher with its queue."""

import contextlib
import json
import logging
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from socket import SOCK_STREAM
from time import monotonic, sleep
from typing import Any
from urllib.request import Request, urlopen

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from dronebms.core import bounded_input
from dronebms.core.clock import VirtualClock
from dronebms.core.errors import ConfigError
from dronebms.core.report import Severity, Sink, Verdict
from dronebms.core.toml_schema import validated
from dronebms.core.vehicle_state import VehicleState
from dronebms.service.config import Config
from dronebms.service.config_reload import apply_reload
from dronebms.service.outputs.output_sinks import metrics_of, mqtt_of
from dronebms.telemetry import mqtt as mqtt_module
from dronebms.telemetry import openmetrics
from dronebms.telemetry.config import MetricsConfig, MqttConfig
from dronebms.telemetry.mqtt import MqttPublisher
from dronebms.telemetry.openmetrics import OpenMetricsExporter
from dronebms.telemetry.outbox import Message, Outbox
from smartbattery.snapshot import Identity
from tests.mavlink_bridge.loopback import WAIT_S, free_port, until
from tests.mavlink_bridge.reports import a_report, an_event
from tests.special_files import special_file

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
Scrape = Callable[[], list[Sample]]


# Metrics.


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def metrics(clock: VirtualClock) -> Iterator[tuple[OpenMetricsExporter, Scrape]]:
    config = MetricsConfig(port=free_port(SOCK_STREAM))
    made = OpenMetricsExporter(config, clock)

    def scrape() -> list[Sample]:
        request = Request(
            f"http://127.0.0.1:{config.port}/metrics", headers={"Accept": OPEN_METRICS}
        )
        with urlopen(request, timeout=5.0) as answer:  # noqa: S310 - loopback
            assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
            text = answer.read().decode()
        families = [*text_string_to_metric_families(text)]  # type: ignore[no-untyped-call]  # theirs
        assert len({family.name for family in families}) == len(families)
        assert all(family.documentation for family in families)
        return [sample for family in families for sample in family.samples]

    with contextlib.closing(made):
        yield made, scrape


def values(samples: list[Sample], battery: str = "1") -> dict[str, float]:
    """Samples of one battery without further labels."""
    plain = {"battery", "serial"}
    return {
        sample.name.removeprefix("dronebms_"): sample.value
        for sample in samples
        if {*sample.labels} == plain and sample.labels["battery"] == battery
    }


def test_before_the_first_report_there_is_no_sample(
    metrics: tuple[OpenMetricsExporter, Scrape],
) -> None:
    assert metrics[1]() == []


def test_samples_are_in_base_units(metrics: tuple[OpenMetricsExporter, Scrape]) -> None:
    sink, scrape = metrics
    sink(
        a_report(
            identity=Identity(serial=1001), resistance_ohm=0.012, soh_pct=93.0, asked_max_a=60.0,
            used_mah=900.0, severity=Severity.WARNING, active=("cell_low", "hot"),
            read_at_s={"voltage_v": 0.0}, home_verdict=Verdict.YES,
            mission_verdict=Verdict.NO, mission_end_pct=12.0, mission_end_low_pct=-3.0,
        )
    )  # fmt: skip
    samples = scrape()
    assert {sample.labels["serial"] for sample in samples} == {"1001"}
    assert values(samples) == pytest.approx({
        "voltage_volts": 23.55, "current_amperes": 12.34, "temperature_celsius": 25.12,
        "charge_ratio": 0.809, "health_ratio": 0.93, "remaining_seconds": 600.7,
        "resistance_ohms": 0.012, "asked_max_amperes": 60.0, "used_ampere_hours": 0.9,
        "age_seconds": 0.0, "severity": 2.0, "gauge_up": 1.0, "link_up": 1.0, "can_up": 1.0,
        "home_verdict": 0.0, "mission_verdict": 2.0, "mission_end_ratio": 0.12,
        "mission_end_low_ratio": -0.03,
    })  # fmt: skip
    cells = [s for s in samples if s.name == "dronebms_cell_volts"]
    assert [s.labels["cell"] for s in cells] == ["1", "2", "3", "4", "5", "6"]
    assert [s.value for s in cells] == [3.90, 3.91, 3.92, 3.93, 3.94, 3.95]
    assert values(samples)["charge_ratio"] == 0.809
    tripped = [s for s in samples if s.name == "dronebms_tripped"]
    assert [(s.labels["limit"], s.value) for s in tripped] == [("cell_low", 1.0), ("hot", 1.0)]


def test_no_sample_has_the_digits_of_a_binary_fraction(
    metrics: tuple[OpenMetricsExporter, Scrape],
) -> None:
    sink, scrape = metrics
    for hundredths in range(0, 10_000, 37):
        cell_v = 3.0 + hundredths * 0.0001
        sink(
            a_report(
                soc_pct=hundredths / 100.0, used_mah=hundredths / 10.0, cells_v=(cell_v, None),
                read_at_s={"voltage_v": -hundredths / 7.0},
            )
        )  # fmt: skip
        samples = scrape()
        assert {"dronebms_charge_ratio", "dronebms_used_ampere_hours"} < {s.name for s in samples}
        assert [s for s in samples if len(repr(s.value).partition(".")[2]) > 6] == []


def test_an_unknown_value_is_no_sample(metrics: tuple[OpenMetricsExporter, Scrape]) -> None:
    sink, scrape = metrics
    sink(
        a_report(
            voltage_v=None, current_a=None, temperature_degc=None, soc_pct=None,
            remaining_s=float("nan"), used_mah=None, cells_v=(None, 3.9),
        )
    )  # fmt: skip
    samples = scrape()
    assert values(samples) == {"severity": 0.0, "gauge_up": 0.0, "link_up": 1.0, "can_up": 1.0}
    assert [s.labels["cell"] for s in samples if s.name == "dronebms_cell_volts"] == ["2"]
    assert {sample.labels["serial"] for sample in samples} == {""}


def test_each_battery_has_its_own_samples(metrics: tuple[OpenMetricsExporter, Scrape]) -> None:
    sink, scrape = metrics
    sink(a_report(index=0, voltage_v=23.0))
    sink(a_report(index=1, voltage_v=24.0))
    sink(a_report(index=0, voltage_v=22.0))
    assert values(scrape())["voltage_volts"] == 22.0
    assert values(scrape(), "2")["voltage_volts"] == 24.0


def test_after_the_loop_has_stopped_only_the_age_is_exported(
    metrics: tuple[OpenMetricsExporter, Scrape], clock: VirtualClock
) -> None:
    sink, scrape = metrics
    sink(a_report(100.0, read_at_s={"voltage_v": 99.0}))
    clock.sleep_until(104.0)
    assert values(scrape())["voltage_volts"] == 23.55
    clock.sleep_until(160.0)
    assert values(scrape()) == {"age_seconds": 61.0}


@pytest.mark.parametrize("sent", [b"", b"GET /metr", b"GET /metrics HTTP/1.1\r\nHost: x\r\n"])
def test_a_client_that_stops_leaves_no_thread(
    metrics: tuple[OpenMetricsExporter, Scrape], monkeypatch: pytest.MonkeyPatch, sent: bytes,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(openmetrics._Handler, "timeout", 0.2)
    sink, scrape = metrics
    sink(a_report())
    before = threading.active_count()
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            client = socket.create_connection(sink._server.socket.getsockname())
            stack.enter_context(client).sendall(sent)
        assert scrape()  # the others are not in its way
        assert until(lambda: threading.active_count() == before)
    assert capfd.readouterr().err == ""


def test_clients_at_once_are_bounded_and_each_has_its_time(
    capfd: pytest.CaptureFixture[str],
) -> None:
    clock = VirtualClock()
    before = threading.active_count()
    with (
        contextlib.closing(
            OpenMetricsExporter(MetricsConfig(port=free_port(SOCK_STREAM)), clock)
        ) as sink,
        contextlib.ExitStack() as stack,
    ):
        place = sink._server.socket.getsockname()
        clients = [stack.enter_context(socket.create_connection(place)) for _ in range(60)]

        def has_ended(client: socket.socket) -> bool:
            """Send one byte of a request that never ends."""
            try:
                client.send(b"x")
                return client.recv(1, socket.MSG_DONTWAIT) == b""
            except BlockingIOError:
                return False
            except OSError:
                return True

        def are_refused() -> bool:
            return sum(map(has_ended, clients)) == 60 - openmetrics._MAX_CLIENTS

        assert until(are_refused)
        assert threading.active_count() - before <= 1 + openmetrics._MAX_CLIENTS
        clock.sleep_until(2.0 * openmetrics._CLIENT_S)
        assert until(lambda: all(map(has_ended, clients)))
        assert until(lambda: threading.active_count() == before + 1)
        stack.enter_context(socket.create_connection(place)).sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert capfd.readouterr().err == ""


def test_the_default_address_is_loopback() -> None:
    assert MetricsConfig().address == "127.0.0.1"


# Both, by configuration.

BASE = '[[battery]]\nbus = "sim:survey"\n'


def sinks_of(text: str, stack: contextlib.ExitStack) -> list[Sink]:
    config = validated(Config, BASE + text, "x.toml")
    sinks = (
        metrics_of(config.metrics, stack, VirtualClock()),
        mqtt_of(config.mqtt, config.state, config.charger, stack),
    )
    return [sink for sink in sinks if sink is not None]


def test_without_configuration_there_is_no_sink() -> None:
    with contextlib.ExitStack() as stack:
        assert sinks_of("", stack) == []


def test_a_configuration_makes_both(tmp_path: Path) -> None:
    text = f"""
[metrics]
port = {free_port(SOCK_STREAM)}
[mqtt]
host = "127.0.0.1"
port = {free_port(SOCK_STREAM)}
[charger]
topic = "charger"
[state]
dir = "{tmp_path}/state"
"""
    with contextlib.ExitStack() as stack:
        metrics, mqtt = sinks_of(text, stack)
        mqtt(a_report())
        metrics(a_report())
        assert (
            stored(tmp_path / "state" / "mqtt.sqlite", 1)[0]["topic"] == "dronebms/battery1/report"
        )


def test_a_service_serves_them_and_ends(tmp_path: Path) -> None:
    port, path = free_port(SOCK_STREAM), tmp_path / "x.toml"
    link = f'[mavlink]\nurl = "udpout:127.0.0.1:{free_port()}"\n'
    path.write_text(f'{BASE}{link}[metrics]\nport = {port}\n[mqtt]\nhost = "127.0.0.1"\nport = 9\n')
    argv = [sys.executable, "-m", "dronebms.cli", "run", "-c", str(path)]
    text, end_s = "", monotonic() + WAIT_S
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        while "dronebms_voltage_volts{" not in text and monotonic() < end_s:
            sleep(0.05)
            with (
                contextlib.suppress(OSError),
                urlopen(f"http://127.0.0.1:{port}/", timeout=5) as reply,
            ):
                text = reply.read().decode()
        process.terminate()
        assert process.stderr is not None
        log = process.stderr.read()
        assert process.wait(WAIT_S) == 0
    assert 'dronebms_voltage_volts{battery="1",serial="' in text
    assert "broker 127.0.0.1 unreachable" in log
    assert "Traceback" not in log


def test_a_port_in_use_is_logged_and_opened_once_it_is_free(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port(SOCK_STREAM)
    text = f"[metrics]\nport = {port}\n"
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(contextlib.ExitStack())
        assert len(sinks_of(text, first)) == 1
        (second,) = sinks_of(text, stack)
        assert "no metrics at 127.0.0.1:" in caplog.text
        landed = replace(a_report(), vehicle=VehicleState(armed=False))
        second(landed)
        first.close()
        second(replace(landed, t_s=100.0))
        with urlopen(f"http://127.0.0.1:{port}/", timeout=5) as reply:
            assert b"dronebms_" in reply.read()


@pytest.mark.parametrize(
    ("section", "package", "distribution"),
    [
        ("metrics", "prometheus_client", "prometheus-client"),
        ("mqtt", "paho.mqtt.client", "paho-mqtt"),
    ],
)
def test_a_missing_extra_is_one_sentence(
    section: str, package: str, distribution: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = {"metrics": "openmetrics", "mqtt": "mqtt"}[section]
    monkeypatch.delitem(sys.modules, f"dronebms.telemetry.{module}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    text = f"[{section}]\n" + ("host = 'h'\n" if section == "mqtt" else "")
    with contextlib.ExitStack() as stack, pytest.raises(ConfigError) as caught:
        sinks_of(text, stack)
    assert f"[{section}] needs {package}" in str(caught.value)
    command = rf"{sys.executable} -m pip install '{distribution}>="
    assert command in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[charger]\ntopic = "a"\n', "[mqtt] in addition to charger.topic"),
        ("[charger]\n", "command, topic or both"),
        ("[metrics]\nport = 0\n", "metrics.port"),
        ('[mqtt]\nhost = ""\n', "mqtt.host"),
    ],
)
def test_an_invalid_section_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validated(Config, BASE + text, "x.toml")
    assert sentence in str(caught.value)


def test_another_topic_for_the_charger_waits_for_a_restart() -> None:
    text = '[mqtt]\nhost = "h"\n[charger]\ncommand = ["a"]\n'
    old, same, new = (
        validated(Config, BASE + text + more, "x.toml") for more in ("", "", 'topic = "b"\n')
    )
    assert apply_reload(old, same)[1] == []
    (sentence,) = apply_reload(old, new)[1]
    assert sentence.startswith("charger.topic waits for a restart")


def test_an_unreachable_broker_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with contextlib.closing(MqttPublisher(away(), None)):
        end_s = monotonic() + 5.0
        while "broker 127.0.0.1 unreachable" not in caplog.text and monotonic() < end_s:
            sleep(0.02)
    assert "broker 127.0.0.1 unreachable: retrying" in caplog.text


# The queue.


def reports(count: int, size: int = 90) -> list[Message]:
    return [Message("t" * 10, "p" * size, alarm=False) for _ in range(count)]


ALARM = Message("t" * 10, "a" * 90, alarm=True)


def test_the_queue_survives_a_restart_in_order(tmp_path: Path) -> None:
    box = Outbox(str(tmp_path / "q"), 1e6)
    box.put([replace(ALARM, payload=str(number)) for number in range(5)], 0)
    box.delete([2, 4, 99])
    box.close()
    box = Outbox(str(tmp_path / "q"), 1e6)
    box.put([ALARM], 0)
    assert [number for number, _, _ in box.after(0, 10)] == [1, 3, 5, 6]
    assert [payload for _, _, payload in box.after(1, 2)] == ["2", "4"]
    box.close()


def test_the_memory_of_a_queue_does_not_grow_with_it(tmp_path: Path) -> None:
    """SQLite has 2 MB of a database in memory, unless it is limited: kB, as a negative number."""
    box = Outbox(str(tmp_path / "q"), 1e6)
    assert box._base.execute("PRAGMA cache_size").fetchone() == (-256,)
    box.close()


def test_the_oldest_reports_are_dropped_and_counted_and_never_an_alarm() -> None:
    box = Outbox(":memory:", 10_000)
    for _ in range(10):
        box.put([*reports(10), ALARM], 0)
    left = box.after(0, 1000)
    alarms = [number for number, _, payload in left if payload == ALARM.payload]
    assert alarms == [11 * place for place in range(1, 11)]
    assert box.dropped == 110 - len(left) > 0
    assert 90 <= len(left) <= 105
    first = min(number for number, _, payload in left if payload != ALARM.payload)
    assert [number for number, _, _ in left if number > first] == list(range(first + 1, 111))
    box.put([ALARM] * 200, 0)
    assert len([1 for *_, payload in box.after(0, 1000) if payload == ALARM.payload]) == 210
    box.close()


def test_alarms_alone_fill_no_disk() -> None:
    box = Outbox(":memory:", 1_000)
    for _ in range(100):
        box.put([ALARM], 0)
        box.put(reports(1), 0)
    left = [number for number, *_ in box.after(0, 1000)]
    assert 38 <= len(left) <= 41  # four times the size, less the low water
    assert left[-1] == 200
    assert box.dropped == 200 - len(left)
    box.close()


def test_an_overflow_is_logged_at_each_doubling(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mqtt = MqttPublisher(away(max_mb=0.01), tmp_path / "q")
    box = Outbox(":memory:", 1_000)
    for count in range(1, 1025):
        box.dropped = count
        mqtt._step(box)
    box.close()
    mqtt.close()
    lines = [line for line in caplog.messages if "queue full" in line]
    assert lines[0] == "queue full, broker away: 1 messages dropped so far"
    assert lines[-1] == "queue full, broker away: 1024 messages dropped so far"
    assert len(lines) == 11


def test_messages_in_flight_are_not_dropped() -> None:
    box = Outbox(":memory:", 1_000)
    box.put(reports(10), 0)
    box.put(reports(2), 12)
    assert [number for number, _, _ in box.after(0, 100)] == list(range(1, 13))
    box.put(reports(1), 2)
    assert [number for number, _, _ in box.after(0, 100)] == [1, 2, *range(5, 14)]
    box.close()


def away(**keys: Any) -> MqttConfig:  # noqa: ANN401 - of the section
    """A broker that does not exist."""
    return MqttConfig(host="127.0.0.1", port=free_port(SOCK_STREAM), **keys)


def stored(path: Path, count: int) -> list[dict[str, Any]]:
    """The messages of a queue, when there are `count` of them."""
    end_s, rows = monotonic() + 5.0, list[Any]()
    while len(rows) < count and monotonic() < end_s:
        sleep(0.02)
        with contextlib.closing(sqlite3.connect(path)) as base, contextlib.suppress(sqlite3.Error):
            rows = base.execute("SELECT topic, payload, alarm FROM message ORDER BY id").fetchall()
    return [{"topic": row[0], "alarm": row[2], **json.loads(row[1])} for row in rows]


def test_a_message_has_no_date_while_the_clock_is_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    date_s: list[float | None] = [None]
    monkeypatch.setattr(mqtt_module, "date_s", lambda: date_s[0])
    sink = MqttPublisher(away(period_s=1.0), tmp_path / "q")
    sink(a_report(t_s=0.0))
    date_s[0] = 1.8e9
    sink(a_report(t_s=1.0))
    rows = stored(tmp_path / "q", 2)
    sink.close()
    assert [(row["sequence"], row["unix_s"]) for row in rows] == [(1, None), (2, 1.8e9)]


def test_reports_have_a_period_and_events_have_none(tmp_path: Path) -> None:
    mqtt = MqttPublisher(away(period_s=5.0, topic="a/b"), tmp_path / "q")
    for t_s in range(12):
        mqtt(a_report(float(t_s)))
        mqtt(a_report(float(t_s), 1, identity=Identity(serial=7)))
    mild = an_event("mild", Severity.INFO)
    mqtt(a_report(12.0, events=(an_event("grave"), mild)))
    rows = stored(tmp_path / "q", 8)
    mqtt.close()
    assert [(row["topic"], row["sequence"]) for row in rows if "/7/" in row["topic"]] == [
        ("a/b/7/report", 1), ("a/b/7/report", 2), ("a/b/7/report", 3),
    ]  # fmt: skip
    mine = [row for row in rows if row["serial"] == "battery1"]
    assert [row["sequence"] for row in mine] == [1, 2, 3, 4, 5]
    assert [(row["text"], row["alarm"]) for row in mine[3:]] == [("grave", 1), ("mild", 0)]


@pytest.mark.parametrize("content", [b"", b"no database at all, but long enough to be one" * 99])
def test_a_queue_file_that_cannot_be_used_is_not_changed(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "q"
    path.write_bytes(content) if content else path.mkdir()
    with caplog.at_level(logging.ERROR):
        mqtt = MqttPublisher(away(), path)
        mqtt(a_report())
        mqtt.close()
    assert "q cannot be used, a restart loses queued messages" in caplog.text
    assert not content or path.read_bytes() == content


def test_a_queue_is_on_the_disk_again_when_the_disk_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_module, "_DISK_S", 0.05)
    caplog.set_level(logging.INFO)
    path = tmp_path / "folder" / "q"
    path.parent.write_text("a file in the place of the folder")
    mqtt = MqttPublisher(away(), path)
    mqtt(a_report(0.0))
    end_s = monotonic() + 30.0
    while "cannot be used" not in caplog.text:
        assert monotonic() < end_s
        sleep(0.01)
    path.parent.unlink()
    mqtt(a_report(20.0))
    while not mqtt.is_durable:
        assert monotonic() < end_s
        sleep(0.01)
    mqtt(a_report(40.0))
    mqtt.close()
    assert [row["sequence"] for row in stored(path, 3)] == [1, 2, 3]
    assert caplog.text.count("a restart loses queued messages") == 1
    assert f"messages are queued in {path} again" in caplog.text


@pytest.mark.parametrize(
    "keys",
    [
        {"ca": "/missing.pem"},
        {"ca": __file__},
        {"user": "me", "password_file": "/missing"},
    ],
)
def test_an_unusable_file_is_one_sentence(keys: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"\[mqtt\]: the TLS or password files cannot be used"):
        MqttPublisher(away(**keys), None)


@pytest.mark.parametrize("kind", ["zeros", "pipe", "folder", "long"])
@pytest.mark.parametrize(
    "names", [("password_file",), ("ca",), ("ca", "certificate"), ("ca", "key")], ids="-".join
)
def test_a_file_of_any_kind_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, names: tuple[str, ...]
) -> None:
    monkeypatch.setattr(bounded_input, "_WAIT_S", 0.05)
    keys = {"user": "me"} if "password_file" in names else {}
    keys |= dict.fromkeys(("ca", "certificate", "key") if len(names) > 1 else (), __file__)
    keys |= {names[-1]: str(special_file(tmp_path, kind))}
    with pytest.raises(ConfigError, match=r"\[mqtt\]: the TLS or password files cannot be used"):
        MqttPublisher(away(**keys), None)


@pytest.mark.parametrize(
    "keys",
    [
        {"topic": "a/+"}, {"topic": "/a"}, {"topic": ""}, {"key": "k"}, {"password_file": "p"},
        {"certificate": "c", "key": "k"},
    ],
)  # fmt: skip
def test_an_invalid_key_is_rejected(keys: dict[str, str]) -> None:
    with pytest.raises(
        ValueError, match=r"a topic such as|, or neither|ca in addition|user in addition"
    ):
        away(**keys)
