# Judges texts by Elixir's own parser: one per line of standard input, in Base64. Nothing is compiled or evaluated.
#
# One line comes back for each: "ok", or "error LINE COLUMN MESSAGE" with the message in Base64.

# A name becomes an atom only where the VM already has it, so that texts cannot fill the table of atoms. The parser's own
# words (unquote_splicing, __aliases__, ...) are there; what the others are called changes no verdict.
encoder = fn name, _where ->
  try do
    {:ok, String.to_existing_atom(name)}
  rescue
    _ -> {:ok, :name}
  end
end

judge = fn text ->
  try do
    Code.string_to_quoted(text, columns: true, static_atoms_encoder: encoder)
  rescue
    error -> {:error, {[], Exception.message(error), ""}}
  end
end

for line <- :stdio |> IO.binread(:eof) |> String.split("\n") |> Enum.drop(-1) do
  case line |> Base.decode64!() |> judge.() do
    {:ok, _ast} ->
      IO.puts("ok")

    {:error, {meta, message, token}} ->
      whole =
        case message do
          {opening, closing} -> opening <> token <> closing
          opening -> opening <> token
        end

      IO.puts("error #{meta[:line] || 0} #{meta[:column] || 0} #{Base.encode64(whole)}")
  end
end
