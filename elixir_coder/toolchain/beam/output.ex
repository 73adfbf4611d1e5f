defmodule ElixirCoder.Worker.Output do
  @moduledoc """
  What the code under judgement prints: the first 64 KiB are kept, and 16 MiB end the job.

  Two processes speak Erlang's I/O protocol. One is the group leader of the job; the other stands in for
  `:standard_error`, where the compiler writes what we get from it as data anyway: it throws that away until `keep`.
  There is never anything to read.
  """

  @kept_bytes 64 * 1024
  @limit_bytes 16 * 1024 * 1024

  def limit_bytes, do: @limit_bytes

  @doc "Both processes, and what their `:DOWN` messages are known by."
  def start do
    {out, out_monitor} = :erlang.spawn_opt(fn -> serve({[], 0, 0}, nil) end, [:monitor])
    {err, err_monitor} = :erlang.spawn_opt(fn -> serve_errors(out, 0, false) end, [:monitor])
    original = Process.whereis(:standard_error)
    if original, do: Process.unregister(:standard_error)
    Process.register(err, :standard_error)
    {%{out: out, err: err, original: original, monitors: [out_monitor, err_monitor]}, {out_monitor, err_monitor}}
  end

  @doc """
  Makes all that the calling process starts write here. What it writes itself is thrown away: these are the compiler's
  errors, which 1.14 prints for people.
  """
  def adopt(%{out: out}) do
    send(out, {:mute, self()})
    Process.group_leader(self(), out)
  end

  @doc "From now on what is written to `:standard_error` is kept, too."
  def keep_errors do
    pid = Process.whereis(:standard_error)
    if pid, do: send(pid, :keep)
  end

  @doc "What was printed, as text; \"\" where the process is gone or does not answer."
  def taken(%{out: out}) do
    ref = Process.monitor(out)
    send(out, {:take, self(), ref})

    receive do
      {^ref, text} -> text
      {:DOWN, ^ref, _, _, _} -> ""
    after
      500 -> ""
    end
  end

  @doc "Ends both and puts `:standard_error` back; false when that did not work."
  def stop(%{out: out, err: err, original: original, monitors: monitors}) do
    Enum.each(monitors, &Process.demonitor(&1, [:flush]))
    Enum.each([err, out], &Process.exit(&1, :kill))
    put_back(original, 100)
  end

  defp put_back(original, tries) do
    case Process.whereis(:standard_error) do
      ^original -> true
      nil when original == nil -> true
      nil -> Process.alive?(original) and Process.register(original, :standard_error)
      _other when tries > 0 -> unregister() and put_back(original, tries - 1)
      _other -> false
    end
  end

  # It may go away by itself just then.
  defp unregister do
    Process.unregister(:standard_error)
  rescue
    ArgumentError -> true
  end

  # ------------------------------------------------------------------------------------------------- processes

  # Kept: pieces in reverse, and their size. Seen: bytes in all.
  defp serve({pieces, kept, seen} = state, muted) do
    receive do
      {:io_request, from, ref, request} ->
        {reply, bytes} = handle(request)
        send(from, {:io_reply, ref, reply})
        seen = seen + byte_size(bytes)
        if seen > @limit_bytes, do: exit(:flooded)
        size = if from == muted, do: 0, else: min(byte_size(bytes), @kept_bytes - kept)
        # A copy, because a part holds on to the whole.
        pieces = if size == 0, do: pieces, else: [bytes |> binary_part(0, size) |> :binary.copy() | pieces]
        serve({pieces, kept + size, seen}, muted)

      {:take, from, ref} ->
        send(from, {ref, pieces |> Enum.reverse() |> IO.iodata_to_binary() |> valid()})
        serve(state, muted)

      {:mute, pid} when muted == nil ->
        serve(state, pid)

      _other ->
        serve(state, muted)
    end
  end

  defp serve_errors(out, seen, keep?) do
    receive do
      :keep ->
        serve_errors(out, seen, true)

      {:io_request, _from, _ref, _request} = message when keep? ->
        send(out, message)
        serve_errors(out, seen, keep?)

      {:io_request, from, ref, request} ->
        {reply, bytes} = handle(request)
        send(from, {:io_reply, ref, reply})
        seen = seen + byte_size(bytes)
        if seen > @limit_bytes, do: exit(:flooded)
        serve_errors(out, seen, keep?)

      _other ->
        serve_errors(out, seen, keep?)
    end
  end

  # The 64 KiB may end within a character.
  defp valid(bytes) do
    case :unicode.characters_to_binary(bytes) do
      {_error, good, _rest} -> good
      text -> text
    end
  end

  defp handle({:put_chars, encoding, chars}), do: put(encoding, chars)
  defp handle({:put_chars, chars}), do: put(:latin1, chars)

  # The protocol lets a client name any function that makes the characters; `:io` names those of `:io_lib`. This process
  # is not the job's, so it calls nothing else for it.
  defp handle({:put_chars, encoding, :io_lib, function, args}) do
    put(encoding, apply(:io_lib, function, args))
  catch
    _kind, _reason -> {{:error, function}, ""}
  end

  defp handle({:put_chars, :io_lib, function, args}), do: handle({:put_chars, :latin1, :io_lib, function, args})

  defp handle({:requests, requests}) do
    Enum.reduce_while(requests, {:ok, ""}, fn request, {_reply, before} ->
      {reply, bytes} = handle(request)
      {if(match?({:error, _}, reply), do: :halt, else: :cont), {reply, before <> bytes}}
    end)
  end

  defp handle({:setopts, _options}), do: {:ok, ""}
  defp handle(:getopts), do: {[binary: true, encoding: :unicode], ""}
  defp handle({:get_geometry, _what}), do: {{:error, :enotsup}, ""}

  defp handle(request) when is_tuple(request) and elem(request, 0) in [:get_chars, :get_line, :get_until],
    do: {:eof, ""}

  defp handle({:get_password, _encoding}), do: {:eof, ""}
  defp handle(_request), do: {{:error, :request}, ""}

  defp put(encoding, chars) do
    case :unicode.characters_to_binary(chars, encoding) do
      bytes when is_binary(bytes) -> {:ok, bytes}
      _error -> {{:error, :no_translation}, ""}
    end
  catch
    _kind, _reason -> {{:error, :put_chars}, ""}
  end
end
