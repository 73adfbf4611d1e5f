from dataclasses import replace

from elixir_coder.tasks.converse import Converse
from tests.tasks.given import random
from tests.tasks.supervised import CLARIFICATION, DIALOGUE, EXERCISE, read, setup_of


def rows(example, **lengths):
    task = Converse(setup_of(**lengths))
    made = [task(example, random(seed)) for seed in range(20)]
    return {(read(row.source), read(row.target)) for row in made if row}


def test_each_of_the_assistants_turns_is_a_target():
    asked = "<|user|>Write pick/1.<|end|><|assistant|>"

    assert rows(CLARIFICATION) == {
        (asked + "</s>", "Which one?</s>"),
        (
            asked + "Which one?<|end|><|user|>The first.<|end|><|assistant|></s>",
            "```elixir\ndef pick(list), do: hd(list)\n```</s>",
        ),
    }


def test_a_conversation_that_does_not_fit_is_left_out():
    assert rows(DIALOGUE, source_length=16) == {
        ("<|user|>Add 1.<|end|><|assistant|></s>", "```elixir\ndef add(a), do: a + 1\n```</s>")
    }


def test_without_an_answer_to_a_user_there_is_nothing_to_write():
    task = Converse(setup_of())

    assert not task.accepts(EXERCISE)
    assert not task.accepts(replace(DIALOGUE, turns=DIALOGUE.turns[:1]))
