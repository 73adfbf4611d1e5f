"""SPARQL with limits: queries in processes that a deadline can end, and the same over HTTP, for reading only.

    with Reader(Path("graph"), timeout_s=10) as reader:
        reader.ask("SELECT ?m WHERE { ?m a structure:Module }").body      # JSON

A query cannot be stopped from outside while Oxigraph works on it, so each runs in a process of its own store, which is
killed when the time is up, and which dies by itself when it needs more memory than it may have.

The HTTP side is the query part of the SPARQL 1.1 Protocol, https://www.w3.org/TR/sparql11-protocol/: GET and POST to
/sparql, the form of the answer by Accept. Updates are refused. It listens on this machine only unless told otherwise,
and answers no name but that of this machine, so that a web page cannot reach it by giving its own name our address.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import multiprocessing
import os
import queue
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from elixir_coder.errors import DataError, ElixirCoderError, InputError, require
from elixir_coder.ontology.store import GraphStore
from elixir_coder.ontology.vocabulary import PREFIXES

JSON, XML = "application/sparql-results+json", "application/sparql-results+xml"
CSV, TSV = "text/csv", "text/tab-separated-values"
TURTLE, N_TRIPLES = "text/turtle", "application/n-triples"
RDF_XML, JSON_LD = "application/rdf+xml", "application/ld+json"
OF_ROWS = (JSON, XML, CSV, TSV)  # of SELECT and ASK; the first is the default
OF_TRIPLES = (TURTLE, N_TRIPLES, RDF_XML, JSON_LD)  # of CONSTRUCT and DESCRIBE
_SAME = {"application/json": JSON, "application/xml": XML, "text/plain": N_TRIPLES}

MAX_ROWS = 10_000
TIMEOUT_S = 10.0
MEMORY_MB = 4_096
_MAX_BODY = 1_000_000
_IDLE_S = 30.0  # of a connection that says nothing
_LAST_WORDS_S = 1.0  # of one that is about to be closed
_START_S = 60.0  # of a process that opens the store


class TooMuchError(InputError):
    """A query that is one, but needs more time or memory than it may have."""


class NotAcceptableError(InputError):
    """A query whose answer has none of the forms that were asked for."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """media_type: of the body. num_rows: of SELECT; triples of CONSTRUCT and DESCRIBE; 1 of ASK."""

    body: bytes
    media_type: str
    num_rows: int


@dataclass(frozen=True, kw_only=True)
class _Question:
    sparql: str
    accept: tuple[str, ...]
    max_rows: int | None
    default_graphs: tuple[str, ...] = ()
    named_graphs: tuple[str, ...] = ()


class Reader:
    """One process that reads a store, and another one after each that had to be killed.

    Raises DataError where the store cannot be read. One query at a time.
    """

    def __init__(self, path: Path, *, timeout_s: float = TIMEOUT_S, memory_mb: int = MEMORY_MB):
        self.path = path
        self.timeout_s = timeout_s
        self.memory_mb = memory_mb
        self._start()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process; a query that runs is given up."""
        self._process.kill()
        self._process.join()
        self._connection.close()

    def ask(
        self,
        sparql: str,
        *,
        accept: Sequence[str] = (),
        max_rows: int | None = MAX_ROWS,
        default_graphs: Sequence[str] = (),
        named_graphs: Sequence[str] = (),
    ) -> Answer:
        """The answer, serialized in the first form of `accept` that fits the query, or in JSON or Turtle.

        default_graphs, named_graphs: the IRIs of what to query instead of the whole store.
        Raises InputError for what is no query or has more than `max_rows`, TooMuchError for one that needs more time or
        memory than it may, NotAcceptableError where no form of `accept` fits.
        """
        if not self._process.is_alive():
            self._restart()
        question = _Question(
            sparql=sparql,
            accept=tuple(accept),
            max_rows=max_rows,
            default_graphs=tuple(default_graphs),
            named_graphs=tuple(named_graphs),
        )
        try:
            self._connection.send(question)
            if not self._connection.poll(self.timeout_s):
                self._restart()
                raise TooMuchError(f"the query took longer than {self.timeout_s:g} s; ask for less, or allow more time")
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            self._restart()
            raise TooMuchError(f"the query needed more than {self.memory_mb} MB of memory; ask for less") from error
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Answer)
        return answer

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_answer_questions, args=(self.path, theirs, self.memory_mb), name="elixir-coder graph", daemon=True
        )
        self._process.start()
        theirs.close()
        try:
            ready = self._connection.recv() if self._connection.poll(_START_S) else None
        except EOFError:
            ready = None
        if isinstance(ready, ElixirCoderError):
            self.close()
            raise ready
        if ready is None:
            self.close()
            raise DataError(f"{self.path}: no process could open the graph within {self.memory_mb} MB of memory")

    def _restart(self) -> None:
        self.close()
        self._start()


