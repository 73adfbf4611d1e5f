# ruff: noqa: E501  (one operation reads best as a few long lines)
"""Operations on lists that take a function: filters, mappings, groupings, searches, each with what lambdas.py offers."""

from __future__ import annotations

import random
from dataclasses import replace

from elixir_coder.data.synthesis.lambdas import Fault, Mapping, Marks, Predicate, mapping_of, predicates_of
from elixir_coder.data.synthesis.operations.step import (
    Operation,
    Reducer,
    State,
    Step,
    as_capture,
    as_function,
    as_step,
    identifier,
    pattern_of,
    scalar,
    variable_of,
)
from elixir_coder.data.synthesis.subjects import Element, pair_of
from elixir_coder.data.synthesis.types import Type, parse


def _function(rng: random.Random, expr: str, element: Element, component: int | None) -> tuple[str, str]:
    """The function as it stands in the reference, and in the other way of writing it."""
    short, long = as_capture(expr, element, component), as_function(expr, element, component)
    return (short, long) if rng.random() < 0.7 or short == long else (long, short)


def _calls(rng: random.Random, call: str, given: Predicate | Mapping, element: Element) -> tuple[str, tuple[str, ...]]:
    first, second = _function(rng, given.expr, element, given.component)
    return call.format(first), (call.format(second),) if second != first else ()


def _faults(call: str, given: Predicate | Mapping, element: Element) -> tuple[Fault, ...]:
    return tuple(
        replace(fault, code=call.format(as_capture(fault.code, element, given.component))) for fault in given.faults
    )


def _open(
    call: str, given: Predicate | Mapping, element: Element, verb: str
) -> tuple[str, str, tuple[tuple[str, str], ...]] | None:
    if not given.open_fact:
        return None
    words, question, answers = given.open_fact
    told = tuple((answer, call.format(as_capture(code, element, given.component))) for answer, code in answers)
    return verb.replace("{open}", words), question, told


def _those(state: State, predicate: Predicate) -> tuple[str, str]:
    """The elements of the kind as an object of a verb, and as a noun phrase."""
    short = predicate.those(state.element.plural)
    if state.is_plain:
        return f"the {short}", f"the {short}"
    return f"the {short}", f"those of {state.phrase} {predicate.clause}"


def _open_clause(condition: str) -> str:
    return condition if condition.startswith("whose") else f"that {_plural_of(condition)}"


def _plural_of(condition: str) -> str:
    return Predicate(tag="", type=Type("any"), expr="", condition=condition).clause.removeprefix("that ")


def filter_by(rng: random.Random, state: State, marks: Marks) -> Step | None:
    element = state.element
    predicate = predicates_of(rng, element, marks)
    if state.type.name != "list" or predicate is None:
        return None
    those, phrase = _those(state, predicate)
    call = "Enum.filter({})"
    code, others = _calls(rng, call, predicate, element)
    object_ = (
        those
        if state.is_first
        else f"the {predicate.those('ones')}"
        if predicate.adjective
        else f"only those {predicate.clause}"
    )
    after = replace(
        state,
        phrase=phrase,
        object=rng.choice(["them", f"the remaining {element.plural}", "what is left"]),
        is_plain=False,
        is_first=False,
        slug=_adjective(predicate) + state.slug,
    )
    negated = Fault(
        call.replace("filter", "reject").format(as_capture(predicate.expr, element, predicate.component)),
        "wrong_function",
        "`Enum.reject/2` drops exactly the elements that should stay; `Enum.filter/2` keeps them.",
    )
    fact = predicate.open_fact
    return Step(
        tag=f"filter:{predicate.tag}",
        kind="filter",
        code=code,
        others=(*others, f"Enum.reject({as_function(_negated(predicate.expr), element, predicate.component)})")
        if rng.random() < 0.15
        else others,
        verbs=(
            f"~keep only {object_.removeprefix('only ')}",
            f"~select {object_.removeprefix('only ')}",
            f"~filter for {object_.removeprefix('only ')}",
            *(
                [f"~throw away every {element.one} {_unless(predicate)}"]
                if predicate.adjective and predicate.condition.startswith("is ")
                else []
            ),
        ),
        phrase=phrase,
        slug="",
        before=state,
        after=after,
        why=f"`Enum.filter/2` keeps {object_}",
        faults=(*_faults(call, predicate, element), negated),
        parameters=predicate.parameters,
        helper=predicate.helper,
        predicate=predicate,
        open_fact=_open(call, predicate, element, f"~keep the {element.plural} {_open_clause(fact[0])}")
        if fact
        else None,
    )


def _unless(predicate: Predicate) -> str:
    """`that is not even`, from a condition."""
    verb, _, rest = predicate.condition.partition(" ")
    match verb:
        case "is":
            return f"that is not {rest}" if not rest.startswith("not ") else f"that is {rest[4:]}"
        case "whose":
            return f"except those {predicate.condition}"
    base = _plural_of(predicate.condition).partition(" ")[0]
    return f"that does not {base} {rest}"


def _negated(expr: str) -> str:
    return expr.removeprefix("not ") if expr.startswith("not ") else f"not ({expr})"


def _adjective(predicate: Predicate) -> str:
    return f"{identifier(predicate.adjective)}_" if predicate.adjective else ""


