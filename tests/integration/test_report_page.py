"""The report as a page, in a real browser: on a wide screen, on a telephone, and in print."""

import base64

import pytest
from selenium.webdriver.common.by import By

from tests.support.browser import chromium, size
from tests.support.loader import load
from tests.unit.modules.test_runpage import command, standing
from tests.unit.modules.test_runreport import COPY, PLAN, record, step

runpage = load("_modules", "runpage")
runreport = load("_modules", "runreport")
runwords = load("_modules", "runwords")
WIDE, TELEPHONE = (1100, 1500), (400, 850)
LONG = "rsync: [receiver] write failed on \"/var/lib/mysql/shop/" + "orders_of_the_year/" * 20 + "orders.ibd\""


@pytest.fixture(scope="module")
def browser():
    opened = chromium(*WIDE)
    yield opened
    opened.quit()


@pytest.fixture
def configure_loader_modules():
    functions = {f"runwords.{name}": getattr(runwords, name) for name in ("again", "size", "duration", "printable")}
    return {runreport: {"__salt__": functions}, runpage: {"__salt__": functions}}


@pytest.fixture
def shown(browser, tmp_path):
    """A run that has stopped, with all that can be on a page, and with words that do not fit any."""
    run = record(
        state="failed", attempts=record()["attempts"] * 2, before=standing("ONLINE", 7), after=None,
        steps={"00 preflight": step(), COPY: step("failed", at=7, comment=f"m-west2: {LONG}")},
        findings=[{"node": "m-east1", "level": "warning", "what": LONG, "do": LONG}])
    asked = {"answers": {"m-east1": [command(answer=LONG), command(typed=["set policy maintenance", "ls"])]},
             "faults": {"m-west2": f"does not answer: {LONG}"}}
    path = tmp_path / "page.html"
    path.write_text(runpage.make(runreport.tell(run, "failed", PLAN, asked)))
    browser.get_log("browser")
    browser.get(path.as_uri())
    return browser


@pytest.mark.parametrize("width, height", [WIDE, TELEPHONE])
def test_nothing_is_cut_off_and_nothing_needs_scrolling_aside(shown, tmp_path, width, height):
    size(shown, width, height)
    for opened in shown.find_elements(By.TAG_NAME, "details"):
        shown.execute_script("arguments[0].open = true", opened)
    assert shown.execute_script("return document.documentElement.scrollWidth") <= width
    assert shown.get_log("browser") == []
    assert shown.save_screenshot(str(tmp_path / f"{width}.png"))
    assert (tmp_path / f"{width}.png").stat().st_size > 10000


def test_the_step_that_failed_is_open_and_the_others_open_by_a_click(shown):
    size(shown, *WIDE)
    failed = shown.find_element(By.CSS_SELECTOR, "details[open]")
    assert failed.find_element(By.TAG_NAME, "summary").text == COPY
    assert "rsync: [receiver] write failed" in failed.find_element(By.TAG_NAME, "pre").text
    node = shown.find_element(By.CSS_SELECTOR, "details:has(.command)")
    said = node.find_element(By.CSS_SELECTOR, ".command pre")
    assert not said.is_displayed()
    node.find_element(By.TAG_NAME, "summary").click()
    node.find_element(By.CSS_SELECTOR, ".command summary").click()
    assert said.is_displayed() and "write failed" in said.text


def test_it_can_be_printed(shown):
    printed = base64.b64decode(shown.print_page())
    assert printed.startswith(b"%PDF") and len(printed) > 10000
