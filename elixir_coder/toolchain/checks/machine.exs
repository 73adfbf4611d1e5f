defmodule ElixirCoder.Checks.Machine do
  @moduledoc """
  Serves requests on two private descriptors, as framed Erlang terms; see `machine.py` for the other end.

      request   {id, op, args}            answer   {id, result}, or {id, "alive"} while it takes its time

  Requests are served at once, each by a process of its own; how many are under way is for the other end to decide.
  Neither tool runs the code it reads: what the machine is confined to is for the other end to decide.
  """

  @doc "Serves until the other end goes away. `server` answers `hello/0` and `handle/3`."
  def serve(server, from_python, to_python) do
    :logger.set_primary_config(:level, :none)
    Process.flag(:max_heap_size, 0)
    # The port belongs to a process that does nothing else: whatever a tool sends around, frames are all it understands.
    port = :erlang.open_port({:fd, from_python, to_python}, [:binary, :eof, packet: 4])
    send_term(port, {"ready", Map.merge(server.hello(), %{"elixir" => System.version(), "atoms" => num_atoms()})})
    loop(server, port)
  end

  defp loop(server, port) do
    receive do
      {^port, {:data, frame}} ->
        {id, op, args} = :erlang.binary_to_term(frame, [:safe])
        spawn(fn -> send_term(port, {id, answer(server, op, args, fn -> send_term(port, {id, "alive"}) end)}) end)

      {^port, :eof} ->
        :erlang.halt(0)

      _stray ->
        :ok
    end

    loop(server, port)
  end

  defp answer(server, op, args, alive) do
    op |> server.handle(args, alive) |> Map.put("atoms", num_atoms())
  catch
    kind, reason -> %{"error" => banner(kind, reason, __STACKTRACE__), "atoms" => num_atoms()}
  end

  defp send_term(port, term), do: :erlang.port_command(port, :erlang.term_to_binary(term))

  defp num_atoms, do: :erlang.system_info(:atom_count)

  @doc """
  Runs `fun` on each item in turn, in a process apart, and gives a list of `{item, {:ok, result} | {:crashed, why} |
  :timeout | :skipped}`.

  An item whose process dies or stalls costs itself alone: a new process goes on with the next one. All of them
  together may take `timeout_ms`; what is not begun by then is skipped.
  """
  def each(items, timeout_ms, fun), do: until(items, System.monotonic_time(:millisecond) + timeout_ms, fun)

  defp until([], _deadline, _fun), do: []

  defp until(items, deadline, fun) do
    self = self()
    ref = make_ref()

    {pid, monitor} =
      spawn_monitor(fn ->
        for item <- items do
          result =
            try do
              {:ok, fun.(item)}
            catch
              kind, reason -> {:crashed, banner(kind, reason, __STACKTRACE__)}
            end

          send(self, {ref, result})
        end
      end)

    {done, left, verdict} = collect(items, ref, monitor, deadline, [])

    if verdict == :timeout do
      Process.exit(pid, :kill)
      Process.demonitor(monitor, [:flush])
    end

    case {left, verdict} do
      {[], _} -> done
      {[culprit | rest], :timeout} -> done ++ [{culprit, :timeout} | Enum.map(rest, &{&1, :skipped})]
      {[culprit | rest], crashed} -> done ++ [{culprit, crashed} | until(rest, deadline, fun)]
    end
  end

  defp collect([], _ref, monitor, _deadline, done) do
    Process.demonitor(monitor, [:flush])
    {Enum.reverse(done), [], :ok}
  end

  defp collect([item | rest] = left, ref, monitor, deadline, done) do
    receive do
      {^ref, result} -> collect(rest, ref, monitor, deadline, [{item, result} | done])
      {:DOWN, ^monitor, _, _, reason} -> {Enum.reverse(done), left, {:crashed, Exception.format_exit(reason)}}
    after
      max(deadline - System.monotonic_time(:millisecond), 0) -> {Enum.reverse(done), left, :timeout}
    end
  end

  defp banner(kind, reason, stacktrace) do
    message = Exception.format_banner(kind, reason, stacktrace)
    message |> String.split("\n", trim: true) |> hd() |> String.slice(0, 300)
  rescue
    _ -> Atom.to_string(kind)
  end

  @doc "The same as `Enum.map/2`, with as many at once as there are schedulers."
  def map(items, fun) do
    items
    |> Task.async_stream(fun, timeout: :infinity, max_concurrency: System.schedulers_online())
    |> Enum.map(fn {:ok, result} -> result end)
  end

  @doc "Where `code` does not parse: `[line, column, message]`; nil where it does."
  def syntax_error(code) do
    # Names become no atoms here, whatever the tool does with them.
    case Code.string_to_quoted(code, columns: true, emit_warnings: false, static_atoms_encoder: fn name, _ -> {:ok, name} end) do
      {:ok, _} -> nil
      {:error, {where, message, token}} -> [where[:line], where[:column], whole(message, token)]
    end
  rescue
    error -> [nil, nil, Exception.message(error)]
  end

  defp whole({opening, closing}, token), do: opening <> to_string(token) <> closing
  defp whole(opening, token), do: to_string(opening) <> to_string(token)
end
