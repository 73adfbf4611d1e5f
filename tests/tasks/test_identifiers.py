import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.checkpoint import load_tokenizer
from elixir_coder.tasks.identifiers import MaskIdentifiers, TagIdentifiers, encode, identifiers
from elixir_coder.tasks.row import MIN_SOURCE_LENGTH, MIN_TARGET_LENGTH
from tests.data.test_lexemes import ELIXIR
from tests.evaluation import small
from tests.tasks.annotated_code import (
    ADD_EXAMPLE,
    TOKENIZER,
    annotated_examples,
    check_shape,
    example_of,
    flows_of,
    same,
    setup_of,
)
from tests.tasks.given import random, seeds
from tokenization_elixir_coder import ATTRIBUTES, KEYWORDS

SHIPPED = load_tokenizer(Path(__file__).parents[2])  # its tokens hold several words

NAMES = r"""
defmodule Shop.Cart do
  @moduledoc "No name: cart"
  @limit 10_000
  @type t :: %__MODULE__{items: [Item.t()], größe: integer}
  def sum(%{items: [head | _]} = cart, opts \\ []) when is_list(opts), do: {:ok, head.price * @limit}
  defp ok?(x), do: x in [?a, :b, :"c d", "e#{x}f", ~r/g h/iu, ~w(i j)a, ~s|#{x}|c] and not fetch!(x)
  def each(list), do: Enum.map(list, &Shop.Item.name/1) |> then(fn y -> y.z end)
end
"""


def names_in(code):
    return [identifier.text for identifier in identifiers(code)]


def test_identifiers_are_the_names_that_the_language_does_not_give():
    assert names_in(NAMES) == [
        *("Shop", "Cart", "limit", "t", "Item", "t", "integer"),
        *("sum", "head", "cart", "opts", "is_list", "opts", "head", "price", "limit"),
        *("ok?", "x", "x", "x", "x", "fetch!", "x"),
        *("each", "list", "Enum", "map", "list", "Shop", "Item", "name", "then", "y", "y", "z"),
    ]


@pytest.mark.elixir
def test_identifiers_are_those_of_elixirs_own_tokenizer(tmp_path):
    code = NAMES + ELIXIR + small.STACK + small.QUEUE
    (tmp_path / "code.ex").write_text(code)
    program = """
    defmodule Names do
      @kinds [:identifier, :paren_identifier, :bracket_identifier, :do_identifier, :op_identifier, :alias]
      def of({kind, {line, column, _}, name}) when kind in @kinds, do: [{line, column, name}]
      def of(tuple) when is_tuple(tuple), do: of(Tuple.to_list(tuple))
      def of(list) when is_list(list), do: Enum.flat_map(list, &of/1)
      def of(_), do: []
    end
    tokens = "code.ex" |> File.read!() |> String.to_charlist() |> :elixir_tokenizer.tokenize(1, []) |> elem(4)
    for {line, column, name} <- Names.of(tokens), do: IO.puts("#{line} #{column} #{name}")
    """
    said = subprocess.run([shutil.which("elixir"), "-e", program], cwd=tmp_path, capture_output=True, text=True)

    starts = np.cumsum([0, *map(len, code.splitlines(keepends=True))])
    expected = set()
    for line, column, name in (line.split() for line in said.stdout.splitlines()):
        if name not in (*KEYWORDS, "_") and f"@{name}" not in ATTRIBUTES:
            expected.add((int(starts[int(line) - 1]) + int(column) - 1, name))
    assert {(each.start, each.text) for each in identifiers(code)} == expected
    assert len(expected) > 60


def test_each_token_of_a_name_is_tagged_and_no_other():
    row = TagIdentifiers(setup_of())(example_of("def add(a, :item), do: Queue.back"), random(0))

    decoded = [(TOKENIZER.decode([token]), int(tag)) for token, tag in zip(row.source, row.tags, strict=True)]
    assert decoded == [
        *(("<code>", -100), ("def", 0), (" ad", 1), ("d", 1), ("(", 0), ("a", 1), (",", 0), (" ", 0), (":", 0)),
        *(("item", 0), (")", 0), (",", 0), (" do", 0), (":", 0), (" Queue", 1), (".", 0), ("back", 1), ("</s>", -100)),
    ]


def test_a_token_of_several_words_is_tagged_for_one_of_them():
    row = TagIdentifiers(setup_of(tokenizer=SHIPPED))(example_of("def run(x) do\n  x\nend\n"), random(0))

    decoded = [(SHIPPED.decode([token]), int(tag)) for token, tag in zip(row.source, row.tags, strict=True)]
    assert ("def run", 1) in decoded and ("end\n", 0) in decoded


