"""Elixir's grammar over the vocabulary of a byte-level BPE tokenizer: what may come next after a text.

    matcher = ElixirGrammar(tokenizer).matcher("defmodule Stack do\n")
    matcher.mask(), matcher.allows(index), matcher.consume(index), matcher.close(20)

The grammar is `grammar_elixir_coder.py`, the engine llguidance, which follows the bytes of the tokens with a lexer and
an Earley parser. It is imported when the first grammar is compiled. `decoding_elixir_coder.py` is built on this.
"""

import json
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

try:
    from .closing_elixir_coder import Scan, Seam, find_closing
except ImportError:
    from closing_elixir_coder import Scan, Seam, find_closing
try:
    from .grammar_elixir_coder import elixir_grammar
except ImportError:
    from grammar_elixir_coder import elixir_grammar

MAX_WORD = 200  # bytes, in strict mode: Elixir refuses an atom of 256 characters, and llguidance counts slowly
MAX_ENGINES = 24  # of one grammar, at least; a warm one holds some 5 MB


class GrammarError(ValueError):
    """The grammar cannot go on. text: what was written until then. offset: the byte of it that is concerned."""

    def __init__(self, message: str, text: bytes = b"", offset: int = 0):
        super().__init__(message)
        self.text = text
        self.offset = offset


def tail(text: bytes) -> str:
    """The end of a text, for a message."""
    return repr(text[-40:].decode(errors="replace")) if text else "the beginning"


_LETTER_BYTES = bytes(byte for byte in range(256) if chr(byte).isalnum() or chr(byte) in "_@?!" or byte >= 0x80)
_LETTERS = re.compile(b"[" + re.escape(_LETTER_BYTES) + b"]*")
_OPENERS = re.compile(rb"[(\[{<\"'~]|fn|do|\A[no]")  # `f` and `n` may come in two tokens


class ElixirGrammar:
    """Elixir's grammar over the vocabulary of a tokenizer. Compiled once for each tokenizer, mode and start.

    mode: "strict", which lets nothing pass that Elixir's parser refuses, or "accept", which takes all of Elixir.
    start: one of `grammar_elixir_coder.STARTS`: what the text is as a whole.
    eos_token_id: the id, or ids, that end a text; by default the tokenizer's.

    Raises GrammarError for a tokenizer that is not a byte-level BPE, and ImportError without llguidance.
    """

    def __init__(
        self,
        tokenizer: Any,
        mode: str = "strict",
        start: str = "file",
        eos_token_id: int | Sequence[int] | None = None,
    ):
        self.mode, self.start = mode, start
        self.vocabulary = vocabulary_of(tokenizer, eos_token_id)
        self.engines = self.vocabulary.engines(mode, start)

    def matcher(self, prefix: str = "", suffix: str | None = None) -> "ElixirMatcher":
        """What may follow `prefix` or, with a suffix, what may stand between the two.

        Raises GrammarError with the offset of the first byte of the prefix that cannot stand there, and where no text
        at all can stand between prefix and suffix.
        """
        text = prefix.encode()
        ids = self.vocabulary.spell(text)
        taken = self.engines.taken_from_start(ids)
        if taken < len(ids):
            offset = self.engines.offset_after(ids, taken)
            where = f"byte {offset}, after {tail(text[:offset])}"
            raise GrammarError(f"the prefix leaves the grammar ({self.mode}, {self.start}) at {where}", text, offset)
        if suffix is None:
            return ElixirMatcher(self.engines, ids)
        matcher = ElixirMatcher(self.engines, ids, Seam(Scan(text), suffix.encode()))
        if matcher.find_closing(matcher.check) is None:
            raise GrammarError(f"no text between prefix and suffix makes a whole ({self.mode}, {self.start})", text)
        return matcher


