import dataclasses
import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.data.scrub import placeholder, scrub, scrub_example, texts_of
from elixir_coder.example import Example, Turn
from elixir_coder.toolchain.finding import Outcome
from elixir_coder.toolchain.toolchain import Toolchain

dice = random.Random(7)


def chosen(alphabet, length):
    return "".join(dice.choice(alphabet) for _ in range(length))


LETTERS = string.ascii_letters + string.digits
SECRETS = {  # put together here, so that no scanner takes this file for a leak
    "aws access key": "AKIA" + chosen(string.ascii_uppercase + string.digits, 16),
    "google key": "AIza" + chosen(LETTERS, 35),
    "github token": "ghp_" + chosen(LETTERS, 36),
    "slack token": "xoxb-" + chosen(string.digits, 12) + "-" + chosen(LETTERS, 24),
    "slack webhook": "hooks.slack.com/services/T"
    + chosen(LETTERS, 8)
    + "/B"
    + chosen(LETTERS, 8)
    + "/"
    + chosen(LETTERS, 24),
    "stripe key": "sk_live_" + chosen(LETTERS, 24),
    "npm token": "npm_" + chosen(LETTERS, 36),
    "json web token": f"eyJhbGciOiJIUzI1NiJ9.eyJ{chosen(LETTERS, 20)}.{chosen(LETTERS, 43)}",
    "e-mail address": "jose.perez+lists@uni-hamburg.de",
    "public IPv4 address": "151.101.113.7",
    "URL with a password": "https://deploy:" + chosen(LETTERS, 12) + "@registry.acme.io/x",
    "private key": "-----BEGIN RSA PRIVATE KEY-----\\n" + chosen(LETTERS, 64) + "\\n-----END RSA PRIVATE KEY-----",
}
NAMED = {
    f'config :app, secret_key_base: "{chosen(LETTERS + "+/", 64)}"': "assigned secret",
    'live_view: [signing_salt: "q7Xz+3Lk"]': "assigned secret",
    f'  password: "{chosen(LETTERS, 20)}"': "assigned secret",
    f'System.put_env("API_TOKEN", "{chosen("0123456789abcdef", 40)}")': "assigned secret",
    f"HEX_API_KEY={chosen('0123456789abcdef', 32)} mix hex.publish": "hex key",
}


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_written_over_in_its_length(kind):
    secret = SECRETS[kind]
    code = f'# see {secret}\ndef f, do: "{secret}"\n'

    scrubbed = scrub(code)

    assert scrubbed.found == {kind: 2}
    assert secret not in scrubbed.text
    assert len(scrubbed.text) == len(code)
    assert scrub(scrubbed.text).text == scrubbed.text and not scrub(scrubbed.text).found
    first, second = scrubbed.text.splitlines()
    assert first.removeprefix("# see ") in second  # what agreed still agrees


@pytest.mark.parametrize(("code", "kind"), NAMED.items())
def test_what_is_assigned_to_a_telling_name_is_scrubbed_when_it_looks_random(code, kind):
    scrubbed = scrub(code)

    assert scrubbed.found == {kind: 1}
    assert len(scrubbed.text) == len(code) and scrubbed.text != code


@pytest.mark.parametrize(
    "code",
    [
        'from: "alice@example.com", to: "bob@mail.test"',
        '"postgres://postgres:postgres@localhost/app_test"',
        'username: "postgres", password: "postgres"',
        'signing_salt: "<%= @signing_salt %>"',
        'secret_key_base: String.duplicate("abcdefgh", 8)',
        'secret_key_base: "#{secret}"',
        '{:dep, git: "git@github.com:acme/dep.git"}',
        'Node.connect(:"app@127.0.0.1")',
        ":hell@o.wor",
        'assert parse("192.168.0.1") == {192, 168, 0, 1}',
        'assert parse("93.184.216.34") == {93, 184, 216, 34}',
        '@version "1.14.0.2"',
        'def token, do: "invalid_token"',
        'token: "7488a646-e31f-11e4-aace-600308960662"',
        'api_key: "my-api-key"',
        '"AKIAIOSFODNN7EXAMPLE"',
        'sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"',
        '"-----BEGIN CERTIFICATE-----\\nMIIB\\n-----END CERTIFICATE-----"',
        'src: "logo@2x.png"',
    ],
)
def test_what_is_no_secret_stays(code):
    assert scrub(code).text == code


def test_an_escape_before_an_address_stays():
    assert scrub(r'"to:\nanna.muster@uni-hamburg.de"').text.startswith(r'"to:\nuser')


@pytest.fixture(scope="module")
def parses():
    with Toolchain(workers=1) as toolchain:
        yield lambda code: toolchain.parse(code).outcome == Outcome.OK


@pytest.mark.elixir
@given(
    pieces=st.lists(
        st.sampled_from([*SECRETS.values(), *NAMED, '"', "\\n", "\n", "#{", "}", "'", "x = ", "~s(", ")", ":", "@"]),
        max_size=8,
    )
)
def test_scrubbed_text_parses_where_the_original_did(parses, pieces):
    code = "".join(pieces)
    scrubbed = scrub(code)

    assert parses(scrubbed.text) == parses(code)
    assert len(scrubbed.text) == len(code)
    assert scrub(scrubbed.text).text == scrubbed.text


def test_a_placeholder_has_the_shape_of_what_it_stands_for():
    assert placeholder("AbC-9f/xYzAA==")[3] == "-" and placeholder("AbC-9f/xYzAA==").endswith("==")
    assert placeholder("dead0eef7eadbeef").startswith("aaaa0aaa")
    assert placeholder("one secret") != placeholder("two secret")


def test_every_text_of_an_example_is_scrubbed():
    secret = SECRETS["github token"]
    example = Example.of(
        f"# {secret}",
        path="a.ex",
        package="a",
        version="1",
        licence="MIT",
        source="folder",
        tests=secret,
        before=secret,
    )
    example = dataclasses.replace(example, answers=(secret,), turns=(Turn(role="user", content=secret),))

    scrubbed, found = scrub_example(example)

    assert found == {"github token": 5}
    assert not any(secret in text for text in texts_of(scrubbed).values())
    assert scrubbed.sha256 == Example.of(scrubbed.code, path="", package="", version="", licence="", source="").sha256
    assert scrub_example(scrubbed)[0] is scrubbed
