"""Things that hold a state: counters, stacks, queues, stores, accounts, carts..., as functions, an Agent or a GenServer."""

# ruff: noqa: E501 -- Elixir and sentences are kept on one line each; small functions of a table have no name

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from elixir_coder.data.synthesis.choices import Axis, Choices, Program, Way, draw
from elixir_coder.data.synthesis.domains import CONTEXTS, NOUNS, Atom, camel, draw_entity
from elixir_coder.data.synthesis.draft import Draft, Family
from elixir_coder.data.synthesis.stateful import (
    Clause,
    Operation,
    Shape,
    Slip,
    container_axis,
    naming_axis,
    operation_axes,
    program,
    sync_axis,
)
from elixir_coder.data.synthesis.writing import fill

OK = Atom("ok")
ERROR = Atom("error")
Balance = tuple[int, list[tuple[Atom, int]]]  # with what was done, the newest first


def _draw(
    rng: random.Random,
    *,
    family: str,
    module: str,
    titles: Sequence[str],
    shape: Callable[[Choices], Shape],
    asks: Callable[[Choices], dict[str, str]] | dict[str, str],
    axes: dict[str, Axis],
    needed: Sequence[str],
    most: int = 6,
    difficulty: int = 2,
) -> Draft:
    """One exercise about a shape. needed: operations that are always there; others are drawn."""
    start = {key: rng.choice(list(axis.ways)) for key, axis in axes.items()}
    start["container"] = rng.choice(["pure", "agent", "genserver", "genserver"])
    drawn = shape(start)
    optional = [each.name for each in drawn.operations if each.name not in needed]
    rng.shuffle(optional)
    chosen = [*needed, *optional[: rng.randint(min(1, len(optional)), min(len(optional), most - len(needed)))]]
    words = asks(start) if callable(asks) else asks
    every = {
        "container": container_axis(),
        "named": naming_axis(),
        **operation_axes(drawn, words, chosen),
        **axes,
        "sync": sync_axis(),
    }

    def build(choices: Choices) -> Program:
        return program(module, shape(choices), choices, [name for name in (*chosen, *optional) if choices.get(name)])

    name = f"{module}.{needed[0]}"
    arity = next(each.arity for each in drawn.operations if each.name == needed[0])
    return draw(
        rng,
        family=family,
        name=f"{name}/{arity + 1}",
        module=module,
        titles=titles,
        axes=every,
        build=build,
        operations=(family,),
        difficulty=difficulty,
        start=start,
    )


def _context(rng: random.Random, name: str) -> str:
    return f"{rng.choice(CONTEXTS)}.{name}" if rng.random() < 0.6 else name


