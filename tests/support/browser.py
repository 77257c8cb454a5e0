"""Debian's chromium without a window: what a person would see of a page."""

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By


def chromium(width, height):
    """A browser that writes down what it complains of and asks for; to be quit by whoever wanted it."""
    options = Options()
    options.binary_location = "/usr/bin/chromium"
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                 f"--window-size={width},{height}"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))


def size(browser, width, height):
    """Of the page, not of the window: below some width there is no narrower window."""
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})


def shoot(browser, path):
    """A picture of the whole page, as long as it is."""
    width, height = browser.execute_script("return [innerWidth, document.documentElement.scrollHeight]")
    size(browser, width, height)
    assert browser.save_screenshot(str(path))


def log_in(browser, **words):
    """Fill in the dashboard's form, and send it."""
    for field, word in words.items():
        found = browser.find_element(By.CSS_SELECTOR, f"#login [name={field}]")
        found.clear()
        found.send_keys(word)
    browser.find_element(By.CSS_SELECTOR, "#login button").click()
