import gzip
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyoxigraph as oxigraph
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elixir_coder.errors import DataError, InputError
from elixir_coder.ontology.schemas import schema_triples
from elixir_coder.ontology.store import ARCHIVED, GraphStore, Part, Version, digest_of, write_part
from elixir_coder.ontology.vocabulary import METADATA_GRAPH, package_graph, split_graph, version_iri

ROOT = Path(__file__).parents[2]


def triple(subject, predicate="says", value="yes"):
    return oxigraph.Triple(
        oxigraph.NamedNode(f"https://example.org/{subject}"),
        oxigraph.NamedNode(f"https://example.org/{predicate}"),
        oxigraph.Literal(value),
    )


def shown(graph):
    """What a query without GRAPH sees."""
    rows = graph.query("SELECT ?s ?p ?o WHERE { ?s ?p ?o }")
    return {oxigraph.Triple(row["s"], row["p"], row["o"]) for row in rows}


def version(package, number, **fields):
    return Version(package=package, version=number, **fields)


def extract_from(folder, content, *, incomplete=()):
    """The triples of `content`, by package, as `sync` wants them: each version in two parts."""
    numbers = itertools.count()

    def extract(versions):
        for each in versions:
            triples = content[each.package]
            for is_last, some in ((False, triples[::2]), (True, triples[1::2])):
                file = folder / f"{next(numbers)}.nq"
                write_part(file, [(*each.key, some)])
                yield Part(file=file, completes=(each,) if is_last and each.package not in incomplete else ())

    return extract


class TestAdd:
    def test_a_version_is_seen_by_queries_and_in_its_own_graph(self):
        graph = GraphStore()
        graph.add("shop", "1.0", [triple("a")], source="hex", licence="MIT", added="2024-05-01")

        assert shown(graph) == {triple("a")}
        assert list(graph.triples_of("shop", "1.0")) == [triple("a")]
        (row,) = graph.versions()
        assert (row.package, row.version, row.source, row.licence) == ("shop", "1.0", "hex", "MIT")
        assert (row.added, row.num_triples, row.state) == ("2024-05-01", 1, "active")

    def test_the_same_content_changes_nothing_and_other_content_replaces_it(self):
        graph = GraphStore()
        assert graph.add("shop", "1.0", [triple("a"), triple("b")])
        assert not graph.add("shop", "1.0", [triple("b"), triple("a")])
        assert graph.add("shop", "1.0", [triple("c")])
        assert shown(graph) == {triple("c")}

    def test_a_given_digest_decides_what_is_the_same(self):
        graph = GraphStore()
        graph.add("shop", "1.0", [triple("a")], digest="1")
        assert not graph.add("shop", "1.0", [triple("b")], digest="1")
        assert shown(graph) == {triple("a")}

    def test_triples_that_fail_in_the_middle_leave_what_was_there(self):
        def failing():
            yield triple("b")
            raise DataError("no more")

        graph = GraphStore()
        graph.add("shop", "1.0", [triple("a")])
        with pytest.raises(DataError, match="no more"):
            graph.add("shop", "1.0", failing())
        assert shown(graph) == {triple("a")}

    def test_a_strange_version_has_a_graph_of_its_own(self):
        graph = GraphStore()
        graph.add("shop", "1.0/> . <x", [triple("a")])
        graph.add("shop", "1.0", [triple("b")])
        graph.remove("shop", "1.0/> . <x")
        assert shown(graph) == {triple("b")}


