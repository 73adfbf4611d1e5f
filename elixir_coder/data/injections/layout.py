"""Faults of layout and of lexical style: spaces, blank lines, long lines, numbers, quotes, parentheses."""

from __future__ import annotations

import re
from itertools import pairwise
from random import Random

from elixir_coder.data.injections.rule import Fault, Piece, choose, rule, with_helper
from elixir_coder.data.injections.text import Text
from elixir_coder.data.injections.words import Words

_OPERATORS = r"(?<=[\w)\]}\"]) (\+|-|\*|/|<>|\+\+|==|!=|<=|>=|<|>|=|\|>|&&|\|\|) (?=[\w(\[{\":@%~])"


@rule(
    "Readability.SpaceAfterCommas",
    "There is no space after the comma in `$shown`; write one after each comma, as `mix format` does.",
    "Line $line packs its elements together without a space after the comma. Put one there.",
    "`$shown` lacks the space that belongs after a comma, which makes the line hard to read; add it.",
    raw=True,
)
def comma_without_space(piece: Piece, random: Random) -> Fault | None:
    site = choose(random, piece.text.find(r", (?=[\w\[{\":@%&(])"))
    if site is None:
        return None
    text = piece.text
    start, end = _line_around(text, site.start())
    places = [m for m in text.find(r", (?=[\w\[{\":@%&(])") if start <= m.start() < end]
    chosen = places if random.random() < 0.3 else [site]
    before = piece.code
    for place in reversed(chosen):
        before = before[: place.start()] + "," + before[place.end() :]
    return Fault(code=piece.code, before=before, names=_where(before, site.start()))


