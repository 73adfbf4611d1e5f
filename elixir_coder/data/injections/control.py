"""Faults in the code that stands there: its own conditions, pipelines and calls, written the worse way round."""

from __future__ import annotations

import re
from itertools import pairwise
from random import Random

from elixir_coder.data.injections.rule import Fault, Piece, choose, dedented, indented, rule
from elixir_coder.data.injections.text import Branch, Text, closing, parts

_COMPARISONS = {"==": "!=", "!=": "==", "===": "!==", "!==": "===", ">": "<=", "<": ">=", ">=": "<", "<=": ">"}


def _short(condition: str) -> str:
    return condition if len(condition) < 60 else condition[:57] + "..."


def _negated(condition: str) -> str | None:
    """`!` or `not` before a condition; None where that would have to go in parentheses that nobody would write."""
    if re.fullmatch(r"[\w.?!@]+(\([^()]*\))?", condition):
        is_boolean = re.match(r"is_\w+\(|[\w.]+\?", condition)
        return f"not {condition}" if is_boolean and len(condition) % 2 else f"!{condition}"
    if re.search(r"\b(and|or|in|not)\b|&&|\|\|", condition):
        return None
    compared = re.search(r" (==|!=|===|!==) ", condition)
    return None if compared else f"!({condition})"


def _two_way(text: Text, words: tuple[str, ...] = ("if",)) -> list[Branch]:
    return [b for b in text.branches if b.second and b.word in words and not b.condition.startswith("(")]


def _swapped(text: Text, branch: Branch, head: str) -> str:
    lines = [branch.indent + head, *branch.second, branch.indent + "else", *branch.first, branch.indent + "end"]
    return text.with_lines(branch.start, branch.end, lines)


