"""What a run will need and how fast it will be, worked out before it starts.

`estimate` gives bytes and floating-point operations from the configuration alone; `measure_rates` times the model's own
matrix sizes on the device at hand for a third of a second, so that tokens a second can be said too. Held against
reality in docs/TRAINING.md: bytes within 25%, speed within a factor of 2.

Letters: S source and T target tokens of one backward pass on one process, D d_model, V vocabulary, P parameters.

Methods: 2 operations a weight and token forwards, twice that backwards: Kaplan et al. 2020, section 2.1,
https://arxiv.org/abs/2001.08361; attention's own, and the share of the peak: Chowdhery et al. 2022, appendix B,
https://arxiv.org/abs/2204.02311; what a layer keeps for its backward pass: Korthikanti et al. 2022, section 4,
https://arxiv.org/abs/2205.05198, counted here for these layers; what sharing it out saves: Rajbhandari et al. 2020,
https://arxiv.org/abs/1910.02054.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from transformers import PretrainedConfig

from elixir_coder import checkpoint
from elixir_coder.training.losses import token_losses

Sharding = Literal["none", "ddp", "fsdp2", "zero2"]

FLOAT = 4  # bytes: weights, gradients, moments and the residual stream are float32 in every precision

# Moments an optimizer keeps for each weight that is trained.
MOMENTS = {"adamw": 2, "sgd": 0}

# Dense bf16 operations a second by what torch calls the device; the first name that is contained wins. From NVIDIA's
# data sheets, which for sparse matrices give twice that: https://www.nvidia.com/en-us/data-center/h200/ and likewise
# h100, a100, l40s, l4.
PEAKS = {
    "H200 NVL": 835.5e12,
    "H200": 989.5e12,
    "H100 NVL": 835.5e12,
    "H100 PCIe": 756.5e12,
    "H100": 989.5e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
}


@dataclass(frozen=True)
class Rates:
    """Floating-point operations a second that a device achieves in training, by what the model spends them on."""

    layers: float
    attention: float
    head: float


@dataclass(frozen=True)
class Estimate:
    """Of one process. Bytes: weights, gradients, optimizer_states, activations (by part, of one backward pass), logits
    (of one chunk, and what its gradient takes), exchange (what processes trade). Operations of one token, the mean of
    source and target: `forward` and `backward`, by "layers", "attention" and "head".

    tokens_per_second: of all processes, source and target; None where no rates were given.
    """

    num_tokens: int
    num_processes: int
    num_parameters: int
    num_trained: int
    weights: int
    gradients: int
    optimizer_states: int
    activations: Mapping[str, int]
    logits: int
    exchange: int
    forward: Mapping[str, float]
    backward: Mapping[str, float]
    rates: Rates | None = None

    @property
    def total(self) -> int:
        """The most that stands in memory at once, without the framework itself and what its allocator keeps back.

        Gradients and activations are added though one grows while the other shrinks: memory that held the one rarely
        fits the other.
        """
        passing = sum(self.activations.values()) + self.logits
        return self.weights + self.gradients + self.optimizer_states + self.exchange + passing

    @property
    def flops(self) -> float:
        """Operations of one token, forwards and backwards."""
        return sum(self.forward.values()) + sum(self.backward.values())

    @property
    def tokens_per_second(self) -> float | None:
        if self.rates is None:
            return None
        seconds = sum((self.forward[part] + self.backward[part]) / getattr(self.rates, part) for part in self.forward)
        return self.num_processes / seconds

    def utilization(self, tokens_per_second: float, device_name: str) -> float | None:
        """Share of the devices' peak in bf16 that so many tokens a second are; None for a device not in PEAKS."""
        peak = next((peak for name, peak in PEAKS.items() if name in device_name), None)
        return None if peak is None else tokens_per_second * self.flops / (peak * self.num_processes)

    def __str__(self) -> str:
        rows = {
            f"weights ({self.num_parameters:,}, of which {self.num_trained:,} trained)": self.weights,
            "gradients": self.gradients,
            "optimizer": self.optimizer_states,
            **{f"activations: {name}": size for name, size in self.activations.items() if size},
            "logits": self.logits,
            "exchange between processes": self.exchange,
            f"at most, on each of {self.num_processes}": self.total,
        }
        lines = [f"{name:<52}{size / 2**20:>12,.0f} MiB" for name, size in rows.items() if size]
        shares = ", ".join(
            f"{part} {(self.forward[part] + self.backward[part]) / self.flops:.0%}" for part in self.forward
        )
        lines.append(f"{'operations a token':<52}{self.flops / 1e9:>12,.2f} G    {shares}")
        if self.tokens_per_second is not None:
            lines.append(f"{'tokens a second, source and target':<52}{self.tokens_per_second:>12,.0f}")
        return "\n".join(lines)


