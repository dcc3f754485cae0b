"""`python -m examples.reviews --port 0 --version v2`"""

from __future__ import annotations

import asyncio
import sys

from examples.common.http_server import serve_http
from examples.common.settings import parse_settings
from examples.reviews.handlers import ReviewHandlers
from examples.reviews.service import VERSIONS


def main() -> int:
    """Runs one instance; 2 when asked for a version that does not exist."""
    settings = parse_settings("reviews")
    if settings.version not in VERSIONS:
        print(f"reviews: there is no version {settings.version!r}, only {', '.join(VERSIONS)}", file=sys.stderr)
        return 2
    service = VERSIONS[settings.version]()
    asyncio.run(serve_http(ReviewHandlers(service, settings).app(), settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
