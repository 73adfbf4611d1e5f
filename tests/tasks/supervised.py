"""What the supervised tasks are tested on: one small example of each kind, as the data steps leave them."""

from hypothesis import strategies as st

from elixir_coder.example import Label, Turn
from elixir_coder.tasks.row import MIN_SOURCE_LENGTH, MIN_TARGET_LENGTH, Setup, SpecialTokens
from tests.tasks.annotated_code import TOKENIZER, example_of

QUALITY = (
    "Credo.Check.Readability.ModuleDoc",
    "Credo.Check.Readability.Specs",
    "Credo.Check.Refactor.ABCSize",
    "Credo.Check.Warning.UnsafeToAtom",
    "Credo.Check.Warning.LazyLogging",
)
SECURITY = ("DOS.StringToAtom", "SQL.Query", "XSS.HTML", "Misc.FilePath")

LAST = '''defmodule Books do
  @moduledoc """
  Small tools for books.
  """

  @doc """
  Takes the author of the last book.

  ## Examples

      iex> Books.last([%{title: "Rain", author: "Ivo"}])
      "Ivo"

  """
  @spec last([map()]) :: String.t()
  def last(books), do: List.last(books).author
end
'''
BARE = """defmodule Books do
  @spec last([map()]) :: String.t()
  def last(books), do: List.last(books).author
end
"""
TESTS = """defmodule BooksTest do
  use ExUnit.Case

  test "the author" do
    assert Books.last([%{title: "Rain", author: "Ivo"}]) == "Ivo"
  end
end
"""

EXERCISE = example_of(
    LAST,
    kind="exercise",
    name="Books.last/1",
    instruction="Write `Books.last/1`, the author of the last book.",
    explanation="`List.last/1` gives the last book.",
    tests=TESTS,
    test_type="exunit",
    before=LAST.replace(").author", ").title"),
    diagnosis="It reads `title`, but the task is about `author`.",
    injected="wrong_field",
)
CLARIFICATION = example_of(
    "def pick(list), do: hd(list)\n",
    kind="clarification",
    instruction="Write pick/1.",
    question="Which one?",
    answers=("The first.", "The last."),
    turns=(
        Turn(role="user", content="Write pick/1."),
        Turn(role="assistant", content="Which one?"),
        Turn(role="user", content="The first."),
        Turn(role="assistant", content="```elixir\ndef pick(list), do: hd(list)\n```"),
    ),
)
DIALOGUE = example_of(
    "def add(a), do: a + 5\n",
    kind="dialogue",
    instruction="Add 1.",
    before="def add(a), do: a + 1\n",
    turns=(
        Turn(role="user", content="Add 1."),
        Turn(role="assistant", content="```elixir\ndef add(a), do: a + 1\n```"),
        Turn(role="user", content="Now 4 more."),
        Turn(role="assistant", content="```elixir\ndef add(a), do: a + 5\n```"),
    ),
)
FUNCTION = example_of(
    "@spec size(list) :: integer\ndef size(list), do: length(list)\n",
    kind="function",
    name="Shop.size/1",
    instruction="Counts what is there.",
    tests="iex> size([1])\n1",
    test_type="doctest",
    checked_by=("credo 1.7.19", "sobelow 0.15.0"),
)
MODULE = example_of(
    "defmodule Shop do\n  def load(name), do: String.to_atom(name)\nend\n",
    kind="module",
    name="Shop",
    instruction="Sells what there is.",
    labels=(
        Label(tool="credo", check="Credo.Check.Readability.Specs", line=2),
        Label(tool="credo", check="Credo.Check.Warning.UnsafeToAtom", line=2),
        Label(tool="sobelow", check="DOS.StringToAtom", line=2),
    ),
    checked_by=("credo 1.7.19", "sobelow 0.15.0"),
)
_CLEAN = "defmodule Shop do\n  @moduledoc false\n\n  def load(name) do\n    String.to_existing_atom(name)\n  end\nend\n"
_SPECS = Label(tool="credo", check="Credo.Check.Readability.Specs", line=4)
VIOLATION = example_of(
    _CLEAN,
    kind="violation",
    name="Shop",
    before=_CLEAN.replace("existing_", ""),
    diagnosis="Denial of service, CWE-770: each new `name` is a new atom.",
    injected="atoms_of_texts",  # a rule for DOS.StringToAtom
    labels=(_SPECS,),
    before_labels=(
        _SPECS,
        Label(tool="credo", check="Credo.Check.Warning.UnsafeToAtom", line=5),
        Label(tool="sobelow", check="DOS.StringToAtom", line=5),
    ),
    checked_by=("credo 1.7.19", "sobelow 0.15.0"),
)
CHANGE = example_of("def a(b), do: b + 1\n", kind="change", before="def a(b), do: b\n", instruction="Count from one")
TEST_PAIR = example_of(BARE, kind="test_pair", name="Books", tests=TESTS, test_type="conn", matched="path")
EXAMPLES = (EXERCISE, CLARIFICATION, DIALOGUE, FUNCTION, MODULE, VIOLATION, CHANGE, TEST_PAIR)


def setup_of(source_length=1024, target_length=1024, tokenizer=TOKENIZER):
    return Setup(tokenizer, SpecialTokens.of(tokenizer), source_length, target_length, QUALITY, SECURITY)


def read(ids):
    return TOKENIZER.decode(ids)


def named(names, vector):
    """The labels of a judgement by name, without those that are 0."""
    return {name.rpartition(".")[2]: int(value) for name, value in zip(names, vector, strict=True) if value}


def fields_of(row):
    """A row as something that == compares."""
    judgements = {head: vector.tolist() for head, vector in row.judgements.items()}
    return row.source, row.target, judgements, row.candidates, row.match


source_lengths = st.integers(MIN_SOURCE_LENGTH, 400)
target_lengths = st.integers(MIN_TARGET_LENGTH, 400)
texts = st.text(alphabet=st.sampled_from("ab_(\n \"'</s>|é界🎉"), max_size=60)


@st.composite
def examples(draw):
    """One of the examples, with other texts in it."""
    from dataclasses import replace

    example = draw(st.sampled_from(EXAMPLES))
    code = draw(st.sampled_from([example.code, draw(texts) + "\n" + example.code, draw(texts) or "x"]))
    others = {
        name: getattr(example, name) + draw(texts)
        for name in ("instruction", "explanation", "tests", "before", "diagnosis", "question")
        if getattr(example, name)
    }
    return replace(example, code=code, **others)
