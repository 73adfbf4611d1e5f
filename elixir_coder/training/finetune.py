"""A Mix project of one's own as something to learn from: its files, what is held out of them, rows, and the training.

The command and the figures before and after are in release/finetune.py, since those are measured with `evaluation`.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel

from elixir_coder.data.clean import CODE_SUFFIXES, clean, default_filters
from elixir_coder.data.cleaning import Clean
from elixir_coder.data.collect import PROPRIETARY
from elixir_coder.data.extract import Extract
from elixir_coder.data.folder import ProjectSource, unit_of
from elixir_coder.data.pairs import Pair
from elixir_coder.data.project import examples_of
from elixir_coder.errors import InputError, TrainingError
from elixir_coder.example import Example
from elixir_coder.tasks import registry
from elixir_coder.tasks.row import Setup
from elixir_coder.training.batches import Batches
from elixir_coder.training.curriculum import Curriculum
from elixir_coder.training.mixture import build_mixture
from elixir_coder.training.objective import Objective
from elixir_coder.training.stopping import Stop
from elixir_coder.training.terms import Terms

MIN_BYTES = 10_000  # of code to learn from: what is less is learnt by heart
HELD_OUT, MOST_HELD_OUT = 0.10, 0.15  # share of the bytes
SHARES = {"complete": 0.5, "infill": 0.5}
SHARES_OF_EXAMPLES = {"document": 0.1, "write_tests": 0.1}  # where there is something to document or to test
_WARMUP_STEPS = 10
_ENDLESS = 10**9


def project_files(project: Path) -> tuple[list[Example], Counter[str]]:
    """The files of a project that are worth learning from, secrets written over, and why the others are not.

    Where there is an Elixir, what its parser refuses is left out. Raises InputError where there is no mix.exs, or
    nothing is left.
    """
    source = ProjectSource(project)
    (reference,) = source.references()
    found = source.read(reference)
    dropped = Counter(found.dropped)
    examples = examples_of(
        found.files,
        package=found.package,
        version=found.version,
        source=source.name,
        suffixes=CODE_SUFFIXES,
        dropped=dropped,
        licence=PROPRIETARY,
    )
    kept = list(clean(examples, default_filters({PROPRIETARY}), dropped))
    step = Clean(parses=has_elixir())
    try:
        kept = step(kept, dropped)
    finally:
        step.close()
    if not kept:
        raise InputError(f"{project} has no Elixir code in lib, test or config to learn from")
    return kept, +dropped


def split(files: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Files to learn from, and a tenth of the code to ask about, in the order of a hash of what each file is about.

    Code and its tests are held out together, and mostly the same ones as the project grows. Raises InputError where
    there is too little of either.
    """
    units: dict[str, list[Example]] = defaultdict(list)
    for file in files:
        units[unit_of(file.path)].append(file)
    sizes = {unit: num_bytes(members) for unit, members in units.items()}
    total = sum(sizes.values())
    size, held_out = 0, set()
    for unit in sorted(units, key=lambda unit: hashlib.sha256(unit.encode()).digest()):
        if size < HELD_OUT * total and size + sizes[unit] <= MOST_HELD_OUT * total:
            held_out.add(unit)
            size += sizes[unit]
    if not held_out or total - size < MIN_BYTES:
        raise InputError(
            f"the project has {total:,} bytes of code in {len(units)} modules with their tests, too little to learn "
            f"from while some is held out: {MIN_BYTES:,} bytes or more, in more files"
        )
    learnt = [file for file in files if unit_of(file.path) not in held_out]
    return learnt, [file for file in files if unit_of(file.path) in held_out]


def parts(files: Sequence[Example]) -> list[Example]:
    """Functions and modules of the files, and code with its tests; nothing without an Elixir to ask."""
    if not has_elixir():
        return []
    extract, pair = Extract(), Pair()
    try:
        return [*extract(list(files), Counter()), *pair([list(files)], Counter())]
    finally:
        extract.close()
        pair.close()


def num_bytes(examples: Sequence[Example]) -> int:
    """Of code."""
    return sum(len(example.code.encode()) for example in examples)


def has_elixir() -> bool:
    return shutil.which("elixir") is not None


def shares_of(examples: Sequence[Example], setup: Setup) -> dict[str, float]:
    """The tasks to train on, with their shares of the rows: those for which the project has something."""
    of_examples = {
        name: share
        for name, share in SHARES_OF_EXAMPLES.items()
        if any(map(registry.build(name, setup).accepts, examples))
    }
    return SHARES | of_examples


def train(
    model: PreTrainedModel,
    parameters: Sequence[torch.nn.Parameter],
    batches: Batches,
    *,
    steps: int | None,
    minutes: float,
    learning_rate: float,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[int, float]:
    """Train these parameters of the model; gives the number of steps and the seconds they took.

    steps: None for as many as fit into the minutes. The learning rate goes up over 10 steps, and down along a cosine to
    the end of steps or minutes. Asked to stop, it ends after the step and keeps what it has.

    Raises TrainingError for a loss that is no number.
    """
    tasks = tuple(batches.numbers)
    objective, terms = Objective(model, tasks), Terms(tasks, "fixed", {})
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0, betas=(0.9, 0.98))
    began = time.monotonic()
    mean = seconds = done = 0.0  # done: share of the training
    told = 0
    model.train()
    with Stop() as stop:
        for step in batches.steps(1, steps or _ENDLESS, {}):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(done, step.number, learning_rate)
            loss = objective(step.groups[0], terms.coefficients(step.counts)).total
            if not loss.isfinite():
                raise TrainingError(f"the loss of step {step.number} is not a finite number; lower --learning_rate")
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            mean += (loss.item() - mean) / min(step.number, 20)
            seconds = time.monotonic() - began
            done = seconds / (60 * minutes) if steps is None else step.number / steps
            if int(10 * done) > told:
                told = int(10 * done)
                say(f"step {step.number:,}, {min(done, 1):.0%}  loss {mean:.3f}  {seconds:.0f} s")
            if reason := stop.reason():
                say(f"stopped after step {step.number:,} ({reason})")
            if reason or done >= 1:
                break
    model.eval()
    return step.number, seconds


def batches_of(
    corpus: Path,
    shares: Mapping[str, float],
    setup: Setup,
    *,
    batch_tokens: int,
    model: PreTrainedModel,
    seed: int,
) -> Batches:
    """The rows of each step, from the training split of a corpus: a pure function of the seed and the step."""
    tasks = {name: registry.build(name, setup) for name in shares}
    return Batches(
        build_mixture([corpus], tasks, setup=setup, seed=seed),
        Curriculum(shares, steps=1),  # everything from the first step on
        tuple(tasks),
        batch_tokens=batch_tokens,
        parts=1,
        seed=seed,
        collating=Objective(model, tuple(tasks)).collating,
    )


def learning_rate_at(done: float, step: int, peak: float) -> float:
    """Of a step, from 1, when this share of the training is done. Not `optimization.learning_rate_at`: how many steps
    there will be is not known where minutes are given, and a machine may be slower later."""
    return peak * min(1.0, step / _WARMUP_STEPS) * 0.5 * (1 + math.cos(math.pi * done))
