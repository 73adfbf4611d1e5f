import json

import pytest

from elixir_coder.training.journal import Journal, peak_memory, read_records, task_curves, write_report
from tests.training.test_state import checkpoint_at

TRAINED = {"loss": 2.0, "tokens": 1_000, "seconds": 60.0}
MEASURED = {"bits_per_byte": 1.25, "tokens": 1_000, "seconds": 61.0}


def settle(out):
    (out / "recipe.args").write_text("--batch_size 8\n")


def test_a_record_is_a_line_of_json_a_line_on_the_terminal_and_a_tensorboard_scalar(tmp_path, capsys):
    with Journal(tmp_path) as journal:
        journal.write(3, loss=2.5, tokens=12)

    assert (tmp_path / "log.jsonl").read_text() == '{"step": 3, "loss": 2.5, "tokens": 12}\n'
    assert capsys.readouterr().out == "step 3  loss 2.5  tokens 12\n"
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"loss" in events.read_bytes()


def test_numbers_of_tasks_are_nested_in_the_log_and_grouped_for_tensorboard(tmp_path, capsys):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    score = {"token_accuracy": 0.5, "nats": 2.0, "count": 64}
    with Journal(tmp_path) as journal:
        journal.write(3, loss=2.5, tasks={"generate": 2.125, "quality:quality": 0.25}, weights={})
        journal.write(3, bits_per_byte=1.5, held_out={"generate": score})
        journal.note(4, "phase 2 (simple ontology) begins")

    assert read_records(tmp_path / "log.jsonl") == [
        {"step": 3, "loss": 2.5, "tasks": {"generate": 2.125, "quality:quality": 0.25}, "weights": {}},
        {"step": 3, "bits_per_byte": 1.5, "held_out": {"generate": score}},
        {"step": 4, "note": "phase 2 (simple ontology) begins"},
    ]
    assert capsys.readouterr().out.splitlines() == [
        "step 3  loss 2.5",
        "  tasks  generate 2.125  quality:quality 0.25",
        "step 3  bits_per_byte 1.5",
        "  held_out  generate 0.5",
        "step 4: phase 2 (simple ontology) begins",
    ]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    scalars = {name: [(each.step, each.value) for each in events.Scalars(name)] for name in events.Tags()["scalars"]}
    assert scalars == {
        "loss": [(3, 2.5)],
        "tasks/generate": [(3, 2.125)],
        "tasks/quality.quality": [(3, 0.25)],
        "bits_per_byte": [(3, 1.5)],
        "held_out/generate/token_accuracy": [(3, 0.5)],
        "held_out/generate/nats": [(3, 2.0)],
    }


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
    settle(tmp_path)
    checkpoint_at(tmp_path, 10, 1.25), checkpoint_at(tmp_path, 20)
    records = [{"step": 10, **TRAINED}, {"step": 10, **MEASURED}, {"step": 20, **TRAINED, "seconds": 3600.0}]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))

    write_report(tmp_path, {"Hardware": "1 × abacus"})

    report = (tmp_path / "report.md").read_text()
    assert "Best checkpoint: `checkpoint-00000010`, 1.2500 held-out bits per byte" in report
    assert "| 10 | 1,000 | 0:01:01 | 1.2500 |" in report
    assert "Cost: 1:00:00 (h:mm:ss) for 20 steps, 1,000 tokens read and written" in report
    assert "Hardware: 1 × abacus" in report
    assert "torch 2." in report and "--batch_size 8" in report
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_that_stopped_before_anything_was_logged_has_a_report_too(tmp_path):
    settle(tmp_path)

    write_report(tmp_path, {})

    assert "Best checkpoint: none yet." in (tmp_path / "report.md").read_text()


def of_tasks():
    """A log of three tasks: one that moves, one that joins later, one that is trained and never measured."""
    for step in (10, 20, 30):
        score = {"token_accuracy": {10: 0.1, 20: 0.4, 30: 0.3}[step], "low": 0.05, "high": 0.5, "count": 64}
        held_out = {"generate": {**score, "nats": 5.0 - step / 10}}
        if step > 10:
            held_out["quality"] = {"macro_f1": step / 100, "low": 0.0, "high": 1.0, "count": 1234}
        tasks = {"generate": 5 - step / 10, "match:match": 0.7}
        yield {"step": step, **TRAINED, "tasks": tasks | ({"quality:quality": 0.5} if step > 10 else {})}
        yield {"step": step, **MEASURED, "held_out": held_out}
        yield {"step": step, "note": f"phase | {step}"}


def test_losses_of_heads_are_those_of_their_task():
    curves = task_curves(list(of_tasks()))
    assert list(curves) == ["generate", "match", "quality"]
    assert curves["match"].losses == {"match:match": [(10, 0.7), (20, 0.7), (30, 0.7)]}
    assert curves["quality"].losses == {"quality:quality": [(20, 0.5), (30, 0.5)]}
    assert [(step, score["token_accuracy"]) for step, score in curves["generate"].held_out] == [
        *((10, 0.1), (20, 0.4), (30, 0.3))
    ]


def test_the_report_has_each_task_first_best_and_last_phases_and_errors(tmp_path):
    settle(tmp_path)
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in of_tasks()))

    write_report(tmp_path, {}, "## Errors\n\nIt knows nothing.\n")

    report = (tmp_path / "report.md").read_text()
    assert (
        "| generate | token accuracy | 64 | 0.100 | 0.400 (20) | 0.300 | 0.050–0.500 | 4.000 → 2.000 |\n"
        "| match | not measured | | | | | | |\n"
        "| quality | macro f1 | 1,234 | 0.200 | 0.300 (30) | 0.300 | 0.000–1.000 |  |\n"
    ) in report
    assert "| 20 | phase &#124; 20 |" in report
    assert report.endswith("## Errors\n\nIt knows nothing.\n")
    assert "![each task's held-out metric, and its training loss](tasks.png)" in report
    assert (tmp_path / "tasks.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("number", [1, 5, 22])
def test_there_is_a_panel_for_each_task(number, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn = {}
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, path, **settings: (path.touch(), drawn.update({path: figure}))
    )
    settle(tmp_path)
    tasks = {f"task{index}": {"token_accuracy": 0.5, "count": 1} for index in range(number)}
    records = [{"step": step, **MEASURED, "held_out": tasks} for step in (1, 2)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))

    write_report(tmp_path, {})

    titles = [axes.get_title() for axes in drawn[tmp_path / ".tasks.png"].axes if axes.get_title()]
    assert titles == [f"task{index}: token accuracy" for index in range(number)]


def test_a_run_of_no_tasks_has_no_picture_of_them(tmp_path):
    settle(tmp_path)
    (tmp_path / "log.jsonl").write_text(json.dumps({"step": 10, **TRAINED}) + "\n")
    write_report(tmp_path, {})
    assert not (tmp_path / "tasks.png").exists()
    assert "## Tasks" not in (tmp_path / "report.md").read_text()


def test_a_journal_reports_the_memory_it_took(tmp_path, capsys):
    assert 0.05 < float(peak_memory().split()[0]) < 100
    with Journal(tmp_path) as journal:
        settle(tmp_path)
        journal.report({"Hardware": "1 × abacus"}, "## Errors\n")
    report = (tmp_path / "report.md").read_text()
    assert "Memory: " in report and "GB of main memory at most" in report
    assert report.endswith("## Errors\n")
