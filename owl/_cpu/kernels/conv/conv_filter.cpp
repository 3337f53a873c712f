// The gradient of the filters by its definition, for every shape.
//
// A vector holds the gradient for one number of neighbouring filters; some of a filter's numbers times one or two
// vectors stay in registers while the pixels of a strip of rows pass by. Phase 0: a chunk is a group of images times
// one or all units of output channels. Phase 1 adds the groups; a chunk is one input channel of a unit.
#include "conv_algorithms.h"
#include "conv_gradient.h"
#include "conv_kernel.h"

namespace owl {
namespace OWL_ISA {
namespace {

template <int Vectors>
constexpr int kUnroll = Vectors == 1 ? 4 : 2;

constexpr int most_taps(int vectors) {
    return kVectorRegisters == 32 ? (vectors == 1 ? 25 : 13) : (vectors == 1 ? 9 : 5);
}

template <class T>
struct Correlation {
    const T* input;
    const int64_t* offset;  // of each of the filter's numbers, from the input's pixel (0, 0)
    int64_t input_pitch;
    const T* gradient;  // [vector][row][column][lane]
    int64_t gradient_vector;
    int64_t rows, columns;
    T* partial;  // [number][vector][lane]
};

template <int Unroll, class T, int Vectors, int Taps>
OWL_INLINE void add_pixels(const T* input, const int64_t* offset, const T* gradient, int64_t gradient_vector,
                           Vec<T> (&sum)[Taps][Vectors]) {
    Vec<T> g[Unroll][Vectors];
#pragma GCC unroll 4
    for (int u = 0; u < Unroll; ++u)
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v) g[u][v] = load(gradient + v * gradient_vector + u * kWidth<T>);
#pragma GCC unroll 25
    for (int t = 0; t < Taps; ++t) {
        const T* pixel = input + offset[t];
#pragma GCC unroll 4
        for (int u = 0; u < Unroll; ++u) {
            const Vec<T> x = set1(pixel[u]);
#pragma GCC unroll 2
            for (int v = 0; v < Vectors; ++v) sum[t][v] = fma(x, g[u][v], sum[t][v]);
        }
    }
}

template <class T, int Vectors, int Taps>
void correlate(const Correlation<T>& a) {
    constexpr int N = kWidth<T>, U = kUnroll<Vectors>;
    Vec<T> sum[Taps][Vectors];
#pragma GCC unroll 25
    for (int t = 0; t < Taps; ++t)
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v) sum[t][v] = load(a.partial + (t * Vectors + v) * N);
    const T* gradient = a.gradient;
    for (int64_t i = 0; i < a.rows; ++i) {
        const T* input = a.input + i * a.input_pitch;
        int64_t j = 0;
        for (; j + U <= a.columns; j += U, gradient += U * N)
            add_pixels<U>(input + j, a.offset, gradient, a.gradient_vector, sum);
        for (; j < a.columns; ++j, gradient += N) add_pixels<1>(input + j, a.offset, gradient, a.gradient_vector, sum);
    }
#pragma GCC unroll 25
    for (int t = 0; t < Taps; ++t)
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v) store(a.partial + (t * Vectors + v) * N, sum[t][v]);
}

template <class T>
using CorrelateFunction = void (*)(const Correlation<T>&);

template <class T, int Vectors, int Taps = most_taps(Vectors)>
CorrelateFunction<T> correlate_function(int64_t taps) {
    if constexpr (Taps == 0) return nullptr;
    else return taps == Taps ? correlate<T, Vectors, Taps> : correlate_function<T, Vectors, Taps - 1>(taps);
}

template <class T>
struct Gradient {
    const ConvArgs& a;
    const Axis y, x;
    const int64_t in, out, numbers;  // of a group; numbers of a filter
    const Units<T> units;
    const ImageGroups images;
    const Strips strips;

    explicit Gradient(const ConvArgs& args)
        : a(args), y(vertical(a, false)), x(horizontal(a, false)), in(a.c_in / a.groups), out(a.c_out / a.groups),
          numbers(in * a.kw * a.kh), units{out}, images(a),
          strips(pools(a) ? Strips::whole(a.out_h) : Strips::cached(a.out_h, 2 * kVectorBytes * a.out_w)) {}

