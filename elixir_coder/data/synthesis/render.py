"""A chain as Elixir: a pipeline, a comprehension, a recursion, a reduction; as a whole module with documentation."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from elixir_coder.data.synthesis.compose import Chain
from elixir_coder.data.synthesis.lambdas import Mapping, Predicate
from elixir_coder.data.synthesis.operations.step import Reducer, Step, identifier
from elixir_coder.data.synthesis.types import literal, spec

STYLES = ("pipe", "comprehension", "recursion", "accumulator", "reduce", "stream", "named")

_STREAMED = {
    "filter",
    "reject",
    "map",
    "take",
    "drop",
    "dedup",
    "uniq",
    "take_while",
    "drop_while",
    "take_every",
    "with_index",
}
_STREAMED |= {"chunk_every", "flat_map", "uniq_by", "dedup_by", "concat", "chunk_by"}


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What stands around the body. documentation: of the function. examples: calls whose values doctests show.

    clauses: functions written before the body's, such as one for the empty list. wrap: the body's value is put into it.
    """

    module: str
    function: str
    about: str
    documentation: str
    examples: tuple[str, ...] = ()
    has_spec: bool = True
    result: str = ""
    clauses: str = ""
    wrap: str = "{}"
    guard: str = ""
    defaults: tuple[str, ...] = ()  # names of the arguments that have their value as a default


def values_of(chain: Chain) -> dict[str, str]:
    """What stands for each mark in code: the argument's name, or the value."""
    lifted = {parameter.mark: parameter.name for parameter in chain.lifted}
    return {each.mark: lifted.get(each.mark, literal(each.value)) for each in chain.parameters}


def put(text: str, values: dict[str, str]) -> str:
    """Text with values in the place of marks."""
    return re.sub(r"«\d+»", lambda found: values[found[0]], text)


def module_of(chain: Chain, frame: Frame, definition: str, helpers: Sequence[str] | None = None) -> str:
    """The whole module, unformatted. definition: of the function, without documentation."""
    values = values_of(chain)
    if helpers is None:
        helpers = list(dict.fromkeys(step.helper.strip("\n") for step in chain.steps if step.helper))
    lines = [f"defmodule {frame.module} do", '  @moduledoc """', f"  {frame.about}", '  """', ""]
    if chain.start.element.is_record:
        fields = ", ".join(f"{field.one}: {spec(field.type)}" for field in chain.start.element.fields)
        lines += [f"  @type {chain.start.element.type.name} :: %{{{fields}}}", ""]
    lines += ['  @doc """', *(f"  {line}".rstrip() for line in frame.documentation.split("\n"))]
    if frame.examples:
        lines += ["", "  ## Examples", ""]
        for call in frame.examples:
            lines += [f"      iex> {call}", f"      @@{call}@@", ""]
    lines += ['  """']
    if frame.has_spec:
        arguments = [spec(chain.start.type), *(spec(each.type) for each in chain.lifted)]
        lines.append(f"  @spec {frame.function}({', '.join(arguments)}) :: {frame.result or spec(chain.end.type)}")
    lines += [frame.clauses] if frame.clauses else []
    lines += [definition, ""]
    for helper in _needed(helpers, definition):
        lines += [helper, ""]
    return put("\n".join(lines), values) + "end\n"


def _needed(helpers: Sequence[str], definition: str) -> list[str]:
    """The private functions that the definition calls."""
    return [
        helper
        for helper in helpers
        if any(
            re.search(rf"(?<![\w.:]){re.escape(name)}[(/]", definition)
            for name in re.findall(r"defp (\w+[?!]?)", helper)
        )
    ]


def define(chain: Chain, frame: Frame, body: str) -> str:
    """`def` with a body of one or several lines."""
    values = {each.name: literal(each.value) for each in chain.lifted}
    names = [f"{name} \\\\ {values[name]}" if name in frame.defaults else name for name in chain.names]
    head = f"{frame.function}({', '.join(names)})" + (f" when {frame.guard}" if frame.guard else "")
    lines = body.split("\n")
    lines[-1] = (
        frame.wrap.replace("{}", lines[-1]) if frame.wrap != "{}" and len(_last_statement(body)) == 1 else lines[-1]
    )
    if frame.wrap != "{}" and len(_last_statement(body)) > 1:
        return f"def {head} do\n{_wrapped(body, frame.wrap)}\nend"
    if len(lines) == 1 and len(lines[0]) + len(head) < 80:
        return f"def {head}, do: {lines[0]}"
    return f"def {head} do\n" + "\n".join(lines) + "\nend"


