import contextlib
import struct
import subprocess
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from elixir_coder.toolchain.terms import Atom, Bits, ImproperList, TermError, decode, encode

ATOM_NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=255).filter(
    lambda name: name not in ("nil", "true", "false")
)
# A text of one code point of two halves of a surrogate pair is no text, in Erlang as in Python.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**3000), max_value=2**3000)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | ATOM_NAMES.map(Atom)
    | st.builds(Bits, st.binary(min_size=1), st.integers(1, 7))
)
KEYS = st.none() | st.booleans() | st.integers() | TEXTS | st.tuples(TEXTS, st.integers())
TERMS = st.recursive(
    LEAVES,
    lambda inside: (
        st.lists(inside)
        | st.lists(inside).map(tuple)
        | st.dictionaries(KEYS, inside)
        | st.builds(ImproperList, st.lists(inside, min_size=1), LEAVES)
    ),
    max_leaves=40,
)


@given(TERMS)
@example([(), {}, [], [[]], ([],), {"": {}}])
@example(tuple(range(300)))
def test_what_is_encoded_is_decoded_again(term):
    assert decode(encode(term)) == term


@given(TERMS)
def test_types_survive(term):
    assert repr(decode(encode(term))) == repr(term)


@given(st.binary())
@example(b"\x83")
@example(b"\x83h\xff")
@example(b"\x83l\xff\xff\xff\xffj")
@example(b"\x83t\xff\xff\xff\xff")
@example(b"\x83P\x00\x00\x00\x01")
@example(b"\x83n\xff\x00\x01")
@example(b"\x83M\x00\x00\x00\x00\x08")
def test_bytes_that_nobody_wrote_are_a_term_or_a_term_error(data):
    for hostile in (data, b"\x83" + data):
        with contextlib.suppress(TermError):
            decode(hostile)


@given(TERMS, st.data())
def test_a_damaged_term_is_a_term_or_a_term_error(term, data):
    encoded = bytearray(encode(term))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(TermError):
        decode(bytes(encoded))


@given(TERMS)
def test_a_term_cut_short_is_refused(term):
    encoded = encode(term)
    for end in {0, 1, 2, len(encoded) // 2, len(encoded) - 1} - {len(encoded)}:
        with pytest.raises(TermError):
            decode(encoded[:end])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an Erlang term"),
        (b"\x82a\x01", "not an Erlang term"),
        (b"\x83a\x01a", "1 bytes follow"),
        (b"\x83\x00", "no term begins with the byte 0"),
        (b"\x83l\x7f\xff\xff\xff" + b"j" * 9, "cut short"),
        (b"\x83F\x7f\xf0\x00\x00\x00\x00\x00\x00", "no float inf"),
        (b"\x83w\x01\xff", "not UTF-8"),
        (b"\x83n\x01\x02\x01", "sign"),
        (b"\x83c" + b"1.5 apples".ljust(31, b"\0"), "not a number"),
        (b"\x83c" + b"1e999".ljust(31, b"\0"), "no float inf"),
        (b"\x83t\x00\x00\x00\x01jj", "cannot become a key"),
        (b"\x83t\x00\x00\x00\x01h\x01jj", "cannot become a key"),
        (b"\x83P\xff\xff\xff\xff", "67108864 is the most"),
        (b"\x83P\x00\x00\x00\x02nonsense", "damaged"),
        (b"\x83P\x00\x00\x00\x02" + zlib.compress(b"j"), "length"),
        (b"\x83P\x00\x00\x00\x01" + zlib.compress(b"j" * 1000), "length"),
    ],
)
def test_the_error_says_what_is_wrong(data, message):
    with pytest.raises(TermError, match=message):
        decode(data)


def test_a_term_as_deep_as_it_gets_is_read():
    depth = 200_000
    for opening, closing in ((b"h\x01", b"j"), (b"l\x00\x00\x00\x01", b"j" + b"j" * depth)):
        term = decode(b"\x83" + opening * depth + closing)
        again = encode(term)
        assert len(again) == 1 + len(opening) * depth + len(closing)
        for _ in range(depth):
            term = term[0]
        assert term == []


def test_a_deep_key_is_refused_before_python_hashes_it():
    with pytest.raises(TermError, match="deep tuple"):
        decode(b"\x83t\x00\x00\x00\x01" + b"h\x01" * 200_000 + b"a\x01" + b"j")


def test_a_bomb_of_zeros_is_not_unpacked():
    with pytest.raises(TermError, match="length"):
        decode(b"\x83P\x00\x00\x00\x09" + zlib.compress(b"m" + b"\0" * 100_000_000))


def test_a_compressed_term_is_read():
    assert decode(b"\x83P" + struct.pack(">I", 1) + zlib.compress(b"j")) == []


