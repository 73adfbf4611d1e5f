import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from elixir_coder.data.shards import read_manifest, read_shards, write_shards
from elixir_coder.data.steps import UNFINISHED, produce, transform
from elixir_coder.errors import DataError, InputError
from elixir_coder.example import Label
from tests.data.debian_archive import example

ROOT = Path(__file__).parents[2]


class Upcase:
    """A step: drops each example whose text has the word `drop`, and labels the others with their length."""

    def __init__(self, suffix: str = "") -> None:
        self.suffix = suffix

    def __call__(self, examples, dropped):
        dropped["asked for"] += sum("drop" in each.code for each in examples)
        return [
            replace(
                each, code=each.code.upper() + self.suffix, labels=(Label(tool="t", check="c", line=len(each.code)),)
            )
            for each in examples
            if "drop" not in each.code
        ]

    def close(self):
        pass


class Failing(Upcase):
    """Ends as it is told to when it meets `x = 70`, unless a file says that this has happened."""

    def __init__(self, how: str, mark: Path) -> None:
        super().__init__()
        self.how, self.mark = how, mark

    def __call__(self, examples, dropped):
        if any(each.code == "x = 70" for each in examples) and not self.mark.exists():
            self.mark.touch()
            if self.how == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            raise DataError("no tool at hand") if self.how == "raise" else ZeroDivisionError("a fault")
        return super().__call__(examples, dropped)

    def close(self):
        self.mark.with_suffix(f".closed-{os.getpid()}").touch()


class Squares:
    """A step on numbers."""

    def __call__(self, jobs, dropped):
        dropped["odd"] += sum(job % 2 for job in jobs)
        return [example(f"x = {job * job}") for job in jobs if job % 2 == 0]

    def close(self):
        pass


@pytest.fixture
def corpus(tmp_path):
    train = [example(f"x = {number}" + "  # drop" * (number % 10 == 3)) for number in range(150)]
    write_shards(tmp_path / "corpus", {"train": train, "test": train[:5]}, {"source": "folder"}, shard_bytes=700)
    return tmp_path / "corpus"


def step_through(corpus, out, make=Upcase, **options):
    settings = {"name": "upcase", "settings": {"suffix": ""}, "batch_size": 4, "shard_bytes": 600} | options
    return transform(corpus, out, make, **settings)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_a_step_is_taken_through_every_split_and_counts_what_it_drops(corpus, tmp_path):
    report = step_through(corpus, tmp_path / "out", workers=1)

    assert report.dropped == {"asked for": 16}
    assert {split: count["num_examples"] for split, count in report.splits.items()} == {"train": 135, "test": 4}
    assert [each.code for each in read_shards(tmp_path / "out", "test")] == ["X = 0", "X = 1", "X = 2", "X = 4"]
    assert next(read_shards(tmp_path / "out")).labels == (Label(tool="t", check="c", line=5),)
    assert str(report).startswith("train: 135 examples, 0.00 MB of code, 1")
    assert "dropped: asked for 16" in str(report)


def test_any_number_of_workers_writes_the_same_bytes(corpus, tmp_path):
    for workers in (1, 2, 3):
        step_through(corpus, tmp_path / str(workers), workers=workers)

    assert contents(tmp_path / "1") == contents(tmp_path / "2") == contents(tmp_path / "3")
    assert len(contents(tmp_path / "1")) > 10


