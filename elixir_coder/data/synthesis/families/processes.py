"""Processes: servers that keep time, tell others, supervise and are supervised; tasks, monitors, links and registries.

Tests never sleep for long: time passes in messages that they send, or in timers of a few milliseconds.
"""

# ruff: noqa: E501, E731 -- Elixir and sentences are kept on one line each; small functions of a table have no name

from __future__ import annotations

import random
from typing import Any

from elixir_coder.data.synthesis.choices import Axis, Choices, Fault, Program, Way, draw, style, wanted
from elixir_coder.data.synthesis.domains import CONTEXTS, KEYS, NOUNS, camel, draw_entity
from elixir_coder.data.synthesis.draft import Draft, Family
from elixir_coder.data.synthesis.writing import check, exunit, fill, literal, module


def _context(rng: random.Random, name: str) -> str:
    return f"{rng.choice(CONTEXTS)}.{name}" if rng.random() < 0.6 else name


def _test(title: str, *lines: str, **parts: Any) -> str:
    return check(title, "\n".join(line for line in lines if line), **parts)


def ttl_cache(rng: random.Random) -> Draft:
    """A cache whose entries grow old."""
    e = draw_entity(rng)
    name = _context(rng, rng.choice([f"{e.module}Cache", f"{e.plural_module}Cache", f"{e.module}Memory"]))
    label, other = (literal(each) for each in e.label.draw_many(rng, 2))
    value, second = (str(each) for each in e.amount.draw_many(rng, 2))
    key = e.label.name
    ttl = rng.choice([500, 1_000, 5_000, 30_000])

    def build(c: Choices) -> Program:
        clock, slides, sweeps, limit = c["clock"], c["refresh"], c["sweep"], c["stats"]
        now = "state.clock.()" if clock else "System.monotonic_time(:millisecond)"
        missing = "{:error, :not_found}" if c["missing"] == "tuple" else "nil"
        hit = "{:ok, value}" if c["missing"] == "tuple" else "value"
        renewed = "%{state | entries: Map.put(state.entries, $key, {value, now + state.ttl})}" if slides else "state"
        if limit:
            renewed = (
                renewed.replace("%{state |", "%{state | hits: state.hits + 1,")
                if slides
                else "%{state | hits: state.hits + 1}"
            )
        missed = "%{state | misses: state.misses + 1}" if limit else "state"
        renewed = renewed.replace("$key", key)
        fields = [
            "entries: %{}",
            "ttl: Keyword.get(options, :ttl, $ttl)".replace("$ttl", literal(ttl).replace("_", "_")),
        ]
        if clock:
            fields.append("clock: Keyword.get(options, :clock, fn -> System.monotonic_time(:millisecond) end)")
        if limit:
            fields += ["hits: 0", "misses: 0"]
        state = "%{\n  " + ",\n  ".join(fields) + "\n}"
        parts = [
            "use GenServer",
            fill(
                '''
                @doc """
                Starts a cache.

                Options: `:ttl`, the milliseconds an entry lives ($ttl by default)$clock, and those of `GenServer`.
                """
                @spec start_link(keyword()) :: GenServer.on_start()
                def start_link(options \\\\ []) do
                  {server, options} = Keyword.split(options, [:name])
                  GenServer.start_link(__MODULE__, options, server)
                end
                ''',
                ttl=ttl,
                clock=", `:clock`, a function that gives the time in milliseconds" if clock else "",
            ),
            f'@doc "Keeps a value for a while."\n@spec put(GenServer.server(), {e.label.type}, term()) :: :ok\n'
            f"def put(server, {key}, value), do: GenServer.call(server, {{:put, {key}, value}})",
            f'@doc "Looks a value up that is still fresh."\n@spec get(GenServer.server(), {e.label.type}) :: term()\n'
            f"def get(server, {key}), do: GenServer.call(server, {{:get, {key}}})",
            '@doc "How many entries are kept, fresh or not."\n@spec size(GenServer.server()) :: non_neg_integer()\n'
            "def size(server), do: GenServer.call(server, :size)"
            if sweeps
            else "",
            '@doc "Hits and misses so far."\n@spec stats(GenServer.server()) :: {non_neg_integer(), non_neg_integer()}\n'
            "def stats(server), do: GenServer.call(server, :stats)"
            if limit
            else "",
            fill("@impl true\ndef init(options) do\n  {:ok,\n   $state}\nend", state=state),
            fill(
                """
                @impl true
                def handle_call({:put, $key, value}, _from, state) do
                  entries = Map.put(state.entries, $key, {value, $now + state.ttl})
                  {:reply, :ok, %{state | entries: entries}}
                end

                def handle_call({:get, $key}, _from, state) do
                  now = $now

                  case state.entries do
                    %{^$key => {value, until}} when now < until -> {:reply, $hit, $renewed}
                    %{} -> {:reply, $missing, $missed}
                  end
                end

                $more
                """,
                key=key,
                now=now,
                hit=hit,
                renewed=renewed,
                missing=missing,
                missed=missed,
                more="\n\n".join(
                    filter(
                        None,
                        [
                            "def handle_call(:size, _from, state), do: {:reply, map_size(state.entries), state}"
                            if sweeps
                            else "",
                            "def handle_call(:stats, _from, state), do: {:reply, {state.hits, state.misses}, state}"
                            if limit
                            else "",
                        ],
                    )
                ),
            ),
            fill(
                """
                @impl true
                def handle_info(:sweep, state) do
                  now = $now
                  fresh = Map.filter(state.entries, fn {_key, {_value, until}} -> now < until end)
                  {:noreply, %{state | entries: fresh}}
                end
                """,
                now=now,
            )
            if sweeps
            else "",
        ]
        if clock:
            setup = fill(
                "defp start(ttl) do\n  {:ok, time} = Agent.start_link(fn -> 0 end)\n"
                "  server = start_supervised!({$name, ttl: ttl, clock: fn -> Agent.get(time, & &1) end})\n"
                "  {server, fn ms -> Agent.update(time, &(&1 + ms)) end}\nend",
                name=name,
            )
            begin, span = "{server, wait} = start(100)", 100
            pass_ = lambda ms: f"wait.({ms})"
        else:
            setup, begin, span = "", f"server = start_supervised!({{{name}, ttl: 40}})", 40
            pass_ = lambda ms: f"Process.sleep({ms})"
        got = lambda text: f"{{:ok, {text}}}" if c["missing"] == "tuple" else text
        half, most = span * 6 // 10, span + 5
        tests = exunit(
            name,
            _test(
                "gives what is fresh",
                begin.replace("{server, wait}", "{server, _wait}") if clock else begin,
                f"assert {name}.put(server, {label}, {value}) == :ok",
                f"assert {name}.get(server, {label}) == {got(value)}",
                f"assert {name}.get(server, {other}) == {missing}",
                f"assert {name}.put(server, {label}, {second}) == :ok",
                f"assert {name}.get(server, {label}) == {got(second)}",
                f"assert {name}.stats(server) == {{2, 1}}" if limit else "",
            ),
            _test(
                "forgets what is old",
                begin,
                f"{name}.put(server, {label}, {value})",
                pass_(most),
                f"assert {name}.get(server, {label}) == {missing}",
            ),
            _test(
                "counts the time from the last use" if slides else "counts the time from the last write",
                begin,
                f"{name}.put(server, {label}, {value})",
                pass_(half),
                f"assert {name}.get(server, {label}) == {got(value)}",
                pass_(half),
                f"assert {name}.get(server, {label}) == {got(value) if slides else missing}",
            ),
            _test(
                "sweeps",
                begin,
                f"{name}.put(server, {label}, {value})",
                pass_(most),
                f"{name}.put(server, {other}, {second})",
                f"assert {name}.size(server) == 2",
                "send(server, :sweep)",
                f"assert {name}.size(server) == 1",
                f"assert {name}.get(server, {other}) == {got(second)}",
            )
            if sweeps
            else "",
            setup,
        )
        return Program(
            code=module(name, f"A cache of {e.plural} in a GenServer, whose entries live for a while.", *parts),
            tests=tests,
            explanation="Each entry is kept with the time until which it is fresh, in monotonic milliseconds, so a change of "
            "the wall clock cannot revive it. A lookup compares; "
            + (
                "the message `:sweep` removes what is old."
                if sweeps
                else "old entries stay until they are overwritten."
            ),
            faults=(
                Fault(
                    "when now < until",
                    "when now > until",
                    "inverted_condition",
                    "The comparison is the wrong way round, so only stale entries are found.",
                ),
                Fault(
                    f"{now} + state.ttl}}",
                    f"{now}}}",
                    "missing_term",
                    "The entry's time to live is never added, so it is stale at once.",
                ),
                Fault(
                    "{:reply, :ok, %{state | entries: entries}}",
                    "{:reply, :ok, state}",
                    "state_not_updated",
                    "`put` answers :ok but drops the new entries.",
                ),
                Fault(
                    "{:noreply, %{state | entries: fresh}}",
                    "{:noreply, state}",
                    "state_not_updated",
                    "The sweep works out what is fresh and throws it away.",
                ),
            ),
            signatures=["start_link(keyword())", f"put(server, {key}, value) :: :ok", f"get(server, {key})"],
        )

    return draw(
        rng,
        family="process_ttl_cache",
        name=f"{name}.get/2",
        module=name,
        titles=(
            f"a GenServer that caches {e.plural} by {key} for a while",
            f"a cache for {e.plural} with a time to live, as a GenServer",
            f"a GenServer in which values expire (option `:ttl` in milliseconds, {ttl} by default)",
        ),
        axes={
            "missing": Axis(
                ways={
                    "nil": Way(
                        ask="`put/3` stores, `get/2` answers the value, or nil when it is missing or expired.",
                        answer="nil, and the bare value otherwise.",
                    ),
                    "tuple": Way(
                        ask="`put/3` stores, `get/2` answers `{:ok, value}`, or `{:error, :not_found}` when it is missing or expired.",
                        answer="`{:error, :not_found}`, and `{:ok, value}` otherwise.",
                        request="Answer `{:ok, value}` or `{:error, :not_found}` from `get/2`.",
                    ),
                },
                question="What should `get/2` return for a key that is missing or expired?",
            ),
            "refresh": Axis(
                ways={
                    False: Way(
                        ask="An entry expires a fixed time after it was written.",
                        answer="From the write; reading does not prolong it.",
                    ),
                    True: Way(
                        ask="Reading an entry renews it.",
                        answer="From the last use; reading renews it.",
                        request="Let a read renew the entry's time.",
                    ),
                },
                question="Does the time to live count from the write, or does reading an entry renew it?",
            ),
            "clock": Axis(
                ways={
                    False: Way(),
                    True: Way(
                        ask="For tests, the option `:clock` is a function that gives the time in milliseconds.",
                        request="Make the clock configurable with an option `:clock`, a function that gives milliseconds, so that tests need not sleep.",
                    ),
                }
            ),
            "sweep": wanted(
                "The message `:sweep` removes what has expired, and `size/1` tells how many entries are kept.",
                "Remove expired entries when the server gets the message `:sweep`, and add `size/1`.",
            ),
            "stats": wanted(
                "`stats/1` answers `{hits, misses}`.",
                "Count hits and misses, and add `stats/1` that answers `{hits, misses}`.",
            ),
        },
        build=build,
        operations=("genserver", "handle_call", "map", "time"),
        difficulty=3,
    )


