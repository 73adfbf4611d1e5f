# ruff: noqa: E501  (sentences stay whole)
"""A whole draft from a chain: programs in several styles, tests, faults, an ambiguous twin, what is asked next."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from elixir_coder.data.synthesis import render
from elixir_coder.data.synthesis.compose import Chain, can_lift, extended
from elixir_coder.data.synthesis.draft import Ambiguity, Broken, Draft, FollowUp, Reading
from elixir_coder.data.synthesis.lambdas import Mapping, Predicate
from elixir_coder.data.synthesis.operations.step import identifier
from elixir_coder.data.synthesis.phrasing import (
    capital,
    documentation,
    explanation,
    given_words,
    imperative,
    instructions,
    is_clear,
    sequence,
    third,
    verbs_of,
    worded,
    wrapped,
)
from elixir_coder.data.synthesis.render import Frame, loop_of, split_pipe, written
from elixir_coder.data.synthesis.types import literal

MAX_BROKEN = 3

_RESERVED = set(
    "length hd tl max min abs round trunc rem div elem not and or in if for fn def node self apply send spawn tuple_size "
    "map_size byte_size inspect then tap binding floor ceil to_string to_charlist raise throw exit quote unquote case cond "
    "do end when with after else rescue catch true false nil import alias require use get_in put_in sorted median mean "
    "factors digit_sum prime? square? clamp slug initials mask classify collatz divisors factorial shares sorted? cond_sign "
    "length_class count_vowels palindrome? numbers words".split()
)
_GENERAL = {
    "list": ["select", "pick", "prepare", "collect", "filtered", "process"],
    "map": ["summarize", "overview", "index", "report", "tally"],
    "bool": ["valid?", "matches?", "check"],
    "str": ["format", "render", "describe", "normalize"],
    "int": ["compute", "measure", "score", "evaluate", "figure"],
    "float": ["compute", "measure", "ratio"],
    "option": ["pick", "choose", "best", "lookup"],
    "tuple": ["split", "divide", "bounds"],
    "set": ["collect", "distinct"],
}

# What people write who come from other languages, or from memory.
_MISNAMED = (
    ("Enum.filter(", "Enum.select(", "There is no `Enum.select/2`; the function is `Enum.filter/2`."),
    ("Enum.reject(", "Enum.remove(", "There is no `Enum.remove/2`; dropping what matches is `Enum.reject/2`."),
    ("Enum.map(", "Enum.collect(", "There is no `Enum.collect/2`; the function is `Enum.map/2`."),
    ("Enum.map(", "List.map(", "`List` has no `map/2`; lists are mapped with `Enum.map/2`."),
    ("Enum.filter(", "List.filter(", "`List` has no `filter/2`; it is in `Enum`."),
    ("Enum.sum(", "Enum.total(", "There is no `Enum.total/1`; adding up is `Enum.sum/1`."),
    ("Enum.uniq(", "Enum.unique(", "The function is called `Enum.uniq/1`."),
    ("Enum.join(", "String.join(", "`String` has no `join`; lists of strings are joined with `Enum.join/2`."),
    ("Enum.reduce(", "Enum.fold(", "There is no `Enum.fold`; it is `Enum.reduce/3`."),
    ("Enum.count(", "Enum.length(", "`Enum` has no `length`; it is `Enum.count`, or `length/1` for lists."),
    ("Enum.sort_by(", "Enum.order_by(", "`order_by` belongs to Ecto queries; lists are sorted with `Enum.sort_by/2`."),
    ("Enum.group_by(", "Enum.group(", "The function is called `Enum.group_by/2`."),
    ("Enum.take(", "Enum.first(", "There is no `Enum.first/2`; the first n elements are `Enum.take/2`."),
    ("Enum.drop(", "Enum.skip(", "There is no `Enum.skip/2`; it is `Enum.drop/2`."),
    ("Enum.find(", "Enum.detect(", "`detect` is Ruby's name; in Elixir it is `Enum.find/2`."),
    ("Enum.any?(", "Enum.some?(", "There is no `Enum.some?`; it is `Enum.any?/2`."),
    ("Enum.all?(", "Enum.every?(", "There is no `Enum.every?`; it is `Enum.all?/2`."),
    ("String.upcase(", "String.to_upper(", "The function is called `String.upcase/1`."),
    ("String.downcase(", "String.lower(", "The function is called `String.downcase/1`."),
    ("String.length(", "String.size(", "There is no `String.size/1`; it is `String.length/1`."),
    ("String.trim(", "String.strip(", "`String.strip/1` is gone since Elixir 1.3; it is `String.trim/1`."),
    ("String.contains?(", "String.include?(", "`include?` is Ruby's name; it is `String.contains?/2`."),
    ("String.starts_with?(", "String.start_with?(", "The name is `String.starts_with?/2`, with an s."),
    ("String.replace(", "String.gsub(", "`gsub` is Ruby's name; it is `String.replace/3`."),
    ("String.graphemes(", "String.chars(", "There is no `String.chars/1`; characters are `String.graphemes/1`."),
    ("Map.keys(", "Map.get_keys(", "The function is called `Map.keys/1`."),
    ("Map.values(", "Map.vals(", "The function is called `Map.values/1`."),
    ("Integer.digits(", "Integer.to_digits(", "The function is called `Integer.digits/1`."),
    ("Enum.frequencies(", "Enum.counts(", "The function is called `Enum.frequencies/1`."),
    ("Enum.reverse(", "List.reverse(", "`List` has no `reverse/1`; it is `Enum.reverse/1`."),
    ("MapSet.size(", "MapSet.length(", "The size of a set is `MapSet.size/1`."),
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What all programs of one draft share."""

    chain: Chain
    frame: Frame
    style: str
    calls: tuple[str, ...]  # for the tests
    empty: str  # the call without elements, "" where there is none


