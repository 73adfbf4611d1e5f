"""Rows as the tensors of one forward pass: packed one after the other, without padding, or padded to one length.

Packed, all texts of a batch lie in one row, and `segment_ids` tell the model where each begins: no position is wasted
on padding, and no attention on other texts. Padded, each text has a row of its own, in shapes that a compiler can keep.
The losses are the same to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch

from elixir_coder.tasks.row import UNKNOWN, Row
from elixir_coder.training.losses import same_texts

HEADS = ("quality", "security", "clarification")


def pad(rows: Iterable[Row], pad_token_id: int) -> dict[str, torch.Tensor]:
    """Sources and targets padded on the right: input_ids and attention_mask (B, S), labels (B, T) int64."""

    def padded(texts: list[list[int]], value: int) -> torch.Tensor:
        width = max(map(len, texts))
        return torch.tensor([text + [value] * (width - len(text)) for text in texts])

    rows = list(rows)
    sources, targets = [row.source for row in rows], [row.target for row in rows]
    return {
        "input_ids": padded(sources, pad_token_id),
        "attention_mask": padded([[1] * len(source) for source in sources], 0),
        "labels": padded(targets, UNKNOWN),
    }


def collate(
    rows: Sequence[tuple[int, Row]],
    *,
    pad_token_id: int,
    start_token_id: int,
    label_sizes: Mapping[str, int],
    packed: bool = True,
    multiple: int = 1,
) -> dict[str, torch.Tensor]:
    """What `Objective` takes, of rows that each come with the number of their task.

    label_sizes: labels of each head in HEADS. packed: all in one row. multiple: widths are rounded up to it.

    n texts, a row's source before its candidates; S and T the widths, B = 1 packed and n padded:
    input_ids, segment_ids (B, S), position_ids (B, S) and attention_mask (B, S, S) where a row has its own;
    decoder_input_ids, decoder_segment_ids, labels, token_tasks (B, T); text_tasks (n,);
    HEAD_labels (n, labels) int8; tags (B, S) int8; edges (E, 3): two tokens as places in B × S, and the label, with
    edge_tasks (E,); queries (k,), positives (k,), candidates (c,) as numbers of texts, `positives` as places in
    `candidates`, and same (k, c), which candidates are word for word the right one of a query; match_tokens (m,) as
    places in B × T, with match_labels (m,).
    What no row has is not there.
    """
    texts: list[list[int]] = []  # what the encoder reads
    tasks: list[int] = []  # of each text
    owners: list[int] = []  # the text that is the source of each row
    for task, row in rows:
        owners.append(len(texts))
        for text in (row.source, *row.candidates):
            texts.append(text)
            tasks.append(task)
    sources = _Layout([len(text) for text in texts], packed, multiple)
    written = [0] * len(texts)
    for owner, (_, row) in zip(owners, rows):
        written[owner] = len(row.target)
    targets = _Layout(written, packed, multiple)

    batch = {
        "input_ids": sources.filled(texts, pad_token_id),
        "segment_ids": sources.segments(),
        "decoder_input_ids": targets.empty(pad_token_id),
        "decoder_segment_ids": targets.segments(),
        "labels": targets.empty(UNKNOWN),
        "token_tasks": targets.empty(0),
        "text_tasks": np.array(tasks),
    }
    for owner, (task, row) in zip(owners, rows):
        place = targets.place(owner)
        batch["decoder_input_ids"].flat[place] = [start_token_id, *row.target[:-1]][: len(row.target)]
        batch["token_tasks"].flat[place] = task
        if row.match is None:
            batch["labels"].flat[place] = row.target
    _add_structure(batch, rows, owners, sources)
    _add_labels(batch, rows, owners, sources, label_sizes)
    _add_pairs(batch, rows, owners, targets)
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in batch.items()}


def text_numbers(segment_ids: torch.Tensor) -> torch.Tensor:
    """(B × places,) number of the text, from 0, at each place of what `collate` made; -1 for padding.

    Packed, texts are numbered in their one row; padded, each has a row of its own.
    """
    if len(segment_ids) == 1:
        return segment_ids.flatten() - 1
    rows = torch.arange(len(segment_ids), device=segment_ids.device)[:, None]
    return torch.where(segment_ids > 0, rows, -1).flatten()


class _Layout:
    """Where texts of these lengths stand: one after the other in one row, or each in a row of its own."""

    def __init__(self, lengths: Sequence[int], packed: bool, multiple: int):
        def rounded(width: int) -> int:
            return -(-width // multiple) * multiple

        self.lengths = lengths
        self.packed = packed
        if packed:
            self.starts = [0, *np.cumsum(lengths).tolist()][:-1]
            self.shape = (1, rounded(max(sum(lengths), 1)))  # a row without any token is none that a model takes
        else:
            width = rounded(max(max(lengths), 1))
            self.starts = [number * width for number in range(len(lengths))]
            self.shape = (len(lengths), width)

    def place(self, text: int) -> slice:
        """In the flat array."""
        return slice(self.starts[text], self.starts[text] + self.lengths[text])

    def empty(self, value: int, dtype: type = np.int64) -> np.ndarray:
        return np.full(self.shape, value, dtype=dtype)

    def filled(self, texts: Sequence[Sequence[int]], value: int) -> np.ndarray:
        array = self.empty(value)
        for number, text in enumerate(texts):
            array.flat[self.place(number)] = text
        return array

    def segments(self) -> np.ndarray:
        """Packed, 1, 2, ... of the texts; padded, 1 in each row: 0 is padding."""
        array = self.empty(0)
        for number in range(len(self.lengths)):
            array.flat[self.place(number)] = number + 1 if self.packed else 1
        return array


def _add_structure(
    batch: dict[str, np.ndarray], rows: Sequence[tuple[int, Row]], owners: Sequence[int], sources: _Layout
) -> None:
    """Soft positions and visible matrices, where a row has its own; the other texts count and see as always."""
    if any(row.positions is not None for _, row in rows):
        positions = sources.empty(0)
        for number, length in enumerate(sources.lengths):
            positions.flat[sources.place(number)] = np.arange(length)
        for owner, (_, row) in zip(owners, rows):
            if row.positions is not None:
                positions.flat[sources.place(owner)] = row.positions
        batch["position_ids"] = positions
    if any(row.visible is not None for _, row in rows):
        height, width = sources.shape
        visible = np.zeros((height, width, width), dtype=bool)
        for number in range(len(sources.lengths)):
            line, start = divmod(sources.starts[number], width)
            place = slice(start, start + sources.lengths[number])
            visible[line, place, place] = True
        for owner, (_, row) in zip(owners, rows):
            if row.visible is not None:
                line, start = divmod(sources.starts[owner], width)
                place = slice(start, start + sources.lengths[owner])
                visible[line, place, place] = row.visible
        batch["attention_mask"] = visible


def _add_labels(
    batch: dict[str, np.ndarray],
    rows: Sequence[tuple[int, Row]],
    owners: Sequence[int],
    sources: _Layout,
    label_sizes: Mapping[str, int],
) -> None:
    """What is to be said of whole texts, of their tokens and of pairs of tokens."""
    for head in HEADS:
        if any(head in row.judgements for _, row in rows):
            labels = np.full((len(sources.lengths), label_sizes[head]), UNKNOWN, dtype=np.int8)
            for owner, (_, row) in zip(owners, rows):
                if head in row.judgements:
                    labels[owner] = row.judgements[head]
            batch[f"{head}_labels"] = labels
    if any(row.tags is not None for _, row in rows):
        tags = sources.empty(UNKNOWN, np.int8)
        for owner, (_, row) in zip(owners, rows):
            if row.tags is not None:
                tags.flat[sources.place(owner)] = row.tags
        batch["tags"] = tags
    edges, edge_tasks = [], []
    for owner, (task, row) in zip(owners, rows):
        if row.edges is not None and len(row.edges):
            start = sources.starts[owner]
            edges.append(row.edges.astype(np.int64) + np.array([start, start, 0]))
            edge_tasks += [task] * len(row.edges)
    if edges:
        batch["edges"], batch["edge_tasks"] = np.concatenate(edges), np.array(edge_tasks)


def _add_pairs(
    batch: dict[str, np.ndarray], rows: Sequence[tuple[int, Row]], owners: Sequence[int], targets: _Layout
) -> None:
    """Which text is to be found by which, and which target belongs to its source."""
    queries: list[int] = []
    positives: list[int] = []
    candidates: list[int] = []
    for owner, (_, row) in zip(owners, rows):
        if row.candidates:
            queries.append(owner)
            positives.append(len(candidates))
            candidates += range(owner + 1, owner + 1 + len(row.candidates))
    if queries:
        batch |= {"queries": np.array(queries), "positives": np.array(positives), "candidates": np.array(candidates)}
        texts = [tuple(text) for _, row in rows for text in row.candidates]
        batch["same"] = same_texts(texts, positives).numpy()
    matched = [(owner, row.match) for owner, (_, row) in zip(owners, rows) if row.match is not None]
    if matched:
        batch["match_tokens"] = np.array([targets.place(owner).stop - 1 for owner, _ in matched])
        batch["match_labels"] = np.array([label for _, label in matched])
