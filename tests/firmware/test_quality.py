"""The driver's tests once more, in processes of their own: with sanitizers, and counted by gcov."""

import shutil

import pytest

from firmware import coverage

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="apt-get install gcc"),
]


def test_no_undefined_behaviour_and_no_stray_access():
    coverage.sanitize()


def test_lines_and_branches():
    found = coverage.measure()
    assert found.line_rate >= 95 and found.branch_rate >= 95, found.short
