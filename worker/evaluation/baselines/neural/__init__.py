"""Neural and meta-learned rivals, trained on item ids alone; none learns from the stream."""

from worker.evaluation.baselines.neural.grids import neural_rivals
from worker.evaluation.baselines.neural.gru4rec import GRU4Rec
from worker.evaluation.baselines.neural.meta_learned import MetaLearned
from worker.evaluation.baselines.neural.sasrec import SASRec

__all__ = ["GRU4Rec", "MetaLearned", "SASRec", "neural_rivals"]
