# ruff: noqa: E501  (sentences stay whole)
"""A chain in English: what is asked for in many voices, the documentation, and the explanation."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from elixir_coder.data.synthesis.compose import Chain
from elixir_coder.data.synthesis.types import literal, spec

_DOUBLED = {"cut", "drop", "skip", "get", "put", "map", "swap", "split", "trim", "sum", "cap", "pad"}
_VERB = re.compile(r"~(\w+)")


def third(verbs: str) -> str:
    """`~keep the even ones` as `keeps the even ones`."""
    return _VERB.sub(lambda found: _third(found[1]), verbs)


def gerund(verbs: str) -> str:
    """As `keeping the even ones`."""
    return _VERB.sub(lambda found: _gerund(found[1]), verbs)


def imperative(verbs: str) -> str:
    return verbs.replace("~", "")


def _third(verb: str) -> str:
    if re.search(r"(s|sh|ch|x|z|o)$", verb):
        return verb + "es"
    if re.search(r"[^aeiou]y$", verb):
        return verb[:-1] + "ies"
    return verb + "s"


def _gerund(verb: str) -> str:
    if verb in _DOUBLED:
        return verb + verb[-1] + "ing"
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith(("ee", "ye")):
        return verb[:-1] + "ing"
    return verb + "ing"


def capital(text: str) -> str:
    """With a capital first letter, unless it begins with code."""
    return text[:1].upper() + text[1:]


def worded(chain: Chain, text: str) -> str:
    """Marks as they are read: arguments as `name`, values as Elixir writes them."""
    lifted = {parameter.mark: f"`{parameter.name}`" for parameter in chain.lifted}
    values = {each.mark: lifted.get(each.mark) or _spoken(each.value) for each in chain.parameters}
    text = re.sub(r"«\d+»", lambda found: values[found[0]], text)
    text = re.sub(r"`([\w]+)`(?=(th|rd|st|nd)\b)", r"`\1`-", text)
    return re.sub(r"\b(\d+)th\b", lambda found: found[1] + _ordinal(int(found[1])), text)


def _ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def _spoken(value: object) -> str:
    if isinstance(value, str) and type(value) is not str:
        return f"`:{value}`"
    return (
        literal(value)
        if isinstance(value, (int, float))
        else f"`{literal(value)}`"
        if not isinstance(value, str)
        else literal(value)
    )


def sequence(parts: Sequence[str], rng: random.Random) -> str:
    """Clauses in the order in which they happen."""
    if len(parts) == 1:
        return parts[0]
    if any("," in part for part in parts[:-1]):
        return ", then ".join(parts)
    if len(parts) == 2:
        return f"{parts[0]}{rng.choice([' and ', ', then ', ' and then '])}{parts[1]}"
    last = rng.choice([" and ", ", and finally ", " and then ", ", and then "])
    return ", ".join(parts[:-1]) + last + parts[-1]


def given_words(chain: Chain, rng: random.Random) -> str:
    """What the function takes, as a noun phrase with an article."""
    element, kind = chain.start.element, chain.start.type.name
    extra = "".join(f" and {_article_for(parameter.type)} `{parameter.name}`" for parameter in chain.lifted)
    if kind == "list" and element.is_record:
        keys = ", ".join(f"`:{field.one}`" for field in element.fields)
        words = rng.choice(
            [
                f"a list of {element.plural}",
                f"a list of {element.one} maps",
                f"a list of {element.plural} (maps with the keys {keys})",
            ]
        )
    elif kind == "list" and element.is_pair:
        shape = "{" + ", ".join(field.one for field in element.fields) + "}"
        words = rng.choice([f"a list of `{shape}` tuples", f"a list of {element.plural}, each a `{shape}` tuple"])
    elif kind == "list":
        noun = {"int": "integers", "float": "floats", "str": "strings", "atom": "atoms", "date": "dates"}[
            element.type.name
        ]
        article = "an" if element.one[0] in "aeiou" else "a"
        words = rng.choice([f"a list of {element.plural}", f"a list of {noun}", f"a list of {element.plural} ({noun})"])
        if element.plural == noun:
            words = f"a list of {noun}"
    elif kind == "map":
        key, value = element.fields
        words = rng.choice([f"a map from {key.one} to {value.one}", f"a map of {value.plural} keyed by {key.one}"])
    elif element.one == "n":
        words = "an integer `n`"
    else:
        noun = {"int": "an integer", "str": "a string", "float": "a float", "date": "a `Date`", "atom": "an atom"}[
            element.type.name
        ]
        article = "an" if element.one[0] in "aeiou" else "a"
        words = rng.choice([noun, f"{article} {element.one}", f"{article} {element.one} ({noun.partition(' ')[2]})"])
    return words + extra


def _article_for(type_: object) -> str:
    return {"int": "an integer", "str": "a string", "atom": "an atom", "date": "a date"}.get(
        getattr(type_, "name", ""), "a value"
    )


def verbs_of(chain: Chain, rng: random.Random) -> list[str]:
    return [rng.choice(step.verbs) for step in chain.steps]


def documentation(chain: Chain, rng: random.Random) -> str:
    """The first sentence of the function's documentation."""
    phrase = worded(chain, chain.end.phrase)
    if len(phrase) < 110 and is_clear(chain) and rng.random() < 0.6:
        return wrapped(f"Returns {phrase}.")
    return wrapped(capital(worded(chain, sequence([third(verb) for verb in verbs_of(chain, rng)], rng))) + ".")


