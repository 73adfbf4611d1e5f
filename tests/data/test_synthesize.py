"""`data synthesize` writes the same verified exercises whatever the number of workers, each shape in one split."""

from __future__ import annotations

from pathlib import Path

import pytest

from elixir_coder.data.shards import read_manifest, read_shards
from elixir_coder.data.split import SPLITS
from elixir_coder.data.synthesis.diversity import identity, shape
from elixir_coder.data.synthesis.families import all_families
from elixir_coder.data.synthesize import Jobs, Plan, diversity_of, draft_of, synthesize
from elixir_coder.errors import RecipeError
from elixir_coder.example import Example


def examples_in(folder: Path) -> dict[str, list[Example]]:
    return {split: list(read_shards(folder, split)) for split in SPLITS if list(folder.glob(f"{split}-*"))}


@pytest.mark.elixir
def test_workers_change_nothing(tmp_path: Path):
    families = ["list", "text"]
    for workers in (1, 2):
        synthesize(16, tmp_path / str(workers), families=families, workers=workers, progress=False)
    written = [{path.name: path.read_bytes() for path in (tmp_path / str(at)).glob("*.parquet")} for at in (1, 2)]
    assert written[0] == written[1]
    examples = [each for split in examples_in(tmp_path / "1").values() for each in split]
    assert len(examples) > 25
    assert {each.path.partition("/")[0] for each in examples} == set(families)
    assert read_manifest(tmp_path / "1")["source"] == "synthesis"
    figures = str(diversity_of(tmp_path / "1"))
    assert figures.startswith(f"items: {len(examples)} (")
    assert "shapes (0 in two splits)" in figures


def test_a_shape_is_in_one_split_and_a_program_is_drawn_once():
    plan = Plan(300, 1, ["list", "number"])
    drawn = {split: list(Jobs(plan, split)) for split in SPLITS}
    assert sum(map(len, drawn.values())) == 300
    assert plan.dropped["duplicate program"] > 0
    codes = {split: [draft_of(job, 1).code for job in jobs] for split, jobs in drawn.items()}
    shapes = [{shape(code) for code in each} for each in codes.values()]
    assert not shapes[0] & shapes[1] and not shapes[0] & shapes[2] and not shapes[1] & shapes[2]
    programs = [identity(code) for each in codes.values() for code in each]
    assert len(set(programs)) == 300


def test_a_misspelt_family_is_named(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"no such family: lists; there are: .*list_of_atoms"):
        synthesize(1, tmp_path, families=["lists"])


def test_families_have_names_of_their_own():
    assert {"pipeline_records", "list", "text", "number"} <= all_families().keys()