def _last_statement(body: str) -> list[str]:
    lines = body.split("\n")
    last: list[str] = []
    while lines:
        last.insert(0, lines.pop())
        if not last[0].startswith("|>"):
            break
    return last


def _wrapped(body: str, wrap: str) -> str:
    last = _last_statement(body)
    before = body.split("\n")[: -len(last)]
    return "\n".join([*before, "result =", *(f"  {line}" for line in last), "", wrap.replace("{}", "result")])


# --------------------------------------------------------------------------------------------------- pipelines


def split_pipe(code: str) -> list[str]:
    """The calls of `a() |> b()`, but not those inside of brackets, `fn ... end` or strings."""
    parts: list[str] = []
    depth, text = 0, ""
    tokens = re.split(r'("(?:\\.|[^"\\])*"|~r/(?:\\.|[^/\\])*/|\bfn\b|\bend\b|\|>|[()\[\]{}])', code)
    for token in tokens:
        if token in ("(", "[", "{", "fn"):
            depth += 1
        elif token in (")", "]", "}", "end"):
            depth -= 1
        if token == "|>" and depth == 0:
            parts.append(text.strip())
            text = ""
            continue
        text += token
    return [*parts, text.strip()]


def call_with(call: str, argument: str) -> str:
    """The call with the argument in first place; `then` becomes the expression itself."""
    if expression := _then_body(call, argument):
        return expression
    name, _, rest = call.partition("(")
    return f"{name}({argument}{'' if rest.startswith(')') else ', '}{rest}"


def _then_body(call: str, argument: str) -> str | None:
    if (match := re.fullmatch(r"then\(&\((.*)\)\)", call, re.DOTALL)) and "&" not in match[1].replace("&1", ""):
        return match[1].replace("&1", argument)
    if (match := re.fullmatch(r"then\(fn (\w+) -> (.*) end\)", call, re.DOTALL)) and " fn " not in match[2]:
        return re.sub(rf"\b{match[1]}\b(?!\()", argument, match[2])
    if (match := re.fullmatch(r"then\(&(.*)\)", call, re.DOTALL)) and "&" not in match[1].replace("&1", ""):
        return match[1].replace("&1", argument)
    return None


_PREFIXES = {"filter": "kept", "reject": "remaining", "sort": "sorted", "sort_desc": "sorted", "sort_by": "sorted"}
_PREFIXES |= {"sort_by_desc": "ranked", "take": "first", "take_last": "last", "uniq": "unique", "uniq_by": "unique"}
_PREFIXES |= {
    "drop": "remaining",
    "drop_last": "leading",
    "reverse": "reversed",
    "dedup": "distinct",
    "chunk": "chunked",
}
_PREFIXES |= {"frequencies": "counted", "group_by": "grouped", "rotate": "rotated", "duplicates": "repeated"}


def pipe_body(chain: Chain, steps: Sequence[str], *, named: bool = False) -> str:
    """Statements that take the argument through the steps; `named` gives every step's result a name."""
    statements: list[str] = []
    taken = {*chain.names}
    current = chain.argument
    calls: list[str] = []

    def expression() -> str:
        fused = _fused(calls)
        if not fused:
            return current
        if len(fused) == 1:
            return call_with(fused[0], current)
        return "\n".join([current, *(f"|> {call}" for call in fused)])

    def assign(step: Step, value: str) -> str:
        is_many = step.after.type.name in ("list", "map", "set")
        noun = identifier(step.after.element.plural if is_many else step.after.element.one)
        kind = step.tag.partition(":")[0]
        candidates = [noun] if kind == "map" or not is_many else []
        candidates += [f"{each}_{noun}" for each in (_PREFIXES.get(kind, "new"), "new", "final", "last", "other")]
        name = next(each for each in [*candidates, *(f"result_{at}" for at in range(9))] if each not in taken)
        taken.add(name)
        statements.append(
            f"{name} =\n" + "\n".join(f"  {line}" for line in value.split("\n")) + "\n"
            if "\n" in value
            else f"{name} = {value}"
        )
        return name

    for number, (step, code) in enumerate(zip(chain.steps, steps)):
        is_last = number == len(chain.steps) - 1
        if "{in}" in code:
            if calls:
                value, calls = expression(), []
                current = assign(chain.steps[number - 1], value)
            value = code.replace("{in}", current)
            if is_last:
                return "\n".join([*statements, value])
            current = assign(step, value)
        else:
            calls = [*calls, *split_pipe(code)]
            if named and not is_last:
                value, calls = expression(), []
                current = assign(step, value)
    return "\n".join([*statements, expression()])


