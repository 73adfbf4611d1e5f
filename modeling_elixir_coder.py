"""The elixir-coder models: an encoder-decoder transformer, with heads that judge code on its encoder.

One attention class and one layer class per stack serve every form the configuration can ask for. What differs between
BART, Pegasus, Marian, T5 and Llama is a value in the configuration, never a branch in a model of its own.

Axes: B batch, S source length, T target length, D d_model, H heads, K keys, Q queries.

Method: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; relative positions: Raffel et al. 2020, section 2.1,
https://arxiv.org/abs/1910.10683; rotary: Su et al. 2021, https://arxiv.org/abs/2104.09864, in Llama's layout; ALiBi:
Press et al. 2022, https://arxiv.org/abs/2108.12409; sinusoids in Marian's layout (all sines, then all cosines).
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import GenerationConfig, Pipeline
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import (
    BaseModelOutput,
    BaseModelOutputWithPastAndCrossAttentions,
    Seq2SeqLMOutput,
    Seq2SeqModelOutput,
    SequenceClassifierOutput,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.utils import can_return_tuple, logging
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

try:
    from .configuration_elixir_coder import ElixirCoderConfig
except ImportError:
    from configuration_elixir_coder import ElixirCoderConfig
try:
    from .tokenization_elixir_coder import split_prompt
except ImportError:
    from tokenization_elixir_coder import split_prompt

__all__ = [
    "ElixirCoderEncoderModel",
    "ElixirCoderForConditionalGeneration",
    "ElixirCoderForMultiTask",
    "ElixirCoderForSequenceClassification",
    "ElixirCoderModel",
    "ElixirCoderMultiTaskOutput",
    "ElixirCoderPreTrainedModel",
    "ElixirCoderText2TextPipeline",
    "shift_tokens_right",
]

logger = logging.get_logger(__name__)

IGNORED = -100  # a label that counts in no loss, as everywhere in transformers
FLOAT16_RANGE = (torch.finfo(torch.float16).min, torch.finfo(torch.float16).max)


def shift_tokens_right(labels: torch.Tensor, pad_token_id: int, decoder_start_token_id: int) -> torch.Tensor:
    """What the decoder reads so that it predicts `labels`: (B, T) int64 -> (B, T) int64, ignored labels as padding."""
    shifted = labels.new_full(labels.shape, decoder_start_token_id)
    shifted[:, 1:] = labels[:, :-1]
    return shifted.masked_fill(shifted == IGNORED, pad_token_id)


# ------------------------------------------------------------------------------------------ embedding, norm, positions


class ElixirCoderTokenEmbedding(nn.Embedding):
    """The input table, read × √d_model where the configuration says so: what it gives is what `inputs_embeds` takes."""

    def __init__(self, config: ElixirCoderConfig):
        super().__init__(config.vocab_size, config.d_model)
        self.embed_scale = math.sqrt(config.d_model) if config.scale_embedding else 1.0

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return super().forward(input_ids) * self.embed_scale


def build_norm(config: ElixirCoderConfig) -> nn.Module:
    if config.norm_type == "rmsnorm":
        return nn.RMSNorm(config.d_model, eps=config.layer_norm_eps)
    return nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)


def build_activation(name: str) -> nn.Module:
    """gelu_new is gelu with a tangent: as one operator it takes a third of the time of transformers' eight."""
    return ACT2FN["gelu_pytorch_tanh" if name == "gelu_new" else name]


class ElixirCoderLearnedPositions(nn.Embedding):
    """A table with one learned vector per position."""

    def __init__(self, config: ElixirCoderConfig):
        super().__init__(config.max_position_embeddings, config.d_model)


class ElixirCoderSinusoidalPositions(nn.Module):
    """Marian's table: p / 10000^(2i/D), sines in the first half, cosines in the second. Computed, never saved."""

    def __init__(self, config: ElixirCoderConfig):
        super().__init__()
        self.shape = (config.max_position_embeddings, config.d_model)
        self.register_buffer("weight", self.table(), persistent=False)

    def table(self) -> torch.Tensor:
        # In float64 at first: at position 4096 a float32 angle is off by 2e-4 rad, more than parity allows.
        length, width = self.shape
        frequencies = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64, device="cpu") / width)
        angles = torch.arange(length, dtype=torch.float64, device="cpu")[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=-1).float()

    def forward(self, position_ids: torch.Tensor) -> torch.Tensor:
        return F.embedding(position_ids, self.weight)


