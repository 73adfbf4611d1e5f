"""Structs: defined, made and checked, changed, compared, shown, counted through protocols, and used by behaviours."""

# ruff: noqa: E501, E731 -- Elixir and sentences are kept on one line each; small functions of a table have no name

from __future__ import annotations

import random
from typing import Any

from elixir_coder.data.synthesis.choices import Axis, Choices, Fault, Program, Way, draw, style, wanted
from elixir_coder.data.synthesis.domains import Atom, draw_entity
from elixir_coder.data.synthesis.draft import Draft, Family
from elixir_coder.data.synthesis.functions import in_context
from elixir_coder.data.synthesis.writing import check, exunit, literal, module, record


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun.replace('_', ' ')}"


def validated(rng: random.Random) -> Draft:
    """A struct with a constructor that checks."""
    e = draw_entity(rng)
    name = in_context(rng, e.module)
    label, amount, kind, flag, owner = (each.name for each in e.fields)
    limit = rng.choice([e.amount.high, e.amount.high // 2 + 1])
    least = rng.choice([0, 1])
    kinds = list(e.kind.values)
    with_owner = rng.random() < 0.5
    good = {label: e.label.draw(rng), amount: rng.randint(max(least, 1), limit), kind: rng.choice(kinds)}
    if with_owner:
        good[owner] = e.owner.draw(rng)
    new_amount = good[amount] - 1 if good[amount] > least else good[amount] + 1

    def build(c: Choices) -> Program:
        style_, checks, all_ = c["errors"], c["form"], c["collect"]
        default = kinds[0]
        fields = (
            [f":{label}", f":{amount}"]
            + ([f":{owner}"] if with_owner else [])
            + [f"{kind}: {literal(default)}", f"{flag}: false"]
        )
        enforced = [f":{label}", f":{amount}"]
        types = ", ".join(
            [
                f"{label}: String.t()",
                f"{amount}: {e.amount.type}",
                *([f"{owner}: String.t() | nil"] if with_owner else []),
                f"{kind}: {' | '.join(map(literal, kinds))}",
                f"{flag}: boolean()",
            ]
        )
        names = [label, amount, kind]
        rules = {
            label: (f'is_binary({label}) and {label} != ""', "must be a text that is not empty"),
            amount: (f"is_integer({amount}) and {amount} in {least}..{limit}", f"must be between {least} and {limit}"),
            kind: (f"{kind} in [{', '.join(map(literal, kinds))}]", "is not known"),
        }
        helper = []
        for field in names:
            test, message = rules[field]
            if checks == "clauses":
                helper.append(f"defp check(:{field}, {field}) when {test}, do: :ok")
                helper.append(f'defp check(:{field}, _{field}), do: {{:error, {{:{field}, "{message}"}}}}')
            else:
                helper.append(
                    f'defp check(:{field}, {field}) do\n  if {test}, do: :ok, else: {{:error, {{:{field}, "{message}"}}}}\nend\n'
                )
        struct_of = "struct!(__MODULE__, fields)"
        if all_:
            body = (
                f"fields = Map.new(fields)\nfields = Map.put_new(fields, :{kind}, {literal(default)})\n\n"
                f"problems =\n  for field <- [{', '.join(':' + f for f in names)}], {{:error, problem}} <- [check(field, fields[field])], do: problem\n\n"
                "if problems == [], do: {:ok, struct!(__MODULE__, fields)}, else: {:error, problems}"
            )
        else:
            steps = ",\n     ".join(f":ok <- check(:{f}, fields[:{f}])" for f in names)
            body = (
                f"fields = fields |> Map.new() |> Map.put_new(:{kind}, {literal(default)})\n\n"
                f"with {steps} do\n  {{:ok, {struct_of}}}\nend"
            )
        errors = "[{atom(), String.t()}]" if all_ else "{atom(), String.t()}"
        text = '{field, message} -> "#{field} #{message}"'
        bang = ""
        if style_ == "both":
            raised = (
                'Enum.map_join(problems, ", ", fn {field, message} -> "#{field} #{message}" end)'
                if all_
                else '"#{field} #{message}"'
            )
            pattern = "problems" if all_ else "{field, message}"
            bang = f'@doc "As `new/1`, but raises an `ArgumentError`."\n@spec new!(Enumerable.t()) :: t()\ndef new!(fields) do\n  case new(fields) do\n    {{:ok, {e.singular}}} -> {e.singular}\n    {{:error, {pattern}}} -> raise ArgumentError, {raised}\n  end\nend'
        del text
        change = ""
        if c["update"]:
            change = (
                f'@doc "Changes the {amount}, within its bounds."\n@spec put_{amount}(t(), term()) :: {{:ok, t()}} | {{:error, {{atom(), String.t()}}}}\n'
                f"def put_{amount}(%__MODULE__{{}} = {e.singular}, {amount}) do\n  with :ok <- check(:{amount}, {amount}), do: {{:ok, %{{{e.singular} | {amount}: {amount}}}}}\nend"
            )
        shown = ""
        if c["shown"]:
            shown = f'defimpl String.Chars do\n  def to_string({e.singular}), do: "#{{{e.singular}.{label}}} (#{{{e.singular}.{amount}}} {e.unit})"\nend'
        code = module(
            name,
            f"{_a(e.singular).capitalize()}.",
            f"@enforce_keys [{', '.join(enforced)}]\ndefstruct [{', '.join(fields)}]",
            f"@type t :: %__MODULE__{{{types}}}",
            f'@doc "Makes {_a(e.singular)} of a map or a keyword list, if its fields are right."\n@spec new(Enumerable.t()) :: {{:ok, t()}} | {{:error, {errors}}}\ndef new(fields) do\n'
            + "\n".join("  " + line if line else "" for line in body.split("\n"))
            + "\nend",
            bang,
            change,
            "\n".join(helper),
            shown,
        )

        def bad(field: str, value: Any) -> str:
            problem = (Atom(field), rules[field][1])
            return (
                literal((Atom("error"), [problem] if all_ else problem))
                if not all_
                else f"{{:error, [{literal(problem)}]}}"
            )

        def made(**changes: Any) -> str:
            return record({**good, **changes})

        expected = f"{{:ok, {record({kind: default, **good, flag: False}, name)}}}"
        both = (
            f"{{:error, [{literal((Atom(label), rules[label][1]))}, {literal((Atom(amount), rules[amount][1]))}]}}"
            if all_
            else bad(label, "")
        )
        without = {key: value for key, value in good.items() if key != kind}
        n = f"{name}.new"
        tests = exunit(
            name,
            check(
                "makes one",
                f"assert {n}({made()}) == {expected}\nassert {{:ok, %{name}{{{kind}: {literal(default)}}}}} = {n}({record(without)})",
            ),
            check(
                "takes a keyword list",
                f"assert {{:ok, %{name}{{}}}} = {n}({', '.join(f'{key}: {literal(value)}' for key, value in good.items())})",
            ),
            check(
                "refuses what is wrong",
                f"assert {n}({made(**{label: ''})}) == {bad(label, '')}\nassert {n}({made(**{amount: limit + 1})}) == {bad(amount, 0)}\nassert {n}({made(**{amount: least - 1})}) == {bad(amount, 0)}\nassert {n}({made(**{kind: Atom('unheard')})}) == {bad(kind, 0)}",
            ),
            check(
                "accepts the bounds",
                f"assert {{:ok, _}} = {n}({made(**{amount: limit})})\nassert {{:ok, _}} = {n}({made(**{amount: least})})",
            ),
            check("several faults", f"assert {n}({made(**{label: '', amount: limit + 1})}) == {both}"),
            check(
                "new!/1",
                f'assert {name}.new!({made()}).{label} == {literal(good[label])}\nassert_raise ArgumentError, "{amount} {rules[amount][1]}", fn -> {name}.new!({made(**{amount: limit + 1})}) end',
            )
            if style_ == "both"
            else "",
            check(
                "change",
                f"{{:ok, {e.singular}}} = {n}({made()})\nassert {{:ok, %{name}{{{amount}: {new_amount}}}}} = {name}.put_{amount}({e.singular}, {new_amount})\nassert {name}.put_{amount}({e.singular}, {limit + 1}) == {literal((Atom('error'), (Atom(amount), rules[amount][1])))}",
            )
            if c["update"]
            else "",
            check(
                "as a text",
                f'{{:ok, {e.singular}}} = {n}({made()})\nassert to_string({e.singular}) == "{good[label]} ({good[amount]} {e.unit})"',
            )
            if c["shown"]
            else "",
        )
        return Program(
            code=code,
            tests=tests,
            explanation="`@enforce_keys` catches what is missing where the struct is written out; `new/1` checks values that come from outside and "
            + ("gathers everything that is wrong." if all_ else "stops at the first that is wrong."),
            faults=(
                Fault(
                    f"{least}..{limit}",
                    f"{least}..{limit - 1}",
                    "off_by_one",
                    f"The upper bound {limit} itself is refused.",
                ),
                Fault(f' and {label} != ""', "", "missing_check", f"An empty {label} is accepted."),
                Fault(
                    f"Map.put_new(fields, :{kind}",
                    f"Map.put(fields, :{kind}",
                    "wrong_function",
                    f"The {kind} that was given is overwritten by the default.",
                ),
                Fault(
                    f"Map.put_new(:{kind}",
                    f"Map.put(:{kind}",
                    "wrong_function",
                    f"The {kind} that was given is overwritten by the default.",
                ),
                Fault(
                    f", do: {{:ok, %{{{e.singular} | {amount}: {amount}}}}}",
                    f", do: {{:ok, {e.singular}}}",
                    "state_not_updated",
                    "The struct comes back unchanged.",
                ),
            ),
            signatures=["new(Enumerable.t())"],
        )

    return draw(
        rng,
        family="struct_validated",
        name=f"{name}.new/1",
        module=name,
        titles=(
            f"a struct for {_a(e.singular)} with a `new/1` that checks its fields",
            f"a struct `{e.module}` ({label}, {amount}, {'optional ' + owner + ', ' if with_owner else ''}{kind}, {flag}) with validation in `new/1`",
        ),
        axes={
            "rules": Axis(
                ways={
                    "it": Way(
                        ask=f"Fields: `{label}` (a text, not empty), `{amount}` ({least} to {limit}), "
                        + (f"`{owner}` (not checked), " if with_owner else "")
                        + f"`{kind}` (one of {', '.join(map(literal, kinds))}; {literal(kinds[0])} by default) and `{flag}` (false by default). `new/1` takes a map or keyword list and answers `{{:ok, struct}}`."
                    )
                }
            ),
            "collect": Axis(
                ways={
                    False: Way(
                        ask='The first field that is wrong, in this order, gives `{:error, {field, message}}`; the messages are "must be a text that is not empty", "must be between '
                        + f'{least} and {limit}" and "is not known".',
                        answer="Only the first one, as `{:error, {field, message}}`.",
                    ),
                    True: Way(
                        ask='All fields that are wrong give `{:error, [{field, message}, ...]}` in this order; the messages are "must be a text that is not empty", "must be between '
                        + f'{least} and {limit}" and "is not known".',
                        answer="All of them, as `{:error, [{field, message}]}`.",
                        request="Report everything that is wrong, not only the first: `{:error, [{field, message}]}`.",
                    ),
                },
                question="If several fields are wrong, should the error name the first one or all of them?",
            ),
            "errors": Axis(
                ways={
                    "tuple": Way(),
                    "both": Way(
                        ask="`new!/1` raises an `ArgumentError` with field and message instead.",
                        request="Add `new!/1`, which raises an `ArgumentError` with the field and the message.",
                    ),
                }
            ),
            "update": wanted(
                f"`put_{amount}/2` changes the {amount} under the same rule.",
                f"Add `put_{amount}/2`, which changes the {amount} under the same rule.",
            ),
            "shown": wanted(
                f"As a text it is `{label} ({amount} {e.unit})`.",
                f"Implement `String.Chars`: `{label} ({amount} {e.unit})`.",
            ),
            "form": style("clauses", "if"),
        },
        build=build,
        operations=("defstruct", "enforce_keys", "with", "validation"),
        difficulty=3,
    )


def protocol(rng: random.Random) -> Draft:
    """A protocol of our own with several implementations."""
    pool = rng.sample(
        [
            ("Circle", ["radius"], "3 * {s}.radius * {s}.radius", lambda v: 3 * v[0] * v[0]),
            ("Rectangle", ["width", "height"], "{s}.width * {s}.height", lambda v: v[0] * v[1]),
            ("Square", ["side"], "{s}.side * {s}.side", lambda v: v[0] * v[0]),
            ("Triangle", ["base", "height"], "div({s}.base * {s}.height, 2)", lambda v: v[0] * v[1] // 2),
            ("Book", ["pages", "weight"], "{s}.pages + {s}.weight", lambda v: v[0] + v[1]),
            (
                "Crate",
                ["length", "width", "height"],
                "{s}.length * {s}.width * {s}.height",
                lambda v: v[0] * v[1] * v[2],
            ),
            ("Ticket", ["price", "fee"], "{s}.price + 2 * {s}.fee", lambda v: v[0] + 2 * v[1]),
            ("Plan", ["rate", "months"], "{s}.rate * {s}.months", lambda v: v[0] * v[1]),
            ("Track", ["minutes", "seconds"], "60 * {s}.minutes + {s}.seconds", lambda v: 60 * v[0] + v[1]),
            ("Trip", ["legs", "length"], "{s}.legs * {s}.length", lambda v: v[0] * v[1]),
        ],
        rng.randint(2, 3),
    )
    base, function = rng.choice(
        [("Measure", "size"), ("Worth", "value"), ("Priced", "price"), ("Score", "points"), ("Weighted", "weight")]
    )
    name = in_context(rng, base)
    values = [[rng.randint(2, 9) for _ in fields] for _, fields, _, _ in pool]
    default = rng.randint(0, 3)

    def build(c: Choices) -> Program:
        parts = [
            f'defprotocol {name} do\n  @moduledoc "What can be measured by one number."\n'
            + ("  @fallback_to_any true\n" if c["fallback"] == "any" else "")
            + f'\n  @doc "The {function} of a thing."\n  @spec {function}(t()) :: integer()\n  def {function}(thing)\nend'
        ]
        for each, fields, formula, _ in pool:
            body = formula.replace("{s}", "thing")
            impl = f"defimpl {name} do\n    def {function}(thing), do: {body}\n  end"
            struct = f'defmodule {name}.{each} do\n  @moduledoc "A {each.lower()}."\n\n  @enforce_keys [{", ".join(":" + f for f in fields)}]\n  defstruct [{", ".join(":" + f for f in fields)}]\n\n  @type t :: %__MODULE__{{{", ".join(f + ": integer()" for f in fields)}}}\n'
            if c["where"] == "inside":
                parts.append(struct + f"\n  {impl}\nend")
            else:
                parts.append(struct + "end")
                parts.append(f"defimpl {name}, for: {name}.{each} do\n  def {function}(thing), do: {body}\nend")
        if c["lists"]:
            parts.append(
                f"defimpl {name}, for: List do\n  def {function}(things), do: things |> Enum.map(&{name}.{function}/1) |> Enum.sum()\nend"
            )
        if c["fallback"] == "any":
            parts.append(f"defimpl {name}, for: Any do\n  def {function}(_thing), do: {default}\nend")
        things = [
            f"%{name}.{each}{{{', '.join(f'{f}: {v}' for f, v in zip(fields, vs))}}}"
            for (each, fields, _, _), vs in zip(pool, values)
        ]
        results = [run(vs) for (_, _, _, run), vs in zip(pool, values)]
        lines = "\n".join(f"assert {name}.{function}({t}) == {r}" for t, r in zip(things, results))
        tests = exunit(
            name,
            check("each kind", lines),
            check(
                "lists",
                f"assert {name}.{function}([{', '.join(things)}]) == {sum(results)}\nassert {name}.{function}([]) == 0",
            )
            if c["lists"]
            else "",
            check(
                "anything else",
                f"assert {name}.{function}(:other) == {default}"
                if c["fallback"] == "any"
                else f"assert_raise Protocol.UndefinedError, fn -> {name}.{function}(:other) end",
            ),
        )
        return Program(
            code="\n\n".join(parts) + "\n",
            tests=tests,
            explanation="A protocol dispatches on the type of its first argument, so a new struct brings its own implementation and no existing code changes.",
            faults=(
                Fault(
                    "thing." + pool[0][1][0],
                    "thing." + pool[0][1][-1] + " + 1 - 0 * thing." + pool[0][1][0],
                    "wrong_formula",
                    f"The formula of {pool[0][0]} is wrong.",
                ),
                Fault(
                    f"(_thing), do: {default}",
                    f"(_thing), do: {default + 1}",
                    "wrong_constant",
                    "The value for anything else is wrong.",
                ),
                Fault(
                    "Enum.sum()",
                    "Enum.count()",
                    "wrong_function",
                    "It counts the elements instead of adding up what they are worth.",
                ),
                Fault(
                    "  @fallback_to_any true\n",
                    "",
                    "missing_option",
                    "Without `@fallback_to_any` the implementation for Any is never used.",
                ),
            ),
        )

    kinds = "; ".join(
        f"`{each}` ({', '.join(fields)}): `{formula.replace('{s}.', '')}`" for each, fields, formula, _ in pool
    )
    return draw(
        rng,
        family="struct_protocol",
        name=f"{name}.{function}/1",
        module=name,
        titles=(
            f"a protocol with one function, `{function}/1`, and structs that implement it",
            f"a protocol (`{function}/1`) for several structs",
        ),
        axes={
            "kinds": Axis(ways={"it": Way(ask=f"The structs are inside its namespace: {kinds}.")}),
            "fallback": Axis(
                ways={
                    "none": Way(
                        ask="Anything else raises `Protocol.UndefinedError`.",
                        answer="Let it raise `Protocol.UndefinedError`.",
                    ),
                    "any": Way(
                        ask=f"For anything else it is {default}.",
                        answer=f"It is {default}.",
                        request=f"For types without an implementation let it answer {default}.",
                    ),
                },
                question="What should happen for a type that has no implementation?",
            ),
            "lists": wanted(
                "For a list it is the sum over the elements.", "Implement it for lists too: the sum over the elements."
            ),
            "where": style("inside", "outside"),
        },
        build=build,
        operations=("defprotocol", "defimpl", "defstruct"),
        difficulty=3,
    )


def collection(rng: random.Random) -> Draft:
    """A struct around entries, with nested updates, Enumerable or Access."""
    e = draw_entity(rng)
    whole = rng.choice(["Basket", "Board", "Ledger", "Album", "Shelf", "Roster", "Bundle"])
    name = in_context(rng, whole)
    one, two, three = e.label.draw_many(rng, 3)
    n = sorted(rng.sample(range(2, 30), 3))
    label, amount = e.label.name, e.amount.name
    item = "entry" if label == "entry" else "entries"
    by = rng.randint(2, 6)
    asks = {
        "total": f"`total/1` adds up every {amount}.",
        "update": f"`update/3` applies a function to the {amount} of one; one that is not there changes nothing.",
        "rename": "`rename/3` gives one another name and keeps its number.",
        "remove": "`remove/2` takes one out.",
        "largest": f"`largest/1` is the {label} with the highest {amount}, or nil.",
        "filter": f"`filter/2` keeps those whose {amount} a function accepts.",
        "merge": "`merge/2` puts two together and adds the numbers of what is in both.",
        "empty?": "`empty?/1` tells whether there is nothing in it.",
        "top": f"`top/2` lists the n with the highest {amount} as pairs, the highest first.",
    }
    chosen = rng.sample(list(asks), rng.randint(2, 4))

    def build(c: Choices) -> Program:
        there = [op for op in asks if c.get(op)]
        adds = c["again"] == "add"
        var = whole.lower()
        S = f"%__MODULE__{{}} = {var}"
        P = f"%__MODULE__{{{item}: {item}}}"
        put = (
            f"Map.update({item}, {label}, {amount}, &(&1 + {amount}))"
            if adds
            else f"Map.put({item}, {label}, {amount})"
        )
        if c["form"] == "update_in":
            put_body = f"def put({S}, {label}, {amount}) do\n  update_in({var}.{item}, fn {item} -> {put} end)\nend"
        elif c["form"] == "match":
            put_body = f"def put({P} = {var}, {label}, {amount}) do\n  %{{{var} | {item}: {put}}}\nend"
        else:
            put_body = f"def put({S}, {label}, {amount}) do\n  Map.update!({var}, :{item}, fn {item} -> {put} end)\nend"
        pairs = f"{{{label}, {amount}}}"
        bodies = {
            "total": ("total(t()) :: integer()", f"def total({P}), do: {item} |> Map.values() |> Enum.sum()"),
            "update": (
                "update(t(), String.t(), (integer() -> integer())) :: t()",
                f"def update({P} = {var}, {label}, function) do\n  %{{{var} | {item}: Map.replace_lazy({item}, {label}, function)}}\nend",
            ),
            "rename": (
                "rename(t(), String.t(), String.t()) :: t()",
                f"def rename({P} = {var}, from, to) do\n  case Map.pop({item}, from) do\n    {{nil, _{item}}} -> {var}\n    {{{amount}, rest}} -> %{{{var} | {item}: Map.put(rest, to, {amount})}}\n  end\nend",
            ),
            "remove": (
                "remove(t(), String.t()) :: t()",
                f"def remove({S}, {label}), do: %{{{var} | {item}: Map.delete({var}.{item}, {label})}}",
            ),
            "largest": (
                "largest(t()) :: String.t() | nil",
                f"def largest({P}) do\n  {item} |> Enum.max_by(fn {{_{label}, {amount}}} -> {amount} end, fn -> {{nil, 0}} end) |> elem(0)\nend",
            ),
            "filter": (
                "filter(t(), (integer() -> boolean())) :: t()",
                f"def filter({P} = {var}, function) do\n  %{{{var} | {item}: for({{_, {amount}}} = pair <- {item}, function.({amount}), into: %{{}}, do: pair)}}\nend",
            ),
            "merge": (
                "merge(t(), t()) :: t()",
                f"def merge({P} = {var}, %__MODULE__{{{item}: others}}) do\n  %{{{var} | {item}: Map.merge({item}, others, fn _{label}, one, other -> one + other end)}}\nend",
            ),
            "empty?": ("empty?(t()) :: boolean()", f"def empty?({P}), do: {item} == %{{}}"),
            "top": (
                "top(t(), non_neg_integer()) :: [{String.t(), integer()}]",
                f"def top({P}, count) do\n  {item} |> Enum.sort_by(fn {{_{label}, {amount}}} -> {amount} end, :desc) |> Enum.take(count)\nend",
            ),
        }
        parts = [
            f"defstruct {item}: %{{}}",
            f"@type t :: %__MODULE__{{{item}: %{{optional(String.t()) => integer()}}}}",
            '@doc "An empty one."\n@spec new() :: t()\ndef new, do: %__MODULE__{}',
            f'@doc "Puts something in."\n@spec put(t(), String.t(), integer()) :: t()\n{put_body}',
            f'@doc "What is in it, as sorted pairs."\n@spec to_list(t()) :: [{{String.t(), integer()}}]\ndef to_list({P}), do: Enum.sort({item})',
        ]
        for op in there:
            spec, text = bodies[op]
            said = asks[op].partition("` ")[2]
            parts.append(f'@doc "{said[0].upper()}{said[1:]}"\n@spec {spec}\n{text}')
        if c["enumerable"]:
            parts.append(
                f"defimpl Enumerable do\n  def count({var}), do: {{:ok, map_size({var}.{item})}}\n  def member?({var}, {pairs}), do: {{:ok, Map.get({var}.{item}, {label}) == {amount}}}\n  def member?(_{var}, _other), do: {{:ok, false}}\n  def slice(_{var}), do: {{:error, __MODULE__}}\n\n  def reduce({var}, acc, function) do\n    Enumerable.List.reduce(Enum.sort({var}.{item}), acc, function)\n  end\nend".replace(
                    f"{{{label}, {amount}}}), do: {{:ok, Map.get", f"{{{label}, {amount}}}), do: {{:ok, Map.get"
                )
            )
        if c["inspect"]:
            parts.append(
                f'defimpl Inspect do\n  def inspect({var}, _options), do: "#{whole}<#{{map_size({var}.{item})}}>"\nend'
            )
        code = module(name, f"{_a(whole.lower()).capitalize()} of {e.plural}: each {label} with {_a(amount)}.", *parts)
        if one == two:
            raise AssertionError
        state = {one: n[0], two: n[1]}
        begin = f"{var} = {name}.new() |> {name}.put({literal(one)}, {n[0]}) |> {name}.put({literal(two)}, {n[1]})"

        def as_list(given: dict[str, int]) -> str:
            return "[" + ", ".join(f"{{{literal(k)}, {v}}}" for k, v in sorted(given.items())) + "]"

        again = {**state, one: n[0] + n[2] if adds else n[2]}
        listed = lambda call, given: f"assert {call} |> {name}.to_list() == {as_list(given)}"
        facts = {
            "total": [f"assert {name}.total({var}) == {n[0] + n[1]}", f"assert {name}.total({name}.new()) == 0"],
            "update": [
                listed(f"{var} |> {name}.update({literal(one)}, &(&1 * {by}))", {**state, one: n[0] * by}),
                listed(f"{var} |> {name}.update({literal(three)}, &(&1 * {by}))", state),
            ],
            "rename": [
                listed(f"{var} |> {name}.rename({literal(one)}, {literal(three)})", {three: n[0], two: n[1]}),
                listed(f"{var} |> {name}.rename({literal(three)}, {literal(one)})", state),
            ],
            "remove": [
                listed(f"{var} |> {name}.remove({literal(one)})", {two: n[1]}),
                listed(f"{var} |> {name}.remove({literal(three)})", state),
            ],
            "largest": [
                f"assert {name}.largest({var}) == {literal(two)}",
                f"assert {name}.largest({name}.new()) == nil",
            ],
            "filter": [listed(f"{var} |> {name}.filter(&(&1 > {n[0]}))", {two: n[1]})],
            "merge": [
                f"other = {name}.new() |> {name}.put({literal(two)}, {n[2]}) |> {name}.put({literal(three)}, 1)",
                listed(f"{var} |> {name}.merge(other)", {one: n[0], two: n[1] + n[2], three: 1}),
            ],
            "empty?": [f"assert {name}.empty?({name}.new())", f"refute {name}.empty?({var})"],
            "top": [
                f"assert {name}.top({var}, 1) == [{{{literal(two)}, {n[1]}}}]",
                f"assert {name}.top({var}, 5) == [{{{literal(two)}, {n[1]}}}, {{{literal(one)}, {n[0]}}}]",
            ],
        }
        tests = exunit(
            name,
            check(
                "puts in",
                begin
                + f"\n\nassert {name}.to_list({var}) == {as_list(state)}\nassert {name}.to_list({name}.new()) == []",
            ),
            check(
                "puts in again",
                begin
                + f"\n\nassert {var} |> {name}.put({literal(one)}, {n[2]}) |> {name}.to_list() == {as_list(again)}",
            ),
            *[check(op, begin + "\n\n" + "\n".join(facts[op])) for op in there],
            check(
                "enumerates",
                begin
                + f"\n\nassert Enum.to_list({var}) == {as_list(state)}\nassert Enum.count({var}) == 2\nassert {{{literal(one)}, {n[0]}}} in {var}\nrefute {{{literal(one)}, {n[1]}}} in {var}\nassert Enum.map({var}, &elem(&1, 0)) == {literal(sorted(state))}",
            )
            if c["enumerable"]
            else "",
            check("inspects", begin + f'\n\nassert inspect({var}) == "#{whole}<2>"') if c["inspect"] else "",
        )
        return Program(
            code=code,
            tests=tests,
            explanation="The struct names what the map is for and keeps others out of its inside: every function matches on it, and the map can be exchanged later.",
            faults=(
                Fault(
                    "&(&1 + " + amount + ")",
                    f"&(&1 - {amount})",
                    "wrong_operation",
                    "The number is taken away instead of added.",
                ),
                Fault(
                    "|> Map.values() |> Enum.sum()",
                    "|> Map.values() |> Enum.count()",
                    "wrong_function",
                    "It counts instead of adding up.",
                ),
                Fault(
                    "one + other end",
                    "other || one end",
                    "conflict",
                    "What is in both keeps one number instead of the sum.",
                ),
                Fault("Enum.max_by(", "Enum.min_by(", "wrong_function", "It finds the lowest."),
                Fault(", :desc)", ")", "wrong_order", "The lowest come first."),
                Fault("Map.put(rest, to, ", "Map.put(rest, from, ", "swapped_arguments", "The old name comes back."),
                Fault(
                    f"Map.delete({var}.{item}, {label})",
                    f"Map.take({var}.{item}, [{label}])",
                    "inverted_condition",
                    "It keeps only what should go.",
                ),
                Fault(
                    f"Map.put({item}, {label}, ",
                    f"Map.put_new({item}, {label}, ",
                    "conflict",
                    "What is there already is not overwritten.",
                ),
            ),
        )

    axes: dict[str, Axis] = {
        "base": Axis(
            ways={
                "it": Way(
                    ask=f"`new/0` makes an empty one, `put/3` takes {_a(label)} and {_a(amount)}, `to_list/1` gives sorted pairs."
                )
            }
        )
    }
    axes["again"] = Axis(
        ways={
            "add": Way(ask="Putting the same in again adds to its number.", answer="It is added to the number."),
            "replace": Way(ask="Putting the same in again replaces its number.", answer="It replaces the number."),
        },
        question=f"What happens when the same {label} is put in again?",
    )
    for op, ask in asks.items():
        axes[op] = Axis(
            ways={True: Way(ask=ask)}
            if op in chosen
            else {False: Way(), True: Way(ask=ask, request=f"Can you add this: {ask}")}
        )
    axes["enumerable"] = wanted(
        "It is enumerable, in the order of `to_list/1`.",
        "Make it work with `Enum` by implementing `Enumerable`, in the order of `to_list/1`.",
    )
    axes["inspect"] = wanted(
        f"It inspects as `#{whole}<2>`, with the number of things in it.",
        f"Inspect it as `#{whole}<2>`, with the number of things in it.",
    )
    axes["form"] = style("update_in", "match", "update!")
    return draw(
        rng,
        family="struct_collection",
        name=f"{name}.put/3",
        module=name,
        titles=(
            f"a struct that holds {e.plural} with their {amount}",
            f"a struct `{whole}`: a map from {label} to {amount} with functions around it",
        ),
        axes=axes,
        build=build,
        operations=("defstruct", "map", "update_in"),
        difficulty=3,
        start={op: op in chosen for op in asks},
    )


def machine(rng: random.Random) -> Draft:
    """A state machine over a struct."""
    themes = [
        (
            "Door",
            ["closed", "open", "locked"],
            [
                ("open", "closed", "open"),
                ("close", "open", "closed"),
                ("lock", "closed", "locked"),
                ("unlock", "locked", "closed"),
            ],
        ),
        (
            "Order",
            ["new", "paid", "shipped", "delivered", "cancelled"],
            [
                ("pay", "new", "paid"),
                ("ship", "paid", "shipped"),
                ("deliver", "shipped", "delivered"),
                ("cancel", "new", "cancelled"),
                ("cancel", "paid", "cancelled"),
            ],
        ),
        (
            "Light",
            ["red", "green", "yellow"],
            [("go", "red", "green"), ("slow", "green", "yellow"), ("stop", "yellow", "red")],
        ),
        (
            "Job",
            ["queued", "running", "done", "failed"],
            [
                ("start", "queued", "running"),
                ("finish", "running", "done"),
                ("fail", "running", "failed"),
                ("retry", "failed", "queued"),
            ],
        ),
        (
            "Document",
            ["draft", "review", "published"],
            [
                ("submit", "draft", "review"),
                ("reject", "review", "draft"),
                ("publish", "review", "published"),
                ("revoke", "published", "draft"),
            ],
        ),
        (
            "Call",
            ["idle", "ringing", "connected", "held"],
            [
                ("dial", "idle", "ringing"),
                ("answer", "ringing", "connected"),
                ("hold", "connected", "held"),
                ("resume", "held", "connected"),
                ("hang_up", "connected", "idle"),
            ],
        ),
        (
            "Player",
            ["stopped", "playing", "paused"],
            [
                ("play", "stopped", "playing"),
                ("pause", "playing", "paused"),
                ("play", "paused", "playing"),
                ("stop", "playing", "stopped"),
                ("stop", "paused", "stopped"),
            ],
        ),
        (
            "Ticket",
            ["open", "assigned", "solved"],
            [
                ("assign", "open", "assigned"),
                ("solve", "assigned", "solved"),
                ("reopen", "solved", "open"),
                ("release", "assigned", "open"),
            ],
        ),
    ]
    thing, states, moves = rng.choice(themes)
    drop = rng.randint(0, 1)
    moves = moves[: len(moves) - drop] if len(moves) > 3 else moves
    name = in_context(rng, rng.choice([thing, f"{thing}Machine", f"{thing}State", f"{thing}Flow"]))
    function = rng.choice(["transition", "apply_event", "handle", "next", "fire"])
    var = thing.lower()

    def build(c: Choices) -> Program:
        errors, history, form, bare = c["errors"], c["history"], c["form"], c["bare"]
        hist = history and not bare
        events = list(dict.fromkeys(event for event, _, _ in moves))
        ok = {"tuple": "{:ok, $x}", "raise": "$x", "same": "$x"}[errors]
        if bare:
            clauses = [f"def {function}(:{a}, :{event}), do: {ok.replace('$x', ':' + b)}" for event, a, b in moves]
            wrong = {
                "tuple": f"def {function}(_state, _event), do: {{:error, :invalid_transition}}",
                "same": f"def {function}(state, _event), do: state",
                "raise": f'def {function}(state, event) do\n  raise ArgumentError, "cannot #{{event}} when #{{state}}"\nend',
            }[errors]
            if form == "table":
                table = ", ".join(f"{{:{a}, :{event}}} => :{b}" for event, a, b in moves)
                bad = {
                    "tuple": "{:error, :invalid_transition}",
                    "same": "state",
                    "raise": 'raise(ArgumentError, "cannot #{event} when #{state}")',
                }[errors]
                text = f'@transitions %{{{table}}}\n\n@doc "The state after an event."\n@spec {function}(atom(), atom()) :: term()\ndef {function}(state, event) do\n  case @transitions do\n    %{{{{^state, ^event}} => next}} -> {ok.replace("$x", "next")}\n    %{{}} -> {bad}\n  end\nend'
            else:
                blank = "\n" if "\n" in wrong else ""
                text = (
                    f'@doc "The state after an event."\n@spec {function}(atom(), atom()) :: term()\n'
                    + "\n".join(clauses)
                    + "\n"
                    + blank
                    + wrong
                )
            parts = [
                f"@type state :: {' | '.join(':' + s for s in states)}",
                f'@doc "Where it begins."\n@spec initial() :: state()\ndef initial, do: :{states[0]}',
                text,
            ]
        else:
            more = f", history: [{var}.state | {var}.history]" if hist else ""
            table = ", ".join(f"{{:{a}, :{event}}} => :{b}" for event, a, b in moves)
            after = ok.replace("$x", f"%{{{var} | state: next{more}}}")
            bad = {
                "tuple": "{:error, :invalid_transition}",
                "same": var,
                "raise": f'raise(ArgumentError, "cannot #{{event}} when #{{{var}.state}}")',
            }[errors]
            if form == "table":
                text = f'@transitions %{{{table}}}\n\n@doc "It after an event."\n@spec {function}(t(), atom()) :: term()\ndef {function}(%__MODULE__{{}} = {var}, event) do\n  case Map.fetch(@transitions, {{{var}.state, event}}) do\n    {{:ok, next}} -> {after}\n    :error -> {bad}\n  end\nend'
            else:
                helper = (
                    "\n".join(f"defp target(:{a}, :{event}), do: :{b}" for event, a, b in moves)
                    + "\ndefp target(_state, _event), do: nil"
                )
                text = f'@doc "It after an event."\n@spec {function}(t(), atom()) :: term()\ndef {function}(%__MODULE__{{}} = {var}, event) do\n  case target({var}.state, event) do\n    nil -> {bad}\n    next -> {after}\n  end\nend\n\n{helper}'
            parts = [
                f"defstruct state: :{states[0]}{', history: []' if hist else ''}",
                f"@type t :: %__MODULE__{{state: atom(){', history: [atom()]' if hist else ''}}}",
                '@doc "A new one."\n@spec new() :: t()\ndef new, do: %__MODULE__{}',
                text,
            ]
        if c["events"]:
            grouped = [f"def events(:{s}), do: [{', '.join(':' + e for e, a, _ in moves if a == s)}]" for s in states]
            parts.append(
                '@doc "The events that a state allows."\n@spec events(atom()) :: [atom()]\n' + "\n".join(grouped)
            )
        code = module(name, f"The states of {_a(thing.lower())} and what leads from one to another.", *parts)
        lines, wrong_lines = [], []
        at = lambda s: f":{s}" if bare else f"%{name}{{state: :{s}}}"
        for event, a, b in moves:
            result = f":{b}" if bare else f"%{name}{{state: :{b}{f', history: [:{a}]' if hist else ''}}}"
            lines.append(f"assert {name}.{function}({at(a)}, :{event}) == {ok.replace('$x', result)}")
        allowed = {(event, a) for event, a, _ in moves}
        for s in states:
            impossible = next((each for each in events if (each, s) not in allowed), None)
            if impossible:
                call = f"{name}.{function}({at(s)}, :{impossible})"
                wrong_lines.append(
                    {
                        "tuple": f"assert {call} == {{:error, :invalid_transition}}",
                        "same": f"assert {call} == {at(s)}",
                        "raise": f'assert_raise ArgumentError, "cannot {impossible} when {s}", fn -> {call} end',
                    }[errors]
                )
        first = f"assert {name}.initial() == :{states[0]}" if bare else f"assert {name}.new().state == :{states[0]}"
        tests = exunit(
            name,
            check("begins", first),
            check("goes on", "\n".join(lines)),
            check("what is not possible", "\n".join(wrong_lines)),
            check(
                "events/1",
                "\n".join(
                    f"assert {name}.events(:{s}) == [{', '.join(':' + e for e, a, _ in moves if a == s)}]"
                    for s in states
                ),
            )
            if c["events"]
            else "",
        )
        event, a, b = moves[0]
        wrong_state = next(s for s in states if s != b)
        return Program(
            code=code,
            tests=tests,
            explanation="All transitions stand in one place, as "
            + (
                "a map from state and event to the next state"
                if form == "table"
                else "clauses that match a state and an event"
            )
            + "; whatever is not there is not possible.",
            faults=(
                Fault(
                    f"{{:{a}, :{event}}} => :{b}",
                    f"{{:{a}, :{event}}} => :{wrong_state}",
                    "wrong_transition",
                    f"`{event}` leads to `:{wrong_state}` instead of `:{b}`.",
                ),
                Fault(
                    f"(:{a}, :{event}), do: {ok.replace('$x', ':' + b)}",
                    f"(:{a}, :{event}), do: {ok.replace('$x', ':' + wrong_state)}",
                    "wrong_transition",
                    f"`{event}` leads to `:{wrong_state}` instead of `:{b}`.",
                ),
                Fault(
                    f"target(:{a}, :{event}), do: :{b}",
                    f"target(:{a}, :{event}), do: :{wrong_state}",
                    "wrong_transition",
                    f"`{event}` leads to `:{wrong_state}` instead of `:{b}`.",
                ),
                Fault(
                    f"history: [{var}.state |",
                    "history: [next |",
                    "wrong_value",
                    "The history gets the new state instead of the one that is left.",
                ),
                Fault(
                    "{:error, :invalid_transition}",
                    "{:error, :invalid}",
                    "wrong_error",
                    "The reason should be `:invalid_transition`.",
                ),
            ),
        )

    rules = ", ".join(f"`:{event}` leads from `:{a}` to `:{b}`" for event, a, b in moves)
    return draw(
        rng,
        family="struct_machine",
        name=f"{name}.{function}/2",
        module=name,
        titles=(
            f"a state machine for {_a(thing.lower())}",
            f"the states of {_a(thing.lower())} as a small state machine",
        ),
        axes={
            "bare": Axis(
                ways={
                    True: Way(
                        ask=f"States are atoms; `initial/0` gives `:{states[0]}` and `{function}(state, event)` the next state."
                    ),
                    False: Way(
                        ask=f"It is a struct with a field `state`; `new/0` makes one in `:{states[0]}`, and `{function}({var}, event)` changes it.",
                        request="Make it a struct with a field `state` and `new/0` instead of bare atoms.",
                    ),
                }
            ),
            "rules": Axis(
                ways={"it": Way(ask=f"{rules[0].upper()}{rules[1:]}." if not rules.startswith("`") else rules + ".")}
            ),
            "errors": Axis(
                ways={
                    "tuple": Way(
                        ask="It answers `{:ok, next}`, or `{:error, :invalid_transition}`.",
                        answer="`{:error, :invalid_transition}`, and `{:ok, next}` for one that is.",
                        request="Answer `{:ok, next}` or `{:error, :invalid_transition}`.",
                    ),
                    "raise": Way(
                        ask=f'Any other event raises an `ArgumentError` such as "cannot {moves[0][0]} when {states[-1]}".',
                        answer='Raise an `ArgumentError`, "cannot EVENT when STATE".',
                        request='Raise an `ArgumentError` that says "cannot EVENT when STATE" for an event that is not possible.',
                    ),
                    "same": Way(
                        ask="An event that is not possible changes nothing.", answer="Nothing; the state stays."
                    ),
                },
                question="What should happen on an event that is not possible in a state?",
            ),
            "history": Axis(
                ways={
                    False: Way(),
                    True: Way(
                        ask="It remembers the states it left in the field `history`, the latest first.",
                        request="Remember the states it left in a field `history`, the latest first.",
                    ),
                },
                when=lambda c: not c["bare"],
            ),
            "events": wanted(
                "`events/1` lists what a state allows.", "Add `events/1`, which lists the events that a state allows."
            ),
            "form": style("clauses", "table"),
        },
        build=build,
        operations=("pattern_matching", "state_machine"),
        difficulty=3,
    )


FAMILIES: dict[str, Family] = {
    "struct_collection": collection,
    "struct_machine": machine,
    "struct_protocol": protocol,
    "struct_validated": validated,
}
