from itertools import pairwise
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.data.injections.text import Text, closing, masked, parts

HIDDEN = "\x01"


def text(code: str) -> Text:
    return Text(dedent(code).lstrip("\n"))


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ('a("b, c")', 'a("' + 5 * HIDDEN + ")"),
        ("a # b, c\nd", "a #" + 5 * HIDDEN + "\nd"),
        ('"#{f("}")}" <> c', '"' + 10 * HIDDEN + " <> c"),
        ("~r/[a,b]/u", "~r/" + 6 * HIDDEN + "u"),
        ("~S|a#{|, 1", "~S|" + 4 * HIDDEN + ", 1"),
        ('[?", ?,, ?a]', "[?\x01, ?\x01, ?\x01]"),
        ("valid?(a, 'b')", "valid?(a, '\x01\x01)"),
        ('"\\"", 1', '"\x01\x01\x01, 1'),
    ],
)
def test_strings_and_comments_are_hidden(code, shown):
    assert masked(code) == shown


@given(st.text(alphabet=list("ab \n\"'#{}?~s(|)\\,")))
def test_each_character_keeps_its_place(code):
    out = masked(code)
    assert len(out) == len(code)
    assert [n for n, c in enumerate(out) if c == "\n"] >= [n for n, c in enumerate(code) if c == "\n"]
    assert all(a == b for a, b in zip(out, code) if a != HIDDEN)


def test_a_definition_knows_its_parameters_guard_and_body():
    (one, two, three) = text("""
        def sell(item, %{price: price} = order, opts \\\\ [])
            when price > 0 and is_map(order) do
          total = price * 2
          {item, total, opts}
        end

        defp first([item | _]), do: item

        defp risky(path) do
          File.read!(path)
        rescue
          _ -> nil
        end
    """).definitions
    assert (one.name, one.params, one.guard) == (
        "sell",
        ("item", "%{price: price} = order", "opts \\\\ []"),
        "price > 0 and is_map(order)",
    )
    assert (one.variables, one.start, one.end, one.body) == (("item", "order", "opts"), 0, 4, (2, 3))
    assert (two.kind, two.name, two.body, two.variables) == ("defp", "first", None, ())
    assert (three.start, three.end, three.body) == (8, 12, (9, 9))


def test_blocks_are_found_by_their_indentation():
    code = text("""
        def f(a) do
          if a > 1 do
            if a > 2, do: 3
          else
            4
          end
        end
    """)
    (branch,) = code.branches
    assert (branch.word, branch.condition, branch.start, branch.end) == ("if", "a > 1", 1, 5)
    assert (branch.first, branch.second) == (("    if a > 2, do: 3",), ("    4",))


def test_clauses_of_case_and_with():
    code = text("""
        case f(a) do
          {:ok, b} ->
            g(b)

          :error -> nil
        end

        with {:ok, a} <- f(1),
             {:ok, b} <- g(a) do
          {a, b}
        else
          _ -> nil
        end
    """)
    assert code.cases[0].subject == "f(a)"
    assert code.cases[0].clauses == (("{:ok, b}", ("g(b)",)), (":error", ("nil",)))
    assert code.withs[0].clauses == ("{:ok, a} <- f(1)", "{:ok, b} <- g(a)")
    assert (code.withs[0].body, code.withs[0].otherwise) == (("  {a, b}",), ("  _ -> nil",))


def test_the_lines_of_a_heredoc_are_no_statements():
    code = text('''
        def f do
          x = """
          y = 1
          """
          x
        end
    ''')
    (definition,) = code.definitions
    assert code.statements(definition) == [1, 4]


def test_arguments_are_split_at_their_own_commas():
    bare = masked('f(a, {b, c}, "d, e")')
    end = closing(bare, 1)
    assert end == len(bare) - 1
    assert [bare[a:b].strip() for a, b in parts(bare, 2, end)][:2] == ["a", "{b, c}"]
    assert all(a[1] < b[0] for a, b in pairwise(parts(bare, 2, end)))
