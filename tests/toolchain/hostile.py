"""Programs that do their worst, and the classes that a run of them may end in.

A program which reaches for something passes its test when it got it; so where the sandbox holds, it fails its test.
`test_hostile.py` runs them, and a good program after each.
"""

from dataclasses import dataclass

from elixir_coder.toolchain.finding import Outcome

TESTS = """
defmodule HostileTest do
  use ExUnit.Case

  test "runs" do
    assert Hostile.run()
  end
end
"""

GOOD_CODE = """
defmodule Good do
  def double(number), do: number * 2
end
"""

GOOD_TESTS = """
defmodule GoodTest do
  use ExUnit.Case

  test "doubles" do
    path = Path.join(System.tmp_dir!(), "good")
    File.write!(path, "4")
    assert Good.double(2) == path |> File.read!() |> String.to_integer()
    assert Task.await(Task.async(fn -> Good.double(3) end)) == 6
  end
end
"""

OK, FAILED, TIMEOUT = Outcome.OK, Outcome.TEST_FAILURE, Outcome.TIMEOUT
LIMIT, CRASH, INVALID = Outcome.RESOURCE_LIMIT, Outcome.CRASH, Outcome.COMPILE_ERROR


@dataclass(frozen=True, kw_only=True)
class Hostile:
    """guard: whether calls that judged code may not make are refused, rather than left to the sandbox. deadline_s: of
    the job; programs that never end have a short one. is_slow: takes seconds even so."""

    name: str
    code: str
    tests: str = TESTS
    allowed: tuple[Outcome, ...]
    guard: bool = False
    deadline_s: float = 8.0
    is_slow: bool = False


def at_run_time(name, *allowed, body, more="", **fields):
    """`body` is what the test calls."""
    code = f"defmodule Hostile do\n{more}\n  def run do\n{body}\n  end\nend\n"
    return Hostile(name=name, code=code, allowed=allowed, **fields)


def at_compile_time(name, *allowed, body, before="", **fields):
    """`body` stands in the module's body."""
    code = f"{before}\ndefmodule Hostile do\n{body}\n  def run, do: true\nend\n"
    return Hostile(name=name, code=code, allowed=allowed, **fields)


NEVER = {"deadline_s": 0.5}
LOOP = "  def loop(number), do: loop(number + 1)"

