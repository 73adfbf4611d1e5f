import pytest

from elixir_coder.evaluation.assembly import assemble
from elixir_coder.evaluation.problems import Problem
from elixir_coder.toolchain.toolchain import Toolchain

pytestmark = pytest.mark.elixir

TESTS = 'test "a" do\nend'
PROMPT = "defmodule Pair do\n  def swap({a, b}) do\n"
TASK = Problem(id="a", prompt=PROMPT, entry="Pair.swap/1", tests=TESTS)
ASKED = Problem(id="b", prompt="Swap a pair.", entry="Pair.swap/1", tests=TESTS, kind="instruction")
WHOLE = "defmodule Pair do\n  def swap({a, b}) do\n    {b, a}\n  end\nend"


@pytest.fixture(scope="module")
def read():
    with Toolchain(workers=1) as toolchain:
        yield lambda problem, answer: assemble(problem, answer, toolchain)


def is_read(assembled, form, code):
    assert (assembled.form, assembled.code.strip()) == (form, code.strip())
    return True


# -------------------------------------------------------------------------------------------------------- continuations


def test_a_continuation_ends_where_the_module_closes(read):
    body = "    {b, a}\n  end\nend"
    for rest in ["", "\n", "\n\ndefmodule Next do\n  def f(", "\nend\nend\n", "\n\nThis swaps the pair. Isn't it?\n"]:
        assert is_read(read(TASK, body + rest), "continuation", WHOLE)


def test_a_continuation_goes_on_from_the_middle_of_a_line(read):
    task = Problem(id="a", prompt="defmodule Pair do\n  def swap({a, b}), do:", entry="Pair.swap", tests=TESTS)
    assert is_read(read(task, " {b, a}\nend\nmore ("), "continuation", f"{task.prompt} {{b, a}}\nend")


def test_a_module_that_is_left_open_is_closed_after_the_last_whole_function(read):
    answer = (
        "    {b, a}\n  end\n\n  def twice(pair), do: pair |> swap() |> swap()\n\n  def thrice(pair) do\n    pair |> "
    )
    assert is_read(
        read(TASK, answer),
        "continuation",
        f"{PROMPT}    {{b, a}}\n  end\n\n  def twice(pair), do: pair |> swap() |> swap()\n\nend",
    )


def test_a_function_that_is_left_open_is_not_closed(read):
    assert is_read(read(TASK, "    {b, a}\n"), "unparsable", f"{PROMPT}    {{b, a}}\n")


def test_nested_modules_that_are_left_open_are_all_closed(read):
    prompt = "defmodule Store do\n  defmodule Box do\n  end\n\n  defmodule Pair do\n    def swap({a, b}) do\n"
    task = Problem(id="a", prompt=prompt, entry="Store.Pair.swap", tests=TESTS)
    assert is_read(read(task, "      {b, a}\n    end\n"), "continuation", prompt + "      {b, a}\n    end\n\nend\nend")
    closed_one = "      {b, a}\n    end\n  end\n"
    assert is_read(read(task, closed_one), "continuation", prompt + closed_one + "\nend")


@pytest.mark.parametrize(
    "line",
    [
        '    text = "end"',
        "    # end",
        "    text = ~s(end)\n    [end: text]",
        '    text = """\n    end\n    end\n    """',
    ],
)
def test_the_word_end_in_texts_comments_and_keys_closes_nothing(line, read):
    answer = f"{line}\n    {{b, a}}\n  end\nend"
    assert is_read(read(TASK, answer + "\n\njunk ("), "continuation", PROMPT + answer)


def test_documentation_with_a_fenced_block_is_not_taken_for_an_answer_in_one(read):
    answer = (
        "    {b, a}\n  end\n\n"
        '  @doc """\n  ```elixir\n  defmodule Pair do\n  end\n  ```\n  """\n  def same(pair), do: pair\nend'
    )
    assert is_read(read(TASK, answer), "continuation", PROMPT + answer)


def test_stop_texts_end_an_answer(read):
    task = Problem(id="a", prompt=PROMPT, entry="Pair.swap", tests=TESTS, stop=("\n\n", "\n#"))
    assert is_read(read(task, "    {b, a}\n  end\nend\n# more\n\nend"), "continuation", WHOLE)
    assert read(task, "    c = a\n\n    {b, c}\n  end\nend").form == "unparsable"


def test_windows_line_ends_are_read_as_any_others(read):
    assert is_read(read(TASK, "    {b, a}\r\n  end\r\nend\r\n"), "continuation", WHOLE)


def test_an_answer_that_repeats_the_module_after_finishing_it_counts_for_what_came_first(read):
    answer = f"    {{b, a}}\n  end\nend\n\n{WHOLE.replace('b, a', 'a, b')}"
    assert is_read(read(TASK, answer), "continuation", WHOLE)


# -------------------------------------------------------------------------------------------------------- whole modules


