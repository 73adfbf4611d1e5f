"""How fast does a model write on this processor, beside its peers and beside what the memory allows?

    python benchmarks/bench_decode.py [--sizes base tiny small] [--batches 1 4 16] [--threads 1 2] [--parts ...]
                                      [--llama_cpp DIR] [--folders DIR] [--plots DIR]

    speed    256 tokens in, 128 out, greedy, for each number of rows in --batches: seconds end to end; milliseconds a
             token, which is what the 127 tokens after the first add; and how that compares with the time in which this
             processor reads the decoder's weights once at 8 bits
    edit     a function of Elixir is read, and written with a few tokens replaced, inserted and dropped (below)
    memory   what a fresh process holds before it loads a model, after that, and after it wrote once, in MB
    grammar  a step of the fast runtime with the grammar over one without: medians of all steps, greedy
    growth   seconds end to end by length of the source and by rows; --plots draws them

The runtimes (runtimes.py) take turns: each once in a round, on the same texts, which are new in every round and for
every measurement, so that no cache of what was read before helps anyone. A ratio is that of one round; printed are
medians of the rounds after a warm-up, with the lowest and the highest. On a busy machine, `--threads 1 --clock cpu`
counts the seconds that this process computed.

The edit. Random weights cannot copy, so every runtime is told what to write: it computes the scores of each token, as
it always does, and then takes the token that stands in the edited text. Nobody is spared the computing of a token; what
ours saves are passes, because it is given the unedited text as a prediction, verifies several tokens of it in one pass,
and computes anew from each place where the text differs. That is what a user's call does for a model that copies well.
CTranslate2 lets nobody choose a token and writes as many of its own.

The limit: bytes of the decoder's matrices and head at 8 bits, and of the keys and values of cross-attention at 8 bits,
read in this process with as many threads from a buffer of that size, by the faster of `torch.mv` and `torch.sum` on
float32 (a loop in C reads no faster). Scales, norms, and keys and values of what was written before are left out.

Targets are printed beside what was measured. The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from peers import CLOCKS, Spread, in_a_fresh_process, print_json, spread
from runtimes import RUNTIMES, SHIPPED, Fast, Folders, Generate, Rows, Writer, load, resident
from transformers import LogitsProcessor
from transformers.generation.streamers import BaseStreamer

sys.path.insert(0, str(Path(__file__).parents[1]))
from decoding_elixir_coder import ElixirGrammarProcessor
from elixir_coder.checkpoint import load_model, load_tokenizer
from elixir_coder.errors import exit_on_error
from elixir_coder.evaluation.problems import OWN_SUITE, read_problems

NUM_SOURCE, NUM_TARGET, NUM_WARM = 256, 128, 8  # tokens read, written, and written in the warm-up
REST_S = 0.02  # between two runtimes: threads of the one before, which wait for work, go to sleep
OURS, BASELINE = "ours fast int8", "BART float32"
ONNX = ("ONNX Runtime int8", "ONNX Runtime int8, bound")
GROWTH = (BASELINE, "BART int8", "ours plain", ONNX[1], "CTranslate2 int8", OURS)
LENGTHS, ROWS = (128, 256, 512, 1024, 2048, 4096), (1, 2, 4, 8, 16)
Clock = Callable[[], float]
EDITS = {"replaced": 3, "inserted": 2, "dropped": 1}


class Texts:
    """Sources that nobody has read before."""

    def __init__(self, tokenizer: Any, seed: int):
        self.tokenizer, self.random = tokenizer, random.Random(seed)
        suite = [tokenizer(problem.reference)["input_ids"] for problem in read_problems(OWN_SUITE)]
        self.elixir = sorted((ids for ids in suite if len(ids) <= NUM_SOURCE), key=len)[-12:]

    def sources(self, num_rows: int, num_tokens: int) -> Rows:
        first = 1 + max(self.tokenizer.all_special_ids)
        return [
            [*(self.random.randrange(first, len(self.tokenizer)) for _ in range(num_tokens - 1)), 2]
            for _ in range(num_rows)
        ]

    def edit(self, turn: int) -> tuple[Rows, Rows]:
        """A text of Elixir with a word of its own at its head, and the same with a few tokens changed."""
        (head, *_), *_ = self.sources(1, 2)
        source = [head, *self.elixir[-1 - turn % len(self.elixir)]]
        target = list(source)
        for way, count in EDITS.items():
            for _ in range(count):
                at = self.random.randrange(1, len(target) - 1)
                (other, *_), *_ = self.sources(1, 2)
                target[at : at + (way != "inserted")] = [] if way == "dropped" else [other]
        return [source], [target[:-1]]  # all but the end


# ------------------------------------------------------------------------------------------------------------- a round


def seconds_of(clock: Clock, work: Callable[..., Any], *args: Any) -> tuple[float, Any]:
    time.sleep(REST_S)
    started = clock()
    result = work(*args)
    return clock() - started, result


def write_in_turn(
    writers: Mapping[str, Writer], rounds: int, texts: Texts, clock: Clock, num_rows: int, limit: Limit | None
) -> dict[str, dict[str, list[float]]]:
    """By runtime, one number a round: `seconds` of it all and `step`, those of a token. The limit is one of them."""
    found: dict[str, dict[str, list[float]]] = {name: {"seconds": [], "step": []} for name in writers}
    reads: list[float] = []
    for turn in range(rounds + 1):
        one, many = (texts.sources(num_rows, NUM_SOURCE) for _ in range(2))
        wrote = {}
        for name, writer in writers.items():
            first_s, _ = seconds_of(clock, writer.write, one, 1)
            num_tokens = NUM_TARGET if turn else NUM_WARM
            whole_s, wrote[name] = seconds_of(clock, writer.write, many, num_tokens)
            assert {len(row) for row in wrote[name]} == {num_tokens}, name
            if turn:
                found[name]["seconds"].append(whole_s)
                found[name]["step"].append((whole_s - first_s) / (NUM_TARGET - 1))
        if limit and turn:
            reads.append(limit.seconds(clock))
        if {"ours plain", "ours fast float32"} <= set(wrote) and wrote["ours plain"] != wrote["ours fast float32"]:
            print("  in float32 the fast runtime wrote other tokens than the plain one")
    return found | ({"limit": {"seconds": [], "step": reads}} if limit else {})


def edit_in_turn(
    writers: Mapping[str, Writer], rounds: int, texts: Texts, clock: Clock
) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {name: {"seconds": [], "step": []} for name in writers}
    for turn in range(rounds + 1):
        sources, targets = texts.edit(turn)
        for name, writer in writers.items():
            whole_s, wrote = seconds_of(clock, writer.write, sources, len(targets[0]), targets)
            assert wrote == targets or "CTranslate2" in name, f"{name} did not write what it was told"
            if turn:
                found[name]["seconds"].append(whole_s)
                found[name]["step"].append(whole_s / len(targets[0]))
    return found


class Limit:
    """The bytes that a step has to read, and how long this processor takes to read as many."""

    readers: dict[str, Callable[[torch.Tensor], Any]] = {
        "torch.mv": lambda buffer: torch.mv(buffer, buffer[0]),
        "torch.sum": torch.sum,
    }

    def __init__(self, folders: Folders):
        model = load_model(folders.ours())
        config, decoder = model.config, model.model.decoder
        read_once = {
            id(part) for layer in decoder.layers for part in (layer.encoder_attn.k_proj, layer.encoder_attn.v_proj)
        }
        linear = [part for part in decoder.modules() if isinstance(part, torch.nn.Linear) and id(part) not in read_once]
        self.weight_bytes = sum(part.weight.numel() for part in (*linear, model.lm_head))
        heads, width = config.key_value_heads("decoder"), config.head_width("decoder")
        self.cross_bytes = 2 * config.decoder_layers * heads * width * NUM_SOURCE
        self.buffer = torch.zeros((self.weight_bytes + self.cross_bytes) // 4096, 1024)
        self.best = ""

    def seconds(self, clock: Clock) -> float:
        """Of reading the buffer once, by the faster reader: the median of reads without a pause between them."""
        found = {}
        for name, read in self.readers.items():
            times = [clock()]
            for _ in range(15):
                read(self.buffer)
                times.append(clock())
            found[name] = statistics.median(after - before for before, after in pairwise(times))
        self.best = min(found, key=found.__getitem__)
        return found[self.best]

    def __str__(self) -> str:
        weights, cross = self.weight_bytes / 1e6, self.cross_bytes / 1e6
        return f"{weights:.1f} MB of weights and {cross:.1f} MB of cross-attention a token"


# -------------------------------------------------------------------------------------------------------------- tables


def over(theirs: Sequence[float], ours: Sequence[float]) -> Spread:
    return spread(a / b for a, b in zip(theirs, ours))


def text_of(values: Spread, form: str = ".2f") -> str:
    low, median, high = values
    return f"{median:{form}} ({low:{form}} to {high:{form}})"


def show(title: str, found: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Print a table and return it: seconds, milliseconds a token, and how many times as fast as BART."""
    print(f"\n{title}\n  {'':26}{'seconds':>24}{'ms a token':>26}{'× BART float32':>26}{'step over limit':>25}")
    table: dict[str, Any] = {}
    for name, row in found.items():
        if name == "limit":
            table[name] = {"ms": spread(1e3 * each for each in row["step"])}
            print(f"  {name:26}{'':24}{text_of(table[name]['ms']):>26}")
            continue
        entry = table[name] = {"seconds": spread(row["seconds"]), "ms": spread(1e3 * each for each in row["step"])}
        line = f"  {name:26}{text_of(entry['seconds'], '.3f'):>24}{text_of(entry['ms']):>26}"
        if BASELINE in found:
            entry["times_bart"] = over(found[BASELINE]["seconds"], row["seconds"])
            line += f"{text_of(entry['times_bart']):>26}"
        if "limit" in found:
            entry["over_limit"] = over(row["step"], found["limit"]["step"])
            line += f"{text_of(entry['over_limit']):>25}"
        print(line, flush=True)
    return table


