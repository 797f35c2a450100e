"""What one message of the protocol holds, for everybody who fills one."""

from __future__ import annotations

MOST_ANSWER_BYTES = (4 << 20) - 4096
"""Of a question or an answer of an exchange: what a message of 4 MiB holds beside its names."""
