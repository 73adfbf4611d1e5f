"""A project of one's own as something to learn from, and the training of an adapter on it."""

import math
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elixir_coder.checkpoint import new_model, preset_config, vocabulary_fields
from elixir_coder.data.folder import unit_of
from elixir_coder.data.shards import write_shards
from elixir_coder.errors import InputError, TrainingError
from elixir_coder.tasks.row import Setup, SpecialTokens
from elixir_coder.training.adapters import add_adapter
from elixir_coder.training.finetune import (
    HELD_OUT,
    MIN_BYTES,
    MOST_HELD_OUT,
    batches_of,
    learning_rate_at,
    num_bytes,
    parts,
    project_files,
    shares_of,
    split,
    train,
)
from tests.evaluation.small import example_of, small_tokenizer
from tests.training.small_project import SECRET, write_project
from tests.training.small_run import generated_file

LENGTHS = (32, 32)


@pytest.fixture(scope="module")
def tokenizer():
    return small_tokenizer()


@pytest.fixture(scope="module")
def setup(tokenizer):
    return Setup(tokenizer, SpecialTokens.of(tokenizer), *LENGTHS)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    write_shards(folder, {"train": map(generated_file, range(30))}, {})
    return folder


def model_of(tokenizer, kind="multitask"):
    torch.manual_seed(0)
    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    config = preset_config("tiny", **vocabulary_fields(tokenizer), **sizes, max_position_embeddings=64)
    return new_model(config, kind)


def trained(tokenizer, setup, corpus, *, steps=12, minutes=1.0, learning_rate=1e-2, say=lambda text: None):
    model = model_of(tokenizer)
    torch.manual_seed(1)
    parameters = add_adapter(model, "mine")
    shares = {"complete": 0.5, "infill": 0.5}
    batches = batches_of(corpus, shares, setup, batch_tokens=300, model=model, seed=0)
    done = train(model, parameters, batches, steps=steps, minutes=minutes, learning_rate=learning_rate, say=say)
    return model, parameters, done


# ------------------------------------------------------------------------------------------------------------ the data


def test_a_folder_without_mix_exs_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no mix\.exs in"):
        project_files(tmp_path)


def test_a_project_without_code_is_refused(tmp_path):
    (tmp_path / "mix.exs").write_text("")
    with pytest.raises(InputError, match="has no Elixir code in lib, test or config"):
        project_files(tmp_path)


def test_own_files_are_read_with_their_secrets_written_over(tmp_path):
    write_project(tmp_path, num_modules=3)
    (tmp_path / "deps/other/lib").mkdir(parents=True)
    (tmp_path / "deps/other/lib/other.ex").write_text("defmodule Other do\n  def other, do: :other\nend\n")
    files, _ = project_files(tmp_path)
    assert {file.path for file in files} == {
        "mix.exs",
        "config/config.exs",
        *(f"lib/shop/part{number}.ex" for number in range(3)),
        *(f"test/shop/part{number}_test.exs" for number in range(3)),
    }
    assert {(file.package, file.licence) for file in files} == {("shop", "proprietary")}
    assert SECRET in (tmp_path / "config/config.exs").read_text()
    assert not any(SECRET in file.code for file in files)


@pytest.mark.elixir
def test_what_does_not_parse_is_left_out_and_counted(tmp_path):
    write_project(tmp_path, num_modules=3)
    (tmp_path / "lib/broken.ex").write_text("defmodule Broken do\n  def half(a\nend\n")
    files, dropped = project_files(tmp_path)
    assert "lib/broken.ex" not in {file.path for file in files}
    assert dropped["does not parse"] == 1


