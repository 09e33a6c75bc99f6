import jax.random as jr
import numpy as np
import pytest

from softjax.data import binarized, grey, padded, shuffled_batches

pytestmark = pytest.mark.float32

EVERY_BYTE = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)


def test_grey_values_run_evenly_from_minus_one_to_one():
    values = grey(EVERY_BYTE)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, np.linspace(-1, 1, 256).reshape(1, 16, 16), atol=1e-7)


def test_spins_are_up_from_the_threshold_on():
    values = binarized(EVERY_BYTE)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values.ravel(), np.repeat([-1, 1], [32, 224]))
    np.testing.assert_array_equal(binarized(EVERY_BYTE, 128).ravel(), np.repeat([-1, 1], 128))


@pytest.mark.parametrize("threshold", [0, 256])
def test_thresholds_that_leave_one_kind_of_spin_are_refused(threshold):
    with pytest.raises(ValueError, match="grey level from 1 to 255"):
        binarized(EVERY_BYTE, threshold)


def test_images_are_padded_around_with_background():
    images = np.ones((3, 4, 6), np.float32)
    result = padded(images, 9)
    assert result.shape == (3, 9, 9)
    assert np.all(result[:, 2:6, 1:7] == 1)
    assert result.sum() == images.size - (result.size - images.size)
    with pytest.raises(ValueError, match=r"images of \(4, 6\) don't fit on a square of side 5"):
        padded(images, 5)


def epoch(number, key, num_items=23, batch_size=5):
    steps = num_items // batch_size
    return np.stack([shuffled_batches(num_items, batch_size, number * steps + i, key=key) for i in range(steps)])


def test_an_epoch_shows_every_item_at_most_once_and_epochs_differ():
    epochs = [epoch(n, jr.key(0)) for n in range(3)]
    for order in epochs:
        assert order.shape == (4, 5)
        assert len(set(order.ravel().tolist())) == 20
        assert set(order.ravel().tolist()) < set(range(23))
    assert not any(np.array_equal(epochs[a], epochs[b]) for a, b in [(0, 1), (0, 2), (1, 2)])
    assert set(epoch(0, jr.key(0), 20).ravel().tolist()) == set(range(20))


def test_batches_depend_on_key_and_step_only():
    again = [shuffled_batches(23, 5, step, key=jr.key(0)) for step in (9, 2, 11, 2)]
    whole = np.concatenate([epoch(n, jr.key(0)) for n in range(3)])
    np.testing.assert_array_equal(again, whole[[9, 2, 11, 2]])
    assert not np.array_equal(epoch(0, jr.key(1)), whole[:4])


@pytest.mark.parametrize(
    ("batch_size", "step", "message"),
    [
        (0, 0, "batch_size must be from 1 to 23, got 0"),
        (24, 0, "batch_size must be from 1 to 23, got 24"),
        (5, -1, "step must not be negative, got -1"),
    ],
)
def test_batches_out_of_range_are_refused(batch_size, step, message):
    with pytest.raises(ValueError, match=message):
        shuffled_batches(23, batch_size, step, key=jr.key(0))