@pytest.mark.parametrize("task", [TASK, ASKED], ids=["continuation", "instruction"])
@pytest.mark.parametrize(
    "answer",
    [
        WHOLE,
        f"\n\n{WHOLE}\n\nThis swaps.\n",
        f"```elixir\n{WHOLE}\n```",
        f"Here is the function you asked for:\n\n```elixir\n{WHOLE}\n```\n\nIt takes a tuple. Isn't that nice?",
        f"```\n{WHOLE}\n```",
        f"~~~Elixir\n{WHOLE}\n~~~",
        f"Sure!\n\n```elixir\n{WHOLE}",
        f"First:\n\n```bash\nmix new pair\n```\n\nThen\n```elixir\n{WHOLE}\n```\nand\n```elixir\nPair.swap(1)\n```",
        f"Here is the module:\n\n{WHOLE}\n\nThat's all.",
        f"here is: \n\n{WHOLE}\n\ndone",
    ],
)
def test_a_whole_module_is_found_among_words(task, answer, read):
    assert is_read(read(task, answer), "module", WHOLE)


def test_a_module_keeps_the_modules_and_comments_around_it(read):
    answer = "# A pair.\nalias Enum, as: E\n\ndefmodule Left do\nend\n\n" + WHOLE + "\n\ndefmodule Right do\nend"
    assert is_read(read(ASKED, f"Well,\n{answer}\nwell."), "module", answer)


def test_modules_in_several_blocks_are_compiled_together(read):
    answer = f"```elixir\ndefmodule Helper do\nend\n```\nand\n```elixir\n{WHOLE.replace('Pair', 'Other')}\n```"
    task = Problem(id="a", prompt="x", entry="Pair", tests=TESTS, kind="instruction")
    assert read(task, answer).form == "renamed"
    whole = f"```elixir\n{WHOLE}\n```\nand\n```elixir\ndefmodule Helper do\nend\n```"
    assert is_read(read(task, whole), "module", WHOLE)


def test_a_nested_module_may_be_the_one_asked_for(read):
    task = Problem(id="a", prompt="x", entry="Store.Pair.swap", tests=TESTS, kind="instruction")
    for answer in ["defmodule Store do\n  defmodule Pair do\n  end\nend", "defmodule Store.Pair do\nend"]:
        assert is_read(read(task, answer), "module", answer)


def test_a_prompt_with_nothing_open_stays_above_the_module(read):
    prompt = "# Pairs.\ndefmodule Helper do\n  def id(x), do: x\nend\n"
    task = Problem(id="a", prompt=prompt, entry="Pair.swap", tests=TESTS)
    assert is_read(read(task, f"\n{WHOLE}\n\nand more ("), "module", f"{prompt}\n\n{WHOLE}")


def test_functions_alone_are_what_stands_in_the_module_asked_for(read):
    functions = "def swap({a, b}), do: {b, a}\n\ndef same(pair) do\n  pair\nend"
    expected = f"defmodule Pair do\n{functions}\n\nend"
    assert is_read(read(ASKED, f"Here:\n```elixir\n{functions}\n```"), "continuation", expected)


def test_the_body_alone_in_a_block_goes_on_with_the_prompt(read):
    task = Problem(id="a", prompt=PROMPT.rstrip("\n"), entry="Pair.swap", tests=TESTS)
    assert is_read(read(task, "```elixir\n    {b, a}\n  end\nend\n```"), "continuation", WHOLE)


# -------------------------------------------------------------------------------------------------------------- renamed


def test_a_single_module_of_another_name_gets_the_name_asked_for(read):
    answer = (
        "defmodule My.Swapper do\n"
        '  @moduledoc "My.Swapper swaps."\n'
        "  defstruct [:of]\n"
        "  # My.Swapper\n"
        "  def new(x), do: %My.Swapper{of: x}\n"
        '  def name, do: "My.Swapper" <> inspect(My.Swapper.Error) <> inspect(MyOther)\n'
        '  def é(x), do: {x, My.Swapper.new(x), :"My.Swapper"}\n'
        "end"
    )
    expected = (
        "defmodule Pair do\n"
        '  @moduledoc "My.Swapper swaps."\n'
        "  defstruct [:of]\n"
        "  # My.Swapper\n"
        "  def new(x), do: %Pair{of: x}\n"
        '  def name, do: "My.Swapper" <> inspect(Pair.Error) <> inspect(MyOther)\n'
        '  def é(x), do: {x, Pair.new(x), :"My.Swapper"}\n'
        "end"
    )
    for task in (TASK, ASKED):
        assert is_read(read(task, answer), "renamed", expected)


def test_of_several_modules_none_is_renamed(read):
    assert read(ASKED, "defmodule A do\nend\n\ndefmodule B do\nend").form == "unparsable"


# ----------------------------------------------------------------------------------------------------------- unparsable


@pytest.mark.parametrize("answer", ["", "I cannot do that.", "```elixir\ndefmodule Pair do\n  def (", ")" * 50, "\x00"])
def test_what_does_not_parse_is_judged_as_it_is(answer, read):
    assert is_read(read(TASK, answer), "unparsable", PROMPT + answer)


def test_an_answer_of_endless_ends_is_read_in_a_moment(read):
    assert read(TASK, "end end (\n" * 15_000).form == "unparsable"
    assert read(TASK, "x\n" * 200_000).form == "unparsable"
