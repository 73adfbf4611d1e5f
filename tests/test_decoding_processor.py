"""The processor of `decoding_elixir_coder.py` under transformers' own generate."""

import copy
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, LogitsProcessorList
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from decoding_elixir_coder import ElixirGrammar, ElixirGrammarProcessor, GrammarError, accepts
from tests.decoding_vocabulary import ids_of, small_tokenizer

EOS, PAD = small_tokenizer().eos_token_id, small_tokenizer().pad_token_id
SIZE = len(small_tokenizer())
BUDGET = 24


def random_model(kind="gpt2", seed=0, vocabulary=SIZE):
    torch.manual_seed(seed)
    ids = {"bos_token_id": 1, "eos_token_id": EOS, "pad_token_id": PAD}
    if kind == "gpt2":
        config = GPT2Config(vocab_size=vocabulary, n_embd=16, n_layer=1, n_head=2, n_positions=128, **ids)
        return GPT2LMHeadModel(config).eval()
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        **ids,
    )
    return LlamaForCausalLM(config).eval()


def prompts(*texts):
    rows = [ids_of(text) for text in texts]
    width = max(map(len, rows))
    ids = torch.tensor([[PAD] * (width - len(row)) + row for row in rows])
    return {"input_ids": ids, "attention_mask": (ids != PAD).long()}


def written(model, inputs, processor, **settings):
    """The texts that a model writes, and their lengths with the end."""
    settings = {"max_new_tokens": BUDGET, "do_sample": False} | settings
    rows = model.generate(**inputs, logits_processor=LogitsProcessorList([processor]), **settings)
    if "decoder_input_ids" not in inputs and not model.config.is_encoder_decoder:
        rows = rows[:, inputs["input_ids"].shape[1] :]
    else:
        rows = rows[:, inputs.get("decoder_input_ids", torch.zeros(1, 1)).shape[1] :]
    texts, lengths = [], []
    for row in rows.tolist():
        assert EOS in row
        lengths.append(row.index(EOS) + 1)
        assert set(row[lengths[-1] :]) <= {EOS, PAD}
        texts.append(ElixirGrammar(small_tokenizer()).vocabulary.bytes_of(row[: lengths[-1] - 1]).decode())
    return texts, lengths


def processor(**settings):
    return ElixirGrammarProcessor(small_tokenizer(), **{"max_new_tokens": BUDGET, **settings})


