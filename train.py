"""One training run: `accelerate launch train.py @recipes/tiny.args --out runs/tiny`.

Settings come from `elixir_coder/recipe.py`, rows from `elixir_coder/training/batches.py`, losses from
`elixir_coder/training/objective.py`; what a run leaves in --out is drawn in `elixir_coder/training/state.py`. Learning
rate, rows and dropout depend on nothing but the recipe, the step number and how far each stream of data is, so a run
that was killed goes on bit-exactly, and several processes compute what one would.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from elixir_coder import checkpoint
from elixir_coder import recipe as recipes
from elixir_coder.data.shards import read_shards, splits_of
from elixir_coder.errors import RecipeError, TrainingError, exit_on_error, require
from elixir_coder.evaluation import tasks as held_out_tasks
from elixir_coder.evaluation.compression import bits_per_byte, with_text
from elixir_coder.example import Example
from elixir_coder.recipe import TrainRecipe
from elixir_coder.tasks import registry
from elixir_coder.tasks.row import MIN_SOURCE_LENGTH, MIN_TARGET_LENGTH, UNKNOWN, Setup, SpecialTokens
from elixir_coder.training import adapters, state
from elixir_coder.training.batches import Batches, dropout_seed
from elixir_coder.training.curriculum import Curriculum
from elixir_coder.training.distillation import Teacher
from elixir_coder.training.estimate import estimate
from elixir_coder.training.journal import Journal, hardware
from elixir_coder.training.losses import positive_weights
from elixir_coder.training.mixture import Mixture, build_mixture
from elixir_coder.training.objective import LossSettings, Objective, counts_of
from elixir_coder.training.optimization import build_optimizer, learning_rate_at
from elixir_coder.training.packing import HEADS
from elixir_coder.training.stopping import Stop
from elixir_coder.training.terms import Terms
from elixir_coder.training.weighting import gradient_norms

if TYPE_CHECKING:
    from accelerate import Accelerator  # type: ignore[import-untyped]

_LABEL_SHARE = 0.01  # of texts that a label is given to, before anything is known
_SAMPLED_ROWS = 2_000  # of a task, to see how often each label is given


def main() -> None:
    recipe = recipes.parse(TrainRecipe, sys.argv[1:])
    accelerate = require("accelerate", "train")
    # Not every group has every head. Nothing else is left to what `accelerate launch` was told: the recipe says it.
    unused = require("accelerate.utils", "train").DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = accelerate.Accelerator(mixed_precision="no", gradient_accumulation_steps=1, kwargs_handlers=[unused])
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
    model = build_model(recipe, tokenizer, latest)
    setup = build_setup(recipe, tokenizer, model)
    state.check_disk(recipe.out, model.num_parameters(), recipe.keep_best)
    tasks = {name: registry.build(name, setup) for name in recipe.shares}
    mixture = read_mixture(recipe, tasks, setup)
    objective = build_objective(recipe, model, tokenizer, mixture, accelerator)
    terms = Terms(objective.tasks, recipe.loss_weighting, recipe.weights)
    curriculum = Curriculum(recipe.shares, recipe.steps, recipe.phase_starts, recipe.ramp_steps)
    batches = build_batches(recipe, objective, mixture, curriculum, accelerator.num_processes)
    measured = Measured.of(recipe, objective, tokenizer, tasks, setup)
    optimizer = build_optimizer(
        torch.nn.ModuleList([objective, terms]),
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        betas=(recipe.adam_beta1, recipe.adam_beta2),
    )
    wrapped, optimizer = accelerator.prepare(objective, optimizer)
    terms.to(accelerator.device)
    progress = state.restore(latest, optimizer, objective, terms) if latest else state.Progress()
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
        journal.say(expected(recipe, objective, accelerator))
        began = time.monotonic() - progress.seconds
        window = Window()
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
                with accelerator.no_sync(wrapped) if number != mine[-1][0] else nullcontext():
                    with autocast:  # divided by the counts of the whole step, so that its groups add up to one mean
                        losses = forward(group, coefficients)
                    accelerator.backward(losses.total * accelerator.num_processes)  # averaged over processes
                sums += losses.sums
            sums = accelerator.reduce(sums)
            means = terms.means(sums.cpu(), step.counts)
            if terms.weighting.method == "uncertainty":
                terms.weighting.regularizer(means).backward()
            grad_norm = accelerator.clip_grad_norm_(wrapped.parameters(), recipe.max_grad_norm)
            if not torch.isfinite(grad_norm):
                raise state.not_finite(recipe.out, f"the gradient of step {step.number}")
            optimizer.step()
            optimizer.zero_grad()
            progress = state.Progress(
                step.number, progress.tokens + step.num_tokens, time.monotonic() - began, cursors=step.cursors
            )
            window.add(step, (sums * coefficients).sum().item(), means, time.monotonic() - step_began)
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
                    **window.record(),
                    learning_rate=learning_rate,
                    grad_norm=grad_norm.item(),
                    tokens=progress.tokens,
                    seconds=progress.seconds,
                    weights=terms.weights() if recipe.loss_weighting != "fixed" else {},
                    gradient_norms=norms,
                )
                window = Window()
            if is_due(step.number, recipe.eval_every) or is_final:
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
            if is_due(step.number, recipe.save_every) or is_final or stops:
                if accelerator.is_main_process:
                    save(recipe, objective, terms, tokenizer, optimizer, progress)
                    journal.report(facts)
                accelerator.wait_for_everyone()
            if stops:
                break

        why = f" ({stop.reason() or 'another process was told to stop'})" if progress.step < recipe.steps else ""
        journal.report(facts, errors=measured.failures() if accelerator.is_main_process else "")
        journal.say(f"stopped after step {progress.step} of {recipe.steps}{why}; see {recipe.out / 'report.md'}")


# ------------------------------------------------------------------------------------------------ what a run is made of


def build_model(recipe: TrainRecipe, tokenizer: PreTrainedTokenizerBase, latest: Path | None) -> PreTrainedModel:
    """The model of the recipe's preset, or that of --init_from or a checkpoint, checked to fit the tokenizer."""
    overrides = checkpoint.config_overrides(recipe.config_overrides)
    judges = any(set(HEADS) & set(registry.TASKS[name].heads) for name in recipe.shares if name in registry.TASKS)
    weights = recipe.init_from if recipe.adapter else latest or recipe.init_from
    torch.manual_seed(recipe.seed)
    if weights is None:
        fields = checkpoint.vocabulary_fields(tokenizer) | overrides
        config = checkpoint.preset_config(recipe.preset, **fields)
        model = checkpoint.new_model(config, "multitask" if judges else "generation")
    else:
        saved = checkpoint.saved_kind(checkpoint.load_config(weights), weights)
        model = checkpoint.load_model(
            weights, "multitask" if judges or saved == "multitask" else "generation", **overrides
        )
    checkpoint.check_vocabulary(model.config, tokenizer, recipe.tokenizer)
    if judges and "multitask" not in (weights and saved_kind):
        pass
    if recipe.adapter and latest:
        adapters.load_adapter(model, recipe.adapter, latest / state.ADAPTER)
    elif recipe.adapter:
        adapters.add_adapter(model, recipe.adapter, rank=recipe.adapter_rank)
    if recipe.gradient_checkpointing:
        # its name before transformers 5.23 is the second, of which that one warns
        (getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable)()
    return model


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
) -> Objective:
    """The model with its losses, and the heads of --init_from where a run left them there."""
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
    if recipe.init_from is not None and (recipe.init_from / state.OBJECTIVE).exists():
        state.restore_heads(recipe.init_from, objective)
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
    config = objective.model.config
    return Batches(
        mixture,
        curriculum,
        objective.tasks,
        batch_tokens=recipe.batch_tokens,
        parts=num_processes * recipe.gradient_accumulation,
        seed=recipe.seed,
        collating={
            "pad_token_id": config.pad_token_id,
            "start_token_id": config.decoder_start_token_id,
            "label_sizes": objective.label_sizes,
            "packed": recipe.packing and not recipe.compile,
        },
    )


