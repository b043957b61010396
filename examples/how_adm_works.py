"""
How ADM works
=============

The method of Kim et al. 2021 step by step, on one slice. Its equations: :doc:`/method`.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

from skadm import ADMDetector
from skadm.data import make_phantom
from skadm.preprocessing import IntensityNormalizer

stack = make_phantom(n_patients=6, n_slices=16, size=64, random_state=0)
stack = IntensityNormalizer().fit_transform(stack).in_memory()
X, y = stack.load()
detector = ADMDetector(
    width=8, n_blocks=2, max_epochs=20, learning_rate=2e-3, random_state=0
)
detector.fit(stack, y)

# The slice with the largest lesion.
largest = int((y == 1).sum(axis=(1, 2)).argmax())
X, y = X[[largest]], y[[largest]]


def show(images, titles, *, cmap="gray", symmetric=False):
    """Draw images in a row, with the outline of the lesion."""
    size = (1.6 * len(images), 1.9)
    figure, axes = plt.subplots(1, len(images), figsize=size, layout="constrained")
    for ax, image, title in zip(axes, images, titles):
        image = np.where(y[0] >= 0, image, np.nan)
        high = np.nanquantile(np.abs(image), 0.995)
        low = -high if symmetric else np.nanquantile(image, 0.005)
        ax.imshow(image, cmap=cmap, vmin=low, vmax=high)
        ax.contour(y[0] == 1, [0.5], colors="tab:red", linewidths=0.8)
        ax.set_title(title, fontsize="small")
        ax.set_axis_off()
    return figure


figure = show(X[0], stack.contrasts)

# %%
# Translation
# -----------
#
# A network makes every contrast from the others (Eq. 1–4). Where it errs, contrasts
# contradict what it has seen of normal brains: the absolute errors are the first features
# (Eq. 5).

features = detector.pixel_features(X)[0]
n_contrasts = X.shape[1]
figure = show(
    features[:n_contrasts], [f"|error|, {name}" for name in stack.contrasts], cmap="inferno"
)

# %%
# Reduction
# ---------
#
# Another network reduces the contrasts to fewer images, from which they can be restored
# (Eq. 6–7).

latent = features[n_contrasts:]
titles = [f"latent {number + 1}" for number in range(len(latent))]
figure = show(latent, titles, cmap="RdBu_r", symmetric=True)

# %%
# Density
# -------
#
# The features of a pixel are a point in a space of K + L dimensions, and the normal ones
# are described by a mixture of Gaussians whose covariances have a least eigenvalue (Eq.
# 8–12). The anomaly is the energy, the negative log-likelihood.

explanation = detector.explain(X)
figure = show(
    [explanation.anomaly[0], explanation.baseline[0], explanation.component[0]],
    ["energy", "its baseline", "component"],
    cmap="inferno",
)

# %%
# What the energy is made of
# --------------------------
#
# It is a sum of one part for each feature, and the baseline of the component, without
# remainder.

from skadm.plotting import plot_explanation

figure = plot_explanation(X, explanation, y)

# %%
# Both stages of the training, epoch by epoch:

from skadm.plotting import plot_history

figure = plot_history(detector.history_)
