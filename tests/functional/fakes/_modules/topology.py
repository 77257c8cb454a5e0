"""Fake: what the test's world says."""

import json


def _world():
    with open(__opts__["world"], encoding="utf-8") as stream:
        return json.load(stream)


def node():
    return _world()["node"]


def get():
    return {"sites": {name: {"nodes": {h: h for h in hosts}} for name, hosts in _world()["sites"].items()}}
