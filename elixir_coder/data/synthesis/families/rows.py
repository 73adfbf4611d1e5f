"""Data in bulk: comprehensions, streams, reports over records, joins and tables."""

# ruff: noqa: E501, E731 -- Elixir and sentences are kept on one line each; small functions of a table have no name

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

from elixir_coder.data.synthesis.choices import Axis, Choices, Fault, Way, style, wanted
from elixir_coder.data.synthesis.domains import camel, draw_entity
from elixir_coder.data.synthesis.draft import Draft, Family
from elixir_coder.data.synthesis.functions import Task, exercise, in_context
from elixir_coder.data.synthesis.writing import Raw, fill, literal


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun.replace('_', ' ')}"


class Key(str):
    """A text that is a key of a map and not an atom."""


def report(rng: random.Random) -> Draft:
    """Filter, group, aggregate, order: each drawn."""
    e = draw_entity(rng)
    a, k, f, o, l = e.amount.name, e.kind.name, e.flag.name, e.owner.name, e.label.name  # noqa: E741
    group = rng.choice([o, k])
    limit = rng.randint(e.amount.low + 1, max(e.amount.high // 2, e.amount.low + 2))
    conditions: list[tuple[str, str, Callable[[dict[str, Any]], bool]]] = [
        ("", "", lambda r: True),
        (f"row.{f}", f"with `{f}` true", lambda r: r[f]),
        (f"not row.{f}", f"with `{f}` false", lambda r: not r[f]),
        (f"row.{a} > {limit}", f"with a {a} over {limit}", lambda r: r[a] > limit),
        (
            f"row.{f} and row.{a} <= {limit}",
            f"with `{f}` true and a {a} of at most {limit}",
            lambda r: r[f] and r[a] <= limit,
        ),
    ]
    condition, where, keep = rng.choice(conditions)
    measures: list[tuple[str, str, str, Callable[[list[dict[str, Any]]], Any]]] = [
        ("sum", f"the sum of {a}", f"rows |> Enum.map(& &1.{a}) |> Enum.sum()", lambda rs: sum(r[a] for r in rs)),
        ("count", "the number of records", "length(rows)", len),
        ("max", f"the highest {a}", f"rows |> Enum.map(& &1.{a}) |> Enum.max()", lambda rs: max(r[a] for r in rs)),
        ("min", f"the lowest {a}", f"rows |> Enum.map(& &1.{a}) |> Enum.min()", lambda rs: min(r[a] for r in rs)),
        (
            "mean",
            f"the mean {a}, rounded down",
            f"div(Enum.sum(Enum.map(rows, & &1.{a})), length(rows))",
            lambda rs: sum(r[a] for r in rs) // len(rs),
        ),
        (
            "labels",
            f"every {l}, sorted",
            f"rows |> Enum.map(& &1.{l}) |> Enum.sort()",
            lambda rs: sorted(r[l] for r in rs),
        ),
        (
            "spread",
            f"the difference of the highest and the lowest {a}",
            f"Enum.max(Enum.map(rows, & &1.{a})) - Enum.min(Enum.map(rows, & &1.{a}))",
            lambda rs: max(r[a] for r in rs) - min(r[a] for r in rs),
        ),
        (
            "share",
            f"the share of records with `{f}` true, between 0.0 and 1.0",
            f"Enum.count(rows, & &1.{f}) / length(rows)",
            lambda rs: sum(r[f] for r in rs) / len(rs),
        ),
    ]
    what, said, expression, measure = rng.choice(measures)
    function = rng.choice([f"{what}_by_{group}", "report", "summary", f"{group}_overview", "aggregate"])
    items = e.plural
    for _ in range(40):  # until something passes the condition, in more than one group
        sample = e.records(rng, 5)
        for row, owner in zip(sample, (*e.owner.draw_many(rng, 2) * 2, e.owner.draw(rng))):
            row[o] = owner
        num_groups = len({row[group] for row in sample if keep(row)})
        if 1 < num_groups < sum(map(keep, sample)):
            break
    numeric = what not in ("labels",)

    def code(c: Choices) -> str:
        shape = c["shape"]
        final = {
            "map": "",
            "pairs": "\n|> Enum.sort()",
            "top": "\n|> Enum.sort_by(fn {key, value} -> {-value, key} end)\n|> Enum.map(&elem(&1, 0))",
        }[shape]
        if c["form"] == "pipe":
            filter_ = f"\n|> Enum.filter(fn row -> {condition} end)" if condition else ""
            text = f"def $f({items}) do\n  {items}{filter_}\n  |> Enum.group_by(& &1.{group})\n  |> Map.new(fn {{key, rows}} -> {{key, {expression}}} end){final}\nend".replace(
                "\n|>", "\n  |>"
            ).replace("    |>", "  |>")
        else:
            generator = f"row <- {items}" + (f", {condition}" if condition else "")
            into = "into: %{}, " if shape == "map" else ""
            text = f"def $f({items}) do\n  rows_by_key = Enum.group_by(for({generator}, do: row), & &1.{group})\n"
            if shape == "map":
                text += f"  for {{key, rows}} <- rows_by_key, {into}do: {{key, {expression}}}\nend"
            else:
                text += (
                    f"  pairs = for {{key, rows}} <- rows_by_key, do: {{key, {expression}}}\n"
                    + (
                        "  Enum.sort(pairs)"
                        if shape == "pairs"
                        else "  pairs |> Enum.sort_by(fn {key, value} -> {-value, key} end) |> Enum.map(&elem(&1, 0))"
                    )
                    + "\nend"
                )
        return fill(text, f=function)

    def run(c: Choices) -> Callable[..., Any]:
        def answer(rows: list[dict[str, Any]]) -> Any:
            groups: dict[str, list[dict[str, Any]]] = {}
            for r in rows:
                if keep(r):
                    groups.setdefault(r[group], []).append(r)
            out = {key: measure(rs) for key, rs in groups.items()}
            if c["shape"] == "map":
                return {(key if group == k else Key(key)): value for key, value in sorted(out.items())}
            if c["shape"] == "pairs":
                return Raw("[" + ", ".join(f"{{{literal(key)}, {literal(out[key])}}}" for key in sorted(out)) + "]")
            return [key for key, _ in sorted(out.items(), key=lambda each: (-each[1], each[0]))]

        return answer

    only = f" It only looks at {items} {where}." if where else ""
    ways = {
        "map": Way(ask=f"It answers a map from {group} to that.", answer=f"A map from {group} to the value."),
        "pairs": Way(
            ask=f"It answers a list of pairs, sorted by {group}.",
            answer="A sorted list of pairs.",
            request=f"Give me a list of pairs sorted by {group} instead.",
        ),
    }
    if numeric:
        ways["top"] = Way(
            ask=f"It answers every {group}, the one with the highest value first (equal ones in their own order).",
            answer=f"Only the {group}s, the highest value first, equal ones in their own order.",
            request=f"I only need every {group}, the highest value first and equal ones in their own order.",
        )
    return exercise(
        rng,
        Task(
            function=function,
            arguments=((items, "[map()]"),),
            returns="term()",
            documentation=f"For every {group}, {said}.{only}",
            titles=(
                f"`{function}/1`, which groups {items} by {group} and works out {said} for each group.{only}".rstrip(
                    "."
                ),
                f"a report over {items}, `{function}/1`: for each {group} {said}.{only}".rstrip("."),
            ),
            axes={
                "shape": Axis(
                    ways=ways, question="In which form should the result be: a map, or a list in some order?"
                ),
                "form": style("pipe", "for"),
            },
            code=code,
            run=run,
            samples=[(sample,), (sample[:2],)],
            edges=[([],), (sample[:1],), (sample[::-1],)],
            faults=(
                Fault("Enum.sum()", "Enum.count()", "wrong_function", "It counts instead of adding up."),
                Fault("Enum.max()", "Enum.min()", "wrong_function", "It takes the lowest."),
                Fault("Enum.min()", "Enum.max()", "wrong_function", "It takes the highest."),
                Fault(f"Enum.group_by(& &1.{group})", f"Enum.group_by(& &1.{l})", "wrong_field", f"It groups by {l}."),
                Fault("length(rows)}", "length(rows) + 1}", "off_by_one", "One too many."),
                Fault("{-value, key}", "{value, key}", "wrong_order", "The lowest comes first."),
                Fault(", length(rows))", ", length(rows) + 1)", "off_by_one", "It divides by one too many."),
            ),
            explanation=f"The records are grouped once, then every group becomes one value ({said}); groups without records do not appear.",
        ),
        family="rows_report",
        module_name=in_context(rng, camel(f"{e.singular}_{rng.choice(['reports', 'stats', 'summary', 'figures'])}")),
        difficulty=2,
        operations=("group_by", what),
    )


def comprehension(rng: random.Random) -> Draft:
    """`for` with drawn generators, filters, bodies and what it collects into."""
    e = draw_entity(rng)
    n, m = rng.randint(2, 5), rng.randint(2, 4)
    source = rng.choice(["list", "two", "pairs", "text", "nested", "square"])
    conditions: dict[str, list[tuple[str, str, Callable[..., bool]]]] = {
        "list": [
            ("rem(x, 2) == 0", "even", lambda x: x % 2 == 0),
            (f"x > {n}", f"over {n}", lambda x: x > n),
            (f"rem(x, {m}) != 0", f"no multiple of {m}", lambda x: x % m != 0),
        ],
        "two": [
            ("x != y", "different", lambda x, y: x != y),
            ("x < y", "the first smaller than the second", lambda x, y: x < y),
            (f"rem(x + y, {m}) == 0", f"with a sum divisible by {m}", lambda x, y: (x + y) % m == 0),
        ],
    }
    words = e.label.draw_many(rng, 3)
    t = 12 * rng.randint(0, 4)
    xs, ys = (
        [8 + t, 7 + t, 8 + t, 7 + t, 12 + t, 1],
        [7 + t, rng.randint(20, 70), rng.randint(2, 9)],
    )  # some pass, twice
    args: tuple[tuple[str, str], ...]
    samples: list[tuple[Any, ...]]
    value: Callable[..., Any]
    values: Callable[..., list[Any]]
    if source == "list":
        cond, cond_text, keep = rng.choice(conditions["list"])
        body, body_text, value = rng.choice(
            [
                (f"x * {n}", f"{n} times each number", lambda x: x * n),
                ("x * x", "the square of each number", lambda x: x * x),
                (f"div(x, {m})", f"each number divided by {m}, rounded down", lambda x: x // m),
                (f"{n * 10} - x", f"{n * 10} minus each number", lambda x: n * 10 - x),
            ]
        )
        args, gens, samples = (("xs", "[integer()]"),), "x <- xs", [(xs,), (ys,)]
        values = lambda v: [value(x) for x in v if keep(x)]
        doc, pipe = (
            f"{body_text} that is {cond_text}",
            f"xs |> Enum.filter(fn x -> {cond} end) |> Enum.map(fn x -> {body} end)",
        )
    elif source in ("two", "square"):
        cond, cond_text, keep = rng.choice(conditions["two"])
        body, body_text, value = rng.choice(
            [
                ("x * y", "the products", lambda x, y: x * y),
                ("x + y", "the sums", lambda x, y: x + y),
                (f"{n} * x - y", f"{n} times the first minus the second", lambda x, y: n * x - y),
            ]
        )
        second = "ys" if source == "two" else "xs"
        args = (("xs", "[integer()]"), ("ys", "[integer()]")) if source == "two" else (("xs", "[integer()]"),)
        gens = f"x <- xs, y <- {second}"
        samples = [(xs[:3], ys), (ys, xs[:2])] if source == "two" else [(xs[:3],), (ys[:2],)]
        values = (
            (lambda v, w: [value(x, y) for x in v for y in w if keep(x, y)])
            if source == "two"
            else (lambda v: [value(x, y) for x in v for y in v if keep(x, y)])
        )
        doc = f"{body_text} of all pairs {'from two lists' if source == 'two' else 'from a list and itself'} that are {cond_text}"
        pipe = f"Enum.flat_map(xs, fn x ->\n  {second}\n  |> Enum.filter(fn y -> {cond} end)\n  |> Enum.map(fn y -> {body} end)\nend)"
    elif source == "pairs":
        cond, cond_text, keep1 = rng.choice(conditions["list"])
        args, gens = (("pairs", "[{atom(), integer()}]"),), "{:ok, x} <- pairs"
        body, body_text, value = rng.choice(
            [(f"x * {n}", f"{n} times", lambda x: x * n), (f"x + {m}", f"{m} more than", lambda x: x + m)]
        )
        samples = [
            (Raw("[{:error, 8}, " + ", ".join(f"{{:ok, {x}}}" for x in xs) + "]"),),
            (Raw("[{:ok, 4}, {:ok, 7}, {:error, 9}, {:ok, 12}]"),),
        ]

        def of_pairs(v: Any) -> list[Any]:
            return [value(int(x)) for tag, x in re.findall(r":(\w+), (\d+)", v) if tag == "ok" and keep1(int(x))]

        doc, pipe = (
            f"{body_text} every number of the pairs `{{:ok, number}}` that is {cond_text}; other pairs are ignored",
            f"Enum.flat_map(pairs, fn\n  {{:ok, x}} when {cond} -> [{body}]\n  _other -> []\nend)",
        )
        values = of_pairs
    elif source == "text":
        args, gens = (("text", "String.t()"),), "<<x <- text>>"
        cond, cond_text, keep = rng.choice(
            [
                ("x in ?a..?z", "a lower-case letter", lambda x: "a" <= x <= "z"),
                ("x in ?0..?9", "a digit", lambda x: x.isdigit()),
                ("x != ?\\s", "no space", lambda x: x != " "),
            ]
        )
        shift = rng.randint(1, 3)
        body, body_text, value = rng.choice(
            [
                ("x", "the code", lambda x: ord(x)),
                (f"x + {shift}", f"{shift} more than the code", lambda x: ord(x) + shift),
                (f"x - {32}", "32 less than the code", lambda x: ord(x) - 32),
            ]
        )
        samples = [(f"{words[0]} {n}{m} {words[0]} {n}",), (f"{words[1]}",)]
        values = lambda v: [value(x) for x in v if keep(x)]
        doc, pipe = (
            f"{body_text} of every byte of an ASCII text that is {cond_text}",
            f"text |> String.to_charlist() |> Enum.filter(fn x -> {cond} end) |> Enum.map(fn x -> {body} end)",
        )
    else:
        args, gens = (("rows", "[[integer()]]"),), "row <- rows, x <- row"
        cond, cond_text, keep = rng.choice(conditions["list"])
        body, body_text, value = rng.choice(
            [
                (f"x - {m}", f"{m} less than each number", lambda x: x - m),
                (f"x * {n}", f"{n} times each number", lambda x: x * n),
            ]
        )
        samples = [([xs, ys],), ([[4, 9], [], [12, 15]],)]
        values = lambda v: [value(x) for row in v for x in row if keep(x)]
        doc, pipe = (
            f"{body_text} of a list of lists that is {cond_text}",
            f"rows |> Enum.concat() |> Enum.filter(fn x -> {cond} end) |> Enum.map(fn x -> {body} end)",
        )
    function = rng.choice(["collect", "values", "pick", "derive", "combine", "compute"])
    names = ", ".join(name for name, _ in args)

    def code(c: Choices) -> str:
        into = c["into"]
        if c["form"] == "for":
            filters = f", {cond}"
            head = f"for {gens}{filters}"
            texts = {
                "list": f"def $f({names}) do\n  {head}, do: {body}\nend",
                "uniq": f"def $f({names}) do\n  for {gens}{filters}, uniq: true, do: {body}\nend",
                "set": f"def $f({names}) do\n  {head}, into: MapSet.new(), do: {body}\nend",
                "sum": f"def $f({names}) do\n  {head}, reduce: 0 do\n    total -> total + {body}\n  end\nend",
                "counts": f"def $f({names}) do\n  {head}, reduce: %{{}} do\n    counts -> Map.update(counts, {body}, 1, &(&1 + 1))\n  end\nend",
                "text": f'def $f({names}) do\n  {head}, into: "", do: "#{{{body}}};"\nend',
            }
            return fill(texts[into], f=function)
        ends = {
            "list": "",
            "uniq": "\n|> Enum.uniq()",
            "set": "\n|> MapSet.new()",
            "sum": "\n|> Enum.sum()",
            "counts": "\n|> Enum.frequencies()",
            "text": '\n|> Enum.map_join(&"#{&1};")',
        }
        return fill("def $f($names) do\n  $body\nend", f=function, names=names, body=pipe + ends[into])

    def run(c: Choices) -> Callable[..., Any]:
        def answer(*given: Any) -> Any:
            out = values(*given)
            return {
                "list": out,
                "uniq": list(dict.fromkeys(out)),
                "set": Raw(f"MapSet.new({literal(sorted(set(out)))})"),
                "sum": sum(out),
                "counts": Raw("%{" + ", ".join(f"{v} => {out.count(v)}" for v in sorted(set(out))) + "}"),
                "text": "".join(f"{v};" for v in out),
            }[c["into"]]

        return answer

    empty = tuple("" if source == "text" else Raw("[]") if source == "pairs" else [] for _ in args)
    return exercise(
        rng,
        Task(
            function=function,
            arguments=args,
            returns="term()",
            documentation=doc[0].upper() + doc[1:] + ".",
            titles=(
                f"`{function}/{len(args)}`, which gives {doc}",
                f"a comprehension `{function}/{len(args)}`: {doc}",
                f"a function `{function}({names})` for {doc}",
            ),
            axes={
                "into": Axis(
                    ways={
                        "list": Way(ask="The result is a list, with repetitions.", answer="A list, with repetitions."),
                        "uniq": Way(
                            ask="The result is a list without repetitions, in the order of their first occurrence.",
                            answer="A list without repetitions.",
                            request="Leave out repetitions.",
                        ),
                        "set": Way(
                            ask="The result is a `MapSet`.",
                            answer="A `MapSet`.",
                            request="Collect the result into a `MapSet`.",
                        ),
                        "sum": Way(
                            ask="The result is their sum.", answer="Their sum.", request="I only need their sum."
                        ),
                        "counts": Way(
                            ask="The result is a map from each value to how often it occurs.",
                            answer="A map with how often each occurs.",
                            request="Count how often each value occurs, in a map.",
                        ),
                        "text": Way(
                            ask="The result is a text with a semicolon after each.",
                            answer="A text with a semicolon after each.",
                        ),
                    },
                    question="What should the values be collected into?",
                ),
                "form": style("for", "pipe"),
            },
            code=code,
            run=run,
            samples=samples,
            edges=[empty],
            faults=(
                Fault(f", {cond}", "", "missing_filter", "Nothing is filtered out."),
                Fault(", uniq: true", "", "missing_option", "Repetitions stay in the result."),
                Fault("total + ", "total - ", "wrong_operation", "The values are taken away."),
                Fault("Enum.filter(", "Enum.reject(", "inverted_condition", "It keeps what should go."),
                Fault("|> Enum.uniq()", "|> Enum.dedup()", "wrong_function", "Only neighbours are compared."),
            ),
            explanation="A comprehension says where values come from, which ones count and what becomes of each; `into:`, `uniq:` and `reduce:` decide what is made of them.",
        ),
        family="rows_comprehension",
        module_name=in_context(
            rng,
            camel(rng.choice([f"{e.singular}_values", "selection", f"{e.amount.name}_picker", "derive", "collector"])),
        ),
        difficulty=2,
        operations=("for", source),
    )


def stream(rng: random.Random) -> Draft:
    """A lazy source, two or three lazy steps, and an end."""
    e = draw_entity(rng)
    p, q, r, size = rng.randint(1, 5), rng.randint(2, 4), rng.randint(3, 6), rng.randint(2, 3)
    sources: list[tuple[str, str, Callable[[], Any]]] = [
        (
            f"Stream.iterate({p}, &(&1 + {q}))",
            f"the numbers {p}, {p + q}, {p + 2 * q} and so on",
            lambda: (p + q * i for i in range(600)),
        ),
        (
            f"Stream.iterate({p}, &(&1 * {q}))",
            f"the numbers {p}, {p * q}, {p * q * q} and so on, each {q} times the one before",
            lambda: (p * q**i for i in range(60)),
        ),
        (
            f"Stream.unfold({{{p}, {q}}}, fn {{a, b}} -> {{a, {{b, a + b}}}} end)",
            f"the sequence {p}, {q}, {p + q} and so on, each the sum of the two before",
            lambda: _sums(p, q),
        ),
        (
            f"Stream.cycle([{p}, {q}, {r}])",
            f"{p}, {q}, {r} over and over",
            lambda: ([p, q, r][i % 3] for i in range(600)),
        ),
        (
            f"Stream.unfold({r}, fn n -> {{n, n + rem(n, {q}) + 1}} end)",
            f"the numbers from {r} on, where each is followed by n + rem(n, {q}) + 1",
            lambda: _steps(r, q),
        ),
    ]
    steps: list[tuple[str, str, Callable[[Any], Any]]] = [
        (
            f"Stream.filter(&(rem(&1, {size}) == 0))",
            f"keep multiples of {size}",
            lambda it: (x for x in it if x % size == 0),
        ),
        (f"Stream.reject(&(rem(&1, {r}) == 0))", f"leave out multiples of {r}", lambda it: (x for x in it if x % r)),
        (f"Stream.map(&(&1 * &1 + {p}))", f"square each and add {p}", lambda it: (x * x + p for x in it)),
        (f"Stream.map(&(&1 + {r}))", f"add {r} to each", lambda it: (x + r for x in it)),
        (f"Stream.drop({size})", f"leave out the first {size}", lambda it: (x for i, x in enumerate(it) if i >= size)),
        (
            f"Stream.take_every({size})",
            f"take the first and then every {size}th",
            lambda it: (x for i, x in enumerate(it) if i % size == 0),
        ),
        ("Stream.scan(&(&1 + &2))", "replace each by the sum so far", _running),
        ("Stream.dedup()", "leave out immediate repetitions", _dedup),
        (
            "Stream.transform(0, fn x, last -> {[x - last], x} end)",
            "replace each by its difference to the one before (the first stays)",
            _deltas,
        ),
    ]
    grouped: list[tuple[str, str, Callable[[Any], Any]]] = [
        (
            f"Stream.chunk_every({size})\n|> Stream.map(&Enum.sum/1)",
            f"add up groups of {size}",
            lambda it: _chunks(it, size),
        ),
        (
            "Stream.with_index()\n|> Stream.map(fn {x, index} -> x * index end)",
            "multiply each by its position, from 0",
            lambda it: (x * i for i, x in enumerate(it)),
        ),
        ("Stream.map(&rem(&1, 10))", "keep the last digit of each", lambda it: (x % 10 for x in it)),
    ]
    source_code, source_text, source = sources[rng.randrange(len(sources))]
    chosen = rng.sample(steps, rng.randint(1, 2)) + rng.sample(grouped, rng.randint(0, 1))
    if "cycle" in source_code or "(&1 * " in source_code:  # filters might wait for ever there
        chosen = [
            each for each in chosen if "filter" not in each[0] and "reject" not in each[0] and "dedup" not in each[0]
        ] or [steps[3]]
    function = rng.choice(["numbers", "sequence", "series", "values", "generate"])
    counts = [rng.randint(3, 6), 1, 0]

    def all_values() -> Any:
        it: Any = source()
        for _, _, run in chosen:
            it = run(it)
        return it

    def take(count: int) -> list[int]:
        out = []
        it = all_values()
        for _ in range(count):
            value = next(it, None)
            if value is None:
                break
            out.append(value)
        return out

    # A filter that lets nothing through would make the program run for ever.
    while len(take(8)) < 8:
        chosen = chosen[1:] if len(chosen) > 1 else [steps[3]]

    def code(c: Choices) -> str:
        body = "\n|> ".join([source_code, *(text for text, _, _ in chosen)])
        if c["lazy"]:
            return fill("def $f do\n  $body\nend", f=function, body=body)
        end = {"list": "Enum.take(count)", "sum": "Enum.take(count)\n|> Enum.sum()", "at": "Enum.at(count)"}[c["end"]]
        return fill("def $f(count) do\n  $body\nend", f=function, body=body + "\n|> " + end)

    def run(c: Choices) -> Callable[..., Any]:
        return lambda count: {"list": take, "sum": lambda n: sum(take(n)), "at": lambda n: take(n + 1)[-1]}[c["end"]](
            count
        )

    said = "; ".join(text for _, text, _ in chosen)
    return exercise(
        rng,
        Task(
            function=function,
            arguments=(("count", "non_neg_integer()"),),
            returns="[integer()] | integer()",
            documentation=f"From {source_text}: {said}.",
            titles=(
                f"`{function}/1`, a lazy pipeline. It begins with {source_text}, then: {said}",
                f"a function `{function}(count)` with `Stream`: from {source_text}; {said}",
            ),
            axes={
                "end": Axis(
                    ways={
                        "list": Way(ask="It answers the first `count` of them.", answer="The first `count` as a list."),
                        "sum": Way(
                            ask="It answers the sum of the first `count`.",
                            answer="The sum of the first `count`.",
                            request="Answer the sum of the first `count` instead.",
                        ),
                        "at": Way(
                            ask="It answers the one at position `count`, from 0.",
                            answer="The one at that position, from 0.",
                            request="Answer only the one at position `count`, from 0.",
                        ),
                    },
                    question="What should it answer: the first `count`, their sum, or the one at that position?",
                ),
                "lazy": Axis(ways={False: Way()}),
            },
            code=code,
            run=run,
            samples=[(counts[0],), (counts[1] + 1,)],
            edges=[(counts[1],), (counts[2],)],
            faults=(
                Fault(
                    chosen[0][0].split("\n")[0],
                    "Stream.map(& &1)",
                    "missing_step",
                    f"The first step is missing: {chosen[0][1]}.",
                ),
                Fault("Enum.take(count)", "Enum.take(count + 1)", "off_by_one", "It takes one too many."),
                Fault("Enum.at(count)", "Enum.at(count + 1)", "off_by_one", "Positions begin at 0."),
            ),
            explanation="Nothing of a stream is worked out until `Enum` asks for it, so the source may be endless; the steps run element by element.",
        ),
        family="rows_stream",
        module_name=in_context(
            rng, camel(rng.choice(["sequences", "lazy_numbers", f"{e.singular}_stream", "series", "generator"]))
        ),
        difficulty=3,
        operations=("stream", *(text.split("(")[0] for text, _, _ in chosen)),
    )


def _sums(a: int, b: int) -> Any:
    for _ in range(80):
        yield a
        a, b = b, a + b


def _steps(n: int, q: int) -> Any:
    for _ in range(600):
        yield n
        n = n + n % q + 1


def _running(it: Any) -> Any:
    total = 0
    for x in it:
        total += x
        yield total


def _dedup(it: Any) -> Any:
    last = None
    for x in it:
        if x != last:
            yield x
        last = x


def _deltas(it: Any) -> Any:
    last = 0
    for x in it:
        yield x - last
        last = x


def _chunks(it: Any, size: int) -> Any:
    part = []
    for x in it:
        part.append(x)
        if len(part) == size:
            yield sum(part)
            part = []


def join(rng: random.Random) -> Draft:
    """Two lists of records by a key."""
    e = draw_entity(rng)
    l, a = e.label.name, e.amount.name  # noqa: E741
    other = rng.choice(["price", "rating", "weight", "stock", "tax", "bonus"])
    labels = e.label.draw_many(rng, 4)
    left = [{l: label, a: e.amount.draw(rng)} for label in labels[:3]]
    right = [{l: label, other: rng.randint(1, 9)} for label in (labels[1], labels[0], labels[3])]
    function = rng.choice(["join", f"with_{other}", "combine", "merge_lists", "enrich"])
    rights = f"{other}s"
    how = rng.choice(["map", "tuple", "product"])

    def made(one: str, two: str) -> str:
        return {
            "map": f"Map.put({one}, :{other}, {two})",
            "tuple": f"{{{one}.{l}, {one}.{a}, {two}}}",
            "product": f"{{{one}.{l}, {one}.{a} * {two}}}",
        }[how]

    def code(c: Choices) -> str:
        keep, default = c["missing"], "0" if how == "product" else "nil"
        index = f"by_{l} = Map.new({rights}, &{{&1.{l}, &1.{other}}})"
        one = e.singular
        if keep == "inner":
            if c["form"] == "for":
                return fill(
                    f"def $f({e.plural}, {rights}) do\n  for {one} <- {e.plural}, found <- {rights}, found.{l} == {one}.{l} do\n    {made(one, f'found.{other}')}\n  end\nend",
                    f=function,
                )
            return fill(
                f"def $f({e.plural}, {rights}) do\n  {index}\n\n  {e.plural}\n  |> Enum.filter(&is_map_key(by_{l}, &1.{l}))\n  |> Enum.map(fn {one} -> {made(one, f'Map.fetch!(by_{l}, {one}.{l})')} end)\nend",
                f=function,
            )
        if c["form"] == "for":
            return fill(
                f"def $f({e.plural}, {rights}) do\n  {index}\n  for {one} <- {e.plural}, do: {made(one, f'Map.get(by_{l}, {one}.{l}, {default})')}\nend",
                f=function,
            )
        return fill(
            f"def $f({e.plural}, {rights}) do\n  {index}\n  Enum.map({e.plural}, fn {one} -> {made(one, f'Map.get(by_{l}, {one}.{l}, {default})')} end)\nend",
            f=function,
        )

    def run(c: Choices) -> Callable[..., Any]:
        def answer(xs: list[dict[str, Any]], ys: list[dict[str, Any]]) -> Any:
            table = {y[l]: y[other] for y in ys}
            out: list[Any] = []
            for x in xs:
                if x[l] in table or c["missing"] == "outer":
                    value = table.get(x[l], 0 if how == "product" else None)
                    out.append(
                        {
                            "map": {**x, other: value},
                            "tuple": (x[l], x[a], value),
                            "product": (x[l], x[a] * value if how == "product" else 0),
                        }[how]
                    )
            return out

        return answer

    text = {
        "map": f"each {e.singular} with the `{other}` put into its map",
        "tuple": f"tuples `{{{l}, {a}, {other}}}`",
        "product": f"pairs of the {l} and {a} times {other}",
    }[how]
    default = "0" if how == "product" else "nil"
    return exercise(
        rng,
        Task(
            function=function,
            arguments=((e.plural, "[map()]"), (rights, "[map()]")),
            returns="[term()]",
            documentation=f"Joins {e.plural} (`{l}`, `{a}`) with {rights} (`{l}`, `{other}`) by {l}: {text}.",
            titles=(
                f"`{function}/2`, which joins {e.plural} (maps with `{l}` and `{a}`) with a list of maps with `{l}` and `{other}`; it gives {text}, in the order of the {e.plural}",
                f"a join of two lists of maps by `{l}`, `{function}({e.plural}, {rights})`. The result: {text}, in the order of the first list",
            ),
            axes={
                "missing": Axis(
                    ways={
                        "inner": Way(ask=f"A {e.singular} without a partner is left out.", answer="It is left out."),
                        "outer": Way(
                            ask=f"A {e.singular} without a partner counts with a {other} of {default}.",
                            answer=f"It stays, with a {other} of {default}.",
                            request=f"Keep what has no partner, with a {other} of {default}.",
                        ),
                    },
                    question=f"What happens to {_a(e.singular)} that has no {other}?",
                ),
                "form": style("for", "map"),
            },
            code=code,
            run=run,
            samples=[(left, right), (left[:2], right)],
            edges=[([], right), (left, [])],
            faults=(
                Fault(
                    f"found.{l} == ", f"found.{l} != ", "inverted_condition", "It pairs what does not belong together."
                ),
                Fault(
                    f"Map.new({rights}, &{{&1.{l}, &1.{other}}})",
                    f"Map.new({rights}, &{{&1.{other}, &1.{l}}})",
                    "swapped_arguments",
                    "Keys and values of the index are swapped.",
                ),
                Fault(
                    "Enum.filter(&is_map_key",
                    "Enum.reject(&is_map_key",
                    "inverted_condition",
                    "It keeps what has no partner.",
                ),
                Fault(f".{a} * ", f".{a} + ", "wrong_operation", "It adds where it should multiply."),
            ),
            explanation="An index by the key makes each look-up one step, instead of a walk through the second list for every element of the first.",
        ),
        family="rows_join",
        module_name=in_context(rng, camel(f"{e.singular}_{rng.choice(['join', 'merge', 'lookup'])}")),
        difficulty=2,
        operations=("join", "map"),
    )


def table(rng: random.Random) -> Draft:
    """Records as lines of text."""
    e = draw_entity(rng)
    fields = rng.sample([e.label.name, e.amount.name, e.kind.name, e.owner.name], rng.randint(2, 3))
    sep = rng.choice([" | ", "  ", ", ", " ; ", "\t"])
    function = rng.choice(["to_table", "render", "format", "to_text"])
    sample = [{key: r[key] for key in fields} for r in e.records(rng, 3)]
    wide = fields[0]  # one cell wider than the others and than its header, so that sides differ
    sample[1][wide] = 10**9 if wide == e.amount.name else type(sample[1][wide])(f"{sample[1][wide]}_and_others")
    padded = rng.random() < 0.6 and sep != "\t"
    sum_field = e.amount.name if e.amount.name in fields else None

    def code(c: Choices) -> str:
        cells = "[" + ", ".join(f"row.{f}" for f in fields) + "]"
        head = ("[[" + ", ".join(literal(f) for f in fields) + "] | rows]") if c["header"] else "rows"
        text = fill(
            "def $f($items) do\n  rows = for row <- $items, do: Enum.map($cells, &to_string/1)\n  lines = $head",
            items=e.plural,
            cells=cells,
            head=head,
        ).replace("$f", function)
        if padded:
            text += (
                fill(
                    "\n\n  widths =\n    for column <- Enum.zip(lines), do: column |> Tuple.to_list() |> Enum.map(&String.length/1) |> Enum.max()"
                )
                .replace("widths", "\n  widths", 1)
                .replace("    for", "    for")
            )
            pad = "String.pad_leading" if c["side"] == "right" else "String.pad_trailing"
            join_ = f"line |> Enum.zip(widths) |> Enum.map_join({literal(sep)}, fn {{cell, width}} -> {pad}(cell, width) end) |> String.trim_trailing()"
            text += f'\n\n  Enum.map_join(lines, "\\n", fn line ->\n    {join_}\n  end)\nend'
        else:
            text += f'\n\n  Enum.map_join(lines, "\\n", &Enum.join(&1, {literal(sep)}))\nend'
        return text

    def run(c: Choices) -> Callable[..., Any]:
        def answer(rows: list[dict[str, Any]]) -> str:
            lines = [[str(r[f]) for f in fields] for r in rows]
            if c["header"]:
                lines = [list(fields), *lines]
            if not padded:
                return "\n".join(sep.join(line) for line in lines)
            widths = [max(map(len, column)) for column in zip(*lines)]
            just = str.rjust if c["side"] == "right" else str.ljust
            return "\n".join(sep.join(just(cell, w) for cell, w in zip(line, widths)).rstrip() for line in lines)

        return answer

    del sum_field
    shown = {"\t": "a tab", "  ": "two spaces"}.get(sep, f"`{sep}`")
    axes = {
        "header": wanted(
            "The first line has the names of the fields.", "Put the names of the fields into a first line."
        )
    }
    if padded:
        axes["side"] = Axis(
            ways={
                "left": Way(
                    ask="Cells are filled with spaces on the right to the width of their column; there are no spaces at the end of a line.",
                    answer="To the left; no spaces at the end of a line.",
                ),
                "right": Way(
                    ask="Cells are filled with spaces on the left to the width of their column.",
                    answer="To the right.",
                    request="Align the columns to the right.",
                ),
            },
            question="Should the columns be aligned to the left or to the right?",
        )
    else:
        axes["side"] = Axis(ways={"left": Way()})
    return exercise(
        rng,
        Task(
            function=function,
            arguments=((e.plural, "[map()]"),),
            returns="String.t()",
            documentation=f"The {e.plural} as lines with {', '.join(fields)}.",
            titles=(
                f"`{function}/1`, which writes {e.plural} as text: a line for each with {', '.join(fields)} and {shown} between them",
                f"a function `{function}/1` that prints a list of maps with {', '.join(fields)} as a table ({shown} between the columns), as one text without a line break at its end",
            ),
            axes=axes,
            code=code,
            run=run,
            samples=[(sample,), (sample[:1],)],
            edges=[(sample[::-1],), ([],)],
            faults=(
                Fault(
                    'Enum.map_join(lines, "\\n"',
                    'Enum.map_join(lines, "\\n\\n"',
                    "wrong_constant",
                    "There is an empty line between the lines.",
                ),
                Fault(
                    "|> Enum.max()",
                    "|> Enum.min()",
                    "wrong_function",
                    "The columns are as narrow as their shortest cell.",
                ),
                Fault(
                    f"[row.{fields[0]}, row.{fields[1]}",
                    f"[row.{fields[1]}, row.{fields[0]}",
                    "swapped_fields",
                    "The first two columns are swapped.",
                ),
                Fault("String.pad_leading", "String.pad_trailing", "wrong_side", "Cells are filled on the wrong side."),
            ),
            explanation="Everything becomes text first, so widths can be measured; `Enum.zip/1` turns lines into columns for that.",
            is_pure=False,
        ),
        family="rows_table",
        module_name=in_context(rng, camel(f"{e.singular}_{rng.choice(['table', 'printer', 'view'])}")),
        difficulty=3,
        operations=("text", "zip"),
    )


FAMILIES: dict[str, Family] = {
    "rows_comprehension": comprehension,
    "rows_join": join,
    "rows_report": report,
    "rows_stream": stream,
    "rows_table": table,
}
