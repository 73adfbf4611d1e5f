"""The vocabulary of elixir-coder: its symbols, its special tokens, its prompts, and how it is trained and grown.

The tokenizer itself needs none of this file: `tokenizer.json` is a plain byte-level BPE that AutoTokenizer, the Rust
crate and llama.cpp load without our code. What is here trains it and says what its tokens mean.

It is learnt in two stages. First *words*: pairs are merged inside words, so that identifiers and keywords are whole
before anything else. Then *phrases*: words are merged across spaces and punctuation, inside a line, so that
`|> Enum.map(` or ` do\\n    ` becomes one token. When text is encoded, only digits are set apart.

Method: SuperBPE (Liu et al. 2025, https://arxiv.org/abs/2503.13423), with counts damped per file and per project.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from string import Formatter

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

VOCAB_SIZE = 32_000
MAX_LENGTH = 4_096

# -- special tokens: the id of a token is its place in SPECIAL_TOKENS ------------------------------------------------

PAD, BOS, EOS, UNK, MASK = "<pad>", "<s>", "</s>", "<unk>", "<mask>"
SENTINELS = tuple(f"<extra_id_{number}>" for number in range(100))
FIM_PREFIX, FIM_MIDDLE, FIM_SUFFIX, FIM_PAD = "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>"
FILE_SEP, REPO_NAME = "<file_sep>", "<repo_name>"
TASKS = ("code", "test", "review", "explanation", "clarification", "ontology")
ROLES = ("system", "user", "assistant")
END_OF_TURN = "<|end|>"
SPECIAL_TOKENS = (
    *(PAD, BOS, EOS, UNK, MASK),
    *SENTINELS,
    *(FIM_PREFIX, FIM_MIDDLE, FIM_SUFFIX, FIM_PAD),
    *(FILE_SEP, REPO_NAME),
    *(f"<{task}>" for task in TASKS),
    *(f"<|{role}|>" for role in ROLES),
    END_OF_TURN,
    *(f"<reserved_{number}>" for number in range(7)),
)

# -- prompts ---------------------------------------------------------------------------------------------------------

FIM_TEMPLATE = f"{FIM_PREFIX}{{prefix}}{FIM_SUFFIX}{{suffix}}{FIM_MIDDLE}"
PROMPTS = {
    "code": "<code>{instruction}",
    "test": "<test>{code}",
    "review": "<review>{code}",
    "explanation": "<explanation>{code}",
    "clarification": "<clarification>{instruction}",
    "ontology": "<ontology>{code}",
    "fim": FIM_TEMPLATE,
}
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('unknown role: ' + message['role']) }}"
    "{% endif %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

# -- symbols: each of these is one token when it stands alone --------------------------------------------------------

OPERATORS = (
    *"@ . + - ! ^ ~~~ ** * / ++ -- +++ --- .. ... ..// <> |> <<< >>> <<~ ~>> <~ ~> <~> < > <= >= == != =~ === !== "
    "&& &&& || ||| ^^^ = & => | :: <- -> \\\\ % %{ #{ << >> { } [ ] ( ) , ; : ? // \"\"\" '''".split(),
    "not in",
)
SIGILS = tuple(f"~{letter}" for letter in "rRsScCwWDTNUHLEp")
ATTRIBUTES = tuple(
    "@after_compile @after_verify @before_compile @behaviour @callback @compile @deprecated @derive @describetag "
    "@dialyzer @doc @enforce_keys @external_resource @fallback_to_any @file @for @impl @macrocallback @moduledoc "
    "@moduletag @nifs @on_definition @on_load @opaque @optional_callbacks @protocol @since @spec @tag @type "
    "@typedoc @typep @vsn".split()
)
KEYWORDS = tuple(
    "after and catch do end else false fn in nil not or rescue true when def defp defmodule defmacro defmacrop "
    "defstruct defexception defprotocol defimpl defguard defguardp defdelegate defoverridable case cond if unless "
    "with for receive try quote unquote unquote_splicing import alias require use raise reraise throw super send "
    "spawn spawn_link exit __MODULE__ __ENV__ __DIR__ __CALLER__ __STACKTRACE__ __using__ __struct__ do:".split()
)
ATOMS = tuple(
    ":ok :error :noreply :reply :stop :continue :ignore :halt :cont :normal :shutdown :infinity :timeout :undefined "
    ":nil :true :false :kill :DOWN :EXIT :via :global :local :one_for_one :one_for_all :rest_for_one :permanent "
    ":temporary :transient :worker :supervisor :brutal_kill :hibernate :init :start :info :debug :warning :get :post "
    ":put :patch :delete :id :name :type :key :value :module :function :atom :string :integer :float :boolean "
    ":binary :map :list :tuple :all :none :not_found :invalid :badarg :noproc :exit :erlang :ets".split()
)
EXUNIT = tuple(
    "test describe setup setup_all assert refute assert_raise assert_receive assert_received refute_receive "
    "refute_received assert_in_delta refute_in_delta catch_error catch_exit catch_throw flunk on_exit doctest "
    "start_supervised start_supervised! stop_supervised capture_io capture_log async ExUnit ExUnit.Case "
    "ExUnit.CaseTemplate ExUnit.CaptureIO ExUnit.CaptureLog".split()
)
SYMBOLS = tuple(dict.fromkeys(OPERATORS + SIGILS + ATTRIBUTES + KEYWORDS + ATOMS + EXUNIT))

# Everyday identifiers that begin with a keyword; the corpus has too few of some to learn them whole.
LOOKALIKES = tuple(
    "endpoint ending ended ends done document documents domain download double do_work dot format forward force form "
    "fnord info input inspect insert index init inner interval inbox note notify notification node order origin "
    "option options owner android iframe ifdef default defer define afterwards user users username useful when "
    "within without foreign case_insensitive".split()
)

# -- how text is cut -------------------------------------------------------------------------------------------------

# When encoding: digits in groups of three from the right, nothing else. llama.cpp knows this split by its name; there
# the look-ahead has no bound, which takes time quadratic in the number of digits. Runs of up to 303 are cut the same.
LLAMA_CPP_PRE_TOKENIZER = "superbpe"
_DIGITS = (r"\p{N}+", r"(?=(\d{3}){1,100}(?!\d))")
# When learning words: `__NAME__`; CamelCase and snake_case parts with the character before them; digits; punctuation,
# which leaves the colon of an atom, the @ of an attribute and the ~ of a sigil to what follows; newlines with their
# indentation; blanks.
_WORD = (
    r"__\p{L}+(?:_\p{L}+)*__"
    r"|(?: [:@~&%^!]|[^\r\n\p{L}\p{N}])?(?:[\p{Lu}\p{Lt}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+[?!]?|[\p{Lu}\p{Lt}]+)"
    r"|\p{N}+"
    r"| ?(?:(?!(?<!:)[:@~]\p{L}|(?<=[({\[<|,&%]):|__\p{L})[^\s\p{L}\p{N}])+"
    r"|\s*[\r\n]+[ \t]*|\s+(?!\S)|\s+"
)
# When learning phrases: a line, with the line ends and the indentation after it.
_LINE = r"[^\n]*\n+[ \t]*|[^\n]+"

_WORD_SHARE = 0.753  # of the entries are words; 0.5 and 0.88 both give fewer characters per token elsewhere
_LONGEST_WORD = 32  # bytes; keeps rulers and deep indentation from taking entries
_PHRASE_WORDS = 4  # at most; 6 gives 0.4% more characters per token on unseen code, 2% more on what it was trained on
_WORDS_PER_FILE, _LINES_PER_FILE = 20, 2  # a word or line that a file repeats more often than that counts no more
_MIN_FREQUENCY = 2
_SCALE = 2  # counts are rounded to halves
_PRIVATE = 0xF0000  # first of 65,534 private characters that stand for tokens while phrases are learnt

_OF_ONE_FOLDER = tuple("name_or_path is_local local_files_only vocab_file tokenizer_file added_tokens_decoder".split())

_byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def train_tokenizer(
    documents: Iterable[tuple[str, str, str]], vocab_size: int = VOCAB_SIZE, symbols: Sequence[str] = SYMBOLS
) -> PreTrainedTokenizerFast:
    """Learn a vocabulary of exactly `vocab_size` entries, special tokens and the 256 bytes included.

    documents: (project, path, text). The versions of one path count once; what a project repeats counts with the
    square root of the number of its files, so that a large one does not crowd out the others. The same documents
    in the same order give the same tokenizer.

    Raises ValueError when the text is too small to fill the vocabulary.
    """
    documents = list(documents)
    first = len(SPECIAL_TOKENS)
    num_words = first + int((vocab_size - first) * _WORD_SHARE)
    vocab = {token: index for index, token in enumerate((*SPECIAL_TOKENS, *sorted(_byte_level.alphabet())))}
    if vocab_size <= len(vocab):
        raise ValueError(f"vocab_size must be above {len(vocab)} (special tokens and bytes), got {vocab_size}")

    counts = _count(_split((*_DIGITS, _WORD)), documents, _WORDS_PER_FILE)
    trainer = trainers.BpeTrainer(
        vocab_size=num_words - first,
        min_frequency=_MIN_FREQUENCY * _SCALE,
        show_progress=False,
        max_token_length=_LONGEST_WORD,
        initial_alphabet=_byte_level.alphabet(),
    )
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = _byte_level
    learner.train_from_iterator(_repeat(counts), trainer)
    merges = _merges(learner)
    for left, right in merges:
        vocab.setdefault(left + right, len(vocab))

    wanted = (*symbols, *LOOKALIKES)
    _make_whole((*wanted, *(f" {text}" for text in wanted if any(map(str.isalpha, text)))), vocab, merges)
    if len(vocab) > vocab_size:
        raise ValueError(f"vocab_size {vocab_size} has no room for the symbols, which need {len(vocab)}")

    lines = _count(_split((_LINE,)), documents, _LINES_PER_FILE)
    _learn_phrases(vocab, merges, lines, vocab_size, _PHRASE_WORDS)
    return _as_pretrained(_bpe(vocab, merges))


def grow_vocabulary(
    tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], num_new: int, longest: int = _PHRASE_WORDS
) -> PreTrainedTokenizerFast:
    """A copy with `num_new` more entries learnt from `texts`; every token that was there keeps its id.

    The new merges come last, so text is first encoded as before and then shortened. longest: old tokens that one new
    token may join. A model follows with `resize_token_embeddings(len(grown))`.

    Raises ValueError when the texts do not hold that many repeated pairs.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    vocab = state["model"]["vocab"]
    merges = [tuple(pair) for pair in state["model"]["merges"]]
    if len(tokenizer) != len(vocab):
        raise ValueError(f"{len(tokenizer) - len(vocab)} tokens were added beside the vocabulary; grow it before that")
    lines = _count(_split((_LINE,)), (("", str(number), text) for number, text in enumerate(texts)), _WORDS_PER_FILE)
    _learn_phrases(vocab, merges, lines, len(vocab) + num_new, longest)
    state["model"]["merges"] = merges
    settings = {name: value for name, value in tokenizer.init_kwargs.items() if name not in _OF_ONE_FOLDER}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), **settings)


