import math

import pytest
import torch

import references_teachers as slow
from goodteacher.base.errors import ConfigError, ShapeError
from goodteacher.base.probability import brier_score, kl
from goodteacher.maps.proxy import proxy_teacher
from goodteacher.maps.proxy_maps import FitProxy, Proxy, descend_coefficients, proxy_scores, search_coefficients
from goodteacher.maps.temperature import minimise

P = torch.tensor([[0.6, 0.25, 0.1, 0.05]], dtype=torch.float64)


def stream(seed):
    return torch.Generator().manual_seed(seed)


def bound(order):
    return -1 / torch.arange(1, order + 1, dtype=torch.float64)


def teacher(n, classes, scale, seed=0):
    return scale * torch.randn(n, classes, generator=stream(seed), dtype=torch.float64)


def residual(z, epsilon):
    """How unequal p g(q) is over an example's classes at q*, and how far q* is from adding up to 1."""
    p, q = z.softmax(1), proxy_teacher(z, epsilon).exp()
    epsilon = torch.as_tensor(epsilon, dtype=torch.float64)
    pull = p * (1 / q + sum((m + 1) * epsilon[..., m] * (1 - q) ** m for m in range(epsilon.shape[-1])))
    return float((pull - (q * pull).sum(1, keepdim=True)).abs().max()), float((q.sum(1) - 1).abs().max())


@pytest.mark.parametrize(
    ("epsilon", "want"),
    [
        ((0.3, -0.4, 0.5), (0.6047, 0.2530, 0.0959, 0.0464)),
        ((0.7,), (0.6638, 0.2176, 0.0798, 0.0388)),
        ((0.0, 0.0), (0.6, 0.25, 0.1, 0.05)),
    ],
)
def test_known_proxies(epsilon, want):
    assert proxy_teacher(P.log(), epsilon).exp()[0].tolist() == pytest.approx(want, abs=5e-5)


def test_one_coefficient_has_a_closed_form():
    for epsilon in (-0.99, -0.3, 0.7, 5.0):
        q = proxy_teacher(P.log(), [epsilon]).exp()
        multiplier = (P / q + epsilon * P).mean()
        torch.testing.assert_close(q, P / (multiplier - epsilon * P), rtol=1e-12, atol=1e-13)


def test_positive_sharpens_and_negative_flattens():
    sharp, flat = (proxy_teacher(P.log(), [e]).exp() for e in (0.7, -0.7))
    assert sharp[0, 0] > P[0, 0] > flat[0, 0] and sharp[0, 3] < P[0, 3] < flat[0, 3]