class ElixirMatcher:
    """One text in the grammar, and what may come next. Cheap to copy; threads may work on matchers of one grammar."""

    def __init__(self, engines: "Engines", ids: list[int], seam: Seam | None = None):
        self.vocabulary = engines.vocabulary
        self.seam = seam
        self.ids = ids  # of prefix and text, without the one that ended it
        self.is_ended = False
        self.engine: Engine | None = None  # the one used last: it may still stand at this text
        self._engines = engines
        self._begin = len(ids)
        self._restart()

    def _restart(self) -> None:
        text = self.whole_text()
        self._sure: int | None = None  # the id that the grammar was last found to take next
        self._scan = Scan(text) if self.seam is not None else None
        self._word = self.vocabulary.word_after(0, text)  # length of the word that the text ends in

    @property
    def text(self) -> bytes:
        """What was written, without the prefix."""
        return self.vocabulary.bytes_of(self.ids[self._begin :])

    def whole_text(self) -> bytes:
        """Prefix and what was written."""
        return self.vocabulary.bytes_of(self.ids)

    def mask(self, doubtful: Iterable[int] | None = None) -> np.ndarray:
        """(vocabulary,) bool: the ids that may come next; those that end a text where this one may end.

        doubtful: with a suffix, a token that closes something is looked at by itself, which takes long for thousands.
        Then only these are, and the others of that kind are left out.
        """
        vocabulary = self.vocabulary
        allowed = np.zeros(len(vocabulary.pieces), dtype=bool)
        if not self.is_ended:
            allowed |= self._engines.mask(self)
            if self._engines.mode == "strict" and self._word > MAX_WORD // 2:
                allowed &= vocabulary.word_lengths <= max(0, MAX_WORD - self._word)
            if self.seam is not None:
                closing = allowed & vocabulary.may_close
                allowed &= ~vocabulary.may_close
                for index in np.flatnonzero(closing) if doubtful is None else doubtful:
                    allowed[index] = closing[index] and self._reaches_suffix(int(index))
        allowed[vocabulary.special] = False
        allowed[list(vocabulary.eos)] = self.accepting()
        return allowed

    def allows(self, index: int) -> bool:
        """Whether this id may come next."""
        if index in self.vocabulary.eos:
            return self.accepting()
        if not self._may_be_asked(index, self._word) or self.taken([index]) == 0 or not self._reaches_suffix(index):
            return False
        self._sure = index
        return True

    def num_allowed(self, ids: list[int]) -> int:
        """How many of these ids, none of which ends the text, may be written one after the other.

        With a suffix, one that may close what the suffix needs is not counted, nor are those behind it.
        """
        word, number = self._word, 0
        for index in ids:
            if not self._may_be_asked(index, word) or (self.seam is not None and self.vocabulary.may_close[index]):
                break
            word = self.vocabulary.word_after(word, self.vocabulary.pieces[index])
            number += 1
        return self.taken(ids[:number]) if number else 0

    def consume(self, index: int) -> bool:
        """Write a token; False, and no change, where it may not stand."""
        if index in self.vocabulary.eos:
            self.is_ended = self.accepting()
            return self.is_ended
        is_sure, self._sure = index == self._sure, None
        if self.is_ended or not (is_sure or (self._may_be_asked(index, self._word) and self._reaches_suffix(index))):
            return False
        if not self._engines.consume(self, index, is_sure):
            return False
        self.ids.append(index)
        piece = self.vocabulary.pieces[index]
        self._word = self.vocabulary.word_after(self._word, piece)
        if self._scan is not None:
            self._scan = self._scan.copy()  # the old one belongs to the copies of this matcher too
            self._scan.feed(piece)
        return True

    def accepting(self) -> bool:
        """Whether the text may end here. An ended text may only be ended once more."""
        return self.is_ended or self.check(self.seam.suffix if self.seam is not None else b"")[1]

    def copy(self) -> "ElixirMatcher":
        other = ElixirMatcher.__new__(ElixirMatcher)
        other.__dict__ |= self.__dict__
        other.ids = self.ids.copy()
        return other

    def rollback(self, number: int) -> None:
        """Take back the last tokens; the end of the text is one of them."""
        if self.is_ended and number > 0:
            self.is_ended, number = False, number - 1
        if not 0 <= number <= len(self.ids) - self._begin:
            raise ValueError(f"there are {len(self.ids) - self._begin} tokens to take back, not {number}")
        if number:
            del self.ids[-number:]
            self._engines.leave(self)
            self._restart()

    def close(self, budget: int) -> list[int]:
        """Ids, at most `budget`, that end the text; the id of the end itself is not among them.

        Raises GrammarError when the text cannot be ended with so few.
        """
        closing = self.find_closing(self.check, limit=budget)
        if closing is None:
            where = tail(self.whole_text())
            raise GrammarError(
                f"{budget} tokens do not suffice to end the text after {where}", self.text, len(self.text)
            )
        return closing

    def taken(self, ids: list[int]) -> int:
        """How many of these ids could be written one after the other; one that ends a text counts where it may."""
        return 0 if self.is_ended else self._engines.taken(self, ids)

    def check(self, piece: bytes) -> tuple[int, bool]:
        """How many bytes of a piece the grammar takes, and whether the text is whole with it, without the suffix."""
        ids = [*self.vocabulary.spell(piece), self.vocabulary.end]
        taken = self.taken(ids)
        return (len(piece), True) if taken == len(ids) else (len(self.vocabulary.bytes_of(ids[:taken])), False)

    def find_closing(
        self,
        check: Callable[[bytes], tuple[int, bool]],
        limit: int | None = None,
        completions: Sequence[bytes] = (b"",),
    ) -> list[int] | None:
        """Ids of the shortest text, or nearly, that ends this one, at most `limit`; None when none was found.

        check: as in `closing_elixir_coder.find_closing`; `self.check`, or one that is stricter.
        """
        spell = self.vocabulary.spell_short
        closing = find_closing(
            self.whole_text(),
            check,
            seam=self.seam,
            completions=completions,
            cost=lambda closing: len(spell(closing)),
            limit=limit,
        )
        return None if closing is None else spell(closing)

    def _may_be_asked(self, index: int, word: int) -> bool:
        """Whether the id is text, and not of a word that would become too long behind one of so many bytes."""
        if not self.vocabulary.is_text(index):
            return False
        if self._engines.mode != "strict" or word <= MAX_WORD // 2:
            return True
        return bool(self.vocabulary.word_lengths[index] <= max(0, MAX_WORD - word))

    def _reaches_suffix(self, index: int) -> bool:
        """Whether the suffix can follow some time after this token, which the grammar takes."""
        if self.seam is None or not self.vocabulary.may_close[index]:
            return True
        scan = self._scan.copy() if self._scan is not None else Scan(self.whole_text())
        scan.feed(self.vocabulary.pieces[index])
        if self.seam.is_kept(scan):
            return True
        after = ElixirMatcher(self._engines, [*self.ids, index])
        if self.taken([index]) == 0:
            return False
        after.seam = self.seam
        return after.find_closing(after.check) is not None


