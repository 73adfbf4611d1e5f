import http.client
import json
import socket
import threading
from contextlib import closing
from urllib.parse import quote, urlencode

import pyoxigraph as oxigraph
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.errors import DataError, InputError
from elixir_coder.ontology import serve
from elixir_coder.ontology.serve import Endpoint, NotAcceptableError, Reader, TooMuchError, accepted, serialized
from elixir_coder.ontology.store import GraphStore
from elixir_coder.ontology.vocabulary import package_graph

ENDLESS = "SELECT (COUNT(*) AS ?n) WHERE { ?a ?b ?c . ?d ?e ?f . ?g ?h ?i }"
ONE = "SELECT ?s WHERE { ?s ?p 7 }"


def triple(subject, value):
    return oxigraph.Triple(
        oxigraph.NamedNode(f"https://example.org/{subject}"),
        oxigraph.NamedNode("https://example.org/value"),
        oxigraph.Literal(value),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve") / "graph"
    with GraphStore(folder) as graph:
        graph.add("numbers", "1", [triple(number, number) for number in range(1_000)])
    return folder


@pytest.fixture(scope="module")
def reader(folder):
    with Reader(folder, timeout_s=20) as reader:
        yield reader


@pytest.fixture(scope="module")
def endpoint(folder):
    with Endpoint(folder, port=0, readers=1, timeout_s=20, max_rows=100) as endpoint:
        thread = threading.Thread(target=endpoint.serve_forever)
        thread.start()
        yield endpoint
        endpoint.shutdown()
        thread.join()


@pytest.fixture
def ask(endpoint):
    """A request to the endpoint: status, headers and body."""
    connection = http.client.HTTPConnection(*endpoint.server_address[:2], timeout=30)

    def send(method, path, body=None, **headers):
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, names)
        response = connection.getresponse()
        return response.status, response.headers, response.read()

    yield send
    connection.close()


class TestReader:
    def test_an_answer_comes_in_the_form_that_is_asked_for(self, reader):
        assert json.loads(reader.ask(ONE).body)["results"]["bindings"] == [
            {"s": {"type": "uri", "value": "https://example.org/7"}}
        ]
        assert reader.ask(ONE, accept=["text/csv"]).body == b"s\r\nhttps://example.org/7\r\n"
        assert reader.ask(ONE, accept=["text/tab-separated-values"]).body == b"?s\n<https://example.org/7>\n"
        assert b"<uri>https://example.org/7</uri>" in reader.ask(ONE, accept=["application/xml"]).body
        assert reader.ask("ASK { ?s ?p 7 }").body == b'{"head":{},"boolean":true}'
        assert reader.ask("ASK { ?s ?p 7 }", accept=["text/csv"]).body == b"true\n"
        with pytest.raises(NotAcceptableError, match="sparql-results"):
            reader.ask(ONE, accept=["text/turtle"])

    def test_turtle_has_the_prefixes_it_uses_and_is_the_same_each_time(self, reader):
        sparql = "CONSTRUCT { ?s a core:Package ; a structure:Module } WHERE { ?s ?p 7 }"
        answer = reader.ask(sparql)
        lines = answer.body.decode().splitlines()
        assert answer.media_type == "text/turtle"
        assert [line.split()[1] for line in lines if line.startswith("@")] == ["core:", "structure:"]
        assert reader.ask(sparql).body == answer.body

    def test_more_rows_than_allowed_are_an_error_and_not_cut(self, reader):
        assert reader.ask("SELECT * WHERE { ?s ?p ?o }", max_rows=1_000).num_rows == 1_000
        with pytest.raises(InputError, match="more than 999 rows"):
            reader.ask("SELECT * WHERE { ?s ?p ?o }", max_rows=999)

    def test_the_graphs_to_ask_can_be_named(self, reader):
        graph = package_graph("numbers", "1")
        assert b"true" in reader.ask("ASK { ?s ?p 7 }", default_graphs=[graph]).body
        assert b"false" in reader.ask("ASK { ?s ?p 7 }", default_graphs=["https://example.org/none"]).body
        with pytest.raises(InputError, match="IRI of a graph"):
            reader.ask("ASK { ?s ?p 7 }", default_graphs=["none"])

    @pytest.mark.parametrize("sparql", ["SELECT", "CLEAR ALL", "SELECT * { SERVICE <http://127.0.0.1/> {} }", "\0"])
    def test_what_is_no_query_is_refused(self, reader, sparql):
        with pytest.raises(InputError):
            reader.ask(sparql)

    def test_a_query_that_takes_too_long_is_ended_and_the_next_one_answered(self, folder):
        with Reader(folder, timeout_s=0.5) as reader:
            first = reader._process.pid
            with pytest.raises(TooMuchError, match=r"longer than 0\.5 s"):
                reader.ask(ENDLESS)
            reader.timeout_s = 20
            assert reader.ask(ONE).num_rows == 1
            assert reader._process.pid != first

    def test_a_query_that_takes_too_much_memory_is_ended_and_the_next_one_answered(self, folder):
        with Reader(folder, timeout_s=60, memory_mb=700) as reader:
            with pytest.raises(TooMuchError, match="memory"):
                reader.ask("SELECT * WHERE { ?a ?b ?c . ?d ?e ?f . ?g ?h ?i } ORDER BY ?a ?i")
            assert reader.ask(ONE).num_rows == 1

    def test_a_store_that_is_being_written_is_not_read(self, tmp_path):
        with GraphStore(tmp_path / "graph"), pytest.raises(DataError, match="in use"):
            Reader(tmp_path / "graph")


