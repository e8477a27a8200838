import torch

from worker.ranking import target_ranks


def test_rank_is_the_number_of_preferred_items_and_ties_go_by_row() -> None:
    items = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [2.0, 0.0]])
    queries = torch.tensor([[1.0, 0.0]] * 4)
    ranks = target_ranks(queries, items, torch.tensor([0, 1, 2, 3]))
    assert ranks.tolist() == [1, 3, 2, 0]


def test_excluded_items_do_not_count() -> None:
    items = torch.tensor([[3.0], [2.0], [1.0]])
    excluded = torch.tensor([[0, 2], [2, 2]])
    ranks = target_ranks(torch.ones(2, 1), items, torch.tensor([2, 2]), excluded=excluded)
    assert ranks.tolist() == [1, 2]


def test_agrees_with_sorting_and_with_itself_in_chunks() -> None:
    generator = torch.Generator().manual_seed(0)
    items, queries = (
        torch.randn(300, 5, generator=generator),
        torch.randn(64, 5, generator=generator),
    )
    targets = torch.randint(0, 300, (64,), generator=generator)
    order = (queries @ items.T).argsort(dim=1, descending=True)
    expected = (order == targets[:, None]).nonzero()[:, 1]
    assert torch.equal(target_ranks(queries, items, targets), expected)


def test_no_queries_no_ranks() -> None:
    assert len(target_ranks(torch.empty(0, 3), torch.ones(2, 3), torch.empty(0).long())) == 0