class TestArchive:
    def test_an_archived_version_is_kept_out_of_queries_and_in_its_graph(self):
        graph = GraphStore()
        graph.add("shop", "1.0", [triple("a")])
        graph.archive("shop", "1.0")

        assert shown(graph) == set()
        in_its_own = f"ASK {{ GRAPH <{package_graph('shop', '1.0')}> {{ ?s ?p ?o }} }}"
        assert graph.query(in_its_own)
        assert graph.versions()[0].state == ARCHIVED
        graph.restore("shop", "1.0")
        assert shown(graph) == {triple("a")}

    def test_what_another_active_version_says_too_stays(self):
        graph = GraphStore()
        for number in ("1.0", "1.1", "1.2"):
            graph.add("shop", number, [triple("name"), triple(number)])
        graph.archive("shop", "1.0")
        assert shown(graph) == {triple("name"), triple("1.1"), triple("1.2")}
        graph.archive("shop", "1.1")
        graph.remove("shop", "1.2")
        assert shown(graph) == set()  # the archived ones say it still, but are not asked

    def test_a_version_that_is_not_there_is_named_with_those_that_are(self):
        graph = GraphStore()
        graph.add("shop", "1.0", [triple("a")])
        with pytest.raises(InputError, match=r"shop 2\.0 is not in the graph; it has shop 1\.0"):
            graph.archive("shop", "2.0")

    steps = st.lists(
        st.tuples(st.sampled_from(["add", "archive", "restore", "remove"]), st.sampled_from("abc"), st.integers(0, 3)),
        max_size=12,
    )

    @settings(max_examples=40)
    @given(steps)
    def test_queries_see_the_union_of_the_active_versions(self, steps):
        content = [[triple(0), triple(1)], [triple(1), triple(2)], [triple(2)], []]
        graph = GraphStore()
        active, archived = {}, {}
        for step, package, number in steps:
            if step == "add":
                graph.add(package, "1", content[number])
                archived.pop(package, None)
                active[package] = content[number]
            elif package in active or package in archived:
                getattr(graph, step)(package, "1")
                triples = active.pop(package, None) or archived.pop(package, [])
                if step != "remove":
                    (active if step == "restore" else archived)[package] = triples
            assert shown(graph) == {each for triples in active.values() for each in triples}


class TestSync:
    def test_new_ones_come_changed_ones_are_replaced_gone_ones_archived_and_the_same_left(self, tmp_path):
        graph = GraphStore(tmp_path / "graph")
        content = {name: [triple(f"{name}{number}") for number in range(3)] for name in ("kept", "changed", "gone")}
        wanted = [version(name, "1", digest="old") for name in content]
        assert len(graph.sync(wanted, extract_from(tmp_path, content)).added) == 3

        content = {"changed": [triple("other")], "new": [triple("new")]}
        wanted = [version("kept", "1", digest="old"), version("changed", "1", digest="x"), version("new", "1")]
        changes = graph.sync(wanted, extract_from(tmp_path, content))

        assert str(changes) == "1 added, 1 replaced, 1 archived, 0 restored, 1 same, 0 refused"
        assert shown(graph) == {triple("kept0"), triple("kept1"), triple("kept2"), triple("other"), triple("new")}
        assert {row.package: row.num_triples for row in graph.versions() if row.state == "active"} == {
            "kept": 3,
            "changed": 1,
            "new": 1,
        }
        back = graph.sync([*wanted, version("gone", "1", digest="old")], extract_from(tmp_path, {}))
        assert [row.package for row in back.restored] == ["gone"]
        graph.close()

    def test_a_version_that_is_not_completed_leaves_nothing(self, tmp_path):
        graph = GraphStore(tmp_path / "graph")
        content = {"good": [triple("shared"), triple("good")], "bad": [triple("shared"), triple("bad")]}
        wanted = [version("good", "1"), version("bad", "1")]
        changes = graph.sync(wanted, extract_from(tmp_path, content, incomplete={"bad"}))

        assert [row.package for row in changes.refused] == ["bad"]
        assert shown(graph) == {triple("shared"), triple("good")}
        assert not graph.query(f"ASK {{ GRAPH <{package_graph('bad', '1')}> {{ ?s ?p ?o }} }}")
        graph.close()

    def test_an_error_while_extracting_leaves_whole_versions_only(self, tmp_path):
        content = {"good": [triple("good")], "bad": [triple("bad1"), triple("bad2")]}
        parts = extract_from(tmp_path, content)

        def extract(versions):
            yield from itertools.islice(parts(versions), 3)  # both of good, the first of bad
            raise DataError("the corpus is damaged")

        graph = GraphStore(tmp_path / "graph")
        with pytest.raises(DataError, match="damaged"):
            graph.sync([version("good", "1"), version("bad", "1")], extract)
        assert shown(graph) == {triple("good")}
        graph.close()
        with GraphStore(tmp_path / "graph", read_only=True) as graph:
            assert shown(graph) == {triple("good")}

    def test_a_process_that_is_killed_while_loading_leaves_whole_versions_only(self, tmp_path):
        script = f"""if True:
            import os, signal, sys
            from pathlib import Path
            sys.path.insert(0, str(Path({__file__!r}).parent))
            from test_store import GraphStore, extract_from, itertools, triple, version
            folder = Path({str(tmp_path)!r})
            parts = extract_from(folder, {{"good": [triple("good")], "bad": [triple("bad1"), triple("bad2")]}})
            def extract(versions):
                yield from itertools.islice(parts(versions), 3)
                os.kill(os.getpid(), signal.SIGKILL)
            GraphStore(folder / "graph").sync([version("good", "1"), version("bad", "1")], extract)
        """
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
        assert done.returncode == -signal.SIGKILL

        with pytest.raises(DataError, match="loading was cut short"):
            GraphStore(tmp_path / "graph", read_only=True)
        with GraphStore(tmp_path / "graph") as graph:
            assert shown(graph) == {triple("good")}
            assert [row.package for row in graph.versions()] == ["good"]


