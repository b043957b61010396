"""
Whole slices and volumes
========================

Which slices, and which patients, are abnormal: one score for each, by scikit-learn's tools.
"""

# %%
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, cross_val_score

from skadm import IntensityDetector, SliceDetector, VolumeDetector
from skadm.data import make_phantom
from skadm.image_level import (
    anomaly_average_precision,
    slice_labels,
    volume_labels,
    volumes_of,
)
from skadm.pooling import LargestComponent, Quantile, TopKMean
from skadm.preprocessing import IntensityNormalizer

stack = make_phantom(
    n_patients=16, n_slices=20, size=64, lesion_fraction=0.6, random_state=0
)
stack = IntensityNormalizer().fit_transform(stack).in_memory()

# %%
# Labels as scikit-learn has them for outliers: +1 normal, -1 anomaly. Only slices of +1 are
# trained on. Slices of a patient are alike: folds keep them together.

labels = slice_labels(stack.y)
folds = StratifiedGroupKFold(4)
pixels = IntensityDetector(prior={"FLAIR": 1, "T2": 1}, sigma=1)  # or ADMDetector(...)

# %%
# How a map becomes one number, and the detector's own parameters, are searched together.

search = GridSearchCV(
    SliceDetector(pixels),
    {
        "pooling": [Quantile(0.01), TopKMean(100), LargestComponent()],
        "detector__sigma": [0, 1, 2],
    },
    scoring="roc_auc",
    cv=folds,
)
search.fit(stack, labels, groups=stack.groups)
for parameters, mean in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"]
):
    print(f"slices: AUC {mean:.3f}  {parameters}")

# %%
# Average precision of the anomalies; scikit-learn's own takes +1, the normal slices, for
# the class that is to be found.

precision = cross_val_score(
    search.best_estimator_,
    stack,
    labels,
    groups=stack.groups,
    scoring=anomaly_average_precision,
    cv=folds,
)
print(f"slices: AP  {precision.mean():.3f}, {(labels == -1).mean():.0%} are abnormal")

# %%
# Scores of slices of new patients, those of one fold:

import matplotlib.pyplot as plt
import numpy as np

train, test = next(folds.split(labels, labels, stack.groups))
detector = search.best_estimator_.fit(stack[train], labels[train])
scores = detector.score_samples(stack[test])
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
bins = np.histogram_bin_edges(scores, 25)
for label, name in ((1, "normal"), (-1, "abnormal")):
    axes.hist(scores[labels[test] == label], bins, histtype="step", label=name)
axes.set(xlabel="score (higher is more normal)", ylabel="slices")
legend = axes.legend()

# %%
# Whole volumes, here one for each patient: a list of stacks.

volumes = volumes_of(stack)
labels = volume_labels([volume.y for volume in volumes])
auc = cross_val_score(
    VolumeDetector(pixels, LargestComponent()),
    volumes,
    labels,
    groups=[volume.groups[0] for volume in volumes],
    scoring="roc_auc",
    cv=StratifiedGroupKFold(3),
)
print(f"volumes: AUC {auc.mean():.3f}, {(labels == -1).sum()} of {len(labels)} abnormal")
