"""What is open at the end of a text, and a way to end it: any split, any cut, any budget, any hole."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closing_elixir_coder import Reserve, Scan, Seam, closing_bound, find_closing
from elixir_coder.toolchain.toolchain import Toolchain
from grammar_elixir_coder import elixir_grammar

SAMPLE = '''defmodule Shop.Cart do
  @moduledoc """
  Keeps "what" a buyer #{put <> ~s(a#{b})} aside: é, 名.
    \\"""
  """
  defstruct [:owner, items: %{}, "quoted key": ?", end: 1]

  # a comment with an unmatched ( and a "
  def total(%__MODULE__{items: items}, rest \\\\ []) when is_map(items) do
    case {items, rest} do
      {%{"a" => 1.5e3}, _} -> Enum.map(rest, fn {_, n} -> n * 0x1F end)
      {<<head::8, _::binary>>, :do} -> ~r/[(]#{head}\\//u |> Regex.source()
      _ -> ~S"""
        raw #{ text
        """
    end
  rescue
    error in [ArgumentError] -> {:error, error.do, 'charlist \\'#{inspect(error)}', &(&1 + 1)}
  end

  def one?(x), do: if(x, do: :"a b", else: ~w[a b]a)
end
'''.encode()


class Grammar:
    """The strict grammar over single bytes, as `find_closing` wants to ask it; one byte is one token."""

    def __init__(self, start="file"):
        llguidance = pytest.importorskip("llguidance")
        self.eos_token_id, self.bos_token_id, self.unk_token_id = 256, None, None
        self.tokens = [bytes([byte]) for byte in range(256)] + [b"<eos>"]
        self.special_token_ids = [256]
        tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(self), slices=[])
        lark = llguidance.LLMatcher.grammar_from_lark(elixir_grammar("strict", start))
        self.matcher = llguidance.LLMatcher(tokenizer, lark, log_level=0)

    def __call__(self, text):
        return list(text)

    def check_after(self, text):
        matcher = self.matcher.deep_copy()
        assert matcher.try_consume_tokens(list(text)) == len(text), f"the grammar refuses {text[-40:]!r}"

        def check(candidate):
            taken = matcher.validate_tokens([*candidate, 256])
            return min(taken, len(candidate)), taken == len(candidate) + 1

        return check


@pytest.fixture(scope="module")
def grammar():
    return Grammar()


def state(scan):
    return scan.open, scan.in_code, scan.last, scan.unfinished, scan.names_struct, scan.unmatched, scan.is_broken


@given(st.integers(0, len(SAMPLE)), st.lists(st.integers(1, 7), min_size=1, max_size=40), st.booleans())
def test_the_state_does_not_depend_on_the_split(size, steps, looks):
    text, split, at = SAMPLE[:size], Scan(), 0
    while at < len(text):
        step = steps[at % len(steps)]
        split.feed(text[at : at + step])
        at += step
        if looks:
            assert state(split) == state(Scan(text[:at]))
    assert state(split) == state(Scan(text))


def test_a_copy_does_not_follow_its_original():
    scan = Scan(b"foo(")
    copy = scan.copy()
    scan.feed(b"[")
    assert [opened.kind for opened in copy.open] == ["("]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("foo(a, [%{b => {", "( [ %{ {"),
        ("%Foo{a: <<1", "%{ <<"),
        ("a <<< b >>> c", ""),
        ("fn x -> if x do", "fn do"),
        ("if x, do: y", ""),
        ("[:do, a.do, do_it, undo, end: 1", "["),
        ('"a#{b(~s[c', '" #{ ( ~s['),
        ('"""\n a "" \\"""\n', '"""'),
        ('"""\n a\n """', ""),
        ("~S(a#{b)", ""),
        ("~s'''\n a'''", "~s'''"),
        ('?( ?\\" ?#', ""),
        ("# foo(\nbar(", "("),
        (':"a b', ':"'),
        ("try do\na\nrescue\nb -> c\nelse", "do"),
    ],
)
def test_what_is_open(text, kinds):
    assert " ".join(opened.kind for opened in Scan(text.encode()).open) == kinds


def test_every_construct_of_a_whole_file_ends():
    scan = Scan(SAMPLE)
    assert (scan.open, scan.unmatched, scan.is_broken) == ([], (), False)


@pytest.mark.parametrize(
    ("text", "is_code"), [("a ", True), ("# a", False), ('"a', False), ('"#{a', True), ("?", False)]
)
def test_code_is_told_from_text(text, is_code):
    assert Scan(text.encode()).in_code is is_code


def test_an_arrow_belongs_to_its_section():
    opened = Scan(b"try do\na\nrescue\nb -> c\n").open[-1]
    assert (opened.section, opened.arrow) == ("rescue", True)
    assert not Scan(b"try do\na\nrescue\nb -> c\nelse\n").open[-1].arrow


def test_a_text_from_the_middle_tells_what_it_closes():
    assert [opened.closer for opened in Scan(b"x, y) end\n}").unmatched] == [b")", b"end", b"}"]


@pytest.mark.elixir
def test_elixir_misses_the_same_terminator():
    texts = [SAMPLE[:size] for size in range(len(SAMPLE))]
    texts = [text for text in texts if text[-1:].isspace() and Scan(text).open]
    with Toolchain() as toolchain:
        results = list(toolchain.map("parse", [text.decode() for text in texts]))
    missing = [str(result).partition("missing terminator: ")[2].split(" ")[0] for result in results]
    seen = [(terminator, Scan(text).open[-1].closer.decode()) for terminator, text in zip(missing, texts) if terminator]
    assert len(seen) > 50
    assert [pair for pair in seen if not pair[0].strip("'\"").startswith(pair[1].strip("'\""))] == []


@pytest.mark.elixir
def test_a_text_cut_anywhere_is_ended_by_a_few_bytes(grammar):
    sample = SAMPLE.replace(b'"quoted key": ', b"key: ")
    cuts = [sample[:size] for size in range(0, len(sample), 13)]
    closings = [find_closing(text, grammar.check_after(text)) for text in cuts]
    assert None not in closings
    assert max(map(len, closings)) <= 40
    with Toolchain() as toolchain:
        results = toolchain.map("parse", [(text + end).decode() for text, end in zip(cuts, closings)])
        assert [text[-30:] for text, result in zip(cuts, results) if not result.ok] == []


def test_a_pending_name_is_finished_as_asked(grammar):
    text = b"x = String.up"
    assert find_closing(text, grammar.check_after(text), completions=[b"case(a"]) == b"case(a)"


def test_a_closing_over_the_limit_is_none(grammar):
    text = b"foo(bar([baz("
    assert find_closing(text, grammar.check_after(text), limit=4) == b")]))"
    assert find_closing(text, grammar.check_after(text), limit=3) is None


@pytest.mark.parametrize("start", ["file", "function", "module_body", "pattern", "typespec"])
def test_a_writer_ends_in_valid_code_within_any_budget(start):
    grammar, draw = Grammar(start), random.Random(5)
    alphabet = b"ab A1:()[]{}%,.|>-=\"'#\n&@do end fn -> case x do"
    for budget in (1, 2, 5, 9, 16, 24, 33, 60):
        text, scan, reserve = b"", Scan(), None
        check = grammar.check_after(text)
        reserve = Reserve().after(None, text, scan, check, budget, list, bytes)
        if reserve is None:  # the shortest text of this entry point is longer
            assert budget < 16
            continue
        for remaining in range(budget - 1, -1, -1):
            drawn = draw.choices(alphabet, k=8)
            for byte in (*drawn, *(reserve.tokens or ())[:1]):
                ahead = scan.copy()
                ahead.feed(bytes([byte]))
                if check(bytes([byte]))[0]:
                    after = grammar.check_after(text + bytes([byte]))
                    kept = reserve.after(byte, text + bytes([byte]), ahead, after, remaining, list, bytes)
                    if kept is not None:
                        text, scan, check, reserve = text + bytes([byte]), ahead, after, kept
                        break
            else:
                break
        assert check(b"")[1] or (reserve.tokens is None and budget >= 2 * closing_bound(scan)), text


SEAMS = [
    ("def f(x) do\n  ", "\nend\n"),
    ("def f(x) do\n  foo(", ")\nend\n"),
    ("def f(x) do\n  foo(a", ", b)\nend\n"),
    ("def f(x) do\n  x\n", "  |> foo()\nend\n"),
    ("x = [a, ", "b | c]\n"),
    ("if x", " do\n  y\nend\n"),
    ("if x do\n  a + ", "d\n"),
    ('foo("a ', ' b", c)\n'),
    ('foo("a ', "c)\n"),
    ('x = """\n  a\n', '  b\n  """\ny\n'),
    ("case x do\n  a ", "-> b\nend\n"),
    ("if x do\n  a\n", "else\n  b\nend\n"),
    ("Enum.map(x, fn y", " end)\n"),
    ("def f do\n  a\nend\n\ndef g(", "x) do\n  y\nend\n"),
    ("foo(", "  end)\nend\n"),
    ("%{a", "b => c, d => 1}\n"),
]


@pytest.mark.elixir
def test_a_middle_is_ended_so_that_the_suffix_fits(grammar):
    texts = []
    for prefix, suffix in SEAMS:
        closing = find_closing(prefix.encode(), grammar.check_after(prefix.encode()), suffix=suffix.encode())
        assert closing is not None, (prefix, suffix)
        texts.append(prefix + closing.decode() + suffix)
    with Toolchain() as toolchain:
        assert [text for text, result in zip(texts, toolchain.map("parse", texts)) if not result.ok] == []


def test_a_seam_is_kept_while_what_it_shares_is_open():
    prefix = Scan(b"def f do\n  if x do\n")
    seam = Seam(prefix, b"  end\nend\n")
    inside, outside = prefix.copy(), prefix.copy()
    inside.feed(b"foo(fn -> 1 end)\n")
    outside.feed(b"a\nend\n")
    assert seam.is_kept(inside)
    assert seam.distance(inside) == 0
    assert not seam.is_kept(outside)
    assert seam.distance(outside) == 1


def test_a_suffix_may_begin_in_a_string():
    seam = Seam(Scan(b'foo("a '), b'b", c)\n')
    assert [opened.closer for opened in seam.ways[0].needed] == [b")", b'"']


def test_what_joins_a_middle_to_its_suffix_counts_towards_the_limit(grammar):
    for prefix, suffix in SEAMS:
        text = prefix.encode()
        settings = {"suffix": suffix.encode(), "seconds": 60.0}
        shortest = find_closing(text, grammar.check_after(text), **settings)
        for limit in range(len(shortest)):
            closing = find_closing(text, grammar.check_after(text), limit=limit, tries=200, **settings)
            assert closing is None or len(closing) <= limit, (prefix, suffix, closing)
