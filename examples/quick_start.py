"""From slices to anomaly maps, a ROC curve and a montage, on the built-in phantom.

python examples/quick_start.py
"""

from skadm import ADMDetector
from skadm.data import make_phantom
from skadm.evaluation import patient_split
from skadm.metrics import pixel_average_precision_score
from skadm.model_selection import set_offset_by_f1
from skadm.plotting import plot_montage, plot_roc
from skadm.preprocessing import IntensityNormalizer

# A stack of slices stands in for an array of shape (n_slices, n_contrasts, H, W). For your
# own scans: read_brats(folder), read_isles(folder) or read_table("files.csv"), and then
# SliceResizer(128).
stack = make_phantom(n_patients=9, n_slices=20, size=64, random_state=0)
stack = IntensityNormalizer().fit_transform(stack).in_memory()
train, test = patient_split(stack.groups, random_state=0)

# Masks are used to leave slices with a lesion out of the training, and for nothing else.
detector = ADMDetector(width=8, max_epochs=20, learning_rate=2e-3, random_state=0)
detector.fit(stack[train], stack[train].y)

# The paper's threshold: best F1 on the abnormal slices of the training patients.
abnormal = train & (stack.y == 1).any(axis=(1, 2))
set_offset_by_f1(detector, stack[abnormal], stack[abnormal].y)

# Maps: higher is more normal; predict says -1 where a pixel is an anomaly.
maps = detector.score_samples(stack[test])
labels = detector.predict(stack[test])
y = stack[test].y
print(f"test AUC {detector.score(stack[test], y):.3f}")
print(f"test AP  {pixel_average_precision_score(y, maps):.3f}")
print(f"called anomalous: {(labels == -1).mean():.1%} of the pixels")

plot_roc({"ADM": (y, maps)}).savefig("quick_start_roc.png", dpi=150)
plot_montage(stack[test], y, {"ADM": maps}).savefig("quick_start_maps.png", dpi=150)
