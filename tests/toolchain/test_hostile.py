"""Hostile programs end in the right class and in time, and leave nothing behind: a good program passes after each."""

import os
import shutil
import time
from pathlib import Path

import pytest

from elixir_coder.toolchain.sandbox import Limits
from elixir_coder.toolchain.toolchain import Toolchain
from tests.toolchain import hostile
from tests.toolchain.processes import descendants

pytestmark = [
    pytest.mark.elixir,
    pytest.mark.skipif(
        not shutil.which("bwrap"), reason="`bwrap` is not on the PATH; install it with: apt install bubblewrap"
    ),
]

# Small, so that what fills them is done soon.
LIMITS = Limits(memory_bytes=256 << 20, heap_bytes=64 << 20, atoms=150_000)
GRACE_S = 12.0  # beyond the deadline of a job, on a busy machine: to notice, to end the machine, to start another one


@pytest.fixture(scope="module")
def before():
    """Processes of other tests, such as multiprocessing's helper, which lives as long as this process."""
    return set(descendants())


@pytest.fixture(scope="module")
def toolchain(before):
    os.environ["HOSTILE_SECRET"] = "of the caller"
    with Toolchain(workers=1, limits=LIMITS) as toolchain:
        assert toolchain.test(hostile.GOOD_CODE, hostile.GOOD_TESTS).passed  # both machines are started
        yield toolchain
    del os.environ["HOSTILE_SECRET"]
    assert set(descendants()) <= before
    assert not [path for folder in (Path("/tmp"), Path.cwd(), Path.home()) for path in folder.glob("hostile*")]


def parameters(programs):
    return [
        pytest.param(program, id=program.name, marks=[pytest.mark.slow] if program.is_slow else [])
        for program in programs
    ]


@pytest.mark.parametrize("program", parameters(hostile.RESOURCES))
def test_a_hostile_program_ends_in_its_class_and_a_good_one_passes_after_it(toolchain, before, program):
    start = time.monotonic()
    report = toolchain.test(
        program.code,
        program.tests,
        guard=program.guard,
        timeout_s=program.deadline_s,
        test_timeout_s=60,
    )
    elapsed_s = time.monotonic() - start
    assert report.outcome in program.allowed, report
    assert elapsed_s < program.deadline_s + GRACE_S

    after = toolchain.test(hostile.GOOD_CODE, hostile.GOOD_TESTS)
    assert after.passed, after
    assert len(report.output) <= 64 * 1024
    # A parsing machine, an evaluating one, what starts programs for each, and four of bubblewrap's.
    until = time.monotonic() + GRACE_S
    while len(left := descendants().keys() - before) > 8:
        assert time.monotonic() < until, left
        time.sleep(0.02)
