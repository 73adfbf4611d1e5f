"""What `generate` and `pipeline` offer works on a folder's own classes, and what is said to be exact is."""

from __future__ import annotations

from threading import Thread

import pytest
import torch
from transformers import TextIteratorStreamer, pipeline

from tests.ecosystem.small_folder import MOST_UNLIKE, load, small_tokenizer, sources, write_folder

SETTINGS = {"max_new_tokens": 20, "min_new_tokens": 20}


@pytest.fixture(scope="module", params=MOST_UNLIKE)
def lively(request, tmp_path_factory):
    """A folder of each variant whose model writes one token after another, not one for ever."""
    return write_folder(tmp_path_factory.mktemp("lively"), request.param, matrices=3)


def first_source():
    return {name: tensor[:1] for name, tensor in sources().items()}


def calls_of(model, run):
    """What `run` gives, and how many tokens the decoder read in each call."""
    read = []
    hook = model.model.decoder.register_forward_pre_hook(
        lambda _, args, kwargs: read.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    try:
        return run(), read
    finally:
        hook.remove()


# -------------------------------------------------------------------------------------------- faster, and the same text


def assistant_of(folder):
    """Five tokens at a time, sure of them or not: random weights are sure of nothing."""
    assistant = load(folder)
    assistant.generation_config.update(
        num_assistant_tokens=5, num_assistant_tokens_schedule="constant", assistant_confidence_threshold=0.0
    )
    return assistant


def test_the_best_assistant_saves_five_steps_of_six(lively):
    """A copy of the model is always right. Without a mask, transformers 5.23 shows an assistant its prompt twice."""
    model, best = load(lively), assistant_of(lively)
    start = torch.tensor([[model.config.decoder_start_token_id]])
    begun = {"decoder_input_ids": start, "decoder_attention_mask": torch.ones_like(start)}
    greedy, steps = calls_of(model, lambda: model.generate(**first_source(), **SETTINGS))
    assisted, calls = calls_of(
        model, lambda: model.generate(**first_source(), **begun, **SETTINGS, assistant_model=best)
    )
    assert torch.equal(assisted, greedy)
    assert len(set(greedy[0].tolist())) > 3  # not one token for ever, which any assistant gets right
    assert (len(steps), len(calls)) == (20, 4)


def test_an_assistant_of_another_shape_does_not_change_the_text(lively, tmp_path):
    model = load(lively)
    other = assistant_of(write_folder(tmp_path, seed=1, d_model=16, encoder_layers=1, decoder_layers=1))
    greedy = model.generate(**first_source(), **SETTINGS)
    assert torch.equal(model.generate(**first_source(), **SETTINGS, assistant_model=other), greedy)


def test_looking_tokens_up_in_the_prompt_does_not_change_the_text(lively):
    model = load(lively)
    inputs = first_source()
    greedy = model.generate(**inputs, **SETTINGS)
    assert torch.equal(model.generate(**inputs, **SETTINGS, prompt_lookup_num_tokens=3), greedy)


def test_tokens_looked_up_are_taken_when_the_text_repeats(tiny):
    """What stands before goes on as it did then: fewer calls than tokens."""
    model = load(tiny)
    inputs = first_source()
    begun = model.generate(**inputs, max_new_tokens=40, min_new_tokens=40)
    greedy, steps = calls_of(
        model, lambda: model.generate(**inputs, decoder_input_ids=begun, **SETTINGS, prompt_lookup_num_tokens=None)
    )
    found, calls = calls_of(
        model, lambda: model.generate(**inputs, decoder_input_ids=begun, **SETTINGS, prompt_lookup_num_tokens=4)
    )
    assert torch.equal(found, greedy)
    assert len(calls) < len(steps)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_model_writes_and_stays_finite(dtype, folder):
    model = load(folder).to(dtype)
    out = model.generate(**sources(), **SETTINGS, output_logits=True, return_dict_in_generate=True)
    assert out.sequences.shape == (3, 21)
    assert all(logits.isfinite().all() for logits in out.logits)
    full = load(folder)(**sources(), decoder_input_ids=out.sequences).logits
    half = model(**sources(), decoder_input_ids=out.sequences).logits
    assert (half.float() - full).abs().max() < 0.05 * full.abs().max()


# ------------------------------------------------------------------------------------------------ streams and pipelines


def test_words_arrive_before_the_last_is_written(lively):
    """Two letters and a space, so that there are words."""
    tokenizer = small_tokenizer()
    allowed = tokenizer.convert_tokens_to_ids(["a", "b", "Ġ"])
    model = load(lively)
    settings = {
        **first_source(),
        **SETTINGS,
        "suppress_tokens": [token for token in range(len(tokenizer)) if token not in allowed],
        "no_repeat_ngram_size": 3,
    }
    streamer = TextIteratorStreamer(tokenizer, timeout=60)
    thread = Thread(target=model.generate, kwargs={**settings, "streamer": streamer})
    thread.start()
    pieces = list(streamer)
    thread.join()
    assert "".join(pieces) == tokenizer.decode(model.generate(**settings)[0])
    assert len([piece for piece in pieces if piece]) > 2


TEXTS = ["def area(radius) do", "x", "defmodule Stack do\n  def push(stack, item)", "a |> b"]


def test_a_pipeline_writes_a_batch_as_if_each_were_alone(folder):
    write = pipeline("text2text-generation", model=str(folder), trust_remote_code=True, device="cpu")
    assert type(write.model).__module__.startswith("transformers_modules.")
    alone = [write(text, **SETTINGS)[0] for text in TEXTS]
    assert write(TEXTS, batch_size=4, **SETTINGS) == alone
    assert list(write((text for text in TEXTS), batch_size=2, **SETTINGS)) == [[each] for each in alone]


def test_a_pipeline_judges_a_batch_as_if_each_were_alone(folder):
    judge = pipeline("text-classification", model=str(folder), trust_remote_code=True, device="cpu", top_k=None)
    alone = [judge(text)[0] for text in TEXTS]
    for together, each in zip(judge(TEXTS, batch_size=4), alone, strict=True):
        assert {found["label"]: found["score"] for found in together} == pytest.approx(
            {found["label"]: found["score"] for found in each}, abs=1e-6
        )
