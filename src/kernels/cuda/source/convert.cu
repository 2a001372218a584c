// Numbers from one precision to another, four to a thread.
#include "common.cuh"

template <class From, class To> DEVICE void convert(const From* from, To* to, i64 len) {
    i64 at = (i64(blockIdx.x) * blockDim.x + threadIdx.x) * 4;
    // a view may start anywhere: four at once only where both lie on a boundary of four
    bool together = at + 4 <= len && u64(from) % (4 * sizeof(From)) == 0 && u64(to) % (4 * sizeof(To)) == 0;
    if (together) {
        store_four(to + at, load_four(from + at));
        return;
    }
    for (i64 i = at; i < at + 4 && i < len; i++) to[i] = narrow<To>(wide(from[i]));
}

#define CONVERT(From, from_word, To, to_word) \
    KERNEL(convert_##from_word##_##to_word, 256, (const From* from, To* to, i64 len)) { convert(from, to, len); }

CONVERT(float, f32, float, f32)
CONVERT(float, f32, bf16, bf16)
CONVERT(float, f32, f16, f16)
CONVERT(bf16, bf16, float, f32)
CONVERT(bf16, bf16, bf16, bf16)
CONVERT(bf16, bf16, f16, f16)
CONVERT(f16, f16, float, f32)
CONVERT(f16, f16, bf16, bf16)
CONVERT(f16, f16, f16, f16)
