import json
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.data.hex_metadata import (
    Atom,
    Requirement,
    licence_of,
    read_metadata,
    repository_of,
    terms,
)
from elixir_coder.errors import CorruptArchiveError
from tests.data.hex_server import metadata, term


def test_every_kind_of_term_is_read():
    text = b"""% a comment
    {<<"a">>,"b",c,'D e',12,-3,true,[],{},[{<<"k">>,<<"v">>}]}.
    <<"long "
      "string">>. <<>>. <<195,169>>. <<"a",0,"b">>."""
    assert terms(text) == [
        ("a", "b", Atom("c"), Atom("D e"), 12, -3, True, [], (), [("k", "v")]),
        "long string",
        "",
        "é",
        "a\0b",
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r'<<"a\"b\\c">>', 'a"b\\c'),
        (r'<<"tab\tline\n">>', "tab\tline\n"),
        (r'<<"\303\251">>', "é"),
        (r'<<"\x{e9}"/utf8>>', "é"),
        ('<<"naïve"/utf8>>', "naïve"),
        ('<<"日本"/utf8>>', "日本"),
    ],
)
def test_strings_are_unescaped_as_erlang_does(written, meant):
    assert terms(f"{written}.".encode()) == [meant]


def test_a_file_in_latin_1_is_read():
    assert terms('<<"é"/utf8>>.'.encode("latin-1")) == ["é"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"\x7fELF\x00\x01\x02", "line 1: unexpected"),
        (b'{<<"a">>,<<"b">>}', "expected '.', found 'the end of the file'"),
        (b"{a,b}.\n{a,\nb.", "line 3: expected ','"),
        (b"fun() -> ok end.", "unexpected '('"),
        (b"#{a => 1}.", "unexpected '#'"),
        (b'<<"a"/integer>>.', "expected /utf8, found /integer"),
        (b"<<foo>>.", "expected a string or a byte"),
        (b'"no end', "unexpected '\"'"),
        (b"1.5.", "unexpected '.'"),
        (b"[" * 200 + b"]" * 200 + b".", "nested deeper than 32"),
        (b"9" * 5000 + b".", "expected '.'"),
    ],
)
def test_what_is_no_term_is_refused_with_its_line(text, complaint):
    with pytest.raises(CorruptArchiveError, match=r"^metadata\.config, line ") as refusal:
        terms(text)
    assert complaint in str(refusal.value)


@given(st.binary(max_size=60) | st.text(alphabet="<>\"{}[],./\\ab1'%\n", max_size=60).map(str.encode))
def test_no_text_does_more_than_be_refused(text):
    try:
        terms(text)
    except CorruptArchiveError as error:
        assert str(error).startswith("metadata.config, line ")


@given(
    st.recursive(
        st.text(st.characters(exclude_categories=["Cs"])) | st.integers(-(10**9), 10**9) | st.booleans(),
        lambda inner: st.lists(inner, max_size=4),
        max_leaves=10,
    )
)
def test_what_is_written_is_read_back(value):
    assert terms(f"{term(value)}.".encode()) == [value]


@pytest.mark.elixir
def test_what_erlang_prints_is_read_back(tmp_path):
    """The printer is the one that Hex writes metadata.config with; long and odd strings make it break lines."""
    strings = ["plain", "", 'é\n\t"q" \\', "日本語 " * 30, "word " * 60, "\x00\x01\x7f", "ÿ", "a" * 300, "\u2028", "😀"]
    (tmp_path / "strings.json").write_text(json.dumps([text.encode().hex() for text in strings]))
    script = r"""
    [source, target] = System.argv()
    strings = for [_, hex] <- Regex.scan(~r/"([0-9a-f]*)"/, File.read!(source)), do: Base.decode16!(hex, case: :lower)
    term = {"strings", strings, [{"key", [true, false, 12, {}]}]}
    text = :unicode.characters_to_binary([:io_lib_pretty.print(term, encoding: :utf8), ".\n"])
    File.write!(target, text)
    """
    subprocess.run(
        ["elixir", "-e", script, str(tmp_path / "strings.json"), str(tmp_path / "metadata.config")], check=True
    )
    assert terms((tmp_path / "metadata.config").read_bytes()) == [
        ("strings", strings, [("key", [True, False, 12, ()])])
    ]


