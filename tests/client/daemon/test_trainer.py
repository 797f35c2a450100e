"""The trainer: a program is started when needed, asked, cancelled, restarted and ended."""

import asyncio
import os
import subprocess
import sys

import pytest
import structlog

from antiphon.client.daemon.trainer import TrainerCancelled, TrainerFailed, TrainerProgram
from antiphon.client.trainer_protocol import Evaluate, Prepare, Train

# A small program that keeps to the protocol, and misbehaves where the name of the model says so.
PROGRAM = """
import json, os, pathlib, signal, sys, threading, queue
requests, cancelled = queue.Queue(), threading.Event()

def read():
    for line in sys.stdin:
        request = json.loads(line)
        cancelled.set() if request["do"] == "cancel" else requests.put(request)
    os._exit(0)

def say(**values):
    print(json.dumps(values), flush=True)

def prepare(request):
    if request["config"].get("broken"):
        return say(failed="prepare", reason="no such model", fatal=True)
    with open("prepared", "a") as file:
        file.write(request["client"] + " ")
    say(done="prepare", examples=5, evaluation_examples=2, capabilities="AAE=", space="")

def train(request):
    cancelled.clear()
    match request["model"].split():
        case ["die"] | ["die", "once"] as how:
            if how == ["die"] or not os.path.exists("died"):
                pathlib.Path("died").touch()
                print("a GPU on fire", file=sys.stderr)
                os._exit(3)
        case ["wait"]:
            say(step=1, of=9, loss=0.5)
            cancelled.wait()
            return say(cancelled="train")
        case ["hang"]:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            say(step=1, of=9, loss=0.5)
            os.dup2(os.open("/dev/zero", os.O_RDONLY), 0)
            threading.Event().wait()
        case ["gibberish"]:
            print("Loading weights: 100%", flush=True)
        case ["refuse"]:
            return say(failed="train", reason="out of memory", fatal=False)
        case ["long"]:
            return say(done="train", update="u" * 200_000, blob=None, steps=1)
    say(step=1, of=1, loss=float("nan"))
    say(done="train", update=str(request["seconds"]), blob=None, steps=1)

def evaluate(request):
    metrics = {"loss": 1.5, "policy": len(os.environ["OMP_WAIT_POLICY"])}
    say(done="evaluate", examples=os.getpid(), metrics=metrics)

if "hang" not in sys.argv:
    threading.Thread(target=read, daemon=True).start()
while True:
    request = requests.get() if "hang" not in sys.argv else json.loads(sys.stdin.readline())
    globals()[request["do"]](request)
"""
PREPARE = Prepare("meadow", {}, {"dataset": "here.jsonl"})


@pytest.fixture
def use(tmp_path, monkeypatch):
    """Run a test's coroutine on a trainer of the program above, which is ended whatever happens."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "program.py").write_text(PROGRAM)

    def run(work, *arguments, command=None, grace_s=5.0):
        async def whole():
            program = command or [sys.executable, "program.py", *arguments]
            trainer = TrainerProgram(program, log=structlog.get_logger(), grace_s=grace_s)
            try:
                return await asyncio.wait_for(work(trainer), 20)
            finally:
                await trainer.stop()

        return asyncio.run(whole())

    return run


def task(model="good", seconds=None):
    return Train("assignment", model, "out", "keep", seconds)


async def train(trainer, model="good", seconds=None):
    steps = []
    return await trainer.train(task(model, seconds), steps.append), steps


async def begin(trainer, model):
    """Start a training and return it when its first step is done."""
    stepped = asyncio.Event()
    work = asyncio.create_task(trainer.train(task(model), lambda step: stepped.set()))
    await stepped.wait()
    return work


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_requests_are_answered(use):
    """Prepare, train with its steps and evaluate each give what the program said."""

    async def work(trainer):
        assert not trainer.running
        return await trainer.prepare(PREPARE), await train(trainer)

    prepared, (trained, steps) = use(work)

    assert (prepared.examples, prepared.capabilities) == (5, b"\x00\x01")
    assert (trained.steps, [(each.step, each.of) for each in steps]) == (1, [(1, 1)])


def test_the_child_waits_passively(use):
    """OMP_WAIT_POLICY is PASSIVE unless the environment says otherwise."""
    measured = use(lambda trainer: trainer.evaluate(Evaluate("model", "safetensors")))

    assert measured.metrics == {
        "loss": 1.5,
        "policy": len(os.environ.get("OMP_WAIT_POLICY", "PASSIVE")),
    }


def test_a_death_costs_one_attempt(use, tmp_path):
    """The program is started again, prepared again, and the training succeeds."""

    async def work(trainer):
        await trainer.prepare(PREPARE)
        return await train(trainer, "die once")

    trained, _ = use(work)

    assert trained.steps == 1
    assert (tmp_path / "prepared").read_text().split() == ["meadow", "meadow"]


def test_two_deaths_are_a_failure(use):
    """The error has the exit code and the program's last words; the next request works."""

    async def work(trainer):
        with pytest.raises(TrainerFailed, match=r"2 times.*code 3: a GPU on fire"):
            await train(trainer, "die")
        return await train(trainer)

    assert use(work)[0].steps == 1


