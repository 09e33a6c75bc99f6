"""Torch modules as JAX functions: parity with torch, exact derivatives, and what can't be used is refused."""

import copy
import importlib.util
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FLOAT, X64, needs_x64
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import softjax as sj
from softjax.interop import _torchax

torch = pytest.importorskip("torch")

pytestmark = [
    pytest.mark.float32,
    pytest.mark.skipif(importlib.util.find_spec("torchax") is None, reason="needs torchax"),
]

DTYPE = torch.float64 if X64 else torch.float32
CLOSE = 1e-12 if X64 else 1e-5
SHAPE, T = (6, 5, 2), 0.3
X = np.random.default_rng(0).normal(size=SHAPE).astype(FLOAT)


class Images(torch.nn.Module):
    """Takes (x, t, class_labels) in batches, channels first: convolution, attention, buffers, shared parameters."""

    def __init__(self, channels=2, out=None, classes=3):
        super().__init__()
        self.first = torch.nn.Conv2d(channels, 8, 3, padding=1, padding_mode="circular")
        self.norm = torch.nn.BatchNorm2d(8)
        self.time = torch.nn.Linear(1, 8)
        self.classes = torch.nn.Embedding(classes, 8) if classes else None
        self.query = torch.nn.Linear(8, 8)
        self.key = self.query
        self.scales = torch.nn.ParameterList([torch.nn.Parameter(torch.full((1,), 1.5))])
        self.plain = torch.full((1,), 0.5)
        self.last = torch.nn.Conv2d(8, channels if out is None else out, 3, padding=1)

    def forward(self, x, t, class_labels=None, *, return_dict=False):
        h = self.norm(self.first(x)) * self.scales[0] + self.time(t[:, None])[:, :, None, None]
        if self.classes is not None:
            h = h + self.classes(class_labels)[:, :, None, None]
        sites = torch.tanh(h).flatten(2).transpose(1, 2)
        mixed = torch.nn.functional.scaled_dot_product_attention(self.query(sites), self.key(sites), sites)
        y = self.last(h + self.plain * mixed.transpose(1, 2).reshape(h.shape))
        return {"sample": y} if return_dict else (y,)


def seeded(make):
    torch.manual_seed(0)
    module = make().to(DTYPE).eval()
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.running_var, 0.5, 2)
        if hasattr(part, "plain"):
            part.plain = part.plain.to(DTYPE)
    return module


def tensor(x):
    return x if isinstance(x, torch.Tensor) else torch.tensor(np.asarray(x), dtype=DTYPE)


@pytest.fixture(scope="module")
def module():
    return seeded(Images)


@pytest.fixture(scope="module")
def network(module):
    return sj.interop.from_torch(module, shape=SHAPE, channels="first", keywords={"class_labels": "label"}, output=0)


def of_torch(module, t, x, label=1):
    x = tensor(x).permute(2, 0, 1)[None]
    return module(x, tensor([t]), torch.tensor([label]))[0][0].permute(1, 2, 0)


def close(actual, wanted, bound=CLOSE):
    wanted = wanted.detach().numpy() if isinstance(wanted, torch.Tensor) else np.asarray(wanted)
    assert np.shape(actual) == wanted.shape
    np.testing.assert_allclose(np.asarray(actual), wanted, atol=bound * np.max(np.abs(wanted)), rtol=0)


def test_the_output_is_torchs_and_parameters_are_leaves(module, network):
    assert network.is_traced
    assert repr(network) == "TorchNetwork(444 parameters, shape (6, 5, 2))"
    assert network.parameters.keys() == {*dict(module.named_parameters()), *dict(module.named_buffers()), "plain"}
    assert {leaf.dtype for leaf in jax.tree.leaves(network)} <= {jnp.dtype(FLOAT), jnp.asarray(0).dtype}
    for label in (0, 2):
        result = eqx.filter_jit(network)(T, X, label)
        assert result.dtype == FLOAT
        close(result, of_torch(module, T, X, label))
    close(network(T, X, 2), of_torch(module, T, X, 2))


def test_a_field_of_it_simulates_and_its_modes_are_exact(network):
    field = sj.NetworkField(network, sj.VP(), "noise", 1)
    run = sj.simulate_ensemble(field, sj.log_grid(2.0, 0.2, 4), key=jax.random.key(0), num=2, shape=SHAPE)
    assert np.all(np.isfinite(run.x))

    def drift(x):
        return sj.reverse_drift(field, 0.7, x)

    x, v = jnp.asarray(X), jnp.ones(SHAPE, FLOAT)
    _, exact = jax.jvp(drift, (x,), (v,))
    h = 1e-5 if X64 else 1e-2
    close(exact, (drift(x + h * v) - drift(x - h * v)) / (2 * h), 1e-8 if X64 else 2e-3)


@needs_x64
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch compiles its rules of forward mode
def test_jvps_are_torchs_own(module, network):
    x, v = tensor(X), torch.ones(SHAPE, dtype=DTYPE)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        _, wanted = torch.func.jvp(lambda x: of_torch(module, T, x), (x,), (v,))
    close(jax.jvp(lambda x: network(T, x, 1), (X,), (jnp.ones(SHAPE),))[1], wanted, 1e-12)