def counter(rng: random.Random) -> Draft:
    noun = rng.choice(NOUNS)
    first, step, bound = rng.choice([0, 0, 0, 1, 10, 100]), rng.randint(2, 9), rng.randint(3, 6)
    module = _context(rng, rng.choice([f"{camel(noun)}Counter", f"{camel(noun)}Count", "Counter"]))

    def shape(choices: Choices) -> Shape:
        stops = choices["below"] == "stop"
        bounded = choices["limit"] is not None
        top = first + bound

        def up(count: int) -> tuple[object, int]:
            return None, min(count + 1, top) if bounded else count + 1

        def down(count: int) -> tuple[object, int]:
            return None, max(count - 1, 0) if stops else count - 1

        many = f"min(count + {step}, {top})" if bounded else f"count + {step}"
        return Shape(
            noun=f"a counter of {noun}s",
            value="count",
            type="integer()" if not stops else "non_neg_integer()",
            initial=str(first),
            start=first,
            operations=(
                Operation(
                    name="increment",
                    documentation=f"Counts one more {noun}.",
                    clauses=(Clause(pattern="count", next=f"min(count + 1, {top})" if bounded else "count + 1"),),
                    run=up,
                ),
                Operation(
                    name="value",
                    documentation=f"How many {noun}s there are.",
                    clauses=(Clause(pattern="count", reply="count"),),
                    run=lambda count: (count, count),
                    returns="integer()",
                ),
                Operation(
                    name="decrement",
                    documentation=f"Counts one {noun} less.",
                    clauses=(Clause(pattern="count", next="max(count - 1, 0)" if stops else "count - 1"),),
                    run=down,
                ),
                Operation(
                    name="reset",
                    documentation=f"Begins again at {first}.",
                    clauses=(Clause(pattern="count", next=str(first)),),
                    run=lambda count: (None, first),
                ),
                Operation(
                    name="add",
                    documentation="Counts several more at once.",
                    clauses=(
                        Clause(
                            pattern="count",
                            guard="is_integer(amount) and amount > 0",
                            next=f"min(count + amount, {top})" if bounded else "count + amount",
                        ),
                    ),
                    arguments=(("amount", "pos_integer()"),),
                    run=lambda count, amount: (None, min(count + amount, top) if bounded else count + amount),
                ),
                Operation(
                    name="take",
                    documentation=f"Counts {step} more and answers the new count.",
                    clauses=(Clause(pattern="count", before=f"next = {many}", reply="next", next="next"),),
                    run=lambda count: (2 * (min(count + step, top) if bounded else count + step,))[:2],
                    returns="integer()",
                ),
                Operation(
                    name="zero?",
                    documentation="Whether the count is 0.",
                    clauses=(Clause(pattern="count", reply="count == 0"),),
                    run=lambda count: (count == 0, count),
                    returns="boolean()",
                ),
            ),
            scenarios=(
                (
                    f"counts {noun}s",
                    (("value", ()), ("increment", ()), ("increment", ()), ("value", ()), ("zero?", ())),
                ),
                (
                    "goes down",
                    (
                        *[("decrement", ()) for _ in range(first + 1)][-12:],
                        ("value", ()),
                        ("zero?", ()),
                        ("increment", ()),
                        ("value", ()),
                    ),
                )
                if first < 11
                else ("goes down", (("decrement", ()), ("value", ()))),
                ("starts again", (("increment", ()), ("reset", ()), ("value", ()))),
                (
                    "adds several",
                    (("take", ()), ("add", (step,)), ("value", ()), ("take", ()), ("add", (1,)), ("value", ())),
                ),
                *(
                    [("stops at the limit", (*[("increment", ())] * (bound + 2), ("value", ())))]
                    if bounded
                    else [("has no limit", (*[("increment", ())] * (bound + 2), ("value", ())))]
                ),
            ),
            slips=(
                Slip(
                    "increment", 0, {"next": "count + 2"}, "wrong_constant", "`increment` adds 2 where it should add 1."
                )
                if not bounded
                else Slip(
                    "increment",
                    0,
                    {"next": "count + 1"},
                    "missing_bound",
                    f"`increment` never looks at the limit, so the count goes past {top}.",
                ),
                Slip(
                    "decrement" if first < 11 else "",
                    0,
                    {"next": "count - 1" if stops else "max(count - 1, 0)"},
                    "wrong_bound",
                    "The count must stop at 0, but `decrement` goes on below it."
                    if stops
                    else "`decrement` stops at 0, although the count may be negative.",
                ),
                Slip(
                    "reset", 0, {"next": str(first + 1)}, "off_by_one", f"`reset` goes to {first + 1}, not to {first}."
                ),
                Slip(
                    "zero?",
                    0,
                    {"reply": "count != 0"},
                    "inverted_condition",
                    "`zero?` answers the opposite of its name.",
                ),
            ),
        )

    return _draw(
        rng,
        family="state_counter",
        module=module,
        titles=(
            f"a counter of {noun}s",
            f"something that counts {noun}s",
            f"a small {noun} counter that starts at {first}",
        ),
        shape=shape,
        asks={
            "increment": "`increment` counts one more.",
            "value": f"`value` answers the current count, which is {first} at first.",
            "decrement": "`decrement` counts one less.",
            "reset": f"`reset` goes back to {first}.",
            "add": "`add` takes a positive amount and adds it.",
            "take": f"`take` adds {step} and answers the new count.",
            "zero?": "`zero?` tells whether the count is 0.",
        },
        axes={
            "below": Axis(
                ways={
                    "negative": Way(ask="The count may go below zero.", answer="It may become negative."),
                    "stop": Way(
                        ask="The count never goes below zero.",
                        answer="It stays at 0.",
                        request="The count must never go below zero.",
                    ),
                },
                question="What should happen when something is taken off a count of 0: negative numbers, or does it stay?",
                when=lambda choices: bool(choices.get("decrement")) and first < 11,
            ),
            "limit": Axis(
                ways={
                    None: Way(),
                    "limit": Way(
                        ask=f"It never goes above {first + bound}; what would, leaves it at {first + bound}.",
                        request=f"Let the count stop at {first + bound}.",
                    ),
                }
            ),
        },
        needed=("increment", "value"),
        difficulty=1,
    )


