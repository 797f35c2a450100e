"""Whatever a run asks and whatever goes wrong, nothing that is a site's own leaves it.

The same search over many more cases: `python -m benchmarks.leaks`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.daemon.leak_cases import MARK, Case, base_config, case, row_files
from tests.client.daemon.leak_site import Sent, Site

CONFIG = base_config()


class Place:
    """A site whose every name is a secret, and the cases that are played at it."""

    def __init__(self, folder: Path) -> None:
        self.files = row_files(folder / MARK / "rows")
        self.site = Site(folder / MARK / "site")

    def case(self, seed: int) -> Case:
        """Draw a case."""
        return case(Random(seed), self.files, CONFIG)

    def played(self, seed: int) -> Sent:
        """Play a case; return what has left."""
        return asyncio.run(self.site.play(self.case(seed)))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A site for all examples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"{MARK}_NAME", MARK)
        place = Place(tmp_path_factory.mktemp("leaks"))
        yield place
        place.site.close()


@given(seed=st.integers(0, 2**63 - 1))
def test_no_mark_of_a_site_is_in_any_message(place: Place, seed: int) -> None:
    """Not of a row, a field, a file or the environment: not in words, and not in digits of its bytes."""
    sent = place.played(seed)

    assert sent.messages
    for form in (MARK.encode(), MARK.encode("utf-16-le"), MARK.encode().hex().encode()):
        assert not any(form in message for _, message in sent.messages)


def test_the_cases_come_as_far_as_a_client_goes(place: Place) -> None:
    """Among a hundred are joins, updates, scores, failures and refusals of most kinds: no idle search."""
    methods: Counter[str] = Counter()
    codes: set[str] = set()
    for seed in range(100):
        sent = place.played(seed)
        methods.update(method for method, _ in sent.messages)
        codes.update(sent.codes)

    assert {"Join", "Download", "Upload", "SubmitUpdate", "SubmitEvaluation"} <= set(methods)
    assert {"ReportFailure", "Leave"} <= set(methods)
    assert len(codes) >= 10
