"""Checks every link of the documents: its file is in the repository and not ignored, its heading is in that file."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def links(page: Path) -> list[tuple[str, str]]:
    """Returns (file, heading) of each link to the repository; the file is empty for a link within the page."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    found = re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", prose)
    return [(target, heading) for target, heading in found if not re.match(r"[a-z]+:", target)]


def headings(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub derives them."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file_in_the_repository(page: Path) -> None:
    targets = [target for target, _ in links(page) if target]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing
    if (ROOT / ".git").exists():
        paths = [str((page.parent / target).resolve()) for target in targets]
        asked = subprocess.run(["git", "check-ignore", "--no-index", *paths], cwd=ROOT, capture_output=True, text=True)
        assert not paths or asked.stdout == "", "git ignores these"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_heading_finds_it(page: Path) -> None:
    there = [(page.parent / target if target else page, heading) for target, heading in links(page) if heading]
    missing = [f"{file.name}#{heading}" for file, heading in there if heading not in headings(file)]
    assert not missing
