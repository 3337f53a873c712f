// From random bits to numbers, over numbers and vectors of them as in arithmetic.h. `U` holds a number's bits: 32 of a float,
// 64 of a double.
//
// A uniform number is the upper 24 bits times 2^-24, or the upper 53 times 2^-53. Normal numbers come in pairs by Box-Muller:
// the elements k = 0, 1 (and 2, 3) of a block of philox.h are radius times cosine and sine, the radius from the first bits,
// the angle from the second.
#pragma once
#include "_cpu/kernels/arithmetic.h"

namespace owl {
namespace OWL_ISA {

// In [0, 1).
template <class V, class U>
OWL_INLINE V unit_number(U bits) {
    if constexpr (is_float<V>)
        return from_whole(bits >> 8) * 0x1p-24f;
    else
        return (from_whole(bits >> 32) * 0x1p21 + from_whole((bits >> 11) & 0x1fffffu)) * 0x1p-53;
}
// In (0, 1], all bits used, so that rare large normal numbers occur.
template <class V, class U>
OWL_INLINE V positive_number(U bits) {
    if constexpr (is_float<V>)
        return unit_number<V>(bits) + (from_whole(bits & 255u) + 0.5f) * 0x1p-32f;
    else
        return unit_number<V>(bits) + (from_whole(bits & 0x7ffu) + 0.5) * 0x1p-64;
}

// (pi/2)^n / n!, with alternating sign. A variable, so that no compiler computes it anew.
constexpr double taylor(int n) {
    double c = 1;
    for (int i = 1; i <= n; ++i) c *= 1.5707963267948966 / i;
    return (n / 2) % 2 ? -c : c;
}
template <int n>
constexpr double kTaylor = taylor(n);

// sin(pi/2 t) / t and cos(pi/2 t) for |t| <= 1/2, as polynomials in z = t^2 (Taylor's, long enough for the type).
template <class V>
OWL_INLINE V sin_quarter(V z) {
    if constexpr (is_float<V>) {
        V p = constant<V>(1.6044118478735982e-4f);
        p = fma(p, z, constant<V>(-4.6817541353186881e-3f));
        p = fma(p, z, constant<V>(7.9692626246167046e-2f));
        p = fma(p, z, constant<V>(-6.4596409750624625e-1f));
        return fma(p, z, constant<V>(1.5707963267948966f));
    } else {
        V p = constant<V>(kTaylor<17>);
        p = fma(p, z, constant<V>(kTaylor<15>));
        p = fma(p, z, constant<V>(kTaylor<13>));
        p = fma(p, z, constant<V>(kTaylor<11>));
        p = fma(p, z, constant<V>(kTaylor<9>));
        p = fma(p, z, constant<V>(kTaylor<7>));
        p = fma(p, z, constant<V>(kTaylor<5>));
        p = fma(p, z, constant<V>(kTaylor<3>));
        return fma(p, z, constant<V>(kTaylor<1>));
    }
}
template <class V>
OWL_INLINE V cos_quarter(V z) {
    if constexpr (is_float<V>) {
        V p = constant<V>(9.1926027483942659e-4f);
        p = fma(p, z, constant<V>(-2.0863480763352961e-2f));
        p = fma(p, z, constant<V>(2.5366950790104802e-1f));
        p = fma(p, z, constant<V>(-1.2337005501361698f));
        return fma(p, z, constant<V>(1.0f));
    } else {
        V p = constant<V>(kTaylor<16>);
        p = fma(p, z, constant<V>(kTaylor<14>));
        p = fma(p, z, constant<V>(kTaylor<12>));
        p = fma(p, z, constant<V>(kTaylor<10>));
        p = fma(p, z, constant<V>(kTaylor<8>));
        p = fma(p, z, constant<V>(kTaylor<6>));
        p = fma(p, z, constant<V>(kTaylor<4>));
        p = fma(p, z, constant<V>(kTaylor<2>));
        return fma(p, z, constant<V>(kTaylor<0>));
    }
}

// Two independent standard normal numbers.
template <class V, class U>
OWL_INLINE void box_muller(U radius_bits, U angle_bits, V& first, V& second) {
    using T = Lane<V>;
    using C = Constants<T>;
    const V radius = sqrt(T(-2) * log(positive_number<V>(radius_bits)));
    // The angle in quarter turns, as the nearest whole number n and the rest t in [-1/2, 1/2].
    const V angle = T(4) * unit_number<V>(angle_bits);
    const V n = (angle + C::round) - C::round;
    const V t = angle - n, z = t * t;
    const V s = t * sin_quarter(z), c = cos_quarter(z);
    const V one = constant<V>(T(1)), two = constant<V>(T(2)), three = constant<V>(T(3));
    const auto odd = mask_or(eq(n, one), eq(n, three));
    const auto lower = mask_or(eq(n, two), eq(n, three));  // the sine's sign
    const auto left = mask_or(eq(n, one), eq(n, two));     // the cosine's sign
    const V cosine = select(odd, s, c), sine = select(odd, c, s);
    first = radius * select(left, -cosine, cosine);
    second = radius * select(lower, -sine, sine);
}

// The largest number below high, for the rare product that rounds up to it; high itself if low is not below it.
template <class V>
OWL_INLINE V below(V high, V low) {
    const auto bits = as_bits(high);
    V x = select(gt(high, V{}), from_bits(bits - 1), from_bits(bits + 1));
    x = select(eq(high, V{}), constant<V>(-Constants<Lane<V>>::smallest_normal), x);
    return select(lt(low, high), x, high);
}

}  // namespace OWL_ISA
}  // namespace owl
