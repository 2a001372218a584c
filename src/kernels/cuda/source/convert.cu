// Numbers from one precision to another.
#include "common.cuh"

#define CONVERT(From, from_word, To, to_word) \
    KERNEL(convert_##from_word##_##to_word, 256, (const From* from, To* to, i64 len)) { \
        each_number<false>(from, to, len, [](float x, float) { return x; }); \
    }

CONVERT(float, f32, float, f32)
CONVERT(float, f32, bf16, bf16)
CONVERT(float, f32, f16, f16)
CONVERT(bf16, bf16, float, f32)
CONVERT(bf16, bf16, bf16, bf16)
CONVERT(bf16, bf16, f16, f16)
CONVERT(f16, f16, float, f32)
CONVERT(f16, f16, bf16, bf16)
CONVERT(f16, f16, f16, f16)
