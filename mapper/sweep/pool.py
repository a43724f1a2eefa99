"""Jobs in processes of this machine; a process that dies takes nothing with it but the job that it was at.

`concurrent.futures` gives up all jobs when one of its processes dies, and does not say whose fault it was.
"""

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

#: Attempts of a job before it is given up: a process may die of something else, of a lack of memory for example.
ATTEMPTS = 2


@dataclass(frozen=True)
class Died:
    """Instead of a result: the job took the process with it, each time."""

    why: str


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    task: Callable[[Any], Any], jobs: Sequence, workers: int
) -> Iterator[tuple[int, Any | Died]]:
    """Index and result of each job, in the order in which they are done.

    `task` is a function of a module, and does not raise. Closing the iterator ends the processes.
    """
    waiting = deque((index, 1) for index in range(len(jobs)))
    started = [_Worker(task) for _ in range(min(workers, len(jobs)))]
    try:
        while True:
            for worker in started:
                if waiting and worker.job is None:
                    index, attempt = waiting.popleft()
                    worker.give(index, attempt, jobs[index])
            busy = {w.connection: n for n, w in enumerate(started) if w.job is not None}
            if not busy:
                return
            for connection in wait(list(busy)):
                number = busy[connection]  # type: ignore[index]
                worker = started[number]
                assert worker.job is not None
                index, attempt = worker.job
                try:
                    result = worker.take()
                except (EOFError, OSError):
                    started[number] = _Worker(task)
                    if attempt < ATTEMPTS:
                        waiting.append((index, attempt + 1))
                        continue
                    result = Died(f"worker died {attempt} times, {worker.reason()}")
                yield index, result
    finally:
        for worker in started:
            worker.end()


class _Worker:
    """A process, the pipe to it and the (index, attempt) it is at."""

    def __init__(self, task: Callable):
        # spawn: a copy of this process would copy its threads' locks and its open pipes too.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, task), daemon=True)
        self.process.start()
        theirs.close()  # so that the end of the process is the end of the pipe
        self.job: tuple[int, int] | None = None

    def give(self, index: int, attempt: int, job: Any) -> None:
        """Send a job. A process that is gone shows when the result is taken."""
        self.job = index, attempt
        with contextlib.suppress(OSError):
            self.connection.send(job)

    def take(self) -> Any:
        """The result. Raises `EOFError` or `OSError` if the process died instead."""
        result = self.connection.recv()
        self.job = None
        return result

    def reason(self) -> str:
        """What the process died of."""
        self.process.join()
        code = self.process.exitcode or 0
        return f"the last time by {signal.Signals(-code).name}" if code < 0 else f"status {code}"

    def end(self) -> None:
        """End the process, whatever it is at."""
        self.connection.close()
        self.process.kill()
        self.process.join()


def _serve(connection: Connection, task: Callable) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who gives the jobs
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return  # nobody is there any more
        result = task(job)
        with contextlib.suppress(OSError):
            connection.send(result)
