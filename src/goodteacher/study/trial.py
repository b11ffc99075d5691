"""What a study names, tried out before anything trains: models, objectives and methods, on drafts of networks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from goodteacher.base.compose import LossRow, build_parts, parse, row_of, written_options
from goodteacher.base.custom import is_hub
from goodteacher.base.errors import ConfigError, GoodteacherError
from goodteacher.base.input_spec import InputSpec
from goodteacher.base.shapes import HOW_TO_TAP
from goodteacher.base.types import Loss, Needs
from goodteacher.data.facts import Facts
from goodteacher.maps.table import written_out
from goodteacher.methods.preparation import PREPARATIONS
from goodteacher.methods.table import METHODS, needs_teacher, parse_method
from goodteacher.models.hub import hub_spec
from goodteacher.objectives.table import OBJECTIVES, check_objective
from goodteacher.study.arm_options import ArmInputs
from goodteacher.study.build import Measured, check_classes, code_behind, draft, drafting, setting_of, student_in
from goodteacher.study.names import Parts, arm_inputs, named
from goodteacher.study.runspec import RunSpec
from goodteacher.study.spec import Named
from goodteacher.train.mixing import check_mixing, check_weighing
from goodteacher.train.recipe import Recipe

# Memories with one row per example are built this small when a method is only tried out.
FEW = 256


class Trial:
    """Tries out what the arms of one study name; every network, and every method on a pair of them, once.

    Args:
        facts: of the problem.
    """

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._drafts: dict[tuple[str, tuple[int, ...]], Measured] = {}
        self._parts: dict[tuple[str, ...], tuple[Needs, int]] = {}

    def model(self, spec: Named, shape: tuple[int, ...]) -> Parts:
        """Return a model's name and options.

        Args:
            spec: what the user wrote.
            shape: of one example as the network sees it.

        Raises:
            ConfigError: for an unknown name or option, more than one name, or a network that answers other classes.
        """
        model = named(spec)
        if len(model) != 1:
            raise ConfigError("model", rule="must be one name", received=repr(spec))
        # Whether a network starts from published weights is part of what a run is, and no default of today.
        model = {name: {"pretrained": True, **options} if is_hub(name) else options for name, options in model.items()}
        check_classes(self.measured(model, shape), self.facts.classes, next(iter(model)))
        return model

    def inputs(self, spec: Named, given: ArmInputs | None, where: str) -> InputSpec | None:
        """Return what an arm's network expects to see, or None where that is what the problem makes.

        Args:
            spec: its model; one of another house has a size and a normalisation of its own.
            given: what the arm says of it.
            where: the place in the study, for the message.
        """
        name, options = next(iter(named(spec).items()))
        own = hub_spec(name, options.get("revision")) if is_hub(name) else None
        return arm_inputs(given, self.facts, where, own)

    def measured(self, model: Parts, shape: tuple[int, ...]) -> Measured:
        """Return a model's draft, made once."""
        key = (json.dumps(model), shape)
        if key not in self._drafts:
            self._drafts[key] = draft(model, self.facts.classes, shape)
        return self._drafts[key]

    def objective(
        self, spec: Named, model: Parts, shape: tuple[int, ...], recipe: Recipe, *, where: str, fine_tunes: bool
    ) -> Parts:
        """Return an objective's parts with all their options, tried out on the untrained model.

        Args:
            spec: what the user wrote.
            model: it is for.
            shape: of one example as the network sees it.
            recipe: it is trained with.
            where: the place in the study, for the message.
            fine_tunes: whether training starts from a finished run.

        Raises:
            ConfigError: for unknown names, options out of range, a sum without a score, or a part that only fine-tunes.
        """
        parts = parse(spec, OBJECTIVES, "objective")
        check_objective(parts)
        parts = with_defaults(parts, OBJECTIVES)
        network = self.measured(model, shape)
        student = student_in(parts, lambda other: self.measured(other, self.facts.input_shape))
        needs = Needs()
        for loss in self._built(parts, OBJECTIVES, network, None, student)[0]:
            check_mixing(recipe, loss)
            needs = needs | loss.needs
            if loss.needs.prepares and not fine_tunes:
                raise ConfigError(
                    f"{where}.objective",
                    rule="fine-tunes a finished teacher",
                    received=" + ".join(parts),
                    remedy="say which: start: ARM or RUN in a study, --from RUN on the command line",
                )
        check_weighing(recipe, needs, " + ".join(parts))
        return parts

    def method(self, spec: Named) -> tuple[Parts, float]:
        """Return a method's parts with all their options, and the weight of the label's cross-entropy."""
        parts, gamma = parse_method(spec)
        return with_defaults(parts, METHODS), gamma

    def needs_teacher(self, spec: Named) -> bool:
        """Say whether a method has any use for a teacher."""
        return needs_teacher(spec)

    def map(self, spec: Named | None) -> dict[str, Any]:
        """Return a target map's name with all its options."""
        return written_out(spec)

    def described(self, spec: RunSpec) -> RunSpec:
        """Return a run's spec with the source of what is a user's own: an edited function makes another run."""
        return replace(spec, code=code_behind(spec)) if spec.own_names else spec

    def preparation(self, name: str) -> tuple[int, tuple[float, ...]]:
        """Return how long a preparation is published to train for 240 epochs of the student's, and its milestones."""
        return PREPARATIONS[name].epochs, PREPARATIONS[name].milestones

    def needs(
        self,
        network: tuple[Parts, tuple[int, ...]],
        teacher: tuple[Parts, tuple[int, ...]] | None,
        loss: Mapping[str, Mapping[str, Any]],
        *,
        where: str,
    ) -> Needs:
        """Return what a method needs on a pair of models.

        Args:
            network: model in training, with the shape it sees.
            teacher: the same, or None for a table or no teacher.
            loss: method parts with options.
            where: the place in the study, for the message.

        Raises:
            ConfigError: with the place and the reason, if the method is undefined for this pair.
        """
        needs = Needs()
        for name, options in loss.items():
            if name == "none":
                continue
            try:
                part, _ = self._part(network, teacher, name, options)
            except GoodteacherError as error:
                raise ConfigError(where, rule=f"method '{name}' is not defined here: {error}") from None
            if teacher is None and (part.teacher or part.preparation):
                raise ConfigError(
                    where,
                    rule=f"method '{name}' reads a teacher's features",
                    received="a teacher without any: a table, or several networks as one",
                )
            needs = needs | part
        if len(needs.preparation) > 1:
            raise ConfigError(
                where, rule="a sum can have one preparation of the teacher", received=sorted(needs.preparation)
            )
        if needs.views - {"weak"} and not self.facts.is_image:
            raise ConfigError(
                where, rule=f"the view '{min(needs.views - {'weak'})}' needs image inputs", received="vectors"
            )
        return needs

    def check_weighing(self, run: RunSpec, needs: Needs) -> None:
        """Raise `ConfigError` if a run weighs classes, and neither its method nor its label's cross-entropy could follow."""
        weighs = needs | Needs(weighs_classes=run.gamma > 0)
        check_weighing(Recipe.model_validate(run.recipe), weighs, " + ".join(run.loss))

    def memory_bytes(
        self,
        network: tuple[Parts, tuple[int, ...]],
        teacher: tuple[Parts, tuple[int, ...]] | None,
        loss: Mapping[str, Mapping[str, Any]],
    ) -> int:
        """Return the size of a method's memories with one row per example, such as CRD's; they go into every checkpoint."""
        return sum(self._part(network, teacher, name, options)[1] for name, options in loss.items() if name != "none")

    def _part(
        self,
        network: tuple[Parts, tuple[int, ...]],
        teacher: tuple[Parts, tuple[int, ...]] | None,
        name: str,
        options: Mapping[str, Any],
    ) -> tuple[Needs, int]:
        """Return the needs and the memory of one part of a method on a pair of models."""
        # Arms differ in seed, map and checkpoint far more often than in networks and options: each pair is tried once.
        key = (json.dumps(network), json.dumps(teacher), name, json.dumps(options))
        if key not in self._parts:
            own, other = self.measured(*network), self.measured(*teacher) if teacher else None
            (loss,), share = self._built({name: dict(options)}, METHODS, own, other)
            _check_taps(loss.needs, own, other)
            self._parts[key] = loss.needs, round(loss.memory_bytes() / share)
        return self._parts[key]

    def _built(
        self,
        parts: Parts,
        table: Mapping[str, LossRow],
        network: Measured,
        teacher: Measured | None,
        student: Measured | None = None,
    ) -> tuple[list[Loss], float]:
        """Return the losses on a pair of drafts, and the share of the training examples their memories were made for."""
        examples = min(self.facts.examples, FEW)
        setting = setting_of(network, teacher, classes=self.facts.classes, examples=examples, student=student)
        with drafting(parts):
            losses = build_parts(parts, table, setting)
            # A preparation is refused here and not after the teacher has trained.
            for preparation in {p for loss in losses for p in loss.needs.preparation}:
                if teacher is not None:
                    PREPARATIONS[preparation].build(teacher.network, setting)
        return losses, examples / self.facts.examples


def with_defaults(parts: Parts, table: Mapping[str, LossRow]) -> Parts:
    """Return parts with all their options written out: what a run is named by may not hang on a default."""
    joined = len(parts) > 1
    return {
        name: written_options(f"'{name}'", row.build, {**row.retired, **(row.joined if joined else {}), **options})
        for name, options in parts.items()
        for row in [row_of(name, table, "loss")]
    }


def _check_taps(needs: Needs, network: Measured, teacher: Measured | None) -> None:
    """Raise `ConfigError` if a loss reads a tap that a network does not have."""
    for side, measured, taps in (("student", network, needs.network), ("teacher", teacher, needs.teacher)):
        missing = [tap for tap in taps if measured is not None and tap not in measured.shapes]
        if missing:
            rule = f"must be declared by the {side}'s model"
            raise ConfigError(f"tap '{missing[0]}'", rule=rule, received="no tap", remedy=HOW_TO_TAP)
