// Convolution in many small groups, and its adjoint in the data: bit for bit what the direct algorithm computes.
//
// Phase 0 packs the filters of each vector of channels, phase 1 computes; a chunk of it is a strip of rows of one vector
// of one image.
#include "conv_algorithms.h"
#include "conv_grouped.h"
#include "conv_kernel.h"

namespace owl {
namespace OWL_ISA {
namespace {

template <class T>
struct TileArgs {
    const T* input;
    int64_t input_channel;  // numbers between source channels
    int64_t input_pixel;    // between the sources of neighbouring pixels
    const int64_t* offset;  // of each tap
    int64_t taps, channels;
    const T* filter;  // [channel][tap][lane]
    T* output;
    int64_t output_pixel;
};

// Pixels so far apart as `Step` says; 0: as the arguments say.
template <class T, int Step, int Pixels>
void tile(const TileArgs<T>& a) {
    constexpr int N = kWidth<T>;
    const int64_t step = Step ? Step * N : a.input_pixel;
    Vec<T> sum[Pixels] = {};
    const T *input = a.input, *filter = a.filter;
    for (int64_t c = 0; c < a.channels; ++c, input += a.input_channel)
        for (int64_t t = 0; t < a.taps; ++t, filter += N) {
            const T* pixel = input + a.offset[t];
            const Vec<T> f = load(filter);
#pragma GCC unroll 14
            for (int p = 0; p < Pixels; ++p) sum[p] = fma(load(pixel + p * step), f, sum[p]);
        }
#pragma GCC unroll 14
    for (int p = 0; p < Pixels; ++p) store(a.output + p * a.output_pixel, sum[p]);
}

template <class T>
using TileFunction = void (*)(const TileArgs<T>&);

constexpr int tile_pixels(int step) { return step == 0 ? 4 : kVectorRegisters == 32 ? 14 : 10; }

template <class T, int Step, int Pixels = tile_pixels(Step)>
TileFunction<T> tile_function(int64_t pixels) {
    if constexpr (Pixels == 0) return nullptr;
    else return pixels == Pixels ? tile<T, Step, Pixels> : tile_function<T, Step, Pixels - 1>(pixels);
}

// `count` neighbouring pixels, in tiles of nearly equal length.
template <class T, int Step>
void tiles_of_row(TileArgs<T> a, int64_t count) {
    const int64_t tiles = ceil_div(count, tile_pixels(Step)), shorter = count / tiles, longer = count % tiles;
    const TileFunction<T> function[2] = {tile_function<T, Step>(shorter), tile_function<T, Step>(shorter + 1)};
    for (int64_t i = 0; i < tiles; ++i) {
        const int64_t pixels = shorter + (i < longer);
        function[i < longer](a);
        a.input += pixels * a.input_pixel;
        a.output += pixels * a.output_pixel;
    }
}

template <class T>
struct Grouped {
    static constexpr int N = kWidth<T>;

    const ConvArgs& a;
    const bool adjoint;
    const Axis y, x;
    const GroupedSource<T> source;
    const Strips strips;

    Grouped(const ConvArgs& args, bool adjoint_)
        : a(args), adjoint(adjoint_), y(vertical(a, adjoint)), x(horizontal(a, adjoint)),
          source((adjoint ? a.c_out : a.c_in) / a.groups, (adjoint ? a.c_in : a.c_out) / a.groups, a.groups, y, x,
                 adjoint && pools(a)),
          strips(make_strips()) {}

    // In lines of a class backward, in rows of the result forward. A pooled gradient is expanded a whole image at a
    // time.
    Strips make_strips() const {
        const int64_t lines = adjoint ? y.lines(0) : result_h(a);
        if (adjoint && pools(a)) return Strips::whole(lines);
        const int64_t per_line = !adjoint && pools(a) ? a.pool.stride_h : 1;
        const int64_t in = source.room(1) / source.rows.lines(1) * y.step_in(), out = y.step_out() * x.out * N;
        return Strips::shared(lines, (in + out) * per_line * int64_t(sizeof(T)), a.batch * source.vectors());
    }

