"""The convolution net of ``mnist_cnn.py`` on two devices, each with half of every mini-batch."""

import sys

import owl
from owl.apps.mnist import mnist_cnn, mnist_io
from owl.apps.mnist.options import one_line_errors


def train(options, devices):
    """Train, printing the training accuracy of every 40th batch and the test accuracy of every epoch."""
    owl.set_device(devices[0])
    model = mnist_cnn.CnnModel()
    train_set, test_set = mnist_io.load_mb_from_mat(options.data, options.batch)
    for epoch in range(options.epochs):
        for count, (data, label_np) in enumerate(train_set, 1):
            half = (len(data) + 1) // 2
            results, labels = [], []
            for device, part in zip(devices, (slice(half), slice(half, None))):
                if not len(data[part]):
                    continue
                owl.set_device(device)
                labels.append(owl.from_numpy(label_np[part]))
                results.append(mnist_cnn.bpprop(model, mnist_cnn.images(data[part]), labels[-1]))
            # the first device adds up the gradients of both and updates the one model
            owl.set_device(devices[0])
            weightgrad = [sum(parts[1:], parts[0]) for parts in zip(*(grads for _, grads, _ in results))]
            biasgrad = [sum(parts[1:], parts[0]) for parts in zip(*(grads for _, _, grads in results))]
            model.update(weightgrad, biasgrad, len(data), options.lr, options.mom, options.wd)
            if count % 40 == 0:
                shares = [mnist_cnn.accuracy(out, label) for (out, _, _), label in zip(results, labels)]
                print(f"epoch {epoch} batch {count}: training accuracy {sum(shares) / len(shares):.4f}")
        print(f"epoch {epoch}: test accuracy {mnist_cnn.test_accuracy(model, test_set):.4f}")
    owl.wait_for_all()


if __name__ == "__main__":
    owl.initialize(sys.argv)
    command = mnist_cnn.parser("Train a convolution net on MNIST, on two devices.")
    command.add_argument("--cpu", action="store_true", help="two CPU devices instead of GPUs")
    options = command.parse_args()
    with one_line_errors("mnist_cnn_2gpu.py"):
        gpus = max(1, owl.get_gpu_device_count())  # two devices on one GPU have two streams
        train(options, [owl.create_cpu_device() if options.cpu else owl.create_gpu_device(i % gpus) for i in range(2)])
