import torch.cuda


class CUDAGraph:
    def capture_begin(self, pool=None):
        torch.cuda.capturing = True

    def capture_end(self):
        torch.cuda.capturing = False
