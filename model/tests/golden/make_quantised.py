"""One small matrix of every quantised type that GGUF files hold, and what gguf dequantises it to.

The blocks are random bytes with scales that keep the values near one, so every bit is used.
"""
import pathlib

import gguf
import numpy as np
from gguf.quants import dequantize

HERE = pathlib.Path(__file__).parent
ROWS, COLUMNS = 2, 512
Q = gguf.GGMLQuantizationType
# Where the half-precision scales of a block lie, in bytes.
SCALES = {
    Q.Q4_0: [0], Q.Q4_1: [0, 2], Q.Q5_0: [0], Q.Q5_1: [0, 2], Q.Q8_0: [0],
    Q.Q2_K: [80, 82], Q.Q3_K: [108], Q.Q4_K: [0, 2], Q.Q5_K: [0, 2], Q.Q6_K: [208],
}

rng = np.random.default_rng(5)
writer = gguf.GGUFWriter(HERE / "quantised.gguf", "llama")
for kind, offsets in SCALES.items():
    size, n_bytes = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (ROWS * COLUMNS // size, n_bytes), dtype=np.uint8)
    for offset in offsets:
        scales = (rng.standard_normal(len(blocks)) * 0.01).astype(np.float16)
        blocks[:, offset:offset + 2] = scales.view(np.uint8).reshape(-1, 2)
    blocks = blocks.reshape(ROWS, -1)
    values = dequantize(blocks, kind).reshape(ROWS, COLUMNS).astype(np.float32)
    writer.add_tensor(kind.name, blocks, raw_dtype=kind)
    writer.add_tensor(f"{kind.name}.values", values)
for kind, dtype in ((Q.F16, np.float16), (Q.F32, np.float32)):
    values = rng.standard_normal((ROWS, COLUMNS)).astype(dtype)
    values[0, :4] = [0, -0.0, 6e-8, 65504]  # Zero, the least subnormal half and the largest half.
    writer.add_tensor(kind.name, values)
    writer.add_tensor(f"{kind.name}.values", values.astype(np.float32))
bits = rng.integers(0x3F00, 0x4000, (ROWS, COLUMNS), dtype=np.uint16)
bits[1] |= 0x8000
writer.add_tensor("BF16", bits.view(np.uint8).reshape(ROWS, -1), raw_dtype=Q.BF16)
writer.add_tensor("BF16.values", (bits.astype(np.uint32) << 16).view(np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
