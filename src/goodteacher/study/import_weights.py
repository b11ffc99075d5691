"""Networks trained elsewhere, kept as finished teacher runs that rank and distil like any other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from goodteacher.base.custom import is_hub
from goodteacher.base.errors import ConfigError
from goodteacher.base.input_spec import InputSpec
from goodteacher.base.seeds import seeded
from goodteacher.data.problem import Problem, SplitName
from goodteacher.models.checkpoints import canonical_name, import_weights
from goodteacher.models.custom import hand_over
from goodteacher.models.hub import hub_spec
from goodteacher.models.weight_files import read_state_dict
from goodteacher.study.arm_options import ArmInputs
from goodteacher.study.build import bare, build_network, check_classes, code_behind, measure
from goodteacher.study.kept_networks import keep_network
from goodteacher.study.machine import environment
from goodteacher.study.names import arm_inputs, named
from goodteacher.study.outputs import further_outputs
from goodteacher.study.result import RunResult
from goodteacher.study.run import Run
from goodteacher.study.runspec import RunSpec
from goodteacher.study.spec import Named
from goodteacher.study.store import Store
from goodteacher.train.infer import predict
from goodteacher.train.precision import lay_out


def register(
    model: Named,
    file: Path,
    problem: Problem,
    store: Store,
    *,
    inputs: ArmInputs | None = None,
    device: str = "cpu",
) -> Run:
    """Read weights from a file, score their network on a problem, and keep it as a teacher run.

    Code in the file is never run. What the network expects to see is said by its owner: by its house's configuration
    (``timm:``, ``torchvision:``, ``hf:``), or by ``inputs``. A model of the table sees inputs normalised by this problem's
    training statistics, which for CIFAR are the published ones to three digits.

    Args:
        model: name in the table, or the other toolkit's (``ResNet50``), of another house, or ``module:function``; with options.
        file: a checkpoint of RepDistiller or mdistiller, a state dict, of Lightning or of an average, or safetensors.
        problem: the data it is to teach on.
        store: where the run goes.
        inputs: size, mean and deviation of what the network expects to see.
        device: to compute its outputs on.

    Returns:
        The run; the same file on the same problem is the same run.

    Raises:
        ConfigError: if the network does not answer the problem's classes, or nobody says what it expects to see.
        DataError: if the file cannot be read or does not fit the model.
    """
    ((name, options),) = named(model).items()
    name = name if ":" in name else canonical_name(name)
    sees = _seen(name, options, problem, inputs)
    state = read_state_dict(file)
    with seeded(0, "init"):
        network = build_network(bare({name: options}), problem.classes, sees.shape)
    import_weights(network, name, state)
    origin = f"{file.name}: {state.said}" if state.said else file.name
    return _registered(network, {name: dict(options)}, origin, problem, store, sees, device)


@dataclass(frozen=True)
class Teacher:
    """A network of one's own with its weights, trained by whomever, as a teacher.

    Attributes:
        module: answers logits ``(N, C)``; copied.
        mean: per channel of pictures in [0, 1], or per feature, that the network expects to be subtracted.
        std: the same, to be divided by.
        size: height and width in pixels that it expects; the problem's where it takes any. Not for vectors.
        class_names: names of its answers in their order, where they are known; others than the problem's are refused.

    Example:
        >>> import goodteacher as gt, tempfile
        >>> problem, network = gt.load("digits", subset=5), nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     gt.Teacher(network, mean=(0.5,), std=(0.5,)).register(problem, folder).spec.kind
        'teacher'
    """

    module: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int | tuple[int, int] | None = None
    class_names: tuple[str, ...] | None = None

    def register(self, problem: Problem, out: str | Path = "goodteacher-runs", *, device: str = "cpu") -> Run:
        """Score the network on a problem and keep it as a teacher run, which ranks and distils like any other.

        Args:
            problem: the data it is to teach on.
            out: folder of the store.
            device: to compute its outputs on.

        Raises:
            ConfigError: if it does not answer the problem's classes by their names, or does not take such inputs.
        """
        if self.class_names is not None and tuple(self.class_names) != problem.class_names:
            raise ConfigError(
                "Teacher.class_names",
                rule=f"must be the problem's in the same order: {', '.join(problem.class_names[:5])}, ...",
                received=f"{', '.join(map(str, self.class_names[:5]))}, ...",
                remedy="reorder the rows of the network's last layer",
            )
        name, store = hand_over(self.module), Store(out)
        given = ArmInputs(size=self.size, mean=tuple(self.mean), std=tuple(self.std))
        sees = _seen(name, {}, problem, given)
        network = build_network({name: {}}, problem.classes, sees.shape)
        keep_network(name, problem.classes, sees.shape, store.root)
        return _registered(network, {name: {}}, type(self.module).__name__, problem, store, sees, device)


def _seen(name: str, options: Mapping[str, Any], problem: Problem, given: ArmInputs | None) -> InputSpec:
    """Return what a network expects to see: what its owner says, and never a guess from the problem."""
    made = problem.spec
    own = hub_spec(name, options.get("revision")) if is_hub(name) else None
    if ":" in name and own is None and (given is None or given.mean is None or given.std is None):
        raise ConfigError(
            f"model '{name}'",
            rule="must say what it expects to see, for that is not in its weights",
            remedy="--inputs mean=[...] --inputs std=[...] --inputs size=224, or in Python gt.Teacher(module, mean=..., std=...)",
        )
    if not made.is_image:
        if given is None:
            return made
        if given.size is not None:
            raise ConfigError("inputs, size", rule="is for pictures", received="vectors")
        return InputSpec("vector", made.shape, given.mean or made.mean, given.std or made.std)
    return arm_inputs(given, problem.facts, "inputs", own) or made


def _registered(
    network: nn.Module,
    model: dict[str, dict[str, Any]],
    origin: str,
    problem: Problem,
    store: Store,
    sees: InputSpec,
    device: str,
) -> Run:
    """Score a network with its weights on a problem, and keep it."""
    (name,) = model
    check_classes(measure(network, sees.shape), problem.classes, name)
    digest = hashlib.sha256()
    for key, value in network.state_dict().items():
        digest.update(key.encode())
        digest.update(value.contiguous().numpy().tobytes())
    loss = {"imported": {"weights": digest.hexdigest()[:16]}}
    other = None if sees == problem.spec else sees.stored()
    spec = RunSpec("teacher", model, loss, 0.0, {}, "last", 0, problem.fingerprint, inputs=other)
    spec = replace(spec, code=code_behind(spec)) if spec.own_names else spec
    store.add_problem(problem, problem.facts)
    if store.has(spec.id):
        return store.run(spec.id)
    lay_out(network.to(device).eval())
    splits: tuple[SplitName, ...] = ("validation", "test")
    outputs: dict[str, Tensor] = {split: predict(network, problem, split, device=device, spec=sees) for split in splits}
    result = RunResult(
        epoch=0,
        seconds=0.0,
        precision="fp32",
        alarms=(),
        parameters=sum(p.numel() for p in network.parameters()),
        environment=environment(),
        device=device,
        file=origin,
    )
    kept = {"kept": outputs, **further_outputs(spec, network, problem, device=device, inputs=sees)}
    return store.add_run(spec, weights=network.state_dict(), outputs=kept, result=result, inputs=sees)