def encode_untrusted(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of text that others wrote: `</s>` or `<code>` in it is encoded as the characters it is, never as the token.

    No special token is added. Same as `tokenizer(text, add_special_tokens=False, split_special_tokens=True)`.
    """
    # verbose=False: a text longer than the model reads is the caller's to cut
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]


DECODER_PREFIX = 128  # half of the longest target in recipes/tiny.args: as much again can follow


def encode_prompt(tokenizer: PreTrainedTokenizerBase, task: str, **fields: str) -> list[int]:
    """Ids of the prompt of a task, `</s>` last: the template's tokens are tokens, the fields are untrusted text.

    task: a key of PROMPTS; fields: what its template names, e.g. `prefix` and `suffix` for "fim".
    Raises ValueError naming the tasks or the fields there are.
    """
    if task not in PROMPTS:
        raise ValueError(f"no such task: {task}; there is: {', '.join(PROMPTS)}")
    parts = list(Formatter().parse(PROMPTS[task]))
    wanted = {name for _, name, _, _ in parts if name}
    if wanted != set(fields):
        raise ValueError(f"the prompt of task {task} takes {sorted(wanted)}, got {sorted(fields)}")
    ids = []
    for literal, name, _, _ in parts:
        ids += tokenizer(literal, add_special_tokens=False)["input_ids"]
        if name:
            ids += encode_untrusted(tokenizer, fields[name])
    return [*ids, tokenizer.eos_token_id]


def split_prompt(ids: Sequence[int]) -> tuple[list[int], list[int]]:
    """How a text to continue is shared out: what the encoder reads of it, and what the decoder begins with.

    The decoder continues its own text best, so the last DECODER_PREFIX tokens are given to it as already written; in
    training it has seen just that, a target of which some tokens are known.
    """
    cut = max(0, len(ids) - DECODER_PREFIX)
    return list(ids[:cut]), list(ids[cut:])


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """Write tokenizer.json and tokenizer_config.json; the chat template goes into the latter."""
    tokenizer.save_pretrained(str(folder), save_jinja_files=False)
    path = Path(folder) / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    # transformers 5 writes the name its own base class has since then; this one is known to every version.
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


# -- learning --------------------------------------------------------------------------------------------------------


def _count(split: pre_tokenizers.PreTokenizer, documents: Iterable[tuple[str, str, str]], most: int) -> Counter[str]:
    """How often each piece of the documents counts: see `train_tokenizer`."""
    projects: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for project, path, text in documents:
        pieces = Counter(piece for piece, _ in split.pre_tokenize_str(text))
        projects[project][path] |= Counter({piece: min(number, most) for piece, number in pieces.items()})
    total: Counter[str] = Counter()
    for files in projects.values():
        in_project: Counter[str] = Counter()
        for pieces in files.values():
            in_project.update(pieces)
        for piece, number in in_project.items():
            total[piece] += number**0.5
    return total


def _repeat(counts: Counter[str]) -> Iterator[str]:
    for piece, number in counts.items():
        for _ in range(max(1, round(number * _SCALE))):
            yield piece


def _learn_phrases(
    vocab: dict[str, int], merges: list[tuple[str, str]], lines: Counter[str], vocab_size: int, longest: int
) -> None:
    """Append merges of whole tokens, in place, until the vocabulary is full.

    Each token of the vocabulary so far is written as one private character; then phrases are to tokens what words are
    to bytes, and the same trainer learns them.
    """
    tokens = sorted(vocab, key=vocab.__getitem__)
    if len(tokens) >= 0x10FFFE - _PRIVATE:
        raise ValueError(f"a vocabulary of {len(tokens)} entries is too large to grow")
    letters = [chr(_PRIVATE + index) for index in range(len(tokens))]
    encoder = _bpe(vocab, merges)
    encoder.encode_special_tokens = True
    splits = [token.isdigit() for token in tokens]
    encodings = zip(lines, encoder.encode_batch_fast(list(lines), add_special_tokens=False))
    phrases: Counter[str] = Counter()
    for line, encoding in encodings:
        text = "".join(" " if splits[index] else letters[index] for index in encoding.ids)
        for phrase in text.split():
            if len(phrase) > 1:
                phrases[phrase] += lines[line]
    learner = Tokenizer(models.BPE())
    learner.train_from_iterator(
        _repeat(phrases),
        trainers.BpeTrainer(
            vocab_size=vocab_size - len(vocab) + len(letters) + 1_000,  # some merges spell a token that is there
            min_frequency=_MIN_FREQUENCY * _SCALE,
            show_progress=False,
            max_token_length=longest,
            initial_alphabet=letters,
            limit_alphabet=len(letters),
        ),
    )
    for pair in _merges(learner):
        left, right = ("".join(tokens[ord(letter) - _PRIVATE] for letter in side) for side in pair)
        vocab.setdefault(left + right, len(vocab))
        merges.append((left, right))
        if len(vocab) == vocab_size:
            return
    raise ValueError(f"the text is too small for {vocab_size} entries: it gives {len(vocab)}; add text or want fewer")


def _make_whole(texts: Iterable[str], vocab: dict[str, int], merges: list[tuple[str, str]]) -> None:
    """Append what merges make each text one token, in place. They come last, so that all that was whole stays whole."""
    encoder = _bpe(vocab, merges)
    for text in texts:
        # One merge at a time, for it may apply twice: to both ends of `__MODULE__`.
        while len(pieces := encoder.encode(text, add_special_tokens=False).tokens) > 1:
            left, right = pieces[:2]
            vocab.setdefault(left + right, len(vocab))
            merges.append((left, right))
            encoder = _bpe(vocab, merges)


def _split(patterns: Sequence[str]) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns])


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    return [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def _bpe(vocab: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    digits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in _DIGITS]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*digits, _byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _as_pretrained(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """The tokenizer with its special tokens, `</s>` after every text, and what tokenizer_config.json tells a reader."""
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    eos = SPECIAL_TOKENS.index(EOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {EOS}", pair=f"$A {EOS} $B:1 {EOS}:1", special_tokens=[(EOS, eos)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        mask_token=MASK,
        extra_special_tokens=list(SPECIAL_TOKENS[5:]),
        model_max_length=MAX_LENGTH,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
        fim_template={
            "template": FIM_TEMPLATE,
            "prefix": FIM_PREFIX,
            "middle": FIM_MIDDLE,
            "suffix": FIM_SUFFIX,
            "pad": FIM_PAD,
            "order": ["prefix", "suffix", "middle"],
        },
        prompt_templates=PROMPTS,
        llama_cpp_pre_tokenizer=LLAMA_CPP_PRE_TOKENIZER,
    )