def wrapped(text: str, width: int = 86) -> str:
    lines, line = [], ""
    for word in text.split(" "):
        if line and len(line) + len(word) + 1 > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "\n".join([*lines, line])


_ASKS_STYLE = {
    "recursion": ["Use recursion instead of `Enum`.", "Solve it with plain recursion.", "Please write it recursively, with pattern matching on the list."],
    "accumulator": ["Make it tail recursive, with an accumulator.", "Use a private tail-recursive helper.", "It should be tail recursive."],
    "comprehension": ["Use a `for` comprehension.", "A comprehension would be nice.", "Write it as a comprehension."],
    "reduce": ["Do it in a single `Enum.reduce`.", "One pass with `Enum.reduce/3`, please.", "Use `Enum.reduce/3`."],
    "stream": ["Use `Stream` so that no intermediate lists are built.", "Make it lazy with `Stream`."],
    "named": ["Give the intermediate results names instead of one long pipe.", "Name each intermediate result."],
    "pipe": ["Use the pipe operator.", "A pipeline, please.", "Use `Enum` functions and pipes where they help."],
}  # fmt: skip


def instructions(
    chain: Chain,
    rng: random.Random,
    *,
    module: str,
    function: str,
    example: str,
    style: str,
    head: str,
    wanted: int = 4,
) -> list[str]:
    """Several different ways to ask for the chain. example: a call whose value may be shown. head: `def f(x)`."""
    arity = len(chain.names)
    name = f"{function}/{arity}"
    full = f"{module}.{name}"
    makers = [
        _plain,
        _implement,
        _given,
        _noun,
        _chatty,
        _module,
        _numbered,
        _example,
        _skeleton,
        _question,
        _terse,
        _need,
        _docs,
        _backwards,
    ]
    weights = [5, 4, 4, 4, 3, 4, 2, 3, 2, 3, 3, 2, 2, 2]
    found: list[str] = []
    for _ in range(wanted * 6):
        make = rng.choices(makers, weights)[0]
        text = make(chain, rng, name, full, module, function)
        if text is None:
            continue
        text = worded(chain, text)
        # The last two ask for no style: they also stand over programs that are written in another one.
        asks = rng.random() < (0.04 if style in ("pipe", "named") else 0.75)
        if asks and len(found) < wanted - 2:
            text = (
                f"{text.rstrip()} {rng.choice(_ASKS_STYLE[style])}"
                if "```" not in text and "\n" not in text
                else f"{rng.choice(_ASKS_STYLE[style])}\n\n{text}"
            )
        if make is _example or (rng.random() < 0.12 and "```" not in text):
            text += rng.choice(
                [
                    f"\n\nExample:\n\n    iex> {example}\n    @@{example}@@",
                    f" For example, `{example}` returns `@@{example}@@`.",
                    f"\n\n`{example}` should give `@@{example}@@`.",
                ]
            )
        if make is _skeleton:
            text += f"\n\n```elixir\n@spec {function}({', '.join([spec(chain.start.type), *(spec(each.type) for each in chain.lifted)])}) :: {spec(chain.end.type)}\n{head}\n```"
        if text not in found:
            found.append(text)
        if len(found) == wanted:
            break
    return found


def _thirds(chain: Chain, rng: random.Random) -> str:
    return sequence([third(verb) for verb in verbs_of(chain, rng)], rng)


def _imperatives(chain: Chain, rng: random.Random) -> str:
    return sequence([imperative(verb) for verb in verbs_of(chain, rng)], rng)