class Endpoint(ThreadingHTTPServer):
    """A read-only SPARQL endpoint: `with Endpoint(path) as endpoint: endpoint.serve_forever()`.

    port: 0 takes a free one; `url` says which. readers: queries at a time; others wait for `timeout_s` at the most.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self,
        path: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 7878,
        readers: int = 2,
        timeout_s: float = TIMEOUT_S,
        memory_mb: int = MEMORY_MB,
        max_rows: int | None = MAX_ROWS,
    ):
        self.max_rows = max_rows
        self.timeout_s = timeout_s
        self.is_local = _is_local(host)
        self.readers: queue.Queue[Reader] = queue.Queue()
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise InputError(f"cannot listen on {host}:{port}: {error}") from error
        try:
            for _ in range(readers):
                self.readers.put(Reader(path, timeout_s=timeout_s, memory_mb=memory_mb))
        except ElixirCoderError:
            self.server_close()
            raise

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}/sparql"

    def server_close(self) -> None:
        """Stop listening and end the readers."""
        super().server_close()
        with suppress(queue.Empty):
            while True:
                self.readers.get_nowait().close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is nobody's fault."""


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint
    server_version = "elixir-coder"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    error_message_format, error_content_type = "%(message)s\n", "text/plain; charset=utf-8"
    timeout = _IDLE_S

    def do_GET(self) -> None:
        self._respond(lambda: parse_qs(urlsplit(self.path).query, keep_blank_values=True))

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self._respond(self._posted)
        if self.close_connection:
            self._let_read()

    def log_message(self, format: str, *args: Any) -> None:
        """A query is the business of the one who asks."""

    def _respond(self, parameters_of: Callable[[], Mapping[str, list[str]]]) -> None:
        try:
            self._check_host()
            place = urlsplit(self.path).path
            if place == "/":
                return self._send(HTTPStatus.OK, "text/plain; charset=utf-8", _WELCOME.encode())
            if place != "/sparql":
                raise _HttpError(HTTPStatus.NOT_FOUND, "there is only /sparql here")
            answer = self._answer(parameters_of())
        except _HttpError as error:
            return self._send(error.status, "text/plain; charset=utf-8", f"{error}\n".encode(), error.headers)
        self._send(HTTPStatus.OK, answer.media_type, answer.body, {"Vary": "Accept"})

    def _answer(self, parameters: Mapping[str, list[str]]) -> Answer:
        if "update" in parameters:
            raise _HttpError(HTTPStatus.FORBIDDEN, "this endpoint is for reading: no updates")
        queries = parameters.get("query", [])
        if len(queries) != 1:
            raise _HttpError(HTTPStatus.BAD_REQUEST, f"expected one parameter `query`, got {len(queries)}")
        try:
            reader = self.server.readers.get(timeout=self.server.timeout_s)
        except queue.Empty:
            raise _HttpError(
                HTTPStatus.SERVICE_UNAVAILABLE, "all readers are busy; ask again later", {"Retry-After": "5"}
            ) from None
        try:
            return reader.ask(
                queries[0],
                accept=accepted(self.headers.get("Accept", "")),
                max_rows=self.server.max_rows,
                default_graphs=parameters.get("default-graph-uri", []),
                named_graphs=parameters.get("named-graph-uri", []),
            )
        except NotAcceptableError as error:
            raise _HttpError(HTTPStatus.NOT_ACCEPTABLE, str(error)) from error
        except TooMuchError as error:
            raise _HttpError(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error
        except InputError as error:
            raise _HttpError(HTTPStatus.BAD_REQUEST, str(error)) from error
        except ElixirCoderError as error:
            raise _HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, str(error)) from error
        finally:
            self.server.readers.put(reader)

    def _posted(self) -> Mapping[str, list[str]]:
        kind, _, _ = self.headers.get("Content-Type", "").partition(";")
        kind = kind.strip().lower()
        if kind == "application/sparql-update":
            self.close_connection = True  # what was sent is not read
            raise _HttpError(HTTPStatus.FORBIDDEN, "this endpoint is for reading: no updates")
        body = self._body()
        if kind == "application/sparql-query":
            return parse_qs(urlsplit(self.path).query, keep_blank_values=True) | {"query": [body]}
        if kind == "application/x-www-form-urlencoded":
            return parse_qs(body, keep_blank_values=True)
        raise _HttpError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "expected Content-Type application/sparql-query or application/x-www-form-urlencoded",
        )

    def _body(self) -> str:
        self.close_connection = True  # until the body is read, what follows in the stream is no request
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            raise _HttpError(HTTPStatus.LENGTH_REQUIRED, "expected a body with a Content-Length")
        if len(length) > 10 or int(length) > _MAX_BODY:
            raise _HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a query may have {_MAX_BODY:,} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise _HttpError(HTTPStatus.BAD_REQUEST, f"the body ends after {len(body)} of {length} bytes")
        self.close_connection = self.headers.get("Connection", "").lower() == "close"
        try:
            return body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _HttpError(HTTPStatus.BAD_REQUEST, f"the query is not UTF-8: {error}") from error

    def _let_read(self) -> None:
        """Closing while something sent is not read makes the network drop what we answered."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_LAST_WORDS_S)
            for _ in range(_MAX_BODY // 65_536):
                if not self.connection.recv(65_536):
                    break

    def _check_host(self) -> None:
        """A page of another site whose name was made to lead to this machine says that name here."""
        host = urlsplit(f"//{self.headers.get('Host', '')}").hostname if self.server.is_local else None
        if self.server.is_local and not _is_local(host or ""):
            raise _HttpError(HTTPStatus.FORBIDDEN, "this endpoint answers to the names of this machine alone")

    def _send(self, status: HTTPStatus, media_type: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        with suppress(ConnectionError, TimeoutError):  # the one who asked may be gone
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Content-Type-Options", "nosniff")
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)


class _HttpError(Exception):
    def __init__(self, status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status = status
        self.headers = headers


_WELCOME = (
    """A read-only SPARQL endpoint: GET /sparql?query=... or POST /sparql.
