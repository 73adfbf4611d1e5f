"""Runs of train.py from end to end: in this process where that shows the fact, as a process where that is the point."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

import train
from elixir_coder import recipe as recipes
from elixir_coder.checkpoint import preset_config
from elixir_coder.data.shards import write_shards
from elixir_coder.errors import TrainingError, exit_on_error
from elixir_coder.recipe import TrainRecipe
from elixir_coder.training import state
from tests.third_party import without_torchao
from tests.training.small_run import (
    SHAPE,
    example_of,
    largest_difference,
    log_of,
    small_recipe,
    weights_of,
    write_inputs,
)

ROOT = Path(__file__).parents[1]
RECIPES = sorted(path for path in (ROOT / "recipes").glob("*.args") if not path.name.startswith("eval"))
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}  # accelerate's own warnings
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch"]


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def accelerator():
    return Accelerator(mixed_precision="no", gradient_accumulation_steps=1)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="session")
def straight(inputs, tmp_path_factory, accelerator):
    """Twenty steps without a break, with dropout."""
    out = tmp_path_factory.mktemp("runs") / "straight"
    train.train(small_recipe(inputs, out, dropout=0.1), accelerator)
    return out


def arguments(recipe, folder):
    """The words that give `train.py` this recipe."""
    recipes.save(recipe, folder / "given.args")
    return [f"@{folder / 'given.args'}"]


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


# --------------------------------------------------------------------------------------------------------------- resume


def test_a_run_killed_while_it_saved_goes_on_bit_exactly(inputs, straight, tmp_path, accelerator):
    recipe = small_recipe(inputs, tmp_path / "run", dropout=0.1)
    dies_when_step_15_is_written_but_not_yet_in_place = (
        "import os, signal, sys, train; from elixir_coder import checkpoint; put = checkpoint.replace_folder\n"
        "def killed(new, folder):\n"
        "    if folder.name.endswith('15'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "    put(new, folder)\n"
        "checkpoint.replace_folder = killed; train.main()"
    )
    command = [sys.executable, "-c", dies_when_step_15_is_written_but_not_yet_in_place, *arguments(recipe, tmp_path)]
    killed = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert (recipe.out / ".checkpoint-00000015.building").exists()
    assert [path.name for path in state.checkpoints(recipe.out)] == ["checkpoint-00000010"]

    train.train(small_recipe(inputs, tmp_path / "run", dropout=0.1, resume=True), accelerator)

    one, other = straight / "checkpoint-00000020", recipe.out / "checkpoint-00000020"
    assert largest_difference(one, other) == 0.0
    moments = [torch.load(folder / "optimizer.pt")["state"] for folder in (one, other)]
    assert all(
        torch.equal(value, moments[1][index][name])
        for index, each in moments[0].items()
        for name, value in each.items()
    )
    assert log_of(straight, "seconds", "tokens_per_second") == log_of(recipe.out, "seconds", "tokens_per_second")
    assert not list(recipe.out.glob(".checkpoint-*"))


def told_to_end_in(number, recipe, accelerator, monkeypatch):
    """A run that gets SIGTERM in the midst of this step."""
    rate_of = train.set_learning_rate

    def with_signal(optimizer, recipe, step):
        if step == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return rate_of(optimizer, recipe, step)

    with monkeypatch.context() as patch:
        patch.setattr(train, "set_learning_rate", with_signal)
        train.train(recipe, accelerator)


def test_sigterm_saves_after_the_step_it_falls_into_and_the_run_can_go_on(
    inputs, straight, tmp_path, accelerator, monkeypatch, capsys
):
    recipe = small_recipe(inputs, tmp_path / "run", dropout=0.1)
    told_to_end_in(3, recipe, accelerator, monkeypatch)
    assert [path.name for path in state.checkpoints(recipe.out)] == ["checkpoint-00000003"]
    assert "stopped after step 3 of 20 (SIGTERM); see" in capsys.readouterr().out

    train.train(small_recipe(inputs, recipe.out, dropout=0.1, resume=True), accelerator)
    assert largest_difference(straight / "checkpoint-00000020", recipe.out / "checkpoint-00000020") == 0.0


def test_sigterm_to_accelerate_launch_saves_too(inputs, tmp_path):
    # The last step is out of reach and the deadline is there for the case that this fails.
    recipe = small_recipe(
        inputs, tmp_path / "run", steps=10**6, log_every=1, eval_every=0, save_every=0, stop_after_minutes=3.0
    )
    command = [*ACCELERATE, "--num_processes", "1", "train.py", *arguments(recipe, tmp_path)]
    with (tmp_path / "output").open("w") as output:
        launcher = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=output, stderr=output)
    log = recipe.out / "log.jsonl"
    wait_for(lambda: log.exists() and log.read_text().count("\n") > 2)

    launcher.terminate()
    launcher.wait()

    wait_for(lambda: "stopped after step" in (tmp_path / "output").read_text())
    assert "(the launcher ended)" in (tmp_path / "output").read_text()
    (saved,) = state.checkpoints(recipe.out)
    assert state.read_progress(saved).step == log_of(recipe.out)[-1]["step"]


def test_a_deadline_stops_the_run_with_a_checkpoint(inputs, tmp_path, accelerator):
    train.train(small_recipe(inputs, tmp_path / "run", stop_after_minutes=1e-6), accelerator)

    assert [path.name for path in state.checkpoints(tmp_path / "run")] == ["checkpoint-00000001"]


def test_a_run_that_is_done_is_left_as_it_is(inputs, straight, tmp_path, accelerator, capsys):
    out = Path(shutil.copytree(straight, tmp_path / "run", symlinks=True))
    capsys.readouterr()

    train.train(small_recipe(inputs, out, dropout=0.1, resume=True), accelerator)

    assert "stopped after step 20 of 20; see" in capsys.readouterr().out
    assert (out / "log.jsonl").read_text() == (straight / "log.jsonl").read_text()
    assert largest_difference(out / "best", straight / "best") == 0.0


MANY_TASKS = ("complete=2", "write_tests", "implement", "generate", "quality=2", "explain", "repair", "retrieve")


def of_many_tasks(inputs, out, **changes):
    settings = {
        "data": (inputs / "corpus", inputs / "exercises"),
        "tasks": MANY_TASKS,
        "phase_starts": (0.2, 0.4, 0.6),
        "ramp_steps": 3,
        "source_length": 64,
        "target_length": 64,
        "steps": 12,
        "eval_every": 6,
        "save_every": 12,
        "label_balance": True,
        "gradient_accumulation": 2,
        "batch_tokens": 900,
    }
    return small_recipe(inputs, out, dropout=0.1, **settings | changes)


@pytest.mark.parametrize("weighting", ["fixed", "uncertainty", "gradnorm"])
def test_many_tasks_in_phases_go_on_bit_exactly(weighting, inputs, tmp_path, accelerator, monkeypatch):
    learned = {"loss_weighting": weighting, "norms_every": 4 if weighting == "gradnorm" else 0}
    straight = of_many_tasks(inputs, tmp_path / "straight", **learned)
    train.train(straight, accelerator)
    broken = of_many_tasks(inputs, tmp_path / "broken", **learned)
    told_to_end_in(7, broken, accelerator, monkeypatch)
    train.train(of_many_tasks(inputs, tmp_path / "broken", resume=True, **learned), accelerator)

    one, other = (run.out / "checkpoint-00000012" for run in (straight, broken))
    assert largest_difference(one, other) == 0.0
    heads, terms = zip(*(torch.load(folder / state.OBJECTIVE).values() for folder in (one, other)))
    assert all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])
    assert str(terms[0]) == str(terms[1])
    assert state.read_progress(one).cursors == state.read_progress(other).cursors
    timed = ("seconds", "tokens_per_second")
    assert log_of(straight.out, *timed) == log_of(broken.out, *timed)
    notes = [each["note"] for each in log_of(straight.out) if "note" in each]
    assert [note.split(" begins")[0] for note in notes[:3]] == [
        "phase 1 (code)",
        "phase 3 (full ontology and tests)",
        "phase 4 (all)",
    ]


# -------------------------------------------------------------------------------------------------- what a run leaves


def test_a_run_leaves_the_best_and_the_last_checkpoint_a_log_curves_and_a_report(straight):
    scores = {each["step"]: each["bits_per_byte"] for each in log_of(straight) if "bits_per_byte" in each}
    best = f"checkpoint-{min(scores, key=scores.get):08d}"

    assert sorted(scores) == [5, 10, 15, 20]
    assert {path.name for path in straight.iterdir()} == {
        *{best, "checkpoint-00000020", "best"},
        *{"recipe.args", "log.jsonl", "tensorboard", "report.md", "curves.png", "tasks.png"},
    }
    assert os.readlink(straight / "best") == best
    assert f"`{best}`, {min(scores.values()):.4f} held-out bits per byte" in (straight / "report.md").read_text()
    assert scores[20] < scores[5]


def test_a_checkpoint_between_two_evaluations_has_no_score(inputs, tmp_path, accelerator):
    recipe = small_recipe(inputs, tmp_path / "run", steps=4, eval_every=2, save_every=1, keep_best=9)
    train.train(recipe, accelerator)

    scores = [state.read_progress(folder).bits_per_byte for folder in state.checkpoints(recipe.out)]
    assert [score is not None for score in scores] == [True, True]
    assert [folder.name[-1] for folder in state.checkpoints(recipe.out)] == ["2", "4"]


def test_weights_alone_are_enough_to_start_from(inputs, straight, tmp_path, accelerator):
    start = Path(shutil.copytree(straight / "best", tmp_path / "start"))
    for name in ("optimizer.pt", "trainer_state.json"):
        (start / name).unlink()
    still = {"steps": 1, "warmup_steps": 0, "learning_rate": 1e-12, "weight_decay": 0.0}

    train.train(small_recipe(inputs, tmp_path / "run", init_from=start, **still), accelerator)

    (saved,) = state.checkpoints(tmp_path / "run")
    assert state.read_progress(saved).step == 1
    assert largest_difference(straight / "best", saved) < 1e-9


def test_a_dry_run_goes_all_the_way_and_leaves_nothing(inputs, tmp_path, accelerator, capsys):
    train.dry_run(small_recipe(inputs, tmp_path / "run", gradient_accumulation=2), accelerator)

    shown = capsys.readouterr().out
    assert "step 1  loss" in shown and "going on after step 1" in shown and "step 2  bits_per_byte" in shown
    assert shown.endswith("nothing was kept\n")
    assert list(tmp_path.iterdir()) == []


def test_bf16_and_recomputed_activations_train_as_well(inputs, straight, tmp_path, accelerator):
    recipe = small_recipe(inputs, tmp_path / "run", dropout=0.1, precision="bf16", gradient_checkpointing=True)
    train.train(recipe, accelerator)

    losses = [[each["loss"] for each in log_of(out) if "loss" in each] for out in (recipe.out, straight)]
    assert losses[0] == pytest.approx(losses[1], abs=0.05)
    assert weights_of(recipe.out / "best")["model.shared.weight"].dtype == torch.float32


def test_a_student_begins_with_layers_of_its_teacher_and_learns_from_it(inputs, tmp_path, accelerator):
    deep = (*SHAPE, "encoder_layers=3", "dropout=0.0")
    train.train(small_recipe(inputs, tmp_path / "teacher", config_overrides=deep), accelerator)
    teacher = tmp_path / "teacher" / "checkpoint-00000020"
    learning = {"teacher": teacher, "student_layers": (2, 1), "config_overrides": ()}

    train.train(small_recipe(inputs, tmp_path / "student", distillation=0.9, **learning), accelerator)

    saved = tmp_path / "student" / "checkpoint-00000020"
    assert json.loads((saved / "config.json").read_text())["encoder_layers"] == 2
    scores = [each["bits_per_byte"] for each in log_of(tmp_path / "student") if "bits_per_byte" in each]
    assert scores[-1] < 1.1 * state.read_progress(teacher).bits_per_byte


# ------------------------------------------------------------------------------------------- the same sum, shared out


def test_accumulation_changes_nothing_but_rounding(inputs, tmp_path, accelerator):
    for parts in (1, 4):
        out = tmp_path / f"run{parts}"
        train.train(small_recipe(inputs, out, steps=6, eval_every=0, gradient_accumulation=parts), accelerator)

    last = "checkpoint-00000006"
    assert largest_difference(tmp_path / "run1" / last, tmp_path / "run4" / last) < 1e-6


def test_two_processes_train_as_one_does_dropout_and_all(inputs, tmp_path, accelerator):
    def recipe(out, accumulation):
        return small_recipe(
            inputs, tmp_path / out, dropout=0.1, steps=6, eval_every=0, gradient_accumulation=accumulation
        )

    train.train(recipe("one", 4), accelerator)
    launch_two(recipe("two", 2), tmp_path, "--multi_gpu")

    last = "checkpoint-00000006"
    assert largest_difference(tmp_path / "one" / last, tmp_path / "two" / last) < 1e-6
    for one, two in zip(log_of(tmp_path / "one"), log_of(tmp_path / "two"), strict=True):
        assert {"step", "tokens"} < one.keys() and one.keys() == two.keys()
        for name in one.keys() - {"seconds", "tokens_per_second"}:
            for value, other in zip(flat(two[name]), flat(one[name]), strict=True):
                assert value == pytest.approx(other, rel=1e-5)


def flat(value):
    """The numbers of a record's value, however nested."""
    return [number for each in value.values() for number in flat(each)] if isinstance(value, dict) else [value]


