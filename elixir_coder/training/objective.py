"""The model with everything that is asked of it in training: one forward pass, many losses.

    objective = Objective(model, ["complete", "quality", "flow_edges"])
    losses = objective(batch, coefficients)              # batch: training/packing.collate
    losses.total.backward()

The heads that judge tokens and pairs of texts exist in training alone; `model` is what is saved for others.

Axes: B rows, S and T their widths, n texts, D width of the model.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel

from elixir_coder.tasks.row import UNKNOWN
from elixir_coder.training.distillation import Teacher
from elixir_coder.training.losses import (
    binary_losses,
    contrastive_losses,
    distillation_losses,
    multi_label_losses,
    token_losses,
)
from elixir_coder.training.packing import HEADS, text_numbers

# What a task may train; the second axis of coefficients, sums and counts.
KINDS = ("tokens", *HEADS, "tags", "edges", "contrast", "match")
_FIRST_TEMPERATURE = 0.05


@dataclass(frozen=True)
class LossSettings:
    """label_smoothing: of written tokens. chunk_size: tokens whose logits exist at one time. gamma_positive,
    gamma_negative, margin: of the asymmetric loss of labels; all 0 for cross-entropy. distillation: share of the loss
    of written tokens that is the teacher's opinion, at `temperature`."""

    label_smoothing: float = 0.0
    chunk_size: int = 1024
    gamma_positive: float = 0.0
    gamma_negative: float = 0.0
    margin: float = 0.0
    distillation: float = 0.0
    temperature: float = 2.0


@dataclass(frozen=True)
class Losses:
    """total: what to go backward from. sums: (tasks, KINDS) float32, each task's own losses added up, in nats."""

    total: torch.Tensor
    sums: torch.Tensor


@dataclass
class Predictions:
    """What the model says of a batch; what was not asked is empty. All on the CPU.

    token_tasks, token_nats, token_hits: (M,) for each written token its task, -ln p, and whether it is the most
    probable. text_tasks: (n,). logits, labels: by head (n, labels), -100 where a label is unknown.
    pairs: by "tags", "edges" and "match": scores (logits), labels and tasks, each (k,).
    ranks: (k,) place of the right candidate among all, from 1. rank_tasks: (k,).
    token_places: (M,) place of each written token in B × T, to find it in the batch.
    """

    token_tasks: torch.Tensor
    token_nats: torch.Tensor
    token_hits: torch.Tensor
    token_places: torch.Tensor
    text_tasks: torch.Tensor
    logits: dict[str, torch.Tensor] = field(default_factory=dict)
    labels: dict[str, torch.Tensor] = field(default_factory=dict)
    pairs: dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    ranks: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    rank_tasks: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))


def counts_of(batch: Mapping[str, torch.Tensor], num_tasks: int) -> torch.Tensor:
    """How many losses of each kind a batch has: (tasks, KINDS) float32; tokens, judged texts, tags, edges, pairs."""
    counts = torch.zeros(num_tasks, len(KINDS), device=batch["labels"].device)

    def add(kind: str, tasks: torch.Tensor) -> None:
        counts[:, KINDS.index(kind)] += torch.bincount(tasks, minlength=num_tasks)

    add("tokens", batch["token_tasks"][batch["labels"] != UNKNOWN])
    for head in HEADS:
        if f"{head}_labels" in batch:
            add(head, batch["text_tasks"][(batch[f"{head}_labels"] != UNKNOWN).any(dim=1)])
    if "tags" in batch:
        known = (batch["tags"] != UNKNOWN).flatten()
        add("tags", batch["text_tasks"][text_numbers(batch["segment_ids"])[known]])
    if "edges" in batch:
        add("edges", batch["edge_tasks"])
    if "queries" in batch:
        add("contrast", batch["text_tasks"][batch["queries"]])
    if "match_tokens" in batch:
        add("match", batch["token_tasks"].flatten()[batch["match_tokens"]])
    return counts


