"""
Choose λ and C
==============

A grid search over the weight λ of the energy and the number C of Gaussians, by
scikit-learn's own tools, with the slices of a patient kept together.
"""

# %%
# A detector keeps scikit-learn's interface on stacks: it can be the last step of a
# pipeline, and every parameter of every step can stand in the grid.

from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline

from skadm import ADMDetector
from skadm.data import make_phantom
from skadm.preprocessing import IntensityNormalizer

stack = make_phantom(n_patients=4, n_slices=10, size=32, random_state=0)
pipeline = make_pipeline(
    IntensityNormalizer(),
    ADMDetector(width=4, n_blocks=1, max_epochs=10, learning_rate=5e-3, random_state=0),
)

# %%
# Each fold trains on normal slices only, since ``fit`` leaves out slices with a lesion, and
# is scored by the ROC AUC over the brain pixels of patients it has not seen. (The paper
# scores the abnormal slices of the patients trained on: ``skadm.model_selection`` can do
# either.)

weights, components = [5e-4, 5e-3, 5e-2], [2, 6]
search = GridSearchCV(
    pipeline,
    {
        "admdetector__energy_weight": weights,
        "admdetector__n_components": components,
    },
    cv=GroupKFold(2),
)
search.fit(stack, stack.y, groups=stack.groups)

results = search.cv_results_
for parameters, mean, sd in zip(
    results["params"], results["mean_test_score"], results["std_test_score"]
):
    print(f"AUC {mean:.3f} ± {sd:.3f}  {parameters}")
print("best:", search.best_params_)

# %%
from skadm.plotting import plot_heat_map

figure = plot_heat_map(
    results["mean_test_score"].reshape(len(weights), len(components)),
    row_labels=[f"{weight:g}" for weight in weights],
    column_labels=[str(number) for number in components],
    row_title="λ",
    column_title="C",
    value_title="AUC",
)

# %%
# What to know
# ------------
#
# - ``n_jobs=-1`` trains folds side by side. A stack pickles as paths, so that workers share
#   files, not arrays.
# - ``ADMDetector(memory="folder")`` keeps each fold's translation network, which neither λ
#   nor C has a part in: the search above then trains two of them in place of twelve.
# - ``refit=True``, the default, trains the best once more on the normal slices of all
#   patients.
# - Differences between folds are larger than those between candidates as long as there are
#   few patients: read the ± before the mean.
# - Without a label of a lesion, score by ``SyntheticLesionScorer``:
#   :ref:`sphx_glr_auto_examples_without_labels.py`.
