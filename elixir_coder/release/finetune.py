"""Fit the model to a project of one's own: `elixir-coder finetune PROJECT_DIR --out DIR`.

The files of a Mix project (`lib`, `test`, `config`) are cleaned and their secrets written over; a tenth of them, whole
modules with their tests, is held out. On the others a LoRA adapter learns to continue and to fill in, and from what is
documented and tested to document and to test. Before and after, the model is asked about the files held out, as
`elixir-coder generate` would ask it.

    DIR/adapter/       peft's format, for `elixir-coder generate --adapter DIR/adapter`
        corpus/        what was learnt from (train) and asked about (validation), for `elixir-coder data inspect`
        report.md      the figures, and results.json the same for programs

Everything stays on this machine. An adapter may hold pieces of the code that it learnt, so it is as private as that.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elixir_coder.errors import DataError, InputError, RecipeError
from elixir_coder.generation.generator import DEFAULT_MODEL
from elixir_coder.recipe import check_range

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from elixir_coder.evaluation.infill import Score
    from elixir_coder.evaluation.parsing import Share
    from elixir_coder.example import Example

MEASURED_BYTES = 60_000  # of what is held out, at most
NUM_HOLES, NUM_PROMPTS = 40, 60  # of each kind of hole; functions to complete
HOLE_TOKENS, FUNCTION_TOKENS = 64, 128


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How an adapter is trained."""

    minutes: float = field(default=5.0, metadata={"help": "of training"})
    steps: int | None = field(
        default=None, metadata={"help": "of training, instead of as many as fit into the minutes"}
    )
    rank: int = field(default=4, metadata={"help": "of the adapter"})
    learning_rate: float = field(default=1e-2, metadata={"help": "at its peak"})
    batch_tokens: int = field(default=2048, metadata={"help": "read and written in a step"})
    source_length: int = field(default=256, metadata={"help": "tokens read per row, at most"})
    target_length: int = field(default=256, metadata={"help": "tokens written per row, at most"})
    seed: int = field(default=0, metadata={"help": "of weights and rows"})

    def __post_init__(self) -> None:
        check_range(self, "minutes", above=0, below=float("inf"))
        check_range(self, "learning_rate", above=0, below=float("inf"))
        check_range(self, "seed", at_least=0, below=2**32)
        for name, least in {"rank": 1, "batch_tokens": 1, "source_length": 8, "target_length": 4}.items():
            check_range(self, name, at_least=least)
        if self.steps is not None:
            check_range(self, "steps", at_least=1)


@dataclass(frozen=True)
class Measured:
    """What a model does with the files held out. bits, num_bytes: of each file. parses: None without an Elixir."""

    bits: np.ndarray
    num_bytes: np.ndarray
    infill: Score
    parses: Share | None

    @property
    def bits_per_byte(self) -> float:
        return float(self.bits.sum() / self.num_bytes.sum())


@dataclass(frozen=True)
class Outcome:
    """The adapter that was made, and what it changed. facts: what to say of how it came about."""

    out: Path
    project: str
    facts: dict[str, str]
    before: Measured
    after: Measured

    @property
    def change(self) -> float:
        """Of the bits per byte; below 0 is better."""
        return self.after.bits_per_byte - self.before.bits_per_byte

    def __str__(self) -> str:
        return (
            f"{self.project}: {self.before.bits_per_byte:.4f} bits per byte of the files held out before, "
            f"{self.after.bits_per_byte:.4f} after; see {self.out / 'report.md'}\n"
            f"write with it: elixir-coder generate PROMPT --adapter {self.out / 'adapter'}"
        )


