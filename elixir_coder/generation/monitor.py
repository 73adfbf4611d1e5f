"""Keep a model from calling functions that do not exist.

    monitor = NameMonitor.of(tokenizer, project=Path("my_app"))
    model.generate(..., logits_processor=[ElixirGrammarProcessor(tokenizer, monitor=monitor)])

After the dot of a known module only its functions and macros may be written, then only as many arguments as one of them
takes; between the braces of a known struct only its fields. What is known comes from compiled files (names.py), what
the text means from reading it as it is written (references.py, judging.py); here the two meet a vocabulary.

A monitor only ever sees text, so it works with every tokenizer, with the grammar or without.

Method: monitor-guided decoding, Agrawal et al. 2023, https://arxiv.org/abs/2306.10763; theirs asks a language server
for the names behind a dot, ours also counts the arguments.
"""

from __future__ import annotations

import bisect
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import LogitsProcessor

from elixir_coder.generation.judging import Reading
from elixir_coder.generation.names import NameTable
from elixir_coder.generation.scopes import Reference

if TYPE_CHECKING:
    from elixir_coder.toolchain.toolchain import Toolchain

_MAX_MASKS = 256  # kept; each has a byte for every id
_MAX_STATES = 4096  # of texts a processor has seen

_WORD = re.compile(rb"(?<![~?])[a-zA-Z_\x80-\xff][a-zA-Z0-9_\x80-\xff]*")
_DIGITS = re.compile(rb"[0-9]+")
_PLAIN = re.compile(rb"[a-zA-Z0-9_ \x80-\xff]*")
_BEGINS_NAME = re.compile(rb"[a-z0-9_\x80-\xff]")
_IS_IN_NAME = re.compile(rb"[a-zA-Z0-9_?!\x80-\xff]")
# A whole dereference, or the beginning of a struct, in one piece.
_REFERS = re.compile(rb"(?:[A-Z]\w*|:[a-z]\w*|__MODULE__)\s*\.\s*[^A-Z\s]|%[A-Z][\w.]*\{")
# The same where the module has been begun before.
_CONTINUES_MODULE = re.compile(rb"[a-zA-Z0-9_@]*(?:\.[A-Z]\w*)*\s*(?:\.\s*[^A-Z\s]|\{)")
_COUNTS = re.compile(rb"[,):]")  # what can be wrong inside the parentheses of a call
_RESERVED = b"and or in not when do end else rescue catch after fn true false nil".split()
_KEPT_WORDS = frozenset(word[:size] for word in _RESERVED for size in range(1, len(word) + 1)) | {b"quote"}
_ANY_WORD, _ANY_ALIAS = b"zq", b"Zq"  # begin no reserved word and no field


class NameMonitor:
    """A judge of names over one vocabulary; see the protocol `Monitor` of decoding_elixir_coder.py.

    pieces: the bytes of every id, b"" of one that is no text. start: what the text as a whole is, as for the grammar;
        a type holds nothing to judge.
    A table that is refreshed meanwhile counts from the next piece on.
    """

    def __init__(self, table: NameTable, pieces: Sequence[bytes], start: str = "file"):
        self.table = table
        self.start = start
        self.vocabulary = _Vocabulary(pieces)
        self._masks: OrderedDict[Any, np.ndarray | None] = OrderedDict()

    @classmethod
    def of(
        cls, tokenizer: Any, project: Path | None = None, toolchain: Toolchain | None = None, start: str = "file"
    ) -> NameMonitor:
        """Over a tokenizer's vocabulary, with the names of the installed Elixir and of a Mix project.

        Raises what `NameTable.installed` raises.
        """
        from engine_elixir_coder import vocabulary_of

        return cls(NameTable.installed(project, toolchain), vocabulary_of(tokenizer, None).pieces, start)

    def state(self, text: bytes) -> NameState:
        """After a text that is given, and not judged."""
        table = self.table if self.start != "typespec" else NameTable()  # types are no functions
        return NameState(self, Reading(table, text))


