// The gradient of the filters of many small groups: bit for bit what the direct algorithm computes.
//
// Some of a filter's numbers, for a vector of neighbouring filters, stay in registers while the pixels of a strip of
// rows pass by. Phase 0: a chunk is a group of images times one vector of output channels. Phase 1 adds the groups; a
// chunk is a vector.
#include "conv_algorithms.h"
#include "conv_gradient.h"
#include "conv_grouped.h"
#include "conv_kernel.h"

namespace owl {
namespace OWL_ISA {
namespace {

constexpr int kMostTaps = kVectorRegisters == 32 ? 25 : 9;

template <class T>
struct Correlation {
    const T* input;
    int64_t input_row, input_pixel;  // between the sources of neighbouring rows and pixels
    const int64_t* offset;           // of each of the filter's numbers
    const T* gradient;               // [row][column][lane]
    int64_t rows, columns;
    T* partial;  // [number][lane]
};

template <int Unroll, int Step, class T, int Taps>
OWL_INLINE void add_pixels(const T* input, int64_t input_pixel, const int64_t* offset, const T* gradient,
                           Vec<T> (&sum)[Taps]) {
    constexpr int N = kWidth<T>;
    const int64_t step = Step ? Step * N : input_pixel;
    Vec<T> g[Unroll];
#pragma GCC unroll 4
    for (int u = 0; u < Unroll; ++u) g[u] = load(gradient + u * N);
#pragma GCC unroll 25
    for (int t = 0; t < Taps; ++t) {
        const T* pixel = input + offset[t];
#pragma GCC unroll 4
        for (int u = 0; u < Unroll; ++u) sum[t] = fma(load(pixel + u * step), g[u], sum[t]);
    }
}

// Pixels so far apart as `Step` says; 0: as the arguments say.
template <class T, int Step, int Taps>
void correlate(const Correlation<T>& a) {
    constexpr int N = kWidth<T>, U = Step ? 4 : 1;
    Vec<T> sum[Taps];
#pragma GCC unroll 25
    for (int t = 0; t < Taps; ++t) sum[t] = load(a.partial + t * N);
    const T* gradient = a.gradient;
    for (int64_t i = 0; i < a.rows; ++i) {
        const T* input = a.input + i * a.input_row;
        int64_t j = 0;
        for (; j + U <= a.columns; j += U, gradient += U * N, input += U * a.input_pixel)
            add_pixels<U, Step>(input, a.input_pixel, a.offset, gradient, sum);
        for (; j < a.columns; ++j, gradient += N, input += a.input_pixel)
            add_pixels<1, Step>(input, a.input_pixel, a.offset, gradient, sum);
    }
#pragma GCC unroll 25
    for (int t = 0; t < Taps; ++t) store(a.partial + t * N, sum[t]);
}

template <class T>
using CorrelateFunction = void (*)(const Correlation<T>&);

template <class T, int Step, int Taps = kMostTaps>
CorrelateFunction<T> correlate_function(int64_t taps) {
    if constexpr (Taps == 0) return nullptr;
    else return taps == Taps ? correlate<T, Step, Taps> : correlate_function<T, Step, Taps - 1>(taps);
}

template <class T>
CorrelateFunction<T> correlate_function(int64_t step, int64_t taps) {
    return step == 1 ? correlate_function<T, 1>(taps)
         : step == 2 ? correlate_function<T, 2>(taps)
                     : correlate_function<T, 0>(taps);
}

template <class T>
struct Gradient {
    static constexpr int N = kWidth<T>;

    const ConvArgs& a;
    const Axis y, x;
    const GroupedSource<T> source;
    const ImageGroups images;
    const Strips strips;
    const int64_t numbers;  // of a filter

    explicit Gradient(const ConvArgs& args)
        : a(args), y(vertical(a, false)), x(horizontal(a, false)),
          source(a.c_in / a.groups, a.c_out / a.groups, a.groups, y, x, false), images(a),
          strips(pools(a) ? Strips::whole(a.out_h) : Strips::cached(a.out_h, row_bytes())),
          numbers(source.sources * a.kw * a.kh) {}

    int64_t row_bytes() const {
        const int64_t in = source.room(1) / source.rows.lines(1) * y.step_in();
        return (in + a.out_w * N) * int64_t(sizeof(T));
    }

    T* partial(int64_t image_group, int64_t v) const {
        return static_cast<T*>(a.workspace) + (image_group * source.vectors() + v) * N * numbers;
    }
    int64_t partial_size() const { return images.count * source.vectors() * N * numbers; }
    T* bias_partial(int64_t image, int64_t v) const {
        return static_cast<T*>(a.workspace) + partial_size() + (image * source.vectors() + v) * N;
    }
    int64_t bias_size() const { return a.batch * source.vectors() * N; }

    int64_t chunks(int phase) const { return source.vectors() * (phase == 0 ? images.count : 1); }
    void run_phase(int phase, int64_t begin, int64_t end, void* memory) const {
        phase == 0 ? run(begin, end, memory) : add_groups(begin, end);
    }
    int64_t workspace() const { return (partial_size() + bias_size()) * int64_t(sizeof(T)); }