def rate_limiter(rng: random.Random) -> Draft:
    noun = rng.choice(NOUNS)
    limit = rng.randint(2, 4)
    name = _context(rng, rng.choice([f"{camel(noun)}Limiter", "RateLimiter", f"{camel(noun)}Gate", "Throttle"]))
    call = rng.choice(["allow?", "hit", "check", "acquire"])
    first, second = (f":{each}" for each in rng.sample(KEYS, 2))

    def build(c: Choices) -> Program:
        per_key, result, refill = c["scope"] == "key", c["result"], c["refill"]
        if call.endswith("?") or result == "boolean":
            yes, no, spec = "true", "false", "boolean()"
        elif result == "tuple":
            yes, no, spec = (
                "{:ok, $left}",
                "{:error, :rate_limited}",
                "{:ok, non_neg_integer()} | {:error, :rate_limited}",
            )
        else:
            yes, no, spec = ":ok", "{:error, :rate_limited}", ":ok | {:error, :rate_limited}"
        used = "Map.get(state.used, key, 0)" if per_key else "state.used"
        put = "%{state | used: Map.put(state.used, key, used + 1)}" if per_key else "%{state | used: used + 1}"
        empty = "%{}" if per_key else "0"
        arguments = "server, key" if per_key else "server"
        message = "{:take, key}" if per_key else ":take"
        returned = yes.replace("$left", "state.limit - used - 1")
        if refill == "one":
            fewer = (
                "Map.new(state.used, fn {key, used} -> {key, max(used - 1, 0)} end)"
                if per_key
                else "max(state.used - 1, 0)"
            )
        else:
            fewer = empty
        timer = c["timer"]
        code = module(
            name,
            f"Lets at most #{{limit}} {noun}s through in a period{', for each key' if per_key else ''}.".replace(
                "#{limit}", "a number of"
            ),
            "use GenServer",
            fill(
                """
                @doc "Starts a limiter. Options: `:limit` ($limit by default)$period."
                @spec start_link(keyword()) :: GenServer.on_start()
                def start_link(options \\\\ []), do: GenServer.start_link(__MODULE__, options)
                """,
                limit=limit,
                period=" and `:period` in milliseconds" if timer else "",
            ),
            f'@doc "Whether one more {noun} may pass; if so, it counts."\n'
            f"@spec {call}(GenServer.server(){', term()' if per_key else ''}) :: {spec}\n"
            f"def {call}({arguments}), do: GenServer.call(server, {message})",
            fill(
                """
                @impl true
                def init(options) do
                  $timer
                  {:ok, %{limit: Keyword.get(options, :limit, $limit), used: $empty$field}}
                end
                """,
                limit=limit,
                empty=empty,
                field=", period: period" if timer else "",
                timer="period = Keyword.get(options, :period, 1_000)\nProcess.send_after(self(), :refill, period)"
                if timer
                else "",
            ),
            fill(
                """
                @impl true
                def handle_call($message, _from, state) do
                  used = $used

                  if used < state.limit do
                    {:reply, $yes, $put}
                  else
                    {:reply, $no, state}
                  end
                end
                """,
                message=message,
                used=used,
                yes=returned,
                no=no,
                put=put,
            )
            if c["form"] == "if"
            else fill(
                """
                @impl true
                def handle_call($message, _from, state) do
                  case $used do
                    used when used < state.limit -> {:reply, $yes, $put}
                    _used -> {:reply, $no, state}
                  end
                end
                """,
                message=message,
                used=used,
                yes=returned,
                no=no,
                put=put,
            ),
            fill(
                """
                @impl true
                def handle_info(:refill, state) do
                  $timer
                  {:noreply, %{state | used: $fewer}}
                end
                """,
                fewer=fewer,
                timer="Process.send_after(self(), :refill, state.period)" if timer else "",
            ),
        )
        given = lambda key: f"server, {key}" if per_key else "server"

        def asked(key: str, left: int | None) -> str:
            text = f"{name}.{call}({given(key)})"
            answer = no if left is None else yes.replace("$left", str(left))
            return (
                f"assert {text}"
                if answer == "true"
                else f"refute {text}"
                if answer == "false"
                else f"assert {text} == {answer}"
            )

        fill_up = [asked(first, limit - 1 - at) for at in range(limit)]
        tests = exunit(
            name,
            _test(
                "stops at the limit",
                f"server = start_supervised!({name})",
                *fill_up,
                asked(first, None),
                asked(first, None),
            ),
            _test(
                "takes the limit as an option",
                f"server = start_supervised!({{{name}, limit: 1}})",
                asked(first, 0),
                asked(first, None),
            ),
            _test(
                "keeps keys apart",
                f"server = start_supervised!({{{name}, limit: 1}})",
                asked(first, 0),
                asked(second, 0),
                asked(second, None),
            )
            if per_key
            else "",
            _test(
                "fills up again",
                f"server = start_supervised!({{{name}, limit: 2}})",
                asked(first, 1),
                asked(first, 0),
                "send(server, :refill)",
                asked(first, 1 if refill == "all" else 0),
                asked(first, 0) if refill == "all" else asked(first, None),
            ),
            _test(
                "fills up by itself",
                f"server = start_supervised!({{{name}, limit: 1, period: 20}})",
                asked(first, 0),
                asked(first, None),
                "Process.sleep(35)",
                asked(first, 0),
            )
            if timer
            else "",
        )
        return Program(
            code=code,
            tests=tests,
            explanation="The server counts what has passed since the last refill and answers before it counts further, so two callers "
            "can never both take the last place. The message `:refill` "
            + ("starts again." if refill == "all" else "gives one place back."),
            faults=(
                Fault("used < state.limit", "used <= state.limit", "off_by_one", "`<=` lets one too many through."),
                Fault("used + 1", "used", "state_not_updated", "Nothing is ever counted, so everything passes."),
                Fault(
                    f"state | used: {fewer}",
                    "state | limit: 0",
                    "wrong_field",
                    "The refill takes the limit away instead of clearing what was used.",
                ),
                Fault(
                    "{:reply, " + no,
                    "{:reply, " + ("true" if no == "false" else ":ok"),
                    "wrong_answer",
                    "It lets everything through.",
                ),
            ),
            signatures=[f"{call}({arguments}) :: {spec}"],
        )

    is_question = call.endswith("?")
    return draw(
        rng,
        family="process_rate_limiter",
        name=f"{name}.{call}/1",
        module=name,
        titles=(
            f"a rate limiter as a GenServer: {limit} {noun}s, then no more until it is refilled",
            f"a GenServer that lets {limit} {noun}s through and then refuses",
        ),
        axes={
            "scope": Axis(
                ways={
                    "overall": Way(
                        ask=f"There is one limit for all; the function is `{call}(server)`.",
                        answer=f"One limit for everybody, `{call}(server)`.",
                    ),
                    "key": Way(
                        ask=f"Each key has its own limit; the function is `{call}(server, key)`.",
                        answer=f"Each key has its own: `{call}(server, key)`.",
                        request=f"Limit each key on its own: `{call}(server, key)`.",
                    ),
                },
                question="Is there one limit for everybody, or one for each key (such as a user)?",
            ),
            "result": Axis(
                ways={"boolean": Way(ask="It answers true or false.")}
                if is_question
                else {
                    "boolean": Way(ask="It answers true or false.", answer="true or false."),
                    "ok": Way(
                        ask="It answers `:ok` or `{:error, :rate_limited}`.",
                        answer="`:ok` or `{:error, :rate_limited}`.",
                    ),
                    "tuple": Way(
                        ask="It answers `{:ok, left}` with what is left, or `{:error, :rate_limited}`.",
                        answer="`{:ok, left}` or `{:error, :rate_limited}`.",
                        request="Tell the caller how many are left: `{:ok, left}` or `{:error, :rate_limited}`.",
                    ),
                },
                question="" if is_question else f"What should `{call}` return when it passes and when it does not?",
            ),
            "refill": Axis(
                ways={
                    "all": Way(ask="The message `:refill` makes room for all again.", answer="The whole limit."),
                    "one": Way(
                        ask="The message `:refill` makes room for one more.",
                        answer="Only one more.",
                        request="Refill one place at a time instead of all at once.",
                    ),
                },
                question="Does `:refill` give back the whole limit or one place?",
            ),
            "timer": wanted(
                "It refills itself every `:period` milliseconds (an option, 1000 by default).",
                "Let it refill itself every `:period` milliseconds, 1000 by default.",
            ),
            "form": style("if", "case"),
        },
        build=build,
        operations=("genserver", "handle_info", "send_after"),
        difficulty=3,
    )


