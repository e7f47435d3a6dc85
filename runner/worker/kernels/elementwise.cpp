// Dropout and the tanh form of gelu, element by element.
#include <algorithm>

#include "numbers.h"

namespace runjob {

// Columns to a row of random bits, where the tensor has no rows of its own; what one thread takes at a time.
constexpr int64_t ROW = 1024;

// The way back is the same: what was dropped gets no gradient, what was kept gets it `kept` times.
template <typename Number>
void drop(const Number* in, Number* out, int64_t count, Dropout dropout, int64_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < (count + ROW - 1) / ROW; ++row) {
        const Dropout here = dropout;
        const RowKey key = row_key(here.key, static_cast<uint64_t>(row));
        const int64_t width = std::min(ROW, count - row * ROW);
        const Number* from = in + row * ROW;
        Number* to = out + row * ROW;
#pragma omp simd
        for (int64_t j = 0; j < width; ++j)
            to[j] = as<Number>(dropped(widen(from[j]), here, key, static_cast<uint32_t>(j)));
    }
}

// gelu(x) = x * sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3): Hendrycks and Gimpel 2016, with
// 1 + tanh(u) = 2 sigmoid(2 u)
constexpr float TWICE_ROOT = 1.5957691216f, CUBIC = 0.044715f;

inline float sigmoid_of(float x) { return 1.0f / (1.0f + exponential(-TWICE_ROOT * (x + CUBIC * x * x * x))); }

inline float gelu(float x) { return x * sigmoid_of(x); }

inline float gelu_slope(float x) {
    const float s = sigmoid_of(x);
    return s + x * s * (1.0f - s) * TWICE_ROOT * (1.0f + 3.0f * CUBIC * x * x);
}

}  // namespace runjob

using runjob::bf16;

extern "C" void dropout_bf16(const bf16* in, bf16* out, int64_t count, uint64_t key, uint32_t threshold, float kept,
                             int64_t threads) {
    runjob::drop(in, out, count, {key, threshold, kept}, threads);
}

extern "C" void dropout_fp32(const float* in, float* out, int64_t count, uint64_t key, uint32_t threshold, float kept,
                             int64_t threads) {
    runjob::drop(in, out, count, {key, threshold, kept}, threads);
}

extern "C" void gelu_forward(const bf16* in, bf16* out, int64_t count, int64_t threads) {
#pragma omp parallel for simd num_threads(threads) schedule(static)
    for (int64_t i = 0; i < count; ++i) out[i] = runjob::narrowed(runjob::gelu(runjob::widen(in[i])));
}

extern "C" void gelu_backward(const bf16* in, const bf16* gradient, bf16* out, int64_t count, int64_t threads) {
#pragma omp parallel for simd num_threads(threads) schedule(static)
    for (int64_t i = 0; i < count; ++i)
        out[i] = runjob::narrowed(runjob::widen(gradient[i]) * runjob::gelu_slope(runjob::widen(in[i])));
}
