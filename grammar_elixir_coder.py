"""Elixir's grammar as Lark text for llguidance: what a language model may write next and still be writing Elixir.

elixir_grammar("strict", "file")  # Lark text

Two modes from one source. `accept` takes the Elixir that Elixir 1.14 parses: for scoring a text, finding its first
error, following a prefix. `strict` takes less (no odd characters, ASCII names of at most 60 characters, nothing
deprecated), so that what is written under it parses: for generation. Where the modes differ, the rule says so:
`g.accept(...)` is what only accept mode takes.

How it fits Elixir. llguidance reads a text as lexemes (upper-case names, regular expressions) and checks their order
with an Earley parser (lower-case names). Its lexer looks only for the lexemes that may come next, takes the longest,
and never goes back: once it has read past the end of a lexeme towards a longer one that then does not come, the text is
refused. Where two lexemes end together, both are tried. This explains most of what looks unusual below:

- Blanks are lexemes of their own in front of things (`SPACE`, `EOL`), because in Elixir `f -1`, `f - 1` and `f-1`
  differ, as do `f(x)` and `f (x)`; behind operators, commas and openers they are part of the lexeme. So no rule for an
  expression begins with a blank.
- What can begin in the same way is cut where it parts: a float is `INTEGER FRACTION`, since `1.` may become `1..2`; a
  keyword key is a name and `COLON`, since `x:` may become `x::integer`.
- An interpolated text is `HEAD #{` code `} MIDDLE #{` code `} TAIL`: its braces belong to the lexemes around the code.
- A lexeme may stand somewhere only to be longer than another: where `+/2` may stand, `--1` is not two signs.

Operator precedence is left out: it decides what a text means, hardly ever whether it parses. What does decide is
whether an expression may take a `do` block or hold a call without parentheses: so are the classes of `_expressions`;
the names `matched`, `unmatched`, `no_parens_many` are those of Elixir's own `elixir_parser.yrl`.
"""

from __future__ import annotations

import re
from functools import lru_cache

MODES = ("accept", "strict")
STARTS = ("file", "module_body", "function", "expression", "test_file", "pattern", "typespec")

# ---------------------------------------------------------------------------------------------- operators and words

RESERVED = "true false nil and or in not when do end fn after else rescue catch __aliases__ __block__".split()
WORD_OPERATORS = ["and", "or", "in", "when"]
# `+` and `-` are apart: `f -1` calls f, `f - 1` subtracts. So is `//`, which needs a range before it.
BINARY_OPERATORS = """
    = == === =~ != !== < > <= >= || ||| && &&& <- \\\\ | :: |> <<< >>> <<~ ~>> <~ ~> <~> <|>
    ++ -- +++ --- <> .. * / ** ^^^
""".split()
# `//` binds less than these: behind one of them (`a ++ b..c//d`), what is left of `//` is not the range alone.
HIGH_OPERATORS = "++ -- +++ --- <> .. * / **".split()
UNARY_OPERATORS = "+ - ! ^ @ & ~~~".split()
# What may stand after `:` without quotes, before `:` as a key, and after a dot as a function's name.
OPERATOR_NAMES = sorted({*BINARY_OPERATORS, *UNARY_OPERATORS, "->"} - {"::"})
ATOM_OPERATORS = [*OPERATOR_NAMES, *"... . <<>> %{} % {} ..//".split()]
DOTTED_OPERATORS = sorted(set(OPERATOR_NAMES) - {"->", "&", ".."})


def _one_of(texts: list[str]) -> str:
    """A regular expression for one of these texts."""
    return "(" + "|".join(re.sub(r"([\\.+*?()|\[\]{}^$/])", r"\\\1", text) for text in texts) + ")"


# ---------------------------------------------------------------------------------------------- the public functions


@lru_cache
def elixir_grammar(mode: str = "strict", start: str = "file") -> str:
    """The grammar as Lark text for llguidance, for one of `MODES` and one of `STARTS`.

    Raises ValueError for a mode or a start that there is not.
    """
    if mode not in MODES:
        raise ValueError(f"no such grammar mode: {mode!r}; expected one of {', '.join(MODES)}")
    if start not in STARTS:
        raise ValueError(f"no such grammar start: {start!r}; expected one of {', '.join(STARTS)}")
    grammar = _Grammar(strict=mode == "strict")
    for section in (_blanks, _names, _numbers, _atoms, _strings, _sigils, _heredocs, _operators):
        section(grammar)
    for section in (_containers, _calls, _blocks, _primaries, _prefixes, _expressions, _statements):
        section(grammar)
    _entry_point(grammar, start)
    return grammar.text()


def frame(start: str) -> tuple[str, str]:
    """The text before and after, with which a text of this entry point is a whole file for Elixir's parser."""
    return {
        "file": ("", ""),
        "module_body": ("defmodule M do\n", "\nend"),
        "function": ("defmodule M do\n", "\nend"),
        "expression": ("", ""),
        "test_file": ("", ""),
        "pattern": ("case x do\n  ", " -> nil\nend"),
        "typespec": ("@type(t :: ", ")"),  # parentheses: nothing may follow on a line of its own
    }[start]


class _Grammar:
    """Rules and lexemes as they are written down, and the regular expressions that many lexemes share."""

    def __init__(self, strict: bool):
        self.strict = strict
        self.rules: dict[str, str] = {}
        self.lexemes: dict[str, str] = {}

        # Directional characters are refused by Elixir in strings and comments. Strict refuses control characters too,
        # and those that join the character after them into one grapheme, which would swallow a closing quote.
        self.odd = r"\u{202A}-\u{202E}\u{2066}-\u{2069}"
        if strict:
            self.odd += (
                r"\x00-\x08\x0b-\x1f\x7f-\x9f\u{2028}\u{2029}\u{600}-\u{605}\u{6DD}\u{70F}\u{890}\u{891}\u{8E2}\u{D4E}"
                r"\u{110BD}\u{110CD}\u{111C2}\u{111C3}\u{1193F}\u{11941}\u{11A3A}\u{11A84}-\u{11A89}\u{11D46}"
            )
        self.newline = r"\n" if strict else r"\r?\n"
        self.comment = rf"#[^\n{self.odd}]*"
        self.blank = rf"([ \t]|({self.comment})?{self.newline})*"  # none, one or many; comments end with their line
        self.some_blank = self.blank[:-1] + "+"

        # Elixir refuses names of more than 255 characters; 60 are enough for those that people write.
        self.name_rest = "[a-zA-Z0-9_]{0,60}" if strict else r"[_\p{L}\p{Nl}\p{Mn}\p{Mc}\p{Nd}\p{Pc}·]{0,254}"
        self.name_first = "[a-z_]" if strict else r"[_\p{Ll}\p{Lm}\p{Lo}\p{Nl}]"
        # What strict allows in a quoted atom, which has to be UTF-8 of at most 255 bytes.
        self.atom_text = rf'([^"\\#\n{self.odd}]|\\["\\enrst0]|\\x[0-7][0-9a-fA-F]){{0,60}}'
        self.word_first = "[a-zA-Z_]" if strict else r"[_\p{L}\p{Nl}]"  # of a key or an atom

    def rule(self, name: str, *alternatives: str) -> None:
        self.rules[name] = "\n    | ".join(alternatives)

    def lexeme(self, name: str, *patterns: str) -> None:
        """One regular expression, or several of which any will do."""
        pattern = re.sub(r"\\.|/", lambda found: r"\/" if found[0] == "/" else found[0], "|".join(patterns))
        self.lexemes[name] = f"/{pattern}/"

    def lexeme_of(self, name: str, expression: str) -> None:
        """A lexeme built from others with the operators `|`, `&` and `~` of the grammar's own language."""
        self.lexemes[name] = expression

    def accept(self, *alternatives: str) -> list[str]:
        """What accept mode takes besides."""
        return [] if self.strict else list(alternatives)

    def text(self) -> str:
        """The whole, less what cannot be reached from `start` (every lexeme there is makes the lexer slower)."""
        waiting = ["start"]
        used: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name not in used:
                used.add(name)
                body = self.rules.get(name) or re.sub(r"/(\\.|[^/\\])*/", " ", self.lexemes[name])
                waiting += re.findall(r"\b[A-Za-z]\w*\b", body)
        rules = "\n".join(f"{name}: {body}" for name, body in self.rules.items() if name in used)
        lexemes = "\n".join(f"{name}: {body}" for name, body in self.lexemes.items() if name in used)
        return f"%llguidance {{}}\n{rules}\n{lexemes}\n"


