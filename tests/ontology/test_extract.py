import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.ontology.extract import schema_triples, signature, triples
from elixir_coder.ontology.vocabulary import (
    BASE,
    CORE,
    OTP,
    RDF,
    STRUCTURE,
    XSD,
    file_iri,
    function_iri,
    location_iri,
    module_iri,
    name_iri,
    shown,
)
from elixir_coder.toolchain.facts import Call, Clause, FactsReport, FunctionFacts, ModuleFacts
from elixir_coder.toolchain.finding import Outcome
from elixir_coder.toolchain.toolchain import Toolchain

oxigraph = pytest.importorskip("pyoxigraph")

COUNTER = '''\
defmodule Shop.Counter do
  @moduledoc "Counts."
  use GenServer
  alias Shop.Stock, as: Shelf
  import Bitwise
  @limit 10

  @type count :: non_neg_integer()
  @callback price(item :: term, opts :: keyword) :: integer

  defstruct [:name, count: 0]

  @doc """
  Starts it.

      iex> Shop.Counter.start_link()
  """
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(opts \\\\ []), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @impl true
  def init(opts), do: {:ok, Keyword.get(opts, :count, 0)}

  @impl GenServer
  def handle_call(:count, _from, state), do: {:reply, state, state}
  def handle_call({:add, number}, _from, state) when is_integer(number) and number > 0 do
    {:reply, :ok, add(state, number)}
  end

  def handle_cast(:reset, _state), do: {:noreply, 0}

  defp add(left, right), do: band(left + right, @limit) |> wrap() |> Shelf.put()
  defmacro empty?(x), do: quote(do: unquote(x) == 0)
  defguard is_count(x) when is_integer(x)
end

defimpl String.Chars, for: Shop.Counter do
  def to_string(counter), do: counter.name
end

defmodule Shop.CounterTest do
  use ExUnit.Case, async: true
  doctest Shop.Counter

  describe "counting" do
    test "starts at 0" do
      assert is_tuple(Shop.Counter.start_link())
    end
  end
end
'''
PLACE = {"package": "shop", "version": "1.0.0", "path": "lib/counter.ex"}


@pytest.fixture(scope="module")
def toolchain():
    with Toolchain(workers=1) as toolchain:
        yield toolchain


class Graph:
    """Triples by subject and predicate."""

    def __init__(self, facts):
        self.triples = list(triples(facts, **PLACE))

    def values(self, subject, predicate):
        return [
            each.object.value
            for each in self.triples
            if (each.subject.value, each.predicate.value) == (subject, predicate)
        ]

    def subjects(self, predicate, value):
        return [
            each.subject.value
            for each in self.triples
            if (each.predicate.value, each.object.value) == (predicate, value)
        ]


@pytest.fixture(scope="module")
def graph(toolchain):
    return Graph(toolchain.facts(COUNTER))


def module(name="Shop.Counter"):
    return module_iri("shop", "1.0.0", name)


def function(name, arity, of="Shop.Counter"):
    return function_iri("shop", "1.0.0", of, name, arity)


pytestmark = pytest.mark.elixir


def test_a_module_says_what_it_is_and_where(graph):
    assert graph.values(module(), RDF.type) == [STRUCTURE.Module, STRUCTURE.StructModule]
    assert graph.values(module(), STRUCTURE.identifiedBy) == [name_iri("Shop.Counter")]
    assert graph.values(module(), STRUCTURE.documentation) == ["Counts."]
    assert graph.values(module(), CORE.definedAt) == [location_iri(file_iri(*PLACE.values()), 1, 35)]
    fields = graph.values(f"{module()}#struct", STRUCTURE.hasField)
    assert [graph.values(field, CORE.name) for field in fields] == [["name"], ["count"]]
    assert graph.values(module(), STRUCTURE.definesType) == [f"{module()}#type/count/0"]
    assert graph.values(module(), STRUCTURE.declaresCallback) == [name_iri("Shop.Counter", "price", 2)]