def estimate(
    config: PretrainedConfig,
    *,
    batch_tokens: int,
    source_share: float,
    num_texts: int = 1,
    precision: Literal["fp32", "bf16"] = "fp32",
    optimizer: str = "adamw",
    gradient_checkpointing: bool = False,
    logits_chunk: int | None = 1024,
    num_processes: int = 1,
    sharding: Sharding = "none",
    adapter_rank: int | None = None,
    attention_in_blocks: bool = False,
    rates: Rates | None = None,
) -> Estimate:
    """What training a multi-task model of `config` takes.

    batch_tokens: S + T of one backward pass on one process, of which `source_share` is S. num_texts: texts that share
    them evenly and do not see each other. logits_chunk: target tokens whose logits stand in memory together, None for
    all. adapter_rank: of LoRA on every matrix of the layers, the rest frozen;
    None trains everything. attention_in_blocks: as flash and flex attention, which keep no weights of attention.
    """
    sizes = _Sizes.of(config, batch_tokens, source_share, num_texts, precision)
    table = checkpoint.configuration_elixir_coder.parameter_table(config)
    num_parameters = sum(table.values())
    num_trained = num_parameters if adapter_rank is None else adapter_rank * sizes.adapter_width
    adapters = 0 if adapter_rank is None else num_trained

    parts = num_processes if sharding == "fsdp2" else 1
    weights = FLOAT * (num_parameters + adapters) // parts
    gradients = FLOAT * num_trained // (num_processes if sharding in ("fsdp2", "zero2") else 1)
    moments = MOMENTS[optimizer] * FLOAT * num_trained
    moments //= num_processes if sharding in ("fsdp2", "zero2") else 1

    activations = sizes.activations(attention_in_blocks)
    if gradient_checkpointing:
        activations = sizes.checkpointed(activations)
    if precision == "bf16":  # autocast's copies of the matrices, which the backward pass reads
        tables = sum(count for name, count in table.items() if name.endswith("embed_positions"))
        activations["weights in bf16"] = 2 * (num_parameters - tables + adapters)
    is_table_trained = adapter_rank is None

    forward = sizes.operations()
    backward = {part: (2 if is_table_trained else 1) * count for part, count in forward.items()}
    backward["attention"] = 2 * forward["attention"]
    if gradient_checkpointing:  # the layers once more
        backward |= {part: backward[part] + forward[part] for part in ("layers", "attention")}
    return Estimate(
        num_tokens=batch_tokens,
        num_processes=num_processes,
        num_parameters=num_parameters,
        num_trained=num_trained,
        weights=weights,
        gradients=gradients,
        optimizer_states=moments,
        activations=activations,
        logits=sizes.logits(logits_chunk, is_table_trained),
        exchange=_exchange(sharding, table, num_trained),
        forward=forward,
        backward=backward,
        rates=rates,
    )


def _exchange(sharding: Sharding, table: Mapping[str, int], num_trained: int) -> int:
    """Bytes for what processes trade: DDP's buckets are a second set of gradients; sharded weights are gathered a layer
    at a time while the next one is on its way, with the embedding, which input and head share, all the time."""
    if sharding in ("ddp", "zero2"):
        return FLOAT * num_trained
    if sharding == "fsdp2":
        widest = max(count for name, count in table.items() if ".layers." in name)
        return FLOAT * (table["model.shared"] * 2 + widest * 4)  # each with its gradient
    return 0


@dataclass(frozen=True)
class _Stack:
    """One stack. heads: (query heads × width, key/value heads × width). pairs: query-key pairs that see each other, of
    self-attention; cross_pairs: those of cross-attention, and `read` the source tokens it reads."""

    num_layers: int
    num_tokens: int
    num_heads: int
    inner: int
    key_value: int
    ffn: int
    pairs: int
    cross_pairs: int = 0
    read: int = 0


