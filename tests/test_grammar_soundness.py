"""Whatever a random model writes under strict mode parses, from every entry point; so do the written refusals hold."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.bench_random_writer import MODELS, complaints, encoder, models, read_texts, write
from decoding_elixir_coder import ElixirGrammar, GrammarError, accepts
from elixir_coder.checkpoint import load_tokenizer
from elixir_coder.toolchain.toolchain import Toolchain
from grammar_elixir_coder import STARTS

ROOT = Path(__file__).parents[1]
CASES = Path(__file__).parent / "grammar_cases"


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(ROOT)


@pytest.fixture(scope="module")
def toolchain():
    with Toolchain() as toolchain:
        yield toolchain


def refused(tokenizer, toolchain, start, name, num_outputs, num_tokens, seed):
    """(text, what Elixir says) of each text of a random model that does not parse, and how many texts it ended."""
    grammar = ElixirGrammar(tokenizer, "strict", start)
    texts = read_texts(None) if name == "bigrams" else []
    model = models(grammar.vocabulary.pieces, encoder(tokenizer), texts)[name]
    random, written = np.random.default_rng(seed), []
    for _ in range(num_outputs):
        matcher = grammar.matcher()
        write(matcher, model, num_tokens, random)
        try:
            closing = matcher.close(200)
        except GrammarError:  # what can be ended is for the tests of closing
            continue
        written.append((matcher.text + b"".join(grammar.vocabulary.pieces[index] for index in closing)).decode())
    judged = zip(written, complaints(toolchain, written, start), strict=True)
    return [(text, complaint) for text, complaint in judged if complaint], len(written)


@pytest.mark.elixir
@pytest.mark.parametrize("name", ["keywords", "symbols", "bytes"])
@pytest.mark.parametrize("start", STARTS)
def test_what_a_random_model_writes_under_strict_parses(start, name, tokenizer, toolchain):
    wrong, ended = refused(tokenizer, toolchain, start, name, num_outputs=6, num_tokens=60, seed=STARTS.index(start))
    assert wrong == []
    assert ended >= 2


@pytest.mark.elixir
@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("start", STARTS)
def test_what_a_random_model_writes_at_length_under_strict_parses(start, name, tokenizer, toolchain):
    wrong, ended = refused(tokenizer, toolchain, start, name, num_outputs=150, num_tokens=120, seed=7)
    assert wrong == []
    assert ended >= 100


@pytest.mark.elixir
def test_strict_refuses_what_only_accept_lets_through(toolchain):
    """Texts that Elixir refuses and accept mode does not; those that neither mode takes are in refused.txt."""
    texts = (CASES / "refused_by_strict.txt").read_text("utf-8").removesuffix("\n").split("\n-----\n")
    assert [text for text in texts if accepts(text, "strict")] == []
    assert [
        text for text, complaint in zip(texts, complaints(toolchain, texts, "file"), strict=True) if not complaint
    ] == []