def _short_phrase(chain: Chain) -> str | None:
    """The result as a noun phrase, where that is short and says what comes first."""
    return chain.end.phrase if len(chain.end.phrase) < 130 and is_clear(chain) else None


def is_clear(chain: Chain) -> bool:
    """Not `the digits of the salaries in reverse order`: which of them are reversed?"""
    trails = False
    for step in chain.steps:
        if trails and step.kind in ("map", "value"):
            return False
        trails = trails or (step.kind == "plain" and step.phrase.startswith(step.before.phrase))
    return True


def _plain(chain: Chain, rng: random.Random, name: str, full: str, module: str, function: str) -> str:
    what = rng.choice([f"a function `{name}`", f"an Elixir function `{function}`", f"`{name}`", "a function"])
    verb = rng.choice(["takes", "takes", "gets", "accepts", "receives"])
    return f"{rng.choice(['Write', 'Write', 'Implement', 'Create', 'Define'])} {what} that {verb} {given_words(chain, rng)} and {_thirds(chain, rng)}."


def _implement(chain: Chain, rng: random.Random, name: str, full: str, module: str, function: str) -> str:
    return f"Implement `{full}`. Given {given_words(chain, rng)}, it should {_imperatives(chain, rng)}."


def _given(chain: Chain, rng: random.Random, name: str, full: str, module: str, function: str) -> str | None:
    if (phrase := _short_phrase(chain)) is None:
        return None
    verb = rng.choice(
        ["return", "return", "give back", "compute", "determine"]
        if not phrase.startswith("whether")
        else ["return", "determine", "tell"]
    )
    return f"Given {given_words(chain, rng)}, {verb} {phrase}."


def _noun(chain: Chain, rng: random.Random, name: str, full: str, module: str, function: str) -> str | None:
    if (phrase := _short_phrase(chain)) is None:
        return None
    call = f"{function}({', '.join(chain.names)})"
    return rng.choice(
        [
            f"Write `{call}` in Elixir: it returns {phrase}.",
            f"`{full}` should return {phrase}. The argument is {given_words(chain, rng)}.",
            f"I need `{call}` to return {phrase}.",
        ]
    )


def _chatty(chain: Chain, rng: random.Random, name: str, full: str, module: str, function: str) -> str | None:
    opening = rng.choice(
        ["Hi! ", "", "", "Quick one: ", "Hey, ", "I'm new to Elixir. ", "Working on a small project here. "]
    )
    if (phrase := _short_phrase(chain)) and rng.random() < 0.5:
        return f"{opening}I have {given_words(chain, rng)} and need {_to_know(phrase)}. {rng.choice(['How do I write that?', 'Can you write the function?', 'What would that look like in Elixir?', 'Could you do that as a small module?'])}"
    return f"{opening}I have {given_words(chain, rng)} and would like to {_imperatives(chain, rng)}. {rng.choice(['How would you do it?', 'Please show me the code.', 'Can you help?', f'Call the function `{function}`.'])}"


def _to_know(phrase: str) -> str:
    return f"to know {phrase}" if phrase.startswith("whether") else phrase


def _module(chain: Chain, rng: random.Random, name: str, full: str, module: str, function: str) -> str:
    extra = rng.choice(
        [
            "",
            "",
            " Add a doc and a typespec.",
            " Include documentation with an example.",
            " With `@doc` and `@spec`, please.",
        ]
    )
    return f"{rng.choice(['Create', 'Write', 'Define'])} a module `{module}` with a function `{name}` that takes {given_words(chain, rng)} and {_thirds(chain, rng)}.{extra}"


def _numbered(chain: Chain, rng: random.Random, name: str, full: str, module: str, function: str) -> str | None:
    if len(chain.steps) < 2:
        return None
    marks = rng.choice(["{}. ", "- ", "* ", "{}) "])
    lines = "\n".join(f"{marks.format(at)}{imperative(verb)}" for at, verb in enumerate(verbs_of(chain, rng), 1))
    return f"{rng.choice(['Write', 'I need'])} `{name}` ({rng.choice(['in Elixir', f'module `{module}`'])}). Input: {given_words(chain, rng)}. Steps:\n\n{lines}"


def _example(chain: Chain, rng: random.Random, name: str, full: str, module: str, function: str) -> str:
    return (
        _plain(chain, rng, name, full, module, function)
        if rng.random() < 0.5
        else _implement(chain, rng, name, full, module, function)
    )


