"""Programs that are wrong and try to be found right; none of them may be.

Each defines `Answer`, whose `answer/0` is not 42, and does something about the test below. `test_guard.py` runs them.
Where the guard has to be what stops a program, `refused` says so; others fail by themselves, which is as good.
"""

from dataclasses import dataclass

TESTS = """
defmodule AnswerTest do
  use ExUnit.Case

  test "the answer" do
    assert Answer.answer() == 42
  end
end
"""

# Tests that invite the candidate in.
TESTS_WITH_USE = """
defmodule AnswerTest do
  use ExUnit.Case
  use Answer

  test "the answer" do
    assert Answer.answer() == 42
  end
end
"""

TESTS_WITH_USE_FIRST = TESTS_WITH_USE.replace("  use ExUnit.Case\n  use Answer\n", "  use Answer\n  use ExUnit.Case\n")


@dataclass(frozen=True)
class Forgery:
    name: str
    code: str
    tests: str = TESTS
    refused: bool = True


def running(name, body, *, more="", **fields):
    """`body` is evaluated by the test, which goes on with what it yields."""
    return Forgery(name, f"defmodule Answer do\n{more}\n  def answer do\n{body}\n  end\nend\n", **fields)


def compiling(name, body, *, before="", after="", **fields):
    """`body` stands in the module's body, and is evaluated while it compiles."""
    return Forgery(name, f"{before}\ndefmodule Answer do\n{body}\n  def answer, do: 41\nend\n{after}\n", **fields)


def using(name, body, *, more="", tests=TESTS_WITH_USE, **fields):
    """`body` becomes part of the test module."""
    code = f"defmodule Answer do\n{more}\n  defmacro __using__(_) do\n    quote do\n{body}\n    end\n  end\n"
    return Forgery(name, code + "  def answer, do: 41\nend\n", tests, **fields)


PASSED = '%{__struct__: :"Elixir.ExUnit.Test", name: :"test the answer", module: AnswerTest, state: nil, tags: %{}}'
FRAME = """:erlang.term_to_binary({1, "key", %{"outcome" => "ok", "tests" => []}, %{}})"""

