"""ONNX Runtime computes with the exported graphs what our model computes, step by step and for rows of any padding.

An export traces two graphs, ten seconds of one core: one small model is exported here, and each form where `-m slow` is
asked for.
"""

import json
import sys

import numpy as np
import pytest
import torch

from elixir_coder.checkpoint import load_model, load_tokenizer
from elixir_coder.errors import CheckpointError, MissingDependencyError
from elixir_coder.release.onnx_export import export
from tests.release.runtime_models import SOURCES, documented, padded, save_variant
from tests.test_modeling import VARIANTS

pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

TARGET = torch.tensor([[1, 310, 289, 305, 271, 350, 312], [1, 288, 288, 303, 340, 290, 301]])


class Graphs:
    """What a program does with the two files: read once, then write step by step."""

    def __init__(self, folder):
        self.encoder, self.decoder = (
            onnxruntime.InferenceSession(folder / f"{name}.onnx") for name in ("encoder", "decoder")
        )
        self.pasts = {each.name: each.shape for each in self.decoder.get_inputs() if each.name.startswith("past.")}
        self.names = [each.name for each in self.decoder.get_outputs()]

    def read(self, ids, mask):
        found = self.encoder.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
        names = [each.name for each in self.encoder.get_outputs()]
        cross = {name: value for name, value in zip(names, found) if name.startswith("cross.")}
        past = {
            name: np.zeros((len(ids), heads, 0, width), "float32") for name, (_, heads, _, width) in self.pasts.items()
        }
        return cross | past | {"encoder_attention_mask": mask.numpy()}

    def step(self, state, ids):
        logits, *present = self.decoder.run(None, state | {"input_ids": np.asarray(ids)})
        pasts = [name.replace("present", "past") for name in self.names[1:]]
        return logits, state | dict(zip(pasts, present))

    def greedy(self, ids, mask, num_tokens):
        state, token, written = self.read(ids, mask), np.ones((len(ids), 1), "int64"), []
        for _ in range(num_tokens):
            logits, state = self.step(state, token)
            token = logits[:, -1:].argmax(-1)
            written.append(token)
        return np.concatenate(written, axis=1)


@torch.no_grad()
def check(model, graphs, tolerance):
    """Both give the same logits, whole and in steps of one and more tokens, for padding on either side."""
    right = padded(SOURCES)
    for ids, mask in (right, [each.flip(1) for each in right]):
        ours = model(input_ids=ids, attention_mask=mask, decoder_input_ids=TARGET).logits.numpy()
        state, steps = graphs.read(ids, mask), []
        for start, end in ((0, 1), (1, 2), (2, 5), (5, 7)):
            logits, state = graphs.step(state, TARGET[:, start:end])
            steps.append(logits)
        assert np.abs(np.concatenate(steps, axis=1) - ours).max() < tolerance


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A rotary model with grouped heads and a gate, one layer a side; its folder and the written one."""
    folder = save_variant(tmp_path_factory.mktemp("onnx") / "model", "small", encoder_layers=1, decoder_layers=1)
    written = export(folder, folder.parent / "out")
    return folder, folder.parent / "out", written


def test_steps_with_a_past_give_our_logits(exported):
    folder, out, _ = exported
    check(load_model(folder), Graphs(out), 2e-5)


def test_the_tokens_that_are_written_are_ours(exported):
    folder, out, _ = exported
    ids, mask = padded(SOURCES)
    ours = load_model(folder).generate(ids, attention_mask=mask, max_new_tokens=24, eos_token_id=-1, pad_token_id=0)
    assert np.array_equal(Graphs(out).greedy(ids, mask, 24), ours[:, 1:].numpy())


def test_the_graphs_say_what_goes_in_and_what_comes_out(exported):
    _, out, _ = exported
    graphs = Graphs(out)
    shapes = {each.name: each.shape for each in graphs.decoder.get_inputs()}
    assert list(shapes) == [
        *("input_ids", "encoder_attention_mask", "past.0.key", "past.0.value", "cross.0.key", "cross.0.value")
    ]
    assert shapes["past.0.key"] == ["batch", 2, "past", 8] and shapes["cross.0.value"] == ["batch", 2, "source", 8]
    assert graphs.names == ["logits", "present.0.key", "present.0.value"]


def test_the_folder_holds_all_that_a_program_needs(exported):
    folder, out, written = exported
    names = {path.name for path in out.iterdir()}
    graphs = {"encoder.onnx", "decoder.onnx"}
    assert names == graphs | {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}
    assert {path.name for path in written} == names
    assert json.loads((out / "config.json").read_text()) == json.loads((folder / "config.json").read_text())
    assert load_tokenizer(out).get_vocab() == load_tokenizer(folder).get_vocab()


def test_the_manual_works(exported, tmp_path, monkeypatch, capsys):
    _, out, _ = exported
    (tmp_path / "onnx").symlink_to(out)
    monkeypatch.chdir(tmp_path)
    exec(documented("onnxruntime"), {})
    assert capsys.readouterr().out.startswith("defmodule Stack do\n")


@pytest.mark.slow  # twenty seconds a form
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_form_is_exported(variant, tmp_path):
    folder = save_variant(tmp_path / "model", variant)
    export(folder, tmp_path / "out")
    model, graphs = load_model(folder), Graphs(tmp_path / "out")
    check(model, graphs, 2e-5)
    ids, mask = padded(SOURCES)
    ours = model.generate(ids, attention_mask=mask, max_new_tokens=24, eos_token_id=-1, pad_token_id=0)
    assert np.array_equal(graphs.greedy(ids, mask, 24), ours[:, 1:].numpy())


@pytest.mark.slow  # exports four graphs
def test_eight_bits_change_the_logits_a_little_and_take_less_room(tmp_path):
    folder = save_variant(tmp_path / "model", "tiny", d_model=64, encoder_layers=1, decoder_layers=1)
    for dtype in ("float32", "int8"):
        export(folder, tmp_path / dtype, dtype)
    model = load_model(folder)
    with pytest.raises(AssertionError):
        check(model, Graphs(tmp_path / "int8"), 1e-4)
    largest = model(input_ids=padded(SOURCES)[0], decoder_input_ids=TARGET).logits.abs().max().item()
    check(model, Graphs(tmp_path / "int8"), 0.1 * largest)
    operations = {each.op_type for each in onnx_nodes(tmp_path / "int8" / "decoder.onnx")}
    assert "MatMulInteger" in operations
    left = [each for each in onnx_nodes(tmp_path / "int8" / "decoder.onnx") if each.op_type == "MatMul"]
    assert len(left) == 4  # scores and sums of values, in self-attention and cross-attention: no weights in them


def onnx_nodes(path):
    import onnx

    return onnx.load(path).graph.node


def test_a_type_it_does_not_have_is_refused_with_those_it_has(tmp_path):
    with pytest.raises(CheckpointError, match="float32, int8, got 'float16'"):
        export(tmp_path, tmp_path / "out", "float16")


@pytest.mark.parametrize("library, dtype", [("onnx", "float32"), ("onnxscript", "float32"), ("onnxruntime", "int8")])
def test_without_a_library_the_extra_is_named(library, dtype, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingDependencyError, match=rf"`{library}` is not installed.*elixir-coder\[export\]"):
        export(tmp_path, tmp_path / "out", dtype)


def test_an_export_that_fails_leaves_nothing(exported, tmp_path, monkeypatch):
    folder, _, _ = exported
    monkeypatch.setattr("elixir_coder.release.onnx_export.encoder_program", lambda model: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
