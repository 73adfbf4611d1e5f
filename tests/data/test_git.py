import argparse
import http.server
import json
import os
import subprocess
import threading
from datetime import date
from pathlib import Path

import pytest

from elixir_coder.data.collect import Plan, add_parser, collect
from elixir_coder.data.git import ForgeApi, GitSource, Repository, commits, read_list, reference_of
from elixir_coder.data.ledger import Known
from elixir_coder.data.project import canonical_url, is_entered
from elixir_coder.data.shards import read_manifest, read_shards
from elixir_coder.errors import DataError, InputError
from tests.data.debian_archive import module

MIX = b'[app: :toy, version: "0.1.0", package: [licenses: ["MIT"]]]\n'


class Authored:
    """A repository with a work tree, its commits made on fixed days."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *words: str, day: int = 1) -> str:
        who = {f"GIT_{role}_{what}": "x@y" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        when = {f"GIT_{role}_DATE": f"2024-05-{day:02}T12:00:00+00:00" for role in ("AUTHOR", "COMMITTER")}
        done = subprocess.run(
            ["git", "-c", "commit.gpgSign=false", *words],
            cwd=self.folder,
            env=os.environ | who | when | {"GIT_CONFIG_GLOBAL": "/dev/null"},
            capture_output=True,
            check=True,
            text=True,
        )
        return done.stdout.strip()

    def commit(self, message: str, files: dict[str, bytes | None], day: int = 1) -> str:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_bytes(content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message, day=day)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def toy(tmp_path):
    repository = Authored(tmp_path / "repositories" / "toy")
    repository.commit("Begin", {"mix.exs": MIX, "lib/toy.ex": module("Old"), "README.md": b"# Toy"})
    repository.commit("Go on", {"lib/toy.ex": module("Toy"), "priv/data.bin": bytes(1000)}, day=2)
    return repository


def collected(tmp_path, *addresses, out="corpus", **options):
    forge = options.pop("forge", None)
    rules = {name: options.pop(name) for name in ("min_stars", "pushed_after") if name in options}
    report = collect(GitSource(addresses, forge=forge, **rules), tmp_path / out, Plan(**options))
    return report, list(read_shards(tmp_path / out))


def test_a_clone_has_the_newest_files_and_names_its_commit(toy, tmp_path):
    url = toy.folder.as_uri()

    report, found = collected(tmp_path, url)

    head = toy.git("rev-parse", "HEAD")
    assert [(each.path, each.version) for each in found] == [
        ("lib/toy.ex", f"2024-05-02-{head[:12]}"),
        ("mix.exs", f"2024-05-02-{head[:12]}"),
    ]
    assert found[0].code == module("Toy").decode()
    assert {(each.package, each.licence, each.source) for each in found} == {("toy", "MIT", "git")}
    assert report.fates == {"kept": 1}


def test_a_folder_is_read_where_it_lies_and_not_as_its_work_tree_stands(toy, tmp_path):
    (toy.folder / "lib" / "draft.ex").write_bytes(module("Draft"))
    bare = tmp_path / "mirror.git"
    toy.git("clone", "--quiet", "--mirror", ".", str(bare))

    _, from_tree = collected(tmp_path, str(toy.folder), out="one")
    _, from_mirror = collected(tmp_path, str(bare), out="two")

    assert [each.path for each in from_tree] == ["lib/toy.ex", "mix.exs"]
    assert [(each.code, each.version) for each in from_mirror] == [(each.code, each.version) for each in from_tree]


def test_a_tag_is_a_version_and_can_be_asked_for(toy, tmp_path):
    for tag in ("v0.9.0", "v0.10.0"):
        toy.git("tag", tag, "HEAD~1")

    _, cloned = collected(tmp_path, f"{toy.folder.as_uri()}#v0.9.0", out="one")
    _, in_place = collected(tmp_path, f"{toy.folder}#v0.9.0", out="two")
    _, greatest = collected(tmp_path, f"{toy.folder}#main~1", out="three")

    assert cloned == in_place
    assert cloned[0].code == module("Old").decode()
    assert ({each.version for each in cloned}, {each.version for each in greatest}) == ({"v0.9.0"}, {"v0.10.0"})


def test_links_submodules_fetched_and_stored_elsewhere_stay_out(toy, tmp_path):
    other = Authored(tmp_path / "other")
    other.commit("Begin", {"lib/other.ex": module("Other")})
    toy.git("-c", "protocol.file.allow=always", "submodule", "add", "--quiet", other.folder.as_uri(), "lib/other")
    (toy.folder / "lib" / "link.ex").symlink_to("/etc/passwd")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12345\n"
    toy.commit("More", {"deps/x/lib/x.ex": module("X"), "lib/deps/y.ex": module("Y"), "lib/stored.ex": pointer})

    report, found = collected(tmp_path, toy.folder.as_uri())

    assert [each.path for each in found] == ["lib/deps/y.ex", "lib/toy.ex", "mix.exs"]
    assert report.dropped == {"in a store of large files": 1}


def test_no_hook_or_setting_of_a_repository_is_run(toy, tmp_path):
    mark = tmp_path / "ran"
    for hook in ("post-checkout", "post-merge", "reference-transaction"):
        path = toy.folder / ".git" / "hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\ntouch {mark}\n")
        path.chmod(0o755)
    toy.git("config", "core.fsmonitor", f"touch {mark}")
    toy.git("config", "core.sshCommand", f"touch {mark}")
    toy.commit("Attributes", {".gitattributes": b"*.ex filter=evil diff=evil\n", "lib/b.ex": module("B")})
    toy.git("config", "filter.evil.smudge", f"touch {mark}")
    toy.git("config", "diff.evil.textconv", f"touch {mark}")
    mark.unlink(missing_ok=True)

    collected(tmp_path, str(toy.folder), out="here")
    collected(tmp_path, toy.folder.as_uri(), out="cloned")
    assert list(commits(toy.folder))

    assert not mark.exists()


@pytest.mark.parametrize(
    "address",
    [
        "--upload-pack=touch /tmp/x",
        "-x",
        "ext::sh -c touch% /tmp/x",
        "fd::17",
        "ssh://-oProxyCommand=touch/x",
        "https://host/a#--upload-pack=x",
        "https://host/a b",
        "nowhere/at/all",
        "ftp://host/a",
        "https://host",
        "",
    ],
)
def test_what_git_must_not_be_given_is_refused(address):
    with pytest.raises(InputError):
        reference_of(address)


def test_a_repository_that_is_not_there_is_a_warning_and_stops_no_other(toy, tmp_path):
    report, found = collected(tmp_path, (tmp_path / "nowhere").as_uri(), toy.folder.as_uri())

    assert len(found) == 2
    assert report.fates == {"failed": 1, "kept": 1}
    assert "nowhere: git clone: fatal:" in report.warnings[0]
    with pytest.raises(DataError, match="1 packages could not be read, the first: nowhere"):
        collected(tmp_path, (tmp_path / "nowhere").as_uri(), toy.folder.as_uri(), out="other", strict=True)


def test_a_silent_server_is_given_up(tmp_path):
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:  # never answers
        source = GitSource([f"http://127.0.0.1:{server.server_address[1]}/a/b"], timeout_s=0.5)
        with pytest.raises(DataError, match=r"git clone took more than 0 s|git clone took more than 1 s"):
            source.read(next(source.references()))


@pytest.mark.parametrize(
    "url",
    [
        "https://Host.example/Owner/Name",
        "https://host.example/owner/name.git",
        "https://www.host.example/owner/name/",
        "http://user:secret@host.example:80/owner/name",
        "git@host.example:owner/name.git",
        "ssh://git@host.example:22/owner/name",
        "git+https://host.example/owner/name.git",
        "git://host.example//owner/name",
        "https://host.example/owner/name/tree/main/lib",
    ],
)
def test_a_repository_has_one_canonical_address(url):
    assert canonical_url(url) == "host.example/owner/name"


def test_another_port_is_another_server_and_a_path_has_no_address():
    assert canonical_url("https://host.example:8443/a/b") == "host.example:8443/a/b"
    assert canonical_url("/srv/git/a.git") == canonical_url("file:///srv/git/a.git") == canonical_url("") == ""


def test_what_another_corpus_has_is_left_out(toy, tmp_path):
    toy.git("remote", "add", "origin", "git@host.example:owner/toy.git")
    collected(tmp_path, str(toy.folder), out="first")
    other = Authored(tmp_path / "other")
    other.commit("Begin", {"mix.exs": MIX, "lib/other.ex": module("Other")})
    other.git("remote", "add", "origin", "https://host.example/Owner/Toy")
    third = Authored(tmp_path / "third")
    third.commit("Begin", {"mix.exs": MIX.replace(b"toy", b"third"), "lib/third.ex": module("Third")})

    report, found = collected(tmp_path, str(other.folder), str(third.folder), out="second", known=[tmp_path / "first"])

    assert {each.package for each in found} == {"third"}
    assert report.dropped == {"package of a known corpus": 1}
    known = Known.read([tmp_path / "first"])
    assert known.reason("another_name", "https://host.example/owner/toy.git") == "repository of a known corpus"
    assert read_manifest(tmp_path / "first")["packages"][0]["url"] == "host.example/owner/toy"


class Served(http.server.ThreadingHTTPServer):
    """A forge's API on loopback: answers in the order they are to be given, by path."""

    def __init__(self, answers):
        self.answers, self.asked = answers, []
        served = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                served.asked.append((self.path, self.headers.get("Authorization")))
                status, body = served.answers[self.path].pop(0)
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/api"

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


