"""The rules of Credo and Sobelow as individuals of our ontologies, with weaknesses, CWE and what to do instead.

    python -m elixir_coder.ontology.rules

writes schema/quality.ttl, schema/security.ttl and schema/shapes-security.ttl from the facts of the toolchain
(`checks/labels.py`) and from schema/weaknesses.toml. They are committed, and a test holds them to what this writes.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from elixir_coder.ontology.vocabulary import QUALITY, SECURITY, SHAPES, cwe_iri, name_iri, rule_iri
from elixir_coder.toolchain.checks import labels
from elixir_coder.toolchain.checks.labels import CREDO_RULES, SOBELOW_RULES, Rule

_FOLDER = Path(__file__).with_name("schema")

_HEAD = """\
# Written by `python -m elixir_coder.ontology.rules`; change what it is written from instead.

@prefix core: <https://w3id.org/elixir-coder/core#> .
@prefix dcterms: <http://purl.org/dc/terms/> .
@prefix owl: <http://www.w3.org/2002/07/owl#> .
@prefix quality: <https://w3id.org/elixir-coder/quality#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix security: <https://w3id.org/elixir-coder/security#> .
@prefix skos: <http://www.w3.org/2004/02/skos/core#> .
@prefix structure: <https://w3id.org/elixir-coder/structure#> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
"""

_CATEGORIES = {  # of Credo, in our words
    "consistency": "One way of doing a thing throughout a project.",
    "design": "How a program is cut into parts, and what is left to do.",
    "readability": "What makes code easy to read, and changes nothing in what it does.",
    "refactor": "Code that a simpler one could replace.",
    "warning": "Code that is likely wrong.",
}

_KINDS = {  # what a rule judges, in our words
    "file": "one file",
    "project": "the files of a project together",
    "code": "Elixir source",
    "config": "configuration",
    "dependency": "versions of dependencies",
    "template": "templates",
}


@cache
def weaknesses() -> dict[str, dict[str, Any]]:
    """schema/weaknesses.toml, by the name of each weakness; its comment says what the fields are."""
    return tomllib.loads((_FOLDER / "weaknesses.toml").read_text(encoding="utf-8"))


def called(weakness: dict[str, Any]) -> Iterator[tuple[str, str, int]]:
    """The (module, name, arity) of each call that may be this weakness; module "" for an imported function."""
    for text in weakness["calls"]:
        name, _, arities = text.rpartition("/")
        module, _, name = name.rpartition(".")
        for arity in arities.split(","):
            yield module, name, int(arity)


def quality() -> str:
    """The text of schema/quality.ttl."""
    parts = [_HEAD, _QUALITY_TERMS]
    parts += [
        _individual(QUALITY[category], QUALITY.Category, category, definition=definition)
        for category, definition in _CATEGORIES.items()
    ]
    priorities = _priorities()
    for rule in CREDO_RULES:
        parts.append(
            _rule(rule, QUALITY.Check)
            + f"    quality:category {_iri(QUALITY[rule.category])} ;\n"
            + f"    quality:priority {_text(priorities[rule.name])} ;\n"
            + f'    quality:isEnabled "{str(rule.enabled).lower()}"^^xsd:boolean ;\n'
            + (f"    quality:needs {_text(rule.needs)} ;\n" if rule.needs else "")
            + (f"    quality:runsOnElixir {_text(rule.elixir)} ;\n" if rule.elixir else "")
            + "."
        )
    return _joined(parts)


def security() -> str:
    """The text of schema/security.ttl."""
    parts = [_HEAD, _SECURITY_TERMS]
    mitigations: dict[str, str] = {}
    for name, each in weaknesses().items():
        remedies = []
        for number, sentence in enumerate(each["mitigations"], 1):
            remedies.append(mitigations.setdefault(sentence, SECURITY[f"{name}-mitigation-{number}"]))
        imported = [f"{called_name}/{arity}" for module, called_name, arity in called(each) if not module]
        parts.append(
            _individual(SECURITY[name], SECURITY.Weakness, each["label"], definition=each["definition"])[:-1]
            + _links("security:cwe", map(cwe_iri, each["cwe"]))
            + _links("security:foundBy", map(rule_iri, each["rules"]))
            + _links("security:mitigatedBy", remedies)
            + _links("security:mayBeCallOf", [name_iri(*place) for place in called(each) if place[0]])
            + "".join(f"    security:mayBeImportedCall {_text(call)} ;\n" for call in imported)
            + "."
        )
    parts += [
        f"{_iri(iri)} a security:Mitigation ; skos:definition {_text(text)}@en ." for text, iri in mitigations.items()
    ]
    parts += [
        _rule(rule, SECURITY.Rule) + f"    security:category {_text(rule.category)} ;\n." for rule in SOBELOW_RULES
    ]
    everything = [
        *(rule.cwe for rule in (*CREDO_RULES, *SOBELOW_RULES)),
        *(each["cwe"] for each in weaknesses().values()),
    ]
    for identifier in sorted({cwe for several in everything for cwe in several}, key=lambda cwe: int(cwe[4:])):
        parts.append(f"{_iri(cwe_iri(identifier))} a security:CommonWeakness ; skos:notation {_text(identifier)} .")
    return _joined(parts)


def security_shapes() -> str:
    """The text of schema/shapes-security.ttl: for each weakness, the calls that may be one."""
    parts = [
        _HEAD.replace("@prefix skos:", "@prefix sh: <http://www.w3.org/ns/shacl#> .\n@prefix skos:"),
        _SHAPES_TERMS,
    ]
    for name, each in weaknesses().items():
        severity = f"sh:severity sh:{each.get('severity', 'warning').capitalize()}"
        message = "sh:message " + _text(f"this call may be: {each['label']} ({', '.join(each['cwe'])})")
        shown = f"security:shows {_iri(SECURITY[name])}"
        named = [name_iri(*place) for place in called(each) if place[0]]
        if named:
            listed = "".join(f"            {_iri(iri)}\n" for iri in named)
            parts.append(
                f"{_iri(SHAPES[name])} a sh:NodeShape ;\n    {shown} ;\n    sh:targetSubjectsOf structure:callee ;\n"
                f"    sh:property [\n        sh:path structure:callee ; {severity} ;\n        {message} ;\n"
                f"        sh:not [ sh:in (\n{listed}        ) ] ] ."
            )
        for number, (_, called_name, arity) in enumerate((place for place in called(each) if not place[0]), 1):
            parts.append(
                f"{_iri(SHAPES[f'{name}-imported-{number}'])} a sh:NodeShape ;\n    {shown} ;\n"
                f"    sh:targetSubjectsOf structure:calledName ; {severity} ;\n    {message} ;\n"
                f"    sh:not [\n        {_with_value('structure:calledName', _text(called_name))} ;\n        "
                + _with_value("structure:calledArity", f'"{arity}"^^xsd:nonNegativeInteger')
                + " ] ."
            )
    return _joined(parts)


def write(folder: Path = _FOLDER) -> None:
    """Write the three files into `folder`."""
    for name, text in GENERATED.items():
        (folder / name).write_text(text(), encoding="utf-8")


def _priorities() -> dict[str, str]:
    """Credo's word or number for the priority of each check; a `Rule` keeps only what is made of it."""
    facts = json.loads(Path(labels.__file__).with_name("credo_checks.json").read_text(encoding="utf-8"))
    return {fact["name"]: str(fact["base_priority"]) for fact in facts}


