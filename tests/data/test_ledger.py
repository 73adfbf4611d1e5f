import json
import threading
from pathlib import Path

import pytest

from elixir_coder.data.collect import Plan, collect
from elixir_coder.data.project import NotWanted
from elixir_coder.data.shards import read_manifest, read_shards
from elixir_coder.data.source import Project, Reference
from elixir_coder.errors import DataError, InputError, MissingDependencyError
from tests.data.debian_archive import module

LICENCE = b"Permission is hereby granted, free of charge, to any person obtaining a copy"


class Shelf:
    """A source of numbered packages, some of which cannot be read, which counts what it is asked for."""

    name = "shelf"

    def __init__(
        self, num: int, failing: dict[str, Exception] | None = None, settings: dict[str, object] | None = None
    ):
        self.num, self.failing, self.asked = num, failing or {}, []
        self.settings = settings or {}
        self._lock = threading.Lock()

    def references(self):
        for number in range(self.num):
            yield Reference(key=f"p{number}-1.0", package=f"p{number}", version="1.0")

    def read(self, reference):
        with self._lock:
            self.asked.append(reference.package)
        if reference.package in self.failing:
            raise self.failing[reference.package]
        files = {"LICENSE": LICENCE, "lib/a.ex": module(reference.package.title()), "lib/same.ex": module("Same")}
        return Project(package=reference.package, version="1.0", files=files, url=f"https://host/o/{reference.package}")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def ledger(folder: Path) -> dict[str, dict[str, object]]:
    lines = (folder / "ledger.jsonl").read_text("utf-8").splitlines()
    return {line["package"]: line for line in map(json.loads, lines)}


def test_one_failure_stops_no_other_and_each_fate_is_recorded(tmp_path):
    failing = {"p3": DataError("cut off"), "p5": NotWanted("too few stars"), "p7": OSError("disk on fire")}

    report = collect(Shelf(9, failing), tmp_path, Plan(validation_packages=["p1"], test_packages=[]))

    assert report.fates == {"kept": 6, "failed": 2, "dropped": 1}
    assert report.warnings == ("p3-1.0: cut off; left out", "p7-1.0: disk on fire; left out")
    assert report.dropped == {"too few stars": 1, "duplicate": 5}
    fates = ledger(tmp_path)
    assert list(fates) == [f"p{number}" for number in range(9)]
    assert {name: (each["fate"], each["reason"]) for name, each in fates.items() if each["fate"] != "kept"} == {
        "p3": ("failed", "cut off"),
        "p5": ("dropped", "too few stars"),
        "p7": ("failed", "disk on fire"),
    }
    code = module("P0").decode() + module("Same").decode()
    assert (fates["p0"]["num_files"], fates["p0"]["num_examples"], fates["p0"]["num_bytes"]) == (2, 2, len(code))
    assert (fates["p1"]["licences"], fates["p1"]["dropped"]) == ({"MIT": 1}, {"duplicate": 1})
    assert fates["p1"]["url"] == "host/o/p1"
    assert "failed 2, kept 6" in str(report)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("concurrency", [2, 8])
def test_any_concurrency_writes_the_same_bytes(tmp_path, concurrency):
    collect(Shelf(12), tmp_path / "one", Plan(concurrency=1))
    collect(Shelf(12), tmp_path / "many", Plan(concurrency=concurrency))

    assert contents(tmp_path / "one") == contents(tmp_path / "many")


