"""Puts the shipped configurations into docs/deployment.md: after each comment that names one, its text.

`python docs/include_configs.py` writes the page, `--check` fails if it is not up to date.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "deployment.md"
MARK = re.compile(r"^<!-- (contrib/\S+) -->\n(?:```\w*\n.*?^```\n)?", re.MULTILINE | re.DOTALL)
LANGUAGES = {".conf": "ini", ".ini": "ini", ".service": "ini", ".socket": "ini"}


def included(page: str) -> str:
    def block(match: re.Match[str]) -> str:
        file = ROOT / match[1]
        language = "nginx" if file.parent.name == "nginx" else LANGUAGES[file.suffix]
        return f"<!-- {match[1]} -->\n```{language}\n{file.read_text().rstrip()}\n```\n"

    return MARK.sub(block, page)


def main() -> int:
    before = PAGE.read_text()
    after = included(before)
    if "--check" in sys.argv[1:]:
        if before != after:
            print(f"{PAGE.relative_to(ROOT)} is not up to date with contrib/: run {Path(__file__).relative_to(ROOT)}")
        return int(before != after)
    PAGE.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
