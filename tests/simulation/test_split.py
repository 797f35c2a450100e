import io

import pytest
from rich.console import Console

from antiphon.client.data.examples import Example
from antiphon.client.data.rows import Rows
from antiphon.core.errors import DataError
from antiphon.core.run_sections import DataConfig
from antiphon.simulation.partition import by_field, iid
from antiphon.simulation.split import draw_split, prepare, split_table


def make_rows(count=40):
    values = tuple({"site": "ab"[index % 2]} for index in range(count))
    examples = tuple(
        Example(f"{index:03d}", (" yes", " no")[index % 4 > 1], (), (" yes", " no"), index % 4 // 2)
        for index in range(count)
    )
    return Rows(values, examples)


def make_config(**changes):
    form = {"kind": "text"}
    return DataConfig.model_validate(
        {"dataset": "x", "format": form, "eval_examples": 5, **changes}
    )


def test_clients_come_in_order_with_their_parts():
    """Each client holds its rows, the held-out part set aside and the rest capped."""
    data = make_config(max_train_examples=8)

    clients = prepare(make_rows(), by_field(field="site"), data, seed=1)

    sizes = [(client.name, len(client.train), len(client.evaluation)) for client in clients]
    assert sizes == [("a", 8, 5), ("b", 8, 5)]


def test_the_seed_decides():
    """The same seed prepares the same data, another seed other data."""
    rows, data = make_rows(), make_config(clients=4)

    first, again, other = (prepare(rows, iid(), data, seed=seed) for seed in (1, 1, 2))

    assert first == again
    assert first != other


def test_a_client_with_too_few_rows_is_said():
    """A client that cannot spare the held-out examples is an error."""
    with pytest.raises(DataError, match=r"lower data\.eval_examples"):
        prepare(make_rows(), iid(), make_config(clients=8), seed=1)


def test_the_table_shows_sizes_and_labels():
    """The table names the labels and shows each client's share of them."""
    clients = prepare(make_rows(), by_field(field="site"), make_config(), seed=1)
    out = io.StringIO()

    Console(file=out, width=100).print(split_table(clients, ("good", "bad")))

    header, line = (
        next(each for each in out.getvalue().splitlines() if key in each)
        for key in ("good", "│ a ")
    )
    assert "bad" in header
    assert [cell.strip() for cell in line.split("│")[2:6]] == ["15", "5", "50%", "50%"]


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_picture_is_drawn(tmp_path, suffix, magic):
    """The split is drawn to a PNG or an SVG file."""
    clients = prepare(make_rows(), by_field(field="site"), make_config(), seed=1)

    draw_split(clients, tmp_path / f"split.{suffix}")

    assert (tmp_path / f"split.{suffix}").read_bytes().startswith(magic)


def test_unlabelled_data_have_a_picture_too(tmp_path):
    """Without labels the bars show training and held-out examples, and the table has no shares."""
    rows = Rows(({"site": "a"},) * 9, tuple(Example(completion=str(n)) for n in range(9)))
    clients = prepare(rows, by_field(field="site"), make_config(), seed=1)

    draw_split(clients, tmp_path / "split.png")

    assert [column.header for column in split_table(clients).columns][-1] == "mean length"
    assert (tmp_path / "split.png").stat().st_size > 1000
