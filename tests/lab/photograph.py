"""Photograph the dashboard, for pictures.py: in the lab's network, with the environment of the tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.expected_conditions import presence_of_element_located  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

from tests.support.browser import chromium, log_in, shoot, size  # noqa: E402

WIDE, TELEPHONE = (1400, 1000), (400, 850)
# The sites are drawn, and a plan waits.
SHOWN = ("#picture .node", "[data-plan]")


def main(address, user, password, folder):
    browser = chromium(*WIDE)
    try:
        browser.get(address)
        log_in(browser, username=user, password=password, eauth="file")
        for selector in SHOWN:
            WebDriverWait(browser, 60).until(presence_of_element_located((By.CSS_SELECTOR, selector)))
        for name, (width, height) in (("dashboard", WIDE), ("dashboard-telephone", TELEPHONE)):
            size(browser, width, height)
            shoot(browser, Path(folder) / f"{name}.png")
    finally:
        browser.quit()


if __name__ == "__main__":
    main(*sys.argv[1:])
