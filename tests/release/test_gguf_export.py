"""What stands in a GGUF file, read back and computed as llama.cpp computes it, is our model and our tokenizer.

`llama_t5` follows llama.cpp's `t5` graph step by step in plain torch and shares no code with our model;
`benchmarks/bench_runtimes.py` asks llama.cpp itself.
"""

import math
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig

from elixir_coder.checkpoint import load_model
from elixir_coder.errors import CheckpointError, MissingDependencyError
from elixir_coder.release import gguf_export
from elixir_coder.release.gguf_export import export
from tests.evaluation.small import QUEUE, STACK, small_tokenizer
from tests.release.runtime_models import named_tokenizer, save_variant, shipped_tokenizer

gguf = pytest.importorskip("gguf")

T5 = {  # what tests/test_modeling.py has smaller or different in its two stacks
    "relative_attention_max_distance": 128,
    "relative_attention_num_buckets": 32,
    "max_position_embeddings": 512,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}
FORMS = {  # beside what "tiny" has
    "tied, embeddings scaled": {"scale_embedding": True},
    "tied, embeddings as they are": {},
    "a head of its own": {"tie_word_embeddings": False, "scale_embedding": True},
    "no gate, relu": {"gated_ffn": False, "activation_function": "relu"},
    "narrow heads, more decoder": {"head_dim": 6, "decoder_layers": 3},
    "grouped heads, gated cross-attention": {"num_key_value_heads": 2, "cross_attention_gate": True},
}


@pytest.fixture
def folder(tmp_path):
    """Make a model folder of the shape of `tiny`."""
    return lambda **changes: save_variant(tmp_path / "model", "tiny", named_tokenizer(), **T5 | changes)


def read(path):
    """The fields, but for lists of the tokenizer, and the tensors (float32) of a GGUF file."""
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("tokenizer.")}
    tensors = {
        tensor.name: torch.from_numpy(np.array(gguf.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32))
        for tensor in reader.tensors
    }
    return fields, tensors


# ------------------------------------------------------------------------------------------ llama.cpp's graph, in torch


def bucket(distance, num_buckets, is_bidirectional):
    """Key position minus query position, an int -> bucket; llama.cpp's formula, with its 128."""
    offset = 0
    if is_bidirectional:
        num_buckets //= 2
        offset, distance = (num_buckets if distance > 0 else 0), abs(distance)
    else:
        distance = -min(distance, 0)
    num_exact = num_buckets // 2
    if distance < num_exact:
        return offset + distance
    far = np.float32(np.log(np.float32(distance / num_exact))) * np.float32(num_buckets - num_exact)
    return offset + min(math.floor(np.float32(num_exact + far / math.log(128 / num_exact))), num_buckets - 1)


def llama_t5(fields, tensors, source, target):
    """Logits (T, vocabulary) for one source and one target, lists of ids."""
    heads = fields["t5.attention.head_count"]
    eps = fields["t5.attention.layer_norm_rms_epsilon"]
    buckets = fields["t5.attention.relative_buckets_count"]

    def norm(x, name):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * tensors[f"{name}.weight"]

    def attend(x, states, name, bias):
        query, key, value = (
            (of @ tensors[f"{name}_{letter}.weight"].T).unflatten(-1, (heads, -1)).transpose(0, 1)
            for of, letter in ((x, "q"), (states, "k"), (states, "v"))
        )
        weights = (query @ key.transpose(1, 2) + bias).softmax(-1)  # not divided by the root of the width
        return (weights @ value).transpose(0, 1).flatten(1) @ tensors[f"{name}_o.weight"].T

    def feed(x, name):
        up = x @ tensors[f"{name}_up.weight"].T
        if f"{name}_gate.weight" in tensors:
            inner = F.gelu(x @ tensors[f"{name}_gate.weight"].T, approximate="tanh") * up
        else:
            inner = F.relu(up)
        return inner @ tensors[f"{name}_down.weight"].T

    def positions(stack, length, is_bidirectional):
        table = tensors[f"{stack}.blk.0.attn_rel_b.weight"]
        ids = [[bucket(k - q, buckets, is_bidirectional) for k in range(length)] for q in range(length)]
        return table[torch.tensor(ids)].permute(2, 0, 1)

    x, bias = tensors["token_embd.weight"][source], positions("enc", len(source), is_bidirectional=True)
    for index in range(fields["t5.block_count"]):
        layer = f"enc.blk.{index}"
        normed = norm(x, f"{layer}.attn_norm")
        x = x + attend(normed, normed, f"{layer}.attn", bias)
        x = x + feed(norm(x, f"{layer}.ffn_norm"), f"{layer}.ffn")
    encoded = norm(x, "enc.output_norm")

    hidden_keys = torch.full((len(target), len(target)), float("-inf")).triu(1)
    x, bias = tensors["token_embd.weight"][target], positions("dec", len(target), is_bidirectional=False) + hidden_keys
    for index in range(fields["t5.decoder_block_count"]):
        layer = f"dec.blk.{index}"
        normed = norm(x, f"{layer}.attn_norm")
        x = x + attend(normed, normed, f"{layer}.attn", bias)
        x = x + attend(norm(x, f"{layer}.cross_attn_norm"), encoded, f"{layer}.cross_attn", 0.0)
        x = x + feed(norm(x, f"{layer}.ffn_norm"), f"{layer}.ffn")
    head = tensors.get("output.weight", tensors["token_embd.weight"])
    return norm(x, "dec.output_norm") @ head.T


