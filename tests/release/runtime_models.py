"""What runtimes are tested on: a model of each form with weights that hide no error, in a folder with a tokenizer."""

import re
from pathlib import Path

import torch
from transformers import AutoTokenizer

from elixir_coder.checkpoint import ElixirCoderConfig, new_model, save_model, vocabulary_fields
from tests.evaluation.small import small_tokenizer
from tests.test_modeling import SHAPE, VARIANTS

ROOT = Path(__file__).parents[2]
SOURCES = ([300, 12, 301, 260, 305, 299, 306, 2], [300, 288, 297, 2])


def shipped_tokenizer():
    return AutoTokenizer.from_pretrained(ROOT, trust_remote_code=False)


def named_tokenizer():
    """The small tokenizer, which says of itself that llama.cpp knows its split."""
    tokenizer = small_tokenizer()
    tokenizer.init_kwargs["llama_cpp_pre_tokenizer"] = "superbpe"
    return tokenizer


def save_variant(folder, variant, tokenizer=None, **changes):
    """Write a model of tests/test_modeling.py's form `variant` with noise on every weight; its folder."""
    tokenizer = tokenizer or small_tokenizer()
    torch.manual_seed(0)
    fields = SHAPE | VARIANTS[variant] | vocabulary_fields(tokenizer) | changes
    model = new_model(ElixirCoderConfig(**fields)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    save_model(folder, model, tokenizer)
    return folder


def padded(rows, value=0):
    """Rows of different lengths as one batch, padded on the right, and its mask."""
    ids = [torch.tensor(row) for row in rows]
    masks = [torch.ones_like(row) for row in ids]
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(ids, batch_first=True, padding_value=value), pad(masks, batch_first=True)


def documented(library):
    """The block of Python in docs/RUNTIMES.md that imports a library."""
    text = (ROOT / "docs" / "RUNTIMES.md").read_text(encoding="utf-8")
    (block,) = (
        each for each in re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE) if library in each
    )
    return block
