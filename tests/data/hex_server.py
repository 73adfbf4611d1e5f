"""A Hex registry of our own on the loopback interface: real tarballs, signed lists, an API, and answers that go wrong.

The lists are encoded here by hand, field by field, so that the reader under test is not its own oracle.
"""

import functools
import gzip
import hashlib
import http.server
import io
import itertools
import json
import tarfile
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

MIX = b'defmodule Demo.MixProject do\n  use Mix.Project\n  def project, do: [app: :demo, version: "1.0.0"]\nend\n'
CODE = b"defmodule Demo do\n  def answer, do: 42\nend\n"
FILES = {"lib/demo.ex": CODE, "mix.exs": MIX}


@functools.cache
def private_key(name):
    """An RSA key, the same for the same name all through a test run."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def private_pem(name="acme"):
    from cryptography.hazmat.primitives import serialization

    return private_key(name).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def public_pem(name="acme"):
    from cryptography.hazmat.primitives import serialization

    return (
        private_key(name)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def member(name, content=b"", **header):
    """One member of a tar; header: what to set on it, e.g. type=tarfile.SYMTYPE, linkname="x"."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in header.items():
        setattr(info, key, value)
    return info, content


def tar(members, format=tarfile.PAX_FORMAT):
    """A plain tar of (path -> content), or of a list of `member`s."""
    members = [member(name, content) for name, content in members.items()] if isinstance(members, dict) else members
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def term(value):
    """A Python value as an Erlang term; dict as a list of pairs."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'<<"{escaped}"/utf8>>' if not value.isascii() else f'<<"{escaped}">>'
    if isinstance(value, dict):
        return "[" + ",".join(f"{{{term(key)},{term(item)}}}" for key, item in value.items()) + "]"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(term, value)) + "]"
    return str(value)


def metadata(name="demo", version="1.0.0", **fields):
    stated = {
        "name": name,
        "version": version,
        "app": name,
        "description": "a demonstration",
        "elixir": "~> 1.14",
        "files": list(FILES),
        "licenses": ["Apache-2.0"],
        "links": {"GitHub": f"https://github.com/acme/{name}"},
        "build_tools": ["mix"],
        "requirements": {},
    } | fields
    return "".join(f"{{{term(key)},{term(value)}}}.\n" for key, value in stated.items()).encode()


def tarball(name="demo", version="1.0.0", files=FILES, *, contents=None, meta=None, checksum=None, **fields):
    """A package tarball. contents, meta, checksum: instead of what belongs there; fields: of the metadata."""
    contents = gzip.compress(tar(files), mtime=0) if contents is None else contents
    meta = metadata(name, version, **fields) if meta is None else meta
    checksum = inner_checksum(meta, contents).hex().upper().encode() if checksum is None else checksum
    return tar({"VERSION": b"3", "CHECKSUM": checksum, "metadata.config": meta, "contents.tar.gz": contents})


def inner_checksum(meta, contents):
    return hashlib.sha256(b"3" + meta + contents).digest()


def protobuf(*fields):
    """A message of (number, value): bytes and str by length, int as a varint."""
    encoded = b""
    for number, value in fields:
        if isinstance(value, int):
            encoded += varint(number << 3) + varint(value)
        else:
            value = value.encode() if isinstance(value, str) else value
            encoded += varint(number << 3 | 2) + varint(len(value)) + value
    return encoded


def varint(value):
    encoded = b""
    while value > 127:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])


def signed(payload, key="acme"):
    """A registry file: the payload signed and compressed."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    signature = private_key(key).sign(payload, padding.PKCS1v15(), hashes.SHA512())
    return gzip.compress(protobuf((1, payload), (2, signature)), mtime=0)


def package_list(name, releases, repository="acme", key="acme"):
    """The signed list of a package. releases: (version, tarball, fields beside its checksums)."""
    messages = []
    for version, content, extra in releases:
        inner = parts_checksum(content)
        outer = hashlib.sha256(content).digest()
        messages.append((1, protobuf((1, version), (2, inner), *extra, (5, outer))))
    return signed(protobuf(*messages, (2, name), (3, repository)), key)


def parts_checksum(content):
    """The inner checksum of a tarball as it is, or zeros when it is no tarball."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            parts = {info.name: archive.extractfile(info).read() for info in archive if info.isreg()}
        return inner_checksum(parts["metadata.config"], parts["contents.tar.gz"])
    except (tarfile.TarError, KeyError):
        return bytes(32)


# What may go wrong with one answer. Each is called with the request handler and what it would have answered.


def status(code, **headers):
    """Answer with this status; headers: `retry_after="1"`."""

    def fault(handler, body):
        named = {name.replace("_", "-"): value() if callable(value) else value for name, value in headers.items()}
        handler.answer(code, b"an error page", named)

    return fault


def cut(num_bytes):
    """Promise the whole body and break the connection after so many bytes of it."""

    def fault(handler, body):
        handler.send_response(200)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[:num_bytes])
        handler.close_connection = True

    return fault


def wrong_length(difference):
    """State a length that is not the body's."""

    def fault(handler, body):
        handler.send_response(200)
        handler.send_header("content-length", str(len(body) + difference))
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = True

    return fault


def no_answer(handler, body):
    """Break the connection before a word."""
    handler.close_connection = True


