"""What the engine makes of a network before its first step."""

from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

from runjob.runner.worker import engine as engines


class Stand(nn.Module):
    """DeepSpeed's engine as far as one is put together: real mode switching, no processes."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.optimizer = SimpleNamespace(param_groups=[{"lr": 0.1}])

    def zero_optimization_stage(self) -> int:
        return 0


def test_a_network_of_a_checkpoint_drops_out_from_the_first_step_on(monkeypatch):
    """A resume has no evaluation before its first step, which would switch the mode."""
    monkeypatch.setattr(engines.deepspeed, "initialize", lambda model, **_: (Stand(model), None, None, None))
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).eval()  # as from_pretrained gives it
    engine = engines.Engine(network, Path("none.json"), ranks=1, compiled=False)
    assert engine.module[1].training
    assert not torch.equal(engine.module[1](torch.ones(64)), torch.ones(64))
