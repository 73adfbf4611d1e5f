"""Ask a Hex registry politely: its limits kept, faults retried, answers kept on disk and fetched again only if changed.

    client = HexClient(HexSettings.from_environment(), cache_folder("hex"))
    client.get("https://hex.pm/api/packages/jason", max_bytes=1_000_000)

The same `HEX_*` environment variables count as for Hex itself. A key is sent to the server it was given for and to no
other, whatever redirects say.

Source: https://hexdocs.pm/hex/Mix.Tasks.Hex.Config.html
"""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import json
import logging
import os
import platform
import random
import ssl
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from elixir_coder import __version__
from elixir_coder.errors import DataError, RecipeError, require

PUBLIC_API = "https://hex.pm/api"
PUBLIC_REPOSITORY = "https://repo.hex.pm"

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5
_PASSING_FAULTS = frozenset({408, 425, 429, 500, 502, 503, 504})

logger = logging.getLogger(__name__)


class NotFoundError(DataError):
    """The registry does not have what was asked for."""


@dataclass(frozen=True, kw_only=True)
class HexSettings:
    """Where a registry is and how it is asked.

    is_trusted: whether `repo_key` may be sent to `repo_url`; not so for a mirror that is anybody's. timeout_s: for a
    sign of life, answer_s: for a whole answer. attempts: requests for one answer before it is given up. backoff_s:
    pause after the first fault, doubled after each. patience_s: the longest single pause that a server may ask for.
    """

    api_url: str = PUBLIC_API
    repo_url: str = PUBLIC_REPOSITORY
    api_key: str | None = None
    repo_key: str | None = None
    is_trusted: bool = True
    timeout_s: float = 15.0
    answer_s: float = 300.0
    concurrency: int = 8
    cacerts: Path | None = None
    is_offline: bool = False
    verify_https: bool = True
    verify_registry: bool = True
    verify_origin: bool = True
    attempts: int = 5
    backoff_s: float = 0.5
    patience_s: float = 300.0

    def __post_init__(self) -> None:
        for url in (self.api_url, self.repo_url):
            if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
                raise RecipeError(f"a registry's address must start with http:// or https://, got {url!r}")
        if self.timeout_s <= 0 or self.concurrency < 1 or self.attempts < 1:
            raise RecipeError("a registry's timeout, concurrency and attempts must be above 0")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> HexSettings:
        """The settings that Hex's own variables make; what they leave out is Hex's default.

        Raises RecipeError for a variable whose value cannot be meant.
        """

        def first(*names: str) -> str | None:
            return next((environment[name] for name in names if environment.get(name)), None)

        trusted_mirror = first("HEX_TRUSTED_MIRROR_URL", "HEX_TRUSTED_MIRROR")
        mirror = first("HEX_MIRROR_URL", "HEX_MIRROR")
        cacerts = first("HEX_CACERTS_PATH")
        return cls(
            api_url=(first("HEX_API_URL", "HEX_API") or PUBLIC_API).rstrip("/"),
            repo_url=(trusted_mirror or mirror or PUBLIC_REPOSITORY).rstrip("/"),
            api_key=first("HEX_API_KEY"),
            repo_key=first("HEX_REPOS_KEY"),
            is_trusted=trusted_mirror is not None or mirror is None,
            timeout_s=_whole_number(environment, "HEX_HTTP_TIMEOUT", 15),
            concurrency=_whole_number(environment, "HEX_HTTP_CONCURRENCY", 8),
            cacerts=Path(cacerts) if cacerts else None,
            is_offline=_is_set(environment, "HEX_OFFLINE"),
            verify_https=not _is_set(environment, "HEX_UNSAFE_HTTPS"),
            verify_registry=not _is_set(environment, "HEX_UNSAFE_REGISTRY"),
            verify_origin=not _is_set(environment, "HEX_NO_VERIFY_REPO_ORIGIN"),
        )


