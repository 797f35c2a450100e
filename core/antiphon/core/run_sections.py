"""The sections of a run's YAML: what each part of a run can be told.

Field names follow PEFT and Hugging Face where they exist; every field says its unit. config.py puts them
together and says what does not fit together.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from antiphon.core import defaults
from antiphon.core.section import Choice, Section

AUTO: Final = "auto"
"""What the machine chooses for itself: its device, and how the base is held."""

DEFAULT_BASE: Final = Choice(kind=AUTO)

Fraction = Annotated[float, Field(ge=0, le=1)]


class ModelConfig(Section):
    """The frozen base model."""

    model_name_or_path: str = Field(
        description="Hub id, local folder, GGUF file, or a name that `antiphon fetch` knows."
    )
    base: Choice = Field(
        DEFAULT_BASE,
        description="How the frozen model is held in memory: an installed base. `auto`: the smallest that "
        "suits the method and that the hardware computes with as fast as with a larger one.",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="Where to compute. `auto`: CUDA, then MPS, then the CPU."
    )
    max_length: PositiveInt = Field(
        512, description="Longest example, tokens; longer prompts lose their beginning."
    )

    @model_validator(mode="before")
    @classmethod
    def _of_older_versions(cls, value: Any) -> Any:
        """Read `precision`, as the key was called up to version 0.3."""
        if isinstance(value, dict) and "precision" in value and "base" not in value:
            return {("base" if key == "precision" else key): each for key, each in value.items()}
        return value


class DataConfig(Section):
    """What each client holds, and how a row becomes text."""

    dataset: str = Field(
        description="A JSONL file, a folder of `*.jsonl` files, a name that `antiphon fetch` knows, or the "
        "hub id of a data set whose `*.jsonl` files are read."
    )
    format: Choice = Field(description="How a row becomes a prompt and a completion.")
    partition: Choice = Field(
        Choice(kind="iid"), description="How a simulation splits the rows over its clients."
    )
    filter: dict[str, Any] = Field(
        default_factory=dict,
        description="Keep rows whose field has this value, lies in [low, high] for two numbers, or is "
        "one of a list.",
    )
    clients: PositiveInt | None = Field(
        None,
        description="Number of clients; none: as many as the partition finds, if it finds any.",
    )
    max_train_examples: PositiveInt | None = Field(
        None, description="Training examples kept per client; none: all."
    )
    eval_examples: PositiveInt = Field(
        100,
        description="Held-out examples per client, never trained on. A client needs one more than that.",
    )
    on_bad_rows: Literal["fail", "skip"] = Field(
        "fail", description="`fail`: a broken row ends the run; `skip`: it is left out and counted."
    )


class LoraConfig(Section):
    """The shape of the adapter, as in PEFT."""

    r: PositiveInt = Field(8, description="Rank of the global adapter.")
    lora_alpha: PositiveFloat = Field(16, description="Scale: the product counts alpha / r times.")
    lora_dropout: Fraction = Field(0.0, description="Dropout before A, in training only.")
    target_modules: list[str] | str = Field(
        default_factory=lambda: ["q_proj", "v_proj"],
        description="Endings of module names, or `all-linear` (every linear module but the head).",
    )
    client_ranks: dict[str, PositiveInt] = Field(
        default_factory=dict,
        description="Rank of single clients by name, where it is smaller than r.",
    )


class TrainingConfig(Section):
    """First-order local training (method lora); names as in Hugging Face's TrainingArguments."""

    per_device_train_batch_size: PositiveInt = Field(
        16, description="Examples in one forward pass."
    )
    gradient_accumulation_steps: PositiveInt = Field(1, description="Passes per optimizer step.")
    max_steps: PositiveInt = Field(6, description="Optimizer steps per client and round.")
    learning_rate: PositiveFloat = Field(1e-3, description="Peak rate of AdamW.")
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = Field(
        "constant",
        description="How the rate falls over the steps of the whole run, after the warm-up.",
    )
    warmup_steps: NonNegativeInt = Field(
        0, description="Steps of linear warm-up, counted over the whole run."
    )
    weight_decay: NonNegativeFloat = Field(0.0, description="AdamW's decoupled decay.")
    adam_beta1: Fraction = Field(0.9, description="AdamW.")
    adam_beta2: Fraction = Field(0.999, description="AdamW.")
    adam_epsilon: PositiveFloat = Field(1e-8, description="AdamW.")
    keep_moments: bool = Field(
        False,
        description="A client's round begins with the moments that its last one has left on its disk.",
    )
    max_grad_norm: NonNegativeFloat = Field(
        1.0, description="Clip of the gradient's L2 norm; 0: none."
    )
    max_update_norm: PositiveFloat = Field(
        1000.0,
        description="An update whose L2 norm is above it is refused; a round moves far less.",
    )


