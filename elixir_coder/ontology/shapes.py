"""Say where triples break our SHACL shapes, file by file, before they are loaded.

    conformance = validate(triples(report, package="plug", version="1.15.0", path="lib/plug.ex"))
    conformance.conforms, conformance.results

Before loading, because Oxigraph writes derived integer types (xsd:positiveInteger) as xsd:integer. Of kind "code" are
the shapes that extraction must keep; of kind "security" those whose results are findings about the code.

The shapes are plain SHACL in schema/shapes-*.ttl. pySHACL checks about 3,000 triples a second, and a corpus has
millions; so an engine of our own checks the part of SHACL Core that our shapes use, and leaves sh:sparql to Oxigraph.
The tests hold its results to pySHACL's, which `with_pyshacl` asks for.

Standard: https://www.w3.org/TR/shacl/
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elixir_coder.errors import DataError, RecipeError, require
from elixir_coder.ontology.vocabulary import RDF, SHACL, XSD

if TYPE_CHECKING:
    import pyoxigraph

SHAPES_FILES = {kind: Path(__file__).with_name("schema") / f"shapes-{kind}.ttl" for kind in ("code", "security")}


@dataclass(frozen=True, order=True)
class Result:
    """One place that breaks a shape. severity: `Violation`, `Warning` or `Info`. focus: the IRI that it is about.

    path: the predicate, "" where the shape is about the node itself or the path is none. value: what is wrong there.
    """

    severity: str
    focus: str
    message: str
    path: str = ""
    value: str = ""


@dataclass(frozen=True)
class Conformance:
    """What `validate` found.

    conforms: whether no result is a violation; warnings are about the code and not about the triples.
    results: in order, as many as were to be kept. counts: all of them, by severity and message.
    num_triples, num_nodes: how many triples there were, and how many nodes a shape was asked about.
    """

    conforms: bool
    results: tuple[Result, ...]
    counts: Counter[tuple[str, str]]
    num_triples: int
    num_nodes: int

    @property
    def violations(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.severity == "Violation")

    @property
    def findings(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.severity != "Violation")


def validate(
    triples: Iterable[pyoxigraph.Triple],
    *,
    kind: str = "code",
    limit: int | None = 1000,
    with_pyshacl: bool = False,
) -> Conformance:
    """Check triples, best those of one file, against the shapes of one kind: "code" or "security".

    limit: results that are kept, None for all. Raises RecipeError for another kind.
    """
    if kind not in SHAPES_FILES:
        raise RecipeError(f"no such kind of shapes: {kind}; there are: {', '.join(SHAPES_FILES)}")
    data = _Data(triples)
    shapes = _shapes(SHAPES_FILES[kind])
    num_nodes = sum(len(shape.targets_in(data)) for shape in shapes)
    found = _with_pyshacl(data, SHAPES_FILES[kind]) if with_pyshacl else _results(data, shapes)
    results = sorted(found)
    return Conformance(
        conforms=all(result.severity != "Violation" for result in results),
        results=tuple(results[:limit]),
        counts=Counter((result.severity, result.message) for result in results),
        num_triples=data.num_triples,
        num_nodes=num_nodes,
    )


class _Data:
    """Triples by what shapes ask for. Terms are Oxigraph's."""

    def __init__(self, triples: Iterable[pyoxigraph.Triple]):
        self.triples = list(dict.fromkeys(triples))
        self.num_triples = len(self.triples)
        self._of_subject: defaultdict[str, defaultdict[Any, list[Any]]] = defaultdict(lambda: defaultdict(list))
        for triple in self.triples:
            self._of_subject[triple.predicate.value][triple.subject].append(triple.object)
        self._of_object: dict[str, defaultdict[Any, list[Any]]] = {}

    def objects(self, subject: Any, predicate: str) -> list[Any]:
        return self._of_subject[predicate].get(subject, [])

    def subjects(self, object: Any, predicate: str) -> list[Any]:
        by_object = self._of_object.get(predicate)
        if by_object is None:
            by_object = self._of_object[predicate] = defaultdict(list)
            for subject, objects in self._of_subject[predicate].items():
                for each in objects:
                    by_object[each].append(subject)
        return by_object.get(object, [])

    def with_predicate(self, predicate: str) -> Iterable[Any]:
        return self._of_subject[predicate]


# A constraint gets the values of its path (the node itself for a node shape) and answers those that break it; None
# stands for the values together.
_Constraint = Callable[[_Data, Any, list[Any]], Iterable[Any]]


