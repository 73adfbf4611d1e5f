"""Supervisors and their children, processes by name or key, and processes that only send and receive."""

# ruff: noqa: E501, E731 -- Elixir and sentences are kept on one line each; small functions of a table have no name

from __future__ import annotations

import random

from elixir_coder.data.synthesis.choices import Axis, Choices, Fault, Program, Way, draw, style, wanted
from elixir_coder.data.synthesis.domains import CONTEXTS, draw_entity
from elixir_coder.data.synthesis.draft import Draft, Family
from elixir_coder.data.synthesis.writing import check, exunit, fill, literal, module


def supervisor(rng: random.Random) -> Draft:
    """Agents under a supervisor, and which of them begin anew when one dies."""
    context = rng.choice(CONTEXTS)
    name = f"{context}.{rng.choice(['Supervisor', 'Workers', 'Tree', 'Services'])}"
    parts = rng.sample(["cache", "stats", "queue", "clock", "log", "index", "session", "mailer"], rng.randint(2, 4))
    starts = {part: rng.randint(0, 9) for part in parts}
    victim = rng.randrange(len(parts))

    def build(c: Choices) -> Program:
        strategy, how, restart = c["strategy"], c["children"], c["restart"]
        limits = f", max_restarts: {c['limit']}, max_seconds: 5" if c["limit"] else ""
        if how == "list":
            children = "[\n" + ",\n".join(f"      child(:{p}, {starts[p]})" for p in parts) + "\n    ]"
        else:
            children = (
                "for {name, value} <- [" + ", ".join(f"{p}: {starts[p]}" for p in parts) + "], do: child(name, value)"
            )
        option = f", restart: :{restart}" if restart != "permanent" else ""
        start = "{Agent, :start_link, [fn -> value end, [name: via(name)]]}"
        parts_code = [
            "use Supervisor",
            '@doc "Starts the supervisor and its children."\n@spec start_link(keyword()) :: Supervisor.on_start()\ndef start_link(options \\\\ []), do: Supervisor.start_link(__MODULE__, :ok, options)',
            '@doc "The value of a child."\n@spec get(atom()) :: integer()\ndef get(name), do: Agent.get(via(name), & &1)',
            '@doc "Changes the value of a child."\n@spec put(atom(), integer()) :: :ok\ndef put(name, value), do: Agent.update(via(name), fn _old -> value end)',
            '@doc "The names of the children, in the order of their start."\n@spec names() :: [atom()]\ndef names, do: ['
            + ", ".join(":" + p for p in parts)
            + "]"
            if c["names"]
            else "",
            fill(
                "@impl true\ndef init(:ok) do\n  children = $children\n\n  Supervisor.init(children, strategy: :$strategy$limits)\nend",
                children=children.replace("\n    ", "\n"),
                strategy=strategy,
                limits=limits,
            ),
            f"defp child(name, value) do\n  %{{id: name{option}, start: {start}}}\nend",
            "defp via(name), do: Module.concat(__MODULE__, name)",
        ]
        doomed = parts[victim]
        same = (
            {"one_for_one": "rest_for_one"}
            if victim == len(parts) - 1
            else {"one_for_all": "rest_for_one"}
            if victim == 0
            else {}
        )
        other = next(each for each in ("one_for_all", "one_for_one") if each != strategy and same.get(each) != strategy)
        changed = "\n".join(f"{name}.put(:{p}, 50)" for p in parts)
        after = {"one_for_one": {doomed}, "one_for_all": set(parts), "rest_for_one": set(parts[victim:])}[strategy]
        kill = f"pid = Process.whereis(Module.concat({name}, :{doomed}))\nreference = Process.monitor(pid)\nProcess.exit(pid, :kill)\nassert_receive {{:DOWN, ^reference, :process, ^pid, :killed}}"
        settle = f"wait_until(fn -> Supervisor.count_children(supervisor).active == {len(parts)} and is_pid(Process.whereis(Module.concat({name}, :{doomed}))) end)"
        helper = "defp wait_until(condition, tries \\\\ 100) do\n  if tries > 0 and not condition.() do\n    Process.sleep(2)\n    wait_until(condition, tries - 1)\n  end\nend"
        gone = restart == "temporary"
        lines = (
            "\n".join(f"assert {name}.get(:{p}) == {starts[p] if p in after else 50}" for p in parts)
            if not gone
            else "\n".join(f"assert {name}.get(:{p}) == 50" for p in parts if p not in {doomed})
            + f"\nassert Process.whereis(Module.concat({name}, :{doomed})) == nil"
        )
        waiting = "Process.sleep(10)" if gone else settle
        tests = exunit(
            name,
            check(
                "starts the children",
                f"start_supervised!({name})\n\n" + "\n".join(f"assert {name}.get(:{p}) == {starts[p]}" for p in parts),
            ),
            check(
                "keeps values",
                f"start_supervised!({name})\n\nassert {name}.put(:{parts[0]}, 77) == :ok\nassert {name}.get(:{parts[0]}) == 77",
            ),
            check(
                "when one dies",
                f"supervisor = start_supervised!({name})\n\n{changed}\n\n{kill}\n{waiting}\n\n{lines}\nassert Process.alive?(supervisor)",
            ),
            check("names", f"assert {name}.names() == [{', '.join(':' + p for p in parts)}]") if c["names"] else "",
            "" if gone else helper,
            is_async=False,
            capture_log=True,
        )
        return Program(
            code=module(name, "Supervises agents that each hold a number.", *parts_code),
            tests=tests,
            explanation="Each child has a specification with its own id and start; the strategy says which others are started anew together with one that died. A new process begins with the value of its specification.",
            faults=(
                Fault(
                    f"strategy: :{strategy}",
                    f"strategy: :{other}",
                    "wrong_strategy",
                    "The wrong children are started anew when one dies.",
                ),
                Fault(
                    f":{parts[0]}, {starts[parts[0]]}",
                    f":{parts[0]}, {starts[parts[0]] + 1}",
                    "wrong_constant",
                    f"`{parts[0]}` begins with the wrong value.",
                ),
                Fault(
                    f"{parts[0]}: {starts[parts[0]]}",
                    f"{parts[0]}: {starts[parts[0]] + 1}",
                    "wrong_constant",
                    f"`{parts[0]}` begins with the wrong value.",
                ),
                Fault(
                    "%{id: name",
                    "%{id: :child",
                    "duplicate_id",
                    "All children have the same id, which a supervisor refuses.",
                ),
            ),
        )

    listing = ", ".join(f"`:{p}` ({starts[p]})" for p in parts)
    strategies = {
        "one_for_one": Way(ask="When one dies only that one is started anew.", answer="Only the one that died."),
        "one_for_all": Way(
            ask="When one dies all of them are started anew.",
            answer="All of them.",
            request="When one of them dies, start all of them anew.",
        ),
        "rest_for_one": Way(
            ask="When one dies, it and those started after it are started anew.",
            answer="It and those that were started after it.",
            request="When one dies, start it and those after it anew.",
        ),
    }
    if victim == 0:
        strategies.pop("rest_for_one")
    if victim == len(parts) - 1 and "rest_for_one" in strategies:
        strategies.pop("one_for_one")
    return draw(
        rng,
        family="process_supervisor",
        name=f"{name}.start_link/1",
        module=name,
        titles=(
            f"a supervisor of {len(parts)} agents, each holding a number: {listing}",
            f"a supervisor whose children are agents named {listing}, with their first values in brackets",
        ),
        axes={
            "base": Axis(
                ways={"it": Way(ask="`get(name)` and `put(name, value)` read and write the value of a child.")}
            ),
            "strategy": Axis(
                ways=strategies, question="When one of the children dies, which of them should be started anew?"
            ),
            "restart": Axis(ways={"permanent": Way()}),
            "limit": Axis(
                ways={
                    None: Way(),
                    10: Way(ask="It allows 10 restarts in 5 seconds.", request="Allow 10 restarts in 5 seconds."),
                }
            ),
            "names": wanted("`names/0` lists the names.", "Add `names/0`, which lists the names."),
            "children": style("list", "for"),
        },
        build=build,
        operations=("supervisor", "agent"),
        difficulty=3,
    )


