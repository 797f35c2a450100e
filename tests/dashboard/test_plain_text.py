"""Text of others on a page."""

import pytest

from antiphon.dashboard.plain_text import ago, escaped, shown


def test_a_usual_name_stays_as_it_is():
    """A client's name is shown letter by letter."""
    assert shown("clinic-ä_7") == "clinic-ä_7"


@pytest.mark.parametrize("hidden", ["\x00", "\x1b", "\u202e", "\u200b", "\ud800", "\ue000"])
def test_what_cannot_be_seen_is_marked(hidden):
    """Control characters, direction marks and broken surrogates become a replacement character."""
    assert shown(f"a{hidden}b") == "a\ufffdb"


def test_a_text_stays_on_one_line_of_bounded_length():
    """Line breaks become spaces, and a long text is cut."""
    text = shown("a\n\nb" + "x" * 10_000, longest=20)

    assert text.startswith("a bxxx")
    assert len(text) == 20


@pytest.mark.parametrize(
    "text",
    ["[a](http://b)", "![a](b)", "<b>a</b>", ":material/home:", "$a$", "**a**", "`a`", "# a"],
)
def test_markdown_is_escaped(text):
    """Every character with a meaning in Markdown has a backslash before it."""
    found = escaped(text)

    assert found.replace("\\", "") == text
    assert all(found[at - 1] == "\\" for at, each in enumerate(found) if each in "[]()!<>:$*`#_/")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, ""), (0, "just now"), (42, "42 s ago"), (600, "10 min ago"), (864_000, "10 days ago")],
)
def test_times_are_said_in_fitting_units(seconds, said):
    """How long ago something was is said in seconds, minutes, hours or days."""
    assert ago(seconds) == said
