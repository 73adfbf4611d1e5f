import copy

import numpy as np
import pytest
import torch

from elixir_coder import checkpoint
from elixir_coder.errors import RecipeError
from elixir_coder.evaluation import precision
from elixir_coder.evaluation.compression import file_bits, target_scores
from elixir_coder.evaluation.precision import REFERENCE, Runtime
from elixir_coder.tasks.complete import Complete
from elixir_coder.tasks.row import Row, SpecialTokens
from elixir_coder.training.mixture import Corpus
from runtime_elixir_coder import accelerate
from tests.evaluation import small

OTHER = Runtime("plain", "bfloat16")
FAST = Runtime("fast", "int8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "small"
    tokenizer = small.small_tokenizer()
    checkpoint.save_model(folder, small.small_model(tokenizer), tokenizer)
    return folder


@pytest.fixture
def corpus(examples, tokenizer):
    return Corpus.of(examples, tokenizer)


@pytest.fixture
def task(tokenizer):
    return Complete(SpecialTokens.of(tokenizer), source_length=32, target_length=16)


def num_bytes(examples):
    return sum(len(example.code.encode()) for example in examples)


def with_columns(model, change):
    """A copy whose output matrix is what `change` makes of it."""
    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed.lm_head.weight.copy_(change(changed.lm_head.weight))
    return changed


def test_a_model_is_nearer_to_itself_than_anything_can_be(model, corpus, task, examples):
    models = {REFERENCE: model, OTHER: copy.deepcopy(model)}
    found = precision.compare(models, corpus, task, num_bytes=num_bytes(examples), pad_token_id=0)
    assert found[REFERENCE] == found[OTHER]
    of_one = found[OTHER]
    assert (of_one.num_tokens, of_one.bits_change) == (len(corpus.tokens) + len(examples), 0)
    assert (of_one.same_token, of_one.top_five, of_one.lost_bits) == (1, 1, 0)
    bits = file_bits(model, corpus, task, pad_token_id=0)
    assert of_one.bits_per_byte == pytest.approx(bits.sum() / num_bytes(examples), rel=1e-6)


def test_what_is_lost_is_worked_out_from_both_distributions(model, corpus, task, examples):
    models = {REFERENCE: model, OTHER: with_columns(model, lambda weight: weight * 0.5)}
    found = precision.compare(models, corpus, task, num_bytes=num_bytes(examples), pad_token_id=0, batch_size=3)[OTHER]
    lost = bits = reference_bits = same = tokens = 0
    for _, pair in precision.pieces(corpus, task):
        (scores, targets), (halved, _) = (next(target_scores(each, [pair], 0)) for each in models.values())
        p, q = scores.detach().double().softmax(dim=-1), halved.detach().double().softmax(dim=-1)
        lost += (p * (p / q).log2()).sum().item()
        reference_bits -= p[range(len(targets)), targets].log2().sum().item()
        bits -= q[range(len(targets)), targets].log2().sum().item()
        same += (p.argmax(dim=-1) == q.argmax(dim=-1)).sum().item()
        tokens += len(targets)
    assert found.lost_bits == pytest.approx(lost / tokens, rel=1e-5)
    assert found.bits_change == pytest.approx(bits / reference_bits - 1, rel=1e-4)
    assert found.same_token == same / tokens == found.top_five == 1  # smaller scores have the same order


def test_other_tokens_are_counted_as_such(model, corpus, task, examples):
    models = {REFERENCE: model, OTHER: with_columns(model, torch.neg)}
    found = precision.compare(models, corpus, task, num_bytes=num_bytes(examples), pad_token_id=0)[OTHER]
    assert (found.same_token, found.top_five) == (0, 0)
    assert found.same_token_interval[0] == 0 < found.same_token_interval[1] < 0.05
    assert found.lost_bits > 0.1


@pytest.mark.compiler
def test_the_fast_runtime_is_judged_by_what_it_writes_with(model, tokenizer, monkeypatch):
    fast = copy.deepcopy(model)
    assert accelerate(fast, "float32") is None
    pairs = [Row([3, 40, 2], [50, 60, 70, 2]), Row([3, 41, 42, 43, 2], [51, 61])]
    monkeypatch.setattr(type(fast), "forward", lambda *args, **kwargs: pytest.fail("the plain forward was asked"))
    found = [(scores.clone(), targets) for scores, targets in target_scores(fast, pairs, tokenizer.pad_token_id)]
    monkeypatch.undo()
    with torch.inference_mode():
        expected = list(target_scores(model, pairs, tokenizer.pad_token_id))
    for (scores, targets), (plain, same), pair in zip(found, expected, pairs):
        assert targets.tolist() == same.tolist() == pair.target
        np.testing.assert_allclose(scores, plain, atol=1e-4)


@pytest.mark.compiler
def test_int8_is_near_and_not_the_same(folder, corpus, task, tokenizer, examples):
    models = {runtime: precision.open_model(folder, runtime, tokenizer) for runtime in (REFERENCE, FAST)}
    found = precision.compare(models, corpus, task, num_bytes=num_bytes(examples), pad_token_id=0)[FAST]
    assert 0 < abs(found.bits_change) < 0.01
    assert 0.9 < found.same_token < 1  # of random weights, which leave many tokens nearly alike
    assert 0 < found.lost_bits < 0.05


@pytest.mark.compiler
def test_each_runtime_is_opened_as_what_it_is(folder, tokenizer):
    for runtime in (REFERENCE, *precision.COMPARED):
        opened = precision.open_model(folder, runtime, tokenizer)
        assert (opened.runtime is not None) == (runtime.name == "fast")
        if runtime.name == "fast":
            assert opened.runtime.dtype == runtime.dtype
        else:
            assert opened.dtype == getattr(torch, runtime.dtype)


def test_a_runtime_that_cannot_be_had_is_an_error(folder, tokenizer, monkeypatch):
    monkeypatch.setattr("runtime_elixir_coder.library", no_compiler)
    with pytest.raises(RecipeError, match="--runtime fast cannot be had here"):
        precision.open_model(folder, FAST, tokenizer)


def no_compiler():
    from kernels_elixir_coder import KernelError

    raise KernelError("there is none here")


@pytest.mark.compiler
def test_weights_are_counted_once_in_the_bytes_they_take(tokenizer):
    tied = checkpoint.new_model(checkpoint.preset_config("tiny", **checkpoint.vocabulary_fields(tokenizer)))
    num_parameters = sum(parameter.numel() for parameter in tied.parameters())
    assert tied.lm_head.weight is tied.get_input_embeddings().weight
    assert precision.weights_bytes(tied) == 4 * num_parameters
    assert precision.weights_bytes(copy.deepcopy(tied).bfloat16()) == 2 * num_parameters
    assert accelerate(tied, "int8") is None
    assert num_parameters < precision.weights_bytes(tied) < 4 * num_parameters