    int64_t most_lines() const {
        if (adjoint || !pools(a)) return strips.rows;
        return min64(a.out_h, (strips.rows - 1) * a.pool.stride_h + a.pool.h);
    }

    int64_t area() const { return a.kw * a.kh; }
    int64_t packed_vector() const { return source.sources * area() * N; }

    int64_t chunks(int phase) const {
        return phase == 0 ? source.vectors() : a.batch * source.vectors() * strips.count();
    }
    void run_phase(int phase, int64_t begin, int64_t end, void* memory) const {
        phase == 0 ? pack(begin, end, memory) : run(begin, end, memory);
    }
    int64_t workspace() const { return source.vectors() * packed_vector() * int64_t(sizeof(T)); }

    struct Scratch {
        int64_t *offset, *filter, *class_begin;
        T *input, *block;
        PoolScratch<T> pooled;

        Scratch(const Grouped& d, Carver& carver)
            : offset(carver.take<int64_t>(d.area())), filter(carver.take<int64_t>(d.area())),
              class_begin(carver.take<int64_t>(d.y.step_out() * d.x.step_out() + 1)),
              pooled(d.a, d.adjoint ? d.a.pool.out_h : d.strips.rows, carver) {
            input = carver.take<T>(d.source.room(d.most_lines()));
            block = carver.take<T>(d.most_lines() * d.y.step_out() * d.x.out * N);
        }
    };

    // The taps of each class of result pixels: where they read, and which number of the filter they are.
    void find_taps(const Scratch& s) const {
        int64_t n = 0, classes = 0;
        for (int64_t ry = 0; ry < y.step_out(); ++ry)
            for (int64_t rx = 0; rx < x.step_out(); ++rx) {
                s.class_begin[classes++] = n;
                for (int64_t ky = 0; ky < y.size; ++ky)
                    for (int64_t kx = 0; kx < x.size; ++kx) {
                        int64_t row, column;
                        if (!source.rows.tap(y, ry, ky, &row) || !source.columns.tap(x, rx, kx, &column)) continue;
                        s.offset[n] = ((row - source.rows.low) * source.pitch + column - source.columns.low) * N;
                        s.filter[n++] = (y.size - 1 - ky) * x.size + (x.size - 1 - kx);
                    }
            }
        s.class_begin[classes] = n;
    }

    void pack(int64_t begin, int64_t end, void* memory) const {
        Carver carver{static_cast<char*>(memory)};
        const Scratch s(*this, carver);
        find_taps(s);
        const int64_t classes = y.step_out() * x.step_out(), sources = source.sources, results = source.results;
        for (int64_t v = begin; v < end; ++v) {
            T* packed = static_cast<T*>(a.workspace) + v * packed_vector();
            const int64_t first = source.first(v), count = source.count(v);
            for (int64_t r = 0; r < classes; ++r)
                for (int64_t c = 0; c < sources; ++c)
                    for (int64_t t = s.class_begin[r]; t < s.class_begin[r + 1]; ++t, packed += N)
                        for (int64_t l = 0; l < N; ++l) {
                            const int64_t channel = first + l, group = channel / results;
                            const int64_t one = adjoint ? (group * sources + c) * results + channel % results
                                                        : channel * sources + c;
                            const T* filter = static_cast<const T*>(a.filter) + s.filter[t];
                            packed[l] = l < count ? filter[one * area()] : T(0);
                        }
        }
    }

    void run(int64_t begin, int64_t end, void* memory) const {
        Carver carver{static_cast<char*>(memory)};
        const Scratch s(*this, carver);
        find_taps(s);
        for (int64_t i = begin; i < end; ++i) {
            const int64_t strip = i % strips.count(), part = i / strips.count();
            run_strip(part / source.vectors(), part % source.vectors(), strip, s);
        }
    }

