"""What goes wrong: exceptions of our own, rescuing, retrying, options that are checked, and macros that generate."""

# ruff: noqa: E501, E731 -- Elixir and sentences are kept on one line each; small functions of a table have no name

from __future__ import annotations

import random

from elixir_coder.data.synthesis.choices import Axis, Choices, Fault, Program, Way, draw, style, wanted
from elixir_coder.data.synthesis.domains import draw_entity
from elixir_coder.data.synthesis.draft import Draft, Family
from elixir_coder.data.synthesis.functions import in_context
from elixir_coder.data.synthesis.writing import check, exunit, fill, literal, module


def retry(rng: random.Random) -> Draft:
    """A call that is tried again."""
    e = draw_entity(rng)
    name = in_context(rng, rng.choice(["Retry", f"{e.module}Client", "Attempt", "Again"]))
    function = rng.choice(["run", "retry", "attempt", "with_retry"])
    most = rng.randint(2, 4)
    value = literal(e.label.draw(rng))

    def build(c: Choices) -> Program:
        rescue, number, backoff, hook = c["rescue"], c["number"] == "option", c["backoff"], c["hook"]
        opts = number or backoff or hook
        call = "safely(function)" if rescue else "function.()"
        given = ", options \\\\ []" if opts else ""
        keys = (
            [f"attempts: {most}"] * number + ["delay: 0"] * bool(backoff) + ["on_retry: fn _reason -> :ok end"] * hook
        )
        setup = (
            f"options = Keyword.validate!(options, {', '.join(keys)})\n"
            if opts and len(keys) == 1
            else f"options = Keyword.validate!(options, [{', '.join(keys)}])\n"
            if opts
            else ""
        )
        left = "options[:attempts]" if number else str(most)
        more = ", options" if opts else ""
        between = []
        if hook:
            between.append("options[:on_retry].(reason)")
        if backoff:
            between.append("Process.sleep(options[:delay])")
        wait = "\n".join(between)
        giving = "{:error, {:gave_up, reason}}" if c["result"] == "tagged" else "{:error, reason}"
        next_ = ", Keyword.update!(options, :delay, &(2 * &1))" if backoff == "double" else more
        if c["form"] == "clauses":
            loop = fill(
                """
                defp try_again(function, left$more) do
                  case $call do
                    {:ok, value} ->
                      {:ok, value}

                    {:error, reason} when left == 1 ->
                      $giving

                    {:error, $reason} ->
                      $wait
                      try_again(function, left - 1$next)
                  end
                end
                """,
                more=more,
                call=call,
                giving=giving,
                wait=wait,
                next=next_,
                reason="reason" if hook else "_reason",
            )
        else:
            loop = fill(
                """
                defp try_again(function, left$more) do
                  with {:error, reason} <- $call do
                    if left > 1 do
                      $wait
                      try_again(function, left - 1$next)
                    else
                      $giving
                    end
                  end
                end
                """,
                more=more,
                call=call,
                giving=giving,
                wait=wait,
                next=next_,
            )
        helper = (
            "defp safely(function) do\n  function.()\nrescue\n  error -> {:error, Exception.message(error)}\nend"
            if rescue
            else ""
        )
        code = module(
            name,
            "Calls a function again when it fails.",
            fill(
                '@doc """\nCalls the function until it answers `{:ok, value}`$how.\n$options\n"""\n@spec $f((-> {:ok, term()} | {:error, term()})$type) :: {:ok, term()} | {:error, term()}\ndef $f(function$given) do\n  $setup\n  try_again(function, $left$more)\nend',
                how="" if number else f", {most} times at most",
                options="\nOptions: " + ", ".join(f"`:{k.split(':')[0]}`" for k in keys) + "." if opts else "",
                type=", keyword()" if opts else "",
                f=function,
                given=given,
                setup=setup,
                left=left,
                more=more,
            ),
            loop,
            helper,
        )
        n = f"{name}.{function}"
        failing = "fn -> send(test, :called) && {:error, :down} end"
        counter = (
            "{:ok, agent} = Agent.start_link(fn -> 0 end)\n\nfunction = fn ->\n  case Agent.get_and_update(agent, &{&1 + 1, &1 + 1}) do\n    %s -> {:ok, "
            + value
            + "}\n    _early -> {:error, :early}\n  end\nend\n\n"
        )
        failed = "{:error, {:gave_up, :down}}" if c["result"] == "tagged" else "{:error, :down}"
        calls = "\n".join(["assert_received :called"] * most)
        tests = exunit(
            name,
            check("the first answer", f"assert {n}(fn -> {{:ok, {value}}} end) == {{:ok, {value}}}"),
            check(
                "a later answer",
                counter % most + f"assert {n}(function) == {{:ok, {value}}}\nassert Agent.get(agent, & &1) == {most}",
            ),
            check("gives up", f"test = self()\n\nassert {n}({failing}) == {failed}\n{calls}\nrefute_received :called"),
            check(
                "the number of attempts",
                f"test = self()\n\nassert {n}({failing}, attempts: 1) == {failed}\nassert_received :called\nrefute_received :called\nassert {n}({failing}, attempts: {most + 2}) == {failed}\n"
                + "\n".join(["assert_received :called"] * (most + 2)),
            )
            if number
            else "",
            check("unknown options", f"assert_raise ArgumentError, fn -> {n}(fn -> {{:ok, 1}} end, unheard: 1) end")
            if opts
            else "",
            check(
                "exceptions",
                f'assert {n}(fn -> raise "broken" end) == {failed.replace(":down", chr(34) + "broken" + chr(34))}',
            )
            if rescue
            else check(
                "exceptions are not caught",
                f'assert_raise RuntimeError, "broken", fn -> {n}(fn -> raise "broken" end) end',
            ),
            check(
                "waits",
                f"started = System.monotonic_time(:millisecond)\n{n}(fn -> {{:error, :down}} end, delay: 10)\nassert System.monotonic_time(:millisecond) - started >= {10 * (2 ** (most - 1) - 1) if backoff == 'double' else 10 * (most - 1)}",
            )
            if backoff
            else "",
            check(
                "tells of each retry",
                f"test = self()\n{n}(fn -> {{:error, :down}} end, on_retry: &send(test, {{:retry, &1}}))\n"
                + "\n".join(["assert_received {:retry, :down}"] * (most - 1))
                + "\nrefute_received {:retry, :down}",
            )
            if hook
            else "",
        )
        return Program(
            code=code,
            tests=tests,
            explanation="The number of attempts that are left goes down with each call of the private function, and the last failure is the one that is reported.",
            faults=(
                Fault("left == 1", "left == 0", "off_by_one", "It tries once more than it should."),
                Fault("left > 1", "left > 0", "off_by_one", "It tries once more than it should."),
                Fault(
                    "{:error, {:gave_up, reason}}",
                    "{:error, :gave_up}",
                    "wrong_error",
                    "The reason of the last failure is lost.",
                ),
                Fault(
                    f"function, {left}{more})\n  end\n\n  defp",
                    f"function, 1{more})\n  end\n\n  defp",
                    "ignored_setting",
                    "It tries only once.",
                ),
                Fault("Process.sleep(options[:delay])\n", "", "missing_step", "It does not wait between the attempts."),
            ),
        )

    return draw(
        rng,
        family="errors_retry",
        name=f"{name}.{function}/1",
        module=name,
        titles=(
            f"a function `{function}/1` that calls a function again when it answers `{{:error, reason}}`",
            f"`{function}(function)`, which retries a function that answers `{{:ok, value}}` or `{{:error, reason}}`",
        ),
        axes={
            "number": Axis(
                ways={
                    "fixed": Way(ask=f"It calls it {most} times at most."),
                    "option": Way(
                        ask=f"It calls it {most} times at most, or as often as the option `:attempts` says; unknown options raise an `ArgumentError`.",
                        request="Make the number of attempts an option, `:attempts`; unknown options raise an `ArgumentError`.",
                    ),
                }
            ),
            "result": Axis(
                ways={
                    "last": Way(
                        ask="When all attempts fail it answers the last `{:error, reason}`.",
                        answer="The last `{:error, reason}`.",
                    ),
                    "tagged": Way(
                        ask="When all attempts fail it answers `{:error, {:gave_up, reason}}` with the last reason.",
                        answer="`{:error, {:gave_up, reason}}` with the last reason.",
                    ),
                },
                question="What should it answer when all attempts have failed?",
            ),
            "rescue": Axis(
                ways={
                    False: Way(ask="Exceptions are not caught.", answer="No, let them through."),
                    True: Way(
                        ask="An exception counts as a failure with its message as the reason.",
                        answer="Yes, with the message as the reason.",
                        request="Treat an exception as a failure, with its message as the reason.",
                    ),
                },
                question="Should an exception count as a failure, too?",
            ),
            "backoff": Axis(
                ways={
                    None: Way(),
                    "fixed": Way(
                        ask="Between two attempts it waits `:delay` milliseconds (0 by default).",
                        request="Wait between the attempts: option `:delay` in milliseconds, 0 by default.",
                    ),
                    "double": Way(
                        ask="Between two attempts it waits `:delay` milliseconds (0 by default), each time twice as long.",
                        request="Wait between the attempts, twice as long each time: option `:delay` in milliseconds, 0 by default.",
                    ),
                }
            ),
            "hook": wanted(
                "Before each retry it calls the function in the option `:on_retry` with the reason.",
                "Add an option `:on_retry`: a function that is called with the reason before each retry.",
            ),
            "form": style("clauses", "with"),
        },
        build=build,
        operations=("retry", "recursion", "case"),
        difficulty=3,
    )


