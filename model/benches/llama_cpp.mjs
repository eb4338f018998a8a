// llama.cpp on the file and the work that speed.rs measures, to put beside it in one run.
// usage: node llama_cpp.mjs MODEL.gguf [THREADS] (with the package node-llama-cpp installed)
// Prints one JSON line per number of sequences that decode together.
import {getLlama} from "node-llama-cpp";

const [path, threads = "2"] = process.argv.slice(2);
const FILLER = "The employee handbook explains how leave is accrued and how to request it from a manager. ";
const llama = await getLlama({gpu: false, build: "never", logLevel: "error", maxThreads: Number(threads)});
const model = await llama.loadModel({modelPath: path});

async function decode(sequence, first, n) {
    let count = 0;
    for await (const _ of sequence.evaluate([first], {temperature: 0, yieldEogToken: true}))
        if (++count >= n) break;
    return count;
}

for (const [n_sequences, n_prompt, n_new] of [[1, 1024, 128], [1, 32, 128], [4, 32, 128], [8, 32, 128]]) {
    const context = await model.createContext({
        contextSize: n_prompt + n_new + 64, sequences: n_sequences, threads: Number(threads), batchSize: 512,
    });
    const prompt = model.tokenize(FILLER.repeat(Math.ceil(n_prompt / 10))).slice(0, n_prompt);
    const sequences = Array.from({length: n_sequences}, () => context.getSequence());
    let start = performance.now();
    await Promise.all(sequences.map(async (it) => {
        for await (const _ of it.evaluate(prompt, {temperature: 0})) break;
    }));
    const prefill = n_sequences * prompt.length / ((performance.now() - start) / 1000);
    start = performance.now();
    const counts = await Promise.all(sequences.map((it, idx) => decode(it, prompt[5 + idx], n_new)));
    const total = counts.reduce((a, b) => a + b, 0);
    const decoded = total / ((performance.now() - start) / 1000);
    console.log(JSON.stringify({system: "llama.cpp", threads: Number(threads), sequences: n_sequences,
        prompt_tokens: n_prompt, tokens: total, prefill_tokens_per_s: +prefill.toFixed(1),
        decode_tokens_per_s: +decoded.toFixed(1)}));
    await context.dispose();
}
process.exit(0);
