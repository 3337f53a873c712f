// What the algorithms for the gradient of the filters have in common: images are divided into groups by shape alone,
// each group adds up a partial gradient of its own in the workspace, and a second phase adds those in order.
#pragma once
#include "conv_result.h"

namespace owl {
namespace OWL_ISA {

struct ImageGroups {
    int64_t count, batch;

    explicit ImageGroups(const ConvArgs& a) : batch(a.batch) {
        constexpr int64_t kMost = 16, kWorkspaceNumbers = 2 << 20, kWinogradPoints = 64;
        const int64_t numbers = a.c_in / a.groups * a.c_out * (winograd_applies(a) ? kWinogradPoints : a.kw * a.kh);
        count = max64(1, min64(min64(batch, kMost), kWorkspaceNumbers / max64(numbers, 1)));
    }
    int64_t begin(int64_t group) const { return group * batch / count; }
    int64_t end(int64_t group) const { return (group + 1) * batch / count; }
};

// The gradient of the bias is summed image by image, each by row in four interleaved sums, and the images' sums are
// added in order: so it depends neither on strips of rows, nor on groups of images, nor on the filter's shape.
template <class T>
void add_bias_gradient(const T* block, int64_t rows, int64_t columns, int64_t pitch, T* total) {
    constexpr int N = kWidth<T>;
    Vec<T> all = load(total);
    for (int64_t i = 0; i < rows; ++i) {
        Vec<T> sum[4] = {};
        int64_t j = 0;
        for (; j + 4 <= columns; j += 4)
#pragma GCC unroll 4
            for (int u = 0; u < 4; ++u) sum[u] = sum[u] + load(block + (i * pitch + j + u) * N);
        for (; j < columns; ++j) sum[0] = sum[0] + load(block + (i * pitch + j) * N);
        all = all + ((sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
    store(total, all);
}

// Where the image groups' partial gradients of the filters of one vector of output channels lie.
template <class T>
struct PartialGradients {
    const T* first;
    int64_t number, group;  // numbers between a filter's numbers, and between groups
    int64_t groups;
    int64_t channel, channels;  // the first output channel of the vector, and how many there are
    int64_t in, area;           // a filter's shape

    // The gradient for input channel c of a group.
    void add(int64_t c, T* filter_diff) const {
        for (int64_t t = 0; t < area; ++t) {
            const T* p = first + (c * area + t) * number;
            Vec<T> sum = load(p);
            for (int64_t g = 1; g < groups; ++g) sum = sum + load(p + g * group);
            T* target = filter_diff + (channel * in + c) * area + (area - 1 - t);
            for (int64_t o = 0; o < channels; ++o) target[o * in * area] = sum[o];
        }
    }
};

template <class T>
void add_images(const T* sums, int64_t images, int64_t step, T* bias_diff, int64_t channels) {
    Vec<T> sum{};
    for (int64_t i = 0; i < images; ++i) sum = sum + load(sums + i * step);
    for (int64_t o = 0; o < channels; ++o) bias_diff[o] = sum[o];
}

}  // namespace OWL_ISA
}  // namespace owl
