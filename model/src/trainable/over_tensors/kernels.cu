// What training needs on a GPU beside products: each function in one pass over its rows. They are
// compiled when the first is used, for the GPU that is there. Numbers are f32 or bf16 in memory and
// f32 in between. `functions.rs` says the same in tensors, for the processor and the tests.

#define INFINITY __int_as_float(0x7f800000)

typedef unsigned int u32;
typedef long long i64;

struct bf16 {
    unsigned short bits;
};

__device__ __forceinline__ float get(const float* p, i64 i) { return p[i]; }
__device__ __forceinline__ float get(const bf16* p, i64 i) {
    return __uint_as_float((u32)p[i].bits << 16);
}
__device__ __forceinline__ void put(float* p, i64 i, float x) { p[i] = x; }
__device__ __forceinline__ void put(bf16* p, i64 i, float x) {
    u32 b = __float_as_uint(x);
    // To the nearest, ties to even; what is no number stays none.
    p[i].bits = x == x ? (unsigned short)((b + 0x7fffu + ((b >> 16) & 1u)) >> 16) : 0x7fc0;
}

__device__ __forceinline__ float warp_sum(float x) {
    for (int d = 16; d > 0; d /= 2) x += __shfl_xor_sync(0xffffffffu, x, d);
    return x;
}

// The sum over a block of whole warps; every thread gets it. `shared` has a place for each warp.
__device__ __forceinline__ float block_sum(float x, float* shared) {
    x = warp_sum(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    float total = 0.0f;
    for (u32 i = 0; i < blockDim.x / 32; i++) total += shared[i];
    return total;
}

// The largest of a row and the sum of exponentials below it, by what each thread has seen of them.
__device__ __forceinline__ void block_softmax(float& top, float& sum, float* shared) {
    for (int d = 16; d > 0; d /= 2) {
        float top2 = __shfl_xor_sync(0xffffffffu, top, d);
        float sum2 = __shfl_xor_sync(0xffffffffu, sum, d);
        float both = fmaxf(top, top2);
        if (both > -INFINITY) {
            sum = sum * __expf(top - both) + sum2 * __expf(top2 - both);
            top = both;
        }
    }
    u32 n_warps = blockDim.x / 32;
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
        shared[threadIdx.x / 32] = top;
        shared[32 + threadIdx.x / 32] = sum;
    }
    __syncthreads();
    float all = -INFINITY, total = 0.0f;
    for (u32 i = 0; i < n_warps; i++) all = fmaxf(all, shared[i]);
    for (u32 i = 0; i < n_warps; i++) {
        if (shared[i] > -INFINITY) total += shared[32 + i] * __expf(shared[i] - all);
    }
    top = all;
    sum = total;
}

// RMSNorm's derivative, added to `into`: r * (g*w - r^2 * x * mean(x * g*w)). A block a row.
template <typename T>
__device__ void rms_norm_back(T* into, const T* x, const T* weight, const T* grad, int n, float eps) {
    __shared__ float shared[32];
    i64 row = (i64)blockIdx.x * n;
    float squares = 0.0f, along = 0.0f;
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        float v = get(x, row + i);
        squares += v * v;
        along += v * get(grad, row + i) * get(weight, i);
    }
    squares = block_sum(squares, shared);
    along = block_sum(along, shared);
    float r = rsqrtf(squares / n + eps);
    float taken = r * r * along / n;
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        float g = get(grad, row + i) * get(weight, i);
        put(into, row + i, get(into, row + i) + r * (g - get(x, row + i) * taken));
    }
}

