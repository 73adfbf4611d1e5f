"""Imports point one way, and the Hub files stand alone.

`violations(root)` reads every import of a checkout with `ast`, those inside functions too, without running any of it.
The rules are those of docs/ARCHITECTURE.md; each has a small bad tree below that must be caught.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

LAYERS = (  # each may import what stands before it, and its own kind
    "errors cache recipe example checkpoint"
    " toolchain ontology data tasks search generation training evaluation release serving cli"
).split()
HUB_PARTS = (
    *("configuration", "modeling", "runtime", "kernels", "generating"),  # these the package reaches through checkpoint
    *("tokenization", "grammar", "closing", "engine", "decoding"),
)
HUB_FILES = [f"{part}_elixir_coder" for part in HUB_PARTS] + ["handler"]
HUB_FILES_OF_PACKAGE = {f"{part}_elixir_coder" for part in HUB_PARTS[5:]}
HUB_LIBRARIES = {"torch", "transformers", "tokenizers", *sys.stdlib_module_names}
SCRIPTS = ("train", "eval")


class Import(NamedTuple):
    module: str  # as written, without leading dots
    names: tuple[str, ...]
    level: int  # number of leading dots
    line: int
    is_one_line: bool
    in_function: bool
    in_try: bool  # in the body or a handler
    in_handler: bool

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def violations(root: Path) -> list[str]:
    """Every broken rule of the checkout at `root`, as "path:line: what is wrong"."""
    files = {_module_name(path, root): path for path in sorted((root / "elixir_coder").rglob("*.py"))}
    scripts = {name: root / f"{name}.py" for name in (*SCRIPTS, *HUB_FILES) if (root / f"{name}.py").exists()}
    trees = {name: ast.parse(path.read_text("utf-8")) for name, path in (files | scripts).items()}
    imports = {name: list(imports_of(tree)) for name, tree in trees.items()}
    for name, path in files.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        imports[name] = [_absolute(each, package) for each in imports[name]]

    found = []
    for name, path in (files | scripts).items():
        if name in HUB_FILES:
            broken = _hub_violations(name, imports[name], trees[name], path.read_text("utf-8"))
        elif name in SCRIPTS:
            broken = _auto_classes(imports[name])
        else:
            broken = _package_violations(name, imports[name], set(files))
        found += [f"{path.relative_to(root)}:{line}: {what}" for line, what in broken]
    graph = {name: {to for each in imports[name] for to in _targets(each, set(files))} for name in files}
    return found + [f"import cycle: {' -> '.join(cycle)}" for cycle in _cycles(graph)]


def imports_of(tree: ast.Module) -> Iterator[Import]:
    """Every import of a file: statements, import_module or require of a literal name, and transformers.AutoX."""

    def walk(node: ast.AST, function: bool, in_try: bool, handler: bool) -> Iterator[Import]:
        one_line = getattr(node, "lineno", 0) == getattr(node, "end_lineno", 0)
        match node:
            case ast.Import():
                for alias in node.names:
                    yield Import(alias.name, (), 0, node.lineno, one_line, function, in_try, handler)
            case ast.ImportFrom():
                names = tuple(alias.name for alias in node.names)
                yield Import(node.module or "", names, node.level, node.lineno, one_line, function, in_try, handler)
            case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called), args=[ast.Constant(str(name)), *_]):
                if called in ("import_module", "require", "__import__"):
                    yield Import(name, (), 0, node.lineno, one_line, True, True, handler)
            case ast.Attribute(value=ast.Name(id="transformers"), attr=attribute):
                yield Import("transformers", (attribute,), 0, node.lineno, one_line, function, in_try, handler)
        function = function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        in_try = in_try or isinstance(node, ast.Try)
        handler = handler or isinstance(node, ast.ExceptHandler)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, function, in_try, handler)

    yield from walk(tree, False, False, False)


def _absolute(each: Import, package: str) -> Import:
    if not each.level:
        return each
    above = package.split(".")[: package.count(".") + 2 - each.level]
    return each._replace(module=".".join([*above, each.module]).removesuffix("."), level=0)


def _module_name(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def _layer(module: str) -> str:
    """The part of the package a module belongs to; "" for the package itself, which holds only its version."""
    part = [*module.split("."), ""][1]
    return "cli" if part == "__main__" else part


def _targets(each: Import, modules: set[str]) -> set[str]:
    """The modules of the package that an import reaches: `from elixir_coder.data import clean` is data.clean."""
    if each.top != "elixir_coder":
        return set()
    submodules = {f"{each.module}.{name}" for name in each.names} & modules
    return submodules if submodules and len(submodules) == len(each.names) else submodules | {each.module}


def _package_violations(name: str, imports: list[Import], modules: set[str]) -> Iterator[tuple[int, str]]:
    layer = _layer(name)
    if layer and layer not in LAYERS:
        yield 1, f"{layer} has no place in the layers; give it one in tests/test_layers.py and docs/ARCHITECTURE.md"
        return
    for each in imports:
        for other in {_layer(target) for target in _targets(each, modules)} & set(LAYERS):
            if not layer or LAYERS.index(other) > LAYERS.index(layer):
                yield each.line, f"{layer or 'the package itself'} imports {other}, which stands above it"
        if each.top in HUB_FILES and each.top not in HUB_FILES_OF_PACKAGE and layer != "checkpoint":
            yield each.line, f"imports {each.top}; model classes are reached through elixir_coder/checkpoint.py"
        if each.top in SCRIPTS:
            yield each.line, f"imports the script {each.top}.py"
    if layer != "checkpoint":
        yield from _auto_classes(imports)


def _auto_classes(imports: list[Import]) -> Iterator[tuple[int, str]]:
    for each in imports:
        for name in each.names:
            if each.top == "transformers" and re.match(r"Auto[A-Z]", name):
                yield each.line, f"takes {name}; only elixir_coder/checkpoint.py touches Auto classes"


def _cycles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """The cycles met on a walk in depth, each from the module that closes it."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> Iterator[list[str]]:
        if name in path:
            yield [*path[path.index(name) :], name]
        elif name not in done:
            for target in sorted(graph.get(name, ())):
                yield from visit(target, [*path, name])
            done.add(name)

    for name in graph:
        yield from visit(name, [])


