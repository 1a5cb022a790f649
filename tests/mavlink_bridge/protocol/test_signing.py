# SPDX-License-Identifier: Apache-2.0
"""Signed frames against pymavlink's own signing, over restarts and wrong clocks."""

import errno
import hashlib
import os
import shutil
import struct
import zlib
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core import clock
from mavlink_bridge.bridge import Bridge
from mavlink_bridge.components import BridgeOptions
from mavlink_bridge.protocol import signing, signing_file
from mavlink_bridge.protocol.codec import Codec, read_key
from mavlink_bridge.protocol.signing import EPOCH_S, Signing
from mavlink_bridge.protocol.signing_file import (
    TICKS_PER_S,
    BackgroundTimestamps,
    SigningState,
    TimestampFile,
)
from tests.disks import HeldDisk
from tests.mavlink_bridge.fake_vehicle import ARDUPILOT, FakeVehicle
from tests.mavlink_bridge.loopback import WAIT_S
from tests.mavlink_bridge.reports import a_report

KEY = hashlib.sha256(b"correct horse").digest()
OTHER = hashlib.sha256(b"battery staple").digest()
NOW = 1_790_000_000.0
YEAR_S = 365 * 86_400.0
GROUND = (255, 190)


class Peer:
    """A peer that signs with pymavlink."""

    def __init__(
        self,
        unix_s: float,
        source: tuple[int, int] = GROUND,
        key: bytes | None = KEY,
        link_id: int = 1,
    ) -> None:
        self.codec = mavlink.MAVLink(None, *source)
        self.codec.robust_parsing = True
        self.codec.signing.secret_key = key
        self.codec.signing.sign_outgoing = key is not None
        self.codec.signing.link_id = link_id
        self.codec.signing.timestamp = int((unix_s - EPOCH_S) * TICKS_PER_S)

    def beat(self, *, armed: bool = True) -> bytes:
        """A heartbeat."""
        kind, autopilot = (2, 3) if self.codec.srcSystem == 1 else (6, 8)
        mode = 129 if armed else 1
        message = mavlink.MAVLink_heartbeat_message(kind, autopilot, mode, 4, 4, 3)
        return bytes(message.pack(self.codec))

    def setting(self, value: float) -> bytes:
        """PARAM_SET BMS_ACT."""
        message = mavlink.MAVLink_param_set_message(1, 180, b"BMS_ACT", value, 9)
        return bytes(message.pack(self.codec))

    def accepted(self, frames: list[bytes]) -> int:
        """Frames of ours that this peer accepts."""
        messages = [m for frame in frames for m in self.codec.parse_buffer(frame) or ()]
        return sum(message.get_type() != "BAD_DATA" for message in messages)


class Wire(FakeVehicle):
    """A link that stores the frames of the bridge."""

    def __init__(self) -> None:
        super().__init__(ARDUPILOT)
        self.frames: list[bytes] = []

    def send(self, data: bytes, _now_s: float) -> bool:
        """Store a frame."""
        self.frames.append(bytes(data))
        return True


class Run:
    """One run of the service."""

    def __init__(self, unix_s: float, folder: Path | None = None) -> None:
        self.store = None if folder is None else TimestampFile(folder / "signing")
        self.wire = Wire()
        options = BridgeOptions(key=KEY, unix_s=unix_s, timestamps=self.store)
        self.bridge = Bridge(self.wire, options=options)
        self.now_s = 0.0
        self.step()

    def step(self, *frames: bytes) -> None:
        """Receive frames and send."""
        self.wire._out.extend(frames)
        self.bridge.pump(self.now_s)
        self.bridge(a_report(self.now_s))
        self.now_s += 0.1

    def acts(self, frame: bytes) -> bool:
        """The setting after a frame."""
        self.step(frame)
        return self.bridge.settings.acting_enabled

    def kill(self) -> None:
        """End without any further step."""
        if self.store is not None:
            self.store.close()


# Replays.