    T* partial(int64_t image_group, int64_t group, int64_t unit) const {
        const int64_t vector = (image_group * a.groups + group) * units.vectors() + 2 * unit;
        return static_cast<T*>(a.workspace) + vector * kWidth<T> * numbers;
    }
    int64_t partial_size() const { return images.count * a.groups * units.vectors() * kWidth<T> * numbers; }

    T* bias_partial(int64_t image, int64_t group, int64_t unit) const {
        const int64_t vector = (image * a.groups + group) * units.vectors() + 2 * unit;
        return static_cast<T*>(a.workspace) + partial_size() + vector * kWidth<T>;
    }
    int64_t bias_size() const { return a.batch * a.groups * units.vectors() * kWidth<T>; }

    int64_t chunks(int phase) const {
        return a.groups * (phase == 0 ? images.count * chunks_per_group() : units.count() * in);
    }
    void run_phase(int phase, int64_t begin, int64_t end, void* memory) const {
        phase == 0 ? run(begin, end, memory) : add_groups(begin, end);
    }
    int64_t workspace() const { return (partial_size() + bias_size()) * int64_t(sizeof(T)); }

    struct Scratch {
        Taps taps;
        int64_t* offset;
        T *input, *block;
        PoolScratch<T> pooled;

        Scratch(const Gradient& d, Carver& carver)
            : taps(d.y, d.x, carver), offset(carver.take<int64_t>(d.numbers)), pooled(d.a, d.a.pool.out_h, carver) {
            input = carver.take<T>(d.in_place() ? 0 : d.in * Phases(d.y, d.x, d.strips.rows).channel);
            // Gradients that are not pooled are loaded by strips, into as much room as a strip needs.
            block = carver.take<T>(2 * kWidth<T> * d.strips.rows * d.a.out_w);
        }
    };

    // Units share the inputs that a chunk loads, unless there are too few groups of images to share out.
    int64_t units_per_chunk() const { return images.count >= 8 ? units.count() : 1; }
    int64_t chunks_per_group() const { return ceil_div(units.count(), units_per_chunk()); }

    void run(int64_t begin, int64_t end, void* memory) const {
        Carver carver{static_cast<char*>(memory)};
        const Scratch s(*this, carver);
        for (int64_t i = begin; i < end; ++i) {
            const int64_t part = i % chunks_per_group(), group = i / chunks_per_group() % a.groups;
            const int64_t image_group = i / chunks_per_group() / a.groups;
            const int64_t first = part * units_per_chunk(), last = min64(first + units_per_chunk(), units.count());
            for (int64_t unit = first; a.filter_diff && unit < last; ++unit)
                memset(partial(image_group, group, unit), 0,
                       size_t(units.vectors(unit) * kWidth<T> * numbers) * sizeof(T));
            int64_t prepared_rows = -1;  // for how many rows the offsets are filled in
            for (int64_t image = images.begin(image_group); image < images.end(image_group); ++image)
                for (int64_t strip = 0; strip < strips.count(); ++strip) {
                    const int64_t first_row = strips.begin(strip), rows = strips.end(strip) - first_row;
                    Phases p(y, x, rows);
                    if (in_place()) p.channel = a.w * a.h;
                    const T* input = s.input;
                    if (a.filter_diff) {
                        if (prepared_rows != rows) prepare_offsets(p, s);
                        prepared_rows = rows;
                        const T* planes = static_cast<const T*>(a.x) + (image * a.groups + group) * in * a.w * a.h;
                        if (in_place()) input = planes + first_row * a.w;
                        else load_phases(y, x, p, planes, in, first_row, s.input);
                    }
                    for (int64_t unit = first; unit < last; ++unit) {
                        T* sums = partial(image_group, group, unit);
                        if (units.vectors(unit) == 2)
                            add_strip<2>(image, group, unit, first_row, rows, input, p.pitch, sums, s);
                        else add_strip<1>(image, group, unit, first_row, rows, input, p.pitch, sums, s);
                    }
                }
        }
    }

