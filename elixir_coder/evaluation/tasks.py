"""How well a model does each task it trains on, held out: the same rows in every evaluation, a metric with its interval
for each task, and at the end what goes wrong, by class and with examples.

Nothing is generated here: a decoder task is measured on the target it is given to read, token by token. Whether what
the model writes compiles and passes tests is for evaluation/functional.py to say.
"""

from __future__ import annotations

import hashlib
import heapq
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from elixir_coder.data.lexemes import COMMENT, TEXT, pieces
from elixir_coder.data.shards import read_shards, splits_of
from elixir_coder.evaluation.scores import wilson_interval
from elixir_coder.example import Example
from elixir_coder.generation.healing import TokenTexts, token_texts
from elixir_coder.tasks.registry import TASKS, WINDOW_TASKS
from elixir_coder.tasks.row import UNKNOWN, ExampleTask, Row, Setup
from elixir_coder.tasks.window import Window
from elixir_coder.training.packing import collate, text_numbers
from tokenization_elixir_coder import KEYWORDS

if TYPE_CHECKING:
    from elixir_coder.training.objective import Objective

_EXAMINED = ("code", "kind", "name", "instruction", "before", "test_type", "difficulty", "operations", "injected")
_SPARE = 4  # examples looked at for each row wanted: some are too long, or have nothing in them for the task
_RESAMPLES = 200

# What a metric is worked out from: what the decoder writes, or one of the heads.
_EVIDENCE: Mapping[str, tuple[str, ...]] = {
    "token_accuracy": ("tokens",),
    "macro_average_precision": ("quality", "security"),
    "average_precision": ("clarification", "tags", "edges", "match"),
    "reciprocal_rank": ("contrast",),
}

Batch = Mapping[str, torch.Tensor]


class Sample(NamedTuple):
    """A row, and the example it was made of."""

    example: Example
    row: Row


@dataclass(frozen=True)
class TaskScore:
    """metric: one of tasks/registry.METRICS. low, high: its 95% interval, from drawing the rows anew. count: rows.
    nats: per token of what the decoder writes, None where it writes nothing. f1: macro F1 of labels at the thresholds
    of the configuration, which nobody has chosen before training is over; None of other tasks."""

    metric: str
    value: float
    low: float
    high: float
    count: int
    nats: float | None = None
    f1: float | None = None

    def record(self) -> dict[str, float]:
        """As it stands in a run's log."""
        record = {self.metric: self.value, "low": self.low, "high": self.high, "count": self.count}
        more = {"nats": self.nats, "macro_f1": self.f1}
        return record | {name: value for name, value in more.items() if value is not None}


# --------------------------------------------------------------------------------------------------- what is held out


def sample_rows(
    tasks: Mapping[str, Any], folders: Iterable[Path], per_task: int, *, setup: Setup, seed: int = 0
) -> dict[str, list[Sample]]:
    """For each task `per_task` rows of the validation splits, or as many as there are.

    tasks: what tasks/registry.build gave, by name. Kinds of examples take turns, so that the rare ones, which are often
    those that have something wrong with them, are there. Of a kind, examples are chosen by a number that is made of the
    seed, the task and the text, so the same ones come whatever stands around them. Tasks that start from source text
    take files.
    """
    columns = {*_EXAMINED, "sha256"}.union(*(getattr(task, "columns", ()) for task in tasks.values()))
    chosen: dict[str, dict[str, list[tuple[int, int, Example]]]] = {name: defaultdict(list) for name in tasks}
    with_split = (folder for folder in folders if "validation" in splits_of(folder))  # not all are large enough
    examples = (example for folder in with_split for example in read_shards(folder, "validation", columns=columns))
    for number, example in enumerate(examples):
        for name, task in tasks.items():
            if not (example.kind == "file" and example.code.strip() if name in WINDOW_TASKS else task.accepts(example)):
                continue
            entry = (-_place(seed, name, example), -number, example)  # a heap gives up its smallest
            heap = chosen[name][example.kind]
            if len(heap) < per_task * _SPARE:
                heapq.heappush(heap, entry)
            elif entry[:2] > heap[0][:2]:
                heapq.heapreplace(heap, entry)
    samples: dict[str, list[Sample]] = {}
    for name, task in tasks.items():
        kinds = [_rows(task, chosen[name][kind], setup, seed) for kind in sorted(chosen[name])]
        in_turn = (sample for turn in zip_longest(*kinds) for sample in turn if sample is not None)
        samples[name] = list(islice(in_turn, per_task))
    return samples


