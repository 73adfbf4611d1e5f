import pytest

from elixir_coder.toolchain.project import (
    FormatterSettings,
    NotWrittenOut,
    formatter_settings,
    literal,
    mentions,
    project_of,
)
from elixir_coder.toolchain.toolchain import Toolchain

pytestmark = pytest.mark.elixir


@pytest.fixture(scope="module")
def toolchain():
    with Toolchain(workers=1) as toolchain:
        yield toolchain


@pytest.fixture
def read(toolchain):
    return lambda path: toolchain.ast(path.read_text()).ast if path.is_file() else None


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def settings(folder, read, text):
    write(folder, {".formatter.exs": text})
    return formatter_settings(folder, read)


@pytest.mark.parametrize(
    "code, value",
    [
        ('[a: 1, b: :two, c: "three"]', [("a", 1), ("b", "two"), ("c", "three")]),
        ('{1, 2.5, nil, [], "é"}', (1, 2.5, None, [], "é")),
        ("~w(a b) ++ ~w(c)a", ["a", "b", "c"]),
        ("Phoenix.LiveView.HTMLFormatter", "Phoenix.LiveView.HTMLFormatter"),
        ("(x)", 7),
    ],
)
def test_what_is_written_out_is_read(toolchain, code, value):
    assert literal(toolchain.ast(code).ast, {"x": 7}) == value


@pytest.mark.parametrize(
    "code", ["y", "f()", "1 + 1", "Enum.map([], & &1)", '"a#{1}"', "%{}", "[f()]", "-1", "__MODULE__"]
)
def test_what_is_worked_out_is_not(toolchain, code):
    with pytest.raises(NotWrittenOut):
        literal(toolchain.ast(code).ast, {"x": 7})


def test_no_settings_are_the_formatters_own(tmp_path, read):
    (tmp_path / ".git").mkdir()
    assert formatter_settings(tmp_path, read) == FormatterSettings()
    assert FormatterSettings().covers(tmp_path / "a.ex")


def test_settings_of_a_project(tmp_path, read):
    found = settings(
        tmp_path,
        read,
        """
        locals_without_parens = [plug: 1, plug: 2, field: :*]

        [
          inputs: ["{mix,.formatter}.exs", "{config,lib,test}/**/*.{ex,exs}"],
          line_length: 120,
          force_do_end_blocks: true,
          plugins: [Phoenix.LiveView.HTMLFormatter],
          locals_without_parens: locals_without_parens ++ [get: 3],
          export: [locals_without_parens: locals_without_parens]
        ]
        """,
    )
    assert found.unknown == ""
    assert found.options == {
        "line_length": 120,
        "force_do_end_blocks": True,
        "locals_without_parens": [["plug", 1], ["plug", 2], ["field", None], ["get", 3]],
    }


@pytest.mark.parametrize(
    "path, is_covered",
    [
        ("mix.exs", True),
        (".formatter.exs", True),
        ("lib/a.ex", True),
        ("lib/a/b/c.ex", True),
        ("test/a_test.exs", True),
        ("lib/a.eex", False),
        ("priv/a.exs", False),
        ("other.exs", False),
        ("apps/lib/a.ex", False),
    ],
)
def test_inputs_are_patterns(tmp_path, read, path, is_covered):
    found = settings(tmp_path, read, '[inputs: ["{mix,.formatter}.exs", "{config,lib,test}/**/*.{ex,exs}"]]')
    assert found.covers(tmp_path / path) == is_covered


@pytest.mark.parametrize(
    "pattern, path, is_covered",
    [
        ("*.ex", "a.ex", True),
        ("*.ex", "lib/a.ex", False),
        ("lib/?.ex", "lib/a.ex", True),
        ("lib/?.ex", "lib/ab.ex", False),
        ("lib/[a-c].ex", "lib/b.ex", True),
        ("lib/[a-c].ex", "lib/-.ex", False),
        ("./lib/*.ex", "lib/a.ex", True),
        ("lib/{a,b{1,2}}.ex", "lib/b2.ex", True),
        ("lib/a+b.ex", "lib/a+b.ex", True),
        ("lib/{a", "lib/a", True),
    ],
)
def test_patterns_are_those_of_path_wildcard(tmp_path, pattern, path, is_covered):
    assert FormatterSettings(tmp_path, inputs=(pattern,)).covers(tmp_path / path) == is_covered


def test_settings_without_inputs_cover_nothing(tmp_path, read):
    assert not settings(tmp_path, read, "[line_length: 80]").covers(tmp_path / "a.ex")


def test_the_nearest_settings_hold(tmp_path, read):
    write(
        tmp_path,
        {".formatter.exs": "[line_length: 80]", "apps/one/.formatter.exs": "[line_length: 90]", "apps/two/mix.exs": ""},
    )
    assert formatter_settings(tmp_path / "apps/one/lib", read).options == {"line_length": 90}
    assert formatter_settings(tmp_path / "apps/two/lib", read).options == {"line_length": 80}