TIME = [
    at_run_time("loop", TIMEOUT, body="loop(0)", more=LOOP, **NEVER),
    at_run_time("loop that the guard lets through", TIMEOUT, body="loop(0)", more=LOOP, guard=True, **NEVER),
    at_run_time(
        "loop with the highest priority", TIMEOUT, body="Process.flag(:priority, :max); loop(0)", more=LOOP, **NEVER
    ),
    at_run_time("sleep", TIMEOUT, body="Process.sleep(:infinity)", **NEVER),
    at_run_time(
        "sleep after trapping exits",
        TIMEOUT,
        body="Process.flag(:trap_exit, true); wait()",
        more="  def wait, do: (receive do _ -> wait() end)",
        **NEVER,
    ),
    at_run_time(
        "one multiplication that takes minutes", TIMEOUT, body="Integer.pow(7, 40_000_000) > 0", guard=True, **NEVER
    ),
    at_run_time(
        "regular expressions that backtrack",
        TIMEOUT,
        guard=True,
        **NEVER,
        body='Enum.each(1..1_000_000, fn _ -> Regex.run(~r/^(a+)+$/, String.duplicate("a", 40) <> "!") end)',
    ),
    at_run_time(
        "stop the clock that ends it",
        TIMEOUT,
        **NEVER,
        body="for pid <- Process.list(), pid != self(), do: :erlang.suspend_process(pid)\nwait()",
        more="  def wait, do: (receive do :never -> :ok end)",
    ),
    at_compile_time(
        "loop in a module's body", TIMEOUT, body="  Stream.cycle([1]) |> Stream.run()", guard=True, **NEVER
    ),
    at_compile_time("sleep in a module's body", TIMEOUT, body="  Process.sleep(:infinity)", **NEVER),
    at_compile_time(
        "loop in a macro",
        TIMEOUT,
        guard=True,
        **NEVER,
        before="defmodule Endless do\n  defmacro go, do: loop(0)\n  defp loop(number), do: loop(number + 1)\nend\n",
        body="  require Endless\n  Endless.go()",
    ),
    at_compile_time(
        "macros that expand each other",
        TIMEOUT,
        LIMIT,
        INVALID,
        guard=True,
        deadline_s=2.0,
        body="""
  defmacro ping(number), do: quote(do: Hostile.Again.pong(unquote(number)))
  defmodule Again do
    defmacro pong(number), do: quote(do: (require Hostile.Again; Hostile.Again.pong(unquote(number) + 1)))
  end
  require Again
  Again.pong(1)
""",
    ),
    at_compile_time(
        "a macro that doubles itself",
        TIMEOUT,
        LIMIT,
        guard=True,
        deadline_s=1.0,
        before="""
defmodule Doubling do
  defmacro double(0), do: 1
  defmacro double(depth), do: quote(do: {Doubling.double(unquote(depth - 1)), Doubling.double(unquote(depth - 1))})
end
""",
        body="  require Doubling\n  def large, do: Doubling.double(30)",
    ),
    at_compile_time(
        "an attribute that doubles itself",
        TIMEOUT,
        LIMIT,
        INVALID,
        guard=True,
        deadline_s=1.0,
        body="""
  @large Enum.reduce(1..40, [1], fn _, inner -> [inner, inner] end)
  def large, do: @large
""",
    ),
    at_compile_time(
        "modules that wait for each other",
        INVALID,
        Outcome.UNDEFINED_FUNCTION,
        guard=True,
        before="""
defmodule First do
  Second.second()
  def first, do: 1
end
defmodule Second do
  First.first()
  def second, do: 2
end
""",
        body="",
    ),
    at_compile_time(
        "sleep while it is loaded",
        TIMEOUT,
        INVALID,
        body="  @on_load :wait\n  def wait, do: Process.sleep(:infinity)",
        **NEVER,
    ),
    at_compile_time("exit while it is loaded", *Outcome, body="  @on_load :stop\n  def stop, do: exit(:never)"),
    at_run_time("sleep when the machine stops", OK, body="System.at_exit(fn _ -> Process.sleep(:infinity) end) == :ok"),
]

MEMORY = [
    at_run_time("list", LIMIT, body="length(Enum.to_list(1..1_000_000_000))", guard=True),
    at_run_time("one binary", LIMIT, body="byte_size(:binary.copy(<<0>>, 30_000_000_000))"),
    at_run_time("one string", LIMIT, body='byte_size(String.duplicate("x", 30_000_000_000))', guard=True),
    at_run_time(
        "many strings",
        LIMIT,
        guard=True,
        body='Enum.map(1..10_000, fn number -> String.duplicate("#{number}", 1_000_000) end) |> length()',
    ),
    at_run_time("large number", LIMIT, FAILED, body="Bitwise.bsl(1, 60_000_000_000) > 0", guard=True),
    at_run_time(
        "table",
        LIMIT,
        more="  def fill(table, number), do: (:ets.insert(table, {number, List.duplicate(number, "
        "10_000)}); fill(table, number + 1))",
        body="fill(:ets.new(:hostile, [:public]), 0)",
    ),
    at_run_time(
        "process dictionary",
        LIMIT,
        more="  def fill(number), do: (Process.put(number, List.duplicate(number, 10_000)); fill(number + 1))",
        body="fill(0)",
    ),
    at_run_time(
        "persistent terms",
        LIMIT,
        TIMEOUT,
        body="fill(0)",
        more="  def fill(number), do: (:persistent_term.put("
        "number, List.duplicate(number, 100_000)); fill(number + 1))",
    ),
    at_run_time(
        "messages to itself",
        LIMIT,
        more="  def send_all(number), do: (send(self(), List.duplicate(number, 10_000)); send_all(number + 1))",
        body="send_all(0)",
    ),
    at_run_time(
        "messages to a process that sleeps",
        LIMIT,
        TIMEOUT,
        body="send_all(spawn(fn -> Process.sleep(:infinity) end), 0)",
        more="  def send_all(pid, number), do: (send(pid, List.duplicate(number, 10_000)); send_all(pid, number + 1))",
    ),
    at_run_time(
        "deep recursion",
        LIMIT,
        more="  def deep(0), do: 0\n  def deep(number), do: 1 + deep(number - 1)",
        body="deep(1_000_000_000)",
        guard=True,
    ),
    at_run_time("atoms", LIMIT, body='Enum.each(1..2_000_000, fn number -> String.to_atom("hostile#{number}") end)'),
    at_compile_time(
        "atoms in the module's body",
        LIMIT,
        body='  Enum.each(1..2_000_000, fn number -> String.to_atom("hostile#{number}") end)',
    ),
    at_run_time("processes", LIMIT, body="for _ <- 1..100_000, do: spawn(fn -> Process.sleep(:infinity) end)"),
    at_run_time(
        "processes that start processes",
        LIMIT,
        TIMEOUT,
        deadline_s=2.0,
        body="bomb()",
        more="  def bomb, do: (spawn(&bomb/0); spawn(&bomb/0); bomb())",
    ),
    at_run_time(
        "memory of many processes",
        LIMIT,
        TIMEOUT,
        body="""
    for _ <- 1..50, do: spawn(fn -> (list = Enum.to_list(1..2_000_000); Process.sleep(:infinity); list) end)
    Process.sleep(:infinity)
""",
        deadline_s=2.0,
    ),
    at_run_time(
        "modules",
        LIMIT,
        TIMEOUT,
        deadline_s=3.0,
        is_slow=True,
        body="""
    Enum.each(1..1_000_000, fn number ->
      Code.compile_string("defmodule Hostile.Module#{number} do\\n def f#{number}, do: :f#{number}\\nend")
    end)
""",
    ),
]

