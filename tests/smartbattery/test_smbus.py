# SPDX-License-Identifier: Apache-2.0
"""Words, blocks and PEC over scripted bytes; those marked as seen come from tests/data."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path

import pytest

from smartbattery.bq40 import READ_SELECTORS
from smartbattery.errors import (
    BatteryError,
    BusAbsentError,
    BusError,
    BusTimeoutError,
    IntegrityError,
    NackError,
    UnsupportedError,
)
from smartbattery.pec import pec, read_prefix
from smartbattery.registers import ADDRESS
from smartbattery.smbus import SmbusDevice

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "vectors.json").read_text())
VOLTAGE, SPECIFICATION, NAME = 0x09, 0x1A, 0x20
SEEN_VOLTAGE = bytes.fromhex("d0 39 7e")  # 14.8 V with the kernel's PEC
SEEN_NAME = bytes.fromhex("08 53 41 4e 59 4f 00 30 32 83")  # with the PEC of the analyser
RELEASED = 0xFF
Reply = bytes | BatteryError


class Script:
    """A device with a list of replies for each command, of which the last one repeats.

    A reply that is longer than asked is cut and a shorter one ends in a released line, as on a
    wire; `exactly` hands it over as it is, as a broken adapter would. The rest is refused.
    Writes are noted, and refused once for each error in `write_errors`.
    """

    def __init__(self, replies: Mapping[int, Iterable[Reply]], *, exactly: bool = False) -> None:
        self._replies = {command: list(row) for command, row in replies.items()}
        self._exactly = exactly
        self.reads: list[tuple[int, int]] = []
        self.written: list[str] = []
        self.write_errors: list[BatteryError] = []

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Reply to a read, log a write."""
        assert address == ADDRESS
        if rx_len == 0:
            self.written.append(tx.hex(" "))
            if self.write_errors:
                raise self.write_errors.pop(0)
            return b""
        assert len(tx) == 1
        self.reads.append((tx[0], rx_len))
        replies = self._replies.get(tx[0], [NackError("refused")])
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if isinstance(reply, BatteryError):
            raise reply
        return reply if self._exactly else reply[:rx_len].ljust(rx_len, bytes((RELEASED,)))


def closed(command: int, *data: int) -> bytes:
    """Return data with the PEC of a read."""
    return bytes((*data, pec(data, read_prefix(ADDRESS, command))))


def word(command: int, raw: int) -> bytes:
    return closed(command, raw & 0xFF, raw >> 8)


def flawed(reply: bytes, bit: int) -> bytes:
    return (int.from_bytes(reply, "little") ^ 1 << bit).to_bytes(len(reply), "little")


def device_on(script: Script, *, has_pec: bool) -> SmbusDevice:
    device = SmbusDevice(script, ADDRESS)
    device.has_pec = has_pec
    return device


# ------------------------------------------------------------------------- words


@pytest.mark.parametrize(("has_pec", "length"), [(True, 3), (False, 2)])
def test_a_word_comes_low_byte_first(has_pec: bool, length: int) -> None:  # noqa: FBT001 - a row
    script = Script({VOLTAGE: [SEEN_VOLTAGE]})
    assert device_on(script, has_pec=has_pec).read_word(VOLTAGE) == 14_800
    assert script.reads == [(VOLTAGE, length)]


@pytest.mark.parametrize("bit", range(24))
def test_any_flipped_bit_of_a_word_is_mended_by_a_retry(bit: int) -> None:
    device = device_on(Script({VOLTAGE: [flawed(SEEN_VOLTAGE, bit), SEEN_VOLTAGE]}), has_pec=True)
    assert device.read_word(VOLTAGE) == 14_800
    assert (device.counts.transfers, device.counts.pec_errors) == (2, 1)


