"""Rules of the design that import-linter and ruff cannot see: what a fresh interpreter loads."""

import subprocess
import sys

import pytest


def loaded_by(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after running `code`."""
    words = (sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)")
    done = subprocess.run(words, check=True, capture_output=True, text=True)  # noqa: S603 - ours
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "dronebms.core.report",
        "mavlink_bridge.protocol.messages",
        "dronebms.telemetry.status_socket",
    ],
)
def test_a_value_and_its_encoders_load_neither_numpy_nor_the_estimator(module: str) -> None:
    loaded = loaded_by(f"import {module}")
    assert module in loaded
    assert not {"numpy", "dronebms.estimation.estimator"} & loaded


def test_the_command_line_starts_without_extras_and_commands() -> None:
    loaded = loaded_by("import dronebms.cli.main")
    heavy = {"dask", "paho", "prometheus_client", "matplotlib", "sqlalchemy", "pydantic", "rich"}
    assert not heavy & loaded


def test_a_service_with_real_packs_carries_no_simulation() -> None:
    assert not {"sim", "numpy.random"} & loaded_by("import dronebms.cli.run")
