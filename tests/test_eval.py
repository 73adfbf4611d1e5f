"""eval.py from the command line to the results, on a small random model; and what it says of broken folders."""

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from elixir_coder import checkpoint
from elixir_coder import recipe as recipes
from elixir_coder.data.shards import write_shards
from elixir_coder.errors import SandboxError, exit_on_error
from elixir_coder.evaluation.saved import read_rows
from elixir_coder.toolchain.sandbox import Sandbox
from kernels_elixir_coder import KernelError
from tests.evaluation import small
from tests.evaluation.tasks import write
from tests.third_party import without_torchao

ROOT = Path(__file__).parents[1]
QUICK = (
    "--num_threads 1 --source_length 64 --target_length 64 --max_new_tokens 48 --holes 3 --prompts 4 --task_tokens 16"
).split()

script = importlib.import_module("eval")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "small"
    tokenizer = small.small_tokenizer()
    checkpoint.save_model(folder, small.small_model(tokenizer), tokenizer)
    (folder / "trainer_state.json").write_text('{"step": 7, "tokens": 1234, "seconds": 5.0, "bits_per_byte": 3.0}')
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "corpus"
    held_out = small.small_examples()
    train = [small.example_of(example.code.replace("Stack", "Pile"), package="piles") for example in held_out]
    write_shards(folder, {"train": train, "validation": held_out[:1], "test": held_out}, {"source": "folder"})
    return folder


@pytest.fixture
def evaluate(model_folder, corpus, tmp_path, monkeypatch, capsys):
    """Run the script; give its exit code, what it printed, what it said on stderr, and the results it wrote."""

    def run(*words, model=model_folder, data=corpus):
        out = tmp_path / "results.json"
        given = [f"--{name}={path}" for name, path in (("model", model), ("data", data)) if path]
        argv = ["eval.py", *given, "--out", str(out), *QUICK, *map(str, words)]
        monkeypatch.setattr(sys, "argv", argv)
        threads = torch.get_num_threads()
        code = exit_on_error(script.main)
        torch.set_num_threads(threads)
        printed = capsys.readouterr()
        return code, printed.out, printed.err, json.loads(out.read_text("utf-8")) if out.exists() else None

    return run


@pytest.mark.elixir
def test_all_suites_give_figures_samples_and_where_they_come_from(evaluate, model_folder, tasks):
    code, printed, said, record = evaluate("--tasks", tasks)
    assert code == 0, said
    assert set(record["results"]) == {"bits", "fim", "parse", "functional"}
    assert set(record["seconds"]) == {"bits", "fim", "parse", "functional"}
    bits = record["results"]["bits"]
    assert (bits["num_files"], bits["num_bytes"]) == (2, sum(len(e.code) for e in small.small_examples()))
    assert 0 < bits["five_gram"]["bits_per_byte"] < 2 < bits["bits_per_byte"] < 30
    assert [package["package"] for package in bits["packages"]] == ["stores"]
    assert bits["packages"][0]["model"] == pytest.approx(bits["bits_per_byte"])
    assert record["results"]["fim"]["all"]["n"] == 9
    assert record["results"]["parse"]["model"]["n"] == record["results"]["parse"]["authors"]["n"] == 4
    assert [len(samples) for samples in record["samples"].values()] == [5, 4, 2]
    assert [sample["kind"] for sample in record["samples"]["fim"]] == ["line", "lines", "span", "line", "lines"]

    assert record["model"]["name"] == "small"
    assert record["model"]["tokens_seen"] == 1234
    assert record["model"]["num_parameters"] == sum(
        p.numel() for p in small.small_model(small.small_tokenizer()).parameters()
    )
    assert record["data"]["packages"] == [
        {"package": "stores", "version": "1.0", "num_files": 2, "num_bytes": bits["num_bytes"]}
    ]
    assert {"torch", "transformers", "elixir", "otp"} <= set(record["versions"])
    assert record["command"].startswith("python eval.py --model=small --data=corpus --out results.json")
    assert str(model_folder.parent) not in json.dumps(record)

    lines = printed.splitlines()
    assert lines[0].startswith("| model | parameters |")
    assert lines[2].startswith("| small | ")
    assert json.loads(lines[-1])["bits_per_byte"] == bits["bits_per_byte"]


