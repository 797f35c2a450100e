"""Rows of a data set: JSONL files read line by line, filtered, and turned into examples.

A data set is a JSONL file, a folder of them, a name that `antiphon fetch` knows, or the id of a
data set on the Hugging Face hub, of which the *.jsonl files are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from antiphon.client.assets.names import dataset_file, dataset_names
from antiphon.client.data.examples import Example
from antiphon.client.data.filters import check_filter, passes
from antiphon.client.data.formats import Format, Row
from antiphon.core.errors import DataError, RowError, TooFewRowsError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Rows:
    """Rows in file order, each with its example; skipped: what was wrong with the rest."""

    values: tuple[Row, ...]
    examples: tuple[Example, ...]
    skipped: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


def load_rows(
    dataset: str,
    form: Format,
    *,
    on_bad_rows: Literal["fail", "skip"] = "fail",
    wanted: Mapping[str, Any] | None = None,
) -> Rows:
    """Read the rows of `dataset` that pass the filter `wanted`, as `form` understands them.

    A row is bad when it is no UTF-8, no JSON object, lacks a field of the filter, or the format
    refuses it. Raises DataError with the file and the line of the first bad row (`fail`), for a
    data set that cannot be found, and for an empty result. With `skip`, bad rows are listed in
    `skipped`.
    """
    conditions = dict(wanted or {})
    check_filter(conditions)
    values: list[Row] = []
    examples: list[Example] = []
    skipped: list[str] = []
    for place, line in _lines(dataset):
        try:
            row = _parse_line(line)
            if passes(row, conditions):
                example = form.parse(row)
                values.append(row)
                examples.append(example)
        except DataError as error:
            if on_bad_rows == "fail":
                raise RowError(
                    f"{place}: {error}. Mend the row, or set data.on_bad_rows to skip"
                ) from None
            skipped.append(f"{place}: {error}")
    if not values:
        raise _nothing_left(dataset, conditions, skipped)
    return Rows(tuple(values), tuple(examples), tuple(skipped), form.labels)


def count_rows(dataset: str) -> int:
    """Return how many rows a data set has, broken ones too. Raises DataError as load_rows does."""
    return sum(1 for _ in _lines(dataset))


def data_files(dataset: str) -> tuple[Path, ...]:
    """Find the JSONL files of a data set, sorted by name; a known name is fetched if need be.

    Raises DataError saying what was looked for.
    """
    path = Path(dataset).expanduser()
    if not path.exists():
        path = dataset_file(dataset) or _from_hub(dataset)
    if path.is_file():
        return (path,)
    files = tuple(sorted(path.glob("*.jsonl")))
    if not files:
        raise DataError(
            f"the folder {path} holds no *.jsonl file: give a folder with the data in it"
        )
    return files


def _lines(dataset: str) -> Iterator[tuple[str, bytes]]:
    for path in data_files(dataset):
        try:
            with path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        yield f"{path}:{number}", line
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}") from None


def _parse_line(line: bytes) -> Row:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"the line is not UTF-8 (byte {error.start}: {error.reason})") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"the line is not JSON ({error})") from None
    if not isinstance(row, dict):
        raise DataError(f"the line must be a JSON object, got {type(row).__name__}")
    return row


def _nothing_left(dataset: str, conditions: Mapping[str, Any], skipped: list[str]) -> DataError:
    if skipped:
        return RowError(
            f"{dataset}: no usable row, {len(skipped)} were skipped. The first: {skipped[0]}"
        )
    if conditions:
        return TooFewRowsError(f"{dataset}: no row passes data.filter {dict(conditions)}: widen it")
    return TooFewRowsError(f"{dataset} is empty: give a file with one JSON object per line")


def _from_hub(dataset: str) -> Path:
    if not _HUB_ID.fullmatch(dataset) or dataset.endswith((".jsonl", ".json")):
        raise DataError(
            f"no data set {dataset!r}: give a JSONL file or a folder of them that exists, a hub id "
            f"owner/name, or one of {', '.join(dataset_names())}"
        )
    # Imported here because most runs never ask the hub.
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(dataset, repo_type="dataset", allow_patterns="*.jsonl"))
    except Exception as error:
        # The hub's client raises kinds of its own, of its transport and of the system.
        raise DataError(
            f"no file or folder {dataset!r}, and the hub could not give it "
            f"({type(error).__name__}). Check the spelling and the network, or use one of "
            f"{', '.join(dataset_names())}"
        ) from error