def pubsub(rng: random.Random) -> Draft:
    e = draw_entity(rng)
    name = _context(
        rng, rng.choice([f"{e.module}Events", f"{e.module}Bus", f"{e.plural_module}Channel", "Broadcaster"])
    )
    tag = rng.choice([e.singular, "event", "news"])
    topic, other = (f":{each}" for each in rng.sample(KEYS, 2))
    send = rng.choice(["publish", "broadcast", "notify"])
    one, two = (literal(each) for each in e.label.draw_many(rng, 2))

    def build(c: Choices) -> Program:
        topics, twice, watch, echo = c["topics"], c["twice"] == "many", c["monitor"], c["echo"] == "all"
        more = ", topic" if topics else ""
        key = "topic" if topics else ""
        empty = "[]" if not topics else "%{}"
        current = "Map.get(state, topic, [])" if topics else "state"
        add = "[pid | subscribers]" if twice else "Enum.uniq([pid | subscribers])"
        keep = (lambda text: f"Map.put(state, topic, {text})") if topics else (lambda text: text)
        message = f"{{:{tag}, topic, message}}" if topics else f"{{:{tag}, message}}"
        targets = "subscribers" if echo else "subscribers, pid != sender"
        code = module(
            name,
            f"Tells processes that have subscribed{' to a topic' if topics else ''} what is published.",
            "use GenServer",
            '@doc "Starts it."\n@spec start_link(keyword()) :: GenServer.on_start()\ndef start_link(options \\\\ []), do: GenServer.start_link(__MODULE__, :ok, options)',
            f'@doc "The calling process will be sent what is published."\n@spec subscribe(GenServer.server(){", atom()" if topics else ""}) :: :ok\n'
            f"def subscribe(server{more}), do: GenServer.call(server, {'{:subscribe, topic}' if topics else ':subscribe'})",
            f'@doc "The calling process hears no more."\n@spec unsubscribe(GenServer.server(){", atom()" if topics else ""}) :: :ok\n'
            f"def unsubscribe(server{more}), do: GenServer.call(server, {'{:unsubscribe, topic}' if topics else ':unsubscribe'})",
            f'@doc "Sends a message to the subscribers and answers how many there were."\n@spec {send}(GenServer.server(){", atom()" if topics else ""}, term()) :: non_neg_integer()\n'
            f"def {send}(server{more}, message), do: GenServer.call(server, {{:publish, {key + ', ' if key else ''}message}})",
            f"@impl true\ndef init(:ok), do: {{:ok, {empty}}}",
            fill(
                """
                @impl true
                def handle_call($subscribe, {pid, _tag}, state) do
                  $watch
                  subscribers = $current
                  {:reply, :ok, $added}
                end

                def handle_call($unsubscribe, {pid, _tag}, state) do
                  subscribers = $current
                  {:reply, :ok, $removed}
                end

                def handle_call({:publish, $key$message}, {$sender, _tag}, state) do
                  receivers = for pid <- $targets, do: pid
                  Enum.each(receivers, &send(&1, $sent))
                  {:reply, length(receivers), state}
                end
                """,
                subscribe="{:subscribe, topic}" if topics else ":subscribe",
                unsubscribe="{:unsubscribe, topic}" if topics else ":unsubscribe",
                watch="Process.monitor(pid)" if watch else "",
                current=current,
                added=keep(add),
                removed=keep("Enum.reject(subscribers, &(&1 == pid))"),
                key="topic, " if topics else "",
                message="message",
                sender="_sender" if echo else "sender",
                targets=targets.replace("subscribers", current, 1),
                sent=message,
            ),
            fill(
                """
                @impl true
                def handle_info({:DOWN, _reference, :process, pid, _reason}, state) do
                  {:noreply, $left}
                end
                """,
                left="Map.new(state, fn {topic, pids} -> {topic, List.delete(pids, pid)} end)"
                if topics and twice
                else "Map.new(state, fn {topic, pids} -> {topic, pids -- [pid]} end)"
                if topics
                else "Enum.reject(state, &(&1 == pid))",
            )
            if watch
            else "",
        )
        t = f", {topic}" if topics else ""
        o = f", {other}" if topics else ""
        got = (
            (lambda text, at=topic: f"{{:{tag}, {at}, {text}}}")
            if topics
            else (lambda text, at="": f"{{:{tag}, {text}}}")
        )
        start = f"server = start_supervised!({name})"
        outside = lambda call: f"assert Task.await(Task.async(fn -> {call} end))"
        publish = lambda text, at=t: f"{name}.{send}(server{at}, {text})"
        tests = exunit(
            name,
            _test(
                "subscribers hear it",
                start,
                f"assert {name}.subscribe(server{t}) == :ok",
                outside(publish(one)) + " == 1",
                f"assert_receive {got(one)}",
            ),
            _test("others do not", start, f"assert {publish(one)} == 0", f"refute_received {got('_')}"),
            _test(
                "no more after unsubscribing",
                start,
                f"{name}.subscribe(server{t})",
                f"assert {name}.unsubscribe(server{t}) == :ok",
                outside(publish(two)) + " == 0",
                f"refute_received {got('_')}",
            ),
            _test(
                "topics are apart",
                start,
                f"{name}.subscribe(server{t})",
                outside(publish(one, o)) + " == 0",
                outside(publish(two)) + " == 1",
                f"assert_receive {got(two)}",
                f"refute_received {got(one, other)}",
            )
            if topics
            else "",
            _test(
                "subscribing twice",
                start,
                f"{name}.subscribe(server{t})",
                f"{name}.subscribe(server{t})",
                outside(publish(one)) + f" == {2 if twice else 1}",
                f"assert_receive {got(one)}",
                f"{'assert' if twice else 'refute'}_received {got(one)}",
            ),
            _test(
                "the publisher itself",
                start,
                f"{name}.subscribe(server{t})",
                f"assert {publish(two)} == {int(echo)}",
                f"{'assert' if echo else 'refute'}_received {got(two)}",
            ),
            _test(
                "forgets processes that end",
                start,
                f"task = Task.async(fn -> {name}.subscribe(server{t}) end)",
                "reference = Process.monitor(task.pid)",
                "Task.await(task)",
                "assert_receive {:DOWN, ^reference, :process, _pid, _reason}",
                "Process.sleep(5)",
                f"assert {publish(one)} == 0",
            )
            if watch
            else "",
        )
        return Program(
            code=code,
            tests=tests,
            explanation="The server knows the subscribers by the pid of the caller, which `handle_call/3` is given with every request, and sends each a plain message."
            + (" A monitor tells it when a subscriber ends, so the list does not grow without bound." if watch else ""),
            faults=(
                Fault(
                    "Enum.each(receivers, ",
                    "Enum.map(Enum.drop(receivers, 1), ",
                    "off_by_one",
                    "The first subscriber is left out.",
                ),
                Fault(
                    "Enum.reject(subscribers, &(&1 == pid))",
                    "subscribers",
                    "state_not_updated",
                    "Unsubscribing changes nothing.",
                ),
                Fault(
                    "Enum.uniq([pid | subscribers])",
                    "[pid | subscribers]",
                    "duplicates",
                    "A process that subscribes twice hears everything twice.",
                ),
                Fault(", pid != sender", "", "missing_condition", "The publisher is sent its own message."),
                Fault(
                    "Process.monitor(pid)\n",
                    "",
                    "missing_step",
                    "Without a monitor a process that ends stays in the list.",
                ),
            ),
        )

    return draw(
        rng,
        family="process_pubsub",
        name=f"{name}.{send}/2",
        module=name,
        titles=(
            f"a GenServer through which processes tell each other about {e.plural}",
            f"a small publish/subscribe server for {e.plural}",
        ),
        axes={
            "topics": Axis(
                ways={
                    False: Way(
                        ask=f"`subscribe(server)` and `unsubscribe(server)` are for the calling process; `{send}(server, message)` sends `{{:{tag}, message}}` to the subscribers and answers how many were sent it."
                    ),
                    True: Way(
                        ask=f"Every function takes a topic after the server: `subscribe(server, topic)` and `unsubscribe(server, topic)` are for the calling process; `{send}(server, topic, message)` sends `{{:{tag}, topic, message}}` to the topic's subscribers and answers how many were sent it.",
                        request=f"Add topics: every function takes one after the server, and subscribers get `{{:{tag}, topic, message}}`.",
                    ),
                }
            ),
            "twice": Axis(
                ways={
                    "once": Way(
                        ask="Subscribing twice has no further effect.",
                        answer="Once; subscribing again changes nothing.",
                    ),
                    "many": Way(
                        ask="A process that subscribes twice is sent everything twice.",
                        answer="Twice, once for each subscription.",
                    ),
                },
                question="If a process subscribes twice, does it get each message once or twice?",
            ),
            "echo": Axis(
                ways={
                    "all": Way(
                        ask="A publisher that has subscribed hears itself too.", answer="Yes, like everybody else."
                    ),
                    "others": Way(
                        ask="A publisher is not sent its own message.",
                        answer="No.",
                        request="Do not send a message back to the process that published it.",
                    ),
                },
                question="Should a publisher that has subscribed get its own message?",
            ),
            "monitor": wanted("Subscribers that end are forgotten.", "Forget subscribers when their process ends."),
        },
        build=build,
        operations=("genserver", "send", "monitor"),
        difficulty=3,
    )


