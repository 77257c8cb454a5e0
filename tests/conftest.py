"""Shared by every layer of the tests."""

import logging


def pytest_unconfigure():
    # salt-factories' handlers outlive pytest's streams and would complain about it after the summary.
    logging.raiseExceptions = False
