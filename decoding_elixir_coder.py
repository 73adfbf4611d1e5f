"""Keep what a language model writes inside Elixir's grammar, one token at a time.

    processor = ElixirGrammarProcessor(tokenizer, max_new_tokens=200, do_sample=False)
    model.generate(**inputs, max_new_tokens=200, logits_processor=[processor])

For every model of transformers whose tokenizer is a byte-level BPE. A token is allowed while some continuation of the
text still parses, and the end of text where the text is whole: `engine_elixir_coder.py` knows. Here are the processor,
and what reads a text without a model.

A full mask of the vocabulary takes milliseconds, a question about one token some 20 microseconds: so the likeliest
tokens are asked about one by one, and a mask is built only when all of these were refused.

With a budget of tokens, a token is refused when the text could not be ended any more with what would be left.
"""

import math
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import count, islice
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from transformers import LogitsProcessor

try:
    from .closing_elixir_coder import Reserve, Scan, closing_bound
except ImportError:
    from closing_elixir_coder import Reserve, Scan, closing_bound
try:
    from .engine_elixir_coder import ElixirGrammar, ElixirMatcher, GrammarError, Vocabulary, num_shared, tail
except ImportError:
    from engine_elixir_coder import ElixirGrammar, ElixirMatcher, GrammarError, Vocabulary, num_shared, tail

CANDIDATES = 512  # tokens asked about before a full mask is built: 512 x 20 us is less than most masks take
MOST_DOUBTFUL = 64  # of those that a full mask has to look at one by one, near the end of a budget or of a hole
IN_NUCLEUS = 512  # tokens asked about to tell whether top_p leaves one, before a full mask is built
FEW = 16  # tokens that are nearly always enough: of more of them only the order is made first
NEAR_THE_END = 8  # tokens for which a closing is searched before the closing begins
KEPT = 128  # tokens that a row may go back without being read again from its beginning
SPARE = 3  # constructs that the next token may open without a look at the text: see `_State.is_far`
BLOCK = 128  # weights that a draw passes over at once


# -- text without a model --------------------------------------------------------------------------------------------


class SyntaxFault(NamedTuple):
    """The first byte that cannot stand where it is, or the length of a text that ends too early."""

    offset: int
    expected: list[str]  # what could have stood there: "an expression", "`end`", "`)`"


def accepts(text: str, mode: str = "accept", start: str = "file") -> bool:
    """Whether the grammar takes the whole text."""
    vocabulary = _plain_vocabulary()
    ids = [*vocabulary.spell(text.encode()), vocabulary.end]
    return vocabulary.engines(mode, start).taken_from_start(ids) == len(ids)


def first_error(text: str, mode: str = "accept", start: str = "file") -> SyntaxFault | None:
    """Where the text leaves the grammar and what could have stood there; None when the grammar takes it."""
    vocabulary = _plain_vocabulary()
    engines = vocabulary.engines(mode, start)
    ids = [*vocabulary.spell(text.encode()), vocabulary.end]
    taken = engines.taken_from_start(ids)
    if taken == len(ids):
        return None
    offset = engines.offset_after(ids[:-1], taken)
    before = text.encode()[:offset]
    scan = Scan(before)
    if scan.open and scan.open[-1].is_text:
        return SyntaxFault(offset, [f"`{scan.open[-1].closer.decode()}`"])
    matcher = ElixirMatcher(engines, vocabulary.spell(before))
    closer = scan.open[-1].closer if scan.open else b""
    possible = {
        words: any(all(matcher.check(probe)[0] == len(probe) for probe in way) for way in ways)
        for words, ways in [(f"`{closer.decode()}`", ((closer + b"\n",), (b"\n" + closer + b"\n",))), *_PROBES]
    }
    return SyntaxFault(offset, [words for words, is_possible in possible.items() if is_possible and words != "``"])


def valid_prefix(text: str, mode: str = "accept", start: str = "file") -> str:
    """The longest beginning of the text that some continuation makes whole."""
    vocabulary = _plain_vocabulary()
    engines = vocabulary.engines(mode, start)
    ids = vocabulary.spell(text.encode())
    offset = engines.offset_after(ids, engines.taken_from_start(ids))
    return text.encode()[:offset].decode(errors="ignore")


# What is tried where a text goes wrong. One of the ways must be open, which means for all of its texts.
_PROBES: tuple[tuple[str, tuple[tuple[bytes, ...], ...]], ...] = (
    ("`->`", ((b"-> nil\n",), (b" -> nil\n",))),
    ("`do`", ((b"do nil end\n",), (b" do nil end\n",))),
    ("`,`", ((b", nil",),)),
    ("an expression", ((b"[", b":a", b"%{", b"nil "), (b" [", b" :a", b" %{", b" nil "))),
    ("a name", ((b"a_name ",), (b" a_name ",))),
    ("an operator", ((b" == ",),)),
    ("a new line", ((b"\nnil\n",),)),
)
# Long pieces make reading a text three times as fast as byte by byte.
_PIECES = (
    "do end def defp defmodule defmacro defstruct @doc @spec @type @moduledoc @impl alias import require use case "
    "cond if else unless with for fn when true false nil not and or in test assert describe quote unquote raise "
    "rescue after String Enum Map Keyword List Module GenServer Agent Task Process __MODULE__ :ok :error {:ok, "
    "{:error, |> <- -> => :: == != <> ++ && || %{ ), ]) }) (self). the to of is and that this with function return "
    "returns value name key list map state opts options conn params result default string integer boolean atom "
    "module struct error message type args"
)


