"""The model on CPUs: quantised OpenVINO graphs, made once for a checkpoint and kept on disk."""