class Objective(nn.Module):
    """model: an `ElixirCoderForMultiTask`. tasks: names, whose places are the task numbers in batches.
    positive_weights: by head, what a label's positives are multiplied by, (labels,). teacher: whose opinion is asked
    for `settings.distillation`."""

    def __init__(
        self,
        model: PreTrainedModel,
        tasks: Sequence[str],
        settings: LossSettings | None = None,
        *,
        positive_weights: Mapping[str, torch.Tensor] | None = None,
        teacher: Teacher | None = None,
    ):
        super().__init__()
        self.model = model
        self._no_split_modules = model._no_split_modules  # what FSDP shares out one by one
        self.tasks = tuple(tasks)
        self.settings = settings or LossSettings()
        width = model.config.d_model
        self.heads = nn.ModuleDict({"tags": nn.Linear(width, 1), "match": nn.Linear(width, 1)})
        # Beyond the paper's plain product: states that serve many tasks need not be alike where code depends.
        self.heads.edges = nn.Linear(width, width, bias=False)
        self.heads.log_temperature = nn.Parameter(torch.tensor([math.log(_FIRST_TEMPERATURE)]))  # FSDP wants an axis
        for head in (self.heads["tags"], self.heads["match"]):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        nn.init.eye_(self.heads.edges.weight)
        for name, weights in (positive_weights or {}).items():
            self.register_buffer(f"{name}_positive_weights", weights, persistent=False)
        self._teacher = (teacher,)  # in a tuple, so that it is no part of what trains or is saved

    def spare(self) -> Objective:
        """A copy to be filled with weights, with the same teacher."""
        return copy.deepcopy(self, {id(self._teacher): self._teacher})

    @property
    def label_sizes(self) -> dict[str, int]:
        """Labels of each head."""
        config = self.model.config
        return {"quality": config.num_quality_labels, "security": config.num_security_labels, "clarification": 1}

    @property
    def collating(self) -> dict[str, Any]:
        """What `packing.collate` has to know of the model."""
        config = self.model.config
        return {
            "pad_token_id": config.pad_token_id,
            "start_token_id": config.decoder_start_token_id,
            "label_sizes": self.label_sizes,
        }

    def forward(self, batch: Mapping[str, torch.Tensor], coefficients: torch.Tensor) -> Losses:
        """batch: of `packing.collate`. coefficients: (tasks, KINDS) float32, what each loss is multiplied by before all
        are added up."""
        states = self._states(batch)
        total, nats = self._written(batch, states, coefficients)
        sums = torch.zeros_like(coefficients)
        chosen = batch["labels"].flatten() != UNKNOWN
        sums[:, 0].index_add_(0, batch["token_tasks"].flatten()[chosen], nats)
        # What a batch does not ask for gets gradients of zero: processes that share out weights wait for each other's.
        total = total + 0.0 * (states.decoder.sum() + sum(weight.sum() for weight in self._of_heads()))
        for kind, losses, tasks in self._judged(batch, states):
            column = KINDS.index(kind)
            total = total + (losses * coefficients[tasks, column]).sum()
            sums[:, column].index_add_(0, tasks, losses.detach().float())
        return Losses(total, sums)

    @torch.no_grad()
    def predict(self, batch: Mapping[str, torch.Tensor]) -> Predictions:
        """What the model says of the batch, whose labels are there to be compared."""
        states = self._states(batch)
        labels = batch["labels"].flatten()
        places = (labels != UNKNOWN).nonzero().squeeze(1)
        nats, hits = [], []
        for part in places.split(self.settings.chunk_size):
            logits = self.model.lm_head(states.decoder[part]).float()
            nats.append(F.cross_entropy(logits, labels[part], reduction="none"))
            hits.append(logits.argmax(dim=-1) == labels[part])
        empty = torch.empty(0)
        told = Predictions(
            token_tasks=batch["token_tasks"].flatten()[places].cpu(),
            token_nats=torch.cat([empty, *(each.cpu() for each in nats)]),
            token_hits=torch.cat([empty.bool(), *(each.cpu() for each in hits)]),
            token_places=places.cpu(),
            text_tasks=batch["text_tasks"].cpu(),
        )
        for head in HEADS:
            if f"{head}_labels" in batch:
                told.logits[head] = self._head(head, states.pooled).float().cpu()
                told.labels[head] = batch[f"{head}_labels"].cpu()
        for kind, logits, asked, tasks in self._pairs(batch, states):
            told.pairs[kind] = (logits.float().cpu(), asked.cpu(), tasks.cpu())
        if "queries" in batch:
            scores, hidden = self._similarities(batch, states)
            right = scores.gather(1, batch["positives"][:, None])
            told.ranks = (1 + ((scores > right) & ~hidden).sum(dim=1)).cpu()
            told.rank_tasks = batch["text_tasks"][batch["queries"]].cpu()
        return told

    def _states(self, batch: Mapping[str, torch.Tensor]) -> _States:
        """Encoder, decoder and mean states of a batch."""
        outputs = self.model.model(**_inputs(batch))
        encoder = outputs.encoder_last_hidden_state
        width = encoder.shape[-1]
        return _States(
            encoder.reshape(-1, width),
            outputs.last_hidden_state.reshape(-1, width),
            _means(encoder, batch["segment_ids"], len(batch["text_tasks"])),
        )

    def _written(
        self, batch: Mapping[str, torch.Tensor], states: _States, coefficients: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The weighted loss of what the decoder writes, and the nats of each token (M,)."""
        labels = batch["labels"].flatten()
        chosen = labels != UNKNOWN
        hidden, labels = states.decoder[chosen], labels[chosen]
        weights = coefficients[batch["token_tasks"].flatten()[chosen], 0]
        head, settings = self.model.lm_head, self.settings
        share = settings.distillation
        total, nats = token_losses(
            hidden,
            head.weight,
            head.bias,
            labels,
            weights * (1 - share),
            label_smoothing=settings.label_smoothing,
            chunk_size=settings.chunk_size,
        )
        teacher = self._teacher[0]
        if share and teacher is not None:
            opinion = teacher.hidden(_inputs(batch))
            divergence, _ = distillation_losses(
                hidden,
                head.weight,
                head.bias,
                opinion.reshape(-1, opinion.shape[-1])[chosen],
                teacher.weight,
                teacher.bias,
                weights * share,
                temperature=settings.temperature,
                chunk_size=settings.chunk_size,
            )
            total = total + divergence
        return total, nats

    def _judged(
        self, batch: Mapping[str, torch.Tensor], states: _States
    ) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
        """Kind, losses (k,) and tasks (k,) of everything but what is written. The losses of all labels of a text are
        one: their sum, as far as they are known."""
        settings = self.settings
        for head in HEADS:
            if f"{head}_labels" not in batch:
                continue
            labels = batch[f"{head}_labels"]
            judged = (labels != UNKNOWN).any(dim=1)
            losses, _ = multi_label_losses(
                self._head(head, states.pooled[judged]),
                labels[judged],
                positive_weights=getattr(self, f"{head}_positive_weights", None),
                gamma_positive=settings.gamma_positive,
                gamma_negative=settings.gamma_negative,
                margin=settings.margin,
            )
            yield head, losses, batch["text_tasks"][judged]
        for kind, logits, labels, tasks in self._pairs(batch, states):
            yield kind, binary_losses(logits, labels), tasks
        if "queries" in batch:
            queries, candidates = self._vectors(batch, states)
            losses = contrastive_losses(
                queries,
                candidates,
                batch["positives"],
                self.heads.log_temperature.exp(),
                excluded=batch["same"],
            )
            yield "contrast", losses, batch["text_tasks"][batch["queries"]]

    def _pairs(
        self, batch: Mapping[str, torch.Tensor], states: _States
    ) -> Iterator[tuple[str, torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Kind, logits, labels (1 or 0) and tasks of every yes or no about tokens and pairs."""
        if "tags" in batch:
            tags = batch["tags"].flatten()
            known = (tags != UNKNOWN).nonzero().squeeze(1)
            tasks = batch["text_tasks"][text_numbers(batch["segment_ids"])[known]]
            yield "tags", self.heads["tags"](states.encoder[known]).squeeze(-1), tags[known], tasks
        if "edges" in batch:
            one, other, labels = batch["edges"].unbind(dim=1)
            scale = states.encoder.shape[-1] ** -0.5
            logits = (self.heads.edges(states.encoder[one]) * states.encoder[other]).sum(dim=-1) * scale
            yield "edges", logits, labels, batch["edge_tasks"]
        if "match_tokens" in batch:
            places = batch["match_tokens"]
            logits = self.heads["match"](states.decoder[places]).squeeze(-1)
            yield "match", logits, batch["match_labels"], batch["token_tasks"].flatten()[places]

    def _of_heads(self) -> Iterator[nn.Parameter]:
        """The weights of all heads but the one that every batch with a target has."""
        yield from self.heads.parameters()
        for name, module in self.model.named_children():
            if name not in ("model", "lm_head"):
                yield from module.parameters()

    def _head(self, name: str, pooled: torch.Tensor) -> torch.Tensor:
        return getattr(self.model, f"{name}_head")(pooled)

    def _vectors(self, batch: Mapping[str, torch.Tensor], states: _States) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit vectors of the queries and of all candidates."""
        vectors = F.normalize(states.pooled.float(), dim=-1)
        return vectors[batch["queries"]], vectors[batch["candidates"]]

    def _similarities(self, batch: Mapping[str, torch.Tensor], states: _States) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines (k, c), and which of them do not count because the text is that of the right candidate."""
        queries, candidates = self._vectors(batch, states)
        return queries @ candidates.T, batch["same"]


@dataclass(frozen=True)
class _States:
    """encoder: (B × S, D). decoder: (B × T, D). pooled: (n, D), the mean of each text."""

    encoder: torch.Tensor
    decoder: torch.Tensor
    pooled: torch.Tensor


def _inputs(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the model takes: packed rows with their segments, padded ones with masks that compilers know."""
    inputs = {
        name: batch[name]
        for name in ("input_ids", "position_ids", "attention_mask", "decoder_input_ids")
        if name in batch
    }
    if len(batch["input_ids"]) == 1:
        return inputs | {name: batch[name] for name in ("segment_ids", "decoder_segment_ids")}
    inputs.setdefault("attention_mask", batch["segment_ids"])
    return inputs


def _means(hidden: torch.Tensor, segment_ids: torch.Tensor, num_texts: int) -> torch.Tensor:
    """Mean state of each text: (B, S, D) -> (n, D)."""
    real = (segment_ids > 0).flatten()
    numbers = text_numbers(segment_ids)[real]
    states = hidden.reshape(-1, hidden.shape[-1])[real]
    sums = states.new_zeros(num_texts, states.shape[-1]).index_add(0, numbers, states)
    return sums / torch.bincount(numbers, minlength=num_texts).to(states.dtype)[:, None]
