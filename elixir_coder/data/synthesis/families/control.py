"""Choosing and taking apart: guards, cond and tables; binaries; chains of `with`; small text formats."""

# ruff: noqa: E501 -- Elixir and sentences are kept on one line each; small functions of a table have no name

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from elixir_coder.data.synthesis.choices import Axis, Choices, Fault, Way, style, wanted
from elixir_coder.data.synthesis.domains import Atom, camel, draw_entity
from elixir_coder.data.synthesis.draft import Draft, Family
from elixir_coder.data.synthesis.functions import Raises, Task, exercise, in_context
from elixir_coder.data.synthesis.writing import Raw, fill, literal

OK, ERROR = Atom("ok"), Atom("error")


def classify(rng: random.Random) -> Draft:
    """A number into bands."""
    e = draw_entity(rng)
    count = rng.randint(3, 5)
    names = [
        Atom(x)
        for x in rng.sample(
            ["tiny", "low", "small", "normal", "fair", "high", "large", "huge", "extreme", "severe"], count
        )
    ]
    limits = sorted(rng.sample(range(max(e.amount.low, 1) + 1, e.amount.high), count - 1))
    function = rng.choice(["classify", f"{e.amount.name}_class", "band", "level", "grade"])
    a = e.amount.name
    as_text = rng.random() < 0.4
    out = (lambda name: str(name)) if as_text else (lambda name: name)
    says = [literal(out(name)) for name in names]

    def code(c: Choices) -> str:
        sign = "<=" if c["border"] == "in" else "<"
        bad = c["negative"] == "raise"
        if c["form"] == "guards":
            lines = [f"def $f({a}) when {a} {sign} {limit}, do: {say}" for limit, say in zip(limits, says)]
            if bad:
                lines.insert(0, f'def $f({a}) when {a} < 0, do: raise(ArgumentError, "negative {a}")')
            text = "\n".join([*lines, f"def $f(_{a}), do: {says[-1]}"])
        elif c["form"] == "cond":
            lines = [f"{a} {sign} {limit} -> {say}" for limit, say in zip(limits, says)]
            if bad:
                lines.insert(0, f'{a} < 0 -> raise ArgumentError, "negative {a}"')
            text = f"def $f({a}) do\n  cond do\n    " + "\n    ".join([*lines, f"true -> {says[-1]}"]) + "\n  end\nend"
        else:
            table = ", ".join(f"{{{limit}, {say}}}" for limit, say in zip(limits, says))
            guard = f" when {a} >= 0" if bad else ""
            text = f"def $f({a}){guard} do\n  [{table}]\n  |> Enum.find_value({says[-1]}, fn {{limit, name}} -> if {a} {sign} limit, do: name end)\nend"
            if bad:
                text += f'\n\ndef $f(_{a}), do: raise(ArgumentError, "negative {a}")'
        return fill(text, f=function)

    def run(c: Choices) -> Callable[..., Any]:
        def answer(value: int) -> Any:
            if value < 0 and c["negative"] == "raise":
                return Raises("ArgumentError", f"negative {a}")
            for limit, name in zip(limits, names):
                if value < limit or (c["border"] == "in" and value == limit):
                    return out(name)
            return out(names[-1])

        return answer

    rule = ", ".join(f"{say} up to {limit}" for limit, say in zip(limits, says))
    return exercise(
        rng,
        Task(
            function=function,
            arguments=((a, "integer()"),),
            returns="String.t()" if as_text else "atom()",
            documentation=f"The class of {a}: {rule}, then {says[-1]}.",
            titles=(
                f"`{function}/1`, which tells the class of {a} ({e.unit}): {rule}, and {says[-1]} beyond that",
                f"a function `{function}` that sorts a number of {e.unit} into classes: {rule}, else {says[-1]}",
            ),
            axes={
                "border": Axis(
                    ways={
                        "in": Way(ask="A limit itself belongs to the lower class.", answer="To the lower class."),
                        "out": Way(ask="A limit itself belongs to the next class.", answer="To the next class."),
                    },
                    question=f"To which class does exactly {limits[0]} belong?",
                ),
                "negative": Axis(
                    ways={
                        "allow": Way(),
                        "raise": Way(
                            ask=f'A negative number raises an `ArgumentError`, "negative {a}".',
                            request=f'Raise an `ArgumentError`, "negative {a}", for negative numbers.',
                        ),
                    }
                ),
                "form": style("guards", "cond", "table"),
            },
            code=code,
            run=run,
            samples=[(limits[0] - 1,), (limits[-1] + 1,)],
            edges=[*((limit,) for limit in limits), (limits[0] + 1,), (0,), (-1,)],
            faults=(
                Fault(
                    f" <= {limits[0]}", f" < {limits[0]}", "off_by_one", "The limit itself falls into the next class."
                ),
                Fault(
                    f" < {limits[0]}", f" <= {limits[0]}", "off_by_one", "The limit itself falls into the lower class."
                ),
                Fault(f"{a} <= limit", f"{a} < limit", "off_by_one", "A limit itself falls into the next class."),
                Fault(f"{a} < limit", f"{a} <= limit", "off_by_one", "A limit itself falls into the lower class."),
                Fault(
                    f"when {a} < 0, do", f"when {a} < -9, do", "wrong_condition", "Small negative numbers slip through."
                ),
            ),
            explanation="The limits are tried from the lowest to the highest, so each test only needs its upper bound; the order carries the rest.",
        ),
        family="control_classify",
        module_name=in_context(
            rng, camel(rng.choice([f"{e.singular}_{e.kind.name}s", f"{e.amount.name}_classes", f"{e.singular}_bands"]))
        ),
        difficulty=1,
    )


