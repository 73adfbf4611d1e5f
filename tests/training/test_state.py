import json
import os

import pytest
import torch

from elixir_coder import recipe as recipes
from elixir_coder.errors import CheckpointError, RecipeError, TrainingError
from elixir_coder.training import state
from elixir_coder.training.sharding import build_accelerator
from elixir_coder.training.state import Progress
from elixir_coder.training.terms import Terms
from tests.training.small_run import small_recipe
from tests.training.test_objective import TASKS, objective_of


def checkpoint_at(out, step, bits_per_byte=None):
    folder = out / f"checkpoint-{step:08d}"
    folder.mkdir(parents=True)
    progress = {"step": step, "tokens": 0, "seconds": 0.0, "bits_per_byte": bits_per_byte}
    (folder / "trainer_state.json").write_text(json.dumps(progress))
    return folder


def names(out):
    return sorted(path.name for path in out.iterdir())


# ------------------------------------------------------------------------------------------------------- which to keep


def test_pruning_keeps_the_best_and_the_latest(tmp_path):
    for step, score in [(1, 3.0), (2, 1.0), (3, 2.0), (4, None), (5, 4.0), (6, None)]:
        checkpoint_at(tmp_path, step, score)

    state.prune(tmp_path, keep_best=2)

    assert names(tmp_path) == ["checkpoint-00000002", "checkpoint-00000003", "checkpoint-00000006"]


def test_pruning_without_best_keeps_the_latest_alone(tmp_path):
    for step in (1, 2, 3):
        checkpoint_at(tmp_path, step, float(step))

    state.prune(tmp_path, keep_best=0)

    assert names(tmp_path) == ["checkpoint-00000003"]


def test_a_checkpoint_that_is_deleted_half_is_no_checkpoint_any_more(tmp_path, monkeypatch):
    for step in (1, 2):
        checkpoint_at(tmp_path, step)
    monkeypatch.setattr(state.shutil, "rmtree", lambda path: None)  # as if killed before anything was deleted

    state.prune(tmp_path, keep_best=0)

    assert state.checkpoints(tmp_path) == [tmp_path / "checkpoint-00000002"]


def test_best_is_a_link_that_follows_the_lowest_score(tmp_path):
    best = tmp_path / "best"
    checkpoint_at(tmp_path, 1, 2.0)
    state.link_best(tmp_path)
    assert os.readlink(best) == "checkpoint-00000001"

    checkpoint_at(tmp_path, 2, 3.0)
    state.link_best(tmp_path)
    assert os.readlink(best) == "checkpoint-00000001"

    checkpoint_at(tmp_path, 3, 1.0)
    state.link_best(tmp_path)
    assert os.readlink(best) == "checkpoint-00000003"
    assert (best / "trainer_state.json").exists()


def test_best_is_the_latest_where_nothing_was_measured(tmp_path):
    checkpoint_at(tmp_path, 1), checkpoint_at(tmp_path, 2)

    assert state.best_checkpoint(tmp_path) == tmp_path / "checkpoint-00000002"
    assert state.best_checkpoint(tmp_path / "nothing") is None


# ----------------------------------------------------------------------------------------------------- one run a folder


def test_a_new_run_starts_from_nothing_and_leaves_nothing_before_it_begins(tmp_path):
    recipe = small_recipe(tmp_path, tmp_path / "deep" / "run", resume=True)

    assert state.latest_checkpoint(recipe) is None
    assert names(tmp_path) == []


def test_a_folder_that_holds_a_run_is_only_for_resuming(tmp_path):
    folder = checkpoint_at(tmp_path, 7)

    with pytest.raises(RecipeError, match="already holds a run; go on with --resume or choose another folder"):
        state.latest_checkpoint(small_recipe(tmp_path, tmp_path))
    assert state.latest_checkpoint(small_recipe(tmp_path, tmp_path, resume=True)) == folder


def test_a_run_that_was_killed_before_its_first_checkpoint_holds_the_folder_too(tmp_path):
    recipe = small_recipe(tmp_path, tmp_path)
    recipes.save(recipe, tmp_path / "recipe.args")

    with pytest.raises(RecipeError, match="already holds a run"):
        state.latest_checkpoint(recipe)


