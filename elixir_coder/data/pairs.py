"""Put code and its tests together: `elixir-coder data pair CORPUS --out DIR`.

Which module a test file is about, the most certain way first:

    module   `Shop.CartTest` is about `Shop.Cart`; so are `Shop.Cart.Test`, `ShopTest.Cart` and `Test.Shop.Cart`
    doctest  it says `doctest Shop.Cart`
    path     `test/shop/cart_test.exs` lies where `lib/shop/cart.ex` does, in an umbrella below the same application
    folder   Phoenix: `user_live_test.exs` is about what lies in `user_live/` (index.ex, show.ex), `user_html_test.exs`
             about the view beside it, and a test of `controllers/x` may be below `test/<app>_web` or not
    parent   `Shop.Cart.DiscountTest` is about `Shop.Cart` where there is no `Shop.Cart.Discount`
    calls    of the modules of its own package, the one that it calls, by name, more than all others together

The rest is reported as unmatched, by name in `DIR/unmatched.txt`. A pair never crosses packages, so it is in the split
of its package.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from elixir_coder.data.extract import is_code, is_test
from elixir_coder.example import Example
from elixir_coder.toolchain.facts import FactsReport, ModuleFacts
from elixir_coder.toolchain.toolchain import Toolchain

MAX_BYTES = 60_000  # of the code and of the tests: what is longer is no example of either
WAYS = ("module", "doctest", "path", "folder", "parent", "calls")
UNMATCHED = "unmatched.txt"
_PLACES = frozenset({"lib", "test", "src", "tests", "web"})
_MIN_CALLS = 3


@dataclass(frozen=True)
class _File:
    example: Example
    facts: FactsReport

    @property
    def modules(self) -> tuple[ModuleFacts, ...]:
        return self.facts.modules


class Pair:
    """The step: a job is all files of one version of a package; what comes of it are its pairs."""

    def __init__(self) -> None:
        self._toolchain = Toolchain(workers=1)

    def __call__(self, packages: list[list[Example]], dropped: Counter[str]) -> list[Example]:
        return [pair for package in packages for pair in self._pairs(package, dropped)]

    def close(self) -> None:
        self._toolchain.close()

    def _pairs(self, package: list[Example], dropped: Counter[str]) -> Iterator[Example]:
        reports = self._toolchain.map("facts", (example.code for example in package))
        files = [_File(example, report) for example, report in zip(package, reports, strict=True)]
        tests = [
            file for file in files if is_test(file.example.path) and any(m.tests or m.doctests for m in file.modules)
        ]
        tested = Tested([file for file in files if is_code(file.example.path) and file.modules])
        for test in tests:
            way, code = tested.by(test)
            if code is None:
                dropped["unmatched test"] += 1
            elif max(len(code.example.code), len(test.example.code)) > MAX_BYTES:
                dropped["pair too long"] += 1
            else:
                yield _pair(code, test, way)


class Tested:
    """The code of a package, found by what its tests say."""

    def __init__(self, files: Sequence[_File]):
        self._by_module: dict[str, _File] = {}
        self._by_place: dict[tuple[str, ...], _File] = {}
        self._by_folder: dict[tuple[str, ...], list[_File]] = defaultdict(list)
        for file in files:
            for module in file.modules:
                self._by_module.setdefault(module.name, file)
            place = place_of(file.example.path)
            self._by_place.setdefault(place, file)
            self._by_folder[place[:-1]].append(file)

    def by(self, test: _File) -> tuple[str, _File | None]:
        """The way a test file was matched, and the code it is about; ("", None) for neither."""
        for way in WAYS:
            if found := getattr(self, f"_by_{way}_of")(test):
                return way, found
        return "", None

    def _by_module_of(self, test: _File) -> _File | None:
        names = (
            name for module in test.modules if module.tests or module.doctests for name in names_of_tested(module.name)
        )
        return next((self._by_module[name] for name in names if name in self._by_module), None)

    def _by_doctest_of(self, test: _File) -> _File | None:
        named = (name for module in test.modules for name in module.doctests)
        return next((self._by_module[name] for name in named if name in self._by_module), None)

    def _by_path_of(self, test: _File) -> _File | None:
        place = _without_test(place_of(test.example.path))
        found = self._by_place.get(place)
        if not found and place[-2:-1] == place[-1:]:  # controller/controller_test.exs
            found = self._by_place.get(place[:-1])
        return found

    def _by_folder_of(self, test: _File) -> _File | None:
        place = _without_test(place_of(test.example.path))
        inside = sorted(self._by_folder.get(place, ()), key=lambda file: file.example.path)
        preferred = [file for file in inside if PurePosixPath(file.example.path).stem in ("index", place[-1])]
        if found := preferred or inside[:1]:
            return found[0]
        ends = [file for known, file in self._by_place.items() if len(place) > 1 and known[-2:] == place[-2:]]
        return ends[0] if len(ends) == 1 else None

    def _by_parent_of(self, test: _File) -> _File | None:
        for module in test.modules:
            for name in names_of_tested(module.name):
                parent = name.rpartition(".")[0]
                if "." in parent and parent in self._by_module:
                    return self._by_module[parent]
        return None

    def _by_calls_of(self, test: _File) -> _File | None:
        calls = itertools.chain(test.facts.calls, *(f.calls for module in test.modules for f in module.functions))
        called = Counter(call.module for call in calls if call.module in self._by_module)
        if not called:
            return None
        name, count = called.most_common(1)[0]
        return self._by_module[name] if count >= _MIN_CALLS and count * 2 > called.total() else None


def names_of_tested(name: str) -> list[str]:
    """What a test module's name says that it is about, the likeliest first."""
    parts = name.split(".")
    names = []
    if parts[-1].endswith("Test") and parts[-1] != "Test":
        names.append(".".join([*parts[:-1], parts[-1].removesuffix("Test")]))
    if parts[-1] in ("Test", "Tests") and len(parts) > 1:
        names.append(".".join(parts[:-1]))
    if parts[0] in ("Test", "Tests"):
        names.append(".".join(parts[1:]).removesuffix("Test"))
    for position, part in enumerate(parts[:-1]):
        if part.endswith("Test") and part != "Test":  # tests nested in the module of the tests
            names.append(".".join([*parts[:position], part.removesuffix("Test")]))
            names.append(
                ".".join([*parts[:position], part.removesuffix("Test"), *parts[position + 1 :]]).removesuffix("Test")
            )
    return [each for each in dict.fromkeys(names) if each]