# -- the engine ------------------------------------------------------------------------------------------------------


class Vocabulary:
    """The bytes of every id, and the engines of the grammars over them.

    pieces: bytes of each id; b"" for those that are not text: special tokens, holes, what ends a text.
    """

    def __init__(self, pieces: list[bytes], eos: tuple[int, ...]):
        self.pieces = pieces
        self.eos = frozenset(eos)
        self.end = min(eos)
        self.special = [index for index, piece in enumerate(pieces) if not piece]
        self._ids = {piece: index for index, piece in reversed(list(enumerate(pieces))) if piece}
        self._longest = min(32, max(map(len, self._ids)))
        self._engines: dict[tuple[str, str], Engines] = {}
        self._lock = threading.Lock()

    def is_text(self, index: int) -> bool:
        return 0 <= index < len(self.pieces) and bool(self.pieces[index])

    def bytes_of(self, ids: Iterable[int]) -> bytes:
        return b"".join(map(self.pieces.__getitem__, ids))

    @cached_property
    def may_close(self) -> np.ndarray:
        """(vocabulary,) bool: ids whose bytes may close something, or complete what does."""
        closers = re.compile(rb"[)\]}>\"'/|d\n]")
        return np.array([closers.search(piece) is not None for piece in self.pieces])

    @cached_property
    def openings(self) -> np.ndarray:
        """(vocabulary,): how many constructs each id may open, at most."""
        return np.array([self.num_opened(piece) for piece in self.pieces])

    @staticmethod
    def num_opened(piece: bytes) -> int:
        return len(_OPENERS.findall(piece))

    @cached_property
    def word_lengths(self) -> np.ndarray:
        """(vocabulary,): how many bytes each id adds to a word before it."""
        return np.array([_LETTERS.match(piece).end() for piece in self.pieces])

    def word_after(self, length: int, piece: bytes) -> int:
        """Length of the word that a text ends in with a piece behind it, when it was `length` before."""
        rest = len(piece) - len(piece.rstrip(_LETTER_BYTES))
        return length + rest if rest == len(piece) else rest

    def spell(self, text: bytes) -> list[int]:
        """Ids of a text, the longest first: not as the tokenizer would, but the engine goes by the bytes."""
        ids, at = [], 0
        while at < len(text):
            size = self._longest
            while (index := self._ids.get(text[at : at + size])) is None:
                size -= 1
                if size == 0:
                    raise GrammarError(f"no token of the vocabulary is the byte {text[at : at + 1]!r}", text, at)
            ids.append(index)
            at += len(self.pieces[index])
        return ids

    def spell_short(self, text: bytes) -> list[int]:
        """The fewest ids of a short text."""
        fewest: list[list[int]] = [[]]
        for end in range(1, len(text) + 1):
            ways = [
                [*fewest[begin], self._ids[text[begin:end]]]
                for begin in range(max(0, end - self._longest), end)
                if text[begin:end] in self._ids
            ]
            fewest.append(min(ways, key=len))
        return fewest[-1]

    def engines(self, mode: str, start: str) -> "Engines":
        with self._lock:
            if (mode, start) not in self._engines:
                self._engines[mode, start] = Engines(self, mode, start)
            return self._engines[mode, start]

    def expect(self, rows: int) -> None:
        """Have an engine for each of so many rows."""
        for engines in self._engines.values():
            engines.most = max(engines.most, rows + 8)

    @cached_property
    def tokenizer(self) -> Any:
        """llguidance's view of the vocabulary."""
        llguidance = _llguidance()
        wrapped = llguidance.TokenizerWrapper(_EngineVocabulary(self))
        return llguidance.LLTokenizer(wrapped, eos_token=self.end, slices=[])


