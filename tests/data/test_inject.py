import os
from collections import Counter
from dataclasses import replace
from random import Random
from textwrap import dedent

import pytest

from elixir_coder.data.inject import (
    Injection,
    Job,
    Store,
    attempt_at,
    changed_lines,
    inject,
    pieces_of,
    refusal,
    store_pieces,
)
from elixir_coder.data.injections import RULES
from elixir_coder.data.label import Judgement
from elixir_coder.data.shards import read_manifest, read_shards, write_shards
from elixir_coder.errors import InputError
from elixir_coder.example import Example, Label
from elixir_coder.toolchain.checks import credo, sobelow
from elixir_coder.toolchain.toolchain import Toolchain
from tests.data.injections.test_rules import FILE

TOOLS = ("credo 1.7.12", "sobelow 0.14.1")
live = [pytest.mark.credo, pytest.mark.elixir]


def needs_tools():
    if credo.detect() is None or sobelow.detect() is None:
        pytest.skip("Credo or Sobelow is not installed")


def corpus(folder):
    held_out = replace(FILE, package="other", path="lib/other.ex", sha256="0" * 64)
    write_shards(folder, {"train": [FILE], "test": [held_out]}, {"source": "folder"})
    return folder


def attempt():
    origin = next(
        each for each in pieces_of(FILE) if each.name == "Shop.Cart.total/2" and each.piece.kind == "function"
    )
    rule = next(rule for rule in RULES if rule.name == "unless_with_else")
    return attempt_at(rule, origin, Random(0))


def label(check, line):
    return Label(tool="credo", check=check, line=line)


def test_a_file_gives_its_functions_and_a_small_module_for_each():
    origins = list(pieces_of(FILE))
    functions = [origin for origin in origins if origin.piece.kind == "function"]
    assert [origin.name for origin in functions] == [
        "Shop.Cart.total/2",
        "Shop.Cart.label/2",
        "Shop.Cart.valid?/2",
        "Shop.Cart.fetch/2",
        "Shop.Cart.open/1",
    ]
    total = functions[0].piece.code
    assert total.startswith('@doc "The price of all items, with tax."\n@spec total(')
    assert total.endswith("  end\nend\n") and functions[0].line == 6
    modules = [origin.piece.code for origin in origins if origin.piece.kind == "module"]
    (small,) = (code for code in modules if "def label" in code and "def total" not in code)
    assert small.startswith(
        'defmodule Shop.Cart do\n  @moduledoc "What a customer is going to buy."\n\n  @max_items 20\n'
    )
    assert origins[0].piece.code == FILE.code and origins[0].piece.kind == "module"


def test_a_function_by_itself_gives_its_module_a_name():
    code = "def double(x) do\n  x * 2\nend\n"
    function = replace(FILE, code=code, kind="function", name="Shop.Tax.double/1", parent="f" * 64)
    one, two = pieces_of(function)
    assert (one.piece.code, one.piece.module, one.parent) == (code, "Shop.Tax", "f" * 64)
    assert (
        two.piece.code
        == f"defmodule Shop.Tax do\n  @moduledoc false\n\n  {code[:-1].replace(chr(10), chr(10) + '  ')}\nend\n"
    )


def test_changed_lines_are_those_of_the_fault():
    assert changed_lines("a\nb\nc", "a\nx\ny\nc") == {2, 3}
    assert changed_lines("a\nb\nc", "a\nc") == {1, 2}
    assert changed_lines("a\nc", "a\nb\nc") == {2}


def test_a_pair_is_kept_for_a_label_at_its_place_only():
    tried = attempt()
    check = tried.rule.check
    clean = Judgement((), TOOLS)
    (line,) = (n + 1 for n, each in enumerate(tried.fault.before.split("\n")) if "unless" in each)
    assert refusal(tried, clean, Judgement((label(check, line),), TOOLS)) == ""
    assert refusal(tried, clean, Judgement((label(check, 0),), TOOLS)) == ""
    assert refusal(tried, clean, Judgement((label(check, 1),), TOOLS)) == "at another place" or line < 4
    assert refusal(tried, Judgement((label(check, 3),), TOOLS), Judgement((label(check, line),), TOOLS)) == (
        "in the clean twin too"
    )
    assert refusal(tried, clean, Judgement((label(check, line),), TOOLS[:1])) == "a tool did not judge it"


