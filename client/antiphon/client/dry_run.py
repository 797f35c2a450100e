"""What a run would do with this site's rows, and cost it, without a step and without a word to anybody.

Nothing is fetched: a model or a data set that is not on this machine is said to be missing.
"""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.client.assets.cache import cache_dir
from antiphon.client.assets.catalogue import CATALOGUE
from antiphon.client.assets.fetch import is_complete
from antiphon.client.data.advice import advice
from antiphon.client.data.clients import ClientExamples, encode_client
from antiphon.client.data.local import LocalData, load_local
from antiphon.client.data.rows import count_rows
from antiphon.client.estimate import Estimate, estimate
from antiphon.client.language_model import load_tokenizer
from antiphon.core.config import RunConfig
from antiphon.core.errors import UserError


@dataclass(frozen=True)
class RowsHere:
    """What becomes of the rows: read, passed over as broken, left out by filter and cap, and used.

    cut: training examples that are too long and lose tokens, none: the tokenizer is not here; advice:
    what is valid and probably not meant.
    """

    read: int
    skipped: int
    left_out: int
    train: int
    evaluation: int
    cut: int | None
    advice: tuple[str, ...]


def look_at_rows(config: RunConfig, client: str, *, held_out_said: bool) -> RowsHere:
    """Read the rows as the trainer would. client: its name; held_out_said: see load_local.

    Raises DataError and ConfigError with the words that the site's log would have.
    """
    _is_here(config.data.dataset)
    local = load_local(client, config.data, config.seed, held_out_said=held_out_said)
    read, found = count_rows(config.data.dataset), local.examples
    kept = len(found.train) + len(found.evaluation)
    cut, sentences = _tokenised(config, found)
    return RowsHere(
        read=read,
        skipped=len(local.skipped),
        left_out=read - len(local.skipped) - kept,
        train=len(found.train),
        evaluation=len(found.evaluation),
        cut=cut,
        advice=(*_first_skipped(local), *sentences),
    )


def look_at_costs(config: RunConfig) -> Estimate:
    """Return what a round costs. Raises ModelError where the model is not on this machine."""
    _is_here(config.model.model_name_or_path)
    return estimate(config)


def _tokenised(config: RunConfig, found: ClientExamples) -> tuple[int | None, tuple[str, ...]]:
    length = config.model.max_length
    try:
        _is_here(config.model.model_name_or_path)
        data = encode_client(load_tokenizer(config.model.model_name_or_path), found, length)
    except UserError as error:
        return None, (str(error),)
    return data.cut, advice([data], max_length=length, batch=1)


def _first_skipped(local: LocalData) -> tuple[str, ...]:
    return (f"the first broken row: {local.skipped[0]}",) if local.skipped else ()


def _is_here(name: str) -> None:
    """Raise UserError for what would have to be downloaded; the hub is told apart by HF_HUB_OFFLINE."""
    asset = CATALOGUE.get(name)
    if asset is not None and asset.distribution is not None and not is_complete(asset, cache_dir()):
        raise UserError(f"{name} is not on this machine: `antiphon fetch {name}` brings it")