# ---------------------------------------------------------------------------------------------- blanks


def _blanks(g: _Grammar) -> None:
    g.lexeme("SPACE", r"[ \t]+")
    # Empty lines, comments and the next line's indentation are one lexeme; its last comment may be the text's last.
    g.lexeme("EOL", rf"([ \t]*({g.comment})?{g.newline})+[ \t]*({g.comment})?")
    g.lexeme("LAST_COMMENT", rf"[ \t]*{g.comment}")
    g.lexeme("SEMICOLON", rf";{g.blank}")
    g.lexeme("CONTINUATION", rf"\\{g.newline}[ \t]*")
    g.rule("gap", "SPACE", "EOL", *g.accept("SPACE? CONTINUATION"))
    g.rule("end_of_expression", "EOL", "gap? SEMICOLON")


# ---------------------------------------------------------------------------------------------- names


def _names(g: _Grammar) -> None:
    g.lexeme_of("IDENTIFIER", rf"/{g.name_first}{g.name_rest}[?!]?/ & ~/{'|'.join(RESERVED)}/")
    g.lexeme("ALIAS", r"[A-Z][a-zA-Z0-9_]" + ("{0,60}" if g.strict else "{0,254}"))
    g.lexeme("LITERAL_WORD", "true|false|nil")
    # After a dot and before a colon every word is a name: `range.end`, `[do: 1]`.
    g.lexeme_of("DOTTED_NAME", rf"/{g.name_first}{g.name_rest}[?!]?/ & ~/__aliases__|__block__/")
    g.lexeme("KEY_NAME", rf"{g.word_first}{g.name_rest}(@{g.name_rest})" + ("?[?!]?" if g.strict else "*[?!]?"))
    g.lexeme("COLON", rf":([ \t]|{g.newline}){g.blank}")
    g.lexeme("KEY_OPERATOR", _one_of(ATOM_OPERATORS))
    g.lexeme("KEY_QUOTED", f'"{g.atom_text}"')
    g.rule(
        "key",
        "KEY_NAME COLON",
        "KEY_QUOTED COLON",
        "double_quoted_with_code COLON",
        "KEY_OPERATOR COLON",
        *g.accept("double_quoted COLON", "single_quoted COLON"),
    )


# ---------------------------------------------------------------------------------------------- numbers and characters


def _numbers(g: _Grammar) -> None:
    if g.strict:  # a float beyond 1.8e308 is refused
        g.lexeme("INTEGER", r"[0-9]{1,40}|[0-9]{1,9}(_[0-9]{1,9}){1,9}")
        g.lexeme("FRACTION", r"\.[0-9]{1,40}([eE](-[0-9]{1,2}|\+?[0-9]{1,2}))?")
    else:
        g.lexeme("INTEGER", r"[0-9]+(_[0-9]+)*")
        g.lexeme("FRACTION", r"\.[0-9]+(_[0-9]+)*([eE][+\-]?[0-9]+(_[0-9]+)*)?")
    g.lexeme("RADIX_INTEGER", r"0x[0-9a-fA-F]+(_[0-9a-fA-F]+)*|0b[01]+(_[01]+)*|0o[0-7]+(_[0-7]+)*")
    if g.strict:
        g.lexeme("CHARACTER", rf"\?([^\\ \t\n{g.odd}]|\\[!-~])")
    else:
        g.lexeme("CHARACTER", r"\?([^\\]|\\[\d\D])")
    g.rule("number", "INTEGER FRACTION?", "RADIX_INTEGER", "CHARACTER")


# ---------------------------------------------------------------------------------------------- atoms


def _atoms(g: _Grammar) -> None:
    name = g.lexemes["KEY_NAME"].strip("/")
    operators = _one_of([*ATOM_OPERATORS, *g.accept("::")])
    g.lexeme("ATOM", rf":({name}|{operators})")
    g.rule("atom", "ATOM", "LITERAL_WORD")


# ---------------------------------------------------------------------------------------------- strings


def _quoted_text(g: _Grammar, closer: str, escape: str, interpolates: bool = True) -> str:
    """The inside of a quoted text up to its closer; a `#` that no brace follows is a character like any other."""
    if not interpolates:
        return rf"([^{closer}\\{g.odd}]|{escape})*"
    return rf"([^{closer}\\#{g.odd}]|{escape}|#+[^{{#\\{closer}{g.odd}]|#+{escape})*"


def _escape(g: _Grammar, first_digit: str = "[0-9a-fA-F]") -> str:
    """A backslash and what it escapes: `\\x` and `\\u` want hexadecimal digits, in strict those of a character.

    first_digit: of `\\x`, whose byte strict keeps to ASCII in single quotes, since a charlist has to be UTF-8.
    """
    digit = "[0-9a-fA-F]"
    four = rf"([0-9a-cefA-CEF]{digit}{{3}}|[dD][0-7]{digit}{{2}})"  # not half of a surrogate pair
    character = rf"\{{({digit}{{1,3}}|0{{0,2}}{four}|0?[1-9a-fA-F]{digit}{{4}}|10{digit}{{4}})\}}"
    code = rf"x{first_digit if g.strict else digit}{digit}|u({four}|{character})"
    if not g.strict:
        code += rf"|x{digit}|x{character}"  # deprecated
    return rf"\\([^xu{g.odd}]|{code})"


