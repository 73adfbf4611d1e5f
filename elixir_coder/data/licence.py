"""Which licence a file is under, and whether we may train on it.

The statement closest to the file decides: its own header; then a pattern of Debian's machine-readable
`debian/copyright` (DEP-5) for just such files; then what a folder around it says (LICENSE, README, mix.exs, in this
order); then debian/copyright's `*`; then the project's root. Names come out SPDX-like (`Expat` becomes `MIT`). A
free-form debian/copyright, as very old packages have, is not read.

Source: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from elixir_coder.data.deb822 import parse_deb822

UNKNOWN = "unknown"
ALLOWED = frozenset(
    # `BSD` alone is what older mix.exs files say: whichever variant is meant, it is a permissive one.
    "0BSD Apache-2.0 BSD BSD-2-Clause BSD-3-Clause BSL-1.0 CC0-1.0 ISC MIT MIT-0 MPL-2.0 "
    "public-domain Unlicense Zlib".split()
)

_SPELLINGS = {  # as Debian, mix.exs files and Hex have them, in lower case
    "Apache-2.0": (
        "apache-2",
        "apache2",
        "apache2.0",
        "apache 2.0",
        "apache 2",
        "apache v2.0",
        "apache version 2.0",
        "apache license 2.0",
        "apache license version 2.0",
        "apache license, version 2.0",
        "apache 2.0 license",
        "asl 2.0",
        "asl-2",
        "asl-2.0",
    ),
    "BSD-2-Clause": ("bsd-2", "bsd-2-clauses", "bsd 2-clause", "simplified bsd"),
    "BSD-3-Clause": (
        "3-clause bsd",
        "bsd-3",
        "bsd-3-clauses",
        "bsd 3-clause",
        "bsd 3-clause license",
        "bsd3",
        "new bsd",
    ),
    "BSL-1.0": ("boost",),
    "CC0-1.0": ("cc0", "cc0 1.0"),
    "ISC": ("isc license",),
    "MIT": ("expat", "mit license", "the mit license", "the mit license (mit)"),
    "MPL-2.0": ("mozilla public license 2.0", "mpl-2", "mpl 2.0", "mpl2", "mplv2", "mplv2.0"),
    "public-domain": ("public domain",),
    "Unlicense": ("the unlicense",),
}
_SPDX = {spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings}
_SPDX |= {name.lower(): name for name in ALLOWED}

# Sentences that only this licence has; a text with several of them is under all of them.
_SENTENCES = (
    ("Apache-2.0", r"Apache License,?\s+Version 2\.0"),
    ("MPL-2.0", r"Mozilla Public License,?\s+(Version|v\.?)\s*2\.0"),
    ("MPL-1.1", r"Mozilla Public License,?\s+Version 1\.1"),
    ("MIT", r"Permission is hereby granted, free of charge, to any person obtaining"),
    ("ISC", r"Permission to use, copy, modify, and(/or)? distribute this software for any purpose"),
    ("BSD-3-Clause", r"Redistribution and use in source and binary forms.*(Neither the name|names? of .{0,80}may not)"),
    ("BSD-2-Clause", r"Redistribution and use in source and binary forms"),
    ("CC0-1.0", r"CC0 1\.0 Universal"),
    ("Unlicense", r"This is free and unencumbered software released into the public domain"),
    ("AGPL", r"GNU Affero General Public License\s+(Version|as published|v\d)"),
    ("LGPL", r"GNU (Lesser|Library) General Public License\s+(Version|as published|v\d)"),
    ("GPL", r"GNU General Public License\s+(Version|as published|v\d)|terms of the GNU General Public License"),
)
_COMMENT = re.compile(r"^[ \t]*#+[ \t]?(.*)$", re.MULTILINE)
_STATES = re.compile(r"(LICEN[CS]E|COPYING|UNLICENSE)([-._][\w.-]*)?|README(\.md)?|mix\.exs", re.IGNORECASE)


@dataclass(frozen=True)
class Copyright:
    """The `Files` paragraphs of one debian/copyright, in file order."""

    rules: tuple[tuple[str, str], ...]  # (pattern, licence)

    def licence_of(self, path: str) -> tuple[str, bool]:
        """The licence of a file, and whether more than `*` says so: the last pattern that matches decides (DEP-5)."""
        for pattern, licence in reversed(self.rules):
            if _glob(pattern).fullmatch(path):
                return licence, pattern != "*"
        return UNKNOWN, False


class Licences:
    """Everything a project says about its licences, to be asked file by file."""

    def __init__(self, files: Iterable[tuple[str, str]]) -> None:
        """files: (path in the project, text) of at least those for which `states_licence` holds."""
        self._copyright: Copyright | None = None
        self._folders: dict[str, tuple[int, str]] = {}  # folder -> (rank of the file that says so, licence)
        for path, text in sorted(files):
            if path == "debian/copyright":
                self._copyright = parse_copyright(text)
            elif states_licence(path):
                self._note(PurePosixPath(path), text)

    def of(self, path: str, code: str) -> str:
        """The licence of the file `path` whose text is `code`."""
        if (header := licence_of_header(code)) != UNKNOWN:
            return header
        debian, is_specific = self._copyright.licence_of(path) if self._copyright else (UNKNOWN, False)
        *inner, root = PurePosixPath(path).parents
        around = next((self._folders[str(folder)][1] for folder in inner if str(folder) in self._folders), UNKNOWN)
        at_root = self._folders.get(str(root), (0, UNKNOWN))[1]
        said = (debian, around, at_root) if is_specific else (around, debian, at_root)
        return next((licence for licence in said if licence != UNKNOWN), UNKNOWN)

    def _note(self, path: PurePosixPath, text: str) -> None:
        if path.name == "mix.exs":
            rank, licence = 2, licence_of_mix(text)
        elif path.stem.lower() == "readme":
            rank, licence = 1, licence_of_text(text)
        else:
            rank, licence = 0, licence_of_text(text)
        if licence == UNKNOWN:
            return
        known_rank, known = self._folders.get(str(path.parent), (3, UNKNOWN))
        if rank < known_rank:
            self._folders[str(path.parent)] = (rank, licence)
        elif rank == known_rank and licence not in known.split(" and "):  # LICENSE-MIT beside LICENSE-APACHE
            self._folders[str(path.parent)] = (rank, f"{known} and {licence}")


def parse_copyright(text: str) -> Copyright | None:
    """The rules of a machine-readable debian/copyright, or None when it is free-form."""
    paragraphs = parse_deb822(text)
    if not paragraphs or not ("format" in paragraphs[0] or "format-specification" in paragraphs[0]):
        return None
    rules: list[tuple[str, str]] = []
    for paragraph in paragraphs:
        if "files" not in paragraph:
            continue
        synopsis = paragraph.get("license", "").split("\n")[0].strip()
        patterns = paragraph["files"].replace(",", " ").split()  # some old files separate by commas
        rules += [(pattern, canonical(synopsis)) for pattern in patterns]
    return Copyright(tuple(rules)) if rules else None


def canonical(expression: str) -> str:
    """An SPDX-like spelling of a DEP-5 licence expression: `Expat or Apache-2` becomes `MIT or Apache-2.0`."""
    words = re.split(r"(,?\s+and\s+|,?\s+or\s+)", expression.strip(), flags=re.IGNORECASE)
    return "".join(_SPDX.get(word.lower(), word) for word in words) or UNKNOWN


def licence_of_text(text: str) -> str:
    """The licence whose wording a LICENSE file holds; several, joined by `and`, when it holds several."""
    flat = " ".join(text.split())
    found = [name for name, sentence in _SENTENCES if re.search(sentence, flat, flags=re.IGNORECASE)]
    if "BSD-3-Clause" in found:
        found.remove("BSD-2-Clause")
    return " and ".join(found) or UNKNOWN


def licence_of_header(code: str) -> str:
    """The licence that a file's own comments name: by SPDX tag anywhere, or by wording in the first 40 of them."""
    comments = _COMMENT.findall(code)
    tags = (re.search(r"SPDX-License-Identifier:\s*([\w.+-]+(?:\s+(?:AND|OR)\s+[\w.+-]+)*)", line) for line in comments)
    if tag := next(filter(None, tags), None):
        return canonical(tag[1])
    return licence_of_text(" ".join(comments[:40]))