@dataclass
class _Shape:
    message: str
    severity: str
    path: Any  # of the shapes graph: a node or a blank node; None for a node shape
    steps: tuple[tuple[str, bool], ...] = ()  # the path as (predicate, whether against its direction)
    targets: list[tuple[str, Any]] = field(default_factory=list)
    constraints: list[_Constraint] = field(default_factory=list)
    properties: list[_Shape] = field(default_factory=list)
    queries: list[tuple[str, str]] = field(default_factory=list)  # message, SPARQL

    def targets_in(self, data: _Data) -> list[Any]:
        nodes: dict[Any, None] = {}
        for kind, term in self.targets:
            if kind == "class":
                nodes.update(dict.fromkeys(data.subjects(term, RDF.type)))
            else:
                nodes.update(dict.fromkeys(data.with_predicate(term.value)))
        return list(nodes)

    def values(self, data: _Data, focus: Any) -> list[Any]:
        values = [focus]
        for predicate, is_inverse in self.steps:
            step = data.subjects if is_inverse else data.objects
            values = [found for value in values for found in step(value, predicate)]
        return values if len(self.steps) < 2 else list(dict.fromkeys(values))

    def results(self, data: _Data, focus: Any) -> Iterator[Result]:
        values = self.values(data, focus)
        path = self.path.value if self.path is not None and len(self.steps) == 1 and not self.steps[0][1] else ""
        for constraint in self.constraints:
            for value in constraint(data, focus, values):
                written = "" if value is None else value.value
                yield Result(self.severity, focus.value, self.message, path, written)
        for each in self.properties:
            for value in values:
                yield from each.results(data, value)

    def holds(self, data: _Data, focus: Any) -> bool:
        return next(self.results(data, focus), None) is None


def _results(data: _Data, shapes: Sequence[_Shape]) -> Iterator[Result]:
    store = None
    for shape in shapes:
        targets = shape.targets_in(data)
        for focus in targets:
            yield from shape.results(data, focus)
        for message, query in shape.queries if targets else ():
            if store is None:
                oxigraph = require("pyoxigraph", "ontology")
                store = oxigraph.Store()
                store.extend(oxigraph.Quad(*triple) for triple in data.triples)
            wanted = set(targets)
            for row in store.query(query):
                if row["this"] in wanted:
                    yield Result(shape.severity, row["this"].value, message, "", row["value"].value)


# ----------------------------------------------------------------------------------------------- reading the shapes


@cache
def _shapes(path: Path) -> tuple[_Shape, ...]:
    return _Reader(path).read()


# What a shape may say besides its constraints.
_ABOUT = {RDF.type, *(SHACL[each] for each in ("path", "message", "severity", "property", "sparql"))}
_TARGETS = {SHACL.targetClass: "class", SHACL.targetSubjectsOf: "subjects"}

_LEXICAL = {
    XSD.string: re.compile(r".*", re.DOTALL),
    XSD.boolean: re.compile(r"true|false|1|0"),
    XSD.positiveInteger: re.compile(r"\+?0*[1-9]\d*"),
    XSD.nonNegativeInteger: re.compile(r"\+?\d+|-0+"),
}


