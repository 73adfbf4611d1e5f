"""What is known at one place of an Elixir text: what short names stand for, and which call is being written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from elixir_coder.generation.names import ModuleNames

Lexemes = tuple[tuple[str, bytes, int], ...]  # kind, bytes, and how many constructs are open around it


def text_of(lexeme: bytes) -> str:
    return lexeme.decode("utf-8", "replace")  # a piece may end inside a character


class Env(NamedTuple):
    """What lexical scope holds. module: the one around, None where its name is worked out, "" outside.

    aliases: full names by short name, None where it is not known what one stands for.
    """

    module: str | None
    aliases: Mapping[str, str | None]

    def resolve(self, first: str) -> str | None:
        """The module that a single name stands for; None where that is not known."""
        if first == "__MODULE__":
            return self.module or None
        return self.aliases.get(first, first)


class Call(NamedTuple):
    """A call of a known function whose arguments are being written.

    arities: how many arguments may be written here. has_block: a `do` behind them may be one of these. owns_block: no
    call without parentheses is around it that such a `do` could belong to. is_piped: there is one argument more.
    """

    arities: frozenset[int]
    has_block: bool
    owns_block: bool
    is_piped: bool = False
    num_commas: int = 0
    is_empty: bool = True
    is_keyed: bool = False  # keywords have begun: all of them are the last argument

    def is_whole(self, *, with_block: bool = False) -> bool:
        return (0 if self.is_empty else self.num_commas + 1) + with_block in self.arities

    def is_whole_alone(self) -> bool:
        """Whether these are enough if nothing is piped in."""
        return (0 if self.is_empty else self.num_commas + 1) - 1 in self.arities

    def may_get_key(self) -> bool:
        number = self.num_commas + 1
        return self.is_keyed or number in self.arities or (self.has_block and number + 1 in self.arities)

    def may_get_comma(self) -> bool:
        return self.is_keyed or any(arity >= self.num_commas + 2 for arity in self.arities)

    def with_lexeme(self, kind: str, *, is_inner: bool) -> Call:
        """is_inner: the lexeme belongs to a call without parentheses that this one's only argument has become."""
        is_keyed = self.is_keyed or kind in ("key", "colon") or is_inner
        num_commas = self.num_commas + (kind == "comma" and not is_keyed)
        return self._replace(is_empty=False, is_keyed=is_keyed, num_commas=num_commas)


class Frame(NamedTuple):
    """What is known of one open construct. env: the scope to go back to behind it.

    call: whose arguments stand in these parentheses. bare: the known call without parentheses whose arguments these
    are. has_bare: a call without parentheses has been begun, known or not. has_inner: and another one in the arguments
    of `bare`. fields: those of this struct. has_key: a key has been written in it. is_type: what is written is a type.
    """

    env: Env
    is_block: bool
    call: Call | None = None
    bare: Call | None = None
    has_bare: bool = False
    fields: frozenset[str] | None = None
    has_inner: bool = False
    has_key: bool = False
    is_type: bool = False


class Reference(NamedTuple):
    """A module that has just been written, and what follows it.

    stage: "module" behind the module, "dot" behind its dot, "name" behind a function's name, "slash" behind the `/` of
    a capture and "arity" behind the number there. module: its full name, None where it cannot be known. names: what it
    offers, None where anything may follow. num_piped: arguments that come from the left, None where nobody knows.
    """

    stage: str
    module: str | None
    names: ModuleNames | None
    is_struct: bool  # behind `%`
    is_capture: bool  # behind `&`
    num_piped: int | None
    owns_block: bool  # no call without parentheses is around it, to which a `do` behind it could belong
    at_start: bool  # nor is it in brackets
    may_take_one: bool  # one argument without parentheses would not leave the call around it without enough
    name: str = ""

    def arities(self) -> frozenset[int]:
        """How many arguments may be written, of those that the function's name allows."""
        assert self.names is not None
        piped = self.num_piped or 0
        return frozenset(arity - piped for arity in self.names.arities(self.name) if arity >= piped)

    def is_judged(self) -> bool:
        """Whether the number of arguments can be wrong."""
        return self.stage == "name" and self.names is not None and self.num_piped is not None

    def may_be_bare(self) -> bool:
        """Whether arguments may follow without parentheses: several only where no other call could claim a comma."""
        return any((arity == 1 and self.may_take_one) or (arity > 1 and self.at_start) for arity in self.arities())


def chains(lexemes: Lexemes) -> Iterator[str]:
    """The modules that are named one after another, as written: `Foo.{Bar, Baz.Qux}` is Foo.Bar and Foo.Baz.Qux."""
    prefix, parts = "", list[str]()
    for kind, lexeme, _ in (*lexemes, ("comma", b",", 0)):
        if kind in ("alias", "atom") or lexeme == b"__MODULE__":
            parts.append(text_of(lexeme))
        elif lexeme == b"{" and parts:
            prefix, parts = ".".join(parts) + ".", []
        elif kind in ("comma", "close"):
            if parts:
                yield prefix + ".".join(parts)
            parts = []
            if kind == "close":
                prefix = ""
        elif kind == "key" or (kind != "dot" and lexeme != b"("):
            return


def aliases_written(word: bytes, lexemes: Lexemes, env: Env) -> dict[str, str | None]:
    """What `alias` or `require` makes known, by short name."""
    named = next((index for index, (_, lexeme, _) in enumerate(lexemes) if lexeme == b"as:"), None)
    full = [_resolved(chain, env) for chain in chains(lexemes)]
    if named is not None:
        short = [text_of(lexeme) for kind, lexeme, _ in lexemes[named + 1 :] if kind == "alias"]
        return {short[0]: full[0] if len(full) == 1 else None} if len(short) == 1 else {}
    return {name.rpartition(".")[2]: name for name in full if name} if word == b"alias" else {}


def _resolved(chain: str, env: Env) -> str | None:
    first, _, rest = chain.partition(".")
    module = env.resolve(first)
    if module == "Elixir" and rest:
        return rest
    return f"{module}.{rest}" if module and rest else module


def fields_written(lexemes: Lexemes) -> frozenset[str] | None:
    """Of a `defstruct` whose list is written out; None of any other."""
    written = [each for each in lexemes if each[1] not in (b"(", b")")]
    if not written:
        return None
    depth = min(each[2] for each in written) + (written[0][1] == b"[")
    fields: set[str] = set()
    is_due = True
    for kind, lexeme, at in written:
        if at != depth or (kind == "open" and lexeme == b"[" and not fields):
            continue
        if kind == "key" or (kind == "atom" and is_due):
            fields.add(text_of(lexeme).strip(":"))
        elif is_due and kind != "close":
            return None
        is_due = kind == "comma"
    return frozenset({*fields, "__struct__"}) if fields else None