def test_the_manifest_keeps_the_history_of_the_corpus(corpus, tmp_path):
    first = step_through(corpus, tmp_path / "one", workers=1)
    second = step_through(tmp_path / "one", tmp_path / "two", workers=1, name="again", settings={"file": Path("a/b")})

    manifest = read_manifest(tmp_path / "two")
    assert manifest["source"] == "folder"
    assert manifest["splits"] == second.splits
    assert [(step["name"], step["settings"], step["dropped"]) for step in manifest["steps"]] == [
        ("upcase", {"suffix": ""}, {"asked for": 16}),
        ("again", {"file": "a/b"}, {}),
    ]
    assert manifest["steps"][0]["splits"] == first.splits


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_failed_goes_on_after_its_last_whole_shard(corpus, tmp_path, workers):
    whole = step_through(corpus, tmp_path / "whole", workers=1)
    make = partial(Failing, "raise", tmp_path / "mark")
    with pytest.raises(DataError, match="no tool at hand"):
        step_through(corpus, tmp_path / "out", make, workers=workers)
    kept = contents(tmp_path / "out" / UNFINISHED)
    assert {"train-00000.part", "train-00001.part", "progress.json"} <= set(kept)
    assert not list((tmp_path / "out").glob("*.parquet"))

    report = step_through(corpus, tmp_path / "out", make, workers=workers, resume=True)

    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert (report.splits, report.dropped) == (whole.splits, whole.dropped)


