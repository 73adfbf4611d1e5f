import concurrent.futures
import email.utils
import logging
import time

import pytest

from elixir_coder.data.hex_http import PUBLIC_API, PUBLIC_REPOSITORY, HexClient, HexSettings, NotFoundError
from elixir_coder.errors import DataError, RecipeError
from tests.data.hex_server import HexServer, cut, for_ever, no_answer, settings, status, wrong_length


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = HexServer()
    server.bodies["/thing"] = b"thing" * 1000
    yield server
    server.close()


@pytest.fixture
def client_of(server, tmp_path):
    """Make a client of the server; all are closed at the end."""
    clients = []

    def make(**changes):
        clients.append(HexClient(settings(server, **changes), tmp_path / "cache"))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def get(client, server, path="/thing", **options):
    return client.get(server.url + path, max_bytes=100_000, **options)


def test_a_client_says_who_it_is(server, client_of):
    assert get(client_of(), server) == server.bodies["/thing"]
    assert server.requests[0][1]["user-agent"].startswith("elixir-coder/")


@pytest.mark.parametrize(
    "fault",
    [status(503), status(500), status(502), status(429), cut(100), cut(0), wrong_length(+50), no_answer],
    ids=["503", "500", "502", "429", "cut in the body", "cut before it", "length too long", "no answer"],
)
def test_a_passing_fault_is_asked_again(server, client_of, fault):
    server.faults["/thing"] = iter([fault, fault])
    assert get(client_of(), server) == server.bodies["/thing"]
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        (status(503), "status 503"),
        (status(429), "status 429"),
        (cut(100), "incomplete|closed"),
        (no_answer, "disconnected"),
    ],
)
def test_a_fault_that_stays_is_an_error_that_names_it(server, client_of, fault, complaint, tmp_path):
    server.faults["/thing"] = for_ever(fault)
    with pytest.raises(DataError, match=rf"/thing: .*({complaint}).*, 3 times in a row; .* run the same command again"):
        get(client_of(attempts=3), server)
    assert len(server.requests) == 3
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_nobody_at_the_address_is_an_error(server, client_of):
    server.close()
    with pytest.raises(DataError, match=r"/thing: .*refused.*, 2 times in a row"):
        get(client_of(attempts=2), server)


@pytest.mark.parametrize("code", [404, 410])
def test_what_is_not_there_is_not_asked_again(server, client_of, code):
    server.faults["/thing"] = iter([status(code)])
    with pytest.raises(NotFoundError, match=f"/thing: not there .status {code}"):
        get(client_of(), server)
    assert len(server.requests) == 1


@pytest.mark.parametrize(("code", "hint"), [(401, "is the key valid"), (403, "is a key needed"), (400, "status 400")])
def test_a_refusal_is_not_asked_again(server, client_of, code, hint):
    server.faults["/thing"] = iter([status(code)])
    with pytest.raises(DataError, match=hint):
        get(client_of(), server)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"retry_after": "1"},
        {"retry_after": lambda: email.utils.formatdate(time.time() + 2, usegmt=True)},
        {"x_ratelimit_remaining": "0", "x_ratelimit_reset": lambda: str(int(time.time()) + 2)},
    ],
    ids=["seconds", "date", "reset"],
)
def test_a_limit_is_waited_for(server, client_of, headers):
    server.faults["/thing"] = iter([status(429, **headers)])
    get(client_of(), server)
    first, second = (moment for _, _, moment in server.requests)
    assert second - first >= 0.9  # a second, but for the rounding of dates


def test_a_spent_limit_holds_back_every_thread(server, client_of):
    """The last answer of a window says that nothing remains: nobody asks before the window ends."""

    def spent(handler, body):
        handler.answer(200, body, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(time.time()) + 2)})

    server.faults["/thing"] = iter([spent])
    server.bodies["/other"] = b"other"
    client = client_of()
    get(client, server)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: get(client, server, "/other"), range(3)))
    first, *others = (moment for _, _, moment in server.requests)
    assert min(others) - first >= 0.9


