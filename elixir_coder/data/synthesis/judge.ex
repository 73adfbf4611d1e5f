defmodule ElixirCoder.Synthesis.Judge do
  @moduledoc """
  Runs many drafts of exercises in one job of the toolchain, one after the other, and says of each what came of it.

  A draft's tests are compiled once; its programs take their turns under the same module name, so a test calls
  whichever is there. What comes in are lines of a number, a word, and texts in Base64.
  """

  # Far more than any of these programs needs, so that a busy machine changes no verdict.
  @timeout_ms 20_000

  def run(drafts) do
    Code.compiler_options(ignore_module_conflict: true, debug_info: false)
    # A tenth less time; what these programs do does not depend on it.
    System.put_env("ERL_COMPILER_OPTIONS", "[no_ssa_opt, no_copt, no_postopt]")
    packed = for(draft <- read(drafts), record <- judge(draft), do: record) |> :zlib.gzip() |> Base.encode64()
    # What the process of the job itself prints is thrown away.
    Task.await(Task.async(fn -> IO.write(["<judged>", packed, "</judged>"]) end), :infinity)
  end

  defp read(drafts) do
    drafts
    |> String.split("\n", trim: true)
    |> Enum.map(&String.split(&1, " "))
    |> Enum.map(fn [id, word | texts] -> {id, word, Enum.map(texts, &Base.decode64!/1)} end)
    |> Enum.chunk_by(&elem(&1, 0))
  end

  defp judge([{id, _word, _texts} | _] = lines) do
    lines
    |> Enum.chunk_while([], &sets/2, fn set -> {:cont, Enum.reverse(set), []} end)
    |> Enum.flat_map(&judge_set/1)
    |> Enum.map(fn {word, texts} -> record(id, word, texts) end)
  end

  # Sizes first, then the texts as they are, which packs twice as well as texts that are packed one by one.
  defp record(id, word, texts) do
    [Enum.join([id, word | Enum.map(texts, &byte_size/1)], " "), "\n", texts]
  end

  # A set begins with its reference: the draft itself, each reading of an ambiguous one, each follow-up.
  defp sets({_id, "reference", _texts} = line, []), do: {:cont, [line]}
  defp sets({_id, "reference", _texts} = line, set), do: {:cont, Enum.reverse(set), [line]}
  defp sets(line, set), do: {:cont, [line | set]}

  defp judge_set([{_id, "reference", [name, code]} | lines]) do
    {answers, modules} =
      case compile(code, true) do
        {:ok, modules, ""} -> with_reference(name, code, lines, modules)
        {:ok, modules, warnings} -> {[{"failed", [name, "warning", warnings]}], modules}
        {:error, message} -> {[{"failed", [name, "compile_error", message]}], []}
      end

    forget(modules)
    answers
  end

  defp with_reference(name, code, lines, modules) do
    values = for {_id, "value", [expression]} <- lines, do: {expression, value(expression)}

    case for {expression, {:error, message}} <- values, do: "#{expression}: #{message}" do
      [] when name == "main" and length(values) >= 4 ->
        if values |> Enum.uniq_by(&elem(&1, 1)) |> length() < 2,
          do: {[{"failed", [name, "always_the_same", ""]}], modules},
          else: with_values(name, code, lines, modules, values)

      [] ->
        with_values(name, code, lines, modules, values)

      wrong ->
        {[{"failed", [name, "no_value", Enum.join(wrong, "\n")]}], modules}
    end
  end

  defp with_values(name, code, lines, modules, values) do
    values = Map.new(values, fn {expression, {:ok, text}} -> {expression, text} end)
    texts = for {_id, "text", [key, text]} <- lines, do: {key, fill(text, values)}
    [{_id, "tests", [tests]}] = for {_id, "tests", _texts} = line <- lines, do: line

    with {:ok, code} <- code |> documented(values) |> format(),
         {:ok, tests} <- format(fill(tests, values)),
         {:ok, test_modules, warnings} <- compile(tests, true) do
      # Modules register themselves when they are defined, so the first run takes what is registered.
      first = passes([])
      first = if warnings == "", do: first, else: {:error, warnings}
      {answers, modules} = on_tests(name, {code, tests}, texts, lines, modules, test_modules, {values, first})
      {answers, modules ++ test_modules}
    else
      {:error, message} -> {[{"failed", [name, "not_elixir", message]}], modules}
    end
  end

  defp on_tests(name, {code, tests}, texts, lines, modules, test_modules, {values, first}) do
    case first do
      {:ok, number} ->
        told = for {key, text} <- texts, do: {"filled", [name, key, text]}
        programs = for {_id, "program", [key, role, text]} <- lines, do: {key, role, documented(text, values)}

        {judged, modules} =
          Enum.map_reduce(programs, modules, fn {key, role, text}, modules ->
            {answer, new} = program(name, key, role, text, test_modules, modules)
            {answer, Enum.uniq(modules ++ new)}
          end)

        {[{"reference", [name, code, tests, Integer.to_string(number)]} | told] ++ judged, modules}

      {:error, message} ->
        {[{"failed", [name, "test_failure", message]}], modules}
    end
  end

  # role: same (must pass, without a warning) or other (what comes of it is told).
  defp program(name, key, role, text, test_modules, modules) do
    case format(text) do
      {:ok, code} ->
        # What the program before left must not answer for this one.
        forget(modules)

        case compile(code, role == "same") do
          {:ok, new, warnings} when role == "other" or warnings == "" ->
            case passes(test_modules) do
              {:ok, _number} -> {{"program", [name, key, "passed", code, ""]}, new}
              {:error, message} -> {{"program", [name, key, "test_failure", code, message]}, new}
            end

          {:ok, new, warnings} ->
            {{"program", [name, key, "warning", code, warnings]}, new}

          {:error, message} ->
            {{"program", [name, key, "compile_error", code, message]}, []}
        end

      {:error, message} ->
        {{"program", [name, key, "syntax_error", text, message]}, []}
    end
  end

  # ------------------------------------------------------------------------------------------------- the parts

  defp compile(code, warned?) do
    me = self()

    work = fn ->
      result =
        try do
          {:ok, code |> Code.compile_string("code.ex") |> Enum.map(&elem(&1, 0))}
        rescue
          error -> {:error, Exception.message(error)}
        catch
          kind, reason -> {:error, inspect({kind, reason})}
        end

      send(me, {:compiled, result})
    end

    warnings = if warned?, do: ExUnit.CaptureIO.capture_io(:stderr, work), else: work.() && ""

    receive do
      {:compiled, {:ok, modules}} -> {:ok, modules, warnings}
      {:compiled, {:error, message}} -> {:error, message}
    end
  end

  defp forget(modules) do
    for module <- modules do
      :code.purge(module)
      :code.delete(module)
      :code.purge(module)
    end
  end

  defp format(code) do
    {:ok, IO.iodata_to_binary([Code.format_string!(code), "\n"])}
  rescue
    error -> {:error, Exception.message(error)}
  end

  defp documented(code, values), do: code |> fill(values) |> broken_doctests() |> without_escapes()

  # In a plain heredoc the `\\n` of an example would be a line's end.
  defp without_escapes(code) do
    Regex.replace(~r/@doc """\n(.*?)"""/s, code, fn whole, body ->
      if String.contains?(body, "\\"), do: "@doc ~S\"\"\"\n" <> body <> "\"\"\"", else: whole
    end)
  end

  # Examples in documentation are wrapped as people wrap them; the formatter leaves them alone.
  defp broken_doctests(code) do
    Regex.replace(~r/^( +)iex> (.+)\n +(.+)$/m, code, fn whole, indent, expression, value ->
      if String.length(indent <> expression) > 90 or String.length(indent <> value) > 96,
        do: wrapped(expression, indent, "iex> ", "...> ") <> "\n" <> wrapped(value, indent, "", ""),
        else: whole
    end)
  end

  defp wrapped(expression, indent, first, next) do
    [head | rest] = expression |> Code.format_string!(line_length: 84) |> IO.iodata_to_binary() |> String.split("\n")

    Enum.join([indent <> first <> head | Enum.map(rest, &(indent <> next <> &1))], "\n")
  rescue
    # What is not Elixir on its own, such as an exception's message, stays as it is.
    _error -> indent <> first <> expression
  end

  defp fill(text, values) do
    case String.split(text, "@@") do
      [^text] -> text
      parts -> parts |> Enum.with_index() |> Enum.map_join("", &part(&1, values))
    end
  end

  defp part({text, index}, values) when rem(index, 2) == 1, do: Map.fetch!(values, text)
  defp part({text, _index}, _values), do: text

  defp value(expression) do
    guarded(fn ->
      {value, _binding} = Code.eval_string(expression)
      inspect(value, limit: :infinity, printable_limit: :infinity, charlists: :as_lists, width: :infinity)
    end)
  end

  # In a process of its own, which may run forever, exit or be killed.
  defp guarded(work) do
    {pid, monitor} =
      spawn_monitor(fn ->
        answer =
          try do
            {:ok, work.()}
          rescue
            error -> {:error, Exception.message(error)}
          catch
            kind, reason -> {:error, inspect({kind, reason})}
          end

        exit({:answer, answer})
      end)

    receive do
      {:DOWN, ^monitor, :process, _pid, {:answer, answer}} -> answer
      {:DOWN, ^monitor, :process, _pid, reason} -> {:error, "ended: #{inspect(reason, limit: 5)}"}
    after
      @timeout_ms ->
        Process.exit(pid, :kill)
        receive do: ({:DOWN, ^monitor, :process, _pid, _reason} -> {:error, "timeout"})
    end
  end

  # By ExUnit itself, on what is registered and these modules.
  defp passes(test_modules) do
    ExUnit.configure(
      autorun: false,
      formatters: [ElixirCoder.Synthesis.Judge.Failures],
      seed: 0,
      timeout: @timeout_ms,
      max_cases: 1,
      max_failures: 1,
      colors: [enabled: false],
      capture_log: false,
      judge: self()
    )

    counted = ExUnit.run(for module <- test_modules, function_exported?(module, :__ex_unit__, 0), do: module)

    receive do
      {:failures, []} when counted.total > 0 and counted.skipped + counted.excluded == 0 -> {:ok, counted.total}
      {:failures, []} -> {:error, "no test ran"}
      {:failures, [first | _]} -> {:error, first}
    after
      @timeout_ms -> {:error, "the tests did not run to their end"}
    end
  end
end

defmodule ElixirCoder.Synthesis.Judge.Failures do
  @moduledoc "An ExUnit formatter that hands over the messages of the tests that failed."

  use GenServer

  @impl true
  def init(options), do: {:ok, {Keyword.fetch!(options, :judge), []}}

  @impl true
  def handle_cast({:test_finished, %{state: {:failed, failures}} = test}, {judge, messages}) do
    {:noreply, {judge, [message(test, failures) | messages]}}
  end

  def handle_cast({:test_finished, %{state: {:invalid, _module}}}, {judge, messages}) do
    {:noreply, {judge, ["setup_all failed" | messages]}}
  end

  def handle_cast({:suite_finished, _times}, {judge, messages}) do
    send(judge, {:failures, Enum.reverse(messages)})
    {:noreply, {judge, []}}
  end

  def handle_cast(_event, state), do: {:noreply, state}

  defp message(test, [{_kind, reason, _stack} | _]) do
    text = if is_exception(reason), do: Exception.message(reason), else: inspect(reason, limit: 10)
    String.slice("#{test.name}: #{text}", 0, 800)
  rescue
    _error -> "#{test.name} failed"
  end
end