def test_what_is_in_whole_shards_is_not_done_again(corpus, tmp_path):
    with pytest.raises(DataError):
        step_through(corpus, tmp_path / "out", partial(Failing, "raise", tmp_path / "mark"), workers=1)
    first = tmp_path / "out" / UNFINISHED / "train-00000.part"
    before = first.stat()

    step_through(corpus, tmp_path / "out", partial(Failing, "raise", tmp_path / "mark"), workers=1, resume=True)

    after = next((tmp_path / "out").glob("train-00000-*")).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_worker_that_dies_names_its_batch(corpus, tmp_path):
    make = partial(Failing, "die", tmp_path / "mark")
    told = r"upcase: a worker was ended by SIGKILL on batch 17 of split train \(4 jobs, the first: a 1 lib/a.ex\)"
    with pytest.raises(DataError, match=told):
        step_through(corpus, tmp_path / "out", make, workers=2)

    step_through(corpus, tmp_path / "out", make, workers=2, resume=True)

    step_through(corpus, tmp_path / "whole", workers=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_fault_in_a_worker_says_where_it_happened_and_every_step_is_closed(corpus, tmp_path):
    with pytest.raises(ZeroDivisionError, match="a fault") as caught:
        step_through(corpus, tmp_path / "out", partial(Failing, "fault", tmp_path / "mark"), workers=2)

    assert "test_steps.py" in "".join(caught.value.__notes__)
    assert len(list(tmp_path.glob("mark.closed-*"))) == 2


def test_a_resume_with_other_settings_is_refused(corpus, tmp_path):
    with pytest.raises(DataError):
        step_through(corpus, tmp_path / "out", partial(Failing, "raise", tmp_path / "mark"), workers=1)

    with pytest.raises(DataError, match=r"begun otherwise \(settings: \{'suffix': ''\}, now \{'suffix': '!'\}\)"):
        step_through(corpus, tmp_path / "out", workers=1, resume=True, settings={"suffix": "!"})
    write_shards(corpus, {"train": [example("x = 1")]}, {})
    with pytest.raises(DataError, match="the corpus is another one"):
        step_through(corpus, tmp_path / "out", workers=1, resume=True)


def test_a_damaged_progress_file_is_an_error_naming_it(corpus, tmp_path):
    with pytest.raises(DataError):
        step_through(corpus, tmp_path / "out", partial(Failing, "raise", tmp_path / "mark"), workers=1)
    (tmp_path / "out" / UNFINISHED / "progress.json").write_text("{")

    with pytest.raises(DataError, match=r"progress\.json cannot be read .* begin anew without --resume"):
        step_through(corpus, tmp_path / "out", workers=1, resume=True)


def test_a_resume_of_what_is_finished_does_nothing(corpus, tmp_path):
    first = step_through(corpus, tmp_path / "out", workers=1)

    again = step_through(corpus, tmp_path / "out", partial(Failing, "raise", tmp_path / "mark"), workers=1, resume=True)

    assert (again.splits, again.dropped, again.seconds) == (first.splits, first.dropped, 0)
    assert not (tmp_path / "mark").exists()


def test_without_resume_a_run_begins_anew_and_replaces_the_corpus_at_its_end(corpus, tmp_path):
    write_shards(tmp_path / "out", {"validation": [example()]}, {"run": 1})
    with pytest.raises(DataError):
        step_through(corpus, tmp_path / "out", partial(Failing, "raise", tmp_path / "mark"), workers=1)
    assert list(read_shards(tmp_path / "out", "validation")) == [example()]

    step_through(corpus, tmp_path / "out", partial(Upcase, "!"), workers=1, settings={"suffix": "!"})

    assert next(read_shards(tmp_path / "out", "train")).code == "X = 0!"
    assert not [
        path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(("train", "test", "data"))
    ]


def test_jobs_of_any_kind_become_a_corpus(tmp_path):
    jobs = {"train": range(40), "test": iter(range(3))}
    report = produce(
        jobs, tmp_path, Squares, name="squares", settings={}, workers=1, batch_size=7, manifest={"source": "synthesis"}
    )

    assert [each.code for each in read_shards(tmp_path, "test")] == ["x = 0", "x = 4"]
    assert report.dropped == {"odd": 21}
    assert read_manifest(tmp_path)["source"] == "synthesis"


def test_a_split_of_which_nothing_is_left_has_no_shards(tmp_path):
    report = produce({"train": range(4), "test": [1, 3]}, tmp_path, Squares, name="squares", settings={}, workers=1)

    assert report.splits["test"] == {"num_examples": 0, "num_bytes": 0, "num_shards": 0}
    assert not list(tmp_path.glob("test-*"))


def test_a_step_that_keeps_nothing_is_an_error_with_the_reasons(tmp_path):
    with pytest.raises(DataError, match=r"no example was kept \(dropped: odd 2\)"):
        produce({"train": [1, 3]}, tmp_path, Squares, name="squares", settings={}, workers=1)


def test_the_corpus_itself_is_no_place_for_the_result(corpus):
    with pytest.raises(InputError, match="is the corpus itself"):
        step_through(corpus, corpus / ".." / "corpus")


def test_a_corpus_that_is_not_there_is_an_error_that_says_how_to_make_it(tmp_path):
    with pytest.raises(DataError, match="collect one with"):
        step_through(tmp_path / "nowhere", tmp_path / "out")


def test_fewer_than_one_worker_is_refused(corpus, tmp_path):
    with pytest.raises(InputError, match="--workers and the batch size must be 1 or more, got 0"):
        step_through(corpus, tmp_path / "out", workers=0)


class Slow:
    """A step that says that it runs, by a file named after its process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, jobs, dropped):
        (self.folder / f"running-{os.getpid()}").touch()
        if jobs[0] > 4:
            time.sleep(60)
        return Squares()(jobs, Counter())

    def close(self):
        (self.folder / f"running-{os.getpid()}").unlink()


INTERRUPTED = """
import sys
from functools import partial
from pathlib import Path
from elixir_coder.data.steps import produce
from tests.data.test_steps import Slow
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    produce({"train": range(100)}, folder / "out", partial(Slow, folder), name="slow", settings={}, workers=2,
            batch_size=2, shard_bytes=1)
"""


def test_ctrl_c_ends_the_workers_and_keeps_whole_shards(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    running = subprocess.Popen(
        [sys.executable, script, tmp_path],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    shard = tmp_path / "out" / UNFINISHED / "train-00002.part"
    deadline = time.monotonic() + 60
    while not shard.exists() or len(list(tmp_path.glob("running-*"))) < 2:
        assert running.poll() is None and time.monotonic() < deadline, running.stderr.read()
        time.sleep(0.02)
    workers = [int(path.name.partition("-")[2]) for path in tmp_path.glob("running-*")]

    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: everybody in the foreground
    _, stderr = running.communicate(timeout=60)

    assert stderr.count("Traceback") == 1, stderr  # the parent's own
    assert "KeyboardInterrupt" in stderr
    assert not list(tmp_path.glob("running-*"))  # both steps were closed
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]
    assert shard.exists()
