"""Triples against the shapes. Our engine is held to pySHACL, on graphs that are broken at random."""

import random

import pytest

from elixir_coder.errors import RecipeError
from elixir_coder.ontology.extract import triples
from elixir_coder.ontology.shapes import SHAPES_FILES, validate
from elixir_coder.ontology.vocabulary import CORE, RDF, STRUCTURE, XSD, name_iri
from elixir_coder.toolchain.facts import Call, Clause, FactsReport, FunctionFacts, ModuleFacts
from elixir_coder.toolchain.finding import Outcome

oxigraph = pytest.importorskip("pyoxigraph")
pytest.importorskip("pyshacl")


def function(name, arity, *, calls=(), **fields):
    plain = {
        "num_defaults": 0,
        "kind": "def",
        "doc": None,
        "specs": (),
        "impl": "",
        "line": 2,
        "head_line": 2,
        "end_line": 3,
    }
    clauses = (Clause(params=("x",) * arity, guard="is_atom(x)" if arity else "", line=2, end_line=3),)
    return FunctionFacts(name=name, arity=arity, clauses=clauses, calls=calls, variables=(), **(plain | fields))


def call(text, line=2):
    name, _, arity = text.rpartition("/")
    module, _, name = name.rpartition(".")
    return Call(module=module, name=name, arity=int(arity), line=line)


def of(*functions, **fields):
    plain = {"name": "M", "kind": "module", "line": 1, "end_line": 9, "doc": "Words."}
    module = ModuleFacts(**(plain | fields), functions=functions)
    return list(triples(FactsReport(outcome=Outcome.OK, modules=(module,)), package="p", version="1", path="lib/m.ex"))


SOUND = of(
    function("init", 1, impl="true"),
    function(
        "add", 2, num_defaults=1, specs=("add(integer, integer) :: integer",), calls=(call("g/0"), call("Enum.map/2"))
    ),
    function("g", 0, kind="defp", calls=(call("unknown/3"),)),
    behaviours=("GenServer",),
    struct=("name",),
)


def term(value, kind=None):
    return oxigraph.Literal(str(value), datatype=oxigraph.NamedNode(XSD[kind])) if kind else oxigraph.NamedNode(value)


def changed(predicate, new, *, at=0):
    """The sound triples with one object of a predicate changed; new: None takes the triple away."""
    places = [place for place, each in enumerate(SOUND) if each.predicate.value == predicate]
    found = list(SOUND)
    old = found.pop(places[at])
    return found + ([oxigraph.Triple(old.subject, old.predicate, new)] if new is not None else [])


def messages(found, **settings):
    return {result.message for result in validate(found, **settings).results}


def test_what_extraction_makes_conforms():
    conformance = validate(SOUND)
    assert conformance.conforms
    assert conformance.results == ()
    assert conformance.num_triples == len(SOUND)
    assert conformance.num_nodes > 20


@pytest.mark.parametrize(
    ("predicate", "new", "message"),
    [
        (CORE.name, None, "a module has exactly one name"),
        (STRUCTURE.arity, None, "a function has exactly one arity, from 0 to 255"),
        (STRUCTURE.belongsTo, None, "a function belongs to exactly one module"),
        (STRUCTURE.hasClause, None, "a function has at least one clause"),
        (STRUCTURE.hasParameter, None, "each clause has as many parameters as the function's arity"),
        (STRUCTURE.minimumArity, term(2, "nonNegativeInteger"), "with defaults, the minimum arity is below the arity"),
        (CORE.line, term(99, "positiveInteger"), "a location begins on exactly one line, not behind its last"),
        (CORE.line, term(1, "integer"), "a location begins on exactly one line, not behind its last"),
        (CORE.endLine, term(0, "positiveInteger"), "a location ends on exactly one line"),
        (STRUCTURE.calledArity, None, "a call has a callee, or the name and arity of what is not resolved"),
        (STRUCTURE.resolvesTo, term(name_iri("Enum")), "a call resolves to a function of the same file"),
    ],
)
def test_what_is_broken_is_named(predicate, new, message):
    conformance = validate(changed(predicate, new))
    assert not conformance.conforms
    assert message in {result.message for result in conformance.violations}