@lru_cache(maxsize=1)
def _plain_vocabulary() -> Vocabulary:
    words = _PIECES.encode().split()
    spaced = [b"\n" + b" " * number for number in range(2, 17, 2)] + [b" " * number for number in range(2, 17)]
    pieces = [bytes([byte]) for byte in range(256)] + spaced + words + [b" " + word for word in words]
    pieces = [*dict.fromkeys(pieces), b""]
    return Vocabulary(pieces, (len(pieces) - 1,))


# -- a processor for transformers ------------------------------------------------------------------------------------


class MonitorState(Protocol):
    """What a monitor knows about one text. mask: (vocabulary,) bool; only the verdict on the ids `within` is needed."""

    def after(self, piece: bytes) -> "MonitorState": ...
    def allows(self, piece: bytes) -> bool: ...
    def mask(self, within: np.ndarray | None = None) -> np.ndarray | None: ...
    def completions(self) -> list[bytes]: ...
    def may_end(self) -> bool: ...


class Monitor(Protocol):
    """A second judge of the text, such as one of names; see `elixir_coder/generation/monitor.py`."""

    def state(self, text: bytes) -> MonitorState: ...


class Statistics:
    """What a processor did. One row of one call is one question: what may come next in this text?"""

    def __init__(self) -> None:
        self.calls = 0
        self.rows = 0
        self.full_masks = 0
        self.refusals = 0  # rows whose likeliest token, or first draw, was refused
        self.forced_closings = 0
        self._times = array("d")

    @property
    def total_us(self) -> float:
        return sum(self._times)

    def percentile_us(self, percent: float) -> float:
        """Microseconds that a call took; 50 gives the median."""
        return float(np.percentile(self._times, percent)) if self._times else 0.0

    def add_time(self, seconds: float) -> None:
        self._times.append(seconds * 1e6)

    def as_dict(self) -> dict[str, float]:
        counts = {name: number for name, number in vars(self).items() if not name.startswith("_")}
        return counts | {
            "total_us": self.total_us, "p50_us": self.percentile_us(50), "p95_us": self.percentile_us(95)
        }  # fmt: skip


class _Row(NamedTuple):
    """What was generated in a row, under the setting of that number, and the state it leads to."""

    number: int
    ids: list[int]
    state: "_State"


