"""Choice of parameters without labels of lesions."""

import pickle

import numpy as np
import pytest
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline

from skadm import GaussianMixtureDetector, IntensityDetector, PCADetector
from skadm.base import BaseDetector
from skadm.data import make_phantom
from skadm.model_selection import (
    HeldOutLikelihoodScorer,
    SyntheticLesionScorer,
    set_offset_by_f1,
)
from skadm.preprocessing import IntensityNormalizer
from skadm.synthetic import IntensityShift
from skadm.synthetic._kinds import KINDS


@pytest.fixture(scope="module")
def raw():
    return make_phantom(n_patients=4, n_slices=8, size=48, random_state=0)


@pytest.fixture(scope="module")
def stack(raw):
    return IntensityNormalizer().fit_transform(raw)


@pytest.mark.slow
def test_likelihood_is_that_of_scikit_learn(stack):
    X, y = stack.load()
    normal = ~(y == 1).any(axis=(1, 2))
    detector = GaussianMixtureDetector(n_components=2, random_state=0).fit(X, y)
    pixels = X[normal].transpose(0, 2, 3, 1)[y[normal] >= 0]
    own = GaussianMixture(2)
    fitted = detector.mixture_
    own.weights_, own.means_ = fitted.weights_, fitted.means_
    own.precisions_cholesky_ = fitted.precisions_cholesky_
    found = HeldOutLikelihoodScorer()(detector, stack, y)
    assert found == pytest.approx(own.score_samples(pixels).mean(), rel=1e-4)
    assert found == pytest.approx(HeldOutLikelihoodScorer()(detector, X[normal]))


class Difference(BaseDetector):
    """Knows the slices before the lesions: a detector that sees all, or nothing."""

    def __init__(self, originals=None, sign=1.0, contamination=0.01):
        super().__init__(contamination=contamination)
        self.originals, self.sign = originals, sign

    def _fit(self, X):
        pass

    def _score(self, X, brain):
        if self.originals is None or len(X) != len(self.originals):
            return np.random.default_rng(0).normal(size=(len(X), *X.shape[2:]))
        return -self.sign * np.abs(X - self.originals).max(axis=1)


@pytest.mark.slow
def test_who_sees_all_scores_one_and_who_sees_nothing_half(stack):
    X, y = stack.load()
    X = X[~(y == 1).any(axis=(1, 2))]
    X = X[(X != 0).any(axis=(1, 2, 3))]
    scorer = SyntheticLesionScorer()
    seeing = Difference(originals=X).fit(X)
    assert set(scorer.by_kind(seeing, X)) == set(KINDS)
    # Both labels are told apart by any change, large or small.
    assert scorer(seeing, X) == pytest.approx(1)
    blind = Difference().fit(X)
    assert scorer(blind, X) == pytest.approx(0.5, abs=0.03)
    assert SyntheticLesionScorer(metric="average_precision")(blind, X) < 0.1


def test_candidates_meet_the_same_lesions_and_folds_others(stack, monkeypatch):
    seen = []

    def record(images, kind, random_state):
        seen.append(random_state)
        return images, np.zeros(images.shape[:1] + images.shape[2:], np.int8)

    import skadm.model_selection._synthetic as module

    monkeypatch.setattr(module, "paste_lesions", record)
    monkeypatch.setitem(module._METRICS, "roc_auc", lambda y, scores: 0.5)
    scorer = SyntheticLesionScorer({"shift": IntensityShift()}, n_draws=2)
    for sigma in (0.0, 1.0):
        detector = IntensityDetector(sigma=sigma).fit(stack, stack.y)
        scorer(detector, stack[:8])
        scorer(detector, stack[8:16])
    first, second = seen[:4], seen[4:]
    assert first == second
    assert len(set(first)) == 4
    SyntheticLesionScorer({"shift": IntensityShift()}, random_state=1)(detector, stack[:8])
    assert seen[-1] not in first


@pytest.mark.slow
def test_abnormal_slices_do_not_enter(stack):
    normal = ~(stack.y == 1).any(axis=(1, 2))
    detector = PCADetector(random_state=0).fit(stack, stack.y)
    for scorer in (SyntheticLesionScorer(), HeldOutLikelihoodScorer()):
        expected = scorer(detector, stack[normal])
        assert scorer(detector, stack, stack.y) == pytest.approx(expected)
        with pytest.warns(UndefinedMetricWarning, match="GroupKFold"):
            assert np.isnan(scorer(detector, stack[~normal], stack.y[~normal]))


@pytest.mark.slow
def test_lesions_are_pasted_into_what_the_detector_sees(raw, stack):
    """In a Pipeline, after the steps before it."""
    pipeline = make_pipeline(IntensityNormalizer(), PCADetector(random_state=0))
    pipeline.fit(raw, raw.y)
    alone = PCADetector(random_state=0).fit(stack, stack.y)
    for scorer in (SyntheticLesionScorer(), HeldOutLikelihoodScorer()):
        assert scorer(pipeline, raw, raw.y) == pytest.approx(scorer(alone, stack, stack.y))


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_search_without_labels(stack, n_jobs):
    """Both criteria run in a search, on lists and stacks, and survive a worker."""
    search = GridSearchCV(
        GaussianMixtureDetector(random_state=0, max_samples=2000),
        {"n_components": [1, 3]},
        scoring={"lesions": SyntheticLesionScorer(), "normal": HeldOutLikelihoodScorer()},
        refit="lesions",
        cv=GroupKFold(2),
        n_jobs=n_jobs,
        error_score="raise",
    ).fit(stack, stack.y, groups=stack.groups)
    results = search.cv_results_
    assert ((results["mean_test_lesions"] > 0.5) & (results["mean_test_lesions"] < 1)).all()
    # More Gaussians describe normal tissue better.
    assert np.diff(results["mean_test_normal"]) > 0


def test_one_contrast_and_wrong_metric(stack):
    detector = IntensityDetector(prior={0: 1.0}).fit(stack.X[:, :1])
    assert "inconsistency" not in SyntheticLesionScorer().by_kind(detector, stack.X[:, :1])
    with pytest.raises(ValueError, match="metric is 'f1'"):
        SyntheticLesionScorer(metric="f1")
    scorer = pickle.loads(pickle.dumps(SyntheticLesionScorer(n_draws=3)))
    assert repr(scorer) == repr(SyntheticLesionScorer(n_draws=3))


# -- threshold ----------------------------------------------------------------------------


def test_threshold_that_flags_nearly_everything_is_told(stack):
    X, y = stack.load()
    bright, dark = (IntensityDetector(prior={0: sign}).fit(X, y) for sign in (1, -1))
    lesions = np.where(y >= 0, (X[:, 0] > np.quantile(X[:, 0][y >= 0], 0.9)), -1)
    set_offset_by_f1(bright, X, lesions)
    with pytest.warns(UserWarning, match=r"flags \d+% of the normal pixels: .* separate"):
        set_offset_by_f1(dark, X, lesions)
