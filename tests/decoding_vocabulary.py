"""Tokenizers for the tests of decoding: byte-level BPEs as small as they can be, learnt from a page of Elixir."""

from functools import lru_cache

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAGE = '''
defmodule Shop.Basket do
  @moduledoc """
  What a customer is about to buy.
  """
  alias Shop.{Item, Price}
  defstruct items: [], owner: nil

  @spec add(t(), Item.t()) :: {:ok, t()} | {:error, atom()}
  def add(%__MODULE__{items: items} = basket, item) when is_map(item) do
    if Enum.any?(items, &(&1.id == item.id)) do
      {:error, :already_there}
    else
      {:ok, %{basket | items: [item | items]}}
    end
  end

  def total(basket), do: basket.items |> Enum.map(fn item -> item.price end) |> Enum.sum()

  def name(basket) do
    case basket.owner do
      nil -> "nobody"
      owner -> "#{owner} has #{length(basket.items)} items, über 1_000 or 3.5"
    end
  end
end
'''


@lru_cache
def small_tokenizer(kind: str = "gpt2") -> PreTrainedTokenizerFast:
    """About 400 ids. "gpt2" splits words as GPT-2 does; "llama" by a pattern of its own and with special tokens behind
    the vocabulary, as Llama 3 and Qwen; "phrases" joins words across spaces, as ours."""
    tokenizer = Tokenizer(models.BPE())
    if kind == "llama":
        split = pre_tokenizers.Split(r" ?\w+|\s+|[^\w\s]+", "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(False, use_regex=kind == "gpt2")
    tokenizer.decoder = decoders.ByteLevel()
    special = [] if kind == "llama" else ["<pad>", "<s>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False, max_token_length=16
    )
    tokenizer.train_from_iterator(PAGE.splitlines(keepends=True) if kind != "phrases" else [PAGE], trainer)
    if kind == "llama":
        tokenizer.add_special_tokens([AddedToken(name, special=True) for name in ("<pad>", "<s>", "</s>", "<|eot|>")])
        tokenizer.add_tokens([AddedToken("defguard", special=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        clean_up_tokenization_spaces=False,
    )


def ids_of(text: str, kind: str = "gpt2") -> list[int]:
    return small_tokenizer(kind)(text, add_special_tokens=False)["input_ids"]
