"""What Elixir refuses is cut back until it does not."""

import pytest

from elixir_coder.checkpoint import load_tokenizer
from elixir_coder.generation.checked import close, last_word, line_ends
from elixir_coder.generation.generator import DEFAULT_MODEL
from elixir_coder.toolchain.toolchain import Toolchain

pytest.importorskip("llguidance", reason="needs llguidance: pip install 'elixir-coder[decode]'")
pytestmark = pytest.mark.elixir

PREFIX = "defmodule A do\n"
BODY = "  def a(x) do\n    x + 1\n  end\n\n  def b(y) do\n    y\n"


@pytest.fixture(scope="module")
def toolchain():
    with Toolchain(workers=1) as toolchain:
        yield toolchain


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(DEFAULT_MODEL)


@pytest.fixture(scope="module")
def grammar(tokenizer):
    from decoding_elixir_coder import ElixirGrammar

    return ElixirGrammar(tokenizer)


def test_what_parses_stays_as_it_is(toolchain, grammar):
    text = "  def a, do: 1\nend\n"
    checked = last_word(text, toolchain, grammar=grammar, prefix=PREFIX)
    assert (checked.text, checked.is_valid, checked.repair) == (text, True, "")


def test_an_unfinished_text_is_closed_where_it_ends(toolchain, grammar):
    checked = last_word(BODY, toolchain, grammar=grammar, prefix=PREFIX)
    assert checked.text == BODY + checked.closing
    assert (checked.cut, checked.is_valid) == (0, True)
    assert checked.closing.split() == ["end", "end"]
    assert toolchain.parse(PREFIX + checked.text).ok


@pytest.mark.parametrize("fault", ["    )\n", "    x = = 1\n", "    foo bar, baz do z\n", '    "\\x"\n', "    1 2\n"])
def test_what_elixir_refuses_is_cut_off_with_all_behind_it(toolchain, grammar, fault):
    checked = last_word(BODY + fault + "    :more\n  end\nend\n", toolchain, grammar=grammar, prefix=PREFIX)
    assert checked.is_valid
    assert checked.text.startswith(BODY)
    assert toolchain.parse(PREFIX + checked.text).ok
    assert "Elixir refused it" in checked.repair


def test_what_the_grammar_takes_and_elixir_does_not_is_cut_off_too(toolchain, tokenizer):
    from decoding_elixir_coder import ElixirGrammar

    loose = ElixirGrammar(tokenizer, mode="accept")
    fault = '    "\\u{FFFFFFFF}"\n'
    checked = last_word(BODY + fault + "  end\nend\n", toolchain, grammar=loose, prefix=PREFIX)
    assert checked.text.startswith(BODY)
    assert toolchain.parse(PREFIX + checked.text).ok


def test_a_hole_is_repaired_between_its_sides(toolchain, grammar):
    prefix, suffix = "def a do\n  ", "\nend\n"
    checked = last_word("x = [1,\n  2\n", toolchain, grammar=grammar, prefix=prefix, suffix=suffix)
    assert checked.is_valid and checked.reason
    assert toolchain.parse(prefix + checked.text + suffix).ok


def test_an_entry_point_is_judged_in_its_frame(toolchain, tokenizer):
    from decoding_elixir_coder import ElixirGrammar

    grammar = ElixirGrammar(tokenizer, start="pattern")
    assert last_word("{:ok, a} when a > 1", toolchain, grammar=grammar).repair == ""
    assert last_word("{:ok, ", toolchain, grammar=grammar).is_valid


def test_a_prefix_that_no_elixir_begins_with_is_said_and_nothing_is_changed(toolchain, grammar):
    checked = last_word("  1\n", toolchain, grammar=grammar, prefix="x = )\n")
    assert (checked.text, checked.is_valid) == ("  1\n", False)
    assert "no shorter text helps" in checked.repair


def test_a_text_outside_of_the_grammar_has_no_closing(grammar):
    assert close("x = )", grammar) is None
    assert close("x = [1", grammar).strip() == "]"


def test_cuts_are_behind_lines_that_say_something():
    assert line_ends("a\n\n  b\nc") == [0, 2, 7, 8]
    assert line_ends("") == [0]