def _skeleton(chain: Chain, rng: random.Random, name: str, full: str, module: str, function: str) -> str | None:
    if (phrase := _short_phrase(chain)) is None:
        return None
    return f"{rng.choice(['Complete this function', 'Fill in the body', 'Implement the function with this signature'])} (module `{module}`). It returns {phrase}."


def _question(chain: Chain, rng: random.Random, name: str, full: str, module: str, function: str) -> str:
    return rng.choice([
        f"How do I {_imperatives(chain, rng)} in Elixir? The input is {given_words(chain, rng)}.",
        f"What is an idiomatic way to {_imperatives(chain, rng)}, given {given_words(chain, rng)}?",
        f"Can you write a function that will {_imperatives(chain, rng)}? It gets {given_words(chain, rng)}.",
    ])  # fmt: skip


def _terse(chain: Chain, rng: random.Random, name: str, full: str, module: str, function: str) -> str | None:
    if (phrase := _short_phrase(chain)) is None:
        return None
    bare = phrase.removeprefix("the ")
    return rng.choice(
        [f"{bare}, elixir", f"elixir: {bare}", f"{function}: {bare}", f"{full} - {bare}", f"{capital(bare)}."]
    )


def _need(chain: Chain, rng: random.Random, name: str, full: str, module: str, function: str) -> str:
    reason = rng.choice(
        [
            "For a report",
            "For our dashboard",
            "For a small CLI tool",
            "For the nightly job",
            "As part of an import",
            "In our code base",
        ]
    )
    return f"{reason} we need a function in `{module}` that takes {given_words(chain, rng)} and {_thirds(chain, rng)}. {rng.choice([f'Name it `{function}`.', '', 'Keep it idiomatic.', 'Keep it short.'])}".rstrip()


def _docs(chain: Chain, rng: random.Random, name: str, full: str, module: str, function: str) -> str | None:
    if (phrase := _short_phrase(chain)) is None:
        return None
    return f"{full}\n\nReturns {phrase}.{rng.choice(['', f' Expects {given_words(chain, rng)}.'])}"


def _backwards(chain: Chain, rng: random.Random, name: str, full: str, module: str, function: str) -> str | None:
    if len(chain.steps) < 2:
        return None
    last, before = chain.steps[-1], chain.steps[:-1]
    earlier = sequence([gerund(rng.choice(step.verbs)) for step in before], rng)
    return f"`{function}` takes {given_words(chain, rng)}. After {earlier}, it should {imperative(rng.choice(last.verbs))}."


_STYLE_WHY = {
    "recursion": "The function calls itself with the rest of the list, and the clause for the empty list ends the recursion.",
    "accumulator": "The private function carries what was gathered so far in an accumulator, so the last call is the recursive one and the stack does not grow.",
    "comprehension": "The comprehension does it in one expression: generator first, then what has to hold, then the value.",
    "reduce": "`Enum.reduce/3` walks the list once, and the function returns the accumulator for the next element.",
    "stream": "`Stream` functions only describe the work; the elements pass through all of them one by one when the last call asks for them.",
}  # fmt: skip


def explanation(chain: Chain, rng: random.Random, *, function: str, style: str, empty: str) -> str:
    """empty: the call with an empty list, whose value is told; "" for none."""
    name = f"`{function}/{len(chain.names)}`"
    phrase = worded(chain, chain.end.phrase)
    parts = [
        f"{name} returns {phrase}."
        if len(phrase) < 130 and is_clear(chain)
        else f"{name} {worded(chain, _thirds(chain, rng))}."
    ]
    if style in ("pipe", "named", "stream"):
        why = [worded(chain, step.why) for step in chain.steps if step.why]
        if style == "stream":
            why = [
                re.sub(r"`Enum\.", "`Stream.", each)
                if any(
                    f"`Enum.{word}/" in each for word in ("filter", "map", "reject", "take", "drop", "uniq", "dedup")
                )
                else each
                for each in why
            ]
        if len(why) == 1:
            parts.append(capital(why[0]) + ".")
        elif why:
            words = ["First ", "then ", "after that ", "next "]
            told = [
                (words[at] if at < len(why) - 1 or at == 0 else "finally ") + each for at, each in enumerate(why[:4])
            ]
            parts.append("; ".join(told) + ".")
    if style in _STYLE_WHY:
        parts.append(_STYLE_WHY[style])
    if empty and rng.random() < 0.6:
        parts.append(
            f"For {rng.choice(['an empty list', 'no elements', 'the empty list'])} the result is `@@{empty}@@`."
        )
    return " ".join(parts)
