defmodule ElixirCoder.Worker.Guard.Gate do
  @moduledoc """
  Stands in the compiler where every call has to pass, and turns back or rewrites the ones that are not harmless.

  Elixir turns each expanded expression into Erlang's form in one function, `elixir_erl_pass:translate/3`: functions,
  module bodies, scripts, macros that run while their own module compiles, strings given to `Code.eval_string`. At that
  point aliases, imports, macros, pipes, captures and `unquote` are gone; what is left is `{module, function, arguments}`
  with a module that is an atom, or an expression that yields one at run time. `elixir_erl_pass` is therefore compiled
  once more, from the forms in its own beam file, with `node/2` in front of that function:

  * a call of a named function is looked up in `Policy`; one that is refused raises `Guard.Forbidden`;
  * one with arguments to look at becomes `Runtime.call(kind, module, function, arguments)`;
  * one whose module is not known yet (`module.callback(x)`) becomes `Runtime.invoke(...)`; of `expression.name`, mostly
    a field of a map, only the left side is looked at.

  Guards and patterns cannot call anything and stay as they are.
  """

  alias ElixirCoder.Worker.Guard
  alias ElixirCoder.Worker.Guard.{Policy, Runtime}

  # The forms of `elixir_erl_pass` with this module in front of `translate/3`, and where its state has the context.
  {compiled, context} =
    with path when is_list(path) <- :code.which(:elixir_erl_pass),
         {:ok, {_, [abstract_code: {:raw_abstract_v1, forms}]}} <- :beam_lib.chunks(path, [:abstract_code]) do
      [fields] = for {:attribute, _, :record, {:elixir_erl, fields}} <- forms, do: fields

      names =
        for field <- fields do
          case field do
            {:typed_record_field, field, _type} -> elem(elem(field, 2), 2)
            field -> elem(elem(field, 2), 2)
          end
        end

      patched =
        Enum.flat_map(forms, fn
          {:function, at, :translate, 3, clauses} ->
            vars = for name <- [:Node, :Ann, :State], do: {:var, at, name}
            [node, ann, state] = vars
            gate = {:call, at, {:remote, at, {:atom, at, __MODULE__}, {:atom, at, :node}}, [node, state]}
            onwards = {:call, at, {:atom, at, :"translate what passed"}, [gate, ann, state]}
            front = {:function, at, :translate, 3, [{:clause, at, vars, [], [onwards]}]}
            [front, {:function, at, :"translate what passed", 3, clauses}]

          form ->
            [form]
        end)

      {:ok, :elixir_erl_pass, binary} = :compile.forms(patched, [:binary, :no_spawn_compiler_process])
      {binary, Enum.find_index(names, &(&1 == :context)) + 1}
    else
      _stripped -> {nil, nil}
    end

  @compiled compiled
  @context context

  @doc "Puts the gate in place; before the folders of Elixir are made sticky."
  def install do
    if @compiled == nil do
      raise "this Elixir was built without debug information, which the guard needs; install one that has it"
    end

    :code.unstick_mod(:elixir_erl_pass)
    :code.purge(:elixir_erl_pass)
    {:module, _} = :code.load_binary(:elixir_erl_pass, :code.which(:elixir_erl_pass), @compiled)
    :ok
  end

  @doc "What to translate in place of an expanded expression."
  def node({{:., dot, [left, right]}, meta, args} = node, state) when is_atom(right) and is_list(args) do
    kind = Guard.kind()

    cond do
      kind == nil or not call?(state) -> node
      # What was put there below comes by again on its way down.
      left == Runtime and meta[:guard] == Guard.seal() -> node
      true -> call(kind, left, right, args, dot, meta, node)
    end
  end

  # A test of the same module, captured by code that came into it with `use`.
  def node({:&, meta, [{:/, _, [{name, _, context}, _arity]}]} = node, _state)
      when is_atom(name) and is_atom(context) do
    local(name, meta)
    node
  end

  def node({:&, at, [{:/, _, [{{:., dot, [left, right]}, meta, []}, arity]}]} = node, state) do
    case Guard.kind() do
      nil -> node
      kind -> if call?(state), do: capture(kind, left, right, arity, dot, meta, at, node), else: node
    end
  end

  # The same, called.
  def node({name, meta, args} = node, _state) when is_atom(name) and is_list(args) do
    local(name, meta)
    node
  end

  def node(node, _state), do: node

  defp local(name, meta) do
    if Guard.kind() == :tests and Policy.of_a_test?(name, :tests),
      do: refuse("`#{name}` may not be called: only ExUnit runs a test", meta, [])
  end

  # Else a guard or a pattern.
  defp call?(state), do: elem(state, @context) == nil

  defp call(kind, module, function, args, dot, meta, node) when is_atom(module) do
    arity = length(args)

    case Policy.verdict(module, function, arity, kind) do
      :ok ->
        if Policy.checks(module, function, arity) == [],
          do: node,
          else: runtime(:call, [kind, module, function, args], meta)

      {:forbidden, message} ->
        refuse(message, meta, dot)
    end
  end

  defp call(kind, left, field, [], dot, meta, _node) when is_tuple(left) do
    left = runtime(:receiver, [kind, left, field], Keyword.take(meta, [:line]))
    {{:., dot, [left, field]}, meta, []}
  end

  defp call(kind, left, function, args, _dot, meta, _node) when is_tuple(left),
    do: runtime(:invoke, [kind, left, function, args], meta)

  defp call(_kind, _left, _function, _args, _dot, _meta, node), do: node

  defp capture(kind, module, function, arity, dot, meta, at, node) when is_atom(module) do
    case Policy.verdict(module, function, arity, kind) do
      :ok ->
        if Policy.checks(module, function, arity) == [],
          do: node,
          else: runtime(:capture, [kind, module, function, arity], at)

      {:forbidden, message} ->
        refuse(message, meta, dot ++ at)
    end
  end

  defp capture(kind, left, function, arity, _dot, _meta, at, _node),
    do: runtime(:capture, [kind, left, function, arity], at)

  # The seal is known to the guard alone: `Runtime` judges less than the gate.
  defp runtime(name, args, meta) do
    meta = Keyword.put(meta, :guard, Guard.seal())
    {{:., meta, [Runtime, name]}, meta, args}
  end

  defp refuse(message, meta, dot), do: Guard.refuse(message, meta[:line] || dot[:line])
end
