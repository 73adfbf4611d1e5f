"""What is open at the end of an Elixir text, and the shortest way to end it.

`Scan` is a light lexer that follows a text as it is written, in pieces of any size. It knows brackets, `fn`, `do` and
its sections, strings, sigils, heredocs, interpolation, comments and character literals, and what the end of the text
still calls for. It does not judge: the grammar does, through the `check` that `find_closing` is given. `Seam` says what
a text that is filled into a hole must leave open, and `Reserve` keeps a way out known while a budget runs down.

Bytes, not characters, since a token may end inside a character.
"""

import heapq
import itertools
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

_WORD = rb"[a-zA-Z_\x80-\xff][a-zA-Z0-9_\x80-\xff]*[?!]?"
_LONG_OPERATORS = (
    *(
        b"...",
        b"<<<",
        b">>>",
        b"<<~",
        b"~>>",
        b"<~>",
        b"<|>",
        b"===",
        b"!==",
        b"|||",
        b"&&&",
        b"+++",
        b"---",
        b"^^^",
        b"~~~",
    ),
    *(b"..", b"==", b"!=", b"=~", b"<=", b">=", b"||", b"&&", b"<-", b"\\\\", b"::", b"|>", b"<~", b"~>", b"++", b"--"),
    *(b"<>", b"**", b"//", b"=>"),
)
_OPERATOR = b"|".join(map(re.escape, _LONG_OPERATORS)) + rb"|[-+*/=<>!&|^@%]"
_CODE = re.compile(
    rb"(?P<space>[ \t\r\f\v]+|\\\r?\n)"
    rb"|(?P<newline>[\n;])"
    rb"|(?P<comment>\#)"
    rb"|(?P<key>(?:" + _WORD + rb"|<<>>|%?\{\}|->|" + _OPERATOR + rb"):(?=\s|\Z))"
    rb"|(?P<sigil>~[a-zA-Z](?:\"\"\"|'''|[\"'(\[{<|/]))"
    rb"|(?P<char>\?(?:\\?[\xc0-\xff][\x80-\xbf]{1,3}|\\[\x00-\x7f]|[\x00-\x5b\x5d-\x7f]))"
    rb"|(?P<begun>(?:\?\\?|~[a-zA-Z]?|:)\Z)"
    rb"|(?P<quote>\"\"\"|'''|:?[\"'])"
    rb"|(?P<atom>:(?:[a-zA-Z_\x80-\xff][a-zA-Z0-9_@\x80-\xff]*[?!]?|<<>>|%?\{\}|\.\.//|->|" + _OPERATOR + rb"|\.))"
    rb"|(?P<number>0x[0-9a-fA-F_]*|0b[01_]*|0o[0-7_]*|[0-9][0-9_]*(?:\.[0-9][0-9_]*(?:[eE][-+]?[0-9_]*)?)?)"
    rb"|(?P<word>" + _WORD + rb")"
    rb"|(?P<arrow>->)"
    rb"|(?P<open>%\{|<<(?![<~])|[(\[{])"
    rb"|(?P<close>>>(?!>)|[)\]}])"
    rb"|(?P<operator>" + _OPERATOR + rb")"
    rb"|(?P<dot>\.)"
    rb"|(?P<comma>,)"
    rb"|(?P<colon>:(?=\s|\Z))"  # behind the closing quote of a quoted key
    rb"|(?P<other>.)",
    re.DOTALL,
)
_LOOKAHEAD = 3  # bytes behind a lexeme that may still change what it is: `..` + `//`, `foo` + `: `, `""` + `"`
_MODIFIERS = re.compile(rb"[a-zA-Z]+")
_LINE_INDENT = re.compile(rb"\n[ \t]*")
_CLOSERS = {"(": b")", "[": b"]", "{": b"}", "%{": b"}", "<<": b">>", "fn": b"end", "do": b"end"}
_DELIMITERS = {b"(": b")", b"[": b"]", b"{": b"}", b"<": b">"}  # of sigils; any other closes itself
_PLAIN = {
    stop: re.compile(rb"[^#\\" + re.escape(stop) + rb"]*")
    for stop in (b"\n", *(b"\"'|/)]}>"[at : at + 1] for at in range(8)))
}
_SECTIONS = (b"else", b"rescue", b"catch", b"after")
_RESERVED = dict.fromkeys((b"and", b"or", b"in", b"not", b"when"), "operator") | dict.fromkeys(
    (b"true", b"false", b"nil"), "value"
)