class TestOpening:
    def test_one_process_writes_and_any_number_read_while_none_does(self, tmp_path):
        with GraphStore(tmp_path / "graph") as writer:
            writer.add("shop", "1.0", [triple("a")])
            with pytest.raises(DataError, match=f"in use: process {os.getpid()} is writing to it"):
                GraphStore(tmp_path / "graph", read_only=True)
            with pytest.raises(DataError, match="in use"):
                GraphStore(tmp_path / "graph")
        with (
            GraphStore(tmp_path / "graph", read_only=True) as one,
            GraphStore(tmp_path / "graph", read_only=True) as two,
        ):
            assert shown(one) == shown(two) == {triple("a")}
            with pytest.raises(DataError, match="in use"):
                GraphStore(tmp_path / "graph")
        GraphStore(tmp_path / "graph").close()

    def test_a_graph_that_is_not_there_is_not_made_by_reading(self, tmp_path):
        with pytest.raises(DataError, match="graph build"):
            GraphStore(tmp_path / "graph", read_only=True)
        assert not (tmp_path / "graph").exists()

    def test_a_damaged_store_is_an_error_with_its_folder(self, tmp_path):
        GraphStore(tmp_path / "graph").close()
        (tmp_path / "graph" / "quads" / "CURRENT").write_text("nonsense")
        with pytest.raises(DataError, match="cannot be opened"):
            GraphStore(tmp_path / "graph")


class TestQuery:
    def test_the_prefixes_of_the_vocabulary_are_known(self):
        graph = GraphStore()
        graph.set_schema(schema_triples())
        rows = graph.query("SELECT ?c WHERE { name:GenServer otp:requiresCallback ?c }")
        assert [row["c"].value.rpartition("/name/")[2] for row in rows] == ["GenServer/init/1"]

    @pytest.mark.parametrize(
        "sparql",
        [
            "SELECT * { SERVICE <http://127.0.0.1:1/> { ?a ?b ?c } }",
            "SELECT * { service # to\n silent ?x { ?a ?b ?c } }",
            "SELECT * { SER\\u0056ICE <http://127.0.0.1:1/> { ?a ?b ?c } }",
            "PREFIX a: <http://a/> SELECT * { ?x a:b ?y SERVICE a:c { ?a ?b ?c } }",
        ],
    )
    def test_no_other_machine_is_asked(self, sparql):
        with pytest.raises(InputError, match="SERVICE"):
            GraphStore().query(sparql)

    @pytest.mark.parametrize("word", ['"service"', '"a service, at last"', "?service", "name:service"])
    def test_the_word_may_be_used(self, word):
        assert not GraphStore().query(f"ASK {{ ?s ?p {word} }}")

    @pytest.mark.parametrize("sparql", ["SELECT", "DROP ALL", "INSERT DATA { <a:a> <a:a> <a:a> }", ""])
    def test_what_is_no_query_is_refused(self, sparql):
        with pytest.raises(InputError, match="not a SPARQL query"):
            GraphStore().query(sparql)


