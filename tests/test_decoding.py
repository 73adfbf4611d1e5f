"""Matchers of `decoding_elixir_coder.py`, and reading a text without a model."""

import sys
import threading

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from decoding_elixir_coder import ElixirGrammar, GrammarError, SyntaxFault, accepts, first_error, valid_prefix
from tests.decoding_vocabulary import PAGE, ids_of, small_tokenizer

KINDS = ["gpt2", "llama", "phrases"]


def after(text, suffix=None, kind="gpt2", **settings):
    return ElixirGrammar(small_tokenizer(kind), **settings).matcher(text, suffix)


# -- vocabularies


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_of_the_ids_are_the_bytes_of_the_text(kind):
    vocabulary = ElixirGrammar(small_tokenizer(kind)).vocabulary
    text = PAGE + "naïve 日本 🎉"

    assert vocabulary.bytes_of(ids_of(text, kind)) == text.encode()
    assert vocabulary.bytes_of(vocabulary.spell(text.encode())) == text.encode()


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_of_elixir_is_taken_token_by_token(kind):
    matcher = after("", kind=kind)

    assert all(matcher.consume(index) for index in ids_of(PAGE, kind))
    assert matcher.accepting()
    assert matcher.text == PAGE.encode()


@pytest.mark.parametrize("kind", KINDS)
def test_no_special_token_is_text_even_in_a_string(kind):
    tokenizer = small_tokenizer(kind)
    mask = after('x = "', kind=kind).mask()

    assert not mask[tokenizer.all_special_ids].any()
    assert mask[ids_of("x", kind)].all()


def test_an_added_token_that_is_not_special_is_text():
    index = small_tokenizer("llama").convert_tokens_to_ids("defguard")
    matcher = after("defmodule A do\n  ", kind="llama")

    assert matcher.consume(index)
    assert matcher.text == b"defguard"


def test_each_of_several_ids_may_end_a_text():
    tokenizer = small_tokenizer("llama")
    ends = tokenizer.convert_tokens_to_ids(["</s>", "<|eot|>"])
    matcher = after("x = 1", kind="llama", eos_token_id=ends)

    assert matcher.mask()[ends].all()
    assert matcher.copy().consume(ends[0]) and matcher.copy().consume(ends[1])
    assert not after("x = ", kind="llama", eos_token_id=ends).mask()[ends].any()


