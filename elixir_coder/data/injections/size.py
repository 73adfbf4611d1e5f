"""Faults of size: too many branches, parameters, fields, modules or lines in one place, and the same code twice."""

from __future__ import annotations

from random import Random

from elixir_coder.data.injections.rule import Fault, Piece, choose, dedented, rule, with_helper
from elixir_coder.data.injections.words import Words, camel, draw, nouns_of

_WORDS = (
    "new open paid sent late done lost draft ready failed closed active paused queued locked stale fresh valid spare "
    "early final major minor small large empty mixed local remote public hidden shared frozen"
).split()


def _pair(piece: Piece, random: Random, clean: str, faulty: str, names: dict[str, str]) -> Fault:
    seed = random.random()
    return Fault(
        code=with_helper(piece, clean, Random(seed)), before=with_helper(piece, faulty, Random(seed)), names=names
    )


def _many(piece: Piece, random: Random, count: int) -> list[str]:
    return draw(random, nouns_of(piece.code)[:8], 3) + random.sample(_WORDS, count - 3)


@rule(
    "Refactor.CyclomaticComplexity",
    (
        "`$name` has $count branches in one function; a map from key to value, or a clause for "
        "each, takes the decisions apart."
    ),
    "There are too many ways through `$name`. Look the answer up in a map instead of asking $count questions.",
)
def many_branches(piece: Piece, random: Random) -> Fault | None:
    words = Words(piece, random)
    i, f = words["item"], words["field"]
    keys = _many(piece, random, random.randint(10, 14))
    name = f"{words['verb']}_{f}"
    values = [str(random.randint(1, 99)) for _ in keys]
    style = random.randrange(3)
    if style == 0:
        lines = "\n".join(f"    {i}.{f} == :{k} -> {v}" for k, v in zip(keys, values))
        faulty = f"def {name}({i}) do\n  cond do\n{lines}\n    true -> 0\n  end\nend"
        table = ", ".join(f"{k}: {v}" for k, v in zip(keys, values))
        clean = f"def {name}({i}) do\n  Map.get(%{{{table}}}, {i}.{f}, 0)\nend"
    elif style == 1:
        lines = "\n".join(f"    :{k} -> {v}" for k, v in zip(keys, values))
        faulty = f"def {name}({f}, {i}) do\n  case {f} do\n{lines}\n    _ -> {i}\n  end\nend"
        faulty = faulty.replace(f"    :{keys[0]} ->", f"    :{keys[0]} when is_list({i}) ->")
        faulty = (
            f"def {name}({f}, {i}) do\n  if is_nil({i}) or {i} == [] do\n    0\n  else\n    case {f} do\n"
            + "\n".join(f"      :{k} -> {v}" for k, v in zip(keys, values))
            + f"\n      _ -> {i}\n    end\n  end\nend"
        )
        clean = (
            "\n".join(f"def {name}(:{k}, _{i}), do: {v}" for k, v in zip(keys, values))
            + f"\ndef {name}(_{f}, {i}), do: {i}"
        )
    else:
        questions = "\n".join(
            f"  {i} = if {i}.{k}, do: Map.put({i}, :{f}, {v}), else: {i}" for k, v in zip(keys, values)
        )
        faulty = f"def {name}({i}) do\n{questions}\n  {i}\nend"
        pairs = ", ".join(f"{k}: {v}" for k, v in zip(keys, values))
        clean = (
            f"def {name}({i}) do\n  Enum.reduce([{pairs}], {i}, fn {{key, {f}}}, {i} ->\n"
            f"    if Map.get({i}, key), do: Map.put({i}, :{f}, {f}), else: {i}\n  end)\nend"
        )
    return _pair(piece, random, clean, faulty, {"name": name, "count": str(len(keys))})


@rule(
    "Refactor.PerceivedComplexity",
    "`$name` asks $count things one after the other, each with a condition of two parts; split it up.",
    "Reading `$name` means keeping $count conditions in mind. Write a clause or a small function for each.",
)
def many_conditions(piece: Piece, random: Random) -> Fault | None:
    words = Words(piece, random)
    i, f, o = words["item"], words["field"], words["other"]
    keys = _many(piece, random, random.randint(6, 9))
    name = f"{words['verb']}_{i}_{f}"
    joint = random.choice((("and", "or"), ("&&", "||")))
    questions = "\n\n".join(
        f"  if {i}.{k} {random.choice(joint)} {o}.{k} do\n    send(self(), :{k})\n  end" for k in keys
    )
    faulty = f"def {name}({i}, {o}) do\n{questions}\n\n  :ok\nend"
    listed = ", ".join(":" + k for k in keys)
    clean = (
        f"def {name}({i}, {o}) do\n"
        f"  for key <- [{listed}], {o}_{f}?({i}, {o}, key), do: send(self(), key)\n  :ok\nend\n\n"
        f"defp {o}_{f}?({i}, {o}, key), do: Map.get({i}, key) {joint[0]} Map.get({o}, key)"
    )
    return _pair(piece, random, clean, faulty, {"name": name, "count": str(len(keys))})


