"""Which web pages of other origins may call (`--cors-origin`): a rule like those of routes, for all that calls need;
without cookies."""

from __future__ import annotations

from collections.abc import Collection

from remora.model.routes import Cors
from remora.sidecar.routing.cors import CorsRule, is_preflight
from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead, field_value
from remora.sidecar.wire.problem import problem
from remora.sidecar.wire.stream import RequestStream

MAX_AGE_S = 86_400
"""How long a browser may remember a preflight's answer; browsers cap it themselves."""

ALLOWED_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Pages:
    """The pages of some origins, such as `https://shop.example`; `*` stands for all."""

    __slots__ = ("_rule",)

    def __init__(self, origins: Collection[str]) -> None:
        # Without credentials the wildcards take in all names.
        self._rule = CorsRule(
            Cors(tuple(sorted(origins)), methods=ALLOWED_METHODS, headers=("*",), expose=("*",), max_age_s=MAX_AGE_S)
        )

    def answer_fields(self, head: RequestHead) -> Fields:
        """What to add to the answer to `head`."""
        origin = field_value(head.fields, b"origin")
        return [] if origin is None or not self._rule.allows(origin) else self._rule.answer_fields(origin, [])

    def answer_preflight(self, stream: RequestStream, head: RequestHead) -> bool:
        """Answer `head` if it is a preflight; whether it was one."""
        origin = field_value(head.fields, b"origin")
        if origin is None or not is_preflight(head):
            return False
        if self._rule.allows(origin):
            stream.send_head(ResponseHead(204, self._rule.preflight_fields(head, origin)), True)
            return True
        shown = origin.decode("latin-1")
        answer, body = problem(403, "origin", f"pages of {shown} may not call: --cors-origin does not name it")
        stream.send_head(answer, False)
        stream.send_data(body, True)
        return True