def binary(rng: random.Random) -> Draft:
    """A packet of bit fields."""
    pool = rng.sample(
        [
            "version",
            "type",
            "flags",
            "priority",
            "sequence",
            "channel",
            "port",
            "ttl",
            "code",
            "window",
            "level",
            "node",
        ],
        rng.randint(2, 4),
    )
    sizes = [rng.choice([4, 8, 12, 16]) for _ in pool]
    sizes[-1] += (-sum(sizes)) % 8
    payload = rng.choice(["rest", "length", "none"])
    endian = rng.choice(["", "", "-little"])
    function = rng.choice(["decode", "parse", "unpack", "read"])
    e = draw_entity(rng)
    name = in_context(rng, rng.choice(["Packet", "Frame", "Header", f"{e.module}Message", "Datagram"]))
    magic = rng.choice([None, rng.randint(1, 255)])
    values = [[rng.randrange(1, 2**size) for size in sizes] for _ in range(2)]
    data = rng.choice([b"hi", b"ok!", b"abc"])

    def encode(vs: list[int]) -> bytes:
        bits = "".join(_bits(v, s, bool(endian) and s == 16) for v, s in zip(vs, sizes))
        head = int(bits, 2).to_bytes(len(bits) // 8, "big")
        head = (bytes([magic]) if magic is not None else b"") + head
        return head + (bytes([len(data)]) + data if payload == "length" else data if payload == "rest" else b"")

    def bits(size: int) -> str:
        return f"{size}{endian}" if size == 16 and endian else str(size)

    fields = [f"{n}::{bits(s)}" for n, s in zip(pool, sizes)]
    if magic is not None:
        fields.insert(0, str(magic))
    tail = {"rest": ["payload::binary"], "length": ["size", "payload::binary-size(size)"], "none": []}[payload]
    keys = [*pool, *(["payload"] if payload != "none" else [])]
    pattern = f"<<{', '.join([*fields, *tail])}>>"
    made = "%{" + ", ".join(f"{k}: {k}" for k in keys) + "}"

    def code(c: Choices) -> str:
        good, bad = {
            "tuple": (f"{{:ok, {made}}}", "{:error, :malformed}"),
            "nil": (made, "nil"),
            "raise": (made, 'raise(ArgumentError, "malformed packet")'),
        }[c["errors"]]
        if c["form"] == "clauses":
            text = f"def $f({pattern}) do\n  {good}\nend\n\ndef $f(_other), do: {bad}"
        else:
            text = f"def $f(binary) do\n  case binary do\n    {pattern} -> {good}\n    _other -> {bad}\n  end\nend"
        if c["encode"]:
            built = [
                *fields,
                *(
                    {"rest": ["payload::binary"], "length": ["byte_size(payload)", "payload::binary"], "none": []}[
                        payload
                    ]
                ),
            ]
            text += f'\n\n@doc "The bytes of a decoded packet; the opposite of `$f/1`."\n@spec encode(map()) :: binary()\ndef encode({made}) do\n  <<{", ".join(built)}>>\nend'
        return fill(text, f=function)

    def packet(vs: list[int]) -> dict[str, Any]:
        return {**dict(zip(pool, vs)), **({"payload": data.decode()} if payload != "none" else {})}

    def raw(given: bytes) -> Raw:
        return Raw("<<" + ", ".join(map(str, given)) + ">>")

    good = {str(raw(encode(vs))): packet(vs) for vs in values}

    def run(c: Choices) -> Callable[..., Any]:
        def answer(given: Raw) -> Any:
            if str(given) in good:
                return (OK, good[str(given)]) if c["errors"] == "tuple" else good[str(given)]
            return {
                "tuple": (ERROR, Atom("malformed")),
                "nil": None,
                "raise": Raises("ArgumentError", "malformed packet"),
            }[c["errors"]]

        return answer

    broken = encode(values[0])
    short = broken[:1] if len(broken) > 1 else b""
    wrong = bytes([(magic + 1) % 256]) + broken[1:] if magic is not None else b""
    layout = ", ".join(
        [
            *([f"the byte {magic}"] if magic is not None else []),
            *(f"`{n}` ({s} bits{', little endian' if s == 16 and endian else ''})" for n, s in zip(pool, sizes)),
            *(
                {
                    "rest": ["then the payload"],
                    "length": ["one byte with the payload's size", "and the payload"],
                    "none": [],
                }[payload]
            ),
        ]
    )
    i = len(pool) - 1
    after = ""
    return exercise(
        rng,
        Task(
            function=function,
            arguments=(("binary", "binary()"),),
            returns="term()",
            documentation=f"The fields of a packet: {layout}.",
            after=after,
            titles=(
                f"`{function}/1`, which takes a binary packet apart with pattern matching: {layout}",
                f"a parser `{function}/1` for a binary format: {layout}. The fields are the keys of a map",
            ),
            axes={
                "errors": Axis(
                    ways={
                        "tuple": Way(
                            ask="It answers `{:ok, map}`, or `{:error, :malformed}` for anything else.",
                            answer="`{:error, :malformed}`, and `{:ok, map}` otherwise.",
                            request="Answer `{:ok, map}` or `{:error, :malformed}`.",
                        ),
                        "nil": Way(
                            ask="It answers the map, or nil for anything else.",
                            answer="nil, and the map itself otherwise.",
                        ),
                        "raise": Way(
                            ask='It answers the map and raises an `ArgumentError`, "malformed packet", for anything else.',
                            answer='Raise an ArgumentError, "malformed packet".',
                            request='Raise an `ArgumentError`, "malformed packet", instead.',
                        ),
                    },
                    question="What should it give for bytes that do not fit the format?",
                ),
                "encode": wanted(
                    "`encode/1` builds the binary from such a map.",
                    "Add `encode/1`, which builds the binary from such a map.",
                ),
                "form": style("clauses", "case"),
            },
            code=code,
            run=run,
            samples=[(raw(encode(vs)),) for vs in values],
            edges=[(raw(short),), (raw(b""),), *([(raw(wrong),)] if wrong else [])],
            faults=(
                Fault(
                    f"{pool[i]}::{sizes[i]}",
                    f"{pool[i]}::{sizes[i]}-unit(2)",
                    "wrong_size",
                    f"`{pool[i]}` is read with twice its width.",
                ),
                Fault(
                    f"{pool[0]}: {pool[0]}",
                    f"{pool[0]}: {pool[1]}",
                    "swapped_fields",
                    f"`{pool[0]}` gets the value of another field.",
                ),
                Fault(
                    "size, payload",
                    "_size, size, payload",
                    "wrong_offset",
                    "A byte too many is read before the payload.",
                ),
                Fault("{:error, :malformed}", ":error", "wrong_error", "The error should be `{:error, :malformed}`."),
            ),
            explanation="One pattern says where every field lies, in bits; a binary that does not fit falls through to the last clause.",
        ),
        family="control_binary",
        module_name=name,
        difficulty=3,
        operations=("binary", "pattern_matching"),
    )


def _bits(value: int, size: int, little: bool) -> str:
    if little:
        value = int.from_bytes(value.to_bytes(2, "little"), "big")
    return format(value, f"0{size}b")


def chain(rng: random.Random) -> Draft:
    """Several steps that may fail, on a map with text keys."""
    e = draw_entity(rng)
    function = rng.choice(["parse", "validate", f"build_{e.singular}", "cast", "check"])
    a, l, k, o = e.amount.name, e.label.name, e.kind.name, e.owner.name  # noqa: E741
    kinds = list(e.kind.values)
    low, high = 1, max(e.amount.high, 5)
    steps = [l, *rng.sample([a, k, o, "email", "date"], rng.randint(2, 3))]
    steps = list(dict.fromkeys(steps))
    good = {
        l: e.label.draw(rng),
        a: str(rng.randint(low, high)),
        k: str(rng.choice(kinds)),
        o: e.owner.draw(rng),
        "email": "ada@example.org",
        "date": f"2024-0{rng.randint(1, 9)}-1{rng.randint(0, 9)}",
    }
    code_of = {
        l: (
            f'defp fetch_$x(%{{"{l}" => $x}}) when is_binary($x) and $x != "", do: {{:ok, $x}}\ndefp fetch_$x(_params), do: {{:error, :missing_$x}}',
            l,
        ),
        a: (
            f'defp fetch_$x(params) do\n  case Integer.parse(Map.get(params, "{a}", "")) do\n    {{$x, ""}} when $x in {low}..{high} -> {{:ok, $x}}\n    _other -> {{:error, :invalid_$x}}\n  end\nend',
            a,
        ),
        k: (
            "\n".join(f'defp fetch_$x(%{{"{k}" => "{each}"}}), do: {{:ok, :{each}}}' for each in kinds)
            + "\ndefp fetch_$x(_params), do: {:error, :unknown_$x}",
            k,
        ),
        o: (
            f'defp fetch_$x(params) do\n  case params |> Map.get("{o}", "") |> String.trim() do\n    "" -> {{:error, :missing_$x}}\n    $x -> {{:ok, $x}}\n  end\nend',
            o,
        ),
        "email": (
            'defp fetch_$x(%{"email" => $x}) do\n  if $x =~ ~r/^[^@\\s]+@[^@\\s]+$/, do: {:ok, $x}, else: {:error, :invalid_$x}\nend\n\ndefp fetch_$x(_params), do: {:error, :invalid_$x}',
            "email",
        ),
        "date": (
            'defp fetch_$x(params) do\n  case Date.from_iso8601(Map.get(params, "date", "")) do\n    {:ok, $x} -> {:ok, $x}\n    {:error, _reason} -> {:error, :invalid_$x}\n  end\nend',
            "date",
        ),
    }
    errors = {
        l: f"missing_{l}",
        a: f"invalid_{a}",
        k: f"unknown_{k}",
        o: f"missing_{o}",
        "email": "invalid_email",
        "date": "invalid_date",
    }
    wrong: dict[str, list[str | None]] = {
        l: ["", None],
        a: ["x", str(high + 1), "", None],
        k: ["unheard", None],
        o: ["  ", None],
        "email": ["ada", None],
        "date": ["2024-13-01", None],
    }
    kept: dict[str, Any] = {
        l: good[l],
        a: int(good[a]),
        k: Atom(good[k]),
        o: good[o],
        "email": good["email"],
        "date": Raw(f"~D[{good['date']}]"),
    }

    def code(c: Choices) -> str:
        made = "%{" + ", ".join(f"{s}: {s}" for s in steps) + "}"
        result = {"map": f"{{:ok, {made}}}", "tuple": "{:ok, {" + ", ".join(steps) + "}}"}[c["result"]]
        helpers = "\n\n".join(fill(code_of[s][0], x=s) for s in steps)
        if c["form"] == "with":
            text = (
                "def $f(params) do\n  with "
                + ",\n       ".join(f"{{:ok, {s}}} <- fetch_{s}(params)" for s in steps)
                + f" do\n    {result}\n  end\nend"
            )
        else:
            body = result
            for s in reversed(steps):
                body = (
                    f"case fetch_{s}(params) do\n  {{:ok, {s}}} ->\n    "
                    + body.replace("\n", "\n    ")
                    + "\n\n  error ->\n    error\nend"
                )
            text = "def $f(params) do\n  " + body.replace("\n", "\n  ") + "\nend"
        if c["bang"]:
            text += '\n\n@doc "As `$f/1`, but raises an `ArgumentError`."\n@spec $f!(map()) :: term()\ndef $f!(params) do\n  case $f(params) do\n    {:ok, result} -> result\n    {:error, reason} -> raise ArgumentError, to_string(reason)\n  end\nend'.replace(
                "$f!", function + "!"
            )
        return fill(text + "\n\n" + helpers, f=function)

    def run(c: Choices) -> Callable[..., Any]:
        def answer(params: Raw) -> Any:
            given = dict(cases[str(params)])
            for s in steps:
                if s not in given or (s in wrong and given[s] in wrong[s]):
                    return (ERROR, Atom(errors[s]))
            return (OK, {s: kept[s] for s in steps}) if c["result"] == "map" else (OK, tuple(kept[s] for s in steps))

        return answer

    cases: dict[str, dict[str, Any]] = {}

    def case(given: dict[str, Any]) -> Raw:
        text = Raw("%{" + ", ".join(f"{literal(key)} => {literal(value)}" for key, value in given.items()) + "}")
        cases[str(text)] = given
        return text

    base = {s: good[s] for s in steps}
    samples = [(case(base),)]
    edges = [(case({}),)]
    for s in steps:
        for value in wrong[s]:
            edges.append((case({key: each for key, each in {**base, s: value}.items() if each is not None}),))
    edges.append((case({**base, steps[0]: wrong[steps[0]][0], steps[1]: wrong[steps[1]][0]}),))
    rules = {
        l: f"`{l}` must be a text that is not empty (`:missing_{l}`)",
        a: f"`{a}` an integer in the text from {low} to {high} (`:invalid_{a}`)",
        k: f"`{k}` one of {', '.join(map(str, kinds))}, which becomes an atom (`:unknown_{k}`)",
        o: f"`{o}` not blank; spaces around it are cut off (`:missing_{o}`)",
        "email": "`email` must have something on both sides of one @ (`:invalid_email`)",
        "date": "`date` an ISO date, which becomes a `Date` (`:invalid_date`)",
    }
    return exercise(
        rng,
        Task(
            function=function,
            arguments=(("params", "map()"),),
            returns="{:ok, term()} | {:error, atom()}",
            documentation=f"Checks the parameters of {e.singular} forms, in order.",
            titles=(
                f"`{function}/1`, which checks a map with text keys: " + "; ".join(rules[s] for s in steps),
                f"a function `{function}/1` for the parameters of a form. The rules, in order: "
                + "; ".join(rules[s] for s in steps),
            ),
            axes={
                "base": Axis(
                    ways={
                        "it": Way(ask="The first rule that fails gives `{:error, reason}` with the atom in brackets.")
                    }
                ),
                "result": Axis(
                    ways={
                        "map": Way(
                            ask="Otherwise it answers `{:ok, map}` with atom keys.",
                            answer="A map with atom keys, in `{:ok, map}`.",
                        ),
                        "tuple": Way(
                            ask="Otherwise it answers `{:ok, values}`, a tuple in this order.",
                            answer="A tuple of the values in this order, in `{:ok, tuple}`.",
                            request="Answer the values as a tuple in this order instead of a map.",
                        ),
                    },
                    question="What should it answer when all is well: a map or a tuple of the values?",
                ),
                "bang": wanted(
                    f"`{function}!/1` raises an `ArgumentError` with the reason as its message.",
                    f"Add `{function}!/1` that raises an `ArgumentError` with the reason as its message.",
                ),
                "form": style("with", "case"),
            },
            code=code,
            run=run,
            samples=samples,
            edges=edges,
            faults=(
                Fault(f"{low}..{high}", f"{low}..{high + 1}", "off_by_one", f"{high + 1} is accepted."),
                Fault(" |> String.trim()", "", "missing_step", "A blank value is accepted."),
                Fault(f":missing_{l}", f":no_{l}", "wrong_error", "The reason is another atom than the one asked for."),
                Fault(f' and {l} != ""', "", "missing_check", f"An empty {l} is accepted."),
                Fault(
                    "{:error, :invalid_email}\nend",
                    "{:ok, email}\nend",
                    "wrong_error",
                    "Everything passes as an e-mail address.",
                ),
            ),
            explanation="Each rule is a small function that answers `{:ok, value}` or `{:error, reason}`; the chain stops at the first error and hands it on as it is.",
        ),
        family="control_chain",
        module_name=in_context(
            rng, camel(rng.choice([f"{e.singular}_params", f"{e.singular}_form", f"{e.singular}_input"]))
        ),
        difficulty=3,
        operations=("with", "validation"),
    )


def pairs(rng: random.Random) -> Draft:
    """Texts of keys and values."""
    between, joint = rng.choice([(";", "="), ("&", "="), (",", ":"), ("|", "="), ("\n", ":"), (" ", "="), (";", ":")])
    function = rng.choice(["parse", "decode", "read", "to_map"])
    e = draw_entity(rng)
    keys = [field.name for field in e.fields[:2]] + ["note"]
    number = rng.randint(2, 90)
    word = rng.choice(["x1", "abc", "open", "left"])
    convert = rng.choice(["none", "integer", "all"])
    sep, eq = literal(between), literal(joint)
    text = f"{keys[0]}{joint}{word}{between}{keys[1]}{joint}{number}"

    def value_code(name: str) -> str:
        return name if convert == "none" else f"convert({name})"

    def code(c: Choices) -> str:
        trim = ", trim: true"
        split = f"String.split(part, {eq}, parts: 2)"
        key = "String.downcase(key)" if c["case"] == "fold" else "key"
        first = c["repeat"] == "first"
        put = (
            f"Map.put_new(map, {key}, {value_code('value')})"
            if first
            else f"Map.put(map, {key}, {value_code('value')})"
        )
        lone = {"true": "[key] -> {key, true}", "skip": "", "error": ""}[c["lone"]]
        if c["lone"] == "error":
            text = f"""
            def $f(text) do
              text
              |> String.split({sep}{trim})
              |> Enum.reduce_while({{:ok, %{{}}}}, fn part, {{:ok, map}} ->
                case {split} do
                  [key, value] -> {{:cont, {{:ok, {put}}}}}
                  [_key] -> {{:halt, {{:error, {{:malformed, part}}}}}}
                end
              end)
            end
            """
        elif c["form"] == "reduce":
            lone = f"[key] -> {put.replace(value_code('value'), 'true')}" if c["lone"] == "true" else "[_key] -> map"
            text = f"""
            def $f(text) do
              text
              |> String.split({sep}{trim})
              |> Enum.reduce(%{{}}, fn part, map ->
                case {split} do
                  [key, value] -> {put}
                  {lone}
                end
              end)
            end
            """
        else:
            reverse = "\n              |> Enum.reverse()" if first else ""
            entry = f"[key, value] -> [{{{key}, {value_code('value')}}}]"
            other = f"[key] -> [{{{key}, true}}]" if c["lone"] == "true" else "[_key] -> []"
            text = f"""
            def $f(text) do
              text
              |> String.split({sep}{trim}){reverse}
              |> Enum.flat_map(fn part ->
                case {split} do
                  {entry}
                  {other}
                end
              end)
              |> Map.new()
            end
            """
        helper = {
            "none": "",
            "integer": '\n\ndefp convert(text) do\n  case Integer.parse(text) do\n    {number, ""} -> number\n    _other -> text\n  end\nend',
            "all": '\n\ndefp convert("true"), do: true\ndefp convert("false"), do: false\n\ndefp convert(text) do\n  case Integer.parse(text) do\n    {number, ""} -> number\n    _other -> text\n  end\nend',
        }[convert]
        return fill(text, f=function) + helper

    def conv(value: str) -> Any:
        if convert != "none" and value.lstrip("-").isdigit():
            return int(value)
        return {"true": True, "false": False}.get(value, value) if convert == "all" else value

    class Text(str):
        pass

    def run(c: Choices) -> Callable[..., Any]:
        def answer(text: str) -> Any:
            out: dict[str, Any] = {}
            for part in [p for p in text.split(between) if p]:
                key, found, value = part.partition(joint)
                key = key.lower() if c["case"] == "fold" else key
                if not found and c["lone"] == "error":
                    return (ERROR, (Atom("malformed"), part))
                if not found and c["lone"] == "skip":
                    continue
                result = conv(value) if found else True
                if not (c["repeat"] == "first" and key in out):
                    out[key] = result
            whole = {Text(key): value for key, value in out.items()}
            return (OK, whole) if c["lone"] == "error" else whole

        return answer

    shown = {"\n": "line breaks", " ": "spaces"}.get(between, f"`{between}`")
    conversion = {
        "none": "",
        "integer": " Values that are integers become numbers.",
        "all": " Values that are integers become numbers, and `true` and `false` booleans.",
    }[convert]
    return exercise(
        rng,
        Task(
            function=function,
            arguments=(("text", "String.t()"),),
            returns="map() | {:ok, map()} | {:error, term()}",
            documentation=f"The keys and values of a text such as {literal(text) if between != chr(10) else 'lines of `key' + joint + 'value`'}.",
            titles=(
                f"`{function}/1`, which reads pairs `key{joint}value` with {shown} between them into a map with text keys.{conversion} Empty parts are ignored",
                f"a small parser `{function}/1` for texts like `{text if between != chr(10) else 'key' + joint + 'value'}` ({shown} between the pairs) that gives a map with text keys.{conversion} Empty parts are ignored",
            ),
            axes={
                "repeat": Axis(
                    ways={
                        "last": Way(ask="Of a repeated key the last one counts.", answer="The last one."),
                        "first": Way(ask="Of a repeated key the first one counts.", answer="The first one."),
                    },
                    question="If a key occurs twice, which value counts?",
                ),
                "lone": Axis(
                    ways={
                        "skip": Way(ask=f"A part without `{joint}` is ignored.", answer="It is ignored."),
                        "true": Way(
                            ask=f"A part without `{joint}` is a key with the value true.",
                            answer="It is a key whose value is true.",
                            request=f"A part without `{joint}` should be a key with the value true.",
                        ),
                        "error": Way(
                            ask=f"It answers `{{:ok, map}}`; the first part without `{joint}` gives `{{:error, {{:malformed, part}}}}`.",
                            answer="It is an error, `{:error, {:malformed, part}}`, and otherwise the result is `{:ok, map}`.",
                            request=f"Answer `{{:ok, map}}`, or `{{:error, {{:malformed, part}}}}` for the first part without `{joint}`.",
                        ),
                    },
                    question=f"What about a part without `{joint}`?",
                ),
                "case": Axis(
                    ways={
                        "exact": Way(),
                        "fold": Way(ask="Keys are turned to lower case.", request="Turn the keys to lower case."),
                    }
                ),
                "form": Axis(
                    ways={"reduce": Way(), "flat_map": Way()}, is_style=True, when=lambda c: c["lone"] != "error"
                ),
            },
            code=code,
            run=run,
            samples=[(text,), (f"{keys[0]}{joint}{word}",)],
            edges=[
                ("",),
                (f"{keys[0]}{joint}1{between}{keys[0]}{joint}2",),
                (f"{keys[2]}{between}{keys[0]}{joint}x",),
                (f"{keys[0].upper()}{joint}{word}",),
                (f"{keys[0]}{joint}a{joint}b",),
                (f"{between}{keys[1]}{joint}true",),
            ],
            faults=(
                Fault(", parts: 2", "", "missing_option", f"A value with `{joint}` in it matches no clause."),
                Fault("Map.put_new(map", "Map.put(map", "conflict", "The last of repeated keys counts."),
                Fault("Map.put(map", "Map.put_new(map", "conflict", "The first of repeated keys counts."),
                Fault("\n    |> Enum.reverse()", "", "conflict", "The last of repeated keys counts."),
                Fault("String.downcase(key)", "String.upcase(key)", "wrong_function", "Keys become upper case."),
            ),
            explanation="The text is cut into parts and each part at its first separator only, so a value may contain it.",
        ),
        family="control_pairs",
        module_name=in_context(
            rng, camel(rng.choice([f"{e.singular}_text", "key_values", "settings_text", f"{e.singular}_line"]))
        ),
        difficulty=2,
        operations=("string_split", "case", "map"),
    )


def formats(rng: random.Random) -> Draft:
    """Well-known little formats."""
    a, b, c_ = (rng.randint(1, 9) for _ in range(3))
    unit_words = [("d", 86400), ("h", 3600), ("m", 60), ("s", 1)]
    units = unit_words[rng.randint(0, 1) :]

    def roman(n: int) -> str:
        out = ""
        for value, text in (
            (1000, "M"),
            (900, "CM"),
            (500, "D"),
            (400, "CD"),
            (100, "C"),
            (90, "XC"),
            (50, "L"),
            (40, "XL"),
            (10, "X"),
            (9, "IX"),
            (5, "V"),
            (4, "IV"),
            (1, "I"),
        ):
            while n >= value:
                out, n = out + text, n - value
        return out

    def duration(n: int) -> str:
        out = []
        for letter, size in units:
            if n >= size:
                out.append(f"{n // size}{letter}")
                n %= size
        return " ".join(out) or "0s"

    def clock(n: int) -> str:
        return f"{n // 3600:02}:{n % 3600 // 60:02}:{n % 60:02}"

    def grouped(n: int) -> str:
        return f"{n:,}".replace(",", mark)

    def bytes_(n: int) -> str:
        for unit in ("B", "kB", "MB"):
            if n < step:
                return f"{n} {unit}"
            n //= step
        return f"{n} GB"

    def ordinal(n: int) -> str:
        return f"{n}" + ("th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th"))

    mark, step = rng.choice([",", "'", "_", " "]), rng.choice([1000, 1024])
    pairs_ = ", ".join(
        f'{{{v}, "{t}"}}'
        for v, t in (
            (1000, "M"),
            (900, "CM"),
            (500, "D"),
            (400, "CD"),
            (100, "C"),
            (90, "XC"),
            (50, "L"),
            (40, "XL"),
            (10, "X"),
            (9, "IX"),
            (5, "V"),
            (4, "IV"),
            (1, "I"),
        )
    )
    unit_list = ", ".join(f'{{"{letter}", {size}}}' for letter, size in units)
    table: list[
        tuple[str, str, str, str, Callable[..., Any] | None, dict[str, str], list[Any], list[tuple[str, str]]]
    ] = [
        (
            "to_roman",
            "a number from 1 to 3999 in Roman numerals",
            "pos_integer()",
            "String.t()",
            roman,
            {
                "recursion": f'def $f(number), do: $f(number, [{pairs_}])\n\ndefp $f(0, _numerals), do: ""\ndefp $f(number, [{{value, text}} | _] = numerals) when number >= value, do: text <> $f(number - value, numerals)\ndefp $f(number, [_ | rest]), do: $f(number, rest)',
                "reduce": f'def $f(number) do\n  {{text, 0}} =\n    Enum.reduce([{pairs_}], {{"", number}}, fn {{value, numeral}}, {{text, rest}} ->\n      {{text <> String.duplicate(numeral, div(rest, value)), rem(rest, value)}}\n    end)\n\n  text\nend',
            },
            [100 * a + 9, 10 * b + 4, 1, 1990 + c_, 3999],
            [("number >= value", "number > value"), ('{4, "IV"}, ', "")],
        ),
        (
            "from_roman",
            "the value of a Roman numeral",
            "String.t()",
            "non_neg_integer()",
            None,
            {
                "pairs": 'def $f(""), do: 0\n'
                + "\n".join(
                    f'def $f("{t}" <> rest), do: {v} + $f(rest)'
                    for v, t in (
                        (900, "CM"),
                        (400, "CD"),
                        (90, "XC"),
                        (40, "XL"),
                        (9, "IX"),
                        (4, "IV"),
                        (1000, "M"),
                        (500, "D"),
                        (100, "C"),
                        (50, "L"),
                        (10, "X"),
                        (5, "V"),
                        (1, "I"),
                    )
                )
            },
            [roman(100 * a + 9), roman(10 * b + 4), "I", roman(1990 + c_)],
            [("do: 4 + ", "do: 6 + "), ("do: 9 + ", "do: 11 + ")],
        ),
        (
            "format_duration",
            f'a number of seconds as a text such as "{duration(7265)}", without parts that are 0',
            "non_neg_integer()",
            "String.t()",
            duration,
            {
                "reduce": f'def $f(0), do: "0s"\n\ndef $f(seconds) do\n  {{parts, 0}} =\n    Enum.map_reduce([{unit_list}], seconds, fn {{letter, size}}, rest ->\n      {{{{div(rest, size), letter}}, rem(rest, size)}}\n    end)\n\n  for({{count, letter}} when count > 0 <- parts, do: "#{{count}}#{{letter}}") |> Enum.join(" ")\nend',
                "recursion": f'def $f(0), do: "0s"\ndef $f(seconds), do: seconds |> parts([{unit_list}]) |> Enum.join(" ")\n\ndefp parts(0, _units), do: []\ndefp parts(seconds, [{{letter, size}} | rest]) when seconds >= size, do: ["#{{div(seconds, size)}}#{{letter}}" | parts(rem(seconds, size), rest)]\ndefp parts(seconds, [_unit | rest]), do: parts(seconds, rest)',
            },
            [3600 * a + 60 * b + c_, 7265, 0, 60, 86400 * 2 + 5],
            [("count > 0", "count >= 0"), ("seconds >= size", "seconds > size"), ('do: "0s"', 'do: ""')],
        ),
        (
            "parse_duration",
            'the number of seconds in a text such as "2h 5m" (units d, h, m and s), or :error',
            "String.t()",
            "non_neg_integer() | :error",
            None,
            {
                "reduce": 'def $f(text) do\n  text\n  |> String.split()\n  |> Enum.reduce_while(0, fn part, total ->\n    case Integer.parse(part) do\n      {count, unit} when unit in ["d", "h", "m", "s"] -> {:cont, total + count * seconds(unit)}\n      _other -> {:halt, :error}\n    end\n  end)\nend\n\ndefp seconds("d"), do: 86_400\ndefp seconds("h"), do: 3_600\ndefp seconds("m"), do: 60\ndefp seconds("s"), do: 1'
            },
            [f"{a}h {b}m", f"{c_}d", "", "5x", "12"],
            [("total + count", "count"), ("3_600", "360"), ("{:halt, :error}", "{:cont, total}")],
        ),
        (
            "clock",
            "a number of seconds as hh:mm:ss",
            "non_neg_integer()",
            "String.t()",
            clock,
            {
                "map_join": 'def $f(seconds) do\n  [div(seconds, 3600), seconds |> rem(3600) |> div(60), rem(seconds, 60)]\n  |> Enum.map_join(":", &pad/1)\nend\n\ndefp pad(number), do: number |> Integer.to_string() |> String.pad_leading(2, "0")',
                "interpolation": 'def $f(seconds) do\n  hours = div(seconds, 3600)\n  minutes = div(rem(seconds, 3600), 60)\n  "#{pad(hours)}:#{pad(minutes)}:#{pad(rem(seconds, 60))}"\nend\n\ndefp pad(number) when number < 10, do: "0#{number}"\ndefp pad(number), do: "#{number}"',
            },
            [3600 * a + 60 * b + c_, 59, 0, 3600, 36061],
            [
                ("number < 10", "number < 9"),
                ('pad_leading(2, "0")', "pad_leading(2)"),
                ("rem(3600) |> div(60)", "div(60)"),
            ],
        ),
        (
            "group_digits",
            f"a non-negative integer as a text with `{mark}` between groups of three digits",
            "non_neg_integer()",
            "String.t()",
            grouped,
            {
                "chunks": f'def $f(number) do\n  number\n  |> Integer.digits()\n  |> Enum.reverse()\n  |> Enum.chunk_every(3)\n  |> Enum.map_join("{mark}", &Enum.join/1)\n  |> String.reverse()\nend',
                "regex": f'def $f(number), do: number |> Integer.to_string() |> String.replace(~r/\\B(?=(\\d{{3}})+$)/, "{mark}")',
                "recursion": f'def $f(number) when number < 1000, do: Integer.to_string(number)\n\ndef $f(number) do\n  last = number |> rem(1000) |> Integer.to_string() |> String.pad_leading(3, "0")\n  $f(div(number, 1000)) <> "{mark}" <> last\nend',
            },
            [1234567 * a, 999, 0, 1000, 10000 + b],
            [
                ("chunk_every(3)", "chunk_every(4)"),
                ('|> String.pad_leading(3, "0")', ""),
                ("number < 1000", "number < 100"),
                ("\\d{3}", "\\d{2}"),
            ],
        ),
        (
            "format_bytes",
            f"a number of bytes with the largest fitting unit of B, kB, MB and GB ({step} each), rounded down",
            "non_neg_integer()",
            "String.t()",
            bytes_,
            {
                "recursion": f'def $f(bytes), do: $f(bytes, ["B", "kB", "MB", "GB"])\n\ndefp $f(amount, [unit | rest]) when amount < {step} or rest == [], do: "#{{amount}} #{{unit}}"\ndefp $f(amount, [_unit | rest]), do: $f(div(amount, {step}), rest)',
                "cond": f'def $f(bytes) do\n  cond do\n    bytes < {step} -> "#{{bytes}} B"\n    bytes < {step**2} -> "#{{div(bytes, {step})}} kB"\n    bytes < {step**3} -> "#{{div(bytes, {step**2})}} MB"\n    true -> "#{{div(bytes, {step**3})}} GB"\n  end\nend',
            },
            [step * a + 1, step * step * b, 0, step, step - 1, step**3 * 2],
            [(f"< {step}", f"<= {step}"), ('MB"\n', 'mB"\n')],
        ),
        (
            "ordinal",
            'a positive integer as an English ordinal such as "1st" or "12th"',
            "pos_integer()",
            "String.t()",
            ordinal,
            {
                "guards": 'def $f(number) when rem(number, 100) in 11..13, do: "#{number}th"\n\ndef $f(number) do\n  case rem(number, 10) do\n    1 -> "#{number}st"\n    2 -> "#{number}nd"\n    3 -> "#{number}rd"\n    _other -> "#{number}th"\n  end\nend',
                "cond": 'def $f(number), do: "#{number}#{ending(rem(number, 100))}"\n\ndefp ending(rest) when rest in [11, 12, 13], do: "th"\ndefp ending(rest) when rem(rest, 10) == 1, do: "st"\ndefp ending(rest) when rem(rest, 10) == 2, do: "nd"\ndefp ending(rest) when rem(rest, 10) == 3, do: "rd"\ndefp ending(_rest), do: "th"',
            },
            [a, 10 * b + 2, 11, 112, 101, 23, 13],
            [("11..13", "11..12"), ("[11, 12, 13]", "[11, 12]")],
        ),
    ]
    romans = {roman(n): n for n in range(1, 4000)}

    def parse_duration(text: str) -> Any:
        total = 0
        for part in text.split():
            if part[-1] not in "dhms":
                return Atom("error")
            total += int(part[:-1]) * dict(unit_words)[part[-1]]
        return total

    function, doc, given, returns, run, forms, samples, faults = rng.choice(table)
    answer = run or {"from_roman": romans.__getitem__, "parse_duration": parse_duration}[function]
    names = {
        "to_roman": ["to_roman", "roman"],
        "format_duration": ["format_duration", "duration", "humanize"],
        "clock": ["clock", "hhmmss", "format_time"],
        "ordinal": ["ordinal", "nth"],
        "format_bytes": ["format_bytes", "size", "readable_size"],
        "group_digits": ["group_digits", "delimit", "thousands"],
        "from_roman": ["from_roman", "roman_value"],
        "parse_duration": ["parse_duration", "to_seconds", "seconds_in"],
    }
    name = rng.choice(names[function])
    if function == "parse_duration":
        forms = {
            key: text.replace("defp seconds(", "defp length_of(").replace("* seconds(", "* length_of(")
            for key, text in forms.items()
        }
    arg = "text" if given == "String.t()" else "number"
    return exercise(
        rng,
        Task(
            function=name,
            arguments=((arg, given),),
            returns=returns,
            documentation=doc[0].upper() + doc[1:] + ".",
            titles=(f"`{name}/1`, which gives {doc}", f"a function `{name}` for {doc}", f"`{name}({arg})`: {doc}"),
            axes={
                "form": Axis(ways={key: Way() for key in forms}, is_style=True),
                "many": wanted(
                    f"`{name}_all/1` does it for every element of a list.", f"Add `{name}_all/1` for a list."
                ),
            },
            code=lambda c: fill(
                forms[c["form"]]
                + (
                    '\n\n@doc "The same for each element of a list."\n@spec $all([term()]) :: [term()]\ndef $all(list), do: Enum.map(list, &$f/1)'
                    if c["many"]
                    else ""
                ),
                f=name,
                all=f"{name}_all",
            ),
            run=lambda c: answer,
            samples=[(each,) for each in samples[:2]],
            edges=[(each,) for each in samples[2:]],
            faults=tuple(
                Fault(
                    fill(old, f=name) if old.strip() == old else old,
                    new,
                    "wrong_detail",
                    f"`{new or 'nothing'}` stands where `{old.strip()}` belongs.",
                )
                for old, new in faults
            ),
            explanation="The parts are taken from the largest to the smallest; each step leaves a remainder for the next.",
        ),
        family="control_formats",
        module_name=in_context(rng, rng.choice(["Format", "Formatting", "Display", "Text", "Units", "Human"])),
        difficulty=2,
    )


FAMILIES: dict[str, Family] = {
    "control_binary": binary,
    "control_chain": chain,
    "control_classify": classify,
    "control_formats": formats,
    "control_pairs": pairs,
}
