"""`model.generate(..., grammar="elixir")` of whoever loads the folder with trust_remote_code, and nothing else.

Each program runs in a process of its own, in a folder of its own, with an empty cache of remote code.
"""

import shutil
from pathlib import Path

import pytest

from custom_generate.generate import generate
from tests.fresh_process import run

pytest.importorskip("llguidance", reason="needs llguidance: pip install 'elixir-coder[decode]'")

ROOT = Path(__file__).parents[1]
COMMIT = "0123456789abcdef0123456789abcdef01234567"

BEGIN = """
import functools, json, sys
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, TextIteratorStreamer

torch.set_num_threads(1)
folder = sys.argv[1]
model = AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True, dtype=torch.float32).eval()
plain = type(model).generate
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
source = tokenizer("<code>", return_tensors="pt", return_token_type_ids=False)
PROMPT = "def area(radius) do\\n  "
begun = tokenizer("<s>" + PROMPT, add_special_tokens=False, return_tensors="pt").input_ids
inputs = {**source, "decoder_input_ids": begun}
found = {"is ours": isinstance(model.generate, functools.partial)}
"""

PLAIN = (
    """
import sys
sys.modules["llguidance"] = None  # as where it is not installed
"""
    + BEGIN
    + """
def same(**settings):
    torch.manual_seed(0)
    ours = model.generate(**inputs, max_new_tokens=8, **settings)
    torch.manual_seed(0)
    return torch.equal(ours, plain(model, **inputs, max_new_tokens=8, **settings))

found["greedy"] = same()
found["no grammar"] = torch.equal(
    model.generate(**inputs, max_new_tokens=8, grammar=None), plain(model, **inputs, max_new_tokens=8))
found["sampling"] = same(do_sample=True, num_return_sequences=2)
found["beams"] = same(num_beams=2)
found["assistant"] = same(assistant_model=model)
found["inputs by place"] = torch.equal(
    model.generate(source.input_ids, max_new_tokens=4), plain(model, source.input_ids, max_new_tokens=4))
streamer = TextIteratorStreamer(tokenizer, skip_special_tokens=True)
written = model.generate(**inputs, max_new_tokens=8, streamer=streamer)
found["streamer"] = "".join(streamer) == tokenizer.decode(written[0], skip_special_tokens=True)
try:
    model.generate(**inputs, max_new_tokens=8, grammar="elixir")
except ImportError as error:
    found["refusal"] = str(error)
print(json.dumps(found))
"""
)

GRAMMAR = (
    BEGIN
    + """
def texts(inputs=inputs, **settings):
    torch.manual_seed(0)
    written = model.generate(**{"max_new_tokens": 24, "grammar": "elixir"} | inputs | settings)
    return tokenizer.batch_decode(written, skip_special_tokens=True)

found["greedy"] = texts()
found["sampling"] = texts(do_sample=True, temperature=1.5, top_k=0, num_return_sequences=3)
found["beams"] = texts(num_beams=3, num_return_sequences=2)
found["tokenizer given"] = texts(tokenizer=tokenizer)
found["by place"] = tokenizer.batch_decode(
    model.generate(source.input_ids, grammar="elixir", decoder_input_ids=begun, max_new_tokens=24),
    skip_special_tokens=True)
streamer = TextIteratorStreamer(tokenizer, skip_special_tokens=True)
found["not streamed"] = texts(streamer=streamer)
found["streamed"] = "".join(streamer)
hole = tokenizer("<fim_prefix>def one do\\n  <fim_suffix>\\nend\\n<fim_middle>", return_tensors="pt")
found["hole"] = texts({**hole}, grammar_prefix="def one do\\n  ", grammar_suffix="\\nend\\n", max_new_tokens=12)
found["expression"] = texts({**source}, grammar_start="expression", max_new_tokens=16)
rows = {name: tensor.repeat(2, 1) for name, tensor in source.items()}
found["rows"] = texts(rows, grammar_start=["pattern", "module_body"], max_new_tokens=16)
found["as plain would"] = texts(assistant_model=model)
found["max_length"] = texts(max_new_tokens=None, max_length=begun.shape[1] + 20)
errors = {}
for name, settings in {
    "grammar": {"grammar": "erlang"},
    "start": {"grammar_start": "somewhere"},
    "prefix": {"grammar_prefix": "def )"},
    "no grammar": {"grammar": None, "grammar_prefix": "def"},
    "no room": {"max_new_tokens": None, "max_length": 3},
}.items():
    try:
        texts(**settings)
    except ValueError as error:
        errors[name] = str(error)
found["errors"] = errors
found["again without"] = torch.equal(
    model.generate(**inputs, max_new_tokens=8), plain(model, **inputs, max_new_tokens=8))
print(json.dumps(found))
"""
)

