"""How many microseconds does the grammar add to one token, beside the model's own step and beside xgrammar?

    python benchmarks/bench_decoding.py [FOLDER...] [--parts start engine loop overlap xgrammar close] [--tokens 128]

The texts are the .ex and .exs files of each FOLDER, or the references of our own suite of problems.

    start       seconds until a grammar is ready, in a process that has the tokenizer and nothing of the grammar
    engine      the grammar alone, along the texts: may this token come (`allows`), take it (`consume`), all that may
                come (`mask`); the second time through a text, when the engine's lexer has seen it
    loop        inside `generate`: what the processor adds to a token, and the model's own step between two calls of it.
                The model is as large as named and has random weights; its scores are lifted so that it writes the
                texts, but at a share of the places (--wrong) another token comes first, as with a model that errs
    overlap     what `pick` and `prepare` add to a step of a decoder, greedy, where they run behind the step, and
                where `prepare` runs beside it. The step is a stand-in (--steps milliseconds): one thread or two, busy
                outside of Python's lock. Added is the median, over the tokens, of what the same token takes more than
                without a grammar
    xgrammar    the same subset of Elixir in both engines, with the same vocabulary: one mask, and what is accepted
    close       ending a text that was cut anywhere: milliseconds, and how often it ends within the budget

Printed are microseconds: the median, the 95th percentile and the most; for the loop also the seconds of all of
`generate` over those without a processor, with the spread of the rounds. With `--clock cpu` only this thread's work
counts, which a busy machine hardly lengthens. The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

sys.path.insert(0, str(Path(__file__).parents[1]))
from decoding_elixir_coder import ElixirGrammar, ElixirGrammarProcessor, GrammarError
from elixir_coder.checkpoint import load_tokenizer, new_model, preset_config
from elixir_coder.errors import InputError, exit_on_error
from elixir_coder.evaluation.problems import OWN_SUITE, read_problems
from engine_elixir_coder import vocabulary_of

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.thread_time}
ROOT = Path(__file__).parents[1]
PROMPT = "# Elixir\n"
Row = dict[str, float]
Verbs = tuple[Callable[[], Any], Callable[[int], bool]]  # compute a mask, take a token


def main() -> int:
    args = parse_args()
    torch.set_num_threads(args.threads)
    tokenizer = load_tokenizer(args.tokenizer)
    texts = read_texts(args.folders, args.seed)
    measure = {
        "start": start,
        "engine": engine,
        "loop": loop,
        "overlap": overlap,
        "xgrammar": beside_xgrammar,
        "close": close,
    }
    results = {part: measure[part](tokenizer, texts, args) for part in args.parts}
    settings = {
        name: getattr(args, name) for name in ("mode", "tokens", "wrong", "files", "rounds", "clock", "threads")
    }
    print(json.dumps({"benchmark": "decoding", **settings, **rounded(results)}))
    return 0


# --------------------------------------------------------------------------------------------------------- the start


def start(tokenizer: PreTrainedTokenizerBase, _texts: Sequence[str], args: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds from a tokenizer to the first token picked, part by part; nothing of it was done before."""
    clock = CLOCKS[args.clock]
    parts: dict[str, Callable[[], Any]] = {
        "import of llguidance": partial(__import__, "llguidance"),
        "vocabulary": partial(vocabulary_of, tokenizer, None),
        "its trie": lambda: vocabulary_of(tokenizer, None).tokenizer,
        "grammar": lambda: ElixirGrammar(tokenizer, mode=args.mode[0]),
        "processor and first token": lambda: ElixirGrammarProcessor(
            tokenizer, mode=args.mode[0], max_new_tokens=64, do_sample=False
        ).pick(0, [], torch.zeros(len(tokenizer))),
    }
    results = {}
    print(f"{'the start, ms':40} {'':>9}")
    for name, work in parts.items():
        began = clock()
        work()
        results[name] = 1e3 * (clock() - began)
        print(f"{name:40} {results[name]:9.1f}")
    print(f"{'all':40} {sum(results.values()):9.1f}")
    return results | {"all": sum(results.values())}


# ------------------------------------------------------------------------------------------------- the grammar alone


