defmodule ElixirCoder.Checks.Sobelow do
  @moduledoc """
  Runs Sobelow's own mix task on a project and hands over what it logged.

  Sobelow keeps its state under names, so that one scan runs at a time; which files and rules to leave out when a scan
  crashes is for the other end to decide.
  """

  alias ElixirCoder.Checks.Machine

  @servers [Sobelow.FindingLog, Sobelow.MetaLog, Sobelow.Fingerprint]

  def hello do
    {:ok, _} = Application.ensure_all_started(:mix)
    Application.load(:sobelow)
    version = :sobelow |> Application.spec(:vsn) |> to_string()
    %{"version" => version, "checks" => Enum.map(Sobelow.rules(), &[&1.name, &1.id])}
  end

  # Where a project says what to leave out. The file is data: a keyword list that nobody runs.
  def handle("configuration", %{"folder" => folder}, _alive) do
    with {:ok, text} <- File.read(Path.join(folder, ".sobelow-conf")),
         {:ok, options} <- Code.string_to_quoted(text) do
      if Keyword.keyword?(options), do: %{"options" => told(options)}, else: %{"options" => %{}, "unusable" => text |> String.trim() |> Kernel.!=("")}
    else
      {:error, reason} when is_atom(reason) -> %{"options" => %{}}
      {:error, _syntax} -> %{"options" => %{}, "unusable" => true}
    end
  end

  def handle("scan", %{"arguments" => arguments, "timeout_ms" => timeout}, alive) do
    watch = spawn(fn -> tick(alive) end)
    result = Machine.each([arguments], timeout, &scan/1)
    Process.exit(watch, :kill)
    stop()

    case result do
      [{_, {:ok, findings}}] -> %{"findings" => findings}
      [{_, {:crashed, why}}] -> %{"crashed" => why}
      [{_, _}] -> %{"crashed" => "it did not end in time", "timeout" => true}
    end
  end

  # Sobelow passes in silence over what does not parse.
  def handle("parse", %{"files" => files}, alive) do
    errors =
      files
      |> Machine.map(fn path ->
        alive.()

        case File.read(path) do
          {:ok, code} -> if error = Machine.syntax_error(code), do: [path | error]
          {:error, reason} -> [path, nil, nil, reason |> :file.format_error() |> to_string()]
        end
      end)
      |> Enum.filter(& &1)

    %{"errors" => errors}
  end

  defp told(options) do
    for {key, value} <- options, key in [:ignore, :ignore_files, :skip, :threshold, :router], into: %{} do
      {Atom.to_string(key), plain(value)}
    end
  end

  defp plain(list) when is_list(list), do: for(item <- list, do: plain(item))
  defp plain(value) when is_binary(value) or is_boolean(value) or is_nil(value), do: value
  defp plain(value) when is_atom(value), do: Atom.to_string(value)
  defp plain(_), do: nil

  defp tick(alive) do
    Process.sleep(1_000)
    alive.()
    tick(alive)
  end

  defp scan(arguments) do
    stop()
    Mix.Tasks.Sobelow.run(arguments)
    %{high: high, medium: medium, low: low} = Sobelow.FindingLog.log()
    for {confidence, logged} <- [high: high, medium: medium, low: low], entry <- logged, do: describe(confidence, elem(entry, 1))
  end

  defp stop do
    for name <- @servers, pid = Process.whereis(name) do
      reference = Process.monitor(pid)
      Process.unlink(pid)
      Process.exit(pid, :kill)
      receive do: ({:DOWN, ^reference, _, _, _} -> :ok)
    end
  end

  defp describe(confidence, finding) do
    %{
      "type" => finding.type,
      "confidence" => Atom.to_string(confidence),
      "path" => "/" <> to_string(finding.filename),
      "line" => number(finding.vuln_line_no),
      "column" => number(Map.get(finding, :vuln_col_no)),
      "function" => function(finding.fun_name),
      "variable" => variable(finding.vuln_variable)
    }
  end

  defp number(value) when is_integer(value) and value > 0, do: value
  defp number(_), do: nil

  defp function(nil), do: ""
  defp function(name) when is_atom(name) or is_binary(name), do: to_string(name)
  defp function(ast), do: ast |> Macro.to_string() |> String.slice(0, 80)

  defp variable(nil), do: ""
  defp variable(name) when is_binary(name) or is_atom(name), do: to_string(name)
  defp variable(other), do: other |> Macro.to_string() |> String.slice(0, 80)
end