@dataclass(frozen=True)
class _Sizes:
    """The shape of a pass: what is counted below is multiplied out of it."""

    config: PretrainedConfig
    stacks: Mapping[str, _Stack]
    element: int  # bytes of a number in a matrix product
    copies: int  # of a norm's output for the products that read it: autocast makes one for each

    @classmethod
    def of(
        cls, config: PretrainedConfig, batch_tokens: int, source_share: float, num_texts: int, precision: str
    ) -> _Sizes:
        num_source = round(batch_tokens * source_share)
        num_target = batch_tokens - num_source
        stacks = {}
        for name, num_tokens, read in (("encoder", num_source, 0), ("decoder", num_target, num_source)):
            num_heads = getattr(config, f"{name}_attention_heads")
            stacks[name] = _Stack(
                num_layers=getattr(config, f"{name}_layers"),
                num_tokens=num_tokens,
                num_heads=num_heads,
                inner=num_heads * config.head_width(name),
                key_value=config.key_value_heads(name) * config.head_width(name),
                ffn=getattr(config, f"{name}_ffn_dim"),
                pairs=num_tokens * num_tokens // num_texts,
                cross_pairs=num_tokens * read // num_texts,
                read=read,
            )
        return cls(config, stacks, 2 if precision == "bf16" else FLOAT, 1 if precision == "fp32" else 3)

    @property
    def adapter_width(self) -> int:
        """Inputs and outputs of all matrices of the layers: what one rank of LoRA adds to each."""
        d = self.config.d_model
        num_inner = 2 if self.config.gated_ffn else 1
        widths = 0
        for name, stack in self.stacks.items():
            attention = 2 * (d + stack.inner) + 2 * (d + stack.key_value)
            layer = (2 if name == "decoder" else 1) * attention + (num_inner + 1) * (d + stack.ffn)
            widths += stack.num_layers * layer
        return widths

    def activations(self, attention_in_blocks: bool) -> dict[str, int]:
        """Bytes that a forward pass keeps for the backward pass, by part."""
        config, d = self.config, self.config.d_model
        found = {"encoder": 0, "decoder": 0, "cross-attention": 0, "attention weights": 0}
        for name, stack in self.stacks.items():
            residual = FLOAT * d * stack.num_tokens  # what a norm reads
            normed = self.element * d * stack.num_tokens
            dropped = normed if config.dropout > 0 else 0  # on a GPU a byte for each
            query = self.element * stack.inner * stack.num_tokens
            num_inner = 4 if config.gated_ffn else 2
            attention = residual + self.copies * normed + 4 * query + dropped
            feed_forward = residual + min(self.copies, num_inner // 2) * normed + dropped
            feed_forward += num_inner * self.element * stack.ffn * stack.num_tokens
            found[name] = stack.num_layers * (attention + feed_forward) + 2 * residual  # with both ends
            if stack.read:
                read = self.element * stack.read
                cross = residual + normed + 2 * query + 2 * read * stack.inner + dropped
                cross += 2 * read * d if self.copies > 1 else 0
                found["cross-attention"] = stack.num_layers * cross
            if not attention_in_blocks:
                found["attention weights"] += self._attention_weights(stack)
        return found

    def _attention_weights(self, stack: _Stack) -> int:
        """Bytes of what PyTorch keeps of queries times keys. Its fused attention keeps none, but where the bias of
        relative positions is learned a CPU writes them out, in every layer; under autocast in float32 too."""
        if self.config.position_embedding_type != "relative":
            return 0
        element = self.element if self.element == FLOAT else self.element + FLOAT
        weights = element * stack.num_heads * stack.pairs
        return (stack.num_layers + 2) * weights  # and the bias with its gradient

    def checkpointed(self, activations: Mapping[str, int]) -> dict[str, int]:
        """The same where only what each layer reads is kept, and one layer at a time is worked out again."""
        kept = {}
        for name, stack in self.stacks.items():
            kept[f"{name}, read by layers"] = FLOAT * self.config.d_model * stack.num_tokens * (stack.num_layers + 2)
        encoder, decoder = self.stacks["encoder"], self.stacks["decoder"]
        again = max(
            activations["encoder"] // encoder.num_layers,
            (activations["decoder"] + activations["cross-attention"]) // decoder.num_layers,
        )
        weights = sum(self._attention_weights(stack) * 3 // (stack.num_layers + 2) for stack in self.stacks.values())
        return kept | {"one layer": again, "attention weights": weights if activations["attention weights"] else 0}

    def logits(self, chunk: int | None, is_table_trained: bool) -> int:
        """Bytes of the logits that stand in memory together, and of the gradients that training/losses.py works out
        with them: those of the states, and of the table where it is trained. All at once, PyTorch's own loss keeps
        logits, softmax and the gradients of both."""
        d, vocabulary, num_target = self.config.d_model, self.config.vocab_size, self.stacks["decoder"].num_tokens
        gradients = num_target * d + (vocabulary * d if is_table_trained else 0)
        if chunk is None:
            return FLOAT * (4 * num_target * vocabulary + gradients)
        in_half = self.element if self.element < FLOAT else 0
        return (FLOAT + in_half) * min(chunk, num_target) * vocabulary + FLOAT * gradients

    def operations(self) -> dict[str, float]:
        """Operations of a token forwards. 2 a weight; attention's 4 a pair and channel: scores, and their mean."""
        d = self.config.d_model
        num_inner = 2 if self.config.gated_ffn else 1
        layers, attention = 0, 0
        for stack in self.stacks.values():
            own = 2 * d * (stack.inner + stack.key_value) + (num_inner + 1) * d * stack.ffn
            work = stack.num_tokens * own
            if stack.read:
                work += stack.num_tokens * 2 * d * stack.inner + stack.read * 2 * d * stack.key_value
            layers += 2 * stack.num_layers * work
            attention += 4 * stack.num_layers * stack.inner * (stack.pairs + stack.cross_pairs)
        num_target = self.stacks["decoder"].num_tokens
        num_tokens = self.stacks["encoder"].num_tokens + num_target
        head = 2 * d * self.config.vocab_size * num_target
        return {"layers": layers / num_tokens, "attention": attention / num_tokens, "head": head / num_tokens}


def measure_rates(
    config: PretrainedConfig,
    *,
    batch_tokens: int,
    source_share: float,
    num_texts: int = 1,
    precision: Literal["fp32", "bf16"] = "fp32",
    device: torch.device | str = "cpu",
    seconds: float = 0.3,
) -> Rates:
    """Time a feed-forward block, attention and the head in the model's own sizes, forwards and backwards.

    Every process of a run should do it at the same time: they share memory, and on a CPU its cores. A device's first
    calls, which load its kernels, are not counted, and at least one is made of each however long it takes.
    """
    sizes = _Sizes.of(config, batch_tokens, source_share, num_texts, precision)
    encoder, decoder = sizes.stacks["encoder"], sizes.stacks["decoder"]
    d, ffn = config.d_model, encoder.ffn
    rows = min(max(encoder.num_tokens, decoder.num_tokens), 2048)
    head_rows = min(decoder.num_tokens, 256)
    length = max(1, encoder.num_tokens // num_texts)
    texts = max(1, min(num_texts, 2048 // length))

    def numbers(*shape: int) -> torch.Tensor:
        """Of a size that weights and states have: where they are larger, a softmax is slow with what is next to 0."""
        return torch.randn(shape, device=device).mul_(shape[-1] ** -0.5).requires_grad_()

    states, inner, outer = numbers(rows, d), numbers(ffn, d), numbers(d, ffn)
    last, table = numbers(head_rows, d), numbers(config.vocab_size, d)
    labels = torch.zeros(head_rows, dtype=torch.long, device=device)
    weights = torch.full((head_rows,), 1 / head_rows, device=device)
    shape = (texts, encoder.num_heads, length, encoder.inner // encoder.num_heads)
    query, key, value = (numbers(*shape) for _ in range(3))
    has_bias = config.position_embedding_type == "relative"
    bias = numbers(1, encoder.num_heads, length, length) if has_bias else None

    def layers() -> torch.Tensor:
        normed = F.rms_norm(states, (d,))
        return (states + F.linear(F.gelu(F.linear(normed, inner)), outer)).sum()

    def attention() -> torch.Tensor:
        half = torch.bfloat16 if precision == "bf16" else torch.float32
        mask = None if bias is None else bias.to(half)
        return F.scaled_dot_product_attention(query.to(half), key.to(half), value.to(half), attn_mask=mask).sum()

    def head() -> torch.Tensor:
        return token_losses(last, table, None, labels, weights)[0]

    def rate(loss_of: Callable[[], torch.Tensor], operations: int) -> float:
        """Operations a second of forward and backward, which is twice the forward."""

        def once() -> None:
            with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16"):
                loss = loss_of()
            loss.backward()
            if torch.device(device).type == "cuda":
                torch.cuda.synchronize(device)

        once()
        began, times = time.perf_counter(), 0
        while times == 0 or time.perf_counter() - began < seconds / 3:
            once()
            times += 1
        return 3 * operations * times / (time.perf_counter() - began)

    return Rates(
        layers=rate(layers, 4 * rows * d * ffn),
        attention=rate(attention, 4 * texts * length * length * encoder.inner),
        head=rate(head, 2 * head_rows * d * config.vocab_size),
    )
