"""Scores against their definitions, on predictions made by hand and on those of a real objective."""

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.checkpoint import new_model, preset_config, vocabulary_fields
from elixir_coder.data.shards import write_shards
from elixir_coder.evaluation.tasks import (
    Sample,
    average_precision,
    batches_of,
    failures,
    macro_average_precision,
    macro_f1,
    measure,
    sample_rows,
    token_classes,
)
from elixir_coder.example import Label
from elixir_coder.generation.healing import token_texts
from elixir_coder.tasks.registry import build
from elixir_coder.tasks.row import Row, Setup, SpecialTokens
from elixir_coder.training.objective import Objective, Predictions
from tests.evaluation.small import STACK, example_of

QUALITY = ("Credo.Check.Readability.ModuleDoc", "Credo.Check.Readability.Specs")
SECURITY = ("SQL.Query", "RCE.CodeModule")


def ranked(most=12):
    return st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=most)


def precision_by_definition(pairs):
    """The mean over the positives of the share of positives among all that score at least as high."""
    shares = [
        sum(label for score, label in pairs if score >= threshold) / sum(score >= threshold for score, _ in pairs)
        for threshold, is_positive in pairs
        if is_positive
    ]
    return sum(shares) / len(shares)


def columns(pairs):
    return np.array([score for score, _ in pairs], dtype=float), np.array([label for _, label in pairs], dtype=int)


@given(ranked().filter(lambda pairs: any(label for _, label in pairs)))
def test_average_precision_is_that_of_the_definition(pairs):
    assert average_precision(*columns(pairs)) == pytest.approx(precision_by_definition(pairs), abs=1e-12)


@given(ranked().filter(lambda pairs: any(label for _, label in pairs)))
def test_average_precision_is_that_of_scikit_learn(pairs):
    metrics = pytest.importorskip("sklearn.metrics")
    scores, labels = columns(pairs)
    assert average_precision(scores, labels) == pytest.approx(metrics.average_precision_score(labels, scores))


@given(ranked(6), st.data())
def test_a_weight_is_how_often_an_entry_counts(pairs, data):
    times = data.draw(st.lists(st.integers(0, 3), min_size=len(pairs), max_size=len(pairs)))
    repeated = [pair for pair, number in zip(pairs, times) for _ in range(number)]
    weighted = average_precision(*columns(pairs), np.array(times, dtype=float))
    expected = average_precision(*columns(repeated)) if repeated else math.nan
    assert weighted == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_without_a_positive_there_is_no_average_precision_and_no_f1():
    assert math.isnan(average_precision(np.array([1.0, 2.0]), np.array([0, 0])))
    assert math.isnan(macro_f1(np.array([[True]]), np.array([[0]])))


@given(st.lists(st.tuples(*[st.tuples(st.booleans(), st.sampled_from([1, 0, -100]))] * 3), min_size=1, max_size=8))
def test_macro_f1_is_that_of_the_definition(rows):
    each_label = []
    for label in zip(*rows):
        known = [(given, truth) for given, truth in label if truth != -100]
        if any(truth for _, truth in known):
            counts = Counter((given, truth == 1) for given, truth in known)
            precision_and_recall = 2 * counts[True, True] + counts[True, False] + counts[False, True]
            each_label.append(2 * counts[True, True] / precision_and_recall)
    given_, labels = (np.array([[cell[part] for cell in row] for row in rows]) for part in (0, 1))
    expected = sum(each_label) / len(each_label) if each_label else math.nan
    assert macro_f1(given_, labels) == pytest.approx(expected, nan_ok=True)


