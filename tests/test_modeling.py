"""Every form of the model gives the same numbers however it is fed: padded, cached, masked, saved, in parts."""

import json
import math
import warnings
from itertools import pairwise
from threading import Thread

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast, TextIteratorStreamer
from transformers.activations import ACT2FN
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from configuration_elixir_coder import ElixirCoderConfig
from modeling_elixir_coder import (
    ElixirCoderAlibiPositions,
    ElixirCoderClassificationHead,
    ElixirCoderEncoderModel,
    ElixirCoderForConditionalGeneration,
    ElixirCoderForMultiTask,
    ElixirCoderForSequenceClassification,
    ElixirCoderModel,
    ElixirCoderRotaryPositions,
    ElixirCoderText2TextPipeline,
    build_activation,
    build_positions,
    rotate,
    shift_tokens_right,
)

CLASSES = [
    ElixirCoderModel,
    ElixirCoderEncoderModel,
    ElixirCoderForConditionalGeneration,
    ElixirCoderForSequenceClassification,
    ElixirCoderForMultiTask,
]
SHAPE = {
    "vocab_size": 97,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 64,
    "dropout": 0.0,
    "quality_labels": ["ModuleDoc", "Nesting", "Specs"],
    "security_labels": ["SQL.Query", "XSS.HTML"],
    "classifier_dropout": 0.0,
}
VARIANTS = {
    "tiny": {
        "position_embedding_type": "relative",
        "norm_type": "rmsnorm",
        "gated_ffn": True,
        "activation_function": "gelu_new",
        "use_bias": False,
        "relative_attention_num_buckets": 8,
        "relative_attention_max_distance": 12,
    },
    "base": {"position_embedding_type": "sinusoidal"},
    "full": {"position_embedding_type": "learned", "share_position_embeddings": True, "num_key_value_heads": 2},
    "bart": {
        "position_embedding_type": "learned",
        "norm_position": "post",
        "layernorm_embedding": True,
        "scale_embedding": True,
    },
    "marian": {"position_embedding_type": "sinusoidal", "norm_position": "post", "activation_function": "swish"},
    "narrow": {
        "position_embedding_type": "relative",
        "norm_position": "post",
        "num_key_value_heads": 1,
        "head_dim": 6,
        "activation_function": "relu",
        "tie_word_embeddings": False,
    },
    "small": {
        "position_embedding_type": "rotary",
        "rope_parameters": {"rope_theta": 100.0},
        "norm_type": "rmsnorm",
        "gated_ffn": True,
        "activation_function": "swish",
        "use_bias": False,
        "num_key_value_heads": 2,
        "cross_attention_gate": True,
    },
    "rotary": {"position_embedding_type": "rotary", "norm_position": "post", "head_dim": 12, "lm_head_bias": True},
    "alibi": {
        "position_embedding_type": "alibi",
        "encoder_attention_heads": 6,  # no power of two: two kinds of slopes
        "decoder_attention_heads": 3,
        "num_key_value_heads": 3,
        "head_dim": 8,
    },
}
ATTENTIONS = ["eager", "sdpa", "flex_attention"]
every_variant = pytest.mark.parametrize("variant", VARIANTS)
every_attention = pytest.mark.parametrize("attention", ATTENTIONS)


@pytest.fixture(autouse=True)
def uncompiled_flex_attention(request):
    """transformers compiles flex attention for each new shape, ten seconds a time; uncompiled it computes the same."""
    if "flex" not in request.node.name:
        yield
        return
    torch._dynamo.reset()
    with torch.compiler.set_stance("force_eager"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "flex_attention called without torch.compile")
        warnings.filterwarnings(
            "ignore", "`torch.jit", DeprecationWarning
        )  # torch's own, where flex attention imports it
        warnings.filterwarnings(
            "ignore", "_compile flag on create_block_mask", DeprecationWarning
        )  # transformers sets it
        yield


