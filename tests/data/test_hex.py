import argparse
import concurrent.futures
import contextlib
import datetime
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from elixir_coder.data.collect import Plan, collect
from elixir_coder.data.hex import HexSource, Quality, Thresholds, add_arguments, source_of
from elixir_coder.data.source import Reference
from elixir_coder.errors import DataError, InputError, RecipeError
from tests.data.hex_server import (
    CODE,
    FILES,
    MIX,
    HexServer,
    cut,
    for_ever,
    no_answer,
    package_list,
    private_pem,
    protobuf,
    public_pem,
    settings,
    signed,
    status,
    tarball,
    wrong_length,
)

TODAY = datetime.date(2026, 11, 1)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with contextlib.closing(HexServer()) as server:
        yield server


@pytest.fixture
def source_for(tmp_path):
    """Make a source of a server; all are closed at the end."""
    with contextlib.ExitStack() as sources:

        def make(server, **options):
            changes = {name: options.pop(name) for name in ("attempts", "is_offline") if name in options}
            options = {"repository": "acme", "public_key": public_pem(), "as_of": TODAY} | options
            source = HexSource(settings(server, **changes), cache=tmp_path / "cache", **options)
            return sources.enter_context(contextlib.closing(source))

        yield make


def keys(source):
    return [reference.key for reference in source.references()]


def read_all(source):
    """What became of each release: the project, or the text of the error."""

    def fate(reference):
        try:
            return source.read(reference)
        except DataError as error:
            return f"{type(error).__name__}: {error}"

    return {reference.key: fate(reference) for reference in source.references()}


def test_a_registry_is_read_from_list_to_files(server, source_for):
    big = b"# " + b"x" * 1_000_000
    others = {
        "README.md": b"# Demo",
        "guides/a.md": b"# A",
        "priv/x.so": b"\x7fELF",
        "LICENSE": b"text",
        "lib/b.ex": big,
    }
    server.publish("demo", "1.0.0", FILES | others)
    source = source_for(server)
    (reference,) = source.references()
    assert (reference.key, reference.package, reference.version) == ("demo-1.0.0", "demo", "1.0.0")
    project = source.read(reference)
    assert (project.package, project.version, project.licence) == ("demo", "1.0.0", "Apache-2.0")
    assert project.url == "https://github.com/acme/demo"
    assert project.files == {"lib/demo.ex": CODE, "mix.exs": MIX, "README.md": b"# Demo", "LICENSE": b"text"}
    assert project.dropped == {"too large": 1}
    with_guides = source_for(server, suffixes={".md"})
    assert set(with_guides.read(reference).files) == {"mix.exs", "README.md", "guides/a.md", "LICENSE"}


def test_licences_come_out_as_spdx_or_are_left_to_the_files(server, source_for):
    server.publish("both", licenses=["Apache 2.0", "MIT"])
    server.publish("closed", licenses=["Proprietary"])
    server.publish("silent", licenses=[])
    fates = read_all(source_for(server))
    assert [project.licence for project in fates.values()] == ["Apache-2.0 and MIT", "Proprietary", None]


@pytest.mark.parametrize("with_api", [True, False])
def test_the_newest_stable_release_is_taken_or_all(server, source_for, with_api):
    for version in ("1.2.0", "1.10.0", "2.0.0-rc.1", "1.9.0"):
        server.publish("demo", version)
    server.publish("demo", "1.11.0", is_retired=True)
    server.publish("early", "0.1.0-dev")
    server.publish("gone", "1.0.0", is_retired=True)
    source = source_for(server, with_api=with_api)
    assert keys(source) == ["demo-1.10.0", "early-0.1.0-dev"]
    assert source.dropped == {"lack of a release that is not retired": 1}
    assert keys(source_for(server, with_api=with_api, releases="all")) == [
        *("demo-2.0.0-rc.1", "demo-1.10.0", "demo-1.9.0", "demo-1.2.0"),
        "early-0.1.0-dev",
    ]


def test_the_api_and_the_signed_lists_name_the_same_releases(server, source_for):
    for number in range(7):
        server.publish(f"p{number}", "1.0.0")
    assert keys(source_for(server)) == keys(source_for(server, with_api=False)) == [f"p{n}-1.0.0" for n in range(7)]


def test_order_and_limit_are_the_callers(server, source_for):
    for name, recent in (("a", 1), ("b", 3), ("c", 2)):
        server.publish(name, recent=recent)
    assert keys(source_for(server, sort="recent_downloads", limit=2)) == ["b-1.0.0", "c-1.0.0"]
    assert keys(source_for(server, search="c")) == ["c-1.0.0"]


