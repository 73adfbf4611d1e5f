defmodule ElixirCoder.Worker.Guard.Sources do
  @moduledoc """
  Finds in parsed sources what is plainly forbidden, before any of it runs.

  Follows `alias` as the compiler does, through blocks, and counts the argument that a pipe adds. Types are skipped:
  `File.Stat.t()` calls nothing. What is not plain to see is left to `Guard.Gate`.
  """

  alias ElixirCoder.Worker.Guard
  alias ElixirCoder.Worker.Guard.Policy

  @type_attributes ~w(spec type typep opaque callback macrocallback doc moduledoc typedoc impl)a

  # Among the aliases, where no alias can be: the module around.
  @enclosing :" enclosing"

  @doc "See `Guard.check/2`."
  def check(files, kind) do
    case Enum.flat_map(files, fn {path, ast} -> path |> found(ast, kind) |> Enum.map(&Map.put(&1, "file", path)) end) do
      [] -> :ok
      found -> {:forbidden, found}
    end
  end

  @doc "What the authors of tests wrote themselves, which is theirs to say: see `Guard.taken?/1`."
  def written(files) do
    {_asts, written} =
      Macro.prewalk(Enum.map(files, &elem(&1, 1)), [], fn node, written -> {node, noted(node) ++ written} end)

    Enum.uniq(written)
  end

  defp noted(:skip), do: [:skip]

  defp noted({directive, _, [target | options]}) when directive in [:alias, :require],
    do: for({name, _module} <- add(target, options, %{}), do: {:alias, name})

  defp noted({:import, _, [target | _]}), do: [{:import, module(target, %{})}]
  # Goes by its own name within the module around it.
  defp noted({:defmodule, _, [{:__aliases__, _, [first | _]} | _]}) when is_atom(first), do: [{:alias, first}]
  defp noted(_other), do: []

  defp found(_path, ast, kind) do
    {_aliases, found} = walk(ast, %{}, kind, [])
    found |> Enum.reverse() |> Enum.uniq()
  end

  # Answers the aliases for what follows in the same block, and what was found.
  defp walk({:__block__, _, expressions}, aliases, kind, found) when is_list(expressions) do
    Enum.reduce(expressions, {aliases, found}, fn each, {aliases, found} -> walk(each, aliases, kind, found) end)
  end

  defp walk({:alias, _, [target | options]}, aliases, _kind, found), do: {add(target, options, aliases), found}

  defp walk({directive, meta, [target | rest]}, aliases, kind, found) when directive in [:import, :use] do
    module = module(target, aliases)
    found = if module && Policy.shut?(module, kind), do: [shut(directive, module, meta, kind) | found], else: found
    inside([target | rest], aliases, kind, found)
  end

  defp walk({definer, meta, [name | rest]}, aliases, kind, found) when definer in [:defmodule, :defprotocol] do
    {module, outside} = defined(name, aliases)

    found =
      if module && Guard.ours?(module),
        do: [place("`#{inspect(module)}` may not be defined again", meta) | found],
        else: found

    {_inside, found} = inside(rest, Map.put(outside, @enclosing, module), kind, found)
    {outside, found}
  end

  defp walk({:defimpl, _, [protocol | rest]}, aliases, kind, found) do
    {_inside, found} = inside(rest, Map.put(aliases, @enclosing, module(protocol, aliases)), kind, found)
    {aliases, found}
  end

  defp walk({:@, _, [{attribute, _, _}]}, aliases, _kind, found) when attribute in @type_attributes,
    do: {aliases, found}

  defp walk({:@, meta, [{:on_load, _, [_ | _]}]}, aliases, _kind, found),
    do: {aliases, [place("`@on_load` may not be used", meta) | found]}

  # left |> Module.function(args)
  defp walk({:|>, _, [left, {{:., _, [_, name]} = dot, meta, args}]}, aliases, kind, found)
       when is_atom(name) and is_list(args) do
    {_, found} = walk(left, aliases, kind, found)
    call(dot, meta, args, length(args) + 1, aliases, kind, found)
  end

  # &Module.function/arity
  defp walk({:&, _, [{:/, _, [{{:., _, [_, name]} = dot, meta, []}, arity]}]}, aliases, kind, found)
       when is_atom(name) and is_integer(arity),
       do: call(dot, meta, [], arity, aliases, kind, found)

  defp walk({{:., _, [_, name]} = dot, meta, args}, aliases, kind, found) when is_atom(name) and is_list(args),
    do: call(dot, meta, args, length(args), aliases, kind, found)

  defp walk({form, _, args}, aliases, kind, found), do: inside([form, args], aliases, kind, found)
  defp walk({left, right}, aliases, kind, found), do: inside([left, right], aliases, kind, found)
  defp walk(list, aliases, kind, found) when is_list(list), do: inside(list, aliases, kind, found)
  defp walk(_literal, aliases, _kind, found), do: {aliases, found}

  defp inside(parts, aliases, kind, found) do
    {aliases, Enum.reduce(parts, found, fn part, found -> elem(walk(part, aliases, kind, found), 1) end)}
  end

  defp call({:., dot, [target, name]}, meta, args, arity, aliases, kind, found) do
    module = module(target, aliases)
    # A column for the module is where a reader looks; the call's own meta points at the function.
    at =
      if Keyword.keyword?(target_meta(target)) and target_meta(target)[:line],
        do: target_meta(target),
        else: meta ++ dot

    found =
      with true <- module != nil,
           {:forbidden, message} <- Policy.verdict(module, name, arity, kind) do
        [place(message, at) | found]
      else
        _ -> found
      end

    inside([target, args], aliases, kind, found)
  end

  defp target_meta({:__aliases__, meta, _}), do: meta
  defp target_meta(_other), do: []

  defp shut(directive, module, meta, _kind),
    do: place("`#{directive} #{inspect(module)}`: nothing of it may be called", meta)

  defp place(message, meta), do: %{"line" => meta[:line], "column" => meta[:column], "message" => message}

  # --- aliases

  # A module inside of another one bears both names, and goes by its own from there on.
  defp defined({:__aliases__, _, [first | rest] = parts} = name, aliases) do
    outer = aliases[@enclosing]

    if outer && is_atom(first) && first != :"Elixir" && Enum.all?(parts, &is_atom/1) do
      aliases = Map.put(aliases, first, Module.concat(outer, first))
      {Module.concat([aliases[first] | rest]), aliases}
    else
      {module(name, aliases), aliases}
    end
  end

  defp defined(name, aliases), do: {module(name, aliases), aliases}

  defp module({:__aliases__, _, [first | rest] = parts}, aliases) do
    cond do
      not Enum.all?(parts, &is_atom/1) -> nil
      first == :"Elixir" -> Module.concat(parts)
      full = aliases[first] -> Module.concat([full | rest])
      true -> Module.concat(parts)
    end
  end

  defp module(atom, _aliases) when is_atom(atom) and atom not in [nil, true, false], do: atom
  defp module(_other, _aliases), do: nil

  defp add({{:., _, [prefix, :{}]}, _, suffixes}, _options, aliases) do
    Enum.reduce(suffixes, aliases, fn suffix, aliases ->
      with {:__aliases__, meta, parts} <- suffix,
           {:__aliases__, _, first} <- prefix do
        add({:__aliases__, meta, first ++ parts}, [], aliases)
      else
        _ -> aliases
      end
    end)
  end

  defp add(target, options, aliases) do
    with module when module != nil <- module(target, aliases),
         name when name != nil <- named(options, target, module) do
      Map.put(aliases, name, module)
    else
      _ -> aliases
    end
  end

  defp named([[{:as, {:__aliases__, _, [name]}} | _]], _target, _module), do: name
  defp named(_options, {:__aliases__, _, parts}, _module), do: List.last(parts)
  # An atom has a name of its own only where `as:` gives it one.
  defp named(_options, _atom, _module), do: nil
end
