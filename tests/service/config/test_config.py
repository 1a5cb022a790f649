# SPDX-License-Identifier: Apache-2.0
"""The configuration: valid values, and one sentence for each error."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from dronebms.core.chemistry import LI_ION, LIPO
from dronebms.core.errors import ConfigError
from dronebms.core.known_cells import known_cell
from dronebms.core.pack_data import PackData
from dronebms.core.report import GOVERNOR, Action, ActionKind, Severity
from dronebms.core.toml_schema import Section, read_text, validated
from dronebms.protection.limits import LimitChange, every_limit
from dronebms.service.config import Config, read_config
from dronebms.service.config.battery_config import by_adapter
from smartbattery.profiles import PROFILES

WHOLE = """
[[battery]]
bus = "/dev/i2c-1"
address = 0x0c
cells = 6
capacity_mah = 16000
chemistry = "li-ion"
cutoff_cell_v = 3.1

[[battery]]
bus = "sim:survey"

[mavlink]
url = "udpin:0.0.0.0:14550"
system_id = 7
vehicle = "px4"

[status]
socket = "/run/x.sock"

[recording]
dir = "/var/lib/dronebms"

[state]
dir = "/srv/packs"

[[limit]]
id = "cell_critical"
trip = 3.05
severity = "emergency"

[[limit]]
id = "current_60s"
trip = 45.0
clear = 40.0
hold_s = 1
clear_s = 2.5
"""
BATTERY = '[[battery]]\nbus = "/dev/i2c-1"\n'


def read(text: str) -> Config:
    return validated(Config, text, "x.toml")


def complaints(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [line.removeprefix("x.toml: ") for line in str(caught.value).splitlines()]


def test_a_whole_configuration_is_read() -> None:
    config = read(WHOLE)
    first, second = config.battery
    assert (first.bus, first.address) == ("/dev/i2c-1", 0x0C)
    assert first.pack_data() == PackData(LI_ION, 6, 16000.0, 3.1)
    assert second.pack_data() == PackData(LIPO)
    assert (config.vehicle_link.url, config.vehicle_link.system_id) == ("udpin:0.0.0.0:14550", 7)
    assert config.vehicle_link.vehicle == "px4"
    assert config.status is not None
    assert config.recording is not None
    assert config.state is not None
    assert config.vehicle_dir == Path(config.state.dir) == Path("/srv/packs")
    assert config.limit_changes() == (
        LimitChange("cell_critical", trip=3.05, severity=Severity.EMERGENCY),
        LimitChange("current_60s", 45.0, 40.0, 1.0, 2.5),
    )


def test_packs_have_their_model_and_the_name_of_the_vehicle() -> None:
    config = read(
        BATTERY
        + 'pack_model = "P22"\n'
        + BATTERY
        + 'address = 0x0c\n[vehicle]\nname = "lifter 2"\n'
    )
    assert [(pack.pack_model, pack.vehicle) for pack in config.pack_data()] == [
        ("P22", "lifter 2"),
        (None, "lifter 2"),
    ]
    assert [pack.vehicle for pack in read(BATTERY).pack_data()] == [None]


def test_packs_without_a_serial_number_have_names_of_their_own() -> None:
    two = BATTERY + 'pack_id = "blue"\n' + BATTERY + 'address = 0x0c\npack_id = "{}"\n'
    assert [pack.pack_id for pack in read(two.format("red")).pack_data()] == ["blue", "red"]
    assert complaints(two.format("blue")) == ["battery.1 and battery.2: same pack_id 'blue'"]


def test_a_known_cell_gives_its_chemistry() -> None:
    (pack,) = read(BATTERY + 'cell = "p42a"\ncapacity_mah = 16800\n').pack_data()
    assert (pack.cell, pack.chemistry) == ("P42A", LI_ION)
    assert pack.curve == replace(LI_ION, ocv_v=known_cell("P42A").ocv_v)


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ('cell = "P42"', "battery.1.cell: expected one of 9 cells with a measured curve"),
        ("cell = 42", "battery.1.cell: expected a valid string, not 42"),
        ('cell = "VTC6"\nchemistry = "lipo"', "battery.1: expected chemistry li-ion for cell"),
        ('cell = "VTC6"\ncapacity_mah = 4200', "battery.1: expected capacity_mah of VTC6 cells"),
    ],
)
def test_a_cell_that_contradicts_is_refused(keys: str, complaint: str) -> None:
    assert complaints(f"{BATTERY}{keys}\n")[0].startswith(complaint)


@pytest.mark.parametrize("name", ["", " ", "x" * 201, "a\\u0007b", "a\\nb"])
def test_a_name_that_cannot_be_shown_is_refused(name: str) -> None:
    assert complaints(BATTERY + f'pack_model = "{name}"\n')[0].startswith("battery.1.pack_model: ")
    assert complaints(BATTERY + f'[vehicle]\nname = "{name}"\n')[0].startswith("vehicle.name: ")


def test_the_kinds_of_actions_include_escalations_and_no_reports() -> None:
    rows = (
        '[[action]]\non = "hot"\ndo = "announce"\n'
        '[[action]]\non = "critical"\ndo = "return"\nescalate = "land"\n'
    )
    assert read(BATTERY + rows).action_kinds() == {ActionKind.RETURN, ActionKind.LAND}


def test_a_missing_key_has_the_documented_default() -> None:
    config = read(BATTERY)
    (battery,) = config.battery
    assert (battery.address, battery.gauge, battery.chemistry) == (0x0B, "auto", "lipo")
    assert config.vehicle_link.url == "udpout:127.0.0.1:14550"
    assert (config.vehicle_link.system_id, config.vehicle_link.vehicle) == (None, "auto")
    assert config.vehicle_link.component_id == 191
    assert (config.status, config.recording, config.limit_changes()) == (None, None, ())
    assert config.action_kinds() == frozenset()
    assert (config.state, config.vehicle_dir) == (None, Path("/var/lib/dronebms"))


def test_all_errors_are_reported_at_once_one_sentence_each() -> None:
    text = """
