"""Generators as the public writes and exports them, each with the images of its own framework.

The architectures follow their papers' descriptions. Weights are random, and large enough for images that differ.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

Pixels = NDArray[np.uint8]
Original = Callable[[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]], Pixels]
"""Noise [N, Z], label [N], truncation [N] → pixels uint8 [N, H, W, C]."""


@dataclass(frozen=True)
class Exported:
    """A file to pack, what its own framework gives, and what must be found out without an option."""

    file: Path
    original: Original
    noise_dim: int
    labels: int = 0
    batch: int | None = None


class Dcgan(nn.Module):
    """Radford et al. 2016, as in PyTorch's tutorial: [N,100,1,1] → Tanh. 32 × 32 here."""

    def __init__(self, noise: int = 100, width: int = 8, channels: int = 3) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(noise, width * 4, 4, 1, 0, bias=False),
            nn.BatchNorm2d(width * 4),
            nn.ReLU(True),
            nn.ConvTranspose2d(width * 4, width * 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width * 2),
            nn.ReLU(True),
            nn.ConvTranspose2d(width * 2, width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(True),
            nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=False),
            nn.Tanh(),
        )

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return self.main(input)


class ConditionalMlp(nn.Module):
    """Mirza & Osindero 2014: noise and a one-hot label, joined; 16 × 16 grey."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(nn.Linear(72, 64), nn.LeakyReLU(0.2), nn.Linear(64, 256), nn.Tanh())

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return self.main(torch.cat((z, labels), 1)).view(-1, 1, 16, 16)


class LabelEmbedding(nn.Module):
    """A conditional generator with an embedding, as in many tutorials: index labels."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 7)
        self.main = nn.Sequential(nn.Linear(39, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 768), nn.Tanh())

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        return self.main(torch.cat((self.embedding(labels), noise), -1)).view(noise.size(0), 3, 16, 16)


