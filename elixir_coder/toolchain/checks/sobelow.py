"""Sobelow, the user's installed one: vulnerabilities of Elixir source and of Phoenix projects.

    sobelow = detect(project)
    with sobelow:
        sobelow.check_folder(project)                     # as `mix sobelow` would
        sobelow.check_sources([("lib/a.ex", code)])       # each text by itself: labels

Sobelow scans a project as a whole and stops at its first crash. Here it is asked again for half of its rules, then for
half of the files, until the one rule on the one file is found that has to be left out; `Findings.notes` names it.

Sobelow evaluates nothing of a project, and neither do we: `.sobelow-conf` is data. It is asked in its private mode,
without a look for updates.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from elixir_coder.errors import InputError, MissingDependencyError
from elixir_coder.toolchain.checks.labels import rule, sobelow_severity
from elixir_coder.toolchain.checks.machine import (
    Findings,
    Linter,
    MachineDied,
    Note,
    in_order,
)
from elixir_coder.toolchain.finding import Finding

VARIABLE = "ELIXIR_CODER_SOBELOW"
INSTALL = (
    "run: mix escript.install hex sobelow; or add "
    '{:sobelow, "~> 0.14", only: [:dev, :test], runtime: false} to the deps of mix.exs and run: '
    f"mix do deps.get, deps.compile sobelow; or name an installed one in ${VARIABLE}"
)
_AT_A_TIME = 200  # a crash costs a few more scans of them all
_SILENCE_S = 30.0  # the machine speaks up every second
_PROJECT = 'defmodule Sample.MixProject do\n  def project do\n    [app: :sample, version: "0.1.0"]\n  end\nend\n'
# What Sobelow prints for a rule that it calls otherwise on its command line.
_PRINTED = {"Vuln.Plug": "Vuln.CookieRCE"}


class Sobelow(Linter):
    """An installed Sobelow. Its virtual machine starts with the first question and ends with `close` or the `with`."""

    tool, title = "sobelow", "Sobelow"
    variable, install = VARIABLE, INSTALL
    oldest = (0, 13)

    def check_names(self) -> list[str]:
        """The rules that this Sobelow brings along, sorted. Raises MissingDependencyError where it does not load."""
        with self._lock:
            self._machine.start()
            return sorted(self._rules())

    def check_folder(self, folder: Path, *, comments: bool | None = None, timeout_s: float = 120.0) -> Findings:
        """Judge a Phoenix project, each application of an umbrella, or any folder of Elixir files.

        Without a `mix.exs` the files are judged one by one, and what concerns a project (its configuration, its
        dependencies) is not. comments: whether `# sobelow_skip` and `.sobelow-skips` are honoured; None leaves it to
        the project. timeout_s: for one scan of the whole.
        Paths of findings are relative to the folder. Raises InputError where that is none.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(f"{folder}: there is no such folder")
        root = folder.resolve()
        if not (root / "mix.exs").is_file():
            return self._loose_files(root, comments, timeout_s)
        apps = sorted(path.parent for path in root.glob("apps/*/mix.exs")) or [root]
        findings: list[Finding] = []
        notes: list[Note] = []
        with self._lock:
            for app in apps:
                ours, more = self._project(app, root, comments, timeout_s)
                findings += ours
                notes += more
        return Findings(in_order(findings), notes)

    def check_sources(
        self, samples: Iterable[tuple[str, str]], *, comments: bool = False, timeout_s: float = 60.0
    ) -> list[Findings]:
        """Judge texts, each by itself: one result for each (path, code), in order.

        Every text is judged as if it lay in `lib`, also what Sobelow would not look at there (scripts, tests, mix
        tasks); a path like `config/prod.exs` makes it a configuration, `*.html.heex` and `*.html.eex` a template.
        comments: whether `# sobelow_skip` is honoured. timeout_s: for one scan of up to 200 texts.
        """
        return list(self.each_source(samples, comments=comments, timeout_s=timeout_s))

    def each_source(
        self, samples: Iterable[tuple[str, str]], *, comments: bool = False, timeout_s: float = 60.0
    ) -> Iterator[Findings]:
        """`check_sources` for more texts than fit in memory: results come as they are ready, in order."""
        waiting = iter(samples)
        while batch := list(islice(waiting, _AT_A_TIME)):
            with self._lock:
                results = self._judge(batch, comments, timeout_s)
            yield from results

    def _rules(self) -> list[str]:
        """By the names that `--ignore` takes."""
        return [_PRINTED.get(name, name) for name, _ in self._machine.hello["checks"]]

    # ----------------------------------------------------------------------------------------------------- projects

    def _loose_files(self, root: Path, comments: bool | None, timeout_s: float) -> Findings:
        paths = [path for path in sorted(root.rglob("*.ex")) if not _UNREAD & set(path.relative_to(root).parts)]
        samples = [
            (path.relative_to(root).as_posix(), path.read_bytes().decode("utf-8", "surrogateescape")) for path in paths
        ]
        results = self.check_sources(samples, comments=bool(comments), timeout_s=timeout_s)
        why = Note(kind="scope", message="there is no mix.exs: the files were judged one by one, without a project")
        notes = [why, *(note for result in results for note in result.notes)]
        return Findings(in_order(finding for result in results for finding in result), notes)

    def _project(
        self, app: Path, root: Path, comments: bool | None, timeout_s: float
    ) -> tuple[list[Finding], list[Note]]:
        answer = self._ask("configuration", {"folder": str(app)})
        options, notes = answer["options"], list[Note]()
        if answer.get("unusable"):
            path = (app / ".sobelow-conf").relative_to(root).as_posix()
            notes.append(Note(kind="config", path=path, message="it is no keyword list; it is not used"))
        skip = bool(options.get("skip")) if comments is None else comments
        scan = _Scan(self._ask, app, _listed(options.get("ignore")), _listed(options.get("ignore_files")), timeout_s)
        scan.arguments += ["--skip"] if skip else []
        for name in ("threshold", "router"):
            if isinstance(options.get(name), str) and options[name]:
                scan.arguments += [f"--{name}", options[name]]
        told, more = scan.run(self._rules())
        prefix = app.relative_to(root)
        findings = [finding_of(each, (prefix / _below(app, each["path"])).as_posix()) for each in told]
        notes += [_moved(note, (prefix / note.path).as_posix() if note.path else "") for note in more]
        files = [path for path in scan.files if path.suffix in (".ex", ".exs")]
        for path, line, column, message in self._ask("parse", {"files": list(map(str, files))})["errors"]:
            notes.append(_unparsable(Path(path).relative_to(root).as_posix(), line, column, message))
        return findings, notes

    # ------------------------------------------------------------------------------------------------------ samples

    def _judge(self, samples: Sequence[tuple[str, str]], comments: bool, timeout_s: float) -> list[Findings]:
        found: list[list[Finding]] = [[] for _ in samples]
        notes: list[list[Note]] = [[] for _ in samples]
        ordinary = [number for number, (path, _) in enumerate(samples) if not _SPECIAL.search(path)]
        special = [number for number, (path, _) in enumerate(samples) if _SPECIAL.search(path)]
        for numbers in ([ordinary] if ordinary else []) + [[number] for number in special]:
            root = Path(tempfile.mkdtemp(prefix="elixir-coder-sobelow-")).resolve()
            try:
                self._batch(root, {number: samples[number] for number in numbers}, found, notes, comments, timeout_s)
            finally:
                shutil.rmtree(root, ignore_errors=True)
        return [Findings(in_order(each), more) for each, more in zip(found, notes)]

    def _batch(
        self,
        root: Path,
        samples: dict[int, tuple[str, str]],
        found: list[list[Finding]],
        notes: list[list[Note]],
        comments: bool,
        timeout_s: float,
    ) -> None:
        """Scan some samples as one project, each in a folder of its own, and deal out what is found."""
        (root / "mix.exs").write_text(_PROJECT, encoding="utf-8")
        places = {(root / _place(number, path)): number for number, (path, _) in samples.items()}
        for place, number in places.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(samples[number][1].encode("utf-8", "surrogatepass"))
        (root / "lib").mkdir(exist_ok=True)
        errors = self._ask("parse", {"files": [str(place) for place in places if place.suffix in (".ex", ".exs")]})
        for file, line, column, message in errors["errors"]:
            number = places[Path(file)]
            notes[number].append(_unparsable(samples[number][0], line, column, message))
            Path(file).write_bytes(b"")  # nothing to be found in it, and nothing to crash on
        scan = _Scan(self._ask, root, [], [], timeout_s)
        scan.arguments += ["--skip"] if comments else []
        told, more = scan.run(self._rules())
        only = next(iter(samples)) if len(samples) == 1 else None  # what concerns the project concerns it
        for each in told:
            owner = places.get(root / _below(root, each["path"]), only)
            if owner is not None:
                found[owner].append(finding_of(each, samples[owner][0]))
        for note in more:
            owner = places.get(root / note.path, only) if note.path else only
            for concerned in samples if owner is None else [owner]:
                notes[concerned].append(_moved(note, samples[concerned][0]))

    def _ask(self, op: str, args: dict[str, Any]) -> dict[str, Any]:
        """An answer, which says `crashed` where there is none."""
        if self._machine.is_worn:
            self._machine.close()
        for _attempt in range(2):  # whatever ended it before, or beside it, may not end the next one
            try:
                answer = self._machine.ask(op, args, silence_s=_SILENCE_S)
                break
            except MachineDied as died:
                answer = {"crashed": str(died), "died": True}
        if "error" in answer:
            answer = {"crashed": answer["error"]}
        if op != "scan" and "crashed" in answer:
            raise MissingDependencyError(
                f"{self.installed.found_in}: Sobelow {self.version} does not work: {answer['crashed']}"
            )
        return answer


