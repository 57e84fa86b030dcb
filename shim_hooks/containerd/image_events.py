"""Which environment images come to this node, as containerd tells it while they come.

Belongs here: the only module of the node's half that knows gRPC, which is an optional dependency. Does not: what is
done about an image (`prefetch.py`).
"""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio

from shim_hooks.containerd import events_pb2 as pb
from shim_hooks.errors import NodeError

_SUBSCRIBE = "/containerd.services.events.v1.Events/Subscribe"
_TOPICS = ("/images/create", "/images/update")


class ContainerdUnavailable(NodeError):
    """containerd cannot be listened to, or stopped talking."""


async def image_names(socket: Path) -> AsyncIterator[str]:
    """Every name that an image gets, or that is moved to another one, in any namespace. Ends with an error only."""
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        subscribe = channel.unary_stream(
            _SUBSCRIBE,
            request_serializer=pb.SubscribeRequest.SerializeToString,
            response_deserializer=pb.Envelope.FromString,
        )
        try:
            async for envelope in subscribe(pb.SubscribeRequest(filters=[f'topic=="{topic}"' for topic in _TOPICS])):
                yield pb.ImageEvent.FromString(envelope.event.value).name
        except grpc.RpcError as problem:
            said = problem.details() if isinstance(problem, grpc.aio.AioRpcError) else problem
            raise ContainerdUnavailable(f"containerd at {socket} cannot be listened to: {said}") from problem
    raise ContainerdUnavailable(f"containerd at {socket} ended its events")
