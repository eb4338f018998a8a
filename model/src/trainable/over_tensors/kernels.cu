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

// Some numbers side by side, moved at once: N of them, or one where rows do not divide by N.
template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
    T of[N];
};
template <typename T, int N>
__device__ __forceinline__ void take(float* x, const T* p, i64 i) {
    Pack<T, N> all = *(const Pack<T, N>*)(p + i);
    for (int j = 0; j < N; j++) x[j] = get(all.of, j);
}
template <typename T, int N>
__device__ __forceinline__ void give(T* p, i64 i, const float* x) {
    Pack<T, N> all;
    for (int j = 0; j < N; j++) put(all.of, j, x[j]);
    *(Pack<T, N>*)(p + i) = all;
}
template <typename T>
__device__ __forceinline__ bool in_packs(const T* p, i64 n, int size) {
    return n % size == 0 && (unsigned long long)p % (size * sizeof(T)) == 0;
}

// Calls a function's form for sixteen bytes at once, where its rows allow that.
#define PACKED(name, p, n, ...) \
    if (in_packs(p, n, 16 / sizeof(T))) \
        name<T, 16 / sizeof(T)>(__VA_ARGS__); \
    else \
        name<T, 1>(__VA_ARGS__);

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

// RMSNorm: x * r * w with r = 1 / sqrt(mean(x^2) + eps). A block a row.
template <typename T, int N>
__device__ void rms_norm_of(T* out, const T* x, const T* weight, int n, float eps) {
    __shared__ float shared[32];
    i64 row = (i64)blockIdx.x * n;
    float squares = 0.0f, u[N], w[N];
    for (int i = threadIdx.x * N; i < n; i += blockDim.x * N) {
        take<T, N>(u, x, row + i);
        for (int j = 0; j < N; j++) squares += u[j] * u[j];
    }
    float r = rsqrtf(block_sum(squares, shared) / n + eps);
    for (int i = threadIdx.x * N; i < n; i += blockDim.x * N) {
        take<T, N>(u, x, row + i);
        take<T, N>(w, weight, i);
        for (int j = 0; j < N; j++) u[j] *= r * w[j];
        give<T, N>(out, row + i, u);
    }
}
template <typename T>
__device__ void rms_norm(T* out, const T* x, const T* weight, int n, float eps) {
    PACKED(rms_norm_of, x, n, out, x, weight, n, eps)
}

// RMSNorm's derivative, added to `into`: r * (g*w - r^2 * x * mean(x * g*w)). A block a row.
template <typename T, int N>
__device__ void rms_norm_back_of(
    T* into, const T* x, const T* weight, const T* grad, int n, float eps
) {
    __shared__ float shared[32];
    i64 row = (i64)blockIdx.x * n;
    float squares = 0.0f, along = 0.0f, u[N], w[N], g[N], sum[N];
    for (int i = threadIdx.x * N; i < n; i += blockDim.x * N) {
        take<T, N>(u, x, row + i);
        take<T, N>(w, weight, i);
        take<T, N>(g, grad, row + i);
        for (int j = 0; j < N; j++) {
            squares += u[j] * u[j];
            along += u[j] * g[j] * w[j];
        }
    }
    squares = block_sum(squares, shared);
    along = block_sum(along, shared);
    float r = rsqrtf(squares / n + eps);
    float taken = r * r * along / n;
    for (int i = threadIdx.x * N; i < n; i += blockDim.x * N) {
        take<T, N>(u, x, row + i);
        take<T, N>(w, weight, i);
        take<T, N>(g, grad, row + i);
        take<T, N>(sum, into, row + i);
        for (int j = 0; j < N; j++) sum[j] += r * (g[j] * w[j] - u[j] * taken);
        give<T, N>(into, row + i, sum);
    }
}
template <typename T>
__device__ void rms_norm_back(
    T* into, const T* x, const T* weight, const T* grad, int n, float eps
) {
    PACKED(rms_norm_back_of, x, n, into, x, weight, grad, n, eps)
}

