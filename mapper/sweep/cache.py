"""Costs that were computed before: one small file for each configuration, whole or not there at all."""

import json
import sys
import zlib
from pathlib import Path

from ..atomic import write_text


class Cache:
    """A folder of results by key. Several sweeps may share it, one after the other or at the same time."""

    def __init__(self, folder: Path):
        self.folder = folder

    def get(self, key: str) -> dict | None:
        """The result of a key; None: never computed, or no longer readable, which is said in one line on stderr."""
        path = self.folder / f"{key}.json"
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            return _again(path, getattr(error, "strerror", None) or "not text")
        try:
            entry = json.loads(text)
            if entry["sum"] == _checksum(entry["result"]):
                return entry["result"]
        except (ValueError, KeyError, TypeError):
            pass
        return _again(path, "damaged")

    def put(self, key: str, result: dict) -> None:
        """Keep a result. Raises `ConfigError` if it cannot be written."""
        entry = {"sum": _checksum(result), "result": result}
        write_text(self.folder / f"{key}.json", json.dumps(entry) + "\n")


def _checksum(result: dict) -> int:
    return zlib.crc32(json.dumps(result, sort_keys=True).encode())


def _again(path: Path, why: str) -> None:
    print(f"mapper: warning: {path}: {why}, computed again", file=sys.stderr)