OUTPUT = [
    at_run_time(
        "200 MB to the standard output",
        LIMIT,
        guard=True,
        body='for _ <- 1..200, do: IO.write(String.duplicate("x", 1_000_000))',
    ),
    at_run_time(
        "200 MB to the standard error",
        LIMIT,
        body='for _ <- 1..200, do: IO.write(:stderr, String.duplicate("x", 1_000_000))',
    ),
    at_run_time(
        "200 MB past the group leader",
        LIMIT,
        TIMEOUT,
        CRASH,
        body='for _ <- 1..200, do: :erlang.display(String.to_charlist(String.duplicate("x", 1_000_000)))',
        deadline_s=3.0,
        is_slow=True,
    ),
    at_run_time(
        "200 MB to the log",
        OK,  # the log cuts its messages short and drops them when there are too many
        LIMIT,
        TIMEOUT,
        more="  require Logger",
        deadline_s=4.0,
        body='for _ <- 1..200, do: Logger.error(String.duplicate("x", 1_000_000))',
    ),
    at_run_time(
        "200 MB to the machine's standard error",
        LIMIT,
        TIMEOUT,
        CRASH,
        FAILED,
        body="""
    port = Port.open({:fd, 2, 2}, [:binary])
    for _ <- 1..200, do: Port.command(port, String.duplicate("x", 1_000_000))
""",
    ),
    at_compile_time(
        "200 MB at compile time",
        LIMIT,
        guard=True,
        body='  for _ <- 1..200, do: IO.write(String.duplicate("x", 1_000_000))',
    ),
    at_run_time(
        "a failure with a message of 100 MB", LIMIT, FAILED, body='raise String.duplicate("x", 100_000_000)', guard=True
    ),
    at_run_time(
        "exceptions in ten thousand processes",
        OK,
        LIMIT,
        TIMEOUT,
        deadline_s=4.0,
        body='for _ <- 1..10_000, do: spawn(fn -> :erlang.raise(:error, String.duplicate("x", 1_000), []) end)',
    ),
]