class _Reader:
    """A file of shapes as `_Shape`s. Raises DataError for what the engine does not know."""

    def __init__(self, path: Path):
        oxigraph = require("pyoxigraph", "ontology")
        self._path = path
        self._data = _Data(quad.triple for quad in oxigraph.parse(path=path, format=oxigraph.RdfFormat.TURTLE))
        self._literal = oxigraph.Literal
        self._node_shape = oxigraph.NamedNode(SHACL.NodeShape)

    def read(self) -> tuple[_Shape, ...]:
        return tuple(self._shape(node) for node in self._data.subjects(self._node_shape, RDF.type))

    def _shape(self, node: Any) -> _Shape:
        message = self._one(node, SHACL.message)
        severity = self._one(node, SHACL.severity)
        path = self._one(node, SHACL.path)
        shape = _Shape(
            message=message.value if message else "",
            severity=severity.value.removeprefix(str(SHACL)) if severity else "Violation",
            path=path,
            steps=tuple(self._steps(path)) if path is not None else (),
            properties=[self._shape(each) for each in self._data.objects(node, SHACL.property)],
        )
        for sparql in self._data.objects(node, SHACL.sparql):
            shape.queries.append(self._query(sparql))
        for triple in self._data.triples:
            if triple.subject != node:
                continue
            predicate = triple.predicate.value
            if predicate in _TARGETS:
                shape.targets.append((_TARGETS[predicate], triple.object))
            elif predicate.startswith(str(SHACL)) and predicate not in _ABOUT:
                shape.constraints.append(self._constraint(predicate.removeprefix(str(SHACL)), triple.object))
        return shape

    def _one(self, node: Any, predicate: str) -> Any:
        return next(iter(self._data.objects(node, predicate)), None)

    def _list(self, node: Any) -> list[Any]:
        members = []
        while (first := self._one(node, RDF.first)) is not None:
            members.append(first)
            node = self._one(node, RDF.rest)
        return members

    def _steps(self, path: Any) -> Iterator[tuple[str, bool]]:
        if members := self._list(path):
            for member in members:
                yield from self._steps(member)
        elif (inverse := self._one(path, SHACL.inversePath)) is not None:
            yield inverse.value, True
        else:
            yield path.value, False

    def _query(self, node: Any) -> tuple[str, str]:
        prefixes = ""
        for ontology in self._data.objects(node, SHACL.prefixes):
            for each in self._data.objects(ontology, SHACL.declare):
                prefixes += (
                    f"PREFIX {self._one(each, SHACL.prefix).value}: <{self._one(each, SHACL.namespace).value}>\n"
                )
        return self._one(node, SHACL.message).value, prefixes + self._one(node, SHACL.select).value

    def _constraint(self, component: str, term: Any) -> _Constraint:
        match component:
            case "minCount":
                least = int(term.value)
                return lambda _data, _focus, values: [None] if len(values) < least else []
            case "maxCount":
                most = int(term.value)
                return lambda _data, _focus, values: [None] if len(values) > most else []
            case "hasValue":
                return lambda _data, _focus, values: [] if term in values else [None]
            case "lessThan" | "lessThanOrEquals":
                other, allowed = term.value, (-1,) if component == "lessThan" else (-1, 0)
                return lambda data, focus, values: (
                    value
                    for value in values
                    for bound in data.objects(focus, other)
                    if _order(value, bound) not in allowed
                )
        holds = self._of_value(component, term)
        return lambda data, _focus, values: (value for value in values if not holds(data, value))

    def _of_value(self, component: str, term: Any) -> Callable[[_Data, Any], bool]:
        match component:
            case "class":
                return lambda data, value: term in data.objects(value, RDF.type)
            case "datatype":
                kind, lexical, literal = term.value, _LEXICAL[term.value], self._literal
                return lambda _data, value: (
                    isinstance(value, literal) and value.datatype.value == kind and bool(lexical.fullmatch(value.value))
                )
            case "minLength":
                length = int(term.value)
                return lambda _data, value: len(value.value) >= length
            case "pattern":
                pattern = re.compile(term.value)
                return lambda _data, value: bool(pattern.search(value.value))
            case "maxInclusive":
                return lambda _data, value: _order(value, term) in (-1, 0)
            case "in":
                members = set(self._list(term))
                return lambda _data, value: value in members
            case "not":
                shape = self._shape(term)
                return lambda data, value: not shape.holds(data, value)
            case "or" | "xone":
                shapes = [self._shape(member) for member in self._list(term)]
                if component == "or":
                    return lambda data, value: any(shape.holds(data, value) for shape in shapes)
                return lambda data, value: sum(shape.holds(data, value) for shape in shapes) == 1
        raise DataError(f"{self._path}: sh:{component} is not known to our engine; `with_pyshacl` knows it")


def _order(left: Any, right: Any) -> int | None:
    """-1, 0 or 1 as `left` is below, equal to or above `right`; None for what are not both whole numbers."""
    try:
        return (int(left.value) > int(right.value)) - (int(left.value) < int(right.value))
    except ValueError:
        return None


# ---------------------------------------------------------------------------------------------------------- pySHACL


def _with_pyshacl(data: _Data, path: Path) -> Iterator[Result]:
    oxigraph, rdflib, pyshacl = (require(name, "ontology") for name in ("pyoxigraph", "rdflib", "pyshacl"))
    graph = rdflib.Graph()
    graph.parse(data=oxigraph.serialize(data.triples, format=oxigraph.RdfFormat.N_TRIPLES), format="nt")
    _, report, _ = pyshacl.validate(graph, shacl_graph=rdflib.Graph().parse(path, format="turtle"))
    namespace = rdflib.SH
    for result in report.subjects(rdflib.RDF.type, namespace.ValidationResult):
        found = {str(predicate): term for predicate, term in report.predicate_objects(result)}
        result_path = found.get(SHACL.resultPath)
        is_plain = isinstance(result_path, rdflib.URIRef)
        component = found[SHACL.sourceConstraintComponent].removeprefix(str(SHACL))
        has_value = component not in (
            "MinCountConstraintComponent",
            "MaxCountConstraintComponent",
            "HasValueConstraintComponent",
        )
        yield Result(
            severity=found[SHACL.resultSeverity].removeprefix(str(SHACL)),
            focus=str(found[SHACL.focusNode]),
            message=str(found[SHACL.resultMessage]),
            path=str(result_path) if is_plain else "",
            value=str(found[SHACL.value]) if has_value and SHACL.value in found else "",
        )
