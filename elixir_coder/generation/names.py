"""Which modules there are, and what each offers: functions and macros with their arities, and the fields of structs.

    table = NameTable.installed(project=Path("my_app"))
    table.find("Enum").arities("map")        # frozenset({2})
    table.refresh()                          # reads what has changed on disk since

Everything is read from the bytes of compiled files and nothing is loaded: a module may run code when it is loaded, and
a project's modules are not ours to run. Sources of a project that are newer than their compiled files are compiled in
the sandbox where a toolchain is given; without one, the modules they define are not known.

Format: the BEAM file format, https://www.erlang.org/doc/apps/erts/beam_file (chunks AtU8, Atom, ExpT and LitT)
"""

from __future__ import annotations

import bisect
import contextlib
import gzip
import hashlib
import json
import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elixir_coder.cache import cache_folder
from elixir_coder.errors import InputError
from elixir_coder.toolchain.project import mentions
from elixir_coder.toolchain.sandbox import find_elixir
from elixir_coder.toolchain.terms import TermError, decode

if TYPE_CHECKING:
    from elixir_coder.toolchain.toolchain import Toolchain

_CACHE_FORMAT = 1  # of what is kept from one run to the next; another one is read anew
_MAX_LITERALS_BYTES = 64 << 20

# What Elixir's compiler rewrites before it asks whether the function exists.
_BEYOND_EXPORTS = {":erlang": {"andalso": (2,), "orelse": (2,)}}

# Names that can be written behind a dot without quotes.
_IS_PLAIN = re.compile(r"[^\W\dA-Z]\w*[?!]?|[-+*/=<>!&|^~.@]+")

Arities = Mapping[str, tuple[int, ...]]


class BeamError(ValueError):
    """Bytes that are not a compiled module."""


@dataclass(frozen=True, eq=False)  # each file that is read makes another one
class ModuleNames:
    """What one module offers. name: as Elixir writes it, `Enum` or `:lists`. functions, macros: arities by name.

    fields: of its struct, None where they are not known. is_struct: whether it has one.
    """

    name: str
    functions: Arities = field(default_factory=dict)
    macros: Arities = field(default_factory=dict)
    fields: tuple[str, ...] | None = None

    @property
    def is_struct(self) -> bool:
        return "__struct__" in self.functions

    def arities(self, name: str) -> frozenset[int]:
        """Of the functions and macros of a name, empty where there is none."""
        return self._arities.get(name, frozenset())

    def callable(self, num_arguments: int = 0) -> list[str]:
        """The names of functions and macros that take so many arguments or more and can be written behind a dot,
        sorted."""
        return self._of_one if num_arguments else self._of_any

    def begins(self, start: str, num_arguments: int = 0) -> bool:
        """Whether one of these names begins so."""
        names = self.callable(num_arguments)
        at = bisect.bisect_left(names, start)
        return at < len(names) and names[at].startswith(start)

    @cached_property
    def has_quoted(self) -> bool:
        """Whether there are names that can only be written in quotes, such as `:erlang."=:="`."""
        return not all(map(_IS_PLAIN.fullmatch, self._arities))

    @cached_property
    def _of_any(self) -> list[str]:
        return sorted(filter(_IS_PLAIN.fullmatch, self._arities))

    @cached_property
    def _of_one(self) -> list[str]:
        return [name for name in self._of_any if max(self._arities[name]) > 0]

    @cached_property
    def _arities(self) -> dict[str, frozenset[int]]:
        both = {*self.functions, *self.macros}
        return {name: frozenset((*self.functions.get(name, ()), *self.macros.get(name, ()))) for name in both}


# ------------------------------------------------------------------------------------------------------ compiled files


