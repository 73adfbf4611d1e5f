"""One training step of each of two processes, in every way that shares a model or its data between them.

accelerate launch --multi_gpu --num_processes 2 two_processes.py OUT FOLDER...

Each process has one half of the rows. The first writes OUT/<way>/<folder>: a model folder as it is after the step, and
loss.json.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import FullyShardedDataParallelPlugin, fsdp2_prepare_model
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.ecosystem.small_folder import judgements, load, small_tokenizer, sources, targets

warnings.simplefilter("error")
torch.set_num_threads(1)
ROWS = 4


def ddp(accelerator, model):
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
    loss = step(accelerator, model, optimizer)
    return loss, accelerator.get_state_dict(model)


def ddp_multi_task(accelerator, model):
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
    loss = step(accelerator, model, optimizer, **judgements(ROWS))
    return loss, accelerator.get_state_dict(model)


def fsdp2(accelerator, model):
    """torch's own fully_shard, a layer at a time, with recomputed activations."""
    # its name before transformers 5.23 is the second, of which that one warns
    (getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable)()
    mesh = init_device_mesh("cpu", (2,))
    for layer in (*model.model.encoder.layers, *model.model.decoder.layers):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return sharded_step(accelerator, model)


def accelerate_fsdp2(accelerator, model):
    """How accelerate wraps a model on accelerators; `prepare` leaves it out where all processes run on a CPU."""
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", cpu_ram_efficient_loading=False
    )
    return sharded_step(accelerator, fsdp2_prepare_model(accelerator, model))


def sharded_step(accelerator, model):
    loss = step(accelerator, model, torch.optim.SGD(model.parameters(), lr=0.1))
    return loss, get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def step(accelerator, model, optimizer, **labels):
    """The mean loss of the step that every weight takes along the gradient of all rows."""
    mine = slice(2 * accelerator.process_index, 2 * accelerator.process_index + 2)
    batch = {**sources(ROWS), "labels": targets(ROWS), **labels}
    # Gradients of the processes are averaged, so each divides by its share of the labels of all.
    share = (batch["labels"] != -100).sum() / accelerator.num_processes
    loss = model(**{name: tensor[mine] for name, tensor in batch.items()}, num_items_in_batch=share).loss
    accelerator.backward(loss)
    optimizer.step()
    return accelerator.reduce(loss.detach(), "mean").item()


def trainer(accelerator, model):
    source, target = sources(ROWS), targets(ROWS)
    run = Seq2SeqTrainer(
        model=model,
        args=Seq2SeqTrainingArguments(
            output_dir="unused",
            per_device_train_batch_size=2,
            max_steps=1,
            optim="sgd",
            learning_rate=0.1,
            lr_scheduler_type="constant",
            max_grad_norm=1e9,
            train_sampling_strategy="sequential",
            save_strategy="no",
            logging_steps=1,
            disable_tqdm=True,
            report_to=[],
            use_cpu=True,
        ),
        train_dataset=[
            {"input_ids": ids[mask == 1].tolist(), "labels": labels[labels != -100].tolist()}
            for ids, mask, labels in zip(source["input_ids"], source["attention_mask"], target)
        ],
        data_collator=DataCollatorForSeq2Seq(small_tokenizer(), model=model),
    )
    run.train()
    return run.state.log_history[0]["loss"], accelerator.unwrap_model(run.model).state_dict()


WAYS = {
    ddp: "AutoModelForSeq2SeqLM",
    ddp_multi_task: "AutoModelForPreTraining",
    fsdp2: "AutoModelForSeq2SeqLM",
    accelerate_fsdp2: "AutoModelForSeq2SeqLM",
    trainer: "AutoModelForSeq2SeqLM",
}


def main(out: Path, folders: list[Path]) -> None:
    accelerator = Accelerator()
    assert (accelerator.num_processes, accelerator.device.type) == (2, "cpu")
    for way, auto in WAYS.items():
        for folder in folders:
            model = load(folder, auto).train()
            loss, weights = way(accelerator, model)
            if accelerator.is_main_process:
                place = out / way.__name__ / folder.name
                plain = load(folder, auto)
                plain.load_state_dict(weights)  # gathered, tied names have a tensor each; in a plain model they are one
                plain.save_pretrained(place)
                (place / "loss.json").write_text(json.dumps(loss))
            accelerator.wait_for_everyone()
    accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(folder) for folder in sys.argv[2:]])
