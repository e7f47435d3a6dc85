// Softmax of attention scores with its scale, its mask and its dropout, in place, and the way back. One row of scores is
// read, computed in fp32 in a buffer that stays in the first cache, and written.
//
//     probabilities = softmax(scale * scores, where the mask allows)      forward
//     dropped       = probabilities, some of them 0, the others larger
//     gradient      = probabilities * (g - sum(g * probabilities)) * scale, g the gradient that dropout lets through
#include <algorithm>
#include <cmath>
#include <vector>

#include "numbers.h"

namespace runjob {

enum MaskKind : int64_t { NO_MASK, VISIBLE, ADDED_FP32, ADDED_BF16 };

// As runjob.runner.worker.kernels.softmax.Rows. `mask` has the strides of its first three dimensions, in elements.
struct Rows {
    bf16* scores;   // forward: in, and the probabilities out; backward: the probabilities
    bf16* dropped;  // out, unless threshold is 0
    bf16* gradient; // backward: of `dropped` in, of the scores out
    const void* mask;
    int64_t mask_kind, mask_batch, mask_head, mask_query;
    int64_t batches, heads, queries, keys;
    int64_t causal;
    int64_t threads;
    uint64_t key;
    uint32_t threshold;
    float kept, scale;

    int64_t count() const { return batches * heads * queries; }
    // Of `causal` rows the columns beyond are hidden.
    int64_t seen(int64_t row) const { return causal ? row % queries + 1 + keys - queries : keys; }
    int64_t mask_row(int64_t row) const {
        const int64_t query = row % queries, head = row / queries % heads, batch = row / queries / heads;
        return batch * mask_batch + head * mask_head + query * mask_query;
    }
};

// One pass: `score(j)` of every column, and the largest.
template <typename Score>
inline float read_scores(float* out, int64_t seen, Score score) {
    float largest = -INFINITY;
#pragma omp simd reduction(max : largest)
    for (int64_t j = 0; j < seen; ++j) {
        const float one = score(j);
        out[j] = one;
        largest = one > largest ? one : largest;
    }
    return largest;
}

// The scaled scores of a row, hidden ones at -inf; the largest of them.
inline float read_row(const Rows& all, const bf16* scores, int64_t row, int64_t seen, float* out) {
    const float scale = all.scale;
    const int64_t place = all.mask_row(row);
    switch (all.mask_kind) {
        case NO_MASK:
            return read_scores(out, seen, [=](int64_t j) { return widen(scores[j]) * scale; });
        case VISIBLE: {
            const uint8_t* visible = static_cast<const uint8_t*>(all.mask) + place;
            return read_scores(out, seen, [=](int64_t j) {
                const float one = widen(scores[j]) * scale;
                return visible[j] ? one : -INFINITY;
            });
        }
        case ADDED_FP32: {
            const float* added = static_cast<const float*>(all.mask) + place;
            return read_scores(out, seen, [=](int64_t j) { return widen(scores[j]) * scale + added[j]; });
        }
        default: {
            const bf16* added = static_cast<const bf16*>(all.mask) + place;
            return read_scores(out, seen, [=](int64_t j) { return widen(scores[j]) * scale + widen(added[j]); });
        }
    }
}

inline void forward_row(const Rows& all, int64_t row, float* buffer) {
    bf16* scores = all.scores + row * all.keys;
    const int64_t seen = all.seen(row);
    const float largest = read_row(all, scores, row, seen, buffer);
    // A row that may see nothing answers with zeros, as torch's own kernel does
    const float base = largest == -INFINITY ? 0.0f : largest;
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < seen; ++j) {
        const float weight = exponential(buffer[j] - base);
        buffer[j] = weight;
        sum += weight;
    }
    const float share = sum == 0.0f ? 0.0f : 1.0f / sum;
    std::fill(scores + seen, scores + all.keys, bf16{0});
    if (all.threshold == 0) {
#pragma omp simd
        for (int64_t j = 0; j < seen; ++j) scores[j] = narrowed(buffer[j] * share);
        return;
    }
    bf16* dropped_row = all.dropped + row * all.keys;
    std::fill(dropped_row + seen, dropped_row + all.keys, bf16{0});
    const Dropout dropout{all.key, all.threshold, all.kept};
    const RowKey key = row_key(all.key, static_cast<uint64_t>(row));
#pragma omp simd
    for (int64_t j = 0; j < seen; ++j) {
        const bf16 probability = narrowed(buffer[j] * share);
        scores[j] = probability;
        dropped_row[j] = narrowed(dropped(widen(probability), dropout, key, static_cast<uint32_t>(j)));
    }
}

inline void backward_row(const Rows& all, int64_t row, float* buffer) {
    const bf16* probabilities = all.scores + row * all.keys;
    bf16* gradient = all.gradient + row * all.keys;
    const int64_t seen = all.seen(row);
    const float scale = all.scale;
    float sum = 0.0f;
    if (all.threshold == 0) {
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < seen; ++j) {
            const float one = widen(gradient[j]);
            buffer[j] = one;
            sum += one * widen(probabilities[j]);
        }
    } else {
        bf16* dropped_row = all.dropped + row * all.keys;
        std::fill(dropped_row + seen, dropped_row + all.keys, bf16{0});
        const Dropout dropout{all.key, all.threshold, all.kept};
        const RowKey key = row_key(all.key, static_cast<uint64_t>(row));
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < seen; ++j) {
            const float probability = widen(probabilities[j]);
            const float factor = dropped(1.0f, dropout, key, static_cast<uint32_t>(j));
            const float one = widen(gradient[j]) * factor;
            dropped_row[j] = narrowed(probability * factor);
            buffer[j] = one;
            sum += one * probability;
        }
    }
#pragma omp simd
    for (int64_t j = 0; j < seen; ++j) gradient[j] = narrowed(widen(probabilities[j]) * (buffer[j] - sum) * scale);
    std::fill(gradient + seen, gradient + all.keys, bf16{0});
}

}  // namespace runjob

extern "C" void softmax_forward(const runjob::Rows* given) {
    const runjob::Rows all = *given;
#pragma omp parallel num_threads(all.threads)
    {
        std::vector<float> buffer(all.keys);
#pragma omp for schedule(static)
        for (int64_t row = 0; row < all.count(); ++row) runjob::forward_row(all, row, buffer.data());
    }
}

extern "C" void softmax_backward(const runjob::Rows* given) {
    const runjob::Rows all = *given;
#pragma omp parallel num_threads(all.threads)
    {
        std::vector<float> buffer(all.keys);
#pragma omp for schedule(static)
        for (int64_t row = 0; row < all.count(); ++row) runjob::backward_row(all, row, buffer.data());
    }
}