def _interpolated(g: _Grammar, name: str, opener: str, text: str, closer: str) -> None:
    """Lexemes NAME (no interpolation), NAME_HEAD, NAME_MIDDLE and NAME_TAIL; rules `name` and `name_with_code`."""
    upper = name.upper()
    g.lexeme(upper, rf"{opener}{text}#*{closer}")
    g.lexeme(f"{upper}_HEAD", rf"{opener}{text}#+\{{{g.blank}")
    g.lexeme(f"{upper}_MIDDLE", rf"\}}{text}#+\{{{g.blank}")
    g.lexeme(f"{upper}_TAIL", rf"\}}{text}#*{closer}")
    _interpolation(g, name)


def _interpolation(g: _Grammar, name: str) -> None:
    upper = name.upper()
    g.rule(name, upper, f"{name}_with_code")
    g.rule(f"{name}_with_code", f"{upper}_HEAD code gap? ({upper}_MIDDLE code gap?)* {upper}_TAIL")


def _strings(g: _Grammar) -> None:
    escape = _escape(g)
    g.rule("code", "(statements end_of_expression?)?")
    _interpolated(g, "double_quoted", '"', _quoted_text(g, '"', escape), '"')
    _interpolated(g, "single_quoted", "'", _quoted_text(g, "'", _escape(g, "[0-7]")), "'")
    if g.strict:
        g.lexeme("ATOM_QUOTED", f':"{g.atom_text}"')
        g.rule("atom_quoted", "ATOM_QUOTED", "atom_double_quoted_with_code")
        g.lexeme("QUOTED_CALL", f'"{g.atom_text}"')
    _interpolated(g, "atom_double_quoted", ':"', _quoted_text(g, '"', escape), '"')
    if not g.strict:
        _interpolated(g, "atom_single_quoted", ":'", _quoted_text(g, "'", escape), "'")
        g.rule("atom_quoted", "atom_double_quoted", "atom_single_quoted")
        texts = (rf"{quote}{_quoted_text(g, quote, escape)}#*{quote}" for quote in "\"'")
        g.lexeme("QUOTED_CALL", *texts)


# ---------------------------------------------------------------------------------------------- sigils

SIGIL_DELIMITERS = {
    "parenthesis": (r"\(", r"\)"),
    "bracket": (r"\[", r"\]"),
    "brace": (r"\{", r"\}"),
    "angle": ("<", ">"),
    "slash": ("/", "/"),
    "pipe": (r"\|", r"\|"),
    "double_quote": ('"', '"'),
    "single_quote": ("'", "'"),
}


def _sigils(g: _Grammar) -> None:
    escape = rf"\\[^{g.odd}]"  # a sigil keeps its escapes for the macro that reads it
    modifiers = "[a-zA-Z0-9]*"
    raw = []
    for delimiter, (opener, closer) in SIGIL_DELIMITERS.items():
        text = _quoted_text(g, closer, escape)
        _interpolated(g, f"sigil_{delimiter}", f"~[a-z]{opener}", text, closer + modifiers)
        raw.append(f"~[A-Z]{opener}{_quoted_text(g, closer, escape, interpolates=False)}{closer}{modifiers}")
    g.lexeme("RAW_SIGIL", *raw)
    g.rule("sigil", "RAW_SIGIL", *(f"sigil_{delimiter}" for delimiter in SIGIL_DELIMITERS))


# ---------------------------------------------------------------------------------------------- heredocs


def _heredocs(g: _Grammar) -> None:
    """Three quotes close a heredoc only where they begin a line. A regular expression cannot look back to the start of
    a line, so the inside is cut with `& ~`: any text that holds no newline, blanks and three quotes."""
    any_escape = rf"\\[^{g.odd}]"
    for kind, quote in (("double", '"'), ("single", "'")):
        upper, quotes = kind.upper(), quote * 3
        escape = _escape(g) if kind == "double" else _escape(g, "[0-7]")
        closer = rf"\\?{g.newline}[ \t]*{quotes}"
        g.lexeme(f"{upper}_CLOSED", rf"[^{g.odd}]*\n[ \t]*{quotes}[^{g.odd}]*")
        g.lexeme(
            f"{upper}_CLOSED_FIRST", rf"([^{g.odd}]*\n)?[ \t]*{quotes}[^{g.odd}]*"
        )  # right after the opener's line
        for name, opener, escaped, modifiers in (
            (f"{kind}_heredoc", quotes, escape, ""),
            (f"{kind}_sigil_heredoc", f"~[a-z]{quotes}", any_escape, "[a-zA-Z0-9]*"),
        ):
            text = f"/{_heredoc_text(g, escaped)}#*/"
            first, later = f"{text} & ~{upper}_CLOSED_FIRST", f"{text} & ~{upper}_CLOSED"
            _heredoc(g, name, opener, first, later, closer, modifiers)
        g.lexeme_of(f"{upper}_RAW_TEXT", rf"/([^\\{g.odd}]|{any_escape})*/ & ~{upper}_CLOSED_FIRST")
        opener = rf"~[A-Z]{quotes}[ \t]*{g.newline}"
        g.lexeme_of(
            f"RAW_{upper}_SIGIL_HEREDOC",
            rf"/{opener}[ \t]*{quotes}[a-zA-Z0-9]*/ | /{opener}/ {upper}_RAW_TEXT /{closer}[a-zA-Z0-9]*/",
        )
    g.rule(
        "heredoc",
        "double_heredoc",
        "single_heredoc",
        "double_sigil_heredoc",
        "single_sigil_heredoc",
        "RAW_DOUBLE_SIGIL_HEREDOC",
        "RAW_SINGLE_SIGIL_HEREDOC",
    )


def _heredoc_text(g: _Grammar, escape: str) -> str:
    return rf"([^\\#{g.odd}]|{escape}|#+[^{{#\\{g.odd}]|#+{escape})*"


def _heredoc(g: _Grammar, name: str, opener: str, first: str, later: str, closer: str, modifiers: str) -> None:
    upper = name.upper()
    quotes = opener[-3:]
    start = rf"{opener}[ \t]*{g.newline}"
    g.lexeme_of(f"{upper}_FIRST", first)
    g.lexeme_of(f"{upper}_LATER", later)
    g.lexeme_of(upper, rf"/{start}[ \t]*{quotes}{modifiers}/ | /{start}/ {upper}_FIRST /{closer}{modifiers}/")
    g.lexeme_of(f"{upper}_HEAD", rf"/{start}/ {upper}_FIRST /#\{{{g.blank}/")
    g.lexeme_of(f"{upper}_MIDDLE", rf"/\}}/ {upper}_LATER /#\{{{g.blank}/")
    g.lexeme_of(f"{upper}_TAIL", rf"/\}}/ {upper}_LATER /{closer}{modifiers}/")
    _interpolation(g, name)


# ---------------------------------------------------------------------------------------------- operators


