"""Work for a CUDA device beside that of the model, so that transfers go on while it computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class SideStream:
    """A stream of a CUDA device of its own; of any other device, none, and everything happens as it is called.

    Args:
        device: a `torch.device`, or None.
    """

    def __init__(self, device: Any) -> None:
        self._stream: Any = None
        if device is not None and device.type == "cuda":
            import torch

            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def run(self, function: Callable[[Any], Any], argument: Any) -> tuple[Any, Any]:
        """What a function returns, a dict, and the event after which its tensors are there."""
        if self._stream is None:
            return function(argument), None
        import torch

        with torch.cuda.stream(self._stream):
            return function(argument), self._stream.record_event()

    def hand_over(self, batch: Any, event: Any) -> Any:
        """Let the stream that is in use wait for a batch, whose memory is not used again before it is done with it."""
        if event is None:
            return batch
        import torch

        stream = torch.cuda.current_stream(self._stream.device)
        stream.wait_event(event)
        for value in batch.values():
            if isinstance(value, torch.Tensor):
                value.record_stream(stream)
        return batch
