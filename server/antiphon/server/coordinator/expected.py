"""How large an upload may be: what its task can come to, and little more."""

from __future__ import annotations

from antiphon.server.federation import Federation

OVER = 1.1
"""What may be announced, times what is expected."""

_NAME_BYTES, _ENVELOPE_BYTES = 512, 64 << 10


def most_upload_bytes(federation: Federation, client: str, number: int) -> int:
    """Return the largest blob that a client may announce for round `number`: names and headers are free."""
    space, expected = federation.space, federation.expected_upload_bytes(client, number)
    names = len(space.factors) + len(space.weights)
    return int(OVER * expected) + _NAME_BYTES * names + _ENVELOPE_BYTES