def ids(num, seed):
    return torch.randint(3, 380, (num,), generator=torch.Generator().manual_seed(seed)).tolist()


@torch.no_grad()
def difference(folder, file):
    """Largest difference of the logits over the largest logit; far enough apart that distances share buckets."""
    source, target = ids(150, 0), [1, *ids(140, 1)]
    ours = load_model(folder)(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([target])).logits[0]
    theirs = llama_t5(*read(file), source, target)
    return ((theirs - ours).abs().max() / ours.abs().max()).item()


@pytest.mark.parametrize("form", FORMS)
def test_the_graph_of_llama_cpp_gives_our_logits(form, folder, tmp_path):
    model = folder(**FORMS[form])
    (file,) = export(model, tmp_path / "model.gguf", "f32")
    assert difference(model, file) < 1e-5


@pytest.mark.parametrize("dtype, most", [("f16", 2e-3), ("q8_0", 3e-2)])
def test_smaller_weights_change_the_logits_a_little(dtype, most, folder, tmp_path):
    model = folder(scale_embedding=True)
    (file,) = export(model, tmp_path / "model.gguf", dtype)
    assert 1e-6 < difference(model, file) < most


def test_our_buckets_are_those_of_llama_cpp_at_every_distance():
    from elixir_coder.checkpoint import ElixirCoderConfig, new_model

    stacks = new_model(ElixirCoderConfig.tiny(vocab_size=8, d_model=8)).model
    distances = range(-4096, 4097)
    for stack, is_bidirectional in ((stacks.encoder, True), (stacks.decoder, False)):
        ours = stack.embed_positions.bucket(torch.tensor(distances)).tolist()
        assert ours == [bucket(distance, 32, is_bidirectional) for distance in distances]


# ------------------------------------------------------------------------------------------------------ what is written


def test_a_tied_head_stands_in_the_file_once(folder, tmp_path):
    (file,) = export(folder(scale_embedding=True), tmp_path / "model.gguf", "f32")
    _, tensors = read(file)
    assert "output.weight" not in tensors
    assert tensors["token_embd.weight"].shape[1] == 32


@pytest.mark.parametrize("dtype", gguf_export.DTYPES)
def test_matrices_have_the_type_asked_for_and_norms_and_positions_stay_float32(dtype, folder, tmp_path):
    (file,) = export(folder(), tmp_path, dtype)
    assert file == tmp_path / f"model-{dtype}.gguf"
    types = {tensor.name: tensor.tensor_type.name.lower() for tensor in gguf.GGUFReader(file).tensors}
    exact = {name for name in types if "norm" in name or "rel_b" in name}
    assert {types[name] for name in exact} == {"f32"}
    assert {types[name] for name in types if name not in exact} == {dtype}


