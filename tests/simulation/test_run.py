"""A simulated run from end to end, on the tiny model and the real journal."""

import shutil
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from antiphon.core.errors import (
    ConfigError,
    DataError,
    ModelError,
    ReportError,
    RunFolderError,
)
from antiphon.core.events import BytesMoved, RoundEvaluated, RoundFolded, RoundPlanned, RunEnded
from antiphon.core.journal import Journal
from antiphon.core.run_folder import newest, read_state
from antiphon.server.folding.state_files import DamagedState
from antiphon.server.report.report import read, write
from antiphon.simulation.monitor import Monitor
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split

METHODS = ["method=lora", "method=seeds"]


class Stops(Monitor):
    """Interrupts the run as Ctrl-C would, before the n-th step."""

    def __init__(self, at: int) -> None:
        self._left = at

    def client_stepped(self, client, done, steps, loss):
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt


def run(config, **options):
    return simulate(config, load_split(config), **options)


def events(folder, kind):
    with Journal.reading(folder.journal_file) as journal:
        return [entry.event for entry in journal.read(kinds=[kind])]


def final_adapter(folder, config):
    return (folder.adapter(config.rounds) / "adapter_model.safetensors").read_bytes()


def interrupted(config, at):
    @contextmanager
    def monitor_for(clients):
        yield Stops(at)

    with pytest.raises(KeyboardInterrupt):
        run(config, monitor_for=monitor_for)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_same_config_gives_the_same_adapter(tiny_config, undisturbed, method):
    """Two runs of one config end with the same bits."""
    config = tiny_config(method)

    again = run(config)

    assert final_adapter(again, config) == undisturbed(config)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("at", [1, 5, 11])
def test_resume_ends_where_the_undisturbed_run_ends(tiny_config, undisturbed, method, at):
    """A run interrupted anywhere and resumed ends with the undisturbed run's adapter, bit for bit."""
    config = tiny_config(method)

    interrupted(config, at)
    resumed = run(config, resume=True)

    assert final_adapter(resumed, config) == undisturbed(config)


@pytest.mark.slow
def test_a_resumed_run_tells_what_was_sent_before(tiny_config):
    """The listener hears of the bytes that the journal holds of updates, and of none else."""
    config, heard = tiny_config(), []

    class Hears(Monitor):
        def started(self, bytes_up):
            heard.append(bytes_up)

    interrupted(config, 11)
    folder = newest(Path(config.output.runs_dir), config.name)
    sent = [each.bytes for each in events(folder, BytesMoved) if each.direction == "up"]
    run(config, resume=True, monitor_for=lambda clients: nullcontext(Hears()))

    assert heard == [sum(sent)]
    assert sent


@pytest.mark.slow
def test_resume_keeps_the_updates_it_has(tiny_config):
    """Clients whose update was accepted before the interruption do not train again."""
    config = tiny_config("rounds=1")
    interrupted(config, 5)  # two clients of two steps each are done

    folder = run(config, resume=True)

    trained = [event.client for event in events(folder, BytesMoved) if event.direction == "up"]
    assert sorted(trained) == ["harbour", "meadow", "quarry", "summit"]


@pytest.mark.slow
@pytest.mark.parametrize("at", [5, 11])
def test_a_resumed_run_moves_the_same_changes(tiny_config, at):
    """What clients had before an interruption they have after it: the same bits, and the same bytes."""
    config = tiny_config("compression={downlink: {kind: ecdq, bits: 1}, changes: true}", "rounds=3")
    whole = run(config)
    expected, adapter = bytes_down(whole), final_adapter(whole, config)
    shutil.rmtree(whole.path)

    interrupted(config, at)
    resumed = run(config, resume=True)

    assert final_adapter(resumed, config) == adapter
    assert bytes_down(resumed) == expected


def bytes_down(folder):
    return sorted(
        (each.round, each.client, each.bytes)
        for each in events(folder, BytesMoved)
        if each.direction == "down"
    )


def test_nodes_that_keep_no_model_receive_no_changes(tiny_config):
    """On Flower whole models would go down: it is said before anything is started."""
    config = tiny_config("compression={downlink: int8, changes: true}", "engine.kind=flower")

    with pytest.raises(ConfigError, match=r"compression\.changes"):
        run(config)