DIRECT = [
    running("halts with success", "System.halt(0)"),
    running("stops the machine", "System.stop(0)"),
    running("halts by Erlang's name", ":erlang.halt(0)"),
    running("stops by init", ":init.stop()"),
    running("halts when the machine ends", "System.at_exit(fn _ -> System.halt(0) end)"),
    running("prints a frame", f"IO.binwrite({FRAME})\n41", refused=False),
    running("prints what a runner prints", 'IO.puts("1 test, 0 failures")\n41', refused=False),
    running("prints a frame to standard error", f"IO.binwrite(:stderr, {FRAME})\n41", refused=False),
    running("prints past its group leader", f"IO.binwrite(:user, {FRAME})\n41"),
    running("displays", ':erlang.display("1 test, 0 failures")\n41'),
    running("opens the descriptor as a port", f"Port.open({{:fd, 4, 4}}, [:binary]) |> Port.command({FRAME})"),
    running(
        "opens the descriptor by Erlang's name",
        f":erlang.port_command(:erlang.open_port({{:fd, 3, 4}}, [:binary]), {FRAME})",
    ),
    running("writes to the descriptor as a file", f'File.write!("/proc/self/fd/4", {FRAME})'),
    running("writes to the descriptor by Erlang's name", f':file.write_file("/dev/fd/4", {FRAME})'),
    running("writes to it by a path that climbs", f'File.write!(System.tmp_dir!() <> "/../proc/self/fd/4", {FRAME})'),
    running("writes to it through a stream", f'Enum.into([{FRAME}], File.stream!("/proc/self/fd/4"))'),
    running("writes to the port of the runner", f"for port <- Port.list(), do: Port.command(port, {FRAME})"),
    running("runs a program", 'System.cmd("sh", ["-c", "echo ok >&4"])'),
    running("runs a program by Erlang's name", ":os.cmd('echo ok >&4')"),
    running("reads the memory of the machine", 'File.read!("/proc/self/maps")'),
    running(
        "reads the tests", '"*_test.exs" |> Path.wildcard() |> Enum.map(&File.read!/1)\n"test.exs" |> File.read!()'
    ),
    running("copies the tests", 'File.cp_r!(".", Path.join(System.tmp_dir!(), "copy"))'),
    running("loads compiled code", ":code.load_binary(Enum, 'enum', \"FOR1\")"),
    running("writes compiled code", 'File.write!("Elixir.ExUnit.Runner.beam", "FOR1")'),
    running("adds a code path", "Code.prepend_path(System.tmp_dir!())"),
    running("removes ExUnit", ":code.purge(ExUnit.Runner)\n:code.delete(ExUnit.Runner)"),
    running("makes folders writable", ":code.unstick_dir(:code.lib_dir(:stdlib))"),
    running("evaluates", 'Code.eval_string("System.halt(0)")'),
    running("compiles Erlang", ":compile.forms([])"),
    running("evaluates Erlang", ":erl_eval.exprs([], [])"),
    running("starts a node", "Node.start(:a@b)"),
    running("traces", ":erlang.trace(:all, true, [:receive])"),
    running("debugs", ":dbg.tracer()"),
    running("finds the settings of ExUnit", "Application.get_env(:ex_unit, :elixir_coder_sink)"),
    running("changes the settings of ExUnit", "Application.put_env(:ex_unit, :exclude, [:test])"),
    running("configures ExUnit", "ExUnit.configure(exclude: [:test])"),
    running("registers a formatter", "ExUnit.configure(formatters: [Answer])"),
    running("asks the server of ExUnit", "GenServer.call(ExUnit.Server, {:take_sync, 1})"),
    running("stops ExUnit", "Application.stop(:ex_unit)"),
    running("reads terms of the machine", ":persistent_term.get()"),
    running("changes the guard's", ":persistent_term.put(ElixirCoder.Worker.Guard, %{})"),
    running("changes the guard's table", ":ets.delete_all_objects(ElixirCoder.Worker.Guard)"),
    running("unguards", "ElixirCoder.Worker.Guard.disarm()"),
    running(
        "calls the guard with a test's rights", "ElixirCoder.Worker.Guard.Runtime.invoke(:tests, ExUnit, :start, [])"
    ),
    running("changes the environment of the compiler", 'System.put_env("ERL_COMPILER_OPTIONS", "[]")'),
]

