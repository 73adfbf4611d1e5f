import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.data.split import SPLITS, split_packages
from elixir_coder.errors import DataError

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(st.sets(names, min_size=2), st.sets(names))
def test_a_package_keeps_its_split_when_others_come_and_go(packages, others):
    small, large = split_packages(packages), split_packages(packages | others)

    assert all(large[name] == small[name] for name in packages)
    assert set(large.values()) <= set(SPLITS)


def test_the_hash_holds_out_about_five_per_cent_twice():
    split = list(split_packages(f"package{number}" for number in range(4_000)).values())

    assert 150 < split.count("validation") < 250
    assert 150 < split.count("test") < 250


def test_the_hash_is_the_same_on_every_machine():
    split = split_packages(["absinthe", "ecto", "phoenix"])

    assert split == {"absinthe": "validation", "ecto": "train", "phoenix": "test"}


def test_named_packages_are_held_out_and_all_others_train():
    assert split_packages(["a", "b", "c"], validation=["b"]) == {"a": "train", "b": "validation", "c": "train"}
    assert split_packages(["a", "b"], validation=[], test=[]) == {"a": "train", "b": "train"}


def test_a_lone_package_trains():
    assert split_packages(["phoenix"]) == {"phoenix": "train"}  # though its hash says test


def test_a_package_named_for_both_is_an_error():
    with pytest.raises(DataError, match="b is named for validation and for test"):
        split_packages(["a", "b"], validation=["b"], test=["b"])


def test_a_held_out_package_that_was_not_collected_is_an_error_that_lists_what_was():
    with pytest.raises(DataError, match=r"held-out package ecto was not collected \(collected: a, b\)"):
        split_packages(["b", "a"], test=["ecto"])