def exceptions(rng: random.Random) -> Draft:
    """Exceptions of our own, and the ! and the tuple function around them."""
    e = draw_entity(rng)
    name = in_context(rng, rng.choice([f"{e.plural_module}", f"{e.module}Store", f"{e.module}Book"]))
    label, amount = e.label.name, e.amount.name
    one, two, three = (literal(each) for each in e.label.draw_many(rng, 3))
    n = sorted(rng.sample(range(2, 60), 2))
    function = rng.choice(["fetch", "find", "get", "lookup"])
    error = rng.choice(["NotFoundError", f"Unknown{e.module}Error", "MissingError"])
    limit = n[0]

    def build(c: Choices) -> Program:
        fields, second, convert = c["fields"], c["second"], c["safe"]
        if fields == "message":
            exception = f'defmodule {name}.{error} do\n  @moduledoc "Raised where there is no such {e.singular}."\n\n  defexception [:message]\nend'
            raised = f'raise {name}.{error}, message: "no {e.singular} #{{{label}}}"'
        elif fields == "callback":
            exception = f'defmodule {name}.{error} do\n  @moduledoc "Raised where there is no such {e.singular}."\n\n  defexception [:{label}]\n\n  @impl true\n  def message(%__MODULE__{{{label}: {label}}}), do: "no {e.singular} #{{{label}}}"\nend'
            raised = f"raise {name}.{error}, {label}: {label}"
        else:
            exception = f'defmodule {name}.{error} do\n  @moduledoc "Raised where there is no such {e.singular}."\n\n  defexception [:{label}, :message]\n\n  @impl true\n  def exception({label}) do\n    %__MODULE__{{{label}: {label}, message: "no {e.singular} #{{{label}}}"}}\n  end\nend'
            raised = f"raise {name}.{error}, {label}"
        items = e.plural
        parts = [
            f'@doc "The {amount} of {e.singular} `{label}`, or an exception."\n@spec {function}!(map(), String.t()) :: integer()\ndef {function}!({items}, {label}) do\n  case {items} do\n    %{{^{label} => {amount}}} -> {amount}\n    %{{}} -> {raised}\n  end\nend'
        ]
        if convert:
            if c["form"] == "rescue":
                parts.append(
                    f'@doc "As `{function}!/2`, but with tagged tuples."\n@spec {function}(map(), String.t()) :: {{:ok, integer()}} | {{:error, Exception.t()}}\ndef {function}({items}, {label}) do\n  {{:ok, {function}!({items}, {label})}}\nrescue\n  error in {name}.{error} -> {{:error, error}}\nend'
                )
            else:
                made = {
                    "message": f'{name}.{error}.exception(message: "no {e.singular} #{{{label}}}")',
                    "callback": f"{name}.{error}.exception({label}: {label})",
                    "exception": f"{name}.{error}.exception({label})",
                }[fields]
                parts.append(
                    f'@doc "As `{function}!/2`, but with tagged tuples."\n@spec {function}(map(), String.t()) :: {{:ok, integer()}} | {{:error, Exception.t()}}\ndef {function}({items}, {label}) do\n  with :error <- Map.fetch({items}, {label}) do\n    {{:error, {made}}}\n  end\nend'
                )
        if second:
            parts.append(
                f'@doc "Takes an amount away, or raises."\n@spec take!(map(), String.t(), pos_integer()) :: map()\ndef take!({items}, {label}, count) do\n  there = {function}!({items}, {label})\n\n  if count > there do\n    raise ArgumentError, "only #{{there}} of {e.singular} #{{{label}}}, #{{count}} wanted"\n  end\n\n  Map.put({items}, {label}, there - count)\nend'
            )
        if c["default"]:
            parts.append(
                f'@doc "The {amount}, or what the function gives."\n@spec {function}_or(map(), String.t(), (String.t() -> integer())) :: integer()\ndef {function}_or({items}, {label}, function) do\n  {function}!({items}, {label})\nrescue\n  error in {name}.{error} -> function.(Exception.message(error))\nend'
            )
        code = exception + "\n\n" + module(name, f"Looks up the {amount} of {e.plural}.", *parts)
        given = f"%{{{one} => {n[0]}, {two} => {n[1]}}}"
        message = f"no {e.singular} {three.strip(chr(34))}"
        N = name
        tests = exunit(
            name,
            check(
                "finds",
                f"assert {N}.{function}!({given}, {one}) == {n[0]}\nassert {N}.{function}!({given}, {two}) == {n[1]}",
            ),
            check("raises", f'assert_raise {N}.{error}, "{message}", fn -> {N}.{function}!({given}, {three}) end'),
            check(
                "carries what was looked for",
                f"error = assert_raise({N}.{error}, fn -> {N}.{function}!(%{{}}, {three}) end)\nassert error.{label} == {three}",
            )
            if fields != "message"
            else "",
            check(
                "tuples",
                f'assert {N}.{function}({given}, {two}) == {{:ok, {n[1]}}}\nassert {{:error, %{N}.{error}{{}} = error}} = {N}.{function}({given}, {three})\nassert Exception.message(error) == "{message}"',
            )
            if convert
            else "",
            check(
                "take!/3",
                f'assert {N}.take!({given}, {one}, {limit}) == %{{{one} => 0, {two} => {n[1]}}}\nassert {N}.take!({given}, {two}, 1) == %{{{one} => {n[0]}, {two} => {n[1] - 1}}}\nassert_raise ArgumentError, "only {limit} of {e.singular} {one.strip(chr(34))}, {limit + 1} wanted", fn -> {N}.take!({given}, {one}, {limit + 1}) end\nassert_raise {N}.{error}, fn -> {N}.take!({given}, {three}, 1) end',
            )
            if second
            else "",
            check(
                "or a default",
                f"assert {N}.{function}_or({given}, {one}, fn _ -> 0 end) == {n[0]}\nassert {N}.{function}_or({given}, {three}, &String.length/1) == {len(message)}",
            )
            if c["default"]
            else "",
        )
        return Program(
            code=code,
            tests=tests,
            explanation="An exception with fields of its own lets callers look at what went wrong instead of reading the message; the functions with ! raise it, the ones without answer tuples.",
            faults=(
                Fault(
                    f"error in {name}.{error} -> {{:error, error}}",
                    f"error in {name}.{error} -> {{:error, Exception.message(error)}}",
                    "wrong_error",
                    "The error should be the exception, not its message.",
                ),
                Fault("count > there", "count >= there", "off_by_one", "Taking all that is there raises."),
                Fault(
                    f'"no {e.singular} #{{{label}}}"',
                    f'"no {e.singular}"',
                    "wrong_message",
                    f"The message does not say which {e.singular}.",
                ),
                Fault("there - count", "count - there", "swapped_arguments", "The difference is the wrong way round."),
                Fault(
                    "function.(Exception.message(error))",
                    "function.(error)",
                    "wrong_value",
                    "The function should get the message.",
                ),
            ),
        )

    return draw(
        rng,
        family="errors_exceptions",
        name=f"{name}.{function}!/2",
        module=name,
        titles=(
            f"`{function}!/2`, which takes a map from {label} to {amount} and {label}, and raises an exception of its own, `{error}`, for one that is not there",
            f"a module that looks up the {amount} of {e.plural} in a map by {label} with `{function}!/2`, and its exception `{error}` (inside the module's namespace)",
        ),
        axes={
            "base": Axis(
                ways={"it": Way(ask=f'The message is "no {e.singular} LABEL", with the {label} that was looked for.')}
            ),
            "fields": Axis(
                ways={
                    "message": Way(),
                    "callback": Way(
                        ask=f"The exception has a field `{label}` and works its message out in `message/1`.",
                        request=f"Give the exception a field `{label}`, and let `message/1` make the message.",
                    ),
                    "exception": Way(
                        ask=f"The exception has the fields `{label}` and `message` and is raised with the {label} alone.",
                        request=f"Let the exception carry the {label}, and be raised with just that.",
                    ),
                }
            ),
            "safe": wanted(
                f"`{function}/2` answers `{{:ok, value}}` or `{{:error, exception}}`.",
                f"Add `{function}/2` that answers `{{:ok, value}}` or `{{:error, exception}}`.",
            ),
            "second": wanted(
                f'`take!/3` takes a number away and gives the new map; too much raises an `ArgumentError` ("only 3 of {e.singular} X, 4 wanted").',
                f'Add `take!/3`, which takes a number away and gives the new map; too much raises an `ArgumentError` ("only 3 of {e.singular} X, 4 wanted").',
            ),
            "default": wanted(
                f"`{function}_or/3` calls a function with the message for one that is not there.",
                f"Add `{function}_or/3` with a function that is called with the message for one that is not there.",
            ),
            "form": Axis(ways={"rescue": Way(), "with": Way()}, is_style=True, when=lambda c: bool(c["safe"])),
        },
        build=build,
        operations=("defexception", "raise", "rescue"),
        difficulty=2,
    )


