"""The table of names, against what a running Elixir says of its own modules."""

import os
import struct
import subprocess

import pytest

from elixir_coder.errors import InputError
from elixir_coder.generation.names import BeamError, NameTable, dependency_folders, read_beam
from elixir_coder.toolchain.sandbox import find_elixir
from elixir_coder.toolchain.toolchain import Toolchain

pytestmark = pytest.mark.elixir

APPLICATIONS = ("elixir", "logger", "ex_unit", "mix", "eex", "iex")


@pytest.fixture(autouse=True)
def own_cache(warm, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(warm))


@pytest.fixture(scope="session")
def warm(tmp_path_factory):
    """A cache folder that has been filled once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        NameTable.installed()
    return folder


def beam(module):
    return next(find_elixir().elixir_root.glob(f"lib/*/ebin/Elixir.{module}.beam")).read_bytes()


def chunks_replaced(data, replace):
    """A module with some chunks as another version of Erlang writes them."""
    out, at = b"", 12
    while at < len(data):
        name, size = data[at : at + 4], struct.unpack_from(">I", data, at + 4)[0]
        chunk = replace(name, data[at + 8 : at + 8 + size])
        out += name + struct.pack(">I", len(chunk)) + chunk + b"\0" * (-len(chunk) % 4)
        at += 8 + (size + 3) // 4 * 4
    return b"FOR1" + struct.pack(">I", len(out) + 4) + b"BEAM" + out


def test_a_module_offers_its_functions_macros_and_fields():
    kernel, date, enum = (read_beam(beam(name)) for name in ("Kernel", "Date", "Enum"))
    assert kernel.macros["if"] == (2,) and kernel.arities("+") == {1, 2} and not kernel.is_struct
    assert date.fields == ("calendar", "day", "month", "year")
    assert enum.arities("map") == {2} and enum.arities("at") == {2, 3} and enum.arities("no_such") == frozenset()
    assert enum.begins("flat_m") and not enum.begins("flat_x")


def test_what_only_takes_nothing_cannot_be_piped_into():
    system = read_beam(beam("System"))
    assert system.begins("schedulers_o") and not system.begins("schedulers_o", 1)


def test_atoms_are_read_as_otp_28_writes_them():
    def as_otp_28(name, chunk):
        if name != b"AtU8":
            return chunk
        number, at, out = struct.unpack_from(">I", chunk)[0], 4, b""
        for _ in range(number):
            size = chunk[at]
            length = bytes([size << 4]) if size < 16 else bytes([(size >> 8) << 5 | 8, size & 255])
            out, at = out + length + chunk[at + 1 : at + 1 + size], at + 1 + size
        return struct.pack(">i", -number) + out

    data = beam("Date")
    assert read_beam(chunks_replaced(data, as_otp_28)).functions == read_beam(data).functions


def test_without_its_literals_a_struct_has_unknown_fields():
    data = chunks_replaced(beam("Date"), lambda name, chunk: b"" if name == b"LitT" else chunk)
    assert read_beam(data).is_struct and read_beam(data).fields is None


@pytest.mark.parametrize("damage", [lambda d: b"", lambda d: b"FOR1", lambda d: d[:900], lambda d: b"x" * 99])
def test_a_damaged_module_is_an_error(damage):
    with pytest.raises(BeamError):
        read_beam(damage(beam("Date")))


def test_the_table_has_what_a_running_elixir_has():
    """As `__info__` counts: without itself, module_info and behaviour_info. On Elixir 1.14.0 these are 388 modules,
    3,424 functions, 262 macros and 85 structs."""
    script = f"""
    for app <- {list(APPLICATIONS)!r} |> Enum.map(&String.to_atom/1), _ = Application.load(app),
        {{:ok, modules}} = :application.get_key(app, :modules), module <- modules,
        Code.ensure_loaded?(module) and function_exported?(module, :__info__, 1) and module != :elixir_bootstrap do
      IO.puts([inspect(module), " ", inspect(length(module.__info__(:functions))), " ",
               inspect(length(module.__info__(:macros))), " ", inspect(function_exported?(module, :__struct__, 0))])
    end
    """.replace("'", '"')
    elixir = str(find_elixir().elixir_root / "bin" / "elixir")
    said = subprocess.run([elixir, "-e", script], capture_output=True, text=True, check=True).stdout
    table, hidden = NameTable.installed(), ("__info__", "module_info", "behaviour_info")
    for line in said.splitlines():
        name, *rest = line.split()
        module = table.find(name)
        functions = sum(len(arities) for each, arities in module.functions.items() if each not in hidden)
        macros = sum(map(len, module.macros.values()))
        assert [str(functions), str(macros), str(module.is_struct).lower()] == rest, name
    assert len(said.splitlines()) > 300
    assert all(module.fields for module in table.modules.values() if module.is_struct)
    assert table.find(":lists").arities("map") == {2} and table.find("NoSuchModule") is None


def test_a_second_table_comes_from_what_was_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = NameTable.installed()
    monkeypatch.setattr("elixir_coder.generation.names.read_beam", lambda data: pytest.fail("a module was read again"))
    assert NameTable.installed().find("Enum").functions == first.find("Enum").functions


def test_a_folder_that_is_no_project_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no mix\.exs"):
        NameTable.installed(tmp_path)


class Project:
    """A Mix project whose sources are compiled by `elixirc`, as `mix compile` would place them."""

    def __init__(self, root):
        self.root = root
        self.ebin = root / "_build" / "dev" / "lib" / "shop" / "ebin"
        self.ebin.mkdir(parents=True)
        (root / "lib").mkdir()
        (root / "mix.exs").write_text("defmodule Shop.MixProject do\n  def project, do: [app: :shop]\nend\n")

    def write(self, name, code, *, seconds=-100):
        """A source, that many seconds from now."""
        path = self.root / "lib" / name
        path.write_text(code)
        moment = path.stat().st_mtime + seconds
        os.utime(path, (moment, moment))

    def compile(self):
        program = str(find_elixir().elixir_root / "bin" / "elixirc")
        subprocess.run([program, "-o", str(self.ebin), *map(str, (self.root / "lib").glob("*.ex"))], check=True)


CART = "defmodule Shop.Cart do\n  defstruct items: [], total: 0\n  def add(cart, item), do: {cart, item}\nend\n"


@pytest.fixture
def project(tmp_path):
    made = Project(tmp_path / "shop")
    made.write("cart.ex", CART)
    made.compile()
    return made


def test_a_project_and_its_dependencies_are_known(project):
    cart = NameTable.installed(project.root).find("Shop.Cart")
    assert cart.arities("add") == {2} and cart.fields == ("items", "total")


def test_a_table_sees_a_project_change(project):
    table = NameTable.installed(project.root)
    version = table.version
    assert table.refresh() == 0 and table.version == version
    project.write("cart.ex", CART.replace("def add", "def put"))
    project.compile()
    assert table.refresh() > 0 and table.version > version
    assert table.find("Shop.Cart").arities("put") == {2} and not table.find("Shop.Cart").arities("add")


def test_a_module_being_written_keeps_what_was_known(project):
    table = NameTable.installed(project.root)
    (project.ebin / "Elixir.Shop.Cart.beam").write_bytes(b"FOR1 half")
    table.refresh()
    assert table.find("Shop.Cart").arities("add") == {2}


def test_a_newer_source_is_not_judged_by_its_old_module(project):
    table = NameTable.installed(project.root)
    project.write("cart.ex", CART.replace("def add", "def put"), seconds=100)
    table.refresh()
    assert table.find("Shop.Cart") is None


def test_newer_sources_are_compiled_where_there_is_a_toolchain(project):
    project.write("cart.ex", CART.replace("def add", "def put"), seconds=100)
    dependency = project.ebin.parents[1] / "decimal" / "ebin"
    dependency.mkdir(parents=True)
    assert dependency_folders(project.root) == [dependency]
    with Toolchain(workers=1, code_paths=dependency_folders(project.root)) as toolchain:
        cart = NameTable.installed(project.root, toolchain).find("Shop.Cart")
    assert cart.arities("put") == {2} and not cart.arities("add") and cart.fields == ("items", "total")
    assert cart.is_struct
