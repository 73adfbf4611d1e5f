import itertools
import json
import random
from functools import lru_cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elixir_coder.data.duplicates import WORK, drop_duplicates, entry_of, prepare
from elixir_coder.data.lexemes import lexemes
from elixir_coder.data.shards import read_manifest, read_shards, write_shards
from elixir_coder.errors import DataError, InputError, RecipeError
from tests.data.debian_archive import example

minhash = pytest.importorskip("elixir_coder.data.minhash")


def program(name, num=12):
    """A module with functions of its own."""
    functions = "".join(
        f"  def {name}_{n}(value, {name}), do: Map.put({name}, :{name}{n}, value * {n} + {len(name)})\n"
        for n in range(num)
    )
    return f"defmodule {name.title()} do\n  @moduledoc false\n{functions}end\n"


def members(examples):
    """What `Survivors` reads of examples: (split, example) pairs."""
    rows = []
    for row, (split, each) in enumerate(examples):
        words = lexemes(each.code)
        shingles = minhash.numpy.unique(minhash.windows(words, 5))
        named = {"package": each.package, "version": each.version, "path": each.path}
        rows.append(minhash.Member(split=split, **named, digest=str(words), row=row, shingles=shingles))
    return rows


@lru_cache
def windows_of(code):
    words = lexemes(code)
    return frozenset(tuple(words[n : n + 5]) for n in range(max(1, len(words) - 4)))


def exact_jaccard(left, right):
    """The oracle: of sets of tuples, without a hash."""
    return len(windows_of(left) & windows_of(right)) / len(windows_of(left) | windows_of(right))


@pytest.fixture
def corpus(tmp_path):
    """Two versions of a package and one held out, with something to find for every reason."""
    alpha, beta, gamma = program("alpha"), program("beta"), program("gamma")
    train = [
        example(alpha, "lib/alpha.ex", version="1.0.0"),
        example(beta, "lib/beta.ex", version="1.0.0"),
        example(alpha.replace("alpha0", "first"), "lib/alpha.ex", version="1.1.0"),
        example("# a comment\n" + beta.replace(", ", ","), "lib/beta_copy.ex", version="1.0.0"),
        example(gamma.replace("gamma3", "third"), "lib/gamma.ex", version="1.0.0"),
        example(program("delta"), "lib/delta.ex", version="1.1.0"),
        example(alpha, "lib/alpha.ex", version="1.0.0", package="z"),
    ]
    test = [example(gamma, "lib/gamma.ex", package="held_out")]
    write_shards(tmp_path / "corpus", {"train": train, "test": test}, {"source": "made for a test"})
    return tmp_path / "corpus"


def test_of_near_duplicates_the_held_out_and_the_newer_stay(corpus, tmp_path):
    out, pairs = tmp_path / "out", tmp_path / "pairs.jsonl"

    report = drop_duplicates(corpus, out, workers=1, pairs=pairs)

    kept = [(each.package, each.version, each.path) for each in read_shards(out, "train")]
    assert kept == [("a", "1.0.0", "lib/beta.ex"), ("a", "1.1.0", "lib/alpha.ex"), ("a", "1.1.0", "lib/delta.ex")]
    assert len(list(read_shards(out, "test"))) == 1
    assert report.dropped == {"near-duplicate": 2, "duplicate": 1, "near-duplicate of held-out": 1}
    assert (report.num_clusters, report.largest) == (3, 2)
    assert not (out / WORK).exists()
    step = read_manifest(out)["steps"][-1]
    assert step["name"] == "duplicates" and step["dropped"] == dict(report.dropped)
    lines = [json.loads(line) for line in pairs.read_text().splitlines()]
    assert [line["similarity"] == 1 for line in lines] == [line["reason"] == "duplicate" for line in lines]
    assert lines[-2]["kept"] == "test: held_out 1 lib/gamma.ex"


def test_several_tasks_write_the_same_bytes_as_one(corpus, tmp_path):
    written = []
    for tasks in (1, 3):
        out = tmp_path / f"out{tasks}"
        entry = entry_of(corpus, prepare(corpus, out, threshold=0.8, ngram=5, resume=False))
        stages = minhash.stages(corpus, out, out / WORK, threshold=0.8, ngram=5, tasks=tasks, entry=entry)
        for stage in stages:
            minhash.run_locally(stage, out / WORK / "logs", 1, resume=False)
        written.append({path.name: path.read_bytes() for path in out.glob("*.*") if path.is_file()})

    assert written[0] == written[1]
    assert len(written[0]) == 3


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_the_exact_comparison_decides(data):
    names = data.draw(st.lists(st.sampled_from(["alpha", "beta", "gamma"]), min_size=2, max_size=6))
    codes = []
    for number, name in enumerate(names):
        lines = program(name).splitlines(keepends=True)
        for line in data.draw(st.lists(st.integers(2, len(lines) - 2), max_size=3)):
            lines[line] = lines[line].replace("value", f"other{number}")
        codes.append("".join(lines))
    files = [("train", example(code, f"lib/{number}.ex")) for number, code in enumerate(codes)]

    gone = {removal.row: removal for removal in minhash.removals_of(members(files), 0.8)}

    kept = [row for row in range(len(codes)) if row not in gone]
    assert all(exact_jaccard(codes[a], codes[b]) < 0.8 for a, b in itertools.combinations(kept, 2))
    for row, removal in gone.items():
        best = max(exact_jaccard(codes[row], codes[other]) for other in kept)
        assert best >= 0.8 and abs(removal.similarity - best) < 1e-4


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 0.95])
def test_a_pair_at_the_threshold_is_hardly_ever_missed(threshold):
    buckets, hashes = minhash.bands(threshold)

    assert (1 - threshold**hashes) ** buckets <= 0.005
    assert buckets * hashes <= 128


