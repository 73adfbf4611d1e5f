"""Faults of one expression, in a short function that is written beside the code: the faulty form and the plain one.

Every function is made of names that stand in the code. Both twins have it; they differ in the one expression. `_FORMS`
wrap an expression of one argument; a pair whose texts begin with `def` is a function as it stands.
"""

from __future__ import annotations

from random import Random

from elixir_coder.data.injections.rule import Fault, Piece, rule, with_helper
from elixir_coder.data.injections.templates import filled, groups, joined
from elixir_coder.data.injections.words import Words

_PREDICATES = (
    "& &1.$field",
    "&(&1.$field > $n)",
    "&(&1.$field != nil)",
    "fn $item -> $item.$field == :$field2 end",
    "&match?({:ok, _}, &1)",
    "&(rem(&1, $m) == 0)",
    '&String.starts_with?(&1, "$field")',
    "fn $item -> $item.$field in [:$field2, :$field3] end",
    "&Map.has_key?(&1, :$field)",
    "fn {_key, $item} -> $item >= $n end",
)
_MAPPERS = (
    "& &1.$field",
    "&to_string/1",
    "&String.upcase/1",
    "fn $item -> {$item.$field, $item} end",
    "&Map.get(&1, :$field)",
    "&(&1 * $m)",
    "fn $item -> $item.$field + $n end",
    "&String.trim/1",
    "fn {_key, $item} -> $item end",
    '&"#{&1}_$field"',
)
_FORMS = (
    "def $name($items), do: $expression",
    "def $name($items) do\n  $expression\nend",
    "defp $name($items) do\n  $expression\nend",
    "defp $name($items) do\n  result = $expression\n  {:ok, result}\nend",
    "def $name(%{$items: $items}) do\n  $expression\nend",
    "def $name($items) when is_list($items) do\n  $expression\nend",
    "def $name({:ok, $items}), do: {:ok, $expression}\ndef $name({:error, reason}), do: {:error, reason}",
    "def $name([]), do: nil\n\ndef $name($items) do\n  $expression\nend",
    "def $name($items, opts) do\n  $items = Keyword.get(opts, :$items, $items)\n  $expression\nend",
    '@doc """\nGives what there is to say of the $items.\n"""\ndef $name($items) do\n  $expression\nend',
    "@spec $name(list()) :: term()\ndef $name($items) do\n  $expression\nend",
)
_NAMES = (
    "$verb_$items", "$field_of_$items", "$items_by_$field", "$verb_$field_of_$items", "$other_$items", "known_$items",
    "$items_for_$other", "$verb_$other_$items", "current_$items", "$items_$field",
)  # fmt: skip


_CHOICES = {
    "predicate": _PREDICATES,
    "predicate2": _PREDICATES,
    "mapper": _MAPPERS,
    "mapper2": _MAPPERS,
}


def expression(
    check: str, says: tuple[str, ...], pairs: tuple[tuple[str, str], ...], name: str, *, raw: bool = False
) -> None:
    """Enter a rule that writes one of the pairs (faulty, clean) into the code."""

    def write(piece: Piece, random: Random) -> Fault | None:
        words = Words(piece, random)
        names = dict(words.names)
        for key, choices in _CHOICES.items():
            names[key] = filled(random.choice(choices), names)
        faulty, clean = random.choice(pairs)
        names["name"] = joined(random.choice(_NAMES), names)
        form = "$expression" if faulty.startswith(("def", "@")) else random.choice(_FORMS)
        if "\n" in faulty + clean and "do: $expression" in form:
            form = _FORMS[1]
        seed = random.random()
        texts = []
        for body in (clean, faulty):
            inner = filled(body, names)
            if form != "$expression":
                inner = inner.replace("\n", "\n  ")
            texts.append(with_helper(piece, filled(form, {**names, "expression": inner}), Random(seed)))
        return Fault(code=texts[0], before=texts[1], names=names)

    rule(check, *says, raw=raw, made=True, name=name)(write)


for _file in ("pipelines", "habits"):
    for _group in groups(_file):
        expression(_group.check, _group.says, _group.pairs, _group.name, raw="raw" in _group.words)
