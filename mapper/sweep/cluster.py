"""Jobs on a Dask cluster (`dask.distributed`, extra `blockcim[cluster]`), known by the address of its scheduler.

The cluster's workers need this package, of the same version. What a worker was at when it died is given to another
one; a job that several died of (`distributed.scheduler.allowed-failures`) is given up.
"""

import importlib
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rtl.spec.params import ConfigError

from .pool import Died

#: Seconds to wait for the scheduler to answer.
TIMEOUT = 5
#: What `distributed` is asked to connect to; it leaves a client behind when it finds out itself.
ADDRESS = r"(tcp|tls|ws|wss)://\S+:\d+"


def run(
    task: Callable[[Any], Any], jobs: Sequence, address: str
) -> Iterator[tuple[int, Any | Died]]:
    """Index and result of each job, in the order in which they are done; as `mapper.sweep.pool.run`.

    Raises `ConfigError`, one line, if Dask is not installed, if the scheduler cannot be reached or goes away, and if
    the workers cannot run the task.
    """
    distributed = _library()
    client = _connect(distributed, address)
    try:
        if not client.nthreads():
            print(f"mapper: {address}: no workers yet, waiting for some", file=sys.stderr)
        suspects = []
        for index, found in _gathered(distributed, client, task, dict(enumerate(jobs)), address):
            if isinstance(found, Died):
                suspects.append(index)
            else:
                yield index, found
        # Whoever waits at a worker that dies is blamed too: alone, each shows whose fault it was.
        for index in suspects:
            yield from _gathered(distributed, client, task, {index: jobs[index]}, address)
    finally:
        client.close(timeout=TIMEOUT)


def _gathered(
    distributed, client, task: Callable, jobs: dict[int, Any], address: str
) -> Iterator[tuple[int, Any | Died]]:
    """Submit jobs together; index and result of each when it is done."""
    futures = {client.submit(task, job, pure=False): index for index, job in jobs.items()}
    for future in distributed.as_completed(futures, loop=client.loop):
        yield futures[future], _result(distributed, future, address)
        future.release()


def _library():
    try:
        return importlib.import_module("distributed")
    except ImportError:
        raise ConfigError(
            "scheduler: needs dask.distributed; pip install 'blockcim[cluster]'"
        ) from None


def _connect(distributed, address: str):
    if not re.fullmatch(ADDRESS, address):
        raise ConfigError(f"scheduler: {address!r} is no address like tcp://HOST:8786")
    # Its own account of a connection that fails or ends is a traceback.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        return distributed.Client(address, timeout=TIMEOUT, set_as_default=False)
    except (OSError, ImportError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ConfigError(f"scheduler: {address}: cannot be reached: {reason}") from None


def _result(distributed, future, address: str) -> Any | Died:
    if future.status == "finished":
        return future.result()
    if future.status != "error":  # cancelled, lost
        raise ConfigError(f"scheduler: {address}: the connection was lost")
    error = future.exception()
    if isinstance(error, distributed.KilledWorker):
        return Died("workers died of it")
    # The task itself does not raise: it could not be sent or loaded.
    text = str(error).partition("\n")[0]
    raise ConfigError(f"scheduler: {address}: workers cannot run a sweep: {text}")
