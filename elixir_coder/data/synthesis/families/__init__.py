"""The families of exercises: each module of this package has `FAMILIES`, from a family's name to its function."""

from __future__ import annotations

import importlib
import pkgutil

from elixir_coder.data.synthesis.draft import Family


def all_families() -> dict[str, Family]:
    """Every family by its name, in the order of their names."""
    families: dict[str, Family] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        for name, family in importlib.import_module(f"{__name__}.{module.name}").FAMILIES.items():
            assert name not in families, f"two families are called {name}"
            families[name] = family
    return dict(sorted(families.items()))