def build(variant="tiny", model_class=ElixirCoderForConditionalGeneration, attention="sdpa", **changes):
    """A small model in evaluation mode whose biases, norms and positions matter: noise on every weight."""
    torch.manual_seed(0)
    config = ElixirCoderConfig(**SHAPE | VARIANTS[variant] | changes)
    config._attn_implementation = attention
    model = model_class(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def tokens(rows, length, seed=0):
    return torch.randint(3, 97, (rows, length), generator=torch.Generator().manual_seed(seed))


def pad(ids, num, side, value=0):
    """The same rows and their mask with `num` columns of padding on one side."""
    width = (num, 0) if side == "left" else (0, num)
    return F.pad(ids, width, value=value), F.pad(torch.ones_like(ids), width)


SOURCE, TARGET = tokens(3, 11), tokens(3, 9, seed=1)


def assert_close(a, b, tolerance=5e-6):
    assert a.shape == b.shape
    assert (a - b).abs().max() < tolerance


# ------------------------------------------------------------------------------------------------------ padding, cache


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
@every_attention
@every_variant
def test_padding_changes_nothing_for_real_tokens(variant, attention, side):
    model = build(variant, attention=attention)
    plain = model(input_ids=SOURCE, decoder_input_ids=TARGET).logits

    source, source_mask = pad(SOURCE, 5, side)
    padded = model(input_ids=source, attention_mask=source_mask, decoder_input_ids=TARGET).logits
    assert_close(padded, plain)

    target, target_mask = pad(TARGET, 4, side)
    padded = model(input_ids=SOURCE, decoder_input_ids=target, decoder_attention_mask=target_mask).logits
    assert_close(padded[:, target_mask[0].bool()], plain)


@torch.no_grad()
@every_attention
@every_variant
def test_a_cache_changes_nothing_step_by_step(variant, attention):
    model = build(variant, attention=attention)
    source, mask = pad(SOURCE, 3, "right")
    plain = model(input_ids=source, attention_mask=mask, decoder_input_ids=TARGET).logits
    past, steps = None, []
    for index in range(TARGET.shape[1]):
        step = model(
            input_ids=source,
            attention_mask=mask,
            decoder_input_ids=TARGET[:, index : index + 1],
            past_key_values=past,
            use_cache=True,
        )
        past = step.past_key_values
        steps.append(step.logits)
    assert_close(torch.cat(steps, dim=1), plain)


@torch.no_grad()
@every_variant
def test_a_cache_changes_nothing_for_left_padded_prompts_read_in_chunks(variant):
    model = build(variant)
    plain = model(input_ids=SOURCE, decoder_input_ids=TARGET).logits
    target, mask = pad(TARGET, 4, "left")
    past, chunks = None, []
    for start, end in pairwise([0, 7, 10, 13]):
        chunk = model(
            input_ids=SOURCE,
            decoder_input_ids=target[:, start:end],
            decoder_attention_mask=mask[:, :end],
            past_key_values=past,
            use_cache=True,
        )
        past = chunk.past_key_values
        chunks.append(chunk.logits)
    assert_close(torch.cat(chunks, dim=1)[:, 4:], plain)


@every_variant
def test_generation_is_the_same_with_and_without_a_cache_and_with_a_static_one(variant):
    model = build(variant)
    source, mask = pad(SOURCE, 3, "left")
    settings = {"attention_mask": mask, "max_new_tokens": 12, "min_new_tokens": 12}
    written = model.generate(source, **settings)
    assert written.shape == (3, 13)
    assert torch.equal(model.generate(source, **settings, use_cache=False), written)
    assert torch.equal(model.generate(source, **settings, cache_implementation="static"), written)


@every_variant
def test_rows_of_a_batch_are_written_as_if_alone(variant):
    """Sources and prompts of different lengths, padded on the left."""
    model = build(variant)
    sources = [SOURCE[:1], SOURCE[1:2, :6]]
    prompts = [F.pad(TARGET[:1, :5], (1, 0), value=1), F.pad(TARGET[1:2, :2], (1, 0), value=1)]
    settings = {"max_new_tokens": 8, "min_new_tokens": 8}
    alone = [model.generate(s, decoder_input_ids=p, **settings)[:, p.shape[1] :] for s, p in zip(sources, prompts)]

    short_source, short_mask = pad(sources[1], 5, "left")
    short_prompt, short_prompt_mask = pad(prompts[1], 3, "left")
    together = model.generate(
        torch.cat([sources[0], short_source]),
        attention_mask=torch.cat([torch.ones_like(sources[0]), short_mask]),
        decoder_input_ids=torch.cat([prompts[0], short_prompt]),
        decoder_attention_mask=torch.cat([torch.ones_like(prompts[0]), short_prompt_mask]),
        **settings,
    )
    assert torch.equal(together[:, 6:], torch.cat(alone))


@torch.no_grad()
@every_variant
def test_a_later_token_does_not_change_an_earlier_prediction(variant):
    model = build(variant)
    other = TARGET.clone()
    other[:, 5:] = tokens(3, 4, seed=2)
    first = model(input_ids=SOURCE, decoder_input_ids=TARGET).logits
    second = model(input_ids=SOURCE, decoder_input_ids=other).logits
    assert_close(first[:, :5], second[:, :5])
    assert (first[:, 5:] - second[:, 5:]).abs().max() > 0.1


# ----------------------------------------------------------------------------------------------------------- attention


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "flex_attention"])
@every_variant
def test_every_kind_of_attention_agrees_with_the_one_written_out(variant, attention):
    source, source_mask = pad(SOURCE, 5, "right")
    target, target_mask = pad(TARGET, 4, "left")
    masks = {"attention_mask": source_mask, "decoder_attention_mask": target_mask}
    eager, other = (
        build(variant, attention=each)(input_ids=source, decoder_input_ids=target, **masks).logits[:, 4:]
        for each in ("eager", attention)
    )
    assert_close(eager, other)


@pytest.mark.parametrize("variant", ["tiny", "alibi"])
def test_flash_attention_is_refused_where_positions_are_a_bias(variant):
    message = "flash attention cannot add the bias of (relative|alibi) positions to its scores; use attn_implementation"
    with pytest.raises(ValueError, match=message):
        build(variant, attention="flash_attention_2")
    with pytest.raises(ValueError, match=message):
        build(variant).set_attn_implementation("flash_attention_2")


def test_flash_attention_elsewhere_is_a_matter_of_installing_it():
    with pytest.raises(ImportError, match="FlashAttention2 doesn't seem to be installed"):
        build("base", attention="flash_attention_2")


@torch.no_grad()
@every_attention
def test_grouped_queries_equal_full_attention_with_repeated_keys_and_values(attention):
    grouped = build("base", attention=attention, num_key_value_heads=2)
    full = build("base", attention=attention)
    weights = grouped.state_dict()
    for name, tensor in weights.items():
        if "k_proj" in name or "v_proj" in name:
            heads = tensor.view(2, 8, *tensor.shape[1:])
            weights[name] = heads.repeat_interleave(2, dim=0).reshape(-1, *tensor.shape[1:])
    full.load_state_dict(weights)
    assert_close(
        grouped(input_ids=SOURCE, decoder_input_ids=TARGET).logits,
        full(input_ids=SOURCE, decoder_input_ids=TARGET).logits,
    )


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bool, torch.long, torch.float])
@every_attention
@pytest.mark.parametrize("variant", ["tiny", "base", "full", "small", "alibi"])
def test_two_texts_behind_a_block_mask_are_encoded_as_if_alone(variant, attention, dtype):
    """A mask over pairs of tokens and explicit positions: what packing, K-BERT and GraphCodeBERT need."""
    model = build(variant, ElixirCoderEncoderModel, attention)
    first, second = SOURCE[:1], TARGET[:1]
    alone = torch.cat([model(first).last_hidden_state, model(second).last_hidden_state], dim=1)

    is_visible = torch.block_diag(torch.ones(11, 11), torch.ones(9, 9)).bool()[None]
    mask = is_visible.to(dtype)
    if dtype == torch.float:  # added to the scores
        mask = torch.zeros(is_visible.shape).masked_fill(~is_visible, -math.inf)
    positions = torch.cat([torch.arange(11), torch.arange(9)])[None]
    ids = torch.cat([first, second], dim=1)
    assert_close(model(ids, attention_mask=mask, position_ids=positions).last_hidden_state, alone)
    assert_close(model(ids, attention_mask=mask[:, None], position_ids=positions).last_hidden_state, alone)


@torch.no_grad()
@every_variant
def test_a_mask_over_pairs_that_only_hides_padding_is_the_plain_mask(variant):
    model = build(variant, ElixirCoderForMultiTask)
    source, mask = pad(SOURCE, 4, "left")
    pairs = mask[:, None, :].expand(-1, source.shape[1], -1)
    plain = model(input_ids=source, attention_mask=mask, decoder_input_ids=TARGET)
    masked = model(input_ids=source, attention_mask=pairs, decoder_input_ids=TARGET)
    assert_close(masked.logits, plain.logits)
    assert_close(masked.quality_logits, plain.quality_logits)