    void run_strip(int64_t image, int64_t v, int64_t strip, const Scratch& s) const {
        const int64_t first = strips.begin(strip), last = strips.end(strip);
        int64_t first_line = first, last_line = last;
        if (!adjoint) rows_of_result(a, first, last, &first_line, &last_line);
        const int64_t lines = last_line - first_line;
        load_source(image, v, first_line, lines, s);
        const T* input = source.spread(s.input, lines);
        sums(v, first_line, lines, input, s);
        if (!adjoint) {
            store_result(a, image, source.first(v), source.count(v), s.block, first_line, x.out, first, last, s.pooled);
            return;
        }
        const int64_t begin = first_line * y.step_out(), end = min64(last_line * y.step_out(), y.out);
        const Channels<T> x_diff = {static_cast<T*>(a.x_diff), a.c_in, x.out * y.out, a.blocked_x_diff};
        store_channels(s.block, x.out, begin, end - begin, x.out, x_diff, image, source.first(v), source.count(v),
                       Identity());
    }

    void load_source(int64_t image, int64_t v, int64_t first_line, int64_t lines, const Scratch& s) const {
        int64_t begin, end;
        source.needed(first_line, lines, &begin, &end);
        source.pad(s.input, first_line, lines, begin, end);
        if (begin == end) return;
        T* block = source.line(s.input, first_line, begin);
        const int64_t channel = source.first_source(v), count = source.source_count(v);
        if (adjoint && pools(a)) {
            load_gradient(a, image, channel, count, block, source.pitch, s.pooled);
            return;
        }
        const Channels<const T> data = {static_cast<const T*>(adjoint ? a.y_diff : a.x), adjoint ? a.c_out : a.c_in,
                                        x.in * y.in, adjoint ? a.blocked_y_diff : a.blocked_x};
        load_channels(data, image, channel, count, begin, end - begin, x.in, block, source.pitch);
    }

    void sums(int64_t v, int64_t first_line, int64_t lines, const T* input, const Scratch& s) const {
        const T* packed = static_cast<const T*>(a.workspace) + v * packed_vector();
        TileArgs<T> args;
        args.input_channel = source.block(lines);
        args.input_pixel = source.columns.step * N;
        args.channels = source.sources;
        args.output_pixel = x.step_out() * N;
        const int64_t row_step = source.rows.step * source.pitch * N;
        for (int64_t ry = 0, r = 0; ry < y.step_out(); ++ry)
            for (int64_t rx = 0; rx < x.step_out(); ++rx, ++r) {
                args.taps = s.class_begin[r + 1] - s.class_begin[r];
                args.offset = s.offset + s.class_begin[r];
                args.filter = packed + s.class_begin[r] * source.sources * N;
                const int64_t columns = x.lines(rx), rows = min64(lines, y.lines(ry) - first_line);
                if (columns <= 0) continue;
                for (int64_t j = 0; j < rows; ++j) {
                    args.input = input + j * row_step;
                    args.output = s.block + ((j * y.step_out() + ry) * x.out + rx) * N;
                    if (source.columns.step == 1) tiles_of_row<T, 1>(args, columns);
                    else if (source.columns.step == 2) tiles_of_row<T, 2>(args, columns);
                    else tiles_of_row<T, 0>(args, columns);
                }
            }
    }
};

}  // namespace

bool grouped_applies(const ConvArgs& a, bool adjoint) {
    const int64_t in = a.c_in / a.groups, out = a.c_out / a.groups;
    const int64_t sources = adjoint ? out : in, results = adjoint ? in : out;
    return a.dtype == DType::f64 ? vector_holds_groups<double>(a.groups, sources, results)
                                 : vector_holds_groups<float>(a.groups, sources, results);
}

const Kernel grouped_forward = ConvKernel<ByDtype<Grouped, false>>::named("conv_forward");
const Kernel grouped_backward_data = ConvKernel<ByDtype<Grouped, true>>::named("conv_backward_data");

}  // namespace OWL_ISA
}  // namespace owl
