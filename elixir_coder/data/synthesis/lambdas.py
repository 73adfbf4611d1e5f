# ruff: noqa: E501  (tables: one row, one line)
"""What can be said of one element (a predicate) and made of one (a mapping): the small change of every pipeline.

In code `{x}` is the element and `{k}` a parameter, which becomes a literal or an argument when the program is written.
In words `{n}` is a plural noun, `{one}` a singular one. Elements with fields get all of these for each field by `lifted`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from elixir_coder.data.synthesis.subjects import Element
from elixir_coder.data.synthesis.types import Name, Type, parse, substitute, unify


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A value that a program needs: written out, or taken as an argument called `name`."""

    mark: str  # stands for it in code and words until the program is written
    name: str
    type: Type
    value: Any


@dataclass(frozen=True)
class Fault:
    """What replaces a piece of code, and what is wrong with it then."""

    code: str
    kind: str
    diagnosis: str


@dataclass(frozen=True, kw_only=True)
class Predicate:
    """condition: of one, e.g. `is even`; adjective: where there is one, what may stand before the noun.

    guard: whether `expr` may stand in a guard. helper: private functions that `expr` calls.
    component: the field of a tuple that `{x}` is; None where it is the element itself. open_fact: what could be left
    open: (condition without it, question, ((answer, expr), ...)), the first answer being this predicate's.
    """

    tag: str
    type: Type
    expr: str
    condition: str
    adjective: str = ""
    guard: bool = False
    helper: str = ""
    faults: tuple[Fault, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    component: int | None = None
    open_fact: tuple[str, str, tuple[tuple[str, str], ...]] | None = None
    values: tuple[Any, ...] = ()

    def those(self, noun: str) -> str:
        """The noun with the condition: `even scores`, `scores that are above 3`."""
        return f"{self.adjective} {noun}" if self.adjective else f"{noun} {self.clause}"

    @property
    def clause(self) -> str:
        """`that are even`, `whose price is above 3`: what stands after a plural."""
        return self.condition if self.condition.startswith("whose ") else f"that {_plural(self.condition)}"


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """verb: imperative, `{each}` is `each score`. noun: `{n}` is the plural or a whole noun phrase. result: what one and
    several of the results are called.
    """

    tag: str
    type: Type
    to: Type
    expr: str
    verb: str
    noun: str
    one: str
    plural: str
    helper: str = ""
    faults: tuple[Fault, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    component: int | None = None
    element: Element | None = None  # a field's
    guard: bool = False
    open_fact: tuple[str, str, tuple[tuple[str, str], ...]] | None = None


def _plural(condition: str) -> str:
    verb, _, rest = condition.partition(" ")
    plural = {"is": "are", "has": "have", "does": "do", "was": "were"}.get(verb)
    if plural is None:
        plural = re.sub(r"(?<=[^s])s$", "", re.sub(r"(ch|sh|ss|x)es$", r"\1", verb))
    return f"{plural} {rest}".strip()


# --------------------------------------------------------------------------------------------------- the tables

_PRIME = """
defp prime?(number) when number < 2, do: false

defp prime?(number) do
  2 |> Stream.iterate(&(&1 + 1)) |> Stream.take_while(&(&1 * &1 <= number)) |> Enum.all?(&(rem(number, &1) != 0))
end
"""
_DIGIT_SUM = """
defp digit_sum(number), do: number |> abs() |> Integer.digits() |> Enum.sum()
"""
_FACTORIAL = """
defp factorial(0), do: 1
defp factorial(number) when number > 0, do: number * factorial(number - 1)
"""
_GCD_FREE = """
defp square?(number) do
  root = number |> :math.sqrt() |> round()
  root * root == number
end
"""
_PALINDROME = """
defp palindrome?(text), do: text == String.reverse(text)
"""
_CLAMP = """
defp clamp(value, low, high), do: value |> max(low) |> min(high)
"""
_VOWELS = """
defp count_vowels(text) do
  text |> String.downcase() |> String.graphemes() |> Enum.count(&(&1 in ~w(a e i o u)))
end
"""
_INITIALS = """
defp initials(text), do: text |> String.split() |> Enum.map_join(&String.first/1)
"""
_SLUG = """
defp slug(text) do
  text |> String.downcase() |> String.replace(~r/[^a-z0-9]+/, "-") |> String.trim("-")
end
"""
_COLLATZ = """
defp collatz(1), do: 0
defp collatz(number) when rem(number, 2) == 0, do: 1 + collatz(div(number, 2))
defp collatz(number), do: 1 + collatz(3 * number + 1)
"""
_DIVISORS = """
defp divisors(number), do: Enum.filter(1..number, &(rem(number, &1) == 0))
"""
_LEAP = """
defp leap?(year), do: rem(year, 4) == 0 and (rem(year, 100) != 0 or rem(year, 400) == 0)
"""

# type, tag, expr, condition, adjective, further settings
_PREDICATES: list[tuple[str, str, str, str, str, dict[str, Any]]] = [
    ("int", "even", "rem({x}, 2) == 0", "is even", "even", {"guard": True, "faults": [("rem({x}, 2) == 1", "wrong_operator", "The check `rem(x, 2) == 1` picks odd values; even ones leave a remainder of 0.")]}),
    ("int", "odd", "rem({x}, 2) != 0", "is odd", "odd", {"guard": True, "faults": [("rem({x}, 2) == 1", "edge_case", "`rem/2` keeps the sign, so negative odd values give -1 and are missed by `== 1`."), ("rem({x}, 2) == 0", "wrong_operator", "A remainder of 0 means even, so the check is the wrong way round.")]}),
    ("n", "positive", "{x} > 0", "is positive", "positive", {"guard": True}),
    ("n", "negative", "{x} < 0", "is negative", "negative", {"guard": True}),
    ("n", "nonzero", "{x} != 0", "is not zero", "nonzero", {"guard": True}),
    ("n", "non_negative", "{x} >= 0", "is zero or more", "non-negative", {"guard": True}),
    ("n", "above", "{x} > {k}", "is greater than {k}", "", {"guard": True, "k": "threshold:minimum,limit,threshold", "open": ("is from {k} up", None), "fact": ("is past {k}", "Should a value of exactly {k} count too?", (("No, only values strictly above {k}.", "{x} > {k}"), ("Yes, {k} counts as well.", "{x} >= {k}")))}),
    ("n", "below", "{x} < {k}", "is less than {k}", "", {"guard": True, "k": "threshold:maximum,limit,threshold", "fact": ("is under or around {k}", "Does {k} itself count?", (("No, strictly below {k}.", "{x} < {k}"), ("Yes, up to and including {k}.", "{x} <= {k}")))}),
    ("n", "at_least", "{x} >= {k}", "is at least {k}", "", {"guard": True, "k": "threshold:minimum,floor,threshold"}),
    ("n", "at_most", "{x} <= {k}", "is at most {k}", "", {"guard": True, "k": "threshold:maximum,ceiling,limit"}),
    ("int", "divisible", "rem({x}, {k}) == 0", "is divisible by {k}", "", {"guard": True, "k": "small:divisor,factor"}),
    ("int", "not_divisible", "rem({x}, {k}) != 0", "is not divisible by {k}", "", {"guard": True, "k": "small:divisor"}),
    ("int", "between", "{x} in {k}..{l}", "is between {k} and {l} (inclusive)", "", {"guard": True, "k": "low:low,from,minimum", "l": "high:high,to,maximum", "fact": ("is between {k} and {l}", "Do {k} and {l} themselves count?", (("Yes, both ends are included.", "{x} in {k}..{l}"), ("No, only what lies strictly between them.", "{x} > {k} and {x} < {l}")))}),
    ("int", "outside", "{x} not in {k}..{l}", "is outside the range from {k} to {l}", "", {"guard": True, "k": "low:low,minimum", "l": "high:high,maximum"}),
    ("int", "prime", "prime?({x})", "is prime", "prime", {"helper": _PRIME}),
    ("int", "single_digit", "{x} in -9..9", "has a single digit", "single-digit", {"guard": True}),
    ("int", "ends_with_digit", "rem(abs({x}), 10) == {k}", "ends in the digit {k}", "", {"guard": True, "k": "digit:digit"}),
    ("int", "digit_sum_even", "rem(digit_sum({x}), 2) == 0", "has an even digit sum", "", {"helper": _DIGIT_SUM}),
    ("str", "longer", "String.length({x}) > {k}", "has more than {k} characters", "", {"k": "length:length,minimum", "faults": [("byte_size({x}) > {k}", "edge_case", "`byte_size/1` counts bytes, so text with accents looks longer than it is; `String.length/1` counts characters.")], "fact": ("is long (about {k} characters)", "From which length on does it count: {k} characters, or only more than {k}?", (("Only more than {k} characters.", "String.length({x}) > {k}"), ("From {k} characters on.", "String.length({x}) >= {k}")))}),
    ("str", "shorter", "String.length({x}) < {k}", "has fewer than {k} characters", "", {"k": "length:length,maximum"}),
    ("str", "of_length", "String.length({x}) == {k}", "has exactly {k} characters", "", {"k": "length:length"}),
    ("str", "starting", "String.starts_with?({x}, {k})", "starts with {k}", "", {"k": "prefix:prefix,start", "fact": ("begins with {k} in some form", "Does upper or lower case matter there?", (("Yes, it must match exactly.", "String.starts_with?({x}, {k})"), ("No, ignore case.", "String.starts_with?(String.downcase({x}), String.downcase({k}))")))}),
    ("str", "ending", "String.ends_with?({x}, {k})", "ends with {k}", "", {"k": "suffix:suffix,ending", "faults": [("String.starts_with?({x}, {k})", "wrong_function", "`String.starts_with?/2` looks at the beginning; the end is `String.ends_with?/2`.")]}),
    ("str", "containing", "String.contains?({x}, {k})", "contains {k}", "", {"k": "part:part,pattern,fragment", "fact": ("mentions {k}", "Should upper and lower case be treated as the same?", (("No, match it exactly as written.", "String.contains?({x}, {k})"), ("Yes, ignore case.", "String.contains?(String.downcase({x}), String.downcase({k}))")))}),
    ("str", "without", "not String.contains?({x}, {k})", "does not contain {k}", "", {"k": "part:part,forbidden"}),
    ("str", "blank", "String.trim({x}) == \"\"", "is blank", "blank", {"faults": [("{x} == \"\"", "edge_case", "Comparing with `\"\"` misses text that is only spaces; trim it first.")]}),
    ("str", "not_blank", "String.trim({x}) != \"\"", "is not blank", "non-blank", {"faults": [("{x} != \"\"", "edge_case", "A text of spaces is not equal to `\"\"` and slips through; trim it first.")]}),
    ("str", "not_empty", "{x} != \"\"", "is not empty", "non-empty", {"guard": True}),
    ("str", "palindrome", "palindrome?({x})", "reads the same backwards", "", {"helper": _PALINDROME}),
    ("str", "uppercase", "{x} == String.upcase({x})", "is written in capitals", "", {"faults": [("{x} == String.downcase({x})", "wrong_function", "`String.downcase/1` tests for lower case instead of capitals.")]}),
    ("str", "lowercase", "{x} == String.downcase({x})", "is all lower case", "", {}),
    ("str", "capitalized", "{x} == String.capitalize({x})", "is capitalized", "capitalized", {}),
    ("str", "with_digit", "String.match?({x}, ~r/\\d/)", "contains a digit", "", {"faults": [("String.match?({x}, ~r/^\\d/)", "wrong_pattern", "`^` ties the digit to the beginning, so digits further on are not found.")]}),
    ("str", "only_letters", "String.match?({x}, ~r/^\\p{L}+$/u)", "consists of letters only", "", {"faults": [("String.match?({x}, ~r/^[a-z]+$/)", "edge_case", "`[a-z]` knows neither capitals nor accents; `\\p{L}` with the `u` modifier is every letter.")]}),
    ("str", "several_words", "length(String.split({x})) > 1", "has more than one word", "", {}),
    ("atom", "equal", "{x} == {k}", "is {k}", "", {"guard": True, "k": "atom:wanted,kind,expected"}),
    ("atom", "unequal", "{x} != {k}", "is not {k}", "", {"guard": True, "k": "atom:excluded,unwanted"}),
    ("atom", "one_of", "{x} in [{k}, {l}]", "is {k} or {l}", "", {"guard": True, "k": "atom:first", "l": "atom2:second"}),
    ("str", "equal", "{x} == {k}", "is {k}", "", {"guard": True, "k": "word:wanted,expected"}),
    ("bool", "true", "{x}", "is set", "", {"guard": True, "faults": [("not {x}", "wrong_operator", "The `not` turns the flag around.")]}),
    ("bool", "false", "not {x}", "is not set", "", {"guard": True}),
    ("date", "after", "Date.compare({x}, {k}) == :gt", "is after {k}", "", {"k": "date:date,since,start", "faults": [("{x} > {k}", "structural_comparison", "`>` compares the structs field by field (day, month, year by name), not as dates; use `Date.compare/2`.")]}),
    ("date", "before", "Date.compare({x}, {k}) == :lt", "is before {k}", "", {"k": "date:date,until,limit", "faults": [("{x} < {k}", "structural_comparison", "`<` on structs is a structural comparison; dates are compared with `Date.compare/2`.")]}),
    ("date", "in_year", "{x}.year == {k}", "is in the year {k}", "", {"guard": True, "k": "year:year"}),
    ("date", "in_month", "{x}.month == {k}", "is in month {k}", "", {"guard": True, "k": "month:month"}),
    ("date", "weekend", "Date.day_of_week({x}) in [6, 7]", "falls on a weekend", "", {"faults": [("Date.day_of_week({x}) in [5, 6]", "off_by_one", "`Date.day_of_week/1` counts from Monday as 1, so the weekend is 6 and 7.")]}),
    ("date", "leap", "Date.leap_year?({x})", "is in a leap year", "", {}),
    ("[a]", "empty", "{x} == []", "is empty", "empty", {"guard": True}),
    ("[a]", "with_several", "length({x}) > {k}", "has more than {k} elements", "", {"guard": True, "k": "small:size"}),
]  # fmt: skip

# type, to, tag, expr, verb, noun, one, plural, further settings
_MAPPINGS: list[tuple[str, str, str, str, str, str, str, str, dict[str, Any]]] = [
    ("n", "n", "squared", "{x} * {x}", "~square {each}", "squares of {n}", "square", "squares", {"guard": True, "faults": [("{x} * 2", "wrong_operator", "Multiplying by 2 doubles a value; its square is the value times itself.")]}),
    ("n", "n", "doubled", "{x} * 2", "~double {each}", "doubles of {n}", "double", "doubled values", {"guard": True, "faults": [("{x} * {x}", "wrong_operator", "`x * x` is the square, not the double.")]}),
    ("n", "n", "scaled", "{x} * {k}", "~multiply {each} by {k}", "multiples of {n} by {k}", "product", "products", {"guard": True, "k": "small:factor"}),
    ("n", "n", "raised", "{x} + {k}", "~add {k} to {each}", "{n}, each increased by {k}", "result", "increased values", {"guard": True, "k": "small:increment,bonus"}),
    ("n", "n", "lowered", "{x} - {k}", "~subtract {k} from {each}", "{n}, each reduced by {k}", "result", "reduced values", {"guard": True, "k": "small:discount,decrement", "faults": [("{k} - {x}", "swapped_arguments", "The operands of `-` are the wrong way round.")]}),
    ("n", "n", "negated", "-{x}", "~negate {each}", "negatives of {n}", "negative", "negated values", {"guard": True}),
    ("n", "n", "absolute", "abs({x})", "~take the absolute value of {each}", "absolute values of {n}", "absolute value", "absolute values", {"guard": True}),
    ("int", "int", "halved", "div({x}, 2)", "~halve {each}, rounding towards zero", "halves of {n}", "half", "halves", {"guard": True, "faults": [("{x} / 2", "wrong_type", "`/` always gives a float; whole numbers are divided with `div/2`.")], "fact": ("~halve {each}", "What about odd values: round towards zero, or keep the fraction as a float?", (("Round towards zero, I want integers.", "div({x}, 2)"), ("Keep the fraction.", "{x} / 2")))}),
    ("int", "int", "divided", "div({x}, {k})", "~divide {each} by {k}, as whole numbers", "integer quotients of {n} by {k}", "quotient", "quotients", {"guard": True, "k": "small:divisor", "faults": [("{x} / {k}", "wrong_type", "`/` gives a float; `div/2` keeps integers."), ("rem({x}, {k})", "wrong_function", "`rem/2` is the remainder of the division, not its result.")]}),
    ("int", "int", "remainder", "rem({x}, {k})", "~take the remainder of {each} divided by {k}", "remainders of {n} divided by {k}", "remainder", "remainders", {"guard": True, "k": "small:divisor", "faults": [("div({x}, {k})", "wrong_function", "`div/2` gives the quotient; the remainder is `rem/2`.")], "fact": ("~reduce {each} modulo {k}", "How should negative values behave: keep their sign, or always give 0 or more?", (("Keep the sign, as `rem/2` does.", "rem({x}, {k})"), ("Always give a value of 0 or more.", "Integer.mod({x}, {k})")))}),
    ("int", "int", "modulo", "Integer.mod({x}, {k})", "~reduce {each} modulo {k}, never below zero", "{n} modulo {k}", "residue", "residues", {"k": "small:modulus", "faults": [("rem({x}, {k})", "edge_case", "`rem/2` is negative for negative values; `Integer.mod/2` never is.")]}),
    ("int", "int", "cubed", "{x} * {x} * {x}", "~cube {each}", "cubes of {n}", "cube", "cubes", {"guard": True}),
    ("int", "int", "capped", "min({x}, {k})", "~cap {each} at {k}", "{n} capped at {k}", "capped value", "capped values", {"guard": True, "k": "threshold:limit,cap", "faults": [("max({x}, {k})", "wrong_function", "`max/2` raises everything to at least the limit; a cap is `min/2`.")]}),
    ("int", "int", "floored", "max({x}, {k})", "~raise {each} to at least {k}", "{n} raised to at least {k}", "value", "values", {"guard": True, "k": "threshold:floor,minimum", "faults": [("min({x}, {k})", "wrong_function", "`min/2` would cap the values from above.")]}),
    ("int", "int", "clamped", "clamp({x}, {k}, {l})", "~clamp {each} to the range from {k} to {l}", "{n} clamped between {k} and {l}", "value", "clamped values", {"helper": _CLAMP, "k": "low:low,minimum", "l": "high:high,maximum", "faults": [("clamp({x}, {l}, {k})", "swapped_arguments", "Lower and upper bound are swapped in the call.")]}),
    ("int", "int", "digit_sum", "digit_sum({x})", "~replace {each} by the sum of its digits", "digit sums of {n}", "digit sum", "digit sums", {"helper": _DIGIT_SUM}),
    ("int", "int", "digit_count", "length(Integer.digits({x}))", "~count the digits of {each}", "digit counts of {n}", "digit count", "digit counts", {}),
    ("int", "int", "sign", "cond_sign({x})", "~reduce {each} to its sign (-1, 0 or 1)", "signs of {n}", "sign", "signs", {"helper": "\ndefp cond_sign(number) when number > 0, do: 1\ndefp cond_sign(number) when number < 0, do: -1\ndefp cond_sign(_number), do: 0\n"}),
    ("n", "float", "percent", "{x} / 100", "~divide {each} by 100", "hundredths of {n}", "share", "shares", {"guard": True}),
    ("int", "float", "root", ":math.sqrt(abs({x}))", "~take the square root of the absolute value of {each}", "square roots of the absolute values of {n}", "root", "roots", {}),
    ("float", "float", "rounded", "Float.round({x}, {k})", "~round {each} to {k} decimals", "{n} rounded to {k} decimals", "rounded value", "rounded values", {"k": "one_or_two:decimals,precision"}),
    ("float", "int", "nearest", "round({x})", "~round {each} to the nearest integer", "{n} rounded to integers", "integer", "rounded values", {"guard": True, "faults": [("trunc({x})", "wrong_function", "`trunc/1` cuts the fraction off instead of rounding.")], "fact": ("~turn {each} into an integer", "Should it be rounded or cut off?", (("Round to the nearest.", "round({x})"), ("Just cut the fraction off.", "trunc({x})")))}),
    ("float", "int", "truncated", "trunc({x})", "~cut off the fraction of {each}", "integer parts of {n}", "integer part", "integer parts", {"guard": True, "faults": [("round({x})", "wrong_function", "`round/1` may go up; cutting off is `trunc/1`.")]}),
    ("float", "int", "ceiled", "ceil({x})", "~round {each} up", "{n} rounded up", "integer", "rounded values", {"guard": True, "faults": [("floor({x})", "wrong_function", "`floor/1` rounds down.")]}),
    ("int", "str", "to_text", "Integer.to_string({x})", "~turn {each} into a string", "{n} as strings", "string", "strings", {}),
    ("int", "str", "padded", "{x} |> Integer.to_string() |> String.pad_leading({k}, \"0\")", "~pad {each} with leading zeros to {k} characters", "{n} padded with zeros to {k} characters", "label", "labels", {"k": "width:width", "faults": [("{x} |> Integer.to_string() |> String.pad_trailing({k}, \"0\")", "wrong_function", "`String.pad_trailing/3` puts the zeros behind the number.")]}),
    ("int", "str", "hex", "Integer.to_string({x}, 16)", "~write {each} in hexadecimal", "{n} in hexadecimal", "string", "hexadecimal strings", {}),
    ("int", "str", "binary", "Integer.to_string({x}, 2)", "~write {each} in binary", "{n} in binary", "string", "binary strings", {}),
    ("int", "[int]", "digits", "Integer.digits({x})", "~split {each} into its digits", "digits of {n}", "digit list", "digit lists", {}),
    ("int", "bool", "even_flag", "rem({x}, 2) == 0", "~say for {each} whether it is even", "parity flags of {n}", "flag", "flags", {"guard": True}),
    ("int", "atom", "size_class", "classify({x})", "~classify {each} as :low (below {k}), :medium (below {l}) or :high", "classes of {n} (:low below {k}, :medium below {l}, :high from there)", "class", "classes", {"helper": "\ndefp classify(value) when value < {k}, do: :low\ndefp classify(value) when value < {l}, do: :medium\ndefp classify(_value), do: :high\n", "k": "low:low", "l": "high:high", "literal": True}),
    ("str", "str", "upcased", "String.upcase({x})", "~upcase {each}", "{n} in upper case", "upper-case string", "upper-case strings", {"faults": [("String.capitalize({x})", "wrong_function", "`String.capitalize/1` only raises the first letter.")], "fact": ("~put {each} in capitals", "All letters in capitals, or only the first one?", (("All of them.", "String.upcase({x})"), ("Only the first letter.", "String.capitalize({x})")))}),
    ("str", "str", "downcased", "String.downcase({x})", "~downcase {each}", "{n} in lower case", "lower-case string", "lower-case strings", {}),
    ("str", "str", "capitalized", "String.capitalize({x})", "~capitalize {each}", "capitalized {n}", "capitalized string", "capitalized strings", {"faults": [("String.upcase({x})", "wrong_function", "`String.upcase/1` raises every letter, not just the first.")]}),
    ("str", "str", "reversed", "String.reverse({x})", "~reverse {each}", "reversed {n}", "reversed string", "reversed strings", {}),
    ("str", "str", "trimmed", "String.trim({x})", "~trim the whitespace around {each}", "trimmed {n}", "trimmed string", "trimmed strings", {"faults": [("String.trim_leading({x})", "wrong_function", "`String.trim_leading/1` leaves the spaces at the end.")]}),
    ("str", "str", "prefixed", "{k} <> {x}", "~put {k} in front of {each}", "{n} prefixed with {k}", "string", "prefixed strings", {"k": "affix:prefix", "faults": [("{x} <> {k}", "swapped_arguments", "The operands of `<>` are swapped, so the prefix ends up at the end."), ("{k} + {x}", "wrong_operator", "`+` only adds numbers; strings are joined with `<>`.")]}),
    ("str", "str", "suffixed", "{x} <> {k}", "~append {k} to {each}", "{n} with {k} appended", "string", "strings", {"k": "affix:suffix", "faults": [("{k} <> {x}", "swapped_arguments", "The operands of `<>` are swapped."), ("{x} + {k}", "wrong_operator", "`+` is for numbers; `<>` joins strings.")]}),
    ("str", "str", "first_letter", "String.first({x}) || \"\"", "~take the first character of {each}", "first characters of {n}", "letter", "letters", {"faults": [("String.at({x}, 1) || \"\"", "off_by_one", "`String.at/2` counts from 0, so 1 is the second character.")]}),
    ("str", "str", "last_letter", "String.last({x}) || \"\"", "~take the last character of {each}", "last characters of {n}", "letter", "letters", {}),
    ("str", "str", "shortened", "String.slice({x}, 0, {k})", "~cut {each} after {k} characters", "first {k} characters of {n}", "short string", "shortened strings", {"k": "length:length,limit", "faults": [("String.slice({x}, 0..{k})", "off_by_one", "A range includes both ends: `0..k` takes one character more than `k`."), ("binary_part({x}, 0, {k})", "edge_case", "`binary_part/3` counts bytes and raises when the text is shorter.")]}),
    ("str", "str", "replaced", "String.replace({x}, {k}, {l})", "~replace every {k} in {each} by {l}", "{n} with {k} replaced by {l}", "string", "strings", {"k": "letter:old,from", "l": "separator:new,replacement", "faults": [("String.replace({x}, {l}, {k})", "swapped_arguments", "Pattern and replacement are swapped."), ("String.replace({x}, {k}, {l}, global: false)", "missing_case", "`global: false` stops after the first match.")]}),
    ("str", "str", "without_spaces", "String.replace({x}, \" \", \"\")", "~remove all spaces from {each}", "{n} without spaces", "string", "strings", {"faults": [("String.trim({x})", "wrong_function", "`String.trim/1` only removes whitespace at both ends.")]}),
    ("str", "str", "slugged", "slug({x})", "~turn {each} into a URL slug (lower case, words joined by dashes)", "slugs of {n}", "slug", "slugs", {"helper": _SLUG}),
    ("str", "str", "initials", "initials({x})", "~reduce {each} to its initials", "initials of {n}", "initial", "initials", {"helper": _INITIALS}),
    ("str", "str", "padded", "String.pad_trailing({x}, {k})", "~pad {each} with spaces on the right to {k} characters", "{n} padded on the right to {k} characters", "column", "columns", {"k": "width:width"}),
    ("str", "str", "doubled", "String.duplicate({x}, {k})", "~repeat {each} {k} times", "{n}, each repeated {k} times", "repetition", "repetitions", {"k": "small:times"}),
    ("str", "str", "sorted_letters", "{x} |> String.graphemes() |> Enum.sort() |> Enum.join()", "~sort the letters of {each}", "{n} with their letters sorted", "key", "keys", {}),
    ("str", "str", "masked", "mask({x})", "~mask all but the last {k} characters of {each} with asterisks", "{n} with all but the last {k} characters masked", "masked string", "masked strings", {"k": "small:visible", "literal": True, "helper": "\ndefp mask(text) do\n  hidden = max(String.length(text) - {k}, 0)\n  String.duplicate(\"*\", hidden) <> String.slice(text, hidden..-1//1)\nend\n"}),
    ("str", "int", "length", "String.length({x})", "~measure the length of {each}", "lengths of {n}", "length", "lengths", {"faults": [("byte_size({x})", "edge_case", "`byte_size/1` counts bytes, so `é` counts as two; `String.length/1` counts characters."), ("length({x})", "wrong_type", "`length/1` is for lists; the length of a string is `String.length/1`.")], "fact": ("~take the size of {each}", "The number of characters or the number of bytes?", (("The number of characters.", "String.length({x})"), ("The size in bytes.", "byte_size({x})")))}),
    ("str", "int", "bytes", "byte_size({x})", "~take the size of {each} in bytes", "byte sizes of {n}", "size", "sizes", {"guard": True, "faults": [("String.length({x})", "wrong_function", "`String.length/1` counts characters, not bytes.")]}),
    ("str", "int", "word_count", "length(String.split({x}))", "~count the words of {each}", "word counts of {n}", "word count", "word counts", {"faults": [("length(String.split({x}, \" \"))", "edge_case", "Splitting at single spaces gives empty words where there are several; `String.split/1` handles any whitespace.")]}),
    ("str", "int", "vowels", "count_vowels({x})", "~count the vowels of {each}", "vowel counts of {n}", "vowel count", "vowel counts", {"helper": _VOWELS}),
    ("str", "[str]", "graphemes", "String.graphemes({x})", "~split {each} into its characters", "characters of {n}", "list", "character lists", {}),
    ("str", "[str]", "words", "String.split({x})", "~split {each} into words", "words of {n}", "list", "word lists", {"faults": [("String.split({x}, \"\")", "wrong_function", "Splitting at `\"\"` gives characters, not words.")]}),
    ("str", "atom", "to_atom", "length_class({x})", "~classify {each} as :short (up to {k} characters) or :long", "length classes of {n} (:short up to {k} characters, else :long)", "class", "classes", {"k": "length:length", "literal": True, "helper": "\ndefp length_class(text) do\n  if String.length(text) <= {k}, do: :short, else: :long\nend\n"}),
    ("atom", "str", "name", "Atom.to_string({x})", "~turn {each} into a string", "names of {n}", "name", "names", {"faults": [("inspect({x})", "wrong_function", "`inspect/1` keeps the colon; `Atom.to_string/1` does not.")]}),
    ("date", "int", "year", "{x}.year", "~take the year of {each}", "years of {n}", "year", "years", {"guard": True}),
    ("date", "int", "month", "{x}.month", "~take the month of {each}", "months of {n}", "month", "months", {"guard": True}),
    ("date", "int", "weekday", "Date.day_of_week({x})", "~find the day of the week of {each} (1 is Monday)", "weekdays of {n}", "weekday", "weekdays", {}),
    ("date", "date", "shifted", "Date.add({x}, {k})", "~move {each} by {k} days", "{n} moved by {k} days", "date", "dates", {"k": "small:days", "faults": [("Date.add({x}, -{k})", "wrong_operator", "The minus moves the dates into the past.")]}),
    ("date", "str", "iso", "Date.to_iso8601({x})", "~format {each} as ISO 8601", "ISO 8601 forms of {n}", "string", "date strings", {}),
    ("date", "date", "month_start", "Date.beginning_of_month({x})", "~move {each} to the first day of its month", "first days of the months of {n}", "date", "dates", {"faults": [("Date.end_of_month({x})", "wrong_function", "`Date.end_of_month/1` is the last day of the month.")]}),
    ("[a]", "int", "length", "length({x})", "~count the elements of {each}", "sizes of {n}", "size", "sizes", {"guard": True}),
    ("[n]", "n", "total", "Enum.sum({x})", "~add {each} up", "sums of {n}", "sum", "sums", {}),
    ("[a]", "[a]", "turned", "Enum.reverse({x})", "~reverse {each}", "reversed {n}", "list", "reversed lists", {}),
]  # fmt: skip


# --------------------------------------------------------------------------------------------------- drawing them

_LETTERS = "aeiorst"
_SEPARATORS = ["-", "_", "*", ".", "+"]


def draw_parameter(
    rng: random.Random, kind: str, mark: str, element: Element | None, taken: Sequence[Any]
) -> Parameter:
    """kind: what it is for and the names it may have, e.g. `small:divisor,factor`."""
    purpose, _, names = kind.partition(":")
    name = rng.choice(names.split(","))
    low, high = element.bounds if element else (0, 100)
    step = max((high - low) // 10, 1)
    words = [word for word in (element.words if element else ()) if word.strip()] or ["elixir", "data", "ana"]
    value: Any
    match purpose:
        case "threshold":
            value = rng.randrange(low + step, high, step)
        case "low":
            value = rng.randrange(low + step, low + 4 * step, step)
        case "high":
            value = rng.randrange(low + 5 * step, low + 9 * step, step)
        case "small":
            value = rng.choice([2, 3, 3, 4, 5, 7, 10])
        case "count":
            value = rng.choice([2, 3, 3, 4, 5])
        case "digit":
            value = rng.randint(0, 9)
        case "length":
            value = rng.choice([3, 4, 5, 6, 8])
        case "width":
            value = rng.choice([4, 6, 8, 10])
        case "one_or_two":
            value = rng.choice([1, 2])
        case "prefix":
            value = rng.choice(words)[: rng.choice([1, 1, 2])]
        case "suffix":
            value = rng.choice(words)[-rng.choice([1, 1, 2]) :]
        case "part":
            word = rng.choice(words)
            at = rng.randrange(max(len(word) - 1, 1))
            value = word[at : at + rng.choice([1, 2])].strip() or word[0]
        case "letter":
            value = rng.choice(_LETTERS)
        case "separator":
            value = rng.choice(_SEPARATORS)
        case "joiner":
            value = rng.choice([", ", " ", "-", " | ", "; ", "/", "\n", " + "])
        case "affix":
            value = rng.choice(["> ", "x-", "_", "#", "!", "* ", "new-", "(", "..."])
        case "word":
            value = rng.choice(words)
        case "atom" | "atom2":
            value = Name(rng.choice([word for word in words if word not in taken] or ["other"]))
        case "date":
            value = element.draw(rng) if element else None
        case "year":
            value = rng.choice([2023, 2024])
        case "month":
            value = rng.randint(1, 12)
        case _:
            raise AssertionError(kind)
    type_ = {"str": parse("str"), "Name": parse("atom"), "date": parse("date")}.get(type(value).__name__, parse("int"))
    return Parameter(mark=mark, name=name, type=type_, value=value)


@dataclass
class Marks:
    """Makes marks that no program contains: «0», «1», ..."""

    number: int = 0
    made: list[Parameter] = field(default_factory=list)

    def parameters(self, rng: random.Random, settings: dict[str, Any], element: Element | None) -> dict[str, Parameter]:
        drawn: dict[str, Parameter] = {}
        for key in ("k", "l"):
            if key in settings:
                mark = f"«{self.number}»"
                self.number += 1
                drawn[key] = draw_parameter(rng, settings[key], mark, element, [each.value for each in drawn.values()])
        return drawn


def marked(text: str, parameters: dict[str, Parameter]) -> str:
    for key, parameter in parameters.items():
        text = text.replace(f"{{{key}}}", parameter.mark)
    return text


def _comparison_faults(expr: str) -> list[Fault]:
    faults = []
    for operator, other, words in (
        (" > ", " >= ", "`>=` also takes the value that is exactly equal; the task asks for strictly greater."),
        (" < ", " <= ", "`<=` also takes the value that is exactly equal; the task asks for strictly less."),
        (" >= ", " > ", "`>` leaves out the value that is exactly equal to the bound."),
        (" <= ", " < ", "`<` leaves out the value that is exactly equal to the bound."),
        (" == ", " != ", "The comparison is the wrong way round: `!=` where `==` is needed."),
        (" != ", " == ", "The comparison is the wrong way round: `==` where `!=` is needed."),
    ):
        if expr.count(operator) == 1:
            kind = (
                "off_by_one" if "=" in operator + other and operator.strip() not in ("==", "!=") else "wrong_operator"
            )
            faults.append(Fault(expr.replace(operator, other), kind, words))
    for operator, other in ((" > ", " < "), (" < ", " > ")):
        if expr.count(operator) == 1:
            words = f"The comparison points the wrong way: `{other.strip()}` instead of `{operator.strip()}`."
            faults.append(Fault(expr.replace(operator, other), "wrong_operator", words))
    return faults


def predicates_of(rng: random.Random, element: Element, marks: Marks) -> Predicate | None:
    """One thing that can be asked of an element, drawn; of a record or a tuple, of one of its fields."""
    if element.fields:
        index = rng.randrange(len(element.fields))
        inner = element.fields[index]
        lower = predicates_of(rng, inner, marks)
        return lower and _lifted_predicate(lower, element, index)
    rows = [row for row in _PREDICATES if unify(parse(row[0]), element.type, {})]
    if not rows:
        return None
    _, tag, expr, condition, adjective, settings = rng.choice(rows)
    if (tag in ("negative", "non_negative") and element.bounds[0] >= 0) or (
        tag == "prime" and element.bounds[1] > 5000
    ):
        return None
    drawn = marks.parameters(rng, settings, element)
    faults = [Fault(*fault) for fault in settings.get("faults", ())] + _comparison_faults(expr)
    fact = settings.get("fact")
    return Predicate(
        tag=tag,
        type=element.type,
        expr=marked(expr, drawn),
        condition=marked(condition, drawn),
        adjective=adjective,
        guard=settings.get("guard", False),
        helper=settings.get("helper", ""),
        faults=tuple(
            replace(fault, code=marked(fault.code, drawn), diagnosis=marked(fault.diagnosis, drawn)) for fault in faults
        ),
        parameters=tuple(drawn.values()),
        open_fact=_marked_fact(fact, drawn),
        values=_boundaries(expr, drawn),
    )


def _boundaries(expr: str, drawn: dict[str, Parameter]) -> tuple[Any, ...]:
    numbers = [each.value for each in drawn.values() if isinstance(each.value, int)]
    if " {x}" not in f" {expr}" or "length" in expr:
        return ()
    return tuple(value + by for value in numbers for by in (0, 1, -1))


def _marked_fact(fact: Any, drawn: dict[str, Parameter]) -> Any:
    if fact is None:
        return None
    words, question, answers = fact
    told = tuple((marked(answer, drawn), marked(code, drawn)) for answer, code in answers)
    return marked(words, drawn), marked(question, drawn), told


def _lifted_predicate(lower: Predicate, element: Element, index: int) -> Predicate:
    inner = element.fields[index]
    if lower.type.name == "bool":
        word = inner.one if lower.tag == "true" else f"not {inner.one}"
        condition, adjective = f"is {word}", inner.one if lower.tag == "true" else ""
    else:
        is_many = inner.one.endswith("s") and not inner.one.endswith(("ss", "us"))
        condition = f"whose {inner.one} {_plural(lower.condition) if is_many else lower.condition}"
        adjective = ""
    values = lower.values
    if element.is_pair:
        return replace(
            lower,
            tag=f"{inner.one}_{lower.tag}",
            type=element.type,
            condition=condition,
            adjective=adjective,
            component=index,
            values=values,
        )
    into = f"{{x}}.{inner.one}"
    lift = lambda text: text.replace("{x}", into)  # noqa: E731
    fact = lower.open_fact and (
        f"whose {inner.one} {lower.open_fact[0]}",
        lower.open_fact[1],
        tuple((answer, lift(code)) for answer, code in lower.open_fact[2]),
    )
    return replace(
        lower,
        tag=f"{inner.one}_{lower.tag}",
        type=element.type,
        expr=lift(lower.expr),
        condition=condition,
        adjective=adjective,
        faults=tuple(replace(fault, code=lift(fault.code)) for fault in lower.faults),
        open_fact=fact,
    )


def mapping_of(
    rng: random.Random, element: Element, marks: Marks, *, to: str = "", plain: bool = False
) -> Mapping | None:
    """One thing that can be made of an element, drawn. to: a type that it must give. plain: of a record, a field."""
    wanted = parse(to) if to else None
    if element.fields:
        indexes = [at for at, each in enumerate(element.fields) if wanted is None or unify(wanted, each.type, {})]
        if not indexes:
            return None
        return _field_mapping(element, rng.choice(indexes))
    rows = []
    for row in _MAPPINGS:
        bound: dict[str, Type] = {}
        if unify(parse(row[0]), element.type, bound):
            result = substitute(parse(row[1]), bound)
            if (wanted is None or unify(wanted, result, {})) and not (plain and "k" in row[8]):
                rows.append((row, result))
    if not rows:
        return None
    row, result = rng.choice(rows)
    _, _, tag, expr, verb, noun, one, plural, settings = row
    drawn = marks.parameters(rng, settings, element)
    return Mapping(
        tag=tag,
        type=element.type,
        to=result,
        expr=marked(expr, drawn),
        verb=marked(verb, drawn),
        noun=marked(noun, drawn),
        one=one,
        plural=plural,
        helper=marked(settings.get("helper", ""), drawn),
        faults=tuple(
            Fault(marked(code, drawn), kind, marked(words, drawn)) for code, kind, words in settings.get("faults", ())
        ),
        parameters=tuple(drawn.values()),
        guard=settings.get("guard", False),
        open_fact=_marked_fact(settings.get("fact"), drawn),
    )


def _field_mapping(element: Element, index: int) -> Mapping:
    inner = element.fields[index]
    expr = "{x}" if element.is_pair else f"{{x}}.{inner.one}"
    others = [each for each in element.fields if each is not inner and each.type == inner.type]
    faults = []
    if others and not element.is_pair:
        faults.append(
            Fault(
                f"{{x}}.{others[0].one}",
                "wrong_field",
                f"It reads `{others[0].one}`, but the task is about `{inner.one}`.",
            )
        )
    if not element.is_pair:
        faults.append(
            Fault(
                f"{{x}}.{inner.plural.split()[0].lower()}",
                "wrong_key",
                f"The key is `:{inner.one}`; reading one that is not there with a dot raises a `KeyError`.",
            )
        )
    return Mapping(
        tag=inner.one,
        type=element.type,
        to=inner.type,
        expr=expr,
        verb=f"~take the {inner.one} of {{each}}",
        noun=f"{inner.plural} of {{n}}",
        one=inner.one,
        plural=inner.plural,
        component=index if element.is_pair else None,
        element=inner,
        guard=True,
        faults=tuple(faults),
    )