class Open(NamedTuple):
    """One construct that has begun and not ended."""

    kind: str  # ( [ { %{ << #{ fn do, the quotes " ' :" :' """ ''', or a sigil's opening such as ~s( or ~S\"\"\"
    at: int  # byte offset of its first byte; below 0 when it began before the text
    closer: bytes
    section: str = ""  # of a `do`: the section it is in, "do" at first; of a `fn`: "fn"
    arrow: bool = False  # a `->` has been seen in this section, or in these parentheses
    is_text: bool = False  # string, sigil or heredoc: what follows is not code
    interpolates: bool = False
    names_struct: bool = False  # begun behind a `%`, so it is (a part of) a struct's name

    def can_be(self, needed: "Open") -> bool:
        """Whether this construct may end where the text behind it needs one to end."""
        if self.is_text != needed.is_text or (self.kind == "#{") != (needed.kind == "#{"):
            return False
        return self.closer == needed.closer and not (self.kind == "fn" and needed.section)


class Scan:
    """Follows Elixir text piece by piece; the state is the same however the text is split.

    open: list[Open], outermost first.
    in_code: False inside a string, sigil, heredoc, comment or unfinished character literal.
    last: the last thing in code: "value", "name", "alias", "operator", "comma", "key", "dot", "arrow", "open" (nothing
    yet in the construct), "newline" (a value, then a line end or `;`), "begun" (`:`, `?`, `~` alone), "" at the start.
    unfinished: (kind, bytes) of the lexeme that the next bytes may lengthen, ("", b"") when there is none.
    names_struct: between `%` and the brace of a struct.
    unmatched: what closes constructs that began before the text, which only a text from the middle of a file has.
    is_broken: a closer met another construct than its own, which no valid text has.
    """

    __slots__ = tuple("_broken _comment _final _last _outer _pending _percent _stack _tail _unmatched at".split())

    def __init__(self, text: bytes = b"", began: Sequence[Open] = ()):
        self.at = 0  # bytes read, without those pending
        self._stack: list[Open] = list(began)
        self._pending = b""  # lexemes that the next bytes may still change
        self._final: Scan | None = None  # this text as if it ended here
        self._tail: tuple[str, bytes] = ("", b"")
        self._comment = False
        self._percent = False
        self._last = ""
        self._unmatched: tuple[Open, ...] = ()
        self._outer = Open("", -1, b"")  # the construct around the text, as far as it shows
        self._broken = False
        if text:
            self.feed(text)

    def copy(self) -> "Scan":
        other = Scan.__new__(Scan)
        for name in Scan.__slots__:
            setattr(other, name, getattr(self, name))
        other._stack = self._stack.copy()
        return other

    def feed(self, piece: bytes) -> None:
        self._final = None
        self._pending += piece
        self._advance(final=False)

    open = property(lambda self: self._settled()._stack)
    last = property(lambda self: self._settled()._last)
    unfinished = property(lambda self: self._settled()._tail)
    names_struct = property(lambda self: self._settled()._percent)
    unmatched = property(lambda self: self._settled()._unmatched)
    is_broken = property(lambda self: self._settled()._broken)

    @property
    def in_code(self) -> bool:
        return not (self.open and self.open[-1].is_text) and self.unfinished[0] not in ("comment", "begun")

    def _settled(self) -> "Scan":
        if self._final is None:
            self._final = self.copy()
            self._final._advance(final=True)
        return self._final

    def _advance(self, final: bool) -> None:
        """Read every pending lexeme that no further byte can change, or all of them when the text ends here."""
        text, at = self._pending, 0
        self._tail = ("", b"")
        while at < len(text):
            if self._comment:
                end = text.find(b"\n", at)
                self._comment = end < 0
                read = (len(text) if end < 0 else end) - at
            elif self._stack and self._stack[-1].is_text:
                read = self._read_text(text, at, final)
            else:
                read = self._read_code(text, at, final)
            if read < 0:
                break
            at += read
            self.at += read
        self._pending = text[at:]
        if self._comment:
            self._tail = ("comment", b"")

    def _read_text(self, text: bytes, at: int, final: bool) -> int:
        """How many bytes of content, interpolation or terminator are read at `at`; -1 to wait for more."""
        top = self._stack[-1]
        is_heredoc = len(top.closer) == 3
        plain = _PLAIN[b"\n" if is_heredoc else top.closer].match(text, at)
        assert plain is not None
        if plain.group():
            return len(plain.group())
        byte, following = text[at], text[at + 1 : at + 2]
        if byte == 0x0A and is_heredoc:
            indent = _LINE_INDENT.match(text, at)
            assert indent is not None
            quotes = text[indent.end() : indent.end() + 3]
            if quotes == top.closer:
                self._pop()
                return indent.end() + 3 - at
            if indent.end() + len(quotes) < len(text) or not top.closer.startswith(quotes):
                return 1
        elif byte == top.closer[0]:
            self._pop()
            return 1
        elif following:
            if byte == 0x5C:  # backslash: takes the next byte along, but a terminator may follow an escaped line end
                return 1 if is_heredoc and following == b"\n" else 2
            if following != b"{" or not top.interpolates:  # hash
                return 1
            self._push(Open("#{", self.at, b"}"))
            return 2
        if not final:
            return -1
        self._tail = ("text", text[at:])
        return len(text) - at

    def _read_code(self, text: bytes, at: int, final: bool) -> int:
        if self._last == "sigil":
            modifiers = _MODIFIERS.match(text, at)
            if modifiers:
                return modifiers.end() - at
            self._last = "value"
        match = _CODE.match(text, at)
        assert match is not None and match.lastgroup is not None  # the last alternative takes any byte
        if not final and match.end() + _LOOKAHEAD > len(text):
            return -1
        kind, lexeme = match.lastgroup, match.group()
        if final and match.end() == len(text):
            self._tail = (kind, lexeme)
        if kind != "space":
            self._take(kind, lexeme)
        return match.end() - at

    def _take(self, kind: str, lexeme: bytes) -> None:
        """Update the state for one lexeme of code other than space."""
        if kind == "newline":
            if self._last in ("value", "name", "alias") or lexeme == b";":
                self._last = "newline"
            return
        if kind == "comment":
            self._comment = True
            return
        in_struct_name, self._percent = self._percent, False
        if kind == "word":
            kind = self._word_kind(lexeme)
        if kind in ("quote", "sigil"):
            self._open_text(lexeme, in_struct_name)
        elif kind in ("open", "fn", "do"):
            name = "%{" if in_struct_name and lexeme == b"{" else lexeme.decode()
            opened = Open(name, self.at, _CLOSERS[name], section=name if kind != "open" else "")
            self._push(opened._replace(names_struct=in_struct_name and lexeme != b"{"))
        elif kind in ("close", "end"):
            self._close(lexeme)
        elif kind == "section":
            if self._stack:
                self._stack[-1] = self._stack[-1]._replace(section=lexeme.decode(), arrow=False)
            else:
                self._outer = self._outer._replace(section=lexeme.decode())
            self._last = "open"
        else:
            if kind == "arrow" and self._stack:
                self._stack[-1] = self._stack[-1]._replace(arrow=True)
            elif kind == "arrow":
                self._outer = self._outer._replace(arrow=True)
            elif lexeme == b"=>" and not self._stack:
                self._outer = self._outer._replace(kind="%{")
            if kind in ("number", "char", "atom") or lexeme == b"...":
                kind = "value"
            self._last = "key" if kind == "colon" else kind
            self._percent = lexeme == b"%" or (in_struct_name and kind not in ("comma", "key", "arrow"))

    def _word_kind(self, word: bytes) -> str:
        if self._last != "dot":
            if word in (b"fn", b"do", b"end"):
                return word.decode()
            if word in _SECTIONS and (not self._stack or self._stack[-1].kind == "do"):
                return "section"
            if word in _RESERVED:
                return _RESERVED[word]
        return "alias" if word[:1].isupper() else "name"

    def _open_text(self, lexeme: bytes, names_struct: bool) -> None:
        is_sigil = lexeme.startswith(b"~")
        delimiter = lexeme[2:] if is_sigil else lexeme.lstrip(b":")
        closer = _DELIMITERS.get(delimiter, delimiter)
        interpolates = not is_sigil or lexeme[1:2].islower()
        self._push(Open(lexeme.decode(), self.at, closer, "", False, True, interpolates, names_struct))

    def _push(self, opened: Open) -> None:
        self._stack.append(opened)
        self._last = "open"

    def _close(self, closer: bytes) -> None:
        if self._stack and self._stack[-1].closer == closer:
            self._pop()
        elif not self._stack or self._stack[-1].at < 0:
            self._unmatched += (self._outer._replace(closer=closer),)
            self._outer = Open("", -1, b"")
            self._last = "value"
        else:
            self._broken = True

    def _pop(self) -> None:
        closed = self._stack.pop()
        if closed.at < 0:
            self._unmatched += (closed,)
        self._percent = closed.names_struct
        in_text = bool(self._stack) and self._stack[-1].is_text
        self._last = "sigil" if closed.kind.startswith("~") else "open" if in_text else "value"