def _operators(g: _Grammar) -> None:
    # No operator may run into what stands beside it. `end!=x` and `A!=x` read a name `end!`, so `!=` wants a blank
    # before it; `x:::y` reads an atom `:::`, so `::` has a lexeme for where it touches its right side
    # (`_operator_chain`).
    low = sorted(set(BINARY_OPERATORS) - {*HIGH_OPERATORS, "::"})
    g.lexeme("OPERATOR", rf"{_one_of(low)}{g.blank}|::{g.some_blank}")
    touching = sorted(set(low) - {"!=", "!=="}) if g.strict else low
    g.lexeme("OPERATOR_TOUCHING", rf"{_one_of(touching)}{g.blank}|::{g.some_blank}")
    g.lexeme("TYPE_TOUCHING", "::")
    g.lexeme("HIGH_OPERATOR", rf"{_one_of(HIGH_OPERATORS)}{g.blank}")
    g.lexeme("WORD_OPERATOR", rf"({'|'.join(WORD_OPERATORS)}){g.some_blank}")
    g.lexeme("WORD_OPERATOR_TIGHT", "|".join(WORD_OPERATORS))  # `and(b)`, `in[1, 2]`
    g.rule("tight_operand", "parenthesized", "list", "tight_argument")
    g.lexeme("WHEN", rf"when{g.some_blank}")
    g.lexeme("WHEN_ON_LINE", r"when[ \t]+")
    g.lexeme("NOT_SPACE", r"not[ \t]+")  # `not in` is one operator, and stands on one line
    g.lexeme("IN_WORD", "in")
    g.lexeme("IN", rf"in{g.some_blank}")
    g.lexeme("SIGN", r"[+\-]")
    g.lexeme("SIGN_AND_BLANK", rf"[+\-]{g.blank}")
    g.lexeme("SIGN_BEFORE_BLANK", rf"[+\-]{g.some_blank}")
    g.lexeme("RANGE", rf"\.\.{g.blank}")
    g.lexeme("STEP", rf"//{g.blank}")
    g.lexeme("ARROW", rf"->{g.blank}")
    g.lexeme("ASSOC", rf"=>{g.blank}")
    g.lexeme("PIPE", rf"\|{g.blank}")
    g.rule(
        "low_operator",
        "gap OPERATOR",
        "OPERATOR_TOUCHING",
        "gap WORD_OPERATOR",
        "gap NOT_SPACE IN",
        *g.accept("gap? (OPERATOR | TYPE_TOUCHING) CONTINUATION"),
    )
    g.rule("high_operator", "gap? HIGH_OPERATOR", *g.accept("gap? HIGH_OPERATOR CONTINUATION"))
    g.rule("operator", "low_operator", "high_operator")
    # After a name, a sign with a blank before it and none after it begins an argument: `f -1`.
    g.rule("sign_after_closed", "SPACE? SIGN_AND_BLANK")
    g.rule("sign_after_name", "SIGN", "SPACE? SIGN_BEFORE_BLANK")


# ---------------------------------------------------------------------------------------------- containers


def _containers(g: _Grammar) -> None:
    for name, opener, closer in (
        ("PARENTHESIS", r"\(", r"\)"),
        ("BRACKET", r"\[", r"\]"),
        ("BRACE", r"\{", r"\}"),
        ("BITSTRING", "<<", ">>"),
    ):
        g.lexeme(f"OPEN_{name}", opener + g.blank)
        g.lexeme(f"CLOSE_{name}", g.blank + closer)
    # What touches `<<` or `>>` must not make another operator with it: `<<<`, `<<~`, `>>>`.
    g.lexeme("OPEN_BITSTRING_TOUCHING", "<<")
    g.lexeme("OPEN_BITSTRING", "<<" + g.some_blank)
    g.lexeme("CLOSE_BITSTRING", ">>")
    g.lexeme("OPEN_MAP", r"%\{" + g.blank)
    g.lexeme("COMMA", rf"[ \t]*,{g.blank}")
    g.lexeme("PERCENT", "%")

    # A comma goes to the call without parentheses before it (`[f a, b]` would be `[f(a, b)]`), and Elixir refuses that
    # in a container: what stands before a comma is `any_before_comma`.
    g.rule("keywords", "(key any_before_comma COMMA)* key any")
    g.rule("keywords_of_container", "keywords", "(key any_before_comma COMMA)+")
    g.lexeme("ELLIPSIS", r"\.\.\.")  # a name to Elixir 1.14: `[...]`, `(... -> t)`; with a `.` behind it an operator
    # The whole range, `x[[.., 0]]`. Behind a name or a new line `..` would be the operator between two operands.
    g.lexeme("RANGE_ALONE", r"\.\.")
    g.rule("item_before_comma", "any_before_comma", "ELLIPSIS", "RANGE_ALONE")
    g.rule(
        "items",
        "(item_before_comma COMMA)* (any | ELLIPSIS | RANGE_ALONE)",
        "(item_before_comma COMMA)+ keywords_of_container?",
    )
    g.rule("list", "OPEN_BRACKET (items | keywords_of_container)? CLOSE_BRACKET")
    # `{}`, `<<>>` and `%{}` are also keys (`%{}: 1`), hence lexemes; the openers with blanks behind take `{ }`.
    g.lexeme("EMPTY_TUPLE", r"\{\}")
    g.lexeme("EMPTY_BITSTRING", "<<>>")
    g.lexeme("EMPTY_MAP", r"%\{\}")
    g.rule("tuple", "EMPTY_TUPLE", "OPEN_BRACE items? CLOSE_BRACE")
    g.rule("bitstring_item", "any_closed", "any_name")
    g.rule(
        "first_bitstring_item",
        "OPEN_BITSTRING_TOUCHING (touching_closed | touching_name)",
        "OPEN_BITSTRING bitstring_item",
    )
    g.rule(
        "bitstring",
        "first_bitstring_item (COMMA bitstring_item)* gap? CLOSE_BITSTRING",
        *g.accept("(OPEN_BITSTRING_TOUCHING | OPEN_BITSTRING) items? gap? CLOSE_BITSTRING"),
    )
    g.rule(
        "map",
        "EMPTY_MAP",
        "OPEN_MAP map_body? CLOSE_BRACE",
        "PERCENT struct_name gap? (EMPTY_TUPLE | OPEN_BRACE map_body? CLOSE_BRACE)",
    )
    g.lexeme("PIN_OR_AT", r"[\^@]")
    g.rule(
        "struct_name",
        "PIN_OR_AT? (ALIAS | IDENTIFIER arguments?) (DOT (ALIAS | DOTTED_NAME))*",
        "ATOM",
        "ATOM_QUOTED" if g.strict else "ATOM_DOUBLE_QUOTED",
        *g.accept("alias", "name", "call", "PREFIX (alias | name | call)"),
    )
    g.rule("pair", "any gap? ASSOC any", "call", "name", *g.accept("one_argument_call"))
    g.rule("pair_before_comma", "any gap? ASSOC any_before_comma", "call", "name")
    # Left of the pipe no operator that binds as loosely as the pipe, and no call without parentheses: it would take it.
    updating = sorted({*BINARY_OPERATORS} - {"|", "::", "<-", "\\\\", ".."})
    g.lexeme("UPDATE_OPERATOR", rf"{_one_of(updating)}{g.blank}", rf"(and|or|in){g.some_blank}")
    g.rule("updated", f"updated_operand ({'gap' if g.strict else 'gap?'} UPDATE_OPERATOR updated_operand)*")
    g.rule("updated_operand", "closed_operand", "name_operand", "block_operand")
    g.rule("map_body", "map_items", "updated gap? PIPE map_items")
    g.rule(
        "map_items",
        "keywords_of_container",
        "(pair_before_comma COMMA)* pair",
        "(pair_before_comma COMMA)+ keywords_of_container?",
    )


