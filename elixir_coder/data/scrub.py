"""Write harmless text over secrets and addresses: the code stays, parses as before, and is as long as before.

    scrub('key: "AKIAJ3NQ7ZK2WQ4VTR5B"').text   ->  'key: "AKIAE8XA9MP2LE0HTI9O"'

What is found: private keys, keys and tokens in the forms that services give them, JSON web tokens, random-looking
strings that are assigned to `secret_key_base`, `password` and the like, URLs with a password, e-mail addresses, and
public IPv4 addresses. A placeholder follows from what it stands for, so that two places that agreed still agree, and
is not taken for a secret again.

Left alone is what is reserved for documentation (example.com, .test, localhost, 192.0.2.0/24: RFC 2606, 5737) and what
people write instead of a secret (`postgres:postgres`, `"changeme"`, `<%= @secret %>`, `#{secret}`).
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import string
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import log2
from typing import Any

from elixir_coder.example import Example

TEXT_FIELDS = ("code", "tests", "instruction", "explanation", "question", "before", "diagnosis", "linearized")

_MARK = "EXAMPLE"
_HEX_MARK = re.compile(r"[0a]{8}", re.IGNORECASE)  # digits stay digits: bare, a letter in front is a name
_MIN_ENTROPY = 3.0  # bits a character; of 64 random hexadecimal digits it is about 3.9, of English about 4, of "aaaa" 0

_PRIVATE_KEY = re.compile(
    r"(?P<begin>-----BEGIN (?P<what>(?:[A-Z]+ )*)PRIVATE KEY-----)"
    r"(?P<body>[A-Za-z0-9+/=\s\\:,.\"'<>-]*?)(?=-----END (?P=what)PRIVATE KEY-----)"
)
_KEY_CHARACTER = re.compile(r"\\[nrt]|[A-Za-z0-9+/]")
_HEADER = re.compile(r"(?:Proc-Type|DEK-Info|Comment|Version)\s*:[^\n\\\"]*")
_TOKENS = re.compile(
    r"(?<![A-Za-z0-9_])(?:"
    r"(?P<aws_access_key>(?:AKIA|ASIA)(?P<s1>[A-Z0-9]{16}))"
    r"|(?P<google_key>AIza(?P<s2>[A-Za-z0-9_-]{35}))"
    r"|(?P<google_token>ya29\.(?P<s3>[A-Za-z0-9_-]{20,}))"
    r"|(?P<github_token>(?:gh[pousr]_|github_pat_)(?P<s4>[A-Za-z0-9_]{22,}))"
    r"|(?P<gitlab_token>glpat-(?P<s5>[A-Za-z0-9_-]{20,}))"
    r"|(?P<slack_token>xox[abeoprs]-(?P<s6>[A-Za-z0-9-]{10,}))"
    r"|(?P<stripe_key>[prs]k_(?:live|test)_(?P<s7>[A-Za-z0-9]{16,}))"
    r"|(?P<npm_token>npm_(?P<s8>[A-Za-z0-9]{36}))"
    r"|(?P<hub_token>hf_(?P<s9>[A-Za-z]{34}))"
    r"|(?P<sendgrid_key>SG\.(?P<s10>[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}))"
    r"|(?P<api_key>sk-(?:[a-z]+-)*(?P<s11>[A-Za-z0-9_-]{32,}))"
    r"|(?P<json_web_token>eyJ[A-Za-z0-9_-]{5,}\.(?P<s12>eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{16,}))"
    r")(?![A-Za-z0-9_])"
    r"|(?P<slack_webhook>hooks\.slack\.com/services/(?P<s13>T[A-Za-z0-9]{6,}/B[A-Za-z0-9]{6,}/[A-Za-z0-9]{16,}))"
)
_TOKEN_MARKS = (  # the pattern is slow, and nearly no file has one of these
    *(
        "AKIA",
        "ASIA",
        "AIza",
        "ya29.",
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
        "github_pat_",
        "glpat-",
        "xox",
        "k_live_",
    ),
    *("k_test_", "npm_", "hf_", "SG.", "sk-", "eyJ", "hooks.slack.com"),
)
_NAME = (
    r"(?:secret_key_base|(?:signing|encryption)_salt|secret_?key|client_secret|app_secret|shared_secret|auth_secret"
    r"|secret_access_key|access_key(?:_id)?|access_token|auth_token|refresh_token|bot_token|api_?(?:key|token|secret)"
    r"|private_key|encryption_key|hex_api_key|hex_key|password|passwd|passphrase|secret|token|cookie)"
)
_ASSIGNED = re.compile(
    rf"""(?<![A-Za-z0-9])(?P<name>{_NAME})["'\]]?\s*(?:(?:::?|=>|=|,)\s*)?"""
    r"""(?P<quote>["'])(?P<value>[A-Za-z0-9+/=_.~!@$%^&*:-]{8,200})(?P=quote)""",
    re.IGNORECASE,
)
_ALWAYS_RANDOM = re.compile(r"secret_key_base|_salt$", re.IGNORECASE)
_NO_WORD = re.compile(r"[^aeiouyAEIOUY]{4}")
_UUID = re.compile(r"(?i)[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_HEX_KEY = re.compile(r"(?i)(?P<name>HEX_API_KEY)\s*=\s*(?P<value>[0-9a-f]{32})\b")
_URL = re.compile(
    r"\b[A-Za-z][A-Za-z0-9+.-]*://(?P<user>[A-Za-z0-9._~%+-]*):(?P<password>[A-Za-z0-9._~%!$&*+,;=-]+)"
    r"@(?P<host>[A-Za-z0-9.-]+)"
)
# An escape such as \n is no part of the name after it.
_EMAIL = re.compile(
    r"(?:(?<=\\[nrtsabdefv0])|(?<![\w.%+\\/@-]))"
    r"(?P<local>[A-Za-z0-9][A-Za-z0-9._%+-]*)@(?P<domain>(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,24})"
    r"(?![\w@-])"
)
_IPV4 = re.compile(
    r"(?<![\w.-])(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?![\w-]|\.\d)"
)

_RESERVED = re.compile(
    r"(?:^|\.)(?:example\.(?:com|net|org)|example|test|invalid|localhost|local|localdomain|internal|lan|onion)$"
    r"|^(?:localhost|127\.\d+\.\d+\.\d+|0\.0\.0\.0|\[::1\])$",
    re.IGNORECASE,
)
_ADDRESSEE = re.compile(r"(?i)\b(?:mailto|e-?mail|to|from|cc|bcc|author|maintainer|contact):$")
_MADE_UP = frozenset("foo bar baz qux foobar abc def domain email-domain host hostname mydomain acme wor".split())
_FILE_ENDS = frozenset("png jpg jpeg gif svg webp ico js ts css scss ex exs eex heex json html md tgz gz zip".split())
_SERVICE_USERS = frozenset({"git", "noreply", "no-reply"})
_PLACEHOLDER_PASSWORD = re.compile(r"p(?:a(?:s(?:s[0-9]*)?)?)?")


@dataclass(frozen=True, kw_only=True)
class Scrubbed:
    """text: as long as the original. found: what was written over, by kind, e.g. {"e-mail address": 2}."""

    text: str
    found: Mapping[str, int]


def scrub(text: str) -> Scrubbed:
    """Write over what no model should learn. Scrubbing again changes nothing."""
    found: Counter[str] = Counter()
    for is_worth_looking, pattern, written_over in _RULES:
        if is_worth_looking(text):
            text = pattern.sub(_counted(written_over, found), text)
    return Scrubbed(text=text, found=dict(found))


def texts_of(example: Example) -> dict[str, str]:
    """Every text of an example that somebody wrote, by a name for it; those that are empty are left out."""
    named = {field: getattr(example, field) for field in TEXT_FIELDS}
    named |= {f"answers/{number}": answer for number, answer in enumerate(example.answers)}
    named |= {f"turns/{number}": turn.content for number, turn in enumerate(example.turns)}
    return {name: text for name, text in named.items() if text}


def scrub_example(example: Example) -> tuple[Example, Mapping[str, int]]:
    """An example with all its texts scrubbed, and what was found in them.

    What annotation took from the code (specs, triples, ...) is not looked at: scrub before annotating.
    """
    found: Counter[str] = Counter()

    def scrubbed(text: str) -> str:
        result = scrub(text)
        found.update(result.found)
        return result.text

    changed: dict[str, Any] = {field: scrubbed(getattr(example, field)) for field in TEXT_FIELDS}
    changed["answers"] = tuple(map(scrubbed, example.answers))
    changed["turns"] = tuple(replace(turn, content=scrubbed(turn.content)) for turn in example.turns)
    if not found:
        return example, found
    changed["sha256"] = hashlib.sha256(changed["code"].encode()).hexdigest()
    return replace(example, **changed), found


def placeholder(secret: str) -> str:
    """As long as the secret and with the same kind of character in each place, made of a hash of it."""
    is_hex = not set(secret) - set(string.hexdigits + "-")
    digits = _stream(secret)
    mark = iter(_MARK if not is_hex else "")
    zeros = 8 if is_hex else 0
    filled: list[str] = []
    for character in secret:
        if not (character.isascii() and character.isalnum()):
            filled.append(character)
        elif zeros:
            filled.append(_like(character, 0, is_hex))
            zeros -= 1
        elif character.isalpha() and (letter := next(mark, None)):
            filled.append(letter if character.isupper() else letter.lower())
        else:
            filled.append(_like(character, next(digits), is_hex))
    return "".join(filled)


def _like(character: str, number: int, is_hex: bool) -> str:
    if character.isdigit():
        return string.digits[number % 10]
    letters = "abcdef" if is_hex else string.ascii_lowercase
    letter = letters[number % len(letters)]
    return letter.upper() if character.isupper() else letter


def _is_placeholder(secret: str) -> bool:
    letters, characters = (re.sub(kind, "", secret) for kind in (r"[^A-Za-z]", r"[^A-Za-z0-9]"))
    is_short = 2 <= len(letters) < len(_MARK) and _MARK.startswith(letters.upper())
    return is_short or _MARK in letters.upper() or bool(_HEX_MARK.match(characters))


def _is_random(value: str, *, is_salt: bool = False) -> bool:
    """Whether a string looks as if nobody had thought of it: no words, many different characters."""
    if _is_placeholder(value):
        return False
    if _UUID.fullmatch(value):
        return False  # names a thing, and opens nothing
    if re.fullmatch(r"[0-9a-fA-F]{24,}", value):
        return len(set(value)) >= 8
    kinds = [any(map(kind, value)) for kind in (str.islower, str.isupper, str.isdigit)]
    if is_salt:  # of Phoenix: eight characters of base64
        words = max((len(word) for word in re.findall(r"[a-z]+|[A-Z]+", value)), default=0)
        return sum(kinds) >= 2 and words <= max(4, len(value) // 4) and _entropy(value) >= 2.4
    runs = re.findall(r"[A-Z]?[a-z]{4,}|[A-Z]{4,}", value)
    in_words = sum(len(run) for run in runs if not _NO_WORD.search(run)) / len(value)
    is_mixed = sum(kinds) == 3 or (kinds[2] and sum(kinds) == 2 and len(value) >= 20)
    return len(value) >= 16 and is_mixed and in_words < 0.5 and _entropy(value) >= _MIN_ENTROPY


def _entropy(value: str) -> float:
    counts = Counter(value).values()
    return -sum(count / len(value) * log2(count / len(value)) for count in counts)


def _stream(secret: str) -> Iterator[int]:
    """Numbers that follow from the secret, without end, and do not tell it."""
    block = 0
    while True:
        yield from hashlib.sha256(f"{block}:{secret}".encode()).digest()
        block += 1


def _named(word: str, original: str) -> str:
    """`user4711` for a user, in the length of the original."""
    digits = _stream(original)
    return (word + "".join(string.digits[next(digits) % 10] for _ in original))[: len(original)]


# ---------------------------------------------- one replacement for each pattern: (kind, text), or None to leave it

_Replacement = tuple[str, str] | None


def _private_key(match: re.Match[str]) -> _Replacement:
    body = match["body"]
    headers = [each.span() for each in _HEADER.finditer(body)]
    scrubbed = _KEY_CHARACTER.sub(
        lambda each: each[0] if each[0][0] == "\\" or any(a <= each.start() < b for a, b in headers) else "A", body
    )
    return None if scrubbed == body else ("private key", match["begin"] + scrubbed)


def _token(match: re.Match[str]) -> _Replacement:
    kind = next(name for name, value in match.groupdict().items() if value and not re.fullmatch(r"s\d+", name))
    secret = next(value for name, value in match.groupdict().items() if value and re.fullmatch(r"s\d+", name))
    if _is_placeholder(secret) or _entropy(secret) < 2.5:
        return None
    return kind.replace("_", " "), match[0][: -len(secret)] + placeholder(secret)


def _assigned(match: re.Match[str]) -> _Replacement:
    value = match["value"]
    if not _is_random(value, is_salt=bool(_ALWAYS_RANDOM.search(match["name"]))):
        return None
    return "assigned secret", match[0][: -len(value) - 1] + placeholder(value) + match["quote"]


def _hex_key(match: re.Match[str]) -> _Replacement:
    value = match["value"]
    return None if _is_placeholder(value) else ("hex key", match[0][: -len(value)] + placeholder(value))


def _url(match: re.Match[str]) -> _Replacement:
    user, password, host = match["user"], match["password"], match["host"]
    if _RESERVED.search(host) or "." not in host or user == password or _PLACEHOLDER_PASSWORD.fullmatch(password):
        return None
    if len(password) < 6 or password.lower() in _NO_PASSWORDS:
        return None  # what one writes in a test of a URL
    before = match[0][: match.start("user") - match.start()]
    return "URL with a password", f"{before}{_named('user', user)}:{_named('pass', password)}@{host}"


def _email(match: re.Match[str]) -> _Replacement:
    local, domain = match["local"], match["domain"]
    if local.lower() in _SERVICE_USERS or _RESERVED.search(domain) or domain.rpartition(".")[2].lower() in _FILE_ENDS:
        return None
    before = match.string[max(0, match.start() - 80) : match.start()]
    if re.search(r"//[^\s/\"']*$", before) or (before.endswith(":") and not _ADDRESSEE.search(before)):
        return None  # the user of a URL, or :a@b.c, an atom
    if not _MADE_UP.isdisjoint(re.split(r"[.@]", domain.lower())):
        return None
    if len(match[0]) >= len("u@example.com"):
        place = "example.com"
    elif len(match[0]) >= len("u@a.test"):
        place = "a.test"
    else:
        return None  # a@b.co: nobody's
    return "e-mail address", _named("user", match[0])[: len(match[0]) - len(place) - 1] + "@" + place


def _ipv4(match: re.Match[str]) -> _Replacement:
    address = match[0]
    if not ipaddress.IPv4Address(address).is_global or len(address) < len("10.0.0.1"):
        return None  # of seven characters there are the resolvers everybody knows, and version numbers
    if re.search(r"[{,(\[]\s*" + r"\s*,\s*".join(address.split(".")) + r"\s*[},)\]]", match.string):
        return None  # a test that says what it is as a tuple
    if re.search(r"(?i)\b(?:v|version|vsn)[\s:=\"'~>]*$", match.string[max(0, match.start() - 24) : match.start()]):
        return None
    number = int.from_bytes(hashlib.sha256(address.encode()).digest()[:4], "big")
    return "public IPv4 address", _private_address(len(address), number)


def _private_address(length: int, number: int) -> str:
    """An address for documentation, or a private one where none is as short or as long."""
    one, two, three = number % 9 + 1, number % 90 + 10, number % 100 + 100
    return {
        8: f"10.0.{number // 9 % 10}.{one}",
        9: f"192.0.2.{one}",
        10: f"192.0.2.{two}",
        11: f"192.0.2.{three}",
        12: f"203.0.113.{two}",
        13: f"203.0.113.{three}",
        14: f"198.51.100.{three}",
        15: f"192.168.{number // 100 % 100 + 100}.{three}",
    }[length]


def _counted(
    written_over: Callable[[re.Match[str]], _Replacement], found: Counter[str]
) -> Callable[[re.Match[str]], str]:
    def replaced(match: re.Match[str]) -> str:
        replacement = written_over(match)
        if replacement is None or replacement[1] == match[0]:
            return match[0]
        found[replacement[0]] += 1
        return replacement[1]

    return replaced


_NO_PASSWORDS = frozenset("pass password passwd secret postgres root admin user test guest pw pwd changeme".split())

_Rule = tuple[Callable[[str], bool], re.Pattern[str], Callable[[re.Match[str]], _Replacement]]
_RULES: tuple[_Rule, ...] = (
    (lambda text: "PRIVATE KEY-----" in text, _PRIVATE_KEY, _private_key),
    (lambda text: any(mark in text for mark in _TOKEN_MARKS), _TOKENS, _token),
    (lambda text: "HEX_API_KEY" in text, _HEX_KEY, _hex_key),
    (lambda text: True, _ASSIGNED, _assigned),
    (lambda text: "://" in text and "@" in text, _URL, _url),
    (lambda text: "@" in text, _EMAIL, _email),
    (lambda text: text.count(".") >= 3, _IPV4, _ipv4),
)