def expected(recipe: TrainRecipe, objective: Objective, accelerator: Accelerator) -> str:
    """What the run will take of each process, as a table."""
    parts = accelerator.num_processes * recipe.gradient_accumulation
    source_share = recipe.source_length / (recipe.source_length + recipe.target_length)
    longest = recipe.source_length + recipe.target_length
    return str(
        estimate(
            objective.model.config,
            batch_tokens=math.ceil(recipe.batch_tokens / parts),
            source_share=source_share,
            num_texts=max(1, recipe.batch_tokens // parts // longest),
            precision=recipe.precision,
            gradient_checkpointing=recipe.gradient_checkpointing,
            logits_chunk=recipe.logits_chunk,
            num_processes=accelerator.num_processes,
            adapter_rank=recipe.adapter_rank if recipe.adapter else None,
            attention_in_blocks=recipe.packing and not recipe.compile,
        )
    )


# ------------------------------------------------------------------------------------------------------ within the loop


class Window:
    """What happened since the last line of the log."""

    def __init__(self) -> None:
        self.loss = self.seconds = 0.0
        self.steps = self.tokens = self.places = 0
        self.means: dict[str, list[float]] = {}

    def add(self, step: Any, loss: float, means: Mapping[str, float], seconds: float) -> None:
        self.loss += loss
        self.steps += 1
        self.seconds += seconds
        self.tokens += step.num_tokens
        self.places += step.num_places
        for name, mean in means.items():
            self.means.setdefault(name, []).append(mean)

    def record(self) -> dict[str, Any]:
        """loss: mean of the steps, as weighted. padding: share of all places. tasks: mean loss of each."""
        return {
            "loss": self.loss / self.steps,
            "tokens_per_second": self.tokens / self.seconds,
            "padding": 1 - self.tokens / self.places,
            "tasks": {name: sum(means) / len(means) for name, means in self.means.items()},
        }


@dataclasses.dataclass(frozen=True)
class Measured:
    """What is measured in every evaluation, the same each time. files: held out. samples: rows of each task."""

    objective: Objective
    tokenizer: PreTrainedTokenizerBase
    files: list[Example]
    samples: dict[str, list[held_out_tasks.Sample]]

    @classmethod
    def of(
        cls,
        recipe: TrainRecipe,
        objective: Objective,
        tokenizer: PreTrainedTokenizerBase,
        tasks: Mapping[str, Any],
        setup: Setup,
    ) -> Measured:
        samples = {}
        if recipe.eval_rows:
            samples = held_out_tasks.sample_rows(tasks, recipe.data, recipe.eval_rows, setup=setup, seed=recipe.seed)
        return cls(objective, tokenizer, read_held_out(recipe), samples)

    def bits_per_byte(self, recipe: TrainRecipe) -> float:
        """Of the held-out files."""
        lengths = {"source_length": recipe.source_length, "target_length": recipe.target_length}
        score = bits_per_byte(self.objective.model, self.tokenizer, self.files, **lengths).bits_per_byte
        if not math.isfinite(score):
            raise state.not_finite(recipe.out, "the held-out loss")
        return score

    def scores(self) -> dict[str, held_out_tasks.TaskScore]:
        """Of each task that has held-out rows."""
        batches = held_out_tasks.batches_of(self.objective, self.samples)
        return held_out_tasks.measure(self.objective, batches)

    def failures(self) -> str:
        """What goes wrong, as Markdown."""
        return held_out_tasks.failures(self.objective, self.samples, self.tokenizer) if self.samples else ""


def read_held_out(recipe: TrainRecipe) -> list[Example]:
    """Validation files up to the limits of the recipe, the same ones in every evaluation; where there are none, other
    texts."""
    chosen: list[Example] = []
    num_bytes = 0
    folders = [folder for folder in recipe.data if "validation" in splits_of(folder)] or recipe.data[:1]
    examples = [
        example for folder in folders for example in read_shards(folder, "validation", columns=("code", "kind"))
    ]
    files = [example for example in examples if example.kind == "file"]
    for example in files or examples:
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
    optimizer: torch.optim.Optimizer,
    progress: state.Progress,
) -> None:
    """Write a checkpoint, then link the best and delete what is neither among the best nor the latest."""
    state.save_checkpoint(recipe.out, objective, terms, tokenizer, optimizer, progress, recipe.adapter)
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
