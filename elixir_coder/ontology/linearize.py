"""Triples as something a model reads: sentences, and K-BERT's tree of code with knowledge behind what it is about.

    known = Index(triples(facts, package="shop", version="1.0.0", path="lib/cart.ex"), schema_triples())
    linearize(known, [module_iri("shop", "1.0.0", "Shop.Cart")])
    # Shop.Cart is a server. Its handle_call/3 implements GenServer.handle_call/3 and calls Shop.Cart.total/1, which
    # calls Enum.sum/1.

Only what the code does not spell out itself is worth saying: whom a call reaches, what that does in turn, which part a
module plays. The order is from the most telling down, and the same for the same triples.

Method: Liu et al. 2020, K-BERT, https://arxiv.org/abs/1909.07606
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from elixir_coder.example import Triple
from elixir_coder.ontology.vocabulary import CORE, OTP, RDF, SECURITY, SKOS, STRUCTURE, name_iri, shown

if TYPE_CHECKING:
    import pyoxigraph
    import torch

MAX_CHARS = 1_500
_MAX_NAMED = 4  # of one kind in one sentence; the rest is counted
_KERNEL = name_iri("Kernel")  # what every line calls tells nothing

_ASKED = frozenset(
    [
        *(CORE.name, RDF.type, SKOS.definition, SKOS.prefLabel),
        *(OTP.answer, OTP.causes, OTP.givesRole, OTP.hasContract, OTP.performs, OTP.playsRole, OTP.requiresCallback),
        *(SECURITY.cwe, SECURITY.mayBeCallOf, SECURITY.mitigatedBy),
        *(STRUCTURE.belongsTo, STRUCTURE.calls, STRUCTURE.callsFunction, STRUCTURE.declaresCallback),
        *(STRUCTURE.definesStruct, STRUCTURE.forType, STRUCTURE.hasField, STRUCTURE.identifiedBy),
        *(STRUCTURE.implementsBehaviour, STRUCTURE.implementsCallback, STRUCTURE.implementsProtocol, STRUCTURE.uses),
    ]
)


class Graph(Protocol):
    """What is asked of a graph: IRIs and texts, in the same order each time."""

    def objects(self, subject: str, predicate: str) -> Sequence[str]: ...

    def subjects(self, predicate: str, object: str) -> Sequence[str]: ...


class Index:
    """A graph of the triples it is given, in their order, as far as anything is asked of them here."""

    def __init__(self, *sources: Iterable[pyoxigraph.Triple], behind: Graph | None = None):
        """behind: another graph that has what these triples do not say, such as the ontologies."""
        self._behind = behind
        self._objects: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        self._subjects: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for source in sources:
            for triple in source:
                predicate = triple.predicate.value
                if predicate in _ASKED:
                    subject, value = (str(getattr(each, "value", "")) for each in (triple.subject, triple.object))
                    self._objects[subject, predicate].append(value)
                    self._subjects[predicate, value].append(subject)

    def objects(self, subject: str, predicate: str) -> Sequence[str]:
        found = self._objects.get((subject, predicate), ())
        return found if found or self._behind is None else self._behind.objects(subject, predicate)

    def subjects(self, predicate: str, object: str) -> Sequence[str]:
        found = self._subjects.get((predicate, object), ())
        return found if found or self._behind is None else self._behind.subjects(predicate, object)


@dataclass(frozen=True)
class Statement:
    """One thing that is known. subject, and source where the object is one: IRIs. predicate, object: in words."""

    subject: str
    predicate: str
    object: str
    source: str = ""


def statements(graph: Graph, subject: str) -> list[Statement]:
    """What is known of a module, a function, or a name that code uses, the most telling first."""
    found: list[Statement] = []

    def say(predicate: str, objects: Iterable[str], words: Callable[[str], str] = shown) -> None:
        found.extend(Statement(subject, predicate, words(each), each) for each in objects)

    def label(iri: str) -> str:
        return next(iter(graph.objects(iri, SKOS.prefLabel)), "") or shown(iri)

    say("is a", graph.objects(subject, OTP.playsRole), label)
    say("gives the role", graph.objects(subject, OTP.givesRole), label)
    say("implements protocol", graph.objects(subject, STRUCTURE.implementsProtocol))
    say("for type", graph.objects(subject, STRUCTURE.forType))
    say("implements behaviour", graph.objects(subject, STRUCTURE.implementsBehaviour))
    say("requires callback", graph.objects(subject, OTP.requiresCallback))
    say("declares callback", graph.objects(subject, STRUCTURE.declaresCallback))
    if STRUCTURE.ExceptionModule in graph.objects(subject, RDF.type):
        found.append(Statement(subject, "is an", "exception"))
    for struct in graph.objects(subject, STRUCTURE.definesStruct):
        fields = [
            name for field in graph.objects(struct, STRUCTURE.hasField) for name in graph.objects(field, CORE.name)
        ]
        if fields:
            found.append(Statement(subject, "has the struct fields", _listed(fields)))
    say("implements callback", graph.objects(subject, STRUCTURE.implementsCallback))
    say("may be the weakness", graph.subjects(SECURITY.mayBeCallOf, subject), lambda each: _weakness(graph, each))
    say("performs", graph.objects(subject, OTP.performs), label)
    say("causes", graph.objects(subject, OTP.causes), label)
    say("calls", _called(graph, subject))
    say("is called by", graph.subjects(STRUCTURE.callsFunction, subject))
    say("uses", graph.objects(subject, STRUCTURE.uses))
    for callback in (subject, *graph.objects(subject, STRUCTURE.implementsCallback)):
        for contract in graph.objects(callback, OTP.hasContract):
            say("may answer", graph.objects(contract, OTP.answer), str)
    for weakness in graph.subjects(SECURITY.mayBeCallOf, subject):
        for mitigation in graph.objects(weakness, SECURITY.mitigatedBy):
            say("is made safe by", graph.objects(mitigation, SKOS.definition), str)
    return list(dict.fromkeys(found))


def linearize(
    graph: Graph,
    subjects: Iterable[str],
    *,
    budget: int = MAX_CHARS,
    count: Callable[[str], int] = len,
) -> str:
    """Sentences about modules and functions, the most telling ones that fit the budget, in the order of telling.

    subjects: IRIs; a module brings its functions with it. budget: for the whole text, as `count` counts it: characters,
    or tokens where it is a tokenizer's.
    """
    kept: list[str] = []
    for sentence in _sentences(graph, subjects):
        longer = " ".join([*kept, sentence])
        if count(longer) <= budget:
            kept.append(sentence)
    return " ".join(kept)


def _sentences(graph: Graph, subjects: Iterable[str]) -> Iterator[str]:
    functions: list[tuple[int, str, str]] = []
    for subject in subjects:
        if STRUCTURE.Module not in graph.objects(subject, RDF.type):
            functions.append((-_weight(graph, subject), subject, shown(subject)))
            continue
        if sentence := _about_module(graph, subject):
            yield sentence
        for function in graph.subjects(STRUCTURE.belongsTo, subject):
            functions.append((-_weight(graph, function), function, shown(function)))
    for _, function, name in sorted(functions, key=lambda each: each[0]):  # stable: as they stand in the file
        if sentence := _about_function(graph, function, name):
            yield sentence


def _about_module(graph: Graph, module: str) -> str:
    said = _by_predicate(graph, module)
    parts = []
    if roles := said.pop("is a", []):
        parts.append(f"is {_with_article(roles[0])}")
    if said.pop("is an", []):
        parts.append("is an exception")
    if protocols := said.pop("implements protocol", []):
        types = said.pop("for type", [])
        parts.append(f"implements the protocol {protocols[0]}" + (f" for {types[0]}" if types else ""))
    if behaviours := said.pop("implements behaviour", []):
        parts.append(f"implements the behaviour {_listed(behaviours)}")
    if fields := said.pop("has the struct fields", []):
        parts.append(f"has a struct with {fields[0]}")
    if callbacks := said.pop("declares callback", []):
        parts.append(f"asks for {_listed(callbacks)}")
    if uses := [each for each in said.pop("uses", []) if each not in behaviours]:
        parts.append(f"uses {_listed(uses)}")
    return f"{shown(module)} {_and(parts)}." if parts else ""


def _about_function(graph: Graph, function: str, name: str) -> str:
    said = _by_predicate(graph, function)
    near = _near(graph, function)
    parts = []
    if callbacks := said.get("implements callback"):
        parts.append(f"implements {_listed(callbacks)}")
    if performed := said.get("performs"):
        parts.append(f"performs {_listed([_with_article(each) for each in performed])}")
    if called := _called(graph, function):
        further = [(near(each), _onward(graph, each, near)) for each in called[:_MAX_NAMED]]
        plain = [each for each, onward in further if not onward]
        if len(called) > _MAX_NAMED:
            plain.append(f"{len(called) - _MAX_NAMED} more")
        through = [f"{each}, which {onward}" for each, onward in further if onward]
        parts.append("calls " + "; ".join([*([_and(plain)] if plain else []), *through]))
    if not parts and (callers := graph.subjects(STRUCTURE.callsFunction, function)):
        parts.append(f"is called by {_listed([near(each) for each in callers])}")
    return f"{name} {_and(parts)}." if parts else ""


def _onward(graph: Graph, called: str, near: Callable[[str], str]) -> str:
    """One hop further: what a called function calls or performs, or what is known of the name."""
    function = _definition(graph, called)
    words = []
    if weaknesses := graph.subjects(SECURITY.mayBeCallOf, called):
        words.append(f"may be {_weakness(graph, weaknesses[0])}")
    if performed := graph.objects(function, OTP.performs) or graph.objects(called, OTP.causes):
        labels = [next(iter(graph.objects(each, SKOS.prefLabel)), shown(each)) for each in performed]
        words.append(f"performs {_listed([_with_article(each) for each in labels])}")
    if further := [near(each) for each in _called(graph, function) if each != called]:
        words.append(f"calls {_listed(further)}")
    return _and(words)


def _near(graph: Graph, function: str) -> Callable[[str], str]:
    """The words for a function, without the module where it is that of another one."""
    module = next((f"{shown(each)}." for each in graph.objects(function, STRUCTURE.belongsTo)), "")
    return lambda each: shown(each).removeprefix(module)


def _weakness(graph: Graph, weakness: str) -> str:
    """Its label and, in brackets, its first entry in the CWE."""
    label = next(iter(graph.objects(weakness, SKOS.prefLabel)), shown(weakness))
    entry = next((shown(each) for each in graph.objects(weakness, SECURITY.cwe)), "")
    return f"{label} ({entry.replace('cwe:', 'CWE-').removesuffix('.html')})" if entry else label


def _called(graph: Graph, subject: str) -> list[str]:
    """Functions of the same file first, then names of other modules, each once; Kernel's are left out."""
    functions = list(dict.fromkeys(graph.objects(subject, STRUCTURE.callsFunction)))
    here = {name for function in functions for name in graph.objects(function, STRUCTURE.identifiedBy)}
    names = dict.fromkeys(graph.objects(subject, STRUCTURE.calls))
    others = [name for name in names if name not in here and not name.startswith((f"{_KERNEL}/", f"{_KERNEL}."))]
    return [each for each in functions if each != subject] + others


