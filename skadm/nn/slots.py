"""U-Net for any subset of the known contrasts, with a slot for each."""

import torch
from torch import nn

from skadm.nn.mirror import mirrored
from skadm.nn.unet import UNet


class SlottedUNet(nn.Module):
    """A U-Net with an input and an output for each known contrast, present or not.

    Missing contrasts are 0, and the first layer adds a vector for each present contrast,
    so that the network knows which are present. For a fixed set of contrasts this is an
    ordinary `UNet` (`for_contrasts`).

    The input is each slice and its mirror image; the output is the slice without lesions
    and the logit of a lesion, as in `EraserDetector`.

    Parameters
    ----------
    n_slots : int
        Number of known contrasts.
    width, n_levels : int
        Parameters of the `UNet`, which has batch norm layers.
    """

    def __init__(self, n_slots: int, width: int = 16, n_levels: int = 3) -> None:
        super().__init__()
        self.n_slots = n_slots
        self.unet = UNet(2 * n_slots, n_slots + 1, width, n_levels)
        self.presence = nn.Linear(n_slots, width, bias=False)

    def forward(self, images: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Restore slices.

        Parameters
        ----------
        images : torch.Tensor of shape (n, n_slots, H, W)
            0 where a contrast is missing.
        present : torch.Tensor of bool, shape (n, n_slots)

        Returns
        -------
        output : torch.Tensor of shape (n, n_slots + 1, H, W)
            Undefined for missing contrasts.
        """
        seen = torch.cat([images, mirrored(images)], dim=1)
        return self.unet(seen, self.presence(present.to(self.presence.weight.dtype)))

    def for_contrasts(self, slots: list[int]) -> UNet:
        """Make the network for one set of contrasts, in any order.

        Parameters
        ----------
        slots : list of int
            The slot of each contrast.

        Returns
        -------
        network : UNet
            Its inputs are the contrasts, then their mirror images. It gives the same
            output as this network in evaluation mode with no other contrast present.
        """
        n_slots, width = self.n_slots, self.presence.out_features
        network = UNet(2 * len(slots), len(slots) + 1, width, self.unet.n_levels)
        state = {name: value.clone() for name, value in self.unet.state_dict().items()}
        inputs = [*slots, *(n_slots + slot for slot in slots)]
        outputs = [*slots, n_slots]
        state["down.0.0.0.weight"] = state["down.0.0.0.weight"][:, inputs]
        # The vectors added by the first layer are absorbed by the next norm layer.
        added = self.presence.weight.detach()[:, slots].sum(dim=1)
        state["down.0.0.1.running_mean"] = state["down.0.0.1.running_mean"] - added
        for name in ("head.weight", "head.bias"):
            state[name] = state[name][outputs]
        network.load_state_dict(state)
        return network