    // Without padding and strides, inputs are read where they lie.
    bool in_place() const {
        return a.stride_w == 1 && a.stride_h == 1 && a.pad_w == 0 && a.pad_h == 0;
    }

    template <int Vectors>
    void add_strip(int64_t image, int64_t group, int64_t unit, int64_t first_row, int64_t rows, const T* input,
                   int64_t pitch, T* sums, const Scratch& s) const {
        const int64_t vector = rows * a.out_w * kWidth<T>;
        for (int v = 0; v < Vectors; ++v) {
            const int64_t offset = unit * Units<T>::kSize + v * kWidth<T>, channels = min64(kWidth<T>, out - offset);
            load_rows(image, group * out + offset, channels, first_row, rows, s.block + v * vector, s);
            if (!a.bias_diff) continue;
            T* bias = bias_partial(image, group, unit) + v * kWidth<T>;
            if (first_row == 0) store(bias, Vec<T>{});
            add_bias_gradient(s.block + v * vector, rows, a.out_w, a.out_w, bias);
        }
        if (!a.filter_diff) return;
        const int64_t parts = ceil_div(numbers, most_taps(Vectors));
        const int64_t shorter = numbers / parts, longer = numbers % parts;
        const CorrelateFunction<T> function[2] = {correlate_function<T, Vectors>(shorter),
                                                  correlate_function<T, Vectors>(shorter + 1)};
        Correlation<T> args = {input, s.offset, pitch, s.block, vector, rows, a.out_w, sums};
        if (pitch == a.out_w) {  // rows that follow each other without a gap are one
            args.rows = 1;
            args.columns = rows * a.out_w;
        }
        for (int64_t i = 0; i < parts; ++i) {
            const int64_t count = shorter + (i < longer);
            function[i < longer](args);
            args.offset += count;
            args.partial += count * Vectors * kWidth<T>;
        }
    }

    void prepare_offsets(const Phases& p, const Scratch& s) const {
        const int64_t area = a.kw * a.kh;
        Taps taps = s.taps;
        taps.fill(y, x, p.pitch, p.plane);
        for (int64_t c = 0; c < in; ++c)
            for (int64_t t = 0; t < area; ++t) s.offset[c * area + t] = c * p.channel + taps.offset[t];
    }

    void load_rows(int64_t image, int64_t channel, int64_t channels, int64_t first, int64_t rows, T* block,
                   const Scratch& s) const {
        if (pools(a)) {
            load_gradient(a, image, channel, channels, block, a.out_w, s.pooled);
            return;
        }
        const Channels<const T> gradient = {static_cast<const T*>(a.y_diff), a.c_out, a.out_w * a.out_h,
                                            a.blocked_y_diff};
        load_channels(gradient, image, channel, channels, first, rows, a.out_w, block, a.out_w);
    }

    void add_groups(int64_t begin, int64_t end) const {
        const int64_t area = a.kw * a.kh, group_step = partial(1, 0, 0) - partial(0, 0, 0);
        for (int64_t i = begin; i < end; ++i) {
            const int64_t c = i % in, unit = i / in % units.count(), group = i / in / units.count();
            const int vectors = units.vectors(unit);
            const T* sums = partial(0, group, unit);
            for (int v = 0; v < vectors; ++v) {
                const int64_t offset = unit * Units<T>::kSize + v * kWidth<T>, first = group * out + offset;
                const int64_t channels = min64(kWidth<T>, out - offset);
                const PartialGradients<T> partials = {
                    sums + v * kWidth<T>, vectors * kWidth<T>, group_step, images.count, first, channels, in, area,
                };
                if (a.filter_diff) partials.add(c, static_cast<T*>(a.filter_diff));
                if (a.bias_diff && c == 0)
                    add_images(bias_partial(0, group, unit) + v * kWidth<T>, a.batch,
                               a.groups * units.vectors() * kWidth<T>, static_cast<T*>(a.bias_diff) + first, channels);
            }
        }
    }
};

}  // namespace

const Kernel direct_backward_filter = ConvKernel<ByDtype<Gradient>>::named("conv_backward_filter");

}  // namespace OWL_ISA
}  // namespace owl
