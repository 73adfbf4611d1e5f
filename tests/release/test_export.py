"""Folders that other programs load go out, folders of other models come in, and both write what they wrote."""

import json
import os
import pickle
import shutil
import subprocess
import sys

import pytest
import sentencepiece
import torch
from accelerate import Accelerator
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    M2M100Config,
    M2M100ForConditionalGeneration,
    PLBartConfig,
    PLBartForConditionalGeneration,
    PLBartTokenizer,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    T5Config,
    T5ForConditionalGeneration,
    T5Tokenizer,
)

import train
from elixir_coder import cli
from elixir_coder.checkpoint import (
    ElixirCoderConfig,
    load_model,
    load_tokenizer,
    new_model,
    save_model,
    vocabulary_fields,
)
from elixir_coder.errors import CheckpointError
from elixir_coder.generation.generator import Generator
from elixir_coder.release.export import DTYPES, FAMILIES, RUNTIMES, export, import_family
from elixir_coder.release.interop import RELATIVES, from_transformers
from tests.evaluation.small import QUEUE, STACK, small_model, small_tokenizer
from tests.training.small_run import small_recipe, write_inputs
from tokenization_elixir_coder import SPECIAL_TOKENS

SIZES = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
HEADS = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
# No token twice, or random weights write one token over and over, whatever they are.
SETTINGS = {"max_new_tokens": 16, "min_new_tokens": 16, "no_repeat_ngram_size": 1}
TEXTS = ["<code>defmodule Stack do", "<test>x"]


def model_of(kind, tokenizer):
    """A model of ours that the family has a place for, with random weights; two of them with a head of its own."""
    torch.manual_seed(0)
    fields = {**vocabulary_fields(tokenizer), **SIZES, **HEADS, "max_position_embeddings": 64}
    if kind == "m2m_100":  # the one family whose table of positions ours has to have already
        return from_transformers(M2M100ForConditionalGeneration(M2M100Config(**fields, init_std=0.5))).eval()
    untied = {"tie_word_embeddings": kind not in ("bart", "marian")}
    return new_model(ElixirCoderConfig(**fields, **RELATIVES[kind].form, **untied, init_std=0.5)).eval()


def written_by(model, tokenizer):
    inputs = tokenizer(TEXTS, padding=True, return_tensors="pt", return_token_type_ids=False)
    return tokenizer.batch_decode(model.generate(**inputs, **SETTINGS))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A checkpoint as a run leaves it: tiny's shape with an output matrix of its own."""
    folder = tmp_path_factory.mktemp("run") / "best"
    tokenizer = small_tokenizer()
    save_model(folder, small_model(tokenizer), tokenizer)
    return folder


# ---------------------------------------------------------------------------------------------------------------- out

OPEN = """
import json, socket, sys

def refuse(*arguments, **settings):
    raise OSError("there is no network")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

torch.set_num_threads(1)
folders, texts, settings = map(json.loads, sys.argv[1:])
found = {}
for kind, folder in folders.items():
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    inputs = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
    found[kind] = {
        "class": f"{type(model).__module__.partition('.')[0]}.{type(model).__name__}",
        "text": tokenizer.batch_decode(model.generate(**inputs, **settings)),
        "longest": model.generation_config.max_new_tokens,
    }
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Of each family a model of ours, its folder, and what a new interpreter finds in the exported one."""
    root = tmp_path_factory.mktemp("families")
    tokenizer = small_tokenizer()
    for kind in FAMILIES:
        model = model_of(kind, tokenizer)
        model.generation_config.max_new_tokens = 7
        save_model(root / kind, model, tokenizer)
        assert cli.main(["export", "--to", kind, str(root / f"{kind}-out"), "--model", str(root / kind)]) == 0
    folders = json.dumps({kind: str(root / f"{kind}-out") for kind in FAMILIES})
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
    result = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", "-c", OPEN, folders, json.dumps(TEXTS), json.dumps(SETTINGS)],
        cwd=root,
        env=kept | {"OMP_NUM_THREADS": "1", "HOME": str(root)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return root, json.loads(result.stdout.splitlines()[-1])


def test_the_command_knows_every_relative():
    assert set(FAMILIES) == set(RELATIVES)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_stranger_loads_the_folder_without_our_code_and_without_network_and_it_writes_the_same(kind, exported):
    root, found = exported
    assert found[kind]["class"] == f"transformers.{RELATIVES[kind].model}"
    assert found[kind]["text"] == written_by(load_model(root / kind), load_tokenizer(root / kind))
    assert found[kind]["text"][0][-20:] != found[kind]["text"][1][-20:]  # what is read matters
    assert found[kind]["longest"] == 7


@pytest.mark.parametrize("kind", FAMILIES)
def test_nothing_in_the_folder_is_ours(kind, exported):
    folder = exported[0] / f"{kind}-out"
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    }
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == kind
    assert not {"auto_map", "custom_pipelines", "quality_labels", "custom_generate"} & set(config)
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


