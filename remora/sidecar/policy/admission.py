"""Admission control: sheds requests to a service that rejects most of them. Pure: time and chance are arguments.

Client-side throttling of the SRE book (ch. 21, "Handling Overload"): a request is shed with the probability
`max(0, (requests - K · accepts) / (requests + 1))` over a window. Requests that are shed count as requests: the more
callers insist, the more is shed, down to a share that goes through to find out.
"""

from __future__ import annotations

from remora.model.policies import AdmissionControl
from remora.sidecar.policy.rolling import RollingCounts


class Admission:
    """Of one service, seen from one sidecar."""

    __slots__ = ("_config", "_counts")

    def __init__(self, config: AdmissionControl) -> None:
        self._config = config
        self._counts = RollingCounts(config.window_s)
        """Good: accepted; bad: rejected or shed."""

    def configure(self, config: AdmissionControl) -> None:
        """Go on with `config`; what was counted stays, unless over another window."""
        if config.window_s != self._config.window_s:
            self._counts = RollingCounts(config.window_s)
        self._config = config

    def shed_share(self, now: float) -> float:
        """With which probability a request is shed now."""
        counts, config = self._counts, self._config
        counts.forget(now)
        requests = counts.total
        if requests < config.volume:
            return 0.0
        share = (requests - config.multiplier * counts.good) / (requests + 1)
        return min(config.max_share, max(0.0, share))

    def on_shed(self, now: float) -> None:
        """A request was shed."""
        self._counts.add(now, bad=1)

    def on_answer(self, now: float, *, accepted: bool) -> None:
        """How an admitted request went."""
        if accepted:
            self._counts.add(now, good=1)
        else:
            self._counts.add(now, bad=1)
