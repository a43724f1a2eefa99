"""The version of the generator; `pyproject.toml` reads it from here."""

VERSION = "0.1.0"