def _rows(task: Any, chosen: list[tuple[int, int, Example]], setup: Setup, seed: int) -> Iterator[Sample]:
    for place, _, example in sorted(chosen, key=lambda entry: entry[:2], reverse=True):
        row = _row(task, example, setup, np.random.default_rng([seed, -place]))
        if row is not None:
            yield Sample(example, row)


def _place(seed: int, task: str, example: Example) -> int:
    text = "\0".join([str(seed), task, example.kind, example.sha256, example.instruction, example.before])
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=7).digest(), "big")


def _row(task: Any, example: Example, setup: Setup, rng: np.random.Generator) -> Row | None:
    if type(task) not in WINDOW_TASKS.values():
        return cast(ExampleTask, task)(example, rng)
    tokens = np.asarray(setup.ids(example.code), dtype=np.int32)
    length = setup.source_length + setup.target_length - 3
    start = int(rng.integers(max(len(tokens) - length, 0) + 1))
    window = Window(tokens[start : start + length], is_end=start + length >= len(tokens))
    return cast(Row, task(window, rng))


# ------------------------------------------------------------------------------------------------------------ measures


def measure(objective: Objective, batches: Iterable[Batch]) -> dict[str, TaskScore]:
    """The score of each task that the batches have enough of: for average precision and F1, a positive.

    batches: of the objective's tasks, from `batches_of` or straight from training/packing.collate. A label counts as
    given from the probability that the model's configuration says. The objective is put back in the mode it was in.
    """
    parts: dict[tuple[str, str], list[_Part]] = defaultdict(list)
    with _evaluating(objective):
        for number, batch in enumerate(batches):
            for part in _predicted(objective, batch, number):
                parts[objective.tasks[part.task], part.head].append(part)
    scores = {}
    for task in objective.tasks:
        of_task = {head: each for (name, head), each in parts.items() if name == task}
        if score := _score(task, of_task, objective.model.config):
            scores[task] = score
    return scores


def batches_of(
    objective: Objective, samples: Mapping[str, Sequence[Sample]], max_tokens: int = 4096
) -> Iterator[Batch]:
    """The rows of each task in packed batches of `max_tokens` or a little more; a batch has rows of one task, so that
    a text is looked for among others of its kind. samples: of tasks of the objective."""
    for task, rows in samples.items():
        number = objective.tasks.index(task)
        batch: list[tuple[int, Row]] = []
        for sample in rows:
            batch.append((number, sample.row))
            if sum(row.num_tokens for _, row in batch) >= max_tokens:
                yield collate(batch, **objective.collating)
                batch = []
        if batch:
            yield collate(batch, **objective.collating)


