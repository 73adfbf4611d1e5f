"""Read a Hex package's `metadata.config`: Erlang terms as text, and what they say about the package.

Only the terms that such a file may hold are read: tuples, lists, atoms, integers, strings and binaries. Anything else
is refused with its line, and nothing is evaluated.

    terms(b'{<<"app">>,<<"jason">>}.\\n')  ->  [("app", "jason")]

Specification: https://github.com/hexpm/specifications/blob/main/package_metadata.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from elixir_coder.data.licence import canonical
from elixir_coder.errors import CorruptArchiveError

# Who builds a package that does not say so is read from its top folder, as Hex does.
_BUILD_FILES = {
    "mix.exs": "mix",
    "rebar": "rebar3",
    "rebar.config": "rebar3",
    "Makefile": "make",
    "Makefile.win": "make",
}
_REPOSITORY_LABELS = ("github", "gitlab", "source", "source code", "repository", "repo", "git", "code")
_FORGES = ("github.com", "gitlab.com", "codeberg.org", "bitbucket.org", "git.sr.ht")
_MAX_DEPTH = 32

_TOKEN = re.compile(
    r"""(?P<skip>[\s\x00]+|%[^\n]*)
    |(?P<atom>[a-z][A-Za-z0-9_@]*)
    |(?P<quoted>'(?:\\.|[^'\\])*')
    |(?P<string>"(?:\\.|[^"\\])*")
    |(?P<integer>-?[0-9]{1,20})
    |(?P<mark><<|>>|[{}\[\],/]|\.(?=[\s%]|\Z))""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x\{([0-9A-Fa-f]{1,6})\}|x([0-9A-Fa-f]{2})|\^(.)|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "v": "\v", "b": "\b", "f": "\f", "e": "\x1b", "s": " ", "d": "\x7f"}


class Atom(str):
    """An Erlang atom other than true and false."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One dependency of a release. repository: "" for the release's own. app: the OTP application, mostly `package`."""

    package: str
    requirement: str
    optional: bool = False
    app: str = ""
    repository: str = ""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What a package says about itself. elixir: the version requirement, "" where it has none."""

    name: str
    version: str
    app: str = ""
    description: str = ""
    elixir: str = ""
    licences: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    build_tools: tuple[str, ...] = ()
    requirements: tuple[Requirement, ...] = ()

    @property
    def licence(self) -> str | None:
        """An SPDX-like expression that all stated licences together make, None when none is stated."""
        return licence_of(self.licences)


def licence_of(licences: Sequence[str]) -> str | None:
    """All of a package's licences as one SPDX-like expression: several must all be kept to; None when there is none."""
    stated = [canonical(licence) for licence in licences if licence.strip()]
    joint = ", and " if any(re.search(r"\sor\s", licence, re.IGNORECASE) for licence in stated) else " and "
    return joint.join(dict.fromkeys(stated)) or None


def repository_of(links: Mapping[str, str]) -> str:
    """The address of the source repository among a package's links, "" when none is known for one.

    Spelt the same however it was linked: `https://github.com/owner/name`, without `.git`, branch or fragment.
    """
    labelled = ""
    for label, url in links.items():
        try:
            parts = urlsplit(url.strip())
        except ValueError:  # an address that is none: `https://[`
            continue
        host = (parts.hostname or "").removeprefix("www.")
        names = [name for name in parts.path.split("/") if name]
        if host in _FORGES and len(names) >= 2:
            return f"https://{host}/{names[0]}/{names[1].removesuffix('.git')}"
        if host not in _FORGES and label.lower() in _REPOSITORY_LABELS and parts.scheme in ("http", "https") and names:
            labelled = labelled or f"https://{host}/{'/'.join(names).removesuffix('.git')}"  # a forge of its own
    return labelled


def read_metadata(text: bytes) -> Metadata:
    """What a `metadata.config` says.

    Raises CorruptArchiveError when it is not a list of key-value terms, or a value has not the type it must have.
    """
    stated: dict[str, Any] = {}
    for term in terms(text):
        if not (isinstance(term, tuple) and len(term) == 2 and isinstance(term[0], str)):
            raise CorruptArchiveError(f"metadata.config: expected {{key, value}}, found {_shown(term)}")
        stated[term[0]] = term[1]
    stated.setdefault("name", stated.get("app"))  # the first packages had only this
    for key in ("name", "version"):
        if not isinstance(stated.get(key), str) or not stated[key]:
            raise CorruptArchiveError(f"metadata.config: no {key}")
    files = _strings(stated, "files") if "build_tools" not in stated else ()
    return Metadata(
        **{key: _string(stated, key) for key in ("name", "version", "app", "description", "elixir")},
        licences=_strings(stated, "licenses"),
        links={str(key): value for key, value in _pairs(stated, "links").items() if isinstance(value, str)},
        build_tools=_strings(stated, "build_tools") or _guessed_build_tools(files),
        requirements=_requirements(stated.get("requirements", [])),
    )


