"""Client-side throttling: it sheds what would be rejected, and never all."""

from __future__ import annotations

import itertools
import math
import random

from hypothesis import given
from hypothesis import strategies as st

from remora.model.policies import AdmissionControl
from remora.sidecar.policy.admission import Admission


def admits(admission: Admission, now: float, random: float) -> bool:
    if random >= admission.shed_share(now):
        return True
    admission.on_shed(now)
    return False


@given(st.integers(0, 500), st.integers(0, 500))
def test_nothing_is_shed_while_half_is_accepted(accepted: int, rejected: int) -> None:
    admission = Admission(AdmissionControl())
    for _ in range(accepted):
        admission.on_answer(1.0, accepted=True)
    for _ in range(rejected):
        admission.on_answer(1.0, accepted=False)
    share = admission.shed_share(1.0)
    assert 0.0 <= share <= 0.8
    if accepted >= rejected or accepted + rejected < 20:
        assert share == 0.0
    else:
        assert share > 0.0


def test_a_dead_service_is_left_in_peace_but_asked_now_and_then() -> None:
    source, admission, sent = random.Random(3), Admission(AdmissionControl()), 0
    for number in range(3000):
        now = number / 100
        if admits(admission, now, source.random()):
            sent += 1
            admission.on_answer(now, accepted=False)
    assert 0.17 < sent / 3000 < 0.25


def test_it_lets_all_through_again_when_the_service_is_back() -> None:
    source, admission = random.Random(3), Admission(AdmissionControl(window_s=10))
    for number in range(6000):
        now = number / 100
        if admits(admission, now, source.random()):
            admission.on_answer(now, accepted=now > 20)
    assert admission.shed_share(60.0) == 0.0


@given(st.floats(1.1, 10.0), st.floats(0.0, 1.0), st.floats(1.0, 30.0), st.integers(20, 400), st.floats(0.0, 40.0))
def test_it_recovers_from_any_outage(
    multiplier: float, max_share: float, window_s: float, in_window: int, outage_s: float
) -> None:
    """What goes through grows by the multiplier each window, from what went through at the worst."""
    admission = Admission(AdmissionControl(multiplier, window_s, 10, max_share))
    chances = (number * 0.618034 % 1.0 for number in itertools.count())
    now, gap = 0.0, window_s / in_window
    while now < outage_s:
        now += gap
        if admits(admission, now, next(chances)):
            admission.on_answer(now, accepted=False)
    least = max(1.0 - max_share, 1.0 / (in_window + 1))
    windows = 4 + 2 * math.log(1 / least) / math.log(multiplier)
    back_by = now + windows * window_s
    while now < back_by:
        now += gap
        if admits(admission, now, next(chances)):
            admission.on_answer(now, accepted=True)
    assert admission.shed_share(now) == 0.0


def test_what_is_shed_is_asked_for_all_the_same() -> None:
    """The more callers insist, the more is shed."""
    admission = Admission(AdmissionControl())
    for accepted in (*[True] * 10, *[False] * 20):
        admission.on_answer(0.0, accepted=accepted)
    assert admission.shed_share(0.0) == (30 - 20) / 31
    for _ in range(10):
        admission.on_shed(0.0)
    assert admission.shed_share(0.0) == (40 - 20) / 41


def test_few_requests_say_nothing() -> None:
    admission = Admission(AdmissionControl(volume=20))
    for _ in range(19):
        admission.on_answer(0.0, accepted=False)
    assert admission.shed_share(0.0) == 0.0
    admission.on_answer(0.0, accepted=False)
    assert admission.shed_share(0.0) == 0.8