WAYS = {
    "greedy": ({"do_sample": False}, {}),
    "greedy, full masks": ({}, {}),
    "beams": ({"do_sample": False, "num_beams": 3}, {"num_beams": 3, "num_return_sequences": 2}),
    "beams, full masks": ({}, {"num_beams": 3}),
    "drawn": ({"do_sample": True, "top_k": 10, "seed": 1}, {"do_sample": True, "num_return_sequences": 3}),
    "drawn without a cut": (
        {"do_sample": True, "temperature": 2.0},
        {"do_sample": True, "top_k": 0, "temperature": 2.0},
    ),
    "sampled behind full masks": ({}, {"do_sample": True, "top_p": 0.9}),
    "beam-sample": ({}, {"do_sample": True, "num_beams": 2}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_every_way_of_decoding_ends_in_code_within_the_budget(way, kind):
    own, settings = WAYS[way]
    texts, lengths = written(random_model(kind), prompts("write", "a long prompt"), processor(**own), **settings)

    assert all(accepts(text, "strict") for text in texts), texts
    assert max(lengths) <= BUDGET


@pytest.mark.elixir
def test_what_random_models_write_parses():
    from elixir_coder.toolchain.toolchain import Toolchain

    texts = []
    for seed in range(3):
        own = processor(max_new_tokens=40, do_sample=True, seed=seed)
        inputs = prompts(*["x"] * 8)
        texts += written(random_model(seed=seed), inputs, own, do_sample=True, max_new_tokens=40, top_k=0)[0]
    with Toolchain() as toolchain:
        answers = list(toolchain.map("parse", texts))
    assert len(set(texts)) > 15
    assert [text for text, answer in zip(texts, answers) if not answer.ok] == []


def test_an_encoder_decoder_goes_on_from_its_decoder_ids(tiny_model):
    tiny_model.config.vocab_size = 512
    begun = torch.tensor([[1, *ids_of("def f do\n  g(")]])
    inputs = {"input_ids": torch.tensor([ids_of("write f")]), "decoder_input_ids": begun}
    own = processor(do_sample=False, prefix="def f do\n  g(")
    settings = {"eos_token_id": EOS, "pad_token_id": PAD, "suppress_tokens": None}
    texts, lengths = written(tiny_model, inputs, own, **settings)

    assert accepts("def f do\n  g(" + texts[0], "strict")
    assert lengths[0] <= BUDGET


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_likeliest_token_is_the_same_without_and_with_a_full_mask(kind):
    model, inputs = random_model(kind, seed=3), prompts("write", "a long prompt")
    lazy, full = processor(do_sample=False, max_new_tokens=None), processor(max_new_tokens=None)
    settings = {"max_new_tokens": 40, "logits_processor": None}
    rows = [model.generate(**inputs, **settings | {"logits_processor": [own]}) for own in (lazy, full)]

    assert rows[0].tolist() == rows[1].tolist()
    assert lazy.stats.full_masks < full.stats.full_masks


@pytest.mark.parametrize("seed", range(3))
def test_beams_are_the_same_without_and_with_a_full_mask(seed):
    model, inputs = random_model(seed=seed), prompts("write", "a long prompt")
    settings = {"max_new_tokens": 15, "num_beams": 4, "num_return_sequences": 4}
    found = [
        model.generate(**inputs, **settings, logits_processor=[own], return_dict_in_generate=True, output_scores=True)
        for own in (processor(do_sample=False, num_beams=4, max_new_tokens=None), processor(max_new_tokens=None))
    ]
    assert found[0].sequences.tolist() == found[1].sequences.tolist()
    assert torch.allclose(found[0].sequences_scores, found[1].sequences_scores)


# -- draws


CUTS = [{}, {"temperature": 0.5}, {"top_k": 7}, {"top_p": 0.8}, {"top_k": 20, "top_p": 0.6, "temperature": 1.5}]


@pytest.mark.parametrize(("spread", "number", "cut"), [(4.0, 2000, cut) for cut in CUTS] + [(1.0, 300, {"top_p": 0.8})])
def test_draws_follow_the_distribution_behind_a_full_mask(spread, number, cut):
    scores = torch.randn(1, SIZE, generator=torch.Generator().manual_seed(5)) * spread
    prompt = torch.tensor([[1]])
    masked = processor(max_new_tokens=None)(prompt, scores)
    warpers = [
        TemperatureLogitsWarper(cut.get("temperature", 1.0)),
        TopKLogitsWarper(cut.get("top_k", SIZE)),
        TopPLogitsWarper(cut.get("top_p", 1.0)),
    ]
    for warper in warpers:
        masked = warper(prompt, masked)
    expected = masked.softmax(-1)[0].double()

    own = processor(max_new_tokens=None, do_sample=True, seed=7, **cut)
    drawn = torch.stack([own(prompt, scores)[0] for _ in range(number)])
    assert ((drawn > -torch.inf).sum(1) == 1).all()
    counts = (drawn > -torch.inf).sum(0).double()
    assert counts[expected == 0].sum() == 0
    assert own.stats.full_masks < number / 2 or spread < 2  # a flat distribution has too many likely tokens to ask

    often = expected * number >= 5  # the rest is taken together, as a chi-square test wants it
    observed = torch.cat([counts[often], counts[~often].sum()[None]])
    wanted = torch.cat([expected[often], expected[~often].sum()[None]]) * number
    observed, wanted = observed[wanted > 0], wanted[wanted > 0]
    statistic = float(((observed - wanted) ** 2 / wanted).sum())
    freedom = len(wanted) - 1
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5 + 4


def test_a_seed_gives_the_same_draws_again():
    settings = {"do_sample": True, "seed": 3, "top_k": 5}
    texts = [written(random_model(), prompts("x"), processor(**settings), do_sample=True)[0] for _ in range(2)]

    assert texts[0] == texts[1]


# -- rows


def test_each_row_keeps_its_own_prefix_start_and_budget_through_its_copies():
    own = processor(
        do_sample=True,
        start=["function", "pattern"],
        prefix=["def f(x) do\n  ", "{:ok, "],
        max_new_tokens=[20, 10],
        seed=0,
    )
    texts, lengths = written(
        random_model(), prompts("one", "two more"), own, do_sample=True, num_return_sequences=3, top_k=0
    )
    assert all(accepts("def f(x) do\n  " + text, "strict", "function") for text in texts[:3])
    assert all(accepts("{:ok, " + text, "strict", "pattern") for text in texts[3:])
    assert max(lengths[:3]) <= 20 and max(lengths[3:]) <= 10


def test_rows_of_different_lengths_of_settings_are_an_error():
    with pytest.raises(GrammarError, match=r"given for \[2, 3\] rows"):
        processor(prefix=["a", "b"], start=["file"] * 3)
    with pytest.raises(GrammarError, match="3 rows cannot be shared out among 2 settings"):
        processor(prefix=["a", "b"])(torch.ones(3, 1, dtype=torch.long), torch.zeros(3, SIZE))


def test_a_processor_serves_one_generation_after_the_other():
    model, own = random_model(), processor(do_sample=False)
    inputs = [prompts("write"), prompts("a much longer prompt than that"), prompts("two", "rows"), prompts("write")]
    texts = [written(model, each, own)[0] for each in inputs]

    assert texts == [written(model, each, processor(do_sample=False))[0] for each in inputs]


def test_assisted_generation_goes_back_and_forth():
    own = processor(max_new_tokens=None)
    plain = random_model().generate(**prompts("write"), max_new_tokens=20, logits_processor=[own])
    assistant = random_model(seed=1)
    assistant.generation_config.num_assistant_tokens = 4
    assisted = random_model().generate(
        **prompts("write"), max_new_tokens=20, logits_processor=[own], assistant_model=assistant
    )
    assert assisted.tolist() == plain.tolist()


def test_more_scores_than_ids_are_padding_and_fewer_an_error():
    texts, _ = written(random_model(vocabulary=SIZE + 40), prompts("x"), processor(do_sample=False))
    assert accepts(texts[0], "strict")
    assert (processor()(torch.tensor([[1]]), torch.zeros(1, SIZE + 40))[0, SIZE:] == -torch.inf).all()

    with pytest.raises(GrammarError, match=f"the model scores {SIZE - 1} ids and its tokenizer has {SIZE}"):
        processor()(torch.tensor([[1]]), torch.zeros(1, SIZE - 1))


def test_behind_the_end_only_the_end_may_come():
    own = processor(do_sample=False, prompt_length=1)
    rows = torch.tensor([[1, *ids_of("a"), EOS, PAD], [1, *ids_of("b"), *ids_of("."), *ids_of("a")]])
    answer = own(rows, torch.zeros(2, SIZE))

    assert (answer[0] > -torch.inf).nonzero().flatten().tolist() == [EOS]
    assert answer[0, EOS] == 0


def test_scores_that_are_kept_are_not_changed():
    scores = torch.randn(1, SIZE)
    answer = processor(max_new_tokens=None)(torch.tensor([[1]]), scores)

    kept = answer > -torch.inf
    assert kept.sum() > 10
    assert (answer[kept] == scores[kept]).all()


# -- row by row


def many_scores(number, seed=0, spread=3.0):
    return torch.randn(number, SIZE, generator=torch.Generator().manual_seed(seed)) * spread


def by_calls(own, scores):
    """The ids that follow one after the other when the processor is called as transformers does."""
    ids = []
    while EOS not in ids and len(ids) < len(scores):
        ids.append(int(own(torch.tensor([[1, *ids]]), scores[len(ids)][None]).argmax()))
    return ids


def by_picks(own, scores, before=lambda own, ids, scores: None):
    own.begin(1)
    ids = []
    while EOS not in ids and len(ids) < len(scores):
        before(own, ids, scores[len(ids)])
        ids.append(own.pick(0, ids, scores[len(ids)]))
    return ids


CHOICES = {
    "greedy": {"do_sample": False},
    "drawn": {"do_sample": True, "seed": 4},
    "drawn from a nucleus": {"do_sample": True, "seed": 4, "temperature": 1.5, "top_k": 30, "top_p": 0.9},
    "greedy, in a hole": {"do_sample": False, "prefix": "def f(x) do\n  g(", "suffix": ")\nend\n"},
    "drawn, in a hole": {"do_sample": True, "seed": 4, "prefix": "def f(x) do\n  g(", "suffix": ")\nend\n"},
}


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("budget", [7, 60, None])
def test_what_is_picked_is_what_a_call_leaves(choice, budget):
    settings = CHOICES[choice] | {"max_new_tokens": budget}
    scores = many_scores(budget or 40)
    called = by_calls(processor(**settings), scores)

    assert by_picks(processor(**settings), scores) == called
    assert by_picks(processor(**settings), scores, lambda own, ids, _: own.prepare([(0, ids)])) == called
    assert budget is None or EOS in called


@pytest.mark.parametrize("settings", [{}, {"do_sample": False, "num_beams": 2}])
def test_one_token_cannot_be_picked_where_several_are_left(settings):
    with pytest.raises(GrammarError, match="one token cannot be picked"):
        processor(**settings).pick(0, [], torch.zeros(SIZE))


@pytest.mark.parametrize("is_accepted", [False, True], ids=["prepared", "accepted"])
@pytest.mark.parametrize("choice", ["greedy", "drawn", "greedy, in a hole"])
@pytest.mark.parametrize("seed", range(4))
def test_drafts_that_are_verified_and_taken_back_change_nothing(choice, seed, is_accepted):
    # what comes next depends on the place alone, so that one by one and in drafts the scores are the same
    scores = many_scores(40, seed, spread=6.0)
    settings = CHOICES[choice] | {"max_new_tokens": 40}
    if settings["do_sample"]:  # the same numbers drawn whatever was drafted: one that leaves no doubt
        scores[torch.arange(40), scores.argmax(1)] += 200
    one_by_one = by_picks(processor(**settings), scores)

    picks = np.random.default_rng(seed)
    own, ids, num_drafted = processor(**settings), [], 0
    own.begin(1)
    while EOS not in ids:
        right = one_by_one[len(ids) : len(ids) + picks.integers(6)]
        draft = [*right, *picks.integers(SIZE, size=picks.integers(4)).tolist()]
        if is_accepted:
            number = own.accepted(0, ids, draft)
            assert number <= len(draft)
            draft = draft[:number]
        else:
            try:
                for length in range(len(draft) + 1):
                    own.prepare([(0, ids + draft[:length])])
            except GrammarError:
                draft = draft[: length - 1]
        for place in range(len(draft) + 1):
            ids.append(own.pick(0, ids, scores[len(ids)]))
            if ids[-1] == EOS or place == len(draft) or ids[-1] != draft[place]:
                break
            num_drafted += 1
    assert ids == one_by_one
    assert num_drafted > 0


def test_as_many_drafted_tokens_are_accepted_as_could_be_written():
    own, matcher = processor(do_sample=False, max_new_tokens=400), ElixirGrammar(small_tokenizer()).matcher()
    ids = ids_of("def f(x) do\n  x + 1\nend\n")
    own.begin(1)
    assert all(matcher.consume(index) for index in ids)
    assert own.accepted(0, [], ids) == len(ids)
    assert own.accepted(0, ids[:3], ids[3:]) == len(ids) - 3
    for wrong in (ids_of("]")[0], EOS, SIZE + 5):
        assert own.accepted(0, [], [*ids[:4], wrong, *ids[4:]]) == 4


def test_no_draft_is_accepted_that_leaves_too_little_to_end_the_text():
    own = processor(do_sample=False, max_new_tokens=60)
    own.begin(1)
    brackets = ids_of("[") * 60
    number = own.accepted(0, [], brackets)

    assert 0 < number < 20
    assert by_picks(own, torch.nn.functional.one_hot(torch.tensor(brackets), SIZE).float())[-1] == EOS


def test_a_monitor_cuts_a_draft():
    own = processor(do_sample=False, monitor=Words(b"o"), max_new_tokens=400)
    own.begin(1)
    ids = ids_of("[x, y, o]")
    assert own.accepted(0, [], ids) == ids.index(ids_of("o")[0])


def test_rows_keep_their_settings_one_after_the_other():
    own = processor(do_sample=False, prefix=["", "[1, "], max_new_tokens=10)
    with pytest.raises(GrammarError, match="3 rows cannot be shared out among 2 settings"):
        own.begin(3)
    own.begin(4)
    scores = torch.zeros(SIZE)
    scores[ids_of("]")[0]] = 1.0
    rows = [own.pick(row, [], scores) for row in range(4)]

    assert rows[0] == rows[1] != ids_of("]")[0]
    assert rows[2] == rows[3] == ids_of("]")[0]


def test_rows_are_prepared_in_another_thread():
    own, scores = processor(do_sample=False), many_scores(BUDGET)
    own.begin(2)
    rows: list[list[int]] = [[], []]
    while not all(EOS in ids for ids in rows):
        thread = threading.Thread(target=own.prepare, args=([(row, ids.copy()) for row, ids in enumerate(rows)],))
        thread.start()
        for row, ids in enumerate(rows):
            ids.append(own.pick(row, ids, scores[min(len(ids), BUDGET - 1)]))
        thread.join()
    assert rows[0][: rows[0].index(EOS)] == rows[1][: rows[1].index(EOS)]


def test_a_row_may_go_back_further_than_it_remembers():
    own, plain = (processor(do_sample=False, max_new_tokens=None) for _ in range(2))
    ids = ids_of("[" + "1, " * 200)
    own.begin(1)
    own.prepare([(0, ids)])
    scores = many_scores(1)[0]

    assert own.pick(0, ids[:9], scores) == plain.pick(0, ids[:9], scores)
    assert own.pick(0, ids, scores) == plain.pick(0, ids, scores)


def test_the_likeliest_of_a_large_vocabulary_is_found_behind_many_that_are_refused():
    scores = torch.randn(1, SIZE + 4000, generator=torch.Generator().manual_seed(2))
    scores[0, SIZE + 100 : SIZE + 400] += 20  # ids that are only padding
    scores = (scores * 4).round() / 4  # with many ties
    left = processor(max_new_tokens=None)(torch.tensor([[1]]), scores)
    picked = processor(do_sample=False, max_new_tokens=None).pick(0, [], scores[0])

    assert left[0, picked] == left.max()


def test_a_grammar_is_compiled_ahead(monkeypatch):
    tokenizer = copy.copy(small_tokenizer("llama"))
    ElixirGrammarProcessor.warm(tokenizer, start="pattern").join()
    monkeypatch.setattr("engine_elixir_coder.elixir_grammar", None)
    assert ElixirGrammarProcessor(tokenizer, start="pattern", do_sample=False).pick(0, [], torch.zeros(600)) >= 0


def test_what_cannot_be_compiled_ahead_is_an_error_where_it_is_used():
    ElixirGrammarProcessor.warm(small_tokenizer(), start="nothing").join()
    with pytest.raises(ValueError, match="nothing"):
        processor(start="nothing")


# -- limits


def test_a_budget_that_is_too_small_names_what_is_needed():
    with pytest.raises(GrammarError, match=r"max_new_tokens is 2, and at least \d+ are needed"):
        processor(prefix="def f do\n  [{(", max_new_tokens=2)


@pytest.mark.parametrize("budget", range(1, 14))
def test_any_budget_ends_in_code(budget):
    own = processor(do_sample=True, max_new_tokens=budget, seed=budget)
    texts, lengths = written(
        random_model(), prompts("x"), own, do_sample=True, top_k=0, max_new_tokens=budget, num_return_sequences=8
    )
    assert all(accepts(text, "strict") for text in texts), texts
    assert max(lengths) <= budget


def test_a_hole_is_filled_so_that_the_whole_parses():
    prefix, suffix = "def f(x) do\n  g(", ")\nend\n"
    own = processor(do_sample=True, prefix=prefix, suffix=suffix, seed=2)
    texts, _ = written(random_model(), prompts("x"), own, do_sample=True, num_return_sequences=8, top_k=0)

    assert len(set(texts)) > 1
    assert all(accepts(prefix + text + suffix, "strict") for text in texts), texts


def test_nothing_left_raises_with_the_text_so_far():
    scores = torch.full((1, SIZE), -torch.inf)
    scores[0, ids_of(")")[0]] = 0.0
    own = processor(do_sample=False, max_new_tokens=None)
    own(torch.tensor([[1]]), torch.eye(SIZE)[ids_of("x")[:1]])
    with pytest.raises(GrammarError, match="no token may follow") as caught:
        own(torch.tensor([[1, ids_of("x")[0]]]), scores)
    assert caught.value.text == b"x"


def test_a_token_that_was_forbidden_is_an_error_where_no_beam_explains_it():
    for settings in ({"do_sample": False}, {}):
        own = processor(max_new_tokens=None, **settings)
        own(torch.tensor([[1]]), torch.zeros(1, SIZE))
        with pytest.raises(GrammarError, match=r"not allowed|no row is in the grammar"):
            own(torch.tensor([[1, ids_of(")")[0]]]), torch.zeros(1, SIZE))


# -- a monitor


class Words:
    """A monitor that forbids a byte, and a text that ends in `?`-less names it does not know."""

    def __init__(self, forbidden=b"q", pending=b""):
        self.forbidden, self.pending = forbidden, pending

    def state(self, text):
        return Words(self.forbidden, text[-1:])

    def after(self, piece):
        return Words(self.forbidden, piece[-1:] or self.pending)

    def allows(self, piece):
        return self.forbidden not in piece

    def mask(self, within=None):
        pieces = ElixirGrammar(small_tokenizer()).vocabulary.pieces
        return np.array([self.allows(piece) for piece in pieces])

    def completions(self):
        return [b"z"] if self.pending == b"a" else [b""]

    def may_end(self):
        return self.pending != b"a"


@pytest.mark.parametrize("way", ["greedy", "greedy, full masks", "beams", "drawn"])
def test_a_monitor_and_the_grammar_both_have_to_allow(way):
    own, settings = WAYS[way]
    texts, _ = written(random_model(), prompts("x"), processor(monitor=Words(b"o"), **own), **settings)

    assert all(accepts(text, "strict") and "o" not in text and not text.endswith("a") for text in texts), texts


def test_a_monitor_that_leaves_nothing_raises():
    own = processor(monitor=SimpleNamespace(state=lambda text: Words(b"")), max_new_tokens=None)
    with pytest.raises(GrammarError, match="no token may follow"):
        own(torch.tensor([[1]]), torch.where(torch.arange(SIZE) == EOS, -torch.inf, 0.0)[None])


# -- what it says of itself


def test_statistics_count_calls_rows_refusals_and_closings():
    own = processor(do_sample=False)
    scores = torch.zeros(2, SIZE)
    scores[:, ids_of(")")[0]] = 2.0
    scores[:, ids_of("x")[0]] = 1.0
    own(torch.tensor([[1], [1]]), scores)
    stats = own.stats.as_dict()

    assert {name: stats[name] for name in ("calls", "rows", "full_masks", "refusals", "forced_closings")} == {
        "calls": 1,
        "rows": 2,
        "full_masks": 0,
        "refusals": 2,
        "forced_closings": 0,
    }
    assert 0 < stats["p50_us"] <= stats["p95_us"] <= stats["total_us"]
