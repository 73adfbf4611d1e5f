"""Run every program of a draft, and make examples of what did as the draft says.

One job of the toolchain judges many drafts (judge.ex): it compiles the reference, evaluates what stands between `@@`,
formats everything, compiles the tests once and runs them by ExUnit on the reference, the variants and the faulty
programs. Where a job does not come to its end, its halves are judged, and the draft that is to blame is dropped.

    one draft -> exercise: the reference, with the first phrasing and the first faulty program (`before`)
                 exercise: the reference again for each further phrasing that a faulty program is left for
                 exercise: each variant, with a phrasing of its own
                 clarification: for each reading, the question asked and answered in `turns`
                 dialogue: for each follow-up, in `turns`

All examples of a draft are in one split; a program whose shape belongs to another one is left out.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from elixir_coder.data.synthesis.diversity import shape, split_of
from elixir_coder.data.synthesis.draft import MARK, Draft
from elixir_coder.example import Example, Turn
from elixir_coder.toolchain.toolchain import Toolchain

VERSION = "1.0"
PACKAGE = "synthesis"
LICENCE = "Apache-2.0"

_JUDGE = Path(__file__).with_name("judge.ex")
_RUN = 'ElixirCoder.Synthesis.Judge.run("""\n{}\n""")\n'
_MARKED = re.compile(f"{MARK}(.*?){MARK}", re.DOTALL)
_OUTPUT = re.compile(r"<judged>(.*)</judged>", re.DOTALL)
_TIMEOUT_S = 1_800.0  # of one job; a draft alone has a tenth
_MAX_EXERCISES = 3
_MAX_CODE = 6_000  # characters: longer than anything a family writes on purpose
_SPEC = re.compile(r"^\s*@spec (.*(?:\n\s{8,}.*)*)", re.MULTILINE)

Line = tuple[str, ...]


@dataclass(kw_only=True)
class _Set:
    """What was said of a reference and its programs. key of a program: its role and number, e.g. `variant0`."""

    code: str = ""
    tests: str = ""
    num_tests: int = 0
    failure: str = ""  # the reason that the reference was dropped, "" for none
    detail: str = ""
    texts: dict[str, str] = field(default_factory=dict)
    programs: dict[str, tuple[str, str, str]] = field(default_factory=dict)  # outcome, code, message


class Verifier:
    """Judges drafts on one virtual machine: `with Verifier() as verifier: verifier.examples(drafts, dropped)`."""

    def __init__(self, toolchain: Toolchain | None = None) -> None:
        self._toolchain = toolchain or Toolchain(workers=1, timeout_s=_TIMEOUT_S)
        self._judge = _JUDGE.read_text(encoding="utf-8")

    def __enter__(self) -> Verifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._toolchain.close()

    def examples(self, drafts: Sequence[Draft], dropped: Counter[str]) -> list[Example]:
        """What came of the drafts, in their order. What is dropped is counted by its reason."""
        found: list[Example] = []
        for draft, judged in zip(drafts, self.judge(drafts)):
            found += examples_of(draft, judged, dropped)
        return found

    def judge(self, drafts: Sequence[Draft]) -> list[dict[str, _Set]]:
        """For each draft its sets: `main`, `reading0`, ..., `follow_up0`, ...; none where it ended the job."""
        if not drafts:
            return []
        lines = [line for number, draft in enumerate(drafts) for line in _lines(number, draft)]
        # As a test job: ExUnit starts anew for each, and nothing of the last one's is left in its servers.
        args = {
            "files": [["judge.ex", self._judge]],
            "tests": [["run.exs", _RUN.format("\n".join(lines))]],
            "guard": False,
        }
        timeout_s = _TIMEOUT_S if len(drafts) > 1 else _TIMEOUT_S / 10
        result, _ = self._toolchain.submit("test", args, evaluates=True, timeout_s=timeout_s)
        if match := _OUTPUT.search(str(result.get("output", ""))):
            return _read(gzip.decompress(base64.b64decode(match[1])), len(drafts))
        if len(drafts) == 1:
            return [{}]
        half = (len(drafts) + 1) // 2
        return [*self.judge(drafts[:half]), *self.judge(drafts[half:])]


def _lines(number: int, draft: Draft) -> Iterator[str]:
    """A draft as the judge reads it."""

    def line(word: str, *texts: str) -> str:
        return " ".join([str(number), word, *(base64.b64encode(text.encode()).decode() for text in texts)])

    def one_set(
        name: str, code: str, tests: str, texts: dict[str, str], programs: list[tuple[str, str, str]]
    ) -> Iterator[str]:
        yield line("reference", name, code)
        marked = dict.fromkeys(
            each
            for text in (code, tests, *texts.values(), *(text for _, _, text in programs))
            for each in _MARKED.findall(text)
        )
        yield from (line("value", each) for each in marked)
        yield from (line("text", key, text) for key, text in texts.items())
        yield line("tests", tests)
        yield from (line("program", key, role, text) for key, role, text in programs)

    texts = {f"instruction{at}": text for at, text in enumerate(draft.instructions)} | {
        "explanation": draft.explanation
    }
    programs = [(f"variant{at}", "same", text) for at, text in enumerate(draft.variants)]
    programs += [(f"broken{at}", "other", broken.code) for at, broken in enumerate(draft.broken)]
    yield from one_set("main", draft.code, draft.tests, texts, programs)
    if draft.ambiguity:
        for at, reading in enumerate(draft.ambiguity.readings):
            others = [
                (f"reading{to}", "other", other.code) for to, other in enumerate(draft.ambiguity.readings) if to != at
            ]
            yield from one_set(f"reading{at}", reading.code, reading.tests, {}, others)
    for at, follow_up in enumerate(draft.follow_ups):
        yield from one_set(f"follow_up{at}", follow_up.code, follow_up.tests, {"reply": follow_up.reply}, [])


def _read(packed: bytes, num_drafts: int) -> list[dict[str, _Set]]:
    judged: list[dict[str, _Set]] = [defaultdict(_Set) for _ in range(num_drafts)]
    at = 0
    while at < len(packed):
        end = packed.index(b"\n", at)
        number, word, *sizes = packed[at:end].decode().split(" ")
        at = end + 1
        found = []
        for size in map(int, sizes):
            found.append(packed[at : at + size].decode())
            at += size
        name, *texts = found
        one = judged[int(number)][name]
        match word:
            case "reference":
                one.code, one.tests, one.num_tests = texts[0], texts[1], int(texts[2])
            case "filled":
                one.texts[texts[0]] = texts[1]
            case "program":
                one.programs[texts[0]] = (texts[1], texts[2], texts[3])
            case "failed":
                one.failure, one.detail = texts[0], texts[1]
    return judged


def examples_of(draft: Draft, judged: dict[str, _Set], dropped: Counter[str]) -> list[Example]:
    """The examples that a judged draft gives."""
    main = judged.get("main")
    if main is None or main.failure or not main.code:
        dropped[f"reference: {main.failure if main and main.failure else 'did not end'}"] += 1
        return []
    if max(len(main.code), len(main.tests)) > _MAX_CODE:
        dropped["reference: too long"] += 1
        return []
    split = split_of(shape(main.code))
    return [
        *_exercises(draft, main, split, dropped),
        *_clarifications(draft, judged, split, dropped),
        *_dialogues(draft, main, judged, split, dropped),
    ]


def _example(draft: Draft, code: str, **fields: object) -> Example:
    digest = hashlib.sha256(f"{fields.get('kind')}\0{fields.get('instruction')}\0{code}".encode()).hexdigest()[:16]
    common: dict[str, object] = {
        "package": PACKAGE,
        "version": VERSION,
        "licence": LICENCE,
        "source": PACKAGE,
        "test_type": "exunit",
    }
    common |= {"name": _name_in(draft.name, code), "operations": draft.operations, "difficulty": draft.difficulty}
    return Example.of(
        code,
        path=f"{draft.family}/{digest}.ex",
        specs=tuple(re.sub(r"\s+", " ", each) for each in _SPEC.findall(code)),
        **common | fields,
    )


def _name_in(name: str, code: str) -> str:
    """The draft's name, or its module's where a reading or a follow-up calls the function otherwise."""
    module, _, function = name.rpartition(".")
    called = function.partition("/")[0]
    if "/" not in function or re.search(rf"\bdef {re.escape(called)}(?![\w?!])", code):
        return name
    return module


def _exercises(draft: Draft, main: _Set, split: str, dropped: Counter[str]) -> Iterator[Example]:
    instructions = [main.texts[f"instruction{at}"] for at in range(len(draft.instructions))]
    broken: list[tuple[str, str, str]] = []
    for at, each in enumerate(draft.broken):
        outcome, code, _ = main.programs[f"broken{at}"]
        if outcome in ("test_failure", "compile_error") and code != main.code:
            broken.append((code, each.diagnosis, each.kind))
        else:
            dropped[f"broken: {'passes the tests' if outcome == 'passed' else outcome}"] += 1
    variants = []
    for at in range(len(draft.variants)):
        outcome, code, _ = main.programs[f"variant{at}"]
        if outcome != "passed":
            dropped[f"variant: {outcome}"] += 1
        elif code == main.code or code in variants:
            dropped["variant: the same program"] += 1
        elif split_of(shape(code)) != split:
            dropped["variant: shape of another split"] += 1
        else:
            variants.append(code)
    num_of_reference = min(max(1, len(broken)), max(1, _MAX_EXERCISES - len(variants)), len(instructions))
    for at in range(num_of_reference):
        before, diagnosis, kind = broken[at] if at < len(broken) else ("", "", "")
        yield _example(
            draft,
            main.code,
            kind="exercise",
            instruction=instructions[at],
            tests=main.tests,
            explanation=main.texts["explanation"],
            before=before,
            diagnosis=diagnosis,
            injected=kind,
        )
    # From the end: the first phrasings may ask for the style of the reference.
    for instruction, code in zip(reversed(instructions[num_of_reference:]), variants):
        yield _example(draft, code, kind="exercise", instruction=instruction, tests=main.tests)


def _clarifications(draft: Draft, judged: dict[str, _Set], split: str, dropped: Counter[str]) -> Iterator[Example]:
    ambiguity = draft.ambiguity
    if ambiguity is None:
        return
    sets = [judged.get(f"reading{at}", _Set(failure="did not end")) for at in range(len(ambiguity.readings))]
    if failure := next((one.failure or "did not end" for one in sets if one.failure or not one.code), ""):
        dropped[f"ambiguity: {failure}"] += 1
        return
    if any(outcome == "passed" for one in sets for outcome, _, _ in one.programs.values()):
        dropped["ambiguity: readings pass each other's tests"] += 1
        return
    answers = tuple(reading.answer for reading in ambiguity.readings)
    for reading, one in zip(ambiguity.readings, sets):
        if split_of(shape(one.code)) != split:
            dropped["ambiguity: shape of another split"] += 1
            continue
        turns = (
            Turn(role="user", content=ambiguity.instruction),
            Turn(role="assistant", content=ambiguity.question),
            Turn(role="user", content=reading.answer),
            Turn(role="assistant", content=_fenced(one.code)),
        )
        yield _example(
            draft,
            one.code,
            kind="clarification",
            instruction=ambiguity.instruction,
            question=ambiguity.question,
            answers=answers,
            tests=one.tests,
            turns=turns,
        )


def _dialogues(
    draft: Draft, main: _Set, judged: dict[str, _Set], split: str, dropped: Counter[str]
) -> Iterator[Example]:
    last = len(draft.instructions) - 1
    turns = [
        Turn(role="user", content=main.texts[f"instruction{last}"]),
        Turn(role="assistant", content=_fenced(main.code, after=main.texts["explanation"])),
    ]
    for at, follow_up in enumerate(draft.follow_ups):
        one = judged.get(f"follow_up{at}", _Set(failure="did not end"))
        reason = one.failure or ("" if one.code else "did not end")
        if not reason and split_of(shape(one.code)) != split:
            reason = "shape of another split"
        if not reason and one.code == main.code:
            reason = "the same program"
        if reason:
            dropped[f"follow-up: {reason}"] += 1
            return  # what comes next builds on it
        turns += [
            Turn(role="user", content=follow_up.request),
            Turn(role="assistant", content=_fenced(one.code, before=one.texts.get("reply", follow_up.reply))),
        ]
        yield _example(
            draft,
            one.code,
            kind="dialogue",
            instruction=turns[0].content,
            tests=one.tests,
            turns=tuple(turns),
            before=main.code,
        )


def _fenced(code: str, *, before: str = "", after: str = "") -> str:
    parts = [before, f"```elixir\n{code}```", after]
    return "\n\n".join(part for part in parts if part)
