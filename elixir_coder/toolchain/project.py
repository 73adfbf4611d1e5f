"""What a Mix project says of itself, read and never run: `mix.exs` and `.formatter.exs` are programs.

Both are parsed, and what is written out in them is taken: lists, atoms, strings, numbers, variables that hold such.
What a file works out by code is not known here, and whoever asks is told so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elixir_coder.toolchain.terms import Atom, nodes_of

# What formats more than Elixir's own formatter does, and leaves what that wrote as it is.
_HARMLESS_PLUGINS = frozenset({"Phoenix.LiveView.HTMLFormatter", "Styler", "TailwindFormatter"})
_SETTINGS = {"line_length", "locals_without_parens", "force_do_end_blocks"}  # those that change how Elixir is written
_NOT_SETTINGS = {"inputs", "import_deps", "plugins", "subdirectories", "export"}

Read = Callable[[Path], Any]  # the syntax tree of a file; None where there is no such file, or it does not parse


class NotWrittenOut(Exception):
    """A value that only running the file would tell."""


@dataclass(frozen=True)
class FormatterSettings:
    """What a `.formatter.exs` says.

    folder: where it lies; None without one. options: for the formatter: "line_length", "locals_without_parens" as
    [name, arity] with None for any arity, "force_do_end_blocks". inputs: patterns, relative to the folder.
    unknown: why it cannot be known how files are to be formatted; "" where it can.
    """

    folder: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    unknown: str = ""

    def covers(self, path: Path) -> bool:
        """Whether `mix format` without arguments would format the file; all files where nobody says anything."""
        if self.folder is None:
            return True
        relative = path.relative_to(self.folder).as_posix()
        return any(_pattern(glob).fullmatch(relative) for glob in self.inputs)


@dataclass(frozen=True)
class MixProject:
    """root: the folder of `mix.exs`, of the umbrella where it is part of one. apps: names of what is built from it.

    source_paths: folders and files, relative to the root, whose .ex files are compiled.
    """

    root: Path
    apps: tuple[str, ...]
    source_paths: tuple[Path, ...]

    def compiles(self, path: Path) -> bool:
        """Whether `mix compile`, in its environment for tests, would compile the file."""
        relative = path.relative_to(self.root)
        return path.suffix == ".ex" and any(relative.is_relative_to(source) for source in self.source_paths)

    def dependencies(self) -> tuple[Path, ...]:
        """The folders of the compiled packages that the project uses, of one environment: dev, else test, else prod."""
        for environment in ("dev", "test", "prod"):
            found = sorted(self.root.glob(f"_build/{environment}/lib/*/ebin"))
            if found:
                return tuple(folder for folder in found if folder.parent.name not in self.apps)
        return ()


def project_of(folder: Path, read: Read) -> MixProject | None:
    """The Mix project that a folder is part of; for an application of an umbrella, the umbrella."""
    root = next((each for each in (folder, *folder.parents) if (each / "mix.exs").is_file()), None)
    if root is None:
        return None
    above = root.parent.parent
    if (above / "mix.exs").is_file() and (apps_path := _values_of("apps_path", read(above / "mix.exs"))):
        root = above if root.parent.name in apps_path else root
    tree = read(root / "mix.exs")
    members = {Path(): tree}
    for apps_path in _values_of("apps_path", tree)[:1]:
        folders = [path.parent for path in sorted((root / str(apps_path)).glob("*/mix.exs"))]
        members = {each.relative_to(root): read(each / "mix.exs") for each in folders}
    names = [name for tree in members.values() for name in _values_of("app", tree) if isinstance(name, Atom)]
    sources = [place / source for place, tree in members.items() for source in _source_paths(tree)]
    return MixProject(root, tuple(dict.fromkeys(map(str, names))), tuple(dict.fromkeys(sources)))


def formatter_settings(folder: Path, read: Read) -> FormatterSettings:
    """Those that hold for a folder: of its `.formatter.exs` or the nearest above it, inside of the same checkout."""
    for each in (folder, *folder.parents):
        if (each / ".formatter.exs").is_file():
            return _settings_in(each, read)
        if (each / ".git").exists():
            break
    return FormatterSettings()


def _settings_in(folder: Path, read: Read) -> FormatterSettings:
    values = _keyword(read(folder / ".formatter.exs"))
    if values is None:
        return FormatterSettings(folder, unknown="it is no plain list of settings")
    try:
        inputs = _value(values, "inputs", [])
        files = tuple(map(str, inputs if isinstance(inputs, list) else [inputs]))
    except NotWrittenOut:
        files = ("**/*",)  # better too many than none
    try:
        options, unknown = _options(folder, values, read), ""
    except NotWrittenOut as why:
        options, unknown = {}, str(why)
    return FormatterSettings(folder, options, files, unknown)


def _options(folder: Path, values: dict[str, Any], read: Read) -> dict[str, Any]:
    for name in values.keys() - _SETTINGS - _NOT_SETTINGS:
        raise NotWrittenOut(f"its setting {name} is not known here")
    for plugin in _value(values, "plugins", []):
        if plugin not in _HARMLESS_PLUGINS:
            raise NotWrittenOut(f"the plugin {plugin} is a program of its own")
    locals_ = _locals(_value(values, "locals_without_parens", []))
    for dependency in _value(values, "import_deps", []):
        exported = _exported(folder, str(dependency), read)
        if exported is None:
            raise NotWrittenOut(f"its import_deps need deps/{dependency}, which is not there; run: mix deps.get")
        locals_ += exported
    options: dict[str, Any] = {"locals_without_parens": locals_} if locals_ else {}
    line_length = _value(values, "line_length", 98)
    if not isinstance(line_length, int):
        raise NotWrittenOut("its line_length is no number")
    options["line_length"] = line_length
    if _value(values, "force_do_end_blocks", False) is True:
        options["force_do_end_blocks"] = True
    return options


def _exported(folder: Path, dependency: str, read: Read) -> list[list[Any]] | None:
    for each in (folder, *folder.parents[:2]):  # the packages of an umbrella lie beside it
        place = each / "deps" / dependency
        if place.is_dir():
            values = _keyword(read(place / ".formatter.exs")) or {}
            export = _value(values, "export", [])
            return _locals(dict(export).get("locals_without_parens", []))
    return None


def _locals(value: Any) -> list[list[Any]]:
    pairs: list[list[Any]] = []
    for pair in value if isinstance(value, list) else [None]:
        match pair:
            case (str(name), Atom("*")):
                pairs.append([str(name), None])
            case (str(name), int(arity)):
                pairs.append([str(name), arity])
            case _:
                raise NotWrittenOut("its locals_without_parens are no list of names and arities")
    return pairs


# -------------------------------------------------------------------------------------------------- values in a program


def literal(tree: Any, variables: Mapping[str, Any]) -> Any:
    """The value of an expression that is written out; tuples as tuples, module names as text.

    Raises NotWrittenOut for any other.
    """
    match tree:
        case list():
            return [literal(each, variables) for each in tree]
        case (Atom("__block__"), _, [inner]):
            return literal(inner, variables)
        case (Atom("++"), _, [left, right]):
            first, second = literal(left, variables), literal(right, variables)
            if isinstance(first, list) and isinstance(second, list):
                return first + second
        case (Atom("{}"), _, list(parts)):
            return tuple(literal(each, variables) for each in parts)
        case (Atom("sigil_w" | "sigil_W"), _, [(Atom("<<>>"), _, [str(words)]), modifiers]):
            return [Atom(word) if modifiers == [ord("a")] else word for word in words.split()]
        case (Atom("__aliases__"), _, list(parts)) if all(isinstance(part, Atom) for part in parts):
            return ".".join(parts)
        case (Atom(name), _, context) if not isinstance(context, list) and name in variables:
            return variables[name]
        case tuple() if len(tree) == 2:
            return (literal(tree[0], variables), literal(tree[1], variables))
        case str() | int() | float() | None:
            return tree
    raise NotWrittenOut("it is worked out by code")


def _keyword(tree: Any) -> dict[str, Any] | None:
    """The entries of the keyword list that a program ends in, each a value or NotWrittenOut; None if it does not."""
    match tree:
        case (Atom("__block__"), _, list(statements)) if statements:
            *before, last = statements
        case _:
            before, last = [], tree
    variables: dict[str, Any] = {}
    for statement in before:
        match statement:
            case (Atom("="), _, [(Atom(name), _, context), value]) if not isinstance(context, list):
                variables.pop(name, None)
                if not isinstance(known := _literal_or_why(value, variables), NotWrittenOut):
                    variables[name] = known
    if not isinstance(last, list):
        return None
    entries: dict[str, Any] = {}
    for entry in last:
        match entry:
            case (Atom(name), value):
                entries[str(name)] = _literal_or_why(value, variables)
            case _:
                return None
    return entries


def _literal_or_why(tree: Any, variables: Mapping[str, Any]) -> Any:
    try:
        return literal(tree, variables)
    except NotWrittenOut as why:
        return why
    except RecursionError:
        return NotWrittenOut("it is nested too deep")


def _value(values: Mapping[str, Any], name: str, default: Any) -> Any:
    value = values.get(name, default)
    if isinstance(value, NotWrittenOut):
        raise NotWrittenOut(f"its {name} is worked out by code")
    return value


def _values_of(key: str, tree: Any) -> list[Any]:
    """What the keyword `key` is given anywhere in a program, where it is written out."""
    values = []
    for node in nodes_of(tree):
        match node:
            case tuple() if len(node) == 2 and node[0] == key and isinstance(node[0], Atom):
                if not isinstance(value := _literal_or_why(node[1], {}), NotWrittenOut):
                    values.append(value)
    return values


def _source_paths(tree: Any) -> list[str]:
    """Those of the environment for tests, which usually has most: `elixirc_paths(:test)`, else that of all others."""
    found: dict[str, list[str]] = {}
    for node in nodes_of(tree):
        match node:
            case (Atom("def" | "defp"), _, [(Atom("elixirc_paths"), _, [environment]), [(Atom("do"), value)]]):
                name = str(environment) if isinstance(environment, Atom) else "_"
                if not isinstance(paths := _literal_or_why(value, {}), NotWrittenOut) and _is_texts(paths):
                    found.setdefault(name, paths)
            case tuple() if len(node) == 2 and node[0] == "elixirc_paths" and _is_texts(node[1]):
                found.setdefault("_", node[1])
    return found.get("test") or found.get("_") or ["lib"]


def _is_texts(tree: Any) -> bool:
    return isinstance(tree, list) and bool(tree) and all(isinstance(x, str) and not isinstance(x, Atom) for x in tree)


# ------------------------------------------------------------------------------------------------------------- patterns


def _pattern(glob: str) -> re.Pattern[str]:
    """As Path.wildcard/2 reads it, with files that begin with a dot."""
    return re.compile("".join(_pattern_parts(glob.removeprefix("./"))))


def _pattern_parts(glob: str) -> Iterable[str]:
    at, depth = 0, 0
    while at < len(glob):
        char = glob[at]
        if glob.startswith("**/", at):
            yield "(?:[^/]+/)*"
            at += 2
        elif char == "*":
            yield "[^/]*"
        elif char == "?":
            yield "[^/]"
        elif char == "{":
            depth += 1
            yield "(?:"
        elif char == "}" and depth:
            depth -= 1
            yield ")"
        elif char == "," and depth:
            yield "|"
        elif char == "[" and (end := glob.find("]", at + 2)) > 0:
            yield "[" + re.escape(glob[at + 1 : end]).replace(r"\-", "-") + "]"
            at = end
        else:
            yield re.escape(char)
        at += 1
    yield ")" * depth


def mentions(texts: Sequence[str]) -> list[tuple[frozenset[str], frozenset[str]]]:
    """For each text the modules that it defines and the words that it writes with a capital, as the eye sees them."""
    return [(frozenset(_DEFINED.findall(text)), frozenset(_CAPITALIZED.findall(text))) for text in texts]


_DEFINED = re.compile(r"^[ \t]*(?:defmodule|defprotocol)[ \t(]+([A-Z]\w*(?:\.[A-Z]\w*)*)", re.MULTILINE)
_CAPITALIZED = re.compile(r"\b[A-Z]\w*")
