"""The picture of all sites: every state is in it, what is wrong stands out, a text cannot move the cursor."""

import re

import pytest
import salt.utils.color

from tests.support.loader import load

tungsten_sites = load("_output", "tungsten_sites")
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def service(state="ONLINE", seqno=5012, latency=0.42):
    return {"home": "cluster", "role": "slave", "state": state, "seqno": seqno, "stored": seqno, "latency": latency}


def node(role="slave", **more):
    return {"minion": "m", "role": role, "datasource": "ONLINE", "reason": None, "dataserver": "ONLINE",
            "manager": "ONLINE", "services": {"east": service(), "west": service(seqno=40)}, **more}


def view(**more):
    return {"policy": "AUTOMATIC", "primary": "east1", "routers": {"a": "ONLINE", "b": "OFFLINE"},
            "nodes": {"east1": node("master"), "east22": node()}, "wrong": [], "run": None, **more}


@pytest.fixture
def show(monkeypatch):
    def show(data, color=False):
        monkeypatch.setattr(tungsten_sites, "__opts__", {"color": color, "color_theme": None}, raising=False)
        return tungsten_sites.output(data)

    return show


def test_a_site_in_lines(show):
    assert show({"east": view()}).splitlines() == [
        "east  policy AUTOMATIC   primary east1   routers 1 of 2 ONLINE",
        "  east1   master  ONLINE  mysql ONLINE  east ONLINE 5012 0.4s  west ONLINE 40 0.4s",
        "  east22  slave   ONLINE  mysql ONLINE  east ONLINE 5012 0.4s  west ONLINE 40 0.4s",
    ]


def test_columns_stand_under_each_other_across_the_sites(show):
    long = node(services={"east": service("GOING-ONLINE:SYNCHRONIZING"), "west": service()})
    lines = show({"east": view(nodes={"east1": long}), "west": view()}).splitlines()
    rows = [line for line in lines if line.startswith("  ")]
    assert len(rows) == 3 and len({row.index(" west ") for row in rows}) == 1


def test_what_is_not_known_is_a_question_mark(show):
    unknown = node(None, datasource=None, dataserver=None,
                   services={"east": service(None, seqno=None, latency=None)})
    text = show({"east": view(policy=None, primary=None, routers={}, nodes={"east1": unknown})})
    assert text.splitlines() == [
        "east  policy ?   primary ?   routers 0 of 0 ONLINE",
        "  east1  ?  ?  mysql ?  east ? ? ?",
    ]


def test_a_node_without_services_beside_one_with_them(show):
    lines = show({"east": view(nodes={"east1": node(services={}), "east2": node()})}).splitlines()
    assert lines[1] == "  east1  slave  ONLINE  mysql ONLINE"
    assert lines[2].endswith("west ONLINE 40 0.4s")


def test_what_is_wrong_and_the_run_follow_the_nodes(show):
    run = {"run": "R-1", "state": "failed", "step": "13 mysqld started", "steps": "13 of 22", "next": "run it again"}
    lines = show({"east": view(wrong=["m: it said:\nline two"], run=run)}).splitlines()
    assert lines[3:] == [
        "  ! m: it said:",
        "      line two",
        "  run R-1: failed at 13 mysqld started, 13 of 22 steps done; run it again",
    ]
    run["step"] = None
    assert show({"east": view(run=run)}).splitlines()[-1] == "  run R-1: failed, 13 of 22 steps done; run it again"


def test_colours_add_nothing_but_colour(show):
    data = {"east": view(wrong=["m: it broke"]), "west": view()}
    assert ESCAPES.sub("", show(data, color=True)) == show(data)
    assert not ESCAPES.search(show(data))


def test_trouble_has_another_colour_than_health(show):
    well = show({"east": view()}, color=True)
    broken = show({"east": view(wrong=["x"], nodes={"east1": node("master", datasource="SHUNNED")})}, color=True)
    head = re.compile(r"^(\S+?)east")
    assert head.match(well)[1] != head.match(broken)[1]
    assert re.search(r"(\S+?)SHUNNED", broken)[1].endswith(head.match(broken)[1].strip())


@pytest.mark.parametrize("state, colour", [
    ("ONLINE", "GREEN"), ("OFFLINE:NORMAL", "LIGHT_RED"), ("OFFLINE:ERROR", "LIGHT_RED"), ("SHUNNED", "LIGHT_RED"),
    ("GOING-ONLINE:SYNCHRONIZING", "YELLOW"), (None, "YELLOW"),
])
def test_the_state_gives_the_colour_whatever_else_is_known(show, state, colour):
    sequences = salt.utils.color.get_colors(True)
    for seqno in (None, 7):
        text = show({"east": view(nodes={"east1": node(services={"west": service(state, seqno=seqno)})})}, color=True)
        assert f"{sequences[colour]}west {state or '?'} " in text


def test_a_tools_words_cannot_move_the_cursor(show):
    run = {"run": "R", "state": "failed", "step": "x\x1b[1A", "steps": "1 of 2", "next": "n\x9b2J"}
    text = show({"ea\x1b[2Jst": view(
        wrong=["m: \x1b]0;title\x07 \rgone \x08"], policy="\x1b[31m", run=run,
        nodes={"e\x1b1": node(datasource="\x1b[2K", services={"s\x1b": service("ON\x1b")})})})
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    assert "m: " in text and "gone" in text


def test_of_a_site_that_nobody_asked_only_its_run_is_told(show):
    run = {"run": "R-1", "state": "done", "step": None, "steps": "22 of 22", "next": "nothing to do"}
    assert show({"east": {"run": run}, "west": {"run": None}}, color=True).splitlines() == [
        "east", "  run R-1: done, 22 of 22 steps done; nothing to do", "", "west"]


def test_no_sites_no_lines(show):
    assert show({}) == ""