class _EngineVocabulary:
    """What llguidance asks of a tokenizer. It marks a special token by a byte that UTF-8 does not have."""

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary):
        self.eos_token_id = vocabulary.end
        self.special_token_ids = vocabulary.special
        self.tokens = [piece or b"\xff<%d>" % index for index, piece in enumerate(vocabulary.pieces)]
        self._spell = vocabulary.spell

    def __call__(self, text: bytes | str) -> list[int]:
        return self._spell(text if isinstance(text, bytes) else text.encode())


class Engine:
    """An engine of llguidance and the ids it was fed."""

    def __init__(self, matcher: Any, ids: list[int]):
        self.matcher, self.ids = matcher, ids
        self.owner: ElixirMatcher | None = None  # the text that it stands at
        self.num_fed = len(ids)
        self.is_broken = False


class Engines:
    """The engines of one grammar, for any number of texts.

    A copy of an engine takes up to 0.5 ms and 5 MB, since it holds the states that the lexer has learnt; going back
    takes 4 microseconds and a token 30. So texts share engines: each takes the one that has most in common with it.

    An engine that has built a mask and is then rolled back may give that mask again for another text (llguidance 1.9.1
    keys it by the number of the row): masks are built by copies that are thrown away.
    """

    NEAR = 16  # tokens that are sooner fed again than an engine is copied
    RENEW = 500_000  # tokens after which an engine, whose lexer never forgets a state, is replaced

    def __init__(self, vocabulary: Vocabulary, mode: str, start: str):
        llguidance = _llguidance()
        # Only a mask refills the fuel, and a matcher without it stays in error: it must never run out.
        limits = llguidance.LLParserLimits(
            max_items_in_row=200_000,
            step_max_items=50_000_000,
            initial_lexer_fuel=2**50,
            step_lexer_fuel=2**50,
            max_lexer_states=2_000_000,
            verbose_errors=False,
        )
        self.vocabulary, self.mode = vocabulary, mode
        self.most = MAX_ENGINES
        self.lock = threading.RLock()
        lark = llguidance.LLMatcher.grammar_from_lark(elixir_grammar(mode, start))
        self._first = llguidance.LLMatcher(vocabulary.tokenizer, lark, log_level=0, limits=limits)
        self._pool: list[Engine] = []
        self._reader = self._first.deep_copy()  # stays at the beginning
        self._check(self._reader)

    def taken_from_start(self, ids: list[int]) -> int:
        """How many of these ids the grammar takes."""
        if not ids:
            return 0
        with self.lock:
            taken = self._reader.validate_tokens(ids)
            if self._reader.is_error():
                reader, self._reader = self._reader, self._first.deep_copy()
                self._check(reader)
        return taken

    def offset_after(self, ids: list[int], taken: int) -> int:
        """Offset of the first byte that the grammar does not take, in a text of which it takes so many ids."""
        sure = ids[:taken]
        after = self.vocabulary.bytes_of(ids[taken : taken + 1])
        single = [each for byte in after for each in self.vocabulary.spell(bytes([byte]))]
        return len(self.vocabulary.bytes_of(sure)) + self.taken_from_start([*sure, *single]) - taken

    def taken(self, matcher: ElixirMatcher, ids: list[int]) -> int:
        with self.lock:
            engine = self._at(matcher).matcher
            if engine.is_stopped():  # nothing but the end may follow; llguidance then does not even say that
                return int(ids[:1] == [self.vocabulary.end])
            taken = engine.validate_tokens(ids)
            self._check(engine, matcher)
        return taken

    def consume(self, matcher: ElixirMatcher, index: int, is_sure: bool) -> bool:
        with self.lock:
            engine = self._at(matcher)
            if engine.matcher.is_stopped():
                return False
            # the first verb does not ask whether the grammar takes the token, which is a third of the work
            if engine.matcher.consume_tokens([index]) if is_sure else engine.matcher.try_consume_tokens([index]) == 1:
                engine.ids.append(index)
                engine.num_fed += 1
                return True
            self._check(engine.matcher, matcher)
        return False

    def mask(self, matcher: ElixirMatcher) -> np.ndarray:
        """(vocabulary,) bool: the ids that the grammar takes next."""
        with self.lock:
            engine = self._at(matcher).matcher.deep_copy()
        size = len(self.vocabulary.pieces)
        if engine.is_stopped():
            return np.zeros(size, dtype=bool)
        bits = np.frombuffer(engine.compute_bitmask(), dtype=np.uint8)  # releases Python's lock
        if engine.stop_reason() == "NoExtensionBias":
            return np.zeros(size, dtype=bool)
        self._check(engine, matcher)
        return np.unpackbits(bits, bitorder="little", count=size).astype(bool)

    def leave(self, matcher: ElixirMatcher) -> None:
        """The matcher goes to another text; its engine stays where it is."""
        with self.lock:
            if matcher.engine is not None and matcher.engine.owner is matcher:
                matcher.engine.owner = None

    def _at(self, matcher: ElixirMatcher) -> Engine:
        """An engine that stands at the text of the matcher."""
        engine = matcher.engine
        if engine is not None and engine.owner is matcher:
            return engine
        ids = matcher.ids
        if engine is None or engine.is_broken or self._distance(engine, ids) > self.NEAR:
            engine = self._nearest(ids)
        shared = num_shared(engine.ids, ids)
        if shared < len(engine.ids):
            engine.matcher.rollback(len(engine.ids) - shared)
            del engine.ids[shared:]
        if shared < len(ids):
            engine.matcher.consume_tokens(ids[shared:])
            engine.ids += ids[shared:]
            engine.num_fed += len(ids) - shared
        self._check(engine.matcher, matcher)
        engine.owner, matcher.engine = matcher, engine
        self._pool.remove(engine)
        self._pool.append(engine)
        return engine

    def _nearest(self, ids: list[int]) -> Engine:
        best = max(self._pool, key=lambda each: num_shared(each.ids, ids), default=None)
        if best is not None and best.num_fed > self.RENEW:
            self._drop(best)
            best = None
        if best is None:
            best = Engine(self._reader.deep_copy(), [])
            self._pool.append(best)
        elif self._distance(best, ids) > self.NEAR:
            best = Engine(best.matcher.deep_copy(), best.ids.copy())
            if len(self._pool) >= self.most:  # the one not asked for the longest, or texts far apart would share one
                self._drop(self._pool[0])
            self._pool.append(best)
        return best

    @staticmethod
    def _distance(engine: Engine, ids: list[int]) -> int:
        return max(len(engine.ids), len(ids)) - num_shared(engine.ids, ids)

    def _drop(self, engine: Engine) -> None:
        self._pool.remove(engine)
        engine.is_broken, engine.owner = True, None

    def _check(self, engine: Any, matcher: ElixirMatcher | None = None) -> None:
        """Raise GrammarError for an engine that has given up, which it does for good."""
        if not engine.is_error():
            return
        for each in [each for each in self._pool if each.matcher is engine]:
            self._drop(each)
        reason = engine.get_error().strip().partition("\n")[0][:300]
        text = matcher.text if matcher is not None else b""
        raise GrammarError(f"llguidance gave up after {tail(text)}: {reason}", text, len(text))


