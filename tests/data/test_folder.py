import argparse

import pytest

from elixir_coder.data.collect import add_parser, collect_project
from elixir_coder.data.folder import unit_of
from elixir_coder.data.shards import read_manifest, read_shards, splits_of
from elixir_coder.data.split import split_units
from elixir_coder.errors import DataError, InputError
from tests.data.debian_archive import module

MIX = b'defmodule Shop.MixProject do\n  def project, do: [app: :shop, version: "1.2.0"]\nend\n'


def project(folder, files=None):
    given = {
        "mix.exs": MIX,
        "config/config.exs": b"import Config\nconfig :shop, port: 4000\n",
        **{f"lib/shop/part{n}.ex": module(f"Shop.Part{n}") for n in range(30)},
        **{f"test/shop/part{n}_test.exs": module(f"Shop.Part{n}Test") for n in range(30)},
        "priv/repo/seeds.exs": module("Seeds"),
        "deps/plug/lib/plug.ex": module("Plug"),
        "_build/dev/lib/x.ex": module("Built"),
        "scratch.exs": b"IO.puts(:not_this_one)\n",
    }
    for name, content in (given | (files or {})).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def read_all(corpus):
    return {split: list(read_shards(corpus, split)) for split in splits_of(corpus)}


def test_a_project_gives_its_own_code_tests_and_configuration(tmp_path):
    report = collect_project(project(tmp_path / "shop"), tmp_path / "corpus")

    found = [example for examples in read_all(tmp_path / "corpus").values() for example in examples]
    assert {each.path.partition("/")[0] for each in found} == {"mix.exs", "config", "lib", "test"}
    assert len(found) == 62
    assert {(e.package, e.version, e.licence, e.source) for e in found} == {("shop", "1.2.0", "proprietary", "project")}
    assert report.packages[0]["split"] == "any"
    assert read_manifest(tmp_path / "corpus")["licences"] == {"proprietary": 62}


def test_tests_are_in_the_split_of_their_code_and_each_split_has_some(tmp_path):
    collect_project(project(tmp_path / "shop"), tmp_path / "corpus")

    found = read_all(tmp_path / "corpus")
    assert set(found) == {"train", "validation", "test"}
    split_of = {example.path: split for split, examples in found.items() for example in examples}
    for number in range(30):
        assert split_of[f"lib/shop/part{number}.ex"] == split_of[f"test/shop/part{number}_test.exs"]


def test_a_file_stays_in_its_split_as_the_project_grows():
    before = split_units(f"part{number}" for number in range(100))
    after = split_units(f"part{number}" for number in range(300))

    assert {name: after[name] for name in before} == before
    assert set(split_units(f"few{number}" for number in range(10)).values()) == {"train", "validation", "test"}
    assert split_units(["one"]).keys() == {"one"}


def test_the_applications_of_an_umbrella_belong_to_it(tmp_path):
    umbrella = b'[apps_path: "parts", version: "2.0.0"]\n# an umbrella\n'
    files = {"mix.exs": umbrella, "parts/web/mix.exs": b"[app: :web]  # a part of it\n"}
    files |= {"parts/web/lib/web.ex": module("Web"), "parts/web/deps/x/lib/x.ex": module("X"), "parts/notes/a.ex": b"x"}

    collect_project(project(tmp_path / "shop", files), tmp_path / "corpus")

    found = {each.path for examples in read_all(tmp_path / "corpus").values() for each in examples}
    assert {path for path in found if path.startswith("parts/")} == {"parts/web/mix.exs", "parts/web/lib/web.ex"}


def test_a_path_of_applications_outside_the_project_is_refused(tmp_path):
    shop = project(tmp_path / "shop", {"mix.exs": b'[app: :shop, apps_path: "../.."]'})

    with pytest.raises(DataError, match=r"apps_path '\.\./\.\.' leaves the project"):
        collect_project(shop, tmp_path / "corpus")


def test_a_folder_without_a_mix_file_is_no_project(tmp_path):
    with pytest.raises(InputError, match=r"no mix\.exs in"):
        collect_project(tmp_path, tmp_path / "corpus")


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("lib/shop/cart.ex", "shop/cart"),
        ("test/shop/cart_test.exs", "shop/cart"),
        ("apps/web/lib/web/page.ex", "apps/web/web/page"),
        ("apps/web/test/web/page_test.exs", "apps/web/web/page"),
        ("mix.exs", "mix.exs"),
        ("test/support/lib/case.ex", "support/lib/case"),
    ],
)
def test_what_a_file_is_about(path, unit):
    assert unit_of(path) == unit


def test_the_command_takes_the_words_of_its_help(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(required=True))
    shop, out = project(tmp_path / "shop"), tmp_path / "corpus"
    args = parser.parse_args(["collect", "project", str(shop), "--licence", "LicenseRef-ours", "--out", str(out)])

    assert args.run(args) == 0
    assert "  shop 1.2.0 (any): 62 files" in capsys.readouterr().out
    assert {each.licence for each in read_shards(out)} == {"LicenseRef-ours"}