class NameState:
    """What may come next after one text. Never changes; `after` gives another one."""

    def __init__(self, monitor: NameMonitor, reading: Reading):
        self.monitor = monitor
        self.reading = reading

    def after(self, piece: bytes) -> NameState:
        return NameState(self.monitor, self.reading.then(piece))

    def allows(self, piece: bytes) -> bool:
        """Whether a piece may come next: it is a quick look wherever no name is pending."""
        if self._cannot_refuse(piece):
            return True
        return not self.reading.refuses(piece)

    def may_end(self) -> bool:
        """Whether the text may end here as far as names go; what is open is for the grammar to say."""
        return not self.is_judging or not self.reading.refuses(b"\n")

    def completions(self) -> list[bytes]:
        """Short texts that finish what is pending, the furthest first: through all calls that lack arguments, then only
        the innermost, then none, which is all there is where nothing is pending."""
        found = [b""]
        reading, written = self.reading, b""
        for _ in range(len(self.reading.open) + 1):
            missing = reading.settled().missing()
            if missing:
                written += missing
                reading = reading.then(missing)
                found.append(written)
            if not any(frame.call and not frame.call.is_whole() for frame in reading.settled().frames[:-1]):
                break
            opened = reading.open[-1]
            closer = b" end" if opened.closer == b"end" else opened.closer
            if opened.kind == "fn" and not opened.arrow:
                closer = b" -> nil end"
            written += closer
            reading = reading.then(closer)
        return found[::-1]

    def mend(self, closing: bytes) -> bytes | None:
        """A text that ends this one as `closing` would, with the names and arguments put in that it lacks; None where
        that does not help. What the grammar alone found to end a text is made right so, without another search."""
        reading, mended = self.reading, b""
        for index in range(len(closing)):
            piece = closing[index : index + 1]
            if reading.refuses(piece):
                missing = reading.settled().missing()
                if not missing or reading.refuses(missing + piece):
                    return None
                piece = missing + piece
            mended += piece
            reading = reading.then(piece)
        missing = reading.settled().missing() if reading.refuses(b"\n") else b""
        return None if missing and reading.refuses(missing) else mended + missing

    def mask(self, within: np.ndarray | None = None) -> np.ndarray | None:
        """(vocabulary,) bool, or None where nothing is forbidden. within: only the verdict on these is asked for."""
        key = self._key()
        masks = self.monitor._masks
        if key in masks:
            masks.move_to_end(key)
            return masks[key]
        mask = self._mask(within)
        if within is None:
            masks[key] = mask
            if len(masks) > _MAX_MASKS:
                masks.popitem(last=False)
        return mask

    def likely(self) -> np.ndarray | None:
        """Ids that stay on the name of a known module, where one has been begun; None elsewhere.

        Nothing forbids another one, which may exist all the same: these may be favoured.
        """
        kind, begun = self.reading.unfinished
        reference = self._settled.reference
        if kind != "word" or reference is None or reference.stage != "module" or not reference.module or not begun:
            return None
        rests = {
            name[len(reference.module) :].partition(".")[0].encode()
            for name in self.monitor.table.modules
            if name.startswith(reference.module)
        }
        found = list(self.monitor.vocabulary.along(rests - {b""}))
        return np.concatenate(found) if found else None

    # -------------------------------------------------------------------------------------- which pieces to look at

    @cached_property
    def _settled(self) -> Reading:
        return self.reading.settled()

    @cached_property
    def is_judging(self) -> bool:
        """Whether more than a whole dereference in one piece can be wrong."""
        return self._is_counting or self._minds_words or self._reference is not None

    @cached_property
    def _reference(self) -> Reference | None:
        """A module or more that has just been written, or what the last word may still turn out wrong behind."""
        return self._settled.reference or self.reading.reference

    @cached_property
    def _is_counting(self) -> bool:
        frames = (*self._settled.frames, *self.reading.frames)
        return any(frame.call or frame.bare or frame.fields for frame in frames)

    @cached_property
    def _minds_words(self) -> bool:
        """Whether a word can be wrong."""
        frames = (*self._settled.frames, *self.reading.frames)
        is_between = self._settled.is_between() or self.reading.is_between()
        return is_between or any(frame.bare or frame.fields for frame in frames)

    @cached_property
    def _is_begun(self) -> bool:
        """Whether the text ends in the middle of what may become a module: `:`, `%` or `__MOD`."""
        kind, lexeme = self.reading.unfinished
        return kind == "begun" or lexeme.startswith((b"%", b"__", b":"))

    def _cannot_refuse(self, piece: bytes) -> bool:
        if self._reference is not None or self._is_begun or self._minds_words:
            return False
        if self._is_counting and not _PLAIN.fullmatch(piece):
            return False
        return _REFERS.search(piece) is None

    def _key(self) -> tuple[Any, ...]:
        """What the mask depends on."""
        tail = self.reading.pending
        if not (self._reference or self._is_begun or self._minds_words):
            tail = _shape(tail, _KEPT_WORDS)
        return (self.monitor.table.version, tail, self.reading.key())

    def _mask(self, within: np.ndarray | None) -> np.ndarray | None:
        vocabulary = self.monitor.vocabulary
        mask = np.ones(len(vocabulary.pieces), dtype=bool)
        reference = self._settled.reference
        groups: Iterable[tuple[bytes, np.ndarray]] = vocabulary.referring
        begun = self._settled.begun_name()
        if reference is not None and begun is not None:
            groups = self._groups_in_name(reference, begun, mask)
        elif self._is_counting or self._minds_words or self._reference is not None or self._is_begun:
            groups = self._groups()
        begins: dict[bytes, bool] = {}
        for piece, ids in groups:
            if within is not None and not within[ids].any():
                continue
            first = piece[:1]
            if first not in begins:  # what begins with a sign that is refused is refused: nothing can put it right
                begins[first] = bool(_WORD.match(first)) or self.allows(first)
            mask[ids] = begins[first] and self.allows(piece)
        return None if mask.all() else mask

    def _groups(self) -> Iterable[tuple[bytes, np.ndarray]]:
        """Pieces, each with the ids that are judged as it is; every id that could be refused is in one of them."""
        vocabulary = self.monitor.vocabulary
        yield from vocabulary.referring
        if self._reference is not None or self._is_begun:
            yield from vocabulary.continuing_module
        if self._reference is not None and self._reference.stage == "slash":
            yield from vocabulary.numbers
        fields = frozenset(
            field for frame in self._settled.frames for field in (frame.fields or ()) if frame.fields is not None
        )
        for piece, ids in vocabulary.shapes(fields):
            if piece[:1].isdigit() and self._reference is not None and self._reference.stage == "slash":
                continue
            is_plain = _PLAIN.fullmatch(piece)
            if (
                self._minds_words
                or self._reference is not None
                or (self._is_counting and not is_plain and (self._settled.minds_operators() or _COUNTS.search(piece)))
            ):
                yield piece, ids

    def _groups_in_name(
        self, reference: Reference, written: bytes, mask: np.ndarray
    ) -> Iterable[tuple[bytes, np.ndarray]]:
        """In the middle of a function's name: only what stays on one of the names that are left, or ends it."""
        vocabulary = self.monitor.vocabulary
        assert reference.names is not None
        names = reference.names.callable(reference.num_piped or 0)
        left = [name.encode()[len(written) :] for name in names if name.encode().startswith(written)]
        if self._settled.is_quoting and b"unquote".startswith(written):
            left.append(b"unquote"[len(written) :])
        in_name = _IS_IN_NAME if written else _BEGINS_NAME
        mask[vocabulary.beginning(in_name)] = False
        for ids in vocabulary.along(left):
            yield vocabulary.pieces[ids[0]], ids
        yield from (group for group in vocabulary.shapes(frozenset()) if not in_name.match(group[0]))
        yield from (group for group in vocabulary.referring if not in_name.match(group[0]))


