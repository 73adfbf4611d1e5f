"""What a text says of itself: its modules, functions, calls and the flow of values, read from Elixir's own syntax tree.

    report = toolchain.facts(code)
    report.modules[0].functions[0].clauses[0].guard

Nothing is evaluated, so what a macro would write is not there, and names are resolved by the aliases of the text alone.
Lines count from 1 and include the last one; texts are slices of the source as it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from elixir_coder.toolchain.reports import Report


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call or capture. module: with aliases resolved, Erlang's as ":lists"; "" for a local or imported function.
    arity: as called, one more behind a pipe."""

    module: str
    name: str
    arity: int
    line: int


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One variable where it stands. line, column: from 1, columns in code points. is_bound: this place binds it.
    sources: positions in `FunctionFacts.variables` of those its value comes from: for a use its binding, for a binding
    the variables of what is matched."""

    name: str
    line: int
    column: int
    is_bound: bool
    sources: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Clause:
    """params: one text for each parameter. guard: what stands after `when`, or "". lines: of this clause alone."""

    params: tuple[str, ...]
    guard: str
    line: int
    end_line: int


@dataclass(frozen=True, kw_only=True)
class FunctionFacts:
    """One function or macro with all its clauses.

    kind: def, defp, defmacro, defmacrop, defguard, defguardp or defdelegate. arity: with all parameters;
    num_defaults: how many of them have `\\\\`. doc: the text of @doc, unescaped; None without one, "" for `@doc false`.
    specs: the text of each @spec. impl: what @impl says ("true" or a module), or "".
    line, end_line: from the first of its attributes (@doc, @spec, @impl, ...) to the end of the last of its clauses
    that stand together. head_line: of the first `def`. doc_line, doc_end_line: of the @doc with that text, 0 without.
    """

    name: str
    arity: int
    num_defaults: int
    kind: str
    doc: str | None
    specs: tuple[str, ...]
    impl: str
    line: int
    head_line: int
    end_line: int
    clauses: tuple[Clause, ...]
    calls: tuple[Call, ...]
    variables: tuple[Variable, ...]
    doc_line: int = 0
    doc_end_line: int = 0

    @property
    def is_public(self) -> bool:
        return self.kind in ("def", "defmacro", "defguard", "defdelegate")


@dataclass(frozen=True, kw_only=True)
class ModuleFacts:
    """One module.

    name: in full, a nested one with its parents'. kind: module, protocol or impl (then `protocol` and `target`).
    doc: of @moduledoc, as a function's. behaviours: of @behaviour and of `use` of OTP's (GenServer, ...). uses,
    imports, requires: modules. aliases: (short, full). struct: the fields of defstruct or defexception as they stand,
    or None. is_exception: by defexception. types: (kind, text) of @type, @typep, @opaque. callbacks: the text of
    @callback and @macrocallback. attributes: names of the others.
    tests: (describe or "", name, line, end_line) of ExUnit's; doctests: modules of `doctest M`.
    """

    name: str
    kind: str
    line: int
    end_line: int
    doc: str | None
    functions: tuple[FunctionFacts, ...]
    protocol: str = ""
    target: str = ""
    behaviours: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    struct: tuple[str, ...] | None = None
    is_exception: bool = False
    types: tuple[tuple[str, str], ...] = ()
    callbacks: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    tests: tuple[tuple[str, str, int, int], ...] = ()
    doctests: tuple[str, ...] = ()
    doc_line: int = 0
    doc_end_line: int = 0


@dataclass(frozen=True, kw_only=True)
class FactsReport(Report):
    """modules: in the order they begin, nested ones after their parents; () where the text does not parse.
    calls: those outside of any function (in module bodies, tests and scripts)."""

    modules: tuple[ModuleFacts, ...] = ()
    calls: tuple[Call, ...] = ()


def read_facts(result: dict[str, Any]) -> dict[str, Any]:
    """The fields of a FactsReport from what the worker answered."""
    return {
        "modules": tuple(map(_module, result.get("modules") or ())),
        "calls": _calls(result.get("calls") or ()),
    }


def _module(raw: dict[str, Any]) -> ModuleFacts:
    struct = raw.get("struct")
    return ModuleFacts(
        name=_text(raw["name"]),
        kind=_text(raw["kind"]),
        line=raw["line"],
        end_line=raw["end_line"],
        doc=_doc(raw.get("doc")),
        functions=tuple(map(_function, raw["functions"])),
        protocol=_text(raw.get("protocol", "")),
        target=_text(raw.get("target", "")),
        behaviours=_distinct(raw.get("behaviours", ())),
        uses=_distinct(raw.get("uses", ())),
        imports=_distinct(raw.get("imports", ())),
        requires=_distinct(raw.get("requires", ())),
        aliases=tuple((_text(short), _text(full)) for short, full in raw.get("aliases", ())),
        struct=None if struct is None else tuple(map(_text, struct)),
        is_exception=raw.get("is_exception", False),
        types=tuple((_text(kind), _text(text)) for kind, text in raw.get("types", ())),
        callbacks=tuple(map(_text, raw.get("callbacks", ()))),
        attributes=tuple(map(_text, raw.get("attributes", ()))),
        tests=tuple(
            (_text(describe), _text(name), line, end_line) for describe, name, line, end_line in raw.get("tests", ())
        ),
        doctests=_distinct(raw.get("doctests", ())),
        doc_line=raw.get("doc_line", 0),
        doc_end_line=raw.get("doc_end_line", 0),
    )


def _function(raw: dict[str, Any]) -> FunctionFacts:
    return FunctionFacts(
        name=_text(raw["name"]),
        arity=raw["arity"],
        num_defaults=raw["num_defaults"],
        kind=_text(raw["kind"]),
        doc=_doc(raw["doc"]),
        specs=tuple(map(_text, reversed(raw["specs"]))),
        impl=_text(raw["impl"]),
        line=raw["line"],
        head_line=raw["head_line"],
        end_line=raw["end_line"],
        clauses=tuple(
            Clause(
                params=tuple(map(_text, clause["params"])),
                guard=_text(clause["guard"]),
                line=clause["line"],
                end_line=clause["end_line"],
            )
            for clause in raw["clauses"]
        ),
        calls=_calls(raw["calls"]),
        variables=tuple(
            Variable(name=_text(name), line=line, column=column, is_bound=is_bound, sources=tuple(sources))
            for name, line, column, is_bound, sources in raw["variables"]
        ),
        doc_line=raw["doc_line"],
        doc_end_line=raw["doc_end_line"],
    )


def _calls(raw: Any) -> tuple[Call, ...]:
    return tuple(
        Call(module=_text(module), name=_text(name), arity=arity, line=line) for module, name, arity, line in raw
    )


def _distinct(raw: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(_text, raw)))


def _doc(raw: Any) -> str | None:
    return None if raw is None else _text(raw)


def _text(raw: Any) -> str:
    """A text of the source; one with bytes that are no UTF-8 (`"\\xff"` in a doc) has marks in their place."""
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
