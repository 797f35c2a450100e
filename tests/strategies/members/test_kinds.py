"""No kind is without laws, and no installed member is passed over."""

import re
from inspect import signature
from pathlib import Path

import pytest
from tests.strategies.members.installed import ARGUMENTS, Case, cases, cases_of

from antiphon.core import registry

FOLDER = Path(__file__).parent
MEMBERS = [case for kind in registry.KINDS for case in cases(kind)]


def laws(kind: str) -> list[str]:
    """Return the tests that are held against every member of a kind."""
    page = "".join(path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("test_*.py")))
    fixtures = re.findall(rf'params=cases\("{kind}"\).*\ndef (\w+)\(request', page)
    return [
        law for name in fixtures for law in re.findall(rf"def (test_\w+)\([^)]*\b{name}\b", page)
    ]


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_kind_has_laws(kind):
    """Whoever adds a kind of strategy writes down here what its members have in common."""
    assert len(laws(kind)) >= 3


def test_a_kind_without_laws_is_noticed():
    """The search above finds nothing where there is nothing."""
    assert laws("no such kind") == []


@pytest.mark.parametrize("case", MEMBERS, ids=lambda case: f"{case.kind} {case}")
def test_every_member_can_be_tried(case):
    """Each installed member is built from the arguments that are listed for it, or from its defaults."""
    assert case.build() is not None


def test_every_kind_has_a_member_to_try():
    """Laws that are held against nobody prove nothing."""
    assert {case.kind for case in MEMBERS} == set(registry.KINDS)


def test_a_member_whose_arguments_are_unknown_fails_and_says_what_to_add():
    """It is no reason to pass it over."""

    def stranger(*, clients: list[str], size: int = 3) -> None:
        """Needs a list that nobody has given."""

    (case,) = cases_of("scheduler", "stranger", signature(stranger).parameters)

    with pytest.raises(pytest.fail.Exception, match=r"without clients: add a line \('scheduler'"):
        case.build()


def test_a_member_whose_defaults_contradict_each_other_fails_and_says_what_to_add():
    """A budget of nothing: the member's own words, and where its arguments belong."""
    with pytest.raises(pytest.fail.Exception, match=r"no budget.* add a line"):
        Case("policy", "adaptive").build()


def test_arguments_are_listed_for_known_kinds():
    """A misspelt kind would list arguments for nobody."""
    assert {kind for kind, _ in ARGUMENTS} <= set(registry.KINDS)