ENDING = [
    at_run_time("System.halt", CRASH, body="System.halt(0)"),
    at_run_time(":erlang.halt with an abort", CRASH, body="apply(:erlang, :halt, [:abort])"),
    at_run_time(
        ":erlang.halt that says it was something else",
        CRASH,
        LIMIT,
        body="""
    :erlang.halt(String.to_charlist("eheap_alloc: Cannot allocate 1 bytes of memory"))
""",
    ),
    at_run_time(":init.stop", CRASH, TIMEOUT, body=":init.stop()\nProcess.sleep(:infinity)", deadline_s=3.0),
    at_run_time(":init.restart", CRASH, TIMEOUT, body=":init.restart()\nProcess.sleep(:infinity)", deadline_s=3.0),
    at_compile_time("System.halt at compile time", CRASH, body="  System.halt(0)"),
    at_run_time(
        "kill every process",
        CRASH,
        TIMEOUT,
        FAILED,
        deadline_s=3.0,
        body="for pid <- Process.list(), pid != self(), do: Process.exit(pid, :kill)",
    ),
    at_run_time(
        "kill the code server",
        CRASH,
        TIMEOUT,
        FAILED,
        OK,
        deadline_s=3.0,
        body="Process.exit(Process.whereis(:code_server), :kill)",
    ),
    at_run_time(
        "kill the group leader",
        CRASH,
        TIMEOUT,
        FAILED,
        LIMIT,
        body="Process.exit(Process.group_leader(), :kill)",
        deadline_s=3.0,
    ),
    at_run_time(
        "close every port",
        CRASH,
        TIMEOUT,
        FAILED,
        OK,
        body="Enum.each(Port.list(), &Port.close/1) == :ok",
        deadline_s=3.0,
    ),
    at_run_time(
        "suspend the code server", OK, TIMEOUT, CRASH, body=":sys.suspend(:code_server) == :ok", deadline_s=1.0
    ),
    at_run_time(
        "stop the applications",
        CRASH,
        TIMEOUT,
        FAILED,
        OK,
        deadline_s=3.0,
        body="for name <- [:ex_unit, :compiler, :elixir, :stdlib, :kernel], do: Application.stop(name)",
    ),
    at_run_time(
        "unload the standard library",
        CRASH,
        TIMEOUT,
        FAILED,
        OK,
        deadline_s=3.0,
        body="""
    for module <- [:lists, :maps, Enum, ExUnit.Runner], do: (:code.delete(module); :code.purge(module))
""",
    ),
    at_run_time(
        "leave processes that start each other again",
        OK,
        LIMIT,
        more="""
  def immortal(other) do
    monitor = Process.monitor(other)
    receive do
      {:DOWN, ^monitor, _, _, _} -> immortal(spawn_other())
    end
  end
  def spawn_other, do: (me = self(); spawn(fn -> immortal(me) end))
""",
        body="Enum.each(1..5, fn _ -> spawn(fn -> immortal(spawn_other()) end) end) == :ok",
    ),
    at_run_time(
        "leave processes that spin",
        OK,
        TIMEOUT,
        CRASH,
        more=LOOP,
        deadline_s=2.0,
        body="Enum.each(1..5, fn _ -> spawn(fn -> Process.flag(:priority, :high); loop(0) end) end) == :ok",
    ),
]

FILES = [
    at_run_time(
        "fill the disk",
        FAILED,
        LIMIT,
        body="""
    Enum.each(1..1_000, fn number -> File.write!("/tmp/hostile#{number}", String.duplicate("x", 1_000_000)) end) == :ok
""",
    ),
    at_run_time(
        "many small files",
        OK,
        TIMEOUT,
        LIMIT,
        FAILED,
        deadline_s=1.0,
        body='Enum.each(1..1_000_000, fn number -> File.touch!("/tmp/hostile#{number}") end) == :ok',
    ),
    at_run_time(
        "one large file", FAILED, LIMIT, body='File.write!("/tmp/hostile", String.duplicate("x", 100_000_000)) == :ok'
    ),
    at_run_time(
        "write elsewhere",
        FAILED,
        body="""
    places = ~w(/ /dev /dev/shm /etc /home /proc/sys/kernel /root /sys /usr/lib /var/tmp /opt)
    ours = [:code.lib_dir(:elixir), :code.root_dir(), Path.dirname(:code.which(ExUnit))]
    Enum.any?(places ++ ours, &match?(:ok, File.write(Path.join(&1, "hostile"), "x")))
""",
    ),
    at_run_time("delete Elixir", FAILED, body="match?({:ok, [_ | _]}, File.rm_rf(to_string(:code.lib_dir(:elixir))))"),
    at_run_time(
        "read what is not its own",
        FAILED,
        body="""
    files = ["/etc/passwd", "/etc/shadow", "/etc/hostname", "/proc/kcore", "/dev/sda", "/dev/vda", "/bin/sh",
             "/root/.ssh/id_rsa", "/home/user/.netrc", "/proc/1/root/etc/passwd", "/proc/self/root/../etc/passwd"]
    Enum.any?(files, &match?({:ok, _}, File.read(&1)))
""",
    ),
    at_run_time(
        "read what is not its own, with the guard",
        Outcome.FORBIDDEN_CALL,
        guard=True,
        body='match?({:ok, _}, File.read("/etc/passwd"))',
    ),
    at_run_time(
        "look for files outside",
        FAILED,
        body="""
    "/{root,home,etc,var,srv,mnt,opt,run,work}/**"
    |> Path.wildcard(match_dot: true)
    |> Enum.reject(&(File.dir?(&1) or Path.extname(&1) == ".beam" or &1 == "/etc/ld.so.cache"))
    |> Enum.any?()
""",
    ),
    at_run_time(
        "link to a file outside",
        FAILED,
        body="""
    :ok = File.ln_s("/etc/passwd", "/tmp/hostile")
    match?({:ok, _}, File.read("/tmp/hostile"))
""",
    ),
]

