from collections import Counter

import pytest

from elixir_coder.data.cleaning import Clean, clean_corpus
from elixir_coder.data.shards import read_manifest, read_shards, write_shards
from tests.data.debian_archive import example

GOOD = "defmodule A do\n  def b, do: 1\nend\n"
ADDRESSED = GOOD + "# written by anna.muster@uni-hamburg.de\n"

pytestmark = pytest.mark.elixir


def test_a_corpus_is_filtered_scrubbed_and_parsed(tmp_path):
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    broken = example("defmodule A do\n  def b(, do: 1\nend\n", "lib/broken.ex")
    guide = example("# Not Elixir (\n\n```elixir\n1 +\n```\n", "guides/a.md")
    files = [example(GOOD), example(ADDRESSED, "lib/b.ex"), broken, guide, example(GOOD, "deps/x/lib/x.ex")]
    write_shards(corpus, {"train": files}, {"source": "test"})

    report = clean_corpus(corpus, out, workers=1)

    kept = list(read_shards(out, "train"))
    assert [each.path for each in kept] == ["lib/a.ex", "lib/b.ex", "guides/a.md"]
    assert "anna" not in kept[1].code and len(kept[1].code) == len(ADDRESSED)
    assert report.dropped == {"does not parse": 1, "vendored": 1, "(scrubbed) e-mail address": 1}
    step = read_manifest(out)["steps"][-1]
    assert step["name"] == "clean" and step["settings"]["elixir"].count(".") == 2


def test_parser_and_scrubbing_can_be_left_out():
    step = Clean(scrubs=False, parses=False)
    files = [example("def b(, do: 1, 2, 3, 4", "lib/broken.ex"), example(ADDRESSED)]

    assert step(files, Counter()) == files
    step.close()
