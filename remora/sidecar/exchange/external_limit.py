"""The gate that asks a rate limit service about each request (Envoy's protocol, `remora/sidecar/ratelimit/client.py`).

In shadow mode nobody waits for the answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING

from remora.model.limits import DescriptorEntry, ExternalLimit
from remora.sidecar.exchange.failures import LIMITER_FAILED, RATE_LIMITED_ELSEWHERE
from remora.sidecar.exchange.gate import Account, Asked, Gate, Granted, PlainGate, Stopped, Verdict
from remora.sidecar.exchange.rate_limit import policy_field, used_up_field
from remora.sidecar.routing.limit_keys import key_value
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.telemetry.shadow import Shadow
from remora.sidecar.wire.heads import Fields, RequestHead, field_value

if TYPE_CHECKING:
    from remora.sidecar.ratelimit.client import Answer, RateLimitServiceClient

log = logging.getLogger(__name__)

LOG_EVERY_S = 10.0
"""That it does not answer is logged so often at most."""
MAX_ASKED = 1000
"""Questions that wait for an answer at a time. More are not asked: that is as if there had been no answer."""

_KIND = "rate limit service"

Descriptors = list[tuple[tuple[str, str], ...]]


class Limiter:
    """One rate limit service, as one document wants it asked."""

    __slots__ = ("_asked", "_client", "_closing", "_logged_at", "_metrics", "_shadow", "config")

    def __init__(self, config: ExternalLimit, metrics: Metrics) -> None:
        self.config = config
        self._metrics = metrics
        self._client: RateLimitServiceClient | None = None
        self._closing = False
        self._asked = 0
        """Questions that wait for an answer."""
        self._logged_at = float("-inf")
        self._shadow = Shadow(config.service, "ratelimit", metrics, config.name)

    def descriptors(self, head: RequestHead) -> Descriptors:
        """What is to be asked about a request; empty: nothing."""
        found: Descriptors = []
        for descriptor in self.config.descriptors:
            entries = _entries(descriptor, head)
            if entries:
                found.append(entries)
        return found

    def account(self, head: RequestHead) -> Account:
        """For people."""
        config = self.config
        says = [config.name, f"{config.host}:{config.port} is asked, for {config.timeout_s * 1000:g} ms at most"]
        says.append("without an answer requests " + ("go on" if config.fail_open else "are answered 503"))
        if config.shadow:
            says.append("shadow mode: nobody waits for the answer")
        descriptors = self.descriptors(head)
        if not descriptors:
            return Account(_KIND, tuple(says), config.origin, missed="it has nothing to ask about")
        asked = "; ".join(", ".join(f"{key}={value}" for key, value in entries) for entries in descriptors)
        return Account(_KIND, (*says, f"about {asked}"), config.origin, f"{self._asked} questions wait")

    async def ask(self, descriptors: Descriptors) -> Stopped | Granted | None:
        """What becomes of the request; in shadow mode nothing does."""
        from remora.sidecar.ratelimit.client import RateLimitServiceClient, RateLimitServiceError

        if self._asked >= MAX_ASKED:
            return self._failed(f"{MAX_ASKED} questions wait for an answer already")
        if self._client is None:
            config = self.config
            self._client = RateLimitServiceClient(config.host, config.port, config.domain, config.timeout_s)
        self._asked += 1
        try:
            return self._judged(await self._client.ask(descriptors))
        except RateLimitServiceError as error:
            return self._failed(str(error))
        except Exception as error:  # a fault of ours must not leave the request waiting
            log.exception("Rate limit service %s:%d could not be asked.", self.config.host, self.config.port)
            return self._failed(repr(error))
        finally:
            self._asked -= 1
            if self._closing:
                self.close()

    def close(self) -> None:
        """Close the connection, once those that still wait have their answer."""
        self._closing = True
        if self._client is not None and not self._asked:
            self._client.close()
            self._client = None

    def _judged(self, answer: Answer) -> Stopped | Granted | None:
        config = self.config
        if not answer.is_over:
            told = answer.request_fields or answer.response_fields
            return Granted(answer.request_fields, answer.response_fields) if told and not config.shadow else None
        detail = RATE_LIMITED_ELSEWHERE.sentence.format(service=config.service, limit=config.name)
        self._metrics.count_ratelimited(config.service, config.name, "shadow" if config.shadow else "enforce")
        if config.shadow:
            self._shadow.note(time.monotonic(), detail)
            return None
        return Stopped(RATE_LIMITED_ELSEWHERE, detail, _told(config.name, answer), _wait_s(answer))

    def _failed(self, reason: str) -> Stopped | None:
        config = self.config
        self._metrics.count_limiter_failure(config.service, config.name)
        where = f"{config.host}:{config.port}"
        now = time.monotonic()
        if now - self._logged_at >= LOG_EVERY_S:
            self._logged_at = now
            log.warning("The rate limit service %s does not answer as it should: %s.", where, reason)
        if config.fail_open or config.shadow:
            return None
        return Stopped(LIMITER_FAILED, LIMITER_FAILED.sentence.format(service=config.service, address=where))


class ExternalLimitGate(PlainGate):
    """All limiters of a service that are asked on one side."""

    __slots__ = ("_limiters", "_metrics", "_tasks")

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._limiters: tuple[Limiter, ...] = ()
        self._tasks: set[asyncio.Task[object]] = set()

    def configure(self, limits: tuple[ExternalLimit, ...]) -> None:
        """Follow the documents; what stays as it is keeps its connection."""
        before, self._limiters = self._limiters, tuple(self._limiter(config) for config in limits)
        for limiter in before:
            if limiter not in self._limiters:
                limiter.close()

    def _limiter(self, config: ExternalLimit) -> Limiter:
        for known in self._limiters:
            if known.config == config:
                return known
        return Limiter(config, self._metrics)

    def enter(self, head: RequestHead, now: float, random: float) -> Verdict:  # noqa: ARG002
        asked: list[tuple[Limiter, Descriptors]] = []
        for limiter in self._limiters:
            descriptors = limiter.descriptors(head)
            if not descriptors:
                continue
            if limiter.config.shadow:
                self._start(limiter.ask(descriptors))
            else:
                asked.append((limiter, descriptors))
        if not asked:
            return None
        answer: asyncio.Future[Stopped | Granted | None] = asyncio.get_running_loop().create_future()
        self._start(_ask(asked, answer))
        return Asked(answer)

    def explain(self, head: RequestHead) -> Sequence[Account]:
        return [limiter.account(head) for limiter in self._limiters]

    def close(self) -> None:
        for limiter in self._limiters:
            limiter.close()

    def _start(self, asking: Coroutine[object, object, object]) -> None:
        task = asyncio.get_running_loop().create_task(asking)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _ask(asked: list[tuple[Limiter, Descriptors]], future: asyncio.Future[Stopped | Granted | None]) -> None:
    """All at the same time; the first in their order that stops the request counts."""
    said = await asyncio.gather(*(limiter.ask(descriptors) for limiter, descriptors in asked))
    if not future.done():
        future.set_result(_together(said))


def _together(said: Sequence[Stopped | Granted | None]) -> Stopped | Granted | None:
    """One verdict of those of all limiters."""
    for verdict in said:
        if isinstance(verdict, Stopped):
            return verdict
    granted = [verdict for verdict in said if isinstance(verdict, Granted)]
    if not granted:
        return None
    return Granted(
        [field for each in granted for field in each.request_fields],
        [field for each in granted for field in each.answer_fields],
    )


def make_external_limit_gate(
    limits: tuple[ExternalLimit, ...], before: Gate | None, metrics: Metrics
) -> ExternalLimitGate:
    """The gate for these limits: the one before, configured anew, if there was one."""
    gate = before if isinstance(before, ExternalLimitGate) else ExternalLimitGate(metrics)
    gate.configure(limits)
    return gate


def _entries(descriptor: tuple[DescriptorEntry, ...], head: RequestHead) -> tuple[tuple[str, str], ...]:
    """Empty: the request has not all of it."""
    entries: list[tuple[str, str]] = []
    for entry in descriptor:
        value = _value(entry, head)
        if not value:
            return ()
        entries.append((entry.key, value))
    return tuple(entries)


def _value(entry: DescriptorEntry, head: RequestHead) -> str:
    """Empty: the request has none."""
    if entry.source is None:
        return entry.value
    value = key_value(entry.source, head)
    return "" if value is None else value.decode("utf-8", "replace")


def _told(name: str, answer: Answer) -> Fields:
    """What the service wants said, and of which limit, unless it says that itself."""
    fields = answer.response_fields
    exceeded = next((each for each in answer.exceeded if each.requests and each.window_s), None)
    if exceeded is None or field_value(fields, b"ratelimit-policy") is not None:
        return fields
    policy = policy_field(name, exceeded.requests, exceeded.window_s)
    return [*fields, policy, used_up_field(name, exceeded.reset_s)]


def _wait_s(answer: Answer) -> float:
    """When to come back, unless the service says that itself."""
    if field_value(answer.response_fields, b"retry-after") is not None:
        return 0.0
    return max((exceeded.reset_s for exceeded in answer.exceeded), default=0.0)
