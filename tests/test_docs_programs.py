# SPDX-License-Identifier: Apache-2.0
"""The Python programs printed in docs/ run as they stand there, in a folder with a flight.csv."""

import gzip
import itertools
import re
import shutil
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
_ROWS = 120  # of the flight: a program prints a line for each
PROGRAMS = [
    pytest.param(program, id=f"{page.stem}-{number}")
    for page in sorted(DOCS.glob("*.md"))
    for number, program in enumerate(
        re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S), start=1
    )
]
LIBRARY = [param for param in PROGRAMS if str(param.id).startswith("library-")]
OTHERS = [param for param in PROGRAMS if param not in LIBRARY]


def run(program: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Run a program; the lines that it prints."""
    exec(compile(program, "docs", "exec"), {"__name__": "__main__"})  # noqa: S102 - our own page
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out.splitlines()


@pytest.mark.parametrize("program", OTHERS)
def test_each_program_of_another_page_runs_and_prints(
    program: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    computed_flights: tuple[Path, ...],
) -> None:
    flight = computed_flights[3]
    with gzip.open(flight, "rt", encoding="utf-8") as rows:
        head = "".join(itertools.islice(rows, _ROWS))
    (tmp_path / "flight.csv").write_text(head, encoding="utf-8")
    shutil.copy(
        flight.with_name(flight.name.removesuffix(".csv.gz") + ".json"), tmp_path / "flight.json"
    )
    monkeypatch.chdir(tmp_path)
    assert run(program, capsys)


def test_the_tutorial_has_three_programs_of_at_most_25_lines() -> None:
    lengths = [len(str(param.values[0]).splitlines()) for param in LIBRARY]
    assert len(lengths) == 3
    assert max(lengths) <= 25


def test_the_tutorial_reads_estimates_and_evaluates_limits(
    capsys: pytest.CaptureFixture[str],
) -> None:
    gauge, estimate, limits = (run(str(param.values[0]), capsys) for param in LIBRARY)
    cells_v = [float(line.split()[2]) for line in gauge[2:]]
    assert float(gauge[1].split()[0]) == pytest.approx(sum(cells_v), abs=0.05)
    bounds_s = [[int(text) for text in re.findall(r"(\d+) s", line)] for line in estimate]
    assert [now_s for now_s, _, _ in bounds_s] == [60, 120, 180, 240, 300]
    assert all(low_s < left_s for _, left_s, low_s in bounds_s)
    assert any("charge_low: LOW: state of charge 90 % <= 90 %" in line for line in limits)