_COMMENT = b"# "


class Way(NamedTuple):
    """One reading of a suffix: what must be open where it begins, outermost first, and the bytes just before it."""

    needed: tuple[Open, ...] = ()
    glue: bytes = b""  # the beginning of a lexeme that the suffix goes on with: `en` before `d`

    def common(self, stack: Sequence[Open]) -> int:
        """How many constructs of the stack, from the outermost, this reading can close."""
        pairs = zip(stack, self.needed)
        return next(
            (depth for depth, (ours, its) in enumerate(pairs) if not ours.can_be(its)),
            min(len(stack), len(self.needed)),
        )

    def distance(self, stack: Sequence[Open]) -> int:
        """How many constructs must be closed and opened before the suffix fits."""
        return len(stack) + len(self.needed) - 2 * self.common(stack)


class Seam:
    """Where a hole ends and its suffix begins, so that prefix + middle + suffix is whole.

    ways: the readings of the suffix under which everything in it ends; none when there is no such reading. A quote in
    the suffix opens a string or closes one, a `d` at its beginning may be the end of `end`: which it is depends on the
    middle.
    """

    def __init__(self, prefix: Scan, suffix: bytes):
        self.suffix = suffix
        ways = sorted(_ways(prefix.open, suffix), key=lambda way: way.distance(prefix.open))
        # That a comment hides the first line of the suffix is possible nearly always, and meant hardly ever.
        self._plain = [way for way in ways if way.glue != _COMMENT] or ways
        self.ways = [*self._plain, *(way for way in ways if way not in self._plain)]
        self._shared = [[opened.at for opened in prefix.open[: way.common(prefix.open)]] for way in self._plain]

    def is_kept(self, scan: Scan) -> bool:
        """Whether everything that prefix and suffix share is still open.

        While it is, a middle can be ended at any time. When it is not, the middle has to open a like construct again,
        as where a hole reaches from one function into the next; whether it can, `find_closing` tells.
        """
        offsets = [opened.at for opened in scan.open]
        return any(offsets[: len(shared)] == shared for shared in self._shared)

    def distance(self, scan: Scan) -> int:
        """How many constructs must still be closed and opened before the suffix fits."""
        return min((way.distance(scan.open) for way in self._plain), default=0)


