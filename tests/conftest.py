"""Fixtures that every test may use."""

from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='session')
def repo() -> Path:
    return REPO


@pytest.fixture(scope='session')
def shared() -> Path:
    """The folder with golden files and real frames beside a checkout; absent for most users."""
    path = REPO.parent / 'shared'
    if not (path / 'golden').is_dir():
        pytest.skip(f'{path} with the golden files is not here')
    return path
