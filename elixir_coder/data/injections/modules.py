"""Faults of a module's own parts: its documentation, aliases, their order, specifications, structs and tests."""

from __future__ import annotations

import re
from itertools import pairwise
from random import Random

from elixir_coder.data.injections.rule import Fault, Piece, rule, with_helper
from elixir_coder.data.injections.words import Words, camel, draw, nouns_of

_MODULE = ("module",)


@rule(
    "Readability.ModuleDoc",
    "`$module` has no `@moduledoc`; say in a sentence what it is for, or write `@moduledoc false`.",
    "The module `$module` is not documented. Begin it with a `@moduledoc`.",
    takes=_MODULE,
)
def no_moduledoc(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    start = next((n for n, line in enumerate(text.bare) if line.startswith("  @moduledoc ")), None)
    if start is None or text.lines[start].strip() == "@moduledoc false":
        return None
    end = start
    while end + 1 < len(text.bare) and text.bare[end + 1].startswith("\x01"):
        end += 1
    end += text.bare[end + 1] == ""
    return Fault(code=piece.code, before=text.with_lines(start, end, []), names={"module": piece.module})


@rule(
    "Readability.ModuleDoc",
    "`$module`, inside of another module, has no `@moduledoc`; say what it is for, or write `@moduledoc false`.",
    "Nothing tells what `$module` is for. Begin it with a `@moduledoc`.",
    takes=_MODULE,
    made=True,
)
def inner_module_without_doc(piece: Piece, random: Random) -> Fault | None:
    words = Words(piece, random)
    name = words["Item"] + random.choice(("", "Entry", "Options", "Store", "State"))
    docs = (
        "One ITEM with its FIELD.",
        "Keeps what is known of an ITEM.",
        "Settings of an ITEM.",
        "The FIELD of each ITEM.",
    )
    doc = random.choice(docs).replace("ITEM", words["item"]).replace("FIELD", words["field"])
    item, one, two = words["item"], words["field"], words["field2"]
    shapes = (
        f"defstruct [:{one}, :{two}]",
        f"def {words['verb']}({item}), do: {item}.{one}",
        f"@type t :: %{{{one}: term()}}\n\n  def new({one}), do: %{{{one}: {one}}}",
    )
    body = random.choice(shapes)
    seed = random.random()
    code, before = (
        with_helper(piece, f"defmodule {name} do\n{head}  {body}\nend", Random(seed))
        for head in (f'  @moduledoc "{doc}"\n\n', "")
    )
    return Fault(code=code, before=before, names={"module": name})


@rule(
    "Readability.Specs",
    "`$function` is public and has no `@spec`; write down what it takes and gives.",
    "Callers of `$function` learn its types from nowhere. Add a `@spec`.",
)
def spec_taken_away(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    specs = [n for n, line in enumerate(text.bare) if re.match(r" *@spec \w", line)]
    code = piece.code
    if any(d.kind == "def" for d in text.definitions) and len(specs) < len(
        {d.name for d in text.definitions if d.kind == "def"}
    ):
        return None
    if not specs:
        words = Words(piece, random)
        i, f = words["item"], words["field"]
        spec, body = random.choice(
            (
                ("@spec NAME(map()) :: term()", f"def NAME({i}), do: Map.get({i}, :{f})"),
                (
                    "@spec NAME([map()]) :: non_neg_integer()",
                    f"def NAME({words['items']}) do\n  Enum.count({words['items']}, & &1.{f})\nend",
                ),
                (
                    "@spec NAME(String.t(), keyword()) :: {:ok, String.t()} | :error",
                    f"def NAME({i}, opts) do\n  if opts[:{f}], do: {{:ok, String.trim({i})}}, else: :error\nend",
                ),
                (
                    "@spec NAME(map(), integer()) :: map()",
                    f"def NAME({i}, {f}) when is_integer({f}) do\n  Map.put({i}, :{f}, {f})\nend",
                ),
            )
        )
        name = random.choice(
            (f"{words['verb']}_{i}", f"{words['verb']}_{i}_{f}", f"{i}_{f}", f"{words['verb']}_{words['items']}")
        )
        seed = random.random()
        code = with_helper(piece, f"{spec}\n{body}".replace("NAME", name), Random(seed))
        return Fault(
            code=code, before=with_helper(piece, body.replace("NAME", name), Random(seed)), names={"function": name}
        )
    start = random.choice(specs)
    name = re.match(r" *@spec (\w+[?!]?)", text.bare[start])[1]  # type: ignore[index]
    end = start
    while end + 1 < len(text.bare) and re.match(rf"{text.indent(start)} +\S", text.bare[end + 1]):
        end += 1
    before = text.with_lines(start, end, [])
    if re.search(rf"^ *@spec {re.escape(name)}\b", before, re.MULTILINE):
        return None
    return Fault(code=code, before=before, names={"function": name})


@rule(
    "Readability.ImplTrue",
    "`@impl true` does not say whose callback `$function` is; write `@impl $behaviour`.",
    "Name the behaviour: `@impl $behaviour` instead of `@impl true` above `$function`.",
)
def impl_true(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    behaviours = [m[1] for m in text.find(r"^  (?:use|@behaviour) ([A-Z][\w.]*)")]
    places = [n for n, line in enumerate(text.bare) if re.fullmatch(r" *@impl true", line)]
    words = Words(piece, random)
    if not places:
        behaviour = random.choice(
            ("GenServer", "Supervisor", "Access", "Plug", f"{words['root']}.{words['Other']}", f"{words['Item']}Store")
        )
        i, f, r = words["item"], words["field"], words["other"]
        functions = {
            "GenServer": (
                f"def init({i}) do\n  {{:ok, %{{{f}: {i}}}}}\nend",
                f"def handle_call(:{f}, _from, {i}) do\n  {{:reply, {i}.{f}, {i}}}\nend",
                f"def handle_cast({{:put, {f}}}, {i}) do\n  {{:noreply, %{{{i} | {f}: {f}}}}}\nend",
                f"def handle_info(:{words['field2']}, {i}) do\n  {{:noreply, {i}}}\nend",
            ),
            "Supervisor": (f"def init({i}) do\n  Supervisor.init([{{Task, {i}}}], strategy: :one_for_one)\nend",),
            "Access": (
                f"def fetch({i}, key), do: Map.fetch({i}.{f}, key)",
                f"def pop({i}, key), do: Map.pop({i}, key)",
            ),
            "Plug": (f"def call(conn, {i}), do: Map.put(conn, :{f}, {i})", f"def init({i}), do: {i}"),
        }.get(
            behaviour,
            (
                f"def {words['verb']}({i}), do: {{:ok, {i}}}",
                f"def {words['verb']}_{r}({i}, {r}) do\n  {{:{f}, {i}, {r}}}\nend",
            ),
        )
        body = random.choice(functions)
        name = re.match(r"def (\w+)", body)[1]  # type: ignore[index]
        seed = random.random()
        code, before = (with_helper(piece, f"@impl {what}\n{body}", Random(seed)) for what in (behaviour, "true"))
        return Fault(code=code, before=before, names={"function": name, "behaviour": behaviour})
    behaviour = behaviours[0] if behaviours else f"{words['root']}.{words['Item']}"
    named = re.search(r"^ *defp? (\w+)", "\n".join(text.lines[places[0] :]), re.MULTILINE)
    code = re.sub(r"^( *)@impl true$", rf"\1@impl {behaviour}", piece.code, flags=re.MULTILINE)
    return Fault(code=code, before=piece.code, names={"function": named[1] if named else "it", "behaviour": behaviour})


# ------------------------------------------------------------------------------------------------------------ aliases


def _header(piece: Piece) -> tuple[list[str], int]:
    """The lines of a module, and the number of the one behind its documentation."""
    text = piece.text
    number = 1
    while number < len(text.bare) and (
        text.bare[number].startswith(("  @moduledoc", "\x01")) or not text.bare[number].strip()
    ):
        number += 1
    return text.lines, number


def _uses(random: Random, names: list[str], words: Words, item: str) -> str:
    """A function that calls each of the modules."""
    verb, f = words["verb"], words["field"]
    if len(names) == 1:
        body = random.choice(
            (
                f"{names[0]}.{verb}({item})",
                f"{item} |> {names[0]}.new() |> {names[0]}.{verb}(:{f})",
                f"%{{{f}: {names[0]}.{f}({item})}}",
            )
        )
        return f"def {verb}_{item}_{f}({item}) do\n  {body}\nend"
    calls = [f"{name}.{verb}({item})" for name in names]
    body = random.choice(
        (
            "[" + ", ".join(calls) + "]",
            "{" + ", ".join(calls) + "}",
            f"with :ok <- {calls[0]} do\n    {calls[1]}\n  end" if len(calls) == 2 else "[" + ", ".join(calls) + "]",
        )
    )
    return f"def {verb}_{item}_{f}({item}) do\n  {body}\nend"


def _with_directives(piece: Piece, random: Random, lines: list[str], function: str) -> str:
    """The module with these lines at its head, in a block of their own, and one more function."""
    with_function = with_helper(piece, function, Random(random.random()))
    head, number = _header(Piece(code=with_function, kind="module", path="", module=piece.module, package=""))
    return "\n".join([*head[:number], *("  " + line if line else "" for line in lines), "", *head[number:]])


def _modules(piece: Piece, random: Random, count: int) -> list[str]:
    """Last parts of module names, of nouns that stand in the code, that no alias takes yet."""
    nouns = [word for word in draw(random, nouns_of(piece.code), count + 6) if camel(word) not in piece.code]
    return [camel(word) for word in nouns[:count]]


def directives(
    check: str,
    says: tuple[str, ...],
    name: str,
    shapes: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...],
    count: int = 2,
) -> None:
    """A rule that writes lines at the head of a module: (faulty, clean), where $A, $B and $C are modules in the order
    of the alphabet, $R is the root of their names and $F another name."""

    def write(piece: Piece, random: Random) -> Fault | None:
        names = sorted(_modules(piece, random, count))
        if len(names) < count or re.search(r"^  (alias|use|import|require) ", piece.code, re.MULTILINE):
            return None
        words = Words(piece, random)
        root = random.choice(
            (words["root"], piece.module.rpartition(".")[0] or words["root"], words["root"] + words["Third"])
        )
        faulty, clean = random.choice(shapes)
        fill = {**dict(zip(("$A", "$B", "$C", "$D"), names)), "$R": root, "$F": camel(words["field4"])}
        used = [camel(words["field4"])] if any("as: $F" in line for line in faulty) else names
        state = random.random()
        texts = []
        for lines in (clean, faulty):
            own = Random(state)
            filled = []
            for line in lines:
                for key, value in fill.items():
                    line = line.replace(key, value)
                filled.append(line)
            called = used if lines is faulty else names
            mine = [each for each in called if re.search(rf"\b{each}\b", "\n".join(filled))] or names
            texts.append(_with_directives(piece, own, filled, _uses(Random(state), mine, words, words["item"])))
        shown = [line for line in faulty if line]
        for key, value in fill.items():
            shown = [line.replace(key, value) for line in shown]
        early, late = next(((a, b) for a, b in pairwise(shown) if a > b), (shown[0], shown[-1]))
        info = {
            "early": early,
            "late": late,
            **{key[1:].lower(): value for key, value in fill.items()},
            "braces": next((line for line in shown if "{" in line), shown[0]),
            "shown": shown[0],
            "last": shown[-1],
            "module": piece.module,
        }
        return Fault(code=texts[0], before=texts[1], names=info)

    rule(check, *says, takes=_MODULE, name=name)(write)


directives(
    "Readability.AliasOrder",
    (
        "The aliases are not in alphabetical order: `$late` belongs before `$early`.",
        "Sort the aliases of `$module`; `$early` stands before `$late`.",
    ),
    "aliases_out_of_order",
    (
        (("alias $R.$B", "alias $R.$A"), ("alias $R.$A", "alias $R.$B")),
        (("alias $R.$B", "alias $R.$A", "alias $R.$C"), ("alias $R.$A", "alias $R.$B", "alias $R.$C")),
        (("alias $R.$C", "alias $R.$A", "alias $R.$B"), ("alias $R.$A", "alias $R.$B", "alias $R.$C")),
        (("alias $R.$A", "alias $R.$C", "alias $R.$B"), ("alias $R.$A", "alias $R.$B", "alias $R.$C")),
    ),
    count=3,
)
directives(
    "Readability.MultiAlias",
    (
        (
            "`$braces` names several modules at once, which a search for one of them does not find; "
            "write an `alias` for each."
        ),
        "Aliases in braces are hard to search for and to diff. Give each module of `$braces` a line of its own.",
    ),
    "aliases_in_braces",
    (
        (("alias $R.{$A, $B}",), ("alias $R.$A", "alias $R.$B")),
        (("alias $R.{$A, $B, $C}",), ("alias $R.$A", "alias $R.$B", "alias $R.$C")),
        (("alias $R.$A", "alias $R.$F.{$B, $C}"), ("alias $R.$A", "alias $R.$F.$B", "alias $R.$F.$C")),
    ),
    count=3,
)
directives(
    "Readability.UnnecessaryAliasExpansion",
    (
        "The braces in `$braces` hold a single module; leave them out.",
        "`$braces` expands one name only. Write the alias without braces.",
    ),
    "braces_around_one",
    (
        (("alias $R.{$A}",), ("alias $R.$A",)),
        (("alias $R.$A", "alias $R.{$B}"), ("alias $R.$A", "alias $R.$B")),
        (("import Enum, only: [map: 2]", "", "alias $R.{$A}"), ("import Enum, only: [map: 2]", "", "alias $R.$A")),
    ),
)
directives(
    "Readability.AliasAs",
    (
        "`$last` gives the module another name, and readers have to keep both in mind; use its own.",
        "With `as:` the module is called $f here and something else everywhere. Alias it without.",
    ),
    "alias_under_another_name",
    ((("alias $R.$A, as: $F",), ("alias $R.$A",)), (("alias $R.$F.$A, as: $F",), ("alias $R.$F.$A",))),
)
directives(
    "Readability.SeparateAliasRequire",
    (
        "`alias` and `require` are interleaved in `$module`; keep each kind together.",
        "A `require` stands between the aliases of `$module`. Group the directives by kind.",
    ),
    "directives_mixed",
    (
        (("alias $R.$A", "require Logger", "alias $R.$B"), ("require Logger", "", "alias $R.$A", "alias $R.$B")),
        (
            ("require Logger", "alias $R.$A", "require Integer"),
            ("require Integer", "require Logger", "", "alias $R.$A"),
        ),
        (
            ("alias $R.$A", "require Record", "alias $R.$B", "alias $R.$C"),
            ("require Record", "", "alias $R.$A", "alias $R.$B", "alias $R.$C"),
        ),
    ),
    count=3,
)
directives(
    "Readability.StrictModuleLayout",
    (
        (
            "The parts of `$module` are out of order: `$last` comes too late. `use`, `import`, "
            "`require` and `alias` follow each other, then attributes."
        ),
        "`$last` should stand above `$shown`. Keep to the order use, import, require, alias, attributes.",
    ),
    "parts_out_of_order",
    (
        (("alias $R.$A", "use GenServer"), ("use GenServer", "", "alias $R.$A")),
        (("alias $R.$A", "import Enum, only: [map: 2]"), ("import Enum, only: [map: 2]", "", "alias $R.$A")),
        (("require Logger", "import Bitwise"), ("import Bitwise", "", "require Logger")),
        (("defstruct [:id]", "", "alias $R.$A"), ("alias $R.$A", "", "defstruct [:id]")),
        (("@default_limit 10", "", "alias $R.$A"), ("alias $R.$A", "", "@default_limit 10")),
        (("@type key :: atom()", "", "require Logger"), ("require Logger", "", "@type key :: atom()")),
    ),
)
directives(
    "Consistency.MultiAliasImportRequireUse",
    (
        "Some aliases of `$module` are grouped in braces and some stand alone; keep to one way.",
        "`$braces` groups its modules while the others have a line each. Write all of them the same way.",
    ),
    "braces_beside_single_lines",
    (
        (
            ("alias $F.{Entry, Shelf}", "alias $R.$A", "alias $R.$B", "alias $R.Data.$C", "alias $R.Data.$D"),
            ("alias $F.Entry", "alias $F.Shelf", "alias $R.$A", "alias $R.$B", "alias $R.Data.$C", "alias $R.Data.$D"),
        ),
        (
            ("alias $R.{$A, $B}", "alias $R.Core.$C", "alias $R.Core.$D", "alias $R.Web.Page", "alias $R.Web.Router"),
            (
                "alias $R.$A",
                "alias $R.$B",
                "alias $R.Core.$C",
                "alias $R.Core.$D",
                "alias $R.Web.Page",
                "alias $R.Web.Router",
            ),
        ),
    ),
    count=4,
)


@rule(
    "Design.AliasUsage",
    "`$full` is called by its full name; alias it at the top of the module and write `$short`.",
    "The name `$full` is long and nested. An `alias $full` lets the code say `$short`.",
    takes=_MODULE,
)
def nested_module_in_full(piece: Piece, random: Random) -> Fault | None:
    words = Words(piece, random)
    names = _modules(piece, random, 2)
    if len(names) < 2 or re.search(r"^  (alias|use|import|require) ", piece.code, re.MULTILINE):
        return None
    short = names[0]
    full = ".".join(
        (random.choice((words["root"], words["root"] + "Web")), random.choice((names[1], words["Third"])), short)
    )
    if full.count(short) > 1:
        return None
    function = _uses(random, ["SHORT"], words, words["item"])
    state = random.random()
    code = _with_directives(piece, Random(state), [f"alias {full}"], function.replace("SHORT", short))
    before = with_helper(piece, function.replace("SHORT", full), Random(Random(state).random()))
    return Fault(code=code, before=before, names={"full": full, "short": short})


@rule(
    "Warning.ApplicationConfigInModuleAttribute",
    (
        "`@$attribute` is read from the configuration while the module is compiled, so that later "
        "settings do not count. Read it in a function."
    ),
    "The setting in `@$attribute` is frozen at compile time. Call `Application.$call` where the value is needed.",
    takes=_MODULE,
)
def setting_in_attribute(piece: Piece, random: Random) -> Fault | None:
    words = Words(piece, random)
    attribute = random.choice(
        (f"{words['item']}_{words['field']}", words["field"], f"default_{words['item']}", f"max_{words['items']}")
    )
    call = random.choice(("get_env", "fetch_env!", "get_env"))
    default = (
        f", {random.choice((words['n'], '[]', ':' + words['field2'], 'nil'))}"
        if call == "get_env" and random.random() < 0.7
        else ""
    )
    key = random.choice((f":{attribute}", piece.module, f":{words['items']}"))
    read = f"Application.{call}(:{words['app']}, {key}{default})"
    body = random.choice(
        (
            "def NAME({i}) do\n  {{{i}, VALUE}}\nend",
            "def NAME do\n  VALUE\nend",
            "defp NAME({i}) do\n  Map.put({i}, :{f}, VALUE)\nend",
        )
    )
    name = f"{words['verb']}_{attribute}"
    if name.count("@") or f"@{attribute} " in piece.code:
        return None
    body = body.format(i=words["item"], f=words["field"]).replace("NAME", name)
    seed = random.random()
    code = with_helper(piece, body.replace("VALUE", read), Random(seed))
    before = with_helper(piece, f"@{attribute} {read}\n\n" + body.replace("VALUE", "@" + attribute), Random(seed))
    return Fault(code=code, before=before, names={"attribute": attribute, "call": call})


@rule(
    "Consistency.ExceptionNames",
    "`$odd` is named unlike the other exceptions, which end in `Error`; call it `$even`.",
    "Exceptions should share a suffix: `$even` rather than `$odd`.",
    takes=_MODULE,
)
def odd_exception(piece: Piece, random: Random) -> Fault | None:
    words = Words(piece, random)
    nouns = random.sample(["Missing", "Invalid", "Unknown", "Expired", "Closed", "Broken", "Late", "Empty"], 3)
    names = [f"{nouns[0]}{words['Item']}Error", f"{words['Other']}{nouns[1]}Error", f"{nouns[2]}{words['Third']}Error"]
    odd = random.choice(
        (
            f"Bad{words['Field'] if 'Field' in words.names else camel(words['field'])}",
            f"No{words['Item']}{camel(words['field2'])}",
            f"{words['Other']}Trouble",
            f"{camel(words['field'])}Problem",
        )
    )
    even = odd + "Error"

    def blocks(last: str) -> str:
        listed = [*names, last]
        field = f"[:{words['field']}, :message]" if state < 0.5 else "[:message]"
        return "\n\n".join(f"defmodule {name} do\n  @moduledoc false\n  defexception {field}\nend" for name in listed)

    state = random.random()
    lines = piece.code.rstrip("\n")
    if state < 0.5:
        cut = lines.rfind("\nend")
        if cut < 0:
            return None

        def nested(block: str) -> str:
            return (
                lines[:cut]
                + "\n\n"
                + "\n".join("  " + line if line else line for line in block.split("\n"))
                + lines[cut:]
                + "\n"
            )

        return Fault(code=nested(blocks(even)), before=nested(blocks(odd)), names={"odd": odd, "even": even})
    return Fault(
        code=lines + "\n\n" + blocks(even) + "\n",
        before=lines + "\n\n" + blocks(odd) + "\n",
        names={"odd": odd, "even": even},
    )


# -------------------------------------------------------------------------------------------------------------- tests


def _test_module(piece: Piece, random: Random, *, use: str, tag: str = "", name: str = "") -> tuple[str, str]:
    """A test file about the piece's module: (text, its name)."""
    words = Words(piece, random)
    functions = [d for d in piece.text.definitions if d.kind == "def"]
    called = random.choice(functions).name if functions else words["verb"]
    module = name or f"{piece.module}Test"
    body = random.choice(
        (
            f"assert function_exported?({words['last']}, :{called}, {random.randint(0, 3)})",
            (
                f"{words['item']} = %{{{words['field']}: {words['n']}}}\n"
                f"    assert {words['item']}.{words['field']} == {words['n']}"
            ),
            f"assert is_list({words['last']}.module_info(:exports))",
            f"refute {words['last']}.{called}([]) == :{words['field']}",
            f"{words['items']} = [{words['m']}, {words['n']}]\n    assert Enum.sum({words['items']}) > 0",
        )
    )
    title = random.choice(
        (
            f"{called} with {words['items']}",
            f"knows its {words['items']}",
            f"{called} keeps the {words['field']}",
            f"gives the {words['field']} of {words['items']}",
            f"refuses a {words['item']} without {words['field']}",
        )
    )
    alias = f"  alias {piece.module}\n\n" if words["last"] in body and "." in piece.module else ""
    described = random.random() < 0.4
    test = f'{tag}test "{title}" do\n    {body}\n  end'
    if described:
        inner = test.replace("\n", "\n  ")
        test = f'describe "{called}" do\n    {inner}\n  end'
    return f"defmodule {module} do\n  {use}\n\n{alias}  {test}\nend\n", title


def _test_path(piece: Piece) -> str:
    stem = re.sub(r"^(lib|src|test)/", "", piece.path).removesuffix(".exs").removesuffix(".ex").removesuffix("_test")
    return f"test/{stem}_test.exs"


@rule(
    "Refactor.PassAsyncInTestCases",
    "`$use` does not say whether the tests may run beside others; pass `async: true` or `async: false`.",
    "The test case `$module` leaves `async` open. Say it: `use ExUnit.Case, async: true`.",
)
def async_left_open(piece: Piece, random: Random) -> Fault | None:
    seed, use = random.random(), "use ExUnit.Case"
    value = random.choice((", async: true", ", async: true", ", async: false"))
    if "use ExUnit.Case, async: true" in piece.code and piece.is_module and piece.path.startswith("test/"):
        before = piece.code.replace("use ExUnit.Case, async: true", use)
        return Fault(code=piece.code, before=before, names={"use": use, "module": piece.module})
    use = random.choice(
        (
            use,
            use,
            f"use {Words(piece, Random(seed))['root']}.DataCase",
            f"use {Words(piece, Random(seed))['root']}Web.ConnCase",
        )
    )
    code, _ = _test_module(piece, Random(seed), use=use + value)
    before, _ = _test_module(piece, Random(seed), use=use)
    return Fault(
        code=code,
        before=before,
        names={"use": use, "module": f"{piece.module}Test"},
        path=_test_path(piece),
        kind="module",
    )


@rule(
    "Design.SkipTestWithoutComment",
    'The test "$title" is skipped and nothing says why; write the reason in a comment above the tag.',
    '`@tag :skip` without a comment leaves everybody guessing. Say when "$title" may run again.',
)
def skipped_in_silence(piece: Piece, random: Random) -> Fault | None:
    words = Words(piece, random)
    why = random.choice(
        (
            f"needs {words['items']} on disk",
            f"fails on old machines, see the {words['other']} issue",
            f"slow: reads {words['n']} {words['items']}",
            f"until {words['last']} knows the {words['field']}",
            f"the {words['item']} service is not there in CI",
            "flaky under load",
            f"waits for a release of {words['others']}",
        )
    )
    seed = random.random()
    tag = "@tag :skip\n  "
    code, title = _test_module(piece, Random(seed), use="use ExUnit.Case, async: true", tag=f"# {why}\n  {tag}")
    before, _ = _test_module(piece, Random(seed), use="use ExUnit.Case, async: true", tag=tag)
    return Fault(code=code, before=before, names={"title": title}, path=_test_path(piece), kind="module")


@rule(
    "Warning.WrongTestFilename",
    (
        "`$path` says `$use`, yet `mix test` runs files that end in `_test.exs` only. A helper "
        "should import what it needs."
    ),
    "`$module` is a helper and no test case: `$use` does not belong in `$path`. Import `ExUnit.Assertions` instead.",
)
def helper_that_is_a_case(piece: Piece, random: Random) -> Fault | None:
    words = Words(piece, random)
    i, f = words["item"], words["field"]
    name = random.choice(
        (f"{words['Item']}Helpers", f"{words['Item']}Assertions", f"{words['Item']}Factory", f"{words['Other']}Support")
    )
    use = random.choice(
        ("use ExUnit.Case", "use ExUnit.Case, async: true", f"use {words['root']}.DataCase, async: true")
    )
    body = random.choice(
        (
            f"def assert_{i}({i}, {f}) do\n    assert {i}.{f} == {f}\n    {i}\n  end",
            f"def valid_{i}?({i}) do\n    assert is_map({i})\n    Map.has_key?({i}, :{f})\n  end",
            (
                f"def refute_{f}({words['items']}) do\n    for {i} <- {words['items']} do\n"
                f"      refute {i}.{f}\n    end\n  end"
            ),
            (
                f"def assert_{f}_in({words['items']}, {f}) do\n"
                f"    assert Enum.any?({words['items']}, &(&1.{f} == {f}))\n  end"
            ),
        )
    )
    path = f"test/support/{re.sub(r'(?<!^)(?=[A-Z])', '_', name).lower()}.ex{random.choice(('', '', 's'))}"
    texts = [
        f"defmodule {words['root']}.{name} do\n  @moduledoc false\n\n  {how}\n\n  {body}\nend\n"
        for how in ("import ExUnit.Assertions", use)
    ]
    names = {"path": path, "use": use, "module": f"{words['root']}.{name}"}
    return Fault(code=texts[0], before=texts[1], names=names, path=path, kind="module")
