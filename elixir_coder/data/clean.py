"""Drop what a model should not learn from, and say why.

A filter gives the reason to drop an example, or None to keep it; `clean` counts the reasons. `default_filters` are
those of a collection, `content_filters` those of the step after it (cleaning.py), which reads the text as Elixir.
Exact duplicates go here; near-duplicates are another step's work (duplicates.py).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import pairwise
from pathlib import PurePosixPath

from elixir_coder.data.judged import holds_judged_module, is_kept_for_judging
from elixir_coder.data.lexemes import CODE, COMMENT, TEXT, pieces, windows
from elixir_coder.data.licence import ALLOWED, is_allowed
from elixir_coder.example import Example

CODE_SUFFIXES = frozenset({".ex", ".exs"})
GUIDE_SUFFIXES = frozenset({".md", ".livemd", ".cheatmd"})
MAX_BYTES = 1_000_000
MAX_LINE = 1_000  # characters; in Debian's Elixir code 448 is the longest line of a program, 787 of a doctest
MIN_CHARACTERS = 20
MOSTLY = 0.8  # a configuration that is commented out as a whole has 0.92, the most that is explained in a file 0.74

Filter = Callable[[Example], str | None]

_VENDORED = frozenset(
    {"vendor", "vendored", "third_party", "third-party", "node_modules", "bower_components", "_build", "deps"}
)
_TESTS = frozenset({"test", "tests", "fixtures", "integration_test"})
_VENDORED_PAIRS = frozenset({("priv", "static"), ("static", "vendor")})

# Modules of well-known packages that nobody else has a reason to define, and the word that names of their packages
# hold: such a file elsewhere is a copy.
_KNOWN_MODULES = {
    **dict.fromkeys(["Jason", "Jason.Decoder", "Jason.Encoder", "Jason.Formatter"], "jason"),
    **dict.fromkeys(["Poison", "Poison.Parser", "Poison.Encoder"], "poison"),
    **dict.fromkeys(["Plug.Conn", "Plug.Builder", "Plug.Router", "Plug.Parsers", "Plug.Crypto"], "plug"),
    **dict.fromkeys(["Ecto.Changeset", "Ecto.Query", "Ecto.Repo", "Ecto.Schema", "Ecto.Type", "Ecto.Multi"], "ecto"),
    **dict.fromkeys(["Phoenix.Controller", "Phoenix.Router", "Phoenix.Endpoint", "Phoenix.Channel"], "phoenix"),
    **dict.fromkeys(["Phoenix.HTML", "Phoenix.LiveView", "Phoenix.PubSub", "Phoenix.Socket"], "phoenix"),
    **dict.fromkeys(["Mint.HTTP", "Mint.HTTP1", "Mint.HTTP2", "HPAX"], "mint"),
    **dict.fromkeys(["Tesla", "Tesla.Env", "Tesla.Middleware"], "tesla"),
    **{name: name.lower() for name in ("HTTPoison", "Decimal", "Timex", "Gettext", "Absinthe", "Floki", "Finch")},
    **{name: name.lower() for name in ("Swoosh", "Credo", "Broadway", "Mox", "Bandit", "Guardian", "Sobelow")},
    "NimbleParsec": "nimble",
    "NimbleOptions": "nimble",
    "NimbleCSV": "nimble",
    "GenStage": "stage",
    "ExDoc": "doc",
    "StreamData": "stream",
    "ExUnitProperties": "stream",
}
_FIRST_MODULE = re.compile(r"^defmodule\s+([A-Z][\w.]*)\s+do\b", re.MULTILINE)
_ENCODED = re.compile(r"[A-Za-z0-9+/=_-]{120,}")

_GENERATED = re.compile(
    r"do not (edit|modify|change)|do not touch this file|(is|was|been|file) (automatically |auto-?)generated"
    r"|auto-?generated|@generated"
    r"|^[\W_]*((this|the) )?((file|module|code) )?((is|was|has been) )?generated (automatically )?(by|from|with)",
    re.IGNORECASE | re.MULTILINE,
)
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
_ELIXIR_IN_MARKDOWN = re.compile(r"^\s*(```|~~~)\s*elixir|iex(\(\d+\))?>|^\s*defmodule\s", re.MULTILINE)


def is_vendored_path(path: str, package: str = "") -> bool:
    """Whether a path lies in a folder for other people's code, or in one that a build fills.

    package: what the path is in. `deps/rabbitmq_cli` of rabbitmq-server is its own: the names share a word. What tests
    keep as a fixture is their own too.
    """
    folders = PurePosixPath(path).parts[:-1]
    if not _TESTS.isdisjoint(folders):
        return False
    if any(pair in _VENDORED_PAIRS for pair in pairwise(folders)):
        return True
    own = set(re.split(r"[-_]", package.lower())) - {""}
    return any(
        folder in _VENDORED and own.isdisjoint(re.split(r"[-_]", below.lower()))
        for folder, below in pairwise((*folders, ""))
    )


def is_guide(path: str) -> bool:
    """Whether a path is Markdown and not code."""
    return PurePosixPath(path).suffix in GUIDE_SUFFIXES


def too_short(example: Example) -> str | None:
    """Nothing, or next to nothing, in the file."""
    return "too short" if len(example.code.strip()) < MIN_CHARACTERS else None


def too_large(example: Example) -> str | None:
    """More than a megabyte: a table in Elixir's clothes."""
    return "too large" if len(example.code.encode()) > MAX_BYTES else None