@pytest.mark.parametrize("kind", FAMILIES)
def test_what_went_out_comes_in_again_and_writes_the_same(kind, exported, tmp_path, capsys):
    root, found = exported
    assert cli.main(["import", "--from", str(root / f"{kind}-out"), str(tmp_path / "back")]) == 0

    assert "note" not in capsys.readouterr().out  # nothing is missing, nothing is in excess
    assert found[kind]["text"] == written_by(load_model(tmp_path / "back"), load_tokenizer(tmp_path / "back"))
    assert load_model(tmp_path / "back").generation_config.max_new_tokens == 7


def test_an_output_matrix_of_its_own_is_still_one_in_the_exported_t5(source, tmp_path):
    export(source, tmp_path / "t5", "t5")

    assert json.loads((tmp_path / "t5" / "config.json").read_text())["tie_word_embeddings"] is False
    theirs, ours = T5ForConditionalGeneration.from_pretrained(tmp_path / "t5"), load_model(source)
    inputs = {"input_ids": torch.tensor([[300, 301, 2]]), "decoder_input_ids": torch.tensor([[1, 305]])}
    assert not torch.equal(theirs.lm_head.weight, theirs.shared.weight)
    assert torch.allclose(theirs(**inputs).logits, ours(**inputs).logits, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_weights_have_the_type_asked_for(dtype, source, tmp_path):
    export(source, tmp_path / "t5", "t5", dtype)
    assert T5ForConditionalGeneration.from_pretrained(tmp_path / "t5").dtype == getattr(torch, dtype)


def test_a_weight_too_large_for_the_type_is_named(source, tmp_path):
    model = load_model(source)
    with torch.no_grad():
        model.lm_head.weight[0, 0] = 1e6  # float16 ends at 65504
    save_model(tmp_path / "large", model, load_tokenizer(source))
    with pytest.raises(CheckpointError, match=r"lm_head\.weight is not finite in float16"):
        export(tmp_path / "large", tmp_path / "out", "t5", "float16")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone(source, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for command in (lambda: export(source, tmp_path, "t5"), lambda: import_family(source, tmp_path)):
        with pytest.raises(CheckpointError, match="exists; name a new folder or an empty one"):
            command()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_export_that_fails_leaves_nothing(source, tmp_path, monkeypatch):
    def full(*args, **values):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tokenization_elixir_coder.save_tokenizer", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        export(source, tmp_path / "out", "t5")
    assert list(tmp_path.iterdir()) == []


def test_a_form_without_a_place_is_one_line_and_exit_code_2(source, tmp_path, capsys):
    assert cli.main(["export", "--to", "bart", str(tmp_path / "out"), "--model", str(source)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: cannot write this model as bart: norm_type is 'rmsnorm'")
    assert error.endswith("it can be written as t5\n")


def test_what_stays_behind_is_said(tmp_path, capsys):
    tokenizer = small_tokenizer()
    fields = {**vocabulary_fields(tokenizer), **SIZES, **HEADS, "separate_decoder_heads": ["explanation"]}
    save_model(tmp_path / "all", new_model(ElixirCoderConfig.tiny(**fields), "multitask"), tokenizer)
    assert cli.main(["export", "--to", "t5", str(tmp_path / "out"), "--model", str(tmp_path / "all")]) == 0
    printed = capsys.readouterr().out
    assert "note: left out, because t5 has no such part: the heads that judge\n" in printed
    assert "note: left out, because t5 has one head: separate_decoder_heads explanation\n" in printed


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_runtime_names_the_types_it_has(runtime, source, tmp_path):
    with pytest.raises(CheckpointError, match=f"--to {runtime} writes --dtype .*float32|f32.*, not int3"):
        export(source, tmp_path / "out", runtime, "int3")


def test_a_runtime_writes_its_own_files(source, tmp_path, capsys):
    pytest.importorskip("ctranslate2")
    command = ["export", "--to", "ctranslate2", str(tmp_path / "out"), "--model", str(source), "--dtype", "float32"]
    assert cli.main(command) == 0
    assert (tmp_path / "out" / "model.bin").stat().st_size > 32 * 500 * 4
    assert str(tmp_path / "out" / "model.bin") in capsys.readouterr().out


# ----------------------------------------------------------------------------------------------------------------- in


def t5_of(vocab_size, **changes):
    """A T5 1.0 as it starts but less sure of itself, so that it writes different tokens."""
    torch.manual_seed(0)
    shape = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_decoder_layers": 1, "num_heads": 4}
    return T5ForConditionalGeneration(T5Config(vocab_size=vocab_size, **shape | changes)).eval()


@pytest.fixture(scope="module")
def codet5(tmp_path_factory):
    """A folder as CodeT5's: T5 1.0, RoBERTa's kind of BPE as vocab.json and merges.txt, rows that no token has."""
    folder = tmp_path_factory.mktemp("codet5")
    bpe = ByteLevelBPETokenizer()
    special = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"]
    bpe.train_from_iterator([STACK, QUEUE], vocab_size=400, special_tokens=special, show_progress=False)
    bpe.save_model(str(folder))
    settings = {
        "tokenizer_class": "RobertaTokenizer",
        "additional_special_tokens": [f"<extra_id_{number}>" for number in range(100)],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    size = len(RobertaTokenizer.from_pretrained(folder))
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 0}
    t5_of(size + 28, **tokens).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def imported(codet5, tmp_path_factory):
    """The same as ours, with the tokens that it lacks."""
    out = tmp_path_factory.mktemp("imported") / "codet5"
    assert cli.main(["import", "--from", str(codet5), str(out), "--add_tokens"]) == 0
    return out


def test_codet5_comes_in_with_its_tokenizer_and_writes_what_it_wrote(codet5, tmp_path):
    notes = []
    import_family(codet5, tmp_path / "ours", say=notes.append)

    theirs, ours = T5ForConditionalGeneration.from_pretrained(codet5), load_model(tmp_path / "ours")
    before, after = RobertaTokenizer.from_pretrained(codet5), load_tokenizer(tmp_path / "ours")
    assert after.get_vocab() == before.get_vocab()
    for text in (STACK, QUEUE, " <extra_id_3> été"):
        assert after(text).input_ids == before(text).input_ids
        assert after.decode(after(text).input_ids) == before.decode(before(text).input_ids)
    inputs = {"input_ids": torch.tensor([after(STACK).input_ids]), "decoder_input_ids": torch.tensor([[0, 300, 301]])}
    assert torch.allclose(ours(**inputs).logits, theirs(**inputs).logits[..., : len(before)], atol=1e-4)
    assert ours.config.decoder_start_token_id == 0
    assert notes == [
        "left out: 28 rows of the model that no token has",
        "the tokenizer lacks <fim_prefix>, <fim_middle>, <fim_suffix>, ..., which generate and train.py need; "
        "import with --add_tokens to have them",
    ]


def test_without_our_tokens_generate_refuses_and_names_the_first(codet5, tmp_path, capsys):
    import_family(codet5, tmp_path / "ours")
    assert cli.main(["generate", "def f do", "--model", str(tmp_path / "ours")]) == 2
    assert "has no token <code>" in capsys.readouterr().err


def test_added_tokens_start_at_the_mean_of_the_others_whose_ids_stay(codet5, imported):
    before, after = RobertaTokenizer.from_pretrained(codet5), load_tokenizer(imported)
    added = [token for token in SPECIAL_TOKENS if token not in before.get_vocab() and "reserved" not in token]
    assert after.convert_tokens_to_ids(added) == [*range(len(before), len(after))]
    assert after("<code>x</s>", add_special_tokens=False).input_ids[0] == after.convert_tokens_to_ids("<code>")
    table = load_model(imported).model.shared.weight.detach()
    assert torch.allclose(table[len(before) :], table[: len(before)].mean(dim=0).expand(len(added), -1), atol=1e-3)


def test_an_import_is_the_same_each_time(codet5, imported, tmp_path):
    import_family(codet5, tmp_path / "again", add_tokens=True)
    again, first = load_model(tmp_path / "again"), load_model(imported)
    assert all(torch.equal(one, other) for one, other in zip(again.parameters(), first.parameters(), strict=True))


def test_generate_writes_with_what_was_imported(imported):
    text = Generator(imported).generate("defmodule Stack do\n  def", max_new_tokens=8)
    assert text and "<" not in text.replace("<-", "")[:1]


def test_training_goes_on_from_what_was_imported(imported, tmp_path):
    inputs = write_inputs(tmp_path)
    recipe = small_recipe(
        inputs,
        tmp_path / "run",
        init_from=imported,
        tokenizer=imported,
        config_overrides=(),
        steps=2,
        warmup_steps=0,
        eval_every=2,
        save_every=2,
    )
    train.train(recipe, Accelerator(mixed_precision="no", gradient_accumulation_steps=1))
    trained = load_model(recipe.out / "checkpoint-00000002").model.shared.weight
    assert trained.shape == load_model(imported).model.shared.weight.shape
    assert not torch.equal(trained, load_model(imported).model.shared.weight)


def test_a_sentencepiece_t5_comes_in_with_a_fast_tokenizer(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    pieces = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    train_sentencepiece(source / "spiece", **pieces).rename(source / "spiece.model")
    (source / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer"}')
    before = T5Tokenizer.from_pretrained(source)
    t5_of(len(before), decoder_start_token_id=0).save_pretrained(source)

    import_family(source, tmp_path / "ours")
    after, config = load_tokenizer(tmp_path / "ours"), load_model(tmp_path / "ours").config
    assert isinstance(after, PreTrainedTokenizerFast)
    for text in (STACK, "a <extra_id_5> b"):
        assert after(text).input_ids == before(text).input_ids
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (0, None, 1)


def test_a_plbart_keeps_its_sentencepiece_tokenizer_and_is_told_what_it_lacks(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    train_sentencepiece(source / "sp").rename(source / "sentencepiece.bpe.model")
    (source / "tokenizer_config.json").write_text('{"tokenizer_class": "PLBartTokenizer"}')
    before = PLBartTokenizer.from_pretrained(source)
    torch.manual_seed(0)
    PLBartForConditionalGeneration(
        PLBartConfig(vocab_size=len(before), **SIZES, **HEADS, max_position_embeddings=64)
    ).save_pretrained(source)

    notes = []
    import_family(source, tmp_path / "ours", say=notes.append)
    after = PLBartTokenizer.from_pretrained(tmp_path / "ours")
    assert after(STACK).input_ids == before(STACK).input_ids
    assert json.loads((tmp_path / "ours" / "tokenizer_config.json").read_text())["tokenizer_class"] == "PLBartTokenizer"
    assert "the decoder starts with </s>" in notes
    assert "a PLBartTokenizer has no tokenizer.json, which generate and train.py read" in notes
    assert load_model(tmp_path / "ours").config.decoder_start_token_id == 2
    with pytest.raises(CheckpointError, match=r"no tokenizer at .*: tokenizer\.json does not exist"):
        load_tokenizer(tmp_path / "ours")


def train_sentencepiece(prefix, **settings):
    lines = [line for code in (STACK, QUEUE) for line in code.splitlines() if line] * 4
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(prefix), vocab_size=70, minloglevel=2, **settings
    )
    return prefix.with_suffix(".model")


def test_weights_saved_by_torch_come_in_too(codet5, imported, tmp_path):
    source = copy_of(codet5, tmp_path / "source")
    torch.save(T5ForConditionalGeneration.from_pretrained(codet5).state_dict(), source / "pytorch_model.bin")
    (source / "model.safetensors").unlink()
    import_family(source, tmp_path / "ours", add_tokens=True)
    one, other = load_model(tmp_path / "ours"), load_model(imported)
    assert all(torch.equal(*pair) for pair in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("is_fast", [True, False])
def test_no_code_of_the_folder_is_run(is_fast, codet5, tmp_path):
    source = copy_of(codet5, tmp_path / "source")
    if is_fast:
        RobertaTokenizer.from_pretrained(source).save_pretrained(source)
    (source / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    for file in ("config.json", "tokenizer_config.json"):
        config = json.loads((source / file).read_text())
        config["auto_map"] = dict.fromkeys(("AutoConfig", "AutoModelForSeq2SeqLM", "AutoTokenizer"), "evil.Evil")
        (source / file).write_text(json.dumps(config))
    import_family(source, tmp_path / "ours")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "ours" / "evil.py").exists()
    assert "evil" not in (tmp_path / "ours" / "config.json").read_text()
    assert "evil" not in (tmp_path / "ours" / "tokenizer_config.json").read_text()


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_pickle_that_is_no_weights_is_not_run(codet5, tmp_path):
    source = copy_of(codet5, tmp_path / "source")
    (source / "model.safetensors").unlink()
    (source / "pytorch_model.bin").write_bytes(pickle.dumps({"shared.weight": Evil(str(tmp_path / "ran"))}, protocol=2))
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin|cannot load"):
        import_family(source, tmp_path / "ours")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "ours").exists()


def copy_of(folder, new):
    return shutil.copytree(folder, new)


def _without(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def _config(**changes):
    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def _without_weight(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["encoder.block.1.layer.0.SelfAttention.k.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    "damage, message",
    [
        (_without("config.json"), "no model at .*config.json does not exist"),
        (lambda folder: (folder / "config.json").write_text("{"), "is no configuration with a model_type"),
        (lambda folder: (folder / "config.json").write_text("{}"), "is no configuration with a model_type"),
        (_config(model_type="gpt2"), "type 'gpt2'; known are bart, blenderbot"),
        (_config(model_type="elixir_coder"), "is an elixir-coder folder already"),
        (_without("model.safetensors"), "has no weights: neither"),
        (lambda folder: os.truncate(folder / "model.safetensors", 5000), "truncated or damaged"),
        (_without_weight, "the weights lack encoder.block.1.layer.0.SelfAttention.k.weight and 0 more"),
        (_config(d_ff=32), "has the shape .* in the weights but .* in the configuration"),
        (_config(feed_forward_proj="tanh", dense_act_fn="tanh"), "no form of ours: activation_function must be one of"),
        (
            _without("vocab.json", "merges.txt"),
            r"has 10\d tokens but the model 4\d\d; its files are missing",
        ),
        (lambda folder: (folder / "tokenizer_config.json").write_text("{}"), "no tokenizer at .* save_pretrained"),
        (_config(eos_token_id=7), "eos_token_id is 2 in the tokenizer but 7 in the model"),
    ],
)
def test_a_folder_that_cannot_come_in_says_why_and_leaves_nothing(damage, message, codet5, tmp_path):
    source = copy_of(codet5, tmp_path / "source")
    damage(source)
    with pytest.raises(CheckpointError, match=message):
        import_family(source, tmp_path / "ours")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    source = tmp_path / "source"
    torch.manual_seed(0)
    fields = {"max_position_embeddings": 64, **SIZES, **HEADS}
    BartForConditionalGeneration(BartConfig(vocab_size=400, **fields)).save_pretrained(source)
    small_tokenizer().save_pretrained(source)
    with pytest.raises(
        CheckpointError,
        match="500 tokens but the model 400; its files are missing, or it is",
    ):
        import_family(source, tmp_path / "ours")


@pytest.fixture
def llama(tmp_path):
    folder = tmp_path / "llama"
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=500, **shape, **heads)).save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)
    return folder


def test_a_llama_becomes_both_stacks(llama, tmp_path, capsys):
    command = ["import", "--from", str(llama), str(tmp_path / "ours"), "--keep_vocabulary", "--encoder_layers", "1"]
    assert cli.main(command) == 0
    assert str(tmp_path / "ours" / "model.safetensors") in capsys.readouterr().out
    config = load_model(tmp_path / "ours").config
    assert (config.encoder_layers, config.decoder_layers, config.position_embedding_type) == (1, 2, "rotary")
    assert cli.main(command) == 2
    assert "exists; name a new folder" in capsys.readouterr().err


def test_a_llama_gets_a_vocabulary_and_no_added_tokens(llama, tmp_path, capsys):
    assert cli.main(["import", "--from", str(llama), str(tmp_path / "ours"), "--add_tokens"]) == 2
    assert "--add_tokens is not for a Llama" in capsys.readouterr().err


def test_options_for_a_llama_are_refused_for_others(codet5, tmp_path, capsys):
    assert cli.main(["import", "--from", str(codet5), str(tmp_path / "ours"), "--encoder_layers", "2"]) == 2
    assert "--encoder_layers: only for a Llama-shaped model" in capsys.readouterr().err