# ----------------------------------------------------------------------------------------------------------- functional

WHOLE = "defmodule Pair do\n  def swap({a, b}), do: {b, a}\nend\n"


@pytest.fixture
def tasks(tmp_path):
    rows = [
        {"id": name, "prompt": "defmodule Pair do\n", "entry": "Pair.swap/1", "tests": tests, "reference": WHOLE}
        for name, tests in {
            "one": 'test "swaps" do\n  assert Pair.swap({1, 2}) == {2, 1}\nend',
            "two": 'test "swaps" do\n  assert Pair.swap({:a, nil}) == {nil, :a}\nend',
        }.items()
    ]
    return write(tmp_path / "tasks.jsonl", *rows)


@pytest.mark.elixir
def test_tasks_are_answered_and_judged_without_held_out_files(evaluate, tasks, tmp_path):
    words = "--suite functional --num_samples 3 --k 1,3 --temperature 1 --tasks".split()
    code, printed, said, record = evaluate(*words, tasks, data=None)
    assert code == 0, said
    found = record["results"]["functional"]
    column = found["columns"]["unconstrained"]
    assert (found["tasks"]["name"], found["sandbox"], record["data"]) == ("tasks.jsonl", True, None)
    assert (column["num_tasks"], column["samples_per_task"], list(column["pass_at_k"])) == (2, 3, ["1", "3"])
    assert sum(column["outcomes"].values()) == 6
    assert [sample["id"] for sample in record["samples"]["functional"]] == ["one", "two"]
    assert len(read_rows(tmp_path / "results.generations.jsonl")) == 6
    assert len(read_rows(tmp_path / "results.verdicts.jsonl")) == 6
    lines = printed.splitlines()
    assert lines[4] == "| answers | tasks | of each | solved at first | pass@1 | pass@3 | tokens | seconds |"
    assert lines[6].startswith("| unconstrained | 2 | 3 | 0.0% (0.0% to 65.8%) | 0.0% (0.0% to 65.8%) |")
    assert lines[8].startswith("| answers | passed |")
    assert json.loads(lines[-1])["pass_at_3_unconstrained"] == 0.0


@pytest.mark.elixir
def test_a_run_is_gone_on_with_and_comes_to_the_same(evaluate, tasks, tmp_path):
    words = ["--suite", "functional", "--tasks", tasks, "--num_samples", 2, "--temperature", 1]
    whole = evaluate(*words)[3]
    for name in ("generations", "verdicts"):
        path = tmp_path / f"results.{name}.jsonl"
        path.write_bytes(path.read_bytes()[:-40])
    resumed = evaluate(*words, "--resume")[3]
    assert resumed["samples"] == whole["samples"]
    assert without_times(resumed["results"]) == without_times(whole["results"])
    (tmp_path / "results.json").unlink()
    assert fails(evaluate(*words, "--resume", "--seed", 1), "settings seed 0, this run has 1", "leave --resume out")
    assert evaluate(*words, "--seed", 1)[0] == 0
    assert (tmp_path / "results.generations.jsonl.old").exists()


def without_times(results):
    if isinstance(results, dict):
        return {name: without_times(value) for name, value in results.items() if "seconds" not in name}
    return [without_times(each) for each in results] if isinstance(results, list) else results