def _fused(calls: list[str]) -> list[str]:
    """Calls as Credo likes them: `map_join` for `map` and `join`."""
    fused: list[str] = []
    for call in calls:
        if fused and call.startswith("Enum.join(") and fused[-1].startswith("Enum.map("):
            function, separator = fused.pop()[len("Enum.map(") : -1], call[len("Enum.join(") : -1]
            fused.append(f"Enum.map_join({separator + ', ' if separator else ''}{function})")
        elif fused and call.startswith("Enum.concat()") and fused[-1].startswith("Enum.map("):
            fused.append(f"Enum.flat_map({fused.pop()[len('Enum.map(') : -1]})")
        else:
            fused.append(call)
    return fused


def pipe(chain: Chain, frame: Frame, codes: Sequence[str] | None = None, *, named: bool = False) -> str:
    body = pipe_body(chain, codes or [step.code for step in chain.steps], named=named)
    return module_of(chain, frame, define(chain, frame, body))


def stream(chain: Chain, frame: Frame) -> str | None:
    """The same lazily, where two steps or more can be."""
    codes: list[str] = []
    lazy = 0
    for step in chain.steps:
        if "{in}" in step.code:
            return None
        calls = split_pipe(step.code)
        for call in calls:
            name = call.partition("(")[0]
            if lazy == len(codes) and name.startswith("Enum.") and name[5:] in _STREAMED and "(-" not in call:
                codes.append(call.replace("Enum.", "Stream.", 1))
                lazy += 1
            else:
                if lazy == len(codes) and not name.startswith("Enum."):
                    codes.append("Enum.to_list()")
                codes.append(call)
    if lazy < 2:
        return None
    if lazy == len(codes):
        codes.append("Enum.to_list()")
    body = "\n".join([chain.argument, *(f"|> {call}" for call in codes)])
    return module_of(chain, frame, define(chain, frame, body))


# --------------------------------------------------------------------------------------------------- loops


@dataclass(frozen=True, kw_only=True)
class Loop:
    """What happens to one element.

    lines: `("if", condition)` or `("let", "name = value")`, in order. value: what is gathered. pattern: of the element.
    is_guarded: whether all conditions come first and may stand in a guard.
    """

    pattern: str
    lines: tuple[tuple[str, str], ...]
    value: str
    reducer: Reducer | None
    is_guarded: bool

    @property
    def conditions(self) -> list[str]:
        return [text for kind, text in self.lines if kind == "if"]


def loop_of(chain: Chain, change: Callable[[Step], Predicate | Mapping | None] | None = None) -> Loop | None:
    """The chain as one loop, where it only filters, maps and gathers. change: another function for a step."""
    element = chain.start.element
    if chain.start.type.name != "list" or chain.start.type.item.name in ("list", "map"):
        return None
    lines: list[tuple[str, str]] = []
    used: set[int] = set()
    current, is_start = identifier(element.one), True
    reducer: Reducer | None = None
    pair = element.is_pair
    is_guarded = True
    taken = {*chain.names, "rest", "acc", current}
    for number, step in enumerate(chain.steps):
        given: Predicate | Mapping | None = (change and change(step)) or step.predicate or step.mapping
        if given is not None:
            if pair and is_start:
                assert given.component is not None
                used.add(given.component)
                current_here = identifier(element.fields[given.component].one)
            else:
                current_here = current
            expr = given.expr.replace("{x}", current_here)
            if isinstance(given, Predicate):
                lines.append(("if", expr))
                is_guarded = is_guarded and given.guard and not any(kind == "let" for kind, _ in lines)
            elif pair and is_start and given.expr == "{x}":
                current, is_start = current_here, False
            else:
                is_final = not any(each.predicate or each.mapping or each.reducer for each in chain.steps[number + 1 :])
                rest_uses = chain.steps[number + 1 :]
                if rest_uses and (rest_uses[0].predicate or rest_uses[0].mapping) and not re.fullmatch(r"[\w.]+", expr):
                    name = identifier(step.after.element.one)
                    while name in taken:
                        name = f"new_{name}"
                    taken.add(name)
                    lines.append(("let", f"{name} = {expr}"))
                    current = name
                else:
                    current = expr if is_final or re.fullmatch(r"[\w.]+|[\w.?!]+\([^()]*\)", expr) else f"({expr})"
                is_start = False
        if step.reducer is not None:
            if number != len(chain.steps) - 1:
                return None
            reducer = step.reducer
        elif given is None:
            return None
    if pair and is_start and (reducer is None or reducer.name not in ("count",)):
        return None
    if pair:
        parts = [identifier(field.one) for field in element.fields]
        pattern = "{" + ", ".join(part if at in used else f"_{part}" for at, part in enumerate(parts)) + "}"
    else:
        pattern = identifier(element.one)
    if not lines and reducer is None and is_start:
        return None
    text = " ".join(text for _, text in lines) + (current if reducer is None or "{x}" in reducer.step else "")
    if not pair and not re.search(rf"\b{pattern}\b", text):
        pattern = f"_{pattern}"
    return Loop(pattern=pattern, lines=tuple(lines), value=current, reducer=reducer, is_guarded=is_guarded)