def reject_by(rng: random.Random, state: State, marks: Marks) -> Step | None:
    element = state.element
    predicate = predicates_of(rng, element, marks)
    if state.type.name != "list" or predicate is None:
        return None
    those, _ = _those(state, predicate)
    call = "Enum.reject({})"
    code, others = _calls(rng, call, predicate, element)
    phrase = f"{state.phrase} without {'the ' + predicate.those('ones') if predicate.adjective else 'those ' + predicate.clause}"
    after = replace(
        state,
        phrase=phrase,
        object=rng.choice(["the rest", f"the remaining {element.plural}", "what is left"]),
        is_plain=False,
        is_first=False,
        slug=f"other_{state.slug}" if "other" not in state.slug else state.slug,
    )
    negated = Fault(
        f"Enum.filter({as_capture(predicate.expr, element, predicate.component)})",
        "wrong_function",
        "`Enum.filter/2` keeps exactly what should go; `Enum.reject/2` drops it.",
    )
    fact = predicate.open_fact
    kept = replace(predicate, expr=_negated(predicate.expr))
    return Step(
        tag=f"reject:{predicate.tag}",
        kind="filter",
        code=code,
        others=others,
        verbs=(f"~drop {those}", f"~remove {those}", f"~leave out {those}", f"~ignore {those}"),
        phrase=phrase,
        slug="",
        before=state,
        after=after,
        why=f"`Enum.reject/2` drops {those}",
        faults=(*_faults(call, predicate, element), negated),
        parameters=predicate.parameters,
        helper=predicate.helper,
        predicate=kept,
        open_fact=_open(call, predicate, element, f"~drop the {element.plural} {_open_clause(fact[0])}")
        if fact
        else None,
    )


def element_after(mapping: Mapping, element: Element) -> Element:
    if mapping.element:
        return mapping.element
    bounds = (
        element.bounds if mapping.to.name in ("int", "float") and element.type.name in ("int", "float") else (0, 12)
    )
    return Element(one=mapping.one, plural=mapping.plural, type=mapping.to, draw=element.draw, bounds=bounds)


def map_by(rng: random.Random, state: State, marks: Marks) -> Step | None:
    element = state.element
    mapping = mapping_of(rng, element, marks)
    if state.type.name != "list" or mapping is None:
        return None
    call = "Enum.map({})"
    code, others = _calls(rng, call, mapping, element)
    after_element = element_after(mapping, element)
    phrase = _phrase_of(mapping, state)
    after = State(
        type=Type("list", (mapping.to,)),
        element=after_element,
        phrase=phrase,
        object=f"the {after_element.plural}",
        slug=identifier(after_element.plural),
    )
    verb = mapping.verb.replace("{each}", state.each)
    return Step(
        tag=f"map:{mapping.tag}",
        kind="map",
        code=code,
        others=others,
        verbs=(
            verb,
            verb.replace(state.each, f"every {element.one}"),
            mapping.verb.replace("{each}", "each of them") if not state.is_first else verb,
        ),
        phrase=phrase,
        slug="",
        before=state,
        after=after,
        why=f"`Enum.map/2` takes the {mapping.one} of {state.each}"
        if mapping.element
        else f"`Enum.map/2` turns {state.each} into {_article(after_element.one)}",
        faults=_faults(call, mapping, element),
        parameters=mapping.parameters,
        helper=mapping.helper,
        mapping=mapping,
        open_fact=_open(call, mapping, element, mapping.open_fact[0].replace("{each}", state.each))
        if mapping.open_fact
        else None,
    )


def _phrase_of(mapping: Mapping, state: State) -> str:
    """The results of a mapping: `the squares of the scores`, `the reversed names`, `the names in upper case`."""
    adjective, _, noun = mapping.noun.partition(" ")
    if noun == "{n}":
        return (
            f"the {adjective} {state.element.plural}" if state.is_plain else f"the {adjective} forms of {state.phrase}"
        )
    words = mapping.noun.replace("{n}", state.phrase)
    return words if mapping.noun.startswith("{n}") else f"the {words}"


def _article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def apply_to_value(rng: random.Random, state: State, marks: Marks) -> Step | None:
    """A mapping of a single value."""
    mapping = mapping_of(rng, state.element, marks)
    if mapping is None or state.element.fields or state.type.name not in ("int", "float", "str", "date", "atom"):
        return None
    code = as_step(mapping.expr)
    subject = state.object if state.is_first or rng.random() < 0.5 else "it"
    after_element = element_after(mapping, state.element)
    phrase = ("the " if not mapping.noun.startswith(("{n}",)) else "") + _single(mapping, state.phrase)
    if mapping.to.name == "list":
        inner = {
            "digits": ("digit", "digits", (0, 9)),
            "graphemes": ("character", "characters", (0, 9)),
            "words": ("word", "words", (0, 9)),
        }.get(mapping.tag)
        if inner is None:
            return None
        item = Element(
            one=inner[0],
            plural=inner[1],
            type=mapping.to.item,
            draw=state.element.draw,
            bounds=inner[2],
            words=("a", "e", "o", "an") if mapping.to.item.name == "str" else (),
        )
        after = State(
            type=mapping.to,
            element=item,
            phrase=f"the {item.plural} of {state.phrase}",
            object=f"the {item.plural}",
            slug=item.plural,
        )
        verb = f"~split {subject} into its {item.plural}"
    else:
        after = State(
            type=mapping.to,
            element=after_element,
            phrase=phrase,
            object="the result",
            slug=identifier(after_element.one),
        )
        verb = mapping.verb.replace("{each}", subject)
    fact = mapping.open_fact
    return Step(
        tag=f"apply:{mapping.tag}",
        kind="value",
        code=code,
        verbs=(verb,),
        phrase=after.phrase,
        slug="",
        before=state,
        after=after,
        why=f"`{mapping.expr.replace('{x}', 'value')}` gives {_article(after.element.one) if mapping.to.name != 'list' else 'the ' + after.element.plural}",
        faults=tuple(replace(fault, code=as_step(fault.code)) for fault in mapping.faults),
        parameters=mapping.parameters,
        helper=mapping.helper,
        open_fact=(
            fact[0].replace("{each}", subject),
            fact[1],
            tuple((answer, as_step(each)) for answer, each in fact[2]),
        )
        if fact
        else None,
    )


