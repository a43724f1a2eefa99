"""A core that takes input and gives output a few words at a time, its programs executed by the ISS.

Input and output go in the order of the program, as in hardware: a core that is not given input, or whose output is not
taken, waits.
"""

import copy
from collections import deque

import numpy as np

from mapper.program import pack_elements, unpack_elements
from rtl.spec.isa import Op, width
from rtl.spec.params import Params

from .iss import Iss, Result

#: Input that never has to wait, for as many words as a program may want.
ENDLESS = (0,) * (1 << 16)


class _Traced(Iss):
    """An ISS that notes the order of input and output: (whether it is input, stream words)."""

    def run(self, *args, **kwargs) -> Result:
        self.order: deque[tuple[bool, int]] = deque()
        return super().run(*args, **kwargs)

    def _take(self, words: int) -> np.ndarray:
        self.order.append((True, words))
        return super()._take(words)

    def _act(self, op: Op, f: dict, ea: int) -> None:
        if op == Op.SEND:
            self.order.append((False, f["words"]))
        super()._act(op, f, ea)


class SteppedCore:
    """The core: programs on the ISS, input and output in 32-bit words as they come and can go."""

    def __init__(self, params: Params):
        self.params = params
        self.parts = width(params) // 32
        self.program = [0] * (params.prog_depth * self.parts)
        self.iss = _Traced(params)
        self.running = False
        self.cached: tuple[int, _Traced, Result] | None = None  # of so many words of input

    def start(self, length: int) -> None:
        """Begin the program. What it does when is a matter of the program alone, not of its data."""
        self.length, self.running = length, True
        self.taken: list[int] = []
        self.given: deque[int] = deque()
        self.sent, self.cached = 0, None
        machine, self.result = self._execute()
        word = self.params.word_bits // 32
        self.order = [[is_input, count * word] for is_input, count in machine.order]

    def _execute(self) -> tuple[_Traced, Result]:
        """The program on a copy of the machine, with the input that there is and zeros behind it."""
        if self.cached is None or self.cached[0] != len(self.taken):
            self.cached = (len(self.taken), *self._run())
        return self.cached[1:]

    def _run(self) -> tuple[_Traced, Result]:
        used = max((i for i, word in enumerate(self.program) if word), default=-1) // self.parts + 1
        words = [
            sum(self.program[i * self.parts + k] << 32 * k for k in range(self.parts))
            for i in range(used)
        ]
        p = self.params
        data = np.array(self.taken, "<u4").view(np.uint8).reshape(-1, p.word_bits // 8)
        machine = copy.deepcopy(self.iss)
        inputs = unpack_elements(data, p)
        result = machine.run(words, inputs, ENDLESS, length=self.length)
        return machine, result

    def step(self, source: deque[int], sink: deque[int], words: int, room: int) -> None:
        """Move up to `words` words from `source` and as many to `sink`, if there is room for them there."""
        room = min(words, room)
        while self.order:
            is_input, missing = self.order[0]
            if is_input:
                moved = min(missing, len(source), words)
                self.taken += [source.popleft() for _ in range(moved)]
                words -= moved
            else:
                if not self.given:
                    self._produce()
                moved = min(missing, room)
                sink.extend(self.given.popleft() for _ in range(moved))
                room -= moved
            self.order[0][1] -= moved
            if self.order[0][1]:
                return
            del self.order[0]
        self.iss, _ = self._execute()
        self.running = False

    def _produce(self) -> None:
        """The words of all SENDs up to the next input."""
        _, result = self._execute()
        words = pack_elements(result.outputs, self.params).view("<u4").reshape(-1)
        ready = 0
        for is_input, count in self.order:
            if is_input:
                break
            ready += count
        self.given.extend(words[self.sent : self.sent + ready].tolist())
        self.sent += ready