def test_a_server_without_init_is_a_finding_and_no_violation():
    conformance = validate(of(function("handle_cast", 2), behaviours=("GenServer",)))
    assert conformance.conforms
    assert [result.message for result in conformance.findings] == ["a GenServer has init/1"]


def test_a_specification_of_another_arity_is_a_finding():
    conformance = validate(of(function("add", 2, specs=("add(integer) :: integer",))))
    assert conformance.conforms
    assert [result.message for result in conformance.findings] == ["a specification has the arity of its function"]


@pytest.mark.parametrize(
    ("called", "weakness"),
    [
        ("String.to_atom/1", "atom exhaustion"),
        ("Code.eval_string/2", "evaluation of text"),
        (":erlang.binary_to_term/1", "unsafe deserialization"),
        ("System.cmd/3", "command injection"),
        ("raw/1", "cross-site scripting"),
        ("spawn/1", "unsupervised process"),
    ],
)
def test_a_call_that_deserves_a_look_is_a_finding(called, weakness):
    conformance = validate(of(function("f", 0, calls=(call(called, line=7),))), kind="security")
    assert conformance.conforms
    (finding,) = conformance.findings
    assert finding.message.startswith(f"this call may be: {weakness} (CWE-")
    assert "#L7/" in finding.focus


@pytest.mark.parametrize("called", ["String.to_existing_atom/1", ":erlang.binary_to_term/2", "raw/2", "spawn_link/1"])
def test_its_safe_sister_is_none(called):
    assert validate(of(function("f", 0, calls=(call(called),))), kind="security").results == ()


def test_a_function_of_the_same_name_that_the_module_defines_is_none():
    own = of(function("raw", 1), function("f", 0, calls=(call("raw/1"),)))
    assert validate(own, kind="security").results == ()


def test_the_limit_keeps_the_first_and_counts_all():
    broken = [each for each in SOUND if each.predicate.value != STRUCTURE.position]
    conformance = validate(broken, limit=2)
    assert len(conformance.results) == 2
    assert sum(conformance.counts.values()) > 2


def test_another_kind_is_refused():
    with pytest.raises(RecipeError, match="no such kind of shapes: style; there are: code, security"):
        validate([], kind="style")


def broken_at_random(seed):
    """The sound triples with some taken away, some doubled with another object, and some given to another subject."""
    source = random.Random(seed)
    found = list(SOUND) + of(
        function("f", 0, calls=(call("String.to_atom/1"), call("raw/1"), call("apply/3"))), name="N"
    )
    for place in source.sample(range(len(found)), 25):
        one, other = found[place], source.choice(found)
        literals = [
            term(0, "nonNegativeInteger"),
            term("x", "positiveInteger"),
            term("", "string"),
            term(300, "integer"),
        ]
        match source.randrange(4):
            case 0:
                found[place] = other
            case 1:
                found.append(oxigraph.Triple(one.subject, one.predicate, other.object))
            case 2:
                found.append(oxigraph.Triple(other.subject, one.predicate, one.object))
            case 3:
                found.append(oxigraph.Triple(one.subject, one.predicate, source.choice(literals)))
    return found


@pytest.mark.parametrize("kind", SHAPES_FILES)
def test_our_engine_finds_what_pyshacl_finds(kind):
    num_results = 0
    for seed in range(4):
        found = broken_at_random(seed)
        own, other = validate(found, kind=kind), validate(found, kind=kind, with_pyshacl=True)
        assert own.results == other.results
        assert own.conforms == other.conforms
        num_results += len(own.results)
    assert num_results > (40 if kind == "code" else 8)


def test_a_class_that_nothing_says_is_missed():
    found = [each for each in SOUND if (each.predicate.value, each.object.value) != (RDF.type, STRUCTURE.Clause)]
    assert "a function has at least one clause" in messages(found)
