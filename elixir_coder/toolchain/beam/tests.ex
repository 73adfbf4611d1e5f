defmodule ElixirCoder.Worker.Tests do
  @moduledoc """
  Runs ExUnit tests, or the examples in a module's documentation, and gives one verdict for each.
  """

  alias ElixirCoder.Worker.{Compile, Diagnostics, Guard, Output}
  alias ElixirCoder.Worker.Tests.Verdicts

  @doc "The operation `test`: compiles `files`, then `tests`, then runs these."
  def run(%{"files" => files, "tests" => tests} = args) do
    guard? = args["guard"] != false
    # `doctest` in a test reads the documentation of what it tests.
    to = if Enum.any?(tests, fn [_path, text] -> text =~ "doctest" end), do: Compile.folder_on_code_path()
    {modules, compiled} = Compile.compile(files, :code, guard?, to: to)

    if compiles?(modules, compiled, files) do
      given = Enum.map(modules, &inspect/1)
      {_modules, tests_compiled} = Compile.compile(tests, :tests, guard?, given: given)
      found = compiled["diagnostics"] ++ tests_compiled["diagnostics"]

      if errors?(tests_compiled) do
        %{tests_compiled | "diagnostics" => found} |> Map.put("tests", []) |> Map.put("modules", compiled["modules"])
      else
        given = given ++ tests_compiled["modules"]
        compiled |> Map.put("diagnostics", found) |> with_verdicts(verdicts(args), given, :required)
      end
    else
      Map.put(compiled, "tests", [])
    end
  end

  @doc "The operation `doctest`."
  def run_doctests(%{"files" => files} = args) do
    # Documentation is read from a compiled file, found on the code path.
    to = Compile.folder_on_code_path()
    {modules, compiled} = Compile.compile(files, :code, args["guard"] != false, to: to)

    if compiles?(modules, compiled, files) do
      if args["guard"] != false, do: Guard.arm(:tests)
      documented = modules |> wanted(args["modules"]) |> Enum.filter(&documented?/1) |> Map.new(&{doctests_of(&1), &1})
      absent = for name <- (args["modules"] || []) -- compiled["modules"], do: absent(name)

      case absent ++ Enum.flat_map(documented, &define_doctests/1) do
        [] -> compiled |> with_verdicts(verdicts(args), compiled["modules"], :optional) |> named_by(documented)
        wrong -> Map.merge(compiled, Diagnostics.result(compiled["diagnostics"] ++ wrong)) |> Map.put("tests", [])
      end
    else
      Map.put(compiled, "tests", [])
    end
  end

  defp wanted(modules, nil), do: modules
  defp wanted(modules, names), do: Enum.filter(modules, &(inspect(&1) in names))

  defp absent(name), do: Diagnostics.new("test_failure", "there is no module #{name} to take examples from")

  defp documented?(module) do
    case Code.fetch_docs(module) do
      {:docs_v1, _, _, _, module_doc, _, docs} -> Enum.any?([module_doc | Enum.map(docs, &elem(&1, 3))], &is_map/1)
      _none -> false
    end
  end

  defp doctests_of(module), do: Module.concat(module, "ElixirCoderDocTest")

  # An example that is not Elixir is found here, by ExUnit.
  defp define_doctests({name, module}) do
    body =
      quote do
        use ExUnit.Case, async: false
        doctest unquote(module)
      end

    Module.create(name, body, file: "doctest", line: 1)
    []
  rescue
    error ->
      [Diagnostics.new("test_failure", Exception.message(error), line: Map.get(error, :line), file: source(module))]
  end

  # By the module that the examples are of, not by the one that we made of them.
  defp named_by(result, documented) do
    names = Map.new(documented, fn {tests, module} -> {inspect(tests), module} end)

    tests =
      for test <- result["tests"] do
        module = Map.fetch!(names, test["module"])
        %{test | "module" => inspect(module), "file" => source(module)}
      end

    %{result | "tests" => tests}
  end

  defp source(module), do: module.module_info(:compile)[:source] |> to_string() |> Path.relative_to(Compile.folder())

  defp compiles?([], _compiled, files) when files != [], do: false
  defp compiles?(_modules, compiled, _files), do: not errors?(compiled)

  defp errors?(compiled), do: Enum.any?(compiled["diagnostics"], &(&1["severity"] == "error"))

  # ------------------------------------------------------------------------------------------------- running

  defp verdicts(args) do
    tag = make_ref()

    ExUnit.configure(
      autorun: false,
      formatters: [Verdicts],
      seed: args["seed"] || 0,
      timeout: args["timeout_ms"] || 5_000,
      max_cases: 1,
      max_failures: :infinity,
      colors: [enabled: false],
      capture_log: false,
      include: [],
      exclude: [],
      elixir_coder_sink: {self(), tag}
    )

    Output.keep_errors()
    counted = ExUnit.run()

    receive do
      {^tag, verdicts} ->
        # What ExUnit counted itself must be what we were told.
        if length(verdicts) == counted.total, do: verdicts, else: :forged
    after
      1_000 -> :forged
    end
  end

  defp with_verdicts(compiled, :forged, _given, _how_many) do
    Map.merge(
      compiled,
      Diagnostics.ending("test_failure", "the tests did not run to their end", compiled["diagnostics"])
    )
    |> Map.put("tests", [])
  end

  defp with_verdicts(compiled, verdicts, given, how_many) do
    folder = Compile.folder()
    tests = Enum.map(verdicts, &written(&1, folder))
    compiled = Map.put(compiled, "tests", tests)

    failed =
      for {verdict, test} <- Enum.zip(verdicts, tests), test["state"] in ["failed", "invalid"], do: {verdict, test}

    cond do
      tests == [] and how_many == :required ->
        Map.merge(compiled, Diagnostics.ending("test_failure", "no test ran", compiled["diagnostics"]))

      failed == [] ->
        # The compiler may doubt what nothing called: the tests say that it works.
        outcome = if compiled["diagnostics"] == [], do: "ok", else: "warning"
        %{compiled | "outcome" => outcome}

      true ->
        %{compiled | "outcome" => outcome_of(failed, given)}
    end
  end

  @precedence ~w(forbidden_call undefined_function missing_dependency test_failure timeout resource_limit)

  defp outcome_of(failed, given) do
    classes = Enum.map(failed, fn {verdict, _test} -> class(verdict.cause, given) end)
    Enum.find(@precedence, &(&1 in classes))
  end

  defp class({:error, %UndefinedFunctionError{module: module} = error}, given) do
    if Code.ensure_loaded?(module), do: "undefined_function", else: of_missing(error, given)
  end

  defp class({:error, %ExUnit.TimeoutError{}}, _given), do: "timeout"
  defp class({:error, %SystemLimitError{}}, _given), do: "resource_limit"
  defp class({:error, %{__struct__: ElixirCoder.Worker.Guard.Forbidden}}, _given), do: "forbidden_call"
  defp class({{:EXIT, _pid}, reason}, given), do: class({:error, reason_of(reason)}, given)
  defp class({:exit, reason}, given), do: class({:error, reason_of(reason)}, given)
  defp class(_cause, _given), do: "test_failure"

  # The exit of a process that the test was linked to or called.
  defp reason_of({%_{} = exception, _stack}), do: exception
  defp reason_of({{%_{} = exception, _stack}, {GenServer, :call, _}}), do: exception
  defp reason_of({:undef, [{module, function, args, _} | _]}), do: undefined(module, function, args)
  defp reason_of({{:undef, [{module, function, args, _} | _]}, _}), do: undefined(module, function, args)
  defp reason_of({:system_limit, _stack}), do: %SystemLimitError{}
  defp reason_of(reason), do: reason

  defp undefined(module, function, args),
    do: %UndefinedFunctionError{module: module, function: function, arity: length(args)}

  defp of_missing(%{module: nil}, _given), do: "test_failure"
  defp of_missing(%{module: module}, given), do: Diagnostics.of_missing(inspect(module), given)

  defp written(verdict, folder) do
    %{
      "module" => verdict.module,
      "name" => verdict.name,
      "state" => verdict.state,
      "message" => String.replace(verdict.message, folder <> "/", ""),
      "duration_us" => verdict.duration_us,
      "line" => verdict.line,
      "file" => verdict.file && Path.relative_to(verdict.file, folder)
    }
  end
