"""One small text of ours for each rule of Credo and Sobelow, on which that rule, among others, has something to say."""

from textwrap import dedent, indent

TEST = "test/shop_test.exs"


def body(code: str) -> str:
    """A module with one function that does `code`."""
    inner = indent(dedent(code).strip("\n"), "    ")
    return f'defmodule Shop do\n  @moduledoc "A shop."\n\n  def sell(item, list, map) do\n{inner}\n  end\nend\n'


def module(code: str) -> str:
    inner = indent(dedent(code).strip("\n"), "  ")
    return f'defmodule Shop do\n  @moduledoc "A shop."\n\n{inner}\nend\n'


_MANY_LINES = "\n".join(f"def number_{n}(x), do: x + {n}" for n in range(160))
_BRANCHES = "\n".join(f"    item == {n} -> {n}" for n in range(12))
_STRUCTS = ", ".join(f"field_{n}: nil" for n in range(40))
_TWIN = """
    list
    |> Enum.map(fn {name, price, tax} -> {String.upcase(name), price * 2 + tax, tax / 3, price - tax} end)
    |> Enum.filter(fn {_name, price, tax, rest} -> price > 10 and tax < 3 and rest != 0 end)
    |> Enum.reduce(%{}, fn {name, price, tax, rest}, all -> Map.put(all, name, {price, tax, rest}) end)
    |> Map.to_list()
"""

