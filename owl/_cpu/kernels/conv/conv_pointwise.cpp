// Convolution by filters of one number, and its adjoint in the data: a matrix product, bit for bit what the direct
// algorithm computes.
//
// Vectors hold neighbouring pixels, as the arrays do, so no result is transposed. Phase 0 packs the filters. In phase 1 a
// chunk is a panel of pixels of the whole batch times a range of the result's channels; the panel is packed once for the
// chunks that a thread takes next.
#include "conv_algorithms.h"
#include "conv_kernel.h"
#include "conv_result.h"
#include "_cpu/kernels/gemm/gemm_micro.h"

namespace owl {
namespace OWL_ISA {
namespace {

constexpr int64_t kChunks = 32;  // as many as that are wanted at least

template <class T>
struct Pointwise {
    static constexpr int W = kWidth<T>, kPanel = kTileVectors * W;

    const ConvArgs& a;
    const bool adjoint;
    const int64_t in, out;  // channels of a group
    const int64_t plane, pixels;
    const int64_t tiles;  // of the result's channels
    int64_t panels, ranges, range;  // how many there are, and how many channels a range has

    Pointwise(const ConvArgs& args, bool adjoint_)
        : a(args), adjoint(adjoint_), in((adjoint ? a.c_out : a.c_in) / a.groups),
          out((adjoint ? a.c_in : a.c_out) / a.groups), plane(a.w * a.h), pixels(plane * a.batch),
          tiles(max64(1, ceil_div(out, kTileColumns))) {
        panels = ceil_div(pixels, kPanel);
        const int64_t wanted = min64(tiles, max64(1, ceil_div(kChunks, max64(1, panels * a.groups))));
        range = ceil_div(tiles, wanted) * kTileColumns;
        ranges = ceil_div(max64(out, 1), range);
    }

    struct Scratch {
        T *panel, *block;

        Scratch(const Pointwise& d, Carver& carver)
            : panel(carver.take<T>(d.in * kPanel)), block(carver.take<T>(kTileColumns * kPanel)) {}
    };

    // Source channels first, then the channels of a tile.
    int64_t packed_tile() const { return in * kTileColumns; }
    int64_t packed_size() const { return a.groups * tiles * packed_tile(); }
    T* packed(int64_t group, int64_t channel) const {
        return static_cast<T*>(a.workspace) + (group * tiles + channel / kTileColumns) * packed_tile();
    }

    int64_t chunks(int phase) const { return a.groups * (phase == 0 ? tiles : panels * ranges); }
    void run_phase(int phase, int64_t begin, int64_t end, void* memory) const {
        phase == 0 ? pack_filters(begin, end) : run(begin, end, memory);
    }
    int64_t workspace() const { return packed_size() * int64_t(sizeof(T)); }

    void pack_filters(int64_t begin, int64_t end) const {
        const int64_t row = adjoint ? out : 1, column = adjoint ? 1 : in;
        for (int64_t i = begin; i < end; ++i) {
            const int64_t group = i / tiles, channel = i % tiles * kTileColumns;
            const T* filter = static_cast<const T*>(a.filter) + group * in * out + channel * column;
            pack_columns(packed(group, channel), filter, row, column, min64(out - channel, kTileColumns), kTileColumns,
                         in);
        }
    }

    void run(int64_t begin, int64_t end, void* memory) const {
        Carver carver{static_cast<char*>(memory)};
        const Scratch s(*this, carver);
        int64_t packed = -1;
        for (int64_t i = begin; i < end; ++i) {
            const int64_t part = i / ranges, group = part / panels, first = part % panels * kPanel;
            if (packed != part) pack(group, first, s.panel);
            packed = part;
            const int64_t channel = i % ranges * range, last = min64(channel + range, out);
            for (int64_t c = channel; c < last; c += kTileColumns)
                multiply(group, first, c, int(min64(last - c, kTileColumns)), s);
        }
    }