def test_named_packages_are_taken_in_the_order_named(server, source_for):
    for name in ("a", "b"):
        server.publish(name, "1.0.0")
        server.publish(name, "2.0.0", is_retired=True)
    for with_api in (True, False):
        assert keys(source_for(server, names=["b", "a@2.0.0", "b"], with_api=with_api)) == ["b-1.0.0", "a-2.0.0"]


@pytest.mark.parametrize("with_api", [True, False])
def test_a_name_that_is_not_there_is_an_error_with_a_guess(server, source_for, with_api):
    server.publish("phoenix")
    with pytest.raises(InputError, match=r"phenix is not in the registry .*; did you mean phoenix\?"):
        keys(source_for(server, names=["phenix"], with_api=with_api))
    with pytest.raises(InputError, match=r"phoenix@9\.9\.9 is not in the registry .no release 9\.9\.9"):
        keys(source_for(server, names=["phoenix@9.9.9"], with_api=with_api))


def test_the_signed_lists_stand_in_for_an_api_that_is_down(server, source_for):
    server.publish("demo")
    server.faults["/api/packages"] = for_ever(status(503))
    source = source_for(server, attempts=1)
    assert keys(source) == ["demo-1.0.0"]
    assert ["the registry's own lists were read instead" in warning for warning in source.warnings] == [True]
    with pytest.raises(DataError, match="status 503"):
        keys(source_for(server, attempts=1, thresholds=Thresholds(min_downloads=1)))


def test_thresholds_leave_out_and_count_without_a_download(server, source_for):
    server.publish("good", downloads=5000, recent=90_000, inserted_at="2026-10-01T00:00:00Z")
    server.publish("small", downloads=10, inserted_at="2026-10-01T00:00:00Z")
    server.publish("old", downloads=5000, inserted_at="2019-10-01T00:00:00Z")
    server.publish("bare", downloads=5000, inserted_at="2026-01-01T00:00:00Z", has_docs=False)
    source = source_for(server, thresholds=Thresholds(min_downloads=1000, max_age_days=365, min_score=0.6))
    (reference,) = source.references()
    assert reference.package == "good"
    assert source.dropped == {"fewer than 1000 downloads": 1, "an age above 365 days": 1, "a score below 0.6": 1}
    assert not any("/repo/" in path for path in server.paths())


def test_the_score_is_the_sum_of_its_parts():
    best = Quality(tests=1.0, docs=1.0, downloads=1.0, recency=1.0)
    assert best.score == pytest.approx(1)
    assert Quality(tests=0.0, docs=0.0, downloads=0.0, recency=0.0).score == 0
    part = Quality(tests=0.0, docs=1.0, downloads=0.5, recency=0.25)
    assert part.score == pytest.approx(0.2 + 0.15 + 0.05)
    assert str(part) == "0.40 (tests 0.00, docs 1.00, downloads 0.50, recency 0.25)"
    unread = Quality(docs=1.0, downloads=0.5, recency=0.25)
    assert unread.score == pytest.approx(part.score + 0.3)  # the best that it can still be
    assert "tests not known" in str(unread)


def test_a_reference_says_what_the_api_promised(server, source_for):
    server.publish("demo", downloads=7, recent=99_999, inserted_at="2024-11-01T00:00:00Z")
    server.packages["demo"]["meta"]["links"] = {"Source": "https://github.com/acme/demo.git"}
    (reference,) = source_for(server).references()
    assert reference.quality.downloads == pytest.approx(1)
    assert reference.quality.recency == pytest.approx(0.5)  # two years before TODAY
    assert (reference.quality.docs, reference.quality.tests) == (1.0, None)
    assert (reference.score, reference.downloads) == (0.9, 7)
    assert reference.parts == "0.90 (tests not known, docs 1.00, downloads 1.00, recency 0.50)"
    assert reference.url == "https://github.com/acme/demo"


def test_tests_are_looked_for_when_the_package_is_read(server, source_for):
    tests = {"test/demo_test.exs": b"", "test/support/case.ex": b""}
    server.publish("tested", files=FILES | tests, recent=99_999, inserted_at="2026-11-01T00:00:00Z")
    server.publish("untested", recent=99_999, inserted_at="2026-11-01T00:00:00Z")
    source = source_for(server, thresholds=Thresholds(min_score=0.8))
    fates = read_all(source)
    assert "test/demo_test.exs" in fates["tested-1.0.0"].files
    assert fates["untested-1.0.0"] == "NotWanted: a score below 0.8"