def _single(mapping: Mapping, phrase: str) -> str:
    noun = mapping.noun.replace("{n}", phrase).replace(", each ", ", ").replace(" as strings", " as a string")
    for many, one in (
        (f"{mapping.plural} of", f"{mapping.one} of"),
        ("values of", "value of"),
        ("doubles of", "double of"),
        ("integers", "an integer"),
        ("their letters", "its letters"),
        ("forms of", "form of"),
        ("names of", "name of"),
        ("roots of", "root of"),
        ("parts of", "part of"),
        ("sums of", "sum of"),
        ("counts of", "count of"),
        ("characters of", "characters of"),
        ("classes of", "class of"),
        ("quotients of", "quotient of"),
        ("multiples of", "product of"),
        ("hundredths of", "hundredth of"),
        ("halves of", "half of"),
        ("signs of", "sign of"),
        ("slugs of", "slug of"),
        ("lengths of", "length of"),
        ("sizes of", "size of"),
        ("flags of", "flag of"),
        ("days of the months", "day of the month"),
    ):
        noun = noun.replace(many, one)
    return noun


def ask_value(rng: random.Random, state: State, marks: Marks) -> Step | None:
    """Whether something holds of a single value."""
    if state.element.fields or state.type.name not in ("int", "float", "str", "date", "atom"):
        return None
    predicate = predicates_of(rng, state.element, marks)
    if predicate is None:
        return None
    code = as_step(predicate.expr)
    phrase = f"whether {state.phrase} {predicate.condition}"
    subject = state.object if state.is_first else "it"
    after = scalar(state, parse("bool"), "answer", phrase, f"{identifier(predicate.tag)}?")
    fact = predicate.open_fact
    return Step(
        tag=f"ask:{predicate.tag}",
        kind="value",
        code=code,
        verbs=(
            f"~check whether {subject} {predicate.condition}",
            f"~say whether {subject} {predicate.condition}",
            f"~return true when {subject} {predicate.condition}, and false otherwise",
        ),
        phrase=phrase,
        slug=after.slug,
        before=state,
        after=after,
        why=f"the last expression is true when the value {predicate.condition}",
        faults=tuple(replace(fault, code=as_step(fault.code)) for fault in predicate.faults),
        parameters=predicate.parameters,
        helper=predicate.helper,
        open_fact=(
            f"~check whether {subject} {fact[0]}",
            fact[1],
            tuple((answer, as_step(each)) for answer, each in fact[2]),
        )
        if fact
        else None,
    )


_ASKED = (
    # name, call, result, verbs, phrase, one, slug, faults(call, kind, words)
    ("any", "Enum.any?({})", "bool", ("~check whether any {one} {cond}", "~say whether at least one {one} {cond}"), "whether any of {np} {cond}", "answer", "any_{slug}?", (("Enum.all?({})", "wrong_function", "`Enum.all?/2` wants every element to match; one is enough here."),)),
    ("all", "Enum.all?({})", "bool", ("~check whether every {one} {cond}", "~say whether all of {obj} are such that each {cond}"), "whether each of {np} {cond}", "answer", "all_{slug}?", (("Enum.any?({})", "wrong_function", "`Enum.any?/2` is content with a single match; all of them must."),)),
    ("none", "Enum.all?({not})", "bool", ("~check that no {one} {cond}", "~return true if none of {obj} {cond}"), "whether none of {np} {cond}", "answer", "no_{slug}?", (("Enum.any?({})", "wrong_operator", "This says whether there is one; the question is whether there is none."),)),
    ("count", "Enum.count({})", "int", ("~count {those}", "~count how many {plural} there are {clause}", "~return how many of {obj} {conds}"), "the number of {np} {clause}", "count", "count_{slug}", (("Enum.filter({})", "missing_step", "It returns the matching elements themselves; their number is wanted."),)),
    ("find", "Enum.find({})", "a?", ("~find the first {one} {that}, or nil if there is none", "~return the first {one} {that} (nil when none does)"), "the first of {np} {clause}, or nil", "{one}", "find_{one}", (("Enum.filter({})", "wrong_function", "`Enum.filter/2` returns a list of all matches, not the first one."),)),
    ("find_index", "Enum.find_index({})", "int?", ("~find the position of the first {one} {that} (counting from 0), or nil", "~return the index of the first {one} {that}, nil if there is none"), "the index of the first of {np} {clause}, or nil", "index", "index_of_{one}", (("Enum.find({})", "wrong_function", "`Enum.find/2` returns the element; its position is `Enum.find_index/2`."),)),
    ("take_while", "Enum.take_while({})", "[a]", ("~take {plural} from the front for as long as each {cond}", "~keep the leading {plural} up to the first one {unless}"), "the leading part of {np} in which each {one} {cond}", "", "leading_{slug}", (("Enum.filter({})", "wrong_function", "`Enum.filter/2` goes on after the first mismatch; `Enum.take_while/2` stops there."), ("Enum.drop_while({})", "wrong_function", "`Enum.drop_while/2` gives the other part of the list."))),
    ("drop_while", "Enum.drop_while({})", "[a]", ("~skip leading {plural} for as long as each {cond}", "~drop {plural} from the front until one comes {unless}"), "{np} from the first {one} on {unless}", "", "trailing_{slug}", (("Enum.reject({})", "wrong_function", "`Enum.reject/2` also removes matches further on; `Enum.drop_while/2` only skips those at the front."),)),
    ("split_with", "Enum.split_with({})", "{[a], [a]}", ("~split {obj} into a tuple of those {clause} and the others", "~partition {obj} into {those} and the rest, as a tuple of two lists"), "{np}, split into those {clause} and the rest", "partition", "partition_{slug}", (("Enum.split_while({})", "wrong_function", "`Enum.split_while/2` splits once, at the first mismatch; `Enum.split_with/2` sorts every element."),)),
    ("split_while", "Enum.split_while({})", "{[a], [a]}", ("~split {obj} in two at the first {one} {unless}",), "{np}, split at the first {one} {unless}", "halves", "split_{slug}", (("Enum.split_with({})", "wrong_function", "`Enum.split_with/2` sorts every element to one side; here the list is cut once."),)),
    ("chunk_by", "Enum.chunk_by({})", "[[a]]", ("~break {obj} into runs of neighbours that agree on whether they {conds}",), "{np}, chunked into runs that agree on whether they {conds}", "", "runs_of_{slug}", ()),
    ("index_all", "", "[int]", ("~list the positions (from 0) of {those}", "~return the indexes of {those}"), "the indexes of {np} {clause}", "index", "indexes", ()),
)  # fmt: skip

