"""A model folder works where there is only transformers: another folder, no network, classes from the folder itself.

The same facts are checked of a small folder saved here and of the checkout, which is a model folder too. Each runs in
processes of its own, so that nothing this one has imported can help.
"""

import json
from pathlib import Path

import pytest
import torch

from configuration_elixir_coder import ElixirCoderConfig
from modeling_elixir_coder import ElixirCoderForMultiTask
from tests.ecosystem.small_folder import small_tokenizer
from tests.fresh_process import run

ROOT = Path(__file__).parents[1]

OPEN = """
import json, sys
import torch, transformers
from transformers import AutoTokenizer, TextIteratorStreamer, pipeline

torch.set_num_threads(1)
folder, copy = sys.argv[1:]
found = {"classes": {}, "missing": {}, "unexpected": {}}
trusted = {"trust_remote_code": True, "dtype": torch.float32}
config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
inputs = tokenizer(["<code>def area(radius) do</s>", "<code>x</s>"], padding=True, add_special_tokens=False,
                   return_tensors="pt", return_token_type_ids=False)
written = torch.tensor([[1, 7, 8, 9]] * 2)

def opened(auto):
    model, info = getattr(transformers, auto).from_pretrained(folder, output_loading_info=True, **trusted)
    found["classes"][auto] = f"{type(model).__module__.split('.')[0]}/{type(model).__name__}"
    found["missing"][auto] = sorted({name.split(".")[0] for name in info["missing_keys"]})
    found["unexpected"][auto] = sorted(info["unexpected_keys"])
    return model.eval()

with torch.no_grad():
    found["base"] = opened("AutoModel")(**inputs, decoder_input_ids=written).last_hidden_state.shape
    found["encoder"] = opened("AutoModelForTextEncoding")(**inputs).last_hidden_state.shape
    found["labels"] = opened("AutoModelForSequenceClassification")(**inputs).logits.shape
    found["whole"] = list(opened("AutoModelForPreTraining")(**inputs, decoder_input_ids=written).keys())
    model = opened("AutoModelForSeq2SeqLM")
    logits = model(**inputs, decoder_input_ids=written).logits
    found["sizes"] = [len(tokenizer), config.vocab_size, logits.shape[-1]]

settings = {"max_new_tokens": 12, "min_new_tokens": 12}
greedy = model.generate(**inputs, **settings)
found["text"] = tokenizer.batch_decode(greedy, skip_special_tokens=True)
found["beams"] = model.generate(**inputs, num_beams=2, **settings).shape
found["samples"] = model.generate(**inputs, do_sample=True, num_return_sequences=2, **settings).shape
one = {name: tensor[:1] for name, tensor in inputs.items()}
streamer = TextIteratorStreamer(tokenizer, skip_special_tokens=True)
model.generate(**one, streamer=streamer, **settings)
found["stream"] = "".join(streamer) == tokenizer.decode(model.generate(**one, **settings)[0], skip_special_tokens=True)

for name, task in (("no task", {}), ("task", {"task": "text2text-generation"})):
    write = pipeline(**task, model=folder, trust_remote_code=True, device="cpu", dtype=torch.float32)
    found[f"pipeline, {name}"] = write("def area(radius) do", **settings)
judge = pipeline("text-classification", model=folder, trust_remote_code=True, device="cpu", dtype=torch.float32)
judged = judge("def area(radius) do", top_k=None)
found["judged"] = sorted(each["label"] for each in judged) == sorted(config.id2label.values())
found["judgement is a probability each"] = all(0 < each["score"] < 1 for each in judged)

model.save_pretrained(copy)
tokenizer.save_pretrained(copy)
torch.save({"inputs": dict(inputs), "written": written, "logits": logits, "greedy": greedy}, f"{copy}/expected.pt")
# asks whether to run the folder's code, and goes on without when nobody answers
found["tokenizer alone"] = AutoTokenizer.from_pretrained(folder).get_vocab() == tokenizer.get_vocab()
print("\\n" + json.dumps(found))
"""