def test_settings_outside_of_the_checkout_do_not_hold(tmp_path, read):
    write(tmp_path, {".formatter.exs": "[line_length: 80]", "checkout/.git/HEAD": ""})
    assert formatter_settings(tmp_path / "checkout", read) == FormatterSettings()


def test_what_packages_export_is_added(tmp_path, read):
    write(
        tmp_path, {"deps/ecto/.formatter.exs": "[export: [locals_without_parens: [field: 2]]]", "deps/bare/mix.exs": ""}
    )
    found = settings(tmp_path, read, "[import_deps: [:ecto, :bare], locals_without_parens: [f: 1]]")
    assert found.options["locals_without_parens"] == [["f", 1], ["field", 2]]


@pytest.mark.parametrize(
    "text, why",
    [
        ("[import_deps: [:ecto]]", "deps/ecto"),
        ("[line_length: length()]", "its line_length is worked out by code"),
        ("[locals_without_parens: f()]", "its locals_without_parens is worked out by code"),
        ("[locals_without_parens: [:a]]", "no list of names and arities"),
        ("[plugins: [My.Plugin]]", "the plugin My.Plugin is a program of its own"),
        ("[normalize_bitstring_modifiers: false]", "normalize_bitstring_modifiers is not known here"),
        ("settings()", "no plain list of settings"),
        ("[line_length: ", "no plain list of settings"),
    ],
)
def test_what_cannot_be_known_is_said(tmp_path, read, text, why):
    assert why in settings(tmp_path, read, text).unknown


def test_settings_are_never_run(tmp_path, read):
    settings(tmp_path, read, f'File.write!("{tmp_path}/ran", "")\n[line_length: 80]')
    assert not (tmp_path / "ran").exists()


MIX = """
defmodule App.MixProject do
  use Mix.Project

  def project do
    [app: :app, version: "1.0.0", deps: deps()]
  end

  defp deps, do: [{:ecto, "~> 3.0"}]
end
"""


def test_a_folder_without_mix_exs_is_no_project(tmp_path, read):
    assert project_of(tmp_path, read) is None


def test_a_project_is_found_from_below(tmp_path, read):
    write(tmp_path, {"mix.exs": MIX, "lib/app/a.ex": ""})
    project = project_of(tmp_path / "lib/app", read)
    assert (project.root, project.apps) == (tmp_path, ("app",))
    assert project.compiles(tmp_path / "lib/app/a.ex")
    assert not project.compiles(tmp_path / "lib/a.exs")
    assert not project.compiles(tmp_path / "test/support/a.ex")


@pytest.mark.parametrize(
    "paths, expected",
    [
        (
            'defp elixirc_paths(:test), do: ["lib", "test/support"]\n  defp elixirc_paths(_), do: ["lib"]',
            "lib test/support",
        ),
        ('defp elixirc_paths(:docs), do: ["lib", "installer"]\n  defp elixirc_paths(_), do: ["src"]', "src"),
        ("defp elixirc_paths(env), do: paths(env)", "lib"),
        ('def project, do: [elixirc_paths: ["web"]]', "web"),
    ],
)
def test_the_folders_that_are_compiled_are_read(tmp_path, read, paths, expected):
    write(tmp_path, {"mix.exs": MIX.replace("  defp deps", f"  {paths}\n  defp deps")})
    assert " ".join(map(str, project_of(tmp_path, read).source_paths)) == expected


def test_an_umbrella_is_one_project(tmp_path, read):
    umbrella = MIX.replace("app: :app", 'apps_path: "apps"')
    write(
        tmp_path,
        {
            "mix.exs": umbrella,
            "apps/one/mix.exs": MIX.replace(":app", ":one"),
            "apps/two/mix.exs": MIX.replace(":app", ":two"),
        },
    )
    project = project_of(tmp_path / "apps/one/lib", read)
    assert project == project_of(tmp_path, read)
    assert (project.root, project.apps) == (tmp_path, ("one", "two"))
    assert project.compiles(tmp_path / "apps/two/lib/a.ex")


def test_compiled_packages_are_found_and_the_projects_own_are_not_among_them(tmp_path, read):
    write(
        tmp_path,
        {
            "mix.exs": MIX,
            "_build/test/lib/jason/ebin/x": "",
            "_build/prod/lib/app/ebin/x": "",
            "_build/test/lib/app/ebin/x": "",
        },
    )
    assert project_of(tmp_path, read).dependencies() == (tmp_path / "_build/test/lib/jason/ebin",)
    write(tmp_path, {"_build/dev/lib/ecto/ebin/x": ""})
    assert project_of(tmp_path, read).dependencies() == (tmp_path / "_build/dev/lib/ecto/ebin",)


def test_mentions_are_read_by_eye():
    text = "defmodule A.B do\n  alias C.{D, E}\n  def f, do: D.g()\nend\n\ndefprotocol P do\nend\n"
    (given,) = mentions([text])
    assert given == ({"A.B", "P"}, {"A", "B", "C", "D", "E", "P"})