def test_a_run_is_not_resumed_with_another_preset(tmp_path):
    recipes.save(small_recipe(tmp_path, tmp_path), tmp_path / "recipe.args")
    checkpoint_at(tmp_path, 1)

    with pytest.raises(RecipeError, match="was begun with --preset tiny, not base"):
        state.latest_checkpoint(small_recipe(tmp_path, tmp_path, preset="base", resume=True))


def test_out_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(RecipeError, match="file is not a folder one may write to"):
        state.latest_checkpoint(small_recipe(tmp_path, tmp_path / "file" / "run"))


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    recipe = small_recipe(tmp_path, tmp_path / "run")

    first = state.open_run(recipe, None)
    first.__enter__()
    with pytest.raises(RecipeError, match="another process is training in"), state.open_run(recipe, None):
        pass
    first.__exit__(None, None, None)
    with state.open_run(recipe, None):
        pass


def test_a_checkpoint_that_appeared_since_the_look_stops_the_start(tmp_path):
    checkpoint_at(tmp_path, 1)

    run = state.open_run(small_recipe(tmp_path, tmp_path), None)
    with pytest.raises(RecipeError, match="another process has just written"), run:
        pass


def test_what_a_killed_run_left_half_written_is_cleared_away(tmp_path):
    last = checkpoint_at(tmp_path, 1)
    for name in (".checkpoint-00000002.building", ".checkpoint-00000000.pruned"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text("half")

    with state.open_run(small_recipe(tmp_path, tmp_path), last):
        assert names(tmp_path) == ["checkpoint-00000001", "recipe.args"]


def test_the_settings_lie_in_the_folder_in_the_words_of_the_command_line(tmp_path):
    recipe = small_recipe(tmp_path, tmp_path / "run")

    with state.open_run(recipe, None):
        assert recipes.parse(recipes.TrainRecipe, [f"@{tmp_path}/run/recipe.args"]) == recipe


def test_too_small_a_disk_is_told_before_the_run(tmp_path, monkeypatch):
    free = state.shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(state.shutil, "disk_usage", lambda path: free)

    state.check_disk(tmp_path / "run", num_parameters=10**6, keep_best=1)
    with pytest.raises(TrainingError, match=r"3 checkpoints need 3\.6 GB and the disk has 1\.0 GB free"):
        state.check_disk(tmp_path / "run", num_parameters=10**8, keep_best=1)


# -------------------------------------------------------------------------------------------------------- the optimizer


def optimizer_of(learning_rate):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], lr=learning_rate, weight_decay=learning_rate)
    weight.grad = torch.full((3,), 0.5)
    optimizer.step()
    return optimizer


def test_moments_come_back_and_settings_are_those_of_the_new_recipe(tmp_path):
    folder = checkpoint_at(tmp_path, 3, 1.5)
    saved, resumed = optimizer_of(0.1), torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))], lr=0.2, weight_decay=0.3)
    torch.save(saved.state_dict(), folder / "optimizer.pt")
    one, other, terms = objective_of(seed=1), objective_of(seed=2), Terms(TASKS, "fixed", {})
    torch.save({"heads": one.heads.state_dict(), "terms": terms.state_dict()}, folder / "objective.pt")

    assert state.restore(folder, build_accelerator(), resumed, terms) == Progress(step=3, bits_per_byte=1.5)
    state.restore_heads(folder, other)

    assert all(torch.equal(*each) for each in zip(one.heads.parameters(), other.heads.parameters()))
    assert torch.equal(resumed.state_dict()["state"][0]["exp_avg"], saved.state_dict()["state"][0]["exp_avg"])
    assert (resumed.param_groups[0]["lr"], resumed.param_groups[0]["weight_decay"]) == (0.2, 0.3)


def test_damaged_moments_are_named_with_two_ways_out(tmp_path):
    folder = checkpoint_at(tmp_path, 3)
    (folder / "optimizer.pt").write_bytes(b"PK\x03\x04 half of it")

    with pytest.raises(CheckpointError, match=r"optimizer\.pt or objective\.pt cannot be read .* --init_from"):
        state.restore(folder, build_accelerator(), optimizer_of(0.1), Terms(TASKS, "fixed", {}))


def test_a_damaged_trainer_state_is_named(tmp_path):
    folder = checkpoint_at(tmp_path, 3)
    (folder / "trainer_state.json").write_text('{"step": 3')

    with pytest.raises(CheckpointError, match=r"checkpoint-00000003: trainer_state\.json cannot be read"):
        state.read_progress(folder)