    struct Scratch {
        int64_t* offset;
        T *input, *block;
        PoolScratch<T> pooled;

        Scratch(const Gradient& d, Carver& carver)
            : offset(carver.take<int64_t>(d.numbers)), pooled(d.a, d.a.pool.out_h, carver) {
            input = carver.take<T>(d.source.room(d.strips.rows));
            block = carver.take<T>(d.strips.rows * d.a.out_w * N);
        }
    };

    void run(int64_t begin, int64_t end, void* memory) const {
        Carver carver{static_cast<char*>(memory)};
        const Scratch s(*this, carver);
        for (int64_t i = begin; i < end; ++i) {
            const int64_t v = i % source.vectors(), image_group = i / source.vectors();
            int64_t prepared_rows = -1;  // for how many rows the offsets are filled in
            if (a.filter_diff) memset(partial(image_group, v), 0, size_t(N * numbers) * sizeof(T));
            for (int64_t image = images.begin(image_group); image < images.end(image_group); ++image)
                for (int64_t strip = 0; strip < strips.count(); ++strip)
                    add_strip(image, v, strips.begin(strip), strips.end(strip), partial(image_group, v), s,
                              &prepared_rows);
        }
    }

    void add_strip(int64_t image, int64_t v, int64_t first, int64_t last, T* sums, const Scratch& s,
                   int64_t* prepared_rows) const {
        const int64_t channel = source.first(v), channels = source.count(v), rows = last - first;
        load_result_gradient(image, channel, channels, first, rows, s);
        if (a.bias_diff) {
            T* bias = bias_partial(image, v);
            if (first == 0) store(bias, Vec<T>{});
            add_bias_gradient(s.block, rows, a.out_w, a.out_w, bias);
        }
        if (!a.filter_diff) return;
        const T* input = load_source(image, v, first, rows, s);
        if (*prepared_rows != rows) find_offsets(rows, s);
        *prepared_rows = rows;
        const int64_t parts = ceil_div(numbers, kMostTaps), shorter = numbers / parts, longer = numbers % parts;
        const int64_t step = source.columns.step;
        const CorrelateFunction<T> function[2] = {correlate_function<T>(step, shorter),
                                                  correlate_function<T>(step, shorter + 1)};
        Correlation<T> args = {
            input, source.rows.step * source.pitch * N, step * N, s.offset, s.block, rows, a.out_w, sums,
        };
        for (int64_t i = 0; i < parts; ++i) {
            const int64_t count = shorter + (i < longer);
            function[i < longer](args);
            args.offset += count;
            args.partial += count * N;
        }
    }

    void load_result_gradient(int64_t image, int64_t channel, int64_t channels, int64_t first, int64_t rows,
                              const Scratch& s) const {
        if (pools(a)) {
            load_gradient(a, image, channel, channels, s.block, a.out_w, s.pooled);
            return;
        }
        const Channels<const T> gradient = {static_cast<const T*>(a.y_diff), a.c_out, a.out_w * a.out_h,
                                            a.blocked_y_diff};
        load_channels(gradient, image, channel, channels, first, rows, a.out_w, s.block, a.out_w);
    }

    const T* load_source(int64_t image, int64_t v, int64_t first, int64_t rows, const Scratch& s) const {
        int64_t begin, end;
        source.needed(first, rows, &begin, &end);
        source.pad(s.input, first, rows, begin, end);
        const Channels<const T> data = {static_cast<const T*>(a.x), a.c_in, a.w * a.h, a.blocked_x};
        if (begin < end)
            load_channels(data, image, source.first_source(v), source.source_count(v), begin, end - begin, a.w,
                          source.line(s.input, first, begin), source.pitch);
        return source.spread(s.input, rows);
    }

    void find_offsets(int64_t rows, const Scratch& s) const {
        int64_t n = 0;
        for (int64_t c = 0; c < source.sources; ++c)
            for (int64_t ky = 0; ky < a.kh; ++ky)
                for (int64_t kx = 0; kx < a.kw; ++kx) {
                    int64_t row = 0, column = 0;  // forward, every tap reads
                    source.rows.tap(y, 0, ky, &row);
                    source.columns.tap(x, 0, kx, &column);
                    const int64_t pixel = (row - source.rows.low) * source.pitch + column - source.columns.low;
                    s.offset[n++] = c * source.block(rows) + pixel * N;
                }
    }

    void add_groups(int64_t begin, int64_t end) const {
        for (int64_t v = begin; v < end; ++v) {
            const int64_t first = source.first(v), channels = source.count(v);
            const PartialGradients<T> partials = {
                partial(0, v), N, partial(1, 0) - partial(0, 0), images.count, first, channels, source.sources,
                a.kw * a.kh,
            };
            for (int64_t c = 0; a.filter_diff && c < source.sources; ++c)
                partials.add(c, static_cast<T*>(a.filter_diff));
            if (a.bias_diff)
                add_images(bias_partial(0, v), a.batch, source.vectors() * N, static_cast<T*>(a.bias_diff) + first,
                           channels);
        }
    }
};

}  // namespace

const Kernel grouped_backward_filter = ConvKernel<ByDtype<Gradient>>::named("conv_backward_filter");

}  // namespace OWL_ISA
}  // namespace owl
