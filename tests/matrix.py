"""Run the tests of the Hub files on other releases of transformers, and write the table of what passed.

    make matrix                                   the oldest release that setup.cfg allows, the pinned one, the newest
    python tests/matrix.py --versions 5.20.2      these

Each release gets a virtual environment under build/matrix, kept for the next time, with transformers, what it requires
and the test runner. torch and all else come from the environment this runs in: its packages are put behind the new ones
on the path, once pip is done there, so that pip never touches them. The table goes between `<!-- matrix:start -->` and
`<!-- matrix:end -->` of docs/MATRIX.md, and of the README where it has these lines. Exit code 1 when a release fails.

It stands beside the tests, not in the package, because an installed package has no tests to run.
"""

from __future__ import annotations

import argparse
import configparser
import json
import os
import subprocess
import sys
import sysconfig
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from elixir_coder.errors import InputError, exit_on_error
from elixir_coder.evaluation.report import machine, write_whole
from elixir_coder.release.card import between_markers

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "docs" / "MATRIX.md", ROOT / "README.md")
TESTS = [f"tests/test_{name}.py" for name in ("configuration", "modeling", "tokenization", "hub_folder")]
RUNNER = ("pytest", "hypothesis", "numpy")  # at the pinned versions; numpy, because torch is built against one


@dataclass(frozen=True)
class Outcome:
    """What the tests said on one release; all counts are 0 when it could not be installed or no test could start."""

    versions: dict[str, str]  # of transformers and of what else is its own
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def is_good(self) -> bool:
        return self.passed > 0 and self.failed == 0


def releases_to_run(available: Iterable[str], wanted: Requirement, pinned: str) -> list[str]:
    """The oldest release that a requirement allows, the pinned one and the newest, oldest first, none twice.

    Raises InputError when the index has none that is allowed.
    """
    releases = [version for version in map(Version, available) if not version.is_prerelease]
    allowed = sorted(version for version in releases if version in wanted.specifier)
    if not allowed:
        raise InputError(f"the package index has no release that {wanted} allows")
    return [str(version) for version in sorted({allowed[0], Version(pinned), allowed[-1]})]


def requirement_and_pins(root: Path) -> tuple[Requirement, dict[str, str]]:
    """What setup.cfg asks of transformers, and the version that constraints.txt names for each package."""
    setup = configparser.ConfigParser()
    setup.read(root / "setup.cfg", encoding="utf-8")
    lines = [line.partition("#")[0].strip() for line in setup["options"]["install_requires"].splitlines()]
    (wanted,) = [each for each in map(Requirement, filter(None, lines)) if each.name == "transformers"]
    pins = [line.partition("#")[0].strip() for line in (root / "constraints.txt").read_text("utf-8").splitlines()]
    return wanted, dict(pin.split("==") for pin in pins if pin)