def test_a_function_has_its_clauses_parameters_and_guard_in_order(graph):
    clauses = graph.values(function("handle_call", 3), STRUCTURE.hasClause)
    assert [graph.values(clause, STRUCTURE.position) for clause in clauses] == [["1"], ["2"]]
    parameters = graph.values(clauses[1], STRUCTURE.hasParameter)
    assert [graph.values(each, CORE.text) for each in parameters] == [["{:add, number}"], ["_from"], ["state"]]
    (guard,) = graph.values(clauses[1], STRUCTURE.hasGuard)
    assert graph.values(guard, CORE.text) == ["is_integer(number) and number > 0"]


def test_numbers_keep_the_exact_types_of_the_ontology(graph):
    types = {
        each.predicate.value: each.object.datatype.value for each in graph.triples if hasattr(each.object, "datatype")
    }
    assert types[STRUCTURE.arity] == XSD.nonNegativeInteger
    assert types[CORE.line] == types[CORE.endLine] == types[STRUCTURE.position] == XSD.positiveInteger


def test_a_function_with_defaults_answers_to_each_of_its_arities(graph):
    names = graph.values(function("start_link", 1), STRUCTURE.identifiedBy)
    assert names == [name_iri("Shop.Counter", "start_link", 0), name_iri("Shop.Counter", "start_link", 1)]
    assert graph.values(function("start_link", 1), STRUCTURE.minimumArity) == ["0"]
    (spec,) = graph.values(function("start_link", 1), STRUCTURE.hasSpecification)
    assert graph.values(spec, STRUCTURE.arity) == ["1"]
    assert graph.values(function("start_link", 1), STRUCTURE.hasDoctest) == [function("start_link", 1) + "#doctest"]


def test_visibility_and_kind_are_classes(graph):
    assert graph.values(function("add", 2), RDF.type) == [STRUCTURE.Function, STRUCTURE.PrivateFunction]
    assert graph.values(function("empty?", 1), RDF.type) == [
        STRUCTURE.Function,
        STRUCTURE.PublicFunction,
        STRUCTURE.Macro,
    ]
    assert STRUCTURE.Guard in graph.values(function("is_count", 1), RDF.type)


@pytest.mark.parametrize(("name", "arity"), [("init", 1), ("handle_call", 3), ("handle_cast", 2)])
def test_callbacks_are_known_by_impl_or_by_name_alone(graph, name, arity):
    assert graph.values(function(name, arity), STRUCTURE.implementsCallback) == [name_iri("GenServer", name, arity)]


def test_a_module_plays_the_role_its_behaviour_gives(graph):
    assert graph.values(module(), OTP.playsRole) == [OTP.Server]
    assert graph.values(function("start_link", 1), OTP.performs) == [OTP.LinkedStart]


def test_an_implementation_answers_its_protocol(graph):
    implementation = module("String.Chars.Shop.Counter")
    assert STRUCTURE.ProtocolImplementation in graph.values(implementation, RDF.type)
    assert graph.values(implementation, STRUCTURE.forType) == [name_iri("Shop.Counter")]
    to_string = function("to_string", 1, of="String.Chars.Shop.Counter")
    assert graph.values(to_string, STRUCTURE.implementsCallback) == [name_iri("String.Chars", "to_string", 1)]


def test_calls_lead_to_names_and_to_functions_of_the_file(graph):
    calls = {shown(name) for name in graph.values(function("add", 2), STRUCTURE.calls)}
    assert calls == {"Bitwise.band/2", "Shop.Stock.put/1"}  # of Elixir's imports, and by its alias
    (unresolved,) = graph.subjects(STRUCTURE.calledName, "wrap")
    assert graph.values(unresolved, RDF.type) == [STRUCTURE.Call, STRUCTURE.UnresolvedCall]
    assert graph.values(unresolved, STRUCTURE.calledArity) == ["1"]
    assert graph.values(function("handle_call", 3), STRUCTURE.callsFunction) == [function("add", 2)]


