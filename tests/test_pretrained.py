"""The network that is trained already: slots, half precision, fine-tuning, the commands."""

import csv
import warnings
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from test_cli import error_of, write_brats

import skadm
from benchmarks.lib import pretraining
from benchmarks.lib.pretraining import (
    Settings,
    draw_patients,
    export,
    leave_out,
    loss_of,
    pretrain,
    rate,
)
from skadm import EraserDetector, load_pretrained, pretrained
from skadm._brain import brain_mask
from skadm._filters import smooth_in_brain
from skadm.cli import _model, main
from skadm.data import ArrayVolume, SliceStack, make_phantom
from skadm.data._sequences import SEQUENCES
from skadm.nn.mirror import mirrored
from skadm.nn.slots import SlottedUNet
from skadm.preprocessing import CoverageImputer, IntensityNormalizer, SliceResizer
from skadm.presets import make_detector
from skadm.training import _pretrained_networks
from skadm.training._pretrained_networks import known_contrasts, pretrained_network

WEIGHTS = Path(_pretrained_networks.__file__).parent / "weights"
TINY = Settings(rounds=3, patients=2, passes=1, size=24, width=4, n_levels=2)


@pytest.fixture
def small(monkeypatch):
    """Few and small synthetic brains for density and threshold."""
    monkeypatch.setattr(pretrained, "_PATIENTS", 3)
    for name, model in pretrained._MODELS.items():
        monkeypatch.setitem(pretrained._MODELS, name, replace(model, size=32))


@pytest.fixture(scope="module")
def stack():
    return IntensityNormalizer().fit_transform(
        make_phantom(2, 6, 32, contrasts=("FLAIR", "T1"), random_state=0)
    )


@pytest.fixture(scope="module")
def slotted():
    """A network whose norm layers have seen something."""
    torch.manual_seed(0)
    network = SlottedUNet(5, width=6, n_levels=2)
    for _ in range(3):
        present = torch.rand(8, 5) < 0.6
        network(torch.randn(8, 5, 16, 16) * present[:, :, None, None], present)
    return network.eval()


# -- slots --------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [[0], [3, 1], [4, 0, 2], [0, 1, 2, 3, 4]])
def test_the_network_of_some_contrasts_is_that_of_all_without_the_others(slotted, slots):
    images = torch.randn(3, len(slots), 20, 16)
    every = torch.zeros(3, 5, 20, 16)
    every[:, slots] = images
    present = torch.zeros(3, 5, dtype=torch.bool)
    present[:, slots] = True
    with torch.inference_mode():
        expected = slotted(every, present)[:, [*slots, 5]]
        found = slotted.for_contrasts(slots).eval()(
            torch.cat([images, mirrored(images)], dim=1)
        )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_network_knows_which_contrasts_are_there(slotted):
    images = torch.randn(2, 5, 16, 16)
    images[:, 3] = 0
    present = torch.ones(2, 5, dtype=torch.bool)
    without = present.clone()
    without[:, 3] = False
    with torch.inference_mode():
        difference = slotted(images, present) - slotted(images, without)
    assert difference.abs().max() > 1e-4


# -- pretraining --------------------------------------------------------------------------


@pytest.mark.slow
def test_patients_of_a_round_are_z_scored_and_say_which_contrasts_they_have():
    images, present = draw_patients(TINY, 0)
    assert images.shape[1:] == (7, 24, 24)
    assert images.shape[:2] == present.shape
    assert present.any(axis=1).all()
    assert not images[~present].any()
    again, _ = draw_patients(TINY, 0)
    np.testing.assert_array_equal(images, again)
    assert not np.array_equal(images[:4], draw_patients(TINY, 1)[0][:4])
    brain = (images != 0).any(axis=1)
    for slot in range(7):
        shown = present[:, slot]
        if shown.any():
            # Slices of almost no brain are left out after the scaling.
            values = images[shown, slot][brain[shown]]
            assert abs(values.mean()) < 0.3
            assert 0.5 < values.std() < 1.5


def test_never_all_contrasts_are_left_out():
    present = torch.zeros(4000, 7, dtype=torch.bool)
    present[:, :2] = True
    kept = leave_out(present, torch.Generator().manual_seed(0))
    assert kept.any(dim=1).all()
    assert not kept[:, 2:].any()
    # Both are left out, and so kept again, with a probability of 0.15 squared.
    assert kept[:, 0].float().mean() == pytest.approx(0.85 + 0.15**2, abs=0.02)