def engine(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], args: argparse.Namespace) -> dict[str, Any]:
    """Microseconds of each verb of a matcher along texts that the grammar accepts."""
    clock = CLOCKS[args.clock]
    results: dict[str, Any] = {}
    print(f"{'the grammar alone, µs':40} {'median':>9} {'95%':>9} {'most':>9}")
    for mode in args.mode:
        started = clock()
        grammar = ElixirGrammar(tokenizer, mode=mode)
        grammar.matcher()
        build_s = clock() - started
        spelled = accepted_ids(grammar, tokenizer, texts, args.files)
        seconds: dict[str, list[float]] = {"allows": [], "refuses": [], "consume": [], "mask": [], "copy": []}
        picks = random.Random(args.seed)
        for ids in spelled:
            for is_measured in (False, True):
                walk(grammar, ids[: args.tokens], seconds if is_measured else {}, clock, picks, len(tokenizer))
        results[mode] = {verb: show(f"{mode} {verb}", values) for verb, values in seconds.items() if values}
        results[mode]["build_s"] = build_s
    return results


def walk(
    grammar: ElixirGrammar,
    ids: Sequence[int],
    seconds: dict[str, list[float]],
    clock: Callable[[], float],
    picks: random.Random,
    num_ids: int,
) -> None:
    def timed(verb: str, work: Callable[[], Any]) -> Any:
        started = clock()
        result = work()
        if verb in seconds:
            seconds[verb].append(clock() - started)
        return result

    matcher = grammar.matcher()
    for place, index in enumerate(ids):
        timed("allows", partial(matcher.allows, index))
        other = picks.randrange(num_ids)
        if not matcher.allows(other):
            timed("refuses", partial(matcher.allows, other))
        if place % 4 == 0:  # a mask costs as much as many tokens
            timed("mask", matcher.mask)
        if place % 32 == 0:
            timed("copy", matcher.copy)
        timed("consume", partial(matcher.consume, index))


def accepted_ids(
    grammar: ElixirGrammar, tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], most: int
) -> list[list[int]]:
    """The ids of the first `most` texts that the grammar takes whole."""
    found = []
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        matcher = grammar.matcher()
        if len(ids) > 16 and all(matcher.consume(index) for index in ids):
            found.append(ids)
        if len(found) == most:
            break
    if not found:
        raise InputError("the grammar accepts none of the texts; name a folder with Elixir files")
    return found


# ------------------------------------------------------------------------------------------------------ in `generate`


class Script(LogitsProcessor):
    """Makes any model write a text: lifts the score of its next token, and now and then one token above that."""

    def __init__(self, ids: Sequence[int], prompt: int, wrong: float, num_ids: int, seed: int):
        picks = random.Random(seed)
        self.ids, self.prompt = ids, prompt
        self.wrong = [picks.randrange(num_ids) if picks.random() < wrong else None for _ in ids]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        place = input_ids.shape[1] - self.prompt
        scores = scores.clone()
        top = scores.max(dim=-1).values
        scores[:, self.ids[place]] = top + 20
        if (other := self.wrong[place]) is not None:
            scores[:, other] = top + 40
        return scores


class Stopwatch(LogitsProcessor):
    """Seconds within a processor at each step, and between its steps: those are the model's, and of the loop."""

    def __init__(self, inner: LogitsProcessor | None, clock: Callable[[], float]):
        self.inner, self.clock = inner, clock
        self.within: list[float] = []
        self.between: list[float] = []
        self.left: float | None = None

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        entered = self.clock()
        if self.left is not None:
            self.between.append(entered - self.left)
        if self.inner is not None:
            scores = self.inner(input_ids, scores)
        self.left = self.clock()
        self.within.append(self.left - entered)
        return scores