_LOOPS = {
    "count": Reducer("count", "0", "{acc} + 1", body="1 + {rest}", wrong_start="1"),
}


def ask_list(rng: random.Random, state: State, marks: Marks) -> Step | None:
    """A question about a list by a predicate: any, all, how many, the first, where."""
    element = state.element
    predicate = predicates_of(rng, element, marks)
    if state.type.name != "list" or predicate is None:
        return None
    name, call, result, verbs, phrase, one, slug, wrong = rng.choice(_ASKED)
    whose = predicate.condition.startswith("whose")
    if whose and name in (
        "any",
        "all",
        "none",
        "take_while",
        "drop_while",
        "split_while",
        "chunk_by",
        "find",
        "find_index",
    ):
        condition = "has " + _with_article(predicate.condition.removeprefix("whose "))
    else:
        condition = predicate.condition
    those = _those(state, predicate)[0]
    that = predicate.condition if whose else f"that {predicate.condition}"
    plural_condition = predicate.clause.removeprefix("that ") if not whose else condition.replace("has ", "have ", 1)

    def say(text: str) -> str:
        text = text.replace(
            "{unless}",
            _unless(predicate).replace("except those ", "not ") if not whose else "for which this is not so",
        )
        return text.format(
            one=element.one,
            plural=element.plural,
            cond=condition,
            conds=plural_condition,
            clause=predicate.clause,
            that=that,
            those=those,
            obj=state.object,
            np=state.phrase,
            slug=f"{_adjective(predicate)}{state.slug}",
        )

    phrase = say(phrase)
    function = as_capture(predicate.expr, element, predicate.component)
    negated = as_function(_negated(predicate.expr), element, predicate.component)
    code = call.replace("{not}", negated).replace("{}", function)
    others: tuple[str, ...] = ()
    if name == "count":
        others = (f"Enum.filter({function}) |> length()",)
    if name == "index_all":
        pair = f"fn {{{_pattern(element, predicate)}, _index}} -> {predicate.expr.replace('{x}', _x(element, predicate))} end"
        code = f"Enum.with_index() |> Enum.filter({pair}) |> Enum.map(&elem(&1, 1))"
    type_ = parse(result) if "a" not in result.replace("{", "").split("int")[0] else _with(result, element.type)
    if result == "[a]":
        after = replace(state, phrase=phrase, object="them", is_plain=False, is_first=False)
    elif result == "[int]":
        after = State(
            type=type_,
            element=Element(one="index", plural="indexes", type=parse("int"), draw=element.draw, bounds=(0, 8)),
            phrase=phrase,
            object="the indexes",
            slug="indexes",
        )
    elif result == "[[a]]":
        after = State(
            type=type_,
            element=Element(one="run", plural="runs", type=type_.item, draw=element.draw),
            phrase=phrase,
            object="the runs",
            slug="runs",
        )
    else:
        after = scalar(state, type_, say(one), phrase, identifier(say(slug)) + ("?" if slug.endswith("?") else ""))
    return Step(
        tag=f"{name}:{predicate.tag}",
        kind="ask",
        code=code,
        others=others,
        verbs=tuple(say(verb) for verb in verbs),
        phrase=phrase,
        slug=after.slug if after.type.name != "list" else "",
        before=state,
        after=after,
        why=f"`{code.partition('(')[0]}` looks at {state.each} and asks whether it {condition.removeprefix('whose ')}"
        if name != "index_all"
        else "`Enum.with_index/1` pairs each element with its position, so that positions can be kept",
        faults=(
            *(() if name in ("none", "index_all") else _faults(call, predicate, element)),
            *(Fault(other.format(function), kind, words) for other, kind, words in wrong),
        ),
        parameters=predicate.parameters,
        helper=predicate.helper,
        predicate=predicate if name == "count" else None,
        reducer=_LOOPS.get(name),
        open_fact=_open(call, predicate, element, f"~count the {element.plural} {_open_clause(predicate.open_fact[0])}")
        if predicate.open_fact and name == "count"
        else None,
    )


def _with(result: str, item: Type) -> Type:
    return _put(parse(result), item)


def _put(pattern: Type, item: Type) -> Type:
    if pattern.name == "a":
        return item
    return Type(pattern.name, tuple(_put(each, item) for each in pattern.arguments))


def _with_article(words: str) -> str:
    noun, _, rest = words.partition(" ")
    noun_rest = rest.replace("is ", "that is ", 1) if rest.startswith("is ") else f"that {rest}"
    return f"{_article(noun)} {noun_rest}"


def _pattern(element: Element, given: Predicate | Mapping) -> str:
    return pattern_of(element, given.component)


def _x(element: Element, given: Predicate | Mapping) -> str:
    return variable_of(element, given.component)