def test_signatures_agree_as_often_as_the_files_are_alike(tmp_path):
    block = minhash.Signatures(
        str(tmp_path / "out"), tmp_path, minhash.MinhashConfig(num_buckets=128, hashes_per_bucket=1)
    )
    codes = [program("alpha", 60), program("alpha", 60).replace("value", "other", 40)]
    shingles = [member.shingles.reshape((-1, 1)) for member in members(("train", example(code)) for code in codes)]

    left, right = map(block.get_signature, shingles)
    agreeing = sum(a == b for a, b in zip(left, right, strict=True)) / 128

    assert abs(agreeing - exact_jaccard(*codes)) < 0.15  # three standard deviations of 128 hashes


def test_versions_are_ordered_as_their_authors_meant():
    versions = ["1.10.0", "1.9.0", "1.10.0-rc.1", "1.14.0.dfsg-2", "main"]
    files = [("train", example(version=version)) for version in versions]

    ranked = [member.version for member in minhash.in_rank(members(files))]

    assert ranked == ["1.14.0.dfsg-2", "1.10.0", "1.10.0-rc.1", "1.9.0", "main"]


def test_vendored_copies_rank_last():
    files = [
        ("train", example(path="vendor/b/lib/b.ex", package="a")),
        ("train", example(path="lib/b.ex", package="b")),
    ]

    assert [member.package for member in minhash.in_rank(members(files))] == ["b", "a"]


def test_other_kinds_than_files_all_stay(tmp_path):
    functions = [example(program("alpha"), f"lib/{n}.ex", kind="function") for n in range(3)]
    write_shards(tmp_path / "corpus", {"train": functions}, {})

    report = drop_duplicates(tmp_path / "corpus", tmp_path / "out", workers=1)

    assert report.splits["train"]["num_examples"] == 3


def test_minhash_finds_what_comparing_all_pairs_finds(tmp_path):
    dice = random.Random(3)
    codes = []
    for number in range(120):  # ten families; renamed variables and changed lines, from one line to most
        lines = program(f"family{number % 10}x").splitlines(keepends=True)
        for line in dice.sample(range(2, 14), dice.choice([0, 1, 1, 2, 3, 5, 9])):
            lines[line] = lines[line].replace(dice.choice(["value", "Map", "put", "family"]), f"other{number}")
        codes.append("".join(lines))
    files = [example(code, f"lib/{number:03d}.ex") for number, code in enumerate(codes)]
    write_shards(tmp_path / "corpus", {"train": files}, {})
    expected: list[str] = []
    for code in codes:
        if all(exact_jaccard(code, other) < 0.8 for other in expected):
            expected.append(code)

    drop_duplicates(tmp_path / "corpus", tmp_path / "out", workers=1)

    assert [each.code for each in read_shards(tmp_path / "out", "train")] == expected
    assert 20 < len(expected) < 100


def test_an_interrupted_run_goes_on_with_the_stage_it_was_in(corpus, tmp_path, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "out"
    drop_duplicates(corpus, whole, workers=1)
    write = minhash.CorpusWriter.run
    monkeypatch.setattr(minhash.CorpusWriter, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        drop_duplicates(corpus, out, workers=1)
    monkeypatch.setattr(minhash.CorpusWriter, "run", write)
    monkeypatch.setattr(minhash.Signatures, "run", interrupted)

    drop_duplicates(corpus, out, workers=1, resume=True)

    for path in whole.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()


def interrupted(*_):
    raise KeyboardInterrupt


def test_wrong_settings_are_refused(corpus, tmp_path):
    with pytest.raises(RecipeError, match="--threshold"):
        drop_duplicates(corpus, tmp_path / "out", threshold=1.5)
    with pytest.raises(InputError, match="is the corpus itself"):
        drop_duplicates(corpus, corpus)
    with pytest.raises(DataError, match="no shards"):
        drop_duplicates(tmp_path, tmp_path / "out")
    prepare(corpus, tmp_path / "out", threshold=0.8, ngram=5, resume=False)
    with pytest.raises(DataError, match="other settings"):
        drop_duplicates(corpus, tmp_path / "out", threshold=0.9, resume=True)
