"""Edge-aware smoothing: the guided filter, and the eraser's scores with it."""

import numpy as np
import pytest
import torch
from test_contract import make_slices

from skadm import EraserDetector
from skadm.nn.smoothing import guided_in_brain

FLAT = 0.1


def guided_by_hand(scores, guide, brain, radius):
    """Guided filter of one slice, window by window, float64."""
    height, width = scores.shape
    slopes, offsets = np.zeros(scores.shape), np.zeros(scores.shape)

    def window(row, column):
        rows = slice(max(0, row - radius), row + radius + 1)
        return rows, slice(max(0, column - radius), column + radius + 1)

    for row in range(height):
        for column in range(width):
            place = window(row, column)
            shown = brain[place]
            if not shown.any():
                continue
            g, s = guide[place][shown], scores[place][shown]
            slopes[row, column] = np.cov(g, s, bias=True)[0, 1] / (g.var() + FLAT)
            offsets[row, column] = s.mean() - slopes[row, column] * g.mean()
    found = np.zeros(scores.shape)
    for row, column in zip(*np.nonzero(brain)):
        place = window(row, column)
        shown = brain[place]
        found[row, column] = (
            slopes[place][shown].mean() * guide[row, column] + offsets[place][shown].mean()
        )
    return found


def test_filter_is_that_of_every_window():
    rng = np.random.default_rng(0)
    scores, guides = rng.normal(size=(2, 12, 10)), rng.normal(size=(2, 3, 12, 10))
    brain = rng.random((2, 12, 10)) < 0.8
    brain[:, :2] = False
    found = guided_in_brain(
        *(torch.from_numpy(each.astype(np.float32)) for each in (scores, guides)),
        torch.from_numpy(brain),
        2,
    )
    for number in range(2):
        expected = np.mean(
            [
                guided_by_hand(scores[number], guide, brain[number], 2)
                for guide in guides[number]
            ],
            axis=0,
        )
        np.testing.assert_allclose(found[number], expected, atol=1e-5)


def test_edges_of_the_guide_stay_sharp():
    scores = torch.zeros(1, 20, 20)
    scores[:, :, 10:] = 1
    noisy = scores + 0.3 * torch.randn(
        1, 20, 20, generator=torch.Generator().manual_seed(0)
    )
    brain = torch.ones(1, 20, 20, dtype=torch.bool)
    edge, flat = 4 * scores.unsqueeze(1), torch.zeros(1, 1, 20, 20)
    errors = {
        name: (guided_in_brain(noisy, guide, brain, 3) - scores)[:, :, 8:12].square().mean()
        for name, guide in {"edge": edge, "flat": flat}.items()
    }
    assert errors["edge"] < 0.2 * errors["flat"]


@pytest.mark.parametrize(
    ("prior", "rule"),
    [({2: 3.0, 0: -1.5}, "sum"), ({2: 1.0, 0: 1.0}, "all"), (None, "sum")],
)
def test_scores_are_filtered_along_the_prior(prior, rule):
    X, y = make_slices(height=40, width=36)
    settings = {"prior": prior, "prior_rule": rule, "sigma": 1.0, "random_state": 0}
    settings |= {"width": 4, "max_epochs": 1, "precision": "float32"}
    plain = EraserDetector(**settings).fit(X, y)
    aware = EraserDetector(**settings, edge_aware=True).fit(X, y)
    if prior is None:
        guides = X
    elif rule == "sum":
        guides = (3 * X[:, 2:] - 1.5 * X[:, :1]) / 3
    else:
        guides = np.minimum(X[:, 2:], X[:, :1])
    brain = torch.from_numpy((X != 0).any(axis=1))
    scores = torch.from_numpy(-plain.score_samples(X))
    expected = guided_in_brain(scores, torch.from_numpy(guides), brain, 3).numpy()
    found = -aware.score_samples(X)
    np.testing.assert_allclose(found[brain], expected[brain], atol=2e-3, rtol=1e-3)
    assert not np.allclose(found[brain], scores.numpy()[brain], atol=0.05)


def test_without_sigma_nothing_is_filtered():
    X, y = make_slices()
    settings = {"prior": [2], "sigma": 0.0, "width": 4, "max_epochs": 1, "random_state": 0}
    maps = [
        EraserDetector(**settings, edge_aware=aware).fit(X, y).score_samples(X)
        for aware in (False, True)
    ]
    np.testing.assert_allclose(*maps, atol=1e-5)
