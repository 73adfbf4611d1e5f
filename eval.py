"""One judgement of a model: `python eval.py --model . --suite all --data corpus`.

    bits    held-out bits per byte, beside a 5-gram model of the same tokens and `xz -9e` of the same files
    fim     holes in held-out files: exact match and edit similarity
    parse   functions of held-out files completed: the share that Elixir's own parser accepts
    functional  tasks answered: pass@k of what the model writes, compiled and tested in a sandbox (docs/EVALUATION.md)
    precision   what bfloat16 and the fast runtime cost: each against PyTorch in float32, token by token, and in what
                it writes for fim and parse; asked for by its name, as `all` is about the model

Everything goes into --out as JSON, with what it was measured on. Standard output gets a table of one row and, as its
last line, the figures as JSON. The same model, data, seed and machine give the same figures.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from elixir_coder import recipe as recipes
from elixir_coder.checkpoint import load_tokenizer
from elixir_coder.data.shards import read_shards
from elixir_coder.errors import RecipeError, exit_on_error
from elixir_coder.evaluation import functional, infill, parsing, precision, report
from elixir_coder.evaluation.compression import file_bits, with_text, xz_bits
from elixir_coder.evaluation.ngram import NgramModel
from elixir_coder.evaluation.precision import REFERENCE, Runtime, open_model
from elixir_coder.evaluation.problems import OWN_SUITE, Problem, read_problems, sha256_of
from elixir_coder.evaluation.saved import SavedRows
from elixir_coder.evaluation.writing import Written
from elixir_coder.example import Example
from elixir_coder.tasks.complete import Complete
from elixir_coder.tasks.row import MIN_SOURCE_LENGTH, MIN_TARGET_LENGTH, SpecialTokens
from elixir_coder.toolchain.toolchain import Toolchain
from elixir_coder.training.mixture import Corpus
from elixir_coder.training.state import read_progress
from tokenization_elixir_coder import encode_untrusted

NUM_SAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class EvalRecipe:
    """Every setting of one judgement; it is saved with the results."""

    model: Path | None = field(
        default=None,
        metadata={"help": "model folder: one that train.py wrote, or . for the shipped model; none with --generations"},
    )
    data: Path | None = field(
        default=None, metadata={"help": "bits, fim, parse: folder of shards from `elixir-coder data`"}
    )
    suite: Literal["bits", "fim", "parse", "functional", "precision", "all"] = field(
        default="all", metadata={"help": "what to measure; all is the first four"}
    )
    runtime: Literal["plain", "fast"] = field(
        default="plain", metadata={"help": "plain is PyTorch, fast our own on a CPU (docs/GENERATION.md)"}
    )
    runtime_dtype: Literal["float32", "bfloat16", "int8"] | None = field(
        default=None, metadata={"help": "of the weights; none is float32 for plain, int8 for fast"}
    )
    split: Literal["validation", "test"] = field(default="test", metadata={"help": "held-out files to measure it on"})
    out: Path = field(default=Path("results.json"), metadata={"help": "where the results go, as JSON"})
    limit: int | None = field(
        default=None, metadata={"help": "a quick look: no more files, holes of a kind, prompts and tasks than this"}
    )
    seed: int = field(default=0, metadata={"help": "of the choice of holes, prompts and files, and of sampling"})

    source_length: int = field(default=512, metadata={"help": "tokens the encoder reads, at most"})
    target_length: int = field(default=256, metadata={"help": "bits: tokens the decoder predicts from one source"})
    max_new_tokens: int = field(default=128, metadata={"help": "fim, parse: tokens the model may write"})
    holes: int = field(default=100, metadata={"help": "fim: holes of each kind"})
    prompts: int = field(default=100, metadata={"help": "parse: functions to complete"})
    temperature: float = field(
        default=0.0, metadata={"help": "parse, functional: 0 takes the likeliest token, above 0 samples"}
    )
    top_p: float = field(default=0.95, metadata={"help": "parse, functional: nucleus to sample from"})
    grammar: Literal["none", "elixir"] = field(
        default="none", metadata={"help": "parse, functional: elixir keeps what the model writes in Elixir's grammar"}
    )
    baselines: bool = field(default=True, metadata={"help": "bits: also a 5-gram model and xz -9e"})
    files: int = field(default=24, metadata={"help": "precision: files to compare on token by token"})

    tasks: Path | None = field(
        default=None,
        metadata={
            "help": "functional: file or folder of tasks, ours or a benchmark's (docs/EVALUATION.md); none is ours"
        },
    )
    num_samples: int | None = field(
        default=None, metadata={"help": "functional: answers to each task; none is 1, or all of --generations"}
    )
    k: tuple[int, ...] = field(default=(1,), metadata={"help": "functional: pass@k for these, at most --num_samples"})
    task_tokens: int = field(default=384, metadata={"help": "functional: tokens the model may write for a task"})
    generations: Path | None = field(
        default=None, metadata={"help": "functional: judge these saved answers, without a model"}
    )
    resume: bool = field(default=False, metadata={"help": "functional: go on with what a run to this --out left"})
    workers: int = field(default=2, metadata={"help": "functional: answers judged at a time"})
    timeout_s: float = field(default=10.0, metadata={"help": "functional: seconds one answer may compile and run"})
    unsafe_no_sandbox: bool = field(
        default=False,
        metadata={"help": "functional: run what the model wrote with nothing between it and this machine"},
    )

    batch_size: int = field(default=8, metadata={"help": "rows the model works on at a time"})
    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata={"help": "auto takes CUDA where it is"})
    num_threads: int | None = field(default=None, metadata={"help": "CPU threads of torch; none leaves its choice"})

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "holes", "prompts", "files", "task_tokens", "workers", "batch_size"):
            recipes.check_range(self, name, at_least=1)
        for name in ("limit", "num_samples", "num_threads"):
            if getattr(self, name) is not None:
                recipes.check_range(self, name, at_least=1)
        recipes.check_range(self, "source_length", at_least=MIN_SOURCE_LENGTH)
        recipes.check_range(self, "target_length", at_least=MIN_TARGET_LENGTH)
        recipes.check_range(self, "seed", at_least=0, below=2**32)
        recipes.check_range(self, "temperature", at_least=0, below=float("inf"))
        recipes.check_range(self, "top_p", above=0, at_most=1)
        recipes.check_range(self, "timeout_s", above=0, at_most=3600)
        recipes.check_choices(self)
        self._check_what_is_needed()
        self._check_samples()
        self._check_runtime()

    def _check_what_is_needed(self) -> None:
        if self.generations is not None and (self.suite != "functional" or self.model is not None):
            raise RecipeError(
                "--generations judges saved answers: it goes with --suite functional, and without --model"
            )
        if self.generations is None and self.model is None:
            raise RecipeError("missing: --model (model folder: one that train.py wrote). --help lists every setting")
        if self.data is None and self.reads_data:
            raise RecipeError(
                "missing: --data (folder of shards from `elixir-coder data`); only --suite functional goes without"
            )

    def _check_samples(self) -> None:
        if not self.k or min(self.k) < 1:
            raise RecipeError(f"--k must be one or more numbers from 1, got {','.join(map(str, self.k)) or 'none'}")
        num_samples = self.num_samples or 1
        if self.generations is None and max(self.k) > num_samples:
            raise RecipeError(f"--k {max(self.k)} needs --num_samples {max(self.k)} or more, got {num_samples}")
        if self.generations is None and num_samples > 1 and self.temperature == 0:
            raise RecipeError(
                "--num_samples above 1 needs --temperature above 0, or all samples of a task are the same"
            )

    def _check_runtime(self) -> None:
        is_given = self.runtime != "plain" or self.runtime_dtype is not None
        if is_given and self.suite == "precision":
            raise RecipeError("--suite precision takes every runtime in turn; leave --runtime and --runtime_dtype out")
        if is_given and self.generations is not None:
            raise RecipeError("--generations judges saved answers; leave --runtime and --runtime_dtype out")
        if self.runtime == "plain" and self.runtime_dtype == "int8":
            raise RecipeError("--runtime_dtype int8 needs --runtime fast: PyTorch computes in float32 or bfloat16")
        if self.device == "cuda" and (self.runtime == "fast" or self.suite == "precision"):
            raise RecipeError("--device cuda: the fast runtime computes on a CPU; take --device cpu")

    @property
    def computes_with(self) -> Runtime:
        return Runtime(self.runtime, self.runtime_dtype or ("int8" if self.runtime == "fast" else "float32"))

    @property
    def reads_data(self) -> bool:
        return self.suites != ("functional",)

    @property
    def suites(self) -> tuple[str, ...]:
        return OF_THE_MODEL if self.suite == "all" else (self.suite,)

    def at_most(self, number: int) -> int:
        """The number, or --limit where that is less."""
        return number if self.limit is None else min(number, self.limit)


@dataclass(frozen=True)
class Subject:
    """What is judged, and on what: no model with --generations, and what none of the suites asks for is empty."""

    model: PreTrainedModel
    sha256: str  # of the weights, which are large: read once
    tokenizer: PreTrainedTokenizerBase
    examples: list[Example]
    problems: list[Problem]
    generations: list[functional.Generation]


def main() -> None:
    recipe = recipes.parse(EvalRecipe, sys.argv[1:])
    if recipe.num_threads is not None:
        torch.set_num_threads(recipe.num_threads)
    check_out(recipe.out)
    subject = load(recipe)
    elixir: dict[str, str] = {}  # what judges is asked first, or none of the work begins
    if "functional" in recipe.suites:
        elixir = functional.check_judge(sandbox=not recipe.unsafe_no_sandbox)
    elif {"parse", "precision"} & set(recipe.suites):
        elixir = {"elixir": elixir_version()}

    results, samples, seconds = {}, {}, {}
    for name in recipe.suites:
        print(f"{name} ...", file=sys.stderr, flush=True)
        started = time.monotonic()
        results[name], samples[name] = SUITES[name](recipe, subject)
        seconds[name] = round(time.monotonic() - started, 1)

    record = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": report.command_line("eval.py", sys.argv[1:]),
        "model": describe_model(recipe, subject),
        "data": report.provenance(subject.examples, recipe.split) if subject.examples else None,
        "machine": report.machine(subject.model.device.type if subject.model else "cpu", torch.get_num_threads()),
        "versions": report.versions() | elixir,
        "settings": settings_of(recipe),
        "seconds": seconds,
        "results": results,
        "samples": {name: shown for name, shown in samples.items() if shown},
    }
    report.write_record(recipe.out, record)
    tables = (report.table(record), report.functional_tables(record), report.precision_table(record))
    print("\n\n".join(filter(None, tables)))
    print(json.dumps({**report.figures(record), "out": str(recipe.out)}))


def check_out(out: Path) -> None:
    """Raise RecipeError now, not after all the work, when the results could not be written."""
    if out.is_dir() or not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise RecipeError(f"--out {out} cannot be written; give a file in a folder one may write to")


def elixir_version() -> str:
    """Of the Elixir that judges. Raises MissingDependencyError when there is none that works."""
    with Toolchain(workers=1) as toolchain:
        return toolchain.elixir_version


def load(recipe: EvalRecipe) -> Subject:
    """The model on its device and the held-out files. Raises an ElixirCoderError for whichever cannot be used."""
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise RecipeError("--device cuda: torch sees no CUDA device; take --device cpu")
    problems = read_problems(recipe.tasks or OWN_SUITE) if "functional" in recipe.suites else []
    examples = with_text(read_shards(recipe.data, recipe.split)) if recipe.data and recipe.reads_data else []
    if recipe.generations is not None:
        generations = functional.read_generations(recipe.generations, problems[: recipe.limit], recipe.num_samples)
        if max(recipe.k) > 1 + max(each.sample for each in generations):
            raise RecipeError(f"--k {max(recipe.k)} needs as many answers to each task as --generations do not have")
        return Subject(None, "", None, examples, problems, generations)
    assert recipe.model is not None, "checked in the recipe"
    tokenizer = load_tokenizer(recipe.model)
    model = open_model(recipe.model, recipe.computes_with, tokenizer)
    limit = model.config.max_position_embeddings
    task_tokens = ("task_tokens",) if problems else ()
    for name in ("source_length", "target_length", "max_new_tokens", *task_tokens):
        if getattr(recipe, name) > limit:
            raise RecipeError(
                f"--{name} {getattr(recipe, name)} is more than the {limit} tokens that the model at {recipe.model} "
                "can take; ask for fewer"
            )
    sha256 = report.weights_sha256(recipe.model)
    if problems and recipe.resume:
        functional.check_resumable(beside(recipe.out, "generations"), problems, writer_of(recipe, sha256))
    may_be_cuda = recipe.runtime == "plain" and recipe.suite != "precision"
    cuda = recipe.device == "cuda" or (recipe.device == "auto" and may_be_cuda and torch.cuda.is_available())
    return Subject(model.to("cuda" if cuda else "cpu"), sha256, tokenizer, examples, problems, [])


def measure_bits(recipe: EvalRecipe, subject: Subject) -> tuple[dict[str, Any], list[Any]]:
    """Bits per byte of the model, of the 5-gram model and of xz, over all files and for each package."""
    tokenizer = subject.tokenizer
    examples = drawn(subject.examples, recipe.at_most(len(subject.examples)), recipe.seed)
    corpus = Corpus.of(examples, tokenizer)
    task = Complete(SpecialTokens.of(tokenizer), recipe.source_length, recipe.target_length)
    pad = tokenizer.pad_token_id
    bits = {"model": file_bits(subject.model, corpus, task, pad_token_id=pad, batch_size=recipe.batch_size)}
    sizes = np.array([len(example.code.encode()) for example in examples])
    baselines: dict[str, Any] = {}
    if recipe.baselines:
        assert recipe.data is not None, "checked in the recipe"
        train = Corpus.of(read_shards(recipe.data, "train"), tokenizer)
        ngrams = NgramModel(train, vocab_size=len(tokenizer), eos=tokenizer.eos_token_id)
        bits["five_gram"] = ngrams.file_bits(corpus)
        baselines["five_gram"] = {
            "bits_per_byte": float(bits["five_gram"].sum() / sizes.sum()),
            "smoothing": "interpolated modified Kneser-Ney",
            "train_tokens": len(train.tokens),
        }
        baselines["xz"] = {"bits_per_byte": xz_bits(examples) / int(sizes.sum()), "command": "xz -9e"}
    packages = np.array([example.package for example in examples])
    return {
        "bits_per_byte": float(bits["model"].sum() / sizes.sum()),
        "num_files": len(examples),
        "num_bytes": int(sizes.sum()),
        "num_tokens": len(corpus.tokens),
        **baselines,
        "packages": [
            {"package": str(package), "num_bytes": int(sizes[packages == package].sum())}
            | {
                name: float(of_file[packages == package].sum() / sizes[packages == package].sum())
                for name, of_file in bits.items()
            }
            for package in np.unique(packages)
        ],
    }, []


def drawn(examples: list[Example], number: int, seed: int) -> list[Example]:
    """So many of the files, at random, in the order they had; all where there are no more."""
    chosen = np.random.default_rng(seed).permutation(len(examples))[:number]
    return [examples[place] for place in sorted(chosen)]


def measure_infill(recipe: EvalRecipe, subject: Subject) -> tuple[dict[str, Any], list[Any]]:
    """Exact match and edit similarity over all holes and for each kind, and the first few holes."""
    holes, written = fill_holes(recipe, subject)
    places = {kind: [at for at, hole in enumerate(holes) if hole.kind == kind] for kind in infill.KINDS}
    kinds = {
        kind: asdict(infill.score([holes[at] for at in of_kind], [written[at] for at in of_kind]))
        for kind, of_kind in places.items()
        if of_kind
    }
    in_turn = sorted((rank, at) for of_kind in places.values() for rank, at in enumerate(of_kind))
    samples = [infill.sample(holes[at], written[at]) for _, at in in_turn[:NUM_SAMPLES]]
    return {"all": asdict(infill.score(holes, written)), "kinds": kinds}, samples


def fill_holes(recipe: EvalRecipe, subject: Subject) -> tuple[list[infill.Hole], list[Written]]:
    tokenizer = subject.tokenizer
    holes = infill.sample_holes(
        subject.examples,
        recipe.at_most(recipe.holes),
        fits=lambda text: len(encode_untrusted(tokenizer, text)) < recipe.max_new_tokens,
        seed=recipe.seed,
    )
    written = infill.fill(
        subject.model,
        tokenizer,
        holes,
        source_length=recipe.source_length,
        max_new_tokens=recipe.max_new_tokens,
        batch_size=recipe.batch_size,
    )
    return holes, written


def measure_parsing(recipe: EvalRecipe, subject: Subject) -> tuple[dict[str, Any], list[Any]]:
    """Share of functions that the parser accepts, the model's and the authors', and the model's first few."""
    prompts, written = complete_functions(recipe, subject)
    authors = [parsing.as_written(prompt, subject.tokenizer, recipe.max_new_tokens) for prompt in prompts]
    verdicts = parsing.judge([*prompts, *prompts], [*(each.text for each in written), *authors])
    of_model, of_authors = verdicts[: len(prompts)], verdicts[len(prompts) :]
    samples = [parsing.sample(*each) for each in zip(prompts[:NUM_SAMPLES], written, of_model)]
    return {"model": asdict(parsing.share(of_model)), "authors": asdict(parsing.share(of_authors))}, samples


