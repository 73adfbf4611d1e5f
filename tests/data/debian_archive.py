"""A Debian archive of our own on the loopback interface: real .dsc, tarballs, indices, and connections that break."""

import hashlib
import http.server
import io
import re
import tarfile
import threading
from pathlib import Path

from elixir_coder.example import Example

COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2020 Somebody
License: Apache-2.0

License: Apache-2.0
 On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.
"""


def tarball(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    """Write a tar.xz of these files and symbolic links, in this order and with fixed times."""
    with tarfile.open(path, "w:xz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return path


def module(name: str, body: str = "def answer, do: 42") -> bytes:
    return f"defmodule {name} do\n  {body}\nend\n".encode()


def example(code: str = "defmodule A do\n  def b, do: 1\nend\n", path: str = "lib/a.ex", **fields: str) -> Example:
    provenance = {"package": "a", "version": "1", "licence": "MIT", "source": "folder"} | fields
    return Example.of(code, path=path, **provenance)


class DebianArchive:
    """A repository under `root`, served on loopback. `cut` holds name -> bytes after which each answer breaks off."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cut: dict[str, int] = {}
        self.requests: list[tuple[str, str | None]] = []
        self._entries: dict[str, list[str]] = {}
        archive = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                archive._answer(self)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}/debian"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def etc(self, suites: str = "bookworm") -> Path:
        """An /etc/apt that points here."""
        etc = self.root / "etc"
        (etc / "sources.list.d").mkdir(parents=True, exist_ok=True)
        stanza = f"Types: deb\nURIs: {self.uri}\nSuites: {suites}\nComponents: main\nTrusted: yes\n"
        (etc / "sources.list.d" / "debian.sources").write_text(stanza)
        return etc

    def add(
        self,
        name: str,
        version: str,
        files: dict[str, bytes],
        *,
        suite: str = "bookworm",
        depends: str = "debhelper, elixir",
        copyright_: str | None = COPYRIGHT,
    ) -> list[str]:
        """Add a source package of upstream `files` to the pool and to the suite's index; give its file names."""
        pool = self.root / "pool" / name
        pool.mkdir(parents=True, exist_ok=True)
        upstream = version.rpartition("-")[0]
        orig = pool / f"{name}_{upstream}.orig.tar.xz"
        if not orig.exists():
            tarball(orig, {f"{name}-{upstream}/{path}": content for path, content in files.items()})
        packaging = {"debian/control": b"Source: x\n"}
        if copyright_ is not None:
            packaging["debian/copyright"] = copyright_.encode()
        paths = [orig, tarball(pool / f"{name}_{version}.debian.tar.xz", packaging)]
        dsc = pool / f"{name}_{version}.dsc"
        dsc.write_text(f"Format: 3.0 (quilt)\nSource: {name}\nVersion: {version}\nChecksums-Sha256:\n{_sums(paths)}\n")
        paths = [dsc, *paths]
        self._entries.setdefault(suite, []).append(
            f"Package: {name}\nBinary: {name}\nVersion: {version}\nFormat: 3.0 (quilt)\nArchitecture: all\n"
            f"Build-Depends: {depends}\nDirectory: pool/{name}\nChecksums-Sha256:\n{_sums(paths)}\n"
        )
        self.publish(suite)
        return [path.name for path in paths]

    def publish(self, suite: str) -> None:
        """Write the suite's Sources and Release."""
        folder = self.root / "dists" / suite
        index = folder / "main" / "source" / "Sources"
        index.parent.mkdir(parents=True, exist_ok=True)
        index.write_text("\n".join(self._entries.get(suite, [])))
        row = f" {_sha256(index)} {index.stat().st_size} main/source/Sources"
        (folder / "Release").write_text(
            f"Origin: Test\nSuite: {suite}\nCodename: {suite}\nDate: Thu, 01 Jan 2026 00:00:00 UTC\n"
            f"Components: main\nArchitectures: all\nSHA256:\n{row}\n"
        )

    def _answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        path = self.root / request.path.removeprefix("/debian/")
        wanted = request.headers.get("Range")
        self.requests.append((path.name, wanted))
        if not path.is_file():
            request.send_error(404)
            return
        content = path.read_bytes()
        start = int(match[1]) if wanted and (match := re.match(r"bytes=(\d+)-", wanted)) else 0
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - start))
        request.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        request.end_headers()
        end = len(content)
        if path.name in self.cut:
            end = min(end, start + self.cut[path.name])
            request.close_connection = True
        request.wfile.write(content[start:end])


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sums(paths: list[Path]) -> str:
    return "\n".join(f" {_sha256(path)} {path.stat().st_size} {path.name}" for path in paths)
