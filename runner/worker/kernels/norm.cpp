// Layer norm of a sum, z = residual + dropout(added), and the way back. z is not stored: the way back computes it again,
// with the same random bits. Sums over rows (gradients of weight and bias) are taken in a fixed number of pieces, one
// after the other, so that they are the same bits for any number of threads.
#include <algorithm>
#include <cmath>
#include <vector>

#include "numbers.h"

namespace runjob {

constexpr int64_t PIECES = 64;

// As runjob.runner.worker.kernels.norm.Rows.
struct NormRows {
    const bf16* added;     // null: z is the residual
    const void* residual;  // bf16 or fp32 (`wide`)
    const float *weight, *bias;  // bias may be null
    bf16* out;
    float *mean, *reciprocal;  // of each row, for the way back
    const bf16* gradient;      // of `out`
    bf16* added_gradient;
    void* residual_gradient;  // as `residual`
    float *weight_gradient, *bias_gradient;
    int64_t rows, width, wide, threads;
    uint64_t key;
    uint32_t threshold;
    float kept, epsilon;
};

template <typename Number>
inline void read_sum(const NormRows& all, int64_t row, float* z) {
    const int64_t width = all.width;
    const Number* from = static_cast<const Number*>(all.residual) + row * width;
    if (all.added == nullptr) {
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) z[j] = widen(from[j]);
        return;
    }
    const bf16* added = all.added + row * width;
    if (all.threshold == 0) {
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) z[j] = widen(from[j]) + widen(added[j]);
        return;
    }
    const Dropout dropout{all.key, all.threshold, all.kept};
    const RowKey key = row_key(all.key, static_cast<uint64_t>(row));
#pragma omp simd
    for (int64_t j = 0; j < width; ++j)
        z[j] = widen(from[j]) + dropped(widen(added[j]), dropout, key, static_cast<uint32_t>(j));
}

template <typename Number>
inline void forward_row(const NormRows& all, int64_t row, float* z) {
    const int64_t width = all.width;
    const float *weight = all.weight, *bias = all.bias;
    read_sum<Number>(all, row, z);
    float sum = 0.0f, squares = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < width; ++j) sum += z[j];
    const float mean = sum / static_cast<float>(width);
#pragma omp simd reduction(+ : squares)
    for (int64_t j = 0; j < width; ++j) squares += (z[j] - mean) * (z[j] - mean);
    const float reciprocal = 1.0f / std::sqrt(squares / static_cast<float>(width) + all.epsilon);
    all.mean[row] = mean;
    all.reciprocal[row] = reciprocal;
    bf16* out = all.out + row * width;
    if (bias == nullptr) {
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) out[j] = narrowed((z[j] - mean) * reciprocal * weight[j]);
    } else {
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) out[j] = narrowed((z[j] - mean) * reciprocal * weight[j] + bias[j]);
    }
}

template <typename Number>
void forward(const NormRows& all) {
#pragma omp parallel num_threads(all.threads)
    {
        std::vector<float> buffer(all.width);
#pragma omp for schedule(static)
        for (int64_t row = 0; row < all.rows; ++row) forward_row<Number>(all, row, buffer.data());
    }
}

// One row of the way back; adds to this piece's sums for weight and bias.
template <typename Number>
inline void backward_row(const NormRows& all, int64_t row, float* z, float* weight_sum, float* bias_sum) {
    read_sum<Number>(all, row, z);
    const int64_t width = all.width;
    const bf16* gradient = all.gradient + row * width;
    const float* weight = all.weight;
    const float mean = all.mean[row], reciprocal = all.reciprocal[row];
    float along = 0.0f, level = 0.0f;
#pragma omp simd reduction(+ : along, level)
    for (int64_t j = 0; j < width; ++j) {
        const float normal = (z[j] - mean) * reciprocal, given = widen(gradient[j]);
        const float weighted = given * weight[j];
        z[j] = normal;
        along += weighted * normal;
        level += weighted;
        weight_sum[j] += given * normal;
        bias_sum[j] += given;
    }
    along /= static_cast<float>(width);
    level /= static_cast<float>(width);
    Number* residual_gradient = static_cast<Number*>(all.residual_gradient) + row * width;
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) {
        const float one = (widen(gradient[j]) * weight[j] - level - z[j] * along) * reciprocal;
        z[j] = one;
        residual_gradient[j] = as<Number>(one);
    }
    if (all.added == nullptr) return;
    bf16* added_gradient = all.added_gradient + row * width;
    if (all.threshold == 0) {
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) added_gradient[j] = narrowed(z[j]);
        return;
    }
    const Dropout dropout{all.key, all.threshold, all.kept};
    const RowKey key = row_key(all.key, static_cast<uint64_t>(row));
#pragma omp simd
    for (int64_t j = 0; j < width; ++j)
        added_gradient[j] = narrowed(dropped(z[j], dropout, key, static_cast<uint32_t>(j)));
}

template <typename Number>
void backward(const NormRows& all) {
    std::vector<float> sums(2 * PIECES * all.width, 0.0f);
#pragma omp parallel num_threads(all.threads)
    {
        std::vector<float> buffer(all.width);
#pragma omp for schedule(static)
        for (int64_t piece = 0; piece < PIECES; ++piece) {
            float* weight_sum = sums.data() + 2 * piece * all.width;
            const int64_t first = piece * all.rows / PIECES, beyond = (piece + 1) * all.rows / PIECES;
            for (int64_t row = first; row < beyond; ++row)
                backward_row<Number>(all, row, buffer.data(), weight_sum, weight_sum + all.width);
        }
    }
    for (int64_t piece = 0; piece < PIECES; ++piece) {
        const float* weight_sum = sums.data() + 2 * piece * all.width;
        const float* bias_sum = weight_sum + all.width;
        for (int64_t j = 0; j < all.width; ++j) all.weight_gradient[j] += weight_sum[j];
        if (all.bias != nullptr)
            for (int64_t j = 0; j < all.width; ++j) all.bias_gradient[j] += bias_sum[j];
    }
}

}  // namespace runjob

extern "C" void norm_forward(const runjob::NormRows* all) {
    all->wide ? runjob::forward<float>(*all) : runjob::forward<runjob::bf16>(*all);
}

extern "C" void norm_backward(const runjob::NormRows* all) {
    all->wide ? runjob::backward<float>(*all) : runjob::backward<runjob::bf16>(*all);
}