_ACCUMULATORS = {
    "sum": "sum",
    "product": "product",
    "count": "count",
    "reversed": "acc",
    "counts": "counts",
    "seen": "seen",
    "text": "text",
}


def _accumulator(loop: Loop, chain: Chain) -> str:
    name = _ACCUMULATORS[loop.reducer.name] if loop.reducer else "acc"
    words = " ".join([loop.pattern, loop.value, *(text for _, text in loop.lines), *chain.names])
    return "acc" if re.search(rf"\b{name}\b", words) else name


def comprehension(chain: Chain, frame: Frame, loop: Loop | None = None) -> str | None:
    loop = loop or loop_of(chain)
    if loop is None or (loop.reducer is not None and loop.reducer.name == "reversed"):
        return None
    clauses = ", ".join([f"{loop.pattern} <- {chain.argument}", *(text for _, text in loop.lines)])
    reducer = loop.reducer
    if reducer is None:
        body = f"for {clauses}, do: {loop.value}"
    elif reducer.name in ("sum", "product"):
        body = f"Enum.{reducer.name}(for {clauses}, do: {loop.value})"
    elif reducer.name == "seen":
        body = f"for {clauses}, into: MapSet.new(), do: {loop.value}"
    elif reducer.name == "text":
        body = f'for {clauses}, into: "", do: {loop.value}'
    else:
        acc = _accumulator(loop, chain)
        step = reducer.step.replace("{acc}", acc).replace("{x}", loop.value)
        body = f"for {clauses}, reduce: {reducer.start} do\n{acc} -> {step}\nend"
    return module_of(chain, frame, define(chain, frame, body))


def _gather(loop: Loop, acc: str) -> tuple[str, str, str]:
    """Start, next and end of the accumulator."""
    if loop.reducer is None:
        return "[]", f"[{loop.value} | {acc}]", f"Enum.reverse({acc})"
    return loop.reducer.start, loop.reducer.step.replace("{acc}", acc).replace("{x}", loop.value), acc


def reduction(
    chain: Chain, frame: Frame, loop: Loop | None = None, *, start: str = "", otherwise: str = "", swapped: bool = False
) -> str | None:
    """By `Enum.reduce/3`. start, otherwise, swapped: faults."""
    loop = loop or loop_of(chain)
    if loop is None:
        return None
    acc = _accumulator(loop, chain)
    first, step, _ = _gather(loop, acc)
    inner = _nested(loop, step, otherwise or acc)
    arguments = f"{acc}, {loop.pattern}" if swapped else f"{loop.pattern}, {acc}"
    function = f"fn {arguments} ->\n{inner}\nend"
    if loop.reducer is None:
        body = f"{chain.argument}\n|> Enum.reduce([], {function})\n|> Enum.reverse()"
    else:
        body = f"Enum.reduce({chain.argument}, {start or first}, {function})"
    return module_of(chain, frame, define(chain, frame, body))


def _nested(loop: Loop, value: str, otherwise: str) -> str:
    """The element's lines with `value` at their end."""
    lines: list[str] = []
    ends = 0
    for kind, text in loop.lines:
        if kind == "let":
            lines.append(text)
        else:
            lines.append(f"if {text} do")
            ends += 1
    return "\n".join([*lines, value, *([f"else\n{otherwise}\nend"] * ends)])


