// Running sums along the middle dimension of a dense [inner, length, outer], with the CPU's pieces and its order of additions.
//
// A thread has a line, and neighboring threads read neighboring numbers. Where lines are few and long a block has a line:
// threads add up pieces, one adds the pieces' sums, and then they scan their pieces.
#include "args.h"
#include "indices.cuh"

namespace owl {
namespace cuda {

// Number i of a line lies `step` further than number i - 1.
struct Line {
    int64_t first, step;
};

OWL_DEVICE Line line_of(const CumsumLaunch& a, int64_t number) {
    int64_t outer = number;
    const int64_t inner = take_digit(outer, a.inner), first = inner + outer * a.length * a.inner;
    if (a.reverse) return {first + (a.length - 1) * a.inner, -a.inner};
    return {first, a.inner};
}

// Of the piece that begins at number `begin`, whose predecessors' sum is `before`. Returns the last running sum.
template <class T>
OWL_DEVICE T scan_piece(const CumsumLaunch& a, const Line& line, int64_t begin, T before) {
    const int64_t end = smaller(a.length, begin + kScanPiece);
    T sum = T(0), last = T(0);
    for (int64_t i = begin; i < end; ++i) {
        const int64_t at = line.first + i * line.step;
        const T x = static_cast<const T*>(a.x)[at];
        sum = i == begin ? x : sum + x;
        last = begin ? before + sum : sum;
        static_cast<T*>(a.y)[at] = last;
    }
    return last;
}

template <class T>
OWL_DEVICE void cumsum_lines(const CumsumLaunch& a) {
    OWL_THREADS(t) {
        const int64_t lines = a.inner * a.outer, step = OWL_BLOCKS() * kCumsumThreads;
        for (int64_t number = OWL_BLOCK() * kCumsumThreads + t; number < lines; number += step) {
            const Line line = line_of(a, number);
            T before = T(0);
            for (int64_t begin = 0; begin < a.length; begin += kScanPiece) before = scan_piece<T>(a, line, begin, before);
        }
    }
}

template <class T>
OWL_DEVICE void cumsum_long(const CumsumLaunch& a) {
    OWL_SHARED(T, total, kCumsumThreads);
    OWL_SHARED(T, before, kCumsumThreads + 1);  // the last one is for the next pieces
    const int64_t lines = a.inner * a.outer, pieces = (a.length + kScanPiece - 1) / kScanPiece;
    for (int64_t number = OWL_BLOCK(); number < lines; number += OWL_BLOCKS()) {
        const Line line = line_of(a, number);
        for (int64_t first = 0; first < pieces; first += kCumsumThreads) {
            OWL_THREADS(t) {
                const int64_t begin = (first + t) * kScanPiece, end = smaller(a.length, begin + kScanPiece);
                T sum = T(0);
                for (int64_t i = begin; i < end; ++i) {
                    const T x = static_cast<const T*>(a.x)[line.first + i * line.step];
                    sum = i == begin ? x : sum + x;
                }
                total[t] = sum;
            }
            OWL_BARRIER();
            OWL_THREADS(t) {
                if (t == 0) {
                    T sum = first ? static_cast<T>(before[kCumsumThreads]) : T(0);
                    for (int k = 0; k < kCumsumThreads; ++k) {
                        before[k] = sum;
                        sum = first + k ? sum + static_cast<T>(total[k]) : static_cast<T>(total[k]);
                    }
                    before[kCumsumThreads] = sum;
                }
            }
            OWL_BARRIER();
            OWL_THREADS(t) scan_piece<T>(a, line, (first + t) * kScanPiece, static_cast<T>(before[t]));
            OWL_BARRIER();
        }
    }
}

}  // namespace cuda
}  // namespace owl

OWL_KERNEL(cumsum_lines_f32, owl::cuda::CumsumLaunch) { owl::cuda::cumsum_lines<float>(a); }
OWL_KERNEL(cumsum_lines_f64, owl::cuda::CumsumLaunch) { owl::cuda::cumsum_lines<double>(a); }
OWL_KERNEL(cumsum_long_f32, owl::cuda::CumsumLaunch) { owl::cuda::cumsum_long<float>(a); }
OWL_KERNEL(cumsum_long_f64, owl::cuda::CumsumLaunch) { owl::cuda::cumsum_long<double>(a); }