def pile(rng: random.Random) -> Draft:
    """A stack or a queue."""
    entity = draw_entity(rng)
    item, items = entity.singular, entity.plural
    size = rng.randint(2, 3)
    values = entity.label.draw_many(rng, 4)
    module = _context(rng, rng.choice([f"{camel(item)}Buffer", f"{camel(item)}Line", f"Waiting{camel(items)}"]))
    put, get = rng.choice([("put", "take"), ("push", "pop"), ("add", "next"), ("insert", "remove")])

    def shape(choices: Choices) -> Shape:
        is_stack, limit = choices["order"] == "last", choices["full"]
        bare = choices["empty"] == "nil"

        def put_run(state: list, value: str) -> tuple[object, list]:  # newest at the end
            if limit is None:
                return None, [*state, value]
            if len(state) < size:
                return OK, [*state, value]
            return ((ERROR, Atom("full")), state) if limit == "refuse" else (OK, [*state[1:], value])

        def get_run(state: list) -> tuple[object, list]:
            if not state:
                return (None if bare else (ERROR, Atom("empty"))), state
            value = state[-1] if is_stack else state[0]
            rest = state[:-1] if is_stack else state[1:]
            return (value if bare else (OK, value)), rest

        def look(state: list) -> tuple[object, list]:
            return get_run(state)[0], state

        def reply(value: str) -> str:
            return value if bare else f"{{:ok, {value}}}"

        added = f"[{item} | {items}]" if is_stack else f"{items} ++ [{item}]"
        none = "nil" if bare else "{:error, :empty}"
        missing = "nil" if bare else "{:error, :empty}"
        returns = f"{entity.label.type} | nil" if bare else f"{{:ok, {entity.label.type}}} | {{:error, :empty}}"
        cut = f"Enum.take({added}, {size})" if is_stack else f"tl({items}) ++ [{item}]"
        if limit is None:
            put_clauses: tuple[Clause, ...] = (Clause(pattern=items, next=added),)
            put_returns = ":ok"
        elif limit == "refuse":
            put_clauses = (
                Clause(pattern=items, guard=f"length({items}) >= {size}", reply="{:error, :full}", next=items),
                Clause(pattern=items, reply=":ok", next=added),
            )
            put_returns = ":ok | {:error, :full}"
        else:
            put_clauses = (
                Clause(pattern=items, guard=f"length({items}) >= {size}", reply=":ok", next=cut),
                Clause(pattern=items, reply=":ok", next=added),
            )
            put_returns = ":ok"
        full_put = {
            None: Slip(
                put,
                0,
                {"next": f"{items} ++ [{item}]" if is_stack else f"[{item} | {items}]"},
                "wrong_end",
                f"`{put}` adds at the wrong end, so items come out in the {'oldest' if is_stack else 'newest'}-first order.",
            ),
            "refuse": Slip(
                put,
                0,
                {"guard": f"length({items}) > {size}"},
                "off_by_one",
                f"The guard uses `>`, so one item too many, {size + 1} of them, is accepted.",
            ),
            "drop": Slip(
                put,
                0,
                {"next": items},
                "lost_value",
                "When it is full the new item is lost instead of the oldest one.",
            ),
        }[limit]
        return Shape(
            noun=f"{'a stack' if is_stack else 'a queue'} of {items}",
            value=items,
            type=f"[{entity.label.type}]",
            initial="[]",
            start=[],
            operations=(
                Operation(
                    name=put,
                    documentation=f"Adds {_a(item)}."
                    if limit is None
                    else f"Adds {_a(item)}; there is room for {size}.",
                    arguments=((item, entity.label.type),),
                    clauses=put_clauses,
                    run=put_run,
                    returns=put_returns,
                ),
                Operation(
                    name=get,
                    documentation=f"Takes out the {item} that came {'last' if is_stack else 'first'}.",
                    clauses=(
                        Clause(pattern="[]", reply=none, next="[]"),
                        Clause(pattern=f"[{item} | rest]", reply=reply(item), next="rest"),
                    ),
                    run=get_run,
                    returns=returns,
                ),
                Operation(
                    name="peek",
                    documentation="What would be taken out next, left where it is.",
                    clauses=(
                        Clause(pattern="[]", reply=missing),
                        Clause(pattern=f"[{item} | _]", reply=reply(item)),
                    ),
                    run=look,
                    returns=returns,
                ),
                Operation(
                    name="size",
                    documentation=f"The number of {items}.",
                    clauses=(Clause(pattern=items, reply=f"length({items})"),),
                    run=lambda state: (len(state), state),
                    returns="non_neg_integer()",
                ),
                Operation(
                    name="empty?",
                    documentation="Whether there is nothing in it.",
                    clauses=(Clause(pattern=items, reply=f"{items} == []"),),
                    run=lambda state: (not state, state),
                    returns="boolean()",
                ),
                Operation(
                    name="clear",
                    documentation="Forgets everything.",
                    clauses=(Clause(pattern=items, next="[]"),),
                    run=lambda state: (None, []),
                ),
                Operation(
                    name="drain",
                    documentation="Takes out everything, in the order in which it would come out.",
                    clauses=(Clause(pattern=items, reply=items, next="[]"),),
                    run=lambda state: (state[::-1] if is_stack else state, []),
                    returns=f"[{entity.label.type}]",
                ),
                Operation(
                    name="waiting?",
                    documentation=f"Whether {_a(item)} is in it.",
                    arguments=((item, entity.label.type),),
                    clauses=(Clause(pattern=items, reply=f"{item} in {items}"),),
                    run=lambda state, value: (value in state, state),
                    returns="boolean()",
                ),
            ),
            scenarios=(
                (
                    "gives them out in order",
                    (
                        (put, (values[0],)),
                        (put, (values[1],)),
                        ("size", ()),
                        ("peek", ()),
                        ("waiting?", (values[1],)),
                        (get, ()),
                        ("waiting?", (values[2],)),
                        (get, ()),
                        (get, ()),
                    ),
                ),
                ("is empty at first", (("empty?", ()), ("peek", ()), (get, ()), ("size", ()))),
                (
                    "can be emptied",
                    ((put, (values[2],)), ("empty?", ()), ("clear", ()), ("empty?", ()), ("size", ()), (get, ())),
                ),
                ("gives all at once", ((put, (values[3],)), (put, (values[0],)), ("drain", ()), (get, ()))),
                (
                    "takes more than a few",
                    (*((put, (value,)) for value in values), *[(get, ())] * 5),
                ),
            ),
            slips=(
                full_put,
                Slip(
                    get,
                    1,
                    {"next": f"[{item} | rest]"},
                    "state_not_updated",
                    f"`{get}` answers the item but leaves it in, so the same one comes out every time.",
                ),
                Slip(
                    "empty?",
                    0,
                    {"reply": f"{items} != []"},
                    "inverted_condition",
                    "`empty?` answers the opposite of its name.",
                ),
                Slip(
                    "drain", 0, {"next": items}, "state_not_updated", "`drain` answers everything but keeps it as well."
                ),
            ),
        )

    return _draw(
        rng,
        family="state_pile",
        module=module,
        titles=(
            f"something that holds {items} until they are wanted",
            f"a place where {items} wait",
            f"a buffer of {items}",
        ),
        shape=shape,
        asks={
            put: f"`{put}` adds {_a(item)}, given by its {entity.label.name}.",
            get: f"`{get}` takes one out.",
            "peek": f"`peek` answers what `{get}` would, without taking it out.",
            "size": f"`size` answers how many {items} there are.",
            "empty?": "`empty?` tells whether there is none.",
            "clear": "`clear` removes everything.",
            "drain": f"`drain` takes everything out and answers it as a list, in the order in which `{get}` would give it.",
            "waiting?": f"`waiting?` tells whether {_a(item)} is in it.",
        },
        axes={
            "order": Axis(
                ways={
                    "last": Way(ask="What came last comes out first.", answer="The one that came last."),
                    "first": Way(
                        ask="What came first comes out first.",
                        answer="The one that came first.",
                        request="It should be first in, first out.",
                    ),
                },
                question=f"Which {item} should `{get}` return: the one added first or the one added last?",
            ),
            "empty": Axis(
                ways={
                    "tagged": Way(
                        ask=f"`{get}` answers `{{:ok, {item}}}`, or `{{:error, :empty}}` when there is none.",
                        answer="An error tuple, `{:error, :empty}`, and `{:ok, value}` otherwise.",
                        request="Return `{:ok, value}` and `{:error, :empty}` instead of the bare value and nil.",
                    ),
                    "nil": Way(
                        ask=f"`{get}` answers the {item} itself, or nil when there is none.",
                        answer="The bare value, and nil when there is none.",
                    ),
                },
                question=f"What should `{get}` give back when there is nothing left: nil or an error tuple?",
            ),
            "full": Axis(
                ways={
                    None: Way(),
                    "refuse": Way(
                        ask=f"It holds at most {size}; when it is full, `{put}` answers `{{:error, :full}}` and changes "
                        "nothing, otherwise `:ok`.",
                        answer="Refuse the new one with `{:error, :full}`.",
                        request=f"Allow {size} at most and answer `{{:error, :full}}` when there is no room.",
                    ),
                    "drop": Way(
                        ask=f"It holds at most {size}; when it is full, `{put}` throws out the oldest one to make room. "
                        f"It answers `:ok`.",
                        answer="Drop the oldest one.",
                        request=f"Keep only the newest {size}: drop the oldest one when it is full.",
                    ),
                }
            ),
        },
        needed=(put, get),
    )


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun.replace('_', ' ')}"


