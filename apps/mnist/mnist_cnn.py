"""A convolution net on MNIST in the classic style; ``python mnist_cnn.py --help`` lists the options."""

import sys

import owl
import owl.conv as conv
import owl.elewise as ele
from owl.apps.mnist import mnist_io
from owl.apps.mnist.options import Parser, at_least, not_negative, one_line_errors, positive


class CnnModel:
    """The parameters of two convolutions and a matrix, and what gradient descent remembers of each."""

    def __init__(self):
        self.convs = [conv.Convolver(0, 0, 1, 1), conv.Convolver(2, 2, 1, 1)]
        self.poolings = [conv.Pooler(2, 2, 2, 2), conv.Pooler(3, 3, 3, 3)]
        self.weights = [
            owl.randn([5, 5, 1, 16], 0.0, 0.1),
            owl.randn([5, 5, 16, 32], 0.0, 0.1),
            owl.randn([10, 512], 0.0, 0.1),
        ]
        self.bias = [owl.zeros([16]), owl.zeros([32]), owl.zeros([10, 1])]
        self.weightdelta = [owl.zeros(w.shape) for w in self.weights]
        self.biasdelta = [owl.zeros(b.shape) for b in self.bias]

    def update(self, weightgrad, biasgrad, num_samples, lr, mom, wd):
        """A step of gradient descent with momentum and weight decay."""
        for k in range(len(self.weights)):
            self.weightdelta[k] = (
                mom * self.weightdelta[k] - lr / num_samples * weightgrad[k] - lr * wd * self.weights[k]
            )
            self.biasdelta[k] = mom * self.biasdelta[k] - lr / num_samples * biasgrad[k]
            self.weights[k] += self.weightdelta[k]
            self.bias[k] += self.biasdelta[k]


def forward(model, samples):
    """The activations of all layers; the last one is not normalised yet."""
    acts = [samples]
    for k in range(2):
        acts.append(ele.relu(model.convs[k].ff(acts[-1], model.weights[k], model.bias[k])))
        acts.append(model.poolings[k].ff(acts[-1]))
    acts.append(model.weights[2] * acts[-1].reshape([512, samples.shape[-1]]) + model.bias[2])
    return acts


def bpprop(model, samples, label):
    """The output, and the gradients of weights and biases."""
    acts = forward(model, samples)
    out = acts[5]
    err = conv.cross_entropy_back(out, label)
    weightgrad, biasgrad = {}, {}
    weightgrad[2] = err * acts[4].reshape([512, samples.shape[-1]]).trans()
    biasgrad[2] = err.sum(1)
    err = (model.weights[2].trans() * err).reshape(acts[4].shape)
    err = ele.relu_back(model.poolings[1].bp(err, acts[4], acts[3]), acts[3])
    weightgrad[1] = model.convs[1].weight_grad(err, acts[2], model.weights[1])
    biasgrad[1] = model.convs[1].bias_grad(err)
    err = model.convs[1].bp(err, acts[2], model.weights[1])
    err = ele.relu_back(model.poolings[0].bp(err, acts[2], acts[1]), acts[1])
    weightgrad[0] = model.convs[0].weight_grad(err, acts[0], model.weights[0])
    biasgrad[0] = model.convs[0].bias_grad(err)
    return out, [weightgrad[k] for k in range(3)], [biasgrad[k] for k in range(3)]


def images(data):
    """A NumPy mini-batch [n, 784] on the current device, as [28, 28, 1, n]."""
    return owl.from_numpy(data).reshape([28, 28, 1, len(data)])


def accuracy(output, label):
    """The fraction of the batch whose most probable class is that of the label."""
    return (output.argmax(0) - label.argmax(0)).count_zero() / label.shape[1]


def test_accuracy(model, test_set):
    """The accuracy on the test images, a thousand at a time."""
    correct = 0
    for start in range(0, len(test_set[0]), 1000):
        output = forward(model, images(test_set[0][start : start + 1000]))[-1]
        label = owl.from_numpy(test_set[1][start : start + 1000])
        correct += accuracy(output, label) * label.shape[1]
    return correct / len(test_set[0])


def train(options):
    """Train, printing the training accuracy of every 40th batch and the test accuracy of every epoch."""
    model = CnnModel()
    train_set, test_set = mnist_io.load_mb_from_mat(options.data, options.batch)
    for epoch in range(options.epochs):
        for count, (data, label_np) in enumerate(train_set, 1):
            label = owl.from_numpy(label_np)
            out, weightgrad, biasgrad = bpprop(model, images(data), label)
            model.update(weightgrad, biasgrad, len(data), options.lr, options.mom, options.wd)
            if count % 40 == 0:
                print(f"epoch {epoch} batch {count}: training accuracy {accuracy(out, label):.4f}")
        print(f"epoch {epoch}: test accuracy {test_accuracy(model, test_set):.4f}")
    owl.wait_for_all()


def parser(description):
    """The options of this script and of the one for two devices."""
    options = Parser(description=description)
    options.add_argument("--data", default="mnist_all", help="the .mat file (default: %(default)s)")
    options.add_argument("--epochs", type=at_least(0), default=5, help="default: %(default)s")
    options.add_argument("--batch", type=at_least(1), default=256, help="images in a mini-batch (default: %(default)s)")
    options.add_argument("--lr", type=positive, default=0.1, help="learning rate (default: %(default)s)")
    options.add_argument("--mom", type=not_negative, default=0.75, help="momentum (default: %(default)s)")
    options.add_argument("--wd", type=not_negative, default=5e-4, help="weight decay (default: %(default)s)")
    return options


if __name__ == "__main__":
    owl.initialize(sys.argv)
    command = parser("Train a convolution net on MNIST.")
    command.add_argument("--gpu", type=at_least(0), metavar="N", help="a GPU, once there are any; see OWL_GPU_FALLBACK")
    options = command.parse_args()
    with one_line_errors("mnist_cnn.py"):
        owl.set_device(owl.create_cpu_device() if options.gpu is None else owl.create_gpu_device(options.gpu))
        train(options)
