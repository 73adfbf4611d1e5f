"""Say where a text names what does not exist, as it is written.

`Reading` refuses only where a module is known and nothing that may follow could put it right, and so that there is
always something else to write: a model that is held to it and to the grammar does not get stuck.

What is left free, because a name alone does not decide it: modules that are not known, the text's own, types, what
custom operators put in front of arguments, names that are worked out (`unquote`), every local call; and names in quotes
of the few modules that have such (`:erlang."=:="`).
"""

from __future__ import annotations

from elixir_coder.generation.references import DUAL, OPERANDS, UNARY, References
from elixir_coder.generation.scopes import Call, Frame, Reference, text_of

_BEGINS_OPERAND = (*UNARY, *DUAL, b"..", b"...")
_MAY_BEGIN_OPERAND = (*_BEGINS_OPERAND, b"<")  # while it may still grow: `<` to `<<`
_ONLY_BEFORE = (b"~", b"%", b"@", b"^")  # begin what stands before an operand; others may become `!=` or `&&`
_WORDS_BETWEEN = (b"and", b"or", b"in")  # operators that may follow any operand
_WORDS_AFTER = (b"end", b"else", b"rescue", b"catch", b"after")  # what may follow the last statement of a block
_TIGHTER = (b"**", b"*", b"/", b"+", b"-", b"++", b"--", b"+++", b"---", b"..", b"<>", b"//", b"^^^", b"in")


def _binds_tighter(kind: str, lexeme: bytes, is_partial: bool) -> bool:
    """Whether an operator takes what stands before it away from a pipe."""
    return (kind == "operator" and lexeme in _TIGHTER) or (is_partial and lexeme == b"i")