def average_precision(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean over the positives of the precision among all that score at least as high; nan without a positive.

    scores: (N,) of any scale. labels: (N,) 1 or 0. weights: (N,) how often each counts. What scores alike is taken
    together, so that a constant score gives the share of positives.
    Source: Manning, Raghavan and Schütze 2008, section 8.4.
    """
    order = np.argsort(-scores, kind="stable")
    weight = np.ones(len(order)) if weights is None else weights[order]
    found, taken = np.cumsum(weight * (labels[order] == 1)), np.cumsum(weight)
    if not len(order) or found[-1] == 0:
        return float("nan")
    is_last = np.append(np.diff(scores[order]) != 0, True)  # of those that score alike
    found, taken = found[is_last], taken[is_last]
    precision = found / np.maximum(taken, 1e-300)
    return float(np.diff(found, prepend=0.0) @ precision / found[-1])


def macro_average_precision(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean of the average precision of each label that has a positive, among the rows in which it is known; nan without
    one. No threshold is asked for.

    scores, labels: (R, L), labels 1, 0, or -100. weights: (R,) how often each row counts.
    """
    weight = np.ones(len(scores)) if weights is None else weights
    found = [
        average_precision(scores[known, label], labels[known, label], weight[known])
        for label, known in enumerate((labels != UNKNOWN).T)
        if (labels[:, label] == 1).any()
    ]
    real = [value for value in found if not np.isnan(value)]
    return float(np.mean(real)) if real else float("nan")


def macro_f1(given: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean of 2·tp / (2·tp + fp + fn) over the labels that have a positive; nan without one.

    given: (R, L) bool, what the model says. labels: (R, L) 1, 0, or -100 where nothing is known. weights: (R,) how
    often each row counts.
    """
    weight = np.ones(len(given)) if weights is None else weights
    found, invented, missed = (weight @ each for each in _confusion(given, labels))
    has_positive = found + missed > 0
    if not has_positive.any():
        return float("nan")
    return float(np.mean(2 * found[has_positive] / (2 * found + invented + missed)[has_positive]))


def _confusion(given: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a label is found, where it is invented, where it is missed."""
    return given & (labels == 1), given & (labels == 0), ~given & (labels == 1)


class _Part(NamedTuple):
    """What a batch says of a task by one head. rows: (N,) the row of each entry, by any numbers; batch: they are of it.

    values: nats of "tokens", ranks of "contrast", logits of others. labels: of "tokens" whether the likeliest is the
    right one, of others what is true.
    """

    task: int
    head: str
    batch: int
    rows: np.ndarray
    values: np.ndarray
    labels: np.ndarray


def _predicted(objective: Objective, batch: Batch, number: int) -> Iterator[_Part]:
    device = objective.model.device
    told = objective.predict({name: tensor.to(device) for name, tensor in batch.items()})
    read, written = (text_numbers(batch[f"{side}segment_ids"].cpu()) for side in ("", "decoder_"))
    yield from _split("tokens", number, told.token_tasks, written[told.token_places], told.token_nats, told.token_hits)
    for head, logits in told.logits.items():
        values, labels = logits, told.labels[head]
        if head == "clarification":  # its one label
            values, labels = values.flatten(), labels.flatten()
        yield from _split(head, number, told.text_tasks, torch.arange(len(values)), values, labels)
    for head, (values, labels, tasks) in told.pairs.items():
        if head == "tags":
            texts = read[batch["tags"].cpu().flatten() != UNKNOWN]
        elif head == "edges":
            texts = read[batch["edges"][:, 0].cpu()]
        else:
            texts = written[batch["match_tokens"].cpu()]
        yield from _split(head, number, tasks, texts, values, labels)
    if len(told.ranks):
        yield from _split("contrast", number, told.rank_tasks, batch["queries"].cpu(), told.ranks, told.ranks)


def _split(
    head: str, batch: int, tasks: torch.Tensor, texts: torch.Tensor, values: torch.Tensor, labels: torch.Tensor
) -> Iterator[_Part]:
    """The known entries of each task."""
    assert len(tasks) == len(texts) == len(values) == len(labels), head
    known = labels != UNKNOWN
    known = known.any(dim=1) if known.dim() == 2 else known
    for task in tasks[known].unique():
        mine = known & (tasks == task)
        columns = (column[mine].numpy() for column in (texts, values, labels))
        yield _Part(int(task), head, batch, *columns)


def _score(task: str, parts: Mapping[str, list[_Part]], config: PretrainedConfig) -> TaskScore | None:
    metric = TASKS[task].metric
    head = next(head for head in _EVIDENCE[metric] if head in TASKS[task].heads)
    if head not in parts:
        return None
    keys = np.concatenate([np.stack([np.full(len(part.rows), part.batch), part.rows], axis=1) for part in parts[head]])
    _, rows = np.unique(keys, axis=0, return_inverse=True)
    rows = rows.reshape(-1)
    count = int(rows.max()) + 1
    values, labels = (np.concatenate([getattr(part, name) for part in parts[head]]) for name in ("values", "labels"))
    of_rows: Callable[[np.ndarray], float]  # the metric, for how often each row counts
    if metric == "token_accuracy":
        hits, totals = np.bincount(rows, weights=labels), np.bincount(rows)
        of_rows = lambda weights: float(weights @ hits / (weights @ totals))  # noqa: E731
    elif metric == "macro_average_precision":
        of_rows = lambda weights: macro_average_precision(values, labels, weights[rows])  # noqa: E731
    elif metric == "average_precision":
        order = np.argsort(-values, kind="stable")  # what is sorted is soon sorted again
        rows, values, labels = rows[order], values[order], labels[order]
        of_rows = lambda weights: average_precision(values, labels, weights[rows])  # noqa: E731
    else:
        of_rows = lambda weights: float(weights[rows] @ (1 / values) / weights.sum())  # noqa: E731
    value = of_rows(np.ones(count))
    if np.isnan(value):
        return None
    tokens = parts.get("tokens")
    nats = float(np.concatenate([part.values for part in tokens]).mean()) if tokens else None
    f1 = macro_f1(_given(values, head, config), labels) if metric == "macro_average_precision" else None
    return TaskScore(metric, value, *_interval(of_rows, value, count), count, nats, f1)


def _interval(of_rows: Callable[[np.ndarray], float], value: float, count: int) -> tuple[float, float]:
    """95% of what the metric is when as many rows are drawn anew, with replacement; entries of one row go together,
    for they are alike. Where all rows agree there is nothing to draw from: then, what so many rows can tell of a share.

    Method: Efron and Tibshirani 1993, chapter 13, the percentile interval.
    """
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)
    drawn = np.array([of_rows(weights) for weights in draws.astype(np.float64)])
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn) or drawn.min() == drawn.max():
        return wilson_interval(value * count, count)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return min(float(low), value), max(float(high), value)