def _rule(rule: Rule, kind: str) -> str:
    lines = _individual(rule_iri(rule.name), kind, rule.name, definition=rule.meaning)[:-1]
    lines += f"    skos:notation {_text(rule.id)} ;\n" if rule.id else ""
    lines += _links("security:cwe", map(cwe_iri, rule.cwe))
    return lines + f"    quality:judges {_text(_KINDS[rule.kind])} ;\n"


def _individual(iri: str, kind: str, label: str, *, definition: str) -> str:
    words = f"    skos:prefLabel {_text(label)}@en ;\n    skos:definition {_text(definition)}@en ;\n"
    return f"{_iri(iri)} a {_iri(kind)} ;\n{words}."


def _links(predicate: str, iris: Iterable[str]) -> str:
    objects = " , ".join(map(_iri, iris))
    return f"    {predicate} {objects} ;\n" if objects else ""


def _with_value(predicate: str, value: str) -> str:
    return f"sh:property [ sh:path {predicate} ; sh:hasValue {value} ]"


def _iri(iri: str) -> str:
    return f"<{iri}>"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # JSON's escapes are Turtle's


def _joined(parts: list[str]) -> str:
    return "\n".join(part.rstrip("\n") + "\n" for part in parts).rstrip("\n") + "\n"


_QUALITY_TERMS = """\
<https://w3id.org/elixir-coder/quality> a owl:Ontology ;
    rdfs:label "elixir-coder: quality"@en ;
    rdfs:comment "The checks of Credo 1.7: what each looks for, in our words, how it ranks, and whether it runs."@en ;
    owl:imports <https://w3id.org/elixir-coder/security> ;
    dcterms:license <http://spdx.org/licenses/Apache-2.0> ;
    owl:versionInfo "1.0" .

quality:Check a owl:Class ;
    rdfs:subClassOf skos:Concept ;
    rdfs:label "check"@en ;
    rdfs:comment "A check of Credo."@en .

quality:Category a owl:Class ;
    rdfs:subClassOf skos:Concept ;
    owl:disjointWith quality:Check ;
    rdfs:label "category"@en ;
    rdfs:comment "One of the five groups of Credo's checks."@en .

quality:category a owl:ObjectProperty , owl:FunctionalProperty ;
    rdfs:domain quality:Check ; rdfs:range quality:Category ;
    rdfs:label "category"@en ;
    rdfs:comment "From a check to its group."@en .

quality:priority a owl:DatatypeProperty , owl:FunctionalProperty ;
    rdfs:domain quality:Check ; rdfs:range xsd:string ;
    rdfs:label "priority"@en ;
    rdfs:comment "Credo's word for how much a check matters (higher, high, normal, low), or its number."@en .

quality:isEnabled a owl:DatatypeProperty , owl:FunctionalProperty ;
    rdfs:domain quality:Check ; rdfs:range xsd:boolean ;
    rdfs:label "is enabled"@en ;
    rdfs:comment "Whether Credo runs the check when nobody says anything."@en .

quality:needs a owl:DatatypeProperty ;
    rdfs:domain quality:Check ; rdfs:range xsd:string ;
    rdfs:label "needs"@en ;
    rdfs:comment "What a check does nothing without."@en .

quality:runsOnElixir a owl:DatatypeProperty ;
    rdfs:domain quality:Check ; rdfs:range xsd:string ;
    rdfs:label "runs on Elixir"@en ;
    rdfs:comment "The versions of Elixir a check runs on, where not on all."@en .

quality:judges a owl:DatatypeProperty ;
    rdfs:range xsd:string ;
    rdfs:label "judges"@en ;
    rdfs:comment "What a rule looks at: one file, a project, configuration, and so on."@en .

quality:violates a owl:ObjectProperty ;
    rdfs:domain structure:CodeElement ;
    rdfs:label "violates"@en ;
    rdfs:comment "From something in code to a check of Credo or a rule of Sobelow that found fault with it."@en .

skos:Concept a owl:Class .
skos:prefLabel a owl:AnnotationProperty .
skos:definition a owl:AnnotationProperty .
skos:notation a owl:AnnotationProperty .
"""