def complete_functions(recipe: EvalRecipe, subject: Subject) -> tuple[list[parsing.Prompt], list[Written]]:
    prompts = parsing.sample_prompts(subject.examples, recipe.at_most(recipe.prompts), seed=recipe.seed)
    written = parsing.complete(
        subject.model,
        subject.tokenizer,
        prompts,
        source_length=recipe.source_length,
        max_new_tokens=recipe.max_new_tokens,
        batch_size=recipe.batch_size,
        temperature=recipe.temperature,
        top_p=recipe.top_p,
        seed=recipe.seed,
        is_constrained=recipe.grammar == "elixir",
    )
    return prompts, written


def measure_precision(recipe: EvalRecipe, subject: Subject) -> tuple[dict[str, Any], list[Any]]:
    """Each runtime against PyTorch in float32, token by token and in what it writes; a runtime that cannot be had here
    is named with the reason."""
    assert recipe.model is not None, "checked in the recipe"
    models, missing = {REFERENCE: subject.model}, {}
    for runtime in precision.COMPARED:
        try:
            models[runtime] = open_model(recipe.model, runtime, subject.tokenizer)
        except RecipeError as error:
            missing[str(runtime)] = str(error)
            print(error, file=sys.stderr, flush=True)
    examples = drawn(subject.examples, recipe.at_most(recipe.files), recipe.seed)
    corpus = Corpus.of(examples, subject.tokenizer)
    num_bytes = sum(len(example.code.encode()) for example in examples)
    token_by_token = precision.compare(
        models,
        corpus,
        Complete(SpecialTokens.of(subject.tokenizer), recipe.source_length, recipe.target_length),
        num_bytes=num_bytes,
        pad_token_id=subject.tokenizer.pad_token_id,
        batch_size=recipe.batch_size,
    )
    runtimes: list[dict[str, Any]] = []
    of_reference: list[str] = []
    for runtime, model in models.items():
        print(f"{runtime} writes ...", file=sys.stderr, flush=True)
        own = replace(subject, model=model)
        holes, filled = fill_holes(recipe, own)
        prompts, completed = complete_functions(recipe, own)
        texts = [each.text for each in (*filled, *completed)]
        of_reference = of_reference or texts
        verdicts = parsing.judge(prompts, [each.text for each in completed])
        runtimes.append(
            {
                **asdict(runtime),
                "weights_bytes": precision.weights_bytes(model),
                "tokens": asdict(token_by_token[runtime]),
                "same_text": sum(map(str.__eq__, texts, of_reference)) / len(texts),
                "parse": asdict(parsing.share(verdicts)),
                "fim": asdict(infill.score(holes, filled)),
            }
        )
    files = {"num_files": len(examples), "num_bytes": num_bytes, "num_texts": len(of_reference)}
    return {**files, "runtimes": runtimes, "missing": missing}, []


