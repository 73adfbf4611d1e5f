"""The loop of `generating_elixir_coder.py` against transformers' own generate on the same weights.

Most tests use a decoder that computes everything anew in PyTorch, so that what is compared is the loop alone; `native`
is the real one.
"""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from transformers import GenerationConfig, GenerationMixin, LogitsProcessor, LogitsProcessorList, StoppingCriteria
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

import generating_elixir_coder
from generating_elixir_coder import Lookup, Sampler, generate, why_not
from runtime_elixir_coder import accelerate, why_not_fast
from tests.decoding_vocabulary import small_tokenizer

SOURCE = torch.tensor([[5, 9, 20, 31, 7, 2], [40, 41, 42, 2, 0, 0], [8, 8, 9, 300, 301, 2]])
MASK = (SOURCE != 0).long()
INPUTS = {"input_ids": SOURCE, "attention_mask": MASK}
ONE = {"input_ids": SOURCE[:1], "attention_mask": MASK[:1]}
BEGUN = torch.tensor([[0, 0, 1, 17, 18], [1, 19, 20, 21, 22], [0, 1, 23, 24, 25]])
LEFT_PADDED = {"decoder_input_ids": BEGUN, "decoder_attention_mask": (BEGUN != 0).long()}
needs_compiler = pytest.mark.skipif(why_not_fast("int8", {}) is not None, reason="needs a C compiler for the fast path")


class SlowDecoder:
    """What the loop asks of a decoder, each pass computed from the beginning. passes: tokens of each row, by pass."""

    def __init__(self, model):
        self.model, self.passes = model, []

    def read(self, input_ids, attention_mask=None):
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return [ids[real.bool()] for ids, real in zip(input_ids, mask)]

    def state(self, sources, capacity):
        return SlowState(self, sources)


class SlowState:
    def __init__(self, decoder, sources):
        self.decoder, self.sources, self.rows = decoder, sources, [[] for _ in sources]
        self.buffer = torch.empty(0)  # a pass overwrites the scores of the one before

    def step(self, tokens, keep_all=False):
        assert any(tokens)
        self.decoder.passes.append([len(given) for given in tokens])
        scores = []
        for source, row, new in zip(self.sources, self.rows, tokens):
            if new:
                row += new
                assert len(row) <= self.decoder.model.config.max_position_embeddings
                output = self.decoder.model(input_ids=source[None], decoder_input_ids=torch.tensor([row]))
                scores.append(output.logits[0, -len(new) if keep_all else -1 :])
        new = torch.cat(scores)
        if len(self.buffer) < len(new):
            self.buffer = new
        self.buffer[: len(new)] = new
        return self.buffer[: len(new)]

    def begin(self, tokens, keep_all=False):
        self.begun = tokens, keep_all

    def finish(self):
        return self.step(*self.begun)

    def truncate(self, row, length):
        assert length < len(self.rows[row])
        del self.rows[row][length:]


@pytest.fixture
def tiny_model(tiny_model):
    """With weights so large, and a head of its own, that it writes all kinds of tokens and not one for ever."""
    with torch.no_grad():
        for weight in tiny_model.parameters():
            weight *= 4.0 if weight.dim() > 1 else 1.0
    tiny_model.lm_head.weight = torch.nn.Parameter(0.5 * torch.randn(512, 32))
    return tiny_model


@pytest.fixture
def model(tiny_model):
    tiny_model.runtime = SlowDecoder(tiny_model)
    return tiny_model


@pytest.fixture
def native(tiny_model):
    fast = copy.deepcopy(tiny_model)
    assert accelerate(fast, "float32") is None
    return fast


def theirs(model, **arguments):
    """What transformers' own loop writes, with the plain model."""
    plain, plain.runtime = copy.copy(model), None
    return GenerationMixin.generate(plain, **arguments)


def ids_that_come(model, place):
    """The tokens at one place of what is written greedily: as ends they finish the rows at different times."""
    return theirs(model, **INPUTS, max_new_tokens=place + 1)[:, place + 1].tolist()


