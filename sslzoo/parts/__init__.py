"""What pretexts are made of: layers, decoders, the two-player step, memory bank, clusters."""
