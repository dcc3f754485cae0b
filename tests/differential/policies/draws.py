"""Whether requests are shared out among backends as their weights say."""

from __future__ import annotations

import math

from tests.differential.policies.tables import Document

TOO_FAR = 5.0
"""Standard deviations: chance goes so far once in two million runs."""


class Draws:
    """How often one proxy drew each rule's first backend that takes requests, against how often it should."""

    def __init__(self) -> None:
        self.count = 0
        self._excess = 0.0
        self._variance = 0.0

    def add(self, rule: Document, drawn: str) -> None:
        """`rule` sent a request to `drawn`."""
        weights = {ref["name"]: ref.get("weight", 1) for ref in rule.get("backendRefs", ()) if ref.get("weight", 1)}
        if len(weights) < 2:
            return
        first = next(iter(weights))
        share = weights[first] / sum(weights.values())
        self.count += 1
        self._excess += (drawn == first) - share
        self._variance += share * (1 - share)

    @property
    def deviations(self) -> float:
        """How far all draws together are from what the weights say, in standard deviations."""
        return abs(self._excess) / math.sqrt(self._variance) if self.count else 0.0