def test_older_encodings_are_read():
    assert decode(b"\x83d\x00\x01\xe9") == Atom("é")
    assert decode(b"\x83s\x01\xe9") == Atom("é")
    assert decode(b"\x83v\x00\x02\xc3\xa9") == Atom("é")
    assert decode(b"\x83k\x00\x03\x01\x02\xff") == [1, 2, 255]
    assert decode(b"\x83c" + b"1.50000000000000000000e+00".ljust(31, b"\0")) == 1.5
    assert decode(b"\x83o\x00\x00\x00\x01\x01\x05") == -5


def test_bytes_become_text_with_marks_where_they_are_none():
    assert decode(encode(b"a\xff\xc3\xa9")) == "a\ufffdé"


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (object(), "a object is not a term"),
        ({1, 2}, "a set is not a term"),
        (float("nan"), "no float nan"),
        (float("inf"), "no float inf"),
        (Atom("a" * 256), "at most 255"),
        (Bits(b"", 1), "not bits"),
    ],
)
def test_what_has_no_place_in_erlang_is_refused(term, message):
    with pytest.raises(TermError, match=message):
        encode([term])


def test_names_in_a_tree_become_atoms_where_they_are_asked_for():
    tree = encode((("foo",), [], [("a", 1), ("b",)]))
    assert decode(tree) == (("foo",), [], [("a", 1), ("b",)])
    named = decode(tree, names=True)
    assert repr(named) == "(Atom('foo'), [], [('a', 1), Atom('b')])"


# Written by Elixir; what Python must read is beside it.
WRITTEN = [
    (":ok", Atom("ok")),
    ("[nil, true, false]", [None, True, False]),
    ("{}", ()),
    ("{1, -1, 255, 256, -2147483648, 2147483648}", (1, -1, 255, 256, -(2**31), 2**31)),
    ("[1.5, -0.0, 1.0e300]", [1.5, -0.0, 1e300]),
    ("Bitwise.bsl(1, 5000) - 1", 2**5000 - 1),
    ("-Bitwise.bsl(1, 70)", -(2**70)),
    ("'abc'", [97, 98, 99]),
    ("[1, 2, 256]", [1, 2, 256]),
    ('"é" <> <<255>>', "é\ufffd"),
    ("<<5::3>>", Bits(b"\xa0", 3)),
    ("<<1, 2::4>>", Bits(b"\x01\x20", 4)),
    ("[1 | 2]", ImproperList([1], 2)),
    ('%{1 => [], "a" => %{}, {1, :b} => :c}', {1: [], "a": {}, (1, Atom("b")): Atom("c")}),
    (":é", Atom("é")),
    ('String.to_atom(String.duplicate("é", 200))', Atom("é" * 200)),
    ("List.to_tuple(Enum.to_list(1..300))", tuple(range(1, 301))),
    ("Enum.to_list(1..70000)", list(range(1, 70001))),
]
FOREIGN = [("self()", "process"), ("make_ref()", "reference"), ("fn -> 1 end", "function"), ("&Enum.map/2", "function"),
           ("hd(Port.list())", "port")]  # fmt: skip


@pytest.mark.elixir
def test_what_a_virtual_machine_writes_is_read(tmp_path):
    (tmp_path / "sent").write_bytes(b"".join(struct.pack(">I", len(data)) + data for data in map(encode, SENT)))
    program = f"""
    folder = "{tmp_path}"
    write = fn name, terms, options ->
      File.write!(Path.join(folder, name), for(t <- terms, b = :erlang.term_to_binary(t, options),
        do: [<<byte_size(b)::32>>, b]))
    end
    terms = [{", ".join(source for source, _ in WRITTEN)}]
    write.("plain", terms, [])
    write.("packed", terms, [:compressed])
    write.("older", terms, [minor_version: 0])
    write.("foreign", [{", ".join(source for source, _ in FOREIGN)}], [])
    frames = fn frames, data -> case data do
      "" -> []
      <<size::32, frame::binary-size(size), rest::binary>> -> [:erlang.binary_to_term(frame) | frames.(frames, rest)]
    end end
    write.("back", frames.(frames, File.read!(Path.join(folder, "sent"))), [])
    """
    subprocess.run(["elixir", "-e", program], check=True, timeout=60)

    for name in ("plain", "packed", "older"):
        assert [decode(frame) for frame in frames(tmp_path / name)] == [term for _, term in WRITTEN], name
    for (_, what), frame in zip(FOREIGN, frames(tmp_path / "foreign"), strict=True):
        with pytest.raises(TermError, match=f"a {what} cannot leave"):
            decode(frame)
    assert [decode(frame) for frame in frames(tmp_path / "back")] == SENT


SENT = [term for _, term in WRITTEN if term != "é\ufffd"] + ["", "名", 2**4000, {"deep": [({"a": (1, [2.5])},)]}]


def frames(path):
    data = path.read_bytes()
    while data:
        size = int.from_bytes(data[:4], "big")
        yield data[4 : 4 + size]
        data = data[4 + size :]