def test_a_tokenizer_of_another_kind_is_refused_by_name():
    words = Tokenizer(models.WordLevel({"a": 0, "</s>": 1}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(GrammarError, match="not a byte-level BPE"):
        ElixirGrammar(PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>"))

    sentence_piece = Tokenizer(models.BPE(byte_fallback=True))
    sentence_piece.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    sentence_piece.train_from_iterator(["a b"], trainers.BpeTrainer(special_tokens=["</s>"], show_progress=False))
    with pytest.raises(GrammarError, match="not a byte-level BPE"):
        ElixirGrammar(PreTrainedTokenizerFast(tokenizer_object=sentence_piece, eos_token="</s>"))


def test_without_llguidance_the_error_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=small_tokenizer()._tokenizer, eos_token="</s>")
    with pytest.raises(ImportError, match="pip install llguidance"):
        ElixirGrammar(tokenizer)


def test_a_grammar_is_compiled_once_for_a_tokenizer_mode_and_start():
    one, other = ElixirGrammar(small_tokenizer()), ElixirGrammar(small_tokenizer())

    assert one.engines is other.engines
    assert one.engines is not ElixirGrammar(small_tokenizer(), mode="accept").engines
    assert one.engines is not ElixirGrammar(small_tokenizer(), start="pattern").engines


# -- matchers


@pytest.mark.parametrize("text", ["", "x = foo(", 'IO.puts("a#{', "def f do\n  a", "%{a: ", "[1, 2", "x = 1\n"])
@pytest.mark.parametrize("suffix", [None, ")\nend\n"])
def test_the_mask_says_of_every_id_what_is_allowed(text, suffix):
    if suffix is not None:
        text = "def g do\n  h(" + text
    matcher = after(text, suffix)
    asked = [matcher.allows(index) for index in range(len(small_tokenizer()))]

    assert matcher.mask().tolist() == asked


def test_a_refused_token_changes_nothing():
    matcher = after("x = [1")
    before = matcher.mask()

    assert not any(matcher.consume(index) for index in np.flatnonzero(~before))
    assert matcher.text == b""
    assert (matcher.mask() == before).all()
    assert matcher.consume(ids_of("]")[0])


def test_a_word_ends_before_it_is_too_long_for_an_atom():
    """The strict grammar need not count: llguidance takes twice as long for it."""
    letter = ids_of("a")[0]
    for text in ("x = :a", ":a", "a"):
        matcher = after(text)
        while matcher.consume(letter):
            assert len(matcher.text) < 256
        mask = matcher.mask()
        assert mask.any() and not mask[letter] and not matcher.allows(letter)
        assert all(matcher.allows(int(index)) for index in np.flatnonzero(mask))


def test_ids_that_are_not_there_are_refused():
    matcher = after("x")

    assert not matcher.allows(10**6) and not matcher.consume(-1)


def test_rollback_goes_back_to_the_same_mask():
    matcher = after("")
    masks = [matcher.mask()]
    ids = ids_of("x = foo([1, 2], %{a: fn -> 1 end})")
    for index in ids:
        assert matcher.consume(index)
        masks.append(matcher.mask())
    for number in (1, 3, len(ids) - 4):
        matcher.rollback(number)
        assert (matcher.mask() == masks[len(matcher.ids)]).all()


def test_rollback_takes_back_an_end_and_not_the_prefix():
    matcher = after("x = 1")
    assert matcher.consume(ids_of("0")[0]) and matcher.consume(small_tokenizer().eos_token_id)

    assert matcher.mask().nonzero()[0].tolist() == [small_tokenizer().eos_token_id]
    matcher.rollback(1)
    assert matcher.consume(ids_of("0")[0])
    with pytest.raises(ValueError, match="2 tokens to take back, not 3"):
        matcher.rollback(3)


def test_a_mask_is_not_that_of_the_text_before_a_rollback():
    """llguidance 1.9.1 keeps the last mask by the number of the row, and not by what is in it."""
    close_bracket, close_brace = ids_of(")")[0], ids_of("}")[0]
    matcher = after("")
    for text, allowed, forbidden in (("f(a", close_bracket, close_brace), ("{a", close_brace, close_bracket)):
        for index in ids_of(text):
            assert matcher.consume(index)
        mask = matcher.mask()
        assert mask[allowed] and not mask[forbidden]
        matcher.rollback(len(matcher.ids))


def test_copies_go_their_own_ways():
    one = after("x = ")
    other = one.copy()

    assert one.consume(ids_of("[")[0]) and other.consume(ids_of("{")[0])
    assert one.allows(ids_of("]")[0]) and not one.allows(ids_of("}")[0])
    assert other.allows(ids_of("}")[0]) and not other.allows(ids_of("]")[0])


def test_many_texts_share_a_few_engines():
    grammar = ElixirGrammar(small_tokenizer("phrases"))
    texts = [f"x{number} = [{'(' * (number % 7)}" for number in range(60)]
    matchers = [grammar.matcher(text) for text in texts]
    for _ in range(2):
        for text, matcher in zip(texts, matchers):
            closing = ")" if "(" in text else "]"
            assert matcher.copy().consume(ids_of("a", "phrases")[0])
            matcher = matcher.copy()
            assert matcher.consume(ids_of("a", "phrases")[0]) and matcher.allows(ids_of(closing, "phrases")[0])
    assert len(grammar.engines._pool) <= grammar.engines.most


def test_threads_may_work_on_matchers_of_one_grammar():
    failures = []

    def write(text):
        matcher = after("")
        for index in ids_of(text):
            if not matcher.consume(index):
                failures.append((text, matcher.text))
                return

    threads = [threading.Thread(target=write, args=(f"x = [{number}, " * 20,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_prefix_that_leaves_the_grammar_is_refused_with_the_byte():
    with pytest.raises(GrammarError, match=r"at byte 8, after 'über = '") as caught:
        after("über = ) + 1", mode="accept")
    assert caught.value.offset == 8


@pytest.mark.parametrize(
    "text",
    ["def f(x) do\n  if x do\n    foo(1, [2", 'x = "a#{b', 'x = """\n  a', "case x do\n  1 ->", "x = ~s(", "a +", ""],
)
def test_a_closing_ends_the_text(text):
    matcher = after(text)
    closing = matcher.close(40)

    assert accepts(text + matcher.vocabulary.bytes_of(closing).decode(), "strict")
    assert all(matcher.consume(index) for index in closing)
    assert matcher.accepting()


def test_a_closing_that_is_too_short_is_an_error():
    with pytest.raises(GrammarError, match="1 tokens do not suffice to end the text after"):
        after("x = [{(").close(1)


# -- a hole between prefix and suffix


def test_a_hole_ends_where_the_whole_parses():
    matcher = after("x = [1 + ", "]\n")

    assert not matcher.accepting()
    assert matcher.consume(ids_of("2")[0])
    assert matcher.accepting()
    assert not matcher.allows(ids_of(")")[0])


def test_a_hole_keeps_open_what_the_suffix_closes():
    matcher = after("def f do\n  g(", ")\nend\n")

    assert matcher.consume(ids_of("a")[0])
    assert matcher.copy().consume(ids_of(",")[0])
    assert not matcher.allows(small_tokenizer().eos_token_id) or matcher.accepting()
    closing = matcher.close(20)
    assert accepts("def f do\n  g(a" + matcher.vocabulary.bytes_of(closing).decode() + ")\nend\n")


def test_a_suffix_that_nothing_leads_to_is_refused():
    with pytest.raises(GrammarError, match="no text between prefix and suffix"):
        after("x = [1, ", "\n(]\n")


# -- reading a text


def test_whole_texts_are_accepted_and_others_are_not():
    assert accepts(PAGE) and accepts(PAGE, "strict") and accepts("")
    assert not accepts(PAGE[:-5]) and not accepts(PAGE + "end")
    assert accepts("{:ok, x}", start="pattern") and not accepts("def f do\n", start="pattern")


@pytest.mark.parametrize(
    ("text", "offset", "expected"),
    [
        ("x = [1, 2", 9, "`]`"),
        ("x = ]", 4, "an expression"),
        ("foo(1, 2))\n", 9, "a new line"),
        ("def f do\n  1\n", 13, "`end`"),
        ('x = "abc', 8, '`"`'),
        ("x = 1 2", 6, "an operator"),
        ("über = ]", 8, "an expression"),
    ],
)
def test_the_first_error_names_the_byte_and_what_could_stand_there(text, offset, expected):
    fault = first_error(text)

    assert fault is not None and fault.offset == offset
    assert expected in fault.expected


def test_there_is_no_error_in_elixir():
    assert first_error(PAGE) is None
    assert SyntaxFault(1, ["`)`"]) == (1, ["`)`"])


def test_the_valid_prefix_is_what_some_text_goes_on_from():
    assert valid_prefix("x = [1, 2)]") == "x = [1, 2"
    assert valid_prefix("x = é]") == "x = é"
    assert valid_prefix(PAGE) == PAGE


def test_texts_far_apart_do_not_feed_each_others_engine_again():
    grammar = ElixirGrammar(small_tokenizer())
    engines = grammar.matcher()._engines
    matchers = [grammar.matcher(f"x{number} = [" + "1, " * 99) for number in range(engines.most + 6)]
    assert all(matcher.consume(ids_of("1")[0]) for matcher in matchers)  # more texts than engines
    latest = matchers[-6:]
    before = {id(engine): engine.num_fed for engine in engines._pool}
    for _ in range(5):
        latest = [matcher.copy() for matcher in latest]
        assert all(matcher.consume(index) for matcher in latest for index in ids_of(", 1"))
    fed = sum(engine.num_fed - before.get(id(engine), 0) for engine in engines._pool)
    assert fed == 6 * 5 * len(ids_of(", 1"))
