defmodule ElixirCoder.Worker.Mutate do
  @moduledoc """
  Small changes to a program, each of which a good test-suite should notice: the mutants of mutation testing.

  Everything here works on the syntax tree: nothing is compiled or run (`ElixirCoder.Worker.MutationRun` does that).
  `mutants/1` answers the worker's operation of that name. A mutant is a place in the tree and the tree that stands
  there instead; the order is that of the walk, so the same text gives the same mutants on every machine, and a mutant
  is named by its number.

  Operators (DeMillo, Lipton and Sayward 1978; names of the classes after Offutt et al. 1996 and PIT where they exist):

    * `arithmetic` `+ - * / div rem`, unary minus; `comparison` boundary, mirror and negation; `boolean` `and/or`,
      `&&/||`, `not`, `!`; `condition` the opposite of what `if`, `unless`, `cond` and the filters of `for` ask
    * `integer` plus one, minus one, zero; `float`; `boolean_literal`; `atom`; `ok_error`; `string`; `list`
    * `pipeline` without one of its steps; `call` swapped for its counterpart (`Enum.filter` and `Enum.reject`)
    * `clause_deletion` and `clause_order` of functions; `branch_deletion` and `branch_order` of case, cond, fn, ...
    * `guard_negation`, `guard_removal`, `return_value`, `range`, `list_operator`, `concatenation`, `default_argument`,
      `statement_deletion`, `else_removal`, `update_removal`

  Left alone because a change there says nothing about the tests: documentation, types, specifications and other
  attributes that the compiler reads; alias, import, require, use; names of modules, functions and fields; Logger,
  `inspect`, `IO.inspect`, `dbg`; what follows a `raise`; sizes and types in binaries; regular expressions.

  Equivalent mutants, which no test can tell from the original, are an undecidable class. Not listed: `x + 0`, `x ++ []`
  and the like; an order of clauses whose patterns cannot match the same value; a negation that another operator gives
  already. Marked (`likely_equivalent`): times to wait, the boundary in `if a < b, do: a, else: b`, an order of clauses
  whose guards we cannot compare, a guard that says the same of all whole numbers which earlier clauses leave to it
  (`n >= 0` for `n > 0` after a clause for 0). What the compiler can prove is found where mutants are compiled.
  """

  # Part of the key of every cached result: count it up with any change to what is listed, or in which order.
  @version 1

  @comparison %{
    :< => [:<=, :>, :>=],
    :<= => [:<, :>=, :>],
    :> => [:>=, :<, :<=],
    :>= => [:>, :<=, :<],
    :== => [:!=],
    :!= => [:==],
    :=== => [:!==],
    :!== => [:===]
  }
  @boundary %{:< => :<=, :<= => :<, :> => :>=, :>= => :>}
  @arithmetic %{:+ => :-, :- => :+, :* => :+, :/ => :*, :div => :rem, :rem => :div}
  @boolean %{:and => :or, :or => :and, :&& => :||, :|| => :&&}
  @negated [:not, :!, :in | Map.keys(@comparison)]

  # Pairs of functions that take the same arguments.
  @counterparts [
                  {:Enum, :filter, :reject},
                  {:Enum, :any?, :all?},
                  {:Enum, :max, :min},
                  {:Enum, :max_by, :min_by},
                  {:Enum, :take, :drop},
                  {:Enum, :take_while, :drop_while},
                  {:Enum, :take_every, :drop_every},
                  {:Enum, :sum, :product},
                  {:Stream, :filter, :reject},
                  {:Stream, :take, :drop},
                  {:Stream, :take_while, :drop_while},
                  {:List, :first, :last},
                  {:List, :foldl, :foldr},
                  {:String, :upcase, :downcase},
                  {:String, :first, :last},
                  {:String, :starts_with?, :ends_with?},
                  {:String, :trim_leading, :trim_trailing},
                  {:String, :pad_leading, :pad_trailing},
                  {:String, :replace_prefix, :replace_suffix},
                  {:String, :replace_leading, :replace_trailing},
                  {:Map, :put, :put_new},
                  {:Map, :take, :drop},
                  {:Map, :keys, :values},
                  {:Keyword, :put, :put_new},
                  {:Keyword, :take, :drop},
                  {:Keyword, :keys, :values},
                  {:MapSet, :put, :delete},
                  {:MapSet, :union, :intersection},
                  {:Integer, :is_odd, :is_even},
                  {:Float, :ceil, :floor}
                ]
                |> Enum.flat_map(fn {module, one, other} -> [{{module, one}, other}, {{module, other}, one}] end)
                |> Map.new()
                |> Map.merge(%{
                  {:Integer, :mod} => :floor_div,
                  {:Integer, :floor_div} => :mod,
                  {:String, :trim} => :trim_leading,
                  {:Float, :round} => :floor
                })
  @local_counterparts %{
    {:max, 2} => :min,
    {:min, 2} => :max,
    {:ceil, 1} => :floor,
    {:floor, 1} => :ceil,
    {:round, 1} => :trunc,
    {:hd, 1} => :tl,
    {:tl, 1} => :hd
  }
  # Functions of one argument that give something of the same kind back: the mutant is the argument itself.
  @same_kind [
    {:Enum, :reverse},
    {:Enum, :sort},
    {:Enum, :uniq},
    {:Enum, :dedup},
    {:List, :flatten},
    {:String, :reverse},
    {:String, :capitalize}
  ]

  # Attributes whose value the program itself reads are mutated; these are for the compiler and for readers.
  @attributes [:moduledoc, :doc, :typedoc, :spec, :type, :typep, :opaque, :callback, :macrocallback, :behaviour] ++
                [:impl, :derive, :enforce_keys, :compile, :dialyzer, :on_load, :on_definition, :before_compile] ++
                [:after_compile, :after_verify, :external_resource, :deprecated, :since, :vsn, :file, :nifs] ++
                [:optional_callbacks, :fallback_to_any, :tag, :moduletag, :describetag]
  @left_alone [:alias, :import, :require, :use, :__aliases__, :defdelegate, :defprotocol, :defoverridable] ++
                [:defrecord, :defrecordp, :inspect, :dbg, :^, :super, :binding, :__ENV__, :__DIR__]
  @functions [:def, :defp, :defmacro, :defmacrop]
  @leaving [:raise, :reraise, :throw, :exit]
  # How far from the numbers in a guard it is tried out.
  @around 3
  @waiting [:sleep, :send_after, :start_timer, :apply_after, :send_interval, :timeout, :delay, :interval]

  # ---- the operation ----------------------------------------------------------------------------------------------

  @doc """
  The mutants of files: `%{"files" => [[path, text]], "render" => true | false | [id]}`.

  Answers `"mutants"`, a list of `%{"id", "path", "operator", "line", "column", "before", "after", "likely_equivalent"}`
  in which `"before"` and `"after"` are there for the numbers asked for. No atom is created.
  """
  def mutants(%{"files" => files} = args) do
    render = Map.get(args, "render", true)

    result =
      Enum.reduce_while(files, {0, []}, fn [path, text], {first, listed} ->
        names = start_names()

        case parse(text, path, &placeholder(names, &1, &2)) do
          {:ok, tree} ->
            mutants = of_tree(tree, first)
            entries = Enum.map(mutants, &entry(&1, path, render, names))
            :ets.delete(names)
            {:cont, {first + length(mutants), [entries | listed]}}

          {:error, line, column, message} ->
            :ets.delete(names)
            {:halt, {:error, path, line, column, message}}
        end
      end)

    case result do
      {:error, path, line, column, message} ->
        diagnostic = %{
          "check" => "syntax_error",
          "severity" => "error",
          "file" => path,
          "line" => line,
          "column" => column,
          "message" => message
        }

        %{"outcome" => "syntax_error", "diagnostics" => [diagnostic], "output" => "", "mutants" => []}

      {_, listed} ->
        %{
          "outcome" => "ok",
          "diagnostics" => [],
          "output" => "",
          "version" => @version,
          "mutants" => listed |> Enum.reverse() |> Enum.concat()
        }
    end
  end

  defp entry(mutant, path, render, names) do
    {before, changed} =
      if render == true or (is_list(render) and mutant.id in render),
        do: shown(mutant.before, mutant.after, names),
        else: {nil, nil}

    %{
      "id" => mutant.id,
      "path" => path,
      "operator" => Atom.to_string(mutant.operator),
      "line" => mutant.line,
      "column" => mutant.column,
      "likely_equivalent" => mutant.likely,
      "before" => before,
      "after" => changed
    }
  end

  @doc "The operation `mutate`: see `MutationRun`."
  defdelegate mutate(args), to: ElixirCoder.Worker.MutationRun, as: :run

  # ---- text and tree ----------------------------------------------------------------------------------------------

  @doc """
  The tree of a text with a place for every literal: `{:ok, tree}` or `{:error, line, column, message}`.

  A literal is wrapped in a block that `unwrap/1` takes away. `encoder` is `:static_atoms_encoder` of Code, or nil.
  """
  def parse(text, path, encoder \\ nil) do
    options = [
      file: path,
      columns: true,
      token_metadata: true,
      emit_warnings: false,
      literal_encoder: fn literal, meta -> {:ok, {:__block__, [{:literal, true} | meta], [literal]}} end
    ]

    options = if encoder, do: [{:static_atoms_encoder, encoder} | options], else: options

    case Code.string_to_quoted(text, options) do
      {:ok, tree} -> {:ok, Macro.prewalk(tree, &mark_first/1)}
      {:error, {meta, message, token}} -> {:error, meta[:line], meta[:column], whole(message, token)}
    end
  rescue
    error in [UnicodeConversionError, ArgumentError] -> {:error, nil, nil, Exception.message(error)}
  end

  # The parser puts more in front where a literal ends an expression.
  defp mark_first({:__block__, [{:literal, true} | _], _} = node), do: node

  defp mark_first({:__block__, meta, [literal]} = node) do
    if meta[:literal], do: {:__block__, [{:literal, true} | Keyword.delete(meta, :literal)], [literal]}, else: node
  end

  defp mark_first(node), do: node

  defp whole({opening, closing}, token), do: "#{opening}#{token}#{closing}"
  defp whole(message, token), do: "#{message}#{token}"

  @doc "The tree as the compiler expects it."
  def unwrap({:__block__, [{:literal, true} | _], [literal]}), do: unwrap(literal)
  def unwrap({form, meta, arguments}), do: {unwrap(form), meta, unwrap(arguments)}
  def unwrap({left, right}), do: {unwrap(left), unwrap(right)}
  def unwrap(list) when is_list(list), do: unwrap_list(list)
  def unwrap(other), do: other

  defp unwrap_list([head | tail]), do: [unwrap(head) | unwrap_list(tail)]
  defp unwrap_list(tail), do: unwrap(if(tail == [], do: nil, else: tail)) || []

  @doc "The tree with one mutant in it; still wrapped."
  def apply_mutant(tree, %{path: path, node: node}), do: put(tree, path, node)

  @doc """
  The tree with a call that does nothing at the start of its first function, or nil where it has none.

  No test can tell it from the original but one that looks at the code itself, or that fails when it is run again.
  """
  def control(tree) do
    mark = {{:., [], [:erlang, :node]}, [], []}

    {tree, found} =
      Macro.prewalk(tree, false, fn
        {form, meta, [head, [{key, body} | others]]}, false when form in [:def, :defp] ->
          if key(key) == :do,
            do: {{form, meta, [head, [{key, before(mark, body)} | others]]}, true},
            else: {nil, false}

        node, found ->
          {node, found}
      end)

    if found, do: tree
  end

  defp before(mark, body), do: {:__block__, [], [{:=, [], [{:_, [], nil}, mark]}, body]}

  defp put(_tree, [], node), do: node
  defp put({form, meta, arguments}, [:form | path], node), do: {put(form, path, node), meta, arguments}

  defp put({form, meta, arguments}, [{:arg, at} | path], node),
    do: {form, meta, List.update_at(arguments, at, &put(&1, path, node))}

  defp put({left, right}, [:left | path], node), do: {put(left, path, node), right}
  defp put({left, right}, [:right | path], node), do: {left, put(right, path, node)}
  defp put(list, [{:el, at} | path], node), do: List.update_at(list, at, &put(&1, path, node))

  # A name that the VM does not know stands as a name that it does: a text must not fill the table of atoms. Its first
  # and last characters are kept where they mean something.
  @most_names 50_000

  defp start_names, do: :ets.new(:names, [:set, :private])

  defp placeholder(names, name, _where) do
    {:ok, String.to_existing_atom(name)}
  rescue
    ArgumentError -> stand_in(names, name)
  end

  defp stand_in(names, name) do
    case :ets.lookup(names, {:atom, name}) do
      [{_, atom}] ->
        {:ok, atom}

      [] ->
        number = :ets.info(names, :size)

        if number > 2 * @most_names or String.length(name) > 255 do
          {:error, "too many different names, or a name that is too long"}
        else
          text = stand_in_text(name, number)
          atom = String.to_atom(text)
          :ets.insert(names, [{{:atom, name}, atom}, {text, name}])
          {:ok, atom}
        end
    end
  end

  defp stand_in_text(name, number) do
    cond do
      name =~ ~r/\Asigil_[a-zA-Z]\z/ -> name
      name =~ ~r/\A_[\w]*\z/u -> "_mutate_name_#{number}"
      name =~ ~r/\A[\p{Lu}][\w]*\z/u -> "MutateName#{number}x"
      name =~ ~r/\A[\p{L}][\w]*[?!]\z/u -> "mutate_name_#{number}x" <> String.last(name)
      name =~ ~r/\A[\p{L}][\w@]*\z/u -> "mutate_name_#{number}x"
      true -> "mutate name #{number}x"
    end
  end

  @doc "What stood there and what stands there now as source, a few lines each; \"\" where it was taken away."
  def shown(before, changed, names \\ nil) do
    {before, changed} = {lines(before, names), lines(changed, names)}

    {before, changed} =
      if length(before) + length(changed) > 8, do: where_they_differ(before, changed), else: {before, changed}

    {shortened(before), shortened(changed)}
  end

  defp lines(nil, _names), do: []
  defp lines(node, names), do: node |> source() |> with_names(names) |> String.split("\n")

  defp source({:step, step}), do: "|> " <> source(step)
  defp source({:guard, guard}), do: "when " <> source(guard)
  defp source({:clauses, clauses}), do: clauses |> source() |> without_parentheses()
  defp source({:field, field}), do: {:%{}, [], [field]} |> source() |> String.slice(2..-2//1)

  defp source(node) do
    node |> Code.quoted_to_algebra() |> Inspect.Algebra.format(98) |> IO.iodata_to_binary()
  rescue
    # Elixir 1.14 cannot write charlists with control characters as they were.
    _error -> node |> unwrap() |> Macro.to_string()
  end

  # Clauses without what they belong to are written in parentheses.
  defp without_parentheses("(\n" <> text),
    do: text |> String.replace_suffix("\n)", "") |> String.replace(~r/^  /m, "")

  defp without_parentheses("(" <> text), do: String.replace_suffix(text, ")", "")
  defp without_parentheses(text), do: text

  defp with_names(text, nil), do: text

  defp with_names(text, names) do
    Regex.replace(~r/_?mutate_name_\d+x?[?!]?|MutateName\d+x|mutate name \d+x/, text, fn found ->
      case :ets.lookup(names, found) do
        [{_, name}] ->
          if String.starts_with?(found, "mutate name"), do: String.replace(name, "\"", "\\\""), else: name

        [] ->
          found
      end
    end)
  end

  # Without the lines that both begin and end with, but for one of each.
  defp where_they_differ([_ | _] = before, [_ | _] = changed) do
    start = num_equal(before, changed)
    {before, changed} = {Enum.drop(before, max(start - 1, 0)), Enum.drop(changed, max(start - 1, 0))}
    ending = max(num_equal(Enum.reverse(before), Enum.reverse(changed)) - 1, 0)
    {Enum.drop(before, -ending), Enum.drop(changed, -ending)}
  end

  defp where_they_differ(before, changed), do: {before, changed}

  defp num_equal(one, other), do: one |> Enum.zip(other) |> Enum.take_while(fn {a, b} -> a == b end) |> length()

  defp shortened(lines) do
    lines = if length(lines) > 8, do: Enum.take(lines, 7) ++ ["..."], else: lines

    Enum.map_join(lines, "\n", fn line ->
      if String.length(line) > 160, do: String.slice(line, 0, 157) <> "...", else: line
    end)
  end

  # ---- the walk ---------------------------------------------------------------------------------------------------
  #
  # ctx: `kind` is where the node stands (:module, :body, :pattern, :guard); `bound` the variables that have a value;
  # `likely` whether a change there is likely to change nothing. A path runs from the node up to the root.

  # These are all different, and large.
  @whole [:clause_deletion, :clause_order, :branch_deletion, :branch_order, :statement_deletion, :pipeline] ++
           [:else_removal, :update_removal, :guard_removal]

  @doc "Every mutant of a tree, in the order of the walk, numbered from `first`."
  def of_tree(tree, first \\ 0) do
    tree
    |> walk([], %{kind: :body, bound: MapSet.new(), likely: false, name: nil, piped: 0, taken: []}, [])
    |> Enum.reverse()
    |> Enum.uniq_by(&if(&1.operator in @whole, do: make_ref(), else: {&1.path, strip(&1.node)}))
    |> Enum.with_index(first)
    |> Enum.map(fn {mutant, id} -> Map.put(mutant, :id, id) end)
  end

  # place: a node that has a line. before, shown_after: what the report shows. node: what stands at the path.
  defp add(acc, ctx, path, operator, place, {before, shown_after}, node, options \\ []) do
    {line, column} = position(place)

    mutant = %{
      operator: operator,
      path: Enum.reverse(path),
      node: node,
      line: line,
      column: column,
      before: before,
      after: shown_after,
      likely: ctx.likely or Keyword.get(options, :likely, false)
    }

    [mutant | acc]
  end

  defp swap(acc, ctx, path, operator, node, replacement, options \\ []),
    do: add(acc, ctx, path, operator, node, {node, replacement}, replacement, options)

  # ---- literals
  defp walk({:__block__, [{:literal, true} | _] = meta, [literal]} = node, path, ctx, acc) do
    acc =
      Enum.reduce(literals(literal, meta, ctx), acc, fn {operator, new}, acc ->
        swap(acc, ctx, path, operator, node, new)
      end)

    if charlist?(literal, meta), do: acc, else: walk(literal, [{:arg, 0} | path], %{ctx | piped: 0}, acc)
  end

  # ---- what is left alone
  defp walk({:@, _, [{name, _, [_]}]}, _path, _ctx, acc) when name in @attributes, do: acc

  defp walk({:@, _, [{_, _, [_value]}]} = node, path, ctx, acc),
    do: walk_at(node, [{:arg, 0}, {:arg, 0}], path, ctx, acc)

  defp walk({:@, _, _}, _path, _ctx, acc), do: acc
  defp walk({form, _, arguments}, _path, _ctx, acc) when form in @left_alone and is_list(arguments), do: acc
  defp walk({form, _, context}, _path, _ctx, acc) when is_atom(form) and is_atom(context), do: acc
  defp walk({{:., _, [{:__aliases__, _, [:Logger]}, _]}, _, _}, _path, _ctx, acc), do: acc

  defp walk({{:., _, [{:__aliases__, _, [:IO]}, :inspect]}, _, arguments} = node, path, %{piped: 0} = ctx, acc)
       when arguments != [],
       do: walk_at(node, [{:arg, 0}], path, ctx, acc)

  defp walk({{:., _, [{:__aliases__, _, [:IO]}, :inspect]}, _, _}, _path, _ctx, acc), do: acc

  # ---- modules and functions
  defp walk({form, _, arguments}, path, ctx, acc) when form in [:defmodule, :defimpl] and is_list(arguments),
    do: walk_options(List.last(arguments), [{:arg, length(arguments) - 1} | path], %{ctx | kind: :module}, acc)

  defp walk({form, _, [fields]}, path, ctx, acc) when form in [:defstruct, :defexception] do
    {fields, path} = inside(fields, [{:arg, 0} | path])
    walk_values(fields, path, %{ctx | kind: :body}, acc)
  end

  defp walk({form, _, [{:when, _, [_call, guard]}]}, path, ctx, acc) when form in [:defguard, :defguardp],
    do: walk(guard, [{:arg, 1}, {:arg, 0} | path], %{ctx | kind: :guard}, acc)

  defp walk({form, _, [head | rest]}, path, ctx, acc) when form in @functions do
    {call, guard, call_path} = head(head, [{:arg, 0} | path])
    inner = %{ctx | kind: :body, bound: MapSet.union(ctx.bound, variables(call)), name: name(call), taken: []}

    acc =
      if guard do
        guard_path = [{:arg, 1}, {:arg, 0} | path]
        found = guards(head, [{:arg, 0} | path], call, ctx, [])
        found = walk(guard, guard_path, %{inner | kind: :guard}, found)
        Enum.map(found, &mark_same_guard(&1, guard, length(guard_path), ctx.taken)) ++ acc
      else
        acc
      end

    acc = walk_arguments(call, call_path, %{ctx | kind: :pattern, taken: []}, acc)

    case rest do
      [options] when is_list(options) ->
        acc = returns_of(options, [{:arg, 1} | path], inner, acc)
        walk_options(options, [{:arg, 1} | path], inner, acc)

      _ ->
        acc
    end
  end

  defp walk({:\\, _, [_parameter, default]}, path, ctx, acc) do
    at = [{:arg, 1} | path]
    ctx = %{ctx | kind: :body}

    acc =
      cond do
        literal?(default, nil) -> swap(acc, ctx, at, :default_argument, default, wrap(:mutated, default))
        literal?(default) -> acc
        true -> swap(acc, ctx, at, :default_argument, default, wrap(nil, default))
      end

    walk(default, at, ctx, acc)
  end

  # ---- blocks
  defp walk({:__block__, _, statements}, path, ctx, acc) when is_list(statements) do
    groups = if ctx.kind == :module, do: function_groups(statements), else: []
    acc = Enum.reduce(groups, acc, &function_clauses(&1, statements, path, ctx, &2))
    statements(statements, 0, path, ctx, taken_by_others(groups), statements, acc)
  end

  defp walk({:fn, _, clauses}, path, ctx, acc), do: clauses(clauses, :fn, path, :arg, ctx, acc)

  # ---- conditions
  defp walk({form, _, [condition, options]} = node, path, ctx, acc)
       when form in [:if, :unless] and is_list(options) do
    acc = negate(condition, [{:arg, 0} | path], ctx, acc)
    before = length(acc)
    acc = walk(condition, [{:arg, 0} | path], ctx, acc)
    acc = if picks_one?(node), do: mark_boundary(acc, before, condition), else: acc
    inner = %{ctx | bound: MapSet.union(ctx.bound, variables(condition))}
    walk_options(options, [{:arg, 1} | path], inner, acc)
  end

  defp walk({:case, _, [value, options]}, path, ctx, acc) when is_list(options) do
    acc = walk(value, [{:arg, 0} | path], ctx, acc)
    walk_options(options, [{:arg, 1} | path], ctx, acc, :case)
  end

  defp walk({:case, _, [options]}, path, %{piped: 1} = ctx, acc) when is_list(options),
    do: walk_options(options, [{:arg, 0} | path], %{ctx | piped: 0}, acc, :case)

  defp walk({:cond, _, [options]}, path, ctx, acc), do: walk_options(options, [{:arg, 0} | path], ctx, acc, :cond)

  defp walk({:receive, _, [options]}, path, ctx, acc),
    do: walk_options(options, [{:arg, 0} | path], ctx, acc, :receive)

  defp walk({:try, _, [options]}, path, ctx, acc), do: walk_options(options, [{:arg, 0} | path], ctx, acc, :try)

  defp walk({form, _, arguments} = node, path, ctx, acc) when form in [:with, :for] and is_list(arguments) do
    acc = if form == :with, do: with_mutants(node, path, ctx, acc), else: acc

    {acc, _} =
      arguments
      |> Enum.with_index()
      |> Enum.reduce({acc, ctx}, fn {argument, at}, {acc, ctx} ->
        at_path = [{:arg, at} | path]

        acc =
          cond do
            is_list(argument) -> walk_options(argument, at_path, ctx, acc, form)
            form == :for and filter?(argument) -> walk(argument, at_path, ctx, negate(argument, at_path, ctx, acc))
            true -> walk(argument, at_path, ctx, acc)
          end

        {acc, %{ctx | bound: MapSet.union(ctx.bound, variables(argument))}}
      end)

    acc
  end

  # ---- matches
  defp walk({form, _, [left, right]}, path, ctx, acc) when form in [:=, :<-] do
    {pattern, guard, pattern_path} = head(left, [{:arg, 0} | path])
    acc = walk(pattern, pattern_path, %{ctx | kind: :pattern}, acc)
    acc = if guard, do: guards(left, [{:arg, 0} | path], pattern, ctx, acc), else: acc
    acc = if guard, do: walk(guard, [{:arg, 1}, {:arg, 0} | path], %{ctx | kind: :guard}, acc), else: acc
    walk(right, [{:arg, 1} | path], ctx, acc)
  end

  defp walk({:match?, _, [pattern, value]}, path, ctx, acc) do
    {pattern, guard, pattern_path} = head(pattern, [{:arg, 0} | path])
    acc = walk(pattern, pattern_path, %{ctx | kind: :pattern}, acc)
    acc = if guard, do: walk(guard, [{:arg, 1}, {:arg, 0} | path], %{ctx | kind: :guard}, acc), else: acc
    walk(value, [{:arg, 1} | path], ctx, acc)
  end

  # ---- operators
  defp walk({form, meta, [left, right]} = node, path, %{kind: kind} = ctx, acc)
       when is_map_key(@comparison, form) and kind != :pattern do
    acc = Enum.reduce(@comparison[form], acc, &swap(&2, ctx, path, :comparison, node, {&1, meta, [left, right]}))
    walk_arguments(node, path, ctx, acc)
  end

  defp walk({form, meta, [left, right]} = node, path, %{kind: kind, piped: 0} = ctx, acc)
       when is_map_key(@arithmetic, form) and kind != :pattern do
    acc =
      if form in [:+, :-] and literal?(right, 0),
        do: acc,
        else: swap(acc, ctx, path, :arithmetic, node, {@arithmetic[form], meta, [left, right]})

    walk_arguments(node, path, ctx, acc)
  end

  defp walk({form, meta, [left, right]} = node, path, ctx, acc) when is_map_key(@boolean, form) do
    acc = swap(acc, ctx, path, :boolean, node, {@boolean[form], meta, [left, right]})
    walk_arguments(node, path, ctx, acc)
  end

  # `a not in b` is not(a in b)
  defp walk({:not, _, [{:in, _, [_, _]} = membership]} = node, path, ctx, acc) do
    acc = swap(acc, ctx, path, :boolean, node, membership)
    walk_arguments(membership, [{:arg, 0} | path], ctx, acc)
  end

  defp walk({form, _, [value]} = node, path, ctx, acc) when form in [:not, :!] do
    # `!!value` makes a boolean of anything: without both it says the same wherever only its truth is asked for.
    acc =
      if match?({:!, _, [_]}, value) and form == :!,
        do: acc,
        else: swap(acc, ctx, path, :boolean, node, value)

    walk(value, [{:arg, 0} | path], ctx, acc)
  end

  defp walk({:in, meta, [_, _]} = node, path, %{kind: kind} = ctx, acc) when kind != :pattern do
    acc = swap(acc, ctx, path, :comparison, node, {:not, meta, [node]})
    walk_arguments(node, path, ctx, acc)
  end

  defp walk({:=~, meta, [_, _]} = node, path, ctx, acc) do
    acc = swap(acc, ctx, path, :comparison, node, {:not, meta, [node]})
    walk_arguments(node, path, ctx, acc)
  end

  defp walk({:-, _, [value]} = node, path, ctx, acc) do
    acc = if literal?(value, 0), do: acc, else: swap(acc, ctx, path, :arithmetic, node, value)

    case value do
      {:__block__, [{:literal, true} | _], [number]} when is_number(number) and ctx.kind != :pattern ->
        # -1 is one number to its reader
        Enum.reduce(numbers(-number), acc, fn {operator, new}, acc ->
          swap(acc, ctx, path, operator, node, wrap(new, value))
        end)

      _ ->
        walk(value, [{:arg, 0} | path], ctx, acc)
    end
  end

  defp walk({form, meta, [left, right]} = node, path, %{kind: kind} = ctx, acc)
       when form in [:++, :--] and kind != :pattern do
    other = if form == :++, do: :--, else: :++

    acc =
      if literal?(right, []),
        do: acc,
        else: swap(acc, ctx, path, :list_operator, node, {other, meta, [left, right]})

    walk_arguments(node, path, ctx, acc)
  end

  defp walk({:<>, _, [left, right]} = node, path, %{kind: kind} = ctx, acc) when kind != :pattern do
    acc = if literal?(right, ""), do: acc, else: swap(acc, ctx, path, :concatenation, node, left)
    acc = if literal?(left, ""), do: acc, else: swap(acc, ctx, path, :concatenation, node, right)
    walk_arguments(node, path, ctx, acc)
  end

  # ---- ranges
  defp walk({:"..//", meta, [first, last, step]} = node, path, %{kind: kind} = ctx, acc) when kind != :pattern do
    acc = range(node, path, ctx, acc, fn first, last -> {:"..//", meta, [first, last, step]} end)
    acc = walk(first, [{:arg, 0} | path], ctx, acc)
    acc = walk(last, [{:arg, 1} | path], ctx, acc)

    case step do
      {:__block__, [{:literal, true} | _], [number]} when is_integer(number) ->
        Enum.reduce(
          [number + 1, number - 1] -- [0],
          acc,
          &swap(&2, ctx, [{:arg, 2} | path], :range, step, wrap(&1, step))
        )

      {:-, _, [{:__block__, [{:literal, true} | _], [number]} = literal]} when is_integer(number) ->
        Enum.reduce(
          [1 - number, -1 - number] -- [0],
          acc,
          &swap(&2, ctx, [{:arg, 2} | path], :range, step, wrap(&1, literal))
        )

      _ ->
        walk(step, [{:arg, 2} | path], ctx, acc)
    end
  end

  defp walk({:.., meta, [_, _]} = node, path, %{kind: kind} = ctx, acc) when kind != :pattern do
    acc = range(node, path, ctx, acc, fn first, last -> {:.., meta, [first, last]} end)
    walk_arguments(node, path, ctx, acc)
  end

  # ---- data
  defp walk({:%{}, meta, [{:|, bar, [map, fields]}]} = node, path, ctx, acc) do
    acc = updates(node, map, fields, &{:%{}, meta, [{:|, bar, [map, &1]}]}, path, ctx, acc)
    walk_update(map, fields, [{:arg, 0} | path], ctx, acc)
  end

  defp walk({:%, outer, [struct, {:%{}, meta, [{:|, bar, [map, fields]}]}]} = node, path, ctx, acc) do
    acc = updates(node, map, fields, &{:%, outer, [struct, {:%{}, meta, [{:|, bar, [map, &1]}]}]}, path, ctx, acc)
    walk_update(map, fields, [{:arg, 0}, {:arg, 1} | path], ctx, acc)
  end

  defp walk({:%, _, [_, _]} = node, path, ctx, acc), do: walk_at(node, [{:arg, 1}], path, ctx, acc)

  # Text with interpolation: emptied as a whole, and what is interpolated is a program like any other.
  defp walk({:<<>>, meta, parts} = node, path, ctx, acc) do
    if Keyword.has_key?(meta, :delimiter) and interpolated?(parts) do
      acc = swap(acc, ctx, path, :string, node, literal("", meta))

      walk_each(parts, path, acc, fn
        {:"::", _, [{{:., _, _}, _, [_]} | _]} = part, at, acc -> walk_at(part, [{:arg, 0}, {:arg, 0}], at, ctx, acc)
        _, _, acc -> acc
      end)
    else
      walk_each(parts, path, acc, fn
        {:"::", _, [value, _]}, at, acc -> walk(value, [{:arg, 0} | at], ctx, acc)
        # a generator of bytes
        {:<-, _, _} = part, at, acc -> walk(part, at, ctx, acc)
        part, at, acc -> walk(part, at, ctx, acc)
      end)
    end
  end

  defp walk({sigil, meta, [{:<<>>, _, parts}, modifiers]} = node, path, ctx, acc) when is_list(modifiers) do
    case {sigil, parts} do
      {_, [""]} -> acc
      {sigil, _} when sigil in [:sigil_w, :sigil_W] -> swap(acc, ctx, path, :list, node, literal([], meta))
      {sigil, _} when sigil in [:sigil_c, :sigil_C] -> swap(acc, ctx, path, :list, node, literal([], meta))
      {sigil, _} when sigil in [:sigil_s, :sigil_S] -> swap(acc, ctx, path, :string, node, literal("", meta))
      _ -> acc
    end
  end

  # ---- calls
  defp walk({:&, _, [number]}, _path, _ctx, acc) when is_integer(number), do: acc

  defp walk({:&, _, [{:/, slash, [{target, meta, context}, arity]}]} = node, path, ctx, acc)
       when context in [nil, []] do
    case counterpart({target, meta, []}, key(arity)) do
      nil ->
        acc

      {other, _, _} ->
        swap(acc, ctx, path, :call, node, {:&, elem(node, 1), [{:/, slash, [{other, meta, context}, arity]}]})
    end
  end

  defp walk({:|>, _, _} = node, path, ctx, acc), do: pipeline(node, path, ctx, acc)

  defp walk({form, _, arguments} = node, path, ctx, acc) when is_list(arguments) do
    acc = if ctx.kind in [:body, :guard], do: call_mutants(node, path, ctx, acc), else: acc

    acc =
      case form do
        {:., _, [target | _]} ->
          if module?(target), do: acc, else: walk(target, [{:arg, 0}, :form | path], %{ctx | piped: 0}, acc)

        form when is_tuple(form) ->
          walk(form, [:form | path], %{ctx | piped: 0}, acc)

        _ ->
          acc
      end

    ctx = if function_name(form) in @waiting, do: %{ctx | likely: true}, else: ctx
    walk_arguments(node, path, ctx, acc)
  end

  # ---- pairs and lists
  defp walk({key, value}, path, ctx, acc) do
    acc = if keyword_key?(key), do: acc, else: walk(key, [:left | path], ctx, acc)
    ctx = if key(key) in @waiting, do: %{ctx | likely: true}, else: ctx
    walk(value, [:right | path], ctx, acc)
  end

  defp walk(list, path, ctx, acc) when is_list(list) do
    if clauses?(list),
      do: clauses(list, :case, path, :el, ctx, acc),
      else: walk_elements(list, 0, path, ctx, acc)
  end

  defp walk(_, _path, _ctx, acc), do: acc

  # ---- where to go on
  defp walk_at(node, steps, path, ctx, acc) do
    target = Enum.reduce(steps, node, fn {:arg, at}, {_, _, arguments} -> Enum.at(arguments, at) end)
    walk(target, Enum.reverse(steps) ++ path, ctx, acc)
  end

  defp walk_arguments({_, _, arguments}, path, ctx, acc) when is_list(arguments),
    do: walk_each(arguments, path, acc, fn argument, at, acc -> walk(argument, at, %{ctx | piped: 0}, acc) end)

  defp walk_arguments(_, _path, _ctx, acc), do: acc

  defp walk_each(arguments, path, acc, fun) do
    arguments
    |> Enum.with_index()
    |> Enum.reduce(acc, fn {argument, at}, acc -> fun.(argument, [{:arg, at} | path], acc) end)
  end

  defp walk_elements([element | rest], at, path, ctx, acc),
    do: walk_elements(rest, at + 1, path, ctx, walk(element, [{:el, at} | path], ctx, acc))

  defp walk_elements(_, _at, _path, _ctx, acc), do: acc

  # `do: ..., else: ...` and the like. Elsewhere than in a block, options.
  defp walk_options(options, path, ctx, acc, form \\ nil)

  defp walk_options(options, path, ctx, acc, form) when is_list(options) do
    options
    |> Enum.with_index()
    |> Enum.reduce(acc, fn
      {{key, value}, at}, acc ->
        path = [:right, {:el, at} | path]

        case {key(key), clauses?(value)} do
          {:rescue, true} -> clauses(value, :rescue, path, :el, ctx, acc)
          {:after, true} -> clauses(value, :after, path, :el, ctx, acc)
          {:else, true} -> clauses(value, :else, path, :el, ctx, acc)
          {_, true} -> clauses(value, form || :case, path, :el, ctx, acc)
          _ -> walk(value, path, ctx, acc)
        end

      {other, at}, acc ->
        walk(other, [{:el, at} | path], ctx, acc)
    end)
  end

  defp walk_options(other, path, ctx, acc, _form), do: walk(other, path, ctx, acc)

  # The values of `a: 1, b: 2`, for lists whose elements without a value are names.
  defp walk_values(fields, path, ctx, acc) when is_list(fields) do
    fields
    |> Enum.with_index()
    |> Enum.reduce(acc, fn {field, at}, acc ->
      case inside(field, [{:el, at} | path]) do
        {{_key, value}, path} -> walk(value, [:right | path], ctx, acc)
        _ -> acc
      end
    end)
  end

  defp walk_values(_fields, _path, _ctx, acc), do: acc

  defp walk_update(map, fields, path, ctx, acc) do
    acc = walk(map, [{:arg, 0} | path], ctx, acc)
    walk(fields, [{:arg, 1} | path], ctx, acc)
  end

  # ---- operators that need more than one node ---------------------------------------------------------------------

  # A statement that binds what comes later cannot go: it would not compile.
  defp statements([], _at, _path, _ctx, _taken, _all, acc), do: acc

  defp statements([statement | rest], at, path, ctx, taken, all, acc) do
    acc =
      if ctx.kind == :body and rest != [] and removable?(statement, rest, ctx) do
        left =
          case List.delete_at(all, at) do
            [one] -> one
            several -> {:__block__, [], several}
          end

        add(acc, ctx, path, :statement_deletion, statement, {statement, nil}, left, likely: waits?(statement))
      else
        acc
      end

    acc = walk(statement, [{:arg, at} | path], %{ctx | taken: Map.get(taken, at, [])}, acc)
    ctx = %{ctx | bound: MapSet.union(ctx.bound, variables(statement))}
    if leaves?(statement), do: acc, else: statements(rest, at + 1, path, ctx, taken, all, acc)
  end

  defp waits?({form, _, _}), do: function_name(form) in @waiting

  defp removable?({form, _, arguments}, _rest, _ctx)
       when form in [:alias, :import, :require, :use, :@, :dbg, :inspect, :__block__] and is_list(arguments),
       do: false

  defp removable?({{:., _, [{:__aliases__, _, [:Logger]}, _]}, _, _}, _rest, _ctx), do: false
  defp removable?({{:., _, [{:__aliases__, _, [:IO]}, :inspect]}, _, _}, _rest, _ctx), do: false
  defp removable?({name, _, context}, _rest, _ctx) when is_atom(name) and is_atom(context), do: false
  defp removable?({form, _, _}, _rest, _ctx) when form in [:fn, :&], do: false
  defp removable?({_, _, _} = statement, rest, ctx), do: binds_nothing_new?(statement, rest, ctx)
  defp removable?(_, _rest, _ctx), do: false

  defp binds_nothing_new?({:=, _, [pattern, value]}, rest, ctx) do
    bound = MapSet.difference(variables(pattern), ctx.bound)
    MapSet.disjoint?(bound, variables(rest)) and binds_nothing_new?(value, rest, ctx)
  end

  defp binds_nothing_new?(_, _rest, _ctx), do: true

  # Clauses of one function, which may have attributes between them: lists of `{statement, its place}`.
  defp function_groups(statements) do
    statements
    |> Enum.with_index()
    |> Enum.filter(fn {statement, _at} -> clause_of(statement) end)
    |> Enum.chunk_by(fn {statement, _at} -> clause_of(statement) end)
    |> Enum.filter(&match?([_, _ | _], &1))
  end

  defp function_clauses(clauses, statements, path, ctx, acc) do
    acc =
      Enum.reduce(clauses, acc, fn {statement, at}, acc ->
        add(acc, ctx, path, :clause_deletion, statement, {statement, nil}, block(List.delete_at(statements, at)))
      end)

    clauses
    |> Enum.zip(tl(clauses))
    |> Enum.reduce(acc, fn {{one, at}, {other, next}}, acc ->
      {one_patterns, one_guard} = function_patterns(one)
      {other_patterns, other_guard} = function_patterns(other)

      if same_match?(one_patterns, other_patterns, one_guard, other_guard) do
        swapped = statements |> List.replace_at(at, other) |> List.replace_at(next, one)
        likely = guards_meet(one_patterns, one_guard, other_patterns, other_guard) == :perhaps
        pair = {block([one, other]), block([other, one])}
        add(acc, ctx, path, :clause_order, one, pair, block(swapped), likely: likely)
      else
        acc
      end
    end)
  end

  # `%{place of a clause => [values of its parameters that earlier clauses take]}`
  defp taken_by_others(groups) do
    for clauses <- groups, {{statement, at}, number} <- Enum.with_index(clauses), into: %{} do
      {patterns, _guard} = function_patterns(statement)

      taken =
        for {earlier, _at} <- Enum.take(clauses, number),
            {earlier_patterns, nil} <- [function_patterns(earlier)],
            {name, value} <- only_literal(patterns, earlier_patterns),
            do: {name, value}

      {at, taken}
    end
  end

  # Where an earlier clause asks for one literal and for nothing else.
  defp only_literal(patterns, earlier) do
    case patterns |> Enum.zip(earlier) |> Enum.reject(fn {_, other} -> variable?(other) end) do
      [{{name, _, context}, other}] when is_atom(name) and is_atom(context) ->
        if literal?(other) or number?(other), do: [{name, plain(other)}], else: []

      _ ->
        []
    end
  end

  defp variable?({name, _, context}), do: is_atom(name) and is_atom(context)
  defp variable?(_), do: false

  defp clause_of({form, _, [head, options]}) when form in @functions and is_list(options) do
    case head(head, []) do
      {{name, _, arguments}, _, _} when is_atom(name) and is_list(arguments) -> {form, name, length(arguments)}
      _ -> nil
    end
  end

  defp clause_of(_), do: nil

  defp function_patterns({_, _, [head, _]}) do
    {{_, _, patterns}, guard, _} = head(head, [])
    {patterns, guard}
  end

  defp block(statements), do: {:__block__, [], statements}

  # Whether a value can match both, so that their order matters. Equal patterns with no guard: the second is never run.
  # Where parameters have defaults the compiler insists on the order.
  defp same_match?(one, other, one_guard, other_guard) do
    not Enum.any?(one ++ other, &match?({:\\, _, _}, &1)) and overlap_all?(one, other) and
      not refused?(other_guard, other, one) and not refused?(one_guard, one, other) and
      guards_meet(one, one_guard, other, other_guard) != :never and
      strip({one, one_guard}) != strip({other, other_guard})
  end

  # Whether a guard is false for the literals that the other clause asks for.
  defp refused?(nil, _patterns, _literals), do: false

  defp refused?(guard, patterns, literals) do
    values =
      for {{name, _, context}, other} <- Enum.zip(patterns, literals),
          is_atom(context),
          literal?(other) or number?(other),
          do: {name, plain(other)}

    value(guard, values) == false
  rescue
    # A guard that fails is as good as one that is false.
    _fails in [ArgumentError, ArithmeticError, BadBooleanError] -> true
  catch
    :unknown -> false
  end

  # Whether a value can pass both guards, where both ask one variable at the same place.
  defp guards_meet(_one, one_guard, _other, other_guard) when one_guard == nil or other_guard == nil, do: :yes

  defp guards_meet(one, one_guard, other, other_guard) do
    with [a] <- MapSet.to_list(variables(one_guard)),
         [b] <- MapSet.to_list(variables(other_guard)),
         at when at != nil <- Enum.find_index(one, &match?({^a, _, _}, &1)),
         {^b, _, _} <- Enum.at(other, at) do
      values = [0, 0.5, "", :mutated, nil, [] | near(numbers_in([one_guard, other_guard]))]
      both? = Enum.any?(values, &(value(one_guard, [{a, &1}]) == true and value(other_guard, [{b, &1}]) == true))
      if both?, do: :yes, else: :never
    else
      _ -> :perhaps
    end
  rescue
    _fails in [ArgumentError, ArithmeticError, BadBooleanError] -> :perhaps
  catch
    :unknown -> :perhaps
  end

  # step: how a clause's place is written in a path, :arg in `fn`, :el in a list.
  defp clauses(clauses, kind, path, step, ctx, acc) do
    acc = clauses_without_one(clauses, kind, path, step, ctx, acc)
    acc = clauses_in_another_order(clauses, kind, path, step, ctx, acc)

    clauses
    |> Enum.with_index()
    |> Enum.reduce(acc, fn
      {{:->, _, [left, body]}, at}, acc ->
        clause_path = [{step, at} | path]
        left_path = [{:arg, 0} | clause_path]
        acc = walk_left(kind, left, left_path, ctx, acc)
        bound = MapSet.union(ctx.bound, variables(left))
        walk(body, [{:arg, 1} | clause_path], %{ctx | kind: :body, bound: bound}, acc)

      {other, at}, acc ->
        walk(other, [{step, at} | path], ctx, acc)
    end)
  end

  defp walk_left(:rescue, _left, _path, _ctx, acc), do: acc

  # the time to wait for a message
  defp walk_left(:after, left, path, ctx, acc), do: walk_elements(left, 0, path, %{ctx | likely: true}, acc)

  defp walk_left(:cond, [condition], path, ctx, acc) do
    path = [{:el, 0} | path]

    # `true ->` is the last resort; taking it away is the deletion of its clause
    if literal?(condition, true),
      do: acc,
      else: walk(condition, path, ctx, negate(condition, path, ctx, acc))
  end

  defp walk_left(_kind, [{:when, meta, arguments}], path, ctx, acc) do
    {patterns, [guard]} = Enum.split(arguments, -1)
    acc = add(acc, ctx, path, :guard_removal, guard, {{:guard, guard}, nil}, patterns)
    path = [{:el, 0} | path]
    acc = guard_negation(guard, [{:arg, length(patterns)} | path], ctx, acc)
    acc = walk_arguments({:when, meta, patterns}, path, %{ctx | kind: :pattern}, acc)
    ctx = %{ctx | kind: :guard, bound: MapSet.union(ctx.bound, variables(patterns))}
    walk(guard, [{:arg, length(patterns)} | path], ctx, acc)
  end

  defp walk_left(_kind, left, path, ctx, acc), do: walk_elements(left, 0, path, %{ctx | kind: :pattern}, acc)

  defp clauses_without_one(clauses, kind, path, step, ctx, acc) when length(clauses) > 1 and kind != :after do
    clauses
    |> Enum.with_index()
    |> Enum.reduce(acc, fn {clause, at}, acc ->
      replaced(
        acc,
        ctx,
        path,
        step,
        :branch_deletion,
        clause,
        {{:clauses, [clause]}, nil},
        List.delete_at(clauses, at)
      )
    end)
  end

  defp clauses_without_one(_clauses, _kind, _path, _step, _ctx, acc), do: acc

  defp clauses_in_another_order(clauses, kind, path, step, ctx, acc) when kind not in [:cond, :rescue, :after] do
    clauses
    |> Enum.zip(tl(clauses))
    |> Enum.with_index()
    |> Enum.reduce(acc, fn {{one, other}, at}, acc ->
      {one_patterns, one_guard} = clause_patterns(one)
      {other_patterns, other_guard} = clause_patterns(other)

      if same_match?(one_patterns, other_patterns, one_guard, other_guard) do
        swapped = clauses |> List.replace_at(at, other) |> List.replace_at(at + 1, one)
        pair = {{:clauses, [one, other]}, {:clauses, [other, one]}}
        likely = guards_meet(one_patterns, one_guard, other_patterns, other_guard) == :perhaps
        replaced(acc, ctx, path, step, :branch_order, one, pair, swapped, likely: likely)
      else
        acc
      end
    end)
  end

  defp clauses_in_another_order(_clauses, _kind, _path, _step, _ctx, acc), do: acc

  # The list of clauses is a node of its own in a block, and the arguments of `fn`.
  defp replaced(acc, ctx, path, step, operator, place, pair, clauses, options \\ [])

  defp replaced(acc, ctx, path, :el, operator, place, pair, clauses, options),
    do: add(acc, ctx, path, operator, place, pair, clauses, options)

  defp replaced(acc, ctx, path, :arg, operator, {_, meta, _} = place, pair, clauses, options),
    do: add(acc, ctx, path, operator, place, pair, {:fn, Keyword.take(meta, [:line]), clauses}, options)

  defp clause_patterns({:->, _, [[{:when, _, arguments}], _]}) do
    {patterns, [guard]} = Enum.split(arguments, -1)
    {patterns, guard}
  end

  defp clause_patterns({:->, _, [patterns, _]}), do: {patterns, nil}
  defp clause_patterns(_), do: {[], nil}

  # ---- guards: head is `call when guard`
  defp guards({:when, _, [_, guard]}, path, call, ctx, acc) do
    acc = add(acc, ctx, path, :guard_removal, guard, {{:guard, guard}, nil}, call)
    guard_negation(guard, [{:arg, 1} | path], ctx, acc)
  end

  defp guard_negation({form, _, [_ | _]}, _path, _ctx, acc) when form in [:when | @negated], do: acc

  defp guard_negation(guard, path, ctx, acc),
    do: swap(acc, ctx, path, :guard_negation, guard, {:not, [line: elem(position(guard), 0)], [guard]})

  defp negate({form, _, [_ | _]}, _path, _ctx, acc) when form in [:=, :=~ | @negated], do: acc

  defp negate(condition, path, ctx, acc) do
    if literal?(condition),
      do: acc,
      else: swap(acc, ctx, path, :condition, condition, {:!, [line: elem(position(condition), 0)], [condition]})
  end

  defp filter?({form, _, _}) when form in [:<-, :=], do: false
  defp filter?({:<<>>, _, parts}), do: not match?({:<-, _, _}, List.last(parts))
  defp filter?(argument), do: not literal?(argument)

  # `if a < b, do: a, else: b`: with `<=` it says the same, but for 1 and 1.0.
  defp picks_one?({_, _, [{form, _, [left, right]}, options]}) when is_map_key(@boundary, form) do
    branches = for {key, value} <- options, key(key) in [:do, :else], do: strip(value)
    Enum.sort(branches) == Enum.sort([strip(left), strip(right)])
  end

  defp picks_one?(_), do: false

  defp mark_boundary(acc, before, {form, _, _}) do
    {new, old} = Enum.split(acc, length(acc) - before)

    new =
      Enum.map(new, fn
        %{operator: :comparison, node: {other, _, _}} = mutant ->
          %{mutant | likely: mutant.likely or other == @boundary[form]}

        mutant ->
          mutant
      end)

    new ++ old
  end

  # A guard that says the same of every whole number that gets there: what earlier clauses take does not.
  defp mark_same_guard(%{operator: :guard_removal} = mutant, _guard, _depth, _taken), do: mutant

  defp mark_same_guard(mutant, guard, depth, taken) do
    changed = put(guard, Enum.drop(mutant.path, depth), mutant.node)

    with [name] <- MapSet.to_list(variables(guard)),
         [_ | _] = numbers <- numbers_in([guard, changed]),
         true <-
           Enum.all?(near(numbers), fn number ->
             {name, number} in taken or value(guard, [{name, number}]) === value(changed, [{name, number}])
           end) do
      %{mutant | likely: true}
    else
      _ -> mutant
    end
  rescue
    _fails in [ArgumentError, ArithmeticError, BadBooleanError] -> mutant
  catch
    :unknown -> mutant
  end

  defp near(numbers), do: for(number <- Enum.uniq(numbers), away <- -@around..@around, do: number + away)

  defp numbers_in(tree) do
    {_, found} =
      Macro.prewalk(tree, [], fn node, found -> {node, if(is_integer(node), do: [node | found], else: found)} end)

    found
  end

  # Of a guard, as far as it is plain what it says: throws :unknown where it is not.
  defp value({:__block__, [{:literal, true} | _], [literal]}, _values)
       when not is_list(literal) and not is_tuple(literal),
       do: literal

  defp value({name, _, context}, values) when is_atom(name) and is_atom(context) do
    case List.keyfind(values, name, 0) do
      {_, value} -> value
      nil -> throw(:unknown)
    end
  end

  defp value({:and, _, [a, b]}, values), do: value(a, values) and value(b, values)
  defp value({:or, _, [a, b]}, values), do: value(a, values) or value(b, values)
  defp value({:not, _, [a]}, values), do: not value(a, values)
  defp value({:-, _, [a]}, values), do: -value(a, values)

  defp value({form, _, [a, b]}, values) when is_map_key(@comparison, form) or form in [:+, :-, :*],
    do: apply(Kernel, form, [value(a, values), value(b, values)])

  defp value({:in, _, [a, {:.., _, [first, last]}]}, values),
    do: value(a, values) in value(first, values)..value(last, values)//1

  defp value({:in, _, [a, {:__block__, [{:literal, true} | _], [list]}]}, values) when is_list(list),
    do: value(a, values) in Enum.map(list, &value(&1, values))

  defp value({form, _, [a]}, values)
       when form in [:is_integer, :is_number, :is_atom, :is_binary, :is_list, :is_float, :is_nil],
       do: if(form == :is_nil, do: value(a, values) == nil, else: apply(Kernel, form, [value(a, values)]))

  defp value(_node, _values), do: throw(:unknown)

  # ---- with
  defp with_mutants({:with, meta, arguments}, path, ctx, acc) do
    {steps, options} = Enum.split_while(arguments, &(not is_list(&1)))
    options = Enum.concat(options)
    rebuild = fn steps, options -> {:with, meta, steps ++ [options]} end

    acc =
      case Enum.find(options, fn {key, _} -> key(key) == :else end) do
        nil ->
          acc

        {_, clauses} = branch ->
          shown = if clauses?(clauses), do: {:clauses, clauses}, else: clauses
          add(acc, ctx, path, :else_removal, clauses, {shown, nil}, rebuild.(steps, options -- [branch]))
      end

    steps
    |> Enum.with_index()
    |> Enum.reduce(acc, fn {step, at}, acc ->
      later = {Enum.drop(steps, at + 1), options}

      if length(steps) > 1 and step_removable?(step, later, ctx),
        do: add(acc, ctx, path, :branch_deletion, step, {step, nil}, rebuild.(List.delete_at(steps, at), options)),
        else: acc
    end)
  end

  defp step_removable?({form, _, [pattern, _]}, later, ctx) when form in [:<-, :=] do
    {pattern, _, _} = head(pattern, [])
    new = MapSet.difference(variables(pattern), ctx.bound)
    MapSet.disjoint?(new, variables(later))
  end

  defp step_removable?(_step, _later, _ctx), do: true

  # ---- pipelines: `a |> f() |> g()` is (a |> f()) |> g()
  defp pipeline({:|>, _, [left, right]} = node, path, ctx, acc) do
    steps = steps(node)

    acc =
      Enum.reduce(1..(length(steps) - 1), acc, fn at, acc ->
        {meta, step} = Enum.at(steps, at)
        left = piped(List.delete_at(steps, at))
        if quiet?(step), do: acc, else: add(acc, ctx, path, :pipeline, {:|>, meta, []}, {{:step, step}, nil}, left)
      end)

    walk_steps(left, right, path, ctx, acc)
  end

  defp walk_steps(left, right, path, ctx, acc) do
    acc =
      case left do
        {:|>, _, [inner_left, inner_right]} -> walk_steps(inner_left, inner_right, [{:arg, 0} | path], ctx, acc)
        _ -> walk(left, [{:arg, 0} | path], %{ctx | piped: 0}, acc)
      end

    walk(right, [{:arg, 1} | path], %{ctx | piped: 1}, acc)
  end

  defp steps({:|>, meta, [left, right]}), do: steps(left) ++ [{meta, right}]
  defp steps(first), do: [{[], first}]

  defp piped([{_, first} | steps]),
    do: Enum.reduce(steps, first, fn {meta, step}, left -> {:|>, meta, [left, step]} end)

  defp quiet?({{:., _, [{:__aliases__, _, [:IO]}, :inspect]}, _, _}), do: true
  defp quiet?({:dbg, _, _}), do: true
  defp quiet?(_), do: false

  # ---- calls
  defp call_mutants({form, meta, arguments} = node, path, ctx, acc) do
    arity = length(arguments) + ctx.piped

    acc =
      case counterpart(node, arity) do
        nil -> acc
        other -> swap(acc, ctx, path, :call, node, other)
      end

    case {form, arguments} do
      {{:., _, [{:__aliases__, _, [module]}, function]}, [argument]} when ctx.piped == 0 ->
        if {module, function} in @same_kind, do: swap(acc, ctx, path, :call, node, argument), else: acc

      {:abs, [argument]} ->
        swap(acc, ctx, path, :call, node, argument)

      {form, [left]} when is_map_key(@arithmetic, form) and ctx.piped == 1 ->
        swap(acc, ctx, path, :arithmetic, node, {@arithmetic[form], meta, [left]})

      _ ->
        acc
    end
  end

  defp counterpart({{:., dot, [{:__aliases__, alias, [module]}, function]}, meta, arguments}, _arity) do
    case @counterparts do
      %{{^module, ^function} => other} -> {{:., dot, [{:__aliases__, alias, [module]}, other]}, meta, arguments}
      _ -> nil
    end
  end

  defp counterpart({form, meta, arguments}, arity) do
    case @local_counterparts do
      %{{^form, ^arity} => other} -> {other, meta, arguments}
      _ -> nil
    end
  end

  # ---- ranges: an end that is a number has mutants of its own
  defp range({_, meta, [first, last | _]} = node, path, ctx, acc, build) do
    one = literal(1, line: meta[:line], column: meta[:column], token: "1")
    acc = if number?(first), do: acc, else: swap(acc, ctx, path, :range, node, build.({:+, meta, [first, one]}, last))
    if number?(last), do: acc, else: swap(acc, ctx, path, :range, node, build.(first, {:-, meta, [last, one]}))
  end

  defp number?({:-, _, [value]}), do: number?(value)
  defp number?({:__block__, [{:literal, true} | _], [value]}), do: is_number(value)
  defp number?(_), do: false

  # ---- updates of maps and structs
  defp updates(node, map, fields, rebuild, path, ctx, acc) do
    acc = swap(acc, ctx, path, :update_removal, node, map)

    if length(fields) > 1,
      do:
        Enum.reduce(
          fields,
          acc,
          &add(&2, ctx, path, :update_removal, &1, {{:field, &1}, nil}, rebuild.(fields -- [&1]))
        ),
      else: acc
  end

  # ---- what a function gives back
  defp returns_of(options, path, ctx, acc) do
    case Enum.find_index(options, &(is_tuple(&1) and tuple_size(&1) == 2 and key(elem(&1, 0)) == :do)) do
      nil ->
        acc

      at ->
        options
        |> Enum.at(at)
        |> elem(1)
        |> leaves([:right, {:el, at} | path])
        |> Enum.reduce(acc, &returns(&1, ctx, &2))
    end
  end

  defp returns({leaf, path}, ctx, acc) do
    leaf |> instead(ctx) |> Enum.reduce(acc, &swap(&2, ctx, path, :return_value, leaf, wrap(&1, leaf)))
  end

  # The last expression of a body, in each of its branches, with its path.
  defp leaves({:__block__, [{:literal, true} | _], _} = leaf, path), do: [{leaf, path}]

  defp leaves({:__block__, _, [_ | _] = statements}, path),
    do: statements |> List.last() |> leaves([{:arg, length(statements) - 1} | path])

  defp leaves({form, _, arguments}, path)
       when form in [:if, :unless, :case, :cond, :with, :receive, :try] and is_list(arguments) do
    for {options, at} <- Enum.with_index(arguments),
        is_list(options),
        {{key, value}, place} <- Enum.with_index(options),
        key(key) in [:do, :else, :rescue, :catch],
        leaf <- branches(value, [:right, {:el, place}, {:arg, at} | path]),
        do: leaf
  end

  defp leaves(leaf, path), do: [{leaf, path}]

  defp branches(value, path) do
    if clauses?(value),
      do:
        for(
          {{:->, _, [_, body]}, at} <- Enum.with_index(value),
          leaf <- leaves(body, [{:arg, 1}, {:el, at} | path]),
          do: leaf
        ),
      else: leaves(value, path)
  end

  # What to give back instead. A literal has mutants of its own.
  defp instead({:__block__, [{:literal, true} | _], [value]}, _ctx) when value == [] or tuple_size(value) == 2,
    do: [nil]

  defp instead({:__block__, [{:literal, true} | _], _}, _ctx), do: []
  defp instead({:__block__, _, []}, _ctx), do: []
  defp instead({form, _, [_ | _]}, _ctx) when form in @leaving, do: []
  defp instead({{:., _, [:erlang, form]}, _, _}, _ctx) when form in [:raise, :throw, :exit, :error], do: []
  defp instead({form, _, [_, _]}, _ctx) when is_map_key(@comparison, form) or form in [:in, :=~], do: [true, false]
  defp instead({form, _, [_, _]}, _ctx) when form in [:and, :or], do: [true, false]
  defp instead({:not, _, [_]}, _ctx), do: [true, false]
  defp instead({:!, _, [_]}, _ctx), do: [true, false]
  defp instead({form, _, [_, _]}, _ctx) when form in [:+, :-, :*, :/, :div, :rem], do: [0]
  defp instead({:<>, _, [_, _]}, _ctx), do: [""]
  defp instead({:++, _, [_, _]}, _ctx), do: [[]]
  defp instead({:%{}, _, [_ | _]}, _ctx), do: [%{}]

  defp instead({:<<>>, meta, parts}, _ctx) do
    if Keyword.has_key?(meta, :delimiter) and interpolated?(parts), do: [], else: [nil]
  end

  defp instead({sigil, _, [{:<<>>, _, _}, modifiers]}, _ctx)
       when is_list(modifiers) and sigil in [:sigil_w, :sigil_W, :sigil_s, :sigil_S, :sigil_c, :sigil_C],
       do: []

  defp instead({:|>, _, [_, right]}, ctx), do: if(predicate?(right, ctx), do: [true, false], else: [nil])
  defp instead({_, _, _} = leaf, ctx), do: if(predicate?(leaf, ctx), do: [true, false], else: [nil])
  defp instead(_leaf, _ctx), do: []

  defp predicate?({form, _, _}, ctx) do
    called = Atom.to_string(function_name(form) || :none)
    String.ends_with?(called, "?") or String.starts_with?(called, "is_") or question?(ctx.name)
  end

  defp predicate?(_leaf, ctx), do: question?(ctx.name)

  defp question?(name), do: is_atom(name) and name != nil and String.ends_with?(Atom.to_string(name), "?")

  # ---- literals ---------------------------------------------------------------------------------------------------

  # What else could stand there, as {operator, wrapped literal}.
  defp literals(value, meta, ctx) when is_integer(value) do
    if String.starts_with?(meta[:token] || "", "?"),
      do: [{:integer, literal(value + 1, Keyword.put(meta, :token, shown_character(value + 1)))}],
      else:
        for({operator, new} <- numbers(value), ctx.kind != :pattern or new >= 0, do: {operator, literal(new, meta)})
  end

  defp literals(value, meta, _ctx) when is_float(value),
    do: for({operator, new} <- numbers(value), do: {operator, literal(new, meta)})

  defp literals(value, meta, _ctx) when is_boolean(value), do: [{:boolean_literal, literal(not value, meta)}]
  defp literals(nil, _meta, _ctx), do: []
  defp literals(:ok, meta, _ctx), do: [{:ok_error, literal(:error, meta)}]
  defp literals(:error, meta, _ctx), do: [{:ok_error, literal(:ok, meta)}]
  defp literals(:mutated, meta, _ctx), do: [{:atom, literal(:mutated_again, meta)}]
  defp literals(value, meta, _ctx) when is_atom(value), do: [{:atom, literal(:mutated, meta)}]
  defp literals("", meta, _ctx), do: [{:string, literal("mutated", meta)}]
  defp literals(value, meta, _ctx) when is_binary(value), do: [{:string, literal("", meta)}]

  defp literals([_ | _] = value, meta, %{kind: :pattern}) do
    if charlist?(value, meta), do: [{:list, literal([], meta)}], else: []
  end

  defp literals([_ | _], meta, _ctx), do: [{:list, literal([], Keyword.drop(meta, [:delimiter]))}]
  defp literals(_value, _meta, _ctx), do: []

  defp numbers(value) when is_integer(value),
    do: for(new <- Enum.uniq([value + 1, value - 1, 0]), new != value, do: {:integer, new})

  defp numbers(value) when is_float(value),
    do: for(new <- Enum.uniq([value + 1.0, 0.0]), new != value, do: {:float, new})

  defp shown_character(code) when code in 33..126, do: <<??, code>>
  defp shown_character(code), do: Integer.to_string(code)

  defp charlist?(literal, meta), do: is_list(literal) and Keyword.has_key?(meta, :delimiter)

  # A new literal at the place of an old one. The token is what the source has: it must not stay with another value.
  defp literal(value, meta) do
    meta =
      if is_number(value) and meta[:token] != nil,
        do: Keyword.put(meta, :token, token(value, meta[:token])),
        else: meta

    {:__block__, [{:literal, true} | Keyword.drop(meta, [:literal, :end_of_expression])], [value]}
  end

  defp token(_value, "?" <> _ = token), do: token
  defp token(value, _token), do: to_string(value)

  defp wrap(value, place) do
    {line, column} = position(place)
    meta = [line: line, column: column]

    case value do
      map when is_map(map) -> {:%{}, meta, []}
      number when is_number(number) -> literal(number, [{:token, to_string(number)} | meta])
      text when is_binary(text) -> literal(text, [{:delimiter, "\""} | meta])
      other -> literal(other, meta)
    end
  end

  defp literal?({:__block__, [{:literal, true} | _], [value]}) when is_list(value), do: value == []
  defp literal?({:__block__, [{:literal, true} | _], [value]}), do: not is_tuple(value)
  defp literal?(_), do: false

  defp literal?({:__block__, [{:literal, true} | _], [value]}, value), do: true
  defp literal?(_, _value), do: false

  # ---- looking at trees -------------------------------------------------------------------------------------------

  defp head({:when, _, [call, guard]}, path), do: {call, guard, [{:arg, 0} | path]}
  defp head(call, path), do: {call, nil, path}

  defp inside({:__block__, [{:literal, true} | _], [literal]}, path), do: {literal, [{:arg, 0} | path]}
  defp inside(other, path), do: {other, path}

  defp name({name, _, _}) when is_atom(name), do: name
  defp name(_), do: nil

  defp key({:__block__, _, [key]}), do: key
  defp key(key), do: key

  defp keyword_key?({:__block__, meta, [key]}) when is_atom(key),
    do: meta[:format] == :keyword or key in [:do, :else, :after]

  defp keyword_key?(_), do: false

  defp clauses?([{:->, _, [_, _]} | _]), do: true
  defp clauses?(_), do: false

  defp module?({:__aliases__, _, _}), do: true
  defp module?({:__block__, [{:literal, true} | _], [atom]}), do: is_atom(atom)
  defp module?({:__MODULE__, _, _}), do: true
  defp module?(atom), do: is_atom(atom)

  defp function_name({:., _, [_, name]}) when is_atom(name), do: name
  defp function_name(name) when is_atom(name), do: name
  defp function_name(_), do: nil

  defp leaves?({form, _, [_ | _]}) when form in @leaving, do: true
  defp leaves?(_), do: false

  defp interpolated?(parts),
    do: Enum.any?(parts, &match?({:"::", _, [{{:., _, [Kernel, :to_string]}, _, [_]}, _]}, &1))

  # Names, not bindings: where they are asked for it is enough to know which could be meant.
  defp variables(tree) do
    {_, names} =
      Macro.prewalk(tree, MapSet.new(), fn
        {name, _, context} = node, names when is_atom(name) and is_atom(context) -> {node, MapSet.put(names, name)}
        node, names -> {node, names}
      end)

    MapSet.delete(names, :_)
  end

  # Of the node, or of the first node in it that has one.
  defp position({:->, _, [[first | _], _]}), do: position(first)

  defp position({_, meta, arguments} = node) when is_list(meta) do
    case {meta[:line], meta[:column]} do
      {nil, _} -> within([elem(node, 0), arguments])
      place -> place
    end
  end

  defp position(node), do: within(node)

  defp within({left, right}), do: within([left, right])
  defp within([]), do: {nil, nil}

  defp within([node | rest]) do
    case position(node) do
      {nil, _} -> within(rest)
      place -> place
    end
  end

  defp within(_), do: {nil, nil}

  # The tree without places, to compare.
  defp strip({:__block__, [{:literal, true} | _], [literal]}), do: strip(literal)
  defp strip({form, meta, arguments}) when is_list(meta), do: {strip(form), [], strip(arguments)}
  defp strip({left, right}), do: {strip(left), strip(right)}
  defp strip([head | tail]), do: [strip(head) | strip(tail)]
  defp strip(other), do: other

  # ---- can two patterns match one value? Yes unless it is plain that they cannot. ----------------------------------

  defp overlap_all?(one, other) when length(one) == length(other),
    do: one |> Enum.zip(other) |> Enum.all?(fn {a, b} -> overlap?(plain(a), plain(b)) end)

  defp overlap_all?(_, _), do: false

  defp plain({:__block__, [{:literal, true} | _], [literal]}), do: literal
  defp plain({:-, _, [{:__block__, [{:literal, true} | _], [number]}]}) when is_number(number), do: -number
  defp plain({:{}, _, elements}), do: {:tuple, elements}
  defp plain(other), do: other

  defp overlap?({:\\, _, [a, _]}, b), do: overlap?(plain(a), b)
  defp overlap?(a, {:\\, _, [b, _]}), do: overlap?(a, plain(b))
  defp overlap?({:=, _, [a, b]}, c), do: overlap?(plain(a), c) and overlap?(plain(b), c)
  defp overlap?(a, {:=, _, [_, _]} = b), do: overlap?(b, a)

  defp overlap?({:tuple, a}, {:tuple, b}), do: overlap_all?(a, b)
  defp overlap?({:tuple, a}, {_, _} = b), do: overlap_all?(a, Tuple.to_list(b))
  defp overlap?({_, _} = a, {:tuple, b}), do: overlap_all?(Tuple.to_list(a), b)
  defp overlap?({a, b}, {c, d}), do: overlap_all?([a, b], [c, d])
  defp overlap?({_, _}, b), do: open?(b)
  defp overlap?(a, {_, _}), do: open?(a)

  defp overlap?([{:|, _, [a, b]}], [{:|, _, [c, d]}]), do: overlap_all?([a, b], [c, d])
  defp overlap?([{:|, _, _}], []), do: false
  defp overlap?([], [{:|, _, _}]), do: false
  defp overlap?([{:|, _, [a, b]}], [c | d]), do: overlap_all?([a], [c]) and overlap?(plain(b), d)
  defp overlap?([_ | _] = a, [{:|, _, _}] = b), do: overlap?(b, a)
  defp overlap?([a | b], [c | d]), do: overlap_all?([a], [c]) and overlap?(b, d)
  defp overlap?([], []), do: true
  defp overlap?(a, b) when is_list(a) and is_list(b), do: false

  defp overlap?({:%, _, [a, one]}, {:%, _, [b, other]}) do
    not (match?({:__aliases__, _, _}, a) and match?({:__aliases__, _, _}, b) and strip(a) != strip(b)) and
      overlap?(one, other)
  end

  defp overlap?({:%, _, [_, one]}, {:%{}, _, _} = other), do: overlap?(one, other)
  defp overlap?({:%{}, _, _} = one, {:%, _, [_, other]}), do: overlap?(one, other)

  defp overlap?({:%{}, _, a}, {:%{}, _, b}) do
    known = for {key, value} <- Enum.map(b, &plain/1), into: %{}, do: {strip(key), value}

    Enum.all?(Enum.map(a, &plain/1), fn {key, value} ->
      case known do
        %{^key => other} -> overlap_all?([value], [other])
        _ -> not is_map_key(known, strip(key)) or overlap_all?([value], [known[strip(key)]])
      end
    end)
  end

  defp overlap?({:<>, _, [a, _]}, text) when is_binary(text),
    do: not is_binary(plain(a)) or String.starts_with?(text, plain(a))

  defp overlap?(text, {:<>, _, _} = other) when is_binary(text), do: overlap?(other, text)

  defp overlap?({:<>, _, [a, _]}, {:<>, _, [b, _]}) do
    {a, b} = {plain(a), plain(b)}
    not (is_binary(a) and is_binary(b)) or String.starts_with?(a, b) or String.starts_with?(b, a)
  end

  defp overlap?(a, b) do
    cond do
      open?(a) or open?(b) -> true
      form(a) != form(b) -> false
      is_tuple(a) -> true
      true -> a === b
    end
  end

  # A variable, a pin, a macro: anything.
  defp open?({form, _, _}), do: form not in [:%{}, :%, :<<>>, :<>]
  defp open?(_), do: false

  defp form({form, _, _}) when form in [:%{}, :%], do: :map
  defp form({:tuple, _}), do: :tuple
  defp form({_, _}), do: :tuple
  defp form({_, _, _}), do: :binary
  defp form(text) when is_binary(text), do: :binary
  defp form(list) when is_list(list), do: :list
  defp form(other) when is_number(other), do: :number
  defp form(_), do: :atom
end