def breaker(rng: random.Random) -> Draft:
    """A circuit breaker."""
    e = draw_entity(rng)
    name = _context(rng, rng.choice([f"{e.module}Breaker", "CircuitBreaker", "Fuse", f"{e.context}Fuse"]))
    most = rng.randint(2, 4)
    run = rng.choice(["run", "call", "protect", "attempt"])
    value = literal(e.label.draw(rng))

    def build(c: Choices) -> Program:
        resets, probe, state_fn = c["count"] == "row", c["half_open"], c["inspect"]
        good = "%{state | failures: 0}" if resets else "state"
        half = (
            fill("""
            def handle_call({:run, function}, _from, %{status: :half_open} = state) do
              case function.() do
                {:ok, value} -> {:reply, {:ok, value}, %{state | status: :closed, failures: 0}}
                {:error, reason} -> {:reply, {:error, reason}, %{state | status: :open}}
              end
            end
            """)
            if probe
            else ""
        )
        code = module(
            name,
            f"A circuit breaker: after {most} failures{' in a row' if resets else ''} it answers without calling.",
            "use GenServer",
            f"@max_failures {most}",
            '@doc "Starts a closed breaker."\n@spec start_link(keyword()) :: GenServer.on_start()\ndef start_link(options \\\\ []), do: GenServer.start_link(__MODULE__, :ok, options)',
            f'@doc "Calls the function unless the breaker is open."\n@spec {run}(GenServer.server(), (-> {{:ok, term()}} | {{:error, term()}})) ::\n        {{:ok, term()}} | {{:error, term()}}\n'
            f"def {run}(server, function), do: GenServer.call(server, {{:run, function}})",
            '@doc "Whether it is `:closed` or `:open`."\n@spec status(GenServer.server()) :: atom()\ndef status(server), do: GenServer.call(server, :status)'
            if state_fn
            else "",
            "@impl true\ndef init(:ok), do: {:ok, %{status: :closed, failures: 0}}",
            fill(
                """
                @impl true
                def handle_call({:run, _function}, _from, %{status: :open} = state) do
                  {:reply, {:error, :open}, state}
                end

                $half

                def handle_call({:run, function}, _from, state) do
                  case function.() do
                    {:ok, value} -> {:reply, {:ok, value}, $good}
                    {:error, reason} -> {:reply, {:error, reason}, failed(state)}
                  end
                end

                $status
                """,
                half=half,
                good=good,
                status="def handle_call(:status, _from, state), do: {:reply, state.status, state}" if state_fn else "",
            ),
            fill(
                "@impl true\ndef handle_info(:reset, state), do: {:noreply, $next}",
                next="%{state | status: :half_open}" if probe else "%{state | status: :closed, failures: 0}",
            ),
            fill("""
                defp failed(%{failures: failures} = state) when failures + 1 >= @max_failures do
                  %{state | status: :open, failures: failures + 1}
                end

                defp failed(state), do: %{state | failures: state.failures + 1}
                """),
        )
        ok = f"assert {name}.{run}(server, fn -> {{:ok, {value}}} end) == {{:ok, {value}}}"
        bad = f"assert {name}.{run}(server, fn -> {{:error, :down}} end) == {{:error, :down}}"
        shut = f"assert {name}.{run}(server, fn -> {{:ok, {value}}} end) == {{:error, :open}}"
        start = f"server = start_supervised!({name})"
        status = lambda text: f"assert {name}.status(server) == :{text}" if state_fn else ""
        tests = exunit(
            name,
            _test("passes results on", start, ok, bad, ok, status("closed")),
            _test("opens after failures", start, *[bad] * most, shut, shut, status("open")),
            _test("counts failures", start, *[bad] * (most - 1), ok, bad, ok if resets else shut),
            _test(
                "does not call while open",
                start,
                *[bad] * most,
                "test = self()",
                f"{name}.{run}(server, fn -> send(test, :called) end)",
                "refute_received :called",
            ),
            _test(
                "is reset",
                start,
                *[bad] * most,
                "send(server, :reset)",
                status("half_open") if probe else "",
                ok,
                status("closed"),
                bad,
                ok,
            ),
            _test("one failure is enough on probation", start, *[bad] * most, "send(server, :reset)", bad, shut)
            if probe and most > 1
            else _test("after a reset all failures count anew", start, *[bad] * most, "send(server, :reset)", bad, ok),
        )
        return Program(
            code=code,
            tests=tests,
            explanation="While it is closed every call goes through and failures are counted; while it is open callers are answered at once, "
            "so a service that is down is left in peace. `:reset`, which a timer may send, gives it another chance.",
            faults=(
                Fault("failures + 1 >= @max", "failures > @max", "off_by_one", "It opens later than it should."),
                Fault(
                    ", %{state | failures: 0}}",
                    ", state}",
                    "state_not_updated",
                    "A success does not clear the failures before it.",
                ),
                Fault(
                    "{:reply, {:error, reason}, failed(state)}",
                    "{:reply, {:error, reason}, state}",
                    "state_not_updated",
                    "Failures are never counted.",
                ),
                Fault(
                    "%{state | status: :closed, failures: 0}}\n    {:error, reason} -> {:reply, {:error, reason}, %{state | status: :open}}",
                    "%{state | status: :closed, failures: 0}}\n    {:error, reason} -> {:reply, {:error, reason}, state}",
                    "state_not_updated",
                    "On probation a failure does not open it again.",
                ),
            ),
        )

    return draw(
        rng,
        family="process_circuit_breaker",
        name=f"{name}.{run}/2",
        module=name,
        titles=(
            f"a circuit breaker as a GenServer that opens after {most} failures",
            f"a GenServer that stops calling a failing {e.singular} service after {most} failures",
        ),
        axes={
            "count": Axis(
                ways={
                    "row": Way(
                        ask=f"`{run}(server, function)` calls the function, which answers `{{:ok, _}}` or `{{:error, _}}`, and passes that on; after {most} failures in a row it is open and answers `{{:error, :open}}` without calling.",
                        answer="Only failures in a row; a success clears the count.",
                    ),
                    "all": Way(
                        ask=f"`{run}(server, function)` calls the function, which answers `{{:ok, _}}` or `{{:error, _}}`, and passes that on; after {most} failures in all it is open and answers `{{:error, :open}}` without calling.",
                        answer="All of them; a success in between changes nothing.",
                    ),
                }
            ),
            "half_open": Axis(
                ways={
                    False: Way(ask="The message `:reset` closes it again, with no failures counted."),
                    True: Way(
                        ask="After the message `:reset` it is half open: the next call goes through, and its result closes or opens it.",
                        request="Add a half-open state: after `:reset` one call decides whether it closes or opens again.",
                    ),
                }
            ),
            "inspect": wanted(
                "`status/1` answers its state as an atom.",
                "Add `status/1` that answers `:closed` or `:open` (or `:half_open`).",
            ),
        },
        build=build,
        operations=("genserver", "handle_info", "state_machine"),
        difficulty=4,
    )


