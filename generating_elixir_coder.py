"""Write text with the fast decoder: greedy or sampled, several tokens in a pass where the text repeats something.

    generate(model, input_ids, max_new_tokens=64)                       # what model.generate gives, token for token
    generate(model, input_ids, max_new_tokens=64, prediction=old_ids)   # faster where the text will resemble this one

Settings mean what they mean to transformers' own `generate`, whose parts build the processors and the criteria; what
this loop cannot do (`why_not` names it) is left to transformers. There are three differences in how it is done:

Drafts. What was written before may be written again: from the prompt, the text so far and a prediction, the loop
guesses the next tokens and lets the model judge them all in one pass. Each position has scores of its own and, in
sampling, a random number of its own, and a guess is kept while it equals what would have been written without it. So
text does not depend on drafts, whether greedy or drawn.

Sampling. A nucleus is found by looking at the few likely tokens, and is certain when their mass proves it. Where
rounding decides, transformers' own warpers are asked: the tokens kept are theirs. A token takes one number of torch's
global generator (`torch.manual_seed`) for each row of the batch, place after place, whatever is drafted.

Overlap. The grammar works while the decoder computes, where that is measured to take less time than one after the
other: another core has to be free.

Prompt lookup: Saxena 2023, https://github.com/apoorvumang/prompt-lookup-decoding; verification of drafts: Leviathan et
al. 2023, https://arxiv.org/abs/2211.17192, here with the draws themselves compared.
"""

import copy
import math
import time
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch
from transformers import GenerationConfig, GenerationMixin, LogitsProcessorList
from transformers.generation import logits_process, stopping_criteria
from transformers.generation.utils import GenerateEncoderDecoderOutput
from transformers.utils import logging

__all__ = ["Lookup", "Sampler", "generate", "why_not"]

logger = logging.get_logger(__name__)

OVERLAP: bool | None = None  # let the grammar work while the decoder computes; None: where that was measured to pay
MOST_DRAFTED = 15  # tokens drafted for a row at a time, unless prompt_lookup_num_tokens says otherwise
LONGEST_MATCH = 4  # ids that a place to copy from is looked up by, unless max_matching_ngram_size says otherwise
LEAST_CHANCE = 0.05  # of a draft; no pass is so cheap that less pays
MOST_AT_FIRST = 256  # new tokens that memory is taken for before they are written; a text of more takes more
NOT_A_TOKEN = -1  # between the texts to copy from


class Grammar(Protocol):
    """What `ElixirGrammarProcessor` offers beyond a call; recognised by its methods, as a file may be loaded twice."""

    def begin(self, num_rows: int) -> None: ...
    def prepare(self, rows: Sequence[tuple[int, Sequence[int]]]) -> None: ...
    def accepted(self, row: int, ids: Sequence[int], drafts: Sequence[int]) -> int: ...
    def pick(self, row: int, ids: Sequence[int], scores: np.ndarray) -> int: ...


# ----------------------------------------------------------------------------------------------------------- one call


@torch.no_grad()
def generate(
    model: Any,
    inputs: torch.Tensor | None = None,
    generation_config: GenerationConfig | None = None,
    logits_processor: Sequence[Any] | None = None,
    stopping_criteria: Sequence[Any] | None = None,
    prefix_allowed_tokens_fn: Callable[[int, torch.Tensor], list[int]] | None = None,
    synced_gpus: bool | None = None,
    assistant_model: Any = None,
    streamer: Any = None,
    *,
    prediction: Any = None,
    **kwargs: Any,
) -> Any:
    """What `GenerationMixin.generate` gives for these arguments, by `model.runtime` where `why_not` knows no reason.

    prediction: ids of a text that the output will resemble, such as the code that is edited: one list for all rows of
        the batch, or a list or row of a tensor for each. It changes how fast the text is written, never the text.
    prompt_lookup_num_tokens: the most tokens that are drafted for a row in one pass. None leaves the number to what
        drafts have cost and how many were right, 0 drafts none.
    max_matching_ngram_size: by how many of the last ids a place to copy from is looked up, at the most.

    A seed gives one text for one batch, whatever is drafted; not the text that transformers draws with that seed. Only
    where a grammar draws for several rows do drafts change the order of its draws. `return_dict_in_generate` gives the
    sequences, and no cache. Raises what transformers raises, and ValueError for a prediction that does not fit.
    """
    named = {name: kwargs.pop(name, None) for name in _NAMED} | {
        "prefix_allowed_tokens_fn": prefix_allowed_tokens_fn,
        "synced_gpus": synced_gpus,
        "assistant_model": assistant_model,
        "streamer": streamer,
    }
    settings = kwargs if inputs is None else kwargs | {"inputs": inputs}
    config, model_inputs = model._prepare_generation_config(generation_config, **kwargs)
    reason = why_not(model, config, {"inputs": inputs} | named | model_inputs)
    if reason is not None:
        logger.info(f"left to transformers' own generate: {reason}")
        if not config.prompt_lookup_num_tokens or (config.num_beams or 1) > 1:
            settings = settings | {"prompt_lookup_num_tokens": None}
        return GenerationMixin.generate(
            model,
            generation_config=_without_lookup(generation_config),
            logits_processor=logits_processor,
            stopping_criteria=stopping_criteria,
            **named,
            **settings,
        )

    source: torch.Tensor = model_inputs["input_ids"] if inputs is None else inputs
    num_rows, copies = len(source), config.num_return_sequences or 1
    is_masked = model_inputs.get("attention_mask") is not None
    model._prepare_special_tokens(config, is_masked, device=source.device, batch_size=num_rows)
    begun, mask = _begun(config, source, model_inputs)
    begun = begun.repeat_interleave(copies, dim=0)
    mask = None if mask is None else mask.repeat_interleave(copies, dim=0)
    if streamer is not None:
        streamer.put(begun.cpu())
    _set_lengths(model, config, generation_config, kwargs, begun.shape[1], source)
    processors = model._get_logits_processor(
        generation_config=config,
        input_ids_seq_length=begun.shape[1],
        encoder_input_ids=source,
        prefix_allowed_tokens_fn=named["prefix_allowed_tokens_fn"],
        logits_processor=logits_processor if logits_processor is not None else [],
        device=source.device,
        model_kwargs={"decoder_attention_mask": mask},
    )
    criteria = model._get_stopping_criteria(
        generation_config=config,
        stopping_criteria=stopping_criteria if stopping_criteria is not None else [],
        tokenizer=named["tokenizer"],
    )
    writing = _Writing(model, config, begun, mask, processors, criteria, streamer)
    if config.prompt_lookup_num_tokens != 0:
        predictions = _predictions(prediction, num_rows, model.config.vocab_size)
        writing.draft_from([[*ids, source[row].tolist()] for row, ids in enumerate(predictions)])
    sources = model.runtime.read(source, model_inputs.get("attention_mask"))
    sequences = writing.run([each for each in sources for _ in range(copies)]).to(source.device)
    if streamer is not None:
        streamer.end()
    return GenerateEncoderDecoderOutput(sequences=sequences) if config.return_dict_in_generate else sequences