def releases_on_the_index() -> list[str]:
    """Every release of transformers that pip finds. Raises InputError when it finds no index."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "index", "versions", "transformers", "--json", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise InputError(f"pip cannot list the releases; name some with --versions: {done.stderr.splitlines()[-1]}")
    return json.loads(done.stdout)["versions"]


def make_environment(folder: Path, requirements: list[str]) -> Path:
    """A virtual environment with these packages, before those of the one this runs in; its Python.

    Raises InputError when pip cannot install them.
    """
    python = folder / "bin" / "python"
    (stamp := folder / ".installed").parent.mkdir(parents=True, exist_ok=True)
    if stamp.exists() and stamp.read_text("utf-8").split() == requirements:
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "--disable-pip-version-check", "install"]
    if requirements and (done := subprocess.run([*pip, *requirements], stderr=subprocess.PIPE, text=True)).returncode:
        raise InputError(f"pip cannot install {' '.join(requirements)}: {done.stderr.splitlines()[-1]}")
    # Only now: what stands here is imported after what was installed, and pip never saw it.
    for packages in folder.glob("lib/python3*/site-packages"):
        (packages / "behind.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
    stamp.write_text("\n".join(requirements), encoding="utf-8")
    return python


def run_tests(python: Path, tests: list[str], report: Path) -> Outcome:
    """The tests of this checkout with another Python, shown as they run."""
    report.unlink(missing_ok=True)
    names = "transformers", "tokenizers", "huggingface_hub"
    ask = f"import json, importlib.metadata as m; print(json.dumps({{n: m.version(n) for n in {names}}}))"
    versions = json.loads(subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout)
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return Outcome(versions, *counts(report))


def counts(report: Path) -> tuple[int, int, int]:
    """Passed, failed and skipped of a JUnit report; a test that could not be set up or collected has failed."""
    if not report.exists():  # pytest itself did not come that far
        return 0, 0, 0
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    ran, failed, broken, skipped = (
        sum(int(suite.get(name, 0)) for suite in suites) for name in ("tests", "failures", "errors", "skipped")
    )
    return ran - failed - broken - skipped, failed + broken, skipped


def table(outcomes: list[Outcome], pinned: str, on: date, where: str) -> Iterator[str]:
    """The lines between the markers."""
    yield "| transformers | tokenizers | huggingface_hub | passed | failed | skipped |"
    yield "|---|---|---|---:|---:|---:|"
    for outcome in outcomes:
        release = outcome.versions["transformers"]
        kind = " (pinned)" if release == pinned else ""
        if outcome.passed + outcome.failed + outcome.skipped:
            numbers = f"{outcome.passed} | {outcome.failed} | {outcome.skipped}"
        else:
            numbers = "did not run |  | "
        others = " | ".join(outcome.versions.get(name, "") for name in ("tokenizers", "huggingface_hub"))
        yield f"| {release}{kind} | {others} | {numbers} |"
    yield ""
    yield f"Measured on {on} with `make matrix` on {where}."


def write_table(pages: Iterable[Path], lines: Iterable[str]) -> list[Path]:
    """Put the table on every page that has its markers, and return these. Raises InputError when none has."""
    text, written = "\n".join(lines), []
    for page in pages:
        before = page.read_bytes().decode("utf-8")
        if "<!-- matrix:start -->" in before:
            write_whole(page, between_markers(before, "matrix", text))
            written.append(page)
    if not written:
        raise InputError("no page has the lines <!-- matrix:start --> and <!-- matrix:end --> for the table")
    return written


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the tests of the Hub files on other releases of transformers.")
    parser.add_argument("--versions", nargs="+", help="releases to run (default: oldest allowed, pinned, newest)")
    parser.add_argument("--tests", nargs="+", default=TESTS, help="test files (default: those of the Hub files)")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "matrix", help="where environments are kept")
    parser.add_argument("--pages", nargs="*", type=Path, default=PAGES, help="pages to write the table on")
    args = parser.parse_args()
    wanted, pins = requirement_and_pins(ROOT)
    outcomes = []
    for release in args.versions or releases_to_run(releases_on_the_index(), wanted, pins["transformers"]):
        print(f"== transformers {release}", flush=True)
        requirements = [f"transformers=={release}", *(f"{name}=={pins[name]}" for name in RUNNER)]
        try:
            python = make_environment(args.folder / release, requirements)
            outcomes.append(run_tests(python, args.tests, args.folder / f"{release}.xml"))
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            outcomes.append(Outcome({"transformers": release}))
    where = f"{machine('cpu', 1)}, Python {sys.version.split()[0]}, torch {_torch_version()}"
    lines = list(table(outcomes, pins["transformers"], date.today(), where))
    print("\n".join(lines))
    if args.pages:
        write_table(args.pages, lines)
    return int(not all(outcome.is_good for outcome in outcomes))


def _torch_version() -> str:
    import torch

    return torch.__version__


if __name__ == "__main__":
    sys.exit(exit_on_error(main))
