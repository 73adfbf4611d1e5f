"""What stands beside a figure so that it can be compared: the model, the data, the machine and the command."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from elixir_coder import __version__
from elixir_coder.errors import InputError
from elixir_coder.example import Example

_ABSOLUTE = re.compile(r"^(--\w+=)?(@?)/(?:[^/]+/)*(?=[^/])")  # of a word: what stands before a path's last part
_PARTS = {"date", "command", "model", "data", "machine", "versions", "results", "samples"}
_LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")


def command_line(script: str, words: Sequence[str]) -> str:
    """The command to type for the same figures. Of an absolute path only the last part is kept: the rest says where
    this machine keeps things, which is no one else's concern."""
    return shlex.join(["python", script, *(_ABSOLUTE.sub(r"\1\2", word) for word in words)])


def weights_sha256(folder: Path) -> str:
    """Of the weights file, or of all of them one after another in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def provenance(examples: Sequence[Example], split: str) -> dict[str, Any]:
    """Where held-out files come from: their packages with versions, and one checksum of all of their checksums."""
    files: Counter[tuple[str, str]] = Counter()
    sizes: Counter[tuple[str, str]] = Counter()
    for example in examples:
        files[example.package, example.version] += 1
        sizes[example.package, example.version] += len(example.code.encode())
    return {
        "split": split,
        "source": ", ".join(sorted({example.source for example in examples})),
        "num_files": len(examples),
        "num_bytes": sizes.total(),
        "sha256": hashlib.sha256("".join(example.sha256 for example in examples).encode()).hexdigest(),
        "packages": [
            {"package": package, "version": number, "num_files": count, "num_bytes": sizes[package, number]}
            for (package, number), count in sorted(files.items())
        ],
    }


def machine(device: str, num_threads: int) -> str:
    """The processor in words, without the machine's name."""
    return f"{_processor()}, {num_threads} of {os.cpu_count()} CPU threads" + (f", {device}" if device != "cpu" else "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Of elixir-coder, Python and what computes the figures."""
    libraries = {name: version(name) for name in _LIBRARIES}
    return {"elixir-coder": __version__, "python": platform.python_version(), **libraries}


def write_whole(path: Path, text: str) -> None:
    """Write a file, all of it or nothing. Raises InputError when that cannot be done."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write results as JSON. Raises InputError when that cannot be done."""
    write_whole(path, json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_record(path: Path) -> dict[str, Any]:
    """Read what `write_record` wrote. Raises InputError when there is no such file or it holds something else."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; write it with: python eval.py --out {path}") from error
    except ValueError as error:
        raise InputError(
            f"{path} is not JSON in UTF-8 ({error}); write it with: python eval.py --out {path}"
        ) from error
    if not isinstance(record, dict) or _PARTS - set(record) or not record["results"]:
        raise InputError(f"{path} has no results of eval.py in it; write it with: python eval.py --out {path}")
    return record


def figures(record: Mapping[str, Any]) -> dict[str, float]:
    """The few numbers that sum up a record, by name; only those of the suites that ran."""
    results = record["results"]
    found: dict[str, float] = {}
    if bits := results.get("bits"):
        found["bits_per_byte"] = bits["bits_per_byte"]
        found |= {name: bits[name]["bits_per_byte"] for name in ("five_gram", "xz") if name in bits}
    if fim := results.get("fim"):
        found["fim_exact_match"] = fim["all"]["exact_match"]
        found["fim_edit_similarity"] = fim["all"]["edit_similarity"]
    if parse := results.get("parse"):
        found["parse_accepted"] = parse["model"]["accepted"]
    for column, scored in results.get("functional", {}).get("columns", {}).items():
        found |= {f"pass_at_{k}_{column}": of_k["value"] for k, of_k in scored["pass_at_k"].items()}
    for runtime in results.get("precision", {}).get("runtimes", [])[1:]:  # the first is what they are compared with
        column = f"{runtime['name']}_{runtime['dtype']}"
        found |= {f"{name}_{column}": runtime["tokens"][name] for name in ("bits_change", "same_token")}
    return found


def table(record: Mapping[str, Any]) -> str:
    """A table of one row in Markdown: the model and its figures, a dash where a suite did not run."""
    tokens = record["model"]["tokens_seen"]
    got = figures(record)
    parameters = record["model"]["num_parameters"]
    cells = {
        "model": record["model"]["name"],
        "parameters": "–" if parameters is None else f"{parameters:,}",
        "tokens seen": "–" if tokens is None else f"{tokens:,}",
        "runtime": record["model"].get("runtime") or "–",
        "bits per byte": bits_cell(got.get("bits_per_byte")),
        "5-gram": bits_cell(got.get("five_gram")),
        "xz -9e": bits_cell(got.get("xz")),
        "FIM exact match": percent_cell(got.get("fim_exact_match")),
        "FIM edit similarity": percent_cell(got.get("fim_edit_similarity")),
        "parser accepts": percent_cell(got.get("parse_accepted")),
    }
    return _markdown([list(cells), list(cells.values())])


def functional_tables(record: Mapping[str, Any]) -> str:
    """Two tables in Markdown, pass@k with its intervals and how the answers ended, a row for each way of writing them;
    "" where the suite did not run."""
    columns = record["results"].get("functional", {}).get("columns", {})
    if not columns:
        return ""
    ks = list(dict.fromkeys(k for scored in columns.values() for k in scored["pass_at_k"]))
    rates = [["answers", "tasks", "of each", "solved at first", *(f"pass@{k}" for k in ks), "tokens", "seconds"]]
    classes = list(dict.fromkeys(outcome for scored in columns.values() for outcome in scored["outcomes"]))
    endings = [["answers", "passed", *classes, *_FORMS]]
    for column, scored in columns.items():
        first, of_k = scored["first_sample"], scored["pass_at_k"]
        cells = [percent_cell(of_k[k]["value"], of_k[k]["interval"]) if k in of_k else "–" for k in ks]
        counts = [number_cell(scored["num_tokens"]), number_cell(scored["generation_seconds"])]
        sizes = [str(scored["num_tasks"]), str(scored["samples_per_task"])]
        rates.append([column, *sizes, percent_cell(first["share"], first["interval"]), *cells, *counts])
        passed = sum(task["passed"] for task in scored["tasks"])
        ended = [scored["outcomes"].get(each, 0) for each in classes] + [
            scored["forms"].get(form, 0) for form in _FORMS
        ]
        endings.append([column, str(passed), *map(str, ended)])
    return "\n\n".join(map(_markdown, (rates, endings)))


def precision_table(record: Mapping[str, Any]) -> str:
    """A table in Markdown with a column for each runtime, the one that all are compared with first; "" where the suite
    did not run. Under it, the runtimes that could not be had."""
    results = record["results"].get("precision")
    if not results:
        return ""
    columns: list[dict[str, str]] = []
    for runtime in results["runtimes"]:
        tokens, parse, fim = runtime["tokens"], runtime["parse"], runtime["fim"]
        same_token = percent_cell(tokens["same_token"], tokens["same_token_interval"], digits=2)
        columns.append(
            {
                "": f"{runtime['name']} {runtime['dtype']}",
                "weights in memory, MB": f"{runtime['weights_bytes'] / 1e6:.1f}",
                "bits per byte": f"{tokens['bits_per_byte']:.4f}",
                "the same, against the first": f"{tokens['bits_change']:+.3%}",
                f"same most probable token, n = {tokens['num_tokens']:,}": same_token,
                "share of the five most probable": percent_cell(tokens["top_five"], digits=2),
                "bits lost a token (Kullback-Leibler)": f"{tokens['lost_bits']:.5f}",
                f"same text written, n = {results['num_texts']}": percent_cell(runtime["same_text"]),
                f"parser accepts, n = {parse['n']}": percent_cell(parse["accepted"], parse["accepted_interval"]),
                f"FIM exact match, n = {fim['n']}": percent_cell(fim["exact_match"], fim["exact_match_interval"]),
                "FIM edit similarity": percent_cell(fim["edit_similarity"], fim["edit_similarity_interval"]),
            }
        )
    rows = [[title, *(column[title] for column in columns)] for title in columns[0]]
    missing = [f"{runtime}: {reason}" for runtime, reason in results["missing"].items()]
    return "\n\n".join([_markdown(rows), *missing])


_FORMS = ("continuation", "module", "renamed", "unparsable")


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    heads, *others = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *others))


def number_cell(number: float | None) -> str:
    return "–" if number is None else f"{number:,.0f}"


def bits_cell(bits: float | None) -> str:
    return "–" if bits is None else f"{bits:.3f}"


def percent_cell(share: float | None, interval: Sequence[float] | None = None, digits: int = 1) -> str:
    if share is None:
        return "–"
    around = "" if interval is None else f" ({interval[0]:.{digits}%} to {interval[1]:.{digits}%})"
    return f"{share:.{digits}%}{around}"
