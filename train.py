"""One training run: `accelerate launch train.py @recipes/tiny.args --out runs/tiny`.

Settings come from `elixir_coder/recipe.py`, rows from `elixir_coder/training/batches.py`, losses from
`elixir_coder/training/objective.py`; what a run leaves in --out is drawn in `elixir_coder/training/state.py`. Learning
rate, rows and dropout depend on nothing but the recipe, the step number and how far each stream of data is, so a run
that was killed goes on bit-exactly, and several processes compute what one would.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedTokenizerBase

from elixir_coder import checkpoint
from elixir_coder import recipe as recipes
from elixir_coder.errors import TrainingError, exit_on_error, require
from elixir_coder.evaluation.held_out import HeldOut
from elixir_coder.recipe import TrainRecipe
from elixir_coder.tasks import registry
from elixir_coder.training import assembly, sharding, state
from elixir_coder.training.batches import dropout_seed
from elixir_coder.training.curriculum import Curriculum
from elixir_coder.training.journal import Journal, hardware
from elixir_coder.training.objective import Objective, counts_of
from elixir_coder.training.optimization import build_optimizer, learning_rate_at
from elixir_coder.training.stopping import Stop
from elixir_coder.training.tally import Tally
from elixir_coder.training.terms import Terms
from elixir_coder.training.weighting import gradient_norms

if TYPE_CHECKING:
    from accelerate import Accelerator  # type: ignore[import-untyped]


def main() -> None:
    recipe = recipes.parse(TrainRecipe, sys.argv[1:])
    accelerator = sharding.build_accelerator()
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
    model = assembly.build_model(recipe, tokenizer, latest)
    setup = assembly.build_setup(recipe, tokenizer, model)
    state.check_disk(recipe.out, model.num_parameters(), recipe.keep_best)
    tasks = {name: registry.build(name, setup) for name in recipe.shares}
    mixture = assembly.read_mixture(recipe, tasks, setup)
    objective = assembly.build_objective(recipe, model, tokenizer, mixture, accelerator, latest)
    terms = Terms(objective.tasks, recipe.loss_weighting, recipe.weights)
    curriculum = Curriculum(recipe.shares, recipe.steps, recipe.phase_starts, recipe.ramp_steps)
    batches = assembly.build_batches(recipe, objective, mixture, curriculum, accelerator.num_processes)
    # What is shared out among processes cannot be judged or saved: a copy with all weights can, filled when it is due.
    whole = objective.spare() if sharding.is_shared_out(accelerator) else None
    measured = HeldOut.of(recipe, whole or objective, tokenizer, tasks, setup)
    optimizer = build_optimizer(
        objective,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        betas=(recipe.adam_beta1, recipe.adam_beta2),
        terms=terms,
    )
    wrapped, optimizer = sharding.prepare(accelerator, objective, optimizer, recipe.max_grad_norm)
    terms.to(accelerator.device)
    progress = state.restore(latest, accelerator, optimizer, terms) if latest else state.Progress()
    forward = torch.compile(wrapped, dynamic=True) if recipe.compile else wrapped  # rows have every length
    autocast = torch.autocast(accelerator.device.type, torch.bfloat16, enabled=recipe.precision == "bf16")
    facts = {
        "Model": f"{model.num_parameters():,} parameters",
        "Data": mixture.summary(),
        "Hardware": hardware(accelerator.device, accelerator.num_processes),
    }

    # `prepare` has waited for every process, so none still looks at --out when the first one writes there.
    with (
        state.open_run(recipe, latest) if accelerator.is_main_process else nullcontext(),
        Journal(recipe.out, progress.step, steps=recipe.steps, is_silent=not accelerator.is_main_process) as journal,
        Stop(recipe.stop_after_minutes) as stop,
    ):
        journal.say("  ".join(facts.values()) + (f"  going on after step {progress.step}" if latest else ""))
        expected = assembly.expected(recipe, objective, accelerator)
        journal.say(str(expected))
        began = time.monotonic() - progress.seconds
        tally = Tally()
        objective.train()
        for step in batches.steps(progress.step + 1, recipe.steps, progress.cursors):
            step_began = time.monotonic()
            for transition in curriculum.transitions(step.number):
                journal.note(step.number, transition)
            learning_rate = set_learning_rate(optimizer, recipe, step.number)
            coefficients = terms.coefficients(step.counts).to(accelerator.device)
            mine = list(enumerate(step.groups))[accelerator.process_index :: accelerator.num_processes]
            sums = torch.zeros_like(coefficients)
            for number, group in mine:
                torch.manual_seed(dropout_seed(recipe.seed, step.number, number))
                group = {name: tensor.to(accelerator.device) for name, tensor in group.items()}
                with sharding.pass_(accelerator, wrapped, is_last=number == mine[-1][0]):
                    with autocast:  # divided by the counts of the whole step, so that its groups add up to one mean
                        losses = forward(group, coefficients)
                    accelerator.backward(losses.total * accelerator.num_processes)  # averaged over processes
                sums += losses.sums
            sums = accelerator.reduce(sums)
            means = terms.means(sums.cpu(), step.counts)
            if terms.weighting.method == "uncertainty":
                terms.weighting.regularizer(means).backward()
            grad_norm = sharding.clip(accelerator, wrapped, recipe.max_grad_norm)
            if not torch.isfinite(grad_norm):
                raise state.not_finite(recipe.out, f"the gradient of step {step.number}")
            optimizer.step()
            optimizer.zero_grad()
            progress = state.Progress(
                step.number, progress.tokens + step.num_tokens, time.monotonic() - began, cursors=step.cursors
            )
            tally.add(step, (sums * coefficients).sum().item(), means, time.monotonic() - step_began)
            journal.tick(step.number)

            is_final = step.number == recipe.steps
            stops = is_wished_by_any(accelerator, bool(stop.reason()))
            norms = {}
            if is_due(step.number, recipe.norms_every):
                with autocast:
                    norms = measure_norms(objective, terms, step.groups[mine[0][0]], accelerator)
                terms.weighting.update({name: norms[name] for name in norms if name in means}, means)
            if step.number % recipe.log_every == 0 or is_final or norms:
                journal.write(
                    step.number,
                    **tally.record(expected, accelerator.device),
                    learning_rate=learning_rate,
                    grad_norm=grad_norm.item(),
                    tokens=progress.tokens,
                    seconds=progress.seconds,
                    shares=curriculum.shares_at(step.number),
                    weights=terms.weights() if recipe.loss_weighting != "fixed" else {},
                    gradient_norms=norms,
                )
                tally = Tally()
            is_measured = is_due(step.number, recipe.eval_every) or is_final
            is_saved = is_due(step.number, recipe.save_every) or is_final or stops
            if is_measured or is_saved:
                plain = sharding.gathered(accelerator, wrapped, whole)
            if is_measured:
                with autocast:  # in every process: the others would only wait for the first
                    progress.bits_per_byte = measured.bits_per_byte(recipe)
                    scores = measured.scores()
                journal.write(
                    step.number,
                    bits_per_byte=progress.bits_per_byte,
                    tokens=progress.tokens,
                    seconds=progress.seconds,
                    held_out={name: score.record() for name, score in scores.items()},
                )
            if is_saved:
                moments = sharding.whole_moments(accelerator, optimizer)
                if accelerator.is_main_process:
                    save(recipe, plain, terms, tokenizer, moments, progress)
                    journal.report(facts)
                accelerator.wait_for_everyone()
            if stops:
                break

        why = f" ({stop.reason() or 'another process was told to stop'})" if progress.step < recipe.steps else ""
        journal.report(facts, errors=measured.failures() if accelerator.is_main_process else "")
        journal.say(f"stopped after step {progress.step} of {recipe.steps}{why}; see {recipe.out / 'report.md'}")


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
        if group["follows_schedule"]:
            group["lr"] = value
    return value


def measure_norms(
    objective: Objective, terms: Terms, group: Mapping[str, torch.Tensor], accelerator: Accelerator
) -> dict[str, float]:
    """Length of each task's gradient at the encoder's last layer, on one group of each process; the same in all."""
    group = {name: tensor.to(accelerator.device) for name, tensor in group.items()}
    counts = counts_of(group, len(objective.tasks))
    present = [name for name, place in terms.places.items() if counts[place]]
    last = [weight for weight in objective.model.model.encoder.layers[-1].parameters() if weight.requires_grad]
    found = gradient_norms(lambda name: objective(group, terms.only(name, counts)).total, present, last)
    lengths = torch.tensor([[found.get(name, 0.0), float(name in found)] for name in terms.places])
    total, seen = accelerator.reduce(lengths.to(accelerator.device)).cpu().unbind(dim=1)
    return {name: (total[n] / seen[n]).item() for n, name in enumerate(terms.places) if seen[n]}


def is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def is_wished_by_any(accelerator: Accelerator, wish: bool) -> bool:
    """Whether any process wishes it, so that all do it after the same step."""
    return bool(accelerator.reduce(torch.tensor(float(wish), device=accelerator.device)).item())


def save(
    recipe: TrainRecipe,
    objective: Objective,
    terms: Terms,
    tokenizer: PreTrainedTokenizerBase,
    moments: Mapping[str, Any],
    progress: state.Progress,
) -> None:
    """Write a checkpoint, then link the best and delete what is neither among the best nor the latest."""
    state.save_checkpoint(recipe.out, objective, terms, tokenizer, moments, progress, recipe.adapter)
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
            init_from=(recipe.init_from if recipe.adapter else latest) or recipe.init_from,
            steps=1,
            warmup_steps=0,
            phase_starts=(),  # so that every task has its turn
            log_every=1,
            eval_files=1,
            eval_bytes=1,
            eval_rows=min(recipe.eval_rows, 1),
            norms_every=min(recipe.norms_every, 1),
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
