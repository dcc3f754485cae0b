"""What the service knows to do, in its two versions."""

from __future__ import annotations

from typing import Protocol

from examples.reviews.model import REVIEWS, Review


class UnknownProductError(LookupError):
    """Nobody has reviewed such a product."""


class ReviewService(Protocol):
    """What both versions offer."""

    def reviews_of(self, product: str) -> dict[str, object]:
        """The reviews of `product`, ready for JSON; raises UnknownProductError."""
        ...


class PlainReviews:
    """v1: what people wrote."""

    def reviews_of(self, product: str) -> dict[str, object]:
        """Author and text of each review."""
        return {"reviews": [_plain(review) for review in _find(product)]}


class RatedReviews:
    """v2: what people wrote, and the stars they gave."""

    def reviews_of(self, product: str) -> dict[str, object]:
        """Author, text and stars of each review, and the mean of the stars."""
        found = _find(product)
        rating = sum(review.stars for review in found) / len(found)
        return {
            "reviews": [_plain(review) | {"stars": review.stars} for review in found],
            "rating": round(rating, 1),
        }


VERSIONS: dict[str, type[ReviewService]] = {"v1": PlainReviews, "v2": RatedReviews}


def _find(product: str) -> tuple[Review, ...]:
    found = REVIEWS.get(product)
    if not found:
        raise UnknownProductError(product)
    return found


def _plain(review: Review) -> dict[str, object]:
    return {"author": review.author, "text": review.text}
