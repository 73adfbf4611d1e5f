"""`make matrix` picks the right releases, reads pytest's own report, and makes each release an environment."""

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from elixir_coder.errors import InputError
from tests import matrix

ROOT = Path(__file__).parents[1]
INDEX = ["5.23.0", "6.0.0rc1", "5.22.2", "5.9.0", "5.10.1", "5.10.0rc2", "4.57.0"]


@pytest.mark.parametrize(
    ("wanted", "pinned", "releases"),
    [
        ("transformers>=5.10", "5.22.2", ["5.10.1", "5.22.2", "5.23.0"]),
        ("transformers>=5.0", "5.23.0", ["5.9.0", "5.23.0"]),
        ("transformers>=5.23", "5.23.0", ["5.23.0"]),
    ],
)
def test_the_oldest_the_pinned_and_the_newest_release_are_run_once_each(wanted, pinned, releases):
    assert matrix.releases_to_run(INDEX, Requirement(wanted), pinned) == releases


def test_a_bound_that_no_release_meets_is_told():
    with pytest.raises(InputError, match="no release that transformers>=7 allows"):
        matrix.releases_to_run(INDEX, Requirement("transformers>=7"), "5.23.0")


def test_this_checkout_names_its_bound_and_its_pins():
    wanted, pins = matrix.requirement_and_pins(ROOT)
    assert wanted.name == "transformers"
    assert wanted.specifier.contains(pins["transformers"])
    assert set(matrix.RUNNER) <= set(pins)
    assert all((ROOT / path).exists() for path in matrix.TESTS)


def test_the_report_of_pytest_is_counted(tmp_path):
    (tmp_path / "test_of_each_kind.py").write_text(
        "import pytest\n"
        "@pytest.fixture\ndef broken(): raise OSError\n"
        "def test_that_passes(): pass\n"
        "def test_that_passes_too(): pass\n"
        "def test_that_fails(): assert False\n"
        "def test_without_its_fixture(broken): pass\n"
        "@pytest.mark.skip(reason='not here')\ndef test_left_out(): pass\n",
        encoding="utf-8",
    )
    (tmp_path / "test_that_cannot_be_imported.py").write_text("import nothing_of_that_name\n", encoding="utf-8")

    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "--continue-on-collection-errors", f"--junitxml={report}"]
    subprocess.run(command, cwd=tmp_path, capture_output=True)
    assert matrix.counts(report) == (2, 3, 1)
    assert matrix.counts(tmp_path / "none.xml") == (0, 0, 0)


def test_a_release_is_good_when_something_passed_and_nothing_failed():
    versions = {"transformers": "5.23.0"}
    assert matrix.Outcome(versions, passed=1, skipped=2).is_good
    assert not matrix.Outcome(versions, passed=9, failed=1).is_good
    assert not matrix.Outcome(versions).is_good


def test_the_table_names_release_counts_and_machine():
    outcomes = [
        matrix.Outcome({"transformers": "5.15.0"}),
        matrix.Outcome({"transformers": "5.23.0", "tokenizers": "0.23.3", "huggingface_hub": "2.4.0"}, 900, 1, 2),
    ]
    assert list(matrix.table(outcomes, "5.23.0", date(2030, 1, 2), "A Processor")) == [
        "| transformers | tokenizers | huggingface_hub | passed | failed | skipped |",
        "|---|---|---|---:|---:|---:|",
        "| 5.15.0 |  |  | did not run |  |  |",
        "| 5.23.0 (pinned) | 0.23.3 | 2.4.0 | 900 | 1 | 2 |",
        "",
        "Measured on 2030-01-02 with `make matrix` on A Processor.",
    ]


def test_the_table_goes_on_every_page_that_has_a_place_for_it(tmp_path):
    page, other = tmp_path / "page.md", tmp_path / "other.md"
    page.write_text("before\n<!-- matrix:start -->\nold\n<!-- matrix:end -->\nafter\n", encoding="utf-8")
    other.write_text("nothing here\n", encoding="utf-8")
    assert matrix.write_table([page, other], ["| new |"]) == [page]
    assert page.read_text("utf-8") == "before\n<!-- matrix:start -->\n| new |\n<!-- matrix:end -->\nafter\n"
    with pytest.raises(InputError, match="no page has the lines <!-- matrix:start -->"):
        matrix.write_table([other], ["| new |"])


def test_docs_hold_a_place_for_the_table_and_its_figures():
    text = (ROOT / "docs" / "MATRIX.md").read_text("utf-8")
    start, end = text.index("<!-- matrix:start -->"), text.index("<!-- matrix:end -->")
    assert "with `make matrix` on" in text[start:end]


def test_an_environment_imports_its_own_packages_first_and_ours_after_them(tmp_path):
    ours = sorted(Path(sys.prefix).glob("lib/python3*/site-packages/*"))
    python = matrix.make_environment(tmp_path / "release", [])
    (packages,) = (tmp_path / "release").glob("lib/python3*/site-packages")
    (packages / "packaging.py").write_text("is_its_own = True\n", encoding="utf-8")
    ask = "import json, packaging, torch; print(json.dumps([packaging.is_its_own, torch.__file__]))"
    done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True)
    is_its_own, path = json.loads(done.stdout)
    assert is_its_own
    assert Path(path) == Path(torch.__file__)
    assert sorted(Path(sys.prefix).glob("lib/python3*/site-packages/*")) == ours


@pytest.mark.network
def test_a_release_from_the_index_runs_the_tests(tmp_path):
    pinned = matrix.requirement_and_pins(ROOT)[1]
    assert pinned["transformers"] in matrix.releases_on_the_index()
    names = ("transformers", *matrix.RUNNER)
    python = matrix.make_environment(tmp_path / "release", [f"{name}=={pinned[name]}" for name in names])
    outcome = matrix.run_tests(python, ["tests/test_configuration.py"], tmp_path / "report.xml")
    assert outcome.versions["transformers"] == pinned["transformers"]
    assert outcome.is_good
