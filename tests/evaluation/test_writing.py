from types import SimpleNamespace

import pytest
import torch

from decoding_elixir_coder import accepts
from elixir_coder.errors import InputError
from elixir_coder.evaluation.writing import Written, _RowsDraw, write
from elixir_coder.generation.healing import token_texts


@pytest.fixture
def sources(tokenizer):
    codes = ["defmodule A do", "x", "def f(a, b) do\n  a + b\nend\n", "[1, 2, 3] |> Enum.map(fn x -> x end)"]
    return [[*tokenizer(f"<code>{code}", add_special_tokens=False).input_ids, 2] for code in codes]


def test_what_is_written_stands_in_the_order_of_the_sources(model, tokenizer, sources):
    texts = write(model, tokenizer, sources, max_new_tokens=8, batch_size=1)
    backwards = write(model, tokenizer, sources[::-1], max_new_tokens=8, batch_size=1)
    assert len({written.text for written in texts}) > 1
    assert backwards == texts[::-1]


def test_sampling_depends_on_the_seed_alone(model, tokenizer, sources):
    settings = {"max_new_tokens": 8, "temperature": 1.0, "batch_size": 2}
    torch.manual_seed(5)
    first = write(model, tokenizer, sources, seed=1, **settings)
    torch.manual_seed(6)
    assert write(model, tokenizer, sources, seed=1, **settings) == first
    assert write(model, tokenizer, sources, seed=2, **settings) != first


def test_the_random_state_of_the_program_stays_as_it_was(model, tokenizer, sources):
    before = torch.get_rng_state()
    write(model, tokenizer, sources[:1], max_new_tokens=4, temperature=1.0, seed=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_the_folder_says_about_generation_changes_nothing(model, tokenizer, sources, monkeypatch):
    plain = write(model, tokenizer, sources, max_new_tokens=8)
    for name, value in {
        "num_beams": 3,
        "do_sample": True,
        "repetition_penalty": 9.0,
        "no_repeat_ngram_size": 1,
    }.items():
        monkeypatch.setattr(model.generation_config, name, value)
    assert write(model, tokenizer, sources, max_new_tokens=8) == plain


def test_a_text_ends_where_the_model_ended_it(tokenizer):
    ids = tokenizer("def f", add_special_tokens=False).input_ids
    rows = [[1, *ids, 2, 0, 0], [1, *ids, *ids, *ids][: len(ids) + 4]]
    answers = torch.tensor([row + [0] * (len(ids) + 4 - len(row)) for row in rows])
    model = SimpleNamespace(
        config=SimpleNamespace(max_position_embeddings=9, decoder_start_token_id=1),
        device=torch.device("cpu"),
        generate=lambda *args, **settings: answers,
    )
    finished, cut = write(model, tokenizer, [[3, 2], [3, 2]], max_new_tokens=9)
    assert finished == Written("def f", is_finished=True, num_tokens=len(ids) + 1)
    assert cut.text.startswith("def fdef f")
    assert not cut.is_finished


@pytest.mark.parametrize("length", [0, 257])
def test_a_source_the_model_cannot_read_is_an_error(model, tokenizer, length):
    with pytest.raises(InputError, match=f"input 1 has {length} tokens; the model reads 1 to 256"):
        write(model, tokenizer, [[3, 2], [7] * length], max_new_tokens=4)


def test_with_a_seed_for_each_source_its_text_does_not_depend_on_the_others(model, tokenizer, sources):
    sampled = {"max_new_tokens": 16, "temperature": 1.0, "top_p": 0.9}
    seeds = list(range(len(sources)))
    together = write(model, tokenizer, sources, seeds=seeds, batch_size=2, **sampled)
    for source, seed, written in zip(sources, seeds, together):
        assert write(model, tokenizer, [source], seeds=[seed], **sampled) == [written]
    assert write(model, tokenizer, [sources[0]], seeds=[9], **sampled) != together[:1]
    assert write(model, tokenizer, [sources[0]] * 2, seeds=[0, 0], **sampled) == together[:1] * 2


def test_a_row_draws_each_token_as_often_as_its_nucleus_says():
    chances = torch.tensor([0.05, 0.4, 0.25, 0.3])
    number, top_p = 4000, 0.9
    draw = _RowsDraw(range(number), temperature=2.0, top_p=top_p, start=1, length=1)
    drawn = draw(torch.zeros(number, 1, dtype=torch.long), (2 * chances.log()).expand(number, 4))
    assert (drawn.isfinite().sum(dim=-1) == 1).all()
    shares = drawn.isfinite().float().mean(dim=0)
    assert shares[0] == 0  # 0.4 + 0.3 + 0.25 is enough
    torch.testing.assert_close(shares[1:], chances[1:] / 0.95, atol=0.025, rtol=0)


def test_the_likeliest_token_stays_however_narrow_the_nucleus():
    draw = _RowsDraw([1, 2], temperature=1.0, top_p=1e-9, start=0, length=1)
    drawn = draw(torch.zeros(2, 0, dtype=torch.long), torch.tensor([[0.0, 1.0, -torch.inf], [3.0, 1.0, 2.0]]))
    assert drawn.argmax(dim=-1).tolist() == [1, 0]


def test_what_was_given_back_is_written_first(model, tokenizer, sources):
    texts = token_texts(tokenizer)
    written = write(model, tokenizer, sources[:2], max_new_tokens=4, given_back=["d", ""], texts=texts)
    assert written[0].text.startswith("d")
    assert written[1] == write(model, tokenizer, sources[1:2], max_new_tokens=4)[0]


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.0}, {"temperature": 1.0, "seeds": [1, 2, 3, 4]}])
def test_what_continues_code_ends_in_elixir_within_the_limit(model, tokenizer, sources, settings):
    continued = ["x = [", "def f(a) do\n", "é = fn ->", ""]  # strict has no such name: accept mode goes on with it
    prefixes = [tokenizer(text, add_special_tokens=False).input_ids for text in continued]
    texts = write(model, tokenizer, sources, prefixes, continued=continued, max_new_tokens=12, batch_size=3, **settings)
    assert all(written.is_finished for written in texts)
    assert [text + written.text for text, written in zip(continued, texts) if not accepts(text + written.text)] == []


def test_what_is_no_beginning_of_elixir_is_continued_without_the_grammar(model, tokenizer, sources, capsys):
    free = write(model, tokenizer, sources[1:], max_new_tokens=8)
    texts = write(model, tokenizer, sources, continued=["x = [", *["x = )"] * 3], max_new_tokens=8, batch_size=2)
    assert accepts("x = [" + texts[0].text)
    assert texts[1:] == free
    assert "3 of 4 inputs are no beginning of Elixir" in capsys.readouterr().err
