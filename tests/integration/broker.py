# SPDX-License-Identifier: Apache-2.0
"""Debian's mosquitto on loopback, with TLS and a password, and a client that subscribes to it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path
from socket import SOCK_STREAM
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from dronebms.telemetry.config import MqttConfig
from tests.mavlink_bridge.loopback import free_port, until

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
OPENSSL = shutil.which("openssl")
needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None or OPENSSL is None,
    reason="no MQTT broker: sudo apt install mosquitto openssl",
)
USER, PASSWORD = "drone7", "a secret of the fleet"
# Sessions are on disk with every change, so that even kill -9 loses no subscription.
CONFIG = """
per_listener_settings false
listener {port} 127.0.0.1
user root
cafile {folder}/{name}.pem
certfile {folder}/{name}.pem
keyfile {folder}/{name}.key
password_file {folder}/passwords
allow_anonymous false
persistence true
persistence_location {folder}/
autosave_interval 1
autosave_on_changes true
max_queued_messages 0
"""


def _run(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)  # noqa: S603 - Debian's


class Broker:
    """The broker, its certificates and its password."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port(SOCK_STREAM)
        self._log = (folder / "log").open("ab")
        for name in ("broker", "stranger"):
            _run(
                OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                "-nodes", "-days", 2, "-subj", "/CN=127.0.0.1", "-addext",
                "subjectAltName=IP:127.0.0.1", "-keyout", folder / f"{name}.key",
                "-out", folder / f"{name}.pem",
            )  # fmt: skip
        _run("mosquitto_passwd", "-b", "-c", folder / "passwords", USER, PASSWORD)
        (folder / "password").write_text(f"{PASSWORD}\n")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self, name: str = "broker") -> None:
        """Start the broker with a certificate, and wait until it listens."""
        assert MOSQUITTO is not None
        config = self.folder / "mosquitto.conf"
        config.write_text(CONFIG.format(port=self.port, folder=self.folder, name=name))
        words = [MOSQUITTO, "-c", str(config)]
        self._process = subprocess.Popen(words, stdout=self._log, stderr=self._log)  # noqa: S603 - Debian's
        assert until(self._listens), "the broker does not listen"

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """Kill the broker: to a client the network is cut."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def close(self) -> None:
        """Kill the broker and close its log."""
        self.kill()
        self._log.close()

    def config(self, **values: Any) -> MqttConfig:  # noqa: ANN401 - of the section
        """Return the configuration section for this broker."""
        section: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "topic": "fleet",
            "ca": str(self.folder / "broker.pem"),
            "user": USER,
            "password_file": str(self.folder / "password"),
        }
        return MqttConfig(**(section | values))


class Listener:
    """A paho client that has subscribed to everything."""

    def __init__(self, broker: Broker) -> None:
        self.received: list[tuple[str, dict[str, Any]]] = []  # topic, payload
        self._ready = threading.Event()
        client = Client(CallbackAPIVersion.VERSION2, client_id="listener", clean_session=False)
        client.username_pw_set(USER, PASSWORD)
        client.tls_set(str(broker.folder / "broker.pem"))
        client.reconnect_delay_set(1, 1)
        client.on_connect = self._subscribe
        client.on_subscribe = lambda *_: self._ready.set()
        client.on_message = self._on_message
        client.connect_async("127.0.0.1", broker.port)
        client.loop_start()
        self._client = client
        assert self._ready.wait(10.0), "the broker does not acknowledge the subscription"

    def _subscribe(self, client: Client, *_more: object) -> None:
        client.subscribe("#", qos=1)

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self.received.append((message.topic, json.loads(message.payload)))

    def first(self) -> list[dict[str, Any]]:
        """Return the received messages in their order, without repeats."""
        seen, found = set(), []
        for _, one in [*self.received]:
            key = one["serial"], one["boot"], one["sequence"]
            if key not in seen:
                seen.add(key)
                found.append(one)
        return found

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()
