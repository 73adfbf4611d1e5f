"""Programs that hold a state and change it by operations: as plain functions, behind an Agent, or in a GenServer.

A `Shape` says what the state is and what each operation does with it, once in Elixir and once in Python. It is written
out for one of the three; what the tests expect is worked out by running the Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from elixir_coder.data.synthesis.choices import Axis, Choices, Fault, Program, Way
from elixir_coder.data.synthesis.writing import exunit, fill, literal, module

CONTAINERS = ("pure", "agent", "genserver")
Call = tuple[str, tuple[Any, ...]]  # an operation and its arguments


@dataclass(frozen=True, kw_only=True)
class Clause:
    """One clause of an operation.

    pattern: of the state. reply: what the caller gets, or None. next: the state after it, or None where it stays.
    before: lines that come first. guard: on the arguments or the state.
    """

    pattern: str
    reply: str | None = None
    next: str | None = None
    before: str = ""
    guard: str = ""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """arguments: their names with their types. run: (state, *arguments) -> (reply, next state), in Python."""

    name: str
    documentation: str
    clauses: tuple[Clause, ...]
    run: Callable[..., tuple[Any, Any]]
    arguments: tuple[tuple[str, str], ...] = ()
    returns: str = "term()"

    @property
    def kind(self) -> str:
        """`read`, `write`, or `both`."""
        if all(clause.next is None for clause in self.clauses):
            return "read"
        return "write" if all(clause.reply is None for clause in self.clauses) else "both"

    @property
    def arity(self) -> int:
        return len(self.arguments)


@dataclass(frozen=True)
class Slip:
    """A fault of an operation: one field of a clause written otherwise."""

    operation: str
    clause: int
    changes: dict[str, Any]
    kind: str
    diagnosis: str


@dataclass(frozen=True, kw_only=True)
class Shape:
    """noun: what it is. value: the name of a variable that holds the state. scenarios: titles and calls, in order."""

    noun: str
    value: str
    type: str
    initial: str
    start: Any
    operations: tuple[Operation, ...]
    scenarios: tuple[tuple[str, tuple[Call, ...]], ...]
    slips: tuple[Slip, ...] = ()
    helpers: str = ""


def container_axis() -> Axis:
    return Axis(
        ways={
            "pure": Way(
                ask="Plain functions on an immutable value are enough: `new/0` makes one, and the other "
                "functions take it first."
            ),
            "agent": Way(
                ask="Keep the state in an Agent.",
                request="Several processes have to share this. Put the state behind an Agent.",
                reply="The same operations, now on a state that an Agent holds:",
            ),
            "genserver": Way(
                ask="Make it a GenServer.",
                request="Please turn it into a GenServer with the same operations.",
                reply="As a GenServer, with client functions in front of the callbacks:",
            ),
        },
        question="",
    )


def naming_axis() -> Axis:
    return Axis(
        ways={
            False: Way(ask="", answer="Several; pass the server as the first argument."),
            True: Way(
                ask="There is only one of it, registered under the module's name, so no function takes a server.",
                answer="Only one, registered under the name of the module.",
                request="We only ever need one of these. Register it under the module name, without a server argument.",
            ),
        },
        question="Will there be several of these servers, each given as an argument, or one under the module's name?",
        when=lambda choices: choices["container"] != "pure",
    )


def sync_axis() -> Axis:
    return Axis(ways={"call": Way(), "cast": Way()}, is_style=True, when=lambda it: it["container"] == "genserver")


def program(name: str, shape: Shape, choices: Choices, chosen: Sequence[str]) -> Program:
    """The module and its tests. chosen: the operations that it has."""
    operations = tuple(each for each in shape.operations if each.name in chosen)
    holder = _Holder(name, replace(shape, operations=operations), choices)
    code = holder.code()
    faults = []
    for slip in shape.slips:
        if slip.operation in chosen:
            faulty = _Holder(name, replace(shape, operations=_slipped(operations, slip)), choices).code()
            faults.append(Fault(old=code, new=faulty, kind=slip.kind, diagnosis=slip.diagnosis))
    return Program(
        code=code,
        tests=holder.tests(),
        explanation=holder.explanation(),
        faults=faults,
        signatures=holder.signatures(),
        example=holder.example(),
    )


def operation_axes(shape: Shape, asks: dict[str, str], chosen: Sequence[str]) -> dict[str, Axis]:
    """An axis for each operation: the chosen ones are there, the others may be asked for later."""
    axes = {}
    for operation in shape.operations:
        ask = asks[operation.name]
        here = Way(ask=ask)
        if operation.name in chosen:
            axes[operation.name] = Axis(ways={True: here})
        else:
            later = Way(ask=ask, request=f"One more function, please. {ask}")
            axes[operation.name] = Axis(ways={False: Way(), True: later})
    return axes


def _slipped(operations: tuple[Operation, ...], slip: Slip) -> tuple[Operation, ...]:
    def of(operation: Operation) -> Operation:
        if operation.name != slip.operation:
            return operation
        clauses = list(operation.clauses)
        clauses[slip.clause] = replace(clauses[slip.clause], **slip.changes)
        return replace(operation, clauses=tuple(clauses))

    return tuple(map(of, operations))


class _Holder:
    """A shape in one container."""

    def __init__(self, name: str, shape: Shape, choices: Choices):
        self.name = name
        self.shape = shape
        self.container: str = choices["container"]
        self.is_named: bool = choices.get("named", False) and self.container != "pure"
        self.writes: str = choices.get("sync", "call")

    # ------------------------------------------------------------------------------------------------- the module

    def code(self) -> str:
        parts = {"pure": self._pure, "agent": self._agent, "genserver": self._genserver}[self.container]()
        return module(self.name, self._documentation(), *parts)

    def _documentation(self) -> str:
        noun = self.shape.noun[0].upper() + self.shape.noun[1:]
        if self.container == "pure":
            return f"{noun}, as a plain value.\n\n" + fill("    $lines", lines=self._doctest())
        return f"{noun}, held by {'an Agent' if self.container == 'agent' else 'a GenServer'}."

    def _pure(self) -> list[str]:
        value = self.shape.value
        new = fill('@doc "An empty start."\n@spec new() :: t()\ndef new, do: $initial', initial=self.shape.initial)
        functions = []
        for operation in self.shape.operations:
            types = ["t()", *(type for _, type in operation.arguments)]
            returns = {"read": operation.returns, "write": "t()", "both": f"{{{operation.returns}, t()}}"}
            head = self._documented(operation, types, returns[operation.kind])
            clauses = []
            for clause in operation.clauses:
                arguments = _used([name for name, _ in operation.arguments], clause)
                body = {"read": clause.reply, "write": clause.next, "both": f"{{{clause.reply}, {clause.next}}}"}
                pattern = _tidy(clause.pattern, value, body[operation.kind], clause.before, clause.guard)
                clauses.append(
                    _function("def", operation.name, [pattern, *arguments], clause, str(body[operation.kind]))
                )
            functions.append(head + "\n" + _joined(clauses))
        return [f"@type t :: {self.shape.type}", new, *functions, self.shape.helpers]

    def _agent(self) -> list[str]:
        start = self._start("Agent", f"Agent.start_link(fn -> {self.shape.initial} end, $options)")
        functions = []
        for operation in self.shape.operations:
            returns = ":ok" if operation.kind == "write" else operation.returns
            head = self._documented(operation, self._types(operation), returns)
            verb = {"read": "get", "write": "update", "both": "get_and_update"}[operation.kind]
            clauses = []
            for clause in operation.clauses:
                body = {"read": clause.reply, "write": clause.next, "both": f"{{{clause.reply}, {clause.next}}}"}
                text = str(body[operation.kind])
                pattern = _tidy(clause.pattern, self.shape.value, text, clause.before, clause.guard)
                clauses.append((pattern, clause, text))
            names = [name for name, _ in operation.arguments]
            server = "__MODULE__" if self.is_named else "agent"
            function = _anonymous(clauses)
            call = f"Agent.{verb}({server}, {function})"
            arguments = names if self.is_named else ["agent", *names]
            functions.append(head + "\n" + _plain("def", operation.name, arguments, call))
        return ["use Agent", start, *functions, self.shape.helpers]

    def _genserver(self) -> list[str]:
        start = self._start("GenServer", "GenServer.start_link(__MODULE__, :ok, $options)")
        clients, calls, casts = [], [], []
        for operation in self.shape.operations:
            names = [name for name, _ in operation.arguments]
            is_cast = operation.kind == "write" and self.writes == "cast"
            returns = ":ok" if operation.kind == "write" else operation.returns
            head = self._documented(operation, self._types(operation), returns)
            server = "__MODULE__" if self.is_named else "server"
            message = _message(operation.name, names)
            call = f"GenServer.{'cast' if is_cast else 'call'}({server}, {message})"
            clients.append(
                head + "\n" + _plain("def", operation.name, names if self.is_named else ["server", *names], call)
            )
            for clause in operation.clauses:
                pattern, state = _kept(clause, operation.kind, self.shape.value)
                message = _message(operation.name, _used(names, clause))
                if is_cast:
                    casts.append(
                        _function("def", "handle_cast", [message, pattern], clause, f"{{:noreply, {clause.next}}}")
                    )
                else:
                    reply = ":ok" if operation.kind == "write" else clause.reply
                    body = f"{{:reply, {reply}, {clause.next or state}}}"
                    calls.append(_function("def", "handle_call", [message, "_from", pattern], clause, body))
        init = f"@impl true\ndef init(:ok), do: {{:ok, {self.shape.initial}}}"
        callbacks = [init, *("@impl true\n" + _joined(each) for each in (calls, casts) if each)]
        return ["use GenServer", start, *clients, *callbacks, self.shape.helpers]

    def _start(self, what: str, call: str) -> str:
        if self.is_named:
            return fill(
                '@doc "Starts the only one, under the name of this module."\n'
                "@spec start_link(term()) :: $what.on_start()\n"
                "def start_link(_argument \\\\ []) do\n  $call\nend",
                what=what,
                call=call.replace("$options", "name: __MODULE__"),
            )
        return fill(
            '@doc "Starts one. The options are those of `$what.start_link/$arity`, such as `:name`."\n'
            "@spec start_link($what.options()) :: $what.on_start()\n"
            "def start_link(options \\\\ []) do\n  $call\nend",
            what=what,
            arity=2 if what == "Agent" else 3,
            call=call.replace("$options", "options"),
        )

    def _types(self, operation: Operation) -> list[str]:
        types = [type for _, type in operation.arguments]
        server = "Agent.agent()" if self.container == "agent" else "GenServer.server()"
        return types if self.is_named else [server, *types]

    def _documented(self, operation: Operation, types: list[str], returns: str) -> str:
        return f'@doc "{operation.documentation}"\n@spec {operation.name}({", ".join(types)}) :: {returns}'

    def signatures(self) -> list[str]:
        lines = re.findall(r"@spec (.*)", self.code())
        return [line for line in lines if not line.startswith("start_link")]

    # -------------------------------------------------------------------------------------------------- the tests

    def tests(self) -> str:
        parts = []
        for title, calls in self.shape.scenarios:
            lines = self._scenario(calls)
            if lines:
                parts.append(fill('test "$title" do\n  $body\nend', title=title, body="\n".join(lines)))
        return exunit(self.name, *parts, is_async=not self.is_named)

    def _scenario(self, calls: Sequence[Call]) -> list[str]:
        there = {operation.name: operation for operation in self.shape.operations}
        value, state = self.shape.value, self.shape.start
        steps = [call for call in calls if call[0] in there]
        if not any(there[name].kind != "write" for name, _ in steps):
            return []
        while there[steps[-1][0]].kind == "write":
            steps.pop()  # nothing looks at what it did
        lines = [f"{value} = {self.name}.new()"] if self.container == "pure" else []
        if self.container != "pure":
            lines = [("" if self.is_named else "server = ") + f"start_supervised!({self.name})"]
        for at, (name, arguments) in enumerate(steps):
            reply, state = there[name].run(state, *arguments)
            kind = there[name].kind
            given = [literal(each) for each in arguments]
            is_last = all(there[later].kind == "never" for later, _ in steps[at + 1 :])
            if self.container == "pure":
                call = f"{self.name}.{name}({', '.join([value, *given])})"
                if kind == "read":
                    lines.append(_asserted(call, reply))
                elif kind == "write":
                    lines.append(f"{value} = {call}")
                else:
                    lines.append(f"assert {{{literal(reply)}, {'_' if is_last else ''}{value}}} = {call}")
            else:
                call = f"{self.name}.{name}({', '.join([*([] if self.is_named else ['server']), *given])})"
                lines.append(_asserted(call, reply if kind != "write" else _OK))
        return lines

    def _doctest(self) -> str:
        """The first scenario, as far as it can be told in a few lines."""
        there = {operation.name: operation for operation in self.shape.operations}
        value, state, lines, shown = self.shape.value, self.shape.start, [], 0
        lines.append(f"iex> {value} = {self.name}.new()")
        for name, arguments in self.shape.scenarios[0][1]:
            if name not in there or shown == 2:
                continue
            reply, state = there[name].run(state, *arguments)
            call = f"{self.name}.{name}({', '.join([value, *map(literal, arguments)])})"
            if there[name].kind == "read":
                lines += [f"iex> {call}", literal(reply)]
                shown += 1
            elif there[name].kind == "write":
                lines.append(f"iex> {value} = {call}")
            else:
                lines += [f"iex> {{reply, {value}}} = {call}", "iex> reply", literal(reply)]
                shown += 1
        while lines and lines[-1].startswith("iex>"):
            lines.pop()
        return "\n".join(lines)

    def example(self) -> str:
        if self.container == "pure":
            return self._doctest()
        calls = [line.strip() for line in self.tests().split("\n") if line.strip().startswith("assert ")]
        shown = []
        for line in calls[:4]:
            call, _, reply = line.removeprefix("assert ").partition(" == ")
            shown += [f"iex> {call}", reply or "true"]
        return "\n".join(shown)

    def explanation(self) -> str:
        how = {
            "pure": "The state is an ordinary value: every function takes it and returns the new one, so nothing is "
            "changed in place and old versions stay valid.",
            "agent": "The Agent holds the state and runs each function on it in its own process, one after the other, "
            "so two callers cannot both act on the same old state.",
            "genserver": "Client functions send messages to the server, which handles one at a time; `handle_call` "
            "answers the caller"
            + (
                ", and what needs no answer goes through `handle_cast`."
                if self.writes == "cast" and any(each.kind == "write" for each in self.shape.operations)
                else ", so a write has happened when the function returns."
            ),
        }[self.container]
        shape = f"The state is `{self.shape.type}` and begins as `{self.shape.initial}`."
        return f"{how} {shape}"


_OK = object()  # the reply of a write


def _asserted(call: str, reply: Any) -> str:
    if reply is _OK:
        return f"assert {call} == :ok"
    if reply is True:
        return f"assert {call}"
    if reply is False:
        return f"refute {call}"
    return f"assert {call} == {literal(reply)}"


def _message(name: str, arguments: list[str]) -> str:
    return f"{{:{name}, {', '.join(arguments)}}}" if arguments else f":{name}"


def _mentions(name: str, *texts: str | None) -> bool:
    return any(re.search(rf"(?<![\w:.]){re.escape(name)}\b(?!:)", text or "") for text in texts)


def _used(names: list[str], clause: Clause) -> list[str]:
    """The names of arguments, with an underscore where a clause does not use one."""
    texts = (clause.pattern, clause.reply, clause.next, clause.before, clause.guard)
    return [name if _mentions(name, *texts) else f"_{name}" for name in names]


def _tidy(pattern: str, value: str, *texts: str | None) -> str:
    """A pattern without the names that nothing uses."""
    if pattern == value and not _mentions(value, *texts):
        return f"_{value}"
    if pattern.endswith(f" = {value}") and not _mentions(value, *texts):
        return pattern.removesuffix(f" = {value}")
    return pattern


def _kept(clause: Clause, kind: str, value: str) -> tuple[str, str]:
    """For a GenServer: the pattern, and how to write the state that stays."""
    if clause.next is not None:
        return _tidy(clause.pattern, value, clause.reply, clause.next, clause.before, clause.guard), clause.next
    if clause.pattern == value or clause.pattern in ("[]", "%{}") or clause.pattern.endswith(f" = {value}"):
        return clause.pattern, clause.pattern if clause.pattern in ("[]", "%{}") else value
    return f"{clause.pattern} = {value}", value


def _function(keyword: str, name: str, arguments: list[str], clause: Clause, body: str) -> str:
    head = f"{keyword} {name}({', '.join(arguments)})" + (f" when {clause.guard}" if clause.guard else "")
    if not clause.before and "\n" not in body and len(head) + len(body) < 86:
        return f"{head}, do: {body}"
    return fill("$head do\n  $lines\n  $body\nend", head=head, lines=clause.before, body=body)


def _plain(keyword: str, name: str, arguments: list[str], body: str) -> str:
    head = f"{keyword} {name}({', '.join(arguments)})" if arguments else f"{keyword} {name}"
    if "\n" not in body and len(head) + len(body) < 86:
        return f"{head}, do: {body}"
    return fill("$head do\n  $body\nend", head=head, body=body)


def _joined(clauses: list[str]) -> str:
    """Clauses of one function: a blank line around those of several lines."""
    text = clauses[0]
    for before, clause in pairwise(clauses):
        text += ("\n\n" if "\n" in before or "\n" in clause else "\n") + clause
    return text


def _anonymous(clauses: list[tuple[str, Clause, str]]) -> str:
    if len(clauses) == 1:
        pattern, clause, body = clauses[0]
        guard = f" when {clause.guard}" if clause.guard else ""
        if not clause.before and "\n" not in body:
            return f"fn {pattern}{guard} -> {body} end"
        return fill("fn $head ->\n  $lines\n  $body\nend", head=pattern + guard, lines=clause.before, body=body)
    parts = []
    for pattern, clause, body in clauses:
        guard = f" when {clause.guard}" if clause.guard else ""
        if clause.before or "\n" in body:
            parts.append(fill("$head ->\n  $lines\n  $body", head=pattern + guard, lines=clause.before, body=body))
        else:
            parts.append(f"{pattern}{guard} -> {body}")
    glue = "\n\n" if any("\n" in part for part in parts) else "\n"
    return fill("fn\n  $parts\nend", parts=glue.join(parts))