class DirectionConfig(Section):
    """The random directions of zeroth-order steps."""

    kind: Literal["lowrank", "rademacher", "gaussian"] = Field(
        "lowrank", description="`lowrank`: z = u vᵀ / √r of signs; `rademacher`, `gaussian`: dense."
    )
    rank: PositiveInt = Field(1, description="r of a low-rank direction; dense ones ignore it.")


class SeedsConfig(Section):
    """Zeroth-order local training (method seeds): FedKSeed, and FedKSeed-Pro with sampling: pro."""

    space: Literal["weights", "adapter"] = Field(
        "weights",
        description="What the seeds move: the linear `weights`, or the factors of an `adapter`.",
    )
    target_modules: list[str] | str = Field(
        "all-linear", description="With space `weights`: which modules' weights move."
    )
    directions: DirectionConfig = Field(default_factory=DirectionConfig, description="See above.")
    num_seeds: PositiveInt = Field(4096, description="K, candidate seeds of the run.")
    overlap: Annotated[float, Field(ge=1, le=1000)] = Field(
        2.0,
        description="How many clients of a round try each seed, on average, so that their scalars can be "
        "compared; 1: a round uses all K seeds. Method `seeds`, three clients or more.",
    )
    sampling: Literal["uniform", "pro"] = Field(
        "uniform", description="`pro`: seeds whose scalars were large are drawn more often."
    )
    per_device_train_batch_size: PositiveInt = Field(16, description="Examples in one step.")
    max_steps: PositiveInt = Field(20, description="Zeroth-order steps per client and round.")
    learning_rate: PositiveFloat = Field(
        5e-5, description="Of every step; constant within a round."
    )
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="How the rate falls over the rounds."
    )
    epsilon: PositiveFloat = Field(1e-3, description="ε of the two-sided difference.")
    max_scalar: PositiveFloat = Field(
        1e3, description="Clip of each scalar; the server refuses one beyond it."
    )
    clip: PositiveFloat | None = Field(
        None,
        description="Clip of each scalar at so many times the median magnitude of the client's scalars of "
        "the round so far, its own included; none: only `max_scalar`.",
    )
    guard_loss_factor: Annotated[float, Field(gt=1)] = Field(
        1.5,
        description="Stability guard: a round whose clients report a loss this many times the best "
        "so far is undone, and the learning rate is halved; above 1.",
    )


class ProjectionConfig(Section):
    """How a delta is projected (form projection)."""

    directions: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        4096, description="K, how many seeded directions; a client sends four bytes for each."
    )


class MixedConfig(Section):
    """Which clients of a mixed run send seed-scalars; all the others send LoRA deltas."""

    seeds: list[str] = Field(default_factory=list, description="Clients that send seed-scalars.")
    seeds_below_gb: PositiveFloat | None = Field(
        None, description="And those whose training device has less memory than this, gigabytes."
    )
    seeds_devices: list[Literal["cpu", "cuda", "mps", "phone"]] = Field(
        default_factory=list,
        description="And those that train on a device of this kind; a `phone` is of a simulated fleet.",
    )


class AsynchronousConfig(Section):
    """Buffered asynchronous rounds (FedBuff): a round folds the first updates that arrive."""

    buffer: PositiveInt | None = Field(
        None, description="Updates that close a round; none: half of the cohort, rounded up."
    )
    max_staleness: NonNegativeInt = Field(
        10, description="An update that started more rounds ago than this is refused."
    )


class CohortConfig(Section):
    """Who takes part in a round and how long it waits."""

    size: PositiveInt | None = Field(None, description="Clients per round; none: all of them.")
    quorum: PositiveInt | None = Field(
        None,
        description="Updates that a round needs; none: as many as the cohort has members, but for those on "
        "trial.",
    )
    min_clients: PositiveInt | None = Field(
        None,
        description="Clients that must be there before a round is planned; none: the size, else "
        "`data.clients`, else 2; never fewer than the quorum. A simulation has all of its clients there.",
    )
    deadline_s: PositiveFloat = Field(3600.0, description="A round closes after this many seconds.")
    max_tokens: PositiveInt | None = Field(
        None, description="A client stops its round after this many tokens; none: after its steps."
    )
    over_selection: Annotated[float, Field(ge=1, le=10)] = Field(
        1.0,
        description="Ask this many times `cohort.size` clients, 1 to 10; the first `cohort.size` updates "
        "close the round.",
    )
    asynchronous: AsynchronousConfig | None = Field(
        None, description="Buffered asynchronous rounds; none: synchronous ones."
    )
    scheduler: Choice = Field(
        Choice(kind=defaults.SCHEDULER), description="How the cohort is chosen."
    )
    work: Literal["equal", "balanced"] = Field(
        "equal",
        description="`equal`: as many steps for all; `balanced`: slow clients take fewer, so that the "
        "cohort finishes together.",
    )


