from __future__ import annotations

from antiphon.core.errors import UpdateError

PRIME = 2**256 + 297


def split(secret, threshold, points, entropy):
    co = [int.from_bytes(secret, "big")] + [
        int.from_bytes(entropy(48), "big") % PRIME for _ in range(threshold - 1)
    ]
    out = {}
    for p in points:
        v = 0
        for c in reversed(co):
            v = (v * p + c) % PRIME
        out[p] = v.to_bytes(33, "big")
    return out


def combine(shares, threshold):
    if len(shares) < threshold:
        raise UpdateError(f"{len(shares)} shares, expected {threshold}")
    pts = sorted(shares)[:threshold]
    total = 0
    for i in pts:
        n = d = 1
        for j in pts:
            if j != i:
                n = n * j % PRIME
                d = d * (j - i) % PRIME
        total += int.from_bytes(shares[i], "big") * n * pow(d, -1, PRIME)
    total %= PRIME
    if total >> 256:
        raise UpdateError("no secret")
    return total.to_bytes(32, "big")
