"""How long does somebody wait for the first token: of a process that has just begun, and of one that is warm?

    python benchmarks/bench_start.py [--model FOLDER] [--clock cpu|wall] [--threads 1] [--rounds 5] [--rows NAME ...]

Each row is a process of its own, and the rows take turns. Cold is everything from the start of the process to the first
token that it wrote, by parts: the interpreter and what it imports, the model, the tokenizer, the grammar, the token.
Warm is the median of nine further requests in the same process, on texts that it has not seen. Where text is streamed,
the first token is the first piece of text, which is a word and may be more than one.

    bare        import torch and transformers, with the classes that load models; writes nothing
    T5          a model of transformers as large as ours with our tokenizer, as its users load it
    plain       ours the same way, from its folder: AutoModelForSeq2SeqLM, trust_remote_code
    fast        the same with runtime="fast"
    generator   ours by `elixir_coder.generation.generator.Generator`, as a program uses it, with the grammar
    command     as `elixir-coder generate` begins, with the grammar; "command, fast": with --runtime fast
    help        `elixir-coder --help`, from the start of the process to its end
    to the end  `elixir-coder generate`, likewise, with the last word of Elixir's parser

Ratios are those of one round, T5 over the row, so above 1 is faster than T5. Files are in the page cache: what a disk
adds is its own. `--clock cpu` counts the seconds that the process computed, so that a busy machine does not count; what
waits for another process, such as Elixir's, shows in `--clock wall` alone. The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from peers import Spread, print_json, spread, t5

sys.path.insert(0, str(Path(__file__).parents[1]))
from elixir_coder.checkpoint import load_config, load_tokenizer
from elixir_coder.errors import InputError, exit_on_error

ROOT = Path(__file__).parents[1]

_CLOCK = """
import json, sys, time

clock, started, folder = sys.argv[1], float(sys.argv[2]), sys.argv[3]
now = time.process_time if clock == "cpu" else (lambda: time.time() - started)
parts, before = {}, 0.0

def mark(part):
    global before
    after = now()
    parts[part], before = after - before, after

mark("interpreter")

def told(first):
    rest = first("def area(radius) do\\n")
    mark("first token")
    warm = []
    for number in range(9):
        list(rest)  # what was still being written
        before = now()
        rest = first(f"defmodule Stack{number} do\\n")
        warm.append(now() - before)
    list(rest)
    print("\\n" + json.dumps({"parts": parts, "cold": sum(parts.values()), "warm": warm}))
"""

_IMPORTS = """
import torch
mark("torch")
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, T5ForConditionalGeneration
mark("transformers")
"""

_AUTO = """
import torch
mark("torch")
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
mark("transformers")
model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=True, **OPTIONS).eval()
mark("model")
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
mark("tokenizer")

def first(text):
    inputs = tokenizer(f"<code>{text}</s>", add_special_tokens=False, return_tensors="pt", return_token_type_ids=False)
    model.generate(**inputs, max_new_tokens=1)
    return ()

told(first)
"""

_GENERATOR = """
import gc
from contextlib import nullcontext
from elixir_coder.generation.generator import Generator
from elixir_coder.generation.quick_start import quick_start
if QUICK:
    gc.disable()  # as quick_start does
import torch
mark("torch")
with quick_start() if QUICK else nullcontext():
    import elixir_coder.checkpoint
    mark("transformers")
    generator = Generator(folder, **OPTIONS)
    mark("model")  # and tokenizer
    grammar = generator.grammar_for("def area(radius) do\\n")
    mark("grammar")
if QUICK:
    gc.freeze()
    gc.enable()

def first(text):
    pieces = generator.stream(text, max_new_tokens=16, grammar=grammar)
    next(pieces)
    return pieces