@pytest.mark.elixir
def test_saved_answers_are_judged_without_a_model(evaluate, tasks, tmp_path):
    rows = [{"id": "one", "text": WHOLE}, {"id": "two", "text": "I do not know."}]
    answers = write(tmp_path / "answers.jsonl", *rows)
    words = ["--suite", "functional", "--tasks", tasks, "--generations", answers]
    code, printed, said, record = evaluate(*words, model=None, data=None)
    assert code == 0, said
    column = record["results"]["functional"]["columns"]["unconstrained"]
    assert column["pass_at_k"]["1"]["value"] == 0.5
    assert column["outcomes"] == {"ok": 1, "syntax_error": 1}
    assert record["model"]["name"] == "answers.jsonl"
    assert printed.splitlines()[2].startswith("| answers.jsonl | – | – |")
    assert evaluate(*words, "--limit", 1, model=None)[3]["results"]["functional"]["columns"]["unconstrained"][
        "outcomes"
    ] == {"ok": 1}


@pytest.mark.elixir
def test_without_a_sandbox_the_work_does_not_begin(evaluate, tasks, tmp_path, monkeypatch):
    def probe(limits=None):
        raise SandboxError("no sandbox here; install it with: apt install bubblewrap")

    monkeypatch.setattr(Sandbox, "probe", probe)
    assert fails(evaluate("--suite", "functional", "--tasks", tasks), "no sandbox here", "apt install bubblewrap")
    assert not (tmp_path / "results.generations.jsonl").exists()
    code, _, _, record = evaluate("--suite", "functional", "--tasks", tasks, "--unsafe_no_sandbox")
    assert (code, record["results"]["functional"]["sandbox"]) == (0, False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--suite", "functional", "--num_samples", "5"], "--num_samples above 1 needs --temperature above 0"),
        (["--k", "1,10"], "--k 10 needs --num_samples 10 or more, got 1"),
        (["--k", "0"], "--k must be one or more numbers from 1, got 0"),
        (["--generations", "x.jsonl"], "--generations judges saved answers: it goes with --suite functional"),
        (["--timeout_s", "0"], "--timeout_s must be above 0"),
        (["--suite", "functional", "--tasks", "nowhere.jsonl"], "cannot read the tasks at nowhere.jsonl"),
        (["--suite", "functional", "--task_tokens", "257"], "--task_tokens 257 is more than the 256 tokens"),
    ],
)
def test_a_setting_of_the_functional_suite_that_cannot_be(words, message, evaluate):
    assert fails(evaluate(*words), message)


def test_a_model_and_held_out_files_are_asked_for_where_they_are_needed(evaluate):
    assert fails(evaluate(model=None), "missing: --model (model folder")
    assert fails(evaluate("--suite", "fim", data=None), "missing: --data (folder of shards", "--suite functional goes")


def test_more_samples_than_there_are_cannot_be_drawn_from_saved_answers(evaluate, tasks, tmp_path):
    answers = write(tmp_path / "answers.jsonl", {"id": "one", "text": ""}, {"id": "two", "text": ""})
    words = ["--suite", "functional", "--tasks", tasks, "--generations", answers, "--k", 2, "--unsafe_no_sandbox"]
    assert fails(evaluate(*words, model=None), "--k 2 needs as many answers to each task")


# --------------------------------------------------------------------------------------------------- the other suites


@pytest.mark.elixir
def test_the_same_seed_gives_the_same_figures_and_samples(evaluate):
    def judged(*words):
        record = evaluate("--suite", "parse", "--limit", 2, "--temperature", "1.0", *words)[3]
        return record["results"], record["samples"]

    assert judged("--seed", 3) == judged("--seed", 3)
    assert judged("--seed", 3) != judged("--seed", 4)


def test_one_suite_is_measured_alone(evaluate):
    code, printed, _, record = evaluate("--suite", "bits", "--no_baselines")
    assert code == 0
    assert list(record["results"]) == ["bits"]
    assert not {"five_gram", "xz"} & set(record["results"]["bits"])
    assert "elixir" not in record["versions"]
    assert record["samples"] == {}
    assert set(json.loads(printed.splitlines()[-1])) == {"bits_per_byte", "out"}