_NAMED = (  # arguments of `generate` that are no settings
    *("negative_prompt_ids", "negative_prompt_attention_mask", "custom_generate", "trust_remote_code"),
    *("tokenizer", "assistant_tokenizer"),
)
_READ = {"inputs", "streamer", "prefix_allowed_tokens_fn", "tokenizer", "trust_remote_code"} | {
    *("input_ids", "attention_mask", "decoder_input_ids", "decoder_attention_mask"),
}
_NEVER = (  # settings that, where they say anything, only transformers' own loops know
    *("constraints", "force_words_ids", "penalty_alpha", "dola_layers", "diversity_penalty", "is_assistant"),
    *("use_mtp", "assistant_early_exit", "watermarking_config", "token_healing", "low_memory", "cache_implementation"),
    *("output_attentions", "output_hidden_states", "output_scores", "output_logits"),
)


def why_not(model: Any, config: GenerationConfig, arguments: dict[str, Any]) -> str | None:
    """Why a call must be left to transformers' own generate; None if it need not.

    config: as `_prepare_generation_config` gives it. arguments: what else the call gives, None for what it does not.
    """
    if getattr(model, "runtime", None) is None:
        return "the model has no fast runtime"
    if (config.num_beams or 1) > 1:
        return f"num_beams={config.num_beams}: beams are run by transformers"
    for name in _NEVER:
        if getattr(config, name, None):
            return f"{name}={getattr(config, name)!r}"
    if config.use_cache is False:
        return "use_cache=False"
    if config.guidance_scale not in (None, 1, 1.0):
        return f"guidance_scale={config.guidance_scale}"
    for name, value in arguments.items():
        if name not in _READ and value is not None and value is not False:
            return f"{name} is given"
    given = [arguments.get(name) for name in ("inputs", "input_ids") if arguments.get(name) is not None]
    if len(given) != 1:
        return "there is not one source of ids"
    source: Any = given[0]
    if not _is_ids(source) or source.device.type != "cpu":
        return "the source is not a matrix of ids on the CPU"
    mask = arguments.get("attention_mask")
    if mask is not None and mask.shape != source.shape:
        return "the attention mask is not one of the source"
    return _why_not_begun(config, source, arguments)


def _why_not_begun(config: GenerationConfig, source: torch.Tensor, arguments: dict[str, Any]) -> str | None:
    """Why the beginnings of the rows are not for the fast decoder, which knows no padding but that on the left."""
    ids, mask = arguments.get("decoder_input_ids"), arguments.get("decoder_attention_mask")
    start = config.decoder_start_token_id if config.decoder_start_token_id is not None else config.bos_token_id
    if start is None or not isinstance(start, int):
        return "decoder_start_token_id is not one id"
    if ids is None:
        return None if mask is None else "decoder_attention_mask without decoder_input_ids"
    if not _is_ids(ids) or len(ids) != len(source) or (mask is not None and mask.shape != ids.shape):
        return "decoder_input_ids or their mask do not fit the source"
    _, mask = _begun(config, source, arguments)
    if mask is not None:
        mask = mask.bool()
        if not mask[:, -1].all() or (mask[:, :-1] & ~mask[:, 1:]).any():
            return "decoder_attention_mask leaves out more than padding on the left"
    return None


def _is_ids(tensor: Any) -> bool:
    return isinstance(tensor, torch.Tensor) and tensor.dim() == 2 and not tensor.is_floating_point() and len(tensor) > 0


def _without_lookup(config: GenerationConfig | None) -> GenerationConfig | None:
    """A configuration whose 0 drafts, which transformers does not know, are None."""
    if config is None or config.prompt_lookup_num_tokens != 0:
        return config
    config = copy.deepcopy(config)
    config.prompt_lookup_num_tokens = None
    return config