# ----------------------------------------------------------------------------------------------------------- positions


def test_the_slopes_of_alibi_are_those_of_bloom():
    for num_heads in (1, 2, 3, 4, 6, 8, 12, 16, 20):
        mask = torch.ones(1, 9)
        bloom = build_alibi_tensor(mask, num_heads, torch.float32).view(num_heads, 1, 9)
        ours = ElixirCoderAlibiPositions(num_heads).between(torch.tensor([[8]]), torch.arange(9)[None])
        assert_close(ours, (bloom - bloom[..., -1:])[None])  # Bloom leaves out what is the same for all keys


def test_alibi_grows_with_the_distance_both_ways():
    bias = ElixirCoderAlibiPositions(2).between(torch.tensor([[1]]), torch.arange(4)[None])
    assert bias.tolist() == [[[[-0.0625, 0.0, -0.0625, -0.125]], [[-0.00390625, 0.0, -0.00390625, -0.0078125]]]]


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "default", "rope_theta": 100.0},
        {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0},
        {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ],
    ids=lambda rope: rope["rope_type"],
)
def test_heads_are_turned_as_llama_turns_them(rope):
    shape = {"num_attention_heads": 2, "hidden_size": 32, "max_position_embeddings": 512}
    llama = LlamaRotaryEmbedding(LlamaConfig(**shape, rope_parameters=dict(rope)))
    config = ElixirCoderConfig(**SHAPE | {"head_dim": 16, "position_embedding_type": "rotary", "rope_parameters": rope})
    positions = torch.tensor([[0, 1, 7, 300], [5, 6, 7, 8]])
    query, key = torch.randn(2, 2, 4, 16), torch.randn(2, 2, 4, 16)
    expected = apply_rotary_pos_emb(query, key, *llama(query, positions))
    rotation = ElixirCoderRotaryPositions(config)(positions, torch.float32)
    assert_close(rotate(query, rotation), expected[0])
    assert_close(rotate(key, rotation), expected[1])


def test_a_rotated_product_depends_on_the_distance_alone():
    positions = ElixirCoderRotaryPositions(ElixirCoderConfig(**SHAPE | VARIANTS["small"]))
    query, key = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)

    def product(query_position, key_position):
        turned = (
            rotate(heads, positions(torch.tensor([[position]]), torch.float32))
            for heads, position in ((query, query_position), (key, key_position))
        )
        return math.prod(turned).sum()

    assert_close(product(3, 5), product(23, 25))
    assert (product(3, 5) - product(3, 6)).abs() > 1e-3


def test_a_cast_model_turns_by_the_same_angles():
    config = ElixirCoderConfig(**SHAPE | VARIANTS["small"] | {"max_position_embeddings": 4096})
    positions = torch.tensor([[4000]])
    plain = ElixirCoderRotaryPositions(config)(positions, torch.float32)
    cast = ElixirCoderRotaryPositions(config).to(torch.bfloat16)(positions, torch.float32)
    assert torch.equal(torch.stack(plain), torch.stack(cast))


def test_sinusoids_are_sines_then_cosines_even_far_out():
    table = build("base", max_position_embeddings=4096).model.encoder.embed_positions.weight
    assert table.shape == (4096, 32)
    for position, index in [(0, 0), (1, 3), (4095, 0), (4095, 9)]:
        angle = position / 10000 ** (2 * index / 32)
        assert table[position, index].item() == pytest.approx(math.sin(angle), abs=1e-7)
        assert table[position, 16 + index].item() == pytest.approx(math.cos(angle), abs=1e-7)


def test_sinusoids_are_not_saved_and_are_there_after_loading(tmp_path):
    model = build("base")
    model.save_pretrained(tmp_path)
    assert not [name for name in saved_names(tmp_path) if "embed_positions" in name]
    for dtype in (torch.float32, torch.bfloat16):
        again = ElixirCoderForConditionalGeneration.from_pretrained(tmp_path, dtype=dtype)
        for stack in (again.model.encoder, again.model.decoder):
            expected = model.model.encoder.embed_positions.weight.to(stack.embed_positions.weight.dtype)
            assert torch.equal(stack.embed_positions.weight, expected)


@torch.no_grad()
@every_variant
def test_a_sequence_longer_than_the_model_reads_is_refused(variant):
    model = build(variant)
    with pytest.raises(ValueError, match="the sequence has 65 tokens, more than max_position_embeddings=64"):
        model(input_ids=tokens(1, 65), decoder_input_ids=TARGET[:1])
    past = model(input_ids=SOURCE, decoder_input_ids=tokens(3, 60), use_cache=True).past_key_values
    with pytest.raises(ValueError, match="the sequence has 69 tokens"):
        model(input_ids=SOURCE, decoder_input_ids=TARGET, past_key_values=past)


# -------------------------------------------------------------------------------------------------- outputs and inputs


@pytest.mark.parametrize("model_class", CLASSES)
def test_a_tuple_holds_what_the_output_object_holds(model_class):
    model = build("tiny", model_class)
    whole = model(SOURCE)
    parts = model(SOURCE, return_dict=False)
    assert isinstance(parts, tuple)
    for part, value in zip(parts, whole.to_tuple(), strict=True):
        if isinstance(value, torch.Tensor):
            assert torch.equal(part, value)


@every_variant
def test_attentions_and_hidden_states_come_on_request(variant):
    model = build(variant, attention="eager")
    out = model(input_ids=SOURCE, decoder_input_ids=TARGET, output_attentions=True, output_hidden_states=True)
    encoder_heads, heads = model.config.encoder_attention_heads, model.config.decoder_attention_heads
    assert [tuple(each.shape) for each in out.encoder_attentions] == [(3, encoder_heads, 11, 11)] * 2
    assert [tuple(each.shape) for each in out.decoder_attentions] == [(3, heads, 9, 9)] * 2
    assert [tuple(each.shape) for each in out.cross_attentions] == [(3, heads, 9, 11)] * 2
    assert [tuple(each.shape) for each in out.encoder_hidden_states] == [(3, 11, 32)] * 3
    assert [tuple(each.shape) for each in out.decoder_hidden_states] == [(3, 9, 32)] * 3
    assert_close(out.cross_attentions[0].sum(-1), torch.ones(3, heads, 9))
    assert torch.equal(out.encoder_hidden_states[-1], out.encoder_last_hidden_state)