HOST = [
    at_run_time(
        "read the caller's environment",
        FAILED,
        body="""
    System.get_env("HOSTILE_SECRET") || Enum.any?(Path.wildcard("/proc/*/environ"), fn path ->
      match?({:ok, _}, File.read(path)) and File.read!(path) =~ "HOSTILE_SECRET"
    end)
""",
    ),
    at_run_time(
        "list the host's processes",
        FAILED,
        body="""
    {:ok, names} = File.ls("/proc")
    Enum.count(names, &(&1 =~ ~r/^[0-9]+$/)) > 5
""",
    ),
    at_run_time(
        "kill processes by a program",
        FAILED,
        body="""
    Enum.any?(["kill -9 -1", "/bin/kill -9 1", "pkill beam"], fn command ->
      match?({_, 0}, System.shell(command))
    end)
""",
    ),
    at_run_time(
        "run any program",
        FAILED,
        body="""
    programs = ~w(id /bin/sh /bin/busybox /usr/bin/env /usr/bin/python3 /usr/bin/perl /usr/bin/unshare)
    Enum.any?(programs, fn program ->
      try do
        match?({_, _}, System.cmd(program, []))
      rescue
        _error -> false
      end
    end)
""",
    ),
    at_run_time(
        "fork bomb",
        FAILED,
        LIMIT,
        TIMEOUT,
        CRASH,
        OK,
        deadline_s=4.0,
        body="""
    {:ok, [[root]]} = :init.get_argument(:root)
    {:ok, [[programs]]} = :init.get_argument(:bindir)
    machine = programs ++ ~c"/beam.smp"
    bomb = "F = fun F() -> open_port({spawn_executable, hd(init:get_plain_arguments())}, []), F() end, F()."
    args = ["-S", "1:1", "--", "-root", root, "-bindir", programs, "--", "-noshell", "-eval", bomb, "-extra", machine]
    for _ <- 1..100 do
      Port.open({:spawn_executable, machine}, [:nouse_stdio, args: args])
    end
    Process.sleep(1_000)
""",
    ),
    at_run_time(
        "a program that outlives the job",
        FAILED,
        OK,
        CRASH,
        body="""
    {:ok, [[programs]]} = :init.get_argument(:bindir)
    args = ["--nproc=18", to_string(programs) <> "/erl_child_setup", "9999"]
    is_port(Port.open({:spawn_executable, ~c"/usr/bin/prlimit"}, [:nouse_stdio, args: args]))
""",
    ),
]

