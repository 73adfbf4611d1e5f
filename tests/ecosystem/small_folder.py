"""Model folders of a few kilobytes, opened as somebody would who has the folder and none of our package.

`load` goes through `AutoModel...(trust_remote_code=True)`: the classes are those of the Python files in the folder.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from configuration_elixir_coder import ElixirCoderConfig
from modeling_elixir_coder import ElixirCoderForMultiTask

SHAPE = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 128,
    "dropout": 0.0,
    "init_std": 0.2,  # outputs that depend on the input visibly
    "quality_labels": ["ModuleDoc", "Nesting", "Specs"],
    "security_labels": ["SQL.Query", "XSS.HTML"],
    "classifier_dropout": 0.0,
}
VARIANTS = {
    "tiny": {
        "position_embedding_type": "relative",
        "norm_type": "rmsnorm",
        "gated_ffn": True,
        "activation_function": "gelu_new",
        "use_bias": False,
        "scale_embedding": True,
    },
    "bart": {"position_embedding_type": "learned", "norm_position": "post", "layernorm_embedding": True},
    "small": {
        "position_embedding_type": "rotary",
        "num_key_value_heads": 2,
        "norm_type": "rmsnorm",
        "gated_ffn": True,
        "activation_function": "swish",
        "use_bias": False,
        "cross_attention_gate": True,
    },
    "base": {"position_embedding_type": "sinusoidal"},
}
MOST_UNLIKE = ("tiny", "bart", "small")  # what most tests run on
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<code>"]
AUTO_CLASSES = {
    "AutoModel": "ElixirCoderModel",
    "AutoModelForTextEncoding": "ElixirCoderEncoderModel",
    "AutoModelForSeq2SeqLM": "ElixirCoderForConditionalGeneration",
    "AutoModelForSequenceClassification": "ElixirCoderForSequenceClassification",
    "AutoModelForPreTraining": "ElixirCoderForMultiTask",
}


def small_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes and five special tokens."""
    vocabulary = {token: index for index, token in enumerate(SPECIAL + sorted(pre_tokenizers.ByteLevel.alphabet()))}
    bytes_only = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=bytes_only,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<code>"],
        model_input_names=["input_ids", "attention_mask"],
    )


def write_folder(folder: Path, variant: str = "tiny", seed: int = 0, matrices: float = 1.0, **changes) -> Path:
    """A folder with all the heads, the tokenizer and the code.

    Noise on every weight makes each of them matter. matrices: a factor for those of the layers; from 3 on, greedy
    search writes something else than the last token once more, which is all that a tied head on random weights does.
    """
    tokenizer = small_tokenizer()
    torch.manual_seed(seed)
    config = ElixirCoderConfig(**SHAPE | VARIANTS[variant] | {"vocab_size": len(tokenizer)} | changes)
    model = ElixirCoderForMultiTask(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
            if parameter.dim() > 1 and "layers." in name:
                parameter.mul_(matrices)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load(folder: Path, auto: str = "AutoModelForSeq2SeqLM", **settings):
    """The model of a folder, of the folder's own class, in evaluation mode."""
    model = getattr(transformers, auto).from_pretrained(folder, trust_remote_code=True, **settings)
    assert type(model).__module__.startswith("transformers_modules."), type(model)
    assert type(model).__name__ == AUTO_CLASSES[auto]
    return model.eval()


def sources(rows: int = 3, length: int = 11, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random sources of unequal length, padded on the right."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(len(SPECIAL), 200, (rows, length), generator=generator)
    mask = torch.arange(length)[None] < length - torch.arange(rows)[:, None]
    return {"input_ids": ids * mask, "attention_mask": mask.long()}


def targets(rows: int = 3, length: int = 9, seed: int = 1) -> torch.Tensor:
    """Labels of unequal number in each row."""
    ids = sources(rows, length, seed)
    return ids["input_ids"].masked_fill(ids["attention_mask"] == 0, -100)


def judgements(rows: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {
        "quality_labels": torch.randint(0, 2, (rows, 3), generator=generator),
        "security_labels": torch.randint(0, 2, (rows, 2), generator=generator),
        "clarification_labels": torch.randint(0, 2, (rows,), generator=generator),
    }


def largest_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Over tensors of the same names."""
    assert a.keys() == b.keys()
    return max((math.inf if a[name].shape != b[name].shape else (a[name] - b[name]).abs().max().item()) for name in a)
