"""Figures: axes, lines, labels and the data in them."""

import io
import sys
from itertools import islice, pairwise

import numpy as np
import pytest
from sklearn.metrics import auc

from skadm.data import ArrayVolume, SliceStack
from skadm.metrics import (
    pixel_average_precision_score,
    pixel_precision_recall_curve,
    pixel_roc_auc_score,
    pixel_roc_curve,
)
from skadm.plotting import (
    plot_history,
    plot_montage,
    plot_precision_recall,
    plot_roc,
    representative_slices,
)
from skadm.plotting._style import line_looks

matplotlib = pytest.importorskip("matplotlib")


@pytest.fixture
def scan():
    """Six slices of a disc with background, five with a lesion, and two normality maps."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:20, :16]
    brain = (rows - 9.5) ** 2 + (columns - 7.5) ** 2 < 49
    X = rng.normal(1, 0.1, size=(6, 3, 20, 16)).astype(np.float32) * brain
    y = np.broadcast_to(np.where(brain, 0, -1), (6, 20, 16)).astype(np.int8)
    for index, size in enumerate([2, 3, 4, 5, 6]):
        y[index, 6 : 6 + size, 5 : 5 + size] = 1
    maps = {
        "good": rng.normal(size=y.shape) - 2 * (y == 1),
        "poor": rng.normal(size=y.shape) - 0.5 * (y == 1),
    }
    return X, y, maps


def as_stack(X, y):
    """The same slices, two of each of the patients a, b and c, at the places 10 to 15."""
    volumes, index = [], np.repeat([0, 1, 2], 2)
    for number, patient in enumerate("abc"):
        images = np.zeros((16, *X.shape[1:]), X.dtype)
        labels = np.full((16, *y.shape[1:]), -1)
        places = slice(10 + 2 * number, 12 + 2 * number)
        images[places], labels[places] = X[index == number], y[index == number]
        contrasts = ("T1", "T2", "FLAIR")
        volumes.append(ArrayVolume(images, labels, patient=patient, contrasts=contrasts))
    return SliceStack(volumes, index, np.arange(10, 16))


def lines_of(axes):
    """Lines with a label of their own, in drawing order."""
    return [line for line in axes.get_lines() if not line.get_label().startswith("_")]


def panels(figure, n_rows, n_columns):
    """Axes of the montage as rows of columns; colour bars come after."""
    axes = figure.axes[: n_rows * n_columns]
    return [axes[row * n_columns : (row + 1) * n_columns] for row in range(n_rows)]


def image_of(axes):
    return axes.get_images()[0].get_array()


# --- curves


def test_roc_lines_carry_their_area_and_are_ordered(scan):
    _, y, maps = scan
    figure = plot_roc({name: (y, maps[name]) for name in ("poor", "good")})
    (axes,) = figure.axes
    lines = lines_of(axes)
    for line, name in zip(lines, ["good", "poor"], strict=True):
        expected = pixel_roc_auc_score(y, maps[name])
        assert auc(*line.get_data()) == pytest.approx(expected, abs=1e-3)
        assert line.get_label() == f"{expected:.3f}  {name}"
    assert axes.get_legend().get_title().get_text() == "AUC"
    assert (axes.get_xlabel(), axes.get_ylabel()) == (
        "False positive rate",
        "True positive rate",
    )
    assert axes.get_aspect() == 1


def test_precision_recall_lines_carry_their_area(scan):
    _, y, maps = scan
    figure = plot_precision_recall({name: (y, scores) for name, scores in maps.items()})
    (axes,) = figure.axes
    for line in lines_of(axes):
        recall, precision = line.get_data()
        expected = pixel_average_precision_score(y, maps[line.get_label()[-4:]])
        area = -np.sum(np.diff(recall) * precision[:-1])
        assert area == pytest.approx(expected, abs=1e-3)
        assert line.get_label().startswith(f"{expected:.3f}")
        assert line.get_drawstyle() == "steps-post"
    (chance,) = [line for line in axes.get_lines() if line.get_label() == "_chance"]
    assert chance.get_ydata()[0] == pytest.approx((y == 1).sum() / (y >= 0).sum())


def test_computed_curves_give_the_same_figure(scan):
    _, y, maps = scan
    for plot, curve in [
        (plot_roc, pixel_roc_curve),
        (plot_precision_recall, pixel_precision_recall_curve),
    ]:
        from_scores = plot({"good": (y, maps["good"])}).axes[0]
        from_curve = plot({"good": curve(y, maps["good"])}).axes[0]
        (first,), (second,) = lines_of(from_scores), lines_of(from_curve)
        np.testing.assert_array_equal(first.get_xydata(), second.get_xydata())
        assert first.get_label() == second.get_label()


def test_known_areas_replace_those_of_the_curves(scan):
    _, y, maps = scan
    curves = {name: pixel_roc_curve(y, scores) for name, scores in maps.items()}
    lines = lines_of(plot_roc(curves, {"poor": 0.9876}).axes[0])
    good = auc(*curves["good"][:2])
    assert [line.get_label() for line in lines] == ["0.988  poor", f"{good:.3f}  good"]


def test_the_legend_of_many_lines_is_not_cut_off(scan):
    _, y, maps = scan
    curves = {f"method number {i}": (y, maps["good"] * i) for i in range(1, 17)}
    figure = plot_roc(curves)
    figure.canvas.draw()
    box = figure.axes[0].get_legend().get_window_extent()
    assert figure.bbox.xmax >= box.xmax
    assert 0 <= box.ymin < box.ymax <= figure.bbox.ymax


def test_no_chance_line_where_methods_have_other_labels(scan):
    _, y, maps = scan
    curves = {"all": (y, maps["good"]), "one": (y[:1], maps["good"][:1])}
    axes = plot_precision_recall(curves).axes[0]
    assert "_chance" not in [line.get_label() for line in axes.get_lines()]


def test_many_lines_look_different(scan):
    looks = {(look["color"], look["linestyle"]) for look in islice(line_looks(), 28)}
    assert len(looks) == 28
    # A method keeps its look whatever its place in the order of the areas.
    _, y, maps = scan
    curves = {name: (y, maps[name]) for name in ("poor", "good")}
    for plot in (plot_roc, plot_precision_recall):
        good, poor = lines_of(plot(curves).axes[0])
        colours = [look["color"] for look in islice(line_looks(), 2)]
        assert [poor.get_color(), good.get_color()] == colours


def test_curves_of_another_form_are_refused(scan):
    _, y, maps = scan
    with pytest.raises(ValueError, match="curves is empty"):
        plot_roc({})
    with pytest.raises(
        ValueError, match="'good' is a ndarray of length 6; expected a tuple"
    ):
        plot_roc({"good": maps["good"]})
    with pytest.raises(ValueError, match="'good' is a tuple of length 1"):
        plot_precision_recall({"good": (y,)})


# --- montage


@pytest.mark.slow
def test_montage_has_a_panel_for_each_slice_contrast_and_method(scan):
    X, y, maps = scan
    figure = plot_montage(
        X,
        y,
        maps,
        slices=[4, 5],
        contrasts=[1, "FLAIR"],
        contrast_names=["T1", "T2", "FLAIR"],
    )
    assert len(figure.axes) == 2 * 4 + 2  # and a colour bar for each method
    grid = panels(figure, 2, 4)
    assert [axes.get_title() for axes in grid[0]] == ["T2", "FLAIR", "good", "poor"]
    assert [row[0].get_ylabel() for row in grid] == ["slice 4", "slice 5"]
    # Lesion outlines on every panel of slice 4, on none of the normal slice 5.
    assert [len(axes.collections) for axes in grid[0] + grid[1]] == [1] * 4 + [0] * 4


def test_a_method_called_like_a_contrast_has_another_title(scan):
    X, y, maps = scan
    figure = plot_montage(
        X, y, {"FLAIR": maps["good"]}, slices=[4], contrast_names=["T1", "T2", "FLAIR"]
    )
    titles = [axes.get_title() for axes in figure.axes]
    assert "FLAIR" in titles
    assert "FLAIR intensity" in titles


def test_montage_shows_anomaly_in_the_brain_with_one_range_for_each_method(scan):
    X, y, maps = scan
    figure = plot_montage(X, y, maps, slices=[0, 4], percentiles=(5, 90))
    grid = panels(figure, 2, 3)
    brain = X[4].any(axis=0)
    shown = image_of(grid[1][1])
    np.testing.assert_allclose(shown.compressed(), -maps["good"][4][brain])
    np.testing.assert_allclose(image_of(grid[1][0]).compressed(), X[4, 0][brain])
    assert shown.shape == (14 + 4, 14 + 2)  # the brain and two pixels where there are any
    for column, name in [(1, "good"), (2, "poor")]:
        limits = np.percentile(-maps[name][[0, 4]][:, brain], (5, 90))
        for row in grid:
            assert row[column].get_images()[0].get_clim() == pytest.approx(tuple(limits))


@pytest.mark.parametrize("signs", [(1, 1), (-1, -1), (1, -1), (-1, 1)])
def test_montage_turns_slices_as_the_affine_says(scan, signs):
    X, y, _ = scan
    # World coordinates of every pixel: x to the right grows with i (along W), y to the
    # front with j (along H), times the signs.
    to_right = np.broadcast_to(signs[0] * np.arange(1, 17), (20, 16))
    to_front = np.broadcast_to(signs[1] * np.arange(1, 21)[:, None], (20, 16))
    affine = np.diag([*signs, 1, 1]).astype(float)
    for scores, axis in [(to_right, 1), (to_front, 0)]:
        maps = {"world": -np.broadcast_to(scores, y.shape)}
        figure = plot_montage(X, y, maps, slices=[0], affine=affine)
        shown = image_of(panels(figure, 1, 2)[0][1]).data
        # Anterior at the top and right at the left: both fall from the first pixel on.
        assert (np.diff(shown, axis=axis) == -1).all()
    assert "R" in [text.get_text() for text in figure.axes[0].texts]


def test_montage_flips_as_told_and_not_without_an_affine(scan):
    X, y, maps = scan
    as_is = image_of(panels(plot_montage(X, y, maps, slices=[2]), 1, 3)[0][1])
    figure = plot_montage(X, y, maps, slices=[2], flip_vertical=True, flip_horizontal=True)
    flipped = image_of(panels(figure, 1, 3)[0][1])
    np.testing.assert_array_equal(flipped.filled(0), as_is.filled(0)[::-1, ::-1])
    brain = X[2].any(axis=0)
    np.testing.assert_array_equal(as_is.compressed(), -maps["good"][2][brain])
    assert not figure.axes[0].texts


@pytest.mark.slow
def test_montage_takes_what_a_stack_knows(scan):
    X, y, maps = scan
    stack = as_stack(X, y)
    for slices in (None, [4, 2]):
        figure = plot_montage(stack, maps=maps, slices=slices)
        assert [axes.get_title() for axes in figure.axes[:4]] == [
            "FLAIR",
            "T2",
            "good",
            "poor",
        ]
    assert [row[0].get_ylabel() for row in panels(figure, 2, 4)] == [
        "c\nz = 14",
        "b\nz = 12",
    ]
    assert len(figure.axes[0].collections) == 1  # the stack's own labels give the outline


def test_montage_of_scans_alone_and_of_a_constant_map(scan):
    X, y, _ = scan
    assert len(plot_montage(X, slices=[0]).axes) == 1
    figure = plot_montage(X, y, {"flat": np.zeros(y.shape)}, slices=[0])
    low, high = figure.axes[1].get_images()[0].get_clim()
    assert low < high


@pytest.mark.slow
def test_a_wide_montage_goes_on_below(scan):
    X, y, maps = scan
    many = {f"method {i}": maps["good"] + i for i in range(6)}
    narrow = plot_montage(X, y, many, slices=[4, 2], max_columns=4)
    wide = plot_montage(X, y, many, slices=[4, 2])
    assert len(narrow.axes) == len(wide.axes) == 2 * 7 + 6
    top, bottom = panels(narrow, 2, 7)
    # Two bands, of four and of three: each with its titles, row labels and colour bars.
    places = [axes.get_position() for axes in (*top, *bottom, *narrow.axes[14:])]
    assert [axes.get_title() for axes in top] == ["Contrast 0", *many]
    assert top[4].get_ylabel() == "slice 4"
    assert bottom[4].get_ylabel() == "slice 2"
    for c in range(3):
        assert places[4 + c].x0 == pytest.approx(places[c].x0)
    # Downwards: both rows of the first band, its bars, both rows of the second, its bars.
    order = [places[i] for i in (0, 7, 14, 4, 11, 19)]
    assert all(above.y0 > below.y1 for above, below in pairwise(order))
    assert narrow.get_figwidth() < wide.get_figwidth()
    boxes = [axes.get_position().extents for axes in narrow.axes]
    assert np.min(boxes) >= 0
    assert np.max(boxes) <= 1
    with pytest.raises(ValueError, match="max_columns is 0; expected 1 or more"):
        plot_montage(X, y, many, max_columns=0)


def test_montage_wraps_long_names(scan):
    X, y, maps = scan
    name = "A method with quite a long name"
    figure = plot_montage(X, y, {name: maps["good"]}, slices=[0])
    title = figure.axes[1].get_title()
    assert title.split() == name.split()
    assert max(len(line) for line in title.split("\n")) < 20


def test_montage_refuses_what_does_not_fit(scan):
    X, y, maps = scan
    cases = [
        (
            (X[0],),
            {},
            r"X has shape \(3, 20, 16\); expected \(n_slices, n_contrasts, H, W\)",
        ),
        ((X, y[:5]), {}, r"y has shape \(5, 20, 16\); expected \(6, 20, 16\)"),
        ((X, y, {"good": maps["good"][0]}), {}, r"map of 'good' has shape \(20, 16\)"),
        ((X, y), {"slices": [0, 6]}, r"slices \[6\] do not exist; expected .* from 0 to 5"),
        ((X, y), {"slices": [-1]}, r"slices \[-1\] do not exist"),
        ((X, y), {"slices": []}, r"slices \[\] do not exist"),
        ((X,), {}, "pass the slices to show"),
        ((X, y), {"contrasts": ["PD"]}, r"contrast 'PD' does not exist; expected one of"),
        ((X, y), {"contrasts": [3]}, r"contrast 3 does not exist"),
        ((X, y), {"contrast_names": ["T1"]}, r"has 1 names, \['T1'\]; expected 3"),
        ((0 * X, y), {"slices": [1]}, "slice 1 has no brain pixel"),
    ]
    for arguments, options, message in cases:
        with pytest.raises(ValueError, match=message):
            plot_montage(*arguments, **options)


def test_representative_slices_differ_in_patient_and_size(scan):
    _, y, _ = scan
    assert representative_slices(y, n_slices=3)[-1] == 5  # the only normal slice
    groups = np.array(["a", "a", "a", "b", "b", "c"])
    chosen = representative_slices(y, groups, n_slices=3)
    sizes = (y[chosen] == 1).sum(axis=(1, 2))
    assert len(set(groups[chosen])) == 3
    assert sizes[0] > sizes[1] > sizes[2] == 0
    # No more slices than there are, and none twice.
    assert sorted(representative_slices(y, groups, n_slices=20)) == list(range(6))
    assert representative_slices(np.zeros((3, 2, 2)), n_slices=2) == [0, 1]


# --- history


def test_figures_show_themselves_in_a_notebook(scan):
    image = pytest.importorskip("PIL.Image")
    figure = plot_montage(*scan[:2])
    picture, size = figure._repr_png_()
    pixels = np.asarray(image.open(io.BytesIO(picture)))
    assert pixels.shape[1] / pixels.shape[0] == pytest.approx(
        size["width"] / size["height"], rel=0.02
    )
    assert size["width"] == pytest.approx(96 * figure.get_figwidth())
    assert pixels[..., 0].std() > 10


def test_history_has_a_column_for_each_stage_and_a_row_for_each_number():
    history = [
        {"stage": "one", "epoch": e, "loss": 10.0**-e, "note": "x"} for e in range(4)
    ]
    history += [
        {"stage": "two", "epoch": e, "loss": e - 1.0, "energy": e} for e in range(3)
    ]
    history[-1]["energy"] = float("inf")
    figure = plot_history(history)
    assert len(figure.axes) == 4
    loss_one, loss_two, energy_one, energy_two = figure.axes
    assert (loss_one.get_title(), loss_two.get_title()) == ("One", "Two")
    assert (loss_one.get_ylabel(), energy_one.get_ylabel()) == ("Loss", "Energy")
    np.testing.assert_allclose(
        loss_one.get_lines()[0].get_xydata(), [(e, 10.0**-e) for e in range(4)]
    )
    assert (loss_one.get_yscale(), loss_two.get_yscale()) == ("log", "linear")
    assert not energy_one.get_lines()
    np.testing.assert_array_equal(energy_two.get_lines()[0].get_ydata(), [0, 1, np.nan])
    assert len(plot_history(history, keys=["energy"]).axes) == 2


def test_history_without_stages():
    (axes,) = plot_history([{"epoch": 1, "loss": 2.0}]).axes
    np.testing.assert_array_equal(axes.get_lines()[0].get_xydata(), [(1, 2)])


def test_history_that_cannot_be_plotted_is_refused():
    with pytest.raises(ValueError, match="history is empty"):
        plot_history([])
    with pytest.raises(ValueError, match=r"entry 0 of history has the keys \['loss'\]"):
        plot_history([{"loss": 1.0}])
    with pytest.raises(ValueError, match=r"no numbers for \['energy'\].*\['loss'\]"):
        plot_history([{"epoch": 0, "loss": 1.0}], keys=["energy"])


# --- matplotlib


@pytest.mark.slow
def test_figures_leave_the_global_settings_alone(scan, tmp_path):
    X, y, maps = scan
    before = dict(matplotlib.rcParams)
    for number, figure in enumerate(
        [
            plot_roc({"good": (y, maps["good"])}),
            plot_precision_recall({"good": (y, maps["good"])}),
            plot_montage(X, y, maps),
            plot_history([{"epoch": 0, "loss": 1.0}, {"epoch": 1, "loss": 0.5}]),
        ]
    ):
        figure.savefig(tmp_path / f"{number}.png", dpi=30)
        assert (tmp_path / f"{number}.png").stat().st_size > 500
    assert dict(matplotlib.rcParams) == before


def test_missing_matplotlib_names_the_extra(scan, monkeypatch):
    X, y, maps = scan
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in (
        lambda: plot_roc({"good": (y, maps["good"])}),
        lambda: plot_precision_recall({"good": (y, maps["good"])}),
        lambda: plot_montage(X, y, maps),
        lambda: plot_history([{"epoch": 0, "loss": 1.0}]),
    ):
        with pytest.raises(ImportError, match=r"pip install skadm\[plot\]"):
            draw()
