"""The CUDA kernels for local response normalization, compiled as C++, have the bits of owl's CPU kernels."""

import numpy as np
import pytest

import owl
import owl.conv as conv
from owl import _runtime
from tests.agreement import DTYPES, same_numbers
from tests.gpu.kernels.convolving import Lrn, LrnBackward, numbers

pytestmark = pytest.mark.skipif(_runtime.isa() == "generic", reason="it rounds twice where the others fuse")

SHAPES = [(1, 1, 1, 1), (2, 3, 4, 5), (3, 17, 5, 7), (1, 40, 1, 30)]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize(
    ("local_size", "alpha", "beta"), [(1, 1e-4, 0.75), (5, 0.1, 0.75), (9, 2.0, 0.5), (99, 1, 1.5), (1, -1.0, 0.5)]
)
@pytest.mark.parametrize("shape", SHAPES)
def test_both_directions(kernels, shape, local_size, alpha, beta, special, dtype):
    rng = np.random.default_rng(local_size)
    x, g = numbers(rng, shape, dtype, special=special), numbers(rng, shape, dtype)
    x.flat[0] = 1  # with alpha -1 its scale is 0
    common = {
        "inner": shape[2] * shape[3],
        "channels": shape[1],
        "batch": shape[0],
        "half": local_size // 2,
        "power": -beta,
    }
    lrner, kind = conv.Lrner(local_size, alpha, beta), f"f{8 * x.itemsize}"
    arrays = [owl.from_numpy(x, dtype), owl.zeros(list(shape[::-1]), dtype)]
    top = lrner.ff(*arrays)
    y, scale, x_diff = (np.full_like(x, 7) for _ in range(3))
    launch = Lrn(share=alpha / local_size, x=x.ctypes.data, scale=scale.ctypes.data, **common)
    kernels.run(f"lrn_forward_{kind}", launch, 2, local_size)
    assert (y == 7).all()
    launch.y, launch.scale = y.ctypes.data, None
    kernels.run(f"lrn_forward_{kind}", launch, 1, local_size)
    same_numbers(y, top.to_numpy())
    same_numbers(scale, arrays[1].to_numpy())

    back = LrnBackward(factor=2 * alpha * beta / local_size, **common)
    for field, array in {"x": x, "y": y, "scale": scale, "y_diff": g, "x_diff": x_diff}.items():
        setattr(back, field, array.ctypes.data)
    kernels.run(f"lrn_backward_{kind}", back, 3, local_size)
    wanted = lrner.bp(arrays[0], top, arrays[1], owl.from_numpy(g, dtype))
    same_numbers(x_diff, wanted.to_numpy())
