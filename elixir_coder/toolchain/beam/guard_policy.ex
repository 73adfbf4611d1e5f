defmodule ElixirCoder.Worker.Guard.Policy do
  @moduledoc """
  What code under judgement may call, as data.

  `verdict/4` answers for one function; `checks/3` names the arguments that have to be looked at when the call is made,
  because the function is harmless with most of them and a way out with others: `send/2` to a process of ours, a
  `{module, function, arguments}` that a supervisor would call, a path outside of the temporary folder.

  A module that is neither Elixir's, OTP's nor ours is none of this list's business: it is either among the given files,
  and then its own calls are judged, or it is not there, and then the compiler says so.
  """

  alias ElixirCoder.Worker.Guard

  # Everything in these: no processes but their own, no files, no code. What acts through an argument is in `checks`.
  @pure ~w(
    Access Atom Base Bitwise Calendar Calendar.ISO Calendar.TimeZoneDatabase Calendar.UTCOnlyTimeZoneDatabase
    Collectable Date Date.Range DateTime Dict Duration Enum Enumerable Exception Float Function HashDict HashSet Inspect
    Inspect.Algebra Integer IO.ANSI IO.ANSI.Docs IO.Stream JSON JSON.Encoder Keyword List List.Chars Macro Macro.Env Map
    MapSet NaiveDateTime OptionParser Range Record Regex Set Stream String String.Chars StringIO Time Tuple URI
    Version Version.Requirement
  )
  @pure_erlang ~w(
    array atomics base64 binary calendar counters dict digraph digraph_utils erl_anno gb_sets gb_trees io_lib json
    lists maps math orddict ordsets proplists queue rand random re sets sofs string unicode uri_string zlib
  )a

  # Processes of the code's own, with `checks` on who is addressed and what is asked of them.
  @processes [Agent, DynamicSupervisor, GenServer, PartitionSupervisor, Registry, Supervisor, Task, Task.Supervisor]
             |> Kernel.++([:gen_server, :gen_statem])

  @some %{
    Application =>
      ~w(get_env fetch_env fetch_env! put_env delete_env get_all_env compile_env compile_env! ensure_all_started
         ensure_started start started_applications loaded_applications spec get_application app_dir)a,
    Code => ~w(ensure_loaded ensure_loaded? ensure_loaded! ensure_all_loaded ensure_compiled ensure_compiled!
               ensure_compiled? loaded? string_to_quoted string_to_quoted! string_to_quoted_with_comments
               string_to_quoted_with_comments!
               quoted_to_algebra format_string! can_await_module_compilation?)a,
    EEx => ~w(eval_string compile_string function_from_string)a,
    File => ~w(read read! write write! exists? regular? dir? ls ls! mkdir mkdir! mkdir_p mkdir_p! rm rm! rmdir rmdir!
               rm_rf rm_rf! stat stat! lstat lstat! stream! open open! close cp cp! copy copy! cp_r cp_r! rename rename!
               touch touch! cwd cwd!)a,
    IO => ~w(puts write inspect warn binwrite binread binstream read gets getn stream chardata_to_string
             iodata_to_binary iodata_length warn_once)a,
    Inspect.Opts => ~w(new __struct__)a,
    Logger => ~w(emergency alert critical error warning warn notice info debug log bare_log level levels compare_levels
                 enabled? metadata reset_metadata configure disable enable)a,
    Module => ~w(concat safe_concat split get_attribute put_attribute register_attribute delete_attribute has_attribute?
                 attributes_in defines? defines_type? definitions_in get_definition make_overridable overridable?
                 overridables_in delete_definition open? create eval_quoted spec_to_callback reserved_attributes
                 get_last_attribute)a,
    Node => ~w(self alive? list)a,
    Path => ~w(absname basename dirname expand extname join relative relative_to relative_to_cwd rootname safe_relative
               safe_relative_to split type wildcard)a,
    Process =>
      ~w(alive? cancel_timer delete demonitor exit flag get get_keys info link monitor put read_timer register send
                  send_after sleep spawn unlink unregister whereis alias unalias)a,
    Protocol => ~w(assert_impl! assert_protocol! derive extract_impls extract_protocols consolidated? def)a,
    System => ~w(monotonic_time system_time os_time time_offset unique_integer convert_time_unit version otp_release
                 schedulers schedulers_online endianness compiled_endianness build_info get_env fetch_env fetch_env!
                 put_env delete_env tmp_dir tmp_dir! argv)a,
    :application => ~w(get_key get_env)a,
    :code => ~w(ensure_loaded is_loaded priv_dir purge delete)a,
    :crypto =>
      ~w(hash hash_init hash_update hash_final hash_final_xof hash_equals hmac mac mac_init mac_update mac_final
                  strong_rand_bytes rand_uniform rand_seed exor crypto_one_time crypto_one_time_aead bytes_to_integer
                  mod_pow generate_key compute_key sign verify supports)a,
    :ets => ~w(delete delete_all_objects delete_object first first_lookup foldl foldr from_dets fun2ms give_away info
               insert insert_new is_compiled_ms last last_lookup lookup lookup_element match match_delete match_object
               match_spec_compile match_spec_run member new next next_lookup prev prev_lookup rename safe_fixtable select
               select_count select_delete select_replace select_reverse setopts slot tab2list take test_ms update_counter
               update_element whereis)a,
    :erts_debug => ~w(flat_size size same)a,
    :filename => ~w(absname basename dirname extension flatten join nativename pathtype rootname split)a,
    :global => ~w(register_name unregister_name re_register_name whereis_name registered_names trans)a,
    :inet => ~w(ntoa parse_address parse_ipv4_address parse_ipv4strict_address parse_ipv6_address
                parse_ipv6strict_address parse_strict_address)a,
    :logger => ~w(emergency alert critical error warning notice info debug log allow)a,
    :io => ~w(format fwrite put_chars nl write get_line get_chars fread print columns rows)a,
    :os => ~w(timestamp system_time perf_counter type version)a,
    :persistent_term => ~w(get put erase put_new)a,
    :proc_lib => ~w(spawn spawn_link start start_link init_ack initial_call translate_initial_call)a,
    :supervisor => ~w(which_children count_children)a,
    :sys => ~w(get_state get_status replace_state suspend resume)a,
    :timer => ~w(tc sleep seconds minutes hours hms now_diff send_after send_interval exit_after kill_after cancel)a,
    :erlang => ~w(
      ! * + ++ - -- / /= < =/= =:= =< == > >= abs adler32 adler32_combine alias and andalso append append_element apply
      atom_to_binary atom_to_list band binary_part binary_to_atom binary_to_existing_atom binary_to_float
      binary_to_integer binary_to_list binary_to_term bit_size bitstring_to_list bnot bor bsl bsr bump_reductions bxor
      byte_size cancel_timer ceil convert_time_unit crc32 crc32_combine date delete_element demonitor div element erase
      error exit external_size float float_to_binary float_to_list floor fun_info fun_to_list function_exported
      garbage_collect get hd insert_element integer_to_binary integer_to_list iolist_size iolist_to_binary
      iolist_to_iovec is_atom is_binary is_bitstring is_boolean is_builtin is_float is_function is_integer is_list is_map
      is_map_key is_number is_pid is_port is_process_alive is_record is_reference is_tuple length link list_to_atom
      list_to_binary list_to_bitstring list_to_existing_atom list_to_float list_to_integer list_to_tuple localtime
      localtime_to_universaltime make_fun make_ref make_tuple map_get map_size max md5 md5_final md5_init md5_update
      memory min monitor monotonic_time node nodes not now or orelse phash phash2 pid_to_list process_flag process_info
      put raise read_timer ref_to_list register rem round self send send_after setelement size spawn spawn_link
      spawn_monitor spawn_opt split_binary start_timer statistics subtract system_info system_time term_to_binary
      term_to_iovec throw time time_offset timestamp tl trunc tuple_size tuple_to_list unalias unique_integer
      universaltime universaltime_to_localtime unlink unregister whereis xor yield
    )a
  }

  # Of those, these arities stay shut: they name processes, speak of other nodes, or last longer than a job.
  @shut [
    {Calendar, :put_time_zone_database, 1},
    {URI, :default_port, 2},
    {Process, :get, 0},
    {Process, :info, 1},
    {Process, :flag, 3},
    {:erlang, :get, 0},
    {:erlang, :erase, 0},
    {:erlang, :process_info, 1},
    {:erlang, :process_flag, 3},
    {:erlang, :garbage_collect, 1},
    {:erlang, :spawn, 2},
    {:erlang, :spawn, 4},
    {:erlang, :spawn_link, 2},
    {:erlang, :spawn_link, 4},
    {:erlang, :spawn_monitor, 2},
    {:erlang, :spawn_monitor, 4},
    {:erlang, :spawn_opt, 3},
    {:erlang, :spawn_opt, 5},
    {:persistent_term, :get, 0},
    {Macro, :compile_apply, 4},
    {:global, :register_name, 3}
  ]

  # What the macros of Elixir itself leave in the code of whoever uses them: `def`, `@name`, `use`, `quote`, `raise`,
  # `Logger.info`. They define and describe the module being compiled; `checks` has the ones that could do more.
  @expansions %{
    Code => ~w(ensure_compiled ensure_compiled!)a,
    Code.Fragment => :all,
    Code.Identifier => :all,
    Application => ~w(__compile_env__)a,
    EEx => ~w(eval_string)a,
    EEx.Engine => :all,
    EEx.SmartEngine => :all,
    Kernel => :all,
    Kernel.LexicalTracker => :all,
    Kernel.Typespec => :all,
    Kernel.Utils => :all,
    Logger => ~w(__do_log__ __should_log__ __log__)a,
    Macro => :all,
    Module => ~w(__put_attribute__ __get_attribute__ __info__ __derive__ compile_definition_attributes)a,
    Protocol => :all,
    Stream.Reducers => :all,
    String.Break => :all,
    String.Unicode => :all,
    :elixir_aliases => ~w(concat)a,
    :elixir_def => ~w(store_definition)a,
    :elixir_module => ~w(compile read_cache)a,
    :elixir_quote => :all,
    :elixir_utils => ~w(noop)a,
    :elixir_erl_pass => ~w(no_parens_remote parens_map_field)a
  }

  # More that a test may use: ExUnit as a writer of tests knows it, and code held in strings, whose calls are judged
  # like all others when it is compiled.
  @tests %{
    Code => ~w(eval_string eval_quoted compile_string compile_quoted)a,
    ExUnit => ~w(start configure plural_rule)a,
    ExUnit.Assertions => :all,
    ExUnit.AssertionError => :all,
    ExUnit.Callbacks => :all,
    ExUnit.CaptureIO => :all,
    ExUnit.CaptureLog => :all,
    ExUnit.Case => :all,
    ExUnit.CaseTemplate => :all,
    ExUnit.DocTest => :all,
    ExUnit.DuplicateTestError => :all,
    ExUnit.Parametrized => :all
  }

  # Looked up at every call whose module is known only then: maps, not lists.
  names = fn functions -> if functions == :all, do: :all, else: Map.new(functions, &{&1, true}) end

  @modules [
             Map.new(@pure, &{Module.concat([&1]), :all}),
             Map.new(@pure_erlang ++ @processes, &{&1, :all}),
             Map.new(@some, fn {module, functions} -> {module, names.(functions)} end),
             Map.new(@expansions, fn {module, functions} -> {module, names.(functions)} end)
           ]
           |> Enum.reduce(fn more, modules ->
             Map.merge(modules, more, fn
               _module, some, more when is_map(some) and is_map(more) -> Map.merge(some, more)
               _module, _some, _more -> :all
             end)
           end)

  @tests Map.new(@tests, fn {module, functions} -> {module, names.(functions)} end)
  @shut Map.new(@shut, &{&1, true})

  @reasons %{
    Code => "it evaluates or loads code",
    ExUnit => "the code under test has no business with the tests",
    ExUnit.Server => "the tests are not to be tampered with",
    File => "it reaches beyond the temporary folder",
    IEx => "there is nobody to talk to",
    Logger => "it changes the logging of the whole virtual machine",
    Mix => "there is no project here",
    Node => "there are no other nodes",
    Port => "it starts programs or speaks to descriptors",
    Process => "it looks into processes that are not the code's own",
    System => "it acts on the virtual machine or the operating system",
    :code => "it loads or replaces code",
    :erl_eval => "it evaluates code",
    :ets => "it reaches tables that are not the code's own",
    :file => "files are opened with `File`, in the temporary folder",
    :init => "it ends the virtual machine",
    :os => "it acts on the operating system",
    :timer => "it would run after the code is gone"
  }

  @network ~w(gen_tcp gen_udp gen_sctp inet inet_res ssl ssh httpc ftp socket net_kernel net_adm erpc rpc)a

  @typedoc "`:code` is what is judged, `:tests` what judges it."
  @type kind :: :code | :tests

  @doc """
  `:ok`, or `{:forbidden, message}`. An arity of `nil` stands for any.
  """
  def verdict(module, function, arity, kind) do
    cond do
      of_a_test?(function, kind) -> {:forbidden, "`#{function}` may not be called: only ExUnit runs a test"}
      not Guard.ours?(module) -> :ok
      allowed?(@modules, module, function) and not is_map_key(@shut, {module, function, arity}) -> :ok
      kind == :tests and allowed?(@tests, module, function) -> :ok
      exception?(module) -> :ok
      offers?(module, function, arity) -> forbidden(module, function, arity)
      true -> :ok
    end
  end

  @doc """
  Whether a name is that of a test, or of what ExUnit asks a module for its tests by.

  A test that fails says what it expected, so whoever calls it could learn the right answer.
  """
  def of_a_test?(function, kind) do
    case Atom.to_string(function) do
      "test " <> _ -> true
      "doctest " <> _ -> true
      "property " <> _ -> true
      "__ex_unit_" <> _ -> kind == :code
      _ -> false
    end
  end

  @doc "Whether nothing in a module is allowed, so that importing or using it is already wrong."
  def shut?(module, kind) do
    Guard.ours?(module) and not is_map_key(@modules, module) and not exception?(module) and
      not (kind == :tests and is_map_key(@tests, module)) and not behaviour_or_protocol?(module)
  end

  def forbidden(module, function, arity) do
    name = "#{inspect(module)}.#{function}" <> if(arity, do: "/#{arity}", else: "")
    {:forbidden, "`#{name}` may not be called: #{reason(module)}"}
  end

  defp reason(module) when module in @network, do: "there is no network here"

  defp reason(module) do
    # What is said of `Mix` goes for `Mix.Project`.
    top = module |> Atom.to_string() |> String.split(".") |> Enum.take(2) |> Enum.join(".") |> String.to_atom()
    @reasons[module] || @reasons[top] || "it is not among what code under judgement may call"
  end

  defp allowed?(modules, module, function) do
    case modules do
      %{^module => :all} -> true
      %{^module => functions} -> is_map_key(functions, function)
      _ -> implementation?(module)
    end
  end

  # Enumerable.List and its like: what an allowed protocol does for a type.
  @protocols [
    "Elixir.Enumerable.",
    "Elixir.Collectable.",
    "Elixir.Inspect.",
    "Elixir.String.Chars.",
    "Elixir.List.Chars."
  ]
  defp implementation?(module), do: String.starts_with?(Atom.to_string(module), @protocols)

  # ArgumentError and the others of Elixir: making one and asking for its message is all they can do.
  defp exception?(module) do
    name = Atom.to_string(module)

    String.starts_with?(name, "Elixir.") and String.ends_with?(name, ["Error", "Exception", "Result"]) and
      not String.starts_with?(name, "Elixir.ExUnit.")
  end

  # `use Application`, `@behaviour :gen_event`: naming them is no call.
  defp behaviour_or_protocol?(module) do
    Code.ensure_loaded?(module) and
      (function_exported?(module, :behaviour_info, 1) or function_exported?(module, :__protocol__, 1))
  end

  # What does not exist cannot be called; that it is undefined is the more useful thing to say.
  defp offers?(_module, function, _arity) when function in [:module_info, :__info__, :behaviour_info], do: false

  defp offers?(module, function, arity) do
    Code.ensure_loaded(module)

    if arity do
      function_exported?(module, function, arity) or :erlang.is_builtin(module, function, arity) or
        macro?(module, function, arity)
    else
      Enum.any?(module.module_info(:exports), fn {name, _} -> name == function end) or module == :erlang
    end
  end

  defp macro?(module, function, arity), do: function_exported?(module, :"MACRO-#{function}", arity + 1)

  # --------------------------------------------------------------------------------------- arguments to look at

  @doc """
  What to look at when a call is made: `[{index of the argument, name of the check in Guard.Runtime}]`, or `:special`
  where `Guard.Runtime` makes the call in its own way; `[]` for the most.
  """
  def checks(Kernel, function, arity) when function in ~w(apply send spawn spawn_link spawn_monitor)a,
    do: checks(:erlang, function, arity)

  def checks(:erlang, :apply, 3), do: :special
  def checks(:erlang, :make_fun, 3), do: :special
  def checks(Function, :capture, 3), do: :special
  def checks(:erlang, :binary_to_term, _), do: :special
  def checks(Supervisor, :start_link, _), do: :special
  def checks(ExUnit, function, _) when function in [:start, :configure], do: :special

  def checks(:erlang, function, _) when function in [:send, :!], do: [{0, :server}, {1, :message}]
  def checks(:erlang, :send_after, _), do: [{1, :server}, {2, :message}]
  def checks(:erlang, :start_timer, _), do: [{1, :server}]
  def checks(:erlang, :exit, 2), do: [{0, :server}]
  def checks(:erlang, :link, 1), do: [{0, :server}]
  def checks(:erlang, :monitor, _), do: [{1, :server}]
  def checks(:erlang, :register, 2), do: [{1, :server}]
  def checks(:erlang, function, 1) when function in [:unregister, :whereis], do: [{0, :server}]
  def checks(:erlang, function, _) when function in [:get, :put, :erase], do: [{0, :dictionary}]
  def checks(:erlang, :process_flag, 2), do: [{0, :flag}]
  def checks(:erlang, :process_info, 2), do: :special
  def checks(:erlang, :system_info, 1), do: [{0, :system_item}]
  def checks(:erlang, f, 3) when f in [:spawn, :spawn_link, :spawn_monitor], do: [{0, :mfa}]
  def checks(:erlang, :spawn_opt, 2), do: [{1, :spawn_options}]
  def checks(:erlang, :spawn_opt, 4), do: [{0, :mfa}, {3, :spawn_options}]

  def checks(Process, :send, _), do: [{0, :server}, {1, :message}]
  def checks(Process, :send_after, _), do: [{0, :server}, {1, :message}]
  def checks(Process, f, _) when f in [:exit, :link, :monitor, :whereis, :unregister, :register], do: [{0, :server}]
  def checks(Process, f, _) when f in [:get, :put, :delete], do: [{0, :dictionary}]
  def checks(Process, :flag, 2), do: [{0, :flag}]
  def checks(Process, :info, 2), do: :special
  def checks(Process, :spawn, 2), do: [{1, :spawn_options}]
  def checks(Process, :spawn, 4), do: [{0, :mfa}, {3, :spawn_options}]
  def checks(:proc_lib, f, 3) when f in [:spawn, :spawn_link], do: [{0, :mfa}]
  def checks(:proc_lib, f, _) when f in [:start, :start_link], do: [{0, :mfa}]

  def checks(GenServer, f, 2) when f in [:abcast, :multi_call], do: [{0, :server}, {1, :message}]
  def checks(GenServer, f, _) when f in [:abcast, :multi_call], do: [{1, :server}, {2, :message}]

  def checks(module, f, _) when module in [GenServer, :gen_server, :gen_statem] and f in [:call, :cast, :send_request],
    do: [{0, :server}, {1, :message}]

  def checks(module, f, _)
      when module in [GenServer, :gen_server, :gen_statem] and f in [:start, :start_link, :start_monitor],
      do: [{0, :callback}, {1, :callback}, {0, :start_options}]

  def checks(module, :enter_loop, _) when module in [:gen_server, :gen_statem], do: [{0, :callback}]
  def checks(module, :reply, _) when module in [GenServer, :gen_server, :gen_statem], do: [{0, :from}]
  def checks(module, _, _) when module in [GenServer, :gen_server, :gen_statem, :sys], do: [{0, :server}]

  def checks(Agent, f, arity) when f in [:start, :start_link] and arity in [3, 4], do: [{0, :mfa}, {0, :start_options}]
  def checks(Agent, f, _) when f in [:start, :start_link], do: [{0, :start_options}]
  def checks(Agent, :child_spec, _), do: []
  def checks(Agent, _, arity) when arity in [4, 5], do: [{0, :server}, {1, :mfa_of_one}]
  def checks(Agent, _, _), do: [{0, :server}]

  def checks(Task, f, 3) when f in [:async, :start, :start_link], do: [{0, :mfa}]
  def checks(Task, :async_stream, arity) when arity in [4, 5], do: [{1, :mfa_of_one}]
  def checks(Task, :shutdown, _), do: [{0, :task}]
  def checks(Task.Supervisor, f, _) when f in [:start_link, :child_spec], do: []

  def checks(Task.Supervisor, f, arity) when f in [:async_stream, :async_stream_nolink] and arity in [5, 6],
    do: [{0, :server}, {2, :mfa_of_one}]

  def checks(Task.Supervisor, f, arity) when f in [:async, :async_nolink, :start_child] and arity in [4, 5],
    do: [{0, :server}, {1, :mfa}]

  def checks(Task.Supervisor, _, _), do: [{0, :server}]

  def checks(module, f, _) when module in [Supervisor, DynamicSupervisor, Task.Supervisor] and f == :child_spec, do: []
  def checks(Supervisor, :init, _), do: [{0, :children}]
  def checks(DynamicSupervisor, :init, _), do: []
  def checks(DynamicSupervisor, :start_link, arity) when arity in [2, 3], do: [{0, :callback}]
  def checks(DynamicSupervisor, :start_link, 1), do: []
  def checks(module, :start_child, _) when module in [Supervisor, DynamicSupervisor], do: [{0, :server}, {1, :child}]
  def checks(module, _, _) when module in [Supervisor, DynamicSupervisor, :supervisor], do: [{0, :server}]
  def checks(PartitionSupervisor, f, _) when f in [:start_link, :child_spec], do: [{0, :partition}]
  def checks(PartitionSupervisor, _, _), do: [{0, :server}]

  def checks(Registry, :dispatch, _), do: [{0, :table}, {2, :mfa_tuple}]
  def checks(Registry, f, _) when f in [:start_link, :child_spec], do: []
  def checks(Registry, _, _), do: [{0, :table}]

  def checks(:timer, f, arity) when f in [:send_after, :send_interval] and arity == 3, do: [{1, :server}, {2, :message}]
  def checks(:timer, f, arity) when f in [:exit_after, :kill_after] and arity > 1, do: [{1, :server}]
  def checks(:timer, :tc, arity) when arity > 1, do: [{0, :mfa}]

  def checks(:ets, :give_away, _), do: [{0, :table}, {1, :server}]
  def checks(:ets, :new, _), do: []
  def checks(:ets, _, _), do: [{0, :table}]
  def checks(:persistent_term, _, _), do: [{0, :persistent}]

  def checks(IO, f, 2) when f in [:puts, :write, :binwrite, :read, :gets, :binread, :stream, :binstream],
    do: [{0, :device}]

  def checks(IO, f, 3) when f in [:inspect, :getn, :stream], do: [{0, :device}]
  def checks(:io, _, _), do: [{0, :device}]
  def checks(StringIO, f, _) when f != :open, do: [{0, :server}]

  def checks(Application, f, _) when f in [:start, :ensure_started, :ensure_all_started], do: []
  def checks(Application, f, _) when f in [:put_env, :delete_env], do: [{0, :application}]

  def checks(Application, f, _) when f in [:get_env, :fetch_env, :fetch_env!, :get_all_env],
    do: [{0, :application_read}]

  def checks(:application, _, arity) when arity > 1, do: [{0, :application_read}]
  def checks(Application, :__compile_env__, _), do: [{0, :application_read}]

  def checks(System, f, _) when f in [:put_env, :delete_env], do: [{0, :variables}]
  def checks(Logger, :configure, _), do: [{0, :logger_options}]

  def checks(File, f, _) when f in [:cwd, :cwd!, :close], do: []

  def checks(File, f, _) when f in [:cp, :cp!, :copy, :copy!, :cp_r, :cp_r!, :rename, :rename!],
    do: [{0, :path}, {1, :path}]

  def checks(File, f, _)
      when f in [:exists?, :regular?, :dir?, :ls, :ls!, :mkdir_p, :mkdir_p!, :stat, :stat!, :lstat, :lstat!],
      do: [{0, :place}]

  def checks(File, _, _), do: [{0, :path}]
  def checks(Path, :wildcard, _), do: [{0, :place}]

  def checks(Module, f, _) when f in [:put_attribute, :__put_attribute__], do: [{1, :attribute}]
  def checks(Module, f, _) when f in [:delete_attribute, :register_attribute], do: [{1, :attribute_name}]
  def checks(:code, f, _) when f in [:purge, :delete], do: [{0, :module_name}]
  def checks(Module, :create, _), do: [{0, :module_name}]
  def checks(Module, f, _) when f in [:make_overridable, :delete_definition, :get_definition], do: [{1, :definitions}]
  def checks(:elixir_module, :compile, 6), do: [{1, :module_name}]
  def checks(:elixir_module, :compile, _), do: [{0, :module_name}]
  def checks(:elixir_def, :store_definition, 5), do: [{2, :definition}]
  def checks(:elixir_def, :store_definition, _), do: [{1, :definition}]
  def checks(_module, _function, _arity), do: []
end
