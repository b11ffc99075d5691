"""What a trained network does around an input: its answers to augmented views, and how fast they change.

Legend: N examples, C classes, V views, J Jacobian of the softmax probabilities p with respect to a normalised input x.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from goodteacher.base.errors import check_range
from goodteacher.base.input_spec import InputSpec
from goodteacher.base.probability import soften
from goodteacher.base.seeds import torch_stream
from goodteacher.base.types import PerExample, Probabilities
from goodteacher.data.augment import augment, normalise
from goodteacher.data.problem import Problem, SplitName
from goodteacher.models.adapt import see
from goodteacher.models.taps import TappedModel
from goodteacher.train.precision import Precision, autocast

VIEW_BATCH = 512
# Small, because graphs for second derivatives are held a batch at a time.
PROBE_BATCH = 32
CONVERGED = 1e-3

Softened = Callable[[Tensor], Probabilities]


def even_rows(examples: int, limit: int) -> Tensor:
    """Return up to ``limit`` rows spread evenly over a split, ``(n,)`` int64 in order, the first of them row 0.

    Args:
        examples: size of the split.
        limit: n where there are enough.

    Example:
        >>> even_rows(10, 4)
        tensor([0, 2, 5, 7])
    """
    check_range("limit", limit, low=1)
    n = min(limit, examples)
    return torch.arange(n) * examples // n


@torch.no_grad()
def view_logits(
    model: nn.Module,
    problem: Problem,
    split: SplitName,
    *,
    views: int = 8,
    limit: int = 1000,
    seed: int = 0,
    precision: Precision = "fp32",
    device: torch.device | str = "cpu",
    spec: InputSpec | None = None,
) -> Tensor | None:
    """Return a network's logits under random draws of the problem's own augmentation.

    Args:
        model: in any mode; it is run in evaluation and left in the mode it came in.
        problem: where the split and the augmentation come from.
        split: its name.
        views: V.
        limit: most examples looked at, see `even_rows`.
        seed: of the draws.
        precision: of the forward pass.
        device: where the network is.
        spec: what the network expects to see; by default what the problem makes.

    Returns:
        ``(V, n, C)`` float32 on the CPU, or None where the problem has no augmentation.

    Raises:
        ConfigError: if V or the limit is less than 1.
    """
    check_range("views", views, low=1)
    if problem.augment == "none":
        return None
    part = problem.split(split)
    images = part.inputs.rows(even_rows(len(part), limit))
    mean, std = (s.to(device) for s in problem.statistics)
    tapped = TappedModel(model)
    stack = []
    with _evaluating(model), autocast(device, precision):
        for view in range(views):
            draws = torch_stream(seed, "probe views", view)
            answers = []
            for raw in images.split(VIEW_BATCH):
                made = normalise(augment(raw.to(device), problem.augment, draws), mean, std)
                inputs = made if spec is None else see(made, problem.spec, spec)
                answers.append(tapped(inputs).logits.float().cpu())
            stack.append(torch.cat(answers))
    return torch.stack(stack)


def local_lipschitz(
    model: nn.Module,
    problem: Problem,
    split: SplitName,
    *,
    radius: float = 0.1,
    directions: int = 10,
    steps: int = 10,
    iterations: int = 20,
    limit: int = 256,
    seed: int = 0,
    device: torch.device | str = "cpu",
    spec: InputSpec | None = None,
) -> dict[str, PerExample]:
    """Return three estimates of how fast a network's probabilities change around inputs, in fp32.

    Inputs are normalised: a distance of 1 is a standard deviation of the training inputs, per channel or feature.

    Args:
        model: in any mode; it is run in evaluation and left in the mode it came in.
        problem: where the split comes from.
        split: its name.
        radius: how far away to look, in normalised input space, see `random_change` and `adversarial_change`.
        directions: random ones per example.
        steps: of gradient ascent.
        iterations: of the power method at most, see `jacobian_norm`.
        limit: most examples looked at, see `even_rows`.
        seed: of directions and starts.
        device: where the network is.
        spec: what the network expects to see; by default what the problem makes.

    Returns:
        ``random``, ``pgd`` and ``jacobian``, each ``(n,)`` float32 on the CPU.

    Raises:
        ConfigError: if an option is out of range.
    """
    check_range("radius", radius, low=0.0, open_low=True)
    for name, count in (("directions", directions), ("steps", steps), ("iterations", iterations)):
        check_range(name, count, low=1)
    part = problem.split(split)
    rows = even_rows(len(part), limit)
    mean, std = (s.to(device) for s in problem.statistics)
    draws = torch_stream(seed, "probe directions")
    found: dict[str, list[Tensor]] = {"random": [], "pgd": [], "jacobian": []}
    with _evaluating(model), autocast(device, "fp32"):
        network = softened(model)
        for chosen in rows.split(PROBE_BATCH):
            made = normalise(part.inputs.rows(chosen).to(device), mean, std)
            x = made if spec is None else see(made, problem.spec, spec)
            found["random"].append(random_change(network, x, radius, directions, draws))
            found["pgd"].append(adversarial_change(network, x, radius, steps, draws))
            found["jacobian"].append(jacobian_norm(network, x, iterations, draws))
    return {name: torch.cat(parts).float().cpu() for name, parts in found.items()}


def softened(model: nn.Module) -> Softened:
    """Return the map from ``(N, ...)`` inputs to a network's probabilities ``(N, C)``."""
    tapped = TappedModel(model)
    return lambda inputs: soften(tapped(inputs).logits)


