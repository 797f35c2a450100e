"""A tokenizer's files in a folder of their own, as transformers reads them."""

from __future__ import annotations

from pathlib import Path

from antiphon.client.data.tokens import Tokenizer
from antiphon.core.files import written_whole


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the files, whole or not at all; a folder that is there already is left as it is."""
    if folder.is_dir():
        return
    with written_whole(folder) as part:
        tokenizer.save_pretrained(part)
