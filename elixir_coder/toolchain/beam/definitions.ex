defmodule ElixirCoder.Worker.Definitions do
  @moduledoc "Lists what the modules of a job offer to others."

  alias ElixirCoder.Worker.Compile

  # What the compiler adds by itself.
  @generated ~w(__info__ __struct__ __exception__ __protocol__ __impl__ __deriving__ behaviour_info module_info)a

  def run(%{"files" => files} = args) do
    {modules, result} = Compile.compile(files, :code, args["guard"] != false)
    %{result | "modules" => modules |> Enum.sort_by(&inspect/1) |> Enum.map(&definition/1)}
  end

  defp definition(module) do
    %{
      "name" => inspect(module),
      "functions" => module.__info__(:functions) |> written(),
      "macros" => module.__info__(:macros) |> written(),
      "struct" => fields(module),
      "behaviours" => behaviours(module)
    }
  end

  defp written(definitions) do
    for {name, arity} <- Enum.sort(definitions), name not in @generated, do: [Atom.to_string(name), arity]
  end

  # `__info__(:struct)` has the fields in the order of the text; a struct itself has forgotten it.
  defp fields(module) do
    case module.__info__(:struct) do
      nil -> nil
      fields -> for %{field: field} <- fields, field not in @generated, do: Atom.to_string(field)
    end
  end

  defp behaviours(module) do
    for {:behaviour, names} <- module.module_info(:attributes), name <- names, uniq: true, do: inspect(name)
  end
end
