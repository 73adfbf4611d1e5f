"""Ask Elixir's own parser whether texts are Elixir, many in one process.

Starting `elixir` costs a few hundred milliseconds, parsing a file about one, so texts are judged in batches. Texts are
parsed, never compiled or evaluated, and create no atoms (parse.exs).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from elixir_coder.errors import MissingDependencyError

_SCRIPT = Path(__file__).with_name("parse.exs")


@dataclass(frozen=True)
class ParseResult:
    """Whether a text is Elixir. Where it is not: the parser's message and the place, counted from 1, if it gave one."""

    ok: bool
    line: int | None = None
    column: int | None = None
    message: str = ""


def parse_all(texts: Sequence[str], *, timeout_s: float = 600) -> list[ParseResult]:
    """One result for each text, in order.

    Raises MissingDependencyError when there is no `elixir`, or one that does not work.
    """
    if not texts:
        return []
    lines = b"".join(b64encode(text.encode("utf-8", "surrogatepass")) + b"\n" for text in texts)
    answers = _run_elixir([str(_SCRIPT)], lines, timeout_s).splitlines()
    if len(answers) != len(texts):
        raise MissingDependencyError(f"`elixir` judged {len(answers)} of {len(texts)} texts and stopped; run it again")
    return [_result(answer) for answer in answers]


def elixir_version() -> str:
    """Of the `elixir` on the PATH, e.g. "1.14.0". Raises MissingDependencyError as `parse_all` does."""
    return _run_elixir(["--eval", "IO.puts(System.version())"], b"", timeout_s=60).strip()


def _result(answer: str) -> ParseResult:
    if answer == "ok":
        return ParseResult(ok=True)
    _, line, column, message = answer.split(" ")
    return ParseResult(False, int(line) or None, int(column) or None, b64decode(message).decode("utf-8", "replace"))


def _run_elixir(arguments: list[str], stdin: bytes, timeout_s: float) -> str:
    program = shutil.which("elixir")
    if program is None:
        raise MissingDependencyError(
            "parsing Elixir needs `elixir`, which is not on the PATH; install it with: apt install elixir"
        )
    environment = os.environ | {
        "LC_ALL": "C.UTF-8",  # without it the VM warns about the encoding of names
        "ELIXIR_ERL_OPTIONS": "+S 1:1",  # the work is one loop
        "ERL_CRASH_DUMP_SECONDS": "0",  # no erl_crash.dump in the user's folder
    }
    try:
        with tempfile.TemporaryFile() as file:  # through a pipe, in pieces of 512 bytes, the VM reads ten times slower
            file.write(stdin)
            file.seek(0)
            done = subprocess.run(
                [program, *arguments], stdin=file, capture_output=True, timeout=timeout_s, env=environment, check=True
            )
    except subprocess.TimeoutExpired:
        raise MissingDependencyError(f"`elixir` did not answer within {timeout_s:g} s; is the machine busy?") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip().splitlines()
        raise MissingDependencyError(
            f"`elixir` does not work ({said[0] if said else f'exit code {error.returncode}'}); "
            "reinstall it with: apt install --reinstall elixir"
        ) from None
    return done.stdout.decode("utf-8", "replace")
