defmodule ElixirCoder.Worker.MutationRun do
  @moduledoc """
  Runs a test-suite against one mutant after another, in one machine.

  The code and the tests are compiled once. For a mutant its file is compiled from the tree, in memory, and the tests
  run until one fails; then everything is put back (`Restore`). Where the tests, or other files, took something from
  the mutated file while they were compiled (macros, structs, values), they are compiled again: a tracer of the
  compiler notes what they took.

  A mutant whose code the compiler makes the same as the original's, or as that of a mutant before it, is not run:
  trivial compiler equivalence (Papadakis, Jia, Harman and Le Traon 2015), here with line numbers left out.

  A suite may fail because it is run again (it counts, it keeps state, it is flaky), or because it looks at the code it
  is given. Either would kill every mutant, so the unchanged code runs between the mutants, with a call in it that does
  nothing: where that fails, no verdict is given.
  """

  alias ElixirCoder.Worker.{Compile, Diagnostics, Guard, HeapWatch, Mutate, Restore}
  alias ElixirCoder.Worker.MutationRun.{Dependencies, Watch}

  # One file takes 10 ms: this is for code that computes while it is compiled.
  @compile_ms 5_000
  # Beyond the time of the tests, which ExUnit ends: for what does not end when it is told to.
  @grace_ms 250
  @max_message 300
  # Of one process, in words: 64 MB. A mutant that calls itself without end is at the usual limit only after seconds,
  # and may take the machine with it. `Restore` puts the usual limit back.
  @max_heap 8_000_000

  @doc """
  The operation `mutate`: `%{"files", "tests", "ids", "guard", "min_timeout_ms", "timeout_factor", "budget_ms"}`.

  The tests may take `timeout_factor` times what they take on the original, and `min_timeout_ms` at least. After
  `budget_ms` no further mutant is begun. Answers `"mutants"`, a list of `%{"id", "state", "test", "detail", "code"}`,
  and `"left"`, the ids that were not begun; `"num_mutants"` is how many the files have.

  States: killed (by `"test"`), timeout, survived, invalid (does not compile), equivalent, duplicate. Mutants with the
  same `"code"` are the same program.
  """
  def run(args) do
    until = now_ms() + Map.get(args, "budget_ms", 60_000)

    with {:ok, run} <- compiled(args),
         {:ok, run} <- baseline(run),
         {:ok, run, mutants} <- mutants(run, args["ids"]),
         {:ok, run} <- first_control(run, args) do
      mutants |> planned() |> each(Map.put(run, :until, until), [])
    end
  end

  # ------------------------------------------------------------------------------------------- before the first mutant

  defp compiled(%{"files" => files, "tests" => tests} = args) do
    guard? = args["guard"] != false
    # A documentation test reads what it tests from a compiled file.
    to = if Enum.any?(tests, fn [_path, text] -> text =~ "doctest" end), do: Compile.folder_on_code_path()
    Dependencies.start()
    {modules, result} = Compile.compile(files, :code, guard?, to: to)

    with :ok <- without_errors(result, modules),
         {test_modules, tests_result} = Compile.compile(tests, :tests, guard?, given: result["modules"]),
         :ok <- without_errors(tests_result, test_modules) do
      run = %{
        guard?: guard?,
        files: places(files),
        tests: places(tests),
        dependencies: Dependencies.stop(),
        test_modules: Enum.filter(test_modules, &function_exported?(&1, :__ex_unit__, 0)),
        seen: %{}
      }

      {:ok, run}
    end
  end

  defp without_errors(result, modules) do
    cond do
      Enum.any?(result["diagnostics"], &(&1["severity"] == "error")) -> ended(result)
      modules == [] -> ended(Diagnostics.ending("compile_error", "no module is defined"))
      true -> :ok
    end
  end

  defp ended(result), do: Map.merge(result, %{"mutants" => [], "left" => []})

  # As the compiler has seen them, so that stack traces and `__ENV__.file` stay the same.
  defp places(files), do: for([path, text] <- files, do: {Path.join(Compile.folder(), path), text})

  # The tests on the code as it is.
  defp baseline(run) do
    configure(max_failures: :infinity, timeout: 60_000)
    before = Restore.snapshot(nil)
    verdict = tests([])
    Restore.within_job(before, Compile.folder())
    refused = if run.guard?, do: Guard.disarm(), else: []

    cond do
      refused != [] -> ended(Diagnostics.ending("forbidden_call", hd(refused)["message"]))
      verdict.failed != nil -> failed(verdict, "fails on the unchanged code")
      verdict.total == 0 -> ended(Diagnostics.ending("test_failure", "no test ran"))
      true -> {:ok, Map.put(run, :total, verdict.total)}
    end
  end

  defp failed(%{failed: failed}, how),
    do: ended(Diagnostics.ending("test_failure", "the test #{inspect(failed.test)} #{how}: #{failed.message}"))

  # Mutants share most of their trees; what is given to another process is copied and shares nothing, so `run`, which
  # goes there, has none of them.
  defp mutants(run, ids) do
    trees =
      for {path, text} <- run.files ++ run.tests, {:ok, tree} = Mutate.parse(text, path), into: %{}, do: {path, tree}

    {mutants, count} =
      Enum.flat_map_reduce(run.files, 0, fn {path, _text}, first ->
        mutants = Mutate.of_tree(trees[path], first)
        {Enum.map(mutants, &{path, &1}), first + length(mutants)}
      end)

    case Enum.reject(ids, &(is_integer(&1) and &1 >= 0 and &1 < count)) do
      [] ->
        all = List.to_tuple(mutants)
        mutants = for id <- ids, do: elem(all, id)
        files = for {path, _mutant} <- mutants, uniq: true, do: path
        {:ok, Map.merge(run, %{trees: trees, num_mutants: count, mutated: files}), mutants}

      [wrong | _] ->
        ended(Diagnostics.ending("crash", "there is no mutant #{inspect(wrong)} among #{count}"))
    end
  end

  # The unchanged code by the way that mutants take: what they are compared with, what is put back, how long the tests
  # take, and whether they still pass.
  defp first_control(run, args) do
    # Mutants define modules again; what the compiler says of that goes nowhere.
    Code.put_compiler_option(:ignore_module_conflict, true)
    limit_heap()

    case within(@compile_ms * (length(run.files) + length(run.tests)), fn -> originals(run) end) do
      {:ok, originals} ->
        shapes =
          for {_path, {compiled, _code}} <- originals,
              {module, _binary} <- compiled,
              into: %{},
              do: {module, shape(module)}

        configure(max_failures: 1, timeout: 60_000)
        run = Map.merge(run, %{originals: originals, shapes: shapes, timeout_ms: 60_000})
        # Tests that were compiled again made themselves known to ExUnit, and are not to run twice.
        run =
          if Enum.any?(run.tests, fn {path, _} -> is_map_key(originals, path) end), do: anew(run), else: snapshot(run)

        {taken_us, {verdict, run}} = :timer.tc(fn -> control(run) end)
        timeout_ms = max(args["min_timeout_ms"] || 1_000, ceil((args["timeout_factor"] || 5) * taken_us / 1_000))
        configure(timeout: timeout_ms)
        passed(verdict, run |> Map.put(:timeout_ms, timeout_ms) |> snapshot())

      :timeout ->
        ended(Diagnostics.ending("timeout", "the code takes too long to compile a second time"))

      {:died, reason} ->
        ended(Diagnostics.ending("crash", "the code does not compile a second time: #{shown(reason)}"))
    end
  end

  defp limit_heap do
    %{size: usual} = :erlang.system_info(:max_heap_size)
    size = if usual == 0, do: @max_heap, else: min(usual, @max_heap)
    :erlang.system_flag(:max_heap_size, %{size: size, kill: true, error_logger: true})
  end

  # Of the files that mutants or their effects will change: `%{file => {[{module, binary}], code}}`.
  defp originals(run) do
    above = Enum.flat_map(run.mutated, &Dependencies.above(run.dependencies, &1))
    needed = run.mutated ++ Enum.filter(above, &Dependencies.takes_while_compiling?(run.dependencies, &1))
    arm(run, :code)
    code = for path <- in_order(run, run.files), path in needed, do: {path, with_code(compile(run.trees[path], path))}
    arm(run, :tests)

    tests =
      for path <- in_order(run, run.tests), path in needed, do: {path, with_code(compile(run.trees[path], path))}

    Map.new(code ++ tests)
  end

  defp with_code(compiled), do: {compiled, code(compiled)}

  # What every mutant begins with.
  defp snapshot(run), do: Map.put(run, :before, Restore.snapshot(nil))

  # The same with an ExUnit that knows of no tests. The worker will be replaced after the job: it had another one.
  defp anew(run) do
    Application.stop(:ex_unit)
    :ok = Application.start(:ex_unit)
    snapshot(run)
  end

  defp control(run) do
    path = hd(run.mutated)
    tree = Mutate.control(run.trees[path]) || run.trees[path]
    judged(run, path, tree, fn run, _compiled -> {run_tests(run, path), run} end)
  end

  defp passed(%{"state" => "survived"}, run), do: {:ok, run}

  defp passed(verdict, _run) do
    what = if verdict["test"], do: "the test #{inspect(verdict["test"])}", else: "the code"

    ended(
      Diagnostics.ending("test_failure", "#{what} fails when the unchanged code is run again: #{verdict["detail"]}")
    )
  end

  # -------------------------------------------------------------------------------------------------- the mutants

  # One more run of the unchanged code, at a place that nobody can foresee.
  defp planned(mutants), do: List.insert_at(mutants, :rand.uniform(length(mutants) + 1) - 1, :control)

  defp each([], run, done), do: answer(run, done, [])

  defp each([:control | rest], run, done) do
    {verdict, run} = control(run)
    with {:ok, run} <- passed(verdict, run), do: each(rest, run, done)
  end

  defp each([{path, mutant} | rest] = left, run, done) do
    # Where the machine could not be put back, what comes now might not be what it seems.
    if (now_ms() > run.until and done != []) or run.before == nil do
      answer(run, done, left)
    else
      tree = Mutate.apply_mutant(run.trees[path], mutant)
      {verdict, run} = judged(run, path, tree, &one(&1, path, mutant.id, &2))
      each(rest, run, [Map.put(verdict, "id", mutant.id) | done])
    end
  end

  defp answer(run, done, left) do
    # A process that outgrew its heap was a mutant's.
    HeapWatch.reset()

    Map.merge(Diagnostics.result([]), %{
      "mutants" => Enum.reverse(done),
      "left" => for({_path, mutant} <- left, do: mutant.id),
      "num_mutants" => run.num_mutants,
      "num_tests" => run.total,
      "timeout_ms" => run.timeout_ms
    })
  end

  # `{verdict, run}` of a tree in place of a file's.
  defp judged(run, path, tree, then) do
    guard = Map.take(run, [:guard?])

    work = fn ->
      arm(guard, :code)
      compile(tree, path)
    end

    {verdict, run} =
      case within(@compile_ms, work) do
        {:ok, compiled} -> then.(run, compiled)
        {:died, reason} -> {verdict("invalid", detail: shown(reason)), run}
        :timeout -> {verdict("timeout", detail: "while it compiles"), run}
      end

    {Map.delete(verdict, :broken), put_back(run, verdict[:broken] == true)}
  end

  defp one(run, path, id, compiled) do
    code = code(compiled)
    {_compiled, original} = run.originals[path]

    case run.seen do
      _seen when code == original ->
        {verdict("equivalent", code: code), run}

      %{^code => other} ->
        {verdict("duplicate", code: code, detail: "of #{other}"), run}

      seen ->
        verdict = %{run_tests(run, path) | "code" => code}
        {verdict, %{run | seen: Map.put(seen, code, id)}}
    end
  end

  defp run_tests(run, path) do
    # Copied with the function.
    run = %{run | trees: run.trees |> Map.take(Map.keys(run.originals)) |> Map.delete(path)}
    run = Map.drop(run, [:before, :seen, :originals])

    work = fn ->
      case compile_what_took_from(run, path) do
        {:ok, test_modules} -> tests(test_modules)
        {:error, what} -> what
      end
    end

    case within(run.timeout_ms + @grace_ms, work) do
      {:ok, %{failed: nil}} -> verdict("survived")
      {:ok, %{failed: %{timeout?: true} = failed}} -> verdict("timeout", test: failed.test, detail: failed.message)
      {:ok, %{failed: failed}} -> verdict("killed", test: failed.test, detail: failed.message)
      {:ok, :code} -> verdict("invalid", detail: "another file does not compile with it") |> Map.put(:broken, true)
      {:ok, :tests} -> verdict("killed", detail: "the tests do not compile with it") |> Map.put(:broken, true)
      {:died, reason} -> verdict("killed", detail: shown(reason)) |> Map.put(:broken, true)
      :timeout -> verdict("timeout", detail: "the tests did not end") |> Map.put(:broken, true)
    end
  end

  defp verdict(state, fields \\ []) do
    %{"state" => state, "test" => fields[:test], "detail" => fields[:detail] || "", "code" => fields[:code]}
  end

  # Compiles again what took from the mutated file while it was compiled. Tests that are new to ExUnit make themselves
  # known to it; answered are the others.
  defp compile_what_took_from(run, path) do
    arm(run, :code)
    affected = MapSet.new([path | Dependencies.above(run.dependencies, path)])
    changed = fn module -> shape(module) != run.shapes[module] end
    stale? = fn file -> file != path and Dependencies.stale?(run.dependencies, file, affected, changed) end

    with :ok <- compile_all(run, Enum.filter(in_order(run, run.files), stale?), :code),
         arm(run, :tests),
         stale = Enum.filter(in_order(run, run.tests), stale?),
         :ok <- compile_all(run, stale, :tests) do
      {:ok, Enum.reject(run.test_modules, &(Dependencies.file_of(run.dependencies, &1) in stale))}
    end
  end

  defp compile_all(run, files, kind) do
    Enum.each(files, &compile(run.trees[&1], &1))
  catch
    _kind, _reason -> {:error, kind}
  end

  defp in_order(run, files),
    do: files |> Enum.map(&elem(&1, 0)) |> Enum.sort_by(&Dependencies.position(run.dependencies, &1))

  defp compile(tree, path), do: tree |> Mutate.unwrap() |> Code.compile_quoted(path)

  defp arm(%{guard?: true}, kind), do: Guard.arm(kind)
  defp arm(_run, _kind), do: :ok

  # What other files see of a module while they are compiled, but for what it answers when it is called.
  defp shape(module) do
    struct = if function_exported?(module, :__struct__, 0), do: module.__struct__()
    {Enum.sort(module.module_info(:exports)), struct}
  rescue
    UndefinedFunctionError -> nil
  end

  # The same for the same instructions, whatever their lines.
  defp code(compiled) do
    compiled
    |> Enum.sort()
    |> Enum.map(fn {_module, binary} -> instructions(binary) end)
    |> :erlang.term_to_binary()
    |> :erlang.md5()
    |> Base.encode16(case: :lower)
  end

  defp instructions(binary) do
    {:beam_file, module, exports, _attributes, _compiled, functions} = :beam_disasm.file(binary)

    functions =
      for {:function, name, arity, entry, instructions} <- functions do
        {name, arity, entry, Enum.reject(instructions, &match?({:line, _}, &1))}
      end

    {module, exports, functions}
  end

  defp put_back(run, broken?) do
    for {_path, {compiled, _code}} <- run.originals,
        {module, binary} <- compiled,
        not same?(module, binary),
        do: :code.load_binary(module, '', binary)

    restored? = Restore.within_job(run.before, Compile.folder())
    if run.guard?, do: Guard.disarm()

    cond do
      not restored? -> %{run | before: nil}
      broken? -> anew(run)
      true -> run
    end
  end

  defp same?(module, binary) do
    {:ok, {_module, md5}} = :beam_lib.md5(binary)
    module.module_info(:md5) == md5
  rescue
    UndefinedFunctionError -> false
  end

  # --------------------------------------------------------------------------------------------------- running tests

  defp configure(options) do
    ExUnit.configure(
      [autorun: false, seed: 0, max_cases: 1, colors: [enabled: false], capture_log: false, include: [], exclude: []] ++
        options
    )
  end

  # Of the modules named and those that were just compiled.
  defp tests(modules) do
    tag = make_ref()
    ExUnit.configure(formatters: [Watch], elixir_coder_sink: {self(), tag})
    counted = ExUnit.run(modules)

    receive do
      {^tag, failed} ->
        %{failed: failed || missed(counted), total: counted.total - counted.excluded - counted.skipped}
    after
      1_000 -> %{failed: missed(%{failures: 1}), total: 0}
    end
  end

  defp missed(%{failures: 0}), do: nil
  defp missed(_counted), do: %{test: nil, timeout?: false, message: "the tests did not run to their end"}

  # In a process of its own: `{:ok, result}`, `{:died, reason}` or `:timeout`.
  defp within(limit_ms, fun) do
    tag = make_ref()
    {pid, monitor} = spawn_monitor(fn -> exit({tag, caught(fun)}) end)

    receive do
      {:DOWN, ^monitor, :process, _pid, {^tag, result}} -> result
      {:DOWN, ^monitor, :process, _pid, reason} -> {:died, reason}
    after
      limit_ms ->
        Process.exit(pid, :kill)

        receive do
          {:DOWN, ^monitor, :process, _pid, _reason} -> :timeout
        end
    end
  end

  defp caught(fun) do
    {:ok, fun.()}
  catch
    :error, reason when is_exception(reason) -> {:died, Exception.message(reason)}
    _kind, reason -> {:died, reason}
  end

  defp shown(text) when is_binary(text), do: String.slice(text, 0, @max_message)
  defp shown(reason), do: inspect(reason, limit: 5, printable_limit: @max_message)

  defp now_ms, do: System.monotonic_time(:millisecond)
