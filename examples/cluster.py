"""
On a cluster
============

Cross-validation and maps of a cohort on a Dask cluster, here one of this machine:
``python examples/cluster.py [FOLDER]``. What scales how, and how long it takes, is in
:doc:`/scaling`.
"""

import sys
import tempfile
from pathlib import Path

from distributed import Client, LocalCluster
from joblib import parallel_config
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from skadm import PCADetector
from skadm.cohort import score_cohort
from skadm.data import make_phantom, read_table, write_maps
from skadm.preprocessing import IntensityNormalizer


def write_phantom(folder):
    """Write the phantom as NIfTI files with a table, as your own scans would be."""
    phantom = make_phantom(n_patients=6, n_slices=8, size=32, random_state=0)
    X, y = phantom.load()
    for number, contrast in enumerate(phantom.contrasts):
        write_maps(X[:, number], phantom, folder, suffix=f"_{contrast}")
    write_maps(y == 1, phantom, folder, suffix="_mask")
    columns = [*phantom.contrasts, "mask"]
    with open(folder / "files.csv", "w") as table:
        print("patient", *columns, sep=",", file=table)
        for volume in phantom.volumes:
            files = [f"{volume.name}_{column}.nii.gz" for column in columns]
            print(volume.name, *files, sep=",", file=table)
    return folder / "files.csv"


# Workers import this file: what is to run once stands below the guard.
if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    stack = read_table(write_phantom(folder / "scans"), allow_empty_masks=True)
    model = make_pipeline(IntensityNormalizer(), PCADetector(n_components=3))

    # With SLURMCluster of dask_jobqueue, or Client("tcp://...:8786"), it is another
    # cluster: nothing else changes, if its machines see the same folders.
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster),
        parallel_config(backend="dask"),
    ):
        aucs = cross_val_score(model, stack, stack.y, groups=stack.groups, cv=GroupKFold(3))
        print(f"AUC {aucs.mean():.3f} ± {aucs.std():.3f}")
        model.fit(stack, stack.y)
        report = score_cohort(model, stack, folder / "maps", kinds=("anomaly",))
    print(f"{len(report.files)} maps in {folder / 'maps'}, {len(report.failures)} failures")
