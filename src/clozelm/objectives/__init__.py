"""What a model is asked to predict; every objective returns sums and counts, never means."""

from clozelm.objectives.mlm import MaskedPrediction

OBJECTIVES = {"mlm": MaskedPrediction}