class ElixirCoderScorePositions(nn.Module):
    """Positions that add a number to the attention scores of every layer, one per head and distance."""

    is_decoder: bool

    def by_distance(self, distance: torch.Tensor) -> torch.Tensor:
        """Key position minus query position, int64 of any shape -> (H, *shape) float."""
        raise NotImplementedError

    def forward(
        self,
        hidden: torch.Tensor,
        num_keys: int,
        first_query: int | torch.Tensor = 0,
        position_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What self-attention of `hidden`, (B, Q, D), adds to its scores: (B or 1, H, Q, K) in its dtype.

        Queries stand at `first_query` and after it, keys at 0 and after it, unless position_ids (B or 1, Q) say where
        both stand.
        """
        if position_ids is not None:
            return self.between(position_ids, position_ids).to(hidden.dtype)
        if torch.compiler.is_exporting():  # where `unfold` would fix the sizes, and a mask is always made
            queries = torch.arange(hidden.shape[1], device=hidden.device) + first_query
            return self.between(queries[None], torch.arange(num_keys, device=hidden.device)[None]).to(hidden.dtype)
        return self.consecutive(first_query, hidden.shape[1], num_keys, like=hidden)

    def between(self, query_positions: torch.Tensor, key_positions: torch.Tensor) -> torch.Tensor:
        """(B or 1, Q) and (B or 1, K) int64 -> (B or 1, H, Q, K) float."""
        return self.by_distance(key_positions[:, None, :] - query_positions[:, :, None]).transpose(0, 1)

    def consecutive(
        self, first_query: int | torch.Tensor, num_queries: int, num_keys: int, like: torch.Tensor
    ) -> torch.Tensor:
        """The same for queries `first_query`, `first_query` + 1, ... and keys 0, 1, ...: (1, H, Q, K) as `like`.

        Q + K - 1 distances are looked up, and row q is what starts Q - 1 - q places into them, so nothing else of
        Q × K numbers is ever made. A decoder's queries do not see what follows, so that it needs no mask for that.
        """
        distance = torch.arange(1 - num_queries, num_keys, device=like.device) - first_query
        diagonals = self.by_distance(distance).to(like.dtype)
        if self.is_decoder:
            diagonals = diagonals.masked_fill(distance > 0, torch.finfo(like.dtype).min)
        return diagonals.contiguous().unfold(-1, num_keys, 1).flip(-2)[None]


class ElixirCoderRelativePositions(ElixirCoderScorePositions, nn.Embedding):
    """T5's bias: one learned number per head and bucket of distances."""

    def __init__(self, config: ElixirCoderConfig, num_heads: int, is_decoder: bool):
        super().__init__(config.relative_attention_num_buckets, num_heads)
        self.max_distance = config.relative_attention_max_distance
        self.is_decoder = is_decoder

    def bucket(self, distance: torch.Tensor) -> torch.Tensor:
        """Key position minus query position -> bucket, both int64: exact while near, logarithmic when far."""
        num_buckets = self.num_embeddings
        if self.is_decoder:
            offset, distance = 0, (-distance).clamp(min=0)  # a key to the right is masked anyway
        else:
            num_buckets //= 2
            offset, distance = (distance > 0) * num_buckets, distance.abs()
        num_exact = num_buckets // 2
        far = torch.log(distance.clamp(min=1).float() / num_exact) / math.log(self.max_distance / num_exact)
        far = num_exact + (far * (num_buckets - num_exact)).long()
        return offset + torch.where(distance < num_exact, distance, far.clamp(max=num_buckets - 1))

    def by_distance(self, distance: torch.Tensor) -> torch.Tensor:
        return F.embedding(self.bucket(distance), self.weight).movedim(-1, 0)


class ElixirCoderAlibiPositions(ElixirCoderScorePositions):
    """ALiBi's bias: minus the distance times a slope per head, Bloom's for any number of heads. Nothing is learned."""

    def __init__(self, num_heads: int, is_decoder: bool = False):
        super().__init__()
        # 2^(-8/n), 2^(-16/n), ... for n heads, a power of two; the heads beyond take every other slope of 2n heads.
        power = 2 ** math.floor(math.log2(num_heads))
        slopes = [2 ** (-8 * (head + 1) / power) for head in range(power)]
        slopes += [2 ** (-4 * (2 * head + 1) / power) for head in range(num_heads - power)]
        self.slopes = slopes
        self.is_decoder = is_decoder

    def by_distance(self, distance: torch.Tensor) -> torch.Tensor:
        slopes = torch.tensor(self.slopes, dtype=torch.float32, device=distance.device)
        return -slopes.view(-1, *[1] * distance.dim()) * distance.abs()


class ElixirCoderRotaryPositions(nn.Module):
    """RoPE: the angles by which self-attention turns pairs of channels of queries and keys.

    Frequencies are worked out in each forward, in float32: a buffer would lose them when the model is cast.
    """

    def __init__(self, config: ElixirCoderConfig):
        super().__init__()
        self.width = config.head_width("encoder")
        self.rope = config.rope_parameters

    def frequencies(self, device: torch.device) -> torch.Tensor:
        """(width of a head / 2,) float32, in radians per position."""
        exponents = torch.arange(0, self.width, 2, dtype=torch.float32, device=device) / self.width
        frequencies = 1.0 / (self.rope["rope_theta"] ** exponents)
        if self.rope["rope_type"] == "linear":
            return frequencies / self.rope["factor"]
        if self.rope["rope_type"] == "llama3":  # waves longer than the context it was trained on are stretched
            turns = self.rope["original_max_position_embeddings"] * frequencies / (2 * math.pi)
            low, high = self.rope["low_freq_factor"], self.rope["high_freq_factor"]
            kept = ((turns - low) / (high - low)).clamp(0, 1)
            return kept * frequencies + (1 - kept) * frequencies / self.rope["factor"]
        return frequencies

    def forward(self, position_ids: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """(B or 1, L) int64 -> cosines and sines, each (B or 1, 1, L, width of a head), for `rotate`."""
        angles = position_ids[:, None, :, None].float() * self.frequencies(position_ids.device)
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(heads: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Turn channel i of the first half together with channel i of the second: (B, H, L, width) -> the same."""
    cosines, sines = rotation
    first, second = heads.chunk(2, dim=-1)
    return heads * cosines + torch.cat([-second, first], dim=-1) * sines


ADDED_TO_EMBEDDINGS = (ElixirCoderLearnedPositions, ElixirCoderSinusoidalPositions)


def build_positions(config: ElixirCoderConfig, stack: str) -> nn.Module:
    num_heads = getattr(config, f"{stack}_attention_heads")
    match config.position_embedding_type:
        case "learned":
            return ElixirCoderLearnedPositions(config)
        case "sinusoidal":
            return ElixirCoderSinusoidalPositions(config)
        case "relative":
            return ElixirCoderRelativePositions(config, num_heads, is_decoder=stack == "decoder")
        case "alibi":
            return ElixirCoderAlibiPositions(num_heads, is_decoder=stack == "decoder")
        case "rotary":
            return ElixirCoderRotaryPositions(config)


def add_bias(mask: torch.Tensor | None, bias: torch.Tensor) -> torch.Tensor:
    """One additive mask for all layers of a stack from what may be seen (true, or what to add) and a position bias."""
    if mask is None:
        return bias
    if mask.dtype == torch.bool:
        return torch.where(mask, bias, torch.finfo(bias.dtype).min)
    return (mask + bias).clamp(min=torch.finfo(bias.dtype).min)


def additive_mask(attention_mask: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    """What a mask over pairs of tokens, (B, Q, K) or (B, heads or 1, Q, K), adds to the scores; others as they are.

    Whole or boolean: 1 where the query may see the key. Floating: added to the scores as it is.
    """
    if attention_mask is None or attention_mask.dim() == 2:
        return attention_mask
    mask = attention_mask if attention_mask.dim() == 4 else attention_mask[:, None]
    if mask.is_floating_point():
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask.bool(), torch.finfo(dtype).min)


def real_tokens(attention_mask: torch.Tensor | None) -> torch.Tensor | None:
    """(B, K), true for a key that some query may see, from a mask over pairs of tokens; others as they are."""
    if attention_mask is None or attention_mask.dim() == 2:
        return attention_mask
    is_visible = attention_mask == 0 if attention_mask.is_floating_point() else attention_mask.bool()
    return is_visible.flatten(1, -2).any(dim=1)


def positions_from_mask(attention_mask: torch.Tensor | None, length: int, device: torch.device) -> torch.Tensor:
    """Position of each of the last `length` tokens, not counting padding, so that left and right padding agree.

    attention_mask: (B, at least length) with 1 for a real token, or None when all are. Returns (B or 1, length) int64.
    """
    if attention_mask is None:
        return torch.arange(length, device=device)[None]
    return (attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)[:, -length:]


# -------------------------------------------------------------------------------------------------- many texts a row


@dataclass
class ElixirCoderBlocks:
    """Where rows that hold many texts are cut for attention, so that each text sees itself alone and no score between
    two of them is ever worked out.

    Rows are taken as one sequence after another. queries, keys: tokens of each run of one text, in order; of padding
    too. seen: for each run of queries the run of keys it sees, None where there is none. masks: what is added to the
    scores of each run of queries, (1, heads or 1, Q, K), None for nothing.
    """

    queries: list[int]
    keys: list[int]
    seen: list[int | None]
    masks: list[torch.Tensor | None]


def runs_of(segment_ids: torch.Tensor) -> tuple[list[tuple[int, int]], list[int]]:
    """What (row, segment) each run of equal segment ids is, and its length: (B, L) -> runs in order.

    Raises ValueError for a text that stands in a row twice.
    """
    rows = torch.arange(len(segment_ids), device=segment_ids.device)[:, None].expand_as(segment_ids)
    pairs = torch.stack([rows, segment_ids], dim=-1).view(-1, 2)
    runs, lengths = torch.unique_consecutive(pairs, dim=0, return_counts=True)
    names = [(row, segment) for row, segment in runs.tolist()]
    texts = [name for name in names if name[1]]
    if len(set(texts)) < len(texts):
        raise ValueError("segment_ids must number each text of a row by one run of equal ids, 0 for padding")
    return names, lengths.tolist()


def positions_in_segments(segment_ids: torch.Tensor) -> torch.Tensor:
    """Positions that begin at 0 in each text of a row, 0 for padding: (B, L) int64 -> the same."""
    index = torch.arange(segment_ids.shape[1], device=segment_ids.device).expand_as(segment_ids)
    begins = torch.ones_like(segment_ids, dtype=torch.bool)
    begins[:, 1:] = segment_ids[:, 1:] != segment_ids[:, :-1]
    return (index - (index * begins).cummax(dim=1).values) * (segment_ids > 0)


def segment_means(hidden: torch.Tensor, segment_ids: torch.Tensor) -> torch.Tensor:
    """Mean state of each text, row by row in the order in which they stand: (B, S, D), (B, S) -> (texts, D)."""
    names, lengths = runs_of(segment_ids)
    number = torch.repeat_interleave(
        torch.arange(len(lengths), device=hidden.device), torch.tensor(lengths, device=hidden.device)
    )
    sums = hidden.new_zeros(len(lengths), hidden.shape[-1]).index_add(0, number, hidden.reshape(-1, hidden.shape[-1]))
    texts = torch.tensor([index for index, (_, segment) in enumerate(names) if segment], device=hidden.device)
    return sums[texts] / torch.tensor(lengths, device=hidden.device, dtype=hidden.dtype)[texts, None]


# ---------------------------------------------------------------------------------------------------------- attention


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention written out: (B, H, Q, head), (B, H / groups, K, head) -> (B, Q, H, head), weights (B, H, Q, K)."""
    key = key.repeat_interleave(module.num_key_value_groups, dim=1)
    value = value.repeat_interleave(module.num_key_value_groups, dim=1)
    scores = ((query * scaling) @ key.transpose(2, 3)).float()  # scaled first: in float16 the product may overflow
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = F.dropout(scores.softmax(dim=-1).to(query.dtype), p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


class ElixirCoderAttention(nn.Module):
    """Multi-head or grouped-query attention, over the sequence itself or over the encoder's states."""

    def __init__(self, config: ElixirCoderConfig, stack: str, layer_idx: int, is_causal: bool = False):
        super().__init__()
        num_heads = getattr(config, f"{stack}_attention_heads")
        num_key_value_heads = config.key_value_heads(stack)
        self.config = config
        self.layer_idx = layer_idx
        self.is_causal = is_causal
        self.dropout = config.attention_dropout
        self.head_dim = config.head_width(stack)
        self.scaling = self.head_dim**-0.5
        self.num_key_value_groups = num_heads // num_key_value_heads
        self.q_proj = nn.Linear(config.d_model, num_heads * self.head_dim, bias=config.use_bias)
        self.k_proj = nn.Linear(config.d_model, num_key_value_heads * self.head_dim, bias=config.use_bias)
        self.v_proj = nn.Linear(config.d_model, num_key_value_heads * self.head_dim, bias=config.use_bias)
        self.out_proj = nn.Linear(num_heads * self.head_dim, config.d_model, bias=config.use_bias)

    def forward(
        self,
        hidden: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        key_value_states: torch.Tensor | None = None,
        past_key_values: EncoderDecoderCache | None = None,
        rotation: tuple[torch.Tensor, torch.Tensor] | None = None,
        blocks: ElixirCoderBlocks | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(B, Q, D) -> (B, Q, D) and, from eager attention only, the weights (B, H, Q, K).

        `key_value_states`: the encoder's states (B, S, D); given, this is cross-attention, whose keys and values are
        worked out once and then read from the cache. `rotation`: what rotary positions give for these Q positions.
        `blocks`: for rows of many texts, instead of the mask; then there are no weights.
        """
        query = self._heads(self.q_proj(hidden))
        if rotation is not None:
            query = rotate(query, rotation)
        key, value = self._keys_and_values(hidden, key_value_states, past_key_values, rotation)
        implementation = self.config._attn_implementation
        if blocks is not None and implementation != "eager":
            implementation = "sdpa"  # masks of blocks are made for these two
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        kwargs |= {"dropout": self.dropout if self.training else 0.0, "scaling": self.scaling}
        if blocks is None:
            output, weights = attend(self, query, key, value, attention_mask, **kwargs)
        else:
            output, weights = self._attend_by_blocks(attend, query, key, value, blocks, **kwargs), None
        return self.out_proj(output.reshape(*hidden.shape[:-1], -1)), weights

    def _attend_by_blocks(
        self,
        attend: Callable,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        blocks: ElixirCoderBlocks,
        **kwargs: Any,
    ) -> torch.Tensor:
        """(B, H, Q, head), (B, H / groups, K, head) -> (1, B × Q, H, head)."""

        def runs(heads: torch.Tensor, lengths: list[int]) -> tuple[torch.Tensor, ...]:
            # split, not slices: its backward pass is one copy, that of slices is one of the whole for each
            return heads.transpose(1, 2).reshape(1, -1, heads.shape[1], self.head_dim).transpose(1, 2).split(lengths, 2)

        keys, values = runs(key, blocks.keys), runs(value, blocks.keys)
        outputs = [
            attend(self, part, keys[seen], values[seen], mask, **kwargs)[0]
            if seen is not None
            else torch.zeros_like(part).transpose(1, 2)
            for part, seen, mask in zip(runs(query, blocks.queries), blocks.seen, blocks.masks)
        ]
        return torch.cat(outputs, dim=1)

    def _heads(self, projected: torch.Tensor) -> torch.Tensor:
        return projected.view(*projected.shape[:-1], -1, self.head_dim).transpose(1, 2)

    def _keys_and_values(
        self,
        hidden: torch.Tensor,
        key_value_states: torch.Tensor | None,
        past_key_values: EncoderDecoderCache | None,
        rotation: tuple[torch.Tensor, torch.Tensor] | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        is_cross_attention = key_value_states is not None
        if past_key_values is not None and is_cross_attention and past_key_values.is_updated.get(self.layer_idx):
            cached = past_key_values.cross_attention_cache.layers[self.layer_idx]
            return cached.keys, cached.values

        states = key_value_states if is_cross_attention else hidden
        key, value = self._heads(self.k_proj(states)), self._heads(self.v_proj(states))
        if rotation is not None:
            key = rotate(key, rotation)
        if past_key_values is None:
            return key, value
        if is_cross_attention:
            past_key_values.is_updated[self.layer_idx] = True
            return past_key_values.cross_attention_cache.update(key, value, self.layer_idx)
        return past_key_values.self_attention_cache.update(key, value, self.layer_idx)


# ------------------------------------------------------------------------------------------------------------- layers


class ElixirCoderLayer(GradientCheckpointingLayer):
    """What both kinds of layer share: self-attention, feed-forward, and where their norms and dropouts stand."""

    def __init__(self, config: ElixirCoderConfig, stack: str, layer_idx: int):
        super().__init__()
        ffn_dim = getattr(config, f"{stack}_ffn_dim")
        self.is_pre_norm = config.norm_position == "pre"
        self.dropout = config.dropout
        self.activation_dropout = config.activation_dropout
        self.activation = build_activation(config.activation_function)
        self.self_attn = ElixirCoderAttention(config, stack, layer_idx, is_causal=stack == "decoder")
        self.self_attn_layer_norm = build_norm(config)
        self.fc1 = nn.Linear(config.d_model, ffn_dim, bias=config.use_bias)
        self.fc_gate = nn.Linear(config.d_model, ffn_dim, bias=config.use_bias) if config.gated_ffn else None
        self.fc2 = nn.Linear(ffn_dim, config.d_model, bias=config.use_bias)
        self.final_layer_norm = build_norm(config)

    def residual(
        self, hidden: torch.Tensor, norm: nn.Module, sublayer: Callable, gate: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Add what `sublayer` makes of `hidden`, with the norm before it or after the sum. gate: (D,)."""
        update = sublayer(norm(hidden) if self.is_pre_norm else hidden)
        update = update[0] if isinstance(update, tuple) else update
        if gate is not None:
            update = update * gate.tanh()
        hidden = hidden + F.dropout(update, p=self.dropout, training=self.training)
        # Deep layers outgrow the range of float16, 65,504, and one infinity makes all that follows NaN.
        if hidden.dtype == torch.float16:
            hidden = hidden.clamp(*FLOAT16_RANGE)
        return hidden if self.is_pre_norm else norm(hidden)

    def feed_forward(self, hidden: torch.Tensor) -> torch.Tensor:
        if self.fc_gate is None:
            inner = self.activation(self.fc1(hidden))
        else:
            inner = self.activation(self.fc_gate(hidden)) * self.fc1(hidden)
        return self.fc2(F.dropout(inner, p=self.activation_dropout, training=self.training))


class ElixirCoderEncoderLayer(ElixirCoderLayer):
    def __init__(self, config: ElixirCoderConfig, layer_idx: int):
        super().__init__(config, "encoder", layer_idx)

    def forward(
        self,
        hidden: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_bias: torch.Tensor | None,
        **kwargs: Any,
    ) -> torch.Tensor:
        hidden = self.residual(
            hidden,
            self.self_attn_layer_norm,
            lambda x: self.self_attn(x, attention_mask=attention_mask, position_bias=position_bias, **kwargs),
        )
        return self.residual(hidden, self.final_layer_norm, self.feed_forward)


class ElixirCoderDecoderLayer(ElixirCoderLayer):
    def __init__(self, config: ElixirCoderConfig, layer_idx: int):
        super().__init__(config, "decoder", layer_idx)
        self.encoder_attn = ElixirCoderAttention(config, "decoder", layer_idx)
        self.encoder_attn_layer_norm = build_norm(config)
        self.encoder_attn_gate = nn.Parameter(torch.zeros(config.d_model)) if config.cross_attention_gate else None

    def forward(
        self,
        hidden: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_bias: torch.Tensor | None,
        encoder_hidden_states: torch.Tensor,
        encoder_attention_mask: torch.Tensor | None,
        past_key_values: EncoderDecoderCache | None = None,
        rotation: tuple[torch.Tensor, torch.Tensor] | None = None,
        blocks: ElixirCoderBlocks | None = None,
        encoder_blocks: ElixirCoderBlocks | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        hidden = self.residual(
            hidden,
            self.self_attn_layer_norm,
            lambda x: self.self_attn(
                x,
                attention_mask=attention_mask,
                position_bias=position_bias,
                past_key_values=past_key_values,
                rotation=rotation,
                blocks=blocks,
                **kwargs,
            ),
        )
        hidden = self.residual(
            hidden,
            self.encoder_attn_layer_norm,
            lambda x: self.encoder_attn(
                x,
                attention_mask=encoder_attention_mask,
                key_value_states=encoder_hidden_states,
                past_key_values=past_key_values,
                blocks=encoder_blocks,
                **kwargs,
            ),
            self.encoder_attn_gate,
        )
        return self.residual(hidden, self.final_layer_norm, self.feed_forward)


# ------------------------------------------------------------------------------------------------------------- stacks


class ElixirCoderPreTrainedModel(PreTrainedModel):
    """Initialisation, loading and the vectors that every model with an encoder can give."""

    config: ElixirCoderConfig
    config_class = ElixirCoderConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _no_split_modules = ["ElixirCoderEncoderLayer", "ElixirCoderDecoderLayer"]
    _skip_keys_device_placement = ["past_key_values"]
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_flash_attn = True
    _can_compile_fullgraph = True

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        is_inner_matrix = isinstance(module, nn.Linear) and module is not self.get_output_embeddings()
        if isinstance(module, ElixirCoderSinusoidalPositions):
            init.copy_(module.weight, module.table())  # not in any checkpoint, so each load makes it anew
        elif isinstance(module, ElixirCoderDecoderLayer) and module.encoder_attn_gate is not None:
            init.zeros_(module.encoder_attn_gate)
        elif is_inner_matrix and self.config.init_method != "normal":  # that super has done
            getattr(init, f"{self.config.init_method}_")(module.weight)

    def _flash_attn_can_dispatch(self, *args: Any, **kwargs: Any) -> bool:
        if (kind := self.config.position_embedding_type) in ("relative", "alibi"):
            raise ValueError(
                f"flash attention cannot add the bias of {kind} positions to its scores; use "
                "attn_implementation='sdpa' or 'flex_attention'"
            )
        return super()._flash_attn_can_dispatch(*args, **kwargs)

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:
        """`tie_word_embeddings=False` unties the head alone: both stacks always read one input table."""
        if all_submodels:
            return super().get_expanded_tied_weights_keys(all_submodels=True)
        tied = dict(self._tied_weights_keys or {})
        if not self.config.tie_word_embeddings:
            tied.pop("lm_head.weight", None)
        return tied

    def mark_tied_weights_as_initialized(self, loading_info: Any) -> None:
        """Keep a table that was not read among the missing, to be tied to one that was, or reported and made anew.

        Both stacks hold the very same table, so transformers, marking what is tied to it, marks it too, and would leave
        it as memory happened to be.
        """
        tables = set(self.all_tied_weights_keys.values()) & loading_info.missing_keys
        unread = {name for name in tables if not getattr(self.get_parameter(name), "_is_hf_initialized", False)}
        super().mark_tied_weights_as_initialized(loading_info)
        loading_info.missing_keys |= unread

    def encode(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """One unit vector per sequence, so that a dot product is a cosine.

        input_ids: (B, S) int64. attention_mask: (B, S), 1 for a real token; None when all are.
        Returns (B, D) float32. Raises ValueError for a sequence of padding only.
        """
        hidden = self.get_encoder()(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return F.normalize(masked_mean(hidden, attention_mask).float(), dim=-1)


def masked_mean(hidden: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
    """Mean of the states of real tokens: (B, S, D) and a mask of any shape, or None -> (B, D).

    Raises ValueError for a sequence of padding only, whose mean has no meaning.
    """
    if attention_mask is None:
        return hidden.mean(dim=1)
    is_real = real_tokens(attention_mask).bool()
    if not torch.compiler.is_compiling() and not is_real.any(dim=1).all():
        raise ValueError(f"sequence {int((~is_real.any(dim=1)).nonzero()[0])} of the batch is only padding")
    mask = is_real.to(hidden.dtype)
    return (hidden * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)


class ElixirCoderStack(ElixirCoderPreTrainedModel):
    """What encoder and decoder share: tokens and positions in, the first hidden states out."""

    def __init__(self, config: ElixirCoderConfig, stack: str, embed_tokens: nn.Embedding):
        super().__init__(config)
        self.embed_tokens = embed_tokens
        self.num_heads = getattr(config, f"{stack}_attention_heads")
        self.embed_positions = build_positions(config, stack)
        self.layernorm_embedding = build_norm(config) if config.layernorm_embedding else None
        layer_class = ElixirCoderEncoderLayer if stack == "encoder" else ElixirCoderDecoderLayer
        self.layers = nn.ModuleList(layer_class(config, index) for index in range(getattr(config, f"{stack}_layers")))
        self.layer_norm = build_norm(config) if config.norm_position == "pre" else None
        self.gradient_checkpointing = False

    def embed(
        self, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None, position_ids: torch.Tensor
    ) -> torch.Tensor:
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        hidden = inputs_embeds
        if isinstance(self.embed_positions, ADDED_TO_EMBEDDINGS):
            hidden = hidden + self.embed_positions(position_ids).to(hidden.dtype)
        if self.layernorm_embedding is not None:
            hidden = self.layernorm_embedding(hidden)
        return F.dropout(hidden, p=self.config.dropout, training=self.training)

    def rotation(self, position_ids: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor] | None:
        """What turns queries and keys of these positions, (B or 1, L), where positions are rotary."""
        is_rotary = isinstance(self.embed_positions, ElixirCoderRotaryPositions)
        return self.embed_positions(position_ids, dtype) if is_rotary else None

    def scores_to_add(
        self,
        mask: Any,
        hidden: torch.Tensor,
        num_keys: int,
        first_query: int | torch.Tensor = 0,
        position_ids: torch.Tensor | None = None,
    ) -> tuple[Any, torch.Tensor | None]:
        """The mask of self-attention and the bias of its positions: both in one mask, but apart for flex attention.

        mask: as transformers made it, or (B, heads or 1, Q, K). Keys stand at 0, 1, ... and the queries, `hidden`, at
        `first_query` and after it, unless position_ids (B or 1, Q) say where both stand.
        """
        bias = None
        if isinstance(self.embed_positions, ElixirCoderScorePositions):
            bias = self.embed_positions(hidden, num_keys, first_query, position_ids)
        if self.config._attn_implementation != "flex_attention":
            return mask if bias is None else add_bias(mask, bias), None
        if isinstance(mask, torch.Tensor):  # given as one over pairs of tokens; it may differ by head
            mask, bias = None, mask if bias is None else add_bias(mask, bias)
        if bias is not None:
            bias = bias.expand(len(hidden), self.num_heads, -1, -1)
        return mask, bias

    def blocks_of(
        self,
        runs: tuple[list[tuple[int, int]], list[int]],
        hidden: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor | None,
    ) -> ElixirCoderBlocks:
        """How self-attention of `hidden`, (B, L, D), is cut where a row holds many texts. runs: of `runs_of`.

        attention_mask: (B, L, L), 1 where the first token may see the second, as far as both are of one text.
        position_ids: (B, L) of the texts; None where each counts from 0.
        """
        names, lengths = runs
        limit = self.config.max_position_embeddings
        longest = max((length for (_, segment), length in zip(names, lengths) if segment), default=0)
        if longest > limit:
            raise ValueError(
                f"a text of a row has {longest} tokens, more than max_position_embeddings={limit}; split it"
            )
        is_decoder = self.layers[0].self_attn.is_causal if len(self.layers) else False
        common = None  # what every text adds to its scores, from the longest one; padding alone may be longer
        if longest and isinstance(self.embed_positions, ElixirCoderScorePositions) and position_ids is None:
            common = self.embed_positions.consecutive(0, longest, longest, like=hidden)
        elif is_decoder and self.config._attn_implementation == "eager":  # sdpa masks what follows by itself
            common = torch.full((1, 1, longest, longest), torch.finfo(hidden.dtype).min, device=hidden.device).triu(1)
        masks: list[torch.Tensor | None] = []
        starts = [0, *accumulate(lengths)]
        width = hidden.shape[1]
        for (row, segment), start, length in zip(names, starts, lengths):
            place = slice(start - row * width, start - row * width + length)
            mask = common[:, :, :length, :length] if common is not None and segment else None
            if segment and position_ids is not None and isinstance(self.embed_positions, ElixirCoderScorePositions):
                own = position_ids[row : row + 1, place]
                mask = self.embed_positions.between(own, own).to(hidden.dtype)
            if segment and attention_mask is not None:
                visible = attention_mask[row : row + 1, place, place].bool()
                if not visible.all():
                    added = additive_mask(visible, hidden.dtype)
                    mask = added if mask is None else add_bias(added, mask)
            masks.append(mask)
        return ElixirCoderBlocks(lengths, lengths, list(range(len(lengths))), masks)

    def finish(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden if self.layer_norm is None else self.layer_norm(hidden)

    def check_input(
        self,
        input_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
        num_past: int = 0,
        is_packed: bool = False,
    ) -> tuple[int, torch.device]:
        """Length and device of what is read. Raises ValueError when it is given twice, not at all, or too long; a row
        of many texts may have any length."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        given = input_ids if inputs_embeds is None else inputs_embeds
        limit = self.config.max_position_embeddings
        if not is_packed and isinstance(num_past, int) and num_past + given.shape[1] > limit:
            raise ValueError(
                f"the sequence has {num_past + given.shape[1]} tokens, more than max_position_embeddings={limit}; "
                "shorten or split it"
            )
        return given.shape[1], given.device


class ElixirCoderEncoder(ElixirCoderStack):
    """Reads the whole source at once: (B, S) tokens -> (B, S, D) states."""

    _can_record_outputs = {"hidden_states": ElixirCoderEncoderLayer, "attentions": ElixirCoderAttention}

    def __init__(self, config: ElixirCoderConfig, embed_tokens: nn.Embedding):
        super().__init__(config, "encoder", embed_tokens)
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        segment_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        length, device = self.check_input(input_ids, inputs_embeds, is_packed=segment_ids is not None)
        positions = position_ids
        if positions is None and segment_ids is not None:
            positions = positions_in_segments(segment_ids)
        elif positions is None:
            positions = positions_from_mask(real_tokens(attention_mask), length, device)
        hidden = self.embed(input_ids, inputs_embeds, positions)
        if segment_ids is not None:
            kwargs["blocks"] = self.blocks_of(runs_of(segment_ids), hidden, attention_mask, position_ids)
            mask = position_bias = None
        else:
            mask = create_bidirectional_mask(
                config=self.config, inputs_embeds=hidden, attention_mask=additive_mask(attention_mask, hidden.dtype)
            )
            mask, position_bias = self.scores_to_add(mask, hidden, length, position_ids=position_ids)
        rotation = self.rotation(positions, hidden.dtype)
        for layer in self.layers:
            hidden = layer(hidden, mask, position_bias, rotation=rotation, **kwargs)
        return BaseModelOutput(last_hidden_state=self.finish(hidden))


class ElixirCoderDecoder(ElixirCoderStack):
    """Writes token by token, reading what it wrote and the encoder's states: (B, T) tokens -> (B, T, D) states."""

    _can_record_outputs = {
        "hidden_states": ElixirCoderDecoderLayer,
        "attentions": OutputRecorder(ElixirCoderAttention, index=1, layer_name="self_attn"),
        "cross_attentions": OutputRecorder(ElixirCoderAttention, index=1, layer_name="encoder_attn"),
    }

    def __init__(self, config: ElixirCoderConfig, embed_tokens: nn.Embedding):
        super().__init__(config, "decoder", embed_tokens)
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        past_key_values: EncoderDecoderCache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        segment_ids: torch.Tensor | None = None,
        encoder_segment_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        is_packed = segment_ids is not None
        if is_packed:
            past_key_values = None
        elif use_cache and past_key_values is None:
            past_key_values = EncoderDecoderCache(DynamicCache(config=self.config), DynamicCache(config=self.config))
        num_past = 0 if past_key_values is None else past_key_values.get_seq_length()
        length, device = self.check_input(input_ids, inputs_embeds, num_past, is_packed)
        if is_packed:
            positions = positions_in_segments(segment_ids)
        elif attention_mask is not None and attention_mask.dim() == 2:
            positions = positions_from_mask(attention_mask, length, device)
        else:
            positions = torch.arange(length, device=device)[None] + num_past
        hidden = self.embed(input_ids, inputs_embeds, positions)

        if is_packed:
            kwargs |= self._blocks(hidden, segment_ids, encoder_segment_ids)
            mask = encoder_mask = position_bias = None
        else:
            self_cache = None if past_key_values is None else past_key_values.self_attention_cache
            mask = create_causal_mask(
                config=self.config,
                inputs_embeds=hidden,
                attention_mask=additive_mask(attention_mask, hidden.dtype),
                past_key_values=self_cache,
            )
            encoder_mask = create_bidirectional_mask(
                config=self.config,
                inputs_embeds=hidden,
                attention_mask=encoder_attention_mask,
                encoder_hidden_states=encoder_hidden_states,
            )
            num_keys = length if self_cache is None else self_cache.get_mask_sizes(length, 0)[0]
            mask, position_bias = self.scores_to_add(mask, hidden, num_keys, num_past)
        rotation = self.rotation(positions, hidden.dtype)
        for layer in self.layers:
            hidden = layer(
                hidden,
                mask,
                position_bias,
                encoder_hidden_states,
                encoder_mask,
                past_key_values=past_key_values,
                rotation=rotation,
                **kwargs,
            )
        return BaseModelOutputWithPastAndCrossAttentions(
            last_hidden_state=self.finish(hidden), past_key_values=past_key_values
        )

    def _blocks(
        self, hidden: torch.Tensor, segment_ids: torch.Tensor, encoder_segment_ids: torch.Tensor
    ) -> dict[str, ElixirCoderBlocks]:
        """What layers are told of rows of many texts, each of which sees itself and its own source alone."""
        runs = runs_of(segment_ids)
        blocks = self.blocks_of(runs, hidden, None, None)
        sources, lengths = runs_of(encoder_segment_ids)
        places = {name: index for index, name in enumerate(sources)}
        seen = [places.get(name) for name in runs[0]]
        encoder_blocks = ElixirCoderBlocks(blocks.queries, lengths, seen, [None] * len(seen))
        return {"blocks": blocks, "encoder_blocks": encoder_blocks}


# ------------------------------------------------------------------------------------------------------------- models


class ElixirCoderEncoderModel(ElixirCoderPreTrainedModel):
    """The encoder alone, for vectors and search. Reads the weights of any elixir-coder checkpoint."""

    base_model_prefix = "model"
    _tied_weights_keys = {"encoder.embed_tokens.weight": "shared.weight"}
    _keys_to_ignore_on_load_unexpected = [r"decoder\.", r"lm_head", r"_heads?\."]

    def __init__(self, config: ElixirCoderConfig):
        super().__init__(config)
        self.shared = ElixirCoderTokenEmbedding(config)
        self.encoder = ElixirCoderEncoder(config, self.shared)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.shared

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.shared = self.encoder.embed_tokens = value

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        segment_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        """(B, S) -> `last_hidden_state` (B, S, D).

        attention_mask: (B, S), 1 for a real token; or (B, S, S), 1 where the first token may see the second, which
        with `position_ids` (B, S) is how a graph or soft positions come in; or (B, heads, S, S). segment_ids: for rows
        of many texts, see `ElixirCoderModel`.
        """
        return self.encoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            position_ids=position_ids,
            segment_ids=segment_ids,
            **kwargs,
        )


class ElixirCoderModel(ElixirCoderPreTrainedModel):
    """Encoder and decoder without a head."""

    _keys_to_ignore_on_load_unexpected = [r"lm_head", r"_heads?\."]
    _tied_weights_keys = {
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
    }

    def __init__(self, config: ElixirCoderConfig):
        super().__init__(config)
        self.shared = ElixirCoderTokenEmbedding(config)
        self.encoder = ElixirCoderEncoder(config, self.shared)
        self.decoder = ElixirCoderDecoder(config, self.shared)
        if config.share_position_embeddings:
            self.decoder.embed_positions = self.encoder.embed_positions
            table = "embed_positions.weight"
            self._tied_weights_keys = self._tied_weights_keys | {f"decoder.{table}": f"encoder.{table}"}
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.shared

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.shared = self.encoder.embed_tokens = self.decoder.embed_tokens = value

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        segment_ids: torch.Tensor | None = None,
        decoder_segment_ids: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> Seq2SeqModelOutput:
        """(B, S) source and (B, T) target -> `last_hidden_state` (B, T, D).

        Without `decoder_input_ids` the decoder reads the source shifted right, as BART does.

        segment_ids (B, S), decoder_segment_ids (B, T): int64, for rows that hold many texts one after the other (names
        as in T5X): each text of a row has a number from 1, the same for its source and its target; 0 is padding. A text
        sees itself alone and counts its positions from 0, so the states are those it would have in a row of its own.
        `attention_mask` is then (B, S, S) or None, and there is no cache.
        """
        if (segment_ids is None) != (decoder_segment_ids is None):
            raise ValueError("give segment_ids and decoder_segment_ids together, or neither")
        if decoder_input_ids is None and decoder_inputs_embeds is None:
            if input_ids is None:
                raise ValueError("give decoder_input_ids, or input_ids that can be shifted right to stand for them")
            decoder_input_ids = shift_tokens_right(
                input_ids, self.config.pad_token_id, self.config.decoder_start_token_id
            )
        if encoder_outputs is None:
            encoder_outputs = self.encoder(
                input_ids=input_ids,
                attention_mask=attention_mask,
                inputs_embeds=inputs_embeds,
                position_ids=position_ids,
                segment_ids=segment_ids,
                return_dict=True,
                **kwargs,
            )
        elif not isinstance(encoder_outputs, BaseModelOutput):
            encoder_outputs = BaseModelOutput(*encoder_outputs)
        decoder_outputs = self.decoder(
            input_ids=decoder_input_ids,
            attention_mask=decoder_attention_mask,
            encoder_hidden_states=encoder_outputs.last_hidden_state,
            encoder_attention_mask=real_tokens(attention_mask),
            past_key_values=past_key_values,
            inputs_embeds=decoder_inputs_embeds,
            use_cache=use_cache,
            segment_ids=decoder_segment_ids,
            encoder_segment_ids=segment_ids,
            return_dict=True,
            **kwargs,
        )
        return Seq2SeqModelOutput(
            last_hidden_state=decoder_outputs.last_hidden_state,
            past_key_values=decoder_outputs.past_key_values,
            decoder_hidden_states=decoder_outputs.hidden_states,
            decoder_attentions=decoder_outputs.attentions,
            cross_attentions=decoder_outputs.cross_attentions,
            encoder_last_hidden_state=encoder_outputs.last_hidden_state,
            encoder_hidden_states=encoder_outputs.hidden_states,
            encoder_attentions=encoder_outputs.attentions,
        )


class ElixirCoderForConditionalGeneration(ElixirCoderPreTrainedModel, GenerationMixin):
    """Writes: code, tests, questions and explanations, told apart by the task token that opens the source."""

    _tied_weights_keys = {"lm_head.weight": "model.shared.weight"}
    _keys_to_ignore_on_load_unexpected = [r"(quality|security|clarification|classification)_head\."]
    runtime: Any = None  # the FastDecoder of `runtime_elixir_coder.py`, where the model was loaded with one
    why_plain: str | None = None  # why it has none, where one was asked for

    def __init__(self, config: ElixirCoderConfig):
        super().__init__(config)
        self.model = ElixirCoderModel(config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=config.lm_head_bias)
        self.task_heads = nn.ModuleDict(
            {name: nn.Linear(config.d_model, config.vocab_size, bias=False) for name in config.separate_decoder_heads}
        )
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        decoder_head: str | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput:
        """(B, S) source, (B, T) target -> `logits` (B, T, vocabulary), and `loss` when `labels` are given.

        labels: (B, T) int64, -100 where no loss is wanted; without `decoder_input_ids` the decoder reads them shifted.
        num_items_in_batch: divide the summed loss by it instead of by the labels of this batch, so that gradient
        accumulation weighs every token alike. decoder_head: one of `config.separate_decoder_heads`. logits_to_keep: for
        the last so many tokens alone, 0 for all, or for those with these indices; `generate` needs one.
        """
        if getattr(past_key_values, "is_native", False):
            logits = past_key_values.step(decoder_input_ids, decoder_attention_mask)
            return Seq2SeqLMOutput(
                logits=logits[:, positions_to_keep(logits_to_keep)],
                past_key_values=past_key_values,
                encoder_last_hidden_state=None if encoder_outputs is None else encoder_outputs[0],
            )
        if labels is not None:
            use_cache = False
            if decoder_input_ids is None and decoder_inputs_embeds is None:
                decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            encoder_outputs=encoder_outputs,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            decoder_inputs_embeds=decoder_inputs_embeds,
            use_cache=use_cache,
            return_dict=True,
            **kwargs,
        )
        hidden = outputs.last_hidden_state[:, positions_to_keep(logits_to_keep)]
        logits = self._output_matrix(decoder_head)(hidden)
        loss = None if labels is None else generation_loss(logits, labels, num_items_in_batch)
        return Seq2SeqLMOutput(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            decoder_hidden_states=outputs.decoder_hidden_states,
            decoder_attentions=outputs.decoder_attentions,
            cross_attentions=outputs.cross_attentions,
            encoder_last_hidden_state=outputs.encoder_last_hidden_state,
            encoder_hidden_states=outputs.encoder_hidden_states,
            encoder_attentions=outputs.encoder_attentions,
        )

    @classmethod
    def from_pretrained(
        cls, *args: Any, runtime: str = "plain", runtime_dtype: str = "int8", **kwargs: Any
    ) -> "ElixirCoderForConditionalGeneration":
        """As of every model of transformers, and besides:

        runtime: "fast" makes `generate` several times as fast on a CPU, for inference alone; "plain" is PyTorch.
        runtime_dtype: of the fast runtime's weights: "int8", "bfloat16" or "float32".

        Where the fast runtime cannot be had, for want of a C compiler or because the model is to stand on another
        device, the plain model is loaded and a warning says why.
        """
        if runtime not in ("plain", "fast"):
            raise ValueError(f"runtime must be 'plain' or 'fast', got {runtime!r}")
        if runtime == "plain":
            return super().from_pretrained(*args, **kwargs)
        try:
            from .runtime_elixir_coder import accelerate, why_not_fast
        except ImportError:
            from runtime_elixir_coder import accelerate, why_not_fast
        reason = why_not_fast(runtime_dtype, kwargs)
        if reason is None and "torch_dtype" not in kwargs:
            kwargs.setdefault("dtype", torch.float32)
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        reason = reason or accelerate(model, runtime_dtype)
        if reason is not None:
            model.why_plain = reason
            logger.warning(f"{reason}; the model runs in PyTorch instead")
        return loaded

    def save_pretrained(self, *args: Any, **kwargs: Any) -> Any:
        """As of every model of transformers; ValueError for one with the fast runtime, whose weights are packed."""
        if self.runtime is not None:
            raise ValueError("a model with runtime='fast' has packed weights; save the one that was loaded without it")
        return super().save_pretrained(*args, **kwargs)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        if self.runtime is None:
            return super()._apply(fn, recurse)
        like = fn(torch.zeros(1))
        if like.device.type != "cpu" or like.dtype != torch.float32:
            raise ValueError(
                f"a model with runtime='fast' stays float32 on the CPU, not {like.dtype} on {like.device}; load another"
            )
        return self

    def generate(self, inputs: torch.Tensor | None = None, *args: Any, **kwargs: Any) -> Any:
        """As of every model of transformers. With the fast runtime, see `generating_elixir_coder.generate`.

        `prediction`, and a `prompt_lookup_num_tokens` of 0, say how the fast runtime may draft; PyTorch drafts nothing.
        """
        if self.runtime is None:
            kwargs.pop("prediction", None)
            if kwargs.get("prompt_lookup_num_tokens") == 0:
                del kwargs["prompt_lookup_num_tokens"]
            return super().generate(inputs, *args, **kwargs)
        try:
            from .generating_elixir_coder import generate
        except ImportError:
            from generating_elixir_coder import generate
        return generate(self, inputs, *args, **kwargs)

    def _maybe_prepare_encoder_kwargs_for_generation(
        self, inputs_tensor: torch.Tensor, model_kwargs: dict[str, Any], name: str, config: GenerationConfig
    ) -> dict[str, Any]:
        """With the fast runtime, transformers' own loops get its cache, and no text is encoded that it remembers."""
        if self.runtime is None:
            return super()._maybe_prepare_encoder_kwargs_for_generation(inputs_tensor, model_kwargs, name, config)
        is_ordinary = name == "input_ids" and not {"past_key_values", "decoder_inputs_embeds"} & set(model_kwargs)
        begun, begun_mask = (model_kwargs.get(f"decoder_{each}") for each in ("input_ids", "attention_mask"))
        if begun is None:
            is_ordinary &= begun_mask is None
        elif begun_mask is not None and (begun[:, 0] != self.config.decoder_start_token_id).all():
            is_ordinary &= bool(begun_mask.all())  # else the start token comes to stand before the padding
        asks_for_more = config.output_attentions or config.output_hidden_states or config.cache_implementation
        if not config.use_cache or asks_for_more or not is_ordinary:
            return super()._maybe_prepare_encoder_kwargs_for_generation(inputs_tensor, model_kwargs, name, config)
        mask = model_kwargs.get("attention_mask")
        sources = self.runtime.read(inputs_tensor, mask)
        model_kwargs["encoder_outputs"] = BaseModelOutput(last_hidden_state=self.runtime.states(sources, mask))
        model_kwargs["past_key_values"] = self.runtime.cache(sources, model_kwargs.get("decoder_head"))
        return model_kwargs

    def prepare_decoder_input_ids_from_labels(self, labels: torch.Tensor) -> torch.Tensor:
        return shift_tokens_right(labels, self.config.pad_token_id, self.config.decoder_start_token_id)

    def resize_token_embeddings(
        self,
        new_num_tokens: int | None = None,
        pad_to_multiple_of: int | None = None,
        mean_resizing: bool = True,
    ) -> nn.Embedding:
        embeddings = super().resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)
        for name, head in self.task_heads.items():
            self.task_heads[name] = self._get_resized_lm_head(
                head, embeddings.num_embeddings, mean_resizing=mean_resizing
            )
        return embeddings

    def _output_matrix(self, decoder_head: str | None) -> nn.Module:
        if decoder_head is None:
            return self.lm_head
        if decoder_head not in self.task_heads:
            names = ", ".join(self.task_heads) or "none"
            raise ValueError(f"no decoder head called {decoder_head!r}; this model's separate_decoder_heads: {names}")
        return self.task_heads[decoder_head]


def positions_to_keep(logits_to_keep: int | torch.Tensor) -> slice | torch.Tensor:
    """The last so many positions, 0 for all of them, or those with these indices: an index for axis T."""
    return slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep


def generation_loss(
    logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Cross-entropy in float32 over the labels that are not -100: their mean, or their sum / `num_items_in_batch`."""
    reduction = "mean" if num_items_in_batch is None else "sum"
    loss = F.cross_entropy(
        logits.float().view(-1, logits.shape[-1]),
        labels.to(logits.device).reshape(-1),
        ignore_index=IGNORED,
        reduction=reduction,
    )
    return loss if num_items_in_batch is None else loss / num_items_in_batch


# -------------------------------------------------------------------------------------------------- heads that judge


class ElixirCoderClassificationHead(nn.Module):
    """An MLP from the mean encoder state (B, D) to one logit per label (B, labels)."""

    def __init__(self, config: ElixirCoderConfig, num_labels: int):
        super().__init__()
        widths = [config.d_model, *config.classifier_hidden_dims]
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.LayerNorm(b) if config.classifier_norm else nn.Identity() for b in widths[1:])
        self.activation = nn.Tanh() if config.classifier_activation == "tanh" else ACT2FN[config.classifier_activation]
        self.has_residual = config.classifier_residual
        self.dropout = config.classifier_dropout
        self.out_proj = nn.Linear(widths[-1], num_labels)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        hidden = F.dropout(pooled, p=self.dropout, training=self.training)
        for dense, norm in zip(self.dense, self.norms):
            update = F.dropout(self.activation(norm(dense(hidden))), p=self.dropout, training=self.training)
            hidden = hidden + update if self.has_residual and update.shape == hidden.shape else update
        return self.out_proj(hidden)


def multi_label_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy over the (B, labels) entries that are not -100; 0 when all are."""
    is_known = labels != IGNORED
    loss = F.binary_cross_entropy_with_logits(logits.float(), labels.clamp(min=0).float(), reduction="none")
    return (loss * is_known).sum() / is_known.sum().clamp(min=1)


@dataclass
class ElixirCoderMultiTaskOutput(Seq2SeqLMOutput):
    """Everything one forward of `ElixirCoderForMultiTask` gives; `loss` is the weighted sum of the losses present."""

    quality_logits: torch.Tensor | None = None
    security_logits: torch.Tensor | None = None
    clarification_logits: torch.Tensor | None = None
    generation_loss: torch.Tensor | None = None
    quality_loss: torch.Tensor | None = None
    security_loss: torch.Tensor | None = None
    clarification_loss: torch.Tensor | None = None


class ElixirCoderForMultiTask(ElixirCoderForConditionalGeneration):
    """Writes and judges in one forward: the decoder's logits, and quality, security and clarification logits."""

    _keys_to_ignore_on_load_unexpected = [r"classification_head\."]

    def __init__(self, config: ElixirCoderConfig):
        super().__init__(config)
        self.quality_head = ElixirCoderClassificationHead(config, config.num_quality_labels)
        self.security_head = ElixirCoderClassificationHead(config, config.num_security_labels)
        self.clarification_head = ElixirCoderClassificationHead(config, 1)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple | None = None,
        past_key_values: Cache | None = None,
        labels: torch.Tensor | None = None,
        quality_labels: torch.Tensor | None = None,
        security_labels: torch.Tensor | None = None,
        clarification_labels: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        decoder_head: str | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Any,
    ) -> ElixirCoderMultiTaskOutput:
        """As `ElixirCoderForConditionalGeneration`, and besides, from the same encoder states:

        `quality_logits` (B, quality labels), `security_logits` (B, security labels), `clarification_logits` (B,).
        quality_labels, security_labels: the same shapes, 1 given, 0 not, -100 unknown. clarification_labels: (B,)
        likewise. Each kind of label that is given adds its loss, times `config.loss_weights`, to `loss`.
        num_items_in_batch: `labels` that count in the whole accumulated batch. All losses of this part of it are
        multiplied by its share, so that the parts add up to one weighted mean. With `segment_ids`, B above is the
        number of texts, row by row.
        """
        written = super().forward(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            encoder_outputs=encoder_outputs,
            past_key_values=past_key_values,
            labels=labels,
            logits_to_keep=logits_to_keep,
            decoder_head=decoder_head,
            return_dict=True,
            **kwargs,
        )
        segment_ids = kwargs.get("segment_ids")
        if segment_ids is None:
            pooled = masked_mean(written.encoder_last_hidden_state, attention_mask)
        else:
            pooled = segment_means(written.encoder_last_hidden_state, segment_ids)
        judged = {
            "quality": self.quality_head(pooled),
            "security": self.security_head(pooled),
            "clarification": self.clarification_head(pooled).squeeze(-1),
        }
        given = {"quality": quality_labels, "security": security_labels, "clarification": clarification_labels}
        losses = {kind: multi_label_loss(judged[kind], value) for kind, value in given.items() if value is not None}
        if written.loss is not None:
            losses["generation"] = written.loss
        if num_items_in_batch is not None and labels is not None:
            share = (labels != IGNORED).sum() / num_items_in_batch
            losses = {kind: loss * share for kind, loss in losses.items()}
        total = sum(self.config.loss_weights[kind] * loss for kind, loss in losses.items()) if losses else None
        return ElixirCoderMultiTaskOutput(
            **dict(written) | {"loss": total},
            **{f"{kind}_logits": logits for kind, logits in judged.items()},
            **{f"{kind}_loss": loss for kind, loss in losses.items()},
        )


class ElixirCoderForSequenceClassification(ElixirCoderPreTrainedModel):
    """Labels for a whole text, from the encoder alone.

    With the configuration's own labels it reads the quality and the security head of a multi-task checkpoint, side by
    side. Given other labels (`num_labels=...` or `id2label=...`) it has a fresh `classification_head` to train.
    """

    _tied_weights_keys = {"model.encoder.embed_tokens.weight": "model.shared.weight"}
    _keys_to_ignore_on_load_unexpected = [r"decoder\.", r"lm_head", r"_heads?\."]
    accepts_loss_kwargs = False  # a trainer that accumulates has to average over the parts itself

    def __init__(self, config: ElixirCoderConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.model = ElixirCoderEncoderModel(config)
        labels = [config.id2label[index] for index in range(config.num_labels)]
        if labels == config.quality_labels + config.security_labels:
            # Said here and not by every configuration: it describes these heads, and a trainer that writes would stop
            # smoothing its labels.
            config.problem_type = config.problem_type or "multi_label_classification"
            self.quality_head = ElixirCoderClassificationHead(config, config.num_quality_labels)
            self.security_head = ElixirCoderClassificationHead(config, config.num_security_labels)
        else:
            self.classification_head = ElixirCoderClassificationHead(config, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """(B, S) -> `logits` (B, labels), and `loss` when `labels` are given.

        labels: (B, labels) of 0, 1 or -100 for multi-label problems, (B,) class numbers or values for the others; the
        kind is `config.problem_type`, or for fresh heads follows from shape and dtype, as in transformers.
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            return_dict=True,
            **kwargs,
        )
        pooled = masked_mean(outputs.last_hidden_state, attention_mask)
        if hasattr(self, "classification_head"):
            logits = self.classification_head(pooled)
        else:
            logits = torch.cat([self.quality_head(pooled), self.security_head(pooled)], dim=-1)
        return SequenceClassifierOutput(
            loss=None if labels is None else self._loss(logits, labels),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        problem = self.config.problem_type
        if problem is None:
            is_whole = not labels.is_floating_point()
            problem = "regression" if self.num_labels == 1 else "single_label_classification" if is_whole else None
        if problem == "regression":
            return F.mse_loss(logits.float().squeeze(-1), labels.float().squeeze(-1))
        if problem == "single_label_classification":
            return F.cross_entropy(logits.float(), labels.view(-1))
        if labels.shape != logits.shape:
            raise ValueError(
                f"a multi-label problem has a label of 0 or 1 for each of {tuple(logits.shape)} logits, got "
                f"{tuple(labels.shape)}; for one label a text set problem_type='single_label_classification'"
            )
        return multi_label_loss(logits, labels)


# ----------------------------------------------------------------------------------------------------------- pipeline


class ElixirCoderText2TextPipeline(Pipeline):
    """Source text in, written text out: `pipeline(model=folder, trust_remote_code=True)("def area(radius) do")`.

    transformers 5 has no text-to-text pipeline of its own. This one stands in the modeling file because
    `save_pretrained` copies that file and its imports, and would leave any other behind.
    """

    _pipeline_calls_generate = True
    _load_tokenizer = True
    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _default_generation_config = GenerationConfig(max_new_tokens=256)

    def __call__(self, texts: str | list[str], **kwargs: Any) -> list:
        """One `{"generated_text": ...}` per text, or for `num_return_sequences` above 1 a list of them per text.

        A text is code to continue. prefix: a task token, for a text that is the whole source of that task instead, ""
        for one that has its own. truncation: leave out the beginning of code that is too long, or the end of another
        source, instead of raising. return_tensors: `generated_token_ids` instead of text. skip_special_tokens: true
        unless given. Whatever else is given goes to `generate`.
        """
        written = super().__call__(texts, **kwargs)
        is_list = isinstance(texts, list) and all(len(each) == 1 for each in written)
        return [each[0] for each in written] if is_list else written

    def _sanitize_parameters(
        self,
        prefix: str | None = None,
        truncation: bool | None = None,
        return_tensors: bool | None = None,
        skip_special_tokens: bool | None = None,
        **generate_kwargs: Any,
    ) -> tuple[dict, dict, dict]:
        def given(**kwargs: Any) -> dict:
            return {name: value for name, value in kwargs.items() if value is not None}

        return (
            given(prefix=prefix, truncation=truncation),
            generate_kwargs,
            given(return_tensors=return_tensors, skip_special_tokens=skip_special_tokens),
        )

    def preprocess(self, text: str, prefix: str = "<code>", truncation: bool = False) -> dict[str, torch.Tensor]:
        room = self.model.config.max_position_embeddings - 2  # beside the task token and </s>
        ids = self.tokenizer(text, add_special_tokens=False).input_ids
        begun = [self.model.config.decoder_start_token_id]
        if prefix == "<code>":
            ids, tail = split_prompt(ids)
            begun += tail
            ids = ids[-room:] if truncation else ids
        elif truncation:
            ids = ids[:room]
        task = self.tokenizer(prefix, add_special_tokens=False).input_ids
        ids = [*task, *ids, self.tokenizer.eos_token_id]
        return {
            "input_ids": torch.tensor([ids]),
            "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
            "decoder_input_ids": torch.tensor([begun]),
            "decoder_attention_mask": torch.ones(1, len(begun), dtype=torch.long),
        }

    def _forward(self, model_inputs: dict[str, torch.Tensor], **generate_kwargs: Any) -> dict[str, torch.Tensor]:
        # A batch arrives padded on the right; what is continued has to end with its last real token.
        mask = model_inputs["decoder_attention_mask"]
        width = mask.shape[1]
        order = (torch.arange(width, device=mask.device) + mask.sum(dim=1, keepdim=True)) % width
        for name in ("decoder_input_ids", "decoder_attention_mask"):
            model_inputs[name] = model_inputs[name].gather(1, order)
        if hasattr(self, "_prepare_generate_kwargs"):  # transformers 5.20 and later
            settings = self._prepare_generate_kwargs(generate_kwargs)
        else:
            settings = {"generation_config": self.generation_config} | generate_kwargs
        ids = self.model.generate(**model_inputs, **settings)
        ids = ids if isinstance(ids, torch.Tensor) else ids.sequences
        ids = ids[:, model_inputs["decoder_input_ids"].shape[1] :]
        return {"output_ids": ids.view(len(model_inputs["input_ids"]), -1, ids.shape[-1])}

    def postprocess(
        self, model_outputs: dict[str, torch.Tensor], return_tensors: bool = False, skip_special_tokens: bool = True
    ) -> list[dict]:
        ids = model_outputs["output_ids"][0]
        if return_tensors:
            return [{"generated_token_ids": each} for each in ids]
        texts = self.tokenizer.batch_decode(ids, skip_special_tokens=skip_special_tokens)
        return [{"generated_text": text} for text in texts]


for _writer in (ElixirCoderForConditionalGeneration, ElixirCoderForMultiTask):
    # `generate` asks a model from the Hub for it at every token; worked out anew each time, that is 4% of tiny's time.
    _writer.forward.__signature__ = inspect.signature(_writer.forward)
    _writer.generate.__signature__ = inspect.signature(GenerationMixin.generate)  # type: ignore[attr-defined]
ElixirCoderConfig.register_for_auto_class()
ElixirCoderModel.register_for_auto_class("AutoModel")
ElixirCoderEncoderModel.register_for_auto_class("AutoModelForTextEncoding")
ElixirCoderForConditionalGeneration.register_for_auto_class("AutoModelForSeq2SeqLM")
ElixirCoderForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
ElixirCoderForMultiTask.register_for_auto_class("AutoModelForPreTraining")
