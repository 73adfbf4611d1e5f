"""Erlang terms as bytes and back: what Python and a virtual machine say to each other.

    Python                      Erlang                        back in Python
    str                         binary, UTF-8                 str; bytes that are not UTF-8 become U+FFFD
    bytes                       binary                        str, as above
    int, float                  integer, float                int, float
    None, True, False           nil, true, false              None, True, False
    Atom                        any other atom                Atom
    list, tuple, dict           list, tuple, map              list, tuple, dict
    -                           improper list                 ImproperList
    -                           bitstring of 8n + k bits      Bits

A process, a port, a reference or a function means nothing outside its machine: TermError, as for every malformed byte.
The virtual machine may be under the control of the code it judges, so that `decode` trusts nothing: it takes no more
memory than a small multiple of what arrived and never recurses.

Method: the ERTS user's guide, "External Term Format", https://www.erlang.org/doc/apps/erts/erl_ext_dist
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_VERSION = 131
# What a compressed term may grow to: nothing that we ask for is larger, and a bomb of zeros grows a thousandfold.
_MAX_UNCOMPRESSED_BYTES = 64 << 20

_MAX_KEY_DEPTH = 16

_NEW_FLOAT, _BIT_BINARY, _COMPRESSED = 70, 77, 80
_SMALL_INTEGER, _INTEGER, _FLOAT = 97, 98, 99
_ATOM, _SMALL_TUPLE, _LARGE_TUPLE, _NIL, _STRING, _LIST, _BINARY = 100, 104, 105, 106, 107, 108, 109
_SMALL_BIG, _LARGE_BIG, _SMALL_ATOM, _MAP, _ATOM_UTF8, _SMALL_ATOM_UTF8 = 110, 111, 115, 116, 118, 119
_FOREIGN = {
    88: "a process",
    89: "a port",
    90: "a reference",
    101: "a reference",
    102: "a port",
    103: "a process",
    112: "a function",
    113: "a function",
    114: "a reference",
    117: "a function",
    120: "a port",
}
_CONSTANTS = {"nil": None, "true": True, "false": False}


class TermError(ValueError):
    """Bytes that are not a term, or a term that cannot cross."""


class Atom(str):
    """An atom that is none of nil, true and false; equal to the string of its name."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Atom({str.__repr__(self)})"


class ImproperList(list):
    """A list whose last cell holds something else than the empty list: the elements, then that `tail`."""

    def __init__(self, elements: list[Any], tail: Any):
        super().__init__(elements)
        self.tail = tail

    def __repr__(self) -> str:
        return f"ImproperList({list.__repr__(self)}, {self.tail!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImproperList) and self.tail == other.tail and list.__eq__(self, other)

    __hash__ = None


@dataclass(frozen=True)
class Bits:
    """Bits that are no whole number of bytes. Of the last byte only the upper `last_bits` (1 to 7) count."""

    data: bytes
    last_bits: int


def encode(term: Any) -> bytes:
    """`term` as the virtual machine's `binary_to_term` reads it.

    Raises TermError for a value that has no place in the table above, NaN and infinities among them.
    """
    out = bytearray((_VERSION,))
    waiting = [term]  # a stack, so that a deep term is no deep recursion
    while waiting:
        value = waiting.pop()
        if value is None or value is True or value is False:
            _put_atom({None: "nil", True: "true", False: "false"}[value], out)
        elif isinstance(value, Atom):
            _put_atom(value, out)
        elif isinstance(value, str):
            data = value.encode("utf-8", "surrogatepass")
            out += struct.pack(">BI", _BINARY, _count(data)) + data
        elif isinstance(value, (bytes, bytearray)):
            out += struct.pack(">BI", _BINARY, _count(value)) + value
        elif isinstance(value, int):
            _put_integer(value, out)
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise TermError(f"Erlang has no float {value}")
            out += struct.pack(">Bd", _NEW_FLOAT, value)
        elif isinstance(value, tuple):
            out += (
                bytes((_SMALL_TUPLE, len(value))) if len(value) < 256 else struct.pack(">BI", _LARGE_TUPLE, len(value))
            )
            waiting += reversed(value)
        elif isinstance(value, list):
            if value:
                out += struct.pack(">BI", _LIST, _count(value))
                waiting.append(value.tail if isinstance(value, ImproperList) else [])
                waiting += reversed(value)
            elif isinstance(value, ImproperList):
                waiting.append(value.tail)
            else:
                out.append(_NIL)
        elif isinstance(value, dict):
            out += struct.pack(">BI", _MAP, len(value))
            for key, item in reversed(value.items()):
                waiting += (item, key)
        elif isinstance(value, Bits):
            if not (1 <= value.last_bits <= 7 and value.data):
                raise TermError(f"not bits: {value}")
            out += struct.pack(">BIB", _BIT_BINARY, _count(value.data), value.last_bits) + value.data
        else:
            raise TermError(f"a {type(value).__name__} is not a term")
    return bytes(out)