def recursion(chain: Chain, frame: Frame, loop: Loop | None = None, *, fault: str = "") -> str | None:
    """Clauses that call themselves, without an accumulator. fault: `no_base`, `no_skip`, `stops`, `start`."""
    loop = loop or loop_of(chain)
    if loop is None or (loop.reducer is not None and not loop.reducer.body):
        return None
    others = [parameter.name for parameter in chain.lifted]
    again = f"{frame.function}({', '.join(['rest', *others])})"
    base = "[]" if loop.reducer is None else (loop.reducer.wrong_start if fault == "start" else loop.reducer.start)
    if loop.reducer is None:
        value = f"[{loop.value} | {again}]"
    else:
        value = loop.reducer.body.replace("{x}", loop.value).replace("{rest}", again)
    skip = base if fault == "stops" else again
    unused = ", ".join(["[]", *(f"_{name}" for name in others)])
    clauses = [] if fault == "no_base" else [f"def {frame.function}({unused}), do: {base}"]
    head = ", ".join([f"[{loop.pattern} | rest]", *others])
    if loop.lines and loop.is_guarded:
        guard = " and ".join(_in_and(text) for kind, text in loop.lines)
        unused_skip = ", ".join(
            [
                "[_ | rest]" if fault != "stops" else "[_ | _rest]",
                *(others if fault != "stops" else [f"_{name}" for name in others]),
            ]
        )
        clauses.append(_clause(f"def {frame.function}({head}) when {guard}", value))
        if fault != "no_skip":
            clauses.append(f"def {frame.function}({unused_skip}), do: {skip}")
    else:
        if fault == "no_skip":
            return None
        clauses.append(_clause(f"def {frame.function}({head})", _nested(loop, value, skip)))
    return module_of(chain, frame, _spaced(clauses))


def accumulation(chain: Chain, frame: Frame, loop: Loop | None = None, *, fault: str = "") -> str | None:
    """Tail recursion in a private function. fault: `no_base`, `start`, `not_reversed`, `stops`."""
    loop = loop or loop_of(chain)
    if loop is None:
        return None
    acc = _accumulator(loop, chain)
    others = [parameter.name for parameter in chain.lifted]
    name = f"do_{frame.function}".rstrip("?!")
    start, step, end = _gather(loop, acc)
    if fault == "start":
        start = loop.reducer.wrong_start if loop.reducer and loop.reducer.wrong_start else "[nil]"
    if fault == "not_reversed":
        if loop.reducer is not None:
            return None
        end = acc
    again = f"{name}({', '.join(['rest', step, *others])})"
    skip = end if fault == "stops" else f"{name}({', '.join(['rest', acc, *others])})"
    public = (
        f"def {frame.function}({', '.join(chain.names)}), do: {name}({', '.join([chain.argument, start, *others])})"
    )
    unused = ", ".join(["[]", acc, *(f"_{each}" for each in others)])
    clauses = [] if fault == "no_base" else [f"defp {name}({unused}), do: {end}"]
    head = ", ".join([f"[{loop.pattern} | rest]", acc, *others])
    if loop.lines and loop.is_guarded:
        guard = " and ".join(_in_and(text) for kind, text in loop.lines)
        clauses.append(_clause(f"defp {name}({head}) when {guard}", again))
        if fault == "stops":
            clauses.append(
                f"defp {name}({', '.join(['[_ | _rest]', acc, *(f'_{each}' for each in others)])}), do: {skip}"
            )
        else:
            clauses.append(f"defp {name}({', '.join(['[_ | rest]', acc, *others])}), do: {skip}")
    else:
        clauses.append(_clause(f"defp {name}({head})", _nested(loop, again, skip)))
    return module_of(chain, frame, public + "\n\n" + _spaced(clauses))


def _in_and(text: str) -> str:
    return f"({text})" if " or " in text or " and " in text else text


def _clause(head: str, body: str) -> str:
    if "\n" not in body and len(head) + len(body) < 90:
        return f"{head}, do: {body}"
    return f"{head} do\n{body}\nend"


def _spaced(clauses: Sequence[str]) -> str:
    """Clauses of one line stand together; longer ones are set apart."""
    if all("\n" not in clause and len(clause) < 96 for clause in clauses):
        return "\n".join(clauses)
    return "\n\n".join(clauses)


def written(chain: Chain, frame: Frame, style: str) -> str | None:
    """The module in a style, or None where the chain cannot be written so."""
    match style:
        case "pipe":
            return pipe(chain, frame)
        case "named":
            return pipe(chain, frame, named=True) if len(chain.steps) > 1 else None
        case "stream":
            return stream(chain, frame)
        case "comprehension":
            return comprehension(chain, frame)
        case "recursion":
            return recursion(chain, frame)
        case "accumulator":
            return accumulation(chain, frame)
        case "reduce":
            return reduction(chain, frame)
    raise AssertionError(style)


def with_codes(chain: Chain, codes: Sequence[str]) -> Chain:
    """The chain whose steps have other code."""
    return replace(chain, steps=tuple(replace(step, code=code) for step, code in zip(chain.steps, codes)))
