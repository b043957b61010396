"""The benchmark of speed: its plain version is ADM, its numbers are what they say."""

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from test_contract import make_slices

from benchmarks.lib.speed import (
    density,
    equal_loss,
    growth,
    limit,
    machine,
    memory,
    parts,
    plain_adm,
    timing,
)
from benchmarks.lib.speed.rows import Row
from benchmarks.speed import cohort, speed
from skadm import ADMDetector, PCADetector
from skadm.nn.density import estimate_mixture, mixture_energy

pytest.importorskip("matplotlib")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def images():
    """Smooth slices that are brain everywhere: no window around it is smaller than they."""
    random = np.random.default_rng(0)
    coarse = random.standard_normal((4, 3, 6, 6)).repeat(4, axis=2).repeat(4, axis=3)
    noise = 0.1 * random.standard_normal(coarse.shape)
    return (coarse + noise).astype(np.float32)


def tiny(**parameters):
    chosen = {"width": 4, "n_blocks": 1, "n_components": 3, "max_epochs": 4}
    chosen |= {"precision": "float32", "augmentation": None, "random_state": 0}
    return ADMDetector(**{**chosen, **parameters})


def test_plain_version_scores_as_the_detector(images):
    detector = tiny().fit(images)
    plain = plain_adm.plain_of(detector)
    X = torch.from_numpy(images)
    errors = plain.translation_errors(X)
    with torch.no_grad():
        features, _, brain = plain.features(X, errors)
    assert brain.all()
    ours = detector.pixel_features(images).transpose(0, 2, 3, 1).reshape(-1, 5)
    np.testing.assert_allclose(features, ours, atol=1e-4)
    scores = detector.score_samples(images)
    assert scores.std() > 0.5
    # Inverses in float32: a covariance's small eigenvalues cost digits.
    np.testing.assert_allclose(plain.score(X), scores, rtol=1e-3, atol=2e-3)


def test_plain_losses_are_those_of_the_history(images):
    # The first step of each stage. One slice: a batch norm sees one target at a time in
    # either version, whatever the order of targets that the detector draws.
    images = images[:1]
    rate = 1e-12  # weights stay as they are
    detector = tiny(learning_rate=rate, max_epochs=1, targets_per_step=3, energy_weight=0.1)
    detector.fit(images)
    losses = {record["stage"]: record["loss"] for record in detector.history_}
    X = torch.from_numpy(images)
    plain = plain_adm.plain_of(detector)
    errors = plain.translation_errors(X)
    plain.train()
    assert plain.translation_loss(X).item() == pytest.approx(
        losses["translation"], rel=1e-4
    )
    density = plain.density_loss(X, errors, 0.1).item()
    assert density == pytest.approx(losses["density"], rel=1e-4)


def test_other_layers_are_refused(images):
    detector = tiny(norm="none", max_epochs=1).fit(images)
    with pytest.raises(ValueError, match="translation network has other layers"):
        plain_adm.plain_of(detector)