# By the name below `Credo.Check.`: (path, text), or the code of a function's body in lib/shop.ex.
QUALITY: dict[str, str | tuple[str, str]] = {
    "Consistency.ExceptionNames": (
        "lib/errors.ex",
        "\n".join(
            f'defmodule {name} do\n  @moduledoc "Bad."\n  defexception [:message]\nend\n'
            for name in ("SoldOutError", "ClosedError", "BadPrice")
        ),
    ),
    "Consistency.LineEndings": ("lib/shop.ex", 'defmodule Shop do\r\n  @moduledoc "A shop."\n  def a, do: 1\n\nend\n'),
    "Consistency.MultiAliasImportRequireUse": (
        "lib/shop.ex",
        module("""
            alias Shop.{Cart, Price}
            alias Shop.Tax
            alias Shop.Item
            alias Depot.Box
            alias Depot.Shelf
            def all, do: [Cart, Price, Tax, Item, Box, Shelf]
        """),
    ),
    "Consistency.ParameterPatternMatching": (
        "lib/shop.ex",
        module("""
            def one(%{a: _} = item), do: item
            def two(%{a: _} = item), do: item
            def three(item = %{a: _}), do: item
        """),
    ),
    "Consistency.SpaceAroundOperators": "x = item + 1\ny = item + 2\nz = item+3\n{x, y, z}",
    "Consistency.SpaceInParentheses": "x = send(self(), {item})\ny = send( self(), {list} )\nz = hd(list)\n{x, y, z}",
    "Consistency.TabsOrSpaces": (
        "lib/shop.ex",
        'defmodule Shop do\n  @moduledoc "A shop."\n\n  def a do\n    1\n  end\n\n  def b do\n\t\t2\n  end\nend\n',
    ),
    "Consistency.UnusedVariableNames": (
        "lib/shop.ex",
        module("""
            def one(_item, _price), do: 1
            def two(_item, _price), do: 2
            def three(_, _), do: 3
        """),
    ),
    "Design.AliasUsage": "Depot.Storage.Shelf.put(item)\nDepot.Storage.Shelf.put(list)",
    "Design.DuplicatedCode": (
        "lib/shop.ex",
        module(f"def one(list) do\n{_TWIN}\nend\n\ndef two(list) do\n{_TWIN}\nend\n"),
    ),
    "Design.SkipTestWithoutComment": (
        TEST,
        'defmodule ShopTest do\n  use ExUnit.Case, async: true\n\n  @tag :skip\n  test "a", do: assert(true)\nend\n',
    ),
    "Design.TagFIXME": "# FIXME: the price is wrong\nitem",
    "Design.TagTODO": "# TODO: ask for the price\nitem",
    "Readability.AliasAs": ("lib/shop.ex", module("alias Depot.Shelf, as: Board\ndef all, do: Board.all()")),
    "Readability.AliasOrder": (
        "lib/shop.ex",
        module("alias Shop.Tax\nalias Shop.Cart\ndef all, do: [Tax, Cart]"),
    ),
    "Readability.BlockPipe": "item\n|> Map.get(:price, 0)\n|> case do\n  0 -> list\n  _ -> map\nend",
    "Readability.FunctionNames": ("lib/shop.ex", module("def sellAll(list), do: list")),
    "Readability.ImplTrue": ("lib/shop.ex", module("@behaviour Store\n@impl true\ndef open(item), do: item")),
    "Readability.LargeNumbers": "item + 1234567",
    "Readability.MaxLineLength": f"x = [{', '.join(f'item + {n}' for n in range(20))}]\nx",
    "Readability.ModuleAttributeNames": ("lib/shop.ex", module("@maxPrice 10\ndef max, do: @maxPrice")),
    "Readability.ModuleDoc": ("lib/shop.ex", "defmodule Shop do\n  def open(item), do: item\nend\n"),
    "Readability.ModuleNames": ("lib/shop.ex", 'defmodule Shop_Front do\n  @moduledoc "A front."\nend\n'),
    "Readability.MultiAlias": ("lib/shop.ex", module("alias Shop.{Cart, Tax}\ndef all, do: [Cart, Tax]")),
    "Readability.NestedFunctionCalls": "Enum.sum(Enum.map(list, fn x -> x + item end))",
    "Readability.OneArityFunctionInPipe": "item |> price |> Enum.sum()",
    "Readability.OnePipePerLine": "list |> Enum.sort() |> Enum.take(3) |> Enum.sum()",
    "Readability.ParenthesesInCondition": "if (item > 1) do\n  list\nend",
    "Readability.ParenthesesOnZeroArityDefs": ("lib/shop.ex", module("def open() do\n  1\nend")),
    "Readability.PipeIntoAnonymousFunctions": "item |> List.wrap() |> (fn x -> x end).()",
    "Readability.PredicateFunctionNames": ("lib/shop.ex", module("def is_open?(item), do: item")),
    "Readability.PreferImplicitTry": (
        "lib/shop.ex",
        module("def open(item) do\n  try do\n    run(item)\n  rescue\n    _ -> :closed\n  end\nend"),
    ),
    "Readability.PreferUnquotedAtoms": '[:"item", :"list"]',
    "Readability.RedundantBlankLines": "x = item\n\n\n\nx",
    "Readability.Semicolons": "x = item; x",
    "Readability.SeparateAliasRequire": (
        "lib/shop.ex",
        module("alias Shop.Cart\nrequire Logger\nalias Shop.Tax\ndef all, do: [Cart, Tax, Logger]"),
    ),
    "Readability.SingleFunctionToBlockPipe": "list\n|> length()\n|> case do\n  0 -> item\n  _ -> map\nend",
    "Readability.SinglePipe": "list |> Enum.sort()",
    "Readability.SpaceAfterCommas": "{item,list}",
    "Readability.Specs": "item",
    "Readability.StrictModuleLayout": ("lib/shop.ex", module("alias Shop.Cart\nuse GenServer\ndef all, do: Cart")),
    "Readability.StringSigils": 'price("a \\"b\\" \\"c\\" \\"d\\" \\"e\\"")',
    "Readability.TrailingBlankLine": ("lib/shop.ex", 'defmodule Shop do\n  @moduledoc "A shop."\nend'),
    "Readability.TrailingWhiteSpace": ("lib/shop.ex", 'defmodule Shop do   \n  @moduledoc "A shop."\nend\n'),
    "Readability.UnnecessaryAliasExpansion": ("lib/shop.ex", module("alias Cart.{Tax}\ndef all, do: Tax")),
    "Readability.VariableNames": "thePrice = item\nthePrice",
    "Readability.WithCustomTaggedTuple": (
        "with {:price, {:ok, x}} <- {:price, price(item)},\n     {:tax, {:ok, y}} <- {:tax, tax(x)} do\n  y\nend"
    ),
    "Readability.WithSingleClause": "with {:ok, x} <- price(item) do\n  x\nelse\n  _ -> list\nend",
    "Refactor.ABCSize": "\n".join(
        f"x{n} = Depot.take(item.a{n}, map.b{n}) && if list, do: item.c{n}" for n in range(20)
    ),
    "Refactor.AppendSingleItem": "list ++ [item]",
    "Refactor.Apply": "apply(item, :sell, [list])",
    "Refactor.CaseTrivialMatches": "case item do\n  true -> list\n  false -> map\nend",
    "Refactor.CondInsteadOfIfElse": "if item do\n  list\nelse\n  map\nend",
    "Refactor.CondStatements": "cond do\n  item -> list\n  true -> map\nend",
    "Refactor.CyclomaticComplexity": f"cond do\n{_BRANCHES}\n  true -> list\nend",
    "Refactor.DoubleBooleanNegation": "!!item",
    "Refactor.FilterCount": "list |> Enum.filter(&(&1 > item)) |> Enum.count()",
    "Refactor.FilterFilter": "list |> Enum.filter(&(&1 > item)) |> Enum.filter(&(&1 < 9))",
    "Refactor.FilterReject": "list |> Enum.filter(&(&1 > item)) |> Enum.reject(&(&1 < 9))",
    "Refactor.FunctionArity": (
        "lib/shop.ex",
        module("def sell(a, b, c, d, e, f, g, h, i), do: {a, b, c, d, e, f, g, h, i}"),
    ),
    "Refactor.IoPuts": "IO.puts(item)",
    "Refactor.LongQuoteBlocks": (
        "lib/shop.ex",
        module(f"defmacro __using__(_) do\n  quote do\n{indent(_MANY_LINES, '    ')}\n  end\nend"),
    ),
    "Refactor.MapInto": "list |> Enum.map(&{&1, item}) |> Enum.into(%{})",
    "Refactor.MapJoin": 'list |> Enum.map(&"#{&1}") |> Enum.join(item)',
    "Refactor.MapMap": "list |> Enum.map(&(&1 + item)) |> Enum.map(&(&1 * 2))",
    "Refactor.MatchInCondition": "if {:ok, x} = price(item) do\n  x\nend",
    "Refactor.ModuleDependencies": "[" + ", ".join(f"Depot{n}.Shelf.get(item)" for n in range(14)) + "]",
    "Refactor.NegatedConditionsInUnless": "unless !item do\n  list\nend",
    "Refactor.NegatedConditionsWithElse": "if !item do\n  list\nelse\n  map\nend",
    "Refactor.NegatedIsNil": ("lib/shop.ex", module("def sell(item) when not is_nil(item), do: item")),
    "Refactor.Nesting": "if item do\n  if list do\n    if map do\n      case(item, do: (1 -> 2))\n    end\n  end\nend",
    "Refactor.PassAsyncInTestCases": (
        TEST,
        'defmodule ShopTest do\n  use ExUnit.Case\n\n  test "sells", do: assert(true)\nend\n',
    ),
    "Refactor.PerceivedComplexity": "\n".join(f"if item > {n} and list, do: {n}" for n in range(8)),
    "Refactor.PipeChainStart": "Enum.take(list, item) |> Enum.sort() |> Enum.sum()",
    "Refactor.RedundantWithClauseResult": (
        "with {:ok, x} <- price(item),\n     {:ok, y} <- tax(x) do\n  {:ok, y}\nend"
    ),
    "Refactor.RejectFilter": "list |> Enum.reject(&(&1 > item)) |> Enum.filter(&(&1 < 9))",
    "Refactor.RejectReject": "list |> Enum.reject(&(&1 > item)) |> Enum.reject(&(&1 < 9))",
    "Refactor.UnlessWithElse": "unless item do\n  list\nelse\n  map\nend",
    "Refactor.UtcNowTruncate": "DateTime.utc_now() |> DateTime.truncate(:second)",
    "Refactor.VariableRebinding": "x = item\nx = x + 1\nx",
    "Refactor.WithClauses": "with x = item,\n     {:ok, y} <- price(x) do\n  y\nend",
    "Warning.ApplicationConfigInModuleAttribute": (
        "lib/shop.ex",
        module("@price Application.get_env(:shop, :price)\ndef price, do: @price"),
    ),
    "Warning.BoolOperationOnSameValues": "item and item",
    "Warning.Dbg": "dbg(item)",
    "Warning.ExpensiveEmptyEnumCheck": "if length(list) == 0, do: item",
    "Warning.ForbiddenModule": "Depot.forbidden(item)",
    "Warning.IExPry": "require IEx\nIEx.pry()",
    "Warning.IoInspect": "IO.inspect(item)",
    "Warning.LazyLogging": 'require Logger\nLogger.debug("sold #{item}")',
    "Warning.LeakyEnvironment": 'System.cmd("print", [item])',
    "Warning.MapGetUnsafePass": "map |> Map.get(:items) |> Enum.sum()",
    "Warning.MissedMetadataKeyInLoggerConfig": 'require Logger\nLogger.error("sold out", shelf: item)',
    "Warning.MixEnv": "if Mix.env() == :prod, do: item",
    "Warning.OperationOnSameValues": "item - item",
    "Warning.OperationWithConstantResult": "item * 0",
    "Warning.RaiseInsideRescue": "try do\n  item\nrescue\n  error -> raise error\nend",
    "Warning.SpecWithStruct": ("lib/shop.ex", module("@spec sell(%Item{}) :: atom()\ndef sell(item), do: item")),
    "Warning.StructFieldAmount": ("lib/shop.ex", module(f"defstruct [{_STRUCTS}]")),
    "Warning.UnsafeExec": ":os.cmd(item)",
    "Warning.UnsafeToAtom": "String.to_atom(item)",
    "Warning.UnusedEnumOperation": "Enum.map(list, &(&1 + item))\nmap",
    "Warning.UnusedFileOperation": "File.exists?(item)\nmap",
    "Warning.UnusedKeywordOperation": "Keyword.put(list, :a, item)\nmap",
    "Warning.UnusedListOperation": "List.flatten(list)\nmap",
    "Warning.UnusedMapOperation": "Map.put(map, :a, item)\nlist",
    "Warning.UnusedOperation": "Depot.pure(item)\nlist",
    "Warning.UnusedPathOperation": "Path.join(item, list)\nmap",
    "Warning.UnusedRegexOperation": "Regex.match?(item, list)\nmap",
    "Warning.UnusedStringOperation": "String.upcase(item)\nmap",
    "Warning.UnusedTupleOperation": "Tuple.to_list(item)\nmap",
    "Warning.WrongTestFileExtension": (
        "test/shop_test.ex",
        "defmodule ShopTest do\n  use ExUnit.Case, async: true\nend\n",
    ),
    "Warning.WrongTestFilename": ("test/shop.exs", "defmodule ShopTest do\n  use ExUnit.Case, async: true\nend\n"),
}

