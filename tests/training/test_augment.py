"""Changes to users' streams in training."""

import torch

from worker.training.augment import Augmentation, crop
from worker.training.sequences import NO_GAP, StreamBatch


def streams(lengths: list[int]) -> StreamBatch:
    """Stream i has the items 100·i + 1, 100·i + 2, …, each a hundredth of its item late."""
    longest = max(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)
    items = 100 * torch.arange(len(lengths)).unsqueeze(1) + torch.arange(1, longest + 1)
    gaps = (items.float() / 100).masked_fill(~mask, NO_GAP)
    gaps[:, 0] = NO_GAP
    return StreamBatch(items * mask, items % 3 * mask, gaps, mask)


def test_a_cropped_stream_is_a_contiguous_part_of_at_least_half_of_it() -> None:
    torch.manual_seed(0)
    lengths = [1, 2, 3, 9, 20] * 20
    before = streams(lengths)
    after = crop(before, 1.0)
    starts = set()
    for i, length in enumerate(lengths):
        kept = after.items[i][after.mask[i]]
        n = len(kept)
        assert min(2, length) <= n <= length
        assert n >= length // 2
        first = int(kept[0])
        starts.add(first % 100)
        assert kept.tolist() == list(range(first, first + n))
        assert set(kept.tolist()) <= set(before.items[i][before.mask[i]].tolist())
        assert after.types[i][after.mask[i]].tolist() == [item % 3 for item in kept.tolist()]
        assert after.gaps[i, 0] == NO_GAP
        expected = kept[1:].float() / 100
        torch.testing.assert_close(after.gaps[i][after.mask[i]][1:], expected)
    assert len(starts) > 5


def test_only_the_asked_for_share_is_cropped() -> None:
    torch.manual_seed(0)
    before = streams([20] * 1000)
    lengths = crop(before, 0.3).mask.sum(dim=1)
    # Of the cropped ones, one in eleven happens to keep all its events.
    assert 0.2 < (lengths < 20).float().mean() < 0.35
    untouched = Augmentation().streams(before)
    assert untouched is before


def test_masked_items_vanish_and_noise_and_dropout_have_their_size() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(50, 20, 16) * 3
    hidden = (Augmentation(mask=0.2).seen(vectors) == 0).all(dim=2)
    assert 0.15 < hidden.float().mean() < 0.25
    moved = Augmentation(noise=0.5).seen(vectors) - vectors
    assert 0.45 * 3 < moved.std() < 0.55 * 3
    dropped = Augmentation(dropout=0.5).seen(vectors)
    assert 0.45 < (dropped == 0).float().mean() < 0.55
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], 2 * vectors[kept])
    assert Augmentation().seen(vectors) is vectors
