"""Which images come to this node, as containerd tells it while they come, and what their indexes say.

Belongs here: the only module of the node's half that knows gRPC, which is an optional dependency. Does not: which
images matter, and what is done about one (`prefetch.py`).
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import grpc.aio

from shim_hooks.containerd import images_pb2 as pb
from shim_hooks.errors import NodeError
from shim_hooks.registry.documents import INDEX_TYPE

_SUBSCRIBE = "/containerd.services.events.v1.Events/Subscribe"
_GET_IMAGE = "/containerd.services.images.v1.Images/Get"
_READ_CONTENT = "/containerd.services.content.v1.Content/Read"
_TOPICS = ("/images/create", "/images/update")
_DEADLINE_S = 10.0
_MAX_INDEX_BYTES = 64 * 1024  # one of an environment has two


class ContainerdUnavailable(NodeError):
    """containerd cannot be listened to, or stopped talking."""


async def pulled_indexes(socket: Path, matters: Callable[[str], bool]) -> AsyncIterator[bytes]:
    """The index of every image that gets a name which matters, or is moved to one, in any namespace.

    Ends with ContainerdUnavailable only. An image that is gone by the time it is looked at is passed over.
    """
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        subscribe = channel.unary_stream(
            _SUBSCRIBE,
            request_serializer=pb.SubscribeRequest.SerializeToString,
            response_deserializer=pb.Envelope.FromString,
        )
        with _talking_to(socket):
            async for envelope in subscribe(pb.SubscribeRequest(filters=[f'topic=="{topic}"' for topic in _TOPICS])):
                name = pb.ImageEvent.FromString(envelope.event.value).name
                index = await _find_index(channel, envelope.namespace, name) if matters(name) else None
                if index is not None:
                    yield index
    raise ContainerdUnavailable(f"containerd at {socket} ended its events")


@contextmanager
def _talking_to(socket: Path) -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as problem:
        said = problem.details() if isinstance(problem, grpc.aio.AioRpcError) else problem
        raise ContainerdUnavailable(f"containerd at {socket} cannot be listened to: {said}") from problem


async def _find_index(channel: grpc.aio.Channel, namespace: str, name: str) -> bytes | None:
    """What the name stands for now; None where that is no index, or is not there any more."""
    there = (("containerd-namespace", namespace),)
    get = channel.unary_unary(
        _GET_IMAGE,
        request_serializer=pb.GetImageRequest.SerializeToString,
        response_deserializer=pb.GetImageResponse.FromString,
    )
    read = channel.unary_stream(
        _READ_CONTENT,
        request_serializer=pb.ReadContentRequest.SerializeToString,
        response_deserializer=pb.ReadContentResponse.FromString,
    )
    try:
        image = await get(pb.GetImageRequest(name=name), metadata=there, timeout=_DEADLINE_S)
        target = image.image.target
        if target.media_type != INDEX_TYPE or not 0 < target.size <= _MAX_INDEX_BYTES:
            return None
        wanted = pb.ReadContentRequest(digest=target.digest, size=target.size)
        return b"".join([piece.data async for piece in read(wanted, metadata=there, timeout=_DEADLINE_S)])
    except grpc.aio.AioRpcError as problem:
        if problem.code() is grpc.StatusCode.NOT_FOUND:
            return None
        raise
