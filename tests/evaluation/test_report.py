import hashlib
import json

import pytest

from elixir_coder.errors import InputError
from elixir_coder.evaluation import report
from tests.evaluation.small import example_of


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--model", ".", "--data", "corpus"], "python eval.py --model . --data corpus"),
        (["--data", "/mnt/disk/corpus", "--model=/home/me/runs/tiny/"], "python eval.py --data corpus --model=tiny/"),
        (["@/etc/recipes/eval.args", "--out=@/tmp/x"], "python eval.py @eval.args --out=@x"),
        (["--out", "my results.json", "/"], "python eval.py --out 'my results.json' /"),
    ],
)
def test_the_command_is_shown_without_where_this_machine_keeps_things(words, shown):
    assert report.command_line("eval.py", words) == shown


def test_the_checksum_is_that_of_the_weights_in_the_order_of_their_names(tmp_path):
    for name, data in {"model-2.safetensors": b"b", "model-1.safetensors": b"a", "config.json": b"{}"}.items():
        (tmp_path / name).write_bytes(data)
    assert report.weights_sha256(tmp_path) == hashlib.sha256(b"ab").hexdigest()


def test_provenance_counts_the_files_and_bytes_of_each_package():
    examples = [example_of("é = 1\n", package="b"), example_of("2\n", package="a"), example_of("3\n", package="b")]
    found = report.provenance(examples, "test")
    assert (found["split"], found["source"], found["num_files"], found["num_bytes"]) == ("test", "folder", 3, 11)
    assert found["packages"] == [
        {"package": "a", "version": "1.0", "num_files": 1, "num_bytes": 2},
        {"package": "b", "version": "1.0", "num_files": 2, "num_bytes": 9},
    ]
    assert report.provenance(examples[::-1], "test")["sha256"] != found["sha256"]


def test_the_machine_is_its_processor_not_its_name(monkeypatch):
    monkeypatch.setattr("platform.node", lambda: pytest.fail("the machine's name was asked for"))
    assert report.machine("cpu", 1).partition(", 1 of ")[2].endswith("CPU threads")
    assert report.machine("cuda", 2).endswith("CPU threads, cuda")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.md"
    report.write_whole(path, "one\r\n")
    assert path.read_bytes() == b"one\r\n"
    with pytest.raises(UnicodeEncodeError):
        report.write_whole(path, "two \ud800")
    assert path.read_bytes() == b"one\r\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"cannot write .*no/a\.md: No such file"):
        report.write_whole(tmp_path / "no" / "a.md", "x")


RECORD = {
    "date": "2030-01-02",
    "command": "python eval.py",
    "model": {
        "name": "m",
        "sha256": "0" * 64,
        "num_parameters": 12345,
        "runtime": "fast int8",
        "steps": 10,
        "tokens_seen": 67890,
    },
    "data": {},
    "machine": "a processor",
    "versions": {},
    "results": {
        "bits": {"bits_per_byte": 0.98765, "xz": {"bits_per_byte": 1.5}},
        "fim": {"all": {"exact_match": 0.125, "edit_similarity": 0.5}},
    },
    "samples": {},
}


def test_a_record_is_read_as_it_was_written(tmp_path):
    report.write_record(tmp_path / "r.json", RECORD)
    assert report.read_record(tmp_path / "r.json") == RECORD