@given(st.text("ab_ .:@?!#{}\"'~/()\n1é😀", min_size=1, max_size=80), st.integers(MIN_SOURCE_LENGTH, 60), seeds)
def test_any_text_has_tags_and_they_are_the_same_for_the_same_seed(code, source_length, seed):
    setup = setup_of(source_length)
    row = TagIdentifiers(setup)(example_of(code), random(seed))

    check_shape(row, setup)
    assert row.tags[0] == row.tags[-1] == -100 and set(row.tags[1:-1].tolist()) <= {0, 1}
    assert same(row, TagIdentifiers(setup)(example_of(code), random(seed)))


def test_a_crop_is_tagged_as_the_whole_is():
    code = small.STACK + small.QUEUE
    whole = TagIdentifiers(setup_of(1024))(example_of(code), random(0))
    tagged = list(zip(whole.source, whole.tags.tolist(), strict=True))[1:-1]

    for seed in range(20):
        row = TagIdentifiers(setup_of(32))(example_of(code), random(seed))
        part = list(zip(row.source, row.tags.tolist(), strict=True))[1:-1]
        assert any(tagged[at : at + len(part)] == part for at in range(len(tagged)))


def test_each_name_has_one_sentinel_wherever_it_stands():
    row = MaskIdentifiers(setup_of())(ADD_EXAMPLE, random(0))

    assert TOKENIZER.decode(row.source) == (
        "<code>def <extra_id_0>(<extra_id_1>, <extra_id_2>) do\n"
        "  <extra_id_3> = [<extra_id_2> | <extra_id_1>.back]\n"
        "  Queue.put(<extra_id_1>, :back, <extra_id_3>)\n"
        "end\n"
        "</s>"
    )
    assert TOKENIZER.decode(row.target) == "<extra_id_0>add<extra_id_1>queue<extra_id_2>item<extra_id_3>back</s>"


def test_only_variables_and_functions_of_the_text_are_hidden():
    code = "@put 1\ndefp put(a), do: String.put(@put, a) <> put(b, put: 2)"
    row = MaskIdentifiers(setup_of())(example_of(code, flows=flows_of(code, ("a", 0), ("a", 1, 0))), random(0))

    assert TOKENIZER.decode(row.source) == (
        "<code>@put 1\ndefp <extra_id_0>(<extra_id_1>), "
        "do: String.put(@put, <extra_id_1>) <> <extra_id_0>(b, put: 2)</s>"
    )


def test_names_that_the_target_has_no_room_for_are_not_hidden():
    row = MaskIdentifiers(setup_of(target_length=7))(ADD_EXAMPLE, random(0))

    assert TOKENIZER.decode(row.target) == "<extra_id_0>add<extra_id_1>queue</s>"
    assert "item | <extra_id_1>.back" in TOKENIZER.decode(row.source)


def put_back(row):
    """The text, with each sentinel replaced by what the target has behind it."""
    sentinels = {TOKENIZER.convert_tokens_to_ids(f"<extra_id_{number}>") for number in range(100)}
    names = {}
    for token in row.target[:-1]:
        if token in sentinels:
            name = names.setdefault(token, [])
        else:
            name.append(token)
    assert set(row.source) & sentinels == set(names)
    return TOKENIZER.decode([part for token in row.source[1:-1] for part in names.get(token, [token])])


@given(annotated_examples(), seeds)
def test_the_names_of_the_target_give_the_code_back(example, seed):
    assert put_back(MaskIdentifiers(setup_of(1024))(example, random(seed))) == example.code


@given(annotated_examples(), st.integers(MIN_SOURCE_LENGTH, 60), st.integers(MIN_TARGET_LENGTH, 30), seeds)
def test_a_row_of_hidden_names_keeps_to_the_lengths_and_to_its_window(example, source_length, target_length, seed):
    setup = setup_of(source_length, target_length)
    row = MaskIdentifiers(setup)(example, random(seed))

    if row:
        check_shape(row, setup)
        assert row.source[-1] == row.target[-1] == setup.special.eos
        window = encode(setup, example.code).crop(source_length - 2, random(seed))
        text = put_back(row).rstrip("�")  # parted by sentinels, it may take more tokens, and its end is cut
        assert text and example.code[window.starts[0] : window.ends[-1]].startswith(text)
        assert same(row, MaskIdentifiers(setup)(example, random(seed)))