@pytest.mark.parametrize("concurrency", [1, 4])
def test_an_interrupted_collection_goes_on_without_reading_again(tmp_path, concurrency):
    collect(Shelf(12), tmp_path / "whole", Plan())
    with pytest.raises(KeyboardInterrupt):
        collect(Shelf(12, {"p8": KeyboardInterrupt()}), tmp_path / "cut", Plan(concurrency=concurrency))
    assert not list((tmp_path / "cut").glob("*.parquet"))
    lines = (tmp_path / "cut" / ".unfinished" / "ledger.jsonl").read_text("utf-8").splitlines(keepends=True)
    done = {json.loads(line)["package"] for line in lines[:-1]}
    # the power fails in the middle of a line
    (tmp_path / "cut" / ".unfinished" / "ledger.jsonl").write_text("".join(lines[:-1]) + lines[-1][:20])
    source = Shelf(12)

    collect(source, tmp_path / "cut", Plan(resume=True))

    assert len(done) >= 2
    assert done.isdisjoint(source.asked)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_what_failed_is_tried_again(tmp_path):
    failing = {"p2": DataError("cut off")}
    with pytest.raises(DataError, match=r"1 packages could not be read, the first: p2-1.0: cut off; .* --resume"):
        collect(Shelf(4, failing), tmp_path, Plan(strict=True))
    source = Shelf(4)

    report = collect(source, tmp_path, Plan(strict=True, resume=True))

    assert source.asked == ["p2"]
    assert report.fates == {"kept": 4}


def test_a_resume_with_other_settings_is_refused(tmp_path):
    with pytest.raises(DataError):
        collect(Shelf(2, {"p1": DataError("no")}, {"stars": 5}), tmp_path, Plan(strict=True))

    with pytest.raises(DataError, match=r"begun otherwise \(settings: \{'stars': 5\}, now \{'stars': 6\}\)"):
        collect(Shelf(2, settings={"stars": 6}), tmp_path, Plan(resume=True))
    with pytest.raises(DataError, match=r"begun otherwise \(with_guides: False, now True"):
        collect(Shelf(2, settings={"stars": 5}), tmp_path, Plan(resume=True, with_guides=True))
    collect(Shelf(2, settings={"stars": 6}), tmp_path, Plan())
    assert ledger(tmp_path).keys() == {"p0", "p1"}


def test_where_nothing_could_be_read_the_first_error_comes_through(tmp_path):
    failing = {f"p{number}": DataError(f"no {number}") for number in range(3)}

    with pytest.raises(DataError, match="no 0"):
        collect(Shelf(3, failing), tmp_path / "out", Plan())
    assert not (tmp_path / "out").exists()


def test_a_tool_that_is_not_installed_stops_everything(tmp_path):
    with pytest.raises(MissingDependencyError, match="no git"):
        collect(Shelf(3, {"p1": MissingDependencyError("no git")}), tmp_path / "out", Plan())


def test_packages_and_repositories_of_known_corpora_are_left_out(tmp_path):
    collect(Shelf(2), tmp_path / "first", Plan())

    class Renamed(Shelf):
        def read(self, reference):
            project = super().read(reference)
            url = "git@host:O/p0.git" if reference.package == "p2" else ""
            return Project(package=project.package, version="1.0", files=project.files, url=url)

    source = Renamed(4)
    report = collect(source, tmp_path / "second", Plan(known=[tmp_path / "first"]))

    assert sorted(source.asked) == ["p2", "p3"]
    assert report.dropped == {"package of a known corpus": 2, "repository of a known corpus": 1}
    assert {each.package for each in read_shards(tmp_path / "second")} == {"p3"}


def test_a_licence_that_the_source_states_gives_way_to_a_header_and_an_inner_licence(tmp_path):
    class Stated(Shelf):
        def read(self, reference):
            files = {
                "LICENSE": LICENCE,
                "lib/a.ex": module("A"),
                "lib/b.ex": b"# SPDX-License-Identifier: 0BSD\n" + module("B"),
                "vendor/x/LICENSE": b"Mozilla Public License Version 2.0",
                "vendor/x/c.ex": module("C"),
            }
            return Project(package="p0", version="1.0", files=files, licence="apache-2")

    collect(Stated(1), tmp_path, Plan())

    licences = {each.path: each.licence for each in read_shards(tmp_path)}
    assert licences == {"lib/a.ex": "Apache-2.0", "lib/b.ex": "0BSD", "vendor/x/c.ex": "MPL-2.0"}
    assert read_manifest(tmp_path)["licences"] == {"Apache-2.0": 1, "0BSD": 1, "MPL-2.0": 1}


def test_no_concurrency_at_all_is_refused():
    with pytest.raises(InputError, match="--concurrency must be 1 or more, got 0"):
        Plan(concurrency=0)
