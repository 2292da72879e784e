"""Record what upstream's uvicorn does, and what ours does where it differs.

    python -m tests.compat upstream PYTHON    by an interpreter that has upstream's uvicorn[standard] and wsproto
    python -m tests.compat ours               by this one; read the change before you commit it
    ... GROUP ...                             only groups whose name begins so, the rest stays as it was

The first writes upstream.json, the second ours.json, with the observations that are not upstream's.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from .differences import OURS, UPSTREAM, is_as_upstream, recorded, write
from .observations import GROUPS, belongs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("whose", choices=["upstream", "ours"])
    parser.add_argument("words", nargs="*")
    args = parser.parse_args()
    python = args.words.pop(0) if args.whose == "upstream" else sys.executable
    target = UPSTREAM if args.whose == "upstream" else OURS
    kept = recorded(target)
    for name, observe in GROUPS.items():
        if args.words and not any(name.startswith(word) for word in args.words):
            continue
        kept = {key: value for key, value in kept.items() if not belongs(key, name)}
        with TemporaryDirectory(prefix="observed-") as folder:
            print(name, flush=True)
            observed = observe(python, Path(folder))
        if args.whose == "ours":
            upstream = recorded(UPSTREAM)
            observed = {
                key: value
                for key, value in observed.items()
                if key in upstream and not is_as_upstream(key, value, upstream[key])
            }
        kept = kept | observed
        write(target, kept)


if __name__ == "__main__":
    main()