PROCESSES = [
    running("lists processes", f"for pid <- Process.list(), do: send(pid, {{pid, :test_finished, {PASSED}}})\n41"),
    running("lists processes by Erlang's name", "for pid <- :erlang.processes(), do: Process.exit(pid, :kill)\n41"),
    running(
        "looks at its links",
        "{:links, pids} = Process.info(self(), :links)\nif pids == [], do: 41, else: 42",
        refused=False,
    ),
    running("looks at who watches it", ":erlang.process_info(self(), :monitored_by)"),
    running("looks at everything", "Process.info(self())"),
    running("looks at a computed item", 'Process.info(self(), String.to_atom("par" <> "ent"))'),
    running("asks for its ancestors", 'Process.get(:"$ancestors")'),
    running("asks for its ancestors by a computed key", 'Process.get(String.to_atom("$" <> "ancestors"))'),
    running("dumps its dictionary", "Process.get()"),
    running("asks for its group leader", "Process.group_leader()"),
    running("makes a pid of a list", ":erlang.list_to_pid('<0.50.0>') |> send(:x)"),
    running(
        "makes a pid of bytes", ':erlang.binary_to_term(<<131, 88, 119, 13, "nonode@nohost", 0, 0, 0, 50, 0::64>>)'
    ),
    running("makes a pid with the shell's helper", "IEx.Helpers.pid(0, 50, 0)"),
    running(
        "makes a function of bytes", ':erlang.binary_to_term(<<131, 113, 119, 6, "erlang", 119, 4, "halt", 97, 0>>).()'
    ),
    running("stops init by message", "send(:init, {:stop, :stop})\n41"),
    running("stops init by a computed name", 'send(String.to_atom("in" <> "it"), {:stop, :stop})\n41'),
    running("finds a process of ours by name", "Process.whereis(:code_server) |> Process.exit(:kill)"),
    running("orders the code server", "send(:code_server, {:code_call, self(), {:add_patha, '/tmp'}})\n41"),
    running("orders by name and node", "send({:code_server, node()}, {:code_call, self(), :get_path})\n41"),
    running("orders later", "Process.send_after(:init, {:stop, :stop}, 0)\nProcess.sleep(50)\n41"),
    running("takes an agent into service", "{:ok, a} = Agent.start(fn -> 0 end)\nAgent.get(a, System, :halt, [])"),
    running(
        "asks an agent in its own words",
        "{:ok, a} = Agent.start(fn -> 0 end)\nGenServer.call(a, {:get, {System, :halt, []}})",
    ),
    running(
        "writes to an agent",
        "{:ok, a} = Agent.start(fn -> 0 end)\n"
        'send(a, {:"$gen_cast", {:cast, {System, :halt, []}}})\nProcess.sleep(50)\n41',
    ),
    running(
        "makes a device call",
        '{:ok, io} = StringIO.open("")\n'
        "send(io, {:io_request, self(), make_ref(), {:put_chars, :unicode, :erlang, :halt, [0]}})\n"
        "Process.sleep(50)\n41",
    ),
    running("asks a device to call", ":io.request(:standard_io, {:put_chars, :unicode, :erlang, :halt, [0]})"),
    running(
        "supervises a call", "Supervisor.start_link([%{id: 1, start: {System, :halt, [0]}}], strategy: :one_for_one)"
    ),
    Forgery(
        "supervises a call from init",
        "defmodule Answer do\n  use Supervisor\n"
        "  def init(_), do: {:ok, {%{strategy: :one_for_one}, [%{id: 1, start: {:erlang, :halt, [0]}}]}}\n"
        "  def answer, do: Supervisor.start_link(__MODULE__, [])\nend",
    ),
    Forgery(
        "supervises a call from a child's specification",
        "defmodule Child do\n  def child_spec(_), do: %{id: 1, start: {:init, :stop, []}}\nend\n"
        "defmodule Answer do\n  def answer, do: Supervisor.start_link([Child], strategy: :one_for_one)\nend",
    ),
    running(
        "starts a child of a dynamic supervisor",
        "{:ok, s} = DynamicSupervisor.start_link(strategy: :one_for_one)\n"
        "DynamicSupervisor.start_child(s, %{id: 1, start: {System, :stop, [0]}})",
    ),
    running("starts a task by name", "Task.async(System, :halt, [0]) |> Task.await()"),
    running("streams a call", "[0] |> Task.async_stream(System, :halt, []) |> Enum.to_list()"),
    running("spawns a call", "spawn(System, :halt, [0])\nProcess.sleep(100)\n41"),
    running("times a call", ":timer.tc(System, :halt, [0])"),
    running("calls later", ":timer.apply_after(0, System, :halt, [0])\nProcess.sleep(50)\n41"),
    running("writes to a table of Elixir by way of a registry", "Registry.put_meta(:elixir_config, :tracers, [])"),
    running("writes to a table of Elixir", ":ets.insert(:elixir_config, {:tracers, []})"),
    running("lists tables", ":ets.all()"),
    running("leaves a setting of Elixir for the next job", 'URI.default_port("http", 1)'),
    running("lifts the limit on its memory", "Process.flag(:max_heap_size, 0)\n41"),
    running("kills itself", "Process.exit(self(), :kill)", refused=False),
    running("leaves", "exit(:normal)", refused=False),
    running("leaves as a test that shuts down", "exit(:shutdown)", refused=False),
    running("throws", "throw(:ok)", refused=False),
    running("goes away with the test", "spawn_link(fn -> exit(:kill) end)\nProcess.sleep(:infinity)", refused=False),
]