class Spy(LogitsProcessor):
    """Sees the ids, and forbids every third token by what was written last."""

    def __init__(self):
        self.seen = []

    def __call__(self, input_ids, scores):
        self.seen.append(input_ids.tolist())
        forbidden = torch.arange(scores.shape[1])[None] % 3 == input_ids[:, -1:] % 3
        return scores.masked_fill(forbidden, -torch.inf)


class Until(StoppingCriteria):
    """Ends a row when its last token is a multiple of a number."""

    def __init__(self, number):
        self.number, self.seen = number, []

    def __call__(self, input_ids, scores, **kwargs):
        self.seen.append(input_ids.tolist())
        return input_ids[:, -1] % self.number == 0


class Recorder:
    def __init__(self):
        self.put_values, self.has_ended = [], False

    def put(self, value):
        self.put_values.append(value.tolist())

    def end(self):
        self.has_ended = True


# ------------------------------------------------------------------------------------------------------------- greedy

SETTINGS = {
    "plain": {},
    "one row": ONE,
    "no mask": {"attention_mask": None},
    "left-padded beginnings": LEFT_PADDED,
    "beginnings without a start token": {"decoder_input_ids": BEGUN[:, 3:]},
    "padding taken for tokens": {"decoder_input_ids": BEGUN},
    "penalty": {"repetition_penalty": 1.4},
    "penalty behind padding": {"repetition_penalty": 1.4, **LEFT_PADDED},
    "no ngram twice": {"no_repeat_ngram_size": 2},
    "bad words": {"bad_words_ids": [[3], [9], [100, 101]]},
    "suppressed": {"suppress_tokens": list(range(0, 400, 2)), "begin_suppress_tokens": [1, 3, 5]},
    "ends forced": {"forced_eos_token_id": 2},
    "bias": {"sequence_bias": [[[30], 6.0], [[30, 31], 9.0]]},
    "encoder penalty": {"encoder_repetition_penalty": 3.0},
    "encoder ngrams": {"encoder_no_repeat_ngram_size": 1},
    "max_length": {"max_new_tokens": None, "max_length": 9},
    "no length given": {"max_new_tokens": None},
    "time is up": {"max_time": 0.0},
    "allowed by a function": {"prefix_allowed_tokens_fn": lambda row, ids: [50 + row, 60 + int(ids[-1]) % 7]},
    "drafts of three": {"prompt_lookup_num_tokens": 3, "max_matching_ngram_size": 1},
    "no drafts": {"prompt_lookup_num_tokens": 0},
    "predictions": {"prediction": [[7] * 20, [3, 4, 5], []]},
}


def ours_and_theirs(model, settings, **more):
    settings = {**INPUTS, "max_new_tokens": 24} | settings | more
    plain = {name: value for name, value in settings.items() if name not in ("prediction", "prompt_lookup_num_tokens")}
    return generate(model, **settings), theirs(model, **plain)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.filterwarnings("ignore:Using the model-agnostic default")
def test_greedy_text_is_that_of_transformers(model, name):
    assert torch.equal(*ours_and_theirs(model, SETTINGS[name]))
    assert model.runtime.passes


@needs_compiler
@pytest.mark.parametrize("name", ["plain", "left-padded beginnings", "penalty", "drafts of three"])
def test_greedy_text_of_the_native_decoder_is_that_of_the_plain_model(tiny_model, native, name):
    settings = {**INPUTS, "max_new_tokens": 40} | SETTINGS[name]
    plain = {name: value for name, value in settings.items() if name != "prompt_lookup_num_tokens"}
    assert torch.equal(generate(native, **settings), theirs(tiny_model, **plain))
    assert torch.equal(native.generate(**settings), theirs(tiny_model, **plain))


