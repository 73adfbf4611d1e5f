"""What a user can put right, as exceptions whose message says what was found, where, and the way out.

    ElixirCoderError                 exit code 2 in every script, printed as one line without a traceback
    ├── RecipeError                  a setting: misspelt, missing, or out of range
    ├── InputError                   text or a file handed to a command: empty, not UTF-8, too long, absent
    ├── DataError                    a corpus, shard or download that cannot be used
    │   └── CorruptArchiveError      an archive that is damaged or would write outside its folder
    ├── CheckpointError              a model folder: other architecture, truncated weights, vocabulary mismatch
    ├── TrainingError                a run that must stop: the loss is not a number, the disk is full
    ├── SandboxError                 no working sandbox, so code that is not trusted is not run
    └── MissingDependencyError       a program or an optional package that is not installed

A bug of ours is an `assert`, never one of these; a failing Elixir check is a finding, not an error.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType


class ElixirCoderError(Exception):
    """Base of everything the user can put right."""


class RecipeError(ElixirCoderError, ValueError):
    """A setting is misspelt, missing or out of range."""


class InputError(ElixirCoderError, ValueError):
    """Text or a file given to a command cannot be used."""


class DataError(ElixirCoderError):
    """A corpus, a shard or a download cannot be used."""


class CorruptArchiveError(DataError):
    """An archive is damaged, or one of its paths would leave the target folder."""


class CheckpointError(ElixirCoderError):
    """A model folder does not hold what it must."""


class TrainingError(ElixirCoderError):
    """A training run has to stop."""


class SandboxError(ElixirCoderError):
    """Code that is not trusted would have to run without a working sandbox."""


class MissingDependencyError(ElixirCoderError, ImportError):
    """A program or an optional package is not installed."""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or say which extra brings it.

    Raises MissingDependencyError naming the extra when `module` is not installed.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        top = module.partition(".")[0]
        raise MissingDependencyError(
            f"`{top}` is not installed; install it with: pip install 'elixir-coder[{extra}]'"
        ) from error


def exit_on_error(main: Callable[[], int | None]) -> int:
    """Run a script's `main`; print a user's error as one line on stderr and return exit code 2 for it."""
    try:
        return main() or 0
    except ElixirCoderError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()  # the reader (head, less) went away, which is its right
        return 0
