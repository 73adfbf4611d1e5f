"""The monitor of names, on real names and real Elixir: what exists can be written, what does not cannot."""

import re

import numpy as np
import pytest
import torch
from transformers import LogitsProcessorList

from decoding_elixir_coder import ElixirGrammar, ElixirGrammarProcessor
from elixir_coder.checkpoint import load_tokenizer
from elixir_coder.evaluation.problems import OWN_SUITE, read_problems
from elixir_coder.generation.generator import DEFAULT_MODEL
from elixir_coder.generation.monitor import NameMonitor, NameMonitorProcessor
from elixir_coder.generation.names import ModuleNames, NameTable
from elixir_coder.toolchain.sandbox import find_elixir

pytestmark = pytest.mark.elixir


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(DEFAULT_MODEL)


@pytest.fixture(scope="module")
def monitor(tokenizer):
    return NameMonitor.of(tokenizer)


def first_refused(monitor, text, size=1, given=""):
    """The text up to the first piece of so many bytes that is refused, or None."""
    state, data = monitor.state(given.encode()), text.encode()
    for begin in range(0, len(data), size):
        piece = data[begin : begin + size]
        if not state.allows(piece):
            return data[: begin + size].decode()
        state = state.after(piece)
    return None


RIGHT = [
    "Enum.map(x, y)\n",
    "x |> Enum.map(f) |> Enum.sum()\n",
    "x |> Enum.sum |> foo\n",
    "x |> Enum.count() == 2\n",
    "&Enum.map/2\n",
    "&String.upcase(&1)\n",
    "&Kernel.<>/2\n",
    "&Kernel.//2\n",
    "Kernel.+(1, 2)\n",
    ":lists.map(f, l)\n",
    ':erlang."=:="(a, b)\n',
    "Enum..x\n",
    "%Date{year: 1, month: 2}\n",
    "%Date{d | day: 1}\n",
    "%URI{host: %Date{day: 1}, path: nil}\n",
    'IO.puts "hello"\n',
    'IO.puts :stderr, "x"\n',
    'Logger.info "x", a: 1, b: 2\n',
    "System.schedulers_online * 2\n",
    "System.schedulers_online - 2\n",
    "Date.utc_today().year\n",
    "if System.schedulers_online do 1 end\n",
    "Application.put_env :a, :b, :c\n",
    "x = Application.put_env :a, :b, :c\n",
    'String.split("a,b", ",", trim: true, parts: 2)\n',
    "Agent.start_link(fn -> %{} end, name: __MODULE__)\n",
    "Enum.map(x, fn\n  {a, b} when a in [1, 2] -> b\n  _ -> nil\nend)\n",
    "Enum.map x, fn a ->\n  a\nend\n",
    "Enum.to_list(for n <- a, do: n)\n",
    "Enum.map(if x do a else b end, f)\n",
    "[Enum.count(x), Enum.count y]\n",
    "IO.puts inspect x\n",
    "Mix.shell().info(x)\n",
    "Enum.module_info()\n",
    "@spec f(String.t()) :: (Enum.t -> [Keyword.t() | Date.t])\n",
    "Enumb.bogus(1)\n",
    "foo.bogus(Some.Enum.bogus(1))\n",
    '"Enum.bogus" <> ~s(Enum.bogus) <> ~S"""\nEnum.bogus\n""" # Enum.bogus\n',
    "?E.bogus\n",
    "quote do Enum.unquote(name)(1) end\n",
    "x ~> Enum.map(f)\n",
]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("text", RIGHT)
def test_what_exists_can_be_written_in_pieces_of_any_size(monitor, text, size):
    assert first_refused(monitor, text, size) is None