@pytest.mark.parametrize("lookup", [None, 0, 5])
def test_rows_end_at_different_times_and_are_padded(model, lookup):
    ends = [ids_that_come(model, place)[row] for row, place in ((0, 2), (1, 9))]
    settings = {"eos_token_id": ends, "min_new_tokens": 2, "pad_token_id": 7, "prompt_lookup_num_tokens": lookup}
    ours, plain = ours_and_theirs(model, settings)
    assert torch.equal(ours, plain)
    assert (ours == 7).any()
    assert 0 in model.runtime.passes[-1]  # a row that is finished is in no pass


def test_each_row_is_written_again_for_each_sequence_asked_for(model):
    once = generate(model, **INPUTS, max_new_tokens=6, do_sample=True, top_k=1)
    thrice = generate(model, **INPUTS, max_new_tokens=6, do_sample=True, top_k=1, num_return_sequences=3)
    assert torch.equal(thrice, once.repeat_interleave(3, dim=0))


def test_the_dictionary_holds_the_sequences(model):
    output = generate(model, **INPUTS, max_new_tokens=6, return_dict_in_generate=True)
    assert torch.equal(output.sequences, generate(model, **INPUTS, max_new_tokens=6))


def test_settings_of_a_configuration_count_as_those_of_the_call(model):
    config = GenerationConfig(max_new_tokens=5, prompt_lookup_num_tokens=0)
    assert torch.equal(generate(model, SOURCE, config, attention_mask=MASK), theirs(model, **INPUTS, max_new_tokens=5))


# ------------------------------------------------------------------------------------- stopping, streaming, processors


@pytest.mark.parametrize("inputs", [ONE, INPUTS], ids=["one row", "three rows"])
@pytest.mark.parametrize("eos", [2, None])
@pytest.mark.parametrize("is_empty", [False, True])
def test_stop_strings_end_a_row_where_transformers_ends_it(model, inputs, eos, is_empty):
    tokenizer = small_tokenizer()
    letters = {index for index in range(len(tokenizer)) if tokenizer.decode([index]).strip().isalnum()}
    settings = {"suppress_tokens": sorted(set(range(512)) - letters - {2}), "eos_token_id": eos, "pad_token_id": 0}
    written = theirs(model, **inputs, **settings, max_new_tokens=20)
    strings = [tokenizer.decode(row[place : place + 2]) for row, place in zip(written, (4, 8, 12))]
    settings |= {"stop_strings": strings + [""] * is_empty, "tokenizer": tokenizer}
    ours, plain = ours_and_theirs(model, settings, **inputs)
    assert torch.equal(ours, plain)
    assert ours.shape[1] < 21


@pytest.mark.parametrize("inputs", [ONE, INPUTS], ids=["one row", "three rows"])
def test_a_streamer_is_given_what_transformers_gives_it(model, inputs):
    ours, plain = Recorder(), Recorder()
    prediction = theirs(model, **inputs, max_new_tokens=12)[:, 1:]
    generate(model, **inputs, max_new_tokens=12, streamer=ours, prediction=prediction)
    theirs(model, **inputs, max_new_tokens=12, streamer=plain)
    assert ours.put_values == plain.put_values
    assert ours.has_ended


@pytest.mark.parametrize("inputs", [ONE, INPUTS], ids=["one row", "three rows"])
@pytest.mark.parametrize("lookup", [0, 6])
def test_a_processor_of_somebody_else_sees_what_it_would_see_from_transformers(model, inputs, lookup):
    ours, plain = Spy(), Spy()
    text = generate(model, **inputs, max_new_tokens=20, logits_processor=[ours], prompt_lookup_num_tokens=lookup)
    assert torch.equal(text, theirs(model, **inputs, max_new_tokens=20, logits_processor=LogitsProcessorList([plain])))
    assert ours.seen == plain.seen


@pytest.mark.parametrize("inputs", [ONE, INPUTS], ids=["one row", "three rows"])
@pytest.mark.parametrize("eos", [2, None])
def test_a_criterion_of_somebody_else_ends_rows_where_transformers_does(model, inputs, eos):
    ours, plain = Until(4), Until(4)
    settings = {"max_new_tokens": 20, "eos_token_id": eos, "pad_token_id": 0}
    text = generate(model, **inputs, **settings, stopping_criteria=[ours])
    assert torch.equal(text, theirs(model, **inputs, **settings, stopping_criteria=[plain]))
    assert ours.seen == plain.seen