@dataclass(frozen=True, kw_only=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class HexClient:
    """One connection pool, one disk cache and one view of each server's limit, for all threads."""

    def __init__(self, settings: HexSettings, cache: Path) -> None:
        """cache: created when absent; may be deleted at any time."""
        self.settings = settings
        self.cache = cache
        self._answers = _AnswerCache(cache / "answers")
        self._gate = _Gate(settings.patience_s)
        self._httpx: Any = None
        self._lock = threading.Lock()

    def get(self, url: str, *, max_bytes: int, key: str | None = None, accept: str = "*/*", keep: bool = True) -> bytes:
        """The body at `url`, from the cache when the server says that it has not changed.

        max_bytes: of the body; more is an error, not a truncation. key: sent as it is to the server of `url`. keep:
        whether the answer is kept on disk.

        Raises NotFoundError where the server has no such thing, DataError when it cannot be had.
        """
        kept = self._answers.read(url, accept, key) if keep else None
        if self.settings.is_offline:
            if kept is None:
                raise DataError(
                    f"{url} is not in the cache ({self.cache}) and HEX_OFFLINE is set; unset it to fetch it"
                )
            return kept.body
        headers = {"accept": accept}
        if kept is not None:
            if etag := kept.headers.get("etag"):
                headers["if-none-match"] = etag
            if modified := kept.headers.get("last-modified"):
                headers["if-modified-since"] = modified
        answer = self._ask(url, headers, key, max_bytes)
        if answer.status == 304:
            if kept is None:
                raise DataError(f"{url}: answered 304 (not changed) to a question that named no earlier answer")
            return kept.body
        if keep and "no-store" not in answer.headers.get("cache-control", ""):
            self._answers.write(url, accept, key, answer)
        return answer.body

    def close(self) -> None:
        """Close the connections; a later `get` opens new ones."""
        with self._lock:
            if self._httpx is not None:
                self._httpx.close()
            self._httpx = None

    def _ask(self, url: str, headers: Mapping[str, str], key: str | None, max_bytes: int) -> _Answer:
        httpx = require("httpx", "data")
        server = origin(url)
        for attempt in range(self.settings.attempts):
            self._gate.wait(server, url)
            pause = None
            try:
                answer = self._send(url, headers, key, max_bytes)
            except httpx.RequestError as error:
                fault = str(error) or type(error).__name__
            except (httpx.InvalidURL, ValueError) as error:  # of a redirect
                raise DataError(f"{url}: no valid address ({error})") from error
            else:
                now = _server_time(answer.headers)
                if answer.headers.get("x-ratelimit-remaining", "").strip() == "0":
                    self._gate.close(server, _seconds_to(answer.headers.get("x-ratelimit-reset"), now))
                if answer.status not in _PASSING_FAULTS:
                    return _checked(answer, url)
                fault = f"status {answer.status}"
                pause = _retry_after(answer.headers.get("retry-after"), now)
                if pause is None and answer.status == 429:
                    pause = _seconds_to(answer.headers.get("x-ratelimit-reset"), now)
                if answer.status == 429:  # for every thread: the limit is the address's
                    self._gate.close(server, pause)
            if attempt + 1 < self.settings.attempts:
                # Half is certain, half is chance, so that threads cut off together do not come back together.
                backoff = min(30.0, self.settings.backoff_s * 2**attempt) * random.uniform(0.5, 1.0)
                logger.info("%s: %s; again in %.1f s", url, fault, pause or backoff)
                self._gate.pause(pause or backoff, url)
        times = "once" if self.settings.attempts == 1 else f"{self.settings.attempts} times in a row"
        raise DataError(f"{url}: {fault}, {times}; what arrived before is kept: run the same command again to go on")

    def _send(self, url: str, headers: Mapping[str, str], key: str | None, max_bytes: int) -> _Answer:
        client = self._client()
        home, target = origin(url), url
        for _ in range(_MAX_REDIRECTS + 1):
            secret = {"authorization": key} if origin(target) == home and key else {}
            with client.stream("GET", target, headers={**headers, **secret}) as response:
                location = response.headers.get("location")
                if response.status_code in _REDIRECTS and location:
                    following = urljoin(target, location)
                    if urlsplit(following).scheme not in {"https", urlsplit(target).scheme}:
                        raise DataError(f"{url}: redirected to {following}, which is less safe; refused")
                    target = following
                    continue
                # The text of an error page is of no use, however long it is.
                body = _read(response, max_bytes, url, self.settings.answer_s) if response.status_code == 200 else b""
                return _Answer(status=response.status_code, headers=dict(response.headers), body=body)
        raise DataError(f"{url}: more than {_MAX_REDIRECTS} redirects, the last to {target}")

    def _client(self) -> Any:
        with self._lock:
            if self._httpx is None:
                httpx = require("httpx", "data")
                verify: ssl.SSLContext | bool = self.settings.verify_https
                if self.settings.verify_https and self.settings.cacerts:
                    try:
                        verify = ssl.create_default_context(cafile=str(self.settings.cacerts))
                    except (OSError, ssl.SSLError) as error:
                        raise DataError(
                            f"HEX_CACERTS_PATH={self.settings.cacerts}: no certificates ({error})"
                        ) from error
                self._httpx = httpx.Client(
                    verify=verify,
                    timeout=httpx.Timeout(self.settings.timeout_s, pool=None),
                    limits=httpx.Limits(max_connections=self.settings.concurrency),
                    headers={"user-agent": f"elixir-coder/{__version__} (Python/{platform.python_version()})"},
                )
                weakref.finalize(self, self._httpx.close)
            return self._httpx


class _Gate:
    """Until when each server has asked not to be asked."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._closed_until: dict[str, float] = {}
        self._lock = threading.Lock()

    def close(self, origin: str, seconds: float | None) -> None:
        # Longer than we wait is an error of that request alone: one bad answer must not stop the others.
        if seconds is not None and seconds <= self._patience_s:
            with self._lock:
                self._closed_until[origin] = max(self._closed_until.get(origin, 0.0), time.monotonic() + seconds)

    def wait(self, origin: str, url: str) -> None:
        while (left := self._closed_until.get(origin, 0.0) - time.monotonic()) > 0:
            self.pause(left, url)

    def pause(self, seconds: float, url: str) -> None:
        if seconds > self._patience_s:
            raise DataError(
                f"{url}: the server asks to wait {seconds:.0f} s, longer than the {self._patience_s:.0f} s we wait; "
                f"what arrived is kept: run the same command again then"
            )
        time.sleep(seconds)


class _AnswerCache:
    """One file per answer: a line of JSON, then the body. Written beside its place and renamed, so never half there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, url: str, accept: str, key: str | None) -> _Answer | None:
        try:
            head, _, body = self._path(url, accept, key).read_bytes().partition(b"\n")
            stated = json.loads(head)
            if stated["sha256"] != hashlib.sha256(body).hexdigest():
                return None
            return _Answer(status=200, headers=stated["headers"], body=body)
        except (OSError, ValueError, KeyError, TypeError):
            return None  # absent or damaged: asked for anew

    def write(self, url: str, accept: str, key: str | None, answer: _Answer) -> None:
        headers = {name: answer.headers[name] for name in ("etag", "last-modified") if name in answer.headers}
        head = {"url": url, "sha256": hashlib.sha256(answer.body).hexdigest(), "headers": headers}
        write_whole(self._path(url, accept, key), json.dumps(head).encode() + b"\n" + answer.body)

    def _path(self, url: str, accept: str, key: str | None) -> Path:
        # Who may see more has answers of their own; the key itself is not written anywhere.
        name = hashlib.sha256("\0".join((url, accept, key or "")).encode()).hexdigest()
        return self._folder / name[:2] / name[2:]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file of the cache so that it is there whole or not at all, also when several write it at once.

    Raises DataError when the disk does not take it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".partial-")
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        raise DataError(f"cannot keep {path} ({error.strerror}); is the disk full?") from error


