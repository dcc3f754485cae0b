"""The admin page /explain: a question as a query, an explanation as JSON.

?method=GET&url=http://reviews/ratings&header=x-group:+beta&header=…&service=reviews
    ?method=GET&url=/ratings&inbound=true
    ?request_id=5f0c…
    ?failures=all
"""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import msgspec

from remora.model.happened import Happened
from remora.model.names import ServiceName, service_of_host
from remora.sidecar.admin.pages import Page
from remora.sidecar.exchange.recent import Recent
from remora.sidecar.explain.reasons import explain
from remora.sidecar.explain.subject import View
from remora.sidecar.explain.values import Asked, Explanation
from remora.sidecar.routing.match import host_of

Headers = tuple[tuple[str, str], ...]


class QuestionError(ValueError):
    """The question cannot be answered; its text says why."""


def ask(method: str, url: str, headers: Headers, service: str, *, inbound: bool = False) -> Asked:
    """The question about a request; as with curl, a header Host stands for the host of the URL. Raises
    QuestionError."""
    written = url if "://" in url or url.startswith("/") else f"http://{url}"
    try:
        parts = urlsplit(written)
    except ValueError as error:
        raise QuestionError(f"{url!r} is not a URL: {error}") from None
    host = next((value for name, value in headers if name.lower() == "host"), "")
    authority = host or parts.netloc or service
    if not authority and not inbound:
        raise QuestionError(f"{url!r} names no service: write http://SERVICE/PATH, or say which with --service")
    # What a client would encode before it sends it.
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (f"?{parts.query}" if parts.query else "")
    return Asked(method.upper(), authority, path, headers, service, inbound)


def query_of(asked: Asked) -> str:
    """The query that asks it."""
    pairs = [("method", asked.method), ("authority", asked.authority), ("path", asked.path)]
    pairs += [("header", f"{name}: {value}") for name, value in asked.headers]
    return urlencode([*pairs, ("service", asked.service), *([("inbound", "true")] if asked.inbound else ())])


def read_query(query: str, *, has_app: bool = True) -> Asked:
    """What a query asks, by `url` or by `authority` and `path`; `has_app`: something may come in. Raises
    QuestionError."""
    pairs = parse_qsl(query, keep_blank_values=True)
    found = dict(pairs)
    headers = tuple(read_header(value) for name, value in pairs if name == "header")
    method, service = found.get("method") or "GET", found.get("service", "")
    inbound = found.get("inbound") == "true"
    if inbound and not has_app:
        raise QuestionError("no app is behind this sidecar (--upstream), so nothing comes to one")
    if "authority" in found and "path" in found:
        return Asked(method.upper(), found["authority"], found["path"], headers, service, inbound)
    if "url" not in found:
        raise QuestionError("say which request: /explain?method=GET&url=http://SERVICE/PATH")
    return ask(method, found["url"], headers, service, inbound=inbound)


def read_header(text: str) -> tuple[str, str]:
    """`NAME: VALUE`. Raises QuestionError."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not text.isascii():
        raise QuestionError(f"{text!r} is not a header: write NAME: VALUE")
    return name.strip(), value.strip()


def looks_back(query: str) -> bool:
    """Whether a query asks for what has happened."""
    return not {"request_id", "failures"}.isdisjoint(dict(parse_qsl(query)))


def answer(query: str, view: View, recent: Recent) -> Explanation | list[Happened]:
    """What a data path says to a query. Raises QuestionError."""
    if not looks_back(query):
        return explain(read_query(query, has_app=view.app is not None), view)
    wanted = dict(parse_qsl(query)).get("request_id", "")
    return recent.find(wanted) if wanted else recent.failures()


def service_asked(query: str, namespace: str) -> ServiceName | None:
    """The service that a query would be about, if it is about one; it may be that there is none."""
    if looks_back(query):
        return None
    try:
        asked = read_query(query)
    except QuestionError:
        return None
    host = asked.service or host_of(asked.authority.encode())
    return None if asked.inbound else service_of_host(host, namespace)


def page_of(found: object) -> Page:
    """As JSON."""
    return Page(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")


def refusal(error: QuestionError) -> Page:
    """Why there is no answer."""
    return Page(msgspec.json.encode({"error": str(error)}) + b"\n", status=400)


def explain_page(query: str, view: View, recent: Recent) -> Page:
    """The answer, or 400 and why there is none."""
    try:
        return page_of(answer(query, view, recent))
    except QuestionError as error:
        return refusal(error)
