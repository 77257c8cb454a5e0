"""The text for a ticket is what a terminal shows of a report."""

from tests.support.loader import load

tungsten_report = load("_output", "tungsten_report")


def test_it_is_the_reports_own_text():
    assert tungsten_report.output({"text": "Site east …\nTo go on: …", "steps": []}, nested_indent=4) == (
        "Site east …\nTo go on: …")