def num_shared(one: list[int], other: list[int]) -> int:
    """How many ids both lists begin with."""
    least, most = 0, min(len(one), len(other))
    if one[:most] == other[:most]:  # compared in C, and usually so
        return most
    while most - least > 1:
        middle = (least + most) // 2
        if one[least:middle] == other[least:middle]:
            least = middle
        else:
            most = middle
    return least


def _llguidance() -> Any:
    try:
        import llguidance
    except ImportError as error:
        raise ImportError(
            "decoding inside Elixir's grammar needs llguidance; install it with: pip install llguidance"
        ) from error
    return llguidance


_vocabularies: WeakKeyDictionary[Any, dict[Any, Vocabulary]] = WeakKeyDictionary()
_vocabularies_lock = threading.Lock()


def vocabulary_of(tokenizer: Any, eos_token_id: int | Sequence[int] | None) -> Vocabulary:
    """The vocabulary of a tokenizer of transformers, read once for each object; again when it has grown."""
    eos = tokenizer.eos_token_id if eos_token_id is None else eos_token_id
    if eos is None:
        raise GrammarError("the tokenizer has no token that ends a text: give eos_token_id")
    ends = (eos,) if isinstance(eos, int) else tuple(eos)
    key = ends, len(tokenizer)
    with _vocabularies_lock:
        known = _vocabularies.setdefault(tokenizer, {})
        if key not in known:
            known[key] = Vocabulary(_pieces(tokenizer, set(ends)), ends)
        return known[key]


