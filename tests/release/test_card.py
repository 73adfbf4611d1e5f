import argparse
import copy
import json

import pytest
import yaml
from huggingface_hub import ModelCard

from elixir_coder.errors import InputError
from elixir_coder.evaluation.report import weights_sha256
from elixir_coder.release import card

START, END = "<!-- results:start -->", "<!-- results:end -->"
RECORD = {
    "date": "2030-01-02",
    "command": "python eval.py --model . --data corpus",
    "model": {"name": ".", "sha256": "ab" * 32, "num_parameters": 16209920, "steps": 4000, "tokens_seen": 5600000},
    "data": {
        "split": "test",
        "source": "debian",
        "num_files": 3,
        "num_bytes": 1234567,
        "packages": [{"package": "makeup", "version": "1.2.1-2"}, {"package": "nimble", "version": "0.1"}],
    },
    "machine": "A Processor, 1 of 2 CPU threads",
    "versions": {"elixir-coder": "0.1.0", "elixir": "1.14.0"},
    "results": {
        "bits": {
            "bits_per_byte": 1.23456,
            "num_files": 3,
            "num_bytes": 1234567,
            "five_gram": {"bits_per_byte": 2.3},
            "xz": {"bits_per_byte": 1.1},
        },
        "fim": {
            "all": {"n": 30, "exact_match": 0.1, "edit_similarity": 0.456, "edit_similarity_interval": [0.4, 0.5]},
            "kinds": {
                "line": {"n": 10, "exact_match": 0.3, "exact_match_interval": [0.108, 0.603]},
                "span": {"n": 20, "exact_match": 0.0, "exact_match_interval": [0.0, 0.161]},
            },
        },
        "parse": {
            "model": {"n": 50, "accepted": 0.62, "accepted_interval": [0.482, 0.741]},
            "authors": {"n": 50, "accepted": 0.98, "accepted_interval": [0.895, 0.996]},
        },
    },
    "samples": {
        "parse": [
            {
                "package": "makeup",
                "path": "lib/a.ex",
                "head": "  def f(x) do\n    ",
                "completion": "x\n  end\n\n  def g",
                "function": "  def f(x) do\n    x\n  end",
                "is_accepted": True,
            },
            {
                "package": "makeup",
                "path": "lib/b.ex",
                "head": "def g do\n",
                "completion": "  ```\n" * 30,
                "function": None,
                "is_accepted": False,
            },
        ]
    },
}

README = """---
license: apache-2.0
datasets:
- someone/some-elixir # with a comment
model-index: []
widget:
- text: "é\\n"
---

# Title

Words.

<!-- results:start -->
old figures
<!-- results:end -->

The end, without a line feed"""


def test_only_the_index_and_what_stands_between_the_markers_change():
    after = card.filled(README, RECORD)
    start, end = after.index("model-index:"), after.index("widget:")
    assert after[:start] == README[: README.index("model-index:")]
    assert after[end : after.index(START)] == README[README.index("widget:") : README.index(START)]
    assert after[after.index(END) :] == README[README.index(END) :]
    assert "old figures" not in after


def test_twice_is_as_once():
    once = card.filled(README, RECORD)
    assert card.filled(once, RECORD) == once
    assert card.filled(card.filled(README, without("fim")), RECORD) == once


def without(suite):
    record = copy.deepcopy(RECORD)
    del record["results"][suite]
    return record


def test_the_hub_reads_the_figures_from_the_index():
    data = ModelCard(card.filled(README, RECORD)).data
    assert data.model_name == "elixir-coder"
    assert {(each.metric_type, each.metric_value) for each in data.eval_results} == {
        ("bits_per_byte", 1.2346),
        ("exact_match", 0.1),
        ("edit_similarity", 0.456),
        ("parse_rate", 0.62),
    }
    assert {(each.dataset_type, each.dataset_split) for each in data.eval_results} == {("someone/some-elixir", "test")}
    assert all("makeup 1.2.1-2, nimble 0.1" in each.dataset_name for each in data.eval_results)
    assert data.license == "apache-2.0"


def test_the_table_says_how_it_was_measured():
    body = "\n".join(card.body(RECORD))
    for words in (
        "| bits per byte (less is better) | this model | 5-gram of the same tokens | `xz -9e` of the same files |",
        "| 1,234,567 bytes in 3 files | 1.235 | 2.300 | 1.100 |",
        "| holes filled exactly: one line | 30.0% | 10.8% to 60.3% | 10 |",
        "| completed functions that Elixir's parser accepts | 62.0% | 48.2% to 74.1% | 50 |",
        "16,209,920 parameters after 5,600,000 tokens of training; weights of SHA-256 `abababababababab`.",
        "Measured on 2030-01-02 with `python eval.py --model . --data corpus` on A Processor, 1 of 2 CPU threads",
        "makeup 1.2.1-2, nimble 0.1",
    ):
        assert words in body