@rule(
    "Refactor.ABCSize",
    (
        "`$name` makes so many assignments, calls and decisions that its ABC size is over 30; move "
        "parts into functions of their own."
    ),
    "Too much happens in `$name`: $count values are worked out by hand that a comprehension could give.",
)
def much_at_once(piece: Piece, random: Random) -> Fault | None:
    words = Words(piece, random)
    i, o, f = words["item"], words["other"], words["field"]
    keys = _many(piece, random, random.randint(13, 17))
    name = f"{words['verb']}_{i}_{o}"
    how = random.choice(
        (
            "Map.get({i}, :{k}, 0) + Map.get({o}, :{k}, 0)",
            "max(Map.get({i}, :{k}, 0), Map.get({o}, :{k}, 0))",
            "String.length(to_string({i}[:{k}])) + length(List.wrap({o}[:{k}]))",
        )
    )
    body = "\n".join(f"  {k} = {how.format(i=i, o=o, k=k)}" for k in keys)
    result = ", ".join(f"{k}: {k}" for k in keys)
    faulty = f"def {name}({i}, {o}) do\n{body}\n  %{{{result}}}\nend"
    listed = " ".join(keys)
    looped = how.replace(":{k}", "key").format(i=i, o=o, k="")
    clean = f"def {name}({i}, {o}) do\n  Map.new(~w({listed})a, fn key -> {{key, {looped}}} end)\nend"
    return _pair(piece, random, clean, faulty, {"name": name, "count": str(len(keys)), "field": f})


@rule(
    "Refactor.Nesting",
    "The body of `$name` is nested four blocks deep; let a `with` or functions of their own carry the steps.",
    "`$name` puts one decision inside of another and again. A `with` says the same in a straight line.",
)
def blocks_in_blocks(piece: Piece, random: Random) -> Fault | None:
    words = Words(piece, random)
    i, f, g, h = words["item"], words["field"], words["field2"], words["field3"]
    name = f"{words['verb']}_{words['other']}"
    style = random.randrange(3)
    if style == 0:
        faulty = (
            f"def {name}({i}) do\n  case Map.fetch({i}, :{f}) do\n    {{:ok, {f}}} ->\n"
            f"      case Map.fetch({f}, :{g}) do\n        {{:ok, {g}}} ->\n"
            f"          if is_list({g}) do\n            {{:ok, {g}}}\n          else\n"
            f"            {{:error, :no_list}}\n          end\n\n        :error ->\n"
            f"          {{:error, :no_{g}}}\n      end\n\n    :error ->\n      {{:error, :no_{f}}}\n"
            f"  end\nend"
        )
        clean = (
            f"def {name}({i}) do\n  with {{:ok, {f}}} <- Map.fetch({i}, :{f}),\n"
            f"       {{:ok, {g}}} when is_list({g}) <- Map.fetch({f}, :{g}) do\n    {{:ok, {g}}}\n"
            f"  end\nend"
        )
    elif style == 1:
        faulty = (
            f"def {name}({i}) do\n  if is_map({i}) do\n    if {i}.{f} do\n      if {i}.{g} do\n"
            f"        Map.fetch!({i}, :{h})\n      end\n    end\n  end\nend"
        )
        clean = f"def {name}(%{{{f}: true, {g}: true}} = {i}), do: Map.fetch!({i}, :{h})\ndef {name}(_{i}), do: nil"
    else:
        faulty = (
            f"def {name}({i}, opts) do\n  unless is_nil({i}) do\n    case opts[:{f}] do\n      nil ->\n"
            f"        {i}\n\n      {f} ->\n        if {f} > {words['n']} do\n          cond do\n"
            f"            {f} > {i}.{g} -> Map.put({i}, :{g}, {f})\n"
            f"            {f} < {i}.{h} -> Map.put({i}, :{h}, {f})\n            true -> {i}\n"
            f"          end\n        end\n    end\n  end\nend"
        )
        clean = (
            f"def {name}(nil, _opts), do: nil\n\ndef {name}({i}, opts), do: {name}_by({i}, opts[:{f}])\n"
            f"\ndefp {name}_by({i}, nil), do: {i}\n"
            f"defp {name}_by({i}, {f}) when {f} > {words['n']}, do: Map.put({i}, :{g}, {f})\n"
            f"defp {name}_by({i}, {f}), do: Map.put({i}, :{h}, {f})"
        )
    return _pair(piece, random, clean, faulty, {"name": name})


