"""Video-level accuracy over test views, and that of the pretext task. The only reader of the test list."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from kdbench.data.devices import send
from kdbench.data.loader import TestLoader
from kdbench.errors import RunFailed
from kdbench.models import Network
from kdbench.records import Predictions, PretextResult, majority_of, pack_ids, scores_of
from kdbench.train import autocast


@dataclass(frozen=True)
class Evaluation:
    """Top-1 and top-5 shares, the predictions in the order of the test list, and the pretext task's result."""

    top1: float
    top5: float
    predictions: Predictions
    pretext: PretextResult | None = None


def evaluate(network: nn.Module, loader: TestLoader, precision: str, views: int) -> Evaluation:
    """Score a network: logits (K) averaged over each video's views, then argmax (pin 25).

    Leaves the network in the mode it was in. Raises RunFailed where a logit is not finite.
    """
    was_training = network.training
    network.eval()
    # Views of a video stand next to each other. Sums of rows, unlike scattered ones, have one order on every device.
    with torch.no_grad(), autocast(loader.device, precision):
        logits_NK = torch.cat([network(clips_NCTHW).float() for clips_NCTHW in loader.clips(views)])
    network.train(was_training)
    if not logits_NK.isfinite().all():  # the last step of all has no loss behind it that would tell
        raise RunFailed(
            "the student's logits of the test clips are not finite; "
            "give its method another weight (-o), or the board another learning rate"
        )
    scores_BK = logits_NK.view(len(loader.videos), views, -1).mean(1)
    best_BK = scores_BK.topk(min(5, scores_BK.shape[1]), dim=1).indices
    labels_B = send(loader.videos.labels, loader.device)
    in_top5 = int((best_BK == labels_B[:, None]).any(1).sum())
    guesses = best_BK[:, 0].tolist()
    labels = loader.videos.labels.tolist()
    hits = sum(guess == label for guess, label in zip(guesses, labels, strict=True))
    return Evaluation(
        top1=hits / len(labels),
        top5=in_top5 / len(labels),
        predictions=Predictions(packed=pack_ids(guesses), labels=pack_ids(labels), in_top5=in_top5),
    )


def evaluate_pretext(network: Network, loader: TestLoader, precision: str) -> PretextResult:
    """How often the network tells which transform was done to one tuple of each test video.

    The tuples and their transforms are the same for every run; crops are central and nothing else is
    augmented. Leaves the network in the mode it was in.
    """
    was_training = network.training
    network.eval()
    found: list[torch.Tensor] = []
    labels: list[int] = []
    with torch.no_grad(), autocast(loader.device, precision):
        for clips_BVCTHW, label_B in loader.tuples():
            logits_BK = network.outputs(clips_BVCTHW).pretext_BK
            assert logits_BK is not None
            found.append(logits_BK.argmax(1))
            labels += label_B.tolist()
    network.train(was_training)
    guesses = torch.cat(found).tolist()
    # There are five transforms, so the right one is always among the five best.
    predictions = Predictions(packed=pack_ids(guesses), labels=pack_ids(labels), in_top5=len(labels))
    return PretextResult(top1=scores_of(predictions).top1, majority=majority_of(predictions), predictions=predictions)