def test_the_branches_are_swapped():
    tried = attempt()
    assert dedent("""\
          unless sum > 0 do
            :empty
          else
            {:ok, sum * (1 + tax_rate)}
          end
    """).replace("\n", "\n  ").rstrip() in tried.fault.before.replace("\n  ", "\n  ")
    assert "`unless sum > 0`" in tried.diagnosis or "`if sum > 0`" in tried.diagnosis


@pytest.mark.elixir
def test_pieces_are_read_back_from_where_they_lie(tmp_path):
    with Toolchain(workers=1) as toolchain:
        count = store_pieces(corpus(tmp_path / "corpus"), "train", tmp_path / "train.jsonl", toolchain)
    store = Store(tmp_path / "train.jsonl")
    assert len(store.offsets) == count == len(list(pieces_of(FILE)))
    (third, first) = store.read([2, 0])
    assert first == next(pieces_of(FILE))
    assert third.name == list(pieces_of(FILE))[2].name


def test_an_unknown_label_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no rule writes Credo\.Check\.None"):
        inject(corpus(tmp_path / "corpus"), tmp_path / "out", checks=["Credo.Check.None"])


@pytest.mark.credo
@pytest.mark.elixir
def test_pairs_are_confirmed_by_the_tools(tmp_path):
    needs_tools()
    checks = ["Credo.Check.Refactor.UnlessWithElse", "Credo.Check.Warning.IoInspect", "SQL.Query", "Config.CSRF"]
    outs = [tmp_path / "one", tmp_path / "two"]
    for out in outs:
        inject(corpus(tmp_path / "corpus"), out, per_label=3, checks=checks, workers=1)
    one, two = ({path.name: path.read_bytes() for path in sorted(out.glob("*.parquet"))} for out in outs)
    assert one == two and len(one) == 2

    pairs = list(read_shards(outs[0], "train"))
    rules = {rule.name: rule.check for rule in RULES}
    counts = Counter(rules[pair.injected] for pair in pairs)
    assert counts[checks[1]] == counts["SQL.Query"] == counts["Config.CSRF"] == 3 and counts[checks[0]] >= 1
    for pair in pairs:
        check = rules[pair.injected]
        assert pair.kind == "violation" and pair.package == "shop" and len(pair.checked_by) == 2
        assert check in {each.check for each in pair.before_labels}
        assert check not in {each.check for each in pair.labels}
        assert not (check.startswith(("SQL", "Config")) and any(each.tool == "sobelow" for each in pair.labels))
        assert pair.sha256 == Example.of(pair.code, path="", package="", version="", licence="", source="").sha256
    assert {pair.package for pair in read_shards(outs[0], "test")} == {"other"}
    assert not (outs[0] / ".pieces").exists()
    assert "inject" in str(read_manifest(outs[0]))


@pytest.mark.credo
@pytest.mark.elixir
def test_what_the_tools_do_not_see_is_counted_and_left_out(tmp_path):
    needs_tools()
    with Toolchain(workers=1) as toolchain:
        store_pieces(corpus(tmp_path / "corpus"), "train", tmp_path / "pieces" / "train.jsonl", toolchain)
    injection = Injection(tmp_path / "pieces", 0)
    try:
        tried = attempt()
        silent = replace(tried, fault=replace(tried.fault, before=tried.fault.code.replace("sum > 0", "sum > 1")))
        broken = replace(tried, fault=replace(tried.fault, before="def f("))
        dropped: Counter[str] = Counter()
        (kept,) = injection.confirmed([silent, tried, broken], dropped)
        (found,) = injection([Job(check=tried.rule.check, split="train", count=1)], Counter())
    finally:
        injection.close()
    assert kept.before == tried.fault.before and found.injected in ("unless_with_else", "unless_and_else")
    check = tried.rule.check
    assert dropped == {f"{check}: the tool says nothing": 1, f"{check}: does not parse": 1}
    assert os.path.basename(kept.path) == "cart.ex"