def draft_of(rng: random.Random, chain: Chain, family: str) -> Draft | None:
    """The draft of a chain, or None where no example tells enough."""
    module = rng.choice(chain.start.element.domain or ("Sample",))
    function = name_of(rng, chain)
    inputs = _inputs(rng, chain)
    calls, empty = _calls(rng, chain, module, function, inputs)
    about = _about(rng, chain)
    frame = Frame(
        module=module,
        function=function,
        about=about,
        documentation=documentation(chain, rng),
        examples=tuple(calls[: rng.choice([1, 1, 2])]),
    )
    style = _style(rng, chain, frame)
    plan = Plan(chain=chain, frame=frame, style=style, calls=tuple(calls), empty=empty)
    code = written(chain, frame, style)
    if code is None:
        return None
    tests = tests_of(rng, plan, chain, frame, calls)
    head = f"def {function}({', '.join(chain.names)})"
    asked = instructions(chain, rng, module=module, function=function, example=calls[0], style=style, head=head)
    if not asked:
        return None
    return Draft(
        family=family,
        name=f"{module}.{function}/{len(chain.names)}",
        operations=chain.tags,
        instructions=tuple(asked),
        code=code,
        variants=_variants(rng, plan, code),
        tests=tests,
        explanation=explanation(chain, rng, function=function, style=style, empty=empty),
        broken=_broken(rng, plan, code),
        ambiguity=_ambiguity(rng, plan) if rng.random() < 0.6 else None,
        follow_ups=_follow_ups(rng, plan) if rng.random() < 0.3 else (),
        difficulty=_difficulty(chain, style),
    )


def name_of(rng: random.Random, chain: Chain) -> str:
    """A name for the function, from what it gives where that is short."""
    slug = chain.end.slug
    for word in ("the_", "_of_the"):
        slug = slug.replace(word, "")
    if len(slug) > 26 or slug in _RESERVED or not re.fullmatch(r"[a-z]\w*\??", slug) or rng.random() < 0.12:
        kind = chain.end.type.name
        general = rng.choice(_GENERAL.get(kind, ["compute", "run", "evaluate"]))
        noun = identifier(chain.start.element.plural if chain.start.type.name == "list" else chain.start.element.one)
        slug = general if general.endswith("?") else f"{general}_{noun}"
    if slug in chain.names or slug in _RESERVED:
        slug = f"get_{slug}" if not slug.endswith("?") else f"is_{slug[:-1]}"
    return slug


def _about(rng: random.Random, chain: Chain) -> str:
    noun = chain.start.element.plural
    return rng.choice(
        [
            f"Functions for {noun}.",
            f"Works with {noun}.",
            f"Small tools for {noun}.",
            f"Helpers around {noun}.",
            f"Questions about {noun}, answered.",
        ]
    )


def _style(rng: random.Random, chain: Chain, frame: Frame) -> str:
    if rng.random() < 0.55:
        return "pipe"
    possible = [style for style in render.STYLES if written(chain, frame, style) is not None]
    return rng.choice(possible)


def _difficulty(chain: Chain, style: str) -> int:
    points = (
        len(chain.steps)
        + bool(chain.lifted)
        + (style in ("recursion", "accumulator", "reduce"))
        + any(step.helper for step in chain.steps)
    )
    return max(1, min(5, points))


