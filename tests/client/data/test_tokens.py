import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from antiphon.client.assets import tiny
from antiphon.client.data.examples import Example, Message
from antiphon.client.data.tokens import Encoded, collate, encode, encode_choices
from antiphon.core.errors import DataError

TURNS = (
    Message("user", "yes"),
    Message("assistant", "no bright"),
    Message("user", "dark"),
    Message("assistant", "text"),
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    tiny.convert(folder, folder)
    return AutoTokenizer.from_pretrained(folder / "model")


def trained_text(tokenizer, encoded):
    ids = [t for t, on in zip(encoded.input_ids, encoded.trained, strict=True) if on]
    return " ".join(tokenizer.convert_ids_to_tokens(ids))


def test_the_loss_counts_the_completion_and_its_end(tokenizer):
    """A generated completion and the end-of-sequence token are trained, the prompt is not."""
    encoded = encode(tokenizer, Example("bright text :", " yes no"), 32)

    assert trained_text(tokenizer, encoded) == "yes no <eos>"
    assert (encoded.prompt, encoded.cut) == (3, 0)


def test_a_verbalizer_has_no_end(tokenizer):
    """A classification's completion ends without an end-of-sequence token."""
    example = Example("text :", " yes", choices=(" yes", " no"), label=0)

    assert trained_text(tokenizer, encode(tokenizer, example, 32)) == "yes"


def test_a_text_counts_from_its_second_token(tokenizer):
    """In a text everything is trained but the first token, which nothing predicts."""
    encoded = encode(tokenizer, Example(completion="yes no dark"), 32)

    assert trained_text(tokenizer, encoded) == "no dark <eos>"


def test_a_long_prompt_is_cut_from_the_left(tokenizer):
    """An example that is too long keeps its completion and the end of its prompt."""
    encoded = encode(tokenizer, Example("yes no bright dark", " text"), 4)

    kept = tokenizer.convert_ids_to_tokens(encoded.input_ids)
    assert (kept, encoded.cut) == (["bright", "dark", "text", "<eos>"], 2)


def test_a_long_completion_is_cut_at_the_right(tokenizer):
    """A completion that is too long alone loses its end."""
    encoded = encode(tokenizer, Example("yes", " no bright dark"), 2)

    assert tokenizer.convert_ids_to_tokens(encoded.input_ids) == ["no", "bright"]
    assert encoded.cut == 3


WORDS = st.lists(st.sampled_from(["yes", "no", "bright", ":"]), min_size=1, max_size=12)


@settings(deadline=None)
@given(prompt=WORDS, completion=WORDS, limit=st.integers(2, 30))
def test_nothing_is_longer_than_the_limit(tokenizer, prompt, completion, limit):
    """Kept and cut tokens together are all tokens, and never more than the limit are kept."""
    encoded = encode(tokenizer, Example(" ".join(prompt), " ".join(completion)), limit)

    assert len(encoded.input_ids) == len(encoded.trained) <= limit
    assert len(encoded.input_ids) + encoded.cut == len(prompt) + len(completion) + 1


def test_choices_share_the_same_prompt(tokenizer):
    """Choices of unlike length see the same end of a prompt that is too long."""
    example = Example("yes no dark", " bright", choices=(" bright", " text label answer"), label=0)

    first, second = encode_choices(tokenizer, example, 5)

    assert first.input_ids[: first.prompt] == second.input_ids[: second.prompt]
    assert len(second.input_ids) == 5


def test_the_loss_counts_the_assistants_turns(tokenizer):
    """Every turn of the assistant is trained with its end, and nothing else of a conversation."""
    encoded = encode(tokenizer, Example(messages=TURNS), 64)

    assert trained_text(tokenizer, encoded) == "no bright <eos> text <eos>"


def test_a_long_conversation_keeps_its_last_reply(tokenizer):
    """A conversation that is too long loses its oldest tokens."""
    encoded = encode(tokenizer, Example(messages=TURNS), 4)

    kept = tokenizer.convert_ids_to_tokens(encoded.input_ids)
    assert kept == ["<eos>", "<assistant>", "text", "<eos>"]


def test_a_conversation_needs_a_template(tokenizer, monkeypatch):
    """A tokenizer without a chat template is refused with what to do."""
    monkeypatch.setattr(tokenizer, "chat_template", None)

    with pytest.raises(DataError, match="no chat template"):
        encode(tokenizer, Example(messages=TURNS), 64)


def test_a_template_that_rewrites_history_is_refused(tokenizer, monkeypatch):
    """A template whose earlier turns depend on later ones is refused."""
    template = "{{ messages | length }} {% for m in messages %}{{ m['content'] }} {% endfor %}"
    monkeypatch.setattr(tokenizer, "chat_template", template)

    with pytest.raises(DataError, match="changes earlier turns"):
        encode(tokenizer, Example(messages=TURNS), 64)


def test_a_template_may_open_a_reply_with_more_than_it_keeps(tokenizer, monkeypatch):
    """Where the opening of a reply is not kept, the reply counts from the end of what came before."""
    template = (
        "{% for m in messages %}{{ m['content'] }} {% endfor %}"
        "{% if add_generation_prompt %}answer {% endif %}"
    )
    monkeypatch.setattr(tokenizer, "chat_template", template)

    encoded = encode(tokenizer, Example(messages=TURNS), 64)

    assert trained_text(tokenizer, encoded) == "no bright text"


def test_nothing_to_learn_is_refused(tokenizer):
    """An example whose only trained token has nothing before it is refused."""
    with pytest.raises(DataError, match="no token to learn"):
        encode(tokenizer, Example("", "yes", choices=("yes", "no"), label=0), 8)


def test_a_batch_is_padded_at_the_right():
    """Shorter examples are padded, masked, and count nothing where they are padded."""
    batch = collate([Encoded([5, 6, 7], [False, True, True], 1), Encoded([8], [False], 1)], 1)

    assert batch.input_ids.tolist() == [[5, 6, 7], [8, 1, 1]]
    assert batch.attention_mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.labels.tolist() == [[-100, 6, 7], [-100, -100, -100]]
    assert batch.labels.dtype == torch.int64
