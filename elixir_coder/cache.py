"""Where what can be made again is kept from one run to the next: the one place that knows the user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(*names: str) -> Path:
    """`$XDG_CACHE_HOME/elixir-coder/...`, or below ~/.cache; not created. A user without a home has "~" in the current
    folder.

    Specification: https://specifications.freedesktop.org/basedir-spec/latest/
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base, "elixir-coder", *names)