class Targets:
    """What was wanted, and whether it was reached."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def check(self, what: str, value: Spread, *, least: float | None = None, most: float | None = None) -> None:
        reached = value[1] >= least if least is not None else value[1] <= (most or 0.0)
        wanted = f"at least {least}" if least is not None else f"at most {most}"
        self.rows.append({"what": what, "value": value, "wanted": wanted, "reached": reached})
        print(f"  {'reached' if reached else 'missed '}  {what}: {text_of(value)}, wanted {wanted}", flush=True)


def check_speed(targets: Targets, where: str, size: str, found: dict[str, dict[str, list[float]]]) -> None:
    if OURS not in found:
        return
    ours, steps = found[OURS]["seconds"], found[OURS]["step"]
    if BASELINE in found and size in ("base", "tiny"):
        targets.check(f"{where}: {BASELINE} / ours, end to end", over(found[BASELINE]["seconds"], ours), least=6)
    if set(ONNX) <= set(found) and size in ("base", "tiny"):
        best = [min(pair) for pair in zip(*(found[name]["seconds"] for name in ONNX))]
        targets.check(f"{where}: the faster loop of ONNX Runtime / ours, end to end", over(best, ours), least=1.2)
    if size == "base" and "limit" in found:
        targets.check(f"{where}: a step / the limit", over(steps, found["limit"]["step"]), most=1.7)
    if "Llama float32" in found:
        targets.check(f"{where}: a step of Llama float32 / ours", over(found["Llama float32"]["step"], steps), least=6)


# ----------------------------------------------------------------------------------------------------- memory, grammar


def memory(names: Iterable[str], folders: Folders, threads: int) -> dict[str, Any]:
    print(f"\n{folders.size}: MB in a fresh process\n  {'':26}{'before':>9}{'loaded':>9}{'has written':>13}")
    table, where = {}, (folders.root.parent, folders.size, folders.llama_cpp)
    for name in names:
        before, loaded, written = table[name] = in_a_fresh_process(
            resident, name, *where, threads, NUM_SOURCE, NUM_TARGET
        )
        print(f"  {name:26}{before:9.0f}{loaded:9.0f}{written:13.0f}", flush=True)
    return table


class Lift(LogitsProcessor):
    """Lets any model write a text: its next token comes first."""

    def __init__(self, ids: Sequence[int]):
        self.ids = ids

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        scores[:, self.ids[input_ids.shape[1] - 1]] += 1000.0
        return scores


class Stopwatch(BaseStreamer):
    """When each token came."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: torch.Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass

    def steps(self) -> list[float]:
        return [after - before for before, after in pairwise(self.times[1:])]  # the start token is put too


