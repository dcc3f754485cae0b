"""Control's REST API, from the client's side."""

from __future__ import annotations

import io
import os
from types import TracebackType
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from remora.documents.errors import DocumentError
from remora.documents.kinds import DocumentKey

_TIMEOUT_S = 30.0


class ControlError(Exception):
    """Control did not do it; its text is one sentence."""

    def __init__(self, message: str, status: int = 0, errors: tuple[DocumentError, ...] = ()) -> None:
        """`status`: HTTP's, 0 when there was no answer. `errors`: faults of documents."""
        super().__init__(message)
        self.status = status
        self.errors = errors


class ControlClient:
    """`async with ControlClient(url) as control`. Every call may raise ControlError."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S))

    async def __aenter__(self) -> ControlClient:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def apply(self, raws: tuple[dict[str, Any], ...], *, dry_run: bool) -> list[dict[str, Any]]:
        """One result a document: document, result, notes."""
        body = msgspec.json.encode({"kind": "List", "apiVersion": "v1", "items": raws})
        params = {"dry-run": "true"} if dry_run else {}
        answer = await self._call("POST", "/api/v1/apply", params=params, body=body)
        return list(answer["results"])

    async def find(self, kind: str, namespace: str | None) -> list[dict[str, Any]]:
        """Stored documents: key, revision, document, text."""
        params = {"kind": kind} | ({"namespace": namespace} if namespace else {})
        answer = await self._call("GET", "/api/v1/documents", params=params)
        return list(answer["items"])

    async def get(self, key: DocumentKey) -> dict[str, Any]:
        return dict(await self._call("GET", _path(key)))

    async def delete(self, key: DocumentKey) -> None:
        await self._call("DELETE", _path(key))

    async def status(self) -> dict[str, Any]:
        return dict(await self._call("GET", "/api/v1/status"))

    async def _call(
        self, method: str, path: str, *, params: dict[str, str] | None = None, body: bytes | None = None
    ) -> Any:
        try:
            async with self._session.request(
                method, self._url + path, params=params, data=io.BytesIO(body) if body else None
            ) as response:
                content = await response.read()
                if response.status >= 400:
                    raise _error(response.status, content)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            reason = _reason(error)
            raise ControlError(f"no control answers at {self._url}: {reason} (see --control)") from None
        try:
            return msgspec.json.decode(content)
        except msgspec.DecodeError:
            raise ControlError(f"what answers at {self._url} is not control (see --control)") from None


def _reason(error: Exception) -> str:
    """Why there was no answer, without the words of the library."""
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno and error.os_error.errno > 0:
        return os.strerror(error.os_error.errno).lower()
    return " ".join(str(error).split()) or "no answer in time"


class _ProblemDocument(msgspec.Struct):
    detail: str
    errors: tuple[DocumentError, ...] = ()


def _error(status: int, content: bytes) -> ControlError:
    try:
        problem = msgspec.json.decode(content, type=_ProblemDocument)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ControlError(f"the answer has status {status} and is not control's (see --control)", status)
    return ControlError(problem.detail, status, problem.errors)


def _path(key: DocumentKey) -> str:
    return "/api/v1/documents/" + "/".join(quote(part, safe="") for part in (key.kind, key.namespace, key.name))