def test_missing_contrasts_have_no_part_in_the_loss(slotted):
    images = torch.zeros(2, 5, 16, 16)
    images[:, :2, 4:12, 4:12] = torch.randn(2, 2, 8, 8)
    present = torch.zeros(2, 5, dtype=torch.bool)
    present[:, :2] = True
    losses = []
    for bias in (0.0, 100.0):
        with torch.no_grad():
            slotted.unet.head.bias[2:5] = bias
            generator = torch.Generator().manual_seed(0)
            losses.append(loss_of(slotted, images, present, TINY, generator)["loss"])
    torch.testing.assert_close(*losses)


def test_learning_rate_rises_stays_and_falls():
    settings = Settings(rounds=10, learning_rate=1.0)
    assert rate(settings, 0.0) < 0.2
    assert rate(settings, 2.0) == rate(settings, 6.9) == 1.0
    assert rate(settings, 8.5) == pytest.approx(0.5)
    assert rate(settings, 10.0) == 0.0


@pytest.mark.slow
def test_an_interrupted_pretraining_goes_on_as_if_nothing_had_been(tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining, "STATISTICS", 3)
    whole = pretrain(TINY, tmp_path / "whole", say=lambda line: None)

    def stop(network, number, seconds):
        if number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(TINY, tmp_path / "parts", stop, lambda line: None)
    resumed = pretrain(TINY, tmp_path / "parts", say=lambda line: None)
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values()):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    for name in ("whole", "parts"):
        history = (tmp_path / name / "history.jsonl").read_text().splitlines()
        assert len(history) == 3