OTHER = """
import json, sys
import torch
from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

torch.set_num_threads(1)
torch.manual_seed(0)
folder = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
model = T5ForConditionalGeneration(T5Config(
    vocab_size=len(tokenizer), d_model=16, d_ff=16, num_layers=1, num_heads=2, d_kv=8, decoder_start_token_id=1,
    eos_token_id=2, pad_token_id=0)).eval()
source = tokenizer("x", return_tensors="pt", return_token_type_ids=False)
settings = dict(custom_generate=folder, trust_remote_code=True, tokenizer=tokenizer, max_new_tokens=16,
                grammar="elixir", do_sample=True)
found = {}
sys.modules["decoding_elixir_coder"] = None  # as where this project is not installed
try:
    model.generate(**source, **settings)
except ValueError as error:
    found["refusal"] = str(error)
del sys.modules["decoding_elixir_coder"]
written = model.generate(**source, **settings, grammar_code=folder)
found["text"] = tokenizer.batch_decode(written, skip_special_tokens=True)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The files of the Hub repository, in a folder of another name than the checkout's."""
    folder = tmp_path_factory.mktemp("elsewhere") / "my.copy-1"
    folder.mkdir()
    for pattern in ("*_elixir_coder.py", "*.json", "model.safetensors", "custom_generate/generate.py"):
        for file in ROOT.glob(pattern):
            target = folder / file.relative_to(ROOT)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, target)
    return folder


@pytest.fixture(scope="module")
def without(copy, tmp_path_factory):
    """What a process without llguidance finds."""
    return run(PLAIN, copy, folder=tmp_path_factory.mktemp("without"))


@pytest.fixture(scope="module")
def written(copy, tmp_path_factory):
    """What a process with it writes."""
    return run(GRAMMAR, copy, folder=tmp_path_factory.mktemp("with"))


def parse(texts, start="file", before="", after=""):
    from elixir_coder.toolchain.toolchain import Toolchain
    from grammar_elixir_coder import frame

    first, last = frame(start)
    with Toolchain(workers=1) as toolchain:
        return [
            report.ok for report in toolchain.map("parse", [first + before + text + after + last for text in texts])
        ]


@pytest.mark.parametrize(
    "way", ["greedy", "no grammar", "sampling", "beams", "assistant", "inputs by place", "streamer", "is ours"]
)
def test_without_a_grammar_it_is_the_models_own_generate(without, way):
    assert without[way]


def test_a_grammar_without_llguidance_says_how_to_install_it(without):
    assert "pip install llguidance" in without["refusal"]


@pytest.mark.elixir
@pytest.mark.parametrize(
    "way", ["greedy", "sampling", "beams", "tokenizer given", "by place", "max_length", "as plain would"]
)
def test_what_follows_a_prompt_is_elixir_within_its_budget(written, way):
    assert all(text.startswith("def area(radius) do\n") for text in written[way])
    assert all(parse(written[way]))


def test_the_ways_to_say_the_same_write_the_same(written):
    assert written["greedy"] == written["tokenizer given"] == written["by place"] == written["not streamed"]
    assert [written["streamed"]] == written["greedy"]


def test_samples_and_beams_are_as_many_as_asked_for(written):
    assert (len(set(written["sampling"])), len(written["beams"])) == (3, 2)


@pytest.mark.elixir
def test_what_fills_a_hole_fits_on_both_sides(written):
    assert parse(written["hole"], before="def one do\n  ", after="\nend\n") == [True]


@pytest.mark.elixir
def test_each_row_may_start_elsewhere(written):
    pattern, body = written["rows"]
    assert parse([pattern], "pattern") + parse([body], "module_body") == [True, True]
    assert parse(written["expression"], "expression") == [True]


def test_what_cannot_be_is_said(written):
    assert "there is" in written["errors"]["grammar"]
    assert "somewhere" in written["errors"]["start"]
    assert "leaves the grammar" in written["errors"]["prefix"]
    assert 'add grammar="elixir"' in written["errors"]["no grammar"]
    assert "leaves no room" in written["errors"]["no room"]
    assert written["again without"]


def test_it_is_found_in_a_cache_of_the_hub_too(copy, tmp_path, monkeypatch):
    repository = tmp_path / "hub" / "models--us--elixir-coder"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    shutil.copytree(copy, repository / "snapshots" / COMMIT)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    short = (
        BEGIN
        + """
written = model.generate(**inputs, max_new_tokens=12, grammar="elixir")
print(json.dumps(tokenizer.batch_decode(written, skip_special_tokens=True)))
"""
    )
    (text,) = run(short, "us/elixir-coder", folder=tmp_path)
    assert text.startswith("def area(radius) do\n")


@pytest.mark.elixir
def test_another_model_takes_the_grammar_from_here(copy, tmp_path):
    found = run(OTHER, copy, folder=tmp_path)
    assert "grammar_code" in found["refusal"]
    assert all(parse(found["text"]))


def test_the_checkout_is_such_a_folder_too():
    assert generate.__kwdefaults__["grammar"] is None
    assert not (ROOT / "custom_generate" / "requirements.txt").exists()  # it would keep a model from loading
