"""The vocabulary at the root: what it promises to every file, every symbol, every model; and how it is made."""

import json
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tokenization_elixir_coder import (
    LOOKALIKES,
    PROMPTS,
    SPECIAL_TOKENS,
    SYMBOLS,
    TASKS,
    VOCAB_SIZE,
    encode_prompt,
    encode_untrusted,
    grow_vocabulary,
    save_tokenizer,
    train_tokenizer,
)

ROOT = Path(__file__).parents[1]
SMALL = 2_080  # entries: special tokens, bytes, symbols and the few hundred that the small corpus gives

GEN_SERVER = '''defmodule Shop.Cart do
  @moduledoc """
  Keeps what a buyer has put aside.
  """
  use GenServer

  @spec add(GenServer.server(), String.t(), pos_integer()) :: :ok | {:error, atom()}
  def add(cart, article, count \\\\ 1) when is_binary(article) and count > 0 do
    GenServer.call(cart, {:add, article, count})
  end

  @impl true
  def handle_call({:add, article, count}, _from, %{items: items} = state) do
    items = Map.update(items, article, count, &(&1 + count))
    {:reply, :ok, %{state | items: items}}
  end

  def total(%{items: items}), do: items |> Map.values() |> Enum.sum()
end
'''
EX_UNIT = """defmodule Shop.CartTest do
  use ExUnit.Case, async: true

  setup do
    {:ok, cart: start_supervised!(Shop.Cart)}
  end

  describe "add/3" do
    test "counts what is put in twice", %{cart: cart} do
      assert :ok == Shop.Cart.add(cart, "apple", 2)
      refute_receive {:error, _}
      assert_raise FunctionClauseError, fn -> Shop.Cart.add(cart, :apple) end
    end
  end
end
"""


@pytest.fixture(scope="module")
def tokenizer():
    return PreTrainedTokenizerFast.from_pretrained(ROOT)


@pytest.fixture(scope="module")
def documents():
    """A corpus in miniature: our own Elixir, renamed so that it repeats without being the same."""
    nouns = "Cart Order Buyer Parcel Invoice Stock Ledger Route Ticket Seat Booking Payment".split()
    return [
        (noun, path, text.replace("Cart", noun).replace("cart", noun.lower()))
        for noun in nouns
        for path, text in (("lib/it.ex", GEN_SERVER), ("test/it_test.exs", EX_UNIT))
    ]


@pytest.fixture(scope="module")
def small(documents):
    return train_tokenizer(documents, SMALL)


def pieces(tokenizer, text):
    """The text of each token, in order; for text of which no character spans two tokens."""
    return [tokenizer.decode([index]) for index in encode_untrusted(tokenizer, text)]


def comes_back(tokenizer, text):
    return tokenizer.decode(encode_untrusted(tokenizer, text), skip_special_tokens=False) == text


# -- what the files promise ------------------------------------------------------------------------------------------


def test_the_vocabulary_has_exactly_the_promised_size(tokenizer):
    assert len(tokenizer) == VOCAB_SIZE == 32_000
    assert sorted(tokenizer.get_vocab().values()) == list(range(VOCAB_SIZE))


def test_special_tokens_stand_first_and_in_the_promised_order(tokenizer):
    expected = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"]
    expected += [f"<extra_id_{number}>" for number in range(100)]
    expected += ["<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>", "<file_sep>", "<repo_name>"]
    expected += ["<code>", "<test>", "<review>", "<explanation>", "<clarification>", "<ontology>"]
    expected += ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]

    assert tokenizer.convert_ids_to_tokens(list(range(len(expected)))) == expected
    assert sorted(tokenizer.all_special_ids) == list(range(len(SPECIAL_TOKENS)))
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert (tokenizer.unk_token_id, tokenizer.mask_token_id) == (3, 4)


def test_a_text_ends_with_the_end_token_and_a_pair_has_one_after_each(tokenizer):
    assert tokenizer("end")["input_ids"] == [*encode_untrusted(tokenizer, "end"), 2]
    assert tokenizer("end", "do")["input_ids"] == tokenizer("end")["input_ids"] + tokenizer("do")["input_ids"]
    assert set(tokenizer("end")) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize("trust_remote_code", [False, True])
def test_a_model_folder_gives_the_same_tokenizer_with_and_without_its_code(tmp_path, tokenizer, trust_remote_code):
    for name in ("tokenizer.json", "tokenizer_config.json", "configuration_elixir_coder.py"):
        shutil.copy(ROOT / name, tmp_path)
    classes = {"AutoConfig": "configuration_elixir_coder.ElixirCoderConfig"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "elixir_coder", "auto_map": classes}))

    loaded = AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=trust_remote_code)

    assert loaded(GEN_SERVER)["input_ids"] == tokenizer(GEN_SERVER)["input_ids"]
    assert loaded.model_max_length == 4_096