# --------------------------------------------------------------------------------------------------- inputs and tests


def _inputs(rng: random.Random, chain: Chain) -> list[Any]:
    """Values for the first argument: some usual ones, then edge cases."""
    start = chain.start
    element = start.element
    if start.type.name == "list":
        size = (3, 4) if element.is_record else (4, 7)
        lists = [_list(rng, chain, rng.randint(*size) - (at == 0 and element.is_record)) for at in range(3)]
        return [*lists, [], [element.draw(rng)]]
    if start.type.name == "map":
        return [*(_map(rng, chain, rng.randint(3, 5)) for _ in range(3)), {}, _map(rng, chain, 1)]
    values = [element.draw(rng) for _ in range(4)]
    if element.type.name == "str":
        values += [rng.choice(["", "a", "Zürich", "Über uns", "  "]), rng.choice(["été", "AbC", "x", "one two  three"])]
    if element.type.name == "int":
        values += [0, 1, *([-7] if element.bounds[0] < 0 else [])]
        values += [value for step in chain.steps if step.predicate for value in step.predicate.values]
    return list({literal(value): value for value in values}.values())[:6]


def _list(rng: random.Random, chain: Chain, size: int) -> list[Any]:
    element = chain.start.element
    values = [element.draw(rng) for _ in range(size)]
    for step in chain.steps:
        if step.predicate and step.predicate.values and rng.random() < 0.8:
            edge = rng.choice(step.predicate.values)
            at = rng.randrange(size)
            tag = step.tag.split(":")[-1]
            if step.before.element is element and isinstance(values[at], int):
                values[at] = edge
            elif element.is_record:
                for name in values[at]:
                    if tag.startswith(f"{name}_") and isinstance(values[at][name], int):
                        values[at] = {**values[at], name: edge}
    if any(step.tag.split(":")[0] in _WANTS_REPEATS for step in chain.steps) or rng.random() < 0.3:
        values.insert(rng.randrange(size), rng.choice(values))
    return values


_WANTS_REPEATS = {
    "uniq",
    "dedup",
    "frequencies",
    "duplicates",
    "has_duplicates",
    "most_common",
    "count_distinct",
    "group_by",
    "uniq_by",
    "to_set",
}


def _map(rng: random.Random, chain: Chain, size: int) -> dict[Any, Any]:
    key, value = chain.start.element.fields
    return {key.draw(rng): value.draw(rng) for _ in range(size)}


def _calls(rng: random.Random, chain: Chain, module: str, function: str, inputs: list[Any]) -> tuple[list[str], str]:
    rest = [literal(parameter.value) for parameter in chain.lifted]
    calls = [f"{module}.{function}({', '.join([literal(value), *rest])})" for value in inputs]
    empty = f"{module}.{function}({', '.join(['[]', *rest])})" if chain.start.type.name == "list" else ""
    for parameter in chain.lifted:
        if isinstance(parameter.value, int) and not isinstance(parameter.value, bool):
            other = [literal(each.value + 1 if each is parameter else each.value) for each in chain.lifted]
            calls.insert(2, f"{module}.{function}({', '.join([literal(inputs[1]), *other])})")
    return calls, empty


def tests_of(
    rng: random.Random, plan: Plan | None, chain: Chain, frame: Frame, calls: Sequence[str], what: str = ""
) -> str:
    """A whole ExUnit module about the calls."""
    usual = [call for call in calls if "([])" not in call and "(%{})" not in call and "([], " not in call]
    edges = [call for call in calls if call not in usual]
    what = what or _test_name(rng, chain)
    shape = rng.choice(["plain", "plain", "described", "table", "alias"])
    target = frame.module
    lines = [
        f"defmodule {frame.module}Test do",
        f"  use ExUnit.Case{rng.choice([', async: true', ', async: true', ''])}",
        "",
    ]

    def said(call: str) -> str:
        return call.replace(f"{frame.module}.", f"{target}.", 1)

    if shape == "alias" and "." in frame.module:
        target = frame.module.rpartition(".")[2]
        lines += [f"  alias {frame.module}", ""]
    blocks: list[list[str]] = []
    if shape == "table" and len(usual) > 2 and not chain.lifted and not chain.start.element.is_record:
        cut = len(f"{frame.module}.{frame.function}(")
        rows = ",\n".join(f"{{{call[cut:-1]}, @@{call}@@}}" for call in usual)
        blocks.append(
            [
                f"test {literal(what)} do",
                f"for {{input, expected}} <- [{rows}] do",
                f"assert {target}.{frame.function}(input) == expected",
                "end",
                "end",
            ]
        )
    else:
        asserts = [_assert(said(call), call) for call in usual]
        cut_at = rng.choice([1, 2, len(asserts)])
        blocks.append([f"test {literal(what)} do", *asserts[:cut_at], "end"])
        if asserts[cut_at:]:
            blocks.append(
                [
                    f"test {literal(rng.choice(['more cases', 'other inputs', 'further examples', 'holds for other values']))} do",
                    *asserts[cut_at:],
                    "end",
                ]
            )
    for call in edges:
        name = (
            rng.choice(["handles an empty list", "with an empty list", "works without elements"])
            if "[]" in call
            else "handles an empty map"
        )
        blocks.append([f"test {literal(name)} do", _assert(said(call), call), "end"])
    body = "\n\n".join("\n".join(block) for block in blocks)
    if shape == "described":
        body = f'describe "{frame.function}/{len(chain.names)}" do\n{body}\nend'
    return "\n".join([*lines, body, "end", ""])


