// The gradient of the filters by Winograd's algorithm: the exact adjoint of the forward one in the filters.
//
// Phase 0: a chunk is a group of images. Some tiles at a time, inputs are transformed to V[i][tile][input channel] and
// gradients to M[i][tile][output channel], and V[i]' M[i] is added to the group's transformed gradient. Phase 1 adds
// the groups and transforms back; a chunk is one input channel.
#include "conv_algorithms.h"
#include "conv_gradient.h"
#include "conv_kernel.h"
#include "winograd.h"

namespace owl {
namespace OWL_ISA {
namespace {

// Input channels whose sums stay in registers, a divisor of the number of lanes.
constexpr int64_t kChannels = kLanes >= 8 ? kLanes / 2 : kLanes;

// sums[channel][vector] += V[tile][channel] M[tile][vector]
template <int Vectors>
void accumulate(const float* v, const float* m, int64_t m_vector, int64_t tiles, float* sums, int64_t sums_row) {
    VecF sum[kChannels][Vectors];
#pragma GCC unroll 8
    for (int c = 0; c < kChannels; ++c)
#pragma GCC unroll 2
        for (int k = 0; k < Vectors; ++k) sum[c][k] = load(sums + c * sums_row + k * kLanes);
    for (int64_t t = 0; t < tiles; ++t, v += kLanes, m += kLanes) {
        VecF g[Vectors];
#pragma GCC unroll 2
        for (int k = 0; k < Vectors; ++k) g[k] = load(m + k * m_vector);
#pragma GCC unroll 8
        for (int c = 0; c < kChannels; ++c) {
            const VecF x = set1(v[c]);
#pragma GCC unroll 2
            for (int k = 0; k < Vectors; ++k) sum[c][k] = fma(x, g[k], sum[c][k]);
        }
    }
#pragma GCC unroll 8
    for (int c = 0; c < kChannels; ++c)
#pragma GCC unroll 2
        for (int k = 0; k < Vectors; ++k) store(sums + c * sums_row + k * kLanes, sum[c][k]);
}

template <int R>
struct Gradient {
    using W = Winograd<R>;
    static constexpr int P = W::P;

    const ConvArgs& a;
    const Plane p;
    const ImageGroups groups;
    int64_t images, strip_rows;  // images and rows of tiles that are transformed together

    explicit Gradient(const ConvArgs& args) : a(args), p(args, false), groups(args) {
        const int64_t budget = p.tile_budget(P);
        images = max64(1, budget / (p.tiles_x * p.tiles_y));
        strip_rows = pools(a) ? p.tiles_y : min64(p.tiles_y, max64(1, budget / p.tiles_x));
    }

    // A group's sums: [i][input channel, padded][output channel, padded].
    int64_t sums_row() const { return p.out_vectors * kLanes; }
    int64_t sums_point() const { return p.in_vectors * kLanes * sums_row(); }
    int64_t sums_size() const { return P * P * sums_point(); }
    int64_t all_sums() const { return groups.count * a.groups * sums_size(); }
    int64_t bias_size() const { return a.batch * a.groups * sums_row(); }
    float* bias_sums(int64_t image, int64_t group) const {
        return static_cast<float*>(a.workspace) + all_sums() + (image * a.groups + group) * sums_row();
    }
    float* sums(int64_t image_group, int64_t group) const {
        return static_cast<float*>(a.workspace) + (image_group * a.groups + group) * sums_size();
    }

    int64_t chunks(int phase) const { return a.groups * (phase == 0 ? groups.count : p.in); }
    void run_phase(int phase, int64_t begin, int64_t end, void* memory) const {
        phase == 0 ? run(begin, end, memory) : add_groups(begin, end, memory);
    }
    int64_t workspace() const { return (all_sums() + bias_size()) * int64_t(sizeof(float)); }

    struct Scratch {
        float *padded, *v, *m, *block;
        PoolScratch<float> pooled;

        Scratch(const Gradient& d, Carver& carver) : pooled(d.a, d.a.pool.out_h, carver) {
            const int64_t tiles = d.images * d.strip_rows * d.p.tiles_x;
            padded = carver.take<float>(PaddedBlock(d.p, R, d.strip_rows).size());
            v = carver.take<float>(P * P * tiles * d.p.in_vectors * kLanes);
            m = carver.take<float>(P * P * tiles * d.p.out_vectors * kLanes);
            block = carver.take<float>(d.strip_rows * kTile * d.p.tiles_x * kTile * kLanes);
        }
    };