def _ways(before: list[Open], suffix: bytes) -> Iterator[Way]:
    """A suffix begins in one of the texts that are open before the hole, in code, or in a text of the hole."""
    texts = [opened._replace(at=-1) for opened in before if opened.is_text or opened.kind == "#{"]
    begins = [texts[:depth] for depth in range(len(texts), -1, -1)]
    for quote in ('"', '"""', "'", "~s|", "~r/"):
        text = Open(quote, -1, quote.lstrip("~sr").encode(), is_text=True, interpolates=True)
        begins += [[text], [text, Open("#{", -1, b"}")]]
    seen = set()
    for began in begins:
        if began and began[-1].is_text:
            glues = [b"", b"\n"] if len(began[-1].closer) == 3 else [b""]
        else:
            glues = [b"", *_begun_lexemes(suffix), _COMMENT]
        for glue in glues:
            scan = Scan(glue + suffix, began)
            way = Way(tuple(reversed(scan.unmatched)), glue)
            if not scan.open and not scan.is_broken and way not in seen:
                seen.add(way)
                yield way


def _begun_lexemes(suffix: bytes) -> Iterator[bytes]:
    """What a lexeme may have begun with that the first bytes of a suffix end."""
    word = re.match(_WORD, suffix)
    for whole in (b"end", b"do", b"fn", *_SECTIONS):
        if (
            word is not None
            and suffix[word.end() :][:1] != b":"
            and whole.endswith(word.group())
            and whole != word.group()
        ):
            yield whole.removesuffix(word.group())
    for begun, rest in (
        (b"#", b"{"),
        (b">", b">"),
        (b"<", b"<"),
        (b'""', b'"'),
        (b'"', b'""'),
        (b"-", b">"),
    ):
        if suffix.startswith(rest):
            yield begun