@given(
    st.lists(st.tuples(*[st.tuples(st.integers(-3, 3), st.sampled_from([1, 0, -100]))] * 3), min_size=1, max_size=8),
    st.data(),
)
def test_macro_average_precision_is_the_mean_over_the_labels_that_are_there(rows, data):
    times = data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)))
    scores, labels = (np.array([[cell[part] for cell in row] for row in rows], dtype=float) for part in (0, 1))
    repeated = np.repeat(np.arange(len(rows)), times)
    each_label = [
        average_precision(*(each[known] for each in (scores[repeated, n], labels[repeated, n])))
        for n in range(3)
        for known in [labels[repeated, n] != -100]
    ]
    real = [value for value in each_label if not math.isnan(value)]
    expected = sum(real) / len(real) if real else math.nan
    assert macro_average_precision(scores, labels, np.array(times, dtype=float)) == pytest.approx(expected, nan_ok=True)


# ------------------------------------------------------------------------------------------- predictions made by hand


class Told(torch.nn.Module):
    """An objective that says what it is told to."""

    collating = Objective.collating

    def __init__(self, model, tasks, *told):
        super().__init__()
        self.model, self.tasks, self.told = model, tasks, list(told)

    def predict(self, batch):
        assert not self.training
        return self.told.pop(0)


@pytest.fixture(scope="module")
def multitask(tokenizer):
    torch.manual_seed(0)
    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    labels = {"quality_labels": list(QUALITY), "security_labels": list(SECURITY)}
    config = preset_config(
        "tiny", **vocabulary_fields(tokenizer), **sizes, **labels, max_position_embeddings=512, init_std=0.5
    )
    return new_model(config, "multitask").eval()


@pytest.fixture(scope="module")
def setup(tokenizer):
    return Setup(tokenizer, SpecialTokens.of(tokenizer), 96, 64, QUALITY, SECURITY)


def tokens_told(tasks, nats, hits, texts):
    """A packed batch of texts that are written alone, and what is said of their tokens."""
    segments = torch.tensor([texts]) + 1
    batch = {"segment_ids": segments, "decoder_segment_ids": segments}
    told = Predictions(
        token_tasks=torch.tensor(tasks),
        token_nats=torch.tensor(nats),
        token_hits=torch.tensor(hits),
        token_places=torch.arange(len(tasks)),
        text_tasks=torch.zeros(max(texts) + 1, dtype=torch.long),
    )
    return batch, told


def nothing_written(num_texts, **told):
    empty = torch.empty(0)
    places = torch.empty(0, dtype=torch.long)
    tasks = torch.zeros(num_texts, dtype=torch.long)
    batch = {
        "segment_ids": torch.arange(1, num_texts + 1)[None],
        "decoder_segment_ids": torch.zeros(1, 0, dtype=torch.long),
    }
    return batch, Predictions(places, empty, empty.bool(), places, tasks, **told)


def test_token_accuracy_is_the_share_of_all_tokens_and_its_count_the_rows(multitask):
    first = tokens_told([0, 0, 0, 1], [1.0, 2.0, 3.0, 5.0], [True, False, True, True], [0, 0, 1, 2])
    second = tokens_told([0, 0], [4.0, 5.0], [False, False], [0, 0])
    batches, told = zip(first, second)
    scores = measure(Told(multitask, ("generate", "explain"), *told), batches)

    assert scores["generate"].metric == "token_accuracy"
    assert scores["generate"].value == pytest.approx(2 / 5)
    assert scores["generate"].nats == pytest.approx(3.0)
    assert scores["generate"].count == 3
    assert 0 <= scores["generate"].low < 0.4 < scores["generate"].high <= 1
    assert scores["explain"].value == 1
    assert scores["explain"].record() == {
        "token_accuracy": 1.0,
        "low": pytest.approx(0.2065, abs=1e-4),
        "high": 1.0,  # Wilson, 1 of 1
        "count": 1,
        "nats": 5.0,
    }