@pytest.mark.parametrize("later_s", [0.0, 1.0, 30.0, 3600.0])
@pytest.mark.parametrize("known_date", [True, False])
def test_a_frame_is_never_accepted_twice_also_after_a_restart(
    tmp_path: Path, later_s: float, *, known_date: bool
) -> None:
    ground = Peer(NOW)
    frame = ground.setting(0.0)
    first = Run(NOW if known_date else 0.0, tmp_path)
    assert first.acts(frame) is False
    assert first.acts(ground.setting(1.0)) is True
    assert first.acts(frame) is True
    first.kill()
    second = Run(NOW + later_s if known_date else 0.0, tmp_path)
    assert second.acts(frame) is True
    assert second.acts(ground.setting(0.0)) is False
    second.kill()


def test_a_date_that_stands_where_the_computer_was_stopped_accepts_no_old_frame(
    tmp_path: Path,
) -> None:
    ground = Peer(NOW)
    old = [ground.setting(0.0) for _ in range(5)]
    last = ground.setting(1.0)
    first = Run(NOW, tmp_path)
    first.step(*old, last)
    first.kill()
    again = Run(NOW - 86_400, tmp_path)
    for frame in [*old, last]:
        assert again.acts(frame) is True
    again.kill()


def test_after_a_start_of_the_computer_unsynced_times_count_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground = Peer(NOW)
    first = Run(NOW, tmp_path)
    assert first.acts(ground.setting(0.0)) is False
    first.kill()
    monkeypatch.setattr(signing, "boot_id", lambda: "another start")
    captured = ground.setting(0.0)  # after the last time that reached the disk
    again = Run(NOW, tmp_path)
    assert again.acts(captured) is True
    assert again.acts(Peer(NOW + 36).setting(0.0)) is False
    again.kill()


@pytest.mark.parametrize("peer", [Peer(NOW, key=None), Peer(NOW, key=OTHER)])
def test_an_unsigned_or_wrongly_signed_frame_changes_nothing(peer: Peer) -> None:
    run = Run(NOW)
    assert run.acts(peer.setting(0.0)) is True
    assert run.bridge.counts["damaged"] == 1


def test_every_flipped_bit_of_a_signed_frame_is_noticed() -> None:
    frame = Peer(NOW).setting(0.0)
    keeper = Signing(KEY, NOW)
    for place in range(len(frame)):
        for bit in range(8):
            flipped = bytearray(frame)
            flipped[place] ^= 1 << bit
            assert not keeper.accepts(flipped, 255, 190)
    assert keeper.accepts(frame, 255, 190)


# Clocks.


@pytest.mark.parametrize("ahead_s", [61.0, 3600.0, 9 * YEAR_S, 70 * YEAR_S])
@pytest.mark.parametrize("stored", [True, False])
def test_a_peer_whose_clock_is_ahead_does_not_silence_others(
    tmp_path: Path, ahead_s: float, *, stored: bool
) -> None:
    run = Run(NOW, tmp_path if stored else None)
    ahead, vehicle = Peer(NOW + ahead_s), Peer(NOW + 2, (1, 1))
    run.step(ahead.beat())
    assert run.bridge.counts["foreign"] == 1
    run.step(vehicle.beat())
    assert run.bridge.pump(run.now_s).armed is True
    run.step(Peer(NOW + 3, (254, 1)).beat())
    assert run.bridge.counts["damaged"] == 0
    if stored:
        run.kill()
        again = Run(NOW + 10, tmp_path)
        again.step(Peer(NOW + 10, (1, 1)).beat(), Peer(NOW + 10, (253, 1)).beat())
        assert again.bridge.counts["damaged"] == 0
        assert again.bridge.pump(again.now_s).armed is True
        again.kill()


def test_a_new_stream_that_is_more_than_a_minute_late_is_refused_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run, late = Run(NOW), Peer(NOW - 62)
    for _ in range(3):
        assert run.acts(late.setting(0.0)) is True
    assert caplog.text.count("signed frames of 255/190 are refused") == 1
    assert run.acts(Peer(NOW - 58).setting(0.0)) is False


