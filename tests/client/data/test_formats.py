import pytest

from antiphon.client.data import formats
from antiphon.client.data.examples import Message
from antiphon.core import registry
from antiphon.core.errors import ConfigError, DataError

POLARITY = {"text": "text", "label": "polarity", "template": "{text} It was"}
WORDS = {"positive": " good", "negative": " bad"}


def test_alpaca_marks_instruction_and_input():
    """An Alpaca row's prompt holds the instruction and the input, and its completion the output."""
    row = {"instruction": "Add.", "input": "1 2", "output": "3"}

    example = formats.alpaca().parse(row)

    assert example.prompt.index("Add.") < example.prompt.index("1 2")
    assert example.completion == "3"


def test_alpaca_puts_system_and_history_first():
    """An Alpaca row's system text and earlier questions come before its instruction."""
    row = {"instruction": "Now?", "output": "5", "system": "Be brief.", "history": [["Q1", "A1"]]}

    prompt = formats.alpaca().parse(row).prompt

    places = [prompt.index(part) for part in ("Be brief.", "Q1", "A1", "Now?")]
    assert places == sorted(places)


def test_sharegpt_becomes_roles():
    """In a ShareGPT row `human` is the user and `gpt` the assistant."""
    row = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}

    example = formats.sharegpt().parse(row)

    assert example.messages == (Message("user", "Hi"), Message("assistant", "Hello"))


def test_text_is_all_completion():
    """A text row has no prompt, so that the loss counts everything."""
    example = formats.text().parse({"text": "All of it."})

    assert (example.prompt, example.completion) == ("", "All of it.")


def test_classification_takes_the_labels_word():
    """A classification example completes its prompt with the verbalizer of its label."""
    form = formats.classification(**POLARITY, verbalizers=WORDS)

    example = form.parse({"text": "Dull.", "polarity": "negative"})

    assert (example.prompt, example.completion) == ("Dull. It was", " bad")
    assert example.choices[example.label] == example.completion


def test_text_in_braces_is_left_alone():
    """Braces inside a row's text are text, not places of the template."""
    form = formats.classification(**POLARITY, verbalizers=WORDS)

    example = form.parse({"text": "{0} {text} {x}", "polarity": "positive"})

    assert example.prompt == "{0} {text} {x} It was"


def test_choices_of_a_prompt_make_a_classification():
    """A prompt row with choices knows which of them is right."""
    row = {"prompt": "2+2=", "completion": "4", "choices": ["3", "4"]}

    example = formats.prompt_completion().parse(row)

    assert (example.choices, example.label) == (("3", "4"), 1)


@pytest.mark.parametrize(
    ("form", "row", "said"),
    [
        (formats.alpaca(), {"instruction": "a"}, "'output' is missing"),
        (formats.alpaca(), {"instruction": 3, "output": "b"}, "'instruction' must be a string"),
        (formats.messages(), {"messages": "hi"}, "'messages' must be a list"),
        (formats.messages(), {"messages": [{"role": "user", "content": "a"}]}, "no turn of the"),
        (formats.messages(), {"messages": [{"role": "boss", "content": "a"}]}, "'boss' is unknown"),
        (formats.sharegpt(), {"conversations": [3]}, "must hold objects"),
        (formats.prompt_completion(), {"prompt": "a", "completion": ""}, "'completion' is empty"),
        (
            formats.prompt_completion(),
            {"prompt": "", "completion": "c", "choices": ["a", "b"]},
            "not",
        ),
        (formats.text(), {"body": "a"}, "the row has body"),
    ],
)
def test_a_bad_row_is_named(form, row, said):
    """A row that a format cannot use is refused with the key and what is wrong with it."""
    with pytest.raises(DataError, match=said):
        form.parse(row)


def test_unknown_label_lists_the_known_ones():
    """A label without a verbalizer is refused with the labels that have one."""
    form = formats.classification(**POLARITY, verbalizers=WORDS)

    with pytest.raises(DataError, match="expected one of positive, negative"):
        form.parse({"text": "Hm.", "polarity": "mixed"})


@pytest.mark.parametrize(
    "change",
    [{"template": "no place"}, {"verbalizers": {"a": " x"}}, {"verbalizers": {"a": "x", "b": "x"}}],
)
def test_impossible_classification_is_refused(change):
    """A template without its place, or verbalizers that cannot be told apart, is a config error."""
    with pytest.raises(ConfigError):
        registry.build("format", "classification", {**POLARITY, "verbalizers": WORDS, **change})
