// Mathematics, written once for numbers and for vectors of them: `V` is a vector of simd.h or a float or double of scalars.h,
// which give it +, -, *, /, comparisons with their masks, select(), fma(), sqrt() and its bits. The steps are the same, and
// nothing is contracted, so that a lane of a vector has a number's bits, on whatever computes it.
#pragma once
#if OWL_SCALARS
#include "scalars.h"
#else
#include "simd.h"
#endif

namespace owl {
namespace OWL_ISA {

template <class V>
OWL_INLINE V abs(V x) {
    using S = Bits<V>;
    return from_bits(as_bits(x) & ((typename S::UInt(1) << (sizeof(Lane<V>) * 8 - 1)) - 1));
}
// The magnitude of x with the sign of y.
template <class V>
OWL_INLINE V copysign(V x, V y) {
    using S = Bits<V>;
    const auto sign = typename S::UInt(1) << (sizeof(Lane<V>) * 8 - 1);
    return from_bits((as_bits(x) & (sign - 1)) | (as_bits(y) & sign));
}
template <class V>
OWL_INLINE Mask<Lane<V>> is_nan(V x) { return ne(x, x); }

// As NumPy's maximum and minimum: a NaN wins, the first operand's before the second's.
template <class V>
OWL_INLINE V max(V x, V y) { return select(mask_or(ge(x, y), is_nan(x)), x, y); }
template <class V>
OWL_INLINE V min(V x, V y) { return select(mask_or(le(x, y), is_nan(x)), x, y); }

// --------------------------------------------------------------------------------------------- exp, log and their kin

template <class T>
struct Constants;
template <>
struct Constants<float> {
    static constexpr float infinity = __builtin_inff(), nan = __builtin_nanf("");
    static constexpr float smallest_normal = 0x1p-126f, scale_up = 0x1p25f, scale_up_log2 = 25;
    static constexpr float integer = 0x1p23f, round = 0x1.8p23f;  // every float from `integer` on is a whole number
    static constexpr float log2e = 1.44269504f, ln2_high = 0x1.62ep-1f, ln2_low = 0x1.0bfbe8p-15f;
    static constexpr float exp_low = -104.0f, exp_high = 89.0f;
    static constexpr uint32_t sqrt_half = 0x3f3504f3u;
};
template <>
struct Constants<double> {
    static constexpr double infinity = __builtin_inf(), nan = __builtin_nan("");
    static constexpr double smallest_normal = 0x1p-1022, scale_up = 0x1p54, scale_up_log2 = 54;
    static constexpr double integer = 0x1p52, round = 0x1.8p52;
    static constexpr double log2e = 1.4426950408889634;
    static constexpr double ln2_high = 0x1.62e42fee00000p-1, ln2_low = 0x1.a39ef35793c76p-33;
    static constexpr double exp_low = -746.0, exp_high = 710.0;
    static constexpr uint64_t sqrt_half = 0x3fe6a09e667f3bcdull;
};

// (e^r - 1 - r) / r^2 for |r| <= ln(2)/2.
template <class V>
OWL_INLINE V exp_tail(V r) {
    if constexpr (is_float<V>) {
        V p = constant<V>(1.9875691500e-4f);
        p = fma(p, r, constant<V>(1.3981999507e-3f));
        p = fma(p, r, constant<V>(8.3334519073e-3f));
        p = fma(p, r, constant<V>(4.1665795894e-2f));
        p = fma(p, r, constant<V>(1.6666665459e-1f));
        return fma(p, r, constant<V>(5.0000001201e-1f));
    } else {
        V p = constant<V>(1.0 / 6227020800.0);
        p = fma(p, r, constant<V>(1.0 / 479001600.0));
        p = fma(p, r, constant<V>(1.0 / 39916800.0));
        p = fma(p, r, constant<V>(1.0 / 3628800.0));
        p = fma(p, r, constant<V>(1.0 / 362880.0));
        p = fma(p, r, constant<V>(1.0 / 40320.0));
        p = fma(p, r, constant<V>(1.0 / 5040.0));
        p = fma(p, r, constant<V>(1.0 / 720.0));
        p = fma(p, r, constant<V>(1.0 / 120.0));
        p = fma(p, r, constant<V>(1.0 / 24.0));
        p = fma(p, r, constant<V>(1.0 / 6.0));
        return fma(p, r, constant<V>(0.5));
    }
}

// e^(x + low), where |low| is far below |x|.
template <class V>
OWL_INLINE V exp_sum(V x, V low) {
    using T = Lane<V>;
    using S = Bits<V>;
    using C = Constants<T>;
    V clamped = select(gt(x, constant<V>(C::exp_high)), constant<V>(C::exp_high), x);
    clamped = select(lt(x, constant<V>(C::exp_low)), constant<V>(C::exp_low), clamped);
    V shifted = fma(clamped, constant<V>(C::log2e), constant<V>(C::round));  // its low bits are the nearest power of two
    V n = shifted - C::round;
    V r = fma(n, constant<V>(-C::ln2_high), clamped);
    r = fma(n, constant<V>(-C::ln2_low), r) + low;
    V p = T(1) + (r + r * r * exp_tail(r));
    // Two factors of about half the exponent each, so that denormal results are rounded once and nothing wraps.
    auto exponent = as_bits(shifted) - (as_bits(constant<V>(C::round)) - 2 * S::bias);
    auto half = exponent >> 1;
    V y = p * from_bits(half << S::mantissa) * from_bits((exponent - half) << S::mantissa);
    return select(is_nan(x), x, y);
}
template <class V>
OWL_INLINE V exp(V x) { return exp_sum(x, V{}); }

// x = 2^exponent * (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), for finite x > 0.
template <class V>
OWL_INLINE void split_exponent(V x, V& exponent, V& f) {
    using T = Lane<V>;
    using S = Bits<V>;
    using C = Constants<T>;
    auto small = lt(x, constant<V>(C::smallest_normal));
    x = select(small, x * C::scale_up, x);
    const auto one = typename S::UInt(S::bias) << S::mantissa;
    auto bits = as_bits(x) + (one - C::sqrt_half);
    auto biased = bits >> S::mantissa;
    exponent = from_bits(biased | as_bits(constant<V>(C::integer))) - (C::integer + T(S::bias));
    exponent = select(small, exponent - C::scale_up_log2, exponent);
    f = from_bits((bits & ((typename S::UInt(1) << S::mantissa) - 1)) + C::sqrt_half) - T(1);
}

// atanh(s) = s + s^3/3 + s^5/5 + …: with z = s^2, the part 2 z/3 + 2 z^2/5 + … of 2 atanh(s)/s, for |s| <= 0.172.
template <class V>
OWL_INLINE V atanh_tail(V z) {
    if constexpr (is_float<V>) {
        V p = constant<V>(0.24279078841f);
        p = fma(p, z, constant<V>(0.28498786688f));
        p = fma(p, z, constant<V>(0.40000972152f));
        return fma(p, z, constant<V>(0.66666662693f)) * z;
    } else {
        V p = constant<V>(1.479819860511658591e-01);
        p = fma(p, z, constant<V>(1.531383769920937332e-01));
        p = fma(p, z, constant<V>(1.818357216161805012e-01));
        p = fma(p, z, constant<V>(2.222219843214978396e-01));
        p = fma(p, z, constant<V>(2.857142874366239149e-01));
        p = fma(p, z, constant<V>(3.999999999940941908e-01));
        return fma(p, z, constant<V>(6.666666666666735130e-01)) * z;
    }
}

// The values of log at 0, infinity, negative numbers and NaN.
template <class V>
OWL_INLINE V log_specials(V x, V y) {
    using C = Constants<Lane<V>>;
    y = select(eq(x, constant<V>(C::infinity)), x, y);
    y = select(eq(x, V{}), constant<V>(-C::infinity), y);
    y = select(lt(x, V{}), constant<V>(C::nan), y);
    return select(is_nan(x), x, y);
}
template <class V>
OWL_INLINE V log(V x) {
    using C = Constants<Lane<V>>;
    V e, f;
    split_exponent(x, e, f);
    V s = f / (f + Lane<V>(2));
    V tail = atanh_tail(s * s);
    V half = Lane<V>(0.5) * f * f;  // log(1 + f) = f - (half - s (half + tail)): the leading term is exact
    V y = e * C::ln2_high - ((half - (s * (half + tail) + e * C::ln2_low)) - f);
    return log_specials(x, y);
}

template <class V>
OWL_INLINE V sigmoid(V x) {
    using T = Lane<V>;
    V e = exp(-abs(x));
    V y = select(ge(x, V{}), constant<V>(T(1)), e) / (e + T(1));
    return select(is_nan(x), x, y);
}

// tanh(x) / x - 1 for |x| < 0.625, z = x^2.
template <class V>
OWL_INLINE V tanh_tail(V z) {
    if constexpr (is_float<V>) {
        V p = constant<V>(-5.70498872745e-3f);
        p = fma(p, z, constant<V>(2.06390887954e-2f));
        p = fma(p, z, constant<V>(-5.37397155531e-2f));
        p = fma(p, z, constant<V>(1.33314422036e-1f));
        return fma(p, z, constant<V>(-3.33332819422e-1f)) * z;
    } else {
        V p = constant<V>(-9.64399179425052238628e-1);
        p = fma(p, z, constant<V>(-9.92877231001918586564e1));
        p = fma(p, z, constant<V>(-1.61468768441708447952e3));
        V q = z + 1.12811678491632931402e2;
        q = fma(q, z, constant<V>(2.23548839060100448583e3));
        q = fma(q, z, constant<V>(4.84406305325125486048e3));
        return p * z / q;
    }
}
template <class V>
OWL_INLINE V tanh(V x) {
    using T = Lane<V>;
    V a = abs(x);
    V near = a + a * tanh_tail(a * a);
    V far = T(1) - T(2) / (exp(a + a) + T(1));
    V y = copysign(select(lt(a, constant<V>(T(0.625))), near, far), x);
    return select(is_nan(x), x, y);
}

// --------------------------------------------------------------------------- the error function, activations, whole numbers

// (a + 5) e^(a^2/2) Q(a) of the share Q(a) of a normal distribution that lies beyond a, by t = (a - 5) / (a + 5): up to a = 14.5
// for floats, 39 for doubles. Beyond, Q(a) is 0.
template <class V>
OWL_INLINE V normal_tail_factor(V t) {
    if constexpr (is_float<V>) {
        V p = constant<V>(1.13388897e-4f);
        p = fma(p, t, constant<V>(6.72402141e-4f));
        p = fma(p, t, constant<V>(-8.4264131e-4f));
        p = fma(p, t, constant<V>(-3.07198332e-3f));
        p = fma(p, t, constant<V>(2.07879611e-2f));
        p = fma(p, t, constant<V>(-6.91034163e-2f));
        p = fma(p, t, constant<V>(1.65023022e-1f));
        p = fma(p, t, constant<V>(-3.13534296e-1f));
        p = fma(p, t, constant<V>(4.95305445e-1f));
        p = fma(p, t, constant<V>(-6.65382478e-1f));
        p = fma(p, t, constant<V>(7.69193051e-1f));
        return p;
    } else {
        V p = constant<V>(-3.81618035300424e-10);
        p = fma(p, t, constant<V>(-1.160886448380309e-09));
        p = fma(p, t, constant<V>(2.220848621773149e-09));
        p = fma(p, t, constant<V>(1.0797345335746256e-08));
        p = fma(p, t, constant<V>(-8.555696628254633e-09));
        p = fma(p, t, constant<V>(-7.014220631960926e-08));
        p = fma(p, t, constant<V>(4.0177962891473734e-08));
        p = fma(p, t, constant<V>(4.362925568222539e-07));
        p = fma(p, t, constant<V>(-3.345738518771817e-07));
        p = fma(p, t, constant<V>(-2.7707204135122383e-06));
        p = fma(p, t, constant<V>(3.97980489932909e-06));
        p = fma(p, t, constant<V>(1.6681639595174005e-05));
        p = fma(p, t, constant<V>(-4.976245616870157e-05));
        p = fma(p, t, constant<V>(-5.9375807358891235e-05));
        p = fma(p, t, constant<V>(0.0005448989927584027));
        p = fma(p, t, constant<V>(-0.0007978693892958589));
        p = fma(p, t, constant<V>(-0.002993376761868743));
        p = fma(p, t, constant<V>(0.020795066799260343));
        p = fma(p, t, constant<V>(-0.06911863870687814));
        p = fma(p, t, constant<V>(0.16502036617040713));
        p = fma(p, t, constant<V>(-0.31353315667128745));
        p = fma(p, t, constant<V>(0.4953056159699761));
        p = fma(p, t, constant<V>(-0.6653825028900568));
        p = fma(p, t, constant<V>(0.769193049750063));
        return p;
    }
}
// Q(a) = factor * power for a >= 0.
template <class V>
OWL_INLINE void normal_tail(V a, V& factor, V& power) {
    using T = Lane<V>;
    using S = Bits<V>;
    a = select(lt(a, constant<V>(T(40))), a, constant<V>(T(40)));
    V inverse = T(1) / (a + T(5));
    // a^2 as an unevaluated sum, so that its rounding does not grow in exp. The products of halves are exact.
    V square = a * a;
    V high = from_bits(as_bits(a) >> (S::mantissa / 2 + 1) << (S::mantissa / 2 + 1)), low = a - high;
    V rest = ((high * high - square) + (high + high) * low) + low * low;
    factor = normal_tail_factor((a - T(5)) * inverse) * inverse;
    power = exp_sum(T(-0.5) * square, T(-0.5) * rest);
}

// erf(x) / x - 1 for |x| < 1, z = x^2.
template <class V>
OWL_INLINE V erf_tail(V z) {
    if constexpr (is_float<V>) {
        V p = constant<V>(7.87587506e-5f);
        p = fma(p, z, constant<V>(-8.01686429e-4f));
        p = fma(p, z, constant<V>(5.18908742e-3f));
        p = fma(p, z, constant<V>(-2.6854212e-2f));
        p = fma(p, z, constant<V>(1.12835947e-1f));
        p = fma(p, z, constant<V>(-3.76126267e-1f));
        p = fma(p, z, constant<V>(1.28379166e-1f));
        return p;
    } else {
        V p = constant<V>(5.957176147748911e-11);
        p = fma(p, z, constant<V>(-1.1372848856791674e-09));
        p = fma(p, z, constant<V>(1.4659775274047436e-08));
        p = fma(p, z, constant<V>(-1.6350312701054695e-07));
        p = fma(p, z, constant<V>(1.6461000484121368e-06));
        p = fma(p, z, constant<V>(-1.4925595266831182e-05));
        p = fma(p, z, constant<V>(0.0001205533111164271));
        p = fma(p, z, constant<V>(-0.000854832698083379));
        p = fma(p, z, constant<V>(0.0052239776248180145));
        p = fma(p, z, constant<V>(-0.026866170645076792));
        p = fma(p, z, constant<V>(0.11283791670954879));
        p = fma(p, z, constant<V>(-0.3761263890318375));
        p = fma(p, z, constant<V>(0.1283791670955126));
        return p;
    }
}
template <class V>
OWL_INLINE V erf(V x) {
    using T = Lane<V>;
    V a = abs(x);
    V factor, power;
    normal_tail(a * T(1.4142135623730951), factor, power);
    V near = a + a * erf_tail(a * a);
    V far = T(1) - T(2) * (factor * power);
    V y = copysign(select(lt(a, constant<V>(T(1))), near, far), x);
    return select(is_nan(x), x, y);
}

// x times the share of a normal distribution that lies below x; where that share is 0, so is the result.
template <class V>
OWL_INLINE V gelu(V x) {
    using T = Lane<V>;
    V factor, power;
    normal_tail(abs(x), factor, power);
    V below = max(x, constant<V>(T(-40))) * factor * power;  // in this order it is the last to become denormal
    return select(lt(x, V{}), below, x * (T(1) - factor * power));
}

// max(x, 0) + log(1 + e) of e = exp(-|x|). The part of e that 1 + e loses is put back, so that the result keeps its digits where
// it is near 0.
template <class V>
OWL_INLINE V softplus(V x) {
    using T = Lane<V>;
    V e = exp(-abs(x));
    V sum = T(1) + e;
    V lost = e - (sum - T(1));
    return max(x, V{}) + (log(sum) + lost / sum);
}

template <class V>
OWL_INLINE V floor(V x) {
    using C = Constants<Lane<V>>;
    V a = abs(x);
    V nearest = copysign((a + C::integer) - C::integer, x);
    V y = select(gt(nearest, x), nearest - Lane<V>(1), nearest);
    return select(lt(a, constant<V>(C::integer)), y, x);
}

// ---------------------------------------------------------------------------------------------------------------- pow

// a + b and a * b as an unevaluated sum of two numbers, exactly. two_sum_ordered needs |a| >= |b|.
template <class V>
OWL_INLINE void two_sum_ordered(V a, V b, V& high, V& low) {
    high = a + b;
    low = b - (high - a);
}
template <class V>
OWL_INLINE void two_product(V a, V b, V& high, V& low) {
    high = a * b;
    if (kHasFma) {
        low = fma(a, b, -high);
    } else {
        const double splitter = 134217729.0;  // 2^27 + 1
        V p = a * splitter, q = b * splitter;
        V ah = p - (p - a), bh = q - (q - b), al = a - ah, bl = b - bh;
        low = al * bl - (((high - ah * bh) - al * bh) - ah * bl);
    }
}

// |x|^y of doubles, without the special cases. The logarithm is carried to about 2^-66, so that y log x keeps 2^-55 even at 700.
template <class V>
OWL_INLINE V pow_of_doubles(V magnitude, V y) {
    V e, f;
    split_exponent(magnitude, e, f);
    // s = f / (2 + f) as s + s_low.
    V d, d_low, s = f / (f + 2.0), product, product_low;
    two_sum_ordered(constant<V>(2.0), f, d, d_low);
    two_product(s, d, product, product_low);
    V s_low = (((f - product) - product_low) - s * d_low) / d;
    // z = s^2, and the cubic term 2/3 s^3, likewise in two parts; the rest is small enough for one.
    V z, z_low, cube, cube_low, third, third_low;
    two_product(s, s, z, z_low);
    z_low = z_low + 2.0 * s * s_low;
    two_product(z, s, cube, cube_low);
    cube_low = cube_low + z_low * s + z * s_low;
    two_product(cube, constant<V>(0x1.5555555555555p-1), third, third_low);
    third_low = third_low + cube_low * 0x1.5555555555555p-1 + cube * 0x1.5555555555555p-55;
    V p = constant<V>(2.0 / 21);
    p = fma(p, z, constant<V>(2.0 / 19));
    p = fma(p, z, constant<V>(2.0 / 17));
    p = fma(p, z, constant<V>(2.0 / 15));
    p = fma(p, z, constant<V>(2.0 / 13));
    p = fma(p, z, constant<V>(2.0 / 11));
    p = fma(p, z, constant<V>(2.0 / 9));
    p = fma(p, z, constant<V>(2.0 / 7));
    p = fma(p, z, constant<V>(2.0 / 5));
    V rest = p * z * z * s;
    // Largest first: e ln 2 (its product with the short ln2_high is exact), 2 s, 2/3 s^3, the rest.
    V high, low, next, error;
    two_sum_ordered(2.0 * s, third, high, low);
    low = low + (third_low + (2.0 * s_low + rest));
    V exponent = e * Constants<Lane<V>>::ln2_high;
    next = exponent + high;
    error = select(eq(e, V{}), V{}, high - (next - exponent));  // |e ln 2| > |high| unless e = 0
    low = low + error + e * Constants<Lane<V>>::ln2_low;
    two_sum_ordered(next, low, high, low);
    V t, t_low;
    two_product(high, y, t, t_low);
    t_low = t_low + low * y;
    // Beyond the range of exp the low part means nothing and may be NaN.
    t_low = select(mask_and(lt(abs(t), constant<V>(800.0)), lt(abs(t_low), constant<V>(1.0))), t_low, V{});
    return exp_sum(t, t_low);
}
// Likewise, where a float is wanted.
struct ExpOfProduct {
    template <class V>
    OWL_INLINE V operator()(V x, V y) const { return exp(log(x) * y); }
};
template <class V>
OWL_INLINE V pow_core(V magnitude, V y) {
    if constexpr (is_float<V>)
        return in_doubles(magnitude, y, ExpOfProduct());
    else
        return pow_of_doubles(magnitude, y);
}

template <class V>
OWL_INLINE Mask<Lane<V>> is_whole(V x) {
    using C = Constants<Lane<V>>;
    V a = abs(x);
    return mask_or(ge(a, constant<V>(C::integer)), eq((a + C::integer) - C::integer, a));
}

// As C's and NumPy's pow: 1 where y = 0 or x = 1, whatever the other is; NaN for a finite x < 0 and a y that is no
// whole number; the sign of x^y for whole y.
template <class V>
OWL_INLINE V pow(V x, V y) {
    using T = Lane<V>;
    using C = Constants<T>;
    const V zero{}, one = constant<V>(T(1)), infinity = constant<V>(C::infinity);
    V a = abs(x), y_size = abs(y);
    V r = pow_core(a, y);
    auto grows = mask_or(mask_and(gt(a, one), gt(y, zero)), mask_and(lt(a, one), lt(y, zero)));
    auto extreme = mask_or(mask_or(eq(a, zero), eq(a, infinity)), eq(y_size, infinity));
    r = select(extreme, select(grows, infinity, zero), r);
    auto whole = is_whole(y);
    auto odd = mask_and(whole, mask_not(is_whole(y * T(0.5))));
    r = select(odd, copysign(r, x), r);
    r = select(mask_and(mask_and(lt(x, zero), lt(a, infinity)), mask_not(whole)), constant<V>(C::nan), r);
    r = select(is_nan(x), x, select(is_nan(y), y, r));
    auto unit = mask_or(mask_or(eq(y, zero), eq(x, one)), mask_and(eq(a, one), eq(y_size, infinity)));
    return select(unit, one, r);
}

}  // namespace OWL_ISA
}  // namespace owl