def test_scores_that_a_processor_keeps_stay_as_they_were(model):
    kept, seen = [], []

    class Keeper(LogitsProcessor):
        def __call__(self, input_ids, scores):
            kept.append(scores)
            seen.append(scores.clone())
            return scores

    generate(model, **ONE, max_new_tokens=6, logits_processor=[Keeper()], suppress_tokens=[4])
    assert all(torch.equal(*pair) for pair in zip(kept, seen))


# ------------------------------------------------------------------------------------------------------------- drafts


def test_a_text_that_was_foretold_takes_few_passes(model):
    text = theirs(model, **ONE, max_new_tokens=48)
    model.runtime.passes.clear()
    settings = {"max_new_tokens": 48, "prompt_lookup_num_tokens": 7}
    assert torch.equal(generate(model, **ONE, **settings, prediction=text[0, 1:]), text)
    assert len(model.runtime.passes) == math.ceil(48 / 8)


def test_drafts_go_on_behind_what_was_changed(model):
    text = theirs(model, **INPUTS, max_new_tokens=48)
    edited = [row[1:] for row in text.tolist()]
    edited[0][10] += 1  # one token was another, some are new, some are gone
    edited[1][20:20] = [501, 502, 503]
    del edited[2][12:15]
    model.runtime.passes.clear()
    settings = {"max_new_tokens": 48, "prompt_lookup_num_tokens": 7}
    assert torch.equal(generate(model, **INPUTS, **settings, prediction=edited), text)
    assert len(model.runtime.passes) <= 12


class UpTo(StoppingCriteria):
    def __init__(self, length):
        self.length = length

    def __call__(self, input_ids, scores, **kwargs):
        return torch.full((len(input_ids),), input_ids.shape[1] >= self.length)


def test_no_draft_goes_beyond_the_last_position(model):
    length = model.config.max_position_embeddings
    text = theirs(model, **ONE, max_new_tokens=300, stopping_criteria=[UpTo(length)])
    settings = {"max_new_tokens": 300, "prompt_lookup_num_tokens": 13, "prediction": text[0, 1:].tolist() + [5] * 20}
    assert torch.equal(generate(model, **ONE, **settings, stopping_criteria=[UpTo(length)]), text)


@needs_compiler
@pytest.mark.parametrize("do_sample", [False, True])
@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_drafts_do_not_change_what_is_written(tiny_model, dtype, do_sample):
    assert accelerate(tiny_model, dtype) is None
    settings = {"max_new_tokens": 60, "do_sample": do_sample, "temperature": 0.7, "top_p": 0.9}
    texts = []
    prediction = [[7] * 9, [3, 4, 5], [11, 12] * 30]
    for drafted in (0, 1, 4, 15, None):
        torch.manual_seed(3)
        new = generate(tiny_model, **INPUTS, **settings, prompt_lookup_num_tokens=drafted, prediction=prediction)
        prediction = new[:, 1:].tolist()
        texts.append(new)
    assert all(torch.equal(texts[0], text) for text in texts)


def test_automatic_drafts_are_left_out_where_they_cost_too_much(model):
    pace = generating_elixir_coder._Pace()
    pace.add(1, 1.0)
    assert pace.most_worth(1, [0.9, 0.8, 0.7]) == 3  # nothing is known yet, so it is tried
    for number in (2, 3, 4):
        for _ in range(9):
            pace.add(number, float(number))
    assert pace.most_worth(1, [0.9, 0.8, 0.7]) == 0
    for _ in range(30):
        pace.add(4, 1.2)
    assert pace.most_worth(1, [0.9, 0.8, 0.7]) == 3
    assert pace.most_worth(1, [0.1, 0.05]) == 0