class _Up(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inside), nn.BatchNorm2d(outside)
        self.conv1, self.conv2 = nn.Conv2d(inside, outside, 3, 1, 1), nn.Conv2d(outside, outside, 3, 1, 1)
        self.shortcut = nn.Conv2d(inside, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(functional.interpolate(functional.relu(self.norm1(x)), scale_factor=2.0))
        return self.conv2(functional.relu(self.norm2(h))) + self.shortcut(functional.interpolate(x, scale_factor=2.0))


class Sngan(nn.Module):
    """Miyato et al. 2018, table 4: a dense layer, residual blocks that double the size, Tanh; 32 × 32."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(128, 16 * 16)
        self.blocks = nn.Sequential(_Up(16, 16), _Up(16, 8), _Up(8, 8))
        self.norm, self.out = nn.BatchNorm2d(8), nn.Conv2d(8, 3, 3, 1, 1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.blocks(self.dense(z).view(-1, 16, 4, 4))
        return torch.tanh(self.out(functional.relu(self.norm(h))))


class StyleGan2(nn.Module):
    """Karras et al. 2020: mapping, truncation towards the mean style, modulated convolutions, noise, RGB skips.

    16 × 16. Noise comes in as inputs, or is drawn.
    """

    def __init__(self, draws: bool = False, fused: bool = False) -> None:
        super().__init__()
        self.mapping = nn.Sequential(nn.Linear(64, 32), nn.LeakyReLU(0.2), nn.Linear(32, 32), nn.LeakyReLU(0.2))
        self.mean = nn.Parameter(torch.randn(32))
        self.constant = nn.Parameter(torch.randn(1, 16, 4, 4))
        self.affine = nn.ModuleList([nn.Linear(32, 16) for _ in range(3)])
        self.weight = nn.ParameterList([nn.Parameter(torch.randn(16, 16, 3, 3)) for _ in range(3)])
        self.strength = nn.Parameter(torch.full((3,), 0.3))
        self.rgb = nn.ModuleList([nn.Conv2d(16, 3, 1) for _ in range(3)])
        self.draws, self.fused = draws, fused

    def forward(
        self,
        z: Tensor,
        truncation_psi: Tensor,
        noise_0: Tensor | None = None,
        noise_1: Tensor | None = None,
        noise_2: Tensor | None = None,
    ) -> Tensor:
        z = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        w = self.mean + truncation_psi * (self.mapping(z) - self.mean)
        x, image = self.constant.repeat(z.shape[0], 1, 1, 1), None
        for index, noise in enumerate((noise_0, noise_1, noise_2)):
            if index:
                x = functional.interpolate(x, scale_factor=2.0, mode="bilinear")
                image = functional.interpolate(image, scale_factor=2.0, mode="bilinear")
            style = self.affine[index](w) + 1
            n, c, height, width = x.shape
            weight = self.weight[index][None] * style[:, None, :, None, None]
            demodulation = torch.rsqrt(weight.square().sum((2, 3, 4)) + 1e-8)
            if self.fused:
                weight = (weight * demodulation[:, :, None, None, None]).reshape(n * 16, c, 3, 3)
                x = functional.conv2d(x.reshape(1, n * c, height, width), weight, padding=1, groups=n)
                x = x.reshape(n, 16, height, width)
            else:
                x = functional.conv2d(x * style[:, :, None, None], self.weight[index], padding=1)
                x = x * demodulation[:, :, None, None]
            if self.draws:
                noise = torch.randn(n, 1, height, width)
            x = functional.leaky_relu(x + self.strength[index] * noise, 0.2)
            rgb = self.rgb[index](x)
            image = rgb if image is None else image + rgb
        return image


class _Fixed(nn.Module):
    """StyleGAN2 with one truncation, and without noise."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner.eval()

    def forward(self, z: Tensor) -> Tensor:
        zeros = [torch.zeros(1, 1, size, size) for size in (4, 8, 16)]
        return self.inner(z, torch.tensor(0.7), *zeros)


class SigmoidMlp(nn.Module):
    """Goodfellow et al. 2014: dense layers and a Sigmoid; a flat row of 28 · 28 numbers in 0 … 1."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 784), nn.Sigmoid())

    def forward(self, z: Tensor) -> Tensor:
        return self.main(z)


class Progressive(nn.Module):
    """Karras et al. 2018: pixel normalisation, upsampling, no final Tanh; its sizes are written for one image."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(64, 16 * 16)
        self.convs = nn.ModuleList([nn.Conv2d(16, 16, 3, 1, 1) for _ in range(3)])
        self.rgb = nn.Conv2d(16, 3, 1)

    def forward(self, latents: Tensor) -> Tensor:
        x = latents * torch.rsqrt(latents.square().mean(1, keepdim=True) + 1e-8)
        x = self.dense(x).view(latents.shape[0], 16, 4, 4)
        for index, conv in enumerate(self.convs):
            if index:
                x = functional.interpolate(x, scale_factor=2.0)
            x = functional.leaky_relu(conv(x), 0.2)
            x = x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)
        return self.rgb(x)


class BytesOut(nn.Module):
    """Returns uint8 [N, H, W, C], as a wrapper for a web page does."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, z: Tensor) -> Tensor:
        images = self.inner(z[:, :, None, None])
        return (images.permute(0, 2, 3, 1) * 127.5 + 128).clamp(0, 255).to(torch.uint8)


def lively(module: nn.Module, gain: float = 1.5) -> nn.Module:
    """Returns the module in evaluation mode, with weights whose images have contrast."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                fan = parameter[0].numel() if not isinstance(parameter, nn.Embedding) else 1
                parameter.normal_(0, gain / fan**0.5)
        for part in module.modules():
            if isinstance(part, nn.ConvTranspose2d):
                part.weight.normal_(
                    0, gain / (part.in_channels * part.kernel_size[0] ** 2 / part.stride[0] ** 2) ** 0.5
                )
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.running_mean.normal_(0, 0.2)
                part.running_var.uniform_(0.5, 1.5)
    return module.eval()


def in_unit(images: Tensor) -> Pixels:
    """Maps images float [N, C, H, W] in -1 … 1 to pixels, as ``torchvision.utils.save_image(normalize=…)`` users do."""
    scaled = ((images.float() + 1) * 127.5).clamp(0, 255).round()
    return scaled.permute(0, 2, 3, 1).to(torch.uint8).numpy()