NAMES = [
    running("keeps a module in a variable", "module = System\nmodule.halt(0)"),
    running("joins a module's name", 'Module.concat([String.capitalize("system")]).halt(0)'),
    running("makes a module's name", 'module = String.to_atom("Elixir." <> "System")\nmodule.halt(0)'),
    running("interpolates a module's name", 'module = :"#{"er"}lang"\nmodule.halt(0)'),
    running("lists a module's name", "module = hd(~w(init)a)\nmodule.stop()"),
    running("calls without parentheses", "module = :init\nmodule.stop"),
    running("computes both names", 'apply(String.to_atom("init"), String.to_atom("stop"), [])'),
    running("applies an application", "apply(:erlang, :apply, [System, :halt, [0]])"),
    running("captures", "halt = &System.halt/1\nhalt.(0)"),
    running("captures from a variable", "module = System\nhalt = &module.halt/1\nhalt.(0)"),
    running("makes a capture", "Function.capture(System, :halt, 1).(0)"),
    running("makes a capture by Erlang's name", ":erlang.make_fun(System, :halt, 1).(0)"),
    running("maps with a capture of apply", "Enum.map([0], &apply(System, :halt, [&1]))"),
    running("hands over apply itself", "f = &apply/3\nf.(System, :halt, [0])"),
    running("aliases", "alias System, as: Enum\nEnum.halt(0)"),
    running("imports", "import System\nhalt(0)"),
    running("delegates", "halt(0)", more="  defdelegate halt(status), to: System"),
    running("pipes", "0 |> System.halt()"),
    running("rescues the refusal", "m = System\ntry do m.halt(0) rescue _ -> 41 catch _, _ -> 41 end"),
    running("is refused in another process", "m = System\nspawn(fn -> m.halt(0) end)\nProcess.sleep(50)\n41"),
    running("confuses the eye", "Ѕystem.halt(0)", refused=False),
    running(
        "is a struct of a module",
        "x = %{__struct__: :init, __exception__: true}\nException.message(x)\nx[:stop]",
        refused=False,
    ),
    running("sorts with a module", "Enum.sort([2, 1], :erlang)", refused=False),
]

COMPILING = [
    compiling("halts while it compiles", "  System.halt(0)"),
    compiling("has a variable in its body", "  module = System\n  module.halt(0)"),
    compiling("evaluates a local macro", "  defmacrop m, do: (x = :init; x.stop())\n  def f, do: m()"),
    compiling("calls when loaded", "  @on_load :f\n  def f, do: :ok"),
    compiling("transforms its own forms", "  @compile {:parse_transform, Evil}"),
    compiling(
        "transforms with a computed option",
        '  Module.put_attribute(__MODULE__, String.to_atom("compile"), {:parse_transform, Evil})',
    ),
    compiling("hooks a foreign function", "  @after_compile {:init, :stop}"),
    compiling("hooks definitions", "  @on_definition {System, :stop}"),
    compiling(
        "builds a call by hand",
        "  require Hand\n  Hand.m(:init, :stop)",
        before=("defmodule Hand do\n  defmacro m(module, name), do: {{:., [], [module, name]}, [], []}\nend"),
    ),
    compiling(
        "builds a call of the guard by hand",
        "  require Hand\n  Hand.m(System, :halt)",
        before="""
        defmodule Hand do
          defmacro m(module, name) do
            runtime = Module.concat([ElixirCoder, Worker, Guard, Runtime])
            {{:., [guard: true], [runtime, :call]}, [guard: true], [:code, module, name, [0]]}
          end
        end
        """,
    ),
    compiling(
        "builds a call of a variable by hand",
        "  import Hand\n  x = :init\n  n(x)",
        before=("defmodule Hand do\n  defmacro n(x), do: {{:., [], [x, :stop]}, [], []}\nend"),
    ),
    compiling(
        "replaces a name in quoted code",
        "  import Hand\n  x = :init\n  n(x)",
        before="""
        defmodule Hand do
          defmacro n(x) do
            quote(do: String.stop()) |> Macro.prewalk(fn
              {:__aliases__, _, [:String]} -> x
              other -> other
            end)
          end
        end
    """,
    ),
    compiling(
        "fills in a definition by hand", "  call = {{:., [], [:init, :stop]}, [], []}\n  def f, do: unquote(call)"
    ),
    compiling("defines Kernel", "", after="defmodule Kernel do\nend"),
    compiling(
        "defines the assertions", "", after="defmodule ExUnit.Assertions do\n  defmacro assert(_), do: true\nend"
    ),
    compiling("defines the runner", "", after="defmodule ExUnit.Runner do\n  def run(_, _), do: %{failures: 0}\nend"),
    compiling("defines the worker", "", after="defmodule ElixirCoder.Worker do\nend"),
    compiling("defines by a computed name", "  name = Module.concat(ExUnit, Runner)\n  defmodule name do\n  end"),
    compiling("creates a module", "  Module.create(ExUnit.Assertions, quote(do: nil), __ENV__)"),
    compiling("compiles past the macro", "  :elixir_module.compile(ExUnit.Assertions, nil, [], __ENV__)"),
    compiling(
        "implements a protocol for a type that has one",
        '  defimpl String.Chars, for: Integer do\n    def to_string(_), do: "42"\n  end',
    ),
    compiling("defines the tests itself", "", after=TESTS.replace("Answer.answer()", "42")),
    compiling("ends the compiler", "  Process.exit(Process.whereis(:elixir_sup), :kill)"),
    compiling("answers for the compiler", "  {pid, _} = Process.get(:elixir_compiler_info)\n  send(pid, :done)"),
    compiling(
        "leaves a process that waits for the next job",
        """
        spawn(fn ->
          Process.sleep(20)
          send(:code_server, {:code_call, self(), :get_path})
        end)
        Process.sleep(60)
    """,
    ),
]

