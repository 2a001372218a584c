// Pixels to rows of patches, and patches to tokens.
#include "common.cuh"

// (batch, 3, height, width) to (batch, patches, 3 patch²): a block has a row of patches of one image, which lies together in `rows`.
KERNEL(patch_unfold, 256, (int height, int width, int patch, const float* images, float* rows)) {
    u32 grid_h = height / patch, grid_w = width / patch, image = blockIdx.x / grid_h, top = blockIdx.x % grid_h * patch;
    bool fours = patch % 4 == 0 && width % 4 == 0 && on_fours(images) && on_fours(rows);
    u32 step = fours ? 4 : 1, run = patch / step, total = grid_w * 3 * patch * run;
    images += i64(image) * 3 * height * width + i64(top) * width;
    rows += i64(blockIdx.x) * grid_w * 3 * patch * patch;
    for (u32 i = threadIdx.x; i < total; i += blockDim.x) {
        u32 x = i % run, rest = i / run, y = rest % patch, place = rest / patch, channel = place % 3, across = place / 3;
        const float* from = images + (i64(channel) * height + y) * width + across * patch + x * step;
        if (fours) store_four(rows + i64(i) * 4, load_four(from));
        else rows[i] = *from;
    }
}

// tokens (batch, 1 + registers + patches, dim), a warp each: CLS with its position, `lead` as they are, patches with theirs.
KERNEL(patch_assemble, 128,
       (i64 total, int registers, int patches, int dim, const float* projected, const float* cls, const float* lead, const float* pos,
        float* tokens)) {
    i64 r = i64(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
    if (r >= total) return;
    int each = 1 + registers + patches;
    i64 image = r / each;
    int token = int(r % each), patch = token - 1 - registers;
    bool fours = dim % 4 == 0 && on_fours(projected) && on_fours(cls) && on_fours(lead) && on_fours(pos) && on_fours(tokens);
    const float* from = token == 0 ? cls : token <= registers ? lead + i64(token - 1) * dim : projected + (image * patches + patch) * dim;
    const float* place = token == 0 ? pos : token <= registers ? nullptr : pos + i64(1 + patch) * dim;
#pragma unroll 4
    for (int at = threadIdx.x % 32 * 4; at < dim; at += 128) {
        Four v = row_four(from, at, dim, fours);
        if (place) {
            Four p = row_four(place, at, dim, fours);
            v = Four{v.x + p.x, v.y + p.y, v.z + p.z, v.w + p.w};
        }
        set_row_four(tokens + r * dim, at, dim, fours, v);
    }
}

// dprojected = what came to the patches; dcls, dlead and dpos += the sums over images. A block has 32 WIDTH numbers of an image's
// tokens, a warp every 8th image.
template <int WIDTH>
DEVICE void assemble_backward(int batch, int registers, int patches, int dim, const float* dtokens, float* dprojected, float* dcls,
                              float* dlead, float* dpos, float (*room)[32 * WIDTH]) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    i64 outer = i64(1 + registers + patches) * dim, inner = i64(patches) * dim, lead = i64(1 + registers) * dim;
    i64 first = i64(blockIdx.x) * 32 * WIDTH, at = first + lane * WIDTH;
    Four sum{0.0f, 0.0f, 0.0f, 0.0f};
    if (at < outer) {
#pragma unroll 4
        for (int image = warp; image < batch; image += 8) {
            const float* from = dtokens + image * outer + at;
            float* to = dprojected + image * inner + (at - lead);
            if (WIDTH == 4) {
                Four d = load_four(from);
                if (at >= lead) store_four(to, d);
                sum = Four{sum.x + d.x, sum.y + d.y, sum.z + d.z, sum.w + d.w};
            } else {
                if (at >= lead) *to = *from;
                sum.x += *from;
            }
        }
    }
    if (WIDTH == 4) store_four(&room[warp][lane * WIDTH], sum);
    else room[warp][lane] = sum.x;
    __syncthreads();
    int i = threadIdx.x;
    at = first + i;
    if (i >= 32 * WIDTH || at >= outer) return;
    float all = 0.0f;
    for (int k = 0; k < 8; k++) all += room[k][i];
    if (at < dim) {
        dcls[at] += all;
        dpos[at] += all;
    } else if (at < lead) {
        dlead[at - dim] += all;
    } else {
        dpos[at - i64(registers) * dim] += all;
    }
}
#define ASSEMBLE_BACKWARD(name, WIDTH)                                                                                          \
    KERNEL(patch_assemble_backward_##name, 256,                                                                                 \
           (int batch, int registers, int patches, int dim, const float* dtokens, float* dprojected, float* dcls, float* dlead, \
            float* dpos)) {                                                                                                     \
        SHARED __align__(16) float room[8][32 * WIDTH];                                                                         \
        assemble_backward<WIDTH>(batch, registers, patches, dim, dtokens, dprojected, dcls, dlead, dpos, room);                 \
    }
ASSEMBLE_BACKWARD(fours, 4)
ASSEMBLE_BACKWARD(ones, 1)
