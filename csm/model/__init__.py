"""The model: checkpoints, prompts, backbone, depth decoder, sampling, and Mimi, the codec."""