def _definition(graph: Graph, called: str) -> str:
    """The function that a name leads to, where there is one of that name alone; a function is its own."""
    found = graph.subjects(STRUCTURE.identifiedBy, called)
    return found[0] if len(found) == 1 else called


def _weight(graph: Graph, function: str) -> int:
    return (
        8 * bool(graph.objects(function, STRUCTURE.implementsCallback))
        + 4 * bool(graph.objects(function, OTP.performs))
        + 2 * bool(graph.objects(function, STRUCTURE.callsFunction))
        + (STRUCTURE.PublicFunction in graph.objects(function, RDF.type))
    )


def _by_predicate(graph: Graph, subject: str) -> dict[str, list[str]]:
    said: dict[str, list[str]] = {}
    for statement in statements(graph, subject):
        said.setdefault(statement.predicate, []).append(statement.object)
    return said


def _listed(words: Sequence[str]) -> str:
    shortened = [*words[:_MAX_NAMED], f"{len(words) - _MAX_NAMED} more"] if len(words) > _MAX_NAMED else words
    return _and(shortened)


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def _with_article(noun: str) -> str:
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"


# ------------------------------------------------------------------------------------------------------------- K-BERT


@dataclass(frozen=True)
class KnowledgeInput:
    """Tokens of code with knowledge behind what it is about: a tree, written as one sequence.

    Each list has one entry per token. position_ids: soft positions: a branch goes on from its anchor as if nothing else
    stood there, and so does the code. branches: 0 for code, else the number of the branch, from 1.
    anchors: for each branch the tokens of the code it hangs on.
    """

    input_ids: tuple[int, ...]
    position_ids: tuple[int, ...]
    branches: tuple[int, ...]
    anchors: tuple[frozenset[int], ...]

    def visible(self) -> torch.Tensor:
        """(S, S) bool: which token (row) sees which (column).

        Code sees code, a branch sees itself, and a branch and its anchor see each other.
        """
        import torch

        branches = torch.tensor(self.branches, dtype=torch.long)
        visible = branches[:, None] == branches[None, :]
        for number, anchor in enumerate(self.anchors, 1):
            of_branch = branches == number
            of_anchor = torch.zeros_like(of_branch)
            of_anchor[sorted(anchor)] = True
            visible |= of_branch[:, None] & of_anchor[None, :]
            visible |= of_anchor[:, None] & of_branch[None, :]
        return visible


