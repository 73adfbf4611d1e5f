"""Which tests a run must report: a verdict counts only when the tests that were to run are those that ran.

Code under judgement shares a virtual machine with its tests, so "nothing failed" may mean that nothing ran. What has
to be there is read off the tests' own text, by a parser in another machine: every `test "name"`, in a `describe` or
not. Names worked out while compiling (`doctest`, tests in a `for`, macros of other packages) cannot be read off; where
a file has some, tests beyond those written out are no surprise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from elixir_coder.toolchain.reports import TestVerdict
from elixir_coder.toolchain.terms import Atom

# Calls in a test module or around it that define no test.
_NO_TESTS = frozenset(
    "@ alias import require def defp defmacro defmacrop defguard defguardp defdelegate defstruct defexception defimpl"
    " defprotocol defoverridable setup setup_all =".split()
)
_MAX_NAMED = 5  # names in one message


@dataclass
class Expected:
    """names: "Module: name", or "Module: describe name", how often each. is_open: whether there may be more."""

    names: Counter[str] = field(default_factory=Counter)
    is_open: bool = False

    def differences(self, tests: Sequence[TestVerdict]) -> str:
        """What is wrong with these verdicts, or "" when they are those expected."""
        ran = Counter(f"{test.module}: {test.name}" for test in tests)
        return _differences((self.names - ran).elements(), () if self.is_open else (ran - self.names).elements())


def differences_from(expected: Collection[str], tests: Sequence[TestVerdict]) -> str:
    """As `Expected.differences`, for names that the caller gave: "Module: name" or the name alone, all and no others.

    ExUnit's own spelling ("test name") will do as well.
    """
    surplus = [f"{test.module}: {test.name}" for test in tests if not _spellings(test) & set(expected)]
    found = set().union(*map(_spellings, tests))
    return _differences([name for name in expected if name not in found], surplus)


def written_in(ast: Any) -> Expected:
    """The tests that a file with this syntax tree (`AstReport.ast`) will define."""
    expected = Expected()
    _read([ast], expected, aliases={}, module="", describe="")
    return expected


def _read(
    statements: Iterable[Any], expected: Expected, *, aliases: dict[str, str], module: str, describe: str
) -> None:
    for statement in statements:
        match statement:
            case (Atom("defmodule"), _, [name, [(Atom("do"), body)]]) if full := _module_name(name, module, aliases):
                _read([body], expected, aliases=aliases, module=full, describe="")
            case (Atom("describe"), _, [str(name), [(Atom("do"), body)]]) if module and not describe:
                _read([body], expected, aliases=aliases, module=module, describe=f"{name} ")
            case (Atom("test"), _, [str(name), *_]) if module:
                expected.names[f"{module}: {describe}{name}"] += 1
            case (Atom("use"), _, [(Atom("__aliases__"), _, [Atom("ExUnit"), Atom("Case")]), *_]):
                pass
            case (Atom("__block__"), _, list(inner)):
                _read(inner, expected, aliases=aliases, module=module, describe=describe)
            case (Atom("alias"), _, [what, *options]) if not module:
                aliases |= _aliases(what, options, aliases)
            case (Atom(call), _, _) if call in _NO_TESTS:
                pass
            case ((Atom("."), _, [(Atom("__aliases__"), _, [Atom("ExUnit")]), _]), _, _):  # ExUnit.start()
                pass
            case (_, _, _):
                expected.is_open = True


def _aliases(what: Any, options: list[Any], aliases: dict[str, str]) -> dict[str, str]:
    match what, options:
        case (Atom("__aliases__"), _, _), [[(Atom("as"), (Atom("__aliases__"), _, [Atom(short)]))]]:
            return {short: _module_name(what, "", aliases)}
        case (Atom("__aliases__"), _, [*_, Atom(short)]), _:
            return {short: _module_name(what, "", aliases)}
        case ((Atom("."), _, [base, Atom("{}")]), _, list(several)), _:
            names = [_module_name(name, _module_name(base, "", aliases), aliases) for name in several]
            return {name.rpartition(".")[2]: name for name in names}
    return {}


def _module_name(name: Any, module: str, aliases: dict[str, str]) -> str:
    """As Elixir writes it, or "" where it is worked out while compiling."""
    match name:
        case (Atom("__aliases__"), _, [Atom("Elixir"), *parts]) if all(isinstance(part, Atom) for part in parts):
            return ".".join(parts)
        case (Atom("__aliases__"), _, [Atom(first), *rest]) if all(isinstance(part, Atom) for part in rest):
            # Elixir looks aliases up at the top of a file alone; inside a module the name goes on from the module's.
            return ".".join([module, first, *rest] if module else [aliases.get(first, first), *rest])
    return ""


def _spellings(test: TestVerdict) -> set[str]:
    return {start + test.name for start in ("", "test ", f"{test.module}: ", f"{test.module}: test ")}


def _differences(missing: Iterable[str], surplus: Iterable[str]) -> str:
    told = (("did not run", sorted(missing)), ("ran and were not expected", sorted(surplus)))
    return "; ".join(
        f"{what}: {', '.join(names[:_MAX_NAMED])}{f' and {len(names) - _MAX_NAMED} more' * (len(names) > _MAX_NAMED)}"
        for what, names in told
        if names
    )