def test_a_word_that_is_flawed_twice_is_an_error_that_shows_the_bytes() -> None:
    device = device_on(Script({VOLTAGE: [bytes.fromhex("d0 38 7e")]}), has_pec=True)
    with pytest.raises(IntegrityError, match="address 0x0b command 0x09: wrong PEC: d0 38 7e"):
        device.read_word(VOLTAGE)
    assert device.counts.pec_errors == 2


def test_a_refusal_is_retried_once() -> None:
    once = device_on(Script({VOLTAGE: [NackError("busy"), SEEN_VOLTAGE]}), has_pec=True)
    assert once.read_word(VOLTAGE) == 14_800
    twice = device_on(
        Script({VOLTAGE: [NackError("a"), NackError("b"), SEEN_VOLTAGE]}), has_pec=True
    )
    with pytest.raises(NackError, match="b"):
        twice.read_word(VOLTAGE)
    assert [(device.counts.transfers, device.counts.nacks) for device in (once, twice)] == [
        (2, 1),
        (2, 2),
    ]


@pytest.mark.parametrize("reply", [b"", b"\xd0\x39", SEEN_VOLTAGE + b"\xff"])
def test_a_reply_of_another_length_is_no_word(reply: bytes) -> None:
    device = device_on(Script({VOLTAGE: [reply]}, exactly=True), has_pec=True)
    with pytest.raises(IntegrityError, match=f"{len(reply)} bytes instead of 3"):
        device.read_word(VOLTAGE)


# ------------------------------------------------------------------------- a held bus


def test_a_stuck_bus_is_not_retried() -> None:
    script = Script({VOLTAGE: [BusTimeoutError("held")]})
    device = device_on(script, has_pec=True)
    with pytest.raises(BusTimeoutError):
        device.read_word(VOLTAGE)
    assert script.reads == [(VOLTAGE, 3)]
    assert device.counts.timeouts == 1


def test_an_absent_adapter_is_no_timeout() -> None:
    device = device_on(Script({VOLTAGE: [BusAbsentError("unplugged")]}), has_pec=True)
    with pytest.raises(BusAbsentError):
        device.read_word(VOLTAGE)
    assert device.counts.timeouts == 0


def test_a_bus_that_gets_stuck_is_detected_by_one_more_transfer() -> None:
    script = Script({0x0A: [BusTimeoutError("held")], VOLTAGE: [BusTimeoutError("still held")]})
    with pytest.raises(BusTimeoutError, match="still held"):
        device_on(script, has_pec=True).read_word(0x0A)
    assert script.reads == [(0x0A, 3), (VOLTAGE, 2)]


def test_a_refusal_that_an_adapter_reports_as_a_timeout_is_a_refusal() -> None:
    # A CP2112 answers ETIMEDOUT where others answer ENXIO (measured, kernel 6.1).
    script = Script({0x39: [BusTimeoutError("110")], VOLTAGE: [SEEN_VOLTAGE]})
    with pytest.raises(NackError, match="110"):
        device_on(script, has_pec=True).read_word(0x39)
    assert device_on(script, has_pec=True).read_text(0x39) is None


def test_an_unplugged_adapter_gets_no_further_transfer() -> None:
    script = Script({0x0A: [BusAbsentError("unplugged")], VOLTAGE: [SEEN_VOLTAGE]})
    with pytest.raises(BusAbsentError):
        device_on(script, has_pec=True).read_word(0x0A)
    assert script.reads == [(0x0A, 3)]


def test_an_error_without_a_kind_is_passed_on() -> None:
    with pytest.raises(BusError, match="in use"):
        device_on(Script({VOLTAGE: [BusError("in use")]}), has_pec=True).read_word(VOLTAGE)


