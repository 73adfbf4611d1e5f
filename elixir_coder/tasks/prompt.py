"""What a model reads for each task: the one place that knows how a request is put into tokens.

    repair  <review> It reads `title`, but the task is about `author`. <file_sep> defmodule Books do ... </s>

Training, generation and serving make the same prompt of the same texts. Only the names in FORMATS are special tokens;
the texts come from others, and a special token's name in them is text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType

from elixir_coder.example import Turn
from elixir_coder.tasks.row import Setup
from tokenization_elixir_coder import END_OF_TURN, ROLES

# The last text of a format is the long one: what does not fit is taken from its end. Those before it keep at least half
# of the room.
FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "generate": "<code>{instruction}",
        "implement": "<code><test>{tests}",
        "repair": "<review>{finding}<file_sep>{before}",
        "write_tests": "<test>{test_type}\n{code}",
        "quality": "<review>{code}",
        "security": "<review>{code}",
        "clarify": "<clarification>{instruction}",
        "explain": "<explanation>{code}",
        "document": "<explanation><code>{code}",
        "ontology": "<ontology>{code}",
        "retrieve": "{text}",
        "match": "{instruction}",
    }
)
NOTHING = "ok"  # what is written where there is nothing to say


def prompt(setup: Setup, task: str, **texts: str) -> list[int]:
    """Ids of what the encoder reads, </s> last, `setup.source_length` at most; what does not fit is cut.

    task: a key of FORMATS. texts: what its format names.
    """
    return _assembled(setup, task, texts)[0]


def whole_prompt(setup: Setup, task: str, **texts: str) -> list[int] | None:
    """The same, or None where something would have to be cut."""
    ids, is_whole = _assembled(setup, task, texts)
    return ids if is_whole else None


def conversation(setup: Setup, turns: Sequence[Turn]) -> list[int]:
    """Ids of a conversation that the assistant is to go on with, as the chat template writes it, and </s>.

    turns: the last is the user's. What does not fit is cut: first the oldest turns, though not what the system says at
    the beginning, then the end of the last one.
    """
    head, *kept = _turns(setup, turns)
    room = setup.source_length - 2
    is_system = turns[0].role == ROLES[0] and len(turns) > 1 and len(head) + len(kept[-1]) <= room
    kept = kept if is_system else [head, *kept]
    room -= len(head) * is_system
    while len(kept) > 1 and sum(map(len, kept)) > room:
        kept.pop(0)
    if len(kept[0]) > room:
        kept = [[*_cut(setup, kept[0], room - 1), kept[0][-1]]]
    return _ended(setup, [*(head if is_system else []), *(token for turn in kept for token in turn)])


def whole_conversation(setup: Setup, turns: Sequence[Turn]) -> list[int] | None:
    """The same, or None where something would have to be cut."""
    ids = _ended(setup, [token for turn in _turns(setup, turns) for token in turn])
    return ids if len(ids) <= setup.source_length else None


def written(setup: Setup, text: str) -> list[int]:
    """Ids of what the decoder is to write: the text and </s>, or as much of its beginning as `setup.target_length`
    allows."""
    ids = [*setup.ids(text), setup.special.eos]
    return ids[: setup.target_length]


def finding(check: str, line: int, diagnosis: str = "") -> str:
    """What a tool found, as reviews write it and repairs read it: `SQL.Query line 7: the query is put together ...`.

    line: 0 for the whole text.
    """
    place = f" line {line}" if line else ""
    return f"{check}{place}{': ' if diagnosis else ''}{' '.join(diagnosis.split())}"


def _assembled(setup: Setup, task: str, texts: Mapping[str, str]) -> tuple[list[int], bool]:
    pieces = _pieces(FORMATS[task])
    fields = [name for name, _, _ in pieces if name]
    assert set(fields) == set(texts), f"the prompt of {task} takes {fields}, got {sorted(texts)}"
    fixed = [
        [getattr(setup.special, token)] if token else setup.ids(literal) if literal else None
        for _, token, literal in pieces
    ]
    room = setup.source_length - 1 - sum(len(ids) for ids in fixed if ids)
    ids: list[int] = []
    is_whole = True
    for (name, _, _), own in zip(pieces, fixed):
        if own is None:
            encoded = setup.ids(texts[name])
            kept = _cut(setup, encoded, room if name == fields[-1] else (room + 1) // 2)
            is_whole = is_whole and len(kept) == len(encoded)
            room -= len(kept)
            own = kept
        ids += own
    return [*ids, setup.special.eos], is_whole


@cache
def _pieces(template: str) -> tuple[tuple[str, str, str], ...]:
    """Its parts in order, each either a field's name, a special token's name, or literal text."""
    return tuple(re.findall(r"\{(\w+)\}|<(\w+)>|([^{<]+)", template))


def _turns(setup: Setup, turns: Sequence[Turn]) -> list[list[int]]:
    ends = setup.tokenizer.convert_tokens_to_ids(END_OF_TURN)
    return [[_role(setup, turn.role), *setup.ids(turn.content), ends] for turn in turns]


def _ended(setup: Setup, ids: list[int]) -> list[int]:
    return [*ids, _role(setup, ROLES[-1]), setup.special.eos]


def _role(setup: Setup, role: str) -> int:
    return setup.tokenizer.convert_tokens_to_ids(f"<|{role}|>")


def _cut(setup: Setup, ids: list[int], length: int) -> list[int]:
    """The first `length` ids at most, and no half of a character: a token may be one byte of several."""
    if len(ids) <= length:
        return ids
    kept = ids[:length]
    for _ in range(3):  # a character has four bytes at most
        if not kept or not setup.tokenizer.decode(kept[-4:]).endswith("\ufffd"):
            break
        kept.pop()
    return kept