colour = "red"

[[battery]]
buss = "/dev/i2c-1"
cells = 0
chemistry = "nimh"

[[battery]]
bus = "i2c-1"
address = 0x80
cutoff_cell_v = 33.0

[mavlink]
url = 14550
system_id = 0

[[limit]]
id = "hott"
severity = "bad"
"""
    assert complaints(text) == [
        "battery.1.bus is needed",
        "battery.1.cells: expected greater than or equal to 1, not 0",
        "battery.1.chemistry: expected one of lipo, lihv, li-ion, lifepo4, not 'nimh'",
        "battery.1.buss is not a known key; the nearest is bus",
        'battery.2.bus: expected a device such as "/dev/i2c-1", "mavlink:0", "dronecan:URL#ID" or '
        '"sim:SCENARIO", '
        "not 'i2c-1'",
        "battery.2.address: expected less than or equal to 119, not 128",
        "battery.2.cutoff_cell_v: expected 1.5 to 4.2 V, not 33.0",
        "mavlink.url: expected a valid string, not 14550",
        "mavlink.system_id: expected greater than or equal to 1, not 0",
        "limit.1.id: expected one of 70 names, of which hot is the nearest, not 'hott'",
        "limit.1.severity: expected one of info, warning, critical, emergency, not 'bad'",
        "colour is not a known key; known are battery, mavlink, vehicle, status, recording, state, "
        "limit, action, charger, metrics, mqtt, dronecan, topology",
    ]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("cells = 6.5", "battery.1.cells: expected a valid integer, not 6.5"),
        ("cells = true", "battery.1.cells: expected a valid integer, not True"),
        ('cells = "6"', "battery.1.cells: expected a valid integer, not '6'"),
        ("cells = 33", "battery.1.cells: expected less than or equal to 32, not 33"),
        ("cells = 17", "battery.1: expected cells of at most 16, which gauge auto measures"),
        (
            'gauge = "bq40z50"\ncells = 5',
            "battery.1: expected cells of at most 4, which gauge bq40z50 measures",
        ),
        ("capacity_mah = nan", "battery.1.capacity_mah: expected a finite number, not nan"),
        ("capacity_mah = inf", "battery.1.capacity_mah: expected a finite number, not inf"),
        ("capacity_mah = 0", "battery.1.capacity_mah: expected 50 to 655340 mAh, not 0"),
        (
            "capacity_mah = 16",
            "battery.1.capacity_mah: expected 50 to 655340 mAh (in ampere-hours? then write 16000)",
        ),
        ("address = 0x02", "battery.1.address: expected greater than or equal to 3, not 2"),
        (
            'gauge = "bq4050"',
            "battery.1.gauge: expected one of auto, generic, bq40z50, bq40z80, bq41z50, bq41z90, "
            "rotoye, maxell, neodesign, solo, solo6, sui, not 'bq4050'",
        ),
        (
            "cutoff_cell_v = 3300",
            "battery.1.cutoff_cell_v: expected 1.5 to 4.2 V (in millivolts? then write 3.3), not",
        ),
        ("serial = 1", "battery.1.serial is not a known key; known are bus, "),
    ],
)
def test_a_value_of_the_wrong_kind_or_size_is_named_with_what_was_expected(
    line: str, complaint: str
) -> None:
    (sentence,) = complaints(f"{BATTERY}{line}\n")
    assert sentence.startswith(complaint)


MUX = "mux_address = 0x{:02x}\nmux_channel = {}\n"


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("mux_address = 0x70", "battery.1: expected both mux_address and mux_channel, or"),
        ("mux_channel = 0", "battery.1: expected both mux_address and mux_channel, or neither"),
        (MUX.format(0x6F, 0), "battery.1.mux_address: expected 0x70 to 0x77, not 111"),
        (
            MUX.format(0xE0, 0),
            "battery.1.mux_address: expected 0x70 to 0x77 (0xe0 is the 8-bit form of 0x70), not",
        ),
        (MUX.format(0x70, 8), "battery.1.mux_channel: expected less than or equal to 7, not 8"),
        (MUX.format(0x70, -1), "battery.1.mux_channel: expected greater than or equal to 0, not"),
        (
            "address = 0x70\n" + MUX.format(0x70, 1),
            "battery.1: expected different addresses of the",
        ),
        ("recovery = []", "battery.1.recovery: expected at least 1 item"),
        ('recovery = "reboot"', "battery.1.recovery: expected a valid list, not 'reboot'"),
        ('recovery = [""]', "battery.1.recovery.1: expected at least 1 character"),
        (r'recovery = ["a\u0000"]', "battery.1.recovery.1: expected a text without NUL"),
        ("gauge = 40", "battery.1.gauge: expected a valid string, not 40"),
    ],
)
def test_an_impossible_address_of_a_pack_is_rejected(lines: str, complaint: str) -> None:
    (sentence,) = complaints(f"{BATTERY}{lines}\n")
    assert sentence.startswith(complaint)


@pytest.mark.parametrize("lines", [MUX.format(0x70, 0), 'recovery = ["true"]'])
def test_a_simulated_bus_has_neither_multiplexer_nor_recovery(lines: str) -> None:
    (sentence,) = complaints(f'[[battery]]\nbus = "sim:survey"\n{lines}\n')
    assert sentence == "battery.1: expected neither mux_address nor recovery with a simulated bus"


@pytest.mark.parametrize("name", [row.name for row in PROFILES])
def test_every_gauge_profile_is_accepted(name: str) -> None:
    (battery,) = read(f'{BATTERY}gauge = "{name}"\n').battery
    assert battery.gauge == name


SAME = "same bus and address 0x0b"
COLLIDE = "address 0x0b before and behind a multiplexer; both would answer at once"


@pytest.mark.parametrize(
    ("first", "second", "complaint"),
    [
        ("", "", SAME),
        (MUX.format(0x71, 3), MUX.format(0x71, 3), SAME),
        ("", MUX.format(0x71, 3), COLLIDE),
        (MUX.format(0x71, 3), "", COLLIDE),
        (MUX.format(0x71, 3), "address = 0x71\n", "a pack has the address of a multiplexer"),
        (
            'recovery = ["a"]\n',
            'address = 0x0c\nrecovery = ["b"]\n',
            "one bus with two recovery programs",
        ),
    ],
)
def test_two_batteries_that_cannot_be_read_together_are_rejected(
    first: str, second: str, complaint: str
) -> None:
    sim = '[[battery]]\nbus = "sim:survey"\n'
    (sentence,) = complaints(f"{BATTERY}{first}{sim}{BATTERY}{second}")
    assert sentence == f"battery.1 and battery.3: {complaint}"


def test_the_batteries_of_one_adapter_are_grouped() -> None:
    bus_2, sim = BATTERY.replace("i2c-1", "i2c-2"), BATTERY.replace("/dev/i2c-1", "sim:hover")
    batteries = (
        BATTERY + MUX.format(0x70, 0) + 'recovery = ["usb-reset", "1-1"]\n',
        BATTERY + MUX.format(0x70, 1),
        sim,
        bus_2,
        BATTERY + MUX.format(0x71, 0),
        sim,
        BATTERY + "address = 0x0c\n",
        bus_2 + "address = 0x0c\n",
    )
    config = read("".join(batteries))
    adapters = [[index for index, _ in members] for members in by_adapter(config.battery)]
    assert adapters == [[0, 1, 4, 6], [2], [3, 7], [5]]
    assert [battery.place for battery in config.battery][:3] == [
        "/dev/i2c-1 address 0x0b channel 0 of 0x70",
        "/dev/i2c-1 address 0x0b channel 1 of 0x70",
        "sim:hover address 0x0b",
    ]
    assert config.battery[0].recovery == ["usb-reset", "1-1"]


MONITOR = '[[battery]]\nbus = "mavlink:0"\ncells = 6\n'
LINK = '[mavlink]\nurl = "udpin:0.0.0.0:14555"\n'


@pytest.mark.parametrize("number", [0, 15])
def test_a_monitor_of_the_autopilot_is_a_bus(number: int) -> None:
    config = read(MONITOR.replace("mavlink:0", f"mavlink:{number}") + BATTERY + LINK)
    assert [battery.monitor for battery in config.battery] == [number, None]
    assert [battery.is_wired for battery in config.battery] == [False, True]
    assert config.battery[0].place == f"battery monitor {number} of the autopilot"
    assert [[index for index, _ in members] for members in by_adapter(config.battery)] == [[1]]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        *[
            (
                f'[[battery]]\nbus = "mavlink:{number}"\ncells = 6\n{LINK}',
                'battery.1.bus: expected "mavlink:0" to "mavlink:15", a monitor of the autopilot, '
                f"not 'mavlink:{number}'",
            )
            for number in ("x", "", "-1", "00", "16", "255")
        ],
        (MONITOR, "[mavlink] url in addition to a bus mavlink:N"),
        (
            f'[[battery]]\nbus = "mavlink:0"\n{LINK}',
            "battery.1: expected cells in addition to a monitor of the autopilot",
        ),
        *[
            (
                f"{MONITOR}{key} = {value}\n{LINK}",
                f"battery.1: expected no {key} with a monitor of the autopilot",
            )
            for key, value in (("address", "11"), ("gauge", '"generic"'), ("recovery", '["true"]'))
        ],
        (
            MONITOR * 2 + LINK,
            "battery.1 and battery.2: same battery monitor 0 of the autopilot",
        ),
    ],
)
def test_a_monitor_that_cannot_be_read_is_refused(text: str, complaint: str) -> None:
    assert complaints(text) == [complaint]


@pytest.mark.parametrize("bus", ["", "sim:", "dev/i2c-1", "COM3", "simulation"])
def test_a_bus_is_a_device_or_a_simulation(bus: str) -> None:
    (sentence,) = complaints(f'[[battery]]\nbus = "{bus}"\n')
    assert sentence.endswith(
        'a device such as "/dev/i2c-1", "mavlink:0", "dronecan:URL#ID" or "sim:SCENARIO", '
        f"not {bus!r}"
    )


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ('id = "hot"\ntrip = 50.0\nclear = 55.0', "limit.1: clear 55 must be below trip"),
        ('id = "cold"\ntrip = 5.0\nclear = 1.0', "limit.1: clear 1 must be above trip 5"),
        ('id = "current_2s"\ntrip = 9.0\nclear = 9.0', "limit.1: clear 9 must be below"),
        ('id = "hot"\ntrip = nan', "limit.1.trip: expected a finite number, not nan"),
        ('id = "hot"\nhold_s = -1', "limit.1.hold_s: expected 0 to 60 s, not -1"),
        ('id = "hot"\nseverity = "ok"', "limit.1.severity: expected one of info, warning"),
        ('id = "hot"\nseverity = 3', "limit.1.severity: expected a valid string, not 3"),
        ("trip = 3.0", "limit.1.id is needed"),
        ('id = "hot"\nlevel = 3.0', "limit.1.level is not a known key; known are id, trip, "),
    ],
)
def test_an_impossible_change_of_a_limit_is_rejected(lines: str, complaint: str) -> None:
    (sentence,) = complaints(f"{BATTERY}[[limit]]\n{lines}\n")
    assert sentence.startswith(complaint)


def test_a_socket_path_that_is_too_long_is_rejected() -> None:
    (sentence,) = complaints(f'{BATTERY}[status]\nsocket = "/{"a" * 107}"\n')
    assert sentence.startswith("status.socket: expected a path of at most 107 bytes, not '/aaa")


@pytest.mark.parametrize("section", ["state", "recording"])
def test_a_socket_needs_a_path_that_is_no_folder_of_the_configuration(section: str) -> None:
    def text(folder: str) -> str:
        return f'{BATTERY}[status]\nsocket = "/run/x"\n[{section}]\ndir = "{folder}"\n'

    for folder in ("/run/x", "/run/x/y"):
        wrong = f"another path for status.socket: /run/x is a folder of {section}.dir"
        assert complaints(text(folder)) == [wrong]
    for folder in ("/run", "/run/xy"):
        assert read(text(folder)).status is not None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "battery is needed"),
        ("battery = []\n", "battery: expected at least 1 item"),
        ("battery = 1\n", "battery: expected a valid list, not 1"),
        ('[[battery]]\nbus = "sim:hover"\n' * 17, "battery: expected at most 16 items"),
        (
            BATTERY.replace("[[battery]]", "[battery]"),
            "battery: expected [[battery]] in place of [battery]: there may be several",
        ),
        (
            BATTERY + '[[state]]\ndir = "x"\n',
            "state: expected [state] in place of [[state]]: there is one",
        ),
        (
            BATTERY + "[status]\nbaud = 57600\n",
            "status.baud is not a known key; known are socket",
        ),
        ('battery = ["sim:hover"]\n', "battery.1: expected a table of keys, not 'sim:hover'"),
        (BATTERY + '[state]\ndir = ""\n', "state.dir: expected at least 1 character, not ''"),
        (
            BATTERY + '[mavlink]\nurl = "udpout:..:14550"\n',
            "mavlink.url: '..' is neither an address nor a host name",
        ),
        (BATTERY + "[recording]\n", "recording.dir is needed"),
        (BATTERY + '[mavlink]\nvehicle = "dji"\n', "mavlink.vehicle: expected 'auto', 'ardupilot'"),
        (BATTERY + "mavlink = 1\n", "battery.1.mavlink is not a known key"),
        ("bus = \n", "x.toml is not TOML: Invalid value (at line 1, column 7)"),
        ("a = 1\na = 2\n", "x.toml is not TOML: Cannot overwrite a value (at line 2"),
    ],
)
def test_a_file_of_the_wrong_form_is_rejected(text: str, complaint: str) -> None:
    (sentence,) = complaints(text)
    assert sentence.startswith(complaint)


def test_a_file_of_an_editor_of_windows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(b"\xef\xbb\xbf" + BATTERY.replace("\n", "\r\n").encode())
    assert read_config(path) == read(BATTERY)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "absent.toml", "cannot be read: No such file or directory"),
        (tmp_path, "cannot be read: Is a directory"),
    ):
        with pytest.raises(ConfigError, match=f"{path} {reason}"):
            read_config(path)
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"# caf\xe9\n")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        read_text(latin)
    good = tmp_path / "good.toml"
    good.write_text(WHOLE, encoding="utf-8")
    assert read_config(good) == read(WHOLE)


def test_the_message_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("[mavlink]\n")
    with pytest.raises(ConfigError, match=f"^{path}: battery is needed$"):
        read_config(path)


# ---------------------------------------------------------------------- any model


class Leaf(Section):
    """A table in a list in a table, one of whose keys has another name in the file."""

    depth_m: int = Field(alias="depth", default=1)


class Tree(Section):
    """A file."""

    leaves: Annotated[tuple[Leaf, ...] | None, Field(strict=False)] = None
    name: str


def test_the_nearest_key_is_one_of_the_same_table_by_its_name_in_the_file() -> None:
    with pytest.raises(ConfigError) as caught:
        validated(Tree, "name = 'x'\n[[leaves]]\ndeth = 3\n", "tree", {"name": "y"})
    assert str(caught.value).endswith("leaves.1.deth is not a known key; the nearest is depth")


def test_defaults_apply_to_missing_keys_only() -> None:
    assert validated(Tree, "", "tree", {"name": "y"}).name == "y"
    assert validated(Tree, "name = 'x'", "tree", {"name": "y"}).name == "x"


def test_a_link_to_an_adapter_is_the_adapter(tmp_path: Path) -> None:
    # A bus must begin with /dev/, so the link is reached through it.
    (tmp_path / "battery-bus").symlink_to("/dev/i2c-1")
    link = BATTERY.replace("/dev/i2c-1", f"/dev/..{tmp_path}/battery-bus")
    (sentence,) = complaints(BATTERY + link)
    assert sentence.endswith(SAME)
    config = read(BATTERY + link + "address = 0x0c\n")
    assert len(by_adapter(config.battery)) == 1


# ---------------------------------------------------------------------- actions


def with_action(text: str) -> str:
    return f'[[battery]]\nbus = "sim:survey"\n[[action]]\n{text}'


def test_an_action_is_read_as_configured(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(
        with_action(
            'on = "critical"\ndo = "return"\nhold_s = 4.0\nescalate = "land"\n'
            '[[action]]\non = "hot"\ndo = "reduce"\nspeed_m_s = 5.0\n'
            '[[action]]\non = "governor"\ndo = "reduce"\n'
        )
    )
    assert [row.action() for row in read_config(path).action] == [
        Action(Severity.CRITICAL, ActionKind.RETURN, hold_s=4.0, escalate=ActionKind.LAND),
        Action("hot", ActionKind.REDUCE, speed_m_s=5.0),
        Action(GOVERNOR, ActionKind.REDUCE),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('on = "ok"\ndo = "land"', "action.1.on: expected one of 75 names"),
        ('on = "hot"\ndo = "shutdown"', "action.1.do: expected one of report, announce, reduce"),
        ('on = "hot"\ndo = "land"\nescalate = "return"', "escalate that is more urgent"),
        ('on = "hot"\ndo = "announce"\nescalate = "land"', "escalate that is more urgent"),
        ('on = "hot"\ndo = "land"\nspeed_m_s = 3.0', "with do = reduce only"),
        ('on = "hot"\ndo = "land"\nretries = -1', "action.1.retries"),
    ],
)
def test_an_impossible_action_is_rejected(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(with_action(text))
    with pytest.raises(ConfigError, match=why):
        read_config(path)


@pytest.mark.parametrize("do", ["return", "land"])
@pytest.mark.parametrize("limit_id", [k for k, v in every_limit().items() if v.severity == 1])
def test_no_mode_is_commanded_on_a_limit_that_is_no_alarm(limit_id: str, do: str) -> None:
    action = f'[[action]]\non = "{limit_id}"\ndo = "{do}"\n'
    assert complaints(BATTERY + action) == [
        f"action.1: do = {do} on {limit_id}, which is info and no alarm: "
        f"give limit {limit_id} a severity of warning or worse"
    ]
    alarm = f'[[limit]]\nid = "{limit_id}"\nseverity = "warning"\n'
    assert read(BATTERY + alarm + action).action[0].on == limit_id


def test_the_time_that_is_reported_is_configurable() -> None:
    assert read(BATTERY).vehicle_link.report_time is None
    for choice in ("median", "low"):
        assert (
            read(BATTERY + f'[mavlink]\nreport_time = "{choice}"\n').vehicle_link.report_time
            == choice
        )
    assert complaints(BATTERY + '[mavlink]\nreport_time = "mean"\n') == [
        "mavlink.report_time: expected 'median' or 'low', not 'mean'"
    ]


def test_the_systems_whose_requests_are_answered_are_configurable() -> None:
    assert read(
        BATTERY + "[mavlink]\naccept_systems = [254, 255]\n"
    ).vehicle_link.accept_systems == ((254, 255))
    for wrong in ("[0]", "[256]", '["255"]', "[1.5]", "255"):
        assert complaints(BATTERY + f"[mavlink]\naccept_systems = {wrong}\n")


def test_a_load_of_the_vehicle_that_the_pack_never_supplies_is_rejected() -> None:
    pack = BATTERY + "capacity_mah = 5000\nburst_c = 20.0\n"
    assert read(pack + "limp_home_a = 100.0\n").battery[0].limp_home_a == 100.0
    assert complaints(pack + "limp_home_a = 101.0\n") == [
        "battery.1: expected limp_home_a of at most 100 A, the pack's current for 10 s"
    ]


def test_the_rating_of_the_pack_and_the_load_of_the_vehicle_are_configurable() -> None:
    rating = "continuous_c = 25.0\nburst_c = 50.0\nlimp_home_a = 41.0\n"
    config = read(BATTERY + rating + 'cells = 6\n[charger]\ncommand = ["charge", "-v"]\n')
    pack_data = config.battery[0].pack_data()
    assert (pack_data.continuous_c, pack_data.burst_c, pack_data.limp_home_a) == (25.0, 50.0, 41.0)
    assert config.charger is not None
    assert config.charger.command == ["charge", "-v"]
    assert (read(BATTERY).charger, read(BATTERY).topology) == (None, "parallel")
    assert read('topology = "series"\n' + BATTERY).topology == "series"
    assert complaints(BATTERY + "continuous_c = 9.0\nburst_c = 5.0\n") == [
        "battery.1: expected burst_c >= continuous_c"
    ]
    assert config.battery[0].pack_data() == PackData(
        LIPO, cells=6, continuous_c=25.0, burst_c=50.0, limp_home_a=41.0
    )
    plan = read(BATTERY + "planned_s = 900\nhover_a = 35\n").battery[0].pack_data()
    assert (plan.planned_s, plan.hover_a) == (900.0, 35.0)
    assert read(BATTERY + "planned_s = 900.0\nlimp_home_a = 38.0\n").battery[0].planned_s == 900.0
    assert complaints(BATTERY + "planned_s = 900.0\n") == [
        "battery.1: expected hover_a or limp_home_a in addition to planned_s"
    ]
    assert complaints(BATTERY + 'planned_s = 0\nhover_a = "35"\n') == [
        "battery.1.hover_a: expected a valid number, not '35'",
        "battery.1.planned_s: expected 30 to 86400 s, not 0",
    ]
    assert complaints('topology = "ring"\n' + BATTERY) == [
        "topology: expected one of parallel, series, not 'ring'"
    ]
    assert complaints(BATTERY + "[charger]\ncommand = []\n")


def test_limits_that_contradict_each_other_are_rejected_with_the_reason() -> None:
    (line,) = complaints(BATTERY + '[[limit]]\nid = "hot"\ntrip = 65.0\n')
    assert line == (
        "limit 'hot_critical' is critical and trips at 60, before 'hot', which is warning, at 65"
    )
    both = '[[limit]]\nid = "hot"\ntrip = 61.0\n[[limit]]\nid = "hot_critical"\ntrip = 65.0\n'
    assert len(read(BATTERY + both).limit) == 2
