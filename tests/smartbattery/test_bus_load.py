# SPDX-License-Identifier: Apache-2.0
"""Bus load against a table computed by hand, and against the transfers of the driver."""

import pytest

from dronebms.core.clock import VirtualClock
from sim.emulator.world import open_virtual
from smartbattery.bq40.blocks import DA_STATUS_1, DA_STATUS_2, DA_STATUS_3
from smartbattery.bus_load import POLLS_HZ, bus_load_of, query_s, read_s, write_s
from smartbattery.bus_trace import RecordingBus, Transfer
from smartbattery.gauge import ROUND_S, SERIAL_S, Gauge
from smartbattery.profiles import BQ40Z50, SOLO, SUI, AccessMethod, BlockRead, profile_named
from smartbattery.registers import ADDRESS, VOLTAGE, PollRate

WORD_S = 574.7e-6


@pytest.mark.parametrize(
    ("us", "exact_s"),
    [
        (485, read_s(2, has_pec=False)),
        (575, read_s(2, has_pec=True)),
        (385, write_s(3, has_pec=False)),
        (475, write_s(3, has_pec=True)),
        (3275, read_s(33, has_pec=False)),
        (3365, read_s(33, has_pec=True)),
        (565, write_s(4, has_pec=True)),
        (3545, read_s(35, has_pec=True)),
    ],
    ids=["word", "word+PEC", "write", "write+PEC", "block", "block+PEC", "select", "34 bytes"],
)
def test_a_transfer_takes_what_its_clocks_take(us: int, exact_s: float) -> None:
    assert exact_s * 1e6 == pytest.approx(us, abs=0.5)


def manufacturer(block: object, length: int) -> float:
    ask = BlockRead("block", 0x71, AccessMethod.MANUFACTURER, length, block, 2.0, PollRate.FAST)  # type: ignore[arg-type]  # its fields do not matter
    return query_s(ask, has_pec=True)


def test_reads_of_several_kinds_take_the_times_computed_by_hand() -> None:
    words_s = 11 * WORD_S
    one_s = words_s + manufacturer(DA_STATUS_1, 32)
    two_s = one_s + manufacturer(DA_STATUS_2, 16)
    three_s = two_s + manufacturer(DA_STATUS_3, 18)
    with_status_s = three_s + 3 * manufacturer(None, 4)
    looks_ms = [1000 * look_s for look_s in (one_s, two_s, three_s, with_status_s)]
    assert looks_ms == pytest.approx([10.4, 13.1, 16.0, 20.7], abs=0.06)


def test_blocks_of_each_kind_have_their_own_bytes() -> None:
    assert query_s(SOLO.cells[0], has_pec=True) == read_s(9, has_pec=True)
    assert query_s(SUI.cells[0], has_pec=False) == read_s(8, has_pec=False)
    assert query_s(VOLTAGE, has_pec=True) == pytest.approx(WORD_S)


def test_the_bus_load_of_a_bq40_with_four_cells() -> None:
    budget = bus_load_of(BQ40Z50, 4, has_pec=True)
    slow_s = 15 * WORD_S + 4 * manufacturer(None, 4) + manufacturer(None, 16)
    assert budget.poll_s == pytest.approx(6 * WORD_S)
    assert budget.round_s == pytest.approx(6 * WORD_S + slow_s)
    assert budget.share_frac == pytest.approx((6 * WORD_S + slow_s / 20) * 10 + WORD_S * 1.2)


@pytest.mark.parametrize("scenario", ["survey", "bq40"])
def test_the_driver_transfers_as_computed(scenario: str) -> None:
    log: list[Transfer] = []
    gauge = Gauge(RecordingBus(open_virtual(scenario, VirtualClock())[0], log.append), ADDRESS)
    identity = gauge.poll(0.0).identity
    profile, cells = profile_named(identity.gauge), identity.cells
    assert profile is not None
    assert cells == 6
    budget = bus_load_of(profile, cells, has_pec=True)
    log.clear()
    polls = (15 + len(profile.extra)) * POLLS_HZ  # so many rounds, in whole seconds
    for poll in range(1, round(polls) + 1):
        gauge.poll(poll / POLLS_HZ)
    spent_s = sum(
        read_s(row.rx_len, has_pec=False) if row.rx_len else write_s(len(row.tx), has_pec=False)
        for row in log
    )
    assert spent_s / (polls / POLLS_HZ) == pytest.approx(budget.share_frac, rel=1e-9)
    rounds_s = POLLS_HZ * (budget.round_s - budget.poll_s) + polls / POLLS_HZ * WORD_S * (
        1.0 / SERIAL_S + 1.0 / ROUND_S
    )
    assert spent_s - polls * budget.poll_s == pytest.approx(rounds_s, rel=1e-9)