def test_an_error_without_a_kind_of_one_command_is_a_refusal_if_the_gauge_answers() -> None:
    script = Script({0x0A: [BusError("no memory")], VOLTAGE: [SEEN_VOLTAGE]})
    device = device_on(script, has_pec=True)
    with pytest.raises(NackError, match="no memory"):
        device.read_word(0x0A)
    assert (device.counts.timeouts, device.counts.nacks) == (0, 0)
    silent = Script({0x0A: [BusError("no memory")], VOLTAGE: [BusError("no memory either")]})
    with pytest.raises(BusError, match="either"):
        device_on(silent, has_pec=True).read_word(0x0A)
    assert silent.reads == [(0x0A, 3), (VOLTAGE, 2)]


# ------------------------------------------------------------------------- texts


@pytest.mark.parametrize("entry", VECTORS["texts"], ids=lambda entry: entry["text"])
def test_a_recorded_text_is_read(entry: dict[str, str]) -> None:
    command, data = int(entry["command"], 16), bytes.fromhex(entry["data"])
    script = Script({command: [bytes((len(data), *data))]})
    assert device_on(script, has_pec=False).read_text(command) == entry["text"]
    if "wire" in entry:
        script = Script({command: [bytes.fromhex(entry["wire"])[3:]]})
        assert device_on(script, has_pec=True).read_text(command) == entry["text"]


@pytest.mark.parametrize(
    "block",
    [
        b"\x00",
        bytes((33, *b"A" * 33)),
        b"\xff",
        b"\x03\x00AB",
        b"\x03   ",
        b"\x02\x00\x00",
        b"\x04ab\x80d",
        b"\x04ab\x1fd",
        b"\x04ab\x7fd",
        b"\x02\xc3\xa9",
    ],
    ids=lambda block: block.hex(),
)
def test_what_is_no_text_is_unknown(block: bytes) -> None:
    assert device_on(Script({NAME: [block]}), has_pec=False).read_text(NAME) is None


@pytest.mark.parametrize("text", ["A", "a b ~!", "A" * 32])
def test_every_printable_text_is_one(text: str) -> None:
    block = bytes((len(text), *text.encode()))
    assert device_on(Script({NAME: [block]}), has_pec=False).read_text(NAME) == text


def test_the_longest_block_is_read_whole() -> None:
    text = "".join(chr(0x41 + index % 26) for index in range(32))
    script = Script({NAME: [bytes((32, *text.encode()))]})
    assert device_on(script, has_pec=False).read_text(NAME) == text
    assert script.reads == [(NAME, 1), (NAME, 33)]


def test_a_block_that_changes_between_count_and_data_is_rejected() -> None:
    longer, shorter = b"\x04LION", b"\x03LiP"
    for turning in ([longer, shorter] * 2, [shorter, longer] * 2):
        assert device_on(Script({NAME: turning}), has_pec=False).read_text(NAME) is None
    once = [b"\x07LION", b"\x04LION"]
    assert device_on(Script({NAME: once}), has_pec=False).read_text(NAME) == "LION"


@pytest.mark.parametrize("bit", range(8 * len(SEEN_NAME)))
def test_a_flipped_bit_in_a_text_is_mended_by_a_retry(bit: int) -> None:
    script = Script({NAME: [SEEN_NAME, flawed(SEEN_NAME, bit), SEEN_NAME]})
    assert device_on(script, has_pec=True).read_text(NAME) == "SANYO"
    assert len(script.reads) == 4
    always = Script({NAME: [flawed(SEEN_NAME, bit)]})
    assert device_on(always, has_pec=True).read_text(NAME) is None


def test_a_text_that_is_refused_is_unknown_and_a_stuck_bus_is_an_error() -> None:
    assert device_on(Script({}), has_pec=True).read_text(NAME) is None
    held = Script({NAME: [BusTimeoutError("held")], VOLTAGE: [BusTimeoutError("held")]})
    with pytest.raises(BusTimeoutError):
        device_on(held, has_pec=True).read_text(NAME)


# ------------------------------------------------------------------------- blocks of numbers

