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

import time
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from transformers import LogitsProcessor

try:
    from .closing_elixir_coder import Reserve, Scan, closing_bound
except ImportError:
    from closing_elixir_coder import Reserve, Scan, closing_bound
try:
    from .engine_elixir_coder import ElixirGrammar, ElixirMatcher, GrammarError, Vocabulary, tail
except ImportError:
    from engine_elixir_coder import ElixirGrammar, ElixirMatcher, GrammarError, Vocabulary, tail

CANDIDATES = 512  # tokens asked about before a full mask is built: 512 x 20 us is less than most masks take
MOST_DOUBTFUL = 64  # of those that a full mask has to look at one by one, near the end of a budget or of a hole
IN_NUCLEUS = 512  # tokens asked about to tell whether top_p leaves one, before a full mask is built
NEAR_THE_END = 8  # tokens for which a closing is searched before the closing begins
MAX_STATES = 1024  # texts that a processor remembers, at least


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


_Key = tuple[int, tuple[int, ...]]  # the number of a setting, and what was generated under it


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
        self._states: OrderedDict[_Key, _State] = OrderedDict()
        self._roots: list[_State] = []
        for settings in _per_row(start, mode, prefix, suffix, max_new_tokens):
            row_start, row_mode, row_prefix, row_suffix, budget = settings
            grammar = ElixirGrammar(tokenizer, row_mode, row_start, eos_token_id)
            judge = None if monitor is None else monitor.state(row_prefix.encode())
            self._roots.append(_State(grammar.matcher(row_prefix, row_suffix), judge, budget))
        self._vocabulary = grammar.vocabulary

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        begun_at = time.perf_counter()
        size = len(self._vocabulary.pieces)
        if scores.shape[1] < size:
            raise GrammarError(f"the model scores {scores.shape[1]} ids and its tokenizer has {size}: not of one model")
        if input_ids.shape[0] % len(self._roots):
            raise GrammarError(f"{input_ids.shape[0]} rows cannot be shared out among {len(self._roots)} settings")
        copies = input_ids.shape[0] // len(self._roots)
        keys = [(row // copies, tuple(ids)) for row, ids in enumerate(self._written(input_ids, copies))]
        self._vocabulary.expect(len(keys))
        states = [self._state(*key) for key in keys]
        if all(state.is_dead for state in states):
            raise states[0].error("no row is in the grammar: something else chose tokens that were at -inf")
        answer = torch.full_like(scores, -torch.inf)
        for row, (key, state) in enumerate(zip(keys, states)):
            self._fill(answer[row], state, key, scores[row])
        while len(self._states) > max(MAX_STATES, 8 * len(keys)):
            self._states.popitem(last=False)
        self.stats.calls += 1
        self.stats.rows += len(keys)
        self.stats.add_time(time.perf_counter() - begun_at)
        return answer

    # -- which text a row holds

    def _written(self, input_ids: torch.Tensor, copies: int) -> list[list[int]]:
        """The generated ids of every row."""
        if self._prompt_length is not None:
            return input_ids[:, self._prompt_length :].tolist()
        begin = self._prompts.shape[1]
        if self._prompts.shape[0] == input_ids.shape[0] and torch.equal(input_ids[:, :begin].cpu(), self._prompts):
            rows = input_ids[:, begin:].tolist()
            # speculative decoding goes back by some tokens, so it need not be the call before that knew the rows
            if all(not ids or (row // copies, tuple(ids[:-1])) in self._states for row, ids in enumerate(rows)):
                return rows
        self._prompts = input_ids.cpu().clone()
        return [[] for _ in range(input_ids.shape[0])]

    def _state(self, number: int, ids: tuple[int, ...]) -> "_State":
        known = len(ids)
        while known and (number, ids[:known]) not in self._states:
            known -= 1
        state = self._states.setdefault((number, ids[:known]), self._roots[number])
        for index in range(known, len(ids)):
            if not state.is_over:
                state = state.advance(ids[index]) or self._refused(state, ids[index])
            self._states[number, ids[: index + 1]] = state
        self._states.move_to_end((number, ids))
        return state

    def _refused(self, state: "_State", index: int) -> "_State":
        """What becomes of a row with a token that was set to -inf.

        Beam search goes on with such rows, at a score of -inf, when there are fewer allowed tokens than beams.
        """
        if self.do_sample is not None and self.num_beams == 1:
            raise state.error(f"token {index} was written, which is not allowed")
        return state.dead()

    # -- what may come next in it

    def _fill(self, answer: torch.Tensor, state: "_State", key: _Key, scores: torch.Tensor) -> None:
        """Copy the scores of what may come next into a row that is -inf."""
        if state.is_over:
            answer[list(self._vocabulary.eos)] = 0.0
            return
        if not state.is_closing:
            if self.do_sample is None or (self.do_sample and self.num_beams > 1):
                allowed: Any = self._all_of(state, scores)
                self.stats.refusals += allowed is not None and not allowed[scores.argmax()]
            elif self.do_sample:
                allowed = self._draw(state, key, scores)
            elif self.num_beams > 1:
                allowed = self._best_of(state, key, scores, max(2, 1 + len(self._vocabulary.eos)) * self.num_beams)
            else:
                allowed = self._best_of(state, key, scores, 1)
            if allowed is not None:
                if len(allowed) == 1:  # a list as an index costs ten times as much
                    allowed = allowed[0]
                answer[allowed] = scores[allowed]
                return
            self.stats.forced_closings += 1
            state.begin_closing()
        index = state.next_of_closing()
        answer[index] = scores[index].nan_to_num(neginf=0.0)

    def _best_of(self, state: "_State", key: _Key, scores: torch.Tensor, number: int) -> list[int] | None:
        """The likeliest ids that may come next, `number` of them where there are so many; None to begin the closing."""
        allowed = []
        refused_by_budget = 0
        for rank, index in enumerate(_likeliest(scores, max(CANDIDATES, 4 * number))):
            may_follow = self._try(state, key, index) if number == 1 else state.allows(index)
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
        best, ids = torch.where(mask, scores, -torch.inf).topk(min(number, len(scores)))
        return ids[best > -torch.inf].tolist()

    def _try(self, state: "_State", key: _Key, index: int) -> bool | None:
        """Write a token where it may be written; None where only the budget forbids it."""
        following = state.advance(index)
        if following is None:
            return None if state.is_too_late else False
        number, ids = key
        self._states[number, (*ids, index)] = following
        return True

    def _all_of(self, state: "_State", scores: torch.Tensor) -> torch.Tensor | None:
        """(vocabulary,) bool: all that may come next; None to begin the closing."""
        self.stats.full_masks += 1
        mask = torch.zeros(len(scores), dtype=torch.bool)
        allowed, is_complete = state.mask(list(_likeliest(scores, MOST_DOUBTFUL)))
        mask[: len(allowed)] = torch.from_numpy(allowed)
        mask = mask.to(scores.device) & (scores > -torch.inf)
        if mask.any():
            return mask
        if not is_complete:
            return None
        raise state.error("no token may follow: the grammar, the monitor and other processors leave none")

    def _draw(self, state: "_State", key: _Key, scores: torch.Tensor) -> list[int] | None:
        """One id, drawn from the allowed ones as temperature, top_k and top_p say; None to begin the closing.

        By rejection: a draw from all ids that turns out to be allowed is a draw from the allowed ids. Where top_k or
        top_p is set, it must also be in the nucleus of these.
        """
        logits = scores.detach().float().cpu() / self.temperature
        shares = logits.softmax(0).numpy()
        sums = shares.cumsum(dtype=np.float64)
        best = int(shares.argmax())
        is_cut = self.top_k > 0 or self.top_p < 1.0
        answers: dict[int, bool | None] = {}
        permitted: dict[int, bool] = {}
        for rank in range(CANDIDATES):
            index = self._pick(sums)
            if index not in answers:
                answers[index] = state.allows(index)
            if answers[index]:
                is_in = not is_cut or index == best or self._is_in_nucleus(index, state, logits, shares, permitted)
                if is_in:
                    return [index]
                if is_in is None:
                    break
                continue
            self.stats.refusals += rank == 0
            if list(answers.values()).count(None) == NEAR_THE_END:
                return None
        mask = self._all_of(state, scores)
        if mask is None:
            return None
        masked = torch.where(mask.cpu(), logits, -torch.inf)
        masked[self._cut(masked)] = -torch.inf
        return [self._pick(masked.softmax(0).numpy().cumsum(dtype=np.float64))]

    def _pick(self, sums: np.ndarray) -> int:
        """A place drawn by the running sums of the weights."""
        drawn = float(torch.rand((), dtype=torch.float64, generator=self._generator)) * sums[-1]
        return min(int(sums.searchsorted(drawn, side="right")), len(sums) - 1)

    def _is_in_nucleus(
        self,
        index: int,
        state: "_State",
        logits: torch.Tensor,
        shares: np.ndarray,
        permitted: dict[int, bool],
    ) -> bool | None:
        """Whether top_k and top_p leave this id, which is allowed; None when that takes too many questions.

        Ids are asked about from the likeliest on. The share of the allowed ones among those not asked about yet lies
        between nothing and all of it: the answer is known when it is the same at both ends.
        """
        values, order = logits.topk(min(IN_NUCLEUS, len(logits)))
        unseen, known = 1.0, 0.0  # shares: of all ids not asked about yet, of the allowed ones
        before: float | None = None  # the share of the allowed ones before `index`
        number, least = 0, -float("inf")
        for value, each in zip(values.tolist(), order.tolist()):
            share = float(shares[each])
            if share == 0.0 or (self.top_k and number >= self.top_k and value < least):
                return before is not None and before < self.top_p * known
            unseen = max(0.0, unseen - share)
            if each == index:
                before = known
            elif each not in permitted:
                permitted[each] = state.permits(each)  # a search for each of them would take seconds near the end
            if each == index or permitted[each]:
                known += share
                number += 1
                least = value  # ids as likely as the last one that top_k leaves are left too
            if self.top_p < 1.0 and (known if before is None else before) >= self.top_p * (known + unseen):
                return False
            if before is not None and (self.top_p == 1.0 or before < self.top_p * known):
                return True
        return None if len(order) < len(logits) else before is not None and before < self.top_p * known

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


class _State:
    """One text of a row: the grammar's view, the monitor's, and how it can be ended with what is left.

    left: how many tokens may still be written, the end of text among them; None for any number.
    """

    def __init__(self, matcher: ElixirMatcher, monitor: MonitorState | None, left: int | None):
        self.matcher, self.monitor, self.left = matcher, monitor, left
        self.is_over = False  # ended, or a row that beam search carries along at -inf
        self.is_closing = False
        self.is_dead = False
        self.is_too_late = False  # what `advance` refused last, it refused because of what is left
        self._unread = b""  # what the scan was not fed yet: it is needed only now and then
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
        vocabulary = self.matcher.vocabulary
        is_far = len(vocabulary.pieces[index]) <= self._longest_far()
        if index in vocabulary.eos or (is_far and (self.matcher.seam is None or self.left is None)):
            return True
        self._ahead[index] = self.advance(index)
        return True if self._ahead[index] is not None else None

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
        following = _State.__new__(_State)
        following.__dict__ |= self.__dict__
        following.matcher = matcher
        following._ahead = {}
        if matcher.is_ended:
            following.is_over = True
            return following
        piece = matcher.vocabulary.pieces[index]
        if self.monitor is not None:
            following.monitor = self.monitor.after(piece)
        if self.left is not None:
            following.left = self.left - 1
            following._unread += piece
            if not following._keeps_reserve(index):
                self.is_too_late = True
                return None
        return following

    def dead(self) -> "_State":
        """A state behind a token that may not come next."""
        following = _State.__new__(_State)
        following.__dict__ |= self.__dict__
        following.is_over = following.is_dead = True
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
        sure = allowed & (self.matcher.vocabulary.lengths <= self._longest_far())
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

    def _longest_far(self) -> float:
        """Bytes of the longest text that could come next without a look at how to end it: see `Reserve`."""
        if self.left is None:
            return float("inf")
        if self.matcher.seam is not None and self._reserve is not None and self._reserve.tokens is not None:
            return -1  # what the suffix closes has to be opened again
        return ((self.left - 2) // 2 - self._bound) // 4 - len(self._unread)

    def _keeps_reserve(self, index: int | None) -> bool:
        """Whether the text, whose last token is `index`, can be ended with what is left."""
        vocabulary = self.matcher.vocabulary
        left = (self.left or 0) - 1
        if self.is_closing and self._reserve is not None and self._reserve.tokens is not None:
            self._reserve = Reserve(self._reserve.tokens[1:])
            return True
        if 2 * (self._bound + 4 * len(self._unread)) <= left and self.matcher.seam is None:
            self._reserve = Reserve()
            return True
        if self._unread:
            self._scan = self._scan.copy()
            self._scan.feed(self._unread)
            self._unread = b""
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


def _likeliest(scores: torch.Tensor, number: int) -> Iterator[int]:
    """The ids with the highest scores in descending order, without those at -inf."""
    is_quick = scores.device.type == "cpu" and scores.dtype == torch.float32
    best = int(scores.detach().numpy().argmax()) if is_quick else -1
    if best >= 0 and scores[best] > -torch.inf:
        yield best  # mostly the only one that is asked for
    values, ids = scores.topk(min(number, len(scores)))
    yield from (index for index in ids[values > -torch.inf].tolist() if index != best)


def _per_row(*settings: Any) -> Iterator[tuple[Any, ...]]:
    """The settings of one row after the other; those given once hold for every row."""
    lists = [setting for setting in settings if isinstance(setting, list | tuple)]
    numbers = {len(each) for each in lists} or {1}
    if len(numbers) > 1 or 0 in numbers:
        raise GrammarError(f"start, mode, prefix, suffix, max_new_tokens are given for {sorted(numbers)} rows: which?")
    for row in range(numbers.pop()):
        yield tuple(setting[row] if isinstance(setting, list | tuple) else setting for setting in settings)
