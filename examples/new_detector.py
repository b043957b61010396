"""
Write a new detector
====================

A new method says three things: its networks, how they are trained, and the anomaly score
of a batch. Devices, precision, seeds, checks, thresholds, history and files come
from ``TorchDetector``, and with scikit-learn's interface everything else of the package.
"""

# %%
# Forty lines
# -----------
#
# The idea: the contrasts of normal tissue tell each other. A network predicts each contrast
# of a pixel from the others around it, and how sure that is; the negative log-likelihood is
# what it is trained by, and the anomaly. ``_build`` draws its weights from the generator it
# is given, so that one seed always gives one result; the loss returns every number that
# shall stand in ``history_``.

import torch
from torch import nn

from skadm.neural import TorchDetector
from skadm.nn.blocks import build, convolution
from skadm.nn.pixels import brain_of
from skadm.training import Objective, Stage


# start of the detector
class ConditionalDetector(TorchDetector):
    """How unlikely each contrast of a pixel is, given the others around it."""

    def __init__(self, *, width=16, max_epochs=50, learning_rate=1e-3, random_state=None):
        super().__init__(
            max_epochs=max_epochs, learning_rate=learning_rate, random_state=random_state
        )
        self.width = width

    def _build(self, n_contrasts, generator):
        return build(lambda: _Prediction(n_contrasts, self.width), generator)

    def _train(self, networks, images, trainer):
        def loss(batch):
            return {"loss": self._anomaly(networks, batch)[brain_of(batch)].mean()}

        objective = Objective(networks, loss)
        trainer.fit_stage(Stage("prediction", images, [objective], trainer.augmentation))

    def _anomaly(self, networks, images):
        energies = [networks(images, hidden) for hidden in range(images.shape[1])]
        return torch.stack(energies).sum(dim=0)


class _Prediction(nn.Module):
    def __init__(self, n_contrasts, width):
        super().__init__()
        layers = [convolution(n_contrasts, width, 3), convolution(width, width, 3)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 2 * n_contrasts, 1))

    def forward(self, images, hidden):
        others = images.clone()
        others[:, hidden] = 0
        means, log_variances = self.layers(others).float().chunk(2, dim=1)
        errors = (images - means)[:, hidden].square()
        log_variance = log_variances[:, hidden]
        return (errors * (-log_variance).exp() + log_variance) / 2


# end of the detector

# %%
# It is a detector like any other
# -------------------------------

from sklearn.model_selection import GridSearchCV, GroupKFold

from skadm import IntensityDetector
from skadm.data import make_phantom
from skadm.evaluation import evaluate_split, format_table, patient_split
from skadm.preprocessing import IntensityNormalizer

stack = make_phantom(n_patients=6, n_slices=16, size=64, random_state=0)
stack = IntensityNormalizer().fit_transform(stack).in_memory()
train, test = patient_split(stack.groups, random_state=0)
detector = ConditionalDetector(max_epochs=20, learning_rate=5e-3, random_state=0)
methods = {
    "conditional": detector,
    "FLAIR + T2, smoothed": IntensityDetector(prior={"FLAIR": 1, "T2": 1}, sigma=2),
}
found = evaluate_split(methods, stack, stack.y, train=train, test=test, seed=0)
print(format_table(found.rows))

# %%
# Its parameters can be searched:

search = GridSearchCV(
    detector.set_params(max_epochs=5), {"width": [4, 16]}, cv=GroupKFold(2)
)
search.fit(stack[train], stack[train].y, groups=stack.groups[train])
print(search.best_params_)

# %%
from skadm.plotting import plot_history, plot_montage

figure = plot_history(found.detectors["conditional"].history_)

# %%
figure = plot_montage(stack[test], stack[test].y, found.maps)

# %%
# To make it part of the package
# ------------------------------
#
# One file in ``skadm/detectors``, and a line in its ``__init__``. Attributes of the class
# hold its presets (``_presets``) and what ``skadm list`` says of it (``_paper``, ``_tune``,
# ``_good_at``). The tests then hold it to all that a detector promises.
#
# Methods of several stages call ``trainer.fit_stage`` several times; adversaries are
# several objectives of one stage; a detector without a network derives from
# ``skadm.base.BaseDetector`` and has ``_fit`` and ``_score``.