def llama(num_ids: int) -> PreTrainedModel:
    """As large as SmolLM2-135M, with random weights."""
    shape = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30}
    heads = {"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True}
    config = LlamaConfig(vocab_size=49_152, **shape, **heads, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    assert num_ids <= config.vocab_size
    return LlamaForCausalLM(config).eval()


def ours(num_ids: int) -> PreTrainedModel:
    return new_model(preset_config("tiny", vocab_size=num_ids, dropout=0.0)).eval()


MODELS = {"tiny": ours, "llama135m": llama}
# How the processor is made, and what `generate` is given. None builds a full mask at every step.
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "greedy": ({"do_sample": False}, {}),
    "greedy, a budget": ({"do_sample": False, "max_new_tokens": None}, {}),
    "greedy, full masks": ({"do_sample": None}, {}),
    "sampling": ({"do_sample": True}, {"do_sample": True, "top_k": 0}),
    "sampling, top_p 0.95": ({"do_sample": True, "top_p": 0.95}, {"do_sample": True, "top_k": 0, "top_p": 0.95}),
    "sampling, 0.8, top_p 0.95": (
        {"do_sample": True, "temperature": 0.8, "top_p": 0.95, "max_new_tokens": None},
        {"do_sample": True, "top_k": 0, "temperature": 0.8, "top_p": 0.95},
    ),
    "4 beams": ({"do_sample": False, "num_beams": 4}, {"num_beams": 4}),
}


def loop(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], args: argparse.Namespace) -> dict[str, Any]:
    """What the processor adds to one token inside `generate`, by model and way of decoding."""
    mode = args.mode[0]
    spelled = accepted_ids(ElixirGrammar(tokenizer, mode=mode), tokenizer, texts, args.files)
    scripts = [ids for ids in spelled if len(ids) > args.tokens] or sorted(spelled, key=len)[-1:]
    results: dict[str, Any] = {}
    for name in args.models:
        torch.manual_seed(args.seed)
        model = MODELS[name](len(tokenizer))
        print(f"\n{name + ': added to one token, µs':40} {'median':>9} {'95%':>9} {'most':>9}   of the model's step")
        for way in args.ways:
            results[f"{name}, {way}"] = added(model, tokenizer, scripts, mode, way, args)
    return results


def added(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    scripts: Sequence[Sequence[int]],
    mode: str,
    way: str,
    args: argparse.Namespace,
) -> dict[str, Any]:
    clock = CLOCKS[args.clock]
    options, settings = WAYS[way]
    prompt = tokenizer(PROMPT, return_tensors="pt", add_special_tokens=False)["input_ids"]
    begun = 1 if model.config.is_encoder_decoder else prompt.shape[1]
    within: list[float] = []
    medians, ratios = [], []
    for turn in range(args.rounds + 1):
        script = list(scripts[turn % len(scripts)][: args.tokens])
        steps = {}
        for is_constrained in (False, True):
            torch.manual_seed(args.seed + turn)
            inner = None
            if is_constrained:
                budget = {"max_new_tokens": len(script) + 64} if "max_new_tokens" in options else {}
                inner = ElixirGrammarProcessor(tokenizer, mode=mode, prefix=PROMPT, **(options | budget))
            watch = Stopwatch(inner, clock)
            wrong = args.wrong if is_constrained else 0.0
            processors = LogitsProcessorList([Script(script, begun, wrong, len(tokenizer), turn), watch])
            started = clock()
            model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=len(script),
                logits_processor=processors,
                **({"do_sample": False, "min_new_tokens": len(script)} | settings),
            )
            steps[is_constrained] = (clock() - started) / len(watch.within)
            if is_constrained and turn:
                within += watch.within
                medians.append(statistics.median(watch.within))
                ratios.append(statistics.median(watch.within) / statistics.median(watch.between))
        if turn:
            ratios[-1] = steps[True] / steps[False]
    row = show(way, within, end="   ")
    row |= {"step_us": 1e6 * steps[False], "loop_ratio": statistics.median(ratios)}
    row |= {"median_lowest": 1e6 * min(medians), "median_highest": 1e6 * max(medians)}
    print(
        f"{steps[False] * 1e6:9.0f} µs; the loop takes {row['loop_ratio']:.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    )
    return row


# --------------------------------------------------------------------------------------------- beside a decoder's step


class Step:
    """Stands for one step of a decoder: threads that are busy for some milliseconds, outside of Python's lock.

    They look for the first byte that is none of 32, one after the other: some 3 GB/s, which depends on nothing else.
    """

    MOST = 100_000_000  # bytes
    BYTES = bytes(range(1, 33))

    def __init__(self, milliseconds: float, num_threads: int):
        self.find = ctypes.CDLL(None).strspn
        self.find.argtypes, self.find.restype = [ctypes.c_void_p, ctypes.c_char_p], ctypes.c_size_t
        self.memory = ctypes.create_string_buffer(self.BYTES[:1] * self.MOST)
        self.size = 1_000_000
        self.go = [threading.Semaphore(0) for _ in range(num_threads)]
        self.begun, self.done = threading.Semaphore(0), threading.Semaphore(0)
        for number in range(num_threads):
            threading.Thread(target=self._work, args=(self.go[number],), daemon=True).start()
        for _ in range(6):
            took = statistics.median(self._seconds() for _ in range(21))
            self.size = min(self.MOST, int(self.size * 1e-3 * milliseconds / took))

    def _seconds(self) -> float:
        began = time.perf_counter()
        self.begin()
        self.finish()
        return time.perf_counter() - began

    def _work(self, go: threading.Semaphore) -> None:
        end = ctypes.addressof(self.memory) + self.MOST
        while True:
            go.acquire()
            self.begun.release()
            self.find(end - self.size, self.BYTES)
            self.done.release()

    def begin(self) -> None:
        for go in self.go:  # a native thread would need no lock of Python to begin, so wait until these have it no more
            go.release()
        for _ in self.go:
            self.begun.acquire()

    def finish(self) -> None:
        for _ in self.go:
            self.done.acquire()


def overlap(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], args: argparse.Namespace) -> dict[str, Any]:
    """What the grammar adds to a token of a decoder that computes while Python goes on."""
    spelled = accepted_ids(ElixirGrammar(tokenizer, mode=args.mode[0]), tokenizer, texts, args.files)
    scripts = [ids[: args.tokens] for ids in spelled]
    results: dict[str, Any] = {}
    print(f"\n{'added to one token, µs':40} {'step':>9} {'in turn':>9} {'of it':>6} {'beside':>9} {'of it':>6}")
    for milliseconds in args.steps:
        for num_threads in (1, 2):
            step = Step(milliseconds, num_threads)
            tokens: list[tuple[float, ...]] = []
            work: dict[str, list[float]] = {}
            for turn in range(args.rounds):
                for number, ids in enumerate(scripts):
                    seed = 1000 * turn + number
                    # token by token in turn, so that all of them meet the same neighbours
                    tokens += zip(*(steps_of(way, step, tokenizer, ids, args, seed, work) for way in TURNS))
            plain = 1e6 * statistics.median(token[0] for token in tokens)
            row = {"step_us": plain}
            print(f"a step of {milliseconds} ms, {num_threads} busy threads".ljust(40), f"{plain:9.0f}", end="")
            for place, way in enumerate(TURNS[1:], 1):
                row[way] = 1e6 * statistics.median(token[place] - token[0] for token in tokens)
                row[f"{way}_ratio"] = row[way] / plain
                print(f" {row[way]:9.0f} {100 * row[way] / plain:5.1f}%", end="")
            print()
            for verb, seconds in work.items():
                row |= {f"{verb}_{name}": value for name, value in show(f"    cpu of {verb}", seconds).items()}
            results[f"{milliseconds} ms, {num_threads} threads"] = row
    return results


