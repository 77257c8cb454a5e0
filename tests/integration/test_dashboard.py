"""The dashboard in a real browser, over a real salt-api with the rights of the example's configuration."""

import json
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress

import psutil
import pytest
import salt.utils.event
import salt.version
from selenium.common.exceptions import JavascriptException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.integration.conftest import NODES, PEOPLE, records
from tests.support import browser

WIDE, TELEPHONE = (1400, 1000), (400, 850)
FORGED = '<img src=x onerror="document.title=1">'
# A deadline, not a measure: other tests may have the machine as well.
SECONDS = 180
# salt-api of 3006 now and then answers so to one of two calls at once. The page asks again; the browser notes it.
HICCUP = () if salt.version.__saltstack_version__ >= "3007" else ("500 (Internal Server Error)",)


@pytest.fixture(scope="module")
def daemon(master, minions):
    factory = master.salt_api_daemon()
    factory.start(start_timeout=120)
    yield factory
    stop(factory)


def stop(daemon):
    # When it has ended, salt-factories looks at every process of the machine, and does not expect one to end meanwhile.
    with suppress(psutil.NoSuchProcess):
        daemon.terminate()


@pytest.fixture(scope="module")
def chromium():
    opened = browser.chromium(*WIDE)
    yield opened
    opened.quit()


class Page:
    """The dashboard as somebody sees it."""

    def __init__(self, shown_by, origin):
        self.browser, self.origin = shown_by, origin
        # Of what the browser itself writes into its console: the answers that a test asks for.
        self.expected = ()

    def open(self):
        self.browser.get(f"{self.origin}/dashboard/index.html")

    def log_in(self, name, password=None):
        words = {"username": name, "password": password or PEOPLE[name][1], "eauth": "file"}
        self.until(lambda: self.find("#login").is_displayed())
        browser.log_in(self.browser, **words)

    @contextmanager
    def opened_with(self, script):
        """A page that is opened meanwhile has this done first."""
        put = self.browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
        try:
            yield
        finally:
            self.browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", put)

    def looking_only_when_told(self):
        """Its regular looks never come due: what it shows of what happens meanwhile has an event as its reason."""
        return self.opened_with("""
            const later = window.setTimeout;
            window.setTimeout = (what, wait, ...more) => later(what, wait > 11000 ? 1e9 : wait, ...more);""")

    def start(self, name):
        self.open()
        self.log_in(name)
        self.until(lambda: self.all("#picture .node"))

    def find(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector):
        # What is shown may be drawn anew between finding and reading it.
        return "\n".join(self.script(
            "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)", selector))

    def script(self, code, *arguments):
        return self.browser.execute_script(code, *arguments)

    def until(self, condition):
        return WebDriverWait(self.browser, SECONDS, poll_frequency=0.2).until(lambda _: condition())

    def until_said(self, selector, words):
        self.until(lambda: words in self.text(selector))

    def click(self, selector):
        self.script("document.querySelector(arguments[0]).click()", selector)

    def decide(self, what, reason, site=None):
        self.click(f"[data-plan] [data-key^={what}]")
        if site:
            self.find("#decide [name=site]").send_keys(site)
        self.find("#decide [name=reason]").send_keys(reason)
        self.find("#decide [value=go]").click()

    def size(self, width, height):
        browser.size(self.browser, width, height)

    def shoot(self, path):
        browser.shoot(self.browser, path)
        assert path.stat().st_size > 10000

    def complaints(self):
        return [entry["message"] for entry in self.browser.get_log("browser")
                if not any(word in entry["message"] for word in (*self.expected, *HICCUP))]

    def asked_elsewhere(self):
        sent = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        urls = [each["params"]["request"]["url"] for each in sent if each["method"] == "Network.requestWillBeSent"]
        assert urls
        return [url for url in urls if not url.startswith(f"{self.origin}/")]


@pytest.fixture
def page(chromium, daemon, api, world):
    shown = Page(chromium, f"http://127.0.0.1:{api['rest_cherrypy']['port']}")
    chromium.get_log("browser")
    chromium.get_log("performance")
    shown.size(*WIDE)
    yield shown
    assert shown.complaints() == []
    assert shown.asked_elsewhere() == []
    chromium.execute_script("sessionStorage.clear()")
    chromium.get("about:blank")