# What may come next, the likeliest first. The grammar refuses what does not fit, at some 20 microseconds a piece, so
# the lists are generous; each piece is also tried with a space before it.
_OPERANDS = (b"nil", b"a", b"0", b"A", b"1", b"()", b"{}", b"in nil", b"A{}", b"a()", b"a: nil", b"a => nil", b"+/2")
_PAIRS = (b": nil", b"=> nil")
_AFTER = {
    "begun": (b"a", b"()", b"s()", b"n", b"nil"),
    "number": (b"0",),
    "dot": (b"a", b"A", b"a()", b"0", b"{}", b"()"),
    "name": (b"nil", b"()", b"{}", b"/1", b"a"),
    "alias": (b"{}", b".a", b".a()", b"A"),
    "value": (b"()", b"/1", b"/0", b"nil"),
    "arrow": (b"",),
}
_ANYWHERE = (
    *(b"-> nil", b"->", b"=> nil", b": nil", b"a: nil", b"a => nil", b"a -> nil", b"do end", b"a do end", b"do: nil"),
    *(
        b"\n",
        b"\nnil",
        b" ",
        b",",
        b", nil",
        b"/1",
        b"()",
        b"{}",
        b".a{}",
        b"| nil",
        b":: a",
        b"::a",
        b"= nil",
        b".a",
        b".a do end",
    ),
    *(b"def a, do: nil", b"end", b">>", *(bytes([byte]) for byte in range(32, 127))),
)
_IN_TEXT = (b" ", b"n", b"0", b"00", b"041", b"0041", b"{0}", b"0}", b"}", b"\\", b"a", b"#{0}", b"\n")
_WORDS = b"and or in not when do fn end else after rescue catch true false nil def".split()
_WORD_ENDS = {b"do": b" end", b"fn": b" -> nil end", b"def": b" a, do: nil"} | dict.fromkeys(
    (b"and", b"or", b"in", b"not", b"when"), b" nil"
)
_REQUIRED = {  # what the grammar of an entry point wants to see, by the number of constructs around it
    0: (b"\ndef a, do: nil", b"\ndefmodule A do\nuse A\nend"),
    1: (b"\nuse A",),
}
_JOINTS = (  # between what is before a suffix and the suffix
    *(b"\n", b" ", b"nil", b" nil", b"\nnil", b", ", b"a", b"nil\n", b".a", b", nil", b" = ", b" + ", b" |> ", b"; "),
    *(b"\na", b" ->\n", b"a ->\n", b" -> nil\n", b"a -> nil\n", b"a: ", b" => ", b"()", b"a(", b" a", b".", b", a"),
    *(b"\nif a", b" do\n", b"a do\n", b"a fn", b"fn", b"fn a", b"fn ->", b"def a", b"\ndef a", b"@a ", b"\n@a "),
    *(b" do end", b" => %A", b"%a", b"%A", b": ", b": %A", b"=> nil, ", b": nil, ", b"do\n", b" do\nend\n", b" + a"),
)
_OPENERS = {b"end": (b"a do\n", b"fn -> "), b")": (b"a(", b"("), b"]": (b"[",), b"}": (b"{", b"%{"), b">>": (b"<<",)}


