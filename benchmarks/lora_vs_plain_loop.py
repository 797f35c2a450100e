"""Simulating examples/lora.yaml against a plain PyTorch + PEFT loop: the same steps and evaluations.

    python -m benchmarks.lora_vs_plain_loop [rounds]

The loop is what one would write without Antiphon: PEFT's model, AdamW, the model's own loss on padded
batches, A and B averaged, the two words' logits compared for accuracy. No messages, no journal, no
report. Both load the model, see the same examples in the same order, and do not run at the same time.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from antiphon.client.assets.names import model_folder
from antiphon.client.data.batches import batches
from antiphon.client.data.clients import ClientData, encode_client
from antiphon.client.data.tokens import Batch, collate
from antiphon.core.config import RunConfig, load
from antiphon.server.planning.plans import client_seed
from antiphon.simulation.monitor import Monitor
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import Split, load_split
from antiphon.strategies.learning_rate import rate
from benchmarks.timing import machine

LORA = Path(__file__).parent.parent / "examples" / "lora.yaml"


def plain_loop(config: RunConfig, split: Split) -> float:
    """Run FedAvg of A and B as a plain loop; return the final mean accuracy."""
    model, tokenizer = peft_model(config)
    clients = [encode_client(tokenizer, each, config.model.max_length) for each in split.clients]
    trained = [p for p in model.parameters() if p.requires_grad]
    accuracy = evaluate(model, clients, tokenizer.pad_token_id)
    total = sum(len(client.train) for client in clients)
    for number in range(config.rounds):
        start = [p.detach().clone() for p in trained]
        mean = [torch.zeros_like(p) for p in trained]
        for client in clients:
            set_to(trained, start)
            train(model, trained, client, config, number, tokenizer.pad_token_id)
            for summed, p in zip(mean, trained, strict=True):
                summed.add_(p.detach(), alpha=len(client.train) / total)
        set_to(trained, mean)
        accuracy = evaluate(model, clients, tokenizer.pad_token_id)
    return accuracy


def peft_model(config: RunConfig) -> tuple[Any, Any]:
    """Return the run's model with PEFT's adapter in it, and its tokenizer."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = model_folder(config.model.model_name_or_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    lora = LoraConfig(
        r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"
    )
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return get_peft_model(base, lora), tokenizer


def set_to(parameters: Sequence[torch.nn.Parameter], values: Sequence[torch.Tensor]) -> None:
    """Copy the values into the parameters."""
    for p, value in zip(parameters, values, strict=True):
        p.data.copy_(value)


def train(
    model: Any,
    trained: list[torch.nn.Parameter],
    client: ClientData,
    config: RunConfig,
    number: int,
    pad: int,
) -> None:
    """One client's local steps."""
    model.train()
    training = config.training
    optimizer = torch.optim.AdamW(trained, lr=training.learning_rate, weight_decay=0.0)
    for step, batch in enumerate(local(client, config, number, pad)):
        at = number * training.max_steps + step
        optimizer.param_groups[0]["lr"] = rate(
            training.lr_scheduler_type,
            training.learning_rate,
            at,
            config.rounds * training.max_steps,
        )
        model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=batch.labels
        ).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, training.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()


def local(client: ClientData, config: RunConfig, number: int, pad: int) -> Iterator[Batch]:
    """The batches that the simulation would take."""
    training = config.training
    stream = batches(
        client_seed(config.seed, client.name),
        len(client.train),
        training.per_device_train_batch_size,
    )
    for _ in range(number * training.max_steps):
        next(stream)
    for _ in range(training.max_steps):
        yield collate([client.train[index] for index in next(stream)], pad)


@torch.no_grad()
def evaluate(model: Any, clients: Sequence[ClientData], pad: int) -> float:
    """Mean over clients of the accuracy by the two words, in batches of 32."""
    model.eval()
    accuracies = []
    for client in clients:
        right = 0
        held = sorted(client.evaluation, key=lambda each: len(each.reference.input_ids))
        for start in range(0, len(held), 32):
            part = held[start : start + 32]
            batch = collate([each.reference for each in part], pad)
            logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
            last = batch.attention_mask.sum(dim=1) - 2
            rows = logits[torch.arange(len(part)), last]
            for each, row in zip(part, rows, strict=True):
                words = [option.input_ids[-1] for option in each.options]
                right += int(row[words].argmax()) == each.example.label
        accuracies.append(right / len(held))
    return sum(accuracies) / len(accuracies)


def main() -> None:
    """Print the table."""
    rounds = sys.argv[1] if len(sys.argv) > 1 else "2"
    rows, ratios = [], []
    for turn in range(2):
        with TemporaryDirectory() as folder:
            config = load(LORA, [f"rounds={rounds}", f"output.runs_dir={folder}"])
            split = load_split(config)
            start = time.perf_counter()
            plain = plain_loop(config, split)
            middle = time.perf_counter()
            done = simulate(config, split, monitor_for=lambda clients: nullcontext(Monitor()))
            end = time.perf_counter()
            ours = json.loads(done.report_json.read_text())["final"]["accuracy"]
        ratios.append((end - middle) / (middle - start))
        rows.append((turn, middle - start, plain, end - middle, ours, ratios[-1]))
    print(machine())
    print("| turn | plain loop | its accuracy | simulation | its accuracy | ratio |")
    print("|---|---|---|---|---|---|")
    for turn, loop_s, plain, ours_s, ours, each in rows:
        print(
            f"| {turn + 1} | {loop_s:.0f} s | {plain:.3f} | {ours_s:.0f} s | {ours:.3f} | {each:.2f} × |"
        )


if __name__ == "__main__":
    main()