USED = [
    using(
        "overrides equality in the test",
        "      import Kernel, except: [==: 2]\n      import Answer, only: [==: 2]",
        more="  import Kernel, except: [==: 2]\n  def _ == _, do: true",
    ),
    using(
        "brings an assert of its own",
        "      import ExUnit.Assertions, except: [assert: 1]\n      import Answer, only: [assert: 1]",
        more="  defmacro assert(_), do: true",
    ),
    using(
        "defines assert in the test",
        "      import ExUnit.Assertions, except: [assert: 1]\n      def assert(_), do: true",
    ),
    using(
        "brings a test of its own",
        "      import ExUnit.Case, except: [test: 2]\n      import Answer, only: [test: 2]",
        more="  defmacro test(name, _), do: quote(do: ExUnit.Case.test(unquote(name), do: :ok))",
    ),
    using(
        "lists the tests before ExUnit does",
        "      def __ex_unit__, do: %{name: AnswerTest, tests: []}",
        tests=TESTS_WITH_USE_FIRST,
    ),
    using(
        "replaces the list of tests",
        "      @before_compile Answer",
        more="""
          defmacro __before_compile__(_) do
            quote do
              Module.delete_attribute(__MODULE__, :ex_unit_tests)
            end
          end
        """,
    ),
    using(
        "fills the list of tests",
        "      @before_compile Answer",
        tests=TESTS_WITH_USE_FIRST,
        more="  defmacro __before_compile__(_) do\n    quote do\n      @ex_unit_tests []\n    end\n  end",
    ),
    using(
        "overrides the test",
        "      @before_compile Answer",
        more="""
          defmacro __before_compile__(_) do
            quote do
              defoverridable "test the answer": 1
              def unquote(:"test the answer")(_), do: :ok
            end
          end
    """,
    ),
    using(
        "deletes the test",
        "      @before_compile Answer",
        more="""
          defmacro __before_compile__(_) do
            quote do
              Module.delete_definition(__MODULE__, {:"test the answer", 1})
              def unquote(:"test the answer")(_), do: :ok
            end
          end
    """,
    ),
    using("defines the test first", '      def unquote(:"test the answer")(_), do: :ok', refused=False),
    using("skips the tests", "      @moduletag :skip"),
    using("skips the tests with a reason", '      @moduletag [skip: "later"]'),
    using(
        "shadows the reference",
        "      alias Answer, as: Enum",
        tests=TESTS_WITH_USE.replace("42", "Enum.sum([42])"),
        more="  def sum(_), do: 41",
    ),
    using(
        "shadows the reference by a name made by hand",
        "      unquote({:alias, [], [Answer, [as: {:__aliases__, [alias: false], [:Enum]}]]})",
        tests=TESTS_WITH_USE.replace("42", "Enum.sum([42])"),
        more="  def sum(_), do: 41",
    ),
    using(
        "takes a function of Kernel",
        "      import Kernel, except: [abs: 1]\n      import Answer, only: [abs: 1]",
        tests=TESTS_WITH_USE.replace("42", "abs(42)"),
        more="  import Kernel, except: [abs: 1]\n  def abs(_), do: 41",
    ),
    using(
        "takes equality with a macro",
        "      import Kernel, except: [==: 2]\n      import Answer, only: :macros",
        more="  import Kernel, except: [==: 2]\n  defmacro _ == _, do: true",
    ),
    using(
        "calls the test before it runs to learn from its failure",
        """
      setup do
        try do
          unquote({:"test the answer", [], [quote(do: %{})]})
        rescue
          error -> {:ok, %{right: error.right}}
        end
      end
    """,
    ),
    using(
        "looks into the test",
        "      @before_compile Answer",
        more="""
          defmacro __before_compile__(env) do
            Module.get_definition(env.module, {:"test the answer", 1})
            nil
          end
    """,
    ),
    using("runs foreign code in the test's name", "      System.halt(0)"),
]

