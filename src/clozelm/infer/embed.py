"""One vector for a text: the mean of its pieces' last vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from clozelm.infer.windows import Window, window_batches
from clozelm.nn.encoder import Encoder
from clozelm.text.tokenizer import Tokenizer
from clozelm.types import Context


@torch.inference_mode()
def mean_vectors(
    encoder: Encoder, tokenizer: Tokenizer, texts: Sequence[str], *, context: Context = "both"
) -> NDArray[np.float64]:
    """Return the mean of the last layer's vectors over each text's pieces, special ones left out: [texts, hidden].

    A text longer than the model's positions is read as far as it reaches; one without a piece has a zero vector.
    The encoder sees ``context`` as in training, and comes back in the mode it had.
    """
    room, vocabulary = encoder.config.max_positions - 2, tokenizer.vocabulary
    ids = [encoded.ids[:room].astype(np.int64) for encoded in tokenizer.encode_batch(list(texts))]
    windows = [
        Window(np.concatenate(([vocabulary.cls_id], one, [vocabulary.sep_id])), list(range(1, len(one) + 1)))
        for one in ids
    ]
    sums = np.zeros((len(ids), encoder.config.hidden_size))
    device, was_training = encoder.embeddings.tokens.weight.device, encoder.training
    encoder.eval()
    try:
        for batch, scored, owners in window_batches(windows):
            vectors = encoder(batch.to(device), scored=scored.to(device), context=context)
            np.add.at(sums, np.array(owners, dtype=np.int64), vectors.double().cpu().numpy())
    finally:
        encoder.train(was_training)
    means: NDArray[np.float64] = sums / np.maximum(np.array([len(one) for one in ids]), 1)[:, None]
    return means
