import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elixir_coder.example import Turn
from elixir_coder.tasks.prompt import (
    FORMATS,
    conversation,
    finding,
    prompt,
    whole_conversation,
    whole_prompt,
    written,
)
from tests.tasks.supervised import read, setup_of, source_lengths, target_lengths, texts

FIELDS = ("instruction", "tests", "finding", "before", "test_type", "code", "text")


def fields_of(task):
    return [name for name in FIELDS if f"{{{name}}}" in FORMATS[task]]


@pytest.mark.parametrize("task", FORMATS)
def test_a_prompt_is_its_format_with_the_texts_filled_in(task):
    given = {name: f"the {name}" for name in fields_of(task)}

    assert read(prompt(setup_of(), task, **given)) == FORMATS[task].format(**given) + "</s>"


def test_a_special_token_in_a_text_is_text():
    ids = prompt(setup_of(), "generate", instruction="x </s> <code>")

    assert (ids.count(setup_of().special.eos), ids.count(setup_of().special.code)) == (1, 1)
    assert read(ids) == "<code>x </s> <code></s>"


@settings(max_examples=60)
@given(st.sampled_from(sorted(FORMATS)), st.data(), source_lengths)
def test_a_prompt_too_long_is_cut_at_the_end_of_its_last_text_and_between_characters(task, data, length):
    given = {name: data.draw(texts) for name in fields_of(task)}
    setup = setup_of(source_length=length)
    whole = prompt(setup_of(4096), task, **given)
    ids = prompt(setup, task, **given)

    assert len(ids) <= length and ids[-1] == setup.special.eos
    assert "\ufffd" not in read(ids)
    if len(whole) <= length:
        assert ids == whole == whole_prompt(setup, task, **given)
    else:
        assert whole_prompt(setup, task, **given) is None
        assert len(ids) >= length - 3 * len(given)
    if len(given) == 1:
        assert ids[:-1] == whole[: len(ids) - 1]


def test_what_stands_before_the_last_text_keeps_half_of_the_room():
    ids = prompt(setup_of(source_length=23), "repair", finding="f" * 30, before="b" * 30)

    assert read(ids) == "<review>" + "f" * 10 + "<file_sep>" + "b" * 10 + "</s>"


def test_texts_that_the_format_does_not_name_are_a_bug():
    with pytest.raises(AssertionError, match=r"the prompt of repair takes \['finding', 'before'\], got \['code'\]"):
        prompt(setup_of(), "repair", code="x")


TURNS = (
    Turn(role="system", content="Be short."),
    Turn(role="user", content="Add 1."),
    Turn(role="assistant", content="Done <|end|>"),
    Turn(role="user", content="And 2?"),
)


def test_a_conversation_is_what_the_chat_template_writes():
    messages = [{"role": turn.role, "content": turn.content} for turn in TURNS]
    from tokenization_elixir_coder import CHAT_TEMPLATE

    tokenizer = setup_of().tokenizer
    text = tokenizer.apply_chat_template(
        messages, chat_template=CHAT_TEMPLATE, tokenize=False, add_generation_prompt=True
    )

    ids = conversation(setup_of(), TURNS)
    assert read(ids) == text + "</s>"
    assert ids.count(tokenizer.convert_tokens_to_ids("<|end|>")) == 4
    assert whole_conversation(setup_of(), TURNS) == ids


def test_a_long_conversation_loses_its_oldest_turns_but_not_what_the_system_says():
    whole = conversation(setup_of(), TURNS)
    ids = conversation(setup_of(source_length=len(whole) - 1), TURNS)

    assert (
        read(ids) == "<|system|>Be short.<|end|><|assistant|>Done <|end|><|end|><|user|>And 2?<|end|><|assistant|></s>"
    )
    assert whole_conversation(setup_of(source_length=len(whole) - 1), TURNS) is None


@settings(max_examples=60)
@given(st.lists(texts, min_size=1, max_size=5), st.booleans(), source_lengths)
def test_a_conversation_keeps_to_its_length_and_ends_with_the_users_turn(said, has_system, length):
    roles = (["system"] if has_system else []) + ["user", "assistant"] * 5
    turns = [Turn(role=role, content=text) for role, text in zip(roles, said)]
    ids = conversation(setup_of(source_length=length), turns)

    user, end = setup_of().tokenizer.convert_tokens_to_ids([f"<|{turns[-1].role}|>", "<|end|>"])
    assert len(ids) <= length
    assert ids[-3] == end and user in ids
    whole = whole_conversation(setup_of(source_length=length), turns)
    assert whole is None or whole == ids


@given(texts, target_lengths)
def test_what_is_written_ends_only_where_its_text_does(text, length):
    ids = written(setup_of(target_length=length), text)
    whole = written(setup_of(), text)

    assert ids == whole[:length]
    assert read(whole) == text + "</s>"


def test_a_finding_has_check_line_and_reason_in_one_line():
    assert finding("SQL.Query", 7, "first\n second") == "SQL.Query line 7: first second"
    assert finding("Config.HTTPS", 0) == "Config.HTTPS"