// Rows of heads to heads of rows: normalised where there is a weight, turned where there are
// angles. A warp for each head of a place; places of no row become zero.
//
// x: (rows, kv_heads * group * dim), places: (sequences * length), a row or `rows` for none, angles:
// (length, dim), cosines and then sines, out: (sequences, kv_heads, length, group, dim)
template <typename T>
__device__ void to_heads(
    T* out, const T* x, const T* weight, const float* angles, const u32* places,
    int n_places, int rows, int length, int kv_heads, int group, int dim, float eps
) {
    i64 job = (i64)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    int heads = kv_heads * group, lane = threadIdx.x % 32, half = dim / 2;
    if (job >= (i64)n_places * heads) return;
    i64 place = job / heads;
    int head = job % heads, at = place % length;
    i64 sequence = place / length;
    i64 to = (((sequence * kv_heads + head / group) * length + at) * group + head % group) * dim;
    u32 row = places[place];
    if (row >= (u32)rows) {
        for (int i = lane; i < dim; i += 32) put(out, to + i, 0.0f);
        return;
    }
    i64 from = ((i64)row * heads + head) * dim;
    float r = 1.0f;
    if (weight) {
        float squares = 0.0f;
        for (int i = lane; i < dim; i += 32) squares += get(x, from + i) * get(x, from + i);
        r = rsqrtf(warp_sum(squares) / dim + eps);
    }
    for (int i = lane; i < half; i += 32) {
        float a = get(x, from + i) * r, b = get(x, from + half + i) * r;
        if (weight) {
            a *= get(weight, i);
            b *= get(weight, half + i);
        }
        if (angles) {
            float c = angles[(i64)at * dim + i], s = angles[(i64)at * dim + half + i];
            float turned = a * c - b * s;
            b = b * c + a * s;
            a = turned;
        }
        put(out, to + i, a);
        put(out, to + half + i, b);
    }
}

// The way back, and its derivative: turned back where there are angles, through the norm where
// there is a weight, whose argument is `x`. A warp for each head of a row.
template <typename T>
__device__ void from_heads(
    T* out, const T* grad, const T* x, const T* weight, const float* angles, const u32* slots,
    int rows, int length, int kv_heads, int group, int dim, float eps
) {
    i64 job = (i64)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    int heads = kv_heads * group, lane = threadIdx.x % 32, half = dim / 2;
    if (job >= (i64)rows * heads) return;
    i64 row = job / heads;
    int head = job % heads, at = slots[row] % length;
    i64 sequence = slots[row] / length;
    i64 from = (((sequence * kv_heads + head / group) * length + at) * group + head % group) * dim;
    i64 to = (row * heads + head) * dim;
    float squares = 0.0f, along = 0.0f, r = 1.0f;
    // The first time for the sums of the norm, where there is one.
    for (int pass = weight ? 0 : 1; pass < 2; pass++) {
        float taken = 0.0f;
        if (pass == 1 && weight) {
            r = rsqrtf(warp_sum(squares) / dim + eps);
            taken = r * r * warp_sum(along) / dim;
        }
        for (int i = lane; i < half; i += 32) {
            float a = get(grad, from + i), b = get(grad, from + half + i);
            if (angles) {
                float c = angles[(i64)at * dim + i], s = angles[(i64)at * dim + half + i];
                float turned = a * c + b * s;
                b = b * c - a * s;
                a = turned;
            }
            if (weight) {
                float u = get(x, to + i), v = get(x, to + half + i);
                a *= get(weight, i);
                b *= get(weight, half + i);
                if (pass == 0) {
                    squares += u * u + v * v;
                    along += a * u + b * v;
                    continue;
                }
                a = r * (a - u * taken);
                b = r * (b - v * taken);
            }
            put(out, to + i, a);
            put(out, to + half + i, b);
        }
    }
}

// The keys that a row of scores sees, from the first of the tile's.
__device__ __forceinline__ void seen(
    int row, int group, int first_query, int first_key, int window, int* from, int* to
) {
    int query = first_query + row / group;
    *from = max(query - window + 1, first_key) - first_key;
    *to = query + 1 - first_key;
}

// Scores to shares of what each query sees, in place. A block a row.
//
// scores: (heads, queries * group, keys); a window of 2^30 is none
template <typename T>
__device__ void softmax(
    T* scores, int rows, int keys, int group, int first_query, int first_key, int window, float scale
) {
    __shared__ float shared[64];
    T* row = scores + (i64)blockIdx.x * keys;
    int from, to;
    seen(blockIdx.x % rows, group, first_query, first_key, window, &from, &to);
    float top = -INFINITY, sum = 0.0f;
    for (int i = from + threadIdx.x; i < to; i += blockDim.x) {
        float v = get(row, i) * scale;
        float both = fmaxf(top, v);
        sum = sum * __expf(top - both) + __expf(v - both);
        top = both;
    }
    block_softmax(top, sum, shared);
    float r = 1.0f / sum;
    for (int i = threadIdx.x; i < keys; i += blockDim.x) {
        put(row, i, i >= from && i < to ? __expf(get(row, i) * scale - top) * r : 0.0f);
    }
}

