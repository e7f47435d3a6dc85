"""Where the copies of a save lie: in rank 0's main memory, fp32, apart from everything that training goes on to change.

The room is taken at the first save and kept for the later ones. On an AMD EPYC, one thread, a copy into memory that was
touched before ran at 13 GB/s, into new memory at 2.4: for GPT-2 small 0.1 instead of 0.6 seconds a save.
"""

import torch


class Copies:
    """One tensor a name. What was handed out holds until the next save asks for the same name."""

    def __init__(self) -> None:
        self._kept: dict[str, torch.Tensor] = {}

    def copy(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor` as it is now, in fp32 on the CPU."""
        kept = self._kept.get(name)
        if kept is None:
            # from a GPU the copy goes past the processor where the pages stay put
            kept = torch.empty(tensor.shape, dtype=torch.float32, pin_memory=tensor.is_cuda)
            self._kept[name] = kept
        return kept.copy_(tensor)

    def adopt(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """The same of a tensor that nobody else holds: where it is one for the file already, itself."""
        if tensor.device.type == "cpu" and tensor.dtype == torch.float32:
            return tensor
        return self.copy(name, tensor)
