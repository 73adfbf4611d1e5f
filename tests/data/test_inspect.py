"""What `data inspect` shows, and which examples it takes."""

import argparse
from collections import Counter

import pytest

from elixir_coder.data.inspect import matching, run, sample, to_text
from elixir_coder.data.shards import write_shards
from elixir_coder.errors import InputError
from elixir_coder.example import Example, Flow, Label, Triple, Turn

PLACE = {"path": "lib/a.ex", "package": "shop", "version": "1.0", "licence": "MIT", "source": "folder"}
FULL = Example.of(
    "def add(a) do\n  b = a\nend\n",
    **PLACE,
    kind="function",
    name="Shop.add/1",
    line=7,
    instruction="Adds.",
    labels=(Label(tool="credo", check="Credo.Check.Readability.Specs", line=1), Label(tool="credo", check="Whole")),
    flows=(
        Flow(name="a", start=8, end=9),
        Flow(name="b", start=16, end=17, sources=(2,)),
        Flow(name="a", start=20, end=21, sources=(0,)),
    ),
    triples=(Triple(subject="add", predicate="has arity", object="1"),),
    turns=(Turn(role="user", content="Add."),),
    difficulty=2,
)


def test_everything_that_is_there_is_shown():
    assert to_text(FULL).splitlines() == [
        "== function Shop.add/1",
        f"shop 1.0, lib/a.ex:7 (MIT, folder) {FULL.sha256[:12]}",
        "difficulty 2",
        "-- instruction",
        "Adds.",
        "-- user",
        "Add.",
        "-- code",
        "   # Whole",
        "1  def add(a) do  # <- Readability.Specs",
        "2    b = a",
        "3  end",
        "-- values come from b:2 <- a:2; a:2 <- a:1",
        "-- triples add has arity 1",
    ]


def test_examples_are_chosen_by_what_they_are_and_say():
    plain = Example.of("x = 1\n", **PLACE)
    both = [FULL, plain]
    assert list(matching(both, kind="file")) == [plain]
    assert list(matching(both, name="add")) == [FULL]
    assert list(matching(both, grep=r"^Adds\.$")) == [FULL]
    assert list(matching(both, package="other")) == []
    with pytest.raises(InputError, match="no regular expression"):
        list(matching(both, grep="("))


def test_a_sample_is_fair_and_the_same_again():
    numbers = [Example.of(str(number), **PLACE) for number in range(10)]
    assert sample(numbers, 3, None) == numbers[:3]
    assert sample(numbers, 3, 7) == sample(iter(numbers), 3, 7)
    seen = Counter(each.code for seed in range(2000) for each in sample(numbers, 3, seed))
    assert len(seen) == 10 and min(seen.values()) > 500 and max(seen.values()) < 700  # 600 each, five deviations


def test_the_command_says_when_nothing_fits(tmp_path, capsys):
    write_shards(tmp_path, {"train": [FULL]}, {})
    given = {
        "corpus": tmp_path,
        "split": "train",
        "kind": "",
        "package": "",
        "name": "",
        "grep": "",
        "number": 1,
        "random": None,
    }
    assert run(argparse.Namespace(**given)) == 0
    assert "== function Shop.add/1" in capsys.readouterr().out
    assert run(argparse.Namespace(**given | {"kind": "exercise"})) == 1
    assert capsys.readouterr().err == "no example fits\n"