def finetune(
    project: Path,
    out: Path,
    settings: Settings | None = None,
    *,
    model: Path = DEFAULT_MODEL,
    say: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Train an adapter of the model on the Mix project, and write what the docstring of this module draws.

    Raises InputError where the folder is no Mix project or has too little code, RecipeError where `out` cannot be
    written or holds something, CheckpointError for a model that cannot be used, TrainingError where it must stop.
    """
    import torch

    from elixir_coder.checkpoint import load_model, load_tokenizer
    from elixir_coder.data.shards import write_shards
    from elixir_coder.generation.adapters import AdaptedModels
    from elixir_coder.tasks.row import Setup, SpecialTokens
    from elixir_coder.training import finetune as training
    from elixir_coder.training.adapters import add_adapter, save_adapter

    settings = settings or Settings()
    check_out(out)
    tokenizer = load_tokenizer(model)
    base = load_model(model, tokenizer=tokenizer, runtime="fast")
    check_lengths(settings, base.config.max_position_embeddings)

    files, dropped = training.project_files(project)
    learnt, held_out = training.split(files)
    parts = training.parts(learnt)
    package, version = files[0].package, files[0].version
    facts = {
        "Learnt from": f"{_amount(learnt)}, and {_kinds(parts)} of these",
        "Held out": _amount(held_out),
        "Dropped": ", ".join(f"{reason} {count}" for reason, count in sorted(dropped.items())) or "nothing",
    }
    for fact, text in facts.items():
        say(f"{fact.lower()}: {text}")
    write_shards(out / "corpus", {"train": [*learnt, *parts], "validation": held_out}, {"source": "project"})

    asked = measured_files(held_out)
    before = measure(base, tokenizer, asked, settings)
    say(f"before: {before.bits_per_byte:.4f} bits per byte of {_amount(asked)}")
    name = re.sub(r"\W", "_", package)
    trained = load_model(model, tokenizer=tokenizer)
    setup = Setup(tokenizer, SpecialTokens.of(tokenizer), settings.source_length, settings.target_length)
    shares = training.shares_of(parts, setup)
    batches = training.batches_of(
        out / "corpus", shares, setup, batch_tokens=settings.batch_tokens, model=trained, seed=settings.seed
    )
    num_parameters = trained.num_parameters()
    torch.manual_seed(settings.seed)
    parameters = add_adapter(trained, name, rank=settings.rank)
    num_steps, seconds = training.train(
        trained,
        parameters,
        batches,
        steps=settings.steps,
        minutes=settings.minutes,
        learning_rate=settings.learning_rate,
        say=say,
    )
    save_adapter(trained, name, out / "adapter")

    adapted = AdaptedModels(model, base, {name: out / "adapter"}, "fast")
    after = measure(adapted[name], tokenizer, asked, settings)
    num_added = sum(parameter.numel() for parameter in parameters)
    facts["Adapter"] = f"{num_added:,} parameters ({num_added / num_parameters:.2%} of the model's)"
    facts["Training"] = f"{num_steps:,} steps in {seconds:,.0f} s, on {', '.join(shares)}"
    facts["Settings"] = ", ".join(f"{setting} {value}" for setting, value in asdict(settings).items())
    outcome = Outcome(out, f"{package} {version}", facts, before, after)
    try:
        (out / "results.json").write_text(json.dumps(results(outcome), indent=2) + "\n", encoding="utf-8")
        (out / "report.md").write_text(report(outcome), encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write the report to {out}: {error}; the adapter is there") from error
    return outcome


def check_out(out: Path) -> None:
    """Raise RecipeError unless `out` is an empty folder, or one that can be made."""
    existing = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise RecipeError(f"--out {out} cannot be made: {existing} is not a folder one may write to; choose another")
    if out.exists() and any(out.iterdir()):
        raise RecipeError(f"--out {out} is not empty; choose another folder, or delete it")


def check_lengths(settings: Settings, longest: int) -> None:
    """Raise RecipeError for rows longer than the model's positions."""
    for name in ("source_length", "target_length"):
        check_range(settings, name, at_most=longest)


def measured_files(held_out: Sequence[Example]) -> list[Example]:
    """Of the files held out as many as are measured, the first by a hash of their text."""
    chosen: list[Example] = []
    size = 0
    for file in sorted(held_out, key=lambda file: file.sha256):
        length = len(file.code.encode())
        if not chosen or size + length <= MEASURED_BYTES:
            chosen.append(file)
            size += length
    return chosen


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, files: Sequence[Example], settings: Settings
) -> Measured:
    """Ask a model about files: how well it predicts them, fills holes in them and completes their functions."""
    import numpy as np

    from elixir_coder.evaluation import infill, parsing
    from elixir_coder.evaluation.compression import file_bits
    from elixir_coder.tasks.complete import Complete
    from elixir_coder.tasks.row import SpecialTokens
    from elixir_coder.training.finetune import has_elixir
    from elixir_coder.training.mixture import Corpus
    from tokenization_elixir_coder import encode_untrusted

    source_length = settings.source_length
    task = Complete(SpecialTokens.of(tokenizer), source_length, settings.target_length)
    bits = file_bits(model, Corpus.of(files, tokenizer), task, pad_token_id=tokenizer.pad_token_id)
    holes = infill.sample_holes(
        files, NUM_HOLES, fits=lambda text: len(encode_untrusted(tokenizer, text)) < HOLE_TOKENS
    )
    filled = infill.fill(model, tokenizer, holes, source_length=source_length, max_new_tokens=HOLE_TOKENS)
    parses = None
    if has_elixir() and (prompts := _prompts(files)):
        completed = parsing.complete(
            model, tokenizer, prompts, source_length=source_length, max_new_tokens=FUNCTION_TOKENS
        )
        parses = parsing.share(parsing.judge(prompts, [each.text for each in completed]))
    sizes = np.array([len(file.code.encode()) for file in files])
    return Measured(bits, sizes, infill.score(holes, filled), parses)


def _prompts(files: Sequence[Example]) -> list[Any]:
    from elixir_coder.evaluation.parsing import sample_prompts

    try:
        return sample_prompts(files, NUM_PROMPTS)
    except InputError:  # no function to complete: the other figures stand
        return []


