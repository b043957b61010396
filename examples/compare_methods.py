"""
Compare methods
===============

Several detectors on the same patients, beside plain intensity, with several seeds and
intervals over patients. For all detectors at the sizes of ``docs/results.md`` there is
``python -m benchmarks compare``.
"""

# %%
# Every detector comes with named sets of parameters: ``quick``, to see that all runs,
# ``cpu``, and those of its paper.

from skadm.data import make_phantom
from skadm.evaluation import intensity_baselines, patient_split
from skadm.preprocessing import IntensityNormalizer
from skadm.presets import make_detector

stack = make_phantom(n_patients=9, n_slices=12, size=48, random_state=0)
stack = IntensityNormalizer().fit_transform(stack).in_memory()
train, test = patient_split(stack.groups, random_state=0)


def methods(seed):
    """Detectors of one seed; what a sceptic asks for first is among them."""
    names = ("DAEDetector", "PCADetector", "GaussianMixtureDetector")
    trained = {
        name.removesuffix("Detector"): make_detector(name, "quick", random_state=seed)
        for name in names
    }
    return trained | intensity_baselines(stack.contrasts)[0]


# %%
# One protocol for all: normal slices train, abnormal slices of the same patients set the
# threshold, all slices of other patients test.

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
# The spread over seeds says how much a training depends on chance. How much depends on who
# was tested, the differences of patients say; pixels of one brain are not independent. With
# so few patients the t interval of their mean is wide.

from skadm.evaluation import paired_t_tests, verdict

patient_rows = [row for each in found for row in each.patient_rows]
differences = paired_t_tests(patient_rows, reference="DAE", metrics=["auc"])
columns = ("method", "n", "difference", "low", "high")
print(format_table([{key: row[key] for key in columns} for row in differences]))

# %%
# What it comes to, in two sentences:

print(verdict(found[0].rows, found[0].patient_rows))

# %%
maps = found[0].maps

from skadm.plotting import plot_precision_recall

figure = plot_precision_recall({name: (y[test], scores) for name, scores in maps.items()})

# %%
from skadm.plotting import plot_montage

figure = plot_montage(stack[test], y[test], maps)