@settings(max_examples=30)
@given(st.lists(st.integers(20, 4_000), min_size=1, max_size=60))
def test_a_tenth_is_held_out_code_together_with_its_tests(sizes):
    files = [
        example_of("x" * size, path)
        for number, size in enumerate(sizes)
        for path in (f"lib/a{number}.ex", f"test/a{number}_test.exs")
    ]
    try:
        learnt, held_out = split(files)
    except InputError as error:
        assert f"{num_bytes(files):,} bytes" in str(error)
        return
    assert [file for file in files if file in learnt or file in held_out] == files
    assert not {unit_of(file.path) for file in learnt} & {unit_of(file.path) for file in held_out}
    assert held_out
    assert num_bytes(held_out) <= MOST_HELD_OUT * num_bytes(files)
    assert num_bytes(learnt) >= MIN_BYTES
    assert split(files[::-1])[1] == held_out[::-1]


def test_of_many_small_files_about_a_tenth_is_held_out_and_stays_so_when_one_is_added():
    files = [example_of(f"# {number}" * 300, f"lib/a{number}.ex") for number in range(100)]
    _, held_out = split(files)
    assert HELD_OUT <= num_bytes(held_out) / num_bytes(files) <= HELD_OUT + 0.02
    _, later = split([*files, example_of("# more" * 300, "lib/more.ex")])
    assert len({file.path for file in held_out} & {file.path for file in later}) >= len(held_out) - 1


def test_too_little_code_is_refused_with_how_much_it_takes():
    with pytest.raises(InputError, match=r"1,200 bytes of code in 2 modules .* 10,000 bytes or more"):
        split([example_of("x" * 600, "lib/a.ex"), example_of("x" * 600, "lib/b.ex")])


@pytest.mark.elixir
def test_documented_and_tested_code_is_for_tasks_of_its_own(tmp_path, setup):
    write_project(tmp_path, num_modules=3)
    files, _ = project_files(tmp_path)
    found = parts(files)
    assert {"function", "test_pair"} <= {each.kind for each in found}
    assert set(shares_of(found, setup)) == {"complete", "infill", "document", "write_tests"}


def test_without_documents_or_tests_there_is_code_alone(setup):
    assert set(shares_of([example_of("x = 1\n")], setup)) == {"complete", "infill"}


def test_without_an_elixir_files_are_all_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    write_project(tmp_path, num_modules=3)
    files, _ = project_files(tmp_path)
    assert len(files) == 8
    assert parts(files) == []


# -------------------------------------------------------------------------------------------------------- the training


def test_the_adapter_learns_the_project_and_the_base_stays(tokenizer, setup, corpus):
    said = []
    model, _, (num_steps, _) = trained(tokenizer, setup, corpus, steps=40, say=said.append)
    assert num_steps == 40
    losses = [float(line.split("loss ")[1].split()[0]) for line in said]
    assert len(losses) == 10
    assert losses[-1] < losses[0] - 0.1
    weights = dict(model.named_parameters())
    for name, weight in model_of(tokenizer).named_parameters():
        inner, _, last = name.rpartition(".")
        assert torch.equal(weights.get(f"{inner}.base_layer.{last}", weights.get(name)), weight), name


def test_the_same_seed_trains_the_same_adapter(tokenizer, setup, corpus):
    first, second = (trained(tokenizer, setup, corpus, steps=4)[1] for _ in range(2))
    assert all(map(torch.equal, first, second))


def test_the_minutes_decide_how_many_steps_there_are(tokenizer, setup, corpus):
    said = []
    *_, (num_steps, _) = trained(tokenizer, setup, corpus, steps=None, minutes=0.01, say=said.append)
    assert num_steps >= 1
    assert f"step {num_steps:,}, 100%" in said[-1]


def test_the_learning_rate_goes_up_and_down_to_nothing():
    assert learning_rate_at(0.0, 1, 1.0) == pytest.approx(0.1)
    assert learning_rate_at(0.5, 50, 1.0) == pytest.approx(0.5)
    assert learning_rate_at(0.99, 99, 1.0) < 0.001


def test_a_loss_that_is_no_number_stops_the_run(tokenizer, setup, corpus, monkeypatch):
    monkeypatch.setattr(torch.nn.RMSNorm, "forward", lambda self, hidden: hidden * math.nan)
    with pytest.raises(TrainingError, match="the loss of step 1 is not a finite number; lower --learning_rate"):
        trained(tokenizer, setup, corpus)
