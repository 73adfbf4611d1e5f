from collections.abc import Mapping
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elixir_coder.errors import RecipeError
from elixir_coder.example import Example
from elixir_coder.tasks import registry
from elixir_coder.tasks.row import ExampleTask
from elixir_coder.tasks.window import Window
from tests.tasks.annotated_code import ADD_EXAMPLE, check_shape, same
from tests.tasks.given import random, seeds
from tests.tasks.supervised import EXAMPLES, examples, setup_of, source_lengths, target_lengths

ALL = (*EXAMPLES, ADD_EXAMPLE)
SUPERVISED = "generate converse write_tests implement quality security clarify explain repair document retrieve match"
FREE = ("code", "path", "package", "version", "licence", "sha256", "source")  # have no default


def rows(name, setup, given=ALL, seed=0):
    task = registry.build(name, setup)
    return [row for example in given if task.accepts(example) and (row := task(example, random(seed)))]


@pytest.mark.parametrize("name", registry.TASKS)
def test_every_task_says_its_name_metric_and_heads_truthfully(name):
    entry = registry.TASKS[name]
    setup = setup_of()

    assert entry.metric in registry.METRICS
    assert entry.description and "\n" not in entry.description
    if name in registry.WINDOW_TASKS:
        made = [registry.build(name, setup)(Window(np.arange(300, 340), True), random(0))]
    else:
        task = registry.build(name, setup)
        assert isinstance(task, ExampleTask) and (task.name, task.metric) == (name, entry.metric)
        made = rows(name, setup)
    assert made
    for row in made:
        parts = {
            "tokens": bool(row.target) and row.match is None,
            "tags": row.tags is not None,
            "edges": row.edges is not None,
            "contrast": bool(row.candidates),
            "match": row.match is not None,
        } | dict.fromkeys(row.judgements, True)
        assert {head for head, there in parts.items() if there} == set(entry.heads)


@pytest.mark.parametrize("name", registry.EXAMPLE_TASKS)
def test_the_same_seed_gives_the_same_row_and_columns_are_all_that_is_read(name):
    task = registry.build(name, setup_of())
    known = {field.name for field in fields(Example)}
    assert set(task.columns) <= known

    num_accepted = 0
    for example in filter(task.accepts, ALL):
        num_accepted += 1
        defaults = {field.name: field.default for field in fields(Example) if field.name not in FREE}
        emptied = replace(example, **dict.fromkeys(FREE, ""), **defaults)
        only = replace(emptied, **{column: getattr(example, column) for column in task.columns})
        assert task.accepts(only)
        for seed in range(6):
            once, again, bare = (task(each, random(seed)) for each in (example, example, only))
            assert same_or_none(once, again) and same_or_none(once, bare)
    assert num_accepted


def same_or_none(row, other):
    if row is None or other is None:
        return row is other
    judgements = [{head: vector.tolist() for head, vector in each.judgements.items()} for each in (row, other)]
    return same(replace(row, judgements={}), replace(other, judgements={})) and judgements[0] == judgements[1]


@pytest.mark.parametrize("name", SUPERVISED.split())
@settings(max_examples=40)
@given(examples(), source_lengths, target_lengths, seeds)
def test_a_row_keeps_to_the_lengths_and_has_no_special_token_inside_a_text(
    name, example, source_length, target_length, seed
):
    setup = setup_of(source_length, target_length)
    for row in rows(name, setup, [example], seed):
        check_shape(row, setup)
        assert row.source[-1] == setup.special.eos
        for text in (row.source, *row.candidates):
            assert 0 < len(text) <= source_length
            assert text.count(setup.special.eos) == 1 and text[-1] == setup.special.eos
        assert setup.special.eos not in row.target[:-1]
        assert len(row.target) == target_length or not row.target or row.target[-1] == setup.special.eos


def test_an_unknown_task_is_refused_with_the_nearest_name():
    with pytest.raises(RecipeError, match=r"no such task: retrive; did you mean retrieve\?"):
        registry.build("retrive", setup_of())
    with pytest.raises(RecipeError, match="no such task: xyz; there is: denoise, infill"):
        registry.build("xyz", setup_of())


@pytest.mark.parametrize("name", ["quality", "security"])
def test_a_task_for_a_head_that_the_model_does_not_have_is_refused(name):
    bare = replace(setup_of(), quality_labels=(), security_labels=())

    with pytest.raises(RecipeError, match=f"task {name} needs a model with {name} labels"):
        registry.build(name, bare)


def test_losses_are_named_after_the_task_and_its_heads():
    assert registry.losses("generate") == ("generate",)
    assert registry.losses("clarify") == ("clarify:clarification", "clarify")
    assert isinstance(registry.EXAMPLE_TASKS, Mapping)


def test_the_overview_has_a_line_for_each_task():
    lines = registry.overview().splitlines()

    assert [line.split()[0] for line in lines] == list(registry.TASKS)
    assert "match            a request and code -> whether they belong together [match; average_precision]" in lines


@given(st.sampled_from(sorted(registry.EXAMPLE_TASKS)), st.sampled_from(ALL))
def test_what_is_not_accepted_lacks_what_the_task_needs(name, example):
    task = registry.build(name, setup_of())
    bare = Example.of(example.code, path="", package="", version="", licence="", source="", kind=example.kind)

    assert not task.accepts(bare) or name in ("tag_identifiers", "mask_identifiers", "document")
