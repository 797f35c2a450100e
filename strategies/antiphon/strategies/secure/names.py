"""Names of what secure sums exchange, the same at both ends."""

from __future__ import annotations

from typing import Final

KEYS: Final = "secure_keys"
SHARES: Final = "secure_shares"
UNMASKING: Final = "secure_unmasking"
MASKED: Final = "masked"
"""The form of an update under masks."""

MEMBERS: Final = "members"
"""Among whom a round's sum is: see Among."""

MASK: Final = "mask"
TRAINED: Final = "trained"
REFUSED: Final = "refused"
"""What unmasking comes to: what is to be taken away of whose sum, or why there is none."""
