"""Follow a text as it is written, and know what it refers to.

`References` is the lexer with a memory: which module a dereference stands on, through aliases; how many arguments a
call has so far; whose keys are being written; which modules the text itself defines. What may come next is judged in
judging.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from operator import attrgetter
from typing import Self

from closing_elixir_coder import Open, Scan
from elixir_coder.generation.names import ModuleNames, NameTable
from elixir_coder.generation.scopes import (
    Call,
    Env,
    Frame,
    Lexemes,
    Reference,
    aliases_written,
    chains,
    fields_written,
    text_of,
)

_DIRECTIVES = (b"alias", b"require", b"defmodule", b"defprotocol", b"defimpl", b"defstruct")
_TYPE_ATTRIBUTES = (b"type", b"typep", b"opaque", b"spec", b"callback", b"macrocallback")
_BLOCKS = ("do", "fn", "#{")  # what holds statements
DUAL = (b"+", b"-")  # with a space before and none behind they are a sign, and begin an argument
UNARY = (b"!", b"^", b"&", b"@", b"%", b"~~~", b"not")
_INJECTING = (b"~>", b"~>>", b"<~", b"<~>", b"<<~", b"<|>", b"<<<", b">>>", b"|||", b"^^^", b"&&&")
OPERANDS = ("name", "value", "alias")
_OPERAND_KINDS = ("name", "alias", "value", "number", "atom", "quote", "sigil", "char", "fn", "key")
_FINAL = (b")", b",", b"]", b"}", b" ", b"\n", b";", b":", b"(", b"{", b"[")  # what ends a lexeme that cannot grow
_SPACES = (b" ", b"\t", b"\r", b"\f", b"\v", b"\\")
_FRESH = ("", "newline", "open", "arrow")  # what a statement begins behind
_ATOM_MODULE = re.compile(rb":[a-z][a-zA-Z0-9_@]*\Z")
_ENDS_IN_KEY = re.compile(rb"[a-zA-Z0-9_?!\"'\x80-\xff]:\Z")


class References(Scan):
    """A text as far as it is written.

    refusal: why the piece that was written last may not stand there, "" where it may.
    """

    __slots__ = (
        "_after_call",
        "_before",
        "_defined",
        "_directive",
        "_env",
        "_forgiven",
        "_frames",
        "_gap",
        "_judge_from",
        "_key_position",
        "_sign",
        "_structs",
        "_table",
        "is_quoting",
        "reference",
        "refusal",
    )  # fmt: skip

    def __init__(self, table: NameTable, text: bytes = b""):
        self._table = table
        self.reference: Reference | None = None
        self.refusal = ""
        self._env = Env("", {})
        self._frames = [Frame(self._env, is_block=True)]  # one more than constructs are open
        self._defined: frozenset[str] = frozenset()  # modules of this text: what they offer is its own affair
        self._structs: Mapping[str, frozenset[str] | None] = {}  # of this text
        self._directive: tuple[bytes, int, Lexemes] | None = None
        self._before = b""  # the lexeme before, where it is an operator
        self._sign: Reference | bool = False  # it is `+` or `-` behind a name: what follows decides which
        self._after_call: Call | None = None  # a known call has just been closed
        self._gap = True  # a space or a line end stands before the next lexeme
        self.is_quoting = False  # `quote` has been written, so names may be worked out
        self._key_position = False  # the lexeme before stood where a key of a struct is due
        self._judge_from = len(text)  # what was given is not judged
        self._forgiven = 0  # until there, not even a name that the next piece ends
        super().__init__(text)
        probe = self.copy()
        probe._judge_from = len(text) - 1
        probe._advance_to_end()
        if probe.refusal:
            self._forgiven = len(text)

    def copy(self) -> Self:
        other = type(self).__new__(type(self))
        for name, value in zip(_ALL_SLOTS, _all_slots(self)):
            setattr(other, name, value)
        other._stack = self._stack.copy()
        other._frames = self._frames.copy()
        return other

    def then(self, piece: bytes) -> Self:
        """This text and a piece behind it, which is judged."""
        other = self.copy()
        other._judge_from = self.at + len(self._pending)
        other.refusal = ""
        other.feed(piece)
        other.refusal = other.refusal or other.settled().refusal
        if other.refusal:
            other._forgiven = other.at + len(other._pending)
        return other

    def refuses(self, piece: bytes) -> str:
        """Why a piece may not come next, "" where it may."""
        other = self.copy()
        other._judge_from = self.at + len(self._pending)
        other.refusal = ""
        other._pending += piece
        other._advance_to_end()
        return other.refusal

    def settled(self) -> Self:
        """This text as if it ended here."""
        settled = self._settled()
        assert isinstance(settled, type(self))
        return settled

    def _settled(self) -> Scan:
        if self._final is None:
            self._final = self.copy()
            self._final._advance_to_end()
        return self._final

    def _advance_to_end(self) -> None:
        if _ENDS_IN_KEY.search(self._pending):
            self._pending += b" "  # only a space can follow the colon, and then it is one lexeme with its word
        self._advance(final=True)

    @property
    def frame(self) -> Frame:
        """Of the innermost construct."""
        return self._frames[min(len(self._frames) - 1, len(self._stack))]

    @property
    def frames(self) -> list[Frame]:
        return self._frames[: len(self._stack) + 1]

    @property
    def env(self) -> Env:
        return self._env

    def key(self) -> tuple[object, ...]:
        """What decides on the next piece: two readings with equal keys and the same bytes pending refuse the same."""
        stack = tuple((opened.kind, opened.arrow) for opened in self._stack)
        frames = tuple(
            (f.is_block, f.call, f.bare, f.has_bare, f.has_inner, f.fields, f.has_key, f.is_type) for f in self.frames
        )
        aliases = tuple(sorted(self._env.aliases.items(), key=str))
        rest = (self._last, self._gap, self._percent, self._comment, self._before, self._sign, self._after_call)
        text = (aliases, self._env.module, self._defined, tuple(sorted(self._structs)), self._directive)
        return (*rest, *text, stack, frames, self.reference, self.is_quoting)

    @property
    def pending(self) -> bytes:
        """The last bytes, of which the next ones may make something else."""
        return self._pending

    def begun_name(self) -> bytes | None:
        """Where a function's name is due or unfinished, what there is of it. Of a settled reading."""
        reference = self.reference
        if reference is None or reference.names is None or reference.stage not in ("dot", "name"):
            return None
        if reference.stage == "dot":
            return b""
        return self._tail[1] if self._tail[0] in ("word", "operator") else None

    def is_between(self) -> bool:
        """Whether what follows decides what the last lexeme was, or nothing but an end may follow."""
        call = self.frame.call
        takes_none = call is not None and call.is_empty and max(call.arities, default=0) < 1
        return takes_none or self._after_call is not None or self._sign is not False

    def minds_operators(self) -> bool:
        """Whether an operator here could only be a key that may not stand here."""
        call = self.frame.call
        return call is not None and self._last in ("open", "comma") and not call.may_get_key()

    # ------------------------------------------------------------------------------------------------ one lexeme

    def _push(self, opened: Open) -> None:
        frame, is_block = self.frame, opened.kind in _BLOCKS
        del self._frames[len(self._stack) + 1 :]
        self._frames.append(Frame(self._env, is_block, is_type=frame.is_type and not is_block))
        super()._push(opened)

    def _read_code(self, text: bytes, at: int, final: bool) -> int:
        read = super()._read_code(text, at, final)
        if read > 0 and text[at : at + 1] in _SPACES:
            self._take_gap("space", text[at : at + read])
        return read

    def _take(self, kind: str, lexeme: bytes) -> None:
        """Judge a lexeme of code, let the lexer take it, and remember what it means."""
        del self._frames[len(self._stack) + 1 :]  # those of strings that have ended
        is_partial = self._tail == (kind, lexeme)
        if kind in ("newline", "comment"):
            self._take_gap(kind, lexeme)
            return
        given, last, has_gap = kind, self._last, self._gap
        if kind == "word":
            kind = self._word_kind(lexeme)
        goes_on = kind in ("dot", "do") or (kind == "operator" and lexeme not in (*UNARY, *DUAL))
        goes_on = goes_on or (is_partial and lexeme == b"d" and not self.frame.is_block)  # only `do` can
        if last == "newline" and not goes_on:
            self._end_statement()
            if self.reference and self.reference.stage == "name":
                self.reference = None
            self._after_call = None
        refusal = self._refusal_of(kind, lexeme, last, has_gap, is_partial)
        if refusal:
            self._refuse(refusal, lexeme)
        self._note_bare(kind, lexeme, last, has_gap)
        sign = self.reference if self.reference and self.reference.is_judged() else True
        reference = self._next_reference(kind, lexeme, last, is_partial)
        opens = self._what_opens(kind, lexeme, has_gap)
        if last in _FRESH and kind == "name" and lexeme in _DIRECTIVES and self.frame.is_block:
            self._directive = lexeme, len(self._stack), ()
        elif self._directive:
            word, depth, lexemes = self._directive
            self._directive = word, depth, (*lexemes, (kind, lexeme, len(self._stack)))
        inner = self._end_directive(kind) if kind in ("do", "end", "close", "section") else None

        depth, closed = len(self._stack), self.frame
        super()._take(given, lexeme)

        if len(self._stack) < depth:
            del self._frames[len(self._stack) + 1 :]
            self._env = closed.env
            if kind == "end":  # a block ends the call without parentheses that it belongs to
                self._frames[-1] = self._frames[-1]._replace(has_bare=False)
        elif len(self._stack) > depth and opens:
            call, fields = opens
            self._frames[-1] = self._frames[-1]._replace(call=call, fields=fields)
        if len(self._stack) >= depth:
            self._count(depth, kind, lexeme)
        if inner:
            self._env = inner
        if kind == "section":
            self._end_statement()
        if kind == "arrow":  # in a type it is one more part
            self._frames[-1] = self._frames[-1]._replace(bare=None, has_bare=False, has_inner=False)
        self._after_call = closed.call if len(self._stack) < depth else None
        self._sign = sign if kind == "operator" and lexeme in DUAL and has_gap and last == "name" else False
        self._before = lexeme if kind == "operator" else b""
        self._gap = False
        self.is_quoting = self.is_quoting or lexeme == b"quote"
        self.reference = reference

    def _take_gap(self, kind: str, lexeme: bytes) -> None:
        """A space, a line end, `;`, or the beginning of a comment."""
        reference = self.reference
        if reference and reference.stage == "dot" and reference.names:
            self._refuse("a name is due behind the dot", lexeme)
        if reference and reference.is_judged():
            arities = reference.arities()
            if 0 not in arities and not (kind == "space" and reference.may_be_bare()):
                self._refuse(f"{reference.name}/0", lexeme)
        sign = self._sign
        if isinstance(sign, Reference) and sign.names and 0 not in sign.names.arities(sign.name):
            self._refuse(f"{sign.name}/0", lexeme)
        if kind == "newline":
            is_over = self._last in OPERANDS or self._last == "sigil"
            if is_over and self.frame.bare and not self.frame.bare.is_whole():
                self._refuse("too few arguments", lexeme)
            if is_over and self._directive and len(self._stack) <= self._directive[1]:
                self._env = self._end_directive(kind) or self._env
        self._gap = True
        if kind != "space":
            super()._take(kind, lexeme)
        if lexeme == b";":
            self._end_statement()
        if lexeme == b";" or (kind != "space" and reference and reference.stage in ("slash", "arity")):
            self.reference = None
        if self._sign:
            self._sign = False

    def _refuse(self, why: str, lexeme: bytes) -> None:
        """Or forget about it where the text was given so."""
        end = self.at + len(lexeme)
        is_ended_now = end == self._judge_from > self._forgiven and lexeme[-1:] not in _FINAL
        if end > self._judge_from or is_ended_now:
            self.refusal = self.refusal or why
        else:
            self._frames[-1] = self._frames[-1]._replace(call=None, bare=None, fields=None)
            self.reference = None

    def _end_statement(self) -> None:
        self._frames[-1] = self._frames[-1]._replace(
            bare=None, has_bare=False, has_inner=False, has_key=False, is_type=False
        )

    def _count(self, depth: int, kind: str, lexeme: bytes) -> None:
        """Arguments of the call that the lexeme stands in, and whether a type begins."""
        frame = self._frames[depth]
        if frame.call:
            is_inner = kind == "comma" and frame.has_bare and not frame.call.num_commas
            frame = frame._replace(call=frame.call.with_lexeme(kind, is_inner=is_inner))
        if frame.bare:
            is_inner = frame.has_inner and frame.is_block  # in brackets a comma would need a `do` behind it
            frame = frame._replace(bare=None if kind == "do" else frame.bare.with_lexeme(kind, is_inner=is_inner))
        if kind == "key":
            frame = frame._replace(has_key=True)
        if self._before == b"@" and lexeme in _TYPE_ATTRIBUTES:
            frame = frame._replace(is_type=True)
        self._frames[depth] = frame

    def _note_bare(self, kind: str, lexeme: bytes, last: str, has_gap: bool) -> None:
        """Whether this lexeme begins the arguments of a call without parentheses."""
        reference = self.reference
        if self._sign:
            begins, reference = not has_gap, self._sign if isinstance(self._sign, Reference) else None
        else:
            begins = last == "name" and self._begins_operand(kind, lexeme, has_gap)
        if not begins:
            return
        frame = self._frames[-1]
        frame = frame._replace(has_bare=True, has_inner=frame.bare is not None)
        if reference and reference.is_judged() and not (frame.is_block and frame.has_key):
            arities = reference.arities() if frame.is_block else reference.arities() & {1}
            frame = frame._replace(bare=Call(arities, frame.is_block, reference.owns_block, is_empty=False))
        self._frames[-1] = frame

    def _begins_operand(self, kind: str, lexeme: bytes, has_gap: bool) -> bool:
        if kind == "open":
            return has_gap or lexeme not in (b"(", b"[")
        return (kind in _OPERAND_KINDS and (has_gap or kind != "atom")) or (
            kind == "operator" and has_gap and lexeme in UNARY
        )

    def _refusal_of(self, kind: str, lexeme: bytes, last: str, has_gap: bool, is_partial: bool) -> str:
        """Why a lexeme may not stand here, or ""."""
        raise NotImplementedError

    # ----------------------------------------------------------------------------------------------- references

    def _names_of(self, module: str | None) -> ModuleNames | None:
        return None if module is None or module in self._defined else self._table.find(module)

    def _names_here(self, module: str | None) -> ModuleNames | None:
        return None if self.frame.is_type else self._names_of(module)  # types are no functions

    def _next_reference(self, kind: str, lexeme: bytes, last: str, is_partial: bool) -> Reference | None:
        """What is being referred to when the lexeme has been read."""
        reference = self.reference
        if last == "dot":
            if reference is None or reference.stage != "dot":
                return None
            if kind == "alias":
                module = reference.module
                if module is None or module.startswith(":"):
                    return None
                module = text_of(lexeme) if module == "Elixir" else f"{module}.{text_of(lexeme)}"
                return reference._replace(stage="module", module=module, names=self._names_here(module))
            if kind not in ("name", "operator"):
                return None
            name = reference._replace(stage="name", name=text_of(lexeme))
            is_known = is_partial or (name.names is not None and name.names.arities(name.name))
            return name if is_known else None
        if kind == "alias" or lexeme == b"__MODULE__":
            return self._begin_reference(self._env.resolve(text_of(lexeme)), last)
        if kind == "atom" and _ATOM_MODULE.match(lexeme):
            return self._begin_reference(text_of(lexeme), last)
        if reference is None:
            return None
        if kind == "dot" and reference.stage == "module":
            return reference._replace(stage="dot")
        if lexeme == b"/" and reference.stage == "name" and reference.is_capture:
            return reference._replace(stage="slash")
        if kind == "number" and reference.stage == "slash":
            return reference._replace(stage="arity")
        return None

    def _begin_reference(self, module: str | None, last: str) -> Reference:
        frame, before = self.frame, self._before if last == "operator" else b""
        num_piped = {b"|>": 1, **dict.fromkeys(_INJECTING)}.get(before, 0)
        around = frame.call
        may_take_one = not around or around.is_keyed or around.num_commas + 1 in around.arities
        is_struct, is_capture = before == b"%", before == b"&"
        names = self._names_here(module)
        owns_block = not frame.has_bare
        at_start = owns_block and frame.is_block
        return Reference("module", module, names, is_struct, is_capture, num_piped, owns_block, at_start, may_take_one)

    def _what_opens(self, kind: str, lexeme: bytes, has_gap: bool) -> tuple[Call | None, frozenset[str] | None] | None:
        """The known call or the struct that an opening bracket begins."""
        reference = self.reference
        if kind != "open" or reference is None:
            return None
        if lexeme == b"(" and not has_gap and reference.stage == "name" and reference.names:
            if reference.num_piped is None:
                return None
            has_block = reference.name in reference.names.macros
            return Call(reference.arities(), has_block, reference.owns_block, reference.num_piped == 1), None
        if lexeme == b"{" and reference.stage == "module" and reference.is_struct and reference.module:
            return None, self._fields_of(reference.module)
        return None

    def _fields_of(self, module: str) -> frozenset[str] | None:
        if module in self._structs:
            return self._structs[module]
        names = self._names_of(module)
        return frozenset(names.fields) if names and names.fields else None

    # ----------------------------------------------------------------------- aliases, and the modules of the text

    def _end_directive(self, kind: str) -> Env | None:
        """Act on what `alias`, `defmodule` ... were given, where that ends here; the scope behind, or of the body."""
        if self._directive is None or len(self._stack) > self._directive[1]:
            return None
        word, _, lexemes = self._directive
        self._directive = None
        if kind == "do":
            lexemes = lexemes[:-1]
        if word == b"defstruct":
            if self._env.module:
                self._structs = {**self._structs, self._env.module: fields_written(lexemes)}
            return None
        if word in (b"alias", b"require"):
            return self._env._replace(aliases={**self._env.aliases, **aliases_written(word, lexemes, self._env)})
        return self._define(word, lexemes, kind)

    def _define(self, word: bytes, lexemes: Lexemes, kind: str) -> Env | None:
        """A module begins: it is known by its short name from here on, also behind it."""
        named = next(chains(lexemes), None)
        parts = named.split(".") if named else []
        around = self._env.module
        if word == b"defimpl" or not parts or parts[0].startswith(":"):
            module: str | None = None  # of an implementation: what it implements and for what
        elif around is None or parts[0] == "__MODULE__":
            module = None
        else:
            module = f"{around}.{named}" if around else named
        if module:
            self._defined |= {module}
            if not around:  # an alias counts for a module that is defined outside of all others
                self._defined |= {".".join([self._env.resolve(parts[0]) or parts[0], *parts[1:]])}
        if parts and around != "" and word != b"defimpl":
            inner = None if module is None else f"{around}.{parts[0]}"
            self._env = self._env._replace(aliases={**self._env.aliases, parts[0]: inner})
        return self._env._replace(module=module) if kind == "do" else None


_ALL_SLOTS = (*Scan.__slots__, *References.__slots__)
_all_slots = attrgetter(*_ALL_SLOTS)  # a reading is copied for every piece that is looked at
