"""
Compare methods
===============

Several detectors and plain intensity on the same patients, with several seeds and intervals
over patients. ``python -m benchmarks compare`` compares all detectors at full size.
"""

# %%
# Every detector has presets: ``quick`` for a test run, ``cpu``, and that of its paper.

from skadm.data import make_phantom
from skadm.evaluation import intensity_baselines, patient_split
from skadm.preprocessing import IntensityNormalizer
from skadm.presets import make_detector

stack = make_phantom(n_patients=9, n_slices=12, size=48, random_state=0)
stack = IntensityNormalizer().fit_transform(stack).in_memory()
train, test = patient_split(stack.groups, random_state=0)


def methods(seed):
    """Detectors of one seed, and intensity baselines."""
    names = ("DAEDetector", "PCADetector", "GaussianMixtureDetector")
    trained = {
        name.removesuffix("Detector"): make_detector(name, "quick", random_state=seed)
        for name in names
    }
    return trained | intensity_baselines(stack.contrasts)[0]


# %%
# All methods follow one protocol. They are trained on normal slices, thresholds are set on
# abnormal slices of the same patients, and all slices of other patients are the test.

from skadm.evaluation import evaluate_split, format_table, summarise_seeds

y = stack.y
found = [
    evaluate_split(methods(seed), stack, y, train=train, test=test, seed=seed)
    for seed in range(2)
]
rows = [row for each in found for row in each.rows if row["split"] == "test"]
summary = summarise_seeds(rows)
columns = ("method", "auc", "auc_std", "ap", "f1")
print(format_table([{key: row[key] for key in columns} for row in summary]))

# %%
# The spread over seeds shows how much a training depends on chance. It says nothing about
# other patients. Use the differences of patients for that, because pixels of one brain are
# not independent. With so few patients, the t interval of their mean is wide.

from skadm.evaluation import paired_t_tests, verdict

patient_rows = [row for each in found for row in each.patient_rows]
differences = paired_t_tests(patient_rows, reference="DAE", metrics=["auc"])
columns = ("method", "n", "difference", "low", "high")
print(format_table([{key: row[key] for key in columns} for row in differences]))

# %%
# ``verdict`` summarises the table:

print(verdict(found[0].rows, found[0].patient_rows))

# %%
maps = found[0].maps

from skadm.plotting import plot_precision_recall

figure = plot_precision_recall({name: (y[test], scores) for name, scores in maps.items()})

# %%
from skadm.plotting import plot_montage

figure = plot_montage(stack[test], y[test], maps)