// Rows of heads to heads of rows: normalised where there is a weight, turned where there are
// angles. A warp for each head of a place; places of no row become zero.
//
// x: (rows, kv_heads * group * dim), places: (sequences * length), a row or `rows` for none, angles:
// (length, dim), cosines and then sines, out: (sequences, kv_heads, length, group, dim)
template <typename T, int N>
__device__ void to_heads_of(
    T* out, const T* x, const T* weight, const float* angles, const u32* places,
    int n_places, int rows, int length, int kv_heads, int group, int dim, float eps
) {
    i64 job = (i64)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    int heads = kv_heads * group, lane = threadIdx.x % 32 * N, half = dim / 2;
    if (job >= (i64)n_places * heads) return;
    i64 place = job / heads;
    int head = job % heads, at = place % length;
    i64 sequence = place / length;
    i64 to = (((sequence * kv_heads + head / group) * length + at) * group + head % group) * dim;
    u32 row = places[place];
    float a[N], b[N], w[N], v[N], c[N], s[N];
    if (row >= (u32)rows) {
        for (int j = 0; j < N; j++) a[j] = 0.0f;
        for (int i = lane; i < dim; i += 32 * N) give<T, N>(out, to + i, a);
        return;
    }
    i64 from = ((i64)row * heads + head) * dim;
    float r = 1.0f;
    if (weight) {
        float squares = 0.0f;
        for (int i = lane; i < dim; i += 32 * N) {
            take<T, N>(a, x, from + i);
            for (int j = 0; j < N; j++) squares += a[j] * a[j];
        }
        r = rsqrtf(warp_sum(squares) / dim + eps);
    }
    for (int i = lane; i < half; i += 32 * N) {
        take<T, N>(a, x, from + i);
        take<T, N>(b, x, from + half + i);
        if (weight) {
            take<T, N>(w, weight, i);
            take<T, N>(v, weight, half + i);
            for (int j = 0; j < N; j++) {
                a[j] *= r * w[j];
                b[j] *= r * v[j];
            }
        }
        if (angles) {
            take<float, N>(c, angles, (i64)at * dim + i);
            take<float, N>(s, angles, (i64)at * dim + half + i);
            for (int j = 0; j < N; j++) {
                float turned = a[j] * c[j] - b[j] * s[j];
                b[j] = b[j] * c[j] + a[j] * s[j];
                a[j] = turned;
            }
        }
        give<T, N>(out, to + i, a);
        give<T, N>(out, to + half + i, b);
    }
}
template <typename T>
__device__ void to_heads(
    T* out, const T* x, const T* weight, const float* angles, const u32* places,
    int n_places, int rows, int length, int kv_heads, int group, int dim, float eps
) {
    if (in_packs(x, dim / 2, 2))
        to_heads_of<T, 2>(
            out, x, weight, angles, places, n_places, rows, length, kv_heads, group, dim, eps);
    else
        to_heads_of<T, 1>(
            out, x, weight, angles, places, n_places, rows, length, kv_heads, group, dim, eps);
}

// The way back, and its derivative: turned back where there are angles, through the norm where
// there is a weight, whose argument is `x`. A warp for each head of a row.
template <typename T, int N>
__device__ void from_heads_of(
    T* out, const T* grad, const T* x, const T* weight, const float* angles, const u32* slots,
    int rows, int length, int kv_heads, int group, int dim, float eps
) {
    i64 job = (i64)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    int heads = kv_heads * group, lane = threadIdx.x % 32 * N, half = dim / 2;
    if (job >= (i64)rows * heads) return;
    i64 row = job / heads;
    int head = job % heads, at = slots[row] % length;
    i64 sequence = slots[row] / length;
    i64 from = (((sequence * kv_heads + head / group) * length + at) * group + head % group) * dim;
    i64 to = (row * heads + head) * dim;
    float squares = 0.0f, along = 0.0f, r = 1.0f;
    float a[N], b[N], w[N], v[N], c[N], s[N], p[N], q[N];
    // The first time for the sums of the norm, where there is one.
    for (int pass = weight ? 0 : 1; pass < 2; pass++) {
        float taken = 0.0f;
        if (pass == 1 && weight) {
            r = rsqrtf(warp_sum(squares) / dim + eps);
            taken = r * r * warp_sum(along) / dim;
        }
        for (int i = lane; i < half; i += 32 * N) {
            take<T, N>(a, grad, from + i);
            take<T, N>(b, grad, from + half + i);
            if (angles) {
                take<float, N>(c, angles, (i64)at * dim + i);
                take<float, N>(s, angles, (i64)at * dim + half + i);
                for (int j = 0; j < N; j++) {
                    float turned = a[j] * c[j] + b[j] * s[j];
                    b[j] = b[j] * c[j] - a[j] * s[j];
                    a[j] = turned;
                }
            }
            if (weight) {
                take<T, N>(p, x, to + i);
                take<T, N>(q, x, to + half + i);
                take<T, N>(w, weight, i);
                take<T, N>(v, weight, half + i);
                for (int j = 0; j < N; j++) {
                    a[j] *= w[j];
                    b[j] *= v[j];
                    squares += p[j] * p[j] + q[j] * q[j];
                    along += a[j] * p[j] + b[j] * q[j];
                    a[j] = r * (a[j] - p[j] * taken);
                    b[j] = r * (b[j] - q[j] * taken);
                }
            }
            if (pass == 0) continue;
            give<T, N>(out, to + i, a);
            give<T, N>(out, to + half + i, b);
        }
    }
}
template <typename T>
__device__ void from_heads(
    T* out, const T* grad, const T* x, const T* weight, const float* angles, const u32* slots,
    int rows, int length, int kv_heads, int group, int dim, float eps
) {
    if (in_packs(grad, dim / 2, 2))
        from_heads_of<T, 2>(
            out, grad, x, weight, angles, slots, rows, length, kv_heads, group, dim, eps);
    else
        from_heads_of<T, 1>(
            out, grad, x, weight, angles, slots, rows, length, kv_heads, group, dim, eps);
}