end

defmodule ElixirCoder.Worker.MutationRun.Watch do
  @moduledoc "An ExUnit formatter that keeps the first failure and hands it over when the suite is through."

  use GenServer

  @max_message 300

  @impl true
  def init(options) do
    sink = Keyword.fetch!(options, :elixir_coder_sink)
    Application.delete_env(:ex_unit, :elixir_coder_sink)
    {:ok, %{sink: sink, failed: nil}}
  end

  @impl true
  def handle_cast({:test_finished, %{state: {:failed, failures}} = test}, %{failed: nil} = state) do
    {:noreply, %{state | failed: failure("#{inspect(test.module)}: #{name(test)}", failures)}}
  end

  def handle_cast({:module_finished, %{state: {:failed, failures}} = module}, %{failed: nil} = state) do
    {:noreply, %{state | failed: failure("#{inspect(module.name)}: setup_all", failures)}}
  end

  def handle_cast({:suite_finished, _times}, %{sink: {pid, tag}} = state) do
    send(pid, {tag, state.failed})
    {:noreply, state}
  end

  def handle_cast(_event, state), do: {:noreply, state}

  defp failure(test, failures) do
    {message, timeout?} =
      case failures do
        [{kind, reason, _stack} | _] -> {banner(kind, reason), match?(%ExUnit.TimeoutError{}, reason)}
        _none -> {"", false}
      end

    %{test: test, timeout?: timeout?, message: message}
  end

  defp banner(_kind, %ExUnit.AssertionError{message: message}) when is_binary(message),
    do: String.slice(message, 0, @max_message)

  defp banner(kind, reason) do
    kind |> Exception.format_banner(reason) |> String.slice(0, @max_message)
  catch
    # An exception whose message/1 fails.
    _kind, _reason -> ""
  end

  defp name(%{name: name, tags: tags}) do
    text = Atom.to_string(name)
    type = tags |> Map.get(:test_type, :test) |> Atom.to_string()
    if type == "doctest", do: text, else: String.replace_prefix(text, type <> " ", "")
  end
