"""The shape of an elixir-coder model: every setting, checked, and the parameters it adds up to.

One encoder-decoder wide enough to contain its relatives: BART, mBART, Pegasus, Marian and T5 v1.1 are values of these
fields (see `elixir_coder/release/interop.py`), and both stacks of a Llama-shaped one are Llama's. Names follow BART in
transformers.
"""

import types
import typing
from itertools import pairwise
from typing import Any

from transformers import PretrainedConfig

# Credo 1.7's checks by category and Sobelow 0.14's rules that speak of Elixir source (its rules on dependency
# versions and on EEx templates judge something the model does not read).
_CREDO = {
    "Consistency": (
        "ExceptionNames LineEndings MultiAliasImportRequireUse ParameterPatternMatching SpaceAroundOperators"
        " SpaceInParentheses TabsOrSpaces UnusedVariableNames"
    ),
    "Design": ("AliasUsage DuplicatedCode SkipTestWithoutComment TagFIXME TagTODO"),
    "Readability": (
        "AliasAs AliasOrder BlockPipe FunctionNames ImplTrue LargeNumbers MaxLineLength ModuleAttributeNames"
        " ModuleDoc ModuleNames MultiAlias NestedFunctionCalls OneArityFunctionInPipe OnePipePerLine"
        " ParenthesesInCondition ParenthesesOnZeroArityDefs PipeIntoAnonymousFunctions PredicateFunctionNames"
        " PreferImplicitTry PreferUnquotedAtoms RedundantBlankLines Semicolons SeparateAliasRequire"
        " SingleFunctionToBlockPipe SinglePipe SpaceAfterCommas Specs StrictModuleLayout StringSigils"
        " TrailingBlankLine TrailingWhiteSpace UnnecessaryAliasExpansion VariableNames WithCustomTaggedTuple"
        " WithSingleClause"
    ),
    "Refactor": (
        "ABCSize AppendSingleItem Apply CaseTrivialMatches CondInsteadOfIfElse CondStatements"
        " CyclomaticComplexity DoubleBooleanNegation FilterCount FilterFilter FilterReject FunctionArity"
        " IoPuts LongQuoteBlocks MapInto MapJoin MapMap MatchInCondition ModuleDependencies"
        " NegatedConditionsInUnless NegatedConditionsWithElse NegatedIsNil Nesting PassAsyncInTestCases"
        " PerceivedComplexity PipeChainStart RedundantWithClauseResult RejectFilter RejectReject"
        " UnlessWithElse UtcNowTruncate VariableRebinding WithClauses"
    ),
    "Warning": (
        "ApplicationConfigInModuleAttribute BoolOperationOnSameValues Dbg ExpensiveEmptyEnumCheck"
        " ForbiddenModule IExPry IoInspect LazyLogging LeakyEnvironment MapGetUnsafePass"
        " MissedMetadataKeyInLoggerConfig MixEnv OperationOnSameValues OperationWithConstantResult"
        " RaiseInsideRescue SpecWithStruct StructFieldAmount UnsafeExec UnsafeToAtom UnusedEnumOperation"
        " UnusedFileOperation UnusedKeywordOperation UnusedListOperation UnusedMapOperation UnusedOperation"
        " UnusedPathOperation UnusedRegexOperation UnusedStringOperation UnusedTupleOperation"
        " WrongTestFileExtension WrongTestFilename"
    ),
}
_SOBELOW = (
    "CI.OS CI.System Config.CSP Config.CSRFRoute Config.CSRF Config.CSWH Config.Headers Config.HSTS"
    " Config.HTTPS Config.Secrets DOS.BinToAtom DOS.ListToAtom DOS.StringToAtom Misc.BinToTerm RCE.CodeModule"
    " RCE.EEx SQL.Query SQL.Stream Traversal.FileModule Traversal.SendDownload Traversal.SendFile"
    " XSS.ContentType XSS.HTML XSS.SendResp Misc.FilePath"
)
QUALITY_LABELS = tuple(f"Credo.Check.{category}.{name}" for category, names in _CREDO.items() for name in names.split())
SECURITY_LABELS = tuple(_SOBELOW.split())

