"""Requests that leave one deciding fact open: each family here is about one such fact, on data of many trades.

The fact is an axis with a question; the instruction of the exercise says it, its ambiguous twin does not.
"""

# ruff: noqa: E501 -- Elixir and sentences are kept on one line each; small functions of a table have no name

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from elixir_coder.data.synthesis.choices import Axis, Choices, Fault, Way
from elixir_coder.data.synthesis.domains import Atom, Entity, camel, draw_entity
from elixir_coder.data.synthesis.draft import Draft, Family
from elixir_coder.data.synthesis.functions import Raises, Task, exercise, in_context
from elixir_coder.data.synthesis.writing import Raw, fill

Row = dict[str, Any]
Rows = list[Row]


def open_fact(question: str, **ways: tuple[str, str]) -> Axis:
    """ways: by name, the sentence of the instruction and the answer to the question."""
    return Axis(ways={key: Way(ask=ask, answer=answer) for key, (ask, answer) in ways.items()}, question=question)


@dataclass(frozen=True, kw_only=True)
class OnRows:
    """A function of a list of records that is a pipeline.

    steps, run: for the way of the open fact; steps are what follows the list, `run` gets the list as Python has it.
    """

    function: str
    titles: Sequence[str]
    returns: str
    documentation: str
    axis: Axis
    steps: Callable[[Any], str]
    run: Callable[[Any], Callable[[Rows], Any]]
    explanation: str
    faults: Sequence[Fault] = ()
    helpers: Callable[[Any], str] | None = None


def _rows(rng: random.Random, entity: Entity, amounts: Sequence[int] | None = None) -> tuple[Rows, Rows]:
    """Six records: four that every filter keeps, and two that each filter drops and that decide nothing."""
    label, amount, kind, flag, owner = (each.name for each in entity.fields)
    labels = entity.label.draw_many(rng, 6)
    kinds = entity.kind.draw_many(rng, 2)
    owners = entity.owner.draw_many(rng, 2)
    low = max(entity.amount.low, 1)
    first = rng.randint(low + 4, low + 30)
    chosen = amounts or [first + 3, first + 8, first + 8, first]
    kept = [
        {label: name, amount: value, kind: kinds[0], flag: True, owner: owners[at % 2]}
        for at, (name, value) in enumerate(zip(labels, chosen))
    ]
    others = [
        {label: name, amount: min(chosen) - 1 - at, kind: kinds[1], flag: False, owner: owners[at]}
        for at, name in enumerate(labels[4:])
    ]
    return kept, [kept[0], others[0], *kept[1:3], others[1], kept[3]]


def _filters(
    rng: random.Random, entity: Entity, rows: Rows
) -> tuple[Axis, Callable[[Choices], str], Callable[..., Rows]]:
    """An axis for which records count, its step in Elixir, and the same in Python."""
    kind, flag = entity.kind.name, entity.flag.name
    wanted, other = rows[0][kind], rows[1][kind]
    steps = {
        "flag": (
            f"|> Enum.filter(& &1.{flag})",
            lambda row: row[flag],
            f"Only {entity.plural} with `{flag}` true count.",
        ),
        "kind": (
            f"|> Enum.filter(&(&1.{kind} == :{wanted}))",
            lambda row: row[kind] == wanted,
            f"Only {entity.plural} whose {kind} is `:{wanted}` count.",
        ),
        "not_kind": (
            f"|> Enum.reject(&(&1.{kind} == :{other}))",
            lambda row: row[kind] != other,
            f"Leave out {entity.plural} whose {kind} is `:{other}`.",
        ),
    }
    which = rng.choice(list(steps))
    step, keep, ask = steps[which]
    axis = Axis(ways={None: Way(), which: Way(ask=ask, request=ask)})
    return (
        axis,
        lambda choices: step if choices["which"] else "",
        lambda choices, given: [row for row in given if keep(row)] if choices["which"] else given,
    )


def on_rows(
    rng: random.Random, entity: Entity, task: OnRows, *, family: str, rows: tuple[Rows, Rows] | None = None
) -> Draft:
    """The exercise of a pipeline, with an optional filter before it."""
    kept, sample = rows or _rows(rng, entity)
    axis, step, keep = _filters(rng, entity, sample)
    items = entity.plural
    is_alias = rng.random() < 0.5

    def code(choices: Choices) -> str:
        helpers = task.helpers(choices["fact"]) if task.helpers else ""
        return fill(
            "def $function($items) do\n  $items\n  $filter\n  $steps\nend\n\n$helpers",
            function=task.function,
            items=items if is_alias else "list",
            filter=step(choices),
            steps=task.steps(choices["fact"]),
            helpers=helpers,
        )

    fields = ", ".join(f"{key}: {_type(value)}" for key, value in sample[0].items())
    return exercise(
        rng,
        Task(
            function=task.function,
            arguments=((items, f"[{entity.singular}()]"),),
            returns=task.returns,
            documentation=task.documentation,
            titles=task.titles,
            before=f"@type {entity.singular} :: %{{{fields}}}",
            axes={"fact": task.axis, "which": axis},
            code=code,
            run=lambda choices: lambda given: task.run(choices["fact"])(keep(choices, given)),
            samples=[(sample,), (kept[:2],)],
            edges=[([],), (kept[::-1],), (kept[1:3],), (kept[:1],)],
            faults=task.faults,
            explanation=task.explanation,
        ),
        family=family,
        module_name=in_context(
            rng, camel(f"{entity.singular}_{rng.choice(['report', 'list', 'summary', 'stats', 'view'])}")
        ),
        operations=(family, task.function),
    )


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean()"
    if isinstance(value, int):
        return "integer()"
    return "atom()" if type(value) is not str else "String.t()"


