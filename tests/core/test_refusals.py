"""Codes that a site sends in place of its own words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.refusals import SENTENCES, Refusal, is_owners_word, read_codes, sentence


def test_every_code_has_a_sentence_of_its_own() -> None:
    """No code is without words, and no two codes share them."""
    sentences = [SENTENCES[each] for each in Refusal]

    assert len(set(sentences)) == len(Refusal)


def test_a_code_of_a_newer_version_is_named() -> None:
    """What this version does not know is shown as the code that it is."""
    assert "'policy.moon'" in sentence("policy.moon")


def test_words_in_place_of_a_code_are_not_shown() -> None:
    """A peer that sends a sentence as its code gets nothing of it onto a page."""
    assert "SECRET" not in sentence("SECRET-DIAGNOSIS in row 3")


@given(st.lists(st.text(max_size=80), max_size=40))
def test_codes_of_a_peer_are_bounded(codes: list[str]) -> None:
    """Whatever a peer sends: at least one code, sixteen at most, each short, each once."""
    read = read_codes(codes)

    assert 1 <= len(read) <= 16
    assert len(set(read)) == len(read)
    assert all(len(each) <= 65 and each.isascii() for each in read)


def test_what_the_owner_forbids_is_told_from_what_failed() -> None:
    """The owner's word is no accident: it is not tried again."""
    assert is_owners_word(Refusal.UPLOAD_ROUND)
    assert not is_owners_word(Refusal.MEMORY)
