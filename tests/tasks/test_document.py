from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.tasks.document import Document, undocumented
from tests.tasks.given import random
from tests.tasks.supervised import BARE, EXERCISE, FUNCTION, LAST, MODULE, VIOLATION, read, setup_of


def texts_of(example, **lengths):
    row = Document(setup_of(**lengths))(example, random(0))
    return row and (read(row.source), read(row.target))


def test_a_function_becomes_its_documentation():
    assert texts_of(FUNCTION) == (
        "<explanation><code>@spec size(list) :: integer\ndef size(list), do: length(list)\n</s>",
        "Counts what is there.</s>",
    )


def test_of_an_exercise_the_words_of_its_doc_are_written_and_not_read():
    assert texts_of(EXERCISE) == (f"<explanation><code>{BARE}</s>", "Takes the author of the last book.</s>")


def test_documentation_in_a_line_counts_too():
    code = 'defmodule A do\n  @doc "Says \\"hello\\" to everybody."\n  def a, do: :hello\nend\n'

    assert texts_of(replace(EXERCISE, code=code)) == (
        "<explanation><code>defmodule A do\n  def a, do: :hello\nend\n</s>",
        'Says "hello" to everybody.</s>',
    )


def test_an_exercise_with_two_documented_functions_is_not_accepted():
    task = Document(setup_of())
    twice = LAST.replace("  @doc", '  @doc "One."\n  def one, do: 1\n\n  @doc')

    assert task.accepts(EXERCISE) and task.accepts(MODULE)
    assert not task.accepts(replace(EXERCISE, code=twice))
    assert not task.accepts(VIOLATION)


def test_two_words_are_no_documentation():
    code = 'defmodule A do\n  @doc "Hello."\n  def a, do: :hello\nend\n'

    assert texts_of(replace(EXERCISE, code=code)) is None


def test_long_code_is_cut_at_its_end():
    source, target = texts_of(FUNCTION, source_length=20)

    assert f"<explanation><code>{FUNCTION.code}".startswith(source.removesuffix("</s>"))
    assert target == "Counts what is there.</s>"


@pytest.mark.parametrize(
    "text",
    [
        "  @doc false\n  def a, do: 1\n",
        '  @doc since: "1.2.0"\n  def a, do: 1\n',
        '  @documentation "x"\n',
        '  "@doc \\"x\\""\n',
        '  @doc "not closed\n  def a, do: 1\n',
    ],
)
def test_what_says_nothing_in_words_stays(text):
    assert undocumented(text) == text


@pytest.mark.parametrize("text", ['@doc "a"\n', '@typedoc ~S"""\n  a "b"\n  """\n', '  @moduledoc """\n  """\n\n'])
def test_what_says_something_in_words_goes(text):
    assert undocumented(f"x\n{text}y\n") == "x\ny\n"


@given(st.text(alphabet=st.sampled_from('@doc "\\\n'), max_size=200))
def test_nothing_is_added_by_taking_documentation_out(text):
    assert len(undocumented(text)) <= len(text)
    assert undocumented(f"def a, do: 1\n{text}").startswith("def a, do: 1\n")