class TestEndpoint:
    def test_get_and_both_kinds_of_post_answer_alike(self, ask):
        status, headers, body = ask("GET", f"/sparql?query={quote(ONE)}")
        assert (status, headers["Content-Type"]) == (200, "application/sparql-results+json")
        form = "application/x-www-form-urlencoded"
        assert ask("POST", "/sparql", urlencode({"query": ONE}), Content_Type=form)[2] == body
        assert ask("POST", "/sparql", ONE, Content_Type="application/sparql-query; charset=utf-8")[2] == body
        status, headers, nothing = ask("HEAD", f"/sparql?query={quote(ONE)}")
        assert (status, int(headers["Content-Length"]), nothing) == (200, len(body), b"")

    def test_the_form_is_chosen_by_accept(self, ask):
        accept = "text/html, text/csv;q=0.8, application/sparql-results+xml;q=0.9"
        assert ask("GET", f"/sparql?query={quote(ONE)}", Accept=accept)[1]["Content-Type"].endswith("+xml")
        assert ask("GET", f"/sparql?query={quote(ONE)}", Accept="image/png")[0] == 406
        assert ask("GET", f"/sparql?query={quote(ONE)}", Accept="image/png, */*")[0] == 200

    def test_updates_are_refused_however_they_come(self, ask, endpoint):
        clear = "CLEAR ALL"
        form = "application/x-www-form-urlencoded"
        assert ask("POST", "/sparql", urlencode({"update": clear}), Content_Type=form)[0] == 403
        assert ask("GET", f"/sparql?update={quote(clear)}")[0] == 403
        assert ask("POST", "/sparql", clear, Content_Type="application/sparql-query")[0] == 400
        assert ask("POST", "/sparql", clear, Content_Type="application/sparql-update")[0] == 403
        assert json.loads(ask("GET", f"/sparql?query={quote(ONE)}")[2])["results"]["bindings"]

    def test_a_name_that_is_not_this_machines_is_not_answered(self, ask):
        for host, status in (("example.org", 403), ("localhost:1", 200), ("[::1]:80", 200), ("127.0.0.1", 200)):
            assert ask("GET", f"/sparql?query={quote(ONE)}", Host=host)[0] == status
        assert "Access-Control-Allow-Origin" not in ask("GET", "/", Origin="https://example.org")[1]

    @pytest.mark.parametrize(
        ("request_", "status"),
        [
            (("GET", "/sparql"), 400),
            (("GET", "/sparql?query=a&query=b"), 400),
            (("GET", "/elsewhere"), 404),
            (("GET", f"/sparql?query={quote('SELECT * { ?s ?p ?o }')}"), 400),
            (("DELETE", "/sparql"), 501),
            (("POST", "/sparql", b"\xff\xfe", {"Content-Type": "application/sparql-query"}), 400),
            (("POST", "/sparql", ONE, {"Content-Type": "text/plain"}), 415),
            (("POST", "/sparql", "", {"Content-Type": "application/sparql-query", "Content-Length": "x"}), 411),
            (("POST", "/sparql", "", {"Content-Type": "application/sparql-query", "Content-Length": "9" * 30}), 413),
            (("POST", "/sparql", iter([b"A"]), {"Content-Type": "application/sparql-query"}), 411),
        ],
    )
    def test_a_wrong_request_has_its_status_and_a_sentence(self, endpoint, request_, status):
        method, path, body, headers = (*request_, None, {})[:4] if len(request_) == 2 else request_
        with closing(http.client.HTTPConnection(*endpoint.server_address[:2], timeout=30)) as connection:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            assert response.status == status
            assert response.getheader("Content-Type").startswith("text/plain")
            assert 5 < len(response.read()) < 200

    def test_bytes_that_are_no_request_do_not_stop_it(self, ask, endpoint):
        for garbage in (b"\0\xff\r\n\r\n", b"GET /sparql?query=" + b"a" * 70_000, b"POST /sparql HTTP/1.1\r\n", b""):
            with socket.create_connection(endpoint.server_address[:2]) as connection:
                connection.sendall(garbage)
        assert ask("GET", "/")[0] == 200

    def test_a_query_that_takes_too_long_has_its_status(self, folder):
        with Endpoint(folder, port=0, readers=1, timeout_s=0.5) as endpoint:
            thread = threading.Thread(target=endpoint.serve_forever)
            thread.start()
            connection = http.client.HTTPConnection(*endpoint.server_address[:2], timeout=30)
            connection.request("GET", f"/sparql?query={quote(ENDLESS)}")
            response = connection.getresponse()
            assert (response.status, response.read()[:23]) == (503, b"the query took longer t")
            connection.close()
            endpoint.shutdown()
            thread.join()

    def test_a_port_that_is_taken_is_an_error(self, folder, endpoint):
        with pytest.raises(InputError, match="cannot listen"):
            Endpoint(folder, port=endpoint.server_address[1], readers=1)


