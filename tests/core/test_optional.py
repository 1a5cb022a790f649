# SPDX-License-Identifier: Apache-2.0
"""A package that is absent is one sentence, with a command that works in this installation."""

import os
import shlex
import sys
from importlib import metadata, util

import pytest

from dronebms.core.errors import ConfigError
from dronebms.core.optional import needed_by


def sentence(extra: str) -> str:
    with pytest.raises(ConfigError) as caught, needed_by("[mqtt] needs", extra):
        raise ModuleNotFoundError(name="paho")
    return str(caught.value)


def test_the_command_installs_the_packages_of_the_extra_with_the_pip_of_this_environment() -> None:
    start, _, command = sentence("fleet").partition(": ")
    assert start == "[mqtt] needs paho"
    words = shlex.split(command)
    assert words[:4] == [sys.executable, "-m", "pip", "install"]
    assert [word.partition(">")[0].partition("[")[0] for word in words[4:]] == [
        "psycopg",
        "sqlalchemy",
    ]


def test_an_environment_without_pip_is_one_of_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "find_spec", lambda _: None)
    assert f": uv pip install --python {sys.executable} 'paho-mqtt>=" in sentence("mqtt")


def test_an_environment_of_another_user_needs_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert f": sudo {sys.executable} -m pip install " in sentence("mqtt")


def test_a_copy_of_the_source_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> list[str]:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "requires", absent)
    assert sentence("mqtt") == "[mqtt] needs paho: install the extra mqtt"
