"""`python -m tests.differential --seconds 300`: the long run; exit status 1 when there is an unexplained difference."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import time
from collections import Counter

from tests.differential.explained import explanation
from tests.differential.run import curated, differences, mutations


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.differential")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    cases = itertools.chain(curated(), mutations(options.seed))
    played, found = asyncio.run(differences(cases, options.seconds))
    explained = Counter(name for finding in found if (name := explanation(finding)))
    unexplained = [finding for finding in found if explanation(finding) is None]
    print(f"seed {options.seed}: {played} byte streams, {len(found)} differences")
    for name, count in explained.most_common():
        print(f"{count:6}  {name}")
    print(*unexplained[:40], sep="\n")
    print(f"{len(unexplained)} are not explained")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
