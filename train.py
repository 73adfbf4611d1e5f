"""One training run: `accelerate launch train.py @recipes/tiny.args --out runs/tiny`.

Settings come from `elixir_coder/recipe.py`, rows from `elixir_coder/training/batches.py`, and the rest is below.
"""

from __future__ import annotations

import dataclasses
import math
import signal
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed

from elixir_coder import recipe as recipes
from elixir_coder.checkpoint import check_vocabulary, config_overrides, load_model, load_tokenizer, new_model, preset_config
from elixir_coder.data.shards import read_shards
from elixir_coder.errors import RecipeError, TrainingError, exit_on_error
from elixir_coder.evaluation.compression import bits_per_byte
from elixir_coder.recipe import TrainRecipe
from elixir_coder.tasks.complete import Complete
from elixir_coder.tasks.denoise import Denoise
from elixir_coder.tasks.infill import Infill
from elixir_coder.tasks.window import SpecialTokens
from elixir_coder.training import state
from elixir_coder.training.batches import Batches, Corpus
from elixir_coder.training.journal import Journal, write_report
from elixir_coder.training.optimization import build_optimizer, learning_rate_at


def main(recipe: TrainRecipe) -> None:
    accelerator = Accelerator(mixed_precision="bf16" if recipe.precision == "bf16" else "no")
    if recipe.num_threads is not None:
        torch.set_num_threads(recipe.num_threads)
    latest = state.checkpoints(recipe.out)[-1:] if recipe.resume else []
    if state.checkpoints(recipe.out) and not recipe.resume:
        raise RecipeError(f"--out {recipe.out} already holds a run; go on with --resume or choose another folder")

    set_seed(recipe.seed)
    tokenizer = load_tokenizer(recipe.tokenizer)
    progress = state.read_progress(latest[0]) if latest else state.Progress()
    model = build_model(recipe, latest[0] if latest else recipe.init_from)
    check_vocabulary(model.config, tokenizer, recipe.tokenizer)
    parts = accelerator.num_processes * recipe.gradient_accumulation
    batches = build_batches(recipe, tokenizer, parts)
    held_out = read_held_out(recipe)
    optimizer = build_optimizer(
        model,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        betas=(recipe.adam_beta1, recipe.adam_beta2),
    )
    model, optimizer = accelerator.prepare(model, optimizer)
    if latest:
        state.restore_training_state(latest[0], optimizer, accelerator.process_index, accelerator.num_processes)
    forward = torch.compile(model) if recipe.compile else model
    journal = Journal(recipe.out, after_step=progress.step) if accelerator.is_main_process else None
    if journal:
        recipes.save(recipe, recipe.out / "recipe.args")
        num_parameters = sum(p.numel() for p in model.parameters())
        print(f"{num_parameters:,} parameters, {len(batches.corpus.tokens):,} tokens, {len(held_out)} held-out files")

    must_stop = stop_on_sigterm()
    started = time.monotonic() - progress.seconds
    deadline = math.inf if recipe.stop_after_minutes is None else time.monotonic() + 60 * recipe.stop_after_minutes
    speed = WindowedRate(progress)
    model.train()

    for step in range(progress.step + 1, recipe.steps + 1):
        groups, num_targets = batches.step(step)
        learning_rate = set_learning_rate(optimizer, recipe, step)
        mine = groups[accelerator.process_index :: accelerator.num_processes]
        loss = torch.zeros((), device=accelerator.device)
        for index, group in enumerate(mine):
            is_last = index == len(mine) - 1
            with nullcontext() if is_last else accelerator.no_sync(model):
                group = {name: tensor.to(accelerator.device) for name, tensor in group.items()}
                # Every token of the step weighs alike; DDP averages over processes, hence the factor.
                part = forward(**group, num_items_in_batch=num_targets).loss * accelerator.num_processes
                accelerator.backward(part)
                loss += part.detach()
        grad_norm = accelerator.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
        if not torch.isfinite(grad_norm):
            raise_not_finite(recipe, step)
        optimizer.step()
        optimizer.zero_grad()
        progress.step = step
        progress.tokens += num_targets
        progress.seconds = time.monotonic() - started

        is_final = step == recipe.steps
        stops_now = agreed(accelerator, must_stop() or time.monotonic() > deadline)
        if step % recipe.log_every == 0 or is_final:
            mean_loss = accelerator.reduce(loss, "mean").item()
            if journal:
                journal.write(
                    step,
                    loss=mean_loss,
                    learning_rate=learning_rate,
                    grad_norm=float(grad_norm),
                    tokens=progress.tokens,
                    tokens_per_second=speed.rate(progress),
                    seconds=progress.seconds,
                    epoch=step / batches.steps_per_epoch,
                )
        if is_due(step, recipe.eval_every) or is_final:
            if journal:
                measure(accelerator.unwrap_model(model), tokenizer, held_out, recipe, progress, journal)
            accelerator.wait_for_everyone()
        if is_due(step, recipe.save_every) or is_final or stops_now:
            rng_states = gather_object([torch.get_rng_state()])
            if journal:
                unwrapped = accelerator.unwrap_model(model)
                state.save_checkpoint(recipe.out, unwrapped, tokenizer, optimizer, rng_states, progress)
                state.prune(recipe.out, recipe.keep_best)
                write_report(recipe.out, dataclasses.asdict(recipe), state.best_checkpoint(recipe.out))
            accelerator.wait_for_everyone()
        if stops_now:
            break

    if journal:
        journal.close()
        print(f"stopped after step {progress.step} of {recipe.steps}; see {recipe.out / 'report.md'}")
    accelerator.end_training()


