"""What evaluation is tested on: a tokenizer of a few hundred tokens, a random model, two files."""

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from elixir_coder.checkpoint import new_model, preset_config, vocabulary_fields
from elixir_coder.example import Example
from tokenization_elixir_coder import SPECIAL_TOKENS

STACK = """defmodule Stack do
  @moduledoc "Last in, first out."

  def new do
    []
  end

  def push(stack, item) when is_list(stack) do
    [item | stack]
  end

  defp sum([head | tail], total) do
    case tail do
      [] -> head + total
      _ -> sum(tail, head + total)
    end
  end
end
"""

QUEUE = """defmodule Queue do
  defstruct front: [], back: []

  def add(%Queue{back: back} = queue, item) do
    %{queue | back: [item | back]}
  end

  defmacro empty?(queue) do
    quote do
      unquote(queue) == %Queue{}
    end
  end
end
"""


def example_of(code, path="lib/a.ex", package="a", **fields):
    return Example.of(code, path=path, package=package, version="1.0", licence="MIT", source="folder", **fields)


def small_examples():
    return [example_of(STACK, "lib/stack.ex", "stores"), example_of(QUEUE, "lib/queue.ex", "stores")]


def small_tokenizer():
    """Byte-level BPE, 500 tokens, with every special token of the real one at its own id."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [STACK, QUEUE],
        trainers.BpeTrainer(vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    named = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=256, **named)


def small_model(tokenizer):
    """32 wide, one layer a side, the same random weights each time; reads and writes 256 tokens.

    The output matrix is one of its own: tied to the input, random weights repeat the last token for ever.
    """
    torch.manual_seed(0)
    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    config = preset_config(
        "tiny",
        **vocabulary_fields(tokenizer),
        **sizes,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        init_std=0.5,
    )
    return new_model(config).eval()