@torch.no_grad()
@every_variant
def test_embeddings_may_be_given_instead_of_tokens(variant):
    model = build(variant)
    embed = model.get_input_embeddings()
    given = model(inputs_embeds=embed(SOURCE), decoder_inputs_embeds=embed(TARGET)).logits
    assert_close(given, model(input_ids=SOURCE, decoder_input_ids=TARGET).logits)


@torch.no_grad()
def test_encoder_outputs_may_be_given_instead_of_a_source():
    model = build()
    source, mask = pad(SOURCE, 4, "right")
    states = model.get_encoder()(input_ids=source, attention_mask=mask)
    whole = model(input_ids=source, attention_mask=mask, decoder_input_ids=TARGET).logits
    for given in (states, (states.last_hidden_state,)):
        assert torch.equal(model(encoder_outputs=given, attention_mask=mask, decoder_input_ids=TARGET).logits, whole)


def test_both_or_neither_of_tokens_and_embeddings_is_an_error():
    model = build(model_class=ElixirCoderEncoderModel)
    for wrong in ({}, {"input_ids": SOURCE, "inputs_embeds": torch.zeros(3, 11, 32)}):
        with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds"):
            model(**wrong)
    with pytest.raises(ValueError, match="give decoder_input_ids, or input_ids"):
        build()(inputs_embeds=torch.zeros(3, 11, 32))


# ------------------------------------------------------------------------------------------------------- loss, training


def test_labels_are_read_shifted_right_and_predicted_where_they_stand():
    assert shift_tokens_right(torch.tensor([[5, 6, -100]]), 0, 1).tolist() == [[1, 5, 6]]
    assert shift_tokens_right(torch.tensor([[5, -100, -100]]), 0, 1).tolist() == [[1, 5, 0]]


@torch.no_grad()
def test_the_loss_is_the_mean_over_labels_that_count():
    model = build()
    labels = TARGET.clone()
    labels[0, 4:] = -100
    out = model(input_ids=SOURCE, labels=labels)
    log_p = out.logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    expected = -log_p[labels != -100].mean()
    assert_close(out.loss, expected)
    assert_close(model(input_ids=SOURCE, labels=labels, num_items_in_batch=44).loss, expected * 22 / 44)


@torch.no_grad()
def test_parts_of_a_batch_add_up_to_the_loss_of_the_whole():
    """Rows of 9, 4 and 9 labels: the parts weigh by their tokens."""
    model = build(model_class=ElixirCoderForConditionalGeneration)
    labels = TARGET.clone()
    labels[1, 4:] = -100
    whole = model(input_ids=SOURCE, labels=labels).loss
    parts = sum(
        model(input_ids=SOURCE[rows], labels=labels[rows], num_items_in_batch=torch.tensor(22)).loss
        for rows in (slice(0, 1), slice(1, 3))
    )
    assert_close(parts, whole)


@every_variant
def test_recomputing_activations_gives_the_same_gradients(variant):
    model = build(variant, ElixirCoderForMultiTask).train()
    source, mask = pad(SOURCE, 4, "right")
    inputs = {"input_ids": source, "attention_mask": mask, "labels": TARGET, **judgements()}
    model(**inputs).loss.backward()
    plain = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    # its name before transformers 5.23 is the second, of which that one warns
    (getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable)()
    model(**inputs).loss.backward()
    for name, parameter in model.named_parameters():
        assert_close(parameter.grad, plain[name])


@every_variant
def test_a_training_step_compiles_to_one_graph(variant):
    model = build(variant, model_class=ElixirCoderForMultiTask).train()
    source, mask = pad(SOURCE, 4, "right")
    inputs = {"input_ids": source, "attention_mask": mask, "labels": TARGET, **judgements()}
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert_close(compiled(**inputs).loss, model(**inputs).loss)


@every_variant
def test_every_weight_gets_a_gradient(variant):
    model = build(variant, ElixirCoderForMultiTask).train()
    model(input_ids=SOURCE, labels=TARGET, **judgements()).loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_few_steps_learn_a_target_by_heart():
    model = build(attention="sdpa").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = model(input_ids=SOURCE, labels=TARGET).loss
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    assert torch.equal(model.eval().generate(SOURCE, max_new_tokens=9)[:, 1:], TARGET)


