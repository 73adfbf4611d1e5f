"""What is left behind in code that works: printing, breakpoints, notes to oneself, results that nobody takes."""

from __future__ import annotations

import re
from random import Random

from elixir_coder.data.injections.expressions import expression
from elixir_coder.data.injections.rule import Fault, Piece, choose, rule
from elixir_coder.data.injections.templates import groups, joined
from elixir_coder.data.injections.text import Definition, Text
from elixir_coder.data.injections.words import Words

_ENUMERABLE = re.compile(r"(list|items|rest|tail|tokens|lines|args|opts|\w{2,}s)$")


def _places(text: Text) -> list[tuple[Definition, int, list[str]]]:
    """Where a statement can be written: (function, line before which, variables that are there)."""
    found = []
    for definition in text.definitions:
        names = [v for v in definition.variables if not v.startswith("_")]
        bound = list(names)
        for number in text.statements(definition):
            found.append((definition, number, list(bound)))
            if match := re.match(r" *([a-z]\w*) = ", text.bare[number]):
                bound.append(match[1])
    return found


def _inserted(text: Text, number: int, lines: list[str]) -> str:
    indent = text.indent(number)
    return text.with_lines(number, number - 1, [indent + line if line else "" for line in lines])


def leftover(
    check: str, says: tuple[str, ...], pairs: tuple[tuple[str, str], ...], name: str, *, anywhere: bool
) -> None:
    """A rule that writes lines into a body; the clean twin is the code as it was. `$x` is a variable that is there.

    anywhere: also where there is no variable.
    """

    def write(piece: Piece, random: Random) -> Fault | None:
        text = piece.text
        site = choose(random, [p for p in _places(text) if p[2] or anywhere])
        if site is None:
            return None
        definition, number, variables = site
        words = Words(piece, random)
        x = random.choice(variables) if variables else "self()"
        names = {**words.names, "x": x, "function": definition.name, "line": str(number + 1)}
        lines = [joined(line, names) for line in random.choice(pairs)[0].split("\n")]
        return Fault(
            code=piece.code, before=_inserted(text, number, lines), names={**names, "shown": lines[-1].strip()}
        )

    rule(check, *says, name=name)(write)


for _group in groups("leftovers"):
    leftover(_group.check, _group.says, _group.pairs, _group.name, anywhere="anywhere" in _group.words)

# ------------------------------------------------------------------------------------------- results that nobody takes

_DROPPED = (
    "The result of `$call` is thrown away: nothing in Elixir changes in place. Bind it, or remove the call.",
    "`$call` gives a new value back and leaves its argument as it was; here that value is lost. Use it.",
    "Line $line calls `$call` and ignores what comes back, so that it has no effect.",
)


def dropped(module: str, calls: tuple[str, ...], subject: str) -> None:
    """Rules for one module of functions without effect: a bare call before what a function does, and a short function
    of which the faulty form drops the result that the plain one goes on with."""

    def write(piece: Piece, random: Random) -> Fault | None:
        text = piece.text
        places = [p for p in _places(text) if p[2]]
        if module in ("Enum", "List"):
            places = [(d, n, fit) for d, n, names in places if (fit := [x for x in names if _ENUMERABLE.match(x)])]
        site = choose(random, places)
        if site is None:
            return None
        _, number, variables = site
        x = random.choice(variables)
        names = {**Words(piece, random).names, "x": x}
        shown = joined(random.choice(calls), names)
        is_piped = module != "Regex" and random.random() < 0.25
        statement = re.sub(rf"^({module}\.\w+[?!]?)\({x}(?:, )?", rf"{x} |> \1(", shown) if is_piped else shown
        before = _inserted(text, number, [statement])
        call = re.match(r"[\w.]+[?!]?", shown)
        assert call
        names = {"call": call[0], "line": str(number + 1)}
        return Fault(code=piece.code, before=before, names=names)

    rule(f"Warning.Unused{module}Operation", *_DROPPED, name=f"unused_{module.lower()}_call")(write)

    pairs: list[tuple[str, str]] = []
    for call in calls:
        for pair in _LOST:
            faulty, clean = (
                text.replace("SUBJECT", subject).replace("CALL", call.replace("$x", subject)) for text in pair
            )
            pairs.append((faulty, clean))
    told = tuple(each.replace("MODULE", module) for each in _LOST_RESULTS)
    expression(f"Warning.Unused{module}Operation", told, tuple(pairs), f"lost_{module.lower()}_result")


