"""The pool with real workers, unconfined and unguarded, so that jobs can do to them what they like."""

import asyncio
import os
import random
import signal
import time
from contextlib import asynccontextmanager, suppress

import pytest

from elixir_coder.errors import ElixirCoderError, MissingDependencyError
from elixir_coder.toolchain.pool import Pool
from elixir_coder.toolchain.sandbox import Limits, NoSandbox
from elixir_coder.toolchain.worker import Worker
from tests.toolchain.processes import are_gone, descendants, machines

pytestmark = pytest.mark.elixir

LIMITS = Limits()


@pytest.fixture(autouse=True)
def nothing_is_left():
    before = set(descendants())
    yield
    assert are_gone(set(descendants()) - before)


@asynccontextmanager
async def pool_of(size, *, limits=LIMITS, max_jobs=1_000, max_atoms=200_000, max_busy_s=1_000.0):
    pool = Pool(
        lambda: Worker.start(NoSandbox(limits), limits=limits, evaluates=True),
        size=size,
        max_jobs=max_jobs,
        max_atoms=max_atoms,
        max_busy_s=max_busy_s,
    )
    try:
        yield pool
    finally:
        await pool.close()


def running(code):
    """A job that evaluates this while it compiles; what it prints comes back as its output."""
    return "compile", {"files": [["a.ex", code]], "guard": False}


PID = running("IO.write(System.pid())")
FOREVER = running("Process.sleep(:infinity)")


async def run(pool, job, *, deadline_s=20.0, **options):
    return await pool.run(*job, deadline_s=deadline_s, **options)


async def output_of(pool, job, **options):
    answer = await run(pool, job, **options)
    assert answer.result["outcome"] == "ok", answer
    return answer.result["output"]


async def until(condition, within_s=10.0):
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        await asyncio.sleep(0.005)


def test_no_more_workers_than_slots_and_each_is_used_again():
    async def main():
        async with pool_of(2) as pool:
            pids = await asyncio.gather(*(output_of(pool, PID) for _ in range(12)))
            assert sorted(set(pids)) == sorted(map(str, machines()))
            assert len(set(pids)) == 2

    asyncio.run(main())


def test_jobs_are_served_in_the_order_they_came():
    async def main():
        done = []

        async def job(number):
            await output_of(pool, running(f"IO.write({number})"))
            done.append(number)

        async with pool_of(1) as pool:
            await asyncio.gather(*(job(number) for number in range(8)))
        assert done == list(range(8))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("code", "attempts"), [("System.halt(3)", 1), (':os.cmd(~c"kill -9 #{System.pid()}")', 2)], ids=["exit", "kill"]
)
def test_a_job_that_ends_its_machine_is_a_crash_with_one_more_try_where_it_may_be_innocent(code, attempts):
    async def main():
        async with pool_of(1) as pool:
            answer = await run(pool, running(code))
            assert (answer.result["outcome"], answer.attempts) == ("crash", attempts)
            (diagnostic,) = answer.result["diagnostics"]
            assert (diagnostic["check"], diagnostic["severity"]) == ("crash", "error")
            assert diagnostic["message"]
            assert await output_of(pool, running("IO.write(1)")) == "1"

    asyncio.run(main())


def test_a_worker_that_was_killed_between_jobs_costs_no_try():
    async def main():
        async with pool_of(1) as pool:
            killed = int(await output_of(pool, PID))
            os.kill(killed, signal.SIGKILL)
            assert are_gone([killed])
            await asyncio.sleep(0.1)
            answer = await run(pool, PID)
            assert answer.attempts == 1
            assert int(answer.result["output"]) != killed

    asyncio.run(main())


def test_a_job_that_does_not_end_is_a_timeout_and_the_next_one_passes():
    async def main():
        async with pool_of(1) as pool:
            await output_of(pool, PID)
            started = time.monotonic()
            answer = await run(pool, FOREVER, deadline_s=0.5)
            assert time.monotonic() - started < 5
            assert (answer.result["outcome"], answer.attempts) == ("timeout", 1)
            assert await output_of(pool, running("IO.write(1)")) == "1"

    asyncio.run(main())