def read_beam(data: bytes) -> ModuleNames:
    """What a compiled module offers, from its bytes alone. Raises BeamError for anything else."""
    try:
        if data[:2] == b"\x1f\x8b":  # compiled with the option `compressed`
            data = gzip.decompress(data)
        return _read_chunks(_chunks(data))
    except (IndexError, struct.error, UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        raise BeamError(f"a damaged compiled module: {error}") from None


def _chunks(data: bytes) -> dict[bytes, bytes]:
    if data[:4] != b"FOR1" or data[8:12] != b"BEAM":
        raise BeamError("not a compiled module: it does not begin with FOR1....BEAM")
    chunks, at = {}, 12
    while at + 8 <= len(data):
        size = struct.unpack_from(">I", data, at + 4)[0]
        if at + 8 + size > len(data):
            raise BeamError("a compiled module that is cut short")
        chunks[data[at : at + 4]] = data[at + 8 : at + 8 + size]
        at += 8 + (size + 3) // 4 * 4
    return chunks


def _read_chunks(chunks: dict[bytes, bytes]) -> ModuleNames:
    if not (b"AtU8" in chunks or b"Atom" in chunks) or b"ExpT" not in chunks:
        raise BeamError("a compiled module without its atoms or its exports")
    atoms = _atoms(chunks[b"AtU8"], "utf-8") if b"AtU8" in chunks else _atoms(chunks[b"Atom"], "latin-1")
    name = _written(atoms[0])
    functions: dict[str, list[int]] = {key: list(value) for key, value in _BEYOND_EXPORTS.get(name, {}).items()}
    macros: dict[str, list[int]] = {}
    exports = chunks[b"ExpT"]
    for index in range(struct.unpack_from(">I", exports)[0]):
        atom, arity, _ = struct.unpack_from(">III", exports, 4 + 12 * index)
        called = atoms[atom - 1]
        if called.startswith("MACRO-"):  # its first argument is the caller's environment
            macros.setdefault(called.removeprefix("MACRO-"), []).append(arity - 1)
        else:
            functions.setdefault(called, []).append(arity)
    fields = _struct_fields(chunks.get(b"LitT", b""), atoms[0]) if "__struct__" in functions else None
    return ModuleNames(name, _sorted(functions), _sorted(macros), fields)


def _sorted(arities: dict[str, list[int]]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(sorted(set(values))) for name, values in sorted(arities.items())}


def _written(atom: str) -> str:
    return atom.removeprefix("Elixir.") if atom.startswith("Elixir.") else f":{atom}"


def _atoms(chunk: bytes, encoding: str) -> list[str]:
    """A negative number of them says that lengths are written as the code's operands are, which OTP 28 does."""
    number = struct.unpack_from(">i", chunk)[0]
    at, atoms = 4, []
    for _ in range(abs(number)):
        size, at = chunk[at], at + 1
        if number < 0:
            if size & 0b1000:  # eleven bits
                size, at = (size & 0b11100000) << 3 | chunk[at], at + 1
            else:
                size >>= 4
        atoms.append(chunk[at : at + size].decode(encoding))
        at += size
    return atoms


def _struct_fields(chunk: bytes, module: str) -> tuple[str, ...] | None:
    """`__struct__/0` returns a constant map, so it is among the module's literals, with or without debug information.

    None where it is not found: a default that is a function cannot be read, for one.
    """
    if len(chunk) < 4:
        return None
    size = struct.unpack_from(">I", chunk)[0]
    if size > _MAX_LITERALS_BYTES:
        return None
    data = zlib.decompress(chunk[4:]) if size else chunk[4:]  # OTP 28 leaves them as they are and writes 0
    found: set[str] = set()
    at = 4
    for _ in range(struct.unpack_from(">I", data)[0]):
        length = struct.unpack_from(">I", data, at)[0]
        literal, at = data[at + 4 : at + 4 + length], at + 4 + length
        if b"__struct__" not in literal:
            continue
        with contextlib.suppress(TermError):
            value = decode(literal)
            if isinstance(value, dict) and value.get("__struct__") == module:
                found |= {str(key) for key in value}
    return tuple(sorted(found - {"__struct__"})) if found else None


# ----------------------------------------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class _File:
    """A compiled module on disk, as it was when it was read."""

    modified_ns: int
    size: int
    module: ModuleNames | None  # None: not a compiled module, or in the middle of being written


class NameTable:
    """All modules that are known, by name; what is not in it may exist all the same, and nothing is said of it.

    Reading while another thread refreshes is safe: a refresh replaces the whole mapping at once.
    """

    def __init__(self, modules: Iterable[ModuleNames] = ()):
        self.modules: Mapping[str, ModuleNames] = {module.name: module for module in modules}
        self.version = 0  # grows when something has changed
        self._installed: dict[Path, _File] = {}
        self._files: dict[Path, _File] = {}
        self._project: Path | None = None
        self._toolchain: Toolchain | None = None
        self._sources: dict[Path, tuple[int, tuple[ModuleNames, ...]]] = {}
        self._cache: Path | None = None

    @classmethod
    def installed(cls, project: Path | None = None, toolchain: Toolchain | None = None) -> NameTable:
        """Of the installed Elixir and Erlang, and of a Mix project and its dependencies as they lie in its `_build`.

        toolchain: compiles sources of the project that are newer than what lies there. Its code_paths are
        `dependency_folders(project)`; the project's own would make it refuse to define their modules again.
        Raises MissingDependencyError without an Elixir, InputError for a folder that is no Mix project.
        """
        if project is not None and not (project / "mix.exs").is_file():
            raise InputError(f"{project} is not a Mix project: it has no mix.exs")
        table = cls()
        table._project, table._toolchain = project, toolchain
        installation = find_elixir()
        folders = [*installation.elixir_root.glob("lib/*/ebin"), *installation.erlang_root.glob("lib/*/ebin")]
        key = hashlib.sha256("\0".join(sorted(map(str, folders))).encode()).hexdigest()[:16]
        table._cache = cache_folder("names", f"{key}.json")
        known = _load(table._cache)
        table._installed = _read_folders(folders, known)
        if table._installed != known:
            _save(table._cache, table._installed)
        table.refresh()
        return table

    def find(self, name: str) -> ModuleNames | None:
        """The module of a name as Elixir writes it in full, or None where nothing is known of it."""
        return self.modules.get(name)

    def refresh(self) -> int:
        """Read what has changed in the project's folders since; the number of files that have. Whoever generates sees
        the new table at the next step.

        Cheap enough to be called before each request: it asks for the time of each file, and reads only new ones.
        """
        files, changed = self._files, 0
        if self._project is not None:
            files = _read_folders(ebin_folders(self._project), self._files)
            changed = sum(1 for path in files.keys() | self._files.keys() if files.get(path) != self._files.get(path))
        modules = _newest(self._installed) | _newest(files)
        if self._project is not None:
            changed += self._add_sources(modules, files)
        if changed or not self.version:
            self._files, self.modules, self.version = files, modules or self.modules, self.version + 1
        return changed

    def _add_sources(self, modules: dict[str, ModuleNames], files: Mapping[Path, _File]) -> int:
        """Put what the newer sources define in place of what is compiled; the number of sources that have changed."""
        assert self._project is not None
        compiled = {file.module.name: file.modified_ns for file in files.values() if file.module}
        stale: dict[Path, tuple[int, str, frozenset[str]]] = {}
        for path in _source_files(self._project):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                modified_ns = path.stat().st_mtime_ns
                text = path.read_text("utf-8")
                defined = mentions([text])[0][0]
                is_compiled = all(
                    any(known == name or known.endswith(f".{name}") for known in compiled) for name in defined
                )
                if not is_compiled or any(modified_ns > compiled.get(name, modified_ns) for name in defined):
                    stale[path] = modified_ns, text, defined
        changed = [path for path, (modified_ns, _, _) in stale.items() if self._time_of(path) != modified_ns]
        gone = [path for path in self._sources if path not in stale]
        if changed or gone:
            offered = self._definitions({str(path): text for path, (_, text, _) in stale.items()})
            self._sources = {
                path: (modified_ns, tuple(module for module in offered if _is_of(module.name, defined)))
                for path, (modified_ns, _, defined) in stale.items()
            }
        for path, (_, _, defined) in stale.items():
            for name in [name for name in modules if name in compiled and _is_of(name, defined)]:
                del modules[name]
            modules |= {module.name: module for module in self._sources[path][1]}
        return len(changed) + len(gone)

    def _time_of(self, path: Path) -> int | None:
        return self._sources[path][0] if path in self._sources else None

    def _definitions(self, texts: dict[str, str]) -> list[ModuleNames]:
        """What the texts define, compiled in the sandbox; nothing where they do not compile, or nobody can."""
        if self._toolchain is None or not texts:
            return []
        report = self._toolchain.definitions(texts)
        if not report.ok:
            return []
        return [
            ModuleNames(
                module.name,
                _by_name(module.functions, module.struct is not None),
                _by_name(module.macros),
                module.struct,
            )
            for module in report.modules
        ]


def _is_of(name: str, defined: Iterable[str]) -> bool:
    """Whether a module may be one of those a text defines; a nested one is written there without its parent's name."""
    return any(name == each or name.endswith(f".{each}") for each in defined)


def _by_name(pairs: Iterable[tuple[str, int]], has_struct: bool | None = None) -> dict[str, tuple[int, ...]]:
    """Arities by name. has_struct: of functions, to which the compiler adds some; None of macros."""
    arities: dict[str, list[int]] = {}
    if has_struct is not None:
        arities |= {"__info__": [1], "module_info": [0, 1]} | ({"__struct__": [0, 1]} if has_struct else {})
    for name, arity in pairs:
        arities.setdefault(name, []).append(arity)
    return _sorted(arities)


def dependency_folders(project: Path) -> list[Path]:
    """Those of the dependencies alone: what a sandbox needs that compiles the project's own sources anew."""
    texts = [path.read_text("utf-8", "replace") for path in (*project.glob("mix.exs"), *project.glob("apps/*/mix.exs"))]
    own = {name for text in texts for name in re.findall(r"\bapp:\s*:(\w+)", text)}
    return [folder for folder in ebin_folders(project) if folder.parent.name not in own]


def ebin_folders(project: Path) -> list[Path]:
    """Where a Mix project has its compiled modules and those of its dependencies."""
    return sorted(project.glob("_build/*/lib/*/ebin"))


def _source_files(project: Path) -> Iterator[Path]:
    for pattern in ("lib/**/*.ex", "apps/*/lib/**/*.ex", "test/support/**/*.ex"):
        yield from sorted(project.glob(pattern))


def _read_folders(folders: Iterable[Path], known: Mapping[Path, _File]) -> dict[Path, _File]:
    """The compiled modules in these folders; those that have not changed are taken over."""
    files: dict[Path, _File] = {}
    for folder in folders:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".beam"):
                    path, status = Path(entry.path), entry.stat()
                    before = known.get(path)
                    same = before and (before.modified_ns, before.size) == (status.st_mtime_ns, status.st_size)
                    files[path] = before if before and same else _read_file(path, status, before)
    return files


