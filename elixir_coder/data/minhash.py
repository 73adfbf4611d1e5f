"""datatrove's blocks for finding near-duplicates, over our shards: import it where datatrove is installed.

    sign     CorpusReader -> Signatures             as many tasks as there are machines for
    match    MinhashDedupBuckets                    one task for each bucket
    choose   MinhashDedupCluster -> Survivors       one task
    write    CorpusReader -> MinhashDedupFilter -> CorpusWriter     one task

`stages` gives them with the folders they share, which every machine has to see. Which files stay does not depend on how
many tasks sign, since each task takes the rows that follow those of the task before.

Method: Broder 1997, https://doi.org/10.1109/SEQUEN.1997.666900, and the prefix filter of Bayardo, Ma and Srikant 2007,
https://doi.org/10.1145/1242572.1242591
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import math
import struct
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy
from datatrove.data import Document
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.utils.word_tokenizers import WordTokenizer
from loguru import logger

from elixir_coder.data.clean import is_vendored_path
from elixir_coder.data.debian import version_key
from elixir_coder.data.lexemes import digest, lexemes, windows
from elixir_coder.data.shards import MANIFEST, count_of, read_manifest, read_shards, splits_of, write_shards
from elixir_coder.data.split import SPLITS
from elixir_coder.example import Example

NUM_HASHES = 128  # at most, of a signature
MISSED = 0.005  # of the pairs that are just as alike as the threshold asks for
_MOST_HASHES = 16  # per bucket: two sets that differ do not agree in as many
_HELD_OUT_FIRST = tuple(reversed(SPLITS))
_CHUNK = 2_048  # shingles hashed at once: with 128 hashes 2 MB, whatever the size of the file


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One job for an executor. tasks: how many its pipeline is made for."""

    name: str
    pipeline: list[PipelineStep]
    tasks: int


