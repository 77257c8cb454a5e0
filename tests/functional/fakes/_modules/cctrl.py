"""Fake: what the test's world says."""

import json


def ls(timeout=60):
    with open(__opts__["world"], encoding="utf-8") as stream:
        return json.load(stream)["ls"]