def generated(example: Example) -> str | None:
    """A comment near the top says that a program wrote the file.

    "Vendored, do not edit" is kept: people wrote it, elsewhere.
    """
    head = example.code[:1_000]
    comments = head[:200] if is_guide(example.path) else "\n".join(_COMMENT.findall(head))
    return "generated" if _GENERATED.search(comments) and "vendored" not in comments.lower() else None


def template(example: Example) -> str | None:
    """An EEx template that carries the name of the file it will become."""
    is_code = not is_guide(example.path)
    lies_with_templates = "templates" in PurePosixPath(example.path).parts
    return "template" if is_code and lies_with_templates and "<%" in example.code else None


def long_lines(example: Example) -> str | None:
    """A line of over 1,000 characters in code: minified, or data."""
    if is_guide(example.path):
        return None  # in prose a paragraph is a line
    return "long lines" if max(map(len, example.code.splitlines()), default=0) > MAX_LINE else None


def data_table(example: Example) -> str | None:
    """Mostly numbers: a lookup table of more than 10 kB with fewer letters than digits."""
    if len(example.code) < 10_000:
        return None
    letters = sum(character.isalpha() for character in example.code)
    digits = sum(character.isdigit() for character in example.code)
    return "data table" if digits > letters else None


def vendored(example: Example) -> str | None:
    """Other people's code, by the folder it lies in or by a module that is known to be theirs."""
    if is_vendored_path(example.path, example.package):
        return "vendored"
    first = _FIRST_MODULE.search(example.code)
    owner = _KNOWN_MODULES.get(first[1]) if first else None
    return "vendored" if owner and owner not in example.package.lower().replace("_", "-") else None


def kept_for_judging(example: Example) -> str | None:
    """Of a benchmark or a project that models are judged by."""
    is_judged = is_kept_for_judging(example.package) or holds_judged_module(example.code)
    return "kept for judging" if is_judged else None


def binary(example: Example) -> str | None:
    """Bytes in the clothes of text: control characters, or hardly anything but what Base64 and the like make."""
    code = example.code
    others = sum(character in "\ufffd\x7f" or (character < " " and character not in "\t\n\r\f") for character in code)
    if "\0" in code or others > len(code) / 100:
        return "binary"
    return "encoded data" if sum(map(len, _ENCODED.findall(code))) > MOSTLY * len(code) else None


def as_elixir(example: Example) -> str | None:
    """What its lexemes tell of code: hardly any, mostly literals, or the same over and over."""
    if is_guide(example.path):
        return None
    size = Counter[str]()
    words: list[str] = []
    num_names = num_signs = 0
    for piece in pieces(example.code):
        size[piece.kind] += len(piece.text)
        if piece.kind == CODE:
            num_signs += 1
            num_names += piece.text[0].isalpha() or piece.text[0] == "_"
        if piece.kind != COMMENT:
            words += piece.text.split()
    if size[COMMENT] > MOSTLY * (size[CODE] + size[TEXT] + size[COMMENT]):
        return "mostly comments"
    if num_signs >= 1_000 and num_names < num_signs / 10:
        return "mostly data"  # of the 2,187 files looked at: a table of styles, and test vectors byte by byte
    if len(words) >= 200 and len(set(windows(words, 5).tolist())) < len(words) / 10:
        return "repetitive"
    return None


def without_elixir(example: Example) -> str | None:
    """Markdown that shows no Elixir: change logs, codes of conduct."""
    return "guide without Elixir" if is_guide(example.path) and not _ELIXIR_IN_MARKDOWN.search(example.code) else None


def licence_in(allowed: Collection[str] = ALLOWED) -> Filter:
    """A filter for files whose licence is unknown or not among `allowed`."""
    return lambda example: None if is_allowed(example.licence, allowed) else "licence"


def first_of_its_content() -> Filter:
    """A filter that remembers: the second file with the same content is a duplicate, whatever its name."""
    seen: set[str] = set()

    def duplicate(example: Example) -> str | None:
        if example.sha256 in seen:
            return "duplicate"
        seen.add(example.sha256)
        return None

    return duplicate


def default_filters(allowed: Collection[str] = ALLOWED) -> list[Filter]:
    """The filters of a collection, cheapest and most telling first; one use, because the last one remembers."""
    return [
        licence_in(allowed),
        kept_for_judging,
        too_short,
        too_large,
        generated,
        template,
        long_lines,
        data_table,
        without_elixir,
        first_of_its_content(),
    ]


def content_filters() -> list[Filter]:
    """The filters of the cleaning step: each looks at one example alone, whatever came before."""
    return [
        kept_for_judging,
        too_short,
        too_large,
        generated,
        vendored,
        template,
        binary,
        long_lines,
        data_table,
        as_elixir,
        without_elixir,
    ]


def clean(examples: Iterable[Example], filters: list[Filter], dropped: Counter[str]) -> Iterator[Example]:
    """The examples no filter objects to; the first objection of the others is counted in `dropped`."""
    for example in examples:
        reason = next((why for check in filters if (why := check(example))), None)
        if reason:
            dropped[reason] += 1
        else:
            yield example
