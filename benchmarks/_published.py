"""The numbers of Kim et al. 2021 (doi:10.1002/mp.15269), to stand beside ours.

Tables 1-4: BraTS 2019 (221 patients for training and validation, 20 for test) and ISLES
2015 (18 and 6), test sets enlarged by augmentation. Means over three trainings, with their
standard deviations where the paper gives them; not measured here.
"""

from collections.abc import Iterable
from typing import Any

from _summary import with_spread

METRICS = ("auc", "precision", "recall", "f1")

# (data, split): method: mean and standard deviation of each of METRICS.
COMPARISON = {
    ("BraTS 2019", "validation"): {
        "GMVAE": ((0.759, 0.020), (0.255, 0.051), (0.519, 0.101), (0.334, 0.029)),
        "DSVDD": ((0.826, 0.006), (0.425, 0.023), (0.597, 0.036), (0.496, 0.003)),
        "FAnoGAN": ((0.764, 0.000), (0.426, 0.014), (0.392, 0.011), (0.408, 0.000)),
        "DAG": ((0.836, 0.001), (0.430, 0.029), (0.587, 0.049), (0.495, 0.002)),
        "DAGc": ((0.843, 0.027), (0.449, 0.062), (0.618, 0.040), (0.519, 0.056)),
        "ADM": ((0.883, 0.002), (0.578, 0.042), (0.574, 0.021), (0.575, 0.010)),
    },
    ("BraTS 2019", "test"): {
        "GMVAE": ((0.776, 0.034), (0.332, 0.023), (0.415, 0.084), (0.366, 0.040)),
        "DSVDD": ((0.870, 0.000), (0.725, 0.026), (0.569, 0.022), (0.635, 0.005)),
        "FAnoGAN": ((0.832, 0.000), (0.642, 0.007), (0.430, 0.005), (0.517, 0.003)),
        "DAG": ((0.904, 0.000), (0.585, 0.021), (0.677, 0.025), (0.627, 0.003)),
        "DAGc": ((0.899, 0.003), (0.583, 0.027), (0.677, 0.033), (0.625, 0.000)),
        "ADM": ((0.934, 0.011), (0.702, 0.012), (0.643, 0.045), (0.671, 0.028)),
    },
    ("ISLES 2015", "validation"): {
        "GMVAE": ((0.694, 0.016), (0.240, 0.032), (0.214, 0.007), (0.226, 0.015)),
        "DSVDD": ((0.844, 0.003), (0.382, 0.006), (0.470, 0.007), (0.421, 0.006)),
        "FAnoGAN": ((0.723, 0.001), (0.554, 0.001), (0.223, 0.000), (0.318, 0.000)),
        "DAG": ((0.743, 0.002), (0.523, 0.006), (0.248, 0.003), (0.336, 0.003)),
        "DAGc": ((0.725, 0.004), (0.419, 0.082), (0.276, 0.017), (0.329, 0.017)),
        "ADM": ((0.814, 0.014), (0.414, 0.013), (0.381, 0.020), (0.396, 0.016)),
    },
    ("ISLES 2015", "test"): {
        "GMVAE": ((0.595, 0.025), (0.047, 0.006), (0.451, 0.075), (0.085, 0.009)),
        "DSVDD": ((0.609, 0.008), (0.049, 0.002), (0.408, 0.026), (0.088, 0.004)),
        "FAnoGAN": ((0.660, 0.000), (0.176, 0.001), (0.222, 0.001), (0.196, 0.001)),
        "DAG": ((0.650, 0.000), (0.087, 0.002), (0.279, 0.017), (0.133, 0.001)),
        "DAGc": ((0.643, 0.003), (0.059, 0.002), (0.398, 0.021), (0.103, 0.002)),
        "ADM": ((0.870, 0.010), (0.203, 0.027), (0.433, 0.005), (0.276, 0.025)),
    },
}

# Means alone. Test recall of ADM on BraTS is 0.643 in Table 1 and 0.653 in Table 3.
ABLATION = {
    ("BraTS 2019", "validation"): {
        "ADM_ct": (0.861, 0.527, 0.522, 0.521),
        "ADM_dr": (0.865, 0.623, 0.550, 0.584),
        "ADM_woj": (0.878, 0.576, 0.569, 0.572),
        "ADM": (0.883, 0.578, 0.574, 0.575),
    },
    ("BraTS 2019", "test"): {
        "ADM_ct": (0.930, 0.724, 0.607, 0.658),
        "ADM_dr": (0.922, 0.797, 0.643, 0.712),
        "ADM_woj": (0.933, 0.725, 0.638, 0.678),
        "ADM": (0.934, 0.702, 0.653, 0.671),
    },
    ("ISLES 2015", "validation"): {
        "ADM_ct": (0.768, 0.267, 0.351, 0.303),
        "ADM_dr": (0.734, 0.613, 0.265, 0.371),
        "ADM_woj": (0.787, 0.300, 0.367, 0.330),
        "ADM": (0.814, 0.414, 0.381, 0.396),
    },
    ("ISLES 2015", "test"): {
        "ADM_ct": (0.839, 0.122, 0.537, 0.198),
        "ADM_dr": (0.662, 0.111, 0.211, 0.145),
        "ADM_woj": (0.856, 0.158, 0.455, 0.234),
        "ADM": (0.870, 0.203, 0.433, 0.276),
    },
}


def beside_published(
    ours: Iterable[dict[str, Any]], published: dict, metrics: Iterable[str] = ("auc", "f1")
) -> list[dict[str, Any]]:
    """Rows of the published methods as text, with the published numbers beside them.

    Parameters
    ----------
    ours : iterable of dict
        Rows of `summarise_seeds`.
    published : dict
        `COMPARISON` or `ABLATION`.
    metrics : iterable of str
        Which to show.
    """
    rows = []
    methods = {name for table in published.values() for name in table}
    for row in ours:
        if row["method"] not in methods:
            continue
        shown = {"method": row["method"], "split": row["split"]}
        for metric in metrics:
            shown[f"{metric}, here"] = with_spread(row[metric], row[f"{metric}_std"])
            for (data, split), methods in published.items():
                if split == row["split"]:
                    found = methods.get(row["method"])
                    shown[f"{metric}, published, {data}"] = (
                        _text(found[METRICS.index(metric)]) if found else "-"
                    )
        rows.append(shown)
    return rows


def _text(value: Any) -> str:
    return with_spread(*value) if isinstance(value, tuple) else with_spread(value)