def test_the_grammar_works_beside_the_decoder_where_that_takes_less_time():
    choice = generating_elixir_coder._Choice()
    for together, apart in ((1.0, 2.0), (2.0, 1.0)):
        chosen = []
        for _ in range(200):
            chosen.append(choice.choose())
            choice.add(chosen[-1], together if chosen[-1] else apart)
        assert (sum(chosen[100:]) > 90) == (together < apart)


def test_odds_follow_what_was_right():
    odds = generating_elixir_coder._Odds()
    before = odds.of(3)
    for _ in range(50):
        odds.add(3, True)
        odds.add(0, False)
    assert odds.of(4) > 0.9 > before
    assert odds.of(0) < 0.05
    odds.add(3, None)
    for _ in range(200):
        odds.add(3, False)
    assert odds.of(3) < 0.1


def test_a_lookup_goes_on_from_where_the_same_was_written_before():
    lookup = Lookup([[10, 11, 12, 13], [20, 11, 12, 21]], longest_match=2)
    lookup.begin([1])
    assert lookup.place is None
    lookup.append(20)
    assert lookup.ids[lookup.place] == 11
    assert lookup.append(11) == (1, True)
    lookup.append(12)
    assert lookup.ids[lookup.place] == 21
    assert lookup.append(13) == (3, False)  # as in the other text, which ends here
    assert lookup.place is None or lookup.matched < 2


def test_a_lookup_forgets_no_place_when_one_token_is_another():
    lookup = Lookup([[30, 31, 32, 33, 34, 35]], longest_match=4, is_predicted=True)
    lookup.begin([1])
    rights = [lookup.append(index)[1] for index in (30, 31, 99, 33, 34, 35)]
    assert rights == [True, True, False, True, True, True]
    assert lookup.place is None


def test_a_lookup_finds_an_edited_text_again_near_where_it_left_it():
    lookup = Lookup([[30, 5, 6, 7, 31, 5, 6, 8, 32, 5, 6, 9]], longest_match=4, is_predicted=True)
    lookup.begin([1])
    for index in (30, 5, 6, 7, 98, 99, 5, 6):
        lookup.append(index)
    assert lookup.ids[lookup.place] == 8  # not 9, which stands behind the last of the same pairs


# ----------------------------------------------------------------------------------------------------------- sampling


def warpers(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0):
    return [
        *([TemperatureLogitsWarper(temperature)] if temperature != 1 else []),
        *([TopKLogitsWarper(top_k)] if top_k else []),
        *([TopPLogitsWarper(top_p)] if top_p < 1 else []),
        *([MinPLogitsWarper(min_p)] if min_p else []),
    ]


def chances(scores, theirs):
    return LogitsProcessorList(theirs)(None, torch.from_numpy(scores)[None]).softmax(dim=-1)[0].numpy()


def assert_keeps_what_transformers_keeps(scores, theirs):
    before, own = Sampler.split(theirs)
    assert (before, own) == ([], theirs)
    ids, weights = Sampler(own).kept(scores.copy())
    ids = np.arange(len(scores)) if ids is None else ids
    exact = chances(scores, theirs)
    assert ids[weights > 0].tolist() == np.flatnonzero(exact > 0).tolist()
    assert np.allclose(weights / weights.sum(), exact[ids], atol=1e-6, rtol=1e-4)


SCORES = st.one_of(
    st.lists(st.sampled_from([-math.inf, -2.0, 0.0, 0.5, 1.0, 3.0]), min_size=2, max_size=80),  # full of ties
    st.lists(st.floats(-12, 12, width=32), min_size=2, max_size=80),
    st.tuples(st.integers(0, 999), st.sampled_from([33, 512, 4099]), st.floats(0.1, 8)).map(
        lambda drawn: np.random.default_rng(drawn[0]).normal(size=drawn[1]) * drawn[2]
    ),
)