@rule(
    "Refactor.FunctionArity",
    "`$name` takes $count parameters, and no caller gets their order right; pass a map, a struct or a keyword list.",
    "$count arguments are too many for `$name`. Gather those that belong together in one value.",
)
def many_parameters(piece: Piece, random: Random) -> Fault | None:
    words = Words(piece, random)
    keys = _many(piece, random, random.randint(9, 12))
    name = random.choice(
        (
            f"new_{words['item']}",
            f"{words['verb']}_{words['item']}",
            f"build_{words['other']}",
            f"{words['verb']}_{words['items']}",
        )
    )
    listed, fields = ", ".join(keys), ", ".join(f"{k}: {k}" for k in keys)
    result = random.choice((f"%{{{fields}}}", f"{{{listed}}}", f"[{fields}]"))
    kind = random.choice(("def", "def", "defp"))
    shape = random.choice((f"%{{{fields}}}", f"{words['item']}"))
    clean = f"{kind} {name}({shape}) do\n  {result if shape != words['item'] else '{:ok, ' + words['item'] + '}'}\nend"
    return _pair(
        piece, random, clean, f"{kind} {name}({listed}) do\n  {result}\nend", {"name": name, "count": str(len(keys))}
    )


@rule(
    "Warning.StructFieldAmount",
    (
        "The struct of `$name` has $count fields; from 32 on the machine keeps it in another, "
        "slower form. Group fields into structs of their own."
    ),
    "$count fields in one struct are too many. Move those about one thing into a map or a struct inside `$name`.",
    takes=("module",),
)
def wide_struct(piece: Piece, random: Random) -> Fault | None:
    words = Words(piece, random)
    nouns = draw(random, nouns_of(piece.code), 9)
    parts = random.sample(
        ["name", "status", "price", "kind", "amount", "level", "owner", "title", "state", "rank", "total", "label"], 5
    )
    fields = [f"{noun}_{part}" for noun in nouns for part in parts][: random.randint(32, 42)]
    name = camel(words["item"]) + random.choice(("Record", "State", "Options", "Settings", "Row"))
    style = random.random()

    def block(listed: list[str]) -> str:
        inner = (
            ", ".join(":" + each for each in listed) if style < 0.5 else ", ".join(f"{each}: nil" for each in listed)
        )
        return f"defmodule {name} do\n  @moduledoc false\n\n  defstruct [{inner}]\nend"

    return _pair(piece, random, block(nouns), block(fields), {"name": name, "count": str(len(fields))})


@rule(
    "Refactor.ModuleDependencies",
    (
        "`$module` refers to $count other modules, more than 10; let a list in the configuration "
        "name them, or split the module."
    ),
    "One module that knows $count others is hard to change. Hand the modules to `$name` as an argument.",
    takes=("module",),
)
def many_modules(piece: Piece, random: Random) -> Fault | None:
    words = Words(piece, random)
    nouns = [camel(n) for n in draw(random, nouns_of(piece.code), random.randint(11, 14))]
    root, v, i = words["root"] + random.choice(("", "Web", "Core")), words["verb"], words["item"]
    name = f"{v}_{words['items']}"
    modules = [f"{root}.{noun}{random.choice(('', 'Server', 'Store', 'Worker'))}" for noun in nouns]
    style = random.randrange(2)
    if style == 0:
        calls = ",\n".join(f"    {m}.{v}({i})" for m in modules)
        faulty = f"def {name}({i}) do\n  [\n{calls}\n  ]\nend"
        clean = f"def {name}({i}, modules) do\n  Enum.map(modules, & &1.{v}({i}))\nend"
    else:
        clauses = "\n".join(f"def {name}(:{n.lower()}, {i}), do: {m}.{v}({i})" for n, m in zip(nouns, modules))
        faulty = clauses
        clean = (
            f"def {name}(kind, {i}) do\n"
            f"  :{words['app']} |> Application.fetch_env!(:{words['items']}) |> Keyword.fetch!(kind) |> "
            f"apply(:{v}, List.wrap({i}))\n"
            f"end"
        )
    return _pair(piece, random, clean, faulty, {"module": piece.module, "name": name, "count": str(len(modules))})