TURNS = ("no grammar", "in turn", "beside")


def steps_of(
    way: str,
    step: Step,
    tokenizer: PreTrainedTokenizerBase,
    script: Sequence[int],
    args: argparse.Namespace,
    seed: int,
    work: dict[str, list[float]],
) -> Iterator[float]:
    """Seconds of each token of a text, from scores to scores; `work` gets this thread's own, by verb."""

    def timed(verb: str, *given: Any) -> Any:
        began = time.thread_time()
        result = getattr(processor, verb)(*given)
        work.setdefault(f"{verb} {way}", []).append(time.thread_time() - began)
        return result

    picks = random.Random(seed)
    processor = ElixirGrammarProcessor(tokenizer, mode=args.mode[0], max_new_tokens=len(script) + 64, do_sample=False)
    processor.begin(1)
    base = torch.randn(len(tokenizer), generator=torch.Generator().manual_seed(seed)).numpy()
    ids: list[int] = []
    for index in script:
        scores = base.copy()
        scores[index] = 20
        if picks.random() < args.wrong:
            scores[picks.randrange(len(scores))] = 40  # mostly refused
        began = time.perf_counter()
        if way == "no grammar":
            scores.argmax()
            step.begin()
        else:
            timed("pick", 0, ids, scores)
            step.begin()
        ids.append(index)
        if way == "beside":
            timed("prepare", [(0, ids)])
        step.finish()
        if way == "in turn":
            timed("prepare", [(0, ids)])
        yield time.perf_counter() - began


# ---------------------------------------------------------------------------------------------------- beside xgrammar