@dataclass(frozen=True, kw_only=True)
class Removal:
    """A file that goes. similarity: to the one that stays, `kept`: shingles in common, as a share of those of both."""

    row: int
    reason: str
    split: str
    package: str
    version: str
    path: str
    similarity: float
    kept: str


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file of a cluster. row: its place in the corpus. shingles: of its lexemes, sorted, each once."""

    split: str
    package: str
    version: str
    path: str
    digest: str
    row: int
    shingles: Any


def stages(
    corpus: Path, out: Path, work: Path, *, threshold: float, ngram: int, tasks: int, entry: Mapping[str, Any]
) -> list[Stage]:
    """The four stages, each to begin when the one before is done.

    work: a folder for what they hand on. tasks: of the first stage. entry: what the manifest says of the step.
    """
    num_buckets, hashes_per_bucket = bands(threshold)
    config = MinhashConfig(n_grams=ngram, num_buckets=num_buckets, hashes_per_bucket=hashes_per_bucket)
    names = ("code", "path", "package", "version", "kind")
    signatures, pairs, clusters, removed = (work / name for name in ("signatures", "pairs", "clusters", "removed"))
    return [
        Stage(
            name="sign",
            pipeline=[CorpusReader(corpus, columns=names), Signatures(str(signatures), work / "shingles", config)],
            tasks=tasks,
        ),
        Stage(
            name="match",
            pipeline=[MinhashDedupBuckets(str(signatures), str(pairs), config=config)],
            tasks=num_buckets,
        ),
        Stage(
            name="choose",
            pipeline=[
                MinhashDedupCluster(str(pairs), str(clusters), config=config, save_cluster_id=True),
                Survivors(clusters, work / "shingles", removed, threshold, tasks),
            ],
            tasks=1,
        ),
        Stage(
            name="write",
            pipeline=[
                CorpusReader(corpus),
                MinhashDedupFilter(str(removed)),
                CorpusWriter(corpus, out, removed, entry),
            ],
            tasks=1,
        ),
    ]


def bands(threshold: float) -> tuple[int, int]:
    """(buckets, hashes per bucket) of a signature.

    As many hashes per bucket as the budget allows (the fewer pairs are looked at in vain) while of the pairs at the
    threshold no more than `MISSED` share no bucket.
    """
    found = (1, 1)
    for hashes_per_bucket in range(1, NUM_HASHES):
        missed = 1 - threshold**hashes_per_bucket  # by one bucket
        buckets = 1 if missed <= 0 else math.ceil(math.log(MISSED) / math.log(missed))
        if buckets * hashes_per_bucket > NUM_HASHES or hashes_per_bucket > _MOST_HASHES:
            break
        found = (buckets, hashes_per_bucket)
    return found


def splits_in_order(corpus: Path) -> list[str]:
    """The splits that have shards, ours first."""
    return sorted(splits_of(corpus), key=lambda split: (SPLITS.index(split) if split in SPLITS else len(SPLITS), split))


class CorpusReader(PipelineStep):
    """A task's share of a corpus: rows that follow each other, one document each, from every split."""

    name = "elixir-coder shards"
    type = "reader"

    def __init__(self, corpus: Path, columns: Collection[str] | None = None) -> None:
        super().__init__()
        self.corpus, self.columns = corpus, columns

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        totals = {split: count_of(self.corpus, split) for split in splits_in_order(self.corpus)}
        first, last = (sum(totals.values()) * part // world_size for part in (rank, rank + 1))
        begins = 0
        for split, total in totals.items():
            start, end = (min(max(row - begins, 0), total) for row in (first, last))
            begins += total
            if start < end:
                examples = read_shards(self.corpus, split, columns=self.columns, start=start)
                for example in itertools.islice(examples, end - start):
                    yield Document(text=example.code, id=example.path, metadata={"split": split, "example": example})


class CorpusWriter(PipelineStep):
    """Writes what arrives as a corpus, with a manifest that tells of the step."""

    name = "elixir-coder shards"
    type = "writer"

    def __init__(self, corpus: Path, out: Path, removed: Path, entry: Mapping[str, Any]) -> None:
        super().__init__()
        self.corpus, self.out, self.removed, self.entry = corpus, out, removed, dict(entry)

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> None:
        waiting: list[Document] = []

        def of_split(split: str) -> Iterator[Example]:
            for document in itertools.chain(iter(waiting.copy()), data):
                waiting.clear()
                if document.metadata["split"] != split:
                    waiting.append(document)
                    return
                yield document.metadata["example"]

        splits = {split: of_split(split) for split in splits_in_order(self.corpus)}
        history = read_manifest(self.corpus) if (self.corpus / MANIFEST).exists() else {}
        dropped = Counter(removal.reason for removal in read_removals(self.removed))
        step = {**self.entry, "dropped": dict(sorted(dropped.items()))}
        write_shards(self.out, splits, {**history, "steps": [*history.get("steps", ()), step]})


class Signatures(MinhashDedupSignature):
    """datatrove's signatures of Elixir's lexemes; beside them the shingles themselves, for an exact comparison."""

    def __init__(self, output_folder: str, shingles: Path, config: MinhashConfig) -> None:
        super().__init__(output_folder, config=config, language=_Words())
        self.folder = shingles
        self._current: Any = None

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (
            open(self.folder / f"{rank:05d}.bin", "wb") as shingles,
            open(self.folder / f"{rank:05d}.jsonl", "w", encoding="utf-8") as documents,
        ):
            super().run(self._recorded(data, shingles, documents), rank, world_size)

    def get_shingles(self, text: str) -> Any:
        return self._current.reshape((-1, 1))

    def get_signature(self, shingles: Any) -> list[list[int]]:
        least = [super(Signatures, self).get_signature(part) for part in _parts(shingles)]
        return [[min(column) for column in zip(*bucket, strict=True)] for bucket in zip(*least, strict=True)]

    def _recorded(self, data: Any, shingles: Any, documents: Any) -> Iterator[Document]:
        start = 0
        for document in data:
            example: Example = document.metadata["example"]
            words = self.word_tokenizer.word_tokenize(document.text) if example.kind == "file" else []
            self._current = numpy.unique(windows(words, self.config.n_grams))
            self._current.astype("<u8").tofile(shingles)
            row = {
                "split": document.metadata["split"],
                "package": example.package,
                "version": example.version,
                "path": example.path,
                "digest": digest(words).hex(),
                "start": start,
                "count": len(self._current),
            }
            documents.write(json.dumps(row) + "\n")
            start += len(self._current)
            yield document


class Survivors(PipelineStep):
    """Of each cluster of candidates, the files that stay: none is as alike as the threshold to one that ranks before.

    Held-out splits rank before the others, code in its own place before vendored code, newer versions before older.
    """

    name = "survivors"
    type = "dedup"

    def __init__(self, clusters: Path, shingles: Path, removed: Path, threshold: float, tasks: int) -> None:
        super().__init__()
        self.clusters, self.shingles, self.removed = clusters, shingles, removed
        self.threshold, self.tasks = threshold, tasks

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        removals = sorted(
            (each for members in self._members() for each in removals_of(members, self.threshold)),
            key=lambda removal: removal.row,
        )
        self.removed.mkdir(parents=True, exist_ok=True)
        with open(self.removed / "removed.jsonl", "w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(asdict(removal), ensure_ascii=False) + "\n" for removal in removals)
        with open(self.removed / "000000.remove", "wb") as rows:  # for the filter, which reads all rows in one task
            rows.writelines(struct.pack("<I", removal.row) for removal in removals)

    def _members(self) -> Iterable[list[Member]]:
        clusters: dict[int, list[Member]] = defaultdict(list)
        begins = 0
        for task in range(self.tasks):
            cluster_of = _cluster_of(self.clusters / f"{task:06d}.clusters")
            shingles = _mapped(self.shingles / f"{task:05d}.bin")
            number = -1
            with open(self.shingles / f"{task:05d}.jsonl", encoding="utf-8") as lines:
                for number, line in enumerate(lines):
                    if number in cluster_of:
                        row = json.loads(line)
                        start, count = row.pop("start"), row.pop("count")
                        member = Member(**row, row=begins + number, shingles=shingles[start : start + count])
                        clusters[cluster_of[number]].append(member)
            begins += number + 1
        return clusters.values()


def removals_of(members: list[Member], threshold: float) -> Iterator[Removal]:
    """Those of a cluster that go, each for the one that stays and is most like it."""
    kept: list[Member] = []
    with_shingle: dict[int, list[int]] = defaultdict(list)  # in the prefixes of those that are kept
    for member in in_rank(members):
        # Two sets as alike as the threshold share one of the first few elements of both, in whatever order.
        prefix = member.shingles[: len(member.shingles) - math.ceil(threshold * len(member.shingles)) + 1].tolist()
        candidates = {number for shingle in prefix for number in with_shingle.get(shingle, ())}
        best = max(((similarity(member.shingles, kept[n].shingles), -n) for n in candidates), default=(0.0, 0))
        if best[0] < threshold or not candidates:
            for shingle in prefix:
                with_shingle[shingle].append(len(kept))
            kept.append(member)
            continue
        other = kept[-best[1]]
        yield Removal(
            row=member.row,
            reason=("duplicate" if member.digest == other.digest else "near-duplicate")
            + (" of held-out" if other.split != member.split else ""),
            split=member.split,
            package=member.package,
            version=member.version,
            path=member.path,
            similarity=round(best[0], 4),
            kept=f"{other.split}: {other.package} {other.version} {other.path}",
        )


def in_rank(members: Iterable[Member]) -> list[Member]:
    """The one to keep first."""
    members = list(members)
    versions: dict[str, list[str]] = defaultdict(list)
    for member in members:
        versions[member.package].append(member.version)
    age = {
        (package, version): number
        for package, those in versions.items()
        for number, version in enumerate(sorted(set(those), key=_version_order, reverse=True))
    }

    def rank(member: Member) -> tuple[Any, ...]:
        split = _HELD_OUT_FIRST.index(member.split) if member.split in _HELD_OUT_FIRST else len(_HELD_OUT_FIRST)
        is_copy = is_vendored_path(member.path)
        return split, is_copy, age[member.package, member.version], member.package, member.path, member.row

    return sorted(members, key=rank)


def similarity(left: Any, right: Any) -> float:
    """The Jaccard index of two sets, given as sorted arrays."""
    common = len(numpy.intersect1d(left, right, assume_unique=True))
    return common / (len(left) + len(right) - common)


def read_removals(folder: Path) -> Iterator[Removal]:
    """What `Survivors` decided, in the order of the corpus."""
    with open(folder / "removed.jsonl", encoding="utf-8") as lines:
        for line in lines:
            yield Removal(**json.loads(line))


class LocalExecutor(LocalPipelineExecutor):
    """datatrove's executor for one machine, which logs to files and not to the terminal."""

    def run(self) -> Any:
        logger.disable("datatrove.executor.local")
        with contextlib.redirect_stderr(io.StringIO()) if self.workers == 1 else contextlib.nullcontext():
            return super().run()  # a block draws a bar of its own

    def _launch_run_for_rank(self, *args: Any, **options: Any) -> Any:
        logger.disable("datatrove.executor.local")
        return super()._launch_run_for_rank(*args, **options)

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> Any:
        return super()._run_for_rank(rank, local_rank + 1, node_rank)  # rank 0 would print


def run_locally(stage: Stage, logs: Path, workers: int, resume: bool) -> None:
    """Carry out one stage on this machine."""
    LocalExecutor(
        stage.pipeline,
        tasks=stage.tasks,
        workers=min(workers, stage.tasks),
        logging_dir=str(logs / stage.name),
        skip_completed=resume,
    ).run()


class _Words(WordTokenizer):
    """Elixir's lexemes for datatrove, which has no other tokenizer for it."""

    def word_tokenize(self, text: str) -> list[str]:
        return lexemes(text)

    def sent_tokenize(self, text: str) -> list[str]:
        return text.splitlines()

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        raise NotImplementedError("signatures ask for no spans")


def _parts(shingles: Any) -> Iterator[Any]:
    for start in range(0, len(shingles), _CHUNK):
        yield shingles[start : start + _CHUNK]


def _cluster_of(path: Path) -> dict[int, int]:
    content = path.read_bytes() if path.exists() else b""
    return dict(struct.iter_unpack("<2I", content))


def _mapped(path: Path) -> Any:
    return numpy.memmap(path, dtype="<u8", mode="r") if path.stat().st_size else numpy.empty(0, dtype="<u8")


def _version_order(version: str) -> tuple[Any, ...]:
    """`1.0.0-rc.1` comes before `1.0.0`, which Debian writes with a tilde; a branch or a word before any number."""
    number = version.removeprefix("v")
    if not number[:1].isdigit():
        return (-1,)
    hyphen = number.find("-")
    is_candidate = hyphen >= 0 and number[hyphen + 1 : hyphen + 2].isalpha()
    try:
        return version_key(number.replace("-", "~", 1) if is_candidate else number)
    except ValueError:  # an epoch that is none
        return (-1,)