def licence_of_mix(text: str) -> str:
    """What the `licenses:` list of a mix.exs says, several joined by `and`."""
    stated = re.search(r"\blicen[sc]es:\s*\[([^]]*)\]", text)
    return " and ".join(canonical(name) for name in re.findall(r'"([^"]+)"', stated[1])) if stated else UNKNOWN


def states_licence(path: str) -> bool:
    """Whether a file of this name may say what licence its folder is under."""
    return path == "debian/copyright" or _STATES.fullmatch(PurePosixPath(path).name) is not None


def is_allowed(licence: str, allowed: Collection[str] = ALLOWED) -> bool:
    """Whether an expression can be met with allowed licences only: every `and` part, one of each `or`.

    `and` binds tighter than `or` unless a comma stands before it (DEP-5).
    """
    return all(
        any(all(name.strip() in allowed for name in _split("and", choice)) for choice in _split("or", clause))
        for clause in re.split(r",\s+and\s+", licence, flags=re.IGNORECASE)
    )


def _split(word: str, text: str) -> Sequence[str]:
    return re.split(rf",?\s+{word}\s+", text, flags=re.IGNORECASE)


def _glob(pattern: str) -> re.Pattern[str]:
    # In DEP-5 `*` and `?` match `/` too, and a leading ./ means nothing.
    escaped = re.escape(pattern.removeprefix("./")).replace(r"\*", ".*").replace(r"\?", ".")
    return re.compile(escaped, flags=re.DOTALL)
