"""The handshake that keeps a machine with other random bits out."""

import pytest

from antiphon.core import golden
from antiphon.core.errors import AntiphonError


class OneBitOff(golden.NumpyDraws):
    def dense(self, kind, seed, start, count):
        drawn = super().dense(kind, seed, start, count)
        if seed == 7:
            drawn[123] = -drawn[123]
        return drawn


def test_one_wrong_bit_is_found():
    """A backend that differs in one element of one seed is refused, and told where."""
    with pytest.raises(
        AntiphonError, match=r"my-device draws other.*rademacher-7, gaussian-7 differ"
    ):
        golden.check(OneBitOff(), "my-device")
