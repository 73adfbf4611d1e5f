"""Credo, the user's installed one: style and likely faults of Elixir source, as findings and as labels.

    credo = detect(project)
    with credo:
        credo.check_folder(project)                              # as `mix credo` would, with the project's settings
        credo.check_sources([("lib/a.ex", code)], all_checks=True)   # every check on each text by itself: labels

A check that crashes or hangs on a file costs that check on that file; so do a text that does not parse and one that
brings the virtual machine down. What was not judged is told in `Findings.notes`.

A project's `.credo.exs` is a program. It is read here as what it nearly always is, data; code in it, the `requires`
and custom checks are used for a project that the caller trusts (`trust=True`), and named in a note otherwise. Plugins,
which replace parts of Credo's own run, are never used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from elixir_coder.errors import InputError, MissingDependencyError
from elixir_coder.toolchain.checks.labels import credo_severity, rule
from elixir_coder.toolchain.checks.machine import (
    Findings,
    Linter,
    MachineDied,
    Note,
    in_order,
)
from elixir_coder.toolchain.finding import Finding

VARIABLE = "ELIXIR_CODER_CREDO"
INSTALL = (
    'add {:credo, "~> 1.7", only: [:dev, :test], runtime: false} to the deps of mix.exs and run: '
    f"mix do deps.get, deps.compile credo; or name an installed one in ${VARIABLE}"
)
# Credo keeps every text, line and syntax tree it has seen, until it is started again: about 100 KB each.
_AT_A_TIME = 2_000
# Over the time a file may take: the machine speaks up when its own clock runs out.
_GRACE_S = 15.0


class Credo(Linter):
    """An installed Credo. Its virtual machine starts with the first question and ends with `close` or the `with`."""

    tool, title = "credo", "Credo"
    variable, install = VARIABLE, INSTALL
    oldest = (1, 7)

    def check_names(self) -> list[str]:
        """The checks that this Credo brings along, sorted; those for other versions of Elixir are among them.

        Raises MissingDependencyError where it does not load.
        """
        with self._lock:
            self._machine.start()
            return [name for name, _, _ in self._machine.hello["checks"]]

    def check_folder(
        self,
        folder: Path,
        *,
        all_checks: bool = False,
        strict: bool | None = None,
        comments: bool = True,
        trust: bool = False,
        timeout_s: float = 20.0,
    ) -> Findings:
        """Judge a project, or any folder of Elixir files, as one: its files are compared with each other.

        all_checks: every check with its default parameters at any priority, whatever the project says. Otherwise
            Credo's and the project's settings hold (`.credo.exs` in the folder, its `config` and those above).
        strict: with the checks of low priority; None leaves it to the project.
        comments: whether `# credo:disable-...` is honoured. trust: whether the project's own code may be run.
        timeout_s: for all checks on one file.
        Paths of findings are relative to the folder. Raises InputError where that is none.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(f"{folder}: there is no such folder")
        root = str(folder.resolve())
        settings = _settings(root, all_checks, strict, comments, trust)
        with self._lock:
            notes = self._configure(settings)
            try:
                answer = self._machine.ask(
                    "folder",
                    {"folder": root, "timeout_ms": round(timeout_s * 1000)},
                    silence_s=3 * timeout_s + _GRACE_S,
                )
            except MachineDied as died:
                return self._one_by_one(folder, settings, timeout_s, f"{died}")
        return result_of(answer, notes)

    def check_sources(
        self,
        samples: Iterable[tuple[str, str]],
        *,
        all_checks: bool = False,
        strict: bool | None = None,
        comments: bool = True,
        project: Path | None = None,
        trust: bool = False,
        timeout_s: float = 20.0,
    ) -> list[Findings]:
        """Judge texts, each by itself: one result for each (path, code), in order.

        A sample is a project of one file: what other samples hold changes nothing. Its path decides which checks look
        at it (tests, scripts); "" is an ordinary module. project: the folder whose settings hold, if any.
        The rest is as in `check_folder`.
        """
        return list(
            self.each_source(
                samples, all_checks=all_checks, strict=strict, comments=comments, project=project, trust=trust,
                timeout_s=timeout_s,
            )
        )  # fmt: skip

    def each_source(
        self,
        samples: Iterable[tuple[str, str]],
        *,
        all_checks: bool = False,
        strict: bool | None = None,
        comments: bool = True,
        project: Path | None = None,
        trust: bool = False,
        timeout_s: float = 20.0,
    ) -> Iterator[Findings]:
        """`check_sources` for more texts than fit in memory: results come as they are ready, in order."""
        root = str(Path(project).resolve()) if project else None
        settings = _settings(root, all_checks, strict, comments, trust)
        waiting = iter(samples)
        while batch := list(islice(waiting, _AT_A_TIME)):
            with self._lock:
                results = self._judge(batch, settings, timeout_s)
            yield from results

    def _judge(self, samples: Sequence[tuple[str, str]], settings: dict[str, Any], timeout_s: float) -> list[Findings]:
        questions = [
            ("sample", {"path": path or "lib/sample.ex", "code": code, "timeout_ms": round(timeout_s * 1000)})
            for path, code in samples
        ]
        silence_s = 2 * timeout_s + _GRACE_S
        answers: dict[int, dict[str, Any]] = {}
        notes: list[Note] = []
        todo = list(range(len(questions)))
        while todo:
            notes = self._configure(settings)
            got = self._machine.ask_all(
                [questions[number] for number in todo], silence_s=silence_s, at_once=2 * self._machine.schedulers
            )
            for number, answer in zip(todo, got):
                if isinstance(answer, dict):
                    answers[number] = answer
                elif isinstance(answer, MachineDied):  # one of those that were under way did it: each once more, alone
                    self._configure(settings)
                    (answer,) = self._machine.ask_all([questions[number]], silence_s=silence_s, at_once=1)
                    died = {"issues": [], "notes": [{"kind": "died", "message": str(answer)}]}
                    answers[number] = answer if isinstance(answer, dict) else died
            todo = [number for number, answer in zip(todo, got) if answer is None]
        return [result_of(answers[number], notes, path) for number, (path, _) in enumerate(samples)]

    def _one_by_one(self, folder: Path, settings: dict[str, Any], timeout_s: float, reason: str) -> Findings:
        """What can be had of a folder that as a whole brings the machine down."""
        self._configure(settings)
        paths = self._machine.ask("files", {"folder": settings["folder"]}, silence_s=60.0)["files"]
        samples = [(path, (folder / path).read_bytes().decode("utf-8", "surrogateescape")) for path in paths]
        results = self._judge(samples, settings, timeout_s)
        why = Note(kind="died", message=f"each file was judged by itself and compared with no other: {reason}")
        configured = results[0].notes if results else ()
        notes = [why, *(note for note in configured if note.kind == "config")]
        notes += [note for result in results for note in result.notes if note.kind != "config"]
        return Findings(in_order(finding for result in results for finding in result), notes)

    def _configure(self, settings: dict[str, Any]) -> list[Note]:
        """Tell the machine what holds from now on, which also makes it forget the files it has seen."""
        if self._machine.is_worn:
            self._machine.close()
        answer: dict[str, Any] = {}
        for _attempt in range(2):  # whatever ended the machine since the last question may not end the next one
            try:
                answer = self._machine.ask("configure", settings, silence_s=60.0)
                break
            except MachineDied as died:
                answer = {"error": str(died)}
        if "error" in answer:
            raise MissingDependencyError(
                f"{self.installed.found_in}: Credo {self.version} does not work: {answer['error']}"
            )
        return [_note(each) for each in answer["notes"]]


