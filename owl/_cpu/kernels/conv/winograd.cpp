// Winograd convolution, forward and the adjoint in the data.
//
// Phase 0 transforms the filters: U[i][pair of output vectors][input channel][output channel] for each of the P * P
// numbers i of a tile. Phase 1: a chunk is a few images, or a strip of a large one. Its inputs are transformed tile by
// tile to V[i][tile][input channel], multiplied to M[i][tile][output channel] = V[i] U[i], and transformed back.
#include "winograd.h"

#include "conv_algorithms.h"
#include "conv_kernel.h"

namespace owl {
namespace OWL_ISA {
namespace {

constexpr int most_tiles(int vectors) { return kVectorRegisters == 32 ? 14 : vectors == 1 ? 12 : 6; }

struct Product {
    const float* v;  // [vector of channels][tile][lane]
    int64_t v_vector, channels;
    const float* u;  // [channel][two vectors of output channels]
    float* m;  // [vector of channels][tile][lane]
    int64_t m_vector;
};

template <int Vectors, int Tiles>
void multiply(const Product& a) {
    VecF sum[Vectors][Tiles] = {};
    const float* u = a.u;
    for (int64_t c = 0; c < a.channels; c += kLanes) {
        const float* v = a.v + c / kLanes * a.v_vector;
        const int64_t lanes = min64(kLanes, a.channels - c);
        for (int64_t lane = 0; lane < lanes; ++lane, ++v, u += 2 * kLanes) {
            VecF f[Vectors];
#pragma GCC unroll 2
            for (int k = 0; k < Vectors; ++k) f[k] = load(u + k * kLanes);
#pragma GCC unroll 14
            for (int t = 0; t < Tiles; ++t) {
                const VecF x = set1(v[t * kLanes]);
#pragma GCC unroll 2
                for (int k = 0; k < Vectors; ++k) sum[k][t] = fma(x, f[k], sum[k][t]);
            }
        }
    }
#pragma GCC unroll 2
    for (int k = 0; k < Vectors; ++k)
#pragma GCC unroll 14
        for (int t = 0; t < Tiles; ++t) store(a.m + k * a.m_vector + t * kLanes, sum[k][t]);
}

using MultiplyFunction = void (*)(const Product&);

template <int Vectors, int Tiles = most_tiles(Vectors)>
MultiplyFunction multiply_function(int64_t tiles) {
    if constexpr (Tiles == 0) return nullptr;
    else return tiles == Tiles ? multiply<Vectors, Tiles> : multiply_function<Vectors, Tiles - 1>(tiles);
}

template <int R, bool Adjoint>
struct Transformed {
    using W = Winograd<R>;
    static constexpr int P = W::P;

    const ConvArgs& a;
    const Plane p;
    int64_t images, strip_rows, strips;  // images of a chunk; rows of the result of a strip; strips of an image

    explicit Transformed(const ConvArgs& args) : a(args), p(args, Adjoint) {
        const int64_t budget = p.tile_budget(P), rows = result_rows();
        const int64_t tiles_x = max64(1, p.tiles_x), tiles_y = max64(1, p.tiles_y);  // backward, none may be wanted
        images = max64(1, min64(budget / (tiles_x * tiles_y), a.batch / (p.wide(P) ? 8 : 16)));
        int64_t tile_rows = max64(1, budget / tiles_x);
        tile_rows = ceil_div(tiles_y, ceil_div(tiles_y, tile_rows));
        strip_rows = tile_rows >= tiles_y || (Adjoint && pools(a)) ? max64(1, rows) : kTile * tile_rows;
        if (!Adjoint && pools(a) && strip_rows < rows) strip_rows = max64(1, strip_rows / a.pool.stride_h);
        strips = max64(1, ceil_div(rows, strip_rows));
    }

    int64_t result_rows() const { return Adjoint ? p.out_h : result_h(a); }
    int64_t chunks(int phase) const {
        if (phase == 0) return a.groups * p.in;
        return p.out_w && p.out_h ? ceil_div(a.batch, images) * strips : 0;
    }
    void run_phase(int phase, int64_t begin, int64_t end, void* memory) const {
        phase == 0 ? transform_filters(begin, end) : run(begin, end, memory);
    }
    int64_t workspace() const { return a.groups * u_group() * int64_t(sizeof(float)); }

