defmodule ElixirCoder.Worker.Source do
  @moduledoc """
  Parses and formats texts that nobody trusts: nothing in here evaluates, and the table of atoms, which is never
  emptied, gains nothing from a text that is only parsed.
  """

  alias ElixirCoder.Worker.Diagnostics

  # Names that may become atoms where they have to: for a formatted text, of which half the room that is left may be
  # taken, and for the words of an error.
  @max_new_atoms 50_000
  @max_new_atoms_for_a_message 1_000

  @doc "Whether a text is Elixir."
  def parse(code) do
    case quoted(code) do
      {:ok, _ast, _new_names} -> Diagnostics.result([])
      {:error, diagnostic} -> Diagnostics.result([diagnostic])
    end
  end

  @doc ~S(The syntax tree, where an atom that this machine does not know is `{"its name"}`: no such tuple is in a tree.)
  def ast(code) do
    case quoted(code) do
      {:ok, ast, _new_names} -> Map.put(Diagnostics.result([]), "ast", ast)
      {:error, diagnostic} -> Diagnostics.result([diagnostic])
    end
  end

  @doc """
  What `mix format` makes of a text.

  settings: `"line_length"`, `"force_do_end_blocks"` and `"locals_without_parens"`, whose entries are `[name, arity]`,
  with nil for any arity.
  """
  def format(code, settings \\ %{}) do
    with {:ok, _ast, new_names} <- quoted(code),
         :ok <- room(new_names) do
      # The formatter works on atoms.
      formatted = code |> Code.format_string!(options(settings)) |> IO.iodata_to_binary()
      text = if formatted == "", do: "", else: formatted <> "\n"
      Map.put(Diagnostics.result([]), "formatted", text)
    else
      {:error, diagnostic} -> Diagnostics.result([diagnostic])
      {:no_room, words} -> Diagnostics.ending("resource_limit", words)
    end
  rescue
    # The formatter checks what it wrote, and has refused texts that parse.
    error -> Diagnostics.ending("crash", "the formatter: " <> Exception.message(error))
  end

  defp options(settings) do
    locals = for [name, arity] <- settings["locals_without_parens"] || [], do: {String.to_atom(name), arity || :*}

    [
      line_length: settings["line_length"] || 98,
      locals_without_parens: locals,
      force_do_end_blocks: settings["force_do_end_blocks"] == true
    ]
  end

  defp room(new_names) do
    free = div(:erlang.system_info(:atom_limit) - :erlang.system_info(:atom_count), 2)
    most = min(@max_new_atoms, free)
    if new_names <= most, do: :ok, else: {:no_room, "#{new_names} new names, and there is room for #{most}"}
  end

  @doc """
  `{:ok, ast, number of names this machine did not know}` or `{:error, diagnostic}`, without making atoms.

  options: more of those of `Code.string_to_quoted/2`.
  """
  def quoted(code, file \\ "", options \\ []) do
    names = :ets.new(:names, [:set, :private])

    try do
      case string_to_quoted(code, &known_or_name(names, &1, &2), options) do
        {:ok, ast} ->
          {:ok, ast, :ets.info(names, :size)}

        {:error, error} ->
          {:error, Diagnostics.syntax_error(in_words(error, code, :ets.info(names, :size)), file)}
      end
    after
      :ets.delete(names)
    end
  end

  defp known_or_name(names, name, _where) do
    {:ok, String.to_existing_atom(name)}
  rescue
    ArgumentError ->
      :ets.insert(names, {name})
      {:ok, {name}}
  end

  # "syntax error before: {<<"name">>}" is no message of Elixir's, so the parser says it again of atoms.
  defp in_words({_meta, _message, token} = error, code, new_names) do
    if is_binary(token) and token =~ "<<" and new_names <= @max_new_atoms_for_a_message do
      case string_to_quoted(code, fn name, _where -> {:ok, String.to_atom(name)} end) do
        {:error, again} -> again
        {:ok, _ast} -> error
      end
    else
      error
    end
  end

  defp string_to_quoted(code, encoder, options \\ []) do
    Code.string_to_quoted(
      code,
      [columns: true, emit_warnings: false, warnings: false, static_atoms_encoder: encoder] ++ options
    )
  rescue
    error -> {:error, {[], Exception.message(error), ""}}
  end
end