def terms(text: bytes) -> list[Any]:
    """The terms of an Erlang term file: tuple, list, int, bool, `Atom`, and str for strings and binaries.

    Raises CorruptArchiveError naming the line of what is no such term.
    """
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:
        decoded = text.decode("latin-1")  # as very old packages are written
    return _Reader(decoded).terms()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._next = ("", "")  # kind and text of the token ahead; ("end", "") after the last
        self._advance()

    def terms(self) -> list[Any]:
        found = []
        while self._next[0] != "end":
            found.append(self._term(0))
            self._expect(".")
        return found

    def _term(self, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise self._error(f"terms nested deeper than {_MAX_DEPTH}")
        kind, text = self._next
        if kind == "atom":
            self._advance()
            return {"true": True, "false": False}.get(text, Atom(text))
        if kind == "quoted":
            self._advance()
            return Atom(_unescaped(text[1:-1]))
        if kind == "integer":
            self._advance()
            return int(text)
        if kind == "string":
            return self._strings()
        if text == "<<":
            return self._binary()
        if text == "{":
            return tuple(self._sequence("}", depth))
        if text == "[":
            return self._sequence("]", depth)
        raise self._error(f"expected a term, found {text or 'the end of the file'!r}")

    def _sequence(self, closing: str, depth: int) -> list[Any]:
        self._advance()
        items: list[Any] = []
        while self._next != ("mark", closing):
            if items:
                self._expect(",")
            items.append(self._term(depth + 1))
        self._advance()
        return items

    def _strings(self) -> str:
        parts = []
        while self._next[0] == "string":  # the pretty printer breaks a long string into several
            parts.append(_unescaped(self._next[1][1:-1]))
            self._advance()
        return "".join(parts)

    def _binary(self) -> str:
        self._advance()
        content, is_first = b"", True
        while self._next != ("mark", ">>"):
            if not is_first:
                self._expect(",")
            is_first = False
            if self._next[0] == "integer":
                content += bytes([int(self._next[1]) & 255])
                self._advance()
                continue
            if self._next[0] != "string":
                raise self._error(f"expected a string or a byte in a binary, found {self._next[1]!r}")
            text = self._strings()
            encoding = "latin-1"
            if self._next == ("mark", "/"):
                self._advance()
                if self._next != ("atom", "utf8"):
                    raise self._error(f"expected /utf8, found /{self._next[1]}")
                self._advance()
                encoding = "utf-8"
            # Outside latin-1 without /utf8 is what old versions of Hex wrote: the text is meant, not its low bytes.
            try:
                content += text.encode(encoding)
            except UnicodeEncodeError:
                content += text.encode("utf-8", errors="replace")
        self._advance()
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            return content.decode("latin-1")

    def _expect(self, mark: str) -> None:
        if self._next != ("mark", mark):
            raise self._error(f"expected {mark!r}, found {self._next[1] or 'the end of the file'!r}")
        self._advance()

    def _advance(self) -> None:
        while True:
            if self._position == len(self._text):
                self._next = ("end", "")
                return
            match = _TOKEN.match(self._text, self._position)
            if match is None:
                raise self._error(f"unexpected {self._text[self._position]!r}")
            self._position = match.end()
            if match.lastgroup != "skip":
                self._next = (match.lastgroup or "", match[0])
                return

    def _error(self, what: str) -> CorruptArchiveError:
        line = self._text.count("\n", 0, self._position) + 1
        return CorruptArchiveError(f"metadata.config, line {line}: {what}")


def _unescaped(text: str) -> str:
    def meant(match: re.Match[str]) -> str:
        octal, braced, pair, control, single = match.groups()
        if octal:
            return chr(int(octal, 8))
        if braced or pair:
            code = int(braced or pair, 16)
            return chr(code) if code < 0x110000 else "\ufffd"
        return chr(ord(control) & 31) if control else _ESCAPED.get(single, single)

    return _ESCAPE.sub(meant, text)


def _requirements(stated: Any) -> tuple[Requirement, ...]:
    if not isinstance(stated, list):
        raise CorruptArchiveError(f"metadata.config: requirements must be a list, found {_shown(stated)}")
    requirements = []
    for entry in stated:
        # Today {name, [{key, value}]}; before 2016 [{key, value}] with the name among them.
        if isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str):
            needed = {"requirement": entry[1]} if isinstance(entry[1], str) else _dict(entry[1], "requirements")
            fields = {"name": entry[0]} | needed
        else:
            fields = _dict(entry, "requirements")
        name = _string(fields, "name")
        if not name:
            raise CorruptArchiveError(f"metadata.config: a requirement without a name: {_shown(entry)}")
        requirements.append(
            Requirement(
                package=name,
                requirement=_string(fields, "requirement"),
                optional=fields.get("optional") is True,
                app=_string(fields, "app") or name,
                repository=_string(fields, "repository"),
            )
        )
    return tuple(requirements)


def _guessed_build_tools(files: Sequence[str]) -> tuple[str, ...]:
    top = {path for path in files if len(PurePosixPath(path).parts) == 1}
    return tuple(sorted({tool for file, tool in _BUILD_FILES.items() if file in top}))


def _string(stated: Mapping[str, Any], key: str) -> str:
    value = stated.get(key, "")
    if isinstance(value, Atom) and value in ("undefined", "nil"):
        return ""
    if not isinstance(value, str):
        raise CorruptArchiveError(f"metadata.config: {key} must be a string, found {_shown(value)}")
    return str(value)


def _strings(stated: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = stated.get(key, [])
    if isinstance(value, str) and not value:  # an empty list may be printed as ""
        return ()
    if not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        raise CorruptArchiveError(f"metadata.config: {key} must be a list of strings, found {_shown(value)}")
    return tuple(map(str, value))


def _pairs(stated: Mapping[str, Any], key: str) -> dict[str, Any]:
    return _dict(stated.get(key, []), key)


def _dict(value: Any, key: str) -> dict[str, Any]:
    if isinstance(value, list) and all(isinstance(item, tuple) and len(item) == 2 for item in value):
        return {str(name): content for name, content in value}
    raise CorruptArchiveError(f"metadata.config: {key} must be a list of pairs, found {_shown(value)}")


def _shown(term: Any) -> str:
    text = repr(term)
    return text if len(text) <= 80 else f"{text[:77]}..."