def test_a_matrix_whose_rows_are_no_multiple_of_32_stays_f16_among_8_bits(folder, tmp_path):
    (file,) = export(folder(encoder_ffn_dim=40, decoder_ffn_dim=40), tmp_path, "q8_0")
    types = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors}
    assert (types["enc.blk.0.ffn_up.weight"], types["enc.blk.0.ffn_down.weight"]) == ("Q8_0", "F16")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The fields of a file with the tokenizer that this repository ships, and that tokenizer."""
    tokenizer = shipped_tokenizer()
    folder = save_variant(tmp_path_factory.mktemp("shipped") / "model", "tiny", tokenizer, **T5 | {"decoder_layers": 3})
    GenerationConfig(suppress_tokens=[0, 1, 3], decoder_start_token_id=1).save_pretrained(folder)
    (file,) = export(folder, folder.parent / "model.gguf")
    return {name: field.contents() for name, field in gguf.GGUFReader(file).fields.items()}, tokenizer


def test_the_fields_are_those_that_llama_cpp_reads(shipped):
    fields, _ = shipped
    expected = {
        "general.architecture": "t5",
        "t5.context_length": 512,
        "t5.embedding_length": 32,
        "t5.feed_forward_length": 64,
        "t5.block_count": 2,
        "t5.decoder_block_count": 3,
        "t5.attention.head_count": 4,
        "t5.attention.key_length": 8,
        "t5.attention.value_length": 8,
        "t5.attention.relative_buckets_count": 32,
        "t5.decoder_start_token_id": 1,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "superbpe",
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": True,
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 3,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.mask_token_id": 4,
        "tokenizer.ggml.fim_pre_token_id": 105,
        "tokenizer.ggml.fim_mid_token_id": 106,
        "tokenizer.ggml.fim_suf_token_id": 107,
        "tokenizer.ggml.fim_pad_token_id": 108,
        "tokenizer.ggml.suppress_tokens": [0, 1, 3],
    }
    assert {name: fields.get(name) for name in expected} == expected
    assert "tokenizer.chat_template" not in fields


def test_a_tokenizer_made_of_the_file_cuts_as_ours(shipped):
    """Byte-level BPE over the split that llama.cpp calls superbpe, written down here as it stands in its source."""
    fields, tokenizer = shipped
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"]]
    theirs = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    splits = [pre_tokenizers.Split(Regex(text), "isolated") for text in (r"\p{N}+", r"(?=(\d{3})+(?!\d))")]
    theirs.pre_tokenizer = pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    theirs.decoder = decoders.ByteLevel()
    for text in (STACK, QUEUE, "x = 1234567 + 0x1F\n\tdéjà vu 🙂  ~r/\\d+/\n"):
        ours = tokenizer(text, add_special_tokens=False).input_ids
        assert theirs.encode(text).ids == ours
        assert theirs.decode(ours) == text
    control, normal = int(gguf.TokenType.CONTROL), int(gguf.TokenType.NORMAL)
    assert [index for index, kind in enumerate(types) if kind == control] == sorted(tokenizer.all_special_ids)
    assert set(types) == {control, normal}


# -------------------------------------------------------------------------------------------------------- what is not


@pytest.mark.parametrize(
    "variant, changes, message",
    [
        ("base", {}, "position_embedding_type is 'sinusoidal'"),
        ("tiny", T5 | {"decoder_ffn_dim": 32}, "encoder_ffn_dim is 64 and decoder_ffn_dim 32"),
        ("tiny", T5 | {"activation_function": "swish"}, "activation_function='(swish|silu)' with gated_ffn"),
        ("tiny", T5 | {"gated_ffn": False}, "activation_function='gelu_new' without gated_ffn"),
        ("tiny", T5 | {"relative_attention_max_distance": 64}, "relative_attention_max_distance=64"),
    ],
)
def test_a_form_that_llama_cpp_has_not_is_refused_by_its_setting(variant, changes, message, tmp_path):
    folder = save_variant(tmp_path / "model", variant, named_tokenizer(), **changes)
    with pytest.raises(CheckpointError, match=message):
        export(folder, tmp_path / "out" / "model.gguf")
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_whose_split_has_no_name_in_llama_cpp_is_refused(tmp_path):
    folder = save_variant(tmp_path / "model", "tiny", small_tokenizer(), **T5)
    with pytest.raises(CheckpointError, match="llama_cpp_pre_tokenizer"):
        export(folder, tmp_path / "out" / "model.gguf")
    assert not (tmp_path / "out").exists()


def test_a_type_it_does_not_write_is_refused_with_those_it_does(tmp_path):
    with pytest.raises(CheckpointError, match="f16, f32, q8_0, got 'q4_k'"):
        export(tmp_path, tmp_path / "out", "q4_k")


def test_without_the_library_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingDependencyError, match=r"elixir-coder\[export\]"):
        export(tmp_path, tmp_path / "out")


def test_a_file_that_cannot_be_written_is_an_error_of_the_users_and_leaves_the_old_one(folder, tmp_path, monkeypatch):
    (tmp_path / "model.gguf").write_text("old")

    def fail(self, *args):
        raise OSError("No space left on device")

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensors_to_file", fail)
    with pytest.raises(CheckpointError, match=r"cannot write .*model\.gguf: No space left"):
        export(folder(), tmp_path / "model.gguf")
    assert (tmp_path / "model.gguf").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"model.gguf", "model"}
