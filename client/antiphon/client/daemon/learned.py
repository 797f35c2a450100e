"""What a coordinator learns of a site that takes part in a run, message by message."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.client.daemon.tell import NOT_TOLD, Tell, told_examples

Learned = tuple[str, str]
"""When, and what."""


def learned(
    tell: Tell,
    sends: Sequence[str],
    train: int | None,
    evaluation: int | None,
    bytes_up: int | None,
    before: str = "",
) -> tuple[Learned, ...]:
    """Return what is told. sends: what updates are, in words, one for each role; train,
    evaluation: how many examples there are, none: not known; bytes_up: of an update, none: not known;
    before: what is sent once before the first training, in words, empty: nothing.
    """
    update = " or ".join(sends) or "what the run's method sends, as its documentation says"
    size = "" if bytes_up is None else f", about {bytes_up} bytes"
    hardware = (
        "device, memory, cores, speed, platform, versions of libraries; "
        if tell.hardware
        else "not the machine; "
    )
    metrics = " with loss, tokens and seconds of the training" if tell.training_metrics else ""
    scores = "scores on the held-out examples" if tell.scores else "nothing: scores are not told"
    return (
        ("when it asks for the run", "the version of Antiphon"),
        (
            "when it joins",
            f"training examples: {_count(tell, train)}; held-out examples: {_count(tell, evaluation)}; "
            f"{hardware}shapes and digest of the base model, a check of its random numbers",
        ),
        ("every few seconds", "that it is there, and how many steps it has done"),
        *((("once, before its first training", before),) if before else ()),
        (
            "in each round it is chosen for",
            f"an update: {update}{size}{metrics}, the steps taken",
        ),
        ("when the model is measured", scores),
        ("when something is not done", "a code for the reason, never a word of its own"),
    )


def _count(tell: Tell, examples: int | None) -> str:
    if tell.examples == "hidden":
        return "not told"
    if examples is None:
        return f"{tell.examples}, not counted yet"
    told = told_examples(tell, examples)
    return f"{told} ({examples} here)" if told not in (examples, NOT_TOLD) else str(told)