@given(
    SCORES.map(lambda values: np.array(values, dtype=np.float32)).filter(lambda row: np.isfinite(row).any()),
    st.sampled_from([1.0, 0.3, 0.8, 1.7]),
    st.sampled_from([0, 1, 2, 5, 50, 400]),
    st.sampled_from([1.0, 0.01, 0.3, 0.5, 0.9, 0.999]),
    st.sampled_from([0.0, 0.05, 0.5, 1.0]),
)
@example(np.zeros(40, dtype=np.float32), 1.0, 0, 0.5, 0.0)
@example(np.zeros(40, dtype=np.float32), 1.0, 7, 0.5, 1.0)
@example(np.linspace(0, 1, 32_000, dtype=np.float32), 1.0, 0, 0.9, 0.0)
def test_the_sampler_keeps_the_tokens_that_transformers_keeps(scores, temperature, top_k, top_p, min_p):
    assert_keeps_what_transformers_keeps(scores, warpers(temperature, top_k, top_p, min_p))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.7},
        {"top_k": 20},
        {"top_p": 0.8},
        {"min_p": 0.1},
        {"top_k": 40, "top_p": 0.9, "min_p": 0.02},
    ],
    ids=str,
)
def test_draws_follow_the_exact_chances(settings):
    generator = np.random.default_rng(0)
    scores = (generator.normal(size=3000) * 3).astype(np.float32)
    exact = chances(scores, warpers(**settings)).astype(np.float64)
    sampler, num_draws = Sampler(warpers(**settings)), 20_000
    counts = np.bincount([sampler.draw(scores, each) for each in generator.random(num_draws)], minlength=len(scores))
    assert not counts[exact == 0].any()
    groups = np.minimum(np.cumsum(np.sort(exact)[::-1]) * 40, 39).astype(int)  # some 40 groups of like mass
    order = np.argsort(-exact, kind="stable")
    expected = np.bincount(groups, exact[order]) * num_draws / exact.sum()
    found = np.bincount(groups, counts[order])
    found, expected = found[expected > 0], expected[expected > 0]
    chi_square, freedom = ((found - expected) ** 2 / expected).sum(), max(len(expected) - 1, 1)
    assert chi_square < freedom + 4 * math.sqrt(2 * freedom)


@needs_compiler
def test_rows_are_drawn_from_the_chances_of_the_model(tiny_model, native):
    torch.manual_seed(0)
    settings = {"do_sample": True, "temperature": 1.5, "top_k": 12, "repetition_penalty": 1.3}
    written = generate(native, **ONE, max_new_tokens=2, num_return_sequences=4000, **settings)
    first = theirs(
        tiny_model, **ONE, max_new_tokens=1, **settings, output_scores=True, return_dict_in_generate=True
    ).scores[0]
    expected = first.softmax(dim=-1)[0].double().numpy() * 4000
    found = np.bincount(written[:, 1], minlength=len(expected))
    assert not found[expected == 0].any()
    kept = expected > 0
    assert ((found - expected)[kept] ** 2 / expected[kept]).sum() < 11 + 4 * math.sqrt(22)


def test_a_token_takes_one_number_of_the_global_generator_for_each_row(model):
    torch.manual_seed(5)
    written = generate(model, **INPUTS, max_new_tokens=10, do_sample=True)
    after = torch.rand(1)
    torch.manual_seed(5)
    for _ in range(written.shape[1] - 1):
        torch.rand(3, dtype=torch.float64)
    assert torch.equal(after, torch.rand(1))


def test_a_row_with_nothing_to_draw_is_an_error(model):
    with pytest.raises(RuntimeError, match="every token is forbidden"):
        generate(model, **ONE, max_new_tokens=3, do_sample=True, suppress_tokens=list(range(512)))


def test_warpers_that_the_sampler_does_not_know_are_asked_themselves(model):
    settings = {"max_new_tokens": 12, "do_sample": True, "top_k": 1, "typical_p": 0.5}
    assert torch.equal(*ours_and_theirs(model, settings))
    typical = model._get_logits_processor(GenerationConfig(do_sample=True, typical_p=0.5, temperature=0.5))
    assert [len(part) for part in Sampler.split(typical)] == [len(typical), 0]


# ------------------------------------------------------------------------------------------------------------ grammar


