"""The grammar against Elixir's own parser: on written cases, on cuts of them, and on this repository's Elixir."""

from pathlib import Path

import pytest

from decoding_elixir_coder import accepts, first_error
from elixir_coder.toolchain.finding import Outcome
from elixir_coder.toolchain.toolchain import Toolchain
from grammar_elixir_coder import MODES, STARTS, elixir_grammar, frame

CASES = Path(__file__).parent / "grammar_cases"


def read_cases(name):
    """The snippets of a case file as (start, is for strict too, text); `# strict` and `# start: NAME` come first."""
    for block in (CASES / name).read_text(encoding="utf-8").removesuffix("-----\n").split("-----\n"):
        start, strict, lines = "file", False, block.removesuffix("\n").split("\n")
        while lines[0] == "# strict" or lines[0].startswith("# start: "):
            line = lines.pop(0)
            if line == "# strict":
                strict = True
            else:
                start = line.removeprefix("# start: ")
        yield start, strict, "\n".join(lines)


def elixir_takes(cases):
    """Whether Elixir's parser takes each of these (start, strict, text), in the frame of its entry point."""
    with Toolchain() as toolchain:
        reports = toolchain.map("parse", [text.join(frame(start)) for start, _, text in cases])
        return [report.outcome is Outcome.OK for report in reports]


@pytest.mark.elixir
@pytest.mark.parametrize("name", ["accepted.txt", "constructs.txt"])
def test_what_elixir_takes_is_accepted_and_by_strict_where_marked(name):
    cases = list(read_cases(name))
    assert [case for case, valid in zip(cases, elixir_takes(cases), strict=True) if not valid] == []
    wrong = [
        (mode, text)
        for start, strict, text in cases
        for mode in MODES
        if (strict or mode == "accept") and not accepts(text, mode, start)
    ]
    assert wrong == []


@pytest.mark.elixir
@pytest.mark.parametrize(("name", "modes"), [("refused.txt", MODES), ("refused_by_strict.txt", ("strict",))])
def test_what_elixir_refuses_is_refused(name, modes):
    cases = list(read_cases(name))
    assert [case for case, valid in zip(cases, elixir_takes(cases), strict=True) if valid] == []
    assert [(mode, text) for start, _, text in cases for mode in modes if accepts(text, mode, start)] == []


@pytest.mark.elixir
def test_a_construct_cut_short_anywhere_is_judged_as_elixir_judges_it():
    whole = sorted((text for _, strict, text in read_cases("constructs.txt") if strict), key=len)[-4:]
    cuts = [("file", True, text[:end]) for text in whole for end in range(len(text))]
    wrong = [
        (mode, text)
        for (_, _, text), valid in zip(cuts, elixir_takes(cuts), strict=True)
        for mode in MODES
        if accepts(text, mode) != valid
    ]
    assert wrong == []


@pytest.mark.parametrize("mode", MODES)
def test_the_elixir_files_of_this_repository_are_whole(mode):
    root = CASES.parent.parent
    files = sorted(path for suffix in ("ex", "exs") for path in (root / "elixir_coder").rglob(f"*.{suffix}"))
    files = [path for path in files if path.stat().st_size < 10_000]  # the engine reads some 50 kB a second
    assert len(files) >= 3
    assert {path.name: first_error(path.read_text(), mode) for path in files} == {path.name: None for path in files}


@pytest.mark.parametrize("mode", MODES)
def test_line_ends_of_windows_are_for_accept_only(mode):
    assert accepts("foo do\r\n  # why\r\n  a |>\r\n    b\r\nend\r\n", mode) == (mode == "accept")


def test_names_outside_ascii_are_for_accept_only():
    assert accepts("é = 1", "accept")
    assert not accepts("é = 1", "strict")
    assert accepts('"é" # é', "strict")


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("mode", MODES)
def test_a_grammar_holds_nothing_that_its_start_does_not_reach(mode, start):
    text = elixir_grammar(mode, start)
    names = [line.split(":")[0] for line in text.splitlines() if line[0].isalpha()]
    assert len(names) == len(set(names))
    assert [name for name in names if name != "start" and text.count(name) < 2] == []


@pytest.mark.parametrize("wrong", [{"mode": "lax"}, {"start": "line"}])
def test_an_unknown_mode_or_start_names_those_there_are(wrong):
    with pytest.raises(ValueError, match=r"expected one of (accept, strict|file, module_body)"):
        elixir_grammar(**wrong)