told(first)
"""

_PROMPT = "defmodule Stack do\n"


def program(code: str, options: dict[str, Any], *, quick: bool = False) -> list[str]:
    return ["-c", f"{_CLOCK}\nOPTIONS, QUICK = {options!r}, {quick!r}\n{code}"]


PROGRAMS = {  # what tells its parts
    "bare": program(f"{_IMPORTS}\ntold(lambda text: ())", {}),
    "T5": program(_AUTO, {}),
    "plain": program(_AUTO, {}),
    "fast": program(_AUTO, {"runtime": "fast"}),
    "generator": program(_GENERATOR, {}),
    "command": program(_GENERATOR, {}, quick=True),
    "command, fast": program(_GENERATOR, {"runtime": "fast"}, quick=True),
}
COMMANDS = {  # what is taken as a whole
    "help": ["--help"],
    "to the end": ["generate", "--max_new_tokens", "1", _PROMPT],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT, metavar="FOLDER", help="default: the shipped model")
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu", help="seconds of what (default: cpu)")
    parser.add_argument("--threads", type=int, default=1, help="that torch computes with (default: 1)")
    parser.add_argument("--rounds", type=int, default=5, help="that count, after one that does not (default: 5)")
    parser.add_argument("--rows", nargs="+", choices=(*PROGRAMS, *COMMANDS), default=[*PROGRAMS, *COMMANDS])
    args = parser.parse_args()

    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in args.rows}
    with tempfile.TemporaryDirectory() as name:
        peer = save_peer(args.model, Path(name, "t5"))
        os.environ |= {"HF_MODULES_CACHE": name, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        for variable in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
            os.environ[variable] = str(args.threads)
        for turn in range(args.rounds + 1):  # the first copies and compiles what is kept
            for row, rounds in measured.items():
                told = run(row, peer if row == "T5" else args.model, args.clock)
                if turn:
                    rounds.append(told)
    results = {row: summary(rounds, measured.get("T5")) for row, rounds in measured.items()}
    show(results, args)
    args.model = str(args.model)
    print_json("start", args, results)
    return 0


def save_peer(model: Path, folder: Path) -> Path:
    """A T5 of that size in bfloat16, as ours is saved, beside our tokenizer."""
    import torch

    t5(load_config(model)).to(torch.bfloat16).save_pretrained(folder)
    load_tokenizer(model).save_pretrained(folder)
    return folder


def run(row: str, folder: Path, clock: str) -> dict[str, Any]:
    """What a process of that row told, or how long it took; InputError where it failed."""
    started, computed = time.time(), children_s()
    if row in PROGRAMS:
        arguments = [*PROGRAMS[row], clock, str(started), str(folder)]
    else:
        arguments = ["-m", "elixir_coder", *COMMANDS[row], *(["--model", str(folder)] if row != "help" else [])]
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        raise InputError(f"{row} failed: {done.stderr.strip().splitlines()[-1]}")
    if row in PROGRAMS:
        return json.loads(done.stdout.splitlines()[-1])
    return {"cold": children_s() - computed if clock == "cpu" else time.time() - started, "parts": {}, "warm": []}


def children_s() -> float:
    """Seconds that processes of ours computed which have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def summary(rounds: list[dict[str, Any]], peers: list[dict[str, Any]] | None) -> dict[str, Any]:
    """Seconds cold, as many times as fast as T5, milliseconds of each part and of a warm request."""
    ratios = [theirs["cold"] / ours["cold"] for ours, theirs in zip(rounds, peers or ())]
    return {
        "cold_s": spread(each["cold"] for each in rounds),
        "speed": spread(ratios) if ratios else None,
        "parts_ms": {
            part: statistics.median(1e3 * each["parts"][part] for each in rounds) for part in rounds[0]["parts"]
        },
        "warm_ms": spread(1e3 * statistics.median(each["warm"]) for each in rounds) if rounds[0]["warm"] else None,
    }


def show(results: dict[str, dict[str, Any]], args: argparse.Namespace) -> None:
    clock = "computed" if args.clock == "cpu" else "waited"
    print(f"seconds {clock} to the first token, {args.threads} thread(s), median of {args.rounds} [lowest-highest]\n")
    print(f"{'':14} {'cold':>18} {'x T5':>6} {'warm, ms':>18}  parts, ms")
    for row, each in results.items():
        parts = ", ".join(f"{part} {ms:.0f}" for part, ms in each["parts_ms"].items())
        ratio = f"{each['speed'][1]:.2f}" if each["speed"] else ""
        warm = told(each["warm_ms"], 1) if each["warm_ms"] and row != "bare" else ""
        print(f"{row:14} {told(each['cold_s'], 2):>18} {ratio:>6} {warm:>18}  {parts}")


def told(of: Spread, digits: int) -> str:
    lowest, median, highest = (f"{each:.{digits}f}" for each in of)
    return f"{median} [{lowest}-{highest}]"


if __name__ == "__main__":
    sys.exit(exit_on_error(main))