class _Vocabulary:
    """The pieces of a tokenizer, put together by what a judge of names can tell apart."""

    def __init__(self, pieces: Sequence[bytes]):
        self.pieces = pieces
        self._beginning: dict[re.Pattern[bytes], np.ndarray] = {}
        self._shapes: OrderedDict[frozenset[str], list[tuple[bytes, np.ndarray]]] = OrderedDict()

    @cached_property
    def referring(self) -> list[tuple[bytes, np.ndarray]]:
        """Pieces that hold a whole dereference; each stands for itself."""
        return [(piece, np.array([index])) for index, piece in enumerate(self.pieces) if _REFERS.search(piece)]

    @cached_property
    def continuing_module(self) -> list[tuple[bytes, np.ndarray]]:
        return [(piece, np.array([index])) for index, piece in enumerate(self.pieces) if _CONTINUES_MODULE.match(piece)]

    @cached_property
    def numbers(self) -> list[tuple[bytes, np.ndarray]]:
        """Pieces that begin with a digit, which are alike but for arities."""
        return [(piece, np.array([index])) for index, piece in enumerate(self.pieces) if piece[:1].isdigit()]

    def beginning(self, pattern: re.Pattern[bytes]) -> np.ndarray:
        """Ids of the pieces that begin so."""
        if pattern not in self._beginning:
            found = [index for index, piece in enumerate(self.pieces) if pattern.match(piece)]
            self._beginning[pattern] = np.array(found, dtype=int)
        return self._beginning[pattern]

    @cached_property
    def _sorted(self) -> tuple[list[bytes], list[int]]:
        order = sorted((index for index, piece in enumerate(self.pieces) if piece), key=self.pieces.__getitem__)
        return [self.pieces[index] for index in order], order

    def along(self, rests: Iterable[bytes]) -> Iterable[np.ndarray]:
        """Ids whose piece is the beginning of one of these texts, or goes on behind one."""
        pieces, order = self._sorted
        seen: set[int] = set()
        for rest in rests:
            ends = [bisect.bisect_left(pieces, rest[:size]) for size in range(1, len(rest))]
            found = [
                at for at, size in zip(ends, range(1, len(rest))) if at < len(pieces) and pieces[at] == rest[:size]
            ]
            at = bisect.bisect_left(pieces, rest)
            while rest and at < len(pieces) and pieces[at].startswith(rest):
                found.append(at)
                at += 1
            for at in found:
                if order[at] not in seen:
                    seen.add(order[at])
                    yield np.array([order[at]])

    def shapes(self, fields: frozenset[str]) -> list[tuple[bytes, np.ndarray]]:
        """All other pieces by their shape: names are alike, but for words that mean something and parts of fields."""
        if fields not in self._shapes:
            parts = {
                field.encode()[begin:end]
                for field in fields
                for begin in range(len(field))
                for end in range(begin + 1, len(field) + 1)
            }
            by_shape: dict[bytes, list[int]] = {}
            for index, piece in enumerate(self.pieces):
                if piece and not _REFERS.search(piece):
                    by_shape.setdefault(_shape(piece, _KEPT_WORDS | parts), []).append(index)
            self._shapes[fields] = [(shape, np.array(ids)) for shape, ids in by_shape.items()]
            if len(self._shapes) > 8:
                self._shapes.popitem(last=False)
        return self._shapes[fields]


