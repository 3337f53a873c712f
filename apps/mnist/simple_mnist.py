"""A perceptron on MNIST in the classic style."""

import sys

import owl
import owl.conv as co
import owl.elewise as ele
from owl.apps.mnist import mnist_io
from owl.apps.mnist.options import Parser

owl.initialize(sys.argv)
Parser(description="Train a perceptron on MNIST; there are no options.").parse_args(sys.argv[1:])
owl.set_device(owl.create_cpu_device())

# training parameters and weights
MAX_EPOCH = 10
lr = 0.01 / 256
w1 = owl.randn([256, 784], 0.0, 0.01)
w2 = owl.randn([10, 256], 0.0, 0.01)
b1 = owl.zeros([256, 1])
b2 = owl.zeros([10, 1])
train_set, test_set = mnist_io.load_mb_from_mat("mnist_all", 256)
test_data, test_label = owl.from_numpy(test_set[0]), owl.from_numpy(test_set[1])

for epoch in range(MAX_EPOCH):
    for count, (data_np, label_np) in enumerate(train_set, 1):
        data, label = owl.from_numpy(data_np), owl.from_numpy(label_np)
        # forward
        a1 = ele.relu(w1 * data + b1)
        a2 = co.softmax(w2 * a1 + b2)
        # backward
        s2 = a2 - label
        s1 = ele.relu_back(w2.trans() * s2, a1)
        # update
        w1 -= lr * (s1 * data.trans())
        w2 -= lr * (s2 * a1.trans())
        b1 -= lr * s1.sum(1)
        b2 -= lr * s2.sum(1)
        if count % 20 == 0:
            correct = (a2.argmax(0) - label.argmax(0)).count_zero()
            print(f"epoch {epoch} batch {count}: training accuracy {correct / len(data_np):.4f}")
    a2 = co.softmax(w2 * ele.relu(w1 * test_data + b1) + b2)
    correct = (a2.argmax(0) - test_label.argmax(0)).count_zero()
    print(f"epoch {epoch}: test accuracy {correct / len(test_set[0]):.4f}")

owl.wait_for_all()
