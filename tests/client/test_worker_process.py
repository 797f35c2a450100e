"""The program that trains: the same bits as in process, and an end whenever its daemon ends."""

import asyncio
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import structlog

from antiphon.client.capabilities import cgroup_memory_limit
from antiphon.client.daemon.trainer import TrainerCancelled, TrainerFailed, TrainerProgram
from antiphon.client.data.clients import encode_client
from antiphon.client.data.local import load_local
from antiphon.client.model_digest import model_digest
from antiphon.client.shapes import space_of
from antiphon.client.trainer_protocol import (
    Evaluate,
    Prepare,
    Rebuild,
    Train,
    decode_answer,
    encode_request,
)
from antiphon.client.training_session import TrainingSession
from antiphon.client.worker import Worker
from antiphon.core import golden
from antiphon.core.blob import blob_of
from antiphon.core.coefficients import SeedCoefficients, as_package
from antiphon.core.config import resolved
from antiphon.core.errors import ConfigError, ModelError
from antiphon.core.files import write_bytes
from antiphon.core.tensors import LazyTensors, write_tensors
from antiphon.core.types import Assignment, CodecChoice, Package, Update
from antiphon.core.wire import CodedModel, pack_assignment, pack_model, pack_update, unpack_update
from antiphon.strategies.compression.downlink import code
from antiphon.strategies.fold import Context
from antiphon.strategies.initial_factors import initial_factors
from antiphon.strategies.methods.method import method_of
from antiphon.v1 import coordinator_pb2

COMMAND = [sys.executable, "-m", "antiphon.client.worker_process"]
METHODS = {
    "lora": ["method=lora", "lora.lora_dropout=0.1"],
    "seeds": ["method=seeds", "seeds.num_seeds=64"],
}
RUN = "tiny-1"
MOVED = np.array([3, 9], np.uint32), np.array([1e-3, -2e-3], np.float32)


class Task:
    """An assignment with its model, as values and as the files of a daemon."""

    def __init__(self, config, folder, steps=3):
        self.config, self.folder = config, folder
        model = (
            Package("lora", initial_factors(space_of(config).factors, 5))
            if config.method.kind == "lora"
            else as_package("span", SeedCoefficients(64, *MOVED))
        )
        content, self.encoding = pack_model(model)
        self.assignment = Assignment(1, "meadow", config.method.kind, steps, 0, steps, 1e-3, 8, 3)
        message = pack_assignment(self.assignment, blob_of(content, self.encoding), RUN)
        self.model = model
        write_bytes(folder / "model", content)
        (folder / "assignment").write_bytes(message)

    def prepare(self):
        data = {**resolved(self.config)["data"], "filter": {"site": "meadow"}}
        return Prepare("meadow", resolved(self.config), data, "cpu", None)

    def train(self, seconds=None):
        files = [str(self.folder / name) for name in ("assignment", "model", "out", "keep")]
        return Train(*files, seconds)

    def evaluate(self):
        return Evaluate(str(self.folder / "model"), self.encoding)

    def in_process(self):
        config = self.config
        data = config.data.model_copy(update={"filter": {"site": "meadow"}})
        with closing(Worker(config)) as worker:
            local = load_local("meadow", data, config.seed)
            examples = encode_client(worker.model.tokenizer, local.examples, 64)
            update = worker.train(self.assignment, self.model, examples, lambda done, loss: None)
            worker.load(self.model)
            return update, worker.evaluate(examples)


@pytest.fixture(params=METHODS)
def work(request, tiny_config, tmp_path):
    return Task(tiny_config(*METHODS[request.param], "model.device=cpu"), tmp_path)


def use(work):
    async def whole():
        trainer = TrainerProgram(COMMAND, log=structlog.get_logger())
        try:
            return await asyncio.wait_for(work(trainer), 100)
        finally:
            await trainer.stop()

    return asyncio.run(whole())


