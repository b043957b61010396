"""What a trained eraser says of slices."""

import numpy as np
import torch

from skadm.detectors._eraser_networks import Erasers
from skadm.detectors._prior import PriorDetector
from skadm.neural import TorchDetector
from skadm.nn.density import mixture_energy
from skadm.nn.mirror import mirrored
from skadm.nn.pixels import brain_of, map_of, pixels_of
from skadm.nn.smoothing import guided_in_brain, smooth_in_brain

# Added to the diagonal of the mixture's covariances, and minimum eigenvalue, in squared
# standard deviations of the brain: residuals below 0.01 are not distinguished.
FLOOR = 1e-4


class EraserScoring(PriorDetector, TorchDetector):
    """Residuals, probabilities and scores of `EraserDetector`, which adds the training."""

    _parameter_constraints = {
        **TorchDetector._parameter_constraints,
        **PriorDetector._parameter_constraints,
    }

    evidence: str
    lesion_direction: str
    mirror: bool
    sigma: float
    edge_aware: bool

    def _output(self, net: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Return slices without lesions and the logit of a lesion, (n, K + 1, H, W)."""
        return net(torch.cat([images, mirrored(images)], dim=1) if self.mirror else images)

    def _outputs(self, networks: Erasers, images: torch.Tensor) -> torch.Tensor:
        """Average the outputs of the networks, (n, K + 1, H, W)."""
        outputs = [self._output(net, images).float() for net in networks.nets]
        return torch.stack(outputs).mean(dim=0)

    def _residuals(self, networks: Erasers, images: torch.Tensor) -> torch.Tensor:
        """Return signed residuals, smoothed over the brain, (n, K, H, W)."""
        return self._residuals_of(images, self._outputs(networks, images))

    def _residuals_of(self, images: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
        return smooth_in_brain(images - outputs[:, :-1], brain_of(images), self.sigma)

    def _features(self, networks: Erasers, images: torch.Tensor) -> torch.Tensor:
        return self._along_axis(self._residuals(networks, images))

    def _along_axis(self, residuals: torch.Tensor) -> torch.Tensor:
        """Return residuals (n, K, H, W); with a prior, combined into (n, 1, H, W)."""
        if self.axis_ is None:
            return residuals
        return self._combined(residuals.unbind(dim=1)).unsqueeze(1)

    @property
    def _scores_density(self) -> bool:
        return self.evidence != "presence" and not self._has_direction

    def _anomaly(self, networks: Erasers, images: torch.Tensor) -> torch.Tensor:
        score = self._base_score(networks, images)
        if networks.students is None:
            return score
        probability = networks.students.probability(images, self._logit)
        smooth = smooth_in_brain(probability, brain_of(images), self.sigma)[:, 0]
        usual = networks.students.usual
        return self._refined(smooth, images).clamp_min(0) * (score - usual).clamp_min(0)

    def _base_score(self, networks: Erasers, images: torch.Tensor) -> torch.Tensor:
        score = self._anomaly_of(networks, images, self._outputs(networks, images))
        return self._refined(score, images)

    def _refined(self, maps: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Smooth maps (n, H, W) along the edges of slices, if `edge_aware`."""
        if not self.edge_aware:
            return maps
        scale = 1.0 if self.axis_ is None else float(np.abs(self.axis_).max())
        guides = self._along_axis(images) / scale
        return guided_in_brain(maps, guides, brain_of(images), round(3 * self.sigma))

    def _logit(self, net: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Return the logit of a lesion, (n, H, W)."""
        return self._output(net, images)[:, -1].float()

    def _anomaly_of(
        self, networks: Erasers, images: torch.Tensor, outputs: torch.Tensor
    ) -> torch.Tensor:
        """Compute the score from the outputs of the erasers."""
        brain = brain_of(images)
        logits = outputs[:, -1:]
        if self.evidence == "presence" and self.axis_ is None:
            return smooth_in_brain(logits, brain, self.sigma)[:, 0]
        features = self._along_axis(self._deviations_of(images, outputs))
        if self._scores_density:
            pixels = pixels_of(features, brain).double()
            energy = mixture_energy(pixels, networks.mixture.parameters_, FLOOR)
            features = map_of(energy, brain).unsqueeze(1)
            return smooth_in_brain(features, brain, self.sigma)[:, 0]
        if self.evidence == "presence" or self.lesion_direction == "prior":
            probability = smooth_in_brain(torch.sigmoid(logits), brain, self.sigma)
            features = probability * (
                features.clamp_min(0) if self._sign_is_known else features.abs()
            )
        return features[:, 0]

    def _deviations_of(self, images: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
        """Return signed deviations from normal, smoothed over the brain, (n, K, H, W)."""
        residuals = self._residuals_of(images, outputs)
        if self.evidence == "residual" or not self._sign_is_known:
            return residuals
        intensity = smooth_in_brain(images, brain_of(images), self.sigma)
        return intensity if self.evidence == "presence" else residuals + intensity
