"""The model on a device: what the scheduler asks for (`base`), in PyTorch (`torch`), and as CUDA graphs (`cuda`)."""
