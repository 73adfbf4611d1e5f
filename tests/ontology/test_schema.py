"""The ontologies: complete, consistent, and the same as what they are written from."""

import re
import shutil
import subprocess
from collections import Counter

import pytest

from elixir_coder.ontology.extract import triples
from elixir_coder.ontology.rules import GENERATED, called, weaknesses, write
from elixir_coder.ontology.schemas import SCHEMA_FILES, known, schema_triples
from elixir_coder.ontology.vocabulary import (
    BASE,
    CORE,
    OTP,
    OWL,
    PREFIXES,
    QUALITY,
    RDF,
    RDFS,
    SECURITY,
    SKOS,
    STRUCTURE,
    name_iri,
)
from elixir_coder.toolchain.checks.labels import CREDO_RULES, SOBELOW_RULES
from elixir_coder.toolchain.facts import Call, Clause, FactsReport, FunctionFacts, ModuleFacts
from elixir_coder.toolchain.finding import Outcome

oxigraph = pytest.importorskip("pyoxigraph")

# What is about anything at all, or about kinds that have no class in common.
WITHOUT_DOMAIN = {
    *("core:name", "core:line", "core:endLine", "core:text", "core:definedAt", "structure:arity", "structure:position"),
    *("structure:hasCall", "structure:calls", "structure:callsFunction", "otp:performs", "otp:spelling"),
    *("security:cwe", "quality:judges"),
}
WITHOUT_RANGE = {"quality:violates", "security:foundBy"}  # rules of both tools


@pytest.fixture(scope="module")
def schema():
    found = {}
    for triple in schema_triples():
        subject = getattr(triple.subject, "value", None)
        found.setdefault(subject, {}).setdefault(triple.predicate.value, []).append(triple.object.value)
    return found


def short(iri):
    prefix = next(prefix for prefix, beginning in PREFIXES.items() if iri.startswith(beginning) and "#" in beginning)
    return f"{prefix}:{iri.removeprefix(PREFIXES[prefix])}"


def terms(schema, *kinds):
    wanted = {OWL[kind] for kind in kinds}
    return {
        iri: facts for iri, facts in schema.items() if iri.startswith(BASE) and wanted & set(facts.get(RDF.type, ()))
    }


def test_every_class_and_property_has_a_label_and_a_comment(schema):
    defined = terms(schema, "Class", "ObjectProperty", "DatatypeProperty")
    assert len(defined) > 100
    assert [iri for iri, facts in defined.items() if not (facts.get(RDFS.label) and facts.get(RDFS.comment))] == []


def test_every_property_has_domain_and_range_but_those_that_are_meant_for_anything(schema):
    properties = terms(schema, "ObjectProperty", "DatatypeProperty")
    assert {short(iri) for iri, facts in properties.items() if RDFS.domain not in facts} == WITHOUT_DOMAIN
    assert {short(iri) for iri, facts in properties.items() if RDFS.range not in facts} == WITHOUT_RANGE


def test_what_the_schemas_use_of_ours_they_define(schema):
    used = set()
    for triple in schema_triples():
        used |= {term.value for term in triple if isinstance(term, oxigraph.NamedNode)}
    ours = {iri for iri in used if re.match(re.escape(BASE) + r"\w+#", iri)}
    assert ours - set(schema) == set()


def test_what_the_package_uses_of_them_they_define(schema):
    namespaces = {"CORE": CORE, "STRUCTURE": STRUCTURE, "OTP": OTP, "QUALITY": QUALITY, "SECURITY": SECURITY}
    package = SCHEMA_FILES[0].parents[2]
    used = {
        namespaces[namespace][term]
        for path in (*package.glob("ontology/*.py"), *package.glob("data/*.py"))
        for namespace, term in re.findall(rf"\b({'|'.join(namespaces)})\.(\w+)", path.read_text("utf-8"))
    }
    assert len(used) > 80
    assert used - set(schema) == set()


def test_every_rule_is_an_individual_with_its_meaning(schema):
    kinds = Counter(kind for facts in schema.values() for kind in facts.get(RDF.type, ()))
    assert kinds[QUALITY.Check] == len(CREDO_RULES) == 112
    assert kinds[SECURITY.Rule] == len(SOBELOW_RULES) == 32
    dbg = schema[QUALITY["Credo.Check.Warning.Dbg"]]
    assert dbg[SKOS.prefLabel] == ["Credo.Check.Warning.Dbg"]
    assert dbg[QUALITY.category] == [QUALITY.warning]
    assert dbg[SECURITY.cwe] == ["https://cwe.mitre.org/data/definitions/489.html"]
    assert schema[SECURITY["CI.OS"]][SKOS.notation] == ["SBLW001"]


def test_every_rule_of_sobelow_has_a_mitigation(schema):
    mitigated = {
        rule for facts in schema.values() if facts.get(SECURITY.mitigatedBy) for rule in facts.get(SECURITY.foundBy, ())
    }
    assert [rule.name for rule in SOBELOW_RULES if SECURITY[rule.name] not in mitigated] == []


