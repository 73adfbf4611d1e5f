"""One training run: `accelerate launch train.py @recipes/tiny.args --out runs/tiny`.

Settings come from `elixir_coder/recipe.py`, rows from `elixir_coder/training/batches.py`; what a run leaves in --out is
drawn in `elixir_coder/training/state.py`. Learning rate, rows and dropout depend on nothing but the recipe and the step
number, so a run that was killed goes on bit-exactly, and several processes compute what one would.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import tempfile
import time
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from elixir_coder import checkpoint
from elixir_coder import recipe as recipes
from elixir_coder.data.shards import read_shards
from elixir_coder.errors import RecipeError, TrainingError, exit_on_error, require
from elixir_coder.evaluation.compression import bits_per_byte, with_text
from elixir_coder.example import Example
from elixir_coder.recipe import TrainRecipe
from elixir_coder.tasks.complete import Complete
from elixir_coder.tasks.denoise import Denoise
from elixir_coder.tasks.infill import Infill
from elixir_coder.tasks.row import MIN_SOURCE_LENGTH, MIN_TARGET_LENGTH, SpecialTokens
from elixir_coder.tasks.window import WindowTask
from elixir_coder.training import state
from elixir_coder.training.batches import Batches, Corpus, dropout_seed
from elixir_coder.training.journal import Journal, hardware
from elixir_coder.training.optimization import build_optimizer, learning_rate_at
from elixir_coder.training.stopping import Stop

if TYPE_CHECKING:
    from accelerate import Accelerator  # type: ignore[import-untyped]


def main() -> None:
    recipe = recipes.parse(TrainRecipe, sys.argv[1:])
    accelerate = require("accelerate", "train")
    # Nothing is left to what `accelerate launch` was told: the recipe says it, and the loop below does it.
    accelerator = accelerate.Accelerator(mixed_precision="no", gradient_accumulation_steps=1)
    try:
        (dry_run if recipe.dry_run else train)(recipe, accelerator)
    except OSError as error:  # what the user gave is checked where it is read; what is left is writing
        raise TrainingError(f"the run stopped: {error}; make room and go on with --resume") from error
    accelerator.end_training()


def train(recipe: TrainRecipe, accelerator: Accelerator) -> None:
    """Train up to the last step, or until told to stop; everything of it is in recipe.out afterwards."""
    if recipe.num_threads is not None:
        torch.set_num_threads(recipe.num_threads)
    latest = state.latest_checkpoint(recipe)
    tokenizer = checkpoint.load_tokenizer(recipe.tokenizer)
    model = build_model(recipe, tokenizer, weights=latest or recipe.init_from)
    num_parameters = model.num_parameters()
    state.check_disk(recipe.out, num_parameters, recipe.keep_best)
    batches = build_batches(recipe, tokenizer, accelerator.num_processes)
    held_out = read_held_out(recipe)
    optimizer = build_optimizer(
        model,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        betas=(recipe.adam_beta1, recipe.adam_beta2),
    )
    model, optimizer = accelerator.prepare(model, optimizer)
    progress = state.restore(latest, optimizer) if latest else state.Progress()
    forward = torch.compile(model, dynamic=True) if recipe.compile else model  # rows have every length
    autocast = torch.autocast(accelerator.device.type, torch.bfloat16, enabled=recipe.precision == "bf16")
    facts = {
        "Model": f"{num_parameters:,} parameters",
        "Data": f"{len(batches.corpus.tokens):,} tokens, {batches.steps_per_epoch:,.1f} steps an epoch",
        "Hardware": hardware(accelerator.device, accelerator.num_processes),
    }

    # `prepare` has waited for every process, so none still looks at --out when the first one writes there.
    with (
        state.open_run(recipe, latest) if accelerator.is_main_process else nullcontext(),
        Journal(recipe.out, progress.step, is_silent=not accelerator.is_main_process) as journal,
        Stop(recipe.stop_after_minutes) as stop,
    ):
        journal.say("  ".join(facts.values()) + (f"  going on after step {progress.step}" if latest else ""))
        began = time.monotonic() - progress.seconds
        num_tokens, num_seconds = 0, 0.0
        model.train()
        for step, groups, num_targets in batches.steps(progress.step + 1, recipe.steps):
            step_began = time.monotonic()
            learning_rate = set_learning_rate(optimizer, recipe, step)
            mine = list(enumerate(groups))[accelerator.process_index :: accelerator.num_processes]
            loss = torch.zeros((), device=accelerator.device)
            for number, group in mine:
                torch.manual_seed(dropout_seed(recipe.seed, step, number))
                group = {name: tensor.to(accelerator.device) for name, tensor in group.items()}
                with accelerator.no_sync(model) if number != mine[-1][0] else nullcontext():
                    with autocast:  # every token of the step weighs alike: the sum over all of it, divided once
                        part = forward(**group, num_items_in_batch=num_targets).loss
                    accelerator.backward(part * accelerator.num_processes)  # gradients are averaged over processes
                loss += part.detach()
            grad_norm = accelerator.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
            if not torch.isfinite(grad_norm):
                raise state.not_finite(recipe.out, f"the gradient of step {step}")
            optimizer.step()
            optimizer.zero_grad()
            progress = state.Progress(step, progress.tokens + num_targets, time.monotonic() - began)
            num_tokens, num_seconds = num_tokens + num_targets, num_seconds + time.monotonic() - step_began

            is_final = step == recipe.steps
            stops = is_wished_by_any(accelerator, bool(stop.reason()))
            if step % recipe.log_every == 0 or is_final:
                journal.write(
                    step,
                    loss=accelerator.reduce(loss).item(),
                    learning_rate=learning_rate,
                    grad_norm=grad_norm.item(),
                    epoch=step / batches.steps_per_epoch,
                    tokens=progress.tokens,
                    tokens_per_second=num_tokens / num_seconds,
                    seconds=progress.seconds,
                )
                num_tokens, num_seconds = 0, 0.0
            if is_due(step, recipe.eval_every) or is_final:
                with autocast:  # in every process: the others would only wait for the first
                    score = measure(accelerator.unwrap_model(model), tokenizer, held_out, recipe)
                progress.bits_per_byte = score
                journal.write(step, bits_per_byte=score, tokens=progress.tokens, seconds=progress.seconds)
            if is_due(step, recipe.save_every) or is_final or stops:
                if accelerator.is_main_process:
                    save(recipe, accelerator.unwrap_model(model), tokenizer, optimizer, progress)
                    journal.report(facts)
                accelerator.wait_for_everyone()
            if stops:
                break

        why = f" ({stop.reason() or 'another process was told to stop'})" if progress.step < recipe.steps else ""
        journal.report(facts)
        journal.say(f"stopped after step {progress.step} of {recipe.steps}{why}; see {recipe.out / 'report.md'}")


def build_model(recipe: TrainRecipe, tokenizer: PreTrainedTokenizerBase, weights: Path | None) -> PreTrainedModel:
    """The model of the recipe's preset, or that of the folder `weights`, checked to fit tokenizer and row lengths."""
    overrides = checkpoint.config_overrides(recipe.config_overrides)
    if weights is None:
        torch.manual_seed(recipe.seed)
        fields = checkpoint.vocabulary_fields(tokenizer) | overrides
        model = checkpoint.new_model(checkpoint.preset_config(recipe.preset, **fields))
    else:
        model = checkpoint.load_model(weights, **overrides)
    checkpoint.check_vocabulary(model.config, tokenizer, recipe.tokenizer)
    longest = model.config.max_position_embeddings
    for name, least in {"source_length": MIN_SOURCE_LENGTH, "target_length": MIN_TARGET_LENGTH}.items():
        if not least <= getattr(recipe, name) <= longest:
            raise RecipeError(
                f"--{name} must be at least {least} and at most the model's max_position_embeddings, {longest}; "
                f"got {getattr(recipe, name)}"
            )
    if recipe.gradient_checkpointing:
        # its name before transformers 5.23 is the second, of which that one warns
        (getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable)()
    return model