_CHOICES = {
    "activation_function": ("gelu", "relu", "swish", "gelu_new"),
    "classifier_activation": ("gelu", "relu", "swish", "gelu_new", "tanh"),
    "init_method": ("normal", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"),
    "norm_type": ("layernorm", "rmsnorm"),
    "norm_position": ("pre", "post"),
    "position_embedding_type": ("sinusoidal", "learned", "rotary", "alibi", "relative"),
}
_POSITIVE = (
    "vocab_size d_model encoder_layers decoder_layers encoder_attention_heads decoder_attention_heads"
    " num_key_value_heads head_dim hidden_ffn_multiplier encoder_ffn_dim decoder_ffn_dim max_position_embeddings"
    " layer_norm_eps init_std"
).split()
_ROPE = {  # what each kind of rotation needs besides its type
    "default": {"rope_theta"},
    "linear": {"rope_theta", "factor"},
    "llama3": {"rope_theta", "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"},
}


# save_pretrained adds only the class it saves; a folder is to serve every Auto class.
_AUTO_MAP = {
    "AutoConfig": "configuration_elixir_coder.ElixirCoderConfig",
    "AutoModel": "modeling_elixir_coder.ElixirCoderModel",
    "AutoModelForTextEncoding": "modeling_elixir_coder.ElixirCoderEncoderModel",
    "AutoModelForSeq2SeqLM": "modeling_elixir_coder.ElixirCoderForConditionalGeneration",
    "AutoModelForSequenceClassification": "modeling_elixir_coder.ElixirCoderForSequenceClassification",
    "AutoModelForPreTraining": "modeling_elixir_coder.ElixirCoderForMultiTask",
}
_PIPELINE = {"impl": "modeling_elixir_coder.ElixirCoderText2TextPipeline", "pt": ["AutoModelForSeq2SeqLM"]}


class ElixirCoderConfig(PretrainedConfig):
    """Settings of every `ElixirCoder...` model.

    Sizes
      vocab_size, d_model, encoder_layers, decoder_layers, encoder_attention_heads, decoder_attention_heads.
      num_key_value_heads: key/value heads shared by groups of query heads (Ainslie et al. 2023,
        https://arxiv.org/abs/2305.13245); None means one per head. Applies to both stacks.
      head_dim: width of one head; None means d_model / heads.
      encoder_ffn_dim, decoder_ffn_dim: None means `hidden_ffn_multiplier` × d_model.
      max_position_embeddings: longest input and output in tokens.
    Form
      position_embedding_type: "sinusoidal" (computed, Marian's [sin|cos] table), "learned", "relative" (T5 buckets:
        `relative_attention_num_buckets`, `relative_attention_max_distance`), "rotary" (Llama's half-split rotation, in
        self-attention only) or "alibi" (Bloom's slopes).
      rope_parameters: of "rotary", as in transformers: `rope_type` ("default", "linear" or "llama3"), `rope_theta`, and
        what the type needs besides. None means theta 10,000.
      share_position_embeddings: one learned table for both stacks.
      norm_type ("layernorm", "rmsnorm"), norm_position ("pre", "post"), layer_norm_eps.
      gated_ffn: act(fc_gate(x)) · fc1(x) (Shazeer 2020, https://arxiv.org/abs/2002.05202) instead of act(fc1(x)).
      use_bias: biases in every linear layer of the stacks.
      cross_attention_gate: what cross-attention adds is multiplied, channel by channel, by the tanh of a learned gate
        that starts at zero, so that a decoder taken from another model starts as it was (Alayrac et al. 2022,
        section 2.2, https://arxiv.org/abs/2204.14198).
      layernorm_embedding, scale_embedding (× √d_model), tie_word_embeddings (head and input table are one).
      lm_head_bias: a bias on the output matrix, as Marian has it.
      separate_decoder_heads: names of decoder tasks that get an output matrix of their own, e.g. ("explanation",).
    Start
      init_method: of the matrices of linear layers: "normal" (standard deviation `init_std`), "xavier_uniform",
        "xavier_normal" (Glorot and Bengio 2010), "kaiming_uniform" or "kaiming_normal" (He et al. 2015,
        https://arxiv.org/abs/1502.01852). Embeddings are always normal, biases zero.
    Heads on the encoder (masked mean of its states, then an MLP)
      quality_labels, security_labels: label names, in the order of the logits; their lengths are
        `num_quality_labels` and `num_security_labels`. Defaults: Credo's 112 checks, Sobelow's 25 source rules.
      quality_thresholds, security_thresholds, clarification_threshold: probability from which a label counts as given;
        one number, or one per label.
      classifier_hidden_dims, classifier_activation, classifier_dropout, classifier_norm (layer norm after each hidden
        layer), classifier_residual (skip connections where widths agree).
      loss_weights: weight of each loss in the sum, by name: generation, quality, security, clarification.

    Raises ValueError for a value outside its range, naming the field and what it may be.
    """

    model_type = "elixir_coder"
    keys_to_ignore_at_inference = ["past_key_values"]
    attribute_map = {
        "hidden_size": "d_model",
        "num_attention_heads": "encoder_attention_heads",
        "num_hidden_layers": "encoder_layers",
        "max_seq_len": "max_position_embeddings",
    }

    vocab_size: int = 32000
    d_model: int = 768
    encoder_layers: int = 6
    decoder_layers: int = 6
    encoder_attention_heads: int = 12
    decoder_attention_heads: int = 12
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    encoder_ffn_dim: int | None = None
    decoder_ffn_dim: int | None = None
    hidden_ffn_multiplier: int = 4
    max_position_embeddings: int = 4096
    dropout: float = 0.1
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    activation_function: str = "gelu"
    gated_ffn: bool = False
    use_bias: bool = True
    norm_type: str = "layernorm"
    norm_position: str = "pre"
    layernorm_embedding: bool = False
    cross_attention_gate: bool = False
    position_embedding_type: str = "sinusoidal"
    share_position_embeddings: bool = False
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    rope_parameters: dict[str, Any] | None = None
    init_method: str = "normal"
    init_std: float = 0.02
    scale_embedding: bool = False
    use_cache: bool = True
    tie_word_embeddings: bool = True
    lm_head_bias: bool = False
    layer_norm_eps: float = 1e-5
    separate_decoder_heads: list[str] | tuple[str, ...] = ()

    quality_labels: list[str] | tuple[str, ...] = QUALITY_LABELS
    security_labels: list[str] | tuple[str, ...] = SECURITY_LABELS
    quality_thresholds: float | list[float] = 0.5
    security_thresholds: float | list[float] = 0.5
    clarification_threshold: float = 0.5
    classifier_hidden_dims: list[int] | tuple[int, ...] = ()
    classifier_activation: str = "gelu"
    classifier_dropout: float = 0.1
    classifier_residual: bool = False
    classifier_norm: bool = False
    loss_weights: dict[str, float] | None = None

    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    decoder_start_token_id: int | None = 1
    is_encoder_decoder: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        for alias in set(self.attribute_map) & set(kwargs):
            setattr(self, alias, kwargs.pop(alias))
        self._check_types()
        for name in ("quality", "security"):  # the number of labels alone will do too, for a head without names
            count = kwargs.pop(f"num_{name}_labels", None)
            if count is not None and count != len(getattr(self, f"{name}_labels")):
                setattr(self, f"{name}_labels", [f"{name}_{i}" for i in range(count)])
        for name in ("quality_labels", "security_labels", "classifier_hidden_dims", "separate_decoder_heads"):
            setattr(self, name, list(getattr(self, name)))
        for name in ("encoder_ffn_dim", "decoder_ffn_dim"):
            if getattr(self, name) is None:
                setattr(self, name, self.hidden_ffn_multiplier * self.d_model)
        weights = {"generation": 1.0, "quality": 0.5, "security": 0.5, "clarification": 0.3}
        self.loss_weights = weights | (self.loss_weights or {})
        if self.id2label is None and "num_labels" not in kwargs:
            labels = [*self.quality_labels, *self.security_labels]
            self.id2label = dict(enumerate(labels))
            self.label2id = {label: index for index, label in enumerate(labels)}
        if self.position_embedding_type == "rotary":
            self.rope_parameters = {"rope_type": "default", "rope_theta": 10000.0} | (self.rope_parameters or {})
        self._check()
        kwargs.setdefault("auto_map", dict(_AUTO_MAP))
        kwargs.setdefault("custom_pipelines", {"text2text-generation": dict(_PIPELINE)})
        super().__post_init__(**kwargs)
        if self.position_embedding_type != "rotary":
            self.rope_parameters = None  # transformers fills in a rotation that this model does not make

    def _check_types(self) -> None:
        """Raise ValueError for the first field of another type than it is declared with."""
        for name, declared in ElixirCoderConfig.__annotations__.items():
            value = getattr(self, name)
            if not _is_instance(value, declared):
                wanted = declared.__name__ if isinstance(declared, type) else str(declared)
                raise ValueError(f"{name} must be {wanted}, got {value!r}")

    def _check(self) -> None:
        """Raise ValueError for the first field that cannot be built, saying what it may be."""
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        if any(width <= 0 for width in self.classifier_hidden_dims):
            raise ValueError(f"classifier_hidden_dims must all be above 0, got {self.classifier_hidden_dims}")
        for name in ("dropout", "attention_dropout", "activation_dropout", "classifier_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        for stack in ("encoder", "decoder"):
            heads = getattr(self, f"{stack}_attention_heads")
            if self.head_dim is None and self.d_model % heads:
                raise ValueError(f"d_model ({self.d_model}) is not a multiple of {stack}_attention_heads ({heads})")
            if heads % self.key_value_heads(stack):
                raise ValueError(
                    f"{stack}_attention_heads ({heads}) is not a multiple of num_key_value_heads "
                    f"({self.num_key_value_heads})"
                )
        if self.position_embedding_type == "sinusoidal" and self.d_model % 2:
            raise ValueError(f"sinusoidal positions need an even d_model, got {self.d_model}")
        if self.position_embedding_type == "relative":
            buckets, farthest = self.relative_attention_num_buckets, self.relative_attention_max_distance
            if buckets < 4 or buckets % 2 or farthest <= buckets // 2:
                raise ValueError(
                    "relative_attention_num_buckets must be even, at least 4 and less than twice "
                    f"relative_attention_max_distance, got {buckets} and {farthest}"
                )
        if self.position_embedding_type == "rotary":
            self._check_rotation()
        if self.share_position_embeddings and self.position_embedding_type != "learned":
            raise ValueError("share_position_embeddings needs position_embedding_type='learned'")
        for name in ("quality", "security"):
            thresholds, labels = getattr(self, f"{name}_thresholds"), getattr(self, f"{name}_labels")
            if isinstance(thresholds, list) and len(thresholds) != len(labels):
                raise ValueError(f"{name}_thresholds has {len(thresholds)} values for {len(labels)} {name}_labels")
        for name in ("quality_thresholds", "security_thresholds", "clarification_threshold"):
            thresholds = getattr(self, name)
            if not all(0 <= value <= 1 for value in (thresholds if isinstance(thresholds, list) else [thresholds])):
                raise ValueError(f"{name} must lie in [0, 1], got {thresholds}")
        for name in ("quality_labels", "security_labels", "separate_decoder_heads"):
            values = getattr(self, name)
            if twice := {value for value in values if values.count(value) > 1}:
                raise ValueError(f"{name} names {min(twice)!r} twice")
        for name in self.separate_decoder_heads:
            if not name.isidentifier():
                raise ValueError(f"separate_decoder_heads become names of modules, which {name!r} cannot be")
        for name in ("pad_token_id", "bos_token_id", "decoder_start_token_id"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < self.vocab_size:
                raise ValueError(f"{name} must be below vocab_size ({self.vocab_size}), got {value}")
        known = ("generation", "quality", "security", "clarification")
        for name, weight in self.loss_weights.items():
            if name not in known:
                raise ValueError(f"loss_weights has no loss called {name!r}; there are {', '.join(known)}")
            if weight < 0:
                raise ValueError(f"loss_weights must not be negative, got {weight} for {name}")

    def _check_rotation(self) -> None:
        width = self.head_width("encoder")
        if width % 2 or width != self.head_width("decoder"):
            raise ValueError(
                "rotary positions need heads of one even width, got "
                f"{width} in the encoder and {self.head_width('decoder')} in the decoder; set head_dim"
            )
        given = self.rope_parameters or {}
        kind = given.get("rope_type")
        if kind not in _ROPE:
            raise ValueError(f"rope_parameters['rope_type'] must be one of {', '.join(_ROPE)}, got {kind!r}")
        for name in sorted(_ROPE[kind]):
            value = given.get(name)
            if not isinstance(value, int | float) or value <= 0:
                raise ValueError(f"rope_parameters[{name!r}] must be a number above 0 for {kind!r}, got {value!r}")

    def to_dict(self) -> dict[str, Any]:
        plain = super().to_dict()
        for task in plain["custom_pipelines"].values():  # `pipeline` replaces names by classes in what it reads
            task["pt"] = [name if isinstance(name, str) else name.__name__ for name in task["pt"]]
        return plain

    @property
    def num_quality_labels(self) -> int:
        return len(self.quality_labels)

    @property
    def num_security_labels(self) -> int:
        return len(self.security_labels)

    def key_value_heads(self, stack: str) -> int:
        """Key/value heads of the "encoder" or the "decoder"."""
        return self.num_key_value_heads or getattr(self, f"{stack}_attention_heads")

    def head_width(self, stack: str) -> int:
        """Width of one attention head of the "encoder" or the "decoder"."""
        return self.head_dim or self.d_model // getattr(self, f"{stack}_attention_heads")

    @classmethod
    def tiny(cls, **overrides: Any) -> "ElixirCoderConfig":
        """T5-shaped (so that it exports to T5 unchanged): deep encoder, shallow decoder; trains on two CPU cores."""
        shape = {
            "d_model": 256,
            "encoder_layers": 6,
            "decoder_layers": 3,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 704,
            "decoder_ffn_dim": 704,
            "dropout": 0.0,
            "activation_function": "gelu_new",
            "gated_ffn": True,
            "use_bias": False,
            "norm_type": "rmsnorm",
            "layer_norm_eps": 1e-6,
            "position_embedding_type": "relative",
            "scale_embedding": True,  # with the tied head this is T5 v1.0: its table is ours times √d_model
        }
        return cls(**shape | overrides)

    @classmethod
    def small(cls, **overrides: Any) -> "ElixirCoderConfig":
        """SmolLM2-135M's shape, whose 30 layers are the decoder and 12 of them the encoder: 193.7M parameters."""
        shape = {
            "d_model": 576,
            "encoder_layers": 12,
            "decoder_layers": 30,
            "encoder_attention_heads": 9,
            "decoder_attention_heads": 9,
            "num_key_value_heads": 3,
            "encoder_ffn_dim": 1536,
            "decoder_ffn_dim": 1536,
            "dropout": 0.0,
            "activation_function": "swish",
            "gated_ffn": True,
            "use_bias": False,
            "norm_type": "rmsnorm",
            "cross_attention_gate": True,
            "position_embedding_type": "rotary",
            "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0},
        }
        return cls(**shape | overrides)

    @classmethod
    def base(cls, **overrides: Any) -> "ElixirCoderConfig":
        """768 wide, 12 heads, 6 + 6 layers: 123,816,960 parameters."""
        return cls(**overrides)

    @classmethod
    def full(cls, **overrides: Any) -> "ElixirCoderConfig":
        """1024 wide, 16 heads over 8 key/value heads, 12 + 12 layers, one learned position table: 351.9M parameters."""
        shape = {
            "d_model": 1024,
            "encoder_layers": 12,
            "decoder_layers": 12,
            "encoder_attention_heads": 16,
            "decoder_attention_heads": 16,
            "num_key_value_heads": 8,
            "position_embedding_type": "learned",
            "share_position_embeddings": True,
        }
        return cls(**shape | overrides)


def _is_instance(value: Any, declared: Any) -> bool:
    """Whether `value` is of a declared type: a class, or a union, list, tuple or dict of them. True is no number."""
    container, of = typing.get_origin(declared), typing.get_args(declared)
    if container is types.UnionType:
        return any(_is_instance(value, each) for each in of)
    if container in (list, tuple):
        return isinstance(value, container) and all(_is_instance(each, of[0]) for each in value)
    if container is dict:
        return isinstance(value, dict) and all(_is_instance(each, of[1]) for each in value.values())
    if declared is Any:
        return True
    if declared is float:
        declared = (int, float)
    return isinstance(value, declared) and (declared is bool or not isinstance(value, bool))


def parameter_table(config: ElixirCoderConfig) -> dict[str, int]:
    """Parameters of each part, by the name it has in the model, without building it.

    The rows up to `lm_head` and `task_heads` are those of `ElixirCoderForConditionalGeneration`;
    `ElixirCoderForMultiTask` adds the three heads on the encoder. What two parts share counts once, where it stands
    first.
    """
    d = config.d_model
    bias = int(config.use_bias)
    norm = d * (2 if config.norm_type == "layernorm" else 1)

    def linear(fan_in: int, fan_out: int) -> int:
        return fan_in * fan_out + bias * fan_out

    def attention(stack: str) -> int:
        inner = getattr(config, f"{stack}_attention_heads") * config.head_width(stack)
        key_value = config.key_value_heads(stack) * config.head_width(stack)
        return linear(d, inner) + 2 * linear(d, key_value) + linear(inner, d)

    def layer(stack: str) -> int:
        num_attentions = 1 if stack == "encoder" else 2
        ffn = getattr(config, f"{stack}_ffn_dim")
        feed_forward = (2 if config.gated_ffn else 1) * linear(d, ffn) + linear(ffn, d)
        gate = d if stack == "decoder" and config.cross_attention_gate else 0
        return num_attentions * (attention(stack) + norm) + gate + feed_forward + norm

    def positions(stack: str) -> int:
        if config.position_embedding_type == "relative":
            return config.relative_attention_num_buckets * getattr(config, f"{stack}_attention_heads")
        if config.position_embedding_type == "learned" and not (
            stack == "decoder" and config.share_position_embeddings
        ):
            return config.max_position_embeddings * d
        return 0

    def classifier(num_labels: int) -> int:
        widths = [d, *config.classifier_hidden_dims]
        hidden = sum(a * b + b + (2 * b if config.classifier_norm else 0) for a, b in pairwise(widths))
        return hidden + widths[-1] * num_labels + num_labels

    table = {"model.shared": config.vocab_size * d}
    for stack in ("encoder", "decoder"):
        table[f"model.{stack}.embed_positions"] = positions(stack)
        table[f"model.{stack}.layernorm_embedding"] = norm * config.layernorm_embedding
        for index in range(getattr(config, f"{stack}_layers")):
            table[f"model.{stack}.layers.{index}"] = layer(stack)
        table[f"model.{stack}.layer_norm"] = norm * (config.norm_position == "pre")
    table["lm_head"] = config.vocab_size * ((0 if config.tie_word_embeddings else d) + config.lm_head_bias)
    table["task_heads"] = len(config.separate_decoder_heads) * config.vocab_size * d
    table["quality_head"] = classifier(config.num_quality_labels)
    table["security_head"] = classifier(config.num_security_labels)
    table["clarification_head"] = classifier(1)
    return table


def count_parameters(config: ElixirCoderConfig) -> int:
    """Parameters of `ElixirCoderForConditionalGeneration(config)`, exactly, without building it."""
    return sum(count for name, count in parameter_table(config).items() if not name.endswith(_ENCODER_HEADS))


_ENCODER_HEADS = ("quality_head", "security_head", "clarification_head")