@torch.no_grad()
def random_change(network: Softened, x: Tensor, radius: float, directions: int, draws: torch.Generator) -> PerExample:
    r"""Return the largest change in random directions.

    .. math:: \max_{r} \frac{\|p(x + \delta_r) - p(x)\|_1}{\|\delta_r\|_2}, \quad \|\delta_r\|_2 = \epsilon

    Args:
        network: inputs to probabilities.
        x: ``(N, ...)``, normalised.
        radius: ε > 0, Euclidean.
        directions: how many r, drawn evenly over the sphere.
        draws: CPU stream.

    Returns:
        ``(N,)``, per unit of normalised input.
    """
    before = network(x)
    best = x.new_zeros(len(x))
    for _ in range(directions):
        step = _unit(_normal(x, draws)) * radius
        best = torch.maximum(best, (network(x + step) - before).abs().sum(dim=1) / radius)
    return best


def adversarial_change(network: Softened, x: Tensor, radius: float, steps: int, draws: torch.Generator) -> PerExample:
    r"""Return the largest change that gradient ascent finds in a cube.

    .. math:: \max_{\|\delta\|_\infty \le \epsilon} \frac{\|p(x + \delta) - p(x)\|_1}{\|\delta\|_\infty}

    The first step goes from a random point to the corner along the sign of the gradient or to the opposite one, whichever
    changes more: where p is near 1 there is little to gain on the side on which the random point may lie. Further steps are
    by ε/4 along the sign of the gradient and back into the cube. The best point on the way counts.

    Args:
        network: inputs to probabilities.
        x: ``(N, ...)``, normalised.
        radius: ε > 0, half the side of the cube.
        steps: gradients taken.
        draws: CPU stream of the start.

    Returns:
        ``(N,)``, per unit of normalised input.

    Source: Yang et al. (2020), "A closer look at accuracy vs. robustness".

    Differs: they take no opposite corner.
    """
    with torch.no_grad():
        before = network(x)

    def change_at(delta: Tensor) -> Tensor:
        return (network(x + delta) - before).abs().sum(dim=1)

    def ascent_at(delta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the ratio at a point, and the sign of the change's gradient there."""
        delta.requires_grad_(True)
        change = change_at(delta)
        (gradient,) = torch.autograd.grad(change.sum(), delta)
        size = delta.detach().flatten(1).abs().amax(dim=1).clamp_min(torch.finfo(x.dtype).tiny)
        return change.detach() / size, gradient.sign()

    # In the middle of the cube the change is zero and has no direction.
    best, ascent = ascent_at((torch.rand(x.shape, generator=draws).to(x) * 2 - 1) * radius)
    with torch.no_grad():
        there, opposite = change_at(radius * ascent), change_at(-radius * ascent)
        corner = torch.where(_beside(opposite > there, x), -radius * ascent, radius * ascent)
        best = torch.maximum(best, torch.maximum(there, opposite) / radius)
    for _ in range(steps - 1):
        found, ascent = ascent_at(corner)
        best = torch.maximum(best, found)
        corner = (corner.detach() + radius / 4 * ascent).clamp(-radius, radius)
    with torch.no_grad():
        return torch.maximum(best, change_at(corner) / radius)


def jacobian_norm(network: Softened, x: Tensor, iterations: int, draws: torch.Generator) -> PerExample:
    r"""Return the largest singular value of each example's Jacobian.

    .. math:: \sigma_{\max}(J), \quad J = \frac{\partial p(x)}{\partial x}

    With no more classes than iterations J is computed row by row, which is exact; else by the power method on
    :math:`J^\top J`, which comes from below.

    Args:
        network: inputs to probabilities.
        x: ``(N, ...)``, normalised.
        iterations: of the power method at most; it ends where no value moves by more than a thousandth.
        draws: CPU stream of its start.

    Returns:
        ``(N,)``, probability a unit of normalised input.
    """
    x = x.detach().requires_grad_(True)
    # Only this way of computing attention has second derivatives.
    with sdpa_kernel(SDPBackend.MATH):
        p = network(x)
        if p.shape[1] <= iterations:
            return _norm_by_rows(p, x)
        return _norm_by_iteration(p, x, iterations, draws)


def _norm_by_rows(p: Probabilities, x: Tensor) -> PerExample:
    classes = p.shape[1]
    rows = [torch.autograd.grad(p[:, c].sum(), x, retain_graph=c + 1 < classes)[0].flatten(1) for c in range(classes)]
    jacobian = torch.stack(rows, dim=1)
    gram = (jacobian @ jacobian.mT).double()
    largest: Tensor = torch.linalg.eigvalsh(gram)[:, -1]
    return largest.clamp_min(0).sqrt().to(x.dtype)


def _norm_by_iteration(p: Probabilities, x: Tensor, iterations: int, draws: torch.Generator) -> PerExample:
    # J^T u is linear in u: its derivative with respect to u, applied to v, is J v.
    u = torch.zeros_like(p, requires_grad=True)
    (pulled,) = torch.autograd.grad(p, x, u, create_graph=True)
    v = _unit(_normal(x, draws))
    value = x.new_zeros(len(x))
    for _ in range(iterations):
        (pushed,) = torch.autograd.grad(pulled, u, v, retain_graph=True)
        before, value = value, torch.linalg.vector_norm(pushed, dim=1)
        (back,) = torch.autograd.grad(p, x, pushed, retain_graph=True)
        v = _unit(back)
        if bool(((value - before).abs() <= CONVERGED * value).all()):
            break
    return value.detach()


def _normal(x: Tensor, draws: torch.Generator) -> Tensor:
    return torch.randn(x.shape, generator=draws).to(x)


def _unit(x: Tensor) -> Tensor:
    """Return each example's tensor at Euclidean length 1; zero stays zero."""
    length = torch.linalg.vector_norm(x.flatten(1), dim=1).clamp_min(torch.finfo(x.dtype).tiny)
    return x / _beside(length, x)


def _beside(per_example: Tensor, x: Tensor) -> Tensor:
    """Return ``(N,)`` in a shape that is broadcast against ``(N, ...)``."""
    return per_example.view(-1, *[1] * (x.dim() - 1))


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Run a block in evaluation mode without gradients of parameters; modes and flags are put back after."""
    modes = {module: module.training for module in model.modules()}
    flags = {parameter: parameter.requires_grad for parameter in model.parameters()}
    model.eval().requires_grad_(False)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)