def build_batches(recipe: TrainRecipe, tokenizer: PreTrainedTokenizerBase, num_processes: int) -> Batches:
    """The rows of the training split. Raises RecipeError where they cannot be shared out evenly."""
    parts = num_processes * recipe.gradient_accumulation
    if recipe.batch_size % parts:
        raise RecipeError(
            f"--batch_size {recipe.batch_size} is no multiple of {num_processes} processes × --gradient_accumulation "
            f"{recipe.gradient_accumulation}; try --batch_size {-(-recipe.batch_size // parts) * parts}"
        )
    special = SpecialTokens.of(tokenizer)
    lengths = {"source_length": recipe.source_length, "target_length": recipe.target_length}
    tasks: dict[WindowTask, float] = {
        Denoise(special, **lengths): recipe.denoise,
        Infill(special, **lengths): recipe.infill,
        Complete(special, **lengths): recipe.complete,
    }
    return Batches(
        read_corpus(recipe.data, recipe.tokenizer),
        {task: share for task, share in tasks.items() if share > 0},
        window=recipe.source_length + recipe.target_length - 3,  # room for the task token and both ends
        batch_size=recipe.batch_size,
        parts=parts,
        seed=recipe.seed,
        pad_token_id=tokenizer.pad_token_id,
    )


@lru_cache(maxsize=1)  # a dry run trains twice
def read_corpus(data: Path, tokenizer: Path) -> Corpus:
    return Corpus.of(read_shards(data, "train"), checkpoint.load_tokenizer(tokenizer))