NETWORK = [
    at_run_time(
        "connect to the world", FAILED, body="match?({:ok, _}, :gen_tcp.connect({93, 184, 216, 34}, 80, [], 1_000))"
    ),
    at_run_time(
        "connect to the host",
        FAILED,
        body="""
    Enum.any?([22, 25, 53, 80, 111, 443, 631, 4369, 5432, 8080], fn port ->
      match?({:ok, _}, :gen_tcp.connect({127, 0, 0, 1}, port, [], 500))
    end)
""",
    ),
    at_run_time("ask for a name", FAILED, body='match?({:ok, _}, :inet.gethostbyname(~c"example.com"))'),
    at_run_time(
        "speak by datagrams",
        FAILED,
        body="""
    {:ok, socket} = :gen_udp.open(0)
    :gen_udp.send(socket, {8, 8, 8, 8}, 53, "x") == :ok
""",
    ),
    at_run_time("listen, where nobody can hear", OK, FAILED, body="match?({:ok, _}, :gen_tcp.listen(0, []))"),
    at_run_time(
        "connect to the host by a local socket",
        FAILED,
        body="""
    names = ["/run/dbus/system_bus_socket", "/var/run/docker.sock", "/run/systemd/private", <<0, "/tmp/.X11-unix/X0">>]
    Enum.any?(names, &match?({:ok, _}, :gen_tcp.connect({:local, &1}, 0, [], 500)))
""",
    ),
    at_run_time("become a node", FAILED, CRASH, body="match?({:ok, _}, :net_kernel.start([:hostile, :shortnames]))"),
]

LARGE = [
    at_compile_time("a number out of range", Outcome.SYNTAX_ERROR, body="  def large, do: 1.0e9999999"),
    at_compile_time(
        "a number of a million digits",
        OK,
        TIMEOUT,
        LIMIT,
        guard=True,
        body=f"  def large, do: {'7' * 1_000_000}",
        **NEVER,
    ),
    at_compile_time("a string of 10 MB", OK, LIMIT, guard=True, body=f'  def large, do: "{"x" * 10_000_000}"'),
    at_compile_time("an atom of 300 characters", Outcome.SYNTAX_ERROR, body=f"  def large, do: :{'x' * 300}"),
    at_compile_time(
        "a list of 200,000 elements",
        OK,
        TIMEOUT,
        LIMIT,
        guard=True,
        deadline_s=5.0,
        body=f"  def large, do: [{', '.join(map(str, range(200_000)))}]",
    ),
    at_compile_time(
        "5,000 lists in each other",
        OK,
        TIMEOUT,
        LIMIT,
        guard=True,
        deadline_s=5.0,
        body=f"  def large, do: {'[' * 5_000}{']' * 5_000}",
    ),
    at_compile_time(
        "5,000 calls in each other",
        OK,
        TIMEOUT,
        LIMIT,
        guard=True,
        is_slow=True,
        deadline_s=5.0,
        body=f"  def large(x), do: {'abs(' * 5_000}x{')' * 5_000}",
    ),
    at_compile_time(
        "100,000 brackets that are not closed",
        Outcome.SYNTAX_ERROR,
        TIMEOUT,
        LIMIT,
        body=f"  def large, do: {'[' * 100_000}",
        deadline_s=5.0,
    ),
    at_compile_time(
        "one line of 5 MB",
        OK,
        Outcome.WARNING,
        TIMEOUT,
        LIMIT,
        guard=True,
        deadline_s=5.0,
        body=f"  def large, do: ({'1; ' * 1_600_000}1)",
    ),
    at_compile_time(
        "300 functions of 20 clauses",
        OK,
        TIMEOUT,
        LIMIT,
        guard=True,
        is_slow=True,
        deadline_s=5.0,
        body="\n".join(f"  def f{n}({k}), do: {n * k}" for n in range(300) for k in range(20)),
    ),
    at_compile_time(
        "3,000 functions",
        OK,
        TIMEOUT,
        LIMIT,
        guard=True,
        is_slow=True,
        deadline_s=20.0,
        body="\n".join(f"  def f{n}(x), do: x + {n}" for n in range(3_000)),
    ),
    at_compile_time(
        "20,000 aliases of a name",
        OK,
        Outcome.WARNING,
        TIMEOUT,
        LIMIT,
        guard=True,
        deadline_s=5.0,
        body="\n".join(f"  alias A.B{n}, as: C{n}" for n in range(20_000)),
    ),
]

RESOURCES = [*TIME, *MEMORY, *OUTPUT, *ENDING, *FILES, *HOST, *NETWORK, *LARGE]