class CompressionConfig(Section):
    """How tensors are packed on their way. Seed-scalars and their coefficients travel as they are."""

    uplink: Choice = Field(
        Choice(kind=defaults.DENSE), description="Codec of the tensors that clients send."
    )
    downlink: Choice = Field(
        Choice(kind=defaults.DENSE),
        description="Codec of the adapter that clients receive; not with `lora.client_ranks`, but for "
        "`changes`.",
    )
    changes: bool = Field(
        False,
        description="`downlink` packs what a round has changed, for clients that hold the model before it; "
        "others receive it as float32. Not on Flower.",
    )
    error_feedback: bool = Field(
        True,
        description="A sender adds what its codec left out to what it sends next: a client that of a "
        "biased codec, the server that of any.",
    )
    residual_decay: Fraction = Field(
        1.0,
        description="Of a client's residual, for each round since it was left; below 1 some of it is lost.",
    )


class EvaluationConfig(Section):
    """When and how the global model is measured on held-out data."""

    every: PositiveInt = Field(
        1, description="Rounds between two evaluations; the last round is always measured."
    )
    before_first_round: bool = Field(True, description="Also measure the untouched base.")
    batch_size: PositiveInt = Field(32, description="Examples in one forward pass.")
    rouge: bool = Field(False, description="Also generate completions and score Rouge-L.")
    rouge_examples: PositiveInt = Field(16, description="Examples per client that are generated.")
    max_new_tokens: PositiveInt = Field(64, description="Longest generated completion, tokens.")
    deadline_s: PositiveFloat = Field(
        600.0,
        description="Who has not measured by then is left out of the means. Over a network only.",
    )


class OutputConfig(Section):
    """What a run leaves behind."""

    runs_dir: str = Field("runs", description="Folder of run folders.")
    adapter_every: PositiveInt | None = Field(
        None,
        description="Rounds between two saved adapters; the last is always saved. none: every round "
        "for adapters, the last round only where the seeds move the weights (they are large).",
    )

    keep_updates: bool = Field(
        False, description="Keep what each client sent; else it is removed when its round is over."
    )
    plots: bool = Field(
        True,
        description="Draw the report's pictures at the end; where not, `antiphon report` draws them later.",
    )


class SurrogateConfig(Section):
    """Quadratics instead of a model; see simulation/surrogate.py."""

    unlike: NonNegativeFloat = Field(
        0.3, description="How far a client's optimum is from the common one, beside its length."
    )
    noise: NonNegativeFloat = Field(
        0.3, description="Standard deviation of the noise of a gradient, for each number."
    )
    condition: Annotated[float, Field(ge=1, le=1e6)] = Field(
        100.0, description="Largest curvature (1) over the smallest, 1 to 10⁶."
    )
    examples: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        100, description="Training examples that each client holds, times its `data_share`."
    )


class EngineConfig(Section):
    """Where the run runs."""

    kind: Literal["simulation", "flower"] = Field(
        "simulation",
        description="`simulation`: one process, a virtual clock; `flower`: Flower's simulation on Ray.",
    )
    threads: PositiveInt | None = Field(None, description="CPU threads of torch; none: all cores.")
    step_s: PositiveFloat = Field(
        1.0, description="Virtual seconds of a local step; deadlines are held against them."
    )
    fleet: str | None = Field(
        None,
        description="File that says how fast, how far away and how reliable each simulated client is; "
        "`step_s` is not used then.",
    )
    surrogate: SurrogateConfig | None = Field(
        None,
        description="`{}`: no model is trained and no data is read; `data.clients` clients each minimise a "
        "quadratic of their own. None: the model is trained.",
    )
    num_cpus: PositiveFloat | None = Field(
        None,
        description="Flower: cores that a client at work takes; none: as many as `threads`, or 1.",
    )
    num_gpus: NonNegativeFloat | None = Field(
        None,
        description="Flower: GPUs that a client at work takes; `0.25` puts four clients on one. none: a "
        "whole one where `model.device` finds CUDA, else 0.",
    )