def options(rng: random.Random) -> Draft:
    """A keyword list of options with defaults."""
    e = draw_entity(rng)
    name = in_context(rng, rng.choice([f"{e.module}Options", f"{e.module}Text", f"{e.module}Printer", "Render"]))
    function = rng.choice(["render", "describe", "show", "build"])
    pool = rng.sample(["prefix", "suffix", "upcase", "repeat", "max", "quote", "reverse"], rng.randint(2, 4))
    defaults = {
        "prefix": '""',
        "suffix": '"."' if rng.random() < 0.5 else '""',
        "upcase": "false",
        "repeat": "1",
        "max": ":infinity",
        "quote": "false",
        "reverse": "false",
    }
    word = e.label.draw(rng)

    written = {
        "prefix": lambda text, value: f"{value}{text}",
        "suffix": lambda text, value: f"{text}{value}",
        "upcase": lambda text, value: text.upper() if value else text,
        "repeat": lambda text, value: text * value,
        "max": lambda text, value: text[:value],  # None: all of it
        "quote": lambda text, value: f"'{text}'" if value else text,
        "reverse": lambda text, value: text[::-1] if value else text,
    }
    without = {
        "prefix": "",
        "suffix": defaults["suffix"].strip('"'),
        "upcase": False,
        "repeat": 1,
        "max": None,
        "quote": False,
        "reverse": False,
    }

    def apply(text: str, given: dict[str, object]) -> str:
        for key in pool:
            text = written[key](text, given.get(key, without[key]))
        return text

    steps = {
        "prefix": "defp put(text, :prefix, prefix), do: prefix <> text",
        "suffix": "defp put(text, :suffix, suffix), do: text <> suffix",
        "upcase": "defp put(text, :upcase, true), do: String.upcase(text)\ndefp put(text, :upcase, false), do: text",
        "repeat": "defp put(text, :repeat, count), do: String.duplicate(text, count)",
        "max": "defp put(text, :max, :infinity), do: text\ndefp put(text, :max, length), do: String.slice(text, 0, length)",
        "quote": "defp put(text, :quote, true), do: \"'#{text}'\"\ndefp put(text, :quote, false), do: text",
        "reverse": "defp put(text, :reverse, true), do: String.reverse(text)\ndefp put(text, :reverse, false), do: text",
    }
    said = {
        "prefix": "`:prefix` is put in front",
        "suffix": f"`:suffix` is put behind ({defaults['suffix']} by default)",
        "upcase": "`:upcase` turns it to upper case",
        "repeat": "`:repeat` says how often it is written (1 by default)",
        "max": "`:max` cuts it off after that many characters",
        "quote": "`:quote` puts it in single quotes",
        "reverse": "`:reverse` turns it round",
    }
    values = {"prefix": "> ", "suffix": "!", "upcase": True, "repeat": 2, "max": 3, "quote": True, "reverse": True}

    def build(c: Choices) -> Program:
        unknown, shape = c["unknown"], c["defaults"]
        listed = ", ".join(f"{key}: {defaults[key]}" for key in pool)
        if unknown == "raise":
            merged = f"Keyword.validate!(options, {'@defaults' if shape == 'attribute' else '[' + listed + ']'})"
        elif unknown == "ignore":
            merged = f"Keyword.merge({'@defaults' if shape == 'attribute' else '[' + listed + ']'}, Keyword.take(options, [{', '.join(':' + key for key in pool)}]))"
        else:
            merged = f"Keyword.validate(options, {'@defaults' if shape == 'attribute' else '[' + listed + ']'})"
        keys = "[" + ", ".join(f":{key}" for key in pool) + "]"
        work = (
            f"Enum.reduce({keys}, text, fn key, text -> put(text, key, options[key]) end)"
            if c["form"] == "reduce"
            else "text\n|> " + "\n|> ".join(f"put(:{key}, options[:{key}])" for key in pool)
        )
        if unknown == "tuple":
            body = fill(
                "case $merged do\n  {:ok, options} ->\n    {:ok, apply_options(text, options)}\n\n  {:error, unknown} ->\n    {:error, {:unknown_options, unknown}}\nend",
                merged=merged,
            )
            tail = "\n\n" + fill("defp apply_options(text, options) do\n  $work\nend", work=work)
        else:
            body, tail = f"options = {merged}\n\n{work}", ""
        code = module(
            name,
            "Writes a text as options say.",
            f"@defaults [{listed}]" if shape == "attribute" else "",
            fill(
                '@doc """\nThe text as the options say: $said.\n"""\n@spec $f(String.t(), keyword()) :: $returns\ndef $f(text, options \\\\ []) do\n  $body\nend',
                said=", ".join(f"`:{key}`" for key in pool),
                f=function,
                body=body,
                returns="{:ok, String.t()} | {:error, term()}" if unknown == "tuple" else "String.t()",
            )
            + tail,
            "\n".join(steps[key] for key in pool),
        )
        ok = lambda text: f"{{:ok, {literal(text)}}}" if unknown == "tuple" else literal(text)
        n = f"{name}.{function}"
        every = {key: values[key] for key in pool}
        write = lambda given: ", ".join(f"{key}: {literal(value)}" for key, value in given.items())
        tests = exunit(
            name,
            check("without options", f"assert {n}({literal(word)}) == {ok(apply(word, {}))}"),
            check(
                "one option",
                "\n".join(
                    f"assert {n}({literal(word)}, {write({key: values[key]})}) == {ok(apply(word, {key: values[key]}))}"
                    for key in pool
                ),
            ),
            check(
                "all options, in any order",
                f"assert {n}({literal(word)}, {write(every)}) == {ok(apply(word, every))}\nassert {n}({literal(word)}, {write(dict(reversed(list(every.items()))))}) == {ok(apply(word, every))}",
            ),
            check(
                "unknown options",
                {
                    "raise": f'assert_raise ArgumentError, fn -> {n}("x", unheard: 1) end',
                    "ignore": f'assert {n}("x", unheard: 1) == {n}("x")',
                    "tuple": f'assert {n}("x", unheard: 1) == {{:error, {{:unknown_options, [:unheard]}}}}',
                }[unknown],
            ),
        )
        first, second = pool[0], pool[1]
        return Program(
            code=code,
            tests=tests,
            explanation="The defaults stand in one list, which also says which options there are; afterwards every option is there and none has to be asked for twice.",
            faults=(
                Fault("prefix <> text", "text <> prefix", "swapped_arguments", "The prefix is put behind the text."),
                Fault("text <> suffix", "suffix <> text", "swapped_arguments", "The suffix is put in front."),
                Fault(
                    "String.slice(text, 0, length)",
                    "String.slice(text, 1, length)",
                    "off_by_one",
                    "The first character is lost.",
                ),
                Fault(
                    f"put(:{first}, options[:{first}])",
                    f"put(:{first}, options[:{second}])",
                    "wrong_option",
                    f"`:{first}` gets the value of another option.",
                ),
                Fault("repeat: 1", "repeat: 2", "wrong_default", "The default of `:repeat` is 1."),
                Fault("Keyword.merge(", "Enum.concat(", "wrong_precedence", "The defaults come first and win."),
                Fault(
                    "put(text, :upcase, true), do: String.upcase",
                    "put(text, :upcase, true), do: String.capitalize",
                    "wrong_function",
                    "Only the first letter becomes upper case.",
                ),
            ),
        )

    return draw(
        rng,
        family="errors_options",
        name=f"{name}.{function}/2",
        module=name,
        titles=(
            f"`{function}/2`, which writes a text as a keyword list of options says: "
            + "; ".join(said[key] for key in pool),
            f"a function `{function}(text, options)` with these options, applied in this order: "
            + "; ".join(said[key] for key in pool),
        ),
        axes={
            "base": Axis(
                ways={
                    "it": Way(
                        ask="The options are applied in the order in which they stand here, whatever the order of the list."
                    )
                }
            ),
            "unknown": Axis(
                ways={
                    "raise": Way(
                        ask="An unknown option raises an `ArgumentError`.",
                        answer="Raise an `ArgumentError`.",
                        request="Raise an `ArgumentError` for an unknown option.",
                    ),
                    "ignore": Way(ask="Unknown options are ignored.", answer="Ignore it."),
                    "tuple": Way(
                        ask="It answers `{:ok, text}`, or `{:error, {:unknown_options, names}}`.",
                        answer="Answer `{:error, {:unknown_options, names}}`, and `{:ok, text}` otherwise.",
                        request="Answer `{:ok, text}`, or `{:error, {:unknown_options, names}}` instead of raising.",
                    ),
                },
                question="What should happen with an option that it does not know?",
            ),
            "defaults": style("attribute", "inline"),
            "form": style("pipe", "reduce"),
        },
        build=build,
        operations=("keyword", "options", *pool),
        difficulty=2,
    )