def by_key(rng: random.Random) -> Draft:
    """One process for each key, started when it is wanted."""
    e = draw_entity(rng)
    name = f"{rng.choice(CONTEXTS)}.{rng.choice([e.plural_module, e.module + 'Sessions', e.module + 'Servers'])}"
    one, two = (literal(each) for each in e.label.draw_many(rng, 2))
    start = rng.randint(0, 9)
    by = rng.randint(1, 5)
    act, read = rng.choice([("bump", "value"), ("add", "total"), ("hit", "hits"), ("visit", "visits")])

    def build(c: Choices) -> Program:
        missing, stop, count, kind = c["missing"], c["stop"], c["count"], c["worker"]
        registry, supervisor_ = "Module.concat(__MODULE__, Registry)", "Module.concat(__MODULE__, Workers)"
        ensure = fill(
            """
            defp ensure(key) do
              spec = {$worker, $argument}

              case DynamicSupervisor.start_child($supervisor, spec) do
                {:ok, pid} -> pid
                {:error, {:already_started, pid}} -> pid
              end
            end
            """,
            supervisor="workers()",
            worker="Agent" if kind == "agent" else "__MODULE__.Worker",
            argument=f"fn -> {start} end" if kind == "agent" else "name(key)",
        )
        if kind == "agent":
            ensure = ensure.replace(
                f"{{Agent, fn -> {start} end}}",
                f"%{{id: key, start: {{Agent, :start_link, [fn -> {start} end, [name: name(key)]]}}}}",
            )
            change, get = f"Agent.get_and_update(pid, &{{&1 + {by}, &1 + {by}}})", "Agent.get(pid, & &1)"
        else:
            change, get = "GenServer.call(pid, :change)", "GenServer.call(pid, :read)"
        worker = (
            fill(
                """
            defmodule $name.Worker do
              @moduledoc "The number of one key."

              use GenServer

              @doc "Starts one under a name."
              @spec start_link(GenServer.name()) :: GenServer.on_start()
              def start_link(name), do: GenServer.start_link(__MODULE__, :ok, name: name)

              @impl true
              def init(:ok), do: {:ok, $start}

              @impl true
              def handle_call(:change, _from, number), do: {:reply, number + $by, number + $by}
              def handle_call(:read, _from, number), do: {:reply, number, number}
            end
            """,
                name=name,
                start=start,
                by=by,
            )
            + "\n\n"
            if kind == "genserver"
            else ""
        )
        none = {"nil": "nil", "error": "{:error, :not_found}", "start": None}[missing]
        found = {"nil": get, "error": f"{{:ok, {get}}}"}.get(missing, get)
        reading = (
            f"def {read}(key) do\n  pid = ensure(key)\n  {get}\nend"
            if none is None
            else f"def {read}(key) do\n  case Registry.lookup(registry(), key) do\n    [{{pid, _value}}] -> {found}\n    [] -> {none}\n  end\nend"
        )
        code = worker + module(
            name,
            f"A process for each {e.singular}, started when it is first wanted.",
            "use Supervisor",
            '@doc "Starts the registry and the supervisor of the processes."\n@spec start_link(term()) :: Supervisor.on_start()\ndef start_link(_argument \\\\ []), do: Supervisor.start_link(__MODULE__, :ok, name: __MODULE__)',
            f'@doc "Adds {by} to the number of a key and answers it."\n@spec {act}(term()) :: integer()\ndef {act}(key) do\n  pid = ensure(key)\n  {change}\nend',
            f'@doc "The number of a key."\n@spec {read}(term()) :: term()\n{reading}',
            '@doc "Ends the process of a key."\n@spec stop(term()) :: :ok\ndef stop(key) do\n  for {pid, _value} <- Registry.lookup(registry(), key), do: DynamicSupervisor.terminate_child(workers(), pid)\n  :ok\nend'
            if stop
            else "",
            '@doc "How many processes there are."\n@spec count() :: non_neg_integer()\ndef count, do: DynamicSupervisor.count_children(workers()).active'
            if count
            else "",
            "@impl true\ndef init(:ok) do\n  children = [\n    {Registry, keys: :unique, name: registry()},\n    {DynamicSupervisor, name: workers(), strategy: :one_for_one}\n  ]\n\n  Supervisor.init(children, strategy: :one_for_all)\nend",
            ensure,
            f"defp name(key), do: {{:via, Registry, {{registry(), key}}}}\ndefp registry, do: {registry}\ndefp workers, do: {supervisor_}",
        )
        wrap = lambda v: f"{{:ok, {v}}}" if missing == "error" else str(v)
        go = f"start_supervised!({name})\n\n"
        tests = exunit(
            name,
            check(
                "counts for a key",
                go
                + f"assert {name}.{act}({one}) == {start + by}\nassert {name}.{act}({one}) == {start + 2 * by}\nassert {name}.{read}({one}) == {wrap(start + 2 * by)}",
            ),
            check(
                "keeps keys apart",
                go
                + f"{name}.{act}({one})\nassert {name}.{act}({two}) == {start + by}\nassert {name}.{read}({one}) == {wrap(start + by)}",
            ),
            check("a key nobody used", go + f"assert {name}.{read}({two}) == {start if none is None else none}"),
            check(
                "begins anew after stop/1",
                go
                + f"{name}.{act}({one})\nassert {name}.stop({one}) == :ok\nassert {name}.stop({two}) == :ok\nProcess.sleep(5)\nassert {name}.{act}({one}) == {start + by}",
            )
            if stop
            else "",
            check(
                "count/0",
                go
                + f"assert {name}.count() == 0\n{name}.{act}({one})\n{name}.{act}({two})\n{name}.{act}({one})\nassert {name}.count() == 2",
            )
            if count
            else "",
            is_async=False,
        )
        return Program(
            code=code,
            tests=tests,
            explanation="A unique `Registry` maps keys to processes; starting a child under its name in the registry either makes a new one or reports the one that is there, so two callers cannot start two.",
            faults=(
                Fault(
                    f"&1 + {by}}})",
                    f"&1 + {by + 1}}})",
                    "wrong_constant",
                    "The kept number differs from the one that is answered.",
                ),
                Fault(
                    f"number + {by}, number + {by}}}",
                    f"number + {by}, number}}",
                    "state_not_updated",
                    "The new number is answered but not kept.",
                ),
                Fault(
                    "{:error, {:already_started, pid}} -> pid\n",
                    "",
                    "missing_clause",
                    "The second use of a key finds the process started already, and no clause matches that.",
                ),
                Fault(
                    f"[fn -> {start} end,",
                    f"[fn -> {start + 1} end,",
                    "wrong_constant",
                    "It begins with the wrong number.",
                ),
                Fault(
                    f"{{:ok, {start}}}", f"{{:ok, {start + 1}}}", "wrong_constant", "It begins with the wrong number."
                ),
            ),
        )

    return draw(
        rng,
        family="process_by_key",
        name=f"{name}.{act}/1",
        module=name,
        titles=(
            f"a module that runs one process for each {e.singular} (by its {e.label.name}) with `Registry` and `DynamicSupervisor`",
            "a supervised set of processes, one for each key, found through a `Registry`",
        ),
        axes={
            "base": Axis(
                ways={
                    "it": Way(
                        ask=f"`start_link/1` starts everything. `{act}(key)` starts the key's process if need be, adds {by} to its number, which begins at {start}, and answers it."
                    )
                }
            ),
            "missing": Axis(
                ways={
                    "start": Way(
                        ask=f"`{read}(key)` answers the number and starts the process if need be.",
                        answer=f"Start it, so it answers {start}.",
                    ),
                    "nil": Way(
                        ask=f"`{read}(key)` answers the number, or nil if there is no process for the key.",
                        answer="nil, and start nothing.",
                    ),
                    "error": Way(
                        ask=f"`{read}(key)` answers `{{:ok, number}}`, or `{{:error, :not_found}}` if there is no process for the key.",
                        answer="`{:error, :not_found}`, and `{:ok, number}` otherwise.",
                        request=f"Let `{read}/1` answer `{{:ok, number}}` or `{{:error, :not_found}}`, and start nothing.",
                    ),
                },
                question=f"What should `{read}/1` do for a key that has no process yet?",
            ),
            "stop": wanted(
                "`stop/1` ends the process of a key; the next use begins anew.",
                "Add `stop/1`, which ends the process of a key.",
            ),
            "count": wanted(
                "`count/0` tells how many processes there are.", "Add `count/0` for the number of processes."
            ),
            "worker": style("agent", "genserver"),
        },
        build=build,
        operations=("registry", "dynamic_supervisor"),
        difficulty=4,
    )