class ElixirGrammarProcessor(LogitsProcessor):
    """Keeps every row of a batch in the grammar: greedy, sampling, beams, for decoders and encoder-decoders.

    start, mode, prefix, suffix, max_new_tokens: one for all rows, or a list with one for each row of the batch; a row
        that transformers repeats, for beams or num_return_sequences, keeps its own.
    max_new_tokens: the same as for `generate`. The text then always ends, as valid code, within it.
    prefix: the code that the generated text continues, as in ElixirGrammar.matcher; suffix: what follows the hole.
    monitor: a second judge of the text. A token is allowed when both allow it.
    prompt_length: how many ids of a row come before its text. By default what a row has at the first call; that a new
        generation has begun is seen from its rows.
    do_sample: None builds a full mask for every row, which is right for every way of decoding, and slow. False leaves
        only the likeliest allowed tokens: all that greedy search, or beam search with `num_beams`, looks at. True draws
        the token here, with `temperature`, `top_k` and `top_p` over the allowed tokens as transformers' own warpers
        would behind a full mask, and leaves only that one; give what `generate` is given. Other warpers (min_p,
        typical_p, ...), assisted generation and renormalize_logits need None.
    seed: of the draws; by default they follow torch's own generator.

    What other processors have set to -inf stays forbidden; those that forbid must come before this one. Scores are
    never changed, only set to -inf, but for the end of text in a row that has ended. Raises GrammarError where no
    token may follow.
    """

    def __init__(
        self,
        tokenizer: Any,
        start: str | Sequence[str] = "file",
        mode: str | Sequence[str] = "strict",
        max_new_tokens: int | Sequence[int] | None = None,
        prefix: str | Sequence[str] = "",
        suffix: str | Sequence[str | None] | None = None,
        monitor: Monitor | None = None,
        *,
        prompt_length: int | None = None,
        eos_token_id: int | Sequence[int] | None = None,
        do_sample: bool | None = None,
        num_beams: int = 1,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
    ):
        self.stats = Statistics()
        self.do_sample, self.num_beams = do_sample, num_beams
        self.temperature, self.top_k, self.top_p = temperature or 1.0, top_k or 0, 1.0 if top_p is None else top_p
        self._generator = None if seed is None else torch.Generator().manual_seed(seed)
        self._prompt_length, self._prompts = prompt_length, torch.empty(0, 0)
        self._rows: dict[int, _Row] = {}
        self._taken: dict[int, list[int]] = {}  # of each row: its ids with those behind them that `accepted` took
        self._copies = 1  # rows of each setting
        self._lock = threading.RLock()  # `prepare` may run in another thread
        self._roots: list[_State] = []
        for settings in _per_row(start, mode, prefix, suffix, max_new_tokens):
            row_start, row_mode, row_prefix, row_suffix, budget = settings
            grammar = ElixirGrammar(tokenizer, row_mode, row_start, eos_token_id)
            judge = None if monitor is None else monitor.state(row_prefix.encode())
            self._roots.append(_State(grammar.matcher(row_prefix, row_suffix), judge, budget))
        self._vocabulary = grammar.vocabulary

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        begun_at = time.perf_counter()
        num_rows = input_ids.shape[0]
        self._expect(num_rows, scores.shape[1])
        written = self._written(input_ids)
        known, self._rows = self._rows, {}
        answer = torch.full_like(scores, -torch.inf)
        values = _values(scores)
        num_dead = 0
        for row, ids in enumerate(written):  # all about a row at once: going from text to text, engines read again
            state = self._state(row, ids, known)
            num_dead += state.is_dead
            if num_dead == num_rows:
                raise state.error("no row is in the grammar: something else chose tokens that were at -inf")
            left: Any = self._left(state, values[row])
            if isinstance(left, np.ndarray):
                left = torch.from_numpy(left).to(scores.device)
            elif len(left) == 1:  # a list as an index costs ten times as much
                left = left[0]
            kept = scores[row, left]
            answer[row, left] = 0.0 if state.is_over else kept.nan_to_num(neginf=0.0) if state.is_closing else kept
        self._count(num_rows, begun_at)
        return answer

    # -- row by row, for a loop of one's own

    @staticmethod
    def warm(
        tokenizer: Any, start: str = "file", mode: str = "strict", eos_token_id: int | Sequence[int] | None = None
    ) -> threading.Thread:
        """Read the vocabulary and compile the grammar in a thread of their own, while a model is loaded or reads.

        A processor of the same settings waits for it, and has nothing left to do. What goes wrong, goes wrong there.
        """

        def compile_grammar() -> None:
            with suppress(Exception):
                ElixirGrammar(tokenizer, mode, start, eos_token_id)

        thread = threading.Thread(target=compile_grammar, name="compile Elixir's grammar", daemon=True)
        thread.start()
        return thread

    def begin(self, num_rows: int) -> None:
        """A new generation of so many rows begins; the rows of one setting stand one after the other."""
        with self._lock:
            self._expect(num_rows, len(self._vocabulary.pieces))
            self._rows, self._taken = {}, {}

    def prepare(self, rows: Sequence[tuple[int, Sequence[int]]]) -> None:
        """Work out what can be known before the scores are there, for rows and the ids written in them so far.

        Drafted tokens may be among the ids: they are then asked about here, and `pick` has it easier. Raises
        GrammarError for one that may not stand where it is.
        """
        with self._lock:
            for row, ids in rows:
                self._state(row, ids, self._rows)

    def pick(self, row: int, ids: Sequence[int], scores: torch.Tensor | np.ndarray) -> int:
        """The token that this processor leaves in a row in which `ids` are written: the likeliest, or its draw.

        scores: (vocabulary,) float32. For `do_sample` True or False, and one beam.
        """
        if self.do_sample is None or self.num_beams > 1:
            raise GrammarError("one token cannot be picked: give do_sample=True or False and num_beams=1")
        begun_at = time.perf_counter()
        with self._lock:
            seen = self._seen(_values(scores))
            index = self._drafted(row, ids, seen)
            if index is None:
                state = self._state(row, ids, self._rows)
                index = int(self._left(state, seen)[0])
                if state.is_closing:
                    self._taken.pop(row, None)  # only one text may come now
        self._count(1, begun_at)
        return index

    def accepted(self, row: int, ids: Sequence[int], drafts: Sequence[int]) -> int:
        """How many of the drafted ids may be written behind `ids`, one after the other; `pick` then knows them.

        Near the end of a budget, and where something closes that a suffix may need, each token takes a look of its own:
        there no draft is accepted. The end of a text never is.
        """
        with self._lock:
            number = self._state(row, ids, self._rows).num_far(drafts)
            self._taken[row] = [*ids, *drafts[:number]]
        return number

    def _seen(self, values: np.ndarray) -> "np.ndarray | _Draws":
        """Scores in the form in which tokens are chosen by them."""
        is_drawn = self.do_sample and self.num_beams == 1
        return _Draws(values, self.temperature, self._generator) if is_drawn else values

    def _drafted(self, row: int, ids: Sequence[int], scores: "np.ndarray | _Draws") -> int | None:
        """The token to pick where it is one of a draft known to be allowed; None where the grammar is to be asked."""
        number, taken, at = len(ids), self._taken.get(row, []), self._rows.get(row)
        is_written = at is not None and number < at.state.num_written
        if number >= len(taken) and not is_written:
            return None
        index = _first(scores)
        if self._is_cut and isinstance(scores, _Draws) and index != scores.best:
            return None
        for known in (taken, at.ids if at is not None and is_written else []):
            if number < len(known) and known[number] == index and known[:number] == list(ids):
                return index
        return None

    def _expect(self, num_rows: int, num_scores: int) -> None:
        size = len(self._vocabulary.pieces)
        if num_scores < size:
            raise GrammarError(f"the model scores {num_scores} ids and its tokenizer has {size}: not of one model")
        if num_rows % len(self._roots):
            raise GrammarError(f"{num_rows} rows cannot be shared out among {len(self._roots)} settings")
        self._copies = num_rows // len(self._roots)
        self._vocabulary.expect(num_rows)

    def _count(self, num_rows: int, begun_at: float) -> None:
        self.stats.calls += 1
        self.stats.rows += num_rows
        self.stats.add_time(time.perf_counter() - begun_at)

    # -- which text a row holds

    def _written(self, input_ids: torch.Tensor) -> list[list[int]]:
        """The generated ids of every row."""
        if self._prompt_length is not None:
            return input_ids[:, self._prompt_length :].tolist()
        begin = self._prompts.shape[1]
        if self._prompts.shape[0] == input_ids.shape[0] and torch.equal(input_ids[:, :begin].cpu(), self._prompts):
            rows = input_ids[:, begin:].tolist()
            # speculative decoding goes back by some tokens, so a row may have held more at the call before
            if all(self._nearest(row, ids, self._rows)[1] >= len(ids) - 1 for row, ids in enumerate(rows)):
                return rows
        self._prompts = input_ids.cpu().clone()
        return [[] for _ in range(input_ids.shape[0])]

    def _state(self, row: int, ids: Sequence[int], known: dict[int, _Row]) -> "_State":
        """The state behind what is written in a row, which may go on from what is known of any row."""
        at = self._rows.get(row)
        if at is not None and at.ids == ids:
            return at.state
        number, ids = row // self._copies, list(ids)
        nearest, shared = self._nearest(row, ids, known)
        state = nearest.state.back_to(shared) if nearest is not None else None
        if state is None:
            state = self._roots[number].copy()
        for index in ids[state.num_written :]:
            if state.is_over:
                break
            state = state.advance(index) or self._refused(state, index)
        self._rows[row] = _Row(number, ids, state)
        return state

    def _nearest(self, row: int, ids: list[int], known: dict[int, _Row]) -> tuple[_Row | None, int]:
        """The row that has most in common with these ids, and how many ids that is."""
        number = row // self._copies
        best, most = None, 0
        for each in (known.get(row), *known.values()):
            if each is not None and each.number == number and (shared := num_shared(each.ids, ids)) >= most:
                best, most = each, shared
            if best is not None and most >= len(ids) - 1:
                break
        return best, most

    def _refused(self, state: "_State", index: int) -> "_State":
        """What becomes of a row with a token that was set to -inf.

        Beam search goes on with such rows, at a score of -inf, when there are fewer allowed tokens than beams.
        """
        if self.do_sample is not None and self.num_beams == 1:
            raise state.error(f"token {index} was written, which is not allowed")
        return state.dead()

    # -- what may come next in it

    def _left(self, state: "_State", scores: "np.ndarray | _Draws") -> Any:
        """The ids that stay above -inf, as a list or as a mask: (vocabulary,) bool."""
        if state.is_over:
            return sorted(self._vocabulary.eos)
        if not state.is_closing:
            seen = self._seen(scores) if isinstance(scores, np.ndarray) else scores
            allowed: Any
            if isinstance(seen, _Draws):
                allowed = self._draw(state, seen)
            elif self.do_sample is None or self.do_sample:
                allowed = self._all_of(state, seen)
                self.stats.refusals += allowed is not None and not allowed[seen.argmax()]
            else:
                number = 1 if self.num_beams == 1 else max(2, 1 + len(self._vocabulary.eos)) * self.num_beams
                allowed = self._best_of(state, seen, number)
            if allowed is not None:
                return allowed
            self.stats.forced_closings += 1
            state.begin_closing()
        return [state.next_of_closing()]

    def _best_of(self, state: "_State", scores: np.ndarray, number: int) -> list[int] | None:
        """The likeliest ids that may come next, `number` of them where there are so many; None to begin the closing."""
        allowed = []
        refused_by_budget = 0
        for rank, index in enumerate(_likeliest(scores, max(CANDIDATES, 4 * number))):
            may_follow = state.allows(index)
            if may_follow:
                allowed.append(index)
                if len(allowed) == number:
                    return allowed
            else:
                self.stats.refusals += rank == 0
                refused_by_budget += may_follow is None
                if refused_by_budget == NEAR_THE_END:
                    return allowed or None
        mask = self._all_of(state, scores)
        if mask is None:
            return allowed or None
        return list(islice(_descending(np.where(mask, scores, -np.inf), number), number))

    def _all_of(self, state: "_State", scores: np.ndarray) -> np.ndarray | None:
        """(vocabulary,) bool: all that may come next; None to begin the closing."""
        self.stats.full_masks += 1
        allowed, is_complete = state.mask(list(islice(_likeliest(scores, MOST_DOUBTFUL), MOST_DOUBTFUL)))
        mask = scores > -np.inf
        mask[: len(allowed)] &= allowed
        mask[len(allowed) :] = False
        if mask.any():
            return mask
        if not is_complete:
            return None
        raise state.error("no token may follow: the grammar, the monitor and other processors leave none")

    @property
    def _is_cut(self) -> bool:
        return self.top_k > 0 or self.top_p < 1.0

    def _draw(self, state: "_State", draws: "_Draws") -> list[int] | None:
        """One id, drawn from the allowed ones as temperature, top_k and top_p say; None to begin the closing.

        By rejection: the first of the draws that is allowed is a draw from the allowed ids. Where top_k or top_p is
        set, it must also be in the nucleus of these.
        """
        refused_by_budget = 0
        nucleus = _Nucleus(state, draws, self.top_k, self.top_p)
        index = draws.first
        for rank in range(CANDIDATES):
            if index is None:
                break
            may_follow = state.allows(index)
            if may_follow:
                is_in = not self._is_cut or index == draws.best or nucleus.holds(index)
                if is_in:
                    return [index]
                if is_in is None:
                    break
                draws.leave_out_below(index)
            else:
                self.stats.refusals += rank == 0
                refused_by_budget += may_follow is None
                if refused_by_budget == NEAR_THE_END:
                    return None
            index = draws.next()
        mask = self._all_of(state, draws.values)
        if mask is None:
            return None
        masked = torch.from_numpy(np.where(mask, draws.values, -np.inf) / draws.temperature)
        masked[self._cut(masked)] = -torch.inf
        if index is not None and masked[index] > -torch.inf:
            return [index]  # to draw again would favour the ids whose place in the nucleus is quick to tell
        return [_first(_Draws(masked.numpy(), 1.0, self._generator))]

    def _cut(self, logits: torch.Tensor) -> torch.Tensor:
        """What transformers' top-k and then top-p warper would set to -inf."""
        removed = logits == -torch.inf
        if self.top_k:
            removed |= logits < logits.topk(min(self.top_k, len(logits))).values[-1]
        if self.top_p < 1.0:
            ordered, order = logits.masked_fill(removed, -torch.inf).sort()
            unlikely = ordered.softmax(0).cumsum(0) <= 1 - self.top_p
            unlikely[-1] = False
            removed[order[unlikely]] = True
        return removed