def test_a_test_owns_what_it_calls(graph):
    (test,) = graph.values(module("Shop.CounterTest"), STRUCTURE.hasTest)
    assert graph.values(test, CORE.name) == ["starts at 0"]
    assert graph.values(test, STRUCTURE.describe) == ["counting"]
    called = {shown(name) for name in graph.values(test, STRUCTURE.calls)}
    assert called == {"ExUnit.Assertions.assert/1", "Kernel.is_tuple/1", "Shop.Counter.start_link/0"}
    assert graph.values(test, STRUCTURE.callsFunction) == [function("start_link", 1)]
    assert graph.values(module("Shop.CounterTest"), STRUCTURE.runsDoctestsOf) == [name_iri("Shop.Counter")]


def test_every_term_is_defined_in_the_schemas(graph):
    defined = {getattr(triple.subject, "value", None) for triple in schema_triples()}
    used = {each.predicate.value for each in graph.triples}
    used |= {each.object.value for each in graph.triples if each.predicate.value == RDF.type}
    used |= set(graph.values(module(), OTP.playsRole))
    assert {iri for iri in used if iri.startswith(BASE)} - defined == set()
    assert len(used) > 50


def test_the_same_facts_give_the_same_triples_each_once(toolchain, graph):
    again = Graph(toolchain.facts(COUNTER)).triples
    assert again == graph.triples
    assert len(set(again)) == len(again)


def test_whatever_the_compiler_defines_is_mapped(toolchain):
    """The count is the compiler's own: what is exported by the modules it made of the same text."""
    code = """
    defmodule Odd do
      def valid?(x), do: x
      def a + b, do: {a, b}
      def left ~> right, do: {left, right}
      def first..last//step, do: {first, last, step}
      def sigil_r(text, _modifiers), do: text
      def many(a, b \\\\ 1, c \\\\ 2)
      def many(a, b, c), do: {a, b, c}
      def größe, do: 1
      def unquote(:"with space")(x), do: x
      if true do
        def inside, do: :if
      end
      defdelegate size(map), to: Map, as: :keys
      defmacro twice(x), do: x
      defguard is_one(x) when x == 1
      import Kernel, except: [+: 2, "..//": 3]
      defmodule Nested do
        def run, do: :nested
      end
      defmodule Error do
        defexception [:message]
        def exception(_), do: %__MODULE__{}
      end
    end
    """
    compiled = toolchain.definitions(code)
    assert compiled.ok, compiled.findings
    found = {
        each.object.value
        for each in triples(toolchain.facts(code), **PLACE)
        if each.predicate.value == STRUCTURE.identifiedBy
    }
    missing = {
        name_iri(module.name, name, arity)
        for module in compiled.modules
        for name, arity in (*module.functions, *module.macros)
    } - found
    # what defexception writes, and a name that is worked out
    assert sorted(map(shown, missing)) == ["Odd.Error.message/1", "Odd.with space/1"]
    assert sum(len(module.functions) + len(module.macros) for module in compiled.modules) > 15


# ------------------------------------------------------------------------------------------------ facts by hand


def function_facts(name="f", arity=0, **fields):
    plain = {
        "num_defaults": 0,
        "kind": "def",
        "doc": None,
        "specs": (),
        "impl": "",
        "line": 2,
        "head_line": 2,
        "end_line": 2,
        "clauses": (Clause(params=("x",) * arity, guard="", line=2, end_line=2),),
        "calls": (),
        "variables": (),
    }
    return FunctionFacts(name=name, arity=arity, **(plain | fields))


def report(*functions, calls=(), **fields):
    plain = {"name": "M", "kind": "module", "line": 1, "end_line": 9, "doc": None}
    return FactsReport(outcome=Outcome.OK, modules=(ModuleFacts(**(plain | fields), functions=functions),), calls=calls)


def callbacks(facts, name, arity):
    return [
        shown(each)
        for each in Graph(facts).values(function_iri("shop", "1.0.0", "M", name, arity), STRUCTURE.implementsCallback)
    ]