REOPEN = """
import json, sys
import torch
from transformers import AutoModelForSeq2SeqLM, pipeline

torch.set_num_threads(1)
folder = sys.argv[1]
expected = torch.load(f"{folder}/expected.pt")
model = AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True, dtype=torch.float32).eval()
settings = {"max_new_tokens": 12, "min_new_tokens": 12}
with torch.no_grad():
    logits = model(**expected["inputs"], decoder_input_ids=expected["written"]).logits
    greedy = model.generate(**expected["inputs"], **settings)
write = pipeline(model=folder, trust_remote_code=True, device="cpu", dtype=torch.float32)
print(json.dumps({
    "logits": torch.equal(logits, expected["logits"]),
    "greedy": torch.equal(greedy, expected["greedy"]),
    "text": write("def area(radius) do", **settings),
}))
"""


def save_small_folder(folder):
    tokenizer = small_tokenizer()
    torch.manual_seed(0)
    config = ElixirCoderConfig.tiny(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_position_embeddings=64,
        init_std=0.2,
    )
    ElixirCoderForMultiTask(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["a saved folder", "the checkout"])
def opened(request, tmp_path_factory):
    """What one process found in a model folder, and what another found in the copy that the first one saved."""
    work = tmp_path_factory.mktemp("elsewhere")
    folder = ROOT if request.param == "the checkout" else save_small_folder(tmp_path_factory.mktemp("model"))
    found = run(OPEN, folder, work / "copy", folder=work)
    return found, run(REOPEN, work / "copy", folder=work), work / "copy"


def test_every_auto_class_opens_the_class_of_the_folder(opened):
    assert opened[0]["classes"] == {
        "AutoModel": "transformers_modules/ElixirCoderModel",
        "AutoModelForTextEncoding": "transformers_modules/ElixirCoderEncoderModel",
        "AutoModelForSequenceClassification": "transformers_modules/ElixirCoderForSequenceClassification",
        "AutoModelForPreTraining": "transformers_modules/ElixirCoderForMultiTask",
        "AutoModelForSeq2SeqLM": "transformers_modules/ElixirCoderForConditionalGeneration",
    }


def test_no_weight_is_left_over_and_only_heads_may_be_new(opened):
    found = opened[0]
    assert not any(found["unexpected"].values())
    assert {name for names in found["missing"].values() for name in names} <= {
        "quality_head",
        "security_head",
        "clarification_head",
    }
    assert not any(
        found["missing"][auto] for auto in ("AutoModel", "AutoModelForTextEncoding", "AutoModelForSeq2SeqLM")
    )


def test_shapes_are_those_of_the_configuration(opened):
    found, (_, length, width) = opened[0], opened[0]["encoder"]
    assert found["base"] == [2, 4, width]
    assert found["encoder"] == [2, length, width]
    assert found["labels"] == [2, 137]
    assert {"logits", "quality_logits", "security_logits", "clarification_logits"} <= set(found["whole"])


def test_the_tokenizer_has_a_token_for_each_row_of_the_model(opened):
    assert len(set(opened[0]["sizes"])) == 1


def test_the_tokenizer_needs_no_code_of_the_folder(opened):
    assert opened[0]["tokenizer alone"]


def test_generate_writes_text_greedily_with_beams_by_sampling_and_as_a_stream(opened):
    found = opened[0]
    assert all(isinstance(text, str) and text for text in found["text"])
    assert (found["beams"], found["samples"]) == ([2, 13], [4, 13])
    assert found["stream"]


def test_pipelines_write_and_judge(opened):
    found = opened[0]
    (written,) = found["pipeline, no task"]
    assert written["generated_text"]
    assert found["pipeline, task"] == [written]
    assert found["judged"] and found["judgement is a probability each"]


def test_a_copy_saved_from_the_folder_is_identical_in_a_new_process(opened):
    found, again, _ = opened
    assert again == {"logits": True, "greedy": True, "text": found["pipeline, no task"]}


def test_a_copy_saved_from_the_folder_has_the_code_it_needs(opened):
    names = {path.name for path in opened[2].iterdir()}
    assert {"configuration_elixir_coder.py", "modeling_elixir_coder.py", "config.json", "model.safetensors"} <= names
    config = json.loads((opened[2] / "config.json").read_text())
    assert config["auto_map"]["AutoModelForSeq2SeqLM"] == ("modeling_elixir_coder.ElixirCoderForConditionalGeneration")
    assert set(config["auto_map"]) >= {"AutoConfig", "AutoModel", "AutoModelForSequenceClassification"}