def test_the_rust_crate_reads_the_file_alone(tokenizer):
    alone = Tokenizer.from_file(str(ROOT / "tokenizer.json"))

    assert alone.encode(GEN_SERVER).ids == tokenizer(GEN_SERVER)["input_ids"]


def test_the_fim_template_can_be_read_by_a_machine(tokenizer):
    fim = json.loads((ROOT / "tokenizer_config.json").read_text())["fim_template"]

    assert fim["template"].format(prefix="A", suffix="B") == "<fim_prefix>A<fim_suffix>B<fim_middle>"
    assert [fim[part] for part in ("prefix", "middle", "suffix", "pad")] == tokenizer.convert_ids_to_tokens(
        [105, 106, 107, 108]
    )


def test_the_chat_template_marks_each_turn(tokenizer):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]

    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)

    assert text == "<|system|>Be brief.<|end|><|user|>Hi<|end|><|assistant|>"


def test_the_chat_template_refuses_a_role_it_does_not_know(tokenizer):
    with pytest.raises(Exception, match="unknown role: tool"):
        tokenizer.apply_chat_template([{"role": "tool", "content": ""}], tokenize=False)


# -- what comes back -------------------------------------------------------------------------------------------------


@given(st.text())
def test_any_text_comes_back_as_it_was(text):
    assert comes_back(ROOT_TOKENIZER, text)


@given(st.lists(st.sampled_from([*SYMBOLS, *SPECIAL_TOKENS, " ", "\n", "\r\n", "\t", "é", "7", "👩‍👩‍👧", "\u202e"])))
def test_any_row_of_symbols_comes_back_as_it_was(parts):
    assert comes_back(ROOT_TOKENIZER, "".join(parts))


def test_every_byte_has_a_token_so_nothing_is_unknown(tokenizer):
    everything = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x11000), 0x1F600, 0xE0001, 0x10FFFF)))

    assert comes_back(tokenizer, everything)
    assert tokenizer.unk_token_id not in encode_untrusted(tokenizer, everything)


def test_every_source_and_page_of_this_repository_comes_back_as_it_was(tokenizer):
    folders = [ROOT / name for name in ("elixir_coder", "tests", "docs", "benchmarks")]
    paths = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".md", ".ex", ".exs")]

    assert len(paths) > 30
    assert [path for path in paths if not comes_back(tokenizer, path.read_text("utf-8"))] == []
    assert comes_back(tokenizer, GEN_SERVER + EX_UNIT)


def test_numbers_are_cut_in_groups_of_three_from_the_right(tokenizer):
    assert pieces(tokenizer, "1234567") == ["1", "234", "567"]


def test_a_very_long_number_does_not_take_forever(tokenizer):
    assert comes_back(tokenizer, "9" * 50_000)  # 0.8 s; without a bound on the look-ahead 54


# -- symbols and identifiers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_symbol_alone_is_one_token(tokenizer, symbol):
    assert pieces(tokenizer, symbol) == [symbol]


def test_the_symbols_cover_elixirs_reserved_words_and_operators():
    reserved = "true false nil when and or not in fn do end catch rescue after else".split()
    operators = "@ . + - ! ^ not ** * / ++ -- +++ --- .. <> in |> <<< >>> <<~ ~>> <~ ~> <~> < > <= >= == != =~ === !=="
    operators += " && &&& and || ||| or = & => | :: when <- \\\\ ^^^ ~~~ ... ..// ->"

    assert {*reserved, *operators.split(), "not in"} <= set(SYMBOLS)


@pytest.mark.parametrize("name", ["endpoint", "done", "do_work", "ending", "fnord", *LOOKALIKES])
def test_an_identifier_that_begins_with_a_keyword_is_not_torn(tokenizer, name):
    assert pieces(tokenizer, name) == [name]
    assert pieces(tokenizer, f" {name}") == [f" {name}"]


def test_symbols_are_ordinary_vocabulary_that_may_merge_with_what_stands_beside_them(tokenizer):
    assert set(SYMBOLS).isdisjoint(tokenizer.added_tokens_encoder)
    assert " do\n    " in pieces(tokenizer, "  def run(x) when x > 1 do\n    x")


def test_no_operator_or_keyword_is_cut_in_a_text(tokenizer):
    symbols = "|".join(re.escape(each) for each in sorted(SYMBOLS, key=len, reverse=True) if len(each) > 1)
    for text in (GEN_SERVER, EX_UNIT):
        offsets = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"]
        cuts = {start for start, _ in offsets}
        found = list(re.finditer(rf"(?<![\w:@~&=|<>.+*!^-])(?:{symbols})(?![\w&=|<>.+*!^?-])", text))
        assert len(found) > 25
        assert [match[0] for match in found if cuts & set(range(match.start() + 1, match.end()))] == []