_BY = (
    # name, call, key type, result, verbs, phrase, slug, faults
    ("sort_by", "Enum.sort_by({})", "o", "[a]", ("~sort {obj} by {key}, smallest first", "~order {obj} by {key}, ascending"), "{np} sorted by {key}", "sorted_{slug}", (("Enum.sort_by({}, :desc)", "wrong_order", "`:desc` sorts from the largest down; ascending is wanted."), ("Enum.sort()", "missing_step", "Plain `Enum.sort/1` compares whole elements, not {key}."))),
    ("sort_by_desc", "Enum.sort_by({}, :desc)", "o", "[a]", ("~sort {obj} by {key}, largest first", "~order {obj} by {key} in descending order"), "{np} sorted by {key} in descending order", "ranked_{slug}", (("Enum.sort_by({})", "wrong_order", "Without `:desc` the order is ascending."), ("Enum.sort_by({}) |> Enum.take(1)", "extra_step", "Everything but the first element is dropped."))),
    ("max_by", "Enum.max_by({}, fn -> nil end)", "o", "a?", ("~find the {one} with the largest {key1}, or nil if there is none", "~return the {one} whose {key1} is highest (nil for an empty list)"), "the one of {np} with the largest {key1}, or nil", "max_{slug}", (("Enum.min_by({}, fn -> nil end)", "wrong_function", "`Enum.min_by/3` finds the smallest."), ("Enum.max_by({})", "edge_case", "On an empty list `Enum.max_by/2` raises `Enum.EmptyError`; give it a function for that case."))),
    ("min_by", "Enum.min_by({}, fn -> nil end)", "o", "a?", ("~find the {one} with the smallest {key1}, or nil if there is none",), "the one of {np} with the smallest {key1}, or nil", "min_{slug}", (("Enum.max_by({}, fn -> nil end)", "wrong_function", "`Enum.max_by/3` finds the largest."), ("Enum.min_by({})", "edge_case", "On an empty list `Enum.min_by/2` raises `Enum.EmptyError`."))),
    ("uniq_by", "Enum.uniq_by({})", "b", "[a]", ("~keep only the first {one} for each {key1}", "~remove {plural} that repeat the {key1} of an earlier one"), "{np} without those that repeat an earlier {key1}", "unique_{slug}", (("Enum.dedup_by({})", "wrong_function", "`Enum.dedup_by/2` only looks at neighbours; repeats further apart stay."), ("Enum.uniq()", "missing_step", "`Enum.uniq/1` compares whole elements, not {key}."))),
    ("frequencies_by", "Enum.frequencies_by({})", "b", "map(b, int)", ("~count how many {plural} there are for each {key1}", "~count {obj} by {key1}, as a map"), "a map of how many of {np} there are for each {key1}", "{plural}_per_{key1}", (("Enum.group_by({})", "missing_step", "`Enum.group_by/2` gives the elements themselves for each key; their number is wanted."),)),
    ("group_by", "Enum.group_by({})", "b", "map(b, [a])", ("~group {obj} by {key1}", "~build a map from each {key1} to the {plural} that have it"), "{np} grouped by {key1}", "{plural}_by_{key1}", (("Enum.chunk_by({})", "wrong_function", "`Enum.chunk_by/2` gives lists of neighbours, not a map of all elements with the same key."),)),
    ("index_by", "Map.new(fn {p} -> {{{e}, {w}}} end)", "b", "map(b, a)", ("~build a map from {key1} to {one} (the last one wins)", "~index {obj} by {key1}"), "a map from {key1} to {one} of {np}", "{plural}_by_{key1}", (("Map.new(fn {p} -> {{{w}, {e}}} end)", "swapped_arguments", "Key and value of each pair are swapped."),)),
    ("sum_by", "Enum.map({}) |> Enum.sum()", "n", "b", ("~add up {keys}", "~total {keys}", "~compute the sum of {keys}"), "the sum of {keys} of {np}", "total_{key1}", (("Enum.map({}) |> Enum.count()", "wrong_function", "`Enum.count/1` counts the elements instead of adding them up."), ("Enum.map({}) |> Enum.max(fn -> 0 end)", "wrong_function", "Only the largest value is returned, not the sum."))),
    ("chunk_by_key", "Enum.chunk_by({})", "b", "[[a]]", ("~split {obj} into runs of neighbours with the same {key1}",), "{np} in runs with the same {key1}", "runs_by_{key1}", (("Enum.group_by({}) |> Map.values()", "wrong_function", "Grouping brings together elements that are not next to each other."),)),
    ("dedup_by", "Enum.dedup_by({})", "b", "[a]", ("~drop each {one} that has the same {key1} as the one before it",), "{np} without direct repetitions of a {key1}", "distinct_{slug}", (("Enum.uniq_by({})", "wrong_function", "`Enum.uniq_by/2` also removes repeats that are not neighbours."),)),
    ("min_max_by", "Enum.min_max_by({}, fn -> nil end)", "o", "{a, a}?", ("~return a tuple of the {plural} with the smallest and the largest {key1}, or nil for an empty list",), "the ones of {np} with the smallest and the largest {key1}", "{key1}_extremes", (("Enum.min_max_by({})", "edge_case", "On an empty list `Enum.min_max_by/2` raises `Enum.EmptyError`."),)),
)  # fmt: skip