def grammar(writer: Generate, texts: Texts, rounds: int, is_own: bool) -> dict[str, Any]:
    """Milliseconds of a step without and with the grammar, and their ratio by round, as the model writes Elixir.

    is_own: what it writes by itself, else given texts.
    """
    seconds: dict[bool, list[float]] = {False: [], True: []}
    ratios = []
    for turn in range(rounds + 1):  # each way first in every other round
        text = texts.elixir[-1 - turn % len(texts.elixir)][:NUM_TARGET]
        medians = {}
        for is_constrained in (False, True) if turn % 2 else (True, False):
            processors: list[LogitsProcessor] = [] if is_own else [Lift(text)]
            if is_constrained:
                processors.append(ElixirGrammarProcessor(texts.tokenizer, do_sample=False))
            ids, watch = torch.tensor([text]), Stopwatch()
            writer.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=len(text) - 1,
                min_new_tokens=len(text) - 1,
                do_sample=False,
                logits_processor=processors,
                streamer=watch,
                suppress_tokens=None,
                prompt_lookup_num_tokens=0,
            )
            medians[is_constrained] = statistics.median(watch.steps())
            seconds[is_constrained] += watch.steps() if turn else []
        if turn:
            ratios.append(medians[True] / medians[False])
    row: dict[str, Any] = {"ratio": spread(ratios)}
    for kind, name in ((False, "without"), (True, "with")):
        row[name] = {
            "median_ms": 1e3 * statistics.median(seconds[kind]),
            "mean_ms": 1e3 * statistics.mean(seconds[kind]),
        }
    return row