// The scores' gradient in place of that of the shares: p * (g - sum(p * g)) * scale. A block a row.
template <typename T>
__device__ void softmax_back(
    T* grads, const T* shares, int rows, int keys, int group, int first_query, int first_key,
    int window, float scale
) {
    __shared__ float shared[32];
    T* grad = grads + (i64)blockIdx.x * keys;
    const T* share = shares + (i64)blockIdx.x * keys;
    int from, to;
    seen(blockIdx.x % rows, group, first_query, first_key, window, &from, &to);
    float along = 0.0f;
    for (int i = from + threadIdx.x; i < to; i += blockDim.x) along += get(share, i) * get(grad, i);
    along = block_sum(along, shared);
    for (int i = threadIdx.x; i < keys; i += blockDim.x) {
        bool is_seen = i >= from && i < to;
        put(grad, i, is_seen ? get(share, i) * (get(grad, i) - along) * scale : 0.0f);
    }
}

// silu(gate) * up
template <typename T>
__device__ void gated(T* out, const T* gate, const T* up, i64 n) {
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (i64)gridDim.x * blockDim.x) {
        float g = get(gate, i);
        put(out, i, g / (1.0f + __expf(-g)) * get(up, i));
    }
}

// The gradients of gate and up in their places.
template <typename T>
__device__ void gated_back(T* gate, T* up, const T* grad, i64 n) {
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (i64)gridDim.x * blockDim.x) {
        float g = get(gate, i), u = get(up, i), d = get(grad, i);
        float s = 1.0f / (1.0f + __expf(-g));
        put(gate, i, d * u * s * (1.0f + g * (1.0f - s)));
        put(up, i, d * g * s);
    }
}

// `ln p` of each row's id, and the gradient of `-weight * ln p` in place of the logits. A block a row.
template <typename T>
__device__ void cross_entropy(
    T* logits, float* log_probs, const u32* ids, const float* weights, int n, int wants_grad
) {
    __shared__ float shared[64];
    T* row = logits + (i64)blockIdx.x * n;
    float top = -INFINITY, sum = 0.0f;
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        float v = get(row, i);
        float both = fmaxf(top, v);
        sum = sum * __expf(top - both) + __expf(v - both);
        top = both;
    }
    block_softmax(top, sum, shared);
    int id = ids[blockIdx.x];
    if (threadIdx.x == 0) log_probs[blockIdx.x] = get(row, id) - top - logf(sum);
    if (!wants_grad) return;
    __syncthreads();
    float weight = weights[blockIdx.x], r = 1.0f / sum;
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        float p = __expf(get(row, i) - top) * r;
        put(row, i, weight * (i == id ? p - 1.0f : p));
    }
}

#define BOTH(name, params, args) \
    extern "C" __global__ void name##_f32 params(float) { name<float> args; } \
    extern "C" __global__ void name##_bf16 params(bf16) { name<bf16> args; }

#define P1(T) (T* into, const T* x, const T* weight, const T* grad, int n, float eps)
BOTH(rms_norm_back, P1, (into, x, weight, grad, n, eps))
#define P2(T) \
    (T* out, const T* x, const T* weight, const float* angles, const u32* places, int n_places, \
     int rows, int length, int kv_heads, int group, int dim, float eps)
BOTH(to_heads, P2, (out, x, weight, angles, places, n_places, rows, length, kv_heads, group, dim, eps))
#define P3(T) \
    (T* out, const T* grad, const T* x, const T* weight, const float* angles, const u32* slots, \
     int rows, int length, int kv_heads, int group, int dim, float eps)
BOTH(from_heads, P3, (out, grad, x, weight, angles, slots, rows, length, kv_heads, group, dim, eps))
#define P4(T) \
    (T* scores, int rows, int keys, int group, int first_query, int first_key, int window, float scale)
BOTH(softmax, P4, (scores, rows, keys, group, first_query, first_key, window, scale))
#define P5(T) \
    (T* grads, const T* shares, int rows, int keys, int group, int first_query, int first_key, \
     int window, float scale)
BOTH(softmax_back, P5, (grads, shares, rows, keys, group, first_query, first_key, window, scale))
#define P6(T) (T* out, const T* gate, const T* up, i64 n)
BOTH(gated, P6, (out, gate, up, n))
#define P7(T) (T* gate, T* up, const T* grad, i64 n)
BOTH(gated_back, P7, (gate, up, grad, n))
#define P8(T) (T* logits, float* log_probs, const u32* ids, const float* weights, int n, int wants_grad)
BOTH(cross_entropy, P8, (logits, log_probs, ids, weights, n, wants_grad))
