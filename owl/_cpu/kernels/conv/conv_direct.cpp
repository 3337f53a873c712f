// Convolution by its definition, and its adjoint in the data: every kernel size, stride, padding, dilation and
// grouping.
//
// Filters are packed so that a vector holds one tap of neighbouring output channels; inputs stay plain, are padded in
// scratch and broadcast. A tile of outputs, some pixels of a row times one or two vectors of channels, stays in
// registers over all input channels and taps. Each output adds its products by channel, then by tap.
//
// Phase 0 packs the filters, phase 1 computes; a chunk of it is a strip of rows of one image.
#include "conv_algorithms.h"

#include "conv_kernel.h"
#include "conv_result.h"

namespace owl {
namespace OWL_ISA {
namespace {

template <class T>
constexpr int tile_pixels(int vectors) {
    return kVectorRegisters == 32 ? (vectors == 1 ? 28 : 14) : (vectors == 1 ? 12 : 6);
}

template <class T>
struct TileArgs {
    const T* input;
    int64_t input_channel;  // numbers between channels
    const int64_t* offset;  // of each tap
    int64_t taps, channels;
    const T* filter;        // [channel][tap][lane]
    T* output;
    int64_t output_pixel, output_vector;  // numbers between pixels and between vectors of channels
};

template <class T, int Vectors, int Pixels>
void tile(const TileArgs<T>& a) {
    Vec<T> sum[Vectors][Pixels] = {};
    const T *input = a.input, *filter = a.filter;
    for (int64_t c = 0; c < a.channels; ++c, input += a.input_channel)
        for (int64_t t = 0; t < a.taps; ++t, filter += Vectors * kWidth<T>) {
            const T* pixel = input + a.offset[t];
            Vec<T> f[Vectors];
#pragma GCC unroll 2
            for (int v = 0; v < Vectors; ++v) f[v] = load(filter + v * kWidth<T>);
#pragma GCC unroll 28
            for (int p = 0; p < Pixels; ++p) {
                const Vec<T> x = set1(pixel[p]);
#pragma GCC unroll 2
                for (int v = 0; v < Vectors; ++v) sum[v][p] = fma(x, f[v], sum[v][p]);
            }
        }
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v)
#pragma GCC unroll 28
        for (int p = 0; p < Pixels; ++p) store(a.output + p * a.output_pixel + v * a.output_vector, sum[v][p]);
}

template <class T>
using TileFunction = void (*)(const TileArgs<T>&);

template <class T, int Vectors, int Pixels = tile_pixels<T>(Vectors)>
TileFunction<T> tile_function(int64_t pixels) {
    if constexpr (Pixels == 0) return nullptr;
    else return pixels == Pixels ? tile<T, Vectors, Pixels> : tile_function<T, Vectors, Pixels - 1>(pixels);
}

// `count` neighbouring pixels, in tiles of nearly equal length.
template <class T, int Vectors>
void tiles_of_row(TileArgs<T> a, int64_t count) {
    const int64_t tiles = ceil_div(count, tile_pixels<T>(Vectors)), shorter = count / tiles, longer = count % tiles;
    const TileFunction<T> function[2] = {tile_function<T, Vectors>(shorter), tile_function<T, Vectors>(shorter + 1)};
    for (int64_t i = 0; i < tiles; ++i) {
        const int64_t pixels = shorter + (i < longer);
        function[i < longer](a);
        a.input += pixels;
        a.output += pixels * a.output_pixel;
    }
}

template <class T>
struct Direct {
    const ConvArgs& a;
    const bool adjoint;
    const Axis y, x;
    const int64_t in, out;  // channels of a group
    const Units<T> units;
    const Strips strips;

    Direct(const ConvArgs& args, bool adjoint_)
        : a(args), adjoint(adjoint_), y(vertical(a, adjoint)), x(horizontal(a, adjoint)),
          in((adjoint ? a.c_out : a.c_in) / a.groups), out((adjoint ? a.c_in : a.c_out) / a.groups), units{out},
          strips(make_strips()) {}

    // In lines of a class backward, in rows of the result forward. A pooled gradient is expanded a whole image at a
    // time.
    Strips make_strips() const {
        const int64_t block_row = 2 * kVectorBytes * x.out;
        if (!adjoint) return Strips::shared(result_h(a), block_row * (pools(a) ? a.pool.stride_h : 1), a.batch);
        const int64_t lines = y.lines(0);
        return pools(a) ? Strips::whole(lines) : Strips::shared(lines, block_row * y.step_out(), a.batch);
    }