def onnx_file(
    folder: Path,
    module: nn.Module,
    args: tuple[Tensor, ...],
    names: list[str],
    dynamo: bool = False,
    dynamic: bool = True,
    opset: int | None = None,
) -> Path:
    """Exports with either of PyTorch's exporters."""
    path = folder / "generator.onnx"
    options: dict[str, Any] = {"input_names": names, "output_names": ["output"]}
    vectors = [
        name
        for name, tensor in zip(names, args, strict=True)
        if tensor.ndim in (1, 2) or (tensor.ndim == 4 and tensor.shape[3] == 1)
    ]
    if dynamo:
        batch = torch.export.Dim("batch")
        shapes = tuple({0: batch} if name in vectors else None for name in names)
        options |= {"dynamo": True, "dynamic_shapes": shapes if dynamic else None, "verbose": False}
    else:
        options |= {"dynamo": False, "dynamic_axes": {name: {0: "batch"} for name in vectors} if dynamic else None}
    torch.onnx.export(module, args, path, opset_version=opset, **options)
    return path


def _noise(noise: NDArray[np.float32], truncation: NDArray[np.float32] | None) -> Tensor:
    return torch.from_numpy(noise if truncation is None else noise * truncation[:, None])


def tutorial_dcgan(folder: Path) -> Exported:
    module = lively(Dcgan())
    file = onnx_file(folder, module, (torch.randn(2, 100, 1, 1),), ["input"])
    return Exported(file, lambda z, y, t: in_unit(module(_noise(z, t)[:, :, None, None])), 100)


def conditional_one_hot(folder: Path) -> Exported:
    module = lively(ConditionalMlp())
    file = onnx_file(folder, module, (torch.randn(2, 62), torch.eye(10)[:2]), ["z", "labels"])

    def original(z: Any, y: Any, t: Any) -> Pixels:
        return in_unit(module(_noise(z, t), torch.eye(10)[torch.from_numpy(y)]))

    return Exported(file, original, 62, labels=10)


def conditional_index(folder: Path) -> Exported:
    module = lively(LabelEmbedding())
    file = onnx_file(folder, module, (torch.randn(2, 32), torch.zeros(2, dtype=torch.int64)), ["noise", "labels"])
    return Exported(file, lambda z, y, t: in_unit(module(_noise(z, t), torch.from_numpy(y))), 32, labels=7)


def sngan_dynamo(folder: Path) -> Exported:
    module = lively(Sngan())
    file = onnx_file(folder, module, (torch.randn(2, 128),), ["z"], dynamo=True)
    return Exported(file, lambda z, y, t: in_unit(module(_noise(z, t))), 128)


def stylegan2(folder: Path) -> Exported:
    module = lively(StyleGan2())
    shapes = [(1, 1, size, size) for size in (4, 8, 16)]
    args = (torch.randn(2, 64), torch.tensor(1.0), *(torch.randn(shape) for shape in shapes))
    file = onnx_file(folder, module, args, ["z", "truncation_psi", "noise_0", "noise_1", "noise_2"], dynamo=True)
    state = np.random.RandomState(0)
    noise = [torch.from_numpy(state.randn(*shape).astype(np.float32)) for shape in shapes]

    def original(z: Any, y: Any, t: Any) -> Pixels:
        rows = [module(torch.from_numpy(z[i : i + 1]), torch.tensor(t[i]), *noise) for i in range(len(z))]
        return in_unit(torch.cat(rows))

    return Exported(file, original, 64)


def sigmoid_mlp(folder: Path) -> Exported:
    module = lively(SigmoidMlp())
    file = onnx_file(folder, module, (torch.randn(1, 64),), ["input"])

    def original(z: Any, y: Any, t: Any) -> Pixels:
        images = module(_noise(z, t)).view(-1, 28, 28, 1)
        return (images * 255).round().to(torch.uint8).numpy()

    return Exported(file, original, 64)


def progressive_batch_of_one(folder: Path) -> Exported:
    module = lively(Progressive())
    file = onnx_file(folder, module, (torch.randn(1, 64),), ["latents"], dynamic=False)
    return Exported(file, lambda z, y, t: in_unit(module(_noise(z, t))), 64)


