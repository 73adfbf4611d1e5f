from collections import Counter
from dataclasses import replace

import pytest

from elixir_coder.data.label import (
    Judge,
    Labelling,
    LabelRow,
    Sample,
    confirmation_rates,
    label_table,
    module_of,
    show_table,
    within,
    wrapped,
)
from elixir_coder.data.shards import write_shards
from elixir_coder.example import Example, Label
from elixir_coder.toolchain.checks import credo, sobelow
from tests.data.injections.test_rules import FILE


def label(check, line, tool="credo"):
    return Label(tool=tool, check=check, line=line)


INSPECT, SPECS = "Credo.Check.Warning.IoInspect", "Credo.Check.Readability.Specs"


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("Shop.Cart.total/2", "Shop.Cart"),
        ("Shop.valid?/1", "Shop"),
        ("Shop.+/2", "Shop"),
        ("Shop.Cart", "Shop.Cart"),
        ("", "Sample"),
        ("total/2", "Sample"),
    ],
)
def test_the_module_of_a_function(name, module):
    assert module_of(name) == module


def test_a_function_is_put_into_a_module_of_its_own():
    code = 'def f(x) do\n\n  """\n  #{x}\n  """\nend'
    assert wrapped(code, "Shop") == (
        'defmodule Shop do\n  @moduledoc false\n\n  def f(x) do\n\n    """\n    #{x}\n    """\n  end\nend\n'
    )


def test_a_part_of_a_file_takes_its_labels_along():
    labels = (label(INSPECT, 7), label(SPECS, 5), label("Credo.Check.Readability.ModuleDoc", 1), label(SPECS, 0))
    labels += (label("Credo.Check.Consistency.TabsOrSpaces", 6), label("SQL.Query", 12, "sobelow"))
    assert within(labels, 5, 9) == (label(INSPECT, 3), label(SPECS, 1))
    assert within(labels, 10, 12) == (label("SQL.Query", 3, "sobelow"),)


def test_the_table_tells_natural_from_injected(tmp_path):
    clean = replace(FILE, labels=(label(SPECS, 3), label(SPECS, 8)))
    function = replace(clean, kind="function", name="Shop.f/0")
    pair = replace(
        FILE, kind="violation", injected="inspect_left", labels=(label(SPECS, 1),),
        before_labels=(label(SPECS, 1), label(INSPECT, 2), label("Credo.Check.Refactor.IoPuts", 2)),
    )  # fmt: skip
    steps = [{"name": "inject", "dropped": {f"{INSPECT}: the tool says nothing": 3}}]
    write_shards(tmp_path, {"train": [clean, function, pair]}, {"steps": steps})
    rows = {row.check: row for row in label_table(tmp_path)}
    assert rows[SPECS] == LabelRow(check=SPECS, split="train", natural={"file": 1, "function": 1})
    assert rows[INSPECT].injected == 1 and rows["Credo.Check.Refactor.IoPuts"].beside == 1
    assert confirmation_rates(tmp_path) == {INSPECT: 0.25}
    shown = show_table(rows.values(), confirmation_rates(tmp_path)).splitlines()
    assert shown[3].split() == ["Warning.IoInspect", "train", "0", "0", "0", "1", "0", "25%"]
    assert len(shown) == 4 and shown[2].split() == ["Refactor.IoPuts", "train", "0", "0", "0", "0", "1"]


@pytest.fixture(scope="module")
def judge():
    if credo.detect() is None or sobelow.detect() is None:
        pytest.skip("Credo or Sobelow is not installed")
    found = Judge()
    yield found
    found.close()


FUNCTION = "def load(path) do\n  IO.inspect(path)\n  File.read(path)\nend\n"


@pytest.mark.credo
@pytest.mark.elixir
def test_labels_have_the_lines_of_the_text_that_was_given(judge):
    plain, in_module, broken = judge(
        [
            Sample("lib/shop.ex", FUNCTION, "Shop"),
            Sample("lib/shop.ex", wrapped(FUNCTION, "Shop")),
            Sample("lib/shop.ex", "def load(", "Shop"),
        ]
    )
    assert {(each.check, each.line) for each in plain.labels} == {
        (SPECS, 1),
        (INSPECT, 2),
        ("Traversal.FileModule", 3),
    }
    assert [(each.check, each.line) for each in in_module.labels] == [(e.check, e.line + 3) for e in plain.labels]
    assert [name.split()[0] for name in plain.checked_by] == ["credo", "sobelow"]
    assert (broken.labels, broken.checked_by) == ((), ())


@pytest.mark.credo
@pytest.mark.elixir
def test_what_is_said_of_the_module_around_a_function_is_not_its_label(judge):
    (judged,) = judge([Sample("lib/a.ex", "@doc false\n@spec f() :: 1\ndef f, do: 1\n", "Shop.Bad_Name")])
    assert judged.labels == ()


@pytest.mark.credo
@pytest.mark.elixir
def test_the_step_labels_code_and_the_text_before():
    if credo.detect() is None or sobelow.detect() is None:
        pytest.skip("Credo or Sobelow is not installed")
    function = Example.of(
        FUNCTION, path="lib/shop.ex", package="shop", version="1", licence="MIT", source="folder", kind="function",
        name="Shop.load/1",
    )  # fmt: skip
    pair = replace(function, kind="violation", before=FUNCTION, code=FUNCTION.replace("  IO.inspect(path)\n", ""))
    commit = replace(function, kind="change")
    step = Labelling()
    try:
        one, two, three = step([function, pair, commit], Counter())
    finally:
        step.close()
    assert INSPECT in {each.check for each in one.labels}
    assert INSPECT not in {each.check for each in two.labels}
    assert two.before_labels == one.labels and len(two.checked_by) == 2
    assert three == commit