def test_a_wait_without_end_is_an_error(server, client_of):
    server.faults["/thing"] = for_ever(status(429, retry_after="86400"))
    with pytest.raises(DataError, match=r"asks to wait 86400 s, longer than the 300 s"):
        get(client_of(), server)


def test_an_unchanged_answer_is_not_sent_again(server, client_of):
    assert get(client_of(), server) == get(client_of(), server)
    first, second = server.requests
    assert "if-none-match" not in first[1]
    assert second[1]["if-none-match"]
    server.bodies["/thing"] = b"changed"
    assert get(client_of(), server) == b"changed"


def test_a_date_serves_where_there_is_no_tag(server, client_of):
    dated = lambda handler, body: handler.answer(200, body, {"last-modified": "Sat, 01 Aug 2026 00:00:00 GMT"})  # noqa: E731
    server.faults["/thing"] = iter([dated, status(304)])
    assert get(client_of(), server) == get(client_of(), server) == server.bodies["/thing"]
    assert server.requests[1][1]["if-modified-since"] == "Sat, 01 Aug 2026 00:00:00 GMT"


def test_a_304_to_nothing_is_an_error(server, client_of):
    server.faults["/thing"] = iter([status(304)])
    with pytest.raises(DataError, match="304"):
        get(client_of(), server)