    // Tiles are counted from the image's corner, so that strips do not change how an output is computed.
    TileRows tile_rows(int64_t first, int64_t last) const {
        int64_t begin = first, end = last;
        if (!Adjoint) rows_of_result(a, first, last, &begin, &end);
        return {begin / kTile, max64(ceil_div(end, kTile), begin / kTile)};
    }
    int64_t most_tile_rows() const {
        int64_t most = 0;
        for (int64_t s = 0; s < strips; ++s)
            most = max64(most, tile_rows(s * strip_rows, min64(result_rows(), (s + 1) * strip_rows)).count());
        return most;
    }

    struct Scratch {
        float *padded, *v, *m, *block;
        PoolScratch<float> pooled;
        uint64_t* blank_pixels;    // bits
        int32_t *blanks, *broken;  // outputs of each image's blank windows; tiles of a block of outputs to be computed anew
        int64_t* blank_count;      // of each image

        Scratch(const Transformed& d, Carver& carver)
            : pooled(d.a, Adjoint ? d.a.pool.out_h : min64(d.strip_rows, d.result_rows()), carver) {
            const int64_t rows = d.most_tile_rows(), tiles = d.images * rows * d.p.tiles_x;
            padded = carver.take<float>(PaddedBlock(d.p, R, rows).size());
            v = carver.take<float>(P * P * tiles * d.p.in_vectors * kLanes);
            m = carver.take<float>(P * P * tiles * d.p.out_vectors * kLanes);
            block = carver.take<float>(rows * kTile * d.p.tiles_x * kTile * kLanes);
            const BlankWindows<R> windows(d.p, {0, rows});
            blank_pixels = carver.take<uint64_t>(d.images * windows.rows * windows.words);
            blanks = carver.take<int32_t>(tiles * kTile * kTile);
            broken = carver.take<int32_t>(rows * d.p.tiles_x);
            blank_count = carver.take<int64_t>(d.images);
        }
    };

    // A point's transforms are cut into pairs of output vectors, so that a product reads them from end to end.
    static constexpr int64_t kPair = 2 * kLanes;
    int64_t u_pair() const { return p.in * kPair; }
    int64_t u_point() const { return ceil_div(p.out_vectors, 2) * u_pair(); }
    int64_t u_group() const { return P * P * u_point(); }

    // A chunk is an input channel of a group.
    void transform_filters(int64_t begin, int64_t end) const {
        constexpr int64_t kArea = R * R;
        const int64_t out_step = Adjoint ? kArea : p.in * kArea, in_step = Adjoint ? p.out * kArea : kArea;
        for (int64_t i = begin; i < end; ++i) {
            const int64_t group = i / p.in, c = i % p.in;
            const float* filter = static_cast<const float*>(a.filter) + group * p.in * p.out * kArea + c * in_step;
            float* u = static_cast<float*>(a.workspace) + group * u_group() + c * kPair;
            for (int64_t o = 0; o < p.out; o += kLanes) {
                float* place = u + o / kPair * u_pair() + o % kPair;
                VecF g[R][R];
                load_filters(filter + o * out_step, out_step, int(min64(kLanes, p.out - o)), g);
                VecF t[P][R];
                for (int x = 0; x < P; ++x)
                    for (int j = 0; j < R; ++j) {
                        t[x][j] = W::G[x][0] * g[0][j];
                        for (int k = 1; k < R; ++k) t[x][j] = fma(set1(W::G[x][k]), g[k][j], t[x][j]);
                    }
                for (int x = 0; x < P; ++x)
                    for (int y = 0; y < P; ++y) {
                        VecF sum = W::G[y][0] * t[x][0];
                        for (int k = 1; k < R; ++k) sum = fma(set1(W::G[y][k]), t[x][k], sum);
                        store(place + (x * P + y) * u_point(), sum);
                    }
            }
        }
    }

    // A convolution is the correlation with the flipped filter, and its adjoint with the filter.
    static OWL_INLINE void load_filters(const float* filter, int64_t step, int count, VecF (&g)[R][R]) {
        constexpr int kArea = R * R;
        for (int first = 0; first < kArea; first += kLanes) {
            const int numbers = int(min64(kArea - first, kLanes));
            Tile<float> tile;
            tile.load_rows(filter + first, step, count, numbers);
            tile.transpose();
            for (int i = 0; i < numbers; ++i) {
                const int k = Adjoint ? first + i : kArea - 1 - first - i;
                g[k / R][k % R] = tile.row[i];
            }
        }
    }

