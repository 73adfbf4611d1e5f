defmodule ElixirCoder.Worker.HeapWatch do
  @moduledoc """
  Notices that the machine killed a process for its heap, or could not start one.

  The killed process cannot say so itself, and what waited for it sees no more than `:killed`. The machine does say it
  to its log, where this module listens.
  """

  @handler __MODULE__
  @marks [
    {"maximum heap size reached", "a process needed more memory than is allowed"},
    {"Too many processes", "more processes than are allowed"},
    {"Too many ports", "more open files or sockets than are allowed"}
  ]

  def start, do: :logger.add_handler(@handler, __MODULE__, %{level: :error})

  def reset, do: :persistent_term.erase(@handler)

  @doc """
  What happened since `reset`, or nil.

  The log may be a moment late; where somebody saw a process killed, it is waited for, up to `wait_ms`.
  """
  def reason(wait_ms) do
    case :persistent_term.get(@handler, nil) do
      nil when wait_ms > 0 ->
        Process.sleep(5)
        reason(wait_ms - 5)

      reason ->
        reason
    end
  end

  @doc "Called by the logger."
  def log(%{meta: %{error_logger: %{emulator: true}}, msg: message}, _config) do
    text = text(message)
    reason = Enum.find_value(@marks, fn {mark, reason} -> if text =~ mark, do: reason end)
    if reason, do: :persistent_term.put(@handler, reason)
  end

  def log(_event, _config), do: :ok

  defp text({:string, chars}), do: IO.chardata_to_string(chars)
  defp text({:report, _report}), do: ""
  defp text({format, args}), do: format |> :io_lib.format(args) |> IO.chardata_to_string()
end