def by_key(rng: random.Random, state: State, marks: Marks) -> Step | None:
    """Sorting, grouping, counting by what a mapping gives."""
    element = state.element
    name, call, key_type, result, verbs, phrase, slug, wrong = rng.choice(_BY)
    mapping = mapping_of(rng, element, marks, to=key_type, plain=True)
    if state.type.name != "list" or mapping is None or (mapping.to.name in ("list", "bool") and key_type == "o"):
        return None
    if not element.fields and name in ("index_by", "sum_by") and rng.random() < 0.5:
        return None
    single = mapping.one if element.fields else _key_noun(mapping)
    key = f"their {single}" if not element.fields else rng.choice([f"their {single}", single])
    keys = (
        f"their {mapping.plural}"
        if not element.fields
        else rng.choice([f"their {mapping.plural}", f"the {mapping.plural}"])
    )
    component = mapping.component

    def code_of(pattern: str, short: bool = True) -> str:
        function = (
            as_capture(mapping.expr, element, component) if short else as_function(mapping.expr, element, component)
        )
        if "{p}" in pattern:
            whole = (
                f"{_pattern(element, mapping)} = {element.one}" if component is not None else identifier(element.one)
            )
            return pattern.format(
                p=whole, e=mapping.expr.replace("{x}", _x(element, mapping)), w=identifier(element.one)
            )
        return pattern.format(function)

    def say(text: str) -> str:
        return text.format(
            one=element.one,
            plural=element.plural,
            key=key,
            key1=single,
            keys=keys,
            obj=state.object,
            np=state.phrase,
            slug=state.slug,
        )

    if component is not None and identifier(element.one) == _x(element, mapping):
        return None  # the whole and its part would share a name
    type_ = _put_two(parse(result), element.type, mapping.to)
    phrase = say(phrase)
    new_slug = identifier(say(slug))
    if result == "[a]":
        after = replace(
            state, phrase=phrase, object=rng.choice(["them", f"the {element.plural}"]), is_plain=False, is_first=False
        )
    elif type_.name == "map":
        value_name = {"frequencies_by": "count", "group_by": "group", "index_by": element.one}[name]
        value = Element(
            one=value_name, plural=f"{value_name}s", type=type_.arguments[1], draw=element.draw, bounds=(0, 5)
        )
        pair = pair_of(
            "entry",
            "entries",
            Element(
                one=identifier(single),
                plural=mapping.plural,
                type=mapping.to,
                draw=element.draw,
                words=element_after(mapping, element).words,
                bounds=element_after(mapping, element).bounds,
            ),
            value,
        )
        after = State(type=type_, element=pair, phrase=phrase, object="the map", slug=new_slug)
    elif result == "[[a]]":
        after = State(
            type=type_,
            element=Element(one="run", plural="runs", type=type_.item, draw=element.draw),
            phrase=phrase,
            object="the runs",
            slug="runs",
        )
    else:
        after = scalar(
            state, type_, "total" if name == "sum_by" else element.one if result == "a?" else "result", phrase, new_slug
        )
    short, long = code_of(call), code_of(call, short=False)
    others = (long,) if long != short else ()
    if name == "sum_by":
        reduce = (
            f"fn {_pattern(element, mapping)}, total -> total + {mapping.expr.replace('{x}', _x(element, mapping))} end"
        )
        others = (f"Enum.reduce(0, {reduce})", *others)
    elif name == "frequencies_by":
        others = (
            f"Enum.group_by({as_capture(mapping.expr, element, component)}) |> Map.new(fn {{{identifier(single)}, {identifier(element.plural)}}} -> {{{identifier(single)}, length({identifier(element.plural)})}} end)",
        )
    return Step(
        tag=f"{name}:{mapping.tag}",
        kind="by",
        code=short,
        others=others,
        verbs=tuple(say(verb) for verb in verbs),
        phrase=phrase,
        slug=new_slug if after.type.name != "list" else "",
        before=state,
        after=after,
        why=_why_by(name, say),
        faults=tuple(Fault(code_of(other), kind, say(words)) for other, kind, words in wrong)
        + (() if "{p}" in call else _faults(call, mapping, element)),
        parameters=mapping.parameters,
        helper=mapping.helper,
        open_fact=_order_fact(name, say, code_of, call),
    )


def _why_by(name: str, say: object) -> str:
    assert callable(say)
    return say(
        {
            "sort_by": "`Enum.sort_by/2` orders them by {key}",
            "sort_by_desc": "`Enum.sort_by/3` with `:desc` puts the largest {key1} first",
            "max_by": "`Enum.max_by/3` picks the {one} with the largest {key1}, and its last argument answers for an empty list",
            "min_by": "`Enum.min_by/3` picks the {one} with the smallest {key1}, and its last argument answers for an empty list",
            "uniq_by": "`Enum.uniq_by/2` keeps the first {one} of each {key1}",
            "frequencies_by": "`Enum.frequencies_by/2` counts them by {key1}",
            "group_by": "`Enum.group_by/2` collects them under {key}",
            "index_by": "`Map.new/2` makes a pair of {key1} and {one} for each element; a later one replaces an earlier one",
            "sum_by": "the {keys} are taken and added up; of none the sum is 0".replace("the their", "their").replace("the the", "the"),
            "chunk_by_key": "`Enum.chunk_by/2` starts a new run whenever the {key1} changes",
            "dedup_by": "`Enum.dedup_by/2` compares each {one} with the one before it",
            "min_max_by": "`Enum.min_max_by/3` finds both ends in one pass",
        }[name].replace("the {keys}", "{keys}")
    )  # fmt: skip


def _order_fact(
    name: str, say: object, code_of: object, call: str
) -> tuple[str, str, tuple[tuple[str, str], ...]] | None:
    assert callable(say) and callable(code_of)
    up, down = code_of("Enum.sort_by({})"), code_of("Enum.sort_by({}, :desc)")
    if name == "sort_by":
        return (
            say("~sort {obj} by {key}"),
            say("In which direction should {key} run?"),
            (("Ascending, smallest first.", up), ("Descending, largest first.", down)),
        )
    if name == "sort_by_desc":
        return (
            say("~sort {obj} by {key}"),
            say("Should the largest or the smallest {key1} come first?"),
            (("The largest first.", down), ("The smallest first.", up)),
        )
    return None


def _key_noun(mapping: Mapping) -> str:
    return mapping.one


def _put_two(pattern: Type, item: Type, key: Type) -> Type:
    if pattern.name == "a":
        return item
    if pattern.name == "b":
        return key
    return Type(pattern.name, tuple(_put_two(each, item, key) for each in pattern.arguments))


