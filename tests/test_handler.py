"""`handler.py` answers an endpoint's requests from its folder alone, and names the field of one it cannot answer."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch

from configuration_elixir_coder import ElixirCoderConfig
from elixir_coder.checkpoint import load_tokenizer, new_model, save_model
from tests.fresh_process import run
from tokenization_elixir_coder import encode_prompt, encode_untrusted, split_prompt

ROOT = Path(__file__).parents[1]
CODE = "def area(radius) do\n  "
TEXTS = [CODE, "x", "# `</s>`, <code> and <fim_middle> are text\n" * 3, "defmodule Stack do\n" * 40]
SHORT = {"max_new_tokens": 6}

# As the toolkit of inference endpoints does it: a module of this name, the folder first on the path.
START = """
import importlib.util, json, socket, sys

def refuse(*arguments, **settings):
    raise AssertionError(f"there is no network, and {arguments} was asked for")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse

folder, requests = sys.argv[1], json.loads(sys.argv[2])
sys.path.insert(0, folder)
spec = importlib.util.spec_from_file_location("handler.EndpointHandler", f"{folder}/handler.py")
handler = importlib.util.module_from_spec(spec)
sys.modules["handler.EndpointHandler"] = handler
spec.loader.exec_module(handler)

import torch
torch.set_num_threads(1)
endpoint = handler.EndpointHandler(folder)
print(json.dumps([[endpoint(request) for request in requests], "elixir_coder" in sys.modules]))
"""


def imported():
    spec = importlib.util.spec_from_file_location("handler_of_the_tests", ROOT / "handler.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model():
    """A small model with all its heads, and the shipped vocabulary."""
    torch.manual_seed(0)
    config = ElixirCoderConfig.tiny(
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_position_embeddings=256,
        init_std=0.2,
    )
    return new_model(config, "multitask").eval()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("endpoint") / "repository"
    save_model(folder, model, load_tokenizer(ROOT))
    shutil.copyfile(ROOT / "handler.py", folder / "handler.py")
    return folder


@pytest.fixture(scope="module")
def endpoint(folder):
    return imported().EndpointHandler(folder)


def written(model, tokenizer, source, begun, **settings):
    """What `generate` itself writes for one source: ids in, text out."""
    ids = model.generate(
        input_ids=torch.tensor([source]),
        attention_mask=torch.ones(1, len(source), dtype=torch.long),
        decoder_input_ids=torch.tensor([[1, *begun]]),
        **settings,
    )
    return tokenizer.decode(ids[0, 1 + len(begun) :], skip_special_tokens=True)


def test_a_text_is_continued_on_the_decoder_as_in_training(endpoint, model):
    tokenizer = endpoint.tokenizer
    for text in TEXTS[:1] + TEXTS[2:]:
        earlier, latest = split_prompt(encode_untrusted(tokenizer, text))
        source = [tokenizer.convert_tokens_to_ids("<code>"), *earlier, tokenizer.eos_token_id]
        (answer,) = endpoint({"inputs": text, "parameters": SHORT})
        assert answer == {"generated_text": written(model, tokenizer, source, latest, do_sample=False, **SHORT)}


def test_a_hole_is_given_to_the_encoder_with_both_its_sides(endpoint, model):
    hole = {"prefix": "def one, do: </s>", "suffix": "\n# <fim_middle>\n"}
    source = encode_prompt(endpoint.tokenizer, "fim", **hole)
    (answer,) = endpoint({"inputs": hole, "parameters": {"task": "infill", "num_beams": 2, **SHORT}})
    assert answer == {"generated_text": written(model, endpoint.tokenizer, source, [], num_beams=2, **SHORT)}


def test_a_batch_gives_what_its_texts_give_alone(endpoint, monkeypatch):
    for task in ("generate", "embed", "classify"):
        parameters = {"task": task, **(SHORT if task == "generate" else {})}
        alone = [endpoint({"inputs": text, "parameters": parameters})[0] for text in TEXTS]
        for limit in (16_384, 300):  # in one forward, and in several
            monkeypatch.setitem(type(endpoint).__call__.__globals__, "MAX_BATCH", limit)
            together = endpoint({"inputs": TEXTS, "parameters": parameters})
            if task == "generate":
                assert together == alone
            elif task == "embed":
                assert torch.tensor(together) == pytest.approx(torch.tensor(alone), abs=1e-5)
            else:
                for one, other in zip(together, alone, strict=True):
                    assert {each["label"]: pytest.approx(each["score"], abs=1e-5) for each in one} == {
                        each["label"]: each["score"] for each in other
                    }


def test_vectors_are_those_of_encode(endpoint, model):
    with torch.no_grad():
        expected = torch.cat(
            [model.encode(torch.tensor([[*encode_untrusted(endpoint.tokenizer, text), 2]])) for text in TEXTS]
        )
    vectors = torch.tensor(endpoint({"inputs": TEXTS, "parameters": {"task": "embed"}}))
    assert (vectors - expected).abs().max() < 1e-5
    assert (vectors.norm(dim=-1) - 1).abs().max() < 1e-5


def test_labels_are_those_of_the_heads_likeliest_first(endpoint, model):
    ids = torch.tensor([[*encode_untrusted(endpoint.tokenizer, CODE), 2]])
    with torch.no_grad():
        output = model(input_ids=ids, decoder_input_ids=torch.tensor([[1]]))
    config = model.config
    names = [*config.quality_labels, *config.security_labels, "clarification"]
    logits = torch.cat([output.quality_logits[0], output.security_logits[0], output.clarification_logits])
    expected = dict(zip(names, logits.sigmoid().tolist(), strict=True))
    (judged,) = endpoint({"inputs": CODE, "parameters": {"task": "classify", "top_k": 1000}})
    assert {each["label"]: each["score"] for each in judged} == pytest.approx(expected, abs=1e-5)
    scores = [each["score"] for each in judged]
    assert scores == sorted(scores, reverse=True)
    assert len(endpoint({"inputs": CODE, "parameters": {"task": "classify"}})[0]) == 10


def test_sampling_is_the_same_for_the_same_seed_and_leaves_torchs_own_alone(endpoint):
    request = {"inputs": CODE, "parameters": {"temperature": 2.0, "top_p": 1.0, "max_new_tokens": 12, "seed": 1}}
    state = torch.get_rng_state()
    first = endpoint(request)
    assert endpoint(request) == first
    assert endpoint({**request, "parameters": request["parameters"] | {"seed": 2}}) != first
    assert torch.equal(torch.get_rng_state(), state)


def test_the_whole_text_comes_back_when_asked_for(endpoint):
    (short,) = endpoint({"inputs": CODE, "parameters": SHORT, "stream": False})
    (whole,) = endpoint({"inputs": CODE, "parameters": {"return_full_text": True, "seed": None, **SHORT}})
    assert whole["generated_text"] == CODE + short["generated_text"]


def test_a_long_text_is_cut_when_asked_for(endpoint):
    cut = {"inputs": "a = b\n" * 500, "parameters": {"task": "embed", "truncate": True}}
    ids = encode_untrusted(endpoint.tokenizer, cut["inputs"])[:255]
    with torch.no_grad():
        expected = endpoint.model.encode(torch.tensor([[*ids, 2]]))
    assert torch.allclose(torch.tensor(endpoint(cut)), expected, atol=1e-5)


REFUSED = {
    "no object": (["def"], "a request is an object with `inputs`"),
    "no inputs": ({"parameters": {}}, "inputs is missing"),
    "unknown field": ({"inputs": "x", "parameter": {}}, "parameter is not known here; did you mean parameters?"),
    "a stream": ({"inputs": "x", "stream": True}, "stream must be false"),
    "parameters, no object": ({"inputs": "x", "parameters": [1]}, "parameters must be an object"),
    "unknown task": ({"inputs": "x", "parameters": {"task": "__init__"}}, "parameters.task must be one of generate,"),
    "a task of another type": ({"inputs": "x", "parameters": {"task": ["embed"]}}, "parameters.task must be one of"),
    "unknown parameter": ({"inputs": "x", "parameters": {"max_tokens": 1}}, "did you mean max_new_tokens?"),
    "a parameter of another task": (
        {"inputs": "x", "parameters": {"task": "embed", "seed": 1}},
        "parameters.seed is not known here; there is: task, truncate",
    ),
    "code to run": ({"inputs": "x", "parameters": {"trust_remote_code": True}}, "trust_remote_code is not known"),
    "a generate setting that loads": (
        {"inputs": "x", "parameters": {"custom_generate": "someone/else"}},
        "custom_generate is not known here",
    ),
    "out of range": (
        {"inputs": "x", "parameters": {"max_new_tokens": 0}},
        "parameters.max_new_tokens must be a whole number from 1 to 4,096, got 0",
    ),
    "true is no number": ({"inputs": "x", "parameters": {"num_beams": True}}, "parameters.num_beams must be"),
    "not a number": ({"inputs": "x", "parameters": {"temperature": float("nan")}}, "parameters.temperature must be"),
    "half a token": ({"inputs": "x", "parameters": {"max_new_tokens": 1.5}}, "parameters.max_new_tokens must be"),
    "no truth value": ({"inputs": "x", "parameters": {"return_full_text": "no"}}, "must be true or false, got 'no'"),
    "beams that are sampled": (
        {"inputs": "x", "parameters": {"num_beams": 2, "temperature": 1, "max_new_tokens": 2}},
        "parameters.num_beams searches",
    ),
    "no text": ({"inputs": 7}, "inputs must be text, got 7"),
    "no text in a list": ({"inputs": ["x", None]}, r"inputs\[1\] must be text, got None"),
    "a hole where text belongs": ({"inputs": {"prefix": "", "suffix": "x"}}, "inputs must be text"),
    "empty": ({"inputs": " \n"}, "inputs is empty"),
    "empty list": ({"inputs": []}, "inputs must hold 1 to 32 texts, got 0"),
    "too many": ({"inputs": ["x"] * 33}, "inputs must hold 1 to 32 texts, got 33"),
    "too many characters": ({"inputs": ["x" * 200_000] * 2}, "inputs may have 262,144 characters in all"),
    "too many tokens": (
        {"inputs": ["x", "a = b\n" * 500], "parameters": {"task": "embed"}},
        r"inputs\[1\] has [\d,]+ tokens, the model reads 256",
    ),
    "no room to write": (
        {"inputs": "x", "parameters": {"max_new_tokens": 256}},
        "parameters.max_new_tokens may be 254 at most after this text",
    ),
    "too much to write": (
        {"inputs": ["x"] * 32, "parameters": {"max_new_tokens": 200, "num_beams": 8}},
        "may be 16,384, got 32 × 8 × 200",
    ),
    "half a surrogate pair": ({"inputs": "ok \ud800"}, "inputs has half a surrogate pair at character 3"),
    "a hole without one side": (
        {"inputs": {"prefix": "x"}, "parameters": {"task": "infill"}},
        "inputs must be an object with prefix and suffix",
    ),
    "a hole that is no text": (
        {"inputs": {"prefix": "x", "suffix": 1}, "parameters": {"task": "infill"}},
        "inputs.suffix must be text, got 1",
    ),
    "a hole in nothing": (
        {"inputs": [{"prefix": "", "suffix": " "}], "parameters": {"task": "infill"}},
        r"inputs\[0\].prefix and inputs\[0\].suffix are both empty",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_request_that_cannot_be_answered_is_refused_by_the_name_of_its_field(case, endpoint):
    request, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        endpoint(request)


def test_the_answer_is_json_of_a_new_process_that_has_only_the_folder(folder, endpoint, tmp_path):
    requests = [
        {"inputs": TEXTS, "parameters": SHORT},
        {"inputs": [{"prefix": CODE, "suffix": "end"}], "parameters": {"task": "infill", **SHORT}},
        {"inputs": CODE, "parameters": {"task": "embed"}},
        {"inputs": CODE, "parameters": {"task": "classify", "top_k": 3}},
    ]
    answers, has_our_package = run(START, folder, json.dumps(requests), folder=tmp_path, says_offline=False)
    here = [endpoint(request) for request in requests]
    assert answers[:2] == here[:2]
    assert answers[2][0] == pytest.approx(here[2][0], abs=1e-5)
    assert [each["label"] for each in answers[3][0]] == [each["label"] for each in here[3][0]]
    assert not has_our_package


def test_heads_that_were_never_trained_do_not_judge():
    endpoint = imported().EndpointHandler(ROOT)
    assert endpoint.heads == []
    with pytest.raises(ValueError, match="the heads that judge are untrained"):
        endpoint({"inputs": CODE, "parameters": {"task": "classify"}})


def test_weights_that_are_not_all_there_are_refused(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(folder, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    del weights["model.encoder.layer_norm.weight"]
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lack model\.encoder\.layer_norm\.weight; copy the folder again"):
        imported().EndpointHandler(broken)
