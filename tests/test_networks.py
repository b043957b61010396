"""The networks: shapes, the hidden contrast, the medians, private seeds."""

import numpy as np
import pytest
import torch

from skadm.nn.autoencoder import Decoder, Encoder, pad_for_levels
from skadm.nn.blocks import NORMS, SingleChannelConvolution, build, pad_to_multiple
from skadm.nn.pixels import brain_of, map_of, pixels_of
from skadm.nn.reduction import ReductionNet
from skadm.nn.translation import TranslationNet, brain_medians, translate_all
from skadm.nn.unet import UNet

pytestmark = pytest.mark.numerical


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=3, n_contrasts=4, height=12, width=10):
    return torch.randn(n, n_contrasts, height, width, generator=generator())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 13), (16, 16)])
def test_translation_takes_any_size(norm, height, width):
    net = build(lambda: TranslationNet(3, width=4, n_blocks=1, norm=norm), generator())
    slices = images(2, 3, height, width)
    translated = net(slices, torch.tensor([0, 2]), torch.zeros(2))
    assert translated.shape == (2, height, width)
    assert torch.isfinite(translated).all()


def test_target_contrast_is_hidden_and_its_median_is_not():
    net = build(lambda: TranslationNet(4, width=4, n_blocks=1), generator()).eval()
    slices, target, prior = images(), torch.tensor([1, 1, 1]), torch.zeros(3)
    other = slices.clone()
    other[:, 1] += 5
    result = net(slices, target, prior)
    assert torch.equal(net(other, target, prior), result)
    assert not torch.allclose(net(slices, target, prior + 1), result)
    other = slices.clone()
    other[:, 2] += 5
    assert not torch.allclose(net(other, target, prior), result)


def test_all_translations():
    net = build(lambda: TranslationNet(4, width=4, n_blocks=1), generator()).eval()
    slices, priors = images(), torch.rand(3, 4)
    translated = translate_all(net, slices, priors)
    assert translated.shape == slices.shape
    single = net(slices, torch.full((3,), 2), priors[:, 2])
    assert torch.equal(translated[:, 2], single)


def test_medians_are_those_of_the_brain():
    slices = images()
    brain = torch.rand(3, 12, 10, generator=generator(1)) < 0.4
    brain[2] = False
    medians = brain_medians(slices, brain)
    for n in range(2):
        values = np.sort(slices[n][:, brain[n]].numpy(), axis=1)
        expected = values[:, (values.shape[1] - 1) // 2]  # the lower middle one
        np.testing.assert_array_equal(medians[n], expected)
    assert (medians[2] == 0).all()


def test_reduction_keeps_places():
    """F_dr has 1×1 convolutions only: a changed feature changes one pixel."""
    net = build(lambda: ReductionNet(4, 3), generator()).eval()
    features, restored = net(images())
    assert features.shape == (3, 3, 12, 10)
    assert restored.shape == (3, 4, 12, 10)
    changed = features.clone()
    changed[0, :, 5, 5] += 1
    difference = (net.decoder(changed) - net.decoder(features)).abs().amax(dim=1)
    assert difference[0, 5, 5] > 0
    assert (difference > 0).sum() == 1


def test_weights_come_from_the_generator_alone():
    def weights(seed):
        net = build(lambda: TranslationNet(2, width=4, n_blocks=1), generator(seed))
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    before = torch.get_rng_state()
    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_initial_weights_have_torchs_own_distribution():
    ours = build(lambda: ReductionNet(4, 3, width=64), generator())
    with torch.random.fork_rng():
        theirs = ReductionNet(4, 3, width=64)
    for mine, other in zip(ours.parameters(), theirs.parameters()):
        if mine.numel() < 200:
            continue  # too few draws to tell a bound from
        assert mine.detach().abs().max() == pytest.approx(
            other.detach().abs().max().item(), rel=0.05
        )


def test_padding():
    padded = pad_to_multiple(torch.ones(1, 1, 5, 8), multiple=4, minimum=8)
    assert padded.shape == (1, 1, 8, 8)
    assert padded.sum().item() == pytest.approx(40)
    assert pad_to_multiple(torch.ones(1, 1, 9, 12), 4, 8).shape == (1, 1, 12, 12)


@pytest.mark.parametrize("kernel_size", [3, 9])
def test_single_channel_convolution_is_a_convolution(kernel_size):
    ours = SingleChannelConvolution(5, kernel_size).double()
    plain = torch.nn.Conv2d(5, 1, kernel_size, padding=kernel_size // 2).double()
    plain.load_state_dict(ours.state_dict())
    slices = images(2, 5, 12, 16).double()
    torch.testing.assert_close(ours(slices), plain(slices))
    for net in (ours, plain):
        net(slices).square().sum().backward()
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad)
    torch.testing.assert_close(ours.bias.grad, plain.bias.grad)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 13), (32, 16)])
def test_unet_takes_any_size(norm, height, width):
    net = build(lambda: UNet(3, 2, width=4, n_levels=2, norm=norm), generator())
    restored = net(images(1, 3, height, width))
    assert restored.shape == (1, 2, height, width)
    assert torch.isfinite(restored).all()


def test_unet_sees_far_and_keeps_places():
    """A pixel depends on the same place through the skip, and on far ones from below."""
    net = build(lambda: UNet(1, 1, width=4, n_levels=3, norm="none"), generator())
    slices = images(1, 1, 32, 32).requires_grad_()
    net(slices)[0, 0, 16, 16].backward()
    reached = slices.grad[0, 0] != 0
    assert reached[16, 16]
    rows = reached.any(dim=1).nonzero()
    assert rows.max() - rows.min() > 16


@pytest.mark.parametrize("n_levels", [1, 2, 4])
def test_decoder_undoes_the_size_of_the_encoder(n_levels):
    encoder = build(lambda: Encoder(3, 4, n_levels), generator())
    decoder = build(lambda: Decoder(4 * 2 ** (n_levels - 1), 4, n_levels, 3), generator())
    padded = pad_for_levels(images(1, 3, 5, 33), n_levels)
    grid = encoder(padded)
    assert grid.shape[-2:] == tuple(side // 2**n_levels for side in padded.shape[-2:])
    assert min(grid.shape[-2:]) >= 2
    assert decoder(grid).shape == padded.shape


def test_map_of_puts_pixels_back():
    slices = images()
    slices[:, :, :4] = 0
    brain = brain_of(slices)
    assert not brain[:, :4].any()
    assert brain[:, 4:].all()
    pixels = pixels_of(slices, brain)
    assert pixels.shape == (brain.sum(), 4)
    torch.testing.assert_close(map_of(pixels[:, 2], brain), slices[:, 2])
