"""Shared by the unit tests."""

import pytest


@pytest.fixture(autouse=True)
def _restart_event_listener():
    """salt-factories' own would start its listener here: a thread that sleeps for ever once a test has set the clock."""
