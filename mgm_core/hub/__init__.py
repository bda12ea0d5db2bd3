"""Networks that are loaded from and pushed to the Hugging Face Hub; needs the extra `hub`.

    from mgm_core.hub import HubPRN

    HubPRN.bundled("prn_mobilenet_v2").push_to_hub("USER/NAME")
    matter = Matter(HubPRN.from_pretrained("USER/NAME"))

A folder that `save_pretrained` wrote stands for "USER/NAME" everywhere.
"""

from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from mgm_core.choices import DEFAULT_WEIGHTS
from mgm_core.networks.checkpoint import (
    FOREGROUND_WEIGHTS,
    load_checked,
    load_foreground,
    load_prn,
    read_safetensors,
)
from mgm_core.networks.foreground_net import ForegroundNetwork
from mgm_core.networks.prn import PRN
from mgm_core.weights import WEIGHTS_FOLDER, CheckpointError

try:
    from huggingface_hub import ModelCard, PyTorchModelHubMixin
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"the package {error.name} must be installed for the Hub: pip install 'mgm[hub]'"
    ) from error

__all__ = ["HubForegroundNetwork", "HubPRN"]

_Network = TypeVar("_Network", bound=nn.Module)
_OWN_CARD = """---
{{ card_data }}
---

# A network of Mask Guided Matting

Image and mask to alpha, or image and alpha to the subject's own colours, as *Mask Guided Matting
via Progressive Refinement Network* (Yu et al., CVPR 2021) has them. Load it with `pip install
'mgm[hub]'`:

```python
from mgm_core.hub import {{ kind }}

network = {{ kind }}.from_pretrained("USER/NAME")
```

{{ text }}
"""


class _OnHub(PyTorchModelHubMixin):
    """What both networks have in common: checked weights, and a card that says what they are."""

    card_text = "Whoever trained it says here on what data, and under which licence."

    @classmethod
    def _load_as_safetensor(  # type: ignore[override] # whose classes are all networks too
        cls, model: _Network, model_file: str, map_location: str, strict: bool
    ) -> _Network:
        """Load weights as all others are: every name, shape and value is checked."""
        path = Path(model_file)
        load_checked(model, read_safetensors(path)[0], str(path))
        return model.to(map_location).eval()

    @classmethod
    def _load_as_pickle(  # type: ignore[override] # whose classes are all networks too
        cls, model: _Network, model_file: str, map_location: str, strict: bool
    ) -> _Network:
        """Refuse what a repository without safetensors has in their place."""
        raise CheckpointError(
            f"weights must be in model.safetensors, got {Path(model_file).name} alone: save them "
            "anew with save_pretrained"
        )

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:  # noqa: ANN401
        """Return the card that goes with the weights."""
        kwargs = {"kind": type(self).__name__, "text": self.card_text, **kwargs}
        return super().generate_model_card(*args, **kwargs)


_INFO: dict[str, Any] = {
    "library_name": "mgm",
    "license": "other",
    "license_name": "research-use-only",
    "tags": ["image-matting", "alpha-matting", "background-removal"],
    "pipeline_tag": "image-segmentation",
    "model_card_template": _OWN_CARD,
}


class HubPRN(PRN, _OnHub, **_INFO):
    """The matting network."""

    @classmethod
    def bundled(cls, name: str = DEFAULT_WEIGHTS) -> "HubPRN":
        """Return bundled weights, with their card.

        Raises:
            CheckpointError: There are none of this name.
        """
        network = load_prn(name)
        return _with(cls(network.encoder_name, network.fusion), network, name)


class HubForegroundNetwork(ForegroundNetwork, _OnHub, **_INFO):
    """The foreground colour network."""

    @classmethod
    def bundled(cls, name: str = FOREGROUND_WEIGHTS) -> "HubForegroundNetwork":
        """Return bundled weights, with their card.

        Raises:
            CheckpointError: There are none of this name.
        """
        return _with(cls(), load_foreground(name), name)


_Hub = TypeVar("_Hub", HubPRN, HubForegroundNetwork)


def _with(hub: _Hub, network: nn.Module, name: str) -> _Hub:
    hub.load_state_dict(network.state_dict())
    card = WEIGHTS_FOLDER / f"{name}.md"
    if card.is_file():
        hub.card_text = card.read_text(encoding="utf-8")
    hub.eval()
    return hub
