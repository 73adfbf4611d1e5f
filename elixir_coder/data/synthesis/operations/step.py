"""One step of a program: from a value of one type to a value of the next, in code and in words."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from elixir_coder.data.synthesis.lambdas import Fault, Mapping, Marks, Parameter, Predicate
from elixir_coder.data.synthesis.subjects import Element
from elixir_coder.data.synthesis.types import Type


@dataclass(frozen=True, kw_only=True)
class State:
    """The value between two steps, and how one speaks of it.

    type: of it. element: what is in it, of a collection, or the value itself. phrase: the whole of it as a noun phrase,
    `the squares of the even scores`. object: as the object of the next verb, `the squares`. slug: for names, `squares`.
    is_plain: whether `phrase` is `the` and a plural and can take an adjective.
    """

    type: Type
    element: Element
    phrase: str
    object: str
    slug: str
    is_plain: bool = False
    is_first: bool = False

    @property
    def each(self) -> str:
        """`each score` of a list; of a single value the object itself."""
        if self.type.name in ("list", "set", "map", "keyword", "range"):
            return f"each {self.element.one}"
        return self.object

    @property
    def variable(self) -> str:
        """A name for one element in code."""
        return identifier(self.element.one)


@dataclass(frozen=True)
class Reducer:
    """How a loop gathers: `start`, and the next accumulator from `{acc}` and `{x}`; `end` makes the result of it.

    body: as `{x}` and `{rest}` where the loop is recursive without an accumulator; "" where that is not idiomatic.
    """

    name: str
    start: str
    step: str
    end: str = "{acc}"
    body: str = ""
    wrong_start: str = ""
    is_additive: bool = False  # whether `for` inside a function of Enum says it best: Enum.sum(for ...)


@dataclass(frozen=True, kw_only=True)
class Step:
    """code: a call to pipe into, `Enum.sum()`, or an expression with `{in}`. others: the same in other words.

    verbs: imperatives, each verb marked with `~`. phrase: the noun phrase of the result. faults: codes that stand in
    the place of `code`. open_fact: a verb phrase that leaves it open, the question, and for each answer its code.
    predicate, mapping, reducer: of steps that a loop can take over. why: a clause for the explanation.
    """

    tag: str
    kind: str
    code: str
    verbs: tuple[str, ...]
    phrase: str
    slug: str
    before: State
    after: State
    why: str = ""
    others: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    helper: str = ""
    predicate: Predicate | None = None
    mapping: Mapping | None = None
    reducer: Reducer | None = None
    open_fact: tuple[str, str, tuple[tuple[str, str], ...]] | None = None
    weight: int = 1


Operation = Callable[[random.Random, State, Marks], Step | None]

_WHOLE_CALL = re.compile(r"^([A-Z:a-z_][\w.?:]*[\w?])\(\{x\}\)$")
_FIRST_ARGUMENT = re.compile(r"^([A-Z:a-z_][\w.?:]*[\w?])\(\{x\}, ")
_PIPED = re.compile(r"^\{x\} \|> ")


def identifier(words: str) -> str:
    """Words as the name of a variable."""
    name = re.sub(r"\W+", "_", words.lower()).strip("_")
    return name if name not in ("end", "do", "fn", "in", "and", "or", "not", "when", "after", "else") else f"{name}_"


def pattern_of(element: Element, component: int | None, names: tuple[str, ...] = ()) -> str:
    """What a function's argument looks like: a name, or a tuple of which all but one part are ignored."""
    if component is None:
        return identifier(element.one)
    parts = names or tuple(identifier(each.one) for each in element.fields)
    return "{" + ", ".join(part if at == component else f"_{part}" for at, part in enumerate(parts)) + "}"


def variable_of(element: Element, component: int | None) -> str:
    """What `{x}` stands for."""
    return identifier(element.one if component is None else element.fields[component].one)


def as_function(expr: str, element: Element, component: int | None) -> str:
    """The expression as `fn ... -> ... end`."""
    return f"fn {pattern_of(element, component)} -> {expr.replace('{x}', variable_of(element, component))} end"


def as_capture(expr: str, element: Element, component: int | None) -> str:
    """The expression as the shortest function: `&String.length/1`, `&(&1 > 3)`, and `fn` where neither can be."""
    if component is not None:
        if expr == "{x}":
            return f"&elem(&1, {component})"
        return as_function(expr, element, component)
    if match := _WHOLE_CALL.match(expr):
        return f"&{match[1]}/1"
    if "&" in expr.replace("&&", "") or "|>" in expr or expr == "{x}":
        return as_function(expr, element, component)
    return f"&({expr.replace('{x}', '&1')})"


def as_step(expr: str) -> str:
    """An expression of `{x}` as something to pipe into where it reads well, else with `{in}`."""
    if match := _WHOLE_CALL.match(expr):
        return f"{match[1]}()"
    if (match := _FIRST_ARGUMENT.match(expr)) and expr.count("{x}") == 1 and expr.endswith(")"):
        return f"{match[1]}({expr[match.end() :]}"
    if _PIPED.match(expr) and expr.count("{x}") == 1:
        return expr.removeprefix("{x} |> ")
    return expr.replace("{x}", "{in}")


def scalar(state: State, type_: Type, one: str, phrase: str, slug: str, **settings: object) -> State:
    """The state after a step that gives a single value, called `one`."""
    element = replace(state.element, one=one, plural=f"{one}s", type=type_, fields=(), words=())
    return State(type=type_, element=element, phrase=phrase, object=f"the {one}", slug=slug)