def test_labels_count_from_the_threshold_of_the_configuration(multitask, monkeypatch):
    labels = torch.tensor([[1, 0], [1, -100], [0, 1], [-100, -100]], dtype=torch.int8)
    logits = torch.tensor([[0.5, 0.5], [-0.5, 9.0], [-9.0, -9.0], [9.0, 9.0]])  # of 0.5: probability 0.62
    batch, told = nothing_written(4, logits={"quality": logits}, labels={"quality": labels})

    def score():
        return measure(Told(multitask, ("quality",), told), [batch])["quality"]

    assert score().f1 == pytest.approx((2 / 3 + 0) / 2)
    assert score().value == pytest.approx((1 + 0.5) / 2)
    assert (score().metric, score().count, score().nats) == ("macro_average_precision", 3, None)
    monkeypatch.setattr(multitask.config, "quality_thresholds", [0.7, 0.5])
    assert (score().f1, score().value) == (0, pytest.approx(0.75))


def test_a_clarification_is_ranked_and_a_rank_is_inverted(multitask):
    logits, labels = torch.tensor([[2.0], [1.0], [0.0]]), torch.tensor([[1], [0], [1]], dtype=torch.int8)
    batch, told = nothing_written(3, logits={"clarification": logits}, labels={"clarification": labels})
    score = measure(Told(multitask, ("clarify",), told), [batch])["clarify"]
    assert (score.metric, score.value, score.count) == ("average_precision", pytest.approx((1 + 2 / 3) / 2), 3)

    batch, told = nothing_written(4, ranks=torch.tensor([1, 4]), rank_tasks=torch.tensor([0, 0]))
    batch["queries"] = torch.tensor([0, 2])
    score = measure(Told(multitask, ("retrieve",), told), [batch])["retrieve"]
    assert (score.metric, score.value, score.count) == ("reciprocal_rank", pytest.approx(0.625), 2)


def test_what_has_no_positive_is_not_measured(multitask):
    labels = torch.zeros(2, 1, dtype=torch.int8)
    batch, told = nothing_written(2, logits={"clarification": torch.zeros(2, 1)}, labels={"clarification": labels})
    assert measure(Told(multitask, ("clarify", "generate"), told), [batch]) == {}


def test_entries_of_one_row_are_drawn_together(multitask):
    """Tokens of a row are alike, so ten rows of ten tokens tell less than a hundred tokens would."""
    texts = [row for row in range(10) for _ in range(10)]
    hits = [row < 5 for row in texts]
    batch, told = tokens_told([0] * 100, [1.0] * 100, hits, texts)
    alike = measure(Told(multitask, ("generate",), told), [batch])["generate"]
    batch, told = tokens_told([0] * 100, [1.0] * 100, hits, list(range(100)))
    apart = measure(Told(multitask, ("generate",), told), [batch])["generate"]
    assert alike.value == apart.value == 0.5
    assert alike.high - alike.low > 2 * (apart.high - apart.low)
    assert apart.high - apart.low == pytest.approx(2 * 1.96 * 0.05, rel=0.2)  # of a share of 100


