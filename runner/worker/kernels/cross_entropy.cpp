// Cross-entropy of logits, whose gradient takes their place: a row is read once into a buffer that stays in the second
// cache, and written once.
//
//     loss     = log(sum(exp(scores))) - scores[target],  scores = logits + bias
//     gradient = softmax(scores) - (1 at the target)
#include <algorithm>
#include <cmath>
#include <vector>

#include "numbers.h"

namespace runjob {

// As runjob.runner.worker.kernels.cross_entropy.Logits. A row's first `classes` of `stride` places are its logits.
struct Logits {
    bf16* logits;            // in; the gradient out
    const int64_t* targets;  // below 0: nothing is predicted there, and its gradient is 0
    const float* bias;       // or null
    float* losses;
    float* bias_gradient;  // or null
    int64_t rows, classes, stride, threads;
};

inline void cross_entropy_row(const Logits& all, int64_t row, float* scores) {
    bf16* logits = all.logits + row * all.stride;
    const int64_t classes = all.classes, target = all.targets[row];
    if (target < 0) {
        std::fill(logits, logits + classes, bf16{0});
        all.losses[row] = 0.0f;
        return;
    }
    const float* bias = all.bias;
    float largest = -INFINITY;
    if (bias != nullptr) {
#pragma omp simd reduction(max : largest)
        for (int64_t j = 0; j < classes; ++j) {
            const float one = widen(logits[j]) + bias[j];
            scores[j] = one;
            largest = one > largest ? one : largest;
        }
    } else {
#pragma omp simd reduction(max : largest)
        for (int64_t j = 0; j < classes; ++j) {
            const float one = widen(logits[j]);
            scores[j] = one;
            largest = one > largest ? one : largest;
        }
    }
    const float told = scores[target] - largest;
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < classes; ++j) {
        const float weight = exponential(scores[j] - largest);
        scores[j] = weight;
        sum += weight;
    }
    all.losses[row] = std::log(sum) - told;
    const float share = 1.0f / sum;
    const float at_target = scores[target] * share - 1.0f;
#pragma omp simd
    for (int64_t j = 0; j < classes; ++j) logits[j] = narrowed(scores[j] * share);
    logits[target] = narrowed(at_target);
}

}  // namespace runjob

extern "C" void cross_entropy(const runjob::Logits* given) {
    const runjob::Logits all = *given;
#pragma omp parallel num_threads(all.threads)
    {
        std::vector<float> scores(all.classes);
#pragma omp for schedule(static)
        for (int64_t row = 0; row < all.rows; ++row) runjob::cross_entropy_row(all, row, scores.data());
    }
    if (all.bias_gradient == nullptr) return;
    // Each class is summed over the rows in their order by one thread, whichever it is: the bits depend on no number of
    // threads. 512 classes of a row are one run of memory.
    constexpr int64_t WIDTH = 512;
#pragma omp parallel for schedule(static) num_threads(all.threads)
    for (int64_t begin = 0; begin < all.classes; begin += WIDTH) {
        const int64_t count = std::min(WIDTH, all.classes - begin);
        float sums[WIDTH] = {};
        for (int64_t row = 0; row < all.rows; ++row) {
            const runjob::bf16* gradient = all.logits + row * all.stride + begin;
#pragma omp simd
            for (int64_t j = 0; j < count; ++j) sums[j] += runjob::widen(gradient[j]);
        }
        std::copy(sums, sums + count, all.bias_gradient + begin);
    }
}
