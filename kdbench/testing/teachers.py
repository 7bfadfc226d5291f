"""The checks of a teacher: the network it yields and the card that comes with it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch

from kdbench.api import TeacherNetwork
from kdbench.errors import KdbenchError
from kdbench.models import Network, build_network, freeze
from kdbench.request import Lesson, RunRequest, check
from kdbench.teaching import Context, Taught, card_values, digest_of_state, obtain, weights_content
from kdbench.testing.findings import CheckError, Checks, NotApplicableError, global_randomness, require_untouched
from kdbench.testing.kit import batch_of


class TeacherChecks(Checks):
    """Whether a teacher keeps to what `kdbench.api.Teacher` says."""

    made = "it loads a network and its card"

    def prepare(self) -> None:
        """Load it once."""
        assert self.taught

    @cached_property
    def taught(self) -> Taught:
        """The teacher, for the first argument that it takes."""
        refusals = []
        for argument in self._arguments():
            try:
                self.argument = argument
                return self._load(argument)
            except KdbenchError as error:
                refusals.append(f"'{argument}': {error}")
        if self.given.argument is not None:
            raise CheckError(f"refuses the argument {refusals[0]}")
        raise NotApplicableError(
            f"it takes neither backbones nor weights of a run; name one with --argument ({refusals[-1]})"
        )

    def _arguments(self) -> Iterator[str]:
        """What users write behind `NAME:`: one backbone or two, or the path of weights that a run has left."""
        if self.given.argument is not None:
            yield self.given.argument
            return
        known = self.kit.taught
        yield known.card.backbone
        yield "+".join(plugin.name for plugin in self.kit.backbones[:2])
        path = self.kit.new_folder() / "weights.pt"
        torch.save(weights_content(known.network, card_values(known.card)), path)
        yield str(path)

    def _load(self, argument: str) -> Taught:
        material = self.kit.material
        classes = len(material.classes)
        context = Context(self.kit.board, self.kit.registry, classes, 1.0, self._trained)
        tests = frozenset(material.qualified(material.test_list))
        try:
            return obtain(f"{self.plugin.name}:{argument}", context, tests, untrusted=True)
        except AttributeError:
            loaded = self.plugin.make({}).load(argument, context)
            if isinstance(loaded, TeacherNetwork):
                raise
            raise CheckError(
                f"load() returned {type(loaded).__name__}; return a TeacherNetwork: a network and its card"
            ) from None

    def _trained(self, which: Lesson) -> TeacherNetwork:
        """What stands for what a run of a backbone has left; one that could not be asked for is refused."""
        request = RunRequest(board=self.kit.board, student=which.backbone, method=which.method, options=which.options)
        plugin = check(request, self.kit.registry).student
        network = freeze(build_network(self.kit.board, plugin, len(self.kit.material.classes), 0, {}))
        return TeacherNetwork(network, self.kit.card(network))

    def check_its_network_gives_logits_of_the_boards_classes(self) -> None:
        """Finite ones, (B, K)."""
        network = self.taught.network
        if not isinstance(network, Network):
            raise CheckError(f"yields a {type(network).__name__}; take the network from context.network(BACKBONE)")
        clips = batch_of(self.kit.begin(self.kit.baseline, {}), 0).clips_BVCTHW[:, :1]
        with torch.no_grad():
            logits_BK = network.outputs(clips).logits_BK
        classes = len(self.kit.material.classes)
        if logits_BK.shape != (len(clips), classes):
            raise CheckError(f"gives logits {tuple(logits_BK.shape)}; the board has {classes} classes")
        if not logits_BK.isfinite().all():
            raise CheckError("gives logits that are not finite; look at the weights it loads")

    def check_its_network_is_frozen(self) -> None:
        """The harness freezes it; nothing may thaw it again."""
        network = self.taught.network
        if any(parameter.requires_grad for parameter in network.parameters()):
            raise CheckError(
                "has parameters that require gradients after it was frozen; do not override requires_grad_"
            )
        if any(part.training for part in network.modules()):
            raise CheckError("has modules in training mode after it was frozen; do not override train()")

    def check_its_card_is_complete(self) -> None:
        """Backbone, digest of the very weights, data set and list of training videos, for the leak check."""
        card, digest = self.taught.card, digest_of_state(self.taught.network.state_dict())
        for backbone in card.backbone.split("+"):
            self.kit.registry.get("backbones", backbone)
        if card.weights_sha256 != digest:
            raise CheckError(
                f"card.weights_sha256 is {card.weights_sha256[:12]!r}, that of the weights is '{digest[:12]}'; keep "
                "the card that the context gave with the network"
            )
        if card.training_videos is None:
            raise CheckError(
                "card.training_videos is None, so every run with it needs --untrusted-teacher; list the videos it was "
                'trained on as "<data set>/<id>", or () where they belong to no data set of kdbench'
            )
        for name in ("dataset", "training_list_sha256"):
            if not getattr(card, name):
                raise CheckError(f"card.{name} is empty; say what the teacher was trained on")

    def check_loading_it_twice_gives_the_same(self) -> None:
        """And moves no global random state."""
        before = global_randomness()
        again = self._load(self.argument)
        require_untouched(before, "draw nothing while loading")
        if again.card.weights_sha256 != self.taught.card.weights_sha256:
            raise CheckError("yields other weights when it is loaded twice; a teacher is a fixed network")