def test_last_words_are_the_end_of_stderr(use):
    """Of a long traceback the last 2,048 characters are kept."""
    code = "import sys; sys.stderr.write('x' * 9000 + 'the end'); sys.exit(1)"

    with pytest.raises(TrainerFailed) as failure:
        use(train, command=[sys.executable, "-c", code])

    assert str(failure.value).endswith("xthe end")
    assert 2_000 < len(str(failure.value)) < 2_200


def test_a_refusal_is_no_death(use, tmp_path):
    """A failed answer raises with its reason, and the same program goes on."""

    async def work(trainer):
        await trainer.prepare(PREPARE)
        with pytest.raises(TrainerFailed, match="out of memory") as failure:
            await train(trainer, "refuse")
        await train(trainer)
        return failure.value.fatal

    assert use(work) is False
    assert (tmp_path / "prepared").read_text().split() == ["meadow"]


def test_a_run_that_does_not_fit_is_fatal(use):
    """Asking again cannot help, and the error says so."""
    with pytest.raises(TrainerFailed, match="no such model") as failure:
        use(lambda trainer: trainer.prepare(Prepare("meadow", {"broken": True}, {})))

    assert failure.value.fatal


def test_gibberish_is_a_death(use):
    """A program that does not keep to the protocol is ended and started again."""
    with pytest.raises(TrainerFailed, match="Loading weights"):
        use(lambda trainer: train(trainer, "gibberish"))


def test_a_missing_program_is_fatal(use):
    """There is nothing to start, and the error names it."""
    with pytest.raises(TrainerFailed, match=r"cannot start.*no-such-program") as failure:
        use(train, command=["./no-such-program"])

    assert failure.value.fatal


def test_cancel_ends_the_training_in_hand(use):
    """The asker hears of it, and the program takes the next request."""

    async def work(trainer):
        training = await begin(trainer, "wait")
        await trainer.cancel()
        with pytest.raises(TrainerCancelled):
            await training
        await trainer.cancel()
        return await train(trainer)

    assert use(work)[0].steps == 1


def test_an_asker_that_goes_away_leaves_no_stray_answer(use):
    """A cancelled coroutine ends its training; the next one gets its own answer."""

    async def work(trainer):
        training = await begin(trainer, "wait")
        training.cancel()
        with pytest.raises(asyncio.CancelledError):
            await training
        return await train(trainer, seconds=None)

    assert use(work)[0].update == "None"


def test_stop_ends_the_child_and_the_next_request_starts_another(use, tmp_path):
    """Memory is free while there is no work; the run is prepared again by itself."""

    async def work(trainer):
        await trainer.prepare(PREPARE)
        pid = (await trainer.evaluate(Evaluate("model", "safetensors"))).examples
        await trainer.stop()
        was = trainer.running, alive(pid)
        await train(trainer)
        return was

    assert use(work) == (False, False)
    assert (tmp_path / "prepared").read_text().split() == ["meadow", "meadow"]


def test_stop_fails_what_is_in_hand(use):
    """A stopped training is not tried again."""

    async def work(trainer):
        training = await begin(trainer, "wait")
        await trainer.stop()
        with pytest.raises(TrainerFailed, match="stopped"):
            await training
        return trainer.running

    assert use(work) is False


def test_a_child_that_hangs_is_killed(use):
    """One that hears neither the end of its stdin nor SIGTERM is gone after both graces."""

    async def work(trainer):
        pid = (await trainer.evaluate(Evaluate("model", "safetensors"))).examples
        training = await begin(trainer, "hang")
        await trainer.stop()
        with pytest.raises(TrainerFailed):
            await training
        return alive(pid)

    assert use(work, "hang", grace_s=0.2) is False


def test_starting_the_program_takes_its_time_off_the_budget(use):
    """What is left when the program is ready is what it may spend."""
    trained, _ = use(lambda trainer: train(trainer, seconds=10.0))

    assert 5.0 < float(trained.update) < 10.0


def test_long_answers_arrive(use):
    """A line of 200 kB is one answer."""
    trained, _ = use(lambda trainer: train(trainer, "long"))

    assert len(trained.update) == 200_000


def test_the_daemons_side_is_light():
    """The trainer imports neither torch nor numpy nor transformers nor pydantic."""
    code = (
        "import sys, antiphon.client.daemon.trainer as t;"
        "print({'torch', 'numpy', 'transformers', 'pydantic', 'safetensors'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"
