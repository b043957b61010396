"""A U-Net for any set of contrasts: a slot for each one that has a name."""

import torch
from torch import nn

from skadm.nn.mirror import mirrored
from skadm.nn.unet import UNet


class SlottedUNet(nn.Module):
    """A U-Net with an input and an output for each known contrast, present or not.

    What is missing is 0, and the first layer adds a vector for each contrast that is there,
    so that the network knows which ones these are. For a fixed set of contrasts this is an
    ordinary `UNet` (`for_contrasts`).

    The input is each slice and its mirror image, the output the slice without lesions and
    the logit of a lesion, as of `EraserDetector`.

    Parameters
    ----------
    n_slots : int
        Known contrasts.
    width, n_levels : int
        Of the `UNet`, whose norm layers are batch norms.
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
            Of missing contrasts it means nothing.
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
            With an input for each contrast, then for each mirror image; as this network
            computes when no other contrast is present, in evaluation mode.
        """
        n_slots, width = self.n_slots, self.presence.out_features
        network = UNet(2 * len(slots), len(slots) + 1, width, self.unet.n_levels)
        state = {name: value.clone() for name, value in self.unet.state_dict().items()}
        inputs = [*slots, *(n_slots + slot for slot in slots)]
        outputs = [*slots, n_slots]
        state["down.0.0.0.weight"] = state["down.0.0.0.weight"][:, inputs]
        # What the first layer would add moves into the norm layer behind it.
        added = self.presence.weight.detach()[:, slots].sum(dim=1)
        state["down.0.0.1.running_mean"] = state["down.0.0.1.running_mean"] - added
        for name in ("head.weight", "head.bias"):
            state[name] = state[name][outputs]
        network.load_state_dict(state)
        return network
