"""SSDLite's encoder and downscale stream, pretrained on COCO, from the file of `blitznet-weights`.

`tools/port_ssdlite.py` made the file of the published model.
"""

from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from blitznet.core.errors import ModelError
from blitznet.core.packaged_files import packaged_file

ENCODER_FILE = "ssdlite-mobilenetv2-encoder.safetensors"
"""name of the file: MobileNetV2 and three blocks of the downscale stream; the fourth is in the file of the box heads"""


def load_pretrained_encoder(net: nn.Module, path: Path | None = None) -> None:
    """Load SSDLite's weights into the `encoder` and `downscale` of a network; further blocks are not changed.

    Args:
        net: The network.
        path: The file. Default: the published one.

    Raises:
        ModelError: The file is missing, or the network has another encoder.
    """
    path = packaged_file(ENCODER_FILE) if path is None else path
    if not path.is_file():
        raise ModelError(f"{path}: expected the pretrained encoder, got no file")
    state, expected = load_file(path), net.state_dict()
    for name, value in state.items():
        fits = name in expected and expected[name].shape == value.shape
        if not fits and (name in expected or name.startswith("encoder.")):
            raise ModelError(
                f"{path}: expected a network with '{name}' {tuple(value.shape)}, got another; "
                "use the encoder 'mobilenetv2-ssdlite'"
            )
    net.load_state_dict({name: value.float() for name, value in state.items() if name in expected}, strict=False)
