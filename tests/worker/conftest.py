"""What the worker's tests share: a tokenizer and a GPT-2 small enough for each of them, in the form that the product
writes and reads."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import distributed
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from runjob.data.store import TokenizerSummary
from runjob.runner.worker.exchange import Exchange
from runjob.runner.worker.kernels.build import library
from runjob.runner.worker.models.init import build_network
from runjob.schemas.job import Generation
from runjob.schemas.job_model import Model, ScratchGpt2
from runjob.schemas.machine import kernel_compiler

# As the plan sets it for a worker (runner/compile.py): where DeepSpeed guesses, it says so in the middle of the output
os.environ["DS_ACCELERATOR"] = "cpu"

DUTCH = """Kies een cel en typ een formule. De waarde van de formule staat in de cel.
Met deze opdracht voegt u een tabel in. De tabel staat op de plaats van de cursor.
U kunt de breedte van een kolom wijzigen door de rand te slepen."""

BuildNetwork = Callable[..., PreTrainedModel]


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Exchange]:
    """A group of one rank."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield Exchange()
    distributed.destroy_process_group()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tensors this small lose by threads (counting 0.1 s becomes a second), and where other processes run, minutes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The fused kernels, built in a cache that the test processes of a session share."""
    if kernel_compiler() is None:
        pytest.skip("needs the system package g++")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNJOB_CACHE", str(tmp_path_factory.getbasetemp().parent / "kernels"))
        library()


@pytest.fixture
def generation() -> Generation:
    return Generation(max_new_tokens=12, temperature=0.8, top_k=20, top_p=0.9)


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """A directory with a byte-level BPE of 300 ids, EOS 0, in Hugging Face form."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(DUTCH.splitlines(), trainer)
    saved = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|endoftext|>", bos_token="<|endoftext|>")
    saved.save_pretrained(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


@pytest.fixture
def build_small() -> BuildNetwork:
    """A network of 64 positions from a seed, in eval mode, with weights ten times as large as a fresh GPT-2's, so that
    its answers differ clearly from token to token."""
    return _build_small


def _build_small(*, seed: int = 3, positions: int = 64) -> PreTrainedModel:
    init = ScratchGpt2(
        kind="scratch",
        architecture="gpt2",
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=None,
        max_position_embeddings=positions,
        dropout=0.1,
    )
    words = TokenizerSummary(
        fingerprint="", vocab_size=300, eos_id=0, pad_id=None, cls_id=None, sep_id=None, mask_id=None
    )
    built, _ = build_network(Model(init=init, allow_new=()), "clm", tokenizer=words, seed=seed)
    with torch.no_grad():
        for parameter in built.parameters():
            if parameter.dim() > 1:
                parameter.mul_(10)
    return built.eval()
