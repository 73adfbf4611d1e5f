defmodule ElixirCoder.Worker do
  @moduledoc """
  Serves one job after another on two private file descriptors, as framed Erlang terms.

      request   {id, key, op, args}            answer   {id, key, result, stats}

  The key is new for each job and proves that an answer comes from this process: code under judgement runs in other
  processes of the same machine and must not learn it. It lives in one closure of the loop below and nowhere else; the
  process that runs a job knows neither this process nor the port, and hands its result over by exiting with it.

  Boot line, pipes and deadlines from outside are in `worker.py`.
  """

  alias ElixirCoder.Worker.{Compile, Definitions, Diagnostics, Facts, Guard, HeapWatch, Mutate}
  alias ElixirCoder.Worker.{Output, Restore, Source, Tests}

  @evaluating ~w(compile test doctest definitions mutate)
  @with_ex_unit ~w(test doctest mutate)

  @doc "Called by the boot line; returns at once."
  def start do
    spawn(&boot/0)
    :ok
  end

  defp boot do
    {:ok, _started} = Application.ensure_all_started(:elixir)
    :logger.remove_handler(:simple)
    # With one scheduler the loop would wait for its turn behind whatever spins; its own heap has no limit, as the
    # machine has one and it must outlive every job.
    Process.flag(:priority, :high)
    Process.flag(:max_heap_size, 0)
    last = if evaluates?(), do: prepare_to_evaluate()
    port = :erlang.open_port({:fd, number(:elixir_coder_from), number(:elixir_coder_to)}, [:binary, :eof, packet: 4])
    ready = %{"elixir" => System.version(), "otp" => System.otp_release(), "atoms" => num_atoms()}
    send_term(port, {"ready", ready})
    loop(port, last)
  catch
    kind, reason ->
      :erlang.display({kind, reason})
      :erlang.halt(70)
  end

  defp evaluates?, do: :init.get_argument(:elixir_coder_evaluates) != :error

  # Applications that a job may need start before it, so that they are no leftovers of the job. Then nothing may take
  # the place of a module of Elixir, OTP, this worker or the given code paths.
  defp prepare_to_evaluate do
    :timer.start()
    HeapWatch.start()
    # It prints nothing; tests can capture what is logged all the same.
    Application.load(:logger)
    Application.put_env(:logger, :default_handler, false)
    Application.put_env(:logger, :backends, [])
    {:ok, _} = Application.ensure_all_started(:logger)
    {:ok, _} = Application.ensure_all_started(:ex_unit)
    Guard.install()
    Enum.each(:code.get_path(), &:code.stick_dir/1)
    warm_up()
  end

  @warm_code """
  defmodule ElixirCoder.Warm do
    @doc "Adds one."
    def inc(numbers), do: Enum.map(numbers, &(&1 + 1))
  end
  """
  @warm_test """
  defmodule ElixirCoder.WarmTest do
    use ExUnit.Case
    test "inc", do: assert(ElixirCoder.Warm.inc([1]) == [2])
  end
  """

  # Loads the compiler and ExUnit, which takes longer than most jobs.
  defp warm_up do
    args = %{"files" => [["warm.ex", @warm_code]], "tests" => [["warm_test.exs", @warm_test]], "deadline_ms" => 10_000}
    {_result, _stats, last} = job("test", args, nil)
    last
  end

  defp number(argument) do
    {:ok, [[digits] | _]} = :init.get_argument(argument)
    List.to_integer(digits)
  end

  # last: what the machine was like before the last job, and is like again; nil where that is not known.
  defp loop(port, last) do
    receive do
      {^port, {:data, frame}} ->
        {op, args, answer} = open(port, frame)
        {result, stats, last} = job(op, args, last)
        answer.(result, stats)
        loop(port, last)

      {^port, :eof} ->
        :erlang.halt(0)

      _from_a_job ->
        loop(port, last)
    end
  end

  # The closure is all that is left of the key while the job runs: a dump of this process's stack shows no contents.
  defp open(port, frame) do
    {id, key, op, args} = :erlang.binary_to_term(frame, [:safe])
    {op, args, fn result, stats -> send_term(port, {id, key, result, stats}) end}
  end

  defp send_term(port, term), do: :erlang.port_command(port, :erlang.term_to_binary(term))

  defp num_atoms, do: :erlang.system_info(:atom_count)

  # --------------------------------------------------------------------------------------------------- one job

  defp job(op, args, last) do
    started = System.monotonic_time(:microsecond)
    deadline = System.monotonic_time(:millisecond) + Map.get(args, "deadline_ms", 10_000)
    evaluates? = op in @evaluating
    if evaluates?, do: prepare(op)
    HeapWatch.reset()
    before = if evaluates?, do: Restore.snapshot(last), else: last
    {output, watched} = Output.start()
    folder = if evaluates?, do: folder()

    result =
      op
      |> spawn_job(args, output, folder)
      |> await(watched, deadline)
      |> heap_limit()
      |> Map.put("output", Output.taken(output))

    {left, clean?} = if evaluates?, do: Restore.restore(before, output), else: {0, Output.stop(output)}
    # On guard until nothing of the job is alive.
    result = if evaluates?, do: refusals(result, Guard.disarm(), folder), else: result

    stats = %{
      "duration_us" => System.monotonic_time(:microsecond) - started,
      "atoms" => num_atoms(),
      "memory_bytes" => :erlang.memory(:total),
      "left_processes" => left,
      "recycle" => not clean?
    }

    {result, stats, if(clean?, do: before)}
  end

  # For the files of one job, under a name that none had before.
  defp folder do
    folder = Path.join(System.tmp_dir!(), "job-" <> Base.encode32(:rand.bytes(10), case: :lower))
    File.mkdir!(folder)
    folder
  end

  # ExUnit anew, so that nothing of the last job's tests is left in its servers.
  defp prepare(op) when op in @with_ex_unit do
    Application.stop(:ex_unit)
    :ok = Application.start(:ex_unit)
  end

  defp prepare(_op), do: :ok

  # Neither the closure nor the process's links, monitors, ancestors or group leader lead to the port or the key.
  defp spawn_job(op, args, output, folder) do
    tag = make_ref()

    {pid, monitor} =
      :erlang.spawn_opt(
        fn ->
          Output.adopt(output)
          if folder, do: Compile.use_folder(folder)
          exit({tag, run(op, args)})
        end,
        [:monitor]
      )

    {pid, monitor, tag}
  end

  defp await({pid, monitor, tag}, {out, err}, deadline) do
    wait_ms = max(deadline - System.monotonic_time(:millisecond), 0)

    receive do
      {:DOWN, ^monitor, :process, _pid, {^tag, result}} -> result
      {:DOWN, ^monitor, :process, _pid, reason} -> died(reason)
      {:DOWN, ^out, :process, _pid, reason} -> flooded(pid, reason)
      {:DOWN, ^err, :process, _pid, reason} -> flooded(pid, reason)
    after
      wait_ms ->
        Process.exit(pid, :kill)
        Diagnostics.ending("timeout", "no end within the time allowed")
    end
  end

  defp died(reason) do
    if Diagnostics.system_limit?(reason) do
      Diagnostics.ending("resource_limit", "a limit of the virtual machine was reached")
    else
      Diagnostics.ending(
        "crash",
        "the process that ran the job was ended: #{inspect(reason, limit: 5, printable_limit: 200)}"
      )
    end
  end

  defp flooded(pid, reason) do
    Process.exit(pid, :kill)

    if reason in [:flooded, :killed] do
      Diagnostics.ending("resource_limit", "more output than is allowed (#{Output.limit_bytes()} bytes)")
    else
      Diagnostics.ending("crash", "the process that collects the output was ended")
    end
  end

  # A process that outgrew its heap was killed, whatever the others made of its end.
  defp heap_limit(result) do
    reason = HeapWatch.reason(if killed?(result), do: 200, else: 0)

    if reason == nil or result["outcome"] in ["forbidden_call", "syntax_error"],
      do: result,
      else: Map.merge(result, Diagnostics.ending("resource_limit", reason, result["diagnostics"]))
  end

  defp killed?(result) do
    Enum.any?(result["diagnostics"] ++ (result["tests"] || []), &String.contains?(&1["message"], "killed"))
  end

  # What was refused while it ran counts, even when the code rescued it.
  defp refusals(result, [], _folder), do: result

  defp refusals(result, refused, folder) do
    # The compiler told of some, and knew the file.
    told = for one <- result["diagnostics"], do: {one["line"], one["message"]}

    found =
      for one <- refused, {one["line"], one["message"]} not in told do
        place = [file: Path.relative_to(one["file"] || "", folder), line: one["line"], column: one["column"]]
        Diagnostics.new("forbidden_call", one["message"], place)
      end

    %{result | "outcome" => "forbidden_call", "diagnostics" => Diagnostics.tidy(found ++ result["diagnostics"])}
  end

  defp run("parse", %{"code" => code}), do: Source.parse(code)
  defp run("ast", %{"code" => code}), do: Source.ast(code)
  defp run("format", %{"code" => code} = args), do: Source.format(code, args)
  defp run("compile", args), do: Compile.run(args)
  defp run("test", args), do: Tests.run(args)
  defp run("doctest", args), do: Tests.run_doctests(args)
  defp run("definitions", args), do: Definitions.run(args)
  defp run("facts", args), do: Facts.run(args)
  defp run("mutants", args), do: Mutate.mutants(args)
  defp run("mutate", args), do: Mutate.mutate(args)
end