@pytest.mark.slow
def test_the_child_trains_as_this_process_does(work, tmp_path):
    """Update and measurement are the in-process worker's, bit for bit, whatever came before."""

    async def ask(trainer):
        await trainer.prepare(work.prepare())
        await trainer.train(work.train(seconds=0.0), lambda stepped: None)
        trained = await trainer.train(work.train(), lambda stepped: None)
        return trained, await trainer.evaluate(work.evaluate())

    trained, evaluated = use(ask)
    expected, measured = work.in_process()

    blob = tmp_path / "out" / "update-1.blob" if trained.blob else None
    message = (tmp_path / "out" / "update-1.binpb").read_bytes()
    update = unpack_update(message, "meadow", RUN, LazyTensors(blob) if blob else None)
    as_sent = {} if trained.blob else {"pack": None}
    ours, theirs = (pack_update(each, RUN, **as_sent) for each in (expected, update))
    assert (ours.content, update.steps) == (theirs.content, 3)
    assert blob is not None or np.array_equal(
        update.payload.arrays["value"], expected.payload.arrays["value"]
    )
    assert update.metrics["loss"] == expected.metrics["loss"]
    assert evaluated.metrics == {
        "loss": measured.loss,
        "perplexity": measured.perplexity,
        "accuracy": measured.accuracy,
    }


@pytest.mark.slow
def test_the_child_makes_a_coordinators_model(tiny_config, tmp_path):
    """The untouched one from the seed, and one after a round from that and the change: the same files."""
    config = tiny_config("compression={downlink: {kind: ecdq, bits: 1}, changes: true}")
    task = Task(config, tmp_path)
    served, shapes = method_of(config).serve(), space_of(config)
    first = served.begin(shapes)
    rng = np.random.default_rng(0)
    moved = {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.factors.items()}
    update = Update("meadow", 1, 10, 1, Package("delta", moved), {"loss": 1.0})
    second = served.fold(first, [update], Context(1)).state
    coded = CodedModel(CodecChoice("ecdq", {"bits": 1}), code(second))
    write_bytes(tmp_path / "change", pack_model(coded)[0])

    async def ask(trainer):
        await trainer.prepare(task.prepare())
        untouched = await trainer.rebuild(Rebuild(str(tmp_path / "before")))
        change = str(tmp_path / "change")
        made = await trainer.rebuild(Rebuild(str(tmp_path / "after"), untouched.model, change))
        return untouched, made

    for made, state in zip(use(ask), (first, second), strict=True):
        assert (
            Path(made.model).read_bytes()
            == pack_model(served.download(state, config.lora.r))[0].joined()
        )


@pytest.mark.slow
def test_prepare_says_what_this_machine_is(work):
    """Capabilities and space come from the model as it was loaded."""
    prepared = use(lambda trainer: trainer.prepare(work.prepare()))

    machine = coordinator_pb2.Capabilities.FromString(prepared.capabilities)
    space = coordinator_pb2.SpaceReport.FromString(prepared.space)
    shapes = space_of(work.config)
    assert (prepared.examples, prepared.evaluation_examples) == (40, 20)
    assert machine.tokens_per_s > 0
    assert machine.memory_bytes > 1e8
    assert dict(machine.golden) == dict(golden.GOLDEN)
    assert (machine.device_kind, set(machine.libraries)) == (
        "cpu",
        {"torch", "transformers", "numpy"},
    )
    found = {m.name: (m.rows, m.columns) for m in [*space.factors, *space.weights]}
    assert found == {**shapes.factors, **shapes.weights}
    assert space.model_digest == model_digest("tiny")


def test_a_machine_of_a_mixed_run_measures_itself(tiny_config):
    """Its speed is that of a step by seeds, which every machine of such a run can take."""
    config = tiny_config("method=mixed", "seeds.space=adapter", "mixed.seeds=[meadow]")
    values = resolved(config)
    data = {**values["data"], "filter": {"site": "meadow"}}

    prepared = TrainingSession().prepare(Prepare("meadow", values, data, "cpu", None))

    machine = coordinator_pb2.Capabilities.FromString(prepared.capabilities)
    assert machine.tokens_per_s > 0


def test_a_site_holds_the_base_as_its_owner_says(tiny_config):
    """Whatever the run says; the coordinator is told."""
    values = resolved(tiny_config("model.base=float32"))
    data = {**values["data"], "filter": {"site": "meadow"}}
    request = Prepare("meadow", values, data, "cpu", None, {"kind": "bfloat16"})

    prepared = TrainingSession().prepare(request)

    machine = coordinator_pb2.Capabilities.FromString(prepared.capabilities)
    assert machine.base == "bfloat16"


def test_a_site_whose_base_cannot_be_used_says_so(tiny_config):
    """It takes no part, before a model is loaded."""
    values = resolved(tiny_config("method=seeds", "seeds.space=weights"))
    request = Prepare("meadow", values, values["data"], "cpu", None, {"kind": "bfloat16"})

    with pytest.raises(ConfigError, match="base bfloat16 does not give weights"):
        TrainingSession().prepare(request)


