"""Recursion over lists, trees and numbers: with and without an accumulator, mutual, and little interpreters."""

# ruff: noqa: E501, E731 -- Elixir and sentences are kept on one line each; small functions of a table have no name

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from math import gcd
from typing import Any

from elixir_coder.data.synthesis.choices import Axis, Choices, Fault, Program, Way, draw, style, wanted
from elixir_coder.data.synthesis.domains import Atom, camel, draw_entity
from elixir_coder.data.synthesis.draft import Draft, Family
from elixir_coder.data.synthesis.functions import Raises, Task, exercise, in_context
from elixir_coder.data.synthesis.writing import check, exunit, fill, literal, module

TAIL = "Make it tail recursive."


def _form(*, body: str = "body", tail: str = "tail", more: tuple[str, ...] = ()) -> Axis:
    """Body recursion, or an accumulator; both pass the same tests."""
    ways = {
        body: Way(),
        tail: Way(request=TAIL, reply="With an accumulator, so that the recursive call is the last thing it does:"),
    }
    return Axis(ways={**ways, **{each: Way() for each in more}}, is_style=True)


def fold(rng: random.Random) -> Draft:
    """One value out of a list: what is taken, what of it, and how it is combined."""
    e = draw_entity(rng)
    k, m = rng.randint(5, 20), rng.randint(2, 9)
    keep, keep_text, keep_run = rng.choice(
        [
            ("", "", lambda n: True),
            ("rem(head, 2) == 0", "that are even", lambda n: n % 2 == 0),
            ("rem(head, 2) != 0", "that are odd", lambda n: n % 2 == 1),
            ("head > $k", "greater than $k", lambda n: n > k),
            ("head < $k", "less than $k", lambda n: n < k),
            ("rem(head, 3) == 0", "divisible by 3", lambda n: n % 3 == 0),
        ]
    )
    keep, keep_text = keep.replace("$k", str(k)), keep_text.replace("$k", str(k))
    of, of_text, of_run = rng.choice(
        [
            ("head", "", lambda n: n),
            ("head * head", "the squares of ", lambda n: n * n),
            (f"{m} * head", f"{m} times ", lambda n: m * n),
            (f"(head + {m})", f"{m} more than ", lambda n: n + m),
            (f"div(head, {m})", f"a {m}th, rounded down, of ", lambda n: n // m),
        ]
    )
    what, zero, text = rng.choice(
        [
            ("sum", "0", "the sum of"),
            ("product", "1", "the product of"),
            ("count", "0", "how many there are of"),
            ("max", "0", "the largest of (0 of none)"),
        ]
    )
    if what == "count":
        of, of_text, of_run = "1", "", lambda n: 1
    combine: dict[str, Callable[[str, str], str]] = {
        "sum": lambda x, y: f"{x} + {y}",
        "product": lambda x, y: f"{x} * {y}",
        "count": lambda x, y: f"{x} + {y}",
        "max": lambda x, y: f"max({x}, {y})",
    }
    join = combine[what]
    name = rng.choice(
        [what if what not in ("max",) else "largest", f"{what}_of_{e.amount.name}s", f"fold_{what}", f"total_{what}"]
    )
    numbers = "numbers"
    doc = f"{text} {of_text}the numbers {keep_text}".strip()

    def code(c: Choices) -> str:
        if c["form"] == "tail":
            skip = "\ndefp $f([_head | tail], acc), do: $f(tail, acc)" if keep else ""
            text = (
                f"def $f(list), do: $f(list, {zero})\n\ndefp $f([], acc), do: acc\ndefp $f([head | tail], acc)$when, do: $f(tail, {join('acc', of)})"
                + skip
            )
        elif c["form"] == "reduce":
            if keep:
                text = fill(
                    "def $f(list) do\n  Enum.reduce(list, $zero, fn head, acc ->\n    if $keep, do: $next, else: acc\n  end)\nend",
                    zero=zero,
                    keep=keep,
                    next=join("acc", of),
                )
            else:
                text = f"def $f(list), do: Enum.reduce(list, {zero}, fn {'_head' if what == 'count' else 'head'}, acc -> {join('acc', of)} end)"
        else:
            skip = "\ndef $f([_head | tail]), do: $f(tail)" if keep else ""
            text = f"def $f([]), do: {zero}\ndef $f([head | tail])$when, do: {join(of, '$f(tail)')}" + skip
        if what == "count" and not keep:
            text = text.replace("[head | tail]", "[_head | tail]")
        return fill(text.replace("$when", f" when {keep}" if keep else ""), f=name)

    def run(given: list[int]) -> int:
        values = [of_run(n) for n in given if keep_run(n)]
        if what == "max":
            return max([0, *values])
        total = 1 if what == "product" else 0
        for v in values:
            total = total * v if what == "product" else total + v
        return total

    values = [rng.randint(1, 30) for _ in range(5)]
    return exercise(
        rng,
        Task(
            function=name,
            arguments=((numbers, "[non_neg_integer()]"),),
            returns="non_neg_integer()",
            documentation=doc[0].upper() + doc[1:] + ".",
            titles=(
                f"a recursive function `{name}/1` for {doc} in a list",
                f"`{name}/1`, {doc} of a list, by recursion",
                f"a function `{name}` over a list of non-negative integers: {doc}",
            ),
            axes={"form": _form(more=("reduce",))},
            code=code,
            run=lambda c: run,
            samples=[(values,), (values[:2],)],
            edges=[([],), ([k, k + 1, 6],), ([m],), ([3, 4, 9, 12],)],
            faults=(
                Fault(
                    f"[]), do: {zero}\n",
                    f"[]), do: {1 - int(zero)}\n",
                    "wrong_base_case",
                    "The base case gives the wrong neutral value.",
                ),
                Fault(
                    f"(list, {zero})",
                    f"(list, {1 - int(zero)})",
                    "wrong_base_case",
                    "The accumulator begins with the wrong value.",
                ),
                Fault(
                    f"[]), do: {zero}\n",
                    "[]), do: nil\n",
                    "wrong_base_case",
                    "The base case answers nil, on which arithmetic fails.",
                ),
                Fault(
                    f"(tail, {join('acc', of)})",
                    f"(tail, {of})",
                    "lost_value",
                    "What was gathered so far is thrown away.",
                ),
                Fault(
                    f"{name}([_head | tail]), do: {name}(tail)",
                    f"{name}([_head | _tail]), do: {zero}",
                    "stops_early",
                    "It stops at the first number that does not count.",
                ),
                Fault("else: acc", "else: 0", "lost_value", "A number that does not count clears the result."),
            ),
            explanation="The empty list is the base case and gives the neutral value; each other clause deals with the head and leaves the tail to the same function.",
        ),
        family="recursion_fold",
        module_name=in_context(
            rng, camel(rng.choice([f"{e.amount.name}_math", "numbers", f"{e.singular}_fold", "sums"]))
        ),
        difficulty=1,
    )


def rebuild(rng: random.Random) -> Draft:
    """A list out of a list, by a rule for its neighbours, its places or its values."""
    e = draw_entity(rng)
    n = rng.randint(2, 4)
    a, b, c_, d = e.label.draw_many(rng, 4)
    word = literal(rng.choice(e.label.values))

    def every(xs: list[Any]) -> list[Any]:
        return xs[n - 1 :: n]

    def running(xs: list[Any]) -> list[Any]:
        out, total = [], 0
        for x in xs:
            total += x
            out.append(total)
        return out

    def dedup(xs: list[Any]) -> list[Any]:
        return [x for i, x in enumerate(xs) if i == 0 or xs[i - 1] != x]

    def interleave(xs: list[Any], sep: Any) -> list[Any]:
        out: list[Any] = []
        for i, x in enumerate(xs):
            out += [sep, x] if i else [x]
        return out

    def runs(xs: list[Any]) -> list[Any]:
        out: list[Any] = []
        for x in xs:
            if out and out[-1][0] == x:
                out[-1] = (x, out[-1][1] + 1)
            else:
                out.append((x, 1))
        return out

    def rotate(xs: list[Any]) -> list[Any]:
        return xs[n % len(xs) :] + xs[: n % len(xs)] if xs else []

    def pairs_swapped(xs: list[Any]) -> list[Any]:
        out = list(xs)
        for i in range(0, len(xs) - 1, 2):
            out[i], out[i + 1] = out[i + 1], out[i]
        return out

    def delta(xs: list[int]) -> list[int]:
        return [y - x for x, y in pairwise(xs)]

    nums = [rng.randint(1, 40) for _ in range(6)]
    doubled = [a, a, b, c_, c_, c_, a]
    table: list[tuple[str, str, str, Any, list[Any], dict[str, str], str, str]] = [
        (
            "every_nth",
            f"every {n}th element of the list",
            "list()",
            every,
            [a, b, c_, d, a],
            {
                "body": f"def $f(list), do: $f(list, 1)\n\ndefp $f([], _place), do: []\ndefp $f([head | tail], {n}), do: [head | $f(tail, 1)]\ndefp $f([_head | tail], place), do: $f(tail, place + 1)",
                "tail": f"def $f(list), do: $f(list, 1, [])\n\ndefp $f([], _place, acc), do: Enum.reverse(acc)\ndefp $f([head | tail], {n}, acc), do: $f(tail, 1, [head | acc])\ndefp $f([_head | tail], place, acc), do: $f(tail, place + 1, acc)",
            },
            "place + 1",
            "place + 2",
        ),
        (
            "running_total",
            "the running totals of the list",
            "[integer()]",
            running,
            nums,
            {
                "body": "def $f(list), do: $f(list, 0)\n\ndefp $f([], _total), do: []\n\ndefp $f([head | tail], total) do\n  next = total + head\n  [next | $f(tail, next)]\nend",
                "tail": "def $f(list), do: $f(list, 0, [])\n\ndefp $f([], _total, acc), do: Enum.reverse(acc)\n\ndefp $f([head | tail], total, acc) do\n  next = total + head\n  $f(tail, next, [next | acc])\nend",
            },
            "next = total + head",
            "next = total - head",
        ),
        (
            "compress",
            "the list without immediate repetitions",
            "list()",
            dedup,
            doubled,
            {
                "body": "def $f([same, same | tail]), do: $f([same | tail])\ndef $f([head | tail]), do: [head | $f(tail)]\ndef $f([]), do: []",
                "tail": "def $f(list), do: $f(list, [])\n\ndefp $f([], acc), do: Enum.reverse(acc)\ndefp $f([head | tail], [head | _] = acc), do: $f(tail, acc)\ndefp $f([head | tail], acc), do: $f(tail, [head | acc])",
            },
            "def $f([same, same | tail]), do: $f([same | tail])",
            "def $f([same, same | tail]), do: $f(tail)",
        ),
        (
            "encode",
            "runs of equal elements as `{element, length}`",
            "[{term(), pos_integer()}]",
            runs,
            doubled,
            {
                "body": "def $f([]), do: []\ndef $f([head | tail]), do: $f(tail, head, 1)\n\ndefp $f([head | tail], head, count), do: $f(tail, head, count + 1)\ndefp $f(rest, head, count), do: [{head, count} | $f(rest)]",
                "tail": "def $f(list), do: list |> Enum.reduce([], &add/2) |> Enum.reverse()\n\ndefp add(element, [{element, count} | runs]), do: [{element, count + 1} | runs]\ndefp add(element, runs), do: [{element, 1} | runs]",
            },
            "count + 1",
            "count + 2",
        ),
        (
            "rotate",
            f"the list turned to the left by {n} places",
            "list()",
            rotate,
            [a, b, c_, d],
            {
                "body": f"def $f(list), do: $f(list, {n})\n\ndefp $f([], _places), do: []\ndefp $f(list, 0), do: list\ndefp $f([head | tail], places), do: $f(tail ++ [head], places - 1)",
                "tail": f"def $f([]), do: []\n\ndef $f(list) do\n  {{front, back}} = Enum.split(list, rem({n}, length(list)))\n  back ++ front\nend",
            },
            "tail ++ [head]",
            "[head | tail]",
        ),
        (
            "swap_pairs",
            "the list with the elements of each pair swapped",
            "list()",
            pairs_swapped,
            [a, b, c_, d, a],
            {
                "body": "def $f([first, second | tail]), do: [second, first | $f(tail)]\ndef $f(rest), do: rest",
                "tail": "def $f(list), do: list |> Enum.chunk_every(2) |> Enum.flat_map(&Enum.reverse/1)",
            },
            "[second, first |",
            "[first, second |",
        ),
        (
            "deltas",
            "the differences of neighbours (the later minus the earlier)",
            "[integer()]",
            delta,
            nums,
            {
                "body": "def $f([first, second | tail]), do: [second - first | $f([second | tail])]\ndef $f(_short), do: []",
                "tail": "def $f(list), do: $f(list, [])\n\ndefp $f([first, second | tail], acc), do: $f([second | tail], [second - first | acc])\ndefp $f(_short, acc), do: Enum.reverse(acc)",
            },
            "second - first",
            "first - second",
        ),
        (
            "intersperse",
            f"the list with {word} between the elements",
            "list()",
            lambda xs: interleave(xs, eval_text(word)),
            [a, b, c_],
            {
                "body": f"def $f([]), do: []\ndef $f([last]), do: [last]\ndef $f([head | tail]), do: [head, {word} | $f(tail)]",
                "tail": f"def $f(list), do: $f(list, [])\n\ndefp $f([], acc), do: Enum.reverse(acc)\ndefp $f([last], acc), do: Enum.reverse([last | acc])\ndefp $f([head | tail], acc), do: $f(tail, [{word}, head | acc])",
            },
            f"[{word}, head |",
            f"[head, {word} |",
        ),
    ]
    function, doc, returns, run, sample, forms, old, new = rng.choice(table)
    edges: list[tuple[Any, ...]] = [([],), (sample[:1],), (sample[:2],), (sample * 2,)]
    guard = c_if(rng)
    kept = "[last | acc]" if function == "intersperse" else "acc"
    reverse_fault = Fault(
        f"Enum.reverse({kept})",
        kept,
        "missing_reverse",
        "The accumulator is built back to front and never turned round.",
    )
    return exercise(
        rng,
        Task(
            function=function,
            arguments=(("list", "list()" if returns != "[integer()]" else "[integer()]"),),
            returns=returns,
            documentation=doc[0].upper() + doc[1:] + ".",
            titles=(
                f"a recursive function `{function}/1` that gives {doc}",
                f"`{function}/1` with pattern matching and recursion: {doc}",
                f"a function `{function}/1` for lists of {e.plural}. It answers {doc}",
            ),
            axes={"form": _form(), **guard},
            code=lambda c: fill(
                forms[c["form"]]
                + (
                    '\n\n@doc "The same, for any enumerable."\n@spec $f_any(Enumerable.t()) :: list()\ndef $f_any(enumerable), do: enumerable |> Enum.to_list() |> $f()'
                    if c.get("any")
                    else ""
                ).replace("$f_any", f"{function}_any"),
                f=function,
            ),
            run=lambda c: run,
            samples=[(sample,), (sample[:3],)],
            edges=edges,
            faults=(
                Fault(
                    fill(old, f=function),
                    fill(new, f=function),
                    "wrong_step",
                    f"One step goes wrong: `{fill(new, f=function)}` should be `{fill(old, f=function)}`.",
                ),
                reverse_fault,
            ),
            explanation="Patterns in the function's head take the list apart; each clause builds its part of the result and leaves the rest to the recursive call.",
        ),
        family="recursion_rebuild",
        module_name=in_context(
            rng, camel(rng.choice([f"{e.singular}_lists", "lists", f"{e.singular}_sequence", "rebuild"]))
        ),
    )


def eval_text(word: str) -> str:
    """The value of a plain literal text."""
    return word.strip('"')


def c_if(rng: random.Random) -> dict[str, Axis]:
    return (
        {
            "any": wanted(
                "Add the same for any enumerable, its name ending in `_any`.",
                "Add a version for any enumerable, with `_any` at the end of its name.",
            )
        }
        if rng.random() < 0.5
        else {}
    )


def numbers(rng: random.Random) -> Draft:
    """Recursion on integers."""
    base, k, m = rng.randint(2, 9), rng.randint(2, 5), rng.randint(6, 20)
    p, q = rng.randint(1, 3), rng.randint(1, 3)

    def collatz(n: int) -> int:
        steps = 0
        while n != 1:
            n = n // 2 if n % 2 == 0 else 3 * n + 1
            steps += 1
        return steps

    def digits(n: int) -> list[int]:
        out = [n % base]
        while n >= base:
            n //= base
            out.insert(0, n % base)
        return out

    def fib(n: int) -> int:
        a, b = p, q
        for _ in range(n):
            a, b = b, a + b
        return a

    def power(n: int) -> int:
        return int(k**n)

    def digit_sum(n: int) -> int:
        return sum(map(int, str(n)))

    def persistence(n: int) -> int:
        count = 0
        while n > 9:
            n, count = digit_sum(n), count + 1
        return count

    def ack(n: int) -> int:
        return sum(i * i if i % k == 0 else i for i in range(n + 1))

    def halvings(n: int) -> int:
        count = 0
        while n % k == 0:
            n, count = n // k, count + 1
        return count

    table: list[tuple[str, str, Any, dict[str, str], list[int], str, str]] = [
        (
            "collatz_steps",
            "how many steps of the Collatz rule (halve an even number, else 3n + 1) lead to 1",
            collatz,
            {
                "body": "def $f(1), do: 0\ndef $f(n) when rem(n, 2) == 0, do: 1 + $f(div(n, 2))\ndef $f(n), do: 1 + $f(3 * n + 1)",
                "tail": "def $f(n), do: $f(n, 0)\n\ndefp $f(1, steps), do: steps\ndefp $f(n, steps) when rem(n, 2) == 0, do: $f(div(n, 2), steps + 1)\ndefp $f(n, steps), do: $f(3 * n + 1, steps + 1)",
            },
            [6, 1, m, 7],
            "do: 1 + $f(3",
            "do: 2 + $f(3",
        ),
        (
            "digits",
            f"the digits of a non-negative integer in base {base}, the most significant first",
            digits,
            {
                "body": f"def $f(n) when n < {base}, do: [n]\ndef $f(n), do: $f(div(n, {base})) ++ [rem(n, {base})]",
                "tail": f"def $f(n), do: $f(n, [])\n\ndefp $f(n, acc) when n < {base}, do: [n | acc]\ndefp $f(n, acc), do: $f(div(n, {base}), [rem(n, {base}) | acc])",
            },
            [m * m, base, 0, base - 1],
            f"n < {base}",
            f"n <= {base}",
        ),
        (
            "sequence_at",
            f"element n of the sequence that begins with {p}, {q} and goes on with the sum of the last two (element 0 is {p})",
            fib,
            {
                "body": f"def $f(0), do: {p}\ndef $f(1), do: {q}\ndef $f(n) when n > 1, do: $f(n - 1) + $f(n - 2)",
                "tail": f"def $f(n), do: $f(n, {p}, {q})\n\ndefp $f(0, current, _next), do: current\ndefp $f(n, current, next), do: $f(n - 1, next, current + next)",
            },
            [6, 0, 1, 9],
            "current + next",
            "current + next + 1",
        ),
        (
            "power",
            f"{k} to the power of n",
            power,
            {
                "body": f"def $f(0), do: 1\ndef $f(n) when n > 0, do: {k} * $f(n - 1)",
                "tail": f"def $f(n) when n >= 0, do: $f(n, 1)\n\ndefp $f(0, acc), do: acc\ndefp $f(n, acc), do: $f(n - 1, {k} * acc)",
            },
            [5, 0, 1, 8],
            f"{k} * ",
            f"{k} + ",
        ),
        (
            "digit_sum",
            "the sum of the decimal digits of a non-negative integer",
            digit_sum,
            {
                "body": "def $f(n) when n < 10, do: n\ndef $f(n), do: rem(n, 10) + $f(div(n, 10))",
                "tail": "def $f(n), do: $f(n, 0)\n\ndefp $f(0, sum), do: sum\ndefp $f(n, sum), do: $f(div(n, 10), sum + rem(n, 10))",
            },
            [m * 137, 0, 9, 10],
            "rem(n, 10)",
            "div(n, 10)",
        ),
        (
            "persistence",
            "how often the digits of a number have to be added up until one digit is left",
            persistence,
            {
                "body": "def $f(n) when n < 10, do: 0\ndef $f(n), do: 1 + (n |> Integer.digits() |> Enum.sum() |> $f())",
                "tail": "def $f(n), do: $f(n, 0)\n\ndefp $f(n, times) when n < 10, do: times\ndefp $f(n, times), do: n |> Integer.digits() |> Enum.sum() |> $f(times + 1)",
            },
            [m * 999, 5, 10, 199],
            "n < 10",
            "n < 100",
        ),
        (
            "special_sum",
            f"the sum of 0 to n, where multiples of {k} count as their squares",
            ack,
            {
                "body": f"def $f(0), do: 0\ndef $f(n) when rem(n, {k}) == 0, do: n * n + $f(n - 1)\ndef $f(n), do: n + $f(n - 1)",
                "tail": f"def $f(n), do: $f(n, 0)\n\ndefp $f(0, sum), do: sum\ndefp $f(n, sum) when rem(n, {k}) == 0, do: $f(n - 1, sum + n * n)\ndefp $f(n, sum), do: $f(n - 1, sum + n)",
            },
            [m, 0, k, k - 1],
            "n * n",
            "n + n + 1",
        ),
        (
            "multiplicity",
            f"how often a positive integer can be divided by {k} without a remainder",
            halvings,
            {
                "body": f"def $f(n) when rem(n, {k}) == 0, do: 1 + $f(div(n, {k}))\ndef $f(_n), do: 0",
                "tail": f"def $f(n), do: $f(n, 0)\n\ndefp $f(n, times) when rem(n, {k}) == 0, do: $f(div(n, {k}), times + 1)\ndefp $f(_n, times), do: times",
            },
            [k**3 * 7, 1, k, k * (k + 1)],
            f"rem(n, {k}) == 0",
            f"rem(n, {k}) != 1 and n > {k}",
        ),
    ]
    function, doc, run, forms, samples, old, new = rng.choice(table)
    checks = rng.random() < 0.6

    def code(c: Choices) -> str:
        text = fill(forms[c["form"]], f=function)
        if not c.get("strict"):
            return text
        inner = (
            text.replace(f"{function}(", "compute(")
            .replace("def compute(", "defp compute(")
            .replace("|> special", "|> compute")
        )
        inner = inner.replace(f"|> {function}", "|> compute")
        least = 1 if function in ("collatz_steps", "multiplicity") else 0
        return fill(
            'def $f(n) when is_integer(n) and n >= $least, do: compute(n)\n\ndef $f(other) do\n  raise ArgumentError, "expected an integer of at least $least, got: #{inspect(other)}"\nend\n\n$inner',
            f=function,
            least=least,
            inner=inner.replace("compute(n), do: compute(n, ", "compute(n), do: compute(n, "),
        )

    least = 1 if function in ("collatz_steps", "multiplicity") else 0
    axes = {"form": _form()}
    if checks:
        message = f"expected an integer of at least {least}, got: -1"
        axes["strict"] = wanted(
            f"Anything but an integer of at least {least} raises an `ArgumentError` such as `{message}`.",
            f"Raise an `ArgumentError` such as `{message}` for anything but an integer of at least {least}.",
        )
    edges: list[tuple[Any, ...]] = [(n,) for n in samples[2:]]

    def build_run(c: Choices) -> Callable[..., Any]:
        return lambda n: (
            Raises("ArgumentError", f"expected an integer of at least {least}, got: -1")
            if n == -1 and c.get("strict")
            else (run(n) if n != -1 else Raises("ArgumentError"))
        )

    task = Task(
        function=function,
        arguments=(("n", "non_neg_integer()" if least == 0 else "pos_integer()"),),
        returns="[non_neg_integer()]" if function == "digits" else "non_neg_integer()",
        documentation=doc[0].upper() + doc[1:] + ".",
        titles=(
            f"a recursive function `{function}/1`: {doc}",
            f"`{function}(n)`, {doc}",
            f"a function `{function}` that works out, by recursion, {doc}",
        ),
        axes=axes,
        code=code,
        run=build_run,
        samples=[(n,) for n in samples[:2]],
        edges=edges,
        faults=(
            Fault(
                fill(old, f=function),
                fill(new, f=function),
                "wrong_step",
                f"`{fill(new, f=function)}` should be `{fill(old, f=function)}`.",
            ),
            Fault("(n - 1) + ", "(n - 1) - ", "wrong_operation", "The two before are subtracted."),
            Fault("steps + 1", "steps", "wrong_step", "The steps are not counted."),
            Fault("do: 0\n", "do: 1\n", "wrong_base_case", "The base case is one too high."),
        ),
        explanation="The smallest numbers are the base cases; every other clause calls the function with a number that is nearer to them.",
    )
    return exercise(
        rng,
        task,
        family="recursion_numbers",
        module_name=in_context(
            rng, camel(rng.choice(["numbers", "number_play", "integers", "arithmetic", "math_tools"]))
        ),
    )


def tree(rng: random.Random) -> Draft:
    """A binary search tree of some shape, with some of its operations."""
    e = draw_entity(rng)
    name = in_context(rng, rng.choice([f"{e.module}Tree", "SearchTree", f"{e.module}Index", "SortedTree"]))
    shape = rng.choice(["tuple", "struct", "map"])
    values = rng.sample(range(1, 60), 6)
    node = {
        "tuple": lambda left, v, r: f"{{{left}, {v}, {r}}}",
        "map": lambda left, v, r: f"%{{left: {left}, value: {v}, right: {r}}}",
        "struct": lambda left, v, r: f"%__MODULE__{{left: {left}, value: {v}, right: {r}}}",
    }[shape]
    all_ops = ["to_list", "member?", "size", "depth", "min", "max", "sum", "leaves", "map", "reverse", "count_if"]
    chosen = ["to_list", *rng.sample(all_ops[1:], rng.randint(2, 4))]
    limit = sorted(values)[3]

    class Node:
        def __init__(self, v: int):
            self.v, self.l, self.r = v, None, None

    def build_tree(vs: list[int], dup: str) -> Any:
        root: Any = None
        for v in vs:
            if root is None:
                root = Node(v)
                continue
            at = root
            while True:
                if v == at.v and dup == "ignore":
                    break
                side = "l" if v < at.v else "r"
                if getattr(at, side) is None:
                    setattr(at, side, Node(v))
                    break
                at = getattr(at, side)
        return root

    def walk(t: Any) -> list[int]:
        return [] if t is None else [*walk(t.l), t.v, *walk(t.r)]

    def depth(t: Any) -> int:
        return 0 if t is None else 1 + max(depth(t.l), depth(t.r))

    def leaves(t: Any) -> int:
        return 0 if t is None else 1 if t.l is None and t.r is None else leaves(t.l) + leaves(t.r)

    asks = {
        "to_list": "`to_list/1` gives the values in ascending order.",
        "member?": "`member?/2` tells whether a value is in the tree.",
        "size": "`size/1` counts the values.",
        "depth": "`depth/1` is the number of levels, 0 for the empty tree.",
        "min": "`min/1` is the smallest value, or nil.",
        "max": "`max/1` is the largest value, or nil.",
        "sum": "`sum/1` adds up the values.",
        "leaves": "`leaves/1` counts the nodes without children.",
        "map": "`map/2` applies a function to every value and leaves the shape as it is.",
        "reverse": "`reverse/1` mirrors the tree.",
        "count_if": "`count_if/2` counts the values for which a function holds.",
    }

    def build(c: Choices) -> Program:
        there = [op for op in all_ops if c.get(op)]
        n = node("left", "value", "right")
        _n = lambda left="_left", v="_value", r="_right": node(left, v, r)
        dup = c["equal"]
        order = c["walk"]
        bodies = {
            "to_list": (
                f"def to_list(nil), do: []\ndef to_list({n}), do: to_list(left) ++ [value | to_list(right)]"
                if order == "plain"
                else f"def to_list(tree), do: to_list(tree, [])\n\ndefp to_list(nil, rest), do: rest\ndefp to_list({n}, rest), do: to_list(left, [value | to_list(right, rest)])"
            ),
            "member?": f"def member?(nil, _value), do: false\ndef member?({_n('_left', 'value', '_right')}, value), do: true\ndef member?({_n('left', 'here', '_right')}, value) when value < here, do: member?(left, value)\ndef member?({_n('_left', '_here', 'right')}, value), do: member?(right, value)",
            "size": f"def size(nil), do: 0\ndef size({_n('left', '_value', 'right')}), do: size(left) + 1 + size(right)",
            "depth": f"def depth(nil), do: 0\ndef depth({_n('left', '_value', 'right')}), do: 1 + max(depth(left), depth(right))",
            "min": f"def min(nil), do: nil\ndef min({_n('nil', 'value', '_right')}), do: value\ndef min({_n('left', '_value', '_right')}), do: min(left)",
            "max": f"def max(nil), do: nil\ndef max({_n('_left', 'value', 'nil')}), do: value\ndef max({_n('_left', '_value', 'right')}), do: max(right)",
            "sum": f"def sum(nil), do: 0\ndef sum({n}), do: sum(left) + value + sum(right)",
            "leaves": f"def leaves(nil), do: 0\ndef leaves({_n('nil', '_value', 'nil')}), do: 1\ndef leaves({_n('left', '_value', 'right')}), do: leaves(left) + leaves(right)",
            "map": f"def map(nil, _function), do: nil\n\ndef map({n}, function) do\n  {node('map(left, function)', 'function.(value)', 'map(right, function)')}\nend",
            "reverse": f"def reverse(nil), do: nil\ndef reverse({n}), do: {node('reverse(right)', 'value', 'reverse(left)')}",
            "count_if": f"def count_if(nil, _function), do: 0\n\ndef count_if({n}, function) do\n  here = if function.(value), do: 1, else: 0\n  count_if(left, function) + here + count_if(right, function)\nend",
        }
        types = {
            "to_list": "to_list(t()) :: [integer()]",
            "member?": "member?(t(), integer()) :: boolean()",
            "size": "size(t()) :: non_neg_integer()",
            "depth": "depth(t()) :: non_neg_integer()",
            "min": "min(t()) :: integer() | nil",
            "max": "max(t()) :: integer() | nil",
            "sum": "sum(t()) :: integer()",
            "leaves": "leaves(t()) :: non_neg_integer()",
            "map": "map(t(), (integer() -> integer())) :: t()",
            "reverse": "reverse(t()) :: t()",
            "count_if": "count_if(t(), (integer() -> boolean())) :: non_neg_integer()",
        }
        said = {op: asks[op].partition("` ")[2] for op in all_ops}
        new_node = node("nil", "value", "nil")
        same = f"def insert({_n('_left', 'value', '_right')} = tree, value), do: tree\n" if dup == "ignore" else ""
        insert = (
            f"def insert(nil, value), do: {new_node}\n{same}\n"
            f"def insert({node('left', 'here', 'right')}, value) when value < here do\n  {node('insert(left, value)', 'here', 'right')}\nend\n\n"
            f"def insert({node('left', 'here', 'right')}, value) do\n  {node('left', 'here', 'insert(right, value)')}\nend"
        )
        type_ = {
            "tuple": "@type t :: nil | {t(), integer(), t()}",
            "map": "@type t :: nil | %{left: t(), value: integer(), right: t()}",
            "struct": "defstruct [:value, :left, :right]\n\n@type t :: nil | %__MODULE__{value: integer(), left: t(), right: t()}",
        }[shape]
        parts = [
            type_,
            '@doc "A tree of the values of a list."\n@spec new([integer()]) :: t()\ndef new(values \\\\ []), do: Enum.reduce(values, nil, &insert(&2, &1))',
            f'@doc "Adds a value."\n@spec insert(t(), integer()) :: t()\n{insert}',
        ]
        for op in there:
            doc = said[op][0].upper() + said[op][1:]
            parts.append(f'@doc "{doc}"\n@spec {types[op]}\n{bodies[op]}')
        parts = [
            part.replace("max(depth(left), depth(right))", "Kernel.max(depth(left), depth(right))")
            if "max" in there
            else part
            for part in parts
        ]
        code = module(name, "A binary search tree. The empty tree is nil.", *parts)
        t, dups = build_tree(values, dup), [values[0], values[1], values[0]]
        td = build_tree(dups, dup)
        given = literal(values)
        facts = {
            "to_list": [f"assert {name}.to_list(tree) == {literal(walk(t))}"],
            "member?": [
                f"assert {name}.member?(tree, {values[4]})",
                f"refute {name}.member?(tree, 99)",
                f"refute {name}.member?(nil, 1)",
            ],
            "size": [f"assert {name}.size(tree) == 6", f"assert {name}.size(nil) == 0"],
            "depth": [
                f"assert {name}.depth(tree) == {depth(t)}",
                f"assert {name}.depth(nil) == 0",
                f"assert {name}.depth({name}.new([1, 2, 3])) == 3",
            ],
            "min": [f"assert {name}.min(tree) == {min(values)}", f"assert {name}.min(nil) == nil"],
            "max": [f"assert {name}.max(tree) == {max(values)}", f"assert {name}.max(nil) == nil"],
            "sum": [f"assert {name}.sum(tree) == {sum(values)}"],
            "leaves": [f"assert {name}.leaves(tree) == {leaves(t)}", f"assert {name}.leaves(nil) == 0"],
            "map": [f"assert tree |> {name}.map(&(&1 * 2)) |> {name}.to_list() == {literal([2 * v for v in walk(t)])}"],
            "reverse": [f"assert tree |> {name}.reverse() |> {name}.to_list() == {literal(walk(t)[::-1])}"],
            "count_if": [
                f"assert {name}.count_if(tree, &(&1 > {limit})) == {sum(v > limit for v in values)}",
                f"assert {name}.count_if(nil, & &1) == 0",
            ],
        }
        tests = exunit(
            name,
            *[check(op, f"tree = {name}.new({given})\n\n" + "\n".join(facts[op])) for op in there],
            check(
                "repeated values", f"assert {literal(dups)} |> {name}.new() |> {name}.to_list() == {literal(walk(td))}"
            ),
            check("the empty tree", f"assert {name}.new() == nil\nassert {name}.to_list(nil) == []"),
        )
        return Program(
            code=code,
            tests=tests,
            explanation="A tree is nil or a node with a left and a right tree, so every function has a clause for nil and one that calls itself on both sides. Smaller values are on the left, which is why going left, node, right gives them in order.",
            faults=(
                Fault(
                    "when value < here do",
                    "when value > here do",
                    "inverted_condition",
                    "Larger values go to the left, so the order is reversed.",
                ),
                Fault("1 + Kernel.max(", "Kernel.max(", "off_by_one", "A level is never counted."),
                Fault("1 + max(", "max(", "off_by_one", "A level is never counted."),
                Fault(
                    "size(left) + 1 + size(right)",
                    "1 + size(right)",
                    "missing_recursion",
                    "The left side is not counted.",
                ),
                Fault(
                    "sum(left) + value + sum(right)",
                    "sum(left) + sum(right)",
                    "missing_term",
                    "The node's own value is left out.",
                ),
                Fault(same, "", "missing_clause", "A value that is there already is inserted once more.")
                if same
                else Fault(
                    "value < here",
                    "value <= here and value < 0",
                    "wrong_condition",
                    "Values are never put on the left side.",
                ),
            ),
            signatures=[types[op] for op in there],
        )

    axes = {
        op: (
            Axis(ways={True: Way(ask=asks[op])})
            if op in chosen
            else Axis(ways={False: Way(), True: Way(ask=asks[op], request=f"Please add one more function. {asks[op]}")})
        )
        for op in all_ops
    }
    axes["equal"] = Axis(
        ways={
            "ignore": Way(ask="Inserting a value that is there already changes nothing.", answer="It is ignored."),
            "keep": Way(ask="A value may be in the tree several times.", answer="It is kept a second time."),
        },
        question="What happens when a value is inserted that is in the tree already?",
    )
    axes["walk"] = style("plain", "accumulator")
    return draw(
        rng,
        family="recursion_tree",
        name=f"{name}.insert/2",
        module=name,
        titles=(
            "a binary search tree of integers with `new/1` (from a list) and `insert/2`; nil is the empty tree",
            f"a search tree for the {e.amount.name} of {e.plural} with `new/1` and `insert/2`, where nil is the empty tree",
        ),
        axes=axes,
        build=build,
        operations=("recursion", "tree", shape),
        difficulty=3,
        start={op: op in chosen for op in all_ops},
    )


def sorting(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    kind = rng.choice(["merge", "quick", "insertion", "selection"])
    name = rng.choice(["sort", f"{kind}_sort", "sorted"])
    values = [rng.randint(1, 50) for _ in range(6)]
    values[3] = values[0]

    def code(c: Choices) -> str:
        less = {"up": "<=", "down": ">="}[c["order"]]
        strict = {"up": "<", "down": ">"}[c["order"]]
        unique = c["unique"]
        if kind == "merge":
            text = fill(
                """
                def $f([]), do: []
                def $f([one]), do: [one]

                def $f(list) do
                  {left, right} = Enum.split(list, div(length(list), 2))
                  merge($f(left), $f(right))
                end

                defp merge([], right), do: right
                defp merge(left, []), do: left
                defp merge([one | left], [two | _] = right) when one $less two, do: [one | merge(left, right)]
                defp merge(left, [two | right]), do: [two | merge(left, right)]
                """,
                less=less,
            )
            if unique:
                text = text.replace(
                    "defp merge([one | left], [two | _] = right) when",
                    "defp merge([same | left], [same | _] = right), do: merge(left, right)\ndefp merge([one | left], [two | _] = right) when",
                )
        elif kind == "quick":
            text = fill(
                """
                def $f([]), do: []

                def $f([pivot | rest]) do
                  {before, later} = Enum.split_with(rest, &(&1 $strict pivot))
                  $f(before) ++ [pivot | $f($later)]
                end
                """,
                strict=strict,
                later="Enum.reject(later, &(&1 == pivot))" if unique else "later",
            )
        elif kind == "insertion":
            text = fill(
                """
                def $f(list), do: Enum.reduce(list, [], &insert/2)

                defp insert(one, []), do: [one]
                $same
                defp insert(one, [head | tail]) when one $less head, do: [one, head | tail]
                defp insert(one, [head | tail]), do: [head | insert(one, tail)]
                """,
                less=less,
                same="defp insert(one, [one | tail]), do: [one | tail]" if unique else "",
            )
        else:
            text = fill(
                """
                def $f([]), do: []

                def $f(list) do
                  best = Enum.$best(list)
                  [best | $f($rest)]
                end
                """,
                best="min" if c["order"] == "up" else "max",
                rest="Enum.reject(list, &(&1 == best))" if unique else "List.delete(list, best)",
            )
        return fill(text, f=name)

    def run(c: Choices) -> Callable[..., Any]:
        return lambda vs: sorted(set(vs) if c["unique"] else vs, reverse=c["order"] == "down")

    return exercise(
        rng,
        Task(
            function=name,
            arguments=((f"{e.amount.name}s", "[integer()]"),),
            returns="[integer()]",
            documentation=f"The numbers sorted, by {kind} sort.",
            titles=(
                f"`{name}/1`, a {kind} sort without `Enum.sort`",
                f"a {kind} sort for a list of {e.amount.name}s as `{name}/1`",
                f"a recursive {kind} sort, `{name}/1`",
            ),
            axes={
                "order": Axis(
                    ways={
                        "up": Way(ask="Ascending.", answer="Ascending."),
                        "down": Way(ask="Descending.", answer="Descending.", request="I need it in descending order."),
                    },
                    question="In ascending or in descending order?",
                ),
                "unique": Axis(
                    ways={
                        False: Way(ask="Equal numbers stay.", answer="They all stay."),
                        True: Way(
                            ask="Each number is in the result once.",
                            answer="Each is in the result once.",
                            request="Drop the repeated numbers while you sort.",
                        ),
                    },
                    question="Should numbers that occur several times be in the result once or as often as they occur?",
                ),
            },
            code=code,
            run=run,
            samples=[(values,), (values[:3],)],
            edges=[
                ([],),
                ([values[0]],),
                (sorted(values),),
                (sorted(values, reverse=True),),
                ([values[0], values[0]],),
            ],
            faults=(
                Fault("one <= two", "one > two", "inverted_condition", "The merge takes the larger one first."),
                Fault("one >= two", "one < two", "inverted_condition", "The merge takes the smaller one first."),
                Fault(
                    "merge(left, []), do: left",
                    "merge(_left, []), do: []",
                    "lost_value",
                    "What is left on one side is lost.",
                ),
                Fault("&1 < pivot", "&1 > pivot", "inverted_condition", "Larger numbers come first."),
                Fault("&1 > pivot", "&1 < pivot", "inverted_condition", "Smaller numbers come first."),
                Fault(
                    "[one, head | tail]",
                    "[head, one | tail]",
                    "wrong_order",
                    "The number is put behind the one it belongs before.",
                ),
                Fault("Enum.min(", "Enum.max(", "wrong_function", "It takes the largest first."),
                Fault("Enum.max(", "Enum.min(", "wrong_function", "It takes the smallest first."),
                Fault(
                    "" if kind == "merge" else f"def {name}([]), do: []\n",
                    "" if kind == "merge" else "\n",
                    "missing_clause",
                    "Nothing ends the recursion at the empty list.",
                ),
            ),
            explanation={
                "merge": "Lists of at most one element are sorted; longer ones are cut in half, sorted, and merged by taking the better head each time.",
                "quick": "The first element is the pivot; the others are parted by it, and both parts are sorted in the same way.",
                "insertion": "Every number is put into its place in a list that is sorted already.",
                "selection": "The best number comes first, and the rest is sorted in the same way.",
            }[kind],
        ),
        family="recursion_sorting",
        module_name=in_context(
            rng, camel(rng.choice([f"{e.singular}_sorting", "sorting", f"{kind}_sort", "ordering"]))
        ),
        difficulty=3,
        operations=("recursion", f"{kind}_sort"),
    )


def interpreter(rng: random.Random) -> Draft:
    """Expressions as tuples: evaluated, printed, simplified."""
    ops: dict[str, tuple[str, Callable[[int, int], int]]] = {
        "add": ("+", lambda a, b: a + b),
        "mul": ("*", lambda a, b: a * b),
        "sub": ("-", lambda a, b: a - b),
        "max": ("max", max),
        "min": ("min", min),
    }
    chosen = ["add", *rng.sample(["mul", "sub", "max", "min"], rng.randint(1, 2))]
    has_div, has_neg, has_if, has_let = rng.random() < 0.6, rng.random() < 0.5, rng.random() < 0.4, rng.random() < 0.4
    name = in_context(rng, rng.choice(["Calculator", "Expression", "Formula", "Evaluator", "Rules"]))
    function = rng.choice(["eval", "evaluate", "run", "value"])
    var = rng.choice(["x", "total", "rate", "size"])
    n = [rng.randint(1, 9) for _ in range(5)]

    def build(c: Choices) -> Program:
        tagged = c["errors"] == "tuple"
        clauses, tests = [], []
        f = function
        A = Atom

        def bin_clause(tag: str, text: str) -> str:
            if tagged:
                return f"def {f}({{:{tag}, left, right}}, variables) do\n  with {{:ok, a}} <- {f}(left, variables),\n       {{:ok, b}} <- {f}(right, variables) do\n    {{:ok, {text}}}\n  end\nend"
            return f"def {f}({{:{tag}, left, right}}, variables) do\n  {text.replace('§a', f'{f}(left, variables)').replace('§b', f'{f}(right, variables)')}\nend"

        one = "def $f(number, _variables) when is_number(number), do: " + ("{:ok, number}" if tagged else "number")
        name_clause = (
            "def $f(name, variables) when is_atom(name) do\n  case variables do\n    %{^name => value} -> {:ok, value}\n    %{} -> {:error, {:unbound, name}}\n  end\nend"
            if tagged
            else "def $f(name, variables) when is_atom(name), do: Map.fetch!(variables, name)"
        )
        clauses += [one, name_clause]
        for tag in chosen:
            symbol = ops[tag][0]
            a, b = ("a", "b") if tagged else ("§a", "§b")
            clauses.append(bin_clause(tag, f"{symbol}({a}, {b})" if symbol.isalpha() else f"{a} {symbol} {b}"))
        if has_div:
            clauses.append(
                f"def {f}({{:div, left, right}}, variables) do\n  with {{:ok, a}} <- {f}(left, variables),\n       {{:ok, b}} when b != 0 <- {f}(right, variables) do\n    {{:ok, div(a, b)}}\n  else\n    {{:ok, 0}} -> {{:error, :division_by_zero}}\n    error -> error\n  end\nend"
                if tagged
                else f"def {f}({{:div, left, right}}, variables), do: div({f}(left, variables), {f}(right, variables))"
            )
        if has_neg or c["neg"]:
            clauses.append(
                f"def {f}({{:neg, inner}}, variables) do\n  with {{:ok, a}} <- {f}(inner, variables), do: {{:ok, -a}}\nend"
                if tagged
                else f"def {f}({{:neg, inner}}, variables), do: -{f}(inner, variables)"
            )
        if has_if:
            clauses.append(
                f"def {f}({{:if, test, yes, no}}, variables) do\n  with {{:ok, value}} <- {f}(test, variables) do\n    if value == 0, do: {f}(no, variables), else: {f}(yes, variables)\n  end\nend"
                if tagged
                else f"def {f}({{:if, test, yes, no}}, variables) do\n  if {f}(test, variables) == 0, do: {f}(no, variables), else: {f}(yes, variables)\nend"
            )
        if has_let:
            clauses.append(
                f"def {f}({{:let, name, inner, body}}, variables) do\n  with {{:ok, value}} <- {f}(inner, variables) do\n    {f}(body, Map.put(variables, name, value))\n  end\nend"
                if tagged
                else f"def {f}({{:let, name, inner, body}}, variables) do\n  {f}(body, Map.put(variables, name, {f}(inner, variables)))\nend"
            )
        text = clauses[0]
        for before, clause in pairwise(clauses):
            text += ("\n\n" if "\n" in before or "\n" in clause else "\n") + clause
        text = fill(text, f=f)
        to_text = ""
        if c["show"]:
            lines = [
                "def to_text(number) when is_number(number), do: to_string(number)",
                "def to_text(name) when is_atom(name), do: Atom.to_string(name)",
            ]
            for tag in chosen:
                s = ops[tag][0]
                lines.append(
                    f'def to_text({{:{tag}, left, right}}), do: "{s}(#{{to_text(left)}}, #{{to_text(right)}})"'
                    if s.isalpha()
                    else f'def to_text({{:{tag}, left, right}}), do: "(#{{to_text(left)}} {s} #{{to_text(right)}})"'
                )
            to_text = (
                '@doc "An expression as people write it."\n@spec to_text(expression()) :: String.t()\n'
                + "\n".join(lines)
            )
        shapes = [f"{{:{tag}, expression(), expression()}}" for tag in [*chosen, *(["div"] if has_div else [])]]
        shapes += (
            ["{:neg, expression()}"] * bool(has_neg or c["neg"])
            + ["{:if, expression(), expression(), expression()}"] * has_if
            + ["{:let, atom(), expression(), expression()}"] * has_let
        )
        type_ = "@type expression ::\n        number()\n        | atom()\n" + "\n".join(
            f"        | {each}" for each in shapes
        )
        code = module(
            name,
            "Evaluates arithmetic expressions that are written as nested tuples.",
            type_,
            fill(
                '@doc "The value of an expression, given those of its variables."\n@spec $f(expression(), %{optional(atom()) => number()}) :: $returns\n$text',
                f=f,
                text=text,
                returns="{:ok, number()} | {:error, term()}" if tagged else "number()",
            ),
            to_text,
        )
        ok = lambda v: (A("ok"), v) if tagged else v

        def claim(expression: Any, value: Any, env: str = "%{}") -> str:
            return f"assert {name}.{f}({literal(expression)}, {env}) == {literal(value)}"

        for tag in chosen:
            run = ops[tag][1]
            tests.append(
                check(
                    tag,
                    "\n".join(
                        [
                            claim((A(tag), n[0], n[1]), ok(run(n[0], n[1]))),
                            claim((A(tag), (A("add"), n[2], n[3]), n[4]), ok(run(n[2] + n[3], n[4]))),
                        ]
                    ),
                )
            )
        tests.append(
            check(
                "variables and numbers",
                "\n".join(
                    [
                        claim(n[0], ok(n[0])),
                        claim(A(var), ok(n[1]), f"%{{{var}: {n[1]}}}"),
                        claim(A(var), (A("error"), (A("unbound"), A(var))))
                        if tagged
                        else f"assert_raise KeyError, fn -> {name}.{f}(:{var}, %{{}}) end",
                    ]
                ),
            )
        )
        if has_div:
            tests.append(
                check(
                    "division",
                    "\n".join(
                        [
                            claim((A("div"), n[0] * n[1], n[1]), ok(n[0])),
                            claim((A("div"), 1, 0), (A("error"), A("division_by_zero")))
                            if tagged
                            else f"assert_raise ArithmeticError, fn -> {name}.{f}({{:div, 1, 0}}, %{{}}) end",
                        ]
                    ),
                )
            )
        if has_neg or c["neg"]:
            tests.append(check("negation", claim((A("neg"), (A("add"), n[0], n[1])), ok(-(n[0] + n[1])))))
        if has_if:
            tests.append(
                check(
                    "if",
                    claim((A("if"), 0, n[0], n[0] + 1), ok(n[0] + 1))
                    + "\n"
                    + claim((A("if"), 5, n[0], A("unknown")), ok(n[0])),
                )
            )
        if has_let:
            tests.append(check("let", claim((A("let"), A(var), n[0], (A("add"), A(var), n[1])), ok(n[0] + n[1]))))
        if c["show"]:
            tests.append(
                check(
                    "to_text/1",
                    f'assert {name}.to_text({{:add, {n[0]}, {{:add, :{var}, {n[1]}}}}}) == "({n[0]} + ({var} + {n[1]}))"',
                )
            )
        return Program(
            code=code,
            tests=exunit(name, *tests),
            explanation="Every form of expression has a clause of its own, which evaluates its parts by calling the function again. "
            + (
                "`with` passes on the first part that went wrong."
                if tagged
                else "Numbers and variables end the recursion."
            ),
            faults=(
                Fault(
                    f"def {f}({{:add, left, right}}, variables) do\n    {f}(left, variables) + ",
                    f"def {f}({{:add, left, right}}, variables) do\n    {f}(left, variables) - ",
                    "wrong_operation",
                    "Addition subtracts.",
                ),
                Fault("{:ok, a + b}", "{:ok, a - b}", "wrong_operation", "Addition subtracts."),
                Fault("== 0, do: ", "!= 0, do: ", "inverted_condition", "The branches of `:if` are swapped."),
                Fault(
                    "{:error, {:unbound, name}}",
                    "{:ok, 0}",
                    "wrong_error",
                    "A variable without a value silently counts as 0.",
                ),
                Fault("{:error, :division_by_zero}", "{:ok, 0}", "wrong_error", "Dividing by zero silently gives 0."),
                Fault(
                    "Map.fetch!(variables, name)",
                    "Map.get(variables, name, 0)",
                    "wrong_error",
                    "A variable without a value silently counts as 0.",
                ),
                Fault(
                    "Map.put(variables, name, ",
                    "Map.put_new(%{}, :other, ",
                    "wrong_scope",
                    "`:let` binds the wrong name.",
                ),
            ),
            signatures=[f"{function}(expression(), variables)"],
        )

    words = {"add": "sum", "mul": "product", "sub": "difference", "max": "larger", "min": "smaller"}
    forms = ", ".join(
        [
            *(f"`{{:{tag}, a, b}}` ({words[tag]})" for tag in chosen),
            *(["`{:div, a, b}` (integer division)"] if has_div else []),
            *(["`{:neg, a}`"] if has_neg else []),
            *(["`{:if, test, yes, no}` (0 is false)"] if has_if else []),
            *(["`{:let, name, value, body}`"] if has_let else []),
        ]
    )
    return draw(
        rng,
        family="recursion_interpreter",
        name=f"{name}.{function}/2",
        module=name,
        titles=(
            f"an evaluator `{function}/2` for arithmetic expressions written as tuples",
            f"`{function}(expression, variables)`, a small interpreter for nested tuples",
        ),
        axes={
            "forms": Axis(
                ways={
                    "it": Way(
                        ask=f"An expression is a number, a variable (an atom), or one of: {forms}. The second argument is a map with the values of the variables."
                    )
                }
            ),
            "errors": Axis(
                ways={
                    "raise": Way(
                        ask="A variable without a value raises a `KeyError`"
                        + (", division by zero an `ArithmeticError`." if has_div else "."),
                        answer="Let it raise: a KeyError" + (" or an ArithmeticError." if has_div else "."),
                    ),
                    "tuple": Way(
                        ask="It answers `{:ok, value}`, or `{:error, {:unbound, name}}` for a variable without a value"
                        + (" and `{:error, :division_by_zero}`." if has_div else "."),
                        answer="With error tuples: `{:error, {:unbound, name}}`"
                        + (" and `{:error, :division_by_zero}`." if has_div else ".")
                        + " Then results are `{:ok, value}`.",
                        request="Return `{:ok, value}` and `{:error, reason}` instead of raising: `{:unbound, name}`"
                        + (" and `:division_by_zero` are the reasons." if has_div else " is the reason."),
                    ),
                },
                question="How should it report a variable without a value: with an exception or an error tuple?",
            ),
            "neg": Axis(
                ways={
                    False: Way(),
                    True: Way(ask="`{:neg, a}` negates.", request="Support `{:neg, a}`, which negates."),
                },
                when=lambda c: not has_neg,
            ),
            "show": wanted(
                "`to_text/1` writes an expression (without division, negation and the like) with brackets around every operation.",
                "Add `to_text/1`, which writes sums and the other operations of two parts with brackets around each.",
            ),
        },
        build=build,
        operations=("recursion", "interpreter", *chosen),
        difficulty=4,
        start={"neg": False} if has_neg else None,
    )


def combinatorics(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    a = e.label.draw_many(rng, 3)
    k, target = rng.randint(2, 3), rng.randint(5, 9)
    import itertools as it

    def coins(n: int) -> int:
        values = sorted({1, k, k + 3}, reverse=True)

        def go(n: int, vs: list[int]) -> int:
            return 1 if n == 0 else 0 if n < 0 or not vs else go(n - vs[0], vs) + go(n, vs[1:])

        return go(n, values)

    coin_list = ", ".join(map(str, sorted({1, k, k + 3}, reverse=True)))
    table: list[tuple[str, str, str, str, Any, dict[str, str], list[tuple[Any, ...]], str, str]] = [
        (
            "permutations",
            "all orders of the elements of a list",
            "list()",
            "[list()]",
            lambda xs: [list(p) for p in it.permutations(xs)],
            {
                "for": "def $f([]), do: [[]]\ndef $f(list), do: for(first <- list, rest <- $f(list -- [first]), do: [first | rest])",
                "flat_map": "def $f([]), do: [[]]\n\ndef $f(list) do\n  Enum.flat_map(list, fn first ->\n    Enum.map($f(list -- [first]), &[first | &1])\n  end)\nend",
            },
            [(a,), (a[:2],), ([],)],
            "[first]",
            "[]",
        ),
        (
            "subsets",
            "all subsets of a list, those with its first element before the others",
            "list()",
            "[list()]",
            lambda xs: (lambda f: f(f, xs))(
                lambda f, v: [[]] if not v else [[v[0], *r] for r in f(f, v[1:])] + f(f, v[1:])
            ),
            {
                "for": "def $f([]), do: [[]]\n\ndef $f([head | tail]) do\n  rest = $f(tail)\n  for(subset <- rest, do: [head | subset]) ++ rest\nend",
                "map": "def $f([]), do: [[]]\n\ndef $f([head | tail]) do\n  rest = $f(tail)\n  Enum.map(rest, &[head | &1]) ++ rest\nend",
            },
            [(a,), (a[:1],), ([],)],
            " ++ rest",
            "",
        ),
        (
            f"choose_{k}",
            f"all ways to choose {k} elements of a list, in its order",
            "list()",
            "[list()]",
            lambda xs: [list(p) for p in it.combinations(xs, k)],
            {
                "clauses": f"def $f(list), do: choose(list, {k})\n\ndefp choose(_list, 0), do: [[]]\ndefp choose([], _count), do: []\n\ndefp choose([head | tail], count) do\n  with_head = for rest <- choose(tail, count - 1), do: [head | rest]\n  with_head ++ choose(tail, count)\nend",
                "map": f"def $f(list), do: choose(list, {k})\n\ndefp choose(_list, 0), do: [[]]\ndefp choose([], _count), do: []\n\ndefp choose([head | tail], count) do\n  Enum.map(choose(tail, count - 1), &[head | &1]) ++ choose(tail, count)\nend",
            },
            [([*a, "x"],), (a[:1],), ([],), (a[:k],)],
            " ++ choose(tail, count)",
            "",
        ),
        (
            "ways",
            f"in how many ways an amount can be paid with coins of {coin_list}",
            "non_neg_integer()",
            "non_neg_integer()",
            coins,
            {
                "clauses": f"def $f(amount), do: $f(amount, [{coin_list}])\n\ndefp $f(0, _coins), do: 1\ndefp $f(amount, coins) when amount < 0 or coins == [], do: 0\ndefp $f(amount, [coin | rest] = coins), do: $f(amount - coin, coins) + $f(amount, rest)",
                "cond": f"def $f(amount), do: $f(amount, [{coin_list}])\n\ndefp $f(amount, coins) do\n  cond do\n    amount == 0 -> 1\n    amount < 0 or coins == [] -> 0\n    true -> $f(amount - hd(coins), coins) + $f(amount, tl(coins))\n  end\nend",
            },
            [(target,), (target + 6,), (0,), (1,)],
            ", coins) + ",
            ", coins -- coins) + ",
        ),
        (
            "words",
            f"all texts of length n made of the letters a and {'bcd'[k - 1]}, in alphabetical order",
            "non_neg_integer()",
            "[String.t()]",
            lambda n: ["".join(p) for p in it.product(sorted({"a", "bcd"[k - 1]}), repeat=n)],
            {
                "for": f'def $f(0), do: [""]\ndef $f(n), do: for(letter <- ["a", "{"bcd"[k - 1]}"], rest <- $f(n - 1), do: letter <> rest)',
                "flat_map": f'def $f(0), do: [""]\n\ndef $f(n) do\n  Enum.flat_map(["a", "{"bcd"[k - 1]}"], fn letter -> Enum.map($f(n - 1), &(letter <> &1)) end)\nend',
            },
            [(2,), (1,), (0,), (3,)],
            "n - 1)",
            "n - n)",
        ),
        (
            "hanoi",
            "the moves that bring a tower of n discs from :a to :c over :b, as pairs",
            "non_neg_integer()",
            "[{atom(), atom()}]",
            lambda n: (lambda f: f(f, n, "a", "b", "c"))(
                lambda f, n, x, y, z: (
                    [] if n == 0 else [*f(f, n - 1, x, z, y), (Atom(x), Atom(z)), *f(f, n - 1, y, x, z)]
                )
            ),
            {
                "concat": "def $f(n), do: move(n, :a, :b, :c)\n\ndefp move(0, _from, _over, _to), do: []\n\ndefp move(n, from, over, to) do\n  move(n - 1, from, to, over) ++ [{from, to} | move(n - 1, over, from, to)]\nend",
                "acc": "def $f(n), do: n |> move(:a, :b, :c, []) |> Enum.reverse()\n\ndefp move(0, _from, _over, _to, moves), do: moves\n\ndefp move(n, from, over, to, moves) do\n  moves = move(n - 1, from, to, over, moves)\n  move(n - 1, over, from, to, [{from, to} | moves])\nend",
            },
            [(2,), (1,), (0,), (3,)],
            "from, to, over",
            "from, over, to",
        ),
        (
            "gcd",
            "the greatest common divisor of the numbers of a list, 0 of none",
            "[non_neg_integer()]",
            "non_neg_integer()",
            lambda xs: gcd(*xs),
            {
                "reduce": "def $f(numbers), do: Enum.reduce(numbers, 0, &euclid/2)\n\ndefp euclid(a, 0), do: a\ndefp euclid(a, b), do: euclid(b, rem(a, b))",
                "clauses": "def $f([]), do: 0\ndef $f([head | tail]), do: euclid(head, $f(tail))\n\ndefp euclid(a, 0), do: a\ndefp euclid(a, b), do: euclid(b, rem(a, b))",
            },
            [([12 * k, 18 * k, 30 * k],), ([target],), ([],), ([7, 9],)],
            "rem(a, b)",
            "div(a, b)",
        ),
        (
            "even_length?",
            "whether a list has an even number of elements, by two functions that call each other",
            "list()",
            "boolean()",
            lambda xs: len(xs) % 2 == 0,
            {
                "mutual": "def $f([]), do: true\ndef $f([_head | tail]), do: odd_length?(tail)\n\ndefp odd_length?([]), do: false\ndefp odd_length?([_head | tail]), do: $f(tail)",
                "pairs": "def $f([]), do: true\ndef $f([_one]), do: false\ndef $f([_one, _two | rest]), do: $f(rest)",
            },
            [(a,), (a[:2],), ([],), (a[:1],)],
            "do: false",
            "do: true",
        ),
    ]
    function, doc, given, returns, run, forms, samples, old, new = rng.choice(table)
    return exercise(
        rng,
        Task(
            function=function,
            arguments=(("list" if "list" in given else "n", given),),
            returns=returns,
            documentation=doc[0].upper() + doc[1:] + ".",
            titles=(
                f"`{function}/1`, which gives {doc}"
                if not doc.startswith(("in how", "whether"))
                else f"`{function}/1`, which tells {doc}",
                f"a recursive function `{function}/1`: {doc}",
            ),
            axes={"form": Axis(ways={key: Way() for key in forms}, is_style=True)},
            code=lambda c: fill(forms[c["form"]], f=function),
            run=lambda c: run,
            samples=samples[:2],
            edges=samples[2:],
            faults=(
                Fault(old, new, "wrong_step", f"`{new or 'nothing'}` stands where `{old.strip()}` belongs.")
                if new != "[]"
                else Fault(
                    "do: [[]]",
                    "do: []",
                    "wrong_base_case",
                    "The empty list has one order, the empty one; with none nothing is ever built.",
                ),
                Fault(
                    "do: [[]]", "do: []", "wrong_base_case", "With no result for the base case nothing is ever built."
                ),
            ),
            explanation="The result for a smaller input is taken as given, and each step says what the first element adds to it.",
        ),
        family="recursion_combinatorics",
        module_name=in_context(
            rng, camel(rng.choice([f"{e.singular}_combinations", "combinatorics", "arrangements", "puzzles"]))
        ),
        difficulty=4,
    )


FAMILIES: dict[str, Family] = {
    "recursion_combinatorics": combinatorics,
    "recursion_fold": fold,
    "recursion_interpreter": interpreter,
    "recursion_numbers": numbers,
    "recursion_rebuild": rebuild,
    "recursion_sorting": sorting,
    "recursion_tree": tree,
}
