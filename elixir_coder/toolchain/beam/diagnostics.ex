defmodule ElixirCoder.Worker.Diagnostics do
  @moduledoc """
  What Elixir said, as `%{"check", "severity", "line", "column", "file", "message"}`, and the class it amounts to.

  A class is a word of `Outcome` in finding.py. The compiler tells most of its errors apart by their words alone, so
  they are read here, as 1.14 to 1.18 write them.
  """

  # Characters of one message: some quote what they are about.
  @max_message 4_000

  # The one that explains the others comes first.
  @precedence ~w(syntax_error forbidden_call compile_error undefined_function missing_dependency test_failure warning)

  @doc "The class of a run that ended here, with what was found."
  def result(diagnostics) do
    %{"outcome" => outcome(diagnostics), "diagnostics" => diagnostics}
  end

  @doc "A run that something else ended."
  def ending(outcome, message, others \\ []) do
    %{"outcome" => outcome, "diagnostics" => others ++ [new(outcome, message)]}
  end

  @doc "One finding; `options` are `:line`, `:column`, `:file` and `:severity`."
  def new(check, message, options \\ []) do
    %{
      "check" => check,
      "severity" => options[:severity] || "error",
      "line" => positive(options[:line]),
      "column" => positive(options[:column]),
      "file" => options[:file] || "",
      "message" => String.slice(message, 0, @max_message)
    }
  end

  @doc """
  From what `Code.string_to_quoted/2` gives.

  Of a bracket that is never closed, the place is where that was noticed: newer versions name the opening one, too.
  """
  def syntax_error({meta, message, token}, file) do
    whole =
      case {message, token} do
        {{before, behind}, token} -> "#{before}#{token}#{behind}"
        {"syntax error before: ", ""} -> "syntax error: expression is incomplete"
        {message, token} -> "#{message}#{token}"
      end

    place = [file: file, line: meta[:end_line] || meta[:line], column: meta[:end_column] || meta[:column]]
    new("syntax_error", whole <> opening(meta, whole), place)
  end

  defp opening(meta, message) do
    opening = meta[:opening_delimiter]

    cond do
      opening == nil or message =~ "at line" ->
        ""

      meta[:closing_delimiter] ->
        ~s(. The "#{opening}" at line #{meta[:line]} is missing terminator "#{meta[:expected_delimiter]}")

      true ->
        ~s| (for "#{opening}" starting at line #{meta[:line]})|
    end
  end

  defp outcome(diagnostics) do
    # A warning may have a class of its own, but does not hide an error's.
    {errors, warnings} = Enum.split_with(diagnostics, &(&1["severity"] == "error"))
    first_of(errors) || first_of(warnings) || "ok"
  end

  defp first_of(diagnostics), do: Enum.find(@precedence, fn word -> Enum.any?(diagnostics, &(&1["check"] == word)) end)

  # ------------------------------------------------------------------------------------------------- the compiler

  @doc """
  Of `Kernel.ParallelCompiler`: triples on 1.14, maps since. `folder` is where the files lie, `given` the names of the
  modules of the job.
  """
  def of_compiler(raw, severity, folder, given) do
    {file, position, message, severity} =
      case raw do
        {file, position, message} -> {file, position, message, severity}
        %{severity: severity} = map -> {map.file || map[:source], map.position, map.message, Atom.to_string(severity)}
      end

    message = message |> IO.chardata_to_string() |> without_ansi() |> String.replace(folder <> "/", "")
    file = Path.relative_to(to_string(file), folder)
    {line, column} = place(position, message, file)
    text = words(message)
    severity = if severity == "error" or redefines_ours?(text), do: "error", else: "warning"
    check = check_of(text, given) || if(severity == "error", do: "compile_error", else: "warning")
    new(check, text, severity: severity, line: line, column: column, file: file)
  end

  # The module that is there stays, whatever the compiler makes of the new one: its folder is sticky.
  defp redefines_ours?(text) do
    case Regex.run(~r/^redefining module (\S+) \(current version loaded from /, text) do
      [_, name] -> name in ours()
      nil -> false
    end
  end

  @doc "What only says that something else went wrong goes, where that is there; so does what is said twice."
  def tidy(diagnostics) do
    diagnostics = Enum.uniq_by(diagnostics, &{&1["file"], &1["line"], &1["column"], &1["message"]})
    errors = Enum.filter(diagnostics, &(&1["severity"] == "error"))

    diagnostics =
      if Enum.all?(errors, &errors_were_logged?/1),
        do: diagnostics,
        else: Enum.reject(diagnostics, &errors_were_logged?/1)

    diagnostics |> Enum.map(&variable(&1, diagnostics)) |> Enum.sort_by(&order/1)
  end

  defp errors_were_logged?(%{"message" => message}), do: String.contains?(message, "(errors have been logged)")

  # Errors first: what is at the top is what the outcome is about.
  defp order(diagnostic), do: {diagnostic["severity"] != "error", diagnostic["file"], diagnostic["line"] || 0}

  # 1.14 calls an unknown variable an undefined function of no arguments, and says in a warning what it is.
  defp variable(%{"check" => "undefined_function", "severity" => "error"} = diagnostic, all) do
    with [_, name] <- Regex.run(~r/^undefined function (\S+)\/0 \(/, diagnostic["message"]),
         mark = ~s(variable "#{name}" does not exist and is being expanded),
         true <- Enum.any?(all, &(&1["line"] == diagnostic["line"] and String.starts_with?(&1["message"], mark))) do
      %{diagnostic | "check" => "compile_error"}
    else
      _ -> diagnostic
    end
  end

  defp variable(diagnostic, _all), do: diagnostic

  defp place({line, column}, _message, _file) when is_integer(column), do: {line, column}
  defp place(line, _message, _file) when is_integer(line) and line > 0, do: {line, nil}

  # What is raised outside of a module has its place on the printed stack alone.
  defp place(_unknown, message, file) do
    case Regex.run(~r/^    #{Regex.escape(file)}:(\d+): /m, message) do
      [_, line] -> {String.to_integer(line), nil}
      nil -> {nil, nil}
    end
  end

  defp positive(number) when is_integer(number) and number > 0, do: number
  defp positive(_unknown), do: nil

  def without_ansi(text), do: Regex.replace(~r/\e\[[0-9;]*m/, text, "")

  # An error comes as `Exception.format/3` prints it: "** (CompileError) file:line: words", then the stack.
  defp words("** " <> _ = message) do
    lines = String.split(message, "\n")
    said = Enum.take_while(lines, &(not stack_line?(&1)))
    text = said |> Enum.join("\n") |> String.trim_trailing()

    Regex.replace(
      ~r/\A\*\* \((CompileError|SyntaxError|TokenMissingError|MismatchedDelimiterError)\) ([^\s:]+:(\d+:)*)? ?/,
      text,
      ""
    )
  end

  defp words(message), do: String.trim_trailing(message)

  defp stack_line?(line), do: line =~ ~r/^    (\(\S+ \S+\) |\S+:\d+: |\(\w+\) |expanding (struct|macro): )/

  # ------------------------------------------------------------------------------------------- whose fault it is

  @undefined [
    ~r/^undefined function /,
    ~r/ is undefined or private/,
    ~r/^cannot import .* because it is undefined or private/,
    ~r/^you must require \S+ before invoking the macro/,
    ~r/^cannot find or invoke local /
  ]

  @missing [
    ~r/^module (\S+) is not loaded and could not be found/,
    ~r/^could not load module (\S+) due to reason/,
    ~r/^(\S+)\.__struct__\/\d is undefined/,
    ~r/ is undefined \(module (\S+) is not available/,
    ~r/^@behaviour (\S+) does not exist/,
    ~r/^(\S+) is not available \(/,
    ~r/^unknown struct (\S+)[,.]/,
    ~r/^struct (\S+) is undefined/,
    ~r/^you are trying to use the module (\S+) which/,
    ~r/^cannot find module (\S+)/
  ]

  @doc "The class that the words of an error or a warning stand for, or nil."
  def check_of(text, given) do
    text = Regex.replace(~r/\A\*\* \(\w+\) (function )?/, text, "")

    module =
      Enum.find_value(@missing, fn pattern ->
        with [_, name] <- Regex.run(pattern, text), do: name
      end)

    cond do
      module -> of_missing(module, given)
      Enum.any?(@undefined, &(text =~ &1)) -> "undefined_function"
      true -> nil
    end
  end

  # Packages whose name is within a slip of one of Elixir's own.
  @packages ~w(Timex)

  @doc """
  `"missing_dependency"` for a module that nobody here could have written, `"undefined_function"` for one that is there,
  or all but its spelling is. `given`: the names of the modules of the job.
  """
  def of_missing(name, given) do
    name = name |> String.trim_trailing(",") |> String.trim_trailing(".")

    cond do
      name in @packages -> "missing_dependency"
      name in given or name in ours() -> "undefined_function"
      root(name) in ours() and not (name =~ ~r/^(Mix|IEx|EEx|Logger)\./) -> "undefined_function"
      Enum.any?(given, &near?(&1, name)) or Enum.any?(ours(), &near?(&1, name)) -> "undefined_function"
      true -> "missing_dependency"
    end
  end

  defp root(":" <> _ = name), do: name
  defp root(name), do: name |> String.split(".") |> hd()

  defp near?(there, name), do: String.jaro_distance(there, name) >= 0.9 or squeezed(there) == squeezed(name)
  defp squeezed(name), do: name |> String.replace([".", "_"], "") |> String.downcase()

  @doc "The names of all modules of Elixir and OTP, as Elixir writes them."
  def ours do
    case :persistent_term.get(__MODULE__, nil) do
      nil ->
        names = for {name, _file, _loaded?} <- :code.all_available(), do: name |> List.to_string() |> written()
        names = MapSet.new(names)
        :persistent_term.put(__MODULE__, names)
        names

      names ->
        names
    end
  end

  defp written("Elixir." <> name), do: name
  defp written(name), do: ":" <> name

  @doc "Whether the end of a process, or what an exception carries, is a limit of the machine."
  def system_limit?(%SystemLimitError{}), do: true
  def system_limit?(:system_limit), do: true
  def system_limit?({reason, _stack}), do: system_limit?(reason)
  def system_limit?(_reason), do: false
end
