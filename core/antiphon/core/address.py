"""HOST:PORT, in settings and on the command line."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

_ADDRESS = re.compile(r"([\w.-]+|\[[\w.:%-]+\]):(\d{1,5})")
_MOST = 65_535
_EXPECTED = f"expected HOST:PORT, such as 127.0.0.1:8470 (port up to {_MOST}; IPv6 in brackets)"


def is_address(text: str) -> bool:
    """Whether a text is HOST:PORT; port 0, which stands for any, included."""
    found = _ADDRESS.fullmatch(text)
    return found is not None and int(found[2]) <= _MOST


def _checked(text: str) -> str:
    if not is_address(text):
        raise PydanticCustomError("address", _EXPECTED)
    return text


def _none_in_words(value: Any) -> Any:
    # A flag cannot say null, and a person writes the word that the documentation uses.
    return None if isinstance(value, str) and value.strip().lower() == "none" else value


Address = Annotated[str, AfterValidator(_checked)]
"""A setting that must be an address."""

OptionalAddress = Annotated[Address | None, BeforeValidator(_none_in_words)]
"""A setting that may also be none: null, or the word `none`."""
