"""The notebook for Livebook: what of it can be checked without Bumblebee."""

import json
import re
from pathlib import Path

import pytest

from elixir_coder.release.export import FAMILIES
from elixir_coder.toolchain.toolchain import Toolchain
from tests.release.runtime_models import shipped_tokenizer

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "livebook.livemd").read_text(encoding="utf-8")
CELLS = re.findall(r"^```elixir\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


@pytest.mark.elixir
def test_every_elixir_cell_parses():
    assert len(CELLS) == 7
    with Toolchain() as toolchain:
        reports = toolchain.map("parse", CELLS)
        assert [(cell, report) for cell, report in zip(CELLS, reports) if not report.ok] == []


def test_it_is_marked_as_not_run():
    assert "**Not run by us.**" in TEXT


def test_special_tokens_and_ids_in_it_are_those_of_the_tokenizer():
    tokenizer = shipped_tokenizer()
    for token in set(re.findall(r"<(?:code|fim_\w+)>", TEXT)):
        assert tokenizer.convert_tokens_to_ids(token) in tokenizer.all_special_ids
    assert tokenizer.convert_tokens_to_ids(["<code>", "</s>", "<s>"]) == [111, 2, 1]
    assert tokenizer.decode([28419, 24337, 25893]).startswith("defmodule")
    template = json.loads((ROOT / "tokenizer_config.json").read_text())["fim_template"]["template"]
    assert template == "<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>"
    assert "<fim_prefix>#{before}<fim_suffix>#{rest}<fim_middle>" in TEXT


def test_the_command_in_it_is_one_of_ours():
    assert "elixir-coder export --to t5 " in TEXT and "t5" in FAMILIES