def order(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    a, l = e.amount.name, e.label.name  # noqa: E741
    name = rng.choice(["sorted", "ranking", f"by_{a}", "ordered"])
    return on_rows(
        rng,
        e,
        OnRows(
            function=name,
            titles=(
                f"a function `{name}/1` that sorts {e.plural} by {a} and gives their {l}",
                f"a sorting of {e.plural} by {a}: `{name}/1` returns the {l} of each",
            ),
            returns=f"[{e.label.type}]",
            documentation=f"The {l} of each {e.singular}, sorted by {a}.",
            axis=open_fact(
                f"Should the lowest or the highest {a} come first?",
                up=(f"The lowest {a} comes first.", "The lowest first."),
                down=(f"The highest {a} comes first.", "The highest first."),
            ),
            steps=lambda way: f"|> Enum.sort_by(& &1.{a}{', :desc' if way == 'down' else ''})\n|> Enum.map(& &1.{l})",
            run=lambda way: (
                lambda rows: [row[l] for row in sorted(rows, key=lambda row: row[a] * (1 if way == "up" else -1))]
            ),
            explanation="`Enum.sort_by/3` is stable, so records with equal keys stay in the order they came in; "
            "`Enum.map/2` then picks the one field that is wanted.",
            faults=(
                Fault(
                    f"|> Enum.map(& &1.{l})", f"|> Enum.map(& &1.{a})", "wrong_field", f"It answers {a} instead of {l}."
                ),
                Fault(
                    "Enum.sort_by",
                    "Enum.uniq_by",
                    "wrong_function",
                    "Nothing is sorted; duplicates are removed instead.",
                ),
            ),
        ),
        family="ambiguous_order",
    )


def threshold(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    a, l = e.amount.name, e.label.name  # noqa: E741
    rows = _rows(rng, e)
    limit = rows[0][0][a]
    word, up = rng.choice([("over", True), ("above", True), ("below", False), ("under", False)])
    name = f"{word}_{rng.choice(['limit', 'bound', str(limit)])}"
    sign = (">", ">=") if up else ("<", "<=")

    def holds(way: str, value: int) -> bool:
        return value == limit if way == "in" and value == limit else (value > limit if up else value < limit)

    return on_rows(
        rng,
        e,
        OnRows(
            function=name,
            titles=(
                f"`{name}/1`, which lists the {l} of {e.plural} {word} {limit} {e.unit}",
                f"a function `{name}/1` for {e.plural} whose {a} is {word} {limit}; it answers each {l}",
            ),
            returns=f"[{e.label.type}]",
            documentation=f"The {l} of each {e.singular} {word} {limit} {e.unit}.",
            axis=open_fact(
                f"Does {_a(e.singular)} with exactly {limit} count?",
                out=(f"Exactly {limit} does not count.", "No, exactly that does not count."),
                **{"in": (f"Exactly {limit} counts as well.", "Yes, it counts.")},
            ),
            steps=lambda way: f"|> Enum.filter(&(&1.{a} {sign[way == 'in']} {limit}))\n|> Enum.map(& &1.{l})",
            run=lambda way: lambda rows: [row[l] for row in rows if holds(way, row[a])],
            explanation=f"`Enum.filter/2` keeps what is {word} the limit and `Enum.map/2` takes the {l}; the order stays.",
            faults=(
                Fault(
                    f" {sign[0]} {limit}",
                    f" {sign[1]} {limit}",
                    "off_by_one",
                    "It also takes what is exactly at the limit.",
                ),
                Fault(
                    f" {sign[1]} {limit}",
                    f" {sign[0]} {limit}",
                    "off_by_one",
                    "It leaves out what is exactly at the limit.",
                ),
                Fault(
                    "Enum.filter(&(", "Enum.reject(&(", "inverted_condition", "`Enum.reject/2` keeps the wrong half."
                ),
            ),
        ),
        family="ambiguous_threshold",
        rows=rows,
    )


def ties(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    a, l = e.amount.name, e.label.name  # noqa: E741
    high = rng.random() < 0.6
    rows = _rows(rng, e)
    if not high:
        low = rows[0][0][a]
        rows = _rows(rng, e, [low + 3, low, low, low + 5])
        kept, _ = rows
        rows = (kept, kept)
    word, best = ("highest", max) if high else ("lowest", min)
    name = rng.choice([f"with_{word}_{a}", "top" if high else "bottom", word])

    def run(way: str) -> Callable[[Rows], Any]:
        def answer(given: Rows) -> Any:
            if not given:
                return [] if way == "all" else None
            value = best(row[a] for row in given)
            labels = [row[l] for row in given if row[a] == value]
            return {"first": labels[0], "last": labels[-1], "all": labels}[way]

        return answer

    m = "max" if high else "min"

    def steps(way: str) -> str:
        if way == "all":
            return (
                f"|> Enum.group_by(& &1.{a}, & &1.{l})\n|> Enum.{m}_by(&elem(&1, 0), fn -> {{nil, []}} end)\n|> elem(1)"
            )
        turned = "|> Enum.reverse()\n" if way == "last" else ""
        return f"{turned}|> Enum.{m}_by(& &1.{a}, fn -> nil end)\n|> label()"

    def helpers(way: str) -> str:
        return "" if way == "all" else f"defp label(nil), do: nil\ndefp label({e.singular}), do: {e.singular}.{l}"

    return on_rows(
        rng,
        e,
        OnRows(
            function=name,
            titles=(
                f"`{name}/1`, which finds the {l} with the {word} {a} among {e.plural}",
                f"a function `{name}/1` that tells which of the {e.plural} has the {word} {a} (its {l})",
            ),
            returns=f"{e.label.type} | [{e.label.type}] | nil",
            documentation=f"The {l} with the {word} {a}.",
            axis=open_fact(
                f"What should it answer when several {e.plural} share the {word} {a}?",
                first=("Of several that are equal it answers the first; nil if there is none.", "The first of them."),
                last=("Of several that are equal it answers the last; nil if there is none.", "The last of them."),
                all=(
                    "It answers a list of all that share it, in their order; an empty list if there is none.",
                    "All, as a list.",
                ),
            ),
            steps=steps,
            helpers=helpers,
            run=run,
            explanation=f"`Enum.{m}_by/3` takes a function for the empty list, so nothing is raised there; what happens with "
            "equal values is decided by the order in which it sees them.",
            faults=(
                Fault(
                    f"Enum.{m}_by",
                    f"Enum.{'min' if high else 'max'}_by",
                    "wrong_function",
                    f"It finds the {'lowest' if high else 'highest'} {a}.",
                ),
                Fault(
                    "|> Enum.reverse()\n",
                    "|> Enum.drop(0)\n",
                    "wrong_tie",
                    "Of equal ones it answers the first, not the last.",
                ),
            ),
        ),
        family="ambiguous_ties",
        rows=rows,
    )


def empty_input(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    a = e.amount.name
    name = rng.choice([f"average_{a}", f"mean_{a}", "average"])
    exact = rng.choice(["float", "floor"])

    def run(way: str) -> Callable[[Rows], Any]:
        def answer(given: Rows) -> Any:
            if not given:
                return {
                    "zero": 0,
                    "nil": None,
                    "raise": Raises("ArgumentError", f"no {e.plural}"),
                    "error": (Atom("error"), Atom("empty")),
                }[way]
            total = sum(row[a] for row in given)
            value = total / len(given) if exact == "float" else total // len(given)
            return (Atom("ok"), value) if way == "error" else value

        return answer

    def helpers(way: str) -> str:
        none = {
            "zero": "0",
            "nil": "nil",
            "raise": f'raise(ArgumentError, "no {e.plural}")',
            "error": "{:error, :empty}",
        }[way]
        value = "Enum.sum(values) / length(values)" if exact == "float" else "div(Enum.sum(values), length(values))"
        value = f"{{:ok, {value}}}" if way == "error" else value
        return f"defp mean([]), do: {none}\ndefp mean(values), do: {value}"

    how = "as a float" if exact == "float" else "rounded down"
    return on_rows(
        rng,
        e,
        OnRows(
            function=name,
            titles=(
                f"`{name}/1`, the average {a} of a list of {e.plural}, {how}",
                f"a function `{name}/1` that works out the mean {a} ({how}) of {e.plural}",
            ),
            returns="number() | nil | {:ok, number()} | {:error, :empty}",
            documentation=f"The average {a}, {how}.",
            axis=open_fact(
                f"What should it give for no {e.plural} at all?",
                zero=("The average of none is 0.", "0."),
                **{
                    "nil": ("The average of none is nil.", "nil."),
                    "raise": (
                        f'With none it raises an `ArgumentError` that says "no {e.plural}".',
                        "Raise an ArgumentError.",
                    ),
                    "error": (
                        "It answers `{:ok, average}`, or `{:error, :empty}` when there is none.",
                        "`{:error, :empty}`, and `{:ok, average}` otherwise.",
                    ),
                },
            ),
            steps=lambda way: f"|> Enum.map(& &1.{a})\n|> mean()",
            helpers=helpers,
            run=run,
            explanation="A clause of its own for the empty list keeps the division from failing with an ArithmeticError.",
            faults=(
                Fault("length(values))", "(length(values) + 1))", "off_by_one", "It divides by one too many."),
                Fault("/ length(values)", "/ (length(values) + 1)", "off_by_one", "It divides by one too many."),
                Fault(
                    "defp mean([]), do: 0\n",
                    "",
                    "missing_clause",
                    "Without the clause for [] an empty list divides by zero.",
                ),
                Fault(
                    "defp mean([]), do: nil\n",
                    "",
                    "missing_clause",
                    "Without the clause for [] an empty list divides by zero.",
                ),
            ),
        ),
        family="ambiguous_empty",
    )


def rounding(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    a = e.amount.name
    divisor = rng.choice([3, 4, 6, 7, 8])
    name = rng.choice(["average", f"{a}_share", "share_each", "portion"])
    base = rng.randint(5, 20) * divisor
    rows = _rows(rng, e, [base + divisor - 1, base + 1, base, base])
    whole = rng.choice(["part", "each"])

    def run(way: str) -> Callable[[Rows], Any]:
        def answer(given: Rows) -> Any:
            total = sum(row[a] for row in given)
            down, rest = divmod(total, divisor)
            return {"down": down, "up": down + (rest > 0), "nearest": down + (2 * rest >= divisor)}[way]

        return answer

    function = {"down": f"div({divisor})", "up": "ceil()", "nearest": "round()"}

    def steps(way: str) -> str:
        total = f"|> Enum.map(& &1.{a})\n|> Enum.sum()"
        return (
            f"{total}\n|> div({divisor})" if way == "down" else f"{total}\n|> Kernel./({divisor})\n|> {function[way]}"
        )

    return on_rows(
        rng,
        e,
        OnRows(
            function=name,
            titles=(
                f"`{name}/1`, which shares the total {a} of {e.plural} among {divisor}, in whole {e.unit}",
                f"a function `{name}/1`: the sum of every {a} divided by {divisor}, as an integer",
            ),
            returns="integer()",
            documentation=f"The total {a}, shared among {divisor}; {whole} is a whole number.",
            axis=open_fact(
                "How should the result be rounded: down, up or to the nearest?",
                down=("Round down.", "Down."),
                up=("Round up.", "Up."),
                nearest=("Round to the nearest whole number, half up.", "To the nearest."),
            ),
            steps=steps,
            run=run,
            explanation="`div/2` rounds non-negative numbers down; `ceil/1` and `round/1` need the quotient of `/`, a float.",
            faults=(
                Fault("|> div(", "|> Kernel./(", "wrong_type", "`/` answers a float, where a whole number is wanted."),
                Fault("|> ceil()", "|> trunc()", "rounding", "`trunc/1` cuts off what should be rounded up."),
                Fault(
                    "|> round()", "|> trunc()", "rounding", "`trunc/1` cuts off what should be rounded to the nearest."
                ),
                Fault(
                    "Enum.sum()", "Enum.max(fn -> 0 end)", "wrong_function", "It takes the largest value, not the sum."
                ),
            ),
        ),
        family="ambiguous_rounding",
        rows=(rows[0], rows[1]),
    )


def conflict(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    a, o, l = e.amount.name, e.owner.name, e.label.name  # noqa: E741
    name = rng.choice([f"by_{o}", "index", f"{a}_by_{o}", f"{e.singular}_index"])
    value = rng.choice([a, l])

    def run(way: str) -> Callable[[Rows], Any]:
        def answer(given: Rows) -> Any:
            found: dict[str, Any] = {}
            for row in given:
                if way == "all":
                    found[row[o]] = [*found.get(row[o], []), row[value]]
                elif way == "last" or row[o] not in found:
                    found[row[o]] = row[value]
            return {_text(key): each for key, each in found.items()}

        return answer

    steps = {
        "last": f"|> Map.new(&{{&1.{o}, &1.{value}}})",
        "first": f"|> Enum.reverse()\n|> Map.new(&{{&1.{o}, &1.{value}}})",
        "all": f"|> Enum.group_by(& &1.{o}, & &1.{value})",
    }
    return on_rows(
        rng,
        e,
        OnRows(
            function=name,
            titles=(
                f"`{name}/1`, which makes a map from {o} to {value} out of {e.plural}",
                f"a function `{name}/1` that looks up the {value} of {_a(e.singular)} by its {o}: it returns a map",
            ),
            returns="%{optional(String.t()) => term()}",
            documentation=f"From each {o} to the {value}.",
            axis=open_fact(
                f"Several {e.plural} may have the same {o}. Which {value} should the map hold?",
                last=(f"Of several with the same {o} the last one wins.", "The last one's."),
                first=(f"Of several with the same {o} the first one wins.", "The first one's."),
                all=(f"Each {o} leads to a list of every {value}, in their order.", "All of them, as a list."),
            ),
            steps=lambda way: steps[way],
            run=run,
            explanation="`Map.new/2` lets the last of equal keys win, so turning the list round makes the first one win; "
            "`Enum.group_by/3` keeps all of them.",
            faults=(
                Fault(
                    "|> Enum.reverse()\n",
                    "|> Enum.drop(0)\n",
                    "conflict",
                    "The last of equal keys wins instead of the first.",
                ),
                Fault(
                    f"{{&1.{o}, &1.{value}}}",
                    f"{{&1.{value}, &1.{o}}}",
                    "swapped_arguments",
                    "Keys and values are swapped.",
                ),
                Fault(
                    f"Enum.group_by(& &1.{o}, & &1.{value})",
                    f"Enum.group_by(& &1.{o})",
                    "wrong_value",
                    f"The lists hold whole {e.plural}, not only the {value}.",
                ),
            ),
        ),
        family="ambiguous_conflict",
    )


class _text(str):
    """A text that is not written as an atom key."""


def duplicates(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    o, l = e.owner.name, e.label.name  # noqa: E741
    name = rng.choice([f"one_per_{o}", "deduplicate", "unique", f"distinct_by_{o}"])

    def run(way: str) -> Callable[[Rows], Any]:
        def answer(given: Rows) -> Any:
            rows = given if way == "first" else given[::-1]
            seen: dict[str, str] = {}
            for row in rows:
                seen.setdefault(row[o], row[l])
            labels = list(seen.values())
            return labels if way == "first" else labels[::-1]

        return answer

    return on_rows(
        rng,
        e,
        OnRows(
            function=name,
            titles=(
                f"`{name}/1`, which keeps one {e.singular} for each {o} and gives their {l}",
                f"a function `{name}/1` that drops {e.plural} with a repeated {o}; it answers each {l} that stays",
            ),
            returns=f"[{e.label.type}]",
            documentation=f"The {l} of one {e.singular} for each {o}, in their order.",
            axis=open_fact(
                f"When {_a(o)} occurs more than once, which {e.singular} stays, the first or the last?",
                first=(f"The first with each {o} stays.", "The first."),
                last=(f"The last with each {o} stays.", "The last."),
            ),
            steps=lambda way: (
                (
                    f"|> Enum.uniq_by(& &1.{o})"
                    if way == "first"
                    else f"|> Enum.reverse()\n|> Enum.uniq_by(& &1.{o})\n|> Enum.reverse()"
                )
                + f"\n|> Enum.map(& &1.{l})"
            ),
            run=run,
            explanation="`Enum.uniq_by/2` keeps the first of equal ones; for the last one the list is turned round before and after.",
            faults=(
                Fault(f"uniq_by(& &1.{o})", f"uniq_by(& &1.{l})", "wrong_field", f"It compares {l} instead of {o}."),
                Fault(
                    f"|> Enum.uniq_by(& &1.{o})",
                    f"|> Enum.dedup_by(& &1.{o})",
                    "wrong_function",
                    "`dedup_by` only drops neighbours that are equal.",
                ),
            ),
        ),
        family="ambiguous_duplicates",
    )


def per_group(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    a, o, l = e.amount.name, e.owner.name, e.label.name  # noqa: E741
    count = rng.choice([1, 2])
    low = max(e.amount.low, 1) + rng.randint(4, 20)
    rows = _rows(rng, e, [low + 30, low, low + 20, low + 10] if count == 1 else [low + 30, low + 1, low + 20, low + 2])
    name = rng.choice([f"top_{count}", "best", f"highest_{count}"])

    def run(way: str) -> Callable[[Rows], Any]:
        def answer(given: Rows) -> Any:
            rows = sorted(given, key=lambda row: -row[a])
            if way == "overall":
                return [row[l] for row in rows[:count]]
            groups: dict[str, list[str]] = {}
            for row in rows:
                groups.setdefault(row[o], []).append(row[l])
            return [label for key in sorted(groups) for label in groups[key][:count]]

        return answer

    def steps(way: str) -> str:
        if way == "overall":
            return f"|> Enum.sort_by(& &1.{a}, :desc)\n|> Enum.take({count})\n|> Enum.map(& &1.{l})"
        return (
            f"|> Enum.sort_by(& &1.{a}, :desc)\n|> Enum.group_by(& &1.{o}, & &1.{l})\n|> Enum.sort()\n"
            f"|> Enum.flat_map(fn {{_{o}, found}} -> Enum.take(found, {count}) end)"
        )

    return on_rows(
        rng,
        e,
        OnRows(
            function=name,
            titles=(
                f"`{name}/1`, which gives the {l} of the {count} {e.plural} with the highest {a}",
                f"a function `{name}/1` for the {count} best {e.plural} by {a} (their {l}); each belongs to {_a(o)}",
            ),
            returns=f"[{e.label.type}]",
            documentation=f"The {l} of the {count} with the highest {a}.",
            axis=open_fact(
                f"Is the limit of {count} for the whole list or for each {o}?",
                overall=("The limit is for the whole list, the highest first.", "For the whole list."),
                each=(
                    f"The limit is for each {o}; the groups come in the order of their {o}, the highest first within one.",
                    f"For each {o}, groups sorted by {o}.",
                ),
            ),
            steps=steps,
            run=run,
            explanation="Sorting before grouping keeps each group sorted, because `Enum.group_by/3` preserves the order.",
            faults=(
                Fault(", :desc)", ")", "wrong_order", "Without `:desc` it takes the lowest."),
                Fault(f"take({count})", f"take({count + 1})", "off_by_one", "It takes one too many."),
                Fault(f"take(found, {count})", f"take(found, {count + 1})", "off_by_one", "It takes one too many."),
            ),
        ),
        family="ambiguous_per_group",
        rows=rows,
    )


def tie_order(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    a, l = e.amount.name, e.label.name  # noqa: E741
    name = rng.choice(["leaderboard", "ranked", f"by_{a}"])
    kept, _ = _rows(rng, e)
    labels = sorted((row[l] for row in kept), reverse=True)  # so that the order of the input and of the labels differ
    kept = [{**row, l: label} for row, label in zip(kept, labels)]
    extra = _rows(rng, e)[1]
    rest = [row for row in extra if row not in extra[:1]][:1]
    rest = [{**row, a: min(each[a] for each in kept) - 1, l: "zz"} for row in rest]
    return on_rows(
        rng,
        e,
        OnRows(
            function=name,
            titles=(
                f"`{name}/1`, which lists {e.plural} by {a}, the highest first, as their {l}",
                f"a function `{name}/1` that ranks {e.plural} by descending {a} and gives each {l}",
            ),
            returns=f"[{e.label.type}]",
            documentation=f"The {l} of each {e.singular}, by descending {a}.",
            axis=open_fact(
                f"In which order should {e.plural} with the same {a} stand?",
                stable=("Equal ones stay in the order of the list.", "As they stand in the list."),
                label=(f"Equal ones are sorted by {l}.", f"By {l}."),
            ),
            steps=lambda way: (
                (f"|> Enum.sort_by(& &1.{a}, :desc)" if way == "stable" else f"|> Enum.sort_by(&{{-&1.{a}, &1.{l}}})")
                + f"\n|> Enum.map(& &1.{l})"
            ),
            run=lambda way: (
                lambda rows: [
                    row[l] for row in sorted(rows, key=lambda row: (-row[a], row[l] if way == "label" else ""))
                ]
            ),
            explanation="A tuple as the sort key compares its elements from left to right; a stable sort keeps the order of equals.",
            faults=(
                Fault("{-&1.", "{&1.", "wrong_order", f"Without the minus the lowest {a} comes first."),
                Fault(", :desc)", ")", "wrong_order", f"Without `:desc` the lowest {a} comes first."),
            ),
        ),
        family="ambiguous_tie_order",
        rows=(kept, [kept[0], rest[0], *kept[1:]]),
    )


def error_style(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    l, a = e.label.name, e.amount.name  # noqa: E741
    name = rng.choice(["find", f"find_{e.singular}", "lookup", f"{a}_of"])
    rows = [{l: label, a: amount} for label, amount in zip(e.label.draw_many(rng, 4), e.amount.draw_many(rng, 4))]
    missing = rows.pop()[l]
    items = e.plural

    def code(choices: Choices) -> str:
        found = {"nil": f"{e.singular}.{a}", "tuple": f"{{:ok, {e.singular}.{a}}}", "raise": f"{e.singular}.{a}"}[
            choices["fact"]
        ]
        none = {
            "nil": "nil",
            "tuple": "{:error, :not_found}",
            "raise": f'raise ArgumentError, "no {e.singular} with {l} #{{inspect({l})}}"',
        }[choices["fact"]]
        if choices["form"] == "case":
            return fill(
                "def $f($items, $l) do\n  case Enum.find($items, &(&1.$l == $l)) do\n    nil -> $none\n"
                "    $one -> $found\n  end\nend",
                f=name,
                items=items,
                l=l,
                none=none,
                one=e.singular,
                found=found,
            )
        return fill(
            "def $f([], $l), do: $none\ndef $f([%{$l: $l} = $one | _rest], $l), do: $found\n"
            "def $f([_other | rest], $l), do: $f(rest, $l)",
            f=name,
            l=l,
            none=none,
            one=e.singular,
            found=found,
        ).replace(f"def {name}([], {l})", f"def {name}([], {l if choices['fact'] == 'raise' else '_' + l})")

    def run(choices: Choices) -> Callable[..., Any]:
        def answer(rows: Rows, label: str) -> Any:
            for row in rows:
                if row[l] == label:
                    return (Atom("ok"), row[a]) if choices["fact"] == "tuple" else row[a]
            return {
                "nil": None,
                "tuple": (Atom("error"), Atom("not_found")),
                "raise": Raises("ArgumentError", f'no {e.singular} with {l} "{label}"'),
            }[choices["fact"]]

        return answer

    axis = Axis(
        ways={
            "nil": Way(ask="Without one it answers nil.", answer="nil, and the bare value otherwise."),
            "tuple": Way(
                ask="It answers `{:ok, value}`, or `{:error, :not_found}`.",
                answer="`{:error, :not_found}`, and `{:ok, value}` otherwise.",
                request="Return `{:ok, value}` or `{:error, :not_found}` instead.",
                reply="With tagged tuples:",
            ),
            "raise": Way(
                ask=f'Without one it raises an `ArgumentError` such as `no {e.singular} with {l} "{missing}"`.',
                answer="Raise an ArgumentError that names it.",
                request="Raise an `ArgumentError` that names what is missing "
                f'(`no {e.singular} with {l} "{missing}"`).',
                reply="It raises now:",
            ),
        },
        question=f"What should `{name}/2` do when no {e.singular} has that {l}?",
    )
    return exercise(
        rng,
        Task(
            function=name,
            arguments=((items, "[map()]"), (l, e.label.type)),
            returns="term()",
            documentation=f"The {a} of the {e.singular} with a given {l}.",
            titles=(
                f"`{name}/2`, which looks up the {a} of {_a(e.singular)} in a list by its {l}",
                f"a function `{name}/2` that takes {e.plural} (maps) and {_a(l)} and gives the {a}",
            ),
            axes={"fact": axis, "form": Axis(ways={"case": Way(), "clauses": Way()}, is_style=True)},
            code=code,
            run=run,
            samples=[(rows, rows[1][l]), (rows, rows[0][l])],
            edges=[(rows, missing), ([], missing)],
            faults=(
                Fault(
                    f"&1.{l} == {l}", f"&1.{l} != {l}", "inverted_condition", "It finds the first that does not match."
                ),
                Fault(
                    f"def {name}([_other | rest], {l}), do: {name}(rest, {l})",
                    f"def {name}([_other | _rest], {l}), do: {name}([], {l})",
                    "stops_early",
                    "It only ever looks at the first element.",
                ),
                Fault("{:error, :not_found}", "nil", "wrong_error", "A missing one should be an error tuple, not nil."),
            ),
            explanation="The search stops at the first match; what happens without one has a branch of its own.",
        ),
        family="ambiguous_error_style",
        module_name=in_context(rng, camel(f"{e.singular}_{rng.choice(['directory', 'lookup', 'finder', 'index'])}")),
    )


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun.replace('_', ' ')}"


@dataclass(frozen=True, kw_only=True)
class Small:
    """A function of plain values with one open fact, written by hand.

    code, run: by the way of the fact; code has `$f` for the function's name. names: of the function, to draw from.
    """

    names: Sequence[str]
    arguments: Sequence[tuple[str, str]]
    returns: str
    documentation: str
    titles: Sequence[str]  # with $f
    axis: Axis
    code: dict[str, str | tuple[str, ...]]  # several: other ways to write it
    run: Callable[..., Any]  # (way, *arguments)
    samples: Sequence[tuple[Any, ...]]
    edges: Sequence[tuple[Any, ...]] = ()
    faults: Sequence[Fault] = ()
    explanation: str = ""
    modules: Sequence[str] = ("Tools",)


def small(rng: random.Random, family: str, task: Small) -> Draft:
    name = rng.choice(list(task.names))
    forms = max(1 if isinstance(code, str) else len(code) for code in task.code.values())
    axes = {"fact": task.axis}
    if forms > 1:
        axes["form"] = Axis(ways={at: Way() for at in range(forms)}, is_style=True)

    def code(choices: Choices) -> str:
        given = task.code[choices["fact"]]
        text = given if isinstance(given, str) else given[choices.get("form", 0) % len(given)]
        return fill(text, f=name)

    faults = [Fault(fill(each.old, f=name), fill(each.new, f=name), each.kind, each.diagnosis) for each in task.faults]
    return exercise(
        rng,
        Task(
            function=name,
            arguments=task.arguments,
            returns=task.returns,
            documentation=task.documentation,
            titles=[fill(title, f=f"`{name}/{len(task.arguments)}`") for title in task.titles],
            axes=axes,
            code=code,
            run=lambda choices: lambda *given: task.run(choices["fact"], *given),
            samples=task.samples,
            edges=task.edges,
            faults=faults,
            explanation=task.explanation,
        ),
        family=family,
        module_name=in_context(rng, rng.choice(list(task.modules))),
        difficulty=2,
    )


def _numbers(rng: random.Random, count: int, low: int = 1, high: int = 60) -> list[int]:
    return [rng.randint(low, high) for _ in range(count)]


def chunks(rng: random.Random) -> Draft:
    e, size = draw_entity(rng), rng.randint(2, 4)
    full, short = _numbers(rng, size * 2), _numbers(rng, size * 2 + 1)

    def run(way: str, values: list[int]) -> Any:
        parts = [values[at : at + size] for at in range(0, len(values), size)]
        if way == "drop":
            return [part for part in parts if len(part) == size]
        if way == "pad":
            return [part + [0] * (size - len(part)) for part in parts]
        return parts

    return small(
        rng,
        "ambiguous_remainder",
        Small(
            names=("batches", "split", "groups", f"in_{size}s"),
            arguments=((e.plural, "[integer()]"),),
            returns="[[integer()]]",
            documentation=f"The list in batches of {size}.",
            titles=(
                f"$f, which cuts a list of numbers into batches of {size}",
                f"a function $f that groups {e.amount.name}s by {size}",
            ),
            axis=open_fact(
                f"What should happen to the last numbers when they are fewer than {size}?",
                keep=("A shorter last batch is kept.", "Keep them as a shorter batch."),
                drop=(f"What does not fill a batch of {size} is dropped.", "Drop them."),
                pad=("A short last batch is filled up with zeros.", "Fill the batch up with zeros."),
            ),
            code={
                "keep": (
                    f"def $f({e.plural}), do: Enum.chunk_every({e.plural}, {size})",
                    f"def $f([]), do: []\n\ndef $f({e.plural}) do\n  {{batch, rest}} = Enum.split({e.plural}, {size})\n  [batch | $f(rest)]\nend",
                ),
                "drop": f"def $f({e.plural}), do: Enum.chunk_every({e.plural}, {size}, {size}, :discard)",
                "pad": f"def $f({e.plural}), do: Enum.chunk_every({e.plural}, {size}, {size}, List.duplicate(0, {size - 1}))",
            },
            run=run,
            samples=[(short,), (full,)],
            edges=[([],), (short[:1],)],
            faults=(
                Fault(
                    f"{e.plural}, {size}",
                    f"{e.plural}, {size + 1}",
                    "off_by_one",
                    f"The batches have {size + 1} elements.",
                ),
            ),
            explanation="`Enum.chunk_every/4` decides by its last argument what becomes of a short last chunk.",
            modules=("Batches", camel(f"{e.singular}_batches"), "Chunks"),
        ),
    )


def windows(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    values = _numbers(rng, 6)
    what, op = rng.choice([("differences", "-"), ("sums", "+")])

    def run(way: str, values: list[int]) -> Any:
        pairs = list(pairwise(values)) if way == "overlap" else list(zip(values[::2], values[1::2]))
        return [second - first if op == "-" else second + first for first, second in pairs]

    return small(
        rng,
        "ambiguous_overlap",
        Small(
            names=(f"pair_{what}", what, f"{what}_of_pairs"),
            arguments=((f"{e.amount.name}s", "[integer()]"),),
            returns="[integer()]",
            documentation=f"The {what} of pairs of neighbours.",
            titles=(
                f"$f, which takes numbers two at a time and gives the {what} (second {'minus' if op == '-' else 'plus'} first)",
                f"a function $f for the {what} of neighbouring pairs",
            ),
            axis=open_fact(
                "Do the pairs overlap, so that each number but the ends is in two of them?",
                overlap=("Every number makes a pair with the next one, so pairs overlap.", "Yes, they overlap."),
                apart=(
                    "The pairs do not overlap; a last number without a partner is ignored.",
                    "No, each number is in one pair.",
                ),
            ),
            code={
                "overlap": (
                    f"def $f(values) do\n  values\n  |> Enum.chunk_every(2, 1, :discard)\n  |> Enum.map(fn [first, second] -> second {op} first end)\nend",
                    f"def $f([first, second | rest]), do: [second {op} first | $f([second | rest])]\ndef $f(_short), do: []",
                    f"def $f(values) do\n  values\n  |> Enum.zip(Enum.drop(values, 1))\n  |> Enum.map(fn {{first, second}} -> second {op} first end)\nend",
                ),
                "apart": (
                    f"def $f(values) do\n  values\n  |> Enum.chunk_every(2, 2, :discard)\n  |> Enum.map(fn [first, second] -> second {op} first end)\nend",
                    f"def $f([first, second | rest]), do: [second {op} first | $f(rest)]\ndef $f(_short), do: []",
                ),
            },
            run=run,
            samples=[(values,), (values[:3],)],
            edges=[([],), (values[:1],), (values[:2],)],
            faults=(
                Fault(
                    f"second {op} first",
                    f"first {op} second" if op == "-" else "second * first",
                    "wrong_operation",
                    "The two are combined the wrong way.",
                ),
            ),
            explanation="The step of `Enum.chunk_every/4` decides whether pairs share numbers; `:discard` drops a lone last one.",
            modules=("Pairs", "Neighbours", camel(f"{e.singular}_pairs")),
        ),
    )


def positions(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    labels = e.label.draw_many(rng, 4)
    l = e.label.name  # noqa: E741
    return small(
        rng,
        "ambiguous_index_base",
        Small(
            names=("position", "position_of", "place", "index_of"),
            arguments=((e.plural, f"[{e.label.type}]"), (l, e.label.type)),
            returns="non_neg_integer() | nil",
            documentation=f"Where a {l} stands in the list, or nil.",
            titles=(
                f"$f, which tells at which position a {l} stands in a list, nil if it does not",
                f"a function $f for the position of {_a(e.singular)} in a list (nil without it)",
            ),
            axis=open_fact(
                "Is the first position 0 or 1?",
                zero=("Positions begin at 0.", "0."),
                one=("Positions begin at 1.", "1."),
            ),
            code={
                "zero": (
                    f"def $f({e.plural}, {l}), do: Enum.find_index({e.plural}, &(&1 == {l}))",
                    f"def $f({e.plural}, {l}), do: $f({e.plural}, {l}, 0)\n\ndefp $f([], _{l}, _index), do: nil\ndefp $f([{l} | _rest], {l}, index), do: index\ndefp $f([_other | rest], {l}, index), do: $f(rest, {l}, index + 1)",
                ),
                "one": (
                    f"def $f({e.plural}, {l}) do\n  case Enum.find_index({e.plural}, &(&1 == {l})) do\n    nil -> nil\n    index -> index + 1\n  end\nend",
                    f"def $f({e.plural}, {l}), do: $f({e.plural}, {l}, 1)\n\ndefp $f([], _{l}, _index), do: nil\ndefp $f([{l} | _rest], {l}, index), do: index\ndefp $f([_other | rest], {l}, index), do: $f(rest, {l}, index + 1)",
                ),
            },
            run=lambda way, rows, label: rows.index(label) + (way == "one") if label in rows else None,
            samples=[(labels[:3], labels[1]), (labels[:3], labels[0])],
            edges=[(labels[:3], labels[3]), ([], labels[0]), ([labels[0], labels[1], labels[1]], labels[1])],
            faults=(
                Fault(f"{l}, 0)", f"{l}, 1)", "off_by_one", "It begins to count at 1."),
                Fault(f"{l}, 1)", f"{l}, 0)", "off_by_one", "It begins to count at 0."),
                Fault("&(&1 == ", "&(&1 != ", "inverted_condition", "It finds the first that is different."),
                Fault("index + 1)", "index + 2)", "off_by_one", "Each step counts two."),
            ),
            explanation="The search stops at the first match, so of repeated values the first position is given.",
            modules=("Positions", camel(f"{e.singular}_order"), "Places"),
        ),
    )


def percent(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    part, whole = rng.choice([(1, 4), (1, 2), (3, 4), (1, 5), (1, 8), (2, 5)])
    k = rng.randint(1, 9)
    return small(
        rng,
        "ambiguous_percent",
        Small(
            names=("share", "ratio", "rate", f"{e.flag.name}_share"),
            arguments=(("part", "number()"), ("total", "number()")),
            returns="float()",
            documentation=f"The share of {e.plural} that are {e.flag.name}; 0.0 of none.",
            titles=(
                f"$f, which gives the share of `part` in `total` {e.plural} (0.0 when total is 0)",
                f"a function $f that tells how large a part of the {e.plural} is {e.flag.name}, 0.0 for a total of 0",
            ),
            axis=open_fact(
                "Should the share be a fraction between 0 and 1 or a percentage?",
                fraction=("The share is a fraction between 0.0 and 1.0.", "A fraction between 0 and 1."),
                percent=("The share is a percentage between 0.0 and 100.0.", "A percentage."),
            ),
            code={
                "fraction": (
                    "def $f(_part, 0), do: 0.0\ndef $f(part, total), do: part / total",
                    "def $f(part, total) do\n  if total == 0, do: 0.0, else: part / total\nend",
                ),
                "percent": (
                    "def $f(_part, 0), do: 0.0\ndef $f(part, total), do: 100 * part / total",
                    "def $f(part, total) do\n  if total == 0, do: 0.0, else: part / total * 100\nend",
                ),
            },
            run=lambda way, part, whole: (
                0.0 if whole == 0 else (100 * part / whole if way == "percent" else part / whole)
            ),
            samples=[(part * 2**k, whole * 2**k), (1, 2)],
            edges=[(0, 8), (0, 0), (4, 4)],
            faults=(
                Fault("def $f(_part, 0), do: 0.0\n", "", "missing_clause", "A total of 0 raises an ArithmeticError."),
                Fault("part / total", "total / part", "swapped_arguments", "The division is the wrong way round."),
                Fault(
                    "if total == 0",
                    "if part == 1",
                    "wrong_condition",
                    "It looks at `part`, so a total of 0 divides by zero.",
                ),
            ),
            explanation="A total of zero has its own answer, because dividing by it would raise.",
            modules=("Shares", camel(f"{e.singular}_share"), "Rates"),
        ),
    )


def zero_counts(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    kinds = list(e.kind.values)
    given = [kinds[0], kinds[1], kinds[0]]

    def run(way: str, values: list[Any]) -> Any:
        known = kinds if way == "all" else [kind for kind in kinds if kind in values]
        return {str(kind): values.count(kind) for kind in known}

    listed = ", ".join(f":{kind}" for kind in kinds)
    return small(
        rng,
        "ambiguous_zero_counts",
        Small(
            names=("tally", "counts", f"count_by_{e.kind.name}", "histogram"),
            arguments=((f"{e.kind.name}s", "[atom()]"),),
            returns="%{optional(atom()) => non_neg_integer()}",
            documentation=f"How often each {e.kind.name} of {_a(e.singular)} occurs.",
            titles=(
                f"$f, which counts how often each {e.kind.name} occurs in a list; there are {listed}",
                f"a function $f that tallies the {e.kind.name} of {e.plural} ({listed}) into a map",
            ),
            axis=open_fact(
                f"Should a {e.kind.name} that does not occur be in the map with 0?",
                present=("Only those that occur are in the map.", "No, only those that occur."),
                all=("Those that do not occur are there with 0.", "Yes, with 0."),
            ),
            code={
                "present": (
                    "def $f(values), do: Enum.frequencies(values)",
                    "def $f(values) do\n  Enum.reduce(values, %{}, fn value, counts -> Map.update(counts, value, 1, &(&1 + 1)) end)\nend",
                ),
                "all": (
                    f"def $f(values) do\n  [{listed}] |> Map.new(&{{&1, 0}}) |> Map.merge(Enum.frequencies(values))\nend",
                    f"def $f(values) do\n  for known <- [{listed}], into: %{{}} do\n    {{known, Enum.count(values, &(&1 == known))}}\n  end\nend",
                ),
            },
            run=run,
            samples=[(given,), ([kinds[1]],)],
            edges=[([],), (kinds * 2,)],
            faults=(
                Fault("value, 1, ", "value, 0, ", "off_by_one", "The first occurrence counts 0."),
                Fault(
                    "Map.merge(Enum.frequencies(values))",
                    "Map.merge(Map.new(values, &{&1, 1}))",
                    "wrong_count",
                    "Every kind counts once only.",
                ),
                Fault(
                    "Enum.frequencies(values)",
                    "Map.new(values, &{&1, 1})",
                    "wrong_count",
                    "Every kind counts once only.",
                ),
                Fault("&(&1 == known)", "&(&1 != known)", "inverted_condition", "It counts the others."),
            ),
            explanation="`Enum.frequencies/1` only knows what it has seen; zeros need the list of what there can be.",
            modules=("Tally", camel(f"{e.singular}_counts"), "Counts"),
        ),
    )


def nil_values(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    a = e.amount.name
    values = [v * 6 for v in _numbers(rng, 3, 1, 30)]

    def run(way: str, values: list[Any]) -> Any:
        numbers = [v for v in values if v is not None] if way == "skip" else [v or 0 for v in values]
        return sum(numbers) // len(numbers) if numbers else 0

    return small(
        rng,
        "ambiguous_nil",
        Small(
            names=(f"average_{a}", "average", "mean"),
            arguments=((f"{a}s", "[non_neg_integer() | nil]"),),
            returns="non_neg_integer()",
            documentation=f"The average {a}, rounded down; 0 where there is nothing to average.",
            titles=(
                f"$f, the average of a list of {a}s rounded down, where some may be nil (0 if there is nothing to average)",
                f"a function $f that averages the {a} of {e.plural}, with nil for the unknown ones; round down, and answer 0 for nothing",
            ),
            axis=open_fact(
                "Does nil count as 0, or is it left out of the average?",
                skip=("Values that are nil are left out.", "Leave it out."),
                zero=("A nil counts as 0.", "It counts as 0."),
            ),
            code={
                "skip": (
                    "def $f(values) do\n  case Enum.reject(values, &is_nil/1) do\n    [] -> 0\n    known -> div(Enum.sum(known), length(known))\n  end\nend",
                    "def $f(values) do\n  known = for value when is_integer(value) <- values, do: value\n  if known == [], do: 0, else: div(Enum.sum(known), length(known))\nend",
                ),
                "zero": (
                    "def $f([]), do: 0\n\ndef $f(values) do\n  values\n  |> Enum.map(&(&1 || 0))\n  |> Enum.sum()\n  |> div(length(values))\nend",
                    "def $f([]), do: 0\n\ndef $f(values) do\n  total = Enum.reduce(values, 0, fn value, sum -> sum + (value || 0) end)\n  div(total, length(values))\nend",
                ),
            },
            run=run,
            samples=[([values[0], None, values[1], values[2]],), (values,)],
            edges=[([],), ([None, values[0]],), ([None],)],
            faults=(
                Fault(
                    "length(known)",
                    "length(values)",
                    "wrong_divisor",
                    "It divides by all values, also those that are nil.",
                ),
                Fault("def $f([]), do: 0\n\n", "", "missing_clause", "An empty list divides by zero."),
                Fault("    [] -> 0\n", "", "missing_clause", "Nothing known divides by zero."),
            ),
            explanation="What nil means changes both the sum's terms and the number to divide by.",
            modules=("Average", camel(f"{e.singular}_average"), "Means"),
        ),
    )


def median_of(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    a = e.amount.name
    values = sorted(rng.sample(range(1, 80, 3), 5))
    mixed = [values[3], values[0], values[4], values[1]]

    def run(way: str, values: list[int]) -> Any:
        if not values:
            return None
        ordered = sorted(values)
        if len(ordered) % 2:
            return ordered[len(ordered) // 2]
        low, high = ordered[len(ordered) // 2 - 1], ordered[len(ordered) // 2]
        assert median(ordered) == (low + high) / 2
        return {"low": low, "high": high, "mean": (low + high) / 2}[way]

    head = "def $f([]), do: nil\n\ndef $f(values) do\n  sorted = Enum.sort(values)\n"
    return small(
        rng,
        "ambiguous_median",
        Small(
            names=("median", f"median_{a}", "middle"),
            arguments=((f"{a}s", "[integer()]"),),
            returns="number() | nil",
            documentation=f"The median {a}, nil of none.",
            titles=(
                f"$f, the median of a list of {a}s (nil if it is empty)",
                f"a function $f that finds the middle {a} of {e.plural}, nil if there is none",
            ),
            axis=open_fact(
                "With an even number of values, which one is the median?",
                low=("Of an even number it is the lower of the middle two.", "The lower of the middle two."),
                high=("Of an even number it is the higher of the middle two.", "The higher of the middle two."),
                mean=("Of an even number it is the mean of the middle two, a float.", "Their mean."),
            ),
            code={
                "low": head + "  Enum.at(sorted, div(length(sorted) - 1, 2))\nend",
                "high": head + "  Enum.at(sorted, div(length(sorted), 2))\nend",
                "mean": head
                + "  middle = div(length(sorted), 2)\n\n  if rem(length(sorted), 2) == 1 do\n    Enum.at(sorted, middle)\n  else\n    (Enum.at(sorted, middle - 1) + Enum.at(sorted, middle)) / 2\n  end\nend",
            },
            run=run,
            samples=[(mixed,), (mixed[:3],)],
            edges=[([],), (mixed[:1],), (mixed[:2],)],
            faults=(
                Fault(
                    "sorted = Enum.sort(values)", "sorted = values", "missing_step", "The values are not sorted first."
                ),
                Fault(
                    "Enum.sort(values)",
                    "Enum.reverse(values)",
                    "wrong_function",
                    "The values are turned round, not sorted.",
                ),
            ),
            explanation="The values are sorted once; the middle index of an even number of values has two candidates.",
            modules=("Median", camel(f"{e.singular}_median"), "Stats"),
        ),
    )


def split_empty(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    mark = rng.choice([",", ";", "|", "/"])
    labels = e.label.draw_many(rng, 3)

    def run(way: str, text: str) -> Any:
        parts = text.split(mark)
        return [part for part in parts if part] if way == "drop" else parts

    return small(
        rng,
        "ambiguous_empty_parts",
        Small(
            names=("parse", "split", f"parse_{e.plural}", "fields"),
            arguments=(("text", "String.t()"),),
            returns="[String.t()]",
            documentation=f"The {e.plural} of a text with `{mark}` between them.",
            titles=(
                f"$f, which splits a text at `{mark}` into {e.plural}",
                f"a function $f that reads {e.plural} separated by `{mark}`",
            ),
            axis=open_fact(
                f"What about nothing between two `{mark}`: is it an empty text in the result or left out?",
                keep=("Empty parts are kept.", "It is kept as an empty text."),
                drop=("Empty parts are left out.", "Leave it out."),
            ),
            code={
                "keep": (
                    f'def $f(text), do: String.split(text, "{mark}")',
                    f'def $f(text), do: text |> String.splitter("{mark}") |> Enum.to_list()',
                ),
                "drop": (
                    f'def $f(text), do: String.split(text, "{mark}", trim: true)',
                    f'def $f(text) do\n  text\n  |> String.split("{mark}")\n  |> Enum.reject(&(&1 == ""))\nend',
                ),
            },
            run=run,
            samples=[(mark.join(labels),), (labels[0] + mark + mark + labels[1],)],
            edges=[("",), (mark,), (labels[2] + mark,)],
            faults=(
                Fault(", trim: true", "", "missing_option", "Without `trim: true` empty texts stay in the result."),
                Fault(f'"{mark}"', f'"{mark}{mark}"', "wrong_constant", "It splits at the wrong text."),
                Fault(
                    'Enum.reject(&(&1 == ""))',
                    'Enum.filter(&(&1 == ""))',
                    "inverted_condition",
                    "It keeps only the empty parts.",
                ),
            ),
            explanation="`String.split/3` keeps empty parts unless it is told to trim them.",
            modules=("Fields", camel(f"{e.singular}_list"), "Parser"),
        ),
    )


def trimming(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    labels = e.label.draw_many(rng, 3)

    def run(way: str, text: str) -> Any:
        return [part.strip() if way == "trim" else part for part in text.split(",")]

    return small(
        rng,
        "ambiguous_trimming",
        Small(
            names=("names", "parse", "split_list", f"{e.label.name}s"),
            arguments=(("text", "String.t()"),),
            returns="[String.t()]",
            documentation=f"Each {e.label.name} of a text with commas between them.",
            titles=(
                f"$f, which turns a comma-separated text into a list with each {e.label.name}",
                "a function $f that splits a line at its commas",
            ),
            axis=open_fact(
                "Do spaces around the commas belong to the values?",
                trim=("Whitespace around a value is removed.", "No, remove them."),
                keep=("Whitespace is kept as it is.", "Yes, keep them."),
            ),
            code={
                "trim": (
                    'def $f(text), do: text |> String.split(",") |> Enum.map(&String.trim/1)',
                    'def $f(text) do\n  for part <- String.split(text, ","), do: String.trim(part)\nend',
                ),
                "keep": 'def $f(text), do: String.split(text, ",")',
            },
            run=run,
            samples=[(f"{labels[0]}, {labels[1]}",), (",".join(labels),)],
            edges=[(f" {labels[2]} ",), ("",), (f"{labels[0]} ,{labels[1]}",)],
            faults=(
                Fault(" |> Enum.map(&String.trim/1)", "", "missing_step", "The spaces stay in the values."),
                Fault("String.trim(part)", "String.trim_leading(part)", "wrong_function", "Spaces after a value stay."),
                Fault('","', '";"', "wrong_constant", "It splits at semicolons."),
            ),
            explanation="The text is split first; trimming each part afterwards leaves spaces inside a value alone.",
            modules=("Lines", camel(f"{e.singular}_line"), "Csv"),
        ),
    )


def letter_case(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    words = rng.sample(["Apple", "pear", "Plum", "fig", "Lime", "date", "Kiwi", "nut"], 4)
    asks = rng.choice(["member", "count", "unique"])
    given = [words[0], words[1].lower(), words[0].lower(), words[1].upper(), words[2].upper()]

    def run(way: str, values: list[str], *word: str) -> Any:
        def norm(each: str) -> str:
            return each.lower() if way == "fold" else each

        if asks == "member":
            return norm(word[0]) in map(norm, values)
        if asks == "count":
            return sum(norm(each) == norm(word[0]) for each in values)
        return list(dict.fromkeys(map(norm, values)))

    axis = open_fact(
        "Does upper and lower case matter?",
        exact=("Upper and lower case matter.", "Yes, they are different."),
        fold=(
            "Upper and lower case do not matter" + ("; answer lower case." if asks == "unique" else "."),
            "No, ignore the case" + ("; answer lower case." if asks == "unique" else "."),
        ),
    )
    args: tuple[tuple[str, str], ...]
    names: tuple[str, ...]
    if asks == "member":
        names, args, returns = (
            ("listed?", "known?", "includes?"),
            (("words", "[String.t()]"), ("word", "String.t()")),
            "boolean()",
        )
        doc = "Whether a word is in the list."
        code: dict[str, Any] = {
            "exact": "def $f(words, word), do: word in words",
            "fold": "def $f(words, word) do\n  wanted = String.downcase(word)\n  Enum.any?(words, &(String.downcase(&1) == wanted))\nend",
        }
        samples: list[tuple[Any, ...]] = [(given, words[0]), (given, words[2].lower()), (given, "kale")]
    elif asks == "count":
        names, args, returns = (
            ("occurrences", "count_of", "times"),
            (("words", "[String.t()]"), ("word", "String.t()")),
            "non_neg_integer()",
        )
        doc = "How often a word is in the list."
        code = {
            "exact": "def $f(words, word), do: Enum.count(words, &(&1 == word))",
            "fold": "def $f(words, word) do\n  wanted = String.downcase(word)\n  Enum.count(words, &(String.downcase(&1) == wanted))\nend",
        }
        samples = [(given, words[0]), (given, "kale"), (given, words[2].lower())]
    else:
        names, args, returns = (
            ("distinct", "unique_words", "without_repeats"),
            (("words", "[String.t()]"),),
            "[String.t()]",
        )
        doc = "The words without repetitions, in their order."
        code = {
            "exact": "def $f(words), do: Enum.uniq(words)",
            "fold": "def $f(words), do: words |> Enum.map(&String.downcase/1) |> Enum.uniq()",
        }
        samples = [(given,), (given[:2],)]
    return small(
        rng,
        "ambiguous_case",
        Small(
            names=names,
            arguments=args,
            returns=returns,
            documentation=doc,
            titles=(f"$f: {doc[0].lower()}{doc[1:-1]}", f"a function $f for words such as a {e.kind.name}. {doc[:-1]}"),
            axis=axis,
            code=code,
            run=run,
            samples=samples,
            edges=[([], *samples[0][1:])],
            faults=(
                Fault(
                    "String.downcase(&1) == wanted",
                    "&1 == wanted",
                    "missing_step",
                    "The words of the list are compared as they are.",
                ),
                Fault("&(&1 == word)", "&(&1 != word)", "inverted_condition", "It counts the other words."),
                Fault("word in words", "word not in words", "inverted_condition", "It answers the opposite."),
                Fault("|> Enum.uniq()", "|> Enum.dedup()", "wrong_function", "`dedup` only removes neighbours."),
                Fault("Enum.uniq(words)", "Enum.dedup(words ++ words)", "wrong_function", "Repetitions stay."),
            ),
            explanation="Both sides of a comparison need the same form before they are compared.",
            modules=("Words", "Vocabulary", camel(f"{e.kind.name}_words")),
        ),
    )


def bounds(rng: random.Random) -> Draft:
    """Dates or numbers between two ends."""
    e = draw_entity(rng)
    if rng.random() < 0.5:
        low, width = rng.randint(2, 20), rng.randint(3, 9)
        high = low + width
        values = [low - 1, low, low + 1, high, high + 1]

        def run(way: str, values: list[int], low: int, high: int) -> Any:
            return [v for v in values if (low <= v <= high if way == "both" else low <= v < high)]

        return small(
            rng,
            "ambiguous_bounds",
            Small(
                names=("between", "in_range", f"{e.amount.name}s_between"),
                arguments=((f"{e.amount.name}s", "[integer()]"), ("low", "integer()"), ("high", "integer()")),
                returns="[integer()]",
                documentation=f"Each {e.amount.name} from `low` to `high`.",
                titles=(
                    "$f, which keeps the numbers between `low` and `high`",
                    f"a function $f that picks each {e.amount.name} between two bounds, of which the lower one counts",
                ),
                axis=open_fact(
                    "Does a value equal to `high` count?",
                    both=("Both bounds count as inside.", "Yes, both ends count."),
                    half=("`low` counts as inside, `high` does not.", "No, only up to just below it; `low` counts."),
                ),
                code={
                    "both": (
                        "def $f(values, low, high), do: Enum.filter(values, &(&1 in low..high))",
                        "def $f(values, low, high) do\n  for value <- values, value >= low, value <= high, do: value\nend",
                    ),
                    "half": (
                        "def $f(values, low, high), do: Enum.filter(values, &(&1 >= low and &1 < high))",
                        "def $f(values, low, high) do\n  for value <- values, value >= low, value < high, do: value\nend",
                    ),
                },
                run=run,
                samples=[(values, low, high), ([low, high], low, high)],
                edges=[([], low, high), ([high], low, high)],
                faults=(
                    Fault("low..high", "(low + 1)..high", "off_by_one", "`low` itself is left out."),
                    Fault("value >= low", "value > low", "off_by_one", "`low` itself is left out."),
                    Fault("&1 >= low", "&1 > low", "off_by_one", "`low` itself is left out."),
                ),
                explanation="The order of the values stays; each is compared with both bounds.",
                modules=("Bounds", camel(f"{e.singular}_range"), "Ranges"),
            ),
        )
    start = rng.randint(2, 10)
    month, span = rng.randint(1, 12), rng.randint(2, 12)

    def date(day: int) -> Any:
        return Raw(f"~D[2024-{month:02}-{day:02}]")

    return small(
        rng,
        "ambiguous_bounds",
        Small(
            names=("days", "length_in_days", "stay", "num_days"),
            arguments=(("first", "Date.t()"), ("last", "Date.t()")),
            returns="integer()",
            documentation=f"How many days {_a(e.singular)} lasts.",
            titles=(
                "$f, the number of days from `first` to `last`",
                f"a function $f that tells for how many days {_a(e.singular)} lasts, given two dates",
            ),
            axis=open_fact(
                "Do the first and the last day both count?",
                nights=(
                    "Only one of the two ends counts, so a date to itself is 0 days.",
                    "No, one of the ends does not count.",
                ),
                both=("Both ends count, so a date to itself is 1 day.", "Yes, both count."),
            ),
            code={
                "nights": "def $f(first, last), do: Date.diff(last, first)",
                "both": (
                    "def $f(first, last), do: Date.diff(last, first) + 1",
                    "def $f(first, last), do: first |> Date.range(last) |> Enum.count()",
                ),
            },
            run=lambda way, first, last: int(last[-3:-1]) - int(first[-3:-1]) + (way == "both"),
            samples=[(date(start), date(start + span)), (date(start), date(start + 1))],
            edges=[(date(start), date(start))],
            faults=(
                Fault(
                    "Date.diff(last, first)",
                    "Date.diff(first, last)",
                    "swapped_arguments",
                    "The dates are swapped, so the result is negative.",
                ),
                Fault(" + 1", " + 2", "off_by_one", "One day too many."),
            ),
            explanation="`Date.diff/2` counts the nights between two dates; one more makes it the days.",
            modules=("Days", camel(f"{e.singular}_dates"), "Period"),
        ),
    )


def due(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    day, month = rng.randint(5, 20), rng.randint(1, 12)

    def date(at: int) -> Any:
        return Raw(f"~D[2025-{month:02}-{at:02}]")

    before = rng.random() < 0.5
    word = "before" if before else "after"
    sign = "[:lt, :eq]" if before else "[:gt, :eq]"
    other = ":lt" if before else ":gt"

    def run(way: str, dates: list[Any], limit: Any) -> Any:
        return [each for each in dates if (each < limit if before else each > limit) or (way == "in" and each == limit)]

    return small(
        rng,
        "ambiguous_deadline",
        Small(
            names=(f"{word}", f"dates_{word}", "due" if before else "upcoming"),
            arguments=(("dates", "[Date.t()]"), ("limit", "Date.t()")),
            returns="[Date.t()]",
            documentation=f"The dates {word} a limit.",
            titles=(
                f"$f, which keeps the dates {word} a given date",
                f"a function $f for the dates of {e.plural} that lie {word} a limit",
            ),
            axis=open_fact(
                "Is the limit itself kept when it is in the list?",
                out=("The limit itself does not count.", "No."),
                **{"in": ("The limit itself counts.", "Yes.")},
            ),
            code={
                "out": (
                    f"def $f(dates, limit), do: Enum.filter(dates, &(Date.compare(&1, limit) == {other}))",
                    f"def $f(dates, limit) do\n  for date <- dates, Date.compare(date, limit) == {other}, do: date\nend",
                ),
                "in": (
                    f"def $f(dates, limit), do: Enum.filter(dates, &(Date.compare(&1, limit) in {sign}))",
                    f"def $f(dates, limit) do\n  Enum.reject(dates, &(Date.compare(&1, limit) == {':gt' if before else ':lt'}))\nend",
                ),
            },
            run=run,
            samples=[
                ([date(day), date(day + 1), date(day - 1)], date(day)),
                ([date(day + 2), date(day - 2)], date(day)),
            ],
            edges=[([], date(day)), ([date(day)], date(day))],
            faults=(
                Fault(f"== {other}", "!= :eq", "wrong_condition", "It keeps every other date."),
                Fault("Enum.filter(dates", "Enum.reject(dates", "inverted_condition", "It keeps the wrong dates."),
                Fault("Enum.reject(dates", "Enum.filter(dates", "inverted_condition", "It keeps the wrong dates."),
            ),
            explanation="Dates are structs, so `<` would compare their fields in the wrong order; `Date.compare/2` compares the days.",
            modules=("Deadlines", camel(f"{e.singular}_dates"), "Dates"),
        ),
    )


def remove(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    x, y, z = e.label.draw_many(rng, 3)

    def run(way: str, values: list[str], value: str) -> Any:
        if way == "all":
            return [each for each in values if each != value]
        if value not in values:
            return values
        at = values.index(value)
        return values[:at] + values[at + 1 :]

    v = e.singular
    return small(
        rng,
        "ambiguous_occurrences",
        Small(
            names=("remove", "without", f"remove_{v}", "drop"),
            arguments=((e.plural, f"[{e.label.type}]"), (v, e.label.type)),
            returns=f"[{e.label.type}]",
            documentation=f"The list without {_a(v)}.",
            titles=(
                f"$f, which removes {_a(v)} from a list",
                f"a function $f that takes a list of {e.plural} and gives it back without one",
            ),
            axis=open_fact(
                "If it is in the list several times, should all of them go or only the first?",
                first=("Only its first occurrence is removed.", "Only the first."),
                all=("All its occurrences are removed.", "All of them."),
            ),
            code={
                "first": (
                    f"def $f({e.plural}, {v}), do: List.delete({e.plural}, {v})",
                    f"def $f([], _{v}), do: []\ndef $f([{v} | rest], {v}), do: rest\ndef $f([other | rest], {v}), do: [other | $f(rest, {v})]",
                ),
                "all": (
                    f"def $f({e.plural}, {v}), do: Enum.reject({e.plural}, &(&1 == {v}))",
                    f"def $f({e.plural}, {v}) do\n  for other <- {e.plural}, other != {v}, do: other\nend",
                ),
            },
            run=run,
            samples=[([x, y, x, z], x), ([y, z], z)],
            edges=[([], x), ([y], x), ([x, x], x)],
            faults=(
                Fault("Enum.reject(", "Enum.filter(", "inverted_condition", "It keeps only what should go."),
                Fault(f"other != {v}", f"other == {v}", "inverted_condition", "It keeps only what should go."),
                Fault("do: [other | $f(", "do: $f(", "lost_value", "What comes before the match is lost."),
                Fault("List.delete(", "List.wrap(", "wrong_function", "It takes two lists or fails."),
            ),
            explanation="`List.delete/2` stops after the first match, a filter goes through all.",
            modules=("Lists", camel(f"{e.singular}_list"), "Removal"),
        ),
    )


def flattening(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    n = _numbers(rng, 6)
    deep = [n[0], [n[1], [n[2], n[3]]], [[n[4]]], n[5]]

    def flat(values: Any) -> Any:
        return [x for v in values for x in (flat(v) if isinstance(v, list) else [v])]

    return small(
        rng,
        "ambiguous_depth",
        Small(
            names=("flatten", "unnest", "flat"),
            arguments=(("nested", "list()"),),
            returns="list()",
            documentation=f"Nested lists of {e.plural} as a flat list.",
            titles=("$f, which flattens a list of lists", f"a function $f that unpacks nested {e.plural}"),
            axis=open_fact(
                "Should it unpack lists at every depth or one level only?",
                full=("Lists at every depth are unpacked.", "At every depth."),
                one=("Only one level is unpacked; elements that are no lists stay.", "One level only."),
            ),
            code={
                "full": (
                    "def $f(nested), do: List.flatten(nested)",
                    "def $f([]), do: []\ndef $f([head | tail]) when is_list(head), do: $f(head) ++ $f(tail)\ndef $f([head | tail]), do: [head | $f(tail)]",
                ),
                "one": (
                    "def $f(nested), do: Enum.flat_map(nested, &List.wrap/1)",
                    "def $f(nested) do\n  Enum.flat_map(nested, fn\n    inner when is_list(inner) -> inner\n    other -> [other]\n  end)\nend",
                ),
            },
            run=lambda way, given: (
                flat(given) if way == "full" else [x for v in given for x in (v if isinstance(v, list) else [v])]
            ),
            samples=[([[n[0]], [n[1], n[2]]],), (deep,)],
            edges=[([],), ([[], [[]]],), (n,)],
            faults=(
                Fault(
                    "$f(head) ++ $f(tail)",
                    "[head | $f(tail)]",
                    "missing_recursion",
                    "Inner lists are left as they are.",
                ),
                Fault(
                    "    other -> [other]\n",
                    "    other -> [[other]]\n",
                    "wrong_nesting",
                    "Plain elements are put into lists.",
                ),
                Fault("&List.wrap/1", "&[&1]", "missing_step", "Nothing is unpacked."),
                Fault(
                    "List.flatten(nested)",
                    "Enum.concat(nested)",
                    "wrong_function",
                    "`Enum.concat/1` unpacks one level and fails on plain elements.",
                ),
            ),
            explanation="Whether the function calls itself on what it finds inside decides the depth.",
            modules=("Nested", camel(f"{e.singular}_nesting"), "Flat"),
        ),
    )


def uneven(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    a = _numbers(rng, 3)
    b = e.label.draw_many(rng, 3)

    def run(way: str, xs: list[str], ys: list[int]) -> Any:
        if way == "raise" and len(xs) != len(ys):
            return Raises("ArgumentError", "lists of different length")
        n = max(len(xs), len(ys)) if way == "pad" else min(len(xs), len(ys))
        return [((xs[i] if i < len(xs) else None), (ys[i] if i < len(ys) else None)) for i in range(n)]

    return small(
        rng,
        "ambiguous_uneven",
        Small(
            names=("pair", "pair_up", "combine", "match_up"),
            arguments=((f"{e.label.name}s", f"[{e.label.type}]"), (f"{e.amount.name}s", "[integer()]")),
            returns="[{term(), term()}]",
            documentation=f"Pairs of {e.label.name} and {e.amount.name}.",
            titles=(
                f"$f, which pairs each {e.label.name} with a {e.amount.name} from a second list",
                "a function $f that puts two lists together as a list of pairs",
            ),
            axis=open_fact(
                "What if one list is longer than the other?",
                short=("It ends with the shorter list.", "Stop with the shorter one."),
                pad=("What is missing in the shorter list is nil.", "Fill up with nil."),
                **{
                    "raise": (
                        'Lists of different length raise an `ArgumentError`, "lists of different length".',
                        'Raise an ArgumentError, "lists of different length".',
                    )
                },
            ),
            code={
                "short": (
                    "def $f(left, right), do: Enum.zip(left, right)",
                    "def $f([one | left], [two | right]), do: [{one, two} | $f(left, right)]\ndef $f(_left, _right), do: []",
                ),
                "pad": "def $f([], []), do: []\ndef $f([one | left], []), do: [{one, nil} | $f(left, [])]\ndef $f([], [two | right]), do: [{nil, two} | $f([], right)]\ndef $f([one | left], [two | right]), do: [{one, two} | $f(left, right)]",
                "raise": (
                    'def $f(left, right) when length(left) == length(right), do: Enum.zip(left, right)\ndef $f(_left, _right), do: raise(ArgumentError, "lists of different length")',
                    'def $f(left, right) do\n  if length(left) != length(right) do\n    raise ArgumentError, "lists of different length"\n  end\n\n  Enum.zip(left, right)\nend',
                ),
            },
            run=run,
            samples=[(b, a), (b[:2], a[:2])],
            edges=[(b[:2], a), (b, a[:1]), ([], [])],
            faults=(
                Fault(
                    "Enum.zip(left, right)",
                    "Enum.zip(right, left)",
                    "swapped_arguments",
                    "The two sides of each pair are swapped.",
                ),
                Fault("{one, two}", "{two, one}", "swapped_arguments", "The two sides of each pair are swapped."),
                Fault("{nil, two}", "{two, nil}", "swapped_arguments", "The nil is on the wrong side."),
            ),
            explanation="`Enum.zip/2` stops at the shorter list; anything else needs its own clauses.",
            modules=("Pairing", camel(f"{e.singular}_pairs"), "Columns"),
        ),
    )


def any_or_all(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    k = [str(v) for v in e.kind.draw_many(rng, 3)]
    t = [Atom(x) for x in k]
    return small(
        rng,
        "ambiguous_any_all",
        Small(
            names=("matches?", "tagged?", "fits?", "selected?"),
            arguments=(("tags", "[atom()]"), ("wanted", "[atom()]")),
            returns="boolean()",
            documentation="Whether tags match what is wanted.",
            titles=(
                f"$f, which tells whether the tags of {_a(e.singular)} match a list of wanted tags",
                "a function $f that compares a list of tags with the wanted ones and answers true or false",
            ),
            axis=open_fact(
                "Must all the wanted tags be there, or is one of them enough?",
                all=("All wanted tags must be there.", "All of them."),
                any=("One of the wanted tags is enough.", "One is enough."),
            ),
            code={
                "all": (
                    "def $f(tags, wanted), do: Enum.all?(wanted, &(&1 in tags))",
                    "def $f(tags, wanted), do: wanted -- tags == []",
                ),
                "any": (
                    "def $f(tags, wanted), do: Enum.any?(wanted, &(&1 in tags))",
                    "def $f(tags, wanted), do: not MapSet.disjoint?(MapSet.new(tags), MapSet.new(wanted))",
                ),
            },
            run=lambda way, tags, wanted: (
                all(x in tags for x in wanted) if way == "all" else any(x in tags for x in wanted)
            ),
            samples=[([t[0], t[1]], [t[0], t[2]]), ([t[0], t[1]], [t[1]])],
            edges=[([], [t[0]]), ([t[0]], []), (t, t[:2])],
            faults=(
                Fault(
                    "&(&1 in tags)", "&(&1 not in tags)", "inverted_condition", "It looks for tags that are not there."
                ),
                Fault(
                    "wanted -- tags == []",
                    "tags -- wanted == []",
                    "swapped_arguments",
                    "It asks whether there are other tags.",
                ),
                Fault("not MapSet", "MapSet", "inverted_condition", "The answer is the opposite."),
            ),
            explanation="`Enum.all?/2` and `Enum.any?/2` also decide the empty list: all of none holds, any of none does not.",
            modules=("Tags", camel(f"{e.singular}_tags"), "Filters"),
        ),
    )


def truncation(rng: random.Random) -> Draft:
    e, size = draw_entity(rng), rng.randint(6, 12)
    text = rng.choice(
        ["a short description", "something longer than that", "every good thing ends", "notes about the weather"]
    )

    def run(way: str, text: str) -> Any:
        if len(text) <= size:
            return text
        return text[: size - 3] + "..." if way == "within" else text[:size] + "..."

    def code(cut: int) -> tuple[str, str]:
        return (
            f'def $f(text) do\n  if String.length(text) > {size} do\n    String.slice(text, 0, {cut}) <> "..."\n  else\n    text\n  end\nend',
            f'def $f(text) do\n  case String.length(text) do\n    short when short <= {size} -> text\n    _long -> String.slice(text, 0, {cut}) <> "..."\n  end\nend',
        )

    return small(
        rng,
        "ambiguous_truncation",
        Small(
            names=("shorten", "truncate", "excerpt", "teaser"),
            arguments=(("text", "String.t()"),),
            returns="String.t()",
            documentation=f"The text of {_a(e.singular)}, cut off after {size} characters.",
            titles=(
                f'$f, which cuts a text after {size} characters and puts "..." behind it',
                f'a function $f for a text of at most {size} characters; longer ones end in "..."',
            ),
            axis=open_fact(
                f"Do the three dots count towards the {size} characters?",
                within=(
                    f"The dots count, so the result never has more than {size} characters.",
                    "Yes, the result has at most that many.",
                ),
                beyond=(f"The dots do not count: {size} characters of the text stay.", "No, they come on top."),
            ),
            code={"within": code(size - 3), "beyond": code(size)},
            run=run,
            samples=[(text,), ("tiny",)],
            edges=[("",), (text[:size],), (text[: size + 1],)],
            faults=(
                Fault(f"> {size}", f">= {size}", "off_by_one", "A text of exactly that length is cut too."),
                Fault(f"<= {size}", f"< {size}", "off_by_one", "A text of exactly that length is cut too."),
                Fault(' <> "..."', "", "missing_step", "The dots are missing."),
            ),
            explanation="`String.length/1` counts characters, not bytes; short texts are left alone.",
            modules=("Excerpt", camel(f"{e.singular}_teaser"), "Text"),
        ),
    )


def padding(rng: random.Random) -> Draft:
    e, width, mark = draw_entity(rng), rng.randint(8, 12), rng.choice(["0", ".", "*", "-"])
    labels = e.label.draw_many(rng, 2)
    return small(
        rng,
        "ambiguous_side",
        Small(
            names=("pad", "fill", "column", "aligned"),
            arguments=(("text", "String.t()"),),
            returns="String.t()",
            documentation=f"The text filled up to {width} characters with `{mark}`.",
            titles=(
                f"$f, which fills a text up to {width} characters with `{mark}`",
                f"a function $f that pads {_a(e.label.name)} with `{mark}` to a width of {width}",
            ),
            axis=open_fact(
                "On which side should it be filled, before or after the text?",
                before=("It is filled on the left.", "Before the text."),
                after=("It is filled on the right.", "After the text."),
            ),
            code={
                "before": (
                    f'def $f(text), do: String.pad_leading(text, {width}, "{mark}")',
                    f'def $f(text) do\n  String.duplicate("{mark}", max({width} - String.length(text), 0)) <> text\nend',
                ),
                "after": (
                    f'def $f(text), do: String.pad_trailing(text, {width}, "{mark}")',
                    f'def $f(text) do\n  text <> String.duplicate("{mark}", max({width} - String.length(text), 0))\nend',
                ),
            },
            run=lambda way, text: text.rjust(width, mark) if way == "before" else text.ljust(width, mark),
            samples=[(labels[0],), (labels[1],)],
            edges=[("",), ("x" * width,), ("y" * (width + 2),)],
            faults=(
                Fault(f", {width}", f", {width - 1}", "off_by_one", "The result is one character short."),
                Fault(f"max({width} -", f"max({width - 1} -", "off_by_one", "The result is one character short."),
            ),
            explanation="A text that is long enough already stays as it is.",
            modules=("Columns", camel(f"{e.singular}_column"), "Layout"),
        ),
    )


def difference(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    a, b, c, d = e.label.draw_many(rng, 4)
    old, new = rng.choice([("before", "now"), ("left", "right"), ("planned", "actual")])

    def run(way: str, xs: list[str], ys: list[str]) -> Any:
        if way == "left":
            return sorted(x for x in xs if x not in ys)
        if way == "right":
            return sorted(y for y in ys if y not in xs)
        return sorted([x for x in xs if x not in ys] + [y for y in ys if y not in xs])

    return small(
        rng,
        "ambiguous_direction",
        Small(
            names=("difference", "diff", "changes"),
            arguments=((old, f"[{e.label.type}]"), (new, f"[{e.label.type}]")),
            returns=f"[{e.label.type}]",
            documentation=f"Where two lists of {e.plural} differ, sorted.",
            titles=(
                f"$f, which gives the difference of two lists of {e.plural}, sorted",
                f"a function $f that compares `{old}` with `{new}` and lists, sorted, what differs",
            ),
            axis=open_fact(
                "Which difference is meant: what only the first list has, what only the second one has, or both?",
                left=("The difference is what only the first list has.", "What only the first has."),
                right=("The difference is what only the second list has.", "What only the second has."),
                both=(
                    "The difference is what is in exactly one of the two.",
                    "Everything that is in one of them only.",
                ),
            ),
            code={
                "left": (
                    f"def $f({old}, {new}), do: Enum.sort({old} -- {new})",
                    f"def $f({old}, {new}) do\n  {old} |> Enum.reject(&(&1 in {new})) |> Enum.sort()\nend",
                ),
                "right": (
                    f"def $f({old}, {new}), do: Enum.sort({new} -- {old})",
                    f"def $f({old}, {new}) do\n  {new} |> Enum.reject(&(&1 in {old})) |> Enum.sort()\nend",
                ),
                "both": f"def $f({old}, {new}), do: Enum.sort(({old} -- {new}) ++ ({new} -- {old}))",
            },
            run=run,
            samples=[([a, b, c], [b, d]), ([a], [a])],
            edges=[([], [c]), ([c], []), ([], [])],
            faults=(
                Fault(" ++ (", " -- (", "wrong_operation", "The second half is taken away instead of added."),
                Fault("Enum.reject(", "Enum.filter(", "inverted_condition", "It gives what both have."),
                Fault(f"sort({old} -- {new})", f"sort({new} -- {old})", "swapped_arguments", "The lists are swapped."),
                Fault(f"sort({new} -- {old})", f"sort({old} -- {new})", "swapped_arguments", "The lists are swapped."),
            ),
            explanation="`--` removes from the left list what the right one has, so its order decides the direction.",
            modules=("Changes", camel(f"{e.singular}_changes"), "Diff"),
        ),
    )


def ranks(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    n = sorted(rng.sample(range(10, 90), 3), reverse=True)
    scores = [n[1], n[0], n[1], n[2]]

    def run(way: str, values: list[int]) -> Any:
        if way == "dense":
            order = sorted(set(values), reverse=True)
            return [order.index(v) + 1 for v in values]
        return [1 + sum(other > v for other in values) for v in values]

    return small(
        rng,
        "ambiguous_ranks",
        Small(
            names=("ranks", "places", "standings"),
            arguments=((f"{e.amount.name}s", "[integer()]"),),
            returns="[pos_integer()]",
            documentation=f"The rank of each {e.amount.name}, 1 for the highest.",
            titles=(
                "$f, which gives the rank of each number in a list: 1 for the highest, and equal numbers share a rank",
                f"a function $f that ranks {e.plural} by {e.amount.name}, highest first, the same rank for equal ones",
            ),
            axis=open_fact(
                "After two that share a rank, is the next rank one higher or is one left out?",
                gap=("After two that share rank 1 comes rank 3.", "One is left out: 1, 1, 3."),
                dense=("After two that share rank 1 comes rank 2.", "It is one higher: 1, 1, 2."),
            ),
            code={
                "gap": (
                    "def $f(values) do\n  Enum.map(values, fn value -> 1 + Enum.count(values, &(&1 > value)) end)\nend",
                    "def $f(values) do\n  sorted = Enum.sort(values, :desc)\n  Enum.map(values, fn value -> Enum.find_index(sorted, &(&1 == value)) + 1 end)\nend",
                ),
                "dense": (
                    "def $f(values) do\n  sorted = values |> Enum.uniq() |> Enum.sort(:desc)\n  Enum.map(values, fn value -> Enum.find_index(sorted, &(&1 == value)) + 1 end)\nend",
                ),
            },
            run=run,
            samples=[(scores,), (n,)],
            edges=[([],), ([n[0], n[0]],), ([n[0], n[0], n[1]],)],
            faults=(
                Fault(
                    "&(&1 > value)",
                    "&(&1 >= value)",
                    "off_by_one",
                    "A number counts itself, so every rank is too high.",
                ),
                Fault(" + 1 end", " end", "off_by_one", "Ranks begin at 0."),
                Fault("(:desc)", "()", "wrong_order", "The lowest gets rank 1."),
                Fault(", :desc)", ")", "wrong_order", "The lowest gets rank 1."),
            ),
            explanation="A rank is one more than how many are better; whether equals are counted once decides about gaps.",
            modules=("Ranks", camel(f"{e.singular}_ranks"), "Standings"),
        ),
    )


def units(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    big, small_, size = rng.choice(
        [
            ("hours", "minutes", 60),
            ("minutes", "seconds", 60),
            ("euros", "cents", 100),
            ("metres", "centimetres", 100),
            ("days", "hours", 24),
            ("dozens", "pieces", 12),
        ]
    )
    whole, rest = rng.randint(1, 9), rng.randint(1, size - 1)
    args = [(whole, rest), (0, rest)]
    return small(
        rng,
        "ambiguous_units",
        Small(
            names=("total", "combined", "length", "to_number"),
            arguments=((big, "non_neg_integer()"), (small_, "non_neg_integer()")),
            returns="number()",
            documentation=f"{big.capitalize()} and {small_} as one number.",
            titles=(
                f"$f, which turns {big} and {small_} into one number",
                f"a function $f that adds up {big} and {small_} ({size} {small_} make one of {big})",
            ),
            axis=open_fact(
                f"In which unit should the result be, {big} or {small_}?",
                small=(f"The result is in {small_}.", f"In {small_}."),
                big=(f"The result is in {big}, as a float.", f"In {big}, as a float."),
            ),
            code={
                "small": f"def $f({big}, {small_}), do: {big} * {size} + {small_}",
                "big": f"def $f({big}, {small_}), do: {big} + {small_} / {size}",
            },
            run=lambda way, x, y: x * size + y if way == "small" else x + y / size,
            samples=args,
            edges=[(0, 0), (whole, 0)],
            faults=(
                Fault(f"* {size} +", f"+ {size} *", "wrong_operation", "The wrong number is multiplied."),
                Fault(
                    f"/ {size}",
                    f"* {size}",
                    "wrong_operation",
                    f"The {small_} are multiplied where they should be divided.",
                ),
            ),
            explanation=f"{size} {small_} are one of {big}; which of the two is converted decides the unit.",
            modules=("Units", camel(f"{e.singular}_units"), "Convert"),
        ),
    )


def sign(rng: random.Random) -> Draft:
    draw_entity(rng)
    n = rng.sample(range(10, 90), 3)
    top = max(n)
    values = [n[0], -top - rng.randint(1, 9), n[1], n[2]]
    what = rng.choice(["change", "deviation", "difference", "swing", "error"])
    return small(
        rng,
        "ambiguous_sign",
        Small(
            names=(f"largest_{what}", f"biggest_{what}", f"max_{what}"),
            arguments=((f"{what}s", "[integer()]"),),
            returns="integer() | nil",
            documentation=f"The largest {what}, or nil.",
            titles=(
                f"$f, which finds the largest {what} in a list of positive and negative numbers (nil of none)",
                f"a function $f for the largest {what} of a list, nil for an empty one; some are negative",
            ),
            axis=open_fact(
                "Is a large negative number a large one, so that only the size counts?",
                size=(
                    "Only the size counts, so -9 is larger than 5; the answer keeps its sign.",
                    "Yes, only the size counts; keep the sign.",
                ),
                value=("Numbers are compared as they are, so 5 is larger than -9.", "No, compare them as they are."),
            ),
            code={
                "size": (
                    "def $f([]), do: nil\ndef $f(values), do: Enum.max_by(values, &abs/1)",
                    "def $f(values), do: Enum.max_by(values, &abs/1, fn -> nil end)",
                ),
                "value": (
                    "def $f([]), do: nil\ndef $f(values), do: Enum.max(values)",
                    "def $f(values), do: Enum.max(values, fn -> nil end)",
                ),
            },
            run=lambda way, given: None if not given else max(given, key=abs) if way == "size" else max(given),
            samples=[(values,), (values[:1],)],
            edges=[([],), ([-n[0], -n[0] - 1],)],
            faults=(
                Fault("Enum.max_by(", "Enum.min_by(", "wrong_function", "It finds the smallest."),
                Fault("Enum.max(", "Enum.min(", "wrong_function", "It finds the smallest."),
                Fault("def $f([]), do: nil\n", "", "missing_clause", "An empty list raises `Enum.EmptyError`."),
            ),
            explanation="`Enum.max_by/3` compares by a function and answers the element itself, so the sign is kept.",
            modules=("Changes", camel(f"{what}_report"), "Extremes"),
        ),
    )


def merging(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    a, b, c = (str(x) for x in rng.sample(["host", "port", "mode", "level", "path", "limit"], 3))
    inner = rng.choice(["server", "options", "limits", "display"])
    left = {inner: {a: 1, b: 2}, "name": 1}
    right = {inner: {b: 3, c: 4}}

    def run(way: str, x: dict[str, Any], y: dict[str, Any]) -> Any:
        out = dict(x)
        for k, v in y.items():
            out[k] = {**out[k], **v} if way == "deep" and isinstance(out.get(k), dict) and isinstance(v, dict) else v
        return out

    return small(
        rng,
        "ambiguous_merge",
        Small(
            names=("merge", "override", "combine", "apply_settings"),
            arguments=(("defaults", "map()"), ("given", "map()")),
            returns="map()",
            documentation=f"Settings of {_a(e.singular)} over the defaults.",
            titles=(
                "$f, which merges two maps of settings, where the second one wins",
                f"a function $f that puts the settings given for {_a(e.singular)} over the defaults",
            ),
            axis=open_fact(
                "Are maps inside the maps merged as well, or replaced?",
                deep=("A map inside both is merged too.", "They are merged."),
                flat=("A map inside is replaced as a whole.", "They are replaced."),
            ),
            code={
                "deep": (
                    "def $f(defaults, given) do\n  Map.merge(defaults, given, fn\n    _key, %{} = left, %{} = right -> $f(left, right)\n    _key, _left, right -> right\n  end)\nend",
                ),
                "flat": (
                    "def $f(defaults, given), do: Map.merge(defaults, given)",
                    "def $f(defaults, given) do\n  Enum.reduce(given, defaults, fn {key, value}, merged -> Map.put(merged, key, value) end)\nend",
                ),
            },
            run=run,
            samples=[(left, right), ({"name": 1}, {"name": 2})],
            edges=[({}, right), (left, {})],
            faults=(
                Fault(
                    "Map.merge(defaults, given)", "Map.merge(given, defaults)", "swapped_arguments", "The defaults win."
                ),
                Fault(
                    "_key, _left, right -> right",
                    "_key, left, _right -> left",
                    "swapped_arguments",
                    "The defaults win.",
                ),
                Fault(
                    "Map.put(merged,",
                    "Map.put_new(merged,",
                    "wrong_function",
                    "What is there already is never replaced.",
                ),
            ),
            explanation="`Map.merge/3` asks a function about keys that both have; calling itself there makes it deep.",
            modules=("Settings", camel(f"{e.singular}_settings"), "Overrides"),
        ),
    )


def words_of(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    parts = rng.sample(["well", "known", "old", "new", "half", "time", "warm", "dark", "blue"], 4)
    text = f"{parts[0]}-{parts[1]} {parts[2]}, {parts[3]}"
    return small(
        rng,
        "ambiguous_words",
        Small(
            names=("word_count", "count_words", "num_words"),
            arguments=(("text", "String.t()"),),
            returns="non_neg_integer()",
            documentation=f"How many words the text of {_a(e.singular)} has.",
            titles=(
                "$f, which counts the words of a text",
                f"a function $f that tells how many words the description of {_a(e.singular)} has",
            ),
            axis=open_fact(
                "Does a hyphenated word such as `well-known` count as one word or two?",
                one=(
                    "Words are separated by whitespace only, so `well-known` is one.",
                    "As one: only whitespace separates.",
                ),
                two=(
                    "Everything that is no letter separates words, so `well-known` is two.",
                    "As two: whatever is no letter separates.",
                ),
            ),
            code={
                "one": (
                    "def $f(text), do: text |> String.split() |> length()",
                    "def $f(text), do: text |> String.split() |> Enum.count()",
                ),
                "two": (
                    "def $f(text), do: text |> String.split(~r/[^a-zA-Z]+/, trim: true) |> length()",
                    "def $f(text), do: ~r/[a-zA-Z]+/ |> Regex.scan(text) |> length()",
                ),
            },
            run=lambda way, text: (
                len(text.split()) if way == "one" else len("".join(ch if ch.isalpha() else " " for ch in text).split())
            ),
            samples=[(text,), (f"{parts[2]} {parts[3]}",)],
            edges=[("",), ("  " + parts[0] + "  ",), (f"{parts[0]}-{parts[3]}",)],
            faults=(
                Fault(
                    "String.split()",
                    'String.split(" ")',
                    "wrong_function",
                    "Repeated or outer spaces make empty words.",
                ),
                Fault(", trim: true", "", "missing_option", "Empty texts at the ends are counted."),
                Fault("[a-zA-Z]+/ |>", "[a-zA-Z]/ |>", "wrong_pattern", "It counts letters."),
            ),
            explanation="What separates words is the whole question; `String.split/1` takes whitespace and ignores it at the ends.",
            modules=("Words", camel(f"{e.singular}_words"), "Text"),
        ),
    )


def take_end(rng: random.Random) -> Draft:
    e, n = draw_entity(rng), rng.randint(2, 3)
    labels = e.label.draw_many(rng, 5)
    return small(
        rng,
        "ambiguous_which_end",
        Small(
            names=("latest", "recent", f"newest_{n}", "last_ones"),
            arguments=((e.plural, f"[{e.label.type}]"),),
            returns=f"[{e.label.type}]",
            documentation=f"The {n} newest {e.plural}, in the order of the list.",
            titles=(
                f"$f, which gives the {n} newest {e.plural} of a list",
                f"a function $f for the {n} most recent of a list of {e.plural}, in their order",
            ),
            axis=open_fact(
                "Does the list begin with the newest or with the oldest one?",
                front=("The newest stands first in the list.", "With the newest."),
                back=("The newest stands last in the list.", "With the oldest."),
            ),
            code={
                "front": (
                    f"def $f({e.plural}), do: Enum.take({e.plural}, {n})",
                    f"def $f({e.plural}), do: Enum.slice({e.plural}, 0, {n})",
                ),
                "back": (
                    f"def $f({e.plural}), do: Enum.take({e.plural}, -{n})",
                    f"def $f({e.plural}) do\n  {e.plural} |> Enum.reverse() |> Enum.take({n}) |> Enum.reverse()\nend",
                ),
            },
            run=lambda way, given: given[:n] if way == "front" else given[-n:],
            samples=[(labels,), (labels[:2],)],
            edges=[([],), (labels[:1],), (labels[: n + 1],)],
            faults=(
                Fault(f", -{n})", f", -{n + 1})", "off_by_one", "It takes one too many."),
                Fault(f", {n})", f", {n + 1})", "off_by_one", "It takes one too many."),
                Fault(f"Enum.take({n})", f"Enum.take({n - 1})", "off_by_one", "It takes one too few."),
            ),
            explanation="A negative count makes `Enum.take/2` take from the end, in the order of the list.",
            modules=("Recent", camel(f"{e.singular}_feed"), "Latest"),
        ),
    )


def positive(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    n = _numbers(rng, 3)
    values = [n[0], 0, -n[1], n[2], 0]
    return small(
        rng,
        "ambiguous_zero",
        Small(
            names=("gains", "credits", "non_losses", "good_days"),
            arguments=((f"{e.amount.name}_changes", "[integer()]"),),
            returns="non_neg_integer()",
            documentation="How many changes were no losses.",
            titles=(
                f"$f, which counts the days on which the {e.amount.name} did well, given the changes",
                f"a function $f that counts the good ones among changes of the {e.amount.name}; negative ones are bad",
            ),
            axis=open_fact(
                "Is a change of 0 a good one?",
                yes=("A change of 0 counts as good.", "Yes."),
                no=("A change of 0 does not count as good.", "No."),
            ),
            code={
                "yes": (
                    "def $f(changes), do: Enum.count(changes, &(&1 >= 0))",
                    "def $f([]), do: 0\ndef $f([change | rest]) when change >= 0, do: 1 + $f(rest)\ndef $f([_change | rest]), do: $f(rest)",
                ),
                "no": (
                    "def $f(changes), do: Enum.count(changes, &(&1 > 0))",
                    "def $f([]), do: 0\ndef $f([change | rest]) when change > 0, do: 1 + $f(rest)\ndef $f([_change | rest]), do: $f(rest)",
                ),
            },
            run=lambda way, given: sum(v >= 0 if way == "yes" else v > 0 for v in given),
            samples=[(values,), ([n[1], -n[0]],)],
            edges=[([],), ([0],), ([-1],)],
            faults=(
                Fault(">= 0", "> 0", "off_by_one", "A change of 0 is not counted."),
                Fault("&1 > 0", "&1 >= 0", "off_by_one", "A change of 0 is counted."),
                Fault("change > 0", "change < 0", "inverted_condition", "It counts the losses."),
            ),
            explanation="One comparison decides what happens at the border.",
            modules=("Trend", camel(f"{e.singular}_trend"), "Gains"),
        ),
    )


def unknown_word(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    kinds = list(e.kind.values)[:3]
    weights = rng.sample(range(1, 30), 3)
    listed = "\n".join(f"defp weight(:{k}), do: {w}" for k, w in zip(kinds, weights))
    table = dict(zip(kinds, weights))
    other = Atom("unheard_of")

    def run(way: str, given: list[Any]) -> Any:
        if way == "raise" and any(k not in table for k in given):
            return Raises("FunctionClauseError")
        return sum(table.get(k, 0) for k in given)

    rule = ", ".join(f"`:{k}` is worth {w}" for k, w in table.items())
    return small(
        rng,
        "ambiguous_unknown",
        Small(
            names=("score", "total_weight", "points", "cost"),
            arguments=((f"{e.kind.name}s", "[atom()]"),),
            returns="non_neg_integer()",
            documentation=f"What a list of {e.kind.name}s is worth.",
            titles=(
                f"$f, which adds up what each {e.kind.name} of {_a(e.singular)} is worth: {rule}",
                f"a function $f for the worth of a list of {e.kind.name}s, where {rule}",
            ),
            axis=open_fact(
                f"What should happen with a {e.kind.name} that is not in the table?",
                zero=("Anything else is worth nothing.", "It is worth nothing."),
                **{
                    "raise": (
                        "Anything else raises a `FunctionClauseError`.",
                        "Let it crash with a FunctionClauseError.",
                    )
                },
            ),
            code={
                "zero": f"def $f(given) do\n  given\n  |> Enum.map(&weight/1)\n  |> Enum.sum()\nend\n\n{listed}\ndefp weight(_other), do: 0",
                "raise": (
                    f"def $f(given) do\n  given\n  |> Enum.map(&weight/1)\n  |> Enum.sum()\nend\n\n{listed}",
                    f"def $f(given), do: Enum.reduce(given, 0, &(weight(&1) + &2))\n\n{listed}",
                ),
            },
            run=run,
            samples=[([kinds[0], kinds[1], kinds[0]],), ([kinds[2]],)],
            edges=[([],), ([kinds[0], other],)],
            faults=(
                Fault(
                    f"do: {weights[0]}\n",
                    f"do: {weights[0] + 1}\n",
                    "wrong_constant",
                    f"`:{kinds[0]}` is worth {weights[0]}.",
                ),
                Fault("Enum.sum()", "Enum.max(fn -> 0 end)", "wrong_function", "It takes the highest, not the sum."),
            ),
            explanation="Clauses of a private function are the table; a last clause for anything else, or none, decides about the unknown.",
            modules=("Scores", camel(f"{e.singular}_scores"), "Weights"),
        ),
    )


FAMILIES: dict[str, Family] = {
    "ambiguous_any_all": any_or_all,
    "ambiguous_bounds": bounds,
    "ambiguous_case": letter_case,
    "ambiguous_conflict": conflict,
    "ambiguous_deadline": due,
    "ambiguous_depth": flattening,
    "ambiguous_direction": difference,
    "ambiguous_duplicates": duplicates,
    "ambiguous_empty": empty_input,
    "ambiguous_empty_parts": split_empty,
    "ambiguous_error_style": error_style,
    "ambiguous_index_base": positions,
    "ambiguous_median": median_of,
    "ambiguous_merge": merging,
    "ambiguous_nil": nil_values,
    "ambiguous_occurrences": remove,
    "ambiguous_order": order,
    "ambiguous_overlap": windows,
    "ambiguous_per_group": per_group,
    "ambiguous_percent": percent,
    "ambiguous_ranks": ranks,
    "ambiguous_remainder": chunks,
    "ambiguous_rounding": rounding,
    "ambiguous_side": padding,
    "ambiguous_sign": sign,
    "ambiguous_threshold": threshold,
    "ambiguous_tie_order": tie_order,
    "ambiguous_ties": ties,
    "ambiguous_trimming": trimming,
    "ambiguous_truncation": truncation,
    "ambiguous_uneven": uneven,
    "ambiguous_units": units,
    "ambiguous_unknown": unknown_word,
    "ambiguous_which_end": take_end,
    "ambiguous_words": words_of,
    "ambiguous_zero": positive,
    "ambiguous_zero_counts": zero_counts,
}
