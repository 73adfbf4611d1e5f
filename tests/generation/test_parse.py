"""`elixir-coder parse`: what the grammar and Elixir say of the same texts."""

import io
import json
import shutil
import sys

import pytest

from elixir_coder.cli import main
from elixir_coder.errors import InputError
from elixir_coder.generation.parse import Verdict, compare, counts, grammar_finding, place, read_texts
from elixir_coder.toolchain.finding import Finding, Severity
from elixir_coder.toolchain.toolchain import Toolchain

pytest.importorskip("llguidance", reason="needs llguidance: pip install 'elixir-coder[decode]'")

GOOD = "defmodule A do\n  def a, do: 1\nend\n"
BAD = 'x = 1\nä = "é" )\n'
FAULT = Finding(tool="grammar", check="syntax_error", category="syntax", severity=Severity.ERROR, message="")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "good.ex").write_text(GOOD)
    (tmp_path / "lib" / "bad.exs").write_text(BAD)
    (tmp_path / "deps").mkdir()
    (tmp_path / "deps" / "other.ex").write_text(BAD)
    return tmp_path


def test_a_place_counts_lines_and_code_points():
    assert place("ab\ncä→d", len("ab\ncä→".encode())) == (2, 4)
    assert place("", 0) == (1, 1)
    assert place("a\n", 2) == (2, 1)


def test_the_grammar_says_where_it_leaves_a_text():
    finding = grammar_finding(BAD, "accept", "file")
    assert (finding.line, finding.column) == (2, 9)
    assert grammar_finding(GOOD, "strict", "file") is None


def test_a_text_that_ends_too_early_is_said_to():
    finding = grammar_finding("defmodule A do\n", "accept", "file")
    assert finding.message.startswith("the text ends here")
    assert finding.line == 2


@pytest.mark.parametrize(
    ("grammar", "elixir", "alone"),
    [(None, None, ""), (FAULT, FAULT, ""), (FAULT, None, "grammar"), (None, FAULT, "elixir")],
)
def test_a_disagreement_names_who_refuses_alone(grammar, elixir, alone):
    assert Verdict("a.ex", grammar, elixir).disagreement == alone
    assert Verdict("a.ex", grammar, elixir, asked_elixir=False).disagreement == ""


def test_verdicts_are_counted():
    verdicts = [
        Verdict("a", None, None),
        Verdict("b", FAULT, None),
        Verdict("c", None, FAULT),
        Verdict("d", FAULT, FAULT),
    ]
    assert counts(verdicts) == {"both_take": 1, "both_refuse": 1, "grammar_refuses": 1, "elixir_refuses": 1}


@pytest.mark.elixir
def test_elixirs_place_is_one_in_the_text_and_not_in_its_frame():
    with Toolchain(workers=1) as toolchain:
        (verdict,) = compare({"a": "def a do\n  )\nend"}, start="module_body", toolchain=toolchain)
        (pattern,) = compare({"p": "{a, )"}, start="pattern", toolchain=toolchain)
        (short,) = compare({"s": "def a do\n"}, start="module_body", toolchain=toolchain)
    assert (verdict.elixir.line, verdict.elixir.column) == (2, 3)
    assert (pattern.elixir.line, pattern.elixir.column) == (1, 5)
    assert short.elixir.line == 2
    assert {each.disagreement for each in (verdict, pattern, short)} == {""}


def test_only_files_of_elixir_are_read_and_none_of_dependencies(folder):
    texts, unreadable = read_texts([str(folder)])
    assert [path.rpartition("/")[2] for path in texts] == ["bad.exs", "good.ex"]
    assert unreadable == []


def test_a_file_that_is_not_utf_8_is_refused_by_both(folder, capsys):
    (folder / "lib" / "bytes.ex").write_bytes(b"a = \xff")
    texts, (verdict,) = read_texts([str(folder / "lib" / "bytes.ex")])
    assert texts == {}
    assert verdict.grammar.message == "not UTF-8: byte 4 is 0xff"
    assert verdict.disagreement == ""


@pytest.mark.parametrize(
    ("name", "message"), [("none.ex", "cannot be read"), ("empty", "there is no .ex or .exs file")]
)
def test_what_cannot_be_read_is_an_error(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        read_texts([str(tmp_path / name)])


@pytest.mark.elixir
def test_the_command_shows_the_line_and_a_caret(folder, capsys):
    assert main(["parse", str(folder)]) == 0  # both refuse bad.exs
    out = capsys.readouterr().out
    assert "[grammar: syntax_error]" in out
    assert "[elixir: syntax_error]" in out
    assert '         ä = "é" )\n                 ^\n' in out
    assert out.endswith("2 files: 1 taken, 1 refused by both; 0 by the grammar alone, 0 by Elixir alone\n")


@pytest.mark.elixir
def test_the_command_answers_in_json(folder, capsys):
    main(["parse", "--json", "--mode", "strict", str(folder)])
    answer = json.loads(capsys.readouterr().out)
    assert answer["counts"] == {"both_take": 1, "both_refuse": 1, "grammar_refuses": 0, "elixir_refuses": 0}
    assert [each["grammar"] is None for each in answer["files"]] == [False, True]
    assert (answer["mode"], answer["start"]) == ("strict", "file")


def test_a_disagreement_is_exit_code_1(folder, capsys, monkeypatch):
    monkeypatch.setattr("elixir_coder.generation.parse.compare", lambda *_, **__: [Verdict("a.ex", FAULT, None)])
    assert main(["parse", str(folder)]) == 1
    assert "a.ex: the grammar refuses what Elixir takes\n" in capsys.readouterr().out


def test_without_elixir_the_grammar_judges_alone_and_that_is_said(folder, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert main(["parse", str(folder / "lib" / "good.ex")]) == 0
    captured = capsys.readouterr()
    assert captured.out == "1 file: 1 taken, 0 refused by the grammar\n"
    assert "only the grammar was asked" in captured.err
    assert main(["parse", str(folder)]) == 1


def test_standard_input_is_read(capsys, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{a, 1}")))
    assert main(["parse", "-", "--start", "pattern"]) == 0
    assert capsys.readouterr().out.startswith("1 file: 1 taken")


def test_without_llguidance_the_extra_is_named(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    assert main(["parse", str(folder)]) == 2
    assert "pip install 'elixir-coder[decode]'" in capsys.readouterr().err