# Checks that need other parameters than Credo's own, with what a project would set.
WITH_PARAMETERS = {
    "Warning.ForbiddenModule": "[modules: [Depot]]",
    "Warning.UnusedOperation": "[modules: [{Depot, [:pure], nil}]]",
}
# Credo asks for an older Elixir than any that we support.
FOR_OLD_ELIXIR = ("Readability.PreferUnquotedAtoms", "Refactor.MapInto", "Warning.LazyLogging")


def quality_samples() -> dict[str, tuple[str, str]]:
    """By the full name of the check: (path, text)."""
    return {
        f"Credo.Check.{name}": ("lib/shop.ex", body(case)) if isinstance(case, str) else case
        for name, case in QUALITY.items()
    }


def controller(code: str) -> str:
    return f"""\
defmodule ShopWeb.ItemController do
  use ShopWeb, :controller

  def show(conn, %{{"item" => item}}) do
    {code}
  end
end
"""


# By the rule's name: what the action of a controller does.
SECURITY = {
    "CI.OS": ':os.cmd(String.to_charlist("print " <> item) ++ item)',
    "CI.System": "System.cmd(item, [])",
    "DOS.BinToAtom": ':"item_#{item}"',
    "DOS.ListToAtom": "List.to_atom(item)",
    "DOS.StringToAtom": "String.to_atom(item)",
    "Misc.BinToTerm": ":erlang.binary_to_term(item)",
    "RCE.CodeModule": "Code.eval_string(item)",
    "RCE.EEx": "EEx.eval_string(item)",
    "SQL.Query": "Shop.Repo.query(\"SELECT * FROM items WHERE name = '#{item}'\")",
    "SQL.Stream": 'Ecto.Adapters.SQL.stream(Shop.Repo, "SELECT #{item}")',
    "Traversal.FileModule": "File.read(item)",
    "Traversal.SendDownload": "send_download(conn, {:file, item})",
    "Traversal.SendFile": "send_file(conn, 200, item)",
    "XSS.ContentType": "conn |> put_resp_content_type(item) |> send_resp(200, [])",
    "XSS.HTML": "html(conn, item)",
    "XSS.SendResp": "send_resp(conn, 200, item)",
}