def test_what_mix_does_not_build_is_set_aside(server, source_for):
    server.publish("cowboy", build_tools=["make", "rebar3"])
    source = source_for(server)
    assert read_all(source) == {"cowboy-1.0.0": "NotWanted: not built by mix"}
    anyway = source_for(server, thresholds=Thresholds(is_elixir=False))
    assert anyway.read(next(anyway.references())).files == FILES


TARBALL = "/repo/tarballs/bad-1.0.0.tar"
LIST = "/repo/packages/bad"


def _serve(path, content):
    return lambda server: server.bodies.update({path: content})


def _publish(content):
    return lambda server: server.publish("bad", content=content)


def _fault(path, fault):
    return lambda server: server.faults.update({path: for_ever(fault)})


SPOILED = {
    "status 503 for ever": (_fault(TARBALL, status(503)), "DataError: bad 1.0.0: .*status 503, 2 times in a row"),
    "status 429 for ever": (_fault(TARBALL, status(429)), "DataError: bad 1.0.0: .*status 429"),
    "wait of a day": (_fault(LIST, status(429, retry_after="86400")), "DataError: bad 1.0.0: .*asks to wait"),
    "cut for ever": (_fault(TARBALL, cut(600)), "DataError: bad 1.0.0: .*2 times in a row"),
    "no answer": (_fault(TARBALL, no_answer), "DataError: bad 1.0.0: .*disconnected"),
    "length too short": (_fault(TARBALL, wrong_length(-512)), "CorruptArchiveError: bad 1.0.0: .*outer checksum"),
    "not there": (_fault(TARBALL, status(404)), "NotFoundError: bad 1.0.0: .*not there"),
    "outer checksum": (
        _serve(TARBALL, tarball("bad", files={})),
        "CorruptArchiveError: bad 1.0.0: .*the outer checksum",
    ),
    "inner checksum": (
        _publish(tarball("bad", checksum=b"0" * 64)),
        "CorruptArchiveError: bad 1.0.0: the inner checksum",
    ),
    "inner checksum of an old list": (
        _serve(LIST, signed(protobuf((1, protobuf((1, "1.0.0"), (2, bytes(32)))), (2, "bad"), (3, "acme")))),
        "CorruptArchiveError: bad 1.0.0: the inner checksum is not the one that the registry has",
    ),
    "signature": (
        _serve(LIST, package_list("bad", [], key="x")),
        "DataError: bad 1.0.0: .*the signature does not fit",
    ),
    "package": (_serve(LIST, package_list("demo", [])), "DataError: bad 1.0.0: .*signed as the list of 'demo'"),
    "repository": (
        _serve(LIST, package_list("bad", [], "x")),
        "DataError: bad 1.0.0: .*signed for the repository 'x'",
    ),
    "release gone": (_serve(LIST, package_list("bad", [])), "NotFoundError: bad 1.0.0: no release 1.0.0"),
    "says another name": (
        _publish(tarball("demo")),
        "CorruptArchiveError: bad 1.0.0: the tarball says that it is demo",
    ),
    "escape": (
        _publish(tarball("bad", files={"../x.ex": CODE})),
        "CorruptArchiveError: bad 1.0.0: the path '../x.ex'",
    ),
    "no terms": (
        _publish(tarball("bad", meta=b"fun() -> 1.")),
        "CorruptArchiveError: bad 1.0.0: metadata.config, line 1",
    ),
    "huge metadata": (
        _publish(tarball("bad", description="x" * 3_000_000)),
        "CorruptArchiveError: bad 1.0.0: metadata.config has 30.* bytes",
    ),
    "no tarball": (_publish(b"<html>"), "CorruptArchiveError: bad 1.0.0: damaged archive"),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_package_that_goes_wrong_stops_no_other(server, source_for, how, tmp_path):
    spoil, complaint = SPOILED[how]
    server.publish("also")
    server.publish("bad")
    server.publish("demo")
    spoil(server)
    fates = read_all(source_for(server, attempts=2))
    assert list(fates) == ["also-1.0.0", "bad-1.0.0", "demo-1.0.0"]
    assert fates["also-1.0.0"].files == fates["demo-1.0.0"].files == FILES
    assert re.match(complaint, fates["bad-1.0.0"]), fates["bad-1.0.0"]
    assert not list((tmp_path / "cache").rglob(".partial-*"))


def test_a_package_that_cannot_be_looked_up_is_read_later(server, source_for):
    """Its reference has no version; reading it tries again, and says why when that fails too."""
    for name in ("a", "b", "c"):
        server.publish(name, "1.5.0", downloads=10)
    server.faults["/api/packages/b"] = iter([status(503)] * 2)
    server.faults["/api/packages/c"] = for_ever(status(503))
    source = source_for(server, names=["a", "b", "c"], attempts=1, thresholds=Thresholds(min_downloads=1))
    assert [(r.key, r.version) for r in source.references()] == [("a-1.5.0", "1.5.0"), ("b", ""), ("c", "")]
    fates = read_all(source)
    assert fates["b"].version == "1.5.0"
    assert fates["c"].startswith("DataError: c: ") and "status 503" in fates["c"]


def test_a_plain_reference_is_checked_against_the_thresholds_too(server, source_for):
    server.publish("demo", downloads=1)
    source = source_for(server, thresholds=Thresholds(min_downloads=100))
    with pytest.raises(DataError, match="below a threshold"):
        source.read(Reference(key="x", package="demo", version="1.0.0"))


def test_many_threads_read_what_one_reads(server, source_for):
    for number in range(24):
        server.publish(f"p{number}", "1.0.0", {"lib/a.ex": CODE * number, "mix.exs": MIX})
    server.faults["/repo/tarballs/p3-1.0.0.tar"] = iter([status(503), cut(600)])
    one, many = source_for(server), source_for(server)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(many.read, many.references()))
    assert together == [one.read(reference) for reference in one.references()]
    assert server.most_at_once > 1