class _Draws:
    """Ids drawn by the softmax of values / temperature, each of them at most once.

    Without those drawn before, what is left is drawn in the same proportions: a token with nearly all of the weight,
    refused, costs one question. Weights are added up in blocks, ten times as fast as one by one.
    """

    def __init__(self, values: np.ndarray, temperature: float, generator: torch.Generator | None):
        self.values, self.temperature = values, temperature
        self._generator = generator
        self._gone: list[int] = []
        self._least = -float("inf")
        self.best = int(values.argmax())
        self._weigh(values, values[self.best])
        self._all = float(self._sums.sum())
        self.first = self.next()

    def next(self) -> int | None:
        """Another id; None when there is none left."""
        sums = self._sums.cumsum()
        if sums[-1] < 1e-20:  # weights that are so much smaller than the first ones have lost their digits
            values = np.where(self.values < self._least, -np.inf, self.values)
            values[self._gone] = -np.inf
            self._weigh(values, values.max())
            sums = self._sums.cumsum()
            if sums[-1] == 0.0:
                return None
        drawn = float(torch.rand((), dtype=torch.float64, generator=self._generator)) * float(sums[-1])
        block = int(sums.searchsorted(drawn, side="right"))
        if block == len(sums):  # beyond the last one, by rounding
            block = int(np.flatnonzero(self._sums)[-1])
        weights = self._weights[block]
        within = weights.cumsum(dtype=np.float64)
        place = int(within.searchsorted(drawn - (sums[block] - self._sums[block]), side="right"))
        if place == BLOCK or weights[place] == 0.0:
            place = int(np.flatnonzero(weights)[-1])
        weights[place] = 0.0
        self._sums[block] = weights.sum()
        self._gone.append(block * BLOCK + place)
        return self._gone[-1]

    def leave_out_below(self, index: int) -> None:
        """Draw no id any more that is less likely than this one."""
        self._least = float(self.values[index])
        self._weights.reshape(-1)[: len(self.values)][self.values < self._least] = 0.0
        self._sums = self._weights.sum(1).astype(np.float64)

    def in_order(self, number: int) -> Iterator[tuple[int, float, float]]:
        """The likeliest ids, in descending order: id, value, share among all of them."""
        top = float(self.values[self.best])
        for index in _descending(self.values, number):
            value = float(self.values[index])
            yield index, value, math.exp((value - top) / self.temperature) / self._all

    def _weigh(self, values: np.ndarray, top: float) -> None:
        size = len(values)
        weights = np.empty(-(-size // BLOCK) * BLOCK, dtype=np.float32)
        if top > -np.inf:
            np.subtract(values, top, out=weights[:size])
            weights[:size] *= 1.0 / self.temperature
            np.exp(weights[:size], out=weights[:size])
        else:
            weights[:size] = 0.0
        weights[size:] = 0.0
        self._weights = weights.reshape(-1, BLOCK)
        self._sums = torch.from_numpy(self._weights).sum(1).double().numpy()  # numpy's takes twice as long


class _Nucleus:
    """Which of the allowed ids top_k and top_p leave.

    Ids are asked about from the likeliest on. The share of the allowed ones among those not asked about yet lies
    between nothing and all of it: the answer is known when it is the same at both ends.
    """

    def __init__(self, state: "_State", draws: "_Draws", top_k: int, top_p: float):
        self._state, self._top_k, self._top_p = state, top_k, top_p
        self._coming = draws.in_order(IN_NUCLEUS)
        self._seen: list[tuple[int, float, float]] = []
        self._permitted: dict[int, bool] = {}
        self._shares: dict[int, float] | None = None
        self._size = len(draws.values)

    def holds(self, index: int) -> bool | None:
        """Whether an id, which is allowed, is left; None when that takes too many questions."""
        unseen, known = 1.0, 0.0  # shares: of all ids not asked about yet, of the allowed ones
        before: float | None = None  # the share of the allowed ones before `index`
        number, least, top_p = 0, -float("inf"), self._top_p
        for place, (each, value, share) in enumerate(self._in_order()):
            if place == FEW and self._is_hopeless(index):
                return None
            if share == 0.0 or (self._top_k and number >= self._top_k and value < least):
                return before is not None and before < top_p * known
            unseen = max(0.0, unseen - share)
            if each == index:
                before = known
            elif each not in self._permitted:
                # a search for how to end the text behind each of them would take seconds near the end of a budget
                self._permitted[each] = self._state.permits(each)
            if each == index or self._permitted[each]:
                known += share
                number += 1
                least = value  # ids as likely as the last one that top_k leaves are left too
            if top_p < 1.0 and (known if before is None else before) >= top_p * (known + unseen):
                return False
            if before is not None and (top_p == 1.0 or before < top_p * known):
                return True
        return None if len(self._seen) < self._size else before is not None and before < top_p * known

    def _is_hopeless(self, index: int) -> bool:
        """Whether no answers about the likeliest ids can tell, since too much weight is on the others."""
        if self._top_k or self._size <= IN_NUCLEUS:
            return False
        if self._shares is None:
            self._shares = {each: share for each, _, share in self._in_order()}
        known = sum(share for each, share in self._shares.items() if self._permitted.get(each, True))
        return index not in self._shares and known < self._top_p * (known + 1.0 - sum(self._shares.values()))

    def _in_order(self) -> Iterator[tuple[int, float, float]]:
        for place in count():
            if place == len(self._seen):
                if (each := next(self._coming, None)) is None:
                    return
                self._seen.append(each)
            yield self._seen[place]


class _State:
    """One text of a row: the grammar's view, the monitor's, and how it can be ended with what is left.

    left: how many tokens may still be written, the end of text among them; None for any number.
    """

    def __init__(self, matcher: ElixirMatcher, monitor: MonitorState | None, left: int | None):
        self.matcher, self.monitor, self.left = matcher, monitor, left
        self.before: _State | None = None
        self.num_written = 0
        self.is_over = False  # ended, or a row that beam search carries along at -inf
        self.is_closing = False
        self.is_dead = False
        self.is_too_late = False  # what `advance` refused last, it refused because of what is left
        self._unread = b""  # what the scan was not fed yet: it is needed only now and then
        self._num_opened = 0  # constructs that this may have opened, at most
        self._reserve: Reserve | None = Reserve()
        self._ahead: dict[int, _State | None] = {}  # tokens that needed a search: most are asked about again
        if left is None:
            return
        self._scan = Scan(matcher.whole_text())
        self._bound = closing_bound(self._scan, matcher.seam)
        if not self._keeps_reserve(None):
            needed = self.matcher.find_closing(self._check, completions=self._completions())
            least = "more" if needed is None else f"at least {len(needed) + 1}"
            raise self.error(f"max_new_tokens is {left}, and {least} are needed to end the text")

    def error(self, message: str) -> GrammarError:
        text = self.matcher.text
        return GrammarError(f"{message}; the text so far ends with {tail(self.matcher.whole_text())}", text, len(text))

    def permits(self, index: int) -> bool:
        """Whether a token may come next, whatever is left."""
        return self._monitor_allows(index) and self.matcher.allows(index)

    def allows(self, index: int) -> bool | None:
        """Whether a token may come next; None where only what is left forbids it."""
        if not self.permits(index):
            return False
        if index in self.matcher.vocabulary.eos or self._is_far(index):
            return True
        self._ahead[index] = self.advance(index)
        return True if self._ahead[index] is not None else None

    def num_far(self, drafts: Sequence[int]) -> int:
        """How many of these ids may be written one after the other, as far as no search for a closing is needed."""
        if self.is_over or self.is_closing:
            return 0
        number, opened, monitor = 0, 0, self.monitor
        for index in drafts:
            piece = self.matcher.vocabulary.pieces[index] if 0 <= index < len(self.matcher.vocabulary.pieces) else b""
            if not piece or not self._is_far(index, opened, number) or (monitor and not monitor.allows(piece)):
                break
            monitor = monitor.after(piece) if monitor else None
            opened += self.matcher.vocabulary.num_opened(piece)
            number += 1
        return self.matcher.num_allowed(list(drafts[:number]))

    def advance(self, index: int) -> "_State | None":
        """The state with one more token, or None where it may not come next."""
        self.is_too_late = False
        if index in self._ahead:
            return self._ahead[index]
        if not self.is_closing and not self._monitor_allows(index):
            return None
        matcher = self.matcher.copy()
        if not matcher.consume(index):
            return None
        following = self._next()
        following.matcher = matcher
        if matcher.is_ended:
            following.is_over = True
            return following
        piece = matcher.vocabulary.pieces[index]
        if self.monitor is not None:
            following.monitor = self.monitor.after(piece)
        if self.left is not None:
            following.left = self.left - 1
            following._unread += piece
            following._num_opened += matcher.vocabulary.num_opened(piece)
            if not following._keeps_reserve(index):
                self.is_too_late = True
                return None
        return following

    def dead(self) -> "_State":
        """A state behind a token that may not come next."""
        following = self._next()
        following.is_over = following.is_dead = True
        return following

    def copy(self) -> "_State":
        other = _State.__new__(_State)
        other.__dict__ |= self.__dict__
        other._ahead = {}
        return other

    def back_to(self, number: int) -> "_State | None":
        """The state in which so many ids were written, or fewer; None when it was forgotten."""
        state: _State | None = self
        while state is not None and state.num_written > number:
            state = state.before
        return state

    def _next(self) -> "_State":
        following = self.copy()
        following.before, following.num_written = self, self.num_written + 1
        if following.num_written % KEPT == 0 and (far := following.back_to(following.num_written - KEPT)) is not None:
            far.before = None
        return following

    def mask(self, likeliest: list[int]) -> tuple[np.ndarray, bool]:
        """(vocabulary,) bool: what may come next; and False where tokens are left out that may have been possible.

        What needs a look of its own is looked at only where it is among the likeliest.
        """
        allowed = self.matcher.mask(doubtful=likeliest)
        if not allowed.any():
            allowed = self.matcher.mask()
        eos = list(self.matcher.vocabulary.eos)
        if self.monitor is not None:
            named = self.monitor.mask(allowed)
            if named is not None:
                allowed[: len(named)] &= named[: len(allowed)]
            allowed[eos] &= self.monitor.may_end()
        if self.left is None:
            return allowed, True
        sure = allowed & (self.matcher.vocabulary.openings <= self._num_spare())
        if self.matcher.seam is not None:
            sure &= ~self.matcher.vocabulary.may_close
        sure[eos] = allowed[eos]
        unsure = [index for index in likeliest if index < len(allowed) and allowed[index] and not sure[index]]
        for index in unsure[:NEAR_THE_END]:
            sure[index] = self.advance(index) is not None
        return sure, not (allowed & ~sure).any()

    def begin_closing(self) -> None:
        """From here on only the tokens that end the text."""
        if self._reserve is None or self._reserve.tokens is None:
            found = self.matcher.find_closing(self._check, (self.left or 0) - 1, self._completions())
            if found is None:
                raise self.error(f"the text cannot be ended with the {self.left} tokens left")
            self._reserve = Reserve(tuple(found))
        self.is_closing = True

    def next_of_closing(self) -> int:
        tokens = self._reserve.tokens if self._reserve is not None else ()
        return tokens[0] if tokens else min(self.matcher.vocabulary.eos)

    def _is_far(self, index: int, opened: int = 0, number: int = 0) -> bool:
        """Whether an id, which the grammar takes, may come next without a look at how to end the text behind it.

        opened, number: by what, and by how many tokens, the text is longer by then.
        """
        if self.left is None:
            return True
        vocabulary = self.matcher.vocabulary
        if self.matcher.seam is not None and vocabulary.may_close[index]:
            return False
        return opened + vocabulary.num_opened(vocabulary.pieces[index]) <= self._num_spare(number)

    def _num_spare(self, number: int = 0) -> float:
        """How many constructs may be opened, within `number` tokens and one more, without a look: see `Reserve`."""
        if self.left is None:
            return float("inf")
        if self.matcher.seam is not None and self._reserve is not None and self._reserve.tokens is not None:
            return -1  # what the suffix closes has to be opened again
        # one more: the bytes that come may show that what the scan took for an end was none, as `end` in `ends`
        return ((self.left - 2 - number) // 2 - self._bound) // 4 - self._num_opened - 1

    def _keeps_reserve(self, index: int | None) -> bool:
        """Whether the text, whose last token is `index`, can be ended with what is left."""
        vocabulary = self.matcher.vocabulary
        left = (self.left or 0) - 1
        if self.is_closing and self._reserve is not None and self._reserve.tokens is not None:
            self._reserve = Reserve(self._reserve.tokens[1:])
            return True
        closes = self.matcher.seam is not None and index is not None and bool(vocabulary.may_close[index])
        if not closes and self._num_spare() >= SPARE:
            self._reserve = Reserve()
            return True
        if self._unread:
            self._scan = self._scan.copy()
            self._scan.feed(self._unread)
            self._unread, self._num_opened = b"", 0
            self._bound = closing_bound(self._scan, self.matcher.seam)
        assert self._reserve is not None
        self._reserve = self._reserve.after(
            index,
            self.matcher.whole_text(),
            self._scan,
            self._check,
            left,
            vocabulary.spell_short,
            vocabulary.bytes_of,
            seam=self.matcher.seam,
            completions=self._completions(),
        )
        return self._reserve is not None

    def _check(self, closing: bytes) -> tuple[int, bool]:
        """The judgement of both on a closing, or on one with the suffix behind it, which the monitor does not judge."""
        if self.monitor is None:
            return self.matcher.check(closing)
        own = closing.removesuffix(self.matcher.seam.suffix) if self.matcher.seam is not None else closing
        if not self.monitor.allows(own):
            return 0, False
        taken, is_whole = self.matcher.check(closing)
        return taken, is_whole and self.monitor.after(own).may_end()

    def _completions(self) -> Sequence[bytes]:
        return self.monitor.completions() if self.monitor is not None else (b"",)

    def _monitor_allows(self, index: int) -> bool:
        if self.monitor is None:
            return True
        if index in self.matcher.vocabulary.eos:
            return self.monitor.may_end()
        return self.matcher.vocabulary.is_text(index) and self.monitor.allows(self.matcher.vocabulary.pieces[index])


def _values(scores: torch.Tensor | np.ndarray) -> np.ndarray:
    """Scores as float32 in memory; numpy's arg-max takes a twentieth of torch's."""
    if isinstance(scores, np.ndarray):
        return scores
    if scores.dtype != torch.float32 or scores.device.type != "cpu" or scores.requires_grad:
        scores = scores.detach().float().cpu()
    return scores.numpy()


def _first(scores: "np.ndarray | _Draws") -> int:
    """The id to ask about first: the first draw, or the likeliest."""
    if isinstance(scores, _Draws):
        return scores.best if scores.first is None else scores.first
    return int(scores.argmax())


def _likeliest(values: np.ndarray, number: int) -> Iterator[int]:
    """The ids with the highest scores in descending order, `number` or some more, without those at -inf."""
    best = int(values.argmax())
    if values[best] > -np.inf:
        yield best  # mostly the only one that is asked for
    yield from (index for index in _descending(values, number) if index != best)


def _descending(values: np.ndarray, number: int) -> Iterator[int]:
    """Places of the highest values in descending order, `number` or some more, without those at -inf.

    A few at a time: the highest of each block tell from where on to look, in a fifth of the time of a topk.
    """
    highest = values[: len(values) // BLOCK * BLOCK].reshape(-1, BLOCK).max(1)
    found = values > -np.inf
    for size in (FEW, 128, number):
        tops = highest if size <= len(highest) else values
        least = np.partition(tops, -size)[-size] if size <= len(tops) else -np.inf
        places = np.flatnonzero(found & (values >= least))
        yield from places[np.argsort(-values[places], kind="stable")].tolist()
        found &= values < least


def _per_row(*settings: Any) -> Iterator[tuple[Any, ...]]:
    """The settings of one row after the other; those given once hold for every row."""
    lists = [setting for setting in settings if isinstance(setting, list | tuple)]
    numbers = {len(each) for each in lists} or {1}
    if len(numbers) > 1 or 0 in numbers:
        raise GrammarError(f"start, mode, prefix, suffix, max_new_tokens are given for {sorted(numbers)} rows: which?")
    for row in range(numbers.pop()):
        yield tuple(setting[row] if isinstance(setting, list | tuple) else setting for setting in settings)