def place_of(path: str) -> tuple[str, ...]:
    """A path without `lib`, `test` and the like and without its suffix, so that code and its tests have the same."""
    pure = PurePosixPath(path)
    return (*(part for part in pure.parts[:-1] if part not in _PLACES), pure.stem)


def type_of_tests(test: FactsReport) -> str:
    """What kind of tests a file holds, as `Example.test_type` says it."""
    uses = {name.rpartition(".")[2] for module in test.modules for name in (*module.uses, *module.imports)}
    if "LiveViewTest" in uses:
        return "liveview"
    if uses & {"ExUnitProperties", "PropCheck", "StreamData"}:
        return "property"
    if any(name.endswith("ConnCase") for name in uses) or "Conn" in uses:
        return "conn"
    if any(name.endswith(("DataCase", "RepoCase")) for name in uses):
        return "data_case"
    if all(not module.tests for module in test.modules):
        return "doctest"
    return "exunit"


def packages_of(examples: Iterator[Example]) -> Iterator[list[Example]]:
    """The files of a corpus, those of one version of a package together, as they stand together in the shards."""
    for _key, group in itertools.groupby(examples, key=lambda each: (each.package, each.version)):
        yield [each for each in group if each.kind == "file" and each.path.endswith((".ex", ".exs"))]


def _without_test(place: tuple[str, ...]) -> tuple[str, ...]:
    return (*place[:-1], place[-1].removesuffix("_test"))


def _pair(code: _File, test: _File, way: str) -> Example:
    return replace(
        code.example,
        kind="test_pair",
        name=code.modules[0].name,
        parent=code.example.sha256,
        tests=test.example.code,
        test_type=type_of_tests(test.facts),
        matched=way,
    )


def add_parser(subparsers: Any) -> None:
    """Add `pair` to the subcommands of `elixir-coder data`."""
    from elixir_coder.data.steps import add_step_arguments

    parser = subparsers.add_parser("pair", help="put code and its tests together")
    add_step_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """The command `data pair`."""
    from elixir_coder.data import shards
    from elixir_coder.data.steps import produce

    jobs = {split: Packages(args.corpus, split) for split in shards.splits_of(args.corpus)}
    settings = {"corpus": shards.read_manifest(args.corpus).get("splits"), "max_bytes": MAX_BYTES}
    report = produce(
        jobs,
        args.out,
        Pair,
        name="pair",
        settings=settings,
        workers=args.workers,
        resume=args.resume,
        batch_size=1,
        manifest=shards.read_manifest(args.corpus),
    )
    unmatched = unmatched_tests(args.corpus, args.out)
    (args.out / UNMATCHED).write_text("".join(f"{line}\n" for line in unmatched), encoding="utf-8")
    print(report)
    print(f"test files in no pair: {len(unmatched):,}, named in {args.out / UNMATCHED}")
    return 0


def unmatched_tests(corpus: Path, pairs: Path) -> list[str]:
    """The test files of a corpus that are in none of the pairs made of it, as "package version path"."""
    from elixir_coder.data import shards

    unmatched = []
    for split in shards.splits_of(corpus):
        has_pairs = split in shards.splits_of(pairs)
        paired = {_digest(pair.tests) for pair in shards.read_shards(pairs, split)} if has_pairs else set()
        unmatched += [
            f"{each.package} {each.version} {each.path}"
            for each in shards.read_shards(corpus, split)
            if is_test(each.path) and _digest(each.code) not in paired
        ]
    return unmatched


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


@dataclass(frozen=True)
class Packages:
    """The packages of one split of a corpus, read anew each time they are gone through."""

    corpus: Path
    split: str

    def __iter__(self) -> Iterator[list[Example]]:
        from elixir_coder.data import shards

        return packages_of(shards.read_shards(self.corpus, self.split))