def test_impl_true_is_answered_by_the_one_behaviour_that_is_not_known():
    marked = function_facts("call", 2, impl="true")
    assert callbacks(report(marked, behaviours=("Plug",)), "call", 2) == ["Plug.call/2"]
    assert callbacks(report(marked, behaviours=("GenServer", "Plug")), "call", 2) == ["Plug.call/2"]
    assert callbacks(report(marked, behaviours=("Plug", "Phoenix.Channel")), "call", 2) == []
    assert callbacks(report(function_facts("call", 2), behaviours=("Plug",)), "call", 2) == []


def test_a_private_function_is_no_callback():
    assert callbacks(report(function_facts("init", 1, kind="defp"), behaviours=("GenServer",)), "init", 1) == []


def test_a_name_that_is_worked_out_is_not_resolved():
    call = Call(module="?", name="run", arity=1, line=2)
    graph = Graph(report(function_facts(calls=(call,))))
    assert graph.values(function_iri("shop", "1.0.0", "M", "f", 0), STRUCTURE.calls) == []
    assert graph.subjects(STRUCTURE.calledName, "run")


def test_a_module_that_two_files_write_keeps_the_lines_of_each_apart():
    facts = report(function_facts("f", 1))
    found = [list(triples(facts, package="p", version="1", path=path)) for path in ("a.exs", "b.exs")]
    clauses = {
        each.object.value for several in found for each in several if each.predicate.value == STRUCTURE.hasClause
    }
    assert len(clauses) == 2
    assert (
        len(
            {each.subject.value for several in found for each in several if each.predicate.value == STRUCTURE.hasClause}
        )
        == 1
    )


def test_clauses_on_one_line_are_several():
    clause = Clause(params=(), guard="", line=2, end_line=2)
    graph = Graph(report(function_facts(clauses=(clause, clause))))
    assert len(graph.values(function_iri("shop", "1.0.0", "M", "f", 0), STRUCTURE.hasClause)) == 2


def test_a_text_that_does_not_parse_is_a_file_and_nothing_else():
    found = list(triples(FactsReport(outcome=Outcome.SYNTAX_ERROR), **PLACE, sha256="0" * 64))
    assert {each.predicate.value for each in found} == {RDF.type, CORE.path, CORE.hasFile, CORE.sha256}


@pytest.mark.parametrize(
    ("text", "head"),
    [
        ("add(integer, integer) :: integer", ("add", 2)),
        ("now :: integer", ("now", 0)),
        ("now() :: integer", ("now", 0)),
        ("left + right :: term", ("+", 2)),
        ("-number :: number", ("-", 1)),
        ("not boolean :: boolean", ("not", 1)),
        ("left in right :: boolean", ("in", 2)),
        ("valid?(%{a: b, c: d}, (a, b -> c)) :: boolean when a: x", ("valid?", 2)),
        ('x(<<_::8, _::_*8>>, [a, b], "a,b", ?,) :: t', ("x", 4)),
        ("f(term, key: integer, other: atom) :: t", ("f", 2)),
        ("f(a, # one, two\n b) :: t", ("f", 2)),
        ("t(a) :: [a]", ("t", 1)),
        ("unquote(name)(a, b) :: c", None),
        ("Other.f(a) :: c", None),
        ("", None),
    ],
)
def test_a_signature_says_name_and_arity(text, head):
    assert signature(text) == head


@given(st.text("a(){}[],:<>\"'?|=. \n#+-", max_size=40))
def test_a_signature_of_any_text_is_an_answer(text):
    found = signature(text)
    assert found is None or (found[0] and found[1] >= 0)


@given(st.randoms(use_true_random=False))
def test_a_signature_counts_the_arguments_that_were_written(random_source: random.Random):
    types = [
        "term",
        "{a, b}",
        "[a: 1, b: 2]",
        "%{k => v, a: b}",
        "(a, b -> c)",
        "a | b",
        "<<_::8, _::_*8>>",
        "x :: list(a, b)",
    ]
    chosen = random_source.choices(types, k=random_source.randrange(6))
    assert signature(f"name!({', '.join(chosen)}) :: {random_source.choice(types)}") == ("name!", len(chosen))