# ------------------------------------------------------------------------------------------------------ real parts


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of files, and one of functions of which Credo named every fourth."""
    root = tmp_path_factory.mktemp("corpora")
    files = [example_of(STACK.replace("Stack", f"Stack{n}"), f"lib/{n}.ex") for n in range(6)]
    write_shards(root / "files", {"train": files[:1], "validation": files}, {})
    checked = {"kind": "module", "checked_by": ("credo 1.7.12", "sobelow 0.13.0")}
    judged = [
        dataclasses.replace(
            example_of(f"defmodule Q{n} do\n  def f(a), do: a + {n}\nend\n"),
            **checked,
            labels=(Label(tool="credo", check=QUALITY[n % 2], line=1),) if n % 4 < 2 else (),
            difficulty=1 + n % 2,
        )
        for n in range(16)
    ]
    write_shards(root / "judged", {"validation": judged}, {})
    return [root / "files", root / "judged"]


def rows_of(samples):
    return {task: [(sample.row.source, sample.row.target) for sample in rows] for task, rows in samples.items()}


def test_the_same_rows_are_held_out_whatever_stands_around_them(folders, setup):
    tasks = {name: build(name, setup) for name in ("complete", "security")}
    samples = sample_rows(tasks, folders, 4, setup=setup)
    assert [len(rows) for rows in samples.values()] == [4, 4]
    assert rows_of(sample_rows(tasks, folders[::-1], 4, setup=setup)) == rows_of(samples)
    assert rows_of(sample_rows(tasks, folders, 4, setup=setup, seed=1)) != rows_of(samples)
    alone = sample_rows({"security": tasks["security"]}, folders[1:], 4, setup=setup)
    assert rows_of(alone)["security"] == rows_of(samples)["security"]


def test_tasks_of_source_text_take_files_and_there_are_never_more_rows_than_examples(folders, setup):
    tasks = {name: build(name, setup) for name in ("complete", "security")}
    samples = sample_rows(tasks, folders, 100, setup=setup)
    assert {sample.example.kind for sample in samples["complete"]} == {"file"}
    assert {sample.example.kind for sample in samples["security"]} == {"module"}
    assert [len(rows) for rows in samples.values()] == [6, 16]
    assert all(0 < len(sample.row.target) <= setup.target_length for sample in samples["complete"])


def test_kinds_of_examples_take_turns(tmp_path, setup):
    judged = {"checked_by": ("sobelow 0.13.0",)}
    many = [dataclasses.replace(example_of(f"def a{n}, do: {n}"), kind="module", **judged) for n in range(30)]
    few = [dataclasses.replace(example_of(f"def b{n}, do: {n}"), kind="exercise", **judged) for n in range(3)]
    write_shards(tmp_path / "corpus", {"validation": [*many, *few]}, {})
    samples = sample_rows({"security": build("security", setup)}, [tmp_path / "corpus"], 6, setup=setup)
    assert Counter(sample.example.kind for sample in samples["security"]) == {"module": 3, "exercise": 3}


def test_a_folder_without_held_out_examples_is_passed_over(tmp_path, folders, setup):
    write_shards(tmp_path / "corpus", {"train": [example_of(STACK)]}, {})
    tasks = {"complete": build("complete", setup)}
    assert len(sample_rows(tasks, [tmp_path / "corpus", folders[0]], 9, setup=setup)["complete"]) == 6
    assert sample_rows(tasks, [tmp_path / "corpus"], 9, setup=setup) == {"complete": []}


@pytest.fixture(scope="module")
def samples(folders, setup):
    tasks = {name: build(name, setup) for name in ("complete", "security")}
    return sample_rows(tasks, folders, 5, setup=setup)


@pytest.fixture(scope="module")
def objective(multitask):
    return Objective(multitask, ("security", "denoise", "complete")).train()


def test_nats_are_those_of_the_model_and_batches_do_not_matter(objective, multitask, samples):
    scores = measure(objective, batches_of(objective, samples))
    assert objective.training
    rows = [sample.row for sample in samples["complete"]]
    with torch.no_grad():
        multitask.eval()
        nats = [
            multitask(input_ids=torch.tensor([row.source]), labels=torch.tensor([row.target])).loss.item()
            for row in rows
        ]
    total = sum(nat * len(row.target) for nat, row in zip(nats, rows))
    assert scores["complete"].nats == pytest.approx(total / sum(len(row.target) for row in rows), rel=1e-5)
    assert scores["complete"].count == 5
    one_by_one = measure(objective, batches_of(objective, samples, max_tokens=1))
    assert len(list(batches_of(objective, samples, max_tokens=1))) == 10
    for task, score in scores.items():
        assert one_by_one[task].record() == pytest.approx(score.record(), rel=1e-5)


def test_tasks_for_which_nothing_is_written_are_measured_and_examined(multitask, folders, setup, tokenizer):
    tasks = {"quality": build("quality", setup)}
    objective = Objective(multitask, ("quality",))
    samples = sample_rows(tasks, folders, 16, setup=setup)
    score = measure(objective, batches_of(objective, samples))["quality"]
    assert (score.metric, score.count, score.nats) == ("macro_average_precision", 16, None)
    assert score.low <= score.value <= score.high
    assert "| label | there | missed | invented |" in failures(objective, samples, tokenizer)


def test_the_section_on_errors_has_classes_tokens_and_the_worst_examples(objective, samples, tokenizer):
    text = failures(objective, samples, tokenizer)
    assert text.startswith("## Errors\n")
    assert "\n### complete\n" in text and "\n### security\n" in text
    assert "| all | 5 |" in text
    assert "| difficulty 1 |" in text or "| difficulty 2 |" in text
    assert "| keyword |" in text and "| identifier |" in text
    assert "nats per token, the most for `" in text
    assert "<code>" in text and "<review>defmodule Q" in text
    fences = [line for line in text.splitlines() if line.startswith("```")]
    assert len(fences) % 2 == 0


def test_what_stands_in_an_example_does_not_end_its_block_and_no_example_is_long(objective, tokenizer, setup):
    code = 'defmodule A do\n  @moduledoc """\n  ```\n  a\n  ```\n  """\n' + "  def f, do: 1\n" * 200 + "end\n"
    ids = setup.ids(code)
    rows = [Sample(example_of(code), Row([*ids[:90], 2], [*ids[:60], 2]))]
    text = failures(objective, {"complete": rows}, tokenizer)
    assert "````\n" in text
    assert len(text) < 4_000


def test_labels_that_are_missed_and_invented_are_named_with_an_example(multitask, setup, tokenizer):
    logits = torch.tensor([[-1.0, 1.0]])
    rows, told, names = [], [], ("first", "second", "third")
    for name in names:
        rows.append(Sample(example_of(name), Row(setup.ids(f"def {name}"))))
        labels = {"quality": torch.tensor([[1, 0 if name == "second" else -100]], dtype=torch.int8)}
        told.append(nothing_written(1, logits={"quality": logits}, labels=labels)[1])
    objective = Told(multitask, ("quality",), *told)
    objective.label_sizes = {"quality": 2, "security": 2, "clarification": 1}

    text = failures(objective, {"quality": rows}, tokenizer)

    assert f"| {QUALITY[0]} | 3 | 3 | 0 |\n| {QUALITY[1]} | 0 | 0 | 1 |" in text
    assert f"`{QUALITY[0]}` is missed in:\n\n```\ndef first\n```" in text
    assert f"`{QUALITY[1]}` is invented in:\n\n```\ndef second\n```" in text


def test_wrong_and_missing_questions_are_told_apart(multitask, setup, tokenizer):
    rows, told = [], []
    for text, logit, label in [("sort it", -1.0, 1), ("sort it up", 1.0, 0), ("sort", 1.0, 1), ("sort up", -1.0, 0)]:
        rows.append(Sample(example_of(text), Row(setup.ids(text))))
        judged = {"clarification": torch.tensor([[label]], dtype=torch.int8)}
        told.append(nothing_written(1, logits={"clarification": torch.tensor([[logit]])}, labels=judged)[1])
    objective = Told(multitask, ("clarify",), *told)
    objective.label_sizes = {"quality": 2, "security": 2, "clarification": 1}

    text = failures(objective, {"clarify": rows}, tokenizer)

    assert "Of 2 rows that leave something open, 1 are not asked about.\n\n```\nsort it\n```" in text
    assert "Of 2 rows that leave nothing open, 1 are asked about all the same.\n\n```\nsort it up\n```" in text


def test_a_token_is_of_the_class_of_what_it_begins_with(tokenizer):
    words = ["def", " push", "(", "Stack", ", ", ":ok", ")", " do", "\n  ", '"a', " b", '"', " # no", "\n", "12", "end"]
    texts = type(token_texts(tokenizer))(words)
    assert token_classes(range(len(words)), texts) == [
        *("keyword", "identifier", "operator", "module", "operator", "atom", "operator", "keyword", "whitespace"),
        *("literal", "literal", "literal", "comment", "whitespace", "literal", "keyword"),
    ]
    assert token_classes([0, 16, 1], type(texts)([*words, ""])) == ["keyword", "special", "identifier"]
