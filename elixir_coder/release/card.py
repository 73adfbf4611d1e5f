"""The model card's figures, written by a command from what eval.py measured, never by hand.

`elixir-coder card --results results.json` replaces two parts of README.md and leaves every other byte as it is: the
`model-index` in the front matter, which the Hub reads, and what stands between `<!-- results:start -->` and
`<!-- results:end -->`, which people read. Doing it twice changes nothing more.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elixir_coder.errors import InputError
from elixir_coder.evaluation.report import bits_cell, percent_cell, read_record, weights_sha256, write_whole

NUM_SAMPLES = 3
MAX_LINES = 20
_FRONT_MATTER = re.compile(r"\A---\r?\n(?P<yaml>.*?^)---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_MODEL_INDEX = re.compile(r"^model-index:.*\n(?:[ \t-].*\n|[ \t]*\n(?=[ \t-]))*", re.MULTILINE)


def add_parser(subparsers: Any) -> None:
    """Add `elixir-coder card`."""
    parser = subparsers.add_parser(
        "card",
        help="write measured results into the model card",
        description="Write what eval.py measured into the model card: its model-index and its table of results.",
    )
    parser.add_argument("--results", type=Path, required=True, help="what `python eval.py --out` wrote")
    parser.add_argument("--readme", type=Path, default=Path("README.md"), help="the card (default: README.md)")
    parser.add_argument("--name", help="the model's name in the model-index (default: the one there, or elixir-coder)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replace the two parts of the card, or raise InputError and leave it as it is."""
    record = read_record(args.results)
    if record["data"] is None:
        raise InputError(
            f"{args.results} has no figures on held-out files, which the card shows; run eval.py with --data"
        )
    measured, here = record["model"]["sha256"], args.readme.absolute().parent
    if any(here.glob("*.safetensors")) and weights_sha256(here) != measured:
        raise InputError(
            f"{args.results} was measured with other weights than those beside {args.readme} "
            f"(SHA-256 {measured[:12]}...); run eval.py on these"
        )
    try:
        before = args.readme.read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(f"cannot read {args.readme}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{args.readme} is not UTF-8: {error}") from error
    after = filled(before, record, name=args.name)
    if after != before:
        write_whole(args.readme, after)
    print(f"{args.readme}: {'updated' if after != before else 'nothing to change'}")
    return 0


def filled(card: str, record: dict[str, Any], *, name: str | None = None) -> str:
    """The card with the results of a record in it.

    Raises InputError where the card has no front matter or no markers, and where the Hub could not read it.
    """
    import yaml
    from huggingface_hub import ModelCard
    from huggingface_hub.repocard_data import eval_results_to_model_index
    from huggingface_hub.utils import yaml_dump

    front = _FRONT_MATTER.match(card)
    if front is None:
        raise InputError("the card does not begin with YAML between two lines of ---")
    newline = "\r\n" if card.startswith("---\r\n") else "\n"
    try:
        fields = yaml.safe_load(front["yaml"]) or {}
        name = name or next((each["name"] for each in fields.get("model-index") or []), "elixir-coder")
    except (yaml.YAMLError, AttributeError, TypeError, KeyError) as error:
        raise InputError(f"the card's front matter cannot be read: {error}") from error
    dataset = next(iter(fields.get("datasets") or []), f"{record['data']['source']}-elixir")
    results = eval_results(record, dataset)
    index = yaml_dump({"model-index": eval_results_to_model_index(name, results)}).replace("\n", newline)
    old = _MODEL_INDEX.search(front["yaml"])
    at, until = old.span() if old else (len(front["yaml"]),) * 2
    first = front.start("yaml")
    new = card[: first + at] + index + card[first + until :]
    new = between_markers(new, "results", "\n".join(body(record)))
    read_back: Any = ModelCard(new).data
    assert (read_back.model_name, read_back.eval_results) == (name, results), "the Hub reads something else"
    return new


def eval_results(record: dict[str, Any], dataset: str) -> list[Any]:
    """The figures as huggingface_hub's EvalResult, for the model-index. dataset: its name on the Hub."""
    from huggingface_hub import EvalResult

    data, results = record["data"], record["results"]
    figures: list[tuple[str, str, float]] = []
    if bits := results.get("bits"):
        figures.append(("bits_per_byte", "bits per byte", bits["bits_per_byte"]))
    if fim := results.get("fim"):
        score = fim["all"]
        figures.append(("exact_match", f"FIM exact match, n = {score['n']}", score["exact_match"]))
        figures.append(("edit_similarity", f"FIM edit similarity, n = {score['n']}", score["edit_similarity"]))
    if parse := results.get("parse"):
        share = parse["model"]
        figures.append(("parse_rate", f"functions that Elixir's parser accepts, n = {share['n']}", share["accepted"]))
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=dataset,
            dataset_name=f"held-out packages ({_packages(data)})",
            dataset_split=data["split"],
            metric_type=kind,
            metric_name=title,
            metric_value=round(value, 4),
        )
        for kind, title, value in figures
    ]


