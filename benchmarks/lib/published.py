"""Published numbers of Kim et al. 2021 (doi:10.1002/mp.15269).

published.csv holds Tables 1 and 2 ("comparison") and 3 and 4 ("ablation"): BraTS 2019 (221
patients for training and validation, 20 for test) and ISLES 2015 (18 and 6), test sets
enlarged by augmentation. Means over three trainings, with their standard deviations where
the paper gives them; not measured here. Test recall of ADM on BraTS is 0.643 in Table 1 and
0.653 in Table 3.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.lib.summary import with_spread

PUBLISHED = pd.read_csv(Path(__file__).with_suffix(".csv"))


def beside_published(ours: Iterable[dict[str, Any]], table: str) -> list[dict[str, Any]]:
    """Format rows of `summarise_seeds`, with the published numbers beside them.

    `table` is "comparison" or "ablation".
    """
    published = PUBLISHED[PUBLISHED["table"] == table].set_index(
        ["data", "split", "method"]
    )
    rows = []
    for row in ours:
        if row["method"] not in published.index.unique("method"):
            continue
        shown = {"method": row["method"], "split": row["split"]}
        for metric in ("auc", "f1"):
            columns = [metric, f"{metric}_std"]
            shown[f"{metric}, here"] = with_spread(*(row[key] for key in columns))
            for data in published.index.unique("data"):
                numbers = published.loc[(data, row["split"], row["method"]), columns]
                shown[f"{metric}, published, {data}"] = with_spread(*numbers)
        rows.append(shown)
    return rows
