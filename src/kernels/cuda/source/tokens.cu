// Copies of parts. Nothing is computed to speak of: four numbers to a thread where they lie on boundaries, else one by one.
#include "common.cuh"

DEVICE void add_to(float* to, const float* from) {
    Four a = load_four(to), b = load_four(from);
    store_four(to, Four{a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w});
}

// Images are `kept` numbers long, or `kept` + `gap` with what is left out, which stands behind the first `before`. A block has four
// times its threads of an image's numbers; an image has `blocks` of them.

// to (images, kept) = from (images, kept + gap)
KERNEL(tokens_copy, 256, (i64 kept, i64 gap, i64 before, u32 blocks, const float* from, float* to)) {
    i64 image = blockIdx.x / blocks, at = (i64(blockIdx.x % blocks) * blockDim.x + threadIdx.x) * 4;
    from += image * (kept + gap);
    to += image * kept;
    bool one_piece = gap == 0 || at >= before || at + 4 <= before;
    i64 past = at < before ? at : at + gap;
    if (one_piece && at + 4 <= kept && on_fours(from + past) && on_fours(to + at)) {
        store_four(to + at, load_four(from + past));
        return;
    }
    for (i64 i = at; i < at + 4 && i < kept; i++) to[i] = from[i < before ? i : i + gap];
}

// to (images, kept + gap) += from (images, kept)
KERNEL(tokens_add, 256, (i64 kept, i64 gap, i64 before, u32 blocks, const float* from, float* to)) {
    i64 image = blockIdx.x / blocks, at = (i64(blockIdx.x % blocks) * blockDim.x + threadIdx.x) * 4;
    to += image * (kept + gap);
    from += image * kept;
    bool one_piece = gap == 0 || at >= before || at + 4 <= before;
    i64 past = at < before ? at : at + gap;
    if (one_piece && at + 4 <= kept && on_fours(to + past) && on_fours(from + at)) {
        add_to(to + past, from + at);
        return;
    }
    for (i64 i = at; i < at + 4 && i < kept; i++) to[i < before ? i : i + gap] += from[i];
}

// dst = scale · those rows of src that are named, a warp each
template <class T> DEVICE void gather(Rows rows, int dim, float scale, const float* src, T* dst) {
    i64 r = i64(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
    if (r >= rows.count) return;
    bool fours = dim % 4 == 0 && on_fours(src) && on_fours(dst);
    src += row_at(rows, int(r)) * dim;
    dst += r * dim;
#pragma unroll 4
    for (int at = threadIdx.x % 32 * 4; at < dim; at += 128) {
        Four v = row_four(src, at, dim, fours);
        set_row_four(dst, at, dim, fours, Four{scale * v.x, scale * v.y, scale * v.z, scale * v.w});
    }
}
KERNEL(tokens_gather_f32, 128, (Rows rows, int dim, float scale, const float* src, float* dst)) { gather(rows, dim, scale, src, dst); }
KERNEL(tokens_gather_bf16, 128, (Rows rows, int dim, float scale, const float* src, bf16* dst)) { gather(rows, dim, scale, src, dst); }
KERNEL(tokens_gather_f16, 128, (Rows rows, int dim, float scale, const float* src, f16* dst)) { gather(rows, dim, scale, src, dst); }

// Whether a row is one of those that are named.
DEVICE bool is_named(Rows rows, i64 row) {
    if (rows.images == nullptr) {
        i64 past = row - rows.first, apart = rows.apart > 0 ? rows.apart : 1;
        return past >= 0 && past % apart == 0 && past / apart < rows.count;
    }
    i64 image = row / rows.each;
    // the first of the images, in ascending order, that is not below
    int low = 0, high = rows.count / rows.each;
    while (low < high) {
        int middle = (low + high) / 2;
        if (rows.images[middle] < image) low = middle + 1;
        else high = middle;
    }
    return low < rows.count / rows.each && rows.images[low] == image;
}

// dst = src in all rows but those, a warp each
KERNEL(tokens_others, 128, (Rows rows, i64 total, int dim, const float* src, float* dst)) {
    i64 r = i64(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
    if (r >= total || is_named(rows, r)) return;
    bool fours = dim % 4 == 0 && on_fours(src) && on_fours(dst);
    src += r * dim;
    dst += r * dim;
#pragma unroll 4
    for (int at = threadIdx.x % 32 * 4; at < dim; at += 128) {
        set_row_four(dst, at, dim, fours, row_four(src, at, dim, fours));
    }
}
