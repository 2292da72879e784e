"""Write the tables of docs/migrating.md from docs/differences.toml.

python docs/make_migrating.py           write them
python docs/make_migrating.py --check   exit with 1 if the page is not what this would write
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).parent
PAGE, LIST = DOCS / "migrating.md", DOCS / "differences.toml"
BEGIN, END = "<!-- differences -->\n", "<!-- end of differences -->\n"


def tables() -> str:
    parts = []
    for topic, rows in tomllib.loads(LIST.read_text()).items():
        parts.append(f"### {topic}\n\n| | before | now | because |\n| --- | --- | --- | --- |\n")
        parts += [f"| {row['what']} | {row['before']} | {row['now']} | {row['why']} |\n" for row in rows]
        parts.append("\n")
    return "".join(parts)


def page() -> str:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return f"{before}{BEGIN}\n{tables()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if PAGE.read_text() != page():
            sys.exit("docs/migrating.md is not what docs/make_migrating.py writes: run it")
    else:
        PAGE.write_text(page())
