"""What every installed format has in common."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies.members.installed import cases

from antiphon.client.data.examples import Example
from antiphon.core.errors import DataError

TURNS = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello")]
ROWS = {
    "alpaca": {
        "instruction": "Add.",
        "input": "1 2",
        "output": "3",
        "system": "Be brief.",
        "history": [["Double 2.", "4"]],
    },
    "messages": {"messages": [{"role": role, "content": said} for role, said in TURNS]},
    "sharegpt": {
        "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
    },
    "prompt_completion": {"prompt": "2+2=", "completion": "4", "choices": ["3", "4"]},
    "text": {"text": "All of it."},
    "classification": {"text": "Dull.", "label": "bad"},
    "question": {"question": "2+2?", "answer": "4"},  # of docs/extending.md
}
"""A row that each format accepts, with every key that it knows."""

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)
"""Whatever stands in a line of JSON."""


@pytest.fixture(scope="module", params=cases("format"), ids=str)
def case(request):
    return request.param


@pytest.fixture(scope="module")
def form(case):
    return case.build()


@pytest.fixture(scope="module")
def row(case):
    if case.name not in ROWS:
        where = "tests/strategies/members/test_format.py"
        pytest.fail(f"format {case.name}: add a row that it accepts to ROWS in {where}")
    return ROWS[case.name]


def assert_trainable(example, form):
    """There is something to learn, and a classification's word is one of its choices."""
    assert isinstance(example, Example)
    learnt = [turn.content for turn in example.messages if turn.role == "assistant"]
    assert any(learnt) if example.messages else example.completion
    if example.choices:
        assert example.completion == example.choices[example.label]
        assert len(set(example.choices)) == len(example.choices) > 1
    else:
        assert example.label is None
    if form.labels:
        assert len(form.labels) == len(example.choices)


def assert_refused_or_trainable(form, row):
    """Parse; anything but DataError and a good example is a defect."""
    try:
        example = form.parse(row)
    except DataError:
        return
    assert_trainable(example, form)


def test_a_good_row_becomes_an_example(form, row):
    """A row of the format has something to learn in it."""
    assert_trainable(form.parse(row), form)


def test_a_row_is_read_alike_every_time(form, row):
    """The order of its keys, keys of other tools, and rows read before it change nothing."""
    kept, turned = copy.deepcopy(row), {"id_of_another_tool": 7, **dict(reversed(row.items()))}

    examples = [form.parse(each) for each in (row, turned, row)]

    assert examples[0] == examples[1] == examples[2]
    assert row == kept


def test_a_row_of_nothing_is_refused(form):
    """No key, nothing to learn: a DataError, as the file and the line are added to."""
    with pytest.raises(DataError):
        form.parse({})


@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_row_is_refused_or_read(form, row, data):
    """With a key gone or any JSON in its place, deep inside too: a DataError, or a good example."""
    damaged = copy.deepcopy(row)
    inside = damaged
    while True:
        at = data.draw(st.sampled_from(sorted(inside)))
        deeper = inside[at][0] if isinstance(inside[at], list) else inside[at]
        if not isinstance(deeper, dict) or data.draw(st.booleans()):
            break
        inside = deeper
    if data.draw(st.booleans()):
        inside[at] = data.draw(values)
    else:
        del inside[at]

    assert_refused_or_trainable(form, damaged)


@settings(max_examples=40)
@given(row=st.dictionaries(st.text(max_size=9), values, max_size=4))
def test_a_row_of_anything_is_refused_or_read(form, row):
    """Any object of JSON: a DataError, or a good example."""
    assert_refused_or_trainable(form, row)