def _read_file(path: Path, status: os.stat_result, before: _File | None) -> _File:
    """A file that cannot be read now, such as one that is being written, keeps what was known and is tried again."""
    try:
        return _File(status.st_mtime_ns, status.st_size, read_beam(path.read_bytes()))
    except (BeamError, OSError):
        return _File(before.modified_ns, -1, before.module) if before else _File(-1, -1, None)


def _newest(files: Mapping[Path, _File]) -> dict[str, ModuleNames]:
    """By name; of a module that lies in several folders (dev and test) the one that was compiled last."""
    modules = {}
    for file in sorted(files.values(), key=lambda file: file.modified_ns):
        if file.module is not None:
            modules[file.module.name] = file.module
    return modules


def _load(path: Path) -> dict[Path, _File]:
    """What was kept; nothing where there is nothing, or it is damaged."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_text("utf-8"))
        if kept["format"] == _CACHE_FORMAT:
            return {Path(name): _file_from(row) for name, row in kept["files"].items()}
    return {}


def _file_from(row: list[Any]) -> _File:
    modified_ns, size, module = row
    if module is None:
        return _File(modified_ns, size, None)
    name, functions, macros, fields = module
    offered = [{key: tuple(values) for key, values in each.items()} for each in (functions, macros)]
    return _File(
        modified_ns, size, ModuleNames(name, offered[0], offered[1], None if fields is None else tuple(fields))
    )


def _save(path: Path, files: Mapping[Path, _File]) -> None:
    """A folder that cannot be written costs the next run a second, no more."""
    rows = {
        str(name): [
            file.modified_ns,
            file.size,
            module and [module.name, module.functions, module.macros, module.fields],
        ]
        for name, file in files.items()
        for module in [file.module]
    }
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        partial.write_text(json.dumps({"format": _CACHE_FORMAT, "files": rows}), "utf-8")
        partial.replace(path)
