"""Shared by the unit tests."""

import pytest


@pytest.fixture(autouse=True)
def _restart_event_listener():
    """salt-factories' own starts its listener, a thread that sleeps for ever if a test sets the clock meanwhile."""
