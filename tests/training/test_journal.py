import json

from elixir_coder import recipe as recipes
from elixir_coder.training.journal import Journal, read_records, write_report
from tests.training.small_run import small_recipe
from tests.training.test_state import checkpoint_at

TRAINED = {"loss": 2.0, "tokens": 1_000, "seconds": 60.0}
MEASURED = {"bits_per_byte": 1.25, "tokens": 1_000, "seconds": 61.0}


def test_a_record_is_a_line_of_json_a_line_on_the_terminal_and_a_tensorboard_scalar(tmp_path, capsys):
    with Journal(tmp_path) as journal:
        journal.write(3, loss=2.5, tokens=12)

    assert (tmp_path / "log.jsonl").read_text() == '{"step": 3, "loss": 2.5, "tokens": 12}\n'
    assert capsys.readouterr().out == "step 3  loss 2.5  tokens 12\n"
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"loss" in events.read_bytes()


def test_a_resumed_run_tells_no_step_twice(tmp_path):
    with Journal(tmp_path) as journal:
        for step in (1, 2, 3):
            journal.write(step, loss=float(step))
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 4, "lo')  # killed in the middle of a line

    with Journal(tmp_path, after_step=2) as journal:
        journal.write(3, loss=30.0)

    assert [record["loss"] for record in read_records(tmp_path / "log.jsonl")] == [1.0, 2.0, 30.0]


def test_all_processes_but_one_are_silent(tmp_path, capsys):
    with Journal(tmp_path / "run", is_silent=True) as journal:
        journal.write(1, loss=1.0)
        journal.say("hello")
        journal.report({})

    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().out == ""


def test_the_report_names_the_best_checkpoint_the_cost_the_versions_and_the_settings(tmp_path):
    recipes.save(small_recipe(tmp_path, tmp_path), tmp_path / "recipe.args")
    checkpoint_at(tmp_path, 10, 1.25), checkpoint_at(tmp_path, 20)
    records = [{"step": 10, **TRAINED}, {"step": 10, **MEASURED}, {"step": 20, **TRAINED, "seconds": 3600.0}]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))

    write_report(tmp_path, {"Hardware": "1 × abacus"})

    report = (tmp_path / "report.md").read_text()
    assert "Best checkpoint: `checkpoint-00000010`, 1.2500 held-out bits per byte" in report
    assert "| 10 | 1,000 | 0:01:01 | 1.2500 |" in report
    assert "Cost: 1:00:00 (h:mm:ss) for 20 steps, 1,000 tokens with a loss" in report
    assert "Hardware: 1 × abacus" in report
    assert "torch 2." in report and "--batch_size 8" in report
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_that_stopped_before_anything_was_logged_has_a_report_too(tmp_path):
    recipes.save(small_recipe(tmp_path, tmp_path), tmp_path / "recipe.args")

    write_report(tmp_path, {})

    assert "Best checkpoint: none yet." in (tmp_path / "report.md").read_text()