def mailbox(rng: random.Random) -> Draft:
    """Plain processes: `spawn_link`, `send` and `receive`."""
    e = draw_entity(rng)
    name = f"{rng.choice(CONTEXTS)}.{rng.choice(['Counter', 'Echo', 'Worker', 'Accumulator', e.module + 'Process'])}"
    start, by = rng.randint(1, 9), rng.randint(2, 6)
    op, sign = rng.choice([("add", "+"), ("multiply", "*"), ("subtract", "-")])
    timeout = rng.choice([100, 500, 1_000])
    n = rng.randint(2, 9)
    result = {"add": start + n, "multiply": start * n, "subtract": start - n}[op]
    again = {"add": result + by, "multiply": result * by, "subtract": result - by}[op]

    def build(c: Choices) -> Program:
        sync, failed, history, stop = c["write"] == "call", c["timeout"], c["history"], c["stop"]
        state = "{number, log}" if history else "number"
        next_ = f"number {sign} by"
        kept = f"{{{next_}, [by | log]}}" if history else next_
        answer = "      send(from, {reference, :ok})\n" if sync else ""
        tag = "{:change, by, from, reference}" if sync else "{:change, by}"
        clauses = [
            f"{tag} ->\n{answer}      loop({kept})",
            "{:read, from, reference} ->\n      send(from, {reference, number})\n      loop(" + state + ")",
        ]
        if history:
            clauses.append(
                "{:history, from, reference} ->\n      send(from, {reference, log})\n      loop({number, log})"
            )
        if stop:
            clauses.append(":stop ->\n      :ok")
        loop = (
            f"defp loop({'{number, log}' if history else 'number'}) do\n  receive do\n    "
            + "\n\n    ".join(clauses)
            + "\n  end\nend"
        )
        late = {"error": "{:error, :timeout}", "exit": "exit(:timeout)"}[failed]
        value = "{:ok, answer}" if failed == "error" else "answer"
        if c["monitor"]:
            ask = fill(
                """
                defp ask(pid, message) do
                  reference = Process.monitor(pid)
                  send(pid, message.(self(), reference))

                  receive do
                    {^reference, answer} ->
                      Process.demonitor(reference, [:flush])
                      $value

                    {:DOWN, ^reference, :process, _pid, _reason} ->
                      $late
                  after
                    $timeout -> $late
                  end
                end
                """,
                value=value,
                late=late,
                timeout=timeout,
            )
        else:
            ask = fill(
                """
                defp ask(pid, message) do
                  reference = make_ref()
                  send(pid, message.(self(), reference))

                  receive do
                    {^reference, answer} -> $value
                  after
                    $timeout -> $late
                  end
                end
                """,
                value=value,
                late=late,
                timeout=timeout,
            )
        ok = "{:ok, :ok}" if failed == "error" and sync else ":ok"
        change = (
            f"def {op}(pid, by), do: ask(pid, &{{:change, by, &1, &2}})"
            if sync
            else f"def {op}(pid, by) do\n  send(pid, {{:change, by}})\n  :ok\nend"
        )
        begin = f"{{{start}, []}}" if history else str(start)
        parts = [
            f'@doc "Starts the process; it is linked to the caller."\n@spec start_link() :: pid()\ndef start_link, do: spawn_link(fn -> loop({begin}) end)',
            f'@doc "Changes the number."\n@spec {op}(pid(), integer()) :: term()\n{change}',
            '@doc "The number."\n@spec value(pid()) :: term()\ndef value(pid), do: ask(pid, &{:read, &1, &2})',
            '@doc "What the number was changed by, the latest first."\n@spec history(pid()) :: term()\ndef history(pid), do: ask(pid, &{:history, &1, &2})'
            if history
            else "",
            '@doc "Ends the process."\n@spec stop(pid()) :: :ok\ndef stop(pid) do\n  send(pid, :stop)\n  :ok\nend'
            if stop
            else "",
            ask,
            loop,
        ]
        w = lambda v: f"{{:ok, {v}}}" if failed == "error" else str(v)
        dead = "pid = spawn(fn -> Process.sleep(:infinity) end)" if not c["monitor"] else "pid = spawn(fn -> :ok end)"
        tests = exunit(
            name,
            check(
                "changes the number",
                f"pid = {name}.start_link()\n\nassert {name}.value(pid) == {w(start)}\nassert {name}.{op}(pid, {n}) == {ok}\nassert {name}.value(pid) == {w(result)}\nassert {name}.{op}(pid, {by}) == {ok}\nassert {name}.value(pid) == {w(again)}",
            ),
            check(
                "nobody answers",
                dead
                + "\n"
                + (
                    f"assert {name}.value(pid) == {{:error, :timeout}}"
                    if failed == "error"
                    else f"assert catch_exit({name}.value(pid)) == :timeout"
                ),
            ),
            check(
                "leaves other messages alone",
                f"send(self(), :other)\npid = {name}.start_link()\nassert {name}.value(pid) == {w(start)}\nassert_received :other",
            ),
            check(
                "history",
                f"pid = {name}.start_link()\n{name}.{op}(pid, {n})\n{name}.{op}(pid, {by})\nassert {name}.history(pid) == {w(literal([by, n]))}",
            )
            if history
            else "",
            check(
                "stop",
                f"pid = {name}.start_link()\nreference = Process.monitor(pid)\nassert {name}.stop(pid) == :ok\nassert_receive {{:DOWN, ^reference, :process, ^pid, :normal}}",
            )
            if stop
            else "",
        )
        return Program(
            code=module(name, "A process that keeps a number, without OTP behaviours.", *parts),
            tests=tests,
            explanation="The loop is a recursive function whose argument is the state. A reference in each request tells its answer from all other messages in the mailbox.",
            faults=(
                Fault(f"loop({kept})", f"loop({state})", "state_not_updated", "The loop goes on with the old number."),
                Fault(
                    "{^reference, answer} ->",
                    "answer ->",
                    "wrong_pattern",
                    "Any message at all is taken for the answer.",
                ),
                Fault(
                    "send(from, {reference, number})\n        loop(" + state + ")",
                    "send(from, {reference, number})",
                    "missing_recursion",
                    "After one question the process ends.",
                ),
            ),
        )

    return draw(
        rng,
        family="process_receive",
        name=f"{name}.value/1",
        module=name,
        titles=(
            f"a process with `spawn_link` and `receive`, without GenServer, that keeps a number (at first {start}) and can {op} to it",
            f"a plain process (`spawn_link`, `send`, `receive`) with the functions `start_link/0`, which gives its pid, `{op}/2` and `value/1`; the number begins at {start}",
        ),
        axes={
            "write": Axis(
                ways={
                    "cast": Way(ask=f"`{op}/2` only sends a message and answers `:ok`."),
                    "call": Way(
                        ask=f"`{op}/2` waits for the process, which answers `:ok`.",
                        request=f"Let `{op}/2` wait until the process has done it.",
                    ),
                }
            ),
            "timeout": Axis(
                ways={
                    "error": Way(
                        ask=f"Whoever asks waits at most {timeout} ms for an answer: `{{:ok, answer}}` or `{{:error, :timeout}}`.",
                        answer="`{:error, :timeout}`, and `{:ok, answer}` otherwise.",
                        request="Answer `{:ok, answer}` or `{:error, :timeout}` instead of exiting.",
                    ),
                    "exit": Way(
                        ask=f"Whoever asks waits at most {timeout} ms for an answer and then exits with `:timeout`.",
                        answer="Exit with `:timeout`.",
                    ),
                },
                question=f"What should happen to a caller that gets no answer within {timeout} ms?",
            ),
            "monitor": wanted(
                "A caller notices at once, by a monitor, when the process is gone, and does the same as for a late answer.",
                "Use a monitor, so that a caller notices at once when the process is gone; treat it like a late answer.",
            ),
            "history": wanted(
                "`history/1` lists what it was changed by, the latest first.",
                "Add `history/1`, which lists what it was changed by, the latest first.",
            ),
            "stop": wanted("`stop/1` ends it normally.", "Add `stop/1`, which ends it normally."),
        },
        build=build,
        operations=("spawn_link", "receive", "send"),
        difficulty=3,
    )


FAMILIES: dict[str, Family] = {
    "process_by_key": by_key,
    "process_receive": mailbox,
    "process_supervisor": supervisor,
}
