"""An encoder of sslzoo as a PyTorch module with the same weights, to measure against.

Covers what sslzoo's own encoders are made of, not `keras.applications`.
"""

import keras
import torch


class Twin(torch.nn.Module):
    """(B, 3, H, W) in [0, 1] -> (B, C), the mean over the encoder's output."""

    def __init__(self, encoder):
        super().__init__()
        self.steps, tensors = [], {}

        def follow(layer, *args, **kwargs):
            output = layer(*args, **kwargs)
            inputs = [id(x) for x in keras.tree.flatten(args) if hasattr(x, "shape")]
            module = convert(encoder.get_layer(layer.name))
            self.add_module(layer.name, module)
            self.steps.append((module, inputs, id(output)))
            tensors[id(output)] = output  # kept, so that no id is given twice
            return output

        self.copy = [keras.models.clone_model(encoder, call_function=follow)]
        self.ends = id(self.copy[0].inputs[0]), id(self.copy[0].outputs[0])
        self.eval()

    def forward(self, images):
        """The average of `maps`."""
        return self.maps(images).mean((2, 3))

    def maps(self, images):
        """Runs the layers in the order in which Keras called them: -> (B, C, h, w)."""
        values = {self.ends[0]: images}
        for module, inputs, output in self.steps:
            values[output] = module(*(values[i] for i in inputs))
        return values[self.ends[1]]


class Scale(torch.nn.Module):
    """`keras.layers.Rescaling`."""

    def __init__(self, scale, offset):
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale).reshape(1, -1, 1, 1))
        self.register_buffer("offset", torch.tensor(offset).reshape(1, -1, 1, 1))

    def forward(self, x):
        """(B, 3, H, W) -> the same shape."""
        return x * self.scale + self.offset


class Sum(torch.nn.Module):
    """`keras.layers.Add`."""

    def forward(self, x, y):
        """Two of a shape -> their sum."""
        return x + y


def convert(layer):
    """The PyTorch module that computes what a Keras layer does at inference."""
    if isinstance(layer, keras.layers.Conv2D):
        return _convolution(layer)
    if isinstance(layer, keras.layers.BatchNormalization):
        return _batch_norm(layer)
    if isinstance(layer, keras.Model) and layer.name.startswith("norm"):
        return torch.nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
    if isinstance(layer, keras.layers.ZeroPadding2D):
        (top, bottom), (left, right) = layer.padding
        return torch.nn.ZeroPad2d((left, right, top, bottom))
    if isinstance(layer, keras.layers.Rescaling):
        return Scale(layer.scale, layer.offset)
    if isinstance(layer, (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)):
        assert layer.padding == "valid"
        pool = isinstance(layer, keras.layers.MaxPooling2D)
        pool = torch.nn.MaxPool2d if pool else torch.nn.AvgPool2d
        return pool(layer.pool_size, layer.strides)
    if isinstance(layer, keras.layers.ReLU):
        return torch.nn.ReLU()
    if isinstance(layer, keras.layers.Add):
        return Sum()
    raise ValueError(f"no twin of {type(layer).__name__} {layer.name}")


def _convolution(layer):
    same = layer.padding == "same"
    assert layer.strides == (1, 1) or not same or layer.kernel_size == (3, 3)
    kernel, *bias = (torch.from_numpy(w) for w in layer.get_weights())
    module = torch.nn.Conv2d(
        kernel.shape[2] * layer.groups,
        layer.filters,
        layer.kernel_size,
        layer.strides,
        layer.kernel_size[0] // 2 if same else 0,
        groups=layer.groups,
        bias=bool(bias),
    )
    with torch.no_grad():
        module.weight.copy_(kernel.permute(3, 2, 0, 1))
        if bias:
            module.bias.copy_(bias[0])
    return module


def _batch_norm(layer):
    module = torch.nn.BatchNorm2d(layer.gamma.shape[0], eps=layer.epsilon)
    names = ("weight", "bias", "running_mean", "running_var")
    state = dict(zip(names, map(torch.from_numpy, layer.get_weights()), strict=True))
    module.load_state_dict(state, strict=False)
    return module
