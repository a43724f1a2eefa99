"""Files that are there completely or not at all: a full disk or an interruption leaves the old one."""

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from rtl.spec.params import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text. Raises `ConfigError` if that fails; the old file is then intact."""
    _written(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes. Raises `ConfigError` if that fails; the old file is then intact."""
    _written(path, lambda temporary: temporary.write_bytes(data))


def save_tensors(path: Path, tensors: Mapping[str, "Tensor"], metadata: dict[str, str]) -> None:
    """Write a safetensors file. Raises `ConfigError` if that fails; the old file is then intact."""
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    _written(path, lambda temporary: save_file(whole, temporary, metadata))


def save_file(tensors: dict, path: Path, metadata: dict[str, str]) -> None:
    """`safetensors.torch.save_file`; torch takes a second to import, which text need not wait for."""
    from safetensors.torch import save_file as save

    save(tensors, path, metadata)


def _written(path: Path, write: Callable[[Path], object]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            temporary.chmod(0o644)  # mkstemp keeps others out
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        # The message of an OSError names the temporary file.
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise ConfigError(f"{path}: {reason}") from None