def test_samples_are_shown_as_they_came_a_long_one_in_part():
    body = "\n".join(card.body(RECORD))
    assert "`lib/a.ex` of makeup, accepted:\n\n```elixir\n  def f(x) do\n    x\n  end\n```\n" in body
    long = body[body.index("`lib/b.ex` of makeup, not accepted:") :]
    assert long.count("  ```\n") == card.MAX_LINES - 1
    assert "\n````elixir\ndef g do\n" in long
    assert "# ... and 11 lines more\n````" in long


@pytest.mark.parametrize("suite", ["bits", "fim", "parse"])
def test_a_suite_that_was_not_measured_is_not_shown(suite):
    record = without(suite)
    body, kinds = "\n".join(card.body(record)), {each.metric_type for each in card.eval_results(record, "d")}
    shown = {"bits": "bits per byte", "fim": "holes", "parse": "parser accepts"}
    assert [name for name, words in shown.items() if words in body] == [name for name in shown if name != suite]
    of_suite = {"bits": {"bits_per_byte"}, "fim": {"exact_match", "edit_similarity"}, "parse": {"parse_rate"}}
    assert kinds == set.union(*of_suite.values()) - of_suite[suite]


def test_a_model_whose_training_is_unknown_claims_no_tokens():
    record = RECORD | {"model": RECORD["model"] | {"tokens_seen": None}}
    assert "16,209,920 parameters; weights" in "\n".join(card.body(record))


@pytest.mark.parametrize(
    "index",
    [
        "",
        "model-index: []\n",
        "model-index:\n",
        "model-index:\n- name: other\n  results:\n  - task:\n      type: x\n\n    metrics: []\n",
        "model-index:\n  - name: other\n    results: []\n",
    ],
)
def test_whatever_index_was_there_is_replaced(index):
    before = README.replace("model-index: []\n", index)
    after = card.filled(before, RECORD)
    fields = yaml.safe_load(after.split("---\n")[1])
    assert set(fields) == {"license", "datasets", "model-index", "widget"}
    assert fields["model-index"][0]["name"] == ("other" if "other" in index else "elixir-coder")
    assert len(fields["model-index"]) == 1
    assert len(fields["model-index"][0]["results"][0]["metrics"]) == 4
    assert fields["widget"] == [{"text": "é\n"}]


def test_a_name_that_is_given_is_taken():
    assert ModelCard(card.filled(README, RECORD, name="elixir-coder-base")).data.model_name == "elixir-coder-base"


def test_line_ends_stay_those_of_the_card():
    after = card.filled(README.replace("\n", "\r\n"), RECORD)
    assert after.replace("\r\n", "\n") == card.filled(README, RECORD)
    assert after.count("\n") == after.count("\r\n")


@pytest.mark.parametrize(
    ("readme", "message"),
    [
        ("# Title\n", "does not begin with YAML"),
        (README.replace("license:", "license: ["), "front matter cannot be read"),
        (README.replace("model-index: []", "model-index: 3"), "front matter cannot be read"),
        (README.replace(START, ""), "needs one line <!-- results:start -->"),
        (README.replace(END, ""), "needs one line"),
        (README + START + END, "needs one line"),
    ],
)
def test_a_card_that_cannot_be_filled_is_an_error(readme, message):
    with pytest.raises(InputError, match=message):
        card.filled(readme, RECORD)


# --------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def command(tmp_path, capsys):
    """Run `elixir-coder card` on results and a README in a folder of their own."""
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    (tmp_path / "results.json").write_text(json.dumps(RECORD), encoding="utf-8")

    def run(*words):
        parser = argparse.ArgumentParser()
        card.add_parser(parser.add_subparsers())
        places = ["--results", str(tmp_path / "results.json"), "--readme", str(tmp_path / "README.md")]
        args = parser.parse_args(["card", *places, *words])
        return args.run(args), capsys.readouterr().out.rpartition(": ")[2].strip()

    return run


def test_the_command_fills_the_card_once(command, tmp_path):
    assert command() == (0, "updated")
    assert (tmp_path / "README.md").read_text("utf-8") == card.filled(README, RECORD)
    assert command() == (0, "nothing to change")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "results.json"]


def test_results_of_other_weights_are_refused(command, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"other")
    with pytest.raises(InputError, match=r"other weights than those beside .*README\.md"):
        command()
    assert (tmp_path / "README.md").read_text("utf-8") == README
    record = RECORD | {"model": RECORD["model"] | {"sha256": weights_sha256(tmp_path)}}
    (tmp_path / "results.json").write_text(json.dumps(record), encoding="utf-8")
    assert command() == (0, "updated")


def test_results_on_tasks_alone_are_refused(command, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(RECORD | {"data": None}))
    with pytest.raises(InputError, match="has no figures on held-out files, which the card shows"):
        command()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("README.md", None, "cannot read .*README.md: No such file"),
        ("README.md", b"\xff", "README.md is not UTF-8"),
        ("results.json", None, r"cannot read .*results.json: .*python eval.py"),
        ("results.json", b"{}", "has no results of eval.py"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error(name, content, message, command, tmp_path):
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        command()
