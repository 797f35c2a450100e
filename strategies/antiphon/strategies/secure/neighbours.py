"""How many shares give a member's secret, where all members of a cohort mask with each other.

Each of n members splits its secrets into k = n − 1 shares, t of which give them back. Always 2t > k: a
coordinator that tells some members that another is there and others that it is not needs 2t − k of them in
league with it to learn both of its secrets, or enough of them to be told of a sum that the others are not
in. Sparse graphs (Bell et al., CCS 2020) need members that agree on whose updates have arrived: without
that a coordinator tells each neighbourhood what it likes.
"""

from __future__ import annotations

import math


def shares_needed(members: int, threshold: float) -> int:
    """Return t: as many as the others are of whom, with a member itself, the threshold is reached."""
    others = members - 1
    survivors = math.ceil(threshold * members - 1e-9) - 1
    return min(others, max(others // 2 + 1, survivors))