WRONG = {  # and where it is seen, byte by byte
    "Enum.bogus(1)": "Enum.b",
    "Enum.maps(1)": "Enum.maps",
    "Keyword.t()": "Keyword.t(",
    ":lists.bogus(1)": ":lists.b",
    "Kernel.+++(1)": "Kernel.+++",
    "Enum.map(x)": "Enum.map(x)",
    "Enum.map(x, y, z)": "Enum.map(x, y,",
    "Enum.map(&f.(&1, 2))": "Enum.map(&f.(&1, 2))",
    "x |> Enum.map(a, b)": "x |> Enum.map(a,",
    "x |> Enum.map()": "x |> Enum.map()",
    "x |> System.schedulers_online()": "x |> System.sc",
    "&Enum.map/3": "&Enum.map/3",
    "&Enum.map(&1)": "&Enum.map(&1)",
    "Enum.map\n": "Enum.map\n",
    "Enum.map + 1": "Enum.map + ",
    "foo(Enum.map)": "foo(Enum.map)",
    "Enum.map x\n": "Enum.map x\n",
    "[Enum.map x, y]": "[Enum.map ",
    "foo(Enum.count a, b)": "foo(Enum.count a,",
    "fn -> Enum.map x end": "fn -> Enum.map x e",
    "Enum.map(x, y) do": "Enum.map(x, y) d",
    "IO.puts :a, :b, :c": "IO.puts :a, :b,",
    "Enum.map(a: 1, b: 2)": "Enum.map(a:",
    "Enum.map(do: 1)": "Enum.map(do:",
    "x |> Task.await-foo": "x |> Task.await-",
    "x |> String.upcase().foo": "x |> String.upcase().",
    ":lists.umerge3 a b, c": ":lists.umerge3 a b",
    "%Date{foo: 1}": "%Date{foo:",
    "%Date{d | foo: 1}": "%Date{d | f",
    "%Date{day: 1, foo: 1}": "%Date{day: 1, f",
    "%Date{:foo => 1}": "%Date{:f",
    "%Enum{": "%Enum{",
    '"#{Enum.bogus(1)}"': '"#{Enum.b',
    'Enum."bogus"(1)': 'Enum."',
    "x |> Enum.unzip(y": "x |> Enum.unzip(y",
    "System.schedulers_online(y": "System.schedulers_online(y",
    "for x <- Enum.__info__ do ": "for x <- Enum.__info__ do ",
    "assert Enum.zip a, b, c": "assert Enum.zip a, b,",
    "%URI{uri | ->": "%URI{uri | ->",
    "x |> Map.values(\n  y": "x |> Map.values(\n  y",
    "%Process.link{": "%Process.l",
    "&Enum.map/x": "&Enum.map/x",
    "&Enum.map/2.x": "&Enum.map/2.",
    "Date.//8": "Date./",
    "[Enum.__info__ a b, c\ndo": "[Enum.__info__ a b,",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_does_not_exist_is_refused_at_the_first_byte_that_cannot_be_put_right(monitor, text):
    assert first_refused(monitor, text) == WRONG[text]
    assert not monitor.state(b"").allows((text + " ").encode())  # and as one piece


SCOPES = {
    "alias Foo.Enum\nEnum.bogus(1)": None,
    "alias String, as: S\nS.upcase(x)": None,
    "alias String, as: S\nS.bogus(x)": "S.bo",
    "alias Foo.{String, Enum}\nString.bogus(Enum.bogus)": None,
    "require Enum, as: E\nE.bogus": "E.b",
    "def f do\n  alias Foo.Enum\n  Enum.bogus(1)\nend\nEnum.bogus(1)": "end\nEnum.b",
    "fn -> alias Foo.Enum; Enum.bogus(1) end\nEnum.bogus": "end\nEnum.b",
    "defmodule Enum do\nend\nEnum.bogus(1)": None,
    "defmodule Foo do\n  defmodule Date do\n  end\n  Date.bogus()\nend\nDate.bogus()": "end\nDate.bo",
    "defmodule Foo do\n  __MODULE__.bogus()\nend": None,
    "defmodule Foo do\n  defstruct [:a, b: 1]\n  %__MODULE__{c: 1}\nend": "%__MODULE__{c:",
    "defmodule Foo do\n  defstruct a: 1, b: 2\nend\n%Foo{b: 1, a: 2}": None,
    "defmodule Foo do\n  defstruct fields()\nend\n%Foo{b: 1}": None,
    "Elixir.Enum.bogus": "Elixir.Enum.b",
}


@pytest.mark.parametrize("text", SCOPES)
def test_names_mean_what_the_scope_makes_of_them(monitor, text):
    refused = first_refused(monitor, text)
    assert refused is None if SCOPES[text] is None else refused.endswith(SCOPES[text])


GIVEN = {"Enum.bogus": "(x)", "Enum.map(a, b, c": ")", "Enum.map(x)": "\n", "%Date{foo:": " 1}", "&Enum.map/3": ")"}


@pytest.mark.parametrize("given", GIVEN)
def test_what_was_given_is_not_judged_and_can_be_finished(monitor, given):
    assert first_refused(monitor, GIVEN[given], given=given) is None


def test_a_name_that_was_given_in_part_must_be_finished_rightly(monitor):
    assert first_refused(monitor, "(1)", given="Keyword.t") == "("
    assert first_refused(monitor, "ake(a, b)", given="Keyword.t") is None


def test_a_table_that_changes_counts_from_the_next_piece(tokenizer):
    table = NameTable([ModuleNames("Shop", {"old": (1,)})])
    monitor = NameMonitor(table, [b"x"])
    state = monitor.state(b"Shop.")
    assert state.allows(b"old(1)") and not state.allows(b"new(1)")
    table.modules = {"Shop": ModuleNames("Shop", {"new": (1,)})}
    state = monitor.state(b"").after(b"Shop.")
    assert state.allows(b"new(1)") and not state.allows(b"old(1)")


def test_types_are_free_where_the_text_is_one(monitor):
    assert NameMonitor(monitor.table, [b"x"], start="typespec").state(b"").allows(b"Keyword.t()")


@pytest.mark.parametrize(
    "text",
    ["Enum.", "Enum.ma", "x |> Enum.map", "Enum.map(", "Enum.map(x", "%Date{d | ", "&Enum.map/", "Enum.map x", ":"],
)
def test_the_mask_is_the_verdict_on_every_piece(monitor, text):
    """But for pieces with which no Elixir goes on, such as `Enum.map` + `:x`."""
    state, pieces = monitor.state(text.encode()), monitor.vocabulary.pieces
    mask = state.mask()
    chosen = np.random.default_rng(0).permutation(len(pieces))[:400]
    chosen = [index for index in chosen if pieces[index] and not re.match(rb"[:<>@~%]", pieces[index])]
    assert [bool(mask[index]) for index in chosen] == [state.allows(pieces[index]) for index in chosen]
    assert 0 < mask.sum() < len(mask)


def test_nothing_is_masked_in_a_string(monitor):
    assert monitor.state(b'x = "Enum.').mask() is None


def test_a_mask_may_be_asked_for_some_pieces_alone(monitor):
    state, within = monitor.state(b"Enum.m"), np.zeros(len(monitor.vocabulary.pieces), dtype=bool)
    within[:2000] = True
    assert (state.mask(within)[:2000] == monitor.state(b"Enum.m").mask()[:2000]).all()


COMPLETED = {
    "Enum.flat_m": b"ap(nil, nil)",
    "x |> String.upca": b"se()",
    "&Enum.flat_map_r": b"educe/3",
    "&Enum.map/": b"2",
    "Enum.map(x": b", nil",
    "Enum.map(x, ": b"nil",
    "Enum.map(String.replace(x": b", nil, nil), nil",
    "Enum.map(foo x": b" do end, nil",
    "%Date{d | da": b"y: nil",
    "x = 1": b"",
}


@pytest.mark.parametrize("text", COMPLETED)
def test_a_completion_finishes_what_is_pending(monitor, text):
    state = monitor.state(text.encode())
    completions = state.completions()
    assert completions[0] == COMPLETED[text] and completions[-1] == b""
    assert state.allows(completions[0])


def test_the_end_of_a_text_is_mended(monitor):
    state = monitor.state(b"Enum.sum(Enum.map([String.upca")
    assert state.mend(b"])))"[:3]) == b"se(nil)], nil))"
    assert monitor.state(b"x = [1").mend(b"]") == b"]"


def test_a_text_may_not_end_behind_a_call_that_lacks_arguments(monitor):
    assert not monitor.state(b"x = Enum.map").may_end()
    assert not monitor.state(b"Enum.map x").may_end()
    assert monitor.state(b"x = Enum.map(y, z)").may_end() and monitor.state(b"System.schedulers_online").may_end()


def test_every_call_in_elixirs_own_code_passes(monitor):
    """The reference solutions of our suite, and what the tests of each call."""
    problems = list(read_problems(OWN_SUITE))
    for problem in problems:
        text = f"{problem.reference}\n{problem.test_file}"
        assert first_refused(monitor, text, 7) is None, problem
    assert len(problems) > 20


def test_every_function_of_the_standard_library_can_be_called(monitor):
    library = [
        module for module in monitor.table.modules.values() if module.name.split(".")[0] in ("Enum", "String", "Map")
    ]
    for module in library:
        for name in module.callable():
            for arity in module.arities(name):
                if re.fullmatch(r"\w+[?!]?", name):
                    call = f"{module.name}.{name}({', '.join(['x'] * arity)})\n&{module.name}.{name}/{arity}\n"
                    assert first_refused(monitor, call, 5) is None, call


@pytest.fixture(scope="module")
def grammar(tokenizer):
    pytest.importorskip("llguidance")
    return ElixirGrammar(tokenizer)


@pytest.mark.parametrize("beginning", ["x = Enum.", "x |> String.", "%Date{", "[Enum.map(x, ", "IO.puts ", "&Map."])
def test_a_random_writer_never_gets_stuck(monitor, grammar, beginning):
    """Whatever it writes under grammar and monitor can go on; all tokens are as likely."""
    random = np.random.default_rng(0)
    pieces = grammar.vocabulary.pieces
    matcher, state = grammar.matcher(beginning), monitor.state(beginning.encode())
    for _ in range(25):
        order = random.permutation(len(pieces))
        index = next((i for i in order[:60] if pieces[i] and matcher.allows(int(i)) and state.allows(pieces[i])), None)
        if index is None:
            allowed = matcher.mask()
            named = state.mask(allowed)
            allowed &= True if named is None else named
            allowed &= np.array([bool(piece) for piece in pieces])
            assert allowed.any(), (beginning.encode() + matcher.text).decode()
            index = random.choice(np.flatnonzero(allowed))
        assert matcher.consume(int(index))
        state = state.after(pieces[index])
        assert not state.reading.refusal


def random_model(size):
    from elixir_coder.checkpoint import ElixirCoderConfig, new_model

    torch.manual_seed(0)
    return new_model(ElixirCoderConfig.tiny(vocab_size=size, d_model=32, encoder_ffn_dim=32, decoder_ffn_dim=32)).eval()


def remote_calls(text):
    return re.findall(r"\b(Enum|String)\.(\w+[?!]?)", text)


def test_a_model_writes_only_names_that_exist(monitor, grammar, tokenizer):
    """Sampled from an untrained model behind a dereference, under grammar and monitor, to a forced end."""
    model = random_model(len(tokenizer))
    prefix = "x |> Enum.m"
    processor = ElixirGrammarProcessor(
        tokenizer, start="expression", max_new_tokens=24, prefix=prefix, monitor=monitor, do_sample=True, seed=0
    )
    source = torch.tensor([[1, 2, 3]])
    written = model.generate(
        source, max_new_tokens=24, do_sample=True, logits_processor=LogitsProcessorList([processor])
    )
    text = prefix + tokenizer.decode(written[0, 1:], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    calls = remote_calls(text)
    assert calls and all(monitor.table.find(module).arities(name) for module, name in calls), text


def test_the_processor_alone_forbids_only_names(monitor, tokenizer):
    processor = NameMonitorProcessor(monitor, tokenizer, prefix="Enum.")
    scores = processor(torch.zeros(1, 3, dtype=torch.long), torch.zeros(1, len(tokenizer) + 5))[0]
    allowed = {piece for index, piece in enumerate(monitor.vocabulary.pieces) if piece and scores[index] == 0}
    assert b"map" in allowed and b"ma" in allowed and b"bogus" not in allowed and b" " not in allowed
    assert scores[tokenizer.eos_token_id] == -torch.inf and (scores[len(tokenizer) :] == 0).all()
    ids = torch.tensor([[0, 0, 0, tokenizer.convert_tokens_to_ids("map")]])
    after = processor(ids, torch.zeros(1, len(tokenizer)))[0]
    assert (
        after[tokenizer.convert_tokens_to_ids("(")] == 0 and after[tokenizer.convert_tokens_to_ids(")")] == -torch.inf
    )


def test_names_of_known_modules_can_be_favoured(monitor, tokenizer):
    processor = NameMonitorProcessor(monitor, tokenizer, prefix="x = Enu", bias=2.0)
    scores = processor(torch.zeros(1, 3, dtype=torch.long), torch.zeros(1, len(tokenizer)))[0]
    favoured = {monitor.vocabulary.pieces[index] for index in torch.nonzero(scores == 2.0).flatten().tolist()}
    assert b"m" in favoured and b"x" not in favoured
    assert monitor.state(b"x = y").likely() is None


def test_elixir_is_where_the_names_come_from(monitor):
    assert find_elixir().elixir_root.name == "elixir" and len(monitor.table.modules) > 500
