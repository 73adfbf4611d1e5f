import datetime
import json

import pytest

from elixir_coder.data.hex_api import HexApi
from elixir_coder.data.hex_http import HexClient, NotFoundError
from elixir_coder.data.hex_metadata import Requirement
from elixir_coder.errors import DataError
from tests.data.hex_server import HexServer, settings


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = HexServer(page_size=2)
    for name, downloads, recent in (("ash", 10, 9), ("bandit", 50, 1), ("cowlib", 30, 5), ("decimal", 40, 2)):
        server.publish(name, "1.0.0", downloads=downloads, recent=recent)
    yield server
    server.close()


@pytest.fixture
def api(server, tmp_path):
    client = HexClient(settings(server, api_key="secret"), tmp_path)
    yield HexApi(client)
    client.close()


def test_every_page_is_read_in_the_order_asked_for(api, server):
    assert [info.name for info in api.packages()] == ["ash", "bandit", "cowlib", "decimal"]
    assert [path for path, _, _ in server.requests] == [f"/api/packages?page={page}&sort=name" for page in (1, 2, 3)]
    assert [info.name for info in api.packages(sort="total_downloads")] == ["bandit", "decimal", "cowlib", "ash"]
    assert [info.name for info in api.packages(sort="recent_downloads")] == ["ash", "cowlib", "decimal", "bandit"]


def test_pages_are_read_as_they_are_asked_for(api, server):
    assert next(api.packages()).name == "ash"
    assert len(server.requests) == 1


def test_a_search_is_passed_on(api):
    assert [info.name for info in api.packages(search="an")] == ["bandit"]


def test_the_key_and_the_format_are_sent(api, server):
    api.package("ash")
    assert server.requests[0][1]["authorization"] == "secret"
    assert "application/vnd.hex+json" in server.requests[0][1]["accept"]


def test_a_list_without_end_is_an_error(api, server):
    """A server that does not count pages gives the first one for ever."""
    server.bodies["/api/packages"] = json.dumps([server.packages["ash"], server.packages["bandit"]]).encode()
    with pytest.raises(DataError, match=r"page=2.*repeats packages of earlier pages"):
        list(api.packages())
    assert len(server.requests) == 2


def test_a_package_that_moved_to_the_next_page_is_given_once(api, server):
    infos = api.packages(sort="total_downloads")
    assert [next(infos).name, next(infos).name] == ["bandit", "decimal"]
    server.packages["ash"]["downloads"]["all"] = 100  # the list shifts by one while it is read
    assert [info.name for info in infos] == ["cowlib"]


def test_a_package_says_what_it_is(api, server):
    server.publish(
        "ash", "1.1.0-rc.1", has_docs=False, inserted_at="2026-03-04T05:06:07.123456Z", downloads=11, recent=4
    )
    server.publish("ash", "0.9.0", is_retired=True, downloads=11, recent=4)
    info = api.package("ash")
    assert (info.name, info.downloads, info.recent_downloads, info.licences) == ("ash", 11, 4, ("Apache-2.0",))
    assert [release.version for release in info.releases] == ["0.9.0", "1.1.0-rc.1", "1.0.0"]
    assert info.retired == {"0.9.0"}
    assert info.releases[1].has_docs is False
    assert info.releases[1].inserted_at == datetime.datetime(2026, 3, 4, 5, 6, 7, 123456, tzinfo=datetime.UTC)


def test_a_release_says_what_it_needs(api, server):
    needs = {"plug": {"requirement": "~> 1.0", "optional": True, "app": "plug"}}
    server.publish("eventstore", "2.0.0", requirements=needs, build_tools=["mix", "make"])
    release = api.release("eventstore", "2.0.0")
    assert release.requirements == (Requirement(package="plug", requirement="~> 1.0", optional=True, app="plug"),)
    assert release.build_tools == ("mix", "make")
    assert release.checksum == server.releases["eventstore"]["2.0.0"][1]["checksum"]
    assert not release.is_retired


def test_what_is_not_there_is_told_apart(api):
    with pytest.raises(NotFoundError, match="api/packages/nothing"):
        api.package("nothing")
    with pytest.raises(NotFoundError):
        api.release("ash", "9.9.9")


@pytest.mark.parametrize("name", ["../users", "a/b", "", "a?b", "-a"])
def test_a_name_cannot_lead_elsewhere(api, server, name):
    with pytest.raises(DataError, match="cannot be the name of a package"):
        api.package(name)
    assert server.requests == []


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"<html>maintenance</html>", "expected JSON, found b'<html>maintenance"),
        (b"", "expected JSON"),
        (b"[" * 200_000, "expected JSON"),
        (b"[]", "expected an object"),
        (b'{"releases": []}', "name must be of type str, found None"),
        (b'{"name": "ash", "downloads": []}', "expected an object, found \\[\\]"),
        (b'{"name": "ash", "downloads": {"all": "many"}}', "all must be of type int, found 'many'"),
        (b'{"name": "ash", "releases": [{"version": 1}]}', "version must be of type str, found 1"),
        (
            b'{"name": "ash", "releases": [{"version": "1.0.0", "inserted_at": "soon"}]}',
            "inserted_at is no date: 'soon'",
        ),
        (b'{"name": "../ash"}', "cannot be the name"),
        (b'{"name": "other"}', "answered with the package 'other'"),
    ],
)
def test_an_answer_of_another_shape_is_an_error_that_says_where(api, server, body, complaint):
    server.bodies["/api/packages/ash"] = body
    with pytest.raises(DataError, match=f"/api/packages/ash: .*{complaint}|{complaint}"):
        api.package("ash")


def test_a_short_answer_is_enough(api, server):
    """A registry that keeps no downloads, dates or links."""
    server.bodies["/api/packages/ash"] = b'{"name": "ash", "releases": [{"version": "1.0.0"}]}'
    info = api.package("ash")
    assert (info.downloads, info.updated_at, info.links, info.releases[0].has_docs) == (0, None, {}, None)
