"""Vulnerabilities that Sobelow looks for in code, each beside a version that does the same thing safely.

A fault is written into an action of a controller, a LiveView event, a plug or a plain function, made of the names and
the public functions of the code at hand. `$x` is what the outside world sends.
"""

from __future__ import annotations

import re
from random import Random

from elixir_coder.data.injections.rule import Fault, Piece, rule, with_helper
from elixir_coder.data.injections.templates import filled, groups, joined
from elixir_coder.data.injections.words import Words, snake

_CONTROLLER = """\
defmodule ${root}Web.${Item}Controller do
  use ${root}Web, :controller
$alias
  def $action(conn, $params) do
    $body
  end$more
end
"""
_PLUG = """\
defmodule ${root}Web.Plugs.${Item}$Other do
  @moduledoc "$doc"
  @behaviour Plug

  import Plug.Conn
  import Phoenix.Controller

  @impl Plug
  def init(opts), do: opts

  @impl Plug
  def call(%{params: $params} = conn, _opts) do
    $body
  end
end
"""
_LIVE = """\
defmodule ${root}Web.${Item}Live do
  use ${root}Web, :live_view
$alias
  @impl Phoenix.LiveView
  def handle_event("$verb", $params, socket) do
    result = $expression
    {:noreply, assign(socket, :$field, result)}
  end
end
"""
_PLAIN = (
    "def $verb_$item_$field($x) do\n  $body\nend",
    "def $verb_$items_by_$x($x, opts) do\n  opts = Keyword.put_new(opts, :$field, $n)\n  {opts, $expression}\nend",
    "@spec $verb_$field(String.t()) :: term()\ndef $verb_$field($x) do\n  $body\nend",
    "def $verb_$item(%{$field: $x}) do\n  result = $expression\n  {:ok, result}\nend",
)
_ACTIONS = ("show", "index", "create", "update", "export", "preview", "search", "download", "import", "lookup")
_DOCS = ("Looks at what a request asks for.", "Answers requests for one kind of thing.", "Serves what is asked for.")


def vulnerability(
    check: str, says: tuple[str, ...], pairs: tuple[tuple[str, str], ...], name: str, *, answers: bool = False
) -> None:
    """Enter a rule that writes one of the pairs (vulnerable, safe).

    answers: whether the text is the answer to a request, which only controllers and plugs give; otherwise it is a
    value, and stands in any function.
    """

    def write(piece: Piece, random: Random) -> Fault | None:
        words = Words(piece, random)
        names = dict(words.names)
        names["x"] = random.choice(
            (words["field"], words["field2"], f"{words['item']}_{words['field']}", words["third"])
        )
        names["action"] = random.choice(_ACTIONS)
        names["doc"] = random.choice(_DOCS)
        param = random.choice((names["x"], names["x"], "id", "name", "q"))
        names["params"] = random.choice(
            (
                f'%{{"{param}" => {names["x"]}}}',
                f'%{{"{param}" => {names["x"]}}} = params',
                f'%{{"{words["item"]}" => %{{"{param}" => {names["x"]}}}}}',
            )
        )
        if names["params"].endswith("params"):
            names["params"] = names["params"].replace("= params", "= _params")
        own = sorted({d.name for d in piece.text.definitions if d.kind == "def" and len(d.params) == 1})
        is_used = bool(own) and "." in piece.module and random.random() < 0.5
        names["alias"] = f"\n  alias {piece.module}\n" if is_used else ""
        names["more"] = (
            (
                f"\n\n  def {random.choice(own)}_{words['item']}(conn, _params) do\n"
                f"    json(conn, "
                f"%{{{words['field4']}: {words['last']}.{random.choice(own)}(conn.assigns)}})\n"
                f"  end"
            )
            .replace("?_", "_")
            .replace("!_", "_")
            if is_used
            else ""
        )
        vulnerable, safe = random.choice(pairs)
        hosts = (
            ("controller", "controller", "plug")
            if answers
            else ("controller", "controller", "live", "plain", "plain", "plain")
        )
        host = random.choice(hosts)
        own_module = host == "plain" and piece.kind
        seed = random.random()
        form = random.choice(_PLAIN)
        texts = [_hosted(piece, Random(seed), host, form, text, names, answers) for text in (safe, vulnerable)]
        path, kind = "", ""
        if not own_module:
            folder = {"controller": "controllers", "plug": "plugs", "live": "live"}[host]
            suffix = {"controller": "_controller", "plug": f"_{words['other']}", "live": "_live"}[host]
            path, kind = f"lib/{snake(words['root'])}_web/{folder}/{snake(words['Item'])}{suffix}.ex", "module"
        where = re.search(r"def (\w+[?!]?)", texts[1].replace(piece.code, "") if own_module else texts[1])
        names["function"] = names["action"] if host == "controller" else where[1] if where else "it"
        if own_module:
            names["function"] = _called(form, names)
        return Fault(code=texts[0], before=texts[1], names=names, path=path, kind=kind)

    rule(check, *says, name=name)(write)


def _called(form: str, names: dict[str, str]) -> str:
    found = re.search(r"def ([\w$]+)", form)
    assert found
    return joined(found[1], names)


def _hosted(piece: Piece, random: Random, host: str, form: str, text: str, names: dict[str, str], answers: bool) -> str:
    body = filled(text, names)
    if host == "plain":
        if "$expression" in form and "\n" in body:
            form = _PLAIN[0]
        whole = joined(form.replace("$body", "BODY").replace("$expression", "BODY"), names)
        return with_helper(piece, whole.replace("BODY", body.replace("\n", "\n  ")), random)
    if host == "live":
        form, inner = _LIVE, body.replace("\n", "\n    ")
        if "\n" in body:
            form = _LIVE.replace("result = $expression", "result =\n      $expression")
            inner = body.replace("\n", "\n      ")
        return filled(form, {**names, "expression": inner})
    if not answers:
        shown = random.choice(
            (
                "json(conn, %{$field2: result})",
                "render(conn, :$action, $field2: result)",
                "conn |> assign(:$field2, result) |> render(:$action)",
            )
        )
        shown = filled(shown, names)
        first = "result =\n  " + body.replace("\n", "\n  ") if "\n" in body else f"result = {body}"
        body = f"{first}\n\n{shown}" if "\n" in body else f"{first}\n{shown}"
    template = _CONTROLLER if host == "controller" else _PLUG
    return filled(template, {**names, "body": body.replace("\n", "\n    ")})


for _group in groups("vulnerabilities"):
    vulnerability(_group.check, _group.says, _group.pairs, _group.name, answers="answers" in _group.words)
