"""`python -m mapper sweep` as it is used: output, interruptions, failures."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mapper.cli import main
from mapper.sweep import grid, pool, run
from mapper.sweep.cache import Cache

ROOT = Path(__file__).parents[3]
#: 3 strategies x 2 x 2 configurations, some 0.05 s each; one of the lanes does not work with one of the sizes.
SMALL = ["--model", "minilm", "--layers", "0", "--array", "64,128", "--lanes", "64,128"]


def sweep(capsys, *options, status=0):
    assert main(["sweep", "--workers", "2", *map(str, options)]) == status
    return capsys.readouterr()


def test_files_and_table(tmp_path, capsys):
    out, err = sweep(capsys, *SMALL, "-o", tmp_path)
    rows = json.loads((tmp_path / "results.json").read_text())
    assert len(rows) == 12 == len(list((tmp_path / "cache").iterdir()))
    # A failing configuration is listed, and no reason to stop.
    failing = [row for row in rows if row["error"]]
    assert [(row["rows"], row["lanes"]) for row in failing] == [(64, 128)] * 3
    text = "lanes: 128 is above the limit cols = 64"
    assert err.count(f": {text}\n") == 3 and err.count("\n") == 3
    assert {row["error"] for row in failing} == {text}
    table = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert [row["arrays"] for row in table if row["arrays"]] == [
        str(row["arrays"]) for row in rows if not row["error"]
    ]
    lines = out.splitlines()
    assert lines[0].split()[:2] == ["model", "strategy"] and lines[0].endswith("Pareto")
    area = [float(line.rstrip(" *").split()[-1].replace(",", "")) for line in lines[1:-1]]
    assert area == sorted(area)
    assert sum(line.endswith("*") for line in lines) == sum(row["pareto"] for row in rows) > 0
    assert lines[-1].startswith("12 configurations, 0 known before, 3 without a result -> ")
    markdown = (tmp_path / "summary.md").read_text()
    assert "## 3 without a result" in markdown and "| minilm | densemap |" in markdown
    picture = (tmp_path / "pareto.svg").read_text()
    assert "Pareto front" in picture or picture.count("<path") > 20
    assert json.loads(sweep(capsys, *SMALL, "-o", tmp_path, "--json").out) == rows


def test_the_front_is_of_one_model(tmp_path, capsys):
    options = [
        "--model",
        "minilm,gpt2-medium",
        "--layers",
        "0",
        "--strategy",
        "densemap",
        "--json",
        "-o",
    ]
    rows = json.loads(sweep(capsys, *options, tmp_path).out)
    assert [row["pareto"] for row in rows] == [True, True]


def test_a_few_rows_are_printed_and_those_of_the_front(tmp_path, capsys):
    out = sweep(capsys, *SMALL, "-o", tmp_path, "--top", "1").out.splitlines()
    rows = json.loads((tmp_path / "results.json").read_text())
    best = min((r for r in rows if not r["error"]), key=lambda r: r["area_cycles"])
    assert len(out) - 2 == sum(r["pareto"] or r == best for r in rows)
    assert out[-1].endswith(f", {9 - (len(out) - 2)} rows more there")


def test_two_sweeps_share_a_cache(tmp_path, capsys):
    both = ["--cache", tmp_path / "cache"]
    sweep(capsys, *SMALL, "-o", tmp_path / "a", *both)
    out = sweep(capsys, *SMALL, "--strategy", "densemap,linear", "-o", tmp_path / "b", *both).out
    assert "8 configurations, 8 known before" in out


def test_a_damaged_result_is_computed_again(tmp_path, capsys):
    sweep(capsys, *SMALL, "-o", tmp_path)
    first = (tmp_path / "results.json").read_text()
    damaged = sorted((tmp_path / "cache").iterdir())[0]
    damaged.write_text(damaged.read_text()[:-30])
    out, err = sweep(capsys, *SMALL, "-o", tmp_path)
    assert f"warning: {damaged}: damaged, computed again\n" in err
    assert "12 configurations, 11 known before" in out

    def timeless(text):
        return re.sub(r'"(wall|cpu)_s": [\d.]+', "", text)

    assert timeless((tmp_path / "results.json").read_text()) == timeless(first)


def test_new_sources_compute_everything_again(tmp_path, capsys, monkeypatch):
    made = grid.expand(grid.parse({"model": ["minilm"], "strategy": ["densemap"]}))
    run.Sweep(made, Cache(tmp_path)).run()
    assert not run.Sweep(made, Cache(tmp_path)).missing
    monkeypatch.setattr(run, "version", lambda: "other")
    assert len(run.Sweep(made, Cache(tmp_path)).missing) == 1


def test_what_a_worker_died_of_is_listed_and_tried_by_the_next_sweep(tmp_path, capsys, monkeypatch):
    real = pool.run

    def deadly(task, jobs, workers):
        yield 0, pool.Died("worker died 2 times, the last time by SIGKILL")
        for index, found in real(task, jobs[1:], workers):
            yield index + 1, found

    with monkeypatch.context() as patch:
        patch.setattr(pool, "run", deadly)
        out, err = sweep(capsys, *SMALL, "-o", tmp_path)
    assert "by SIGKILL\n" in err and "4 without a result" in out
    out = sweep(capsys, *SMALL, "-o", tmp_path).out
    assert "11 known before, 3 without a result" in out


def test_nothing_works(tmp_path, capsys):
    out, err = sweep(capsys, "--model", "minilm", "--tiles", "1", "-o", tmp_path, status=1)
    assert out == "" and err.count("mapper: no result: ") == 3 == err.count("\n")
    assert json.loads((tmp_path / "results.json").read_text())[0]["error"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "model: the sweep needs at least one"),
        (["--model", "minilm", "--strategy", "x"], "strategy: 'x' is not one of"),
        (["--model", "minilm", "--workers", "0"], "workers: 0 must be at least 1"),
        (["--model", "minilm", "--scheduler", "here"], "scheduler: "),
        (["no-such.toml"], "no-such.toml: No such file"),
    ],
)
def test_wrong_options(tmp_path, capsys, options, message):
    assert main(["sweep", *options, "-o", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


# -- interruptions -------------------------------------------------------------------------------

#: Some seconds of work.
LONG = [
    *("--model", "gpt2-medium,smollm2", "--array", "128,256", "--granule", "16,32"),
    *("--lanes", "32,64", "--drain-ports", "1,2"),
]


def begin(folder, *options):
    """A sweep that has computed some of its configurations, and the entries that it had then at least."""
    command = [sys.executable, "-m", "mapper", "sweep", *LONG, "-o", str(folder), *options]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while len(entries(folder)) < 5 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    return process, entries(folder)


def entries(folder):
    """Cache entry -> when it was written; without files that are being written."""
    where = folder / "cache"
    if not where.is_dir():
        return {}
    return {p.name: p.stat().st_mtime_ns for p in where.iterdir() if p.name[0] != "."}


def workers_of(pid):
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in listed.stdout.split()]


def gone(pids):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_cut_short_and_started_again_nothing_is_computed_twice(tmp_path, capsys, how):
    process, _ = begin(tmp_path, "--workers", "1")  # slow enough to be cut short
    children = workers_of(process.pid)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert gone(children)
    done = entries(tmp_path)
    assert 5 <= len(done) < 96
    assert not (tmp_path / "results.json").exists()
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert re.search(r"mapper: interrupted, \d+ of 96 are done; the same command goes on", err)
        assert "Traceback" not in err
    out, _ = sweep(capsys, *LONG, "-o", tmp_path)
    assert f"96 configurations, {len(done)} known before, 0 without a result" in out
    after = entries(tmp_path)
    assert len(after) == 96 and {name: after[name] for name in done} == done


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at processes in /proc")
def test_a_worker_is_killed_and_nothing_is_lost(tmp_path):
    process, _ = begin(tmp_path, "--workers", "2")
    found = [
        pid
        for pid in workers_of(process.pid)
        if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    os.kill(found[0], signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0 and "96 configurations, 0 known before, 0 without" in out, err
    assert len(entries(tmp_path)) == 96