def launch_two(recipe, folder, *words):
    """Run train.py in two processes on the CPU."""
    launched = subprocess.run(
        [
            *ACCELERATE,
            *words,
            "--num_processes",
            "2",
            "--main_process_port",
            "0",
            "train.py",
            *arguments(recipe, folder),
        ],
        cwd=ROOT,
        env=ENVIRONMENT | {"ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert launched.returncode == 0, launched.stderr
    assert "2 × cpu" in launched.stdout


def test_two_processes_that_share_out_the_weights_train_as_one_and_go_on(inputs, tmp_path, accelerator):
    def recipe(out, accumulation, **changes):
        return of_many_tasks(
            inputs, tmp_path / out, steps=6, save_every=3, gradient_accumulation=accumulation, **changes
        )

    train.train(recipe("one", 2), accelerator)
    sharing = ("--config_file", "recipes/accelerate/fsdp2.yaml")
    launch_two(recipe("two", 1), tmp_path, *sharing)
    last = "checkpoint-00000006"
    assert largest_difference(tmp_path / "one" / last, tmp_path / "two" / last) < 1e-5

    shutil.rmtree(tmp_path / "two" / last)
    launch_two(recipe("two", 1, resume=True), tmp_path, *sharing)
    assert largest_difference(tmp_path / "one" / last, tmp_path / "two" / last) < 1e-5


# --------------------------------------------------------------------------------------------------- not a number


def test_a_gradient_that_is_not_finite_stops_the_run_and_names_the_last_good_checkpoint(
    inputs, straight, tmp_path, accelerator
):
    out = Path(shutil.copytree(straight, tmp_path / "run", symlinks=True))
    before = state.checkpoints(out)
    absurd = small_recipe(inputs, out, dropout=0.1, steps=30, save_every=0, learning_rate=1e30, resume=True)

    with pytest.raises(
        TrainingError, match=r"the gradient of step 22 is not a finite number; the last good .*0020; go"
    ):
        train.train(absurd, accelerator)

    assert state.checkpoints(out) == before


def test_weights_that_are_not_finite_are_never_saved(inputs, tmp_path, accelerator):
    recipe = small_recipe(
        inputs, tmp_path / "run", warmup_steps=0, save_every=1, learning_rate=1e38, max_grad_norm=float("inf")
    )

    with pytest.raises(TrainingError, match=r"weight \S+ after step \d is not a finite number; no checkpoint was"):
        train.train(recipe, accelerator)

    assert state.checkpoints(tmp_path / "run") == []


# --------------------------------------------------------------------------------------------------------------- errors


def test_a_misspelt_setting_is_one_line_and_exit_code_2():
    done = subprocess.run(
        [sys.executable, "train.py", "--lerning_rate", "1"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )

    message = "error: no such setting: --lerning_rate; did you mean --learning_rate?\n"
    assert (done.returncode, done.stdout, without_torchao(done.stderr)) == (2, "", message)


def broken(straight, folder, change):
    change(Path(shutil.copytree(straight / "best", folder)))
    return folder


def of_another_architecture(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "bart"}))


def with_truncated_weights(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def without_weights(folder):
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of_another_architecture, "holds a model of type 'bart', expected 'elixir_coder'; give a folder that"),
        (with_truncated_weights, "model.safetensors is truncated or damaged"),
        (without_weights, "no file named model.safetensors"),
        (shutil.rmtree, "config.json does not exist"),
    ],
)
def test_weights_that_cannot_be_started_from_are_refused(
    change, message, inputs, straight, tmp_path, monkeypatch, capsys
):
    start = broken(straight, tmp_path / "start", change)

    assert message in error_of(small_recipe(inputs, tmp_path / "run", init_from=start), tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config_overrides": (*SHAPE, "vocab_size=512")}, "the tokenizer has 500 tokens but the model 512; use the"),
        ({"config_overrides": (*SHAPE, "pad_token_id=7")}, "pad_token_id is 0 in the tokenizer but 7 in the model"),
        ({"config_overrides": ("d_modl=32",)}, "no field 'd_modl' (in --config_overrides); did you mean d_model?"),
        ({"config_overrides": ("d_model=33",)}, "does not fit --preset tiny: d_model (33) is not a multiple of"),
        ({"source_length": 4097}, "--source_length must be at least 8 and at most the model's max_position_embeddings"),
        ({"target_length": 5000}, "4096; got 5000"),
        ({"data": (Path("absent"),)}, "no corpus at absent; collect one with: elixir-coder data collect debian --out"),
        ({"tokenizer": Path("absent")}, "no tokenizer at absent: tokenizer.json does not exist; make one with"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_anything_is_written(
    changes, message, inputs, tmp_path, monkeypatch, capsys
):
    assert message in error_of(small_recipe(inputs, tmp_path / "run", **changes), tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train": [""], "validation": ["def a"]}, "is of use to the task denoise; give more --data"),
        ({"train": ["def a"]}, "has no shards of split `validation` (it has: train)"),
        ({"train": ["def a"], "validation": [""]}, "there is no held-out file with text in it"),
    ],
)
def test_a_corpus_that_lacks_something_is_refused(files, message, inputs, tmp_path, monkeypatch, capsys):
    write_shards(tmp_path / "corpus", {split: map(example_of, codes) for split, codes in files.items()}, {})

    recipe = small_recipe(inputs, tmp_path / "run", data=(tmp_path / "corpus",))
    assert message in error_of(recipe, tmp_path, monkeypatch, capsys)


def test_a_folder_that_holds_a_run_is_not_overwritten(inputs, straight, tmp_path, monkeypatch, capsys):
    before = {path: path.stat().st_mtime_ns for path in straight.rglob("*")}

    message = error_of(small_recipe(inputs, straight), tmp_path, monkeypatch, capsys, is_new=False)

    assert "already holds a run; go on with --resume or choose another folder" in message
    assert {path: path.stat().st_mtime_ns for path in straight.rglob("*")} == before


def test_a_full_disk_is_a_line_that_says_how_to_go_on(inputs, tmp_path, monkeypatch, capsys):
    def full(*args, **values):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(train.Journal, "write", full)

    message = error_of(small_recipe(inputs, tmp_path / "run"), tmp_path, monkeypatch, capsys, is_new=False)
    assert message.endswith("No space left on device; make room and go on with --resume")


def error_of(recipe, folder, monkeypatch, capsys, is_new=True):
    """The line that `train.py` ends with, which left with exit code 2 and no new folder."""
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments(recipe, folder)])
    capsys.readouterr()
    assert exit_on_error(train.main) == 2
    assert recipe.out.exists() != is_new
    (line,) = capsys.readouterr().err.splitlines()
    return line


# -------------------------------------------------------------------------------------------------------------- recipes


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_is_one_that_its_model_can_follow(path):
    recipe = recipes.parse(TrainRecipe, [f"@{path}"])
    overrides = train.checkpoint.config_overrides(recipe.config_overrides)

    longest = preset_config(recipe.preset, **overrides).max_position_embeddings
    assert max(recipe.source_length, recipe.target_length) <= longest
