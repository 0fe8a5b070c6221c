"""Programs that a test needs besides Python: without one the test is skipped, and says what to install."""

from __future__ import annotations

import shutil

import pytest


def need(program: str, package: str) -> str:
    """The path of a program of a Debian package."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f'{program} is not installed: apt install {package}')
    return path