def change_interval(before: Measured, after: Measured) -> tuple[float, float] | None:
    """95% interval of the change in bits per byte if other files of the project had been held out; None for one file.

    Method: the bootstrap over files, Efron and Tibshirani 1993, chapter 13.
    """
    import numpy as np

    num_files = len(before.bits)
    if num_files < 2:
        return None
    draws = np.random.default_rng(0).integers(num_files, size=(2_000, num_files))
    changes = (after.bits - before.bits)[draws].sum(axis=1) / before.num_bytes[draws].sum(axis=1)
    low, high = np.quantile(changes, (0.025, 0.975))
    return float(low), float(high)


def results(outcome: Outcome) -> dict[str, Any]:
    """The figures, for programs."""

    def figures(measured: Measured) -> dict[str, Any]:
        parses = None if measured.parses is None else asdict(measured.parses)
        return {"bits_per_byte": measured.bits_per_byte, "infill": asdict(measured.infill), "parses": parses}

    return {
        "project": outcome.project,
        "facts": outcome.facts,
        "measured_files": len(outcome.before.bits),
        "measured_bytes": int(outcome.before.num_bytes.sum()),
        "before": figures(outcome.before),
        "after": figures(outcome.after),
        "change": outcome.change,
        "change_interval": change_interval(outcome.before, outcome.after),
    }


def report(outcome: Outcome) -> str:
    """The figures, for people."""
    before, after = outcome.before, outcome.after
    interval = change_interval(before, after)
    likely = f", {interval[0]:+.4f} to {interval[1]:+.4f}" if interval else ""
    rows = [
        ("bits per byte", f"{before.bits_per_byte:.4f}", f"{after.bits_per_byte:.4f} ({outcome.change:+.4f}{likely})"),
        (f"of {before.infill.n} holes filled exactly", _exact(before.infill), _exact(after.infill)),
        (
            "likeness of what was filled in",
            f"{before.infill.edit_similarity:.3f}",
            f"{after.infill.edit_similarity:.3f}",
        ),
    ]
    if before.parses and after.parses:
        name = f"of {before.parses.n} completed functions parse"
        rows.append((name, _accepted(before.parses), _accepted(after.parses)))
    if outcome.change >= 0:
        verdict = "**The adapter does not help.** Train for a longer time, on more code, or with another learning rate."
    elif interval and interval[1] < 0:
        verdict = "The adapter predicts code of the project that it has not seen better than the model alone."
    else:
        verdict = "The adapter predicts the files held out better, by no more than their choice may change."
    lines = [
        f"# {outcome.project}: before and after fine-tuning",
        "",
        f"Of {len(before.bits)} files that were held out, {int(before.num_bytes.sum()):,} bytes; intervals of 95%.",
        "",
        "| | model alone | with the adapter |",
        "|---|---:|---:|",
        *(f"| {name} | {old} | {new} |" for name, old, new in rows),
        "",
        verdict,
        "",
        *(f"{name}: {text}\n" for name, text in outcome.facts.items()),
        "Write with it:",
        "",
        f"    elixir-coder generate PROMPT --adapter {outcome.out / 'adapter'}",
    ]
    return "\n".join(lines) + "\n"


def _exact(score: Score) -> str:
    low, high = score.exact_match_interval
    return f"{score.exact_match:.1%} ({low:.1%} to {high:.1%})"


def _accepted(share: Share) -> str:
    low, high = share.accepted_interval
    return f"{share.accepted:.1%} ({low:.1%} to {high:.1%})"


def _amount(files: Sequence[Example]) -> str:
    return f"{len(files)} files, {sum(len(file.code.encode()) for file in files):,} bytes"


def _kinds(examples: Sequence[Example]) -> str:
    counts = Counter(example.kind for example in examples)
    return ", ".join(f"{count} {kind}s" for kind, count in sorted(counts.items())) or "nothing"


def add_parser(subparsers: Any) -> None:
    """Add `elixir-coder finetune`."""
    parser = subparsers.add_parser(
        "finetune",
        help="fit the model to your own Mix project",
        description="Train a LoRA adapter on a Mix project and say what it changes on files of it that were held out.",
    )
    parser.add_argument("project", type=Path, metavar="PROJECT_DIR", help="folder of a mix.exs; an umbrella is one")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder for adapter and report")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="model folder (default: the shipped model)")
    for setting in dataclasses.fields(Settings):
        kind = float if setting.name in ("minutes", "learning_rate") else int
        told = "" if setting.default is None else f" (default: {setting.default})"
        parser.add_argument(
            f"--{setting.name}", type=kind, default=setting.default, help=f"{setting.metadata['help']}{told}"
        )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what happens to stderr and the outcome to stdout; 1 where the adapter does not help."""
    settings = Settings(**{setting.name: getattr(args, setting.name) for setting in dataclasses.fields(Settings)})
    outcome = finetune(
        args.project,
        args.out,
        settings,
        model=args.model,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    print(outcome)
    return 0 if outcome.change < 0 else 1
