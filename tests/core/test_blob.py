"""Bytes named by their hash."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.blob import Blob, blob_of


@given(st.binary(max_size=2000))
def test_a_blob_is_named_by_its_content(content):
    """Its name is the SHA-256, its size the number of bytes."""
    blob = blob_of(content, "safetensors")

    assert blob == Blob(hashlib.sha256(content).hexdigest(), len(content), "safetensors")


def test_the_same_bytes_read_differently_are_another_blob():
    """How a blob is read is part of what is said of it."""
    assert blob_of(b"x", "safetensors") != blob_of(b"x", "coefficients")
