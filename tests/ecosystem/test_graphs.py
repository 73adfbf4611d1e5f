"""Each class of a folder becomes one graph: torch.compile without a break, and torch.export with sizes left open."""

from __future__ import annotations

import pytest
import torch

from tests.ecosystem.small_folder import AUTO_CLASSES, MOST_UNLIKE, judgements, load, sources, targets, write_folder

ENCODERS = ("AutoModelForTextEncoding", "AutoModelForSequenceClassification")
CASES = [("tiny", auto) for auto in AUTO_CLASSES] + [
    (variant, "AutoModelForSeq2SeqLM") for variant in MOST_UNLIKE if variant != "tiny"
]


@pytest.fixture(scope="module")
def shallow(tmp_path_factory):
    """One layer a side: a second adds nothing to a graph but the time to trace it."""
    shape = {"encoder_layers": 1, "decoder_layers": 1}
    return {name: write_folder(tmp_path_factory.mktemp(name), name, **shape) for name in MOST_UNLIKE}


@pytest.fixture(autouse=True)
def nothing_compiled_before():
    torch._dynamo.reset()


def inputs_of(auto, rows=3, length=11):
    written = {} if auto in ENCODERS else {"decoder_input_ids": targets(rows).clamp(min=0)}
    return sources(rows, length) | written


def tensors_of(out):
    return {name: value for name, value in out.items() if isinstance(value, torch.Tensor)}


def assert_same(a, b):
    a, b = tensors_of(a), tensors_of(b)
    assert a.keys() == b.keys() and a
    for name in a:
        assert torch.allclose(a[name], b[name], rtol=0, atol=2e-5), name


@torch.no_grad()
@pytest.mark.parametrize(("variant", "auto"), CASES)
def test_every_class_compiles_to_one_graph(variant, auto, shallow):
    model = load(shallow[variant], auto, use_cache=False)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert_same(compiled(**inputs_of(auto)), model(**inputs_of(auto)))


@pytest.mark.slow  # a quarter of a minute of tracing; tests/test_modeling.py compiles the forward half
def test_a_training_step_and_its_gradients_compile_to_one_graph(shallow):
    plain, model = (load(shallow["tiny"], "AutoModelForPreTraining").train() for _ in range(2))
    batch = {**sources(), "labels": targets(), **judgements()}
    torch.compile(model, backend="aot_eager", fullgraph=True)(**batch).loss.backward()
    plain(**batch).loss.backward()
    for (name, a), b in zip(model.named_parameters(), plain.parameters()):
        assert torch.allclose(a.grad, b.grad, rtol=0, atol=2e-5), name


@torch.no_grad()
@pytest.mark.parametrize(("variant", "auto"), CASES)
def test_every_class_is_exported_with_open_sizes(variant, auto, shallow):
    model = load(shallow[variant], auto, use_cache=False)
    rows, source, target = (torch.export.Dim(name, min=2, max=64) for name in ("rows", "source", "target"))
    sizes = {
        "input_ids": {0: rows, 1: source},
        "attention_mask": {0: rows, 1: source},
        "decoder_input_ids": {0: rows, 1: target},
    }
    inputs = inputs_of(auto)
    program = torch.export.export(model, (), inputs, dynamic_shapes={name: sizes[name] for name in inputs})
    other = inputs_of(auto, rows=5, length=23)
    assert_same(program.module()(**other), model(**other))


def test_generate_runs_compiled_with_a_static_cache(shallow):
    model = load(shallow["tiny"])
    settings = {"max_new_tokens": 6, "min_new_tokens": 6}
    plain = model.generate(**sources(), **settings)
    model.forward = torch.compile(model.forward, backend="eager", fullgraph=True)
    assert torch.equal(model.generate(**sources(), **settings, cache_implementation="static"), plain)