def stylegan2_batch_of_one(folder: Path) -> Exported:
    """Its convolutions have one group for each image, which no other batch size fits."""
    module = lively(StyleGan2(fused=True))
    zeros = [torch.zeros(1, 1, size, size) for size in (4, 8, 16)]

    file = onnx_file(folder, _Fixed(module), (torch.randn(1, 64),), ["z"], dynamic=False)

    def original(z: Any, y: Any, t: Any) -> Pixels:
        return in_unit(torch.cat([module(_noise(z, t)[i : i + 1], torch.tensor(0.7), *zeros) for i in range(len(z))]))

    return Exported(file, original, 64, batch=1)


def stylegan2_example_of_two(folder: Path) -> Exported:
    """Calls its batch open, and yet has a group of its convolutions for each of the two images of the example."""
    module = lively(StyleGan2(fused=True))
    zeros = [torch.zeros(1, 1, size, size) for size in (4, 8, 16)]
    file = onnx_file(folder, _Fixed(module), (torch.randn(2, 64),), ["z"], dynamic=False)
    model = onnx.load(file)
    for entry in (*model.graph.input, *model.graph.output):
        entry.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, file)

    def original(z: Any, y: Any, t: Any) -> Pixels:
        return in_unit(module(_noise(z, t), torch.tensor(0.7), *zeros))

    return Exported(file, original, 64, batch=2)


def torchscript_fused(folder: Path) -> Exported:
    module = _Fixed(lively(StyleGan2(fused=True)))
    torch.jit.trace(module, torch.randn(1, 64)).save(folder / "generator.pt")

    def original(z: Any, y: Any, t: Any) -> Pixels:
        return in_unit(torch.cat([module(row[None]) for row in _noise(z, t)]))

    return Exported(folder / "generator.pt", original, 64, batch=1)


def half_precision(folder: Path) -> Exported:
    module = lively(Dcgan()).half()
    file = onnx_file(folder, module, (torch.randn(2, 100, 1, 1).half(),), ["input"])
    return Exported(file, lambda z, y, t: in_unit(module(_noise(z, t).half()[:, :, None, None])), 100)


def bytes_out(folder: Path) -> Exported:
    module = BytesOut(lively(Dcgan())).eval()
    file = onnx_file(folder, module, (torch.randn(2, 100),), ["z"])
    return Exported(file, lambda z, y, t: module(_noise(z, t)).numpy(), 100)


def old_opset(folder: Path) -> Exported:
    """Opset 9, as PyTorch 1.2 wrote it: every weight is an input, too, and no size is open."""
    module = lively(Dcgan(channels=1))
    file = onnx_file(folder, module, (torch.randn(2, 100, 1, 1),), ["0"], opset=9, dynamic=False)
    model = onnx.load(file)
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    model.ir_version = 3
    onnx.save(model, file)
    return Exported(file, lambda z, y, t: in_unit(module(_noise(z, t)[:, :, None, None])), 100)


