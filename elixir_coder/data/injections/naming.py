"""Faults of names: of variables, functions, attributes, modules and unused parameters."""

from __future__ import annotations

import re
from random import Random

from elixir_coder.data.injections.rule import Fault, Piece, choose, rule, with_helper
from elixir_coder.data.injections.text import Text
from elixir_coder.data.injections.words import Words, camel, lower_camel, snake


def _renamed(code: str, masked: str, old: str, new: str, *, keep: str = r"\w:.@") -> str:
    """Every place outside of strings where the name stands by itself."""
    out = code
    for match in reversed(list(re.finditer(rf"(?<![{keep}]){re.escape(old)}(?![\w?!]|: )", masked))):
        out = out[: match.start()] + new + out[match.end() :]
    return out


@rule(
    "Readability.VariableNames",
    "The variable `$new` is not in snake_case; call it `$old`.",
    "Variables are written with underscores in Elixir: `$old` instead of `$new`.",
    "`$new` follows the habit of another language. Rename it to `$old`.",
)
def camel_variable(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    names = {v for d in text.definitions for v in d.variables}
    names |= {m[1] for m in text.find(r"^ *([a-z]\w*) = ")} | {m[1] for m in text.find(r"\bfn ([a-z]\w*) ->")}
    old = choose(random, sorted(n for n in names if re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", n)))
    if old is not None:
        new = random.choice((lower_camel(old), lower_camel(old), camel(old)[0].lower() + camel(old)[1:]))
        before = _renamed(piece.code, text.masked, old, new)
        if re.search(r"#\{[^}]*\b" + re.escape(old) + r"\b", piece.code):
            before = re.sub(rf"(#\{{[^}}]*?)(?<![\w:.]){re.escape(old)}\b", rf"\g<1>{new}", before)
        return Fault(code=piece.code, before=before, names={"old": old, "new": new})
    words = Words(piece, random)
    old, new = f"{words['item']}_{words['field']}", f"{words['item']}{camel(words['field'])}"
    shape = random.choice(
        (
            "def NAME({i}) do\n  X = {i}.{f}\n  {{:ok, X}}\nend",
            "def NAME({i}) do\n  X = [{i}]\n  {{X, :{f}}}\nend",
            "defp NAME({is}) do\n  X = Enum.map({is}, & &1.{f})\n  Enum.uniq(X)\nend",
            "def NAME({is}) do\n  for X <- {is}, do: {{X, :{f}}}\nend",
        )
    )
    name = f"{words['verb']}_{words['other']}"
    body = shape.format(i=words["item"], f=words["field"], **{"is": words["items"]}).replace("NAME", name)
    seed = random.random()
    code = with_helper(piece, body.replace("X", old), Random(seed))
    return Fault(
        code=code, before=with_helper(piece, body.replace("X", new), Random(seed)), names={"old": old, "new": new}
    )


@rule(
    "Readability.FunctionNames",
    "The function `$new` is not named in snake_case; call it `$old`.",
    "Functions are named with underscores: `$old`, not `$new`.",
)
def camel_function(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    names = sorted({d.name for d in text.definitions if re.fullmatch(r"[a-z]+(_[a-z0-9]+)+[?!]?", d.name)})
    old = choose(random, names)
    if old is None:
        words = Words(piece, random)
        old = f"{words['verb']}_{words['items']}"
        body = random.choice(
            (
                "def X({i}), do: {{:{f}, {i}}}",
                "defp X({i}) do\n  Map.get({i}, :{f}, {n})\nend",
                "def X({i}, {f}) do\n  [{f} | {i}]\nend",
            )
        ).format(i=words["item"], f=words["field"], n=words["n"])
        code = with_helper(piece, body.replace("X", old), random)
    else:
        code = piece.code
    new = lower_camel(old)
    before = _renamed(code, Text(code).masked, old, new, keep=r"\w:.@")
    return Fault(code=code, before=before, names={"old": old, "new": new})


@rule(
    "Readability.PredicateFunctionNames",
    "`$new` asks a question, and such a function is called `$old`: the prefix `is_` is for guards.",
    "A predicate ends in a question mark and does not begin with `is_`. Rename `$new` to `$old`.",
)
def is_predicate(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    names = sorted({d.name for d in text.definitions if d.name.endswith("?") and not d.name.startswith("is_")})
    old, code = choose(random, names), piece.code
    if old is None:
        words = Words(piece, random)
        old = random.choice(
            (f"valid_{words['item']}?", f"{words['field']}?", f"known_{words['item']}?", f"empty_{words['item']}?")
        )
        body = random.choice(
            (
                "def X({i}), do: {i}.{f} != nil",
                "def X(%{{{f}: {f}}}) do\n  {f} > {n}\nend",
                "def X({i}) do\n  Map.has_key?({i}, :{f})\nend",
                "def X(nil), do: false\ndef X({i}), do: {i}.{f}",
            )
        ).format(i=words["item"], f=words["field"], n=words["n"])
        code = with_helper(piece, body.replace("X", old), random)
    new = random.choice((f"is_{old}", f"is_{old[:-1]}"))
    if any(d.kind.startswith("defmacro") and d.name == old for d in text.definitions):
        return None
    masked = Text(code).masked
    return Fault(code=code, before=_renamed(code, masked, old, new), names={"old": old, "new": new})


@rule(
    "Readability.ModuleAttributeNames",
    "The attribute `@$new` is not in snake_case; call it `@$old`.",
    "Module attributes are named like variables. `@$new` should be `@$old`.",
)
def camel_attribute(piece: Piece, random: Random) -> Fault | None:
    if not piece.is_module:
        return None
    text = piece.text
    names = sorted(
        {
            m[1]
            for m in text.find(r"^  @([a-z]+(?:_[a-z0-9]+)+) ")
            if m[1]
            not in (
                "enforce_keys",
                "external_resource",
                "before_compile",
                "after_compile",
                "optional_callbacks",
                "fallback_to_any",
                "on_definition",
                "on_load",
            )
        }
    )
    old, code = choose(random, names), piece.code
    if old is None:
        words = Words(piece, random)
        old = random.choice(
            (f"max_{words['items']}", f"default_{words['field']}", f"{words['item']}_{words['field2']}s")
        )
        value = random.choice(
            (words["n"], f":{words['field3']}", f"[:{words['field']}, :{words['field2']}]", f'"{words["item"]}"')
        )
        helper = (
            f"@{old} {value}\n\n"
            f"def {words['verb']}_{words['item']}_{words['field']}({words['item']}) do\n"
            f"  {{{words['item']}, @{old}}}\nend"
        )
        code = with_helper(piece, helper, random)
    new = lower_camel(old)
    return Fault(code=code, before=re.sub(rf"@{old}\b", f"@{new}", code), names={"old": old, "new": new})


@rule(
    "Readability.ModuleNames",
    "The module name `$new` has an underscore; modules are written in PascalCase, like `$old`.",
    "`$new` mixes two ways of writing names. Call the module `$old`.",
    takes=("module",),
)
def snake_module(piece: Piece, random: Random) -> Fault | None:
    head, _, last = piece.module.rpartition(".")
    parts = snake(last).split("_")
    if len(parts) < 2:
        parts = [parts[0], random.choice(("helpers", "server", "store", "parser", "tools", "view"))]
    good = "".join(part.capitalize() for part in parts)
    bad = random.choice(
        ("_".join(part.capitalize() for part in parts), parts[0].capitalize() + "_" + "_".join(parts[1:]))
    )
    prefix = head + "." if head else ""
    code = re.sub(rf"(?<=defmodule ){re.escape(piece.module)}(?= do)", prefix + good, piece.code, count=1)
    before = re.sub(rf"(?<=defmodule ){re.escape(piece.module)}(?= do)", prefix + bad, piece.code, count=1)
    return Fault(code=code, before=before, names={"old": prefix + good, "new": prefix + bad})


@rule(
    "Consistency.UnusedVariableNames",
    "The unused parameter is called `$new` here and has a name in the other clauses; write `$old`, or `_` throughout.",
    "`$new` and names like `$old` are mixed for what is not used. Keep to one way.",
)
def anonymous_among_named(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    code = piece.code
    if len(list(text.find(r"(?<![\w.:])_[a-z]\w*"))) < 2 or list(text.find(r"(?<![\w])_(?=[,)}\] ])")):
        if list(text.find(r"(?<![\w])_(?=[,)}\] ])")):
            return _named_among_anonymous(piece, random)
        words = Words(piece, random)
        f, g, i = words["field"], words["field2"], words["item"]
        name = f"{words['verb']}_{i}_{f}"
        code = with_helper(
            piece,
            (
                f"def {name}(:{f}, _{i}), do: {words['n']}\ndef {name}(:{g}, _{i}), do: {words['m']}\n"
                f"def {name}(_{f}, _{i}), do: 0"
            ),
            random,
        )
        text = Text(code)
    sites = [
        m
        for d in text.definitions
        for m in text.find(r"(?<=[(, {\[])(_[a-z]\w*)(?=[,)}\]])")
        if _line(text.code, m.start()) == d.start
    ]
    site = choose(random, sites)
    if site is None:
        return None
    before = text.replaced(site.start(), site.end(), "_")
    return Fault(code=code, before=before, names={"old": site[0], "new": "_"})


def _named_among_anonymous(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = [
        m
        for d in text.definitions
        for m in text.find(r"(?<=[(, {\[])_(?=[,)}\]])")
        if _line(text.code, m.start()) == d.start
    ]
    every = list(text.find(r"(?<![\w])_(?=[,)}\] ])"))
    site = choose(random, sites)
    if site is None or len(every) < 3 or list(text.find(r"(?<![\w.:])_[a-z]\w*")):
        return None
    new = "_" + Words(piece, random)["item"]
    return Fault(code=piece.code, before=text.replaced(site.start(), site.end(), new), names={"old": "_", "new": new})


@rule(
    "Consistency.ParameterPatternMatching",
    "`$new` puts the name on the other side of the `=` than the other clauses do; write `$old`.",
    "Patterns and the names for them are in two orders. Turn `$new` into `$old`, as elsewhere.",
)
def turned_pattern(piece: Piece, random: Random) -> Fault | None:
    code = piece.code
    sites = _patterns(code)
    if len(sites) < 3:
        words = Words(piece, random)
        i, f = words["item"], words["field"]
        name = f"{words['verb']}_{words['other']}"
        shapes = (
            f"%{{{f}: nil}} = {i}",
            f"%{{{f}: 0}} = {i}",
            f"%{{{words['field2']}: _}} = {i}",
            f"[_ | _] = {i}",
            f"{{:{f}, _}} = {i}",
        )
        chosen = random.sample(shapes, 4)
        bodies = (i, f"{{:ok, {i}}}", f"[{i}]", f"{{:{f}, {i}}}")
        helper = "\n".join(f"def {name}({s}), do: {b}" for s, b in zip(chosen, random.sample(bodies, 4)))
        code = with_helper(piece, helper, random)
        sites = _patterns(code)
    site = choose(random, sites)
    if site is None:
        return None
    old = site[0]
    pattern, name = old.rsplit(" = ", 1)
    new = f"{name} = {pattern}"
    before = code[: site.start()] + new + code[site.end() :]
    return Fault(code=code, before=before, names={"old": old, "new": new})


def _patterns(code: str) -> list[re.Match[str]]:
    return [
        m
        for m in re.finditer(
            r"(?<=[(\s])(?:%\w*\{[^{}()\n]*\}|\[[^\[\]()\n]*\]|\{[^{}()\n]*\}) = [a-z]\w*(?=[,)])", code
        )
        if re.match(r" *(def|defp) ", code[code.rfind("\n", 0, m.start()) + 1 : m.start()] or "")
    ]


def _line(code: str, position: int) -> int:
    return code.count("\n", 0, position)