@pytest.mark.slow
def test_errors_are_answers(tiny_config, tmp_path):
    """A wrong data set is fatal, a wrong assignment is not, and cancel ends a long training."""
    work = Task(tiny_config("method=seeds", "seeds.num_seeds=64"), tmp_path, steps=100_000)

    async def ask(trainer):
        with pytest.raises(TrainerFailed, match=r"nowhere\.jsonl") as failure:
            await trainer.prepare(
                Prepare(
                    "meadow", resolved(work.config), {"dataset": "nowhere.jsonl", "format": "text"}
                )
            )
        assert failure.value.fatal
        await trainer.prepare(work.prepare())
        with pytest.raises(TrainerFailed, match="expected safetensors, packed or arrays"):
            await trainer.evaluate(Evaluate(str(tmp_path / "model"), "gguf"))
        stepped = asyncio.Event()
        training = asyncio.create_task(trainer.train(work.train(), lambda step: stepped.set()))
        await stepped.wait()
        await trainer.cancel()
        with pytest.raises(TrainerCancelled):
            await training
        return await trainer.evaluate(work.evaluate())

    assert use(ask).examples == 20


@pytest.mark.slow
def test_a_vanished_daemon_leaves_no_orphan(tiny_config, tmp_path):
    """The end of stdin ends the process in the middle of a training, and its scratch files."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    work = Task(tiny_config("method=seeds", "seeds.num_seeds=64"), tmp_path, steps=1_000_000)
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as child:
        child.stdin.write(encode_request(work.prepare()) + encode_request(work.train()))
        child.stdin.flush()
        lines = [child.stdout.readline() for _ in range(3)]
        child.stdin.close()
        code = child.wait(20)

    assert [b'"step"' in line for line in lines] == [False, True, True]
    assert (code, list(scratch.iterdir())) == (0, [])


def test_what_libraries_print_does_not_reach_the_protocol():
    """Prints of Python and of programs that it starts land on stderr; stdin is the protocol's alone."""
    code = (
        "import os, sys; from antiphon.client.worker_process import claim_streams;"
        "lines, out = claim_streams(); print('noise'); os.system('echo more; cat');"
        "out.write(lines.readline()); out.flush()"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], input=b"{}\n", capture_output=True, check=True
    )

    assert done.stdout == b"{}\n"
    assert {b"noise", b"more"} <= set(done.stderr.split())


@pytest.mark.slow
def test_gibberish_is_answered():
    """A line that is no request is a fatal failure with what was expected; the program goes on."""
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdin.write(b'{"do": "dance"}\n' + encode_request(Evaluate("model", "safetensors")))
        child.stdin.flush()
        answers = [decode_answer(child.stdout.readline()) for _ in range(2)]
        child.stdin.close()

    assert "one of prepare, train" in answers[0].reason
    assert "send prepare first" in answers[1].reason
    assert [answer.fatal for answer in answers] == [True, False]


def test_the_digest_is_of_names_and_content(tmp_path):
    """It is the same wherever the folder lies, changes with a weight, and is remembered by file."""
    folders = [tmp_path / name for name in "abc"]
    for folder, value in zip(folders, [1.0, 1.0, 2.0], strict=True):
        folder.mkdir()
        write_tensors(folder / "model.safetensors", {"w": np.full(3, value, dtype=np.float32)})

    one, same, other = (model_digest(str(folder), tmp_path / "cache") for folder in folders)

    assert one == same != other
    assert len(list((tmp_path / "cache" / "digests").iterdir())) == 3
    assert model_digest(str(folders[0]), tmp_path / "cache") == one


def test_a_folder_without_weights_has_no_digest(tmp_path):
    """The error says what is missing."""
    with pytest.raises(ModelError, match=r"no \*\.safetensors"):
        model_digest(str(tmp_path), tmp_path / "cache")


def test_the_strictest_control_group_counts(tmp_path):
    """A parent's limit below the group's own is the one that kills."""
    group = tmp_path / "fs" / "machine" / "job"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group.parent / "memory.max").write_text("4096\n")
    (tmp_path / "cgroup").write_text("0::/machine/job\n")

    assert cgroup_memory_limit(tmp_path / "cgroup", tmp_path / "fs") == 4096
    assert cgroup_memory_limit(tmp_path / "none", tmp_path / "fs") is None