detect, require = Credo.detect, Credo.require


def _settings(folder: str | None, all_checks: bool, strict: bool | None, comments: bool, trust: bool) -> dict[str, Any]:
    return {"folder": folder, "all_checks": all_checks, "strict": strict, "comments": comments, "trust": trust}


def result_of(answer: dict[str, Any], notes: Sequence[Note], path: str | None = None) -> Findings:
    """path: what the caller calls the one file that was judged."""
    if "error" in answer:
        return Findings((), [*notes, Note(kind="died", message=answer["error"], path=path or "")])
    findings = [finding_of(issue, path) for issue in answer["issues"]]
    return Findings(in_order(findings), [*notes, *(_note(each, path) for each in answer["notes"])])


def finding_of(issue: dict[str, Any], path: str | None = None) -> Finding:
    """An issue as credo.exs describes it: check, category, priority, message, path, line, column."""
    known = rule(issue["check"])
    return Finding(
        tool="credo",
        check=issue["check"],
        category=issue["category"],
        severity=credo_severity(issue["category"], issue["priority"]),
        message=issue["message"],
        path=issue["path"] if path is None else path,
        line=issue["line"] or None,
        column=issue["column"] or None,
        cwe=known.cwe if known else (),
    )


def _note(told: dict[str, Any], path: str | None = None) -> Note:
    told = told if path is None else told | {"path": path}
    return Note(**{name: told[name] for name in Note.__dataclass_fields__ if name in told})
