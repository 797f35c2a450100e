"""Fleet files: what they may say, who is taken by which entry, and the fleets that are drawn."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from antiphon.cli.fleet import new_fleet, show_fleet
from antiphon.core.errors import ConfigError
from antiphon.simulation.fleet_file import ClientGroup, fleet_text, read_fleet, share_out
from antiphon.simulation.fleets import KINDS, generate

EXAMPLES = Path(__file__).parents[2] / "examples" / "fleets"


def entries(tmp_path: Path, *lines: str) -> tuple[ClientGroup, ...]:
    """Read a file of these entries."""
    file = tmp_path / "fleet.yaml"
    file.write_text("clients:\n" + "".join(f"  - {line}\n" for line in lines))
    return read_fleet(file)


def test_entries_take_clients_in_order(tmp_path: Path) -> None:
    """Each entry takes what it fits and what is left, by name, up to its count."""
    read = entries(tmp_path, "{name: c, step_s: 1}", "{count: 2, step_s: 2}", "{step_s: 3}")

    traits = share_out(read, ["d", "c", "a", "e", "b"])

    assert {name: each.step_s for name, each in traits.items()} == {
        "a": 2, "b": 2, "c": 1, "d": 3, "e": 3,
    }  # fmt: skip


MISTAKES = {
    "{stepp_s: 1}": "entry 1 of clients:\n.*stepp_s: no such key; did you mean 'step_s'",
    "{device: cpu}": "expected either step_s or tokens_per_s",
    "{step_s: 1, tokens_per_s: 9}": "expected either step_s or tokens_per_s",
    "{step_s: 0}": "step_s: Input should be greater than 0",
    "{step_s: .inf}": "step_s: Input should be a finite number",
    "{step_s: 1, availability: 0}": "availability: Input should be greater than 0",
    "{step_s: 1, failure_rate: 2}": "failure_rate: Input should be less than or equal to 1",
    "{step_s: 1, liar: maybe}": "liar: Input should be 'none'",
}


@pytest.mark.parametrize(("line", "message"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_is_named(tmp_path: Path, line: str, message: str) -> None:
    """The error names the file, the entry and the key."""
    with pytest.raises(ConfigError, match=message):
        entries(tmp_path, line)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{count: 3, step_s: 1}", r"entry 1 .*wants 3 of the name '\*', but 2 \(a, b\)"),
        ("{name: c, step_s: 1}", "wants any of the name 'c', but 0 of"),
        ("{name: a, step_s: 1}", r"no entry for 1 \(b\) of the data's clients"),
    ],
)
def test_a_fleet_must_fit_the_clients(tmp_path: Path, line: str, message: str) -> None:
    """An entry without clients, and a client without an entry, are errors that say who."""
    with pytest.raises(ConfigError, match=message):
        share_out(entries(tmp_path, line), ["a", "b"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_drawn_fleet_survives_its_file(tmp_path: Path, kind: str) -> None:
    """What `antiphon fleet new` writes is read as it was drawn, and the same seed draws the same."""
    file = tmp_path / "fleet.yaml"

    new_fleet(kind, 30, 5, file, Console(quiet=True))

    assert read_fleet(file) == generate(kind, 30, 5)
    assert generate(kind, 30, 6) != generate(kind, 30, 5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_larger_fleet_begins_like_the_smaller(kind: str) -> None:
    """Client k does not depend on how many there are."""
    assert generate(kind, 40, 1)[:7] == generate(kind, 7, 1)


@pytest.mark.parametrize(
    ("key", "low", "median", "high"),
    [
        ("step_s", 1, 10**0.5, 10),
        ("uplink_kbps", 1e3, 10**3.5, 10e3),
        ("downlink_kbps", 5e3, 5e3 * 10**0.5, 50e3),
        ("latency_s", 0.03, 0.115, 0.2),
        ("availability", 0.5, 0.7, 0.9),
        ("data_share", 0.3, 0.65, 1.0),
    ],
)
def test_phones_have_the_stated_distributions(
    key: str, low: float, median: float, high: float
) -> None:
    """Of 1,000 phones each trait fills its range and has the median of its distribution."""
    drawn = np.array([getattr(each, key) for each in generate("phones", 1000, 3)])

    assert low <= drawn.min() < low + 0.05 * (high - low)
    assert high - 0.05 * (high - low) < drawn.max() <= high
    assert np.median(drawn) == pytest.approx(median, rel=0.1)


def test_hospitals_have_the_stated_distributions() -> None:
    """Four of five hospitals have a GPU, and a CPU takes 2 to 4 s for a step."""
    drawn = generate("hospitals", 1000, 3)

    slow = [each.step_s or 0 for each in drawn if each.device == "cpu"]
    fast = [each.step_s or 0 for each in drawn if each.device == "cuda"]
    assert len(fast) == pytest.approx(800, abs=40)
    assert 0.2 <= min(fast) < max(fast) <= 0.8
    assert 2 <= min(slow) < max(slow) <= 4


def test_a_third_of_a_campus_has_a_gpu() -> None:
    """The others' CPUs take 2 to 8 s for a step, and nobody is there more than four fifths of the time."""
    drawn = generate("campus", 1000, 3)

    slow = [each.step_s or 0 for each in drawn if each.device == "cpu"]
    assert len(slow) == pytest.approx(667, abs=45)
    assert 2 <= min(slow) < max(slow) <= 8
    assert max(each.availability for each in drawn) <= 0.8


def test_robots_are_alike_and_their_lines_are_not() -> None:
    """Between the fastest and the slowest step lies a factor of two, between lines one of twenty."""
    drawn = generate("robots", 1000, 3)

    steps, lines = [each.step_s or 0 for each in drawn], [each.uplink_kbps or 0 for each in drawn]
    assert max(steps) / min(steps) == pytest.approx(2, rel=0.02)
    assert max(lines) / min(lines) == pytest.approx(20, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_the_examples_are_drawn(kind: str) -> None:
    """examples/fleets holds what its first line says."""
    text = (EXAMPLES / f"{kind}.yaml").read_text()

    command = f"antiphon fleet new {kind} --clients 4 --seed 1"

    assert text == fleet_text(generate(kind, 4, 1), f"{command}\nKeys: docs/fleets.md")


def test_a_file_is_not_overwritten(tmp_path: Path) -> None:
    """`antiphon fleet new` refuses a file that exists, and a kind that does not."""
    file = tmp_path / "mine.yaml"
    file.write_text("")

    with pytest.raises(ConfigError, match="exists already"):
        new_fleet("phones", 2, 0, file, Console())
    with pytest.raises(ConfigError, match="no fleet 'cars': expected one of campus, hospitals"):
        new_fleet("cars", 2, 0, tmp_path / "cars.yaml", Console())


def test_the_table_shows_every_entry(tmp_path: Path) -> None:
    """`antiphon fleet show` has a row for each entry, and least, median and most."""
    console = Console(record=True, width=120)
    file = tmp_path / "fleet.yaml"
    file.write_text("clients:\n  - {count: 2, step_s: 4, liar: nan}\n  - {name: b*, step_s: 2}\n")

    show_fleet(file, console)

    shown = console.export_text()
    assert [line.split()[0] for line in shown.splitlines()[3:5]] == ["2", "all"]
    assert "nan" in shown
    assert re.search(r"step, s +2 +4 +4", shown)