@pytest.mark.slow
def test_pretraining_lowers_the_loss_on_other_brains():
    torch.manual_seed(0)
    settings = Settings(rounds=1, size=32, width=6, n_levels=2, patients=6)
    images, present = map(torch.from_numpy, draw_patients(settings, 7))
    network = SlottedUNet(7, 6, 2)
    adam = torch.optim.Adam(network.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(0)
    errors = []
    for _ in range(40):
        terms = loss_of(network, images, present, settings, generator)
        adam.zero_grad()
        terms["loss"].backward()
        adam.step()
        errors.append(terms["loss"].item())
    assert np.mean(errors[-5:]) < 0.65 * np.mean(errors[:5])


# -- the file -----------------------------------------------------------------------------


def test_half_precision_goes_out_and_comes_back(tmp_path, monkeypatch, slotted):
    torch.manual_seed(0)
    network = SlottedUNet(7, 4, 2).eval()
    (tmp_path / "weights").mkdir()
    export(network, tmp_path / "weights" / "synthetic.safetensors")
    monkeypatch.setattr(_pretrained_networks.resources, "files", lambda package: tmp_path)
    _pretrained_networks._read.cache_clear()
    try:
        found = pretrained_network("synthetic", SEQUENCES)
        expected = network.for_contrasts(list(range(7)))
        for name, value in expected.state_dict().items():
            if value.is_floating_point():
                assert found.state_dict()[name].dtype == torch.float32
                torch.testing.assert_close(
                    found.state_dict()[name], value, rtol=1e-3, atol=1e-6
                )
    finally:
        _pretrained_networks._read.cache_clear()


def test_what_is_shipped_is_small_and_described():
    assert (WEIGHTS / "synthetic.safetensors").stat().st_size < 4 * 2**20
    card = (WEIGHTS / "synthetic.md").read_text("utf-8")
    for word in ("no patient", "Not for", "BraTS"):
        assert word in card
    assert known_contrasts("synthetic") == SEQUENCES


@pytest.mark.slow
def test_the_shipped_network_erases_blobs_and_leaves_the_rest():
    settings = Settings(patients=4, size=64, contrasts=("T1", "T2", "FLAIR"))
    images, present = map(torch.from_numpy, draw_patients(settings, 10**6))
    _, network = _pretrained_networks._read("synthetic")
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        terms = loss_of(network, images, present, settings, generator)
        doing_nothing = _error_of_doing_nothing(images, present, settings)
    assert terms["error"] < 0.8 * doing_nothing


def _error_of_doing_nothing(images, present, settings):
    from skadm.nn.noise import blob_noise

    generator = torch.Generator().manual_seed(0)
    noise = blob_noise(images.shape, settings.lesion_scales, generator)
    noise = noise * present[:, :, None, None]
    brain = (images != 0).any(dim=1)
    errors = (settings.lesion_std * noise).square().sum(dim=1)
    return (errors * (4 / present.sum(dim=1)).view(-1, 1, 1))[brain].mean()


# -- fine-tuning --------------------------------------------------------------------------


@pytest.mark.slow
def test_without_epochs_the_networks_stay_and_the_density_is_learned(stack):
    detector = EraserDetector(init="synthetic", max_epochs=0, random_state=0)
    detector.fit(stack, stack.y)
    expected = pretrained_network("synthetic", stack.contrasts).state_dict()
    for name, value in expected.items():
        np.testing.assert_array_equal(detector.weights_[f"nets.0.{name}"], value)
    assert detector.weights_["mixture.means"].any()
    assert detector.history_ == []


@pytest.mark.slow
def test_fine_tuning_starts_from_the_pretrained_weights(stack):
    settings = {"max_epochs": 1, "learning_rate": 1e-5, "random_state": 0}
    tuned = EraserDetector(init="synthetic", **settings).fit(stack, stack.y)
    expected = pretrained_network("synthetic", stack.contrasts).state_dict()
    for name in ("down.0.0.0.weight", "head.weight"):
        found = tuned.weights_[f"nets.0.{name}"]
        assert np.abs(found - expected[name].numpy()).max() < 1e-3
        assert not np.array_equal(found, expected[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    "known",
    [
        {},
        {"prior": {"FLAIR": 1, "T1": -0.5}},
        {"prior_sign": "unknown"},
        {"prior": {"FLAIR": 1, "T1": -0.5}, "prior_rule": "all"},
    ],
)
def test_evidence_of_presence_by_hand(stack, known):
    known = {"prior": ["FLAIR"], **known} if known else {}
    settings = {"init": "synthetic", "max_epochs": 0, "evidence": "presence", "sigma": 1.5}
    detector = EraserDetector(**settings, **known, precision="float32", random_state=0).fit(
        stack, stack.y
    )
    X = stack.X
    brain = brain_mask(X)
    seen = torch.from_numpy(np.concatenate([X, mirrored(torch.from_numpy(X))], axis=1))
    network = pretrained_network("synthetic", stack.contrasts).eval()
    with torch.inference_mode():
        output = network(seen).numpy()
    logits = output[:, -1]
    weights = np.array([1.0, -0.5 if isinstance(known.get("prior"), dict) else 0.0])

    def along(images):
        smoothed = [smooth_in_brain(images[:, k], brain, 1.5) for k in range(2)]
        changes = [w * part for w, part in zip(weights, smoothed) if w]
        return np.min(changes, axis=0) if "prior_rule" in known else sum(changes)

    if not known:
        expected = smooth_in_brain(logits, brain, 1.5)
    else:
        amount = np.maximum(along(X), 0)
        if "prior_sign" in known:
            amount = np.abs(along(X - output[:, :-1]))
        expected = smooth_in_brain(1 / (1 + np.exp(-logits)), brain, 1.5) * amount
    maps = detector.score_samples(stack)
    np.testing.assert_allclose(maps[brain], -expected[brain], rtol=2e-3, atol=2e-3)


@pytest.mark.slow
def test_evidence_of_residual_and_intensity_by_hand(stack):
    detector = make_detector("EraserDetector", "small-lesions", max_epochs=0)
    detector.set_params(prior={"FLAIR": 1, "T1": -0.5}, sigma=0.7, random_state=0)
    detector.set_params(precision="float32").fit(stack, stack.y)
    X = stack.X
    brain = brain_mask(X)
    seen = torch.from_numpy(np.concatenate([X, mirrored(torch.from_numpy(X))], axis=1))
    with torch.inference_mode():
        restored = pretrained_network("synthetic", stack.contrasts).eval()(seen)[:, :-1]
    twice = 2 * X - restored.numpy()
    weights = [{"FLAIR": 1, "T1": -0.5}.get(name, 0) for name in stack.contrasts]
    expected = smooth_in_brain(np.einsum("nkhw,k->nhw", twice, weights), brain, 0.7)
    maps = detector.score_samples(stack)
    np.testing.assert_allclose(maps[brain], -expected[brain], rtol=2e-3, atol=5e-3)


@pytest.mark.parametrize("known", [{}, {"prior": ["FLAIR"], "prior_sign": "unknown"}])
def test_intensity_as_evidence_needs_a_direction(stack, known):
    detector = make_detector("EraserDetector", "small-lesions", **known)
    with pytest.raises(ValueError, match="lesions change and the direction, but prior="):
        detector.fit(stack, stack.y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"width": 8}, "width=8; expected width=16, as in the pretrained"),
        ({"mirror": False}, "mirror=False.*mirror=True"),
        ({"norm": "instance"}, "norm='instance'.*norm='batch'"),
        ({"n_levels": 2}, "n_levels=2.*n_levels=3"),
    ],
)
def test_other_architectures_are_refused_before_the_training(stack, parameters, message):
    with pytest.raises(ValueError, match=message):
        EraserDetector(init="synthetic", **parameters).fit(stack, stack.y)


