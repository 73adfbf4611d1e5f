# Programs with their tests that mean no harm and must not be refused: ways of writing Elixir, one after another.
#### recursion
defmodule Fact do
  @moduledoc "Factorials."

  @doc """
  The factorial.

      iex> Fact.of(3)
      6
  """
  @spec of(non_neg_integer()) :: pos_integer()
  def of(0), do: 1
  def of(n) when is_integer(n) and n > 0, do: n * of(n - 1)
end
#-- tests
defmodule FactTest do
  use ExUnit.Case, async: true

  test "five", do: assert(Fact.of(5) == 120)
  test "refuses negative numbers", do: assert_raise(FunctionClauseError, fn -> Fact.of(-1) end)
end
#### has close elements
defmodule HumanEval do
  def has_close_elements(numbers, threshold) do
    numbers
    |> Enum.sort()
    |> Enum.chunk_every(2, 1, :discard)
    |> Enum.any?(fn [a, b] -> b - a < threshold end)
  end
end
#-- tests
ExUnit.start()

defmodule HumanEvalTest do
  use ExUnit.Case, async: true

  test "has_close_elements" do
    assert true == HumanEval.has_close_elements([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.3)
    assert false == HumanEval.has_close_elements([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.05)
  end
end
#### genserver stack
defmodule Stack do
  use GenServer

  def start_link(items), do: GenServer.start_link(__MODULE__, items)
  def push(pid, item), do: GenServer.cast(pid, {:push, item})
  def pop(pid), do: GenServer.call(pid, :pop)

  @impl true
  def init(items), do: {:ok, items}

  @impl true
  def handle_call(:pop, _from, [head | tail]), do: {:reply, head, tail}

  @impl true
  def handle_cast({:push, item}, items), do: {:noreply, [item | items]}
end
#-- tests
defmodule StackTest do
  use ExUnit.Case

  setup do
    stack = start_supervised!({Stack, [1]})
    {:ok, stack: stack}
  end

  test "last in, first out", %{stack: stack} do
    Stack.push(stack, 2)
    assert Stack.pop(stack) == 2
    assert Stack.pop(stack) == 1
    assert :sys.get_state(stack) == []
  end
end
#### genserver with a name, a timer and a continuation
defmodule Ticker do
  use GenServer
  require Logger

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: opts[:name] || __MODULE__)
  def count(server \\ __MODULE__), do: GenServer.call(server, :count)

  @impl GenServer
  def init(opts) do
    Process.flag(:trap_exit, true)
    {:ok, %{count: 0, every: Keyword.fetch!(opts, :every), to: opts[:to]}, {:continue, :schedule}}
  end

  @impl GenServer
  def handle_continue(:schedule, state) do
    Process.send_after(self(), :tick, state.every)
    {:noreply, state}
  end

  @impl GenServer
  def handle_info(:tick, state) do
    if state.to, do: send(state.to, {:ticked, state.count + 1})
    Logger.debug("tick #{state.count}")
    {:noreply, %{state | count: state.count + 1}, {:continue, :schedule}}
  end

  @impl GenServer
  def handle_call(:count, from, state) do
    GenServer.reply(from, state.count)
    {:noreply, state}
  end

  @impl GenServer
  def terminate(_reason, _state), do: :ok
end
#-- tests
defmodule TickerTest do
  use ExUnit.Case

  test "ticks" do
    {:ok, pid} = Ticker.start_link(every: 1, to: self())
    assert_receive {:ticked, 1}, 500
    assert Ticker.count() >= 1
    assert Process.whereis(Ticker) == pid
    ref = Process.monitor(pid)
    GenServer.stop(pid)
    assert_receive {:DOWN, ^ref, :process, ^pid, :normal}
  end
end
#### agent counter
defmodule Counter do
  use Agent

  def start_link(value \\ 0), do: Agent.start_link(fn -> value end, name: __MODULE__)
  def value, do: Agent.get(__MODULE__, & &1)
  def increment(by \\ 1), do: Agent.update(__MODULE__, &(&1 + by))
  def reset, do: Agent.get_and_update(__MODULE__, fn value -> {value, 0} end)
end
#-- tests
defmodule CounterTest do
  use ExUnit.Case

  setup do
    start_supervised!({Counter, 5})
    :ok
  end

  test "counts" do
    Counter.increment()
    Counter.increment(3)
    assert Counter.value() == 9
    assert Counter.reset() == 9
    assert Counter.value() == 0
  end
end
#### agent with a module and function
defmodule Bank do
  def open, do: Agent.start_link(Map, :new, [])
  def put(bank, key, value), do: Agent.update(bank, Map, :put, [key, value])
  def get(bank, key), do: Agent.get(bank, Map, :get, [key])
  def all(bank), do: Agent.get(bank, __MODULE__, :sorted, [])
  def sorted(map), do: Enum.sort(map)
end
#-- tests
defmodule BankTest do
  use ExUnit.Case

  test "keeps" do
    {:ok, bank} = Bank.open()
    Bank.put(bank, :a, 1)
    assert Bank.get(bank, :a) == 1
    assert Bank.all(bank) == [a: 1]
  end
end
#### async stream
defmodule Parallel do
  def map(list, fun), do: list |> Task.async_stream(fun, max_concurrency: 4, ordered: true) |> Enum.map(&elem(&1, 1))
  def squares(list), do: list |> Enum.map(&Task.async(fn -> &1 * &1 end)) |> Task.await_many(1000)
  def lengths(list), do: list |> Task.async_stream(String, :length, []) |> Enum.map(fn {:ok, n} -> n end)
  def frequency(texts, workers) do
    texts
    |> Task.async_stream(&(&1 |> String.downcase() |> String.graphemes() |> Enum.frequencies()), max_concurrency: workers)
    |> Enum.reduce(%{}, fn {:ok, map}, all -> Map.merge(all, map, fn _key, a, b -> a + b end) end)
  end
end
#-- tests
defmodule ParallelTest do
  use ExUnit.Case

  test "maps" do
    assert Parallel.map([1, 2], &(&1 + 1)) == [2, 3]
    assert Parallel.squares([1, 2, 3]) == [1, 4, 9]
    assert Parallel.lengths(["a", "bc"]) == [1, 2]
    assert Parallel.frequency(["Aa", "b"], 2) == %{"a" => 2, "b" => 1}
  end
end
#### registry and via
defmodule Rooms do
  use GenServer

  def child_spec(name), do: %{id: {__MODULE__, name}, start: {__MODULE__, :start_link, [name]}, restart: :temporary}
  def start_link(name), do: GenServer.start_link(__MODULE__, name, name: via(name))
  def name(room), do: GenServer.call(via(room), :name)
  def via(name), do: {:via, Registry, {Rooms.Registry, name}}
  def init(name), do: {:ok, name}
  def handle_call(:name, _from, name), do: {:reply, name, name}
end

defmodule Rooms.Supervisor do
  use Supervisor

  def start_link(arg), do: Supervisor.start_link(__MODULE__, arg, name: __MODULE__)

  @impl true
  def init(_arg) do
    children = [
      {Registry, keys: :unique, name: Rooms.Registry},
      {DynamicSupervisor, strategy: :one_for_one, name: Rooms.Dynamic}
    ]

    Supervisor.init(children, strategy: :one_for_all)
  end

  def open(name), do: DynamicSupervisor.start_child(Rooms.Dynamic, {Rooms, name})
end
#-- tests
defmodule RoomsTest do
  use ExUnit.Case

  test "opens rooms by name" do
    start_supervised!(Rooms.Supervisor)
    assert {:ok, pid} = Rooms.Supervisor.open("hall")
    assert {:error, {:already_started, ^pid}} = Rooms.Supervisor.open("hall")
    assert Rooms.name("hall") == "hall"
    assert [{^pid, _}] = Registry.lookup(Rooms.Registry, "hall")
    assert %{active: 1} = DynamicSupervisor.count_children(Rooms.Dynamic)
  end
end
#### registry as publish and subscribe
defmodule PubSub do
  def start_link, do: Registry.start_link(keys: :duplicate, name: __MODULE__, partitions: 2)
  def subscribe(topic), do: Registry.register(__MODULE__, topic, [])

  def publish(topic, message) do
    Registry.dispatch(__MODULE__, topic, fn entries ->
      for {pid, _} <- entries, do: send(pid, {topic, message})
    end)
  end
end
#-- tests
defmodule PubSubTest do
  use ExUnit.Case

  test "publishes" do
    {:ok, _} = PubSub.start_link()
    {:ok, _} = PubSub.subscribe(:news)
    PubSub.publish(:news, "hi")
    assert_receive {:news, "hi"}
    refute_received {:news, _}
  end
end
#### supervision of workers and tasks
defmodule Jobs do
  def start(name) do
    children = [
      {Task.Supervisor, name: name},
      %{id: :store, start: {Agent, :start_link, [fn -> [] end, [name: :"#{name}_store"]]}},
      Supervisor.child_spec({Task, fn -> :ok end}, id: :once, restart: :temporary)
    ]

    Supervisor.start_link(children, strategy: :rest_for_one)
  end

  def run(name, fun) do
    Task.Supervisor.async_nolink(name, fun) |> Task.yield(500) || :late
  end

  def fire(name, fun), do: Task.Supervisor.start_child(name, fun)
end
#-- tests
defmodule JobsTest do
  use ExUnit.Case
  import ExUnit.CaptureLog

  test "runs" do
    {:ok, supervisor} = Jobs.start(:jobs)
    assert {:ok, 3} = Jobs.run(:jobs, fn -> 1 + 2 end)
    me = self()
    {:ok, _} = Jobs.fire(:jobs, fn -> send(me, :fired) end)
    assert_receive :fired
    assert capture_log(fn -> assert {:exit, _} = Jobs.run(:jobs, fn -> raise "boom" end) end) =~ "boom"
    assert Supervisor.count_children(supervisor).supervisors == 1
    Supervisor.stop(supervisor)
  end
end
#### processes by hand
defmodule PingPong do
  def start, do: spawn_link(fn -> loop(0) end)

  def ping(pid) do
    ref = make_ref()
    send(pid, {:ping, self(), ref})

    receive do
      {:pong, ^ref, count} -> count
    after
      500 -> :timeout
    end
  end

  defp loop(count) do
    receive do
      {:ping, from, ref} ->
        send(from, {:pong, ref, count})
        loop(count + 1)

      :stop ->
        :ok
    end
  end

  def killed do
    {pid, ref} = spawn_monitor(fn -> Process.sleep(:infinity) end)
    Process.exit(pid, :kill)
    receive do: ({:DOWN, ^ref, :process, ^pid, reason} -> reason)
  end

  def trapped do
    Process.flag(:trap_exit, true)
    pid = spawn_link(fn -> exit(:boom) end)
    receive do: ({:EXIT, ^pid, reason} -> reason)
  end
end
#-- tests
defmodule PingPongTest do
  use ExUnit.Case

  test "answers" do
    pid = PingPong.start()
    assert PingPong.ping(pid) == 0
    assert PingPong.ping(pid) == 1
    assert Process.alive?(pid)
    assert {:message_queue_len, 0} = Process.info(pid, :message_queue_len)
    send(pid, :stop)
    assert PingPong.killed() == :killed
    assert PingPong.trapped() == :boom
    assert Process.register(self(), :me_for_now)
    send(:me_for_now, :hi)
    assert_received :hi
  end
end
#### ets cache
defmodule Cache do
  use GenServer
  @table :honest_cache

  def start_link(_ \\ []), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  def fetch(key, fun) do
    case :ets.lookup(@table, key) do
      [{^key, value}] ->
        value

      [] ->
        value = fun.()
        true = :ets.insert(@table, {key, value})
        value
    end
  end

  def size, do: :ets.info(@table, :size)
  def bump(key), do: :ets.update_counter(@table, key, 1, {key, 0})
  def all, do: :ets.tab2list(@table) |> Enum.sort()
  def over(n), do: :ets.select(@table, [{{:"$1", :"$2"}, [{:>, :"$2", n}], [:"$1"]}])

  @impl true
  def init(nil) do
    :ets.new(@table, [:named_table, :public, :set, read_concurrency: true])
    {:ok, nil}
  end
end
#-- tests
defmodule CacheTest do
  use ExUnit.Case

  test "caches" do
    start_supervised!(Cache)
    assert Cache.fetch(:a, fn -> 1 end) == 1
    assert Cache.fetch(:a, fn -> flunk("asked twice") end) == 1
    assert Cache.bump(:b) == 1
    assert Cache.bump(:b) == 2
    assert Cache.all() == [a: 1, b: 2]
    assert Cache.over(1) == [:b]
    assert Cache.size() == 2
  end
end
#### protocol and implementations
defprotocol Area do
  @doc "Its area."
  @fallback_to_any true
  def of(shape)
end

defmodule Square do
  @enforce_keys [:side]
  defstruct [:side]
end

defmodule Circle do
  defstruct radius: 1
end

defimpl Area, for: Square do
  def of(%{side: side}), do: side * side
end

defimpl Area, for: Circle do
  def of(%Circle{radius: r}), do: 3 * r * r
end

defimpl Area, for: [Integer, Float] do
  def of(n), do: n
end

defimpl Area, for: Any do
  def of(_), do: 0
end
#-- tests
defmodule AreaTest do
  use ExUnit.Case

  test "areas" do
    assert Enum.map([%Square{side: 2}, %Circle{}, 5, 1.5, :none], &Area.of/1) == [4, 3, 5, 1.5, 0]
    assert Area.impl_for(%Circle{}) == Area.Circle
  end
end
#### deriving protocols
defprotocol Describe do
  def describe(value)
end

defimpl Describe, for: Any do
  defmacro __deriving__(module, struct, options) do
    fields = struct |> Map.keys() |> Enum.reject(&(&1 == :__struct__)) |> Enum.sort()
    prefix = Keyword.get(options, :prefix, "a")

    quote do
      defimpl Describe, for: unquote(module) do
        def describe(value), do: {unquote(prefix), Map.take(value, unquote(fields))}
      end
    end
  end

  def describe(value), do: {:any, value}
end

defmodule Point do
  @derive {Describe, prefix: "point"}
  @derive {Inspect, only: [:x]}
  defstruct x: 0, y: 0
end
#-- tests
defmodule DescribeTest do
  use ExUnit.Case

  test "derives" do
    assert Describe.describe(%Point{x: 1}) == {"point", %{x: 1, y: 0}}
    assert inspect(%Point{x: 1}) =~ "x: 1"
  end
end
#### standard protocols for a struct
defmodule Bag do
  defstruct items: []
  def new(items \\ []), do: %Bag{items: Enum.sort(items)}

  defimpl Enumerable do
    def count(bag), do: {:ok, length(bag.items)}
    def member?(bag, item), do: {:ok, item in bag.items}
    def slice(_bag), do: {:error, __MODULE__}
    def reduce(bag, acc, fun), do: Enumerable.List.reduce(bag.items, acc, fun)
  end

  defimpl Collectable do
    def into(bag) do
      {bag.items,
       fn
         items, {:cont, item} -> [item | items]
         items, :done -> Bag.new(items)
         _items, :halt -> :ok
       end}
    end
  end

  defimpl String.Chars do
    def to_string(bag), do: "bag of #{length(bag.items)}"
  end

  defimpl Inspect do
    import Inspect.Algebra
    def inspect(bag, opts), do: concat(["#Bag<", to_doc(bag.items, opts), ">"])
  end
end
#-- tests
defmodule BagTest do
  use ExUnit.Case

  test "is a collection" do
    bag = Enum.into([3, 1], Bag.new([2]))
    assert Enum.to_list(bag) == [1, 2, 3]
    assert Enum.count(bag) == 3
    assert 2 in bag
    assert "#{bag}" == "bag of 3"
    assert inspect(bag) == "#Bag<[1, 2, 3]>"
    assert Enum.map(bag, &(&1 * 2)) == [2, 4, 6]
  end
end
#### behaviour and dynamic callbacks
defmodule Parser do
  @callback parse(String.t()) :: {:ok, term} | {:error, String.t()}
  @callback extensions() :: [String.t()]
  @optional_callbacks extensions: 0

  def parse!(module, text) do
    case module.parse(text) do
      {:ok, value} -> value
      {:error, why} -> raise ArgumentError, "parsing error: #{why}"
    end
  end

  def pick(modules, extension) do
    Enum.find(modules, fn module ->
      Code.ensure_loaded?(module) and function_exported?(module, :extensions, 0) and extension in module.extensions()
    end)
  end
end

defmodule IntParser do
  @behaviour Parser
  @impl true
  def parse(text) do
    case Integer.parse(text) do
      {int, ""} -> {:ok, int}
      _ -> {:error, "no integer"}
    end
  end

  @impl Parser
  def extensions, do: ["int"]
end

defmodule TextParser do
  @behaviour Parser
  @impl true
  def parse(text), do: {:ok, text}
end
#-- tests
defmodule ParserTest do
  use ExUnit.Case

  test "parses with any module" do
    assert Parser.parse!(IntParser, "12") == 12
    assert Parser.parse!(TextParser, "12") == "12"
    assert Parser.pick([TextParser, IntParser], "int") == IntParser
    assert_raise ArgumentError, ~r/no integer/, fn -> Parser.parse!(IntParser, "x") end
    for module <- [Integer, Atom], do: assert(is_binary(module.to_string(if(module == Atom, do: :a, else: 1))))
  end
end
#### apply and captures
defmodule Calls do
  def all(list), do: Enum.map(list, fn {module, function, args} -> apply(module, function, args) end)
  def compose(funs), do: fn value -> Enum.reduce(funs, value, & &1.(&2)) end
  def by_name(module, name), do: Enum.map(1..3, &apply(module, name, [&1]))
  def captured(module), do: &module.to_string/1
  def local, do: [&double/1, &Integer.to_string/1, &(&1 <> "!")]
  def op(op) when op in [:+, :-, :*], do: &apply(Kernel, op, [&1, &2])
  defp double(x), do: x * 2
end
#-- tests
defmodule CallsTest do
  use ExUnit.Case

  test "calls" do
    assert Calls.all([{Enum, :sum, [[1, 2]]}, {String, :upcase, ["a"]}, {:lists, :reverse, [[1, 2]]}]) == [3, "A", [2, 1]]
    assert Calls.compose(Calls.local()).(2) == "4!"
    assert Calls.by_name(Integer, :to_string) == ["1", "2", "3"]
    assert Calls.captured(Atom).(:a) == "a"
    assert Calls.op(:*).(3, 4) == 12
  end
end
#### structs and access
defmodule User do
  defstruct [:name, age: 0, tags: []]
  @type t :: %__MODULE__{name: String.t() | nil, age: non_neg_integer(), tags: [atom()]}

  @spec new(Enumerable.t()) :: t()
  def new(fields), do: struct!(__MODULE__, fields)
  def older(%__MODULE__{age: age} = user, by \\ 1), do: %{user | age: age + by}
  def tag(user, tag), do: Map.update!(user, :tags, &[tag | &1])
  def rename(user, name), do: put_in(user.name, name)
  def birthday(users), do: update_in(users, [Access.all(), Access.key(:age)], &(&1 + 1))
  def city(data), do: get_in(data, [:address, :city])
  def move(data, city), do: put_in(data.address.city, city)
  def names(users), do: for(%{name: name} <- users, name, do: name)
end
#-- tests
defmodule UserTest do
  use ExUnit.Case

  test "structs" do
    user = User.new(name: "Ann")
    assert User.older(user).age == 1
    assert User.tag(user, :a).tags == [:a]
    assert User.rename(user, "Bo").name == "Bo"
    assert [%User{age: 1}] = User.birthday([user])
    assert User.city(%{address: %{city: "Rome"}}) == "Rome"
    assert User.move(%{address: %{city: "Rome"}}, "Oslo").address.city == "Oslo"
    assert User.names([user, User.new(%{})]) == ["Ann"]
    assert_raise KeyError, fn -> User.new(nme: 1) end
    assert_raise KeyError, fn -> user.nothing end
  end
end
#### macros
defmodule Control do
  defmacro unless_nil(value, do: block) do
    quote do
      case unquote(value) do
        nil -> nil
        _ -> unquote(block)
      end
    end
  end

  defmacro log_calls(do: block) do
    Macro.prewalk(block, fn
      {:double, meta, args} -> {:*, meta, [2 | args]}
      node -> node
    end)
  end

  defmacro defconst(name, value) do
    quote bind_quoted: [name: name, value: value] do
      def unquote(name)(), do: unquote(value)
    end
  end

  defmacro repeat(times, do: block) do
    quote do
      for var!(index) <- 1..unquote(times), do: unquote(block)
    end
  end
end

defmodule UsesControl do
  require Control
  import Control, only: [defconst: 2, repeat: 2]

  defconst(:answer, 42)
  for {name, value} <- [one: 1, two: 2], do: defconst(name, value)

  def maybe(x), do: Control.unless_nil(x, do: x + 1)
  def doubled, do: Control.log_calls(do: double(4))
  def indexes, do: repeat(3, do: index * index)
end
#-- tests
defmodule ControlTest do
  use ExUnit.Case
  require Control

  test "expand" do
    assert UsesControl.answer() == 42
    assert UsesControl.two() == 2
    assert UsesControl.maybe(nil) == nil
    assert UsesControl.maybe(1) == 2
    assert UsesControl.doubled() == 8
    assert UsesControl.indexes() == [1, 4, 9]
    ast = quote(do: Control.unless_nil(x, do: 1))
    assert Macro.to_string(Macro.expand_once(ast, __ENV__)) =~ "case"
  end
end
#### use with options and hooks
defmodule Plugin do
  defmacro __using__(opts) do
    quote do
      @behaviour Plugin
      @plugin_name Keyword.get(unquote(opts), :name, "plugin")
      Module.register_attribute(__MODULE__, :steps, accumulate: true)
      import Plugin, only: [step: 1]
      @before_compile Plugin

      def name, do: @plugin_name
      def run(value), do: value
      defoverridable run: 1, name: 0
    end
  end

  @callback run(term) :: term

  defmacro step(name), do: quote(do: @steps(unquote(name)))

  defmacro __before_compile__(env) do
    steps = env.module |> Module.get_attribute(:steps) |> Enum.reverse()

    quote do
      def steps, do: unquote(steps)
    end
  end
end

defmodule MyPlugin do
  use Plugin, name: "mine"
  step :first
  step :second
  def run(value), do: super(value) + 1
end
#-- tests
defmodule PluginTest do
  use ExUnit.Case
  use Plugin

  test "is set up" do
    assert MyPlugin.name() == "mine"
    assert MyPlugin.steps() == [:first, :second]
    assert MyPlugin.run(1) == 2
    assert name() == "plugin"
  end
end
#### streams
defmodule Streams do
  def fibonacci, do: Stream.unfold({0, 1}, fn {a, b} -> {a, {b, a + b}} end)
  def primes, do: Stream.iterate(2, &(&1 + 1)) |> Stream.filter(&prime?/1)
  defp prime?(n), do: Enum.all?(2..n//1, &(&1 == n or rem(n, &1) != 0))
  def counted(list), do: Stream.transform(list, 0, fn x, n -> {[{n, x}], n + 1} end)

  def resource do
    Stream.resource(fn -> 3 end, fn 0 -> {:halt, 0}; n -> {[n], n - 1} end, fn _ -> :ok end)
  end

  def chunks(list), do: list |> Stream.chunk_every(2) |> Stream.map(&Enum.sum/1) |> Stream.zip(Stream.cycle([:a, :b]))
end
#-- tests
defmodule StreamsTest do
  use ExUnit.Case

  test "streams" do
    assert Streams.fibonacci() |> Enum.take(6) == [0, 1, 1, 2, 3, 5]
    assert Streams.primes() |> Enum.take(5) == [2, 3, 5, 7, 11]
    assert Streams.counted([:a, :b]) |> Enum.to_list() == [{0, :a}, {1, :b}]
    assert Streams.resource() |> Enum.to_list() == [3, 2, 1]
    assert Streams.chunks([1, 2, 3]) |> Enum.to_list() == [{3, :a}, {3, :b}]
  end
end
#### with and error tuples
defmodule Signup do
  def run(params) do
    with {:ok, name} <- fetch(params, "name"),
         {:ok, text} <- fetch(params, "age"),
         {age, ""} when age >= 18 <- Integer.parse(text) do
      {:ok, %{name: name, age: age}}
    else
      {:error, _} = error -> error
      {_age, ""} -> {:error, :too_young}
      _ -> {:error, :no_number}
    end
  end

  defp fetch(map, key) do
    case Map.fetch(map, key) do
      :error -> {:error, {:missing, key}}
      ok -> ok
    end
  end
end
#-- tests
defmodule SignupTest do
  use ExUnit.Case

  describe "run/1" do
    test "accepts" do
      assert {:ok, %{age: 20}} = Signup.run(%{"name" => "A", "age" => "20"})
    end

    for {age, reason} <- [{"17", :too_young}, {"x", :no_number}] do
      test "refuses #{age}" do
        assert Signup.run(%{"name" => "A", "age" => unquote(age)}) == {:error, unquote(reason)}
      end
    end

    @tag :missing
    test "wants a name", do: assert(Signup.run(%{}) == {:error, {:missing, "name"}})
  end
end
#### comprehensions
defmodule Comprehensions do
  def triples(n), do: for(a <- 1..n, b <- a..n, c <- b..n, a * a + b * b == c * c, do: {a, b, c})
  def pixels(bin), do: for(<<r::8, g::8, b::8 <- bin>>, do: {r, g, b})
  def invert(map), do: for({k, v} <- map, into: %{}, do: {v, k})
  def count(words), do: for(w <- words, reduce: %{}, do: (acc -> Map.update(acc, w, 1, &(&1 + 1))))
  def unique(list), do: for(x <- list, uniq: true, do: rem(x, 3))
  def upcase(text), do: for(<<c::utf8 <- text>>, into: "", do: <<c - 32::utf8>>)
end
#-- tests
defmodule ComprehensionsTest do
  use ExUnit.Case

  test "comprehend" do
    assert Comprehensions.triples(5) == [{3, 4, 5}]
    assert Comprehensions.pixels(<<1, 2, 3>>) == [{1, 2, 3}]
    assert Comprehensions.invert(%{a: 1}) == %{1 => :a}
    assert Comprehensions.count(~w(a b a)) == %{"a" => 2, "b" => 1}
    assert Comprehensions.unique([1, 4, 2]) == [1, 2]
    assert Comprehensions.upcase("ab") == "AB"
  end
end
#### regular expressions
defmodule Regexes do
  @email ~r/^(?<user>[^@]+)@(?<host>[^@]+)$/
  def parts(text), do: Regex.named_captures(@email, text)
  def words(text), do: Regex.scan(~r/\w+/u, text) |> List.flatten()
  def snake(text), do: Regex.replace(~r/([a-z])([A-Z])/, text, fn _, a, b -> a <> "_" <> String.downcase(b) end)
  def clean(text), do: String.replace(text, ~r/\s+/, " ")
  def dynamic(word), do: Regex.compile!("^" <> Regex.escape(word), "i")
  def old(text), do: :re.run(text, "[0-9]+", [{:capture, :first, :binary}])
end
#-- tests
defmodule RegexesTest do
  use ExUnit.Case

  test "match" do
    assert Regexes.parts("a@b") == %{"user" => "a", "host" => "b"}
    assert Regexes.words("a, b") == ["a", "b"]
    assert Regexes.snake("fooBar") == "foo_bar"
    assert Regexes.clean("a \n b") == "a b"
    assert "HELLO" =~ Regexes.dynamic("hel")
    assert Regexes.old("a12") == {:match, ["12"]}
  end
end
#### dates and times
defmodule Dates do
  def meetup(year, month, weekday) do
    Date.range(Date.new!(year, month, 13), Date.new!(year, month, 19))
    |> Enum.find(&(Date.day_of_week(&1) == weekday))
  end

  def gigasecond({{_, _, _}, {_, _, _}} = erl), do: erl |> NaiveDateTime.from_erl!() |> NaiveDateTime.add(1_000_000_000)
  def days(a, b), do: Date.diff(b, a)
  def sorted(dates), do: Enum.sort(dates, {:desc, Date})
  def format(date), do: Calendar.strftime(date, "%d.%m.%Y")
  def later?(a, b), do: DateTime.compare(a, b) == :gt
  def now, do: {DateTime.utc_now(), Date.utc_today(), Time.utc_now(), NaiveDateTime.utc_now(), System.os_time(:second)}
  def old, do: :calendar.day_of_the_week(2024, 2, 29)
end
#-- tests
defmodule DatesTest do
  use ExUnit.Case

  test "dates" do
    assert Dates.meetup(2013, 5, 1) == ~D[2013-05-13]
    assert Dates.gigasecond({{2011, 4, 25}, {0, 0, 0}}) == ~N[2043-01-01 01:46:40]
    assert Dates.days(~D[2024-02-28], ~D[2024-03-01]) == 2
    assert hd(Dates.sorted([~D[2024-01-01], ~D[2025-01-01]])) == ~D[2025-01-01]
    assert Dates.format(~D[2024-02-29]) == "29.02.2024"
    assert Dates.later?(~U[2024-01-02 00:00:00Z], ~U[2024-01-01 00:00:00Z])
    assert tuple_size(Dates.now()) == 5
    assert Dates.old() == 4
  end
end
#### binaries and bits
defmodule Packets do
  import Bitwise

  def parse(<<version::4, kind::4, size::16, body::binary-size(size), _rest::binary>>), do: {:ok, version, kind, body}
  def parse(_), do: :error
  def build(kind, body), do: <<1::4, kind::4, byte_size(body)::16, body::binary>>
  def flags(n), do: for(i <- 0..7, (n &&& 1 <<< i) != 0, do: i)
  def hex(bin), do: Base.encode16(bin, case: :lower)
  def sum(bin), do: :erlang.crc32(bin)
  def hash(bin), do: :crypto.hash(:sha256, bin) |> Base.encode64()
  def bits(n), do: Integer.digits(n, 2)
  def round_trip(term), do: term |> :erlang.term_to_binary() |> :erlang.binary_to_term()
  def safe(bin), do: :erlang.binary_to_term(bin, [:safe])
  def zip(bin), do: bin |> :zlib.compress() |> :zlib.uncompress()
end
#-- tests
defmodule PacketsTest do
  use ExUnit.Case

  test "packs" do
    assert {:ok, 1, 2, "hi"} = Packets.parse(Packets.build(2, "hi"))
    assert Packets.parse("") == :error
    assert Packets.flags(5) == [0, 2]
    assert Packets.hex("ab") == "6162"
    assert Packets.sum("a") == 3_904_355_907
    assert byte_size(Packets.hash("a")) == 44
    assert Packets.bits(5) == [1, 0, 1]
    assert Packets.round_trip(%{a: [1, {:b, "c"}]}) == %{a: [1, {:b, "c"}]}
    assert Packets.safe(:erlang.term_to_binary(:ok)) == :ok
    assert Packets.zip("aaa") == "aaa"
  end
end
#### exceptions
defmodule Shop.OutOfStock do
  defexception [:item, message: "out of stock"]
end

defmodule Shop.Refused do
  defexception [:reason]
  @impl true
  def exception(reason), do: %__MODULE__{reason: reason}
  @impl true
  def message(%{reason: reason}), do: "refused: #{reason}"
end

defmodule Shop do
  alias Shop.{OutOfStock, Refused}

  def buy(:none), do: raise(OutOfStock, item: :none)
  def buy(:refused), do: raise(Refused, "card")
  def buy(item), do: item

  def try_buy(item) do
    {:ok, buy(item)}
  rescue
    e in [OutOfStock, Refused] -> {:error, Exception.message(e)}
  after
    :done
  end

  def catch_all(fun) do
    fun.()
  catch
    :throw, value -> {:thrown, value}
    :exit, reason -> {:exited, reason}
    kind, reason -> {kind, Exception.normalize(kind, reason, __STACKTRACE__).__struct__}
  else
    value -> {:fine, value}
  end

  def again(fun) do
    fun.()
  rescue
    e -> reraise RuntimeError, [message: "again: " <> Exception.message(e)], __STACKTRACE__
  end
end
#-- tests
defmodule ShopTest do
  use ExUnit.Case

  test "raises and rescues" do
    assert Shop.try_buy(:none) == {:error, "out of stock"}
    assert Shop.try_buy(:refused) == {:error, "refused: card"}
    assert Shop.try_buy(1) == {:ok, 1}
    assert Shop.catch_all(fn -> throw(1) end) == {:thrown, 1}
    assert Shop.catch_all(fn -> exit(:bye) end) == {:exited, :bye}
    assert Shop.catch_all(fn -> raise "x" end) == {:error, RuntimeError}
    assert Shop.catch_all(fn -> 1 end) == {:fine, 1}
    assert_raise RuntimeError, "again: x", fn -> Shop.again(fn -> raise "x" end) end
    assert_raise Shop.Refused, fn -> Shop.buy(:refused) end
    assert catch_throw(throw(:a)) == :a
    assert catch_exit(exit(:b)) == :b
  end
end
#### printing
defmodule Greeter do
  def hello(name), do: IO.puts("Hello, #{name}!")
  def complain, do: IO.puts(:stderr, "no")
  def table(rows), do: Enum.each(rows, fn {a, b} -> :io.format("~-5s|~5B~n", [a, b]) end)
  def show(value), do: value |> IO.inspect(label: "value") |> then(&(&1 + 1)) |> tap(&IO.write/1)
  def bright(text), do: IO.ANSI.format([:bright, text], true) |> IO.iodata_to_binary()
  def ask(question), do: IO.gets(question)
end
#-- tests
defmodule GreeterTest do
  use ExUnit.Case
  import ExUnit.CaptureIO

  test "prints" do
    assert capture_io(fn -> Greeter.hello("Bo") end) == "Hello, Bo!\n"
    assert capture_io(:stderr, fn -> Greeter.complain() end) == "no\n"
    assert capture_io(fn -> Greeter.table([{"a", 1}]) end) == "a    |    1\n"
    assert capture_io(fn -> assert Greeter.show(1) == 2 end) == "value: 1\n2"
    assert Greeter.bright("x") =~ "x"
    assert capture_io("yes\n", fn -> assert Greeter.ask("? ") == "yes\n" end) == "? "
  end
end
#### keyword lists and options
defmodule Options do
  @defaults [size: 10, color: :red]
  def new(opts \\ []), do: @defaults |> Keyword.merge(opts) |> Keyword.validate!([:size, :color]) |> Map.new()
  def parse(argv), do: OptionParser.parse(argv, strict: [verbose: :boolean, n: :integer], aliases: [v: :verbose])
  def pop(opts), do: Keyword.pop(opts, :size, 1)
  def env, do: Application.get_env(:honest_app, :mode, :prod)
end
#-- tests
defmodule OptionsTest do
  use ExUnit.Case

  test "options" do
    assert Options.new(size: 1) == %{size: 1, color: :red}
    assert {[verbose: true, n: 3], ["x"], []} = Options.parse(["-v", "--n", "3", "x"])
    assert Options.pop(size: 2) == {2, []}
    assert_raise ArgumentError, fn -> Options.new(sise: 1) end
    assert Options.env() == :prod
    Application.put_env(:honest_app, :mode, :test)
    on_exit(fn -> Application.delete_env(:honest_app, :mode) end)
    assert Options.env() == :test
  end
end
#### strings and unicode
defmodule Texts do
  def reverse(text), do: text |> String.graphemes() |> Enum.reverse() |> Enum.join()
  def palindrome?(text) do
    letters = text |> String.downcase() |> String.replace(~r/[^a-zäöü]/u, "")
    letters == String.reverse(letters)
  end

  def acronym(text), do: text |> String.split(~r/[ -]/, trim: true) |> Enum.map_join(&String.first/1) |> String.upcase()
  def caesar(text, by), do: for(c <- to_charlist(text), into: "", do: <<rotate(c, by)::utf8>>)
  defp rotate(c, by) when c in ?a..?z, do: rem(c - ?a + by, 26) + ?a
  defp rotate(c, _by), do: c
  def pad(n), do: n |> Integer.to_string() |> String.pad_leading(4, "0")
  def normal(text), do: String.normalize(text, :nfd) |> String.replace(~r/\p{Mn}/u, "")
  def to_atoms(words), do: Enum.map(words, &String.to_atom/1)
  def known(word), do: String.to_existing_atom(word)
  def erlang(text), do: :string.titlecase(text) |> :unicode.characters_to_binary()
  def jaro(a, b), do: String.jaro_distance(a, b)
  def heredoc, do: """
  two
    lines #{1 + 1}
  """
end
#-- tests
defmodule TextsTest do
  use ExUnit.Case

  test "texts" do
    assert Texts.reverse("añb") == "bña"
    assert Texts.palindrome?("Anna")
    assert Texts.acronym("as soon-as possible") == "ASAP"
    assert Texts.caesar("xyz!", 3) == "abc!"
    assert Texts.pad(7) == "0007"
    assert Texts.normal("é") == "e"
    assert Texts.to_atoms(~w(a b)) == [:a, :b]
    assert Texts.known("ok") == :ok
    assert Texts.erlang("abc") == "Abc"
    assert Texts.jaro("a", "a") == 1.0
    assert Texts.heredoc() == "two\n  lines 2\n"
  end
end
#### data structures of Erlang
defmodule Erl do
  def queue(list), do: list |> :queue.from_list() |> then(&:queue.in(9, &1)) |> :queue.to_list()
  def tree(list), do: Enum.reduce(list, :gb_trees.empty(), fn {k, v}, t -> :gb_trees.enter(k, v, t) end) |> :gb_trees.to_list()
  def sets(a, b), do: :ordsets.union(:ordsets.from_list(a), :ordsets.from_list(b))
  def array(n), do: :array.new(n, default: 0) |> then(&:array.set(1, 5, &1)) |> :array.to_list()
  def math(x), do: {:math.sqrt(x), :math.pow(x, 2), :math.pi() |> Float.round(2)}
  def graph(edges) do
    graph = :digraph.new()
    for {a, b} <- edges, v <- [a, b], do: :digraph.add_vertex(graph, v)
    for {a, b} <- edges, do: :digraph.add_edge(graph, a, b)
    order = :digraph_utils.topsort(graph)
    :digraph.delete(graph)
    order
  end
  def counter do
    ref = :counters.new(1, [:atomics])
    1..10 |> Enum.map(fn _ -> Task.async(fn -> :counters.add(ref, 1, 1) end) end) |> Task.await_many()
    :counters.get(ref, 1)
  end
  def remember(value) do
    :persistent_term.put({__MODULE__, :value}, value)
    :persistent_term.get({__MODULE__, :value})
  end
  def timed(fun), do: :timer.tc(fun)
  def random, do: :rand.seed(:exsss, {1, 2, 3}) && {Enum.random(1..6), Enum.shuffle([1, 2]), :rand.uniform()}
end
#-- tests
defmodule ErlTest do
  use ExUnit.Case

  test "structures" do
    assert Erl.queue([1]) == [1, 9]
    assert Erl.tree(b: 1, a: 2) == [a: 2, b: 1]
    assert Erl.sets([2, 1], [3]) == [1, 2, 3]
    assert Erl.array(3) == [0, 5, 0]
    assert Erl.math(4) == {2.0, 16.0, 3.14}
    assert Erl.graph([{:a, :b}, {:b, :c}]) == [:a, :b, :c]
    assert Erl.counter() == 10
    assert Erl.remember(3) == 3
    assert {micros, :x} = Erl.timed(fn -> :x end)
    assert micros >= 0
    assert {die, _, _} = Erl.random()
    assert die in 1..6
  end
end
#### pattern matching and guards
defmodule Shapes do
  defguardp is_positive(n) when is_number(n) and n > 0
  defguard is_point(p) when is_tuple(p) and tuple_size(p) == 2 and is_number(elem(p, 0))

  def area({:rect, w, h}) when is_positive(w) and is_positive(h), do: {:ok, w * h}
  def area({:circle, r}) when is_positive(r), do: {:ok, 3.14 * r ** 2}
  def area(_), do: :error

  def kind(p) when is_point(p), do: :point
  def kind([_ | _] = list) when length(list) > 2, do: :long
  def kind(%{} = map) when map.size > 1, do: :big
  def kind(<<"id:", _::binary>>), do: :id
  def kind(x) when x in [nil, :none], do: :nothing
  def kind(_), do: :other

  def same(a, a), do: true
  def same(_, _), do: false
  def pinned(list, x), do: Enum.filter(list, &match?({^x, _}, &1))
end
#-- tests
defmodule ShapesTest do
  use ExUnit.Case
  import Shapes, only: [is_point: 1]

  test "match" do
    assert Shapes.area({:rect, 2, 3}) == {:ok, 6}
    assert Shapes.area({:circle, -1}) == :error
    assert Enum.map([{1, 2}, [1, 2, 3], %{size: 2}, "id:1", nil, 1], &Shapes.kind/1) == [:point, :long, :big, :id, :nothing, :other]
    assert Shapes.same(1, 1)
    refute Shapes.same(1, 1.0)
    assert Shapes.pinned([a: 1, b: 2], :a) == [a: 1]
    assert is_point({1, 2})
  end
end
#### a calculator in layers
defmodule Calc.Lexer do
  def tokens(text), do: tokens(text, [])
  defp tokens("", acc), do: Enum.reverse(acc)
  defp tokens(<<c, rest::binary>>, acc) when c in ~c"+-*/()", do: tokens(rest, [<<c>> | acc])
  defp tokens(" " <> rest, acc), do: tokens(rest, acc)

  defp tokens(text, acc) do
    {n, rest} = Integer.parse(text)
    tokens(rest, [n | acc])
  end
end

defmodule Calc do
  alias __MODULE__.Lexer

  def eval(text) do
    {value, []} = text |> Lexer.tokens() |> sum()
    value
  end

  defp sum(tokens), do: tokens |> product() |> more(["+", "-"], &product/1)
  defp product(tokens), do: tokens |> atom() |> more(["*", "/"], &atom/1)

  defp more({left, [op | rest]}, ops, next) do
    if op in ops do
      {right, rest} = next.(rest)
      more({apply(Kernel, String.to_existing_atom(op), [left, right]), rest}, ops, next)
    else
      {left, [op | rest]}
    end
  end

  defp more(done, _ops, _next), do: done

  defp atom(["(" | rest]) do
    {value, [")" | rest]} = sum(rest)
    {value, rest}
  end

  defp atom([n | rest]) when is_number(n), do: {n, rest}
end
#-- tests
defmodule CalcTest do
  use ExUnit.Case

  test "evaluates" do
    assert Calc.eval("1 + 2 * 3") == 7
    assert Calc.eval("(1 + 2) * 3 - 4 / 2") == 7.0
  end
end
#### files in the temporary folder
defmodule Lines do
  def count(path), do: path |> File.stream!() |> Enum.count()
  def grep(path, word), do: path |> File.read!() |> String.split("\n") |> Enum.filter(&(&1 =~ word))
  def append(path, line), do: File.write(path, line <> "\n", [:append])
  def words(folder), do: folder |> Path.join("*.txt") |> Path.wildcard() |> Enum.map(&Path.basename/1)
  def copy(from, to), do: with(:ok <- File.cp(from, to), do: File.stat!(to).size)

  def log(path, lines) do
    File.open!(path, [:write, :utf8], fn file -> Enum.each(lines, &IO.puts(file, &1)) end)
  end
end
#-- tests
defmodule LinesTest do
  use ExUnit.Case

  setup do
    folder = Path.join(System.tmp_dir!(), "honest-#{System.unique_integer([:positive])}")
    File.mkdir_p!(folder)
    on_exit(fn -> File.rm_rf!(folder) end)
    {:ok, folder: folder, path: Path.join(folder, "a.txt")}
  end

  test "reads and writes", %{folder: folder, path: path} do
    assert Lines.append(path, "one two") == :ok
    assert Lines.append(path, "three") == :ok
    assert Lines.count(path) == 2
    assert Lines.grep(path, "two") == ["one two"]
    assert Lines.words(folder) == ["a.txt"]
    assert Lines.copy(path, path <> ".copy") == 14
    Lines.log(path, ["é"])
    assert File.read!(path) == "é\n"
    assert {:error, :enoent} = File.read(Path.join(folder, "none"))
  end

  test "relative paths" do
    File.write!("honest_here.txt", "x")
    assert File.exists?("honest_here.txt")
    assert File.rm("honest_here.txt") == :ok
  end
end
#### dynamic supervisor and a module of its own
defmodule Pool do
  use DynamicSupervisor

  def start_link(arg), do: DynamicSupervisor.start_link(__MODULE__, arg, name: __MODULE__)
  def add(value), do: DynamicSupervisor.start_child(__MODULE__, {Agent, fn -> value end})
  def values, do: for({_, pid, _, _} <- DynamicSupervisor.which_children(__MODULE__), do: Agent.get(pid, & &1))
  def drop(pid), do: DynamicSupervisor.terminate_child(__MODULE__, pid)

  @impl true
  def init(_arg), do: DynamicSupervisor.init(strategy: :one_for_one, max_children: 10)
end
#-- tests
defmodule PoolTest do
  use ExUnit.Case

  test "grows and shrinks" do
    start_supervised!({Pool, []})
    {:ok, one} = Pool.add(1)
    {:ok, _two} = Pool.add(2)
    assert Enum.sort(Pool.values()) == [1, 2]
    assert Pool.drop(one) == :ok
    assert Pool.values() == [2]
  end
end
#### state machine
defmodule Door do
  @behaviour :gen_statem

  def start_link, do: :gen_statem.start_link(__MODULE__, [], [])
  def open(pid), do: :gen_statem.call(pid, :open)
  def close(pid), do: :gen_statem.call(pid, :close)

  @impl true
  def callback_mode, do: :state_functions
  @impl true
  def init([]), do: {:ok, :closed, %{opened: 0}}

  def closed({:call, from}, :open, data) do
    data = %{data | opened: data.opened + 1}
    {:next_state, :open, data, [{:reply, from, data.opened}]}
  end

  def closed({:call, from}, _event, _data), do: {:keep_state_and_data, [{:reply, from, :error}]}
  def open({:call, from}, :close, data), do: {:next_state, :closed, data, [{:reply, from, :ok}]}
  def open({:call, from}, _event, _data), do: {:keep_state_and_data, [{:reply, from, :error}]}
end
#-- tests
defmodule DoorTest do
  use ExUnit.Case

  test "opens and closes" do
    {:ok, door} = Door.start_link()
    assert Door.open(door) == 1
    assert Door.open(door) == :error
    assert Door.close(door) == :ok
    assert Door.open(door) == 2
  end
end
#### application and supervision tree
defmodule Tree.Application do
  use Application

  @impl true
  def start(_type, args) do
    children = [{Tree.Leaf, args}, %{id: Tree.Other, start: {Tree.Leaf, :start_link, [[name: Tree.Other]]}}]
    Supervisor.start_link(children, strategy: :one_for_one, name: Tree.Supervisor)
  end
end

defmodule Tree.Leaf do
  use GenServer, restart: :transient
  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: opts[:name] || __MODULE__)
  def crash(name \\ __MODULE__), do: GenServer.cast(name, :crash)
  @impl true
  def init(opts), do: {:ok, opts}
  @impl true
  def handle_cast(:crash, _state), do: raise("crash")
end
#-- tests
defmodule TreeTest do
  use ExUnit.Case
  import ExUnit.CaptureLog

  test "restarts" do
    {:ok, supervisor} = Tree.Application.start(:normal, [])
    before = Process.whereis(Tree.Leaf)

    capture_log(fn ->
      Tree.Leaf.crash()
      Process.sleep(50)
    end)

    assert is_pid(Process.whereis(Tree.Leaf))
    assert Process.whereis(Tree.Leaf) != before
    assert length(Supervisor.which_children(supervisor)) == 2
    Supervisor.stop(supervisor)
  end
end
#### delegation, imports and aliases
defmodule Facade.Math do
  def add(a, b), do: a + b
  def mul(a, b \\ 2), do: a * b
end

defmodule Facade do
  alias Facade.Math, as: M
  import Kernel, except: [to_string: 1]
  import Enum, only: [map: 2, sum: 1]

  defdelegate add(a, b), to: M
  defdelegate times(a, b), to: M, as: :mul
  defdelegate reverse(list), to: Enum
  defdelegate size(map), to: :maps

  def to_string(x), do: "<#{x}>"
  def total(list), do: list |> map(&M.mul/1) |> sum()
end
#-- tests
defmodule FacadeTest do
  use ExUnit.Case
  alias Facade, as: F

  test "delegates" do
    assert F.add(1, 2) == 3
    assert F.times(2, 3) == 6
    assert F.reverse([1, 2]) == [2, 1]
    assert F.size(%{a: 1}) == 1
    assert F.to_string(1) == "<1>"
    assert F.total([1, 2]) == 6
  end
end
#### operators of its own
defmodule Vec do
  import Kernel, except: [+: 2, *: 2]
  defstruct [:x, :y]

  def %Vec{x: a, y: b} + %Vec{x: c, y: d}, do: %Vec{x: Kernel.+(a, c), y: Kernel.+(b, d)}
  def a + b, do: Kernel.+(a, b)
  def n * %Vec{x: x, y: y}, do: %Vec{x: Kernel.*(n, x), y: Kernel.*(n, y)}
  def a ~> fun, do: fun.(a)
end
#-- tests
defmodule VecTest do
  use ExUnit.Case
  import Kernel, except: [+: 2, *: 2]
  import Vec

  test "adds" do
    assert %Vec{x: 1, y: 2} + %Vec{x: 1, y: 1} == %Vec{x: 2, y: 3}
    assert 2 * %Vec{x: 1, y: 2} == %Vec{x: 2, y: 4}
    assert 1 ~> (&(&1 + 1)) == 2
  end
end
#### module attributes and constants
defmodule Consts do
  @moduledoc false
  @external_resource "priv/none.txt"
  @compile {:inline, fast: 1}
  @planets for {name, i} <- Enum.with_index(~w(mercury venus earth)a), into: %{}, do: {name, i}
  @names Map.keys(@planets)
  @type planet :: unquote(Enum.reduce(@names, &{:|, [], [&1, &2]}))

  @deprecated "use index/1"
  def old(name), do: index(name)

  @doc since: "1.0.0"
  @spec index(planet) :: integer
  for {name, i} <- @planets do
    def index(unquote(name)), do: unquote(i)
  end

  def fast(x), do: x + 1
  def info, do: {__MODULE__, __ENV__.function, __DIR__ |> is_binary(), length(@names)}
  def exports, do: __MODULE__.__info__(:functions) |> Keyword.keys() |> Enum.uniq()
end
#-- tests
defmodule ConstsTest do
  use ExUnit.Case

  test "constants" do
    assert Consts.index(:earth) == 2
    assert Consts.fast(1) == 2
    assert Consts.info() == {Consts, {:info, 0}, true, 3}
    assert :index in Consts.exports()
  end
end
#### records and tuples
defmodule Rec do
  require Record
  Record.defrecord(:user, name: "nobody", age: 0)
  Record.defrecordp(:point, [:x, :y])
  @type user :: record(:user, name: String.t(), age: integer)

  def new(name), do: user(name: name)
  def age(u), do: user(u, :age)
  def older(u), do: user(u, age: user(u, :age) + 1)
  def is_user(u), do: Record.is_record(u, :user)
  def move(x), do: point(x: x) |> point(y: 2)
end
#-- tests
defmodule RecTest do
  use ExUnit.Case

  test "records" do
    assert Rec.new("A") == {:user, "A", 0}
    assert Rec.new("A") |> Rec.older() |> Rec.age() == 1
    assert Rec.is_user(Rec.new("A"))
    assert Rec.move(1) == {:point, 1, 2}
  end
end
#### templates
defmodule Page do
  require EEx
  EEx.function_from_string(:def, :page, "<h1><%= title %></h1><%= for i <- items do %><li><%= i %></li><% end %>", [:title, :items])
  def now(text, bindings), do: EEx.eval_string(text, bindings)
  def assigned(text, assigns), do: EEx.eval_string(text, assigns: assigns)
end
#-- tests
defmodule PageTest do
  use ExUnit.Case

  test "renders" do
    assert Page.page("T", [1, 2]) == "<h1>T</h1><li>1</li><li>2</li>"
    assert Page.now("<%= a + 1 %>", a: 1) == "2"
    assert Page.assigned("<%= @a %>", a: 1) == "1"
  end
end
#### working with quoted code
defmodule Ast do
  def variables(code) do
    {_ast, names} =
      code
      |> Code.string_to_quoted!()
      |> Macro.prewalk([], fn
        {name, _, context} = node, acc when is_atom(name) and is_atom(context) -> {node, [name | acc]}
        node, acc -> {node, acc}
      end)

    names |> Enum.uniq() |> Enum.sort()
  end

  def calls(ast) do
    ast
    |> Macro.prewalker()
    |> Enum.flat_map(fn
      {{:., _, [{:__aliases__, _, parts}, name]}, _, args} -> [{Module.concat(parts), name, length(args)}]
      _ -> []
    end)
  end

  def pretty(code), do: code |> Code.format_string!() |> IO.iodata_to_binary()
  def camel(text), do: {Macro.camelize(text), Macro.underscore("FooBar")}
end
#-- tests
defmodule AstTest do
  use ExUnit.Case

  test "walks" do
    assert Ast.variables("a + b * a") == [:a, :b]
    assert Ast.calls(quote(do: Enum.map(String.upcase("x"), & &1))) == [{Enum, :map, 2}, {String, :upcase, 1}]
    assert Ast.pretty("a+b") == "a + b"
    assert Ast.camel("foo_bar") == {"FooBar", "foo_bar"}
    assert {3, _} = Code.eval_string("1 + 2")
    assert_raise ArgumentError, fn -> Code.eval_string("def f, do: 1") end
  end
end
#### modules made on the way
defmodule Maker do
  def make(name, value) do
    Module.create(Module.concat(__MODULE__, name), quote(do: def(value, do: unquote(value))), Macro.Env.location(__ENV__))
    Module.concat(__MODULE__, name)
  end

  defmacro shape(name, fields) do
    quote do
      defmodule unquote(name) do
        defstruct unquote(fields)
        def new(values), do: struct(__MODULE__, values)
      end
    end
  end
end

defmodule Made do
  require Maker
  Maker.shape(Box, [:w, h: 1])
end
#-- tests
defmodule MakerTest do
  use ExUnit.Case

  defmodule Helper do
    def one, do: 1
  end

  test "makes modules" do
    module = Maker.make(:Seven, 7)
    assert module.value() == 7
    assert Made.Box.new(w: 2).h == 1
    assert Helper.one() == 1

    defmodule Inline do
      def two, do: 2
    end

    assert Inline.two() == 2
  end
end
#### nested data with behaviour of Access
defmodule Store do
  @behaviour Access
  defstruct data: %{}

  @impl Access
  def fetch(store, key), do: Map.fetch(store.data, key)
  @impl Access
  def get_and_update(store, key, fun) do
    {value, data} = Map.get_and_update(store.data, key, fun)
    {value, %{store | data: data}}
  end

  @impl Access
  def pop(store, key) do
    {value, data} = Map.pop(store.data, key)
    {value, %{store | data: data}}
  end
end
#-- tests
defmodule StoreTest do
  use ExUnit.Case

  test "accesses" do
    store = put_in(%Store{}[:a], 1)
    assert store[:a] == 1
    assert update_in(store[:a], &(&1 + 1))[:a] == 2
    assert {1, %Store{data: %{}}} = pop_in(store[:a])
  end
end
#### lazy and memoised
defmodule Memo do
  def fib(n), do: n |> fib(%{0 => 0, 1 => 1}) |> elem(0)

  defp fib(n, memo) when is_map_key(memo, n), do: {memo[n], memo}

  defp fib(n, memo) do
    {a, memo} = fib(n - 1, memo)
    {b, memo} = fib(n - 2, memo)
    {a + b, Map.put(memo, n, a + b)}
  end

  def in_process(key, fun) do
    case Process.get({__MODULE__, key}) do
      nil ->
        value = fun.()
        Process.put({__MODULE__, key}, value)
        value

      value ->
        value
    end
  end

  def named(fun), do: Process.get(:memo) || tap(fun.(), &Process.put(:memo, &1))
end
#-- tests
defmodule MemoTest do
  use ExUnit.Case

  test "memoises" do
    assert Memo.fib(90) == 2_880_067_194_370_816_120
    assert Memo.in_process(:a, fn -> 1 end) == 1
    assert Memo.in_process(:a, fn -> 2 end) == 1
    assert Memo.named(fn -> 3 end) == 3
    assert Memo.named(fn -> 4 end) == 3
  end
end
#### case templates and setup
defmodule Account do
  defstruct balance: 0
  def deposit(account, n) when n > 0, do: %{account | balance: account.balance + n}
  def withdraw(%{balance: b} = account, n) when n <= b, do: {:ok, %{account | balance: b - n}}
  def withdraw(_, _), do: {:error, :insufficient}
end
#-- tests
defmodule AccountCase do
  use ExUnit.CaseTemplate

  using do
    quote do
      alias Account
      import AccountCase
    end
  end

  setup_all do
    {:ok, shared: 1}
  end

  setup tags do
    {:ok, account: %Account{balance: tags[:balance] || 0}}
  end

  def rich, do: %Account{balance: 1_000}
end

defmodule AccountTest do
  use AccountCase, async: true
  @moduletag :money

  setup [:twice]
  defp twice(%{account: account}), do: [twice: Account.deposit(account, account.balance + 1)]

  @tag balance: 5
  test "takes out", %{account: account, twice: twice, shared: 1} do
    assert {:ok, %Account{balance: 2}} = Account.withdraw(account, 3)
    assert twice.balance == 11
    assert Account.withdraw(account, 6) == {:error, :insufficient}
    assert rich().balance == 1_000
  end

  @tag :skip
  test "for later", do: flunk("not yet")

  describe "deposit" do
    test "adds", %{account: account} do
      assert_in_delta Account.deposit(account, 2.5).balance, 2.5, 0.001
      assert is_struct(account, Account)
    end
  end
end
#### doctests
defmodule Docs do
  @moduledoc """
  Numbers.

      iex> Docs.double(4)
      8
  """

  @doc """
      iex> 3 |> Docs.double()
      6
      iex> Docs.double("a")
      ** (ArithmeticError) bad argument in arithmetic expression
  """
  def double(x), do: x * 2
end
#-- tests
defmodule DocsTest do
  use ExUnit.Case

  test "doubles", do: assert(Docs.double(2) == 4)
end
#### json by hand
defmodule MiniJson do
  def encode(nil), do: "null"
  def encode(b) when is_boolean(b), do: Atom.to_string(b)
  def encode(a) when is_atom(a), do: encode(Atom.to_string(a))
  def encode(n) when is_number(n), do: "#{n}"
  def encode(s) when is_binary(s), do: ~s("#{String.replace(s, ~s("), ~S(\"))}")
  def encode(l) when is_list(l), do: "[" <> Enum.map_join(l, ",", &encode/1) <> "]"
  def encode(%_{} = struct), do: struct |> Map.from_struct() |> encode()
  def encode(m) when is_map(m), do: "{" <> Enum.map_join(Enum.sort(m), ",", fn {k, v} -> encode(k) <> ":" <> encode(v) end) <> "}"
end
#-- tests
defmodule MiniJsonTest do
  use ExUnit.Case

  test "encodes" do
    assert MiniJson.encode(%{a: [1, nil, true], b: "x\"y"}) == ~S({"a":[1,null,true],"b":"x\"y"})
  end
end
#### matrices and grids
defmodule Grid do
  def transpose(rows), do: rows |> Enum.zip() |> Enum.map(&Tuple.to_list/1)
  def rotate(rows), do: rows |> Enum.reverse() |> transpose()
  def parse(text), do: for({row, y} <- text |> String.split("\n", trim: true) |> Enum.with_index(), {c, x} <- row |> String.to_charlist() |> Enum.with_index(), into: %{}, do: {{x, y}, c})
  def neighbours({x, y}), do: for(dx <- -1..1, dy <- -1..1, {dx, dy} != {0, 0}, do: {x + dx, y + dy})

  def life(cells) do
    cells
    |> Enum.flat_map(&neighbours/1)
    |> Enum.frequencies()
    |> Enum.filter(fn {cell, n} -> n == 3 or (n == 2 and cell in cells) end)
    |> MapSet.new(&elem(&1, 0))
  end
end
#-- tests
defmodule GridTest do
  use ExUnit.Case

  test "grids" do
    assert Grid.transpose([[1, 2], [3, 4]]) == [[1, 3], [2, 4]]
    assert Grid.rotate([[1, 2], [3, 4]]) == [[3, 1], [4, 2]]
    assert Grid.parse("ab\nc")[{1, 0}] == ?b
    blinker = MapSet.new([{0, 1}, {1, 1}, {2, 1}])
    assert blinker |> Grid.life() |> Grid.life() == blinker
  end
end
#### timeouts, deadlines and retries
defmodule Retry do
  def run(fun, tries \\ 3, wait_ms \\ 1)
  def run(_fun, 0, _wait), do: {:error, :gave_up}

  def run(fun, tries, wait) do
    case fun.() do
      {:ok, value} -> {:ok, value}
      {:error, _} -> Process.sleep(wait) && run(fun, tries - 1, wait * 2)
    end
  end

  def within(ms, fun) do
    task = Task.async(fun)

    case Task.yield(task, ms) || Task.shutdown(task, :brutal_kill) do
      {:ok, value} -> {:ok, value}
      nil -> {:error, :timeout}
    end
  end

  def debounce(pid, message), do: :timer.send_after(1, pid, message)
  def elapsed(fun), do: (started = System.monotonic_time(:millisecond)) && fun.() && System.monotonic_time(:millisecond) - started
end
#-- tests
defmodule RetryTest do
  use ExUnit.Case

  test "retries" do
    {:ok, tries} = Agent.start_link(fn -> 0 end)
    fun = fn -> if Agent.get_and_update(tries, &{&1, &1 + 1}) < 2, do: {:error, :no}, else: {:ok, :yes} end
    assert Retry.run(fun) == {:ok, :yes}
    assert Retry.run(fn -> {:error, :no} end) == {:error, :gave_up}
    assert Retry.within(1_000, fn -> 1 end) == {:ok, 1}
    assert Retry.within(1, fn -> Process.sleep(500) end) == {:error, :timeout}
    {:ok, _} = Retry.debounce(self(), :later)
    assert_receive :later, 200
    assert Retry.elapsed(fn -> true end) >= 0
  end
end
#### bounded buffer with callers that wait
defmodule Buffer do
  use GenServer
  def start_link(max), do: GenServer.start_link(__MODULE__, max)
  def put(b, x), do: GenServer.call(b, {:put, x})
  def take(b), do: GenServer.call(b, :take)
  @impl true
  def init(max), do: {:ok, %{max: max, items: :queue.new(), waiting: []}}
  @impl true
  def handle_call({:put, x}, _from, %{waiting: [first | rest]} = s) do
    GenServer.reply(first, x)
    {:reply, :ok, %{s | waiting: rest}}
  end

  def handle_call({:put, x}, _from, s) do
    if :queue.len(s.items) < s.max, do: {:reply, :ok, %{s | items: :queue.in(x, s.items)}}, else: {:reply, :full, s}
  end

  def handle_call(:take, from, s) do
    case :queue.out(s.items) do
      {{:value, x}, items} -> {:reply, x, %{s | items: items}}
      {:empty, _} -> {:noreply, %{s | waiting: s.waiting ++ [from]}}
    end
  end
end
#-- tests
defmodule BufferTest do
  use ExUnit.Case

  test "waits" do
    {:ok, b} = Buffer.start_link(1)
    assert Buffer.put(b, 1) == :ok
    assert Buffer.put(b, 2) == :full
    assert Buffer.take(b) == 1
    task = Task.async(fn -> Buffer.take(b) end)
    Process.sleep(20)
    assert Buffer.put(b, 3) == :ok
    assert Task.await(task) == 3
  end
end
#### words that are also names of the machine
defmodule Words do
  def kind(:file), do: :code
  def kind(:init), do: :os
  def kind(:user), do: :global
  def kind(:logger), do: :net_kernel
  def all, do: %{file: 1, code: [System, File, Port, :erlang], init: :stop, user: "u"}
  def tuples, do: [{:file, :read, []}, {:os, :cmd, ["ls"]}]
  def name(module), do: module |> Module.split() |> List.last()
  def system(map), do: map.system.halt
  def call(:system, :halt), do: :fine
end
#-- tests
defmodule WordsTest do
  use ExUnit.Case

  test "are only words" do
    assert Words.kind(:file) == :code
    assert Words.all().init == :stop
    assert [{:file, :read, []} | _] = Words.tuples()
    assert Words.name(System) == "System"
    assert Words.system(%{system: %{halt: 1}}) == 1
    assert Words.call(:system, :halt) == :fine
    send(self(), {:file, "a"})
    assert_received {:file, "a"}
  end
end
#### linked list and zipper
defmodule Zipper do
  defstruct left: [], focus: nil, right: []
  def from([head | tail]), do: %Zipper{focus: head, right: tail}
  def right(%Zipper{right: [next | rest]} = z), do: %{z | left: [z.focus | z.left], focus: next, right: rest}
  def left(%Zipper{left: [prev | rest]} = z), do: %{z | left: rest, focus: prev, right: [z.focus | z.right]}
  def set(z, value), do: %Zipper{z | focus: value}
  def to_list(z), do: Enum.reverse(z.left) ++ [z.focus | z.right]
end
#-- tests
defmodule ZipperTest do
  use ExUnit.Case

  test "moves" do
    assert [1, 2, 3] |> Zipper.from() |> Zipper.right() |> Zipper.set(9) |> Zipper.left() |> Zipper.to_list() == [1, 9, 3]
  end
end
#### a domain language
defmodule Html do
  defmacro html(do: block) do
    quote do
      import Kernel, except: [div: 2]
      {:ok, var!(buffer, Html)} = Html.start()
      unquote(block)
      result = Html.render(var!(buffer, Html))
      Html.stop(var!(buffer, Html))
      result
    end
  end

  for name <- [:div, :p, :b] do
    defmacro unquote(name)(do: inner) do
      name = unquote(name)

      quote do
        Html.put(var!(buffer, Html), "<#{unquote(name)}>")
        unquote(inner)
        Html.put(var!(buffer, Html), "</#{unquote(name)}>")
      end
    end
  end

  defmacro text(string), do: quote(do: Html.put(var!(buffer, Html), to_string(unquote(string))))
  def start, do: Agent.start_link(fn -> [] end)
  def stop(buffer), do: Agent.stop(buffer)
  def put(buffer, text), do: Agent.update(buffer, &[text | &1])
  def render(buffer), do: buffer |> Agent.get(& &1) |> Enum.reverse() |> Enum.join()
end

defmodule HtmlPage do
  import Kernel, except: [div: 2]
  import Html

  def page(name) do
    html do
      div do
        p do: text("hi " <> name)
      end
    end
  end
end
#-- tests
defmodule HtmlTest do
  use ExUnit.Case

  test "renders", do: assert(HtmlPage.page("Bo") == "<div><p>hi Bo</p></div>")
end
#### counters under contention
defmodule Contention do
  def sum(n, workers) do
    parent = self()

    for w <- 1..workers do
      spawn(fn -> send(parent, {:part, Enum.sum(for i <- 1..n, rem(i, workers) == w - 1, do: i)}) end)
    end

    Enum.reduce(1..workers, 0, fn _, acc ->
      receive do
        {:part, part} -> acc + part
      after
        1_000 -> raise "late"
      end
    end)
  end

  def ordered(list) do
    list
    |> Enum.map(fn x -> Task.async(fn -> Process.sleep(5 - x) && x end) end)
    |> Enum.map(&Task.await/1)
  end
end
#-- tests
defmodule ContentionTest do
  use ExUnit.Case

  test "sums" do
    assert Contention.sum(100, 4) == 5_050
    assert Contention.ordered([1, 2, 3]) == [1, 2, 3]
  end
end
#### sigils
defmodule Sigils do
  def sigil_i(text, []), do: String.to_integer(text)
  def sigil_i(text, [?n]), do: -String.to_integer(text)
  defmacro sigil_u({:<<>>, _, [text]}, _), do: String.upcase(text)
end
#-- tests
defmodule SigilsTest do
  use ExUnit.Case
  import Sigils

  test "sigils" do
    assert ~i(13) == 13
    assert ~i(13)n == -13
    assert ~u(abc) == "ABC"
    assert ~w(a b)a == [:a, :b]
    assert ~c(ab) == [97, 98]
    assert ~s(a #{1}) == "a 1"
    assert ~S(a #{1}) == "a \#{1}"
  end
end
#### string io and devices
defmodule Report do
  def write(device, rows), do: Enum.each(rows, &IO.puts(device, &1))

  def text(rows) do
    {:ok, device} = StringIO.open("")
    write(device, rows)
    {:ok, {_in, out}} = StringIO.close(device)
    out
  end

  def lines(text) do
    {:ok, device} = StringIO.open(text)
    device |> IO.stream(:line) |> Enum.map(&String.trim/1)
  end
end
#-- tests
defmodule ReportTest do
  use ExUnit.Case

  test "writes" do
    assert Report.text(["a", 1]) == "a\n1\n"
    assert Report.lines("a\nb\n") == ["a", "b"]
  end
end
#### versions, uris and paths
defmodule Names do
  def newer?(a, b), do: Version.compare(a, b) == :gt
  def fits?(v, requirement), do: Version.match?(v, requirement)
  def host(uri), do: URI.parse(uri).host
  def query(map), do: URI.encode_query(map)
  def base(path), do: path |> Path.basename() |> Path.rootname()
  def up(path), do: path |> Path.split() |> Enum.drop(-1) |> Path.join()
  def ip(text), do: :inet.parse_address(to_charlist(text))
  def elixir, do: System.version() |> Version.parse!()
end
#-- tests
defmodule NamesTest do
  use ExUnit.Case

  test "names" do
    assert Names.newer?("1.2.0", "1.1.9")
    assert Names.fits?("1.14.0", "~> 1.13")
    assert Names.host("https://a.b/c") == "a.b"
    assert Names.query(%{a: 1}) == "a=1"
    assert Names.base("/x/y.ex") == "y"
    assert Names.up("a/b/c") == "a/b"
    assert Names.ip("127.0.0.1") == {:ok, {127, 0, 0, 1}}
    assert Names.elixir().major == 1
  end
end
#### a test module that is a callback module
defmodule Runner do
  @callback handle(term) :: term
  def run(module, items), do: Enum.map(items, &module.handle/1)
  def each(module, items), do: for(item <- items, do: module.handle(item))
end
#-- tests
defmodule RunnerTest do
  use ExUnit.Case
  @behaviour Runner

  @impl Runner
  def handle(x), do: x + 1

  defmodule Fake do
    @behaviour Runner
    def handle(x), do: {:fake, x}
  end

  test "runs" do
    assert Runner.run(__MODULE__, [1]) == [2]
    assert Runner.each(Fake, [1]) == [fake: 1]
  end
end
#### optional pieces of the standard library
defmodule Pieces do
  require Integer
  require Logger

  def even?(x), do: Integer.is_even(x)
  def logged(x), do: Logger.info("got #{inspect(x)}", key: x)
  def meta, do: Logger.metadata(a: 1)
  def tuple, do: {1, 2} |> Tuple.insert_at(2, 3) |> Tuple.to_list()
  def zip, do: Enum.zip_with([[1, 2], [3, 4]], fn [a, b] -> a * b end)
  def scan(l), do: Enum.scan(l, &+/2)
  def split(l), do: Enum.split_with(l, &even?/1)
  def base(n), do: n |> Integer.to_string(36) |> String.downcase()
  def gcd(a, b), do: Integer.gcd(a, b)
  def float(x), do: x |> Float.ratio() |> elem(1)
  def chunk(l), do: Enum.chunk_while(l, [], fn x, acc -> if x == 0, do: {:cont, Enum.reverse(acc), []}, else: {:cont, [x | acc]} end, fn acc -> {:cont, Enum.reverse(acc), []} end)
  def dbg_free(x), do: x |> Function.identity() |> is_function()
  def info(fun), do: Function.info(fun, :arity)
end
#-- tests
defmodule PiecesTest do
  use ExUnit.Case
  import ExUnit.CaptureLog

  @tag capture_log: true
  test "pieces" do
    assert Pieces.even?(2)
    assert capture_log(fn -> Pieces.logged(1) end) =~ "got 1"
    assert Pieces.meta() == :ok
    assert Pieces.tuple() == [1, 2, 3]
    assert Pieces.zip() == [3, 8]
    assert Pieces.scan([1, 2, 3]) == [1, 3, 6]
    assert Pieces.split([1, 2]) == {[2], [1]}
    assert Pieces.base(35) == "z"
    assert Pieces.gcd(12, 18) == 6
    assert Pieces.float(0.5) == 2
    assert Pieces.chunk([1, 0, 2]) == [[1], [2]]
    refute Pieces.dbg_free(1)
    assert Pieces.info(fn a, b -> a + b end) == {:arity, 2}
  end
end
#### a protocol among the tests
defmodule Sizes do
  def total(items, protocol), do: items |> Enum.map(&protocol.size/1) |> Enum.sum()
end
#-- tests
defprotocol SizesTest.Size do
  def size(value)
end

defimpl SizesTest.Size, for: BitString do
  def size(text), do: byte_size(text)
end

defmodule SizesTest do
  use ExUnit.Case

  defprotocol Weight do
    @fallback_to_any true
    def size(value)
  end

  defimpl Weight, for: Any do
    def size(_), do: 1
  end

  defmodule Enum do
    def mine, do: :mine
  end

  test "any protocol" do
    assert Sizes.total(["a", "bc"], SizesTest.Size) == 3
    assert Sizes.total([1, 2], Weight) == 2
    assert Enum.mine() == :mine
  end
end
