"""Our ontologies as files, as triples, and as the tables that extraction looks names up in.

`schema/` holds one Turtle file for each. What OTP and Elixir's own modules are is said there once: extraction reads the
callbacks, roles and interactions out of it instead of having a table of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from elixir_coder.errors import require
from elixir_coder.ontology.vocabulary import CORE, OTP, RDF, STRUCTURE, shown

if TYPE_CHECKING:
    import pyoxigraph

_FOLDER = Path(__file__).with_name("schema")

SCHEMA_FILES: tuple[Path, ...] = tuple(
    _FOLDER / f"{name}.ttl" for name in ("core", "structure", "otp", "elixir", "quality", "security")
)


def schema_triples() -> Iterator[pyoxigraph.Triple]:
    """Every triple of the ontologies, in the order of `SCHEMA_FILES`; blank nodes are of one file each."""
    oxigraph = require("pyoxigraph", "ontology")
    for path in SCHEMA_FILES:
        for quad in oxigraph.parse(path=path, format=oxigraph.RdfFormat.TURTLE, rename_blank_nodes=True):
            yield quad.triple


@dataclass(frozen=True)
class Known:
    """What the ontologies say of names that code uses.

    callbacks: the (name, arity) of each behaviour, by its module's name. roles: the IRI of the role that a module gives
    to those that use it. interactions: the IRI of the interaction that calling a function is, by the IRI of its name.
    auto_imported: the (name, arity) of Kernel's functions and macros, and the module of each. exports: the (name,
    arity) of Elixir's own modules that are imported. brought: the modules that `use` of one imports.
    """

    callbacks: dict[str, frozenset[tuple[str, int]]]
    roles: dict[str, str]
    interactions: dict[str, str]
    auto_imported: dict[tuple[str, int], str]
    exports: dict[str, set[tuple[str, int]]]
    brought: dict[str, list[str]]


@cache
def known() -> Known:
    of_subject: defaultdict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for triple in schema_triples():
        subject, value = (str(getattr(term, "value", term)) for term in (triple.subject, triple.object))
        of_subject[subject][triple.predicate.value].append(value)
    callbacks = {}
    roles = {}
    interactions = {}
    auto_imported = {}
    exports: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
    brought = {}
    for subject, facts in of_subject.items():
        if OTP.hasCallback in facts:
            called = [of_subject[callback] for callback in facts[OTP.hasCallback]]
            callbacks[shown(subject)] = frozenset(
                (each[CORE.name][0], int(each[STRUCTURE.arity][0])) for each in called
            )
        if OTP.givesRole in facts:
            roles[shown(subject)] = facts[OTP.givesRole][0]
        if OTP.causes in facts:
            interactions[subject] = facts[OTP.causes][0]
        if STRUCTURE.bringsImportOf in facts:
            brought[shown(subject)] = [shown(module) for module in facts[STRUCTURE.bringsImportOf]]
        classes = set(facts[RDF.type])
        if STRUCTURE.inModule in facts:
            name_and_arity = facts[CORE.name][0], int(facts[STRUCTURE.arity][0])
            module = shown(facts[STRUCTURE.inModule][0])
            if classes & {STRUCTURE.AutoImported, STRUCTURE.SpecialForm}:
                auto_imported[name_and_arity] = module
            elif STRUCTURE.FunctionName in classes:
                exports[module].add(name_and_arity)
    return Known(callbacks, roles, interactions, auto_imported, dict(exports), brought)
