"""Put operations together by type: a chain of steps from what a function takes to what it gives."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from elixir_coder.data.synthesis.lambdas import Marks, Parameter
from elixir_coder.data.synthesis.operations.higher import HIGHER
from elixir_coder.data.synthesis.operations.plain import PLAIN
from elixir_coder.data.synthesis.operations.step import Operation, State, Step, identifier
from elixir_coder.data.synthesis.subjects import Element
from elixir_coder.data.synthesis.types import Type

OPERATIONS: tuple[tuple[Operation, int], ...] = (*HIGHER, *PLAIN)

_TRIES = 60

# What a step does that the next one may undo or not notice.
_REORDERS = {
    "reverse",
    "sort",
    "sort_desc",
    "sort_by",
    "sort_by_desc",
    "rotate",
    "sort_ignoring_case",
    "sort_by_length",
}
_REORDERS |= {"sort_dates", "sort_dates_desc", "swap_halves"}
_BLIND_TO_ORDER = {"sum", "product", "count", "max", "min", "mean", "median", "min_max", "frequencies", "to_set", "any"}
_BLIND_TO_ORDER |= {
    "count_distinct",
    "range_width",
    "all",
    "none",
    "sum_by",
    "is_empty",
    "total_length",
    "letter_counts",
}
_BLIND_TO_ORDER |= {"frequencies_by", "per_key", "has_duplicates", "sum_of_squares", "gcd_all", "largest_gap", "latest"}
_BLIND_TO_ORDER |= {"span_days", "all_true", "count_true", "is_sorted"}
_REMOVES_REPEATS = {"uniq", "dedup", "dedup_by", "uniq_by"}
_BLIND_TO_REPEATS = {"max", "min", "min_max", "to_set", "uniq", "dedup", "any", "all", "none", "has_duplicates"}
_BLIND_TO_REPEATS |= {"duplicates", "count_distinct", "is_empty", "latest", "range_width"}
_CUTS = {"take", "take_last", "drop", "drop_last", "slice", "take_every", "without_first_last"}
_KEEPS_COUNT = {
    "map",
    "sort",
    "reverse",
    "sort_by",
    "sort_desc",
    "sort_by_desc",
    "running_total",
    "rotate",
    "with_index",
}


@dataclass(frozen=True, kw_only=True)
class Chain:
    """start: what comes in, called `argument` in the program. lifted: parameters that are arguments, in order."""

    start: State
    argument: str
    steps: tuple[Step, ...]
    lifted: tuple[Parameter, ...] = ()

    @property
    def end(self) -> State:
        return self.steps[-1].after

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(step.tag for step in self.steps)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(parameter for step in self.steps for parameter in step.parameters)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the function's arguments."""
        return (self.argument, *(parameter.name for parameter in self.lifted))


def start_of(element: Element, kind: str) -> tuple[State, str]:
    """The state before the first step, and the name of the argument. kind: `list`, `value` or `map`."""
    if kind == "list":
        type_ = Type("list", (element.type,))
        plural = element.plural
        return State(
            type=type_,
            element=element,
            phrase=f"the {plural}",
            object=f"the {plural}",
            slug=identifier(plural),
            is_plain=True,
            is_first=True,
        ), identifier(plural)
    if kind == "map":
        key, value = element.fields
        words = f"the map of {value.plural} by {key.one}"
        type_ = Type("map", (key.type, value.type))
        return State(
            type=type_, element=element, phrase=words, object="the map", slug=identifier(value.plural), is_first=True
        ), identifier(value.plural)
    words = "`n`" if element.one == "n" else f"the {element.one}"
    return State(
        type=element.type, element=element, phrase=words, object=words, slug=identifier(element.one), is_first=True
    ), identifier(element.one)


def draw_chain(
    rng: random.Random,
    start: State,
    argument: str,
    num_steps: int,
    operations: Sequence[tuple[Operation, int]] = OPERATIONS,
) -> Chain | None:
    """A chain of so many steps that make sense one after the other, or None where none was found."""
    marks = Marks()
    steps: list[Step] = []
    state = start
    for number in range(num_steps):
        step = _next_step(rng, state, marks, steps, operations, is_last=number == num_steps - 1)
        if step is None:
            return None
        steps.append(step)
        state = step.after
    chain = Chain(start=start, argument=argument, steps=tuple(steps))
    return _with_arguments(rng, chain) if _helpers_agree(steps) else None