def build_model(recipe: TrainRecipe, weights: Path | None) -> torch.nn.Module:
    overrides = config_overrides(recipe.config_overrides)
    if weights is None:
        model = new_model(preset_config(recipe.preset, **overrides))
    else:
        model = load_model(weights, **overrides)
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return model


def build_batches(recipe: TrainRecipe, tokenizer, parts: int) -> Batches:
    special = SpecialTokens.of(tokenizer)
    lengths = {"source_length": recipe.source_length, "target_length": recipe.target_length}
    tasks = {
        Denoise(special, **lengths): recipe.denoise,
        Infill(special, **lengths): recipe.infill,
        Complete(special, **lengths): recipe.complete,
    }
    return Batches(
        Corpus.of(read_shards(recipe.data, "train"), tokenizer),
        {task: share for task, share in tasks.items() if share > 0},
        window=recipe.source_length + recipe.target_length - 3,  # room for the task token and both ends
        batch_size=recipe.batch_size,
        parts=parts,
        seed=recipe.seed,
        pad_token_id=tokenizer.pad_token_id,
    )


def read_held_out(recipe: TrainRecipe) -> list:
    """Validation files up to the limits of the recipe, the same ones in every evaluation."""
    chosen, num_bytes = [], 0
    for example in read_shards(recipe.data, "validation"):
        num_bytes += len(example.code.encode())
        if len(chosen) == recipe.eval_files or (chosen and num_bytes > recipe.eval_bytes):
            break
        chosen.append(example)
    return chosen


def measure(model, tokenizer, held_out, recipe: TrainRecipe, progress: state.Progress, journal: Journal) -> None:
    result = bits_per_byte(
        model, tokenizer, held_out, source_length=recipe.source_length, target_length=recipe.target_length
    )
    progress.bits_per_byte = result.bits_per_byte
    journal.write(
        progress.step, bits_per_byte=result.bits_per_byte, tokens=progress.tokens, seconds=progress.seconds
    )


def set_learning_rate(optimizer, recipe: TrainRecipe, step: int) -> float:
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


def raise_not_finite(recipe: TrainRecipe, step: int) -> None:
    good = state.checkpoints(recipe.out)[-1:]
    way_out = f"the last good checkpoint is {good[0]}" if good else "no checkpoint was written before"
    raise TrainingError(
        f"the gradient of step {step} is not a finite number; {way_out}; lower --learning_rate (it is "
        f"{recipe.learning_rate}) or --max_grad_norm and go on with --resume"
    )


def is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def agreed(accelerator: Accelerator, wish: bool) -> bool:
    """Whether any process wishes it, so that all stop after the same step."""
    if accelerator.num_processes == 1:
        return wish
    return bool(accelerator.reduce(torch.tensor(int(wish), device=accelerator.device)).item())


def stop_on_sigterm():
    """A function that tells whether SIGTERM or Ctrl-C has come; the loop saves and stops after the step it is in."""
    received = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, frame: received.append(signum))
    return lambda: bool(received)


class WindowedRate:
    """Tokens a second since it was last asked."""

    def __init__(self, progress: state.Progress):
        self.last = (progress.tokens, progress.seconds)

    def rate(self, progress: state.Progress) -> float:
        tokens, seconds = self.last
        self.last = (progress.tokens, progress.seconds)
        return (progress.tokens - tokens) / max(progress.seconds - seconds, 1e-9)


def dry_run(recipe: TrainRecipe) -> None:
    """The whole path on the real data with the real model: two steps, an evaluation, a save, a resume."""
    with tempfile.TemporaryDirectory() as folder:
        small = dataclasses.replace(
            recipe,
            out=Path(folder) / "run",
            steps=2,
            warmup_steps=1,
            log_every=1,
            eval_every=0,
            save_every=1,
            eval_files=1,
            eval_bytes=1,
            stop_after_minutes=None,
            resume=False,
            dry_run=False,
        )
        main(small)
    print("the dry run passed: data, tokenizer, model, training step, evaluation and checkpoint work; nothing was kept")


def run() -> None:
    recipe = recipes.parse(TrainRecipe, sys.argv[1:])
    dry_run(recipe) if recipe.dry_run else main(recipe)


if __name__ == "__main__":
    sys.exit(exit_on_error(run))