def test_a_worker_is_replaced_after_a_number_of_jobs():
    async def main():
        async with pool_of(1, max_jobs=3) as pool:
            pids = [await output_of(pool, PID) for _ in range(7)]
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]

    asyncio.run(main())


def test_a_worker_is_replaced_when_its_table_of_atoms_fills_up():
    atoms = running('Enum.each(1..5_000, &String.to_atom("never_seen_#{&1}"))\nIO.write(System.pid())')

    async def main():
        async with pool_of(1) as pool:
            await output_of(pool, PID)
            num_atoms = next(iter(pool._workers)).atoms
        async with pool_of(1, max_atoms=num_atoms + 4_000) as pool:
            first, second = await output_of(pool, PID), await output_of(pool, PID)
            third, fourth = await output_of(pool, atoms), await output_of(pool, PID)
        assert first == second == third != fourth

    asyncio.run(main())


def test_a_worker_is_replaced_when_its_machine_cannot_be_put_back_to_what_it_was():
    async def main():
        async with pool_of(1) as pool:
            first = await output_of(
                pool, running("Process.exit(Process.whereis(:timer_server), :kill)\nIO.write(System.pid())")
            )
            assert await output_of(pool, PID) != first

    asyncio.run(main())


def test_a_worker_is_replaced_after_a_time_at_work():
    async def main():
        async with pool_of(1, max_busy_s=0.3) as pool:
            first = await output_of(pool, PID)
            await output_of(pool, running("Process.sleep(400)"))
            assert await output_of(pool, PID) != first

    asyncio.run(main())


def test_a_fresh_machine_runs_one_job():
    mark = running(
        "IO.write(inspect(:persistent_term.get(:mark, nil)) <> System.pid())\n:persistent_term.put(:mark, 1)"
    )

    async def main():
        async with pool_of(2) as pool:
            warm = await output_of(pool, PID)
            said = await asyncio.gather(*(output_of(pool, mark, fresh=True) for _ in range(6)))
            assert all(each.startswith("nil") for each in said)
            assert len({warm, *(each[3:] for each in said)}) == 7
            assert len(machines()) <= 1 + 2 + 2  # the warm one, spares, and those that are just ending
            assert await output_of(pool, PID) == warm

    asyncio.run(main())


def test_spares_are_ready_before_the_next_fresh_job():
    async def main():
        async with pool_of(1) as pool:
            await output_of(pool, PID, fresh=True)
            await until(lambda: pool._spares and all(spare.done() for spare in pool._spares))
            (ready,) = [spare.result() for spare in pool._spares]
            assert ready.num_jobs == 0
            await output_of(pool, PID, fresh=True)
            assert ready not in pool._workers

    asyncio.run(main())


def test_a_spare_that_died_is_not_used():
    async def main():
        async with pool_of(1) as pool:
            await output_of(pool, PID, fresh=True)
            await until(lambda: all(spare.done() for spare in pool._spares) and len(machines()) == 1)
            (pid,) = machines()
            os.kill(pid, signal.SIGKILL)
            assert are_gone([pid])
            await asyncio.sleep(0.1)
            answer = await run(pool, PID, fresh=True)
            assert (answer.result["outcome"], answer.attempts) == ("ok", 1)

    asyncio.run(main())


def test_the_worker_of_a_cancelled_job_is_replaced():
    async def main():
        async with pool_of(1) as pool:
            first = int(await output_of(pool, PID))
            job = asyncio.ensure_future(run(pool, FOREVER))
            await asyncio.sleep(0.2)
            job.cancel()
            with pytest.raises(asyncio.CancelledError):
                await job
            second = int(await output_of(pool, PID))
            assert second != first
            assert are_gone([first])

    asyncio.run(main())


def test_a_job_cancelled_while_it_waits_leaves_no_gap():
    async def main():
        async with pool_of(1) as pool:
            first = asyncio.ensure_future(output_of(pool, running("Process.sleep(300)\nIO.write(System.pid())")))
            waiting = asyncio.ensure_future(run(pool, PID))
            last = asyncio.ensure_future(output_of(pool, PID))
            await asyncio.sleep(0.05)
            waiting.cancel()
            assert await last == await first
            with pytest.raises(asyncio.CancelledError):
                await waiting

    asyncio.run(main())