    // A chunk is a group of images times a group of channels.
    void run(int64_t begin, int64_t end, void* memory) const {
        Carver carver{static_cast<char*>(memory)};
        const Scratch s(*this, carver);
        for (int64_t i = begin; i < end; ++i) {
            const int64_t group = i % a.groups, image_group = i / a.groups, last = groups.end(image_group);
            float* total = sums(image_group, group);
            memset(total, 0, size_t(sums_size()) * sizeof(float));
            for (int64_t image = groups.begin(image_group); image < last; image += images)
                for (int64_t row = 0; row < p.tiles_y; row += strip_rows) {
                    const TileRows t = {row, min64(p.tiles_y, row + strip_rows)};
                    add_tiles(image, min64(images, last - image), group, t, total, s);
                }
        }
    }

    void add_tiles(int64_t image, int64_t count, int64_t group, const TileRows& t, float* total,
                   const Scratch& s) const {
        const int64_t tiles = count * t.count() * p.tiles_x;
        transform_gradients(image, count, group, t, s);
        if (!a.filter_diff) return;
        transform_inputs(image, count, group, t, s);
        for (int64_t i = 0; i < P * P; ++i)
            for (int64_t c = 0; c < p.in; c += kChannels) {
                const float* v = s.v + (i * p.in_vectors + c / kLanes) * tiles * kLanes + c % kLanes;
                for (int64_t o = 0; o < p.out_vectors; o += 2) {
                    const float* m = s.m + (i * p.out_vectors + o) * tiles * kLanes;
                    float* target = total + i * sums_point() + c * sums_row() + o * kLanes;
                    if (p.out_vectors - o >= 2) accumulate<2>(v, m, tiles * kLanes, tiles, target, sums_row());
                    else accumulate<1>(v, m, tiles * kLanes, tiles, target, sums_row());
                }
            }
    }

    void transform_inputs(int64_t image, int64_t count, int64_t group, const TileRows& t, const Scratch& s) const {
        const PaddedBlock padded(p, R, t.count());
        const int64_t tiles = t.count() * p.tiles_x, vector = count * tiles * kLanes;
        const Channels<const float> x = {static_cast<const float*>(a.x), a.c_in, p.in_w * p.in_h, a.blocked_x};
        padded.clear(s.padded);
        for (int64_t b = 0; b < p.in_vectors; ++b)
            for (int64_t n = 0; n < count; ++n) {
                const int64_t channel = group * p.in + b * kLanes;
                padded.load(p, t, x, image + n, channel, min64(kLanes, p.in - b * kLanes), s.padded);
                transform_input<R>(s.padded, padded.pitch, t.count(), p.tiles_x, s.v + b * vector + n * tiles * kLanes,
                                   p.in_vectors * vector);
            }
    }

    void transform_gradients(int64_t image, int64_t count, int64_t group, const TileRows& t, const Scratch& s) const {
        const int64_t tiles = t.count() * p.tiles_x, vector = count * tiles * kLanes, pitch = p.tiles_x * kTile;
        const int64_t first = t.begin * kTile, rows = min64(p.out_h, t.end * kTile) - first;
        // What a tile has beyond the image stays 0.
        memset(s.block, 0, size_t(t.count() * kTile * pitch * kLanes) * sizeof(float));
        for (int64_t n = 0; n < count; ++n)
            for (int64_t b = 0; b < p.out_vectors; ++b) {
                const int64_t channel = group * p.out + b * kLanes, channels = min64(kLanes, p.out - b * kLanes);
                load_gradients(image + n, channel, channels, first, rows, pitch, s);
                if (a.bias_diff) {
                    float* bias = bias_sums(image + n, group) + b * kLanes;
                    if (first == 0) store(bias, VecF{});
                    add_bias_gradient(s.block, rows, p.out_w, pitch, bias);
                }
                if (!a.filter_diff) continue;
                float* m = s.m + b * vector + n * tiles * kLanes;
                for (int64_t ty = 0; ty < t.count(); ++ty)
                    for (int64_t tx = 0; tx < p.tiles_x; ++tx, m += kLanes)
                        spread_tile(s.block + (ty * pitch + tx) * kTile * kLanes, pitch, m, p.out_vectors * vector);
            }
    }

    void load_gradients(int64_t image, int64_t channel, int64_t channels, int64_t first, int64_t rows, int64_t pitch,
                        const Scratch& s) const {
        const Channels<const float> gradient = {static_cast<const float*>(a.y_diff), a.c_out, p.out_w * p.out_h,
                                                a.blocked_y_diff};
        if (pools(a)) load_gradient(a, image, channel, channels, s.block, pitch, s.pooled);
        else load_channels(gradient, image, channel, channels, first, rows, p.out_w, s.block, pitch);
    }

    static OWL_INLINE void spread_tile(const float* block, int64_t pitch, float* m, int64_t point) {
        VecF t[P][kTile];
#pragma GCC unroll 1
        for (int j = 0; j < kTile; ++j) {
            VecF y[kTile], column[P];
#pragma GCC unroll 4
            for (int i = 0; i < kTile; ++i) y[i] = load(block + (i * pitch + j) * kLanes);
            W::spread(y, column);
#pragma GCC unroll 8
            for (int i = 0; i < P; ++i) t[i][j] = column[i];
        }
#pragma GCC unroll 1
        for (int i = 0; i < P; ++i) {
            VecF row[P];
            W::spread(t[i], row);
#pragma GCC unroll 8
            for (int j = 0; j < P; ++j) store(m + (i * P + j) * point, row[j]);
        }
    }