def _count(data: Any) -> int:
    if len(data) >= 1 << 32:
        raise TermError(f"too long for a term: {len(data)}")
    return len(data)


def _put_atom(name: str, out: bytearray) -> None:
    if len(name) > 255:
        raise TermError(f"an atom has at most 255 characters, not {len(name)}")
    data = name.encode("utf-8", "surrogatepass")
    out += bytes((_SMALL_ATOM_UTF8, len(data))) if len(data) < 256 else struct.pack(">BH", _ATOM_UTF8, len(data))
    out += data


def _put_integer(value: int, out: bytearray) -> None:
    if 0 <= value < 256:
        out += bytes((_SMALL_INTEGER, value))
    elif -(1 << 31) <= value < 1 << 31:
        out += struct.pack(">Bi", _INTEGER, value)
    else:
        data = abs(value).to_bytes((value.bit_length() + 7) // 8, "little")
        out += bytes((_SMALL_BIG, len(data))) if len(data) < 256 else struct.pack(">BI", _LARGE_BIG, len(data))
        out.append(value < 0)
        out += data


def decode(data: bytes, *, names: bool = False) -> Any:
    """The one term that `data` is, wholly.

    names: a tuple of one text is an Atom of that name: so syntax trees are sent, because a machine cannot send an atom
        without making it, and cannot forget it again.

    Raises TermError for anything else. Of a map whose keys become equal here (1 and 1.0, an atom and a binary of one
    name) the later pair stays.
    """
    try:
        return _decode(data, names)
    except (IndexError, struct.error):
        raise TermError("the term is cut short") from None
    except UnicodeDecodeError:
        raise TermError("the name of an atom is not UTF-8") from None


@dataclass(slots=True)
class _Frame:
    """A container on the way: how many terms are missing, and which there are."""

    tag: int
    missing: int
    terms: list[Any]


def nodes_of(term: Any) -> Iterator[Any]:
    """A term and all in its lists and tuples, each before what it holds: every node of a syntax tree, in order."""
    waiting = [term]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, (list, tuple)):
            waiting.extend(reversed(node))


