"""sentence-transformers opens the checkout, a copy of it elsewhere and what it saves itself: always our own vectors."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from elixir_coder.checkpoint import load_model, load_tokenizer
from elixir_coder.errors import CheckpointError
from elixir_coder.release.embedding import MODULE_FILES, export, write_module_files
from tests.fresh_process import run
from tokenization_elixir_coder import encode_untrusted

ROOT = Path(__file__).parents[1]
WEIGHTS = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
TEXTS = [
    "def add(a, b), do: a + b",
    "x",
    "# <code>, <extra_id_0> and </s> are text here, as they are to a reader",
    "defmodule Stack do\n  use GenServer\n\n  def init(stack), do: {:ok, stack}\nend\n" * 4,
]

# Nothing says "offline" to the first load: it asks the Hub for a model card and goes on without. From then on attempts
# to reach anything are counted.
OPEN = """
import json, socket, sys, warnings
import torch

tried = []
def refuse(*arguments, **settings):
    tried.append(repr(arguments))
    raise OSError("there is no network")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse

from sentence_transformers import SentenceTransformer
from transformers import AutoModel

torch.set_num_threads(1)
copy, alone, saved, checkout, texts = sys.argv[1:]
texts, found, vectors = json.loads(texts), {}, {}

def opened(folder):
    return SentenceTransformer(folder, trust_remote_code=True, device="cpu", local_files_only=True)

SentenceTransformer(copy, trust_remote_code=True, device="cpu")
tried.clear()
model = opened(copy)
vectors["a copy"] = model.encode(texts, convert_to_tensor=True)
vectors["a copy, one by one"] = torch.stack([model.encode(text, convert_to_tensor=True) for text in texts])
found["class"] = type(model.transformers_model).__name__
found["width"] = model.get_embedding_dimension()
found["longest"] = model.max_seq_length
found["similarity"] = model.similarity_fn_name
found["dtype"] = str(model.dtype)
found["cosine of a text and itself"] = model.similarity(vectors["a copy"][0], vectors["a copy"][0]).item()
found["read of a long text"] = model.preprocess(["a = b\\n" * 5000])["input_ids"].shape[1]
model.save_pretrained(saved)
vectors["what it saved"] = opened(saved).encode(texts, convert_to_tensor=True)
vectors["the encoder alone"] = opened(alone).encode(texts, convert_to_tensor=True)
encoder, info = AutoModel.from_pretrained(alone, trust_remote_code=True, output_loading_info=True)
found["alone"] = [type(encoder).__name__, str(encoder.dtype)]
found["left over or missing"] = sorted(info["missing_keys"]) + sorted(info["unexpected_keys"])

sys.path.insert(0, checkout)
import elixir_coder.checkpoint  # registers the installed classes, so that AutoModel means encoder and decoder
vectors["the checkout, our classes registered"] = opened(checkout).encode(texts, convert_to_tensor=True)
torch.save(vectors, f"{saved}/vectors.pt")
print(json.dumps(found | {"connections": tried}))
"""


@pytest.fixture(scope="module")
def expected():
    """Our own vectors, each text by itself, without padding: (texts, D)."""
    tokenizer, model = load_tokenizer(ROOT), load_model(ROOT)
    with torch.no_grad():
        rows = [
            model.encode(torch.tensor([[*encode_untrusted(tokenizer, text), tokenizer.eos_token_id]])) for text in TEXTS
        ]
    return torch.cat(rows)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """What a new process elsewhere found with sentence-transformers, and the vectors it got from each folder."""
    work = tmp_path_factory.mktemp("elsewhere")
    copy, alone, saved = work / "copy", work / "alone", work / "saved"
    copy.mkdir()
    for name in (*WEIGHTS, *MODULE_FILES, *(path.name for path in ROOT.glob("*_elixir_coder.py"))):
        shutil.copyfile(ROOT / name, copy / name)
    export(ROOT, alone)
    answer = run(OPEN, copy, alone, saved, ROOT, json.dumps(TEXTS), folder=work, says_offline=False)
    return answer, torch.load(saved / "vectors.pt"), work


@pytest.mark.parametrize(
    "folder",
    ["a copy", "a copy, one by one", "what it saved", "the encoder alone", "the checkout, our classes registered"],
)
def test_the_vectors_are_those_of_encode_and_of_length_one(folder, opened, expected):
    vectors = opened[1][folder]
    assert vectors.dtype == torch.float32
    assert (vectors - expected).abs().max() < 1e-5
    assert (vectors.norm(dim=-1) - 1).abs().max() < 1e-5
    assert (expected @ expected.T).fill_diagonal_(0).max() < 0.999, "the texts are too alike to tell vectors apart"


def test_the_folder_opens_without_network_as_the_encoder_in_float32(opened):
    assert opened[0] == {
        "class": "ElixirCoderEncoderModel",
        "width": 256,
        "longest": 4096,
        "similarity": "cosine",
        "dtype": "torch.float32",
        "cosine of a text and itself": pytest.approx(1, abs=1e-5),
        "read of a long text": 4096,
        "alone": ["ElixirCoderEncoderModel", "torch.bfloat16"],
        "left over or missing": [],
        "connections": [],
    }


def test_the_checkout_holds_what_is_written_beside_a_model(tmp_path):
    for path in write_module_files(tmp_path):
        assert (ROOT / path.name).read_text("utf-8") == path.read_text("utf-8")
    assert {path.name for path in tmp_path.iterdir()} == set(MODULE_FILES)


def test_the_encoder_alone_holds_its_weights_unchanged_and_no_decoder(opened):
    whole, alone = load_file(ROOT / "model.safetensors"), load_file(opened[2] / "alone" / "model.safetensors")
    assert {f"model.{name}" for name in alone} == {name for name in whole if ".encoder." in name or "shared" in name}
    assert all(torch.equal(weight, whole[f"model.{name}"]) for name, weight in alone.items())


def test_export_gives_its_files_and_leaves_others_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    written = export(ROOT, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in written} | {"notes.txt"}
    assert {*WEIGHTS, *MODULE_FILES, "modeling_elixir_coder.py"} <= {path.name for path in written}
    assert len({path.stat().st_mode for path in written}) == 1, "others may read some files and not all"


def test_the_encoder_is_written_in_another_type_when_asked_for(tmp_path):
    export(ROOT, tmp_path, dtype="float16")
    assert {weight.dtype for weight in load_file(tmp_path / "model.safetensors").values()} == {torch.float16}
    assert json.loads((tmp_path / "config.json").read_text("utf-8"))["dtype"] == "float16"


def test_an_export_that_fails_writes_nothing(tmp_path):
    with pytest.raises(CheckpointError, match="no tokenizer at"):
        export(tmp_path / "nothing", tmp_path / "out")
    (tmp_path / "a file").touch()
    with pytest.raises(CheckpointError, match="cannot write to"):
        export(ROOT, tmp_path / "a file")
    assert [path.name for path in tmp_path.iterdir()] == ["a file"]
