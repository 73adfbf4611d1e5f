"""The knowledge graph on disk or in memory: each version of a package in a named graph of its own, and what is known of
the versions.

    with GraphStore(Path("graph")) as graph:
        graph.add("plug", "1.15.0", triples)
        graph.query("SELECT ?m WHERE { ?m a structure:Module }")

A query without GRAPH sees the default graph: the ontologies and every active version. They are kept there a second
time, for a list of graphs given with each query costs a look-up in every one of them (150 versions: 28 s against
0.15 s), and a union of all graphs would show archived versions too. GRAPH reaches everything.

A version is in whole or not at all, also where the process is killed: a transaction adds it, and behind a bulk load
only versions with a row in the metadata graph are kept. One process writes; any number read while none does.

Oxigraph writes derived integer types as it likes (`"01"^^xsd:int` comes back as `"1"`): validate before adding.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from elixir_coder.errors import DataError, InputError, require
from elixir_coder.ontology.vocabulary import (
    CORE,
    DCTERMS,
    METADATA_GRAPH,
    PREFIXES,
    RDF,
    SCHEMA_GRAPH,
    XSD,
    licence_iri,
    package_graph,
    split_graph,
    version_iri,
)

if TYPE_CHECKING:
    import pyoxigraph

ACTIVE, ARCHIVED = "active", "archived"

# SPARQL's SERVICE asks another machine. It may be written with escapes, and a comment may stand behind it.
_ELSEWHERE = re.compile(r"(?<![\w:?$])service(?:\s|#[^\r\n]*)*(?:silent\b|[<?$]|[^\s\"'(){}]*:)", re.IGNORECASE)
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\U(00[01][0-9a-fA-F]{5})")


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a package in the store.

    digest: of what its triples were made from; the same digest is the same content. source: the collector.
    added: when, as the one who added it says, "" where nobody does, so that the same input gives the same store.
    """

    package: str
    version: str
    digest: str = ""
    source: str = ""
    licence: str = ""
    added: str = ""
    num_triples: int = 0
    state: str = ACTIVE

    @property
    def key(self) -> tuple[str, str]:
        return self.package, self.version

    def __str__(self) -> str:
        return f"{self.package} {self.version}"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A file that `write_part` wrote. completes: the versions of which no other part follows."""

    file: Path
    completes: tuple[Version, ...]


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What a `sync` did to which versions. refused: those that were wanted and not completed."""

    added: tuple[Version, ...] = ()
    replaced: tuple[Version, ...] = ()
    archived: tuple[Version, ...] = ()
    restored: tuple[Version, ...] = ()
    same: tuple[Version, ...] = ()
    refused: tuple[Version, ...] = ()

    def __str__(self) -> str:
        kinds = ("added", "replaced", "archived", "restored", "same", "refused")
        return ", ".join(f"{len(getattr(self, kind))} {kind}" for kind in kinds)