ACCESS = 0x44
# DAStatus3 of a BQ40Z80 as a driver's tests expect it: 34 bytes behind the count, PEC at the end.
SEEN_BLOCK = next(
    bytes.fromhex(entry["bytes"] + entry["pec"])[3:]
    for entry in VECTORS["transfers"]
    if entry["what"] == "block read 0x44, 34 bytes"
)


def test_a_block_of_the_expected_length_is_read_in_one_transfer() -> None:
    script = Script({ACCESS: [SEEN_BLOCK]})
    assert device_on(script, has_pec=True).read_block(ACCESS, 34) == SEEN_BLOCK[1:-1]
    assert script.reads == [(ACCESS, 36)]


def test_the_longest_block_of_numbers_is_read_whole() -> None:
    longest = bytes((36, *range(36)))
    assert (
        device_on(Script({ACCESS: [longest]}), has_pec=False).read_block(ACCESS, 34) == longest[1:]
    )


@pytest.mark.parametrize(("foreseen", "lengths"), [(14, [16, 36]), (36, [38])])
def test_a_block_may_be_longer_or_shorter_than_expected(foreseen: int, lengths: list[int]) -> None:
    script = Script({ACCESS: [SEEN_BLOCK]})
    assert device_on(script, has_pec=True).read_block(ACCESS, foreseen) == SEEN_BLOCK[1:-1]
    assert [length for _, length in script.reads] == lengths


def test_a_block_without_pec_ends_with_its_data() -> None:
    script = Script({ACCESS: [SEEN_BLOCK[:-1]]})
    assert device_on(script, has_pec=False).read_block(ACCESS, 34) == SEEN_BLOCK[1:-1]
    assert script.reads == [(ACCESS, 35)]


@pytest.mark.parametrize("count", [0, 37, 0xFF])
def test_a_block_of_an_impossible_length_is_rejected(count: int) -> None:
    with pytest.raises(IntegrityError, match=f"a block of {count} bytes"):
        device_on(Script({ACCESS: [bytes((count, *b"A" * 40))]}), has_pec=False).read_block(
            ACCESS, 4
        )


def test_a_block_that_grows_between_two_reads_is_rejected() -> None:
    for has_pec in (True, False):
        script = Script({ACCESS: [b"\x06ABCDEF", b"\x07ABCDEFG"]})
        with pytest.raises(IntegrityError, match="changes its length"):
            device_on(script, has_pec=has_pec).read_block(ACCESS, 4)


@pytest.mark.parametrize("bit", range(0, 8 * len(SEEN_BLOCK), 5))
def test_a_flipped_bit_in_a_block_is_noticed(bit: int) -> None:
    device = device_on(Script({ACCESS: [flawed(SEEN_BLOCK, bit)]}), has_pec=True)
    with pytest.raises(IntegrityError):
        device.read_block(ACCESS, 34)


def test_bytes_without_a_count_have_the_requested_length() -> None:
    bare = closed(0x28, 1, 2, 3, 4)
    assert device_on(Script({0x28: [bare]}), has_pec=True).read_raw(0x28, 4) == b"\1\2\3\4"
    assert device_on(Script({0x28: [bare]}), has_pec=False).read_raw(0x28, 4) == b"\1\2\3\4"
    wrong = device_on(Script({0x28: [flawed(bare, 9)]}), has_pec=True)
    with pytest.raises(IntegrityError, match="wrong PEC: 01 00 03 04"):
        wrong.read_raw(0x28, 4)
    assert wrong.counts.pec_errors == 1


# ------------------------------------------------------------------------- manufacturer reads


def test_a_manufacturer_read_selects_and_checks_the_echo() -> None:
    script = Script({ACCESS: [SEEN_BLOCK]})
    assert device_on(script, has_pec=True).read_manufacturer(0x007B, 32) == SEEN_BLOCK[3:-1]
    assert script.written == ["44 02 7b 00 59"]  # with the PEC that was seen for it
    assert script.reads == [(ACCESS, 36)]