def test_bare_arrays_and_unknown_contrasts_are_refused(stack):
    detector = EraserDetector(init="synthetic", max_epochs=0)
    with pytest.raises(ValueError, match="needs contrast names.*SliceStack"):
        detector.fit(stack.X, stack.y)
    with pytest.raises(
        ValueError, match="does not support SWI; expected contrasts out of T1, T1ce"
    ):
        load_pretrained("synthetic", contrasts=["FLAIR", "SWI"])
    with pytest.raises(ValueError, match="distinct names"):
        load_pretrained("synthetic", contrasts=["FLAIR", "FLAIR"])
    with pytest.raises(ValueError, match="no pretrained network 'real'"):
        pretrained_network("real", ["FLAIR"])


def test_no_epochs_need_weights(stack):
    with pytest.raises(ValueError, match="max_epochs=0 leaves the networks of Eraser"):
        EraserDetector(max_epochs=0).fit(stack, stack.y)


# -- the model ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_loaded_model_scores_and_is_saved(small, stack, tmp_path):
    model = load_pretrained("synthetic", contrasts=stack.contrasts, prior=["FLAIR"])
    maps = model.score_samples(stack)
    assert maps.shape == (12, 32, 32)
    assert isinstance(model[0], CoverageImputer)  # before the normaliser
    assert model[-1].contrasts_ == ("FLAIR", "T1")
    assert model.training_["patients"] == []
    skadm.save(model, tmp_path / "model.skadm")
    again = skadm.load(tmp_path / "model.skadm")
    np.testing.assert_array_equal(again.score_samples(stack), maps)


def test_the_model_for_small_lesions_is_that_of_its_preset(small, stack):
    """Its score is that of the preset without training, on slices of its size."""
    model = load_pretrained(
        "synthetic-small-lesions", contrasts=stack.contrasts, prior={"FLAIR": 1}
    )
    detector = make_detector(
        "EraserDetector", "small-lesions", max_epochs=0, prior={"FLAIR": 1}, random_state=0
    )
    expected = detector.fit(stack, stack.y).score_samples(stack)
    brain = (stack.X != 0).any(axis=1)
    found = model[-1].score_samples(stack)
    np.testing.assert_allclose(found[brain], expected[brain], rtol=1e-4, atol=1e-4)


def test_models_of_the_package_have_slices_of_one_and_two_millimetres():
    sizes = {name: model.size for name, model in pretrained._MODELS.items()}
    assert sizes == {"synthetic": 128, "synthetic-small-lesions": 240}
    assert tuple(sizes) == _model._PRETRAINED


@pytest.mark.parametrize("known", [{}, {"prior": ["FLAIR"], "prior_sign": "unknown"}])
def test_the_model_for_small_lesions_needs_a_direction(known):
    with pytest.raises(ValueError, match=r"needs a prior with a known sign.*--prior FLAIR"):
        load_pretrained("synthetic-small-lesions", contrasts=["FLAIR"], **known)


def test_models_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match="'real'; expected one of synthetic, synthetic-s"):
        load_pretrained("real", contrasts=["FLAIR"])


