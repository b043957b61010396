"""Figures of the experiments: what they draw is what they were given."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from benchmarks.lib.features import plot_features_3d
from skadm import ADMDetector
from skadm.data import make_phantom
from skadm.plotting import (
    plot_explanation,
    plot_froc,
    plot_heat_map,
    plot_roc_auc_by_lesion_size,
)


def bins(base, n_bins=3):
    return [
        {"low": 200 * i, "high": 200 * (i + 1), "n_slices": 5 - i, "mean": base, "std": 0.1}
        for i in range(n_bins)
    ]


def test_lesion_sizes_have_means_and_counts():
    figure = plot_roc_auc_by_lesion_size({"ADM": bins(0.8), "DAE": bins(0.7)})
    left, right = figure.axes
    np.testing.assert_array_equal(right.lines[0].get_ydata(), [5, 4, 3])
    drawn = [container.lines[0] for container in left.containers]
    assert [line.get_ydata().tolist() for line in drawn] == [[0.8] * 3, [0.7] * 3]
    assert [text.get_text() for text in left.get_xticklabels()][1] == "200 to 400"
    with pytest.raises(ValueError, match="rows is empty"):
        plot_roc_auc_by_lesion_size({})
    with pytest.raises(ValueError, match="bins of 'DAE'"):
        plot_roc_auc_by_lesion_size({"ADM": bins(0.8), "DAE": bins(0.7, 2)})


def test_froc_never_falls():
    figure = plot_froc({"ADM": ([0, 4, 2, 8], [0.1, 0.5, 0.6, 0.4])})
    (line,) = figure.axes[0].lines
    np.testing.assert_array_equal(line.get_xdata(), [0, 2, 4, 8])
    np.testing.assert_array_equal(line.get_ydata(), [0.1, 0.6, 0.6, 0.6])
    with pytest.raises(ValueError, match="curves is empty"):
        plot_froc({})
    with pytest.raises(ValueError, match="expected equal lengths"):
        plot_froc({"ADM": ([0, 1], [0.1])})


def test_heat_map_frames_the_best():
    values = np.array([[0.7, 0.9, np.nan], [0.8, 0.6, 0.5]])
    figure = plot_heat_map(values, row_labels=["a", "b"], column_labels=["x", "y", "z"])
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == [
        "0.700",
        "0.900",
        "0.800",
        "0.600",
        "0.500",
    ]
    (frame,) = axes.patches
    assert frame.get_xy() == (0.5, -0.5)
    with pytest.raises(ValueError, match="expected 1 rows and 3 columns"):
        plot_heat_map(values, row_labels=["a"], column_labels=["x", "y", "z"])
    with pytest.raises(ValueError, match="expected a finite value"):
        plot_heat_map([[np.nan]], row_labels=["a"], column_labels=["x"])


def test_features_lie_in_the_plane_that_is_drawn():
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    features = rng.normal(size=(500, 3)) * [2.0, 1.0, 1e-3] @ basis.T + 5
    figure = plot_features_3d(features, n_points=100)
    assert len(figure.axes) == 2
    assert len(figure.axes[0].collections[0]._offsets3d[0]) == 100
    corners = np.array(figure.axes[0].lines[0].get_data_3d()).T
    assert np.abs((corners - 5) @ basis[:, 2]).max() < 0.02
    shown = figure.get_suptitle().split(": ")[1].split(", ")
    np.testing.assert_allclose(
        [float(value) for value in shown],
        np.linalg.eigvalsh(np.cov(features.T)),
        rtol=0.06,
    )
    # Seen along the plane: its normal lies across the line of sight.
    axes = figure.axes[1]
    elevation, azimuth = np.deg2rad([axes.elev, axes.azim])
    sight = np.array(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ]
    )
    assert abs(sight @ basis[:, 2]) < 1e-2
    with pytest.raises(ValueError, match=r"expected \(n_pixels, 3\)"):
        plot_features_3d(features[:, :2])
    with pytest.raises(ValueError, match="NaN or infinity"):
        plot_features_3d(features * np.inf)


@pytest.mark.slow
def test_explanation_shows_every_part():
    stack = make_phantom(n_patients=2, n_slices=6, size=32, random_state=0)
    detector = ADMDetector(width=4, n_blocks=1, max_epochs=1, random_state=0)
    detector.fit(stack, stack.y)
    found = detector.explain(stack)
    figure = plot_explanation(stack, found, slices=[2, 3])
    n_columns = 3 + len(found.names)
    panels = figure.axes[: 2 * n_columns]
    titles = [axes.get_title().replace("\n", " ") for axes in panels[:n_columns]]
    assert titles == ["FLAIR", "anomaly", *found.names, "component"]
    brain = found.component[3] >= 0
    shown = panels[n_columns + 2].images[0].get_array()
    np.testing.assert_allclose(
        np.sort(shown.compressed()), np.sort(found.features[3, 0][brain])
    )
    with pytest.raises(ValueError, match="expected \\(6, 32, 32\\)"):
        plot_explanation(stack[:6], found)
    with pytest.raises(ValueError, match="there are no labels"):
        plot_explanation(stack.X, found)
