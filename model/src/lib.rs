//! Text to vectors, prompt to tokens, model files on disk. Knows nothing of documents or indexes.
//!
//! Read in this order: [`embed`] turns texts into unit vectors, [`rerank`] a question and a passage
//! into a score, [`chat`] turns a conversation into token ids, [`generate`] turns those into text,
//! and [`serve`] does so for many clients at once. Below them lie the two networks (`bert`,
//! `decoder`) and what they are made of: `panels`, `int8`, `tile_product` and `kernels` compute, `checkpoint`,
//! `weights`, `pickle` and `gguf` read files, `linear`, `attention`, `kv_cache` and `lora` serve the
//! decoder, on a device with `tensor_attention` and `tiles`. [`adapter`], [`adapters`] and [`merge`] are about LoRA, [`trainable`]
//! is the decoder with gradients.
//!
//! The crate is synchronous and owns no global state besides rayon's thread pool, whose size
//! [`device::set_threads`] may choose once.

// Links the kernels' crate with its AVX-512 feature switched on; candle calls it by itself.
use gemm as _;
// Chooses the backend of `zip`.
use flate2 as _;

pub mod adapter;
pub mod adapters;
pub mod catalogue;
pub mod chat;
pub mod constrain;
pub mod device;
pub mod embed;
pub mod export;
pub mod generate;
pub mod load_error;
pub mod merge;
pub mod prompt;
pub mod rerank;
pub mod sample;
pub mod serve;
pub mod staging;
pub mod store;
pub mod testing;
pub mod thinking;
pub mod tokens;
pub mod trainable;

mod attention;
mod bert;
mod bf16_product;
mod build_tokenizer;
mod checkpoint;
mod config_json;
mod count;
mod crew;
mod decoder;
mod encode;
mod gguf;
mod gguf_blocks;
mod gguf_write;
#[cfg(test)]
mod golden;
mod halves;
mod hash_embedder;
mod int8;
mod int8_product;
mod kernels;
mod kv_cache;
mod linear;
mod load_decoder;
mod load_generator;
mod lora;
mod names;
mod packed;
mod panel_product;
mod panels;
mod pickle;
mod prefixes;
mod python;
mod sentence_folder;
mod sequence;
mod tensor_attention;
mod tile_product;
mod tiles;
mod tokenizer;
mod weights;

pub use load_error::LoadError;