end

defmodule ElixirCoder.Worker.MutationRun.Dependencies do
  @moduledoc """
  A tracer of the compiler that notes what one file takes from the modules of another, and when.

  Macros and calls outside of functions run while a file is compiled (`:always`: whatever they run may have changed);
  of a struct it takes the fields, of an import the names. The rest is called when the program runs (`:later`).
  """

  @table __MODULE__

  def start do
    :ets.new(@table, [:named_table, :public, :set])
    Code.put_compiler_option(:tracers, [__MODULE__])
  end

  @doc "What was noted, as data."
  def stop do
    Code.put_compiler_option(:tracers, [])
    noted = :ets.tab2list(@table)
    :ets.delete(@table)
    files = for {{:module, module}, file, _at} <- noted, into: %{}, do: {module, file}

    positions =
      for {{:module, _module}, file, at} <- Enum.sort_by(noted, &elem(&1, tuple_size(&1) - 1)),
          into: %{},
          do: {file, at}

    takes =
      for {{file, module, how}} <- noted, from = files[module], from != nil, from != file, reduce: %{} do
        takes -> Map.update(takes, file, [{module, how}], &[{module, how} | &1])
      end

    %{files: files, positions: positions, takes: takes}
  end

  # ------------------------------------------------------------------------------------------------ for the compiler

  def trace({form, _meta, module, _name, _arity}, env) when form in [:remote_macro, :imported_macro],
    do: note(env, module, :always)

  def trace({form, _meta, module, _name, _arity}, env) when form in [:remote_function, :imported_function],
    do: note(env, module, if(env.function == nil, do: :always, else: :later))

  def trace({:struct_expansion, _meta, module, _keys}, env), do: note(env, module, :struct)
  def trace({:import, _meta, module, _options}, env), do: note(env, module, :names)
  def trace({:alias_reference, _meta, module}, env), do: note(env, module, :later)

  def trace({:on_module, _binary, _none}, env) do
    :ets.insert(@table, {{:module, env.module}, env.file, :erlang.unique_integer([:monotonic])})
    :ok
  end

  def trace(_event, _env), do: :ok

  defp note(env, module, how) do
    :ets.insert(@table, {{env.file, module, how}})
    :ok
  end

  # ------------------------------------------------------------------------------------------------------- questions

  @doc "The file that defines a module."
  def file_of(dependencies, module), do: dependencies.files[module]

  @doc "Sorts files in an order in which they compile."
  def position(dependencies, file), do: Map.get(dependencies.positions, file, 0)

  @doc "The files that take something from a file, or from one that does."
  def above(dependencies, file), do: above(dependencies, [file], [file]) -- [file]

  defp above(_dependencies, [], found), do: found

  defp above(dependencies, files, found) do
    next =
      for {file, takes} <- dependencies.takes,
          file not in found,
          Enum.any?(takes, fn {module, _how} -> dependencies.files[module] in files end),
          do: file

    above(dependencies, next, found ++ next)
  end

  @doc "Whether anything of other files is needed to compile a file."
  def takes_while_compiling?(dependencies, file),
    do: Enum.any?(Map.get(dependencies.takes, file, []), fn {_module, how} -> how != :later end)

  @doc "Whether a file would be compiled to something else. affected: files that may behave differently."
  def stale?(dependencies, file, affected, changed?) do
    Enum.any?(Map.get(dependencies.takes, file, []), fn {module, how} ->
      how != :later and dependencies.files[module] in affected and (how == :always or changed?.(module))
    end)
  end
end