def test_a_worker_that_starts_for_a_cancelled_job_takes_the_next_one():
    async def main():
        async with pool_of(1) as pool:
            job = asyncio.ensure_future(run(pool, PID))
            await asyncio.sleep(0.02)
            job.cancel()
            with suppress(asyncio.CancelledError):
                await job
            assert len(pool._spares) == 1
            await output_of(pool, PID)
            assert (len(pool._spares), len(pool._workers)) == (0, 1)

    asyncio.run(main())


def test_jobs_that_are_not_done_when_the_pool_closes_say_so():
    async def main():
        async with pool_of(1) as pool:
            await output_of(pool, PID)
            jobs = [asyncio.ensure_future(run(pool, FOREVER)) for _ in range(3)]
            await asyncio.sleep(0.2)
        assert machines() == []
        for error in await asyncio.gather(*jobs, return_exceptions=True):
            assert isinstance(error, ElixirCoderError)
            assert "was closed" in str(error)
        with pytest.raises(ElixirCoderError, match="was closed"):
            await run(pool, PID)

    asyncio.run(main())


def test_closing_while_workers_start_leaves_none():
    async def main():
        for moment_s in (0.0, 0.05, 0.3):
            async with pool_of(2) as pool:
                jobs = [asyncio.ensure_future(run(pool, PID, fresh=True)) for _ in range(2)]
                await asyncio.sleep(moment_s)
            assert pool._workers == {}
            await asyncio.gather(*jobs, return_exceptions=True)
            assert are_gone(machines())

    asyncio.run(main())


def test_a_machine_that_never_starts_is_an_error_and_not_a_loop():
    limits = Limits(atoms=9_000)  # too few for Elixir itself

    async def main():
        async with pool_of(2, limits=limits) as pool:
            started = time.monotonic()
            for error in await asyncio.gather(*(run(pool, PID) for _ in range(4)), return_exceptions=True):
                assert isinstance(error, MissingDependencyError)
            assert time.monotonic() - started < 15

    asyncio.run(main())


def test_killing_workers_in_mid_job_loses_nothing_and_answers_nothing_twice(tmp_path):
    num_jobs = 200
    chance = random.Random(0)
    answers, killed = {}, []

    async def job(pool, number):
        # Each try leaves the process id of its machine, and then takes its time.
        code = f'File.write!("{tmp_path}/{number}", System.pid() <> " ", [:append])\nProcess.sleep(20)'
        answer = await run(pool, running(f"{code}\nIO.write({number} * {number})"))
        assert number not in answers
        answers[number] = answer

    async def kill(jobs):
        next_kill, met = 5, 0
        while not jobs.done():
            await asyncio.sleep(0.002)
            at_work = [path for path in tmp_path.iterdir() if int(path.name) not in answers]
            pids = chance.choice(at_work).read_text().split() if at_work else []
            # One that is hit twice is answered, and rightly, `crash`: so all that a kill may have hit, which is not
            # always the job that was read of, are answered before the next.
            if len(answers) >= next_kill and len(pids) == 1 and set(range(met)) <= set(answers):
                met = min(num_jobs, max(int(path.name) for path in tmp_path.iterdir()) + 3)
                with suppress(ProcessLookupError):
                    os.kill(int(pids[0]), signal.SIGKILL)
                    killed.append(pids[0])
                next_kill = len(answers) + chance.randint(5, 25)

    async def main():
        async with pool_of(2) as pool:
            jobs = asyncio.gather(*(job(pool, number) for number in range(num_jobs)))
            await kill(jobs)
            await jobs

    asyncio.run(main())
    assert sorted(answers) == list(range(num_jobs))
    assert {number: answer.result["output"] for number, answer in answers.items()} == {
        number: str(number * number) for number in range(num_jobs)
    }
    retried = {number for number, answer in answers.items() if answer.attempts == 2}
    assert 3 <= len(retried) <= len(killed)
    # What ran twice is what was tried twice.
    assert {number for number in answers if len((tmp_path / str(number)).read_text().split()) > 1} <= retried
