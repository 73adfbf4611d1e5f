import pytest

from elixir_coder.data.judged import holds_judged_module, is_kept_for_judging


@pytest.mark.parametrize(
    ("package", "url"),
    [
        ("oban", ""),
        ("Livebook", ""),
        ("elixir-ash", ""),
        ("human_eval", ""),
        ("elixir_sft_dataset", ""),
        ("elixir", "https://github.com/exercism/elixir"),
        ("fork", "https://github.com/someone/livebook.git"),
        ("jobs", "git@github.com:oban-bg/oban.git"),
        ("evals", "https://github.com/ash-project/evals/tree/main"),
        ("data", "https://huggingface.co/datasets/nuprl/MultiPL-E"),
    ],
)
def test_what_models_are_judged_by_is_known_by_name_or_url(package, url):
    assert is_kept_for_judging(package, url)


@pytest.mark.parametrize(
    ("package", "url"),
    [
        ("phoenix", "https://github.com/phoenixframework/phoenix"),
        ("ash_like", "https://github.com/acme/evals"),
        ("obanite", "https://github.com/acme/obanite"),
        ("elixir", "https://github.com/elixir-lang/elixir"),
        ("multi", ""),
    ],
)
def test_others_are_not(package, url):
    assert not is_kept_for_judging(package, url)


def test_a_copied_file_is_known_by_its_module():
    assert holds_judged_module("# copied\ndefmodule Oban.Worker do\nend\n")
    assert not holds_judged_module("defmodule ObanHelper do\nend\n")
    assert not holds_judged_module("defmodule A do\n  alias Oban.Job\nend\n")