def store(rng: random.Random) -> Draft:
    """Values by keys."""
    entity = draw_entity(rng)
    item, field = entity.singular, entity.amount.name
    labels = entity.label.draw_many(rng, 3)
    amounts = entity.amount.draw_many(rng, 4)
    extra = rng.randint(1, 20)
    module = _context(
        rng, rng.choice([f"{camel(item)}Store", f"{camel(item)}{camel(field)}s", f"{camel(item)}Register"])
    )
    key = entity.label.name
    state = f"{field}_by_{key}"

    def shape(choices: Choices) -> Shape:
        keeps, bare = choices["conflict"] == "keep", choices["missing"] == "nil"
        folds = choices["case"] == "fold"
        norm = f"String.downcase({key})" if folds else key

        def fold(label: str) -> str:
            return label.lower() if folds else label

        def put(state: dict, label: str, amount: int) -> tuple[object, dict]:
            label = fold(label)
            return None, state if keeps and label in state else {**state, label: amount}

        def fetch(state: dict, label: str) -> tuple[object, dict]:
            label = fold(label)
            if label in state:
                return (state[label] if bare else (OK, state[label])), state
            return (None if bare else (ERROR, Atom("not_found"))), state

        def delete(state: dict, label: str) -> tuple[object, dict]:
            return None, {each: amount for each, amount in state.items() if each != fold(label)}

        def raise_by(state: dict, label: str) -> tuple[object, dict]:
            label = fold(label)
            return (None, {**state, label: state[label] + extra}) if label in state else (None, state)

        look_up = f"Map.get({state}, {norm})" if bare else f"find({state}, {norm})"
        find = fill(
            """
            defp find($state, $key) do
              case Map.fetch($state, $key) do
                {:ok, $field} -> {:ok, $field}
                :error -> {:error, :not_found}
              end
            end
            """,
            state=state,
            key=key,
            field=field,
        )
        put_next = f"Map.put_new({state}, {norm}, {field})" if keeps else f"Map.put({state}, {norm}, {field})"
        if_there = f"Map.replace_lazy({state}, {norm}, &(&1 + {extra}))"
        type_ = f"%{{optional({entity.label.type}) => {entity.amount.type}}}"
        upper = labels[0].upper() if labels[0].upper() != labels[0] else labels[0].lower()
        same_case = upper if upper != labels[0] else labels[0]
        return Shape(
            noun=f"the {field} of each {item}",
            value=state,
            type=type_,
            initial="%{}",
            start={},
            operations=(
                Operation(
                    name="put",
                    documentation=f"Notes the {field} of {_a(item)}.",
                    arguments=((key, entity.label.type), (field, entity.amount.type)),
                    clauses=(Clause(pattern=state, next=put_next),),
                    run=put,
                ),
                Operation(
                    name="fetch",
                    documentation=f"The {field} of {_a(item)}" + (", or nil." if bare else "."),
                    arguments=((key, entity.label.type),),
                    clauses=(Clause(pattern=state, reply=look_up),),
                    run=fetch,
                    returns=f"{entity.amount.type} | nil"
                    if bare
                    else f"{{:ok, {entity.amount.type}}} | {{:error, :not_found}}",
                ),
                Operation(
                    name="delete",
                    documentation=f"Forgets {_a(item)}; one that is not there is no error.",
                    arguments=((key, entity.label.type),),
                    clauses=(Clause(pattern=state, next=f"Map.delete({state}, {norm})"),),
                    run=delete,
                ),
                Operation(
                    name="keys",
                    documentation="All that are noted, sorted.",
                    clauses=(Clause(pattern=state, reply=f"{state} |> Map.keys() |> Enum.sort()"),),
                    run=lambda state: (sorted(state), state),
                    returns=f"[{entity.label.type}]",
                ),
                Operation(
                    name="count",
                    documentation="How many are noted.",
                    clauses=(Clause(pattern=state, reply=f"map_size({state})"),),
                    run=lambda state: (len(state), state),
                    returns="non_neg_integer()",
                ),
                Operation(
                    name="sum",
                    documentation=f"The sum of every {field}.",
                    clauses=(Clause(pattern=state, reply=f"{state} |> Map.values() |> Enum.sum()"),),
                    run=lambda state: (sum(state.values()), state),
                    returns=entity.amount.type,
                ),
                Operation(
                    name="raise_by_default",
                    documentation=f"Adds {extra} where there is something noted.",
                    arguments=((key, entity.label.type),),
                    clauses=(Clause(pattern=state, next=if_there),),
                    run=raise_by,
                ),
                Operation(
                    name="at_least",
                    documentation=f"Those with a {field} of at least `limit`, sorted.",
                    arguments=(("limit", "integer()"),),
                    clauses=(
                        Clause(
                            pattern=state,
                            before=f"found = for {{{key}, {field}}} <- {state}, {field} >= limit, do: {key}",
                            reply="Enum.sort(found)",
                        ),
                    ),
                    run=lambda state, limit: (sorted(each for each, amount in state.items() if amount >= limit), state),
                    returns=f"[{entity.label.type}]",
                ),
            ),
            scenarios=(
                (
                    "keeps what is put in",
                    (
                        ("put", (labels[0], amounts[0])),
                        ("put", (labels[1], amounts[1])),
                        ("fetch", (labels[0],)),
                        ("fetch", (labels[2],)),
                        ("keys", ()),
                        ("count", ()),
                        ("sum", ()),
                        ("at_least", (amounts[1],)),
                    ),
                ),
                (
                    "puts a second time",
                    (
                        ("put", (labels[0], amounts[2])),
                        ("put", (labels[0], amounts[3])),
                        ("fetch", (labels[0],)),
                        ("count", ()),
                    ),
                ),
                (
                    "forgets",
                    (
                        ("put", (labels[1], amounts[0])),
                        ("delete", (labels[1],)),
                        ("delete", (labels[2],)),
                        ("fetch", (labels[1],)),
                        ("count", ()),
                    ),
                ),
                ("looks at letters", (("put", (labels[0], amounts[1])), ("fetch", (same_case,)), ("keys", ()))),
                (
                    "raises what is there",
                    (
                        ("put", (labels[2], amounts[2])),
                        ("raise_by_default", (labels[2],)),
                        ("raise_by_default", (labels[0],)),
                        ("fetch", (labels[2],)),
                        ("fetch", (labels[0],)),
                    ),
                ),
            ),
            slips=(
                Slip(
                    "put",
                    0,
                    {
                        "next": f"Map.put({state}, {norm}, {field})"
                        if keeps
                        else f"Map.put_new({state}, {norm}, {field})"
                    },
                    "conflict",
                    "A second `put` overwrites the first, which should stay."
                    if keeps
                    else "`Map.put_new/3` ignores a second `put` for the same key, which should overwrite.",
                ),
                Slip(
                    "at_least",
                    0,
                    {"before": f"found = for {{{key}, {field}}} <- {state}, {field} > limit, do: {key}"},
                    "off_by_one",
                    "`at_least` leaves out what is exactly at the limit.",
                ),
                Slip("count", 0, {"reply": f"map_size({state}) + 1"}, "off_by_one", "`count` is one too high."),
                Slip(
                    "put",
                    0,
                    {"next": f"%{{{norm} => {field}}}"},
                    "state_lost",
                    "`put` makes a new map with one key instead of adding to the one there is.",
                ),
            ),
            helpers="" if bare or not choices.get("fetch") else find,
        )

    has_letters = labels[0].upper() != labels[0].lower()
    return _draw(
        rng,
        family="state_store",
        module=module,
        titles=(
            f"a store of the {field} of each {item}",
            f"something that remembers the {field} of {entity.plural} by {entity.label.name}",
            f"a key-value store from {entity.label.name} to {field}",
        ),
        shape=shape,
        asks={
            "put": f"`put` notes the {field} for {_a(entity.label.name)}.",
            "fetch": f"`fetch` looks it up by {entity.label.name}.",
            "delete": "`delete` forgets one; it is no error if it is not there.",
            "keys": "`keys` lists what is noted, sorted.",
            "count": "`count` answers how many are noted.",
            "sum": f"`sum` adds up every {field}.",
            "raise_by_default": f"`raise_by_default` adds {extra} to one that is there and ignores one that is not.",
            "at_least": "`at_least` takes a limit and lists, sorted, those at or above it.",
        },
        axes={
            "conflict": Axis(
                ways={
                    "overwrite": Way(ask="A second `put` for the same key overwrites.", answer="The new value wins."),
                    "keep": Way(
                        ask="A second `put` for the same key is ignored.",
                        answer="The first value stays.",
                        request="Once something is noted, a later `put` must not change it.",
                    ),
                },
                question="What happens when `put` is called for a key that is already there?",
            ),
            "missing": Axis(
                ways={
                    "nil": Way(
                        ask="`fetch` answers the value, or nil if there is none.",
                        answer="nil, and the bare value otherwise.",
                    ),
                    "tagged": Way(
                        ask="`fetch` answers `{:ok, value}` or `{:error, :not_found}`.",
                        answer="`{:error, :not_found}`, and `{:ok, value}` otherwise.",
                        request="Return `{:ok, value}` or `{:error, :not_found}` from `fetch`.",
                    ),
                },
                question="What should `fetch` return for a key that is not there?",
            ),
            "case": Axis(
                ways={
                    "exact": Way(
                        ask="Keys are compared exactly.", answer="Yes, keys that differ in case are different."
                    ),
                    "fold": Way(
                        ask="Keys that differ only in upper and lower case are the same; they are kept in lower case.",
                        answer="No; keep keys in lower case.",
                        request="Ignore the case of keys, and keep them in lower case.",
                    ),
                }
                if has_letters
                else {"exact": Way()},
                question="Does the case of a key matter?" if has_letters else "",
            ),
        },
        needed=("put", "fetch"),
    )