def test_weaknesses_name_rules_that_exist_and_calls_that_can_be_read():
    rules = {rule.name for rule in (*CREDO_RULES, *SOBELOW_RULES)}
    for name, each in weaknesses().items():
        assert set(each["rules"]) <= rules, name
        assert each["mitigations"] and each["definition"] and each["cwe"], name
        assert all(called_name and arity >= 0 for _, called_name, arity in called(each)), name


def test_the_generated_files_are_what_is_written(tmp_path):
    write(tmp_path)
    folder = SCHEMA_FILES[0].parent
    for name in GENERATED:
        assert (folder / name).read_text("utf-8") == (tmp_path / name).read_text("utf-8"), (
            f"{name} is not what it is written from; run: python -m elixir_coder.ontology.rules"
        )


def test_otp_is_known_by_its_callbacks_roles_and_interactions():
    assert ("handle_call", 3) in known().callbacks["GenServer"]
    assert known().roles[":gen_statem"] == f"{BASE}otp#StateMachine"
    assert known().interactions[name_iri("GenServer", "call", 2)] == f"{BASE}otp#SynchronousCall"
    assert known().auto_imported["is_atom", 1] == "Kernel"
    assert known().auto_imported["quote", 2] == "Kernel.SpecialForms"


@pytest.mark.elixir
def test_the_elixir_that_is_installed_agrees(schema):
    script = """
    for {n, a} <- Kernel.__info__(:functions) ++ Kernel.__info__(:macros), do: IO.puts("Kernel\\t#{n}\\t#{a}")
    for {n, a} <- Kernel.SpecialForms.__info__(:macros), do: IO.puts("Kernel.SpecialForms\\t#{n}\\t#{a}")
    for m <- [GenServer, Supervisor, DynamicSupervisor, Application, :gen_server, :gen_statem, :gen_event, :supervisor],
        {n, a} <- m.behaviour_info(:callbacks),
        do: IO.puts("#{inspect(m)}\\t#{n}\\t#{a}\\t#{{n, a} in m.behaviour_info(:optional_callbacks)}")
    """
    answer = subprocess.run([shutil.which("elixir"), "-e", script], capture_output=True, text=True, check=True)
    rows = [line.split("\t") for line in answer.stdout.splitlines()]
    assert len(rows) > 200
    required = schema[name_iri("GenServer")][f"{BASE}otp#requiresCallback"]
    assert required == [name_iri("GenServer", "init", 1)]
    for module, name, arity, *is_optional in rows:
        if is_optional:
            behaviour = schema[name_iri(module)]
            callback = name_iri(module, name, int(arity))
            assert callback in behaviour[f"{BASE}otp#hasCallback"], callback
            assert (callback in behaviour[f"{BASE}otp#requiresCallback"]) == (is_optional == ["false"]), callback
        else:
            assert known().auto_imported.get((name, int(arity))) == module


@pytest.mark.slow
def test_reasoning_finds_no_contradiction():
    rdflib = pytest.importorskip("rdflib")
    owlrl = pytest.importorskip("owlrl")
    graph = rdflib.Graph()
    for path in SCHEMA_FILES:
        graph.parse(path, format="turtle")
    graph.parse(data=oxigraph.serialize(sample(), format=oxigraph.RdfFormat.N_TRIPLES), format="nt")
    assert contradictions(owlrl, graph) == []
    # and it would find one: a thing that is a package and a file
    graph.add((rdflib.URIRef("urn:x"), rdflib.RDF.type, rdflib.URIRef(CORE.Package)))
    graph.add((rdflib.URIRef("urn:x"), rdflib.RDF.type, rdflib.URIRef(CORE.SourceFile)))
    assert contradictions(owlrl, graph)


def sample():
    clause = Clause(params=("state",), guard="is_map(state)", line=2, end_line=3)
    plain = {"num_defaults": 0, "doc": "Words.", "line": 2, "head_line": 2, "end_line": 3, "variables": ()}
    calls = (Call(module="GenServer", name="call", arity=2, line=3), Call(module="", name="f", arity=1, line=3))
    functions = [
        FunctionFacts(name=name, arity=1, kind=kind, impl="", specs=(), clauses=(clause,), calls=calls, **plain)
        for name, kind in (("init", "def"), ("f", "defp"), ("g", "defguard"))
    ]
    module = {"kind": "module", "line": 1, "end_line": 9, "doc": None, "functions": tuple(functions)}
    of_server = ModuleFacts(name="M", behaviours=("GenServer",), struct=("a",), tests=(("", "t", 4, 5),), **module)
    facts = FactsReport(outcome=Outcome.OK, modules=(of_server,))
    return list(triples(facts, package="p", version="1", path="lib/m.ex"))


def contradictions(owlrl, graph):
    owlrl.DeductiveClosure(owlrl.OWLRL_Semantics).expand(graph)
    return [str(message) for _, predicate, message in graph if str(predicate).endswith("agent-ont#error")]
