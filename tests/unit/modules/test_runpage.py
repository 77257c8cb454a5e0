"""runpage: one page that loads nothing, shows what a tool said and never obeys it."""

from html.parser import HTMLParser

import pytest

from tests.support.loader import load
from tests.unit.modules.test_runreport import COPY, PLAN, record, step

runpage = load("_modules", "runpage")
runreport = load("_modules", "runreport")
runwords = load("_modules", "runwords")

LOADS = {"script", "link", "img", "iframe", "object", "embed", "video", "audio", "base", "form"}
OPEN_ENDED = {"meta"}


def standing(state, seqno, *wrong):
    node = {"role": "slave", "datasource": state, "services": {
        "west": {"state": state, "seqno": seqno}}}
    return {"east": {"nodes": {"east1": node}, "wrong": list(wrong)}}


def command(at="2026-01-01T03:00:00Z", typed=("ls",), answer="all is well", code=0, took=0.5):
    return {"at": at, "took": took, "argv": ["/opt/continuent/bin/cctrl", "-expert"], "typed": list(typed),
            "code": code, "answer": answer}


@pytest.fixture
def configure_loader_modules():
    functions = {f"runwords.{name}": getattr(runwords, name) for name in ("again", "size", "duration", "printable")}
    return {runreport: {"__salt__": functions}, runpage: {"__salt__": functions}}


class Page(HTMLParser):
    """What of a page is open at its end, which elements it has, and its words."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.words, self.bars, self.attributes = [], [], "", [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs
        if tag not in OPEN_ENDED:
            self.open.append(tag)
        if ("class", "bar") in attrs:
            self.bars.append(dict(part.split(":") for part in dict(attrs)["style"].split(";")))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += f" {data}"


def page(run, state="done", plan=None, commands=None):
    made = Page(runpage.make(runreport.tell(run, state, plan, commands)))
    assert made.open == [], "every element is closed"
    made.words = " ".join(made.words.split())
    return made


def test_everything_is_on_it():
    words = page(record(), plan=PLAN).words
    for told in ("Site east is re-provisioned and verified", "20260101T000000-7", "by a copy of west2 over east1",
                 "2026-01-01T01:02:03Z, after 1 h 02 min", "east-1, made by alice, approved by bob: seen",
                 "(3 min 05 s)", "109.0 MB of data in 10 s, 10.9 MB a second", "8,272 rows of 4 tables are equal",
                 "east1 (primary)", "west2 (donor)", COPY, "m-east1 , 3 answers"):
        assert told in words


def test_nothing_is_loaded_from_anywhere():
    made = page(record(), plan=PLAN)
    assert not LOADS & set(made.elements)
    assert not [value for name, value in made.attributes if name in ("src", "href") or "url(" in (value or "")]
    text = runpage.make(runreport.tell(record(), "done"))
    assert "@import" not in text and "url(" not in text and "http" not in text


@pytest.mark.parametrize("words", ["</pre><script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "{{ 7 * 7 }}"])
def test_what_a_tool_said_is_shown_and_not_obeyed(words):
    run = record(attempts=[{**record()["attempts"][0], "who": words}],
                 findings=[{"node": "m-east1", "level": "warning", "what": words, "do": words}],
                 steps={"00 preflight": step("failed", comment=f"m-east1: {words}")})
    made = page(run, "failed", {**PLAN, "by": words, "decided": {**PLAN["decided"], "reason": words}})
    assert not LOADS & set(made.elements)
    assert made.words.count(words) == 7


def test_how_the_sites_stood_before_and_after():
    words = page(record(before=standing("OFFLINE", None, "m-east1: it is offline"), after=standing("ONLINE", 7))).words
    assert "before after east1 slave OFFLINE west OFFLINE slave ONLINE west ONLINE 7" in words
    assert "before: m-east1: it is offline" in words
    assert "Before and after" not in page(record()).words, "a record of before there was that"
    failed = page(record(before=standing("ONLINE", 7)), "failed")
    assert "east1 slave ONLINE west ONLINE 7 not on record" in failed.words


def test_what_the_tools_were_told_with_every_answer():
    told = {"answers": {"m-east1": [
        command(typed=["set policy maintenance", "ls"]), command(answer="not yet"), command(answer="now", took=0.75),
        {**command(code=124), "argv": ["/opt/replicator/bin/trepctl", "services"], "typed": []}], "m-west1": []},
        "faults": {"m-west2": "does not answer vendorlog.read"}}
    made = page(record(), commands=told)
    assert "m-west2: does not answer vendorlog.read" in made.words
    assert "m-east1 , 3 commands" in made.words and "m-west1 , 0 commands" in made.words
    assert ("03:00:00 cctrl: set policy maintenance; ls 0.5 s /opt/continuent/bin/cctrl -expert all is well "
            "03:00:00 cctrl: ls × 2 1.2 s /opt/continuent/bin/cctrl -expert now "
            "03:00:00 trepctl: services code 124, 0.5 s") in made.words
    assert "vendor's tools" not in page(record()).words


def test_what_a_tool_answered_is_shown_and_not_obeyed():
    words = "</pre><script>alert(1)</script>{{ 7 * 7 }}"
    made = page(record(before=standing(words, None, words)), commands={
        "answers": {"m-east1": [command(typed=[words], answer=words)]}, "faults": {"m-west2": words}})
    assert not LOADS & set(made.elements)
    assert made.words.count(words) == 6


def test_it_can_be_written_in_any_locale():
    made = runpage.make(runreport.tell(record(donor="wést2"), "done"))
    assert made.isascii() and "w&#233;st2" in made


def test_one_that_has_only_begun():
    run = record(steps={}, copied=False, verified=None, finished=None, bytes=None, donor_outages=[])
    made = page(run, "running")
    assert made.bars == []
    assert "Ended not yet" in made.words and "Verified not yet" in made.words and "never" in made.words
    assert made.words.count("to come") == 3


def test_one_that_has_stopped_opens_the_step_and_says_how_to_go_on():
    run = record(state="failed", attempts=record()["attempts"] * 2, steps={"00 preflight": step("failed")})
    made = page(run, "failed")
    assert made.attributes.count(("open", None)) == 1
    assert "salt-run state.orch orch.reprovision pillar=" in made.words and "Attempts" in made.words


def test_a_donor_that_is_still_away():
    words = page(record(donor_outages=[{"from": "2026-01-01T00:00:05Z", "until": None}]), "failed").words
    assert "2026-01-01T00:00:05Z to now (unknown)" in words


def test_the_bars_are_a_time_line():
    bars = page(record()).bars
    assert [bar["left"] for bar in bars] == ["0.0%", "21.54%", "92.31%"]
    assert [bar["width"] for bar in bars] == ["7.69%", "30.77%", "7.69%"]


def test_the_time_line_begins_with_what_is_on_record():
    steps = {"00 preflight": step(at=50), COPY: step(at=55, seconds=0.0)}
    bars = page(record(steps=steps)).bars
    assert bars[0]["left"] == "0.0%" and bars[1] == {"left": "100.0%", "width": f"{runpage.NARROWEST}%"}


def test_a_step_that_runs_has_a_beginning():
    running = step("running", at=30)
    del running["seconds"]
    bars = page(record(steps={"00 preflight": step(), "complete": running}), "running").bars
    assert bars[1]["left"] == "100.0%"