def extended(rng: random.Random, chain: Chain) -> Chain | None:
    """The chain with one more step."""
    marks = Marks(number=100)
    step = _next_step(rng, replace(chain.end, is_first=False), marks, list(chain.steps), OPERATIONS, is_last=True)
    if step is None or not _helpers_agree([*chain.steps, step]):
        return None
    return replace(chain, steps=(*chain.steps, step))


def _next_step(
    rng: random.Random,
    state: State,
    marks: Marks,
    before: list[Step],
    operations: Sequence[tuple[Operation, int]],
    *,
    is_last: bool,
) -> Step | None:
    names, weights = [operation for operation, _ in operations], [weight for _, weight in operations]
    for _ in range(_TRIES):
        step = rng.choices(names, weights)[0](rng, state, marks)
        if step is None or not _makes_sense(step, before):
            continue
        if not is_last and _is_end(step.after):
            continue
        return step
    return None


def _is_end(state: State) -> bool:
    return state.type.name in ("bool", "option", "tuple", "atom") or _depth(state.type) > 3


def _depth(type_: Type) -> int:
    return 1 + max((_depth(each) for each in type_.arguments), default=0)


def _makes_sense(step: Step, before: list[Step]) -> bool:
    if _depth(step.after.type) > 4 or len(step.after.phrase) > 220:
        return False
    tag = step.tag.split(":")[0]
    if tag in ("words", "apply") and step.tag in ("words", "apply:words") and step.before.element.one in _ONE_WORD:
        return False
    if tag in _COUNTS_UP and not _is_small(step.before, before):
        return False
    if step.before.element.is_record and tag in _WHOLE_ELEMENTS:
        return False
    if not before:
        return True
    if step.before.type.name in ("int", "float") and tag in ("apply", "ask") and before[0].before.type.name != "int":
        # What one does with a count or a sum.
        return step.tag.split(":")[1] in _OF_RESULTS and before[-1].tag.split(":")[0] not in ("apply", "ask")
    if step.before.type.name == "int" and step.after.type.name != "str" and before[0].before.type.name != "int":
        return False
    last = before[-1].tag.split(":")[0]
    tags = [each.tag for each in before]
    if step.before.type.name == "str" and before[0].before.type.name != "str" and tag in ("apply", "ask"):
        return step.tag.split(":")[1] in _OF_TEXTS and last not in ("apply", "ask")
    if last in _GIVES_SORTED and (tag in _REORDERS or tag in _REMOVES_REPEATS or tag == "is_sorted"):
        return False
    if (last, tag) in _POINTLESS:
        return False
    if step.tag in tags or (tag == last and tag not in ("map", "apply")):
        return False
    if last in _REORDERS and (tag in _BLIND_TO_ORDER or tag in _REORDERS):
        return False
    if last in _REMOVES_REPEATS and (tag in _BLIND_TO_REPEATS or tag in _REMOVES_REPEATS):
        return False
    if last in _KEEPS_COUNT and tag in ("count", "is_empty", "count_lists"):
        return False
    if last in ("filter", "reject") and tag in ("filter", "reject", "count", "any", "none", "find", "count_distinct"):
        return False
    if last == "map" and tag == "map" and (before[-1].after.type.name != "list" or len(before) > 2):
        return False
    if last == "apply" and tag == "apply" and (len(before) > 2 or _undoes(before[-1].tag, step.tag)):
        return False
    if last in _CUTS and (tag in _CUTS or tag in ("count", "nth_from_end", "is_empty")):
        return False
    if last in ("chunk", "windows", "chunk_by", "chunk_by_key") and tag in ("concat", "count_distinct"):
        return False
    if last in ("min_max", "frequencies") and tag == "map_size":
        return False
    return not (
        last == "characters" and tag in ("longest", "shortest", "concat_strings", "total_length", "sort_by_length")
    )


