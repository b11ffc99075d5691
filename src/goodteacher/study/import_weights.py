"""Networks trained elsewhere, kept as finished teacher runs that rank and distil like any other."""

from __future__ import annotations

import hashlib
from pathlib import Path

from goodteacher.base.seeds import seeded
from goodteacher.data.problem import Problem
from goodteacher.models.checkpoints import canonical_name, import_weights, read_state_dict
from goodteacher.study.build import build_network, check_classes, measure
from goodteacher.study.machine import environment
from goodteacher.study.names import named
from goodteacher.study.outputs import further_outputs
from goodteacher.study.result import RunResult
from goodteacher.study.run import Run
from goodteacher.study.runspec import RunSpec
from goodteacher.study.spec import Named
from goodteacher.study.store import Store
from goodteacher.train.infer import predict
from goodteacher.train.precision import lay_out


def register(model: Named, file: Path, problem: Problem, store: Store, *, device: str = "cpu") -> Run:
    """Read another toolkit's weights, score them on a problem, and keep them as a teacher run.

    Code in the file is never run. The network sees inputs normalised by this problem's training statistics, which for CIFAR
    are the published ones to three digits.

    Args:
        model: name in the table, or the other toolkit's (``ResNet50``), with its options.
        file: a checkpoint of RepDistiller or mdistiller, a state dict, or safetensors.
        problem: the data it is to teach on.
        store: where the run goes.
        device: to compute its outputs on.

    Returns:
        The run; the same file on the same problem is the same run.

    Raises:
        ConfigError: if the network does not answer the problem's classes.
        DataError: if the file cannot be read or does not fit the model.
    """
    ((name, options),) = named(model).items()
    name = canonical_name(name)
    state = read_state_dict(file)
    with seeded(0, "init"):
        network = build_network({name: options}, problem.classes, problem.input_shape)
    import_weights(network, name, state)
    check_classes(measure(network, problem.input_shape), problem.classes, name)
    digest = hashlib.sha256()
    for key, value in network.state_dict().items():
        digest.update(key.encode())
        digest.update(value.contiguous().numpy().tobytes())
    loss = {"imported": {"weights": digest.hexdigest()[:16]}}
    spec = RunSpec("teacher", {name: options}, loss, 0.0, {}, "last", 0, problem.fingerprint)
    store.add_problem(problem, problem.facts)
    if store.has(spec.id):
        return store.run(spec.id)
    lay_out(network.to(device))
    outputs = {split: predict(network, problem, split, device=device) for split in ("validation", "test")}
    result = RunResult(
        epoch=0,
        seconds=0.0,
        precision="fp32",
        alarms=(),
        parameters=sum(p.numel() for p in network.parameters()),
        environment=environment(),
        device=device,
        file=file.name,
    )
    kept = {"kept": outputs, **further_outputs(spec, network, problem, device=device)}
    return store.add_run(spec, weights=network.state_dict(), outputs=kept, result=result, inputs=problem.spec)