def _assert(said: str, call: str) -> str:
    return f"assert {said} == @@{call}@@"


def _test_name(rng: random.Random, chain: Chain) -> str:
    phrase = worded(chain, chain.end.phrase).replace("`", "")
    verbs = worded(chain, sequence([third(verb) for verb in verbs_of(chain, rng)], rng)).replace("`", "")
    names = [name for name in ([f"returns {phrase}"] if is_clear(chain) else []) + [verbs] if len(name) < 100]
    return rng.choice(names) if names else "returns what is asked for"


# --------------------------------------------------------------------------------------------------- other programs


def _variants(rng: random.Random, plan: Plan, code: str) -> tuple[str, ...]:
    chain, frame = plan.chain, plan.frame
    found: list[str] = []
    for style in render.STYLES:
        if style != plan.style and (text := written(chain, frame, style)) and text not in (code, *found):
            found.append(text)
    for at, step in enumerate(chain.steps):
        for other in step.others[:2]:
            codes = [other if number == at else each.code for number, each in enumerate(chain.steps)]
            text = render.pipe(chain, frame, codes)
            if text not in (code, *found):
                found.append(text)
    rng.shuffle(found)
    return tuple(found[:1] if rng.random() < 0.6 else found[:2])


def _broken(rng: random.Random, plan: Plan, code: str) -> tuple[Broken, ...]:
    chain, frame = plan.chain, plan.frame
    found: list[Broken] = []

    def add(text: str | None, kind: str, diagnosis: str) -> None:
        if text is not None and text != code:
            found.append(Broken(code=text, diagnosis=worded(chain, diagnosis), kind=kind))

    if plan.style in ("pipe", "named", "stream"):
        named = plan.style == "named"
        for at, step in enumerate(chain.steps):
            for fault in step.faults:
                codes = [fault.code if number == at else each.code for number, each in enumerate(chain.steps)]
                if plan.style == "stream":
                    add(
                        render.stream(render.with_codes(chain, codes), frame),
                        fault.kind,
                        fault.diagnosis.replace("`Enum.", "`Stream."),
                    )
                else:
                    add(render.pipe(chain, frame, codes, named=named), fault.kind, fault.diagnosis)
        found = rng.sample(found, min(len(found), 4))
        if len(chain.steps) > 1 and plan.style == "pipe":
            _structural(rng, plan, add)
    else:
        _loop_faults(rng, plan, add)
        found = rng.sample(found, min(len(found), 4))
    for right, wrong, words in _MISNAMED:
        if right in code and rng.random() < 0.25:
            add(
                code.replace(right, wrong, 1) if right not in code.split("iex>")[0] else None,
                "undefined_function",
                words,
            )
    _slips(rng, plan, code, add)
    rng.shuffle(found)
    kinds: list[str] = []
    chosen = []
    for broken in found:
        if kinds.count(broken.kind) < 1:
            chosen.append(broken)
            kinds.append(broken.kind)
    return tuple(chosen[:MAX_BROKEN])