def test_a_limit_makes_everything_less(evaluate):
    bits = evaluate("--suite", "bits", "--limit", 1, "--seed", 1)[3]["results"]["bits"]
    assert bits["num_files"] == 1
    assert evaluate("--suite", "fim", "--limit", 2)[3]["results"]["fim"]["all"]["n"] == 6


def test_the_split_is_the_one_asked_for(evaluate):
    record = evaluate("--suite", "bits", "--no_baselines", "--split", "validation")[3]
    assert (record["data"]["split"], record["data"]["num_files"]) == ("validation", 1)


def test_a_model_of_another_run_has_no_count_of_tokens(evaluate, model_folder, tmp_path):
    copy = Path(shutil.copytree(model_folder, tmp_path / "copy"))
    (copy / "trainer_state.json").unlink()
    record = evaluate("--suite", "fim", "--limit", 1, model=copy)[3]
    assert record["model"]["tokens_seen"] is None


# ----------------------------------------------------------------------------------------------------------- runtimes


@pytest.mark.compiler
@pytest.mark.elixir
def test_the_fast_runtime_is_judged_by_every_suite_and_named(evaluate, tasks):
    words = ["--tasks", tasks, "--no_baselines", "--runtime", "fast"]
    plain = evaluate("--tasks", tasks, "--no_baselines")[3]
    code, printed, said, record = evaluate(*words, "--runtime_dtype", "float32")
    assert code == 0, said
    assert (plain["model"]["runtime"], record["model"]["runtime"]) == ("plain float32", "fast float32")
    assert record["model"]["num_parameters"] == plain["model"]["num_parameters"]
    assert "| fast float32 |" in printed.splitlines()[2]
    bits, of_plain = record["results"]["bits"]["bits_per_byte"], plain["results"]["bits"]["bits_per_byte"]
    assert bits != of_plain == pytest.approx(bits, rel=1e-5)
    for suite in ("fim", "parse"):
        assert record["results"][suite] == plain["results"][suite]
        assert record["samples"][suite] == plain["samples"][suite]


@pytest.mark.compiler
def test_without_a_word_the_fast_runtime_has_int8_and_bfloat16_is_pytorch_too(evaluate):
    fast = evaluate("--suite", "bits", "--no_baselines", "--runtime", "fast")[3]
    plain = evaluate("--suite", "bits", "--no_baselines", "--runtime_dtype", "bfloat16")[3]
    assert (fast["model"]["runtime"], plain["model"]["runtime"]) == ("fast int8", "plain bfloat16")
    of_reference = evaluate("--suite", "bits", "--no_baselines")[3]["results"]["bits"]["bits_per_byte"]
    for record in (fast, plain):
        assert record["results"]["bits"]["bits_per_byte"] != of_reference
        assert record["results"]["bits"]["bits_per_byte"] == pytest.approx(of_reference, rel=0.01)


@pytest.mark.compiler
@pytest.mark.elixir
def test_answers_of_another_runtime_are_not_gone_on_with(evaluate, tasks, tmp_path):
    words = ["--suite", "functional", "--tasks", tasks]
    assert evaluate(*words, "--runtime", "fast")[0] == 0
    assert {row["settings"]["runtime"] for row in read_rows(tmp_path / "results.generations.jsonl")} == {"fast int8"}
    (tmp_path / "results.json").unlink()
    assert fails(evaluate(*words, "--resume"), "settings runtime fast int8, this run has None")


