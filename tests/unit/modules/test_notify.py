"""notify: who is told what, in which way; nothing that goes wrong with it reaches the run."""

import json
import syslog
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from unittest.mock import create_autospec

import pytest

from tests.support.loader import load
from tests.unit.modules.test_runreport import record

notify = load("_modules", "notify")
runreport = load("_modules", "runreport")
runwords = load("_modules", "runwords")


@pytest.fixture
def opts():
    return {"__role": "master"}


@pytest.fixture
def lines(monkeypatch):
    written = create_autospec(syslog.syslog)
    monkeypatch.setattr(notify.syslog, "syslog", written)
    return written


@pytest.fixture
def configure_loader_modules(opts):
    words = {f"runwords.{name}": getattr(runwords, name) for name in ("again", "size", "duration", "printable")}
    reports = {"runreport.tell": runreport.tell, "runreport.text": runreport.text,
               "runwords.printable": runwords.printable}
    return {notify: {"__opts__": opts, "__salt__": reports}, runreport: {"__salt__": words}}


@pytest.fixture
def hook():
    """A real web server; what it got, and what it answers."""
    got, ended = [], Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):  # noqa: N802 - http.server's name
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, self.headers["Content-Type"], json.loads(body)))
            if self.path.endswith("slow"):
                # A byte now and then: no single wait is long.
                while not ended.wait(0.05):
                    self.wfile.write(b"H")
                return
            self.send_response(*{"gone": (404, "\x1b[2Jcanary"), "moved": (302,)}.get(self.path.split("/")[-1], (200,)))
            self.send_header("Location", "/hooks/login")
            self.end_headers()

        def do_GET(self):  # noqa: N802 - http.server's name
            got.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            """Nothing on stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    server.got, server.url = got, f"http://127.0.0.1:{server.server_port}/hooks/canary"
    yield server
    ended.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_nothing_is_told_where_nothing_is_configured(lines):
    assert notify.send("done", "east", "well") == []
    lines.assert_not_called()


def test_a_webhook_gets_json(opts, hook):
    opts["reprovision_notify"] = [{"webhook": hook.url}]
    assert notify.send("failed", "east", "no <room>", run="7") == [{"way": "webhook", "fault": None}]
    assert hook.got == [("/hooks/canary", "application/json", {
        "text": "no <room>", "what": "failed", "site": "east", "run": "7"})]


@pytest.mark.parametrize("what, level", [
    ("started", syslog.LOG_NOTICE), ("approval", syslog.LOG_WARNING), ("failed", syslog.LOG_ERR),
    ("done", syslog.LOG_NOTICE)])
def test_syslog_gets_one_line(opts, lines, what, level):
    opts["reprovision_notify"] = [{"syslog": "local3"}]
    assert notify.send(what, "east", "one\n\x1btwo") == [{"way": "syslog", "fault": None}]
    lines.assert_called_once_with(syslog.LOG_LOCAL3 | level, f"reprovision: {what}: one | ?two")


def test_each_way_tells_what_it_is_to_tell(opts, lines, hook):
    opts["reprovision_notify"] = [{"webhook": hook.url, "on": ["approval", "failed"]}, {"syslog": "user"}]
    assert [told["way"] for told in notify.send("started", "east", "…")] == ["syslog"]
    assert [told["way"] for told in notify.send("failed", "east", "…")] == ["webhook", "syslog"]


@pytest.mark.parametrize("path, fault", [
    ("/gone", "HTTP status 404"), ("/moved", "HTTP status 302"), ("/slow", "no answer within 1 s"),
    (None, "ConnectionRefusedError")])
def test_a_webhook_that_fails_is_logged_without_its_address(opts, lines, hook, caplog, monkeypatch, path, fault):
    monkeypatch.setattr(notify, "SECONDS", 1)
    url = f"{hook.url}{path}" if path else "http://127.0.0.1:1/hooks/canary"
    opts["reprovision_notify"] = [{"webhook": url}, {"syslog": "user"}]
    caplog.set_level(1)
    broken, well = notify.send("done", "east", "…")
    assert broken["fault"] == fault and well["fault"] is None
    assert "/hooks/login" not in hook.got, "a redirect loses the message"
    assert "was not told" in caplog.text and "canary" not in caplog.text + broken["fault"]


@pytest.mark.parametrize("entry, words", [
    ("https://chat.example.org/canary", "either webhook or syslog"),
    ({"webhook": "https://chat.example.org/canary", "syslog": "user"}, "either webhook or syslog"),
    ({"webhook": "https://chat.example.org/canary", "to": "bob"}, "only on"),
    ({"webhook": "file:///etc/canary"}, "http:// or https://"),
    ({"webhook": ["https://chat.example.org/canary"]}, "http:// or https://"),
    ({"webhook": "https://chat.example.org/canary", "on": ["drift"]}, "a list of started"),
    ({"webhook": "https://chat.example.org/canary", "on": "failed"}, "a list of started"),
    ({"webhook": "https://bot:canary@chat.example.org/hooks"}, "without a name or password"),
    ({"webhook": "https://chat.example.org:canary/hooks"}, "http:// or https://"),
    ({"webhook": "https:///canary"}, "http:// or https://"),
    ({"webhook": "https://chat.example.org/canary\x7f"}, "http:// or https://"),
    ({"webhook": None}, "http:// or https://"),
    ({"webhook": "https://chat.example.org/canary", "on": 7}, "a list of started"),
    ({"syslog": "canary"}, "one of user, daemon"),
    ({"syslog": ["canary"]}, "one of user, daemon"),
    (None, "either webhook or syslog"),
])
def test_a_wrong_entry_is_told_without_its_values_and_the_others_go_out(opts, lines, caplog, entry, words):
    opts["reprovision_notify"] = [entry, {"syslog": "user"}]
    wrong, well = notify.send("failed", "east", "…")
    assert words in wrong["fault"] and well == {"way": "syslog", "fault": None}
    assert "entry 1" in caplog.text and "canary" not in caplog.text


@pytest.mark.parametrize("wrong", [True, "canary", {"webhook": "canary"}, 7])
def test_what_is_no_list_is_told_and_raises_nothing(opts, caplog, wrong):
    opts["reprovision_notify"] = wrong
    assert notify.send("done", "east", "…") == [{"way": None, "fault": "reprovision_notify has to be a list"}]
    assert "has to be a list" in caplog.text and "canary" not in caplog.text


def test_a_long_text_is_cut_since_chats_refuse_it(opts, hook):
    opts["reprovision_notify"] = [{"webhook": hook.url}]
    notify.send("failed", "east", "x" * 10**6)
    assert len(hook.got[0][2]["text"]) == notify.MOST + 1


@pytest.mark.parametrize("state, what, words", [
    ("running", "started", "Site east is being re-provisioned"), ("done", "done", "re-provisioned and verified"),
    ("failed", "failed", "To go on: salt-run state.orch"), ("aborted", "failed", "the run was stopped"),
])
def test_of_a_run(opts, hook, state, what, words):
    opts["reprovision_notify"] = [{"webhook": hook.url}]
    notify.of_run(record(state=state))
    ((_, _, message),) = hook.got
    assert (message["what"], message["site"], message["run"]) == (what, "east", "20260101T000000-7")
    assert words in message["text"]


@pytest.mark.parametrize("why, made_by", [("it lags", "Made by event: it lags."), (None, "Made by event.")])
def test_of_a_plan(opts, hook, why, made_by):
    opts["reprovision_notify"] = [{"webhook": hook.url}]
    notify.of_plan({"plan": "east-1", "site": "east", "by": "event", "why": why, "expires": "2026-01-02T00:00:00Z"})
    ((_, _, message),) = hook.got
    assert (message["what"], message["plan"]) == ("approval", "east-1")
    assert message["text"].splitlines() == [
        "Plan east-1 waits for approval until 2026-01-02T00:00:00Z: to re-provision site east.", made_by,
        "salt-run reprovision.approve east-1", "salt-run reprovision.deny east-1"]


def test_it_is_the_masters(opts):
    assert notify.__virtual__() == "notify"
    opts["__role"] = "minion"
    assert notify.__virtual__()[0] is False