def test_a_forged_timestamp_of_the_far_future_blocks_nothing() -> None:
    run = Run(NOW)
    run.acts(Peer(NOW + 70 * YEAR_S, key=OTHER).setting(0.0))
    assert run.acts(Peer(NOW).setting(0.0)) is False


def test_the_number_of_streams_is_bounded() -> None:
    keeper, accepted = Signing(KEY, NOW), 0
    for number in range(300):
        peer = Peer(NOW, (number % 250 + 1, 1 + number // 250))
        accepted += keeper.accepts(peer.beat(), *(peer.codec.srcSystem, peer.codec.srcComponent))
    assert accepted == 64


# Our own timestamps.


@pytest.mark.parametrize("ahead_s", [0.0, 3600.0, 9 * YEAR_S])
def test_every_peer_accepts_our_frames_also_after_a_restart(tmp_path: Path, ahead_s: float) -> None:
    ground, vehicle = Peer(NOW + ahead_s), Peer(NOW, (1, 1))
    for unix_s in (NOW, 0.0, NOW - 86_400, NOW + 5):
        run = Run(unix_s, tmp_path)
        run.wire.frames.clear()
        for _ in range(30):
            run.step(ground.beat(), vehicle.beat())
        sent = run.wire.frames[4:]  # a computer without a date has received the peers then
        assert len(sent) > 8
        for peer in (ground, vehicle):
            assert peer.accepted(sent) == len(sent)
        run.kill()


def test_our_timestamps_never_repeat_and_follow_the_time(tmp_path: Path) -> None:
    last = 0
    for start in range(5):
        run = Run(NOW if start % 2 == 0 else 0.0, tmp_path)
        for _ in range(20):
            run.step()
        for frame in run.wire.frames:
            ticks = int.from_bytes(frame[-12:-6], "little")
            assert ticks > last
            last = ticks
        run.kill()
    run = Run(NOW + 1000)
    run.now_s = 500.0
    run.wire.frames.clear()
    run.step()
    ticks = int.from_bytes(run.wire.frames[-1][-12:-6], "little")
    assert ticks / TICKS_PER_S == pytest.approx(NOW + 1500 - EPOCH_S, abs=1.0)


def test_a_timestamp_near_the_end_of_its_field_leaves_room_for_ours() -> None:
    keeper, peer = Signing(KEY, NOW), Peer(NOW)
    peer.codec.signing.timestamp = (1 << 48) - 2
    assert keeper.accepts(peer.beat(), *GROUND)
    assert keeper.next_timestamp(0.0) < (1 << 48) - YEAR_S * TICKS_PER_S


# The file.


def test_a_damaged_file_is_logged_and_begins_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "signing"
    run = Run(NOW, tmp_path)
    run.step(Peer(NOW).beat())
    run.kill()
    whole = path.read_bytes()
    random = Random(6)  # noqa: S311 - damage
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(random.randrange(1, 40)):
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        path.write_bytes(data[: random.choice([len(data), random.randrange(len(data))])])
        with closing(TimestampFile(path)) as store:
            state = store.state
        assert state is None or state.own > 0
    path.write_bytes(b"x" * 100)
    with closing(TimestampFile(path)) as store:
        assert store.state is None
    assert "is damaged: signing timestamps begin again" in caplog.text
    body = b"[1"
    head = struct.pack("<4sIII", b"SIG1", 1, len(body), zlib.crc32(body, 1))
    path.write_bytes(head + body)
    with closing(TimestampFile(path)) as store:
        assert store.state is None


def test_one_torn_place_loses_only_the_last_write(tmp_path: Path) -> None:
    ground = Peer(NOW)
    frames = [ground.setting(0.0) for _ in range(4)]
    run = Run(NOW, tmp_path)
    for frame in frames:
        run.step(frame)
    run.kill()
    path = tmp_path / "signing"
    data = bytearray(path.read_bytes())
    place = max(range(0, len(data), 8192), key=lambda at: data[at + 4 : at + 8][::-1])
    data[place + 40] ^= 0xFF
    path.write_bytes(data)
    again = Run(NOW, tmp_path)
    for frame in frames[:3]:
        assert again.acts(frame) is True
    again.kill()


@pytest.mark.parametrize("mode", [0o666, 0o660])
def test_a_file_that_others_can_write_decides_nothing_and_is_replaced_once(
    tmp_path: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "signing"
    with closing(TimestampFile(path)) as store:
        store.write(state_of(1 << 47))  # which would refuse every peer
    path.chmod(mode)
    assert signing_file.unread_reason(path) == "others could write signing"
    with closing(TimestampFile(path)) as store:
        assert store.state is None
    assert path.stat().st_mode & 0o777 == 0o600
    assert signing_file.unread_reason(path) is None
    assert stored_in(path) is None
    assert caplog.text.count("can be written by other users and is replaced") == 1


@pytest.mark.parametrize("what", ["deleted", "folder", "older copy", "foreign", "for others"])
def test_a_file_that_is_lost_in_a_run_is_made_again_with_the_times_in_memory(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    path = tmp_path / "state" / "signing"
    ground = Peer(NOW)
    frames = [ground.setting(0.0) for _ in range(3)]
    run = Run(NOW, path.parent)
    older = tmp_path / "older"
    older.write_bytes(path.read_bytes())
    older.chmod(0o666 if what == "foreign" else 0o600)
    assert run.acts(frames[0]) is False
    if what == "deleted":
        path.unlink()
    elif what == "folder":
        shutil.rmtree(path.parent)
    elif what == "for others":
        path.chmod(0o666)
    else:
        older.replace(path)
    run.step(frames[1])
    run.step(frames[2])
    run.kill()
    loss = "others could write it" if what == "for others" else "it was deleted"
    messages = [one.getMessage() for one in caplog.records if "signing timestamps" in one.message]
    assert messages == [
        f"signing timestamps are not stored: {path}: {loss}, it is made again",
        f"signing timestamps are stored again: {path}",
    ]
    again = Run(NOW, path.parent)
    for frame in frames:
        assert again.acts(frame) is True  # refused, as in the run before
    again.kill()


def test_a_file_whose_place_is_taken_in_a_run_is_logged_once_and_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "signing"
    with closing(TimestampFile(path)) as file:
        path.unlink()
        path.mkdir()
        for own in range(1, 10):
            file.write(SigningState("boot", own, own, ()))
        assert len(caplog.records) == 1
        path.rmdir()
        file.write(SigningState("boot", 10, 10, ()))
    stored = stored_in(path)
    assert stored is not None
    assert stored.own == 10


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "signing"
    path.write_bytes(b"x" * 100)
    assert signing_file.unread_reason(path) == "signing is damaged"


def test_a_file_that_could_not_be_read_is_written_above_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "signing"
    with closing(TimestampFile(path)) as store:
        for number in range(1, 9):
            store.write(state_of(number))

    def failing(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", failing)
        store = TimestampFile(path)
        store.write(state_of(9))
    store.write(state_of(10))
    store.close()
    assert stored_in(path) == state_of(10)


def test_a_folder_that_cannot_be_used_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    run = Run(NOW, Path("/proc/none"))
    run.step(Peer(NOW).beat())
    assert "signing timestamps are not stored" in caplog.text
    assert run.bridge.counts["foreign"] == 1


def test_a_write_error_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(NOW, tmp_path)
    assert run.store is not None
    assert run.store._file is not None
    run.store._file.close()
    run.step(Peer(NOW).beat())
    assert "signing timestamps are not stored" in caplog.text
    run.store._file = None


def test_times_that_could_not_be_stored_are_stored_once_they_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    (tmp_path / "signing").mkdir()  # in the place of the file
    state = SigningState("one", 7_000, 5_000, ((0, 1, 1, 6_000),))
    with closing(TimestampFile(tmp_path / "signing")) as store:
        for _ in range(3):
            store.write(state)
        (tmp_path / "signing").rmdir()
        store.write(state)
        store.write(state)
    assert [record.getMessage() for record in caplog.records] == [
        f"signing timestamps are not stored: {tmp_path}/signing: Is a directory",
        f"signing timestamps are stored again: {tmp_path}/signing",
    ]
    with closing(TimestampFile(tmp_path / "signing")) as store:
        assert store.state == state


def test_the_file_is_the_users_own(tmp_path: Path) -> None:
    Run(NOW, tmp_path / "state").kill()
    assert (tmp_path / "state" / "signing").stat().st_mode & 0o777 == 0o600


def test_an_unknown_start_of_the_computer_is_another_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(clock, "_BOOT_ID", tmp_path / "none")
    assert clock.boot_id() == ""


# The key.


@pytest.mark.parametrize(
    ("mode", "warns"),
    [
        *[(mode, False) for mode in (0o600, 0o400, 0o700)],
        *[(0o400 | bit, True) for bit in (0o040, 0o020, 0o010, 0o004, 0o002, 0o001)],
    ],
)
def test_a_key_that_other_users_can_use_is_warned_of(
    tmp_path: Path, mode: int, caplog: pytest.LogCaptureFixture, *, warns: bool
) -> None:
    path = tmp_path / "key"
    path.write_text("correct horse\n")
    path.chmod(mode)
    assert read_key(path) == KEY
    assert ("can be used by other users" in caplog.text) == warns


def test_without_a_key_nothing_is_signed() -> None:
    wire = Wire()
    codec = Codec(wire)
    codec.send((1, 180), mavlink.MAVLink_heartbeat_message(36, 8, 0, 0, 4, 3), 0.0)
    assert wire.frames[0][2] == 0
    wire._out.append(Peer(NOW, (1, 1)).beat())
    assert len(list(codec.receive(0.0))) == 1


@pytest.mark.parametrize(("late_s", "accepted"), [(60.0, True), (60.1, False), (-3600.0, True)])
def test_the_first_frame_of_a_stream_may_be_a_minute_late(late_s: float, *, accepted: bool) -> None:
    for started_s in (0.0, 100.0):  # ago
        keeper = Signing(KEY, NOW - started_s)
        keeper.next_timestamp(7.0)
        keeper.next_timestamp(7.0 + started_s)
        assert keeper.accepts(Peer(NOW - late_s).beat(), *GROUND) == accepted


def test_each_link_of_a_component_is_a_stream_of_its_own() -> None:
    keeper = Signing(KEY, NOW)
    first, second = Peer(NOW, link_id=1), Peer(NOW - 30.0, link_id=2)
    frames = [first.beat(), second.beat(), first.beat(), second.beat()]
    assert [keeper.accepts(frame, *GROUND) for frame in frames] == [True] * 4
    assert [keeper.accepts(frame, *GROUND) for frame in frames] == [False] * 4
    assert keeper.accepts(Peer(NOW, (1, 1)).beat(), 1, 1)


def test_a_frame_with_the_same_time_is_a_repetition() -> None:
    keeper, peer = Signing(KEY, NOW), Peer(NOW)
    ticks = peer.codec.signing.timestamp
    assert keeper.accepts(peer.beat(), *GROUND)
    for offset, accepted in ((0, False), (-1, False), (5, True), (5, False), (6, True)):
        peer.codec.signing.timestamp = ticks + offset
        assert keeper.accepts(peer.beat(), *GROUND) == accepted


def test_our_timestamp_counts_ten_microseconds_since_2015_from_the_first_one_on() -> None:
    keeper = Signing(KEY, EPOCH_S + 2.0)
    found = [keeper.next_timestamp(now_s) for now_s in (100.0, 100.0, 100.5, 100.5, 99.0, 101.0)]
    assert found == [200_000, 200_001, 250_000, 250_001, 250_002, 300_000]
    assert Signing(KEY).next_timestamp(5.0) == 1  # no date
    assert Signing(KEY, 5.0).next_timestamp(5.0) == 1  # a date before 2015


def test_our_timestamps_follow_a_peer_that_is_ahead() -> None:
    keeper, peer = Signing(KEY, NOW), Peer(NOW + 1000.0)
    ticks = peer.codec.signing.timestamp
    assert keeper.accepts(peer.beat(), *GROUND)
    assert keeper.next_timestamp(0.0) > ticks
    most = (1 << 48) - 10 * 365 * 86_400 * TICKS_PER_S
    for ahead, followed in ((most - 10, most - 9), (most + 10, most + 1)):
        keeper, peer = Signing(KEY, NOW), Peer(NOW)
        peer.codec.signing.timestamp = ahead
        assert keeper.accepts(peer.beat(), *GROUND)
        assert keeper.next_timestamp(0.0) == pytest.approx(followed, abs=2)


def test_the_stored_time_is_ten_seconds_ahead_and_written_when_it_is_reached(
    tmp_path: Path,
) -> None:
    with closing(TimestampFile(tmp_path / "signing")) as store:
        keeper = Signing(KEY, NOW, store)
        stored = []
        for now_s in (0.0, 5.0, 9.9, 10.1, 19.0, 21.0):
            own = keeper.next_timestamp(now_s)
            keeper.store()
            with closing(TimestampFile(tmp_path / "signing")) as other:
                assert other.state is not None
                assert other.state.FORMAT == 1
                assert other.state.own > own
                stored.append(round((other.state.own - own) / TICKS_PER_S, 1))
    assert stored == [10.0, 5.0, 0.1, 10.0, 1.1, 10.0]


# ------------------------------------------------------------------------- in a thread


def state_of(number: int) -> SigningState:
    """Timestamps of a moment."""
    return SigningState("one", number, number, ((0, 1, 1, number),))


def stored_in(path: Path) -> SigningState | None:
    """Timestamps that the next run reads."""
    with closing(TimestampFile(path)) as file:
        return file.state


def test_a_written_time_is_in_the_file_when_the_loop_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing_file, "_WAIT_S", WAIT_S)  # of a machine with other work
    path = tmp_path / "signing"
    with closing(BackgroundTimestamps(TimestampFile(path))) as store:
        assert store.state is None
        for number in range(1, 50):
            store.write(state_of(number))
            assert stored_in(path) == state_of(number)
    with closing(BackgroundTimestamps(TimestampFile(path))) as store:
        assert store.state == state_of(49)


def test_a_disk_that_holds_up_a_write_holds_up_no_step_and_the_newest_times_are_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "signing"
    file = TimestampFile(path)
    disk = HeldDisk(monkeypatch)
    with closing(BackgroundTimestamps(file)) as store:
        store.write(state_of(1))
        assert disk.writes.wait(WAIT_S)
        for number in range(2, 9):
            store.write(state_of(number))
        disk.goes_on.set()
    assert stored_in(path) == state_of(8)
    assert caplog.text.count("the disk is too slow: a signed frame may be accepted twice") == 1


def test_after_a_slow_write_the_loop_waits_for_the_next_one_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "signing"
    file = TimestampFile(path)
    disk = HeldDisk(monkeypatch)
    with closing(BackgroundTimestamps(file)) as store:
        store.write(state_of(1))
        disk.goes_on.set()
        with store._changed:
            assert store._changed.wait_for(lambda: store._written == 1, WAIT_S)
        monkeypatch.setattr(signing_file, "_WAIT_S", WAIT_S)
        store.write(state_of(2))
        assert stored_in(path) == state_of(2)


def test_a_disk_that_never_goes_on_ends_the_run_within_a_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing_file, "_STOP_S", 0.05)
    path = tmp_path / "signing"
    store = BackgroundTimestamps(TimestampFile(path))
    disk = HeldDisk(monkeypatch)
    store.write(state_of(1))
    assert disk.writes.wait(WAIT_S)
    store.close()
    assert store._thread.is_alive()
    disk.goes_on.set()
    store._thread.join(WAIT_S)
    assert stored_in(path) == state_of(1)
