defmodule ElixirCoder.Worker.Compile do
  @moduledoc """
  Compiles the files of a job together, in a folder of their own, and says what the compiler said.

  What is not Elixir is found by the parser first, because the compiler stops at its first error and makes atoms.
  """

  alias ElixirCoder.Worker.{Diagnostics, Guard, Source}

  @doc "The operation: `modules` are names as Elixir writes them."
  def run(%{"files" => files} = args) do
    # Projects ask Mix for their version or environment while they compile; code under judgement may not.
    if args["guard"] == false and Enum.any?(files, fn [_path, text] -> String.contains?(text, "Mix.") end) do
      {:ok, _started} = Application.ensure_all_started(:mix)
    end

    {_modules, result} = compile(files, :code, args["guard"] != false, resources: args["resources"])
    result
  end

  @doc """
  `{modules, result}`; without modules where it does not compile.

  kind: what the guard lets pass, `:code` or `:tests`. given: names of modules that are there from before.
  to: a folder for the compiled modules, which are otherwise in memory alone. resources: files that lie beside the
  others, for what is read while compiling, such as a template.
  """
  def compile(files, kind, guard?, options \\ []) do
    if guard?, do: Guard.arm(kind, for([path, _text] <- files, do: place(path, folder())))

    with {:ok, asts} <- parse(files),
         :ok <- check(asts, kind, guard?) do
      folder = folder()
      paths = write(files, folder)
      write(options[:resources] || [], folder)
      given = (options[:given] || []) ++ Enum.flat_map(asts, fn {_path, ast} -> defined(ast) end)
      {modules, diagnostics} = paths |> compile_files(options[:to]) |> read(folder, given)
      diagnostics = diagnostics |> Enum.map(&forbidden/1) |> Diagnostics.tidy()
      names = modules |> Enum.map(&inspect/1) |> Enum.sort()
      {modules, Map.put(Diagnostics.result(diagnostics), "modules", names)}
    else
      {:error, diagnostics} -> {[], Map.put(Diagnostics.result(diagnostics), "modules", [])}
    end
  end

  @doc "Where the files of this job lie: known to the process that runs it."
  def folder, do: Process.get(__MODULE__)

  @doc "A folder of this job for compiled modules, where they are found with their documentation."
  def folder_on_code_path do
    to = Path.join(folder(), "ebin")
    File.mkdir_p!(to)
    Code.prepend_path(to)
    to
  end

  @doc "Called once by that process; its working folder from then on, so that stack traces name the files as given."
  def use_folder(folder) do
    Process.put(__MODULE__, folder)
    File.cd!(folder)
  end

  defp parse(files) do
    parsed = for [path, text] <- files, do: {path, Source.quoted(text, path)}

    case for {_path, {:error, diagnostic}} <- parsed, do: diagnostic do
      [] -> {:ok, for([path, text] <- files, do: {path, with_atoms(text, path)})}
      diagnostics -> {:error, diagnostics}
    end
  end

  defp with_atoms(text, path), do: Code.string_to_quoted!(text, file: path, columns: true, emit_warnings: false)

  defp check(_asts, _kind, false), do: :ok

  defp check(asts, kind, true) do
    case Guard.check(asts, kind) do
      :ok -> :ok
      {:forbidden, found} -> {:error, Enum.map(found, &refused/1)}
    end
  end

  defp refused(found) do
    Diagnostics.new("forbidden_call", found["message"],
      file: found["file"],
      line: found["line"],
      column: found["column"]
    )
  end

  defp write(files, folder) do
    for [path, text] <- files do
      place = place(path, folder)
      File.mkdir_p!(Path.dirname(place))
      File.write!(place, text)
      place
    end
  end

  # Inside the folder, whatever the path says.
  defp place(path, folder) do
    parts = path |> Path.split() |> Enum.reject(&(&1 in ["/", ".", ".."]))
    Path.join([folder | parts])
  end

  defp compile_files(paths, to) do
    options = if Version.match?(System.version(), ">= 1.15.0"), do: [return_diagnostics: true], else: []

    if to,
      do: Kernel.ParallelCompiler.compile_to_path(paths, to, options),
      else: Kernel.ParallelCompiler.compile(paths, options)
  end

  defp read({:ok, modules, warnings}, folder, given) do
    {modules, Enum.map(flat(warnings), &Diagnostics.of_compiler(&1, "warning", folder, given))}
  end

  defp read({:error, errors, warnings}, folder, given) do
    errors = Enum.map(errors, &Diagnostics.of_compiler(&1, "error", folder, given))
    {[], errors ++ Enum.map(flat(warnings), &Diagnostics.of_compiler(&1, "warning", folder, given))}
  end

  defp flat(%{compile_warnings: compile, runtime_warnings: runtime}), do: compile ++ runtime
  defp flat(warnings), do: warnings

  # What the guard finds while the compiler works it refuses by raising.
  defp forbidden(%{"message" => "** (ElixirCoder.Worker.Guard.Forbidden) " <> message} = diagnostic) do
    %{diagnostic | "check" => "forbidden_call", "message" => message}
  end

  defp forbidden(diagnostic), do: diagnostic

  @doc "The names of the modules that a tree defines, as far as they are written out."
  def defined(ast), do: ast |> defined([], []) |> Enum.uniq()

  defp defined({kind, _meta, [{:__aliases__, _, parts} | rest]}, outer, found)
       when kind in [:defmodule, :defprotocol] do
    if Enum.all?(parts, &is_atom/1) do
      name = outer ++ Enum.map(parts, &Atom.to_string/1)
      defined(rest, name, [Enum.join(name, ".") | found])
    else
      defined(rest, outer, found)
    end
  end

  defp defined({form, _meta, args}, outer, found), do: defined(args, outer, defined(form, outer, found))
  defp defined({left, right}, outer, found), do: defined(right, outer, defined(left, outer, found))
  defp defined(list, outer, found) when is_list(list), do: Enum.reduce(list, found, &defined(&1, outer, &2))
  defp defined(_leaf, _outer, found), do: found
end