def test_metadata_says_what_the_package_is():
    read = read_metadata(
        metadata(
            "plug",
            "1.2.3",
            licenses=["Apache 2.0"],
            requirements={"mime": {"app": "mime", "optional": False, "requirement": "~> 1.0"}},
        )
    )
    assert (read.name, read.version, read.app, read.elixir) == ("plug", "1.2.3", "plug", "~> 1.14")
    assert read.licence == "Apache-2.0"
    assert read.build_tools == ("mix",)
    assert repository_of(read.links) == "https://github.com/acme/plug"
    assert read.requirements == (Requirement(package="mime", requirement="~> 1.0", app="mime"),)


def test_requirements_of_old_packages_are_read():
    oldest = b'{<<"app">>,<<"a">>}. {<<"version">>,<<"1.0.0">>}. {<<"requirements">>,[{<<"plug">>,<<"~> 0.4">>}]}.'
    assert read_metadata(oldest).name == "a"
    assert read_metadata(oldest).requirements == (Requirement(package="plug", requirement="~> 0.4", app="plug"),)
    old = b"""{<<"name">>,<<"a">>}. {<<"version">>,<<"1.0.0">>}. {<<"links">>,[]}.
    {<<"requirements">>,[[{<<"name">>,<<"poison">>},{<<"app">>,<<"poison">>},{<<"optional">>,true},
                          {<<"requirement">>,<<"~> 1.0">>}]]}."""
    assert read_metadata(old).requirements == (
        Requirement(package="poison", requirement="~> 1.0", optional=True, app="poison"),
    )


def test_build_tools_are_guessed_from_the_top_folder_where_nobody_says():
    stated = b"""{<<"name">>,<<"a">>}. {<<"version">>,<<"1.0.0">>}.
    {<<"files">>,[<<"mix.exs">>,<<"lib/Makefile">>,<<"rebar.config">>]}."""
    assert read_metadata(stated).build_tools == ("mix", "rebar3")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "no name"),
        (b'{<<"name">>,<<"a">>}.', "no version"),
        (b"[1,2].", "expected {key, value}"),
        (metadata(licenses="MIT"), "licenses must be a list of strings"),
        (metadata(name=1), "no name"),
        (metadata(requirements=["a"]), "requirements must be a list of pairs"),
        (metadata(links=[1]), "links must be a list of pairs"),
    ],
)
def test_metadata_of_another_shape_is_refused(text, complaint):
    with pytest.raises(CorruptArchiveError, match=complaint):
        read_metadata(text)


@pytest.mark.parametrize(
    ("stated", "expression"),
    [
        (["MIT"], "MIT"),
        (["Apache 2.0", "MIT"], "Apache-2.0 and MIT"),
        (["MIT or Apache-2.0", "ISC"], "MIT or Apache-2.0, and ISC"),
        (["MIT", "mit"], "MIT"),
        (["Proprietary"], "Proprietary"),
        ([], None),
        ([""], None),
    ],
)
def test_all_of_a_packages_licences_must_be_kept_to(stated, expression):
    assert licence_of(stated) == expression


@pytest.mark.parametrize(
    ("links", "url"),
    [
        ({"GitHub": "https://github.com/owner/name"}, "https://github.com/owner/name"),
        (
            {"Docs": "https://docs.example", "Source": "http://www.github.com/owner/name.git"},
            "https://github.com/owner/name",
        ),
        ({"GitLab": "https://gitlab.com/owner/name/-/tree/main#readme"}, "https://gitlab.com/owner/name"),
        ({"Author": "https://github.com/owner"}, ""),
        ({"Site": "https://a.example/x", "Source": "https://git.a.example/b/c.git"}, "https://git.a.example/b/c"),
        ({"Broken": "https://[", "Mail": "mailto:a@b.example"}, ""),
        ({}, ""),
    ],
)
def test_the_repository_is_spelt_one_way(links, url):
    assert repository_of(links) == url
