"""Ctrl-C that waits: what must not be left half done is done before the interruption is seen."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold back the `KeyboardInterrupt` of Ctrl-C until the block is done.

    Where somebody else handles the signal, or in another thread than the main one, nothing is changed: Python
    raises no `KeyboardInterrupt` there.
    """
    arrived: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    try:
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, lambda number, _: arrived.append(number))
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, before)
    if arrived:
        raise KeyboardInterrupt
