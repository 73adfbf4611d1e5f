import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.data.lexemes import CODE, COMMENT, digest, lexemes, pieces, windows

ELIXIR = r'''
# one
x = "a # no comment #{inspect("b # nor this")} c" # two
y = ~s(# no) <> ~S"#{no}" <> 'no # #{1}' # three
z = """
  # no comment
  #{x} " "" \
  """ # four
[?#, ?", ?\s, ?\\, :"quoted # atom", :a?, foo!: 1, "key #": 2] # five
@doc ~S"""
iex> "# no"
#{no} """ no
"""
# six
%{a: ~r/\/#/, b: {x, "#{%{c: "}"}[:c]}"}} # seven
~S(\) # no) # eight
'''


def comments(code):
    return [piece.text for piece in pieces(code) if piece.kind == COMMENT]


@pytest.mark.elixir
def test_the_comments_are_those_that_elixir_sees(tmp_path):
    (tmp_path / "code.ex").write_text(ELIXIR)
    program = """
    {:ok, _, comments} = "code.ex" |> File.read!() |> Code.string_to_quoted_with_comments()
    Enum.each(comments, &IO.puts(&1.text))
    """
    said = subprocess.run([shutil.which("elixir"), "-e", program], cwd=tmp_path, capture_output=True, text=True)

    assert said.stdout.splitlines() == comments(ELIXIR)


def test_comments_and_layout_do_not_matter():
    assert lexemes("def f(a),do: a+1") == lexemes("# why\ndef f( a ),\n  do: a + 1 # so\n")
    assert digest(lexemes('x = "a # b"')) != digest(lexemes('x = "a # c"'))


def test_the_words_of_a_string_are_lexemes_and_its_interpolation_is_code():
    assert lexemes('"a b#{c}"') == ['"', "a", "b", "#{", "c", "}", '"']


@given(st.text(alphabet="ab \n\"'#{}\\~sS?:()", max_size=60))
def test_any_text_has_lexemes_and_nothing_is_lost_but_space(text):
    found = list(pieces(text))

    assert "".join("".join(piece.text for piece in found).split()).replace("\\", "") == "".join(text.split()).replace(
        "\\", ""
    )
    assert all(text.startswith(piece.text, piece.start) for piece in found if piece.kind != CODE)


def test_windows_are_as_many_as_fit_and_the_same_on_every_machine():
    words = "a b c d e f".split()

    assert len(windows(words, 5)) == 2
    assert len(windows(words[:3], 5)) == 1
    assert len(windows([], 5)) == 0
    assert windows(words, 5)[0] == windows(["a", "b", "c", "d", "e"], 5)[0] != windows(words, 5)[1]
    assert int(windows(["defmodule"], 1)[0]) == 12567856147498312042
