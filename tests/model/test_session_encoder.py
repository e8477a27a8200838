import torch

from worker.model.config import ModelConfig
from worker.model.gaps import gap_bucket
from worker.model.session_encoder import SessionEncoder

CONFIG = ModelConfig(dim=8, rank=2, anchors=4, text_dim=3)


def test_stepping_equals_unrolling() -> None:
    torch.manual_seed(0)
    encoder = SessionEncoder(CONFIG)
    torch.nn.init.normal_(encoder.start_hidden)
    inputs = torch.randn(5, 6, 8)
    unrolled = encoder.unroll(inputs)
    hidden = encoder.start_hidden.expand(5, -1)
    for t in range(6):
        torch.testing.assert_close(unrolled[:, t], hidden)
        hidden = encoder.step(hidden, inputs[:, t])
    torch.testing.assert_close(unrolled[:, 6], hidden)


def test_gap_buckets_are_log2_seconds_and_none_has_its_own() -> None:
    gaps = torch.tensor([-1.0, 0.0, 0.9, 1.0, 3.0, 1e30])
    last = CONFIG.gap_buckets - 1
    assert gap_bucket(gaps, CONFIG.gap_buckets).tolist() == [CONFIG.gap_buckets, 0, 0, 1, 2, last]