_LOST = (
    (
        "def $name(SUBJECT, $other) do\n  CALL\n  {:ok, $other}\nend",
        "def $name(SUBJECT, $other) do\n  {:ok, CALL, $other}\nend",
    ),
    (
        "def $name(SUBJECT) do\n  CALL\n  %{$field: SUBJECT}\nend",
        "def $name(SUBJECT) do\n  %{$field: CALL}\nend",
    ),
)
_LOST_RESULTS = (
    "A call of `MODULE` in `$name` has its result thrown away, so that it does nothing. Use what it gives back.",
    "`$name` forgets what `MODULE` gave it; values do not change in place. Bind the result or return it.",
)
dropped(
    "Enum",
    (
        "Enum.sort($x)",
        "Enum.map($x, &to_string/1)",
        "Enum.reverse($x)",
        "Enum.uniq($x)",
        "Enum.reject($x, &is_nil/1)",
        "Enum.filter($x, & &1)",
        "Enum.take($x, $n)",
        "Enum.sort_by($x, &inspect/1)",
        "Enum.with_index($x)",
        "Enum.count($x)",
    ),
    "$items",
)
dropped(
    "List",
    (
        "List.flatten($x)",
        "List.delete($x, :$field)",
        "List.first($x)",
        "List.wrap($x)",
        "List.last($x)",
        "List.insert_at($x, 0, :$field)",
    ),
    "$items",
)
dropped(
    "Map",
    (
        "Map.put($x, :$field, $n)",
        "Map.delete($x, :$field)",
        "Map.merge($x, %{$field: :$field2})",
        "Map.take($x, [:$field, :$field2])",
        "Map.put_new($x, :$field, nil)",
        "Map.drop($x, [:$field])",
        "Map.get($x, :$field)",
        "Map.keys($x)",
    ),
    "$item",
)
dropped(
    "Keyword",
    (
        "Keyword.put($x, :$field, $n)",
        "Keyword.delete($x, :$field)",
        "Keyword.merge($x, $field: :$field2)",
        "Keyword.get($x, :$field)",
        "Keyword.put_new($x, :$field, :$field2)",
        "Keyword.take($x, [:$field])",
        "Keyword.fetch!($x, :$field)",
    ),
    "opts",
)
dropped(
    "String",
    (
        "String.trim($x)",
        "String.downcase($x)",
        'String.replace($x, "$field", "$field2")',
        "String.upcase($x)",
        'String.split($x, ",")',
        "String.capitalize($x)",
        "String.slice($x, 0, $n)",
        "String.pad_leading($x, $n)",
        "String.length($x)",
    ),
    "$field",
)
dropped(
    "Tuple",
    (
        "Tuple.to_list($x)",
        "Tuple.append($x, :$field)",
        "Tuple.delete_at($x, 0)",
        "Tuple.insert_at($x, 0, :$field)",
        "Tuple.duplicate($x, $m)",
    ),
    "$item",
)
dropped(
    "Path",
    (
        'Path.join($x, "$field")',
        "Path.expand($x)",
        "Path.basename($x)",
        "Path.rootname($x)",
        "Path.dirname($x)",
        "Path.extname($x)",
        "Path.relative_to_cwd($x)",
    ),
    "path",
)
dropped(
    "File",
    (
        "File.exists?($x)",
        "File.dir?($x)",
        "File.regular?($x)",
        "File.stat($x)",
        "File.ls($x)",
        "File.cwd()",
        "File.read($x)",
    ),
    "path",
)
dropped(
    "Regex",
    (
        'Regex.replace(~r/$field/, $x, "$field2")',
        "Regex.run(~r/(\\d+)/, $x)",
        "Regex.match?(~r/^$field/, $x)",
        "Regex.scan(~r/\\w+/, $x)",
        "Regex.split(~r/,\\s*/, $x)",
        "Regex.escape($x)",
    ),
    "text",
)

# -------------------------------------------------------------------------------------------------- likely mistakes

for _group in groups("mistakes"):
    expression(_group.check, _group.says, _group.pairs, _group.name)


def _same_sides(text: Text, operators: str) -> list[tuple[int, int, str, str]]:
    found = []
    for match in text.find(rf"(?<![\w.])([a-z_]\w*(?:\.\w+)?) ({operators}) ([a-z_]\w*(?:\.\w+)?)(?![\w.(\[?!])"):
        line = text.bare[text.code.count("\n", 0, match.start())]
        if (
            match[1] != match[3]
            and not line.lstrip().startswith("@")
            and match[3] not in ("fn", "not", "if", "case", "nil", "true", "false")
        ):
            found.append((match.start(3), match.end(3), match[1], match[2]))
    return found