def body(record: dict[str, Any]) -> Iterator[str]:
    """The lines between the markers: figures, how they were measured, and completions that nobody chose."""
    model, data, results = record["model"], record["data"], record["results"]
    yield f"On {data['split']} files of packages that training saw nothing of: {_packages(data)}."
    yield ""
    if bits := results.get("bits"):
        columns = {"this model": bits["bits_per_byte"]}
        columns |= {title: bits[key]["bits_per_byte"] for key, title in _BASELINES.items() if key in bits}
        yield f"| bits per byte (less is better) | {' | '.join(columns)} |"
        yield "|---|" + "---:|" * len(columns)
        size = f"{bits['num_bytes']:,} bytes in {bits['num_files']} files"
        yield f"| {size} | {' | '.join(map(bits_cell, columns.values()))} |"
        yield ""
    shares = list(_shares(results))
    if shares:
        yield "| | share | 95% interval | n |"
        yield "|---|---:|---:|---:|"
        for title, share, (low, high), n in shares:
            yield f"| {title} | {percent_cell(share)} | {percent_cell(low)} to {percent_cell(high)} | {n} |"
        yield ""
    seen = "" if model["tokens_seen"] is None else f" after {model['tokens_seen']:,} tokens of training"
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    yield f"{model['num_parameters']:,} parameters{seen}; weights of SHA-256 `{model['sha256'][:16]}`."
    yield f"Measured on {record['date']} with `{record['command']}` on {record['machine']} ({versions})."
    yield ""
    samples = record.get("samples", {}).get("parse", [])[:NUM_SAMPLES]
    if samples:
        yield f"The first {len(samples)} functions that it was given to complete, whatever came out:"
        yield ""
        for sample in samples:
            yield from _shown(sample)


_BASELINES = {"five_gram": "5-gram of the same tokens", "xz": "`xz -9e` of the same files"}
_HOLES = {"line": "one line", "lines": "two to eight lines", "span": "any run of characters"}


def _shares(results: dict[str, Any]) -> Iterator[tuple[str, float, tuple[float, float], int]]:
    if fim := results.get("fim"):
        for kind, score in fim["kinds"].items():
            title = f"holes filled exactly: {_HOLES[kind]}"
            yield title, score["exact_match"], score["exact_match_interval"], score["n"]
        score = fim["all"]
        title = "edit similarity of what was filled in, mean of all holes"
        yield title, score["edit_similarity"], score["edit_similarity_interval"], score["n"]
    if parse := results.get("parse"):
        for key, title in (("model", "completed functions that Elixir's parser accepts"), ("authors", _AUTHORS)):
            share = parse[key]
            yield title, share["accepted"], share["accepted_interval"], share["n"]


_AUTHORS = "the same for what the authors wrote, cut off at the same number of tokens"


def _shown(sample: dict[str, Any]) -> Iterator[str]:
    text = (sample["function"] or sample["head"] + sample["completion"]).rstrip()
    if len(lines := text.splitlines()) > MAX_LINES:
        text = "\n".join([*lines[:MAX_LINES], f"# ... and {len(lines) - MAX_LINES} lines more"])
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    verdict = "accepted" if sample["is_accepted"] else "not accepted"
    yield f"`{sample['path']}` of {sample['package']}, {verdict}:"
    yield ""
    yield f"{fence}elixir"
    yield text
    yield fence
    yield ""


def _packages(data: dict[str, Any]) -> str:
    return ", ".join(f"{each['package']} {each['version']}" for each in data["packages"])


def between_markers(page: str, name: str, text: str) -> str:
    """The page with `text` between its lines `<!-- NAME:start -->` and `<!-- NAME:end -->`, in the page's line ends.

    Raises InputError unless the page has one of each, in this order.
    """
    first, last = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    before, start, rest = page.partition(first)
    _, end, after = rest.rpartition(last)
    if not (start and end) or first in rest:
        raise InputError(f"the card needs one line {first} and after it one line {last}; the {name} go between them")
    newline = "\r\n" if rest.startswith("\r\n") else "\n"
    lines = text.rstrip().replace("\n", newline)
    return f"{before}{first}{newline}{lines}{newline}{last}{after}"