def test_a_damaged_file_of_the_cache_is_fetched_anew(server, client_of, tmp_path):
    get(client_of(), server)
    (kept,) = (path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    kept.write_bytes(kept.read_bytes()[:-1])
    assert get(client_of(), server) == server.bodies["/thing"]
    assert "if-none-match" not in server.requests[1][1]


def test_offline_reads_what_was_kept_and_asks_nobody(server, client_of):
    get(client_of(), server)
    offline = client_of(is_offline=True)
    assert get(offline, server) == server.bodies["/thing"]
    with pytest.raises(DataError, match=r"/other is not in the cache .* HEX_OFFLINE"):
        get(offline, server, "/other")
    assert len(server.requests) == 1


def test_an_answer_that_may_not_be_kept_is_not(server, client_of, tmp_path):
    server.faults["/thing"] = iter([lambda handler, body: handler.answer(200, body, {"cache-control": "no-store"})])
    get(client_of(), server)
    get(client_of(), server, keep=False)
    assert not (tmp_path / "cache").exists()


def test_a_key_is_sent_to_its_own_server_only(server, client_of):
    elsewhere = HexServer()
    elsewhere.bodies["/thing"] = b"from elsewhere"
    server.faults["/thing"] = for_ever(status(302, location=f"{elsewhere.url}/thing"))
    try:
        assert get(client_of(), server, key="secret") == b"from elsewhere"
        assert server.requests[0][1]["authorization"] == "secret"
        assert "authorization" not in elsewhere.requests[0][1]
    finally:
        elsewhere.close()


def test_a_redirect_within_the_server_keeps_the_key(server, client_of):
    server.faults["/old"] = for_ever(status(301, location="/thing"))
    assert get(client_of(), server, "/old", key="secret") == server.bodies["/thing"]
    assert [headers["authorization"] for _, headers, _ in server.requests] == ["secret", "secret"]


@pytest.mark.parametrize(
    ("location", "complaint"),
    [
        ("/thing", "more than 5 redirects"),
        ("file:///etc/passwd", "redirected to file:///etc/passwd, which is less safe"),
        ("http://127.0.0.1:99999/", "no valid address"),
        ("http://[", "no valid address"),
    ],
)
def test_a_redirect_that_leads_nowhere_is_an_error(server, client_of, location, complaint):
    server.faults["/thing"] = for_ever(status(302, location=location))
    with pytest.raises(DataError, match=complaint):
        get(client_of(), server)


def test_the_key_is_written_nowhere(server, client_of, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    server.faults["/thing"] = iter([status(503)])
    get(client_of(), server, key="very secret")
    assert "very secret" not in caplog.text
    assert all(b"very secret" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_who_has_another_key_has_other_answers(server, client_of):
    get(client_of(), server, key="mine")
    server.bodies["/thing"] = b"public"
    with pytest.raises(DataError, match="not in the cache"):
        get(client_of(is_offline=True), server, key="yours")


def unmeasured(handler, body):
    """Answer without a length: the end of the connection is the end of the body."""
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(body)
    handler.close_connection = True


@pytest.mark.parametrize(
    ("fault", "complaint"), [(None, "5000 bytes; at most 4000 are read"), (unmeasured, "more than 4000 bytes; refused")]
)
def test_more_bytes_than_wanted_are_an_error(server, client_of, fault, complaint):
    server.faults["/thing"] = iter([fault])
    with pytest.raises(DataError, match=f"/thing: {complaint}"):
        client_of().get(f"{server.url}/thing", max_bytes=4000)


def test_an_answer_that_trickles_is_given_up(server, client_of):
    def trickle(handler, body):
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x")
                handler.wfile.flush()
                time.sleep(0.002)
        except OSError:
            handler.close_connection = True

    server.faults["/thing"] = for_ever(trickle)
    with pytest.raises(DataError, match=r"no whole answer within 0\.1 s"):
        get(client_of(attempts=1, answer_s=0.1), server)


def test_no_more_requests_at_once_than_allowed(server, client_of):
    def slow(handler, body):
        time.sleep(0.02)
        handler.answer(200, body)

    server.faults["/thing"] = for_ever(slow)
    client = client_of(concurrency=2)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: get(client, server, keep=False), range(12)))
    assert server.most_at_once == 2


def test_the_defaults_are_hexs_own():
    stated = HexSettings.from_environment({})
    assert (stated.api_url, stated.repo_url) == (PUBLIC_API, PUBLIC_REPOSITORY)
    assert (stated.timeout_s, stated.concurrency, stated.is_offline, stated.is_trusted) == (15, 8, False, True)
    assert stated.verify_https and stated.verify_registry and stated.verify_origin


def test_the_variables_of_hex_are_kept_to(tmp_path):
    stated = HexSettings.from_environment(
        {
            "HEX_API_URL": "https://api.example/api/",
            "HEX_API_KEY": "k1",
            "HEX_REPOS_KEY": "k2",
            "HEX_MIRROR": "https://mirror.example/",
            "HEX_HTTP_TIMEOUT": "120",
            "HEX_HTTP_CONCURRENCY": "1",
            "HEX_OFFLINE": "1",
            "HEX_UNSAFE_REGISTRY": "true",
            "HEX_UNSAFE_HTTPS": "0",
            "HEX_NO_VERIFY_REPO_ORIGIN": "1",
            "HEX_CACERTS_PATH": str(tmp_path / "ca.pem"),
        }
    )
    assert stated == HexSettings(
        api_url="https://api.example/api",
        api_key="k1",
        repo_key="k2",
        repo_url="https://mirror.example",
        is_trusted=False,
        timeout_s=120,
        concurrency=1,
        is_offline=True,
        verify_registry=False,
        verify_origin=False,
        cacerts=tmp_path / "ca.pem",
    )


def test_a_trusted_mirror_stands_before_another_and_may_have_the_key():
    stated = HexSettings.from_environment(
        {"HEX_TRUSTED_MIRROR": "https://ours.example", "HEX_MIRROR_URL": "https://anybodys.example"}
    )
    assert (stated.repo_url, stated.is_trusted) == ("https://ours.example", True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEX_OFFLINE", "yes"),
        ("HEX_HTTP_TIMEOUT", "soon"),
        ("HEX_HTTP_CONCURRENCY", "0"),
        ("HEX_API_URL", "hex.pm/api"),
    ],
)
def test_a_variable_that_cannot_be_meant_is_an_error(name, value):
    with pytest.raises(RecipeError, match=f"{name}|address must start with http"):
        HexSettings.from_environment({name: value})


def test_certificates_that_are_none_are_an_error(server, client_of, tmp_path):
    with pytest.raises(DataError, match=r"HEX_CACERTS_PATH=.*missing.pem: no certificates"):
        get(client_of(cacerts=tmp_path / "missing.pem", verify_https=True), server)
