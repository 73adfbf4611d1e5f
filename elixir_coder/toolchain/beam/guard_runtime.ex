defmodule ElixirCoder.Worker.Guard.Runtime do
  @moduledoc """
  Makes the calls that can only be judged when they are made.

  The gate of the compiler puts these functions in the place of calls with a module or an argument to look at. A check
  returns when all is well and raises `Guard.Forbidden` else; the refusal is noted, so that rescuing it is of no use.
  """

  alias ElixirCoder.Worker.Guard
  alias ElixirCoder.Worker.Guard.{Policy, Supervised}

  @doc "`module.function(...args)`, if that may be."
  def invoke(kind, module, function, args) when is_atom(module) and is_atom(function) and is_list(args) do
    allow(Policy.verdict(module, function, length(args), kind))
    # Callbacks in the code's own modules are what most of these are, and should cost little.
    if Guard.ours?(module), do: call(kind, module, function, args), else: apply(module, function, args)
  end

  # Not a module: Elixir has the words for that.
  def invoke(_kind, other, function, args), do: apply(other, function, args)

  @doc "The same of a function that may be called with the right arguments."
  def call(kind, module, function, args) do
    case Policy.checks(module, function, length(args)) do
      [] ->
        apply(module, function, args)

      :special ->
        special(kind, module, function, args)

      checks ->
        look(checks, args, kind)
        apply(module, function, args)
    end
  end

  @doc "The left side of `left.name`: a map whose field it is, or a module whose function of no arguments is called."
  def receiver(_kind, map, _name) when is_map(map), do: map

  def receiver(kind, module, function) when is_atom(module) do
    allow(Policy.verdict(module, function, 0, kind))
    module
  end

  def receiver(_kind, other, _name), do: other

  @doc "`&module.function/arity`."
  def capture(kind, module, function, arity) when is_atom(module) and is_atom(function) and is_integer(arity) do
    allow(Policy.verdict(module, function, arity, kind))

    if Policy.checks(module, function, arity) == [] do
      :erlang.make_fun(module, function, arity)
    else
      looked_at(kind, module, function, arity)
    end
  end

  def capture(_kind, module, function, arity), do: :erlang.make_fun(module, function, arity)

  defp looked_at(k, m, f, 0), do: fn -> invoke(k, m, f, []) end
  defp looked_at(k, m, f, 1), do: fn a -> invoke(k, m, f, [a]) end
  defp looked_at(k, m, f, 2), do: fn a, b -> invoke(k, m, f, [a, b]) end
  defp looked_at(k, m, f, 3), do: fn a, b, c -> invoke(k, m, f, [a, b, c]) end
  defp looked_at(k, m, f, 4), do: fn a, b, c, d -> invoke(k, m, f, [a, b, c, d]) end
  defp looked_at(k, m, f, 5), do: fn a, b, c, d, e -> invoke(k, m, f, [a, b, c, d, e]) end
  defp looked_at(k, m, f, 6), do: fn a, b, c, d, e, g -> invoke(k, m, f, [a, b, c, d, e, g]) end
  defp looked_at(_k, m, f, arity), do: refuse("`&#{inspect(m)}.#{f}/#{arity}` may not be captured")

  @doc "The children that a supervisor may start, as Elixir writes them in full."
  def children(children, kind) when is_list(children), do: Enum.each(children, &child(&1, kind))
  def children(_other, _kind), do: :ok

  # ---------------------------------------------------------------------------------------------- special calls

  defp special(kind, _module, :apply, [module, function, args]), do: invoke(kind, module, function, args)
  defp special(kind, _module, name, [m, f, a]) when name in [:make_fun, :capture], do: capture(kind, m, f, a)

  # A term from bytes could be the pid of anything, or a function of any module.
  defp special(_kind, :erlang, :binary_to_term, [bytes | options]) do
    term = apply(:erlang, :binary_to_term, [bytes | options])
    if value = unearned(term), do: refuse("`:erlang.binary_to_term` may not make #{value}")
    term
  end

  defp special(kind, Supervisor, :start_link, [module, arg | options]) when is_atom(module) do
    callback(module, kind)
    Supervisor.start_link(Supervised, {kind, module, arg}, List.flatten(options))
  end

  defp special(kind, Supervisor, :start_link, [children | rest]) do
    children(children, kind)
    apply(Supervisor, :start_link, [children | rest])
  end

  @items ~w(message_queue_len memory status reductions heap_size stack_size total_heap_size registered_name trap_exit
            priority min_heap_size current_function links monitors)a
  defp special(_kind, module, name, [pid, item]) when name in [:info, :process_info] do
    if not Enum.all?(List.wrap(item), &(&1 in @items)),
      do: refuse("`Process.info` may not be asked for #{inspect(item)}")

    case apply(module, name, [pid, item]) do
      list when is_list(list) -> Enum.map(list, &own/1)
      one -> own(one)
    end
  end

  # The runner of the tests has its own settings.
  defp special(_kind, ExUnit, _start_or_configure, _options), do: :ok

  defp own({:links, pids}), do: {:links, Enum.reject(pids, &(is_port(&1) or Guard.taken?({:pid, &1})))}
  defp own(other), do: other

  defp unearned(term) when is_pid(term), do: "a process"
  defp unearned(term) when is_port(term), do: "a port"
  defp unearned(term) when is_reference(term), do: "a reference"
  defp unearned(term) when is_function(term), do: "a function"
  defp unearned([head | tail]), do: unearned(head) || unearned(tail)
  defp unearned(term) when is_tuple(term), do: term |> Tuple.to_list() |> unearned()
  defp unearned(term) when is_map(term), do: term |> :maps.to_list() |> unearned()
  defp unearned(_term), do: nil

  # --------------------------------------------------------------------------------------------------- checks

  defp look(checks, args, kind) do
    Enum.each(checks, fn {index, check} ->
      case Enum.drop(args, index) do
        [] -> :ok
        [value | rest] -> check(check, value, rest, kind)
      end
    end)
  end

  defp check(:server, value, _rest, _kind), do: server(value)
  defp check(:message, value, _rest, kind), do: message(value, kind)
  defp check(:callback, value, _rest, kind), do: callback(value, kind)
  defp check(:child, value, _rest, kind), do: child(value, kind)
  defp check(:children, value, _rest, kind), do: children(value, kind)
  defp check(:task, value, _rest, _kind), do: if(is_map(value), do: server(Map.get(value, :pid)), else: :ok)
  defp check(:from, value, _rest, _kind), do: if(is_tuple(value), do: server(elem(value, 0)), else: :ok)
  defp check(:table, value, _rest, _kind), do: table(value)
  defp check(:path, value, _rest, _kind), do: path(value)
  defp check(:place, value, _rest, _kind), do: place(value)

  defp check(:mfa, module, [function, args | _], kind), do: mfa(module, function, args, kind)
  defp check(:mfa, _fun, _rest, _kind), do: :ok

  # The state of the agent, the item of the stream, comes first.
  defp check(:mfa_of_one, module, [function, args | _], kind) when is_list(args),
    do: mfa(module, function, [nil | args], kind)

  defp check(:mfa_of_one, _fun, _rest, _kind), do: :ok

  defp check(:mfa_tuple, {module, function, args}, _rest, kind) when is_list(args),
    do: mfa(module, function, [nil | args], kind)

  defp check(:mfa_tuple, _fun, _rest, _kind), do: :ok

  defp check(:partition, options, _rest, kind) do
    if is_list(options) and Keyword.keyword?(options), do: child(options[:child_spec], kind), else: :ok
  end

  defp check(:device, device, _rest, _kind) when device in [:stdio, :stderr, :standard_io, :standard_error], do: :ok
  defp check(:device, device, _rest, _kind), do: server(device)

  @system_items ~w(schedulers schedulers_online logical_processors logical_processors_available otp_release version
                   wordsize process_count process_limit atom_count atom_limit ets_limit ets_count endian
                   system_architecture system_version machine)a
  defp check(:system_item, item, _rest, _kind) do
    if item in @system_items, do: :ok, else: refuse("`:erlang.system_info` may not be asked for #{inspect(item)}")
  end

  # The limit on a process's memory is not the process's to lift.
  @flags ~w(trap_exit message_queue_data min_heap_size min_bin_vheap_size fullsweep_after)a
  defp check(:flag, flag, _rest, _kind) do
    if flag in @flags, do: :ok, else: refuse("the process flag #{inspect(flag)} may not be set")
  end

  defp check(:spawn_options, options, _rest, _kind) do
    for {option, _value} <- List.wrap(options), option in [:max_heap_size, :priority] do
      refuse("a process may not be started with #{inspect(option)}")
    end
  end

  defp check(:start_options, first, rest, kind) do
    for options <- [first | rest], is_list(options), {:spawn_opt, options} <- options do
      check(:spawn_options, options, [], kind)
    end
  end

  # Where Elixir, OTP and ExUnit keep who started whom.
  defp check(:dictionary, key, _rest, _kind) when is_atom(key) do
    name = Atom.to_string(key)

    ours? = String.starts_with?(name, ["$", "elixir_", "Elixir.ExUnit"]) or Guard.belongs_to_worker?(key)

    if ours? and key != :"$callers",
      do: refuse("the key #{inspect(key)} of the process dictionary is not the code's own")
  end

  defp check(:dictionary, _key, _rest, _kind), do: :ok

  defp check(:persistent, key, _rest, _kind) do
    if Guard.taken?({:persistent, key}) or Guard.belongs_to_worker?(key),
      do: refuse("the persistent term #{inspect(key)} is not the code's own")
  end

  defp check(:application, application, _rest, _kind) do
    if Guard.taken?({:application, application}),
      do: refuse("the settings of #{inspect(application)} are not the code's own")
  end

  # ExUnit's say where its verdicts go.
  defp check(:application_read, application, _rest, _kind) do
    if Guard.taken?({:application, application}) and application not in [:elixir, :logger],
      do: refuse("the settings of #{inspect(application)} are not the code's own")
  end

  # Compilers, loaders and the places of files listen to these.
  defp check(:variables, names, _rest, _kind) do
    names = if is_binary(names) or is_atom(names), do: [names], else: Enum.map(names, &elem(&1, 0))

    for name <- names, String.starts_with?(to_string(name), ~w(ERL ELIXIR MIX HEX LD_ PATH HOME TMP TEMP XDG)) do
      refuse("the environment variable #{name} may not be changed")
    end
  end

  defp check(:logger_options, options, _rest, _kind) do
    if Keyword.keyword?(options) and Enum.all?(Keyword.keys(options), &(&1 == :level)),
      do: :ok,
      else: refuse("`Logger.configure` may set the level alone")
  end

  @hooks ~w(before_compile after_compile after_verify on_definition on_load compile)a
  @tags ~w(tag moduletag describetag)a
  defp check(:attribute, name, [value | _], kind) when name in @hooks or name in @tags, do: attribute(name, value, kind)
  defp check(:attribute, name, _rest, kind), do: check(:attribute_name, name, [], kind)

  defp check(:attribute_name, name, _rest, _kind) do
    if name in [:ex_unit_tests, :ex_unit_module], do: refuse("`@#{name}` is ExUnit's")
  end

  defp check(:module_name, module, _rest, _kind) when is_atom(module) do
    # Tests that ran in part could find the rest of them changed.
    if Guard.ours?(module) or function_exported?(module, :__ex_unit__, 0),
      do: refuse("`#{inspect(module)}` may not be defined again")
  end

  defp check(:module_name, _other, _rest, _kind), do: :ok

  # A test that was written in a test file stays as it was written.
  defp check(:definitions, names, _rest, _kind) do
    Enum.each(List.wrap(names), fn name ->
      with {name, _arity} when is_atom(name) <- name,
           true <- Policy.of_a_test?(name, :code) do
        refuse("the test `#{name}` may not be looked into or replaced")
      end
    end)
  end

  defp check(:definition, stored, _rest, _kind) do
    case :elixir_module.compiler_modules() do
      [module | _] -> definition(stored, module)
      [] -> :ok
    end
  end

  # `__ex_unit__` lists a module's tests. ExUnit defines it, once and last.
  defp definition(stored, module) do
    with {name, arity} when name == :__ex_unit__ and arity < 2 <- called(stored, module),
         true <- Module.defines?(module, {name, arity}) do
      refuse("`__ex_unit__` may not be defined again")
    end
  end

  # Elixir 1.15 keeps a definition without `unquote` under a number.
  defp called(key, module) when is_integer(key), do: module |> :elixir_module.read_cache(key) |> called(module)
  defp called({call, _body}, module), do: called(call, module)
  defp called({:when, _, [call | _]}, module), do: called(call, module)
  defp called({name, _, args}, _module) when is_atom(name), do: {name, if(is_list(args), do: length(args), else: 0)}
  defp called(_other, _module), do: nil

  defp attribute(:on_load, _value, _kind), do: refuse("`@on_load` may not be used")

  defp attribute(:compile, value, _kind) do
    for option <- List.flatten([value]) do
      name = if is_tuple(option), do: elem(option, 0), else: option

      name in [
        :debug_info,
        :inline,
        :nowarn_unused_function,
        :no_warn_undefined,
        :nowarn_unused_vars,
        :inline_list_funcs
      ] or
        refuse("`@compile #{inspect(option)}` may not be used")
    end
  end

  # Where no test says `skip`, none is to be skipped.
  defp attribute(tag, value, _kind) when tag in @tags do
    skips? = Enum.any?(List.wrap(value), &(&1 == :skip or match?({:skip, _}, &1)))
    if skips? and not Guard.taken?({:written, :skip}), do: refuse("a test may not be skipped by what it tests")
  end

  defp attribute(_hook, {module, function}, kind) when is_atom(module) and is_atom(function) do
    allow(Policy.verdict(module, function, nil, kind))
  end

  defp attribute(_hook, module, kind) when is_atom(module), do: callback(module, kind)
  defp attribute(_hook, _other, _kind), do: :ok

  # --- processes

  defp server(pid) when is_pid(pid) do
    if pid != self() and Guard.taken?({:pid, pid}), do: refuse("the process #{inspect(pid)} is not the code's own")
  end

  defp server(name) when name in [nil, :undefined, :normal, :kill, :shutdown, true, false], do: :ok

  defp server(name) when is_atom(name) do
    if Guard.taken?({:name, name}), do: refuse("the process #{inspect(name)} is not the code's own")
  end

  # Nothing of ours has such a name.
  defp server({:global, _name}), do: :ok

  @registries [Registry, PartitionSupervisor, :global]
  defp server({:via, module, _name}) when is_atom(module) do
    if module not in @registries and Guard.ours?(module),
      do: refuse("names by way of `#{inspect(module)}` may not be used")
  end

  defp server({name, node}) when is_atom(name) and is_atom(node), do: server(name)
  defp server(_other), do: :ok

  # What only the insides of OTP and ExUnit say to one another; each has a way to make the receiver call something.
  defp message(message, kind) when is_tuple(message) and tuple_size(message) > 0 do
    tag = elem(message, 0)

    if tag in [:io_request, :io_reply, :system, :code_call, :"$gen_call", :"$gen_cast", :"$gen_all_state_event"],
      do: refuse("a message that begins with #{inspect(tag)} may not be sent")

    if Enum.any?([:test_finished, :module_finished, :suite_finished], &(&1 in Enum.take(Tuple.to_list(message), 2))),
      do: refuse("the verdict of a test may not be sent")

    orders(message, 6, kind)
  end

  defp message(_message, _kind), do: :ok

  # `{module, function, arguments}` within what is asked of an agent or a supervisor.
  defp orders(_term, 0, _kind), do: :ok

  defp orders(tuple, depth, kind) when is_tuple(tuple) and tuple_size(tuple) < 10 do
    elements = Tuple.to_list(tuple)
    in_a_row(elements, kind)
    Enum.each(elements, &orders(&1, depth - 1, kind))
  end

  defp orders(map, depth, kind) when is_map(map) and map_size(map) < 10,
    do: map |> :maps.values() |> Enum.each(&orders(&1, depth - 1, kind))

  defp orders([a, b, c], depth, kind), do: Enum.each([a, b, c], &orders(&1, depth - 1, kind))
  defp orders([a, b], depth, kind), do: Enum.each([a, b], &orders(&1, depth - 1, kind))
  defp orders([a], depth, kind), do: orders(a, depth - 1, kind)
  defp orders(_other, _depth, _kind), do: :ok

  defp in_a_row([m, f, a | rest], kind) do
    if is_atom(m) and is_atom(f) and is_list(a) and Guard.ours?(m), do: allow(Policy.verdict(m, f, nil, kind))
    in_a_row([f, a | rest], kind)
  end

  defp in_a_row(_fewer, _kind), do: :ok

  defp callback(module, kind) when is_atom(module) do
    if Policy.shut?(module, kind), do: refuse("`#{inspect(module)}` may not be called back")
  end

  defp callback(_other, _kind), do: :ok

  defp child(nil, _kind), do: :ok

  # As Supervisor does, to see what it will see: a module's own `child_spec` may say anything.
  defp child({module, _arg} = child, kind) when is_atom(module), do: specified(child, module, kind)
  defp child(module, kind) when is_atom(module), do: specified(module, module, kind)
  defp child(spec, kind), do: orders_of(spec, kind)

  defp specified(child, module, kind) do
    allow(Policy.verdict(module, :child_spec, 1, kind))
    orders_of(Supervisor.child_spec(child, []), kind)
  end

  defp orders_of(%{start: {module, function, args}}, kind), do: mfa(module, function, args, kind)
  defp orders_of({_id, {module, function, args}, _, _, _, _}, kind), do: mfa(module, function, args, kind)
  defp orders_of(_other, _kind), do: :ok

  defp mfa(module, function, args, kind) when is_atom(module) and is_atom(function) and is_list(args) do
    arity = length(args)
    allow(Policy.verdict(module, function, arity, kind))

    case Policy.checks(module, function, arity) do
      [] -> :ok
      :special when module == Supervisor -> starts(args, kind)
      :special -> refuse("`#{inspect(module)}.#{function}/#{arity}` may not be started")
      checks -> look(checks, args, kind)
    end
  end

  defp mfa(_fun, _arg, _rest, _kind), do: :ok

  defp starts([children | _], kind) when is_list(children), do: children(children, kind)
  defp starts([module | _], kind), do: callback(module, kind)

  # --- tables and files

  defp table(name) when is_atom(name) do
    if Guard.taken?({:table, name}), do: refuse("the table #{inspect(name)} is not the code's own")
  end

  defp table(_other), do: :ok

  # To know that a file is there, or to make a folder.
  defp place(path) when is_binary(path) or is_list(path) do
    path = IO.chardata_to_string(path)
    root = Path.expand(System.tmp_dir!())
    full = Path.expand(path)

    inside? = (full == root or String.starts_with?(full, root <> "/")) and not String.contains?(path, <<0>>)
    if not (inside? and no_links?(full)), do: refuse("#{inspect(path)} is not in the temporary folder")
    full
  end

  # A file that is open, a stream: made from a path that was looked at.
  defp place(_other), do: nil

  defp path(path) do
    if full = place(path) do
      if Path.extname(full) == ".beam", do: refuse("#{inspect(path)} would be compiled code")

      # The given files, and the folders above them: a copy, a new name or an end would take them along.
      if Enum.any?(Guard.sources(), &(&1 == full or String.starts_with?(&1, full <> "/"))),
        do: refuse("#{inspect(path)} holds what is judged")
    end
  end

  defp no_links?(path) do
    path
    |> Path.split()
    |> Enum.scan(&Path.join(&2, &1))
    |> Enum.all?(&match?({:error, _}, :file.read_link(&1)))
  end

  defp allow(:ok), do: :ok
  defp allow({:forbidden, message}), do: refuse(message)

  defp refuse(message), do: Guard.refuse(message, nil)
end

defmodule ElixirCoder.Worker.Guard.Supervised do
  @moduledoc """
  Starts the children that a supervisor's `init/1` asks for once they were looked at: what it returns is data, and goes
  to OTP without passing the compiler.
  """

  use Supervisor

  alias ElixirCoder.Worker.Guard.Runtime

  @impl true
  def init({kind, module, arg}) do
    result = module.init(arg)
    with {:ok, {_flags, children}} <- result, do: Runtime.children(children, kind)
    result
  end
end