def _decode(data: bytes, names: bool) -> Any:
    if not data or data[0] != _VERSION:
        raise TermError("not an Erlang term")
    at = 1
    if data[1] == _COMPRESSED:
        data, at = _uncompressed(data), 0

    frames: list[_Frame] = []
    while True:
        tag = data[at]
        at += 1
        count = -1  # of the terms inside, where it is a container
        value: Any = None
        if tag == _BINARY:
            raw, at = _bytes(data, at + 4, struct.unpack_from(">I", data, at)[0])
            value = raw.decode("utf-8", "replace")
        elif tag in (_SMALL_ATOM_UTF8, _SMALL_ATOM):
            raw, at = _bytes(data, at + 1, data[at])
            value = _atom(raw.decode("utf-8" if tag == _SMALL_ATOM_UTF8 else "latin-1"))
        elif tag in (_ATOM_UTF8, _ATOM):
            raw, at = _bytes(data, at + 2, struct.unpack_from(">H", data, at)[0])
            value = _atom(raw.decode("utf-8" if tag == _ATOM_UTF8 else "latin-1"))
        elif tag == _SMALL_INTEGER:
            value, at = data[at], at + 1
        elif tag == _INTEGER:
            value, at = struct.unpack_from(">i", data, at)[0], at + 4
        elif tag == _NIL:
            value = []
        elif tag == _SMALL_TUPLE:
            count, at = data[at], at + 1
        elif tag == _LARGE_TUPLE:
            count, at = struct.unpack_from(">I", data, at)[0], at + 4
        elif tag == _LIST:
            count, at = struct.unpack_from(">I", data, at)[0] + 1, at + 4  # and the tail
        elif tag == _MAP:
            count, at = struct.unpack_from(">I", data, at)[0] * 2, at + 4
        elif tag == _NEW_FLOAT:
            value, at = _finite(struct.unpack_from(">d", data, at)[0]), at + 8
        elif tag == _FLOAT:
            raw, at = _bytes(data, at, 31)
            value = _printed_float(raw)
        elif tag == _STRING:  # a list of bytes
            raw, at = _bytes(data, at + 2, struct.unpack_from(">H", data, at)[0])
            value = list(raw)
        elif tag in (_SMALL_BIG, _LARGE_BIG):
            size, at = (data[at], at + 1) if tag == _SMALL_BIG else (struct.unpack_from(">I", data, at)[0], at + 4)
            raw, at = _bytes(data, at, size + 1)
            if raw[0] > 1:
                raise TermError("an integer's sign is neither 0 nor 1")
            value = int.from_bytes(raw[1:], "little") * (-1 if raw[0] else 1)
        elif tag == _BIT_BINARY:
            size, last_bits = struct.unpack_from(">IB", data, at)
            raw, at = _bytes(data, at + 5, size)
            if not (size and 1 <= last_bits <= 8):
                raise TermError("a bitstring without bits in its last byte")
            value = raw.decode("utf-8", "replace") if last_bits == 8 else Bits(raw, last_bits)
        elif tag in _FOREIGN:
            raise TermError(f"{_FOREIGN[tag]} cannot leave its virtual machine")
        else:
            raise TermError(f"no term begins with the byte {tag}")

        if count > 0:
            if count > len(data) - at:  # each takes a byte at least: refused before room is made for them
                raise TermError("the term is cut short")
            frames.append(_Frame(tag, count, []))
            continue
        if count == 0:
            value = {} if tag == _MAP else ()
        while frames:
            frame = frames[-1]
            frame.terms.append(value)
            frame.missing -= 1
            if frame.missing:
                break
            frames.pop()
            value = _container(frame.tag, frame.terms, names)
        else:
            if at != len(data):
                raise TermError(f"{len(data) - at} bytes follow the term")
            return value


def _container(tag: int, terms: list[Any], names: bool) -> Any:
    if tag == _MAP:
        keys = [_hashable(key) for key in terms[::2]]
        return dict(zip(keys, terms[1::2], strict=True))
    if tag == _LIST:
        tail = terms.pop()
        if type(tail) is list:  # [1 | [2]] is [1, 2], though no virtual machine writes it so
            return terms + tail if tail else terms
        if isinstance(tail, ImproperList):
            return ImproperList(terms + tail, tail.tail)
        return ImproperList(terms, tail)
    if names and len(terms) == 1 and type(terms[0]) is str:
        return Atom(terms[0])
    return tuple(terms)


def _hashable(key: Any) -> Any:
    """Raises TermError for what cannot be the key of a dict, and for a tuple so deep that hashing it ends Python."""
    level = [key]
    for _ in range(_MAX_KEY_DEPTH):
        level = [part for value in level if type(value) is tuple for part in value]
        if any(isinstance(part, (list, dict)) for part in level):
            break
        if not level:
            if isinstance(key, (list, dict)):
                break
            return key
    raise TermError("a list, a map or a deep tuple as the key of a map cannot become a key in Python")


def _atom(name: str) -> Any:
    return _CONSTANTS[name] if name in _CONSTANTS else Atom(name)


def _bytes(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if size > len(data) - at:
        raise TermError("the term is cut short")
    return data[at : at + size], at + size


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise TermError(f"Erlang has no float {value}")
    return value


def _printed_float(raw: bytes) -> float:
    try:
        value = float(raw.rstrip(b"\0"))
    except ValueError:
        raise TermError("a float that is not a number") from None
    return _finite(value)


def _uncompressed(data: bytes) -> bytes:
    size = struct.unpack_from(">I", data, 2)[0]
    if size > _MAX_UNCOMPRESSED_BYTES:
        raise TermError(f"a compressed term of {size} bytes; {_MAX_UNCOMPRESSED_BYTES} is the most")
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(data[6:], size + 1)
    except zlib.error as error:
        raise TermError(f"a compressed term that is damaged: {error}") from None
    if len(plain) != size or stream.unused_data or not stream.eof:
        raise TermError("a compressed term whose length is not the one it names")
    return plain