def measure_functional(recipe: EvalRecipe, subject: Subject) -> tuple[dict[str, Any], list[Any]]:
    """pass@k and what became of every answer, and the first few. Answers and verdicts are saved beside --out."""
    problems = subject.problems[: recipe.limit]
    generations = subject.generations
    if recipe.generations is None:
        with SavedRows(beside(recipe.out, "generations"), resume=recipe.resume) as saved:
            generations = functional.generate(
                subject.model,
                subject.tokenizer,
                problems,
                saved,
                writer_of(recipe, subject.sha256),
                num_samples=recipe.num_samples or 1,
                batch_size=recipe.batch_size,
            )
    with (
        Toolchain(
            workers=recipe.workers, timeout_s=recipe.timeout_s, sandbox=not recipe.unsafe_no_sandbox
        ) as toolchain,
        SavedRows(beside(recipe.out, "verdicts"), resume=recipe.resume) as saved,
    ):
        verdicts = functional.judge(problems, generations, toolchain, saved, timeout_s=recipe.timeout_s)
    by_id = {problem.id: problem for problem in problems}
    samples = [functional.sample(by_id[each.id], each, verdict) for each, verdict in zip(generations, verdicts)]
    column = str((generations[0].settings or {}).get("decoding", functional.UNCONSTRAINED))
    return {
        "tasks": {"name": recipe.tasks.name if recipe.tasks else "own", "sha256": sha256_of(problems)},
        "sandbox": not recipe.unsafe_no_sandbox,
        "columns": {column: functional.score(problems, generations, verdicts, recipe.k)},
    }, [sample for sample, each in zip(samples, generations) if each.sample == 0][:NUM_SAMPLES]