@rule(
    "Warning.OperationOnSameValues",
    "`$side $operator $side` has the same value on both sides, so that the outcome is fixed; it should be `$other`.",
    "`$side` is compared with itself on line $line. The other side was meant to be `$other`.",
)
def same_value_twice(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    site = choose(random, _same_sides(text, r"==|!=|<|>|<=|>=|-|/"))
    if site is None:
        return None
    start, end, side, operator = site
    names = {
        "side": side,
        "operator": operator,
        "other": text.code[start:end],
        "line": str(text.code.count("\n", 0, start) + 1),
    }
    return Fault(code=piece.code, before=text.replaced(start, end, side), names=names)


@rule(
    "Warning.BoolOperationOnSameValues",
    "`$side $operator $side` asks the same twice; the second should be `$other`.",
    "Both operands of `$operator` on line $line are `$side`. `$other` was meant for one of them.",
)
def same_operand_twice(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    site = choose(random, _same_sides(text, r"and|or|&&|\|\|"))
    if site is None:
        return None
    start, end, side, operator = site
    names = {
        "side": side,
        "operator": operator,
        "other": text.code[start:end],
        "line": str(text.code.count("\n", 0, start) + 1),
    }
    return Fault(code=piece.code, before=text.replaced(start, end, side), names=names)


@rule(
    "Warning.ExpensiveEmptyEnumCheck",
    "`$after` walks all of `$name` to learn whether it is empty; `$plain` does not.",
    "Counting `$name` only to compare with zero is wasteful. Write `$plain`.",
)
def emptiness_by_counting(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = [(m, m[1], "== 0") for m in text.find(r"(?<![\w.])Enum\.empty\?\(([a-z_]\w*)\)")]
    sites += [
        (m, m[1], "== 0" if m[2] == "==" else "> 0") for m in text.find(r"(?<![\w.@])([a-z_]\w*) (==|!=) \[\](?! ?=)")
    ]
    site = choose(random, sites)
    if site is None:
        return None
    match, name, zero = site
    counted = f"{random.choice(('length', 'Enum.count'))}({name}) {zero}"
    before = text.replaced(match.start(), match.end(), counted)
    return Fault(code=piece.code, before=before, names={"after": counted, "name": name, "plain": match[0]})


@rule(
    "Warning.UnsafeToAtom",
    "`$new` makes an atom for every new text, and atoms are never collected; `$old` takes only those that exist.",
    "With `$new` whoever sends the text can fill the table of atoms. Use `$old`.",
)
def existing_forgotten(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    site = choose(
        random,
        text.find(r"(?<![\w.])(String|List)\.to_existing_atom|:erlang\.binary_to_existing_atom|Module\.safe_concat"),
    )
    if site is None:
        return None
    new = site[0].replace("existing_", "").replace("safe_", "")
    return Fault(
        code=piece.code, before=text.replaced(site.start(), site.end(), new), names={"new": new, "old": site[0]}
    )


@rule(
    "Warning.SpecWithStruct",
    "`$new` in the `@spec` is a struct and no type; write `$old`.",
    "A specification should name the type `$old` and not the struct `$new`.",
)
def struct_for_type(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = []
    for match in text.find(r"(?<![\w.])((?:[A-Z]\w*\.)*)t\(\)"):
        line = text.bare[text.code.count("\n", 0, match.start())]
        if line.lstrip().startswith("@spec") and match[1] not in (
            "String.",
            "Keyword.",
            "Enumerable.",
            "Path.",
            "Macro.",
            "Access.",
            "Collectable.",
            "Enum.",
            "Calendar.",
            "GenServer.",
            "Process.",
        ):
            sites.append(match)
    site = choose(random, sites)
    if site is None or (not site[1] and not piece.is_module):
        return None
    new = f"%{site[1][:-1] or '__MODULE__'}{{}}"
    return Fault(
        code=piece.code, before=text.replaced(site.start(), site.end(), new), names={"new": new, "old": site[0]}
    )


_LOGGED = ("error", "warning", "info", "debug")


@rule(
    "Warning.MissedMetadataKeyInLoggerConfig",
    (
        "The metadata `$key:` is given to the logger, whose configuration does not list it, so "
        "that it is never shown. List it, or put it into the message."
    ),
    (
        "`Logger.$level` gets `$key:` as metadata, but the formatter drops keys that are not "
        "configured. Say it in the text."
    ),
)
def unlisted_metadata(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    site = choose(random, [p for p in _places(text) if p[2]])
    if site is None:
        return None
    definition, number, variables = site
    words, level, x = Words(piece, random), random.choice(_LOGGED), random.choice(variables)
    key = random.choice((x, words["field"], f"{words['item']}_id"))
    message = random.choice(
        (
            f"{definition.name} was called",
            f"no {words['item']}",
            f"{words['items']} are late",
            f"cannot {words['verb']} {words['item']}",
        )
    )
    head = ["require Logger"] if "require Logger" not in piece.code else []
    plain = f'Logger.{level}("{message}: #{{inspect({x})}}")'
    faulty = f'Logger.{level}("{message}", {key}: {x})'
    if random.random() < 0.2:
        faulty = f"Logger.metadata({key}: {x})\n{text.indent(number)}" + f'Logger.{level}("{message}")'
    code, before = (_inserted(text, number, [*head, statement]) for statement in (plain, faulty))
    return Fault(code=code, before=before, names={"key": key, "level": level})