@rule(
    "Design.DuplicatedCode",
    "`$copy` repeats the body of `$name` word for word; let it call `$name`.",
    "The same code stands in `$name` and in `$copy`. Keep it in one place.",
)
def body_twice(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    names = [d.name for d in text.definitions]
    sites = [
        d
        for d in text.definitions
        if d.body
        and d.params
        and names.count(d.name) == 1
        and d.body[1] - d.body[0] >= 3
        and d.kind in ("def", "defp")
        and sum(map(len, text.lines[d.body[0] : d.body[1] + 1])) > 260
        and all(p.isidentifier() for p in d.params)
        and not d.name.endswith(("?", "!"))
    ]
    definition = choose(random, sites)
    if definition is None:
        return None
    words = Words(piece, random)
    name = definition.name
    copy = random.choice(
        (
            f"{name}_again",
            f"do_{name}",
            f"{name}_{words['field']}",
            f"{name}_for_{words['other']}",
            f"{words['verb']}_{name}",
        )
    )
    body = dedented(text.lines[definition.start : definition.end + 1])
    faulty = "\n".join([body[0].replace(name, copy, 1), *body[1:]])
    params = ", ".join(definition.params)
    return _pair(
        piece, random, f"{definition.kind} {copy}({params}), do: {name}({params})", faulty, {"name": name, "copy": copy}
    )


@rule(
    "Design.DuplicatedCode",
    "`$name` and `$copy` do the same steps; write them once and call them from both.",
    "The pipeline of `$name` stands a second time in `$copy`. Move it into a function of its own.",
)
def pipeline_twice(piece: Piece, random: Random) -> Fault | None:
    words = Words(piece, random)
    i, s, f, g, h = words["item"], words["items"], words["field"], words["field2"], words["field3"]
    name, copy = f"{words['verb']}_{s}", f"{words['verb']}_{words['others']}"
    steps = random.sample(
        (
            f"|> Enum.filter(fn {i} -> {i}.{f} > {words['n']} and {i}.{g} != nil and {i}.{h} < {words['m']} end)",
            f"|> Enum.map(fn {i} -> {{{i}.{f}, String.upcase({i}.{g}), {i}.{h} * {words['m']} + {words['n']}}} end)",
            f"|> Enum.reject(fn {i} -> is_nil({i}) or elem({i}, 0) == :{f} or elem({i}, 1) in [:{g}, :{h}] end)",
            f"|> Enum.reduce(%{{}}, fn {i}, acc -> Map.update(acc, elem({i}, 0), [{i}], &[{i} | &1]) end)",
            f"|> Enum.sort_by(fn {i} -> {{elem({i}, 1), elem({i}, 0), map_size(elem({i}, 2))}} end)",
        ),
        4,
    )
    body = f"  {s}\n" + "\n".join("  " + step for step in steps)
    faulty = (
        f"def {name}({s}) do\n{body}\nend\n\ndef {copy}({s}, opts) do\n"
        f"  opts = Keyword.put(opts, :{f}, {words['n']})\n\n  result =\n"
        f"{body.replace(chr(10) + '  ', chr(10) + '    ').replace('  ' + s, '    ' + s, 1)}\n\n"
        f"  {{opts, result}}\nend"
    )
    clean = (
        f"def {name}({s}) do\n{body}\nend\n\ndef {copy}({s}, opts) do\n"
        f"  opts = Keyword.put(opts, :{f}, {words['n']})\n  {{opts, {name}({s})}}\nend"
    )
    return _pair(piece, random, clean, faulty, {"name": name, "copy": copy})


@rule(
    "Refactor.LongQuoteBlocks",
    (
        "The `quote` of `$name` is $count lines long, all of which is compiled anew into every "
        "module that uses it; put the functions into a module and delegate."
    ),
    "Macros should quote little. Move the $count lines of `$name` into ordinary functions that the quoted code calls.",
    takes=("module",),
)
def long_quote(piece: Piece, random: Random) -> Fault | None:
    words = Words(piece, random)
    nouns = draw(random, nouns_of(piece.code), 30)
    f, m = words["field"], words["m"]
    bodies = [
        f"Map.get({{n}}, :{f}, {m})",
        f"{{{{:{f}, {{n}}}}}}",
        "List.wrap({n})",
        f"%{{{{{f}: {{n}}}}}}",
        "to_string({n})",
        "{{:ok, {n}}}",
    ]
    functions: list[list[str]] = []
    size = random.randint(152, 175)
    while sum(len(each) + 1 for each in functions) < size:
        n = nouns[len(functions) % len(nouns)]
        suffix = f"_{random.choice(('name', 'key', 'value', 'info', 'label', 'count'))}_{len(functions)}"
        functions.append([f"def {n}{suffix}({n}) do", "  " + random.choice(bodies).format(n=n), "end"])
    lines = [line for each in functions for line in [*each, ""]]
    quoted = "\n".join("    " + line if line else "" for line in lines)
    plain = "\n".join("  " + line if line else "" for line in lines)
    macro = random.choice(("__using__(_opts)", f"define_{words['items']}", f"{words['verb']}_{words['items']}(_opts)"))
    name = macro.partition("(")[0]
    module = words["Item"] + "Functions"
    faulty = f"defmacro {macro} do\n  quote do\n{quoted.rstrip()}\n  end\nend"
    clean = (
        f"defmodule {module} do\n  @moduledoc false\n\n{plain.rstrip()}\nend\n\n"
        f"defmacro {macro} do\n  quote do\n    import {module}\n  end\nend"
    )
    return _pair(piece, random, clean, faulty, {"name": name, "count": str(len(lines))})
