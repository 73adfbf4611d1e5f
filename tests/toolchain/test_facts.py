"""What a text says of itself, against texts whose facts are plain to see, and against the compiler."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elixir_coder.toolchain.toolchain import Toolchain

pytestmark = pytest.mark.elixir

CODE = '''
defmodule Shop.Cart do
  @moduledoc "What is to be bought."
  use GenServer
  alias Shop.{Item, Price}
  alias Shop.Long.Name, as: Short
  @type t :: %{items: [Item.t()]}
  defstruct [:owner, items: []]
  @limit 5

  @doc """
  Adds an item.

      iex> 1
      1
  """
  @spec add(t, Item.t()) :: t
  def add(cart, item, times \\\\ 1)
  def add(%{items: items} = cart, item, times) when times > 0 and is_map(item) do
    added = [Price.of(item, times) | items]
    %{cart | items: added |> Short.sort(:asc) |> Enum.map(&price/1)}
  end

  # between two functions

  defp price(häuser), do: häuser

  @doc false
  @impl GenServer
  def init([owner | _]), do: {:ok, owner}

  @callback total(t) :: integer

  if @limit > 4 do
    def limit, do: :lists.max([@limit])
  end

  defmodule Line do
    def cart, do: Shop.Cart.limit()
  end
end

defimpl String.Chars, for: Shop.Cart do
  def to_string(cart), do: cart.owner
end
'''


@pytest.fixture(scope="module")
def toolchain():
    with Toolchain(workers=1) as toolchain:
        yield toolchain


@pytest.fixture(scope="module")
def modules(toolchain):
    return {module.name: module for module in toolchain.facts(CODE).modules}


def function(module, name):
    return next(each for each in module.functions if each.name == name)


def test_modules_are_named_in_full_and_come_after_their_parents(modules):
    assert list(modules) == ["Shop.Cart", "Shop.Cart.Line", "String.Chars.Shop.Cart"]
    impl = modules["String.Chars.Shop.Cart"]
    assert (impl.kind, impl.protocol, impl.target) == ("impl", "String.Chars", "Shop.Cart")
    assert (modules["Shop.Cart"].line, modules["Shop.Cart"].end_line) == (2, 41)


def test_what_a_module_says_of_itself(modules):
    cart = modules["Shop.Cart"]
    assert cart.doc == "What is to be bought."
    assert cart.uses == cart.behaviours == ("GenServer",)
    assert cart.aliases == (("Item", "Shop.Item"), ("Price", "Shop.Price"), ("Short", "Shop.Long.Name"))
    assert cart.struct == ("owner", "items")
    assert cart.types == (("type", "t :: %{items: [Item.t()]}"),)
    assert cart.callbacks == ("total(t) :: integer",)
    assert cart.attributes == ("limit",)
    assert (cart.doc_line, cart.doc_end_line) == (3, 3)
    assert modules["Shop.Cart.Line"].doc is None


def test_one_text_may_be_several_modules(toolchain):
    code = "defimpl P, for: [A, Integer] do\n  def f(x), do: x\n  defmodule In do\n  end\nend\n"
    code += "defmodule Elixir do\nend\n"
    found = [(each.name, each.target, len(each.functions)) for each in toolchain.facts(code).modules]
    assert found == [("P.A", "A", 1), ("P.Integer", "Integer", 1), ("P.A.In", "", 0), ("Elixir", "", 0)]


def test_a_function_is_all_of_its_clauses_with_what_stands_before_them(modules):
    add = function(modules["Shop.Cart"], "add")
    assert (add.arity, add.num_defaults, add.kind) == (3, 1, "def")
    assert add.doc == "Adds an item.\n\n    iex> 1\n    1\n"
    assert (add.doc_line, add.doc_end_line) == (11, 16)
    assert add.specs == ("add(t, Item.t()) :: t",)
    assert (add.line, add.head_line, add.end_line) == (11, 18, 22)
    (clause,) = add.clauses
    assert clause.params == ("%{items: items} = cart", "item", "times")
    assert clause.guard == "times > 0 and is_map(item)"
    init = function(modules["Shop.Cart"], "init")
    assert (init.doc, init.impl, init.line) == ("", "GenServer", 28)


def test_a_function_in_a_condition_belongs_to_the_module(modules):
    assert [each.name for each in modules["Shop.Cart"].functions] == ["add", "price", "init", "limit"]


def test_calls_are_resolved_and_a_pipe_counts_as_an_argument(modules):
    add = function(modules["Shop.Cart"], "add")
    assert [(call.module, call.name, call.arity) for call in add.calls] == [
        ("", "is_map", 1),
        ("Shop.Price", "of", 2),
        ("Shop.Long.Name", "sort", 2),
        ("Enum", "map", 2),
        ("", "price", 1),
    ]
    (call,) = function(modules["Shop.Cart"], "limit").calls
    assert (call.module, call.name, call.arity, call.line) == (":lists", "max", 1, 35)


def test_values_come_from_where_they_were_bound(modules):
    variables = function(modules["Shop.Cart"], "add").variables[3:]  # without those of the head that has no body
    names = [each.name for each in variables]
    assert names == [
        "items",
        "cart",
        "item",
        "times",
        "times",
        "item",
        "added",
        "item",
        "times",
        "items",
        "cart",
        "added",
    ]
    sources = [tuple(source - 3 for source in each.sources) for each in variables]
    assert sources == [(), (), (), (), (3,), (2,), (7, 8, 9), (2,), (3,), (0,), (1,), (6,)]
    assert [each.is_bound for each in variables] == [True] * 4 + [False, False, True] + [False] * 5


def test_what_a_branch_binds_ends_with_it(toolchain):
    code = """
    defmodule A do
      def f(x) do
        if x do
          y = 1
          y
        end

        case x do
          {:ok, y} -> fn z -> {y, z, ^x} end
          other -> with {:ok, y} <- other, do: y
        end

        y = x
        y
      end
    end
    """
    (module,) = toolchain.facts(code).modules
    flow = [(each.name, each.line, each.sources) for each in module.functions[0].variables]
    assert flow == [
        ("x", 3, ()),
        ("x", 4, (0,)),
        ("y", 5, ()),
        ("y", 6, (2,)),
        ("x", 9, (0,)),
        ("y", 10, (4,)),
        ("z", 10, ()),
        ("y", 10, (5,)),
        ("z", 10, (6,)),
        ("x", 10, (0,)),
        ("other", 11, (4,)),
        ("y", 11, (12,)),
        ("other", 11, (10,)),
        ("y", 11, (11,)),
        ("y", 14, (15,)),
        ("x", 14, (0,)),
        ("y", 15, (14,)),
    ]


def test_a_pair_binds_both_sides_and_a_map_its_values_alone(toolchain):
    code = """
    defmodule A do
      def f({a, b}, key) do
        {c, %{^key => d, k: {e, g}}} = a
        [b, c, d, e, g]
      end
    end
    """
    (module,) = toolchain.facts(code).modules
    variables = module.functions[0].variables
    bound = {each.name for each in variables if each.is_bound}
    assert bound == {"a", "b", "key", "c", "d", "e", "g"}
    used = [each for each in variables if not each.is_bound]
    assert sorted(each.name for each in used) == sorted(["a", "key", *"bcdeg"])
    assert all(variables[each.sources[0]].name == each.name for each in used)


def test_tests_are_found_with_their_describe(toolchain):
    code = """
    defmodule ATest do
      use ExUnit.Case
      doctest A

      describe "add" do
        test "two", %{a: a} do
          assert A.add(a) == 2
        end
      end

      test "none", do: refute A.none()
    end
    """
    report = toolchain.facts(code)
    (module,) = report.modules
    assert module.tests == (("add", "two", 7, 9), ("", "none", 12, 12))
    assert module.doctests == ("A",)
    assert [(call.module, call.name) for call in report.calls if call.module] == [("A", "add"), ("A", "none")]


def test_a_text_that_does_not_parse_says_where(toolchain):
    report = toolchain.facts("defmodule A do\n  def\nend end\n", path="a.ex")
    assert report.outcome == "syntax_error"
    assert report.modules == ()
    assert report.findings[0].path == "a.ex"


def test_names_that_code_works_out_are_left_out(toolchain):
    code = "defmodule A do\n  for n <- [:a], do: def(unquote(n)(), do: 1)\n  def b, do: 2\nend\n"
    (module,) = toolchain.facts(code).modules
    assert [each.name for each in module.functions] == ["b"]


def test_clauses_in_a_loop_do_not_stand_together_with_those_behind_it(toolchain):
    code = "defmodule A do\n  for n <- [1, 2] do\n    def f(unquote(n)), do: 1\n  end\n\n  def f(_), do: 2\nend\n"
    ((function,),) = (module.functions for module in toolchain.facts(code).modules)
    assert (function.line, function.end_line, len(function.clauses)) == (3, 3, 2)


def test_what_a_test_or_a_loop_defines_is_found(toolchain):
    code = """
    defmodule ATest do
      test "a" do
        defmodule Inner do
          def inner, do: Enum.sum([1])
        end

        Inner.inner()
      end

      Enum.each([1], fn _ ->
        def looped, do: 1
      end)

      def keywords a: 1
    end
    """
    report = toolchain.facts(code)
    outer, inner = report.modules
    assert [each.name for each in outer.functions] == ["looped", "keywords"]
    assert (inner.name, [each.name for each in inner.functions]) == ("ATest.Inner", ["inner"])
    assert [(call.module, call.name) for call in report.calls if call.module] == [("Inner", "inner"), ("Enum", "each")]


def test_no_atom_is_made_of_a_name(toolchain):
    code = "".join(f"defmodule Facts{n} do\n  def facts_{n}(v_{n}), do: v_{n}\nend\n" for n in range(500))
    _, before = toolchain.submit("facts", {"code": "a"}, evaluates=False)
    result, after = toolchain.submit("facts", {"code": code}, evaluates=False)
    assert len(result["modules"]) == 500
    assert after["atoms"] - before["atoms"] < 50


NAMES = st.from_regex(r"\A[a-z][a-z0-9_]{2,8}[?!]?\Z").filter(
    lambda name: not re.match("end|and|not|when|nil|true", name)
)
HEADS = st.tuples(
    st.sampled_from(["def", "defp", "defmacro", "def"]),
    NAMES,
    st.lists(st.sampled_from(["_", "{:ok, _x}", "[_h | _t]", "%{a: 1}", '"é" <> _s', "_a \\\\ 1"]), max_size=3),
    st.sampled_from(["", " when 1 > 0"]),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(heads=st.lists(HEADS, min_size=1, max_size=6, unique_by=lambda head: head[1]))
def test_the_compiler_finds_the_same_functions(toolchain, heads):
    code = "defmodule Found do\n"
    for kind, name, params, guard in heads:
        code += f"  {kind} {name}({', '.join(params)}){guard}, do: :ok\n"
    code += "end\n"
    definitions = toolchain.definitions(code)
    (module,) = toolchain.facts(code).modules
    found = {
        (kind, each.name, arity)
        for each in module.functions
        for arity in range(each.arity - each.num_defaults, each.arity + 1)
        if (kind := each.kind) != "defp"
    }
    (compiled,) = definitions.modules
    expected = {("def", *each) for each in compiled.functions} | {("defmacro", *each) for each in compiled.macros}
    assert found == expected
    assert [each.clauses[0].params for each in module.functions] == [tuple(params) for _, _, params, _ in heads]