def about(stars: int, day: str = "2024-05-02") -> dict[str, object]:
    return {"stargazers_count": stars, "pushed_at": f"{day}T10:00:00Z"}


def test_stars_and_recency_decide_where_the_forge_tells_them(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folders = []
    for number, name in enumerate(("few", "old", "good", "gone")):
        repository = Authored(tmp_path / name)
        repository.commit("Begin", {"mix.exs": MIX.replace(b"toy", name.encode()), "lib/a.ex": module(f"A{number}")})
        repository.git("remote", "add", "origin", f"https://host.example/o/{name}")
        folders.append(str(repository.folder))
    answers = {
        "/api/repos/o/few": [(200, about(9))],
        "/api/repos/o/old": [(200, about(50, "2019-01-01"))],
        "/api/repos/o/good": [(429, {}), (503, {}), (200, about(50))],
        "/api/repos/o/gone": [(404, {"message": "Not Found"})],
    }
    with Served(answers) as forge:
        report, found = collected(
            tmp_path,
            *folders,
            forge=ForgeApi(forge.url, token="t"),
            min_stars=10,
            pushed_after=date(2024, 1, 1),
            concurrency=2,
        )

    assert {each.package for each in found} == {"good"}
    assert report.dropped == {"fewer than 10 stars": 1, "not pushed to since 2024-01-01": 1}
    assert [warning for warning in report.warnings if "404" in warning]
    assert {token for _, token in forge.asked} == {"Bearer t"}
    with pytest.raises(InputError, match="--min_stars and --pushed_after need --api"):
        GitSource(folders, min_stars=1)


def test_commits_are_read_with_what_they_changed(toy, tmp_path):
    second = toy.git("rev-parse", "HEAD")
    third = toy.commit(
        "Rename and add\n\nIt is shorter.\n\nCo-authored-by: Some Body <some@body>",
        {
            "lib/toy.ex": None,
            "lib/t.ex": module("Toy", "def answer, do: 43"),
            "test/t_test.exs": b"# a test\n",
            "a.md": b"x",
        },
        day=3,
    )
    toy.commit("Only prose", {"README.md": b"# More"}, day=4)
    fifth = toy.commit("Delete", {"test/t_test.exs": None}, day=5)

    found = list(commits(toy.folder))

    assert [(each.sha, each.message, each.date[:10]) for each in found] == [
        (fifth, "Delete", "2024-05-05"),
        (third, "Rename and add\n\nIt is shorter.", "2024-05-03"),
        (second, "Go on", "2024-05-02"),
    ]
    assert found[0].changes == (("test/t_test.exs", "# a test\n", ""),)
    new = module("Toy", "def answer, do: 43").decode()
    assert found[1].changes == (("lib/t.ex", module("Toy").decode(), new), ("test/t_test.exs", "", "# a test\n"))
    assert found[2].changes == (("lib/toy.ex", module("Old").decode(), module("Toy").decode()),)
    assert list(commits(toy.folder, limit=2)) == found[:2]


def test_merges_large_changes_and_files_that_are_no_text_are_left_out(toy):
    toy.git("switch", "--quiet", "--create", "side")
    toy.commit("Side", {"lib/side.ex": module("Side")}, day=3)
    toy.git("switch", "--quiet", "main")
    toy.commit("Import", {f"lib/m{number}.ex": module(f"M{number}") for number in range(21)}, day=4)
    toy.commit("Bytes", {"lib/latin.ex": b"\xe9", "lib/big.ex": b"#" * 1_000_001}, day=5)
    toy.commit("Both", {"lib/latin.ex": b"\xe8", "lib/m1.ex": module("N1")}, day=6)
    toy.git("merge", "--quiet", "--no-ff", "--message", "Merge", "side", day=7)

    found = {each.message: [path for path, _, _ in each.changes] for each in commits(toy.folder)}

    assert found == {"Both": ["lib/m1.ex"], "Side": ["lib/side.ex"], "Go on": ["lib/toy.ex"]}


def test_a_folder_without_a_repository_is_an_error_naming_it(tmp_path):
    with pytest.raises(DataError, match=f"git rev-parse in {tmp_path}"):
        Repository(tmp_path).commit_of("HEAD")


def test_a_list_has_one_address_a_line(tmp_path):
    (tmp_path / "list").write_text("# ours\nhttps://host/a/b\n\n  git@host:c/d.git#v1\n")

    assert read_list(tmp_path / "list") == ["https://host/a/b", "git@host:c/d.git#v1"]
    with pytest.raises(InputError, match="cannot read the list"):
        read_list(tmp_path / "nowhere")


def test_the_command_takes_the_words_of_its_help(toy, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(
        ["collect", "git", str(toy.folder), "--out", str(tmp_path / "corpus"), "--concurrency", "2"]
    )

    assert args.run(args) == 0
    assert capsys.readouterr().out.startswith("train: 2 files")


def test_build_output_is_told_from_a_folder_of_that_name():
    assert is_entered("lib/deps/a.ex", {""})
    assert not is_entered("deps/a/lib/a.ex", {""})
    assert not is_entered("apps/web/_build/dev/a.ex", {"", "apps/web"})
    assert not is_entered("assets/node_modules/a/a.ex", set())
