"""Models of other architectures copied into ours, and ours into theirs, compute what they computed."""

import dataclasses

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    MarianConfig,
    MarianMTModel,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
)

from benchmarks.bench_parity import EXPORTS, LIMIT, REFERENCES, batch, build, build_ours, differences, pairs
from elixir_coder.checkpoint import ElixirCoderConfig, new_model
from elixir_coder.errors import CheckpointError
from elixir_coder.release import interop
from elixir_coder.release.interop import from_transformers, obstacles, to_transformers


@pytest.mark.parametrize("name", pairs())
def test_a_copy_gives_the_logits_the_loss_and_the_text_of_the_original(name):
    found = differences(*pairs()[name]())
    assert found["logits_std"] > 0.3  # logits that hardly vary would agree whatever the weights
    assert max(found["logits"], found["cached"], found["loss"]) < LIMIT
    assert (found["greedy"], found["beams"]) == (0, 0)


def test_every_relative_is_compared_in_both_directions():
    assert {build(name).config.model_type for name in REFERENCES} == set(interop.RELATIVES)
    assert {kind for kind, _ in EXPORTS.values()} | {"m2m_100"} == set(interop.RELATIVES)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["BART", "T5 v1.1"])
def test_a_copied_model_agrees_with_both_kinds_of_attention(name, attention):
    theirs = build(name)
    ours = from_transformers(theirs)
    ours.set_attn_implementation(attention)
    inputs = batch(theirs)
    with torch.no_grad():
        assert torch.allclose(ours(**inputs).loss, theirs(**inputs).loss, atol=LIMIT)


def test_the_decoder_reads_labels_as_the_relative_does_where_it_shifts_them_right():
    theirs = build("BART")
    inputs = batch(theirs)
    del inputs["decoder_input_ids"]
    with torch.no_grad():
        assert torch.allclose(from_transformers(theirs)(**inputs).loss, theirs(**inputs).loss, atol=LIMIT)


@pytest.mark.parametrize("name", ["M2M100", "T5 v1.1"])
def test_families_that_count_as_we_do_agree_with_padding_on_the_left_too(name):
    theirs = build(name)
    inputs = batch(theirs)
    for each in ("input_ids", "attention_mask"):
        inputs[each] = inputs[each].flip(1)
    with torch.no_grad():
        assert torch.allclose(from_transformers(theirs)(**inputs).loss, theirs(**inputs).loss, atol=LIMIT)


# ------------------------------------------------------------------------------------- the comparison sees mistakes


def _form(kind, **change):
    return {"form": interop.RELATIVES[kind].form | change}


def _unscaled(config):
    return {"activation_function": config.activation_function, "scale_embedding": False}