# -------------------------------------------------------------------------------------------------------------- growth


def growth(
    writers: Mapping[str, Writer], rounds: int, texts: Texts, clock: Clock
) -> dict[str, dict[str, dict[int, Spread]]]:
    """Seconds by runtime for each length of the source at one row, and for each number of rows at 256 tokens."""
    shapes = {"length": [(1, length) for length in LENGTHS], "rows": [(rows, NUM_SOURCE) for rows in ROWS]}
    found: dict[str, Any] = {by: {name: {} for name in writers} for by in shapes}
    for by, pairs in shapes.items():
        for rows, length in pairs:
            seconds: dict[str, list[float]] = {name: [] for name in writers}
            for turn in range(rounds + 1):
                sources = texts.sources(rows, length)
                for name, writer in writers.items():
                    whole_s, _ = seconds_of(clock, writer.write, sources, NUM_TARGET if turn else NUM_WARM)
                    seconds[name] += [whole_s] if turn else []
            for name, values in seconds.items():
                found[by][name][length if by == "length" else rows] = spread(values)
            medians = (f"{name} {statistics.median(values):.2f}" for name, values in seconds.items())
            print(f"  {rows} of {length}: {', '.join(medians)}", flush=True)
    return found


def draw(found: dict[str, dict[str, dict[int, Spread]]], where: str, folder: Path) -> None:
    """decode_by_length.png and decode_by_rows.png."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    folder.mkdir(parents=True, exist_ok=True)
    labels = {"length": "tokens of the source", "rows": "texts at once"}
    for by, rows in found.items():
        figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
        for name, points in rows.items():
            is_ours = name == OURS
            values = [median for _, median, _ in points.values()]
            axes.plot(list(points), values, marker="o", markersize=4, linewidth=2.6 if is_ours else 1.3, label=name)
        axes.set(xscale="log", yscale="log", xlabel=labels[by], ylabel="seconds end to end")
        axes.set_title(f"Reading {'256 tokens' if by == 'rows' else 'a source'} and writing 128 ({where})", fontsize=11)
        axes.set_xticks(list(points), [str(each) for each in points])
        axes.minorticks_off()
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)
        figure.savefig(folder / f"decode_by_{by}.png", dpi=100)
        pyplot.close(figure)


# ---------------------------------------------------------------------------------------------------------------- main


def measure(size: str, threads: int, args: argparse.Namespace, texts: Texts, targets: Targets) -> dict[str, Any]:
    torch.set_num_threads(threads)
    clock, folders = CLOCKS[args.clock], Folders(args.folders, size, args.llama_cpp)
    writers, missing = load(args.runtimes, folders, threads)
    where, results = f"{size}, {threads} thread{'s' if threads > 1 else ''}", {}
    for name, why in missing.items():
        print(f"  {size}: without {name}: {why}")
    for num_rows in args.batches if "speed" in args.parts else []:
        able = {name: each for name, each in writers.items() if num_rows <= each.max_rows}
        limit = Limit(folders) if num_rows == 1 else None
        rounds = args.rounds if num_rows == 1 else max(1, args.rounds // 3)
        found = write_in_turn(able, rounds, texts, clock, num_rows, limit)
        title = f"{where}, batch {num_rows}: {NUM_SOURCE} tokens in, {NUM_TARGET} out"
        results[f"batch_{num_rows}"] = show(title + (f"; {limit}, by {limit.best}" if limit else ""), found)
        if num_rows == 1:
            check_speed(targets, where, size, found)
    if "edit" in args.parts:
        able = {name: each for name, each in writers.items() if name != "Llama float32"}
        found = edit_in_turn(able, args.rounds, texts, clock)
        results["edit"] = show(f"{where}: a function of Elixir with {sum(EDITS.values())} edits", found)
        if OURS in found and BASELINE in found:
            ratio = over(found[BASELINE]["seconds"], found[OURS]["seconds"])
            targets.check(f"{where}: {BASELINE} / ours, editing", ratio, least=12)
    if "grammar" in args.parts and isinstance(writer := writers.get(OURS), Fast) and size != "base":
        for kind in ("its own", "given") if size == SHIPPED else ("given",):
            row = results[f"grammar, {kind} text"] = grammar(writer, texts, args.rounds, kind == "its own")
            for way in ("without", "with"):
                median, mean = row[way].values()
                print(f"  {where}, {kind} text, {way} the grammar: {median:.3f} ms a step, mean {mean:.3f}")
            targets.check(f"{where}: a step with the grammar / without, {kind} text", row["ratio"], most=1.03)
    if "growth" in args.parts and threads == max(args.threads) and size == args.sizes[0]:
        print(f"\n{where}: seconds to read so many texts of so many tokens, and write {NUM_TARGET} tokens after each")
        able = {name: each for name, each in writers.items() if name in GROWTH}
        results["growth"] = growth(able, max(1, args.rounds // 3), texts, clock)
        if args.plots:
            draw(results["growth"], where, args.plots)
    if "memory" in args.parts and threads == max(args.threads):
        results["memory_mb"] = memory(writers, folders, threads)
    return results


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--sizes", nargs="+", default=["tiny"], help="presets; the first one is drawn")
    words.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="threads that each runtime may use")
    words.add_argument("--batches", nargs="+", type=int, default=[1], help="texts at once")
    parts = ["speed", "edit", "memory", "grammar", "growth"]
    words.add_argument("--parts", nargs="+", choices=parts, default=parts[:4], help="what to measure")
    words.add_argument("--runtimes", nargs="+", choices=list(RUNTIMES), default=list(RUNTIMES), help="who takes part")
    words.add_argument("--rounds", type=int, default=7, help="measured turns of each; a third for several texts")
    words.add_argument(
        "--clock", choices=list(CLOCKS), default="wall", help="seconds that count, but for the grammar's"
    )
    words.add_argument("--folders", type=Path, help="where models and exports are kept (default: none are)")
    words.add_argument("--llama_cpp", type=Path, help="folder with libllama.so: see bench_runtimes.py")
    words.add_argument("--plots", type=Path, help="folder for the drawings of growth")
    args = words.parse_args()
    if args.clock == "cpu" and args.threads != [1]:
        words.error("--clock cpu adds up the seconds of all threads; use it with --threads 1")
    texts, targets = Texts(load_tokenizer(Path(__file__).parents[1]), seed=0), Targets()
    with tempfile.TemporaryDirectory() as temporary:
        args.folders = args.folders or Path(temporary)
        results = {
            size: {threads: measure(size, threads, args, texts, targets) for threads in args.threads}
            for size in args.sizes
        }
    print(f"\n{sum(row['reached'] for row in targets.rows)} of {len(targets.rows)} targets reached")
    for name in ("folders", "llama_cpp", "plots"):
        delattr(args, name)
    print_json("decode", args, {"targets": targets.rows, "sizes": results})
    return 0


if __name__ == "__main__":
    sys.exit(exit_on_error(main))