# Modules of functions of expressions, with the formatter's spaces. Both engines read the same rules; the words of the
# language are not kept from being names, since xgrammar has no "but not".
SUBSET_WORDS = {
    "NAME": "[a-z_] [a-zA-Z0-9_]*",
    "CAPITAL": "[A-Z] [a-zA-Z0-9]*",
    "NUMBER": "[0-9]+",
    "TEXT": r'"\"" [^"\\\n#]* "\""',
}
SUBSET_RULES = {
    "root": r'"defmodule " alias " do\n" function+ "end\n"',
    "function": r'"  def " NAME "(" (NAME (", " NAME)*)? ") do\n" line+ "  end\n"',
    "line": r'"    " (NAME " = ")? expression "\n"',
    "expression": r"operand (operator operand)*",
    "operator": '" + " | " - " | " * " | " == " | " <> " | " |> " | " && " | " || "',
    "operand": r'first ("." NAME arguments?)*',
    "first": r'NAME arguments? | alias | NUMBER | TEXT | ":" NAME | list | tuple | map | "(" expression ")"',
    "alias": r'CAPITAL ("." CAPITAL)*',
    "arguments": r'"(" items? ")"',
    "list": r'"[" items? "]"',
    "tuple": r'"{" items? "}"',
    "map": r'"%{" (pair (", " pair)*)? "}"',
    "pair": r'NAME ": " expression',
    "items": r'expression (", " expression)*',
}
SUBSET_TEXTS = [
    """defmodule Shop.Cart do
  def total(items, rate) do
    sum = Enum.reduce(items, 0, add)
    tax = sum * rate
    sum + tax |> Float.round(2)
  end
  def empty() do
    %{items: [], owner: nil, note: "nothing yet"}
  end
end
""",
    """defmodule Report do
  def line(name, count) do
    String.pad(name, 20) <> ": " <> Integer.to_string(count)
  end
  def status(response) do
    code = response.status
    Map.get(%{ok: 200, missing: 404}, :ok, {:error, "unknown", [code, 1 + 2 * 3]})
  end
end
""",
]


def beside_xgrammar(
    tokenizer: PreTrainedTokenizerBase, _texts: Sequence[str], args: argparse.Namespace
) -> dict[str, Any]:
    """One mask of each engine at every token of the subset's texts."""
    try:
        import xgrammar
    except ImportError:
        print("\nxgrammar is not installed, so nothing is compared with it: pip install xgrammar==0.2.8")
        return {}
    spelled = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in SUBSET_TEXTS]
    print(f"\n{'a subset of Elixir, one mask, µs':40} {'median':>9} {'95%':>9} {'most':>9}")
    results: dict[str, Any] = {}
    clock = CLOCKS[args.clock]
    ways: dict[str, Callable[[PreTrainedTokenizerBase], Verbs]] = {
        "llguidance": in_llguidance,
        "xgrammar": partial(in_xgrammar, xgrammar),
    }
    for name, prepare in ways.items():
        seconds, accepted = [], 0
        for ids in spelled:
            for turn in range(2):  # the first time fills caches
                fill_mask, take = prepare(tokenizer)
                taken = 0
                for index in ids:
                    started = clock()
                    fill_mask()
                    if turn:
                        seconds.append(clock() - started)
                    if not take(index):
                        break
                    taken += 1
            accepted += taken == len(ids)
        results[name] = show(name, seconds) | {"accepted": accepted, "texts": len(spelled)}
        print(f"    accepts {accepted} of {len(spelled)}")
    return results


_prepared: dict[str, Any] = {}  # one compiled grammar of each engine


def in_llguidance(tokenizer: PreTrainedTokenizerBase) -> Verbs:
    from llguidance import LLMatcher

    if "llguidance" not in _prepared:
        rules = {("start" if name == "root" else name): body for name, body in SUBSET_RULES.items()}
        words = {name: regular(body) for name, body in SUBSET_WORDS.items()}
        lark = "".join(f"{name}: {body}\n" for name, body in (rules | words).items())
        engine_of = ElixirGrammar(tokenizer).vocabulary.tokenizer
        _prepared["llguidance"] = LLMatcher(engine_of, LLMatcher.grammar_from_lark("%llguidance {}\n" + lark))
    matcher = _prepared["llguidance"].deep_copy()
    return matcher.compute_bitmask, matcher.consume_token


def regular(body: str) -> str:
    """One of the subset's words as a Lark regular expression."""
    return "/" + body.replace('"\\""', '"').replace(" ", "") + "/"


