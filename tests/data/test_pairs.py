"""Which code a test file is about, by each of the ways, and what is left unmatched."""

import argparse
from collections import Counter

import pytest

from elixir_coder.data.pairs import UNMATCHED, Pair, names_of_tested, place_of, run
from elixir_coder.data.shards import read_shards, write_shards
from elixir_coder.example import Example

PLACE = {"package": "shop", "version": "1.0", "licence": "MIT", "source": "folder"}


def module(name, body=""):
    return f"defmodule {name} do\n{body}end\n"


def suite(name, body='  test "a", do: assert true\n', use="ExUnit.Case"):
    return module(name, f"  use {use}\n{body}")


FILES = {
    "lib/shop/cart.ex": module("Shop.Cart") + module("Shop.Cart.Line"),
    "lib/shop/price.ex": module("Shop.Price"),
    "lib/shop/tax.ex": module("Shop.Taxes"),
    "lib/shop_web/live/user_live/index.ex": module("ShopWeb.UserLive.Index"),
    "lib/shop_web/controllers/user_controller.ex": module("ShopWeb.UserController"),
    "lib/shop/store/store.ex": module("Shop.Warehouse"),
    "test/support/data_case.ex": module("Shop.DataCase"),
}
TESTS = {
    "test/shop/cart_test.exs": (suite("Shop.CartTest"), "module", "Shop.Cart"),
    "test/shop/line_test.exs": (suite("Shop.Cart.LineTest"), "module", "Shop.Cart"),
    "test/shop/cart/test_of_it_test.exs": (suite("Shop.Cart.Test"), "module", "Shop.Cart"),
    "test/prices_test.exs": (suite("PricesTest", "  doctest Shop.Price\n"), "doctest", "Shop.Price"),
    "test/shop/tax_test.exs": (suite("TaxTest"), "path", "Shop.Taxes"),
    "test/shop_web/live/user_live_test.exs": (
        suite("ShopWeb.UserLiveTest", '  import Phoenix.LiveViewTest\n  test "a", do: 1\n', "ShopWeb.ConnCase"),
        "folder",
        "ShopWeb.UserLive.Index",
    ),
    "test/controllers/user_controller_test.exs": (
        suite("UserControllerTest", use="ShopWeb.ConnCase"),
        "folder",
        "ShopWeb.UserController",
    ),
    "test/shop/discount_test.exs": (suite("Shop.Cart.DiscountTest"), "parent", "Shop.Cart"),
    "test/all_test.exs": (
        suite(
            "AllTest",
            '  test "a" do\n    for _ <- 1..3, do: Shop.Warehouse.a() + Shop.Warehouse.b(&Shop.Warehouse.c/1)\n  end\n',
        ),
        "calls",
        "Shop.Warehouse",
    ),
    "test/none_test.exs": (suite("NoneTest"), "", ""),
    "test/empty_test.exs": (module("EmptyTest"), "", ""),
}


def package(version="1.0"):
    texts = FILES | {path: text for path, (text, _way, _name) in TESTS.items()}
    return [Example.of(text, path=path, **PLACE | {"version": version}) for path, text in sorted(texts.items())]


@pytest.fixture(scope="module")
def found():
    step, dropped = Pair(), Counter()
    pairs = step([package()], dropped)
    step.close()
    return {pair.tests: pair for pair in pairs}, dropped


@pytest.mark.elixir
@pytest.mark.parametrize("path", TESTS)
def test_a_test_file_finds_what_it_is_about(found, path):
    pairs, _dropped = found
    text, way, name = TESTS[path]
    if not way:
        assert text not in pairs
    else:
        assert (pairs[text].matched, pairs[text].name, pairs[text].kind) == (way, name, "test_pair")
        assert pairs[text].code in FILES.values()


@pytest.mark.elixir
def test_what_is_unmatched_is_counted_and_a_file_without_tests_is_no_test(found):
    assert found[1] == {"unmatched test": 1}


@pytest.mark.elixir
def test_the_kind_of_tests_is_what_they_use(found):
    kinds = {pair.tests.split()[1]: pair.test_type for pair in found[0].values()}
    assert kinds["Shop.CartTest"] == "exunit"
    assert kinds["PricesTest"] == "doctest"
    assert kinds["UserControllerTest"] == "conn"
    assert kinds["ShopWeb.UserLiveTest"] == "liveview"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("A.BTest", ["A.B"]),
        ("A.B.Test", ["A.B"]),
        ("Test.A.BTest", ["Test.A.B", "A.B"]),
        ("A.BTest.C", ["A.B", "A.B.C"]),
        ("Test", []),
        ("A.B", []),
    ],
)
def test_names_of_test_modules(name, expected):
    assert names_of_tested(name) == expected


def test_code_and_its_tests_have_the_same_place():
    assert place_of("apps/a/lib/b/c.ex") == place_of("apps/a/test/b/c.exs") == ("apps", "a", "b", "c")


@pytest.mark.elixir
def test_pairs_stay_in_the_split_of_their_package(tmp_path, capsys):
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    held_out = [Example.of(each.code + "# 2\n", path=each.path, **PLACE | {"package": "other"}) for each in package()]
    write_shards(corpus, {"train": package("1.0") + package("2.0"), "test": held_out}, {})
    assert run(argparse.Namespace(corpus=corpus, out=out, workers=1, resume=False)) == 0

    train, test = list(read_shards(out, "train")), list(read_shards(out, "test"))
    assert {(each.package, each.version) for each in train} == {("shop", "1.0"), ("shop", "2.0")}
    assert {each.package for each in test} == {"other"}
    assert len(test) == 9 and all("# 2\n" in each.tests and "# 2\n" in each.code for each in test)
    assert "test files in no pair: 6" in capsys.readouterr().out
    assert "shop 1.0 test/none_test.exs" in (out / UNMATCHED).read_text().splitlines()