def test_a_figure_that_is_not_a_number_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        report.write_record(tmp_path / "r.json", {"results": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read .*r.json: No such file"),
        (b"{", "r.json is not JSON"),
        (b"\xff", "r.json is not JSON"),
        (b"[]", "has no results of eval.py"),
        (json.dumps({"results": {"bits": {}}}).encode(), "has no results of eval.py"),
        (json.dumps(RECORD | {"results": {}}).encode(), "has no results of eval.py"),
    ],
)
def test_a_file_that_eval_did_not_write_is_an_error(content, message, tmp_path):
    if content is not None:
        (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(InputError, match=message):
        report.read_record(tmp_path / "r.json")


def test_the_table_has_a_dash_for_what_was_not_measured():
    heads, rule, row = report.table(RECORD).splitlines()
    assert len(heads.split("|")) == len(rule.split("|")) == len(row.split("|"))
    assert row == "| m | 12,345 | 67,890 | fast int8 | 0.988 | – | 1.500 | 12.5% | 50.0% | – |"
    older = RECORD | {"model": {**RECORD["model"], "tokens_seen": None, "runtime": None}}
    assert report.table(older).splitlines()[2].startswith("| m | 12,345 | – | – | 0.988 |")


def test_the_figures_are_those_of_the_suites_that_ran():
    assert report.figures(RECORD) == {
        "bits_per_byte": 0.98765,
        "xz": 1.5,
        "fim_exact_match": 0.125,
        "fim_edit_similarity": 0.5,
    }


SCORED = {
    "num_tasks": 40,
    "samples_per_task": 10,
    "first_sample": {"solved": 4, "n": 40, "share": 0.1, "interval": [0.0396, 0.2305]},
    "pass_at_k": {"1": {"value": 0.125, "interval": [0.05, 0.26]}, "10": {"value": 0.5, "interval": [0.35, 0.65]}},
    "outcomes": {"test_failure": 300, "ok": 45, "warning": 5, "syntax_error": 50},
    "forms": {"continuation": 350, "unparsable": 50},
    "num_tokens": 123456,
    "generation_seconds": 99.6,
    "tasks": [{"passed": 20}, {"passed": 30}],
}


def test_answers_to_tasks_have_a_row_in_two_tables_for_each_way_of_writing_them():
    other = SCORED | {"pass_at_k": {"1": {"value": 1.0, "interval": [0.9, 1.0]}}, "outcomes": {"ok": 400}}
    columns = {"unconstrained": SCORED, "constrained": other | {"num_tokens": None}}
    record = RECORD | {"results": {"functional": {"columns": columns}}}
    assert report.functional_tables(record).splitlines() == [
        "| answers | tasks | of each | solved at first | pass@1 | pass@10 | tokens | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| unconstrained | 40 | 10 | 10.0% (4.0% to 23.1%) | 12.5% (5.0% to 26.0%) | 50.0% (35.0% to 65.0%) "
        "| 123,456 | 100 |",
        "| constrained | 40 | 10 | 10.0% (4.0% to 23.1%) | 100.0% (90.0% to 100.0%) | – | – | 100 |",
        "",
        "| answers | passed | test_failure | ok | warning | syntax_error "
        "| continuation | module | renamed | unparsable |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| unconstrained | 50 | 300 | 45 | 5 | 50 | 350 | 0 | 0 | 50 |",
        "| constrained | 50 | 0 | 400 | 0 | 0 | 350 | 0 | 0 | 50 |",
    ]
    assert report.figures(record) == {
        "pass_at_1_unconstrained": 0.125,
        "pass_at_10_unconstrained": 0.5,
        "pass_at_1_constrained": 1.0,
    }


def of_runtime(name, dtype, same, change):
    tokens = {"num_tokens": 2000, "bits_per_byte": 2 * (1 + change), "bits_change": change, "same_token": same}
    tokens |= {"same_token_interval": [same - 0.01, same], "top_five": same, "lost_bits": 0.00025}
    parse = {"n": 20, "accepted": 0.5, "accepted_interval": [0.25, 0.75]}
    fim = {"n": 30, "exact_match": 0.1, "exact_match_interval": [0.0, 0.2]}
    fim |= {"edit_similarity": 0.4, "edit_similarity_interval": [0.3, 0.5]}
    sizes = {"weights_bytes": 64_840_000, "same_text": 0.875}
    return {"name": name, "dtype": dtype, "tokens": tokens, "parse": parse, "fim": fim, **sizes}


PRECISION = {
    "num_texts": 50,
    "runtimes": [of_runtime("plain", "float32", 1.0, 0.0), of_runtime("fast", "int8", 0.9875, -0.0001)],
    "missing": {"fast bfloat16": "--runtime fast cannot be had: no compiler"},
}


def test_runtimes_stand_side_by_side_and_missing_ones_below():
    record = RECORD | {"results": {"precision": PRECISION}}
    assert report.precision_table(record).splitlines() == [
        "|  | plain float32 | fast int8 |",
        "| --- | --- | --- |",
        "| weights in memory, MB | 64.8 | 64.8 |",
        "| bits per byte | 2.0000 | 1.9998 |",
        "| the same, against the first | +0.000% | -0.010% |",
        "| same most probable token, n = 2,000 | 100.00% (99.00% to 100.00%) | 98.75% (97.75% to 98.75%) |",
        "| share of the five most probable | 100.00% | 98.75% |",
        "| bits lost a token (Kullback-Leibler) | 0.00025 | 0.00025 |",
        "| same text written, n = 50 | 87.5% | 87.5% |",
        "| parser accepts, n = 20 | 50.0% (25.0% to 75.0%) | 50.0% (25.0% to 75.0%) |",
        "| FIM exact match, n = 30 | 10.0% (0.0% to 20.0%) | 10.0% (0.0% to 20.0%) |",
        "| FIM edit similarity | 40.0% (30.0% to 50.0%) | 40.0% (30.0% to 50.0%) |",
        "",
        "fast bfloat16: --runtime fast cannot be had: no compiler",
    ]
    assert report.figures(record) == {"bits_change_fast_int8": -0.0001, "same_token_fast_int8": 0.9875}
    assert report.precision_table(RECORD) == ""


def test_a_record_without_answers_to_tasks_has_no_tables_of_them():
    assert report.functional_tables(RECORD) == ""


def test_a_model_that_is_known_by_its_answers_alone_has_no_number_of_parameters():
    record = RECORD | {"model": RECORD["model"] | {"num_parameters": None, "tokens_seen": None}}
    assert report.table(record).splitlines()[2].startswith("| m | – | – |")