def total_per_key(rng: random.Random, state: State, marks: Marks) -> Step | None:
    """Of records: a number added up, counted or averaged for each value of another field."""
    element = state.element
    if state.type.name != "list" or not element.fields:
        return None
    keys = [each for each in element.fields if each.type.name in ("str", "atom", "bool")]
    numbers = [each for each in element.fields if each.type.name == "int" and each.one != "id"]
    if not keys or not numbers:
        return None
    key, number = rng.choice(keys), rng.choice(numbers)
    how, verb, of, fault = rng.choice(
        [
            (
                "Enum.sum({})",
                "sum of the",
                "added up",
                ("length({})", "wrong_function", "`length/1` counts the values of a group instead of adding them."),
            ),
            (
                "Enum.max({})",
                "largest",
                "the largest of them",
                ("Enum.min({})", "wrong_function", "`Enum.min/1` takes the smallest value of each group."),
            ),
            (
                "Enum.min({})",
                "smallest",
                "the smallest of them",
                ("Enum.max({})", "wrong_function", "`Enum.max/1` takes the largest value of each group."),
            ),
            (
                "Enum.sum({0}) / length({0})",
                "average",
                "averaged",
                (
                    "div(Enum.sum({0}), length({0}))",
                    "wrong_type",
                    "`div/2` cuts the fraction off; an average needs `/`.",
                ),
            ),
        ]
    )
    k, n, ns = identifier(key.one), identifier(number.one), identifier(number.plural)
    if element.is_pair:
        at_k, at_n = element.fields.index(key), element.fields.index(number)
        first = f"&elem(&1, {at_k})"
        second = f"&elem(&1, {at_n})"
    else:
        first, second = f"& &1.{key.one}", f"& &1.{number.one}"

    def code(way: str) -> str:
        return f"Enum.group_by({first}, {second}) |> Map.new(fn {{{k}, {ns}}} -> {{{k}, {way.format(ns)}}} end)"

    noun = f"{verb} {number.plural}" if verb == "sum of the" else f"{verb} {number.one}"
    phrase = f"a map from each {key.one} to the {noun} of {state.phrase}"
    average = "average" in verb
    value = replace(
        number,
        one=f"{'average ' if average else ''}{number.one}",
        type=parse("float") if average else number.type,
        fields=(),
    )
    after = State(
        type=Type("map", (key.type, value.type)),
        element=pair_of("entry", "entries", key, value),
        phrase=phrase,
        object="the map",
        slug=f"{identifier(verb.split()[0])}_{n}_per_{k}",
    )
    reduce = f"Enum.reduce(%{{}}, fn {element.one}, totals -> Map.update(totals, {element.one}.{key.one}, {element.one}.{number.one}, &(&1 + {element.one}.{number.one})) end)"
    return Step(
        tag=f"per_key:{verb.split()[0]}:{key.one}:{number.one}",
        kind="by",
        code=code(how),
        others=(reduce,) if verb == "sum of the" and not element.is_pair else (),
        verbs=(
            f"~compute the {noun} for each {key.one}, as a map",
            f"~work out, per {key.one}, the {noun}",
            f"~group {state.object} by {key.one} and ~compute the {noun} of each group",
        ),
        phrase=phrase,
        slug=after.slug,
        before=state,
        after=after,
        why=f"`Enum.group_by/3` collects the {number.plural} under each {key.one}, and `Map.new/2` makes one value of each group: {of}",
        faults=(
            Fault(code(fault[0]), fault[1], fault[2]),
            Fault(
                f"Enum.group_by({first}) |> Map.new(fn {{{k}, {ns}}} -> {{{k}, {how.format(ns)}}} end)",
                "missing_argument",
                f"Without the second function the groups hold whole {element.plural}, not their {number.plural}.",
            ),
            Fault(
                f"Map.new(fn {element.one} -> {{{element.one}.{key.one}, {element.one}.{number.one}}} end)"
                if not element.is_pair
                else "Map.new()",
                "missing_step",
                "`Map.new` keeps only the last value of each key; they have to be grouped first.",
            ),
        ),
        weight=2,
    )