class Even(LogitsProcessor):
    """A grammar of even tokens, as ElixirGrammarProcessor offers itself. calls: what was asked, in order."""

    do_sample, num_beams = False, 1

    def __init__(self):
        self.calls = []

    def begin(self, num_rows):
        self.calls.append(("begin", num_rows))

    def prepare(self, rows):
        self.calls += [("prepare", row, *ids) for row, ids in rows]

    def accepted(self, row, ids, drafts):
        number = next((place for place, index in enumerate(drafts) if index % 2), len(drafts))
        self.calls += [("prepare", row, *ids, *drafts[:place]) for place in range(1, number + 1)]
        return number

    def pick(self, row, ids, scores):
        self.calls.append(("pick", row, *ids))
        return 2 * int(scores[::2].argmax())

    def __call__(self, input_ids, scores):
        return scores.masked_fill(torch.arange(scores.shape[1]) % 2 == 1, -torch.inf)


@pytest.mark.parametrize("overlap", [True, False])
def test_a_grammar_picks_and_may_prepare_while_the_decoder_computes(model, monkeypatch, overlap):
    monkeypatch.setattr(generating_elixir_coder, "OVERLAP", overlap)
    grammar = Even()
    settings = {**INPUTS, "max_new_tokens": 16, "suppress_tokens": [6]}
    text = generate(model, **settings, logits_processor=[grammar], prompt_lookup_num_tokens=4)
    assert torch.equal(text, theirs(model, **settings, logits_processor=LogitsProcessorList([Even()])))
    assert grammar.calls[0] == ("begin", 3)
    picks = [call[1:] for call in grammar.calls if call[0] == "pick"]
    assert len(picks) == len(set(picks)) == sum(map(len, text.tolist())) - 3 * 1
    prepared = {call[1:] for call in grammar.calls if call[0] == "prepare"}
    assert prepared >= set(picks) if overlap else not prepared & {(0,), (1,), (2,)}


def test_a_grammar_that_masks_or_stands_before_others_is_called_as_a_processor(model):
    class Masks(Even):
        do_sample = None

    for processors in ([Masks()], [Even(), Spy()]):
        settings = {**INPUTS, "max_new_tokens": 8}
        text = generate(model, **settings, logits_processor=processors)
        assert torch.equal(text, theirs(model, **settings, logits_processor=LogitsProcessorList(processors)))
        assert processors[0].calls == []


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("do_sample", [False, True])
def test_the_grammar_of_elixir_writes_the_same_with_and_without_drafts(model, monkeypatch, overlap, do_sample):
    pytest.importorskip("llguidance", reason="needs llguidance: pip install 'elixir-coder[decode]'")
    from decoding_elixir_coder import ElixirGrammarProcessor, accepts

    monkeypatch.setattr(generating_elixir_coder, "OVERLAP", overlap)
    tokenizer = small_tokenizer()
    texts = []
    for drafted in (0, 5):
        processor = ElixirGrammarProcessor(
            tokenizer, start="expression", max_new_tokens=24, do_sample=do_sample, seed=1
        )
        settings = {"max_new_tokens": 24, "do_sample": do_sample, "prompt_lookup_num_tokens": drafted, "top_k": 0}
        texts.append(generate(model, **ONE, **settings, logits_processor=[processor]))
    assert torch.equal(*texts)
    assert accepts(tokenizer.decode(texts[0][0], skip_special_tokens=True), start="expression")
    if not do_sample:
        processor = ElixirGrammarProcessor(tokenizer, start="expression", max_new_tokens=24, do_sample=False)
        plain = theirs(model, **ONE, max_new_tokens=24, logits_processor=LogitsProcessorList([processor]))
        assert torch.equal(texts[0], plain)