class GraphStore:
    """A store in the folder `path`, or in memory without one.

    read_only: for queries; the store may be read by other processes too.
    Raises DataError where there is no store to read, another process holds it, or it is damaged.
    """

    def __init__(self, path: Path | None = None, *, read_only: bool = False):
        oxigraph = require("pyoxigraph", "ontology")
        self.path = path
        self._lock: IO[bytes] | None = None
        if path is None:
            self._store: pyoxigraph.Store = oxigraph.Store()
            return
        if read_only and not (path / "quads").is_dir():
            raise DataError(f"no graph at {path}; make one with: elixir-coder graph build CORPUS --store {path}")
        try:
            if not read_only:
                path.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(path / "lock", shared=read_only)
            if read_only and self._mark.exists():
                raise DataError(f"{path}: loading was cut short; run the same `elixir-coder graph build` again")
            quads = str(path / "quads")
            self._store = oxigraph.Store.read_only(quads) if read_only else oxigraph.Store(quads)
            if not read_only and self._mark.exists():
                self._repair()
                self._mark.unlink()
        except (OSError, RuntimeError) as error:
            self.close()
            raise DataError(f"{path}: the graph cannot be opened ({error})") from error
        except DataError:
            self.close()
            raise

    def __enter__(self) -> GraphStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder. Answers that were not read to their end keep it open."""
        self.__dict__.pop("_store", None)  # there is nothing to call: the store closes when it is dropped
        if self._lock:
            self._lock.close()

    def __len__(self) -> int:
        """The number of statements about active versions and of the ontologies."""
        return self._count(None)

    def versions(self) -> list[Version]:
        """All versions, archived ones too, by package and version."""
        rows: dict[str, dict[str, str]] = {}
        for quad in self._store.quads_for_pattern(None, None, None, _node(METADATA_GRAPH)):
            rows.setdefault(str(quad.subject), {})[quad.predicate.value] = getattr(quad.object, "value", "")
        found = [
            Version(
                package=row[CORE.name],
                version=row[CORE.version],
                digest=row[CORE.digest],
                source=row[DCTERMS.source],
                licence=row[DCTERMS.rights],
                added=row.get(DCTERMS.dateAccepted, ""),
                num_triples=int(row[CORE.numTriples]),
                state=row[CORE.state],
            )
            for row in rows.values()
            if CORE.version in row
        ]
        return sorted(found, key=lambda version: version.key)

    def add(
        self,
        package: str,
        version: str,
        triples: Iterable[pyoxigraph.Triple],
        *,
        digest: str = "",
        source: str = "",
        licence: str = "",
        added: str = "",
    ) -> bool:
        """Put a version in, or in the place of what it was; False where the digest is the same, and nothing to do.

        digest: of what the triples were made from; by default of the triples.
        Everything is in memory at once; for many versions there is `sync`.
        """
        oxigraph = require("pyoxigraph", "ontology")
        statements = list(dict.fromkeys(triples))  # whatever goes wrong in them, goes wrong before the store is touched
        row = Version(
            package=package,
            version=version,
            digest=digest or digest_of(statements),
            source=source,
            licence=licence,
            added=added,
            num_triples=len(statements),
        )
        known = self._known(package, version)
        if known and known.digest == row.digest and known.state == ACTIVE:
            return False
        if known:
            self.remove(package, version)
        graph = _node(package_graph(package, version))
        parts = ((each.subject, each.predicate, each.object) for each in statements)
        quads = [quad for part in parts for quad in (oxigraph.Quad(*part, graph), oxigraph.Quad(*part))]
        self._store.extend(quads + _row(row))  # in one transaction
        return True

    def archive(self, package: str, version: str) -> None:
        """Take a version out of the default graph and keep it in its own. Raises InputError where it is not there."""
        row = self._present(package, version)
        if row.state == ACTIVE:
            self._store.update(f"{_OUT_OF_DEFAULT} ; {_CHANGE_STATE}" % _names(row, ARCHIVED))

    def restore(self, package: str, version: str) -> None:
        """Bring an archived version back into the default graph. Raises InputError where it is not there."""
        row = self._present(package, version)
        if row.state == ARCHIVED:
            self._store.update(f"{_INTO_DEFAULT} ; {_CHANGE_STATE}" % _names(row, ACTIVE))

    def remove(self, package: str, version: str) -> None:
        """Forget a version. Raises InputError where it is not there."""
        row = self._present(package, version)
        out = f"{_OUT_OF_DEFAULT} ; " if row.state == ACTIVE else ""
        self._store.update(f"{out}{_FORGET}" % _names(row, ARCHIVED))

    def set_schema(self, triples: Iterable[pyoxigraph.Triple]) -> None:
        """Put the ontologies in, in the place of those that were there."""
        oxigraph = require("pyoxigraph", "ontology")
        graph = _node(SCHEMA_GRAPH)
        as_stored = oxigraph.Store()
        as_stored.extend(oxigraph.Quad(each.subject, each.predicate, each.object) for each in triples)
        schema = oxigraph.Dataset(as_stored)
        schema.canonicalize(oxigraph.CanonicalizationAlgorithm.RDFC_1_0)  # blank nodes have new names each time
        wanted = {(each.subject, each.predicate, each.object) for each in schema}
        there = {
            (quad.subject, quad.predicate, quad.object)
            for quad in self._store.quads_for_pattern(None, None, None, graph)
        }
        new = wanted - there
        self._store.extend([quad for each in new for quad in (oxigraph.Quad(*each, graph), oxigraph.Quad(*each))])
        if gone := there - wanted:
            for each in gone:
                self._store.remove(oxigraph.Quad(*each, graph))
            self._repair()  # a version may say the same

    def set_split(self, split: str, versions: Iterable[tuple[str, str]]) -> None:
        """Say which versions a split (train, validation, test) has, in the place of what was said."""
        oxigraph = require("pyoxigraph", "ontology")
        graph = _node(split_graph(split))
        if self._store.contains_named_graph(graph):
            self._store.remove_graph(graph)
        members = [oxigraph.Quad(_node(version_iri(*key)), _node(CORE.inSplit), graph, graph) for key in versions]
        named = oxigraph.Quad(graph, _node(CORE.name), oxigraph.Literal(split), graph)
        self._store.extend([*members, named, oxigraph.Quad(graph, _node(RDF.type), _node(CORE.Split), graph)])

    def sync(
        self,
        wanted: Iterable[Version],
        extract: Callable[[Sequence[Version]], Iterable[Part]],
        *,
        keep_others: bool = False,
    ) -> Changes:
        """Make the active versions those that are wanted: load what is new or has another digest, archive the rest.

        extract: gives the triples of the versions it is called with, as files that `write_part` wrote; it may make them
        in other processes while those before are loaded. What it does not complete is not kept. keep_others: archive
        nothing.
        """
        known = {row.key: row for row in self.versions()}
        asked = {row.key: row for row in wanted}
        same = [row for row in asked.values() if row.key in known and known[row.key].digest == row.digest]
        restored = [row for row in same if known[row.key].state == ARCHIVED]
        added = [row for row in asked.values() if row.key not in known]
        is_same = {row.key for row in same}
        replaced = [row for row in asked.values() if row.key in known and row.key not in is_same]
        gone = [row for row in known.values() if row.key not in asked and row.state == ACTIVE and not keep_others]

        for row in restored:
            self.restore(*row.key)
        for row in gone:
            self.archive(*row.key)
        for row in replaced:
            self.remove(*row.key)
        done: set[tuple[str, str]] = set()
        if to_load := [*added, *replaced]:
            with self._loading():
                for part in extract(to_load):
                    self._load(part)
                    done.update(row.key for row in part.completes)
                if len(done) < len(to_load):
                    self._repair()
        return Changes(
            added=tuple(row for row in added if row.key in done),
            replaced=tuple(row for row in replaced if row.key in done),
            archived=tuple(gone),
            restored=tuple(restored),
            same=tuple(row for row in same if row not in restored),
            refused=tuple(row for row in to_load if row.key not in done),
        )

    def query(self, sparql: str, *, default_graphs: Collection[str] = (), named_graphs: Collection[str] = ()) -> Any:
        """What SPARQL asks: pyoxigraph's QuerySolutions, QueryBoolean or QueryTriples, read as they are found.

        The prefixes of `vocabulary.PREFIXES` are known. default_graphs, named_graphs: IRIs of what to ask instead of
        everything. There is no limit of time or rows here: `serve.Reader` has them.
        Raises InputError for what is no query, DataError where the store cannot be read.
        """
        if _ELSEWHERE.search(sparql) or _ELSEWHERE.search(_unescaped(sparql)):
            raise InputError("SERVICE asks another machine, which is not allowed; load what it has into this graph")
        graphs: dict[str, Any] = {}
        try:
            if default_graphs or named_graphs:  # as in the protocol: what is not named is empty
                graphs["default_graph"] = [_node(iri) for iri in default_graphs]
                graphs["named_graphs"] = [_node(iri) for iri in named_graphs]
        except ValueError as error:
            raise InputError(f"not the IRI of a graph: {error}") from error
        try:
            return self._store.query(sparql, prefixes=PREFIXES, **graphs)
        except SyntaxError as error:
            raise InputError(f"this is not a SPARQL query: {error}") from error
        except (OSError, ValueError, RuntimeError) as error:
            raise DataError(f"the query failed: {error}") from error

    def objects(self, subject: str, predicate: str) -> list[str]:
        """IRIs and texts, sorted; for `linearize`, as `subjects`."""
        default = require("pyoxigraph", "ontology").DefaultGraph()
        found = self._store.quads_for_pattern(_node(subject), _node(predicate), None, default)
        return sorted(str(getattr(quad.object, "value", quad.object)) for quad in found)

    def subjects(self, predicate: str, object: str) -> list[str]:
        """Of those that have an IRI as object, sorted."""
        default = require("pyoxigraph", "ontology").DefaultGraph()
        found = self._store.quads_for_pattern(None, _node(predicate), _node(object), default)
        return sorted(str(getattr(quad.subject, "value", quad.subject)) for quad in found)

    def triples_of(self, package: str, version: str) -> Iterator[pyoxigraph.Triple]:
        """Everything in the graph of a version."""
        graph = _node(package_graph(*self._present(package, version).key))
        return (quad.triple for quad in self._store.quads_for_pattern(None, None, None, graph))

    def dump(self, file: Path) -> int:
        """Write all graphs as gzipped N-Quads, the same bytes for the same graphs on the disk; the number of quads."""
        oxigraph = require("pyoxigraph", "ontology")
        number = 0

        def named() -> Iterator[pyoxigraph.Quad]:
            nonlocal number
            for graph in sorted(self._store.named_graphs(), key=str):
                for quad in self._store.quads_for_pattern(None, None, None, graph):
                    number += 1
                    yield quad

        part = file.with_name(file.name + ".part")
        try:
            with part.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as packed:
                oxigraph.serialize(named(), packed, oxigraph.RdfFormat.N_QUADS)
            os.replace(part, file)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise DataError(f"cannot write the graph to {file}: {error}") from error
        return number

    def load(self, file: Path) -> int:
        """Read what `dump` wrote into this store, which must be empty; the number of quads.

        Raises DataError, and leaves the store empty, where the file is damaged.
        """
        oxigraph = require("pyoxigraph", "ontology")
        if next(iter(self._store), None) is not None:
            raise DataError(
                f"the graph{f' at {self.path}' if self.path else ''} is not empty; load into another folder"
            )
        try:
            with self._loading(), gzip.open(file) as stream:
                self._store.bulk_extend(oxigraph.parse(stream, oxigraph.RdfFormat.N_QUADS))
                self._repair()
        except (OSError, SyntaxError, EOFError, ValueError) as error:
            self._store.clear()
            raise DataError(f"{file} is not a whole dump of a graph: {error}") from error
        return self._count("?g")

    def optimize(self) -> None:
        """Order what lies on the disk, so that queries become faster; for after a large load."""
        self._store.optimize()

    @property
    def _mark(self) -> Path:
        """A file that is there while a bulk load runs."""
        assert self.path
        return self.path / "loading"

    @contextmanager
    def _loading(self) -> Iterator[None]:
        """Around bulk loads, which are no transactions: what they leave behind when they fail is cleared up."""
        if self.path:
            self._mark.touch()
        try:
            yield
        except BaseException:
            self._repair()
            raise
        finally:
            self._store.flush()
            if self.path:
                self._mark.unlink(missing_ok=True)

    def _load(self, part: Part) -> None:
        oxigraph = require("pyoxigraph", "ontology")
        try:
            self._store.bulk_load(path=part.file, format=oxigraph.RdfFormat.N_QUADS, lenient=True)
        except (OSError, SyntaxError) as error:
            raise DataError(f"{part.file}: these triples cannot be loaded ({error})") from error
        for version in part.completes:
            number = self._count(f"<{package_graph(*version.key)}>")
            self._store.extend(_row(replace(version, num_triples=number, state=ACTIVE)))

    def _repair(self) -> None:
        """Drop graphs of versions without a row, and make the default graph anew from what is active."""
        oxigraph = require("pyoxigraph", "ontology")
        rows = self.versions()
        whole = {package_graph(*row.key) for row in rows}
        of_versions = package_graph("", "").partition("%")[0]
        for graph in list(self._store.named_graphs()):
            if graph.value.startswith(of_versions) and graph.value not in whole:
                self._store.remove_graph(graph)
        self._store.clear_graph(oxigraph.DefaultGraph())
        shown = [package_graph(*row.key) for row in rows if row.state == ACTIVE]
        for name in (*shown, SCHEMA_GRAPH):
            quads = self._store.quads_for_pattern(None, None, None, _node(name))
            self._store.bulk_extend(oxigraph.Quad(quad.subject, quad.predicate, quad.object) for quad in quads)

    def _known(self, package: str, version: str) -> Version | None:
        return next((row for row in self.versions() if row.key == (package, version)), None)

    def _present(self, package: str, version: str) -> Version:
        if row := self._known(package, version):
            return row
        of_package = [row.version for row in self.versions() if row.package == package]
        has = f"it has {package} {', '.join(of_package)}" if of_package else f"it has no version of {package}"
        raise InputError(f"{package} {version} is not in the graph; {has}")

    def _count(self, graph: str | None) -> int:
        pattern = "?s ?p ?o" if graph is None else f"GRAPH {graph} {{ ?s ?p ?o }}"
        rows: Any = self._store.query(f"SELECT (COUNT(*) AS ?n) WHERE {{ {pattern} }}")
        return int(next(rows)["n"].value)


def write_part(file: Path, triples: Iterable[tuple[str, str, Iterable[pyoxigraph.Triple]]]) -> int:
    """Write triples of (package, version) as the N-Quads that `sync` loads: each for its own graph and for the default
    one. The number of triples."""
    oxigraph = require("pyoxigraph", "ontology")
    number = 0
    with file.open("wb") as stream:
        for package, version, of_version in triples:
            lines = oxigraph.serialize(of_version, format=oxigraph.RdfFormat.N_TRIPLES)
            number += lines.count(b"\n")
            stream.write(lines)
            graph = f" {_node(package_graph(package, version))} .\n".encode()
            stream.write(lines.replace(b" .\n", graph))  # a newline in a text is escaped
    return number


def digest_of(triples: Iterable[pyoxigraph.Triple]) -> str:
    """A digest of a set of triples, whatever their order."""
    lines = sorted({str(each) for each in triples})
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def remove_store(path: Path) -> None:
    """Delete a store from the disk, and nothing else that lies in its folder. Raises DataError while it is in use."""
    if not (path / "quads").is_dir():
        return
    with _locked(path / "lock", shared=False):
        shutil.rmtree(path / "quads")
        (path / "loading").unlink(missing_ok=True)


# What follows is filled in with the names of `_names`. A statement that another active version makes too (that a name
# is one of Elixir's, say) stays in the default graph.
_OUT_OF_DEFAULT = """DELETE { ?s ?p ?o } WHERE {
  GRAPH <%(graph)s> { ?s ?p ?o }
  FILTER NOT EXISTS {
    GRAPH ?other { ?s ?p ?o }
    FILTER(?other != <%(graph)s>)
    FILTER(?other = <%(schema)s> || EXISTS { GRAPH <%(metadata)s> { ?row <%(of)s> ?other ; <%(state_is)s> "active" } })
  }
}"""
_INTO_DEFAULT = "INSERT { ?s ?p ?o } WHERE { GRAPH <%(graph)s> { ?s ?p ?o } }"
_CHANGE_STATE = """DELETE { GRAPH <%(metadata)s> { <%(version)s> <%(state_is)s> ?was } }
INSERT { GRAPH <%(metadata)s> { <%(version)s> <%(state_is)s> "%(state)s" } }
WHERE { GRAPH <%(metadata)s> { <%(version)s> <%(state_is)s> ?was } }"""
_FORGET = """DROP SILENT GRAPH <%(graph)s> ;
DELETE WHERE { GRAPH <%(metadata)s> { <%(version)s> ?p ?o } }"""


def _names(row: Version, state: str) -> dict[str, str]:
    return {
        "graph": package_graph(*row.key),
        "version": version_iri(*row.key),
        "metadata": METADATA_GRAPH,
        "schema": SCHEMA_GRAPH,
        "of": CORE.graph,
        "state_is": CORE.state,
        "state": state,
    }


def _row(row: Version) -> list[pyoxigraph.Quad]:
    """A version in the metadata graph."""
    oxigraph = require("pyoxigraph", "ontology")
    said: Collection[tuple[str, Any]] = (
        (RDF.type, _node(CORE.PackageVersion)),
        (CORE.name, oxigraph.Literal(row.package)),
        (CORE.version, oxigraph.Literal(row.version)),
        (CORE.graph, _node(package_graph(*row.key))),
        (CORE.digest, oxigraph.Literal(row.digest)),
        (CORE.numTriples, oxigraph.Literal(str(row.num_triples), datatype=_node(XSD.integer))),
        (CORE.state, oxigraph.Literal(row.state)),
        (DCTERMS.source, oxigraph.Literal(row.source)),
        (DCTERMS.rights, oxigraph.Literal(row.licence)),
        *([(CORE.hasLicense, _node(licence_iri(row.licence)))] if row.licence else []),
        *([(DCTERMS.dateAccepted, oxigraph.Literal(row.added))] if row.added else []),
    )
    subject, graph = _node(version_iri(*row.key)), _node(METADATA_GRAPH)
    return [oxigraph.Quad(subject, _node(predicate), value, graph) for predicate, value in said]


def _node(iri: str) -> pyoxigraph.NamedNode:
    node: pyoxigraph.NamedNode = require("pyoxigraph", "ontology").NamedNode(iri)
    return node


def _unescaped(sparql: str) -> str:
    return _ESCAPE.sub(lambda escape: chr(min(int(escape[1] or escape[2], 16), 0x10FFFF)), sparql)


def _locked(file: Path, *, shared: bool) -> IO[bytes]:
    """A lock on a file for as long as it is open. RocksDB's own keeps writers from each other, but not from readers."""
    stream = file.open("rb" if shared else "a+b")
    try:
        fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        stream.seek(0)
        holder = stream.read(20).decode(errors="replace").strip()
        stream.close()
        who = f"process {holder} is writing to it" if shared else "another process reads it or writes to it"
        raise DataError(f"{file.parent}: the graph is in use: {who}; wait for it, or end it") from error
    if not shared:
        stream.truncate(0)
        stream.write(str(os.getpid()).encode())
        stream.flush()
    return stream
