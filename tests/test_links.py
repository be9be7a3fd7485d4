"""What the documentation points to is there, on a clean checkout as well: a link to what git ignores is a dead one."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file_in_the_repository(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    here = [target for target in targets if not re.match(r"[a-z]+:", target)]
    missing = [target for target in here if not (page.parent / target).exists()]
    assert not missing
    if (ROOT / ".git").exists():
        paths = [str((page.parent / target).resolve()) for target in here]
        asked = subprocess.run(["git", "check-ignore", "--no-index", *paths], cwd=ROOT, capture_output=True, text=True)
        assert not paths or asked.stdout == "", "git ignores these"