    void run(int64_t begin, int64_t end, void* memory) const {
        Carver carver{static_cast<char*>(memory)};
        const Scratch s(*this, carver);
        for (int64_t i = begin; i < end; ++i) {
            const int64_t image = i / strips * images, first = i % strips * strip_rows;
            const int64_t last = min64(result_rows(), first + strip_rows);
            const TileRows t = tile_rows(first, last);
            const int64_t count = min64(images, a.batch - image), tiles = count * t.count() * p.tiles_x;
            for (int64_t g = 0; g < a.groups; ++g) {
                transform_inputs(image, count, g, t, s);
                multiply_all(g, tiles, s);
                transform_outputs(image, count, g, t, first, last, s);
            }
        }
    }

    void transform_inputs(int64_t image, int64_t count, int64_t group, const TileRows& t, const Scratch& s) const {
        const PaddedBlock padded(p, R, t.count());
        const BlankWindows<R> windows(p, t);
        const int64_t tiles = t.count() * p.tiles_x, vector = count * tiles * kLanes;
        padded.clear(s.padded);
        for (int64_t b = 0; b < p.in_vectors; ++b)
            for (int64_t n = 0; n < count; ++n) {
                load_padded(image + n, group, b, t, s);
                transform_input<R>(s.padded, padded.pitch, t.count(), p.tiles_x, s.v + b * vector + n * tiles * kLanes,
                                   p.in_vectors * vector);
                // Most images have no window that is blank in the first channels: the others need not be looked at.
                if (b == 0) s.blank_count[n] = windows.sample(s.padded);
                if (!s.blank_count[n]) continue;
                uint64_t* blank = s.blank_pixels + n * windows.rows * windows.words;
                windows.look(s.padded, b == 0, blank);
                if (b == 0 || b == p.in_vectors - 1)
                    s.blank_count[n] = windows.list(blank, s.blanks + n * tiles * kTile * kTile);
            }
    }

    // A block of channels of what is convolved; the padding around it is zeros already.
    void load_padded(int64_t image, int64_t group, int64_t b, const TileRows& t, const Scratch& s) const {
        const PaddedBlock padded(p, R, t.count());
        const Channels<const float> data = {static_cast<const float*>(Adjoint ? a.y_diff : a.x), p.in * a.groups,
                                            p.in_w * p.in_h, Adjoint ? a.blocked_y_diff : a.blocked_x};
        const int64_t channel = group * p.in + b * kLanes, channels = min64(kLanes, p.in - b * kLanes);
        if (Adjoint && pools(a)) {
            float* corner = s.padded + (p.pad_h * padded.pitch + p.pad_w) * kLanes;
            load_gradient(a, image, channel, channels, corner, padded.pitch, s.pooled);
        } else {
            padded.load(p, t, data, image, channel, channels, s.padded);
        }
    }

    void multiply_all(int64_t group, int64_t tiles, const Scratch& s) const {
        for (int64_t i = 0; i < P * P; ++i) {
            Product args;
            args.v_vector = args.m_vector = tiles * kLanes;
            args.channels = p.in;
            const float* u = static_cast<const float*>(a.workspace) + group * u_group() + i * u_point();
            for (int64_t o = 0; o < p.out_vectors; o += 2) {
                args.u = u + o / 2 * u_pair();
                args.v = s.v + i * p.in_vectors * tiles * kLanes;
                args.m = s.m + (i * p.out_vectors + o) * tiles * kLanes;
                if (p.out_vectors - o >= 2) multiply_tiles<2>(args, tiles);
                else multiply_tiles<1>(args, tiles);
            }
        }
    }

    template <int Vectors>
    static void multiply_tiles(Product args, int64_t tiles) {
        const int64_t parts = ceil_div(tiles, most_tiles(Vectors)), shorter = tiles / parts, longer = tiles % parts;
        const MultiplyFunction function[2] = {multiply_function<Vectors>(shorter),
                                              multiply_function<Vectors>(shorter + 1)};
        for (int64_t i = 0; i < parts; ++i) {
            function[i < longer](args);
            args.v += (shorter + (i < longer)) * kLanes;
            args.m += (shorter + (i < longer)) * kLanes;
        }
    }

