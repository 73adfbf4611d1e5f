"""The processor of `decoding_elixir_coder.py` under transformers' own generate."""

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
