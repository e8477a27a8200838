import torch

from worker.ranking import target_ranks, top_in, top_rows


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


def test_the_item_at_a_place_of_the_list_has_that_rank():
    torch.manual_seed(3)
    queries, items = torch.randn(40, 3), torch.randn(30, 3)
    items[10:20] = items[:10]  # equal vectors, so equal scores
    excluded = torch.randint(0, 30, (40, 4))
    for left_out in (None, excluded):
        top = top_rows(queries, items, 12, excluded=left_out)
        for place in range(12):
            ranks = target_ranks(queries, items, top[:, place], excluded=left_out)
            assert ranks.tolist() == [place] * 40
    assert not (top.unsqueeze(2) == excluded.unsqueeze(1)).any()


def test_a_tie_across_the_end_of_a_list_goes_to_the_lower_rows():
    scores = torch.tensor([[1.0, 2.0, 1.0, 1.0, 2.0]])
    assert top_in(scores, 3).tolist() == [[1, 4, 0]]
    assert top_in(scores, 4).tolist() == [[1, 4, 0, 2]]


def test_rounding_of_float32_does_not_order_a_list():
    scores = torch.tensor([[1.0, 1.0 + 1e-7, 0.5]])
    assert scores[0, 1] > scores[0, 0]
    assert top_in(scores, 2).tolist() == [[0, 1]]