_READ_AS_RELATIVE = re.compile(r"^\s*(?:from\s+\.\S*\s+import|import\s+\.\S+\s*$)", re.MULTILINE)  # by transformers


def _hub_violations(name: str, imports: list[Import], tree: ast.Module, text: str) -> Iterator[tuple[int, str]]:
    relative_lines = {each.line for each in imports if each.level}
    for match in _READ_AS_RELATIVE.finditer(text):
        line = 1 + text.count("\n", 0, match.end() - 1)
        if line not in relative_lines:
            yield line, "text that reads like a relative import, which transformers would try to follow"
    with_fallback = {
        sibling.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Try)
        for sibling in node.body
        if isinstance(sibling, ast.ImportFrom) and _has_fallback(sibling, node.handlers)
    }
    for each in imports:
        if each.level:
            if each.level > 1 or each.module not in HUB_FILES:
                yield each.line, "a relative import names a sibling Hub file: from .name_elixir_coder import X"
            elif not each.is_one_line:
                yield each.line, "a sibling is imported on one line, or transformers does not find it"
            elif each.line not in with_fallback:
                yield each.line, f"goes with `except ImportError: from {each.module} import` of the same names"
        elif each.top in HUB_FILES:
            if not each.in_handler:
                yield each.line, f"imports {each.top} absolutely; that is only the fallback of a relative import"
        elif each.top == "llguidance" and name.startswith("engine"):
            if not (each.in_function and each.in_try):  # transformers demands every library it sees outside a try
                yield each.line, "imports llguidance outside the function and the try that need it"
        elif each.top == "numpy" and name.startswith(("engine", "decoding", "generating")):
            pass  # transformers brings it; for masks that the engine fills, and steps too small for torch
        elif each.module == "__future__":
            if name.startswith("modeling") and "annotations" in each.names:
                yield each.line, "transformers reads a modeling file's annotations: no `annotations` from __future__"
        elif each.top not in HUB_LIBRARIES:
            yield each.line, f"a Hub file stands alone and may not import {each.top}"


def _has_fallback(sibling: ast.ImportFrom, handlers: list[ast.ExceptHandler]) -> bool:
    """Whether an `except ImportError` imports the same names without the dot."""
    twin = ast.unparse(sibling).replace("from .", "from ", 1)
    return any(
        handler.type is not None
        and ast.unparse(handler.type) == "ImportError"
        and twin in [ast.unparse(statement) for statement in handler.body]
        for handler in handlers
    )


# ----------------------------------------------------------------------------------------------------------- the tests


def test_this_checkout_keeps_its_layers():
    assert violations(ROOT) == []


def test_the_checker_sees_the_imports_of_this_checkout():
    tree = ast.parse((ROOT / "elixir_coder" / "recipe.py").read_text("utf-8"))
    assert "elixir_coder.errors" in {each.module for each in imports_of(tree)}


SIBLING = """
try:
    from .configuration_elixir_coder import A
except ImportError:
    from configuration_elixir_coder import A
"""

GOOD = {
    "elixir_coder/__init__.py": "__version__ = '1'\n",
    "elixir_coder/errors.py": "import sys\n",
    "elixir_coder/checkpoint.py": "def f():\n    from transformers import AutoConfig\n    import modeling_elixir_coder",
    "elixir_coder/data/__init__.py": "",
    "elixir_coder/data/clean.py": "from elixir_coder.errors import E\nfrom elixir_coder.data import dedup\n",
    "elixir_coder/data/dedup.py": "import tokenization_elixir_coder\nfrom ..errors import E\n",
    "elixir_coder/cli.py": "from elixir_coder import __version__\nfrom elixir_coder.data.clean import c\n",
    "train.py": "import modeling_elixir_coder\nfrom elixir_coder.data import clean\n",
    "configuration_elixir_coder.py": "import math\nfrom transformers import PretrainedConfig\n",
    "modeling_elixir_coder.py": "import torch\n" + SIBLING,
    "engine_elixir_coder.py": "def f():\n    try:\n        import llguidance\n    finally:\n        pass",
}

