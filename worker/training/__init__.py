"""Meta-training: unrolled streams, sampled softmax, early stopping."""
