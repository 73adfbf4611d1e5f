"""From what a file says of itself to individuals of the graph: modules, functions, clauses, callbacks, roles and calls.

    report = toolchain.facts(code)
    for triple in triples(report, package="plug", version="1.15.0", path="lib/plug/conn.ex"):
        ...

A module or function has the same IRI in whichever file of a version it is written, and several may write it (test
files do): what is of one place only (lines, clauses, parameters, calls) hangs from the file instead. Numbers keep the
exact types of the ontology. The same facts give the same triples in the same order, each once.

Not here: what macros write; and the arguments of calls, so a strategy is not linked to its supervisor.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from elixir_coder.errors import require
from elixir_coder.ontology.schemas import SCHEMA_FILES, known, schema_triples
from elixir_coder.ontology.vocabulary import (
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
    version_iri,
)
from elixir_coder.toolchain.facts import Call, Clause, FactsReport, FunctionFacts, ModuleFacts

if TYPE_CHECKING:
    import pyoxigraph

__all__ = ["SCHEMA_FILES", "schema_triples", "signature", "triples"]

_MODULE_CLASSES = {"protocol": STRUCTURE.Protocol, "impl": STRUCTURE.ProtocolImplementation}
_FUNCTION_CLASSES = {
    "defmacro": (STRUCTURE.Macro,),
    "defmacrop": (STRUCTURE.Macro,),
    "defguard": (STRUCTURE.Macro, STRUCTURE.Guard),
    "defguardp": (STRUCTURE.Macro, STRUCTURE.Guard),
    "defdelegate": (STRUCTURE.Delegate,),
}
_WORKED_OUT = "?"  # how the facts write a module or name that is computed
_TYPE_CLASSES = {"typep": STRUCTURE.PrivateType, "opaque": STRUCTURE.OpaqueType}


def triples(
    facts: FactsReport, *, package: str, version: str, path: str, sha256: str = ""
) -> Iterator[pyoxigraph.Triple]:
    """The triples of one file. path: POSIX, inside the package. sha256: of the file's bytes, where it is to be said.

    A text that does not parse has no modules: only the file itself is said.
    """
    file = _File(package, version, path)
    file.write(facts, sha256)
    yield from dict.fromkeys(file.triples)


class _File:
    """The triples of one file while they are written."""

    def __init__(self, package: str, version: str, path: str):
        oxigraph = require("pyoxigraph", "ontology")
        self._triple, self._node, self._literal = oxigraph.Triple, oxigraph.NamedNode, oxigraph.Literal
        self._package, self._version, self._path = package, version, path
        self._iri = file_iri(package, version, path)
        self._nodes: dict[str, Any] = {}
        self._numbers: dict[tuple[int, str], Any] = {}
        self._functions: defaultdict[tuple[str, str], list[FunctionFacts]] = defaultdict(list)
        self._num_places: Counter[str] = Counter()
        self.triples: list[pyoxigraph.Triple] = []

    def write(self, facts: FactsReport, sha256: str) -> None:
        self._link(self._iri, RDF.type, CORE.SourceFile)
        self._say(self._iri, CORE.path, self._path)
        self._link(version_iri(self._package, self._version), CORE.hasFile, self._iri)
        if sha256:
            self._say(self._iri, CORE.sha256, sha256)
        for module in facts.modules:
            for function in module.functions:
                self._functions[module.name, function.name].append(function)
        for module in facts.modules:
            self._module(module, facts.modules)
        for call in facts.calls:
            self._call(self._owner_of(call, facts.modules), call, self._module_at(call.line, facts.modules))

    # -------------------------------------------------------------------------------------------------------- modules

    def _module(self, module: ModuleFacts, all_modules: tuple[ModuleFacts, ...]) -> None:
        subject = self._module_iri(module.name)
        classes = [STRUCTURE.Module]
        if module.kind in _MODULE_CLASSES:
            classes.append(_MODULE_CLASSES[module.kind])
        if module.struct is not None:
            classes.append(STRUCTURE.StructModule)
        if module.is_exception:
            classes.append(STRUCTURE.ExceptionModule)
        if module.tests or module.doctests:
            classes.append(STRUCTURE.TestModule)
        for each in classes:
            self._link(subject, RDF.type, each)
        self._say(subject, CORE.name, module.name)
        self._link(subject, STRUCTURE.identifiedBy, self._name(module.name))
        self._location(subject, module.line, module.end_line)
        self._documentation(subject, module.doc)
        around = [each for each in all_modules if each is not module and _is_around(each, module)]
        if around:
            self._link(subject, STRUCTURE.nestedIn, self._module_iri(around[-1].name))
        self._relations(subject, module)
        self._contents(subject, module)
        for function in module.functions:
            self._function(subject, module, function)

    def _relations(self, subject: str, module: ModuleFacts) -> None:
        named = (
            (STRUCTURE.implementsBehaviour, module.behaviours),
            (STRUCTURE.uses, module.uses),
            (STRUCTURE.imports, module.imports),
            (STRUCTURE.requires, module.requires),
            (STRUCTURE.aliases, [full for _, full in module.aliases]),
            (STRUCTURE.runsDoctestsOf, module.doctests),
            (STRUCTURE.implementsProtocol, [module.protocol] if module.protocol else []),
            (STRUCTURE.forType, [module.target] if module.target else []),
        )
        for predicate, names in named:
            for name in names:
                self._link(subject, predicate, self._name(name))
        for short, full in module.aliases:
            if short != full.rpartition(".")[2]:
                alias = f"{subject}#alias/{_part(short)}"
                self._link(subject, STRUCTURE.hasAlias, alias)
                self._link(alias, RDF.type, STRUCTURE.Alias)
                self._say(alias, CORE.name, short)
                self._link(alias, STRUCTURE.aliasOf, self._name(full))
        roles = known().roles
        for name in (*module.behaviours, *module.uses):
            if name in roles:
                self._link(subject, OTP.playsRole, roles[name])

    def _contents(self, subject: str, module: ModuleFacts) -> None:
        """What a module has besides functions: struct, types, attributes, callbacks, tests."""
        if module.struct is not None:
            struct = f"{subject}#struct"
            self._link(subject, STRUCTURE.definesStruct, struct)
            self._link(struct, RDF.type, STRUCTURE.Struct)
            for name in module.struct:
                part = f"{subject}#field/{_part(name)}"
                self._part(struct, STRUCTURE.hasField, STRUCTURE.StructField, part, name)
        for kind, text in module.types:
            head = signature(text)
            name, arity = head or (text.partition("::")[0].strip(), 0)
            part = f"{subject}#type/{_part(name)}/{arity}"
            self._part(subject, STRUCTURE.definesType, STRUCTURE.Type, part, name, text)
            if kind in _TYPE_CLASSES:
                self._link(part, RDF.type, _TYPE_CLASSES[kind])
            if head:
                self._number(part, STRUCTURE.arity, arity)
        for name in module.attributes:
            part = f"{subject}#attribute/{_part(name)}"
            self._part(subject, STRUCTURE.hasAttribute, STRUCTURE.Attribute, part, name)
        for text in module.callbacks:
            part = f"{subject}#callback/{_fingerprint(text)}"
            self._link(subject, STRUCTURE.hasCallbackSpecification, part)
            self._link(part, RDF.type, STRUCTURE.CallbackSpecification)
            self._say(part, CORE.text, text)
            if head := signature(text):
                callback = self._callback(module.name, *head)
                self._link(subject, STRUCTURE.declaresCallback, callback)
                self._link(part, STRUCTURE.specifies, callback)
        for describe, name, line, end_line in module.tests:
            test = self._test_iri(line)
            self._part(subject, STRUCTURE.hasTest, STRUCTURE.Test, test, name)
            if describe:
                self._say(test, STRUCTURE.describe, describe)
            self._location(test, line, end_line)

    # ------------------------------------------------------------------------------------------------------ functions

    def _function(self, module_subject: str, module: ModuleFacts, function: FunctionFacts) -> None:
        subject = self._function_iri(module.name, function)
        self._link(subject, RDF.type, STRUCTURE.Function)
        self._link(subject, RDF.type, STRUCTURE.PublicFunction if function.is_public else STRUCTURE.PrivateFunction)
        for each in _FUNCTION_CLASSES.get(function.kind, ()):
            self._link(subject, RDF.type, each)
        self._say(subject, CORE.name, function.name)
        self._number(subject, STRUCTURE.arity, function.arity)
        if function.num_defaults:
            self._number(subject, STRUCTURE.minimumArity, function.arity - function.num_defaults)
        self._link(subject, STRUCTURE.belongsTo, module_subject)
        for arity in _arities(function):
            self._link(subject, STRUCTURE.identifiedBy, self._name(module.name, function.name, arity))
        self._location(subject, function.line, function.end_line)
        self._documentation(subject, function.doc)
        for text in function.specs:
            part = f"{subject}#spec/{_fingerprint(text)}"
            self._link(subject, STRUCTURE.hasSpecification, part)
            self._link(part, RDF.type, STRUCTURE.Specification)
            self._say(part, CORE.text, text)
            if head := signature(text):
                self._number(part, STRUCTURE.arity, head[1])
        for position, clause in enumerate(function.clauses, 1):
            self._clause(subject, module.name, function, position, clause)
        self._callbacks(subject, module, function)
        for call in function.calls:
            self._call(subject, call, module)

    def _clause(self, subject: str, module: str, function: FunctionFacts, position: int, clause: Clause) -> None:
        where = f"{self._iri}#L{clause.line}-L{clause.end_line}/{_part(module)}/{_part(function.name)}/{function.arity}"
        self._num_places[where] += 1  # several clauses may stand on one line
        node = where if self._num_places[where] == 1 else f"{where}/{self._num_places[where]}"
        self._link(subject, STRUCTURE.hasClause, node)
        self._link(node, RDF.type, STRUCTURE.Clause)
        self._number(node, STRUCTURE.position, position, "positiveInteger")
        self._number(node, CORE.line, clause.line, "positiveInteger")
        self._number(node, CORE.endLine, clause.end_line, "positiveInteger")
        for number, text in enumerate(clause.params, 1):
            parameter = f"{node}/parameter/{number}"
            self._link(node, STRUCTURE.hasParameter, parameter)
            self._link(parameter, RDF.type, STRUCTURE.Parameter)
            self._number(parameter, STRUCTURE.position, number, "positiveInteger")
            self._say(parameter, CORE.text, text)
        if clause.guard:
            guard = f"{node}/guard"
            self._link(node, STRUCTURE.hasGuard, guard)
            self._link(guard, RDF.type, STRUCTURE.GuardExpression)
            self._say(guard, CORE.text, clause.guard)

    def _callbacks(self, subject: str, module: ModuleFacts, function: FunctionFacts) -> None:
        """Which callback a function answers.

        `@impl Behaviour` says so itself. `@impl true` and no @impl leave it to the known callbacks of the behaviours;
        what remains of `@impl true` is answered for the one behaviour that is not known, if there is just one.
        """
        if function.impl and function.impl != "false":
            self._truth(subject, STRUCTURE.isMarkedImplementation)
        if not function.is_public:
            return
        arities = _arities(function)
        if module.kind == "protocol":
            callback = self._callback(module.name, function.name, function.arity)
            self._link(self._module_iri(module.name), STRUCTURE.declaresCallback, callback)
            return
        if module.kind == "impl":
            if module.protocol:
                callback = self._callback(module.protocol, function.name, function.arity)
                self._link(subject, STRUCTURE.implementsCallback, callback)
            return
        if function.impl not in ("", "true", "false"):
            self._link(subject, STRUCTURE.implementsCallback, self._callback(function.impl, function.name, arities[-1]))
            return
        if function.impl == "false":
            return
        callbacks = known().callbacks
        found = [
            (behaviour, arity)
            for behaviour in module.behaviours
            for arity in arities
            if (function.name, arity) in callbacks.get(behaviour, ())
        ]
        others = [behaviour for behaviour in dict.fromkeys(module.behaviours) if behaviour not in callbacks]
        if not found and function.impl == "true" and len(others) == 1:
            found = [(others[0], arities[-1])]
        for behaviour, arity in found:
            self._link(subject, STRUCTURE.implementsCallback, self._callback(behaviour, function.name, arity))

    # ---------------------------------------------------------------------------------------------------------- calls

    def _call(self, owner: str, call: Call, module: ModuleFacts | None) -> None:
        called = f"{_part(call.module)}/" if call.module else ""
        where = f"{self._iri}#L{call.line}/{called}{_part(call.name)}/{call.arity}"
        self._link(owner, STRUCTURE.hasCall, where)
        self._link(where, RDF.type, STRUCTURE.Call)
        self._number(where, CORE.line, call.line, "positiveInteger")
        callee, function = self._resolve(call, module)
        if not callee:
            self._link(where, RDF.type, STRUCTURE.UnresolvedCall)
            self._say(where, STRUCTURE.calledName, call.name)
            self._number(where, STRUCTURE.calledArity, call.arity)
            return
        name = self._name(callee, call.name, call.arity)
        self._link(where, STRUCTURE.callee, name)
        self._link(owner, STRUCTURE.calls, name)
        if function:
            target = self._function_iri(callee, function)
            self._link(where, STRUCTURE.resolvesTo, target)
            self._link(owner, STRUCTURE.callsFunction, target)
        if name in known().interactions:
            self._link(owner, OTP.performs, known().interactions[name])

    def _resolve(self, call: Call, module: ModuleFacts | None) -> tuple[str, FunctionFacts | None]:
        """The module whose function is called, "" where the text does not say, and the function if it is here.

        A local call is to the module's own function, to Kernel's, or to one of a module that it imports: one of this
        file, or one of Elixir's own.
        """
        if _WORKED_OUT in (call.module, call.name):
            return "", None
        if call.module:
            return call.module, self._function_here(call.module, call)
        imports = module.imports if module else ()
        for name in (module.name, *imports) if module else ():
            if function := self._function_here(name, call):
                return name, function
        wanted = call.name, call.arity
        if kernel := known().auto_imported.get(wanted):
            return kernel, None
        brought = [name for used in (module.uses if module else ()) for name in known().brought.get(used, ())]
        for name in (*imports, *brought):
            if wanted in known().exports.get(name, ()):
                return name, None
        return "", None

    def _function_here(self, module: str, call: Call) -> FunctionFacts | None:
        candidates = self._functions.get((module, call.name), ())
        return next((each for each in candidates if call.arity in _arities(each)), None)

    def _owner_of(self, call: Call, modules: tuple[ModuleFacts, ...]) -> str:
        """What a call outside of functions is in: a test, a module's body, or the file."""
        module = self._module_at(call.line, modules)
        if module is None:
            return self._iri
        for _, _, line, end_line in module.tests:
            if line <= call.line <= end_line:
                return self._test_iri(line)
        return self._module_iri(module.name)

    @staticmethod
    def _module_at(line: int, modules: tuple[ModuleFacts, ...]) -> ModuleFacts | None:
        """The innermost module around a line; they come in the order they begin."""
        return next((each for each in reversed(modules) if each.line <= line <= each.end_line), None)

    # ---------------------------------------------------------------------------------------- what many of them share

    def _module_iri(self, name: str) -> str:
        return module_iri(self._package, self._version, name)

    def _function_iri(self, module: str, function: FunctionFacts) -> str:
        return function_iri(self._package, self._version, module, function.name, function.arity)

    def _test_iri(self, line: int) -> str:
        return f"{self._iri}#test/{line}"

    def _name(self, module: str, name: str | None = None, arity: int | None = None) -> str:
        subject = name_iri(module, name, arity)
        if subject in self._nodes:  # its own triples are written
            return subject
        if name is None:
            self._link(subject, RDF.type, STRUCTURE.ModuleName)
            self._say(subject, CORE.name, module)
        else:
            assert arity is not None
            self._link(subject, RDF.type, STRUCTURE.FunctionName)
            self._say(subject, CORE.name, name)
            self._number(subject, STRUCTURE.arity, arity)
            self._link(subject, STRUCTURE.inModule, self._name(module))
        return subject

    def _callback(self, behaviour: str, name: str, arity: int) -> str:
        subject = self._name(behaviour, name, arity)
        self._link(subject, RDF.type, STRUCTURE.Callback)
        return subject

    def _part(self, whole: str, predicate: str, kind: str, part: str, name: str, text: str = "") -> None:
        self._link(whole, predicate, part)
        self._link(part, RDF.type, kind)
        self._say(part, CORE.name, name)
        if text:
            self._say(part, CORE.text, text)

    def _location(self, subject: str, line: int, end_line: int) -> None:
        location = location_iri(self._iri, line, end_line)
        self._link(subject, CORE.definedAt, location)
        self._link(location, RDF.type, CORE.Location)
        self._link(location, CORE.inFile, self._iri)
        self._number(location, CORE.line, line, "positiveInteger")
        self._number(location, CORE.endLine, end_line, "positiveInteger")

    def _documentation(self, subject: str, doc: str | None) -> None:
        if doc == "":
            self._truth(subject, STRUCTURE.isHidden)
        elif doc is not None:
            self._say(subject, STRUCTURE.documentation, doc)
            if "iex>" in doc:
                self._link(subject, STRUCTURE.hasDoctest, f"{subject}#doctest")
                self._link(f"{subject}#doctest", RDF.type, STRUCTURE.Doctest)

    def _link(self, subject: str, predicate: str, object: str) -> None:
        self._write(subject, predicate, self._iri_node(object))

    def _say(self, subject: str, predicate: str, text: str) -> None:
        self._write(subject, predicate, self._literal(text))

    def _truth(self, subject: str, predicate: str) -> None:
        self._write(subject, predicate, self._literal("true", datatype=self._iri_node(XSD.boolean)))

    def _number(self, subject: str, predicate: str, number: int, kind: str = "nonNegativeInteger") -> None:
        literal = self._numbers.get((number, kind))
        if literal is None:
            literal = self._numbers[number, kind] = self._literal(str(number), datatype=self._iri_node(XSD[kind]))
        self._write(subject, predicate, literal)

    def _write(self, subject: str, predicate: str, object: Any) -> None:
        self.triples.append(self._triple(self._iri_node(subject), self._iri_node(predicate), object))

    def _iri_node(self, iri: str) -> Any:
        node = self._nodes.get(iri)
        if node is None:
            node = self._nodes[iri] = self._node(iri)
        return node


