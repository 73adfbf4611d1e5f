from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.ontology.vocabulary import (
    BASE,
    CORE,
    PREFIXES,
    SPDX,
    cwe_iri,
    file_iri,
    function_iri,
    licence_iri,
    location_iri,
    module_iri,
    name_iri,
    package_graph,
    rule_iri,
    shown,
    split_graph,
)

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)  # no lone surrogates: no text of UTF-8 has them


def test_a_function_has_the_iri_that_the_design_promises():
    assert function_iri("plug", "1.15.0", "Plug.Conn", "put_status", 2) == (
        "https://w3id.org/elixir-coder/code/plug/1.15.0/Plug.Conn/put_status/2"
    )


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        ("valid?", "valid%3F"),
        ("/", "%2F"),
        ("..", "%2E%2E"),
        ("..//", "..%2F%2F"),
        ("+", "%2B"),
        ("größe", "gr%C3%B6%C3%9Fe"),
    ],
)
def test_a_name_of_any_characters_is_one_segment(name, segment):
    assert function_iri("p", "1", "M", name, 2) == f"{BASE}code/p/1/M/{segment}/2"


@given(NAMES, NAMES, NAMES, NAMES)
def test_different_functions_have_different_iris(module, name, other_module, other_name):
    first = function_iri("p", "1", module, name, 1)
    assert (first == function_iri("p", "1", other_module, other_name, 1)) == (
        (module, name) == (other_module, other_name)
    )


@given(NAMES, NAMES, st.integers(0, 255))
def test_an_iri_is_valid_and_shows_what_it_was_made_of(module, name, arity):
    oxigraph = pytest.importorskip("pyoxigraph")
    iri = oxigraph.NamedNode(function_iri("p", "1", module, name, arity)).value
    assert shown(iri) == f"{module}.{name}/{arity}"
    assert urlsplit(iri).path.count("/") == 7  # after /elixir-coder: kind, package, version, module, name, arity


@pytest.mark.parametrize(
    ("iri", "text"),
    [
        (module_iri("plug", "1.15.0", "Plug.Conn"), "Plug.Conn"),
        (name_iri(":lists", "map", 2), ":lists.map/2"),
        (name_iri("GenServer"), "GenServer"),
        (file_iri("plug", "1.15.0", "lib/plug/conn.ex"), "lib/plug/conn.ex"),
        (CORE.Package, "core:Package"),
        (cwe_iri("CWE-89"), "cwe:89.html"),
        ("mailto:somebody@example.org", "mailto:somebody@example.org"),
    ],
)
def test_an_iri_is_shown_in_a_readers_words(iri, text):
    assert shown(iri) == text


def test_lines_are_a_fragment_of_their_file():
    assert location_iri(file_iri("p", "1", "lib/a b.ex"), 3, 7) == f"{BASE}file/p/1/lib/a%20b.ex#L3-L7"


def test_each_version_and_each_split_has_a_graph():
    assert package_graph("plug", "1.15.0") == f"{BASE}graph/package/plug/1.15.0"
    assert split_graph("train") == f"{BASE}graph/split/train"


def test_a_licence_is_spdx_where_spdx_has_it():
    assert licence_iri("Apache-2.0") == SPDX["Apache-2.0"]
    assert licence_iri("MIT and ISC") == f"{BASE}licence/MIT%20and%20ISC"
    assert licence_iri("unknown") == f"{BASE}licence/unknown"


def test_rules_are_individuals_of_the_ontology_of_their_tool():
    assert rule_iri("Credo.Check.Warning.Dbg") == f"{PREFIXES['quality']}Credo.Check.Warning.Dbg"
    assert rule_iri("CI.OS") == f"{PREFIXES['security']}CI.OS"


def test_a_namespace_gives_no_term_to_what_copies_it():
    with pytest.raises(AttributeError):
        CORE.__deepcopy__  # noqa: B018
