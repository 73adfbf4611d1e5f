defmodule ElixirCoder.Worker.Flow do
  @moduledoc """
  Where the value of each variable of a function comes from (GraphCodeBERT's "value comes from").

  Elixir binds lexically: what a branch binds ends with the branch, so the flow is exact without following control.
  A use comes from its binding; a binding from every variable in what is matched. What stands in a `quote` is code of
  another place; only what it unquotes counts.

  Works on the tree that `Facts` reads. A variable goes out as `[name, line, column, bound?, [its sources]]`; sources are
  positions in the list of all of the function's variables.
  """

  @not_variables ~w(__MODULE__ __ENV__ __DIR__ __CALLER__ __STACKTRACE__ ...)a

  @doc "The variables of one clause, put before those of the clauses before it: `{in reverse, how many}`."
  def clause(params, guard, body, variables) do
    state = %{variables: variables, bound: %{}}
    state = Enum.reduce(params, state, &bind(&1, [], &2))
    {_used, state} = within(List.wrap(body), [], used_in(guard, state))
    state.variables
  end

  @doc "All variables of a function as they stand in the text."
  def in_order({variables, _count}) do
    sorted =
      variables
      |> Enum.reverse()
      |> Enum.with_index()
      |> Enum.sort_by(fn {[_, line, column | _], _} -> {line, column} end)

    new = sorted |> Enum.with_index() |> Map.new(fn {{_variable, old}, new} -> {old, new} end)

    for {[name, line, column, bound?, sources], _old} <- sorted,
        do: [name, line, column, bound?, sources |> Enum.map(&new[&1]) |> Enum.sort()]
  end

  # ------------------------------------------------------------------------------------------------------ patterns

  # Binds the variables of a pattern; each comes from `sources`.
  defp bind({:^, _, [pinned]}, _sources, state), do: used_in(pinned, state)
  defp bind({:\\, _, [pattern, default]}, sources, state), do: bind(pattern, sources, used_in(default, state))
  defp bind({:when, _, [pattern, guard]}, sources, state), do: used_in(guard, bind(pattern, sources, state))
  # the sizes and types of a binary
  defp bind({:"::", _, [pattern, type]}, sources, state), do: used_in(type, bind(pattern, sources, state))
  defp bind({:<>, _, [left, right]}, sources, state), do: bind(right, sources, bind(left, sources, state))
  defp bind({:in, _, [error, _types]}, sources, state), do: bind(error, sources, state)
  defp bind({:@, _, _}, _sources, state), do: state
  defp bind({:__aliases__, _, _}, _sources, state), do: state

  defp bind({name, meta, context}, sources, state) when is_atom(context) do
    if variable?(name), do: add_binding(name, meta, sources, state), else: state
  end

  # the key of a pair in a map is matched, not bound
  defp bind({:%{}, _, pairs}, sources, state) do
    Enum.reduce(pairs, state, fn
      {key, value}, state -> bind(value, sources, used_in(key, state))
      other, state -> bind(other, sources, state)
    end)
  end

  defp bind({_form, _meta, args}, sources, state) when is_list(args),
    do: Enum.reduce(args, state, &bind(&1, sources, &2))

  defp bind({left, right}, sources, state), do: bind(right, sources, bind(left, sources, state))
  defp bind(list, sources, state) when is_list(list), do: Enum.reduce(list, state, &bind(&1, sources, &2))
  defp bind(_literal, _sources, state), do: state

  defp add_binding(name, meta, sources, state) do
    # twice in one pattern is one value: the second place is matched against the first
    {position, state} = add(name, meta, true, sources, state)
    %{state | bound: Map.put(state.bound, text(name), position)}
  end

  # --------------------------------------------------------------------------------------------------- expressions

  # The positions of the variables used in an expression, and the state after it.
  defp used({:=, _, [pattern, value]}, state) do
    {sources, state} = used(value, state)
    {sources, bind(pattern, sources, state)}
  end

  defp used({:fn, _, clauses}, state), do: clauses_of(clauses, [], state)
  defp used({:__aliases__, _, _}, state), do: {[], state}
  defp used({:quote, _, args}, state), do: unquoted(args, state)
  defp used({:@, _, [{_, _, [value]}]}, state), do: used(value, state)
  defp used({:@, _, _}, state), do: {[], state}

  defp used({:case, _, [value | rest]}, state) do
    {sources, state} = used(value, state)
    {more, state} = within(rest, sources, state)
    {sources ++ more, state}
  end

  # `value |> case do`
  defp used({:|>, _, [value, {:case, _, rest}]}, state) do
    {sources, state} = used(value, state)
    {more, state} = within(rest, sources, state)
    {sources ++ more, state}
  end

  # What `with` and `for` bind they bind for their own blocks, and one after the other.
  defp used({form, _, args}, state) when form in [:with, :for] and is_list(args) do
    in_a_scope(state, fn state ->
      gather(args, state, &if(blocks?(&1), do: within([&1], [], &2), else: generator(&1, &2)))
    end)
  end

  defp used({form, _, args}, state) when is_list(args) and is_tuple(form) and tuple_size(form) == 3 do
    {first, state} = used(form, state)
    {rest, state} = arguments(args, state)
    {first ++ rest, state}
  end

  defp used({:., _, [left | _name]}, state), do: used(left, state)
  defp used({_name, _, args}, state) when is_list(args), do: arguments(args, state)

  defp used({name, meta, context}, state) when is_atom(context) do
    use_of(name, meta, state.bound[text(name)], state)
  end

  defp used({left, right}, state), do: use_all([left, right], state)
  defp used(list, state) when is_list(list), do: use_all(list, state)
  defp used(_literal, state), do: {[], state}

  # A name without a binding is a call without parentheses, or a type in a binary.
  defp use_of(_name, _meta, nil, state), do: {[], state}

  defp use_of(name, meta, binding, state) do
    {position, state} = add(name, meta, false, [binding], state)
    {[position], state}
  end

  defp use_all(list, state), do: gather(list, state, &used/2)

  defp used_in(node, state), do: node |> used(state) |> elem(1)

  # A call's blocks are scopes of their own: `if`, `receive`, `try`, and any macro's.
  defp arguments(args, state) do
    {blocks, plain} = Enum.split_with(args, &blocks?/1)
    {sources, state} = use_all(plain, state)
    {more, state} = within(blocks, sources, state)
    {sources ++ more, state}
  end

  defp generator({:<-, _, [pattern, value]}, state) do
    {sources, state} = used(value, state)
    {sources, bind(pattern, sources, state)}
  end

  # for <<c <- text>>
  defp generator({:<<>>, _, parts}, state), do: gather(parts, state, &generator/2)

  defp generator({:__block__, _, [literal]}, state), do: used(literal, state)
  defp generator(other, state), do: used(other, state)

  # Blocks whose clauses, if there are any, match what comes from `sources`.
  defp within(blocks, sources, state) do
    gather(List.flatten(blocks), state, fn
      {{:__block__, _, [key]}, [{:->, _, _} | _] = clauses}, state ->
        clauses_of(clauses, if(key in [:do, :else], do: sources, else: []), state)

      {_key, body}, state ->
        in_a_scope(state, &used(body, &1))

      other, state ->
        used(other, state)
    end)
  end

  defp clauses_of(clauses, sources, state) do
    gather(clauses, state, fn
      {:->, _, [patterns, body]}, state ->
        in_a_scope(
          state,
          &used(body, Enum.reduce(patterns, &1, fn pattern, state -> bind(pattern, sources, state) end))
        )

      other, state ->
        used(other, state)
    end)
  end

  # What `function` finds used in one after the other.
  defp gather(list, state, function) do
    Enum.reduce(list, {[], state}, fn each, {all, state} ->
      {more, state} = function.(each, state)
      {all ++ more, state}
    end)
  end

  defp in_a_scope(state, function) do
    {sources, inner} = function.(state)
    {sources, %{inner | bound: state.bound}}
  end

  defp unquoted(args, state) do
    {_, {all, state}} =
      Macro.prewalk(args, {[], state}, fn
        {form, _, [inside]}, {all, state} when form in [:unquote, :unquote_splicing] ->
          {more, state} = used(inside, state)
          {[], {all ++ more, state}}

        other, found ->
          {other, found}
      end)

    {all, state}
  end

  defp blocks?([{{:__block__, _, [key]}, _} | _]), do: key in [:do, :else, :after, :rescue, :catch]
  defp blocks?(_other), do: false

  # ------------------------------------------------------------------------------------------------------ the list

  defp add(name, meta, bound?, sources, state) do
    {list, position} = state.variables
    one = [text(name), meta[:line], meta[:column], bound?, Enum.uniq(sources)]
    {position, %{state | variables: {[one | list], position + 1}}}
  end

  defp variable?(name) when name in @not_variables, do: false
  defp variable?(name), do: text(name) != "_"

  defp text({name}), do: name
  defp text(name), do: Atom.to_string(name)
end
