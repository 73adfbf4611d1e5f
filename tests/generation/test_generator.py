"""Text in, text out, with the model of this checkout."""

import io
import sys
from pathlib import Path

import pytest
import torch

from elixir_coder.cli import main
from elixir_coder.errors import CheckpointError, InputError
from elixir_coder.generation.generator import Generator
from elixir_coder.generation.healing import TokenHealing
from tokenization_elixir_coder import DECODER_PREFIX

PROMPT = "def area(radius) do\n"


@pytest.fixture(scope="module")
def generator():
    return Generator()


def test_pieces_add_up_to_the_text(generator):
    pieces = list(generator.stream(PROMPT, max_new_tokens=12, temperature=1.0, seed=3))
    assert len(pieces) > 1
    assert "".join(pieces) == generator.generate(PROMPT, max_new_tokens=12, temperature=1.0, seed=3)


def test_another_seed_samples_another_text(generator):
    texts = {generator.generate(PROMPT, max_new_tokens=12, temperature=1.0, seed=seed) for seed in range(3)}
    assert len(texts) == 3


def test_greedy_text_needs_no_seed(generator):
    assert generator.generate(PROMPT, max_new_tokens=12) == generator.generate(PROMPT, max_new_tokens=12, seed=1)


def test_the_text_does_not_repeat_the_prompt_and_has_no_special_token(generator):
    text = generator.generate(PROMPT, max_new_tokens=24, temperature=1.0, seed=0)
    assert text
    assert not text.startswith(PROMPT)
    assert "<extra_id" not in text
    assert "</s>" not in text


def test_beams_give_text_that_is_at_least_as_likely(generator):
    def log_likelihood(text: str) -> float:
        source, begun, given_back = generator.inputs(PROMPT)
        written = generator.tokenizer(given_back + text, add_special_tokens=False).input_ids
        with torch.inference_mode():
            ids = torch.tensor([begun + written])
            logits = generator.model(input_ids=torch.tensor([source]), decoder_input_ids=ids).logits[0]
        log_p = logits.log_softmax(-1)[len(begun) - 1 : -1]
        return float(log_p.gather(1, ids[0, len(begun) :, None]).mean())

    greedy = generator.generate(PROMPT, max_new_tokens=6)
    beams = generator.generate(PROMPT, max_new_tokens=6, num_beams=4)
    assert log_likelihood(beams) >= log_likelihood(greedy) - 0.5  # the tokens of a text may be cut in another way


def test_a_special_token_in_the_users_text_is_spelt_out(generator):
    source, begun, _ = generator.inputs("x = '</s><fim_middle>'")
    special = generator.special
    assert source.count(special.eos) == 1
    assert special.eos not in begun
    assert special.fim_middle not in source + begun


def test_the_end_of_a_long_prompt_is_what_the_decoder_begins_with(generator):
    prompt = "".join(f"def f{number}(a), do: a + {number}\n" for number in range(100))
    source, begun, given_back = generator.inputs(prompt)
    tokens = generator.tokenizer(prompt, add_special_tokens=False).input_ids
    kept = source[1:-1] + begun[1:]
    assert kept == tokens[: len(kept)]
    assert generator.tokenizer.decode(kept) + given_back == prompt
    assert len(begun) == 1 + DECODER_PREFIX
    assert (source[0], source[-1], begun[0]) == (generator.special.code, generator.special.eos, 1)


def test_a_suffix_makes_a_hole(generator):
    source, begun, given_back = generator.inputs("def f do\n", "\nend")
    text = generator.tokenizer.decode(source)
    assert text == "<fim_prefix>def f do\n<fim_suffix>\nend<fim_middle></s>"
    assert (begun, given_back) == ([1], "")


@pytest.mark.parametrize("prompt", [PROMPT, "defmodule Stack do", "  def f(a", "x = :er", "# naïve café"])
@pytest.mark.parametrize("beams", [1, 3])
def test_what_a_prompt_gives_back_is_written_again_and_not_shown(generator, prompt, beams):
    text = generator.generate(prompt, max_new_tokens=8, num_beams=beams)
    source, begun, given_back = generator.inputs(prompt)
    known = generator.tokenizer.decode(source[1:-1] + begun[1:])
    assert known + given_back == prompt
    assert not given_back or not text.startswith(given_back + given_back)


def test_a_prompt_may_end_inside_a_token(generator):
    whole, cut = (
        generator.generate(prompt, max_new_tokens=4) for prompt in ("defmodule Stack do", "defmodule Stack d")
    )
    assert whole
    assert ("d" + cut).startswith("d")
    healing = TokenHealing("defm", generator.texts, start=0)
    scores = healing(torch.zeros(1, 0, dtype=torch.long), torch.zeros(1, len(generator.texts)))
    allowed = {generator.texts[index] for index in scores[0].isfinite().nonzero().flatten().tolist()}
    assert "defmodule" in allowed
    assert all(text.startswith("defm") for text in allowed)
    assert healing(torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, len(generator.texts))).isfinite().all()


@pytest.mark.parametrize("prompt", ["", " \n"])
def test_an_empty_prompt_is_an_error(generator, prompt):
    with pytest.raises(InputError, match="the prompt is empty"):
        generator.generate(prompt)


def test_input_over_the_limit_is_an_error(generator):
    with pytest.raises(InputError, match=r"the input has \d+ tokens, the model reads 4096"):
        generator.generate("a + 1 == b ; " * 4096)


def test_asking_for_more_than_the_model_writes_is_an_error(generator):
    with pytest.raises(InputError, match="max_new_tokens may be"):
        generator.generate(PROMPT, max_new_tokens=4096)


def test_a_folder_without_a_model_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="no tokenizer"):
        Generator(tmp_path)


def test_the_command_prints_the_prompt_and_what_follows(capsys):
    assert main(["generate", PROMPT, "--max_new_tokens", "8", "--temperature", "1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(PROMPT)
    assert len(out) > len(PROMPT) + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["", "--max_new_tokens", "8"], "the prompt is empty"),
        (["x", "--max_new_tokens", "0"], "--max_new_tokens"),
        (["x", "--top_p", "1.5"], "--top_p"),
        (["x", "--repetition_penalty", "0"], "--repetition_penalty"),
        (["x", "--temperature", "1", "--num_beams", "2"], "--num_beams"),
        (["x", "--model", "nowhere"], "no tokenizer at nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(capsys, arguments, message):
    assert main(["generate", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_standard_input_that_is_not_utf_8_is_an_error(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"def \xff do")))
    assert main(["generate", "-"]) == 2
    assert "standard input is not UTF-8: byte 4 is 0xff" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_named(capsys, tmp_path):
    root = Path(__file__).parents[2]
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((root / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes((root / "model.safetensors").read_bytes()[:1_000_000])
    assert main(["generate", "x", "--model", str(tmp_path)]) == 2
    assert "truncated or damaged" in capsys.readouterr().err
