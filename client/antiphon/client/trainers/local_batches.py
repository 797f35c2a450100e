"""The batches of one assignment: a client's shuffled epochs go on where its last round stopped."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from antiphon.client.data.batches import batches
from antiphon.client.data.clients import ClientData
from antiphon.client.data.tokens import Batch, collate
from antiphon.client.language_model import LanguageModel
from antiphon.core.types import Assignment


def local_batches(
    model: LanguageModel, data: ClientData, assignment: Assignment, size: int, per_step: int = 1
) -> Iterator[Batch]:
    """Yield the `steps × per_step` batches of an assignment, on the model's device."""
    stream = batches(assignment.seed, len(data.train), size)
    start = assignment.first_step * per_step
    for indices in islice(stream, start, start + assignment.steps * per_step):
        chosen = [data.train[index] for index in indices]
        yield collate(chosen, model.tokenizer.pad_token_id).to(model.device)