    // Calls visit(image, pixel, position in the panel, count) for what a panel has of each image.
    template <class Visit>
    void each_image(int64_t first, Visit visit) const {
        const int64_t last = min64(first + kPanel, pixels);
        for (int64_t p = first; p < last;) {
            const int64_t image = p / plane, pixel = p % plane, count = min64(plane - pixel, last - p);
            visit(image, pixel, p - first, count);
            p += count;
        }
    }

    void pack(int64_t group, int64_t first, T* panel) const {
        const T* data = static_cast<const T*>(adjoint ? a.y_diff : a.x);
        const int64_t channels = in * a.groups;
        if (plane == 1) {
            const int64_t rows = min64(kPanel, pixels - first);
            pack_rows(panel, data + first * channels + group * in, channels, 1, rows, kPanel, in);
            return;
        }
        if (first + kPanel > pixels) memset(panel, 0, size_t(in * kPanel) * sizeof(T));
        each_image(first, [&](int64_t image, int64_t pixel, int64_t at, int64_t count) {
            const T* source = data + (image * channels + group * in) * plane + pixel;
            if (count == kPanel) {
                pack_rows(panel, source, 1, plane, kPanel, kPanel, in);
                return;
            }
            for (int64_t c = 0; c < in; ++c)
                for (int64_t i = 0; i < count; i += W)
                    copy(panel + c * kPanel + at + i, source + c * plane + i, min64(W, count - i), Identity());
        });
    }

    void multiply(int64_t group, int64_t first, int64_t channel, int columns, const Scratch& s) const {
        const GemmTile<T> tile = gemm_tile_of<T, kTileVectors, false>(columns);
        tile(s.panel, kPanel, packed(group, channel), kTileColumns, 1, in, kEmptyTile<T>, s.block, kPanel, W);
        each_image(first, [&](int64_t image, int64_t pixel, int64_t at, int64_t count) {
            const int64_t to = ((image * a.groups + group) * out + channel) * plane + pixel;
            T* result = static_cast<T*>(adjoint ? a.x_diff : a.y) + to;
            const T* bias = adjoint || !a.bias ? nullptr : static_cast<const T*>(a.bias) + group * out + channel;
            for (int j = 0; j < columns; ++j) {
                const T* sums = s.block + j * kPanel + at;
                const Vec<T> b = set1(bias ? bias[j] : T(-0.0));
                if (adjoint) store_pixels(result + j * plane, sums, count, Identity());
                else if (a.relu) store_pixels(result + j * plane, sums, count, Activation<T, true>{b});
                else store_pixels(result + j * plane, sums, count, Activation<T, false>{b});
            }
        });
    }

    template <class Map>
    static void store_pixels(T* result, const T* sums, int64_t count, Map map) {
        for (int64_t i = 0; i < count; i += W) copy(result + i, sums + i, min64(W, count - i), map);
    }
    template <class Map>
    static void copy(T* to, const T* from, int64_t count, Map map) {
        if (count == W) store(to, map(load(from)));
        else store_partial(to, map(load_partial(from, int(count))), int(count));
    }
};

}  // namespace

bool pointwise_applies(const ConvArgs& a, bool adjoint) {
    const bool blocked = adjoint ? a.blocked_y_diff || a.blocked_x_diff : a.blocked_x || a.blocked_y;
    return a.kw == 1 && a.kh == 1 && a.stride_w == 1 && a.stride_h == 1 && a.pad_w == 0 && a.pad_h == 0 && !pools(a) &&
           !blocked && a.c_in / a.groups > 1 && a.c_out / a.groups > 1;
}

const Kernel pointwise_forward = ConvKernel<ByDtype<Pointwise, false>>::named("conv_forward");
const Kernel pointwise_backward_data = ConvKernel<ByDtype<Pointwise, true>>::named("conv_backward_data");

}  // namespace OWL_ISA
}  // namespace owl
