import json

import pytest

from antiphon.client.assets import bigbench
from antiphon.client.data.formats import prompt_completion

PLAIN = {"examples": [{"input": "1+1", "target": ["2", "two"]}]}
CHOICE = {
    "task_prefix": "Choose.",
    "examples": [{"input": "Is it?", "target_scores": {"no": 0, "yes": 1}}],
}
BARE = {
    "example_input_prefix": "",
    "example_output_prefix": " ->",
    "examples": [{"input": "cat", "target": "tac"}],
}


@pytest.fixture
def convert(tmp_path):
    def run(**tasks):
        for name, task in tasks.items():
            folder = tmp_path / "x/benchmark_tasks" / name.replace("__", "/")
            folder.mkdir(parents=True)
            (folder / "task.json").write_text(json.dumps(task))
        bigbench.convert(tmp_path / "x", tmp_path)
        files = sorted((tmp_path / "rows").iterdir())
        return {file.stem: json.loads(file.read_text().splitlines()[0]) for file in files}

    return run


def test_a_target_becomes_a_completion(convert):
    """A plain task's first target completes the prompt; all of them are kept as references."""
    row = convert(sums=PLAIN)["sums"]

    assert (row["prompt"], row["completion"]) == ("\nQ: 1+1\nA:", " 2")
    assert row["references"] == [" 2", " two"]


def test_scores_become_choices(convert):
    """A scored task's prompt shows the choices, and the best of them completes it."""
    row = convert(pick=CHOICE)["pick"]

    assert row["prompt"] == "Choose.\nQ: Is it?\n  choice: no\n  choice: yes\nA:"
    assert (row["completion"], row["choices"]) == (" yes", [" no", " yes"])


def test_a_tasks_own_prefixes_are_kept(convert):
    """A task that sets its prefixes gets no others, and no space that it did not ask for."""
    row = convert(turn=BARE)["turn"]

    assert (row["prompt"], row["completion"]) == ("cat ->", "tac")


def test_a_subtask_is_named_after_its_task(convert):
    """A subtask's rows carry both names, and its file is one path segment."""
    rows = convert(sums__small=PLAIN)

    assert rows["sums.small"]["task"] == "sums:small"


def test_what_is_left_out_is_named(convert, tmp_path):
    """Tasks without plain examples are left out, and a file says which and why."""
    convert(sums=PLAIN, odd={"examples": [{"input": "a"}]}, parent={"name": "parent"})

    said = (tmp_path / "left_out.txt").read_text()
    assert "odd: example 0 has neither" in said
    assert "parent: has no examples" in said
    assert "sums" not in said


def test_rows_fit_the_format(convert):
    """Every row is one that the prompt_completion format reads."""
    examples = {
        name: prompt_completion().parse(row) for name, row in convert(a=PLAIN, b=CHOICE).items()
    }

    assert examples["b"].label == 1