class HexServer:
    """A registry at `api_url` and `repo_url`, or the files of a folder at `repo_url`.

    faults: path -> iterator of faults (None: none), one for each request. bodies: path -> what to serve instead.
    requests: (path with query, headers, moment) of all that came. page_size: of the API's lists.
    """

    def __init__(self, folder: Path | None = None, page_size=2, repository="acme") -> None:
        self.folder = folder
        self.page_size = page_size
        self.repository = repository
        self.packages = {}  # name -> package as the API shows it
        self.releases = {}  # name -> version -> (tarball, release as the API shows it)
        self.bodies = {}
        self.faults = {}
        self.requests = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self):
                with registry._lock:
                    registry._at_once += 1
                    registry.most_at_once = max(registry.most_at_once, registry._at_once)
                    registry.requests.append((self.path, dict(self.headers), time.monotonic()))
                    fault = next(registry.faults.get(urlsplit(self.path).path, iter(())), None)
                try:
                    body = registry.body(self.path)
                    if fault is not None:
                        fault(self, body or b"")
                    elif body is None:
                        self.answer(404, b"not found")
                    else:
                        etag = f'"{hashlib.md5(body).hexdigest()}"'
                        is_known = self.headers.get("if-none-match") == etag
                        self.answer(304 if is_known else 200, b"" if is_known else body, {"etag": etag})
                finally:
                    with registry._lock:
                        registry._at_once -= 1

            def answer(self, code, body, headers=()):
                self.send_response(code)
                for name, value in dict(headers).items():
                    self.send_header(name, value)
                if code != 304:
                    self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.api_url, self.repo_url = f"{self.url}/api", f"{self.url}/repo"

    def publish(
        self,
        name="demo",
        version="1.0.0",
        files=FILES,
        *,
        content=None,
        downloads=0,
        recent=0,
        has_docs=True,
        inserted_at="2026-01-01T00:00:00.000000Z",
        is_retired=False,
        **fields,
    ):
        """Add a release. content: the tarball, instead of one of these files and metadata fields."""
        content = tarball(name, version, files, **fields) if content is None else content
        info = self.packages.setdefault(
            name,
            {
                "name": name,
                "repository": self.repository,
                "meta": {"description": "", "licenses": ["Apache-2.0"], "links": {}},
                "releases": [],
                "retirements": {},
                "inserted_at": inserted_at,
            },
        )
        info["downloads"] = {"all": downloads, "recent": recent}
        info["updated_at"] = inserted_at
        info["releases"].insert(0, {"version": version, "has_docs": has_docs, "inserted_at": inserted_at})
        if is_retired:
            info["retirements"][version] = {"reason": "security", "message": "do not use"}
        release = {
            "version": version,
            "checksum": hashlib.sha256(content).hexdigest(),
            "has_docs": has_docs,
            "inserted_at": inserted_at,
            "retirement": {"reason": "security"} if is_retired else None,
            "meta": {"app": name, "build_tools": fields.get("build_tools", ["mix"]), "elixir": "~> 1.14"},
            "requirements": fields.get("requirements", {}),
            "downloads": downloads,
        }
        self.releases.setdefault(name, {})[version] = (content, release)
        return content

    def body(self, path):
        """What is at a path with its query, None for nothing."""
        parts = urlsplit(path)
        if parts.path in self.bodies:
            return self.bodies[parts.path]
        match parts.path.split("/")[1:]:
            case ["repo", *names] if self.folder is not None:
                file = self.folder.joinpath(*names)
                return file.read_bytes() if file.is_file() else None
            case ["api", "packages"]:
                return json.dumps(self._page(parse_qs(parts.query))).encode()
            case ["api", "packages", name] if name in self.packages:
                return json.dumps(self.packages[name]).encode()
            case ["api", "packages", name, "releases", version] if version in self.releases.get(name, {}):
                return json.dumps(self.releases[name][version][1]).encode()
            case ["repo", "names"]:
                return signed(protobuf(*((1, protobuf((1, name))) for name in self.packages), (2, self.repository)))
            case ["repo", "versions"]:
                return signed(protobuf(*((1, self._versions(name)) for name in self.releases), (2, self.repository)))
            case ["repo", "packages", name] if name in self.releases:
                return package_list(name, self._listed(name), self.repository)
            case ["repo", "tarballs", file]:
                return next(
                    (
                        content
                        for name, versions in self.releases.items()
                        for version, (content, _) in versions.items()
                        if file == f"{name}-{version}.tar"
                    ),
                    None,
                )
        return None

    def paths(self):
        """The paths that were asked for, without their queries."""
        return [urlsplit(path).path for path, _, _ in self.requests]

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def _page(self, query):
        order = {
            "name": lambda info: info["name"],
            "total_downloads": lambda info: -info["downloads"]["all"],
            "recent_downloads": lambda info: -info["downloads"]["recent"],
        }[query.get("sort", ["name"])[0]]
        search = query.get("search", [""])[0]
        found = sorted((info for info in self.packages.values() if search in info["name"]), key=order)
        start = (int(query.get("page", ["1"])[0]) - 1) * self.page_size
        return found[start : start + self.page_size]

    def _listed(self, name):
        for version, (content, release) in self.releases[name].items():
            extra = [
                (
                    3,
                    protobuf(
                        (1, package),
                        (2, requirement["requirement"]),
                        (3, int(requirement.get("optional", False))),
                        (4, requirement.get("app", package)),
                    ),
                )
                for package, requirement in release["requirements"].items()
            ]
            if release["retirement"]:
                extra.append((4, protobuf((1, 2), (2, "do not use"))))
            yield version, content, extra

    def _versions(self, name):
        versions = self.releases[name]
        retired = b"".join(varint(i) for i, (_, release) in enumerate(versions.values()) if release["retirement"])
        return protobuf((1, name), *((2, version) for version in versions), *([(3, retired)] if retired else []))


def for_ever(fault):
    return itertools.repeat(fault)


def settings(server, **changes):
    """How to ask the server, with no patience between the attempts."""
    from elixir_coder.data.hex_http import HexSettings

    stated = {"api_url": server.api_url, "repo_url": server.repo_url, "backoff_s": 0.001, "verify_https": False}
    return HexSettings(**stated | changes)