Answers are JSON, XML, CSV or TSV for SELECT and ASK; Turtle, N-Triples, RDF/XML or JSON-LD for CONSTRUCT and DESCRIBE.
Known prefixes: """
    + ", ".join(f"{prefix}:" for prefix in PREFIXES)
    + "\n"
)


def accepted(header: str) -> tuple[str, ...]:
    """The media types of an Accept header, the most wanted first; () where anything will do."""
    wanted: list[tuple[float, str]] = []
    for each in header.split(","):
        media_type, *settings = (part.strip() for part in each.split(";"))
        quality = next((setting[2:] for setting in settings if setting.startswith("q=")), "1")
        try:
            weight = float(quality)
        except ValueError:
            weight = 0.0
        if media_type and weight > 0:
            wanted.append((weight, media_type.lower()))
    return tuple(media_type for _, media_type in sorted(wanted, key=lambda each: -each[0]))


def serialized(results: Any, accept: Sequence[str], max_rows: int | None) -> Answer:
    """What `GraphStore.query` found, in the first form that fits. Raises InputError for more than `max_rows`."""
    oxigraph = require("pyoxigraph", "ontology")
    if isinstance(results, oxigraph.QueryTriples):
        media_type = _first(accept, OF_TRIPLES)
        triples = _at_most(results, max_rows)
        form = oxigraph.RdfFormat.from_media_type(media_type)
        prefixes = PREFIXES if media_type in (TURTLE, RDF_XML) else None
        body = oxigraph.serialize(triples, format=form, prefixes=prefixes)
        return Answer(
            body=_in_order(body) if media_type == TURTLE else body, media_type=media_type, num_rows=len(triples)
        )
    media_type = _first(accept, OF_ROWS)
    form = oxigraph.QueryResultsFormat.from_media_type(media_type)
    if isinstance(results, oxigraph.QueryBoolean):
        if media_type in (CSV, TSV):  # which know no yes or no
            body = f"{str(bool(results)).lower()}\n".encode()
        else:
            body = results.serialize(format=form)
        return Answer(body=body, media_type=media_type, num_rows=1)
    rows = _at_most(results, max_rows)
    names = [variable.value for variable in results.variables]
    bindings = [{name: _as_json(value) for name in names if (value := row[name]) is not None} for row in rows]
    body = json.dumps({"head": {"vars": names}, "results": {"bindings": bindings}}, ensure_ascii=False).encode()
    if media_type != JSON:
        body = oxigraph.parse_query_results(body, oxigraph.QueryResultsFormat.JSON).serialize(format=form)
    return Answer(body=body, media_type=media_type, num_rows=len(rows))


def _in_order(turtle: bytes) -> bytes:
    """Turtle with the prefixes it uses, sorted: they come in another order each time."""
    lines = turtle.splitlines(keepends=True)
    declared = [line for line in lines if line.startswith(b"@prefix ")]
    rest = b"".join(line for line in lines if not line.startswith(b"@prefix "))
    return b"".join(sorted(line for line in declared if line.split()[1] in rest)) + rest


def _at_most(results: Iterable[Any], max_rows: int | None) -> list[Any]:
    rows = list(itertools.islice(results, None if max_rows is None else max_rows + 1))
    if max_rows is not None and len(rows) > max_rows:
        raise InputError(f"the answer has more than {max_rows:,} rows; ask with LIMIT {max_rows}, or with OFFSET too")
    return rows


def _as_json(term: Any) -> dict[str, Any]:
    """A term as SPARQL 1.1 Query Results JSON writes it, and 1.2 for a triple."""
    oxigraph = require("pyoxigraph", "ontology")
    if isinstance(term, oxigraph.NamedNode):
        return {"type": "uri", "value": term.value}
    if isinstance(term, oxigraph.BlankNode):
        return {"type": "bnode", "value": term.value}
    if isinstance(term, oxigraph.Triple):
        parts = ("subject", "predicate", "object")
        return {"type": "triple", "value": {part: _as_json(getattr(term, part)) for part in parts}}
    literal: dict[str, Any] = {"type": "literal", "value": term.value}
    if term.language:
        return literal | {"xml:lang": term.language}
    is_plain = term.datatype.value == "http://www.w3.org/2001/XMLSchema#string"
    return literal if is_plain else literal | {"datatype": term.datatype.value}


def _first(accept: Sequence[str], offered: Sequence[str]) -> str:
    if not accept:
        return offered[0]
    for asked in accept:
        media_type = _SAME.get(asked, asked)
        main, _, part = media_type.partition("/")
        for each in offered:
            if media_type in (each, "*/*") or (part == "*" and each.startswith(f"{main}/")):
                return each
    raise NotAcceptableError(f"the answer to this query can be {', '.join(offered)}; not {', '.join(accept)}")


def _is_local(host: str) -> bool:
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _answer_questions(path: Path, connection: Connection, memory_mb: int) -> None:
    """What a reader's process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who asked gets it, and closes
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        graph = GraphStore(path, read_only=True)
    except ElixirCoderError as error:
        connection.send(error)
        return
    limit = memory_mb * 1_000_000
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what Oxigraph says when it finds no memory is no news
    connection.send("ready")
    with suppress(EOFError, OSError):
        while True:
            question = connection.recv()
            try:
                reply: Answer | Exception = _answer(graph, question)
            except ElixirCoderError as error:
                reply = error
            except MemoryError:
                os._exit(1)
            connection.send(reply)


def _answer(graph: GraphStore, question: _Question) -> Answer:
    try:
        results = graph.query(
            question.sparql, default_graphs=question.default_graphs, named_graphs=question.named_graphs
        )
        return serialized(results, question.accept, question.max_rows)
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, ElixirCoderError):
            raise
        raise DataError(f"the query failed: {error}") from error


def _end_with(parent: int) -> None:
    """Where the parent was killed in the middle of a query, nobody waits for its answer."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
