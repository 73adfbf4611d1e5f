"""The fast runtime: a model whose linear layers have packed weights, and whose decoder is one native call a pass.

    model = ElixirCoderForConditionalGeneration.from_pretrained(folder, runtime="fast")

`accelerate` replaces every linear layer by a `FastLinear`, so that plain forward and fast decoding read the same
weights, and gives the model a `FastDecoder`. That one keeps the keys and values of texts that were read (`Source`) for
the next call with the same text, and writes any number of texts at once, one or many tokens each a pass
(`DecoderState`).

A row's numbers do not depend on what else is in a pass: see `kernels_elixir_coder.py`, which does the arithmetic.
"""

import ctypes
from collections import Counter, OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any

import torch
from torch import nn

try:
    from .kernels_elixir_coder import CAttention, CLayer, CLinear, CModel, CNorm, CPass, CSource, KernelError, library
except ImportError:
    from kernels_elixir_coder import CAttention, CLayer, CLinear, CModel, CNorm, CPass, CSource, KernelError, library

__all__ = [
    "RUNTIME_DTYPES",
    "DecoderState",
    "FastCache",
    "FastDecoder",
    "FastLinear",
    "Source",
    "accelerate",
    "why_not_fast",
]

RUNTIME_DTYPES = ("int8", "bfloat16", "float32")
LANES, SPAN = 16, 64  # as in the kernels: outputs of a block, places of a cache that are read at once
SOURCE_BYTES = 256 * 2**20  # of texts that were read, by default
_KINDS = {"float32": 0, "bfloat16": 1, "int8": 2}
_ACTIVATIONS = {"gelu": 0, "relu": 1, "swish": 2, "silu": 2, "gelu_new": 3, "gelu_pytorch_tanh": 3}


def accelerate(model: Any, dtype: str = "int8") -> str | None:
    """Give an `ElixirCoderForConditionalGeneration` the fast runtime, in place; its plain weights are let go.

    dtype: of the weights, one of RUNTIME_DTYPES. "int8" has a scale for each output of a layer, and inputs in 15 bits
    with a scale for each row. Keys and values are kept in bfloat16 but with "float32"; all else is float32.

    Returns None, or why it cannot be done here; the model is as it was then. Raises ValueError for another dtype.
    """
    table = model.get_input_embeddings().weight
    reason = why_not_fast(dtype, {"dtype": table.dtype, "device_map": table.device})
    if reason is None and model.config.activation_function not in _ACTIVATIONS:
        reason = f"the fast runtime does not know activation_function={model.config.activation_function!r}"
    if reason is not None:
        return reason
    for name, linear in _linears(model):
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, FastLinear(linear, dtype))
    if torch.equal(table, table.bfloat16().float()):  # from a checkpoint in bfloat16: half the memory, the same numbers
        model.model.set_input_embeddings(HalfEmbedding(model.get_input_embeddings()))
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()  # what is left lets go of the file that all were mapped from
    model.eval().requires_grad_(False)
    model.runtime = FastDecoder(model, dtype)
    library().give_back()
    return None


def why_not_fast(dtype: str, settings: dict[str, Any]) -> str | None:
    """Why a model that is loaded with these settings of `from_pretrained` cannot have the fast runtime; None if it can.

    Raises ValueError for a dtype that is not one of RUNTIME_DTYPES.
    """
    if dtype not in RUNTIME_DTYPES:
        raise ValueError(f"runtime_dtype must be one of {', '.join(RUNTIME_DTYPES)}, got {dtype!r}")
    place = settings.get("device_map")
    if place is not None and str(place) != "cpu":
        return f"the fast runtime computes on the CPU, not on {place}"
    plain = settings.get("dtype", settings.get("torch_dtype"))
    if plain not in (None, "auto", "float32", torch.float32):
        return f"the fast runtime computes in float32, not in {plain}"
    if settings.get("quantization_config") is not None:
        return "the fast runtime packs weights itself and takes no quantization_config"
    try:
        library()
    except KernelError as error:
        return str(error)
    return None


def _linears(model: Any) -> list[tuple[str, nn.Linear]]:
    """Those of both stacks and of the heads that write."""
    parts = ("model.", "lm_head", "task_heads.")
    modules = model.named_modules()
    return [(name, each) for name, each in modules if isinstance(each, nn.Linear) and name.startswith(parts)]