def _pieces(tokenizer: Any, ends: set[int]) -> list[bytes]:
    """The bytes of every id of a byte-level BPE; b"" for special tokens, ends and ids that are not there."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decoder = getattr(backend, "decoder", None)
    if backend is None or decoder is None or "ByteLevel" not in _type_names(json.loads(decoder.__getstate__())):
        raise GrammarError(
            f"{type(tokenizer).__name__} is not a byte-level BPE (as of GPT-2, Llama 3, Qwen, this repository), "
            "the only kind whose tokens this grammar can read"
        )
    names = backend.get_vocab(with_added_tokens=True)
    added = backend.get_added_tokens_decoder()
    special = ends | set(tokenizer.all_special_ids) | {index for index, token in added.items() if token.special}
    bytes_of = {ord(character): byte for byte, character in enumerate(_byte_characters())}
    pieces = [b""] * (max(names.values()) + 1)
    for name, index in names.items():
        if index not in special:
            is_spelled = index not in added  # an added token is written as it is
            pieces[index] = name.translate(bytes_of).encode("latin-1") if is_spelled else name.encode()
    return pieces


def _type_names(state: Any) -> set[str]:
    """The types of a decoder and of those it is made of."""
    return {state["type"]}.union(*map(_type_names, state.get("decoders", ())))


def _byte_characters() -> list[str]:
    """The character that stands for each byte in the vocabulary of a byte-level BPE: printable ones for themselves."""
    plain = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte if byte in plain else next(others)) for byte in range(256)]