// The keys that a row of scores sees, from the first of the tile's.
__device__ __forceinline__ void seen(
    int row, int group, int first_query, int first_key, int window, int* from, int* to
) {
    int query = first_query + row / group;
    *from = max(query - window + 1, first_key) - first_key;
    *to = query + 1 - first_key;
}

// Adds numbers to the largest that a thread has seen and the sum of exponentials below it.
template <int N>
__device__ __forceinline__ void seen_too(const float* x, float& top, float& sum) {
    float both = top;
    for (int j = 0; j < N; j++) both = fmaxf(both, x[j]);
    if (both == -INFINITY) return;
    sum *= __expf(top - both);
    for (int j = 0; j < N; j++) sum += __expf(x[j] - both);
    top = both;
}

// Scores to shares of what each query sees, in place. A block a row.
//
// scores: (heads, queries * group, keys); a window of 2^30 is none
template <typename T, int N>
__device__ void softmax_of(
    T* row, int from, int to, int keys, float scale
) {
    __shared__ float shared[64];
    float top = -INFINITY, sum = 0.0f, x[N];
    int first = (from / N + threadIdx.x) * N;
    for (int i = first; i < to; i += blockDim.x * N) {
        take<T, N>(x, row, i);
        for (int j = 0; j < N; j++) x[j] = i + j >= from && i + j < to ? x[j] * scale : -INFINITY;
        seen_too<N>(x, top, sum);
    }
    block_softmax(top, sum, shared);
    float r = 1.0f / sum;
    for (int i = threadIdx.x * N; i < keys; i += blockDim.x * N) {
        bool is_seen = i < to && i + N > from;
        if (is_seen) take<T, N>(x, row, i);
        for (int j = 0; j < N; j++) {
            x[j] = is_seen && i + j >= from && i + j < to ? __expf(x[j] * scale - top) * r : 0.0f;
        }
        give<T, N>(row, i, x);
    }
}
template <typename T>
__device__ void softmax(
    T* scores, int rows, int keys, int group, int first_query, int first_key, int window, float scale
) {
    T* row = scores + (i64)blockIdx.x * keys;
    int from, to;
    seen(blockIdx.x % rows, group, first_query, first_key, window, &from, &to);
    PACKED(softmax_of, scores, keys, row, from, to, keys, scale)
}

// The scores' gradient in place of that of the shares: p * (g - sum(p * g)) * scale. A block a row.
template <typename T, int N>
__device__ void softmax_back_of(T* grad, const T* share, int from, int to, int keys, float scale) {
    __shared__ float shared[32];
    float along = 0.0f, g[N], p[N];
    int first = (from / N + threadIdx.x) * N;
    // Where nothing is seen the share is zero.
    for (int i = first; i < to; i += blockDim.x * N) {
        take<T, N>(g, grad, i);
        take<T, N>(p, share, i);
        for (int j = 0; j < N; j++) along += g[j] * p[j];
    }
    along = block_sum(along, shared);
    for (int i = threadIdx.x * N; i < keys; i += blockDim.x * N) {
        bool is_seen = i < to && i + N > from;
        if (is_seen) {
            take<T, N>(g, grad, i);
            take<T, N>(p, share, i);
        }
        for (int j = 0; j < N; j++) g[j] = is_seen ? p[j] * (g[j] - along) * scale : 0.0f;
        give<T, N>(grad, i, g);
    }
}
template <typename T>
__device__ void softmax_back(
    T* grads, const T* shares, int rows, int keys, int group, int first_query, int first_key,
    int window, float scale
) {
    T* grad = grads + (i64)blockIdx.x * keys;
    const T* share = shares + (i64)blockIdx.x * keys;
    int from, to;
    seen(blockIdx.x % rows, group, first_query, first_key, window, &from, &to);
    PACKED(softmax_back_of, grads, keys, grad, share, from, to, keys, scale)
}

