"""Resize convolution: upsampling to the nearest neighbour, then a 3 × 3 convolution.

A free transposed convolution of 4 × 4 with stride 2 draws each of four neighbouring pixels with weights of its own, and
learns to agree on them late: checkerboards (Odena et al. 2016, https://distill.pub/2016/deconv-checkerboard). A resize
convolution cannot draw them. It is one transposed convolution too, whose kernel follows from 3 × 3 weights, so it takes
the same time, and its export the same graph.
"""

from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils import parametrize


class NearestKernel(nn.Module):
    """Kernel [I, O, 3, 3] at the doubled size → kernel [I, O, 4, 4] of a transposed convolution with stride 2."""

    def forward(self, kernel: Tensor) -> Tensor:
        """Spreads the kernel by a box of 2 × 2, as upsampling spreads every pixel."""
        rows = pad(kernel, (0, 0, 0, 1)) + pad(kernel, (0, 0, 1, 0))
        return pad(rows, (0, 1)) + pad(rows, (1, 0))

    def right_inverse(self, kernel: Tensor) -> Tensor:
        """Returns a part of a fresh kernel, so that the 3 × 3 one has the values' distribution."""
        return kernel[..., :3, :3].clone()


def make_resize_convs(network: nn.Module) -> None:
    """Turns every transposed convolution of 4 × 4 into a resize convolution. Initialise the weights before."""
    for module in list(network.modules()):
        if isinstance(module, nn.ConvTranspose2d):
            parametrize.register_parametrization(module, "weight", NearestKernel())