@rule(
    "Readability.TrailingWhiteSpace",
    "Line $line ends in spaces that nobody sees and every diff shows; strip them.",
    "There is white space at the end of the line `$shown`. Remove it.",
    "Spaces trail behind `$shown`; an editor or `mix format` takes them away.",
    raw=True,
)
def trailing_space(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    numbers = [
        n for n, line in enumerate(text.bare[:-1]) if line.strip() and "\x01" not in line[:1] and '"' not in line
    ]
    chosen = sorted(random.sample(numbers, min(len(numbers), random.choice((1, 1, 2, 3)))))
    if not chosen:
        return None
    lines = list(text.lines)
    for number in chosen:
        lines[number] += " " * random.randint(1, 4)
    names = {"line": str(chosen[0] + 1), "shown": lines[chosen[0]].strip()}
    return Fault(code=piece.code, before="\n".join(lines), names=names)


@rule(
    "Readability.RedundantBlankLines",
    "$count empty lines follow each other after line $line; one is enough to set things apart.",
    "Behind `$shown` there are $count blank lines in a row. Leave a single one.",
    "A gap of $count blank lines adds nothing but scrolling; keep one of them.",
    raw=True,
)
def blank_lines(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    numbers = [n for n in range(1, len(text.bare) - 1) if not text.bare[n]]
    ends = [n + 1 for d in text.definitions for n in text.statements(d)[:-1] if text.bare[n + 1 : n + 2] != [""]]
    ends = [n for n in ends if any(n == s for d in text.definitions for s in text.statements(d))]
    places = numbers or ends
    at = choose(random, places)
    if at is None:
        return None
    is_blank = not text.bare[at]
    extra = random.randint(1, 3) if is_blank else random.randint(2, 3)
    before = text.with_lines(at, at - 1, [""] * extra)
    names = {"count": str(extra + is_blank), "line": str(at), "shown": text.lines[at - 1].strip() or "the code"}
    return Fault(code=piece.code, before=before, names=names)


@rule(
    "Readability.TrailingBlankLine",
    "The file does not end with a newline: its last line is the `end` of `$module`. Add one.",
    (
        "After the final `end` of `$module` the newline is missing, which tools that join files "
        "stumble over; end it with one."
    ),
    takes=("module",),
    raw=True,
)
def no_final_newline(piece: Piece, random: Random) -> Fault | None:
    code = piece.code.rstrip("\n") + "\n"
    return Fault(code=code, before=code[:-1], names={"module": piece.module})


@rule(
    "Readability.Semicolons",
    "`$first` and `$second` share line $line, held apart by a semicolon. Give each statement a line of its own.",
    "A semicolon joins two statements in `$first; $second`; Elixir code puts them on two lines.",
    "Statements are separated by newlines, not by `;`: split the line that begins with `$first`.",
    raw=True,
)
def semicolon(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = []
    for definition in text.definitions:
        starts = text.statements(definition)
        for one, two in pairwise(starts):
            joined = len(text.lines[one]) + len(text.lines[two].strip())
            if two == one + 1 and _is_whole(text, one) and _is_whole(text, two) and joined < 96:
                sites.append(one)
    at = choose(random, sites)
    if at is None:
        return None
    first, second = text.lines[at], text.lines[at + 1].strip()
    before = text.with_lines(at, at + 1, [f"{first}; {second}"])
    return Fault(code=piece.code, before=before, names={"first": first.strip(), "second": second, "line": str(at + 1)})


@rule(
    "Readability.Semicolons",
    "`$first` ends in a semicolon, which Elixir does not need; delete it.",
    "The semicolon behind `$first` on line $line is a habit from other languages. Remove it.",
    raw=True,
)
def closing_semicolon(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = [n for d in text.definitions for n in text.statements(d) if _is_whole(text, n)]
    at = choose(random, sites)
    if at is None:
        return None
    before = text.with_lines(at, at, [text.lines[at] + ";"])
    return Fault(code=piece.code, before=before, names={"first": text.lines[at].strip(), "line": str(at + 1)})


@rule(
    "Consistency.TabsOrSpaces",
    "Line $line is indented with tabs while the rest of the code uses spaces. Indent it with spaces as well.",
    (
        "`$shown` stands behind tabs, everything around it behind spaces; mixing the two shifts "
        "with every editor. Use spaces."
    ),
    raw=True,
)
def tabs(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    numbers = [n for n, line in enumerate(text.bare) if line.startswith("  ") and line.strip()]
    if len(numbers) < 4:
        return None
    chosen = random.sample(numbers, min(len(numbers) // 4, random.randint(1, 3)))
    lines = list(text.lines)
    for number in chosen:
        rest = lines[number].lstrip(" ")
        lines[number] = "\t" * max((len(lines[number]) - len(rest)) // 2, 1) + rest
    first = min(chosen)
    return Fault(
        code=piece.code, before="\n".join(lines), names={"line": str(first + 1), "shown": lines[first].strip()}
    )


@rule(
    "Consistency.LineEndings",
    (
        "$count of the lines end in a carriage return and a line feed, the others in a line feed "
        "alone. Use `\\n` throughout."
    ),
    "Windows line endings stand beside Unix ones from line $line on; convert the file to one kind.",
    takes=("module",),
    raw=True,
)
def carriage_returns(piece: Piece, random: Random) -> Fault | None:
    lines = piece.code.split("\n")
    if len(lines) < 8:
        return None
    count = random.randint(1, min(6, len(lines) // 4))
    start = random.randint(1, len(lines) - count - 2)
    before = "\n".join(line + "\r" if start <= n < start + count else line for n, line in enumerate(lines))
    return Fault(code=piece.code, before=before, names={"count": str(count), "line": str(start + 1)})


@rule(
    "Consistency.SpaceAroundOperators",
    "`$shown` is written without spaces around `$operator`, unlike the operators in the rest of the code. Add them.",
    "Line $line leaves out the spaces around `$operator`; everywhere else they are there. Write them here as well.",
    raw=True,
)
def tight_operator(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = [m for m in text.find(_OPERATORS) if m[1] not in ("-", "<", ">", "/", "|>", "*") or random.random() < 0.3]
    site = choose(random, sites)
    if site is None or len(list(text.find(_OPERATORS))) < 3:
        return None
    before = text.replaced(site.start(), site.end(), site[1])
    return Fault(code=piece.code, before=before, names={**_where(before, site.start()), "operator": site[1]})


@rule(
    "Consistency.SpaceInParentheses",
    "`$shown` pads its brackets with spaces, which the rest of the code does not. Take them out.",
    "On line $line there is a space behind the opening bracket and before the closing one; the other calls have none.",
    raw=True,
)
def padded_brackets(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    every = list(text.find(r"(?<=\w)\(([^()\n\[\]{}\x01]+)\)|(?<=[ (])\[([^()\n\[\]{}\x01]+)\]"))
    site = choose(random, every)
    if site is None or len(every) < 2:
        return None
    inner = piece.code[site.start() + 1 : site.end() - 1]
    opening, closing = piece.code[site.start()], piece.code[site.end() - 1]
    before = text.replaced(site.start(), site.end(), f"{opening} {inner} {closing}")
    return Fault(code=piece.code, before=before, names=_where(before, site.start()))


@rule(
    "Readability.LargeNumbers",
    "The digits of `$plain` run together; write `$grouped`, with an underscore every three digits.",
    "`$plain` is hard to read at a glance. Elixir allows `$grouped`.",
    raw=True,
)
def long_number(piece: Piece, random: Random) -> Fault | None:
    site = choose(random, piece.text.find(r"(?<![\w.])\d{1,3}(?:_\d{3})+(?![\w.])"))
    if site is not None:
        grouped = site[0]
        before = piece.text.replaced(site.start(), site.end(), grouped.replace("_", ""))
        return Fault(code=piece.code, before=before, names={"plain": grouped.replace("_", ""), "grouped": grouped})
    words = Words(piece, random)
    grouped = f"{int(words['big']):,}".replace(",", "_")
    helper = random.choice(_NUMBERS).replace("NUMBER", grouped)
    for key in ("item", "items", "field", "other"):
        helper = helper.replace("$" + key, words[key])
    code = with_helper(piece, helper, random)
    plain = grouped.replace("_", "")
    return Fault(code=code, before=code.replace(grouped, plain), names={"plain": plain, "grouped": grouped})


_NUMBERS = (
    "def max_$items, do: NUMBER",
    "def $item_timeout_ms do\n  NUMBER\nend",
    "def too_many_$items?($items) do\n  length($items) > NUMBER\nend",
    "defp limit_$item_$field($field) do\n  min($field, NUMBER)\nend",
    "def next_$item_id(%{$field: $field}) do\n  rem($field + 1, NUMBER)\nend",
    "defp $item_size_in_kb($item) do\n  div(byte_size($item), NUMBER)\nend",
    "def expired?($item, now) do\n  now - $item.$field > NUMBER\nend",
)


@rule(
    "Readability.MaxLineLength",
    "Line $line is $length characters long, over the limit of 120. Break it up, one argument or step to a line.",
    "With $length characters the line that begins with `$shown` runs out of sight; let `mix format` break it.",
    raw=True,
)
def one_long_line(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = []
    for number, line in enumerate(text.bare):
        if (
            not re.search(r"[(\[{]$", line)
            or line.endswith("~s(")
            or line.lstrip().startswith(("def", "@spec", "@type"))
        ):
            continue
        indent = text.indent(number)
        end = next((n for n in range(number + 1, len(text.bare)) if re.match(rf"{indent}[)\]}}]", text.bare[n])), None)
        if end is None or any(
            b[:1] == "\x01" or "->" in b or "#" in b or " do" in b for b in text.bare[number : end + 1]
        ):
            continue
        inner = " ".join(each.strip() for each in text.lines[number + 1 : end])
        joined = text.lines[number] + inner.rstrip(",") + text.lines[end].strip()
        if 124 < len(joined) < 240 and '"' not in joined and not re.search(r"\w\.[a-z]{2,6}\b", joined):
            sites.append((number, end, joined))
    site = choose(random, sites)
    if site is None:
        return None
    number, end, joined = site
    before = text.with_lines(number, end, [joined])
    shown = joined.strip()[:40]
    return Fault(
        code=piece.code, before=before, names={"line": str(number + 1), "length": str(len(joined)), "shown": shown}
    )


@rule(
    "Readability.MaxLineLength",
    (
        "The call in `$function` takes $length characters on one line, where 120 is the limit. Put "
        "each argument on its own."
    ),
    "`$function` is one line of $length characters; break the list so that it can be read without scrolling.",
    raw=True,
)
def long_list(piece: Piece, random: Random) -> Fault | None:
    words = Words(piece, random)
    item, function = words["item"], f"{words['verb']}_{words['item']}_fields"
    fields = random.sample(
        ["name", "status", "price", "kind", "amount", "level", "weight", "owner", "title", "state", "rank", "total"], 8
    )
    # A word, a dot and a word look like an address on the web to Credo, which passes over such lines.
    shape = random.choice(
        ("{f}: {n}", "{{:{f}, :{o}, {n}}}", "{i}_{f}: [{n}]", "{{{i}, :{f}, {n}}}", "{f}: {{{i}, {n}}}")
    )
    entries = [shape.format(f=field, i=item, o=words["other"], n=random.randint(1, 99)) for field in fields]
    while sum(map(len, entries)) + 2 * len(entries) < 122:
        field = f"{words['other']}_{random.choice(fields)}_{len(entries)}"
        entries.append(shape.format(f=field, i=item, o=words["other"], n=random.randint(1, 99)))
    lines = ",\n".join("    " + entry for entry in entries)
    code = with_helper(piece, f"def {function}({item}) do\n  [\n{lines}\n  ]\nend", random)
    joined = "[" + ", ".join(entries) + "]"
    before = re.sub(r"\[\n\s*" + re.escape(entries[0]) + r"(?:.|\n)*?\n\s*\]", lambda _: joined, code, count=1)
    return Fault(code=code, before=before, names={"length": str(len(joined) + 4), "function": function})


@rule(
    "Readability.ParenthesesInCondition",
    "The parentheses around the condition of `$word ($condition)` are not needed; write `$word $condition do`.",
    "`$word` takes its condition bare in Elixir: drop the parentheses around `$condition`.",
    raw=True,
)
def parentheses_around_condition(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = [m for m in text.find(r"\b(if|unless) ([^\n]+?) do$") if not m[2].startswith("(")]
    sites += [m for m in text.find(r"\b(if|unless) ([\w.?!@ =<>]+), do: ") if not m[2].startswith("(")]
    site = choose(random, sites)
    if site is None:
        return None
    condition = piece.code[site.start(2) : site.end(2)]
    before = text.replaced(site.start(2), site.end(2), f"({condition})")
    return Fault(code=piece.code, before=before, names={"word": site[1], "condition": condition})


@rule(
    "Readability.ParenthesesOnZeroArityDefs",
    "`$name` takes no argument, and its definition does not need the empty parentheses; write `$kind $name`.",
    "The `()` after `$name` says nothing. Leave it out in the definition of a function without arguments.",
    raw=True,
)
def empty_parentheses(piece: Piece, random: Random) -> Fault | None:
    words = Words(piece, random)
    sites = list(piece.text.find(r"^ *(def|defp) ([a-z_]\w*[?!]?)(?= do$|, do: )"))
    code = piece.code
    if not sites:
        helper = random.choice(
            (
                "def default_$field do\n  :$item\nend",
                "def $items, do: []",
                "defp empty_$item do\n  %{$field: nil, $field2: 0}\nend",
                "def new_$item do\n  {:$item, make_ref()}\nend",
                "def $field_fields, do: [:$field, :$field2, :$field3]",
            )
        )
        for key in sorted(words.names, key=len, reverse=True):
            helper = helper.replace("$" + key, words[key])
        code = with_helper(piece, helper, random)
        sites = list(Text(code).find(r"^ *(def|defp) ([a-z_]\w*[?!]?)(?= do$|, do: )"))
    site = choose(random, sites)
    if site is None:
        return None
    before = code[: site.end()] + "()" + code[site.end() :]
    return Fault(code=code, before=before, names={"kind": site[1], "name": site[2]})


@rule(
    "Readability.StringSigils",
    "The string in `$function` escapes $count quotation marks. With `~s(...)` none of them needs a backslash.",
    "Escaped quotes make the text in `$function` hard to read; the sigil `~s` takes it as it is.",
    raw=True,
)
def escaped_quotes(piece: Piece, random: Random) -> Fault | None:
    words = Words(piece, random)
    shapes = (
        '<$item class="$field" title="$field2">',
        '{"$item": "$field", "$field2": "$field3"}',
        'expected "$field" or "$field2" in the $item',
        'SELECT "$field", "$field2" FROM "$items" WHERE ',
        '<a class="$item" href="/$items">',
        'the $item has neither "$field" nor "$field2": ',
        '"$item","$field","$field2"\\n',
    )
    shape = random.choice(shapes)
    function = random.choice(("render_$item", "$item_tag", "describe_$item", "$item_to_text", "$verb_$item_as_text"))
    for key in sorted(words.names, key=len, reverse=True):
        shape, function = shape.replace("$" + key, words[key]), function.replace("$" + key, words[key])
    good = f"~s({shape})"
    bad = '"' + shape.replace('"', '\\"') + '"'
    start = random.choice(
        (
            "def {f}({i}) do\n  {s} <> {i}.{n}\nend",
            'def {f}({i}), do: String.replace({s}, "{n}", {i})',
            "defp {f}({i}) do\n  text = {s} <> to_string({i})\n  {{:ok, text}}\nend",
            "def {f}(_{i}), do: raise({s})",
            'def {f}({i}) do\n  if {i}.{n}, do: String.trim({s}), else: ""\nend',
        )
    )
    code = with_helper(piece, start.format(f=function, i=words["item"], n=words["field4"], s=good), random)
    count = str(bad.count('\\"'))
    return Fault(code=code, before=code.replace(good, bad), names={"function": function, "count": count})


def _where(code: str, position: int) -> dict[str, str]:
    number = code.count("\n", 0, position)
    return {"line": str(number + 1), "shown": code.split("\n")[number].strip()}


def _line_around(text: Text, position: int) -> tuple[int, int]:
    start = text.code.rfind("\n", 0, position) + 1
    end = text.code.find("\n", position)
    return start, len(text.code) if end < 0 else end


def _is_whole(text: Text, number: int) -> bool:
    """Whether a statement begins and ends on this line."""
    line = text.bare[number]
    follows = text.bare[number + 1] if number + 1 < len(text.bare) else ""
    if re.search(r"(\bdo|->|,|=|[(\[{]|\bfn|\|>|<>|\|\||&&|\band|\bor|\+\+)$", line) or "#" in line or " do" in line:
        return False
    if sum(line.count(c) for c in "([{") != sum(line.count(c) for c in ")]}"):
        return False
    deeper = len(follows) - len(follows.lstrip(" ")) > len(line) - len(line.lstrip(" "))
    return not deeper and not re.match(r" *(\|>|\|\||&&|<>|\+\+|and |or )", follows) and not follows.startswith("\x01")
