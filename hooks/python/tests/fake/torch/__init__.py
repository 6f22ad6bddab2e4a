"""As much of torch as the hooks look at."""
from . import cuda  # noqa: F401


class Tensor:
    is_cuda = False

    def __init__(self, n, device=None):
        self.n = n
        self.is_cuda = device is not None
        self.device = device

    def numel(self):
        return self.n

    def element_size(self):
        return 4
