"""What is valid in the clients' data and probably not meant, one sentence each.

None of it stops a run, and none of it is told to a coordinator.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from antiphon.client.data.clients import ClientData, HeldOut

_MOST_NAMED = 3


def advice(clients: Sequence[ClientData], *, max_length: int, batch: int) -> tuple[str, ...]:
    """Return the sentences. max_length: tokens of the longest example; batch: examples of a step."""
    return (
        *_cut(clients, max_length),
        *_few(clients, batch),
        *_alike([each for client in clients for each in client.evaluation]),
    )


def _cut(clients: Sequence[ClientData], max_length: int) -> Iterator[str]:
    cut, total = sum(each.cut for each in clients), sum(len(each.train) for each in clients)
    if cut:
        yield (
            f"{cut:,} of {total:,} training examples are longer than model.max_length ({max_length}) and "
            "lose the beginning of their prompt: raise it, or shorten the prompts"
        )


def _few(clients: Sequence[ClientData], batch: int) -> Iterator[str]:
    few = [each for each in clients if len(each.train) < batch]
    if few:
        named = ", ".join(f"{each.name} {len(each.train)}" for each in few[:_MOST_NAMED])
        more = f" and {len(few) - _MOST_NAMED} more" if len(few) > _MOST_NAMED else ""
        yield (
            f"{len(few)} of {len(clients)} clients hold fewer training examples than a step takes, {batch} "
            f"({named}{more}): they see the same rows again within one step. Use smaller batches or fewer "
            "clients"
        )


def _alike(held: Sequence[HeldOut]) -> Iterator[str]:
    """Choices of which one is the beginning of another: the shorter one is favoured."""
    seen: dict[tuple[str, ...], None] = {}
    for each in held:
        if each.example.choices not in seen:
            seen[each.example.choices] = None
            yield from _prefixes(each)


def _prefixes(each: HeldOut) -> Iterator[str]:
    answers = [tuple(option.input_ids[option.prompt :]) for option in each.options]
    for short, answer in zip(each.example.choices, answers, strict=False):
        for long, other in zip(each.example.choices, answers, strict=False):
            if len(answer) < len(other) and other[: len(answer)] == answer:
                yield (
                    f"the choice {short!r} is how {long!r} begins for this model's tokenizer: the shorter "
                    "one is always at least as likely. Choose words that begin differently"
                )
                return
