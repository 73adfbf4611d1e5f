"""The parts of a training run, as its recipe says: model, data, losses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from elixir_coder import checkpoint
from elixir_coder.errors import RecipeError
from elixir_coder.recipe import TrainRecipe
from elixir_coder.tasks import registry
from elixir_coder.tasks.row import MIN_SOURCE_LENGTH, MIN_TARGET_LENGTH, UNKNOWN, Setup, SpecialTokens
from elixir_coder.training import adapters, sharding, state
from elixir_coder.training.batches import Batches
from elixir_coder.training.curriculum import Curriculum
from elixir_coder.training.distillation import Teacher, student_config, student_from
from elixir_coder.training.estimate import Estimate, estimate, measure_rates
from elixir_coder.training.losses import positive_weights
from elixir_coder.training.mixture import Mixture, build_mixture
from elixir_coder.training.objective import LossSettings, Objective
from elixir_coder.training.packing import HEADS

if TYPE_CHECKING:
    from accelerate import Accelerator  # type: ignore[import-untyped]

_LABEL_SHARE = 0.01  # of texts that a label is given to, before anything is known
_LONG_RUN = 100  # steps, from which a second to measure the machine is well spent
_SAMPLED_ROWS = 2_000  # of a task, to see how often each label is given


def build_model(recipe: TrainRecipe, tokenizer: PreTrainedTokenizerBase, latest: Path | None) -> PreTrainedModel:
    """The model of the recipe's preset, or that of --init_from or a checkpoint, checked to fit the tokenizer."""
    overrides = checkpoint.config_overrides(recipe.config_overrides)
    judges = any(set(HEADS) & set(registry.TASKS[name].heads) for name in recipe.shares if name in registry.TASKS)
    weights = recipe.init_from if recipe.adapter else latest or recipe.init_from
    saved = "generation" if weights is None else checkpoint.saved_kind(checkpoint.load_config(weights), weights)
    kind = "multitask" if judges else saved
    torch.manual_seed(recipe.seed)
    if weights is not None:
        model = checkpoint.load_model(weights, kind, **overrides)
    elif recipe.student_layers:
        model = build_student(recipe, overrides, kind)
    else:
        fields = checkpoint.vocabulary_fields(tokenizer) | overrides
        model = checkpoint.new_model(checkpoint.preset_config(recipe.preset, **fields), kind)
    checkpoint.check_vocabulary(model.config, tokenizer, recipe.tokenizer)
    if judges and saved != "multitask":
        expect_few_labels(model)
    if recipe.adapter and latest:
        adapters.load_adapter(model, recipe.adapter, latest / state.ADAPTER)
    elif recipe.adapter:
        adapters.add_adapter(model, recipe.adapter, rank=recipe.adapter_rank)
    if recipe.gradient_checkpointing:
        # its name before transformers 5.23 is the second, of which that one warns
        (getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable)()
    return model


def build_student(recipe: TrainRecipe, overrides: Mapping[str, Any], kind: str) -> PreTrainedModel:
    """A model with some of the teacher's layers, and everything else as the teacher has it."""
    assert recipe.teacher is not None, "the recipe has been validated"
    teacher = checkpoint.load_model(recipe.teacher)
    encoder_layers, decoder_layers = recipe.student_layers
    config = student_config(
        teacher.config, encoder_layers=encoder_layers, decoder_layers=decoder_layers, **dict(overrides)
    )
    return student_from(teacher, config, kind)


def expect_few_labels(model: PreTrainedModel) -> None:
    """Let new heads begin with the probability that a label has before anything is known, so that the first steps do
    not go into learning that (Lin et al. 2017, section 3.3, https://arxiv.org/abs/1708.02002)."""
    for head in (model.quality_head, model.security_head):
        torch.nn.init.constant_(head.out_proj.bias, -math.log((1 - _LABEL_SHARE) / _LABEL_SHARE))