def _indent(text: str) -> str:
    return text.replace("\n", "\n  ")


def account(rng: random.Random) -> Draft:
    """An amount that is raised and lowered, with rules."""
    names = rng.choice(
        [
            ("deposit", "withdraw", "balance", "wallet", "money", "insufficient_funds"),
            ("restock", "remove", "quantity", "shelf", "pieces", "not_enough"),
            ("refill", "drain", "level", "tank", "litres", "too_low"),
            ("earn", "spend", "points", "bonus card", "points", "not_enough_points"),
            ("grant", "use", "credits", "quota", "credits", "quota_exceeded"),
        ]
    )
    up, down, read, thing, unit, reason = names
    module = _context(rng, camel(thing.replace(" ", "_")))
    big, small = rng.randint(50, 200), rng.randint(5, 40)
    reserve = rng.randint(10, 50)
    fee = rng.randint(1, 4)

    def shape(choices: Choices) -> Shape:
        policy = choices["overdraft"]
        with_log = choices["history"]
        floor = {"refuse": 0, "reserve": -reserve, "partial": 0}[policy]
        cost = fee if choices["fee"] else 0

        def change(state: Balance, amount: int, name: str) -> Balance:
            total, log = state
            return (total + amount, [(Atom(name), abs(amount)), *log])

        def raise_(state: Balance, amount: int) -> tuple[object, Balance]:
            return None, change(state, amount, up)

        def lower(state: Balance, amount: int) -> tuple[object, Balance]:
            total, _ = state
            if policy == "partial":
                taken = min(amount, total)
                return (OK, taken), change(state, -taken, down)
            if total - amount - cost < floor:
                return (ERROR, Atom(reason)), state
            after = change(state, -amount, down)
            after = (after[0] - cost, after[1])
            return (OK, after[0]), after

        pattern = "{total, log}" if with_log else "total"
        logged = (lambda total, entry: f"{{{total}, [{entry} | log]}}") if with_log else (lambda total, entry: total)
        raise_next = logged("total + amount", f"{{:{up}, amount}}")
        lowered = f"total - amount - {cost}" if cost else "total - amount"
        if policy == "partial":
            taken = logged("total - taken", f"{{:{down}, taken}}")
            lower_clauses: tuple[Clause, ...] = (
                Clause(pattern=pattern, before="taken = min(amount, total)", reply="{:ok, taken}", next=taken),
            )
        else:
            limit = f"amount + {cost}" if cost else "amount"
            if floor:
                limit = f"{limit} - {reserve}"
            same = "{total, log}" if with_log else "total"
            lower_clauses = (
                Clause(pattern=pattern, guard=f"total < {limit}", reply=f"{{:error, :{reason}}}", next=same),
                Clause(
                    pattern=pattern,
                    reply=f"{{:ok, {lowered}}}",
                    next=logged(lowered, f"{{:{down}, amount}}"),
                ),
            )
        read_clause = Clause(pattern="{total, _log}" if with_log else "total", reply="total")
        operations = [
            Operation(
                name=up,
                documentation=f"Adds an amount of {unit}.",
                arguments=(("amount", "pos_integer()"),),
                clauses=(Clause(pattern=pattern, guard="is_integer(amount) and amount > 0", next=raise_next),),
                run=raise_,
            ),
            Operation(
                name=down,
                documentation=f"Takes an amount of {unit} away.",
                arguments=(("amount", "pos_integer()"),),
                clauses=lower_clauses,
                run=lower,
                returns="{:ok, integer()}" if policy == "partial" else f"{{:ok, integer()}} | {{:error, :{reason}}}",
            ),
            Operation(
                name=read,
                documentation=f"How much there is, in {unit}.",
                clauses=(read_clause,),
                run=lambda state: (state[0], state),
                returns="integer()",
            ),
            Operation(
                name="empty?",
                documentation="Whether nothing is left.",
                clauses=(Clause(pattern=read_clause.pattern, reply="total <= 0"),),
                run=lambda state: (state[0] <= 0, state),
                returns="boolean()",
            ),
            Operation(
                name="affords?",
                documentation="Whether there is at least that much.",
                arguments=(("amount", "pos_integer()"),),
                clauses=(Clause(pattern=read_clause.pattern, reply="total >= amount"),),
                run=lambda state, amount: (state[0] >= amount, state),
                returns="boolean()",
            ),
        ]
        if with_log:
            order = (lambda log: log) if with_log == "newest" else (lambda log: log[::-1])
            operations.append(
                Operation(
                    name="history",
                    documentation=f"What was done, the {with_log} first.",
                    clauses=(
                        Clause(pattern="{_total, log}", reply="log" if with_log == "newest" else "Enum.reverse(log)"),
                    ),
                    run=lambda state: (order(state[1]), state),
                    returns="[{atom(), pos_integer()}]",
                )
            )
        slips = [
            Slip(
                up,
                0,
                {"next": logged("amount", f"{{:{up}, amount}}")},
                "state_lost",
                f"`{up}` replaces the amount there is instead of adding to it.",
            ),
            Slip(
                "affords?",
                0,
                {"reply": "total > amount"},
                "off_by_one",
                "`affords?` says no when there is exactly that much.",
            ),
        ]
        if policy == "partial":
            slips.append(
                Slip(down, 0, {"before": "taken = amount"}, "missing_bound", f"`{down}` takes more than there is.")
            )
        else:
            slips.append(
                Slip(
                    down,
                    0,
                    {"guard": lower_clauses[0].guard.replace("<", "<=")},
                    "off_by_one",
                    f"The guard refuses to {down} exactly what is left.",
                )
            )
            slips.append(
                Slip(
                    down,
                    1,
                    {"next": logged("total", f"{{:{down}, amount}}")},
                    "state_not_updated",
                    f"`{down}` answers the new amount but keeps the old one in the state.",
                )
            )
        return Shape(
            noun=f"a {thing} with {unit}",
            value="state" if with_log else "total",
            type="{integer(), [{atom(), pos_integer()}]}" if with_log else "integer()",
            initial="{0, []}" if with_log else "0",
            start=(0, []),
            operations=tuple(operations),
            scenarios=(
                (
                    f"can {up} and {down}",
                    (
                        (read, ()),
                        ("empty?", ()),
                        (up, (big,)),
                        (down, (small,)),
                        (read, ()),
                        ("affords?", (big - small,)),
                        ("affords?", (big - small - cost,)),
                        ("history", ()),
                        (up, (small,)),
                        (read, ()),
                    ),
                ),
                (
                    "does not give more than it may",
                    (
                        (up, (small,)),
                        (down, (small + 1,)),
                        (read, ()),
                        (down, (small + reserve + 1,)),
                        (read, ()),
                        ("history", ()),
                    ),
                ),
                (
                    "goes to the very end",
                    (
                        (up, (big,)),
                        (down, (big - floor - cost,)),
                        (read, ()),
                        ("empty?", ()),
                        (up, (5,)),
                        (down, (3,)),
                        (read, ()),
                    ),
                ),
            ),
            slips=tuple(slips),
        )

    return _draw(
        rng,
        family="state_account",
        module=module,
        titles=(f"a {thing} that keeps count of {unit}", f"a {thing}", f"the bookkeeping of a {thing} ({unit})"),
        shape=shape,
        asks=lambda choices: {
            up: f"`{up}` adds a positive amount.",
            down: f"`{down}` takes an amount away.",
            read: f"`{read}` answers how much there is; it begins at 0.",
            "empty?": "`empty?` tells whether there is nothing left (0 or less).",
            "affords?": "`affords?` tells whether there is at least a given amount.",
            "history": "`history` lists what was done, as `{operation, amount}`.",
        },
        axes={
            "overdraft": Axis(
                ways={
                    "refuse": Way(
                        ask=f"`{down}` answers `{{:ok, rest}}`, or `{{:error, :{reason}}}` and changes nothing when there is "
                        "not enough.",
                        answer=f"Refuse it with `{{:error, :{reason}}}`; otherwise `{{:ok, rest}}`.",
                    ),
                    "partial": Way(
                        ask=f"`{down}` takes what there is when more is wanted, and answers `{{:ok, taken}}`.",
                        answer="Take what there is, and answer `{:ok, taken}`.",
                    ),
                    "reserve": Way(
                        ask=f"It may go down to -{reserve}. `{down}` answers `{{:ok, rest}}`, or `{{:error, :{reason}}}` and "
                        "changes nothing where it would go lower.",
                        answer=f"Allow it down to -{reserve}, beyond that `{{:error, :{reason}}}`; else `{{:ok, rest}}`.",
                        request=f"Allow an overdraft: it may go down to -{reserve}.",
                    ),
                },
                question=f"What should `{down}` do when more is wanted than there is?",
            ),
            "fee": Axis(
                ways={
                    False: Way(),
                    True: Way(
                        ask=f"Every successful `{down}` costs {fee} more.",
                        request=f"Charge {fee} extra for every `{down}`.",
                    ),
                },
                when=lambda choices: choices["overdraft"] != "partial",
            ),
            "history": Axis(
                ways={
                    False: Way(),
                    "newest": Way(
                        ask="`history` lists what was done as `{operation, amount}`, the newest first.",
                        answer="The newest first.",
                        request="Remember what was done: `history` lists `{operation, amount}`, the newest first.",
                    ),
                    "oldest": Way(
                        ask="`history` lists what was done as `{operation, amount}`, the oldest first.",
                        answer="The oldest first.",
                        request="Keep a history of `{operation, amount}`, the oldest first.",
                    ),
                }
            ),
        },
        needed=(up, down, read),
    )


FAMILIES: dict[str, Family] = {
    "state_account": account,
    "state_counter": counter,
    "state_pile": pile,
    "state_store": store,
}
