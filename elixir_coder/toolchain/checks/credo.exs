defmodule ElixirCoder.Checks.Credo do
  @moduledoc """
  Runs Credo's checks one by one, so that one that crashes or hangs on a file costs that check on that file only.

  Credo's own runner stops at the first crash and prints its findings; everything around it is Credo's: the reading of
  source files, the merging of configurations, the parameters, the priorities and the comments that switch checks off.
  """

  alias ElixirCoder.Checks.Machine

  # In one struct what Credo keeps in its `Execution`: the checks with their parameters, and what is shown of them.
  defstruct checks: [], files: nil, min_priority: 0, comments?: true, notes: []

  @everything 1_000_000
  @parse_timeout_ms 5_000
  @unread ~w(_build deps node_modules .elixir_ls)

  def hello do
    # A project's own checks are compiled, which asks mix for a project.
    {:ok, _} = Application.ensure_all_started(:mix)
    Code.compiler_options(ignore_module_conflict: true)
    start_credo()
    checks = for check <- builtin_checks(), do: [name(check), check.category() |> to_string(), check.elixir_version()]
    %{"version" => to_string(Credo.version()), "checks" => checks}
  end

  # What Credo keeps of each file stays in its tables for good.
  defp start_credo do
    if Process.whereis(Credo.Supervisor), do: Supervisor.stop(Credo.Supervisor)
    self = self()

    # Linked to a process that never ends, and not to the one that serves this request.
    spawn(fn ->
      send(self, {:credo, Credo.Application.start(nil, nil)})
      Process.sleep(:infinity)
    end)

    receive do
      {:credo, {:ok, _}} -> :ok
      {:credo, other} -> raise "Credo does not start: #{inspect(other)}"
    end
  end

  def handle("configure", args, _alive) do
    start_credo()
    settings = settings(args)
    :persistent_term.put(__MODULE__, settings)
    %{"notes" => settings.notes, "checks" => Enum.map(settings.checks, fn {check, _} -> name(check) end)}
  end

  def handle("sample", %{"path" => path, "code" => code, "timeout_ms" => timeout}, _alive) do
    settings = :persistent_term.get(__MODULE__)
    # A sample is a project of its own: what the checks of a whole project compare lies in one file.
    {files, notes} = read([{path, code}], settings)
    {issues, more} = Enum.map(files, &check_file(&1, settings, "/", timeout)) |> gather()
    {shared, last} = check_project(files, settings, "/", timeout)
    %{"issues" => issues ++ shared, "notes" => notes ++ more ++ last}
  end

  def handle("folder", %{"folder" => folder, "timeout_ms" => timeout}, alive) do
    settings = :persistent_term.get(__MODULE__)
    {files, notes} = folder |> find(settings.files) |> load(folder) |> read(settings, alive)

    {issues, more} =
      files
      |> Machine.map(fn file ->
        result = check_file(file, settings, folder, timeout)
        alive.()
        result
      end)
      |> gather()

    # They see every file, so that they get more time than one file would.
    {shared, last} = check_project(files, settings, folder, timeout + 100 * length(files), alive)
    %{"issues" => issues ++ shared, "notes" => notes ++ more ++ last, "num_files" => length(files)}
  end

  def handle("files", %{"folder" => folder}, _alive) do
    settings = :persistent_term.get(__MODULE__)
    %{"files" => for(path <- find(folder, settings.files), File.regular?(path), do: Path.relative_to(path, folder))}
  end

  # ------------------------------------------------------------------------------------------------ which checks to run

  defp settings(%{"all_checks" => true, "comments" => comments?}) do
    checks = for check <- builtin_checks(), runs_here?(check), do: {check, []}
    %__MODULE__{checks: checks, min_priority: -@everything, comments?: comments?}
  end

  defp settings(%{"folder" => folder, "strict" => strict, "comments" => comments?, "trust" => trust?}) do
    {texts, notes} = config_files(folder, trust?)
    {config, more} = config(texts, folder, trust?)
    strict? = if is_nil(strict), do: config.strict == true, else: strict
    min_priority = if strict?, do: -99, else: 0
    {checks, last} = checks_of(config, min_priority)
    files = if folder && (texts != [] or File.exists?(Path.join(folder, "mix.exs"))), do: config.files

    %__MODULE__{
      checks: checks,
      files: files,
      min_priority: min_priority,
      comments?: comments?,
      notes: notes ++ more ++ last
    }
  end

  defp builtin_checks do
    Application.load(:credo)
    {:ok, modules} = :application.get_key(:credo, :modules)

    for module <- Enum.sort(modules),
        String.starts_with?(Atom.to_string(module), "Elixir.Credo.Check."),
        check?(module),
        do: module
  end

  defp runs_here?(check), do: Version.match?(System.version(), check.elixir_version())

  # As Credo does it: those switched off with `false`, those that are not there, those that need another Elixir, and
  # those that no scope can raise into view.
  defp checks_of(config, min_priority) do
    checks =
      for tuple <- config.checks[:enabled] || [],
          {check, params} = (if tuple_size(tuple) == 1, do: {elem(tuple, 0), []}, else: tuple),
          params != false,
          do: {check, params || []}

    {known, unknown} = Enum.split_with(checks, fn {check, _} -> check?(check) end)
    {usable, unusable} = Enum.split_with(known, fn {check, params} -> usable?(check, params) end)

    runnable =
      for {check, params} <- usable,
          runs_here?(check),
          priority(check, params) >= min_priority - 9,
          do: {check, params}

    notes =
      for({check, _} <- unknown, do: note("config", "", "#{name(check)} is not a check of this Credo; it is not run")) ++
        for {check, _} <- unusable,
            do: note("config", "", "the parameters of #{name(check)} are none that Credo takes; it is not run", name(check))

    {runnable, notes}
  end

  defp check?(module), do: Code.ensure_loaded?(module) and function_exported?(module, :elixir_version, 0)

  defp usable?(check, params) do
    Keyword.keyword?(params) and is_integer(priority(check, params)) and is_boolean(applies?(check, params, "lib/a.ex", "/"))
  rescue
    _ -> false
  end

  defp priority(check, params), do: params |> Credo.Check.Params.priority(check) |> Credo.Priority.to_integer()

  # ------------------------------------------------------------------------------------------------- the configuration

  # A `.credo.exs` is a program. It is read as data, unless the caller trusts the project; what is not data in it is
  # named in a note.
  defp config_files(nil, _trust?), do: {[], []}

  defp config_files(folder, trust?) do
    for directory <- Credo.ConfigFile.relevant_directories(folder),
        path = Path.join(directory, ".credo.exs"),
        File.regular?(path),
        reduce: {[], []} do
      {texts, notes} ->
        text = File.read!(path)

        case if(trust?, do: {:ok, text, []}, else: as_data(text, path)) do
          {:ok, text, more} -> {texts ++ [{path, text}], notes ++ more}
          {:error, why} -> {texts, notes ++ [note("config", path, why)]}
        end
    end
  end

  defp config(texts, folder, trust?) do
    exec = Credo.Execution.build([]) |> Credo.Execution.Task.AppendDefaultConfig.call([])
    exec = Enum.reduce(texts, exec, fn {path, text}, exec -> Credo.Execution.append_config_file(exec, {:file, path, text}) end)
    # Credo reads the last file itself, from a place that we name.
    neutral = Path.join(System.tmp_dir!(), "elixir-coder-#{System.pid()}-#{System.unique_integer([:positive])}.exs")
    File.write!(neutral, ~s(%{configs: [%{name: "default"}]}))

    try do
      Credo.ConfigFile.read_from_file_path(exec, folder || "/", neutral)
    after
      File.rm(neutral)
    end
    |> case do
      {:ok, config} -> {config, trusted(config, folder, trust?)}
      {:error, reason} when texts == [] -> raise "Credo's own configuration is not read: #{inspect(reason)}"
      {:error, reason} -> with_note(config([], folder, false), "it cannot be read (#{inspect(reason)}); Credo's defaults are used", texts)
    end
  rescue
    error in [FunctionClauseError, BadMapError, ArgumentError, Protocol.UndefinedError, KeyError, MatchError] ->
      if texts == [], do: reraise(error, __STACKTRACE__)
      with_note(config([], folder, false), "it is no configuration of Credo's (#{Exception.message(error)}); Credo's defaults are used", texts)
  end

  defp with_note({config, notes}, message, texts) do
    {path, _} = List.last(texts)
    {config, notes ++ [note("config", path, message)]}
  end

  defp trusted(config, folder, true) do
    paths = config.requires |> List.wrap() |> Enum.flat_map(&Path.wildcard(Path.expand(&1, folder)))
    plugins = for {plugin, _} <- config.plugins || [], do: note("config", "", "the plugin #{name(plugin)} is not run")
    Enum.flat_map(paths, &compile/1) ++ plugins
  end

  defp trusted(_config, _folder, false), do: []

  defp compile(path) do
    Code.compile_file(path)
    []
  rescue
    error -> [note("config", path, "it does not compile (#{Exception.message(error)}); its checks are not run")]
  end

  defp as_data(text, path) do
    with {:ok, ast} <- Code.string_to_quoted(text, columns: true) do
      data = literal(ast)
      {plain, notes} = without_code(data, path)
      {:ok, inspect(plain, limit: :infinity, printable_limit: :infinity), notes}
    else
      {:error, {where, _, _}} -> {:error, "line #{where[:line]} does not parse; the file is not used"}
    end
  catch
    {:not_data, ast} ->
      line = if is_tuple(ast), do: elem(ast, 1)[:line]
      code = ast |> Macro.to_string() |> String.slice(0, 60)
      {:error, "line #{line || "?"}, `#{code}`, is code and not data, which is run for a trusted project only; the file is not used"}
  end

  defp without_code(%{configs: configs} = data, path) when is_list(configs) do
    {configs, notes} =
      Enum.map_reduce(configs, [], fn
        %{} = config, notes ->
          more =
            for key <- [:requires, :plugins],
                not empty?(config[key]),
                do: note("config", path, "`#{key}` names code, which is run for a trusted project only; it is ignored")

          {Map.drop(config, [:requires, :plugins]), notes ++ more}

        other, notes ->
          {other, notes}
      end)

    {%{data | configs: configs}, notes}
  end

  defp without_code(data, _path), do: {data, []}

  defp empty?(value), do: value in [nil, [], %{}]

  defp literal(value) when is_atom(value) or is_number(value) or is_binary(value), do: value
  defp literal(list) when is_list(list), do: Enum.map(list, &literal/1)
  defp literal({left, right}), do: {literal(left), literal(right)}
  defp literal({:{}, _, items}), do: items |> Enum.map(&literal/1) |> List.to_tuple()
  defp literal({:%{}, _, pairs}), do: Map.new(pairs, &literal/1)
  defp literal({:__block__, _, [one]}), do: literal(one)
  defp literal({:-, _, [number]}) when is_number(number), do: -number

  defp literal({:__aliases__, _, parts} = ast) do
    if Enum.all?(parts, &is_atom/1), do: Module.concat(parts), else: throw({:not_data, ast})
  end

  defp literal({sigil, _, [{:<<>>, _, [text]}, modifiers]} = ast) when is_binary(text) do
    case sigil do
      words when words in [:sigil_w, :sigil_W] -> text |> String.split() |> words(modifiers, ast)
      regex when regex in [:sigil_r, :sigil_R] -> regex(text, modifiers, ast)
      string when string in [:sigil_s, :sigil_S] and modifiers == [] -> text
      _ -> throw({:not_data, ast})
    end
  end

  defp literal(ast), do: throw({:not_data, ast})

  defp words(words, modifiers, _ast) when modifiers in [[], [?s]], do: words
  defp words(words, [?a], _ast), do: Enum.map(words, &String.to_atom/1)
  defp words(words, [?c], _ast), do: Enum.map(words, &String.to_charlist/1)
  defp words(_words, _, ast), do: throw({:not_data, ast})

  defp regex(text, modifiers, ast) do
    case Regex.compile(text, List.to_string(modifiers)) do
      {:ok, regex} -> regex
      {:error, _} -> throw({:not_data, ast})
    end
  end

  # -------------------------------------------------------------------------------------------------------- the files

  defp find(folder, nil), do: Credo.Sources.find_in_dir(folder, ["**/*.{ex,exs}"], Enum.map(@unread, &~r"/#{&1}/"))
  defp find(folder, files), do: Credo.Sources.find_in_dir(folder, files.included, files.excluded)

  defp load(paths, folder) do
    for path <- paths, File.regular?(path), do: {Path.relative_to(path, folder), path |> File.read() |> unwrap()}
  end

  defp unwrap({:ok, text}), do: text
  defp unwrap({:error, reason}), do: {:error, reason |> :file.format_error() |> to_string()}

  # {path, text} -> {path, source file, comments that switch checks off}, and notes for those that cannot be read.
  defp read(files, settings, alive \\ fn -> :ok end) do
    {good, bad} =
      files
      |> Machine.map(fn {path, text} ->
        alive.()
        read_one(path, text, settings)
      end)
      |> Enum.split_with(&is_tuple/1)

    {good, List.flatten(bad)}
  end

  defp read_one(path, {:error, why}, _settings), do: [note("unreadable", path, why)]

  defp read_one(path, text, settings) do
    if String.valid?(text) do
      case Machine.each([:parse], @parse_timeout_ms, fn :parse -> parse(path, text) end) do
        [{_, {:ok, %{status: :valid} = source}}] -> {path, source, comments(source, settings)}
        [{_, {:ok, _}}] -> [unparsable(path, text)]
        [{_, {:crashed, why}}] -> [note("unparsable", path, why)]
        [{_, _}] -> [note("unparsable", path, "the parser took more than #{div(@parse_timeout_ms, 1000)} s")]
      end
    else
      [note("unparsable", path, "it is not UTF-8")]
    end
  end

  # Credo shortens a path below the working directory, which is none of the project's here.
  defp parse(path, text), do: %{Credo.SourceFile.parse(text, path) | filename: path}

  defp unparsable(path, text) do
    [line, column, message] = Machine.syntax_error(text) || [nil, nil, "the parser refuses it"]
    note("unparsable", path, message, "", line, column)
  end

  defp comments(_source, %{comments?: false}), do: []

  defp comments(source, _settings) do
    # A comment that Credo cannot make sense of (`credo:disable-for-lines:many`) crashes it.
    case Machine.each([source], @parse_timeout_ms, &Credo.Check.ConfigCommentFinder.find_and_set_in_source_file/1) do
      [{_, {:ok, {_, comments}}}] -> comments
      _ -> []
    end
  end

  # ------------------------------------------------------------------------------------------------------- the checks

  defp check_file({path, source, comments}, settings, folder, timeout) do
    checks = for {check, params} <- settings.checks, not check.run_on_all?(), applies?(check, params, path, folder), do: {check, params}

    checks
    |> Machine.each(timeout, fn {check, params} -> run(check, source, params) end)
    |> Enum.map(fn
      {_, {:ok, issues}} -> {issues |> List.wrap() |> shown(comments, settings) |> described(source), []}
      {{check, _}, failed} -> {[], [failure(check, path, failed)]}
    end)
    |> gather()
  end

  defp run(check, source, params) do
    if function_exported?(check, :run, 2), do: check.run(source, params), else: collect(check, [source], params)
  end

  # Checks that compare files: the whole of the project, or what is left of it without the files that they crash on.
  defp check_project(files, settings, folder, timeout, alive \\ fn -> :ok end) do
    for({check, params} <- settings.checks, check.run_on_all?(), do: {check, params})
    |> Machine.map(fn {check, params} ->
      chosen = for {path, source, comments} <- files, applies?(check, params, path, folder), do: {path, source, comments}
      result = if chosen == [], do: {[], []}, else: compare(check, params, chosen, settings, timeout)
      alive.()
      result
    end)
    |> gather()
  end

  defp compare(check, params, files, settings, timeout) do
    case Machine.each([files], timeout, fn files -> collect(check, Enum.map(files, &elem(&1, 1)), params) end) do
      [{_, {:ok, issues}}] -> {told(issues, files, settings), []}
      [{_, failed}] when length(files) == 1 -> {[], [failure(check, files |> hd() |> elem(0), failed)]}
      [{_, failed}] -> without_culprits(check, params, files, settings, timeout, failed)
    end
  end

  defp without_culprits(check, params, files, settings, timeout, failed) do
    # Alone, a file is judged in no time.
    alone =
      Machine.map(files, fn {path, source, _} = file ->
        case Machine.each([source], min(timeout, 2_000), &collect(check, [&1], params)) do
          [{_, {:ok, _}}] -> {:good, file}
          [{_, failed}] -> {:bad, failure(check, path, failed)}
        end
      end)

    case {for({:good, file} <- alone, do: file), for({:bad, note} <- alone, do: note)} do
      {_, []} -> {[], [failure(check, "", failed)]}
      {[], notes} -> {[], notes}
      {rest, notes} -> compare(check, params, rest, settings, timeout) |> then(fn {issues, more} -> {issues, notes ++ more} end)
    end
  end

  defp collect(check, sources, params) do
    exec = Credo.Execution.ExecutionIssues.start_server(%Credo.Execution{max_concurrent_check_runs: 1, crash_on_error: true})
    check.run_on_all_source_files(exec, sources, params)
    exec |> Credo.Execution.ExecutionIssues.to_map() |> Enum.flat_map(&elem(&1, 1))
  end

  defp told(issues, files, settings) do
    by_path = Map.new(files, fn {path, source, comments} -> {path, {source, comments}} end)

    issues
    |> Enum.group_by(& &1.filename)
    |> Enum.flat_map(fn {path, issues} ->
      {source, comments} = by_path[path]
      issues |> shown(comments, settings) |> described(source)
    end)
  end

  defp gather(pairs), do: {Enum.flat_map(pairs, &elem(&1, 0)), Enum.flat_map(pairs, &elem(&1, 1))}

  defp shown(issues, comments, settings) do
    Enum.filter(issues, fn issue ->
      issue.priority >= settings.min_priority and not Enum.any?(comments, &Credo.Check.ConfigComment.ignores_issue?(&1, issue))
    end)
  end

  # --------------------------------------------------------------------------------------- the files a check wants to see

  # `files: %{included: [...], excluded: [...]}` in the check's own defaults or in the configuration.
  defp applies?(check, params, path, folder) do
    files = params[:__files__] || params[:files] || check.param_defaults()[:files] || %{}
    included = files[:included]
    (included in [nil, []] or Enum.any?(List.wrap(included), &matches?(path, &1, folder))) and
      not Enum.any?(List.wrap(files[:excluded]), &matches?(path, &1, folder))
  end

  # Credo gives a regular expression the absolute path, and takes a pattern for a path below the working directory.
  defp matches?(path, %Regex{} = regex, folder), do: Regex.match?(regex, Path.expand(path, folder))

  defp matches?(path, pattern, folder) when is_binary(pattern) do
    path = Path.expand(path, folder)
    pattern = Path.expand(pattern, folder)
    String.starts_with?(path, String.trim_trailing(pattern, "/") <> "/") or Regex.match?(glob(pattern), path)
  end

  defp glob(pattern) do
    case :persistent_term.get({__MODULE__, pattern}, nil) do
      nil ->
        regex = Regex.compile!("\\A" <> translate(pattern) <> "\\z", "u")
        :persistent_term.put({__MODULE__, pattern}, regex)
        regex

      regex ->
        regex
    end
  end

  defp translate("**/" <> rest), do: "(?:[^/]+/)*" <> translate(rest)
  defp translate("*" <> rest), do: "[^/]*" <> translate(rest)
  defp translate("?" <> rest), do: "[^/]" <> translate(rest)
  defp translate("{" <> rest), do: "(?:" <> translate(rest)
  defp translate("}" <> rest), do: ")" <> translate(rest)
  defp translate("," <> rest), do: "|" <> translate(rest)
  defp translate(<<char::utf8, rest::binary>>), do: Regex.escape(<<char::utf8>>) <> translate(rest)
  defp translate(""), do: ""

  # ------------------------------------------------------------------------------------------------------- what to say

  defp described(issues, source) do
    # Columns found by searching a line are bytes; they are the same as code points in almost every file.
    lines =
      if issues != [] do
        text = Credo.SourceFile.source(source)
        if byte_size(text) != length(String.codepoints(text)), do: Map.new(Credo.SourceFile.lines(source)), else: %{}
      end

    for issue <- issues do
      %{
        "check" => name(issue.check),
        "category" => to_string(issue.category),
        "priority" => issue.priority,
        "message" => to_string(issue.message),
        "path" => to_string(issue.filename),
        "line" => issue.line_no,
        "column" => column(issue, lines[issue.line_no])
      }
    end
  end

  defp column(%{column: column}, line) when is_nil(column) or is_nil(line), do: column

  defp column(%{column: column, trigger: trigger}, line) do
    trigger = if is_binary(trigger) or is_atom(trigger), do: to_string(trigger), else: ""
    before = column - 1

    cond do
      line |> String.codepoints() |> Enum.drop(before) |> Enum.join() |> String.starts_with?(trigger) -> column
      before > byte_size(line) -> column
      true -> (line |> binary_part(0, before) |> String.codepoints() |> length()) + 1
    end
  end

  defp failure(check, path, {:crashed, why}), do: note("check_crashed", path, why, name(check))
  defp failure(check, path, :timeout), do: note("timeout", path, "the check did not end in time", name(check))
  defp failure(check, path, :skipped), do: note("timeout", path, "not run: the file's time was over", name(check))

  defp note(kind, path, message, check \\ "", line \\ nil, column \\ nil) do
    %{"kind" => kind, "path" => path, "message" => message, "check" => check, "line" => line, "column" => column}
  end

  defp name(module) when is_atom(module), do: module |> Atom.to_string() |> String.replace_prefix("Elixir.", "")
end