def macros(rng: random.Random) -> Draft:
    """`defguard`, behaviours with `__using__`, and functions that are generated from a table."""
    e = draw_entity(rng)
    kind = rng.choice(["guard", "using", "generated"])
    if kind == "guard":
        low, step = 2 * rng.randint(1, 5), 2 * rng.randint(5, 45)
        name = in_context(rng, rng.choice([f"{e.module}Guards", "Guards", f"{e.module}Rules"]))
        guard = rng.choice([f"is_{e.amount.name}", "is_allowed", "is_valid", "is_fit"])
        function = rng.choice(["check", "label", "accept"])
        tests_of = {
            "range": (
                f"is_integer(value) and value >= {low} and value $lt {low + step}",
                lambda v, way: low <= v <= low + step if way == "in" else low <= v < low + step,
            ),
            "even": (
                f"is_integer(value) and rem(value, 2) == 0 and value $lt {low + step}",
                lambda v, way: v % 2 == 0 and (v <= low + step if way == "in" else v < low + step),
            ),
        }
        which = rng.choice(list(tests_of))
        text, holds = tests_of[which]

        def build(c: Choices) -> Program:
            condition = text.replace("$lt", "<=" if c["border"] == "in" else "<")
            good, bad = {
                "atoms": (":ok", ":error"),
                "tuples": ("{:ok, value}", "{:error, :out_of_range}"),
                "booleans": ("true", "false"),
            }[c["result"]]
            parts = [
                f'@doc "Whether a value is right, in guards."\ndefguard {guard}(value) when {condition}',
                f'@doc "What becomes of a value."\n@spec {function}(term()) :: term()\ndef {function}(value) when {guard}(value), do: {good}\ndef {function}(_value), do: {bad}',
            ]
            if c["filter"]:
                parts.append(
                    f'@doc "The values of a list that are right."\n@spec filter(list()) :: list()\ndef filter(values), do: for(value when {guard}(value) <- values, do: value)'
                )
            vs = [low, low + 1, low + step, low + step - 1, low + step + 1, low - 1, 0]
            show = lambda v, ok: (good if ok else bad).replace("value", str(v))
            lines = "\n".join(f"assert {name}.{function}({v}) == {show(v, holds(v, c['border']))}" for v in vs)
            kept = [v for v in vs if holds(v, c["border"])]
            tests = exunit(
                name,
                check(function, lines),
                check("other types", f'assert {name}.{function}("1") == {bad}\nassert {name}.{function}(nil) == {bad}'),
                check(
                    "in other modules",
                    f"import {name}\n\nfunction = fn\n  value when {guard}(value) -> true\n  _value -> false\nend\n\nassert function.({kept[0]})\nrefute function.(:other)",
                ),
                check("filter", f"assert {name}.filter({literal(vs)}) == {literal(kept)}") if c["filter"] else "",
            )
            return Program(
                code=module(name, f"A guard for the {e.amount.name} of {e.plural}.", *parts),
                tests=tests,
                explanation="`defguard` gives a condition a name that can stand in any guard; it may only use what guards allow.",
                faults=(
                    Fault(f"<= {low + step}", f"< {low + step}", "off_by_one", "The upper limit itself is refused."),
                    Fault(f"< {low + step}", f"<= {low + step}", "off_by_one", "The upper limit itself is accepted."),
                    Fault("rem(value, 2) == 0", "rem(value, 2) == 1", "inverted_condition", "Odd numbers pass."),
                    Fault(f"value >= {low}", f"value > {low}", "off_by_one", "The lower limit itself is refused."),
                ),
            )

        rule = f"an integer from {low} to {low + step}" if which == "range" else f"an even integer up to {low + step}"
        axes = {
            "border": Axis(
                ways={
                    "in": Way(ask=f"{low + step} itself is right.", answer="Yes."),
                    "out": Way(ask=f"{low + step} itself is not right any more.", answer="No."),
                },
                question=f"Does {low + step} itself count?",
            ),
            "result": Axis(
                ways={
                    "atoms": Way(ask=f"`{function}/1` answers `:ok` or `:error`.", answer="`:ok` or `:error`."),
                    "tuples": Way(
                        ask=f"`{function}/1` answers `{{:ok, value}}` or `{{:error, :out_of_range}}`.",
                        answer="`{:ok, value}` or `{:error, :out_of_range}`.",
                        request="Answer `{:ok, value}` or `{:error, :out_of_range}`.",
                    ),
                    "booleans": Way(ask=f"`{function}/1` answers true or false.", answer="true or false."),
                },
                question=f"What should `{function}/1` answer?",
            ),
            "filter": wanted(
                "`filter/1` keeps what is right of a list.", "Add `filter/1`, which keeps what is right of a list."
            ),
        }
        titles: tuple[str, ...] = (
            f"a guard `{guard}/1` for {rule}, and a function `{function}/1` that uses it",
            f"a module with `defguard {guard}(value)` ({rule}) and `{function}/1`",
        )
    elif kind == "using":
        name = in_context(rng, rng.choice(["Greeter", "Shape", "Exporter", "Step", "Plugin"]))
        callback = rng.choice(["label", "title", "code"])
        function = rng.choice(["describe", "summary", "line"])
        word, mark = rng.choice(["kind", "type", "step"]), rng.choice([": ", " - ", "/"])
        default = rng.choice(["none", "plain", "unnamed"])
        given = e.label.draw(rng)

        def build(c: Choices) -> Program:
            opt = c["option"]
            shown = f'"#{{prefix}}{mark}#{{{callback}()}}"' if opt else f'"{word}{mark}#{{{callback}()}}"'
            setup = f'prefix = Keyword.get(options, :prefix, "{word}")\n' if opt else ""
            body = shown if not opt else f'unquote(prefix) <> "{mark}" <> {callback}()'
            default_def = f'@impl true\ndef {callback}, do: "{default}"\n' if c["default"] else ""
            overridable = f"defoverridable {callback}: 0" if c["default"] else ""
            using = fill(
                '@doc false\ndefmacro __using__($options) do\n  $setup\n  quote do\n    @behaviour $name\n\n    $default\n\n    @doc "A line about this module."\n    @spec $f() :: String.t()\n    def $f, do: $body\n\n    $overridable\n  end\nend',
                options="options" if opt else "_options",
                setup=setup,
                name=name,
                default=default_def,
                f=function,
                body=body,
                overridable=overridable,
            )
            parts = [f'@doc "The name of the module."\n@callback {callback}() :: String.t()', using]
            if c["list"]:
                parts.append(
                    f'@doc "A line for each of some modules."\n@spec all([module()]) :: [String.t()]\ndef all(modules), do: Enum.map(modules, & &1.{function}())'
                )
            N = name
            use_ = f'use {N}, prefix: "own"' if opt else f"use {N}"
            helper = (
                f"defmodule One do\n  use {N}\n\n  @impl true\n  def {callback}, do: {literal(given)}\nend\n\ndefmodule Two do\n  {use_}\n"
                + ("" if c["default"] else f'\n  @impl true\n  def {callback}, do: "{default}"\n')
                + "end"
            )
            second = f"{'own' if opt else word}{mark}{default}"
            tests = exunit(
                name,
                helper,
                check(
                    "one's own",
                    f'assert One.{function}() == "{word}{mark}{given}"\nassert One.{callback}() == {literal(given)}',
                ),
                check("another", f'assert Two.{function}() == "{second}"'),
                check("the behaviour", f"assert {N}.behaviour_info(:callbacks) == [{callback}: 0]"),
                check("all/1", f'assert {N}.all([One, Two]) == ["{word}{mark}{given}", "{second}"]')
                if c["list"]
                else "",
            )
            return Program(
                code=module(name, "A behaviour, and what modules get that use it.", *parts),
                tests=tests,
                explanation="`__using__/1` writes code into the module that says `use`; the behaviour lets the compiler check that its callback is there.",
                faults=(
                    Fault(
                        f"{mark}#{{{callback}()}}",
                        f"{mark}#{{__MODULE__}}",
                        "wrong_value",
                        "It shows the module instead of what the callback gives.",
                    ),
                    Fault(f"<> {callback}()", '<> ""', "missing_term", "What the callback gives is left out."),
                    Fault(
                        f'def {callback}, do: "{default}"',
                        f'def {callback}, do: ""',
                        "wrong_default",
                        "The default is an empty text.",
                    ),
                    Fault("unquote(prefix)", f'"{word}"', "ignored_setting", "The option is ignored."),
                ),
            )

        axes = {
            "base": Axis(
                ways={
                    "it": Way(
                        ask=f'`use` gives a module the function `{function}/0`, which answers "{word}{mark}NAME", where NAME is what the callback `{callback}/0` gives.'
                    )
                }
            ),
            "default": Axis(
                ways={
                    False: Way(ask="Every module has to write the callback.", answer="It has to be written."),
                    True: Way(
                        ask=f'The callback has a default, "{default}", which a module may override.',
                        answer=f'There is a default, "{default}", that can be overridden.',
                        request=f'Give the callback a default, "{default}", that a module may override.',
                    ),
                }
            ),
            "option": wanted(
                f'`use` takes an option `:prefix` instead of "{word}".',
                f'Let `use` take an option `:prefix` ("{word}" by default).',
            ),
            "list": wanted(
                f"`all/1` calls `{function}/0` of a list of modules.",
                f"Add `all/1`, which calls `{function}/0` of a list of modules.",
            ),
        }
        titles = (
            f"a behaviour with one callback, `{callback}/0`, and a `__using__` macro",
            f"a module to `use`: it defines the callback `{callback}/0` and adds `{function}/0`",
        )
    else:
        name = in_context(rng, rng.choice(["Codes", "Currencies", "Names", f"{e.module}Codes"]))
        function = rng.choice(["code", "number", "id"])
        back = rng.choice(["name", "label", "of"])
        kinds = list(dict.fromkeys(map(str, [*e.kind.values, *rng.sample(["alpha", "beta", "gamma", "delta"], 2)])))[:4]
        codes = rng.sample(range(1, 99), len(kinds))

        def build(c: Choices) -> Program:
            table = ", ".join(f"{kind}: {code}" for kind, code in zip(kinds, codes))
            missing = {"error": ":error", "nil": "nil", "clause": None}[c["missing"]]
            one = lambda text: f"{{:ok, {text}}}" if c["missing"] == "error" else text
            fallback = f"\n\ndef $x(_other), do: {missing}" if missing else ""
            if c["form"] == "generated":
                first = (
                    f"for {{name, code}} <- @table do\n  def {function}(unquote(name)), do: unquote(code)\nend"
                    if missing != ":error"
                    else f"for {{name, code}} <- @table do\n  def {function}(unquote(name)), do: {{:ok, unquote(code)}}\nend"
                )
                second = (
                    f"for {{name, code}} <- @table do\n  def {back}(unquote(code)), do: {one('unquote(name)')}\nend"
                )
            else:
                first = "\n".join(f"def {function}(:{kind}), do: {one(str(code))}" for kind, code in zip(kinds, codes))
                second = "\n".join(f"def {back}({code}), do: {one(':' + kind)}" for kind, code in zip(kinds, codes))
            parts = [
                f"@table [{table}]" if c["form"] == "generated" or c["all"] else "",
                f'@doc "The number of a name."\n@spec {function}(atom()) :: term()\n{first}{fallback.replace("$x", function)}',
                f'@doc "The name of a number."\n@spec {back}(integer()) :: term()\n{second}{fallback.replace("$x", back)}',
            ]
            if c["all"]:
                parts.append('@doc "All names."\n@spec all() :: [atom()]\ndef all, do: Keyword.keys(@table)')
            N = name
            lines = "\n".join(
                f"assert {N}.{function}(:{kind}) == {one(str(code))}\nassert {N}.{back}({code}) == {one(':' + kind)}"
                for kind, code in zip(kinds, codes)
            )
            wrong = (
                f"assert {N}.{function}(:unheard) == {missing}\nassert {N}.{back}(0) == {missing}"
                if missing
                else f"assert_raise FunctionClauseError, fn -> {N}.{function}(:unheard) end\nassert_raise FunctionClauseError, fn -> {N}.{back}(0) end"
            )
            return Program(
                code=module(name, "Names and their numbers.", *parts),
                tests=exunit(
                    name,
                    check("both ways", lines),
                    check("unknown", wrong),
                    check("all", f"assert {N}.all() == [{', '.join(':' + kind for kind in kinds)}]")
                    if c["all"]
                    else "",
                ),
                explanation="Clauses that are generated from a table when the module is compiled are as fast as written ones, and the table is the only place to change.",
                faults=(
                    Fault(
                        f"{kinds[0]}: {codes[0]}",
                        f"{kinds[0]}: {codes[0] + 100}",
                        "wrong_constant",
                        f"`:{kinds[0]}` has the wrong number.",
                    ),
                    Fault(
                        f"(:{kinds[0]}), do: {one(str(codes[0]))}",
                        f"(:{kinds[0]}), do: {one(str(codes[0] + 100))}",
                        "wrong_constant",
                        f"`:{kinds[0]}` has the wrong number.",
                    ),
                    Fault(
                        f"(_other), do: {missing}",
                        "(_other), do: 0",
                        "wrong_error",
                        "Unknown names should not have a number.",
                    ),
                ),
            )

        axes = {
            "missing": Axis(
                ways={
                    "error": Way(
                        ask="They answer `{:ok, value}` or `:error`.",
                        answer="`:error`, and `{:ok, value}` for the known ones.",
                        request="Answer `{:ok, value}` or `:error`.",
                    ),
                    "nil": Way(ask="They answer the value, or nil.", answer="nil."),
                    "clause": Way(
                        ask="Anything unknown raises a `FunctionClauseError`.",
                        answer="Let it raise a FunctionClauseError.",
                    ),
                },
                question="What should an unknown name or number give?",
            ),
            "all": wanted("`all/0` lists the names.", "Add `all/0`, which lists the names."),
            "form": style("generated", "written"),
        }
        rule = ", ".join(f"`:{kind}` is {code}" for kind, code in zip(kinds, codes))
        titles = (
            f"`{function}/1` and `{back}/1`, which translate names to numbers and back: {rule}",
            f"a table of names and numbers ({rule}) with `{function}/1` from name to number and `{back}/1` the other way",
        )
    return draw(
        rng,
        family="errors_macros",
        name=f"{name}.{function}/1",
        module=name,
        titles=titles,
        axes=axes,
        build=build,
        operations=("macro", kind),
        difficulty=3,
    )


FAMILIES: dict[str, Family] = {
    "errors_exceptions": exceptions,
    "errors_macros": macros,
    "errors_options": options,
    "errors_retry": retry,
}
