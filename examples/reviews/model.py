"""Reviews, as the service keeps them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Review:
    """One person's opinion."""

    author: str
    text: str
    stars: int
    """1 to 5."""


REVIEWS: dict[str, tuple[Review, ...]] = {
    "mask": (
        Review("Mila", "Sits tight, no fog at thirty metres.", 5),
        Review("Jonas", "A little narrow for my face.", 3),
    ),
    "fins": (
        Review("Aiko", "Light, and they fit into hand luggage.", 4),
        Review("Ruben", "Fast. My ankles disagree.", 4),
    ),
    "snorkel": (Review("Tove", "Does what a tube should do.", 5),),
}