def test_densities_agree_with_gradients():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(500, 4, generator=generator) @ torch.randn(4, 4, generator=generator)
    logits = torch.randn(500, 3, generator=generator)
    results = []
    for energy in (density.our_energy, density.plain_energy, density.torch_energy):
        features = z.clone().requires_grad_()
        values = energy(features, logits.softmax(dim=1))
        values.square().mean().backward()
        results.append((values.detach(), features.grad))
    for values, gradient in results[1:]:
        torch.testing.assert_close(values, results[0][0], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(gradient, results[0][1], rtol=1e-2, atol=1e-3)


def test_plain_floor_is_the_paper_s():
    flat = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    flat[:, 2] = 1.5  # no variance at all
    shares = torch.ones(400, 1)
    double = flat.double()
    plain = plain_adm.energy(flat, plain_adm.moments(flat, shares))
    ours = mixture_energy(double, estimate_mixture(double, shares.double()), 1e-6)
    np.testing.assert_allclose(plain, ours, atol=0.05)


def test_exponent():
    sizes = np.array([4, 8, 16, 32])
    assert timing.exponent(sizes, 3 * sizes**1.7) == pytest.approx(1.7)


def test_tasks_take_turns():
    order = []

    def task(name, seconds):
        times = iter(seconds)

        def run():
            order.append(name)
            return {name: next(times)}

        return run

    medians = timing.interleave([task("a", [99, 1, 5, 2]), task("b", [99, 7, 7, 8])], 3)
    assert medians == {"a": 2, "b": 7}  # the first of each is not counted
    assert order == list("ab" + "ab" + "ba" + "ab")


def test_peak_memory():
    mib = memory.peak_mib(lambda: np.ones((64, 2**17)))
    if mib is None:
        pytest.skip("no /proc/self/clear_refs here")
    assert 60 < mib < 80


def test_operations_and_pixels():
    width = 2
    parts = [  # of a pixel: kernel, channels in and out, share of the pixels
        (81, 4, width, 1),
        (9, width, 2 * width, 1 / 4),
        (9, 2 * width, 4 * width, 1 / 16),
        *[(9, 4 * width, 4 * width, 1 / 16)] * 10,
        (9, 4 * width, 2 * width, 1 / 4),
        (9, 2 * width, width, 1),
        (81, width + 1, 1, 1),
    ]
    expected = sum(2 * k * n * m * share for k, n, m, share in parts)
    assert machine.translation_flops(4, width, training=False) == pytest.approx(expected)
    # Backward: gradients of inputs and of weights; but the images need none.
    both = machine.translation_flops(4, width, training=True)
    assert both == pytest.approx(3 * expected - 2 * 81 * 4 * width)
    images = np.zeros((2, 3, 9, 9))
    images[0, 1, 2, 3] = images[0, 2, 5, 4] = 1
    assert machine.needed_pixels(images) == 4 * 2


def test_time_to_equal_loss():
    curves = {
        "ours": [
            equal_loss.Point(1, 1.0, 0.8),
            equal_loss.Point(2, 4.0, 0.4),
            equal_loss.Point(4, 8.0, 0.1),
        ],
        "plain": [equal_loss.Point(1, 10.0, 0.9), equal_loss.Point(2, 20.0, 0.6)],
    }
    row = equal_loss.compare("one", curves)
    assert row.more["loss"] == 0.6
    assert row.reference_s == pytest.approx(20)
    assert row.ours_s == pytest.approx(2)  # half of the way from 1 to 4, in the logarithm
    assert "at least" not in row.note
    curves["ours"] = curves["ours"][1:]
    row = equal_loss.compare("one", curves)
    assert row.ours_s == 4
    assert "at least" in row.note
    with pytest.raises(ValueError, match="no training reaches"):
        equal_loss.seconds_to(curves["plain"], 0.5)


QUICK = ("--quick", "--width", "4", "--size", "16", "--slices", "2")


def run(out, *options):
    """Rows of a quick run."""
    speed.main([*QUICK, "--out", str(out), *options])
    assert json.loads((out / "run.json").read_text())["configuration"]["processor"]
    assert (out / "speed.png").stat().st_size > 1000
    return json.loads((out / "speed.json").read_text())


def test_quick_run(tmp_path, capsys):
    sections = ("training", "scoring", "density", "metrics", "io")
    rows = run(tmp_path, "--only", *sections)
    assert len({row["name"] for row in rows}) == len(rows) == 18
    for row in rows:
        assert row["ratio"] == pytest.approx(row["reference_s"] / row["ours_s"])
        assert row["goal"] is None or row["goal"] > 0
    goals = {row["name"]: row["goal"] for row in rows}
    assert goals["scoring a slice"] == 3
    assert "scoring a slice" in capsys.readouterr().out


def test_limit_and_growth(tmp_path, monkeypatch):
    monkeypatch.setattr(growth, "SIZES", {"slices": (2, 4), "contrasts": (2, 3)})
    monkeypatch.setattr(growth, "SIDES", (0.5, 1.0))
    rate = partial(machine.matrix_rate, side=512, seconds=0.05)
    monkeypatch.setattr(limit, "matrix_rate", rate)
    rows = run(tmp_path, "--only", "limit", "growth")
    limits = [row for row in rows if "against the limit" in row["name"]]
    assert len(limits) in (4, 8)  # with bfloat16, where the machine has it
    for row in limits:
        assert 0 < row["ratio"] < 1
    grown = [row for row in rows if "exponent" in row]
    assert len(grown) == 3 * 3
    assert all(len(row["seconds"]) == len(row["sizes"]) == 2 for row in grown)
    assert {row["reference_s"] for row in grown} == {None}


def test_parts_are_named_once(tmp_path):
    rows = run(tmp_path, "--only", "parts")
    # Scoring knows nothing of targets.
    assert len({row["name"] for row in rows}) == len(rows) == 2 * len(parts.WITHOUT) - 1
    assert all(row["ratio"] > 0 for row in rows)


def test_without_a_part_the_result_is_the_same():
    """What takes it away takes nothing else."""
    images = make_slices(4, height=40, width=44)[0]
    detector = ADMDetector(
        width=4, n_blocks=1, features="translation", max_epochs=1, random_state=0
    )
    fitted = detector.set_params(precision="float32").fit(images)
    expected = fitted.pixel_features(images)
    changes = [change for change in parts.WITHOUT.values() if callable(change)]
    assert len(changes) == 4
    for change in changes:
        with change():
            found = fitted.pixel_features(images)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_equal_loss(tmp_path):
    lengths = ("--epochs", "1", "4", "--plain-epochs", "1", "2", "--slices", "6")
    one, two = run(tmp_path, "--only", "equal_loss", *lengths)
    assert one["name"].endswith("stage one")
    assert [point["epochs"] for point in one["curves"]["plain"]] == [1, 2]
    assert [point["epochs"] for point in two["curves"]["plain"]] == [1, 2, 4]
    for row in (one, two):
        losses = [p["loss"] for curve in row["curves"].values() for p in curve]
        assert np.isfinite(losses).all()
    assert (tmp_path / "equal_loss.png").stat().st_size > 1000


def test_profile(tmp_path, capsys):
    speed.main([*QUICK, "--profile", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert printed.count("mkldnn_convolution") >= 3
    files = printed.partition("NIfTI to stack to maps to NIfTI")[2]
    assert "Ordered by: internal time" in files


def test_rows_under_their_goal():
    assert Row("a", 1, 2, goal=3).missed
    assert not Row("a", 1, 3, goal=3).missed
    assert not Row("no goal", 1, 2).missed
    assert not Row("no reference", 1, goal=3).missed


def test_cohort_with_two_jobs(tmp_path, monkeypatch):
    # Neither the process of a measurement nor its workers need torch for this detector.
    detector = PCADetector(max_samples=100)
    monkeypatch.setattr("skadm.presets.make_detector", lambda *_, **__: detector)
    monkeypatch.setattr(cohort, "run_alone", lambda function, *given: function(*given))
    cohort.main(["--volumes", "2", "--size", "32", "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "cohort.csv")
    assert list(table["jobs"]) == [1, 2]
    assert list(table["slices"]) == [50, 50]
    assert table["ratio"][1] == pytest.approx(
        table["elapsed, s"][0] / table["elapsed, s"][1]
    )
    assert (table["processor, s"] > 0).all()


def test_unknown_rows_are_refused():
    with pytest.raises(SystemExit):
        speed.main(["--only", "everything"])