    int64_t most_lines() const {
        if (adjoint || !pools(a)) return strips.rows;
        return min64(a.out_h, (strips.rows - 1) * a.pool.stride_h + a.pool.h);
    }

    // Short rows are computed as one line that runs on through the padding between them.
    bool joins_rows(const Phases& p, int64_t lines) const {
        const bool dense = y.step_out() == 1 && x.step_out() == 1;
        return dense && (lines - 1) * p.pitch + x.out < lines * max64(x.out, 10);
    }

    int64_t packed_unit(int64_t group, int64_t unit) const {
        return (group * units.vectors() + 2 * unit) * kWidth<T> * in * a.kw * a.kh;
    }
    int64_t packed_size() const { return a.groups * units.vectors() * kWidth<T> * in * a.kw * a.kh; }

    int64_t chunks(int phase) const { return phase == 0 ? a.groups * units.count() : a.batch * strips.count(); }
    void run_phase(int phase, int64_t begin, int64_t end, void* memory) const {
        phase == 0 ? pack(begin, end, memory) : run(begin, end, memory);
    }
    int64_t workspace() const { return packed_size() * int64_t(sizeof(T)); }

    struct Scratch {
        Taps taps;
        T *input, *block, *plain;
        PoolScratch<T> pooled;

        Scratch(const Direct& d, Carver& carver)
            : taps(d.y, d.x, carver), input(nullptr), block(nullptr), plain(nullptr),
              pooled(d.a, d.adjoint ? d.a.pool.out_h : d.strips.rows, carver) {
            const Phases p(d.y, d.x, d.most_lines());
            const int64_t rows = d.most_lines() * d.y.step_out();
            int64_t pixels = rows * max64(d.x.out, p.pitch);
            if (d.adjoint && pools(d.a)) {
                plain = carver.take<T>(d.in * d.a.out_w * d.a.out_h);
                pixels = max64(pixels, d.a.out_w * d.a.out_h);
            }
            input = carver.take<T>(d.in * p.channel);
            block = carver.take<T>(2 * kWidth<T> * pixels);
        }
    };

    void pack(int64_t begin, int64_t end, void* memory) const {
        Carver carver{static_cast<char*>(memory)};
        Taps taps(y, x, carver);
        taps.fill(y, x, 0, 0);
        const int64_t classes = y.step_out() * x.step_out(), area = a.kw * a.kh;
        for (int64_t i = begin; i < end; ++i) {
            const int64_t group = i / units.count(), unit = i % units.count();
            const int64_t size = units.size(unit), lanes = units.vectors(unit) * kWidth<T>;
            // Between output channels and between input channels of the filter.
            const int64_t out_step = adjoint ? area : in * area, in_step = adjoint ? out * area : area;
            const T* filter = static_cast<const T*>(a.filter) + group * in * out * area;
            filter += unit * Units<T>::kSize * out_step;
            T* packed = static_cast<T*>(a.workspace) + packed_unit(group, unit);
            for (int64_t r = 0; r < classes; ++r)
                for (int64_t c = 0; c < in; ++c)
                    for (int64_t t = taps.class_begin[r]; t < taps.class_begin[r + 1]; ++t, packed += lanes) {
                        const T* tap = filter + c * in_step + taps.filter[t];
                        for (int64_t o = 0; o < lanes; ++o) packed[o] = o < size ? tap[o * out_step] : T(0);
                    }
        }
    }

    void run(int64_t begin, int64_t end, void* memory) const {
        Carver carver{static_cast<char*>(memory)};
        const Scratch s(*this, carver);
        int64_t prepared_lines = -1;  // for how many lines the taps are filled in
        for (int64_t i = begin; i < end; ++i) run_strip(i / strips.count(), i % strips.count(), s, &prepared_lines);
    }