_COUNTS_UP = {
    "up_to",
    "countdown",
    "divisors",
    "collatz",
    "prime_factors",
    "factorial",
    "triangular",
    "multiples",
    "power",
}
_SMALL = {
    "count_words",
    "count_vowels",
    "count",
    "count_distinct",
    "apply:length",
    "apply:digit_sum",
    "apply:digit_count",
}
# Records that are equal in every field are rare, and not what anybody asks about.
_WHOLE_ELEMENTS = {"frequencies", "uniq", "dedup", "duplicates", "most_common", "count_distinct", "has_duplicates"}
_WHOLE_ELEMENTS |= {"to_set", "is_mirror", "mirror"}
_OF_RESULTS = {"scaled", "raised", "lowered", "percent", "to_text", "capped", "halved", "divided", "doubled", "rounded"}
_OF_RESULTS |= {"above", "below", "at_least", "at_most", "even", "odd", "between", "positive", "nearest", "padded"}
_ONE_WORD = {"word", "character", "letter", "code", "path", "file", "email", "tag"}
_OF_TEXTS = {"upcased", "prefixed", "suffixed", "capitalized", "shortened", "reversed", "length", "downcased"}
_GIVES_SORTED = {"map_keys", "map_ranked_keys", "set_to_list", "up_to", "divisors", "prime_factors", "multiples"}
_POINTLESS = {("dedup", "first"), ("uniq", "first"), ("frequencies", "map_sum"), ("frequencies_by", "map_sum")}
_POINTLESS |= {("shares", "map_keys"), ("map_values", "map_keys"), ("group_sizes", "map_keys")}
_POINTLESS |= {
    ("frequencies", "map_keys"),
    ("frequencies_by", "map_keys"),
    ("shares", "map_size"),
    ("map_values", "map_size"),
}
_POINTLESS |= {
    ("with_index", each) for each in ("frequencies", "uniq", "dedup", "to_set", "duplicates", "has_duplicates")
}
_POINTLESS |= {("snake", "numbers_in"), ("group_by", "map_sum"), ("squeeze", "words"), ("squeeze", "count_words")}
_POINTLESS |= {
    ("reverse_words", "count_words"),
    ("titlecase", "count_words"),
    ("sort", "first"),
    ("sort_desc", "first"),
}
_POINTLESS |= {("letters_only", "has_digit"), ("rotate", "count"), ("mirror", "is_mirror"), ("reverse", "is_mirror")}
_POINTLESS |= {("with_index", "count"), ("squeeze", "acronym"), ("titlecase", "word_counts"), ("reverse", "take_last")}
_POINTLESS |= {
    ("reverse", "first"),
    ("reverse", "last"),
    ("snake", "titlecase"),
    ("titlecase", "snake"),
    ("words", "words"),
}
_POINTLESS |= {("reverse_words", "reverse_words"), ("reverse_each_word", "reverse_words"), ("frequencies", "shares")}
_CASES = ("apply:upcased", "apply:downcased", "apply:capitalized")


def _is_small(state: State, before: list[Step]) -> bool:
    """Whether a number is one that one may count up to."""
    if state.is_first:
        return state.element.bounds[1] <= 60
    return bool(before) and before[-1].tag in _SMALL


def _undoes(one: str, other: str) -> bool:
    return (one in _CASES and other in _CASES) or one == other or {one, other} == {"apply:absolute", "apply:negated"}


_DEFINED = re.compile(r"^defp (\w+[?!]?)", re.MULTILINE)


def _helpers_agree(steps: Sequence[Step]) -> bool:
    """Whether no two different private functions have the same name."""
    texts: dict[str, str] = {}
    return all(
        texts.setdefault(name, step.helper) == step.helper
        for step in steps
        for name in set(_DEFINED.findall(step.helper))
    )


def _with_arguments(rng: random.Random, chain: Chain) -> Chain:
    """Some parameters become arguments; two of one name never do."""
    lifted: list[Parameter] = []
    taken = {chain.argument, chain.start.variable}
    for step in chain.steps:
        for parameter in step.parameters:
            if rng.random() < 0.3 and can_lift(step, parameter) and parameter.name not in taken:
                lifted.append(parameter)
                taken.add(parameter.name)
    return replace(chain, lifted=tuple(lifted[:2]))


def can_lift(step: Step, parameter: Parameter) -> bool:
    """Whether the parameter may be a variable: not in a private function, nor as the end of a range."""
    return parameter.mark not in step.helper and f"0..{parameter.mark}" not in step.code
