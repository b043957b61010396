"""
Choose parameters without labels
================================

Lesions are rare and masks are dear. Parameters can be chosen by artificial lesions, or by
the likelihood of held-out normal slices; how far that can be trusted is measured in
:doc:`/thresholds`.
"""

# %%
# Patients with a lesion are used here only to say afterwards how good the choice was.

from sklearn.model_selection import GridSearchCV, GroupKFold

from skadm import PCADetector
from skadm.data import make_phantom
from skadm.evaluation import patient_split
from skadm.metrics import pixel_roc_auc_score
from skadm.model_selection import SyntheticLesionScorer
from skadm.preprocessing import IntensityNormalizer

stack = make_phantom(n_patients=8, n_slices=12, size=48, random_state=0)
stack = IntensityNormalizer().fit_transform(stack).in_memory()
train, test = patient_split(stack.groups, random_state=0)

# %%
# What an artificial lesion looks like
# ------------------------------------
#
# Four kinds, none of which is told which contrast a lesion is bright on: a shift of
# intensity, another texture, a deformation, and contrasts that contradict each other.

from skadm.plotting import plot_montage
from skadm.synthetic import ContrastInconsistency, paste_lesions

normal = stack[train & ~(stack.y == 1).any(axis=(1, 2))]
X, y = paste_lesions(normal.X, ContrastInconsistency(), random_state=0)
figure = plot_montage(X, y, contrast_names=stack.contrasts)

# %%
# The search
# ----------
#
# As any other, with a scorer that pastes lesions into the normal slices of the left-out
# patients. ``y`` only tells which slices are normal.

search = GridSearchCV(
    PCADetector(random_state=0),
    {"n_components": [1, 2, 3], "neighbourhood": [1, 3]},
    scoring=SyntheticLesionScorer(),
    cv=GroupKFold(2),
)
search.fit(stack[train], stack[train].y, groups=stack.groups[train])

# %%
# Beside it, what labels of the test patients say about the same candidates:

for parameters, synthetic in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"]
):
    detector = PCADetector(random_state=0, **parameters)
    detector.fit(stack[train], stack[train].y)
    maps = detector.score_samples(stack[test])
    auc = pixel_roc_auc_score(stack[test].y, maps)
    print(f"artificial {synthetic:.3f}, real {auc:.3f}  {parameters}")
print("chosen:", search.best_params_)
