"""A sweep on a Dask cluster: a scheduler and workers in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mapper.cli import main
from mapper.sweep import cluster, pool
from rtl.spec.params import ConfigError

pytest.importorskip("distributed", reason="pip install 'blockcim[cluster]'")

ROOT = Path(__file__).parents[3]


def double(job):
    return 2 * job


def deadly(job):
    if job == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return job


def raising(job):
    raise RuntimeError("first line\nsecond")


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """Scheduler and worker."""
    where = tmp_path_factory.mktemp("cluster")
    address = where / "scheduler.json"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
    }
    common = [sys.executable, "-m"]
    options = ["--scheduler-file", str(address)]
    started = []
    try:
        with (where / "log").open("w") as log:

            def start(module, *more):
                command = [*common, f"distributed.cli.{module}", *options, *more]
                started.append(
                    subprocess.Popen(command, cwd=where, env=environment, stdout=log, stderr=log)
                )

            start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
            deadline = time.monotonic() + 60
            while not address.exists() and time.monotonic() < deadline:
                time.sleep(0.1)
            start("dask_worker", "--nthreads", "1", "--no-dashboard")
        yield json.loads(address.read_text())["address"], started[0]
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(timeout=30)


@pytest.fixture
def address(processes):
    return processes[0]


@pytest.mark.slow
def test_a_sweep_gives_the_same_there_as_here(address, tmp_path, capsys):
    options = [
        "--model",
        "minilm",
        "--layers",
        "0",
        "--array",
        "64,128",
        "--lanes",
        "64,128",
        "--json",
    ]
    rows = []
    for more in (["--scheduler", address], ["--workers", "1"]):
        assert main(["sweep", *options, *more, "-o", str(tmp_path / more[0])]) == 0
        rows.append(json.loads(capsys.readouterr().out))
        for row in rows[-1]:
            del row["wall_s"], row["cpu_s"]
    assert rows[0] == rows[1] and len(rows[0]) == 12


@pytest.mark.slow
def test_jobs_and_a_job_that_workers_die_of(address):
    assert sorted(cluster.run(double, [3, 4, 5], address)) == [(0, 6), (1, 8), (2, 10)]
    found = dict(cluster.run(deadly, [0, 1, 2], address))
    assert found == {0: 0, 1: pool.Died("workers died of it"), 2: 2}


@pytest.mark.slow
def test_a_task_that_cannot_run_is_one_line(address):
    with pytest.raises(ConfigError, match=r"workers cannot run a sweep: first line$"):
        list(cluster.run(raising, [0], address))


@pytest.mark.slow
@pytest.mark.parametrize("bad", ["tcp://127.0.0.1:1", "nonsense", "foo://1.2.3.4:5"])
def test_a_scheduler_that_is_not_there(bad, tmp_path, capsys):
    start = time.monotonic()
    options = ["--model", "minilm", "--scheduler", bad, "-o", str(tmp_path / "out")]
    assert main(["sweep", *options]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("mapper: error: scheduler: ") and err.count("\n") == 1
    assert bad in err and time.monotonic() - start < 30


@pytest.mark.slow
def test_a_scheduler_that_goes_away(processes):
    """The last one: nothing is left of the cluster."""
    address, scheduler = processes
    run = cluster.run(slow_double, list(range(50)), address)
    next(run)
    scheduler.kill()
    with pytest.raises(ConfigError, match=r"scheduler: .*: the connection was lost"):
        list(run)


def slow_double(job):
    time.sleep(0.2)
    return 2 * job
