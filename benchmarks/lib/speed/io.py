"""Files: NIfTI to stack to maps to NIfTI, against merely reading and writing the same."""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from benchmarks.lib.speed.memory import peak_mib
from benchmarks.lib.speed.rows import Row
from benchmarks.lib.speed.setting import Setting
from benchmarks.lib.speed.timing import interleave, timed
from skadm.data import NiftiVolume, SliceStack, make_phantom, read_any, write_maps
from skadm.preprocessing import IntensityNormalizer, SliceResizer

GOAL = 1 / 1.3
N_PATIENTS = 2


def studies(setting: Setting, folder: Path) -> Path:
    """Scans to read: those of the setting, or a phantom's, written to the folder."""
    if setting.data != "phantom":
        return Path(setting.data)
    source = folder / "scans"
    size, n_slices = setting.volume_shape
    phantom = make_phantom(N_PATIENTS, n_slices, size, random_state=0)
    for volume in phantom.volumes:
        study = source / volume.name
        study.mkdir(parents=True)
        images, _ = volume.read()
        # Whole numbers, as scanners and public data sets have them; brain stays above 0.
        voxels = np.where(images != 0, np.maximum(1, np.rint(400 * images)), 0)
        for name, contrast in zip(volume.contrasts, voxels.swapaxes(0, 1)):
            image = nib.Nifti1Image(contrast.T.astype(np.int16), volume.grid.affine)
            nib.save(image, study / f"{volume.name}_{name.lower()}.nii.gz")
    return source


def read(source: Path) -> SliceStack:
    """The first patients, by the package; no voxel is read yet."""
    stack = read_any(source, labels=False)
    first = list(dict.fromkeys(stack.groups.tolist()))[:N_PATIENTS]
    return stack[np.isin(stack.groups, first)]


def read_map_write(source: Path, out: Path, steps: Sequence[Any] = ()) -> None:
    """A volume after the other, as `score_cohort` does; the map is the last contrast."""
    stack = _prepared(source, steps)
    for _, places in stack.volume_places():
        volume = stack[places].in_memory()
        write_maps(volume.X[:, -1], volume, out, force=True)


def read_map_write_lazily(source: Path, out: Path, steps: Sequence[Any] = ()) -> None:
    """All volumes at once; steps are taken again when a map is written."""
    stack = _prepared(source, steps)
    write_maps(stack.X[:, -1], stack, out, force=True)


def _prepared(source: Path, steps: Sequence[Any]) -> SliceStack:
    stack = read(source)
    for step in steps:
        stack = step.fit_transform(stack)
    return stack


def plain_read(volumes: list[NiftiVolume]) -> list[NDArray[np.float32]]:
    """Every file in memory; the last contrast of each volume is kept."""
    kept = []
    for volume in volumes:
        images = [
            np.asarray(nib.load(path).dataobj, np.float32) for path in volume.source.paths
        ]
        kept.append(images[-1])
    return kept


def plain_write(
    maps: list[NDArray[np.float32]], volumes: list[NiftiVolume], out: Path
) -> None:
    """A compressed file for each map."""
    out.mkdir(exist_ok=True)
    for image, volume in zip(maps, volumes):
        nib.save(nib.Nifti1Image(image, volume.grid.affine), out / f"{volume.name}.nii.gz")


def measure(setting: Setting) -> list[Row]:
    """All of it, without and with steps of preparation, and its parts."""
    normalizer, resizer = IntensityNormalizer(), SliceResizer(setting.images.shape[-1])
    chains = {
        "": [],
        ", normalised": [normalizer],
        ", normalised and resized": [normalizer, resizer],
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = studies(setting, folder)
        stack = read(source)
        volumes = list(stack.volumes)
        loaded = stack.in_memory()
        maps, images = loaded.X[:, -1], plain_read(volumes)
        mine, theirs = folder / "ours", folder / "plain"
        whole: dict[str, Callable[[], None]] = {
            "plain": lambda: plain_write(plain_read(volumes), volumes, theirs)
        }
        for name, steps in chains.items():
            whole[f"ours{name}"] = partial(read_map_write, source, mine, steps)
            whole[f"lazy{name}"] = partial(read_map_write_lazily, source, mine, steps)
        parts = {
            "read": lambda: read(source).X,
            "plain read": lambda: plain_read(volumes),
            "write": lambda: write_maps(maps, loaded, mine, force=True),
            "plain write": lambda: plain_write(images, volumes, theirs),
        }
        tasks = [timed(*task) for task in (whole | parts).items()]
        medians = interleave(tasks, setting.repeats)
        mib = {name: peak_mib(function) for name, function in whole.items()}
    shape = f"{len(volumes)} volumes, {len(stack)} slices of {stack.shape[1:]}"
    twice = "files are decoded once, but steps taken twice: for slices, and for maps"
    rows = []
    for name in chains:
        for kind, way, goal, note in (
            ("ours", "", None if name else GOAL, shape),
            ("lazy", ", without in_memory()", None, twice),
        ):
            rows.append(
                Row(
                    f"NIfTI to stack to maps to NIfTI{name}{way}, against nibabel",
                    medians[f"{kind}{name}"],
                    medians["plain"],
                    goal,
                    note,
                    mib[f"{kind}{name}"],
                    mib["plain"],
                )
            )
    return [
        *rows,
        Row("reading NIfTI, against nibabel", medians["read"], medians["plain read"]),
        Row("writing maps, against nibabel", medians["write"], medians["plain write"]),
    ]
