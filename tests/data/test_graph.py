import argparse
import io
import json
import os
import re
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import pyoxigraph as oxigraph
import pytest

from elixir_coder.data.graph import (
    QUERIES,
    add_parser,
    iri_of,
    load_corpus,
    load_folder,
    named_query,
    table,
    versions_of,
)
from elixir_coder.data.shards import write_shards
from elixir_coder.errors import DataError, InputError
from elixir_coder.example import Example
from elixir_coder.ontology import extract
from elixir_coder.ontology.store import GraphStore
from elixir_coder.ontology.vocabulary import CORE, name_iri, shown

pytestmark = pytest.mark.elixir

ROOT = Path(__file__).parents[2]
CART = """defmodule Shop.Cart do
  use GenServer
  def init(_), do: {:ok, load()}
  def handle_call(:all, _from, state), do: {:reply, Map.values(state), state}
  defp load, do: Shop.Store.read("cart")
  defp forgotten, do: 1
end
"""
STORE = """defmodule Shop.Store do
  @moduledoc "What is kept."
  def read(name), do: name |> String.to_atom() |> :persistent_term.get()
end
"""


def file(code, path, package="shop", version="1.0", **fields):
    facts = {"licence": "MIT", "source": "folder"} | fields
    return Example.of(code, path=path, package=package, version=version, **facts)


FILES = [file(CART, "lib/cart.ex"), file(STORE, "lib/store.ex"), file(STORE, "lib/store.ex", package="other")]


