"""The host driver against the model of the peripheral, over a line that damages and loses bytes."""

import builtins
import dataclasses
import json
import os
import random
import threading
import tty

import numpy as np
import pytest

from firmware import host
from firmware.cli import main
from rtl.spec.link import (
    BURST,
    SYNC_ANSWER,
    SYNC_REQUEST,
    Command,
    Status,
    bytes_words,
    crc8,
    words_bytes,
)
from rtl.spec.regmap import ON_BUS, Fault
from sim.peripheral import BusError, Peripheral
from tests.cosim import tiny


class Bridge:
    """What rtl/bridge.py does with a request, as a port: a whole frame in, the answer's bytes out.

    `damage` is one in how many frames, each way, that loses a byte or gets a wrong one.
    """

    def __init__(self, model, damage: int = 0, seed: int = 0):
        self.model, self.damage, self.rng = model, damage, random.Random(seed)
        self.said, self.last, self.number, self.carried_out = b"", b"", 0, 0

    def write(self, data: bytes) -> None:
        self.said += self._damaged(self.answer(self._damaged(data)))

    def read(self, size: int) -> bytes:
        data, self.said = self.said[:size], self.said[size:]
        return data

    def reset_input_buffer(self) -> None:
        self.said = b""

    def _damaged(self, frame: bytes) -> bytes:
        if not self.damage or self.rng.randrange(self.damage):
            return frame
        at, data = self.rng.randrange(len(frame)), bytearray(frame)
        if self.rng.random() < 0.5:
            del data[at]
        else:
            data[at] ^= 1 << self.rng.randrange(8)
        return bytes(data)

    def answer(self, frame: bytes) -> bytes:
        if frame[:1] != bytes([SYNC_REQUEST]):
            return b""
        if len(frame) < 8 or len(frame) != 8 + (4 * frame[2] if frame[1] & Command.WRITE else 0):
            return self._frame(Status.TIMEOUT, 0, 0, b"")
        if crc8(frame[1:-1]) != frame[-1]:
            return self._frame(Status.CRC, 0, 0, b"")
        number = frame[1] >> 4
        if number == 0 or number != self.number:
            self.number, self.last = number, self._carry_out(frame)
            self.carried_out += 1
        return self.last

    def _carry_out(self, frame: bytes) -> bytes:
        command, count, address = frame[1] & 15, frame[2], int.from_bytes(frame[3:7], "little")
        words, got, status = bytes_words(frame[7:-1]), [], Status.OK
        done = 0
        try:
            for done in range(count):
                at = address + (0 if command & Command.FIXED else 4 * done)
                if at == 4 * ON_BUS["IN_DATA"].address and len(self.model.source) >= 32:
                    raise BusError("no room")
                if command & Command.READ:
                    got.append(self.model.read(at))
                else:
                    self.model.write(at, words[done])
            done = count
        except BusError:
            status = Status.BUS
        return self._frame(status, frame[1] >> 4, done, words_bytes(got))

    @staticmethod
    def _frame(status: int, number: int, done: int, data: bytes) -> bytes:
        body = bytes([status | number << 4, done]) + data
        return bytes([SYNC_ANSWER]) + body + bytes([crc8(body)])


@pytest.fixture(scope="module")
def packed():
    return tiny.image()


def drive(packed, **options):
    """A driver on a new model, and the model."""
    image, params = packed
    model = Peripheral(params, **{n: options.pop(n) for n in ("seed", "pace") if n in options})
    link = host.Link(Bridge(model, **options))
    return host.Device(link), model, image


def test_boot_and_run_twice(packed):
    device, _, image = drive(packed)
    device.boot(image)
    assert device.run(image) == device.run(image) == image.output.tolist()
    counters = device.counters()
    assert counters["ISSUED"] == len(image.program) // image.instruction - 1  # HALT
    assert device.link.repeated == 0


@pytest.mark.parametrize("seed", range(6), ids="seed{}".format)
def test_damage_changes_nothing_but_the_number_of_requests(packed, seed):
    device, _, image = drive(packed, damage=4, seed=seed, pace=1 + seed)
    device.boot(image)
    assert device.run(image) == image.output.tolist()
    assert device.link.repeated > 3


def test_probe_reads_the_capabilities(packed):
    device, _, _ = drive(packed)
    params = packed[1]
    found = device.probe()
    assert found["config_hash"] == params.config_hash
    assert (found["rows"], found["cols"], found["granule"]) == (8, 8, 4)
    assert (found["tiles"], found["lanes"], found["prog"]) == (params.tiles, 4, params.prog_depth)


def test_registers_are_read_and_written(packed):
    device, _, _ = drive(packed)
    device.write("DMA_IN_WORDS", 0xCAFE)
    assert device.read("DMA_IN_WORDS") == 0xCAFE


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("ID", 5, "ID: 0x00000005 is not a core"), ("VERSION", 7 << 16, "VERSION: register map 7")],
)
def test_probe_refuses_what_it_does_not_know(packed, name, value, words):
    device, model, _ = drive(packed)
    model.values[name] = value
    with pytest.raises(host.DeviceError, match=words):
        device.probe()