def map_entries(rng: random.Random, state: State, marks: Marks) -> Step | None:
    """Filter, change or search the entries of a map by key or value."""
    if state.type.name != "map" or not state.element.is_pair:
        return None
    element = state.element
    key, value = element.fields
    component = rng.choice([1, 1, 0])
    part = element.fields[component]
    choice = rng.choice(["filter", "reject", "values", "count", "max", "min", "sort"])
    if choice in ("filter", "reject", "count"):
        predicate = predicates_of(rng, part, marks)
        if predicate is None or part.fields:
            return None
        function = as_function(predicate.expr, element, component)
        verb, call, fault = {
            "filter": (
                "keep only the entries",
                "Map.filter({})",
                ("Map.reject({})", "wrong_function", "`Map.reject/2` drops what should stay."),
            ),
            "reject": (
                "drop the entries",
                "Map.reject({})",
                ("Map.filter({})", "wrong_function", "`Map.filter/2` keeps what should go."),
            ),
            "count": (
                "count the entries",
                "Enum.count({})",
                ("map_size()", "missing_step", "`map_size/1` counts all entries, not only the matching ones."),
            ),
        }[choice]
        clause = f"whose {part.one} {predicate.condition}"
        phrase = {
            "filter": f"the entries of {state.phrase} {clause}",
            "reject": f"{state.phrase} without the entries {clause}",
            "count": f"the number of entries of {state.phrase} {clause}",
        }[choice]
        after = (
            scalar(state, parse("int"), "count", phrase, f"count_{state.slug}")
            if choice == "count"
            else replace(state, phrase=phrase, object="the map", is_first=False, is_plain=False)
        )
        others = (
            (f"Enum.filter({function}) |> Map.new()",)
            if choice == "filter"
            else (f"Enum.reject({function}) |> Map.new()",)
            if choice == "reject"
            else ()
        )
        faults = [Fault(fault[0].format(function), fault[1], fault[2])]
        if choice != "count":
            faults.append(
                Fault(
                    f"Enum.{choice}({function})",
                    "wrong_type",
                    f"`Enum.{choice}/2` turns a map into a list of pairs; `Map.{choice}/2` keeps a map.",
                )
            )
        faults += [
            replace(each, code=call.format(as_function(each.code, element, component))) for each in predicate.faults
        ]
        return Step(
            tag=f"map_{choice}:{predicate.tag}",
            kind="entries",
            code=call.format(function),
            others=others,
            verbs=(f"~{verb} {clause}",),
            phrase=phrase,
            slug="",
            before=state,
            after=after,
            why=f"`{call.partition('(')[0]}/2` looks at key and value of each entry",
            faults=tuple(faults),
            parameters=predicate.parameters,
            helper=predicate.helper,
        )
    if choice == "values":
        mapping = mapping_of(rng, value, marks)
        if mapping is None or value.fields or mapping.to.name == "bool":
            return None
        k, v = identifier(key.one), identifier(value.one)
        call = "Map.new(fn {{{0}, {1}}} -> {{{0}, {2}}} end)"
        code = call.format(k, v, mapping.expr.replace("{x}", v))
        phrase = (
            f"{state.phrase} with each value replaced: "
            + ("the " if not mapping.noun.startswith("{n}") else "")
            + mapping.noun.replace("{n}", f"the {value.plural}")
        )
        pair = pair_of("entry", "entries", key, replace(element_after(mapping, value), one=mapping.one))
        after = State(
            type=Type("map", (key.type, mapping.to)), element=pair, phrase=phrase, object="the map", slug=state.slug
        )
        faults = [replace(each, code=call.format(k, v, each.code.replace("{x}", v))) for each in mapping.faults]
        faults.append(
            Fault(
                f"Enum.map(fn {{{k}, {v}}} -> {{{k}, {mapping.expr.replace('{x}', v)}}} end)",
                "wrong_type",
                "`Enum.map/2` on a map gives a list of pairs; it has to become a map again.",
            )
        )
        return Step(
            tag=f"map_values:{mapping.tag}",
            kind="entries",
            code=code,
            others=(f"Enum.map(fn {{{k}, {v}}} -> {{{k}, {mapping.expr.replace('{x}', v)}}} end) |> Map.new()",),
            verbs=(mapping.verb.replace("{each}", f"the {value.one} of each entry"),),
            phrase=phrase,
            slug="",
            before=state,
            after=after,
            why="`Map.new/2` builds the new map from pairs of the old key and the new value",
            faults=tuple(faults),
            parameters=mapping.parameters,
            helper=mapping.helper,
        )
    if value.type.name not in ("int", "float", "str"):
        return None
    if choice == "sort":
        phrase = (
            f"the {key.plural} of {state.phrase}, sorted by {value.one} from the largest down and then by {key.one}"
        )
        k, v = identifier(key.one), identifier(value.one)
        if value.type.name == "str" or key.type.name not in ("str", "int", "atom"):
            return None
        after = State(
            type=Type("list", (key.type,)),
            element=key,
            phrase=phrase,
            object=f"the {key.plural}",
            slug=f"ranked_{identifier(key.plural)}",
        )
        code = f"Enum.sort_by(fn {{{k}, {v}}} -> {{-{v}, {k}}} end) |> Enum.map(&elem(&1, 0))"
        return Step(
            tag="map_ranked_keys",
            kind="entries",
            code=code,
            verbs=(f"~list the {key.plural} from the largest {value.one} to the smallest, ties in order of {key.one}",),
            phrase=phrase,
            slug=after.slug,
            before=state,
            after=after,
            why="sorting by the negated value and then the key puts the largest first and makes ties predictable",
            faults=(
                Fault(
                    f"Enum.sort_by(fn {{{k}, {v}}} -> {{{v}, {k}}} end) |> Enum.map(&elem(&1, 0))",
                    "wrong_order",
                    "Without the minus the smallest value comes first.",
                ),
                Fault(
                    f"Enum.sort_by(fn {{{k}, {v}}} -> {{-{v}, {k}}} end) |> Enum.map(&elem(&1, 1))",
                    "off_by_one",
                    "`elem(pair, 1)` is the value; the key is `elem(pair, 0)`.",
                ),
            ),
        )
    word = "largest" if choice == "max" else "smallest"
    phrase = f"the {key.one} with the {word} {value.one} in {state.phrase}, or nil"
    after = scalar(state, Type("option", (key.type,)), key.one, phrase, f"{word}_{identifier(key.one)}")
    call = f"Enum.{choice}_by(&elem(&1, 1), fn -> {{nil, nil}} end) |> elem(0)"
    other = "min" if choice == "max" else "max"
    return Step(
        tag=f"map_{choice}_key",
        kind="entries",
        code=call,
        verbs=(f"~find the {key.one} with the {word} {value.one} (nil if there is none)",),
        phrase=phrase,
        slug=after.slug,
        before=state,
        after=after,
        why=f"`Enum.{choice}_by/3` compares the values, and `elem/2` takes the key of the pair it finds",
        faults=(
            Fault(
                call.replace(f"{choice}_by", f"{other}_by"),
                "wrong_function",
                f"`Enum.{other}_by/3` looks for the other end.",
            ),
            Fault(
                call.replace("elem(0)", "elem(1)"),
                "off_by_one",
                "`elem(pair, 1)` is the value; tuples count from 0 and the key comes first.",
            ),
            Fault(
                f"Enum.{choice}_by(&elem(&1, 1)) |> elem(0)",
                "edge_case",
                f"`Enum.{choice}_by/2` raises on an empty map.",
            ),
        ),
    )


HIGHER: tuple[tuple[Operation, int], ...] = (
    (filter_by, 6),
    (reject_by, 2),
    (map_by, 7),
    (apply_to_value, 6),
    (ask_value, 2),
    (ask_list, 5),
    (by_key, 6),
    (total_per_key, 3),
    (map_entries, 6),
)
