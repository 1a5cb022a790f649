# SPDX-License-Identifier: Apache-2.0
"""Each target of the fuzzing: its valid inputs and a few changed ones, without the fuzzer."""

import logging
from collections.abc import Iterator
from random import Random

import pytest

from benchmarks.fuzz_targets import TARGETS, raise_logged_exceptions
from tests.flightlogs.test_hostile_logs import mutated

_TURNS = 30


@pytest.fixture
def logged_exceptions_are_raised() -> Iterator[None]:
    before = logging.getLogger().handlers[:]
    raise_logged_exceptions()
    yield
    logging.getLogger().handlers[:] = before
    logging.raiseExceptions = True


@pytest.mark.usefixtures("logged_exceptions_are_raised")
@pytest.mark.parametrize("name", TARGETS)
def test_a_changed_input_raises_only_what_its_reader_documents(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target, random = TARGETS[name], Random(name)  # noqa: S311 - seeded damage, not a secret
    seeds = list(target.seeds())
    for seed in seeds[:5]:
        target.run(seed)
    for _ in range(_TURNS):
        target.run(mutated(random.choice(seeds) or random.randbytes(40), random))
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.usefixtures("logged_exceptions_are_raised")
def test_an_exception_that_is_only_logged_is_a_finding() -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  # the block is under test
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError:
            logging.getLogger("dronebms.any").exception("an error")