def test_boot_refuses_another_configuration(packed):
    device, _, image = drive(packed)
    other = dataclasses.replace(image, config_hash=1)
    with pytest.raises(host.DeviceError, match=r"CONFIG_HASH: .* the image for 0x00000001"):
        device.boot(other)


def test_errors_of_hardware_are_named_and_recovered_from(packed):
    device, model, image = drive(packed)
    device.boot(image)
    device.load([0xFFFFFFFF] * image.instruction)
    with pytest.raises(host.DeviceError, match=r"stopped with \w+ at pc 0$"):
        device.run(image)
    model.fault = Fault.LONG
    with pytest.raises(host.DeviceError, match="fault LONG"):
        device._busy()
    device.boot(image)
    assert device.run(image) == image.output.tolist()


def test_a_core_that_does_not_go_on_is_an_error(packed, monkeypatch):
    monkeypatch.setattr(host, "POLLS", 5)
    device, model, image = drive(packed)
    device.boot(image)
    model.hang = True
    with pytest.raises(host.DeviceError, match=r"no answer: .* then nothing moved"):
        device.run(image)
    model.hang = False
    device.boot(image)
    assert device.run(image) == image.output.tolist()


@pytest.mark.parametrize(
    ("section", "change", "words"),
    [
        ("output", lambda words: words[:-1], "output: 4 words, expected 3"),
        (
            "input",
            lambda words: [*words, *[0] * 90],
            "input: the program ended after .* of 94 words",
        ),
    ],
)
def test_streams_of_another_length_are_errors(packed, section, change, words):
    device, _, image = drive(packed)
    device.boot(image)
    changed = change(getattr(image, section).tolist())
    with pytest.raises(host.DeviceError, match=words):
        device.run(dataclasses.replace(image, **{section: np.array(changed, np.uint32)}))


def test_a_dead_line_is_an_error(packed):
    device, _, _ = drive(packed, damage=1)
    with pytest.raises(host.LinkError, match="serial line: no right answer in 9 tries"):
        device.probe()


def test_what_the_bus_refuses_is_an_error(packed):
    device, _, _ = drive(packed)
    with pytest.raises(host.LinkError, match="error: write of word 0 of 1 at 0x00000000"):
        device.write("ID", 1)
    with pytest.raises(host.LinkError, match="error: read of word 1 of 2 at 0x000000cc"):
        device.link.read(4 * 51, 2)
    assert device.read("STATUS") == 0


def test_pushing_stops_where_there_is_no_room(packed):
    device, model, _ = drive(packed)
    device.reset()
    assert device.link.push(device.address("IN_DATA"), range(BURST)) == 32
    assert len(model.source) == 32


class TestCommand:
    """`python -m firmware run`."""

    def fails(self, capsys, *arguments) -> str:
        assert main(["run", *map(str, arguments)]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("firmware: error: ") and err.count("\n") == 1
        return err

    @pytest.fixture
    def file(self, packed, tmp_path):
        (tmp_path / "image.bin").write_bytes(packed[0].to_bytes())
        return tmp_path / "image.bin"

    def test_over_a_terminal(self, packed, file, capsys):
        """Through pyserial and a pseudo-terminal."""
        master, slave = os.openpty()
        tty.setraw(slave)
        bridge = Bridge(Peripheral(packed[1]))

        def serve():
            received = b""
            while True:
                try:
                    received += os.read(master, 4096)
                except OSError:
                    return
                while len(received) >= 8:
                    size = 8 + (4 * received[2] if received[1] & Command.WRITE else 0)
                    if len(received) < size:
                        break
                    os.write(master, bridge.answer(received[:size]))
                    received = received[size:]

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            assert main(["run", str(file), "--port", os.ttyname(slave), "--json"]) == 0
            result = json.loads(capsys.readouterr().out)
            assert (result["outputs"], result["mismatches"], result["repeated"]) == (4, 0, 0)
            assert main(["run", str(file), "--port", os.ttyname(slave)]) == 0
            assert "4 words of output, 0 mismatches" in capsys.readouterr().out
        finally:
            os.close(slave)
            thread.join(5)
            os.close(master)

    def test_without_pyserial(self, file, capsys, monkeypatch):
        real = builtins.__import__

        def without(name, *rest):
            if name == "serial":
                raise ImportError(name)
            return real(name, *rest)

        monkeypatch.setattr(builtins, "__import__", without)
        err = self.fails(capsys, file, "--port", "/dev/null")
        assert "port: needs pyserial; pip install 'blockcim[serial]'" in err

    def test_bad_arguments(self, file, tmp_path, capsys):
        assert "no such file" in self.fails(capsys, tmp_path / "none.bin", "--port", "x").lower()
        err = self.fails(capsys, file, "--port", tmp_path / "none")
        assert "port: " in err and "No such file" in err
        assert "baud: 0" in self.fails(capsys, file, "--port", "x", "--baud", 0)
        assert "--port" in self.fails(capsys, file)


def test_errors_of_the_soc_command(tmp_path, capsys):
    for arguments, words in (
        (["--simulator", "iss"], "simulator: 'iss' is not one of verilator, icarus"),
        ([], "no such program directory"),
    ):
        assert main(["soc", str(tmp_path / "none"), *arguments]) == 2
        out, err = capsys.readouterr()
        assert out == "" and words in err.lower() and err.count("\n") == 1
