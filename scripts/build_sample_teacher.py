"""sample:modernbert_teacher from a model directory that jobs/tiny/modernbert_teacher.yaml made: the weights in 16 bits
(half the bytes; reading them makes them fp32 again), configuration, tokenizer. Usage: build_sample_teacher.py MODEL"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

TARGET = Path(__file__).parent.parent / "data" / "samples" / "modernbert_teacher"
COPIED = ("tokenizer.json", "tokenizer_config.json")


def main(model: Path) -> None:
    TARGET.mkdir(exist_ok=True)
    tensors = {name: value.to(torch.float16) for name, value in load_file(model / "model.safetensors").items()}
    save_file(tensors, TARGET / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    written = json.dumps({**config, "dtype": "float16"}, indent=2, sort_keys=True)
    (TARGET / "config.json").write_text(written + "\n", encoding="utf-8")
    for name in COPIED:
        shutil.copyfile(model / name, TARGET / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
