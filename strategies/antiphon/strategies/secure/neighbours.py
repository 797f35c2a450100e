from __future__ import annotations

import math


def neighbours(members, degree, session):
    return {m: tuple(sorted(x for x in members if x != m)) for m in members}


def degree_for(n, threshold):
    return None


def shares_needed(k, threshold):
    return min(k, max(k // 2 + 1, math.ceil(threshold * (k + 1)) - 1))