MISTAKES = {
    "T5's scores are not divided": ("T5 v1.1", {"scale": lambda *args: 1.0}),
    "T5's output is divided": (
        "T5 v1.0",
        {"scale": lambda name, ours, theirs: theirs.d_kv**0.5 if "q_proj" in name else 1.0},
    ),
    "pre-norm": ("Pegasus", _form("pegasus", norm_position="post")),
    "activation": ("Pegasus", {"read": lambda config: {"activation_function": "gelu"}}),
    "BART's embedding scale": ("BART", {"read": _unscaled}),
    "PLBart's embedding scale": ("PLBart", {"read": _unscaled}),
    "mBART's two rows": ("mBART", {"positions": lambda module, config: module.weight[:-2]}),
    "PLBart's two rows": ("PLBart", {"positions": lambda module, config: module.weight[:-2]}),
    "Blenderbot has none": ("Blenderbot", {"positions": lambda module, config: module.weight.roll(2, 0)}),
    "Blenderbot's norm of embeddings": ("Blenderbot", _form("blenderbot", layernorm_embedding=True)),
    "mBART's norm of embeddings": ("mBART", _form("mbart", layernorm_embedding=False)),
    "Marian is post-norm": ("Marian", _form("marian", norm_position="pre")),
    "Marian's activation": ("Marian", {"read": lambda config: {"activation_function": "gelu"}}),
    "M2M100's sinusoids": (
        "M2M100",
        {"positions": lambda module, config: interop._m2m_100_positions(module, config).roll(1, 0)},
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_the_comparison_notices_a_mistake_in_the_tables(case, monkeypatch):
    name, change = MISTAKES[case]
    theirs = build(name)
    kind = theirs.config.model_type
    monkeypatch.setitem(interop.RELATIVES, kind, dataclasses.replace(interop.RELATIVES[kind], **change))
    try:
        ours = from_transformers(theirs)
    except CheckpointError:
        return  # pre- and post-norm models do not even have the same weights
    inputs = batch(theirs)
    with torch.no_grad():
        assert (ours(**inputs).logits - theirs(**inputs).logits).abs().max() > 100 * LIMIT


@pytest.mark.parametrize("name", ["t5, as tiny", "t5, unscaled", "t5, untied"])
def test_the_comparison_notices_a_scale_that_is_not_undone_on_the_way_out(name, monkeypatch):
    ours = build_ours(name)
    monkeypatch.setitem(interop.RELATIVES, "t5", dataclasses.replace(interop.RELATIVES["t5"], scale=lambda *args: 1.0))
    inputs = batch(ours)
    with torch.no_grad():
        written = to_transformers(ours, "t5")(**inputs).logits
        assert (written - ours(**inputs).logits).abs().max() > 100 * LIMIT


# ------------------------------------------------------------------------------------------------ there and back again


@pytest.mark.parametrize("name", [*EXPORTS, "M2M100"])
def test_there_and_back_the_weights_are_the_same_bits_where_nothing_is_scaled(name):
    ours = from_transformers(build(name)) if name == "M2M100" else build_ours(name)
    kind = "m2m_100" if name == "M2M100" else EXPORTS[name][0]
    back = from_transformers(to_transformers(ours, kind))

    weights, returned = dict(ours.named_parameters()), dict(back.named_parameters())
    if name == "mbart":  # the table that both stacks share comes back as two
        assert torch.equal(
            returned.pop("model.decoder.embed_positions.weight"), weights["model.encoder.embed_positions.weight"]
        )
    rewritten = [each for each in weights if each not in returned or weights[each].shape != returned[each].shape]
    assert all("_gate" in each or "k_proj" in each or "v_proj" in each for each in rewritten)
    assert bool(rewritten) == (name in ("bart, grouped", "bart, gate", "t5, grouped"))
    assert returned.keys() <= weights.keys()
    factors = {  # a T5 comes back scaling its input when its head is tied, and only then
        "t5, unscaled": {"model.shared.weight": 48**-0.5, "model.decoder.layer_norm.weight": 48**0.5},
        "t5, untied": {"model.shared.weight": 48**0.5},
    }.get(name, {})
    for each in returned.keys() - set(rewritten):
        if kind == "t5" and ("q_proj" in each or "shared" in each or each in factors):
            assert torch.allclose(returned[each], weights[each] * factors.get(each, 1.0), rtol=1e-6, atol=0), each
        elif not (ours.config.cross_attention_gate and "encoder_attn.out_proj" in each):
            assert torch.equal(returned[each], weights[each]), each


def test_a_tied_t5_comes_in_with_the_scale_at_its_input_and_goes_out_as_it_was():
    theirs = build("T5 v1.0")
    ours = from_transformers(theirs)
    assert (ours.config.tie_word_embeddings, ours.config.scale_embedding) == (True, True)
    assert torch.allclose(ours.model.shared.weight, theirs.shared.weight * theirs.config.d_model**-0.5, rtol=1e-6)
    assert torch.equal(ours.model.decoder.layer_norm.weight, theirs.decoder.final_layer_norm.weight)

    back = to_transformers(ours, "t5")
    for (name, before), after in zip(theirs.named_parameters(), back.parameters(), strict=True):
        assert torch.allclose(before, after, rtol=1e-6, atol=0), name


def test_the_tiny_preset_goes_to_t5_and_back_bit_by_bit():
    shape = {"vocab_size": 64, "encoder_layers": 2, "decoder_layers": 1}  # of its own: 256 wide, heads of 64
    ours = new_model(ElixirCoderConfig.tiny(**shape)).to(torch.bfloat16)
    theirs = to_transformers(ours, "t5")
    assert (theirs.config.feed_forward_proj, theirs.config.dense_act_fn) == ("gated-gelu", "gelu_new")
    assert (theirs.config.tie_word_embeddings, theirs.config.scale_decoder_outputs) == (True, True)

    back = from_transformers(theirs)  # √256 and √64 are powers of two
    assert back.config.scale_embedding
    for (name, before), after in zip(ours.named_parameters(), back.parameters(), strict=True):
        assert torch.equal(before, after), name


@pytest.mark.parametrize("activation", ["gelu", "relu", "swish", "gelu_new"])
@pytest.mark.parametrize("gated", [True, False])
def test_every_activation_goes_to_t5_and_back(activation, gated):
    differences = {"activation_function": activation, "gated_ffn": gated}
    ours = new_model(
        ElixirCoderConfig.tiny(vocab_size=16, d_model=8, decoder_layers=1, encoder_layers=1, **differences)
    )
    back = from_transformers(to_transformers(ours, "t5")).config
    assert (back.activation_function, back.gated_ffn) == (activation, gated)


# --------------------------------------------------------------------------------------------------- what comes along


def test_the_rows_bart_keeps_before_position_0_are_dropped():
    theirs = build("BART")
    ours = from_transformers(theirs)
    assert torch.equal(ours.model.encoder.embed_positions.weight, theirs.model.encoder.embed_positions.weight[2:])


def test_a_table_of_positions_for_both_stacks_is_written_to_both():
    ours = build_ours("mbart")
    theirs = to_transformers(ours, "mbart")
    for stack in (theirs.model.encoder, theirs.model.decoder):
        assert torch.equal(stack.embed_positions.weight[2:], ours.model.encoder.embed_positions.weight)


@pytest.mark.parametrize("name", ["t5, as tiny", "bart", "mbart"])
def test_a_copy_shares_no_memory_with_the_original(name):
    ours = build_ours(name)
    theirs = to_transformers(ours, EXPORTS[name][0])
    back = from_transformers(theirs)
    pointers = [{p.data_ptr() for p in model.parameters()} for model in (ours, theirs, back)]
    assert not (pointers[0] & pointers[1] or pointers[1] & pointers[2])


def test_a_copy_keeps_dtype_and_generation_settings():
    theirs = build("Pegasus").to(torch.bfloat16)
    theirs.generation_config.num_beams = 3
    ours = from_transformers(theirs)
    back = to_transformers(ours, "pegasus")
    for copy in (ours, back):
        assert copy.dtype == torch.bfloat16
        assert copy.generation_config.num_beams == 3
        assert copy.generation_config.forced_eos_token_id == 1


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_token_ids_come_along_and_nothing_is_forced_that_was_not(kind):
    tokens = {"pad_token_id": 9, "bos_token_id": 8, "eos_token_id": 7, "decoder_start_token_id": 6}
    name = "bart" if kind == "bart" else "t5, as tiny"
    ours = build_ours(name)
    ours.config.update(tokens)
    ours.generation_config.update(**tokens)
    theirs = to_transformers(ours, kind)
    back = from_transformers(theirs)
    for config in (theirs.config, theirs.generation_config, back.config):
        assert {each: getattr(config, each) for each in tokens} == tokens
    assert theirs.generation_config.forced_eos_token_id is None


def test_tied_and_untied_heads_stay_as_they_are():
    assert from_transformers(build("T5 v1.1")).config.tie_word_embeddings is False
    assert from_transformers(build("BART")).config.tie_word_embeddings is True
    theirs = to_transformers(build_ours("t5, untied"), "t5")
    assert theirs.lm_head.weight is not theirs.shared.weight
    assert (theirs.config.tie_word_embeddings, theirs.config.scale_decoder_outputs) == (False, False)


def test_a_bias_on_the_output_becomes_ours_and_zeros_become_none():
    theirs = build("BART")
    assert from_transformers(theirs).config.lm_head_bias is False
    theirs.final_logits_bias.fill_(0.5)
    ours = from_transformers(theirs)
    assert torch.equal(ours.lm_head.bias, torch.full((131,), 0.5))
    assert torch.equal(to_transformers(ours, "bart").final_logits_bias, theirs.final_logits_bias)


def test_heads_that_judge_stay_behind(tiny_config):
    ours = new_model(tiny_config, "multitask")
    inputs = {"input_ids": torch.tensor([[5, 6, 2]]), "decoder_input_ids": torch.tensor([[1, 7]])}
    with torch.no_grad():
        written = to_transformers(ours.eval(), "t5")(**inputs).logits
        assert torch.allclose(written, ours(**inputs).logits, atol=LIMIT)


# ------------------------------------------------------------------------------------------------------ what cannot be


def test_a_weight_without_a_place_is_named():
    theirs = build("BART")
    theirs.model.encoder.adapter = torch.nn.Linear(2, 2, bias=False)
    with pytest.raises(CheckpointError, match=r"model\.encoder\.adapter\.weight"):
        from_transformers(theirs)


def test_two_vocabularies_are_refused():
    theirs = MarianMTModel(
        MarianConfig(
            vocab_size=16,
            decoder_vocab_size=16,
            share_encoder_decoder_embeddings=False,
            d_model=8,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=8,
            decoder_ffn_dim=8,
            pad_token_id=0,
            decoder_start_token_id=0,
        )
    )
    with pytest.raises(CheckpointError, match=r"model\.(en|de)coder\.embed_tokens\.weight and .* one table for both"):
        from_transformers(theirs)


def test_positions_that_are_not_the_computed_ones_are_refused():
    theirs = build("Pegasus")
    with torch.no_grad():
        theirs.model.decoder.embed_positions.weight[5, 3] += 0.01
    with pytest.raises(CheckpointError, match=r"not the one that its kind computes \(largest difference 1\.0e-02\)"):
        from_transformers(theirs)


def test_a_table_trained_away_from_m2m_100_does_not_go_back():
    ours = from_transformers(build("M2M100"))
    with torch.no_grad():
        ours.model.encoder.embed_positions.weight[5, 3] += 0.01
    with pytest.raises(CheckpointError, match="this model's positions are not those that m2m_100 computes"):
        to_transformers(ours, "m2m_100")


@pytest.mark.parametrize(
    "preset, changes, kind, message",
    [
        ("tiny", {}, "bart", "norm_type is 'rmsnorm', in bart 'layernorm'; .*; it can be written as t5"),
        ("tiny", {"position_embedding_type": "alibi"}, "t5", "'alibi', in t5 'relative'; no other family"),
        ("tiny", {"use_bias": True}, "t5", "use_bias is True, in t5 False; no other family"),
        ("tiny", {"lm_head_bias": True}, "t5", "lm_head_bias is True, in t5 False"),
        (
            "tiny",
            {"decoder_attention_heads": 2, "decoder_ffn_dim": 8},
            "t5",
            "encoder_attention_heads is 4 and decoder_attention_heads 2, which are one num_heads in t5;"
            " encoder_ffn_dim is 704 and decoder_ffn_dim 8, which are one d_ff in t5",
        ),
        ("base", {}, "marian", "norm_position is 'pre', in marian 'post'; it can be written as pegasus"),
        ("base", {"head_dim": 32}, "pegasus", "head_dim is 32, in pegasus d_model / encoder_attention_heads"),
        ("base", {"layer_norm_eps": 1e-6}, "pegasus", "layer_norm_eps is 1e-06, in pegasus 1e-05"),
        ("full", {}, "mbart", "layernorm_embedding is False, in mbart True; it can be written as blenderbot, m2m_100"),
        ("small", {}, "t5", "position_embedding_type is 'rotary', in t5 'relative'"),
    ],
)
def test_a_form_the_family_does_not_have_is_refused_with_those_that_have_it(preset, changes, kind, message):
    small = {"vocab_size": 16, "d_model": 144, "encoder_layers": 1, "decoder_layers": 1}
    ours = new_model(getattr(ElixirCoderConfig, preset)(**small | changes))
    with pytest.raises(CheckpointError, match=message):
        to_transformers(ours, kind)


def test_dropout_stands_in_no_way():
    config = ElixirCoderConfig.tiny(dropout=0.1, attention_dropout=0.2)
    assert obstacles(config, "t5") == []


def test_an_unknown_family_is_refused_with_the_known_ones():
    model = BertModel(
        BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    )
    known = "known are bart, blenderbot, m2m_100, marian, mbart, pegasus, plbart, t5"
    with pytest.raises(CheckpointError, match=f"'bert'; {known}"):
        from_transformers(model)
    with pytest.raises(CheckpointError, match=f"'gpt2'; {known}"):
        to_transformers(build_ours("bart"), "gpt2")


def test_half_a_model_is_refused(tiny_config):
    config = T5Config(vocab_size=8, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    with pytest.raises(CheckpointError, match="cannot copy a T5EncoderModel; load the folder as T5ForConditional"):
        from_transformers(T5EncoderModel(config))
    with pytest.raises(CheckpointError, match="a ElixirCoderModel writes nothing"):
        to_transformers(new_model(tiny_config, "base"), "t5")


def test_an_activation_we_do_not_have_is_refused_by_name():
    config = T5Config(vocab_size=8, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, feed_forward_proj="tanh")
    with pytest.raises(CheckpointError, match="this t5 model has no form of ours: activation_function must be one of"):
        from_transformers(T5ForConditionalGeneration(config))
