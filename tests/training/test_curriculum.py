import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.errors import RecipeError
from elixir_coder.tasks import registry
from elixir_coder.training.curriculum import PHASES, TIERS, Curriculum

SHARES = {"complete": 2.0, "document": 1.0, "write_tests": 1.0, "quality": 4.0}


def curriculum(**changes):
    settings = {"shares": SHARES, "steps": 400, "starts": (0.25, 0.5, 0.75), "ramp_steps": 10}
    return Curriculum(**settings | changes)


def test_every_task_has_a_phase():
    assert sorted(task for tasks in PHASES.values() for task in tasks) == sorted(registry.TASKS)


def test_without_phases_everything_is_there_from_the_first_step():
    plain = curriculum(starts=())

    assert (
        plain.shares_at(1)
        == plain.shares_at(400)
        == pytest.approx({"complete": 0.25, "document": 0.125, "write_tests": 0.125, "quality": 0.5})
    )
    assert plain.tier_at("quality", 1) == TIERS
    assert not any(plain.transitions(step) for step in range(1, 401))


def test_tasks_join_at_their_phase_with_a_tenth_and_are_ramped_up():
    joining = curriculum()

    assert joining.shares_at(100) == {"complete": 1.0}
    assert joining.shares_at(101) == pytest.approx({"complete": 2 / 2.1, "document": 0.1 / 2.1})
    assert joining.shares_at(106) == pytest.approx({"complete": 2 / 2.55, "document": 0.55 / 2.55})
    assert joining.shares_at(111) == pytest.approx({"complete": 2 / 3, "document": 1 / 3})
    assert set(joining.shares_at(301)) == set(SHARES)


@given(st.integers(1, 400), st.integers(0, 50))
def test_shares_add_up_to_one(step, ramp_steps):
    assert sum(curriculum(ramp_steps=ramp_steps).shares_at(step).values()) == pytest.approx(1)


def test_what_begins_is_told_once():
    told = {step: said for step in range(1, 401) if (said := curriculum().transitions(step))}

    assert told[1] == ["phase 1 (code) begins: complete"]
    assert told[101] == ["phase 2 (simple ontology) begins: document"]
    assert told[201] == ["phase 3 (full ontology and tests) begins: write_tests"]
    assert told[301] == ["phase 4 (all) begins: quality"]
    assert [said for step, (said, *_) in told.items() if step > 301] == [
        f"quality: rules of tier {tier} begin" for tier in (2, 3, 4)
    ]


def test_rules_grow_harder_until_half_of_what_is_left():
    tiers = [curriculum().tier_at("quality", step) for step in range(301, 401)]

    assert tiers == sorted(tiers)
    assert (tiers[0], tiers[48], tiers[49], tiers[-1]) == (1, 3, 4, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"starts": (0.5,)}, "--phase_starts takes 3 growing shares of the steps, e.g. 0.25 0.5 0.75; got 0.5"),
        ({"starts": (0.5, 0.2, 0.7)}, "growing shares"),
        ({"shares": {"quality": 1.0}}, "none of the tasks begins in the first phase; give one of denoise, infill"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(changes, message):
    with pytest.raises(RecipeError, match=message):
        curriculum(**changes)