def read_held_out(recipe: TrainRecipe) -> list[Example]:
    """Validation files up to the limits of the recipe, the same ones in every evaluation."""
    chosen: list[Example] = []
    num_bytes = 0
    for example in read_shards(recipe.data, "validation"):
        num_bytes += len(example.code.encode())
        if len(chosen) == recipe.eval_files or (chosen and num_bytes > recipe.eval_bytes):
            break
        chosen.append(example)
    return with_text(chosen)


def set_learning_rate(optimizer: torch.optim.Optimizer, recipe: TrainRecipe, step: int) -> float:
    """Give every parameter group the learning rate of the step. There is no scheduler: a prepared one would step once
    per process, and a resume would have to restore it."""
    value = learning_rate_at(
        step,
        peak=recipe.learning_rate,
        steps=recipe.steps,
        warmup_steps=recipe.warmup_steps,
        schedule=recipe.schedule,
        min_ratio=recipe.min_learning_rate_ratio,
        decay_fraction=recipe.decay_fraction,
    )
    for group in optimizer.param_groups:
        group["lr"] = value
    return value


def is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def is_wished_by_any(accelerator: Accelerator, wish: bool) -> bool:
    """Whether any process wishes it, so that all do it after the same step."""
    return bool(accelerator.reduce(torch.tensor(float(wish), device=accelerator.device)).item())


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, held_out: list[Example], recipe: TrainRecipe
) -> float:
    """Held-out bits per byte."""
    lengths = {"source_length": recipe.source_length, "target_length": recipe.target_length}
    score = bits_per_byte(model, tokenizer, held_out, **lengths).bits_per_byte
    if not math.isfinite(score):
        raise state.not_finite(recipe.out, "the held-out loss")
    return score


def save(
    recipe: TrainRecipe,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    optimizer: torch.optim.Optimizer,
    progress: state.Progress,
) -> None:
    """Write a checkpoint, then link the best and delete what is neither among the best nor the latest."""
    state.save_checkpoint(recipe.out, model, tokenizer, optimizer, progress)
    state.link_best(recipe.out)
    state.prune(recipe.out, recipe.keep_best)


def dry_run(recipe: TrainRecipe, accelerator: Accelerator) -> None:
    """All that a run does, with its data and its model, in a folder that is thrown away: a step, an evaluation and a
    checkpoint, and the same again after a resume from it."""
    latest = state.latest_checkpoint(recipe)
    with tempfile.TemporaryDirectory() as folder:
        folders = [folder]
        require("accelerate.utils", "train").broadcast_object_list(folders)
        first = dataclasses.replace(
            recipe,
            out=Path(folders[0]) / "run",
            init_from=latest or recipe.init_from,
            steps=1,
            warmup_steps=0,
            log_every=1,
            eval_files=1,
            eval_bytes=1,
            save_every=1,
            stop_after_minutes=None,
            resume=False,
            dry_run=False,
        )
        train(first, accelerator)
        train(dataclasses.replace(first, steps=2, resume=True), accelerator)
    if accelerator.is_main_process:
        print("the dry run passed: data, model, step, evaluation, checkpoint and resume work; nothing was kept")


if __name__ == "__main__":
    sys.exit(exit_on_error(main))