def _structural(rng: random.Random, plan: Plan, add: Any) -> None:
    """A step that is forgotten, or whose result is thrown away; two in the wrong order."""
    chain, frame = plan.chain, plan.frame
    for at, step in enumerate(chain.steps):
        if step.before.type == step.after.type:
            rest = [each.code for number, each in enumerate(chain.steps) if number != at]
            fewer = replace(chain, steps=tuple(each for number, each in enumerate(chain.steps) if number != at))
            if rng.random() < 0.5:
                words = worded(chain, imperative(step.verbs[0]))
                add(
                    render.module_of(fewer, frame, render.define(fewer, frame, render.pipe_body(fewer, rest))),
                    "missing_step",
                    f"One step is missing: it does not {words}.",
                )
            if at == 0 and "{in}" not in step.code and len(split_pipe(step.code)) == 1:
                body = f"{render.call_with(step.code, chain.argument)}\n{render.pipe_body(fewer, rest)}"
                call = step.code.partition("(")[0]
                add(
                    render.module_of(chain, frame, render.define(chain, frame, body)),
                    "result_thrown_away",
                    f"The result of `{call}` is thrown away: it returns a new list and leaves `{chain.argument}` as it is, so the next line works on the old one.",
                )
    for at in range(len(chain.steps) - 1):
        one, two = chain.steps[at], chain.steps[at + 1]
        if (
            one.before.type == one.after.type == two.after.type
            and "{in}" not in one.code + two.code
            and rng.random() < 0.6
        ):
            codes = [step.code for step in chain.steps]
            codes[at], codes[at + 1] = codes[at + 1], codes[at]
            add(
                render.pipe(chain, frame, codes),
                "wrong_order",
                f"Two steps are in the wrong order: `{one.code.partition('(')[0]}` has to come before `{two.code.partition('(')[0]}`.",
            )


def _loop_faults(rng: random.Random, plan: Plan, add: Any) -> None:
    chain, frame = plan.chain, plan.frame
    for step in chain.steps:
        given: Predicate | Mapping | None = step.predicate or step.mapping
        for fault in given.faults if given is not None else ():
            if given is None or fault.code == given.expr:
                continue
            expr = fault.code
            if step.tag.startswith("reject:"):
                expr = expr.removeprefix("not ") if expr.startswith("not ") else f"not ({expr})"
            changed = replace(given, expr=expr, guard=given.guard and "." not in expr and "(" not in expr)
            loop = loop_of(chain, lambda each, step=step, changed=changed: changed if each is step else None)  # type: ignore[misc]
            if loop is not None:
                add(_in_style(plan, loop), fault.kind, fault.diagnosis)
    match plan.style:
        case "recursion":
            add(
                render.recursion(chain, frame, fault="no_base"),
                "forgotten_base_case",
                "The clause for the empty list is missing, so the recursion ends in a `FunctionClauseError`.",
            )
            add(
                render.recursion(chain, frame, fault="stops"),
                "wrong_recursion",
                "At an element that does not match the recursion stops instead of going on with the rest of the list.",
            )
            add(
                render.recursion(chain, frame, fault="start"),
                "wrong_accumulator",
                "The clause for the empty list gives the wrong start value.",
            )
            add(
                render.recursion(chain, frame, fault="no_skip"),
                "missing_clause",
                "There is no clause for elements that do not match the guard, so the first of them raises a `FunctionClauseError`.",
            )
        case "accumulator":
            add(
                render.accumulation(chain, frame, fault="no_base"),
                "forgotten_base_case",
                "The private function has no clause for the empty list and raises when it gets there.",
            )
            add(
                render.accumulation(chain, frame, fault="start"),
                "wrong_accumulator",
                "The accumulator starts with the wrong value.",
            )
            add(
                render.accumulation(chain, frame, fault="not_reversed"),
                "wrong_order",
                "Elements were put in front of the accumulator, so it has to be reversed at the end.",
            )
            add(
                render.accumulation(chain, frame, fault="stops"),
                "wrong_recursion",
                "At an element that does not match the function returns what it has instead of going on with the rest.",
            )
        case "reduce":
            loop = loop_of(chain)
            if loop and loop.reducer and loop.reducer.wrong_start:
                add(
                    render.reduction(chain, frame, start=loop.reducer.wrong_start),
                    "wrong_accumulator",
                    f"The accumulator has to start at `{loop.reducer.start}`.",
                )
            if loop and loop.conditions:
                add(
                    render.reduction(chain, frame, otherwise="nil"),
                    "wrong_default",
                    "For elements that do not match the function returns nil, which becomes the next accumulator.",
                )
            add(
                render.reduction(chain, frame, swapped=True),
                "swapped_arguments",
                "The function of `Enum.reduce/3` gets the element first and the accumulator second; here they are swapped.",
            )


def _in_style(plan: Plan, loop: render.Loop) -> str | None:
    make = {
        "recursion": render.recursion,
        "accumulator": render.accumulation,
        "comprehension": render.comprehension,
        "reduce": render.reduction,
    }[plan.style]
    return make(plan.chain, plan.frame, loop)