def inject(
    input_ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    triples: Iterable[Triple],
    encode: Callable[[str], Sequence[int]],
    *,
    max_length: int | None = None,
    max_per_anchor: int | None = 2,
) -> KnowledgeInput:
    """Put what is known of the code's entities behind them, as K-BERT does.

    input_ids, offsets: of the code, as a tokenizer gives them: the characters [start, end) of each token, an empty
    range for a special token. triples: the first are the most wanted; those whose subject is not written in the code
    (start below 0) have no place. encode: the ids of a text, without special tokens.
    max_length: of everything; a branch that would not fit is left out whole, code never. max_per_anchor: branches on
    the same tokens; the paper has 2.

    Method: Liu et al. 2020, section 3, https://arxiv.org/abs/1909.07606
    """
    room = max_length - len(input_ids) if max_length is not None else None
    behind: dict[int, list[tuple[list[int], list[int]]]] = {}  # last token of the anchor -> (anchor, branch)
    num_on: Counter[tuple[int, int]] = Counter()
    for triple in triples:
        if triple.start < 0:
            continue
        anchor = [at for at, (start, end) in enumerate(offsets) if start < min(end, triple.end) and end > triple.start]
        if not anchor or (max_per_anchor is not None and num_on[anchor[0], anchor[-1]] >= max_per_anchor):
            continue
        branch = list(encode(f" {triple.predicate} {triple.object}"))
        if not branch or (room is not None and len(branch) > room):
            continue
        room = room - len(branch) if room is not None else None
        num_on[anchor[0], anchor[-1]] += 1
        behind.setdefault(anchor[-1], []).append((anchor, branch))

    ids: list[int] = []
    positions: list[int] = []
    branches: list[int] = []
    anchors: list[list[int]] = []  # as tokens of the code, until it is known where these stand
    place: list[int] = []
    for at, token in enumerate(input_ids):
        place.append(len(ids))
        ids.append(token)
        positions.append(at)
        branches.append(0)
        for anchor, branch in behind.get(at, ()):
            anchors.append(anchor)
            ids += branch
            positions += range(at + 1, at + 1 + len(branch))
            branches += [len(anchors)] * len(branch)
    return KnowledgeInput(
        input_ids=tuple(ids),
        position_ids=tuple(positions),
        branches=tuple(branches),
        anchors=tuple(frozenset(place[token] for token in anchor) for anchor in anchors),
    )


def collate(inputs: Sequence[KnowledgeInput], pad_token_id: int) -> dict[str, torch.Tensor]:
    """A batch for the encoder: input_ids and position_ids (B, S) int64, attention_mask (B, S, S) bool.

    Padding stands behind; nothing sees it, and it sees nothing.
    """
    import torch

    length = max(len(each.input_ids) for each in inputs)
    ids = torch.full((len(inputs), length), pad_token_id, dtype=torch.long)
    positions = torch.zeros((len(inputs), length), dtype=torch.long)
    mask = torch.zeros((len(inputs), length, length), dtype=torch.bool)
    for row, each in enumerate(inputs):
        size = len(each.input_ids)
        ids[row, :size] = torch.tensor(each.input_ids)
        positions[row, :size] = torch.tensor(each.position_ids)
        mask[row, :size, :size] = each.visible()
    return {"input_ids": ids, "position_ids": positions, "attention_mask": mask}