def test_zero_is_the_teacher_itself():
    z = teacher(50, 20, 4.0)
    torch.testing.assert_close(proxy_teacher(z, [0.0] * 5), z.log_softmax(1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(proxy_teacher(z, torch.zeros(20, 3)), z.log_softmax(1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scale", [0.1, 2.0, 10.0, 40.0])
@pytest.mark.parametrize("classes", [2, 5, 100])
@pytest.mark.parametrize("order", [1, 2, 5])
def test_the_proxy_is_stationary(scale, classes, order):
    z = teacher(15, classes, scale)
    low = bound(order)
    shared = ((2 * torch.rand(order, generator=stream(1), dtype=torch.float64) - 1) * 3).maximum(low)
    own = ((2 * torch.rand(classes, order, generator=stream(2), dtype=torch.float64) - 1) * 3).maximum(low)
    for epsilon in (shared, own, low):
        unequal, off = residual(z, epsilon)
        assert unequal < 1e-8 and off < 1e-10


@pytest.mark.parametrize("own", [False, True])
def test_against_nested_bisection(own):
    epsilon = (2 * torch.rand(4, 3, generator=stream(3), dtype=torch.float64) - 1).maximum(bound(3))
    epsilon = epsilon if own else epsilon[:1].expand(4, 3)
    q = proxy_teacher(P.log(), epsilon).exp()
    assert q[0].tolist() == pytest.approx(slow.proxy(P[0].tolist(), epsilon.tolist()), abs=1e-9)


def test_it_is_the_least_of_the_perturbed_divergence():
    epsilon = torch.tensor([0.4, -0.5, 0.3, 1.0], dtype=torch.float64)
    z = teacher(10, 4, 2.0)
    log_p = z.log_softmax(1)

    def divergence(log_q):
        doubt = 1 - log_q.exp()
        more = sum(e * doubt ** (m + 1) for m, e in enumerate(epsilon))
        return kl(log_p, log_q) + (log_p.exp() * more).sum(1)

    free = z.clone().requires_grad_()
    minimise(lambda: divergence(free.log_softmax(1)).sum(), [free])
    log_q = proxy_teacher(z, epsilon)
    assert (divergence(log_q) <= divergence(free.detach().log_softmax(1)) + 1e-10).all()
    torch.testing.assert_close(log_q.exp(), free.detach().softmax(1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("epsilon", [[-1.0, -0.5, -1 / 3], [-0.9], [3.0, 2.0], [0.0, -0.5]])
def test_sure_teachers_have_a_proxy_too(epsilon):
    z = torch.tensor([[1e4, 0.0, -1e4], [30.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    log_q = proxy_teacher(z, epsilon)
    assert torch.isfinite(log_q).all()
    torch.testing.assert_close(log_q.exp().sum(1), torch.ones(3, dtype=torch.float64))
    assert log_q[0, 0] == pytest.approx(0, abs=1e-6) and log_q[2].exp().tolist() == pytest.approx([1 / 3] * 3)


def test_the_map_answers_in_float32_and_leaves_no_gradient():
    z = torch.randn(3, 4, requires_grad=True)
    assert Proxy((0.3, 0.1))(z).dtype == Proxy((0.3,))(z.to(torch.bfloat16)).dtype == torch.float32
    assert not Proxy((0.3, 0.1))(z).requires_grad and Proxy((0.3,))(z.double()).dtype == torch.float64


@pytest.mark.parametrize(
    ("epsilon", "kind", "text"),
    [
        ([-1.1], ConfigError, "coefficient 1: must be at least -1/1"),
        ([0.0, 0.0, -0.4], ConfigError, "coefficient 3: must be at least -1/3, .* got -0.4"),
        ([[0.0, 0.0]] * 3, ShapeError, r"must have shape \(M,\) or \(4, M\)"),
        ([], ShapeError, "M >= 1"),
        ([math.nan], ShapeError, "coefficients: must be finite"),
    ],
)
def test_coefficients_are_checked(epsilon, kind, text):
    with pytest.raises(kind, match=text):
        proxy_teacher(P.log(), epsilon)
    if len(epsilon) != 3:
        with pytest.raises(kind):
            FitProxy(coefficients=tuple(epsilon))


@pytest.mark.parametrize("shape", [(3,), (4, 3)])
def test_the_gradient_of_the_search_is_that_of_the_solution(shape):
    log_p, y = teacher(6, 4, 2.0).log_softmax(1), torch.arange(6) % 4
    epsilon = (0.6 * torch.rand(shape, generator=stream(4), dtype=torch.float64) - 0.2).requires_grad_()
    assert torch.autograd.gradcheck(lambda e: proxy_scores(log_p, y, e), (epsilon,), eps=1e-6, atol=1e-6, rtol=1e-4)


def overconfident(n=400, classes=5):
    z = teacher(n, classes, 4.0, seed=5)
    return z.float(), torch.multinomial((z / 2).softmax(1), 1, generator=stream(6)).squeeze(1)


def held_out(fitted, z, y):
    return float(brier_score(fitted(z.double()).softmax(1), y).mean())


def test_both_searches_improve_the_teacher_and_the_gradient_finds_more():
    z, y = overconfident()
    raw = float(brier_score(z.double().softmax(1), y).mean())
    drawn = FitProxy(order=3, trials=30).fit(z, y)
    found = FitProxy(order=3, search="gradient").fit(z, y)
    assert held_out(found, z, y) < held_out(drawn, z, y) < raw
    own = FitProxy(order=2, per_class=True, search="gradient").fit(z, y)
    assert len(own.coefficients) == 5 and len(own.coefficients[0]) == 2 and held_out(own, z, y) < raw


def test_the_random_search_is_a_function_of_its_seed():
    z, y = overconfident(100)
    options = {"order": 2, "per_class": True, "trials": 5, "spread": 0.5}
    one, two = (search_coefficients(z, y, seed=s, **options) for s in (0, 0))
    assert torch.equal(one, two) and one.shape == (5, 2) and (one >= bound(2)).all() and one.abs().max() <= 0.5
    assert not torch.equal(one, search_coefficients(z, y, seed=1, **options))


def test_a_teacher_that_is_right_stays_as_it_is():
    z = teacher(4000, 3, 2.0, seed=8)
    y = torch.multinomial(z.softmax(1), 1, generator=stream(9)).squeeze(1)
    epsilon = descend_coefficients(z, y, order=1, per_class=False)
    assert epsilon.abs().item() < 0.15


def test_given_coefficients_are_not_fitted():
    z, y = overconfident(10)
    assert FitProxy(coefficients=(0.1, 0.2)).fit(z, y) == Proxy((0.1, 0.2))
    assert Proxy([[0.1], [0.2]]) == Proxy(((0.1,), (0.2,)))


@pytest.mark.parametrize("options", [{"order": 0}, {"trials": 0}, {"spread": 0.0}, {"search": "grid"}])
def test_options_are_checked(options):
    with pytest.raises(ConfigError):
        FitProxy(**options)
    with pytest.raises(ShapeError, match="must be numbers"):
        FitProxy(coefficients=((0.1,), (0.1, 0.2)))