def _slips(rng: random.Random, plan: Plan, code: str, add: Any) -> None:
    """Slips of the pen that the compiler or the first call finds."""
    chain = plan.chain
    head = f"def {plan.frame.function}("
    before, _, after = code.partition(head)
    if rng.random() < 0.12 and re.search(r"\|> Enum\.\w+\(&", after):
        changed = re.sub(r"\|> (Enum\.\w+)\(&", rf"|> \1({chain.argument}, &", after, count=1)
        add(
            before + head + changed,
            "wrong_pipe_position",
            "The pipe already passes the list as the first argument; naming it again calls a function with one argument too many.",
        )
    if rng.random() < 0.1 and f"({chain.argument}, &" in after:
        changed = re.sub(rf"\({chain.argument}, (&[^\n]*?)\)(, do:|\n| )", rf"(\1, {chain.argument})\2", after, count=1)
        changed = changed if changed != after else ""
        if changed:
            add(
                before + head + changed,
                "swapped_arguments",
                "`Enum` functions take the collection first and the function second.",
            )
    if rng.random() < 0.12:
        public = plan.frame.function
        wrong = public.rstrip("?") + "s" if not public.endswith("s") else public[:-1]
        changed = re.sub(rf"(def |@spec ){re.escape(public)}\(", rf"\g<1>{wrong}(", code)
        if f" {public}(" not in changed.split("def ", 1)[-1]:
            add(
                changed,
                "wrong_name",
                f"The function is called `{wrong}`, but `{public}` is what was asked for and what the tests call.",
            )


# --------------------------------------------------------------------------------------------------- the open fact


def _ambiguity(rng: random.Random, plan: Plan) -> Ambiguity | None:
    chain, frame = plan.chain, plan.frame
    open_steps = [at for at, step in enumerate(chain.steps) if step.open_fact]
    if not open_steps:
        return None
    at = rng.choice(open_steps)
    fact = chain.steps[at].open_fact
    assert fact is not None
    verb, question, answers = fact
    verbs = verbs_of(chain, rng)
    verbs[at] = verb
    # A name such as `descending_scores` would say what the instruction leaves open.
    kind = _GENERAL.get(chain.end.type.name, ["compute"])[0]
    function = kind if kind.endswith("?") else f"{kind}_{identifier(chain.start.element.plural)}"
    calls = [_renamed_call(call, frame, function) for call in _few(plan)]
    frame = replace(frame, function=function)
    name = f"{frame.function}/{len(chain.names)}"
    asked = sequence([imperative(each) for each in verbs], rng)
    thirds = sequence([third(each) for each in verbs], rng)
    instruction = rng.choice([
        f"Write a function `{name}` in `{frame.module}` that takes {given_words(chain, rng)} and {thirds}.",
        f"Implement `{frame.module}.{name}`: given {given_words(chain, rng)}, {asked}.",
        f"I have {given_words(chain, rng)}. Please write `{frame.module}.{frame.function}` to {asked}.",
        f"{capital(asked)}. Input: {given_words(chain, rng)}. Name: `{frame.module}.{name}`.",
    ])  # fmt: skip
    readings = []
    order = list(answers)
    rng.shuffle(order)
    has_spec = not any(word in f"{answer} {code}" for answer, code in answers for word in ("nil", "/ 2", " 0\n"))
    for answer, code in order:
        codes = [code if number == at else step.code for number, step in enumerate(chain.steps)]
        told = worded(chain, f"{capital(thirds)}. {answer if len(answer) > 12 else ''}".strip())
        # Only the calls differ from reading to reading, so each shows what it gives for the first of them.
        own = replace(frame, documentation=wrapped(told), examples=tuple(calls[:1]), has_spec=has_spec)
        readings.append(
            Reading(
                answer=worded(chain, answer).replace('`"', '"').replace('"`', '"'),
                code=render.pipe(chain, own, codes),
                tests=tests_of(rng, None, chain, own, calls, what=_named(chain, thirds, answer)),
            )
        )
    return Ambiguity(instruction=worded(chain, instruction), question=worded(chain, question), readings=tuple(readings))


def _named(chain: Chain, thirds: str, answer: str) -> str:
    words = worded(chain, f"{thirds}: {answer[:1].lower() + answer[1:]}").replace("`", "").rstrip(".")
    return words if len(words) < 110 else "does it as answered"


def _few(plan: Plan) -> list[str]:
    """Enough calls to tell readings apart."""
    usual = [call for call in plan.calls if call != plan.empty]
    return [*usual[:3], *([plan.empty] if plan.empty else [])]