# ---------------------------------------------------------------------------------------------- calls


def _calls(g: _Grammar) -> None:
    """`name` is what arguments without parentheses may follow; `call` ends with a closing parenthesis.

    Each comes twice, by what it begins with: `..._word` begins with a letter, a digit or a quote, and may touch a `<<`
    or `::` before it. What else there is could be read together with it: `<<<`, `<<~`, `:::`.
    """
    g.lexeme("DOT", rf"\.{g.blank}")
    g.lexeme("DOTTED_OPERATOR", _one_of(DOTTED_OPERATORS))
    g.lexeme("DOTTED_REFERENCE", rf"{_one_of(DOTTED_OPERATORS)}/[0-9]+")  # `&Kernel.+/2`
    g.rule("arguments", "OPEN_PARENTHESIS call_items? CLOSE_PARENTHESIS")
    g.rule("argument_before_comma", "any_before_comma", "RANGE_ALONE")
    g.rule(
        "call_items",
        "(argument_before_comma COMMA)* (any | RANGE_ALONE)",
        "(argument_before_comma COMMA)* keywords",
        "no_parens_many",
        *g.accept("(any_before_comma COMMA)* (key any_before_comma COMMA)+"),
    )
    g.rule(
        "subscript", "OPEN_BRACKET (any | RANGE_ALONE | any_before_comma COMMA | keywords_of_container) CLOSE_BRACKET"
    )
    for kind in ("word", "other"):
        names = ["IDENTIFIER"] if kind == "word" else g.accept("ELLIPSIS")
        dotted = f"primary_{kind} gap? DOT"
        g.rule(f"name_{kind}", *names, f"{dotted} (DOTTED_NAME | QUOTED_CALL)", *g.accept(f"{dotted} DOTTED_OPERATOR"))
        # `f(1)(2)` is as far as Elixir goes: a third group of arguments is refused.
        g.rule(f"first_call_{kind}", f"name_{kind} arguments", f"{dotted} DOTTED_OPERATOR? arguments")
        g.rule(f"call_{kind}", f"first_call_{kind} arguments?")
        closed_subscript = f"closed_{kind} {'' if g.strict else 'SPACE? '}subscript"
        g.rule(f"access_{kind}", f"name_{kind} subscript", closed_subscript)
        # An atom has no aliases inside (`:a.B`), and in parentheses it is still an atom.
        odd_parents = g.accept("number") if kind == "word" else []
        g.rule(f"parent_{kind}", *(f"{each}_{kind}" for each in ("alias", "name", "call", "access")), *odd_parents)
        g.rule(f"alias_{kind}", *(["ALIAS"] if kind == "word" else []), f"parent_{kind} gap? DOT ALIAS")
        g.rule(f"multi_alias_{kind}", f"parent_{kind} gap? DOT OPEN_BRACE items? CLOSE_BRACE")
        g.rule(f"primary_{kind}", f"closed_{kind}", f"name_{kind}")
    for rule in ("name", "call", "alias", "closed"):
        g.rule(rule, f"{rule}_word", f"{rule}_other")


# ---------------------------------------------------------------------------------------------- blocks


def _blocks(g: _Grammar) -> None:
    opened = rf"({g.some_blank}|{g.blank};{g.blank})"  # a semicolon may follow like a new line
    g.lexeme("DO", rf"do{opened}")
    g.lexeme("END", "end")
    g.lexeme("SECTION", rf"(else|rescue|catch|after){opened}")
    g.lexeme("FN", rf"fn{opened}")
    g.lexeme("FN_WORD", "fn")  # before `(` or `->`
    # Something has to part an expression from `end`: `1end` is no number and no `end`.
    g.rule("separator", "end_of_expression", "SPACE")
    g.rule("do_block", "DO body? section* END")
    g.rule("section", "SECTION body?")
    g.rule("body", "(statements | clauses) separator", "clauses_ending_in_arrow SEMICOLON?")
    g.rule(
        "block",
        "name SPACE do_block",
        "name SPACE call_arguments gap do_block",
        "call gap do_block",
        *g.accept("name tight_arguments gap do_block"),
    )
    g.rule("fn_clauses", "clauses separator", "clauses_ending_in_arrow SEMICOLON?")
    tight = "(clause_parentheses gap?)? ARROW statements next_clause* separator"  # `fn(x) -> 1 end`, `fn-> 1 end`
    g.rule("fn", "FN fn_clauses END", f"FN_WORD {tight if g.strict else 'fn_clauses'} END")
    # An arrow takes the newline before it away, so that a clause without a head can only come first.
    g.rule("clauses", "(clause | ARROW statements) next_clause*")
    g.rule("next_clause", "end_of_expression clause", *g.accept("gap? SEMICOLON ARROW statements"))
    g.rule("clause", "clause_head gap? ARROW statements", *g.accept("clause_head gap? ARROW SEMICOLON clause"))
    g.rule("clauses_ending_in_arrow", "ARROW", "(clauses end_of_expression)? clause_head gap? ARROW")
    g.rule(
        "clause_head",
        "matched",
        "no_parens_many",
        "no_parens_keywords",
        "many_arguments",
        "clause_parentheses",
        "ELLIPSIS",
    )
    g.rule(
        "clause_parentheses",
        "OPEN_PARENTHESIS (matched | many_arguments | no_parens_keywords)? CLOSE_PARENTHESIS (gap WHEN_ON_LINE any)?",
    )


# ---------------------------------------------------------------------------------------------- primaries