def _given(logits: np.ndarray, head: str, config: PretrainedConfig) -> np.ndarray:
    """Which labels a head gives: those whose probability reaches the threshold."""
    name = f"{head}_thresholds" if head in ("quality", "security") else f"{head}_threshold"
    threshold = np.asarray(getattr(config, name, 0.5))
    given: np.ndarray = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -500, 500))) >= threshold
    return given


@contextmanager
def _evaluating(objective: Objective) -> Iterator[None]:
    was_training = objective.training
    objective.eval()
    try:
        yield
    finally:
        objective.train(was_training)


# ----------------------------------------------------------------------------------------------------- what goes wrong

_KEYWORDS = frozenset(KEYWORDS) | {"true", "false", "nil"}
_CODE_TASKS = frozenset(
    "denoise infill complete causal mask_identifiers annotated generate implement repair write_tests".split()
)
_MOST_CLASSES = 6
_MOST_LABELS = 8
_MOST_EXAMPLES = 2
_MOST_LINES, _MOST_LETTERS = 10, 500  # of an example


def failures(
    objective: Objective,
    samples: Mapping[str, Sequence[Sample]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    most: int = 32,
) -> str:
    """A section of Markdown on what goes wrong, for each task by class and with examples.

    samples: what `sample_rows` gave for tasks of the objective; `most` rows of each are looked at, one at a time.
    Of tasks the decoder writes: which examples and which kinds of token cost most. Of heads: which labels are missed
    and which invented. Retrieval and data-flow edges have their metric only.
    """
    config, texts = objective.model.config, token_texts(tokenizer)
    lines = [
        "## Errors",
        "",
        f"On up to {most} held-out rows of each task. The decoder reads its target; nothing is generated here.",
        "",
    ]
    with _evaluating(objective):
        for task, rows in samples.items():
            judged = []
            for sample in rows[:most]:
                batch = collate([(objective.tasks.index(task), sample.row)], **objective.collating)
                judged.append(_Judged(sample, {part.head: part for part in _predicted(objective, batch, 0)}))
            section = [
                *_token_errors(task, judged, texts, tokenizer),
                *_label_errors(judged, tokenizer, config),
                *_binary_errors(judged, tokenizer, config),
                *_tag_errors(judged, texts, config),
            ]
            if section:
                lines += [f"### {task}", "", *section]
    return "\n".join(lines).rstrip("\n") + "\n"


class _Judged(NamedTuple):
    sample: Sample
    parts: Mapping[str, _Part]  # by head

    @property
    def nats(self) -> float:
        return float(self.parts["tokens"].values.mean())


def _token_errors(
    task: str, judged: Sequence[_Judged], texts: TokenTexts, tokenizer: PreTrainedTokenizerBase
) -> Iterator[str]:
    judged = [each for each in judged if "tokens" in each.parts]
    if not judged:
        return
    yield f"Token accuracy and nats per token of {len(judged)} rows, and of the classes of examples that cost most:"
    yield ""
    by_class = defaultdict(list)
    for each in judged:
        for name in _classes(each.sample.example):
            by_class[name].append(each)
    least = min(3, len(judged))  # one odd row is no class
    costly = sorted(
        (name for name, rows in by_class.items() if least <= len(rows) < len(judged)),
        key=lambda name: -_mean_nats(by_class[name]),
    )
    rows = {"all": judged, **{name: by_class[name] for name in costly[:_MOST_CLASSES]}}
    yield from _table(
        ("class", "rows", "token accuracy", "nats per token"),
        ((name, len(rows_), f"{_mean_hits(rows_):.3f}", f"{_mean_nats(rows_):.3f}") for name, rows_ in rows.items()),
    )
    if task in _CODE_TASKS:
        yield from _token_classes(judged, texts)
    for each in sorted(judged, key=lambda each: -each.nats)[:_MOST_EXAMPLES]:
        part = each.parts["tokens"]
        costliest = np.argsort(-part.values, kind="stable")[:3]
        tokens = ", ".join(
            f"{_span(_text_of(each.sample.row.target[at], texts, tokenizer))} ({part.values[at]:.1f})"
            for at in costliest
        )
        yield f"{each.nats:.2f} nats per token, the most for {tokens}. It reads:"
        yield ""
        yield from _fenced(_decoded(each.sample.row.source, tokenizer))
        yield "and is to write:"
        yield ""
        yield from _fenced(_decoded(each.sample.row.target, tokenizer))


def _token_classes(judged: Sequence[_Judged], texts: TokenTexts) -> Iterator[str]:
    total: Counter[str] = Counter()
    wrong: dict[str, Counter[str]] = defaultdict(Counter)
    nats: Counter[str] = Counter()
    for each in judged:
        target, part = each.sample.row.target, each.parts["tokens"]
        for token, name, hit, cost in zip(target, token_classes(target, texts), part.labels, part.values):
            total[name] += 1
            nats[name] += cost
            if not hit:
                wrong[name][texts[token].strip() or texts[token]] += 1
    yield "Kinds of token, those that are wrong most often first:"
    yield ""
    names = sorted(total, key=lambda name: -wrong[name].total() / total[name])
    yield from _table(
        ("token", "number", "wrong", "nats", "most often"),
        (
            (
                name,
                total[name],
                f"{wrong[name].total() / total[name]:.1%}",
                f"{nats[name] / total[name]:.2f}",
                ", ".join(f"{_span(text)} {times}×" for text, times in wrong[name].most_common(3) if text),
            )
            for name in names
        ),
    )


def token_classes(tokens: Sequence[int], texts: TokenTexts) -> list[str]:
    """What each token of a piece of Elixir begins with, after its spaces: a keyword, operator, identifier, module,
    atom, literal (numbers, strings), comment, whitespace, or a special token."""
    starts: list[tuple[int, str]] = [
        (piece.start, _class_of(piece.kind, piece.text)) for piece in pieces("".join(texts[token] for token in tokens))
    ]
    places = [start for start, _ in starts]
    found, at = [], 0
    for token in tokens:
        text = texts[token]
        visible = at + len(text) - len(text.lstrip())
        if not text:  # a special token, or a part of a character, which in code are rare outside of strings
            found.append("special")
        elif not text.strip():
            found.append("whitespace")
        else:
            found.append(starts[max(bisect_right(places, visible) - 1, 0)][1])
        at += len(text)
    return found


def _class_of(kind: str, text: str) -> str:
    if kind in (COMMENT, TEXT):
        return "comment" if kind == COMMENT else "literal"
    if text in _KEYWORDS:
        return "keyword"
    if re.match(r"[^\W\d]", text):
        return "module" if text[0].isupper() else "identifier"
    if re.match(r":[^\W\d]", text):
        return "atom"
    if text[0].isdigit() or text[0] in "?\"'~" or text.startswith((':"', ":'")):
        return "literal"
    return "operator"


def _label_errors(
    judged: Sequence[_Judged], tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig
) -> Iterator[str]:
    for head in ("quality", "security"):
        rows = [each for each in judged if head in each.parts]
        if not rows:
            continue
        names = getattr(config, f"{head}_labels")
        labels = np.concatenate([each.parts[head].labels for each in rows])
        given = _given(np.concatenate([each.parts[head].values for each in rows]), head, config)
        _, invented, missed = _confusion(given, labels)
        wrong = (invented | missed).sum(axis=0)
        worst = [label for label in np.argsort(-wrong, kind="stable")[:_MOST_LABELS] if wrong[label]]
        if not worst:
            yield f"All labels of {len(rows)} rows are right."
            yield ""
            continue
        yield f"Labels of {len(rows)} rows, those that are wrong most often first:"
        yield ""
        yield from _table(
            ("label", "there", "missed", "invented"),
            (
                (names[at], int((labels[:, at] == 1).sum()), int(missed[:, at].sum()), int(invented[:, at].sum()))
                for at in worst
            ),
        )
        for word, wrongly in {"missed": missed, "invented": invented}.items():
            if wrongly.any():
                label = int(wrongly.sum(axis=0).argmax())
                yield f"{_span(names[label])} is {word} in:"
                yield ""
                yield from _fenced(_decoded(rows[int(wrongly[:, label].argmax())].sample.row.source, tokenizer))


_WORDS = {
    "clarification": (
        "leave something open",
        "are not asked about",
        "leave nothing open",
        "are asked about all the same",
    ),
    "match": ("belong together", "are told apart", "do not belong together", "are taken for a pair"),
}


def _binary_errors(
    judged: Sequence[_Judged], tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig
) -> Iterator[str]:
    for head, (so, missed, not_so, invented) in _WORDS.items():
        rows = [each for each in judged if head in each.parts]
        if not rows:
            continue
        labels = np.concatenate([each.parts[head].labels for each in rows])
        given = _given(np.concatenate([each.parts[head].values for each in rows]), head, config)
        for label, is_so, is_wrong in ((1, so, missed), (0, not_so, invented)):
            wrong = np.flatnonzero((labels == label) & (given != label))
            if total := int((labels == label).sum()):
                yield f"Of {total} rows that {is_so}, {len(wrong)} {is_wrong}."
                yield ""
            for at in wrong[:_MOST_EXAMPLES]:
                row = rows[at].sample.row
                yield from _fenced(_decoded(row.source, tokenizer))
                if head == "match":
                    yield from _fenced(_decoded(row.target, tokenizer))


def _tag_errors(judged: Sequence[_Judged], texts: TokenTexts, config: PretrainedConfig) -> Iterator[str]:
    rows = [each for each in judged if "tags" in each.parts]
    if not rows:
        return
    missed: Counter[str] = Counter()
    invented: Counter[str] = Counter()
    for each in rows:
        part, row = each.parts["tags"], each.sample.row
        assert row.tags is not None
        given = _given(part.values, "tags", config)
        tokens = [token for token, tag in zip(row.source, row.tags) if tag != UNKNOWN]
        for token, is_name, is_taken in zip(tokens, part.labels == 1, given):
            if is_name != is_taken:
                (missed if is_name else invented)[texts[token].strip()] += 1
    for word, counter in {"missed": missed, "taken for one": invented}.items():
        most = ", ".join(f"{_span(text)} {times}×" for text, times in counter.most_common(_MOST_LABELS) if text)
        yield (
            f"Tokens {'of an identifier that are' if counter is missed else 'of something else that are'} {word}: "
            + (f"{counter.total()}, most often {most}." if most else f"{counter.total()}.")
        )
        yield ""


def _classes(example: Example) -> list[str]:
    found = [f"kind {example.kind}"]
    found += [f"test type {example.test_type}"] * bool(example.test_type)
    found += [f"difficulty {example.difficulty}"] * bool(example.difficulty)
    found += [f"injected {example.injected}"] * bool(example.injected)
    return found + [f"operation {operation}" for operation in dict.fromkeys(example.operations)]


def _mean_nats(judged: Sequence[_Judged]) -> float:
    return float(np.concatenate([each.parts["tokens"].values for each in judged]).mean())


def _mean_hits(judged: Sequence[_Judged]) -> float:
    return float(np.concatenate([each.parts["tokens"].labels for each in judged]).mean())


def _decoded(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    kept = list(ids[:-1]) if len(ids) and ids[-1] == tokenizer.eos_token_id else list(ids)
    text: str = tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def _text_of(token: int, texts: TokenTexts, tokenizer: PreTrainedTokenizerBase) -> str:
    return texts[token] or tokenizer.decode([token], skip_special_tokens=False)


def _fenced(text: str) -> Iterator[str]:
    """The beginning of a text as a block of code, whatever stands in it."""
    lines = text[:_MOST_LETTERS].splitlines()[:_MOST_LINES]
    is_cut = len("\n".join(lines)) < len(text.rstrip())
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    yield fence
    yield from lines
    if is_cut:
        yield "..."
    yield fence
    yield ""


def _span(text: str) -> str:
    """A few letters as code within a line or a table."""
    text = text.replace("\n", "⏎").replace("\t", "⇥").replace("|", "\\|")
    text = text if len(text) <= 40 else text[:37] + "..."
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") or not text.strip() else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    lines = [[str(cell) if not isinstance(cell, int) else f"{cell:,}" for cell in row] for row in rows]
    yield "| " + " | ".join(head) + " |"
    yield "|---|" + "---:|" * (len(head) - 1)
    for line in lines:
        yield "| " + " | ".join(line) + " |"
    yield ""
