"""What the benchmark tells people: tables, the page, the picture."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from tests.bench.benchkit import plot, report
from tests.support.loader import ROOT

SMALL, LARGE = ({"megabytes": megabytes, "sites": 2, "nodes": 3, "link": 0} for megabytes in (10, 2000))
FIGURES = {"whole": 100.0, "donor out": 40.0, "copy": 20.0, "replicas": 12.0, "verification": 0.0, "copying": 20.0,
           "rate": 100.0, "in tools": 50.0, "in mysqld": 4.0, "rest": 26.0, "others": 0.1}


def run(mode, setting=LARGE, calls=None, **words):
    return {"setting": setting, "mode": mode, "bytes": 2_200_000_000, "calls": calls or {"cctrl": 10, "trepctl": 37},
            "figures": {**FIGURES, **words}}


FOUND = {
    "date": "2026-11-27", "commit": "abc1234", "machine": {"cores": 2, "processor": "a fast one", "memory": 23.5},
    "runs": [run("by-hand"), run("warm", whole=60.0, **{"donor out": 0.0}), run("by-hand", whole=120.0),
             run("warm", whole=50.0, **{"donor out": 4.4}), run("by-hand", whole=110.0),
             run("hot", rate=None, calls={"trepctl": 3}), run("by-hand", SMALL)],
    "yardsticks": [{"setting": LARGE, "bytes": 2_000_000_000, "seconds": 10}], "errors": [],
}


def test_medians_spread_and_ratios():
    assert report.main_table(FOUND, LARGE) == [
        ["mode", "runs", "whole, s", "× by hand", "donor out, s", "× by hand", "copy, MB/s", "× tar", "replicas, s"],
        ["by-hand", "3", "110.0 (100.0–120.0)", "1.00", "40.0 (40.0–40.0)", "1.00", "100 (100–100)", "0.50",
         "12.0 (12.0–12.0)"],
        ["warm", "2", "55.0 (50.0–60.0)", "0.50", "2.2 (0.0–4.4)", "0.06", "100 (100–100)", "0.50",
         "12.0 (12.0–12.0)"],
        ["hot", "1", "100.0", "0.91", "40.0", "1.00", "–", "–", "12.0"],
        ["tar through ssh", "1", "", "", "", "", "200", "1.00", ""],
    ]


def test_without_the_script_nothing_is_compared():
    found = {**FOUND, "runs": [run("warm")], "yardsticks": []}
    assert report.main_table(found, LARGE)[1:] == [["warm", "1", "100.0", "–", "40.0", "–", "100", "–", "12.0"]]


def test_where_the_time_goes():
    assert report.share_table(FOUND, LARGE)[-1] == [
        "hot", "100.0", "50.0", "4.0", "20.0", "26.0", "0.0", "0", "3", "0", "0.10"]


def test_growth_has_a_row_for_each_setting_and_mode():
    rows = report.growth_table(FOUND)
    assert [row[:4] for row in rows[1:]] == [["2200 MB", "2 × 3", "memory", mode] for mode in (
        "by-hand", "warm", "hot", "by-hand")]
    assert {len(row) for row in rows} == {len(rows[0])}


def test_a_link_of_its_own_is_told():
    narrow = {**LARGE, "link": 200}
    assert report.name_of(narrow) == f"{report.name_of(LARGE)}, the donor's link 200 Mbit/s"
    found = {**FOUND, "runs": [*FOUND["runs"], run("warm", narrow)]}
    assert [row[2] for row in report.growth_table(found)][-1] == "200 Mbit/s"


def test_columns():
    assert report.text([["a", "b"], ["long", "x"]]) == "a     b\n----  -\nlong  x"
    assert report.markdown([["a", "b"], ["long", "x"]]) == "| a | b |\n| --- | --- |\n| long | x |"


def test_the_page_says_where_it_comes_from_and_holds_every_table():
    page = report.page(FOUND, 0.5)
    assert "2026-11-27" in page and "abc1234" in page and "2 cores\n(a fast one) and 23.5 GB" in page
    assert "50 % of the data" in page
    assert "| warm | 2 | 55.0 (50.0–60.0) | 0.50 |" in page
    assert f"]({report.PICTURE})" in page and "## As it grows" in page
    # A mode that was not measured is not explained.
    assert "| cold |" not in page
    # What is meant by them: the script is there.
    assert [path for path in re.findall(r"`(tests/[\w/.]+)`", page) if not (ROOT / path).exists()] == []


def svg(text):
    return ElementTree.fromstring(text), "{http://www.w3.org/2000/svg}"


def test_the_picture_has_bars_in_proportion_and_needs_nothing_else():
    text = report.picture(FOUND)
    root, name = svg(text)
    bars = [float(bar.get("width")) for bar in root.iter(f"{name}rect")
            if bar.get("height") == str(plot.BAR)]
    # by-hand 110 and 40, warm 55 and 2.2, hot 100 and 40; the widest reaches to 120, the most.
    most = plot.WIDTH - plot.LEFT - plot.RIGHT
    assert bars == [pytest.approx(most * part / 120, abs=0.1) for part in (110, 40, 55, 2.2, 100, 40)]
    assert "href" not in text and text.count("http") == 1
    height = float(root.get("height"))
    assert all(float(each.get("y")) < height for each in root.iter() if each.get("y"))


def test_a_picture_of_what_was_not_measured_and_of_words_that_are_markup():
    root, name = svg(plot.bars("<a> & b", "s", ["whole"], [("<c>", [None])]))
    words = [each.text for each in root.iter(f"{name}text")]
    assert words == ["<a> & b", "whole", "<c>", "not measured"]