def _is_around(outer: ModuleFacts, inner: ModuleFacts) -> bool:
    return outer.line <= inner.line and inner.end_line <= outer.end_line and inner.name != outer.name


def _arities(function: FunctionFacts) -> range:
    return range(function.arity - function.num_defaults, function.arity + 1)


def _part(name: str) -> str:
    """A name as one segment of a fragment."""
    return name_iri(name).rpartition("/")[2]


def _fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# ------------------------------------------------------------------------------------------------------- signatures

_NAME = re.compile(r"(?:[^\W\dA-Z]\w*[?!]?)")
_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
    |(?P<quoted>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\?\\.|\?.)
    |(?P<open><<|[(\[{]|%\{)
    |(?P<close>>>|[)\]}])
    |(?P<types>::)
    |(?P<comma>,)
    |(?P<word>[\w@]+[?!]?:(?!:)|:?[\w@.]*[\w@][?!]?)
    |(?P<operator>[-+*/=<>!&|^~.:\\]+|.)""",
    re.VERBOSE | re.DOTALL,
)


def signature(text: str) -> tuple[str, int] | None:
    """The name and arity of a text of @spec, @callback or @type: ("add", 2) of "add(a, b) :: c".

    An operator's stands between its types: ("+", 2) of "a + b :: c". None where the name is not written out.
    """
    head = list(_head(text))
    if not head:
        return None
    kind, word = head[0]
    if kind == "word" and _NAME.fullmatch(word):
        if len(head) == 1:
            return word, 0
        if head[1] == ("open", "("):
            arity = _num_arguments(head[1:])
            return None if arity is None else (word, arity)
    operators = [place for place, (depth, each) in enumerate(_with_depth(head)) if depth == 0 and _is_operator(each)]
    if not operators:
        return None
    place = operators[-1] if operators[0] else 0
    return head[place][1], 2 if place else 1


def _is_operator(token: tuple[str, str]) -> bool:
    kind, word = token
    return (kind == "operator" and word not in (".", "%", "|", "->")) or (
        kind == "word" and word in ("and", "or", "not", "in")
    )


def _head(text: str) -> Iterator[tuple[str, str]]:
    """The tokens before the `::` that no bracket is around."""
    depth = 0
    for match in _TOKEN.finditer(text):
        kind, word = match.lastgroup or "", match.group()
        if kind == "types" and depth == 0:
            return
        depth += (kind == "open") - (kind == "close")
        if kind != "space":
            yield kind, word


def _with_depth(tokens: Iterable[tuple[str, str]]) -> Iterator[tuple[int, tuple[str, str]]]:
    depth = 0
    for token in tokens:
        depth -= token[0] == "close"
        yield depth, token
        depth += token[0] == "open"


def _num_arguments(tokens: list[tuple[str, str]]) -> int | None:
    """Of a head from its bracket on; None where something follows the bracket, as in `unquote(name)(a)`."""
    num_arguments = 0
    is_first = True  # of its argument
    in_keywords = False  # which are one argument, however many they are
    for place, (depth, (kind, word)) in enumerate(_with_depth(tokens)):
        if depth == 0 and place:
            return num_arguments if place + 1 == len(tokens) else None
        if depth == 1 and kind == "comma":
            is_first = True
        elif place and is_first:
            num_arguments += not in_keywords
            in_keywords |= kind == "word" and word.endswith(":")
            is_first = False
    return None
