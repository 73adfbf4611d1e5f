"""Two processes that share the rows of a batch, or the weights too, take the step that one takes on all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open

from tests.ecosystem import two_processes
from tests.ecosystem.small_folder import MOST_UNLIKE, judgements, largest_difference, load, sources, targets

ROWS = two_processes.ROWS


@pytest.fixture(scope="module")
def stepped(folders, tmp_path_factory):
    """OUT of two_processes.py: a folder for each way and variant."""
    out = tmp_path_factory.mktemp("stepped")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    done = subprocess.run(
        [*launch, "--main_process_port", "0", two_processes.__file__, out, *(folders[name] for name in MOST_UNLIKE)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        cwd=out,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("way", two_processes.WAYS, ids=lambda way: way.__name__)
def test_two_processes_take_the_step_of_one(way, folder, stepped):
    """Their halves have 17 and 13 labels, so a mean of their means would be another step."""
    auto = two_processes.WAYS[way]
    model = load(folder, auto).train()
    batch = {**sources(ROWS), "labels": targets(ROWS)}
    if way is two_processes.ddp_multi_task:  # where judgements weigh by the labels to write beside them
        batch |= judgements(ROWS)
        halves = ({name: tensor[half] for name, tensor in batch.items()} for half in (slice(0, 2), slice(2, 4)))
        loss = sum(model(**half, num_items_in_batch=(batch["labels"] != -100).sum()).loss for half in halves)
    else:
        loss = model(**batch).loss
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()

    shared = stepped / way.__name__ / folder.name
    assert json.loads((shared / "loss.json").read_text()) == pytest.approx(loss.item(), rel=1e-6)
    assert largest_difference(load(shared, auto).state_dict(), model.state_dict()) < 1e-6
    assert largest_difference(load(folder, auto).state_dict(), model.state_dict()) > 1e-2


@pytest.mark.parametrize("way", two_processes.WAYS, ids=lambda way: way.__name__)
def test_tied_weights_survive(way, folder, stepped):
    shared = stepped / way.__name__ / folder.name
    with safe_open(shared / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert "model.shared.weight" in names
    assert not {name for name in names if "embed_tokens" in name or "lm_head" in name}
    model = load(shared, two_processes.WAYS[way])
    assert model.lm_head.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
