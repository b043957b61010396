"""Grid search over λ and C with patients kept together, in a pipeline.

python examples/grid_search.py
"""

from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline

from skadm import ADMDetector
from skadm.data import make_phantom
from skadm.preprocessing import IntensityNormalizer

stack = make_phantom(n_patients=6, n_slices=12, size=48, random_state=0)

# Each fold trains on normal slices only, since `fit` leaves out slices with a lesion, and
# is scored by the ROC AUC over the brain pixels of patients it has not seen.
pipeline = make_pipeline(
    IntensityNormalizer(),
    ADMDetector(width=8, max_epochs=5, learning_rate=2e-3, random_state=0),
)
search = GridSearchCV(
    pipeline,
    {
        "admdetector__energy_weight": [5e-4, 5e-3, 5e-2],
        "admdetector__n_components": [2, 6],
    },
    cv=GroupKFold(3),
    n_jobs=2,
)
search.fit(stack, stack.y, groups=stack.groups)

results = search.cv_results_
for parameters, mean, sd in zip(
    results["params"], results["mean_test_score"], results["std_test_score"]
):
    print(f"AUC {mean:.3f} ± {sd:.3f}  {parameters}")
print("best:", search.best_params_)