def _primaries(g: _Grammar) -> None:
    """`closed` ends in a way that no argument without parentheses can follow; `name` may take one."""
    heads = {
        "word": ["LITERAL_WORD", "number", "double_quoted", "single_quoted"],
        "other": [
            *["ATOM", "atom_quoted", "sigil", "heredoc", "list", "tuple", "bitstring", "map", "fn", "parenthesized"],
            *g.accept("OPERATOR_REFERENCE", "(CAPTURE | CAPTURE_BLANK) SLASH_REFERENCE"),
        ],
    }
    for kind, heads_of_kind in heads.items():
        chains = [f"{rule}_{kind}" for rule in ("call", "access", "alias", "multi_alias")]
        g.rule(f"closed_{kind}", *heads_of_kind, *chains, f"primary_{kind} gap? DOT DOTTED_REFERENCE")
    # `+/2`, of `&+/2`. In accept mode it stands where an expression may begin, so that `--1` and `<<<<` are read as
    # Elixir reads them: the longest operator first. Strict has it behind `&` only, and not `&&&&/2`, which is `&&&` and
    # `&`.
    g.lexeme("SLASH_REFERENCE", r"//[ \t]*[0-9]+")  # elsewhere the step of a range
    references = sorted(set(OPERATOR_NAMES) - ({"&", "&&&"} if g.strict else {"&", "/"}))
    g.lexeme("OPERATOR_REFERENCE", rf"({_one_of(references)}|and|or|in|not|when)[ \t]*/[ \t]*[0-9]+")
    g.rule(
        "parenthesized",
        "OPEN_PARENTHESIS in_parentheses CLOSE_PARENTHESIS",
        *g.accept(
            "OPEN_PARENTHESIS RANGE_ALONE? CLOSE_PARENTHESIS",
            "OPEN_PARENTHESIS SEMICOLON in_parentheses? CLOSE_PARENTHESIS",
        ),
    )
    g.rule("in_parentheses", "(statements | clauses) end_of_expression?", "clauses_ending_in_arrow SEMICOLON?")


# ---------------------------------------------------------------------------------------------- prefixes


def _prefixes(g: _Grammar) -> None:
    """Unary operators. Those that could grow into another operator (`--`, `&&`, `^^^`) may not touch.

    The first argument of a call without parentheses has its own: in `f - 1` and `f -(1)` the sign is an operator of
    two, to Elixir, and no comma can follow.
    """
    run = rf"([+\-^]?[!@]{g.blank})+[+\-^]?"
    sign = r"[+\-]|\^[+\-]?"
    if not g.strict:
        tight = r"(\+|-|\+-|-\+|\^[+\-]?)"
        sign = rf"({tight}{g.some_blank})*{tight}{g.blank}"
    g.lexeme("PREFIX", rf"{run}|{sign}")
    g.lexeme("ARGUMENT_PREFIX", rf"{run}|\^[+\-]?" + ("" if g.strict else r"|[+\-]"))
    g.lexeme("NOT", rf"not{g.some_blank}")
    g.lexeme("NOT_TIGHT", "not")
    g.lexeme("CAPTURE", "&")
    g.lexeme("CAPTURE_BLANK", rf"&{g.some_blank}")
    g.lexeme("TILDES", rf"~~~{g.blank}")
    loose = "(NOT | CAPTURE_BLANK | TILDES)"  # anything may follow these
    for argument, prefix in (("", "PREFIX"), ("argument_", "ARGUMENT_PREFIX")):
        sign, capture, word = (f"{argument}prefix_{kind}" for kind in ("sign", "capture", "word"))
        g.rule(f"{argument}prefix", sign, capture, word)
        g.rule(sign, prefix, f"{word} PREFIX", f"{capture} PREFIX")
        g.rule(capture, "CAPTURE", f"{word} CAPTURE", f"{sign} CAPTURE")
        g.rule(word, loose, f"{word} {loose}", f"{sign} {loose}", f"{capture} (NOT | TILDES)")


# ---------------------------------------------------------------------------------------------- expressions


def _expressions(g: _Grammar) -> None:
    """matched: no `do` block and no call without parentheses that has several arguments.
    any: matched or unmatched, which may hold `do` blocks. any_expression: also ends in such a call.
    argument_matched: a matched expression that is the first of several arguments without parentheses.
    """
    g.rule("block_operand", "block", "prefix block")
    _operator_chain(g, "matched", operands="closed_operand")
    _operator_chain(g, "any", operands="(closed_operand | block_operand)")
    _operator_chain(g, "argument_matched", operands="closed_operand", first="argument_")
    _operator_chain(g, "touching", operands="(closed_operand | block_operand)", first="touching_")
    g.rule(
        "touching_closed_operand",
        *("closed_word", "ATOM (gap? DOT DOTTED_NAME arguments)?", "parenthesized", "list", "tuple", "map"),
        "(PREFIX | SIGN | CAPTURE) (closed_word | parenthesized)",
    )
    g.rule("touching_name_operand", "(PREFIX | SIGN)? name_word")
    if not g.strict:
        g.rules["any_before_comma"] += " | RANGE_ALONE"
    for argument in ("", "argument_"):
        prefix, matched = f"{argument}prefix", f"{argument}matched"
        signed = g.strict and argument  # see _prefixes: here a sign may come before a number or a plain name only
        g.rule(
            f"{argument}closed_operand",
            "closed",
            f"{prefix} closed",
            f"{prefix}? NOT_TIGHT parenthesized",
            "CAPTURE OPERATOR_REFERENCE",
            *(["SIGN number", "SIGN IDENTIFIER arguments"] if signed else []),
            *([] if argument else g.accept("signed_container")),
        )
        g.rule(f"{argument}name_operand", "name", f"{prefix} name", *(["SIGN IDENTIFIER"] if signed else []))
        g.rule(f"{argument}one_argument_operand", f"{prefix}? one_argument_call")
        g.rule(f"{argument}many_arguments_operand", f"{prefix}? many_arguments_call")
        g.rule(
            f"{argument}no_parens_many",
            f"{argument}many_arguments_operand",
            f"{matched}_open many_arguments_operand",
            f"({matched}_closed | {matched}_name) gap WHEN no_parens_keywords",
        )
    # The longer lexeme keeps `-` from being a prefix in `f -(1), 2`, which Elixir takes for a subtraction.
    g.lexeme("SIGN_PARENTHESIS", rf"[+\-]\({g.blank}")
    g.lexeme("SIGN_BRACKET", rf"[+\-]\[{g.blank}")
    g.rule(
        "signed_container",
        "SIGN_PARENTHESIS in_parentheses? CLOSE_PARENTHESIS",
        "SIGN_BRACKET (items | keywords_of_container)? CLOSE_BRACKET",
        "signed_container (subscript | gap? DOT DOTTED_NAME arguments?)",
    )
    # Only a range may stand left of `//`, so one that has a step begins an expression or comes after a weaker operator.
    # Its ends are sums of products, which bind more than the range: `n - 1..0//-1`.
    g.lexeme("TIMES_OR_OVER", rf"(\*\*?|/){g.blank}")
    for argument in ("", "argument_"):
        begin = f"{argument}range_begin"
        _sum(g, begin, (f"{argument}closed_operand", f"{argument}name_operand"), ("closed_operand", "name_operand"))
        both = f"({begin}_closed | {begin}_name)"
        g.rule(f"{argument}stepped", f"{both} gap? RANGE (range_end_closed | range_end_name) gap? STEP")
    # A `&` would take `//` into itself, but for `&1`.
    ends = ("((PREFIX | SIGN)? closed | CAPTURE INTEGER)", "(PREFIX | SIGN)? name")
    _sum(g, "range_end", ends, ends)
    g.rule("one_argument_call", "name SPACE (matched | no_parens_keywords)", *g.accept("name tight_matched"))
    g.rule("many_arguments_call", "name SPACE (argument_many | argument_no_parens_many)", *g.accept("name tight_many"))
    # `foo"bar"` and `sigil{1}` are calls without parentheses too.
    g.rule("tight_argument", "double_quoted", "single_quoted", "sigil", "tuple", "map", "bitstring")
    g.rule("tight_matched", "tight_argument ((operator | sign_after_closed) matched)?")
    g.rule(
        "tight_many",
        "tight_argument ((operator | sign_after_closed) matched_before_comma)? COMMA"
        " (matched | no_parens_keywords | many_arguments)",
    )
    g.rule("tight_arguments", "tight_matched", "tight_many")
    g.rule(
        "any_expression",
        "any_closed",
        "any_name",
        "any_empty",
        "any_open? one_argument_operand",
        "any_open? many_arguments_operand",
        "(any_closed | any_name) gap WHEN no_parens_keywords",
    )
    g.rule("many_arguments", "(matched_before_comma COMMA)+ (matched | no_parens_keywords)")
    g.rule(
        "argument_many",
        "argument_matched_before_comma COMMA (matched_before_comma COMMA)* (matched | no_parens_keywords)",
    )
    g.rule("call_arguments", "argument_matched", "no_parens_keywords", "argument_many", "argument_no_parens_many")
    g.rule(
        "no_parens_keywords",
        "(key matched_before_comma COMMA)* key matched",
        *g.accept("(key matched_before_comma COMMA)* key no_parens_many"),
    )