HOOKS = [
    running(
        "fails with a message that acts",
        "raise Answer.Error",
        more="""
          defmodule Error do
            defexception [:x]
            def message(_), do: (m = :init; m.stop(); "")
          end
    """,
    ),
    running(
        "fails with a value that acts when shown",
        "%Answer.Shown{}",
        more="""
          defmodule Shown do
            defstruct [:x]
            defimpl Inspect do
              def inspect(_, _), do: (m = :init; m.stop(); "")
            end
          end
    """,
    ),
    Forgery(
        "replaces itself in mid-test",
        """
        defmodule Answer do
          def answer do
            Module.create(Answer, quote(do: def(answer, do: 42)), __ENV__)
            41
          end
        end
    """,
        refused=False,
    ),
    running(
        "calls the test to learn from its failure",
        """
        if Process.get(:asked) do
          41
        else
          Process.put(:asked, true)
          try do
            AnswerTest."test the answer"(%{})
          rescue
            error -> error.right
          end
        end
    """,
    ),
    running(
        "applies the test to learn from its failure",
        """
        if Process.get(:asked) do
          41
        else
          Process.put(:asked, true)
          test = AnswerTest
          try do
            apply(test, String.to_atom("test the" <> " answer"), [%{}])
          rescue
            error -> error.right
          end
        end
    """,
    ),
    running("asks the test module for its tests", "module = AnswerTest\nmodule.__ex_unit__().tests"),
    running("reads the test's code", ":code.get_object_code(AnswerTest)"),
    running("reads the test's chunks", ":beam_lib.chunks('AnswerTest', [:abstract_code])"),
    Forgery(
        "replaces the tests that follow",
        """
        defmodule Answer do
          def answer do
            defmodule AnswerTest do
              def unquote(:"test the answer")(_), do: :ok
              def unquote(:"test the other answer")(_), do: :ok
            end
            42
          end
          def other, do: 41
        end
    """.replace("defmodule AnswerTest", 'defmodule :"Elixir.AnswerTest"'),
        """
defmodule AnswerTest do
  use ExUnit.Case

  test "the answer" do
    assert Answer.answer() == 42
  end

  test "the other answer" do
    assert Answer.other() == 42
  end
end
""",
    ),
    Forgery(
        "starts a server with room to spare",
        """
        defmodule Answer do
          use GenServer
          def init(_), do: {:ok, 0}
          def answer, do: GenServer.start(__MODULE__, 0, spawn_opt: [max_heap_size: 0])
        end
    """,
    ),
    Forgery(
        "waits for the end of the test to act",
        """
        defmodule Answer do
          def answer do
            ExUnit.Callbacks.on_exit(fn -> System.halt(0) end)
            41
          end
        end
    """,
    ),
]

FORGERIES = [*DIRECT, *PROCESSES, *NAMES, *COMPILING, *USED, *HOOKS]
