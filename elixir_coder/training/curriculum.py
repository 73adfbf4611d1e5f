"""What is trained on when: tasks that join in phases, and judgements that grow harder.

Code alone comes first, then code with what is known of it in words, then with knowledge in its place and with tests,
then everything. A task that joins later is ramped up from a tenth of its share, so that what was learnt is not washed
away. Everything is a pure function of the step, so that a run that goes on needs no state.

Method: curricula of Bengio et al. 2009, https://doi.org/10.1145/1553374.1553380
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from elixir_coder.errors import RecipeError

PHASES: Mapping[str, tuple[str, ...]] = {
    "code": (
        *("denoise", "infill", "complete", "causal", "tag_identifiers", "mask_identifiers"),
        *("flow_edges", "flow_alignment"),
    ),
    "simple ontology": ("annotated_text", "document"),
    "full ontology and tests": ("annotated", "ontology", "write_tests", "implement"),
    "all": (
        *("generate", "converse", "explain", "repair", "quality", "security", "clarify"),
        *("retrieve", "match"),
    ),
}
TIERS = 4  # of the difficulty of rules: `tier` of tasks/quality.py
TIERED = ("quality", "security")  # the tasks whose examples have them
_FIRST_SHARE = 0.1  # of its share, that a task joins with


@dataclass(frozen=True)
class Curriculum:
    """Shares of tasks by step.

    shares: of each task once all of them take part; they are brought to a sum of 1. steps: of the run. starts: where
    the second, third and fourth phase begin, as shares of the steps; () for everything from the first step on.
    ramp_steps: until a task that joins has its whole share.
    """

    shares: Mapping[str, float]
    steps: int
    starts: tuple[float, ...] = ()
    ramp_steps: int = 0

    def __post_init__(self) -> None:
        if not self.starts:
            return
        if len(self.starts) != len(PHASES) - 1 or list(self.starts) != sorted(self.starts):
            raise RecipeError(
                f"--phase_starts takes {len(PHASES) - 1} growing shares of the steps, e.g. 0.25 0.5 0.75; "
                f"got {' '.join(map(str, self.starts))}"
            )
        if not any(self.first_step(task) == 1 for task in self.shares):
            raise RecipeError(
                f"--phase_starts: none of the tasks begins in the first phase; give one of {', '.join(PHASES['code'])}"
            )

    def first_step(self, task: str) -> int:
        """The step from which a task takes part, from 1."""
        if not self.starts:
            return 1
        phase = next((number for number, tasks in enumerate(PHASES.values()) if task in tasks), len(PHASES) - 1)
        return 1 + (round(self.starts[phase - 1] * self.steps) if phase else 0)

    def shares_at(self, step: int) -> dict[str, float]:
        """Share of each task that takes part in a step; they add up to 1."""
        weighed = {task: share * self._ramp(task, step) for task, share in self.shares.items()}
        total = sum(weighed.values())
        return {task: weight / total for task, weight in weighed.items() if weight > 0}

    def tier_at(self, task: str, step: int) -> int:
        """The hardest tier of examples a task is given: 1 when it begins, all of them at half of what is left."""
        if not self.starts:
            return TIERS
        first = self.first_step(task)
        opening = max(1, (self.steps - first) // 2)
        return min(TIERS, 1 + (step - first) * (TIERS - 1) // opening)

    def transitions(self, step: int) -> list[str]:
        """What begins with a step, in words."""
        if not self.starts:
            return []
        said = []
        for number, (name, tasks) in enumerate(PHASES.items(), start=1):
            joining = [task for task in self.shares if task in tasks and self.first_step(task) == step]
            if joining:
                said.append(f"phase {number} ({name}) begins: {', '.join(joining)}")
        for task in TIERED:
            tier = self.tier_at(task, step)
            if task in self.shares and step > self.first_step(task) and tier > self.tier_at(task, step - 1):
                said.append(f"{task}: rules of tier {tier} begin")
        return said

    def _ramp(self, task: str, step: int) -> float:
        first = self.first_step(task)
        if step < first:
            return 0.0
        if first == 1 or step >= first + self.ramp_steps:
            return 1.0
        return _FIRST_SHARE + (1 - _FIRST_SHARE) * (step - first) / self.ramp_steps
