"""How everything in the graph is called: namespaces, and the IRIs of packages, files, modules, functions and names.

    function_iri("plug", "1.15.0", "Plug.Conn", "valid?", 1)
    # https://w3id.org/elixir-coder/code/plug/1.15.0/Plug.Conn/valid%3F/1

Two kinds of IRI stand for a module or a function. `module_iri` and `function_iri` are what one version of a package
defines. `name_iri` is what code calls it by, whoever defines it: `use GenServer` and a call of `Enum.map/2` point
there, and so does each definition, so that versions and packages come and go without touching each other.

Each part is percent-encoded (RFC 3986), so `/` in a function's name is no separator.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

BASE = "https://w3id.org/elixir-coder/"  # a name, not a place: nothing is fetched from it


class Namespace:
    """The IRIs that begin alike: `CORE.Package`, or `CORE["Package"]`; `str(CORE)` is the beginning."""

    def __init__(self, iri: str):
        self._iri = iri

    def __getattr__(self, term: str) -> str:
        if term.startswith("_"):  # what copying and pickling look for is not a term
            raise AttributeError(term)
        return self._iri + term

    def __getitem__(self, term: str) -> str:
        return self._iri + term

    def __str__(self) -> str:
        return self._iri


CORE = Namespace(BASE + "core#")
STRUCTURE = Namespace(BASE + "structure#")
OTP = Namespace(BASE + "otp#")
QUALITY = Namespace(BASE + "quality#")
SECURITY = Namespace(BASE + "security#")
SHAPES = Namespace(BASE + "shapes#")

RDF = Namespace("http://www.w3.org/1999/02/22-rdf-syntax-ns#")
RDFS = Namespace("http://www.w3.org/2000/01/rdf-schema#")
OWL = Namespace("http://www.w3.org/2002/07/owl#")
XSD = Namespace("http://www.w3.org/2001/XMLSchema#")
SKOS = Namespace("http://www.w3.org/2004/02/skos/core#")
DCTERMS = Namespace("http://purl.org/dc/terms/")
PROV = Namespace("http://www.w3.org/ns/prov#")
DOAP = Namespace("http://usefulinc.com/ns/doap#")
SHACL = Namespace("http://www.w3.org/ns/shacl#")
CWE = Namespace("https://cwe.mitre.org/data/definitions/")
SPDX = Namespace("http://spdx.org/licenses/")

PREFIXES: dict[str, str] = {  # for SPARQL and Turtle; `:` is left to the reader
    "core": str(CORE),
    "structure": str(STRUCTURE),
    "otp": str(OTP),
    "quality": str(QUALITY),
    "security": str(SECURITY),
    "code": BASE + "code/",
    "name": BASE + "name/",
    "rdf": str(RDF),
    "rdfs": str(RDFS),
    "owl": str(OWL),
    "xsd": str(XSD),
    "skos": str(SKOS),
    "dcterms": str(DCTERMS),
    "prov": str(PROV),
    "doap": str(DOAP),
    "sh": str(SHACL),
    "cwe": str(CWE),
    "spdx": str(SPDX),
}

METADATA_GRAPH = BASE + "graph/metadata"  # packages, versions, files, licences: what is in the store, and from where
SCHEMA_GRAPH = BASE + "graph/schema"  # the ontologies themselves


def package_graph(package: str, version: str) -> str:
    """The named graph that holds one version of a package."""
    return _iri("graph/package", package, version)


def split_graph(split: str) -> str:
    """The named graph that says which files a split (train, validation, test) has."""
    return _iri("graph/split", split)


def package_iri(package: str) -> str:
    return _iri("package", package)


def version_iri(package: str, version: str) -> str:
    return _iri("package", package, version)


def file_iri(package: str, version: str, path: str) -> str:
    """path: POSIX, inside the package."""
    return _iri("file", package, version, *path.split("/"))


def location_iri(file: str, line: int, end_line: int) -> str:
    """Lines of a file, both from 1 and inclusive."""
    return f"{file}#L{line}-L{end_line}"


def module_iri(package: str, version: str, name: str) -> str:
    """name: in full, as Elixir writes it: `Plug.Conn`, `Enumerable.MapSet`, `:lists`."""
    return _iri("code", package, version, name)


def function_iri(package: str, version: str, module: str, name: str, arity: int) -> str:
    return _iri("code", package, version, module, name, str(arity))


def name_iri(module: str, name: str | None = None, arity: int | None = None) -> str:
    """What code calls a module by, or (with name and arity) a function, macro or callback of it."""
    return _iri("name", module) if name is None else _iri("name", module, name, str(arity))


def licence_iri(identifier: str) -> str:
    """SPDX's own IRI for what looks like one of its identifiers, one of ours for an expression or other words."""
    if identifier != "unknown" and re.fullmatch(r"[A-Za-z0-9.+-]+", identifier):
        return SPDX[identifier]
    return _iri("licence", identifier)


def cwe_iri(identifier: str) -> str:
    """identifier: as in "CWE-89"."""
    return CWE[identifier.removeprefix("CWE-") + ".html"]


def rule_iri(name: str) -> str:
    """The individual of a rule of Credo (`Credo.Check...`) or of Sobelow (`CI.OS`), by the tool's name of it."""
    return (QUALITY if name.startswith("Credo.") else SECURITY)[name]


def shown(iri: str) -> str:
    """An IRI in a reader's words: `Plug.Conn.valid?/1` for a function, `lib/plug.ex` for a file, a term as `core:x`.

    What is not ours stays as it is.
    """
    kind, _, rest = iri.removeprefix(BASE).partition("/")
    if iri.startswith(BASE) and "#" not in kind:
        parts = [unquote(part) for part in rest.partition("#")[0].split("/")]
        of_version = 2 if kind in ("code", "file") else 0
        parts = parts[of_version:] or parts
        if kind in ("code", "name") and len(parts) >= 3:
            return f"{parts[0]}.{parts[1]}/{'/'.join(parts[2:])}"
        return "/".join(parts)
    for prefix, beginning in PREFIXES.items():
        if iri.startswith(beginning):
            return f"{prefix}:{iri.removeprefix(beginning)}"
    return iri


def _iri(kind: str, *parts: str) -> str:
    return BASE + "/".join([kind, *map(_encoded, parts)])


def _encoded(part: str) -> str:
    if part.strip(".") == "":  # a path of `..` would be taken for a step up; "" would vanish between two slashes
        return "%2E" * len(part) or "%00"
    return quote(part, safe="")
