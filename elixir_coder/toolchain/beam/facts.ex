defmodule ElixirCoder.Worker.Facts do
  @moduledoc """
  What a text says of itself: modules, functions with their clauses, calls. Answers the worker's operation `facts`.

  Read from the syntax tree alone, so nothing is evaluated; names that this machine does not know are `{"name"}` in the
  tree (see `Source`) and plain strings in what goes out. The flow of values inside a function is `Flow`'s.
  What each field means is said in `facts.py`.
  """

  alias ElixirCoder.Worker.{Diagnostics, Flow, Source}

  @definitions ~w(def defp defmacro defmacrop defguard defguardp defdelegate)a
  @modules ~w(defmodule defprotocol defimpl)a
  # Attributes that belong to the function after them.
  @of_functions ~w(doc spec impl deprecated since dialyzer)
  @types ~w(type typep opaque)
  @otp_behaviours ~w(GenServer Supervisor DynamicSupervisor Application GenEvent)
  # Not calls: what the compiler itself reads, control structures, and the operators, which are no names.
  @not_calls ~w(__block__ __aliases__ fn case cond with for try receive quote unquote unquote_splicing if unless else do
                alias import require use super raise and or not in when)a ++ @definitions ++ @modules

  @doc "The facts of one text."
  def run(%{"code" => code}) do
    case Source.quoted(code, "", token_metadata: true, literal_encoder: &{:ok, {:__block__, &2, [&1]}}) do
      {:ok, ast, _new_names} -> Map.merge(Diagnostics.result([]), of_file(ast, code))
      {:error, diagnostic} -> Diagnostics.result([diagnostic])
    end
  end

  defp of_file(ast, code) do
    lines = code |> String.split("\n") |> List.to_tuple()
    scope = %{lines: lines, module: nil, aliases: %{}}
    found = statements(block(ast), scope, %{new_module("", "file", 1, tuple_size(lines)) | known: nil})
    %{"modules" => Enum.reverse(found.inner), "calls" => Enum.reverse(found.calls)}
  end

  # ------------------------------------------------------------------------------------------------------ modules

  # What is known of a module while its statements are read; lists are in reverse. order: of its functions' keys.
  # pending: attributes that wait for their function. inner: the modules inside, finished.
  defp new_module(name, kind, line, end_line) do
    %{
      name: name,
      kind: kind,
      line: line,
      end_line: end_line,
      known: %{},
      order: [],
      pending: [],
      last: nil,
      inner: [],
      calls: [],
      fields: %{}
    }
  end

  defp module({kind, meta, [head | rest]}, scope, outer, end_line) do
    [{name, fields} | twins] = names_of_module(kind, head, rest, scope)
    words = %{defmodule: "module", defprotocol: "protocol", defimpl: "impl"}
    found = %{new_module(name, words[kind], meta[:line], end_line) | fields: fields}
    found = statements(block(do_block(rest)), %{scope | module: name}, found)
    twins = for {name, fields} <- twins, do: finished(%{found | name: name, fields: Map.merge(found.fields, fields)})
    # In reverse: a nested module comes after its parent.
    inner = found.inner ++ Enum.reverse(twins) ++ [finished(found)]
    %{outer | inner: inner ++ outer.inner, calls: found.calls ++ outer.calls}
  end

  # The names it goes by, with what is known of it: `defimpl P, for: [A, B]` is several modules with one text.
  defp names_of_module(:defimpl, head, rest, scope) do
    protocol = written(head, scope)
    for target <- targets(rest, scope), do: {protocol <> "." <> target, %{"protocol" => protocol, "target" => target}}
  end

  defp names_of_module(_kind, head, _rest, scope) do
    parts = parts(head)

    cond do
      match?(["Elixir", _ | _], parts) -> [{Enum.join(tl(parts), "."), %{}}]
      scope.module == nil or parts == nil -> [{written(head, scope), %{}}]
      true -> [{Enum.join([scope.module | parts], "."), %{}}]
    end
  end

  defp targets(rest, scope) do
    case keyword(rest, :for) do
      nil -> [scope.module || "?"]
      {:__block__, _, [[_ | _] = list]} -> Enum.map(list, &written(&1, scope))
      one -> [written(one, scope)]
    end
  end

  defp finished(found) do
    functions = found.order |> Enum.reverse() |> Enum.map(&function(found.known[&1]))

    Map.merge(
      %{
        "name" => found.name,
        "kind" => found.kind,
        "line" => found.line,
        "end_line" => found.end_line,
        "functions" => functions
      },
      Map.new(found.fields, fn {key, value} -> {key, if(is_list(value), do: Enum.reverse(value), else: value)} end)
    )
  end

  # --------------------------------------------------------------------------------------------------- statements

  defp statements(list, scope, found) do
    {_scope, found} = Enum.reduce(list, {scope, found}, &statement/2)
    found
  end

  defp statement({kind, _meta, [_ | _]} = node, {scope, found}) when kind in @modules do
    found = module(node, scope, found, end_line(node, scope))
    {alias_of_nested(kind, node, scope), %{found | pending: [], last: nil}}
  end

  defp statement({kind, _meta, [_ | _]} = node, {scope, found}) when kind in @definitions do
    {scope, definition(node, scope, found)}
  end

  defp statement({:@, meta, [{name, _, [value]}]} = node, {scope, found}) do
    {scope, attribute(text(name), value, meta[:line], node, scope, found)}
  end

  defp statement({kind, _meta, [first | rest]}, {scope, found}) when kind in [:alias, :require, :import, :use] do
    found = if kind == :use or rest != [], do: %{found | calls: calls(rest, scope, found.calls)}, else: found
    names = named(first, scope)

    case kind do
      :alias ->
        pairs = shorts(names, keyword(rest, :as))
        scope = %{scope | aliases: Map.merge(scope.aliases, Map.new(pairs))}
        {scope, listed(found, "aliases", Enum.map(pairs, &Tuple.to_list/1))}

      :require ->
        pairs = if keyword(rest, :as), do: shorts(names, keyword(rest, :as)), else: []
        {%{scope | aliases: Map.merge(scope.aliases, Map.new(pairs))}, listed(found, "requires", names)}

      :import ->
        {scope, listed(found, "imports", names)}

      :use ->
        found = listed(found, "behaviours", Enum.filter(names, &(&1 in @otp_behaviours)))
        {scope, listed(found, "uses", names)}
    end
  end

  defp statement({kind, _meta, [fields]}, {scope, found}) when kind in [:defstruct, :defexception] do
    found = %{found | calls: calls(fields, scope, found.calls)}
    found = put(found, "struct", Enum.reverse(fields(fields)))
    {scope, if(kind == :defexception, do: put(found, "is_exception", true), else: found)}
  end

  defp statement({name, _meta, [_ | _] = args} = node, {scope, found}) do
    case {text(name), args} do
      {"describe", [words | rest]} ->
        inner = statements(block(do_block(rest)), scope, put(found, "describe", string(words)))
        {scope, put(inner, "describe", "")}

      {word, [words | _]} when word in ["test", "property"] ->
        found = %{found | calls: calls(args, scope, found.calls)}
        place = [found.fields["describe"] || "", string(words), line(node), end_line(node, scope)]
        found = inside(args, scope, found)
        {scope, if(is_binary(string(words)), do: listed(found, "tests", [place]), else: found)}

      {"doctest", [module | rest]} ->
        {scope, %{found | calls: calls(rest, scope, found.calls)} |> listed("doctests", named(module, scope))}

      _other ->
        {scope, in_blocks(node, scope, found)}
    end
  end

  defp statement(node, {scope, found}),
    do: {scope, inside(node, scope, %{found | calls: calls(node, scope, found.calls)})}

  # `if Mix.env() == :test do def ... end`: what stands in the blocks of a call belongs to the module.
  defp in_blocks({_name, _meta, args} = node, scope, found) do
    case Enum.split_with(List.flatten(blocks(args)), fn {_key, body} -> defines?(body) end) do
      {[], _plain} ->
        inside(node, scope, %{found | calls: calls(node, scope, found.calls)})

      {defining, plain} ->
        args = Enum.reject(args, &(blocks([&1]) != []))
        found = %{found | calls: calls({args, Enum.map(plain, &elem(&1, 1))}, scope, found.calls)}
        # Clauses in a block and those outside of it do not stand together.
        Enum.reduce(defining, found, fn {_key, body}, found ->
          %{statements(block(body), scope, %{found | last: nil}) | last: nil}
        end)
    end
  end

  # What a test, a function passed to `Enum.each` and the like define: found wherever it stands, but in a quote.
  defp inside({:quote, _, _}, _scope, found), do: found

  defp inside({kind, _, [_ | _]} = node, scope, found) when kind in @modules or kind in @definitions do
    {_scope, found} = statement(node, {scope, found})
    found
  end

  defp inside({form, _, args}, scope, found), do: inside(args, scope, inside(form, scope, found))
  defp inside({left, right}, scope, found), do: inside(right, scope, inside(left, scope, found))
  defp inside(list, scope, found) when is_list(list), do: Enum.reduce(list, found, &inside(&1, scope, &2))
  defp inside(_literal, _scope, found), do: found

  defp blocks(args) do
    for [{{:__block__, _, [key]}, _} | _] = list <- args,
        key in [:do, :else],
        {{:__block__, _, [key]}, body} <- list,
        do: {key, body}
  end

  defp defines?(body) do
    Enum.any?(block(body), fn
      {kind, _, [_ | _]} when kind in @definitions or kind in @modules or kind in [:@, :use, :alias, :import] -> true
      {_name, _, args} when is_list(args) -> Enum.any?(blocks(args), fn {_key, body} -> defines?(body) end)
      _other -> false
    end)
  end

  defp alias_of_nested(:defmodule, {_, _, [head | _]}, %{module: module} = scope) when module != nil do
    case parts(head) do
      [first | _] when first != "Elixir" -> %{scope | aliases: Map.put(scope.aliases, first, module <> "." <> first)}
      _other -> scope
    end
  end

  defp alias_of_nested(_kind, _node, scope), do: scope

  # --------------------------------------------------------------------------------------------------- attributes

  defp attribute("moduledoc", value, line, node, scope, found) do
    found |> put("doc", doc(value)) |> put("doc_line", line) |> put("doc_end_line", end_line(node, scope))
  end

  defp attribute("behaviour", value, _line, _node, scope, found), do: listed(found, "behaviours", named(value, scope))

  defp attribute(name, value, line, node, scope, found) when name in @of_functions do
    content =
      case name do
        "doc" -> {doc(value), end_line(node, scope)}
        "spec" -> source(value, node, scope)
        "impl" -> impl(value, scope)
        _other -> nil
      end

    %{found | pending: [{name, content, line} | found.pending]}
  end

  defp attribute(name, value, _line, node, scope, found) when name in @types do
    listed(found, "types", [[name, source(value, node, scope)]])
  end

  defp attribute(name, value, _line, node, scope, found) when name in ["callback", "macrocallback"] do
    # A @doc before it is the callback's.
    listed(%{found | pending: []}, "callbacks", [source(value, node, scope)])
  end

  defp attribute("typedoc", _value, _line, _node, _scope, found), do: found

  defp attribute(name, value, _line, _node, scope, found) do
    found = %{found | calls: calls(value, scope, found.calls)}
    if name in (found.fields["attributes"] || []), do: found, else: listed(found, "attributes", [name])
  end

  defp doc({:__block__, _, [false]}), do: ""
  defp doc(value), do: string(value)

  defp impl({:__block__, _, [true]}, _scope), do: "true"
  defp impl({:__block__, _, [_other]}, _scope), do: ""
  defp impl(module, scope), do: written(module, scope)

  # ---------------------------------------------------------------------------------------------------- functions

  defp definition({kind, meta, [head | rest]} = node, scope, found) do
    {head, guard} = without_guard(head)

    case head do
      {name, _, context} when (is_atom(name) or tuple_size(name) == 1) and (is_list(context) or is_atom(context)) ->
        params = if is_list(context), do: context, else: []
        body = if rest == [], do: nil, else: rest
        add_clause(found, {kind, text(name), length(params)}, {node, meta, head, params, guard, body}, scope)

      # `def unquote(name)(...)`: what it will be called only the compiler knows.
      _other ->
        %{found | pending: [], last: nil, calls: calls(rest, scope, found.calls)}
    end
  end

  defp without_guard({:when, _, [head, guard]}), do: {head, guard}
  defp without_guard(head), do: {head, nil}

  defp add_clause(found, {kind, name, arity} = key, {node, meta, head, params, guard, body}, scope) do
    line = meta[:line]
    end_line = end_line(node, scope)
    key = if kind in [:def, :defp], do: {:function, name, arity}, else: key

    known =
      Map.get_lazy(found.known, key, fn ->
        %{
          kind: kind,
          name: name,
          arity: arity,
          defaults: 0,
          doc: nil,
          doc_line: 0,
          doc_end_line: 0,
          specs: [],
          impl: "",
          line: line,
          head_line: line,
          end_line: end_line,
          clauses: [],
          calls: [],
          variables: {[], 0}
        }
      end)

    known = Enum.reduce(found.pending, known, &attach/2)
    known = if known.clauses == [] or found.last == key, do: %{known | end_line: end_line}, else: known

    clause = %{
      "params" => param_texts(params, head, scope),
      "guard" => guard_text(kind, guard, node, scope),
      "line" => line,
      "end_line" => end_line
    }

    known = %{
      known
      | defaults: max(known.defaults, Enum.count(params, &match?({:\\, _, [_, _]}, &1))),
        clauses: [{body != nil or kind in [:defguard, :defguardp], clause} | known.clauses],
        calls: calls([params, guard, body_of(kind, body)], scope, known.calls),
        variables: Flow.clause(params, guard, body_of(kind, body), known.variables)
    }

    order = if Map.has_key?(found.known, key), do: found.order, else: [key | found.order]
    %{found | known: Map.put(found.known, key, known), order: order, pending: [], last: key}
  end

  # `defdelegate f(x), to: M` has options and no body.
  defp body_of(:defdelegate, _options), do: nil
  defp body_of(_kind, body), do: body

  # `@doc since: "1.2"` says nothing in words
  defp attach({"doc", {nil, _end_line}, line}, known), do: %{known | line: min(known.line, line)}

  defp attach({"doc", {doc, end_line}, line}, known) do
    %{known | doc: doc, doc_line: line, doc_end_line: end_line, line: min(known.line, line)}
  end

  defp attach({"spec", spec, line}, known), do: %{known | specs: [spec | known.specs], line: min(known.line, line)}
  defp attach({"impl", impl, line}, known), do: %{known | impl: impl, line: min(known.line, line)}
  defp attach({_other, _content, line}, known), do: %{known | line: min(known.line, line)}

  defp function(known) do
    clauses = Enum.reverse(known.clauses)
    with_body = for {true, clause} <- clauses, do: clause

    %{
      "name" => known.name,
      "arity" => known.arity,
      "num_defaults" => known.defaults,
      "kind" => Atom.to_string(known.kind),
      "doc" => known.doc,
      "doc_line" => known.doc_line,
      "doc_end_line" => known.doc_end_line,
      "specs" => known.specs,
      "impl" => known.impl,
      "line" => known.line,
      "head_line" => known.head_line,
      "end_line" => known.end_line,
      # A head without a body only names the parameters of those that follow.
      "clauses" => if(with_body == [], do: Enum.map(clauses, &elem(&1, 1)), else: with_body),
      "calls" => Enum.reverse(known.calls),
      "variables" => Flow.in_order(known.variables)
    }
  end

  # Each parameter runs up to the comma before the next one, the last one to the closing parenthesis, where there is one.
  defp param_texts([], _head, _scope), do: []

  defp param_texts(params, {_name, meta, _}, scope) do
    starts = Enum.map(params, &(&1 |> start() |> with_percent(scope)))

    last =
      case meta[:closing] do
        nil -> stop(List.last(params), scope)
        closing -> {closing[:line], closing[:column]}
      end

    starts
    |> Enum.zip(tl(starts) ++ [last])
    |> Enum.map(fn {from, to} -> from |> slice(to, scope) |> without_comma() end)
  end

  defp guard_text(kind, guard, _node, _scope) when guard == nil or kind in [:defguard, :defguardp], do: ""

  defp guard_text(_kind, guard, {_, meta, args}, scope) do
    to =
      case {meta[:do], List.last(args)} do
        {nil, [{{:__block__, do_meta, [:do]}, _} | _]} -> {do_meta[:line], do_meta[:column]}
        {nil, _nothing} -> stop(guard, scope)
        {do_meta, _block} -> {do_meta[:line], do_meta[:column]}
      end

    guard |> start() |> slice(to, scope) |> without_comma()
  end

  defp without_comma(text) do
    text |> String.trim() |> String.trim_trailing(",") |> String.trim()
  end

  # -------------------------------------------------------------------------------------------------------- calls

  # In reverse, put before `found`. A pipe gives the call behind it one more argument.
  defp calls(node, scope, found, more \\ 0)

  defp calls({:|>, _, [left, right]}, scope, found, _more) do
    calls(right, scope, calls(left, scope, found), 1)
  end

  defp calls({:&, meta, [{:/, _, [target, {:__block__, _, [arity]}]}]} = capture, scope, found, _more)
       when is_integer(arity) do
    case target do
      {{:., _, [module, name]}, at, []} ->
        [[written(module, scope), text(name), arity, at[:line] || meta[:line]] | found]

      {name, at, context} when is_atom(context) ->
        [["", text(name), arity, at[:line]] | found]

      _other ->
        {:&, _, [inside]} = capture
        {:/, _, [left, right]} = inside
        calls(right, scope, calls(left, scope, found))
    end
  end

  defp calls({:@, _, [{_name, _, [value]}]}, scope, found, _more), do: calls(value, scope, found)
  defp calls({:__aliases__, _, _}, _scope, found, _more), do: found
  defp calls({kind, _, [_ | _]}, _scope, found, _more) when kind in @modules or kind in @definitions, do: found

  defp calls({{:., _, [module, name]}, meta, args}, scope, found, more) when is_list(args) do
    found =
      if module?(module),
        do: [[written(module, scope), text(name), length(args) + more, meta[:line]] | found],
        else: found

    calls(args, scope, calls(module, scope, found))
  end

  defp calls({{:., _, [function]}, _meta, args}, scope, found, _more),
    do: calls(args, scope, calls(function, scope, found))

  defp calls({name, meta, args}, scope, found, more) when is_list(args) and (is_atom(name) or tuple_size(name) == 1) do
    found = if called?(name), do: [["", text(name), length(args) + more, meta[:line]] | found], else: found
    calls(args, scope, found)
  end

  defp calls({form, _meta, args}, scope, found, _more) when is_list(args),
    do: calls(args, scope, calls(form, scope, found))

  defp calls({_name, _meta, context}, _scope, found, _more) when is_atom(context), do: found
  defp calls({left, right}, scope, found, _more), do: calls(right, scope, calls(left, scope, found))
  defp calls(list, scope, found, _more) when is_list(list), do: Enum.reduce(list, found, &calls(&1, scope, &2))
  defp calls(_literal, _scope, found, _more), do: found

  defp called?(name) when name in @not_calls, do: false
  defp called?(name), do: text(name) =~ ~r/^[\p{L}_]/u and not String.starts_with?(text(name), "sigil_")

  defp module?({:__aliases__, _, _}), do: true
  defp module?({:__MODULE__, _, _}), do: true
  defp module?({:__block__, _, [name]}) when is_atom(name) or (is_tuple(name) and tuple_size(name) == 1), do: true
  defp module?(_other), do: false

  # -------------------------------------------------------------------------------------------------------- names

  # A module as it is called in full, by the aliases so far: "Enum", ":lists", or the text "?" for one worked out.
  defp written({:__MODULE__, _, _}, scope), do: scope.module || ""
  defp written({:__block__, _, [name]}, _scope), do: ":" <> text(name)

  defp written({:__aliases__, _, [{:__MODULE__, _, _} | rest]}, scope),
    do: Enum.join([scope.module || "" | Enum.map(rest, &text/1)], ".")

  defp written({:__aliases__, _, [first | rest]}, scope) when is_atom(first) or tuple_size(first) == 1 do
    full = Map.get(scope.aliases, text(first), text(first))
    Enum.join([full | Enum.map(rest, &text/1)], ".") |> String.replace_prefix("Elixir.", "")
  end

  defp written(_other, _scope), do: "?"

  defp parts({:__aliases__, _, [first | _] = parts}) when is_atom(first) or tuple_size(first) == 1,
    do: Enum.map(parts, &text/1)

  defp parts(_other), do: nil

  # The modules that an alias, import, ... names: several for `A.{B, C}`.
  defp named({{:., _, [base, :{}]}, _, inner}, scope) do
    for each <- inner, parts(each), do: written(base, scope) <> "." <> Enum.join(parts(each), ".")
  end

  defp named(one, scope), do: Enum.reject([written(one, scope)], &(&1 == "?"))

  defp shorts(names, nil), do: for(name <- names, do: {name |> String.split(".") |> List.last(), name})
  defp shorts(names, as), do: for(name <- names, short <- parts(as) || [], do: {short, name})

  defp text(name) when is_atom(name), do: Atom.to_string(name)
  defp text({name}), do: name
  # `A.unquote(name)()` and the like
  defp text(_worked_out), do: "?"

  defp string({:__block__, _, [text]}) when is_binary(text), do: text

  defp string({:<<>>, _, parts}) do
    Enum.map_join(parts, fn part -> if is_binary(part), do: part, else: "" end)
  end

  defp string({sigil, _, [content, _modifiers]}) when sigil in [:sigil_S, :sigil_s], do: string(content)
  defp string(_other), do: nil

  defp fields({:__block__, _, [list]}) when is_list(list), do: fields(list)

  defp fields(list) when is_list(list) do
    Enum.flat_map(list, fn
      {{:__block__, _, [name]}, _default} -> [text(name)]
      {:__block__, _, [{{:__block__, _, [name]}, _default}]} -> [text(name)]
      {:__block__, _, [name]} when not is_list(name) and not is_binary(name) and not is_number(name) -> [text(name)]
      _other -> []
    end)
  end

  defp fields(_worked_out), do: []

  defp keyword(args, key) do
    Enum.find_value(args, fn
      list when is_list(list) -> Enum.find_value(list, fn pair -> pair_value(pair, key) end)
      {:__block__, _, [list]} when is_list(list) -> Enum.find_value(list, fn pair -> pair_value(pair, key) end)
      _other -> nil
    end)
  end

  defp pair_value({{:__block__, _, [key]}, value}, key), do: value
  defp pair_value({:__block__, _, [{{:__block__, _, [key]}, value}]}, key), do: value
  defp pair_value(_other, _key), do: nil

  defp do_block(args), do: keyword(args, :do)

  defp block(nil), do: []
  defp block({:__block__, _, [literal]} = one) when not is_tuple(literal), do: [one]
  defp block({:__block__, _, list}), do: list
  defp block(one), do: [one]

  defp put(found, key, value), do: %{found | fields: Map.put(found.fields, key, value)}

  defp listed(found, _key, []), do: found
  defp listed(found, key, values), do: put(found, key, Enum.reverse(values) ++ (found.fields[key] || []))

  # ------------------------------------------------------------------------------------------------------- places

  defp line({_, meta, _}), do: meta[:line]

  # The first place of a node: that of its leftmost part.
  defp start({form, meta, args}) do
    own = if meta[:line], do: [{meta[:line], meta[:column]}], else: []
    Enum.min(own ++ Enum.flat_map(children(form, args), &List.wrap(start(&1))), fn -> nil end)
  end

  defp start({left, right}), do: start(left) || start(right)
  defp start([first | _]), do: start(first)
  defp start(_literal), do: nil

  defp children(form, args),
    do: if(is_tuple(form) and tuple_size(form) == 3, do: [form], else: []) ++ if(is_list(args), do: args, else: [])

  # Behind the last place of a node; the end of its last line where the tree does not tell.
  defp stop({_, meta, _} = node, scope) do
    case meta[:end_of_expression] do
      nil -> line_end(node, scope)
      place -> {place[:line], place[:column]}
    end
  end

  # `def f a: 1`: keywords without brackets have no place of their own.
  defp stop(list_or_pair, scope), do: line_end(list_or_pair, scope)

  defp line_end(node, scope) do
    line = max(last_line(node), 1)
    {line, String.length(elem(scope.lines, line - 1)) + 1}
  end

  defp end_line({_, meta, _} = node, _scope) do
    case meta[:end] do
      nil -> last_line(node)
      place -> place[:line]
    end
  end

  defp last_line({form, meta, args}) do
    own = [meta[:line], meta[:end][:line], meta[:closing][:line], lines_of_literal(meta, args)]
    Enum.max(Enum.filter(own, & &1) ++ Enum.map(children(form, args), &last_line/1), fn -> 0 end)
  end

  defp last_line({left, right}), do: max(last_line(left), last_line(right))
  defp last_line(list) when is_list(list), do: list |> Enum.map(&last_line/1) |> Enum.max(fn -> 0 end)
  defp last_line(_literal), do: 0

  # A heredoc ends one line below its text, which ends with a newline; other texts end where they stop.
  defp lines_of_literal(meta, [text]) when is_binary(text), do: if(meta[:delimiter], do: lines_of_text(meta, text))

  defp lines_of_literal(meta, [{:<<>>, _, parts}, modifiers]) when is_list(modifiers) do
    lines_of_text(meta, Enum.map_join(parts, &if(is_binary(&1), do: &1, else: "")))
  end

  defp lines_of_literal(meta, parts) when is_list(parts) do
    if meta[:delimiter], do: lines_of_text(meta, Enum.map_join(parts, &if(is_binary(&1), do: &1, else: "")))
  end

  defp lines_of_literal(_meta, _args), do: nil

  defp lines_of_text(meta, text) do
    newlines = length(:binary.matches(text, "\n"))
    heredoc? = meta[:delimiter] in ["\"\"\"", "'''"]
    # an escaped "\n" in a text on one line is no line of the source
    if heredoc?, do: meta[:line] + newlines + 1, else: nil
  end

  # The text of an attribute's value, as it stands.
  defp source(value, node, scope) do
    value |> start() |> slice(stop(node, scope), scope) |> String.trim()
  end

  # The tree has a map begin at its brace.
  defp with_percent({line, column}, scope) when column > 1 do
    if scope.lines |> elem(line - 1) |> points(column - 2, 2) == "%{", do: {line, column - 1}, else: {line, column}
  end

  defp with_percent(place, _scope), do: place

  defp slice(nil, _to, _scope), do: ""
  defp slice({line, _}, {to_line, _}, _scope) when to_line < line, do: ""

  defp slice({line, column}, {line, to_column}, scope) do
    scope.lines |> elem(line - 1) |> points(column - 1, to_column - column)
  end

  defp slice({line, column}, {to_line, to_column}, scope) do
    first = scope.lines |> elem(line - 1) |> points(column - 1, :rest)
    middle = for number <- (line + 1)..(to_line - 1)//1, do: elem(scope.lines, number - 1)
    last = scope.lines |> elem(to_line - 1) |> points(0, to_column - 1)
    Enum.join([first | middle] ++ [last], "\n")
  end

  # Columns count code points.
  defp points(text, from, :rest), do: drop(text, from)
  defp points(text, from, count), do: text |> drop(from) |> take(count)

  defp drop(text, 0), do: text
  defp drop(<<_::utf8, rest::binary>>, count), do: drop(rest, count - 1)
  defp drop(_short, _count), do: ""

  defp take(text, count), do: binary_part(text, 0, byte_size(text) - byte_size(drop(text, max(count, 0))))
end
