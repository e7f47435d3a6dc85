"""The body of an encoder alone: what a network is that makes vectors of texts (text_vectors.py)."""

from typing import Any

from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

# Families whose body has a layer besides that nothing here asks, unless it is told to do without
WITH_POOLER = ("bert", "mpnet", "roberta")


class AutoBody:
    """transformers' AutoModel without a pooler."""

    @staticmethod
    def from_config(config: PreTrainedConfig, **settings: Any) -> PreTrainedModel:  # noqa: ANN401
        network: PreTrainedModel = AutoModel.from_config(config, **settings, **_without_pooler(config))
        return network

    @staticmethod
    def from_pretrained(path: Any, *, config: PreTrainedConfig, **settings: Any) -> Any:  # noqa: ANN401
        return AutoModel.from_pretrained(path, config=config, **settings, **_without_pooler(config))


# what whoever loads such a model types; in the class's own body the name would be that of its instances
AutoBody.__name__ = AutoModel.__name__


def _without_pooler(config: PreTrainedConfig) -> dict[str, bool]:
    return {"add_pooling_layer": False} if config.model_type in WITH_POOLER else {}