def test_it_batches_differentiates_and_compiles_once(module, network):
    traces = []

    @eqx.filter_jit
    def batch(network, ts, xs, labels):
        traces.append(1)
        return jax.vmap(lambda t, x, label: network(t, x, label))(ts, xs, labels)

    xs, ts = jnp.stack([X, 2 * X]), jnp.asarray([0.2, 0.9], FLOAT)
    for labels in ([0, 1], [2, 0]):
        result = batch(network, ts, xs, jnp.asarray(labels))
        for i in range(2):
            close(result[i], of_torch(module, float(ts[i]), xs[i], labels[i]))
    assert len(traces) == 1
    gradients = eqx.filter_grad(lambda network: jnp.sum(network(T, X, 1) ** 2))(network)
    mine = copy.deepcopy(module)
    (of_torch(mine, T, X) ** 2).sum().backward()
    close(gradients.parameters["query.weight"], mine.query.weight.grad, 10 * CLOSE)


def test_it_shards(network):
    sharding = NamedSharding(Mesh(np.asarray(jax.devices()), ("members",)), PartitionSpec("members"))
    xs = jax.device_put(jnp.stack([X] * len(jax.devices())), sharding)
    result = eqx.filter_jit(lambda network, xs: jax.vmap(lambda x: network(T, x, 1))(xs))(network, xs)
    close(result[0], network(T, X, 1))


def test_the_module_stays_as_it_is_and_later_changes_do_not_matter():
    module = seeded(Images)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    network = sj.interop.from_torch(module, shape=SHAPE, channels="first", arguments=("x", "t", "label"), output=0)
    wanted = network(T, X, 1)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert type(module.first.weight) is torch.nn.Parameter
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    module.train()
    module.last = torch.nn.Identity()
    np.testing.assert_array_equal(network(T, X, 1), wanted)


class Plain(torch.nn.Module):
    """Calls a function of (module, its arguments)."""

    def __init__(self, function):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(0.5, 1.5, 5))
        self.table = torch.nn.Embedding(9, 1)
        self.function = function

    def forward(self, *args, **kwargs):
        return self.function(self, *args, **kwargs)


class Returned:
    def __init__(self, sample):
        self.sample = sample


LATTICE = X[..., 0]
CONVENTIONS = {
    "one channel": (lambda m, x, t: m.weight * x * t[:, None, None, None], {"channels": "single"}),
    "as it is": (lambda m, x, t: m.weight * x * t[:, None, None], {"channels": "same"}),
    "no batch": (lambda m, t, x: m.weight * x * t, {"channels": "same", "batch": False, "arguments": ("t", "x")}),
    "no batch, one channel": (lambda m, x, t: m.weight * x * t, {"channels": "single", "batch": False}),
    "keywords": (
        lambda m, x, *, timestep, twice: Returned(m.weight * x * timestep[:, None, None] / 2 * (1 + twice)),
        {
            **{"channels": "same", "arguments": ("x",), "keywords": {"timestep": "t"}},
            **{"options": {"twice": True}, "output": "sample"},
        },
    ),
    "a key": (lambda m, x, t: {"sample": m.weight * x * t[:, None, None]}, {"channels": "same", "output": "sample"}),
    "scaled": (
        lambda m, x, t: m.weight * x * t[:, None, None] / 10,
        {"channels": "same", "time_scale": 10.0},
    ),
    "variance": (
        lambda m, x, t: torch.cat([m.weight * x * t[:, None, None, None], x], 1),
        {"channels": "single", "learned_variance": True},
    ),
}


@pytest.mark.parametrize(("function", "convention"), CONVENTIONS.values(), ids=CONVENTIONS.keys())
def test_every_convention(function, convention):
    module = Plain(function).to(DTYPE).eval()
    network = sj.interop.from_torch(module, shape=LATTICE.shape, **convention)
    assert network.is_traced
    close(network(T, LATTICE), T * LATTICE * module.weight.detach().numpy())


def test_times_are_rounded_to_an_index():
    module = Plain(lambda m, x, t: x * m.table(t)[:, :, None]).to(DTYPE).eval()
    network = sj.interop.from_torch(module, shape=LATTICE.shape, channels="same", time="index", time_scale=4)
    close(network(1.3, LATTICE), LATTICE * module.table.weight[5].item())


def test_last_axis_of_a_module_without_channels_may_hold_a_variance():
    module = Plain(lambda m, x, t: torch.cat([m.weight * x, x], -1)).to(DTYPE).eval()
    network = sj.interop.from_torch(module, shape=(5,), channels="same", learned_variance=True)
    close(network(T, LATTICE[0]), LATTICE[0] * module.weight.detach().numpy())


def test_half_precision_becomes_single_and_single_meets_double():
    half = Plain(lambda m, x, t: m.weight * x).half().eval()
    network = sj.interop.from_torch(half, shape=LATTICE.shape, channels="same")
    assert network.parameters["weight"].dtype == np.float32
    result = network(T, LATTICE)
    assert result.dtype == FLOAT
    close(result, LATTICE * half.weight.detach().float().numpy())


