"""Jobs in processes, some of which die."""

import os
import signal
import time

from mapper.sweep import pool


def double(job):
    return os.getpid(), 2 * job


def fragile(job):
    """Jobs are numbers, or paths: a path that does not exist yet kills the process."""
    if isinstance(job, int):
        return job
    if job == "exit":
        os._exit(3)
    if os.path.exists(job):
        return "second attempt"
    if job != "kill":
        open(job, "w").close()
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(seconds):
    time.sleep(seconds)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_all_jobs_on_all_workers():
    found = dict(pool.run(double, range(40), 2))
    assert [found[i][1] for i in range(40)] == [2 * i for i in range(40)]
    pids = {pid for pid, _ in found.values()}
    assert len(pids) == 2 and not any(map(alive, pids))


def test_no_jobs():
    assert list(pool.run(double, [], 2)) == []


def test_a_worker_that_dies_loses_its_job_alone_and_the_job_is_tried_again(tmp_path):
    jobs = [1, str(tmp_path / "once"), 2, "exit", 3]
    found = dict(pool.run(fragile, jobs, 2))
    assert found.pop(3) == pool.Died("worker died 2 times, status 3")
    assert found == {0: 1, 1: "second attempt", 2: 2, 4: 3}


def test_a_death_by_signal_is_named():
    assert list(pool.run(fragile, ["kill"], 1)) == [
        (0, pool.Died("worker died 2 times, the last time by SIGKILL"))
    ]


def test_giving_up_ends_the_workers():
    run = pool.run(double, range(40), 2)
    pid = next(run)[1][0]
    run.close()
    assert not alive(pid)
    start = time.monotonic()
    run = pool.run(sleep, [0, 60], 2)
    next(run)
    run.close()
    assert time.monotonic() - start < 30
