"""The density layer, and the final mixture, against torch's and scikit-learn's own."""

import warnings
from collections.abc import Callable

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from benchmarks.lib.speed.memory import peak_mib
from benchmarks.lib.speed.plain_adm import energy, moments
from benchmarks.lib.speed.rows import Row
from benchmarks.lib.speed.setting import BATCH, Setting
from benchmarks.lib.speed.timing import interleave, timed
from skadm.nn.density import EstimationNet, estimate_mixture, fit_mixture, mixture_energy

N_COMPONENTS, N_LATENT, FLOOR = 6, 3, 1e-6
GOAL = 3
ITERATIONS = 4  # of EM, whose mean is taken


def brain_features(setting: Setting) -> torch.Tensor:
    """z of the brain pixels of a batch, (n, d): contrasts, and mixtures of them."""
    images = setting.some(BATCH)
    pixels = torch.from_numpy(images.transpose(0, 2, 3, 1)[(images != 0).any(axis=1)])
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(pixels.shape[1], N_LATENT, generator=generator)
    return torch.cat([pixels.abs(), torch.tanh(pixels @ mixing)], dim=1)


def torch_energy(features: torch.Tensor, responsibilities: torch.Tensor) -> torch.Tensor:
    """Energy by torch.distributions, moments by the plain version."""
    mixture = moments(features, responsibilities)
    ridge = FLOOR * torch.eye(features.shape[1])  # it has no floor
    components = MultivariateNormal(mixture.means, mixture.covariances + ridge)
    return -MixtureSameFamily(Categorical(mixture.weights), components).log_prob(features)


def our_energy(features: torch.Tensor, responsibilities: torch.Tensor) -> torch.Tensor:
    """Energy by the package."""
    return mixture_energy(features, estimate_mixture(features, responsibilities), FLOOR)


def plain_energy(features: torch.Tensor, responsibilities: torch.Tensor) -> torch.Tensor:
    """Energy by the plain version."""
    return energy(features, moments(features, responsibilities))


def measure(setting: Setting) -> list[Row]:
    """Forward and backward, an iteration of EM, and a whole fit."""
    features = brain_features(setting)
    estimation = EstimationNet(features.shape[1], N_COMPONENTS)
    return [*_layer(setting, features, estimation), *_fit(setting, features, estimation)]


def _layer(
    setting: Setting, features: torch.Tensor, estimation: EstimationNet
) -> list[Row]:
    def step(function: Callable[..., torch.Tensor]) -> Callable[[], None]:
        def run() -> None:
            inputs = features.detach().requires_grad_()
            function(inputs, estimation(inputs)).mean().backward()

        return run

    steps = {
        "ours": step(our_energy),
        "the plain version": step(plain_energy),
        "torch.distributions": step(torch_energy),
    }
    medians = interleave([timed(*task) for task in steps.items()], setting.repeats)
    mib = {name: peak_mib(run) for name, run in steps.items()}
    return [
        Row(
            f"density layer, forward and backward, against {name}",
            medians["ours"],
            medians[name],
            GOAL,
            f"{len(features)} pixels",
            mib["ours"],
            mib[name],
        )
        for name in steps
        if name != "ours"
    ]


def _fit(setting: Setting, features: torch.Tensor, estimation: EstimationNet) -> list[Row]:
    pixels = features.numpy()

    def ours() -> None:
        fit_mixture(features.split(2**16), estimation)

    def iterate(n: int) -> Callable[[], None]:
        model = GaussianMixture(
            N_COMPONENTS, tol=0, max_iter=n, init_params="random_from_data", random_state=0
        )
        return lambda: _fit_quietly(model, pixels)

    def whole() -> None:
        _fit_quietly(GaussianMixture(N_COMPONENTS, random_state=0), pixels)

    tasks = {
        "ours": ours,
        "one": iterate(1),
        "more": iterate(1 + ITERATIONS),
        "whole": whole,
    }
    medians = interleave([timed(*task) for task in tasks.items()], setting.repeats)
    mib, whole_mib = peak_mib(ours), peak_mib(whole)
    note = f"{len(features)} pixels; ours is one pass, of responsibilities by the network"
    return [
        Row(
            "final mixture, against an iteration of scikit-learn's EM",
            medians["ours"],
            (medians["more"] - medians["one"]) / ITERATIONS,
            GOAL,
            note,
            mib,
            peak_mib(tasks["one"]),
        ),
        Row(
            "final mixture, against a whole fit of scikit-learn's",
            medians["ours"],
            medians["whole"],
            None,
            note,
            mib,
            whole_mib,
        ),
    ]


def _fit_quietly(model: GaussianMixture, pixels) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so few iterations on purpose
        model.fit(pixels)