def untraceable(m, x, t):
    """Leaves torch, so that nothing can follow."""
    return m.weight * torch.from_numpy(np.tanh(x.detach().numpy(force=True)))


def test_what_can_not_be_traced_is_a_black_box():
    module = Plain(untraceable).to(DTYPE).eval()
    with pytest.warns(UserWarning, match=r"can't trace Plain.*black box.*method='finite_difference'"):
        network = sj.interop.from_torch(module, shape=LATTICE.shape, channels="same")
    assert not network.is_traced
    wanted = np.tanh(LATTICE) * module.weight.detach().numpy()
    with torch.no_grad():
        module.weight.zero_()
    close(network(T, LATTICE), wanted)
    close(jax.vmap(lambda x: network(T, x))(jnp.stack([LATTICE] * 2))[1], wanted)
    field = sj.NetworkField(network, sj.VP())

    def modes(method):
        return sj.mode_response(
            lambda x: sj.reverse_drift(field, T, x),
            jnp.asarray(LATTICE),
            sj.fourier_modes(LATTICE.shape, 1),
            method,
            1e-3,
        )

    assert np.all(np.isfinite(modes("finite_difference").magnitude))
    with pytest.raises(ValueError, match="black box.*finite_difference"):
        modes("jvp")


REFUSED = {
    "training": (lambda: Images().train(), {}, r"training mode \(itself, first.*module\.eval\(\)"),
    "no module": (
        lambda: lambda x, t: x,
        {},
        "must be a torch.nn.Module, got function: NetworkField takes JAX functions",
    ),
    "arguments": (Images, {"arguments": ("x", "time")}, "must name 'x', 't' and 'label'"),
    "twice": (Images, {"keywords": {"timestep": "t"}}, "each once"),
    "no state": (Images, {"arguments": ("t",)}, "'x' always"),
    "both": (Images, {"keywords": {"a": "label"}, "options": {"a": 1}}, "both name a"),
    "call": (Images, {}, r"can't be called like this, with t \(1,\), x \(1, 2, 6, 5\): TypeError.*keywords"),
    "channels": (Images, {"channels": "same"}, r"can't be called.*x \(1, 6, 5, 2\): RuntimeError"),
    "tuple": (lambda: Images(classes=0), {}, "returns a tuple, wanted a tensor: say with output"),
    "shape": (lambda: Images(out=4, classes=0), {"output": 0}, r"must return shape \(1, 2, 6, 5\), got \(1, 4, 6, 5\)"),
}


@pytest.mark.parametrize(("make", "changes", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refusals_say_what_to_do(make, changes, message):
    module = make()
    if isinstance(module, torch.nn.Module) and "training" not in message:
        module.eval()
    with pytest.raises(ValueError, match=f"(?s){message}"):
        sj.interop.from_torch(module, **{"shape": SHAPE, "channels": "first", **changes})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused():
    program = torch.jit.script(torch.nn.Linear(5, 5).eval())
    with pytest.raises(ValueError, match="TorchScript program"):
        sj.interop.from_torch(program, shape=(5,), channels="same", arguments=("x",))


def test_states_and_labels_that_do_not_fit_are_refused(network):
    with pytest.raises(ValueError, match=r"one configuration like \(6, 5, 2\), got shape \(2, 6, 5, 2\).*jax\.vmap"):
        network(T, np.stack([X, X]), 1)
    with pytest.raises(ValueError, match=r"got shape \(6, 5, 3\)"):
        network(T, np.ones((6, 5, 3)), 1)
    with pytest.raises(ValueError, match=r"takes a class label: call it as network\(t, x, label\)"):
        network(T, X)
    with pytest.raises(ValueError, match="label must be one whole number"):
        network(T, X, 0.5)
    plain = Plain(lambda m, x, t: x).to(DTYPE).eval()
    with pytest.raises(ValueError, match="takes no label"):
        sj.interop.from_torch(plain, shape=LATTICE.shape, channels="same")(T, LATTICE, 1)
    with pytest.raises(TypeError, match=r"equinox\.filter_jit"):
        jax.jit(network)(T, X, 1)


def test_what_is_missing_or_does_not_fit_is_said(monkeypatch, module):
    _torchax.environment.cache_clear()
    monkeypatch.setitem(sys.modules, "torchax", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs torchax: python -m pip install 'softjax-diffusion\[torch\]'"):
        sj.interop.from_torch(module, shape=SHAPE, channels="first")
    broken = type(sys)("torchax")
    monkeypatch.setitem(sys.modules, "torchax", broken)
    with pytest.raises(ImportError, match=r"torch 2\..*torchax 0.*What works: torch 2\.13 with torchax 0\.0\.13"):
        sj.interop.from_torch(module, shape=SHAPE, channels="first")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModuleNotFoundError, match="needs torch: "):
        sj.interop.from_torch(module, shape=SHAPE, channels="first")
