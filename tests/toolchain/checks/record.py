"""Write down what the installed Credo and Sobelow answer on our texts, for the tests that run without them.

python -m tests.toolchain.checks.record
"""

import json
from pathlib import Path
from typing import Any

from elixir_coder.toolchain.checks import credo, sobelow
from tests.toolchain.checks.cases import EDGES, PROJECT, quality_samples, security_samples

RECORDED = Path(__file__).with_name("recorded")


def credo_answers(tool: credo.Credo) -> dict[str, Any]:
    """What the virtual machine says of each text when every check is on, without what differs from run to run."""
    samples = quality_samples() | EDGES
    machine = tool._machine
    tool._configure({"folder": None, "all_checks": True, "strict": None, "comments": True, "trust": False})
    answers = {}
    for name, (path, code) in samples.items():
        answer = machine.ask("sample", {"path": path, "code": code, "timeout_ms": 20_000}, silence_s=60)
        answers[name] = {
            "path": path,
            "issues": sorted(answer["issues"], key=lambda issue: json.dumps(issue, sort_keys=True)),
            "notes": answer["notes"],
        }
    return answers


def sobelow_findings(tool: sobelow.Sobelow, folder: Path) -> dict[str, Any]:
    """Findings as dictionaries: of each text, and of the project that is written to `folder`."""
    samples = security_samples()
    results = tool.check_sources(samples.values())
    found: dict[str, Any] = {name: [each.to_dict() for each in result] for name, result in zip(samples, results)}
    write(PROJECT, folder)
    return found | {"project": [each.to_dict() for each in tool.check_folder(folder)]}


def write(files: dict[str, str], folder: Path) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8", newline="")
    return folder


def main() -> None:
    import tempfile

    RECORDED.mkdir(exist_ok=True)
    with credo.require() as tool:
        _save("credo", tool.version, tool._machine, credo_answers(tool))
    with sobelow.require() as tool, tempfile.TemporaryDirectory() as folder:
        _save("sobelow", tool.version, tool._machine, sobelow_findings(tool, Path(folder)))


def _save(name: str, version: str, machine: Any, answers: dict[str, Any]) -> None:
    told = {"version": version, "elixir": machine.hello["elixir"], "answers": answers}
    lines = json.dumps(told, ensure_ascii=False, indent=1, sort_keys=True)
    (RECORDED / f"{name}.json").write_text(lines + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