def security_samples() -> dict[str, tuple[str, str]]:
    """By the name of the rule: (path, text)."""
    return {name: ("lib/shop_web/controllers/item_controller.ex", controller(code)) for name, code in SECURITY.items()}


# A Phoenix project in which every other rule has something to say. The lists name the rules, file by file.
PROJECT_RULES = {
    "config/prod.exs": ["Config.HTTPS", "Config.Secrets"],
    "config/staging.exs": ["Config.HSTS"],
    "deps/coherence/mix.exs": ["Vuln.Coherence"],
    "deps/ecto/mix.exs": ["Vuln.Ecto"],
    "deps/phoenix/mix.exs": ["Vuln.Redirect"],
    "deps/plug/mix.exs": ["Vuln.CookieRCE", "Vuln.HeaderInject", "Vuln.PlugNull"],
    "lib/shop_web/endpoint.ex": ["Config.CSWH"],
    "lib/shop_web/router.ex": ["Config.CSP", "Config.CSRF", "Config.CSRFRoute", "Config.Headers"],
    "lib/shop_web/templates/item/show.html.heex": ["XSS.Raw"],
}
PROJECT = {
    "mix.exs": """\
defmodule Shop.MixProject do
  use Mix.Project

  def project do
    [app: :shop, version: "0.1.0"]
  end
end
""",
    "config/prod.exs": """\
import Config

config :shop, ShopWeb.Endpoint, secret_key_base: "not a secret at all, but as long as one of them would be"
""",
    "config/staging.exs": """\
import Config

config :shop, ShopWeb.Endpoint, https: [port: 443]
""",
    "lib/shop_web/endpoint.ex": """\
defmodule ShopWeb.Endpoint do
  use Phoenix.Endpoint, otp_app: :shop

  socket "/live", ShopWeb.Socket, websocket: [check_origin: false]
end
""",
    "lib/shop_web/router.ex": """\
defmodule ShopWeb.Router do
  use ShopWeb, :router

  pipeline :browser do
    plug :accepts, ["html"]
    plug :fetch_session
  end

  pipeline :shown do
    plug :accepts, ["html"]
    plug :put_secure_browser_headers
  end

  scope "/", ShopWeb do
    pipe_through :browser
    get "/items", ItemController, :add
    post "/items", ItemController, :add
  end
end
""",
    "lib/shop_web/templates/item/show.html.heex": "<p><%= raw @item %></p>\n",
    **{
        f"deps/{name}/mix.exs": (
            f'defmodule {name.title()}.MixProject do\n  use Mix.Project\n  @version "{version}"\nend\n'
        )
        for name, version in (("coherence", "0.5.0"), ("ecto", "2.2.0"), ("phoenix", "1.2.0"), ("plug", "1.3.1"))
    },
}