def ask(api, path, token=None, **body):
    """What salt-api answers to somebody without a browser: its status, and the JSON if there is any."""
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if token:
        headers["X-Auth-Token"] = token
    address = f"http://127.0.0.1:{api['rest_cherrypy']['port']}/{path}"
    request = urllib.request.Request(address, json.dumps([body] if token else body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)["return"][0]
    except urllib.error.HTTPError as error:
        return error.code, None


def token_of(api, name):
    return ask(api, "login", username=name, password=PEOPLE[name][1], eauth="file")[1]["token"]


def make_plan(master, why):
    done = master.salt_run_cli(timeout=180).run("reprovision.plan", "east", f"why={why}")
    assert done.returncode == 0, done.stdout
    return done.data["plan"]


def load(master, plan):
    return json.loads((records(master) / "east/plans" / f"{plan}.json").read_text())


def runs(master):
    return [json.loads(path.read_text()) for path in sorted((records(master) / "east").glob("2*.json"))]


def break_east(world):
    state = world.read()
    state["sites"]["east"]["policy"] = "MAINTENANCE"
    state["nodes"]["east2"]["cross_site"]["west"] = {
        "state": "OFFLINE:ERROR", "pendingError": f"Event application failed: seqno=6 {FORGED}"}
    world.write(state)


def test_a_login_is_refused_and_another_one_works_until_its_end(page, api):
    page.expected = ("401",)
    page.open()
    page.log_in("adam", "lucy's word")
    page.until_said("#login [role=alert]", "Could not authenticate using provided credentials")
    assert not page.find("main").is_displayed()
    page.log_in("adam")
    page.until(lambda: page.all("#picture .node"))
    assert page.find("#user").text == "adam" and not page.find("#login").is_displayed()
    # Nothing that another page could use: no cookie, no token in an address.
    assert page.browser.get_cookies() == [] and page.browser.current_url.endswith("/dashboard/index.html")
    token = page.script("return JSON.parse(sessionStorage.getItem('tungsten-dashboard')).token")
    assert ask(api, "", token, client="runner", fun="reprovision.plans") == (200, [])
    page.open()
    page.until(lambda: page.all("#picture .node"))
    page.click("#logout")
    page.until(lambda: page.find("#login").is_displayed())
    assert page.script("return sessionStorage.length") == 0 and page.text("main .node") == ""
    page.until(lambda: ask(api, "", token, client="runner", fun="reprovision.plans")[0] == 401)


def test_the_rights_of_the_example(daemon, api, world):
    looks, decides = token_of(api, "lucy"), token_of(api, "adam")
    plan = "east-20260101T000000-1a2b"
    for fun in ("reprovision.status", "reprovision.plans", "reprovision.list", "drift.show", "reprovision.reported"):
        kwarg = {"site": "east"} if fun == "reprovision.reported" else {}
        assert ask(api, "", looks, client="runner", fun=fun, kwarg=kwarg)[0] == 200, fun
    for fun in ("reprovision.approve", "reprovision.deny"):
        assert ask(api, "", looks, client="runner", fun=fun, kwarg={"plan": plan})[0] == 401, fun
        assert "There is no plan" in ask(api, "", decides, client="runner", fun=fun, kwarg={"plan": plan})[1]
    for token in (looks, decides):
        for fun in ("reprovision.plan", "reprovision.abort", "reprovision.report", "state.orchestrate", "salt.cmd"):
            assert ask(api, "", token, client="runner", fun=fun)[0] == 401, fun
        assert ask(api, "", token, client="local", fun="test.ping", tgt="*")[0] == 400
        assert ask(api, "", token, client="wheel", fun="key.list_all")[0] == 400


def test_the_picture_shows_every_node_and_way(page, world, tmp_path):
    page.start("lucy")
    assert sorted(node.get_attribute("data-node") for node in page.all("#picture .node")) == NODES
    assert {node.get_attribute("data-node") for node in page.all("#picture .node.primary")} == {"east1", "west1"}
    for node in NODES:
        text = page.text(f"[data-node={node}]")
        assert ("primary" if node.endswith("1") else "replica") in text and "datasource ONLINE" in text
        assert all(word in text for word in ("east ONLINE", "west ONLINE", "router ONLINE", "MySQL ONLINE"))
    for way in ("east-west", "west-east"):
        assert "✓ 2 of 2 ONLINE" in page.text(f"[data-way={way}]")
    assert page.text("#headlines") == "✓ All sites stand well" and not page.find("#wrong").is_displayed()
    assert "salt-run drift.check" in page.text("#drift-body")
    assert len(page.all("#table tbody tr")) == len(NODES)
    page.shoot(tmp_path / "wide.png")
    page.size(*TELEPHONE)
    page.until(lambda: int(page.find("#picture svg").get_attribute("width")) < TELEPHONE[0])
    assert page.script("return document.documentElement.scrollWidth") == TELEPHONE[0]
    page.shoot(tmp_path / "telephone.png")
    assert world.journal() == []


def test_a_site_between_others_and_what_is_not_known(page):
    """Three sites, one of which tells nothing: more than the stand-ins have."""
    page.start("lucy")
    page.script("""
        window.shown = null;
        Promise.all([import('/dashboard/picture.js'), import('/dashboard/look.js')]).then(([{ picture }]) => {
            const node = (name) => ({ minion: name, role: null, datasource: null, reason: null, dataserver: null,
                                      manager: null, services: {} });
            const site = (name) => ({ policy: null, primary: null, routers: {}, wrong: ['x'],
                                      nodes: { [name]: node(name) } });
            const status = Object.fromEntries(['a1', 'b1', 'c1'].map((name) => [name, site(name)]));
            window.shown = [1200, 390].map((width) => picture(status, {}, width));
        });""")
    page.until(lambda: page.script("return window.shown !== null"))
    for number in (0, 1):
        ways = page.script(
            "return [...shown[arguments[0]].querySelectorAll('.way')].map((one) => one.dataset.way)", number)
        assert sorted(ways) == ["a1-b1", "a1-c1", "b1-a1", "b1-c1", "c1-a1", "c1-b1"]
        words = page.script("return shown[arguments[0]].textContent", number)
        assert "role ?" in words and "datasource ?" in words and "policy ?" in words and "ONLINE, " not in words


@pytest.mark.parametrize(("failures", "seen"), [(3, True), (99, False)])
def test_a_salt_api_that_trips_over_itself_is_asked_again_but_not_for_ever(page, failures, seen):
    with page.opened_with("""
            const real = window.fetch;
            window.asked = 0;
            window.fetch = (url, how) => {
              const look = how?.body?.includes('"reprovision.plans"');
              return look && (window.asked += 1) <= %d ? Promise.resolve(new Response(
                '{"return": "An unexpected error occurred"}', { status: 500 })) : real(url, how);
            };""" % failures):  # fmt: skip
        page.start("lucy")
    if seen:
        page.until_said("#memory-body", "Plans (0)")
        assert "not live" not in page.text("#fresh")
    else:
        page.until_said("#old", "500: An unexpected error occurred")
    assert page.script("return window.asked") >= 4


def test_what_is_wrong_is_said_in_words_and_markup_stays_text(page, world):
    page.start("lucy")
    break_east(world)
    page.click("#again")
    page.until_said("#wrong", f"Event application failed: seqno=6 {FORGED}")
    assert page.text("#wrong h2").strip() == "✕ 2 things are wrong"
    assert "east: its policy is MAINTENANCE, so nothing recovers by itself" in page.text("#wrong")
    assert "✕ 1 of 2 ONLINEOFFLINE:ERROR" in page.text("[data-way=west-east]")
    assert "policy MAINTENANCE" in page.text("[data-site=east]")
    assert "✕west OFFLINE:ERROR" in page.text("[data-node=east2]")
    assert page.all("main img") == []
    # The browser itself lets nothing make markup of text.
    with pytest.raises(JavascriptException, match="TrustedHTML"):
        page.script("document.querySelector('#wrong').innerHTML = arguments[0]", FORGED)
    page.expected = ("TrustedHTML",)


def test_a_plan_is_refused_to_who_may_not_decide_and_denied_by_who_may(page, master, world):
    assert master.salt_run_cli(timeout=180).run("drift.check").returncode == 2
    with page.looking_only_when_told():
        page.start("lucy")
    page.until_said("#headlines", "✕ east has drifted")
    assert "✕ drifted" in page.text("#drift-body") and "app.words: 1 changed" in page.text("#drift-body")
    assert "✓ taken to be right by that check" in page.text("#drift-body")
    plan = make_plan(master, f"{FORGED} seen on east1")
    page.until_said("[data-plan]", f"{FORGED} seen on east1")
    shown = page.text("[data-plan]")
    for words in ("A plan for east waits", "by a copy of west2", "What only east has is lost", "at most 0",
                  "16 replicas provisioned", "west2 is out of service for about", "app.words: 1 changed", "not saved"):
        assert words in shown, words
    assert page.text("#headlines").startswith("⚑ A plan for east waits for a decision")
    page.decide("approve", "let me", site="east")
    page.until_said("#decide [role=alert]", 'Authentication failure of type "token" occurred for user lucy.')
    page.click("#decide [value=back]")
    page.decide("deny", "let me")
    page.until_said("#decide [role=alert]", "occurred for user lucy.")
    assert load(master, plan)["state"] == "open" and runs(master) == [] and world.journal() == []
    page.expected = ("401",)

    page.click("#decide [value=back]")
    page.click("#logout")
    page.log_in("adam")
    page.until(lambda: page.all("[data-plan]"))
    page.decide("deny", f"it was late {FORGED}: [x")
    page.until_said("#notice", f"Plan {plan} was denied.")
    page.until(lambda: not page.all("[data-plan]"))
    page.until_said("#memory", "denied by adam")
    page.until_said("#memory", f"it was late {FORGED}: [x")
    decided = load(master, plan)["decided"]
    assert (decided["state"], decided["who"], decided["reason"]) == ("denied", "adam", f"it was late {FORGED}: [x")


def test_an_approved_plan_is_run_and_shown_to_its_end(page, master, world, tmp_path):
    plan = make_plan(master, "drift was proved")
    with page.looking_only_when_told():
        page.start("adam")
    page.until(lambda: page.all("[data-plan]"))
    page.script("window.same = true")
    page.decide("approve", "rows are saved", site="west")
    assert not page.find("#decide [value=go]").is_enabled() and load(master, plan)["state"] == "open"
    page.find("#decide [name=site]").clear()
    page.find("#decide [name=site]").send_keys("east")
    page.find("#decide [value=go]").click()
    page.until_said("#notice", f"Plan {plan} was approved")
    page.until_said("#headlines", "east is being re-provisioned")
    page.until(lambda: "being rebuilt" in page.text("[data-site=east]") and "donor" in page.text("[data-node=west2]"))
    page.shoot(tmp_path / "running.png")
    page.until_said("[data-run]", "done and verified")
    page.until_said("#headlines", "All sites stand well")
    (run,) = runs(master)
    assert (run["state"], run["attempts"][0]["who"], run["plan_id"]) == ("done", "adam", plan)
    assert len(page.all("[data-run] .steps > li.good")) == len(run["plan"]) == 24
    assert "1 rows of 1 tables are equal on all nodes" in page.text("[data-run]")
    assert "east1: " in page.text("[data-run] pre")
    page.until_said("#memory", f"{plan}: used; approved by adam")
    assert page.script("return window.same"), "it was loaded again"


def test_a_run_that_fails_says_where_why_and_how_it_goes_on(page, master, world):
    world.change(faults={"east1 mysqld.stop": "lie"})
    assert master.salt_run_cli(timeout=180).run("state.orch", "orch.reprovision").returncode != 0
    page.start("lucy")
    page.until_said("#headlines", "The run of east is failed: 6 of 24 steps done, at 07 mysqld stopped")
    assert "mariadb is running, not stopped" in page.text("[data-run] details[open] pre")
    assert "salt-run state.orch orch.reprovision pillar='" in page.text("[data-run] code")


def test_an_event_is_only_a_reason_to_look(page, master, world):
    with page.looking_only_when_told():
        page.start("lucy")
    page.until(lambda: "✓" in page.text("#fresh"))
    break_east(world)
    with salt.utils.event.get_event("master", opts=dict(master.config), listen=False) as bus:
        for what in ("20990101T000000-9/00 preflight/failed", "plan/east-20990101T000000-9999/open"):
            told = {"run": "20990101T000000-9", "plan": "east-20990101T000000-9999", "comment": f"forged {FORGED}"}
            assert bus.fire_event(told, f"salt/reprovision/east/{what}")
    # The page has looked for itself, and what it has seen is what there is.
    page.until_said("#wrong", "its policy is MAINTENANCE")
    assert "2099" not in page.text("body") and "forged" not in page.text("body") and not page.all("[data-run]")


def test_what_is_old_is_said_to_be_and_a_session_that_is_over_ends(page, daemon):
    page.start("lucy")
    page.until(lambda: "✓" in page.text("#fresh"))
    page.expected = ("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE",
                     "ERR_INCOMPLETE_CHUNKED_ENCODING", "401")
    stop(daemon)
    try:
        page.until_said("#fresh", "✕ not live")
        page.until_said("#old", "The master's events are not heard")
        assert page.all("#picture .node"), "what was seen last is still there"
    finally:
        daemon.start(start_timeout=120)
    # salt-api keeps its sessions in memory.
    page.until_said("#login [role=alert]", "The session is over. Log in again.")
    assert not page.find("main").is_displayed() and page.all("#picture .node") == []
    page.log_in("lucy")
    page.until(lambda: page.all("#picture .node"))