def _address(tensor: torch.Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _kind(dtype: torch.dtype) -> int:
    return _KINDS[str(dtype).removeprefix("torch.")]


def _whole(number: int, unit: int) -> int:
    return -(-number // unit) * unit


def _padded(values: torch.Tensor | None, length: int) -> torch.Tensor | None:
    """(n,) -> (length,) float32, zeros behind."""
    if values is None:
        return None
    return nn.functional.pad(values.detach().float(), (0, length - len(values))).contiguous()


def _check_memory(is_done: int) -> None:
    if not is_done:
        raise KernelError("there is not enough memory for a pass; use fewer or shorter texts at once")


class FastLinear(nn.Module):
    """A linear layer with packed weights: (..., inputs) -> (..., outputs) float32, for inference alone.

    Weights stand in blocks of 16 outputs. "int8": each output has the scale at which its largest weight is 127
    (`weight_scale`), and rows are rounded to 15 bits at a scale of their own, so sums of products are exact.
    """

    def __init__(self, linear: nn.Linear, dtype: str):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        num_outputs = _whole(self.out_features, LANES)
        num_inputs = _whole(self.in_features, 4) if dtype == "int8" else self.in_features
        weight = linear.weight.detach().float()
        scale = None
        if dtype == "int8":
            scale = (weight.abs().amax(dim=1) / 127).clamp(min=torch.finfo(torch.float32).tiny)
            weight = (weight / scale[:, None]).round_() + 128
        weight = nn.functional.pad(
            weight,
            (0, num_inputs - self.in_features, 0, num_outputs - self.out_features),
            value=128.0 * (scale is not None),
        )
        if dtype == "int8":
            packed = weight.view(-1, LANES, num_inputs // 4, 4).transpose(1, 2).to(torch.uint8)
        else:
            packed = weight.view(-1, LANES, num_inputs).transpose(1, 2).to(getattr(torch, dtype))
        self.register_buffer("packed", packed.contiguous(), persistent=False)
        self.register_buffer("weight_scale", _padded(scale, num_outputs), persistent=False)
        self.register_buffer("bias", _padded(linear.bias, num_outputs), persistent=False)
        self.native = CLinear(
            _address(self.packed), _address(self.weight_scale), _address(self.bias),
            _KINDS[dtype], self.packed.shape[0], num_inputs, self.out_features,
        )  # fmt: skip

    def scale_outputs(self, factors: torch.Tensor) -> None:
        """Multiply each output by its factor, (outputs,), from now on."""
        factors = _padded(factors, self.packed.shape[0] * LANES)
        assert factors is not None
        if self.weight_scale is not None:
            self.weight_scale *= factors
        else:
            self.packed *= factors.view(-1, 1, LANES)
        if self.bias is not None:
            self.bias *= factors

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        rows = inputs.detach().reshape(-1, self.in_features).float().contiguous()
        out = torch.empty(len(rows), self.packed.shape[0] * LANES)
        _check_memory(
            library().multiply(
                ctypes.byref(self.native), rows.data_ptr(), len(rows), self.in_features, out.data_ptr(), out.shape[1],
                torch.get_num_threads(),
            )
        )  # fmt: skip
        return out[:, : self.out_features].view(*inputs.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, dtype={self.packed.dtype}"


class HalfEmbedding(nn.Module):
    """An input table in bfloat16 that is read as float32, × `embed_scale`: (...) int64 -> (..., D)."""

    def __init__(self, embedding: Any):
        super().__init__()
        self.embed_scale = embedding.embed_scale
        self.num_embeddings, self.embedding_dim = embedding.weight.shape
        # a buffer, so that the model's own dtype, which its parameters have, stays float32
        self.register_buffer("weight", embedding.weight.detach().bfloat16(), persistent=False)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return nn.functional.embedding(input_ids, self.weight).float() * self.embed_scale


# --------------------------------------------------------------------------------------------------- what was read


class Source:
    """Keys and values of cross-attention for one text, in all layers: what a decoder has to know of what it reads.

    keys: (layers, heads, head width, capacity), values: (layers, heads, capacity, head width). states: what the encoder
    gave, (length, D) float32. All without padding.
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, states: torch.Tensor):
        self.keys, self.values, self.states, self.length = keys, values, states, len(states)
        self.native = CSource(keys.data_ptr(), values.data_ptr(), self.length, keys.shape[-1])

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes + self.states.nbytes


class FastDecoder:
    """The decoder of one model, for the native part, and the texts that were read last.

    source_bytes: how much memory these may take; 0 to keep none.
    """

    def __init__(self, model: Any, dtype: str, source_bytes: int = SOURCE_BYTES):
        self.model, self.dtype, self.source_bytes = model, dtype, source_bytes
        self.config = config = model.config
        self.head_width, self.key_heads = config.head_width("decoder"), config.key_value_heads("decoder")
        self.value_width = _whole(self.head_width, LANES)
        self.cache_dtype = torch.float32 if dtype == "float32" else torch.bfloat16
        self._sources: OrderedDict[bytes, Source] = OrderedDict()
        self._door = Lock()  # of these: several threads may read
        self._held: list[Any] = []  # what the native part points at
        layers = [self._layer(layer) for layer in model.model.decoder.layers]
        self._layers = (CLayer * len(layers))(*layers)
        self._natives: dict[str | None, CModel] = {None: self._native(model.lm_head)}
        for name, head in model.task_heads.items():
            self._natives[name] = CModel.from_buffer_copy(self._natives[None])  # all but the head is the same
            self._natives[name].head = head.native

    # -- the model, as the native part reads it

    def _hold(self, tensor: torch.Tensor | None) -> int | None:
        self._held.append(None if tensor is None else tensor.detach())
        return _address(tensor)

    def _norm(self, norm: nn.Module | None) -> CNorm:
        if norm is None:
            return CNorm()
        length = _whole(self.config.d_model, LANES)
        epsilon = norm.eps if norm.eps is not None else torch.finfo(torch.float32).eps
        bias = getattr(norm, "bias", None)
        return CNorm(
            self._hold(_padded(norm.weight, length)), self._hold(_padded(bias, length)), epsilon,
            isinstance(norm, nn.RMSNorm),
        )  # fmt: skip

    def _attention(self, attention: Any, norm: nn.Module) -> CAttention:
        parts = (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj)
        return CAttention(*(part.native for part in parts), self._norm(norm))

    def _layer(self, layer: Any) -> CLayer:
        gate = CLinear() if layer.fc_gate is None else layer.fc_gate.native
        if layer.encoder_attn_gate is not None:  # what it multiplies is the output of one layer alone
            layer.encoder_attn.out_proj.scale_outputs(layer.encoder_attn_gate.detach().tanh())
            layer.encoder_attn_gate = None
        return CLayer(
            self._attention(layer.self_attn, layer.self_attn_layer_norm),
            self._attention(layer.encoder_attn, layer.encoder_attn_layer_norm),
            gate, layer.fc1.native, layer.fc2.native, self._norm(layer.final_layer_norm),
        )  # fmt: skip

    def _native(self, head: FastLinear) -> CModel:
        config, decoder = self.config, self.model.model.decoder
        cosines, sines = self._rotation()
        return CModel(
            layers=ctypes.addressof(self._layers),
            embedding=self._hold(decoder.embed_tokens.weight),
            places=self._hold(self._places()),
            cosines=self._hold(cosines),
            sines=self._hold(sines),
            distances=self._hold(self._distances()),
            first=self._norm(decoder.layernorm_embedding),
            last=self._norm(decoder.layer_norm),
            head=head.native,
            embedding_scale=decoder.embed_tokens.embed_scale,
            num_layers=len(self._layers),
            width=config.d_model,
            heads=config.decoder_attention_heads,
            key_heads=self.key_heads,
            head_width=self.head_width,
            value_width=self.value_width,
            positions=config.max_position_embeddings,
            activation=_ACTIVATIONS[config.activation_function],
            is_pre_norm=config.norm_position == "pre",
            embedding_dtype=_kind(decoder.embed_tokens.weight.dtype),
            cache_dtype=_kind(self.cache_dtype),
        )

    def _places(self) -> torch.Tensor | None:
        """(positions, width): what is added to the embedding at each place."""
        is_added = self.config.position_embedding_type in ("learned", "sinusoidal")
        return self.model.model.decoder.embed_positions.weight.detach().float() if is_added else None

    def _rotation(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Cosines and sines of rotary positions, each (positions, half the width of a head)."""
        if self.config.position_embedding_type != "rotary":
            return None, None
        places = torch.arange(self.config.max_position_embeddings)[None]
        both = self.model.model.decoder.embed_positions(places, torch.float32)
        cosines, sines = (angles[0, 0, :, : self.head_width // 2].contiguous() for angles in both)
        return cosines, sines

    def _distances(self) -> torch.Tensor | None:
        """(heads, positions + SPAN): what is added to a score, for a key at a distance d at [positions - 1 - d]."""
        if self.config.position_embedding_type not in ("relative", "alibi"):
            return None
        distances = torch.arange(1 - self.config.max_position_embeddings, 1)
        table = self.model.model.decoder.embed_positions.by_distance(distances)
        return nn.functional.pad(table.detach().float(), (0, SPAN)).contiguous()

    # -- reading

    @torch.inference_mode()
    def read(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> list[Source]:
        """One Source for each row of (B, S) int64 ids; rows that were read before are not encoded again.

        attention_mask: (B, S), 1 for a real token; None when all are.
        """
        is_real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        texts = [ids[real.bool()] for ids, real in zip(input_ids, is_real)]
        keys = [text.numpy().tobytes() for text in texts]
        with self._door:
            known = {key: self._sources[key] for key in keys if key in self._sources}
        missing = {key: row for row, key in enumerate(keys) if key not in known}
        if missing:
            rows = list(missing.values())
            longest = max(len(texts[row]) for row in rows)
            ids = input_ids.new_zeros(len(rows), longest)
            mask = input_ids.new_zeros(len(rows), longest)
            for line, row in enumerate(rows):
                ids[line, : len(texts[row])] = texts[row]
                mask[line, : len(texts[row])] = 1
            mask = None if mask.all() else mask
            states = self.model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
            known |= zip(missing, self.sources(states, mask))
        self._keep(known)
        return [known[key] for key in keys]

    def _keep(self, read: dict[bytes, Source]) -> None:
        with self._door:
            for key, source in read.items():
                self._sources[key] = source
                self._sources.move_to_end(key)
            size = sum(source.nbytes for source in self._sources.values())
            while self._sources and size > self.source_bytes:
                size -= self._sources.popitem(last=False)[1].nbytes

    def forget(self) -> None:
        """Let go of the texts that were read, as after a change of the encoder's weights."""
        with self._door:
            self._sources.clear()

    @torch.inference_mode()
    def sources(self, states: torch.Tensor, attention_mask: torch.Tensor | None = None) -> list[Source]:
        """What the encoder says of each text, (B, S, D), and a mask (B, S) or None -> one Source for each."""
        batch, length, _ = states.shape
        is_real = torch.ones(batch, length, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        sizes = is_real.sum(dim=1).tolist()
        layers, heads, width = len(self._layers), self.key_heads, self.head_width
        rows = states.reshape(batch * length, -1)[is_real.flatten()]
        kept = [
            Source(
                torch.empty(layers, heads, width, _whole(max(size, 1), SPAN), dtype=self.cache_dtype),
                torch.empty(layers, heads, _whole(max(size, 1), SPAN), self.value_width, dtype=self.cache_dtype),
                own.clone(),
            )
            for size, own in zip(sizes, rows.split(sizes))
        ]
        for index, layer in enumerate(self.model.model.decoder.layers):
            keys = layer.encoder_attn.k_proj(rows).view(-1, heads, width).split(sizes)
            values = layer.encoder_attn.v_proj(rows).view(-1, heads, width).split(sizes)
            for source, key, value in zip(kept, keys, values):
                source.keys[index, :, :, : source.length] = key.permute(1, 2, 0)
                source.values[index, :, : source.length, :width] = value.transpose(0, 1)
        return kept

    def states(self, sources: Sequence[Source], attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """What the encoder gave for each source, where the mask (B, S) is 1: (B, S, D)."""
        if attention_mask is None:
            return torch.stack([source.states for source in sources])
        states = torch.zeros(*attention_mask.shape, sources[0].states.shape[1])
        states[attention_mask.bool()] = torch.cat([source.states for source in sources])
        return states

    # -- writing

    def state(self, sources: Sequence[Source], capacity: int = 256, head: str | None = None) -> "DecoderState":
        """A row of decoding for each source; one that stands there several times is shared by its rows.

        capacity: tokens that a row will hold, about. head: one of `config.separate_decoder_heads`.
        """
        if head not in self._natives:
            names = ", ".join(self.model.task_heads) or "none"
            raise ValueError(f"no decoder head called {head!r}; this model's separate_decoder_heads: {names}")
        return DecoderState(self, self._natives[head], sources, capacity)

    def cache(self, sources: Sequence[Source], head: str | None = None) -> "FastCache":
        """For the loops of transformers: what they do with any cache, they may do with this one."""
        return FastCache(self, sources, head)


# ------------------------------------------------------------------------------------------------ what was written


class DecoderState:
    """Keys and values of what was written so far in each row, and how to write on.

    lengths: tokens that each row holds.
    """

    def __init__(self, decoder: FastDecoder, native: CModel, sources: Sequence[Source], capacity: int):
        self.decoder, self._native = decoder, native
        self.lengths = [0] * len(sources)
        self._slots = list(range(len(sources)))
        self._sources, self._texts = _distinct(sources)
        self._natives = (CSource * len(self._sources))(*(source.native for source in self._sources))
        self._limit = decoder.config.max_position_embeddings
        self._vocabulary = decoder.config.vocab_size
        self._stride = native.head.blocks * LANES
        self._logits = torch.empty(0, self._stride)
        self._room = 0  # rows of a pass that there are arrays for
        self._pass = CPass(ctypes.addressof(native), ctypes.addressof(self._natives))
        self._address = ctypes.addressof(self._pass)
        self._num_kept = 0
        self._keys, self._values = self._memory(len(sources), capacity)
        self._point()

    def _memory(self, slots: int, capacity: int) -> tuple[torch.Tensor, torch.Tensor]:
        decoder = self.decoder
        capacity = _whole(min(max(capacity, 1), self._limit), SPAN)
        shape = (len(decoder._layers), slots, decoder.key_heads)
        return (
            torch.empty(*shape, decoder.head_width, capacity, dtype=decoder.cache_dtype),
            torch.empty(*shape, capacity, decoder.value_width, dtype=decoder.cache_dtype),
        )

    def _point(self) -> None:
        self._pass.keys, self._pass.values = self._keys.data_ptr(), self._values.data_ptr()
        self._pass.slots_in_all, self._pass.capacity = self._keys.shape[1], self._keys.shape[-1]

    def _grow(self, slots: int, capacity: int) -> None:
        """Move to more memory."""
        keys, values = self._memory(slots, capacity)
        num, used = self._keys.shape[1], max(self.lengths, default=0)
        keys[:, :num, :, :, :used] = self._keys[..., :used]
        values[:, :num, :, :used] = self._values[:, :, :, :used]
        self._keys, self._values = keys, values
        self._point()

    def step(self, tokens: Sequence[Sequence[int]], keep_all: bool = False) -> torch.Tensor:
        """Append tokens[r], none, one or many, to row r.

        Returns the logits behind the last token of each row that got any, or with keep_all behind each token, row after
        row: (kept, vocabulary) float32. It is a view of a buffer that the next pass writes to.

        Raises ValueError for a token that is not in the vocabulary and for a row that gets too long.
        """
        self._prepare(tokens, keep_all)
        _check_memory(library().decode(self._address, torch.get_num_threads()))
        return self._answer()

    def begin(self, tokens: Sequence[Sequence[int]], keep_all: bool = False) -> None:
        """`step` without waiting for it; `finish` gives what it gives. Nothing else may be called in between."""
        self._prepare(tokens, keep_all)
        _check_memory(library().begin_decode(self._address, torch.get_num_threads()))

    def finish(self) -> torch.Tensor:
        _check_memory(library().end_decode())
        return self._answer()

    def _prepare(self, tokens: Sequence[Sequence[int]], keep_all: bool) -> None:
        if len(tokens) != len(self.lengths):
            raise ValueError(f"there are {len(self.lengths)} rows, got tokens for {len(tokens)}")
        count = sum(map(len, tokens))
        if count == 0:
            raise ValueError("no row got a token")
        if count > self._room:
            self._make_room(count)
        index = kept = 0
        lengths = list(self.lengths)
        for row, given in enumerate(tokens):
            for token in given:
                if not 0 <= token < self._vocabulary:
                    raise ValueError(f"token {token} is not in the vocabulary of {self._vocabulary}")
                self._tokens[index] = token
                self._where[index] = self._slots[row]
                self._positions[index] = lengths[row]
                self._which[index] = self._texts[row]
                lengths[row] += 1
                if keep_all:
                    self._kept[kept] = index
                    kept += 1
                index += 1
            if given and not keep_all:
                self._kept[kept] = index - 1
                kept += 1
        longest = max(lengths)
        if longest > self._limit:
            raise ValueError(f"a row would have {longest} tokens, more than max_position_embeddings={self._limit}")
        if longest > self._keys.shape[-1]:
            self._grow(self._keys.shape[1], max(longest, 2 * self._keys.shape[-1]))
        self._pass.rows, self._pass.num_kept, self._num_kept = count, kept, kept
        self.lengths = lengths

    def _make_room(self, count: int) -> None:
        arrays = [(ctypes.c_int32 * count)() for _ in range(5)]
        self._tokens, self._where, self._positions, self._which, self._kept = arrays
        for name, array in zip(("tokens", "slots", "positions", "texts", "kept"), arrays):
            setattr(self._pass, name, ctypes.addressof(array))
        self._logits = torch.empty(count, self._stride)
        self._pass.logits = self._logits.data_ptr()
        self._room = count

    def _answer(self) -> torch.Tensor:
        return self._logits[: self._num_kept, : self._vocabulary]

    def truncate(self, row: int, length: int) -> None:
        """Forget what a row holds from its token `length` on."""
        if not 0 <= length <= self.lengths[row]:
            raise ValueError(f"row {row} has {self.lengths[row]} tokens, of which {length} cannot be kept")
        self.lengths[row] = length

    def reorder(self, rows: Sequence[int]) -> None:
        """Row r becomes what row rows[r] was; there may be more or fewer rows than before."""
        before, lengths, texts = self._slots, self.lengths, self._texts
        wanted = Counter(before[row] for row in rows)
        num_slots = self._keys.shape[1]
        if len(rows) > num_slots:
            self._grow(max(len(rows), 2 * num_slots), self._keys.shape[-1])
        free = [slot for slot in range(self._keys.shape[1]) if slot not in wanted]
        taken: set[int] = set()
        self._slots = []
        for row in rows:
            slot = before[row]
            if slot in taken:
                copy, length = free.pop(), lengths[row]
                self._keys[:, copy, :, :, :length] = self._keys[:, slot, :, :, :length]
                self._values[:, copy, :, :length] = self._values[:, slot, :, :length]
                slot = copy
            taken.add(slot)
            self._slots.append(slot)
        self.lengths = [lengths[row] for row in rows]
        self._texts = [texts[row] for row in rows]


def _distinct(sources: Sequence[Source]) -> tuple[list[Source], list[int]]:
    """Each source once, and for every row which one it has."""
    places: dict[int, int] = {}
    kept: list[Source] = []
    for source in sources:
        if id(source) not in places:
            places[id(source)] = len(kept)
            kept.append(source)
    return kept, [places[id(source)] for source in sources]


class FastCache:
    """A `DecoderState` in the form of a cache of transformers, so that its own loops write with it.

    sources: of the rows; where there are more rows, as of beams, each source has the same number of them in turn.
    """

    is_compileable = False
    is_native = True

    def __init__(self, decoder: FastDecoder, sources: Sequence[Source], head: str | None = None):
        self.decoder, self.sources, self.head = decoder, sources, head
        self.state: DecoderState | None = None
        self._is_real = torch.empty(0, 0, dtype=torch.bool)  # (rows, ids so far): what is not padding

    def step(self, ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (B, T, vocabulary) behind each of the ids (B, T). attention_mask: (B, ids so far), 0 for padding."""
        if self.state is None:
            copies = len(ids) // len(self.sources)
            self.state = self.decoder.state([each for each in self.sources for _ in range(copies)], head=self.head)
            self._is_real = torch.empty(len(ids), 0, dtype=torch.bool)
        is_real = torch.ones_like(ids) if attention_mask is None else attention_mask[:, -ids.shape[1] :]
        is_real = is_real.bool()
        logits = self.state.step([row[real].tolist() for row, real in zip(ids, is_real)], keep_all=True)
        self._is_real = torch.cat([self._is_real, is_real], dim=1)
        answer = logits.new_zeros(*ids.shape, logits.shape[1])
        answer[is_real] = logits
        return answer

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self._is_real.shape[1]

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        assert self.state is not None
        self.state.reorder(beam_idx.tolist())
        self._is_real = self._is_real[beam_idx]

    def crop(self, max_length: int) -> None:
        """Forget the columns from `max_length` on, or, where it is negative, so many of the last."""
        assert self.state is not None
        self._is_real = self._is_real[:, :max_length]
        for row, length in enumerate(self._is_real.sum(dim=1).tolist()):
            self.state.truncate(row, length)
