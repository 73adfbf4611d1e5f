defmodule ElixirCoder.Worker.Guard do
  @moduledoc """
  Keeps the code under judgement away from its verdict.

  A candidate and its tests are compiled and run in one virtual machine with the runner, and Erlang trusts whatever runs
  in a machine. The candidate is written by a model that may be rewarded for a good verdict, so we take it to be hostile:

  * it may print, write to descriptors, open ports, read `/proc`; end the machine, or kill and trace processes;
  * it may find the runner's processes and send them `{pid, :test_finished, ...}`, or ask OTP's own servers
    (`:code_server`, an agent, a `StringIO`, a supervisor) to call something for it;
  * it may load or redefine modules, change the compiler's options, write to the tables and terms of others;
  * it may do so while it compiles, in a macro, through names made at run time, through `{module, function, arguments}`
    kept as data, in the code it hands to the tests with `use`, in callbacks of OTP, and after its job is over.

  The lines of defence, of which this is one:

  1. `check/2` reads the parsed sources before anything runs, and names line and column of what is plainly there.
  2. `Gate` stands in the compiler behind all macros, and decides on every call by `Policy`, a list of what is allowed;
     `Tracer` sees to it that what the candidate brings into a test with `use` changes no name the test uses.
  3. `Runtime` judges what is only known when the call is made: modules in variables, processes, tables, paths, MFAs.
  4. Not here: folders of Elixir, OTP and the worker are sticky; the runner's answer carries a key that no job sees; the
     expected tests have to be there; job processes die with the job; a fresh machine for scores; the sandbox around it.

  What is refused once stays refused: `Forbidden` may be rescued, `disarm/0` tells of it all the same.

  Not covered: code of other packages on the given code paths is taken as it is, as nobody under judgement wrote it; a
  candidate may make its own results look as it likes (`Inspect`, `String.Chars` of its own structs), because tests
  compare values; and it may use up time and memory, which the limits of the worker are for.

      install()                  once, with ExUnit and Logger started and before folders are made sticky
      arm(:code, sources)        at the start of a job: what is alive or has a name now is ours; then check and compile
      arm(:tests, sources)       before the tests are written and compiled, until they have run
      disarm() :: [refusal]      at its end; not [] means that the job's class is `forbidden_call`
      protect(pid)               further processes of ours that were started after `arm(:code)`
  """

  alias ElixirCoder.Worker.Guard.{Forbidden, Gate, Sources, Tracer}

  @state __MODULE__

  # ------------------------------------------------------------------------------------------------ for the worker

  @doc "Puts the gate into the compiler and learns which modules are not the code's own."
  def install do
    :persistent_term.put(@state, %{kind: :atomics.new(1, []), ours: our_modules(), seal: make_ref()})

    if :ets.whereis(@state) == :undefined do
      :ets.new(@state, [:named_table, :public, :set, read_concurrency: true])
    end

    Code.put_compiler_option(:tracers, [Tracer])
    Gate.install()
    try_out()
  end

  # A compiler that goes round the gate, of an Elixir to come, is noticed before it judges anything.
  defp try_out do
    set_kind(1)
    module = quote(do: Enum.at([:init], 0))

    for receiver <- [:init, module] do
      try do
        Code.eval_quoted({{:., [], [receiver, :get_status]}, [], []})
      rescue
        Forbidden -> :ok
      else
        _ -> raise "the compiler of Elixir #{System.version()} does not pass the guard"
      end
    end

    disarm()
    :ok
  end

  @doc """
  Begins to guard: `:code` under judgement, or the `:tests` that judge it.

  sources: absolute paths of the files that are given, which the code may neither read nor write; best before they exist.
  """
  def arm(kind, sources \\ []) do
    Enum.each(sources, &:ets.insert(@state, {{:source, &1}}))
    if kind == :code, do: Enum.each(taken(), &:ets.insert(@state, {&1}))
    set_kind(if kind == :code, do: 1, else: 2)
  end

  @doc "Stops guarding, and tells what was refused at run time: maps as `check/2` makes them, the first one first."
  def disarm do
    set_kind(0)
    refusals = for {{:refusal, at}, refusal} <- :ets.tab2list(@state), do: {at, refusal}
    :ets.delete_all_objects(@state)
    refusals |> Enum.sort() |> Enum.map(&elem(&1, 1))
  end

  @doc "Makes one more process unreachable for the code."
  def protect(pid) when is_pid(pid), do: :ets.insert(@state, {{:pid, pid}})

  @doc """
  Whether parsed sources ask for nothing that is forbidden: `:ok`, or where they do.

  files: `[{path, ast}]`, parsed with columns. It reads what is written, not what a macro would make of it.
  """
  def check(files, kind) do
    if kind == :tests, do: Enum.each(Sources.written(files), &:ets.insert(@state, {{:written, &1}}))
    Sources.check(files, kind)
  end

  # ----------------------------------------------------------------------------------------- for the other guards

  @doc "Whose code is being compiled: nil when nobody is on guard."
  def kind do
    case :atomics.get(:persistent_term.get(@state).kind, 1) do
      0 -> nil
      1 -> :code
      2 -> :tests
    end
  end

  @doc "Marks what the gate wrote itself; nothing that code can get hold of."
  def seal, do: :persistent_term.get(@state).seal

  @doc "Whether a module is Elixir's, OTP's or this worker's."
  def ours?(module), do: is_map_key(:persistent_term.get(@state).ours, module)

  @doc """
  Whether a `{:pid | :name | :table | :persistent | :application, which}` was there before the job, or something stands
  in the tests: `{:written, :skip | {:alias, name} | {:import, module}}`.
  """
  def taken?(what), do: :ets.member(@state, what)

  @doc "The given files, as far as they lie on disk."
  def sources, do: for([path] <- :ets.match(@state, {{:source, :"$1"}}), do: path)

  @doc "Whether a key is of this worker, whenever it came."
  def belongs_to_worker?(key) when is_atom(key),
    do: String.starts_with?(Atom.to_string(key), "Elixir.ElixirCoder.Worker")

  def belongs_to_worker?(key) when is_tuple(key) and tuple_size(key) > 0, do: belongs_to_worker?(elem(key, 0))
  def belongs_to_worker?(_key), do: false

  @doc "Notes a refusal and raises `Forbidden`. Without a line the place is looked for on the stack."
  def refuse(message, line) do
    {:current_stacktrace, frames} = Process.info(self(), :current_stacktrace)
    # Whoever reads the trace wants to see the code's frames.
    frames = Enum.drop_while(frames, fn {module, _, _, _} -> module == Process or belongs_to_worker?(module) end)
    {file, line} = if line, do: {"", line}, else: place(frames)
    refusal = %{"file" => file, "line" => line, "column" => nil, "message" => message}
    :ets.insert(@state, {{:refusal, :erlang.unique_integer([:monotonic])}, refusal})
    :erlang.raise(:error, Forbidden.exception(message: message, file: file, line: line), frames)
  end

  defp place(frames) do
    Enum.find_value(frames, {"", nil}, fn {module, _function, _arity, place} ->
      if not ours?(module) and place[:line], do: {List.to_string(place[:file] || []), place[:line]}
    end)
  end

  defp set_kind(number), do: :atomics.put(:persistent_term.get(@state).kind, 1, number)

  defp taken do
    pids = for pid <- Process.list(), do: {:pid, pid}
    names = for name <- Process.registered(), do: {:name, name}
    tables = for table <- :ets.all(), is_atom(table), do: {:table, table}
    terms = for {key, _value} <- :persistent_term.get(), do: {:persistent, key}
    applications = for {application, _, _} <- Application.loaded_applications(), do: {:application, application}
    # Not alive now, but ours whenever they are.
    late = for name <- [:standard_error, :user, :timer_server, :logger, Logger], do: {:name, name}
    Enum.concat([pids, names, tables, terms, applications, late])
  end

  # By the files, because most of them are not loaded. Given code paths lie elsewhere.
  defp our_modules do
    otp = Path.wildcard("#{:code.lib_dir()}/*/ebin")
    elixir = :elixir |> :code.which() |> Path.dirname()
    beside = Path.wildcard("#{Path.dirname(Path.dirname(elixir))}/*/ebin")
    worker = __MODULE__ |> :code.which() |> Path.dirname()

    for folder <- Enum.uniq([elixir, worker | otp ++ beside]),
        {:ok, files} <- [:file.list_dir(folder)],
        file <- files,
        Path.extname(file) == ".beam",
        into: Map.new(:erlang.pre_loaded(), &{&1, true}) do
      {file |> Path.rootname() |> String.to_atom(), true}
    end
  end
end

defmodule ElixirCoder.Worker.Guard.Forbidden do
  @moduledoc """
  Raised by what code under judgement may not do, while it compiles or runs.

  line: nil where it is not known; file: "" there, and for what is refused while a file is compiled.
  """

  defexception [:message, :line, file: ""]
end