def _sum(g: _Grammar, kind: str, first: tuple[str, str], later: tuple[str, str]) -> None:
    """Operands, each a closed one or a name, joined by the operators that bind more than a range."""
    opened = f"{kind}_open"
    g.rule(f"{kind}_closed", first[0], f"{opened} {later[0]}")
    g.rule(f"{kind}_name", first[1], f"{opened} {later[1]}")
    g.rule(
        opened,
        f"{kind}_closed (gap? TIMES_OR_OVER | sign_after_closed)",
        f"{kind}_name (gap? TIMES_OR_OVER | sign_after_name)",
    )


def _operator_chain(g: _Grammar, kind: str, operands: str, first: str = "") -> None:
    """Operands with operators between them. What it ends in decides what may follow, so there is a rule for each end:
    a closed operand, a name, an operator (a weak one: `low`), `::`, `<<>>`, a call without parentheses.

    first: what the operands are called where the chain begins, if not all may stand there.
    """
    closed, name, empty, low, type_, opened = (
        f"{kind}_{end}" for end in ("closed", "name", "empty", "low", "type", "open")
    )
    first_closed = f"{first}closed_operand" if first else operands
    g.rule(
        closed,
        first_closed,
        f"{opened} {operands}",
        f"{type_} (PREFIX? closed_word | parenthesized | list | tuple | map)",
        *g.accept(
            f"{opened} RANGE_ALONE", f"({closed} | {name}) gap (WORD_OPERATOR_TIGHT | NOT_SPACE IN_WORD) tight_operand"
        ),
        *g.accept(f"{type_} {operands}"),
    )
    g.rule(
        name,
        f"{first}name_operand",
        f"{opened} name_operand",
        f"{type_} {'PREFIX? name_word' if g.strict else 'name_operand'}",
    )
    # Neither an operator nor `>>` may touch an empty bitstring, nor may it touch `<<`.
    g.rule(empty, f"{opened} EMPTY_BITSTRING", *(["EMPTY_BITSTRING"] if kind != "touching" else []))
    g.rule(low, f"({closed} | {name}) low_operator", f"{empty} gap (OPERATOR | HIGH_OPERATOR | WORD_OPERATOR)")
    g.rule(type_, f"({closed} | {name}) gap? TYPE_TOUCHING")
    g.rule(
        opened,
        low,
        f"{closed} (high_operator | sign_after_closed)",
        f"{name} (high_operator | sign_after_name)",
        f"{low} stepped",
        *([f"{first}stepped"] if kind != "touching" else []),
        *g.accept(f"{empty} operator"),
    )
    g.rule(f"{kind}_before_comma", closed, name, empty)
    if kind != "touching":
        g.rule(kind, f"{kind}_before_comma", f"{first}one_argument_operand", f"{opened} one_argument_operand")


# ---------------------------------------------------------------------------------------------- statements


def _statements(g: _Grammar) -> None:
    g.rule("statements", "any_expression (end_of_expression any_expression)*")


# ---------------------------------------------------------------------------------------------- entry points


def _entry_point(g: _Grammar, start: str) -> None:
    """accept keeps what Elixir would parse in that place; strict, and a function in both modes, what belongs there."""
    if start == "function":
        _definitions(g)
        whole = "function (end_of_expression function)*"
    elif g.strict and start == "pattern":
        _patterns(g)
        whole = "pattern (gap WHEN matched)?"
    elif g.strict and start == "typespec":
        _types(g)
        whole = "type (gap WHEN type_keywords)?"
    elif start in ("pattern", "typespec"):
        whole = "matched" if start == "pattern" else "any_expression"
    elif g.strict and start == "module_body":
        _module_items(g)
        whole = "module_item (end_of_expression module_item)*"
    elif g.strict and start == "test_file":
        _module_items(g)
        _test_module(g)
        whole = "(module_item end_of_expression)* test_module (end_of_expression module_item)*"
    else:
        whole = "statements"
    if start in ("pattern", "typespec"):  # part of a line: no comment can follow
        g.rule("start", f"gap? {whole} SPACE?")
    else:
        g.rule("start", f"gap? SEMICOLON? ({whole} end_of_expression?)? SPACE? LAST_COMMENT?")


def _attributes(g: _Grammar) -> None:
    g.lexeme("AT", "@")
    g.rule("attribute", "AT IDENTIFIER SPACE call_arguments", "AT IDENTIFIER arguments", "AT block")


def _definitions(g: _Grammar) -> None:
    """`def` and its like: a name or an operator with its arguments, perhaps a guard, and a body if it is not a head."""
    _attributes(g)
    g.lexeme("DEF", "def|defp|defmacro|defmacrop")
    g.rule("function", "(attribute end_of_expression)* definition")
    g.rule(
        "head",
        "IDENTIFIER (arguments arguments?)?",
        "IDENTIFIER (operator | sign_after_name) IDENTIFIER",
        "PREFIX IDENTIFIER",
    )
    g.rule(
        "definition",
        "DEF SPACE head (gap WHEN matched)? (gap do_block)?",
        "DEF SPACE head (gap WHEN matched_before_comma)? COMMA no_parens_keywords",
        *g.accept("DEF SPACE call_arguments (gap do_block)?", "DEF arguments (gap do_block)?"),
    )