def ticker(rng: random.Random) -> Draft:
    """A server that does something again and again."""
    e = draw_entity(rng)
    noun = rng.choice(["ticks", "rounds", "runs", "beats", "polls"])
    name = _context(rng, rng.choice(["Ticker", "Heartbeat", f"{e.module}Poller", "Scheduler", "Clock"]))
    interval = rng.choice([1_000, 5_000, 60_000])
    event = rng.choice(["tick", "poll", "beat", "run"])

    def build(c: Choices) -> Program:
        at_once, stops, pause, how = c["first"] == "now", c["limit"], c["pause"], c["start"]
        fields = [
            "interval: Keyword.get(options, :interval, $i)".replace(
                "$i", f"{interval:_}" if interval >= 10000 else str(interval)
            ),
            "report: Keyword.fetch!(options, :report)",
            "count: 0",
        ]
        if stops:
            fields.append("limit: Keyword.get(options, :limit, :infinity)")
        if pause:
            fields.append("timer: nil")
        first = "0" if at_once else "state.interval"
        state = "%{\n    " + ",\n    ".join(fields) + "\n  }"
        schedule_call = "schedule(state, $delay)" if pause else "schedule($delay)"
        if how == "continue":
            init = fill(
                "@impl true\ndef init(options) do\n  state = $state\n\n  {:ok, state, {:continue, :begin}}\nend\n\n@impl true\ndef handle_continue(:begin, state)$body",
                state=state,
                body=(
                    f", do: {{:noreply, schedule(state, {first})}}"
                    if pause
                    else f" do\n  schedule({first})\n  {{:noreply, state}}\nend"
                ),
            )
        else:
            init = fill(
                "@impl true\ndef init(options) do\n  state = $state\n\n$body\nend",
                state=state,
                body=f"  {{:ok, schedule(state, {first})}}" if pause else f"  schedule({first})\n  {{:ok, state}}",
            )
        again = schedule_call.replace("$delay", "state.interval")
        count = "count = state.count + 1\nsend(state.report, {:$event, count})".replace("$event", event)
        if stops:
            tick = fill(
                "$count\n\nif count == state.limit do\n  {:stop, :normal, state}\nelse\n  $again\nend",
                count=count,
                again="{:noreply, schedule(%{state | count: count}, state.interval)}"
                if pause
                else "schedule(state.interval)\n{:noreply, %{state | count: count}}",
            )
        elif pause:
            tick = count + "\n{:noreply, schedule(%{state | count: count}, state.interval)}"
        else:
            tick = count + f"\n{again}\n{{:noreply, %{{state | count: count}}}}"
        code = module(
            name,
            f"Sends `{{:{event}, number}}` to a process again and again.",
            "use GenServer, restart: :transient" if stops else "use GenServer",
            fill(
                '''
                @doc """
                Starts it. Options: `:report`, the process that is told, and `:interval` in milliseconds$more.
                """
                @spec start_link(keyword()) :: GenServer.on_start()
                def start_link(options), do: GenServer.start_link(__MODULE__, options)
                ''',
                more=", and `:limit`, after how many it stops" if stops else "",
            ),
            '@doc "Stops the clock until `resume/1`."\n@spec pause(GenServer.server()) :: :ok\ndef pause(server), do: GenServer.call(server, :pause)\n\n'
            '@doc "Goes on after `pause/1`."\n@spec resume(GenServer.server()) :: :ok\ndef resume(server), do: GenServer.call(server, :resume)'
            if pause
            else "",
            f'@doc "How many {noun} there have been."\n@spec count(GenServer.server()) :: non_neg_integer()\ndef count(server), do: GenServer.call(server, :count)',
            init,
            fill(
                "@impl true\n$pause\n\ndef handle_call(:count, _from, state), do: {:reply, state.count, state}",
                pause=fill("""
                def handle_call(:pause, _from, state) do
                  if state.timer, do: Process.cancel_timer(state.timer)
                  {:reply, :ok, %{state | timer: nil}}
                end

                def handle_call(:resume, _from, %{timer: nil} = state) do
                  {:reply, :ok, schedule(state, state.interval)}
                end

                def handle_call(:resume, _from, state), do: {:reply, :ok, state}
                """)
                if pause
                else "",
            ).replace("@impl true\n\ndef", "@impl true\ndef"),
            fill("@impl true\ndef handle_info(:$event, state) do\n  $tick\nend", event=event, tick=tick),
            (
                f"defp schedule(state, delay) do\n  %{{state | timer: Process.send_after(self(), :{event}, delay)}}\nend"
                if pause
                else f"defp schedule(delay), do: Process.send_after(self(), :{event}, delay)"
            ),
        )
        start = lambda options: f"server = start_supervised!({{{name}, report: self(), {options}}})"
        quiet = "interval: 60_000"
        tests = exunit(
            name,
            _test(
                "reports again and again",
                start("interval: 5").replace("server = ", ""),
                f"assert_receive {{:{event}, 1}}, 500",
                f"assert_receive {{:{event}, 2}}, 500",
            ),
            _test(
                "begins at once" if at_once else "begins after the interval",
                start(quiet),
                f"assert_receive {{:{event}, 1}}, 200\nassert {name}.count(server) == 1"
                if at_once
                else f"refute_receive {{:{event}, 1}}, 30\nassert {name}.count(server) == 0",
            ),
            _test(
                "counts",
                start(quiet),
                f"assert_receive {{:{event}, 1}}, 200" if at_once else "",
                f"send(server, :{event})",
                f"send(server, :{event})",
                f"assert {name}.count(server) == {2 + at_once}",
            ),
            _test(
                "stops at the limit",
                start("interval: 2, limit: 2"),
                "reference = Process.monitor(server)",
                "assert_receive {:DOWN, ^reference, :process, _pid, reason}, 500",
                "assert reason in [:normal, :noproc]",
                f"assert_received {{:{event}, 2}}",
                f"refute_received {{:{event}, 3}}",
            )
            if stops
            else "",
            _test(
                "can pause",
                start("interval: 30"),
                f"assert {name}.pause(server) == :ok",
                f"seen = {name}.count(server)",
                "Process.sleep(50)",
                f"assert {name}.count(server) == seen",
                f"assert {name}.resume(server) == :ok",
                "next = seen + 1",
                f"assert_receive {{:{event}, ^next}}, 500",
            )
            if pause
            else "",
        )
        return Program(
            code=code,
            tests=tests,
            explanation="`Process.send_after/3` sends the server a message of its own; handling it sets the next timer, so a slow round is never overtaken by the following one.",
            faults=(
                Fault("count = state.count + 1", "count = state.count", "off_by_one", "The count never goes up."),
                Fault(
                    "{:noreply, %{state | count: count}}",
                    "{:noreply, state}",
                    "state_not_updated",
                    "The new count is not kept.",
                ),
                Fault(
                    "schedule(%{state | count: count}, state.interval)",
                    "schedule(state, state.interval)",
                    "state_not_updated",
                    "The new count is not kept.",
                ),
                Fault(
                    "{:stop, :normal, state}",
                    "{:noreply, state}",
                    "missing_step",
                    "At the limit the server stays alive, though it does nothing any more.",
                ),
                Fault(
                    "if state.timer, do: Process.cancel_timer(state.timer)\n    ",
                    "",
                    "missing_step",
                    "The timer goes on, so pausing has no effect.",
                ),
            ),
        )

    return draw(
        rng,
        family="process_ticker",
        name=f"{name}.count/1",
        module=name,
        titles=(
            f"a GenServer that sends `{{:{event}, number}}` to the process in the option `:report` at an interval",
            f"a periodic GenServer: every `:interval` milliseconds ({interval} by default) it sends `{{:{event}, n}}` to `:report`",
        ),
        axes={
            "first": Axis(
                ways={
                    "now": Way(
                        ask=f"The numbers go up from 1, and the first one is sent at once. `count/1` tells how many {noun} there have been.",
                        answer="At once.",
                    ),
                    "later": Way(
                        ask=f"The numbers go up from 1, and the first one is sent after one interval. `count/1` tells how many {noun} there have been.",
                        answer="After one interval.",
                    ),
                }
            ),
            "limit": wanted(
                "With the option `:limit` it stops normally after that many.",
                "Add an option `:limit`: after that many it stops normally.",
            ),
            "pause": wanted(
                "`pause/1` stops the clock and `resume/1` starts it again.", "Add `pause/1` and `resume/1`."
            ),
            "start": style("init", "continue"),
        },
        build=build,
        operations=("genserver", "send_after", "handle_info"),
        difficulty=3,
    )