class TestSchemaAndSplits:
    def test_setting_the_schema_again_changes_nothing(self):
        graph = GraphStore()
        graph.set_schema(schema_triples())
        before = len(graph)
        assert before > 1_000
        graph.set_schema(schema_triples())
        assert len(graph) == before

    def test_a_statement_that_leaves_the_schema_stays_where_a_version_makes_it(self):
        graph = GraphStore()
        graph.set_schema([triple("both"), triple("schema")])
        graph.add("shop", "1.0", [triple("both")])
        graph.set_schema([triple("other")])
        assert shown(graph) == {triple("both"), triple("other")}

    def test_a_split_says_which_versions_it_has(self):
        graph = GraphStore()
        graph.set_split("test", [("shop", "1.0"), ("cart", "2.0")])
        graph.set_split("test", [("shop", "1.0")])
        rows = graph.query(f"SELECT ?v WHERE {{ GRAPH <{split_graph('test')}> {{ ?v core:inSplit ?split }} }}")
        assert [row["v"].value for row in rows] == [version_iri("shop", "1.0")]


class TestDump:
    def test_a_dump_brings_back_the_same_graph_and_is_the_same_each_time(self, tmp_path):
        with GraphStore(tmp_path / "graph") as graph:
            graph.add("shop", "1.0", [triple("a")])
            graph.add("shop", "0.9", [triple("old")])
            graph.archive("shop", "0.9")
            graph.set_schema([triple("schema")])
            number = graph.dump(tmp_path / "one.nq.gz")
            versions = graph.versions()

        with GraphStore(tmp_path / "other") as other:
            assert other.load(tmp_path / "one.nq.gz") == number
            assert shown(other) == {triple("a"), triple("schema")}
            assert other.versions() == versions
            other.dump(tmp_path / "two.nq.gz")
        assert (tmp_path / "one.nq.gz").read_bytes() == (tmp_path / "two.nq.gz").read_bytes()

    def test_a_dump_that_is_cut_leaves_the_store_empty(self, tmp_path):
        graph = GraphStore()
        graph.add("shop", "1.0", [triple(number) for number in range(500)])
        graph.dump(tmp_path / "whole.nq.gz")
        whole = (tmp_path / "whole.nq.gz").read_bytes()
        (tmp_path / "cut.nq.gz").write_bytes(whole[: len(whole) // 2])
        (tmp_path / "wrong.nq.gz").write_bytes(gzip.compress(b"<a:a> <a:b> nonsense .\n"))

        other = GraphStore()
        for name in ("cut.nq.gz", "wrong.nq.gz"):
            with pytest.raises(DataError, match=f"{name} is not a whole dump"):
                other.load(tmp_path / name)
            assert len(other) == 0
        other.load(tmp_path / "whole.nq.gz")
        with pytest.raises(DataError, match="not empty"):
            other.load(tmp_path / "whole.nq.gz")


def test_a_digest_is_of_the_set_of_triples():
    assert digest_of([triple("a"), triple("b")]) == digest_of([triple("b"), triple("a"), triple("a")])
    assert digest_of([triple("a")]) != digest_of([triple("b")])


def test_metadata_is_a_graph_of_its_own():
    graph = GraphStore()
    graph.add("shop", "1.0", [triple("a")], licence="MIT")
    row = f"GRAPH <{METADATA_GRAPH}> {{ <{version_iri('shop', '1.0')}> core:hasLicense ?licence }}"
    assert [each["licence"].value for each in graph.query(f"SELECT ?licence WHERE {{ {row} }}")] == [
        "http://spdx.org/licenses/MIT"
    ]
