import torch

from csm.model.kv_cache import BatchKVCache, FunctionalKVCache


def memory() -> BatchKVCache:
    return BatchKVCache(layers=2, rows=3, positions=8, kv_heads=2, head_dim=4, like=torch.zeros(1))


def written(length: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 2, length, 2, 4, generator=torch.Generator().manual_seed(seed))


def test_a_saved_prefix_equals_the_loaded_one() -> None:
    rows, prefix = memory(), written(5)
    rows.load(1, prefix)
    assert torch.equal(rows.save(1, 5), prefix)
    assert not rows.save(0, 8).any() and not rows.save(2, 8).any()


def test_a_saved_prefix_does_not_change_with_the_row() -> None:
    rows = memory()
    rows.load(0, written(5))
    kept = rows.save(0, 5)
    rows.load(0, written(5, seed=1))
    assert torch.equal(kept, written(5))


def test_moving_a_row_leaves_the_others_unchanged() -> None:
    rows = memory()
    for row in range(3):
        rows.load(row, written(6, seed=row))
    rows.move(2, 0, 4)
    assert torch.equal(rows.save(0, 6), torch.cat([written(6, seed=2)[:, :, :4], written(6, seed=0)[:, :, 4:]], dim=2))
    assert torch.equal(rows.save(1, 6), written(6, seed=1))


def test_a_view_writes_each_row_at_its_own_position_and_shows_the_first_positions() -> None:
    rows, new = memory(), torch.randn(2, 1, 2, 4)
    for row in range(3):
        rows.load(row, written(8, seed=row))
    keys, values = rows.view(2, torch.tensor([[3], [5]]), length=6).extend(1, new, 2 * new)
    assert keys.shape == values.shape == (2, 6, 2, 4)
    assert torch.equal(keys[0, 3], new[0, 0]) and torch.equal(values[1, 5], 2 * new[1, 0])
    # All the rest is as it was: other positions, other layers, other rows.
    assert torch.equal(keys[0, :3], written(8)[1, 0, :3]) and torch.equal(keys[1, :5], written(8, seed=1)[1, 0, :5])
    assert torch.equal(rows.save(0, 8)[0], written(8)[0])
    assert torch.equal(rows.save(2, 8), written(8, seed=2))


def test_the_functional_cache_puts_past_positions_before_new_ones() -> None:
    keys = torch.randn(1, 5, 2, 4)
    whole = FunctionalKVCache([(keys[:, :2], -keys[:, :2])])
    whole.extend(0, keys[:, 2:4], -keys[:, 2:4])
    got = whole.extend(0, keys[:, 4:], -keys[:, 4:])
    assert torch.equal(got[0], keys) and torch.equal(got[1], -keys)
    assert len(whole.new) == 4
    fresh = FunctionalKVCache().extend(0, keys, keys)
    assert torch.equal(fresh[0], keys)