def parallel(rng: random.Random) -> Draft:
    """Tasks."""
    e = draw_entity(rng)
    name = _context(rng, rng.choice([f"{e.plural_module}Parallel", "Parallel", f"{e.module}Fetcher", "Batch"]))
    function = rng.choice(["map", "run", f"{e.verb}_all", "fetch_all"])
    items = e.plural
    numbers = sorted(rng.sample(range(1, 50), 4), reverse=True)

    def build(c: Choices) -> Program:
        errors, order, timeout, most = c["errors"], c["order"], c["timeout"], c["most"]
        options = [f"max_concurrency: {most}"] if most else []
        ms = timeout or 5_000
        limit = f"{ms:_}" if ms >= 10_000 else str(ms)
        tail = ""
        if errors == "crash":
            shape = c["form"]
            if shape == "async" and not most:
                body = f"{items}\n|> Enum.map(&Task.async(fn -> function.(&1) end))\n|> Task.await_many({limit})"
            else:
                more = ", ".join([*options, f"timeout: {limit}"])
                body = f"{items}\n|> Task.async_stream(function, {more})\n|> Enum.map(fn {{:ok, result}} -> result end)"
        else:
            more = ", ".join([*options, f"timeout: {limit}", "on_timeout: :kill_task"])
            if errors == "tuple":
                tail = fill(
                    """
                    defp outcome({:ok, result}), do: result
                    defp outcome({:exit, :timeout}), do: {:error, :timeout}

                    defp attempt(function, $one) do
                      {:ok, function.($one)}
                    rescue
                      error -> {:error, Exception.message(error)}
                    end
                    """,
                    one=e.singular,
                )
                body = f"{items}\n|> Task.async_stream(&attempt(function, &1), {more})\n|> Enum.map(&outcome/1)"
            else:
                tail = fill(
                    """
                    defp attempt(function, $one) do
                      [function.($one)]
                    rescue
                      _error -> []
                    end
                    """,
                    one=e.singular,
                )
                body = f"{items}\n|> Task.async_stream(&attempt(function, &1), {more})\n|> Enum.flat_map(fn\n  {{:ok, results}} -> results\n  {{:exit, :timeout}} -> []\nend)"
        if order == "sorted":
            body += "\n|> Enum.sort()"
        code = module(
            name,
            f"Works on {items} at the same time.",
            fill(
                '@doc """\n$doc\n"""\n@spec $f([term()], (term() -> term())) :: [term()]\ndef $f($items, function) do\n  $body\nend',
                doc=f"Calls the function for each of the {items}, each in a task of its own.",
                f=function,
                items=items,
                body=body,
            ),
            tail,
        )
        wrap = lambda v: f"{{:ok, {v}}}" if errors == "tuple" else str(v)

        def result(values: list[int]) -> str:
            out = [v * 2 for v in values]
            return "[" + ", ".join(wrap(v) for v in (sorted(out) if order == "sorted" else out)) + "]"

        call = f"{name}.{function}"
        failing = f'fn\n  {numbers[0]} -> raise ArgumentError, "bad"\n  number -> number * 2\nend'
        rest = [n for n in numbers if n != numbers[0]]
        some = [numbers[0], *rest]
        if errors == "tuple":
            bad = ['{:error, "bad"}', *(f"{{:ok, {2 * n}}}" for n in (sorted(rest) if order == "sorted" else rest))]
            expected = (
                "["
                + ", ".join(
                    bad
                    if order != "sorted"
                    else sorted(
                        bad,
                        key=lambda text: ("error" not in text, int("".join(ch for ch in text if ch.isdigit()) or 0)),
                    )
                )
                + "]"
            )
        else:
            kept = [2 * n for n in rest]
            expected = literal(sorted(kept) if order == "sorted" else kept)
        slow = f"fn {e.singular} ->\n  Process.sleep(30 - 5 * {e.singular})\n  {e.singular}\nend"
        slow_list = [1, 2, 3] if order != "sorted" else [3, 1, 2]
        slow_result = "[" + ", ".join(wrap(v) for v in (sorted(slow_list) if order == "sorted" else slow_list)) + "]"
        parts = [
            _test(
                "answers the results",
                f"assert {call}({literal(numbers)}, &(&1 * 2)) == {result(numbers)}",
                f"assert {call}([], &(&1 * 2)) == []",
            ),
            check(
                "whatever ends first",
                "function = $slow\n\nassert $call($given, function) == $result",
                slow=slow,
                call=call,
                given=literal(slow_list),
                result=slow_result,
            ),
            _test(
                "runs in other processes",
                "test = self()",
                f"{call}([1, 2], fn n -> send(test, {{n, self() == test}}) end)",
                "assert_received {1, false}",
                "assert_received {2, false}",
            ),
        ]
        if errors != "crash":
            parts.append(
                check(
                    "one of them raises",
                    "function = $failing\n\nassert $call($some, function) == $expected",
                    failing=failing,
                    call=call,
                    some=literal(some),
                    expected=expected,
                )
            )
        if errors == "tuple" and timeout and timeout < 100:
            parts.append(
                _test(
                    "one of them is too slow",
                    f"assert {call}([1], fn _ -> Process.sleep(:infinity) end) == [{{:error, :timeout}}]",
                )
            )
        if errors == "skip" and timeout and timeout < 100:
            parts.append(
                _test("one of them is too slow", f"assert {call}([1], fn _ -> Process.sleep(:infinity) end) == []")
            )
        if most:
            parts.append(
                check(
                    "never more than $most at once",
                    "counter = :counters.new(2, [])\n\n$call(Enum.to_list(1..$many), fn _ ->\n  :counters.add(counter, 1, 1)\n  running = :counters.get(counter, 1)\n  if running > :counters.get(counter, 2), do: :counters.put(counter, 2, running)\n  Process.sleep(2)\n  :counters.sub(counter, 1, 1)\nend)\n\nassert :counters.get(counter, 2) <= $most",
                    call=call,
                    many=most * 3,
                    most=most,
                )
            )
        return Program(
            code=code,
            tests=exunit(name, *parts, capture_log=True),
            explanation="Each call runs in a task, so the whole takes about as long as the slowest. `Task.async_stream/3` and `Task.await_many/2` both give results in the order of the input, whichever ends first.",
            faults=(
                Fault(
                    "Enum.map(fn {:ok, result} -> result end)",
                    "Enum.map(fn result -> result end)",
                    "wrong_value",
                    "`async_stream` answers `{:ok, result}`, which has to be taken apart.",
                ),
                Fault(
                    "Enum.map(&Task.async(fn -> function.(&1) end))\n    |> Task.await_many(" + limit + ")",
                    "Enum.map(function)",
                    "not_concurrent",
                    "Everything runs one after the other in the calling process.",
                ),
                Fault(
                    "  _error -> []",
                    "  error -> [error]",
                    "wrong_value",
                    "A failure should leave no result, not an exception in the list.",
                ),
                Fault(
                    "{:error, Exception.message(error)}",
                    "{:error, error}",
                    "wrong_value",
                    "The reason should be the message, not the exception.",
                ),
                Fault(
                    f"max_concurrency: {most}",
                    f"max_concurrency: {(most or 0) + 2}",
                    "wrong_constant",
                    "Too many run at once.",
                ),
                Fault("\n    |> Enum.sort()", "", "missing_step", "The results are not sorted."),
            ),
            signatures=[f"{function}({items}, function) :: [term()]"],
        )

    return draw(
        rng,
        family="process_tasks",
        name=f"{name}.{function}/2",
        module=name,
        titles=(
            f"a function `{function}/2` that calls a function for each of some {items} at the same time",
            f"`{function}({items}, function)`, which works on all {items} in parallel with tasks",
        ),
        axes={
            "errors": Axis(
                ways={
                    "crash": Way(
                        ask="It answers the results as a list; an exception in one of them ends the caller too.",
                        answer="The caller fails too.",
                    ),
                    "tuple": Way(
                        ask="It answers a list of `{:ok, result}` and, where the function raised, `{:error, message}`; one that takes too long gives `{:error, :timeout}`.",
                        answer="As `{:error, message}` in its place, with `{:ok, result}` for the others.",
                        request="If one raises, keep the others: answer `{:ok, result}` and `{:error, message}`, and `{:error, :timeout}` for one that takes too long.",
                    ),
                    "skip": Way(
                        ask="It answers the results as a list and leaves out those that raised or took too long.",
                        answer="Leave it out.",
                        request="Just leave out the ones that raise or take too long.",
                    ),
                }
            ),
            "order": Axis(
                ways={
                    "input": Way(ask="The results are in the order of the list.", answer="In the order of the list."),
                    "sorted": Way(ask="The results are sorted.", answer="Sorted."),
                },
                question="In which order should the results be: as in the list, or sorted?",
            ),
            "timeout": Axis(
                ways={
                    None: Way(),
                    50: Way(ask="Each has 50 milliseconds.", request="Give each of them 50 milliseconds."),
                    10_000: Way(ask="Each has 10 seconds.", request="Give each of them 10 seconds."),
                }
            ),
            "most": Axis(
                ways={
                    None: Way(),
                    2: Way(ask="No more than 2 run at once.", request="Run no more than 2 at once."),
                    3: Way(ask="No more than 3 run at once.", request="Run no more than 3 at once."),
                }
            ),
            "form": style("async", "stream"),
        },
        build=build,
        operations=("task", "async_stream"),
        difficulty=3,
    )


FAMILIES: dict[str, Family] = {
    "process_circuit_breaker": breaker,
    "process_pubsub": pubsub,
    "process_rate_limiter": rate_limiter,
    "process_tasks": parallel,
    "process_ticker": ticker,
    "process_ttl_cache": ttl_cache,
}