def beside(out: Path, name: str) -> Path:
    """Where the answers and verdicts of a run go: results.json -> results.generations.jsonl."""
    return out.with_suffix(f".{name}.jsonl")


def writer_of(recipe: EvalRecipe, sha256: str) -> functional.Writer:
    """Who answers the tasks, and how."""
    assert recipe.model is not None, "checked in the recipe"
    return functional.Writer(
        model={"name": name_of(recipe.model), "sha256": sha256},
        versions=report.versions(),
        seed=recipe.seed,
        source_length=recipe.source_length,
        max_new_tokens=recipe.task_tokens,
        temperature=recipe.temperature,
        top_p=recipe.top_p,
        decoding=functional.CONSTRAINED if recipe.grammar == "elixir" else functional.UNCONSTRAINED,
        runtime=None if recipe.computes_with == REFERENCE else str(recipe.computes_with),
    )


SUITES: dict[str, Callable[[EvalRecipe, Subject], tuple[dict[str, Any], list[Any]]]] = {
    "bits": measure_bits,
    "fim": measure_infill,
    "parse": measure_parsing,
    "functional": measure_functional,
    "precision": measure_precision,
}
OF_THE_MODEL = ("bits", "fim", "parse", "functional")  # all but what compares one model with itself


def describe_model(recipe: EvalRecipe, subject: Subject) -> dict[str, Any]:
    """tokens_seen: tokens with a loss, where the folder still has train.py's trainer_state.json. Saved answers say less
    of the model that wrote them."""
    folder = recipe.model
    if folder is None:
        assert recipe.generations is not None
        said = functional.model_of(recipe.generations)
        return {**said, "num_parameters": None, "runtime": None, "steps": None, "tokens_seen": None}
    progress = read_progress(folder) if (folder / "trainer_state.json").exists() else None
    return {
        "name": name_of(folder),
        "sha256": subject.sha256,
        "num_parameters": num_parameters(subject.model),
        "runtime": str(recipe.computes_with),
        "steps": progress and progress.step,
        "tokens_seen": progress and progress.tokens,
    }


def num_parameters(model: PreTrainedModel) -> int:
    """As the configuration has it: a model with the fast runtime has let its parameters go."""
    with torch.device("meta"):
        blank = type(model)(model.config)
    return sum(parameter.numel() for parameter in blank.parameters())


def name_of(folder: Path) -> str:
    return folder.name if folder.is_absolute() else str(folder)


def settings_of(recipe: EvalRecipe) -> dict[str, Any]:
    """The settings that decide the figures, ready for JSON."""
    names = (
        "suite split limit seed source_length target_length max_new_tokens holes prompts temperature top_p grammar "
        "batch_size files num_samples k task_tokens workers timeout_s"
    )
    return {name: getattr(recipe, name) for name in names.split()}


if __name__ == "__main__":
    sys.exit(exit_on_error(main))