def test_a_gauge_without_pec_gets_none() -> None:
    script = Script({ACCESS: [b"\x06\x54\x00\x01\x02\x03\x04"]})
    assert device_on(script, has_pec=False).read_manufacturer(0x0054, 4) == b"\1\2\3\4"
    assert script.written == ["44 02 54 00"]


def test_no_selector_but_those_that_read_is_ever_sent() -> None:
    script = Script({ACCESS: [SEEN_BLOCK]})
    device = device_on(script, has_pec=True)
    sent, refused = set(), ""
    for selector in (*range(-1, 0x10000), 0x10051):
        try:
            device.read_manufacturer(selector, 4)
        except UnsupportedError as error:
            refused = str(error)
        except IntegrityError:  # the echo is of 0x007b
            sent.add(selector)
        else:
            sent.add(selector)
    assert sent == READ_SELECTORS
    assert len(script.written) == len(READ_SELECTORS)
    assert refused == "0x10051 is not a manufacturer-access read: not sent"


def test_a_reply_to_another_selector_is_rejected() -> None:
    device = device_on(Script({ACCESS: [SEEN_BLOCK]}), has_pec=True)
    with pytest.raises(IntegrityError, match="selected 0x0051, received 7b00"):
        device.read_manufacturer(0x0051, 32)


def test_a_refused_selection_is_counted_and_nothing_is_read() -> None:
    script = Script({ACCESS: [SEEN_BLOCK]})
    script.write_errors = [NackError("sealed")]
    device = device_on(script, has_pec=True)
    with pytest.raises(NackError):
        device.read_manufacturer(0x0051, 4)
    assert (device.counts.transfers, device.counts.nacks, script.reads) == (1, 1, [])


def test_a_selection_on_a_stuck_bus_is_an_error_and_counted() -> None:
    script = Script({VOLTAGE: [BusTimeoutError("held")]})
    script.write_errors = [BusTimeoutError("held")]
    device = device_on(script, has_pec=True)
    with pytest.raises(BusTimeoutError):
        device.read_manufacturer(0x0051, 4)
    assert (device.counts.timeouts, script.reads) == (2, [(VOLTAGE, 2)])


# ------------------------------------------------------------------------- whether there is a PEC


def learned(specification: Iterable[Reply], voltage: Iterable[Reply]) -> tuple[int | None, bool]:
    device = SmbusDevice(Script({SPECIFICATION: specification, VOLTAGE: voltage}), ADDRESS)
    raw = device.detect_pec()
    return raw, device.has_pec


def test_a_pec_is_learned_from_two_words_twice() -> None:
    script = Script({SPECIFICATION: [word(SPECIFICATION, 0x1031)], VOLTAGE: [SEEN_VOLTAGE]})
    device = SmbusDevice(script, ADDRESS)
    assert (device.detect_pec(), device.has_pec) == (0x1031, True)
    assert script.reads == [(SPECIFICATION, 3), (VOLTAGE, 3)] * 2


@pytest.mark.parametrize("raw", [0x0011, 0x0021, 0x0031, 0x2131])
def test_the_byte_after_the_word_decides_and_not_the_version(raw: int) -> None:
    none = raw.to_bytes(2, "little")
    assert learned([none], [SEEN_VOLTAGE[:2]]) == (raw, False)
    assert learned([word(SPECIFICATION, raw)], [SEEN_VOLTAGE]) == (raw, True)


@pytest.mark.parametrize("bad", range(1, 5))
@pytest.mark.parametrize("bit", range(24))
def test_flipped_bits_in_the_first_readings_never_disable_the_pec(bad: int, bit: int) -> None:
    good = word(SPECIFICATION, 0x1031)
    assert learned([*[flawed(good, bit)] * bad, good], [SEEN_VOLTAGE]) == (0x1031, True)
    voltages = [*[flawed(SEEN_VOLTAGE, bit)] * bad, SEEN_VOLTAGE]
    assert learned([good], voltages) == (0x1031, True)


