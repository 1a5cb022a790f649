# SPDX-License-Identifier: Apache-2.0
"""Installation of the Lua driver; an edited file is not overwritten."""

from pathlib import Path

import pytest

from dronebms.core import bounded_input
from dronebms.core.errors import ConfigError
from mavlink_bridge.protocol.lua_driver import write_script
from tests.mavlink_bridge.lua_host import LuaHost, needs_lua, those
from tests.special_files import special_file


def test_the_driver_is_written_and_written_again(tmp_path: Path) -> None:
    path = write_script(tmp_path)
    assert path == tmp_path / "dronebms.lua"
    first = path.read_bytes()
    assert write_script(tmp_path).read_bytes() == first


@needs_lua
def test_the_installed_driver_runs(tmp_path: Path) -> None:
    with LuaHost(write_script(tmp_path)) as vehicle:
        assert those(vehicle.start(), "text") == ["5 dronebms: driver 2 started"]


@pytest.mark.parametrize("change", [b"-- mine\n", b"\xff", b"\n"])
def test_an_edited_driver_is_not_replaced_unless_forced(tmp_path: Path, change: bytes) -> None:
    path = write_script(tmp_path)
    shipped = path.read_bytes()
    path.write_bytes(shipped + change)
    with pytest.raises(ConfigError, match="was edited after installation; --force replaces it"):
        write_script(tmp_path)
    assert path.read_bytes() == shipped + change
    assert write_script(tmp_path, force=True).read_bytes() == shipped


def test_another_script_of_that_name_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "dronebms.lua").write_text("return 1\n")
    with pytest.raises(ConfigError, match="was edited"):
        write_script(tmp_path)


@pytest.mark.parametrize("kind", ["zeros", "pipe", "folder", "long"])
def test_a_file_of_another_kind_in_its_place_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(bounded_input, "_WAIT_S", 0.05)
    (tmp_path / "dronebms.lua").symlink_to(special_file(tmp_path, kind))
    with pytest.raises(ConfigError, match=r"dronebms\.lua cannot be replaced: "):
        write_script(tmp_path)


def test_an_older_release_of_the_driver_is_replaced(tmp_path: Path) -> None:
    path = write_script(tmp_path)
    old = path.read_text().partition("\n")[2].replace("VERSION = 2", "VERSION = 0")
    from mavlink_bridge.protocol.lua_driver import _marked  # noqa: PLC0415 - the mark of an older release

    path.write_text(f"{_marked(old)}\n{old}")
    assert "VERSION = 2" in write_script(tmp_path).read_text()


@pytest.mark.parametrize("place", ["missing", "file/inside"])
def test_a_missing_folder_is_a_configuration_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be"):
        write_script(tmp_path / place)


def test_a_folder_with_the_name_of_the_driver_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "dronebms.lua").mkdir()
    with pytest.raises(ConfigError, match="cannot be replaced"):
        write_script(tmp_path)