@pytest.mark.slow
def test_bytes_are_those_of_the_wire(tiny_config):
    """A seeds update of 200 steps from 4,096 seeds goes up in far less than 18 kB."""
    long = ["seeds.max_steps=200", "seeds.num_seeds=4096", "seeds.per_device_train_batch_size=1"]
    alone = ["data.partition=iid", "data.clients=1"]
    config = tiny_config("method=seeds", "rounds=1", *long, *alone)

    (sent,) = [each.bytes for each in events(run(config), BytesMoved) if each.direction == "up"]

    assert 200 < sent < 2_000


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
@pytest.mark.parametrize("space", ["weights", "adapter"])
def test_every_space_and_direction_runs(tiny_config, kind, space):
    """Dense directions train the weights and the adapter as low-rank ones do."""
    config = tiny_config(
        "method=seeds", f"seeds.space={space}", f"seeds.directions.kind={kind}", "rounds=1"
    )

    folder = run(config)

    assert folder.is_complete()
    assert folder.adapter(1).is_dir()


@pytest.mark.slow
def test_pro_draws_from_its_history(tiny_config):
    """FedKSeed-Pro keeps what it saw of each seed in the server's state."""
    config = tiny_config("method=seeds", "seeds.sampling=pro", "rounds=1", "seeds.num_seeds=64")

    state = read_state(run(config).state_file(1))

    assert state["history/count"].sum() == 4 * 3
    assert state["history/sum"].sum() > 0


@pytest.mark.slow
def test_a_random_cohort_is_of_the_asked_size(tiny_config):
    """Each round takes two of four clients."""
    config = tiny_config("cohort={size: 2, scheduler: random}")

    folder = run(config)

    assert [len(plan.cohort) for plan in events(folder, RoundPlanned)] == [2, 2]


@pytest.mark.slow
def test_a_deadline_before_any_update_ends_the_run(tiny_config, tmp_path):
    """Rounds that nobody can finish in time fail and the run stops; nothing waits for ever."""
    (tmp_path / "slow.yaml").write_text('clients:\n  - {name: "*", step_s: 2}\n')
    config = tiny_config(
        "cohort={deadline_s: 3}", "rounds=9", f"engine.fleet={tmp_path / 'slow.yaml'}"
    )

    folder = run(config)

    assert not folder.is_complete()
    assert events(folder, RoundFolded) == []


@pytest.mark.slow
def test_mixed_ranks_fold_into_one_adapter(tiny_config):
    """A client of rank 2 trains beside clients of rank 8."""
    config = tiny_config("lora.client_ranks={meadow: 2}", "rounds=1")

    folder = run(config)

    up = {
        event.client: event.bytes for event in events(folder, BytesMoved) if event.direction == "up"
    }
    assert up["meadow"] < 0.3 * up["harbour"]
    assert folder.is_complete()


@pytest.mark.slow
def test_evaluation_can_be_rarer(tiny_config):
    """Only every n-th round and the last are measured; before the first only if asked."""
    config = tiny_config("rounds=3", "evaluation={every: 2, before_first_round: false}")

    measured = [e.round for e in events(run(config), RoundEvaluated) if e.metrics]

    assert measured == [2, 3]


MISTAKES = {
    "data.dataset=nowhere.jsonl": (DataError, "nowhere.jsonl"),
    "data.eval_examples=600": (DataError, "lower data.eval_examples"),
    "data.partition={kind: field, field: sight}": (DataError, "sight"),
    "lora.target_modules=[q_prjo]": (
        ModelError,
        "no linear module of tiny ends in 'q_prjo'.*q_proj",
    ),
    "model.model_name_or_path=./nowhere": (ModelError, "nowhere"),
    "cohort={size: 9, scheduler: random}": (ConfigError, "cohort.size is 9.*4 clients"),
    "lora.client_ranks={nobody: 2}": (ConfigError, "nobody"),
}