def test_a_second_run_downloads_nothing_and_needs_nobody(server, source_for):
    for number in range(3):
        server.publish(f"p{number}")
    first = read_all(source_for(server))
    server.requests.clear()
    assert read_all(source_for(server)) == first
    assert not any("/tarballs/" in path for path in server.paths())
    assert all("if-none-match" in headers for _, headers, _ in server.requests)
    server.requests.clear()
    assert read_all(source_for(server, is_offline=True)) == first
    assert server.requests == []


def test_a_collection_says_what_became_of_each_package(server, source_for, tmp_path):
    for number in range(3):
        code = {f"lib/m{n}.ex": f"defmodule P{number}.M{n} do\n  def a, do: {n}\nend\n".encode() for n in range(9)}
        server.publish(f"p{number}", "1.0.0", code, downloads=5)
    server.publish("cowboy", build_tools=["rebar3"], downloads=5)
    server.publish("bad", downloads=5)
    server.publish("rare")
    server.faults[TARBALL] = for_ever(status(503))
    source = source_for(server, attempts=1, thresholds=Thresholds(min_downloads=5))
    report = collect(source, tmp_path / "corpus", Plan(progress=False, concurrency=4))
    lines = map(json.loads, (tmp_path / "corpus" / "ledger.jsonl").read_text().splitlines())
    fates = {line["key"]: (line["fate"], line["num_examples"], line["more"].get("downloads")) for line in lines}
    assert fates == {
        "bad-1.0.0": ("failed", 0, 5),
        "cowboy-1.0.0": ("dropped", 0, 5),
        **{f"p{number}-1.0.0": ("kept", 9, 5) for number in range(3)},
    }
    assert report.dropped["not built by mix"] == 1
    left_out, failed = report.warnings
    assert left_out == "left out for fewer than 5 downloads: 1"
    assert failed.startswith("bad-1.0.0: bad 1.0.0: ") and "status 503" in failed


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"sort": "stars"}, "--sort must be one of name, recent_downloads"),
        ({"releases": "some"}, "--releases must be one of newest, all"),
        ({"limit": 0}, "--limit must be above 0"),
        ({"names": ["a"], "search": "b"}, "give one of them"),
        ({"with_api": False, "sort": "updated_at"}, "need the registry's API"),
        ({"with_api": False, "thresholds": Thresholds(min_downloads=1)}, "need the registry's API"),
        ({"public_key": None}, "no public key for the repository 'acme'"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(server, source_for, options, complaint):
    with pytest.raises((RecipeError, InputError), match=complaint):
        source_for(server, **options)


@pytest.mark.parametrize("bad", [{"min_score": 1.1}, {"min_downloads": -1}, {"max_age_days": -1}])
def test_thresholds_out_of_range_are_refused(bad):
    with pytest.raises(RecipeError, match=f"--{next(iter(bad))} must"):
        Thresholds(**bad)


@pytest.fixture
def source_by(server, tmp_path, monkeypatch):
    """A source as the command line makes it."""
    for name in [name for name in os.environ if name.startswith("HEX_")]:
        monkeypatch.delenv(name)
    (tmp_path / "key.pem").write_bytes(public_pem())
    with contextlib.ExitStack() as sources:

        def make(*words, **variables):
            for name, value in variables.items():
                monkeypatch.setenv(name, value)
            parser = argparse.ArgumentParser()
            add_arguments(parser)
            source = source_of(parser.parse_args([*words, "--cache", str(tmp_path / "cache")]))
            return sources.enter_context(contextlib.closing(source))

        yield make


def test_the_command_line_makes_the_source(server, source_by, tmp_path):
    server.publish("a", downloads=5, recent=1)
    server.publish("b", downloads=500, recent=9)
    words = ["--repository", "acme", "--public_key", str(tmp_path / "key.pem"), "--repo_url", f"{server.repo_url}/"]
    assert keys(source_by(*words)) == ["a-1.0.0", "b-1.0.0"]  # without an API: none is known for acme
    assert not any(path.startswith("/api") for path in server.paths())
    by_api = source_by(*words, "--api_url", f"{server.api_url}/", "--min_downloads", "10", "--as_of", "2026-11-01")
    assert keys(by_api) == ["b-1.0.0"]
    assert source_by(*words, "--concurrency", "3").concurrency == 3
    with pytest.raises(InputError, match="no public key for the repository 'acme'"):
        source_by("--repository", "acme")
    with pytest.raises(InputError, match="cannot read the public key"):
        source_by("--public_key", str(tmp_path / "missing.pem"))


def test_keys_in_the_environment_go_to_the_servers_in_the_environment(server, source_by, tmp_path):
    server.publish("a")
    words = ["a", "--repository", "acme", "--public_key", str(tmp_path / "key.pem")]
    secrets = {"HEX_API_KEY": "api secret", "HEX_REPOS_KEY": "repo secret"}

    def sent(source):
        server.requests.clear()
        source.read(next(source.references()))
        return {headers["authorization"] for _, headers, _ in server.requests if "authorization" in headers}

    given = ["--api_url", server.api_url, "--repo_url", server.repo_url]
    assert sent(source_by(*words, *given, **secrets)) == set()  # they are the public registry's
    theirs = {"HEX_API_URL": server.api_url, "HEX_TRUSTED_MIRROR": server.repo_url}
    assert sent(source_by(*words, *given, **theirs)) == {"api secret", "repo secret"}


MIX_OF_REAL = """
defmodule Real.MixProject do
  use Mix.Project

  def project do
    [
      app: :real,
      version: "0.3.0",
      description: "größer, \\"quoted\\"",
      deps: [{:demo, "~> 1.0"}, {:other, ">= 0.0.0", optional: true}],
      package: [licenses: ["Apache-2.0", "MIT"], links: %{"GitHub" => "https://github.com/acme/real"}]
    ]
  end
end
"""


@pytest.fixture(scope="module")
def hex_task():
    """Run a task of Hex itself in a folder."""
    if shutil.which("mix") is None:
        pytest.skip("needs `mix`; install it with: apt install elixir")
    ebin = os.environ.get("ELIXIR_CODER_HEX")
    homes = [
        Path(os.environ.get("MIX_HOME", "~/.mix"), "archives"),
        Path(os.environ.get("MIX_ARCHIVES", "~/.mix/archives")),
    ]
    if not ebin and not any(list(home.expanduser().glob("hex-*")) for home in homes):
        pytest.skip("needs Hex: run `mix local.hex`, or name the folder of its compiled modules in ELIXIR_CODER_HEX")

    def run(folder, task, *words):
        command = ["elixir", *(["-pa", ebin] if ebin else []), "-S", "mix", task, *words]
        environment = os.environ | {"HEX_OFFLINE": "1", "LANG": "C.UTF-8"}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    return run


@pytest.fixture(scope="module")
def built_by_hex(hex_task, tmp_path_factory):
    """A registry that Hex's own tasks made: `mix hex.registry build`, of our tarballs and one by `mix hex.build`."""
    folder = tmp_path_factory.mktemp("hex")
    tarballs, project = folder / "public" / "tarballs", folder / "real"
    for new in (tarballs, project / "lib"):
        new.mkdir(parents=True)
    (project / "mix.exs").write_text(MIX_OF_REAL, encoding="utf-8")
    (project / "lib" / ("long" * 30 + ".ex")).write_bytes(CODE)
    (project / "lib" / "link.ex").symlink_to("long" * 30 + ".ex")
    hex_task(project, "hex.build", "--output", str(tarballs / "real-0.3.0.tar"))
    (tarballs / "demo-1.0.0.tar").write_bytes(tarball("demo", "1.0.0"))
    (tarballs / "demo-1.1.0.tar").write_bytes(tarball("demo", "1.1.0"))
    (folder / "key.pem").write_bytes(private_pem("built"))
    hex_task(folder, "hex.registry", "build", "public", "--name", "acme", "--private-key", "key.pem")
    return folder / "public"


@pytest.mark.elixir
def test_a_registry_that_hex_built_is_read(built_by_hex, source_for, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with contextlib.closing(HexServer(built_by_hex)) as server:
        public_key = (built_by_hex / "public_key").read_bytes()
        source = source_for(server, with_api=False, releases="all", public_key=public_key)
        assert source.registry.names() == ["demo", "real"]
        fates = read_all(source)
        assert list(fates) == ["demo-1.1.0", "demo-1.0.0", "real-0.3.0"]
        assert fates["demo-1.0.0"].files == FILES
        real = fates["real-0.3.0"]
        assert real.files == {"lib/" + "long" * 30 + ".ex": CODE, "mix.exs": MIX_OF_REAL.encode()}
        assert (real.licence, real.url) == ("Apache-2.0 and MIT", "https://github.com/acme/real")
        (release,) = source.registry.package("real")
        assert [(need.package, need.requirement, need.optional) for need in release.requirements] == [
            ("demo", "~> 1.0", False),
            ("other", ">= 0.0.0", True),
        ]


@pytest.mark.elixir
def test_a_registry_that_hex_built_is_believed_by_its_own_key_and_name_only(built_by_hex, source_for, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with contextlib.closing(HexServer(built_by_hex)) as server:
        with pytest.raises(DataError, match="the signature does not fit"):
            keys(source_for(server, with_api=False))
        public_key = (built_by_hex / "public_key").read_bytes()
        with pytest.raises(DataError, match="signed for the repository 'acme', expected 'hexpm'"):
            keys(source_for(server, with_api=False, public_key=public_key, repository="hexpm"))


@pytest.mark.elixir
def test_a_registry_of_ours_is_one_that_hex_reads(server, tmp_path):
    """The other way round: the server of these tests is not only understood by our own reader."""
    ebin = os.environ.get("ELIXIR_CODER_HEX")
    if not ebin:
        pytest.skip("needs Hex: name the folder of its compiled modules in ELIXIR_CODER_HEX")
    server.publish("demo", "1.0.0", description="größer")
    for path in ("names", "versions", "packages/demo", "tarballs/demo-1.0.0.tar"):
        (tmp_path / path.replace("/", "_")).write_bytes(server.body(f"/repo/{path}"))
    (tmp_path / "key.pem").write_bytes(public_pem())
    script = r"""
    key = File.read!("key.pem")
    # Up to version 2.0 they give the list, since then a map with the repository.
    list = fn {:ok, read}, field -> if is_map(read), do: Map.fetch!(read, field), else: read end
    [%{name: "demo"}] = list.(:mix_hex_registry.unpack_names(File.read!("names"), "acme", key), :packages)
    versions = :mix_hex_registry.unpack_versions(File.read!("versions"), "acme", key)
    [%{name: "demo", versions: ["1.0.0"]}] = list.(versions, :packages)
    package = :mix_hex_registry.unpack_package(File.read!("packages_demo"), "acme", "demo", key)
    [release] = list.(package, :releases)
    {:ok, unpacked} = :mix_hex_tarball.unpack(File.read!("tarballs_demo-1.0.0.tar"), :memory)
    true = unpacked.outer_checksum == release.outer_checksum
    IO.write([unpacked.metadata["description"], " ", Enum.map_join(Enum.sort(unpacked.contents), " ", &elem(&1, 0))])
    """
    done = subprocess.run(
        ["elixir", "-pa", ebin, "-e", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"LANG": "C.UTF-8"},
    )
    assert done.stdout == "größer lib/demo.ex mix.exs", done.stderr
