"""HOST:PORT."""

from __future__ import annotations

import pytest

from antiphon.core.address import is_address


@pytest.mark.parametrize(
    "text", ["hub:8471", "127.0.0.1:0", "[::1]:1", "a-b.example.org:65535", "HOST:8471"]
)
def test_an_address(text: str) -> None:
    """Names, IPv4 and IPv6 in brackets, with a port."""
    assert is_address(text)


@pytest.mark.parametrize(
    "text",
    ["hub", ":1", "hub:", "hub:65536", "::1:1", "a b:1", "a;b:1", "hub:1\n", "http://hub:1"],
)
def test_no_address(text: str) -> None:
    """Nothing that a shell would read otherwise, and no port that there is not."""
    assert not is_address(text)
