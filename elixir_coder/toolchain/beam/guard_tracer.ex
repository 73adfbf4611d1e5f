defmodule ElixirCoder.Worker.Guard.Tracer do
  @moduledoc """
  Keeps the names that a test uses what they are.

  `use Candidate` in a test lets the candidate write into the test module: it could take `==` away from `Kernel`, bring
  an `assert` that is always true, or call a module of its own `Enum`. Imports and aliases are no calls and leave no
  trace behind the macros, so the compiler is asked to tell of them. What stands in the test files themselves is fine.
  """

  alias ElixirCoder.Worker.Guard

  @of_the_test [Kernel, ExUnit.Assertions, ExUnit.Callbacks]

  @doc "Called by the compiler."
  def trace({:import, meta, module, options}, env) when module in @of_the_test do
    if (options[:only] || options[:except]) && not of_a_protocol?(module, options, env.module),
      do: only_if_written({:import, module}, "import #{inspect(module)}", meta)

    :ok
  end

  def trace({:import, meta, ExUnit.Case, options}, _env) do
    only = options[:only]

    if options[:except] || (is_list(only) and {:test, 2} not in only),
      do: only_if_written({:import, ExUnit.Case}, "import ExUnit.Case", meta)

    :ok
  end

  def trace({:alias, meta, module, name, _options}, _env) when module != name do
    if Guard.ours?(name) do
      short = name |> Module.split() |> List.last() |> String.to_existing_atom()
      only_if_written({:alias, short}, "alias #{inspect(module)}, as: #{inspect(name)}", meta)
    end

    :ok
  end

  def trace(_event, _env), do: :ok

  # `defprotocol` has a `def` of its own in the module that it makes.
  defp of_a_protocol?(Kernel, options, module) do
    names = options[:except] || []

    defines? =
      names != [] and Enum.all?(names, fn {name, _arity} -> String.starts_with?(Atom.to_string(name), "def") end)

    defines? and module != nil and not Module.has_attribute?(module, :ex_unit_tests)
  end

  defp of_a_protocol?(_module, _options, _enclosing), do: false

  defp only_if_written(what, directive, meta) do
    if Guard.kind() == :tests and not Guard.taken?({:written, what}),
      do: Guard.refuse("`#{directive}` may not be brought into a test by what it tests", meta[:line])
  end
end
