// What all kernels share: bfloat16 in and out, an exponential that the compiler can do eight or sixteen at a time, and
// random bits that are a function of (key, row, column), so that backward finds the mask that forward drew, nothing is
// stored, and the number of threads changes nothing. No intrinsics: loops are plain, and the compiler makes vectors of
// them for the processor that it runs on.
#pragma once
#include <cstdint>
#include <cstring>

namespace runjob {

using bf16 = uint16_t;

inline float widen(bf16 number) {
    uint32_t bits = static_cast<uint32_t>(number) << 16;
    float wide;
    std::memcpy(&wide, &bits, sizeof wide);
    return wide;
}
inline float widen(float number) { return number; }

// To the nearest, ties to even; a NaN stays one, since a training step looks for it.
inline bf16 narrowed(float number) {
    uint32_t bits;
    std::memcpy(&bits, &number, sizeof bits);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return static_cast<bf16>(number == number ? rounded : 0x7fc0u);
}
template <typename Number>
inline Number as(float number) { return number; }
template <>
inline bf16 as<bf16>(float number) { return narrowed(number); }

// exp to about 2e-7 relative: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2]. Below -87 it is 0, above 87 it stays there.
inline float exponential(float x) {
    float bounded = x < -87.0f ? -87.0f : x;
    bounded = bounded > 87.0f ? 87.0f : bounded;
    const float shifted = bounded * 1.44269504f + 12582912.0f;  // the integer part ends up in the low bits
    const float n = shifted - 12582912.0f;
    const float r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
    float sum = 1.0f / 720.0f;
    sum = sum * r + 1.0f / 120.0f;
    sum = sum * r + 1.0f / 24.0f;
    sum = sum * r + 1.0f / 6.0f;
    sum = sum * r + 0.5f;
    sum = sum * r + 1.0f;
    sum = sum * r + 1.0f;
    int32_t bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    bits = (bits - 0x4b400000 + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    const float value = sum * power;
    return x < -87.0f ? 0.0f : value;
}

// A key for each row by the finaliser of SplitMix64 (Steele, Lea and Flood 2014); inside a row a 32-bit mixer (two
// multiplications, constants of Wellons' search for low bias) over the column, with both halves of the row's key.
struct RowKey {
    uint32_t first, second;
};
inline RowKey row_key(uint64_t key, uint64_t row) {
    uint64_t x = key + (row + 1) * 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    x ^= x >> 31;
    return {static_cast<uint32_t>(x), static_cast<uint32_t>(x >> 32)};
}
inline uint32_t random_bits(RowKey key, uint32_t column) {
    uint32_t x = column ^ key.first;
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x += key.second;
    x *= 0x846ca68bu;
    return x ^ (x >> 16);
}

// Dropout as the kernels see it: an element stays where its bits reach `threshold`, and is then `kept` times as large.
struct Dropout {
    uint64_t key;
    uint32_t threshold;
    float kept;
};
inline float dropped(float number, const Dropout& dropout, RowKey key, uint32_t column) {
    return random_bits(key, column) >= dropout.threshold ? number * dropout.kept : 0.0f;
}

}  // namespace runjob