    void run_strip(int64_t image, int64_t strip, const Scratch& s, int64_t* prepared_lines) const {
        const int64_t first = strips.begin(strip), last = strips.end(strip);
        int64_t first_line = first, last_line = last;
        if (!adjoint) rows_of_result(a, first, last, &first_line, &last_line);
        const int64_t lines = last_line - first_line;
        const Phases p(y, x, lines);
        Taps taps = s.taps;
        if (*prepared_lines != lines) taps.fill(y, x, p.pitch, p.plane);
        *prepared_lines = lines;
        const bool joined = joins_rows(p, lines);
        const int64_t pitch = joined ? p.pitch : x.out, vector = lines * y.step_out() * pitch * kWidth<T>;
        for (int64_t g = 0; g < a.groups; ++g) {
            load_phases(y, x, p, input_planes(image, g, s), in, first_line, s.input);
            for (int64_t unit = 0; unit < units.count(); ++unit) {
                if (units.vectors(unit) == 2) sums<2>(g, unit, p, taps, lines, first_line, joined, s);
                else sums<1>(g, unit, p, taps, lines, first_line, joined, s);
                for (int v = 0; v < units.vectors(unit); ++v) {
                    const int64_t offset = unit * Units<T>::kSize + v * kWidth<T>;
                    const int64_t channel = g * out + offset, channels = min64(kWidth<T>, out - offset);
                    const T* block = s.block + v * vector;
                    if (adjoint) store_adjoint(image, channel, channels, block, pitch, first_line, last_line);
                    else store_result(a, image, channel, channels, block, first_line, pitch, first, last, s.pooled);
                }
            }
        }
    }

    const T* input_planes(int64_t image, int64_t group, const Scratch& s) const {
        const int64_t plane = x.in * y.in;
        if (!adjoint || !pools(a)) {
            const T* data = static_cast<const T*>(adjoint ? a.y_diff : a.x);
            return data + (image * a.groups + group) * in * plane;
        }
        for (int64_t c = 0; c < in; c += kWidth<T>) {
            const int64_t channels = min64(kWidth<T>, in - c);
            load_gradient(a, image, group * in + c, channels, s.block, x.in, s.pooled);
            store_block(s.block, x.in, y.in, x.in, s.plain + c * plane, plane, channels, Identity());
        }
        return s.plain;
    }

    template <int Vectors>
    void sums(int64_t group, int64_t unit, const Phases& p, const Taps& taps, int64_t lines, int64_t first_line,
              bool joined, const Scratch& s) const {
        const int64_t pitch = joined ? p.pitch : x.out;
        const T* packed = static_cast<const T*>(a.workspace) + packed_unit(group, unit);
        TileArgs<T> args;
        args.input_channel = p.channel;
        args.channels = in;
        args.output_pixel = x.step_out() * kWidth<T>;
        args.output_vector = lines * y.step_out() * pitch * kWidth<T>;
        for (int64_t ry = 0, r = 0; ry < y.step_out(); ++ry)
            for (int64_t rx = 0; rx < x.step_out(); ++rx, ++r) {
                args.taps = taps.class_begin[r + 1] - taps.class_begin[r];
                args.offset = taps.offset + taps.class_begin[r];
                args.filter = packed + taps.class_begin[r] * in * Vectors * kWidth<T>;
                const int64_t columns = x.lines(rx), rows = min64(lines, y.lines(ry) - first_line);
                if (columns <= 0 || rows <= 0) continue;
                for (int64_t j = 0; j < (joined ? 1 : rows); ++j) {
                    args.input = s.input + j * p.pitch;
                    args.output = s.block + ((j * y.step_out() + ry) * pitch + rx) * kWidth<T>;
                    tiles_of_row<T, Vectors>(args, joined ? (rows - 1) * p.pitch + columns : columns);
                }
            }
    }

    void store_adjoint(int64_t image, int64_t channel, int64_t channels, const T* block, int64_t pitch,
                       int64_t first_line, int64_t last_line) const {
        const int64_t first = first_line * y.step_out(), last = min64(last_line * y.step_out(), y.out);
        const Channels<T> x_diff = {static_cast<T*>(a.x_diff), a.c_in, x.out * y.out, a.blocked_x_diff};
        store_channels(block, pitch, first, last - first, x.out, x_diff, image, channel, channels, Identity());
    }
};

}  // namespace

const Kernel direct_forward = ConvKernel<ByDtype<Direct, false>>::named("conv_forward");
const Kernel direct_backward_data = ConvKernel<ByDtype<Direct, true>>::named("conv_backward_data");

}  // namespace OWL_ISA
}  // namespace owl