@pytest.mark.slow
def test_models_with_other_priors_share_synthetic_brains(monkeypatch):
    drawn = []
    make = pretrained.make_random_brains

    def counted(*sizes, **options):
        drawn.append(options)
        return make(*sizes, **options)

    monkeypatch.setattr(pretrained, "_PATIENTS", 1)
    monkeypatch.setattr(pretrained, "make_random_brains", counted)
    options = {"contrasts": ["PD"], "random_state": 5}
    plain = load_pretrained(**options)
    directed = load_pretrained(**options, prior=["PD"])
    again = load_pretrained(**options)
    assert len(drawn) == 1
    assert plain[-1].offset_ == again[-1].offset_ != directed[-1].offset_
    # A generator gives other brains each time.
    generator = np.random.RandomState(0)
    first, second = (
        load_pretrained(contrasts=["PD"], random_state=generator) for _ in range(2)
    )
    assert len(drawn) == 3
    assert first[-1].offset_ != second[-1].offset_


@pytest.mark.slow
def test_smoothing_through_slices_is_no_sign_of_foreign_scans():
    """Smoothed scores are distributed in another way than those of the synthetic brains."""
    stack = make_phantom(1, 24, 64, contrasts=("T1", "FLAIR"), random_state=0)
    options = {"contrasts": stack.contrasts, "prior": {"FLAIR": 1}}
    plain = load_pretrained(**options)
    smoothed = load_pretrained(**options, smooth_through=5)
    assert smoothed[-1].offset_ == plain[-1].offset_
    roughness = [
        np.abs(np.diff(model.score_samples(stack), axis=0)).mean()
        for model in (plain, smoothed)
    ]
    assert roughness[1] < roughness[0] / 2
    with warnings.catch_warnings():
        warnings.simplefilter("error", skadm.FlaggedShareWarning)
        smoothed.predict(stack)


@pytest.mark.slow
def test_a_bright_blob_stands_out(monkeypatch):
    monkeypatch.setattr(pretrained, "_PATIENTS", 2)
    brains = make_phantom(1, 6, 96, contrasts=["FLAIR"], lesions=None, random_state=1)
    X, y = brains.load()
    rows, columns = np.indices(X.shape[2:])
    spot = (np.hypot(rows - 40, columns - 36) < 7) & (y[3] == 0)
    X[3, 0, spot] += 2.5 * X[3, 0][X[3, 0] > 0].std()
    changed = SliceStack.from_volumes(
        [ArrayVolume(X, None, patient="P", contrasts=("FLAIR",))]
    )
    for known in ({}, {"prior": ["FLAIR"]}):
        model = load_pretrained("synthetic", contrasts=["FLAIR"], **known)
        maps = SliceResizer(128).inverse_transform(model.score_samples(changed), (96, 96))
        assert np.median(maps[3][spot]) < np.quantile(maps[3][(y[3] == 0) & ~spot], 0.1)


def test_learned_priors_are_refused():
    with pytest.raises(ValueError, match="needs training slices with an anomaly"):
        load_pretrained("synthetic", contrasts=["FLAIR"], prior="learned")