# ------------------------------------------------------------------------------------------- what is left, and errors


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"num_beams": 2}, "num_beams=2"),
        ({"output_scores": True}, "output_scores"),
        ({"output_attentions": True}, "output_attentions"),
        ({"penalty_alpha": 0.6, "top_k": 4}, "penalty_alpha"),
        ({"watermarking_config": {"bias": 2.5}}, "watermarking_config"),
        ({"guidance_scale": 2.0}, "guidance_scale"),
        ({"use_cache": False}, "use_cache"),
        ({"cache_implementation": "static"}, "cache_implementation"),
    ],
    ids=str,
)
def test_settings_that_only_transformers_knows_are_named(model, settings, word):
    config, rest = model._prepare_generation_config(None, **ONE, **settings)
    assert word in why_not(model, config, rest)


@pytest.mark.parametrize(
    "arguments",
    [
        {"assistant_model": object()},
        {"encoder_outputs": object()},
        {"token_type_ids": SOURCE},
        {"inputs": SOURCE},
        {"input_ids": None},
        {"input_ids": SOURCE[0]},
        {"input_ids": SOURCE.float()},
        {"attention_mask": MASK[:, 1:]},
        {"decoder_attention_mask": MASK},
        {"decoder_input_ids": BEGUN, "decoder_attention_mask": torch.tensor([[1, 1, 1, 1, 0]] * 3)},
        {"decoder_input_ids": BEGUN[:1]},
        {"decoder_input_ids": BEGUN + 2, "decoder_attention_mask": LEFT_PADDED["decoder_attention_mask"]},
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_arguments_that_do_not_fit_are_left_to_transformers(model, arguments):
    config, _ = model._prepare_generation_config(None)
    assert why_not(model, config, {**INPUTS, **LEFT_PADDED}) is None
    assert why_not(model, config, INPUTS | arguments)


def test_a_plain_model_is_left_to_transformers(tiny_model):
    assert why_not(tiny_model, tiny_model.generation_config, INPUTS) == "the model has no fast runtime"
    text = generate(tiny_model, **INPUTS, max_new_tokens=6, prediction=[1, 2, 3], prompt_lookup_num_tokens=0)
    assert torch.equal(text, theirs(tiny_model, **INPUTS, max_new_tokens=6))


@needs_compiler
@pytest.mark.parametrize(
    "settings",
    [
        {"num_beams": 3, "num_return_sequences": 2},
        {"num_beams": 2, "prompt_lookup_num_tokens": 0, "prediction": [4, 5]},
        {"num_beams": 2, "generation_config": GenerationConfig(prompt_lookup_num_tokens=0, max_new_tokens=8)},
    ],
    ids=["beams", "beams and no drafts", "beams and a configuration"],
)
def test_beams_are_those_of_transformers(tiny_model, native, settings):
    given = {**INPUTS} | ({} if "generation_config" in settings else {"max_new_tokens": 8}) | settings
    plain = {name: given[name] for name in given if name not in ("prediction", "prompt_lookup_num_tokens")}
    plain.pop("generation_config", None)
    assert torch.equal(generate(native, **given), theirs(tiny_model, **plain | {"max_new_tokens": 8}))


def test_errors_are_those_of_transformers(model):
    for settings, error in (
        ({"max_new_tokens": 3, "max_new_tokenz": 3}, "max_new_tokenz"),
        ({"max_length": 1}, "Input length of decoder_input_ids is 1"),
        ({"max_new_tokens": 3, "stop_strings": ["end"]}, "tokenizer"),
        ({"max_new_tokens": 3, "temperature": -1.0, "do_sample": True}, "temperature"),
    ):
        with pytest.raises(ValueError, match=error):
            theirs(model, **ONE, **settings)
        with pytest.raises(ValueError, match=error):
            generate(model, **ONE, **settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"prediction": [[1], [2]]}, "2 predictions for 3 rows"),
        ({"prediction": [[1], [2], [512]]}, "prediction of row 2 holds ids from 512 to 512; the model has 0 to 511"),
        ({"decoder_input_ids": BEGUN + 500}, "the model has 0 to 511"),
    ],
    ids=["too few", "too high", "beginnings"],
)
def test_ids_that_cannot_be_are_refused_with_the_place(model, settings, words):
    with pytest.raises(ValueError, match=words):
        generate(model, **INPUTS, max_new_tokens=4, **settings)
