"""
Quick start
===========

From slices to anomaly maps, a ROC curve and a montage, on the built-in phantom.
"""

# %%
# A stack of slices stands in for an array of shape (n_slices, n_contrasts, H, W). For your
# own scans it comes from ``read_brats(folder)``, ``read_isles(folder)`` or
# ``read_table("files.csv")``, and goes through ``SliceResizer(128)`` as well.

from skadm.data import make_phantom
from skadm.evaluation import patient_split
from skadm.preprocessing import IntensityNormalizer

stack = make_phantom(n_patients=6, n_slices=16, size=64, random_state=0)
stack = IntensityNormalizer().fit_transform(stack).in_memory()
train, test = patient_split(stack.groups, random_state=0)
stack

# %%
# Masks are used to leave slices with a lesion out of the training, and for nothing else.

from skadm import ADMDetector

detector = ADMDetector(
    width=8, n_blocks=2, max_epochs=20, learning_rate=2e-3, random_state=0
)
detector.fit(stack[train], stack[train].y)

# %%
# The paper's threshold: best F1 on the abnormal slices of the training patients.

from skadm.model_selection import set_offset_by_f1

abnormal = train & (stack.y == 1).any(axis=(1, 2))
set_offset_by_f1(detector, stack[abnormal], stack[abnormal].y)

# %%
# Maps: higher is more normal; ``predict`` says −1 where a pixel is an anomaly.

from skadm.metrics import pixel_average_precision_score

maps = detector.score_samples(stack[test])
labels = detector.predict(stack[test])
y = stack[test].y
print(f"test AUC {detector.score(stack[test], y):.3f}")
print(f"test AP  {pixel_average_precision_score(y, maps):.3f}")
print(f"called anomalous: {(labels == -1).mean():.1%} of the pixels")

# %%
# Figures know which way a score points.

from skadm.plotting import plot_montage, plot_roc

figure = plot_roc({"ADM": (y, maps)})

# %%
figure = plot_montage(stack[test], y, {"ADM": maps})
