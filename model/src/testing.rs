//! Models that need no files, for tests of what is built on top.

use crate::build_tokenizer::{Description, from_description};
use crate::chat::{ChatTemplate, SpecialTexts};
use crate::decoder::Config;
use crate::generate::Generator;
use crate::load_decoder;
use crate::tokenizer::byte_alphabet;

const CHAT_ML: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' \
    + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}\
    {{ '<|im_start|>assistant\n' }}{% endif %}";

/// A generator of two small layers with random weights and a token per byte, in milliseconds.
///
/// It writes nonsense, but the same nonsense for the same seed and prompt. Context 1,024 tokens.
pub fn tiny_generator(seed: u64) -> Generator {
    let mut alphabet: Vec<(char, u8)> = byte_alphabet().into_iter().collect();
    alphabet.sort_by_key(|&(_, byte)| byte);
    let mut tokens: Vec<String> = alphabet.into_iter().map(|(c, _)| c.to_string()).collect();
    tokens.extend(["<|im_start|>", "<|im_end|>"].map(str::to_owned));
    let config = Config {
        n_layers: 2,
        hidden: 32,
        intermediate: 64,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 8,
        vocab_size: tokens.len(),
        context_length: 1_024,
        sliding_window: None,
        norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_factors: vec![1.0; 4],
    };
    let description = Description {
        pre: "smollm".to_owned(),
        special: vec![256, 257],
        tokens,
        ..Description::default()
    };
    let tokenizer = from_description(description).expect("a tokenizer of bytes is valid");
    let chat =
        ChatTemplate::new(CHAT_ML, SpecialTexts::default()).expect("a constant template parses");
    Generator::new(load_decoder::random(config, seed), tokenizer, Some(chat), vec![257])
        .expect("the parts are made for each other")
}
