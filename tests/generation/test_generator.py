"""Text in, text out, with the model of this checkout."""

import importlib.util
import io
import re
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

needs_llguidance = pytest.mark.skipif(
    not importlib.util.find_spec("llguidance"), reason="needs llguidance: pip install 'elixir-coder[decode]'"
)


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


# ------------------------------------------------------------------------------------------------------- with a grammar


def parses(text):
    from elixir_coder.toolchain.toolchain import Toolchain

    with Toolchain(workers=1) as toolchain:
        return toolchain.parse(text).ok


@needs_llguidance
@pytest.mark.elixir
@pytest.mark.parametrize(
    ("prompt", "settings"),
    [
        (PROMPT, {"temperature": 1.5, "seed": 1}),
        ("defmodule Stack do", {}),
        ("  def f(a", {"temperature": 1.5, "seed": 2}),
        ("x = :er", {}),
        ("# naïve café", {"num_beams": 3}),
        ("Enum.ma", {"num_beams": 3}),
    ],
)
def test_prompt_and_text_are_elixir_within_any_budget(generator, prompt, settings):
    text = generator.generate(prompt, max_new_tokens=16, grammar="elixir", **settings)
    assert parses(prompt + text)


@needs_llguidance
@pytest.mark.elixir
def test_what_fills_a_hole_makes_both_sides_elixir(generator):
    prompt, suffix = "def sum(a, b) do\n  [", "]\nend\n"
    text = generator.generate(prompt, suffix, max_new_tokens=12, temperature=1.0, seed=2, grammar="elixir")
    assert parses(prompt + text + suffix)


@needs_llguidance
@pytest.mark.elixir
def test_a_text_may_be_something_else_than_a_file(generator):
    text = generator.generate("{:ok, ", max_new_tokens=12, temperature=1.0, grammar="elixir", start="pattern")
    assert parses(f"case x do\n  {{:ok, {text} -> nil\nend")


@needs_llguidance
def test_what_is_given_back_can_be_written_again_within_the_grammar(generator):
    grammar = generator.grammar_for("defmodule Stack do")
    _, _, given_back = generator.inputs("defmodule Stack do", grammar=grammar)
    text = generator.generate("defmodule Stack do", max_new_tokens=16, grammar=grammar)
    assert given_back
    assert text[0] in " \n"


@needs_llguidance
def test_a_monitor_decides_what_a_name_may_go_on_with(generator):
    class Only:
        """Behind `Enum.ma`, a `p` and no other letter."""

        def __init__(self, text):
            self.text = text

        def state(self, text):
            return Only(text)

        def after(self, piece):
            return Only(self.text + piece)

        def allows(self, piece):
            return b"Enum.mi" not in self.text + piece and not (self.text + piece).endswith(b"mi")

        def mask(self, within=None):
            return None

        def completions(self):
            return [b""]

        def may_end(self):
            return True

    text = generator.generate("x = Enum.m", max_new_tokens=8, temperature=2.0, grammar="elixir", monitor=Only(b""))
    assert not text.startswith("i")


@needs_llguidance
def test_a_prompt_that_is_no_elixir_is_an_error_with_its_place(generator):
    with pytest.raises(InputError, match=r"not the beginning of Elixir \(file\): line 2, column 5, byte 1\d"):
        generator.generate("def a do\n  x )", max_new_tokens=8, grammar="elixir")


@needs_llguidance
def test_a_prompt_that_only_the_loose_grammar_knows_is_taken(generator):
    assert generator.grammar_for("defmodule A do\n").mode == "strict"
    assert generator.grammar_for("x = ïnt + 1\n").mode in ("strict", "accept")


@needs_llguidance
def test_a_budget_too_small_to_end_is_an_error(generator):
    with pytest.raises(InputError, match="--max_new_tokens"):
        generator.generate("x = [[[[[{{{{{fn -> ((((", max_new_tokens=1, grammar="elixir")


def test_another_grammar_is_an_error(generator):
    with pytest.raises(InputError, match="no such grammar: erlang"):
        generator.generate(PROMPT, grammar="erlang")


def test_a_monitor_without_a_grammar_is_an_error(generator):
    with pytest.raises(InputError, match="a monitor goes with the grammar"):
        generator.generate(PROMPT, monitor=object())


# -------------------------------------------------------------------------------------------------------- the command


@needs_llguidance
@pytest.mark.elixir
def test_the_command_writes_elixir_unless_told_otherwise(capsys):
    assert main(["generate", PROMPT, "--max_new_tokens", "12", "--temperature", "1"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(PROMPT)
    assert parses(captured.out)
    assert captured.err == ""


@needs_llguidance
@pytest.mark.elixir
def test_what_elixir_refuses_is_repaired_and_said(capsys, monkeypatch):
    monkeypatch.setattr(Generator, "stream", lambda *_, **__: iter(["  1\n", "  )\n", "end\n"]))
    assert main(["generate", PROMPT]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(PROMPT + "  1\n")
    assert parses(captured.out)
    assert "Elixir refused it" in captured.err


@needs_llguidance
@pytest.mark.elixir
@pytest.mark.parametrize("seed", [1, 2])
def test_with_names_only_functions_that_exist_are_called(capsys, seed):
    from elixir_coder.generation.names import NameTable

    arguments = ["--names", "--temperature", "2", "--seed", str(seed), "--max_new_tokens", "12"]
    assert main(["generate", "x = String.", *arguments]) == 0
    name = re.match(r"x = String\.(\w+[?!]?)", capsys.readouterr().out)[1]
    assert NameTable.installed().find("String").arities(name)


@needs_llguidance
@pytest.mark.elixir
def test_a_project_that_is_none_is_an_error(capsys, tmp_path):
    assert main(["generate", PROMPT, "--names", "--project", str(tmp_path)]) == 2
    assert "is not a Mix project" in capsys.readouterr().err


@needs_llguidance
def test_without_elixir_the_command_says_that_nobody_was_asked(capsys, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert main(["generate", PROMPT, "--max_new_tokens", "4"]) == 0
    assert "its parser was not asked" in capsys.readouterr().err


def test_without_llguidance_the_command_says_what_to_do(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    assert main(["generate", PROMPT]) == 2
    error = capsys.readouterr().err
    assert "pip install 'elixir-coder[decode]'" in error
    assert "--grammar none" in error
    assert main(["generate", PROMPT, "--max_new_tokens", "4", "--grammar", "none"]) == 0


def test_the_command_prints_the_prompt_and_what_follows(capsys):
    assert main(["generate", PROMPT, "--max_new_tokens", "8", "--temperature", "1", "--grammar", "none"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(PROMPT)
    assert len(out) > len(PROMPT) + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["", "--grammar", "none"], "the prompt is empty"),
        (["x", "--max_new_tokens", "0"], "--max_new_tokens"),
        (["x", "--top_p", "1.5"], "--top_p"),
        (["x", "--repetition_penalty", "0"], "--repetition_penalty"),
        (["x", "--temperature", "1", "--num_beams", "2"], "--num_beams"),
        (["x", "--model", "nowhere", "--grammar", "none"], "no tokenizer at nowhere"),
        (["x", "--project", "."], "--project goes with --names"),
        (["x", "--names", "--grammar", "none"], "--names goes with --grammar elixir"),
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
    assert main(["generate", "x", "--grammar", "none", "--model", str(tmp_path)]) == 2
    assert "truncated or damaged" in capsys.readouterr().err