# --------------------------------------------------------------------------------------------------- what is asked next


def _follow_ups(rng: random.Random, plan: Plan) -> tuple[FollowUp, ...]:
    found: list[FollowUp] = []
    makers = [_one_more, _one_more, _other_style, _other_style, _as_argument, _guarded, _tagged, _renamed]
    rng.shuffle(makers)
    used = set()
    for make in makers:
        if make not in used and (follow_up := make(rng, plan)):
            # Each is about the program as it was first; only one of them, so that none contradicts another.
            found.append(follow_up)
            break
        used.add(make)
    return tuple(found)


def _one_more(rng: random.Random, plan: Plan) -> FollowUp | None:
    chain = extended(rng, plan.chain)
    if chain is None or plan.style not in ("pipe", "named"):
        return None
    step = chain.steps[-1]
    frame = replace(plan.frame, documentation=documentation(chain, rng))
    words = worded(chain, imperative(rng.choice(step.verbs)))
    request = rng.choice(
        [
            f"Good. Now also {words}.",
            f"Can it {words} at the end?",
            f"One more thing: {words}.",
            f"Please extend it: it should then {words}.",
        ]
    )
    reply = rng.choice(
        [
            f"{capital(worded(chain, step.why or 'that is one more step'))}; the rest stays as it was.",
            "That is one more step at the end:",
            f"I added a last step: {worded(chain, step.why) or words}.",
        ]
    )
    code = render.pipe(chain, frame, named=plan.style == "named")
    return FollowUp(request=request, reply=reply, code=code, tests=tests_of(rng, plan, chain, frame, plan.calls))


_REQUESTS = {
    "recursion": ("Can you do it without `Enum`, with plain recursion?", "Rewrite it recursively, please.", "How would that look with pattern matching and recursion?"),
    "accumulator": ("Make it tail recursive.", "Rewrite it with a tail-recursive helper and an accumulator."),
    "comprehension": ("Use a `for` comprehension instead.", "Can this be a comprehension?"),
    "reduce": ("Do it in one pass with `Enum.reduce/3`.", "I would like a single `Enum.reduce`."),
    "stream": ("The lists are large; make it lazy.", "Can you use `Stream` to avoid the intermediate lists?"),
    "named": ("Split the pipe up and name the intermediate values.",),
    "pipe": ("Write it with `Enum` and the pipe operator instead.", "Make it a pipeline."),
}  # fmt: skip
_REPLIES = {
    "recursion": "One clause ends at the empty list, the others look at the head and go on with the rest:",
    "accumulator": "The helper carries the result so far, so the recursive call is the last thing it does:",
    "comprehension": "As a comprehension:",
    "reduce": "One pass, with the result so far as the accumulator:",
    "stream": "The `Stream` functions are lazy; only the last call walks through the elements:",
    "named": "Each step now has a name:",
    "pipe": "As a pipeline of `Enum` functions:",
}


def _other_style(rng: random.Random, plan: Plan) -> FollowUp | None:
    styles = [style for style in render.STYLES if style != plan.style]
    rng.shuffle(styles)
    for style in styles:
        if text := written(plan.chain, plan.frame, style):
            return FollowUp(
                request=rng.choice(_REQUESTS[style]),
                reply=_REPLIES[style],
                code=text,
                tests=tests_of(rng, plan, plan.chain, plan.frame, plan.calls),
            )
    return None


def _as_argument(rng: random.Random, plan: Plan) -> FollowUp | None:
    chain = plan.chain
    free = [
        (step, each)
        for step in chain.steps
        for each in step.parameters
        if each not in chain.lifted and can_lift(step, each) and each.name not in chain.names
    ]
    if not free or chain.lifted:
        return None
    _, parameter = rng.choice(free)
    value = literal(parameter.value)
    lifted = replace(chain, lifted=(parameter,))
    frame = replace(
        plan.frame,
        documentation=documentation(lifted, rng) + f"\n\n`{parameter.name}` is {value} by default.",
        defaults=(parameter.name,),
    )
    calls = list(plan.calls)
    if isinstance(parameter.value, int):
        calls.insert(1, calls[0][:-1] + f", {parameter.value + 1})")
    code = render.pipe(lifted, frame)
    return FollowUp(
        request=rng.choice(
            [
                f"Make the {value} an optional argument called `{parameter.name}`.",
                f"Don't hard-code {value}: take it as `{parameter.name}`, with {value} as the default.",
                f"Can {value} be configurable? Call it `{parameter.name}`.",
            ]
        ),
        reply=f"`{parameter.name}` is now the second argument and has {value} as its default, so existing calls still work:",
        code=code,
        tests=tests_of(rng, plan, chain, frame, calls),
    )


