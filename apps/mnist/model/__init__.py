"""The networks that ``python -m owl.apps.mnist`` can train; a new one is added to the tuple below."""

from owl.apps.mnist.model.base import Model
from owl.apps.mnist.model.cnn import ConvolutionNet
from owl.apps.mnist.model.lenet import LeNet
from owl.apps.mnist.model.mlp import Perceptron

MODELS: dict[str, type[Model]] = {model.name: model for model in (Perceptron, ConvolutionNet, LeNet)}

__all__ = ["MODELS", "ConvolutionNet", "LeNet", "Model", "Perceptron"]
