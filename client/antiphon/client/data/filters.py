"""Which rows of a data set a run uses: `data.filter` of its config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antiphon.core.errors import ConfigError, DataError


def check_filter(wanted: Mapping[str, Any]) -> None:
    """Raise ConfigError for a condition that no row can meet."""
    for field, condition in wanted.items():
        if condition == [] or isinstance(condition, dict):
            raise ConfigError(
                f"data.filter.{field} is {condition!r}: give one value, a list of values, or "
                "[low, high] for numbers"
            )
        if _is_range(condition) and condition[0] > condition[1]:
            raise ConfigError(
                f"data.filter.{field} is {condition!r}: the low end is above the high end"
            )


def passes(row: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a row meets every condition: equal, one of a list, or inside two numbers, inclusive.

    Raises DataError where the row lacks the field, or holds no number where a range is asked for.
    """
    return all(_meets(row, field, condition) for field, condition in wanted.items())


def _meets(row: Mapping[str, Any], field: str, condition: Any) -> bool:
    if field not in row:
        raise DataError(f"data.filter names {field!r}, but the row has {', '.join(row) or 'none'}")
    value = row[field]
    if _is_range(condition):
        if not _is_number(value):
            raise DataError(f"data.filter wants {field!r} in {condition}, but it is {value!r}")
        return bool(condition[0] <= value <= condition[1])
    options = condition if isinstance(condition, list) else [condition]
    # In Python True == 1; in a data file they are different values.
    return any(
        value == each and isinstance(value, bool) == isinstance(each, bool) for each in options
    )


def _is_range(condition: Any) -> bool:
    return isinstance(condition, list) and len(condition) == 2 and all(map(_is_number, condition))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