def _guarded(rng: random.Random, plan: Plan) -> FollowUp | None:
    chain, frame = plan.chain, plan.frame
    check = {"list": "is_list", "str": "is_binary", "int": "is_integer", "map": "is_map", "float": "is_float"}.get(
        chain.start.type.name
    )
    if check is None or plan.style != "pipe":
        return None
    result = f"{render.spec(chain.end.type)} | {{:error, :invalid}}"
    others = ", ".join(["_other", *(f"_{each.name}" for each in chain.lifted)])
    own = replace(
        frame,
        guard=f"{check}({chain.argument})",
        result=result,
        documentation=frame.documentation
        + "\n\nAnything other than "
        + _kind_words(chain)
        + " gives `{:error, :invalid}`.",
    )
    body = (
        render.define(chain, own, render.pipe_body(chain, [step.code for step in chain.steps]))
        + f"\n\ndef {frame.function}({others}), do: {{:error, :invalid}}"
    )
    wrong = f"{frame.module}.{frame.function}({', '.join([rng.choice(['nil', ':none', '{1, 2}']), *(literal(each.value) for each in chain.lifted)])})"
    text = render.module_of(chain, replace(own, examples=(*frame.examples[:1], wrong)), body)
    text = text.replace(f"@spec {frame.function}({render.spec(chain.start.type)}", f"@spec {frame.function}(term()")
    return FollowUp(
        request=rng.choice(
            [
                f"What if it gets something that is not {_kind_words(chain)}? Return `{{:error, :invalid}}` then.",
                "Add error handling: for the wrong kind of input return `{:error, :invalid}`.",
            ]
        ),
        reply=f"A guard with `{check}/1` lets the right input through, and a second clause answers for everything else:",
        code=text,
        tests=tests_of(rng, plan, chain, own, [*plan.calls, wrong]),
    )


def _kind_words(chain: Chain) -> str:
    return {"list": "a list", "str": "a string", "int": "an integer", "map": "a map", "float": "a float"}[
        chain.start.type.name
    ]


def _tagged(rng: random.Random, plan: Plan) -> FollowUp | None:
    chain, frame = plan.chain, plan.frame
    if chain.start.type.name != "list" or plan.style != "pipe":
        return None
    reason = rng.choice([":empty", ":no_data", f":no_{identifier(chain.start.element.plural)}"])
    unused = ", ".join(["[]", *(f"_{each.name}" for each in chain.lifted)])
    own = replace(
        frame,
        wrap="{:ok, {}}",
        result=f"{{:ok, {render.spec(chain.end.type)}}} | {{:error, {reason}}}",
        clauses=f"def {frame.function}({unused}), do: {{:error, {reason}}}\n",
        documentation=frame.documentation
        + f"\n\nThe result comes as `{{:ok, result}}`; for an empty list it is `{{:error, {reason}}}`.",
    )
    code = render.pipe(chain, own)
    return FollowUp(
        request=rng.choice(
            [
                f"Return `{{:ok, result}}`, and `{{:error, {reason}}}` for an empty list.",
                f"I prefer tagged tuples: `{{:ok, ...}}`, or `{{:error, {reason}}}` if the list is empty.",
            ]
        ),
        reply="The empty list has a clause of its own, and everything else is wrapped in `:ok`:",
        code=code,
        tests=tests_of(rng, plan, chain, own, plan.calls),
    )


def _renamed(rng: random.Random, plan: Plan) -> FollowUp | None:
    name = rng.choice(["call", "run", "result", "compute", "apply_to", "build"])
    if rng.random() < 0.6 or name == plan.frame.function:
        return None
    frame = replace(
        plan.frame, function=name, examples=tuple(_renamed_call(call, plan.frame, name) for call in plan.frame.examples)
    )
    text = written(plan.chain, frame, plan.style)
    if text is None:
        return None
    return FollowUp(
        request=f"Rename the function to `{name}`.",
        reply=f"Renamed to `{name}/{len(plan.chain.names)}`, in the documentation and the typespec as well:",
        code=text,
        tests=tests_of(rng, plan, plan.chain, frame, [_renamed_call(call, plan.frame, name) for call in plan.calls]),
    )


def _renamed_call(call: str, frame: Frame, name: str) -> str:
    return call.replace(f"{frame.module}.{frame.function}(", f"{frame.module}.{name}(", 1)
