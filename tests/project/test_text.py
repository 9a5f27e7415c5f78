"""What may not stand in any file."""

from __future__ import annotations

import re
from pathlib import Path

# Bracketed so that this file does not match itself.
FORBIDDEN = {
    "the host of a package registry or mirror: whoever installs has an own": re.compile(
        r"py[p]i\.(org|python)|python[h]osted|registry\.npm[j]s|[d]eb\.debian|[a]rchive\.ubuntu|download\.pytorc[h]"
        r"|--(extra-)?index-ur[l]|--find-links [h]ttp|proxy\.golan[g]",
        re.IGNORECASE,
    ),
    "a folder of one machine": re.compile(r"(?<![\w.}/$-])/(wor[k]|hom[e]/\w+|Use[r]s)/"),
    "a merge that was not finished": re.compile(r"^(<{7}|>{7}) ", re.MULTILINE),
    "a key": re.compile(r"BEGIN [A-Z ]*PRIVATE KE[Y]"),
}


def test_no_file_says_what_it_may_not(root: Path, files: list[Path]) -> None:
    found = []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for reason, pattern in FORBIDDEN.items():
            for match in pattern.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                found.append(f"{path.relative_to(root)}:{line}: {match[0]!r} is {reason}")
    assert not found, "\n".join(found)


def test_links_within_the_docs_lead_somewhere(root: Path, files: list[Path]) -> None:
    dead = []
    for page in (path for path in files if path.suffix == ".md"):
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:|#", target) and not (page.parent / target.partition("#")[0]).exists():
                dead.append(f"{page.relative_to(root)}: {target}")
    assert not dead