@pytest.mark.parametrize(("override", "expected"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_leaves_nothing_behind(tiny_config, tmp_path, override, expected):
    """The error says what is wrong, and there is no run folder."""
    kind, message = expected
    config = tiny_config(override)

    with pytest.raises(kind, match=message):
        run(config)

    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_resume_refuses_another_config(tiny_config):
    """A run folder of another config is not touched; the difference is named."""
    interrupted(tiny_config(), 3)

    with pytest.raises(RunFolderError, match=r"training\.learning_rate"):
        run(tiny_config("training.learning_rate=0.5"), resume=True)


@pytest.mark.slow
def test_resume_refuses_changed_data(tiny_config, tmp_path):
    """Rows that are others than when the run began end the resumption with a reason."""
    good = '{"site": "%s", "text": "la", "label": "dark"}\n'
    rows = [good % site for site in "ab" * 9]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(rows))
    config = tiny_config(f"data.dataset={file}", "data.eval_examples=1")
    interrupted(config, 1)
    file.write_text("".join(rows).replace("la", "de", 1))

    with pytest.raises(RunFolderError, match="the data has changed since this run began"):
        run(config, resume=True)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_run_goes_on_from_an_earlier_round(tiny_config, method):
    """A damaged state is refused; told the round before, the run goes on to its end."""
    config = tiny_config(method, "rounds=3")
    interrupted(config, 25 if method.endswith("seeds") else 17)  # in the third round
    folder = newest(Path(config.output.runs_dir), config.name)
    folder.state_file(2).write_bytes(b"torn")

    with pytest.raises(DamagedState, match=r"after round 2 is damaged.*--from-round 1"):
        run(config, resume=True)
    done = read(run(config, resume=True, from_round=1))

    assert [each["outcome"] for each in done["rounds"]] == ["folded", "rewound", "rewound"]
    assert (done["complete"], done["final"]["round"]) == (True, 1)


@pytest.mark.slow
def test_more_rounds_make_up_for_those_that_do_not_count(tiny_config):
    """They are trained from the model that the run went back to."""
    config = tiny_config("rounds=3")
    interrupted(config, 17)
    newest(Path(config.output.runs_dir), config.name).state_file(2).unlink()

    done = read(run(tiny_config("rounds=4"), resume=True, from_round=1))

    assert [each["outcome"] for each in done["rounds"]][3:] == ["folded"]
    assert done["final"]["round"] == 4


@pytest.mark.slow
def test_a_failing_report_leaves_a_complete_run(tiny_config):
    """Nothing is to be resumed where only the report is missing; its journal makes it later."""
    config = tiny_config("rounds=1")

    def stop(folder):
        folder.report_md.mkdir(parents=True)  # in the way of the report

    with pytest.raises(ReportError, match="antiphon report"):
        run(config, on_folder=stop)
    folder = newest(Path(config.output.runs_dir), config.name)
    folder.report_md.rmdir()

    assert folder.is_complete()
    assert write(folder)["complete"]


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [True, False])
def test_pictures_are_drawn_where_they_are_wanted(tiny_config, wanted):
    """With `output.plots` at the end of the run; without, when the report is made again."""
    folder = run(tiny_config("rounds=1", f"output.plots={wanted}"))

    drawn = {file.stem for file in folder.plots.glob("*.svg")}
    assert drawn == ({"split", "learning", "bytes", "time"} if wanted else set())
    write(folder)
    assert folder.plots.joinpath("learning.svg").is_file()


@pytest.mark.slow
def test_a_run_cut_off_before_its_last_word_is_finished(tiny_config):
    """Where only the last event and the report are missing, --resume writes them."""
    config = tiny_config("rounds=1")
    folder = run(config)
    with Journal.reading(folder.journal_file) as journal:
        entries = list(journal.read())
    for file in folder.path.glob("journal.sqlite*"):
        file.unlink()
    with Journal.writing(folder.journal_file) as journal:
        for entry in entries[:-1]:
            journal.append(entry.event, entry.at_s)
    folder.report_md.unlink()

    resumed = run(config, resume=True)

    assert isinstance(entries[-1].event, RunEnded)
    assert resumed.is_complete()
    assert resumed.report_md.is_file()


@pytest.mark.slow
def test_the_last_adapter_is_saved_even_if_no_round_was_due(tiny_config):
    """A run that ends early, or undone, still leaves the adapter of the model that stands."""
    config = tiny_config("rounds=3", "output.adapter_every=2")

    folder = run(config)

    assert folder.adapter(3).is_dir()
    assert not folder.adapter(1).exists()


def test_bad_rows_name_their_line(tiny_config, tmp_path):
    """A broken row ends the run with its file and line; skipped, it is counted."""
    good = '{"site": "%s", "text": "la", "label": "dark"}\n'
    rows = [good % site for site in "ab" * 3]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join([*rows[:2], "{broken\n", *rows[2:]]))
    config = [f"data.dataset={file}", "data.eval_examples=1", "data.max_train_examples=2"]

    with pytest.raises(DataError, match=r"rows\.jsonl:3: .*on_bad_rows"):
        load_split(tiny_config(*config))

    assert len(load_split(tiny_config(*config, "data.on_bad_rows=skip")).skipped) == 1