@pytest.mark.compiler
@pytest.mark.elixir
def test_runtimes_are_compared_token_by_token_and_in_what_they_write(evaluate):
    code, printed, said, record = evaluate("--suite", "precision", "--files", 1)
    assert code == 0, said
    found = record["results"]["precision"]
    assert (found["num_files"], found["num_texts"], found["missing"]) == (1, 13, {})
    names = [(each["name"], each["dtype"]) for each in found["runtimes"]]
    assert names == [("plain", "float32"), ("plain", "bfloat16"), ("fast", "int8"), ("fast", "bfloat16")]
    reference, *others = found["runtimes"]
    assert (reference["tokens"]["same_token"], reference["tokens"]["bits_change"], reference["same_text"]) == (1, 0, 1)
    for other in others:
        assert 0 < abs(other["tokens"]["bits_change"]) < 0.01
        assert (other["parse"]["n"], other["fim"]["n"]) == (4, 9)
    lines = printed.splitlines()
    assert lines[4] == "|  | plain float32 | plain bfloat16 | fast int8 | fast bfloat16 |"
    assert set(json.loads(lines[-1])) >= {"same_token_fast_int8", "bits_change_plain_bfloat16"}


@pytest.mark.elixir
def test_where_there_is_no_compiler_the_fast_runtime_is_left_out_with_a_word(evaluate, monkeypatch):
    def library():
        raise KernelError("no C compiler")

    monkeypatch.setattr("runtime_elixir_coder.library", library)
    code, printed, said, record = evaluate("--suite", "precision", "--files", 1)
    assert code == 0, said
    found = record["results"]["precision"]
    assert [each["dtype"] for each in found["runtimes"]] == ["float32", "bfloat16"]
    assert set(found["missing"]) == {"fast int8", "fast bfloat16"}
    assert "fast int8: --runtime fast cannot be had here" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--runtime_dtype", "int8"], "--runtime_dtype int8 needs --runtime fast"),
        (["--suite", "precision", "--runtime", "fast"], "--suite precision takes every runtime in turn"),
        (["--runtime", "fast", "--device", "cuda"], "the fast runtime computes on a CPU; take --device cpu"),
        (["--runtime", "quick"], "--runtime must be one of plain, fast"),
    ],
)
def test_a_runtime_that_cannot_be(words, message, evaluate):
    assert fails(evaluate(*words), message)


def test_saved_answers_were_written_with_the_runtime_they_had(evaluate):
    words = ["--suite", "functional", "--generations", "x.jsonl", "--runtime", "fast"]
    assert fails(evaluate(*words, model=None), "--generations judges saved answers")


# -------------------------------------------------------------------------------- what the user can put right: one line


def fails(result, *parts):
    code, printed, said, record = result
    said = said.strip()
    assert (code, printed, record) == (2, "", None)
    assert said.startswith("error: ")
    assert "\n" not in said
    for part in parts:
        assert part in said
    return True


@pytest.fixture
def broken(model_folder, tmp_path):
    """A copy of the model folder for a test to damage."""
    return Path(shutil.copytree(model_folder, tmp_path / "broken"))


def test_another_architecture(evaluate, broken):
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"model_type": "t5"}))
    assert fails(evaluate(model=broken), "model of type 't5', expected 'elixir_coder'", "train.py")


def test_truncated_weights(evaluate, broken):
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert fails(evaluate(model=broken), "model.safetensors is truncated or damaged", "copy it again")


def test_another_vocabulary(evaluate, broken, tmp_path):
    tokenizer = small.small_tokenizer()
    tokenizer.add_tokens(["defguardian"])
    tokenizer.save_pretrained(broken)
    assert fails(evaluate(model=broken), "the tokenizer has 501 tokens but the model 500", "trained with")


def test_no_model_and_no_tokenizer(evaluate, broken, tmp_path):
    assert fails(evaluate(model=tmp_path / "nowhere"), "nowhere", "does not exist")
    (broken / "tokenizer.json").unlink()
    assert fails(evaluate(model=broken), "tokenizer.json does not exist", "elixir-coder tokenizer train")


@pytest.mark.parametrize("name", ["source_length", "target_length", "max_new_tokens"])
def test_more_tokens_than_the_model_takes(evaluate, name):
    assert fails(evaluate(f"--{name}", 257), f"--{name} 257 is more than the 256 tokens", "ask for fewer")


