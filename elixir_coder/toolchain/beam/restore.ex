defmodule ElixirCoder.Worker.Restore do
  @moduledoc """
  Puts the machine back to what it was before a job, or says that it cannot.

  A job leaves modules, processes, tables and settings behind, by accident or on purpose, and the next one must find
  nothing of them.
  """

  alias ElixirCoder.Worker.Output

  @max_rounds 20

  @doc """
  All that `restore` compares with.

  last: the snapshot before, where the machine was as that one says; then only what a worker changes by itself between
  two jobs is looked at again.
  """
  def snapshot(nil) do
    snapshot(%{
      modules: %{},
      environment: environment(),
      settings: settings(),
      compiler: compiler_options(),
      code_path: :code.get_path(),
      installed: MapSet.new(:code.get_path(), &to_string/1),
      variables: System.get_env(),
      log: log(),
      heap: :erlang.system_info(:max_heap_size),
      folder: File.cwd!()
    })
  end

  def snapshot(last) do
    Map.merge(last, %{
      processes: MapSet.new(Process.list()),
      ports: MapSet.new(Port.list()),
      modules: Map.new(:erlang.loaded(), &{&1, last.modules[&1] || digest(&1)}),
      registered: MapSet.new(:erlang.registered()),
      tables: MapSet.new(:ets.all()),
      terms: terms()
    })
  end

  @doc """
  `{number of processes that were left, whether all is as before}`.

  The job's own process is gone when this is called; `output` is what `Output.start/0` gave.
  """
  def restore(before, %{out: out, err: err} = output) do
    :erlang.trace(:all, false, [:all])
    left = length(new_processes(before) -- [out, err])
    ended? = kill_all(before, @max_rounds)
    stopped? = Output.stop(output)
    restored? = all_but_processes(before, [])
    flush([])
    {left, ended? and stopped? and restored?}
  end

  @doc """
  Whether all is as it was when `before` was taken by the job that now runs; its output and its `folder` stay.
  """
  def within_job(before, folder) do
    :erlang.trace(:all, false, [:all])
    ended? = kill_all(before, @max_rounds)
    all_but_processes(before, [folder]) and ended?
  end

  defp all_but_processes(before, keep) do
    steps = [
      close_ports(before),
      modules(before),
      names(before),
      tables(before),
      log(before),
      terms(before),
      environment(before),
      settings(before),
      compiler_options(before),
      code_path(before),
      variables(before),
      heap(before),
      files(before, keep),
      timers()
    ]

    Enum.all?(steps, &(&1 == true))
  end

  # ------------------------------------------------------------------------------------------------- processes

  defp new_processes(before), do: Enum.reject(Process.list(), &MapSet.member?(before.processes, &1))

  # Who is killed may have started others meanwhile.
  defp kill_all(_before, 0), do: false

  defp kill_all(before, rounds) do
    case new_processes(before) do
      [] ->
        Enum.all?(before.processes, &Process.alive?/1)

      pids ->
        Enum.each(pids, &Process.exit(&1, :kill))
        Enum.each(pids, &gone/1)
        kill_all(before, rounds - 1)
    end
  end

  defp gone(pid) do
    ref = Process.monitor(pid)

    receive do
      {:DOWN, ^ref, _, _, _} -> true
    after
      1_000 -> false
    end
  end

  defp close_ports(before) do
    for port <- Port.list(), not MapSet.member?(before.ports, port), do: catch_all(fn -> Port.close(port) end)
    Enum.all?(before.ports, &(Port.info(&1) != nil))
  end

  # What a job sent to this process. There is no request among it, whatever it looks like: the next one comes after the
  # answer to this. That nobody waits for an answer any more may be.
  defp flush(ends) do
    receive do
      {port, :eof} = message when is_port(port) -> flush([message | ends])
      _other -> flush(ends)
    after
      0 -> Enum.each(ends, &send(self(), &1))
    end
  end

  # --------------------------------------------------------------------------------------------------- modules

  defp modules(before) do
    for module <- :erlang.loaded(), not is_map_key(before.modules, module), not installed?(module, before) do
      :code.purge(module)
      :code.delete(module)
      :code.purge(module)
    end

    # Of what was there nothing may have been replaced or taken away.
    Enum.all?(before.modules, fn {module, digest} -> digest(module) == digest end)
  end

  defp digest(module) do
    :erlang.get_module_info(module, :md5)
  rescue
    ArgumentError -> nil
  end

  # Loaded from a folder that nobody may change, when it was first needed.
  defp installed?(module, before) do
    case :code.which(module) do
      path when is_list(path) and path != [] -> Path.dirname(path) in before.installed
      _in_memory -> false
    end
  end

  defp code_path(before), do: :code.get_path() == before.code_path or :code.set_path(before.code_path) == true

  # ------------------------------------------------------------------------------------------- names and tables

  defp names(before) do
    now = MapSet.new(:erlang.registered())
    for name <- MapSet.difference(now, before.registered), do: catch_all(fn -> Process.unregister(name) end)
    MapSet.equal?(MapSet.new(:erlang.registered()), before.registered)
  end

  # Most went with their owners; one that was given to a process of the system is still there.
  defp tables(before) do
    for table <- :ets.all(), not MapSet.member?(before.tables, table), do: catch_all(fn -> :ets.delete(table) end)
    now = MapSet.new(:ets.all())
    taken = for table <- before.tables, is_atom(table), table not in now, do: table
    taken == [] and MapSet.subset?(now, before.tables)
  end

  defp terms, do: for({key, value} <- :persistent_term.get(), not cache?(key), into: %{}, do: {key, value})

  defp terms(before) do
    now = terms()

    if now != before.terms do
      for {key, _value} <- now, not is_map_key(before.terms, key), do: :persistent_term.erase(key)
      for {key, value} <- before.terms, do: :persistent_term.put(key, value)
    end

    true
  end

  # The logger's own, of each module that logged.
  defp cache?({:logger_config, _module}), do: true
  defp cache?(_key), do: false

  # -------------------------------------------------------------------------------------------------- settings

  defp environment, do: :ac_tab |> :ets.match_object({{:env, :_, :_}, :_}) |> Map.new()

  defp environment(before) do
    now = environment()

    if now != before.environment do
      for {{:env, app, key}, _value} <- now,
          not is_map_key(before.environment, {:env, app, key}),
          do: :application.unset_env(app, key)

      for {{:env, app, key}, value} <- before.environment, do: :application.set_env(app, key, value)
    end

    environment() == before.environment and Process.whereis(:application_controller) != nil
  end

  # Elixir's own: hooks at exit, ports of URI schemes, compiler options and the like.
  defp settings, do: :elixir_config |> :ets.tab2list() |> Enum.sort()

  defp settings(before) do
    now = settings()

    if now != before.settings do
      for {key, _value} <- now, not List.keymember?(before.settings, key, 0), do: :ets.delete(:elixir_config, key)
      :ets.insert(:elixir_config, before.settings)
    end

    settings() == before.settings
  end

  defp compiler_options, do: Map.new(Code.available_compiler_options(), &{&1, Code.get_compiler_option(&1)})

  defp compiler_options(before) do
    for {option, value} <- before.compiler, Code.get_compiler_option(option) != value do
      catch_all(fn -> Code.put_compiler_option(option, value) end)
    end

    compiler_options() == before.compiler
  end

  # The limit of every process that will be started.
  defp heap(before), do: is_map(:erlang.system_flag(:max_heap_size, before.heap))

  defp variables(before) do
    now = System.get_env()

    if now != before.variables do
      for {name, _value} <- now, not is_map_key(before.variables, name), do: System.delete_env(name)
      System.put_env(before.variables)
    end

    true
  end

  defp log, do: {:logger.get_primary_config(), Enum.sort(:logger.get_handler_ids())}

  defp log(before) do
    {config, handlers} = before.log
    if :logger.get_primary_config() != config, do: :logger.set_primary_config(config)
    for id <- :logger.get_handler_ids() -- handlers, do: :logger.remove_handler(id)
    log() == before.log
  end

  # Whose owner is gone may still call a function when its time comes.
  defp timers do
    case :ets.whereis(:timer_tab) do
      :undefined -> true
      table -> :ets.info(table, :size) == 0
    end
  end

  # -------------------------------------------------------------------------------------------------- files

  # Only a folder that Python says is this worker's own is emptied, whatever a job made of the environment: outside a
  # sandbox every other one is somebody's.
  defp files(before, keep) do
    File.cd!(before.folder)

    with {:ok, [[own]]} <- :init.get_argument(:elixir_coder_own) do
      for path <- Path.wildcard("#{own}/*", match_dot: true), path not in keep, do: File.rm_rf(path)
    end

    true
  end

  defp catch_all(fun) do
    fun.()
  catch
    _kind, _reason -> false
  end
end