@pytest.fixture
def corpus(tmp_path):
    write_shards(tmp_path / "corpus", {"train": FILES[:2], "test": FILES[2:]}, {})
    return tmp_path / "corpus"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The folder of a graph of `FILES`."""
    folder = tmp_path_factory.mktemp("graph")
    write_shards(folder / "corpus", {"train": FILES[:2], "test": FILES[2:]}, {})
    with GraphStore(folder / "graph") as opened:
        load_corpus(folder / "corpus", opened, workers=1, validate=True)
    return folder / "graph"


@pytest.fixture
def command(capsys):
    """A command of the group: its exit code and what it printed."""
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())

    def run(*words):
        args = parser.parse_args(list(map(str, words)))
        return args.run(args), capsys.readouterr().out

    return run


class TestLoading:
    def test_one_and_two_workers_build_the_same_graph(self, corpus, tmp_path):
        dumps = []
        for workers in (1, 2):
            with GraphStore(tmp_path / f"graph{workers}") as store:
                report = load_corpus(corpus, store, workers=workers)
                assert len(report.changes.added) == 2
                store.dump(tmp_path / f"{workers}.nq.gz")
            dumps.append((tmp_path / f"{workers}.nq.gz").read_bytes())
        assert dumps[0] == dumps[1]

    def test_building_again_loads_what_changed_and_sync_archives_what_is_gone(self, corpus, tmp_path):
        with GraphStore(tmp_path / "graph") as store:
            load_corpus(corpus, store, workers=1)
            write_shards(corpus, {"train": [FILES[0], file("defmodule Shop.Store do\nend\n", "lib/store.ex")]}, {})
            built = load_corpus(corpus, store, workers=1)
            assert str(built.changes) == "0 added, 1 replaced, 0 archived, 0 restored, 0 same, 0 refused"
            synced = load_corpus(corpus, store, workers=1, keep_others=False)
            assert [each.package for each in synced.changes.archived] == ["other"]
            assert {row.package: row.state for row in store.versions()} == {"other": "archived", "shop": "active"}

    def test_functions_and_pairs_that_were_taken_from_files_are_not_counted_twice(self, corpus):
        found = versions_of(corpus)
        taken = file(STORE, "lib/store.ex", kind="module", name="Shop.Store")
        write_shards(corpus, {"train": [taken, *FILES[:2]], "test": FILES[2:]}, {})
        assert versions_of(corpus) == found

    def test_a_version_that_breaks_a_shape_is_refused_and_leaves_nothing(self, corpus, tmp_path, monkeypatch):
        triples = extract.triples

        def with_wrong_lines(report, **names):
            for each in triples(report, **names):
                if names["package"] == "other" and each.predicate.value == CORE.line:
                    yield oxigraph.Triple(each.subject, each.predicate, oxigraph.Literal("none"))
                else:
                    yield each

        monkeypatch.setattr(extract, "triples", with_wrong_lines)  # what is extracted breaks no shape
        with GraphStore(tmp_path / "graph") as store:
            report = load_corpus(corpus, store, workers=1, validate=True)
            assert [str(each) for each in report.changes.refused] == ["other 1.0"]
            assert list(report.violations) == ["other 1.0 lib/store.ex"]
            assert [row.package for row in store.versions()] == ["shop"]

    def test_a_folder_is_loaded_as_the_project_its_mix_file_names(self, tmp_path):
        project = tmp_path / "project"
        (project / "lib").mkdir(parents=True)
        (project / "mix.exs").write_text(
            'defmodule A.MixProject do\n  def project, do: [app: :a, version: "2.1.0"]\nend\n'
        )
        (project / "lib" / "a.ex").write_text("defmodule A do\n  def b, do: 1\nend\n")
        store = GraphStore()
        load_folder(project, store, workers=1, added="2024-05-01")
        (row,) = store.versions()
        assert (row.package, row.version, row.added) == ("a", "2.1.0", "2024-05-01")
        assert store.query("ASK { ?f structure:identifiedBy <" + name_iri("A", "b", 0) + "> }")

    def test_a_corpus_without_files_is_an_error(self, tmp_path):
        write_shards(tmp_path / "corpus", {"train": [file(STORE, "a.ex", kind="module")]}, {})
        with pytest.raises(DataError, match="no files of code"):
            versions_of(tmp_path / "corpus")


class TestQueries:
    @pytest.mark.parametrize(
        ("words", "rows"),
        [
            (["callers-of", "Shop.Store.read/1"], [("Shop.Cart.load/0", "1")]),
            (["calls-of", "Shop.Cart.init/1"], [("Shop.Cart.load/0",), ("Shop.Store.read/1",)]),
            (["implementers-of", "GenServer"], [("Shop.Cart",)]),
            (["modules-without-doc"], [("Shop.Cart",)]),
            (["weaknesses"], None),
            (
                ["callbacks-call", "GenServer"],
                [
                    ("Shop.Cart", "Shop.Cart.handle_call/3", "Map.values/1"),
                    ("Shop.Cart", "Shop.Cart.init/1", "Shop.Cart.load/0"),
                    ("Shop.Cart", "Shop.Cart.init/1", "Shop.Store.read/1"),
                ],
            ),
            (["most-called"], None),
            (["never-called"], [("Shop.Cart.forgotten/0",)]),
        ],
    )
    def test_a_ready_query_finds_what_it_says(self, store, words, rows):
        with GraphStore(store, read_only=True) as opened:
            solutions = opened.query(named_query(*words))
            names = [variable.value for variable in solutions.variables]
            found = [tuple(shown(row[name].value) for name in names) for row in solutions]
        if words == ["weaknesses"]:
            assert {row[:3] for row in found} == {("Shop.Store.read/1", "String.to_atom/1", "atom exhaustion")}
        elif words == ["most-called"]:
            assert found[0] == (":persistent_term.get/1", "2")
        else:
            assert found == rows

    def test_every_ready_query_is_in_this_table(self):
        assert len(QUERIES) == 8

    def test_a_name_or_argument_that_does_not_fit_is_an_error(self):
        with pytest.raises(InputError, match="no query `nothing`; there are: callers-of"):
            named_query("nothing")
        with pytest.raises(InputError, match=r"callers-of takes Module\.function/arity, got nothing"):
            named_query("callers-of")
        with pytest.raises(InputError, match="no name of a module"):
            named_query("callers-of", "enum.map> . ?x")

    @pytest.mark.parametrize(
        ("name", "parts"),
        [
            ("Enum.map/2", ("Enum", "map", 2)),
            ("Plug.Conn.valid?/1", ("Plug.Conn", "valid?", 1)),
            (":lists.map/2", (":lists", "map", 2)),
            ("Kernel.//2", ("Kernel", "/", 2)),
            ("Kernel.../2", ("Kernel", "..", 2)),
            ("GenServer", ("GenServer",)),
            (":ets", (":ets",)),
        ],
    )
    def test_names_are_read_as_elixir_writes_them(self, name, parts):
        assert iri_of(name) == name_iri(*parts)


class TestCommands:
    def test_query_prints_a_table_or_another_form(self, store, command, monkeypatch):
        sparql = "SELECT ?m WHERE { ?m a structure:Module } ORDER BY ?m"
        code, told = command("query", sparql, "--store", store)
        assert (code, told.splitlines()) == (0, ["m", "----------", "Shop.Store", "Shop.Cart", "Shop.Store", "3 rows"])
        monkeypatch.setattr(sys, "stdin", io.StringIO(sparql))
        assert command("query", "-", "--store", store, "--format", "csv")[1].splitlines()[0] == "m"
        assert (
            len(json.loads(command("query", sparql, "--store", store, "--format", "json")[1])["results"]["bindings"])
            == 3
        )
        describe = f"DESCRIBE <{name_iri('Shop.Store')}>"
        assert "@prefix core:" in command("query", describe, "--store", store, "--format", "ttl")[1]

    def test_archive_takes_a_version_out_and_brings_it_back(self, store, command):
        ask = ("query", "ASK { ?m structure:identifiedBy name:Shop.Cart }", "--store", store)
        assert command(*ask)[1] == "yes\n"
        assert command("archive", "shop", "1.0", "--store", store) == (0, "shop 1.0: archived\n")
        assert command(*ask)[1] == "no\n"
        assert command("archive", "shop", "1.0", "--store", store, "--restore") == (0, "shop 1.0: restored\n")
        assert command(*ask)[1] == "yes\n"

    def test_stats_count_triples_classes_and_versions(self, store, command):
        told = command("stats", "--store", store)[1]
        assert "2 versions active, 0 archived" in told
        assert re.search(r"^ +3  structure:Module$", told, re.MULTILINE)
        assert re.search(r"last load: 3 files, [\d,]+ triples", told)

    def test_linearize_says_what_is_known(self, store, command):
        told = command("linearize", "Shop.Cart.init/1", "--store", store)[1]
        assert told == "Shop.Cart.init/1 implements GenServer.init/1 and calls load/0, which calls Shop.Store.read/1.\n"
        with pytest.raises(InputError, match=r"no definition of Shop\.None"):
            command("linearize", "Shop.None", "--store", store)

    def test_validate_holds_a_corpus_to_the_shapes(self, corpus, command):
        code, told = command("validate", corpus, "--workers", "1")
        assert (code, told.splitlines()[-1]) == (0, "conforms")
        told = command("validate", corpus, "--workers", "1", "--kind", "security")[1]
        assert "shop 1.0 lib/store.ex:3: Warning: this call may be: atom exhaustion" in told

    def test_a_dump_is_loaded_into_an_empty_graph(self, store, command, tmp_path):
        code, told = command("dump", tmp_path / "graph.nq.gz", "--store", store)
        number = re.match(r"[\d,]+ quads", told)[0]
        assert (code, command("load", tmp_path / "graph.nq.gz", "--store", tmp_path / "copy")[1][: len(number)]) == (
            0,
            number,
        )

    def test_serve_answers_until_it_is_told_to_end(self, store):
        program = (
            "import argparse, sys; from elixir_coder.data.graph import add_parser\n"
            "if __name__ == '__main__':\n"
            "    parser = argparse.ArgumentParser(); add_parser(parser.add_subparsers())\n"
            f"    args = parser.parse_args(['serve', '--store', {str(store)!r}, '--port', '0', '--readers', '1'])\n"
            "    sys.exit(args.run(args))\n"
        )
        script = store.parent / "serve_it.py"
        script.write_text(program)
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) as process:
            url = re.search(r"http://\S+/sparql", process.stdout.readline())[0]
            query = urllib.parse.urlencode({"query": "ASK { ?m a structure:Module }"})
            with urllib.request.urlopen(f"{url}?{query}", timeout=30) as response:
                assert json.load(response)["boolean"] is True
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0


def test_a_table_shows_every_kind_of_term_on_one_line():
    answer = {
        "head": {"vars": ["a", "b"]},
        "results": {
            "bindings": [
                {"a": {"type": "uri", "value": name_iri("Enum", "map", 2)}, "b": {"type": "literal", "value": "x\n y"}},
                {"a": {"type": "bnode", "value": "b1"}},
            ]
        },
    }
    assert table(answer).splitlines() == ["a           b", "----------  ---", "Enum.map/2  x y", "b1", "2 rows"]