def tensorflow_conventions(folder: Path) -> Exported:
    """As tf2onnx writes a Keras generator: NHWC outside, Transpose around each convolution, names with a colon."""
    state = np.random.RandomState(0)
    dense = (state.randn(50, 8 * 4 * 4) * 0.2).astype(np.float32)
    kernel = (state.randn(8, 4, 4, 4) * 0.2).astype(np.float32)
    last = (state.randn(3, 4, 3, 3) * 0.4).astype(np.float32)
    constants = {
        "sequential/dense/MatMul/ReadVariableOp:0": dense,
        "new_shape__23": np.array([-1, 4, 4, 8], np.int64),
        "kernel__24": kernel,
        "last__25": last,
    }
    nodes = [
        helper.make_node(
            "MatMul", ["input_1:0", "sequential/dense/MatMul/ReadVariableOp:0"], ["sequential/dense/MatMul:0"]
        ),
        helper.make_node("LeakyRelu", ["sequential/dense/MatMul:0"], ["sequential/leaky_re_lu:0"], alpha=0.3),
        helper.make_node("Reshape", ["sequential/leaky_re_lu:0", "new_shape__23"], ["sequential/reshape:0"]),
        helper.make_node("Transpose", ["sequential/reshape:0"], ["t0__30:0"], perm=[0, 3, 1, 2]),
        helper.make_node("ConvTranspose", ["t0__30:0", "kernel__24"], ["c0__31:0"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("LeakyRelu", ["c0__31:0"], ["l0__32:0"], alpha=0.3),
        helper.make_node("Conv", ["l0__32:0", "last__25"], ["c1__33:0"], pads=[1, 1, 1, 1]),
        helper.make_node("Transpose", ["c1__33:0"], ["t1__34:0"], perm=[0, 2, 3, 1]),
        helper.make_node("Tanh", ["t1__34:0"], ["Identity:0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tf2onnx",
        [helper.make_tensor_value_info("input_1:0", TensorProto.FLOAT, ["unk__35", 50])],
        [helper.make_tensor_value_info("Identity:0", TensorProto.FLOAT, ["unk__36", 8, 8, 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="tf2onnx", ir_version=7)
    file = folder / "generator.onnx"
    onnx.save(model, file)

    def original(z: Any, y: Any, t: Any) -> Pixels:
        h = functional.leaky_relu(_noise(z, t) @ torch.from_numpy(dense), 0.3).view(-1, 4, 4, 8).permute(0, 3, 1, 2)
        h = functional.leaky_relu(functional.conv_transpose2d(h, torch.from_numpy(kernel), None, 2, 1), 0.3)
        return in_unit(torch.tanh(functional.conv2d(h, torch.from_numpy(last), None, 1, 1)))

    return Exported(file, original, 50)


def external_data(folder: Path) -> Exported:
    made = tutorial_dcgan(folder)
    model = onnx.load(made.file)
    onnx.save(model, made.file, save_as_external_data=True, location="generator.onnx.data", size_threshold=0)
    assert (folder / "generator.onnx.data").stat().st_size > 10_000
    return made


def one_vector(folder: Path) -> Exported:
    """Takes [Z] and returns [C, H, W]: there is no batch."""
    module = lively(Dcgan(noise=20, width=4))

    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, z: Tensor) -> Tensor:
            return self.inner(z.view(1, -1, 1, 1))[0]

    file = onnx_file(folder, Single().eval(), (torch.randn(20),), ["z"], dynamic=False)
    return Exported(file, lambda z, y, t: in_unit(module(_noise(z, t)[:, :, None, None])), 20, batch=1)


def torchscript_traced(folder: Path) -> Exported:
    module = lively(Dcgan())
    torch.jit.trace(module, torch.randn(1, 100, 1, 1)).save(folder / "generator.pt")
    return Exported(folder / "generator.pt", lambda z, y, t: in_unit(module(_noise(z, t)[:, :, None, None])), 100)


def torchscript_conditional(folder: Path) -> Exported:
    module = lively(LabelEmbedding())
    torch.jit.script(module).save(folder / "generator.pt")
    return Exported(
        folder / "generator.pt", lambda z, y, t: in_unit(module(_noise(z, t), torch.from_numpy(y))), 32, labels=7
    )


def exported_program(folder: Path) -> Exported:
    module = lively(Sngan())
    batch = torch.export.Dim("batch")
    torch.export.save(
        torch.export.export(module, (torch.randn(2, 128),), dynamic_shapes=({0: batch},)), folder / "generator.pt2"
    )
    return Exported(folder / "generator.pt2", lambda z, y, t: in_unit(module(_noise(z, t))), 128)


def exported_program_of_one(folder: Path) -> Exported:
    module = lively(Progressive())
    torch.export.save(torch.export.export(module, (torch.randn(1, 64),)), folder / "generator.pt2")
    return Exported(folder / "generator.pt2", lambda z, y, t: in_unit(module(_noise(z, t))), 64)


GENERATORS = (
    tutorial_dcgan,
    conditional_one_hot,
    conditional_index,
    sngan_dynamo,
    stylegan2,
    stylegan2_batch_of_one,
    stylegan2_example_of_two,
    sigmoid_mlp,
    progressive_batch_of_one,
    half_precision,
    bytes_out,
    old_opset,
    tensorflow_conventions,
    external_data,
    one_vector,
    torchscript_traced,
    torchscript_conditional,
    torchscript_fused,
    exported_program,
    exported_program_of_one,
)
