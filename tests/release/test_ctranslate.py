"""CTranslate2 computes what our model computes, for every form of it that it can hold."""

import sys

import pytest
import torch

from elixir_coder.checkpoint import load_model, load_tokenizer
from elixir_coder.errors import CheckpointError, MissingDependencyError
from elixir_coder.release.ctranslate import export
from tests.release.runtime_models import SOURCES, documented, padded, save_variant
from tests.test_modeling import VARIANTS

ctranslate2 = pytest.importorskip("ctranslate2")

TARGETS = ([310, 289, 305, 271, 350, 312], [288, 288, 303])
HELD = [variant for variant in VARIANTS if variant != "alibi"]


@pytest.fixture
def translate(tmp_path):
    """Export a variant; give its folder, our model, and the tokens' texts by id."""

    def run(variant, dtype="float32", **changes):
        folder = save_variant(tmp_path / "model", variant, **changes)
        export(folder, tmp_path / "out", dtype)
        translator = ctranslate2.Translator(str(tmp_path / "out"), compute_type=dtype, intra_threads=1)
        return translator, load_model(folder), load_tokenizer(folder).convert_ids_to_tokens

    return run


@torch.no_grad()
def scores(translator, model, texts):
    """What each gives, in nats, to the tokens of TARGETS and the end after them: (theirs, ours), one list per row."""
    theirs = translator.score_batch([texts(row) for row in SOURCES], [texts(row) for row in TARGETS])
    ids, mask = padded(SOURCES)
    target, _ = padded([[1, *row] for row in TARGETS])
    logits = model(input_ids=ids, attention_mask=mask, decoder_input_ids=target).logits.log_softmax(-1)
    ours = [[logits[row, at, token].item() for at, token in enumerate([*TARGETS[row], 2])] for row in (0, 1)]
    return [row.log_probs for row in theirs], ours


def difference(pair):
    return max(abs(a - b) for theirs, ours in zip(*pair, strict=True) for a, b in zip(theirs, ours, strict=True))


@pytest.mark.parametrize("variant", HELD)
def test_every_token_gets_the_probability_that_our_model_gives_it(variant, translate):
    assert difference(scores(*translate(variant))) < 2e-5


@pytest.mark.parametrize("variant", HELD)
def test_the_tokens_that_are_written_are_ours(variant, translate):
    translator, model, texts = translate(variant)
    ids, mask = padded(SOURCES)
    ours = model.generate(ids, attention_mask=mask, max_new_tokens=24, min_new_tokens=24)
    theirs = translator.translate_batch(
        [texts(row) for row in SOURCES],
        beam_size=1,
        max_decoding_length=24,
        min_decoding_length=24,
        suppress_sequences=[["</s>"]],
    )
    assert [result.hypotheses[0] for result in theirs] == [texts(row[1:].tolist()) for row in ours]


@pytest.mark.parametrize("changes", [{"rope_parameters": {"rope_type": "linear", "rope_theta": 50.0, "factor": 4.0}}])
def test_a_stretched_rotation_is_the_same_one(changes, translate):
    assert difference(scores(*translate("rotary", **changes))) < 2e-5


def test_eight_bits_change_probabilities_a_little(translate):
    found = difference(scores(*translate("tiny", "int8")))
    assert 1e-5 < found < 0.2


def test_eight_bits_take_about_a_quarter_of_the_room(tmp_path):
    folder = save_variant(tmp_path / "model", "tiny")
    sizes = {}
    for dtype in ("int8", "float32"):
        export(folder, tmp_path / dtype, dtype)
        sizes[dtype] = (tmp_path / dtype / "model.bin").stat().st_size
    assert 0.2 < sizes["int8"] / sizes["float32"] < 0.4


def test_the_tokenizer_lies_beside_the_model_and_other_files_stay(tmp_path):
    folder = save_variant(tmp_path / "model", "tiny")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    written = export(folder, tmp_path / "out")

    expected = {"config.json", "model.bin", "shared_vocabulary.json", "tokenizer.json", "tokenizer_config.json"}
    assert {path.name for path in written} == expected
    assert {path.name for path in (tmp_path / "out").iterdir()} == expected | {"notes.txt"}
    assert load_tokenizer(tmp_path / "out").get_vocab() == load_tokenizer(folder).get_vocab()


def test_the_manual_works(tmp_path, monkeypatch, capsys):
    export(save_variant(tmp_path / "model", "small"), tmp_path / "ct2", "int8")
    monkeypatch.chdir(tmp_path)
    exec(documented("ctranslate2"), {})
    assert capsys.readouterr().out.startswith("defmodule Stack do\n  def push(stack, item) do\n")


@pytest.mark.parametrize(
    "variant, changes, message",
    [
        ("alibi", {}, "position_embedding_type='alibi'"),
        ("tiny", {"separate_decoder_heads": ["explanation"]}, r"separate_decoder_heads=\['explanation'\]"),
        (
            "rotary",
            {
                "rope_parameters": {
                    "rope_type": "llama3",
                    "rope_theta": 1e4,
                    "factor": 8.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 32,
                }
            },
            r"rope_parameters\['rope_type'\]='llama3'",
        ),
    ],
)
def test_a_form_it_does_not_have_is_refused_by_its_setting_and_nothing_is_written(variant, changes, message, tmp_path):
    folder = save_variant(tmp_path / "model", variant, **changes)
    with pytest.raises(CheckpointError, match=message):
        export(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_type_it_does_not_have_is_refused_with_those_it_has(tmp_path):
    with pytest.raises(CheckpointError, match="int8, float32, float16, got 'int4'"):
        export(tmp_path, tmp_path / "out", "int4")


def test_without_the_library_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(MissingDependencyError, match=r"elixir-coder\[export\]"):
        export(tmp_path, tmp_path / "out")


def test_a_model_folder_is_not_written_into(tmp_path):
    folder = save_variant(tmp_path / "model", "tiny")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match="is a model folder"):
        export(folder, folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_place_that_cannot_be_written_is_an_error_of_the_users(tmp_path):
    folder = save_variant(tmp_path / "model", "tiny")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot write to"):
        export(folder, tmp_path / "file" / "out")