def test_six_readings_of_any_kind_end_in_the_right_answer_or_an_error() -> None:
    good = word(SPECIFICATION, 0x1031)
    ends = Counter[tuple[int | None, bool] | str]()
    for fates in product(("good", "flip", "nack"), repeat=6):
        kinds: list[dict[str, Reply]] = [
            {"good": good, "flip": flawed(good, reading), "nack": NackError("busy")}
            for reading in range(6)
        ]
        replies = [kinds[reading][fate] for reading, fate in enumerate(fates)]
        try:
            end: tuple[int | None, bool] | str = learned(replies, [SEEN_VOLTAGE])
        except IntegrityError:
            end = "error"
            assert fates.count("good") < 2, fates
        ends[end] += 1
    # At least two good looks; six refusals; all the rest.
    assert ends == {(0x1031, True): 729 - 64 - 6 * 32, (None, False): 1, "error": 64 + 6 * 32 - 1}


def test_refusals_do_not_outvote_the_word_that_was_received() -> None:
    # nack nack nack 21 10 21 10 21 10: scaled by ten, and an equal number of refusals.
    refused, scaled = NackError("busy"), b"\x21\x10"
    for refusals in range(5):
        replies: list[Reply] = [*[refused] * refusals, scaled]
        assert learned(replies, [SEEN_VOLTAGE[:2]]) == (0x1021, False)


@pytest.mark.parametrize("reading", range(6))
def test_one_invalid_reading_does_not_outvote_the_others(reading: int) -> None:
    replies = [b"\x21\x10"] * 6
    replies[reading] = b"\x21\x00"
    assert learned(replies, [SEEN_VOLTAGE[:2]]) == (0x1021, False)


def test_one_valid_reading_prevails_over_agreeing_invalid_ones() -> None:
    good = word(SPECIFICATION, 0x1031)
    with pytest.raises(IntegrityError, match="0x1031, 0x0031"):
        learned([good, flawed(good, 12)], [SEEN_VOLTAGE])


def test_a_released_line_that_equals_a_pec_by_chance_is_not_a_pec() -> None:
    raw = 0x2016
    assert word(SPECIFICATION, raw)[2] == RELEASED
    assert learned([raw.to_bytes(2, "little")], [SEEN_VOLTAGE[:2]]) == (raw, False)
    assert learned([word(SPECIFICATION, raw)], [SEEN_VOLTAGE]) == (raw, True)


def test_a_gauge_that_refuses_its_specification_is_one_without_pec() -> None:
    assert learned([NackError("unknown")], [SEEN_VOLTAGE]) == (None, False)


def test_an_absent_device_is_an_error() -> None:
    with pytest.raises(NackError):
        learned([NackError("absent")], [NackError("absent")])


def test_a_refused_voltage_costs_a_reading_and_not_the_pec() -> None:
    good = word(SPECIFICATION, 0x0031)
    assert learned([good], [NackError("busy"), SEEN_VOLTAGE]) == (0x0031, True)


@pytest.mark.parametrize(
    "replies",
    [
        [b"\xff\xff\xff"],
        [b"\x41\x00"],
        [b"\x31\x00", b"\x21\x00", b"\x11\x00", b"\x30\x00", b"\x20\x00", b"\x10\x00"],
    ],
)
def test_a_specification_that_no_gauge_has_is_an_error_that_shows_it(replies: list[bytes]) -> None:
    with pytest.raises(IntegrityError, match=f"0x{replies[0][1]:02x}{replies[0][0]:02x}"):
        learned(replies, [SEEN_VOLTAGE])


def test_the_pec_of_one_gauge_is_not_that_of_the_next() -> None:
    device = device_on(Script({SPECIFICATION: [b"\x21\x00"], VOLTAGE: [b"\xd0\x39"]}), has_pec=True)
    assert device.detect_pec() == 0x0021
    assert not device.has_pec
    assert device.read_word(VOLTAGE) == 14_800