class Reading(References):
    """A text as far as it is written; see `References`."""

    __slots__ = ()

    def _refusal_of(self, kind: str, lexeme: bytes, last: str, has_gap: bool, is_partial: bool) -> str:
        """Why the lexeme may not stand here, or "". A partial one may stand where something that begins so may."""
        refusal = self._after_call_refusal(self._after_call, kind, lexeme, has_gap, is_partial)
        if refusal:
            return refusal
        if isinstance(self._sign, Reference) and not has_gap and not self._sign.may_be_bare():
            return f"arguments of {self._sign.name}"
        if self.reference and self.reference.names:
            refusal = self._reference_refusal(self.reference, kind, lexeme, has_gap, is_partial)
            if refusal:
                return refusal
        frame = self.frame
        self._key_position = bool(frame.fields) and self._is_key_due(frame, last)
        if frame.fields:
            refusal = self._field_refusal(frame, kind, lexeme, last, is_partial)
            if refusal:
                return refusal
        if frame.bare:
            refusal = self._bare_refusal(frame.bare, kind, lexeme, last, has_gap, is_partial)
            if refusal:
                return refusal
        if frame.call and kind == "comma" and frame.has_bare and not frame.call.num_commas:
            return "" if 1 in frame.call.arities else "too few arguments"  # `f(g x, y)` is `f(g(x, y))`
        return self._argument_refusal(frame.call, kind, lexeme, last, is_partial) if frame.call else ""

    def _after_call_refusal(self, call: Call | None, kind: str, lexeme: bytes, has_gap: bool, is_partial: bool) -> str:
        """Of what stands behind the closing parenthesis of a known call."""
        if call is None:
            return ""
        is_block = kind == "do" or (is_partial and lexeme == b"d")
        if is_block and has_gap and call.owns_block and not call.is_whole(with_block=True):
            return "no argument is left for a block"
        is_called = kind == "dot" or (lexeme == b"(" and not has_gap) or _binds_tighter(kind, lexeme, is_partial)
        if is_called and call.is_piped and not call.is_whole_alone():
            return "what is piped goes elsewhere, and this call lacks an argument"
        return ""

    def _reference_refusal(
        self, reference: Reference, kind: str, lexeme: bytes, has_gap: bool, is_partial: bool
    ) -> str:
        assert reference.names is not None
        text = text_of(lexeme)
        if reference.stage == "module" and reference.is_struct and lexeme == b"{" and not reference.names.is_struct:
            return f"{reference.module} is not a struct"
        is_name = kind in ("name", "operator", "alias") or lexeme == b"{"
        is_name = is_name or (lexeme in (b'"', b"'") and reference.names.has_quoted)
        is_name = is_name and (kind == "alias" or not reference.is_struct)  # the name of a struct is no call
        if reference.stage == "dot" and (has_gap or not is_name):
            return f"{reference.module}., followed by {text}"
        if reference.stage == "arity" and kind == "dot":
            return "an arity is no number to take apart"
        if reference.stage == "dot" and kind in ("name", "operator"):
            if self.is_quoting and b"unquote".startswith(lexeme):
                return ""
            if text == "//" and reference.is_capture:  # `&Kernel.//2`
                text = "/"
            named = reference._replace(name=text)
            exists = reference.names.begins(text, reference.num_piped or 0) if is_partial else bool(named.arities())
            return "" if exists else f"{reference.module}.{text}"
        if reference.stage == "slash" and kind == "number":
            arities = [str(arity) for arity in reference.names.arities(reference.name)]
            exists = any(arity.startswith(text) for arity in arities) if is_partial else text in arities
            return "" if exists else f"{reference.module}.{reference.name}/{text}"
        if reference.stage == "slash" and not self.is_quoting:
            return "a number of arguments is due behind the slash"
        if reference.is_judged() and not self._may_follow_name(reference, kind, lexeme, has_gap, is_partial):
            return f"{reference.module}.{reference.name}, followed by {text}"
        return ""

    def _may_follow_name(self, reference: Reference, kind: str, lexeme: bytes, has_gap: bool, is_partial: bool) -> bool:
        """Whether some arity allows what stands behind a function's name."""
        assert reference.names is not None
        arities, may_be_bare = reference.arities(), reference.may_be_bare()
        if (lexeme == b"(" and not has_gap) or (lexeme == b"/" and reference.is_capture):
            return True
        is_whole_alone = 0 in reference.names.arities(reference.name)
        may_be_operand = may_be_bare and has_gap and (is_partial or lexeme in DUAL)
        if not is_whole_alone and not may_be_operand and _binds_tighter(kind, lexeme, is_partial):
            return False  # what is piped goes into the operator
        if is_partial and lexeme[:1].isalpha():
            words = [*_WORDS_BETWEEN, *self._words_after()]
            words += [b"do"] if int(reference.owns_block) in arities else []
            return may_be_bare or any(word.startswith(lexeme) for word in words)
        if kind == "do":
            return int(reference.owns_block) in arities
        if kind == "dot":
            return is_whole_alone  # what is piped goes into the next call
        if kind == "key":
            return 1 in arities or (2 in arities and reference.at_start)
        if kind in ("end", "section"):
            return 0 in arities and lexeme in self._words_after()
        if kind == "operator" and has_gap and (lexeme in DUAL or is_partial):
            is_between = lexeme[:1] not in _ONLY_BEFORE
            return (0 in arities and is_between) or (may_be_bare and lexeme in _MAY_BEGIN_OPERAND)
        if lexeme in (b"not", b"when") or (has_gap and (kind in ("begun", "other") or lexeme[:1] == b"~")):
            return may_be_bare  # `not in`, `when` and `~>` would do behind a call without arguments, and are rare
        return may_be_bare if self._begins_operand(kind, lexeme, has_gap) else 0 in arities

    def _words_after(self) -> tuple[bytes, ...]:
        """What may end or divide the construct that is open, as a word on the same line."""
        kind = self._stack[-1].kind if self._stack else ""
        return _WORDS_AFTER if kind == "do" else _WORDS_AFTER[:1] if kind == "fn" else ()

    def _field_refusal(self, frame: Frame, kind: str, lexeme: bytes, last: str, is_partial: bool) -> str:
        """Of a key inside a struct. The first word may also be a variable that is updated."""
        fields = frame.fields or frozenset()
        text = text_of(lexeme)
        is_key_due = self._is_key_due(frame, last)
        if kind in ("operator", "arrow") and is_key_due:
            exists = lexeme in (_MAY_BEGIN_OPERAND if is_partial else _BEGINS_OPERAND)  # else it can only be a key
        elif kind == "key":
            exists = text.rstrip(":") in fields
        elif (
            not is_key_due
            or kind not in ("name", "alias", "atom")
            or (last == "open" and kind != "atom")
            or self.is_quoting
        ):
            return ""
        elif is_partial:
            exists = any(field.startswith(text.lstrip(":")) for field in fields)
        else:
            exists = kind == "atom" and text.lstrip(":") in fields
        return "" if exists else f"no field {text}"

    def _is_key_due(self, frame: Frame, last: str) -> bool:
        """Inside a struct: at its beginning, behind a comma, and behind the `|` of an update."""
        if last == "comma":  # of a call without parentheses, it may stand before the `|`
            return frame.has_key or not frame.has_bare
        return last == "open" or (last == "operator" and self._before == b"|" and not frame.has_key)

    def _argument_refusal(self, call: Call, kind: str, lexeme: bytes, last: str, is_partial: bool) -> str:
        """Of what stands directly in the parentheses of a known call."""
        is_glued = lexeme[:1] == b":" and lexeme != b"::" and last in OPERANDS and not self._gap  # began as a key
        if call.is_empty and lexeme != b")" and max(call.arities, default=0) < 1:
            return "no argument may follow"
        if kind == "comma" and not call.may_get_comma():
            return "too many arguments"
        if (kind in ("key", "colon") or is_glued) and not call.may_get_key():
            return "keywords are the last argument, and more are needed"
        if lexeme == b")" and not (call.is_whole() or (call.has_block and call.is_whole(with_block=True))):
            return "no such number of arguments"
        is_begun = last in ("open", "comma") if kind == "operator" else kind == "arrow" and last == "comma"
        if is_begun and not call.may_get_key():
            begins = lexeme in (_MAY_BEGIN_OPERAND if is_partial else _BEGINS_OPERAND)  # else it can only be a key
            return "" if begins else "keywords are the last argument, and more are needed"
        return ""

    def _bare_refusal(self, call: Call, kind: str, lexeme: bytes, last: str, has_gap: bool, is_partial: bool) -> str:
        """Of what stands in the arguments of a known call without parentheses."""
        may_get_block = call.is_whole(with_block=call.owns_block)
        if kind in ("end", "section", "arrow") and not is_partial:
            return "" if call.is_whole() else "too few arguments"
        if kind == "do" and not is_partial:
            return "" if may_get_block else "no argument is left for a block"
        if has_gap and last == "name" and not call.is_keyed and not call.is_whole():
            # `f g x, y` is `f(g(x, y))`: with its arguments `g` would take the commas that are due
            if is_partial and lexeme[:1].isalpha():
                going_on = [*_WORDS_BETWEEN, b"when", *([b"do"] if may_get_block else [])]
                return "" if any(word.startswith(lexeme) for word in going_on) else "a call in a call needs parentheses"
            if self._begins_operand(kind, lexeme, has_gap):
                return "a call in a call needs parentheses"
        if is_partial and has_gap and last in (*OPERANDS, "newline") and lexeme[:1].isalpha():
            words = {b"do": may_get_block, **dict.fromkeys(_WORDS_AFTER, call.is_whole())}
            begun = [allowed for word, allowed in words.items() if word.startswith(lexeme)]
            between = any(word.startswith(lexeme) for word in (*_WORDS_BETWEEN, b"when", b"not"))
            return "" if not begun or any(begun) or between else "the call is not whole"
        return self._argument_refusal(call, kind, lexeme, last, is_partial)

    def missing(self) -> bytes:
        """The shortest text that finishes what is pending at the end, b"" where nothing is. Of a settled reading."""
        reference = self.reference
        if reference is not None and reference.names is not None:
            if reference.stage == "slash" and self._before == b"/":
                return str(min(reference.names.arities(reference.name), default=0)).encode()
            if reference.stage in ("dot", "name"):
                return self._missing_call(reference, self.begun_name() or b"")
        frame = self.frame
        if frame.fields:
            return self._missing_key(frame, frame.fields)
        call = frame.call or frame.bare
        if call is None or call.is_keyed:
            return b""
        is_due = call.is_empty or self._last == "comma"
        written = call.num_commas + (not is_due)
        number = min((arity for arity in call.arities if arity >= written), default=0) - written
        if is_due and not call.is_empty:  # behind a comma
            number = max(number, 1)
        if frame.call and frame.has_bare and not call.num_commas and 1 not in call.arities:
            return b" do end" + b", nil" * number  # else the commas would be those of the call in the call
        if number <= 0:
            return b""
        if self._last == "newline":  # where a comma cannot stand
            return b"|> a()" + b", nil" * number
        return (b" " if is_due and not call.is_empty and not self._gap else b"") + (
            b"nil" + b", nil" * (number - 1) if is_due else b", nil" * number
        )

    def _missing_key(self, frame: Frame, fields: frozenset[str]) -> bytes:
        """Where a key is due or has been begun."""
        kind, written = self._tail
        begun = text_of(written) if kind == "word" and self._key_position else ""
        if not (begun or self._last == "comma" or (self._before == b"|" and not frame.has_key)):
            return b""
        left = [field for field in fields if field.startswith(begun) and field != "__struct__"]
        space = b" " if not begun and not self._gap else b""
        return space + min(left, key=len).encode()[len(begun) :] + b": nil" if left else b""

    def _missing_call(self, reference: Reference, written: bytes) -> bytes:
        """The rest of the shortest name, and arguments."""
        assert reference.names is not None
        offered, begun = reference.names, text_of(written)
        names = [name for name in offered.callable(reference.num_piped or 0) if name.startswith(begun)]
        if reference.stage == "name" and not written:  # a space stands behind it
            return b"" if reference.is_capture or 0 in reference.arities() else b"nil"
        if not names:
            return b""
        name = min(names, key=lambda name: (min(offered.arities(name)), len(name)))
        rest = name.encode()[len(written) :]
        if reference.is_capture:
            return rest + b"/%d" % min(offered.arities(name))
        number = min(reference._replace(name=name).arities(), default=0)
        return rest + b"(" + b", ".join([b"nil"] * number) + b")"