def build_setup(recipe: TrainRecipe, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> Setup:
    """What tasks need to know. Raises RecipeError for a length that the model cannot read."""
    longest = model.config.max_position_embeddings
    for name, least in {"source_length": MIN_SOURCE_LENGTH, "target_length": MIN_TARGET_LENGTH}.items():
        if not least <= getattr(recipe, name) <= longest:
            raise RecipeError(
                f"--{name} must be at least {least} and at most the model's max_position_embeddings, {longest}; "
                f"got {getattr(recipe, name)}"
            )
    return Setup(
        tokenizer,
        SpecialTokens.of(tokenizer),
        recipe.source_length,
        recipe.target_length,
        tuple(model.config.quality_labels),
        tuple(model.config.security_labels),
    )


def read_mixture(recipe: TrainRecipe, tasks: Mapping[str, Any], setup: Setup) -> Mixture:
    """The streams of the training split, of all examples or of those with --test_type."""
    keep = None if recipe.test_type is None else lambda example: example.test_type == recipe.test_type
    return build_mixture(recipe.data, tasks, setup=setup, seed=recipe.seed, temperature=recipe.temperature, keep=keep)


def build_objective(
    recipe: TrainRecipe,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    mixture: Mixture,
    accelerator: Accelerator,
    latest: Path | None,
) -> Objective:
    """The model with its losses, and the heads of the checkpoint or of --init_from, where a run left them there."""
    if sharding.is_shared_out(accelerator) and (recipe.loss_weighting != "fixed" or recipe.norms_every):
        raise RecipeError(
            "--loss_weighting and --norms_every need all weights in each process; share the work by DDP, or leave them"
        )
    negative, positive, margin = recipe.asymmetric or (0.0, 0.0, 0.0)
    teacher = None
    if recipe.teacher is not None:
        teacher = Teacher.load(recipe.teacher, tokenizer, device=accelerator.device)
    objective = Objective(
        model,
        list(recipe.shares),
        LossSettings(
            label_smoothing=recipe.label_smoothing,
            chunk_size=recipe.logits_chunk,
            gamma_positive=positive,
            gamma_negative=negative,
            margin=margin,
            distillation=recipe.distillation if teacher else 0.0,
            temperature=recipe.distillation_temperature,
        ),
        positive_weights=label_weights(recipe, mixture) if recipe.label_balance else None,
        teacher=teacher,
    )
    if recipe.adapter:
        objective.heads.requires_grad_(False)
    weights = latest or recipe.init_from
    if weights is not None and (weights / state.OBJECTIVE).exists():
        state.restore_heads(weights, objective)
    return objective


def label_weights(recipe: TrainRecipe, mixture: Mixture) -> dict[str, torch.Tensor]:
    """By head, what makes a label's positives weigh as much as its negatives, as sampled rows have them."""
    weights = {}
    for head in ("quality", "security"):
        rows = [
            torch.from_numpy(row.judgements[head])
            for stream in mixture.streams
            if head in registry.TASKS[stream.task].heads
            for row in map(stream.row, range(min(_SAMPLED_ROWS, len(stream.items))))
            if row is not None and head in row.judgements
        ]
        if rows:
            labels = torch.stack(rows)
            weights[head] = positive_weights((labels == 1).sum(dim=0), (labels != UNKNOWN).sum(dim=0))
    return weights


def build_batches(
    recipe: TrainRecipe, objective: Objective, mixture: Mixture, curriculum: Curriculum, num_processes: int
) -> Batches:
    return Batches(
        mixture,
        curriculum,
        objective.tasks,
        batch_tokens=recipe.batch_tokens,
        parts=num_processes * recipe.gradient_accumulation,
        seed=recipe.seed,
        collating={**objective.collating, "packed": recipe.packing and not recipe.compile},
    )


def expected(recipe: TrainRecipe, objective: Objective, accelerator: Accelerator) -> Estimate:
    """What the run will take of each process; for a run of some length also how fast it will be."""
    parts = accelerator.num_processes * recipe.gradient_accumulation
    longest = recipe.source_length + recipe.target_length
    shape: dict[str, Any] = {
        "batch_tokens": math.ceil(recipe.batch_tokens / parts),
        "source_share": recipe.source_length / longest,
        "num_texts": max(1, recipe.batch_tokens // parts // longest),
        "precision": recipe.precision,
    }
    config = objective.model.config
    rates = measure_rates(config, **shape, device=accelerator.device) if recipe.steps >= _LONG_RUN else None
    return estimate(
        config,
        **shape,
        gradient_checkpointing=recipe.gradient_checkpointing,
        logits_chunk=recipe.logits_chunk,
        num_processes=accelerator.num_processes,
        sharding=sharding.kind(accelerator),
        adapter_rank=recipe.adapter_rank if recipe.adapter else None,
        rates=rates,
    )