def in_xgrammar(xgrammar: Any, tokenizer: PreTrainedTokenizerBase) -> Verbs:
    if "xgrammar" not in _prepared:
        ebnf = "".join(f"{name} ::= {body}\n" for name, body in (SUBSET_RULES | SUBSET_WORDS).items())
        about = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
        _prepared["xgrammar"] = xgrammar.GrammarCompiler(about, max_threads=1).compile_grammar(ebnf)
        _prepared["bits"] = xgrammar.allocate_token_bitmask(1, len(tokenizer))
    matcher = xgrammar.GrammarMatcher(_prepared["xgrammar"])
    return partial(matcher.fill_next_token_bitmask, _prepared["bits"]), matcher.accept_token


# ------------------------------------------------------------------------------------------------------ forced closing


def close(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], args: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds to end a text that was cut at a random token, and the share that ends within the budget."""
    mode, picks, clock = args.mode[0], random.Random(args.seed), CLOCKS[args.clock]
    grammar = ElixirGrammar(tokenizer, mode=mode)
    seconds, lengths, failed = [], [], 0
    for ids in accepted_ids(grammar, tokenizer, texts, args.files):
        for _ in range(args.cuts):
            matcher = grammar.matcher()
            for index in ids[: picks.randrange(1, len(ids))]:
                matcher.consume(index)
            started = clock()
            try:
                written = matcher.close(args.budget)
            except GrammarError:
                failed += 1
                continue
            seconds.append(clock() - started)
            lengths.append(len(written))
            assert all(matcher.consume(index) for index in written)
            assert matcher.accepting()
    print(f"\n{'ending a cut text, µs':40} {'median':>9} {'95%':>9} {'most':>9}")
    row = show(f"at most {args.budget} tokens", seconds)
    longest, median = max(lengths, default=0), statistics.median(lengths or [0])
    print(f"    {failed} of {failed + len(seconds)} could not be ended; median {median:.0f} tokens, at most {longest}")
    return row | {"failed": failed, "median_tokens": median, "most_tokens": longest}


# ------------------------------------------------------------------------------------------------------ texts, words


def read_texts(folders: Sequence[Path], seed: int) -> list[str]:
    texts = list(files_of(folders)) if folders else list(references())
    random.Random(seed).shuffle(texts)
    return texts


def files_of(folders: Sequence[Path]) -> Iterator[str]:
    for folder in folders:
        paths = sorted(path for path in folder.rglob("*.ex*") if path.suffix in (".ex", ".exs") and path.is_file())
        if not paths:
            raise InputError(f"no .ex or .exs files in {folder}")
        for path in paths:
            yield path.read_bytes().decode("utf-8", errors="replace")


def references() -> Iterator[str]:
    for problem in read_problems(OWN_SUITE):
        if problem.reference:
            yield problem.reference
        yield problem.test_file


def show(name: str, seconds: Sequence[float], end: str = "\n") -> Row:
    values = sorted(1e6 * value for value in seconds)
    at = {"p50": values[len(values) // 2], "p95": values[int(0.95 * (len(values) - 1))], "most": values[-1]}
    print(f"{name:40} {at['p50']:9.1f} {at['p95']:9.1f} {at['most']:9.1f}", end=end)
    return at | {"count": len(values)}


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ["start", "engine", "loop", "overlap", "xgrammar", "close"]
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="Elixir files; default: our own suite")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--mode", nargs="+", choices=["strict", "accept"], default=["strict", "accept"])
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), help="of decoding, in the loop")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--tokenizer", type=Path, default=ROOT, metavar="DIR", help="default: this folder")
    parser.add_argument("--tokens", type=int, default=128, help="of each text")
    parser.add_argument("--files", type=int, default=20, help="texts to walk along")
    parser.add_argument("--wrong", type=float, default=0.05, help="share of places where another token comes first")
    parser.add_argument("--cuts", type=int, default=5, help="places at which each text is cut")
    parser.add_argument("--budget", type=int, default=64, help="tokens to end a cut text")
    parser.add_argument("--rounds", type=int, default=5, help="measured runs of `generate`")
    parser.add_argument("--steps", nargs="+", type=float, default=[0.5, 3.0, 8.0], help="ms, of the stand-in's")
    parser.add_argument("--threads", type=int, default=1, help="threads torch may use")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="seconds that count")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(exit_on_error(main))
