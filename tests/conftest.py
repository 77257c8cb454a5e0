"""Shared by every layer of the tests."""