def find_closing(
    text: bytes,
    check: Callable[[bytes], tuple[int, bool]],
    *,
    suffix: bytes = b"",
    seam: Seam | None = None,
    completions: Sequence[bytes] = (b"",),
    cost: Callable[[bytes], int] = len,
    limit: int | None = None,
    scan: Scan | None = None,
    tries: int = 4000,
    seconds: float = 2.0,
) -> bytes | None:
    """The shortest text, or nearly, with which `text` is whole; None when `tries` or `seconds` found none.

    check(candidate): (how many of its bytes the grammar takes after `text`, whether text + candidate is whole).
    suffix, seam: for a hole, what follows it; then text + closing + suffix is whole. The seam is `Seam(scan of what is
    before the hole, suffix)`, made from the whole `text` when it is not given.
    completions: what finishes a name that ends the text, where only some names will do; the closing begins with one.
    cost(closing), at most `limit`: its length as the caller counts it, usually in tokens.
    scan: `Scan(text)`, when the caller has it.

    A best-first search over pieces: the fewer constructs are left open, and the fewer pieces that close none were
    needed, the earlier a text is looked at. Usually each construct costs one call of `check`, some 20 microseconds.
    """
    start = scan if scan is not None else Scan(text)
    if suffix and seam is None:
        seam = Seam(start, suffix)
    ways = [Way()] if seam is None else seam.ways
    order = itertools.count()
    queue: list[tuple[float, int, int, int, bytes, Way, Iterator]] = []
    checked: dict[bytes, tuple[int, bool]] = {}
    seen: set[tuple[bytes, Way]] = set()
    alike: Counter = Counter()

    def look_at_next(candidates: Iterator[tuple[float, int, int, bytes]], way: Way) -> None:
        for measure, fillers, hoped, closing in candidates:
            heapq.heappush(queue, (measure, next(order), fillers, hoped, closing, way, candidates))
            break

    plain = None
    if seam is not None:
        # What is wrong further out (a comma that calls for `->`) shows only at the end of a long suffix: so begin also
        # with what can be ended for sure.
        plain = find_closing(text, check, completions=completions, scan=start, tries=tries // 8)
    for rank, way in enumerate(ways):
        clean = [] if plain is None else [_clean_end(plain, way.common(start.open), start)]
        look_at_next(iter([(float(rank), 0, len(text), closing) for closing in (*completions, *clean)]), way)
    until = time.monotonic() + seconds
    while queue and len(seen) < tries and time.monotonic() < until:
        _, _, fillers, hoped, closing, way, siblings = heapq.heappop(queue)
        look_at_next(siblings, way)
        if (closing, way) in seen:
            continue
        seen.add((closing, way))
        if closing not in checked:
            checked[closing] = check(closing)
        accepted, whole = checked[closing]
        if accepted < len(closing):
            continue
        here = start.copy()
        here.feed(closing)
        distance = way.distance(here.open)
        fillers += distance > hoped  # `end` may turn out to be a part of `endend`
        if limit is not None and cost(closing) + (distance + 1) // 2 > limit:  # a token may close two constructs
            continue
        if seam is None:
            if whole:
                return closing
        elif distance == 0:
            for glue in dict.fromkeys((b"", way.glue)):
                accepted, whole = check(closing + glue + seam.suffix)
                if whole and (limit is None or cost(closing + glue) <= limit):
                    return closing + glue
            if fillers and accepted > len(closing) + 32:
                continue  # the seam fits; what does not is further out
        # Closings after which the scan sees the same mostly are the same to the grammar too.
        look = (len(here.open), here.last, here.unfinished[0], way)
        alike[look] += 1
        pieces = _pieces(text + closing, here, None if seam is None else way)
        if alike[look] > _ALIKE:
            pieces = (piece for piece in pieces if piece[1])
        look_at_next(_candidates(closing, fillers, distance, pieces), way)
    return None


def _clean_end(closing: bytes, depth: int, scan: Scan) -> bytes:
    """The part of a closing before it closes one of the outermost `depth` constructs."""
    here = scan.copy()
    for at in range(len(closing)):
        here.feed(closing[at : at + 1])
        if len(here.open) < depth:
            return closing[: at + 1].removesuffix(b"end").rstrip() if closing[at : at + 1] == b"d" else closing[:at]
    return closing


def _candidates(
    closing: bytes, fillers: int, distance: int, pieces: Iterable[tuple[bytes, int]]
) -> Iterator[tuple[float, int, int, bytes]]:
    """The closings one piece longer: place in the search, pieces that close nothing, distance if all is well."""
    for rank, (piece, nearer) in enumerate(pieces):
        filled = fillers + (not nearer)
        yield 3.0 * (distance - nearer) + 4 * filled + rank / 8, filled, distance - nearer, closing + piece


def _pieces(text: bytes, scan: Scan, way: Way | None) -> Iterator[tuple[bytes, int]]:
    """What may come next, the likeliest first, and how many constructs nearer to its end it brings the text."""
    if _lacks_bytes(text):
        yield from ((bytes([byte]), 0) for byte in (0xA9, *range(0x80, 0xC0)))
        return
    if scan.unfinished[0] == "comment":
        yield b"\n", 0
        return
    top = scan.open[-1] if scan.open else None
    in_text = top is not None and top.is_text
    moves = [(closer, 1) for closer in _closers(top, scan, text)] if top is not None else []
    if way is not None and way.common(scan.open) == len(scan.open):
        moves = _openers(way.needed[len(scan.open) :])
    is_due = scan.last in ("operator", "comma", "key", "dot", "begun") and not in_text
    if not is_due:
        yield from moves
    if way is None and not in_text and not is_due:
        yield from ((piece, 0) for piece in _REQUIRED.get(len(scan.open), ()))
    if way is not None and not in_text:
        if top is not None and top.kind == "fn" and not top.arrow:
            yield b" nil -> " if is_due else b" -> ", 0
        yield from ((joint, 0) for joint in _JOINTS)
    yield from ((filler, 0) for filler in (_IN_TEXT if in_text else _fillers(top, scan, text)))
    if is_due:
        yield from moves


def _closers(top: Open, scan: Scan, text: bytes) -> list[bytes]:
    if len(top.closer) == 3 and top.is_text:
        line = text[text.rfind(b"\n") + 1 :].strip(b" \t") if b"\n" in text[top.at :] else b"-"
        return [top.closer[len(line) :] if top.closer.startswith(line) else b"\n" + top.closer]
    if top.closer != b"end":
        return [top.closer]
    spaced = [b"end", b"\nend"] if text[-1:].isspace() else [b" end", b"end", b"\nend"]
    if top.kind == "fn" and not top.arrow:
        return [(b"" if text[-1:].isspace() else b" ") + b"-> nil end", *spaced]
    return spaced


def _openers(needed: Sequence[Open]) -> list[tuple[bytes, int]]:
    """What opens all that a suffix needs, in the likeliest way and in another, or the first of it."""
    if not needed:
        return []
    ways = [_opener(opened) for opened in needed]
    pieces = [(b"".join(way[0] for way in ways), len(ways)), (b"".join(way[-1] for way in ways), len(ways))]
    pieces += [(first, 1) for first in ways[0]]
    return [(joint + piece, gain) for piece, gain in pieces for joint in (b"", b"\n", b", ", b" ")]


def _opener(needed: Open) -> tuple[bytes, ...]:
    if needed.is_text:
        return (needed.kind.encode() + (b"\n" if len(needed.closer) == 3 else b""),)
    if needed.kind in ("#{", "%{"):
        return (needed.kind.encode(),)
    if needed.arrow:
        return (b"a do\n", b"fn ", b"a do\na -> ")
    return _OPENERS[needed.closer]


def _fillers(top: Open | None, scan: Scan, text: bytes) -> list[bytes]:
    """Pieces of code that close nothing, those that fit the state of the scan first."""
    kind, lexeme = scan.unfinished
    pieces: list[bytes] = []
    if scan.names_struct:
        pieces += (b"{}", b"a{}", b".a{}")
    if kind == "key":
        pieces += (b" nil", b": nil")  # `a: nil`, `a:: nil`
    if kind == "word":
        pieces += (word[len(lexeme) :] + _WORD_ENDS.get(word, b"") for word in _WORDS if word.startswith(lexeme))
    if kind in ("operator", "begun", "open", "close", "dot", "other"):
        pieces += (
            name[len(lexeme) :] + b" nil" for name in _LONG_OPERATORS if name.startswith(lexeme) and name != lexeme
        )
    if scan.last not in ("operator", "comma", "key", "dot", "begun") and top is not None:
        pieces += (b"-> nil",) if top.kind in ("fn", "do", "(") else _PAIRS
        pieces += (b"do end",)  # `f a, b` cannot be an element, `f a, b do end` can
    pieces += (*_AFTER.get(kind, ()), *_AFTER.get(scan.last, ()), *_OPERANDS, *_ANYWHERE)
    if not text[-1:].isspace():
        pieces = [spaced for piece in pieces for spaced in (piece, b" " + piece)]
    return list(dict.fromkeys(pieces))


def _lacks_bytes(text: bytes) -> bool:
    """Whether the text ends inside a character."""
    for back in range(1, min(3, len(text)) + 1):
        byte = text[-back]
        if byte >= 0xC0:
            return (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4) > back
        if byte < 0x80:
            break
    return False


_ALIKE = 12  # closings that look alike and are continued with pieces that close nothing
_RESERVE_TRIES = 200  # a search that fails costs them all; a token refused for want of more is no loss


def closing_bound(scan: Scan, seam: Seam | None = None) -> int:
    """Tokens with which the text can certainly be ended; generous, and far cheaper than a search.

    A construct takes at most 4 tokens (a line end, its indent, `end` or a quote, one operand before it), what is
    unfinished at most 12. The longest of 1,400 closings after real and random texts took a third of this, of 250 at
    seams three quarters.
    """
    depth = seam.distance(scan) if seam is not None else len(scan.open)
    return 12 + 4 * depth


class Reserve(NamedTuple):
    """A way to end the text within the tokens that remain, kept true from token to token.

    tokens: what ends this text, verified by the grammar; None while so many tokens remain (twice `closing_bound`) that
    none has been looked for. The invariant, for H tokens remaining: either H is at least twice the bound, or `tokens`
    is a verified closing of at most H tokens. A token is committed only if `after` has a reserve for the text behind
    it, so with `tokens` known the first of them is always an allowed next token, and with none left the text is whole.
    """

    tokens: tuple[int, ...] | None = None

    def after(
        self,
        token: int | None,
        text: bytes,
        scan: Scan,
        check: Callable[[bytes], tuple[int, bool]],
        remaining: int,
        encode: Callable[[bytes], list[int]],
        decode: Callable[[Sequence[int]], bytes],
        *,
        seam: Seam | None = None,
        completions: Sequence[bytes] = (b"",),
    ) -> "Reserve | None":
        """The reserve once `token` is committed, with `remaining` tokens to follow it; None to refuse the token.

        text, scan, check: behind the token. token None: at the start, where None means that the budget is too small.
        """
        if remaining >= 2 * closing_bound(scan, seam) and (seam is None or seam.is_kept(scan)):
            return Reserve()
        if self.tokens is not None:
            if self.tokens[:1] == (token,):
                return Reserve(self.tokens[1:])
            closing = decode(self.tokens)
            if len(self.tokens) <= remaining and _is_whole(closing, check, scan, seam):
                return self
        found = find_closing(
            text,
            check,
            seam=seam,
            completions=completions,
            cost=lambda closing: len(encode(closing)),
            limit=remaining,
            scan=scan,
            tries=4000 if self.tokens is None else _RESERVE_TRIES,  # the first must be found
        )
        return None if found is None else Reserve(tuple(encode(found)))


def _is_whole(closing: bytes, check: Callable[[bytes], tuple[int, bool]], scan: Scan, seam: Seam | None) -> bool:
    if seam is None:
        return check(closing)[1]
    here = scan.copy()
    here.feed(closing + seam.suffix)
    return not here.open and not here.is_broken and not here.unmatched and check(closing + seam.suffix)[1]