def test_the_most_wanted_form_comes_first():
    assert accepted("text/csv;q=0.5, application/json, */*;q=0.1, text/html;q=0") == (
        "application/json",
        "text/csv",
        "*/*",
    )
    assert accepted("") == ()


TERMS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20).map(oxigraph.Literal),
    st.text("ab", max_size=3).map(lambda text: oxigraph.Literal(text, language="en-gb")),
    st.integers().map(oxigraph.Literal),
    st.sampled_from(["https://example.org/a", "urn:x"]).map(oxigraph.NamedNode),
    st.just(oxigraph.BlankNode("b1")),
)


@given(st.lists(TERMS, max_size=5))
def test_json_is_what_oxigraph_itself_writes(terms):
    store = oxigraph.Store()
    subject, predicate = oxigraph.NamedNode("urn:s"), oxigraph.NamedNode("urn:p")
    store.extend(oxigraph.Quad(subject, predicate, term) for term in terms)
    sparql = "SELECT ?o ?none WHERE { ?s ?p ?o }"
    ours = serialized(store.query(sparql), [], None)
    theirs = store.query(sparql).serialize(format=oxigraph.QueryResultsFormat.JSON)
    assert json.loads(ours.body) == json.loads(theirs)
    for form in (serve.CSV, serve.TSV, serve.XML):
        as_written = store.query(sparql).serialize(format=oxigraph.QueryResultsFormat.from_media_type(form))
        assert serialized(store.query(sparql), [form], None).body == as_written