# -- commands -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    return write_brats(tmp_path_factory.mktemp("scans"), 2, masks=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "share"), [("synthetic", "1.0%"), ("synthetic-small-lesions", "3.0%")]
)
def test_score_without_a_training(small, scans, tmp_path, capsys, name, share):
    arguments = ["score", "--model", name, "--data", str(scans), "--device", "cpu"]
    arguments += ["--out", str(tmp_path), "--prior", "FLAIR", "T2=0.5", "--binary"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert f"{share} of the pixels of synthetic normal brains" in printed
    for patient in ("phantom-000", "phantom-001"):
        for kind in ("anomaly", "segmentation"):
            image = nib.load(tmp_path / f"{patient}_{kind}.nii.gz")
            assert (
                image.shape == nib.load(scans / patient / f"{patient}_flair.nii.gz").shape
            )


@pytest.mark.slow
def test_report_without_a_training(small, scans, tmp_path):
    arguments = ["report", "--model", "synthetic", "--data", str(scans), "--device", "cpu"]
    assert main([*arguments, "--out", str(tmp_path / "report"), "--prior", "FLAIR"]) == 0
    page = (tmp_path / "report" / "patients" / "phantom-000.html").read_text("utf-8")
    assert "EraserDetector, pretrained (synthetic)" in page
    assert "synthetic normal brains" in page


@pytest.mark.slow
def test_unknown_contrasts_are_named(small, tmp_path, capsys):
    scans = write_brats(tmp_path / "scans", 1, masks=False, contrasts=("T1", "FLAIR"))
    place = scans / "phantom-000"
    (place / "phantom-000_t1.nii.gz").rename(place / "phantom-000_swi.nii.gz")
    arguments = ["score", "--model", "synthetic", "--data", str(scans)]
    assert main([*arguments, "--out", str(tmp_path / "maps")]) == 1
    error = error_of(capsys)
    assert "SWI" in error
    assert "--contrasts" in error
    arguments += ["--contrasts", "FLAIR"]
    assert main([*arguments, "--out", str(tmp_path / "maps")]) == 0


def test_a_saved_model_has_its_own_prior(tmp_path, scans, capsys):
    model = tmp_path / "model.skadm"
    model.touch()
    arguments = ["score", "--model", str(model), "--data", str(scans)]
    assert main([*arguments, "--out", str(tmp_path / "m"), "--prior", "FLAIR"]) == 1
    assert "--prior is only for --model synthetic" in error_of(capsys)


@pytest.mark.slow
def test_fit_from_the_pretrained_weights(scans, tmp_path, capsys):
    out = tmp_path / "model.skadm"
    arguments = ["fit", "--data", str(scans), "--out", str(out), "--size", "24"]
    arguments += ["--init", "synthetic", "--epochs", "1", "--device", "cpu"]
    assert main(arguments) == 1
    assert "ADMDetector has no pretrained weights" in error_of(capsys)
    assert main([*arguments, "--detector", "EraserDetector"]) == 0
    eraser = skadm.load(out)[-1]
    assert (eraser.init, eraser.max_epochs, eraser.n_networks) == ("synthetic", 1, 1)


@pytest.mark.slow
def test_a_demo_on_the_phantom_is_refused(tmp_path, capsys):
    arguments = ["demo", "--out", str(tmp_path / "demo"), "--n-patients", "3", "--slices"]
    arguments += ["4", "--size", "24", "--detector", "EraserDetector", "--epochs", "1"]
    assert main([*arguments, "--init", "synthetic"]) == 1
    assert "results on the phantom are not valid" in error_of(capsys)
    assert main([*arguments, "--preset", "fine-tune", "--force"]) == 1
    assert "results on the phantom are not valid" in error_of(capsys)


# -- benchmarks ---------------------------------------------------------------------------


def test_faults_of_one_contrast():
    from benchmarks.experiments.zero_shot import corrupted

    stack = IntensityNormalizer().fit_transform(
        make_phantom(1, 6, 32, contrasts=("T1", "T2"), random_state=0)
    )
    X = stack.X
    brain = brain_mask(X)
    for fault in ("cut", "coarse", "saturated"):
        changed = corrupted(X, 1, fault)
        np.testing.assert_allclose(changed[:, 0], X[:, 0], atol=1e-5)
        assert np.abs(changed[:, 1] - X[:, 1])[brain].mean() > 0.02
        np.testing.assert_array_equal(brain_mask(changed), brain)
        assert changed[:, 1][brain].std() == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_fine_tuning_benchmark(small, tmp_path, monkeypatch):
    from benchmarks.experiments import zero_shot
    from skadm.presets import PRESETS

    monkeypatch.setitem(
        PRESETS["EraserDetector"], "fine-tune", {"init": "synthetic", "max_epochs": 0}
    )
    scans, out = write_brats(tmp_path / "scans", 2), tmp_path / "out"
    arguments = ["--data", str(scans), "--out", str(out), "--every", "3"]
    zero_shot.main([*arguments, "--fine-tune", "1"])
    with (out / "per_patient.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["training"] for row in rows} == {"phantom-000"}
    assert {row["patient"] for row in rows} == {"phantom-001", "all"}
    with (out / "fine_tuned.csv").open(newline="") as file:
        means = {(row["patients"], row["method"]): row for row in csv.DictReader(file)}
    # Without an epoch, fine-tuning changes nothing.
    for evidence in ("residual", "presence"):
        tuned, before = (
            means["1", f"fine-tuned, {evidence}"],
            means["0", f"pretrained, {evidence}"],
        )
        assert tuned["ap"] == before["ap"]
    with pytest.raises(ValueError, match="has 2 patients; expected more than the 2"):
        zero_shot.main([*arguments, "--fine-tune", "1", "2"])


@pytest.mark.slow
def test_small_lesions_benchmark(small, tmp_path, monkeypatch):
    from benchmarks.experiments import small_lesions
    from skadm.presets import PRESETS

    tiny = PRESETS["EraserDetector"]["small-lesions"] | {"max_epochs": 0}
    monkeypatch.setitem(PRESETS["EraserDetector"], "small-lesions", tiny)
    scans, out = write_brats(tmp_path / "scans", 2), tmp_path / "out"
    train, test = (str(scans / name) for name in ("phantom-000", "phantom-001"))
    arguments = ["--train", str(scans), "--data", str(scans), "--out", str(out)]
    with pytest.raises(SystemExit, match="phantom-000"):  # of both sides
        small_lesions.main(arguments)
    for name, folder in (("train", train), ("test", test)):
        (tmp_path / name).mkdir()
        Path(folder).rename(tmp_path / name / Path(folder).name)
    arguments[1::2] = [str(tmp_path / "train"), str(tmp_path / "test"), str(out)]
    small_lesions.main(arguments)
    with (out / "per_patient.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    methods = {row["method"] for row in rows}
    assert {"FLAIR", "FLAIR, 1 mm", "residual + FLAIR, 1 mm"} <= methods
    assert all(0 <= float(row["ap"]) <= 1 for row in rows)
    assert {row["patient"] for row in rows} == {"phantom-001"}


@pytest.mark.slow
def test_small_lesions_benchmark_without_training(small, tmp_path):
    from benchmarks.experiments import small_lesions_pretrained

    scans = write_brats(tmp_path / "scans", 2)
    words = ["--data", str(scans), "--prior", "FLAIR", "T1=-0.5", "--prior-rule", "all"]
    small_lesions_pretrained.main([*words, "--out", str(tmp_path / "out")])
    with (tmp_path / "out" / "small_lesions_pretrained.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    for row in rows:
        assert 0 < float(row["Dice at its threshold"]) <= float(row["best Dice"])
        assert 0 <= float(row["normal pixels flagged"]) < 0.5


@pytest.mark.slow
def test_zero_shot_benchmark_measures_each_patient(small, tmp_path):
    from benchmarks.experiments import zero_shot

    scans = write_brats(tmp_path / "scans", 2)
    out = tmp_path / "out"
    zero_shot.main(["--data", str(scans), "--out", str(out)])
    with (out / "per_patient.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["patient"] for row in rows} == {"phantom-000", "phantom-001", "all"}
    methods = {row["method"] for row in rows}
    assert {"FLAIR, as it is", "zero-shot, direction known"} <= methods
    assert all(0 <= float(row["ap"]) <= 1 for row in rows)


@pytest.mark.slow
def test_regions_benchmark_measures_each_list(small, tmp_path):
    from benchmarks.experiments import regions

    scans = write_brats(tmp_path / "scans", 2)
    out = tmp_path / "out"
    regions.main(["--data", str(scans), "--out", str(out), "--share", "0.1"])
    with (out / "lists.csv").open(newline="") as file:
        rows = {row["list"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(regions.LISTS)
    for row in rows.values():
        found = [int(row[f"found in {top}"]) for top in regions.TOPS]
        assert found == sorted(found)
        assert found[-1] <= int(row["lesions"])
        assert 0 <= int(row["hits"]) <= int(row["listed"])


def test_regions_benchmark_counts_hits():
    from benchmarks.experiments.regions import measure

    ranks = np.zeros((1, 4, 20), int)
    ranks[0, 1, :5], ranks[0, 1, 8:12], ranks[0, 3, 15] = 2, 1, 3
    labels = np.zeros(ranks.shape, np.int8)
    labels[0, 1, 4] = labels[0, 3, 15] = labels[0, 3, 0] = 1
    row = measure(ranks, labels, 0.5)
    # A fifth of the second region, and the third, are on lesions.
    assert (row["listed"], row["hits"], row["lesions"]) == (3, 2, 3)
    assert (row["found in 3"], row["first is a hit"]) == (2, 0)
    assert row["sizes_ml"].tolist() == [2.0, 2.5, 0.5]
