from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.tasks.ontology import Ontology
from elixir_coder.tasks.row import MIN_SOURCE_LENGTH, MIN_TARGET_LENGTH
from tests.tasks.annotated_code import (
    ADD,
    ADD_EXAMPLE,
    TOKENIZER,
    annotated_examples,
    check_shape,
    example_of,
    same,
    setup_of,
    triple,
)
from tests.tasks.given import random, seeds


def test_triples_are_told_a_line_each_without_the_module_that_the_code_does_not_show():
    row = Ontology(setup_of())(ADD_EXAMPLE, random(0))

    assert TOKENIZER.decode(row.source) == f"<ontology>{ADD}</s>"
    assert TOKENIZER.decode(row.target) == (
        "add/2 calls Queue.put/3\n"
        "add/2 is called by fill/1\n"
        "Queue.put/3 may answer Shop.Queue.Full</s>"  # a module inside Shop.Queue is not a function of it
    )


def test_a_module_is_told_by_its_whole_name():
    code = "defmodule Shop.Queue do\n  use GenServer\nend\n"
    about = triple(code, "Shop.Queue", "is a", "server", "Queue")
    row = Ontology(setup_of())(example_of(code, kind="module", name="Shop.Queue", triples=(about,)), random(0))

    assert TOKENIZER.decode(row.target) == "Shop.Queue is a server</s>"


def test_nothing_is_told_of_code_that_was_cut_away():
    row = Ontology(setup_of(source_length=12))(ADD_EXAMPLE, random(0))

    assert TOKENIZER.decode(row.source) == "<ontology>def add(queue, item) do\n </s>"
    assert TOKENIZER.decode(row.target) == "add/2 calls Queue.put/3\nadd/2 is called by fill/1</s>"


def test_what_does_not_fit_is_left_out_from_the_end_and_the_text_then_does_not_end():
    whole = Ontology(setup_of())(ADD_EXAMPLE, random(0)).target

    assert Ontology(setup_of(target_length=9))(ADD_EXAMPLE, random(0)).target == whole[:9]
    assert not Ontology(setup_of()).accepts(example_of(ADD))


@given(annotated_examples(), st.integers(MIN_SOURCE_LENGTH, 60), st.integers(MIN_TARGET_LENGTH, 60), seeds)
def test_rows_keep_to_the_lengths_and_to_the_seed(example, source_length, target_length, seed):
    setup = setup_of(source_length, target_length)
    row = Ontology(setup)(example, random(seed))

    if row:
        check_shape(row, setup)
        assert row.source[0] == setup.special.ontology and row.source[-1] == setup.special.eos
        assert same(row, Ontology(setup)(example, random(seed)))
