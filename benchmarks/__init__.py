"""Measurements: every number that the project claims, from one command (`python -m benchmarks`)."""
