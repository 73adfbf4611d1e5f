"""Models of other architectures copied into ours compute what they computed."""

import dataclasses

import pytest
import torch
from transformers import BertConfig, BertModel

from benchmarks.bench_parity import LIMIT, REFERENCES, batch, build, differences
from elixir_coder.errors import CheckpointError
from elixir_coder.release import interop
from elixir_coder.release.interop import from_transformers


@pytest.mark.parametrize("name", REFERENCES)
def test_a_copied_model_gives_the_logits_the_loss_and_the_text_of_the_original(name):
    theirs = build(name)
    found = differences(theirs, from_transformers(theirs))
    assert found["logits_std"] > 0.3  # logits that hardly vary would agree whatever the weights
    assert max(found["logits"], found["cached"], found["loss"]) < LIMIT
    assert (found["greedy"], found["beams"]) == (0, 0)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["BART", "T5 v1.1"])
def test_a_copied_model_agrees_with_both_kinds_of_attention(name, attention):
    theirs = build(name)
    ours = from_transformers(theirs)
    ours.set_attn_implementation(attention)
    inputs = batch(theirs)
    with torch.no_grad():
        assert torch.allclose(ours(**inputs).loss, theirs(**inputs).loss, atol=LIMIT)


@pytest.mark.parametrize(
    "name, change",
    [
        ("T5 v1.1", {"scale": lambda name, config: 1.0}),
        ("T5 v1.0", {"scale": lambda name, config: config.d_kv**0.5 if "q_proj" in name else 1.0}),
        ("Pegasus", {"settings": lambda config: interop._pegasus_settings(config) | {"norm_position": "post"}}),
        ("Pegasus", {"settings": lambda config: interop._pegasus_settings(config) | {"activation_function": "gelu"}}),
        ("BART", {"settings": lambda config: interop._bart_settings(config) | {"scale_embedding": False}}),
    ],
)
def test_the_comparison_notices_a_mistake_in_the_tables(name, change, monkeypatch):
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


def test_the_rows_bart_keeps_before_position_0_are_dropped():
    theirs = build("BART")
    ours = from_transformers(theirs)
    assert torch.equal(ours.model.encoder.embed_positions.weight, theirs.model.encoder.embed_positions.weight[2:])


def test_a_copy_shares_no_memory_with_the_original():
    theirs = build("T5 v1.1")
    ours = from_transformers(theirs)
    assert not {p.data_ptr() for p in ours.parameters()} & {p.data_ptr() for p in theirs.parameters()}


def test_a_copy_keeps_dtype_and_generation_settings():
    theirs = build("Pegasus").to(torch.bfloat16)
    theirs.generation_config.num_beams = 3
    ours = from_transformers(theirs)
    assert ours.dtype == torch.bfloat16
    assert ours.generation_config.num_beams == 3
    assert ours.generation_config.forced_eos_token_id == 1


def test_tied_and_untied_heads_stay_as_they_are():
    assert from_transformers(build("T5 v1.1")).config.tie_word_embeddings is False
    assert from_transformers(build("BART")).config.tie_word_embeddings is True


def test_a_head_with_a_bias_is_refused():
    theirs = build("BART")
    theirs.final_logits_bias.fill_(0.5)
    with pytest.raises(CheckpointError, match="final_logits_bias"):
        from_transformers(theirs)


def test_a_weight_without_a_place_is_named():
    theirs = build("BART")
    theirs.model.encoder.adapter = torch.nn.Linear(2, 2, bias=False)
    with pytest.raises(CheckpointError, match=r"model\.encoder\.adapter\.weight"):
        from_transformers(theirs)


def test_an_unknown_family_is_refused_with_the_known_ones():
    model = BertModel(
        BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    )
    with pytest.raises(CheckpointError, match="'bert'; known are bart, pegasus, t5"):
        from_transformers(model)