# Texts on which a linter stumbles easily, by a word for what is special about them.
EDGES = {
    "carriage returns": ("lib/shop.ex", module("def sell(item) do\n  IO.inspect(item)\nend\n").replace("\n", "\r\n")),
    "empty": ("lib/empty.ex", ""),
    "comment alone": ("lib/comment.ex", "# TODO: everything\n"),
    "does not parse": ("lib/broken.ex", "defmodule Shop do\n  def sell(item do\nend\n"),
    "not ASCII": ("lib/größe.ex", body('größe = "éééé" <> IO.inspect(item)\n"😀" <> String.to_atom(größe)')),
    "switched off": ("lib/shop.ex", body("# credo:disable-for-next-line\nIO.inspect(item)\nIO.inspect(list)")),
    "no such switch": ("lib/shop.ex", body("# credo:disable-for-lines:many\nIO.inspect(item)")),
    "script": ("rename.exs", "defmodule Rename do\n  def run, do: IO.puts(1)\nend\n\nRename.run()\n"),
    "test": (TEST, 'defmodule ShopTest do\n  use ExUnit.Case\n\n  @tag :skip\n  test "a", do: dbg(1)\nend\n'),
    "no test": (
        "lib/shop_test.exs",
        'defmodule ShopTest do\n  use ExUnit.Case\n\n  @tag :skip\n  test "a", do: dbg(1)\nend\n',
    ),
    "without a module": ("lib/loose.exs", 'IO.inspect("a" |> String.to_atom())\n'),
}
