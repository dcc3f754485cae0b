"""`python -m tests.differential --minutes 10`: the long run; exit status 1 when a difference is not explained.

With `--policies` it is that of routes, retries, timeouts, limits and whatever else documents say.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence

from tests.differential import http2, run
from tests.differential.compare import HTTP1, Dialect
from tests.differential.explained import explanation
from tests.differential.policies import run as policies
from tests.differential.policies.draws import TOO_FAR
from tests.differential.policies.explained import explanation as explanation_of_policy
from tests.differential.proxies import envoy_problem

SHOWN = 20


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.differential",
        description="The same byte streams to our sidecar, to Envoy and to h11 or h2, first those that are known to "
        "have done harm somewhere, then mutations of them; what came out on the other side is compared. "
        "Differences that are meant are in tests/differential/explained.py. With --policies route tables, requests and "
        "failing upstreams are made up, and what becomes of the requests is compared with Envoy; what is meant is in "
        "docs/envoy-differences.md. Exit status 1: a difference is not explained.",
    )
    parser.add_argument("--policies", action="store_true", help="policies instead of byte streams")
    parser.add_argument(
        "--minutes", type=float, default=5, help="in all (default 5); half is for HTTP/1, half for HTTP/2"
    )
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the mutations (default: the time)")
    options = parser.parse_args()
    problem = envoy_problem()
    if problem:
        print(problem, file=sys.stderr)
        return 2
    seconds = options.minutes * 30
    print(f"seed {options.seed}")
    if options.policies:
        return 1 if _play_policies(options.seed, options.minutes * 60) else 0
    unexplained = _play("HTTP/1", itertools.chain(run.curated(), run.mutations(options.seed)), seconds, HTTP1)
    cases = itertools.chain(http2.curated(), http2.mutations(options.seed))
    unexplained += _play("HTTP/2", cases, seconds, http2.HTTP2)
    return 1 if unexplained else 0


def _play(name: str, cases: Iterable[bytes], seconds: float, dialect: Dialect) -> int:
    played, found = asyncio.run(run.differences(cases, seconds, dialect))
    return _tell(f"{name}: {played} byte streams", [(str(finding), explanation(finding)) for finding in found])


def _play_policies(seed: int, seconds: float) -> int:
    # Endpoints fail on purpose; our sidecar would tell of each.
    logging.getLogger("remora").setLevel(logging.ERROR)
    report = asyncio.run(policies.compare_by_chance(seed, seconds))
    ours, theirs = report.our_draws, report.their_draws
    told = [(str(finding), explanation_of_policy(finding)) for finding in report.found]
    if ours.deviations > TOO_FAR:
        told.append(("backends do not get what their weights say", None))
    unexplained = _tell(f"policies: {report.played} requests", told)
    played = [(str(finding), finding.explanation) for finding in report.found_in_scenes]
    unexplained += _tell(f"policies: {report.scenes} scenes", played)
    off = f"ours off by {ours.deviations:.1f} standard deviations, Envoy's by {theirs.deviations:.1f}"
    print(f"{ours.count} draws by weight: {off}")
    return unexplained


def _tell(played: str, found: Sequence[tuple[str, str | None]]) -> int:
    """How many findings (text, explanation) are not explained."""
    explained = Counter(why for _, why in found if why)
    unexplained = [text for text, why in found if why is None]
    print(f"{played}, {len(found)} differences, {len(unexplained)} are not explained")
    for why, count in explained.most_common():
        print(f"{count:8}  {why}")
    print(*unexplained[:SHOWN], sep="\n", end="\n" if unexplained else "", flush=True)
    return len(unexplained)


if __name__ == "__main__":
    sys.exit(main())