    void transform_outputs(int64_t image, int64_t count, int64_t group, const TileRows& t, int64_t first, int64_t last,
                           const Scratch& s) const {
        const int64_t tiles = t.count() * p.tiles_x, vector = count * tiles * kLanes, pitch = p.tiles_x * kTile;
        for (int64_t n = 0; n < count; ++n)
            for (int64_t b = 0; b < p.out_vectors; ++b) {
                const float* m = s.m + b * vector + n * tiles * kLanes;
                int64_t broken = 0;
                for (int64_t ty = 0; ty < t.count(); ++ty)
                    for (int64_t tx = 0; tx < p.tiles_x; ++tx, m += kLanes) {
                        const int64_t corner = (ty * pitch + tx) * kTile;
                        if (!transform_output(m, p.out_vectors * vector, s.block + corner * kLanes, pitch))
                            s.broken[broken++] = int32_t(corner);
                    }
                const int32_t* blanks = s.blanks + n * tiles * kTile * kTile;
                for (int64_t i = 0; i < s.blank_count[n]; ++i) store(s.block + blanks[i] * kLanes, VecF{});
                if (broken) compute_tiles(image + n, group, b, t, broken, s);
                const int64_t channel = group * p.out + b * kLanes, channels = min64(kLanes, p.out - b * kLanes);
                const int64_t first_row = t.begin * kTile;
                if (!Adjoint) {
                    store_result(a, image + n, channel, channels, s.block, first_row, pitch, first, last, s.pooled);
                    continue;
                }
                const Channels<float> x_diff = {static_cast<float*>(a.x_diff), a.c_in, p.out_w * p.out_h,
                                                a.blocked_x_diff};
                store_channels(s.block + (first - first_row) * pitch * kLanes, pitch, first, last - first, p.out_w,
                               x_diff, image + n, channel, channels, Identity());
            }
    }

    // By definition: transforms overflow before their result does, and spread what is not finite over the whole tile.
    void compute_tiles(int64_t image, int64_t group, int64_t b, const TileRows& t, int64_t tiles,
                       const Scratch& s) const {
        constexpr int64_t kArea = R * R;
        const PaddedBlock padded(p, R, t.count());
        const int64_t out_step = Adjoint ? kArea : p.in * kArea, in_step = Adjoint ? p.out * kArea : kArea;
        const int64_t pitch = p.tiles_x * kTile, o = b * kLanes;
        const float* filters = static_cast<const float*>(a.filter) + group * p.in * p.out * kArea + o * out_step;
        for (int64_t i = 0; i < tiles; ++i)
            for (int64_t k = 0; k < kTile * kTile; ++k)
                store(s.block + (s.broken[i] + k / kTile * pitch + k % kTile) * kLanes, VecF{});
        padded.clear(s.padded);
        for (int64_t c = 0; c < p.in; ++c) {
            if (c % kLanes == 0) load_padded(image, group, c / kLanes, t, s);
            VecF g[R][R];
            load_filters(filters + c * in_step, out_step, int(min64(kLanes, p.out - o)), g);
            for (int64_t i = 0; i < tiles; ++i)
                for (int64_t k = 0; k < kTile * kTile; ++k) {
                    const int64_t y = s.broken[i] / pitch + k / kTile, x = s.broken[i] % pitch + k % kTile;
                    const float* window = s.padded + (y * padded.pitch + x) * kLanes + c % kLanes;
                    float* place = s.block + (y * pitch + x) * kLanes;
                    VecF sum = load(place);
                    for (int j = 0; j < R * R; ++j)
                        sum = fma(set1(window[(j / R * padded.pitch + j % R) * kLanes]), g[j / R][j % R], sum);
                    store(place, sum);
                }
        }
    }

    // Whether all numbers of the tile are finite.
    static OWL_INLINE bool transform_output(const float* m, int64_t point, float* block, int64_t pitch) {
        VecF t[kTile][P], zero{};
#pragma GCC unroll 1
        for (int j = 0; j < P; ++j) {
            VecF column[P], y[kTile];
#pragma GCC unroll 8
            for (int i = 0; i < P; ++i) column[i] = load(m + (i * P + j) * point);
            W::output(column, y);
#pragma GCC unroll 4
            for (int i = 0; i < kTile; ++i) t[i][j] = y[i];
        }
#pragma GCC unroll 1
        for (int i = 0; i < kTile; ++i) {
            VecF y[kTile];
            W::output(t[i], y);
#pragma GCC unroll 4
            for (int j = 0; j < kTile; ++j) {
                store(block + (i * pitch + j) * kLanes, y[j]);
                zero = fma(y[j], VecF{}, zero);
            }
        }
        return !any(ne(zero, zero));
    }
};

template <bool Adjoint>
struct BySize {
    template <class F>
    static auto with(const ConvArgs& a, F f) {
        return a.kw == 3 ? f(Transformed<3, Adjoint>(a)) : f(Transformed<5, Adjoint>(a));
    }
};

}  // namespace

const Kernel winograd_forward = ConvKernel<BySize<false>>::named("conv_forward");
const Kernel winograd_backward_data = ConvKernel<BySize<true>>::named("conv_backward_data");

}  // namespace OWL_ISA
}  // namespace owl
