import copy
import math
import shutil
import subprocess

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.errors import InputError
from elixir_coder.evaluation.compression import bits_per_byte, file_bits, pieces, with_text, xz_bits
from elixir_coder.tasks.complete import Complete
from elixir_coder.tasks.row import SpecialTokens
from elixir_coder.training.mixture import Corpus
from tests.evaluation.small import example_of
from tests.tasks.given import SPECIAL


def test_a_model_that_knows_nothing_takes_the_logarithm_of_the_vocabulary_for_each_token(model, tokenizer, examples):
    uniform = copy.deepcopy(model)
    torch.nn.init.zeros_(uniform.get_output_embeddings().weight)
    measured = bits_per_byte(uniform, tokenizer, examples, source_length=32, target_length=16)
    num_bytes = sum(len(example.code.encode()) for example in examples)
    num_tokens = len(Corpus.of(examples, tokenizer).tokens)
    assert (measured.num_bytes, measured.num_tokens, measured.num_files) == (num_bytes, num_tokens, len(examples))
    expected = math.log2(len(tokenizer)) * (num_tokens + len(examples)) / num_bytes  # a file's end is predicted too
    assert measured.bits_per_byte == pytest.approx(expected, rel=1e-6)


def test_the_pieces_of_a_file_add_up_to_one_token_after_another(model, tokenizer):
    examples = [example_of("def f(x) do\n  x + 1\nend\n"), example_of("[a: 1, b: [2, 3]]\n")]
    corpus = Corpus.of(examples, tokenizer)
    assert max(np.diff(corpus.starts)) > 2 * 8
    task = Complete(SpecialTokens.of(tokenizer), source_length=24, target_length=9)
    measured = file_bits(model, corpus, task, pad_token_id=tokenizer.pad_token_id, batch_size=4)
    expected = np.zeros(len(examples))
    with torch.inference_mode():
        for file, (first, last) in enumerate(zip(corpus.starts, corpus.starts[1:])):
            text = [*corpus.tokens[first:last].tolist(), tokenizer.eos_token_id]
            for at, token in enumerate(text):
                cut = at - at % 8 if at < last - first else at - (at - 1) % 8 - 1  # the end belongs to the last piece
                source = [task.special.code, *text[max(0, cut - 22) : cut], task.special.eos]
                written = [model.config.decoder_start_token_id, *text[cut:at]]
                logits = model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([written])).logits
                expected[file] -= logits[0, -1].double().log_softmax(0)[token].item() / math.log(2)
    np.testing.assert_allclose(measured, expected, rtol=1e-5)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(8, 12), st.integers(4, 9))
def test_every_token_and_every_end_is_predicted_once_after_what_stands_before_it(sizes, source_length, target_length):
    starts = np.concatenate([[0], np.cumsum(sizes)])
    corpus = Corpus(np.arange(100, 100 + starts[-1], dtype=np.int32), starts)
    predicted = {file: [] for file in range(len(sizes))}
    for file, pair in pieces(corpus, Complete(SPECIAL, source_length, target_length)):
        assert pair.source == [SPECIAL.code, *predicted[file][-(source_length - 2) :], SPECIAL.eos]
        assert 0 < len(pair.target) <= target_length
        predicted[file] += pair.target
    for file, tokens in predicted.items():
        assert tokens == [*corpus.tokens[starts[file] : starts[file + 1]].tolist(), SPECIAL.eos]


def test_the_batch_size_does_not_matter(model, tokenizer, examples):
    corpus = Corpus.of(examples, tokenizer)
    task = Complete(SpecialTokens.of(tokenizer), source_length=32, target_length=16)
    one, seven = (file_bits(model, corpus, task, pad_token_id=0, batch_size=size) for size in (1, 7))
    np.testing.assert_allclose(one, seven, rtol=1e-5)


def test_the_model_is_put_back_in_the_mode_it_was_in(model, tokenizer, examples):
    for was_training in (True, False):
        model.train(was_training)
        bits_per_byte(model, tokenizer, examples[:1], source_length=32, target_length=64)
        assert model.training == was_training


def test_an_empty_file_does_not_count(model, tokenizer, examples):
    empty = example_of("")
    assert with_text([empty, *examples, empty]) == examples
    lengths = {"source_length": 32, "target_length": 64}
    assert bits_per_byte(model, tokenizer, [empty, *examples], **lengths) == bits_per_byte(
        model, tokenizer, examples, **lengths
    )


def test_nothing_to_measure_is_an_error(model, tokenizer):
    with pytest.raises(InputError, match="no held-out file with text"):
        bits_per_byte(model, tokenizer, [])


def test_xz_pays_for_a_file_once(examples):
    once, twice = xz_bits(examples), xz_bits([*examples, *examples])
    assert once % 8 == 0
    assert 0 < twice - once < once / 5


@pytest.mark.skipif(shutil.which("xz") is None, reason="compares with `xz`, which is not on the PATH")
def test_xz_is_the_program(examples):
    text = "".join(example.code for example in examples).encode()
    compressed = subprocess.run(["xz", "-9e", "-c"], input=text, capture_output=True, check=True).stdout
    assert xz_bits(examples) == 8 * len(compressed)