@pytest.mark.parametrize("name", ["dropout", "attention_dropout", "activation_dropout"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_each_dropout_drops_in_training_only(name, attention):
    model = build("base", attention=attention, **{name: 0.5})
    first, second = (model(input_ids=SOURCE, decoder_input_ids=TARGET).logits for _ in range(2))
    assert torch.equal(first, second)
    model.train()
    first, second = (model(input_ids=SOURCE, decoder_input_ids=TARGET).logits for _ in range(2))
    assert (first - second).abs().max() > 1e-3


# ------------------------------------------------------------------------------------------------------ half precision


@torch.no_grad()
@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@every_variant
def test_half_precision_stays_near_the_whole_one(variant, attention, dtype, tolerance):
    model = build(variant, attention=attention)
    source, mask = pad(SOURCE, 5, "left")
    inputs = {"input_ids": source, "attention_mask": mask, "decoder_input_ids": TARGET}
    whole = model(**inputs).logits
    half = model.to(dtype)(**inputs).logits
    assert half.dtype == dtype
    assert (half.float() - whole).abs().max() < tolerance * whole.std()


@torch.no_grad()
@every_attention
@every_variant
def test_float16_bears_states_that_outgrow_its_range(variant, attention):
    """Post-norm states start afresh in every layer; pre-norm ones add up, here to far more than 65,504."""
    model = build(variant, attention=attention).half()
    for stack in (model.model.encoder, model.model.decoder):
        for layer in stack.layers:
            layer.fc2.weight.mul_(2000)
    source, mask = pad(SOURCE, 5, "left")
    logits = model(input_ids=source, attention_mask=mask, decoder_input_ids=TARGET).logits
    assert logits.isfinite().all()


# -------------------------------------------------------------------------------------------- initial weights, saving


@every_variant
def test_new_weights_have_the_spread_of_the_configuration(variant):
    torch.manual_seed(0)
    model = ElixirCoderForMultiTask(ElixirCoderConfig(**SHAPE | VARIANTS[variant] | {"init_std": 0.05}))
    for name, parameter in model.named_parameters():
        if "norm" in name:
            assert (parameter == float(name.endswith("weight"))).all(), name
        elif name.endswith(("bias", "gate")):
            assert (parameter == 0).all(), name
        elif parameter.numel() > 500:
            assert parameter.std().item() == pytest.approx(0.05, rel=0.15), name


@pytest.mark.parametrize(
    "method, spread",
    [
        ("xavier_uniform", lambda fan_in, fan_out: (2 / (fan_in + fan_out)) ** 0.5),
        ("xavier_normal", lambda fan_in, fan_out: (2 / (fan_in + fan_out)) ** 0.5),
        ("kaiming_uniform", lambda fan_in, fan_out: (2 / fan_in) ** 0.5),
        ("kaiming_normal", lambda fan_in, fan_out: (2 / fan_in) ** 0.5),
    ],
)
@pytest.mark.parametrize("tie", [True, False])
def test_linear_layers_start_as_the_configuration_says(method, spread, tie):
    torch.manual_seed(0)
    changes = {"init_method": method, "init_std": 0.05, "tie_word_embeddings": tie, "encoder_ffn_dim": 700}
    model = ElixirCoderForConditionalGeneration(ElixirCoderConfig(**SHAPE | changes))
    weight = model.model.encoder.layers[0].fc1.weight
    expected = spread(32, 700)
    assert weight.std().item() == pytest.approx(expected, rel=0.05)
    is_uniform = method.endswith("uniform")
    assert (weight.abs().max() <= expected * 3**0.5 * (1 + 1e-6)) == is_uniform
    assert model.model.shared.weight.std().item() == pytest.approx(0.05, rel=0.05)
    assert model.lm_head.weight.std().item() == pytest.approx(0.05, rel=0.05)


def saved_names(folder):
    with safe_open(folder / "model.safetensors", "pt") as file:
        return set(file.keys())


def storages(model):
    return {name: p.data_ptr() for name, p in model.named_parameters(remove_duplicate=False)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@every_variant
def test_a_saved_model_is_loaded_as_it_was(variant, dtype, tmp_path):
    model = build(variant, ElixirCoderForMultiTask, separate_decoder_heads=["explanation"]).to(dtype)
    model.save_pretrained(tmp_path)
    again, info = ElixirCoderForMultiTask.from_pretrained(tmp_path, dtype=dtype, output_loading_info=True)
    assert not any(info.values())
    assert json.loads(again.config.to_json_string()) == json.loads(model.config.to_json_string())
    for (name, a), (_, b) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    assert torch.equal(
        model(input_ids=SOURCE, decoder_input_ids=TARGET).logits,
        again(input_ids=SOURCE, decoder_input_ids=TARGET).logits,
    )


@pytest.mark.parametrize("variant", ["tiny", "full"])
def test_tied_weights_are_one_tensor_in_memory_and_in_the_file(variant, tmp_path):
    build(variant).save_pretrained(tmp_path)
    names = saved_names(tmp_path)
    assert "model.shared.weight" in names
    assert not {name for name in names if "embed_tokens" in name or "lm_head" in name}
    places = storages(ElixirCoderForConditionalGeneration.from_pretrained(tmp_path))
    one = places["model.shared.weight"]
    assert places["model.encoder.embed_tokens.weight"] == places["model.decoder.embed_tokens.weight"] == one
    assert places["lm_head.weight"] == one
    if variant == "full":
        assert "model.decoder.embed_positions.weight" not in names
        assert places["model.decoder.embed_positions.weight"] == places["model.encoder.embed_positions.weight"]


def test_untying_frees_the_head_alone(tmp_path):
    build(tie_word_embeddings=False).save_pretrained(tmp_path)
    names = saved_names(tmp_path)
    assert {"model.shared.weight", "lm_head.weight"} <= names
    assert not {name for name in names if "embed_tokens" in name}
    places = storages(ElixirCoderForConditionalGeneration.from_pretrained(tmp_path))
    assert places["model.encoder.embed_tokens.weight"] == places["model.shared.weight"] != places["lm_head.weight"]
    assert places["model.decoder.embed_tokens.weight"] == places["model.shared.weight"]


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("model_class", CLASSES)
def test_every_class_reads_a_multi_task_checkpoint_without_a_word(model_class, tie, tmp_path, capfd):
    whole = build("full", ElixirCoderForMultiTask, tie_word_embeddings=tie, separate_decoder_heads=["explanation"])
    whole.save_pretrained(tmp_path)
    capfd.readouterr()
    model, info = model_class.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert "LOAD REPORT" not in "".join(capfd.readouterr())
    weights = whole.state_dict() | whole.model.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    assert_close(model.encode(SOURCE), whole.encode(SOURCE))


def test_a_checkpoint_without_heads_says_which_are_new(tmp_path):
    build().save_pretrained(tmp_path)
    _, info = ElixirCoderForMultiTask.from_pretrained(tmp_path, output_loading_info=True)
    assert {name.split(".")[0] for name in info["missing_keys"]} == {
        "quality_head",
        "security_head",
        "clarification_head",
    }


@pytest.mark.parametrize("model_class", CLASSES)
def test_an_input_table_that_a_folder_lacks_is_reported_and_made_anew(model_class, tmp_path):
    build("full", model_class).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    (table,) = [name for name in weights if name.endswith("shared.weight")]
    del weights[table]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model, info = model_class.from_pretrained(tmp_path, output_loading_info=True)
    assert table in info["missing_keys"]
    assert model.get_input_embeddings().weight.std().item() == pytest.approx(model.config.init_std, rel=0.1)


@pytest.mark.parametrize("other", ["model.decoder.embed_tokens.weight", "lm_head.weight"])
def test_an_input_table_that_a_folder_has_under_another_name_is_read(other, tmp_path):
    model = build("full")
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights[other] = weights.pop("model.shared.weight")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    again, info = ElixirCoderForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert torch.equal(again.model.shared.weight, model.model.shared.weight)


def test_position_tables_are_declared_tied_only_where_they_are_one():
    shared = "decoder.embed_positions.weight"
    assert shared in build("full", ElixirCoderModel)._tied_weights_keys
    assert shared not in build("bart", ElixirCoderModel)._tied_weights_keys


# ---------------------------------------------------------------------------------------------------------- generation


@pytest.mark.parametrize("model_class", [ElixirCoderForConditionalGeneration, ElixirCoderForMultiTask])
def test_greedy_search_takes_the_likeliest_token_each_time(model_class):
    model = build(model_class=model_class)
    written = model.generate(SOURCE, max_new_tokens=6, min_new_tokens=6)
    logits = model(input_ids=SOURCE, decoder_input_ids=written).logits
    logits[..., 2] = -math.inf  # the end may not come yet
    assert torch.equal(logits[:, :-1].argmax(-1), written[:, 1:])


def test_sampling_repeats_with_its_seed_and_differs_without():
    model = build()
    settings = {"do_sample": True, "temperature": 1.5, "max_new_tokens": 12}

    def sample(seed):
        torch.manual_seed(seed)
        return model.generate(SOURCE, **settings).tolist()

    assert sample(1) == sample(1) != sample(2)


def test_beams_find_a_likelier_text_than_greedy_search():
    model = build()
    settings = {"max_new_tokens": 8, "min_new_tokens": 8}

    def log_likelihood(written):
        logits = model(input_ids=SOURCE, decoder_input_ids=written[:, :-1]).logits
        logits[..., 2] = -math.inf
        return logits.log_softmax(-1).gather(-1, written[:, 1:, None]).sum(dim=(1, 2))

    greedy = model.generate(SOURCE, **settings)
    beams = model.generate(SOURCE, num_beams=6, **settings)
    assert (log_likelihood(beams) >= log_likelihood(greedy) - 1e-4).all()
    assert not torch.equal(greedy, beams)
    assert model.generate(SOURCE, num_beams=4, num_return_sequences=3, **settings).shape[0] == 9


@torch.no_grad()
@pytest.mark.parametrize("model_class", [ElixirCoderForConditionalGeneration, ElixirCoderForMultiTask])
def test_logits_can_be_had_for_the_last_tokens_alone(model_class):
    model = build(model_class=model_class)
    whole = model(input_ids=SOURCE, decoder_input_ids=TARGET).logits
    assert_close(model(input_ids=SOURCE, decoder_input_ids=TARGET, logits_to_keep=2).logits, whole[:, -2:])
    some = model(input_ids=SOURCE, decoder_input_ids=TARGET, logits_to_keep=torch.tensor([0, 3])).logits
    assert_close(some, whole[:, [0, 3]])


def test_generate_works_out_the_logits_of_one_token_of_a_prompt():
    model = build()
    lengths = []
    model.lm_head.register_forward_hook(lambda module, inputs, output: lengths.append(output.shape[1]))
    model.generate(SOURCE, decoder_input_ids=TARGET, max_new_tokens=3, min_new_tokens=3)
    assert lengths == [1, 1, 1]


@pytest.fixture(scope="module")
def tokenizer():
    """Bytes and a few special tokens."""
    special = ["<pad>", "<s>", "</s>", "<unk>", "<code>", "<explanation>"]
    vocabulary = {token: index for index, token in enumerate(special + sorted(pre_tokenizers.ByteLevel.alphabet()))}
    bytes_only = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=bytes_only, additional_special_tokens=special[4:], **names)


def test_text_streams_in_pieces_that_add_up(tokenizer):
    model = build(vocab_size=len(tokenizer))
    inputs = tokenizer("<code>def area", return_tensors="pt", return_token_type_ids=False)
    settings = {"max_new_tokens": 20, "min_new_tokens": 20}
    streamer = TextIteratorStreamer(tokenizer, skip_special_tokens=True, timeout=60)
    thread = Thread(target=model.generate, kwargs={**inputs, **settings, "streamer": streamer})
    thread.start()
    pieces = list(streamer)
    thread.join()
    whole = tokenizer.decode(model.generate(**inputs, **settings)[0], skip_special_tokens=True)
    assert "".join(pieces) == whole


# ------------------------------------------------------------------------------------------------------------ pipeline


@pytest.fixture(scope="module")
def pipe(tokenizer):
    model = build(vocab_size=len(tokenizer), separate_decoder_heads=["explanation"])
    return ElixirCoderText2TextPipeline(model=model, tokenizer=tokenizer, device="cpu", max_new_tokens=8)


def test_the_pipeline_reads_the_task_token_the_text_and_the_end(pipe, tokenizer):
    code, explanation = tokenizer.convert_tokens_to_ids(["<code>", "<explanation>"])
    text = tokenizer("ab", add_special_tokens=False).input_ids
    source = pipe.preprocess("ab", prefix="<explanation>")
    assert source["input_ids"].tolist() == [[explanation, *text, 2]]
    assert source["decoder_input_ids"].tolist() == [[1]]
    assert pipe.preprocess("ab" * 99, prefix="<explanation>", truncation=True)["input_ids"].shape == (1, 64)
    code_to_continue = pipe.preprocess("ab")
    assert code_to_continue["input_ids"].tolist() == [[code, 2]]
    assert code_to_continue["decoder_input_ids"].tolist() == [[1, *text]]


def test_the_pipeline_gives_the_decoder_the_end_of_a_long_text(pipe, tokenizer):
    text = "abcdefgh" * 20
    ids = tokenizer(text, add_special_tokens=False).input_ids
    inputs = pipe.preprocess(text)
    assert inputs["input_ids"][0, 1:-1].tolist() + inputs["decoder_input_ids"][0, 1:].tolist() == ids
    assert inputs["decoder_input_ids"].shape == (1, 129)


def test_the_pipeline_writes_what_generate_writes(pipe, tokenizer):
    inputs = pipe.preprocess("def area")
    written = pipe.model.generate(**inputs, max_new_tokens=8)[0, inputs["decoder_input_ids"].shape[1] :]
    assert pipe("def area") == [{"generated_text": tokenizer.decode(written, skip_special_tokens=True)}]
    assert pipe("def area", return_tensors=True)[0]["generated_token_ids"].tolist() == written.tolist()


def test_the_pipeline_takes_lists_batches_and_settings_of_generate(pipe):
    texts = ["def area", "defmodule Stack do", "x"]
    alone = [pipe(text)[0] for text in texts]
    assert pipe(texts) == alone
    assert pipe(texts, batch_size=2) == alone
    assert [len(each) for each in pipe(texts, num_beams=3, num_return_sequences=2)] == [2, 2, 2]
    assert pipe("def area", decoder_head="explanation") != pipe("def area")


# ----------------------------------------------------------------------------------------------- separate decoder heads


@pytest.mark.parametrize("model_class", [ElixirCoderForConditionalGeneration, ElixirCoderForMultiTask])
def test_a_decoder_head_of_its_own_writes_what_its_matrix_says(model_class):
    model = build(model_class=model_class, separate_decoder_heads=["question", "explanation"])
    states = model.model(input_ids=SOURCE, decoder_input_ids=TARGET).last_hidden_state
    out = model(input_ids=SOURCE, decoder_input_ids=TARGET, decoder_head="explanation")
    assert torch.equal(out.logits, states @ model.task_heads["explanation"].weight.T)
    for settings in ({}, {"num_beams": 3}, {"do_sample": True, "top_k": 1}, {"use_cache": False}):
        written = model.generate(SOURCE, decoder_head="explanation", max_new_tokens=6, min_new_tokens=6, **settings)
        assert not torch.equal(written, model.generate(SOURCE, max_new_tokens=6, min_new_tokens=6, **settings))
    logits = model(input_ids=SOURCE, decoder_input_ids=written, decoder_head="explanation").logits
    logits[..., 2] = -math.inf
    assert torch.equal(logits[:, :-1].argmax(-1), written[:, 1:])


def test_a_decoder_head_that_is_not_there_is_an_error_with_those_that_are():
    model = build(separate_decoder_heads=["question", "explanation"])
    with pytest.raises(ValueError, match=r"no decoder head called 'test'; .*: question, explanation"):
        model.generate(SOURCE, decoder_head="test", max_new_tokens=2)
    with pytest.raises(ValueError, match="separate_decoder_heads: none"):
        build()(input_ids=SOURCE, decoder_input_ids=TARGET, decoder_head="test")


def test_a_decoder_head_learns_alone():
    model = build(separate_decoder_heads=["explanation"])
    model(input_ids=SOURCE, labels=TARGET, decoder_head="explanation").loss.backward()
    assert model.task_heads["explanation"].weight.grad.any()


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("size", [110, 80])
def test_the_vocabulary_can_be_resized_with_all_its_heads(size, tie, tmp_path):
    model = build("bart", ElixirCoderForMultiTask, tie_word_embeddings=tie, separate_decoder_heads=["explanation"])
    before = model(input_ids=SOURCE % 80, decoder_input_ids=TARGET % 80).logits
    model.resize_token_embeddings(size, mean_resizing=False)
    out = model(input_ids=SOURCE % 80, decoder_input_ids=TARGET % 80)
    assert_close(out.logits[..., :80], before[..., :80])
    assert out.logits.shape[-1] == model.config.vocab_size == size
    head = model(input_ids=SOURCE % 80, decoder_input_ids=TARGET % 80, decoder_head="explanation")
    assert head.logits.shape[-1] == size
    model.generate(SOURCE % 80, decoder_head="explanation", max_new_tokens=3)

    places = storages(model)
    assert (places["lm_head.weight"] == places["model.shared.weight"]) == tie
    assert places["model.decoder.embed_tokens.weight"] == places["model.shared.weight"]
    model.save_pretrained(tmp_path)
    again = ElixirCoderForMultiTask.from_pretrained(tmp_path)
    assert torch.equal(again(input_ids=SOURCE % 80, decoder_input_ids=TARGET % 80).logits, out.logits)


# ---------------------------------------------------------------------------------------------------- heads that judge


def judgements():
    generator = torch.Generator().manual_seed(3)
    return {
        "quality_labels": torch.randint(0, 2, (3, 3), generator=generator),
        "security_labels": torch.randint(0, 2, (3, 2), generator=generator),
        "clarification_labels": torch.tensor([1, 0, 1]),
    }


@torch.no_grad()
def test_one_forward_writes_judges_and_sums_the_losses_by_weight():
    model = build(model_class=ElixirCoderForMultiTask, loss_weights={"quality": 0.25, "clarification": 2.0})
    out = model(input_ids=SOURCE, labels=TARGET, **judgements())
    assert out.logits.shape == (3, 9, 97)
    assert out.quality_logits.shape == (3, 3)
    assert out.security_logits.shape == (3, 2)
    assert out.clarification_logits.shape == (3,)
    parts = out.generation_loss + 0.25 * out.quality_loss + 0.5 * out.security_loss + 2.0 * out.clarification_loss
    assert_close(out.loss, parts)
    expected = F.binary_cross_entropy_with_logits(out.quality_logits, judgements()["quality_labels"].float())
    assert_close(out.quality_loss, expected)
    assert_close(out.generation_loss, model(input_ids=SOURCE, labels=TARGET).loss)


@torch.no_grad()
def test_labels_may_be_a_slice_of_a_larger_tensor():
    model = build()
    assert_close(
        model(input_ids=SOURCE, labels=TARGET[:, 2:]).loss, model(input_ids=SOURCE, labels=TARGET[:, 2:].clone()).loss
    )


@torch.no_grad()
def test_only_the_labels_that_are_given_have_a_loss():
    model = build(model_class=ElixirCoderForMultiTask)
    out = model(input_ids=SOURCE, decoder_input_ids=TARGET, security_labels=judgements()["security_labels"])
    assert [name for name in out if name.endswith("loss")] == ["loss", "security_loss"]
    assert model(input_ids=SOURCE, decoder_input_ids=TARGET).loss is None


@torch.no_grad()
def test_an_unknown_label_has_no_say_in_the_loss():
    model = build(model_class=ElixirCoderForMultiTask)
    labels = judgements()["quality_labels"]
    labels[0] = -100
    some = model(input_ids=SOURCE, decoder_input_ids=TARGET, quality_labels=labels).quality_loss
    rest = model(input_ids=SOURCE[1:], decoder_input_ids=TARGET[1:], quality_labels=labels[1:]).quality_loss
    assert_close(some, rest)
    none = model(input_ids=SOURCE, decoder_input_ids=TARGET, quality_labels=torch.full_like(labels, -100))
    assert none.quality_loss == 0


@torch.no_grad()
def test_parts_of_an_accumulated_batch_add_up_in_every_loss():
    model = build(model_class=ElixirCoderForMultiTask)
    known = judgements()
    parts = [
        model(
            input_ids=SOURCE[rows],
            labels=TARGET[rows],
            **{name: value[rows] for name, value in known.items()},
            num_items_in_batch=27,
        )
        for rows in (slice(0, 1), slice(1, 2), slice(2, 3))
    ]
    whole = model(input_ids=SOURCE, labels=TARGET, **known)
    for name in ("loss", "generation_loss", "quality_loss", "security_loss", "clarification_loss"):
        assert_close(sum(part[name] for part in parts), whole[name])


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_change_a_judgement(side):
    model = build(model_class=ElixirCoderForMultiTask)
    source, mask = pad(SOURCE, 6, side)
    plain = model(input_ids=SOURCE, decoder_input_ids=TARGET)
    padded = model(input_ids=source, attention_mask=mask, decoder_input_ids=TARGET)
    for name in ("quality_logits", "security_logits", "clarification_logits"):
        assert_close(padded[name], plain[name])


def test_a_head_is_the_multilayer_perceptron_of_the_configuration():
    config = ElixirCoderConfig(
        **SHAPE
        | {"classifier_hidden_dims": [32, 6], "classifier_activation": "tanh", "classifier_norm": True}
        | {"classifier_residual": True}
    )
    torch.manual_seed(0)
    head = ElixirCoderClassificationHead(config, 3).eval()
    pooled = torch.randn(2, 32)
    first = pooled + torch.tanh(head.norms[0](head.dense[0](pooled)))  # widths agree: a skip connection
    second = torch.tanh(head.norms[1](head.dense[1](first)))
    assert torch.equal(head(pooled), head.out_proj(second))


def test_the_dropout_of_a_head_drops_in_training_only():
    config = ElixirCoderConfig(**SHAPE | {"classifier_dropout": 0.5})
    head = ElixirCoderClassificationHead(config, 3)
    pooled = torch.ones(2, 32)
    assert torch.equal(head.eval()(pooled), head(pooled))
    assert not torch.equal(head.train()(pooled), head(pooled))


@torch.no_grad()
def test_classification_is_both_heads_of_the_multi_task_model_side_by_side(tmp_path):
    whole = build(model_class=ElixirCoderForMultiTask)
    whole.save_pretrained(tmp_path)
    model = ElixirCoderForSequenceClassification.from_pretrained(tmp_path)
    judged = whole(input_ids=SOURCE, decoder_input_ids=TARGET)
    assert torch.equal(model(SOURCE).logits, torch.cat([judged.quality_logits, judged.security_logits], dim=-1))
    assert list(model.config.id2label.values()) == ["ModuleDoc", "Nesting", "Specs", "SQL.Query", "XSS.HTML"]
    assert model.config.problem_type == "multi_label_classification"
    assert model(SOURCE, labels=torch.ones(3, 5)).loss.shape == ()


@pytest.mark.parametrize(
    "num_labels, labels",
    [
        (4, torch.tensor([0, 3, 1])),
        (4, torch.tensor([[0.0, 1.0, 0.0, 1.0]] * 3)),
        (1, torch.tensor([0.5, 1.5, -2.0])),
    ],
    ids=["one of four", "any of four", "a number"],
)
def test_other_labels_get_a_fresh_head(num_labels, labels, tmp_path):
    build(model_class=ElixirCoderForMultiTask).save_pretrained(tmp_path)
    model, info = ElixirCoderForSequenceClassification.from_pretrained(
        tmp_path, num_labels=num_labels, problem_type=None, output_loading_info=True
    )
    assert {name.split(".")[0] for name in info["missing_keys"]} == {"classification_head"}
    logits = model(SOURCE).logits
    expected = {
        "one of four": lambda: F.cross_entropy(logits, labels),
        "any of four": lambda: F.binary_cross_entropy_with_logits(logits, labels),
        "a number": lambda: F.mse_loss(logits[:, 0], labels),
    }
    kind = "a number" if num_labels == 1 else "one of four" if labels.dim() == 1 else "any of four"
    assert_close(model(SOURCE, labels=labels).loss, expected[kind]())


def test_one_label_a_text_for_a_multi_label_problem_is_an_error_with_the_way_out():
    model = build(model_class=ElixirCoderForSequenceClassification)
    with pytest.raises(ValueError, match=r"got \(3,\); for one label a text set problem_type='single_label_class"):
        model(SOURCE, labels=torch.tensor([0, 1, 2]))


# -------------------------------------------------------------------------------------------------------------- vectors


@torch.no_grad()
@pytest.mark.parametrize("model_class", CLASSES)
def test_a_text_becomes_a_unit_vector_whatever_its_padding(model_class):
    model = build("base", model_class)
    vectors = model.encode(SOURCE)
    assert (vectors.shape, vectors.dtype) == ((3, 32), torch.float32)
    assert_close(vectors.norm(dim=-1), torch.ones(3))
    for side in ("left", "right"):
        source, mask = pad(SOURCE, 5, side)
        assert_close(model.encode(source, mask), vectors)


def test_vectors_of_a_half_precision_model_are_unit_float32():
    vectors = build("tiny", ElixirCoderEncoderModel).to(torch.bfloat16).encode(SOURCE)
    assert vectors.dtype == torch.float32
    assert_close(vectors.norm(dim=-1), torch.ones(3))


def test_a_text_of_padding_only_has_no_vector():
    mask = torch.ones_like(SOURCE)
    mask[1] = 0
    with pytest.raises(ValueError, match="sequence 1 of the batch is only padding"):
        build(model_class=ElixirCoderEncoderModel).encode(SOURCE, mask)


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
@pytest.mark.parametrize("kind", ["relative", "alibi"])
def test_consecutive_positions_add_what_each_pair_adds_and_hide_what_follows_a_decoders_query(kind, stack):
    config = ElixirCoderConfig(**SHAPE, position_embedding_type=kind)
    positions = build_positions(config, stack)
    bias = positions.consecutive(3, 4, 9, like=torch.empty(0))
    expected = positions.between(torch.arange(3, 7)[None], torch.arange(9)[None])
    if stack == "decoder":
        hidden = torch.arange(9)[None] > torch.arange(3, 7)[:, None]
        expected = expected.masked_fill(hidden, torch.finfo(torch.float32).min)
    assert torch.equal(bias, expected)


def test_gelu_new_is_that_of_transformers():
    x = torch.linspace(-8, 8, 1001)
    torch.testing.assert_close(build_activation("gelu_new")(x), ACT2FN["gelu_new"](x), atol=1e-6, rtol=0)