def _begun(
    config: GenerationConfig, source: torch.Tensor, arguments: dict[str, Any]
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What each row begins with, and which of it is real: as transformers has it, with the start token before it."""
    ids, mask = arguments.get("decoder_input_ids"), arguments.get("decoder_attention_mask")
    start = config.decoder_start_token_id if config.decoder_start_token_id is not None else config.bos_token_id
    first = torch.full((len(source), 1), start, dtype=torch.long, device=source.device)
    if ids is None:
        return first, mask
    if bool((ids[:, 0] != start).all()):
        ids = torch.cat([first, ids], dim=1)
        mask = None if mask is None else torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
    return ids, mask


def _set_lengths(
    model: Any,
    config: GenerationConfig,
    given: GenerationConfig | None,
    kwargs: dict[str, Any],
    begun: int,
    source: torch.Tensor,
) -> None:
    """Settle max_length and min_length for prompts of `begun` ids, as transformers does."""

    def is_default(name: str) -> bool:
        return all(
            each is None
            for each in (kwargs.get(name), getattr(given, name, None), getattr(model.generation_config, name, None))
        )

    model._prepare_generated_length(
        generation_config=config,
        has_default_max_length=is_default("max_length"),
        has_default_min_length=is_default("min_length"),
        model_input_name="input_ids",
        inputs_tensor=source,
        input_ids_length=begun,
    )
    model._validate_generated_length(config, begun, is_default("max_length"))


def _predictions(prediction: Any, num_rows: int, vocab_size: int) -> list[list[list[int]]]:
    """For each row its prediction, in a list that is empty where there is none."""
    if prediction is None:
        return [[] for _ in range(num_rows)]
    rows = prediction.tolist() if isinstance(prediction, torch.Tensor | np.ndarray) else list(prediction)
    if not rows or not isinstance(rows[0], list | tuple | torch.Tensor | np.ndarray):
        rows = [rows] * num_rows
    if len(rows) != num_rows:
        raise ValueError(f"{len(rows)} predictions for {num_rows} rows: give one, or one for each row")
    for row, ids in enumerate(rows):
        rows[row] = ids = [int(index) for index in ids]
        if ids and not 0 <= min(ids) <= max(ids) < vocab_size:
            raise ValueError(
                f"prediction of row {row} holds ids from {min(ids)} to {max(ids)}; the model has 0 to {vocab_size - 1}"
            )
    return [[ids] if ids else [] for ids in rows]


# ----------------------------------------------------------------------------------------------------------- the loop


class _Row:
    """One text that is being written."""

    def __init__(self, index: int, padding: int, begun: list[int]):
        self.index = index
        self.padding = padding  # ids on the left that are not read
        self.pending = begun[padding:]  # what the decoder has not read yet
        self.length = len(begun)  # ids so far, with the padding
        self.written: list[int] = []
        self.lookup: Lookup | None = None
        self.is_finished = False


Change = Callable[[_Row, np.ndarray], np.ndarray]  # the (vocabulary,) scores of one row, changed


class _Writing:
    """One call of `generate`: rows, what may be written, when to stop.

    Rows go on at their own speed. Where somebody looks at the whole batch at once (a processor or criterion that
    transformers does not bring, a streamer) they go together, without drafts, unless there is only one.
    """

    def __init__(
        self,
        model: Any,
        config: GenerationConfig,
        begun: torch.Tensor,
        mask: torch.Tensor | None,
        processors: LogitsProcessorList,
        criteria: Sequence[Any],
        streamer: Any,
    ):
        self.runtime, self.streamer = model.runtime, streamer
        self.vocab_size: int = model.config.vocab_size
        self.most_read: int = model.config.max_position_embeddings
        self.do_sample = bool(config.do_sample)
        self._set_criteria(criteria)
        pad = config._pad_token_tensor
        self.pad = 0 if pad is None else int(pad)
        self.ids = np.full((len(begun), self.max_length), self.pad, dtype=np.int64)
        self.ids[:, : begun.shape[1]] = begun.cpu().numpy()
        self.ids_tensor = torch.from_numpy(self.ids)  # the same memory
        lowest, highest = int(begun.min()), int(begun.max())
        if not 0 <= lowest <= highest < self.vocab_size:
            raise ValueError(
                f"decoder_input_ids hold ids from {lowest} to {highest}; the model has 0 to {self.vocab_size - 1}"
            )
        paddings = [0] * len(begun) if mask is None else (mask != 0).int().argmax(dim=1).tolist()
        self.rows = [_Row(row, paddings[row], ids) for row, ids in enumerate(begun.tolist())]
        self._set_processors(processors)
        has_others = bool(self.other_criteria) or self.has_foreign or streamer is not None
        must_wait = not self.has_eos and bool(self.stop_strings)  # without eos a row that is finished is written on
        self.is_together = len(self.rows) > 1 and (has_others or must_wait)
        self.uniforms: list[list[float]] = []
        self.most_drafted, self.odds, self.pace = 0, _Odds(), _pace_of(self.runtime)
        self.is_automatic = config.prompt_lookup_num_tokens is None
        self.asked_drafts = MOST_DRAFTED if self.is_automatic else config.prompt_lookup_num_tokens
        self.longest_match = config.max_matching_ngram_size or LONGEST_MATCH

    def draft_from(self, texts: list[list[list[int]]]) -> None:
        """Copy from these texts, and what is written; one list of texts for each source."""
        if self.is_together:
            return
        self.most_drafted = self.asked_drafts
        copies = len(self.rows) // len(texts)
        for number, known in enumerate(texts):
            first = Lookup(known, self.longest_match, is_predicted=len(known) > 1)
            for row in self.rows[number * copies : (number + 1) * copies]:
                row.lookup = first.copy()
                row.lookup.begin(row.pending)

    def run(self, sources: list[Any]) -> torch.Tensor:
        """Write all rows to their ends. Returns (rows, longest) int64, padded on the right."""
        capacity = min(self.max_length, max(row.length for row in self.rows) + MOST_AT_FIRST)
        self.state = self.runtime.state(sources, capacity)
        if self.grammar is not None:
            self.grammar.begin(len(self.rows))
        finish = self._write_together if self.is_together else self._write_apart
        active = self.rows
        while active:
            began = time.perf_counter()
            self.overlaps = self._overlaps()
            drafts = self._drafts(active)
            tokens: list[list[int]] = [[] for _ in self.rows]
            for row in active:
                tokens[row.index] = row.pending + drafts[row.index] if drafts else row.pending
            scores = self._scores(active, tokens, drafts)
            finish(active, scores, drafts)
            if self.grammar is not None and not drafts:
                self.pace.overlap.add(self.overlaps, time.perf_counter() - began)
            if any(row.is_finished for row in active):
                active = self._unfinished()
        return self.ids_tensor[:, : max(row.length for row in self.rows)].clone()

    def _overlaps(self) -> bool:
        if self.grammar is None or OVERLAP is not None:
            return bool(self.grammar is not None and OVERLAP)
        return self.pace.overlap.choose()

    def _unfinished(self) -> list[_Row]:
        unfinished = [row for row in self.rows if not row.is_finished]
        return self.rows if unfinished and self.is_together and not self.has_eos else unfinished

    def _scores(self, active: list[_Row], tokens: list[list[int]], drafts: dict[int, list[int]]) -> np.ndarray:
        """One pass. Returns the scores of the last position of each row, or of every position where any is drafted."""
        began = time.perf_counter()
        if self.grammar is not None and self.overlaps:
            self.state.begin(tokens, bool(drafts))
            try:
                self._prepare(self.grammar, active, drafts)
            finally:
                scores = self.state.finish()
        else:
            scores = self.state.step(tokens, bool(drafts))
        if self.most_drafted and len(active[0].pending) == 1:
            self.pace.add(sum(map(len, tokens)), time.perf_counter() - began)
        return scores.numpy()

    def _prepare(self, grammar: Grammar, active: list[_Row], drafts: dict[int, list[int]]) -> None:
        grammar.prepare([(row.index, row.written) for row in active])
        for row in active if drafts else ():
            draft = drafts[row.index]
            if draft:
                grammar.accepted(row.index, row.written, draft)

    # -- drafts

    def _drafts(self, active: list[_Row]) -> dict[int, list[int]]:
        """For each row what it may go on with: as much as raises the tokens that a second gives; empty if nothing."""
        if not self.most_drafted or any(len(row.pending) != 1 for row in active):
            return {}
        guesses = [guess for row in active for guess in self._guesses(row)]
        if self.is_automatic and guesses:
            guesses.sort(key=lambda guess: guess[0], reverse=True)  # those of a row stay in their order
            guesses = guesses[: self.pace.most_worth(len(active), [chance for chance, _, _ in guesses])]
        if not guesses:
            return {}
        drafts: dict[int, list[int]] = {row.index: [] for row in active}
        for _, row_index, token in guesses:
            drafts[row_index].append(token)
        if self.grammar is not None and not self.overlaps:  # it is not asked for nothing while the decoder computes
            for row in active:
                draft = drafts[row.index]
                if draft:
                    del draft[self.grammar.accepted(row.index, row.written, draft) :]
        return drafts if any(drafts.values()) else {}

    def _guesses(self, row: _Row) -> Iterator[tuple[float, int, int]]:
        """(chance that it is right with all before it, row, token) for the next tokens of a row."""
        lookup = row.lookup
        if lookup is None or lookup.place is None:
            return
        ids, matched, chance = lookup.ids, lookup.matched, 1.0
        most = min(self.most_drafted, self.max_length - row.length - 1, self.most_read - row.length + row.padding)
        for token in ids[lookup.place : lookup.place + most]:
            chance *= self.odds.of(matched)
            if token < 0 or token in self.suppressed or (self.is_automatic and chance < LEAST_CHANCE):
                return
            yield chance, row.index, token
            if token in self.eos:
                return
            matched += 1

    # -- what is written

    def _write_apart(self, active: list[_Row], scores: np.ndarray, drafts: dict[int, list[int]]) -> None:
        line = 0
        for row in active:
            draft = drafts[row.index] if drafts else []
            num_right = 0
            for place in range(len(draft) + 1):
                index = self._choose(row, scores[line + place])
                self._append(row, index)
                if row.is_finished or place == len(draft) or index != draft[place]:
                    break
                num_right += 1
            line += len(draft) + 1
            row.pending = row.written[-1:]
            if num_right < len(draft):
                self.state.truncate(row.index, row.length - row.padding - 1)

    def _write_together(self, active: list[_Row], scores: np.ndarray, drafts: dict[int, list[int]]) -> None:
        length = active[0].length
        every = np.zeros((len(self.rows), scores.shape[1]), dtype=np.float32)
        every[[row.index for row in active]] = scores
        changed = self.whole_batch(self.ids_tensor[:, :length], torch.from_numpy(every)).numpy()
        for row in active:
            index = self._draw(row, changed[row.index]) if self.do_sample else int(changed[row.index].argmax())
            self.ids[row.index, length] = index
            row.written.append(index)
            row.pending = [index]
        stops = [row.written[-1] in self.eos or length + 1 >= self.max_length for row in self.rows]
        ids = self.ids_tensor[:, : length + 1]
        for criterion in (*self.stop_strings, *self.other_criteria):
            stops = [stop or told for stop, told in zip(stops, criterion(ids, None).tolist())]
        for row in self.rows:
            row.is_finished |= stops[row.index]
        for row in active:
            row.length = length + 1
        if self.streamer is not None:
            self.streamer.put(ids[:, -1].clone())

    def _choose(self, row: _Row, scores: np.ndarray) -> int:
        """The next token of a row, given its scores: (vocabulary,) float32, which may be changed."""
        if self.has_foreign:
            scores = scores.copy()  # somebody may keep it, and the decoder will write there again
        for change in self.changes:
            scores = change(row, scores)
        if self.grammar is not None:
            return self.grammar.pick(row.index, row.written, scores)
        return self._draw(row, scores) if self.do_sample else int(scores.argmax())

    def _draw(self, row: _Row, scores: np.ndarray) -> int:
        place = len(row.written)
        while len(self.uniforms) <= place:
            self.uniforms.append(torch.rand(len(self.rows), dtype=torch.float64).tolist())
        return self.sampler.draw(scores, self.uniforms[place][row.index])

    def _append(self, row: _Row, index: int) -> None:
        self.ids[row.index, row.length] = index
        row.length += 1
        row.written.append(index)
        if row.lookup is not None:
            self.odds.add(*row.lookup.append(index))
        row.is_finished = index in self.eos or row.length >= self.max_length
        if self.stop_strings or self.other_criteria:
            ids = self.ids_tensor[row.index : row.index + 1, : row.length]
            for criterion, enders in zip(self.stop_strings, self.enders):
                row.is_finished |= index in enders and bool(criterion(ids, None))
            for criterion in self.other_criteria:
                row.is_finished |= bool(criterion(ids, None))
        if self.streamer is not None:
            self.streamer.put(torch.tensor([index]))

    # -- when to stop

    def _set_criteria(self, criteria: Sequence[Any]) -> None:
        self.eos: set[int] = set()
        self.stop_strings: list[Any] = []
        self.other_criteria: list[Any] = []
        lengths = []
        for criterion in criteria:
            if type(criterion) is stopping_criteria.EosTokenCriteria:
                self.eos |= set(criterion.eos_token_id.tolist())
            elif type(criterion) is stopping_criteria.MaxLengthCriteria:
                lengths.append(criterion.max_length)
            elif type(criterion) is stopping_criteria.StopStringCriteria:
                self.stop_strings.append(criterion)
            else:
                self.other_criteria.append(criterion)
        self.has_eos = any(hasattr(criterion, "eos_token_id") for criterion in criteria)
        self.max_length: int = min(lengths)
        self.enders = [_enders(criterion) for criterion in self.stop_strings]

    # -- what may be written

    def _set_processors(self, processors: LogitsProcessorList) -> None:
        """Sort the processors: those done here, the sampler at their end, a grammar, and those of others."""
        before, warpers = Sampler.split(processors if self.do_sample else LogitsProcessorList(processors))
        self.whole_batch = LogitsProcessorList(before)
        self.sampler = Sampler(warpers)
        self.grammar: Grammar | None = None
        if before and _is_grammar(before[-1]):
            self.grammar = before.pop()
        self.suppressed: set[int] = set()
        self.changes: list[Change] = []
        self.has_foreign = False
        for processor in before:
            kind = type(processor)
            if kind in _CHANGES:
                self.changes.append(_CHANGES[kind](self, processor))
            else:
                self.changes.append(self._call(processor))
                self.has_foreign |= kind not in _OF_ONE_ROW
        if len(self.rows) > 1 and self.has_foreign:
            self.grammar = None  # it is called for the whole batch, as the others are

    def _call(self, processor: Any) -> Change:
        def change(row: _Row, scores: np.ndarray) -> np.ndarray:
            ids = self.ids_tensor[row.index : row.index + 1, : row.length]
            return processor(ids, torch.from_numpy(scores)[None])[0].numpy()

        return change

    def _suppress(self, processor: Any) -> Change:
        ids = _known(processor.suppress_tokens, self.vocab_size)
        self.suppressed |= set(ids.tolist())

        def change(row: _Row, scores: np.ndarray) -> np.ndarray:
            scores[ids] = -np.inf
            return scores

        return change

    def _until(self, length: int, processor: Any) -> Change:
        """No end before a row has so many ids."""
        eos = _known(processor.eos_token_id, self.vocab_size)

        def change(row: _Row, scores: np.ndarray) -> np.ndarray:
            if row.length < length:
                scores[eos] = -np.inf
            return scores

        return change

    def _penalize(self, processor: Any) -> Change:
        penalty, ignored = processor.penalty, processor.prompt_ignore_length

        def change(row: _Row, scores: np.ndarray) -> np.ndarray:
            begin = int(ignored[row.index]) if isinstance(ignored, torch.Tensor) else ignored or 0
            ids = self.ids[row.index, begin : row.length]
            theirs = scores[ids]
            scores[ids] = np.where(theirs < 0, theirs * penalty, theirs / penalty)
            return scores

        return change


_CHANGES: dict[type, Callable[[_Writing, Any], Change]] = {
    logits_process.SuppressTokensLogitsProcessor: _Writing._suppress,
    logits_process.RepetitionPenaltyLogitsProcessor: _Writing._penalize,
    logits_process.MinLengthLogitsProcessor: lambda writing, each: writing._until(each.min_length, each),
    logits_process.MinNewTokensLengthLogitsProcessor: lambda writing, each: writing._until(
        each.prompt_length_to_skip + each.min_new_tokens, each
    ),
}
# They look at one row at a time, so that rows may have different lengths.
_OF_ONE_ROW = {
    getattr(logits_process, name)
    for name in (
        *("SequenceBiasLogitsProcessor", "NoBadWordsLogitsProcessor", "NoRepeatNGramLogitsProcessor"),
        *("SuppressTokensAtBeginLogitsProcessor", "ForcedBOSTokenLogitsProcessor", "ForcedEOSTokenLogitsProcessor"),
        *("InfNanRemoveLogitsProcessor", "ExponentialDecayLengthPenalty", "TypicalLogitsWarper", "TopHLogitsWarper"),
        *("EpsilonLogitsWarper", "EtaLogitsWarper", "LogitNormalization", "TemperatureLogitsWarper"),
        *("TopKLogitsWarper", "TopPLogitsWarper", "MinPLogitsWarper"),
    )
}


def _known(ids: torch.Tensor, vocab_size: int) -> np.ndarray:
    """The ids that a model has scores for."""
    return np.array(sorted({index for index in ids.tolist() if 0 <= index < vocab_size}), dtype=np.int64)


def _is_grammar(processor: Any) -> bool:
    """Whether a processor picks the token itself, for one row at a time."""
    if getattr(processor, "do_sample", None) is None or getattr(processor, "num_beams", 1) != 1:
        return False
    return all(callable(getattr(processor, name, None)) for name in ("begin", "prepare", "accepted", "pick"))


def _enders(criterion: Any) -> Container[int]:
    """The ids that can complete a stop string: only behind them the whole question, of some 300 us, is asked."""
    if not all(criterion.stop_strings):
        return range(2**63)  # an empty one is complete behind any
    begin = criterion.max_valid_positions * criterion.num_stop_strings
    return set((criterion.embedding_vec[:, begin:-1] > 0).any(dim=1).nonzero()[:, 0].tolist())


# ------------------------------------------------------------------------------------------------------------- drafts


class Lookup:
    """Where the text could go on copying from: a prediction, its source, or itself.

    place: of `ids`, where the next token may stand; None where no place is known. matched: how many tokens before it
    were the same, 0 where it was only guessed that one token stands for another.
    """

    NEAR = 64  # tokens behind the last place within which an edited text is looked for again

    def __init__(self, known: Sequence[Sequence[int]], longest_match: int, is_predicted: bool = False):
        self.ids: list[int] = []
        for text in known:
            self.ids += [*text, NOT_A_TOKEN]
        self.sizes = range(longest_match, 0, -1)
        self._end = len(self.ids)  # of what was known before anything was written
        self._behind: list[dict[tuple[int, ...], int]] = [
            dict(zip(zip(*(self.ids[first:] for first in range(size))), range(size, self._end + 1)))
            for size in self.sizes
        ]
        self._anchor, self._missed = (0, 0) if is_predicted else (-1, 0)  # the last place that was right
        self.place: int | None = 0 if is_predicted else None
        self.matched = longest_match if is_predicted else 0

    def copy(self) -> "Lookup":
        other = Lookup.__new__(Lookup)
        other.__dict__ |= self.__dict__
        other.ids, other._behind = list(self.ids), [dict(each) for each in self._behind]
        return other

    def begin(self, ids: Sequence[int]) -> None:
        """The text begins with these; they are no news about how well it is foretold."""
        place, matched = self.place, self.matched
        for index in ids:
            self.append(index)
        if len(ids) == 1 and place is not None:
            self.place, self.matched, self._anchor = place, matched, 0  # only the start token stands there

    def append(self, index: int) -> tuple[int, bool | None]:
        """Write one token. Returns how much was matched before it, and whether it was foretold; None: nothing was."""
        place, matched = self.place, self.matched
        is_right = None if place is None else self.ids[place] == index
        self.ids.append(index)
        if is_right:
            assert place is not None
            self._anchor, self._missed = place + 1, 0
            self.place, self.matched = place + 1, matched + 1
            self._learn()
            if self.ids[place + 1] == NOT_A_TOKEN:
                self.place = None
        else:
            self._missed += 1
            self.place, self.matched = self._find()
            self._learn()
            if self.place is not None and self.ids[self.place] == NOT_A_TOKEN:
                self.place = None
        return matched, is_right

    def _learn(self) -> None:
        ids, end = self.ids, len(self.ids)
        for size, behind in zip(self.sizes, self._behind):
            behind[tuple(ids[end - size :])] = end

    def _find(self) -> tuple[int | None, int]:
        """A place behind the same tokens: near where the text was left, or else where they stood last."""
        ids, end, anchor = self.ids, len(self.ids), self._anchor
        index, before = ids[-1], ids[-2] if end > 1 else NOT_A_TOKEN
        is_near = 0 <= anchor < self._end
        near = list(_places(ids, index, anchor, min(anchor + self.NEAR, self._end))) if is_near else []
        for place in near:
            if place and ids[place - 1] == before:
                return place + 1, 2
        for size, behind in zip(self.sizes, self._behind):
            known = behind.get(tuple(ids[end - size :])) if size > 1 else None
            if known is not None:
                return known, size
        if near and self._missed > 1:
            return near[0] + 1, 1
        if is_near and anchor + self._missed < self._end:
            return anchor + self._missed, 0  # as if one token stood for another
        return self._behind[-1].get((index,)), 1


def _places(ids: list[int], index: int, begin: int, end: int) -> Iterator[int]:
    while True:
        try:
            begin = ids.index(index, begin, end)
        except ValueError:
            return
        yield begin
        begin += 1


class _Odds:
    """How often a guess is right, by how many tokens before it were the same: 0, 1, 2, 3-4, 5-8, 9-16, more."""

    MEMORY = 64  # guesses, about, after which the newer half weighs as much as all before

    def __init__(self) -> None:
        self.right = [0.4, 0.8, 2.0, 2.6, 3.0, 3.4, 3.7]  # as if four of each had been seen
        self.seen = [4.0] * len(self.right)

    def of(self, matched: int) -> float:
        kind = self._kind(matched)
        return self.right[kind] / self.seen[kind]

    def add(self, matched: int, is_right: bool | None) -> None:
        if is_right is None:
            return
        kind = self._kind(matched)
        self.right[kind] += is_right
        self.seen[kind] += 1
        if self.seen[kind] > self.MEMORY:
            self.right[kind] /= 2
            self.seen[kind] /= 2

    @staticmethod
    def _kind(matched: int) -> int:
        return min((matched - 1).bit_length() + 1, 6) if matched else 0


class _Pace:
    """Seconds of a pass by the number of its tokens: measured while text is written, for one decoder.

    What was not measured yet is taken to be cheap, so that it is tried.
    """

    MARGIN = 1.03  # drafts have to promise so many times the tokens of a second without them
    CHEAP = 0.1  # of the shortest pass, for one token more

    def __init__(self) -> None:
        self.overlap = _Choice()
        self._seconds: dict[int, float] = {}

    def add(self, num_tokens: int, seconds: float) -> None:
        expected = self.of(num_tokens)
        weight = 0.2 if num_tokens in self._seconds else 0.5
        # a stall of the machine says nothing about the pass
        self._seconds[num_tokens] = expected + weight * (min(seconds, 2 * expected) - expected) if expected else seconds

    def of(self, num_tokens: int) -> float:
        seconds = self._seconds.get(num_tokens)
        if seconds is not None or not self._seconds:
            return seconds or 0.0
        known = max((number for number in self._seconds if number < num_tokens), default=min(self._seconds))
        return self._seconds[known] + self.CHEAP * min(self._seconds.values()) * max(num_tokens - known, 0)

    def most_worth(self, num_rows: int, chances: list[float]) -> int:
        """How many of these drafts, given from the likeliest on, make the most of a second."""
        if num_rows not in self._seconds:
            return 0
        num_expected, number = float(num_rows), 0
        best = self.MARGIN * num_expected / self.of(num_rows)
        for place, chance in enumerate(chances):
            num_expected += chance
            rate = num_expected / self.of(num_rows + place + 1)
            if rate > best:
                best, number = rate, place + 1
        return number


class _Choice:
    """Whether doing something takes less time than not: each is tried now and then."""

    def __init__(self) -> None:
        self._seconds = [0.0, 0.0]
        self._asked = 0

    def choose(self) -> bool:
        self._asked += 1
        if self._asked <= 8:
            return self._asked % 2 == 0
        is_better = self._seconds[True] < self._seconds[False]
        return is_better != (self._asked % 32 == 0)

    def add(self, was_done: bool, seconds: float) -> None:
        before = self._seconds[was_done]
        self._seconds[was_done] = 0.8 * before + 0.2 * min(seconds, 2 * before) if before else seconds


_PACES: "WeakKeyDictionary[Any, _Pace]" = WeakKeyDictionary()


def _pace_of(runtime: Any) -> _Pace:
    return _PACES.setdefault(runtime, _Pace())


# ------------------------------------------------------------------------------------------------------------ sampler


class Sampler:
    """Draws from what temperature, top_k, top_p and min_p leave, as transformers' warpers leave it in this order.

    A sum over all tokens is cheap, sorting them is not: 3 ms for 32,000. So the tokens above some score are looked at,
    and if what is below has less mass than the nucleus leaves out, the rest need not be known. Where two tokens of the
    same score lie on either side of the edge the warpers themselves are asked, and where rounding could decide, it is
    done as they do it.
    """

    NEAR = 1e-6  # share of the mass by which two ways to add it may differ; 4e-7 is the most seen, of 32,000 tokens
    DEPTHS = (5.0, 8.0, 11.0)  # how far below the best score the looks go

    def __init__(self, warpers: Sequence[Any] = ()):
        self._warpers = LogitsProcessorList(warpers)
        self._temperature, self._top_k, self._top_p, self._min_p = 1.0, 0, 1.0, 0.0
        for warper in warpers:
            for name in ("temperature", "top_k", "top_p", "min_p"):
                setattr(self, f"_{name}", getattr(warper, name, getattr(self, f"_{name}")))

    @staticmethod
    def split(processors: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """What comes before the sampler, and the warpers at the end that it does the work of."""
        first = len(processors)
        order = list(_WARPERS)
        while first and type(processors[first - 1]) in order:
            warper = processors[first - 1]
            if getattr(warper, "min_tokens_to_keep", 1) != 1 or getattr(warper, "filter_value", -math.inf) != -math.inf:
                break
            order = order[: order.index(type(processors[first - 1]))]
            first -= 1
        return list(processors[:first]), list(processors[first:])

    def draw(self, scores: np.ndarray, uniform: float) -> int:
        """The id that a number from 0 to 1 stands for: (vocabulary,) float32, float -> id. Ids in ascending order."""
        ids, weights = self.kept(scores)
        place = _place_of(uniform, weights)
        return place if ids is None else int(ids[place])

    def kept(self, scores: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        """The ids that may be drawn, ascending, or None for all, and their weights, which need not sum to 1."""
        if self._temperature != 1.0:
            scores = scores / np.float32(self._temperature)
        tops = _tops(scores)
        best = tops.max()
        if not math.isfinite(best):
            raise RuntimeError(
                "no token can be drawn: every token is forbidden (-inf) or a score is inf or nan; look at the logits "
                "processors and at the weights"
            )
        is_cut = 0 < self._top_k < len(scores)
        if is_cut:
            ids = _highest(scores, tops, self._top_k)
            weights = np.exp(scores[ids] - best)
            below, total = 0.0, float(weights.sum())
        elif self._top_p < 1.0:
            weights = np.exp(scores - best)
            total = float(weights.sum())
            ids, below = self._likely(scores, weights, tops, total)
            weights = weights[ids]
        elif self._min_p > 0:
            below, total = 0.0, 1.0
            ids = _at_least(scores, tops, float(best) + math.log(self._min_p) - 1e-3)
            weights = np.exp(scores[ids] - best)
        else:
            return None, np.exp(scores - best)
        if self._top_p < 1.0:
            kept = self._nucleus(scores[ids], best, below, total) if len(ids) else None
            if kept is None:
                kept_ids = self._nucleus_of_all(scores, ids if is_cut else None)
                if kept_ids is None:
                    return self._exactly(scores, best)
                ids, weights = kept_ids, np.exp(scores[kept_ids] - best)
            else:
                ids, weights = ids[kept], weights[kept]
        if self._min_p > 0:
            highest = weights.max()
            is_kept = weights >= self._min_p * highest
            if (is_kept != (weights >= self._min_p * (1 + self.NEAR) * highest)).any() or (
                is_kept != (weights >= self._min_p * (1 - self.NEAR) * highest)
            ).any():
                return self._exactly(scores, best)
            ids, weights = ids[is_kept], weights[is_kept]
        return ids, weights

    def _likely(
        self, scores: np.ndarray, weights: np.ndarray, tops: np.ndarray, total: float
    ) -> tuple[np.ndarray, float]:
        """Ids that hold the nucleus for certain, and the mass of those that are left out; no ids where it is wide."""
        best = float(tops.max())
        for depth in self.DEPTHS:
            ids = _at_least(scores, tops, best - depth)
            if 4 * len(ids) > len(scores):
                break
            below = total - float(weights[ids].sum(dtype=np.float64))
            if below <= (1 - self._top_p - self.NEAR) * total:
                return ids, max(below, 0.0)
        return ids[:0], 0.0

    def _nucleus(self, scores: np.ndarray, best: np.float32, below: float, total: float) -> np.ndarray | None:
        """Which of some tokens top_p leaves, as a mask; None where it cannot be told without rounding as torch does."""
        ordered = np.sort(scores)  # numbers alone: a tenth of the time of sorting places
        mass = (below + np.cumsum(np.exp(ordered - best), dtype=np.float64)) / total
        left_out = 1 - self._top_p
        first = min(int(np.searchsorted(mass, left_out, side="right")), len(ordered) - 1)
        if first < len(ordered) - 1 and mass[first] - left_out < self.NEAR:
            return None
        if first and (left_out - mass[first - 1] < self.NEAR or ordered[first] == ordered[first - 1]):
            return None
        return scores >= ordered[first]

    def _nucleus_of_all(self, scores: np.ndarray, among: np.ndarray | None) -> np.ndarray | None:
        """The ids that top_p leaves, rounded as torch does; None where scores at the edge are the same.

        Running sums of sorted scores do not depend on which id has which.
        """
        ordered = np.sort(scores if among is None else scores[among])
        if len(ordered) < len(scores):  # the others are there, at -inf, when torch adds
            ordered = np.concatenate([np.full(len(scores) - len(ordered), -np.inf, dtype=scores.dtype), ordered])
        mass = torch.from_numpy(ordered)[None].softmax(dim=-1).cumsum(dim=-1)[0].numpy()
        first = min(int(np.searchsorted(mass, np.float32(1 - self._top_p), side="right")), len(scores) - 1)
        if first and ordered[first] == ordered[first - 1]:
            return None
        return np.flatnonzero(scores >= ordered[first])

    def _exactly(self, scores: np.ndarray, best: np.float32) -> tuple[np.ndarray, np.ndarray]:
        """What transformers' own warpers leave of scores that are divided by the temperature already."""
        changed = torch.from_numpy(scores)[None]
        for warper in self._warpers:
            if type(warper) is not logits_process.TemperatureLogitsWarper:
                changed = warper(None, changed)
        ids = np.flatnonzero(changed[0].numpy() > -np.inf)
        return ids, np.exp(scores[ids] - best)


_WARPERS = (
    *(logits_process.TemperatureLogitsWarper, logits_process.TopKLogitsWarper),
    *(logits_process.TopPLogitsWarper, logits_process.MinPLogitsWarper),
)


def _grid(scores: np.ndarray) -> np.ndarray:
    """Scores as a matrix of 16 rows, without the few that are over: its columns are cheap to look at."""
    width = len(scores) // 16
    return scores[: 16 * width].reshape(16, width)


def _tops(scores: np.ndarray) -> np.ndarray:
    """The highest score of each column, with those that are in none: nan where one is."""
    grid = _grid(scores)
    return np.concatenate([grid.max(axis=0), scores[grid.size :]])


def _at_least(scores: np.ndarray, tops: np.ndarray, least: float) -> np.ndarray:
    """The ids, ascending, of scores that are not below this one."""
    grid = _grid(scores)
    width = grid.shape[1]
    columns = np.flatnonzero(tops >= least)
    if 4 * len(columns) > width:
        return np.flatnonzero(scores >= least)
    over = columns[np.searchsorted(columns, width) :]
    columns = columns[: len(columns) - len(over)]
    rows, places = np.nonzero(grid[:, columns] >= least)
    ids = rows * width + columns[places]
    return np.concatenate([ids, over - width + grid.size]) if len(over) else ids


def _highest(scores: np.ndarray, tops: np.ndarray, number: int) -> np.ndarray:
    """The ids, ascending, of so many highest scores, and of all that are equal to the lowest of these."""
    if number > len(tops):
        return np.flatnonzero(scores >= np.partition(scores, -number)[-number])
    least = np.partition(tops, -number)[-number]  # so many columns have a score as high, so none that is lower is kept
    ids = _at_least(scores, tops, least)
    values = scores[ids]
    return ids[values >= np.partition(values, -number)[-number]]


def _place(sums: np.ndarray, share: float) -> int:
    """The first place whose running sum is above this share of the whole: no place of weight 0."""
    return min(int(np.searchsorted(sums, share * sums[-1], side="right")), len(sums) - 1)


def _place_of(uniform: float, weights: np.ndarray) -> int:
    """The place that a number from 0 to 1 stands for, each as wide as its weight."""
    width = 256
    if len(weights) <= 4 * width:
        return _place(np.cumsum(weights, dtype=np.float64), uniform)
    whole = len(weights) // width * width  # sums of blocks first: a sixth of the time of one sum after the other
    blocks = weights[:whole].reshape(-1, width).sum(axis=1)
    sums = np.cumsum(np.append(blocks, weights[whole:].sum()), dtype=np.float64)
    block = _place(sums, uniform)
    before = sums[block - 1] if block else 0.0
    share = (uniform * sums[-1] - before) / (sums[block] - before)
    return width * block + _place(np.cumsum(weights[width * block : width * (block + 1)], dtype=np.float64), share)
