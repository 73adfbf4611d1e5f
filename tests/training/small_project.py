"""A Mix project on disk, of modules that are alike but not the same, each with documentation and tests."""

import random

SECRET = "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc"


def write_project(folder, num_modules=30, num_functions=4):
    """mix.exs, config, lib/shop/partN.ex and test/shop/partN_test.exs."""
    for name in ("config", "lib/shop", "test/shop"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "mix.exs").write_text(
        'defmodule Shop.MixProject do\n  use Mix.Project\n  def project, do: [app: :shop, version: "0.3.0"]\nend\n'
    )
    (folder / "config/config.exs").write_text(f'import Config\n\nconfig :shop, api_key: "{SECRET}"\n')
    for number in range(num_modules):
        code, tests = _module(number, num_functions)
        (folder / f"lib/shop/part{number}.ex").write_text(code)
        (folder / f"test/shop/part{number}_test.exs").write_text(tests)
    return folder


def _module(number, num_functions):
    rng = random.Random(number)
    functions, tests = [], []
    for place in range(num_functions):
        name, factor = f"total_{rng.randrange(99)}_{place}", rng.randrange(2, 99)
        functions.append(
            f'  @doc "Adds what the cart holds, times {factor}, for the report."\n'
            f"  def {name}(cart, rest) do\n"
            f"    first = cart * {factor}\n"
            f"    first + rest\n"
            f"  end\n"
        )
        tests.append(f'  test "{name}" do\n    assert Part{number}.{name}(1, 2) == {factor + 2}\n  end\n')
    head = f'defmodule Shop.Part{number} do\n  @moduledoc "Counts what part {number} of the shop has sold."\n\n'
    head_of_tests = f"defmodule Shop.Part{number}Test do\n  use ExUnit.Case, async: true\n  alias Shop.Part{number}\n\n"
    return head + "\n".join(functions) + "end\n", head_of_tests + "\n".join(tests) + "end\n"
