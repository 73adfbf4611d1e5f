import os
import subprocess

import pytest

from elixir_coder.errors import MissingDependencyError
from elixir_coder.toolchain.parse import ParseResult, elixir_version, parse_all

GOOD = [
    "",
    "defmodule A do\n  def f(x), do: x\nend\n",
    '"#{1 + 1}" <> ~s(a "b")',
    "éa = 1\n名 = éa",
    "unquote_splicing(x)",
    "x not in y",
    "a\r\n\tb",
    ':"a #{b}"',
    "no_such_name_was_ever_an_atom.neither_was(this: :one)",
]
BAD = {
    "def f(": (1, 7, "missing terminator: ) "),
    "a\nend": (2, 1, "unexpected reserved word: end"),
    "foo do\n  1\n": (3, 1, "missing terminator: end "),
    '"#{': (1, 2, "missing interpolation terminator"),
    "\udcff": (None, None, "invalid encoding"),
    "f a, g b, c": (1, 6, "unexpected comma."),
    "a" * 256: (1, 1, "atom length must be less"),
    "1 \x00": (1, 3, "null byte"),
}


@pytest.mark.elixir
def test_elixir_is_accepted():
    assert parse_all(GOOD) == [ParseResult(ok=True)] * len(GOOD)


@pytest.mark.elixir
def test_what_is_not_elixir_is_refused_with_the_place_and_the_reason():
    results = parse_all(list(BAD))
    assert [result.ok for result in results] == [False] * len(BAD)
    # Places moved by a column between versions of Elixir; the line did not.
    assert [result.line for result in results] == [line for line, _, _ in BAD.values()]
    for result, (_, _, message) in zip(results, BAD.values()):
        assert message in result.message


@pytest.mark.elixir
def test_verdicts_stand_in_the_order_of_the_texts():
    texts = ["a", ")", "b\n\n", "(", "", "]"] * 30
    assert [result.ok for result in parse_all(texts)] == [True, False] * 90


@pytest.mark.elixir
def test_texts_are_not_evaluated(tmp_path):
    mark = tmp_path / "mark"
    assert parse_all([f'File.write!("{mark}", "x")', f'defmodule A do\n  File.touch!("{mark}")\nend'])[0].ok
    assert not mark.exists()


@pytest.mark.elixir
def test_names_do_not_fill_the_table_of_atoms(monkeypatch):
    monkeypatch.setenv("ERL_AFLAGS", "+t 32768")
    names = "\n".join(f"never_seen_{number}" for number in range(30_000))
    assert parse_all([names]) == [ParseResult(ok=True)]


@pytest.mark.elixir
def test_the_verdict_is_that_of_elixir_left_to_itself(tmp_path):
    text = "\n".join(GOOD[1:3])
    pieces = [text[:at] + text[at + 3 :] for at in range(0, len(text), 2)]
    for number, piece in enumerate(pieces):
        (tmp_path / f"{number:03}").write_text(piece, encoding="utf-8")
    program = """
    for path <- Path.wildcard(hd(System.argv()) <> "/*") |> Enum.sort() do
      IO.puts(match?({:ok, _}, Code.string_to_quoted(File.read!(path))))
    end
    """
    done = subprocess.run(["elixir", "-e", program, str(tmp_path)], capture_output=True, text=True, check=True)
    plain = [line == "true" for line in done.stdout.split()]
    assert {True, False} <= set(plain)
    assert [result.ok for result in parse_all(pieces)] == plain


@pytest.mark.elixir
def test_the_version_is_three_numbers():
    assert all(part.isdigit() for part in elixir_version().partition("-")[0].split("."))


def test_nothing_needs_no_elixir(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert parse_all([]) == []


def test_without_elixir_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingDependencyError, match="apt install elixir"):
        parse_all(["a"])


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("cat > /dev/null; echo cannot boot >&2; exit 1", r"does not work \(cannot boot\)"),
        ("cat > /dev/null; exit 3", r"does not work \(exit code 3\)"),
        ("cat > /dev/null; echo ok", "judged 1 of 2 texts"),
        ("cat > /dev/null; exec sleep 9", "did not answer within 0.5 s"),
    ],
)
def test_an_elixir_that_does_not_work_is_an_error(script, message, tmp_path, monkeypatch):
    program = tmp_path / "elixir"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(MissingDependencyError, match=message):
        parse_all(["a", "b"], timeout_s=0.5 if "sleep" in script else 60)
