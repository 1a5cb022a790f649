# SPDX-License-Identifier: Apache-2.0
"""Transfers as values: each is restored from its JSON, and junk is refused."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartbattery import errors
from smartbattery.bus_trace import PlaybackBus, RecordingBus, Transfer
from smartbattery.errors import BatteryError, BusError, IntegrityError, NackError

KINDS = tuple(
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, BatteryError)
)
GOOD = Transfer(0x0B, b"\x09", 3, bytes.fromhex("d0 39 7e"))
REFUSED = Transfer(0x0B, b"\x39", 3, None, "NackError", "0x0b: no answer")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
HEX = st.binary(max_size=40).map(bytes.hex)


class Broken:
    """A bus that always fails in one way."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:  # noqa: ARG002 - a Bus
        """Fail."""
        raise self._error


def through_json(transfer: Transfer) -> Transfer:
    return Transfer.from_json(json.loads(json.dumps(transfer.to_json())))


# ------------------------------------------------------------------------- as JSON


def test_a_transfer_that_happened_is_four_short_values() -> None:
    assert GOOD.to_json() == [11, "09", 3, "d0397e"]


@settings(deadline=None)
@given(
    address=st.integers(0, 0x7F),
    tx=st.binary(max_size=40),
    rx_len=st.integers(0, 40),
    reply=st.binary(max_size=40),
)
def test_a_transfer_that_happened_comes_back(
    address: int, tx: bytes, rx_len: int, reply: bytes
) -> None:
    transfer = Transfer(address, tx, rx_len, reply)
    assert through_json(transfer) == transfer


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_of_every_kind_is_recorded_and_played_back(kind: type[BatteryError]) -> None:
    recorded: list[Transfer] = []
    with pytest.raises(kind):
        RecordingBus(Broken(kind("it is so, é")), recorded.append).transfer(0x0B, b"\x09", 3)
    playback = PlaybackBus([through_json(transfer) for transfer in recorded])
    with pytest.raises(kind, match=r"^it is so, é$") as caught:
        playback.transfer(0x0B, b"\x09", 3)
    assert type(caught.value) is kind


def test_there_are_kinds_to_record() -> None:
    assert len(KINDS) >= 7
    assert {"NackError", "BusAbsentError"} <= {kind.__name__ for kind in KINDS}


@settings(deadline=None)
@given(junk=JSON)
def test_junk_is_refused_or_is_a_transfer(junk: object) -> None:
    try:
        transfer = Transfer.from_json(junk)
    except IntegrityError as error:
        text = str(error)
    else:
        text = "not a transfer: " if transfer.to_json() == junk else "something else"
    assert text.startswith("not a transfer: ")
    assert len(text) < 100


@settings(deadline=None)
@given(row=st.tuples(JSON, HEX | JSON, JSON, HEX | JSON).map(list))
def test_four_values_of_any_kind_are_refused_or_are_a_transfer(row: list[object]) -> None:
    try:
        transfer = Transfer.from_json(row)
    except IntegrityError:
        assert not all(type(row[k]) is kind for k, kind in enumerate((int, str, int, str))) or (
            not is_hex(row[1]) or not is_hex(row[3])
        )
    else:
        assert through_json(transfer) == transfer


def is_hex(text: object) -> bool:
    try:
        bytes.fromhex(str(text))
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    "row",
    [
        [11, "09", 3],
        [11, "09", 3, "d0397e", "more"],
        [11, "0", 3, "d0397e"],
        [11, "09", 3, "no hex"],
        [11, "zz", 3, None, "NackError", ""],
        [11, "09", 3, None, "KeyError", ""],
        [11, "09", 3, None, "NackError"],
        ["11", "09", 3, "d0397e"],
        [11.0, "09", 3, "d0397e"],
        [11, "09", None, "d0397e"],
        {"address": 11},
        "transfer",
        None,
    ],
)
def test_what_is_nearly_a_transfer_is_refused(row: object) -> None:
    with pytest.raises(IntegrityError):
        Transfer.from_json(row)


# ------------------------------------------------------------------------- recording


def test_a_recorder_passes_transfers_on_and_keeps_their_order() -> None:
    recorded: list[Transfer] = []
    bus = RecordingBus(PlaybackBus([GOOD, REFUSED, GOOD]), recorded.append)
    assert bus.transfer(0x0B, b"\x09", 3) == GOOD.reply
    with pytest.raises(NackError):
        bus.transfer(0x0B, b"\x39", 3)
    assert bus.transfer(0x0B, b"\x09", 3) == GOOD.reply
    assert recorded == [GOOD, REFUSED, GOOD]


def test_programming_errors_are_not_recorded_as_transfers() -> None:
    recorded: list[Transfer] = []
    with pytest.raises(TypeError):
        RecordingBus(Broken(TypeError("ours")), recorded.append).transfer(0x0B, b"\x09", 3)
    assert recorded == []


# ------------------------------------------------------------------------- playing back


@pytest.mark.parametrize(
    "question", [(0x0C, b"\x09", 3), (0x0B, b"\x0a", 3), (0x0B, b"\x09", 2), (0x0B, b"", 3)]
)
def test_another_transfer_than_the_recorded_one_is_refused(
    question: tuple[int, bytes, int],
) -> None:
    bus = PlaybackBus([GOOD])
    with pytest.raises(BusError, match="the recording has a transfer of 0x0b 09 in place of"):
        bus.transfer(*question)
    assert bus.transfer(0x0B, b"\x09", 3) == GOOD.reply  # and has taken nothing from it


def test_a_recording_ends_until_there_is_more() -> None:
    bus = PlaybackBus()
    with pytest.raises(BusError, match="ends here"):
        bus.transfer(0x0B, b"\x09", 3)
    bus.load([GOOD])
    assert bus.transfer(0x0B, b"\x09", 3) == GOOD.reply
    with pytest.raises(BusError, match="ends here"):
        bus.transfer(0x0B, b"\x09", 3)
