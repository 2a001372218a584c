// The head's last layer: weights of unit directions, made from v, and their gradient; a warp for each row.
#include "common.cuh"


// calls `four(place)`, or `one(place)` where four at a time do not go, for all of a row, by one warp
template <class Fours, class One> DEVICE void each_of_row(bool together, int width, Fours four, One one) {
    int lane = threadIdx.x % 32;
    if (together) {
#pragma unroll 2
        for (int i = lane * 4; i < width; i += 128) four(i);
    } else {
#pragma unroll 1
        for (int i = lane; i < width; i += 32) one(i);
    }
}

// w = g · v / ‖v‖ in the precision of products; norms keeps ‖v‖
template <class T>
DEVICE void weights(int rows, int inp, const float* __restrict__ v, const float* __restrict__ g, T* __restrict__ w, float* norms) {
    i64 row = i64(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
    if (row >= rows) return;
    v += row * inp;
    w += row * inp;
    bool together = inp % 4 == 0 && on_fours(v) && on_fours(w);
    double squares = 0.0;
    each_of_row(
        together, inp,
        [&](int i) {
            Four x = load_four(v + i);
            squares += double(x.x) * x.x + double(x.y) * x.y + (double(x.z) * x.z + double(x.w) * x.w);
        },
        [&](int i) { squares += double(v[i]) * v[i]; });
    double length = sqrt(warp_sum(squares));
    float scale = float((g ? double(g[row]) : 1.0) / length);
    // the row again, from the cache
    each_of_row(
        together, inp,
        [&](int i) {
            Four x = load_four(v + i);
            store_four(w + i, Four{scale * x.x, scale * x.y, scale * x.z, scale * x.w});
        },
        [&](int i) { w[i] = narrow<T>(scale * v[i]); });
    if (threadIdx.x % 32 == 0) norms[row] = float(length);
}
KERNEL(normed_linear_weights_f32, 256, (int rows, int inp, const float* v, const float* g, float* w, float* norms)) {
    weights(rows, inp, v, g, w, norms);
}
KERNEL(normed_linear_weights_bf16, 256, (int rows, int inp, const float* v, const float* g, bf16* w, float* norms)) {
    weights(rows, inp, v, g, w, norms);
}
KERNEL(normed_linear_weights_f16, 256, (int rows, int inp, const float* v, const float* g, f16* w, float* norms)) {
    weights(rows, inp, v, g, w, norms);
}

// the same weights once more, of norms that are known
template <class T>
DEVICE void weights_again(int rows, int inp, const float* __restrict__ v, const float* __restrict__ g, const float* norms, T* __restrict__ w) {
    i64 row = i64(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
    if (row >= rows) return;
    v += row * inp;
    w += row * inp;
    float scale = (g ? g[row] : 1.0f) / norms[row];
    each_of_row(
        inp % 4 == 0 && on_fours(v) && on_fours(w), inp,
        [&](int i) {
            Four x = load_four(v + i);
            store_four(w + i, Four{scale * x.x, scale * x.y, scale * x.z, scale * x.w});
        },
        [&](int i) { w[i] = narrow<T>(scale * v[i]); });
}
KERNEL(normed_linear_again_f32, 256, (int rows, int inp, const float* v, const float* g, const float* norms, float* w)) {
    weights_again(rows, inp, v, g, norms, w);
}
KERNEL(normed_linear_again_bf16, 256, (int rows, int inp, const float* v, const float* g, const float* norms, bf16* w)) {
    weights_again(rows, inp, v, g, norms, w);
}
KERNEL(normed_linear_again_f16, 256, (int rows, int inp, const float* v, const float* g, const float* norms, f16* w)) {
    weights_again(rows, inp, v, g, norms, w);
}

// the gradients of v and g from that of w, added to dv and dg
KERNEL(normed_linear_gradients, 256,
       (int rows, int inp, const float* __restrict__ dw, const float* __restrict__ v, const float* __restrict__ g,
        const float* __restrict__ norms, float* __restrict__ dv, float* dg)) {
    i64 row = i64(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
    if (row >= rows) return;
    dw += row * inp;
    v += row * inp;
    dv += row * inp;
    bool together = inp % 4 == 0 && on_fours(dw) && on_fours(v) && on_fours(dv);
    double sum = 0.0;
    each_of_row(
        together, inp,
        [&](int i) {
            Four a = load_four(dw + i), b = load_four(v + i);
            sum += double(a.x) * b.x + double(a.y) * b.y + (double(a.z) * b.z + double(a.w) * b.w);
        },
        [&](int i) { sum += double(dw[i]) * v[i]; });
    double length = norms[row], along = warp_sum(sum) / length;
    // across v the gradient stays as it is, along v it is g's
    float scale = float((g ? double(g[row]) : 1.0) / length), part = float(along / length);
    each_of_row(
        together, inp,
        [&](int i) {
            Four a = load_four(dw + i), b = load_four(v + i), d = load_four(dv + i);
            store_four(dv + i, Four{d.x + scale * (a.x - part * b.x), d.y + scale * (a.y - part * b.y), d.z + scale * (a.z - part * b.z),
                                    d.w + scale * (a.w - part * b.w)});
        },
        [&](int i) { dv[i] += scale * (dw[i] - part * v[i]); });
    if (dg && threadIdx.x % 32 == 0) dg[row] += float(along);
}