detect, require = Sobelow.detect, Sobelow.require


class _Scan:
    """One project, scanned as often as it takes to leave out what crashes."""

    def __init__(
        self,
        ask: Callable[[str, dict[str, Any]], dict[str, Any]],
        root: Path,
        ignored_rules: list[str],
        ignored_files: list[str],
        timeout_s: float,
    ):
        self.arguments = ["--root", str(root), "--private", "--no-config", "--format", "quiet"]
        self.files = [
            path
            for pattern in ("lib/**/*.ex", "web/**/*.ex", "**/*.html.heex", "**/*.html.eex", "config/*.exs")
            for path in sorted(root.glob(pattern))
            if not _UNREAD & set(path.relative_to(root).parts)
        ]
        self._ask, self._root, self._timeout_ms = ask, root, round(timeout_s * 1000)
        self._ignored_rules, self._ignored_files = ignored_rules, ignored_files
        self._rules: list[str] = []
        self._notes: list[Note] = []

    def run(self, rules: list[str]) -> tuple[list[dict[str, Any]], list[Note]]:
        """What the rules find, as sobelow.exs describes it, and what could not be judged."""
        self._rules, self._notes = rules, []
        files = self.files
        answer = self._scan(rules, files)
        if "crashed" in answer and "crashed" in self._scan([], files):  # not a rule: what it reads beforehand
            _, bad = self._halve_files([], files)
            files = [path for path in files if path not in bad]
            answer = self._scan(rules, files)
        told = self._halve_rules(rules, files) if "crashed" in answer else answer["findings"]
        unique = {tuple(sorted(each.items())): each for each in told}
        return list(unique.values()), self._notes

    def _halve_rules(self, rules: list[str], files: list[Path]) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = []
        half = max(len(rules) // 2, 1)
        for some in filter(None, (rules[:half], rules[half:])):
            answer = self._scan(some, files)
            if "crashed" not in answer:
                told += answer["findings"]
            elif len(some) > 1:
                told += self._halve_rules(some, files)
            else:
                told += self._halve_files(some, files)[0]
        return told

    def _halve_files(self, rules: list[str], files: list[Path]) -> tuple[list[dict[str, Any]], list[Path]]:
        """Findings in the files that do not crash, and those that do, which are noted down."""
        answer = self._scan(rules, files)
        if "crashed" not in answer:
            return answer["findings"], []
        if len(files) > 1:
            if len(files) == len(self.files) and "crashed" in (alone := self._scan(rules, [])):
                self._note(rules, "", alone)  # whatever the files are
                return [], list(files)
            half = len(files) // 2
            first, second = self._halve_files(rules, files[:half]), self._halve_files(rules, files[half:])
            return first[0] + second[0], first[1] + second[1]
        self._note(rules, files[0].relative_to(self._root).as_posix() if files else "", answer)
        return [], list(files)

    def _note(self, rules: list[str], path: str, answer: dict[str, Any]) -> None:
        kind = "died" if answer.get("died") else "timeout" if answer.get("timeout") else "check_crashed"
        check = rules[0] if rules else ""
        self._notes.append(Note(kind=kind, check=check, path=path, message=answer["crashed"]))

    def _scan(self, rules: list[str], files: list[Path]) -> dict[str, Any]:
        chosen = set(files)
        without = [*self._ignored_rules, *(name for name in self._rules if name not in rules)]
        unseen = [*self._ignored_files, *(str(path) for path in self.files if path not in chosen)]
        arguments = list(self.arguments)
        arguments += ["--ignore", ",".join(without)] if without else []
        arguments += ["--ignore-files", ",".join(unseen)] if unseen else []
        return self._ask("scan", {"arguments": arguments, "timeout_ms": self._timeout_ms})


def finding_of(told: dict[str, Any], path: str) -> Finding:
    """A finding as sobelow.exs describes it: type, confidence, line, column, function, variable."""
    check, _, what = told["type"].partition(":")
    check = _PRINTED.get(check.strip(), check.strip())
    known = rule(check)
    details = [
        f"`{told['variable']}`" if told["variable"] else "",
        f"in `{told['function']}`" if told["function"] else "",
    ]
    where = ", ".join(filter(None, details))
    return Finding(
        tool="sobelow",
        check=check,
        category=check.partition(".")[0],
        severity=sobelow_severity(told["confidence"]),
        message=what.strip() + (f" ({where})" if where else ""),
        path=path,
        line=told["line"],
        column=told["column"],
        cwe=known.cwe if known else (),
    )


_UNREAD = frozenset(("_build", "deps", "node_modules", ".elixir_ls"))
# Configuration and templates concern a project as a whole, so that they get one each.
_SPECIAL = re.compile(r"(^|/)config/[^/]+\.exs$|\.html\.h?eex$")


def _place(number: int, path: str) -> str:
    """Where a sample lies in its project. Its own name is kept: Sobelow knows controllers and templates by it."""
    name = re.sub(r"[^\w.-]", "_", path.rpartition("/")[2], flags=re.ASCII) or "sample.ex"
    if re.search(r"(^|/)config/[^/]+\.exs$", path):
        return f"config/{name}"
    if not _SPECIAL.search(path):
        name = re.sub(r"\.exs?$", "", name) + ".ex"
    return f"lib/s{number}/{name}"


def _below(root: Path, path: str) -> str:
    """`path`, as Sobelow prints it, relative to the project."""
    return Path(path).relative_to(root).as_posix() if Path(path).is_relative_to(root) else path.lstrip("/")


def _unparsable(path: str, line: int | None, column: int | None, message: str) -> Note:
    return Note(kind="unparsable", path=path, line=line, column=column, message=message)


def _moved(note: Note, path: str) -> Note:
    return Note(**note.to_dict() | {"path": path})


def _listed(value: Any) -> list[str]:
    """A list of words, which `.sobelow-conf` may hold as one string with commas."""
    words = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    return [word for word in words if isinstance(word, str) and word]