end

defmodule ElixirCoder.Worker.Tests.Verdicts do
  @moduledoc """
  An ExUnit formatter that keeps every verdict and hands all of them over when the last test is through.

  Where to is known to nobody else from before the first test on.
  """

  use GenServer

  @max_message 4_000
  @width 98

  @impl true
  def init(options) do
    sink = Keyword.fetch!(options, :elixir_coder_sink)
    Application.delete_env(:ex_unit, :elixir_coder_sink)
    {:ok, %{sink: sink, verdicts: []}}
  end

  @impl true
  def handle_cast({:test_finished, test}, state) do
    {:noreply, %{state | verdicts: [verdict(test) | state.verdicts]}}
  end

  # A module whose setup_all failed: the tests come one by one, too, and know no reason.
  def handle_cast({:module_finished, %{state: {:failed, failures}} = module}, state) do
    {_cause, message} = failure(failures, 1, &ExUnit.Formatter.format_test_all_failure(module, failures, 1, @width, &1))

    verdicts =
      for verdict <- state.verdicts do
        if verdict.module == inspect(module.name) and verdict.state == "invalid",
          do: %{verdict | message: message, cause: cause(failures)},
          else: verdict
      end

    {:noreply, %{state | verdicts: verdicts}}
  end

  def handle_cast({:suite_finished, _times}, %{sink: {pid, tag}} = state) do
    send(pid, {tag, Enum.reverse(state.verdicts)})
    {:noreply, state}
  end

  def handle_cast(_event, state), do: {:noreply, state}

  defp verdict(%ExUnit.Test{} = test) do
    {state, cause, message} =
      case test.state do
        nil ->
          {"passed", nil, ""}

        {:failed, failures} ->
          {cause, message} = failure(failures, 2, &ExUnit.Formatter.format_test_failure(test, failures, 1, @width, &1))
          {"failed", cause, message}

        {:skipped, reason} ->
          {"skipped", nil, to_text(reason)}

        {:excluded, reason} ->
          {"excluded", nil, to_text(reason)}

        {:invalid, _module} ->
          {"invalid", nil, "its setup_all failed"}
      end

    %{
      module: inspect(test.module),
      name: name(test),
      state: state,
      message: String.slice(message, 0, @max_message),
      cause: cause,
      duration_us: test.time,
      line: line(test),
      file: test.tags[:file]
    }
  end

  # Of an example before 1.15, only one that failed says where it is.
  defp line(%{tags: %{doctest_line: line}}), do: line
  defp line(%{tags: %{test_type: :doctest}, state: {:failed, [{_, _, [{_, _, _, place} | _]} | _]}}), do: place[:line]
  defp line(%{tags: %{test_type: :doctest}}), do: nil
  defp line(%{tags: tags}), do: tags[:line]

  # "test add", "property add", "doctest A.f/1 (1)": as written, the type is not part of the name.
  defp name(%{name: name, tags: tags}) do
    text = Atom.to_string(name)
    type = tags |> Map.get(:test_type, :test) |> Atom.to_string()
    if type != "doctest", do: String.replace_prefix(text, type <> " ", ""), else: text
  end

  defp failure(failures, title_lines, format) do
    message =
      try do
        format.(&plain/2) |> IO.iodata_to_binary() |> body(title_lines)
      catch
        # A value whose Inspect protocol fails, or worse.
        _kind, _reason -> "failed, and what it says cannot be printed"
      end

    {cause(failures), message}
  end

  defp cause([{kind, reason, _stack} | _]), do: {kind, reason}
  defp cause(_none), do: nil

  defp plain(:diff_enabled?, _default), do: false
  defp plain(_key, text), do: text

  # Without the title and the place, which stand in fields of their own, and without their indentation.
  defp body(text, title_lines) do
    text
    |> String.split("\n")
    |> Enum.drop(title_lines)
    |> Enum.map_join("\n", &String.replace_prefix(&1, "     ", ""))
    |> String.trim()
  end

  defp to_text(reason) when is_binary(reason), do: reason
  defp to_text(reason), do: inspect(reason)
end
