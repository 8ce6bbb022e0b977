"""Network in network (arXiv:1312.4400)."""

import keras

from sslzoo.encoders import stem
from sslzoo.encoders.blocks import check_option, conv_bn, fan_out, pad


def build(blocks=4):
    """Network in network as RotNet trains it on 32 pixels: 16x16x96, then 8x8x192 per block.

    A stage is a block's output, after its pooling: the feature maps that RotNet classifies.
    """
    check_option("blocks", blocks, (3, 4, 5))
    inputs, x = stem.pixels()
    for i in range(1, blocks + 1):
        kernel, widths = (5 if i <= 2 else 3), (192, 160, 96) if i == 1 else (192, 192, 192)
        for j, width in enumerate(widths, start=1):
            x = conv_bn(x, width, kernel if j == 1 else 1, 1, f"block{i}_{j}", fan_out())
            last = i > 2 and j == 3
            x = keras.layers.ReLU(name=f"stage{i}" if last else f"block{i}_{j}_relu")(x)
        if i <= 2:  # zeros count in the average, as in PyTorch
            pool = keras.layers.MaxPooling2D if i == 1 else keras.layers.AveragePooling2D
            x = pool(3, 2, name=f"stage{i}")(pad(x, 1))
    return inputs, x