BAD = {
    "upwards": ("elixir_coder/errors.py", "from elixir_coder.data import clean\n", "errors imports data"),
    "upwards, inside a function": (
        "elixir_coder/data/dedup.py",
        "def f():\n    from elixir_coder.cli import main\n",
        "data imports cli",
    ),
    "upwards, by name": (
        "elixir_coder/errors.py",
        "import importlib\nimportlib.import_module('elixir_coder.cli')\n",
        "errors imports cli",
    ),
    "upwards, relative": ("elixir_coder/data/dedup.py", "from .. import cli\n", "data imports cli"),
    "upwards, from the package itself": ("elixir_coder/__init__.py", "import elixir_coder.errors\n", "imports errors"),
    "between the single modules": ("elixir_coder/errors.py", "import elixir_coder.checkpoint\n", "imports checkpoint"),
    "a cycle": ("elixir_coder/data/dedup.py", "def f():\n    from elixir_coder.data.clean import c\n", "import cycle"),
    "no layer": ("elixir_coder/utils.py", "", "utils has no place"),
    "Auto class": ("elixir_coder/cli.py", "from transformers import AutoModel\n", "takes AutoModel"),
    "Auto class, through the module": (
        "elixir_coder/cli.py",
        "import transformers\ntransformers.AutoModel\n",
        "takes AutoModel",
    ),
    "Auto class in a script": ("train.py", "from transformers import AutoTokenizer\n", "takes AutoTokenizer"),
    "model file": ("elixir_coder/cli.py", "import modeling_elixir_coder\n", "reached through"),
    "script": ("elixir_coder/cli.py", "import train\n", "imports the script"),
    "Hub file imports the package": (
        "modeling_elixir_coder.py",
        "import elixir_coder\n",
        "may not import elixir_coder",
    ),
    "Hub file imports another library": ("configuration_elixir_coder.py", "import numpy\n", "may not import numpy"),
    "Hub file, inside a function": ("modeling_elixir_coder.py", "def f():\n    import numpy\n", "may not import numpy"),
    "sibling without fallback": (
        "modeling_elixir_coder.py",
        "from .configuration_elixir_coder import A\n",
        "goes with `except ImportError",
    ),
    "fallback of other names": ("modeling_elixir_coder.py", SIBLING[:-2] + "B\n", "goes with `except ImportError"),
    "sibling over two lines": (
        "modeling_elixir_coder.py",
        SIBLING.replace(" import A\nexc", " import (\n        A)\nexc"),
        "on one line",
    ),
    "sibling as a module": (
        "modeling_elixir_coder.py",
        "from . import configuration_elixir_coder\n",
        "names a sibling",
    ),
    "dotted sibling": ("modeling_elixir_coder.py", "from .a.b import c\n", "names a sibling"),
    "sibling absolutely": (
        "modeling_elixir_coder.py",
        "import configuration_elixir_coder\n",
        "only the fallback of a relative import",
    ),
    "import in a docstring": (
        "modeling_elixir_coder.py",
        '"""Use it so:\n\n    from .somewhere import X\n"""\n',
        "reads like a relative import",
    ),
    "future annotations": ("modeling_elixir_coder.py", "from __future__ import annotations\n", "reads a modeling file"),
    "llguidance at the top": ("engine_elixir_coder.py", "import llguidance\n", "outside the function"),
    "llguidance outside a try": (
        "engine_elixir_coder.py",
        "def f():\n    import llguidance\n",
        "outside the function",
    ),
    "llguidance elsewhere": (
        "modeling_elixir_coder.py",
        "def f():\n    try:\n        import llguidance\n    except ImportError:\n        pass\n",
        "may not import llguidance",
    ),
}


def write_tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_a_tree_that_keeps_the_rules_has_no_violation(tmp_path):
    assert violations(write_tree(tmp_path, GOOD)) == []


@pytest.mark.parametrize("case", BAD)
def test_a_broken_rule_is_named_with_its_file(case, tmp_path):
    path, text, message = BAD[case]
    found = violations(write_tree(tmp_path, GOOD | {path: text}))
    assert any(message in each for each in found), found
    assert all(each.startswith((f"{path}:", "import cycle")) for each in found), found


@pytest.mark.parametrize("path", [ROOT / f"{name}.py" for name in HUB_FILES if (ROOT / f"{name}.py").exists()])
def test_transformers_finds_the_siblings_that_ast_finds(path):
    from transformers.dynamic_module_utils import get_imports, get_relative_imports

    tree = ast.parse(path.read_text("utf-8"))
    siblings = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level}
    assert set(get_relative_imports(path)) == siblings
    # numpy comes with transformers, which demands every library it sees
    assert set(get_imports(path)) <= {"torch", "transformers", "tokenizers", "numpy", *sys.stdlib_module_names}