    VecF total(const float* first) const {
        VecF sum = load(first);
        for (int64_t g = 1; g < groups.count; ++g) sum = sum + load(first + g * a.groups * sums_size());
        return sum;
    }

    void add_groups(int64_t begin, int64_t end, void* memory) const {
        constexpr int64_t kArea = R * R;
        Carver carver{static_cast<char*>(memory)};
        const Scratch s(*this, carver);
        for (int64_t i = begin; i < end; ++i) {
            const int64_t c = i % p.in, group = i / p.in;
            for (int64_t b = 0; b < p.out_vectors; ++b) {
                const int64_t first = group * p.out + b * kLanes, channels = min64(kLanes, p.out - b * kLanes);
                const float* from = sums(0, group) + c * sums_row() + b * kLanes;
                if (a.filter_diff) {
                    float* target = static_cast<float*>(a.filter_diff) + (first * p.in + c) * kArea;
                    if (!transform_back(from, channels, target)) compute_filters(group, c, b, target, s);
                }
                if (a.bias_diff && c == 0)
                    add_images(bias_sums(0, group) + b * kLanes, a.batch, a.groups * sums_row(),
                               static_cast<float*>(a.bias_diff) + first, channels);
            }
        }
    }

    // By definition, the filters between an input channel and a block of output channels: transforms overflow before
    // their result does.
    void compute_filters(int64_t group, int64_t c, int64_t b, float* target, const Scratch& s) const {
        const PaddedBlock padded(p, R, strip_rows);
        const Channels<const float> x = {static_cast<const float*>(a.x), a.c_in, p.in_w * p.in_h, a.blocked_x};
        const int64_t from = c / kLanes * kLanes, pitch = p.tiles_x * kTile;
        const int64_t channel = group * p.out + b * kLanes, channels = min64(kLanes, p.out - b * kLanes);
        VecF sum[R * R] = {};
        for (int64_t image = 0; image < a.batch; ++image)
            for (int64_t row = 0; row < p.tiles_y; row += strip_rows) {
                const TileRows t = {row, min64(p.tiles_y, row + strip_rows)};
                const int64_t first = t.begin * kTile, rows = min64(p.out_h, t.end * kTile) - first;
                padded.clear(s.padded);
                padded.load(p, t, x, image, group * p.in + from, min64(kLanes, p.in - from), s.padded);
                load_gradients(image, channel, channels, first, rows, pitch, s);
                for (int64_t i = 0; i < rows * p.out_w; ++i) {
                    const VecF g = load(s.block + (i / p.out_w * pitch + i % p.out_w) * kLanes);
                    const float* window = s.padded + (i / p.out_w * padded.pitch + i % p.out_w) * kLanes + c % kLanes;
                    for (int k = 0; k < R * R; ++k)
                        sum[k] = fma(set1(window[(k / R * padded.pitch + k % R) * kLanes]), g, sum[k]);
                }
            }
        for (int k = 0; k < R * R; ++k)
            for (int64_t o = 0; o < channels; ++o) target[o * p.in * R * R + R * R - 1 - k] = sum[k][o];
    }

    // Whether all numbers of the filters are finite.
    bool transform_back(const float* from, int64_t channels, float* target) const {
        VecF t[R][P], zero{};
        for (int j = 0; j < P; ++j) {
            VecF u[P];
            for (int i = 0; i < P; ++i) u[i] = total(from + (i * P + j) * sums_point());
            for (int k = 0; k < R; ++k) {
                t[k][j] = W::G[0][k] * u[0];
                for (int i = 1; i < P; ++i) t[k][j] = fma(set1(W::G[i][k]), u[i], t[k][j]);
            }
        }
        for (int y = 0; y < R; ++y)
            for (int x = 0; x < R; ++x) {
                VecF sum = W::G[0][x] * t[y][0];
                for (int j = 1; j < P; ++j) sum = fma(set1(W::G[j][x]), t[y][j], sum);
                float* flipped = target + (R * R - 1 - (y * R + x));
                for (int64_t o = 0; o < channels; ++o) flipped[o * p.in * R * R] = sum[o];
                zero = fma(sum, VecF{}, zero);
            }
        return !any(ne(zero, zero));
    }
};

struct BySize {
    template <class F>
    static auto with(const ConvArgs& a, F f) { return a.kw == 3 ? f(Gradient<3>(a)) : f(Gradient<5>(a)); }
};

}  // namespace

const Kernel winograd_backward_filter = ConvKernel<BySize>::named("conv_backward_filter");

}  // namespace OWL_ISA
}  // namespace owl
