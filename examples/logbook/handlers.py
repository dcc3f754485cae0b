"""The gRPC side: messages in, messages out. Nothing here knows of JSON."""

from __future__ import annotations

from typing import TypeVar

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from examples.logbook.logbook_grpc import LogbookBase
from examples.logbook.logbook_pb2 import Dive, GetDiveRequest, ListDivesRequest, LogDiveRequest, Water
from examples.logbook.model import LoggedDive
from examples.logbook.service import LogbookService, UnknownDiveError


class LogbookHandlers(LogbookBase):
    """Answers logbook.v1.Logbook."""

    def __init__(self, service: LogbookService) -> None:
        self._service = service

    async def GetDive(self, stream: Stream[GetDiveRequest, Dive]) -> None:  # noqa: N802 the name in the proto
        """One dive; NOT_FOUND for one that was never logged."""
        request = await _receive(stream)
        try:
            found = self._find(request.name)
        except UnknownDiveError as error:
            raise GRPCError(Status.NOT_FOUND, str(error)) from None
        await stream.send_message(_message(found))

    def _find(self, name: str) -> LoggedDive:
        if not name:
            return self._service.latest()
        _, diver, _, number = name.split("/")
        if not number.isdecimal():
            raise GRPCError(Status.INVALID_ARGUMENT, f"{number!r} is not the number of a dive")
        return self._service.dive(diver, int(number))

    async def ListDives(self, stream: Stream[ListDivesRequest, Dive]) -> None:  # noqa: N802 the name in the proto
        """The dives of a diver, one message each."""
        request = await _receive(stream)
        for dive in self._service.dives(_diver(request.parent)):
            if dive.depth_m >= request.min_depth_m and (not request.water or Water.Value(dive.water) in request.water):
                await stream.send_message(_message(dive))

    async def LogDive(self, stream: Stream[LogDiveRequest, Dive]) -> None:  # noqa: N802 the name in the proto
        """Adds a dive and gives it its name."""
        request = await _receive(stream)
        dive = request.dive
        if not dive.place:
            raise GRPCError(Status.INVALID_ARGUMENT, "say where it was: place")
        logged = self._service.log(
            LoggedDive(
                diver=_diver(request.parent),
                number=0,
                place=dive.place,
                depth_m=dive.depth_m,
                minutes=dive.duration.ToTimedelta().total_seconds() / 60,
                start=dive.start.ToJsonString(),
                water=Water.Name(dive.water),
            )
        )
        await stream.send_message(_message(logged))


T = TypeVar("T")


async def _receive(stream: Stream[T, Dive]) -> T:
    request = await stream.recv_message()
    if request is None:
        raise GRPCError(Status.INVALID_ARGUMENT, "a request message is needed")
    return request


def _diver(parent: str) -> str:
    return parent.removeprefix("divers/")


def _message(dive: LoggedDive) -> Dive:
    message = Dive(
        name=f"divers/{dive.diver}/dives/{dive.number}",
        place=dive.place,
        depth_m=dive.depth_m,
        water=dive.water,
    )
    message.duration.FromSeconds(round(dive.minutes * 60))
    message.start.FromJsonString(dive.start)
    return message
