"""A perceptron on MNIST as a classic script with options; ``python mnist_mlp.py --help`` lists them."""

import math
import sys

import owl
import owl.conv as co
import owl.elewise as ele
from owl.apps.mnist import mnist_io
from owl.apps.mnist.options import Parser, at_least, one_line_errors, positive


class MnistTrainer:
    """A perceptron of one hidden layer, trained on summed gradients divided by the size of the batch."""

    def __init__(self, options):
        self.options = options
        inputs, hidden, outputs = 784, options.hidden, 10
        self.w1 = owl.randn([hidden, inputs], 0.0, math.sqrt(2.0 / inputs))
        self.w2 = owl.randn([outputs, hidden], 0.0, math.sqrt(1.0 / hidden))
        self.b1 = owl.zeros([hidden, 1])
        self.b2 = owl.zeros([outputs, 1])

    def forward(self, data):
        """The activations of the hidden layer, and the scores that softmax would make probabilities of."""
        a1 = ele.relu(self.w1 * data + self.b1)
        z2 = self.w2 * a1 + self.b2
        return a1, z2

    def train_batch(self, data, label):
        """One step; returns the output of the forward pass."""
        a1, z2 = self.forward(data)
        s2 = co.cross_entropy_back(z2, label)
        s1 = ele.relu_back(self.w2.trans() * s2, a1)
        lr = self.options.lr / data.shape[1]
        self.w2 -= lr * (s2 * a1.trans())
        self.b2 -= lr * s2.sum(1)
        self.w1 -= lr * (s1 * data.trans())
        self.b1 -= lr * s1.sum(1)
        return z2

    def run(self):
        """Train, printing the training accuracy of every 20th batch and the test accuracy of every epoch."""
        train_set, (test_np, test_label_np) = mnist_io.load_mb_from_mat(self.options.data, self.options.batch)
        test_data, test_label = owl.from_numpy(test_np), owl.from_numpy(test_label_np)
        for epoch in range(self.options.epochs):
            print(f"epoch {epoch}")
            for count, (data_np, label_np) in enumerate(train_set, 1):
                label = owl.from_numpy(label_np)
                z2 = self.train_batch(owl.from_numpy(data_np), label)
                if count % 20 == 0:
                    print(f"  batch {count}: training accuracy {accuracy(z2, label):.4f}")
            print(f"  test accuracy {accuracy(self.forward(test_data)[1], test_label):.4f}")
        owl.wait_for_all()


def accuracy(output, label):
    """The fraction of the batch whose most probable class is that of the label."""
    return (output.argmax(0) - label.argmax(0)).count_zero() / label.shape[1]


def parse_options(argv):
    """What the command line says."""
    parser = Parser(description="Train a perceptron on MNIST.")
    parser.add_argument("--data", default="mnist_all", help="the .mat file (default: %(default)s)")
    parser.add_argument("--epochs", type=at_least(0), default=10, help="default: %(default)s")
    parser.add_argument("--batch", type=at_least(1), default=256, help="images in a mini-batch (default: %(default)s)")
    parser.add_argument("--hidden", type=at_least(1), default=256, help="hidden units (default: %(default)s)")
    parser.add_argument("--lr", type=positive, default=0.1, help="learning rate (default: %(default)s)")
    parser.add_argument("--gpu", type=at_least(0), metavar="N", help="a GPU, once there are any; see OWL_GPU_FALLBACK")
    return parser.parse_args(argv)


if __name__ == "__main__":
    owl.initialize(sys.argv)
    options = parse_options(sys.argv[1:])
    with one_line_errors("mnist_mlp.py"):
        owl.set_device(owl.create_cpu_device() if options.gpu is None else owl.create_gpu_device(options.gpu))
        MnistTrainer(options).run()
