"""The Markdown of this project's own pages, as far as tests need it: blocks, words of code, links, headings."""

import re
from dataclasses import dataclass

from tests.support.loader import ROOT

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "tests/lab/README.md"]
FENCE = re.compile(
    r"^(?:<!-- not executed by a test: (?P<excuse>.+?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)


@dataclass
class Block:
    """What stands between two fences; ``excuse`` tells why no test executes its commands, if the page says so."""

    page: str
    language: str
    excuse: str | None
    text: str


def name(page):
    return str(page.relative_to(ROOT))


def blocks(page):
    return [Block(name(page), found["language"], found["excuse"], found["text"])
            for found in FENCE.finditer(page.read_text())]


def prose(page):
    return FENCE.sub("", page.read_text())


def words_of_code(page):
    """What stands between backticks in the running text, also over the end of a line."""
    return [" ".join(words.split()) for words in CODE.findall(prose(page))]


def links(page):
    return [target for target in LINK.findall(prose(page)) if "://" not in target]


def anchors(page):
    """As GitHub makes them of headings."""
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
            for heading in HEADING.findall(prose(page))}