_SECURITY_TERMS = """\
<https://w3id.org/elixir-coder/security> a owl:Ontology ;
    rdfs:label "elixir-coder: security"@en ;
    rdfs:comment "The rules of Sobelow, weaknesses of programs on the BEAM with their CWE, and what to do instead."@en ;
    owl:imports <https://w3id.org/elixir-coder/structure> ;
    dcterms:license <http://spdx.org/licenses/Apache-2.0> ;
    owl:versionInfo "1.0" .

security:Rule a owl:Class ;
    rdfs:subClassOf skos:Concept ;
    rdfs:label "rule"@en ;
    rdfs:comment "A rule of Sobelow."@en .

security:Weakness a owl:Class ;
    rdfs:subClassOf skos:Concept ;
    rdfs:label "weakness"@en ;
    rdfs:comment "A way in which programs on the BEAM are attacked or fail."@en .

security:Mitigation a owl:Class ;
    rdfs:subClassOf skos:Concept ;
    rdfs:label "mitigation"@en ;
    rdfs:comment "What to do against a weakness, in one sentence."@en .

security:CommonWeakness a owl:Class ;
    rdfs:subClassOf skos:Concept ;
    rdfs:label "common weakness"@en ;
    rdfs:comment "An entry of the Common Weakness Enumeration; its IRI is the page that defines it."@en .

[] a owl:AllDisjointClasses ;
    owl:members ( security:Rule security:Weakness security:Mitigation security:CommonWeakness ) .

security:category a owl:DatatypeProperty , owl:FunctionalProperty ;
    rdfs:domain security:Rule ; rdfs:range xsd:string ;
    rdfs:label "category"@en ;
    rdfs:comment "Sobelow's group of a rule."@en .

security:cwe a owl:ObjectProperty ;
    rdfs:range security:CommonWeakness ;
    rdfs:label "CWE"@en ;
    rdfs:comment "From a weakness, or from a rule of either tool, to an entry of the CWE that it is a case of."@en .

security:foundBy a owl:ObjectProperty ;
    rdfs:domain security:Weakness ;
    rdfs:label "found by"@en ;
    rdfs:comment "From a weakness to a rule of Sobelow or a check of Credo that speaks of it."@en .

security:mitigatedBy a owl:ObjectProperty ;
    rdfs:domain security:Weakness ; rdfs:range security:Mitigation ;
    rdfs:label "mitigated by"@en ;
    rdfs:comment "From a weakness to what can be done against it."@en .

security:mayBeCallOf a owl:ObjectProperty ;
    rdfs:domain security:Weakness ; rdfs:range structure:FunctionName ;
    rdfs:label "may be a call of"@en ;
    rdfs:comment "From a weakness to a function whose call deserves a look."@en .

security:shows a owl:AnnotationProperty ;
    rdfs:label "shows"@en ;
    rdfs:comment "From a shape to the weakness that its results may be."@en .

security:mayBeImportedCall a owl:DatatypeProperty ;
    rdfs:domain security:Weakness ; rdfs:range xsd:string ;
    rdfs:label "may be an imported call"@en ;
    rdfs:comment "The name and arity of a function that is imported as a rule, whose call deserves a look."@en .

skos:Concept a owl:Class .
skos:prefLabel a owl:AnnotationProperty .
skos:definition a owl:AnnotationProperty .
skos:notation a owl:AnnotationProperty .
"""

_SHAPES_TERMS = """\
<https://w3id.org/elixir-coder/shapes-security> a owl:Ontology ;
    rdfs:label "elixir-coder: shapes of security"@en ;
    rdfs:comment "Calls that deserve a look. What they are called with is not in the graph."@en .
"""

GENERATED = {"quality.ttl": quality, "security.ttl": security, "shapes-security.ttl": security_shapes}

if __name__ == "__main__":
    write()