@rule(
    "Refactor.UnlessWithElse",
    "`unless $condition` has an `else`; say it the positive way, with `if` and the branches swapped.",
    "An `unless` with `else` makes the reader negate twice. Write `if $condition` and turn the branches round.",
)
def unless_with_else(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    branch = choose(random, _two_way(text))
    if branch is None:
        return None
    before = _swapped(text, branch, f"unless {branch.condition} do")
    return Fault(code=piece.code, before=before, names={"condition": _short(branch.condition)})


@rule(
    "Refactor.NegatedConditionsWithElse",
    "The condition `$negated` is negated although there is an `else`; ask `$condition` and swap the branches.",
    "`if $negated ... else` reads backwards. Drop the negation and exchange the two branches.",
)
def negated_if_with_else(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = [(b, n) for b in _two_way(text) if (n := _negated(b.condition))]
    found = choose(random, sites)
    if found is None:
        return None
    branch, negated = found
    names = {"condition": _short(branch.condition), "negated": _short(negated)}
    return Fault(code=piece.code, before=_swapped(text, branch, f"if {negated} do"), names=names)


@rule(
    "Refactor.NegatedConditionsInUnless",
    "`unless $negated` is a double negation; `if $condition` means the same.",
    "Negating the condition of an `unless` cancels out. Write `if $condition`.",
)
def unless_not(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = [(b, n) for b in text.branches if b.word == "if" and not b.second and (n := _negated(b.condition))]
    found = choose(random, sites)
    if found is not None:
        branch, negated = found
        before = text.with_lines(branch.start, branch.start, [f"{branch.indent}unless {negated} do"])
        return Fault(
            code=piece.code, before=before, names={"condition": _short(branch.condition), "negated": _short(negated)}
        )
    short = [(m, n) for m in text.find(r"\bif ([\w.?!@]+(?:\([^()\n]*\))?), do: ") if (n := _negated(m[1]))]
    site = choose(
        random, [each for each in short if "else:" not in text.lines[text.code.count("\n", 0, each[0].start())]]
    )
    if site is None:
        return None
    match, negated = site
    condition = text.code[match.start(1) : match.end(1)]
    before = text.replaced(match.start(), match.end(), f"unless {negated}, do: ")
    return Fault(code=piece.code, before=before, names={"condition": condition, "negated": negated})


@rule(
    "Refactor.CondStatements",
    "This `cond` has one condition, `$condition`, beside `true`; that is an `if` with `else`.",
    "A `cond` with a single question is an `if`. Write `if $condition do ... else ... end`.",
)
def cond_of_one(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    branch = choose(random, _two_way(text))
    if branch is None:
        return None
    before = _as_clauses(text, branch, "cond do", branch.condition, "true")
    return Fault(code=piece.code, before=before, names={"condition": _short(branch.condition)})


@rule(
    "Refactor.CaseTrivialMatches",
    "`case $condition` only tells true from false; an `if` does that.",
    "The clauses of this `case` are `true` and `false`. Write `if $condition` with an `else`.",
)
def case_on_a_boolean(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    branch = choose(random, [b for b in _two_way(text) if re.search(r" (==|!=|<|>|<=|>=|in) |\?|is_", b.condition)])
    if branch is None:
        return None
    before = _as_clauses(text, branch, f"case {branch.condition} do", "true", "false")
    return Fault(code=piece.code, before=before, names={"condition": _short(branch.condition)})


@rule(
    "Refactor.CondInsteadOfIfElse",
    "`if $condition` with an `else` stands here where the code base wants a `cond`.",
    "Two alternatives are told apart with `if` and `else`; the rule in force asks for `cond`, with `true` last.",
)
def if_else_for_cond(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    branch = choose(random, _two_way(text))
    if branch is None or len(_two_way(text)) > 1 or re.search(r"\bif\b.*\belse:", text.masked):
        return None
    code = _as_clauses(text, branch, "cond do", branch.condition, "true")
    return Fault(code=code, before=piece.code, names={"condition": _short(branch.condition)})


def _as_clauses(text: Text, branch: Branch, head: str, first: str, second: str) -> str:
    """The two bodies as clauses, one on a line each where both are short."""
    inner = branch.indent + "  "
    bodies = [branch.first, branch.second]
    if all(len(body) == 1 for body in bodies):
        lines = [f"{inner}{word} -> {body[0].strip()}" for word, body in zip((first, second), bodies)]
    else:
        lines = [f"{inner}{first} ->", *("  " + x if x else x for x in branch.first), "", f"{inner}{second} ->"]
        lines += ["  " + x if x else x for x in branch.second]
    return text.with_lines(branch.start, branch.end, [branch.indent + head, *lines, branch.indent + "end"])


@rule(
    "Refactor.DoubleBooleanNegation",
    "`!!$condition` negates twice; the condition itself will do.",
    "The two exclamation marks before `$condition` change nothing here. Take them away.",
)
def doubly_negated_condition(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    site = choose(random, text.find(r"\b(?:if|unless) ([a-z_][\w.]*\??(?:\([\w, .:@]*\))?)(?= do$|, do:)"))
    if site is None:
        return None
    condition = text.code[site.start(1) : site.end(1)]
    return Fault(
        code=piece.code,
        before=text.replaced(site.start(1), site.end(1), f"!!{condition}"),
        names={"condition": condition},
    )


@rule(
    "Readability.BlockPipe",
    "`$subject` is piped into `case`; put it behind the keyword.",
    "A pipe into a `do` block hides what is matched on. Write `case $subject do`.",
)
def subject_piped_into_case(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = [c for c in text.cases if re.fullmatch(r"[a-z_]\w*|[\w.]+\([^()]*\)", c.subject)]
    case = choose(random, sites)
    if case is None:
        return None
    call = re.fullmatch(r"([\w.]+[?!]?)\(([a-z_]\w*)(?:, )?(.*)\)", case.subject)
    head = [case.subject]
    if call:
        head = [call[2], f"|> {call[1]}({call[3]})"]
    lines = [*(case.indent + line for line in head), case.indent + "|> case do"]
    before = text.with_lines(case.start, case.start, lines)
    return Fault(code=piece.code, before=before, names={"subject": case.subject})


@rule(
    "Readability.SingleFunctionToBlockPipe",
    "One call, `$subject`, is piped into a block; it can stand behind `case`.",
    "`$subject` goes through a pipe into `case` for nothing. Write `case $subject do`.",
)
def one_call_piped_into_case(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = [c for c in text.cases if re.fullmatch(r"[\w.]+[?!]?\([a-z_]\w*(, [^()]*)?\)", c.subject)]
    case = choose(random, sites)
    if case is None:
        return None
    call = re.fullmatch(r"([\w.]+[?!]?)\(([a-z_]\w*)(?:, )?(.*)\)", case.subject)
    assert call
    lines = [case.indent + call[2], f"{case.indent}|> {call[1]}({call[3]})", case.indent + "|> case do"]
    before = text.with_lines(case.start, case.start, lines)
    return Fault(code=piece.code, before=before, names={"subject": case.subject})


@rule(
    "Readability.WithSingleClause",
    "A `with` of the single clause `$pattern <- $subject` and an `else` is a `case`; write it as one.",
    "There is one `<-` in this `with`, and an `else`. `case $subject do` says the same more plainly.",
)
def case_as_with(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = [
        c
        for c in text.cases
        if len(c.clauses) == 2
        and all(body for _, body in c.clauses)
        and not any(" when " in head for head, _ in c.clauses)
    ]
    case = choose(random, sites)
    if case is None:
        return None
    (pattern, first), (other, second) = case.clauses
    inner = case.indent + "  "
    lines = [f"{case.indent}with {pattern} <- {case.subject} do", *_at(first, inner), case.indent + "else"]
    second_lines = (
        [f"{inner}{other} -> {second[0]}"] if len(second) == 1 else [f"{inner}{other} ->", *_at(second, inner + "  ")]
    )
    before = text.with_lines(case.start, case.end, [*lines, *second_lines, case.indent + "end"])
    return Fault(code=piece.code, before=before, names={"pattern": pattern, "subject": _short(case.subject)})


def _at(lines: tuple[str, ...], indent: str) -> list[str]:
    return [indent + line if line else line for line in dedented(lines)]


@rule(
    "Readability.WithCustomTaggedTuple",
    "The clause `$clause` is wrapped in the tag `:$tag` on both sides only to know it again in the `else`.",
    "Tagging `$clause` with `:$tag` is noise; let the function it calls return an error that says what went wrong.",
)
def tag_in_with(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = []
    for each in text.withs:
        for clause in each.clauses:
            found = re.fullmatch(r"(\{:\w+, [\w{}:, ]+\}|\w+) <- ((?:[\w.]+\.)?(\w+)[?!]?\(.*\))", clause)
            if found and text.code.count(clause) == 1:
                sites.append((clause, found))
    site = choose(random, sites)
    if site is None:
        return None
    clause, found = site
    tag = found[3]
    before = text.code.replace(clause, f"{{:{tag}, {found[1]}}} <- {{:{tag}, {found[2]}}}")
    return Fault(code=piece.code, before=before, names={"clause": clause, "tag": tag})


@rule(
    "Refactor.WithClauses",
    "The `with` begins with `$statement`, which cannot fail to match; it belongs in front of the `with`.",
    "`$statement` is no `<-` clause. Write it as a statement of its own before the `with`.",
)
def statement_in_with(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = []
    for each in text.withs:
        previous = each.start - 1 if text.bare[each.start - 1].strip() else each.start - 2
        if previous < 0:
            continue
        line = text.bare[previous]
        if re.fullmatch(rf"{each.indent}[a-z_]\w* = .*[\w)\]}}\x01]", line) and text.lines[previous].count(
            "("
        ) == text.lines[previous].count(")"):
            sites.append((each, previous))
    site = choose(random, sites)
    if site is None:
        return None
    each, previous = site
    statement = text.lines[previous].strip()
    head = text.lines[each.start].replace("with ", f"with {statement},\n{each.indent}     ", 1)
    before = text.with_lines(previous, each.start, [head])
    return Fault(code=piece.code, before=before, names={"statement": statement})


@rule(
    "Refactor.RedundantWithClauseResult",
    "The last clause matches `{:ok, $name}` and the body builds the same again; let `$call` be the body.",
    "`{:ok, $name}` is taken apart and put together again. The result of `$call` can be given back as it is.",
)
def result_clause_in_with(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = [
        w
        for w in text.withs
        if len(w.body) == 1
        and not w.otherwise
        and re.fullmatch(r" *[\w.]+[?!]?\([^\n]*\)", w.body[0])
        and "->" not in w.body[0]
    ]
    each = choose(random, sites)
    if each is None:
        return None
    call = each.body[0].strip()
    name = random.choice(("result", "value", "found", "updated", "output"))
    if re.search(rf"\b{name}\b", text.masked):
        return None
    clauses = f",\n{each.indent}     ".join([*each.clauses, f"{{:ok, {name}}} <- {call}"])
    lines = [f"{each.indent}with {clauses} do", f"{each.indent}  {{:ok, {name}}}", each.indent + "end"]
    return Fault(
        code=piece.code, before=text.with_lines(each.start, each.end, lines), names={"name": name, "call": call}
    )


@rule(
    "Refactor.Apply",
    "`apply($module, :$function, ...)` has its arguments written out; call `$module.$function` directly.",
    (
        "Going through `apply` to reach `$module.$function` hides the call from readers and from "
        "the compiler. Write it out."
    ),
)
def call_through_apply(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = []
    for match in text.find(r"(?<![\w.&@|%])((?:[A-Z]\w*\.)+|[a-z_]\w*\.)([a-z_]\w*)\((?=[^)\s])"):
        line = text.bare[text.code.count("\n", 0, match.start())]
        before = line[: match.start() - text.code.rfind("\n", 0, match.start()) - 1]
        if before.rstrip().endswith(("|>", "&", "@spec", "::", "|")) or line.lstrip().startswith(
            ("@", "alias", "use", "import")
        ):
            continue
        end = closing(text.masked, match.end() - 1)
        if end is None or "\n" in text.code[match.start() : end] or "&" in text.masked[match.start() : end]:
            continue
        if not re.match(r"(Kernel|Module|Code|Macro|String|Enum|List|Map|IO)\.", match[0]) or random.random() < 0.2:
            sites.append((match, end))
    site = choose(random, sites)
    if site is None:
        return None
    match, end = site
    module, function = match[1][:-1], match[2]
    arguments = text.code[match.end() : end]
    before = text.replaced(match.start(), end + 1, f"apply({module}, :{function}, [{arguments}])")
    return Fault(code=piece.code, before=before, names={"module": module, "function": function})


@rule(
    "Refactor.Apply",
    "`apply($function, ...)` has a known number of arguments; `$function.(...)` calls it directly.",
    "The arguments of `$function` are written out, so `apply` is not needed. Call it with `.()`.",
)
def function_through_apply(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = [
        (m, e)
        for m in text.find(r"(?<![\w.&])([a-z_]\w*)\.\((?=[^)\s])")
        if (e := closing(text.masked, m.end() - 1)) and "\n" not in text.code[m.start() : e]
    ]
    site = choose(random, sites)
    if site is None:
        return None
    match, end = site
    before = text.replaced(match.start(), end + 1, f"apply({match[1]}, [{text.code[match.end() : end]}])")
    return Fault(code=piece.code, before=before, names={"function": match[1]})


@rule(
    "Readability.SinglePipe",
    "`$value |> $function(...)` is a pipe with one step; write the call with `$value` as its first argument.",
    "A single pipe on line $line says nothing that `$function($value, ...)` does not.",
)
def call_as_a_pipe(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = []
    for match in text.find(r"(?<![\w.&@|>]) ?((?:[A-Z]\w*\.)+[a-z_]\w*[?!]?)\(([a-z_]\w*)(?=[,)])"):
        start = match.start(1)
        line = text.code.rfind("\n", 0, start) + 1
        lead = text.masked[line:start]
        end = closing(text.masked, match.end(1))
        if end is None or not re.fullmatch(r" *(\w+ = |\{:\w+, \w+\} = |.*-> |.*, do: )?", lead):
            continue
        after = text.masked[end + 1 : end + 2]
        following = text.masked[end + 1 :].lstrip()[:2]
        if after in ("\n", "") and following != "|>" and not lead.lstrip().startswith("@"):
            sites.append((match, end))
    site = choose(random, sites)
    if site is None:
        return None
    match, end = site
    arguments = [text.code[a:b].strip() for a, b in parts(text.masked, match.end(1) + 1, end)]
    call = f"{arguments[0]} |> {match[1]}({', '.join(arguments[1:])})"
    if any("\n" in each for each in arguments):
        call = f"{arguments[0]} |> {match[1]}({text.code[match.end(2) : end].lstrip(', ')})"
    before = text.replaced(match.start(1), end + 1, call)
    names = {"value": arguments[0], "function": match[1], "line": str(text.code.count("\n", 0, match.start(1)) + 1)}
    return Fault(code=piece.code, before=before, names=names)


def _chains(text: Text) -> list[tuple[int, int, list[str]]]:
    """Pipelines with one step on each line: (first line, last line, the steps without `|>`)."""
    found = []
    number = 0
    while number < len(text.bare) - 1:
        first = re.match(r" *(?=[^ |])", text.bare[number])
        following = re.match(r"( *)\|> ", text.bare[number + 1])
        if first and following and first[0] == following[1] and not text.bare[number].endswith((" do", "->", ",", "(")):
            last = number + 1
            while last + 1 < len(text.bare) and text.bare[last + 1].startswith(following[1] + "|> "):
                last += 1
            steps = [line.strip().removeprefix("|> ") for line in text.lines[number : last + 1]]
            whole = all(
                sum(b.count(c) for c in "([{") == sum(b.count(c) for c in ")]}") for b in text.bare[number : last + 1]
            )
            if whole and not any(
                re.search(r"#|\bdo$|\bfn$|\x01\x01\x01$|->$", b) for b in text.bare[number : last + 1]
            ):
                found.append((number, last, steps))
            number = last
        number += 1
    return found


@rule(
    "Readability.OnePipePerLine",
    "$count pipes share one line in `$shown`; put each step on a line of its own.",
    "The pipeline that begins with `$value` is squeezed into a line. Break it before every `|>`.",
    raw=True,
)
def chain_on_one_line(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = [(a, b, steps) for a, b, steps in _chains(text) if len(steps) > 2 and len(" |> ".join(steps)) < 110]
    site = choose(random, sites)
    if site is None:
        return None
    start, end, steps = site
    joined = " |> ".join(steps)
    before = text.with_lines(start, end, [text.indent(start) + joined])
    names = {"count": str(len(steps) - 1), "shown": _short(joined), "value": steps[0]}
    return Fault(code=piece.code, before=before, names=names)


@rule(
    "Refactor.PipeChainStart",
    "The pipeline begins with the call `$call`; begin with `$value` and pipe it in.",
    "`$call` hides the value that the chain works on. Start with `$value |> $function(...)`.",
)
def chain_from_a_call(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = []
    for start, end, steps in _chains(text):
        call = re.fullmatch(r"([\w.]+[?!]?)\((.*)\)", steps[1])
        if len(steps) > 2 and call and re.fullmatch(r"[a-z_@]\w*(\.\w+)*", steps[0]) and "&" not in steps[1]:
            sites.append((start, end, steps, call))
    site = choose(random, sites)
    if site is None:
        return None
    start, _, steps, call = site
    inner = f"{steps[0]}, {call[2]}" if call[2] else steps[0]
    indent = text.indent(start)
    before = text.with_lines(start, start + 1, [f"{indent}{call[1]}({inner})"])
    names = {"call": f"{call[1]}({_short(inner)})", "value": steps[0], "function": call[1]}
    return Fault(code=piece.code, before=before, names=names)


@rule(
    "Readability.NestedFunctionCalls",
    (
        "`$outer(...)` takes the result of `$inner(...)` as an argument, so that it reads inside "
        "out; pipe one into the other."
    ),
    (
        "The call of `$inner` is nested in that of `$outer`. A pipeline that starts with `$value` "
        "gives the order of the steps."
    ),
)
def chain_as_nested_calls(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = []
    for start, end, steps in _chains(text):
        calls = [found for step in steps[1:3] if (found := re.fullmatch(r"([\w.]+[?!]?)\((.*)\)", step))]
        if len(steps) == 3 and len(calls) == 2 and re.fullmatch(r"[\w.@]+", steps[0]):
            sites.append((start, end, steps, calls))
    site = choose(random, sites)
    if site is None:
        return None
    start, end, steps, calls = site
    (inner, more), (outer, rest) = ((c[1], c[2]) for c in calls)
    nested = f"{inner}({steps[0]}{', ' + more if more else ''})"
    line = f"{text.indent(start)}{outer}({nested}{', ' + rest if rest else ''})"
    if len(line) > 110:
        return None
    names = {"outer": outer, "inner": inner, "value": steps[0]}
    return Fault(code=piece.code, before=text.with_lines(start, end, [line]), names=names)


@rule(
    "Readability.OneArityFunctionInPipe",
    "`|> $function` lacks the parentheses of a call; write `|> $function()`.",
    "In a pipe a function of one argument is written with `()`, which `$function` misses here.",
    raw=True,
)
def step_without_parentheses(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    site = choose(random, text.find(r"\|> ([a-z_]\w*)\(\)"))
    if site is None:
        return None
    before = text.replaced(site.end() - 2, site.end(), "")
    return Fault(code=piece.code, before=before, names={"function": site[1]})


@rule(
    "Refactor.MapJoin",
    "`Enum.map` is followed by `Enum.join` on line $line; `Enum.map_join/3` does both in one pass.",
    "A list is built here with `Enum.map` only to be joined. Use `Enum.map_join` instead.",
)
def map_join_taken_apart(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = []
    for match in text.find(r"(\|> )?Enum\.map_join\("):
        end = closing(text.masked, match.end() - 1)
        if end is None:
            continue
        arguments = [text.code[a:b].strip() for a, b in parts(text.masked, match.end(), end)]
        given = arguments if match[1] else arguments[1:]
        if 1 <= len(given) <= 2 and not any("\n" in each for each in arguments):
            sites.append((match, end, arguments[0], given))
    site = choose(random, sites)
    if site is None:
        return None
    match, end, first, given = site
    joiner = given[0] if len(given) == 2 else ""
    mapped = f"Enum.map({given[-1]}) |> Enum.join({joiner})"
    by = f"|> {mapped}" if match[1] else f"{first} |> {mapped}"
    names = {"line": str(text.code.count("\n", 0, match.start()) + 1)}
    return Fault(code=piece.code, before=text.replaced(match.start(), end + 1, by), names=names)


@rule(
    "Refactor.FilterCount",
    "Line $line filters and counts in two steps; `Enum.count/2` takes the condition.",
    "`Enum.filter` builds a list here that is only counted. `Enum.count` with a function needs none.",
)
def count_taken_apart(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = []
    for match in text.find(r"(\|> )?Enum\.count\("):
        end = closing(text.masked, match.end() - 1)
        arguments = [text.code[a:b].strip() for a, b in parts(text.masked, match.end(), end)] if end else []
        if end is not None and len(arguments) == (1 if match[1] else 2) and arguments[-1] and "\n" not in arguments[-1]:
            sites.append((match, end, arguments))
    site = choose(random, sites)
    if site is None:
        return None
    match, end, arguments = site
    filtered = f"|> Enum.filter({arguments[-1]}) |> Enum.count()"
    by = filtered if match[1] else f"{arguments[0]} {filtered}"
    names = {"line": str(text.code.count("\n", 0, match.start()) + 1)}
    return Fault(code=piece.code, before=text.replaced(match.start(), end + 1, by), names=names)


@rule(
    "Refactor.Nesting",
    (
        "The body of `$function` is nested too deeply: `$condition` is asked inside of two other "
        "blocks. Move the inner part into a function."
    ),
    "Three levels of blocks in `$function` are hard to follow. Turn the inner ones into functions or guards.",
)
def deeper_nesting(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = []
    for definition in text.definitions:
        starts = text.statements(definition)
        names = [v for v in definition.variables if not v.startswith("_")]
        if starts and names and definition.body and 1 <= definition.body[1] - starts[-1] + 1 <= 12:
            sites.append((definition, starts[-1], names))
    site = choose(random, sites)
    if site is None:
        return None
    definition, start, names = site
    last = definition.body[1] if definition.body else start
    body = text.lines[start : last + 1]
    if any(line.startswith("\x01") for line in text.bare[start : last + 1]):
        return None
    one, two = random.choice(names), random.choice(names)
    shapes = (
        (f"if {one} do", "end"),
        (f"case {one} do\n  nil ->\n    :error\n\n  _ ->", "end"),
        (f"unless is_nil({two}) do", "end"),
        (f"if {two} != [] do", "end"),
        (f"case {two} do\n  {{:error, reason}} ->\n    {{:error, reason}}\n\n  _ ->", "end"),
    )
    chosen = random.sample(shapes, 3)
    inner = "\n".join(dedented(body))
    for head, tail in chosen:
        by = "    " if head.endswith("->") else "  "
        inner = f"{head}\n{indented(inner, by)}\n{tail}"
    before = text.with_lines(start, last, indented(inner, definition.indent + "  ").split("\n"))
    condition = chosen[0][0].split("\n")[0].removesuffix(" do")
    return Fault(code=piece.code, before=before, names={"function": definition.name, "condition": condition})


@rule(
    "Refactor.VariableRebinding",
    "`$name` is bound a second time on line $line; a new name would show that it is another value.",
    "The same name, `$name`, holds two values one after the other. Call the second something else.",
)
def renamed_to_the_one_before(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = []
    for definition in text.definitions:
        bound = []
        for number in text.statements(definition):
            found = re.match(r" *([a-z]\w*) =(?: |$)", text.bare[number])
            if found:
                bound.append((number, found[1]))
        for (_, one), (second, two) in pairwise(bound):
            rest = "\n".join(text.bare[second : definition.end])
            tail = rest.split("\n", 1)[1] if "\n" in rest else ""
            used = re.search(rf"\b{one}\b", tail)
            if one != two and not used and re.search(rf"\b{one}\b", text.bare[second]):
                sites.append((definition, second, one, two))
    site = choose(random, sites)
    if site is None:
        return None
    definition, second, one, two = site
    lines = list(text.lines)
    for number in range(second, definition.end + 1):
        lines[number] = re.sub(rf"(?<![\w:.@]){two}(?![\w:?!])", one, lines[number])
    return Fault(code=piece.code, before="\n".join(lines), names={"name": one, "line": str(second + 1)})


@rule(
    "Readability.PreferImplicitTry",
    "The whole body of `$function` is a `try`; `rescue` can stand directly in the function.",
    "`$function` wraps everything in `try do`. Leave that out: a function takes `rescue` itself.",
)
def explicit_try(piece: Piece, random: Random) -> Fault | None:
    text = piece.text
    sites = []
    for definition in text.definitions:
        if definition.body is None:
            continue
        first, last = definition.body
        if text.bare[last + 1].startswith(definition.indent + "end"):
            continue
        if not any(line.startswith("\x01") for line in text.bare[first : definition.end]):
            sites.append((definition, first))
    site = choose(random, sites)
    if site is None:
        return None
    definition, first = site
    inside = ["  " + line if line else line for line in text.lines[first : definition.end]]
    lines = [definition.indent + "  try do", *inside, definition.indent + "  end"]
    before = text.with_lines(first, definition.end - 1, lines)
    return Fault(code=piece.code, before=before, names={"function": definition.name})