def _shape(piece: bytes, kept: frozenset[bytes]) -> bytes:
    def shortened(found: re.Match[bytes]) -> bytes:
        word = found.group()
        return word if word in kept else _ANY_ALIAS if word[:1].isupper() else _ANY_WORD

    return _DIGITS.sub(b"0", _WORD.sub(shortened, piece))


class NameMonitorProcessor(LogitsProcessor):
    """The monitor alone, without the grammar: forbids names that do not exist, and nothing else.

    prefix: the code that the generated text continues. prompt_length: how many ids of a row come before its text; by
    default as many as a row has at the first call, so that a processor serves one call of `generate`. bias: added to
    the scores of what goes on with the name of a known module, where one has been begun; 0 changes none.
    """

    def __init__(
        self,
        monitor: NameMonitor,
        tokenizer: Any,
        prefix: str = "",
        prompt_length: int | None = None,
        bias: float = 0.0,
    ):
        self.bias = bias
        self.monitor = monitor
        self._prompt_length = prompt_length
        self._eos = tokenizer.eos_token_id
        self._states: OrderedDict[tuple[int, ...], NameState] = OrderedDict({(): monitor.state(prefix.encode())})

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self._prompt_length is None:
            self._prompt_length = input_ids.shape[1]
        scores = scores.clone()
        for row, ids in enumerate(input_ids[:, self._prompt_length :].tolist()):
            state = self._state(tuple(ids))
            mask = state.mask()
            if mask is not None:
                forbidden = torch.from_numpy(~mask).to(scores.device)
                scores[row, : len(mask)].masked_fill_(forbidden, -torch.inf)
            likely = state.likely() if self.bias else None
            if likely is not None:
                scores[row, torch.from_numpy(likely).to(scores.device)] += self.bias
            if not state.may_end():
                scores[row, self._eos] = -torch.inf
        return scores

    def _state(self, ids: tuple[int, ...]) -> NameState:
        if ids not in self._states:
            before = self._state(ids[:-1])
            self._states[ids] = before.after(self.monitor.vocabulary.pieces[ids[-1]])
            if len(self._states) > _MAX_STATES:
                kept = self._states.pop(())
                self._states.popitem(last=False)
                self._states[()] = kept
        return self._states[ids]
