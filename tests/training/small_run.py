"""What training is tested on: a corpus of generated files, a tokenizer of 500 tokens, steps of a few milliseconds."""

import json
import random
from pathlib import Path

from safetensors.torch import load_file

from elixir_coder.data.shards import write_shards
from elixir_coder.example import Example, Label
from elixir_coder.recipe import TrainRecipe
from tests.evaluation.small import example_of, small_tokenizer
from tokenization_elixir_coder import save_tokenizer

__all__ = [
    "SHAPE",
    "example_of",
    "generated_file",
    "largest_difference",
    "log_of",
    "small_recipe",
    "weights_of",
    "write_inputs",
]

SHAPE = ("d_model=32", "encoder_layers=1", "decoder_layers=1", "encoder_ffn_dim=64", "decoder_ffn_dim=64")


def generated_file(number):
    rng = random.Random(number)
    functions = "".join(
        f"  def f{rng.randrange(99)}(a, b), do: a + b * {rng.randrange(999)}\n" for _ in range(rng.randrange(1, 9))
    )
    code = f"defmodule M{number} do\n{functions}end\n"
    return Example.of(code, path=f"lib/m{number}.ex", package="m", version="1", licence="MIT", source="folder")


def exercise(number):
    """A program that is asked for, with its tests, and what is to be said of it."""
    name = f"f{number}"
    shared = {"path": f"{name}.ex", "package": "m", "version": "1", "licence": "MIT", "source": "synthesis"}
    code = f"defmodule A do\n  def {name}(a), do: a + {number}\nend\n"
    nesting = Label(tool="credo", check="Credo.Check.Refactor.Nesting", line=2)
    layout = Label(tool="credo", check="Credo.Check.Readability.SpaceAfterCommas", line=2)
    yield Example.of(
        code,
        kind="exercise",
        instruction=f"Add {number}.",
        explanation=f"It adds {number} to a.",
        tests=f"assert A.{name}(1) == {number + 1}\n",
        test_type="exunit" if number % 2 else "doctest",
        **shared,
    )
    yield Example.of(
        code,
        kind="violation",
        before=code.replace("a + ", "a +"),
        labels=(),
        before_labels=(nesting if number % 3 == 0 else layout,),
        checked_by=("credo 1.7.19",),
        diagnosis="It is wrong.",
        **shared,
    )


def write_inputs(folder):
    """FOLDER/corpus and FOLDER/tokenizer, and FOLDER/exercises for what needs examples."""
    exercises = {
        split: (example for number in numbers for example in exercise(number))
        for split, numbers in {"train": range(40), "validation": range(40, 46)}.items()
    }
    write_shards(folder / "exercises", exercises, {})
    files = {"train": map(generated_file, range(30)), "validation": map(generated_file, range(30, 32))}
    write_shards(folder / "corpus", files, {})
    (folder / "tokenizer").mkdir()
    save_tokenizer(small_tokenizer(), folder / "tokenizer")
    return folder


def small_recipe(inputs, out, dropout=0.0, **changes):
    settings = {
        "data": (inputs / "corpus",),
        "tokenizer": inputs / "tokenizer",
        "out": Path(out),
        "steps": 20,
        "config_overrides": (*SHAPE, f"dropout={dropout}"),
        "source_length": 32,
        "target_length": 32,
        "batch_tokens": 400,
        "learning_rate": 1e-3,
        "warmup_steps": 2,
        "log_every": 1,
        "eval_every": 5,
        "eval_rows": 2,
        "save_every": 5,
        "num_threads": 1,
    }
    return TrainRecipe(**settings | changes)


def weights_of(folder):
    return load_file(folder / "model.safetensors")


def largest_difference(one, other):
    """Between the weights of two model folders."""
    first, second = weights_of(one), weights_of(other)
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def log_of(out, *leave_out):
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in each.items() if name not in leave_out} for each in records]