def _read(response: Any, max_bytes: int, url: str, answer_s: float) -> bytes:
    httpx = require("httpx", "data")
    stated = response.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > max_bytes:
        raise DataError(f"{url}: {stated} bytes; at most {max_bytes} are read")
    body = bytearray()
    # The timeout of a socket is for one read: a server that sends a byte now and then would hold us for ever.
    slowest = time.monotonic() + answer_s
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > max_bytes:
            raise DataError(f"{url}: more than {max_bytes} bytes; refused")
        if time.monotonic() > slowest:
            raise httpx.ReadTimeout(f"no whole answer within {answer_s:.1f} s")
    return bytes(body)


def _checked(answer: _Answer, url: str) -> _Answer:
    if answer.status in (200, 304):
        return answer
    if answer.status in (404, 410):
        raise NotFoundError(f"{url}: not there (status {answer.status})")
    hint = {401: "; is the key valid?", 403: "; is a key needed?"}.get(answer.status, "")
    raise DataError(f"{url}: status {answer.status}{hint}")


def origin(url: str) -> str:
    """Scheme, host and port of an address: what a key is for, and what a limit is kept by.

    Raises DataError for an address that has none.
    """
    parts = urlsplit(url)
    try:
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError as error:
        raise DataError(f"{url}: no valid address ({error})") from error
    return f"{parts.scheme}://{parts.hostname}:{port}"


def _server_time(headers: Mapping[str, str]) -> float:
    """The server's own clock where it tells, so that a wrong one of ours does not stretch a wait."""
    return _date(headers.get("date")) or time.time()


def _date(text: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, OverflowError):
        return None


def _seconds_to(epoch: str | None, now: float) -> float | None:
    epoch = (epoch or "").strip()
    return max(0.0, int(epoch) - now) if epoch.isdecimal() and len(epoch) <= 12 else None


def _retry_after(text: str | None, now: float) -> float | None:
    text = (text or "").strip()
    if text.isdecimal() and len(text) <= 12:
        return float(text)
    moment = _date(text)
    return max(0.0, moment - now) if moment is not None else None


def _whole_number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    if not text:
        return default
    if not (text.isdecimal() and int(text) > 0):
        raise RecipeError(f"{name} must be a whole number above 0, got {text!r}")
    return int(text)


def _is_set(environment: Mapping[str, str], name: str) -> bool:
    text = environment.get(name, "")
    if text.lower() not in ("", "0", "1", "true", "false"):
        raise RecipeError(f"{name} must be 1, 0, true or false, got {text!r}")
    return text.lower() in ("1", "true")