def test_no_corpus(evaluate, tmp_path):
    assert fails(evaluate(data=tmp_path / "nowhere"), "no corpus at", "elixir-coder data collect")


def test_a_corpus_without_text(evaluate, tmp_path):
    write_shards(tmp_path / "empty", {"test": [small.example_of("")]}, {})
    assert fails(evaluate(data=tmp_path / "empty"), "no held-out file with text", "collect the corpus again")


def test_a_corpus_without_the_split(evaluate, tmp_path):
    write_shards(tmp_path / "half", {"train": small.small_examples()}, {})
    assert fails(evaluate(data=tmp_path / "half"), "no shards of split `test`", "it has: train")


def test_a_corpus_that_is_not_utf_8(evaluate, corpus, tmp_path):
    shards = Path(shutil.copytree(corpus, tmp_path / "latin"))
    shard = next(shards.glob("test-*.parquet"))
    write_latin_1(shard)
    assert fails(evaluate(data=shards), shard.name, "utf-8", "collect the corpus again")


def write_latin_1(shard):
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(shard)
    code = pyarrow.array(["é = 1\n".encode("latin-1")] * len(table)).cast(pyarrow.string(), safe=False)
    position = table.schema.get_field_index("code")
    pyarrow.parquet.write_table(table.set_column(position, "code", code), shard)


def test_a_corpus_of_damaged_shards(evaluate, corpus, tmp_path):
    shards = Path(shutil.copytree(corpus, tmp_path / "damaged"))
    next(shards.glob("test-*.parquet")).write_bytes(b"PAR1 and no more")
    assert fails(evaluate(data=shards), "cannot be read as parquet", "collect the corpus again")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--suit", "fim"], "no such setting: --suit; did you mean --suite?"),
        (["--suite", "fmi"], "--suite must be one of bits, fim, parse, functional, precision, all"),
        (["--limit", "0"], "--limit must be at least 1"),
        (["--target_length", "1"], "--target_length must be at least 4"),
        (["--top_p", "0"], "--top_p must be above 0"),
        (["--seed", "-1"], "--seed must be at least 0"),
        (["@nowhere.args"], "cannot read recipe nowhere.args"),
    ],
)
def test_a_setting_that_cannot_be(words, message, evaluate):
    assert fails(evaluate(*words), message)


def test_results_that_could_not_be_written_are_refused_before_the_work(evaluate, tmp_path):
    assert fails(evaluate("--out", tmp_path / "no" / "r.json"), "cannot be written", "folder one may write to")
    assert fails(evaluate("--out", tmp_path), "cannot be written")


def test_without_cuda_there_is_no_cuda(evaluate, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert fails(evaluate("--device", "cuda"), "--device cuda", "take --device cpu")


def test_without_elixir_the_work_does_not_begin(evaluate, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert fails(evaluate(), "apt install elixir")
    assert evaluate("--suite", "fim", "--limit", 1)[0] == 0


def test_the_script_prints_one_line_and_ends_with_exit_code_2(tmp_path):
    command = [sys.executable, "-W", "error", ROOT / "eval.py", "--model", tmp_path, "--data", tmp_path / "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    said = without_torchao(done.stderr)
    assert (done.returncode, done.stdout, said.count("\n")) == (2, "", 1)
    assert said.startswith("error: no corpus at")


def test_the_recipe_of_the_card_is_one(monkeypatch):
    monkeypatch.chdir(ROOT)
    recipe = recipes.parse(script.EvalRecipe, ["@recipes/eval.args"])
    assert (recipe.suite, recipe.split, recipe.limit) == ("all", "test", None)


def test_help_lists_every_setting(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["eval.py", "--help"])
    with pytest.raises(SystemExit) as raised:
        script.main()
    assert raised.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"--{name} " in shown for name in script.EvalRecipe.__dataclass_fields__)