// silu(gate) * up
template <typename T, int N>
__device__ void gated_of(T* out, const T* gate, const T* up, i64 n) {
    float g[N], u[N];
    i64 first = ((i64)blockIdx.x * blockDim.x + threadIdx.x) * N;
    for (i64 i = first; i < n; i += (i64)gridDim.x * blockDim.x * N) {
        take<T, N>(g, gate, i);
        take<T, N>(u, up, i);
        for (int j = 0; j < N; j++) u[j] *= g[j] / (1.0f + __expf(-g[j]));
        give<T, N>(out, i, u);
    }
}
template <typename T>
__device__ void gated(T* out, const T* gate, const T* up, i64 n) {
    PACKED(gated_of, gate, n, out, gate, up, n)
}

// The gradients of gate and up in their places.
template <typename T, int N>
__device__ void gated_back_of(T* gate, T* up, const T* grad, i64 n) {
    float g[N], u[N], d[N];
    i64 first = ((i64)blockIdx.x * blockDim.x + threadIdx.x) * N;
    for (i64 i = first; i < n; i += (i64)gridDim.x * blockDim.x * N) {
        take<T, N>(g, gate, i);
        take<T, N>(u, up, i);
        take<T, N>(d, grad, i);
        for (int j = 0; j < N; j++) {
            float s = 1.0f / (1.0f + __expf(-g[j]));
            u[j] *= d[j] * s * (1.0f + g[j] * (1.0f - s));
            d[j] *= g[j] * s;
        }
        give<T, N>(gate, i, u);
        give<T, N>(up, i, d);
    }
}
template <typename T>
__device__ void gated_back(T* gate, T* up, const T* grad, i64 n) {
    PACKED(gated_back_of, gate, n, gate, up, grad, n)
}

// `ln p` of each row's id, and the gradient of `-weight * ln p` in place of the logits. A block a row.
template <typename T, int N>
__device__ void cross_entropy_of(
    T* row, float* log_prob, int id, float weight, int n, int wants_grad
) {
    __shared__ float shared[64];
    float top = -INFINITY, sum = 0.0f, x[N];
    for (int i = threadIdx.x * N; i < n; i += blockDim.x * N) {
        take<T, N>(x, row, i);
        seen_too<N>(x, top, sum);
    }
    block_softmax(top, sum, shared);
    if (threadIdx.x == 0) *log_prob = get(row, id) - top - logf(sum);
    if (!wants_grad) return;
    __syncthreads();
    float r = 1.0f / sum;
    for (int i = threadIdx.x * N; i < n; i += blockDim.x * N) {
        take<T, N>(x, row, i);
        for (int j = 0; j < N; j++) {
            float p = __expf(x[j] - top) * r;
            x[j] = weight * (i + j == id ? p - 1.0f : p);
        }
        give<T, N>(row, i, x);
    }
}
template <typename T>
__device__ void cross_entropy(
    T* logits, float* log_probs, const u32* ids, const float* weights, int n, int wants_grad
) {
    T* row = logits + (i64)blockIdx.x * n;
    float* log_prob = log_probs + blockIdx.x;
    int id = ids[blockIdx.x];
    float weight = weights[blockIdx.x];
    PACKED(cross_entropy_of, logits, n, row, log_prob, id, weight, n, wants_grad)
}

#define BOTH(name, params, args) \
    extern "C" __global__ void name##_f32 params(float) { name<float> args; } \
    extern "C" __global__ void name##_bf16 params(bf16) { name<bf16> args; }

#define P0(T) (T* out, const T* x, const T* weight, int n, float eps)
BOTH(rms_norm, P0, (out, x, weight, n, eps))
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
