// For NVRTC, which has neither C's headers nor g++'s built-in functions: the parts of both that kernels use. It is included
// before all else.
#pragma once
#ifdef __CUDACC_RTC__

typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long int64_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long uint64_t;
static_assert(sizeof(int64_t) == 8 && sizeof(size_t) == 8, "a system whose long has 64 bits");

#define offsetof(type, member) __INTADDR__(&(((type*)0)->member))  // a constant, as none of C++'s own casts is

#define __builtin_inff() __builtin_bit_cast(float, 0x7f800000u)
#define __builtin_inf() __builtin_bit_cast(double, 0x7ff0000000000000ull)
#define __builtin_nanf(payload) __builtin_bit_cast(float, 0x7fc00000u)
#define __builtin_nan(payload) __builtin_bit_cast(double, 0x7ff8000000000000ull)

#endif