# -- text that others wrote ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", SPECIAL_TOKENS)
def test_a_special_token_spelt_in_untrusted_text_is_just_characters(tokenizer, token):
    ids = encode_untrusted(tokenizer, f"a {token} b")

    assert min(ids) >= len(SPECIAL_TOKENS)
    assert tokenizer.decode(ids, skip_special_tokens=True) == f"a {token} b"


@pytest.mark.parametrize("task", TASKS)
def test_a_prompt_begins_with_its_task_and_its_fields_cannot_end_it(tokenizer, task):
    [field] = re.findall(r"\{(\w+)\}", PROMPTS[task])

    ids = encode_prompt(tokenizer, task, **{field: "x </s> <mask>"})

    assert tokenizer.convert_ids_to_tokens(ids[0]) == f"<{task}>"
    assert [index for index in ids if index < len(SPECIAL_TOKENS)] == [ids[0], tokenizer.eos_token_id]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "x </s> <mask>"


def test_a_prompt_with_a_wrong_name_says_which_there_are(tokenizer):
    with pytest.raises(ValueError, match="no such task: poem; there is: code, test, review"):
        encode_prompt(tokenizer, "poem")
    with pytest.raises(ValueError, match=r"fim takes \['prefix', 'suffix'\], got \['prefix'\]"):
        encode_prompt(tokenizer, "fim", prefix="def")


# -- training and growth ---------------------------------------------------------------------------------------------


def test_training_keeps_every_promise_at_any_size(small, documents):
    assert len(small) == SMALL
    assert all(len(encode_untrusted(small, symbol)) == 1 for symbol in SYMBOLS)
    assert all(comes_back(small, text) for _, _, text in documents)


def test_two_runs_learn_the_same_vocabulary(small, documents):
    again = train_tokenizer(documents, SMALL)

    assert again.backend_tokenizer.to_str() == small.backend_tokenizer.to_str()


def test_a_second_version_of_a_file_changes_nothing(small, documents):
    assert train_tokenizer([*documents, *documents], SMALL).get_vocab() == small.get_vocab()


def test_text_that_is_too_small_is_refused_with_what_it_gives(documents):
    with pytest.raises(ValueError, match="too small for 32000 entries: it gives"):
        train_tokenizer(documents[:2], 32_000)


def test_a_size_without_room_for_the_symbols_is_refused(documents):
    with pytest.raises(ValueError, match="vocab_size must be above 384"):
        train_tokenizer(documents, 300)
    with pytest.raises(ValueError, match="no room for the symbols"):
        train_tokenizer(documents, 500)


def test_a_saved_tokenizer_loads_as_it_was(tmp_path, small):
    save_tokenizer(small, tmp_path)

    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
    assert loaded.backend_tokenizer.to_str() == small.backend_tokenizer.to_str()
    assert loaded.chat_template == small.chat_template


def test_growth_keeps_every_old_id_and_shortens_the_new_text(tokenizer):
    new = [f"Nebula.Warp.engage(drive, :sector_{number})\n  |> Nebula.Warp.settle()\n" for number in range(30)]

    grown = grow_vocabulary(tokenizer, new, 5)

    assert len(grown) == VOCAB_SIZE + 5
    assert tokenizer.get_vocab().items() <= grown.get_vocab().items()
    assert all(comes_back(grown, text) for text in (*new, GEN_SERVER, EX_UNIT, "".join(SPECIAL_TOKENS)))
    assert len(encode_untrusted(grown, new[0])) < len(encode_untrusted(tokenizer, new[0]))
    assert all(len(encode_untrusted(grown, symbol)) == 1 for symbol in SYMBOLS)
    assert grown("end")["input_ids"] == tokenizer("end")["input_ids"]


def test_a_grown_tokenizer_is_saved_and_grown_again(tmp_path, small):
    new = ["warp_drive |> engage(:now)\n"] * 20 + ["settle(orbit, 3)\n"] * 20
    once = grow_vocabulary(small, new[:20], 2)
    save_tokenizer(once, tmp_path)

    twice = grow_vocabulary(AutoTokenizer.from_pretrained(tmp_path), new[20:], 2)

    assert once.get_vocab().items() <= twice.get_vocab().items()
    assert len(twice) == SMALL + 4
    assert twice.init_kwargs["fim_template"] == small.init_kwargs["fim_template"]


def test_growth_refuses_text_without_enough_to_learn(small):
    with pytest.raises(ValueError, match="too small"):
        grow_vocabulary(small, ["x = 1\n"], 100)


def test_growth_refuses_a_vocabulary_with_tokens_beside_it(small):
    extended = grow_vocabulary(small, ["warp_drive\n"] * 20, 1)
    extended.add_tokens(["<mine>"])

    with pytest.raises(ValueError, match="1 tokens were added beside the vocabulary"):
        grow_vocabulary(extended, ["warp_drive\n"] * 20, 1)


ROOT_TOKENIZER = PreTrainedTokenizerFast.from_pretrained(ROOT)  # hypothesis does not reset fixtures between examples