def _module_items(g: _Grammar) -> None:
    """What has a meaning where functions are defined: attributes, calls of macros, and matches (for `unquote`)."""
    _attributes(g)
    g.lexeme("EQUALS", rf"={g.some_blank}")  # `=~s()` would be another operator
    g.rule("macro", "IDENTIFIER", "(ALIAS | IDENTIFIER) (DOT ALIAS)* DOT DOTTED_NAME", "ATOM DOT DOTTED_NAME")
    g.rule(
        "module_item",
        "attribute",
        "macro SPACE do_block",
        "macro SPACE call_arguments (gap do_block)?",
        "macro arguments arguments? (gap do_block)?",
        "(IDENTIFIER | list | tuple | bitstring) SPACE EQUALS any_expression",
    )


def _test_module(g: _Grammar) -> None:
    """A module that uses something: which case template it is does not matter, `use ExUnit.Case` or one's own."""
    g.lexeme("DEFMODULE", "defmodule")
    g.lexeme("USE", "use")
    g.rule("test_module", "DEFMODULE SPACE ALIAS (DOT ALIAS)* SPACE DO test_body separator END")
    g.rule("test_body", "(module_item end_of_expression)* use (end_of_expression module_item)*")
    g.rule("use", "USE SPACE call_arguments", "USE arguments")


def _patterns(g: _Grammar) -> None:
    """Patterns without calls: of macros that may stand in a pattern there are few in what people write."""
    g.lexeme("PATTERN_OPERATOR", rf"(<>|\+\+|\.\.){g.blank}|={g.some_blank}")  # `=~s()` would be another
    g.lexeme("PIN", r"\^")
    g.lexeme("AT", "@")
    g.lexeme("MINUS", "-")
    g.lexeme("TYPE", rf"::{g.blank}")
    g.lexeme("TIMES", r"\*")
    g.rule("pattern", "pattern_operand (gap? PATTERN_OPERATOR pattern_operand)*", "IDENTIFIER gap IN pattern_operand")
    g.rule(
        "pattern_operand",
        "MINUS? number",
        "atom",
        "ATOM_QUOTED",
        "DOUBLE_QUOTED",
        "SINGLE_QUOTED",
        "RAW_SIGIL",
        *(f"SIGIL_{delimiter.upper()}" for delimiter in SIGIL_DELIMITERS),
        "(PIN | AT)? IDENTIFIER",
        "pattern_alias",
        "OPEN_PARENTHESIS pattern CLOSE_PARENTHESIS",
        "OPEN_BRACKET (pattern_items (gap? PIPE pattern)? | (pattern_items COMMA)? pattern_keywords)? CLOSE_BRACKET",
        "EMPTY_TUPLE",
        "OPEN_BRACE pattern_items CLOSE_BRACE",
        "EMPTY_MAP",
        "(OPEN_MAP | PERCENT (PIN? IDENTIFIER | pattern_alias) OPEN_BRACE) pattern_pairs? CLOSE_BRACE",
        "EMPTY_BITSTRING",
        "(OPEN_BITSTRING | OPEN_BITSTRING_TOUCHING) (segment COMMA)* segment gap? CLOSE_BITSTRING",
    )
    g.rule("pattern_alias", "(ALIAS | IDENTIFIER DOT ALIAS) (DOT ALIAS)*")
    g.rule("pattern_items", "pattern (COMMA pattern)*")
    g.rule("pattern_keywords", "pattern_key pattern (COMMA pattern_key pattern)*")
    g.rule("pattern_key", "(KEY_NAME | KEY_QUOTED) COLON")
    g.rule("pattern_pairs", "pattern_pair (COMMA pattern_pair)* (COMMA pattern_keywords)?", "pattern_keywords")
    g.rule("pattern_pair", "pattern_operand gap? ASSOC pattern")
    g.rule("segment", "segment_value (gap? TYPE segment_type)?")
    g.rule(
        "segment_value",
        "MINUS? number",
        "DOUBLE_QUOTED",
        "(PIN | AT)? IDENTIFIER",
        "OPEN_PARENTHESIS pattern CLOSE_PARENTHESIS",
    )
    g.rule("segment_type", "segment_modifier (MINUS segment_modifier)*")
    g.rule("segment_modifier", "IDENTIFIER arguments?", "AT IDENTIFIER", "INTEGER", "IDENTIFIER TIMES INTEGER")


def _types(g: _Grammar) -> None:
    """Types as `@type` and `@spec` have them on the right, with the constraints behind `when` that `@spec` may have."""
    g.lexeme("TYPE_OPERATOR", rf"(\||\.\.){g.blank}|::{g.some_blank}")  # `:::a` would be another atom
    g.lexeme("COLONS", rf"::{g.blank}")
    g.lexeme("MINUS", "-")
    g.lexeme("TIMES", r"\*")
    g.rule("type", "type_operand (gap? TYPE_OPERATOR type_operand)*")
    g.rule("types", "type (COMMA type)*")
    g.rule("type_keywords", "(KEY_NAME | KEY_QUOTED) COLON type (COMMA (KEY_NAME | KEY_QUOTED) COLON type)*")
    g.rule("type_module", "(ALIAS | IDENTIFIER DOT ALIAS) (DOT ALIAS)*")
    g.rule("type_pairs", "type_pair (COMMA type_pair)* (COMMA type_keywords)?", "type_keywords")
    g.rule("type_pair", "type gap? ASSOC type")
    g.rule(
        "type_operand",
        "MINUS? number",
        "atom",
        "ATOM_QUOTED",
        "type_module",
        "((type_module | ATOM | IDENTIFIER) DOT)? IDENTIFIER (OPEN_PARENTHESIS types? CLOSE_PARENTHESIS)?",
        "OPEN_PARENTHESIS type CLOSE_PARENTHESIS",
        "OPEN_PARENTHESIS ((types | ELLIPSIS) gap?)? ARROW type CLOSE_PARENTHESIS",
        "OPEN_BRACKET (types (COMMA ELLIPSIS | COMMA type_keywords)? | type_keywords)? CLOSE_BRACKET",
        "EMPTY_TUPLE",
        "OPEN_BRACE types CLOSE_BRACE",
        "EMPTY_MAP",
        "(OPEN_MAP | PERCENT (IDENTIFIER | type_module) OPEN_BRACE) type_pairs? CLOSE_BRACE",
        "EMPTY_BITSTRING",
        "(OPEN_BITSTRING | OPEN_BITSTRING_TOUCHING) type_bits (COMMA type_bits)? gap? CLOSE_BITSTRING",
    )
    g.rule("type_bits", "IDENTIFIER gap? COLONS (INTEGER | IDENTIFIER TIMES INTEGER)")
